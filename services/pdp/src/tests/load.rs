//! What a set must be before anybody is decided for by it.

use super::world::{World, ask, base, base_with, files, id, lines, plant, schema};
use crate::{Decision, Finding, PolicySet, Snapshot};
use cedar_policy::{Entities, Schema};
use model::plant::Level;
use model::{AccessRequest, Action, Digest, Reason};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn load(files: &[(&str, &str)]) -> Vec<Finding> {
    let (name, text) = schema();
    PolicySet::load((&name, &text), files).err().unwrap_or_default()
}

fn with_schema(change: impl Fn(&str) -> String) -> Vec<Finding> {
    let (name, text) = schema();
    let changed = change(&text);
    assert_ne!(changed, text);
    PolicySet::load((&name, &changed), &files("base")).err().unwrap_or_default()
}

fn joined(world: &World) -> Vec<Finding> {
    let World { policies, plant, parties } = world.clone();
    Snapshot::new(policies, Arc::new(plant), Arc::new(parties), 1).err().unwrap_or_default()
}

#[test]
fn the_schema_and_the_code_know_the_same_actions() {
    let (schema, _) = Schema::from_cedarschema_str(&schema().1).unwrap();
    let groups: BTreeSet<_> = schema.action_groups().cloned().collect();
    let declared: BTreeSet<_> = schema.actions().filter(|a| !groups.contains(a)).map(|a| a.to_string()).collect();
    let ours: BTreeSet<_> = Action::ALL.map(|a| format!("Plant::Action::\"{}\"", a.as_str())).into();
    assert_eq!(declared, ours);
}

