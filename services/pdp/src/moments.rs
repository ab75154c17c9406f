//! When the passing of time alone can change a decision.
//!
//! Policies see the time as `context.now`. Where they do nothing with it but compare it with times that stand still
//! (literals, attributes of entities), every decision stays what it is from one of these times to the next. A set with a
//! policy that does anything else with it ([`Uses::Otherwise`]) has no such times, and its decisions are not remembered.

use crate::engine::times_compared;
use cedar_policy::{Context, Entities, EntityUid, EvalResult, Expression, Policy, Request, eval_expression};
use model::Timestamp;
use model::party::Agreement;
use std::collections::BTreeSet;

/// What the policies of a set do with the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Uses {
    /// They compare it with these literals, in milliseconds since 1970, and with attributes of entities.
    Comparisons(BTreeSet<i64>),
    /// This one does something else with it.
    Otherwise { policy: String },
}

impl Uses {
    pub(crate) fn of<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Self {
        let (mut texts, mut literals) = (BTreeSet::new(), BTreeSet::new());
        for policy in policies {
            let new = times_compared(policy).and_then(|all| {
                all.into_iter().filter(|text| texts.insert(*text)).map(millis).collect::<Option<Vec<_>>>()
            });
            match new {
                Some(times) => literals.extend(times),
                None => return Self::Otherwise { policy: policy.id().to_string() },
            }
        }
        Self::Comparisons(literals)
    }
}

/// What Cedar makes of the text of a literal.
fn millis(text: &str) -> Option<i64> {
    let anybody: EntityUid = "Plant::Purpose::\"none\"".parse().ok()?;
    let request = Request::new(anybody.clone(), anybody.clone(), anybody, Context::empty(), None).ok()?;
    let text = serde_json::to_string(text).ok()?;
    let since = format!("datetime({text}).durationSince(datetime(\"1970-01-01\")).toMilliseconds()");
    let expression: Expression = since.parse().ok()?;
    match eval_expression(&request, &Entities::empty(), &expression).ok()? {
        EvalResult::Long(millis) => Some(millis),
        _ => None,
    }
}

/// The times at which decisions of one snapshot can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moments(Vec<i64>);

impl Moments {
    /// `None` when decisions can change at any time.
    pub(crate) fn of<'a>(uses: &Uses, agreements: impl IntoIterator<Item = &'a Agreement>) -> Option<Self> {
        let Uses::Comparisons(literals) = uses else { return None };
        // The only attributes that are times; see `entities`.
        let agreements = agreements.into_iter().flat_map(|a| [a.not_before.millis(), a.not_after.millis()]);
        let times: BTreeSet<i64> = literals.iter().copied().chain(agreements).collect();
        // A comparison can turn when the time is reached and again a millisecond later.
        let mut all: Vec<i64> = times.into_iter().flat_map(|ms| [ms, ms.saturating_add(1)]).collect();
        all.dedup();
        Some(Self(all))
    }

    /// Two times with the same number lie between the same moments.
    pub(crate) fn interval(&self, now: Timestamp) -> usize {
        self.0.partition_point(|moment| *moment <= now.millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cedar_policy::PolicySet;

    fn uses(condition: &str) -> Uses {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let set: PolicySet = text.parse().unwrap();
        Uses::of(set.policies())
    }

    #[test]
    fn comparisons_with_what_stands_still_are_known() {
        for condition in [
            "context.now < context.agreement.notAfter",
            "principal.until >= context.now && resource.governance.from != context.now",
            "context has agreement && (context has now || context[\"now\"] == context.agreement.notBefore)",
            "if context.now > Plant::Agreement::\"a\".notAfter then true else context.shape.rows < 3",
            "resource.times.contains(datetime(\"2026-01-01\"))",
            "principal == resource.owner || [context.purpose, context.agreement].contains(principal)",
            "true",
        ] {
            assert_eq!(uses(condition), Uses::Comparisons(BTreeSet::new()), "{condition}");
        }
    }

    #[test]
    fn literals_are_read_as_cedar_reads_them() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("1969-12-31", -86_400_000),
            ("2026-11-22T19:20:00Z", 1_795_375_200_000),
            ("2026-11-22T19:20:00.123Z", 1_795_375_200_123),
            ("2026-11-22T20:20:00.123+0100", 1_795_375_200_123),
        ] {
            let found = uses(&format!("context.now >= datetime(\"{text}\")"));
            assert_eq!(found, Uses::Comparisons(BTreeSet::from([ms])), "{text}");
        }
    }

    #[test]
    fn every_other_use_is_found() {
        for condition in [
            "context.now.toTime() < duration(\"17h\")",
            "context.now.offset(duration(\"1d\")) < context.agreement.notAfter",
            "context.now < context.agreement.notAfter.offset(duration(\"-7d\"))",
            "context.agreement.notAfter.durationSince(context.now) > duration(\"1h\")",
            "[context.now].contains(principal.until)",
            "principal.times.contains(context.now)",
            "{ a: context.now }.a < principal.until",
            "(if principal.registered then context.now else principal.until) < resource.until",
            "context.now < (if principal.registered then principal.until else resource.until)",
            "context == resource.last",
            "[context].contains(resource.last)",
            "(if true then context else context).now < principal.until",
            "context.now < context.now",
            "context.now < context.until",
            "context.now < context.caller.until",
            "principal.registered && !(context.now.toDate() == principal.until)",
            "context.now < principal.until && context.now in principal",
        ] {
            let expected = Uses::Otherwise { policy: String::from("policy0") };
            assert_eq!(uses(condition), expected, "{condition}");
        }
    }

    #[test]
    fn an_interval_ends_where_a_comparison_can_turn() {
        let uses = Uses::Comparisons(BTreeSet::from([10, 11, 20]));
        let moments = Moments::of(&uses, []).unwrap();
        let intervals: Vec<usize> =
            [0, 9, 10, 11, 12, 19, 20, 21, 99].map(|ms| moments.interval(Timestamp(ms))).to_vec();
        assert_eq!(intervals, [0, 0, 1, 2, 3, 3, 4, 5, 5]);
        assert_eq!(Moments::of(&Uses::Otherwise { policy: String::new() }, []), None);
    }
}
