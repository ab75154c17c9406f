//! A recorded slice → the plant and the registry that it was taken from, as far as the decision could see them.
//!
//! What a slice does not say is made up where decisions cannot tell: the order of ancestors, a name for a class that is
//! public. Whether the result is the same to decisions is not taken on trust: the slice that is recorded over it must be
//! the recorded one, byte for byte.

use super::inputs::{Described, Records};
use crate::snapshot::Fields;
use model::canonical::{self, Value};
use model::party::{Agreement, Organisation, OrganisationKind, Parties, PrincipalRecord, Revocations, Status};
use model::plant::{
    Acknowledgement, Dataset, Demands, Equipment, FieldClass, Format, Governance, Lifecycle, Plant, Product,
    RecordAttribute, RecordAttributes, Signal, ToldBy,
};
use model::{
    CertificateRef, Digest, ExportClassId, FieldClassId, IssuerId, OrganisationId, Principal, PrincipalKind, PurposeId,
    RoleId, SerialNumber, Timestamp,
};
use serde::de::value::{Error, StrDeserializer};
use serde::de::{Deserialize, IntoDeserializer as _};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// What stands beside the slice.
#[derive(Clone, Debug)]
pub(super) struct Beside<'a> {
    /// Who takes part, each with the reference that stands for it in the slice.
    pub people: &'a [(String, Principal)],
    /// Of the token.
    pub roles: &'a BTreeSet<RoleId>,
    /// One that the plant has.
    pub purpose: Option<&'a PurposeId>,
    pub data: Option<Described>,
    /// What the product of the data demands of the log.
    pub product: Demands,
    /// Organisations and export classes that the policies name.
    pub named: &'a Named,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub organisations: BTreeSet<OrganisationId>,
    pub export_classes: BTreeSet<ExportClassId>,
}

/// Shown by whoever was revoked, and revoked in every rebuilt registry.
pub(super) fn revoked() -> Option<CertificateRef> {
    Some(CertificateRef { authority: IssuerId::new("revoked").ok()?, serial: SerialNumber::new("1").ok()? })
}

/// # Errors
/// In words: what of the slice is not as slices are.
pub(super) fn rebuild(slice: &[u8], beside: &Beside<'_>) -> Result<(Plant, Parties), String> {
    let slice = canonical::parse(slice).map_err(|e| format!("the slice is not canonical JSON: {e}"))?;
    let Value::Array(items) = &slice else { return Err(String::from("the slice is no list")) };
    let entities = items.iter().map(|item| Entity::read(item).ok_or("the slice holds what is no entity"));
    let entities = entities.collect::<Result<Vec<_>, _>>()?;
    let mut world = Rebuilt::new();
    world.plant.purposes.extend(beside.purpose.map(|purpose| (purpose.clone(), String::new())));
    for entity in &entities {
        world.add(entity, beside).ok_or_else(|| format!("`{}` in the slice is not as recorded", entity.id))?;
    }
    world.classes(&entities).ok_or("the field classes in the slice are not as recorded")?;
    let is_data = |e: &&Entity<'_>| matches!(e.kind, "Dataset" | "Signal");
    if let Some(data) = entities.iter().find(is_data) {
        let described = beside.data.ok_or("the entry does not say how its data is described")?;
        world
            .data(data, &entities, described, beside.named)
            .ok_or_else(|| format!("`{}` in the slice is not as recorded", data.id))?;
    }
    for product in world.plant.products.values_mut() {
        let Demands { acknowledgement, outcome_before_complete } = beside.product;
        (product.acknowledgement, product.outcome_before_complete) = (acknowledgement, outcome_before_complete);
    }
    Ok((world.plant, world.parties))
}

// === reading

struct Entity<'v> {
    /// Without the namespace.
    kind: &'v str,
    id: &'v str,
    attributes: &'v Value,
    parents: Vec<(&'v str, &'v str)>,
}

fn uid(value: &Value) -> Option<(&str, &str)> {
    let text = |name| value.get(name).and_then(Value::as_text);
    Some((text("type")?.strip_prefix("Plant::")?, text("id")?))
}

impl<'v> Entity<'v> {
    fn read(value: &'v Value) -> Option<Self> {
        let (kind, id) = uid(value.get("uid")?)?;
        let Value::Array(parents) = value.get("parents")? else { return None };
        let parents = parents.iter().map(uid).collect::<Option<_>>()?;
        Some(Self { kind, id, attributes: value.get("attrs")?, parents })
    }

    fn parents_of<T: FromStr + Ord>(&self, kind: &str) -> Option<BTreeSet<T>> {
        self.parents.iter().filter(|(of, _)| *of == kind).map(|(_, id)| id.parse().ok()).collect()
    }

    fn parent<T: FromStr>(&self, kind: &str) -> Option<T> {
        self.parents.iter().find(|(of, _)| *of == kind)?.1.parse().ok()
    }
}

