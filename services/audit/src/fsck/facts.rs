//! What entries say of one another: sequences of organisations, decisions and their outcomes, and what a start found of them.

use super::findings::Findings;
use crate::open_set::OpenSet;
use crate::store::OrganisationState;
use model::entry::{Ended, Entry, Kind, Place};
use model::pruning::Pruning;
use model::summary::Summary;
use model::{OrganisationId, Value};
use std::collections::{BTreeSet, HashMap};

/// Follows the entries in order. Where entries could not be read, it believes what the next ones say.
#[derive(Debug, Default)]
pub(super) struct Facts {
    organisations: HashMap<OrganisationId, Seen>,
    open: BTreeSet<u64>,
    /// Entries that could not be read, both ends inclusive, ascending.
    holes: Vec<(u64, u64)>,
    /// Organisations of which nothing is said before their first entry that is there.
    left_out: u64,
    /// Entries before this one are gone.
    minimum: u64,
    /// What a run writes before it says that it has opened the log, as far as it goes until now.
    start: Option<Start>,
}

#[derive(Debug)]
struct Start {
    first: u64,
    boot: String,
    /// Of exchanges that the run before left open.
    outcomes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    state: OrganisationState,
    /// How many holes there were before it.
    holes: usize,
}

impl Facts {
    /// What a pruning says of the entries that are gone with it, which stand before all others.
    pub(super) fn begin(&mut self, said: &Pruning) {
        let holes = self.holes.len();
        for (organisation, place) in &said.organisations {
            let state = OrganisationState { sequence: place.sequence, last_index: place.previous.unwrap_or(0) };
            self.organisations.insert(organisation.clone(), Seen { state, holes });
        }
        self.open.extend(&said.open);
        self.left_out = said.organisations_left_out;
        self.minimum = said.minimum;
    }

    pub(super) fn hole(&mut self, entries: (u64, u64)) {
        self.holes.push(entries);
    }

    pub(super) fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    fn in_hole(&self, index: u64) -> bool {
        self.holes.iter().any(|(first, last)| (*first..=*last).contains(&index))
    }

    /// The next entry. `signed`: entries under the last checkpoint that covers no more than those before it.
    pub(super) fn see(&mut self, index: u64, entry: &Entry, signed: u64, findings: &mut Findings) {
        self.see_start(index, entry, signed, findings);
        if let (Some(organisation), Some(place)) = (&entry.organisation, entry.place) {
            self.see_place(index, organisation, place, findings);
        }
        match Summary::read(entry) {
            Some(Ok(summary)) => summary.fault().into_iter().for_each(|what| findings.add((index, index), what)),
            Some(Err(member)) => {
                let what = format!("a summary whose member `{member}` cannot be understood");
                findings.add((index, index), what);
            }
            None => {}
        }
        // `audit_read` is the decision that lets somebody read the log.
        let decides = matches!(entry.kind, Kind::Decision | Kind::AuditRead);
        if decides && entry.text("decision") == Some("allow") {
            self.open.insert(index);
        }
        if entry.kind == Kind::Outcome {
            let of = entry.get("of").and_then(Value::as_int).and_then(|of| u64::try_from(of).ok());
            match of {
                Some(of) if self.open.remove(&of) || self.in_hole(of) => {}
                Some(of) => {
                    findings.add((index, index), format!("an outcome of entry {of}, which is not an open decision"))
                }
                None => findings.add((index, index), "an outcome that does not say of which decision"),
            }
        }
    }

    /// A start writes an outcome for each exchange that was open, and then that it has opened the log: what it found.
    fn see_start(&mut self, index: u64, entry: &Entry, signed: u64, findings: &mut Findings) {
        let event = entry.text("event");
        let comes_before = match entry.kind {
            Kind::Outcome => entry.text("ended") == Some(Ended::UnknownAfterCrash.as_str()),
            Kind::System => !matches!(event, Some("opened" | "closed")),
            _ => false,
        };
        let boot = entry.text("boot").unwrap_or_default();
        let start = self.start.take().filter(|start| start.boot == boot);
        let mut start = start.unwrap_or_else(|| Start { first: index, boot: boot.to_owned(), outcomes: 0 });
        if comes_before {
            start.outcomes += u64::from(entry.kind == Kind::Outcome);
            self.start = Some(start);
        } else if entry.kind == Kind::System && event == Some("opened") {
            self.compare_start(index, entry, &start, signed, findings);
        }
    }

