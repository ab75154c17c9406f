//! A remembered decision is the decision.

use super::world::{DAY, World, agreement, anna, ask, base_with, caller, id, ids, now, time};
use crate::{Decision, Snapshot};
use model::{
    AccessRequest, Actor, Assertion, Authenticated, AuthenticationMethod, Binding, Country, Principal, PrincipalKind,
    Timestamp,
};
use proptest::prelude::*;
use std::sync::Arc;

const ONE: &[&str] = &["0123", "4567"];

/// The slice of a remembered decision is the very same memory.
fn slice(decision: &Decision) -> &Arc<[u8]> {
    match decision {
        Decision::Permit(permit) => &permit.slice().bytes,
        Decision::Denied(denial) => &denial.slice.bytes,
    }
}

fn remembers(snapshot: &Snapshot, first: AccessRequest, second: AccessRequest) -> bool {
    let first = snapshot.decide(first, ONE);
    Arc::ptr_eq(slice(&first), slice(&snapshot.decide(second, ONE)))
}

fn with(caller: &Authenticated, change: impl FnOnce(&mut Assertion)) -> Authenticated {
    let mut assertion = Assertion {
        principal: caller.principal().clone(),
        issuer: caller.issuer().clone(),
        method: caller.method(),
        binding: caller.binding(),
        expires: caller.expires(),
        fingerprint: caller.fingerprint(),
        token_id: caller.token_id().map(str::to_owned),
        certificate: caller.certificate().cloned(),
        assurance: caller.assurance(),
        roles: caller.roles().clone(),
        actors: caller.actors().to_vec(),
    };
    change(&mut assertion);
    #[expect(clippy::disallowed_methods, reason = "tests decide for callers that nobody authenticated")]
    Authenticated::assertion(assertion)
}

fn changed(change: impl FnOnce(&mut Assertion)) -> AccessRequest {
    AccessRequest { caller: with(&anna().caller, change), ..anna() }
}

fn actor(organisation: &str, subject: &str) -> Actor {
    let principal = Principal { organisation: id(organisation), kind: PrincipalKind::Service, subject: id(subject) };
    Actor { principal, issuer: id(&format!("{organisation}-login")), token_id: None }
}

#[test]
fn another_token_of_the_same_caller_and_a_later_moment_are_answered_from_memory() {
    let snapshot = World::new().snapshot();
    let other_token = changed(|a| {
        a.token_id = Some(String::from("another"));
        a.fingerprint = model::Digest::of(b"another");
        a.expires = now().plus_millis(2 * DAY);
    });
    assert!(remembers(&snapshot, anna(), AccessRequest { now: now().plus_millis(DAY), ..other_token.clone() }));
    // The answer is for the token that asked.
    let Decision::Permit(permit) = snapshot.decide(other_token, ONE) else { panic!("permitted before") };
    assert_eq!(permit.request().caller.token_id(), Some("another"));
    // Denials too.
    let denied = || ask("bolt", "mole", "Signal/press-3.force");
    assert!(remembers(&snapshot, denied(), denied()));
}

#[test]
fn whatever_a_policy_can_tell_apart_is_decided_anew() {
    let anew: Vec<(&str, AccessRequest)> = vec![
        ("subject", AccessRequest { caller: caller("acme", "berta", PrincipalKind::User), ..anna() }),
        ("kind", AccessRequest { caller: caller("acme", "anna", PrincipalKind::Service), ..anna() }),
        ("issuer", changed(|a| a.issuer = id("acme-other"))),
        ("method", changed(|a| a.method = AuthenticationMethod::Opaque)),
        ("binding", changed(|a| a.binding = Binding::Dpop)),
        ("assurance", changed(|a| a.assurance = 2)),
        ("roles", changed(|a| a.roles = ids(&["auditor"]))),
        ("actor", changed(|a| a.actors = vec![actor("acme", "robot")])),
        ("purpose", AccessRequest { purpose: None, ..anna() }),
        ("agreement", AccessRequest { agreement: Some(id("acme-maintenance-2026")), ..anna() }),
        ("resource", ask("acme", "anna", "Signal/hall.temperature")),
        ("rows", AccessRequest { shape: model::Shape { rows: 61, ..anna().shape }, ..anna() }),
        ("country", AccessRequest { country: Country::parse("SE"), ..anna() }),
        ("the agreement's end", AccessRequest { now: time("2027-01-01T00:00:00Z"), ..anna() }),
    ];
    let snapshot = World::new().snapshot();
    for (what, request) in anew {
        assert!(!remembers(&snapshot, anna(), request), "{what}");
    }
    let references: [&[&str]; 2] = [&["0123"], &["0123", "89ab"]];
    for other in references {
        let (ours, theirs) = (snapshot.decide(anna(), ONE), snapshot.decide(anna(), other));
        assert!(!Arc::ptr_eq(slice(&ours), slice(&theirs)), "{other:?}");
    }
}

