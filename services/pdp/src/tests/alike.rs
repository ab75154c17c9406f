//! A dataset of more kinds of records than can be asked about: what is decided of a few is what would be decided of each.

use super::replay::{recorded, replay};
use super::world::{World, ask, base_with, id, now};
use crate::decision::Decision;
use crate::engine::{self, datetime};
use crate::offer;
use crate::question::{About, Question};
use crate::slice::{self, Caller};
use crate::snapshot::Snapshot;
use crate::{credential, entities, names};
use model::plant::{RecordAttribute, RecordKind, ToldBy};
use model::{AccessRequest, Action, OrganisationId};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn ids(of: &str, from: std::ops::Range<usize>) -> BTreeSet<OrganisationId> {
    let named = ["acme", "bolt", "norden"].map(id);
    named.into_iter().chain(from.map(|n| id(&format!("{of}-{n}")))).collect()
}

/// Parts of many suppliers for many customers, some of which are both, marked or not.
fn world(policies: &str) -> World {
    let mut world = World::with(base_with(policies));
    let parts = world.plant.datasets.get_mut("all-parts").unwrap();
    parts.records.suppliers = ids("firm", 0..30);
    parts.records.customers = ids("firm", 20..50);
    parts.records.export_classes = ["dual-use"].map(id).into();
    for (attribute, field) in [(RecordAttribute::Supplier, "supplier"), (RecordAttribute::Customer, "customer")] {
        parts.records.told_by.insert(attribute, ToldBy { field: field.to_owned(), ..ToldBy::default() });
    }
    let field = String::from("export");
    parts.records.told_by.insert(RecordAttribute::ExportClass, ToldBy { field, ..ToldBy::default() });
    world
}

/// What Cedar says of one kind of record, asked about it alone.
fn is_seen(snapshot: &Snapshot, request: &AccessRequest, kind: &RecordKind, agreement: Option<&str>) -> bool {
    let (types, plant) = (&snapshot.policies.names.types, &snapshot.plant);
    let (dataset, data) = (&plant.datasets["all-parts"], &snapshot.offer.data[&request.resource]);
    let entity = entities::kind_of_record(types, plant, dataset, 0, kind).unwrap();
    let conformance = engine::Conformance::new(&snapshot.policies.schema);
    let record = offer::known(&conformance, &entity, &data.base.above()).unwrap();
    let caller = Caller::find(snapshot, request.caller.principal(), request.caller.roles()).unwrap();
    let agreement = agreement.map(|a| &*snapshot.roster.agreements[a]);
    let store = slice::store(snapshot, &[record.entity], &caller, agreement).unwrap();
    let told = credential::Told::subject(&request.caller).record(types, &[]);
    let purpose = request.purpose.as_ref().map(|p| names::uid(&types.purpose, p));
    let question = Question {
        now: datetime(now()).unwrap(),
        caller: &told,
        purpose: purpose.as_ref(),
        agreement: agreement.map(|known| &known.name),
        country: None,
        about: About::Nothing,
    };
    let answer = snapshot.policies.scan(&caller.uid, Action::SeeRecord, &record.uid, &question.facts(), &store);
    assert!(answer.errors.is_empty(), "{answer:?}");
    answer.allow
}

/// How many kinds there are, of which it is decided by some that stand for them; how many may be seen.
fn compare(policies: &str, who: (&str, &str)) -> (usize, usize) {
    let world = world(policies);
    let snapshot = world.snapshot();
    let request = ask(who.0, who.1, "Dataset/all-parts");
    let kinds = world.plant.datasets["all-parts"].records.kinds(100_000).unwrap();
    let decision = snapshot.decide(request.clone(), super::world::REFERENCES);
    let agreement = match &decision {
        Decision::Permit(permit) => permit.agreement().map(ToString::to_string),
        Decision::Denied(denial) => denial.agreement.as_ref().map(ToString::to_string),
    };
    let seen = |kind: &RecordKind| is_seen(&snapshot, &request, kind, agreement.as_deref());
    let mut count = 0;
    for kind in kinds.iter().step_by(7) {
        let decided = match &decision {
            Decision::Permit(permit) => {
                let alike = permit.kinds_alike().unwrap();
                !permit.kinds_hidden().iter().any(|hidden| alike.stands_for(hidden, kind))
            }
            Decision::Denied(denial) => {
                assert!(denial.records_hidden, "{denial:?}");
                false
            }
        };
        assert_eq!(decided, seen(kind), "{kind:?} under {policies}");
        count += usize::from(decided);
    }
    let (entry, _, known) = recorded(&world, request);
    let tally = replay(&entry, &known, None);
    assert_eq!((tally.replayed, tally.findings_total), (1, 0), "{tally:?}");
    (kinds.len(), count)
}

