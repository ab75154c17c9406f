//! When each organisation's next summary is written ([`model::summary`]).
//!
//! The writer makes summaries between its batches, some at a time, so that those of thousands of organisations keep nobody
//! waiting. One is renewed when half of its time is over, or up to three quarters of it: which organisation when, its name says,
//! so that they spread out by themselves; what is left is for a broker that is stopped for a while. After a longer stop some
//! promise may be broken already, so all are written before anything else is, and before a checkpoint is signed over their absence.
//!
//! Of an organisation that has had nothing but summaries for some days each next one comes after twice the time, up to a month, and
//! soon behind an entry of its own; so whoever asked once does not get one or two a day for ever. An end the promises never have: whoever
//! could end them could keep back all that comes then. Whoever is shown none of it waits longer to find that out, up to a month. So it is
//! never longer than twice as long as the organisation is known to be silent ([`longest`]), which verifiers ask for; what is not known
//! does not count: of before this run that is what was looked up of its summaries, and of its own entries nothing.
//!
//! What this does **not** do: it keeps no state of its own. Where a sequence stands the store's head says, and which summaries
//! are still good is looked up in the log ([`Log::recall_summaries`]).

use crate::append::Log;
use crate::error::ReadError;
use crate::query::{LIMIT_MAX, Query};
use crate::writer::Urgent;
use model::canonical::Members;
use model::entry::{Common, Draft, DraftError, Entry, Kind};
use model::summary::{INTERVAL_MS_MAX, Summary, longest};
use model::{Digest, OrganisationId, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// Summaries that are written at a time: a batch with them costs no more than one with a few requests.
const AT_ONCE: usize = 32;
/// Time between two lots of them. So ten thousand organisations take half a minute.
const PAUSE: Duration = Duration::from_millis(100);
/// Before the first batch of a start. Beyond it they come after it, as always.
const AT_START_MAX: usize = 10_000;
/// How often the writer looks whether one is due.
const LOOK_MAX: Duration = Duration::from_secs(30);
const LOOK_MIN: Duration = Duration::from_millis(10);
/// An organisation's first summary comes after so much of the time between two, and after a minute where the organisation was there
/// before: soon enough, and not with its first request.
const FIRST: i64 = 24;
const FIRST_MS_MAX: i64 = 60_000;
/// So many summaries in a row and nothing else between them: the organisation is silent. With a day between two, five days or so.
const SILENT: u32 = 8;
/// Pages of summaries that a start looks through.
const PAGES_MAX: usize = 64;

/// Which organisations are to be summed up, and when.
#[derive(Debug)]
pub(crate) struct Summaries {
    /// `None`: this log is written by a tool that neither promises nor ends anything. 0: none are written, and those that
    /// promise another one are ended.
    interval_ms: Option<i64>,
    look: Duration,
    look_at: Instant,
    /// Nothing could be written for a while: those that became due in it come before anything is signed.
    is_behind: bool,
    due: BTreeSet<(Timestamp, OrganisationId)>,
    /// Those that were met, due or not.
    known: HashSet<OrganisationId>,
    /// Those that have entries of before this run, until it is looked up what their last summaries say.
    waiting: Vec<OrganisationId>,
    /// Those that have no entry behind their last summary.
    alone: HashMap<OrganisationId, Alone>,
    /// The time that was looked at last.
    looked: Timestamp,
}

/// An organisation whose last entry is a summary.
#[derive(Clone, Copy, Debug, Default)]
struct Alone {
    /// So many of them are the last ones.
    count: u32,
    /// For how long the last one promises no other; 0: for the usual time.
    length: i64,
    /// So long after an entry of the organisation's own there is another one, where that was promised.
    again_ms: Option<i64>,
    /// When the next one is due.
    due: Option<Timestamp>,
    /// The time of the first of them that is known: the organisation has been silent since then at least.
    since: Option<Timestamp>,
}

/// What a summary says of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    by: Timestamp,
    again_ms: Option<i64>,
}

/// An organisation's last summary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recalled {
    summary: Summary,
    /// So many came before it without anything between them, and it.
    count: u32,
    /// The time of the first of these.
    since: Timestamp,
}

