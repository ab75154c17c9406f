//! Reading `[route.…]`.

use super::parameter::{Kind, Parameter, Value};
use super::read_parameter::parameters;
use super::read_upstream::upstream;
use super::series::{series, window_of_series};
use super::statement::declared_filters;
use super::{BodyRule, METHODS, PathTemplate, Resource, Route, Rows, SeriesRule, ShapeRule, Upstream, is_safe};
use crate::document::{Spot, Val};
use crate::merge::Merged;
use crate::near;
use crate::source::Source;
use crate::table::Table;
use model::plant::{Dataset, Format, Plant};
use model::{Action, DatasetId, RouteId, SignalId, SourceId};
use std::collections::BTreeMap;

/// More rows than any answer has, and few enough to count with.
const ROWS_MAX: i64 = 1_000_000_000;
/// Bodies are streamed; this is what one call may bring at most.
const BODY_BYTES_MAX: i64 = 1_073_741_824;

/// Where a placeholder's value comes from.
pub(super) struct Scope<'a> {
    /// All names under `parameters`, also those that could not be read: what is wrong with them has been said.
    pub declared: Vec<&'a str>,
    pub parameters: &'a BTreeMap<String, Parameter>,
    pub resource: Option<&'a Resource>,
    /// `None` where the source is not known.
    pub is_database: Option<bool>,
}

pub(crate) fn route(
    id: RouteId,
    table: &Table<'_>,
    merged: &Merged<'_>,
    plant: &Plant,
    sources: &BTreeMap<SourceId, Source>,
) -> Option<Route> {
    let methods = METHODS.map(|m| (m, m));
    let title = table.text("title").unwrap_or(id.as_str()).to_owned();
    let method = table.required_word("method", &methods);
    let path = path(table);
    let source: Option<SourceId> = table.required_reference("source", "source", merged);
    let mut parameters = parameters(table, path.as_ref(), merged);
    let is_series = table.get("series").is_some();
    if is_series {
        window_of_series(&mut parameters);
    }
    let resource = resource(table, &parameters, merged);
    if let (Some(resource), Some(source)) = (&resource, &source) {
        on_source(table, resource, source, plant);
    }
    let action = action(table, resource.as_ref());
    let shape = if is_series { None } else { shape(table, resource.as_ref(), &parameters) };
    let declared = declared(table);
    let declared_again = declared.clone();
    let is_database = source.as_ref().and_then(|id| sources.get(id)).map(|source| source.address.is_database());
    let scope = Scope { declared, parameters: &parameters, resource: resource.as_ref(), is_database };
    let series = if is_series { series(table, &scope) } else { None };
    let upstream = if is_series { None } else { upstream(table, &scope) };
    if let Some(rule) = &series {
        rule.parameters(&mut parameters);
    }
    let shape = series.as_ref().map(|_| SeriesRule::shape()).or(shape);
    let upstream = series.map(|rule| Upstream::Series(Box::new(rule))).or(upstream);
    let scope = Scope { declared: declared_again, parameters: &parameters, resource: resource.as_ref(), is_database };
    if let Some(upstream) = &upstream {
        all_used(table, &parameters, upstream, resource.as_ref(), shape.as_ref());
    }
    if let (Some(Upstream::Sql(statement)), Some(shape)) = (&upstream, &shape) {
        declared_filters(table, &scope, shape.rows_parameter(), statement);
        of_a_database(table, method, source.as_ref(), resource.as_ref(), plant);
    }
    let body = body(table, method);
    Some(Route {
        id,
        title,
        method: method?,
        path: path?,
        action: action?,
        resource: resource?,
        source: source?,
        shape: shape?,
        upstream: upstream?,
        body: body?,
        parameters,
    })
}

fn declared<'a>(table: &Table<'a>) -> Vec<&'a str> {
    match table.get("parameters").map(|e| &e.node.value) {
        Some(Val::Table(entries)) => entries.iter().map(|e| e.key.as_str()).collect(),
        _ => Vec::new(),
    }
}

fn path(table: &Table<'_>) -> Option<PathTemplate> {
    let text = table.required_text("path")?;
    PathTemplate::parse(text)
        .map_err(|e| table.wrong("path", format!("`path` of {} is `{text}`: {e}", table.what), "`/series/{signal}`"))
        .ok()
}

