//! The rules that hold between entries: every organisation's own sequence, one outcome per allowed exchange, erasures that were
//! asked for, policies that were put in use before they decided, time.

use crate::facts::{Facts, Ruled};
use crate::findings::Findings;
use crate::summaries::Summaries;
use crate::verdict::Point;
use model::entry::{Kind, Place};
use model::erasure::{Asked, Erasure, Event, Request, Requests};
use model::pruning::Pruning;
use model::{Digest, OrganisationId, Timestamp, canonical};
use serde_json::{Value, json};
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

/// From which entry on there is one of a day (since 1970) or later. So that nobody calls entries older than they were.
#[derive(Clone, Debug, Default)]
struct Days(Vec<(i64, u64)>);

/// Eleven years. A hostile log can have one a day per entry.
const DAYS_MAX: usize = 4_096;
const DAY_MS: i64 = 86_400_000;

impl Days {
    fn see(&mut self, index: u64, time: Timestamp) {
        let day = time.millis().div_euclid(DAY_MS);
        if self.0.last().is_none_or(|(last, _)| *last < day) {
            if self.0.len() >= DAYS_MAX {
                self.0.remove(0);
            }
            self.0.push((day, index));
        }
    }

    /// The first entry of that time, a midnight, or later.
    fn first_of(&self, time: Timestamp) -> Option<(i64, u64)> {
        let day = time.millis().div_euclid(DAY_MS);
        self.0.get(self.0.partition_point(|(seen, _)| *seen < day)).copied()
    }
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

    /// Entries before `minimum` are gone. What is carried forward of them comes next, and then [`Rules::begin`].
    pub fn prune(&mut self, minimum: u64) {
        self.pruned = self.pruned.max(minimum);
    }

    /// An entry that is carried forward: it says what it says, and nothing follows from its place.
    pub fn carried(&mut self, index: u64, facts: &Facts, said: &Pruning, findings: &mut Findings) {
        if facts.time >= said.before {
            let what = format!("pruned under entry {} as one of before {}, and is later", said.index, said.before);
            findings.of(Point::Pruning).add(index..index + 1, what);
        }
        if facts.incarnation.is_some() && index > 0 {
            findings.of(Point::EntryForm).add(index..index + 1, "begins another log in the middle of this one");
        }
        if facts.opens || facts.kind == Kind::Outcome {
            findings.of(Point::Pruning).add(index..index + 1, "carried forward, and nothing depends on it");
        }
        self.policies(index, facts.ruled, &mut findings.of(Point::PoliciesInUse));
        if let Some(erasure) = &facts.erasure {
            self.erasure(index, erasure, |_| false, &mut findings.of(Point::Erasures));
        }
    }

    /// Everything before `said.minimum` is passed over: goes on with what the entry says of that, held against what is known.
    pub fn begin(&mut self, said: &Pruning, findings: &mut Findings) {
        self.prune(said.minimum);
        self.compare_opened(said, &mut findings.of(Point::Pruning));
        self.compare_places(said, &mut findings.of(Point::Pruning));
        let Self { summaries, organisations, .. } = self;
        summaries.pass_over(said, |organisation| Some(organisations.get(organisation)?.sequence));
        for (organisation, place) in &said.organisations {
            let latest = Latest { sequence: place.sequence, index: place.previous.unwrap_or(0) };
            self.organisations.insert(organisation.clone(), latest);
        }
        self.left_out |= said.organisations_left_out > 0;
        self.seen_to = self.seen_to.max(said.minimum);
        let run = self.run;
        let open = std::mem::take(&mut self.open);
        self.open = said.open.iter().map(|index| (*index, open.get(index).copied().unwrap_or(run))).collect();
    }

    /// The shortest time for which entries were kept that were pruned, in days, and by which entry.
    pub fn shortest(&self) -> Option<(u32, u64)> {
        self.shortest
    }

