//! What is unclear is denied.

use super::world::{DAY, World, agreement, anna, ask, base_with, id, now, reasons};
use model::party::Status;
use model::plant::Format;
use model::{AgreementId, Reason};

fn with_policy(text: &str) -> World {
    World::with(base_with(text))
}

#[test]
fn a_forbid_that_overflows_denies() {
    let world = with_policy(
        r#"@id("overflows") forbid (principal, action == Plant::Action::"readSeries", resource)
           when { context.shape.windowMs * 9223372036854775807 < 0 };"#,
    );
    let mut request = anna();
    request.shape.window_ms = 2;
    let denial = world.deny(request);
    assert_eq!(denial.reasons, [Reason::POLICY_ERROR]);
    assert_eq!(denial.errors, ["overflows"]);
    assert!(!denial.hidden);
    let mut harmless = anna();
    harmless.shape.window_ms = 0;
    let _ = world.permit(harmless);
}

#[test]
fn a_permit_that_fails_denies_too() {
    let world = with_policy(
        r#"@id("overflows") permit (principal, action == Plant::Action::"readSeries", resource)
           when { context.shape.windowMs * 9223372036854775807 < 0 };"#,
    );
    assert_eq!(world.deny(anna()).errors, ["overflows"]);
}

#[test]
fn a_failing_policy_denies_in_every_question() {
    let failing = "principal.clearance + 9223372036854775807 > 0";
    // Principals with a clearance above 0 overflow: ida has 2.
    for (action, hidden) in [("discover", true), ("read", false), ("reveal", false), ("seeRecord", false)] {
        let world = with_policy(&format!(
            r#"@id("fails") forbid (principal, action == Plant::Action::"{action}", resource) when {{ !({failing}) }};"#
        ));
        let denial = world.deny(ask("norden", "ida", "Dataset/inspections"));
        assert_eq!((denial.reasons.as_slice(), denial.hidden), ([Reason::POLICY_ERROR].as_slice(), hidden), "{action}");
        assert_eq!(denial.errors, ["fails"], "{action}");
    }
}

#[test]
fn an_agreement_that_makes_a_policy_fail_denies_even_where_another_permits() {
    let world = with_policy(
        r#"@id("fails") forbid (principal, action == Plant::Action::"readSeries", resource)
           when { context has agreement && context.agreement.rowsMax * 2000000000000 < 0 };"#,
    );
    let mut generous = agreement("acme-planning-2026", "acme", &["planning"], &["machine-signals"]);
    generous.rows_max = 9_000_000_000;
    let denial = world.add(generous).deny(anna());
    assert_eq!(denial.reasons, [Reason::POLICY_ERROR]);
}

#[test]
fn several_agreements_that_permit_must_be_told_apart() {
    let second = agreement("acme-service-2026", "acme", &["maintenance"], &["machine-signals"]);
    let world = World::new().add(second);
    let denial = world.deny(anna());
    assert_eq!(denial.reasons, [Reason::AGREEMENT_AMBIGUOUS]);
    assert_eq!(denial.agreements, [id("acme-maintenance-2026"), id::<AgreementId>("acme-service-2026")]);
    assert_eq!(
        denial.ask.as_deref(),
        Some("name one of `acme-maintenance-2026`, `acme-service-2026` in the header Millgate-Agreement")
    );
    let mut named = anna();
    named.agreement = Some(id("acme-service-2026"));
    assert_eq!(world.permit(named).agreement(), Some(&id("acme-service-2026")));
}

#[test]
fn of_several_agreements_the_one_that_permits_is_used() {
    let second = agreement("acme-planning-2026", "acme", &["planning"], &["machine-signals"]);
    let world = World::new().add(second);
    assert_eq!(world.permit(anna()).agreement(), Some(&id("acme-maintenance-2026")));
    let mut neither = anna();
    neither.purpose = Some(id("quality-analysis"));
    let denial = world.deny(neither);
    assert_eq!(reasons(&denial), ["purpose_not_agreed"]);
    assert_eq!(denial.agreement, None);
}

#[test]
fn the_owners_people_are_not_asked_which_agreement() {
    let within = |name| {
        let mut own = agreement(name, "norden", &["maintenance"], &["machine-signals"]);
        own.provider = id("norden");
        own
    };
    let world = World::new().add(within("norden-one")).add(within("norden-two"));
    let permit = world.permit(ask("norden", "ida", "Signal/press-3.force"));
    assert_eq!(permit.agreement(), None);
}

