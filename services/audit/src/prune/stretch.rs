//! The entries that go with one entry of kind `pruning`: their hashes, and what later ones need to know of them.

use super::behind::Behind;
use super::{PruneError, published_tile};
use crate::batch::sha256;
use crate::error::ReadError;
use crate::frames;
use crate::reader::Reader;
use model::entry::{BYTES_MAX, Entry, Kind, Place};
use model::erasure::{Event, Scope};
use model::pruning::{Prune, Pruning, Rest, WIDTH};
use model::{OrganisationId, Timestamp, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tlog::{HASH_BYTES, Hash, hashes_to_bytes, leaf_hash};

const DAY_MS: i64 = 86_400_000;
/// Entries that go in one transaction, where they can. Others wait for it, so it must not be long.
const ENTRIES_AT_ONCE: u64 = 4_096;
/// For what the entry says beside indices of entries. Of organisations it names as many as there is room for.
const OTHERS_BYTES_MAX: usize = 1_024;
/// Indices of exchanges that reach over the minimum, and of entries that are carried forward, must fit into one entry.
const INDICES_BYTES_MAX: usize = BYTES_MAX - OTHERS_BYTES_MAX;

#[derive(Debug)]
pub(super) struct Stretch {
    pub first: u64,
    /// The first entry that stays.
    pub minimum: u64,
    /// The first midnight behind the latest of all that are gone then.
    pub before: Timestamp,
    /// Where organisations' sequences stand before `minimum`.
    pub organisations: BTreeMap<OrganisationId, Place>,
    /// Others of which that is not known.
    pub organisations_left_out: u64,
    /// Exchanges that were allowed before `minimum` and ended behind it.
    pub open: BTreeSet<u64>,
    leaves: Vec<Hash>,
    /// What is carried forward.
    carried: Vec<(u64, Vec<u8>)>,
    rest: Option<Rest>,
}

/// What is to be remembered of an entry until it is known where the stretch ends.
pub(super) struct Seen {
    pub leaf: Hash,
    time: Timestamp,
    place: Option<(OrganisationId, Place)>,
    opens: bool,
    pub closes: Option<u64>,
    candidate: Option<Vec<u8>>,
}

impl Seen {
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let entry = Entry::parse(bytes).ok()?;
        let decides = matches!(entry.kind, Kind::Decision | Kind::AuditRead);
        let is_depended_on = match entry.kind {
            Kind::Key | Kind::Erasure => true,
            Kind::System => entry.text("event") != Some("closed"),
            Kind::Policy => entry.text("event") == Some("activated"),
            _ => false,
        };
        let of = entry.get("of").and_then(Value::as_int).and_then(|of| u64::try_from(of).ok());
        Some(Self {
            leaf: leaf_hash(bytes),
            time: entry.time,
            opens: decides && entry.text("decision") == Some("allow"),
            closes: of.filter(|_| entry.kind == Kind::Outcome),
            place: entry.organisation.clone().zip(entry.place),
            candidate: is_depended_on.then(|| bytes.to_vec()),
        })
    }
}

/// What entries from one of an index on come to, whoever read them.
#[derive(Debug)]
pub(super) struct Told {
    pub before: Timestamp,
    /// Where sequences stand, as far as these and the pruning before say.
    pub organisations: BTreeMap<OrganisationId, Place>,
    /// Allowed, and without an outcome among these.
    pub open: BTreeSet<u64>,
    pub leaves: Vec<Hash>,
    /// Those among them that later ones may depend on.
    pub candidates: BTreeMap<u64, Vec<u8>>,
}

