//! Slices mean what the complete store means, and the record of a slice can be read.

use super::world::{World, anna, ask, base, base_with, id, now};
use crate::answer::{Answer, answer};
use crate::credential::Told;
use crate::decision::Decision;
use crate::engine::{self, Store, datetime};
use crate::entities::{self, Collected};
use crate::names::uid;
use crate::question::{About, Question};
use crate::slice::{self, Caller};
use crate::snapshot::{Kinds, Listed, Snapshot};
use cedar_policy::{Entities, EntityUid, Request};
use model::entry::Content;
use model::party::Status;
use model::plant::Lifecycle;
use model::{AccessRequest, Action, Digest, ResourceRef, Timestamp};
use proptest::prelude::*;
use std::sync::Arc;

// === the record

fn slice(decision: &Decision) -> &Content {
    match decision {
        Decision::Permit(permit) => permit.slice(),
        Decision::Denied(denial) => &denial.slice,
    }
}

#[test]
fn the_record_names_the_caller_by_reference_only() {
    for request in [anna(), ask("norden", "ida", "Dataset/inspections"), ask("bolt", "anna", "Signal/press-3.force")] {
        let subject = request.caller.principal().subject.to_string();
        let decision = World::new().decide(request);
        let Content { digest, bytes } = slice(&decision);
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(!text.contains(&subject), "{text}");
        assert!(text.contains("\"uid\":{\"id\":\"p-0001\",\"type\":\"Plant::User\"}"), "{text}");
        assert_eq!(*digest, Digest::of(bytes));
        assert!(model::canonical::parse(bytes).is_ok());
    }
}

#[test]
fn the_record_is_the_same_for_the_same_facts() {
    let one = slice(&World::new().decide(anna())).clone();
    let again = slice(&World::new().decide(ask("acme", "arno", "Signal/press-3.force"))).clone();
    assert_eq!(one, again);
    let changed = World::new().agree(|a| a.rows_max += 1, "acme-maintenance-2026");
    assert_ne!(one.digest, slice(&changed.decide(anna())).digest);
}

/// An auditor can decide again from what is on record, with Cedar's own reader and schema.
#[test]
fn the_record_is_enough_to_decide_again() {
    let world = World::new();
    let decision = world.decide(anna());
    let Decision::Permit(permit) = &decision else { panic!("{decision:?}") };
    let text = std::str::from_utf8(&permit.slice().bytes).unwrap();
    let store = Entities::from_json_str(text, Some(&world.policies.schema)).unwrap();
    let types = &world.policies.names.types;
    let (purpose, agreement) = (uid(&types.purpose, "maintenance"), uid(&types.agreement, "acme-maintenance-2026"));
    let about = About::Shape(permit.request().shape);
    let told = Told::subject(&permit.request().caller).record(types, &[]);
    let (time, agreement) = (datetime(now()).unwrap(), engine::name(&agreement));
    let agreement = Some(&agreement);
    let question = Question { now: time, caller: &told, purpose: Some(&purpose), agreement, country: None, about };
    let (principal, signal) = (uid(&types.user, "p-0001"), uid(&types.signal, "press-3.force"));
    let again = world.policies.ask(&principal, Action::ReadSeries, &signal, &question.facts(), &Store::from(&store));
    assert!(again.allow && again.errors.is_empty(), "{again:?}");
    assert!(permit.policies().contains(&again.policies[0]));
}

#[test]
fn a_record_is_small() {
    let decision = World::new().decide(anna());
    assert!(slice(&decision).bytes.len() < 4_096, "{}", slice(&decision).bytes.len());
}

// === the meaning

/// Policies that look at everything a slice must carry: hierarchies, memberships, optional parts, overflow.
pub const CURIOUS: &str = r#"
@id("site") permit (principal, action in Plant::Action::"dataplane", resource in Plant::Site::"munich")
when { principal in Plant::Organisation::"acme" };
@id("unit") forbid (principal, action == Plant::Action::"readSeries", resource in Plant::WorkUnit::"press-3")
when { principal in Plant::Role::"plant-analytics" };
@id("source") permit (principal, action == Plant::Action::"discover", resource in Plant::Source::"historian");
@id("product") permit (principal, action, resource in Plant::DataProduct::"traceability");
@id("record-of") forbid (principal, action == Plant::Action::"seeRecord", resource in Plant::Dataset::"all-parts");
@id("record-at") permit (principal, action == Plant::Action::"seeRecord", resource in Plant::Area::"press-shop")
when { resource has supplier };
@id("class") permit (principal, action == Plant::Action::"reveal", resource in Plant::FieldClass::"process")
unless { resource.public };
@id("product-of") permit (principal, action == Plant::Action::"reveal", resource)
when { context.governance.product in [Plant::DataProduct::"old-press", Plant::DataProduct::"press-pilot"] };
@id("reveals") forbid (principal, action == Plant::Action::"reveal", resource)
when { context has agreement && !(resource in context.agreement.reveals) };
@id("rows") forbid (principal, action in Plant::Action::"dataplane", resource)
when { context has agreement && context.agreement.rowsMax * context.shape.rows < 0 };
@id("from") forbid (principal, action in Plant::Action::"dataplane", resource)
when { context has country && context.country == "SE" };
@id("from-there") permit (principal, action == Plant::Action::"reveal", resource)
when { context has country && ["FR", "PL"].contains(context.country) };
@id("person") permit (principal == Plant::User::"norden/ida", action, resource);
@id("stranger") forbid (principal, action == Plant::Action::"discover", resource)
when { !principal.registered && principal.exportAuthorisations.contains(Plant::ExportClass::"dual-use") };
"#;