#[test]
fn a_revoked_caller_is_never_answered_from_memory() {
    let mut world = World::new();
    let remembered = world.snapshot();
    assert!(remembered.decide(anna(), ONE).is_permit());
    world.parties.revocations.tokens.insert((id("acme-login"), String::from("token-of-anna")));
    let snapshot = world.snapshot();
    let fresh = changed(|a| a.token_id = Some(String::from("fresh")));
    assert!(snapshot.decide(fresh, ONE).is_permit(), "the same person with another token");
    let Decision::Denied(denial) = snapshot.decide(anna(), ONE) else { panic!("a revoked token was let in") };
    assert_eq!(denial.reasons, [model::Reason::REVOKED]);
    let fresh = changed(|a| a.token_id = Some(String::from("fresh")));
    assert!(snapshot.decide(fresh, ONE).is_permit(), "and the refusal is not remembered for the others");
}

#[test]
fn words_that_a_caller_made_up_and_failures_of_policies_are_not_kept() {
    let failing = base_with(
        r#"@id("fails") forbid (principal, action == Plant::Action::"readSeries", resource)
           when { context.shape.rows * 9223372036854775807 < 0 };"#,
    );
    let snapshot = World::with(failing).snapshot();
    assert!(!remembers(&snapshot, anna(), anna()));
    let snapshot = World::new().snapshot();
    for n in 0..100 {
        let word = format!("word-{n}");
        let purpose = AccessRequest { purpose: Some(id(&word)), ..anna() };
        let agreement = AccessRequest { agreement: Some(id(&word)), ..anna() };
        let resource = ask("acme", "anna", &format!("Signal/{word}"));
        for request in [purpose, agreement, resource] {
            let _ = snapshot.decide(request, ONE);
        }
    }
    assert_eq!(snapshot.memo.as_ref().unwrap().bytes(), 0);
}

#[test]
fn memory_is_bounded_and_keeps_what_is_asked_again_and_again() {
    let snapshot = World::new().snapshot();
    let memo = snapshot.memo.as_ref().unwrap();
    let often = snapshot.decide(anna(), ONE);
    for rows in 100..20_000 {
        let request = AccessRequest { shape: model::Shape { rows, ..anna().shape }, ..anna() };
        let _ = memo.recall(&snapshot, request, ONE, |request| often.again(request));
        assert!(Arc::ptr_eq(slice(&often), slice(&snapshot.decide(anna(), ONE))), "{rows}");
    }
    assert!(memo.bytes() > crate::memo::BYTES_MAX / 4, "{} bytes: nothing was kept", memo.bytes());
    assert!(memo.bytes() <= crate::memo::BYTES_MAX, "{} bytes", memo.bytes());
}

#[test]
fn a_policy_that_reckons_with_the_time_keeps_decisions_from_being_remembered() {
    for condition in ["context.now.toTime() < duration(\"18h\")", "context.now.offset(duration(\"1d\")) > context.now"]
    {
        let text = format!(
            "@id(\"odd\") forbid (principal, action == Plant::Action::\"readSeries\", resource) when {{ {condition} }};"
        );
        let world = World::with(base_with(&text));
        assert_eq!(world.policies.not_remembered_for(), Some("odd"), "{condition}");
        assert!(world.snapshot().memo.is_none());
    }
    assert_eq!(World::new().policies.not_remembered_for(), None);
}

/// [`crate::moments::Moments`] knows only agreements to have times.
#[test]
fn no_entity_but_an_agreement_has_a_time() {
    let world = World::new();
    let complete = super::slices::complete(&world);
    let timed = complete.iter().filter(|entity| entity.to_json_value().unwrap().to_string().contains("datetime"));
    let types: std::collections::BTreeSet<_> = timed.map(|entity| entity.uid().type_name().to_string()).collect();
    assert_eq!(types.into_iter().collect::<Vec<_>>(), ["Plant::Agreement"]);
}

// === every decision, from memory or not, is the one made anew