/// `signal = "{name}"`, `signal = "press-3.force"`, or the same for `dataset`.
fn resource(table: &Table<'_>, parameters: &BTreeMap<String, Parameter>, merged: &Merged<'_>) -> Option<Resource> {
    let (key, text) = match (table.text("signal"), table.text("dataset")) {
        (Some(text), None) => ("signal", text),
        (None, Some(text)) => ("dataset", text),
        _ => {
            let what = format!("{} does not say what it reads", table.what);
            let help = "write `signal = …` or `dataset = …`, with an id or `\"{parameter}\"`; not both";
            table.problem(table.spot, what, Some(help.into()));
            return None;
        }
    };
    match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        Some(name) => resource_parameter(table, key, name, parameters),
        None if key == "signal" => Some(Resource::Signal(table.reference::<SignalId>(key, key, merged)?)),
        None => Some(Resource::Dataset(table.reference::<DatasetId>(key, key, merged)?)),
    }
}

fn resource_parameter(
    table: &Table<'_>,
    key: &'static str,
    name: &str,
    parameters: &BTreeMap<String, Parameter>,
) -> Option<Resource> {
    match (key, parameters.get(name).map(|p| &p.kind)) {
        ("signal", Some(Kind::Signal { .. })) => Some(Resource::SignalParameter(name.to_owned())),
        ("dataset", Some(Kind::Dataset { .. })) => Some(Resource::DatasetParameter(name.to_owned())),
        _ => {
            let what = format!("`{key}` of {} is `{{{name}}}`, but no parameter of this name and type", table.what);
            let help = format!("declare `{name} = {{ type = \"{key}\" }}` under `parameters`");
            table.wrong(key, what, help);
            None
        }
    }
}

/// A fixed resource must be on the source that is asked for it.
fn on_source(table: &Table<'_>, resource: &Resource, source: &SourceId, plant: &Plant) {
    let (key, of) = match resource {
        Resource::Signal(id) => ("signal", plant.signals.get(id).map(|s| &s.source)),
        Resource::Dataset(id) => ("dataset", plant.datasets.get(id).map(|d| &d.source)),
        _ => return,
    };
    if let Some(of) = of.filter(|of| *of != source) {
        let what = format!("{} asks source `{source}` for a {key} of source `{of}`", table.what);
        table.wrong("source", what, format!("write `source = \"{of}\"`"));
    }
}

fn action(table: &Table<'_>, resource: Option<&Resource>) -> Option<Action> {
    let said = table.word("action", &[("read", Action::Read), ("readSeries", Action::ReadSeries)]);
    let fits = match resource? {
        Resource::Signal(_) | Resource::SignalParameter(_) => Action::ReadSeries,
        Resource::Dataset(_) | Resource::DatasetParameter(_) => Action::Read,
    };
    if said.is_some_and(|action| action != fits) {
        let what = format!("`action` of {} does not fit what it reads", table.what);
        table.wrong("action", what, format!("write `{}`, or leave it out", fits.as_str()));
    }
    Some(fits)
}

fn shape(
    route: &Table<'_>,
    resource: Option<&Resource>,
    parameters: &BTreeMap<String, Parameter>,
) -> Option<ShapeRule> {
    let table = match route.table("shape") {
        Some(table) => table,
        None if route.get("shape").is_some() => return None,
        None => Table::new(format!("`shape` of {}", route.what), route.spot, &[], route.problems()),
    };
    let named = |key, wanted: fn(&Kind) -> bool, word: &str| named(&table, key, parameters, wanted, word);
    let from = named("from", |k| matches!(k, Kind::Timestamp), "timestamp");
    let to = named("to", |k| matches!(k, Kind::Timestamp), "timestamp");
    let window = match (from, to) {
        (Some(from), Some(to)) if from != to => Some((from, to)),
        (None, None) => None,
        _ => {
            let what = format!("the window in {} has one end", table.what);
            table.problem(table.spot, what, Some("name two parameters, `from` and `to`".into()));
            return None;
        }
    };
    let resolution = named("resolution", |k| matches!(k, Kind::Duration { .. } | Kind::Steps(_)), "duration");
    if let Some(kind) = resolution.as_ref().and_then(|name| parameters.get(name)).map(|p| &p.kind) {
        ladder(&table, kind);
    }
    let rows = rows(&table, resource, parameters, window.is_some() && resolution.is_some());
    table.finish();
    Some(ShapeRule { window, resolution, rows: rows? })
}

