//! Summaries: what an entry of kind `org_summary` says of an organisation's own sequence.
//!
//! Numbers without a gap show that nothing is missing in the middle. That nothing is missing behind the last, nobody sees who is
//! shown one organisation's entries alone: so the log says at intervals how far they go, and by when it will say so again. Whoever
//! is shown a checkpoint of later than that, and no later summary, has been kept from the newest entries. Writer, checker of the
//! store and verifier share this, so that all three mean the same by it.
//!
//! Of an organisation that is silent the next one may be promised for much later, and with it another one soon behind the
//! organisation's next entry. Whoever is shown nothing behind such a summary waits for as long, so how long that may be goes by how long the
//! organisation was silent ([`longest`]): of one that was not, nobody can say that it is.

use crate::Timestamp;
use crate::canonical::Value;
use crate::entry::{Entry, Kind};

/// No longer time may be between two summaries of one organisation: whoever promises the next in ten years promises nothing.
pub const INTERVAL_MS_MAX: i64 = 31 * 86_400_000;
/// A summary may come so much later than was promised: those of thousands of organisations come one after the other, clocks
/// differ, and a checkpoint waits for its witnesses.
pub const LATE_MS: i64 = 10 * 60_000;

/// So much later than it says of itself may a summary promise the next one: `again_ms`, which is the usual time, or twice as long as the
/// organisation was silent before it, whichever is longer.
pub fn longest(again_ms: i64, silent_ms: i64) -> i64 {
    again_ms.max(silent_ms.max(0).saturating_mul(2)).min(INTERVAL_MS_MAX)
}

/// What one of them says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// `org_last`: the number of the organisation's entry before it.
    pub last: u64,
    /// `next`: by then there is another one. `None`: no further ones are promised.
    pub next: Option<Timestamp>,
    /// `again_ms`: so long after the organisation's next entry there is another one at the latest, if that is before `next`.
    pub again_ms: Option<i64>,
    /// Its own time and number.
    pub time: Timestamp,
    pub sequence: u64,
}

impl Summary {
    /// `None` when the entry is of another kind.
    ///
    /// # Errors
    /// The member that is missing or ill-typed.
    pub fn read(entry: &Entry) -> Option<Result<Self, &'static str>> {
        (entry.kind == Kind::OrgSummary).then(|| Self::of(entry))
    }

    fn of(entry: &Entry) -> Result<Self, &'static str> {
        let place = entry.place.ok_or("org")?;
        let last = entry.get("org_last").and_then(Value::as_int).and_then(|last| u64::try_from(last).ok());
        let next = match entry.get("next") {
            None => None,
            Some(next) => Some(next.as_text().and_then(Timestamp::parse_canonical).ok_or("next")?),
        };
        let again_ms = match entry.get("again_ms") {
            None => None,
            Some(again_ms) => Some(again_ms.as_int().filter(|ms| *ms >= 0).ok_or("again_ms")?),
        };
        Ok(Self { last: last.ok_or("org_last")?, next, again_ms, time: entry.time, sequence: place.sequence })
    }

    /// What is wrong with what it says, in words.
    pub fn fault(&self) -> Option<String> {
        let before = self.sequence.saturating_sub(1);
        if self.last != before || before == 0 {
            let what =
                format!("a summary that says that the entry before it is number {}, and it is {before}", self.last);
            return Some(what);
        }
        let promised = self.next.map_or(0, |next| next.millis().saturating_sub(self.time.millis()));
        if promised < 0 {
            return Some(String::from("a summary that promises the next for before its own time"));
        }
        if promised > INTERVAL_MS_MAX || self.again_ms.is_some_and(|ms| ms > INTERVAL_MS_MAX) {
            return Some(String::from(
                "a summary that promises the next for later than in 31 days, the longest that counts",
            ));
        }
        (self.again_ms.is_some() && self.next.is_none()).then(|| {
            String::from("a summary that promises another behind the organisation's next entry, and none by any time")
        })
    }

    /// The latest that may be promised where the organisation had no entry of its own since then; `None` where there is no question of
    /// silence.
    fn latest(&self, silent_since: Timestamp) -> Option<Timestamp> {
        let silent_ms = self.time.millis().saturating_sub(silent_since.millis());
        self.again_ms.map(|again_ms| self.time.plus_millis(longest(again_ms, silent_ms)))
    }

    /// What is wrong with it where the organisation had no entry of its own since then, in words.
    pub fn fault_of_silence(&self, silent_since: Timestamp) -> Option<String> {
        let (next, latest) = self.next.zip(self.latest(silent_since))?;
        is_overdue(latest, next).then(|| {
            format!(
                "a summary that promises the next by {}, as if the organisation had been silent for long, and by {} there must be another: its \
                 last entry is of {}",
                next.to_rfc3339(),
                latest.to_rfc3339(),
                silent_since.to_rfc3339()
            )
        })
    }

    /// By when another one must be there, as [`Self::due`] has it, and no later than may be promised.
    pub fn due_after_silence(&self, silent_since: Option<Timestamp>, entry: Option<Timestamp>) -> Option<Timestamp> {
        let latest = silent_since.and_then(|since| self.latest(since));
        self.due(entry).map(|due| latest.map_or(due, |latest| due.min(latest)))
    }

    /// By when another one must be there: `entry` is the time of the organisation's next entry, if it has one.
    pub fn due(&self, entry: Option<Timestamp>) -> Option<Timestamp> {
        let again = entry.zip(self.again_ms).map(|(entry, ms)| entry.plus_millis(ms.min(INTERVAL_MS_MAX)));
        self.next.map(|next| again.map_or(next, |again| next.min(again)))
    }
}