#[derive(Clone, Debug)]
pub struct Change {
    suspended: bool,
    lifecycle: Lifecycle,
    listed: bool,
    roles: Vec<&'static str>,
    class_parent: Option<&'static str>,
    supplier: Option<&'static str>,
    export: bool,
    rows_max: i64,
    not_after: i64,
    status: Status,
    products: Vec<&'static str>,
    reveals: Vec<&'static str>,
    equipment: &'static str,
}

pub fn changes() -> impl Strategy<Value = Change> {
    let products = vec!["machine-signals", "traceability", "plant-calendar", "old-press"];
    let classes = vec!["process", "process.recipe", "quality", "personal"];
    let first = (
        any::<bool>(),
        prop::sample::select(vec![Lifecycle::Draft, Lifecycle::Active, Lifecycle::Retired]),
        any::<bool>(),
        prop::sample::subsequence(vec!["plant-analytics", "press-shop-steward", "auditor"], 0..=3),
        prop::option::of(prop::sample::select(vec!["quality", "process"])),
        prop::option::of(prop::sample::select(vec!["acme", "bolt"])),
        any::<bool>(),
    );
    let second = (
        prop::sample::select(vec![0, 10, 1_000, 9_000_000_000_000_000]),
        -1_i64..=1,
        prop::sample::select(vec![Status::Active, Status::Suspended, Status::Retired]),
        prop::sample::subsequence(products, 0..=4),
        prop::sample::subsequence(classes, 0..=4),
        prop::sample::select(vec!["munich", "press-shop", "press-3", "gripper-7", "norden-group"]),
    );
    (first, second).prop_map(|(first, second)| {
        let (suspended, lifecycle, listed, roles, class_parent, supplier, export) = first;
        let (rows_max, not_after, status, products, reveals, equipment) = second;
        Change {
            suspended,
            lifecycle,
            listed,
            roles,
            class_parent,
            supplier,
            export,
            rows_max,
            not_after,
            status,
            products,
            reveals,
            equipment,
        }
    })
}

impl Change {
    pub fn apply(&self, mut world: World) -> World {
        if self.suspended {
            world.parties.revocations.organisations.insert(id("acme"));
        }
        let product = world.plant.products.get_mut("traceability").unwrap();
        (product.lifecycle, product.listed) = (self.lifecycle, self.listed);
        let mole = world.parties.principals.get_mut(&(id("bolt"), id("mole"))).unwrap();
        mole.roles = super::world::ids(&self.roles);
        if self.export {
            mole.export_authorisations.insert(id("dual-use"));
        }
        world.plant.field_classes.get_mut("personal").unwrap().parent = self.class_parent.map(id);
        let parts = world.plant.datasets.get_mut("all-parts").unwrap();
        parts.governance = super::world::governance(self.supplier, self.export.then_some("dual-use"));
        parts.equipment = id(self.equipment);
        world.agree(
            |a| {
                a.rows_max = self.rows_max;
                a.not_after = Timestamp(now().0 + self.not_after);
                a.status = self.status;
                a.products = super::world::ids(&self.products);
                a.reveals = super::world::ids(&self.reveals);
            },
            "acme-maintenance-2026",
        )
    }
}

/// Every entity with its direct parents, and the hierarchy over them as Cedar works it out.
pub fn complete(world: &World) -> Entities {
    let types = &world.policies.names.types;
    let mut collected = Collected::default();
    entities::plant(types, &world.plant, &mut collected);
    entities::parties(types, &world.plant, &world.parties, &mut collected);
    Entities::from_entities(collected.entities, Some(&world.policies.schema)).unwrap()
}

/// Everything that could be asked about one request, over slices and over the complete store.
struct Both<'w> {
    world: &'w World,
    snapshot: &'w Snapshot,
    complete: Entities,
    questions: usize,
}

