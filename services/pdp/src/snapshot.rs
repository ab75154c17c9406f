//! Policies, plant and registry joined under one generation: everything a decision reads, prebuilt.
//!
//! Cedar computes the hierarchy and checks every entity against the schema once, over the complete store. What requests
//! use are flat copies: a copy names all of its ancestors as parents, so it means the same without them.

use crate::credential::Alone;
use crate::encode::{self, Anonymous};
use crate::entities::{self, Collected};
use crate::memo::Memo;
use crate::moments::Moments;
use crate::names::uid;
use crate::{Finding, PolicySet};
use cedar_policy::{Entities, Entity, EntityUid, RestrictedExpression};
use model::party::Parties;
use model::plant::{Dataset, Plant, RecordKind, Signal};
use model::{AgreementId, FieldClassId, OrganisationId, Principal, PrincipalKind, ProductId, ResourceRef, Subject};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What decisions are made from. Immutable; a request uses one from start to record.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) policies: Arc<PolicySet>,
    pub(crate) plant: Arc<Plant>,
    pub(crate) parties: Arc<Parties>,
    pub(crate) generation: u64,
    pub(crate) data: HashMap<ResourceRef, Data>,
    pub(crate) scopes: BTreeMap<Option<OrganisationId>, Base>,
    pub(crate) registered: BTreeMap<(OrganisationId, Subject), Member>,
    pub(crate) strangers: BTreeMap<(OrganisationId, PrincipalKind), Member>,
    pub(crate) agreements: BTreeMap<AgreementId, Known>,
    pub(crate) agreements_of: BTreeMap<OrganisationId, Vec<AgreementId>>,
    pub(crate) classes: BTreeMap<FieldClassId, Known>,
    pub(crate) alone: Alone,
    /// `None` where a policy uses the time in a way that decisions cannot be remembered with.
    pub(crate) memo: Option<Memo>,
}

/// An entity ready for slices, with its place in the record of one.
#[derive(Debug)]
pub(crate) struct Known {
    pub uid: EntityUid,
    pub entity: Entity,
    pub json: Vec<u8>,
}

/// A principal, recorded without its id.
#[derive(Debug)]
pub(crate) struct Member {
    pub entity: Entity,
    pub json: Anonymous,
}

/// A resource and the store that questions about it begin with: action entities and itself.
#[derive(Debug)]
pub(crate) struct Base {
    pub uid: EntityUid,
    pub json: Vec<u8>,
    pub store: Entities,
}

/// A dataset or signal. Its store also has its field classes.
#[derive(Debug)]
pub(crate) struct Data {
    pub base: Base,
    pub product: ProductId,
    pub listed: bool,
    pub governance: RestrictedExpression,
    /// Those above public that an answer may hold, sorted.
    pub classes: Vec<FieldClassId>,
    pub fields: Fields,
    pub kinds: Kinds,
}

/// Beyond this, asking about each kind of record costs more than a request may: none of them is shown.
pub(crate) const KINDS_MAX: usize = 64;

/// Whether single fields of an answer can be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    /// It is shown as a whole or not at all.
    Whole,
    Apart {
        /// There are some that everybody sees who sees anything.
        some_public: bool,
    },
}

/// Kinds of records that an answer may hold.
#[derive(Debug)]
pub(crate) enum Kinds {
    /// A series has no records.
    None,
    /// With the store that questions about them begin with.
    Some {
        kinds: Vec<RecordKind>,
        uids: Vec<EntityUid>,
        jsons: Vec<Vec<u8>>,
        store: Entities,
        /// Those that may not be seen can be left out.
        can_be_filtered: bool,
    },
    /// More than can be asked about.
    TooMany,
}

