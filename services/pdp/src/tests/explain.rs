//! Conditions as they are quoted, and that what is said of them is what Cedar says.

use super::world::{World, anna, ask, base_with, files, id, now};
use crate::cases::Case;
use crate::clauses::{self, Standing};
use crate::explain::{Answered, ConditionCoverage};
use crate::questions::Questions;
use cedar_policy::{Authorizer, PolicySet};
use std::collections::BTreeMap;

fn quoted(text: &str) -> Vec<(String, usize)> {
    let policies = base_with(text);
    let policy = policies.all.policies().find(|policy| policy.annotation("id") == Some("quoted")).unwrap();
    let clauses = clauses::of(policy, policies.notes.get("quoted").unwrap());
    clauses.into_iter().map(|clause| (clause.text, clause.line)).collect()
}

#[test]
fn conditions_are_parted_and_quoted_with_their_lines() {
    let found = quoted(
        r#"// A comment with when { a && b }
@id("quoted")
@title("unless { this && that } \" when {")
permit (
  principal in Plant::Role::"auditor", // who
  action in Plant::Action::"dataplane",
  resource
)
when {
  // Under an agreement && for something,
  context has agreement && context has purpose &&
  (context.agreement.status == "active" || principal.country == "a && b") &&
  principal.country != "//"
}
unless {
  principal.clearance < 1 ||
  [1, 2].contains(principal.clearance) && principal.registered
}
when { if principal.registered && context has agreement then principal.clearance > 0 && true else false };
"#,
    );
    let found: Vec<String> = found.iter().map(|(text, line)| format!("{line}: {text}")).collect();
    assert_eq!(
        found,
        [
            "2: principal in Plant::Role::\"auditor\"",
            "11: context has agreement",
            "11: context has purpose",
            "12: (context.agreement.status == \"active\" || principal.country == \"a && b\")",
            "13: principal.country != \"//\"",
            "16: unless principal.clearance < 1",
            "17: unless [1, 2].contains(principal.clearance) && principal.registered",
            "19: if principal.registered && context has agreement then principal.clearance > 0 && true else false",
        ]
    );
    // Where the text does not tell the parts, the whole counts.
    assert_eq!(
        quoted(
            "@id(\"quoted\") permit (principal, action == Plant::Action::\"readAudit\", resource) when { principal.clearance > 1 || context has agreement && principal.registered };"
        ),
        [(String::from("principal.clearance > 1 || context has agreement && principal.registered"), 1)]
    );
}

/// The conditions of every policy, evaluated one by one, come to what Cedar's own authorizer says of the policy alone.
#[test]
fn conditions_one_by_one_come_to_what_cedar_says() {
    let world = World::with(base_with(
        r#"@id("fails") permit (principal, action == Plant::Action::"readSeries", resource)
           when { principal.organisation == resource.governance.owner && principal.clearance + 9223372036854775807 > 0 };"#,
    ));
    let snapshot = world.snapshot();
    let conditions: BTreeMap<String, _> = world
        .policies
        .all
        .policies()
        .map(|policy| (policy.id().to_string(), clauses::of(policy, &world.policies.notes[&policy.id().to_string()])))
        .collect();
    let mut seen = [0; 3];
    for (file, text) in files("cases") {
        for case in Case::read(&text).unwrap() {
            let request = case.request.request(&world.parties, now()).unwrap();
            let decision = snapshot.decide(request.clone(), &[]);
            let questions = Questions::of(&snapshot, &request, &decision).unwrap();
            for asked in &questions.asked {
                for policy in world.policies.all.policies().filter(|policy| world.policies.admits(policy, asked.action))
                {
                    let clauses = &conditions[&policy.id().to_string()];
                    let alone = PolicySet::from_policies([policy.clone()]).unwrap();
                    let response = Authorizer::new().is_authorized(&asked.request, &alone, &questions.entities);
                    let applies = response.diagnostics().reason().next().is_some();
                    let fails = response.diagnostics().errors().next().is_some();
                    let standing = clauses::standing(clauses, &asked.request, &questions.entities);
                    let (expected, n) = match standing {
                        Standing::Applies => ((true, false), 0),
                        Standing::Stopped { .. } => ((false, false), 1),
                        Standing::Failed { .. } => ((false, true), 2),
                    };
                    assert_eq!((applies, fails), expected, "{file}: {}: {} {standing:?}", case.title, policy.id());
                    seen[n] += 1;
                }
            }
        }
    }
    assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
}

