//! The catalog's half of a snapshot that decisions read: equipment, products, datasets, signals, vocabularies.
//!
//! How a source is reached and what a route accepts is `registry`'s; decisions do not depend on it.

mod alike;

pub use alike::{Alike, Standing};

use crate::canonical::Members;
use crate::{
    DatasetId, Digest, EquipmentId, ExportClassId, FieldClassId, OrganisationId, ProductId, PurposeId, RoleId,
    SignalId, SourceId,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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
    pub acknowledgement: Acknowledgement,
    /// The end of an answer leaves only when the log has how it ended.
    pub outcome_before_complete: bool,
}

/// What a decision waits for before the source is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Acknowledgement {
    /// Its entry is flushed to the disk.
    #[default]
    Durable,
    /// A signed checkpoint covers it.
    Checkpointed,
    /// A quorum of witnesses has cosigned one that does.
    Witnessed,
}

/// What an answer waits for in the log. A product says it, and policies that permit may say more; nobody can take from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    pub acknowledgement: Acknowledgement,
    /// The end of the answer waits for the outcome.
    pub outcome_before_complete: bool,
}

impl Demands {
    /// All that either of them demands.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            acknowledgement: self.acknowledgement.max(other.acknowledgement),
            outcome_before_complete: self.outcome_before_complete || other.outcome_before_complete,
        }
    }

    /// Adds them to an entry, or to its `inputs`, as far as they are more than every entry has.
    pub fn record(self, members: &mut Members) {
        if self.acknowledgement > Acknowledgement::Durable {
            members.text("acknowledgement", self.acknowledgement.as_str());
        }
        if self.outcome_before_complete {
            members.bool("outcome_before_complete", true);
        }
    }
}

impl Product {
    pub fn demands(&self) -> Demands {
        Demands { acknowledgement: self.acknowledgement, outcome_before_complete: self.outcome_before_complete }
    }
}

impl Acknowledgement {
    pub const ALL: [Self; 3] = [Self::Durable, Self::Checkpointed, Self::Witnessed];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Checkpointed => "checkpointed",
            Self::Witnessed => "witnessed",
        }
    }
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
    /// What its answers are written in.
    pub format: Format,
    /// Field name (dotted path, `*` for any name) to its class; a field that is not listed has the highest class.
    pub fields: BTreeMap<String, FieldClassId>,
    /// How a field is hidden whose class may not be shown; [`Mask::Drop`] where nothing is said.
    pub masks: BTreeMap<String, Mask>,
    pub records: RecordAttributes,
}

impl Dataset {
    /// Whether single fields of its answers can be hidden. If so, those that are not declared always are.
    pub fn can_be_shaped(&self) -> bool {
        self.format != Format::Opaque && !self.fields.is_empty()
    }

    /// Whether single records of its answers can be left out: they say which kind they are of.
    pub fn can_be_filtered(&self) -> bool {
        self.can_be_shaped() && !self.records.told_by.is_empty()
    }
}

/// What the answers of a dataset are written in, so that they can be shaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    /// One JSON text on each line.
    NdJson,
    /// With a first row of column names.
    Csv(Separator),
    /// Something that cannot be looked into: shown as a whole or not at all.
    Opaque,
}

/// What stands between two cells. Spreadsheets write what the country of their user writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Separator {
    #[default]
    Comma,
    Semicolon,
    Tab,
}

impl Separator {
    pub fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }
}

/// What is shown in place of a value that may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Nothing: the field is left out.
    Drop,
    /// `null`.
    Null,
    /// A text that says so.
    Redact,
    /// The same text for the same value under one agreement, and no way back.
    Pseudonym,
    /// The last characters of a text.
    Partial { last: u32 },
    /// The nearest multiple.
    Round { to: Step },
    /// The range of this width that it lies in, `100..150`: its beginning is in it, its end is not.
    Bucket { width: Step },
}

impl fmt::Display for Mask {
    /// As the catalog writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => f.write_str("drop"),
            Self::Null => f.write_str("null"),
            Self::Redact => f.write_str("redact"),
            Self::Pseudonym => f.write_str("pseudonym"),
            Self::Partial { last } => write!(f, "partial {last}"),
            Self::Round { to } => write!(f, "round {}", to),
            Self::Bucket { width } => write!(f, "bucket {}", width),
        }
    }
}

