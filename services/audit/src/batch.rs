//! From drafts to a batch: places, bytes, hashes, tree. Pure; nothing here waits or fails halfway.
//!
//! An [`Assembly`] works beside the [`State`] and never in it: the state moves on only when the batch is durable.

use crate::frames;
use crate::open_set::OpenSet;
use crate::prune::Pruned;
use crate::store::{Batch, Bundle, DisclosureRow, Erasing, Head, OrganisationState};
use model::entry::{Content, DirectoryRow, Draft, Effect, Erase, Kind, Place};
use model::pruning::Prune;
use model::{Digest, OrganisationId, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tlog::{CompactRange, Hash};

/// Entries in one batch. Beyond it the flush no longer dominates and latency only grows.
pub(crate) const ENTRIES_MAX: u64 = 1024;
/// Bytes of entries, and of what comes with them, in one batch.
const BYTES_MAX: usize = 1024 * 1024;
/// Digests of stored content that are remembered, so that the same slice is not sent to the database with each decision.
const CONTENT_KNOWN_MAX: usize = 65_536;

/// What the writer knows of the log between two batches.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub head: Head,
    pub organisations: HashMap<OrganisationId, OrganisationState>,
    content_known: HashSet<Digest>,
    /// References that are being erased, or were since the log was opened: nothing of theirs is written any longer.
    pub retired: HashSet<String>,
}

impl State {
    pub(crate) fn new(head: Head, organisations: Vec<(OrganisationId, OrganisationState)>) -> Self {
        let organisations = organisations.into_iter().collect();
        Self { head, organisations, content_known: HashSet::new(), retired: HashSet::new() }
    }

    /// Takes over a batch that is durable.
    pub(crate) fn apply(&mut self, change: Change) {
        self.head = change.head;
        self.organisations.extend(change.organisations);
        if self.content_known.len() + change.content.len() > CONTENT_KNOWN_MAX {
            self.content_known.clear();
        }
        self.content_known.extend(change.content);
    }
}

/// How the state moves on with a batch.
#[derive(Debug)]
pub(crate) struct Change {
    head: Head,
    organisations: HashMap<OrganisationId, OrganisationState>,
    content: Vec<Digest>,
    pub directory: Vec<DirectoryRow>,
    /// References that stand for nobody any longer.
    pub forgotten: Vec<String>,
    /// What is gone of the log from now on.
    pub pruned: Option<Pruned>,
}

/// Where an entry will stand once the batch is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub index: u64,
    pub leaf: Hash,
}

/// Why a draft cannot be part of any batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It closes a decision that is not open.
    NotOpen(u64),
    /// Longer than an entry may be.
    TooLarge,
    /// It holds values of somebody who is being erased; drafted anew it has another reference.
    Retired,
}

/// A batch in the making.
#[derive(Debug)]
pub(crate) struct Assembly<'s> {
    state: &'s State,
    range: CompactRange,
    bytes: Vec<u8>,
    /// Bytes of what comes with the entries.
    beside: usize,
    times: Option<(Timestamp, Timestamp)>,
    organisations: HashMap<OrganisationId, OrganisationState>,
    opened: BTreeSet<u64>,
    closed: BTreeSet<u64>,
    disclosures: Vec<DisclosureRow>,
    directory: HashMap<String, String>,
    content: HashMap<Digest, Arc<[u8]>>,
    erasing: Erasing,
    keys: Vec<u64>,
    pruning: Option<(u64, Arc<Prune>)>,
}