impl Summaries {
    /// `before`: organisations that have entries.
    pub(crate) fn new<'o>(interval_ms: Option<u64>, before: impl Iterator<Item = &'o OrganisationId>) -> Self {
        let interval_ms = interval_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX).min(INTERVAL_MS_MAX));
        let part = Duration::from_millis(interval_ms.unwrap_or(0).unsigned_abs() / 100);
        let known: HashSet<OrganisationId> = before.cloned().collect();
        Self {
            interval_ms,
            look: if interval_ms == Some(0) { LOOK_MAX } else { part.clamp(LOOK_MIN, LOOK_MAX) },
            look_at: Instant::now(),
            is_behind: false,
            due: BTreeSet::new(),
            waiting: known.iter().cloned().collect(),
            known,
            alone: HashMap::new(),
            looked: Timestamp(i64::MIN),
        }
    }

    /// Entries of these are durable, in their order.
    pub(crate) fn wrote<'d>(&mut self, drafts: impl Iterator<Item = &'d Draft>, now: impl Fn() -> Timestamp) {
        let Some(interval) = self.interval_ms.filter(|ms| *ms > 0) else { return };
        for draft in drafts {
            let Some(organisation) = draft.organisation() else { continue };
            if draft.kind == Kind::OrgSummary {
                match self.alone.get_mut(organisation) {
                    Some(alone) => alone.count += 1,
                    None => {
                        let alone = Alone { count: 1, since: Some(draft.time()), ..Alone::default() };
                        self.alone.insert(organisation.clone(), alone);
                    }
                }
                continue;
            }
            let Some(alone) = self.alone.remove(organisation) else { continue };
            if let Some((again_ms, due)) = alone.again_ms.zip(alone.due) {
                let soon = now().plus_millis((interval / FIRST).min(again_ms / 4));
                if soon < due && self.due.remove(&(due, organisation.clone())) {
                    self.due.insert((soon, organisation.clone()));
                }
            }
        }
    }

    /// When to look next; `None`: never.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.interval_ms.map(|_| self.look_at)
    }

    /// Looks later: nothing can be written now.
    pub(crate) fn put_off(&mut self) {
        self.look_at = Instant::now() + self.look;
    }

    /// Looks at once, at all of them: what could not be written for a while can be again.
    pub(crate) fn catch_up(&mut self) {
        if self.interval_ms.is_some_and(|ms| ms > 0) {
            (self.is_behind, self.look_at) = (true, Instant::now());
        }
    }

    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Some promise of theirs may be broken, because nothing was written since `newest`: those to write before anything else.
    pub(crate) fn after_stop(&mut self, newest: Option<Timestamp>, now: Timestamp) -> Vec<(OrganisationId, Next)> {
        let (Some(interval), Some(newest)) = (self.interval_ms.filter(|ms| *ms > 0), newest) else { return Vec::new() };
        if now.millis().saturating_sub(newest.millis()) < interval / 4 {
            return Vec::new();
        }
        self.due = std::mem::take(&mut self.waiting).into_iter().map(|organisation| (now, organisation)).collect();
        self.take(interval, now, AT_START_MAX)
    }

    /// What was found of the last summaries; organisations of which none was found have none that counts. `stands_at` says the
    /// number of an organisation's last entry.
    pub(crate) fn recalled(
        &mut self,
        found: &HashMap<OrganisationId, Recalled>,
        now: Timestamp,
        stands_at: impl Fn(&OrganisationId) -> Option<u64>,
    ) {
        let Some(interval) = self.interval_ms else { return };
        let waiting = std::mem::take(&mut self.waiting);
        for (organisation, recalled) in found {
            let Recalled { summary, count, since } = *recalled;
            if interval > 0 && stands_at(organisation) == Some(summary.sequence) {
                let alone = self.alone.entry(organisation.clone()).or_default();
                // Whoever was found to be silent is.
                alone.count = alone.count.max(count).max(if summary.again_ms.is_some() { SILENT } else { 0 });
                alone.again_ms = summary.again_ms;
                alone.length = promised(&summary).unwrap_or(0);
                alone.since = Some(alone.since.map_or(since, |known| known.min(since)));
            }
        }
        for organisation in waiting {
            let soon = now.plus_millis((interval / FIRST).min(FIRST_MS_MAX));
            let due = match found.get(&organisation).map(|recalled| (recalled.summary, recalled.summary.next)) {
                // It says already that no other comes, or never said anything.
                Some((_, None)) | None if interval == 0 => continue,
                Some(_) if interval == 0 => now,
                Some((summary, Some(next))) => {
                    match (summary.again_ms, self.alone.contains_key(&organisation)) {
                        // It has come again since.
                        (Some(_), false) => soon,
                        (Some(_), true) => {
                            summary.time.plus_millis(later(promised(&summary).unwrap_or(interval), &organisation))
                        }
                        (None, _) => {
                            let usual = summary.time.plus_millis(later(interval, &organisation));
                            usual.min(next.plus_millis(-interval / 4))
                        }
                    }
                }
                Some((_, None)) | None => soon,
            };
            if let Some(alone) = self.alone.get_mut(&organisation) {
                alone.due = Some(due);
            }
            self.due.insert((due, organisation));
        }
        // What was promised in an earlier run may have been by a clock that was ahead.
        (self.look_at, self.looked) = (Instant::now(), Timestamp(i64::MAX));
    }

    /// Some of those that are due, with the time that each promises the next for; `None`: no other.
    pub(crate) fn due<'o>(
        &mut self,
        organisations: impl ExactSizeIterator<Item = &'o OrganisationId>,
        now: Timestamp,
    ) -> Vec<(OrganisationId, Option<Next>)> {
        self.look_at = Instant::now() + self.look;
        let Some(interval) = self.interval_ms else { return Vec::new() };
        if organisations.len() != self.known.len() {
            for new in
                organisations.filter(|organisation| !self.known.contains(*organisation)).cloned().collect::<Vec<_>>()
            {
                if interval > 0 {
                    self.due.insert((now.plus_millis(interval / FIRST), new.clone()));
                }
                self.known.insert(new);
            }
        }
        // What was promised by a clock that was ahead helps nobody.
        if now < std::mem::replace(&mut self.looked, now) {
            self.bring_forward(interval, now);
        }
        let was_behind = std::mem::take(&mut self.is_behind);
        let taken: Vec<_> = match interval {
            0 => std::iter::from_fn(|| self.pop(now)).take(AT_ONCE).map(|organisation| (organisation, None)).collect(),
            _ => self
                .take(interval, now, if was_behind { AT_START_MAX } else { AT_ONCE })
                .into_iter()
                .map(|(id, next)| (id, Some(next)))
                .collect(),
        };
        if self.due.first().is_some_and(|(due, _)| *due <= now) {
            self.look_at = Instant::now() + PAUSE.min(self.look);
        }
        taken
    }

    /// Nothing is due later than its promise holds, unless the clock went back: then at once.
    fn bring_forward(&mut self, interval: i64, now: Timestamp) {
        let ahead = |due: Timestamp| due.millis().saturating_sub(now.millis());
        let beyond: Vec<_> = self.due.iter().rev().take_while(|(due, _)| ahead(*due) > interval).cloned().collect();
        for (due, organisation) in beyond {
            let alone = self.alone.get_mut(&organisation);
            if ahead(due) > alone.as_ref().map_or(interval, |alone| alone.length.max(interval)) {
                if let Some(alone) = alone {
                    alone.due = Some(now);
                }
                self.due.remove(&(due, organisation.clone()));
                self.due.insert((now, organisation));
            }
        }
    }

    fn take(&mut self, interval: i64, now: Timestamp, count: usize) -> Vec<(OrganisationId, Next)> {
        let taken: Vec<_> = std::iter::from_fn(|| self.pop(now)).take(count).collect();
        let promise = |organisation: OrganisationId| {
            let alone = self.alone.entry(organisation.clone()).or_default();
            let is_silent = alone.count >= SILENT;
            // A clock that was put back makes nobody silent for longer.
            let since = alone.since.map_or(now, |since| since.min(now));
            let most = longest(interval, now.millis().saturating_sub(since.millis()));
            let length = if is_silent { (2 * alone.length.max(interval)).min(most) } else { interval };
            let due = now.plus_millis(later(length, &organisation).max(1));
            let again_ms = (length > interval).then_some(interval);
            *alone = Alone { count: alone.count, length, again_ms, due: Some(due), since: Some(since) };
            self.due.insert((due, organisation.clone()));
            (organisation, Next { by: now.plus_millis(length), again_ms })
        };
        taken.into_iter().map(promise).collect()
    }

    fn pop(&mut self, now: Timestamp) -> Option<OrganisationId> {
        if self.due.first()?.0 > now {
            return None;
        }
        self.due.pop_first().map(|(_, organisation)| organisation)
    }
}