/// The name of a parameter of a wanted type.
fn named(
    table: &Table<'_>,
    key: &'static str,
    parameters: &BTreeMap<String, Parameter>,
    wanted: fn(&Kind) -> bool,
    word: &str,
) -> Option<String> {
    let name = table.text(key)?;
    if !parameters.get(name).is_some_and(|p| wanted(&p.kind)) {
        let what = format!("{} names `{name}`, which is no parameter of type `{word}`", table.what);
        let fitting = parameters.values().filter(|p| wanted(&p.kind)).map(|p| p.name.as_str());
        table.problem(table.spot_of(key), what, near::help(name, fitting));
    }
    Some(name.to_owned())
}

/// Free resolutions would let a caller subtract a mean over 60 s from one over 61 s and hold the value of one second.
fn ladder(table: &Table<'_>, kind: &Kind) {
    let help = "declare it with `values = [\"1m\", \"15m\", \"1h\"]`, from fine to coarse";
    let Kind::Steps(steps) = kind else {
        let what = format!("the resolution in {} has no closed list of steps", table.what);
        return table.wrong("resolution", what, help);
    };
    let divides = |pair: &[i64]| matches!(pair, [fine, coarse] if *fine > 0 && coarse % fine == 0);
    if !steps.windows(2).all(divides) || steps.first().is_none_or(|s| *s <= 0) {
        let what = format!("in {} a step of the resolution is no multiple of the step before", table.what);
        table.wrong("resolution", what, help);
    }
}

fn rows(
    table: &Table<'_>,
    resource: Option<&Resource>,
    parameters: &BTreeMap<String, Parameter>,
    computable: bool,
) -> Option<Rows> {
    let is_series = matches!(resource, Some(Resource::Signal(_) | Resource::SignalParameter(_)) | None);
    match table.get("rows").map(|e| &e.node.value) {
        Some(Val::Integer(_)) => table.integer("rows", 1..=ROWS_MAX).map(Rows::Constant),
        Some(_) => rows_parameter(table, parameters).map(Rows::Parameter),
        None if is_series && computable => Some(Rows::WindowByResolution),
        None => {
            let what = format!("{} does not bound the rows of an answer", table.what);
            let help = "name the parameter of type `integer` that the source is told, or give the number";
            table.problem(table.spot, what, Some(help.into()));
            None
        }
    }
}

fn rows_parameter(table: &Table<'_>, parameters: &BTreeMap<String, Parameter>) -> Option<String> {
    let name = named(table, "rows", parameters, |k| matches!(k, Kind::Integer { .. }), "integer")?;
    if let Some(Kind::Integer { min: ..=0, .. }) = parameters.get(&name).map(|p| &p.kind) {
        // InfluxQL is one of many languages in which `LIMIT 0` is no limit.
        let what = format!("{} names `{name}`, which may be 0 or less", table.what);
        table.wrong("rows", what, "set `min = 1`: to many systems 0 rows are all rows");
    }
    Some(name)
}

/// A parameter that the source is never told would be a promise to the caller and to the policies that nobody keeps.
fn all_used(
    table: &Table<'_>,
    parameters: &BTreeMap<String, Parameter>,
    upstream: &Upstream,
    resource: Option<&Resource>,
    shape: Option<&ShapeRule>,
) {
    let mut used = upstream.parameters();
    if matches!(upstream, Upstream::Sql(_)) {
        // Of a database the broker takes so many itself.
        used.extend(shape.and_then(ShapeRule::rows_parameter));
    }
    for name in parameters.keys().filter(|name| !used.contains(name.as_str())) {
        let (told, way) = match resource {
            Some(Resource::SignalParameter(n)) if n == name => (upstream.tells_signal(), "{signal.address}"),
            Some(Resource::DatasetParameter(n)) if n == name => (upstream.tells_dataset(), "{dataset.id}"),
            _ => (false, "{…}"),
        };
        if !told {
            let way = way.replace('…', name);
            let key = if matches!(upstream, Upstream::Sql(_)) { "sql" } else { "upstream" };
            let what = format!("{} never tells its source `{name}`", table.what);
            table.wrong(key, what, format!("use `{way}` in `{key}`, or remove the parameter"));
        }
    }
}