const CONDITIONS: [&str; 8] = [
    "resource has supplier && resource.supplier == principal.organisation",
    "resource has supplier && resource has customer && resource.supplier == resource.customer",
    "resource has customer && [Plant::Organisation::\"bolt\", Plant::Organisation::\"norden\"].contains(resource.customer)",
    "resource has supplier && resource.supplier == resource.governance.owner",
    "resource has exportClass",
    "!(resource has customer)",
    "context has agreement && resource has customer && context.agreement.consumer == resource.customer",
    "resource has supplier && resource.supplier != Plant::Organisation::\"acme\"",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_kind_is_decided_as_the_one_that_stands_for_it(
        permits in prop::collection::vec((0..CONDITIONS.len(), 1..CONDITIONS.len()), 1..3),
        forbid in 0..CONDITIONS.len(),
        owner in any::<bool>(),
    ) {
        let permits = permits.iter().enumerate().map(|(n, (a, b))| {
            format!(
                "@id(\"p-{n}\") permit (principal, action == Plant::Action::\"seeRecord\", resource) \
                 when {{ {} && !({}) }};",
                CONDITIONS[*a], CONDITIONS[(*a + *b) % CONDITIONS.len()]
            )
        });
        let forbid = format!(
            "@id(\"f\") forbid (principal, action == Plant::Action::\"seeRecord\", resource) when {{ {} }};",
            CONDITIONS[forbid]
        );
        let policies: String = permits.chain([forbid]).collect();
        compare(&policies, if owner { ("norden", "ida") } else { ("acme", "anna") });
    }
}

#[test]
fn a_supplier_sees_its_own_of_a_thousand_kinds() {
    let (kinds, seen) = compare("", ("acme", "anna"));
    assert!(kinds > 2_000 && seen > 0 && seen < kinds / 7, "{seen} of {kinds}");
}

#[test]
fn what_stands_for_whom_depends_on_everybody_who_is_named() {
    let world = world("");
    let permit = world.permit(ask("acme", "anna", "Dataset/all-parts"));
    let alike = permit.kinds_alike().unwrap();
    assert!(alike.suppliers.named.contains("acme") && alike.suppliers.named.contains("norden"));
    assert!(!alike.suppliers.named.contains("bolt"));
    assert!(permit.kinds_told().unwrap().all(|kind| kind.supplier.as_ref().is_none_or(|s| s.as_str() == "acme")));
}

#[test]
fn an_explanation_asks_about_those_that_stand_for_others() {
    let explanation = world("").snapshot().explain(&ask("acme", "anna", "Dataset/all-parts")).unwrap();
    let records = explanation.questions.iter().filter(|question| question.resource.starts_with("records of "));
    let (seen, hidden): (Vec<_>, Vec<_>) = records.partition(|question| question.allowed);
    assert!(seen.iter().any(|question| question.resource == "records of supplier acme, customer acme"), "{seen:?}");
    assert!(seen.iter().any(|question| question.resource.ends_with("customer firm-20 and its like")), "{seen:?}");
    assert!(hidden.iter().any(|question| question.resource == "records of supplier bolt and its like"), "{hidden:?}");
}

#[test]
fn a_candidate_that_names_others_cannot_be_compared() {
    let world = world("");
    let (entry, _, known) = recorded(&world, ask("acme", "anna", "Dataset/all-parts"));
    let other = "@id(\"other\") forbid (principal, action == Plant::Action::\"seeRecord\", resource)
        when { resource has supplier && resource.supplier == Plant::Organisation::\"bolt\" };";
    let tally = replay(&entry, &known, Some(base_with(other)));
    assert_eq!((tally.replayed, tally.not_replayable.len()), (0, 1), "{tally:?}");
    let same = "@id(\"other\") forbid (principal, action == Plant::Action::\"seeRecord\", resource)
        when { resource has supplier && resource.supplier == principal.organisation };";
    assert_eq!(replay(&entry, &known, Some(base_with(same))).replayed, 1);
}

#[test]
fn more_kinds_than_can_be_asked_about_and_all_of_them_named_are_hidden() {
    let names: Vec<String> = (0..30).map(|n| format!("Plant::Organisation::\"firm-{n}\"")).collect();
    let policy = format!(
        "@id(\"named\") permit (principal, action == Plant::Action::\"seeRecord\", resource)
         when {{ resource has supplier && [{}].contains(resource.supplier) }};",
        names.join(", ")
    );
    let mut world = world(&policy);
    let one = world.parties.organisations["bolt"].clone();
    for name in (0..30).map(|n| format!("firm-{n}")) {
        let organisation = model::party::Organisation { id: id(&name), ..one.clone() };
        world.parties.organisations.insert(id(&name), organisation);
    }
    let denial = world.deny(ask("norden", "ida", "Dataset/all-parts"));
    assert!(denial.records_hidden);
    let (entry, _, known) = recorded(&world, ask("norden", "ida", "Dataset/all-parts"));
    let tally = replay(&entry, &known, None);
    assert_eq!((tally.replayed, tally.findings_total), (1, 0), "{tally:?}");
}
