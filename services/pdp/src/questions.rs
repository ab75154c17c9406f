//! The questions that stand behind a decision, for whoever explains it.
//!
//! They are put together apart from the way that decides, over the complete plant and by Cedar's own evaluator: slow, and
//! a second opinion. Nothing here lets anybody in.

use crate::cases::Expected;
use crate::credential::Told;
use crate::engine::{self, Value, datetime};
use crate::entities::{self, Collected};
use crate::names::{Types, uid};
use crate::offer::{ALIKE_MAX, KINDS_MAX};
use crate::question::{About, Question};
use crate::snapshot::Snapshot;
use crate::{Decision, Denial};
use cedar_policy::{Entities, Entity, EntityUid, Request};
use model::party::{Agreement, Status};
use model::plant::{Alike, Dataset, RecordAttribute, RecordKind};
use model::{
    AccessRequest, Action, AgreementId, FieldClassId, OrganisationId, Principal, ResourceRef, RoleId, Timestamp,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One question to Cedar.
pub(crate) struct Asked {
    /// `acme/engineer-1`; who acts for the caller is asked about as well.
    pub who: String,
    pub action: Action,
    /// `Dataset/acme-parts`, a field class, a kind of record.
    pub resource: String,
    pub agreement: Option<AgreementId>,
    pub request: Request,
}

/// The questions, and what Cedar needs to answer them.
pub(crate) struct Questions {
    pub asked: Vec<Asked>,
    pub entities: Entities,
}

/// Somebody who takes part, as Cedar sees it.
struct Party<'a> {
    principal: &'a Principal,
    entity: Entity,
    told: Value,
}

impl Questions {
    /// The questions about `request`, which came to `decision`. None, where the registry does not know the organisation or
    /// the plant the resource: there was nothing to ask.
    ///
    /// # Errors
    /// In words; a fault of ours.
    pub(crate) fn of(snapshot: &Snapshot, request: &AccessRequest, decision: &Decision) -> Result<Self, String> {
        let parties = parties(snapshot, request)?.unwrap_or_default();
        let kinds = kinds(snapshot, request, decision);
        let entities = store(snapshot, &parties, &kinds.entities(snapshot)?)?;
        let mut asker = Asker { snapshot, request, kinds, asked: Vec::new() };
        for (n, party) in parties.iter().enumerate() {
            // Only the subject's agreement can be named, and only its part in the decision is told.
            let under = if n == 0 { agreement_of(decision) } else { None };
            asker.party(party, decision, under)?;
        }
        Ok(Self { asked: asker.asked, entities })
    }
}

struct Asker<'a> {
    snapshot: &'a Snapshot,
    request: &'a AccessRequest,
    kinds: Kinds<'a>,
    asked: Vec<Asked>,
}

/// Kinds of records of the dataset, if it is one.
#[derive(Default)]
struct Kinds<'a> {
    dataset: Option<&'a Dataset>,
    all: Vec<RecordKind>,
    /// Some of them stand for others, too.
    alike: Option<Arc<Alike>>,
}

/// Those that were asked about. Where a dataset has many, only a permit says which.
fn kinds<'a>(snapshot: &'a Snapshot, request: &AccessRequest, decision: &Decision) -> Kinds<'a> {
    let ResourceRef::Dataset(id) = &request.resource else { return Kinds::default() };
    let Some(dataset) = snapshot.plant.datasets.get(id) else { return Kinds::default() };
    let alike = match decision {
        Decision::Permit(permit) => permit.kinds_alike().cloned(),
        Decision::Denied(_) => None,
    };
    let all = match &alike {
        Some(alike) => dataset.records.fewer(alike).kinds(ALIKE_MAX),
        None => dataset.records.kinds(KINDS_MAX),
    };
    Kinds { dataset: Some(dataset), all: all.unwrap_or_default(), alike }
}

impl Kinds<'_> {
    /// As entities, where the plant does not list them.
    fn entities(&self, snapshot: &Snapshot) -> Result<Vec<Entity>, String> {
        let Some(dataset) = self.dataset.filter(|_| self.alike.is_some()) else { return Ok(Vec::new()) };
        let types = &snapshot.policies.names.types;
        let all = self.all.iter().enumerate();
        all.map(|(n, kind)| entities::kind_of_record(types, &snapshot.plant, dataset, n, kind)).collect()
    }

    /// `supplier acme, any other customer`
    fn name(&self, kind: &RecordKind) -> String {
        let attributes = [
            ("supplier", RecordAttribute::Supplier),
            ("customer", RecordAttribute::Customer),
            ("export class", RecordAttribute::ExportClass),
        ];
        let parts = attributes.into_iter().filter_map(|(what, attribute)| {
            let id = kind.get(attribute)?;
            let stands = self.alike.as_ref().is_some_and(|alike| alike.is_for_others(attribute, id));
            Some(if stands { format!("{what} {id} and its like") } else { format!("{what} {id}") })
        });
        let parts: Vec<String> = parts.collect();
        if parts.is_empty() { String::from("nobody") } else { parts.join(", ") }
    }
}