/// A decimal number above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Without the point.
    digits: u32,
    decimals: u8,
}

impl Step {
    /// `100`, `0.5`: at most nine digits, at most six of them behind the point.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let ends_well = text.contains('.') != fraction.is_empty();
        if !ends_well || whole.is_empty() || !plain(whole) || !plain(fraction) || whole.len() + fraction.len() > 9 {
            return None;
        }
        let digits = format!("{whole}{fraction}").parse().ok().filter(|digits| *digits > 0)?;
        let decimals = u8::try_from(fraction.len()).ok().filter(|decimals| *decimals <= 6)?;
        Some(Self { digits, decimals })
    }

    /// How many whole steps of a decimal number lie below it, and how many its nearest multiple has, away from zero when
    /// it lies halfway. `None` for what is no decimal number, or has more digits than 128 bits hold.
    pub fn count(self, number: &str) -> Option<(i128, i128)> {
        let (digits, scale) = decimal(number)?;
        let common = scale.max(u32::from(self.decimals));
        let value = digits.checked_mul(10_i128.checked_pow(common - scale)?)?;
        let step = i128::from(self.digits).checked_mul(10_i128.checked_pow(common - u32::from(self.decimals))?)?;
        let nearest = value.checked_abs()?.checked_mul(2)?.checked_add(step)? / step.checked_mul(2)?;
        Some((value.div_euclid(step), nearest * value.signum()))
    }

    /// So many steps, with as many digits behind the point as the step has.
    pub fn times(self, count: i128) -> Option<String> {
        let units = count.checked_mul(i128::from(self.digits))?;
        let (sign, digits) = (if units < 0 { "-" } else { "" }, units.unsigned_abs().to_string());
        let decimals = usize::from(self.decimals);
        if decimals == 0 {
            return Some(format!("{sign}{digits}"));
        }
        let digits = format!("{digits:0>width$}", width = decimals + 1);
        let (whole, fraction) = digits.split_at_checked(digits.len() - decimals)?;
        Some(format!("{sign}{whole}.{fraction}"))
    }
}

/// Digits and how many of them stand behind the point. RFC 8259 section 6, as far as it is exact in 128 bits.
fn decimal(number: &str) -> Option<(i128, u32)> {
    let (number, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent.parse().ok()?)?;
    match u32::try_from(scale) {
        Ok(scale) => Some((digits, scale)),
        Err(_) => Some((digits.checked_mul(10_i128.checked_pow(scale.unsigned_abs())?)?, 0)),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.times(1).unwrap_or_default())
    }
}

/// The values that attributes of the dataset's records can have: a closed world, so that every combination can be asked.
/// An empty set says that no record carries the attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordAttributes {
    pub suppliers: BTreeSet<OrganisationId>,
    pub customers: BTreeSet<OrganisationId>,
    pub export_classes: BTreeSet<ExportClassId>,
    /// Some records carry none of the above.
    pub unassigned: bool,
    /// Field (dotted path) whose items are the records; empty for the answer itself.
    pub at: String,
    /// What a record says of itself.
    pub told_by: BTreeMap<RecordAttribute, ToldBy>,
}

/// What tells one record from another to policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordAttribute {
    Supplier,
    Customer,
    ExportClass,
}

/// Where a record says an attribute of its own, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldBy {
    /// Dotted path, of the answer.
    pub field: String,
    /// What its texts stand for, an id or nobody's. Without any, a text is the id.
    pub values: BTreeMap<String, Option<String>>,
}

/// Records that are the same to policies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKind {
    pub supplier: Option<OrganisationId>,
    pub customer: Option<OrganisationId>,
    pub export_class: Option<ExportClassId>,
}

impl RecordKind {
    pub fn get(&self, attribute: RecordAttribute) -> Option<&str> {
        match attribute {
            RecordAttribute::Supplier => self.supplier.as_ref().map(OrganisationId::as_str),
            RecordAttribute::Customer => self.customer.as_ref().map(OrganisationId::as_str),
            RecordAttribute::ExportClass => self.export_class.as_ref().map(ExportClassId::as_str),
        }
    }
}

