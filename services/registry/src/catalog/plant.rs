//! Equipment, products, datasets, signals and vocabularies.

use super::read_all;
use crate::document::{Entry, Val};
use crate::foreign::{Foreign, Kind};
use crate::merge::Merged;
use crate::near;
use crate::table::Table;
use model::plant::{
    Acknowledgement, Dataset, Equipment, FieldClass, Format, Governance, Level, Lifecycle, Mask, Plant, Product,
    RecordAttribute, RecordAttributes, Separator, Signal, Step, ToldBy,
};
use model::{DatasetId, Digest, EquipmentId, ExportClassId, FieldClassId, OrganisationId, ProductId, RoleId, SignalId};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn read(merged: &Merged<'_>, digest: Digest, foreign: &mut Foreign) -> Plant {
    let title_of = |table: &Table<'_>, id: &str| table.text("title").unwrap_or(id).to_owned();
    let mut plant = Plant {
        digest,
        equipment: read_all(merged, "equipment", |id, table| equipment(id, table, merged, foreign)),
        products: read_all(merged, "product", |id, table| product(id, table, foreign)),
        datasets: BTreeMap::new(),
        signals: BTreeMap::new(),
        field_classes: read_all(merged, "field_class", |id, table| field_class(id, table, merged)),
        purposes: read_all(merged, "purpose", |id: model::PurposeId, table| Some(title_of(table, id.as_str()))),
        export_classes: read_all(merged, "export_class", |id: ExportClassId, table| Some(title_of(table, id.as_str()))),
    };
    tree(&plant, merged);
    class_tree(&plant, merged);
    plant.datasets = read_all(merged, "dataset", |id, table| dataset(id, table, merged, foreign));
    let signals = read_all(merged, "signal", |id, table| signal(id, table, merged, &plant, foreign));
    plant.signals = signals;
    plant
}

const LEVELS: [(&str, Level); 6] = [
    ("enterprise", Level::Enterprise),
    ("site", Level::Site),
    ("area", Level::Area),
    ("work_center", Level::WorkCenter),
    ("work_unit", Level::WorkUnit),
    ("equipment", Level::Equipment),
];

fn equipment(id: EquipmentId, table: &Table<'_>, merged: &Merged<'_>, foreign: &mut Foreign) -> Option<Equipment> {
    let title = title(table, id.as_str());
    let level = table.required_word("level", &LEVELS);
    let parent = table.reference("parent", "equipment", merged);
    let supplier = organisation("supplier", table, foreign);
    Some(Equipment { title, level: level?, parent, supplier, id })
}

fn title(table: &Table<'_>, id: &str) -> String {
    table.text("title").unwrap_or(id).to_owned()
}

/// The organisation under `key`, to be found in the registry folder.
fn organisation(key: &'static str, table: &Table<'_>, foreign: &mut Foreign) -> Option<OrganisationId> {
    let id: OrganisationId = table.parsed(key)?;
    let by = format!("`{key}` of {}", table.what);
    foreign.note(Kind::Organisation, &id, &by, Some((table.problems(), table.spot_of(key))));
    Some(id)
}

/// Levels that can stand above: all higher ones, since a plant may leave levels out, and equipment nests.
fn above(level: Level) -> Vec<Level> {
    let higher = |l: &Level| *l < level || (*l, level) == (Level::Equipment, Level::Equipment);
    LEVELS.iter().map(|(_, l)| *l).filter(higher).collect()
}

fn word(level: Level) -> &'static str {
    LEVELS.iter().find(|(_, l)| *l == level).map_or("equipment", |(word, _)| word)
}