/// Members of an entity's attributes, or of a record among them.
#[derive(Clone, Copy)]
struct Attributes<'v>(&'v Value);

impl<'v> Attributes<'v> {
    fn text(self, name: &str) -> Option<&'v str> {
        self.0.get(name)?.as_text()
    }

    fn int(self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_int()
    }

    fn bool(self, name: &str) -> Option<bool> {
        match self.0.get(name)? {
            Value::Bool(yes) => Some(*yes),
            _ => None,
        }
    }

    /// A value that is known by its name.
    fn named<T: Deserialize<'v>>(self, name: &str) -> Option<T> {
        let text: StrDeserializer<'v, Error> = self.text(name)?.into_deserializer();
        T::deserialize(text).ok()
    }

    fn entity<T: FromStr>(self, name: &str) -> Option<T> {
        uid(self.0.get(name)?.get("__entity")?)?.1.parse().ok()
    }

    /// Absent is one thing, ill-formed another.
    fn optional<T: FromStr>(self, name: &str) -> Option<Option<T>> {
        if self.0.get(name).is_none() { Some(None) } else { self.entity(name).map(Some) }
    }

    fn entities<T: FromStr + Ord>(self, name: &str) -> Option<BTreeSet<T>> {
        let Value::Array(items) = self.0.get(name)? else { return None };
        items.iter().map(|item| uid(item.get("__entity")?)?.1.parse().ok()).collect()
    }

    fn time(self, name: &str) -> Option<Timestamp> {
        Timestamp::parse_rfc3339(self.0.get(name)?.get("__extn")?.get("arg")?.as_text()?)
    }
}

// === building

struct Rebuilt {
    plant: Plant,
    parties: Parties,
}

impl Rebuilt {
    fn new() -> Self {
        let digest = Digest([0; 32]);
        let plant = Plant {
            digest,
            equipment: BTreeMap::new(),
            products: BTreeMap::new(),
            datasets: BTreeMap::new(),
            signals: BTreeMap::new(),
            field_classes: BTreeMap::new(),
            purposes: BTreeMap::new(),
            export_classes: BTreeMap::new(),
        };
        let certificates = revoked().into_iter().collect();
        let parties = Parties {
            digest,
            organisations: BTreeMap::new(),
            issuers: BTreeMap::new(),
            authorities: BTreeMap::new(),
            principals: BTreeMap::new(),
            agreements: BTreeMap::new(),
            revocations: Revocations { certificates, ..Revocations::default() },
        };
        Self { plant, parties }
    }

    /// Parties and agreements. Data needs the rest first.
    fn add(&mut self, entity: &Entity<'_>, beside: &Beside<'_>) -> Option<()> {
        match entity.kind {
            "User" => self.principal(entity, PrincipalKind::User, beside),
            "Service" => self.principal(entity, PrincipalKind::Service, beside),
            "Agreement" => self.agreement(entity),
            "AuditScope" => self.scope(entity),
            "Dataset" | "Signal" | "Record" | "FieldClass" => Some(()),
            _ => None,
        }
    }

    fn principal(&mut self, entity: &Entity<'_>, kind: PrincipalKind, beside: &Beside<'_>) -> Option<()> {
        let (_, who) = beside.people.iter().find(|(reference, _)| reference == entity.id)?;
        let of = Attributes(entity.attributes);
        let organisation: OrganisationId = of.entity("organisation")?;
        if organisation != who.organisation {
            return None;
        }
        let held: BTreeSet<RoleId> = entity.parents_of("Role")?;
        let registered = of.bool("registered")?;
        if registered {
            let record = PrincipalRecord {
                organisation: organisation.clone(),
                subject: who.subject.clone(),
                kind,
                title: String::new(),
                roles: held.clone(),
                clearance: u8::try_from(of.int("clearance")?).ok()?,
                export_authorisations: of.entities("exportAuthorisations")?,
            };
            self.parties.principals.insert((organisation.clone(), who.subject.clone()), record);
        }
        // Whom the registry does not list has those roles of its token that its organisation may give.
        let given = if registered { BTreeSet::new() } else { &held & beside.roles };
        let known = self.parties.organisations.entry(organisation.clone());
        let known = known.or_insert(Organisation {
            id: organisation,
            title: String::new(),
            kind: of.named::<OrganisationKind>("organisationKind")?,
            country: of.text("country")?.to_owned(),
            status: of.named::<Status>("organisationStatus")?,
            roles: BTreeSet::new(),
            bindings: BTreeSet::new(),
        });
        known.roles.extend(given);
        Some(())
    }