impl<'s> Assembly<'s> {
    pub(crate) fn new(state: &'s State) -> Self {
        Self {
            state,
            range: state.head.range.clone(),
            bytes: Vec::new(),
            beside: 0,
            times: None,
            organisations: HashMap::new(),
            opened: BTreeSet::new(),
            closed: BTreeSet::new(),
            disclosures: Vec::new(),
            directory: HashMap::new(),
            content: HashMap::new(),
            erasing: Erasing::default(),
            keys: Vec::new(),
            pruning: None,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.range.size() - self.state.head.size()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.count() < ENTRIES_MAX && self.bytes.len() + self.beside < BYTES_MAX
    }

    /// Gives the draft the next place. Refused drafts leave no trace.
    pub(crate) fn add(&mut self, draft: &Draft) -> Result<Placed, Refused> {
        let index = self.range.size();
        if let Effect::Closes(decision) = draft.effect
            && !self.is_open(decision)
        {
            return Err(Refused::NotOpen(decision));
        }
        if self.is_retired(draft) {
            return Err(Refused::Retired);
        }
        let place = draft.organisation().map(|organisation| self.next_place(organisation));
        let entry = draft.seal(place);
        if !frames::push(&mut self.bytes, &entry) {
            return Err(Refused::TooLarge);
        }
        let leaf = tlog::leaf_hash(&entry);
        self.range.push(leaf);
        if let (Some(organisation), Some(place)) = (draft.organisation(), place) {
            let state = OrganisationState { sequence: place.sequence, last_index: index };
            self.organisations.insert(organisation.clone(), state);
        }
        match draft.effect {
            Effect::Opens => drop(self.opened.insert(index)),
            Effect::Closes(decision) => drop(self.closed.insert(decision)),
            Effect::None => {}
        }
        self.add_time(draft.time());
        self.add_parts(index, draft);
        Ok(Placed { index, leaf })
    }

    fn is_open(&self, decision: u64) -> bool {
        (self.state.head.open.contains(decision) || self.opened.contains(&decision)) && !self.closed.contains(&decision)
    }

    fn is_retired(&self, draft: &Draft) -> bool {
        let retired = &self.state.retired;
        !retired.is_empty() && draft.disclosed().is_some() && draft.references().any(|one| retired.contains(one))
    }

    fn next_place(&self, organisation: &OrganisationId) -> Place {
        let known = self.organisations.get(organisation).or_else(|| self.state.organisations.get(organisation));
        match known {
            Some(last) => Place { sequence: last.sequence + 1, previous: Some(last.last_index) },
            None => Place { sequence: 1, previous: None },
        }
    }

    fn add_time(&mut self, time: Timestamp) {
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
    }

    fn add_parts(&mut self, index: u64, draft: &Draft) {
        if let Some(body) = draft.disclosed() {
            self.beside += body.len();
            self.disclosures.push(DisclosureRow { entry_index: index, body: body.to_vec() });
        }
        match draft.kind {
            Kind::Erasure => self.erasing.entries.push(index),
            Kind::Key => self.keys.push(index),
            _ => {}
        }
        if let Some(Erase { deleted, rewritten, references }) = draft.erase.as_deref() {
            self.erasing.deleted.extend(deleted);
            let row =
                |(entry_index, body): &(u64, Vec<u8>)| DisclosureRow { entry_index: *entry_index, body: body.clone() };
            self.beside += rewritten.iter().map(|(_, body)| body.len()).sum::<usize>();
            self.erasing.rewritten.extend(rewritten.iter().map(row));
            self.erasing.references.extend(references.iter().cloned());
        }
        if let Some(prune) = &draft.prune {
            self.beside += prune.leaves.iter().map(|(_, hashes)| hashes.len()).sum::<usize>();
            self.pruning = Some((index, Arc::clone(prune)));
        }
        for row in draft.directory.iter().filter(|row| !self.state.retired.contains(&row.reference)) {
            self.directory.entry(row.principal.clone()).or_insert_with(|| row.reference.clone());
        }
        for content in &draft.content {
            if !self.state.content_known.contains(&content.digest) && !self.content.contains_key(&content.digest) {
                self.beside += content.bytes.len();
                self.content.insert(content.digest, content.bytes.clone());
            }
        }
    }

    /// `None` when nothing was added.
    pub(crate) fn finish(self) -> Option<(Batch, Change)> {
        let (time_first, time_last) = self.times?;
        let first_index = self.state.head.size();
        let bundle = Bundle {
            first_index,
            count: self.range.size() - first_index,
            time_first,
            time_last,
            sha256: sha256(&self.bytes),
            bytes: self.bytes,
        };
        let still_open = self.state.head.open.iter().chain(self.opened).filter(|index| !self.closed.contains(index));
        let head = Head { open: still_open.collect::<OpenSet>(), range: self.range };
        let directory: Vec<DirectoryRow> =
            self.directory.into_iter().map(|(principal, reference)| DirectoryRow { principal, reference }).collect();
        let said = self.pruning.as_ref();
        let gone = said.map(|(under, prune)| Pruned { below: prune.minimum, under: *under, before: prune.before });
        let pruned = self.pruning.iter().flat_map(|(_, prune)| prune.references.iter().cloned());
        let change = Change {
            head: head.clone(),
            organisations: self.organisations.clone(),
            content: self.content.keys().copied().collect(),
            directory: directory.clone(),
            forgotten: self.erasing.references.iter().cloned().chain(pruned).collect(),
            pruned: gone,
        };
        let batch = Batch {
            bundle,
            head,
            organisations: self.organisations.into_iter().collect(),
            disclosures: self.disclosures,
            directory,
            content: self.content.into_iter().map(|(digest, bytes)| Content { digest, bytes }).collect(),
            erasing: self.erasing,
            keys: self.keys,
            pruning: self.pruning,
        };
        Some((batch, change))
    }
}

/// SHA-256 by the library with the fastest implementation; leaf hashes are `tlog`'s business.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::canonical::hex;
    use model::entry::{CommitmentClass, Common, Disclosure, Kind};
    use model::{Value, canonical};

