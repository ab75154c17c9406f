//! Going through the bundles, once, in order.

use super::facts::Facts;
use super::findings::Findings;
use super::pruned::Prunings;
use super::published::Published;
use super::values::Values;
use crate::batch::sha256;
use crate::error::ReadError;
use crate::frames;
use crate::open_set::OpenSet;
use crate::publish::parse_note;
use crate::reader::{RawCheckpoint, Reader, Standing};
use crate::store::Bundle;
use model::entry::Entry;
use std::collections::VecDeque;
use tlog::tile::HEIGHT;
use tlog::{CompactRange, Hash};

pub(super) struct Scan<'a> {
    pub(super) reader: &'a Reader,
    pub(super) published: Option<Published>,
    pub(super) findings: &'a mut Findings,
    pub(super) facts: Facts,
    pub(super) values: Values<'a>,
    pub(super) prunings: Prunings,
    /// Entries that are gone.
    pub(super) pruned: u64,
    /// Entries that the head speaks of; the log may have grown since.
    size: u64,
    /// The tree so far; `None` behind damage that nothing made up for.
    range: Option<CompactRange>,
    pub(super) index: u64,
    read: u64,
    checkpoints: Checkpoints,
    /// From here on no checkpoint has confirmed the entries.
    unconfirmed: u64,
}

/// The stored checkpoints, in order.
#[derive(Default)]
struct Checkpoints {
    ahead: VecDeque<RawCheckpoint>,
    after: Option<u64>,
    compared: u64,
}

impl<'a> Scan<'a> {
    pub(super) async fn new(
        reader: &'a Reader,
        published: Option<Published>,
        size: u64,
        findings: &'a mut Findings,
    ) -> Result<Self, ReadError> {
        let prunings = Prunings::of(reader, findings).await?;
        let mut scan = Self {
            reader,
            published,
            findings,
            prunings,
            pruned: 0,
            facts: Facts::default(),
            values: Values::new(reader, size).await?,
            size,
            range: Some(CompactRange::new()),
            index: 0,
            read: 0,
            checkpoints: Checkpoints::default(),
            unconfirmed: 0,
        };
        scan.fetch_checkpoints().await?;
        Ok(scan)
    }

    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// Looks at some more bundles, or finds that there are none.
    pub(super) async fn next_bundles(&mut self) -> Result<(), ReadError> {
        let bundles = match self.reader.bundles(self.index).await {
            Ok(bundles) => bundles,
            Err(_) => self.read_singly().await?,
        };
        let within: Vec<Bundle> = bundles.into_iter().filter(|bundle| bundle.first_index < self.size).collect();
        if within.is_empty() && self.index < self.size {
            self.lose((self.index, self.size - 1), "they are missing");
            self.index = self.size;
        }
        for bundle in &within {
            self.bundle(bundle).await?;
        }
        Ok(())
    }

    /// The next bundle alone, or what is behind it when the database cannot give it out.
    async fn read_singly(&mut self) -> Result<Vec<Bundle>, ReadError> {
        match self.reader.bundle_from(self.index).await {
            Ok(bundle) => Ok(bundle.into_iter().collect()),
            Err(error) => {
                let next = self.reader.first_index_from(self.index + 1).await.ok().flatten();
                let next = next.unwrap_or(self.size).min(self.size);
                self.lose((self.index, next.max(self.index + 1) - 1), &error.chain());
                self.index = next;
                if next >= self.size {
                    Ok(Vec::new())
                } else {
                    Ok(self.reader.bundle_from(next).await.ok().flatten().into_iter().collect())
                }
            }
        }
    }

    /// Entries that cannot be read.
    pub(super) fn lose(&mut self, entries: (u64, u64), what: &str) {
        self.findings.add(entries, what);
        self.facts.hole(entries);
        self.make_up_for(entries);
    }

    /// Goes on with the hashes in the tiles, if they have all of them.
    fn make_up_for(&mut self, (first, last): (u64, u64)) {
        for index in first..=last {
            let leaf = self.published.as_mut().and_then(|published| published.leaf(index, self.findings));
            match leaf {
                Some(leaf) => self.push(index, leaf),
                None => {
                    self.range = None;
                    return;
                }
            }
        }
    }

