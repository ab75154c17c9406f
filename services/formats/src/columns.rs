//! Rows and columns: what CSV and Parquet have in common, so that both have the same fields under the same names.

use super::Record;
use model::Timestamp;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Int,
    Time,
    Texts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    None,
    Text(String),
    Int(i64),
    Time(Timestamp),
    Texts(Vec<String>),
}

/// Names and types are documented (docs/guides/siem.md): new ones come at the end, none changes.
pub(crate) type Columns = Vec<(String, Type)>;

type Field = (&'static str, Type, fn(&Record) -> Cell);

const FIELDS: [Field; 36] = [
    ("origin", Type::Text, |r| r.origin.clone().map_or(Cell::None, Cell::Text)),
    ("index", Type::Int, |r| i64::try_from(r.index).map_or(Cell::None, Cell::Int)),
    ("time", Type::Time, |r| Cell::Time(r.time())),
    ("kind", Type::Text, |r| text(r, "kind")),
    ("organisation", Type::Text, |r| text(r, "org")),
    ("organisation_sequence", Type::Int, |r| int(r, "org_seq")),
    ("principal", Type::Text, |r| r.principal.clone().map_or(Cell::None, Cell::Text)),
    ("principal_reference", Type::Text, |r| text(r, "principal")),
    ("principal_kind", Type::Text, |r| text(r, "principal_kind")),
    ("issuer", Type::Text, |r| text(r, "issuer")),
    ("authentication", Type::Text, |r| text(r, "authentication")),
    ("action", Type::Text, |r| text(r, "action")),
    ("resource", Type::Text, |r| text(r, "resource")),
    ("product", Type::Text, |r| text(r, "product")),
    ("source", Type::Text, |r| text(r, "source")),
    ("route", Type::Text, |r| text(r, "route")),
    ("method", Type::Text, |r| text(r, "method")),
    ("agreement", Type::Text, |r| text(r, "agreement")),
    ("purpose", Type::Text, |r| text(r, "purpose")),
    ("decision", Type::Text, |r| text(r, "decision")),
    ("reasons", Type::Texts, |r| texts(r, "reasons")),
    ("policies", Type::Texts, |r| texts(r, "policies")),
    ("reveals", Type::Texts, |r| texts(r, "reveals")),
    ("hides", Type::Texts, |r| texts(r, "hides")),
    ("request", Type::Text, |r| text(r, "request")),
    ("decision_index", Type::Int, |r| int(r, "of")),
    ("ended", Type::Text, |r| text(r, "ended")),
    ("status", Type::Int, |r| int(r, "status")),
    ("bytes", Type::Int, |r| int(r, "bytes")),
    ("rows", Type::Int, |r| int(r, "rows")),
    ("duration_ms", Type::Int, |r| int(r, "duration_ms")),
    ("view", Type::Text, |r| text(r, "view")),
    ("event", Type::Text, |r| text(r, "event")),
    ("leaf_hash", Type::Text, |r| Cell::Text(r.leaf_hash())),
    ("version", Type::Text, |r| text(r, "v")),
    ("country", Type::Text, |r| text(r, "country")),
];

fn text(record: &Record, member: &str) -> Cell {
    record.text(member).map_or(Cell::None, |text| Cell::Text(text.to_owned()))
}

fn int(record: &Record, member: &str) -> Cell {
    record.int(member).map_or(Cell::None, Cell::Int)
}

fn texts(record: &Record, member: &str) -> Cell {
    match record.get(member) {
        Some(Value::Array(_)) => Cell::Texts(record.list(member).into_iter().map(str::to_owned).collect()),
        _ => Cell::None,
    }
}

/// `with_entry`: the stored bytes as the last column.
pub(crate) fn of_entries(with_entry: bool) -> Columns {
    let mut columns: Columns = FIELDS.iter().map(|(name, kind, _)| ((*name).to_owned(), *kind)).collect();
    if with_entry {
        columns.push((String::from("entry"), Type::Text));
    }
    columns
}

pub(crate) fn of_record(record: &Record, with_entry: bool) -> Vec<Cell> {
    let mut cells: Vec<Cell> = FIELDS.iter().map(|(_, _, read)| read(record)).collect();
    if with_entry {
        cells.push(Cell::Text(record.stored().to_owned()));
    }
    cells
}

pub(crate) const MEASURES: [&str; 5] = ["decisions", "ended", "complete", "rows", "bytes"];

/// The table of a summary, `{"by":[…],"rows":[{"group":[…],"decisions",…}]}`: a column for each of `by`, then the measures.
pub(crate) fn of_summary(summary: &Value) -> (Columns, Vec<Vec<Cell>>) {
    let by = list(summary.get("by"));
    let numbers = MEASURES.iter().map(|name| ((*name).to_owned(), Type::Int));
    let first = [(String::from("first_index"), Type::Int), (String::from("first_time"), Type::Time)];
    let columns = by.iter().map(|name| (name.clone(), Type::Text)).chain(numbers).chain(first).collect();
    let rows = summary.get("rows").and_then(Value::as_array).into_iter().flatten();
    let row = |row: &Value| {
        let number = |name: &str| row.get(name).and_then(Value::as_i64).map_or(Cell::None, Cell::Int);
        let time = row.get("first_time").and_then(Value::as_str).and_then(Timestamp::parse_rfc3339);
        let group =
            list(row.get("group")).into_iter().map(|text| if text.is_empty() { Cell::None } else { Cell::Text(text) });
        let measures = MEASURES.iter().map(|name| number(name));
        group.chain(measures).chain([number("first_index"), time.map_or(Cell::None, Cell::Time)]).collect()
    };
    (columns, rows.map(row).collect())
}

pub(crate) fn list(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
}