    /// The entry of a pruning: what it says of entries that were seen must be so.
    fn pruning(&mut self, index: u64, said: &Result<Pruning, &'static str>, findings: &mut Findings) {
        let at = index..index + 1;
        let said = match said {
            Err(member) => return findings.add(at, format!("a pruning whose member `{member}` cannot be understood")),
            Ok(said) => Pruning { index, ..said.clone() },
        };
        let faults = said.fault().into_iter().chain(said.fault_behind(self.pruning.as_deref()));
        let faults: Vec<String> = faults.collect();
        let is_good = faults.is_empty();
        faults.iter().for_each(|what| findings.add(at.clone(), what));
        if let Some((day, seen)) = self.days.first_of(said.before).filter(|(_, seen)| *seen < said.minimum) {
            let of = Timestamp(day.saturating_mul(DAY_MS)).to_rfc3339();
            let what = format!(
                "says that all entries before {} are of before {}, and entry {seen} is of {of} or later",
                said.minimum, said.before
            );
            findings.add(at.clone(), what);
        }
        if let Some((open, _)) = self.open.range(..said.minimum).next() {
            findings.add(at, format!("prunes entry {open}, whose exchange has no outcome"));
        }
        // Where those entries were passed over, it was held against what was known of them then.
        if let Some(opened) = self.opened.filter(|opened| self.pruned < said.minimum && said.is_gone(*opened)) {
            let what = format!("does not carry entry {opened} forward, by which the log was opened last");
            findings.add(index..index + 1, what);
        }
        self.compare_places(&said, findings);
        if is_good {
            let shorter = self.shortest.is_none_or(|(days, _)| said.days < days);
            self.shortest = if shorter { Some((said.days, index)) } else { self.shortest };
            self.pruning = Some(Box::new(said));
        }
    }

    /// Every log was opened before any entry can go, and what came into use since then is carried forward with it: without it
    /// no policy could be held against anything.
    fn compare_opened(&self, said: &Pruning, findings: &mut Findings) {
        let is_carried = match self.opened {
            Some(opened) => said.carried.contains(&opened),
            // It may be one of those before whoever looks here began.
            None => said.carried.iter().any(|index| *index < self.seen_to || self.holes.contains(*index)),
        };
        if !is_carried {
            let what =
                format!("prunes entries before {}, and does not carry forward that the log was opened", said.minimum);
            findings.add(said.index..said.index + 1, what);
        }
    }

    /// Where organisations stood before the minimum index, as far as that is known here.
    fn compare_places(&self, said: &Pruning, findings: &mut Findings) {
        if !self.holes.0.is_empty() {
            return;
        }
        let at = said.index..said.index + 1;
        for (organisation, latest) in &self.organisations {
            let place = said.organisations.get(organisation).map(|place| (place.sequence, place.previous.unwrap_or(0)));
            let is_so = match place {
                None => said.organisations_left_out > 0 || latest.index >= said.minimum,
                Some(place) if latest.index < said.minimum && latest.index >= self.seen_from(said) => {
                    place == (latest.sequence, latest.index)
                }
                Some((sequence, index)) if latest.index < said.minimum => {
                    sequence >= latest.sequence && index >= latest.index
                }
                Some((sequence, _)) => sequence < latest.sequence,
            };
            if !is_so {
                let what = format!(
                    "does not say where the entries of organisation `{organisation}` stood before {}",
                    said.minimum
                );
                findings.add(at.clone(), what);
            }
        }
    }

