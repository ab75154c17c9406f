//! Wall-clock time as the broker sees it: milliseconds since 1970-01-01T00:00:00Z, without leap seconds.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// Where time comes from. The system's clock is `runtime::clock::SystemClock`; tests hold time still.
pub trait Clock: Send + Sync + std::fmt::Debug {
    fn now(&self) -> Timestamp;
}

/// 9999-12-31T23:59:59.999Z: what RFC 3339 with four-digit years can still write.
const LAST_MS: i64 = 253_402_300_799_999;

impl Timestamp {
    pub const EPOCH: Self = Self(0);

    pub fn millis(self) -> i64 {
        self.0
    }

    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// RFC 3339 in UTC with exactly three decimals, e.g. `2026-11-22T19:20:00.123Z`; sorts as text.
    pub fn to_rfc3339(self) -> String {
        let ms = self.0.clamp(0, LAST_MS);
        let Ok(t) = OffsetDateTime::from_unix_timestamp(ms / 1000) else {
            return String::from("1970-01-01T00:00:00.000Z");
        };
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            ms % 1000
        )
    }

    /// Reads RFC 3339 with any offset. `None` for anything else, and for years before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let t = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let ms = i64::try_from(t.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
        (0..=LAST_MS).contains(&ms).then_some(Self(ms))
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

    #[test]
    fn times_round_trip_and_sort_as_text() {
        let t = Timestamp(1_795_375_200_123);
        assert_eq!(t.to_rfc3339(), "2026-11-22T19:20:00.123Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-22T20:20:00.123+01:00"), Some(t));
        assert_eq!(Timestamp::parse_rfc3339("2026-11-22"), None);
        assert_eq!(Timestamp::parse_rfc3339("1969-12-31T23:59:59Z"), None);
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
