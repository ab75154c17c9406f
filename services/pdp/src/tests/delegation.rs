//! Who acts for somebody can take away and never add; how a caller proved itself; roles from tokens.

use super::world::{REFERENCES, World, actor, agreement, anna, ask, base_with, by, folder, id, ids, reasons, through};
use crate::decision::Decision;
use cedar_policy::Entities;
use model::{AccessRequest, Actor, Binding, OrganisationId, PurposeId, Reason};
use proptest::prelude::*;

/// Another supplier that acme has work for it: its machines are not known to it, but acme's calendar is.
fn calendar(organisation: &str) -> AccessRequest {
    let mut request = ask(organisation, "anna", "Signal/hall.temperature");
    request.purpose = Some(id("planning"));
    request
}

/// acme has an agreement for the calendar too, as bolt has.
fn two_parties() -> World {
    World::new().add(agreement("acme-planning-2026", "acme", &["planning"], &["plant-calendar"]))
}

// === the subject and every actor

#[test]
fn an_actor_of_the_same_organisation_acts_under_the_same_agreement() {
    let permit = World::new().permit(through(anna(), &[actor("acme", "agent")]));
    assert_eq!(permit.agreement(), Some(&id("acme-maintenance-2026")));
    assert_eq!(permit.actor_agreements(), [Some(id("acme-maintenance-2026"))]);
    assert_eq!(permit.classes_revealed(), [id("process")]);
}

#[test]
fn an_actor_of_another_organisation_needs_an_agreement_of_its_own() {
    let permit = two_parties().permit(through(calendar("acme"), &[actor("bolt", "agent"), actor("bolt", "robot")]));
    assert_eq!(permit.agreement(), Some(&id("acme-planning-2026")));
    assert_eq!(permit.actor_agreements(), [Some(id("bolt-planning-2026")), Some(id("bolt-planning-2026"))]);
}

#[test]
fn an_actor_whose_organisation_has_no_agreement_is_refused_with_its_own_reasons() {
    let open = r#"@id("open-house") permit (principal, action == Plant::Action::"discover", resource);"#;
    let mut world = World::with(base_with(open));
    world
        .parties
        .agreements
        .insert(id("acme-planning-2026"), agreement("acme-planning-2026", "acme", &["planning"], &["plant-calendar"]));
    world.parties.agreements.retain(|_, a| a.consumer.as_str() != "bolt");
    let _ = world.permit(calendar("acme"));
    let denial = world.deny(through(calendar("acme"), &[actor("bolt", "agent")]));
    assert_eq!(reasons(&denial), ["actor_not_permitted", "agreement_required"]);
    assert!(!denial.hidden);
    assert_eq!(denial.policies, ["agreement-required"]);
    assert_eq!(
        denial.ask.as_deref(),
        Some(
            "the actor of `bolt` in this request may not do this: no agreement of your organisation covers this data \
             product; ask its steward for one"
        )
    );
}

#[test]
fn what_an_actor_may_not_know_of_is_hidden_from_the_whole_request() {
    // Anna may know of her press, bolt may not: nothing is said but what is said of nothing.
    let hidden = World::new().deny(through(anna(), &[actor("bolt", "agent")]));
    let unknown = World::new().deny(through(ask("acme", "anna", "Signal/press-7.force"), &[actor("bolt", "agent")]));
    assert_eq!(reasons(&hidden), ["actor_not_permitted", "not_found"]);
    assert_eq!(reasons(&unknown), ["not_found"]);
    for denial in [hidden, unknown] {
        assert!(denial.hidden);
        assert_eq!((denial.ask, denial.agreement, denial.agreements), (None, None, vec![]));
    }
    let snapshot = World::new().snapshot();
    let delegated = through(anna(), &[actor("bolt", "agent")]);
    assert!(snapshot.may_discover(&anna().caller, &anna().resource, None, anna().now));
    assert!(!snapshot.may_discover(&delegated.caller, &delegated.resource, None, delegated.now));
}

#[test]
fn an_actor_of_an_unknown_organisation_hides_everything() {
    assert!(World::new().deny(through(anna(), &[actor("nobody", "agent")])).hidden);
    assert!(World::new().deny(through(ask("audax", "vera", "AuditScope/*"), &[actor("nobody", "agent")])).hidden);
}