/// Every piece of equipment hangs below one of the right level, and nothing hangs below itself.
fn tree(plant: &Plant, merged: &Merged<'_>) {
    for (id, table) in merged.tables("equipment") {
        let Some(item) = plant.equipment.get(id) else { continue };
        let allowed = above(item.level);
        let Some(parent) = &item.parent else {
            if !allowed.is_empty() {
                let what = format!("{} has no `parent`", table.what);
                table.wrong("parent", what, format!("`{}` stands below {}", word(item.level), words(&allowed)));
            }
            continue;
        };
        let Some(parent) = plant.equipment.get(parent) else { continue };
        if !allowed.contains(&parent.level) {
            let what = format!("{} is `{}` below `{}`", table.what, word(item.level), word(parent.level));
            let help = if allowed.is_empty() {
                String::from("remove `parent`")
            } else {
                format!("`{}` stands below {}", word(item.level), words(&allowed))
            };
            table.wrong("parent", what, help);
        } else if endless(id, |id| Some(plant.equipment.get(id)?.parent.as_ref()?.as_str())) {
            table.wrong("parent", format!("{} stands below itself, or too deep", table.what), "remove one `parent`");
        }
    }
}

fn words(levels: &[Level]) -> String {
    levels.iter().map(|l| format!("`{}`", word(*l))).collect::<Vec<_>>().join(" or ")
}

/// Following parents from `id` does not end within sixteen steps.
fn endless<'a>(id: &'a str, parent: impl Fn(&str) -> Option<&'a str>) -> bool {
    let mut next = Some(id);
    for _ in 0..16 {
        next = next.and_then(&parent);
    }
    next.is_some()
}

fn product(id: ProductId, table: &Table<'_>, foreign: &mut Foreign) -> Option<Product> {
    let title = title(table, id.as_str());
    let words = [("draft", Lifecycle::Draft), ("active", Lifecycle::Active), ("retired", Lifecycle::Retired)];
    let lifecycle = table.word("lifecycle", &words).unwrap_or(Lifecycle::Active);
    let listed = table.boolean("listed").unwrap_or(false);
    let levels = Acknowledgement::ALL.map(|level| (level.as_str(), level));
    let acknowledgement = table.word("acknowledgement", &levels).unwrap_or_default();
    let outcome_before_complete = table.boolean("outcome_before_complete").unwrap_or(false);
    for key in ["owner", "steward"] {
        if table.get(key).is_none() {
            table.missing(key, "\"…\"");
        }
    }
    let owner = organisation("owner", table, foreign);
    let steward: Option<RoleId> = table.parsed("steward");
    if let Some(role) = &steward {
        let by = format!("`steward` of {}", table.what);
        foreign.note(Kind::Role, role, &by, Some((table.problems(), table.spot_of("steward"))));
    }
    Some(Product {
        title,
        owner: owner?,
        steward: steward?,
        lifecycle,
        listed,
        acknowledgement,
        outcome_before_complete,
        id,
    })
}

fn field_class(id: FieldClassId, table: &Table<'_>, merged: &Merged<'_>) -> Option<FieldClass> {
    let title = title(table, id.as_str());
    let parent = table.reference("parent", "field_class", merged);
    let public = table.boolean("public").unwrap_or(false);
    Some(FieldClass { title, parent, public, id })
}

fn class_tree(plant: &Plant, merged: &Merged<'_>) {
    for (id, table) in merged.tables("field_class") {
        let parent = |id: &str| Some(plant.field_classes.get(id)?.parent.as_ref()?.as_str());
        if endless(id, parent) {
            table.wrong("parent", format!("{} stands below itself, or too deep", table.what), "remove one `parent`");
        }
        let hidden = |c: &FieldClass| {
            c.public && c.parent.as_ref().is_some_and(|p| !plant.field_classes.get(p).is_none_or(|p| p.public))
        };
        if plant.field_classes.get(id).is_some_and(hidden) {
            let what = format!("{} is public below a class that is not", table.what);
            table.wrong("public", what, "a class is as sensitive as the one above it");
        }
    }
}

/// The four words of `sensitivity` and `clearance`.
pub(crate) const SENSITIVITIES: [(&str, u8); 4] = [("public", 0), ("internal", 1), ("confidential", 2), ("secret", 3)];

