//! The rules that hold between entries: every organisation's own sequence, one outcome per allowed exchange, erasures that were
//! asked for, policies that were put in use before they decided, time.

mod kept;
mod pruning;

use crate::facts::{Facts, Ruled};
use crate::findings::Findings;
use crate::summaries::Summaries;
use crate::verdict::Point;
use model::entry::{Kind, Place};
use model::erasure::{Asked, Erasure, Event, Requests};
use model::pruning::Pruning;
use model::{Digest, OrganisationId, Timestamp};
use pruning::Days;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// Entries are sealed by one writer but drafted by many requests; more than a minute backwards is the clock, not them.
const BACKWARDS_MS_MAX: i64 = 60_000;
/// Beyond this many holes, neighbouring ones are taken as one.
const HOLES_MAX: usize = 65_536;
/// Of so many sequences is followed where they stand; no plant has as many suppliers, and a hostile log can have one for each entry.
pub const ORGANISATIONS_MAX: usize = 100_000;

#[derive(Clone, Debug, Default)]
pub struct Rules {
    organisations: HashMap<OrganisationId, Latest>,
    /// Allowed exchanges without outcome, with the run of the broker that allowed them.
    open: BTreeMap<u64, u64>,
    holes: Holes,
    /// Erasures that somebody asked for.
    asked: Requests,
    /// Policies that came into use since the log was opened; every start says anew which these are. `None` where entries since
    /// then are not known.
    in_use: Option<BTreeSet<Digest>>,
    /// The entry that says that the log was opened last.
    opened: Option<u64>,
    /// The run of the broker whose start is shown, where not every entry is.
    opened_in: Option<u64>,
    /// Decisions of which it is not known whether their policies were in use.
    unruled: u64,
    previous_time: Option<Timestamp>,
    boot: Option<u64>,
    /// Runs of the broker so far.
    run: u64,
    /// Entries before this one are gone, as an entry says.
    pruned: u64,
    /// Of some organisations it does not say where they stood.
    left_out: bool,
    /// The last pruning.
    pruning: Option<Box<Pruning>>,
    /// For how many days the shortest policy keeps entries that any were pruned by, and under which entry.
    shortest: Option<(u32, u64)>,
    days: Days,
    summaries: Summaries,
    /// Entries up to here were seen, or passed over.
    seen_to: u64,
}

/// An organisation's latest entry.
#[derive(Clone, Copy, Debug)]
struct Latest {
    sequence: u64,
    index: u64,
}

/// Entries of which nothing is known: what others say of them is not held against those.
#[derive(Clone, Debug, Default)]
struct Holes(Vec<Range<u64>>);

impl Holes {
    fn add(&mut self, range: Range<u64>) {
        let full = self.0.len() >= HOLES_MAX;
        match self.0.last_mut() {
            Some(last) if full || last.end >= range.start => last.end = range.end,
            _ => self.0.push(range),
        }
    }

    fn contains(&self, index: u64) -> bool {
        let after = self.0.partition_point(|hole| hole.start <= index);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|hole| hole.contains(&index))
    }
}

/// What an erasure is worth as an excuse for values that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    Proven,
    /// Whether somebody has asked for it is not known, because the request is not here.
    Unproven,
    /// Something is wrong with it, which is told.
    Nothing,
}

impl Rules {
    /// Entries that cannot be relied on; told already. In ascending order.
    pub fn hole(&mut self, entries: Range<u64>) {
        self.holes.add(entries);
        self.in_use = None;
        self.summaries.forget();
    }

    /// The entries before this one are not here. What was said of policies in use by [`Rules::in_use`] stays.
    pub fn begin_behind(&mut self, index: u64) {
        self.holes.add(0..index);
        if self.opened_in.is_none() {
            self.in_use = None;
        }
    }

    /// An entry that is shown because it says which policies were in use. `false`: it does not.
    pub fn in_use(&mut self, index: u64, facts: &Facts) -> bool {
        match facts.ruled {
            Some(Ruled::Nothing) => self.opened_in = Some(facts.boot),
            Some(Ruled::Activated(_)) if self.opened_in.is_some() => {}
            _ => return false,
        }
        self.policies(index, facts.ruled, &mut Findings::default());
        true
    }

    /// Decisions that were not held against the policies in use, because these are not known.
    pub fn unruled(&self) -> u64 {
        self.unruled
    }

    /// Since when an organisation has had no entry of its own, if that is known.
    pub fn silent_since(&self, organisation: &OrganisationId) -> Option<Timestamp> {
        self.summaries.silent_since(organisation)
    }

