//! What came of a replay, in bounded memory.

use super::outcome::Change;
use model::entry;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Sums over all entries that were looked at. Two of them, of two parts of a log, can be merged.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Decisions among the entries.
    pub looked_at: u64,
    pub replayed: u64,
    /// Refused before any policy was asked.
    pub not_asked: u64,
    /// Questions that were decided; the others were equal to one of these.
    pub decided: u64,
    /// By reason.
    pub not_replayable: BTreeMap<String, Example>,
    /// The first of them.
    pub findings: Vec<Finding>,
    pub findings_total: u64,
    pub changes: BTreeMap<Group, Example>,
    /// Changes in groups beyond those.
    pub changes_beyond: u64,
}

/// How many, and the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub count: u64,
    pub index: u64,
    /// Id of the request, where it is known.
    pub request: String,
}

/// An entry that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub index: u64,
    pub request: String,
    pub what: Vec<String>,
}

/// Changes that are the same but for who asks when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    pub change: Change,
    pub organisation: String,
    pub product: String,
    pub resource: String,
    pub action: String,
}

/// Findings that are kept; the rest is counted.
const FINDINGS_MAX: usize = 100;
const REASONS_MAX: usize = 100;
/// Organisations times resources times kinds of change: more than anybody reads.
const GROUPS_MAX: usize = 10_000;

impl Example {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        if other.index < self.index {
            (self.index, self.request) = (other.index, other.request);
        }
    }
}

impl Tally {
    /// Those that somebody would notice.
    pub fn changed(&self) -> u64 {
        let felt = self.changes.iter().filter(|(group, _)| group.change.direction.is_felt());
        felt.map(|(_, example)| example.count).sum::<u64>() + self.changes_beyond
    }

    pub fn merge(&mut self, other: Self) {
        self.looked_at += other.looked_at;
        self.replayed += other.replayed;
        self.not_asked += other.not_asked;
        self.decided += other.decided;
        self.findings_total += other.findings_total;
        self.findings.extend(other.findings);
        self.findings.sort();
        self.findings.truncate(FINDINGS_MAX);
        self.changes_beyond += other.changes_beyond;
        for (why, example) in other.not_replayable {
            count(&mut self.not_replayable, why, example);
        }
        for (group, example) in other.changes {
            self.changes_beyond += add(&mut self.changes, group, example);
        }
    }

    pub(super) fn finding(&mut self, index: u64, request: &str, what: Vec<String>) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { index, request: request.to_owned(), what });
        }
    }

    pub(super) fn not_replayable(&mut self, index: u64, why: String) {
        count(&mut self.not_replayable, why, Example { count: 1, index, request: String::new() });
    }

    pub(super) fn change(&mut self, index: u64, entry: &entry::Outline<'_>, change: &Change) {
        let text = |name: &str| entry.text(name).unwrap_or_default().into_owned();
        let group = Group {
            change: change.clone(),
            organisation: entry.organisation.as_ref().map(ToString::to_string).unwrap_or_default(),
            product: text("product"),
            resource: text("resource"),
            action: text("action"),
        };
        let example = Example { count: 1, index, request: text("request") };
        self.changes_beyond += add(&mut self.changes, group, example);
    }
}

fn count(reasons: &mut BTreeMap<String, Example>, why: String, example: Example) {
    let room = reasons.len() < REASONS_MAX || reasons.contains_key(&why);
    add(reasons, if room { why } else { String::from("other reasons") }, example);
}

/// What found no room, counted.
fn add<K: Ord>(all: &mut BTreeMap<K, Example>, key: K, example: Example) -> u64 {
    let full = all.len() >= GROUPS_MAX;
    match all.entry(key) {
        Entry::Occupied(known) => known.into_mut().add(example),
        Entry::Vacant(_) if full => return example.count,
        Entry::Vacant(place) => drop(place.insert(example)),
    }
    0
}