impl<'a> Asker<'a> {
    fn party(&mut self, party: &Party<'_>, decision: &Decision, under: Option<&AgreementId>) -> Result<(), String> {
        let resource = &self.request.resource;
        let name = resource.to_text();
        let main = resource_uid(self.types(), resource);
        let (product, governance) = match governance(self.snapshot, resource)? {
            Some(found) => found,
            None if matches!(resource, ResourceRef::AuditScope(_)) => {
                return self.ask(party, self.request.action, (name, main), None, About::Nothing);
            }
            None => return Ok(()),
        };
        let candidates = self.candidates(&party.principal.organisation, &product);
        for agreement in candidates.iter().copied().map(Some).chain([None]) {
            self.ask(party, Action::Discover, (name.clone(), main.clone()), agreement, About::Nothing)?;
        }
        if Expected::of(decision).decision == "hidden" {
            return Ok(());
        }
        let decided = under.and_then(|id| candidates.iter().copied().find(|a| a.id == *id));
        let shape = About::Shape(self.request.shape);
        let live = candidates.iter().copied().filter(|a| is_live(a, self.request.now) && a.products.contains(&product));
        let under = match decided {
            Some(agreement) => vec![Some(agreement)],
            None => live.map(Some).chain([None]).collect(),
        };
        for agreement in under {
            self.ask(party, self.request.action, (name.clone(), main.clone()), agreement, shape)?;
        }
        let about = About::Governance(&governance);
        for class in classes(decision) {
            let class_uid = uid(&self.types().field_class, &class);
            self.ask(party, Action::Reveal, (format!("fields of {class}"), class_uid), decided, about)?;
        }
        self.records(party, decision, decided)
    }

    fn records(&mut self, party: &Party<'_>, decision: &Decision, under: Option<&Agreement>) -> Result<(), String> {
        let asked_about = match decision {
            Decision::Permit(_) => true,
            Decision::Denied(denial) => denial.records_hidden,
        };
        let Some(dataset) = self.kinds.dataset.filter(|_| asked_about) else { return Ok(()) };
        let names: Vec<String> = self.kinds.all.iter().map(|kind| self.kinds.name(kind)).collect();
        for (n, name) in names.into_iter().enumerate() {
            let record = entities::record_uid(self.types(), dataset, n);
            self.ask(party, Action::SeeRecord, (format!("records of {name}"), record), under, About::Nothing)?;
        }
        Ok(())
    }

    fn ask(
        &mut self,
        party: &Party<'_>,
        action: Action,
        (name, resource): (String, EntityUid),
        agreement: Option<&Agreement>,
        about: About<'_>,
    ) -> Result<(), String> {
        let known = self.request.purpose.as_ref().filter(|p| self.snapshot.plant.purposes.contains_key(*p));
        let purpose = known.filter(|_| action != Action::Discover).map(|p| uid(&self.types().purpose, p));
        let agreement_uid = agreement.map(|a| uid(&self.types().agreement, &a.id));
        let agreement_name = agreement_uid.as_ref().map(engine::name);
        let now = datetime(self.request.now)?;
        let (purpose, under) = (purpose.as_ref(), agreement_name.as_ref());
        let country = self.snapshot.country_told(self.request);
        let facts = Question { now, caller: &party.told, purpose, agreement: under, country, about }.facts();
        let action_uid = self.snapshot.policies.names.actions.get(&action).ok_or("unknown action")?;
        let request = Request::new(party.entity.uid(), action_uid.clone(), resource, facts.whole().clone(), None);
        self.asked.push(Asked {
            who: party.principal.to_text(),
            action,
            resource: name,
            agreement: agreement.map(|a| a.id.clone()),
            request: request.map_err(|e| e.to_string())?,
        });
        Ok(())
    }

    /// Those that cover the product, all where it is listed, and the one that is named.
    fn candidates(&self, organisation: &OrganisationId, product: &model::ProductId) -> Vec<&'a Agreement> {
        let snapshot = self.snapshot;
        let listed = snapshot.plant.products.get(product).is_some_and(|p| p.listed);
        let named = self.request.agreement.as_ref();
        let own = snapshot.parties.agreements.values().filter(|a| a.consumer == *organisation);
        own.filter(|a| listed || a.products.contains(product) || named == Some(&a.id)).collect()
    }

    fn types(&self) -> &Types {
        &self.snapshot.policies.names.types
    }
}

