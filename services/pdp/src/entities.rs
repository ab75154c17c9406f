//! Plant and registry as Cedar entities, with direct parents only.

use crate::Finding;
use crate::names::{Names, Types, uid};
use crate::offer::KINDS_MAX;
use cedar_policy::{Entity, EntityUid, RestrictedExpression};
use model::party::{Agreement, Organisation, Parties, PrincipalRecord, Status};
use model::plant::{
    Acknowledgement, Dataset, Equipment, FieldClass, Governance, Lifecycle, Plant, Product, RecordKind, Signal,
};
use model::{EquipmentId, OrganisationId, Principal, PrincipalKind, RoleId, SourceId, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};

type Attributes = HashMap<String, RestrictedExpression>;

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn entity_ref(uid: EntityUid) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(uid)
}

fn entity_set(uids: impl IntoIterator<Item = EntityUid>) -> RestrictedExpression {
    RestrictedExpression::new_set(uids.into_iter().map(RestrictedExpression::new_entity_uid))
}

fn datetime(time: Timestamp) -> RestrictedExpression {
    RestrictedExpression::new_datetime(time.to_rfc3339())
}

fn attributes<const N: usize>(pairs: [(&str, RestrictedExpression); N]) -> Attributes {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

fn build(uid: EntityUid, attributes: Attributes, parents: HashSet<EntityUid>) -> Result<Entity, String> {
    Entity::new(uid, attributes, parents).map_err(|e| e.to_string())
}

// === governance

/// The record that stands on data, on its records and in the context of `reveal`.
///
/// # Errors
/// Never in practice: the fields are named once.
pub(crate) fn governance(
    types: &Types,
    product: &Product,
    governance: &Governance,
) -> Result<RestrictedExpression, String> {
    let mut fields = vec![
        ("product", entity_ref(uid(&types.data_product, &product.id))),
        ("owner", entity_ref(uid(&types.organisation, &product.owner))),
        ("steward", entity_ref(uid(&types.role, &product.steward))),
        ("lifecycle", text(product.lifecycle.as_str())),
        ("listed", RestrictedExpression::new_bool(product.listed)),
        ("sensitivity", RestrictedExpression::new_long(governance.sensitivity.into())),
        ("tradeSecret", RestrictedExpression::new_bool(governance.trade_secret)),
    ];
    let export_class = governance.export_class.as_ref().map(|c| entity_ref(uid(&types.export_class, c)));
    let supplier = governance.supplier.as_ref().map(|s| entity_ref(uid(&types.organisation, s)));
    fields.extend(export_class.map(|c| ("exportClass", c)));
    fields.extend(supplier.map(|s| ("supplier", s)));
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
    RestrictedExpression::new_record(fields).map_err(|e| e.to_string())
}

/// A governance record to try the schema with; `full` has the optional fields.
pub(crate) fn sample_governance(names: &Names, full: bool) -> Result<RestrictedExpression, String> {
    let id = |e: model::InvalidId| e.to_string();
    let product = Product {
        id: model::ProductId::new("p").map_err(id)?,
        title: String::new(),
        owner: OrganisationId::new("o").map_err(id)?,
        steward: RoleId::new("r").map_err(id)?,
        lifecycle: Lifecycle::Draft,
        listed: false,
        acknowledgement: Acknowledgement::Durable,
        outcome_before_complete: false,
    };
    let optional = Governance {
        sensitivity: 0,
        export_class: full.then(|| model::ExportClassId::new("e")).transpose().map_err(id)?,
        trade_secret: false,
        supplier: full.then(|| OrganisationId::new("s")).transpose().map_err(id)?,
    };
    governance(&names.types, &product, &optional)
}

// === parties

/// The entity of somebody of `organisation`; without a record, with nothing but the membership.
pub(crate) fn principal(
    types: &Types,
    principal: &Principal,
    organisation: &Organisation,
    status: Status,
    known: Option<&PrincipalRecord>,
) -> Result<Entity, String> {
    let member_of = uid(&types.organisation, &organisation.id);
    let roles = known.iter().flat_map(|k| &k.roles).map(|r| uid(&types.role, r));
    let exports = known.iter().flat_map(|k| &k.export_authorisations).map(|c| uid(&types.export_class, c));
    let attributes = attributes([
        ("organisation", entity_ref(member_of.clone())),
        ("organisationKind", text(organisation.kind.as_str())),
        ("organisationStatus", text(status.as_str())),
        ("country", text(&organisation.country)),
        ("registered", RestrictedExpression::new_bool(known.is_some())),
        ("clearance", RestrictedExpression::new_long(known.map_or(0, |k| k.clearance.into()))),
        ("exportAuthorisations", entity_set(exports)),
    ]);
    let parents = roles.chain([member_of]).collect();
    build(principal_uid(types, principal), attributes, parents)
}

pub(crate) fn principal_uid(types: &Types, principal: &Principal) -> EntityUid {
    uid(types.principal(principal.kind), principal.to_text())
}

pub(crate) fn agreement(types: &Types, a: &Agreement) -> Result<Entity, String> {
    let attributes = attributes([
        ("provider", entity_ref(uid(&types.organisation, &a.provider))),
        ("consumer", entity_ref(uid(&types.organisation, &a.consumer))),
        ("status", text(a.status.as_str())),
        ("purposes", entity_set(a.purposes.iter().map(|p| uid(&types.purpose, p)))),
        ("products", entity_set(a.products.iter().map(|p| uid(&types.data_product, p)))),
        ("reveals", entity_set(a.reveals.iter().map(|c| uid(&types.field_class, c)))),
        ("notBefore", datetime(a.not_before)),
        ("notAfter", datetime(a.not_after)),
        ("resolutionMinMs", RestrictedExpression::new_long(a.resolution_min_ms)),
        ("windowMaxMs", RestrictedExpression::new_long(a.window_max_ms)),
        ("ageMaxDays", RestrictedExpression::new_long(a.age_max_days)),
        ("rowsMax", RestrictedExpression::new_long(a.rows_max)),
    ]);
    build(uid(&types.agreement, &a.id), attributes, HashSet::new())
}

pub(crate) fn scope(types: &Types, organisation: Option<&OrganisationId>) -> Result<Entity, String> {
    let named = organisation.map(|o| uid(&types.organisation, o));
    let attributes = named.iter().map(|o| (String::from("organisation"), entity_ref(o.clone()))).collect();
    build(scope_uid(types, organisation), attributes, named.into_iter().collect())
}

fn scope_uid(types: &Types, organisation: Option<&OrganisationId>) -> EntityUid {
    uid(&types.audit_scope, organisation.map_or("*", |o| o.as_str()))
}

/// Roles that anybody holds, may be given or is a steward by.
pub(crate) fn roles<'p>(plant: &'p Plant, parties: &'p Parties) -> BTreeSet<&'p RoleId> {
    let held = parties.principals.values().flat_map(|p| &p.roles);
    let given = parties.organisations.values().flat_map(|o| &o.roles);
    held.chain(given).chain(plant.products.values().map(|p| &p.steward)).collect()
}

/// Organisations, roles, principals, agreements, audit scopes.
pub(crate) fn parties(types: &Types, plant: &Plant, parties: &Parties, out: &mut Collected) {
    for id in parties.organisations.keys() {
        out.bare(uid(&types.organisation, id));
        out.add(scope(types, Some(id)));
    }
    out.add(scope(types, None));
    roles(plant, parties).into_iter().for_each(|role| out.bare(uid(&types.role, role)));
    for ((organisation, subject), known) in &parties.principals {
        let status = parties.status_of(organisation);
        let (Some(of), Some(status)) = (parties.organisations.get(organisation), status) else {
            out.problem(format!("principal `{organisation}/{subject}`: organisation `{organisation}` does not exist"));
            continue;
        };
        let who = Principal { organisation: organisation.clone(), kind: known.kind, subject: subject.clone() };
        out.add(principal(types, &who, of, status, Some(known)));
    }
    for a in parties.agreements.values() {
        out.add(agreement(types, a));
    }
}

// === plant

/// Sources that anything is read from.
pub(crate) fn sources(plant: &Plant) -> BTreeSet<&SourceId> {
    plant.datasets.values().map(|d| &d.source).chain(plant.signals.values().map(|s| &s.source)).collect()
}

/// Vocabularies, equipment, products, data and their kinds of records.
pub(crate) fn plant(types: &Types, plant: &Plant, out: &mut Collected) {
    plant.purposes.keys().for_each(|p| out.bare(uid(&types.purpose, p)));
    plant.export_classes.keys().for_each(|c| out.bare(uid(&types.export_class, c)));
    plant.products.keys().for_each(|p| out.bare(uid(&types.data_product, p)));
    sources(plant).into_iter().for_each(|s| out.bare(uid(&types.source, s)));
    plant.field_classes.values().for_each(|c| out.add(field_class(types, c)));
    for e in plant.equipment.values() {
        out.add(equipment(types, plant, e).map_err(|m| format!("equipment `{}`: {m}", e.id)));
    }
    for d in plant.datasets.values() {
        out.add(dataset(types, plant, d).map_err(|m| format!("dataset `{}`: {m}", d.id)));
        for (n, one) in d.records.kinds(KINDS_MAX).unwrap_or_default().iter().enumerate() {
            out.add(kind_of_record(types, plant, d, n, one).map_err(|m| format!("dataset `{}`: {m}", d.id)));
        }
    }
    for s in plant.signals.values() {
        out.add(signal(types, plant, s).map_err(|m| format!("signal `{}`: {m}", s.id)));
    }
}

pub(crate) fn field_class(types: &Types, class: &FieldClass) -> Result<Entity, String> {
    let attributes = attributes([("public", RestrictedExpression::new_bool(class.public))]);
    let parents = class.parent.iter().map(|p| uid(&types.field_class, p)).collect();
    build(uid(&types.field_class, &class.id), attributes, parents)
}

pub(crate) fn equipment(types: &Types, plant: &Plant, e: &Equipment) -> Result<Entity, String> {
    let parents = match &e.parent {
        Some(parent) => HashSet::from([equipment_uid(types, plant, parent)?]),
        None => HashSet::new(),
    };
    Ok(Entity::new_no_attrs(uid(types.level(e.level), &e.id), parents))
}

pub(crate) fn equipment_uid(types: &Types, plant: &Plant, id: &EquipmentId) -> Result<EntityUid, String> {
    let found = plant.equipment.get(id).ok_or_else(|| format!("equipment `{id}` does not exist"))?;
    Ok(uid(types.level(found.level), id))
}

pub(crate) fn product_of<'p>(plant: &'p Plant, id: &model::ProductId) -> Result<&'p Product, String> {
    plant.products.get(id).ok_or_else(|| format!("data product `{id}` does not exist"))
}

