//! Reading `[route.….parameters]`.

use super::characters::Characters;
use super::parameter::{Kind, Parameter, Place};
use super::path::PathTemplate;
use super::read::default;
use crate::document::Entry;
use crate::merge::Merged;
use crate::table::Table;
use model::time::parse_duration_ms;
use std::collections::BTreeMap;

const TYPES: [(&str, Type); 7] = [
    ("string", Type::String),
    ("integer", Type::Integer),
    ("timestamp", Type::Timestamp),
    ("duration", Type::Duration),
    ("boolean", Type::Boolean),
    ("signal", Type::Signal),
    ("dataset", Type::Dataset),
];

#[derive(Clone, Copy)]
enum Type {
    String,
    Integer,
    Timestamp,
    Duration,
    Boolean,
    Signal,
    Dataset,
}

/// A name in a query; a dot would be an attribute in a placeholder.
const NAME_BYTES_MAX: usize = 64;
const LENGTH_DEFAULT: i64 = 64;
const LENGTH_MAX: i64 = 1_024;
/// A hundred years: a window beyond is a mistake.
const DURATION_MAX_MS: i64 = 100 * 366 * 86_400_000;

pub(super) fn parameters(
    route: &Table<'_>,
    path: Option<&PathTemplate>,
    merged: &Merged<'_>,
) -> BTreeMap<String, Parameter> {
    let table = route.table("parameters");
    let entries = table.as_ref().map(Table::entries).unwrap_or_default();
    let in_path: Vec<&str> = path.map(|p| p.parameters().collect()).unwrap_or_default();
    let mut parameters = BTreeMap::new();
    for entry in entries {
        let place = if in_path.contains(&entry.key.as_str()) { Place::Path } else { Place::Query };
        if let Some(parameter) = parameter(route, entry, place, merged) {
            parameters.insert(entry.key.clone(), parameter);
        }
    }
    for name in in_path.iter().filter(|name| !entries.iter().any(|e| e.key == **name)) {
        let what = format!("`path` of {} has `{{{name}}}`, which is no parameter", route.what);
        route.wrong("path", what, format!("declare `{name} = {{ type = … }}` under `parameters`"));
    }
    parameters
}

fn parameter(route: &Table<'_>, entry: &Entry, place: Place, merged: &Merged<'_>) -> Option<Parameter> {
    let name = entry.key.as_str();
    let table = Table::of(format!("parameter `{name}` of {}", route.what), entry, route.problems())?;
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if name.len() > NAME_BYTES_MAX || !name.bytes().all(good) || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let help = "use up to 64 letters, digits, `_` and `-`, beginning with a letter";
        table.problem(entry.spot, format!("`{name}` cannot be a parameter's name"), Some(help.into()));
    }
    let title = table.text("title").unwrap_or(name).to_owned();
    let kind = table.required_word("type", &TYPES).and_then(|t| kind(&table, t, merged));
    if let Some(kind @ (Kind::Signal { .. } | Kind::Dataset { .. })) = &kind {
        is_resource(route, &table, name, kind);
    }
    // Asked for in any case, so that it is a known key.
    let given = table.get("default").is_some();
    let default = kind.as_ref().and_then(|k| default(&table, k));
    if place == Place::Path && given {
        table.wrong("default", format!("{} stands in the path and has a default", table.what), "remove `default`");
    }
    let filters = table.get("filters").map(|_| table.texts("filters").into_iter().map(|(field, _)| field.to_owned()));
    let filters = filters.map(Iterator::collect);
    table.finish();
    Some(Parameter { name: name.to_owned(), title, place, kind: kind?, default, filters })
}

/// A second signal in one request would be one that nobody decides on.
fn is_resource(route: &Table<'_>, table: &Table<'_>, name: &str, kind: &Kind) {
    let key = if matches!(kind, Kind::Signal { .. }) { "signal" } else { "dataset" };
    if route.text(key) != Some(&format!("{{{name}}}")) {
        let what = format!("{} is not what the route reads", table.what);
        table.wrong("type", what, format!("write `{key} = \"{{{name}}}\"` on the route, or use another type"));
    }
}