    fn agreement(&mut self, entity: &Entity<'_>) -> Option<()> {
        let of = Attributes(entity.attributes);
        let agreement = Agreement {
            id: entity.id.parse().ok()?,
            title: String::new(),
            provider: of.entity("provider")?,
            consumer: of.entity("consumer")?,
            status: of.named("status")?,
            purposes: of.entities("purposes")?,
            products: of.entities("products")?,
            reveals: of.entities("reveals")?,
            not_before: of.time("notBefore")?,
            not_after: of.time("notAfter")?,
            resolution_min_ms: of.int("resolutionMinMs")?,
            window_max_ms: of.int("windowMaxMs")?,
            // Entries from before there was a limit have none.
            age_max_days: of.int("ageMaxDays").unwrap_or(i64::MAX),
            rows_max: of.int("rowsMax")?,
        };
        self.parties.agreements.insert(agreement.id.clone(), agreement);
        Some(())
    }

    /// There is a scope for each organisation. One that takes no part is nothing but a name to policies.
    fn scope(&mut self, entity: &Entity<'_>) -> Option<()> {
        let of = Attributes(entity.attributes);
        let Some(id) = of.optional::<OrganisationId>("organisation")? else { return Some(()) };
        self.parties.organisations.entry(id.clone()).or_insert(Organisation {
            id,
            title: String::new(),
            kind: OrganisationKind::Service,
            country: String::new(),
            status: Status::Retired,
            roles: BTreeSet::new(),
            bindings: BTreeSet::new(),
        });
        Some(())
    }

    // --- data

    /// The classes and what is above them. A class has one parent, a slice all that is above it: whatever is above more of
    /// them is further up.
    fn classes(&mut self, entities: &[Entity<'_>]) -> Option<()> {
        let classes: Vec<&Entity<'_>> = entities.iter().filter(|e| e.kind == "FieldClass").collect();
        let mut below: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, above) in classes.iter().flat_map(|class| &class.parents) {
            *below.entry(above).or_default() += 1;
        }
        for class in classes {
            let mut above: Vec<&str> = class.parents.iter().map(|(_, id)| *id).collect();
            above.sort_by_key(|id| (below.get(id).copied(), *id));
            let public = Attributes(class.attributes).bool("public")?;
            let chain: Vec<&str> = std::iter::once(class.id).chain(above).collect();
            for (n, id) in chain.iter().enumerate() {
                let parent = chain.get(n + 1).map(|id| FieldClassId::new(id)).transpose().ok()?;
                self.class(id, parent, n == 0 && public)?;
            }
        }
        Some(())
    }

    fn class(&mut self, id: &str, parent: Option<FieldClassId>, public: bool) -> Option<FieldClassId> {
        let id: FieldClassId = id.parse().ok()?;
        let class = FieldClass { id: id.clone(), title: String::new(), parent, public };
        self.plant.field_classes.entry(id.clone()).or_insert(class);
        Some(id)
    }

