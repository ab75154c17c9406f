//! What a plant offers, made ready for slices: datasets and signals with their field classes and kinds of records.
//!
//! Nothing here depends on the registry, so that a snapshot after a change of the registry takes all of it over.

use crate::encode;
use crate::engine::{self, Conformance, Shared, Value};
use crate::entities;
use crate::names::{Types, uid};
use crate::{Finding, PolicySet};
use cedar_policy::{Entity, EntityUid};
use model::plant::{Alike, Dataset, Plant, RecordKind, Signal};
use model::{EquipmentId, FieldClassId, ProductId, ResourceRef};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Immutable; shared by snapshots.
#[derive(Debug)]
pub(crate) struct Offer {
    pub data: HashMap<ResourceRef, Data>,
    pub classes: BTreeMap<FieldClassId, Known>,
}

/// An entity ready for slices, with its place in the record of one.
#[derive(Debug)]
pub(crate) struct Known {
    pub uid: EntityUid,
    /// The same as a value.
    pub name: Value,
    pub entity: Shared,
    pub json: Vec<u8>,
}

/// A resource with the entities that questions about it need beside those who ask.
#[derive(Debug)]
pub(crate) struct Base {
    pub uid: EntityUid,
    pub json: Vec<u8>,
    pub entities: Vec<Shared>,
}

/// A dataset or signal. Its entities are itself and its field classes.
#[derive(Debug)]
pub(crate) struct Data {
    pub base: Base,
    pub product: ProductId,
    pub listed: bool,
    pub governance: Value,
    /// Those above public that an answer may hold, sorted.
    pub classes: Vec<FieldClassId>,
    pub fields: Fields,
    pub kinds: Kinds,
}

/// Beyond this, asking about each kind of record costs more than a request may. Where there are more, kinds that are alike to
/// a question stand for each other; where there are more of those, none is shown.
pub(crate) const KINDS_MAX: usize = 64;
/// Of those that stand for others. They are as many as organisations are named, and asked about once for each of these sets.
pub(crate) const ALIKE_MAX: usize = 256;

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
    Some {
        listed: Arc<Listed>,
        /// Those that may not be seen can be left out.
        can_be_filtered: bool,
    },
    /// More than can be asked about.
    Many { few: Few, can_be_filtered: bool },
}

/// Kinds of records to ask about.
#[derive(Debug)]
pub(crate) struct Listed {
    pub kinds: Vec<RecordKind>,
    pub uids: Vec<EntityUid>,
    pub jsons: Vec<Vec<u8>>,
    pub entities: Vec<Shared>,
    /// What they stand for, if for more than themselves.
    pub alike: Option<Arc<Alike>>,
}

/// Those of a dataset of many that have been asked about, by what they stand for.
#[derive(Debug, Default)]
pub(crate) struct Few(Mutex<HashMap<Alike, Arc<Listed>>>);

/// Sets of kinds that a dataset keeps: one for each set of organisations that a question names.
const FEW_MAX: usize = 64;

impl Few {
    /// # Errors
    /// In words; none for a plant that has been accepted.
    pub(crate) fn get_or_make(
        &self,
        alike: Alike,
        make: impl FnOnce(Arc<Alike>) -> Result<Listed, String>,
    ) -> Result<Arc<Listed>, String> {
        let all = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all().get(&alike) {
            return Ok(Arc::clone(known));
        }
        let new = Arc::new(make(Arc::new(alike.clone()))?);
        let mut all = all();
        if all.len() >= FEW_MAX {
            all.clear();
        }
        all.insert(alike, Arc::clone(&new));
        Ok(new)
    }
}