/// For how long a summary promises no other.
fn promised(summary: &Summary) -> Option<i64> {
    let length = summary.next?.millis().saturating_sub(summary.time.millis());
    Some(length.clamp(0, INTERVAL_MS_MAX))
}

/// How long after its last summary an organisation's next one is written: a half to three quarters of `interval`.
fn later(interval: i64, organisation: &OrganisationId) -> i64 {
    let [a, b, ..] = Digest::of(organisation.as_str().as_bytes()).0;
    interval / 2 + interval / 4 * i64::from(u16::from_be_bytes([a, b])) / 65_536
}

/// The entry: what it says of the next one, unless there is none. Its place fills in the rest.
pub(crate) fn draft(organisation: &OrganisationId, next: Option<Next>, common: &Common) -> Result<Draft, DraftError> {
    let mut members = Members::default();
    if let Some(Next { by, again_ms }) = next {
        members.text("next", by.to_rfc3339());
        if let Some(again_ms) = again_ms.and_then(|ms| u64::try_from(ms).ok()) {
            members.count("again_ms", again_ms);
        }
    }
    Draft::new(Kind::OrgSummary, common, Some(organisation), members, Vec::new())
}

impl Log {
    /// Looks up which summaries of before this run are still good, so that no others are written in their place; until then
    /// none is, of organisations that have entries of before. To be called once, after `wait`, which an index has to be opened.
    ///
    /// Without an index the newest part of the log is looked through, and of whom no summary is found one is written.
    pub async fn recall_summaries(&self, wait: Duration) {
        let shared = &self.inner.shared;
        let Some(interval) = shared.summary_ms else { return };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.ended() => return,
        }
        let found = self.last_summaries(interval).await.unwrap_or_else(|error| {
            let error = crate::store::chain(&error);
            tracing::warn!(error, "the last summaries of organisations cannot be looked up; new ones are written");
            HashMap::new()
        });
        let _ = self.inner.urgent.send(Urgent::Recalled(found));
    }

    /// Each organisation's last summary, as far as it can matter now.
    async fn last_summaries(&self, interval: u64) -> Result<HashMap<OrganisationId, Recalled>, ReadError> {
        // Of each the last one, and number and time of the earliest without another entry between.
        let mut found: HashMap<OrganisationId, (Summary, (u64, Timestamp))> = HashMap::new();
        // What is older has no promise that still holds. Whoever ends promises must know of those that were broken, too.
        let from = (interval > 0).then(|| self.inner.shared.now().plus_millis(-INTERVAL_MS_MAX));
        let mut query = Query { kind: Some(Kind::OrgSummary), from, limit: LIMIT_MAX, ..Query::default() };
        for _ in 0..PAGES_MAX {
            let page = self.query(&query).await?;
            let whole = page.entries.len() >= LIMIT_MAX;
            for one in page.entries {
                let Ok(entry) = Entry::parse(one.entry.as_bytes()) else { continue };
                if let (Some(Ok(summary)), Some(organisation)) = (Summary::read(&entry), entry.organisation) {
                    let this = (summary.sequence, summary.time);
                    let (_, first) = found.entry(organisation).or_insert((summary, this));
                    if summary.sequence + 1 == first.0 {
                        *first = this;
                    }
                }
            }
            match page.next.filter(|_| whole) {
                Some(before) => query.before = Some(before),
                None => break,
            }
        }
        let recalled = |(summary, (first, since)): (Summary, (u64, Timestamp))| {
            let count = u32::try_from(summary.sequence - first + 1).unwrap_or(u32::MAX);
            Recalled { summary, count, since }
        };
        Ok(found.into_iter().map(|(organisation, last)| (organisation, recalled(last))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW: Timestamp = Timestamp(1_795_375_200_000);

    fn names(count: usize) -> Vec<OrganisationId> {
        (0..count).map(|n| OrganisationId::new(&format!("o{n}")).unwrap()).collect()
    }

    fn daily(before: &[OrganisationId]) -> Summaries {
        Summaries::new(Some(DAY_MS.unsigned_abs()), before.iter())
    }

    fn at(hours: i64) -> Timestamp {
        NOW.plus_millis(hours * 3_600_000)
    }

    fn said(time: Timestamp, next: Option<Timestamp>) -> Recalled {
        Recalled { summary: Summary { last: 1, next, again_ms: None, time, sequence: 2 }, count: 1, since: time }
    }

    /// What is promised in the usual case.
    fn usual(by: Timestamp) -> Next {
        Next { by, again_ms: None }
    }

    #[test]
    fn each_organisation_is_summed_up_before_its_last_summary_runs_out_and_never_all_at_once() {
        let names = names(2_000);
        let mut summaries = daily(&[]);
        let mut promised: HashMap<OrganisationId, Timestamp> = HashMap::new();
        let (mut written, mut most) = (0, 0);
        // A minute a step, and where more are due, as the writer looks.
        for minute in 0..3 * 1_440 {
            let now = NOW.plus_millis(minute * 60_000);
            let mut at_this = 0;
            loop {
                let due = summaries.due(names.iter(), now);
                at_this += due.len();
                assert!(due.len() <= AT_ONCE);
                for (organisation, next) in &due {
                    let before = promised.insert(organisation.clone(), next.unwrap().by);
                    assert!(before.is_none_or(|before| now < before), "{organisation} came too late");
                    assert_eq!(*next, Some(usual(now.plus_millis(DAY_MS))));
                }
                if due.len() < AT_ONCE {
                    break;
                }
            }
            written += at_this;
            // All are met in the first minute; from their second summary on they are apart.
            if minute > 120 {
                most = most.max(at_this);
            }
        }
        assert_eq!(promised.len(), 2_000);
        assert!((3 * 2_000..=6 * 2_000).contains(&written), "{written}");
        assert!(most < 30, "{most} in one minute");
    }

    #[test]
    fn nothing_is_written_of_organisations_of_before_until_it_is_known_what_they_were_told() {
        let names = names(3);
        let mut summaries = daily(&names);
        assert_eq!(summaries.after_stop(Some(at(-1)), NOW), []);
        assert_eq!(summaries.due(names.iter(), at(100)), [], "it is not known yet");
        let good = said(at(-1), Some(at(23)));
        let broken = said(at(-30), Some(at(-6)));
        let found = HashMap::from([(names[0].clone(), good), (names[1].clone(), broken)]);
        summaries.recalled(&found, NOW, |_| Some(2));
        let of = |list: Vec<(OrganisationId, Option<Next>)>| -> BTreeSet<String> {
            list.into_iter().map(|(organisation, _)| organisation.to_string()).collect()
        };
        assert_eq!(of(summaries.due(names.iter(), NOW)), BTreeSet::from(["o1".into()]));
        assert_eq!(of(summaries.due(names.iter(), NOW.plus_millis(60_000))), BTreeSet::from(["o2".into()]));
        assert_eq!(of(summaries.due(names.iter(), at(10))), BTreeSet::new(), "the good one is good for longer");
        assert!(of(summaries.due(names.iter(), at(18))).contains("o0"), "a quarter of its time before it runs out");
        // Once is enough.
        summaries.recalled(&HashMap::new(), at(18), |_| None);
        assert_eq!(of(summaries.due(names.iter(), at(19))), BTreeSet::new());
        // Whoever came while nothing was known yet is one.
        let mut summaries = daily(&names[..2]);
        assert_eq!(summaries.due(names.iter(), NOW), []);
        summaries.recalled(&HashMap::new(), NOW, |_| None);
        assert_eq!(summaries.due(names.iter(), at(2)).len(), 3);
    }

    #[test]
    fn after_a_longer_stop_all_are_written_before_anything_else() {
        let names = names(3);
        let mut summaries = daily(&names);
        let mut first = summaries.after_stop(Some(at(-48)), NOW);
        first.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert_eq!(first, names.iter().map(|name| (name.clone(), usual(at(24)))).collect::<Vec<_>>());
        assert_eq!(summaries.due(names.iter(), NOW), []);
        assert_eq!(summaries.due(names.iter(), at(18)).len(), 3);
        assert_eq!(daily(&[]).after_stop(Some(at(-48)), NOW), []);
        assert_eq!(Summaries::new(None, names.iter()).after_stop(Some(at(-48)), NOW), []);
    }

    #[test]
    fn what_became_due_while_nothing_could_be_written_comes_at_once_and_together() {
        let names = names(2_000);
        let mut summaries = daily(&[]);
        while summaries.due(names.iter(), at(2)).len() == AT_ONCE {}
        summaries.put_off();
        assert!(!summaries.is_behind());
        summaries.catch_up();
        assert!(summaries.is_behind() && summaries.look_at().unwrap() <= Instant::now());
        assert_eq!(summaries.due(names.iter(), at(30)).len(), 2_000);
        assert!(!summaries.is_behind());
        let mut off = Summaries::new(Some(0), names.iter());
        off.catch_up();
        assert!(!off.is_behind(), "nothing is promised");
    }

    #[test]
    fn summaries_that_were_turned_off_end_once() {
        let names = names(3);
        let mut summaries = Summaries::new(Some(0), names.iter());
        assert_eq!(summaries.after_stop(Some(at(-48)), NOW), []);
        let (promises, ended) = (said(at(-90), Some(at(-66))), said(at(-90), None));
        summaries.recalled(&HashMap::from([(names[0].clone(), promises), (names[1].clone(), ended)]), NOW, |_| Some(2));
        assert_eq!(summaries.due(names.iter(), NOW), [(names[0].clone(), None)]);
        assert_eq!(summaries.due([&names[0], &OrganisationId::new("new").unwrap()].into_iter(), at(90)), []);
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_nobody_without_a_summary() {
        let names = names(2);
        let mut summaries = daily(&[]);
        let ahead = at(24 * 365);
        summaries.due(names.iter(), ahead);
        assert_eq!(summaries.due(names.iter(), ahead.plus_millis(DAY_MS)).len(), 2);
        let back = summaries.due(names.iter(), NOW);
        assert_eq!(back.len(), 2);
        assert!(back.iter().all(|(_, next)| *next == Some(usual(at(24)))));
    }

    fn entry(kind: Kind, organisation: &OrganisationId) -> Draft {
        let common = Common { nonce: [7; 16], time: NOW, boot: "b".into() };
        Draft::new(kind, &common, Some(organisation), Members::default(), Vec::new()).unwrap()
    }

    /// Looks twice an hour, and writes what is due: with the hour of each, what it promises.
    fn written(summaries: &mut Summaries, of: &OrganisationId, hours: std::ops::Range<i64>) -> Vec<(i64, Next)> {
        let mut all: Vec<(i64, Next)> = Vec::new();
        for half in 2 * hours.start..2 * hours.end {
            let now = NOW.plus_millis(half * 1_800_000);
            for (organisation, promise) in summaries.due([of].into_iter(), now) {
                let promise = promise.unwrap();
                assert!(all.last().is_none_or(|(_, last)| now < last.by), "too late");
                summaries.wrote([entry(Kind::OrgSummary, &organisation)].iter(), || now);
                all.push((half / 2, promise));
            }
        }
        all
    }

    #[test]
    fn an_organisation_that_asked_once_is_not_summed_up_every_day_for_ever_and_soon_when_it_asks_again() {
        let of = &names(1)[0];
        let mut summaries = daily(&[]);
        summaries.wrote([entry(Kind::Decision, of)].iter(), || NOW);
        let year = written(&mut summaries, of, 0..365 * 24);
        let days: Vec<i64> =
            year.iter().map(|(hour, promise)| (promise.by.millis() - at(*hour).millis()) / DAY_MS).collect();
        assert_eq!(days[..13], [1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 8, 16, 31]);
        assert!(days[12..].iter().all(|days| *days == 31) && days.len() < 40, "{days:?}");
        let again = |(_, promise): &(i64, Next)| promise.again_ms;
        assert!(year[..8].iter().all(|one| again(one).is_none()));
        assert!(year[8..].iter().all(|one| again(one) == Some(DAY_MS)));
        // It asks: the next comes within the day that was promised, and it is as any other again.
        let now = 365 * 24;
        summaries.wrote([entry(Kind::Decision, of)].iter(), || at(now));
        let then = written(&mut summaries, of, now..now + 24 * 7);
        assert!(then[0].0 <= now + 2 && then.len() > 7, "{then:?}");
        assert!(then.iter().take(8).all(|one| again(one).is_none()), "{then:?}");
        // One that asks every day never is silent.
        for day in 0..30 {
            let now = now + 24 * (7 + day);
            summaries.wrote([entry(Kind::Decision, of)].iter(), || at(now));
            assert!(written(&mut summaries, of, now..now + 24).iter().all(|one| again(one).is_none()));
        }
    }

    #[test]
    fn a_start_knows_who_was_silent_and_who_has_come_again_since() {
        let names = names(3);
        let length = 16 * DAY_MS;
        let silent = |count| {
            let summary = Summary {
                last: 20,
                next: Some(at(-24).plus_millis(length)),
                again_ms: Some(DAY_MS),
                time: at(-24),
                sequence: 21,
            };
            Recalled { summary, count, since: at(-24 * 5) }
        };
        let nearly = Recalled { count: SILENT, since: at(-24 * 4), ..said(at(-12), Some(at(12))) };
        let found = [(names[0].clone(), silent(1)), (names[1].clone(), silent(5)), (names[2].clone(), nearly)];
        let mut summaries = daily(&names);
        let stands_at = |of: &OrganisationId| {
            Some(if *of == names[2] {
                2
            } else if *of == names[1] {
                22
            } else {
                21
            })
        };
        summaries.recalled(&found.into(), NOW, stands_at);
        assert_eq!(summaries.due(names.iter(), NOW), []);
        let soon = summaries.due(names.iter(), NOW.plus_millis(FIRST_MS_MAX));
        assert_eq!(soon, [(names[1].clone(), Some(usual(NOW.plus_millis(FIRST_MS_MAX + DAY_MS))))]);
        let next = summaries.due(names.iter(), at(7));
        assert_eq!(
            next,
            [(names[2].clone(), Some(Next { by: at(7 + 48), again_ms: Some(DAY_MS) }))],
            "it has been silent for long enough"
        );
        // A clock that was ahead when it was promised helps nobody.
        let mut summaries = daily(&names[..1]);
        let ahead = Recalled {
            summary: Summary { next: Some(at(24 * 400)), time: at(24 * 384), ..silent(1).summary },
            count: 1,
            since: at(24 * 384),
        };
        summaries.recalled(&HashMap::from([(names[0].clone(), ahead)]), NOW, |_| Some(21));
        assert_eq!(summaries.due(names[..1].iter(), NOW).len(), 1);
    }

    #[test]
    fn nobody_is_promised_the_next_for_later_than_twice_as_long_as_it_is_known_to_be_silent() {
        let names = names(1);
        let of = &names[0];
        let recalled = |count, since, again_ms: Option<i64>, length| {
            let (time, next) = (at(-1), Some(at(-1).plus_millis(length)));
            let summary = Summary { last: 20, next, again_ms, time, sequence: 21 };
            HashMap::from([(of.clone(), Recalled { summary, count, since })])
        };
        let next = |found: HashMap<OrganisationId, Recalled>| {
            let mut summaries = daily(&names);
            summaries.recalled(&found, NOW, |_| Some(21));
            written(&mut summaries, of, 0..24 * 24)
        };
        let days = |(hour, next): (i64, Next)| (next.by.millis() - at(hour).millis()) / DAY_MS;
        let hour = 3_600_000;
        // The interval was half an hour, and is a day now: eight of them in a row were written in six hours.
        let said = next(recalled(SILENT, at(-6), None, hour / 2));
        let faults = said.iter().filter_map(|(hour, Next { by, again_ms })| {
            let time = at(*hour).plus_millis(1_800_000);
            let said = Summary { last: 20, next: Some(*by), again_ms: *again_ms, time, sequence: 21 };
            said.fault_of_silence(at(-7))
        });
        assert_eq!(faults.collect::<Vec<_>>(), Vec::<String>::new());
        assert_eq!((said[0].0, days(said[0])), (0, 1), "{said:?}");
        assert!(said.iter().any(|(_, next)| next.again_ms.is_some()), "and it is silent in the end: {said:?}");
        // Of a silent one all but the last was pruned, or lies too far back: what it promises is as long as before all the same.
        let far = next(recalled(1, at(-1), Some(DAY_MS), 16 * DAY_MS));
        assert!((16..=24).contains(&days(far[0])), "{far:?}");
        // Somebody else's clock was far ahead, or the promise was made by a broker that did not know this rule.
        let young = next(recalled(SILENT, at(-1), Some(2 * hour), 4 * hour));
        assert!(young[0].1.again_ms.is_none(), "{young:?}");
    }

    #[test]
    fn a_clock_that_is_put_back_makes_nobody_silent_for_longer() {
        let of = &names(1)[0];
        let mut summaries = daily(&[]);
        summaries.wrote([entry(Kind::Decision, of)].iter(), || NOW);
        let ahead = written(&mut summaries, of, 0..24 * 10);
        assert!(ahead.last().unwrap().1.again_ms.is_some());
        let back = summaries.due([of].into_iter(), at(-24 * 5));
        assert_eq!(back, [(of.clone(), Some(usual(at(-24 * 4))))]);
    }
}
