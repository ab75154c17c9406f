//! What an answer waits for in the log: policies raise it and never lower it, and the record holds all that it takes to tell.

use super::replay::{recorded, replay};
use super::world::{World, anna, ask, base, base_with, id, lines, schema};
use crate::PolicySet;
use crate::replay::Direction;
use model::plant::{Acknowledgement, Demands};
use model::{AccessRequest, Action};
use proptest::prelude::*;

/// Two permits beside those of the base set, for everybody who may read the presses' series anyway.
fn permits(levels: [&str; 2]) -> String {
    let permit = |(n, annotations): (usize, &str)| {
        format!(
            "@id(\"more-{n}\") {annotations} permit (principal, action == Plant::Action::\"readSeries\", resource);\n"
        )
    };
    levels.into_iter().enumerate().map(permit).collect()
}

fn world(product: Acknowledgement, levels: [&str; 2]) -> World {
    let mut world = World::with(base_with(&permits(levels)));
    world.plant.products.get_mut("machine-signals").unwrap().acknowledgement = product;
    world
}

const CHECKPOINTED: &str = "@acknowledgement(\"checkpointed\")";
const WITNESSED: &str = "@acknowledgement(\"witnessed\")";
const OUTCOME: &str = "@outcome_before_complete(\"true\")";

#[test]
fn the_effective_level_is_the_highest_of_product_and_all_determining_policies() {
    use Acknowledgement::{Checkpointed, Durable, Witnessed};
    for (product, levels, raised, effective) in [
        (Durable, ["", ""], Durable, Durable),
        (Durable, [CHECKPOINTED, ""], Checkpointed, Checkpointed),
        (Durable, [WITNESSED, CHECKPOINTED], Witnessed, Witnessed),
        (Durable, [CHECKPOINTED, WITNESSED], Witnessed, Witnessed),
        (Witnessed, [CHECKPOINTED, ""], Checkpointed, Witnessed),
        (Witnessed, ["", ""], Durable, Witnessed),
    ] {
        let permit = world(product, levels).permit(anna());
        assert!(permit.policies().iter().any(|id| id == "more-1"), "{:?}", permit.policies());
        assert_eq!(permit.raised().acknowledgement, raised, "{levels:?}");
        assert_eq!(permit.demands().acknowledgement, effective, "{product:?} {levels:?}");
        assert!(!permit.demands().outcome_before_complete);
    }
    let permit = world(Durable, [OUTCOME, WITNESSED]).permit(anna());
    assert_eq!(permit.demands(), Demands { acknowledgement: Witnessed, outcome_before_complete: true });
    let mut lifted = world(Durable, ["", ""]);
    lifted.plant.products.get_mut("machine-signals").unwrap().outcome_before_complete = true;
    assert!(lifted.permit(anna()).demands().outcome_before_complete, "no policy lifts it");
}

#[test]
fn a_policy_that_took_no_part_raises_nothing() {
    let other = "@id(\"others\") @acknowledgement(\"witnessed\") \
        permit (principal in Plant::Organisation::\"bolt\", action == Plant::Action::\"readSeries\", resource);";
    assert_eq!(World::with(base_with(other)).permit(anna()).demands(), Demands::default());
}

#[test]
fn a_class_that_is_shown_under_the_eyes_of_witnesses_raises_the_whole_answer() {
    let reveal = "@id(\"shown\") @acknowledgement(\"witnessed\") permit (principal, action == Plant::Action::\"reveal\", resource);";
    let permit = World::with(base_with(reveal)).permit(anna());
    assert_eq!(permit.demands().acknowledgement, Acknowledgement::Witnessed);
}

#[test]
fn a_remembered_decision_demands_what_it_did() {
    let snapshot = world(Acknowledgement::Durable, [WITNESSED, OUTCOME]).snapshot();
    let demands = |request: AccessRequest| match snapshot.decide(request, &["p"]) {
        crate::Decision::Permit(permit) => permit.demands(),
        crate::Decision::Denied(denial) => panic!("{denial:?}"),
    };
    let first = demands(anna());
    assert_eq!(first, Demands { acknowledgement: Acknowledgement::Witnessed, outcome_before_complete: true });
    assert_eq!(demands(anna()), first);
}

#[test]
fn readings_of_the_log_wait_too_but_have_no_end_to_hold_back() {
    let read = "@id(\"watched-reading\") @acknowledgement(\"checkpointed\") @outcome_before_complete(\"true\") \
        permit (principal, action, resource);";
    let permit = World::with(base_with(read))
        .permit(AccessRequest { action: Action::ReadAudit, ..ask("audax", "vera", "AuditScope/*") });
    let Demands { acknowledgement, outcome_before_complete } = permit.demands();
    assert_eq!((acknowledgement, outcome_before_complete), (Acknowledgement::Checkpointed, false));
}

#[test]
fn erasures_in_the_log_wait_too_but_have_no_end_to_hold_back() {
    let erase = "@id(\"watched-erasure\") @acknowledgement(\"checkpointed\") @outcome_before_complete(\"true\") \
        permit (principal, action, resource);";
    let question = AccessRequest { action: Action::EraseAudit, ..ask("norden", "privacy-1", "AuditScope/acme") };
    let Demands { acknowledgement, outcome_before_complete } = World::with(base_with(erase)).permit(question).demands();
    assert_eq!((acknowledgement, outcome_before_complete), (Acknowledgement::Checkpointed, false));
}