impl Told {
    /// `said`: the pruning before.
    pub(super) fn of(first: u64, seen: impl IntoIterator<Item = Seen>, said: Option<&Pruning>) -> Self {
        let mut organisations = said.map(|said| said.organisations.clone()).unwrap_or_default();
        let mut open = said.map(|said| said.open.clone()).unwrap_or_default();
        let mut latest = said.map_or(Timestamp::EPOCH, |said| said.before.plus_millis(-1));
        let (mut leaves, mut candidates) = (Vec::new(), BTreeMap::new());
        for (index, one) in (first..).zip(seen) {
            leaves.push(one.leaf);
            latest = latest.max(one.time);
            if one.opens {
                open.insert(index);
            }
            if let Some(of) = one.closes {
                open.remove(&of);
            }
            if let Some((id, place)) = one.place {
                organisations.insert(id, Place { sequence: place.sequence, previous: Some(index) });
            }
            candidates.extend(one.candidate.map(|bytes| (index, bytes)));
        }
        let before = Timestamp((latest.millis().div_euclid(DAY_MS) + 1) * DAY_MS);
        Self { before, organisations, open, leaves, candidates }
    }
}

/// Those of what later entries may depend on that are carried forward whoever is named behind: what was said of keys, with what a
/// log began that took another's place, that the log was opened last, and of the policies that came into use since, those in
/// force and those by which entries behind were decided, each set once. `is_needed` says that of a set, by its digest.
///
/// So it is not more for each change of policies: a log is opened once a year or so, and would have come to thousands.
pub(super) fn always_kept<'e>(
    candidates: impl DoubleEndedIterator<Item = (&'e u64, &'e Entry)>,
    is_needed: impl Fn(&str) -> bool,
) -> BTreeSet<u64> {
    let is_opened = |entry: &Entry| entry.kind == Kind::System && entry.text("event") == Some("opened");
    let (mut kept, mut sets) = (BTreeSet::new(), BTreeMap::new());
    let mut opened = false;
    for (index, entry) in candidates.rev() {
        let is_kept = match entry.kind {
            Kind::Key => true,
            Kind::System if is_opened(entry) => !std::mem::replace(&mut opened, true),
            Kind::System => *index == 0 && entry.text("event") == Some("incarnation"),
            Kind::Policy if !opened => {
                let digest = entry.text("digest").unwrap_or_default();
                let is_in_force = sets.is_empty();
                sets.insert(digest.to_owned(), *index).is_none() && (is_in_force || is_needed(digest))
            }
            _ => false,
        };
        if is_kept {
            kept.insert(*index);
        }
    }
    if !opened {
        // Nothing says when they came into use.
        kept.retain(|index| !sets.values().any(|of| of == index));
    }
    kept
}

/// Those of the bytes that are entries.
pub(super) fn parsed(candidates: &BTreeMap<u64, Vec<u8>>) -> BTreeMap<u64, Entry> {
    candidates.iter().filter_map(|(index, bytes)| Some((*index, Entry::parse(bytes).ok()?))).collect()
}

/// Where entries can be cut: at the ends of bundles at which what must be said of those before fits into one entry.
struct Cuts<'b> {
    behind: &'b Behind,
    /// The next entry.
    next: u64,
    open: BTreeSet<u64>,
    open_bytes: usize,
    /// Entries that later ones may depend on.
    candidates: BTreeMap<u64, (Vec<u8>, Entry)>,
    /// Ends of bundles that were not tried yet, with what is open there and how long that is.
    ends: Vec<(u64, usize, usize)>,
    bytes_max: usize,
    /// The fewest exchanges that reach over one that was tried.
    fewest: usize,
}

/// An end at which entries can be cut.
struct Cut {
    minimum: u64,
    carried: BTreeSet<u64>,
    /// How much of the entry its indices take, in hundredths.
    full: usize,
}

/// In decimal digits, and what stands before the next one.
fn spelt(index: u64) -> usize {
    index.checked_ilog10().map_or(1, |digits| digits as usize + 1) + 1
}