fn governance(table: &Table<'_>, merged: &Merged<'_>, foreign: &mut Foreign) -> Option<Governance> {
    let sensitivity = table.required_word("sensitivity", &SENSITIVITIES);
    let export_class = table.reference("export_class", "export_class", merged);
    let trade_secret = table.boolean("trade_secret").unwrap_or(false);
    let supplier = organisation("supplier", table, foreign);
    Some(Governance { sensitivity: sensitivity?, export_class, trade_secret, supplier })
}

fn dataset(id: DatasetId, table: &Table<'_>, merged: &Merged<'_>, foreign: &mut Foreign) -> Option<Dataset> {
    let title = title(table, id.as_str());
    let product = table.required_reference("product", "product", merged);
    let source = table.required_reference("source", "source", merged);
    let equipment = table.required_reference("equipment", "equipment", merged);
    let governance = governance(table, merged, foreign);
    let mut classes = BTreeMap::new();
    if let Some(inner) = table.table("fields") {
        fields("", inner.entries(), &inner, merged, &mut classes);
    }
    let csv = Format::Csv(Separator::default());
    let formats = [("json", Format::Json), ("ndjson", Format::NdJson), ("csv", csv), ("opaque", Format::Opaque)];
    let separators = [("comma", Separator::Comma), ("semicolon", Separator::Semicolon), ("tab", Separator::Tab)];
    let format = match (table.word("format", &formats).unwrap_or_default(), table.word("separator", &separators)) {
        (Format::Csv(_), Some(separator)) => Format::Csv(separator),
        (format, Some(_)) => {
            let what = format!("{} has a `separator` and is not written in CSV", table.what);
            table.wrong("separator", what, "leave it out, or say `format = \"csv\"`");
            format
        }
        (format, None) => format,
    };
    let mut hidden = BTreeMap::new();
    if let Some(inner) = table.table("masks") {
        masks("", inner.entries(), &inner, &classes, &mut hidden);
    }
    let records = table.table("records").map_or_else(RecordAttributes::default, |t| records(t, merged, foreign));
    overlapping(&classes, &records, table);
    if !records.at.is_empty() && !classes.keys().any(|field| field.starts_with(&format!("{}.", records.at))) {
        let what = format!("no field of {} lies in `{}`, where its records are said to be", table.what, records.at);
        table.wrong("records", what, "`at` is the path of the list of records; their fields begin with it");
    }
    Some(Dataset {
        title,
        product: product?,
        source: source?,
        equipment: equipment?,
        governance: governance?,
        format,
        fields: classes,
        masks: hidden,
        records,
        id,
    })
}

/// `a.b = "class"` and `"a.b" = "class"` are the same field.
fn fields(
    prefix: &str,
    entries: &[Entry],
    table: &Table<'_>,
    merged: &Merged<'_>,
    classes: &mut BTreeMap<String, FieldClassId>,
) {
    for entry in entries {
        let name = format!("{prefix}{}", entry.key);
        match &entry.node.value {
            Val::Table(inner) => fields(&format!("{name}."), inner, table, merged, classes),
            Val::Text(class) => match class.parse::<FieldClassId>() {
                Ok(id) => {
                    table.known(class, entry.node.spot, "field_class", merged);
                    if classes.insert(name.clone(), id).is_some() {
                        table.problem(entry.spot, format!("{} has the field `{name}` twice", table.what), None);
                    }
                }
                Err(e) => table.problem(entry.node.spot, e.to_string(), None),
            },
            other => {
                let what = format!("field `{name}` in {} is {}", table.what, other.kind());
                table.problem(entry.node.spot, what, Some(format!("write `{name} = \"FIELD_CLASS\"`")));
            }
        }
    }
}

