//! Whatever was decided is decided again from its record, and a candidate from the record as from the plant itself.

use super::slices::{CURIOUS, changes};
use super::world::{World, actor, anna, ask, base, base_with, by, id};
use crate::decision::{Decision, Permit};
use crate::replay::{Change, Direction, Known, Outcome, Replay, Tally};
use crate::snapshot::Snapshot;
use model::canonical::Members;
use model::entry::{Common, Content, Draft, Kind, Outline, Place};
use model::{AccessRequest, Country, Principal};
use proptest::prelude::*;
use std::sync::Arc;

/// The entry and the contents of a decision, as the broker writes them.
pub fn recorded(world: &World, request: AccessRequest) -> (Vec<u8>, Decision, Known) {
    recorded_by(world, &world.snapshot(), request)
}

fn recorded_by(world: &World, snapshot: &Snapshot, request: AccessRequest) -> (Vec<u8>, Decision, Known) {
    let (kind, now) = (Kind::Decision, request.now);
    let principals: Vec<Principal> = request.caller.principals().cloned().collect();
    let first = |who: &Principal| principals.iter().position(|other| other == who).unwrap();
    let references: Vec<String> = principals.iter().map(|who| format!("p-{:04}", 7 + first(who))).collect();
    let decision = snapshot.decide(request, &references.iter().map(String::as_str).collect::<Vec<_>>());
    let (request, digests, slice, inputs) = match &decision {
        Decision::Permit(p) => (p.request(), p.digests(), p.slice(), p.inputs()),
        Decision::Denied(d) => (&d.request, &d.digests, &d.slice, &d.inputs),
    };
    let mut members = Members::default();
    let caller = &request.caller;
    members.text("principal", &references[0]);
    members.text("principal_kind", caller.principal().kind.as_str());
    members.text("issuer", caller.issuer());
    members.text("authentication", caller.method().as_str());
    members.text("binding", caller.binding().as_str());
    members.int("assurance", caller.assurance().into());
    members.texts("roles", caller.roles());
    members.text("request", "r-1");
    members.text("action", request.action.as_str());
    members.text("resource", request.resource.to_text());
    let mut shape = Members::default();
    shape.int("resolution_ms", request.shape.resolution_ms);
    shape.int("window_ms", request.shape.window_ms);
    shape.int("age_days", request.shape.age_days);
    shape.int("rows", request.shape.rows);
    members.object("shape", &shape);
    let mut of = Members::default();
    of.hex("policies", &digests.policies.0);
    of.hex("schema", &digests.schema.0);
    of.hex("slice", &digests.slice.0);
    members.object("digests", &of);
    members.object("inputs", &inputs.members(now));
    if let Some(purpose) = request.purpose.as_ref().filter(|p| world.plant.purposes.contains_key(*p)) {
        members.text("purpose", purpose);
    }
    if let Some(country) = request.country {
        members.text("country", country);
    }
    answer(&decision, &mut members);
    let agreements = match &decision {
        Decision::Permit(permit) => permit.actor_agreements().to_vec(),
        Decision::Denied(_) => vec![None; caller.actors().len()],
    };
    let actors = caller.actors().iter().zip(agreements).zip(&references[1..]).map(|((actor, agreement), reference)| {
        let mut members = Members::default();
        members.text("principal", reference);
        members.text("principal_kind", actor.principal.kind.as_str());
        members.text("organisation", &actor.principal.organisation);
        members.text("issuer", &actor.issuer);
        agreement.iter().for_each(|a| members.text("agreement", a));
        members
    });
    members.objects("actors", actors);
    let common = Common { nonce: [7; 16], time: now, boot: "b".into() };
    let draft = Draft::new(kind, &common, Some(caller.organisation()), members, Vec::new()).unwrap();
    let contents = [world.policies.policies(), world.policies.schema(), slice];
    let contents = contents.map(|Content { digest, bytes }| (*digest, bytes.clone())).into();
    let principals = principals.iter().zip(&references).map(|(p, r)| (r.clone(), p.to_text()));
    let known = Known { contents, principals: principals.collect(), ..Known::default() };
    (draft.seal(Some(Place { sequence: 1, previous: None })), decision, known)
}

fn answer(decision: &Decision, members: &mut Members) {
    let outcome = Outcome::of(decision);
    members.text("decision", if outcome.allow { "allow" } else { "deny" });
    members.texts("policies", &outcome.policies);
    outcome.agreement.iter().for_each(|a| members.text("agreement", a));
    if outcome.allow {
        members.texts("reveals", &outcome.reveals);
    } else {
        members.texts("reasons", &outcome.reasons);
    }
    if !outcome.errors.is_empty() {
        members.texts("errors", &outcome.errors);
    }
    if !outcome.hides.is_empty() {
        members.texts("hides", &outcome.hides);
    }
    if let Decision::Permit(permit) = decision {
        permit.demands().record(members);
    }
    if outcome.hidden {
        members.bool("hidden", true);
    }
    if let Decision::Permit(permit) = decision
        && let Some(told) = Permit::kinds_told(permit)
    {
        let kind = |kind: &model::plant::RecordKind| {
            let mut members = Members::default();
            kind.supplier.iter().for_each(|s| members.text("supplier", s));
            kind.customer.iter().for_each(|c| members.text("customer", c));
            kind.export_class.iter().for_each(|c| members.text("export_class", c));
            members
        };
        members.objects("records", told.map(kind));
    }
}

