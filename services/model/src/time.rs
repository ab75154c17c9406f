//! Wall-clock time as the broker sees it: milliseconds since 1970-01-01T00:00:00Z, without leap seconds.

use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// Where time comes from. The system's clock is `runtime::clock::SystemClock`; tests hold time still.
pub trait Clock: Send + Sync + std::fmt::Debug {
    fn now(&self) -> Timestamp;

    /// Time since a moment that stays the same while the process lives, whatever the time of day is set to: so it can be told
    /// that it was set.
    fn steady(&self) -> Duration {
        BEGUN.elapsed()
    }
}

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

const DAY_MS: i64 = 86_400_000;

/// 9999-12-31T23:59:59.999Z: what RFC 3339 with four-digit years can still write.
const LAST_MS: i64 = 253_402_300_799_999;

impl Timestamp {
    pub const EPOCH: Self = Self(0);
    /// The last that has a text.
    pub const LAST: Self = Self(LAST_MS);

    pub fn millis(self) -> i64 {
        self.0
    }

    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Midnight (UTC) of the first day of its month. What is before 1970 counts as 1970.
    pub fn start_of_month(self) -> Self {
        let days = self.0.clamp(0, LAST_MS) / DAY_MS;
        let (_, _, day) = civil(days);
        Self((days - (day - 1)) * DAY_MS)
    }

    /// RFC 3339 in UTC with exactly three decimals, e.g. `2026-11-22T19:20:00.123Z`; sorts as text.
    pub fn to_rfc3339(self) -> String {
        let ms = self.0.clamp(0, LAST_MS);
        let (days, of_day) = (ms / DAY_MS, ms % DAY_MS);
        let (year, month, day) = civil(days);
        let mut out = String::with_capacity(24);
        // Each with the character that stands before it.
        let parts = [
            ("", year, 4),
            ("-", month, 2),
            ("-", day, 2),
            ("T", of_day / 3_600_000, 2),
            (":", of_day / 60_000 % 60, 2),
            (":", of_day / 1_000 % 60, 2),
            (".", of_day % 1_000, 3),
        ];
        for (before, value, width) in parts {
            out.push_str(before);
            push_digits(&mut out, value, width);
        }
        out.push('Z');
        out
    }

    /// Reads RFC 3339 with any offset. `None` for anything else, and for years before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let t = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let ms = i64::try_from(t.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
        (0..=LAST_MS).contains(&ms).then_some(Self(ms))
    }

    /// Reads what [`Self::to_rfc3339`] writes, and nothing else that means the same.
    pub fn parse_canonical(text: &str) -> Option<Self> {
        let bytes: &[u8; 24] = text.as_bytes().try_into().ok()?;
        let [
            y1,
            y2,
            y3,
            y4,
            b'-',
            m1,
            m2,
            b'-',
            d1,
            d2,
            b'T',
            h1,
            h2,
            b':',
            n1,
            n2,
            b':',
            s1,
            s2,
            b'.',
            f1,
            f2,
            f3,
            b'Z',
        ] = *bytes
        else {
            return None;
        };
        let date = (digits(&[y1, y2, y3, y4])?, digits(&[m1, m2])?, digits(&[d1, d2])?);
        let (hour, minute, second) = (digits(&[h1, h2])?, digits(&[n1, n2])?, digits(&[s1, s2])?);
        let days = days(date);
        // A day that a month does not have is one of the next.
        if days < 0 || civil(days) != date || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        Some(Self(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + digits(&[f1, f2, f3])?))
    }
}

/// What decimal digits say.
fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