/// What `kinds` of a dataset are to policies. `above` is what the dataset itself is part of.
///
/// # Errors
/// In words: references to nothing, and what does not fit the schema.
pub(crate) fn list(
    (types, conformance): (&Types, &Conformance<'_>),
    plant: &Plant,
    d: &Dataset,
    above: &[EntityUid],
    kinds: Vec<RecordKind>,
    alike: Option<Arc<Alike>>,
) -> Result<Listed, String> {
    let known = kinds
        .iter()
        .enumerate()
        .map(|(n, one)| known(conformance, &entities::kind_of_record(types, plant, d, n, one)?, above));
    let known = known.collect::<Result<Vec<_>, String>>()?;
    let entities = known.iter().map(|k| Shared::clone(&k.entity)).collect();
    let (uids, jsons) = known.into_iter().map(|k| (k.uid, k.json)).unzip();
    Ok(Listed { kinds, uids, jsons, entities, alike })
}

impl Base {
    /// What the resource is part of.
    pub(crate) fn above(&self) -> Vec<EntityUid> {
        self.entities.first().map(engine::ancestors).unwrap_or_default()
    }
}

impl Offer {
    /// # Errors
    /// Entities that do not fit the schema, references to nothing, and hierarchies that lead back to themselves.
    pub(crate) fn new(policies: &PolicySet, plant: &Plant) -> Result<Self, Vec<Finding>> {
        let mut builder = Builder {
            types: &policies.names.types,
            plant,
            conformance: Conformance::new(&policies.schema),
            equipment: HashMap::new(),
            classes: BTreeMap::new(),
            findings: Vec::new(),
        };
        builder.vocabularies();
        builder.equipment();
        builder.field_classes();
        let data = builder.data();
        Finding::check(builder.findings)?;
        Ok(Self { data, classes: builder.classes })
    }
}

// === building

struct Builder<'a> {
    types: &'a Types,
    plant: &'a Plant,
    conformance: Conformance<'a>,
    /// Each with all that it is part of.
    equipment: HashMap<&'a EquipmentId, Vec<EntityUid>>,
    classes: BTreeMap<FieldClassId, Known>,
    findings: Vec<Finding>,
}