pub fn replay(entry: &[u8], known: &Known, candidate: Option<Arc<crate::PolicySet>>) -> Tally {
    let mut replay = Replay::new(candidate);
    replay.look(3, entry, known);
    replay.finish()
}

/// All that callers can differ in.
fn requests() -> impl Strategy<Value = AccessRequest> {
    let who = prop::sample::select(vec![
        ("norden", "ida"),
        ("norden", "line-analytics"),
        ("norden", "newcomer"),
        ("acme", "anna"),
        ("bolt", "mole"),
        ("dorn", "dora"),
        ("audax", "vera"),
        ("nobody", "x"),
    ]);
    let what = prop::sample::select(vec![
        "Dataset/all-parts",
        "Dataset/inspections",
        "Dataset/recipes",
        "Dataset/nothing",
        "Signal/press-3.force",
        "Signal/press-1.force",
        "AuditScope/*",
        "AuditScope/acme",
    ]);
    let named = prop::sample::select(vec![None, Some("acme-maintenance-2026"), Some("bolt-calendar-2026"), Some("x")]);
    let purpose = prop::sample::select(vec![None, Some("maintenance"), Some("planning"), Some("curiosity")]);
    let rows = prop::sample::select(vec![0, 10, 2_000]);
    let (agent, service) = (("acme", "agent"), ("norden", "line-analytics"));
    let acting = prop::sample::select(vec![
        vec![],
        vec![agent],
        vec![service],
        vec![agent, service],
        vec![agent, agent, service],
    ]);
    let roles = prop::sample::subsequence(vec!["plant-analytics", "auditor"], 0..=2);
    let country = prop::sample::select(vec![None, Country::parse("SE"), Country::parse("FR"), Country::parse("DE")]);
    let rest = (acting, roles, 0_u8..=3, prop::bool::weighted(0.1), country);
    (who, what, named, purpose, rows, rest).prop_map(|(who, what, named, purpose, rows, rest)| {
        let (acting, roles, assurance, expired, country) = rest;
        let actors: Vec<_> = acting.iter().map(|(organisation, subject)| actor(organisation, subject)).collect();
        let mut request = ask(who.0, who.1, what);
        request = by(request, |caller| {
            (caller.assurance, caller.roles) = (assurance, super::world::ids(&roles));
            caller.actors.clone_from(&actors);
        });
        (request.purpose, request.agreement) = (purpose.map(id), named.map(id));
        (request.shape.rows, request.country) = (rows, country);
        request.now = request.now.plus_millis(if expired { 1_000 * super::world::DAY } else { 0 });
        request
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_recorded_decision_is_made_again_and_a_candidate_decides_as_in_the_plant(
        change in changes(),
        request in requests(),
        (revoked, curious) in (prop::bool::weighted(0.1), any::<bool>()),
    ) {
        let (base, other) = SETS.with(|(base, curious)| (base.clone(), curious.clone()));
        let (of_the_time, candidate) = if curious { (other, base) } else { (base, other) };
        let mut world = change.apply(World::with(of_the_time));
        if revoked {
            let who = request.caller.principal();
            world.parties.revocations.principals.insert((who.organisation.clone(), who.subject.clone()));
        }
        let (entry, before, known) = recorded(&world, request.clone());
        let tally = replay(&entry, &known, Some(candidate.clone()));
        prop_assert_eq!(&tally.findings, &Vec::new(), "{}", String::from_utf8_lossy(&entry));
        prop_assert_eq!(tally.replayed, 1, "{:?}", tally);
        let after = World { policies: candidate, ..world }.decide(request);
        let expected = Change::between(&Outcome::of(&before), &Outcome::of(&after));
        prop_assert_eq!(tally.changes.keys().map(|group| &group.change).next(), expected.as_ref());
    }
}

thread_local! {
    static SETS: (Arc<crate::PolicySet>, Arc<crate::PolicySet>) = (base(), base_with(CURIOUS));
}

#[test]
fn every_member_of_an_answer_is_compared() {
    let world = World::new();
    let snapshot = world.snapshot();
    for (request, from, to) in [
        (anna(), "\"decision\":\"allow\"", "\"decision\":\"deny\""),
        (anna(), "read-series-under-agreement", "some-other-policy"),
        (anna(), "\"reveals\":[\"process\"]", "\"reveals\":[]"),
        (anna(), "\"agreement\":\"acme-maintenance-2026\",\"assurance\"", "\"agreement\":\"other\",\"assurance\""),
        (ask("bolt", "anna", "Signal/press-3.force"), "\"hidden\":true,", ""),
        (ask("bolt", "anna", "Signal/press-3.force"), "\"reasons\":[\"not_found\"]", "\"reasons\":[]"),
        (anna(), "\"window_ms\":60000", "\"window_ms\":600000000000"),
        (anna(), "\"purpose\":\"maintenance\"", "\"purpose\":\"planning\""),
    ] {
        let (entry, _, known) = recorded_by(&world, &snapshot, request);
        let text = String::from_utf8(entry).unwrap();
        let changed = text.replacen(from, to, 1);
        assert_ne!(text, changed, "{from}");
        let tally = replay(changed.as_bytes(), &known, None);
        assert_eq!(tally.findings_total, 1, "{from}: {tally:?}");
        assert_eq!(replay(text.as_bytes(), &known, None).findings_total, 0);
    }
}

#[test]
fn a_slice_that_was_tampered_with_is_found() {
    let (entry, decision, mut known) = recorded(&World::new(), anna());
    let Decision::Permit(permit) = decision else { panic!("{decision:?}") };
    let slice = permit.slice().digest;
    let text = String::from_utf8(known.contents[&slice].to_vec()).unwrap();
    let better = text.replace("\"rowsMax\":1000", "\"rowsMax\":1001");
    known.contents.insert(slice, better.into_bytes().into());
    let tally = replay(&entry, &known, None);
    assert!(tally.findings[0].what[0].contains("are not of this digest"), "{tally:?}");
    known.contents.remove(&slice);
    let tally = replay(&entry, &known, None);
    assert!(tally.findings[0].what[0].contains("are not in the store"), "{tally:?}");
}

#[test]
fn persons_matter_only_where_policies_name_them() {
    let ida = ask("norden", "ida", "Dataset/recipes");
    let (entry, _, mut known) = recorded(&World::new(), ida.clone());
    known.principals.clear();
    assert_eq!(replay(&entry, &known, None).replayed, 1);
    let (entry, _, mut known) = recorded(&World::with(base_with(CURIOUS)), ida);
    assert_eq!(replay(&entry, &known, None).replayed, 1);
    known.principals.clear();
    let tally = replay(&entry, &known, None);
    let (why, example) = tally.not_replayable.first_key_value().unwrap();
    assert!(why.contains("does not have the principal's name") && example.count == 1, "{tally:?}");
    assert_eq!(tally.replayed, 0);
    let reference = Outline::read(&entry).unwrap().text("principal").unwrap().into_owned();
    known.erased.insert(reference, 41);
    let tally = replay(&entry, &known, None);
    let (why, _) = tally.not_replayable.first_key_value().unwrap();
    assert_eq!(why, "the policies name persons, and the principal was erased under entry 41");
}

#[test]
fn equal_questions_are_decided_once() {
    let (mut all, world) = (Replay::new(Some(base())), World::new());
    let snapshot = world.snapshot();
    for n in 0..50 {
        let mut request = ask("acme", if n % 2 == 0 { "anna" } else { "arno" }, "Signal/press-3.force");
        request.now = request.now.plus_millis(n);
        let (entry, _, known) = recorded_by(&world, &snapshot, request);
        all.look(n.unsigned_abs(), &entry, &known);
    }
    let tally = all.finish();
    assert_eq!((tally.replayed, tally.decided, tally.findings_total), (50, 1, 0));
}

#[test]
fn what_older_formats_do_not_say_is_not_guessed() {
    let (entry, _, known) = recorded(&World::new(), anna());
    let text = String::from_utf8(entry).unwrap();
    let (before, after) = text.split_once(",\"inputs\":{").unwrap();
    let older = format!("{before}{}", after.split_once('}').unwrap().1);
    let tally = replay(older.as_bytes(), &known, None);
    assert!(tally.not_replayable.contains_key("recorded in a format before 1.3, which says less"), "{tally:?}");
}

#[test]
fn who_gains_and_who_loses() {
    let stop = base_with(
        "@id(\"stop\") @reason(\"stopped\") forbid (principal, action == Plant::Action::\"read\", resource);",
    );
    let open = base_with("@id(\"open\") permit (principal, action == Plant::Action::\"reveal\", resource);");
    let of = |candidate: &Arc<crate::PolicySet>, request| {
        let (entry, _, known) = recorded(&World::new(), request);
        let tally = replay(&entry, &known, Some(candidate.clone()));
        tally.changes.into_keys().next().map(|group| group.change)
    };
    let ida = || ask("norden", "ida", "Dataset/inspections");
    let change = of(&stop, ida()).unwrap();
    assert_eq!((change.direction, change.loses), (Direction::WouldLose, vec![String::from("access")]));
    assert!(change.policies.contains(&String::from("+stop")), "{:?}", change.policies);
    assert_eq!(of(&stop, anna()), None);
    let (entry, ..) = recorded(&World::new(), ida());
    assert!(String::from_utf8(entry).unwrap().contains("\"decision\":\"allow\""));
    let change = of(&open, ida());
    assert!(change.is_none_or(|change| change.direction != Direction::WouldLose));
}
