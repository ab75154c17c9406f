//! The catalog's half of a snapshot that decisions read: equipment, products, datasets, signals, vocabularies.
//!
//! How a source is reached and what a route accepts is `registry`'s; decisions do not depend on it.

use crate::{
    DatasetId, Digest, EquipmentId, ExportClassId, FieldClassId, OrganisationId, ProductId, PurposeId, RoleId,
    SignalId, SourceId,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Levels of the ISA-95 (IEC 62264-1) equipment hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Enterprise,
    Site,
    Area,
    WorkCenter,
    WorkUnit,
    Equipment,
}

#[derive(Clone, Debug)]
pub struct Equipment {
    pub id: EquipmentId,
    pub title: String,
    pub level: Level,
    pub parent: Option<EquipmentId>,
    /// Who built or maintains it.
    pub supplier: Option<OrganisationId>,
}

#[derive(Clone, Debug)]
pub struct Product {
    pub id: ProductId,
    pub title: String,
    pub owner: OrganisationId,
    pub steward: RoleId,
    pub lifecycle: Lifecycle,
    /// Listed products can be discovered by every organisation that has any agreement with the owner.
    pub listed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    Draft,
    Active,
    Retired,
}

impl Lifecycle {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// What governs a dataset or a signal.
#[derive(Clone, Debug)]
pub struct Governance {
    /// 0 public, 1 internal, 2 confidential, 3 secret.
    pub sensitivity: u8,
    pub export_class: Option<ExportClassId>,
    pub trade_secret: bool,
    /// The supplier whose machine or parts it describes.
    pub supplier: Option<OrganisationId>,
}

#[derive(Clone, Debug)]
pub struct Dataset {
    pub id: DatasetId,
    pub title: String,
    pub product: ProductId,
    pub source: SourceId,
    pub equipment: EquipmentId,
    pub governance: Governance,
    /// Field name (dotted path) to its class; a field that is not listed has the highest class.
    pub fields: BTreeMap<String, FieldClassId>,
    pub records: RecordAttributes,
}

/// The values that attributes of the dataset's records can have: a closed world, so that every combination can be asked.
/// An empty set says that no record carries the attribute.
#[derive(Clone, Debug, Default)]
pub struct RecordAttributes {
    pub suppliers: BTreeSet<OrganisationId>,
    pub customers: BTreeSet<OrganisationId>,
    pub export_classes: BTreeSet<ExportClassId>,
    /// Some records carry none of the above.
    pub unassigned: bool,
}

#[derive(Clone, Debug)]
pub struct Signal {
    pub id: SignalId,
    pub title: String,
    pub product: ProductId,
    pub source: SourceId,
    pub equipment: EquipmentId,
    pub governance: Governance,
    /// Class of the measured value.
    pub field_class: FieldClassId,
    /// UCUM or the plant's own spelling.
    pub unit: String,
    /// What the source calls it.
    pub address: String,
}

#[derive(Clone, Debug)]
pub struct FieldClass {
    pub id: FieldClassId,
    pub title: String,
    pub parent: Option<FieldClassId>,
    /// Public classes are shown without asking.
    pub public: bool,
}

#[derive(Clone, Debug)]
pub struct Plant {
    /// Over the canonical content of all files of the folder.
    pub digest: Digest,
    pub equipment: BTreeMap<EquipmentId, Equipment>,
    pub products: BTreeMap<ProductId, Product>,
    pub datasets: BTreeMap<DatasetId, Dataset>,
    pub signals: BTreeMap<SignalId, Signal>,
    pub field_classes: BTreeMap<FieldClassId, FieldClass>,
    pub purposes: BTreeMap<PurposeId, String>,
    pub export_classes: BTreeMap<ExportClassId, String>,
}

impl Plant {
    /// `id` and everything above it, from near to far. Ends at a parent that does not exist or was already visited.
    pub fn equipment_path(&self, id: &EquipmentId) -> Vec<&Equipment> {
        let mut path = Vec::new();
        let mut next = self.equipment.get(id);
        while let Some(e) = next {
            if path.len() > 16 {
                break;
            }
            path.push(e);
            next = e.parent.as_ref().and_then(|p| self.equipment.get(p));
        }
        path
    }
}