    fn data(
        &mut self,
        entity: &Entity<'_>,
        entities: &[Entity<'_>],
        described: Described,
        named: &Named,
    ) -> Option<()> {
        let governed = Attributes(Attributes(entity.attributes).0.get("governance")?);
        let product = self.product(governed)?;
        let governance = Governance {
            sensitivity: u8::try_from(governed.int("sensitivity")?).ok()?,
            export_class: governed.optional("exportClass")?,
            trade_secret: governed.bool("tradeSecret")?,
            supplier: governed.optional("supplier")?,
        };
        let source = entity.parent("Source")?;
        let equipment = self.equipment(entity)?;
        if entity.kind == "Signal" {
            let field_class: FieldClassId = Attributes(entity.attributes).entity("fieldClass")?;
            // One that is not in the slice was not asked about.
            self.class(field_class.as_str(), None, true)?;
            let id: model::SignalId = entity.id.parse().ok()?;
            let (title, unit, address) = Default::default();
            let signal =
                Signal { id: id.clone(), title, product, source, equipment, governance, field_class, unit, address };
            self.plant.signals.insert(id, signal);
            return Some(());
        }
        let held = entities.iter().filter(|e| e.kind == "FieldClass").map(|e| e.id.parse().ok());
        let mut classes = held.collect::<Option<Vec<FieldClassId>>>()?;
        if described.fields == (Fields::Apart { some_public: true }) {
            classes.push(self.public_class()?);
        }
        let whole = described.fields == Fields::Whole;
        let id: model::DatasetId = entity.id.parse().ok()?;
        let records = self.records(entities, described.records, named, &governance)?;
        let dataset = Dataset {
            id: id.clone(),
            title: String::new(),
            product,
            source,
            equipment,
            governance,
            format: if whole { Format::Opaque } else { Format::Json },
            fields: classes.into_iter().enumerate().map(|(n, class)| (format!("field{n}"), class)).collect(),
            masks: BTreeMap::new(),
            records,
        };
        self.plant.datasets.insert(id, dataset);
        Some(())
    }

    fn product(&mut self, governed: Attributes<'_>) -> Option<model::ProductId> {
        let id: model::ProductId = governed.entity("product")?;
        let product = Product {
            id: id.clone(),
            title: String::new(),
            owner: governed.entity("owner")?,
            steward: governed.entity("steward")?,
            lifecycle: governed.named::<Lifecycle>("lifecycle")?,
            listed: governed.bool("listed")?,
            acknowledgement: Acknowledgement::Durable,
            outcome_before_complete: false,
        };
        self.plant.products.insert(id.clone(), product);
        Some(id)
    }

    /// The chain of equipment that the data hangs on; its lowest link.
    fn equipment(&mut self, entity: &Entity<'_>) -> Option<model::EquipmentId> {
        let mut chain = Vec::new();
        for (kind, id) in &entity.parents {
            if !matches!(*kind, "DataProduct" | "Source") {
                chain.push((level(kind)?, model::EquipmentId::new(id).ok()?));
            }
        }
        chain.sort();
        let mut parent = None;
        for (level, id) in chain {
            let one = Equipment { id: id.clone(), title: String::new(), level, parent: parent.take(), supplier: None };
            self.plant.equipment.insert(id.clone(), one);
            parent = Some(id);
        }
        parent
    }

    fn records(
        &self,
        entities: &[Entity<'_>],
        of: Records,
        named: &Named,
        governance: &Governance,
    ) -> Option<RecordAttributes> {
        match of {
            Records::TooMany => self.too_many(named, governance),
            _ => records(entities, of),
        }
    }

    /// At least as many kinds as there were: with every name that told some apart, and others.
    fn too_many(&self, named: &Named, governance: &Governance) -> Option<RecordAttributes> {
        let Named { mut organisations, mut export_classes } = named.clone();
        organisations.extend(self.parties.organisations.keys().cloned());
        let agreements = self.parties.agreements.values();
        organisations.extend(agreements.flat_map(|a| [a.provider.clone(), a.consumer.clone()]));
        organisations.extend(self.plant.products.values().map(|product| product.owner.clone()));
        let authorised = self.parties.principals.values().flat_map(|p| &p.export_authorisations);
        export_classes.extend(authorised.cloned());
        organisations.extend(governance.supplier.clone());
        export_classes.extend(governance.export_class.clone());
        // Two stand for others at most.
        for n in 0..2 {
            organisations.insert(OrganisationId::new(&format!("other-{n}")).ok()?);
            export_classes.insert(ExportClassId::new(&format!("other-{n}")).ok()?);
        }
        let customers = organisations.clone();
        Some(RecordAttributes { suppliers: organisations, customers, export_classes, ..RecordAttributes::default() })
    }

    /// One that no class of the slice has the name of.
    fn public_class(&mut self) -> Option<FieldClassId> {
        let mut names = (0..).map(|n| format!("public-{n}"));
        let name = names.find(|name| !self.plant.field_classes.contains_key(name.as_str()))?;
        self.class(&name, None, true)
    }
}

fn level(kind: &str) -> Option<model::plant::Level> {
    use model::plant::Level;
    Some(match kind {
        "Enterprise" => Level::Enterprise,
        "Site" => Level::Site,
        "Area" => Level::Area,
        "WorkCenter" => Level::WorkCenter,
        "WorkUnit" => Level::WorkUnit,
        "Equipment" => Level::Equipment,
        _ => return None,
    })
}

/// Values from which the recorded kinds follow.
fn records(entities: &[Entity<'_>], records: Records) -> Option<RecordAttributes> {
    let mut all = RecordAttributes::default();
    let can_be_filtered = match records {
        // Some dataset always has a kind, if only that of records that say nothing.
        Records::None | Records::TooMany => return None,
        Records::Listed { can_be_filtered } | Records::Alike { can_be_filtered } => can_be_filtered,
    };
    let kinds: Vec<_> = entities.iter().filter(|e| e.kind == "Record").collect();
    for kind in &kinds {
        let of = Attributes(kind.attributes);
        all.suppliers.extend(of.optional("supplier")?);
        all.customers.extend(of.optional("customer")?);
        all.export_classes.extend(of.optional("exportClass")?);
    }
    let says_nothing =
        |e: &&Entity<'_>| ["supplier", "customer", "exportClass"].iter().all(|a| e.attributes.get(a).is_none());
    let first = kinds.first()?;
    // A single kind says nothing either way; whether records are told apart then stands on it.
    all.unassigned = if kinds.len() == 1 && says_nothing(first) {
        Attributes(first.attributes).bool("divided")?
    } else {
        kinds.iter().any(says_nothing)
    };
    if can_be_filtered {
        all.told_by.insert(RecordAttribute::Supplier, ToldBy::default());
    }
    Some(all)
}