/// Year, month and day of a day since 1970-01-01 in the proleptic Gregorian calendar. `days` is not negative.
///
/// Counted in eras of 400 years from 1 March of year 0, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    let days = days + 719_468;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / (ERA_DAYS - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// The inverse, for any month and day that are as small as two digits can be.
fn days((year, month, day): (i64, i64, i64)) -> i64 {
    let (from_march, year) = if month > 2 { (month - 3, year) } else { (month + 9, year - 1) };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `width` decimal digits.
fn push_digits(out: &mut String, value: i64, width: u32) {
    let mut scale = 10_i64.pow(width - 1);
    while scale > 0 {
        out.extend(u8::try_from(value / scale % 10).map(|digit| char::from(b'0' + digit)));
        scale /= 10;
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Reads `250ms`, `10s`, `5m`, `12h`, `30d` as milliseconds. One number, one unit, nothing else.
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let n: i64 = number.parse().ok()?;
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    n.checked_mul(scale)
}

/// Writes milliseconds in the largest unit that divides them: the inverse of [`parse_duration_ms`].
pub fn format_duration_ms(ms: i64) -> String {
    for (scale, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if ms != 0 && ms % scale == 0 {
            return format!("{}{unit}", ms / scale);
        }
    }
    format!("{ms}ms")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_month_begins_at_midnight_of_its_first_day() {
        for (time, start) in [
            ("2026-11-22T19:20:00.123Z", "2026-11-01T00:00:00.000Z"),
            ("2024-02-29T23:59:59.999Z", "2024-02-01T00:00:00.000Z"),
            ("2027-01-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z"),
        ] {
            let start_of = Timestamp::parse_rfc3339(time).unwrap().start_of_month();
            assert_eq!(start_of.to_rfc3339(), start);
        }
        assert_eq!(Timestamp(-1).start_of_month(), Timestamp::EPOCH);
    }

    #[test]
    fn times_round_trip_and_sort_as_text() {
        let t = Timestamp(1_795_375_200_123);
        assert_eq!(t.to_rfc3339(), "2026-11-22T19:20:00.123Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-22T20:20:00.123+01:00"), Some(t));
        assert_eq!(Timestamp::parse_rfc3339("2026-11-22"), None);
        assert_eq!(Timestamp::parse_rfc3339("1969-12-31T23:59:59Z"), None);
    }

    proptest! {
        #[test]
        fn every_time_is_written_as_an_independent_library_writes_it(ms in 0..=LAST_MS) {
            let format = time::macros::format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
            );
            let theirs = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap();
            prop_assert_eq!(Timestamp(ms).to_rfc3339(), theirs.format(format).unwrap());
            prop_assert_eq!(Timestamp::parse_rfc3339(&Timestamp(ms).to_rfc3339()), Some(Timestamp(ms)));
        }
    }

    /// What was read in two steps before.
    fn slowly(text: &str) -> Option<Timestamp> {
        Timestamp::parse_rfc3339(text).filter(|time| time.to_rfc3339() == text)
    }

    proptest! {
        #[test]
        fn only_what_is_written_is_canonical(ms in 0..=LAST_MS, place in 0_usize..24, byte in b' '..=b'~') {
            let text = Timestamp(ms).to_rfc3339();
            prop_assert_eq!(Timestamp::parse_canonical(&text), Some(Timestamp(ms)));
            let mut other = text.into_bytes();
            other[place] = byte;
            let other = String::from_utf8(other).unwrap();
            prop_assert_eq!(Timestamp::parse_canonical(&other), slowly(&other), "{}", other);
        }

        #[test]
        fn days_that_are_none_are_refused(year in 0_u16..10_000, month in 0_u8..20, day in 0_u8..40, time in "[0-2][0-9]:[0-6][0-9]:[0-6][0-9]") {
            let text = format!("{year:04}-{month:02}-{day:02}T{time}.000Z");
            prop_assert_eq!(Timestamp::parse_canonical(&text), slowly(&text), "{}", text);
        }
    }

    #[test]
    fn the_ends_of_time_are_held() {
        assert_eq!(Timestamp(-1).to_rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(i64::MAX).to_rfc3339(), "9999-12-31T23:59:59.999Z");
        for (ms, day) in [(951_782_400_000, "2000-02-29"), (4_107_542_400_000, "2100-03-01")] {
            assert!(Timestamp(ms).to_rfc3339().starts_with(day), "{}", Timestamp(ms));
        }
    }

    #[test]
    fn durations_have_one_number_and_one_unit() {
        assert_eq!(parse_duration_ms("1m"), Some(60_000));
        assert_eq!(format_duration_ms(60_000), "1m");
        assert_eq!(format_duration_ms(90_000), "90s");
        for bad in ["", "m", "1", "1w", "-1s", "1m30s", "99999999999999999999s", "9223372036854775807d"] {
            assert_eq!(parse_duration_ms(bad), None, "{bad}");
        }
    }
}