fn kind(table: &Table<'_>, kind: Type, merged: &Merged<'_>) -> Option<Kind> {
    match kind {
        Type::String => string(table),
        Type::Integer => {
            let bounds = (table.integer("min", i64::MIN..=i64::MAX), table.integer("max", i64::MIN..=i64::MAX));
            let (min, max) = bounded(table, bounds, "0", "1000")?;
            Some(Kind::Integer { min, max })
        }
        Type::Timestamp => Some(Kind::Timestamp),
        Type::Duration => duration(table),
        Type::Boolean => Some(Kind::Boolean),
        Type::Signal => Some(Kind::Signal { product: table.reference("product", "product", merged) }),
        Type::Dataset => Some(Kind::Dataset { product: table.reference("product", "product", merged) }),
    }
}

/// Both bounds, in order.
fn bounded(table: &Table<'_>, bounds: (Option<i64>, Option<i64>), min: &str, max: &str) -> Option<(i64, i64)> {
    for (key, example) in [("min", min), ("max", max)] {
        if table.get(key).is_none() {
            table.missing(key, example);
        }
    }
    let (min, max) = (bounds.0?, bounds.1?);
    if min > max {
        table.wrong("max", format!("`max` of {} is below `min`", table.what), "exchange them");
    }
    Some((min, max))
}

fn string(table: &Table<'_>) -> Option<Kind> {
    let values = table.texts("values");
    let characters = table.text("characters");
    let length = table.integer("max_length", 1..=LENGTH_MAX);
    if table.get("values").is_some() {
        for key in ["characters", "max_length"] {
            if table.get(key).is_some() {
                table.wrong(key, format!("{} has `values` and `{key}`", table.what), format!("remove `{key}`"));
            }
        }
        table.required_list("values");
        return Some(Kind::Choice(values.into_iter().map(|(v, _)| v.to_owned()).collect()));
    }
    let characters = match characters {
        None => Characters::default(),
        Some(text) => Characters::parse(text)
            .map_err(|e| {
                let what = format!("`characters` of {} is `{text}`: {e}", table.what);
                table.wrong("characters", what, "write it as inside the brackets of a regular expression: `A-Z0-9-`");
            })
            .ok()?,
    };
    let length_max = usize::try_from(length.unwrap_or(LENGTH_DEFAULT)).ok()?;
    Some(Kind::Text { characters, length_max })
}

fn duration(table: &Table<'_>) -> Option<Kind> {
    if table.get("values").is_none() {
        let bounds = (table.duration("min", 0..=DURATION_MAX_MS), table.duration("max", 0..=DURATION_MAX_MS));
        let (min_ms, max_ms) = bounded(table, bounds, "\"1s\"", "\"1d\"")?;
        return Some(Kind::Duration { min_ms, max_ms });
    }
    for key in ["min", "max"] {
        if table.get(key).is_some() {
            table.wrong(key, format!("{} has `values` and `{key}`", table.what), format!("remove `{key}`"));
        }
    }
    table.required_list("values");
    let mut steps = Vec::new();
    for (text, spot) in table.texts("values") {
        match parse_duration_ms(text).filter(|ms| *ms <= DURATION_MAX_MS) {
            Some(ms) if steps.last().is_none_or(|last| *last < ms) => steps.push(ms),
            Some(_) => {
                let what = format!("`values` of {} does not go from fine to coarse at `{text}`", table.what);
                table.problem(spot, what, None);
            }
            None => {
                let what = format!("`values` of {} holds `{text}`, not a duration", table.what);
                table.problem(spot, what, Some("one number and one unit: `10s`, `5m`, `12h`".into()));
            }
        }
    }
    Some(Kind::Steps(steps))
}