impl<'b> Cuts<'b> {
    fn new(first: u64, said: Option<&Pruning>, carried: Vec<(u64, Vec<u8>)>, behind: &'b Behind) -> Self {
        let open = said.map(|said| said.open.clone()).unwrap_or_default();
        let mut cuts = Self {
            behind,
            next: first,
            open_bytes: open.iter().copied().map(spelt).sum(),
            open,
            candidates: BTreeMap::new(),
            ends: Vec::new(),
            bytes_max: INDICES_BYTES_MAX,
            fewest: usize::MAX,
        };
        carried.into_iter().for_each(|(index, bytes)| cuts.candidate(index, bytes));
        cuts
    }

    fn candidate(&mut self, index: u64, bytes: Vec<u8>) {
        if let Ok(entry) = Entry::parse(&bytes) {
            self.candidates.insert(index, (bytes, entry));
        }
    }

    fn see(&mut self, one: &Seen) {
        let index = self.next;
        if one.opens && self.open.insert(index) {
            self.open_bytes += spelt(index);
        }
        if let Some(of) = one.closes.filter(|of| self.open.remove(of)) {
            self.open_bytes -= spelt(of);
        }
        if let Some(bytes) = &one.candidate {
            self.candidate(index, bytes.clone());
        }
        self.next += 1;
        if self.next.is_multiple_of(WIDTH) {
            self.ends.push((self.next, self.open.len(), self.open_bytes));
        }
    }

    /// The farthest one of those that were not tried yet.
    fn farthest(&mut self) -> Option<Cut> {
        for (minimum, open, open_bytes) in std::mem::take(&mut self.ends).into_iter().rev() {
            self.fewest = open.min(self.fewest);
            if open_bytes > self.bytes_max {
                continue;
            }
            let carried = self.carried(minimum);
            let bytes = open_bytes + carried.iter().copied().map(spelt).sum::<usize>();
            if bytes <= self.bytes_max {
                return Some(Cut { minimum, carried, full: bytes * 100 / self.bytes_max });
            }
        }
        None
    }

    /// What is carried forward of the entries before the minimum:
    ///
    /// - what is kept whoever is named behind ([`always_kept`]);
    /// - requests that an erasure behind carries out;
    /// - what was erased from the directory, where entries behind still have the reference.
    fn carried(&self, minimum: u64) -> BTreeSet<u64> {
        let Behind { marks, in_use, .. } = self.behind;
        let candidates = self.candidates.range(..minimum).map(|(index, (_, entry))| (index, entry));
        let wanted_by = self.behind.requests(minimum);
        let mut kept = always_kept(candidates.clone(), |digest| in_use.needs(minimum, digest));
        for (index, entry) in candidates {
            if !matches!(entry.kind, Kind::Key | Kind::System | Kind::Policy) && wanted_by.contains(index) {
                kept.insert(*index);
            }
            if let Some(Ok(Event::Erased(erasure))) = Event::read(*index, entry)
                && let Scope::Principal { directory: true, requested, request, .. } = erasure.scope
                && request.reference.as_ref().is_some_and(|reference| marks.has_from(minimum, reference))
            {
                kept.extend([Some(*index), requested].into_iter().flatten());
            }
        }
        kept.retain(|index| self.candidates.contains_key(index));
        kept
    }
}

/// Reads entries, all of them, from one on.
struct Reading<'r> {
    reader: &'r Reader,
    first: u64,
    seen: Vec<Seen>,
}

impl Reading<'_> {
    /// Up to `end` at least: rows of the store are read whole.
    async fn go_on(&mut self, end: u64) -> Result<(), ReadError> {
        let damaged = |index| ReadError::Damaged { first_index: index, last_index: end - 1 };
        let mut at = self.first + self.seen.len() as u64;
        while at < end {
            let bundles = self.reader.bundles(at).await?;
            if bundles.is_empty() {
                return Err(damaged(at));
            }
            for bundle in bundles {
                if at >= end {
                    break;
                }
                if bundle.first_index != at || sha256(&bundle.bytes) != bundle.sha256 {
                    return Err(damaged(at));
                }
                for entry in frames::iter(&bundle.bytes) {
                    let entry = entry.ok().and_then(Seen::of).ok_or_else(|| damaged(at))?;
                    self.seen.push(entry);
                }
                at = self.first + self.seen.len() as u64;
                if at != bundle.first_index + bundle.count {
                    return Err(damaged(bundle.first_index));
                }
            }
        }
        Ok(())
    }
}