#[test]
fn a_schema_that_knows_more_or_less_is_refused() {
    let renamed = with_schema(|text| text.replace("action readAudit ", "action readLog "));
    insta::assert_snapshot!(lines(&renamed), @r#"
    schema/plant.cedarschema: the schema declares action `readLog`, which the broker does not know
    schema/plant.cedarschema: the schema lacks action `readAudit`
    "#);
    let reshaped = with_schema(|text| text.replace("    rows: Long,\n", "    rows: String,\n"));
    insta::assert_snapshot!(lines(&reshaped), @r#"
    schema/plant.cedarschema: the broker asks `readSeries` in another way than declared: context `{caller: {assurance: 0, binding: "none", delegated: false, issuer: "i", method: "jwt", .. }, now: datetime("1970-01-01T00:00:00.000Z"), shape: {ageDays: 0, resolutionMs: 0, rows: 0, windowMs: 0}}` is not valid for `Plant::Action::"readSeries"`
    schema/plant.cedarschema: the broker asks `read` in another way than declared: context `{caller: {assurance: 0, binding: "none", delegated: false, issuer: "i", method: "jwt", .. }, now: datetime("1970-01-01T00:00:00.000Z"), shape: {ageDays: 0, resolutionMs: 0, rows: 0, windowMs: 0}}` is not valid for `Plant::Action::"read"`
    "#);
}

/// Decisions of before it was there are made again under the schema of their time, and a plant may have a schema of its own.
#[test]
fn under_a_schema_from_before_erasures_nobody_erases() {
    let (name, text) = schema();
    let (before, behind) = text.split_once("  // May the caller ask that personal values").unwrap();
    let (_, behind) = behind.split_once("  };").unwrap();
    let older = format!("{before}{behind}");
    let policies = [("a.cedar", "@id(\"all\") permit (principal, action, resource);")];
    let set = PolicySet::load((&name, &older), &policies).unwrap();
    let mut world = World::new();
    world.policies = Arc::new(set);
    let erase = AccessRequest { action: Action::EraseAudit, ..ask("norden", "petra", "AuditScope/acme") };
    let read = ask("norden", "petra", "AuditScope/acme");
    let snapshot = world.snapshot();
    assert!(matches!(snapshot.decide(read, &["-"]), Decision::Permit(_)));
    let Decision::Denied(denial) = snapshot.decide(erase, &["-"]) else { panic!("it was permitted") };
    assert_eq!(denial.reasons, [Reason::NOT_PERMITTED]);
}

#[test]
fn a_schema_that_does_not_parse_is_refused() {
    // The parser notices at the next declaration.
    let broken = with_schema(|text| text.replace("entity Role;", "entity Role"));
    assert_eq!(broken.first().and_then(|f| f.line), Some(9), "{}", lines(&broken));
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let findings = load(&[
        ("a.cedar", "@id(\"good\")\npermit (principal, action, resource);\n\npermit (principal, action resource);\n"),
        (
            "b.cedar",
            r#"
permit (principal, action, resource);

@id("twice") permit (principal, action, resource);
@id("twice") forbid (principal, action, resource);
@id("Loud Name") forbid (principal, action, resource);
@id("typing-error") @reson("x") forbid (principal, action, resource);
@id("sentence") @reason("Not like this") forbid (principal, action, resource);
@id("no-effect") @ask("why") permit (principal, action, resource);
@id("empty") @title("") permit (principal, action, resource);
@id("template") permit (principal == ?principal, action, resource);
"#,
        ),
        (
            "c.cedar",
            r#"@id("in-a-string")
forbid (principal, action, resource)
when { principal.country in "DE" };

@id("optional-without-has")
forbid (principal, action == Plant::Action::"read", resource)
when {
  resource.governance.sensitivity > 1 &&
  resource.governance.supplier == principal.organisation
};

@id("two-levels")
permit (principal, action == Plant::Action::"readSeries", resource)
when { resource.fieldClass.public };

@id("never-true")
permit (principal, action == Plant::Action::"readSeries", resource is Plant::Dataset);

@id("unknown-action")
permit (principal, action == Plant::Action::"write", resource);

@id("unknown-type")
permit (principal is Plant::Robot, action, resource);

@id("unknown-attribute")
permit (principal, action, resource)
when { principal.colour == "red" };
"#,
        ),
    ]);
    insta::assert_snapshot!(lines(&findings), @r#"
    a.cedar:4: unexpected token `resource`: expected `!=`, `)`, `,`, `:`, `<`, `<=`, `==`, `>`, `>=`, `in`, or `is`
    b.cedar:2: policy without `@id`; help: begin it with `@id("what-it-does")`
    b.cedar:5: policy `twice`: the id is used twice, first in b.cedar:4
    b.cedar:6: policy `Loud Name`: not a valid id: use 1 to 64 of a-z, 0-9 and `-`, beginning with a letter
    b.cedar:7: policy `typing-error`: annotation `@reson` has no meaning; help: use one of `@id`, `@reason`, `@title`, `@ask`, `@acknowledgement`, `@outcome_before_complete`
    b.cedar:8: policy `sentence`: `Not like this` is not a reason code; help: use 1 to 48 of a-z, 0-9 and `_`, beginning with a letter
    b.cedar:9: policy `no-effect`: annotation `@ask` has no effect on a permit; help: move it to a forbid that says what was missing
    b.cedar:10: policy `empty`: annotation `@title` is empty; help: say something, or leave it out
    b.cedar:11: templates are not used; help: write one generic policy and keep what differs on the agreement
    c.cedar:3: policy `in-a-string`: unexpected type: expected Set<entity>, or entity but saw String; help: try using `like` to examine the contents of a string
    c.cedar:3: policy `in-a-string`: unexpected type: expected entity but saw String; help: try using `contains`, `containsAny`, or `containsAll` to examine the contents of a set
    c.cedar:9: policy `optional-without-has`: unable to guarantee safety of access to optional attribute `governance.supplier` on entity type `Plant::Dataset`; help: try testing for the attribute's presence with `e.governance has supplier && ..`
    c.cedar:14: policy `two-levels`: this policy requires level 2, which exceeds the maximum allowed level (1)
    c.cedar:16: policy `never-true`: policy is impossible: the policy expression evaluates to false for all valid requests
    c.cedar:16: policy `never-true`: unable to find an applicable action given the policy scope constraints
    c.cedar:20: policy `unknown-action`: unrecognized action `Plant::Action::"write"`; help: did you mean `Plant::Action::"read"`?
    c.cedar:23: policy `unknown-type`: unrecognized entity type `Plant::Robot`; help: did you mean `Plant::Role`?
    c.cedar:27: policy `unknown-attribute`: attribute `colour` on entity type `Plant::Service` not found; help: did you mean `country`?
    c.cedar:27: policy `unknown-attribute`: attribute `colour` on entity type `Plant::User` not found; help: did you mean `country`?
    "#);
}

#[test]
fn the_example_in_the_readme_is_good() {
    let readme = include_str!("../../../../policies/README.md");
    let example = readme.split("```cedar\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(base_with(example).len(), base().len() + 2);
}

#[test]
fn findings_are_capped() {
    let text: String =
        (0..300).map(|n| format!("@id(\"p{n}\") @colour(\"red\") permit (principal, action, resource);")).collect();
    let findings = load(&[("many.cedar", &text)]);
    assert_eq!(findings.len(), 101);
    assert_eq!(findings.last().map(ToString::to_string).as_deref(), Some("200 more findings are not shown"));
}

#[test]
fn names_of_nothing_in_policies_are_refused() {
    let policies = base_with(
        r#"
@id("role") permit (principal in Plant::Role::"plant-analitics", action == Plant::Action::"read", resource);
@id("things") permit (principal, action == Plant::Action::"read", resource in Plant::Site::"munch")
when { context has purpose && context.purpose == Plant::Purpose::"maintenence" };
@id("who") forbid (principal in Plant::Organisation::"akme", action == Plant::Action::"read", resource);
@id("person") forbid (principal == Plant::User::"norden/idda", action == Plant::Action::"read", resource);
@id("class") forbid (principal, action == Plant::Action::"reveal", resource in Plant::FieldClass::"personnel");
"#,
    );
    insta::assert_snapshot!(lines(&joined(&World::with(policies))), @r#"
    extra.cedar:2: policy `role`: `Plant::Role::"plant-analitics"` does not exist, so this policy never applies to it; help: did you mean `Plant::Role::"plant-analytics"`?
    extra.cedar:3: policy `things`: `Plant::Purpose::"maintenence"` does not exist, so this policy never applies to it; help: did you mean `Plant::Purpose::"maintenance"`?
    extra.cedar:3: policy `things`: `Plant::Site::"munch"` does not exist, so this policy never applies to it; help: did you mean `Plant::Site::"munich"`?
    extra.cedar:5: policy `who`: `Plant::Organisation::"akme"` does not exist, so this policy never applies to it; help: did you mean `Plant::Organisation::"acme"`?
    extra.cedar:6: policy `person`: `Plant::User::"norden/idda"` does not exist, so this policy never applies to it; help: did you mean `Plant::User::"norden/ida"`?
    extra.cedar:7: policy `class`: `Plant::FieldClass::"personnel"` does not exist, so this policy never applies to it; help: did you mean `Plant::FieldClass::"personal"`?
    "#);
}

#[test]
fn a_plant_that_does_not_hang_together_is_refused() {
    let mut world = World::new();
    world.plant.signals.get_mut("press-3.force").unwrap().product = id("nothing");
    world.plant.datasets.get_mut("recipes").unwrap().equipment = id("nowhere");
    insta::assert_snapshot!(lines(&joined(&world)), @r#"
    dataset `recipes`: equipment `nowhere` does not exist
    signal `press-3.force`: data product `nothing` does not exist
    "#);
    let mut world = World::new();
    world.plant.equipment.get_mut("munich").unwrap().level = Level::Equipment;
    assert!(lines(&joined(&world)).contains("according to the schema"), "{}", lines(&joined(&world)));
    let mut world = World::new();
    world.plant.field_classes.get_mut("process").unwrap().parent = Some(id("process.recipe"));
    assert!(!joined(&world).is_empty());
}

#[test]
fn numbers_that_the_log_cannot_hold_are_refused() {
    let world = World::new().agree(|a| a.rows_max = i64::MAX, "acme-maintenance-2026");
    insta::assert_snapshot!(lines(&joined(&world)), @r#"
    Plant::Agreement::"acme-maintenance-2026": `9223372036854775807` is beyond 2^53 - 1, the largest number that every reader of the log can hold
    "#);
}

#[test]
fn digests_name_contents_whatever_the_order_of_files() {
    let (name, text) = schema();
    let set = |files: &[(String, String)]| PolicySet::load((&name, &text), files).unwrap();
    let mut shuffled = files("base");
    shuffled.reverse();
    assert_eq!(set(&shuffled).policies(), set(&files("base")).policies());
    let mut changed = files("base");
    changed[0].1.push('\n');
    assert_ne!(set(&changed).policies().digest, set(&shuffled).policies().digest);
    assert_eq!(set(&changed).schema().bytes, text.as_bytes().into());
    for content in [set(&changed).policies(), set(&changed).schema()] {
        assert_eq!(content.digest, Digest::of(&content.bytes));
    }
    assert!(model::canonical::parse(&set(&changed).policies().bytes).is_ok());
}

/// The store that questions start from holds the action groups, or `action in` would never match.
#[test]
fn actions_are_in_their_groups() {
    let set = base();
    let group: cedar_policy::EntityUid = "Plant::Action::\"dataplane\"".parse().unwrap();
    let within = |actions: &Entities, a: Action| actions.is_ancestor_of(&group, set.names.actions.get(&a).unwrap());
    assert!(within(&set.actions, Action::Read) && within(&set.actions, Action::ReadSeries));
    assert!(!within(&set.actions, Action::Discover));
}

#[test]
fn an_empty_set_permits_nothing_and_hides_everything() {
    let (name, text) = schema();
    let none: [(&str, &str); 0] = [];
    let world = World { policies: Arc::new(PolicySet::load((&name, &text), &none).unwrap()), ..World::new() };
    assert!(world.policies.is_empty());
    for resource in plant().signals.keys() {
        assert!(world.deny(ask("norden", "ida", &format!("Signal/{resource}"))).hidden);
    }
}

/// What a set is, as far as it can be said.
fn said(loaded: &Result<PolicySet, Vec<Finding>>) -> Result<String, String> {
    let set = loaded.as_ref().map_err(|findings| lines(findings))?;
    let policies: Vec<String> = set.all.policies().map(|p| format!("{} {p}", p.id())).collect();
    let digests = (set.policies().digest, set.schema().digest);
    Ok(format!("{policies:?} {:?} {:?} {:?} {digests:?}", set.notes, set.literals, set.uses_of_time))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// A file that was good is not looked at again, and nothing else is forgotten.
    #[test]
    fn a_set_that_follows_on_another_is_what_it_would_be_by_itself(
        steps in vec(vec((0..4_usize, 0..TEXTS.len()), 0..5), 1..6),
        other_schema in 0..6_usize,
    ) {
        let (name, text) = schema();
        let changed = format!("{text}\n// another\n");
        let mut before: Option<PolicySet> = None;
        for (step, chosen) in steps.into_iter().enumerate() {
            let schema = (name.as_str(), if step == other_schema { &*changed } else { &*text });
            let names = ["a.cedar", "b.cedar", "c.cedar", "d.cedar"];
            let set: BTreeMap<&str, &str> = chosen.into_iter().map(|(file, text)| (names[file], TEXTS[text])).collect();
            let set: Vec<(&str, &str)> = set.into_iter().collect();
            let alone = PolicySet::load(schema, &set);
            if let Some(before) = &before {
                prop_assert_eq!(said(&before.load_next(schema, &set)), said(&alone));
            }
            before = alone.ok().or(before);
        }
    }
}

/// Good and bad, with ids that meet.
const TEXTS: [&str; 9] = [
    "",
    r#"@id("one") permit (principal, action == Plant::Action::"read", resource);"#,
    "\n\n@id(\"one\") permit (principal, action == Plant::Action::\"read\", resource);",
    r#"@id("two") @reason("x") forbid (principal, action, resource) when { context.now < datetime("2020-01-01") };"#,
    r#"@id("three") permit (principal in Plant::Role::"r", action, resource); @id("one") permit (principal, action, resource);"#,
    r#"@id("four") permit (principal == Plant::Organisation::"o", action, resource);"#,
    r#"@id("five") forbid (principal, action, resource) when { principal.clearance + 1 > 2 };"#,
    r#"@id("six") permit (principal, action, resource) when { principal.colour == "red" };"#,
    r#"@id("seven") permit (principal, action, resource"#,
];

/// The schema decides whether a policy is good.
#[test]
fn under_another_schema_every_policy_is_looked_at_again() {
    let (name, text) = schema();
    let set = PolicySet::load((&name, &text), &files("base")).unwrap();
    let changed = text.replace("clearance", "trust");
    assert_ne!(changed, text);
    let findings = set.load_next((&name, &changed), &files("base")).unwrap_err();
    assert!(lines(&findings).contains("clearance"), "{}", lines(&findings));
}

/// Replay loads sets that would not be let in any longer; what was not checked must not pass as checked.
#[test]
fn what_was_let_in_for_replay_is_checked_when_it_is_to_be_used() {
    let (name, text) = schema();
    let failing = [("a.cedar", TEXTS[6])];
    let recorded = PolicySet::load_recorded((&name, &text), &failing).unwrap();
    let findings = recorded.load_next((&name, &text), &failing).unwrap_err();
    assert!(lines(&findings).contains("can fail"), "{}", lines(&findings));
}
