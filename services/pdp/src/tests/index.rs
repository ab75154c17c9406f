//! The index answers as all policies do, and whoever breaks it is found out.

use super::world::{World, anna, ask, base_with, schema};
use crate::generated::{Dice, Report, compare, compare_in};
use crate::{Decision, PolicySet};
use std::sync::Arc;

/// Sets of 10 to 500 policies, most of them small.
fn decisions(seeds: std::ops::Range<u64>, each: usize) -> Report {
    let (name, text) = schema();
    let mut report = Report::default();
    for seed in seeds {
        let policies = 10 << Dice::new(seed).below(5);
        let policies = if seed.is_multiple_of(25) { 500 } else { policies };
        report.add(compare((&name, &text), seed, policies, each).unwrap());
    }
    report
}

fn alike(report: &Report) {
    assert_eq!(report.differences, Vec::<String>::new());
    // Nothing would be shown by questions that nobody answers.
    let enough = report.decisions / 50;
    assert!(report.allowed > enough && report.forbidden > enough && report.failed > enough, "{report:?}");
}

#[test]
fn five_thousand_generated_decisions_are_those_of_all_policies() {
    let report = decisions(0..50, 100);
    assert_eq!(report.decisions, 5_000);
    alike(&report);
}

#[test]
fn another_five_thousand_are_too() {
    let report = decisions(1_000..1_050, 100);
    assert_eq!(report.decisions, 5_000);
    alike(&report);
}

/// The comparison is worth something: it notices each kind of policy that the index loses.
#[test]
fn an_index_that_loses_a_policy_is_found_out() {
    let (name, text) = schema();
    for (lost, policy) in [
        ("equal", r#"forbid (principal == Plant::User::"n1", action, resource)"#),
        ("in", r#"permit (principal in Plant::Role::"n1", action, resource)"#),
        ("is", r#"permit (principal, action, resource is Plant::Signal)"#),
        ("is-in", r#"forbid (principal, action, resource is Plant::Signal in Plant::Source::"n2")"#),
        ("any", r#"permit (principal, action == Plant::Action::"read", resource)"#),
        ("fails", r#"permit (principal, action, resource) when { principal.nothing == 1 }"#),
    ] {
        let policies = format!("@id(\"{lost}\") {policy};");
        let mut set = PolicySet::unchecked((&name, &text), &policies).unwrap();
        assert_eq!(compare_in(&set, &mut Dice::new(7), 500).unwrap().differences.len(), 0, "{lost}");
        set.index.as_mut().unwrap().forget(lost);
        assert!(!compare_in(&set, &mut Dice::new(7), 500).unwrap().differences.is_empty(), "{lost}");
    }
}

#[test]
fn a_question_looks_at_policies_whose_scope_matches_and_no_others() {
    let policies = base_with(
        r#"
@id("hers") permit (principal == Plant::User::"norden/ida", action, resource);
@id("his") permit (principal == Plant::User::"norden/karl", action, resource);
"#,
    );
    let snapshot = World::with(policies).snapshot();
    let Decision::Permit(permit) = snapshot.decide(ask("norden", "ida", "Dataset/recipes"), &[]) else { panic!() };
    assert!(permit.policies().iter().any(|id| id == "hers"));
    assert!(!permit.policies().iter().any(|id| id == "his"));
}

#[test]
fn the_decision_by_all_policies_is_the_same() {
    let snapshot = World::new().snapshot();
    for request in [anna(), ask("norden", "ida", "Dataset/inspections"), ask("bolt", "mole", "Signal/press-3.force")] {
        let (fast, slow) = (snapshot.decide_anew(request.clone(), &["p"]), snapshot.decide_by_scan(request, &["p"]));
        assert_eq!(format!("{fast:?}"), format!("{slow:?}"));
    }
}

#[test]
fn a_running_snapshot_notices_a_broken_index_and_does_without_it() {
    let lost = r#"@id("closed") forbid (principal, action == Plant::Action::"readSeries", resource);"#;
    let mut policies = Arc::into_inner(base_with(lost)).unwrap();
    policies.index.as_mut().unwrap().forget("closed");
    let snapshot = World::with(Arc::new(policies)).snapshot();
    // The damage is real: the first question is `discover`, the second would be answered wrongly.
    assert!(snapshot.decide_anew(anna(), &["p"]).is_permit());
    assert_eq!((snapshot.take_alarm(), snapshot.questions_checked()), (None, 0));
    let ask = |snapshot: &crate::Snapshot| match snapshot.decide_anew(anna(), &["p"]) {
        Decision::Permit(permit) => panic!("{permit:?}"),
        Decision::Denied(denial) => denial.policies,
    };
    snapshot.watch.due_after(1);
    assert_eq!(ask(&snapshot), ["closed"]);
    let alarm = snapshot.take_alarm().unwrap();
    assert!(alarm.contains("press-3.force") && alarm.contains("closed") && !alarm.contains("anna"), "{alarm}");
    assert_eq!(ask(&snapshot), ["closed"], "and from then on");
    assert_eq!((snapshot.take_alarm(), snapshot.questions_checked()), (None, 1), "told once");
}

#[test]
fn a_sound_index_raises_no_alarm() {
    let snapshot = World::new().snapshot();
    for _ in 0..3 {
        snapshot.watch.due_after(0);
        assert!(snapshot.decide_anew(anna(), &["p"]).is_permit());
    }
    assert_eq!((snapshot.take_alarm(), snapshot.questions_checked()), (None, 3));
}