impl Stretch {
    /// Those from `first` on, at most those before `reach`, both multiples of 256. As many as go in one transaction; more where
    /// too much is to be said of those at each nearer end. `said` is the pruning before, which carries `carried`.
    ///
    /// Behind each start of the broker there is an end at which nearly nothing is open, because a start ends everything. So an end is
    /// found if only one start is among the entries.
    pub(super) async fn read(
        reader: &Reader,
        (first, reach): (u64, u64),
        said: Option<&Pruning>,
        carried: Vec<(u64, Vec<u8>)>,
        behind: &Behind,
    ) -> Result<Self, PruneError> {
        let mut reading = Reading { reader, first, seen: Vec::new() };
        let mut cuts = Cuts::new(first, said, carried, behind);
        let mut end = reach.min(first + ENTRIES_AT_ONCE);
        let cut = loop {
            reading.go_on(end).await?;
            let new = usize::try_from(cuts.next - first).unwrap_or(usize::MAX);
            let count = usize::try_from(end - cuts.next).unwrap_or(usize::MAX);
            reading.seen.iter().skip(new).take(count).for_each(|one| cuts.see(one));
            match cuts.farthest() {
                Some(cut) => break cut,
                None if end >= reach => return Err(PruneError::NoCut { first, reach, open: cuts.fewest }),
                None => end = reach.min(end + WIDTH),
            }
        };
        let Cut { minimum, carried, full } = cut;
        if full > 50 {
            tracing::warn!(
                minimum,
                percent = full,
                "what must be said of entries that are pruned, which exchanges reach over the last of them and what is carried forward, \
                 takes more than half of the room in an entry; if it takes all of it, nothing is pruned up to an entry behind the next start \
                 of the broker: start it now and then, at least once in the time for which entries are kept"
            );
        }
        let carried = cuts.candidates.into_iter().filter(|(index, _)| carried.contains(index));
        let carried = carried.map(|(index, (bytes, _))| (index, bytes)).collect();
        let mut seen = reading.seen;
        let rest = rest(reader, minimum, &seen, first).await?;
        seen.truncate(usize::try_from(minimum - first).unwrap_or(usize::MAX));
        let Told { before, mut organisations, open, leaves, .. } = Told::of(first, seen, said);
        // Those whose last entry is among these need not be remembered by anybody.
        for (id, state) in reader.standing().await?.organisations {
            if state.last_index < minimum {
                organisations.insert(id, Place { sequence: state.sequence, previous: Some(state.last_index) });
            }
        }
        Ok(Self {
            first,
            minimum,
            before,
            organisations,
            organisations_left_out: said.map_or(0, |said| said.organisations_left_out),
            open,
            leaves,
            carried,
            rest,
        })
    }

    /// The published tiles have these hashes; the publisher has hashed the entries by itself, and signed over the tiles.
    pub(super) async fn compare(&self, published: &Path) -> Result<(), PruneError> {
        let (dir, tiles) = (published.to_owned(), self.tiles());
        let compare = move || {
            for (number, hashes) in tiles {
                let path = published_tile(&dir, number);
                let found = std::fs::read(&path).map_err(|source| ReadError::File { path, source })?;
                if found != hashes {
                    return Err(PruneError::Differs { first: number * WIDTH, last: number * WIDTH + WIDTH - 1 });
                }
            }
            Ok(())
        };
        tokio::task::spawn_blocking(compare).await.map_err(|_| ReadError::Closed)?
    }

    /// Numbers and hashes of the bundles.
    fn tiles(&self) -> Vec<(u64, Vec<u8>)> {
        let width = usize::try_from(WIDTH).unwrap_or(usize::MAX);
        let tiles = (self.first / WIDTH..).zip(self.leaves.chunks(width));
        tiles.map(|(number, hashes)| (number, hashes_to_bytes(hashes))).collect()
    }