    /// Whether all entries so far are known.
    pub fn is_whole(&self) -> bool {
        self.holes.0.is_empty()
    }

    /// The next entry. `lookup` reads an earlier one again, to say what is wrong with an outcome. Returns what an erasure is
    /// worth; `None` of all other entries.
    pub fn entry(
        &mut self,
        index: u64,
        facts: &Facts,
        findings: &mut Findings,
        warnings: &mut Findings,
        lookup: impl FnOnce(u64) -> Option<Facts>,
    ) -> Option<Worth> {
        self.clock(index, facts.time, &mut warnings.of(Point::Clocks));
        self.days.see(index, facts.time);
        self.seen_to = index + 1;
        let is_new_run = self.boot.replace(facts.boot) != Some(facts.boot);
        self.run += u64::from(is_new_run);
        self.summaries.entry(index, facts, is_new_run, (&mut *findings, &mut *warnings));
        if let Some((organisation, place)) = &facts.organisation {
            self.place(index, organisation, *place, &mut findings.of(Point::OrganisationSequences));
        }
        if facts.incarnation.is_some() && index > 0 {
            findings.of(Point::EntryForm).add(index..index + 1, "begins another log in the middle of this one");
        }
        if facts.from_nowhere {
            let what = "a `country` that is not two upper-case letters";
            findings.of(Point::EntryForm).add(index..index + 1, what);
        }
        if facts.opens {
            self.open.insert(index, self.run);
        }
        if facts.kind == Kind::Outcome {
            self.outcome(index, facts.of, &mut findings.of(Point::Outcomes), lookup);
        }
        self.run_of(index, facts, &mut findings.of(Point::PoliciesInUse));
        self.policies(index, facts.ruled, &mut findings.of(Point::PoliciesInUse));
        if let Some(said) = &facts.pruning {
            self.pruning(index, said, &mut findings.of(Point::Pruning));
        }
        let said = facts.erasure.as_ref()?;
        Some(self.erasure(index, said, |_| false, &mut findings.of(Point::Erasures)))
    }

    /// Where the start of a run is shown by itself, another start behind it could be kept back: its decisions tell by their run.
    fn run_of(&mut self, index: u64, facts: &Facts, findings: &mut Findings) {
        let Some(opened_in) = &mut self.opened_in else { return };
        match facts.ruled {
            Some(Ruled::Nothing) => *opened_in = facts.boot,
            Some(Ruled::Asked(_)) if *opened_in != facts.boot => {
                findings
                    .add(index..index + 1, "decided in another run of the broker than the one whose start is shown");
            }
            _ => {}
        }
    }

    /// A broker decides only by policies that the log already says are in use.
    fn policies(&mut self, index: u64, ruled: Option<Ruled>, findings: &mut Findings) {
        if ruled == Some(Ruled::Nothing) {
            self.opened = Some(index);
        }
        if index == 0 || ruled == Some(Ruled::Nothing) {
            self.in_use = Some(BTreeSet::new());
        }
        if ruled == Some(Ruled::Unnamed) {
            findings.add(index..index + 1, "allowed, and does not say by which policies");
        }
        let Some(in_use) = &mut self.in_use else {
            self.unruled += u64::from(matches!(ruled, Some(Ruled::Asked(_))));
            return;
        };
        match ruled {
            Some(Ruled::Activated(digest)) => drop(in_use.insert(digest)),
            Some(Ruled::Asked(digest)) if !in_use.contains(&digest) => {
                let what = format!("decided by policies `{digest}`, and no entry says that these were in use");
                findings.add(index..index + 1, what);
            }
            _ => {}
        }
    }

    /// Nobody's values go but on somebody's request, which another approved, and of entries that were there. `is_hidden` says
    /// of which entries nothing is known, beside those in holes. A request that was pruned is carried forward with what carries
    /// it out.
    pub fn erasure(
        &mut self,
        index: u64,
        said: &Result<Event, &'static str>,
        is_hidden: impl FnOnce(u64) -> bool,
        findings: &mut Findings,
    ) -> Worth {
        let at = index..index + 1;
        let event = match said {
            Err(member) => {
                findings.add(at, format!("an erasure whose member `{member}` cannot be understood"));
                return Worth::Nothing;
            }
            Ok(event) => event,
        };
        let fault = match event {
            Event::Erased(erasure) => Erasure { index, ..erasure.clone() }.fault(),
            Event::Requested(_) | Event::Refused => None,
        };
        let Self { asked, holes, pruned, .. } = self;
        let mut is_dropped = false;
        let is_hidden = |requested| {
            let is_hidden = holes.contains(requested) || is_hidden(requested);
            is_dropped = !is_hidden && requested < *pruned;
            is_hidden || is_dropped
        };
        let asked = asked.see(index, event, is_hidden);
        let dropped = is_dropped.then_some("an erasure whose request was pruned, and is not carried forward");
        for what in fault.into_iter().chain(asked.err()).chain(dropped) {
            findings.add(at.clone(), what);
        }
        match asked {
            _ if is_dropped => Worth::Nothing,
            Ok(Asked::Yes) if fault.is_none() => Worth::Proven,
            Ok(Asked::Unknown) if fault.is_none() => Worth::Unproven,
            _ => Worth::Nothing,
        }
    }

