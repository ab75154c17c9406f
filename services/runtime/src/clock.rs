//! The system's clock: the one place that asks it for the time of day.

use model::{Clock, Timestamp};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the home of the system clock")]
        let now = SystemTime::now();
        // A clock before 1970 is broken; the epoch makes every token expired and every agreement not yet begun.
        let ms = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_lies_in_this_century_and_does_not_run_backwards() {
        let first = SystemClock.now();
        let second = SystemClock.now();
        assert!(first >= Timestamp(1_767_225_600_000), "{first} is before 2026");
        assert!(first < Timestamp(4_102_444_800_000), "{first} is after 2099");
        assert!(second >= first);
    }
}
