//! What may not stand in a `forbid`, and what of that may.

use super::world::{World, files, lines, schema};
use crate::{PolicySet, Snapshot};
use std::sync::Arc;

fn problems(effect: &str, action: &str, condition: &str) -> String {
    let (name, text) = schema();
    let policy = format!(
        "@id(\"gated\") {effect} (principal, action == Plant::Action::\"{action}\", resource)\nwhen {{ {condition} }};"
    );
    let mut all = files("base");
    all.push((String::from("extra.cedar"), policy));
    lines(&PolicySet::load((&name, &text), &all).err().unwrap_or_default())
}

#[test]
fn a_forbid_that_could_fail_is_refused_with_what_can_fail_in_it() {
    for (condition, what) in [
        ("context.shape.rows * 2 > 100", "arithmetic (`*`)"),
        ("principal.clearance + 1 > resource.governance.sensitivity", "arithmetic (`+`)"),
        ("10 < context.shape.rows - 1", "arithmetic (`-`)"),
        ("-context.shape.rows < 0", "arithmetic (`-`)"),
        ("if principal.registered then [1 + context.shape.rows].contains(3) else false", "arithmetic (`+`)"),
        ("9223372036854775807 + 1 > context.shape.rows", "arithmetic (`+`)"),
        ("context has agreement && context.now.offset(duration(\"1d\")) > context.agreement.notAfter", "`offset`"),
        ("context.now.durationSince(datetime(\"2026-01-01\")) > duration(\"1d\")", "`durationSince`"),
        ("context.now.toDate() == datetime(\"2026-01-01\")", "`toDate`"),
    ] {
        let expected =
            format!("extra.cedar:1: policy `gated`: {what} can fail, and a failing `forbid` denies everything");
        let found = problems("forbid", "readSeries", condition);
        assert!(found.starts_with(&expected) && found.lines().count() == 1, "{condition}: {found}");
        assert_eq!(problems("permit", "readSeries", condition), "", "{condition}");
    }
}

#[test]
fn a_forbid_may_reckon_with_literals_and_compare() {
    for condition in [
        "context.shape.resolutionMs < 60 * 1000",
        "context.shape.rows > -1 && context.shape.windowMs > 7 * 24 * (3600 + 0) * 1000",
        "context.now >= datetime(\"2026-01-01\") && context.now.toTime() < duration(\"17h\")",
        "principal.country like \"D*\" && ip(\"10.0.0.1\").isInRange(ip(\"10.0.0.0/8\"))",
        "{\"+\": 1, \"offset\": 2} == {\"+\": context.shape.rows, \"offset\": 2}",
    ] {
        assert_eq!(problems("forbid", "readSeries", condition), "", "{condition}");
    }
}

/// These are Cedar's own; they are kept from coming back with another release.
#[test]
fn what_is_read_is_always_there() {
    for (condition, what) in [
        ("ip(principal.country).isIpv4()", "extension constructors may not be called with non-literal expressions"),
        ("resource.governance.exportClass == Plant::ExportClass::\"dual-use\"", "unable to guarantee safety of access"),
        ("context.agreement.rowsMax < 3", "unable to guarantee safety of access"),
        ("resource.fieldClass.public", "this policy requires level 2"),
        (
            "Plant::Agreement::\"acme-maintenance-2026\".rowsMax < 3",
            "entity literals cannot be dereferenced at any level",
        ),
    ] {
        let found = problems("forbid", "readSeries", condition);
        assert!(found.contains(what), "{condition}: {found}");
    }
}

#[test]
fn an_annotation_stands_once() {
    let (name, text) = schema();
    let policy = "@id(\"one\")\n@title(\"a\")\n@title(\"b\")\npermit (principal, action, resource);";
    let found = lines(&PolicySet::load((&name, &text), &[("twice.cedar", policy)]).unwrap_err());
    insta::assert_snapshot!(found, @"twice.cedar:3: duplicate annotation: @title");
}