    /// From here on up to the minimum index of `said` every entry was seen: then nobody's last entry can be a later one.
    fn seen_from(&self, said: &Pruning) -> u64 {
        if self.seen_to >= said.minimum { 0 } else { u64::MAX }
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

    /// What is known after the entries so far, for a check that goes on later.
    pub fn to_json(&self) -> Value {
        let organisations =
            self.organisations.iter().map(|(id, latest)| (id.to_string(), json!([latest.sequence, latest.index])));
        json!({
            "organisations": organisations.collect::<serde_json::Map<_, _>>(),
            "open": self.open.iter().map(|(index, run)| json!([index, run])).collect::<Vec<_>>(),
            "holes": self.holes.0.iter().map(|hole| json!([hole.start, hole.end])).collect::<Vec<_>>(),
            "in_use": self.in_use.as_ref().map(|in_use| in_use.iter().map(|digest| digest.to_hex()).collect::<Vec<_>>()),
            "opened": self.opened,
            "asked": self.asked.iter().map(asked_to_json).collect::<Vec<_>>(),
            "time": self.previous_time.map(Timestamp::millis),
            "boot": self.boot,
            "run": self.run,
            "pruned": self.pruned,
            "left_out": self.left_out,
            "pruning": self.pruning.as_ref().map(|said| json!([said.index, said.first, said.minimum, said.before.millis()])),
            "shortest": self.shortest.map(|(days, index)| json!([days, index])),
            "days": self.days.0.iter().map(|(day, index)| json!([day, index])).collect::<Vec<_>>(),
            "seen_to": self.seen_to,
            "summaries": self.summaries.to_json(),
        })
    }

    /// The inverse of [`Rules::to_json`]; `None` for anything else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let pair = |value: &Value| Some((value.get(0)?.as_u64()?, value.get(1)?.as_u64()?));
        let pairs = |name: &str| value.get(name)?.as_array()?.iter().map(pair).collect::<Option<Vec<_>>>();
        let organisation = |(id, latest): (&String, &Value)| {
            let (sequence, index) = pair(latest)?;
            Some((OrganisationId::new(id).ok()?, Latest { sequence, index }))
        };
        let digest = |value: &Value| canonical::unhex(value.as_str()?)?.try_into().ok().map(Digest);
        let day = |value: &Value| Some((value.get(0)?.as_i64()?, value.get(1)?.as_u64()?));
        // What was kept by an earlier version says nothing of policies.
        let in_use = value.get("in_use").and_then(Value::as_array);
        Some(Self {
            organisations: value.get("organisations")?.as_object()?.iter().map(organisation).collect::<Option<_>>()?,
            open: pairs("open")?.into_iter().collect(),
            holes: Holes(pairs("holes")?.into_iter().map(|(start, end)| start..end).collect()),
            opened: value.get("opened").and_then(Value::as_u64),
            asked: value.get("asked")?.as_array()?.iter().map(asked_from_json).collect::<Option<_>>()?,
            in_use: in_use.and_then(|in_use| in_use.iter().map(digest).collect()),
            opened_in: None,
            unruled: 0,
            previous_time: value.get("time").and_then(Value::as_i64).map(Timestamp),
            boot: value.get("boot").and_then(Value::as_u64),
            run: value.get("run")?.as_u64()?,
            // What was kept by an earlier version says nothing of prunings.
            pruned: value.get("pruned").and_then(Value::as_u64).unwrap_or(0),
            left_out: value.get("left_out").and_then(Value::as_bool).unwrap_or(false),
            pruning: value.get("pruning").and_then(pruning_from_json).map(Box::new),
            shortest: value.get("shortest").and_then(pair).and_then(|(days, at)| Some((u32::try_from(days).ok()?, at))),
            days: Days(value.get("days").and_then(Value::as_array).into_iter().flatten().filter_map(day).collect()),
            summaries: Summaries::from_json(value.get("summaries"))?,
            seen_to: value.get("seen_to").and_then(Value::as_u64).unwrap_or(0),
        })
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

/// As far as the next one is held against it.
fn pruning_from_json(value: &Value) -> Option<Pruning> {
    let number = |at: usize| value.get(at)?.as_u64();
    Some(Pruning {
        index: number(0)?,
        time: Timestamp(0),
        first: number(1)?,
        minimum: number(2)?,
        before: Timestamp(value.get(3)?.as_i64()?),
        days: 0,
        policy: Digest([0; 32]),
        organisations: BTreeMap::new(),
        organisations_left_out: 0,
        open: BTreeSet::new(),
        carried: BTreeSet::new(),
        directory: 0,
    })
}

fn asked_to_json((index, request, done): (u64, &Request, bool)) -> Value {
    let Request { id, reference, organisation, requested_by } = request;
    json!([index, id, reference, organisation, requested_by, done])
}

fn asked_from_json(value: &Value) -> Option<(u64, Request, bool)> {
    let text = |at: usize| value.get(at)?.as_str().map(str::to_owned);
    let or_null = |at: usize| value.get(at).filter(|value| value.is_null() || value.is_string()).map(|_| text(at));
    let request = Request { id: text(1)?, reference: or_null(2)?, organisation: or_null(3)?, requested_by: text(4)? };
    Some((value.get(0)?.as_u64()?, request, value.get(5)?.as_bool()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::erasure::Scope;
    use std::sync::Arc;

    struct Story {
        rules: Rules,
        findings: Findings,
        warnings: Findings,
        told: Vec<Facts>,
    }

    fn facts(kind: Kind) -> Facts {
        Facts {
            kind,
            time: Timestamp(1_000_000),
            organisation: None,
            opens: false,
            of: None,
            erasure: None,
            pruning: None,
            summary: None,
            incarnation: None,
            ruled: None,
            key: None,
            from_nowhere: false,
            boot: 1,
        }
    }

    fn allow() -> Facts {
        Facts { opens: true, ..facts(Kind::Decision) }
    }

    fn outcome(of: u64) -> Facts {
        Facts { of: Some(of), ..facts(Kind::Outcome) }
    }

    fn of_acme(sequence: u64, previous: impl Into<Option<u64>>) -> Facts {
        let place = Place { sequence, previous: previous.into() };
        Facts { organisation: Some((OrganisationId::new("acme").unwrap(), place)), ..facts(Kind::Admin) }
    }

    fn tell(entries: impl IntoIterator<Item = Option<Facts>>) -> (Vec<String>, Vec<String>, u64) {
        let (rules, findings, warnings) = (Rules::default(), Findings::default(), Findings::default());
        let mut story = Story { rules, findings, warnings, told: Vec::new() };
        for (index, entry) in (0..).zip(entries) {
            let Some(entry) = entry else {
                story.rules.hole(index..index + 1);
                story.told.push(facts(Kind::Gap));
                continue;
            };
            let Story { rules, findings, warnings, told } = &mut story;
            rules.entry(index, &entry, findings, warnings, |i| told.get(usize::try_from(i).unwrap()).cloned());
            story.told.push(entry);
        }
        let open = story.rules.finish(&mut story.warnings);
        let texts = |f: Findings| f.finish().0.iter().map(ToString::to_string).collect();
        (texts(story.findings), texts(story.warnings), open)
    }

    fn findings(entries: impl IntoIterator<Item = Facts>) -> Vec<String> {
        tell(entries.into_iter().map(Some)).0
    }

    #[test]
    fn a_sequence_without_gap_is_fine() {
        assert!(findings([of_acme(1, None), facts(Kind::Heartbeat), of_acme(2, 0), of_acme(3, 2)]).is_empty());
    }

    #[test]
    fn a_log_takes_the_place_of_another_only_at_its_beginning() {
        let first = || Facts { incarnation: Some(Box::new(model::Value::Bool(true))), ..facts(Kind::System) };
        assert!(findings([first(), facts(Kind::Heartbeat)]).is_empty());
        let late = findings([facts(Kind::Heartbeat), first()]);
        assert_eq!(late, ["entry 1: begins another log in the middle of this one"]);
    }

    #[test]
    fn a_country_is_two_letters_in_every_entry_about_a_request() {
        let common = model::entry::Common { nonce: [7; 16], time: Timestamp(1_000_000), boot: "b".into() };
        let facts = |kind, country: model::Value| {
            let draft = model::entry::Draft::new(kind, &common, None, [("country", country)], vec![]).unwrap();
            Facts::of_entry(&draft.seal(None)).unwrap()
        };
        let text = |text: &str| model::Value::text(text);
        for kind in [Kind::Decision, Kind::AuditRead, Kind::RefusedLogin] {
            assert!(findings([facts(kind, text("DE"))]).is_empty());
            for bad in [text("de"), text("DEU"), text(""), text("192.0.2.1"), model::Value::int(49)] {
                assert_eq!(findings([facts(kind, bad)]), ["entry 0: a `country` that is not two upper-case letters"]);
            }
        }
        // What other kinds may come to say by this name is theirs.
        assert!(findings([facts(Kind::Admin, text("Germany"))]).is_empty());
    }

    #[test]
    fn gaps_and_forks_of_a_sequence_are_found() {
        assert_eq!(
            findings([of_acme(1, None), facts(Kind::Heartbeat), of_acme(3, 0)]),
            ["entries 1 to 2: entry 2 of organisation `acme` missing before its 3."]
        );
        assert_eq!(findings([of_acme(5, 3)]), ["entry 0: entries 1 to 4 of organisation `acme` missing before its 5."]);
        assert_eq!(
            findings([of_acme(1, None), of_acme(2, 0), of_acme(2, 0)]),
            ["entries 1 to 2: organisation `acme` has a second entry 2"]
        );
        assert_eq!(
            findings([of_acme(1, None), of_acme(2, 0), of_acme(3, 0)]),
            ["entry 2: names another previous entry of organisation `acme`"]
        );
    }

    #[test]
    fn a_hostile_log_of_organisations_without_end_is_not_kept_in_memory() {
        let (mut rules, mut findings) = (Rules::default(), Findings::default());
        let first = Place { sequence: 1, previous: None };
        for index in 0..ORGANISATIONS_MAX as u64 + 2 {
            let organisation = OrganisationId::new(&format!("o{index}")).unwrap();
            rules.place(index, &organisation, first, &mut findings.of(Point::OrganisationSequences));
        }
        assert_eq!(rules.organisations(), ORGANISATIONS_MAX as u64);
        let again = Place { sequence: 2, previous: Some(7) };
        rules.place(
            200_000,
            &OrganisationId::new("o7").unwrap(),
            again,
            &mut findings.of(Point::OrganisationSequences),
        );
        let found: Vec<_> = findings.finish().0.iter().map(ToString::to_string).collect();
        let what = "of another organisation behind 100000: its sequence is not followed";
        assert_eq!(found, [format!("entries 100000 to 100001: {what}")]);
    }

    #[test]
    fn outcomes_close_one_earlier_allowed_exchange_each() {
        assert!(findings([allow(), allow(), outcome(1), outcome(0)]).is_empty());
        assert_eq!(
            findings([allow(), outcome(0), outcome(0), outcome(1), outcome(9), facts(Kind::Outcome)]),
            [
                "entry 2: second outcome of the decision in entry 0",
                "entry 3: outcome of entry 1, which is no allowed exchange",
                "entry 4: outcome of entry 9, which is not before it",
                "entry 5: outcome that does not say of which decision",
            ]
        );
    }

    #[test]
    fn holes_are_not_told_twice() {
        let (findings, _, open) = tell([None, Some(of_acme(2, 0)), None, None, Some(of_acme(5, 3)), Some(outcome(2))]);
        assert_eq!((findings, open), (vec![], 0));
        let (findings, ..) = tell([Some(of_acme(1, None)), None, Some(of_acme(3, 0))]);
        assert_eq!(findings.len(), 1, "the previous entry it names is not in the hole");
        // In a hole, and before one that is known: what lies between was left out.
        let (findings, ..) = tell([None, None, Some(of_acme(5, 0)), Some(of_acme(6, 2)), Some(of_acme(9, 1))]);
        assert_eq!(findings.len(), 1, "{findings:?}");
    }

    #[test]
    fn an_erasure_is_of_what_was_there_and_was_asked_for_by_somebody_else() {
        assert!(findings([allow(), requested("anna"), erased("anna", 1, Some(1), "b"), outcome(0)]).is_empty());
        assert_eq!(
            findings([
                requested("anna"),
                erased("anna", 0, Some(2), "b"),
                erased("anna", 0, None, "b"),
                erased("anna", 0, Some(0), "a"),
            ]),
            [
                "entries 1 to 2: an erasure that nobody has asked for",
                "entry 3: an erasure that was approved by the one who asked for it",
            ]
        );
        let wide = "entry 1: an erasure that claims entries that were not written yet";
        assert_eq!(findings([requested("anna"), erased("anna", 5, Some(0), "b")]), [wide]);
        let (findings, ..) = tell([None, Some(erased("anna", 0, Some(0), "b"))]);
        assert!(findings.is_empty(), "who asked is not here: {findings:?}");
    }

    #[test]
    fn policies_that_were_never_in_use_are_found() {
        let digest = |n| Digest([n; 32]);
        let ruled = |ruled| Facts { ruled: Some(ruled), ..facts(Kind::Policy) };
        let opened = || ruled(Ruled::Nothing);
        let (activated, asked) = (|n| ruled(Ruled::Activated(digest(n))), |n| ruled(Ruled::Asked(digest(n))));
        // What was decided just before a change may be written just after it.
        assert!(findings([opened(), activated(1), asked(1), activated(2), asked(2), asked(1)]).is_empty());
        let never = |n| format!("decided by policies `{}`, and no entry says that these were in use", digest(n));
        assert_eq!(findings([activated(1), asked(2), activated(2)]), [format!("entry 1: {}", never(2))]);
        // A start says anew what is in use.
        assert_eq!(findings([opened(), activated(1), opened(), asked(1)]), [format!("entry 3: {}", never(1))]);
        // Also where nothing is known of what is in use.
        assert_eq!(
            tell([None, Some(ruled(Ruled::Unnamed))]).0,
            ["entry 1: allowed, and does not say by which policies"]
        );
        // Where entries are missing, one of them may have said it, until the next start.
        let (found, ..) = tell([None, Some(asked(7)), Some(opened()), Some(activated(1)), Some(asked(7))]);
        assert_eq!(found, [format!("entry 4: {}", never(7))]);
        let mut rules = Rules::default();
        rules.policies(0, Some(Ruled::Activated(digest(1))), &mut Findings::default());
        assert_eq!(Rules::from_json(&rules.to_json()).unwrap().in_use, rules.in_use);
        let mut earlier = rules.to_json();
        earlier.as_object_mut().unwrap().remove("in_use");
        assert_eq!(Rules::from_json(&earlier).unwrap().in_use, None);
    }

    #[test]
    fn a_request_about_one_person_is_none_about_another_and_is_carried_out_once() {
        let nobody = "entry 1: an erasure that nobody has asked for";
        assert_eq!(findings([requested("anna"), erased("otto", 0, Some(0), "b")]), [nobody]);
        assert_eq!(
            findings([requested("anna"), erased("anna", 0, Some(0), "b"), erased("anna", 0, Some(0), "b")]),
            ["entry 2: an erasure whose request was carried out before"]
        );
    }

    #[test]
    fn a_request_that_was_seen_before_it_was_pruned_is_known_and_another_is_not() {
        let told = |seen: bool| {
            let (mut rules, mut findings) = (Rules::default(), Findings::default());
            if seen {
                rules.entry(3, &requested("anna"), &mut findings, &mut Findings::default(), |_| None);
            }
            rules.prune(256);
            let erased = erased("anna", 0, Some(3), "b").erasure.unwrap();
            let worth = rules.erasure(300, &erased, |_| false, &mut findings);
            (worth, findings.finish().0.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(told(true), (Worth::Proven, vec![]));
        let dropped = "entry 300: an erasure whose request was pruned, and is not carried forward";
        assert_eq!(told(false), (Worth::Nothing, vec![String::from(dropped)]));
    }

    #[test]
    fn what_was_asked_for_is_known_to_a_check_that_goes_on_later() {
        let mut rules = Rules::default();
        let (mut findings, mut warnings) = (Findings::default(), Findings::default());
        let mut unknown = request("nobody");
        unknown.reference = None;
        for event in [Event::Requested(request("anna")), Event::Requested(unknown)] {
            let facts = Facts { erasure: Some(Box::new(Ok(event))), ..facts(Kind::Erasure) };
            let index = rules.asked.iter().count() as u64;
            rules.entry(index, &facts, &mut findings, &mut warnings, |_| None);
        }
        rules.entry(2, &erased("anna", 0, Some(0), "b"), &mut findings, &mut warnings, |_| None);
        let again = Rules::from_json(&rules.to_json()).unwrap();
        assert_eq!(again.asked, rules.asked);
        assert!(findings.finish().0.is_empty());
    }

    fn request(reference: &str) -> Request {
        Request {
            id: "r".into(),
            reference: Some(reference.into()),
            organisation: Some("acme".into()),
            requested_by: "a".into(),
        }
    }

    fn requested(reference: &str) -> Facts {
        let event = Event::Requested(request(reference));
        Facts { erasure: Some(Box::new(Ok(event))), ..facts(Kind::Erasure) }
    }

    fn erased(reference: &str, last: u64, requested: Option<u64>, approved_by: &str) -> Facts {
        let request = request(reference);
        let scope = Scope::Principal { directory: true, requested, request, approved_by: approved_by.into() };
        let (named, held) = (BTreeMap::new(), Arc::default());
        let erasure = Erasure { index: 0, scope, classes: vec![], range: Some((0, last)), named, held, count: 1 };
        Facts { erasure: Some(Box::new(Ok(Event::Erased(erasure)))), ..facts(Kind::Erasure) }
    }

    #[test]
    fn a_clock_that_went_back_is_a_warning() {
        let at = |ms| Facts { time: Timestamp(ms), ..facts(Kind::Heartbeat) };
        let (findings, warnings, _) = tell([at(100_000), at(40_000), at(90_000), at(29_999)].map(Some));
        assert!(findings.is_empty());
        assert_eq!(warnings, ["entry 3: 60 s earlier than the entry before it"]);
    }

    #[test]
    fn open_exchanges_are_counted_and_stale_ones_pointed_out() {
        let later = |facts: Facts| Facts { boot: 2, ..facts };
        let (findings, warnings, open) = tell([allow(), allow(), outcome(0), later(allow())].map(Some));
        assert!(findings.is_empty());
        assert_eq!(open, 2);
        assert_eq!(warnings, ["entry 1: still without outcome although the broker has started again since"]);
    }
}
