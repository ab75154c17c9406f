//! What is gone by a pruning: the hashes that took its place, what is carried forward, and the entries that say so.

use super::findings::Findings;
use super::scan::Scan;
use crate::error::ReadError;
use crate::prune::latest;
use crate::reader::Reader;
use model::Value;
use model::canonical;
use model::entry::{Entry, Kind};
use model::pruning::{Pruning, WIDTH};
use std::collections::{BTreeMap, BTreeSet};
use tlog::{Hash, hashes_from_bytes, leaf_hash};

/// Bundles whose hashes are read at a time.
const TILES_AT_ONCE: u32 = 64;

/// Prunings as the store lists them, and as entries say.
#[derive(Debug, Default)]
pub(super) struct Prunings {
    /// The one that counts, if its entry says so.
    pub said: Option<Pruning>,
    /// Where entries of the kind stand, with the minimum index of each.
    listed: BTreeMap<u64, u64>,
    /// Those that were found there.
    found: BTreeSet<u64>,
    last: Option<Pruning>,
}

impl Prunings {
    pub(super) async fn of(reader: &Reader, findings: &mut Findings) -> Result<Self, ReadError> {
        let listed: BTreeMap<u64, u64> = reader.prunings().await?.into_iter().collect();
        let said = match latest(reader).await {
            Ok(said) => said,
            Err(ReadError::Damaged { .. }) => {
                let (index, minimum) = listed.last_key_value().map_or((0, 0), |(index, minimum)| (*index, *minimum));
                let what = format!(
                    "the store says that entries before {minimum} were pruned under it, and it says nothing of the kind"
                );
                findings.add((index, index), what);
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(said) = &said {
            compare_policy(reader, said, findings).await?;
        }
        Ok(Self { said, listed, ..Self::default() })
    }

    /// The next entry.
    pub(super) fn see(&mut self, index: u64, entry: &Entry, findings: &mut Findings) {
        if entry.kind != Kind::Pruning {
            return;
        }
        let at = (index, index);
        let said = match Pruning::read(index, entry) {
            Some(Ok(said)) => said,
            Some(Err(member)) => {
                return findings.add(at, format!("a pruning whose member `{member}` cannot be understood"));
            }
            None => return,
        };
        let faults = said.fault().into_iter().chain(said.fault_behind(self.last.as_ref()));
        faults.for_each(|what| findings.add(at, what));
        if self.listed.get(&index) == Some(&said.minimum) {
            self.found.insert(index);
        } else {
            findings.add(at, "it is a pruning, and the store does not list it as one");
        }
        let before = self.listed.range(..index).next_back().map_or(0, |(_, minimum)| *minimum);
        if self.last.is_none() && said.first != before {
            findings.add(
                at,
                format!("a pruning from entry {} on, and before it entries before {before} were gone", said.first),
            );
        }
        self.last = Some(said);
    }

    /// Everything up to `size` was gone through.
    pub(super) fn finish(&self, size: u64, findings: &mut Findings) {
        let minimum = self.said.as_ref().map_or(0, |said| said.minimum);
        let is_lost = |index: &&u64| **index >= minimum && **index < size && !self.found.contains(*index);
        for index in self.listed.keys().filter(is_lost) {
            findings.add((*index, *index), "the store lists it as a pruning, and it is none");
        }
    }
}

/// The policy that an entry names must be one that keeps entries as long as the entry says.
async fn compare_policy(reader: &Reader, said: &Pruning, findings: &mut Findings) -> Result<(), ReadError> {
    let text = reader.content(&said.policy).await?;
    let policy = text.as_ref().filter(|text| model::Digest::of(text) == said.policy);
    let days = policy.and_then(|text| canonical::parse(text).ok()?.get("entries")?.get("days").and_then(Value::as_int));
    if days != Some(i64::from(said.days)) {
        let what = format!("its policy `{}` does not say that entries are kept for {} days", said.policy, said.days);
        findings.add((said.index, said.index), what);
    }
    Ok(())
}

impl Scan<'_> {
    /// Goes over what is gone, up to the minimum index.
    pub(super) async fn pass_pruned(&mut self) -> Result<(), ReadError> {
        let Some(said) = self.prunings.said.clone() else { return Ok(()) };
        let carried: BTreeMap<u64, Vec<u8>> = self.reader.carried_rows().await?.1.into_iter().collect();
        self.values.begin(said.minimum);
        said.carried
            .iter()
            .filter(|index| !carried.contains_key(index))
            .for_each(|index| self.values.miss_carried(*index));
        let end = said.minimum / WIDTH;
        let mut number = 0;
        while number < end {
            let rows = self.reader.leaves(number, TILES_AT_ONCE).await?;
            if rows.is_empty() {
                break;
            }
            for (at, hashes) in rows.into_iter().filter(|(at, _)| *at < end) {
                if at > number {
                    self.lose((number * WIDTH, at * WIDTH - 1), "they were pruned, and their hashes are missing");
                }
                let hashes = hashes_from_bytes(&hashes).filter(|hashes| hashes.len() as u64 == WIDTH);
                match hashes {
                    Some(hashes) => self.pass_tile(at, &hashes, &carried, &said).await?,
                    None => {
                        self.lose((at * WIDTH, at * WIDTH + WIDTH - 1), "they were pruned, and their hashes are none")
                    }
                }
                number = at + 1;
            }
        }
        if number < end {
            self.lose((number * WIDTH, said.minimum - 1), "they were pruned, and their hashes are missing");
        }
        for index in said.carried.iter().filter(|index| !carried.contains_key(index)) {
            let what = format!("entry {} says that it is carried forward, and it is not there", said.index);
            self.findings.add((*index, *index), what);
        }
        for index in carried.keys().filter(|index| !said.carried.contains(index)) {
            let what = format!("it is kept, and entry {} does not say that it is carried forward", said.index);
            self.findings.add((*index, *index), what);
        }
        self.compare_carried(&carried, &said);
        for row in self.reader.disclosures((0, said.minimum - 1), 1).await? {
            self.findings.add((row.entry_index, row.entry_index), "it was pruned, and its values are still there");
        }
        self.facts.begin(&said);
        self.pruned = said.minimum;
        self.index = said.minimum;
        Ok(())
    }

    async fn pass_tile(
        &mut self,
        number: u64,
        hashes: &[Hash],
        carried: &BTreeMap<u64, Vec<u8>>,
        said: &Pruning,
    ) -> Result<(), ReadError> {
        for (index, leaf) in (number * WIDTH..).zip(hashes) {
            let known = self.published.as_mut().and_then(|published| published.leaf(index, self.findings));
            if known.is_some_and(|known| known != *leaf) {
                self.findings.add((index, index), "the published tile of level 0 does not have its hash");
            }
            if let Some(bytes) = carried.get(&index) {
                self.carried(index, bytes, *leaf, said);
            }
            self.push(index, *leaf);
            self.at_size(index + 1).await?;
        }
        Ok(())
    }

    fn carried(&mut self, index: u64, bytes: &[u8], leaf: Hash, said: &Pruning) {
        let entry = Entry::parse(bytes).ok().filter(|_| leaf_hash(bytes) == leaf);
        let Some(entry) = entry else {
            self.values.miss_carried(index);
            return self.findings.add((index, index), "it is carried forward, and is not what was logged");
        };
        if entry.time >= said.before {
            let what =
                format!("it was pruned under entry {} as one of before {}, and is later", said.index, said.before);
            self.findings.add((index, index), what);
        }
        if is_of_exchange(&entry) {
            self.findings.add((index, index), "it is carried forward, and nothing depends on it");
        }
        self.values.see_carried(index, &entry, self.findings);
    }

    /// Every log was opened before any of its entries can go, and what came into use since is said by entries behind that.
    fn compare_carried(&mut self, carried: &BTreeMap<u64, Vec<u8>>, said: &Pruning) {
        let entries: Option<Vec<Entry>> =
            said.carried.iter().map(|index| Entry::parse(carried.get(index)?).ok()).collect();
        let opens = |entry: &Entry| entry.kind == Kind::System && entry.text("event") == Some("opened");
        if entries.is_some_and(|entries| !entries.iter().any(opens)) {
            let what = format!(
                "it prunes entries before {}, and does not carry forward that the log was opened",
                said.minimum
            );
            self.findings.add((said.index, said.index), what);
        }
    }
}

/// An allowed exchange or its end. Where an exchange is open nothing behind it is pruned.
fn is_of_exchange(entry: &Entry) -> bool {
    let decides = matches!(entry.kind, Kind::Decision | Kind::AuditRead);
    entry.kind == Kind::Outcome || (decides && entry.text("decision") == Some("allow"))
}