/// A field that others lie in has no value of its own.
fn overlapping(classes: &BTreeMap<String, FieldClassId>, records: &RecordAttributes, table: &Table<'_>) {
    let told = records.told_by.values().map(|told| told.field.as_str());
    let all: BTreeSet<&str> = classes.keys().map(String::as_str).chain(told).collect();
    for name in &all {
        let inner = format!("{name}.");
        if let Some(other) = all.range(inner.as_str()..).next().filter(|other| other.starts_with(&inner)) {
            let what = format!("{} has the field `{name}` and the field `{other}` in it", table.what);
            table.wrong("fields", what, "declare the innermost fields only");
        }
    }
}

const MASKS: &str = "write `drop`, `null`, `redact`, `pseudonym`, `partial 4`, `round 100` or `bucket 50`";

/// As [`fields`], with a mask for each.
fn masks(
    prefix: &str,
    entries: &[Entry],
    table: &Table<'_>,
    classes: &BTreeMap<String, FieldClassId>,
    masks_of: &mut BTreeMap<String, Mask>,
) {
    for entry in entries {
        let name = format!("{prefix}{}", entry.key);
        match &entry.node.value {
            Val::Table(inner) => masks(&format!("{name}."), inner, table, classes, masks_of),
            Val::Text(text) => {
                if !classes.contains_key(&name) {
                    let names: Vec<&str> = classes.keys().map(String::as_str).collect();
                    let help = near::nearest(&name, names).map(|near| format!("did you mean `{near}`?"));
                    let what = format!("{} masks `{name}`, which is none of its fields", table.what);
                    table.problem(entry.spot, what, help);
                }
                match mask(text) {
                    Some(mask) => drop(masks_of.insert(name, mask)),
                    None => {
                        let what = format!("the mask of `{name}` in {} is `{text}`", table.what);
                        table.problem(entry.node.spot, what, Some(MASKS.to_owned()));
                    }
                }
            }
            other => {
                let what = format!("the mask of `{name}` in {} is {}", table.what, other.kind());
                table.problem(entry.node.spot, what, Some(MASKS.to_owned()));
            }
        }
    }
}

fn mask(text: &str) -> Option<Mask> {
    Some(match (text.split_once(' ').map_or(text, |(word, _)| word), text.split_once(' ').map(|(_, number)| number)) {
        ("drop", None) => Mask::Drop,
        ("null", None) => Mask::Null,
        ("redact", None) => Mask::Redact,
        ("pseudonym", None) => Mask::Pseudonym,
        ("partial", Some(last)) => Mask::Partial { last: last.parse().ok().filter(|last| (1..=64).contains(last))? },
        ("round", Some(to)) => Mask::Round { to: Step::parse(to)? },
        ("bucket", Some(width)) => Mask::Bucket { width: Step::parse(width)? },
        _ => return None,
    })
}

fn records(table: Table<'_>, merged: &Merged<'_>, foreign: &mut Foreign) -> RecordAttributes {
    let mut attributes = RecordAttributes {
        suppliers: organisations("suppliers", &table, foreign).into_iter().collect(),
        customers: organisations("customers", &table, foreign).into_iter().collect(),
        export_classes: table.references("export_classes", "export_class", merged).into_iter().collect(),
        unassigned: table.boolean("unassigned").unwrap_or(false),
        at: table.text("at").unwrap_or_default().to_owned(),
        told_by: BTreeMap::new(),
    };
    let ids = |attribute| -> Vec<&str> {
        match attribute {
            RecordAttribute::Supplier => attributes.suppliers.iter().map(OrganisationId::as_str).collect(),
            RecordAttribute::Customer => attributes.customers.iter().map(OrganisationId::as_str).collect(),
            RecordAttribute::ExportClass => attributes.export_classes.iter().map(ExportClassId::as_str).collect(),
        }
    };
    let told_by = [
        (RecordAttribute::Supplier, "supplier_field", "supplier_values"),
        (RecordAttribute::Customer, "customer_field", "customer_values"),
        (RecordAttribute::ExportClass, "export_class_field", "export_class_values"),
    ]
    .map(|(attribute, field, values)| (attribute, told_by(&table, field, values, &ids(attribute))));
    attributes.told_by = told_by.into_iter().filter_map(|(attribute, told)| Some((attribute, told?))).collect();
    for told in attributes.told_by.values() {
        let inside = attributes.at.is_empty() || told.field.starts_with(&format!("{}.", attributes.at));
        if !inside {
            let what = format!("`{}` of {} does not lie in `{}`", told.field, table.what, attributes.at);
            table.wrong("at", what, "`at` is the path of the list of records, and what they say begins with it");
        }
    }
    let paths = std::iter::once(("at", &attributes.at));
    let told = attributes.told_by.values().map(|told| ("supplier_field", &told.field));
    for (key, path) in paths.chain(told).filter(|(_, path)| path.split('.').any(|name| name == "*")) {
        table.wrong(
            key,
            format!("`{path}` in {} has `*` in it", table.what),
            "records lie in one place, and say whose they are in one",
        );
    }
    table.finish();
    attributes
}