fn resource_uid(types: &Types, resource: &ResourceRef) -> EntityUid {
    match resource {
        ResourceRef::Dataset(id) => uid(&types.dataset, id),
        ResourceRef::Signal(id) => uid(&types.signal, id),
        ResourceRef::AuditScope(of) => uid(&types.audit_scope, of.as_ref().map_or("*", |of| of.as_str())),
    }
}

fn agreement_of(decision: &Decision) -> Option<&AgreementId> {
    match decision {
        Decision::Permit(permit) => permit.agreement(),
        Decision::Denied(denial) => denial.agreement.as_ref(),
    }
}

/// Those that were asked about, as far as the decision says so.
fn classes(decision: &Decision) -> Vec<FieldClassId> {
    match decision {
        Decision::Permit(permit) => permit.classes_revealed().iter().chain(permit.classes_hidden()).cloned().collect(),
        Decision::Denied(Denial { classes_hidden, .. }) => classes_hidden.clone(),
    }
}

fn is_live(a: &Agreement, now: Timestamp) -> bool {
    a.status == Status::Active && a.not_before <= now && now < a.not_after
}

fn governance(snapshot: &Snapshot, resource: &ResourceRef) -> Result<Option<(model::ProductId, Value)>, String> {
    let plant = &snapshot.plant;
    let found = match resource {
        ResourceRef::Dataset(id) => plant.datasets.get(id).map(|d| (&d.product, &d.governance)),
        ResourceRef::Signal(id) => plant.signals.get(id).map(|s| (&s.product, &s.governance)),
        ResourceRef::AuditScope(_) => None,
    };
    let Some((product, of)) = found else { return Ok(None) };
    let known = entities::product_of(plant, product)?;
    let record = entities::governance(&snapshot.policies.names.types, known, of)?;
    Ok(Some((product.clone(), engine::value(&record)?)))
}

// === who takes part

/// The subject, then who acts for it; `None` when the registry does not know an organisation of theirs.
fn parties<'a>(snapshot: &Snapshot, request: &'a AccessRequest) -> Result<Option<Vec<Party<'a>>>, String> {
    let caller = &request.caller;
    let none = BTreeSet::new();
    let actors = caller.actors().iter().map(|actor| (&actor.principal, &none, Told::actor(caller, &actor.issuer)));
    let all: Vec<_> = [(caller.principal(), caller.roles(), Told::subject(caller))].into_iter().chain(actors).collect();
    let mut entities = Vec::new();
    for (principal, roles, _) in &all {
        let Some(entity) = entity(snapshot, principal, roles)? else { return Ok(None) };
        entities.push(entity);
    }
    let uids: Vec<EntityUid> = entities.iter().map(Entity::uid).collect();
    let parties = all.into_iter().zip(entities).enumerate().map(|(n, ((principal, _, told), entity))| {
        let others = uids.iter().enumerate().filter(|(other, _)| *other != n).map(|(_, uid)| uid.clone());
        let told = told.record(&snapshot.policies.names.types, &others.collect::<Vec<_>>());
        Ok(Party { principal, entity, told })
    });
    parties.collect::<Result<_, String>>().map(Some)
}

fn entity(snapshot: &Snapshot, principal: &Principal, roles: &BTreeSet<RoleId>) -> Result<Option<Entity>, String> {
    let (types, parties) = (&snapshot.policies.names.types, &snapshot.parties);
    let found = parties.organisations.get(&principal.organisation).zip(parties.status_of(&principal.organisation));
    let Some((organisation, status)) = found else { return Ok(None) };
    let record = parties.principals.get(&(principal.organisation.clone(), principal.subject.clone()));
    let kind = record.map_or(principal.kind, |record| record.kind);
    let who = Principal { kind, ..principal.clone() };
    let (name, attributes, mut parents) = entities::principal(types, &who, organisation, status, record)?.into_inner();
    let given = roles.iter().filter(|role| organisation.roles.contains(*role));
    parents.extend(given.map(|role| uid(&types.role, role)));
    Entity::new(name, attributes, parents).map(Some).map_err(|e| e.to_string())
}

/// The whole plant with those who take part.
fn store(snapshot: &Snapshot, parties: &[Party<'_>], kinds: &[Entity]) -> Result<Entities, String> {
    let types = &snapshot.policies.names.types;
    let mut collected = Collected::default();
    entities::plant(types, &snapshot.plant, &mut collected);
    entities::parties(types, &snapshot.plant, &snapshot.parties, &mut collected);
    let mut seen = BTreeSet::new();
    let taking_part =
        parties.iter().map(|party| party.entity.clone()).chain(collected.entities).chain(kinds.iter().cloned());
    let once: Vec<Entity> = taking_part.filter(|entity| seen.insert(entity.uid())).collect();
    let actions = snapshot.policies.actions.clone();
    actions.add_entities(once, None).map_err(|e| e.to_string())
}