/// The questions that are explained are those that were decided.
#[test]
fn the_questions_behind_a_decision_come_to_the_decision() {
    let world = World::new();
    let snapshot = world.snapshot();
    for (file, text) in files("cases") {
        for case in Case::read(&text).unwrap() {
            let explanation = snapshot.explain(&case.request.request(&world.parties, now()).unwrap()).unwrap();
            assert_eq!(explanation.decided, case.expect, "{file}: {}", case.title);
            let by = explanation.questions.iter().filter(|q| q.allowed).flat_map(|q| &q.by);
            let mut by: Vec<&str> = by.map(|quoted| quoted.policy.as_str()).collect();
            by.sort_unstable();
            by.dedup();
            if explanation.decided.decision == "permit" {
                assert_eq!(by, explanation.decided.policies, "{file}: {}", case.title);
            } else {
                let refused = explanation.questions.iter().filter(|q| !q.allowed).flat_map(|q| &q.by);
                let refused: Vec<&str> = refused.map(|quoted| quoted.policy.as_str()).collect();
                let named = explanation.decided.policies.iter().all(|id| refused.contains(&id.as_str()));
                assert!(named, "{file}: {}: {refused:?}", case.title);
            }
        }
    }
}

fn lines(answered: &Answered) -> Vec<String> {
    let by = answered.by.iter().map(|quoted| format!("by {}:{} {}", quoted.file, quoted.line, quoted.policy));
    let missing = answered.missing.iter().map(|quoted| {
        let condition = quoted.condition.as_deref().unwrap_or_default();
        format!("{}:{} {}: {condition} {:?}", quoted.file, quoted.line, quoted.policy, quoted.also)
    });
    by.chain(missing).collect()
}

#[test]
fn a_refusal_names_the_condition_of_each_permit_that_is_not_so() {
    let mut request = anna();
    request.purpose = Some(id("quality-analysis"));
    let explanation = World::new().snapshot().explain(&request).unwrap();
    let under: Vec<&Answered> = explanation.questions.iter().filter(|q| q.agreement.is_some()).collect();
    let [one] = under.as_slice() else { panic!("{under:?}") };
    insta::assert_snapshot!(lines(one).join("\n"), @r#"
    by base/refusals.cedar:75 purpose-not-agreed
    base/internal.cedar:11 analytics-reads: principal in Plant::Role::"plant-analytics" ["principal.organisation == resource.governance.owner"]
    base/agreement.cedar:34 read-series-under-agreement: context.agreement.purposes.contains(context.purpose) []
    base/internal.cedar:7 steward-reads: principal.organisation == resource.governance.owner ["principal in resource.governance.steward"]
    "#);
}

#[test]
fn what_is_hidden_is_explained_by_the_questions_of_discovery() {
    let explanation = World::new().snapshot().explain(&ask("bolt", "bert", "Signal/press-3.force")).unwrap();
    assert_eq!((explanation.decided.decision.as_str(), explanation.ask.as_deref()), ("hidden", None));
    assert!(explanation.questions.iter().all(|q| q.action == "discover" && !q.allowed));
    let nowhere = World::new().snapshot().explain(&ask("stranger", "sam", "Signal/press-3.force")).unwrap();
    assert_eq!(nowhere.questions, []);
}

#[test]
fn a_condition_counts_where_it_alone_decides() {
    let policies = base_with(
        r#"@id("counted") permit (principal, action == Plant::Action::"readAudit", resource)
           when { principal.registered && principal.clearance > 1 && principal.country == "XX" };"#,
    );
    let world = World::with(policies);
    let snapshot = world.snapshot();
    let mut coverage = ConditionCoverage::new(&snapshot);
    // Somebody unknown stops at the first, ida with a clearance of 2 at the last.
    coverage.count(&ask("norden", "newcomer", "AuditScope/norden")).unwrap();
    coverage.count(&ask("norden", "ida", "AuditScope/norden")).unwrap();
    let found: Vec<_> = coverage.finish().into_iter().filter(|tried| tried.policy == "counted").collect();
    let counts: Vec<_> = found.iter().map(|tried| (tried.condition.as_str(), tried.decisive)).collect();
    assert_eq!(
        counts,
        [("principal.registered", 1), ("principal.clearance > 1", 0), ("principal.country == \"XX\"", 1)]
    );
}