fn joined_under(change: impl Fn(&str) -> String) -> String {
    let (name, text) = schema();
    let changed = change(&text);
    assert_ne!(changed, text);
    let policies = PolicySet::load((&name, &changed), &files("base")).unwrap_or_else(|f| panic!("{}", lines(&f)));
    let World { plant, parties, .. } = World::new();
    let joined = Snapshot::new(Arc::new(policies), Arc::new(plant), Arc::new(parties), 1);
    lines(&joined.err().unwrap_or_default())
}

#[test]
fn a_schema_that_agreements_or_the_catalog_do_not_fit_is_refused() {
    let orphaned =
        joined_under(|text| text.replace("    rowsMax: Long,\n", "    rowsMax: Long,\n    signedBy: String,\n"));
    let disagree = joined_under(|text| {
        text.replace("    fieldClass: FieldClass,\n", "    fieldClass: FieldClass,\n    unit: String,\n")
    });
    let elsewhere =
        joined_under(|text| text.replace("entity WorkUnit in [WorkCenter, Area, ", "entity WorkUnit in [Area, "));
    insta::assert_snapshot!(format!("{orphaned}{disagree}{elsewhere}"), @r#"
    Plant::Agreement::"acme-maintenance-2026": expected entity `Plant::Agreement::"acme-maintenance-2026"` to have attribute `signedBy`, but it does not
    Plant::Agreement::"acme-old-press-2026": expected entity `Plant::Agreement::"acme-old-press-2026"` to have attribute `signedBy`, but it does not
    Plant::Agreement::"bolt-calendar-2026": expected entity `Plant::Agreement::"bolt-calendar-2026"` to have attribute `signedBy`, but it does not
    Plant::Agreement::"bolt-planning-2026": expected entity `Plant::Agreement::"bolt-planning-2026"` to have attribute `signedBy`, but it does not
    Plant::Agreement::"bolt-quality-2026": expected entity `Plant::Agreement::"bolt-quality-2026"` to have attribute `signedBy`, but it does not
    Plant::Agreement::"dorn-quality-2026": expected entity `Plant::Agreement::"dorn-quality-2026"` to have attribute `signedBy`, but it does not
    signal `gripper-7.torque`: expected entity `Plant::Signal::"gripper-7.torque"` to have attribute `unit`, but it does not
    signal `hall.temperature`: expected entity `Plant::Signal::"hall.temperature"` to have attribute `unit`, but it does not
    signal `press-1.force`: expected entity `Plant::Signal::"press-1.force"` to have attribute `unit`, but it does not
    signal `press-3.force`: expected entity `Plant::Signal::"press-3.force"` to have attribute `unit`, but it does not
    signal `press-9.force`: expected entity `Plant::Signal::"press-9.force"` to have attribute `unit`, but it does not
    equipment `press-3`: `Plant::WorkUnit::"press-3"` is not allowed to have an ancestor of type `Plant::WorkCenter` according to the schema
    "#);
}

#[test]
fn one_mistake_among_thousands_of_policies_is_found() {
    let policy = |n: usize| {
        format!(
            "@id(\"p{n}\") permit (principal, action == Plant::Action::\"readAudit\", resource) when {{ principal.clearance > {n} }};\n"
        )
    };
    let mut text: String = (0..3_000).map(policy).collect();
    text.push_str("@id(\"p7\") forbid (principal, action == Plant::Action::\"readAudit\", resource) when { principal.clearance + 1 > 2 };");
    let (name, schema) = schema();
    let found = lines(&PolicySet::load((&name, &schema), &[("many.cedar", text)]).unwrap_err());
    assert_eq!(found, "many.cedar:3001: policy `p7`: the id is used twice, first in many.cedar:8\n");
}

#[test]
fn the_base_policies_and_the_examples_of_the_readme_pass() {
    let readme = include_str!("../../../../policies/README.md");
    let examples: Vec<&str> = readme.split("```cedar\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    let (name, text) = schema();
    let mut all = files("base");
    all.extend(examples.iter().enumerate().map(|(n, text)| (format!("readme-{n}.cedar"), (*text).to_owned())));
    let found = PolicySet::load((&name, &text), &all).err().unwrap_or_default();
    assert_eq!(lines(&found), "");
}
