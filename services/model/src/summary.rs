//! Summaries: what an entry of kind `org_summary` says of an organisation's own sequence.
//!
//! Numbers without a gap show that nothing is missing in the middle. That nothing is missing behind the last, nobody sees who is
//! shown one organisation's entries alone: so the log says at intervals how far they go, and by when it will say so again. Whoever
//! is shown a checkpoint of later than that, and no later summary, has been kept from the newest entries. Writer, checker of the
//! store and verifier share this, so that all three mean the same by it.

use crate::Timestamp;
use crate::canonical::Value;
use crate::entry::{Entry, Kind};

/// No longer time may be between two summaries of one organisation: whoever promises the next in ten years promises nothing.
pub const INTERVAL_MS_MAX: i64 = 31 * 86_400_000;
/// A summary may come so much later than was promised: those of thousands of organisations come one after the other, clocks
/// differ, and a checkpoint waits for its witnesses.
pub const LATE_MS: i64 = 10 * 60_000;

/// What one of them says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// `org_last`: the number of the organisation's entry before it.
    pub last: u64,
    /// `next`: by then there is another one. `None`: no further ones are promised.
    pub next: Option<Timestamp>,
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
        Ok(Self { last: last.ok_or("org_last")?, next, time: entry.time, sequence: place.sequence })
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
        (promised > INTERVAL_MS_MAX).then(|| {
            String::from("a summary that promises the next for later than in 31 days, the longest that counts")
        })
    }

    /// Whether another one must be there at this time.
    pub fn is_overdue(&self, time: Timestamp) -> bool {
        self.next.is_some_and(|next| time.millis().saturating_sub(next.millis()) > LATE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OrganisationId;
    use crate::entry::{Common, Draft, Place};

    const TIME: Timestamp = Timestamp(1_795_375_200_000);

    fn sealed(next: Option<Value>, place: Place) -> Entry {
        let common = Common { nonce: [7; 16], time: TIME, boot: "b".into() };
        let acme = OrganisationId::new("acme").unwrap();
        let members: Vec<_> = next.map(|next| ("next", next)).into_iter().collect();
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
        let late = |ms| read.is_overdue(TIME.plus_millis(86_400_000 + ms));
        assert!(!late(LATE_MS) && late(LATE_MS + 1));
        let last = Summary::read(&sealed(None, Place { sequence: 7, previous: Some(40) })).unwrap().unwrap();
        assert!(last.fault().is_none() && !last.is_overdue(Timestamp(i64::MAX)), "it promises no other");
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
        let wrong = Summary { last: 5, next: None, time: TIME, sequence: 7 };
        assert_eq!(wrong.fault().unwrap(), "a summary that says that the entry before it is number 5, and it is 6");
    }

    #[test]
    fn a_summary_belongs_to_an_organisation() {
        let common = Common { nonce: [7; 16], time: TIME, boot: "b".into() };
        let draft = Draft::new(Kind::OrgSummary, &common, None, [], vec![]).unwrap();
        assert_eq!(Summary::read(&Entry::parse(&draft.seal(None)).unwrap()), Some(Err("org")));
    }
}