#[test]
fn an_actor_of_a_suspended_organisation_stops_the_request() {
    let mut world = two_parties();
    let request = through(calendar("acme"), &[actor("bolt", "agent")]);
    let _ = world.permit(request.clone());
    world.parties.revocations.organisations.insert(id("bolt"));
    assert_eq!(reasons(&world.deny(request.clone())), ["actor_not_permitted", "organisation_suspended"]);
    let lax = [("lax.cedar", r#"@id("everybody") permit (principal, action, resource);"#)];
    let (name, text) = super::world::schema();
    world.policies = std::sync::Arc::new(crate::PolicySet::load((&name, &text), &lax).unwrap());
    assert_eq!(reasons(&world.deny(request)), ["actor_not_permitted", "organisation_suspended"]);
}

#[test]
fn revoked_actors_and_their_tokens_stop_the_request() {
    for revoke in [0, 1] {
        let mut world = World::new();
        let request = through(anna(), &[actor("acme", "agent")]);
        let _ = world.permit(request.clone());
        match revoke {
            0 => drop(world.parties.revocations.principals.insert((id("acme"), id("agent")))),
            _ => drop(world.parties.revocations.tokens.insert((id("acme-login"), String::from("token-of-agent")))),
        }
        assert_eq!(world.deny(request).reasons, [Reason::REVOKED]);
        let _ = world.permit(anna());
    }
}

#[test]
fn an_agreement_that_an_actor_would_have_to_choose_is_refused_without_names() {
    let world = two_parties().add(agreement("bolt-more-2026", "bolt", &["planning"], &["plant-calendar"]));
    let denial = world.deny(through(calendar("acme"), &[actor("bolt", "agent")]));
    assert_eq!(reasons(&denial), ["actor_not_permitted", "agreement_ambiguous"]);
    assert!(denial.agreements.is_empty());
    let said = denial.ask.unwrap();
    assert!(said.contains("only the subject's can be named") && !said.contains("bolt-more-2026"), "{said}");
}

#[test]
fn an_actor_cannot_make_an_ambiguous_agreement_certain() {
    let only_agents = r#"@id("not-by-robots") forbid (principal is Plant::Service, action == Plant::Action::"readSeries", resource)
        when { context has agreement && context.agreement == Plant::Agreement::"acme-service-2026" };"#;
    let mut world = World::with(base_with(only_agents));
    world = world.add(agreement("acme-service-2026", "acme", &["maintenance"], &["machine-signals"]));
    assert_eq!(world.deny(anna()).reasons, [Reason::AGREEMENT_AMBIGUOUS]);
    assert_eq!(world.deny(through(anna(), &[actor("acme", "agent")])).reasons, [Reason::AGREEMENT_AMBIGUOUS]);
}

#[test]
fn fields_that_an_actor_may_not_see_are_not_shown() {
    let policy = r#"@id("no-recipes-for-agents") forbid (principal, action == Plant::Action::"reveal", resource in Plant::FieldClass::"process")
        when { context.caller.role == "actor" };"#;
    let world = World::with(base_with(policy));
    let _ = world.permit(ask("acme", "anna", "Dataset/recipes"));
    let denial = world.deny(through(ask("acme", "anna", "Dataset/recipes"), &[actor("acme", "agent")]));
    assert_eq!(reasons(&denial), ["actor_not_permitted", "shaping_required"]);
    assert_eq!(denial.classes_hidden, [id("process.recipe")]);
    assert_eq!(denial.policies, ["no-recipes-for-agents"]);
}

#[test]
fn an_auditor_reads_through_auditors_only() {
    let vera = ask("audax", "vera", "AuditScope/*");
    let _ = World::new().permit(vera.clone());
    let denial = World::new().deny(through(vera.clone(), &[actor("audax", "agent")]));
    assert_eq!(reasons(&denial), ["actor_not_permitted", "not_permitted"]);
    let through_herself = [Actor { principal: vera.caller.principal().clone(), ..actor("audax", "vera") }];
    let _ = World::new().permit(through(vera, &through_herself));
}

// === the record

#[test]
fn the_record_holds_everybody_once_and_by_reference() {
    let world = two_parties();
    let request = calendar("acme");
    let again = Actor { principal: request.caller.principal().clone(), ..actor("acme", "anna") };
    let request = through(request, &[actor("bolt", "agent"), again]);
    let Decision::Permit(permit) = world.snapshot().decide(request, REFERENCES) else { panic!("denied") };
    let text = std::str::from_utf8(&permit.slice().bytes).unwrap();
    for (reference, times) in [("p-0001", 1), ("p-0002", 1), ("p-0003", 0)] {
        assert_eq!(text.matches(&format!("{{\"id\":\"{reference}\"")).count(), times, "{reference}: {text}");
    }
    assert_eq!(text.matches("\"id\":\"hall.temperature\"").count(), 1);
    for name in ["anna", "agent"] {
        assert!(!text.contains(name), "{text}");
    }
    Entities::from_json_str(text, Some(&world.policies.schema)).unwrap();
}

// === roles from tokens

#[test]
fn a_role_from_a_token_gives_what_the_registry_gives_and_nothing_outside_the_organisation() {
    let steward = |organisation: &str| {
        let request = ask(organisation, "newcomer", "Signal/press-3.force");
        by(request, |a| a.roles = ids(&["press-shop-steward", "plant-analytics"]))
    };
    let mut world = World::new();
    // The registry does not let norden's issuers give it.
    let refused = world.deny(steward("norden"));
    assert_eq!(reasons(&refused), ["clearance_too_low"]);
    for (organisation, roles) in [("norden", ["press-shop-steward"]), ("bolt", ["press-shop-steward"])] {
        world.parties.organisations.get_mut(organisation).unwrap().roles = ids(&roles);
    }
    world.plant.signals.values_mut().for_each(|s| s.governance.sensitivity = 0);
    let permit = world.permit(steward("norden"));
    assert_eq!(permit.policies(), ["steward-reads", "steward-sees-fields"]);
    let text = String::from_utf8(permit.slice().bytes.to_vec()).unwrap();
    assert!(
        text.contains(r#"{"id":"press-shop-steward","type":"Plant::Role"}"#) && !text.contains("analytics"),
        "{text}"
    );
    Entities::from_json_str(&text, Some(&world.policies.schema)).unwrap();
    assert!(world.deny(steward("bolt")).hidden);
    // Nobody else in the request has it.
    let denial = world.deny(through(steward("norden"), &[actor("norden", "agent")]));
    assert!(reasons(&denial).contains(&"not_permitted"), "{denial:?}");
}

#[test]
fn a_role_that_registry_and_token_give_is_recorded_once() {
    let mut world = World::new();
    world.parties.organisations.get_mut("norden").unwrap().roles = ids(&["press-shop-steward"]);
    let request = by(ask("norden", "ida", "Signal/press-3.force"), |a| a.roles = ids(&["press-shop-steward"]));
    let text = String::from_utf8(world.permit(request).slice().bytes.to_vec()).unwrap();
    let of_ida = text.split("\"uid\":{\"id\":\"p-0001\"").next().unwrap();
    assert_eq!(of_ida.matches("press-shop-steward").count(), 1, "{text}");
}

// === how the caller proved itself

/// The example in `policies/README.md`.
fn example() -> World {
    let text = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let block = text.split("```cedar\n").find(|b| b.contains("machine-signals-need-a-bound-caller")).unwrap();
    World::with(base_with(block.split("```").next().unwrap()))
}

#[test]
fn a_product_can_require_a_bound_caller() {
    let denial = example().deny(anna());
    assert_eq!(reasons(&denial), ["binding_required"]);
    for binding in [Binding::Certificate, Binding::Dpop] {
        let _ = example().permit(by(anna(), |a| a.binding = binding));
    }
    // Others do not.
    let _ = example().permit(ask("acme", "anna", "Dataset/recipes"));
}

#[test]
fn sensitive_data_can_be_kept_from_whoever_acts_for_others() {
    let mut world = example();
    let bound = |request| by(request, |a: &mut model::Assertion| (a.binding, a.actors) = (Binding::Dpop, vec![]));
    let delegated = by(anna(), |a| (a.binding, a.actors) = (Binding::Dpop, vec![actor("acme", "agent")]));
    let _ = world.permit(delegated.clone());
    world.plant.signals.values_mut().for_each(|s| s.governance.sensitivity = 2);
    let _ = world.permit(bound(anna()));
    assert_eq!(reasons(&world.deny(delegated)), ["not_on_behalf"]);
}

#[test]
fn a_policy_sees_who_else_takes_part() {
    let policy = r#"@id("curious") forbid (principal, action == Plant::Action::"readSeries", resource)
        when { context.caller.delegated && context.caller.role == "subject"
            && context.caller.services == [Plant::Service::"norden/line-analytics"]
            && context.caller.users.isEmpty() && context.caller.issuer == "norden-login"
            && context.caller.assurance == 2 && context.caller.method == "jwt" };
        @id("of-the-actor") forbid (principal, action == Plant::Action::"readSeries", resource)
        when { context.caller.role == "actor" && context.caller.users.contains(Plant::User::"norden/ida")
            && context.caller.assurance == 0 };"#;
    let world = World::with(base_with(policy));
    let request = |assurance| {
        let actors = vec![actor("norden", "line-analytics")];
        by(ask("norden", "ida", "Signal/press-3.force"), |a| (a.assurance, a.actors) = (assurance, actors))
    };
    assert_eq!(world.deny(request(2)).policies, ["curious"]);
    assert_eq!(world.deny(request(1)).policies, ["of-the-actor"]);
}

#[test]
fn callers_whose_issuer_is_known_and_unknown_are_told_alike() {
    let policy = r#"@id("sure") forbid (principal, action == Plant::Action::"readSeries", resource)
        when { context.caller.assurance < 2 || context.caller.binding != "dpop" || context.caller.delegated };"#;
    let mut world = World::with(base_with(policy));
    world.parties.authorities = super::world::authorities(&["acme-login"]);
    let snapshot = world.snapshot();
    for issuer in ["acme-login", "elsewhere", "acme-login"] {
        for assurance in [0, 1, 2, 3, 9] {
            for binding in [Binding::None, Binding::Certificate, Binding::Dpop] {
                let request = by(anna(), |a| (a.issuer, a.assurance, a.binding) = (id(issuer), assurance, binding));
                let allowed = snapshot.decide(request, &[]).is_permit();
                assert_eq!(allowed, assurance >= 2 && binding == Binding::Dpop, "{issuer} {assurance} {binding:?}");
            }
        }
    }
}

// === adding an actor never widens

fn anybody() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("norden", "line-analytics"),
        ("norden", "ida"),
        ("norden", "karl"),
        ("acme", "anna"),
        ("acme", "otto"),
        ("bolt", "mole"),
        ("dorn", "dora"),
        ("audax", "vera"),
        ("nobody", "nemo"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn an_actor_never_widens_a_decision(
        subject in anybody(),
        actors in prop::collection::vec(anybody(), 1..3),
        what in prop::sample::select(vec![
            "Dataset/all-parts", "Dataset/acme-parts", "Dataset/inspections", "Dataset/shifts", "Signal/press-3.force",
            "Signal/hall.temperature", "AuditScope/acme", "AuditScope/*",
        ]),
        purpose in prop::option::of(prop::sample::select(vec!["maintenance", "planning", "quality-analysis"])),
        named in prop::option::weighted(0.3, prop::sample::select(vec!["acme-planning-2026", "bolt-planning-2026"])),
    ) {
        let snapshot = WIDE.with(World::snapshot);
        let mut alone = ask(subject.0, subject.1, what);
        alone.purpose = purpose.map(id::<PurposeId>);
        alone.agreement = named.map(id);
        let actors: Vec<Actor> = actors.into_iter().map(|(o, s)| actor(o, s)).collect();
        let with = through(alone.clone(), &actors);
        let (alone, with) = (snapshot.decide(alone, REFERENCES), snapshot.decide(with, REFERENCES));
        match (&alone, &with) {
            (Decision::Permit(alone), Decision::Permit(with)) => {
                prop_assert_eq!(alone.agreement(), with.agreement());
                prop_assert!(with.classes_revealed().iter().all(|class| alone.classes_revealed().contains(class)));
                prop_assert_eq!(with.actor_agreements().len(), actors.len());
            }
            (Decision::Denied(_), Decision::Permit(_)) => prop_assert!(false, "widened"),
            (Decision::Denied(alone), Decision::Denied(with)) => prop_assert!(with.hidden || !alone.hidden),
            (Decision::Permit(_), Decision::Denied(denial)) => {
                prop_assert!(denial.reasons.contains(&Reason::ACTOR_NOT_PERMITTED), "{:?}", denial.reasons);
            }
        }
    }
}

thread_local! {
    static WIDE: World = {
        let mut world = two_parties();
        let given: OrganisationId = id("acme");
        world.parties.organisations.get_mut(&given).unwrap().roles = ids(&["auditor"]);
        world
    };
}
