//! Organisations' summaries ([`model::summary`]): that each says the true number, comes by when the one before has promised it, and
//! promises the next for later than usual only of an organisation that was silent.
//!
//! A broker that is stopped writes none, and nothing is held against it: late is what was not there although the log shows that the
//! broker ran. It ran as long as entries follow each other without a longer pause.
//!
//! What this does **not** do: whether there are newer entries than an archive shows, [`crate::archive`] asks.

use crate::facts::Facts;
use crate::findings::Findings;
use crate::rules::ORGANISATIONS_MAX;
use crate::verdict::Point;
use model::entry::Kind;
use model::pruning::Pruning;
use model::summary::{INTERVAL_MS_MAX, LATE_MS, Summary, is_overdue};
use model::{OrganisationId, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

#[derive(Clone, Debug, Default)]
pub struct Summaries {
    /// Of each organisation that was promised another summary.
    promises: HashMap<OrganisationId, Promise>,
    /// The same by their times: a log can have many organisations.
    due: BTreeSet<(Timestamp, OrganisationId)>,
    /// Of each organisation, as far as its last entries follow each other: since when it has had none of its own.
    silent: HashMap<OrganisationId, Silent>,
    /// Since when the broker ran without a longer pause, as far as entries show, and the time of the last one.
    since: Option<Timestamp>,
    previous: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Promise {
    /// By then there is another one.
    due: Timestamp,
    /// The entry that says so.
    under: u64,
    /// Or so long after the organisation's next entry, which did not come yet.
    again_ms: Option<i64>,
}

/// How long an organisation has been silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Silent {
    /// The time of its last entry that is neither summary nor outcome; or of a summary behind it, if the clock was put back.
    since: Timestamp,
    /// The number of its last entry: what follows it shows that there was no other between.
    sequence: u64,
}

impl Summaries {
    /// The next entry. `is_new_run`: it is the first of a start of the broker.
    pub fn entry(
        &mut self,
        index: u64,
        facts: &Facts,
        is_new_run: bool,
        (findings, warnings): (&mut Findings, &mut Findings),
    ) {
        self.follow(facts);
        // An outcome says when an exchange ended, and may have waited for hours until the log had room.
        if facts.kind == Kind::Outcome {
            if is_new_run {
                (self.since, self.previous) = (None, None);
            }
            return;
        }
        let now = facts.time;
        let between = self.previous.replace(now).map(|previous| now.millis().saturating_sub(previous.millis()));
        if is_new_run || between.is_none_or(|ms| ms.saturating_abs() > LATE_MS) {
            self.since = Some(now);
        }
        if self.since.is_some_and(|since| is_overdue(since, now)) {
            self.overdue(index, now, &mut findings.of(Point::OrganisationSummaries));
        }
        let organisation = facts.organisation.as_ref().map(|(organisation, _)| organisation);
        match facts.summary.as_deref() {
            Some(said) => self.said(index, said, organisation, (findings, warnings)),
            None => organisation.into_iter().for_each(|organisation| self.spoke(organisation, now)),
        }
    }

    /// Since when its organisation was silent. Numbers without a gap tell that, also where entries between are not shown.
    fn follow(&mut self, facts: &Facts) {
        let Some((organisation, place)) = &facts.organisation else { return };
        let sequence = place.sequence;
        let is_own = !matches!(facts.kind, Kind::Outcome | Kind::OrgSummary);
        let has_room = self.silent.len() < ORGANISATIONS_MAX;
        match self.silent.get_mut(organisation) {
            Some(silent) if is_own => *silent = Silent { since: facts.time, sequence },
            Some(silent) if silent.sequence.checked_add(1) == Some(sequence) => {
                silent.sequence = sequence;
                if facts.kind == Kind::OrgSummary {
                    silent.since = silent.since.min(facts.time);
                }
            }
            Some(_) => drop(self.silent.remove(organisation)),
            None if is_own && has_room => {
                self.silent.insert(organisation.clone(), Silent { since: facts.time, sequence });
            }
            None => {}
        }
    }

    /// Since when an organisation has had no entry of its own, if that is known.
    pub fn silent_since(&self, organisation: &OrganisationId) -> Option<Timestamp> {
        self.silent.get(organisation).map(|silent| silent.since)
    }

    /// An organisation has an entry of its own: whoever was silent is summed up sooner.
    fn spoke(&mut self, organisation: &OrganisationId, now: Timestamp) {
        let Some(promise) = self.promises.get_mut(organisation) else { return };
        let Some(again) = promise.again_ms.take().map(|ms| now.plus_millis(ms)) else { return };
        if again < promise.due {
            self.due.remove(&(promise.due, organisation.clone()));
            promise.due = again;
            self.due.insert((again, organisation.clone()));
        }
    }

    fn said(
        &mut self,
        index: u64,
        said: &Result<Summary, &'static str>,
        organisation: Option<&OrganisationId>,
        (findings, warnings): (&mut Findings, &mut Findings),
    ) {
        let (at, mut findings) = (index..index + 1, findings.of(Point::OrganisationSummaries));
        let (Ok(said), Some(organisation)) = (said, organisation) else {
            let member = said.err().unwrap_or("org");
            return findings.add(at, format!("a summary whose member `{member}` cannot be understood"));
        };
        if let Some(what) = said.fault() {
            findings.add(at.clone(), what);
        }
        if let Some(what) = self.silent_since(organisation).and_then(|since| said.fault_of_silence(since)) {
            findings.add(at.clone(), what);
        }
        let before = self.promises.remove(organisation);
        if let Some(Promise { due, .. }) = before {
            self.due.remove(&(due, organisation.clone()));
        }
        match said.next {
            Some(_) if self.promises.len() >= ORGANISATIONS_MAX => {
                findings.add(
                    at,
                    format!("promises a summary to more than {ORGANISATIONS_MAX} organisations: not followed"),
                );
            }
            Some(due) => {
                let again_ms = said.again_ms.map(|ms| ms.min(INTERVAL_MS_MAX));
                self.promises.insert(organisation.clone(), Promise { due, under: index, again_ms });
                self.due.insert((due, organisation.clone()));
            }
            None if before.is_some() => {
                let what = format!(
                    "ends the summaries of `{organisation}`: nobody sees any longer whether it is shown its newest entries"
                );
                warnings.of(Point::OrganisationSummaries).add(at, what);
            }
            None => {}
        }
    }

    /// Tells of each promise that was not kept, once.
    fn overdue(&mut self, index: u64, now: Timestamp, findings: &mut Findings) {
        let mut broken = Vec::new();
        while self.due.first().is_some_and(|(due, _)| is_overdue(*due, now))
            && let Some((_, organisation)) = self.due.pop_first()
        {
            broken.extend(self.promises.remove_entry(&organisation));
        }
        broken.sort_unstable_by_key(|(_, promise)| promise.under);
        for (organisation, Promise { due, under, .. }) in broken {
            let what = format!(
                "no summary of `{organisation}` has come since entry {under}, which promised the next by {}, although the broker ran",
                due.to_rfc3339()
            );
            findings.add(index..index + 1, what);
        }
    }

    /// Some entries are not known; any of them may be a summary.
    pub fn forget(&mut self) {
        (self.promises, self.due) = (HashMap::new(), BTreeSet::new());
    }

    /// Entries before `said.minimum` were passed over. What was promised holds of organisations that have none among them which
    /// were not seen.
    pub fn pass_over(&mut self, said: &Pruning, stood_at: impl Fn(&OrganisationId) -> Option<u64>) {
        self.promises.retain(|organisation, _| {
            let place = said.organisations.get(organisation).map(|place| place.sequence);
            place.is_none_or(|sequence| stood_at(organisation).is_some_and(|seen| seen >= sequence))
        });
        self.due = by_time(&self.promises);
        self.since = None;
        self.previous = None;
    }

    /// For a check that goes on later.
    pub fn to_json(&self) -> Value {
        let promises = self.promises.iter().map(|(id, Promise { due, under, again_ms })| {
            let promise = again_ms.map_or(json!([due.millis(), under]), |ms| json!([due.millis(), under, ms]));
            (id.to_string(), promise)
        });
        let silent =
            self.silent.iter().map(|(id, silent)| (id.to_string(), json!([silent.since.millis(), silent.sequence])));
        json!({
            "silent": silent.collect::<serde_json::Map<_, _>>(),
            "promises": promises.collect::<serde_json::Map<_, _>>(),
            "since": self.since.map(Timestamp::millis),
            "previous": self.previous.map(Timestamp::millis),
        })
    }

    /// The inverse; what an earlier version has kept says nothing of summaries.
    pub fn from_json(value: Option<&Value>) -> Option<Self> {
        let Some(value) = value else { return Some(Self::default()) };
        let promise = |(id, promise): (&String, &Value)| {
            let due = Timestamp(promise.get(0)?.as_i64()?);
            // An earlier version knew of no other.
            let again_ms = promise.get(2).map(|ms| ms.as_i64().ok_or(())).transpose().ok()?;
            Some((OrganisationId::new(id).ok()?, Promise { due, under: promise.get(1)?.as_u64()?, again_ms }))
        };
        let promises: HashMap<_, _> = value.get("promises")?.as_object()?.iter().map(promise).collect::<Option<_>>()?;
        let silent = |(id, silent): (&String, &Value)| {
            let (since, sequence) = (Timestamp(silent.get(0)?.as_i64()?), silent.get(1)?.as_u64()?);
            Some((OrganisationId::new(id).ok()?, Silent { since, sequence }))
        };
        // An earlier version did not follow it.
        let silent = match value.get("silent") {
            Some(all) => all.as_object()?.iter().map(silent).collect::<Option<_>>()?,
            None => HashMap::new(),
        };
        let time = |name: &str| value.get(name).and_then(Value::as_i64).map(Timestamp);
        Some(Self { due: by_time(&promises), promises, silent, since: time("since"), previous: time("previous") })
    }
}

fn by_time(promises: &HashMap<OrganisationId, Promise>) -> BTreeSet<(Timestamp, OrganisationId)> {
    promises.iter().map(|(organisation, promise)| (promise.due, organisation.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::entry::{Common, Draft, Kind, Place};

    const START: i64 = 1_795_375_200_000;
    const HOUR: i64 = 60;

    fn at(minute: i64) -> Timestamp {
        Timestamp(START + minute * 60_000)
    }

    #[derive(Clone, Copy)]
    enum Told {
        /// At this minute.
        Heartbeat(i64),
        /// The same, and the first of a run.
        Started(i64),
        /// Of this organisation, and the minute that the next is promised by.
        Summary(&'static str, i64, Option<i64>),
        /// The same of one that is silent: or so many minutes after its next entry.
        Silent(&'static str, i64, i64, i64),
        /// An entry of this organisation's own.
        Asks(&'static str, i64),
        /// Of an exchange that ended at this minute.
        Ended(i64),
        /// The same, of this organisation's.
        Of(&'static str, i64),
        /// An entry of this organisation's that is not known.
        Missing(&'static str),
        Hole,
    }
    use Told::{Asks, Ended, Heartbeat, Hole, Missing, Of, Silent, Started, Summary as Says};

    fn facts(kind: Kind, minute: i64, of: Option<&str>, next: Option<i64>) -> Facts {
        facts_again(kind, minute, of.map(|of| (of, 9)), (next, None))
    }

    /// `of`: with the number of the entry.
    fn facts_again(
        kind: Kind,
        minute: i64,
        of: Option<(&str, u64)>,
        (next, again): (Option<i64>, Option<i64>),
    ) -> Facts {
        let common = Common { nonce: [7; 16], time: at(minute), boot: "b".into() };
        let (of, sequence) = of.map(|(of, sequence)| (OrganisationId::new(of).unwrap(), sequence)).unzip();
        let next = next.map(|next| ("next", model::Value::text(at(next).to_rfc3339())));
        let again = again.map(|minutes| ("again_ms", model::Value::int(minutes * 60_000)));
        let members: Vec<_> = next.into_iter().chain(again).collect();
        let draft = Draft::new(kind, &common, of.as_ref(), members, vec![]).unwrap();
        Facts::of_entry(&draft.seal(sequence.map(|sequence| Place { sequence, previous: Some(0) }))).unwrap()
    }

    /// Findings and warnings, and what is known then, also through what a monitor keeps.
    fn told(story: &[Told]) -> (Vec<String>, Vec<String>) {
        let (mut summaries, mut findings, mut warnings) =
            (Summaries::default(), Findings::default(), Findings::default());
        let mut sequences: HashMap<&str, u64> = HashMap::new();
        for (index, told) in (0..).zip(story) {
            let mut facts = |kind, minute, of: Option<&'static str>, next, again| {
                let of = of.map(|of| (of, *sequences.entry(of).and_modify(|last| *last += 1).or_insert(9)));
                facts_again(kind, minute, of, (next, again))
            };
            let (facts, is_new) = match *told {
                Heartbeat(minute) => (facts(Kind::Heartbeat, minute, None, None, None), false),
                Started(minute) => (facts(Kind::System, minute, None, None, None), true),
                Says(of, minute, next) => (facts(Kind::OrgSummary, minute, Some(of), next, None), false),
                Silent(of, minute, next, again) => {
                    (facts(Kind::OrgSummary, minute, Some(of), Some(next), Some(again)), false)
                }
                Asks(of, minute) => (facts(Kind::RefusedLogin, minute, Some(of), None, None), false),
                Ended(minute) => (facts(Kind::Outcome, minute, None, None, None), false),
                Of(of, minute) => (facts(Kind::Outcome, minute, Some(of), None, None), false),
                Missing(of) => {
                    facts(Kind::RefusedLogin, 0, Some(of), None, None);
                    continue;
                }
                Hole => {
                    summaries.forget();
                    continue;
                }
            };
            summaries.entry(index, &facts, is_new, (&mut findings, &mut warnings));
            summaries = Summaries::from_json(Some(&summaries.to_json())).unwrap();
        }
        let texts = |findings: Findings| {
            let (list, _) = findings.finish();
            assert!(list.iter().all(|finding| finding.check == Point::OrganisationSummaries));
            list.iter().map(ToString::to_string).collect()
        };
        (texts(findings), texts(warnings))
    }

    /// A broker that ran all the time, from one minute to another.
    fn ran(from: i64, to: i64) -> Vec<Told> {
        (from..to).map(Heartbeat).collect()
    }

    fn of(parts: &[&[Told]]) -> Vec<Told> {
        parts.concat()
    }

    const NOTHING: (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());

    #[test]
    fn a_summary_that_does_not_come_while_the_broker_runs_is_found_once() {
        let promised = [Started(0), Says("acme", 0, Some(HOUR)), Says("bolt", 1, Some(2 * HOUR))];
        let kept = [Says("acme", 50, Some(3 * HOUR))];
        assert_eq!(told(&of(&[&promised, &ran(1, 50), &kept, &ran(51, 125)])), NOTHING);
        let (findings, warnings) = told(&of(&[&promised, &ran(1, 150)]));
        let late = |entry: u64, of: &str, under: u64, by: &str| {
            format!(
                "entry {entry}: no summary of `{of}` has come since entry {under}, which promised the next by \
                 2026-11-22T{by}:00.000Z, although the broker ran"
            )
        };
        assert_eq!(findings, [late(73, "acme", 1, "20:20"), late(133, "bolt", 2, "21:20")]);
        assert_eq!(warnings, Vec::<String>::new());
        // One that comes late is late.
        let (findings, _) = told(&of(&[&promised, &ran(1, 70), &[Says("acme", 71, Some(3 * HOUR))], &ran(72, 80)]));
        assert_eq!(findings, [late(72, "acme", 1, "20:20")]);
    }

    #[test]
    fn a_broker_whose_disk_was_full_for_hours_is_accused_of_nothing_by_what_ended_meanwhile() {
        let promised = of(&[&[Started(0), Says("acme", 0, Some(HOUR))], &ran(1, 50)]);
        // Written when there was room again, with the times at which they were made.
        let waited: Vec<Told> = (50..200).map(Ended).collect();
        let again = [Says("acme", 200, Some(200 + HOUR))];
        assert_eq!(told(&of(&[&promised, &waited, &again, &ran(201, 250)])), NOTHING);
        let (findings, _) = told(&of(&[&promised, &waited, &ran(200, 250)]));
        assert_eq!(findings.len(), 1, "but then it comes: {findings:?}");
    }

    #[test]
    fn what_a_stopped_or_sleeping_broker_does_not_write_is_held_against_nobody() {
        let promised = of(&[&[Started(0), Says("acme", 0, Some(HOUR))], &ran(1, 20)]);
        let again = [Says("acme", 2_885, Some(2_885 + HOUR))];
        // Started again two days later, and a machine that slept for so long.
        for wakes in [Started(2_880), Heartbeat(2_880)] {
            assert_eq!(told(&of(&[&promised, &[wakes], &again, &ran(2_886, 2_930)])), NOTHING);
            let (findings, _) = told(&of(&[&promised, &[wakes], &ran(2_881, 2_930)]));
            assert_eq!(findings.len(), 1, "but once it runs it has ten minutes: {findings:?}");
            assert!(findings[0].starts_with("entry 32:"), "{findings:?}");
        }
    }

    #[test]
    fn an_organisation_that_was_silent_is_summed_up_soon_behind_its_next_entry_or_that_is_found() {
        let silent = of(&[&[Started(0), Silent("acme", 0, 100 * HOUR, HOUR)], &ran(1, 200)]);
        assert_eq!(told(&silent), NOTHING, "nothing is due while it is");
        let asks = of(&[&silent, &[Asks("acme", 200)], &ran(201, 250)]);
        let kept = [Says("acme", 250, Some(300 * HOUR))];
        assert_eq!(told(&of(&[&asks, &kept, &ran(251, 400)])), NOTHING);
        let (findings, _) = told(&of(&[&asks, &ran(250, 400), &[Asks("acme", 400)], &ran(401, 420)]));
        let what = "entry 272: no summary of `acme` has come since entry 1, which promised the next by 2026-11-22T23:40:00.000Z, \
                    although the broker ran";
        assert_eq!(findings, [what], "an hour behind the first entry, and ten minutes");
        // Of others it says nothing, and it does not put off what is due before.
        assert_eq!(told(&of(&[&silent, &[Asks("bolt", 200)], &ran(201, 400)])), NOTHING);
        let soon = [Started(0), Silent("acme", 0, HOUR, 2 * HOUR), Asks("acme", 50)];
        let (findings, _) = told(&of(&[&soon, &ran(51, 80)]));
        assert!(findings[0].contains("by 2026-11-22T20:20:00.000Z"), "{findings:?}");
    }

    #[test]
    fn an_organisation_that_is_not_silent_cannot_be_called_silent() {
        const DAY: i64 = 24 * HOUR;
        // Every day it asks, and every day a summary is written that speaks of a month: what is promised is kept, and not true.
        let day = |day: i64| [Asks("acme", day * DAY), Silent("acme", day * DAY + 30, (day + 31) * DAY, DAY)];
        let (findings, _) = told(&of(&[&[Started(0)], &day(0), &day(1), &day(2)]));
        assert_eq!(findings.len(), 3, "{findings:?}");
        let what = "entry 4: a summary that promises the next by 2026-12-24T19:20:00.000Z, as if the organisation had been silent for long, \
                    and by 2026-11-24T19:50:00.000Z there must be another: its last entry is of 2026-11-23T19:20:00.000Z";
        assert_eq!(findings[1], what);
        // One that was silent for as long as it takes is; an outcome and other summaries do not end that, nor what is kept back of others.
        let asked = [Started(0), Asks("acme", 0), Of("acme", 1), Says("acme", 30, Some(DAY)), Hole];
        let promises = |length: i64| told(&of(&[&asked, &[Silent("acme", 5 * DAY, (5 + length) * DAY, DAY)]])).0;
        assert_eq!((promises(10), promises(11).len()), (Vec::new(), 1));
        // Of whom that is not known nothing is held against anybody.
        let far = Silent("acme", DAY, 30 * DAY, DAY);
        assert_eq!(told(&[Started(0), far]), NOTHING);
        assert_eq!(told(&[Started(0), Asks("acme", DAY - 5), Missing("acme"), far]), NOTHING);
        // A clock that was put back makes nobody less silent.
        let ahead =
            [Started(0), Asks("acme", 400 * DAY), Says("acme", 0, Some(DAY)), Silent("acme", 5 * DAY, 15 * DAY, DAY)];
        assert_eq!(told(&ahead).0, Vec::<String>::new());
    }

    #[test]
    fn what_is_not_known_may_be_a_summary() {
        let promised = [Started(0), Says("acme", 0, Some(HOUR))];
        assert_eq!(told(&of(&[&promised, &ran(1, 40), &[Hole], &ran(41, 150)])), NOTHING);
        let (findings, _) = told(&of(&[&promised, &[Hole], &promised, &ran(1, 150)]));
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn whoever_ends_the_summaries_of_an_organisation_is_told_of() {
        let (findings, warnings) =
            told(&of(&[&[Started(0), Says("acme", 0, Some(HOUR)), Says("acme", 1, None)], &ran(2, 150)]));
        assert_eq!(findings, Vec::<String>::new());
        let what =
            "entry 2: ends the summaries of `acme`: nobody sees any longer whether it is shown its newest entries";
        assert_eq!(warnings, [what]);
    }

    #[test]
    fn a_summary_that_says_another_number_or_cannot_be_understood_is_found() {
        let (mut summaries, mut findings) = (Summaries::default(), Findings::default());
        let good = facts(Kind::OrgSummary, 0, Some("acme"), Some(HOUR));
        let said = **good.summary.as_ref().unwrap();
        let wrong = Summary { last: 7, ..said.unwrap() };
        for (index, summary) in (0..).zip([said, Ok(wrong), Err("next")]) {
            let facts = Facts { summary: Some(Box::new(summary)), ..good.clone() };
            summaries.entry(index, &facts, false, (&mut findings, &mut Findings::default()));
        }
        let list: Vec<String> = findings.finish().0.iter().map(ToString::to_string).collect();
        assert_eq!(
            list,
            [
                "entry 1: a summary that says that the entry before it is number 7, and it is 8",
                "entry 2: a summary whose member `next` cannot be understood",
            ]
        );
    }
}
