//! Where a request comes from: told to policies as far as it is known, and to none under a schema that does not declare it.

use super::replay::{recorded, replay};
use super::world::{World, anna, base_with, files, lines, reasons, schema};
use crate::{Decision, PolicySet};
use model::{AccessRequest, Country};
use std::sync::Arc;

const AT_HOME: &str = r#"
@id("at-home") @reason("abroad")
forbid (principal, action in Plant::Action::"dataplane", resource)
unless { context has country && ["DE", "AT"].contains(context.country) };
"#;

fn from(country: &str) -> AccessRequest {
    AccessRequest { country: Country::parse(country), ..anna() }
}

#[test]
fn a_policy_tells_countries_apart_and_an_unknown_one_is_none() {
    let world = World::with(base_with(AT_HOME));
    for home in ["DE", "AT"] {
        drop(world.permit(from(home)));
    }
    for abroad in ["FR", ""] {
        let denial = world.deny(from(abroad));
        assert_eq!(reasons(&denial), ["abroad"], "{abroad}");
        assert!(!denial.hidden, "what may be discovered is another question");
    }
    // And nobody is asked for it who does not ask.
    drop(World::new().permit(from("FR")));
}

#[test]
fn a_country_that_may_not_know_of_data_is_told_that_there_is_none() {
    let hide = r#"@id("not-from-there") forbid (principal, action == Plant::Action::"discover", resource)
        when { context has country && context.country == "FR" };"#;
    let world = World::with(base_with(hide));
    assert!(world.deny(from("FR")).hidden);
    drop(world.permit(from("DE")));
    let (snapshot, anna) = (world.snapshot(), anna());
    let may = |country| snapshot.may_discover(&anna.caller, &anna.resource, Country::parse(country), anna.now);
    assert!(may("DE") && may("") && !may("FR"));
}

#[test]
fn a_recorded_country_decides_again() {
    let world = World::with(base_with(AT_HOME));
    for (country, allowed) in [("DE", true), ("FR", false), ("", false)] {
        let (entry, decision, known) = recorded(&world, from(country));
        assert_eq!(decision.is_permit(), allowed, "{country}");
        let tally = replay(&entry, &known, None);
        assert_eq!((tally.replayed, tally.findings_total), (1, 0), "{country}: {tally:?}");
        // Another country is another decision, so it is one that was not made.
        let text = String::from_utf8(entry).unwrap();
        let other = match country {
            "" => text.replacen(",\"decision\"", ",\"country\":\"DE\",\"decision\"", 1),
            "DE" => text.replacen("\"country\":\"DE\"", "\"country\":\"FR\"", 1),
            _ => text.replacen("\"country\":\"FR\"", "\"country\":\"DE\"", 1),
        };
        assert_ne!(text, other);
        assert_eq!(replay(other.as_bytes(), &known, None).findings_total, 1, "{country}");
        let damaged = text.replacen(&format!("\"country\":\"{country}\""), "\"country\":\"Germany\"", 1);
        assert_eq!(replay(damaged.as_bytes(), &known, None).findings_total, u64::from(damaged != text), "{country}");
    }
}

#[test]
fn why_a_country_was_refused_is_explained() {
    let world = World::with(base_with(AT_HOME));
    let explanation = world.snapshot().explain(&from("FR")).unwrap();
    assert_eq!(explanation.decided.reasons, ["abroad"]);
    let by: Vec<_> = explanation.questions.iter().flat_map(|q| &q.by).map(|quoted| quoted.policy.as_str()).collect();
    assert!(by.contains(&"at-home"), "{by:?}");
}

#[test]
fn a_policy_must_ask_whether_the_country_is_known() {
    let (name, text) = schema();
    let mut all = files("base");
    let careless = "@id(\"careless\") forbid (principal, action, resource) when { context.country == \"FR\" };";
    all.push((String::from("extra.cedar"), careless.to_owned()));
    let refused = lines(&PolicySet::load((&name, &text), &all).unwrap_err());
    assert!(
        refused.contains("policy `careless`: unable to guarantee safety of access to optional attribute"),
        "{refused}"
    );
}

fn declared(from: &str, to: &str) -> (String, String) {
    let (name, text) = schema();
    let changed = text.replace(from, to);
    assert_ne!(text, changed);
    (name, changed)
}

/// As before 1.5. A log that was decided under it is decided again under it.
#[test]
fn under_a_schema_without_countries_nobody_is_asked_for_one() {
    let (name, text) = declared("country?: String", "nowhere?: String");
    let older = Arc::new(PolicySet::load((&name, &text), &files("base")).unwrap());
    let world = World::with(older);
    for country in ["DE", ""] {
        let (entry, decision, known) = recorded(&world, from(country));
        assert!(matches!(decision, Decision::Permit(_)));
        assert_eq!(replay(&entry, &known, None).findings_total, 0);
    }
}

#[test]
fn a_schema_that_declares_countries_for_some_questions_is_refused() {
    let (name, text) = declared("country?: String, shape: Shape", "shape: Shape");
    let refused = lines(&PolicySet::load((&name, &text), &files("base")).unwrap_err());
    assert!(refused.contains("the broker asks `readSeries` in another way than declared"), "{refused}");
    assert!(!refused.contains("`discover`"), "{refused}");
}

#[test]
fn policies_that_ask_for_countries_are_known() {
    assert_eq!(World::new().policies.asking_for_country().count(), 0);
    let set = base_with(AT_HOME);
    let asking: Vec<_> = set.asking_for_country().map(|(_, line, id)| (line, id)).collect();
    assert_eq!(asking, [(2, "at-home")]);
}