impl RecordAttributes {
    /// Every kind of record that there can be; `None` when there are more than `max`.
    ///
    /// A record need not carry every attribute, so absence is a value like any other. A record that carries none at all is
    /// left out only where the dataset says that there is none.
    pub fn kinds(&self, max: usize) -> Option<Vec<RecordKind>> {
        let Self { suppliers, customers, export_classes, unassigned, .. } = self;
        let count = (suppliers.len() + 1).checked_mul(customers.len() + 1)?.checked_mul(export_classes.len() + 1)?;
        if count > max {
            return None;
        }
        let bare = *unassigned || count == 1;
        let mut all = Vec::with_capacity(count);
        for supplier in optional(suppliers) {
            for customer in optional(customers) {
                for export_class in optional(export_classes) {
                    all.push(RecordKind {
                        supplier: supplier.cloned(),
                        customer: customer.cloned(),
                        export_class: export_class.cloned(),
                    });
                }
            }
        }
        all.retain(|kind| bare || kind.supplier.is_some() || kind.customer.is_some() || kind.export_class.is_some());
        Some(all)
    }

    /// Whether a record can carry this value.
    pub fn has(&self, attribute: RecordAttribute, id: &str) -> bool {
        match attribute {
            RecordAttribute::Supplier => self.suppliers.contains(id),
            RecordAttribute::Customer => self.customers.contains(id),
            RecordAttribute::ExportClass => self.export_classes.contains(id),
        }
    }

    /// The values that records can carry, sorted.
    pub fn values(&self, attribute: RecordAttribute) -> Vec<&str> {
        match attribute {
            RecordAttribute::Supplier => self.suppliers.iter().map(OrganisationId::as_str).collect(),
            RecordAttribute::Customer => self.customers.iter().map(OrganisationId::as_str).collect(),
            RecordAttribute::ExportClass => self.export_classes.iter().map(ExportClassId::as_str).collect(),
        }
    }

    /// Records are told apart by whom they belong to.
    pub fn is_divided(&self) -> bool {
        !self.suppliers.is_empty() || !self.customers.is_empty() || self.unassigned
    }
}

fn optional<T>(values: &BTreeSet<T>) -> impl Iterator<Item = Option<&T>> {
    std::iter::once(None).chain(values.iter().map(Some))
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

#[cfg(test)]
mod tests {
    use super::Step;

    #[test]
    fn steps_are_counted_in_decimals_and_not_in_floats() {
        for (step, number, below, nearest) in [
            ("0.1", "0.3", "0.3", "0.3"),
            ("0.1", "0.7", "0.7", "0.7"),
            ("0.1", "0.15", "0.1", "0.2"),
            ("0.1", "0.35", "0.3", "0.4"),
            ("0.1", "-0.05", "-0.1", "-0.1"),
            ("0.5", "-3", "-3.0", "-3.0"),
            ("100", "-3", "-100", "0"),
            ("100", "1.5e2", "100", "200"),
            ("50", "173.26", "150", "150"),
            ("0.3", "8000000000000000", "7999999999999999.8", "8000000000000000.1"),
            ("7", "9007199254740993", "9007199254740988", "9007199254740995"),
            ("0.25", "1e-3", "0.00", "0.00"),
        ] {
            let of = Step::parse(step).unwrap();
            let (floor, round) = of.count(number).unwrap();
            let got = (of.times(floor).unwrap(), of.times(round).unwrap());
            assert_eq!(got, (below.to_owned(), nearest.to_owned()), "{number} by {step}");
        }
        for number in ["1e400", "1e-400", "123456789012345678901234567890123456789012", "NaN", "", "x"] {
            assert_eq!(Step::parse("0.1").unwrap().count(number), None, "{number}");
        }
    }

    #[test]
    fn what_is_no_step_is_none() {
        for text in ["", "0", "0.0", "-1", "1.", ".5", "1e3", "1.0000001", "12345678901", "1,5", " 1"] {
            assert_eq!(Step::parse(text), None, "{text}");
        }
    }
}
