//! Times as values.
//!
//! Cedar makes them from texts, by way of regular expressions. A decision needs one, and the next is mostly of the same
//! second: so the second is read from its text, and the milliseconds are added to it.

use super::{Value, value};
use cedar_policy::RestrictedExpression;
use cedar_policy_core::ast::{ExtensionFunction, Name, PartialValue};
use cedar_policy_core::extensions::Extensions;
use model::Timestamp;
use std::cell::RefCell;
use std::sync::LazyLock;

const MILLIS: i64 = 1_000;

thread_local! {
    /// The last second that was asked for.
    static SECOND: RefCell<Option<(Timestamp, Value)>> = const { RefCell::new(None) };
}

/// `None`: this Cedar has no such durations or no such function, and every time is read from its text.
static STEPS: LazyLock<Option<Steps>> = LazyLock::new(Steps::new);

struct Steps {
    offset: &'static ExtensionFunction,
    /// None to 999 milliseconds.
    durations: Vec<Value>,
}

impl Steps {
    fn new() -> Option<Self> {
        let name = Name::parse_unqualified_name("offset").ok()?;
        let durations = (0..MILLIS).map(|ms| value(&RestrictedExpression::new_duration(format!("{ms}ms"))));
        Some(Self {
            offset: Extensions::all_available().func(&name).ok()?,
            durations: durations.collect::<Result<_, _>>().ok()?,
        })
    }

    fn after(&self, second: &Value, ms: i64) -> Option<Value> {
        let duration = self.durations.get(usize::try_from(ms).ok()?)?;
        match self.offset.call(&[second.clone(), duration.clone()]).ok()? {
            PartialValue::Value(time) => Some(time),
            PartialValue::Residual(_) => None,
        }
    }
}

/// What Cedar makes of `datetime("…")` with the time as RFC 3339 text.
///
/// # Errors
/// In words, for a time beyond the years that Cedar can read.
pub(crate) fn datetime(time: Timestamp) -> Result<Value, String> {
    let ms = time.millis().rem_euclid(MILLIS);
    let second = time.plus_millis(-ms);
    // Beyond the years that have a text, the text says the nearest.
    let has_text = (Timestamp::EPOCH..=Timestamp::LAST).contains(&time);
    let stepped = STEPS.as_ref().filter(|_| has_text).and_then(|steps| {
        let second = SECOND.with_borrow_mut(|last| match last {
            Some((of, value)) if *of == second => Some(value.clone()),
            _ => {
                let value = read(second).ok()?;
                *last = Some((second, value.clone()));
                Some(value)
            }
        });
        steps.after(&second?, ms)
    });
    stepped.map_or_else(|| read(time), Ok)
}

fn read(time: Timestamp) -> Result<Value, String> {
    value(&RestrictedExpression::new_datetime(time.to_rfc3339()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_what_cedar_reads_from_the_text_at_the_ends_of_time_too() {
        let last = 253_402_300_799_999;
        for ms in [i64::MIN, -1_500, -1, 0, 1, 999, 1_000, last - 1_000, last, last + 1, last + 1_500, i64::MAX] {
            assert_eq!(datetime(Timestamp(ms)), read(Timestamp(ms)), "{ms}");
        }
    }

    proptest! {
        #[test]
        fn it_is_what_cedar_reads_from_the_text(all in proptest::collection::vec(0_i64..253_402_300_800_000, 1..5)) {
            for ms in all.into_iter().flat_map(|ms| [ms, ms + 1, ms + 400]) {
                prop_assert_eq!(datetime(Timestamp(ms)), read(Timestamp(ms)));
            }
        }
    }
}