impl Snapshot {
    /// Joins checked policies with a plant and a registry.
    ///
    /// Revocations alone never make this fail where it did not before: they change the status of organisations and
    /// agreements and nothing else. So revocations applied to the last good registry always take effect.
    ///
    /// # Errors
    /// Entities that do not fit the schema, references to nothing, and names in policies that neither the plant nor the
    /// registry has: such a policy would silently never apply.
    pub fn new(
        policies: Arc<PolicySet>,
        plant: Arc<Plant>,
        parties: Arc<Parties>,
        generation: u64,
    ) -> Result<Self, Vec<Finding>> {
        let complete = complete(&policies, &plant, &parties)?;
        Finding::check(unknown_names(&policies, &complete))?;
        Self::over(&complete, policies, plant, parties, generation)
    }

    /// The same for a plant of which only some is known.
    pub(crate) fn partial(
        policies: Arc<PolicySet>,
        plant: Arc<Plant>,
        parties: Arc<Parties>,
    ) -> Result<Self, Vec<Finding>> {
        let complete = complete(&policies, &plant, &parties)?;
        Self::over(&complete, policies, plant, parties, 0)
    }

    fn over(
        complete: &Entities,
        policies: Arc<PolicySet>,
        plant: Arc<Plant>,
        parties: Arc<Parties>,
        generation: u64,
    ) -> Result<Self, Vec<Finding>> {
        let builder = Builder { policies: &policies, plant: &plant, parties: &parties, complete };
        let prebuilt = builder.build().map_err(|message| vec![Finding::new(message)])?;
        let Prebuilt { data, scopes, registered, strangers, agreements, agreements_of, classes } = prebuilt;
        let alone = Alone::new(&parties);
        let memo = Moments::of(&policies.uses_of_time, parties.agreements.values()).map(Memo::new);
        Ok(Self {
            policies,
            plant,
            parties,
            generation,
            data,
            scopes,
            registered,
            strangers,
            agreements,
            agreements_of,
            classes,
            alone,
            memo,
        })
    }

    pub fn policies(&self) -> &Arc<PolicySet> {
        &self.policies
    }

    pub fn plant(&self) -> &Arc<Plant> {
        &self.plant
    }

    pub fn parties(&self) -> &Arc<Parties> {
        &self.parties
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The name of somebody whom the registry does not list.
    pub(crate) fn principal_uid(&self, principal: &Principal) -> EntityUid {
        entities::principal_uid(&self.policies.names.types, principal)
    }
}

/// Every entity with its direct parents, checked against the schema, and the hierarchy over them.
pub(crate) fn complete(policies: &PolicySet, plant: &Plant, parties: &Parties) -> Result<Entities, Vec<Finding>> {
    let mut collected = Collected::default();
    entities::plant(&policies.names.types, plant, &mut collected);
    entities::parties(&policies.names.types, plant, parties, &mut collected);
    Finding::check(collected.findings)?;
    Entities::from_entities(collected.entities, Some(&policies.schema)).map_err(|e| {
        let error = cedar_policy::ffi::DetailedError::from(&e);
        let mut finding = Finding::new(error.message);
        finding.help = error.help;
        vec![finding]
    })
}

/// Names of entities in policies that do not exist.
fn unknown_names(policies: &PolicySet, complete: &Entities) -> Vec<Finding> {
    let mut findings = Vec::new();
    for policy in policies.all.policies() {
        let id: &str = policy.id().as_ref();
        let unknown = policy.entity_literals().into_iter().filter(|uid| complete.get(uid).is_none());
        for literal in unknown.collect::<BTreeSet<_>>() {
            let mut finding = Finding::new(format!("`{literal}` does not exist, so this policy never applies to it"));
            finding.help = nearest(&literal, complete).map(|near| format!("did you mean `{near}`?"));
            findings.push(match policies.notes.get(id) {
                Some(note) => finding.at(&note.file, note.line).of(id),
                None => finding.of(id),
            });
        }
    }
    findings
}

/// The entity of the same type with the most similar id.
fn nearest(literal: &EntityUid, complete: &Entities) -> Option<String> {
    let wanted = literal.id().unescaped();
    let alike = complete.iter().map(Entity::uid).filter(|uid| uid.type_name() == literal.type_name());
    let distances = alike.map(|uid| (strsim::osa_distance(uid.id().unescaped(), wanted), uid.to_string()));
    distances.min().map(|(_, name)| name)
}

// === building

struct Prebuilt {
    data: HashMap<ResourceRef, Data>,
    scopes: BTreeMap<Option<OrganisationId>, Base>,
    registered: BTreeMap<(OrganisationId, Subject), Member>,
    strangers: BTreeMap<(OrganisationId, PrincipalKind), Member>,
    agreements: BTreeMap<AgreementId, Known>,
    agreements_of: BTreeMap<OrganisationId, Vec<AgreementId>>,
    classes: BTreeMap<FieldClassId, Known>,
}

struct Builder<'a> {
    policies: &'a PolicySet,
    plant: &'a Plant,
    parties: &'a Parties,
    complete: &'a Entities,
}

