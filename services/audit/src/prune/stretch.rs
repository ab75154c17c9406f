//! The entries that go with one entry of kind `pruning`: their hashes, and what later ones need to know of them.

use super::marks::Marks;
use super::{OPEN_MAX, PruneError, published_tile};
use crate::batch::sha256;
use crate::error::ReadError;
use crate::frames;
use crate::reader::Reader;
use model::entry::{Entry, Kind, Place};
use model::erasure::{Event, Scope};
use model::pruning::{Prune, Pruning, Rest, WIDTH};
use model::{OrganisationId, Timestamp, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tlog::{HASH_BYTES, Hash, hashes_to_bytes, leaf_hash};

const DAY_MS: i64 = 86_400_000;

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
    /// Entries that later ones may depend on, by index.
    candidates: BTreeMap<u64, Vec<u8>>,
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

/// Those of what later entries may depend on that are carried forward whatever is behind: what was said of keys, with what a log
/// began that took another's place, that the log was opened last, and which policies came into use since.
pub(super) fn always_kept(candidates: &BTreeMap<u64, Entry>) -> BTreeSet<u64> {
    let is_opened = |entry: &Entry| entry.kind == Kind::System && entry.text("event") == Some("opened");
    let opened = candidates.iter().rev().find(|(_, entry)| is_opened(entry)).map(|(index, _)| *index);
    let is_kept = |index: u64, entry: &Entry| match entry.kind {
        Kind::Key => true,
        Kind::System => index == 0 && entry.text("event") == Some("incarnation") || Some(index) == opened,
        Kind::Policy => opened.is_some_and(|opened| opened < index),
        _ => false,
    };
    candidates.iter().filter(|(index, entry)| is_kept(**index, entry)).map(|(index, _)| *index).collect()
}

/// Those of the bytes that are entries.
pub(super) fn parsed(candidates: &BTreeMap<u64, Vec<u8>>) -> BTreeMap<u64, Entry> {
    candidates.iter().filter_map(|(index, bytes)| Some((*index, Entry::parse(bytes).ok()?))).collect()
}

impl Stretch {
    /// Those between these, both multiples of 256; fewer where too many exchanges reach over the end. `said` is the pruning
    /// before.
    pub(super) async fn read(
        reader: &Reader,
        (first, end): (u64, u64),
        said: Option<&Pruning>,
    ) -> Result<Self, PruneError> {
        let damaged = |index| ReadError::Damaged { first_index: index, last_index: end - 1 };
        let mut seen = Vec::new();
        let mut at = first;
        while at < end {
            let bundles = reader.bundles(at).await?;
            if bundles.is_empty() {
                return Err(damaged(at).into());
            }
            for bundle in bundles {
                if at >= end {
                    break;
                }
                if bundle.first_index != at || sha256(&bundle.bytes) != bundle.sha256 {
                    return Err(damaged(at).into());
                }
                for entry in frames::iter(&bundle.bytes) {
                    let entry = entry.ok().and_then(Seen::of).ok_or_else(|| damaged(at))?;
                    seen.push(entry);
                }
                at = first + seen.len() as u64;
                if at != bundle.first_index + bundle.count {
                    return Err(damaged(bundle.first_index).into());
                }
            }
        }
        let mut open = said.map(|said| said.open.clone()).unwrap_or_default();
        let mut minimum = None;
        for (index, one) in (first..end).zip(&seen) {
            if one.opens {
                open.insert(index);
            }
            if let Some(of) = one.closes {
                open.remove(&of);
            }
            if (index + 1).is_multiple_of(WIDTH) && open.len() <= OPEN_MAX {
                minimum = Some(index + 1);
            }
        }
        let minimum = minimum.ok_or_else(|| {
            let what = format!("more than {OPEN_MAX} exchanges reach over every end of a bundle up to {end}");
            PruneError::Policy(what)
        })?;
        let rest = rest(reader, minimum, &seen, first).await?;
        seen.truncate(usize::try_from(minimum - first).unwrap_or(usize::MAX));
        let Told { before, mut organisations, open, leaves, candidates } = Told::of(first, seen, said);
        // Those whose last entry is among these need not be remembered by anybody.
        for (id, state) in reader.standing().await?.organisations {
            if state.last_index < minimum {
                organisations.insert(id, Place { sequence: state.sequence, previous: Some(state.last_index) });
            }
        }
        let mut all: BTreeMap<u64, Vec<u8>> = reader.carried().await?.into_iter().collect();
        all.extend(candidates);
        Ok(Self {
            first,
            minimum,
            before,
            organisations,
            organisations_left_out: said.map_or(0, |said| said.organisations_left_out),
            open,
            leaves,
            candidates: all,
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

    /// What is carried forward of the entries before the minimum:
    ///
    /// - with what a log began that took another's place;
    /// - what was said of the log's keys, so that whoever has an old one still comes to the new one;
    /// - that the log was opened last, and which policies came into use since, for the decisions behind;
    /// - requests that an erasure behind carries out;
    /// - what was erased from the directory, where entries behind still have the reference.
    pub(super) async fn carried(&self, reader: &Reader, marks: &Marks) -> Result<Vec<(u64, Vec<u8>)>, PruneError> {
        let wanted_by = requests_behind(reader, self.minimum).await?;
        let parsed = parsed(&self.candidates);
        let mut kept = always_kept(&parsed);
        for (index, entry) in &parsed {
            if !matches!(entry.kind, Kind::Key | Kind::System | Kind::Policy) && wanted_by.contains(index) {
                kept.insert(*index);
            }
            if let Some(Ok(Event::Erased(erasure))) = Event::read(*index, entry)
                && let Scope::Principal { directory: true, requested, request, .. } = erasure.scope
                && request.reference.as_ref().is_some_and(|reference| marks.has_from(self.minimum, reference))
            {
                kept.extend([Some(*index), requested].into_iter().flatten());
            }
        }
        Ok(self.candidates.iter().filter(|(index, _)| kept.contains(index)).map(|(i, b)| (*i, b.clone())).collect())
    }

    pub(super) fn prune(&self, carried: Vec<(u64, Vec<u8>)>, references: Vec<String>) -> Prune {
        debug_assert!(self.tiles().iter().all(|(_, hashes)| hashes.len() as u64 == WIDTH * HASH_BYTES as u64));
        Prune {
            minimum: self.minimum,
            before: self.before,
            leaves: self.tiles(),
            carried,
            rest: self.rest.clone(),
            references,
        }
    }
}

/// Requests for erasures before `minimum` that entries behind it carry out.
async fn requests_behind(reader: &Reader, minimum: u64) -> Result<BTreeSet<u64>, PruneError> {
    let mut wanted = BTreeSet::new();
    for index in reader.erasure_entries_after(minimum.checked_sub(1)).await? {
        if let Some(Event::Erased(erasure)) = crate::erase::event(reader, index).await?
            && let Scope::Principal { requested: Some(requested), .. } = erasure.scope
            && requested < minimum
        {
            wanted.insert(requested);
        }
    }
    Ok(wanted)
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
