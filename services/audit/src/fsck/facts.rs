//! What entries say of one another: sequences of organisations, decisions and their outcomes.

use super::findings::Findings;
use crate::open_set::OpenSet;
use crate::store::OrganisationState;
use model::entry::{Entry, Kind, Place};
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

    pub(super) fn see(&mut self, index: u64, entry: &Entry, findings: &mut Findings) {
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