/// Which field of a record tells one of its attributes, and what its texts stand for.
fn told_by(table: &Table<'_>, field: &'static str, values: &'static str, ids: &[&str]) -> Option<ToldBy> {
    let path = table.text(field).map(str::to_owned);
    let inner = table.table(values);
    let mut told = ToldBy { field: path.clone().unwrap_or_default(), values: BTreeMap::new() };
    for entry in inner.iter().flat_map(Table::entries) {
        let Val::Text(id) = &entry.node.value else {
            let what = format!("`{}` in `{values}` of {} is {}", entry.key, table.what, entry.node.value.kind());
            table.problem(entry.node.spot, what, Some(String::from("write an id, or `\"\"` for nobody's")));
            continue;
        };
        if !id.is_empty() && !ids.contains(&id.as_str()) {
            let what =
                format!("`{}` in `{values}` of {} stands for `{id}`, which no record can have", entry.key, table.what);
            table.problem(entry.node.spot, what, near::help(id, ids.iter().copied()));
        }
        told.values.insert(entry.key.clone(), (!id.is_empty()).then(|| id.clone()));
    }
    if path.is_none() && inner.is_some() {
        let what = format!("{} has `{values}` and no `{field}`", table.what);
        table.wrong(values, what, format!("say in `{field}` where they stand"));
    }
    if path.is_some() && ids.is_empty() {
        let what = format!("{} has `{field}`, and no record can have what it tells", table.what);
        table.wrong(field, what, "list what they can have, or remove it");
    }
    path.map(|_| told)
}

fn organisations(key: &'static str, table: &Table<'_>, foreign: &mut Foreign) -> Vec<OrganisationId> {
    let by = format!("`{key}` of {}", table.what);
    table
        .parsed_list::<OrganisationId>(key)
        .into_iter()
        .map(|(id, spot)| {
            foreign.note(Kind::Organisation, &id, &by, Some((table.problems(), spot)));
            id
        })
        .collect()
}

fn signal(
    id: SignalId,
    table: &Table<'_>,
    merged: &Merged<'_>,
    plant: &Plant,
    foreign: &mut Foreign,
) -> Option<Signal> {
    let title = title(table, id.as_str());
    let product = table.required_reference("product", "product", merged);
    let source = table.required_reference("source", "source", merged);
    let equipment: Option<EquipmentId> = table.required_reference("equipment", "equipment", merged);
    let address = table.required_text("address");
    let unit = table.text("unit").unwrap_or_default();
    let field_class = table.required_reference("class", "field_class", merged);
    let mut governance = governance(table, merged, foreign)?;
    // A signal of a machine is its builder's unless the row says otherwise.
    if let (None, Some(equipment)) = (&governance.supplier, &equipment) {
        governance.supplier = plant.equipment_path(equipment).iter().find_map(|e| e.supplier.clone());
    }
    Some(Signal {
        title,
        product: product?,
        source: source?,
        equipment: equipment?,
        governance,
        field_class: field_class?,
        unit: unit.to_owned(),
        address: address?.to_owned(),
        id,
    })
}