    fn compare_start(&self, index: u64, entry: &Entry, start: &Start, signed: u64, findings: &mut Findings) {
        let first = start.first;
        // Where it began is not known where something is missing just before.
        let is_cut = first > 0 && first <= self.minimum;
        if is_cut || self.holes.last().is_some_and(|(_, last)| last.saturating_add(1) >= first) {
            return;
        }
        let said = |name| entry.get(name).and_then(Value::as_int).and_then(|n| u64::try_from(n).ok());
        let mut compare = |name, found: u64, what: &str| {
            let said = said(name);
            if said.unwrap_or(0) != found {
                let said = said.map_or_else(|| String::from("nothing"), |said| said.to_string());
                findings.add((index, index), format!("its `{name}` says {said}, and {what}"));
            }
        };
        compare("size", first, &format!("the log had {first} entries when it was opened"));
        compare("unknown_outcomes", start.outcomes, &format!("{} outcomes stand before it", start.outcomes));
        // Earlier versions of the format do not have it.
        if !matches!(entry.text("v"), Some("1.0" | "1.1" | "1.2" | "1.3" | "1.4")) {
            let unsigned = first.saturating_sub(signed);
            compare("unsigned", unsigned, &format!("the last checkpoint before it is of {signed} entries"));
        }
        if !self.has_holes()
            && let Some(open) = self.open.first()
        {
            findings
                .add((index, index), format!("the log was opened, and exchange {open} was left without an outcome"));
        }
    }

    fn see_place(&mut self, index: u64, organisation: &OrganisationId, place: Place, findings: &mut Findings) {
        let last = self.organisations.get(organisation);
        let expected = match last {
            Some(seen) => {
                let state = seen.state;
                Place { sequence: state.sequence + 1, previous: Some(state.last_index) }
            }
            None => Place { sequence: 1, previous: None },
        };
        let unbroken = last.map_or(0, |seen| seen.holes) == self.holes.len();
        let unbroken = unbroken && (last.is_some() || self.left_out == 0);
        if unbroken && place != expected {
            let (found, wanted) = (place.sequence, expected.sequence);
            let what = format!("it is number {found} of `{organisation}`, and number {wanted} was to come");
            findings.add((index, index), what);
        }
        let state = OrganisationState { sequence: place.sequence, last_index: index };
        self.organisations.insert(organisation.clone(), Seen { state, holes: self.holes.len() });
    }

    /// Compares with the open list in the head.
    pub(super) fn compare_open(&self, stored: &OpenSet, findings: &mut Findings) {
        for index in stored.iter().filter(|index| !self.open.contains(index) && !self.in_hole(*index)) {
            findings.add((index, index), "the head calls it open, and it is not an open decision");
        }
        if !self.has_holes() {
            for index in self.open.iter().filter(|index| !stored.contains(**index)) {
                findings.add(
                    (*index, *index),
                    "an allowed decision without an outcome, and the head does not call it open",
                );
            }
        }
    }

    /// Compares with the stored states of the organisations. Both are about the log up to `last_index`.
    pub(super) fn compare_organisations(
        &self,
        stored: &[(OrganisationId, OrganisationState)],
        last_index: u64,
        findings: &mut Findings,
    ) {
        let stored: HashMap<&OrganisationId, OrganisationState> = stored.iter().map(|(id, s)| (id, *s)).collect();
        let mut names: Vec<&OrganisationId> = self.organisations.keys().chain(stored.keys().copied()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let seen = self.organisations.get(name);
            let unbroken = seen.map_or(0, |seen| seen.holes) == self.holes.len();
            let unbroken = unbroken && (seen.is_some() || self.left_out == 0);
            if unbroken && seen.map(|seen| seen.state) != stored.get(name).copied() {
                let at = seen.map_or(last_index, |seen| seen.state.last_index);
                findings.add((at, at), format!("the stored state of `{name}` is not that of its last entry"));
            }
        }
    }
}