pub(crate) fn dataset(types: &Types, plant: &Plant, d: &Dataset) -> Result<Entity, String> {
    let product = product_of(plant, &d.product)?;
    let attributes = attributes([("governance", governance(types, product, &d.governance)?)]);
    let parents = HashSet::from([
        uid(&types.data_product, &d.product),
        uid(&types.source, &d.source),
        equipment_uid(types, plant, &d.equipment)?,
    ]);
    build(uid(&types.dataset, &d.id), attributes, parents)
}

pub(crate) fn signal(types: &Types, plant: &Plant, s: &Signal) -> Result<Entity, String> {
    let product = product_of(plant, &s.product)?;
    let attributes = attributes([
        ("governance", governance(types, product, &s.governance)?),
        ("fieldClass", entity_ref(uid(&types.field_class, &s.field_class))),
    ]);
    let parents = HashSet::from([
        uid(&types.data_product, &s.product),
        uid(&types.source, &s.source),
        equipment_uid(types, plant, &s.equipment)?,
    ]);
    build(uid(&types.signal, &s.id), attributes, parents)
}

pub(crate) fn kind_of_record(
    types: &Types,
    plant: &Plant,
    d: &Dataset,
    n: usize,
    one: &RecordKind,
) -> Result<Entity, String> {
    let product = product_of(plant, &d.product)?;
    let mut attributes = attributes([
        ("governance", governance(types, product, &d.governance)?),
        ("divided", RestrictedExpression::new_bool(d.records.is_divided())),
    ]);
    let supplier = one.supplier.as_ref().map(|s| ("supplier", uid(&types.organisation, s)));
    let customer = one.customer.as_ref().map(|c| ("customer", uid(&types.organisation, c)));
    let export_class = one.export_class.as_ref().map(|c| ("exportClass", uid(&types.export_class, c)));
    let optional = supplier.into_iter().chain(customer).chain(export_class);
    attributes.extend(optional.map(|(k, v)| (k.to_owned(), entity_ref(v))));
    let parents = HashSet::from([uid(&types.dataset, &d.id)]);
    build(record_uid(types, d, n), attributes, parents)
}

/// Kinds of records are numbered within their dataset.
pub(crate) fn record_uid(types: &Types, dataset: &Dataset, n: usize) -> EntityUid {
    uid(&types.record, format!("{}#{n}", dataset.id))
}

/// Somebody whom the registry does not list.
pub(crate) fn stranger(organisation: &Organisation, kind: PrincipalKind) -> Result<Principal, String> {
    let subject = model::Subject::new("-").map_err(|e| e.to_string())?;
    Ok(Principal { organisation: organisation.id.clone(), kind, subject })
}

// === collecting

/// Entities and what kept others from being built.
#[derive(Default)]
pub(crate) struct Collected {
    pub entities: Vec<Entity>,
    pub findings: Vec<Finding>,
}

impl Collected {
    fn bare(&mut self, uid: EntityUid) {
        self.entities.push(Entity::new_no_attrs(uid, HashSet::new()));
    }

    fn add(&mut self, entity: Result<Entity, String>) {
        match entity {
            Ok(entity) => self.entities.push(entity),
            Err(message) => self.problem(message),
        }
    }

    fn problem(&mut self, message: String) {
        self.findings.push(Finding::new(message));
    }
}