    async fn bundle(&mut self, bundle: &Bundle) -> Result<(), ReadError> {
        let (first, count) = (bundle.first_index, bundle.count.max(1));
        let last = first + count - 1;
        if first > self.index {
            self.lose((self.index, first - 1), "they are missing");
        } else if first < self.index {
            self.findings.add((first, last), "the bundle overlaps the one before it");
            return Ok(());
        }
        self.index = first;
        let entries: Result<Vec<&[u8]>, _> = frames::iter(&bundle.bytes).collect();
        match entries {
            Ok(entries) if entries.len() as u64 == bundle.count => {
                let whole = sha256(&bundle.bytes) == bundle.sha256;
                self.entries(first, &entries, whole).await?;
            }
            _ => self.lose((first, last), "the bundle's lengths do not fit: it was changed"),
        }
        self.index = first + count;
        self.at_size(self.index).await
    }

    /// `whole`: the bundle has the digest that was stored with it.
    async fn entries(&mut self, first: u64, entries: &[&[u8]], whole: bool) -> Result<(), ReadError> {
        let leaves: Vec<Hash> = entries.iter().map(|entry| tlog::leaf_hash(entry)).collect();
        let known = self.known_leaves(first, leaves.len());
        if !whole {
            self.changed_bundle(first, &leaves, known.as_deref());
        }
        for ((index, entry), leaf) in (first..).zip(entries).zip(&leaves) {
            let known = known.as_ref().and_then(|known| known.get(usize::try_from(index - first).ok()?));
            match (known, whole) {
                (Some(known), false) if known != leaf => {
                    self.facts.hole((index, index));
                    self.push(index, *known);
                }
                (None, false) => self.doubtful(index, entry),
                (known, _) => {
                    if known.is_some_and(|known| known != leaf) {
                        // Either side may be the changed one; the next checkpoint tells.
                        self.findings.add((index, index), "the published tile of level 0 does not have its hash");
                    }
                    self.push(index, *leaf);
                    self.entry(index, entry).await?;
                }
            }
            self.at_size(index + 1).await?;
        }
        Ok(())
    }

    /// An entry of a bundle of which some entry was changed, nobody knows which.
    fn doubtful(&mut self, index: u64, entry: &[u8]) {
        self.range = None;
        self.facts.hole((index, index));
        if let Err(error) = Entry::parse(entry) {
            self.findings.add((index, index), format!("this one does not have the form of an entry: {error}"));
        }
    }

    /// The hashes of these entries as published, if all of them are.
    fn known_leaves(&mut self, first: u64, count: usize) -> Option<Vec<Hash>> {
        let published = self.published.as_mut()?;
        (first..).take(count).map(|index| published.leaf(index, self.findings)).collect()
    }

    /// Says which entries of a bundle are not what they were, as exactly as can be told.
    fn changed_bundle(&mut self, first: u64, leaves: &[Hash], known: Option<&[Hash]>) {
        let last = first + leaves.len() as u64 - 1;
        let Some(known) = known else {
            let what = "the bundle does not have its digest: at least one entry was changed";
            return self.findings.add((first, last), what);
        };
        let changed: Vec<u64> =
            (first..).zip(leaves.iter().zip(known)).filter(|(_, (a, b))| a != b).map(|(index, _)| index).collect();
        for index in &changed {
            self.findings.add((*index, *index), "the entry was changed: neither digest nor tile has its hash");
        }
        if changed.is_empty() {
            self.findings
                .add((first, last), "the stored digest of the bundle was changed; its entries are as published");
        }
    }

    async fn entry(&mut self, index: u64, bytes: &[u8]) -> Result<(), ReadError> {
        self.read += 1;
        match Entry::parse(bytes) {
            Ok(entry) => {
                self.facts.see(index, &entry, self.unconfirmed, self.findings);
                self.prunings.see(index, &entry, self.findings);
                self.values.see(index, &entry, self.findings).await?;
            }
            Err(error) => {
                self.findings.add((index, index), format!("it does not have the form of an entry: {error}"));
                self.facts.hole((index, index));
            }
        }
        if let Some(published) = &mut self.published {
            published.compare_entry(index, bytes, self.findings);
        }
        Ok(())
    }

    pub(super) fn push(&mut self, index: u64, leaf: Hash) {
        let Self { range: Some(range), published, findings, .. } = self else { return };
        if range.size() != index {
            return;
        }
        range.push_visiting(leaf, |level, hash| {
            if level > 0
                && level % HEIGHT == 0
                && let Some(published) = published
            {
                published.compare_node(level, index >> u32::from(level), hash, findings);
            }
        });
    }