    fn draft(effect: Effect, disclosures: Vec<Disclosure>) -> Draft {
        let common = Common { nonce: [7; 16], time: Timestamp(5), boot: "b".into() };
        let acme = OrganisationId::new("acme").unwrap();
        let mut draft = Draft::new(Kind::Decision, &common, Some(&acme), [], disclosures).unwrap();
        draft.effect = effect;
        draft
    }

    #[test]
    fn a_decision_closes_once_also_within_a_batch() {
        let mut state = State::default();
        let mut assembly = Assembly::new(&state);
        assert_eq!(assembly.add(&draft(Effect::Closes(0), vec![])), Err(Refused::NotOpen(0)));
        assert_eq!(assembly.add(&draft(Effect::Opens, vec![])).unwrap().index, 0);
        assert_eq!(assembly.add(&draft(Effect::Opens, vec![])).unwrap().index, 1);
        assert!(assembly.add(&draft(Effect::Closes(0), vec![])).is_ok());
        assert_eq!(assembly.add(&draft(Effect::Closes(0), vec![])), Err(Refused::NotOpen(0)));
        let (batch, change) = assembly.finish().unwrap();
        assert_eq!((batch.bundle.count, batch.head.open.iter().collect::<Vec<_>>()), (3, vec![1]));
        state.apply(change);
        assert!(Assembly::new(&state).add(&draft(Effect::Closes(1), vec![])).is_ok());
        // Nothing was applied: the state is where it was.
        assert!(Assembly::new(&state).add(&draft(Effect::Closes(1), vec![])).is_ok());
    }

    #[test]
    fn content_is_sent_once() {
        let mut state = State::default();
        let mut with_content = draft(Effect::None, vec![]);
        with_content.content = vec![Content { digest: Digest::of(b"x"), bytes: b"x".as_slice().into() }];
        for expected in [1, 0] {
            let mut assembly = Assembly::new(&state);
            assembly.add(&with_content).unwrap();
            assembly.add(&with_content).unwrap();
            let (batch, change) = assembly.finish().unwrap();
            assert_eq!(batch.content.len(), expected);
            state.apply(change);
        }
    }

    #[test]
    fn disclosures_are_canonical_and_open_their_commitments() {
        let classes = [CommitmentClass::Subject, CommitmentClass::Payload, CommitmentClass::Network];
        let disclosure = |class| Disclosure { class, salt: [3; 16], values: Value::text("\u{1}\"").into() };
        let disclosures = classes.map(disclosure).to_vec();
        let state = State::default();
        let mut assembly = Assembly::new(&state);
        assembly.add(&draft(Effect::None, disclosures.clone())).unwrap();
        let (batch, _) = assembly.finish().unwrap();
        let body = canonical::parse(&batch.disclosures[0].body).unwrap();
        for disclosure in disclosures {
            let stored = body.get(disclosure.class.as_str()).unwrap();
            assert_eq!(stored.get("values"), canonical::parse(disclosure.values.as_bytes()).ok().as_ref());
            assert_eq!(stored.get("salt").and_then(Value::as_text), Some(hex(&disclosure.salt).as_str()));
        }
    }

    #[test]
    fn batches_have_an_end() {
        let state = State::default();
        let mut assembly = Assembly::new(&state);
        while assembly.has_room() {
            assembly.add(&draft(Effect::None, vec![])).unwrap();
        }
        assert_eq!(assembly.count(), ENTRIES_MAX);
        assert!(Assembly::new(&state).finish().is_none());
    }
}
