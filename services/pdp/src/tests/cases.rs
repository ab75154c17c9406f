//! The cases in `policies/cases`, decided over the plant in `world.rs`.

use super::world::{World, files, now};
use crate::cases::{BadCase, Case, Expected, coverage};

fn cases() -> Vec<(String, Case)> {
    let of = |(file, text): (String, String)| {
        let cases = Case::read(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        cases.into_iter().map(move |case| (file.clone(), case))
    };
    files("cases").into_iter().flat_map(of).collect()
}

#[test]
fn cases_are_decided_as_written() {
    let snapshot = World::new().snapshot();
    let mut wrong = Vec::new();
    for (file, case) in cases() {
        let got = case.decide(&snapshot, now()).unwrap_or_else(|e| panic!("{file}: {}: {e}", case.title));
        if got != case.expect {
            wrong.push(format!("{file}: {}\n  expected {:?}\n  got      {got:?}", case.title, case.expect));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases().len() >= 30, "only {} cases found", cases().len());
}

/// A policy that no case touches could be wrong unnoticed.
#[test]
fn every_policy_determines_some_case() {
    let world = World::new();
    let expected: Vec<Expected> = cases().into_iter().map(|(_, case)| case.expect).collect();
    // Discovery permits stand behind every case that is not hidden and are not named in answers. The refusal of others'
    // equipment has a test of its own: the base set hides it before.
    let silent = |id: &String| id.starts_with("discover-") || id == "not-your-equipment";
    let counts = coverage(&world.policies, &expected);
    let never: Vec<_> = counts.iter().filter(|(id, n)| **n == 0 && !silent(id)).map(|(id, _)| id).collect();
    assert!(never.is_empty(), "{never:?}");
}

#[test]
fn a_case_that_nobody_could_ask_says_what_is_wrong() {
    let snapshot = World::new().snapshot();
    let ask = |member: &str, value: &str| {
        let mut request = serde_json::json!({
            "organisation": "acme", "subject": "anna", "action": "read", "resource": "Dataset/acme-parts",
        });
        request[member] = value.into();
        let case = serde_json::json!([{ "title": "t", "request": request, "expect": { "decision": "permit" } }]);
        Case::read(&case.to_string()).unwrap().remove(0).decide(&snapshot, now()).unwrap_err()
    };
    assert_eq!(ask("resource", "parts"), BadCase::Resource("parts".into()));
    assert_eq!(ask("at", "noon"), BadCase::Time("noon".into()));
    assert_eq!(ask("binding", "tls"), BadCase::Binding("tls".into()));
    for country in ["de", "DEU", "UK", "ZZ"] {
        assert_eq!(ask("country", country), BadCase::Country(country.into()));
    }
    assert!(matches!(ask("purpose", "No Purpose"), BadCase::Id(_)));
    for (member, value, name) in [
        ("organisation", "acmee", "organisation `acmee`"),
        ("resource", "Dataset/acme-part", "resource `Dataset/acme-part`"),
        ("purpose", "maintenence", "purpose `maintenence`"),
        ("agreement", "acme-2026", "agreement `acme-2026`"),
    ] {
        assert_eq!(ask(member, value), BadCase::Unknown(name.into()));
    }
    assert!(Case::read(r#"[{"title":"t","expect":{"decision":"permit","resons":[]}}]"#).is_err());
}