#[test]
fn an_agreement_out_of_force_never_allows_whatever_policies_say() {
    let world = World::new().agree(|a| a.not_after = now(), "acme-maintenance-2026");
    assert_eq!(reasons(&world.deny(anna())), ["agreement_expired"]);
    let world = with_policy(r#"@id("lax") permit (principal, action, resource) when { context has agreement };"#);
    let mut own = agreement("norden-own", "norden", &["maintenance"], &["machine-signals"]);
    own.status = Status::Retired;
    let world = world.add(own);
    let mut request = ask("norden", "karl", "Signal/press-3.force");
    assert_eq!(world.deny(request.clone()).reasons, [Reason::NOT_PERMITTED]);
    request.agreement = Some(id("norden-own"));
    assert_eq!(world.deny(request).reasons, [Reason::NOT_PERMITTED]);
}

#[test]
fn a_revocation_suspends_an_organisation_whatever_its_file_says() {
    let mut world = World::new();
    let _ = world.permit(anna());
    world.parties.revocations.organisations.insert(id("acme"));
    let denial = world.deny(anna());
    assert_eq!(denial.policies, ["organisation-suspended"]);
    assert_eq!(reasons(&denial), ["organisation_suspended"]);
}

#[test]
fn a_suspended_organisation_is_out_even_without_a_policy_that_says_so() {
    let (name, text) = super::world::schema();
    let files = [("lax.cedar", r#"@id("everybody") permit (principal, action, resource);"#)];
    let policies = crate::PolicySet::load((&name, &text), &files).unwrap();
    let mut world = World::with(std::sync::Arc::new(policies));
    let _ = world.permit(anna());
    world.parties.revocations.organisations.insert(id("acme"));
    assert_eq!(world.deny(anna()).reasons, [Reason::ORGANISATION_SUSPENDED]);
    assert_eq!(world.deny(ask("acme", "otto", "AuditScope/acme")).reasons, [Reason::ORGANISATION_SUSPENDED]);
}

#[test]
fn revoked_people_and_tokens_are_out_but_learn_nothing_new() {
    let mut by_person = World::new();
    by_person.parties.revocations.principals.insert((id("acme"), id("anna")));
    let mut by_token = World::new();
    by_token.parties.revocations.tokens.insert((id("acme-login"), String::from("token-of-anna")));
    for world in [by_person, by_token] {
        assert_eq!(world.deny(anna()).reasons, [Reason::REVOKED]);
        assert!(world.deny(ask("acme", "anna", "Signal/gripper-7.torque")).hidden);
        let _ = world.permit(ask("acme", "arno", "Signal/press-3.force"));
    }
}

#[test]
fn the_audit_log_is_closed_to_the_revoked_and_suspended() {
    let mut world = World::new();
    let _ = world.permit(ask("audax", "vera", "AuditScope/*"));
    world.parties.revocations.principals.insert((id("audax"), id("vera")));
    let denial = world.deny(ask("audax", "vera", "AuditScope/*"));
    assert_eq!((denial.reasons.as_slice(), denial.hidden), ([Reason::REVOKED].as_slice(), false));
    world.parties.revocations = Default::default();
    world.parties.revocations.organisations.insert(id("audax"));
    assert_eq!(reasons(&world.deny(ask("audax", "vera", "AuditScope/*"))), ["organisation_suspended"]);
}

#[test]
fn a_field_class_that_the_plant_does_not_know_is_hidden() {
    let mut world = World::new();
    let field = world.plant.datasets.get_mut("acme-parts").unwrap().fields.get_mut("verdict").unwrap();
    *field = id("unheard-of");
    let permit = world.permit(ask("norden", "ida", "Dataset/acme-parts"));
    assert_eq!(permit.classes_hidden(), [id("unheard-of")]);
    // Where fields cannot be hidden, nothing is shown.
    world.plant.datasets.get_mut("acme-parts").unwrap().format = Format::Opaque;
    let denial = world.deny(ask("norden", "ida", "Dataset/acme-parts"));
    assert_eq!(denial.reasons, [Reason::SHAPING_REQUIRED]);
    assert_eq!(denial.classes_hidden, [id("unheard-of")]);
}

#[test]
fn what_a_plant_lets_others_know_of_is_still_not_theirs() {
    let world = with_policy(r#"@id("open-house") permit (principal, action == Plant::Action::"discover", resource);"#);
    let mut request = ask("bolt", "bert", "Signal/press-3.force");
    request.purpose = Some(id("quality-analysis"));
    let denial = world.deny(request);
    assert!(!denial.hidden);
    assert_eq!(denial.policies, ["not-your-equipment"]);
    assert_eq!(denial.ask.as_deref(), Some("this data describes a machine or parts of another company"));
}

#[test]
fn what_is_hidden_explains_nothing() {
    let mut world = World::new();
    world.parties.revocations.organisations.insert(id("bolt"));
    let denial = world.deny(ask("bolt", "bert", "Signal/press-3.force"));
    assert!(denial.hidden);
    assert_eq!(denial.reasons, [Reason::NOT_FOUND]);
    assert_eq!((denial.ask, denial.agreement, denial.agreements.len()), (None, None, 0));
}

#[test]
fn an_agreement_of_seven_days_is_not_one_of_eight() {
    let world = World::new().agree(|a| a.window_max_ms = 7 * DAY, "acme-maintenance-2026");
    let mut request = anna();
    request.shape.window_ms = 8 * DAY;
    assert_eq!(
        world.deny(request).ask.as_deref(),
        Some("ask for a shorter time window; your agreement sets the longest")
    );
}

#[test]
fn what_may_be_discovered_is_what_is_not_hidden() {
    let mut world = World::new();
    world.parties.revocations.organisations.insert(id("bolt"));
    let snapshot = world.snapshot();
    for (organisation, subject) in [("norden", "newcomer"), ("acme", "anna"), ("bolt", "bert"), ("stranger", "sam")] {
        for resource in world.plant.signals.keys() {
            let request = ask(organisation, subject, &format!("Signal/{resource}"));
            let visible = snapshot.may_discover(&request.caller, &request.resource, None, request.now);
            let hidden = matches!(snapshot.decide(request, &[]), crate::Decision::Denied(d) if d.hidden);
            assert_eq!(visible, !hidden, "{organisation} {resource}");
        }
    }
}
