//! What a pruning is held against before anything rests on it.
//!
//! Whoever can write to the store and has no key can put into it, while the broker is stopped, what no broker has written: also an
//! entry of kind `pruning`, consistent with all that is there, by which published evidence would go. So one that no signed
//! checkpoint covers must be what this log's own broker would have written: by the policy that is configured, and of entries that
//! are published still, under a signature, and were old enough, closed and hashed as it says. And one that is said to be covered
//! must be, with what is carried forward by it. It is judged by the same time of day by which it would have been written, and by none
//! where that is doubted. What this does **not** do: of persons who went from the directory nothing can be compared (so none goes by whom nobody can
//! tell from a person on hold), and a pruning that is all that the policy asks for is believed, whoever wrote it.

use super::behind::InUse;
use super::stretch::{Seen, Told, always_kept, parsed};
use crate::append::Log;
use crate::batch::sha256;
use crate::erase::{Retention, held_of};
use crate::error::ReadError;
use crate::frames;
use crate::publish::PublishError;
use crate::publish::files::read_optional;
use crate::publish::prune::carried_path;
use crate::published::Publication;
use crate::reader::Reader;
use crate::recover::entry_bytes;
use crate::store::CheckpointRow;
use model::entry::{Entry, Kind};
use model::erasure::{Held, People};
use model::pruning::{Pruning, WIDTH};
use model::{Digest, OrganisationId, Timestamp, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tlog::{CompactRange, Hash, hashes_to_bytes, leaf_hash, proof};

const DAY_MS: i64 = 86_400_000;
/// Bundles whose hashes are read at a time.
const TILES_AT_ONCE: u32 = 64;
/// Height of the subtree over a bundle.
const BUNDLE_LEVEL: u8 = 8;

fn forged(at: u64, what: impl Into<String>) -> PublishError {
    PublishError::ForgedPruning { at, what: what.into() }
}

/// Holds the prunings that the checkpoint `last` does not cover against the policy, against what it covers, and against what is
/// published in `dir`.
///
/// # Errors
/// The first that is not what this log's broker would have written, or that cannot be compared. When there is one, and the clock may
/// be wrong.
pub(crate) async fn check_unsigned(
    log: &Log,
    last: Option<&CheckpointRow>,
    dir: &Path,
    retention: &Retention,
) -> Result<(), PublishError> {
    let reader = &log.inner.reader;
    let note = last.map(|last| last.note.clone()).unwrap_or_default();
    let size = Publication::parse(&note).map_or(0, |signed| signed.size);
    let listed = reader.prunings().await?;
    let (before, new): (Vec<_>, Vec<_>) = listed.into_iter().partition(|(index, _)| *index < size);
    let Tail { said, outcomes } = Tail::read(reader, size).await?;
    let new: BTreeMap<u64, u64> = new.into_iter().collect();
    let unlike = new.keys().filter(|index| !said.contains_key(index));
    if let Some(at) = said.keys().filter(|index| !new.contains_key(index)).chain(unlike).min() {
        return Err(forged(*at, "the entry and the store's list of such entries are not of one mind"));
    }
    let Some(first_at) = said.keys().next().copied() else { return Ok(()) };
    let mut prunings = Vec::new();
    for (at, entry) in &said {
        let said = match Pruning::read(*at, entry) {
            Some(Ok(said)) if new.get(at) == Some(&said.minimum) => said,
            Some(Err(member)) => return Err(forged(*at, format!("its member `{member}` cannot be understood"))),
            _ => return Err(forged(*at, "the store lists it with another minimum index")),
        };
        let days = retention.entries.as_ref().map(|kept| kept.days);
        if days != Some(said.days) || said.policy != Digest(sha256(&retention.text())) {
            let text = reader.content(&said.policy).await?;
            let text = text.filter(|text| Digest(sha256(text)) == said.policy);
            let named = || format!("{} of {} days, of which there is no text", said.policy.to_hex(), said.days);
            let policy = text.map_or_else(named, |text| String::from_utf8_lossy(&text).into_owned());
            return Err(PublishError::OtherRetention { at: *at, policy });
        }
        prunings.push(said);
    }
    if last.is_none() {
        return Err(forged(first_at, "nothing of this log was signed before"));
    }
    let mut leaves = BTreeMap::new();
    let end = prunings.last().map_or(0, |last| last.minimum / WIDTH);
    let mut number = prunings.first().map_or(0, |first| first.first / WIDTH);
    while number < end {
        let rows = reader.leaves(number, TILES_AT_ONCE).await?;
        let Some(last) = rows.last() else { break };
        number = last.0 + 1;
        leaves.extend(rows);
    }
    let held = held_of(reader, &retention.holds).await?;
    let is_unknown = held.references.len() < retention.holds.principals().count();
    if let Some(said) = prunings.iter().find(|said| is_unknown && said.directory > 0) {
        let what = String::from(
            "somebody on hold has no name in the store any longer, and may be one of those whose names went with it",
        );
        return Err(PublishError::HeldPruning { at: said.index, what });
    }
    let now = log.inner.shared.now();
    let doubted = |source| PublishError::DoubtedPruning { at: first_at, source: Box::new(source) };
    let now = log.time_to_delete_by(now).await.map_err(doubted)?;
    let carried: BTreeMap<u64, Vec<u8>> = reader.carried_rows().await?.1.into_iter().collect();
    let before = before.last().map(|(index, _)| *index);
    let dir = dir.to_owned();
    let compare = move || {
        let mut signed = Signed::open(dir, &note).ok_or_else(|| forged(first_at, "nothing of this log was signed"))?;
        let before = before.map(|index| signed.pruning(index)).transpose()?;
        Compare { signed, now, held, leaves, carried, outcomes, in_use: None }.all(before, &prunings)
    };
    tokio::task::spawn_blocking(compare).await.unwrap_or(Err(PublishError::Stopped))
}

/// The pruning that counts is under the checkpoint `last`, if that is said to cover it, and so is what it carries forward.
///
/// # Errors
/// When that is not so, or cannot be told.
pub(crate) async fn check_signed(
    reader: &Reader,
    last: Option<&CheckpointRow>,
    dir: &Path,
) -> Result<(), PublishError> {
    let Some((at, _)) = reader.prunings().await?.last().copied() else { return Ok(()) };
    let (dir, note) = (dir.to_owned(), last.map(|last| last.note.clone()).unwrap_or_default());
    if Publication::parse(&note).is_ok_and(|signed| signed.size <= at) {
        return Ok(());
    }
    let bytes = entry_bytes(reader, at).await?.unwrap_or_default();
    let rows = reader.carried_rows().await?.1;
    let compare = move || {
        let mut signed = Signed::open(dir, &note).ok_or_else(|| forged(at, "nothing of this log was signed"))?;
        match signed.has(at, leaf_hash(&bytes)) {
            Ok(true) => {}
            Ok(false) => return Err(forged(at, "it is not what the signed checkpoint covers there")),
            Err(source) => return Err(PublishError::NotComparedPruning { at, source }),
        }
        let said = Entry::parse(&bytes).ok().and_then(|entry| Pruning::read(at, &entry)?.ok());
        let said = said.ok_or_else(|| forged(at, "it cannot be understood"))?;
        signed.carries(&said, &rows.into_iter().collect())
    };
    tokio::task::spawn_blocking(compare).await.unwrap_or(Err(PublishError::Stopped))
}

/// What the store carries forward is what the tree of the signed note has there, whose tiles are in `dir`. Blocking.
///
/// # Errors
/// The first entry that is not, or that cannot be told.
pub(crate) fn check_carried(
    dir: &Path,
    note: &str,
    said: &Pruning,
    carried: &[(u64, Vec<u8>)],
) -> Result<(), PublishError> {
    let mut signed =
        Signed::open(dir.to_owned(), note).ok_or_else(|| forged(said.index, "nothing of this log was signed"))?;
    signed.carries(said, &carried.iter().cloned().collect())
}

/// What stands behind the last signed checkpoint.
struct Tail {
    /// Entries of the kind.
    said: BTreeMap<u64, Entry>,
    /// Exchanges that have an outcome there, and where.
    outcomes: BTreeMap<u64, u64>,
}

impl Tail {
    async fn read(reader: &Reader, mut from: u64) -> Result<Self, PublishError> {
        let mut tail = Self { said: BTreeMap::new(), outcomes: BTreeMap::new() };
        loop {
            let bundles = reader.bundles(from).await?;
            let Some(last) = bundles.last() else { return Ok(tail) };
            from = last.first_index + last.count.max(1);
            for bundle in &bundles {
                for (index, bytes) in (bundle.first_index..).zip(frames::iter(&bundle.bytes)) {
                    tail.see(index, bytes.unwrap_or_default());
                }
            }
        }
    }

    fn see(&mut self, index: u64, bytes: &[u8]) {
        let Ok(entry) = Entry::parse(bytes) else { return };
        match entry.kind {
            Kind::Pruning => drop(self.said.insert(index, entry)),
            Kind::Outcome => {
                let of = entry.get("of").and_then(Value::as_int).and_then(|of| u64::try_from(of).ok());
                self.outcomes.extend(of.map(|of| (of, index)));
            }
            _ => {}
        }
    }
}

/// What is published, at a signed checkpoint. Nothing of it is believed that is not under that.
struct Signed {
    dir: PathBuf,
    published: Publication,
}

impl Signed {
    fn open(dir: PathBuf, note: &str) -> Option<Self> {
        let published = Publication::of(&dir, note)?;
        Some(Self { dir, published })
    }

    /// Whether the entry with this hash stands there.
    fn has(&mut self, index: u64, leaf: Hash) -> Result<bool, ReadError> {
        let proof = self.published.prove(index)?.proof;
        let checkpoint = self.published.checkpoint();
        Ok(proof::verify_inclusion(leaf, index, checkpoint.size, &proof, checkpoint.root).is_ok())
    }

    /// Whether the bundle `number` of the tree has these entries.
    fn has_bundle(&mut self, number: u64, leaves: &[Hash]) -> bool {
        let (first, size, root) = (number * WIDTH, self.published.checkpoint().size, self.published.checkpoint().root);
        // The siblings below are made of these entries: with another one among them there is another root above.
        let inner = |level: u8, index: u64| {
            let begin = usize::try_from((index << level).checked_sub(first)?).ok()?;
            let some = leaves.get(begin..begin.checked_add(1 << level)?)?;
            let mut range = CompactRange::new();
            some.iter().for_each(|leaf| range.push(*leaf));
            Some(range.root())
        };
        let is_inner = |level: u8, index: u64| level < BUNDLE_LEVEL && (index << level) / WIDTH == number;
        let fetch = |level, index| {
            if is_inner(level, index) { inner(level, index) } else { self.published.subtree(level, index).ok() }
        };
        let Some(leaf) = leaves.first().filter(|_| leaves.len() as u64 == WIDTH) else { return false };
        let proof = proof::inclusion(first, size, fetch);
        proof.is_ok_and(|proof| proof::verify_inclusion(*leaf, first, size, &proof, root).is_ok())
    }

    /// The entry of that index.
    fn entry(&mut self, index: u64) -> Result<Vec<u8>, ReadError> {
        let path = self.dir.join(carried_path(index));
        let bytes = match self.published.entry(index) {
            Ok(bytes) => bytes,
            Err(error) => read_optional(&path).ok().flatten().ok_or(error)?,
        };
        if self.has(index, leaf_hash(&bytes))? {
            return Ok(bytes);
        }
        let what = format!("has another entry {index} than the signed checkpoint covers");
        Err(ReadError::Published { path: self.dir.clone(), what })
    }

    /// Of the rows those of which the pruning speaks are all there, and what was signed. Others count for nothing.
    fn carries(&mut self, said: &Pruning, rows: &BTreeMap<u64, Vec<u8>>) -> Result<(), PublishError> {
        for index in &said.carried {
            let is_so = match rows.get(index) {
                Some(bytes) => self.has(*index, leaf_hash(bytes)),
                None => Ok(false),
            };
            if !is_so.map_err(|source| PublishError::NotComparedPruning { at: said.index, source })? {
                return Err(PublishError::Carried { at: said.index, index: *index });
            }
        }
        Ok(())
    }

    /// The pruning of that index.
    fn pruning(&mut self, index: u64) -> Result<Pruning, PublishError> {
        let bytes = self.entry(index).map_err(|source| PublishError::NotComparedPruning { at: index, source })?;
        let said = Entry::parse(&bytes).ok().and_then(|entry| Pruning::read(index, &entry)?.ok());
        said.ok_or_else(|| forged(index, "the signed checkpoint covers another entry there"))
    }
}

struct Compare {
    signed: Signed,
    now: Timestamp,
    held: Held,
    /// As the store has them.
    leaves: BTreeMap<u64, Vec<u8>>,
    carried: BTreeMap<u64, Vec<u8>>,
    outcomes: BTreeMap<u64, u64>,
    /// By which policies entries that are gone and those behind were decided, once somebody has asked.
    in_use: Option<InUse>,
}

/// When a broker's policy reaches to `before`, which goes by whole months.
fn reached(before: Timestamp, days: u32) -> Timestamp {
    let month = before.start_of_month();
    let month = if month < before { month.plus_millis(32 * DAY_MS).start_of_month() } else { month };
    month.plus_millis(i64::from(days) * DAY_MS)
}

impl Compare {
    fn all(mut self, mut before: Option<Pruning>, prunings: &[Pruning]) -> Result<(), PublishError> {
        for said in prunings {
            self.one(before.as_ref(), said)?;
            before = Some(said.clone());
        }
        match prunings.last() {
            Some(last) => self.last(last),
            None => Ok(()),
        }
    }

    fn one(&mut self, before: Option<&Pruning>, said: &Pruning) -> Result<(), PublishError> {
        let bad = |what: String| Err(forged(said.index, what));
        if let Some(fault) = said.fault().or_else(|| said.fault_behind(before)) {
            return bad(format!("it is {fault}"));
        }
        let gone = before.map_or(0, |before| before.minimum);
        if said.first != gone {
            return bad(format!("it is of entries from {} on, and those before {gone} were gone", said.first));
        }
        if said.minimum > self.signed.published.size() {
            return bad(String::from("no signed checkpoint covers all that it says is gone"));
        }
        let reached = reached(said.before, said.days);
        // A clock may be set by so much before it is doubted (`belief.rs`).
        if reached > self.now && reached.millis() - self.now.millis() <= DAY_MS {
            return Err(PublishError::EarlyPruning { at: said.index, reached, now: self.now });
        }
        if reached > self.now {
            return bad(format!("its policy does not reach to {} yet, at {}", said.before, self.now));
        }
        let (told, mut candidates) = self.told(said, before)?;
        if told.before() != said.before {
            return bad(format!(
                "it says that all were of before {}, and they were of before {}",
                said.before,
                told.before()
            ));
        }
        if told.open != said.open {
            return bad(String::from("other exchanges reach over its end than it says"));
        }
        let unheard = |id: &OrganisationId| {
            before.is_none_or(|before| before.organisations_left_out == 0) && !told.organisations.contains_key(id)
        };
        let is_other =
            said.organisations.iter().any(|(id, at)| told.organisations.get(id).is_some_and(|told| told != at));
        let missing = told.organisations.keys().filter(|id| !said.organisations.contains_key(*id)).count() as u64;
        if is_other || missing > said.organisations_left_out || said.organisations.keys().any(unheard) {
            return bad(String::from("sequences of organisations stand elsewhere than it says"));
        }
        for index in before.iter().flat_map(|before| &before.carried) {
            candidates.insert(*index, self.entry(*index, said)?);
        }
        if let Some(index) = self.left_out(said, &parsed(&candidates))? {
            return bad(format!("it does not carry entry {index} forward, on which others depend"));
        }
        match said.carried.iter().find(|index| !candidates.contains_key(index)) {
            Some(index) => bad(format!("it carries entry {index} forward, on which nothing depends")),
            None => Ok(()),
        }
    }

    /// The first entry that it must carry forward and does not.
    fn left_out(&mut self, said: &Pruning, candidates: &BTreeMap<u64, Entry>) -> Result<Option<u64>, PublishError> {
        let first = |kept: BTreeSet<u64>| kept.difference(&said.carried).next().copied();
        // Mostly no set of policies is in question, and a log is long.
        if let Some(index) = first(always_kept(candidates.iter(), |_| false)) {
            return Ok(Some(index));
        }
        if first(always_kept(candidates.iter(), |_| true)).is_none() {
            return Ok(None);
        }
        let in_use = match self.in_use.take() {
            Some(in_use) => in_use,
            None => self.in_use_from(said)?,
        };
        let left_out = first(always_kept(candidates.iter(), |digest| in_use.needs(said.minimum, digest)));
        self.in_use = Some(in_use);
        Ok(left_out)
    }

    /// Of all entries that are published, from the first on that went with this pruning.
    fn in_use_from(&mut self, said: &Pruning) -> Result<InUse, PublishError> {
        let mut in_use = InUse::default();
        let mut number = said.first / WIDTH;
        while number * WIDTH < self.signed.published.size() {
            let entries = self.signed.published.bundle(number);
            let entries = entries.map_err(|source| PublishError::NotComparedPruning { at: said.index, source })?;
            (number * WIDTH..).zip(entries).for_each(|(index, entry)| in_use.see(index, entry));
            number += 1;
        }
        Ok(in_use)
    }

    /// What those come to that are gone, as they are published, if that is what was signed, and those of them that later ones may
    /// depend on. `before`: the pruning before.
    fn told(
        &mut self,
        said: &Pruning,
        before: Option<&Pruning>,
    ) -> Result<(Told, BTreeMap<u64, Vec<u8>>), PublishError> {
        let (mut told, mut candidates) = (Told::behind(said.first, before), BTreeMap::new());
        for number in said.first / WIDTH..said.minimum / WIDTH {
            let (first, last) = (number * WIDTH, number * WIDTH + WIDTH - 1);
            let unlike = |dir: &Path| {
                let what = format!("has other entries {first} to {last} than the signed checkpoint covers");
                PublishError::NotComparedPruning {
                    at: said.index,
                    source: ReadError::Published { path: dir.to_owned(), what },
                }
            };
            let seen = self.seen(number, said)?.ok_or_else(|| unlike(&self.signed.dir))?;
            let leaves: Vec<Hash> = seen.iter().map(|one| one.leaf).collect();
            if !self.signed.has_bundle(number, &leaves) {
                return Err(unlike(&self.signed.dir));
            }
            if self.leaves.get(&number) != Some(&hashes_to_bytes(&leaves)) {
                return Err(forged(
                    said.index,
                    format!("the hashes in the place of entries {first} to {last} are not theirs"),
                ));
            }
            if let Some(index) = self.on_hold(number) {
                let what = format!("somebody on hold takes part in entry {index}, which is one of them");
                return Err(PublishError::HeldPruning { at: said.index, what });
            }
            for mut one in seen {
                candidates.extend(one.candidate.take().map(|bytes| (told.next, bytes)));
                told.see(one);
            }
        }
        Ok((told, candidates))
    }

    /// The first entry of a bundle in which somebody on hold takes part.
    fn on_hold(&mut self, number: u64) -> Option<u64> {
        if self.held.is_empty() {
            return None;
        }
        let entries = self.signed.published.bundle(number).unwrap_or_default();
        let is_held = |bytes: &[u8]| Entry::parse(bytes).map_or(true, |entry| self.held.keeps(&People::of(&entry)));
        entries.iter().position(|bytes| is_held(bytes)).map(|at| number * WIDTH + at as u64)
    }

    /// The entries of a bundle; `None` when one of them is none.
    fn seen(&mut self, number: u64, said: &Pruning) -> Result<Option<Vec<Seen>>, PublishError> {
        match self.signed.published.bundle(number) {
            Ok(entries) => Ok(entries.into_iter().map(Seen::of).collect()),
            Err(source) => Err(PublishError::NotComparedPruning { at: said.index, source }),
        }
    }

    fn entry(&mut self, index: u64, said: &Pruning) -> Result<Vec<u8>, PublishError> {
        self.signed.entry(index).map_err(|source| PublishError::NotComparedPruning { at: said.index, source })
    }

    /// What the store has carried forward, and that all exchanges have ended.
    fn last(&mut self, said: &Pruning) -> Result<(), PublishError> {
        self.signed.carries(said, &self.carried)?;
        let is_behind = |of: &u64| self.outcomes.get(of).is_none_or(|at| *at >= said.index);
        let mut open: BTreeSet<u64> = said.open.iter().copied().filter(is_behind).collect();
        let mut number = said.minimum / WIDTH;
        while !open.is_empty() && number * WIDTH < self.signed.published.size() {
            let seen = self.seen(number, said)?.unwrap_or_default();
            for (index, one) in (number * WIDTH..).zip(seen) {
                let Some(of) = one.closes.filter(|of| open.contains(of)) else { continue };
                let is_there = self.signed.has(index, one.leaf);
                if is_there.map_err(|source| PublishError::NotComparedPruning { at: said.index, source })? {
                    open.remove(&of);
                }
            }
            number += 1;
        }
        match open.first() {
            Some(index) => Err(forged(said.index, format!("the exchange of entry {index} had no outcome"))),
            None => Ok(()),
        }
    }
}
