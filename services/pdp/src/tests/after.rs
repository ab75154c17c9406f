//! A snapshot that takes over from the one before it is the one that would have been built anew.

use super::world::{World, actor, agreement, ask, base, base_with, by, id, ids};
use crate::Snapshot;
use model::party::{Organisation, OrganisationKind, PrincipalRecord, Status};
use model::{AccessRequest, PrincipalKind};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Things that happen to a registry.
#[derive(Clone, Copy, Debug)]
enum Change {
    Role,
    Clearance,
    Kind,
    NewPerson,
    PersonGone,
    NewOrganisation,
    OrganisationGone,
    Country,
    Suspended,
    Released,
    Terms,
    NewAgreement,
    AgreementGone,
    Equipment,
    Policies,
    Nothing,
}

const CHANGES: [Change; 16] = [
    Change::Role,
    Change::Clearance,
    Change::Kind,
    Change::NewPerson,
    Change::PersonGone,
    Change::NewOrganisation,
    Change::OrganisationGone,
    Change::Country,
    Change::Suspended,
    Change::Released,
    Change::Terms,
    Change::NewAgreement,
    Change::AgreementGone,
    Change::Equipment,
    Change::Policies,
    Change::Nothing,
];

impl Change {
    /// `who` is an organisation, `n` makes each change another.
    fn apply(self, world: &mut World, who: &str, n: u8) {
        let parties = &mut world.parties;
        let mole = parties.principals.get_mut(&(id("bolt"), id("mole")));
        match self {
            Self::Role => mole.into_iter().for_each(|p| {
                p.roles = ids(["auditor", "plant-analytics"].get(usize::from(n % 3)..).unwrap_or_default())
            }),
            Self::Clearance => mole.into_iter().for_each(|p| p.clearance = n % 4),
            Self::Kind => mole.into_iter().for_each(|p| p.kind = PrincipalKind::Service),
            Self::NewPerson => {
                let record = PrincipalRecord {
                    organisation: id(who),
                    subject: id("anna"),
                    kind: PrincipalKind::User,
                    title: String::new(),
                    roles: BTreeSet::from([id("press-shop-steward")]),
                    clearance: n % 4,
                    export_authorisations: BTreeSet::new(),
                };
                if parties.organisations.contains_key(who) {
                    parties.principals.insert((id(who), id("anna")), record);
                }
            }
            Self::PersonGone => drop(parties.principals.remove(&(id("bolt"), id("mole")))),
            Self::NewOrganisation => {
                let organisation = Organisation {
                    id: id("fresh"),
                    title: String::new(),
                    kind: OrganisationKind::Supplier,
                    country: String::from("AT"),
                    status: Status::Active,
                    roles: BTreeSet::new(),
                    bindings: BTreeSet::new(),
                };
                parties.organisations.insert(id("fresh"), organisation);
            }
            Self::OrganisationGone => {
                parties.organisations.remove("bolt");
                parties.principals.retain(|(organisation, _), _| organisation.as_str() != "bolt");
            }
            Self::Country => parties.organisations.get_mut(who).into_iter().for_each(|o| o.country = format!("A{n}")),
            Self::Suspended => drop(parties.revocations.organisations.insert(id(who))),
            Self::Released => parties.revocations.organisations.clear(),
            Self::Terms => parties.agreements.values_mut().for_each(|a| a.rows_max = 10 * i64::from(n)),
            Self::NewAgreement => {
                let new = agreement("fresh-2026", who, &["maintenance"], &["machine-signals", "traceability"]);
                parties.agreements.insert(new.id.clone(), new);
            }
            Self::AgreementGone => drop(parties.agreements.remove("acme-maintenance-2026")),
            Self::Equipment => {
                world.plant.equipment.get_mut("press-3").into_iter().for_each(|e| e.parent = Some(id("munich")))
            }
            Self::Policies => world.policies = LISTED.with(Arc::clone),
            Self::Nothing => {}
        }
    }
}

thread_local! {
    static BASE: Arc<crate::PolicySet> = base();
    static LISTED: Arc<crate::PolicySet> = base_with(
        r#"@id("line") permit (principal, action == Plant::Action::"readSeries", resource in Plant::WorkCenter::"press-line");"#,
    );
}