/// Whether a summary that is due then is missing at this time.
pub fn is_overdue(due: Timestamp, time: Timestamp) -> bool {
    time.millis().saturating_sub(due.millis()) > LATE_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OrganisationId;
    use crate::entry::{Common, Draft, Place};

    const TIME: Timestamp = Timestamp(1_795_375_200_000);

    fn sealed(next: Option<Value>, place: Place) -> Entry {
        sealed_again(next, None, place)
    }

    fn sealed_again(next: Option<Value>, again_ms: Option<Value>, place: Place) -> Entry {
        let common = Common { nonce: [7; 16], time: TIME, boot: "b".into() };
        let acme = OrganisationId::new("acme").unwrap();
        let members: Vec<_> =
            next.map(|next| ("next", next)).into_iter().chain(again_ms.map(|ms| ("again_ms", ms))).collect();
        let draft = Draft::new(Kind::OrgSummary, &common, Some(&acme), members, vec![]).unwrap();
        Entry::parse(&draft.seal(Some(place))).unwrap()
    }

    fn at(ms: i64) -> Value {
        Value::text(TIME.plus_millis(ms).to_rfc3339())
    }

    #[test]
    fn a_summary_says_the_number_before_it_and_when_the_next_comes() {
        let entry = sealed(Some(at(86_400_000)), Place { sequence: 7, previous: Some(40) });
        assert_eq!(entry.get("org_last"), Some(&Value::int(6)), "the log has filled it in");
        let read = Summary::read(&entry).unwrap().unwrap();
        assert_eq!((read.last, read.next, read.fault()), (6, Some(TIME.plus_millis(86_400_000)), None));
        let late = |ms| is_overdue(read.due(None).unwrap(), TIME.plus_millis(86_400_000 + ms));
        assert!(!late(LATE_MS) && late(LATE_MS + 1));
        assert_eq!(read.due(Some(TIME)), read.next, "an entry changes nothing of that");
        let last = Summary::read(&sealed(None, Place { sequence: 7, previous: Some(40) })).unwrap().unwrap();
        assert_eq!((last.fault(), last.due(Some(TIME))), (None, None), "it promises no other");
    }

    #[test]
    fn what_a_summary_cannot_say_is_found() {
        let place = Place { sequence: 7, previous: Some(40) };
        let fault = |next| Summary::read(&sealed(next, place)).unwrap().map(|read| read.fault().is_some());
        assert_eq!(fault(Some(at(INTERVAL_MS_MAX))), Ok(false));
        assert_eq!((fault(Some(at(INTERVAL_MS_MAX + 1))), fault(Some(at(-1)))), (Ok(true), Ok(true)));
        assert_eq!((fault(Some(Value::int(5))), fault(Some(Value::text("soon")))), (Err("next"), Err("next")));
        let first = Summary::read(&sealed(None, Place { sequence: 1, previous: None })).unwrap().unwrap();
        assert!(first.fault().is_some(), "there is nothing that it could sum up");
        let wrong = Summary { last: 5, next: None, again_ms: None, time: TIME, sequence: 7 };
        assert_eq!(wrong.fault().unwrap(), "a summary that says that the entry before it is number 5, and it is 6");
    }

    #[test]
    fn of_a_silent_organisation_the_next_is_due_soon_behind_its_next_entry() {
        let place = Place { sequence: 7, previous: Some(40) };
        let read = |next, again| Summary::read(&sealed_again(next, again, place)).unwrap();
        let said = read(Some(at(9_000)), Some(Value::int(2_000))).unwrap();
        let due = |entry: i64| said.due(Some(TIME.plus_millis(entry)));
        assert_eq!((said.fault(), said.due(None)), (None, Some(TIME.plus_millis(9_000))));
        assert_eq!((due(1_000), due(8_000)), (Some(TIME.plus_millis(3_000)), Some(TIME.plus_millis(9_000))));
        assert_eq!(read(Some(at(9_000)), Some(Value::int(-1))).err(), Some("again_ms"));
        assert_eq!(read(Some(at(9_000)), Some(Value::text("soon"))).err(), Some("again_ms"));
        assert!(read(Some(at(9_000)), Some(Value::int(INTERVAL_MS_MAX + 1))).unwrap().fault().is_some());
        assert!(read(None, Some(Value::int(2_000))).unwrap().fault().is_some(), "no promise may have no end");
    }

    #[test]
    fn the_next_is_promised_for_no_later_than_twice_as_long_as_the_organisation_was_silent() {
        let day = 86_400_000;
        let said = |next| Summary {
            last: 6,
            next: Some(TIME.plus_millis(next)),
            again_ms: Some(day),
            time: TIME,
            sequence: 7,
        };
        let is_fault = |next, silent: i64| said(next).fault_of_silence(TIME.plus_millis(-silent)).is_some();
        assert!(!is_fault(day, 0) && !is_fault(day + LATE_MS, -5 * day) && is_fault(day + LATE_MS + 1, 0));
        assert!(!is_fault(8 * day, 4 * day) && is_fault(8 * day + LATE_MS + 1, 4 * day));
        assert!(!is_fault(INTERVAL_MS_MAX, 400 * day));
        let usual = Summary { again_ms: None, ..said(INTERVAL_MS_MAX) };
        assert_eq!(usual.fault_of_silence(TIME), None, "nobody says that it is silent");
        let due = |silent: Option<i64>| said(20 * day).due_after_silence(silent.map(|ms| TIME.plus_millis(-ms)), None);
        assert_eq!((due(Some(0)), due(Some(2 * day))), (Some(TIME.plus_millis(day)), Some(TIME.plus_millis(4 * day))));
        assert_eq!(
            (due(Some(10 * day)), due(None)),
            (Some(TIME.plus_millis(20 * day)), Some(TIME.plus_millis(20 * day)))
        );
        assert_eq!(usual.due_after_silence(Some(TIME), None), usual.next);
    }

    #[test]
    fn a_summary_belongs_to_an_organisation() {
        let common = Common { nonce: [7; 16], time: TIME, boot: "b".into() };
        let draft = Draft::new(Kind::OrgSummary, &common, None, [], vec![]).unwrap();
        assert_eq!(Summary::read(&Entry::parse(&draft.seal(None)).unwrap()), Some(Err("org")));
    }
}
