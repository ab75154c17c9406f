//! The cases in `policies/cases`, decided over the plant in `world.rs`.

use super::world::{World, caller, files, id, now, resource, time};
use crate::Decision;
use model::{AccessRequest, Action, PrincipalKind, Shape};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    title: String,
    request: Asked,
    expect: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    organisation: String,
    subject: String,
    #[serde(default)]
    service: bool,
    action: Action,
    resource: String,
    purpose: Option<String>,
    agreement: Option<String>,
    #[serde(default)]
    resolution_ms: i64,
    #[serde(default)]
    window_ms: i64,
    #[serde(default)]
    rows: i64,
    at: Option<String>,
}

/// What is not said is expected to be empty.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    decision: String,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    policies: Vec<String>,
    agreement: Option<String>,
    #[serde(default)]
    classes_hidden: Vec<String>,
    #[serde(default)]
    records_hidden: bool,
}

impl Asked {
    fn request(&self) -> AccessRequest {
        let kind = if self.service { PrincipalKind::Service } else { PrincipalKind::User };
        AccessRequest {
            caller: caller(&self.organisation, &self.subject, kind),
            action: self.action,
            resource: resource(&self.resource),
            purpose: self.purpose.as_deref().map(id),
            agreement: self.agreement.as_deref().map(id),
            shape: Shape { resolution_ms: self.resolution_ms, window_ms: self.window_ms, rows: self.rows },
            now: self.at.as_deref().map_or_else(now, time),
        }
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

fn observed(decision: &Decision) -> Expected {
    match decision {
        Decision::Permit(permit) => Expected {
            decision: String::from("permit"),
            policies: permit.policies().to_vec(),
            agreement: permit.agreement().map(ToString::to_string),
            classes_hidden: texts(permit.classes_hidden()),
            records_hidden: !permit.kinds_hidden().is_empty(),
            ..Expected::default()
        },
        Decision::Denied(denial) => Expected {
            decision: String::from(if denial.hidden { "hidden" } else { "deny" }),
            reasons: texts(&denial.reasons),
            policies: denial.policies.clone(),
            agreement: denial.agreement.as_ref().map(ToString::to_string),
            classes_hidden: texts(&denial.classes_hidden),
            records_hidden: denial.records_hidden,
        },
    }
}

#[test]
fn cases_are_decided_as_written() {
    let snapshot = World::new().snapshot();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (file, text) in files("cases") {
        let cases: Vec<Case> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        for case in cases {
            count += 1;
            let got = observed(&snapshot.decide(case.request.request(), &["p-0001"]));
            if got != case.expect {
                wrong.push(format!("{file}: {}\n  expected {:?}\n  got      {got:?}", case.title, case.expect));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 30, "only {count} cases found");
}

/// A policy that no case touches could be wrong unnoticed.
#[test]
fn every_policy_determines_some_case() {
    let world = World::new();
    let cases = files("cases").into_iter().flat_map(|(_, text)| serde_json::from_str::<Vec<Case>>(&text).unwrap());
    let seen: std::collections::BTreeSet<String> = cases.flat_map(|c| c.expect.policies).collect();
    // Discovery permits stand behind every case that is not hidden and are not named in answers. The refusal of others'
    // equipment has a test of its own: the base set hides it before.
    let silent = |id: &String| id.starts_with("discover-") || id == "not-your-equipment";
    let never: Vec<_> = world.policies.notes.keys().filter(|id| !seen.contains(*id) && !silent(id)).collect();
    assert!(never.is_empty(), "{never:?}");
}
