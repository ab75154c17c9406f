//! Whether the time of day can be believed where it decides what is deleted.
//!
//! One clock that is ahead makes everything old: of a machine that is resumed with another date, or that has believed whoever
//! told it the time. So the clock is held against what the run before wrote, against the time that has passed since the start,
//! and against witnesses, who have clocks of their own. What this does **not** do: it sets nothing right, and the times in
//! entries are the clock's, whatever is thought of it.

use model::{Clock, Timestamp};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const DAY_MS: i64 = 86_400_000;
/// A plant may stand still for so long without anybody being asked.
const PAUSE_MS_MAX: i64 = 31 * DAY_MS;

/// Why nothing is deleted by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockDoubt {
    #[error(
        "the clock said {now} when the log was opened, and the last entry of the run before is of {newest}, more than a month earlier: \
         nothing is deleted by age until a witness has signed at that time. Look at the clock; if it is right, start the broker once \
         more, and what this run writes is what that one compares with"
    )]
    Ahead { now: Timestamp, newest: Timestamp },
    #[error(
        "the clock has gone {went_h} hours since it was last compared, and {passed_h} hours have passed: it was set, or the machine stood \
         still. Nothing is deleted by age until a witness has signed at that time. Look at the clock; if it is right, start the broker \
         once more"
    )]
    Set { went_h: i64, passed_h: i64 },
    #[error(
        "the clock says {now}, and that of the database {database}, an hour or more earlier: nothing is deleted by age. Look at both \
         clocks and set right the one that is wrong"
    )]
    Database { now: Timestamp, database: Timestamp },
}

/// When the clock was compared last, and with what.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    wall: Timestamp,
    steady: Duration,
    /// The time of the run before, where the clock is too far behind that.
    ahead_of: Option<Timestamp>,
}

#[derive(Debug)]
pub(crate) struct Belief {
    anchor: Mutex<Anchor>,
}

impl Belief {
    /// `newest`: of what the run before wrote; `None` in a new log, in which nothing is old.
    pub(crate) fn new(clock: &dyn Clock, newest: Option<Timestamp>) -> Self {
        let (wall, steady) = (clock.now(), clock.steady());
        let ahead_of = newest.filter(|newest| wall.millis().saturating_sub(newest.millis()) > PAUSE_MS_MAX);
        Self { anchor: Mutex::new(Anchor { wall, steady, ahead_of }) }
    }

    pub(crate) fn doubt(&self, clock: &dyn Clock) -> Option<ClockDoubt> {
        let Anchor { wall, steady, ahead_of } = *self.anchor();
        if let Some(newest) = ahead_of {
            return Some(ClockDoubt::Ahead { now: wall, newest });
        }
        let went = clock.now().millis().saturating_sub(wall.millis());
        let passed = i64::try_from(clock.steady().saturating_sub(steady).as_millis()).unwrap_or(i64::MAX);
        let hours = |ms: i64| ms / 3_600_000;
        (went.saturating_sub(passed).saturating_abs() > DAY_MS)
            .then(|| ClockDoubt::Set { went_h: hours(went), passed_h: hours(passed) })
    }

    /// `times`: when others signed, in seconds since 1970. One of them that says the same is enough.
    pub(crate) fn compare(&self, clock: &dyn Clock, times: &[u64]) {
        let now = clock.now();
        let is_same = |time: &u64| {
            let time = i64::try_from(*time).unwrap_or(i64::MAX).saturating_mul(1_000);
            now.millis().saturating_sub(time).saturating_abs() <= DAY_MS
        };
        if times.iter().any(is_same) {
            *self.anchor() = Anchor { wall: now, steady: clock.steady(), ahead_of: None };
        }
    }

    fn anchor(&self) -> MutexGuard<'_, Anchor> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days of either.
    #[derive(Debug)]
    struct Two(i64, u64);

    impl Clock for Two {
        fn now(&self) -> Timestamp {
            Timestamp(self.0 * DAY_MS)
        }

        fn steady(&self) -> Duration {
            Duration::from_secs(self.1 * 86_400)
        }
    }

    #[test]
    fn a_clock_that_was_set_is_doubted_as_long_as_it_disagrees() {
        let belief = Belief::new(&Two(1_000, 5), Some(Timestamp(990 * DAY_MS)));
        assert_eq!(belief.doubt(&Two(1_000, 5)), None);
        assert_eq!(belief.doubt(&Two(1_400, 405)), None, "it went as long as it took");
        assert_eq!(belief.doubt(&Two(1_001, 5)), None, "a day is a slip");
        let set = |went_h, passed_h| Some(ClockDoubt::Set { went_h, passed_h });
        assert_eq!(belief.doubt(&Two(4_650, 6)), set(3_650 * 24, 24));
        assert_eq!(belief.doubt(&Two(1_000, 8)), set(0, 72), "one that stands still as well");
        assert_eq!(belief.doubt(&Two(1_003, 8)), None, "and set right it is believed again");
    }

    #[test]
    fn a_witness_with_the_same_time_ends_the_doubt_and_another_one_does_not() {
        let newest = Timestamp(900 * DAY_MS);
        let belief = Belief::new(&Two(1_000, 5), Some(newest));
        let ahead = Some(ClockDoubt::Ahead { now: Timestamp(1_000 * DAY_MS), newest });
        assert_eq!(belief.doubt(&Two(1_000, 5)), ahead);
        let day = |days: u64| days * 86_400;
        belief.compare(&Two(1_000, 5), &[day(900), day(1_002), u64::MAX]);
        assert_eq!(belief.doubt(&Two(1_000, 5)), ahead);
        belief.compare(&Two(1_000, 5), &[day(900), day(999)]);
        assert_eq!(belief.doubt(&Two(1_000, 5)), None);
        assert!(belief.doubt(&Two(1_100, 5)).is_some(), "and it is held against the steps since");
    }

    #[test]
    fn a_month_without_entries_is_a_pause_and_more_is_a_doubt() {
        let at = |newest: i64| Belief::new(&Two(1_000, 0), Some(Timestamp(newest * DAY_MS))).doubt(&Two(1_000, 0));
        assert_eq!((at(969), at(1_100)), (None, None), "what is earlier than the entries makes nothing old");
        assert!(matches!(at(968), Some(ClockDoubt::Ahead { .. })));
        assert_eq!(Belief::new(&Two(1_000, 0), None).doubt(&Two(1_000, 0)), None, "nothing is old in a new log");
    }
}