impl Builder<'_> {
    fn build(&self) -> Result<Prebuilt, String> {
        let types = &self.policies.names.types;
        let classes =
            self.plant.field_classes.keys().map(|c| Ok((c.clone(), self.known(&uid(&types.field_class, c))?)));
        let classes = classes.collect::<Result<BTreeMap<_, _>, String>>()?;
        let agreements = self.parties.agreements.keys();
        let agreements = agreements.map(|a| Ok((a.clone(), self.known(&uid(&types.agreement, a))?)));
        let mut agreements_of: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for a in self.parties.agreements.values() {
            agreements_of.entry(a.consumer.clone()).or_default().push(a.id.clone());
        }
        Ok(Prebuilt {
            data: self.data(&classes)?,
            scopes: self.scopes()?,
            registered: self.registered()?,
            strangers: self.strangers()?,
            agreements: agreements.collect::<Result<_, String>>()?,
            agreements_of,
            classes,
        })
    }

    /// The flat copy of an entity of the complete store.
    fn known(&self, uid: &EntityUid) -> Result<Known, String> {
        let found = self.complete.get(uid).ok_or_else(|| format!("{uid} does not exist"))?;
        let (uid, attributes, ancestors) = found.clone().into_inner();
        let entity = Entity::new(uid.clone(), attributes, ancestors).map_err(|e| format!("{uid}: {e}"))?;
        let json = encode::entity(&entity).map_err(|e| format!("{uid}: {e}"))?;
        Ok(Known { uid, entity, json })
    }

    /// The action entities and `more`.
    fn store(&self, more: impl IntoIterator<Item = Entity>) -> Result<Entities, String> {
        self.policies.actions.clone().add_entities(more, None).map_err(|e| e.to_string())
    }

    fn base(&self, uid: &EntityUid, beside: impl IntoIterator<Item = Entity>) -> Result<Base, String> {
        let Known { uid, entity, json } = self.known(uid)?;
        Ok(Base { uid, json, store: self.store(beside.into_iter().chain([entity]))? })
    }

    fn data(&self, classes: &BTreeMap<FieldClassId, Known>) -> Result<HashMap<ResourceRef, Data>, String> {
        let mut all = HashMap::new();
        for d in self.plant.datasets.values() {
            all.insert(ResourceRef::Dataset(d.id.clone()), self.dataset(d, classes)?);
        }
        for s in self.plant.signals.values() {
            all.insert(ResourceRef::Signal(s.id.clone()), self.signal(s, classes)?);
        }
        Ok(all)
    }

    fn dataset(&self, d: &Dataset, classes: &BTreeMap<FieldClassId, Known>) -> Result<Data, String> {
        let types = &self.policies.names.types;
        // Without a declaration every field may be of the highest class, so every class must be revealed.
        let present: BTreeSet<&FieldClassId> =
            if d.fields.is_empty() { self.plant.field_classes.keys().collect() } else { d.fields.values().collect() };
        let held = self.above_public(present);
        let kinds = match d.records.kinds(KINDS_MAX) {
            None => Kinds::TooMany,
            Some(all) => self.kinds(d, all)?,
        };
        let product = entities::product_of(self.plant, &d.product)?;
        let is_public = |c: &FieldClassId| self.plant.field_classes.get(c).is_some_and(|known| known.public);
        let fields = match d.can_be_shaped() {
            true => Fields::Apart { some_public: d.fields.values().any(is_public) },
            false => Fields::Whole,
        };
        Ok(Data {
            base: self.base(&uid(&types.dataset, &d.id), entities_of(&held, classes))?,
            product: d.product.clone(),
            listed: product.listed,
            governance: entities::governance(types, product, &d.governance)?,
            classes: held,
            fields,
            kinds,
        })
    }

    fn kinds(&self, d: &Dataset, kinds: Vec<RecordKind>) -> Result<Kinds, String> {
        let types = &self.policies.names.types;
        let known = (0..kinds.len()).map(|n| self.known(&entities::record_uid(types, d, n)));
        let known = known.collect::<Result<Vec<_>, _>>()?;
        let store = self.store(known.iter().map(|k| k.entity.clone()))?;
        let (uids, jsons) = known.into_iter().map(|k| (k.uid, k.json)).unzip();
        Ok(Kinds::Some { kinds, uids, jsons, store, can_be_filtered: d.can_be_filtered() })
    }

    fn signal(&self, s: &Signal, classes: &BTreeMap<FieldClassId, Known>) -> Result<Data, String> {
        let types = &self.policies.names.types;
        let held = self.above_public(BTreeSet::from([&s.field_class]));
        let product = entities::product_of(self.plant, &s.product)?;
        Ok(Data {
            base: self.base(&uid(&types.signal, &s.id), entities_of(&held, classes))?,
            product: s.product.clone(),
            listed: product.listed,
            governance: entities::governance(types, product, &s.governance)?,
            classes: held,
            fields: Fields::Whole,
            kinds: Kinds::None,
        })
    }

    /// Classes to ask about. One that the plant does not know stays in, and will be refused.
    fn above_public(&self, present: BTreeSet<&FieldClassId>) -> Vec<FieldClassId> {
        let public = |c: &FieldClassId| self.plant.field_classes.get(c).is_some_and(|known| known.public);
        present.into_iter().filter(|c| !public(c)).cloned().collect()
    }

    fn scopes(&self) -> Result<BTreeMap<Option<OrganisationId>, Base>, String> {
        let organisations = self.parties.organisations.keys().map(|o| Some(o.clone()));
        let scopes = organisations.chain([None]).map(|organisation| {
            let resource = ResourceRef::AuditScope(organisation.clone());
            let uid = entities::resource_uid(&self.policies.names.types, &resource);
            Ok((organisation, self.base(&uid, [])?))
        });
        scopes.collect()
    }

    fn registered(&self) -> Result<BTreeMap<(OrganisationId, Subject), Member>, String> {
        let members = self.parties.principals.iter().map(|((organisation, subject), record)| {
            let (organisation, subject) = (organisation.clone(), subject.clone());
            let principal =
                Principal { organisation: organisation.clone(), kind: record.kind, subject: subject.clone() };
            let uid = entities::principal_uid(&self.policies.names.types, &principal);
            let Known { entity, .. } = self.known(&uid)?;
            let json = Anonymous::of(&entity)?;
            Ok(((organisation, subject), Member { entity, json }))
        });
        members.collect()
    }

    fn strangers(&self) -> Result<BTreeMap<(OrganisationId, PrincipalKind), Member>, String> {
        let types = &self.policies.names.types;
        let mut all = BTreeMap::new();
        for (id, organisation) in &self.parties.organisations {
            let Some(status) = self.parties.status_of(id) else { continue };
            for kind in [PrincipalKind::User, PrincipalKind::Service] {
                let nobody = entities::stranger(organisation, kind)?;
                let entity = entities::principal(types, &nobody, organisation, status, None)?;
                let json = Anonymous::of(&entity)?;
                all.insert((id.clone(), kind), Member { entity, json });
            }
        }
        Ok(all)
    }
}

fn entities_of(ids: &[FieldClassId], classes: &BTreeMap<FieldClassId, Known>) -> Vec<Entity> {
    ids.iter().filter_map(|id| classes.get(id)).map(|k| k.entity.clone()).collect()
}