    /// All that is carried forward.
    pub(super) fn carried(&self) -> &[(u64, Vec<u8>)] {
        &self.carried
    }

    pub(super) fn prune(&self, references: Vec<String>) -> Prune {
        debug_assert!(self.tiles().iter().all(|(_, hashes)| hashes.len() as u64 == WIDTH * HASH_BYTES as u64));
        Prune {
            minimum: self.minimum,
            before: self.before,
            leaves: self.tiles(),
            carried: self.carried.clone(),
            rest: self.rest.clone(),
            references,
        }
    }
}

/// What is left of the row of the store that holds entries on both sides.
async fn rest(reader: &Reader, minimum: u64, seen: &[Seen], first: u64) -> Result<Option<Rest>, ReadError> {
    let Some(row) = reader.bundle_of(minimum).await?.filter(|row| row.first_index < minimum) else { return Ok(None) };
    let mut bytes = Vec::new();
    let skip = usize::try_from(minimum - row.first_index).unwrap_or(usize::MAX);
    for entry in frames::iter(&row.bytes).skip(skip).flatten() {
        frames::push(&mut bytes, entry);
    }
    let from = usize::try_from(minimum - first).unwrap_or(usize::MAX);
    let count = row.first_index + row.count - minimum;
    let of_rest = seen.iter().skip(from).take(usize::try_from(count).unwrap_or(usize::MAX)).map(|one| one.time);
    let (time_first, time_last) =
        of_rest.fold((row.time_last, row.time_first), |(low, high), time| (low.min(time), high.max(time)));
    Ok(Some(Rest { of: row.first_index, count, time_first, time_last, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(opens: bool, closes: Option<u64>) -> Seen {
        Seen { leaf: leaf_hash(b""), time: Timestamp(0), place: None, opens, closes, candidate: None }
    }

    #[test]
    fn where_too_much_is_open_at_each_near_end_a_farther_one_is_found() {
        let behind = Behind::default();
        let mut cuts = Cuts::new(0, None, Vec::new(), &behind);
        // Of four digits and less: ten of them are longer than that.
        cuts.bytes_max = 40;
        let mut tried = Vec::new();
        let found = loop {
            let next = cuts.next;
            // Each of 5,000 exchanges is open while 5,000 others begin or end.
            cuts.see(&seen(next < 5_000, (5_000..10_000).contains(&next).then(|| next - 5_000)));
            if cuts.next.is_multiple_of(WIDTH) {
                tried.push(cuts.next);
                if let Some(cut) = cuts.farthest() {
                    break cut;
                }
            }
        };
        assert_eq!((found.minimum, found.full, tried.len()), (10_240, 0, 40));
    }

    #[test]
    fn of_several_ends_the_farthest_is_taken_at_which_all_fits() {
        let behind = Behind::default();
        let mut cuts = Cuts::new(256, None, Vec::new(), &behind);
        cuts.bytes_max = 40;
        // Open from 520 to 1,100, nine at a time; and eleven from 1,300 on, which do not fit.
        for index in 256..1_536_u64 {
            let opens = (520..529).contains(&index) || (1_300..1_311).contains(&index);
            cuts.see(&seen(opens, (1_100..1_109).contains(&index).then(|| index - 580)));
        }
        let cut = cuts.farthest().unwrap();
        assert_eq!((cut.minimum, cut.full, cuts.open.len()), (1_280, 0, 11));
        assert!(cuts.farthest().is_none(), "nothing is tried twice");
        let mut cuts = Cuts::new(256, None, Vec::new(), &behind);
        cuts.bytes_max = 40;
        (256..768_u64).for_each(|index| cuts.see(&seen((520..529).contains(&index), None)));
        assert_eq!(
            cuts.farthest().map(|cut| (cut.minimum, cut.full)),
            Some((768, 90)),
            "nine of three digits, and commas"
        );
    }
}
