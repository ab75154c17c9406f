//! The entries that go with one entry of kind `pruning`: their hashes, and what later ones need to know of them.

use super::behind::Behind;
use super::{PruneError, published_tile};
use crate::batch::sha256;
use crate::error::ReadError;
use crate::frames;
use crate::reader::Reader;
use crate::store::Bundle;
use model::entry::{BYTES_MAX, Entry, Kind, Place};
use model::erasure::{Event, Scope};
use model::pruning::{Prune, Pruning, Rest, WIDTH};
use model::{OrganisationId, Timestamp, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use tlog::{HASH_BYTES, Hash, leaf_hash};

const DAY_MS: i64 = 86_400_000;
/// Entries that go in one transaction, where they can. Others wait for it, so it must not be long.
const ENTRIES_AT_ONCE: u64 = 4_096;
/// Entries that go in one transaction at the most. Their hashes are half a gibibyte then; PostgreSQL takes no value of a whole one.
const ENTRIES_FAR: u64 = 1 << 24;
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
    /// Numbers and hashes of the bundles.
    leaves: Vec<(u64, Vec<u8>)>,
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
    /// Its bytes, if later ones may depend on it.
    pub candidate: Option<Vec<u8>>,
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

/// What entries from one of an index on come to, whoever read them: of each what is needed, and no more of them at a time.
#[derive(Debug)]
pub(super) struct Told {
    /// The next entry.
    pub next: u64,
    latest: Timestamp,
    /// Where sequences stand, as far as these and the pruning before say.
    pub organisations: BTreeMap<OrganisationId, Place>,
    /// Allowed, and without an outcome among these.
    pub open: BTreeSet<u64>,
}

impl Told {
    /// `said`: the pruning before.
    pub(super) fn behind(first: u64, said: Option<&Pruning>) -> Self {
        Self {
            next: first,
            latest: said.map_or(Timestamp::EPOCH, |said| said.before.plus_millis(-1)),
            organisations: said.map(|said| said.organisations.clone()).unwrap_or_default(),
            open: said.map(|said| said.open.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn see(&mut self, one: Seen) {
        let index = self.next;
        self.latest = self.latest.max(one.time);
        if one.opens {
            self.open.insert(index);
        }
        if let Some(of) = one.closes {
            self.open.remove(&of);
        }
        if let Some((id, place)) = one.place {
            self.organisations.insert(id, Place { sequence: place.sequence, previous: Some(index) });
        }
        self.next += 1;
    }

    /// The first midnight behind the latest of them.
    pub(super) fn before(&self) -> Timestamp {
        Timestamp((self.latest.millis().div_euclid(DAY_MS) + 1) * DAY_MS)
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
            Kind::System if is_opened(entry) => !std::mem::replace(&mut opened, true),
            Kind::Key | Kind::System => is_kept_for_ever(*index, entry),
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

/// Of those, what no later entry takes the place of.
fn is_kept_for_ever(index: u64, entry: &Entry) -> bool {
    match entry.kind {
        Kind::Key => true,
        Kind::System => index == 0 && entry.text("event") == Some("incarnation"),
        _ => false,
    }
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
    /// What those take that are carried forward whatever comes: it only grows.
    kept_bytes: usize,
    /// Ends of bundles that were not tried yet.
    ends: Vec<End>,
    bytes_max: usize,
    at_once: u64,
    /// The fewest exchanges that reach over one that was tried.
    fewest: usize,
}

/// An end of a bundle.
struct End {
    minimum: u64,
    /// So many exchanges are open there.
    open: usize,
    /// How long that is.
    open_bytes: usize,
    /// The same of what is carried forward, at the least.
    kept_bytes: usize,
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
            kept_bytes: 0,
            ends: Vec::new(),
            bytes_max: INDICES_BYTES_MAX,
            at_once: ENTRIES_AT_ONCE,
            fewest: usize::MAX,
        };
        carried.into_iter().for_each(|(index, bytes)| cuts.candidate(index, bytes));
        cuts
    }

    fn candidate(&mut self, index: u64, bytes: Vec<u8>) {
        if let Ok(entry) = Entry::parse(&bytes) {
            self.kept_bytes += if is_kept_for_ever(index, &entry) { spelt(index) } else { 0 };
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
            self.ends.push(End {
                minimum: self.next,
                open: self.open.len(),
                open_bytes: self.open_bytes,
                kept_bytes: self.kept_bytes,
            });
        }
    }

    /// The farthest one of those that are near, or the first behind them: the bytes of entries do not stay.
    async fn find(&mut self, reader: &Reader, reach: u64) -> Result<Cut, PruneError> {
        let first = self.next;
        let reach = reach.min(first.saturating_add(ENTRIES_FAR));
        let mut reading = Reading::new(reader, first);
        let mut end = reach.min(first + self.at_once);
        loop {
            while self.next < end {
                reading.row().await?.iter().for_each(|one| self.see(one));
            }
            match self.farthest(end) {
                Some(cut) => return Ok(cut),
                None if end >= reach || self.kept_bytes > self.bytes_max => {
                    return Err(PruneError::NoCut { first, reach, open: self.fewest });
                }
                None => end = reach.min(end + WIDTH),
            }
        }
    }

    /// The farthest one of those up to `end` that were not tried yet.
    fn farthest(&mut self, end: u64) -> Option<Cut> {
        let beyond = self.ends.partition_point(|one| one.minimum <= end);
        for one in self.ends.drain(..beyond).collect::<Vec<_>>().into_iter().rev() {
            let End { minimum, open, open_bytes, kept_bytes } = one;
            self.fewest = open.min(self.fewest);
            if open_bytes + kept_bytes > self.bytes_max {
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

/// Reads entries, all of them, from one on: a row of the store at a time, and never more than a few.
struct Reading<'r> {
    reader: &'r Reader,
    next: u64,
    rows: VecDeque<Bundle>,
}

impl<'r> Reading<'r> {
    fn new(reader: &'r Reader, first: u64) -> Self {
        Self { reader, next: first, rows: VecDeque::new() }
    }

    async fn row(&mut self) -> Result<Vec<Seen>, ReadError> {
        let at = self.next;
        if self.rows.is_empty() {
            self.rows = self.reader.bundles(at).await?.into();
        }
        let damaged = |last_index| ReadError::Damaged { first_index: at, last_index };
        let row = self.rows.pop_front().ok_or_else(|| damaged(at))?;
        let damaged = || damaged(row.first_index.max(at) + row.count.max(1) - 1);
        if row.first_index != at || sha256(&row.bytes) != row.sha256 {
            return Err(damaged());
        }
        let seen = frames::iter(&row.bytes).map(|entry| Seen::of(entry.ok()?)).collect::<Option<Vec<_>>>();
        let seen = seen.filter(|seen| !seen.is_empty() && seen.len() as u64 == row.count).ok_or_else(damaged)?;
        self.next += row.count;
        Ok(seen)
    }
}

impl Stretch {
    /// Those from `first` on, at most those before `reach`, both multiples of 256. As many as go in one transaction; more where
    /// too much is to be said of those at each nearer end. `said` is the pruning before, which carries `carried`.
    ///
    /// Behind each start of the broker there is an end at which nearly nothing is open, because a start ends everything. So an end is
    /// found if only one start is among the entries. It may be far: so it is looked for first, with nothing in memory but what
    /// would be said there, and then what goes is read once more. Of that the hashes are kept, 32 bytes each: they go in one transaction.
    pub(super) async fn read(
        reader: &Reader,
        (first, reach): (u64, u64),
        said: Option<&Pruning>,
        carried: Vec<(u64, Vec<u8>)>,
        behind: &Behind,
    ) -> Result<Self, PruneError> {
        let mut cuts = Cuts::new(first, said, carried, behind);
        let Cut { minimum, carried, full } = cuts.find(reader, reach).await?;
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
        let (told, leaves) = all(reader, (first, minimum), said).await?;
        let (before, Told { mut organisations, open, .. }) = (told.before(), told);
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
            rest: rest(reader, minimum).await?,
        })
    }

    /// The published tiles have these hashes; the publisher has hashed the entries by itself, and signed over the tiles.
    pub(super) async fn compare(self, published: &Path) -> Result<Self, PruneError> {
        let dir = published.to_owned();
        let compare = move || {
            for (number, hashes) in &self.leaves {
                let path = published_tile(&dir, *number);
                let found = std::fs::read(&path).map_err(|source| ReadError::File { path, source })?;
                if found != *hashes {
                    return Err(PruneError::Differs { first: number * WIDTH, last: number * WIDTH + WIDTH - 1 });
                }
            }
            Ok(self)
        };
        tokio::task::spawn_blocking(compare).await.map_err(|_| ReadError::Closed)?
    }

    /// All that is carried forward.
    pub(super) fn carried(&self) -> &[(u64, Vec<u8>)] {
        &self.carried
    }

    /// What the store is to do. From here on only what the entry says is left of this.
    pub(super) fn prune(&mut self, references: Vec<String>) -> Prune {
        debug_assert!(self.leaves.iter().all(|(_, hashes)| hashes.len() as u64 == WIDTH * HASH_BYTES as u64));
        Prune {
            minimum: self.minimum,
            before: self.before,
            leaves: std::mem::take(&mut self.leaves),
            carried: std::mem::take(&mut self.carried),
            rest: self.rest.take(),
            references,
        }
    }
}

/// What entries from `first` to `end`, both ends of bundles, come to, with numbers and hashes of the bundles.
async fn all(
    reader: &Reader,
    (first, end): (u64, u64),
    said: Option<&Pruning>,
) -> Result<(Told, Vec<(u64, Vec<u8>)>), ReadError> {
    let (mut told, mut reading) = (Told::behind(first, said), Reading::new(reader, first));
    let mut leaves: Vec<(u64, Vec<u8>)> = Vec::new();
    while told.next < end {
        let left = usize::try_from(end - told.next).unwrap_or(usize::MAX);
        for one in reading.row().await?.into_iter().take(left) {
            let number = told.next / WIDTH;
            match leaves.last_mut().filter(|(last, _)| *last == number) {
                Some((_, hashes)) => hashes.extend_from_slice(&one.leaf.0),
                None => leaves.push((number, one.leaf.0.to_vec())),
            }
            told.see(one);
        }
    }
    Ok((told, leaves))
}

/// What is left of the row of the store that holds entries on both sides.
async fn rest(reader: &Reader, minimum: u64) -> Result<Option<Rest>, ReadError> {
    let Some(row) = reader.bundle_of(minimum).await?.filter(|row| row.first_index < minimum) else { return Ok(None) };
    let (mut bytes, mut times) = (Vec::new(), Vec::new());
    let skip = usize::try_from(minimum - row.first_index).unwrap_or(usize::MAX);
    for entry in frames::iter(&row.bytes).skip(skip).flatten() {
        frames::push(&mut bytes, entry);
        times.extend(Entry::parse(entry).ok().map(|entry| entry.time));
    }
    let (time_first, time_last) =
        times.into_iter().fold((row.time_last, row.time_first), |(low, high), time| (low.min(time), high.max(time)));
    Ok(Some(Rest { of: row.first_index, count: row.first_index + row.count - minimum, time_first, time_last, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Log;
    use crate::reader::CHUNK_BYTES_MAX;
    use crate::tests::harness::{allow, deny, open, outcome};
    use model::entry::Draft;

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
                if let Some(cut) = cuts.farthest(u64::MAX) {
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
        let cut = cuts.farthest(u64::MAX).unwrap();
        assert_eq!((cut.minimum, cut.full, cuts.open.len()), (1_280, 0, 11));
        assert!(cuts.farthest(u64::MAX).is_none(), "nothing is tried twice");
        let mut cuts = Cuts::new(256, None, Vec::new(), &behind);
        cuts.bytes_max = 40;
        (256..768_u64).for_each(|index| cuts.see(&seen((520..529).contains(&index), None)));
        assert_eq!(
            cuts.farthest(u64::MAX).map(|cut| (cut.minimum, cut.full)),
            Some((768, 90)),
            "nine of three digits, and commas"
        );
    }

    #[tokio::test]
    async fn no_farther_end_is_looked_for_once_what_is_always_kept_does_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).await;
        let key = || {
            let members =
                [("event", Value::text("announced")), ("key", Value::text("k")), ("signer", Value::text("k"))];
            Draft::new(Kind::Key, &log.common(), None, members, vec![]).unwrap()
        };
        logged(&log, (0..20).map(|_| key()).collect()).await;
        logged(&log, (0..1_480).map(|_| deny(&log, "acme", "no")).collect()).await;
        let behind = Behind::default();
        let mut cuts = Cuts::new(0, None, Vec::new(), &behind);
        (cuts.bytes_max, cuts.at_once) = (40, 2 * WIDTH);
        let none = cuts.find(&log.inner.reader, 1_280).await.err();
        assert!(matches!(none, Some(PruneError::NoCut { first: 0, reach: 1_280, open: 0 })), "{none:?}");
        assert!(cuts.next < 2 * WIDTH + 99, "nothing is read behind it: {}", cuts.next);
        log.close().await;
    }

    async fn logged(log: &Log, drafts: Vec<Draft>) -> Vec<u64> {
        let mut indices = Vec::new();
        for some in drafts.chunks(99) {
            let appended = futures_util::future::join_all(some.iter().map(|draft| log.append(draft.clone()))).await;
            indices.extend(appended.into_iter().map(|one| one.unwrap().index));
        }
        indices
    }

    #[tokio::test]
    async fn a_far_end_is_looked_for_and_read_without_all_entries_before_it_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).await;
        let open = logged(&log, (0..20).map(|n| allow(&log, "acme", &n.to_string())).collect()).await;
        logged(&log, (0..1_480).map(|_| deny(&log, "acme", "no")).collect()).await;
        for (n, index) in open.iter().enumerate() {
            log.append_outcome(outcome(&log, "acme", &n.to_string(), *index)).await.unwrap();
        }
        logged(&log, (0..479).map(|_| deny(&log, "bolt", "no")).collect()).await;
        let (reader, behind) = (&log.inner.reader, Behind::default());
        let find = async |reach| {
            let mut cuts = Cuts::new(0, None, Vec::new(), &behind);
            // Twenty of one digit and two are longer.
            (cuts.bytes_max, cuts.at_once) = (40, 2 * WIDTH);
            let found = cuts.find(reader, reach).await.map(|cut| (cut.minimum, cut.carried));
            (found, cuts.next, cuts.ends.len())
        };
        let (found, seen, ends) = find(1_792).await;
        assert_eq!(found.unwrap(), (1_536, BTreeSet::from([0])));
        assert!(seen < 1_536 + 99 && ends == 0, "nothing is read behind it: {seen}");
        let (none, ..) = find(1_280).await;
        assert!(matches!(none, Err(PruneError::NoCut { first: 0, reach: 1_280, open: 20 })), "{none:?}");
        // What goes is what it was, read in steps.
        let (mut reading, mut all_seen) = (Reading::new(reader, 0), Vec::new());
        while reading.next < log.size() {
            all_seen.extend(reading.row().await.unwrap());
            let held: usize = reading.rows.iter().map(|row| row.bytes.len()).sum();
            assert!(held <= 2 * CHUNK_BYTES_MAX, "{held} bytes");
        }
        let (told, leaves) = all(reader, (0, 1_536), None).await.unwrap();
        let hashes: Vec<[u8; HASH_BYTES]> = all_seen.iter().take(1_536).map(|one| one.leaf.0).collect();
        assert_eq!(leaves.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..6).collect::<Vec<_>>());
        assert_eq!(leaves.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>(), hashes.concat());
        assert_eq!((told.next, told.open.len()), (1_536, 0));
        let (before_outcomes, _) = all(reader, (0, 1_280), None).await.unwrap();
        assert_eq!(before_outcomes.open, open.iter().copied().collect());
        assert_eq!(told.organisations.len(), 2);
        // The row that reaches over it is cut, and the rest has its own times.
        let left = rest(reader, 1_536).await.unwrap().unwrap();
        let of_rest: Vec<Timestamp> = all_seen[1_536..].iter().map(|one| one.time).take(left.count as usize).collect();
        assert_eq!((Some(&left.time_first), Some(&left.time_last)), (of_rest.iter().min(), of_rest.iter().max()));
        assert_eq!(frames::iter(&left.bytes).count() as u64, left.count);
        log.close().await;
    }
}