#[test]
fn demands_that_mean_nothing_are_refused_with_place_and_suggestion() {
    let (name, text) = schema();
    let findings = PolicySet::load(
        (&name, &text),
        &[(
            "d.cedar",
            r#"@id("lowers") @acknowledgement("durable") permit (principal, action == Plant::Action::"read", resource);
@id("typing-error") @acknowledgement("witnesed") permit (principal, action == Plant::Action::"read", resource);
@id("off") @outcome_before_complete("false") permit (principal, action == Plant::Action::"read", resource);
@id("forbids") @acknowledgement("witnessed") forbid (principal, action == Plant::Action::"read", resource);
@id("known-of") @acknowledgement("witnessed") permit (principal, action == Plant::Action::"discover", resource);
@id("the-log") @outcome_before_complete("true") permit (principal, action == Plant::Action::"readAudit", resource);
@id("good") @acknowledgement("witnessed") permit (principal, action in Plant::Action::"dataplane", resource);
@id("good-too") @acknowledgement("checkpointed") permit (principal, action == Plant::Action::"eraseAudit", resource);
"#,
        )],
    );
    insta::assert_snapshot!(lines(&findings.err().unwrap()), @r#"
    d.cedar:1: policy `lowers`: `durable` is no value of `@acknowledgement`; help: use `checkpointed` or `witnessed`; a policy raises what the product demands and never lowers it
    d.cedar:2: policy `typing-error`: `witnesed` is no value of `@acknowledgement`; help: use `checkpointed` or `witnessed`; a policy raises what the product demands and never lowers it
    d.cedar:3: policy `off`: `false` is no value of `@outcome_before_complete`; help: use `true`; where the product demands it, no policy can lift it
    d.cedar:4: policy `forbids`: annotation `@acknowledgement` has no effect on a forbid; help: move it to the permit that lets the data out
    d.cedar:5: policy `known-of`: annotation `@acknowledgement` has no effect on a permit of this action; help: move it to the permit that lets the data out
    d.cedar:6: policy `the-log`: annotation `@outcome_before_complete` has no effect on a permit of this action; help: move it to a permit of the plant's data
    "#);
}

fn level() -> impl Strategy<Value = Acknowledgement> {
    prop::sample::select(Acknowledgement::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_was_demanded_is_demanded_again_from_the_record(
        product in level(),
        outcome in any::<bool>(),
        annotation in prop::sample::select(vec!["", CHECKPOINTED, WITNESSED, OUTCOME]),
    ) {
        let mut world = world(product, [annotation, ""]);
        world.plant.products.get_mut("machine-signals").unwrap().outcome_before_complete = outcome;
        let (entry, decision, known) = recorded(&world, anna());
        let tally = replay(&entry, &known, None);
        prop_assert_eq!(&tally.findings, &Vec::new(), "{}", String::from_utf8_lossy(&entry));
        prop_assert_eq!(tally.replayed, 1);
        let crate::Decision::Permit(permit) = decision else { panic!("{decision:?}") };
        prop_assert!(permit.demands().acknowledgement >= product, "never lowered");
        prop_assert!(permit.demands().outcome_before_complete >= outcome, "never lifted");
    }
}

#[test]
fn a_record_that_demands_less_than_was_decided_is_found() {
    let (entry, _, known) = recorded(&world(Acknowledgement::Witnessed, [OUTCOME, ""]), anna());
    let text = String::from_utf8(entry).unwrap();
    for (from, to) in [
        ("{\"acknowledgement\":\"witnessed\",\"action\"", "{\"action\""),
        ("{\"acknowledgement\":\"witnessed\",\"action\"", "{\"acknowledgement\":\"checkpointed\",\"action\""),
        ("\"outcome_before_complete\":true,\"policies\"", "\"policies\""),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        assert_eq!(replay(changed.as_bytes(), &known, None).findings_total, 1, "{from}");
    }
}

#[test]
fn entries_of_format_1_3_do_not_tell_it_and_are_decided_again_all_the_same() {
    let (entry, _, known) = recorded(&world(Acknowledgement::Witnessed, ["", ""]), anna());
    // As 1.3 wrote it: what the product demanded stood nowhere.
    let text = String::from_utf8(entry).unwrap();
    let older = text.replace("\"acknowledgement\":\"witnessed\",", "").replace("\"v\":\"1.4\"", "\"v\":\"1.3\"");
    assert!(older.len() < text.len() && !older.contains("witnessed"), "{older}");
    let tally = replay(older.as_bytes(), &known, None);
    assert_eq!((tally.replayed, tally.findings_total), (1, 0), "{tally:?}");
}

#[test]
fn a_candidate_that_demands_more_is_told() {
    let (entry, _, known) = recorded(&World::with(base()), anna());
    let candidate = base_with(&permits([WITNESSED, ""]));
    let tally = replay(&entry, &known, Some(candidate));
    let change = tally.changes.into_keys().next().unwrap().change;
    assert_eq!(change.direction, Direction::Reasons);
    assert!(change.said.as_ref().unwrap().1.contains("once witnessed"), "{change:?}");
}

#[test]
fn an_explanation_says_who_demands_what() {
    let snapshot = world(Acknowledgement::Checkpointed, [WITNESSED, ""]).snapshot();
    let explained = snapshot.explain(&anna()).unwrap();
    let demands = explained.demands.unwrap();
    assert_eq!((demands.acknowledgement, demands.product_acknowledgement), ("witnessed", "checkpointed"));
    let by: Vec<_> = explained.questions.iter().flat_map(|question| &question.by).collect();
    let raising: Vec<_> = by.iter().filter(|quoted| quoted.acknowledgement.is_some()).collect();
    assert!(raising.iter().all(|quoted| quoted.policy == "more-0") && !raising.is_empty(), "{by:?}");
    let denied = snapshot.explain(&AccessRequest { purpose: Some(id("curiosity")), ..anna() }).unwrap();
    assert!(denied.demands.is_none());
}