    /// Compares the checkpoint of exactly this size, if there is one.
    pub(super) async fn at_size(&mut self, size: u64) -> Result<(), ReadError> {
        while let Some(row) = self.checkpoints.ahead.front().filter(|row| row.size <= size) {
            let row = row.clone();
            self.compare_checkpoint(&row, size);
            self.checkpoints.ahead.pop_front();
            if self.checkpoints.ahead.is_empty() {
                self.fetch_checkpoints().await?;
            }
        }
        Ok(())
    }

    fn compare_checkpoint(&mut self, row: &RawCheckpoint, size: u64) {
        let at = row.size;
        let below = (self.unconfirmed.min(at.saturating_sub(1)), at.saturating_sub(1));
        self.checkpoints.compared += 1;
        if let Some(published) = &mut self.published {
            published.compare_checkpoint(at, &row.note, self.findings);
        }
        let Some(signed) = parse_note(&row.note).ok().filter(|signed| signed.size == at) else {
            return self.findings.add(below, format!("the stored checkpoint of size {at} is not one of that size"));
        };
        let stored = row.range.as_ref().filter(|range| range.root() == signed.root);
        if stored.is_none() {
            self.findings
                .add(below, format!("the range stored with the checkpoint of size {at} does not have its root"));
        }
        if self.range.as_ref().is_some_and(|range| range.size() == at && range.root() != signed.root) {
            self.findings.add(below, format!("they do not have the root that was signed at size {at}"));
            self.range = None;
        }
        self.unconfirmed = at;
        // Behind damage the stored range lets the check go on.
        if self.range.is_none() && at == size {
            self.range = stored.cloned();
        }
    }

    async fn fetch_checkpoints(&mut self) -> Result<(), ReadError> {
        let rows = self.reader.raw_checkpoints_after(self.checkpoints.after).await?;
        self.checkpoints.after = rows.last().map(|row| row.size).or(self.checkpoints.after);
        self.checkpoints.ahead.extend(rows);
        Ok(())
    }

    /// Compares the tree with the head, and the entries with what the store says of them.
    pub(super) async fn compare_standing(&mut self, standing: &Standing) -> Result<(), ReadError> {
        let head = &standing.head;
        let last = self.size.saturating_sub(1);
        let below = (self.unconfirmed.min(last), last);
        let stored = CompactRange::from_bytes(head.size, &head.range);
        if stored.as_ref().is_none_or(|range| range.root().0[..] != head.root) {
            self.findings.add(below, "the head's range does not have the head's root");
        }
        if self.range.as_ref().is_some_and(|range| range.size() == self.size && range.root().0[..] != head.root) {
            self.findings.add(below, "they do not have the head's root");
        }
        match OpenSet::from_bytes(&head.open) {
            Some(open) => self.facts.compare_open(&open, self.findings),
            None => self.findings.add((0, last), "the open list in the head is not one"),
        }
        self.facts.compare_organisations(&standing.organisations, last, self.findings);
        self.compare_end(standing).await
    }

    /// Nothing may stand behind the head, unless the log has grown meanwhile.
    async fn compare_end(&mut self, standing: &Standing) -> Result<(), ReadError> {
        let behind = self.reader.first_index_from(self.size).await.ok().flatten();
        if let Some(first) = behind
            && self.reader.standing().await?.head.size == standing.head.size
        {
            self.findings.add((self.size, first.max(self.size)), "bundles stand behind the head");
        }
        Ok(())
    }

    /// Checkpoints behind the end; entries read and checkpoints compared.
    pub(super) async fn finish(mut self) -> Result<(u64, u64), ReadError> {
        let grown = self.reader.standing().await?.head.size;
        while let Some(row) = self.checkpoints.ahead.pop_front() {
            let at = row.size;
            if at > grown {
                let what = format!("a checkpoint was signed at size {at}, and they are gone");
                self.findings.add((grown, at - 1), what);
            }
            if let Some(published) = &mut self.published {
                published.compare_checkpoint(at, &row.note, self.findings);
            }
            if self.checkpoints.ahead.is_empty() {
                self.fetch_checkpoints().await?;
            }
        }
        if let Some(published) = &mut self.published {
            published.finish(self.findings);
        }
        self.prunings.finish(self.size, self.findings);
        self.values.finish(self.size, self.findings).await?;
        Ok((self.read, self.checkpoints.compared))
    }
}