/// Policies that look at the time in their own ways, and one that looks at nothing.
const EXTRA: [&str; 6] = [
    "",
    r#"@id("from-june") forbid (principal, action == Plant::Action::"readSeries", resource)
       when { context.now < datetime("2026-06-01T12:00:00.001Z") };"#,
    r#"@id("not-then") forbid (principal, action, resource)
       when { context.now == datetime("2026-06-02") && principal.clearance < 2 };"#,
    r#"@id("last-day") permit (principal, action == Plant::Action::"readSeries", resource)
       when { context has agreement && context.agreement.notAfter <= context.now };"#,
    r#"@id("by-day") forbid (principal, action == Plant::Action::"readSeries", resource)
       when { context.now.toTime() > duration("12h") };"#,
    r#"@id("soon-over") forbid (principal, action == Plant::Action::"read", resource)
       when { context has agreement && context.agreement.notAfter.durationSince(context.now) < duration("1d") };"#,
];

fn worlds() -> impl Strategy<Value = Snapshot> {
    (0..EXTRA.len(), any::<bool>()).prop_map(|(extra, second)| {
        let mut june = agreement("acme-june-2026", "acme", &["maintenance", "planning"], &["machine-signals"]);
        june.not_before = time("2026-06-01T11:59:59.999Z");
        june.not_after = time("2026-06-02T00:00:00Z");
        let world = World::with(base_with(EXTRA[extra]));
        let mut world = if second { world.add(june) } else { world };
        world.parties.revocations.principals.insert((id("acme"), id("gone")));
        world.snapshot()
    })
}

/// Around everything that any of the policies or agreements compares with.
fn times() -> impl Strategy<Value = Timestamp> {
    let around = ["2026-01-01", "2026-06-01", "2026-06-02", "2027-01-01"].map(|day| time(&format!("{day}T00:00:00Z")));
    let near = (prop::sample::select(around.to_vec()), -2_i64..=2).prop_map(|(t, ms)| t.plus_millis(ms));
    let noon = (-3_i64..=3).prop_map(|ms| now().plus_millis(ms));
    prop_oneof![near, noon, (0_i64..2 * 365 * DAY).prop_map(|ms| time("2025-06-01T00:00:00Z").plus_millis(ms))]
}

fn callers() -> impl Strategy<Value = Authenticated> {
    let who = prop::sample::select(vec![
        ("acme", "anna"),
        ("acme", "gone"),
        ("bolt", "mole"),
        ("dorn", "dora"),
        ("norden", "ida"),
        ("norden", "karl"),
        ("nowhere", "nobody"),
    ]);
    let actors = prop::sample::select(vec![vec![], vec![("acme", "robot")], vec![("acme", "robot"), ("bolt", "mole")]]);
    (who, actors, 0..3_u8, any::<bool>()).prop_map(|((organisation, subject), actors, assurance, bound)| {
        with(&caller(organisation, subject, PrincipalKind::User), |assertion| {
            assertion.assurance = assurance;
            assertion.binding = if bound { Binding::Certificate } else { Binding::None };
            assertion.actors = actors.into_iter().map(|(o, s)| actor(o, s)).collect();
        })
    })
}

fn requests() -> impl Strategy<Value = AccessRequest> {
    let what = prop::sample::select(vec![
        "Signal/press-3.force",
        "Signal/gripper-7.torque",
        "Dataset/acme-parts",
        "Dataset/inspections",
        "Dataset/controlled-drawings",
        "AuditScope/acme",
    ]);
    let purpose = prop::sample::select(vec![None, Some("maintenance"), Some("planning"), Some("espionage")]);
    let under = prop::sample::select(vec![None, None, Some("acme-june-2026"), Some("nothing")]);
    let country = prop::sample::select(vec![None, Country::parse("SE"), Country::parse("FR")]);
    let rest = (times(), any::<bool>(), country);
    (callers(), what, purpose, under, rest).prop_map(|(caller, what, purpose, under, (now, many, country))| {
        let mut request = ask("acme", "anna", what);
        request.shape.rows = if many { 2_000 } else { 10 };
        AccessRequest { caller, purpose: purpose.map(id), agreement: under.map(id), country, now, ..request }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_decision_is_the_one_made_anew(
        snapshot in worlds(),
        requests in prop::collection::vec(requests(), 40),
    ) {
        // Twice and in another order, so that much is answered from memory.
        for request in requests.iter().chain(requests.iter().rev()) {
            let made_anew = snapshot.decide_anew(request.clone(), ONE);
            let decided = snapshot.decide(request.clone(), ONE);
            prop_assert_eq!(format!("{decided:?}"), format!("{made_anew:?}"));
        }
    }
}