fn requests() -> Vec<AccessRequest> {
    let people = [
        ("norden", "ida"),
        ("acme", "anna"),
        ("acme", "otto"),
        ("bolt", "mole"),
        ("bolt", "bert"),
        ("fresh", "new"),
        ("dorn", "dora"),
    ];
    let what =
        ["Signal/press-3.force", "Dataset/all-parts", "Dataset/inspections", "AuditScope/acme", "AuditScope/fresh"];
    let mut all: Vec<_> = people.iter().flat_map(|(o, s)| what.map(|what| ask(o, s, what))).collect();
    all.push(by(ask("acme", "anna", "Signal/press-3.force"), |a| a.actors = vec![actor("bolt", "mole")]));
    all
}

fn decisions(snapshot: &Snapshot) -> Vec<String> {
    requests().into_iter().map(|request| format!("{:?}", snapshot.decide(request, &["p", "q"]))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_decision_and_slice_is_the_one_of_a_fresh_snapshot(
        changes in prop::collection::vec(
            (prop::sample::select(CHANGES.to_vec()), prop::sample::select(vec!["acme", "bolt", "norden"]), 0_u8..9),
            1..6,
        ),
    ) {
        let mut world = World::with(BASE.with(Arc::clone));
        let mut plant = Arc::new(world.plant.clone());
        let mut latest = Snapshot::new(world.policies.clone(), plant.clone(), Arc::new(world.parties.clone()), 7).unwrap();
        for (change, who, n) in changes {
            change.apply(&mut world, who, n);
            // As the catalog that is read again: another plant, if only by its place in memory.
            if matches!(change, Change::Equipment) {
                plant = Arc::new(world.plant.clone());
            }
            let parties = Arc::new(world.parties.clone());
            let fresh = Snapshot::new(world.policies.clone(), plant.clone(), parties.clone(), 7);
            match (latest.after(world.policies.clone(), plant.clone(), parties, 7), fresh) {
                (Ok(next), Ok(fresh)) => {
                    prop_assert_eq!(decisions(&next), decisions(&fresh), "{:?}", change);
                    latest = next;
                }
                (next, fresh) => prop_assert_eq!(next.err(), fresh.err(), "{:?}", change),
            }
        }
    }
}

#[test]
fn what_is_the_same_is_taken_over_and_what_changed_is_not() {
    let world = World::new();
    let plant = Arc::new(world.plant.clone());
    let before = Snapshot::new(world.policies.clone(), plant.clone(), Arc::new(world.parties.clone()), 1).unwrap();
    let mut parties = world.parties.clone();
    parties.principals.get_mut(&(id("bolt"), id("mole"))).unwrap().clearance = 3;
    let after = before.after(world.policies, plant, Arc::new(parties), 2).unwrap();
    assert!(Arc::ptr_eq(&before.offer, &after.offer));
    let kept = |subject: &str, organisation: &str| {
        let key = (id(organisation), id(subject));
        let of = |snapshot: &Snapshot| snapshot.roster.registered.get(&key).cloned().unwrap();
        Arc::ptr_eq(&of(&before), &of(&after))
    };
    assert!(kept("ida", "norden") && kept("otto", "acme") && !kept("mole", "bolt"));
    assert_eq!((before.generation(), after.generation()), (1, 2));
}

#[test]
fn a_change_that_does_not_fit_is_refused_as_by_a_fresh_snapshot() {
    let mut world = World::new();
    let before = world.snapshot();
    world.parties.organisations.remove("bolt");
    let findings = before.after(before.policies().clone(), before.plant().clone(), Arc::new(world.parties), 2);
    let findings = super::world::lines(&findings.unwrap_err());
    assert_eq!(findings, "principal `bolt/mole`: organisation `bolt` does not exist\n");
    let mut world = World::new();
    world.parties.agreements.values_mut().for_each(|a| a.rows_max = i64::MAX);
    assert!(before.after(before.policies().clone(), before.plant().clone(), Arc::new(world.parties), 2).is_err());
}