impl Both<'_> {
    fn compare(
        &mut self,
        caller: &Caller<'_>,
        action: Action,
        resource: &EntityUid,
        question: &Question<'_>,
        store: &Store<'_>,
    ) -> Result<(), TestCaseError> {
        let set = &self.world.policies;
        let facts = question.clone().facts();
        let sliced = set.ask(&caller.uid, action, resource, &facts, store);
        let action_uid = set.names.actions.get(&action).unwrap().clone();
        // With the schema, so that a request that the validator did not foresee is noticed.
        let request =
            Request::new(caller.uid.clone(), action_uid, resource.clone(), facts.whole().clone(), Some(&set.schema))
                .unwrap();
        let full = answer(&request, &set.all, &self.complete);
        self.questions += 1;
        prop_assert_eq!(sorted(sliced), sorted(full), "{:?} {}", action, resource);
        Ok(())
    }

    fn request(&mut self, request: &AccessRequest) -> Result<(), TestCaseError> {
        let caller = Caller::find(self.snapshot, request.caller.principal(), request.caller.roles()).unwrap();
        if !self.complete.iter().any(|e| e.uid() == caller.uid) {
            let unlisted = slice::store(self.snapshot, &[], &caller, []).unwrap();
            let caller = unlisted.whole().unwrap().get(&caller.uid).cloned();
            self.complete = self.complete.clone().add_entities(caller, None).unwrap();
        }
        let snapshot = self.snapshot;
        let data = snapshot.offer.data.get(&request.resource).unwrap();
        let agreements: Vec<_> = snapshot.roster.agreements.values().map(Arc::as_ref).collect();
        let store = slice::store(snapshot, &data.base.entities, &caller, agreements.iter().copied()).unwrap();
        let purpose = uid(&self.world.policies.names.types.purpose, "maintenance");
        let told = Told::subject(&request.caller).record(&self.world.policies.names.types, &[]);
        for agreement in std::iter::once(None).chain(agreements.iter().map(|a| Some(&a.name))) {
            let now = datetime(request.now).unwrap();
            let about = |about| Question {
                now: now.clone(),
                caller: &told,
                purpose: Some(&purpose),
                agreement,
                country: request.country,
                about,
            };
            let resource = &data.base.uid;
            self.compare(&caller, Action::Discover, resource, &about(About::Nothing), &store)?;
            self.compare(&caller, request.action, resource, &about(About::Shape(request.shape)), &store)?;
            for class in &data.classes {
                let class = &snapshot.offer.classes.get(class).unwrap().uid;
                let question = about(About::Governance(&data.governance));
                self.compare(&caller, Action::Reveal, class, &question, &store)?;
            }
            let Kinds::Some { listed, .. } = &data.kinds else { continue };
            let Listed { uids, entities, .. } = &**listed;
            let store = slice::store(snapshot, entities, &caller, agreements.iter().copied()).unwrap();
            for record in uids {
                self.compare(&caller, Action::SeeRecord, record, &about(About::Nothing), &store)?;
            }
        }
        Ok(())
    }
}

fn sorted(mut answer: Answer) -> Answer {
    answer.policies.sort();
    answer.errors.sort();
    answer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_slice_answers_as_the_complete_store_does(
        change in changes(),
        who in prop::sample::select(vec![
            ("norden", "ida"), ("norden", "line-analytics"), ("norden", "newcomer"),
            ("acme", "anna"), ("bolt", "mole"), ("bolt", "bert"), ("dorn", "dora"), ("audax", "vera"),
        ]),
        rows in prop::sample::select(vec![0, 10, 2_000]),
        country in prop::sample::select(vec!["", "DE", "SE", "FR"]),
    ) {
        let policies = CURIOUS_SET.with(Arc::clone);
        let world = change.apply(World::with(policies));
        let snapshot = world.snapshot();
        let complete = complete(&world);
        let mut both = Both { world: &world, snapshot: &snapshot, complete, questions: 0 };
        for resource in ["Dataset/all-parts", "Dataset/inspections", "Signal/press-3.force", "Signal/press-1.force"] {
            let mut request = ask(who.0, who.1, resource);
            (request.shape.rows, request.country) = (rows, model::Country::parse(country));
            both.request(&request)?;
        }
        prop_assert!(both.questions > 100);
    }
}

thread_local! {
    static CURIOUS_SET: Arc<crate::PolicySet> = base_with(CURIOUS);
}

/// The comparison above would be empty if its world could not err or allow.
#[test]
fn the_curious_policies_allow_forbid_and_fail() {
    let world = World::with(base_with(CURIOUS)).agree(|a| a.rows_max = 9_000_000_000_000_000, "acme-maintenance-2026");
    let mut request = anna();
    request.shape.rows = 2_000;
    assert_eq!(world.deny(request).errors, ["rows"]);
    let permit = world.permit(ask("norden", "ida", "Dataset/recipes"));
    assert!(permit.policies().iter().any(|p| p == "person"));
    let service = world.deny(ask("norden", "line-analytics", "Signal/press-3.force"));
    assert_eq!(service.policies, ["unit"]);
}

#[test]
fn generations_and_digests_are_those_of_the_snapshot() {
    let world = World::new();
    let permit = world.permit(anna());
    assert_eq!(permit.generation(), 7);
    assert_eq!(permit.digests().policies, base().policies().digest);
    assert_eq!(permit.digests().catalog, world.plant.digest);
    assert_eq!(permit.digests().registry, world.parties.digest);
    assert_eq!(permit.digests().slice, permit.slice().digest);
    assert_eq!(permit.classes_revealed(), [id("process")]);
    assert_eq!(permit.request().resource, ResourceRef::Signal(id("press-3.force")));
}