impl<'a> Builder<'a> {
    fn note<T>(&mut self, what: impl FnOnce() -> String, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.findings.push(Finding::new(format!("{}: {message}", what())))).ok()
    }

    /// Entities with neither attributes nor parents are alike to the schema: one of each type stands for all.
    fn vocabularies(&mut self) {
        let types = self.types;
        for ty in [&types.purpose, &types.export_class, &types.data_product, &types.source] {
            let sample = engine::flat(&Entity::with_uid(uid(ty, "a")), []);
            let checked = self.conformance.check(&sample);
            self.note(|| ty.to_string(), checked);
        }
    }

    fn equipment(&mut self) {
        for (id, e) in &self.plant.equipment {
            let parents = chain(id, |id| self.plant.equipment.get(id)?.parent.as_ref());
            let checked = parents.and_then(|parents| {
                let parents = parents.into_iter().map(|parent| entities::equipment_uid(self.types, self.plant, parent));
                let ancestors = parents.collect::<Result<Vec<_>, _>>()?;
                self.known(&entities::equipment(self.types, self.plant, e)?, &ancestors)?;
                Ok(std::iter::once(uid(self.types.level(e.level), id)).chain(ancestors).collect())
            });
            if let Some(place) = self.note(|| format!("equipment `{id}`"), checked) {
                self.equipment.insert(id, place);
            }
        }
    }

    fn field_classes(&mut self) {
        for (id, class) in &self.plant.field_classes {
            let parents = chain(id, |id| self.plant.field_classes.get(id)?.parent.as_ref());
            let known = parents.and_then(|parents| {
                let ancestors: Vec<_> = parents.into_iter().map(|p| uid(&self.types.field_class, p)).collect();
                self.known(&entities::field_class(self.types, class)?, &ancestors)
            });
            if let Some(known) = self.note(|| format!("field class `{id}`"), known) {
                self.classes.insert(id.clone(), known);
            }
        }
    }

    fn data(&mut self) -> HashMap<ResourceRef, Data> {
        let mut all = HashMap::with_capacity(self.plant.datasets.len() + self.plant.signals.len());
        for d in self.plant.datasets.values() {
            let data = self.dataset(d);
            let data = self.note(|| format!("dataset `{}`", d.id), data);
            all.extend(data.map(|data| (ResourceRef::Dataset(d.id.clone()), data)));
        }
        for s in self.plant.signals.values() {
            let data = self.signal(s);
            let data = self.note(|| format!("signal `{}`", s.id), data);
            all.extend(data.map(|data| (ResourceRef::Signal(s.id.clone()), data)));
        }
        all
    }

    fn known(&self, entity: &Entity, ancestors: &[EntityUid]) -> Result<Known, String> {
        known(&self.conformance, entity, ancestors)
    }

    /// What `equipment` is part of, itself included. A finding of its own says what is wrong where there is nothing.
    fn place(&self, equipment: &EquipmentId) -> &[EntityUid] {
        self.equipment.get(equipment).map_or(&[], Vec::as_slice)
    }

    fn dataset(&self, d: &Dataset) -> Result<Data, String> {
        // Without a declaration every field may be of the highest class, so every class must be revealed.
        let present: BTreeSet<&FieldClassId> =
            if d.fields.is_empty() { self.plant.field_classes.keys().collect() } else { d.fields.values().collect() };
        let held = self.above_public(present);
        let product = entities::product_of(self.plant, &d.product)?;
        let is_public = |c: &FieldClassId| self.plant.field_classes.get(c).is_some_and(|known| known.public);
        let fields = match d.can_be_shaped() {
            true => Fields::Apart { some_public: d.fields.values().any(is_public) },
            false => Fields::Whole,
        };
        let base = self.base(&entities::dataset(self.types, self.plant, d)?, &d.equipment, &held)?;
        let kinds = match d.records.kinds(KINDS_MAX) {
            None => Kinds::Many { few: Few::default(), can_be_filtered: d.can_be_filtered() },
            Some(all) => self.kinds(d, &base, all)?,
        };
        Ok(Data {
            base,
            product: d.product.clone(),
            listed: product.listed,
            governance: engine::value(&entities::governance(self.types, product, &d.governance)?)?,
            classes: held,
            fields,
            kinds,
        })
    }

    fn kinds(&self, d: &Dataset, dataset: &Base, kinds: Vec<RecordKind>) -> Result<Kinds, String> {
        let listed = list((self.types, &self.conformance), self.plant, d, &dataset.above(), kinds, None)?;
        Ok(Kinds::Some { listed: Arc::new(listed), can_be_filtered: d.can_be_filtered() })
    }

    fn signal(&self, s: &Signal) -> Result<Data, String> {
        let held = self.above_public(BTreeSet::from([&s.field_class]));
        let product = entities::product_of(self.plant, &s.product)?;
        Ok(Data {
            base: self.base(&entities::signal(self.types, self.plant, s)?, &s.equipment, &held)?,
            product: s.product.clone(),
            listed: product.listed,
            governance: engine::value(&entities::governance(self.types, product, &s.governance)?)?,
            classes: held,
            fields: Fields::Whole,
            kinds: Kinds::None,
        })
    }

    fn base(&self, entity: &Entity, at: &EquipmentId, classes: &[FieldClassId]) -> Result<Base, String> {
        let Known { uid, entity, json, .. } = self.known(entity, self.place(at))?;
        let classes = classes.iter().filter_map(|class| self.classes.get(class)).map(|k| Shared::clone(&k.entity));
        Ok(Base { uid, json, entities: std::iter::once(entity).chain(classes).collect() })
    }

    /// Classes to ask about. One that the plant does not know stays in, and will be refused.
    fn above_public(&self, present: BTreeSet<&FieldClassId>) -> Vec<FieldClassId> {
        let public = |c: &FieldClassId| self.plant.field_classes.get(c).is_some_and(|known| known.public);
        present.into_iter().filter(|c| !public(c)).cloned().collect()
    }
}

/// The entity with all of its `ancestors`, its own parents among them or not, checked and encoded.
pub(crate) fn known(conformance: &Conformance<'_>, entity: &Entity, ancestors: &[EntityUid]) -> Result<Known, String> {
    let flat = engine::flat(entity, ancestors.iter().cloned());
    conformance.check(&flat)?;
    let json = encode::entity(&engine::public(&flat))?;
    let uid = entity.uid();
    Ok(Known { name: engine::name(&uid), uid, entity: flat, json })
}

/// All that stand above `id`, nearest first.
fn chain<'a, I: Ord + std::fmt::Display>(
    id: &'a I,
    parent: impl Fn(&'a I) -> Option<&'a I>,
) -> Result<Vec<&'a I>, String> {
    let (mut above, mut seen) = (Vec::new(), BTreeSet::from([id]));
    let mut at = id;
    while let Some(next) = parent(at) {
        if !seen.insert(next) {
            return Err(format!("it stands below itself, by way of `{next}`; give `{at}` another parent, or none"));
        }
        above.push(next);
        at = next;
    }
    Ok(above)
}