    fn clock(&mut self, index: u64, time: Timestamp, warnings: &mut Findings) {
        let back = self.previous_time.replace(time).map_or(0, |previous| previous.millis() - time.millis());
        if back > BACKWARDS_MS_MAX {
            warnings.add(index..index + 1, format!("{} s earlier than the entry before it", back / 1000));
        }
    }

    fn place(&mut self, index: u64, organisation: &OrganisationId, place: Place, findings: &mut Findings) {
        let now = Latest { sequence: place.sequence, index };
        let is_full = self.organisations.len() >= ORGANISATIONS_MAX;
        let latest = match self.organisations.get_mut(organisation) {
            Some(latest) => Some(std::mem::replace(latest, now)),
            None if is_full => {
                let what = format!("of another organisation behind {ORGANISATIONS_MAX}: its sequence is not followed");
                return findings.add(index..index + 1, what);
            }
            None => self.organisations.insert(organisation.clone(), now),
        };
        let previous = latest.map_or(0, |latest| latest.sequence);
        let follows = place.sequence == previous + 1 && place.previous == latest.map(|latest| latest.index);
        let is_behind = |i: u64| latest.is_none_or(|latest| i > latest.index);
        let is_gone = |i: u64| self.left_out && latest.is_none() && i < self.pruned;
        let is_hidden = |i: u64| self.holes.contains(i) && is_behind(i) || is_gone(i);
        let over_a_hole = place.sequence > previous && place.previous.is_some_and(is_hidden);
        if follows || over_a_hole {
            return;
        }
        let (sequence, since) = (place.sequence, latest.map_or(0, |latest| latest.index + 1).min(index));
        if sequence > previous + 1 {
            let lacking = if sequence == previous + 2 {
                format!("entry {} of", previous + 1)
            } else {
                format!("entries {} to {} of", previous + 1, sequence - 1)
            };
            findings.add(
                since..index + 1,
                format!("{lacking} organisation `{organisation}` missing before its {sequence}."),
            );
        } else if sequence <= previous {
            let since = since.saturating_sub(1);
            findings.add(since..index + 1, format!("organisation `{organisation}` has a second entry {sequence}"));
        } else {
            findings.add(index..index + 1, format!("names another previous entry of organisation `{organisation}`"));
        }
    }

    fn outcome(
        &mut self,
        index: u64,
        of: Option<u64>,
        findings: &mut Findings,
        lookup: impl FnOnce(u64) -> Option<Facts>,
    ) {
        let entry = index..index + 1;
        let Some(of) = of else { return findings.add(entry, "outcome that does not say of which decision") };
        if self.open.remove(&of).is_some() || self.holes.contains(of) {
            return;
        }
        if of >= index {
            findings.add(entry, format!("outcome of entry {of}, which is not before it"));
        } else if !findings.is_full() && lookup(of).is_some_and(|facts| facts.opens) {
            findings.add(entry, format!("second outcome of the decision in entry {of}"));
        } else {
            findings.add(entry, format!("outcome of entry {of}, which is no allowed exchange"));
        }
    }

    pub fn organisations(&self) -> u64 {
        self.organisations.len() as u64
    }

    /// Allowed exchanges without outcome. Those of an earlier run of the broker should have got theirs at its restart.
    pub fn finish(&self, warnings: &mut Findings) -> u64 {
        // An outcome may be in a hole.
        let told = self.holes.0.is_empty();
        for (index, _) in self.open.iter().filter(|(_, run)| told && **run < self.run) {
            warnings
                .of(Point::Outcomes)
                .add(*index..index + 1, "still without outcome although the broker has started again since");
        }
        self.open.len() as u64
    }
}

#[cfg(test)]
mod tests;