/// What a statement can be asked for: records, with GET, in a form that can be shaped.
fn of_a_database(
    table: &Table<'_>,
    method: Option<&str>,
    source: Option<&SourceId>,
    resource: Option<&Resource>,
    plant: &Plant,
) {
    if method.is_some_and(|m| m != "GET") {
        let what = format!("{} asks a database, which is only read", table.what);
        table.wrong("method", what, "write `method = \"GET\"`");
    }
    let datasets: Vec<&Dataset> = match resource {
        Some(Resource::Dataset(id)) => plant.datasets.get(id).into_iter().collect(),
        Some(Resource::DatasetParameter(_)) => plant.datasets.values().filter(|d| Some(&d.source) == source).collect(),
        None => Vec::new(),
        Some(Resource::Signal(_) | Resource::SignalParameter(_)) => {
            let what = format!("{} asks a database for a series", table.what);
            return table.wrong("sql", what, "move it into `series`");
        }
    };
    let is_bad = |d: &&Dataset| d.fields.is_empty() || d.format == Format::Opaque || !d.records.at.is_empty();
    for dataset in datasets.into_iter().filter(is_bad) {
        let what = format!("dataset `{}` is read from a database, by {}", dataset.id, table.what);
        let help = "declare its `fields`; its `format` is `json`, `ndjson` or `csv`, and its `records` have no `at`";
        table.wrong("sql", what, help);
    }
}

/// `Some(None)`: no body.
#[expect(clippy::option_option, reason = "outside: could it be read; inside: is there a body")]
fn body(route: &Table<'_>, method: Option<&str>) -> Option<Option<BodyRule>> {
    let unsafe_method = method.is_some_and(|m| !is_safe(m));
    if route.get("body").is_none() {
        if unsafe_method {
            let method = method.unwrap_or_default();
            let what = format!("{} has the method `{method}` but declares no body", route.what);
            let help = "add `body = { max_bytes = 65536, content_types = [\"application/json\"] }`";
            route.problem(route.spot_of("method"), what, Some(help.into()));
        }
        return Some(None);
    }
    let table = route.table("body")?;
    let max_bytes = table.integer("max_bytes", 0..=BODY_BYTES_MAX);
    if table.get("max_bytes").is_none() {
        table.missing("max_bytes", "65536");
    }
    table.required_list("content_types");
    let content_types = table.texts("content_types");
    for (text, spot) in &content_types {
        content_type(&table, text, *spot);
    }
    if method.is_some_and(is_safe) {
        route.wrong("body", format!("{} has a body and a safe method", route.what), "remove one of them");
    }
    table.finish();
    let content_types = content_types.into_iter().map(|(t, _)| t.to_owned()).collect();
    Some(Some(BodyRule { max_bytes: u64::try_from(max_bytes?).ok()?, content_types }))
}

fn content_type(table: &Table<'_>, text: &str, spot: Spot) {
    let token = |t: &str| {
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
    };
    if !text.split_once('/').is_some_and(|(a, b)| token(a) && token(b)) {
        let what = format!("{} has the content type `{text}`", table.what);
        table.problem(spot, what, Some("write it in lower case without parameters: `application/json`".into()));
    }
}

/// The value a default stands for, read as a caller's.
pub(super) fn default(table: &Table<'_>, kind: &Kind) -> Option<Value> {
    let text = match &table.get("default")?.node.value {
        Val::Text(text) | Val::Time(text) => text.clone(),
        Val::Integer(n) => n.to_string(),
        Val::Boolean(b) => b.to_string(),
        _ => String::new(),
    };
    let value = kind.read(&text);
    if value.is_none() {
        let what = format!("the default of {} is not what it takes", table.what);
        table.wrong("default", what, format!("it takes {}", kind.accepted()));
    }
    value
}
