//! Reading `[route.….upstream]`: every hole gets a value, a type and a spelling, or the route is refused.

use super::parameter::Kind;
use super::read::Scope;
use super::template::{Format, Of, Piece, Template, Type, Written, split};
use super::{HttpTemplate, Resource, SeriesRule, Upstream, influxql, statement};
use crate::document::{Entry, Spot, Val};
use crate::near;
use crate::table::Table;
use std::collections::BTreeSet;

/// Query names under which systems take whole queries.
const LANGUAGES: [&str; 14] = [
    "q",
    "query",
    "sql",
    "flux",
    "influxql",
    "promql",
    "statement",
    "where",
    "filter",
    "$filter",
    "expr",
    "expression",
    "script",
    "command",
];
/// A caller's text without these is no query in any language worth the name.
const GRAMMAR: &str = " '\"`();=<>*";
/// What servers, before or after decoding a segment, take for more than a letter.
const SEPARATORS: &str = "/\\%;?#";
/// Headers that a route may set; all others belong to the connection, the login or the broker.
const HEADERS: [&str; 3] = ["accept", "accept-language", "prefer"];

impl Upstream {
    /// Names of the parameters that the source is told.
    pub(super) fn parameters(&self) -> BTreeSet<&str> {
        match self {
            Self::Http(template) => template.parameters(),
            Self::Sql(statement) => statement.parameters(),
            Self::Series(rule) => rule.told(),
        }
    }

    pub(super) fn tells_signal(&self) -> bool {
        match self {
            Self::Http(template) => template.holes().any(|of| matches!(of, Of::SignalId | Of::SignalAddress)),
            Self::Sql(statement) => statement.tells_signal(),
            // Read with the rule.
            Self::Series(_) => true,
        }
    }

    pub(super) fn tells_dataset(&self) -> bool {
        match self {
            Self::Http(template) => template.holes().any(|of| matches!(of, Of::DatasetId)),
            Self::Sql(statement) => statement.tells_dataset(),
            Self::Series(_) => false,
        }
    }

    pub fn as_series(&self) -> Option<&SeriesRule> {
        if let Self::Series(rule) = self { Some(rule) } else { None }
    }
}

impl HttpTemplate {
    /// InfluxDB 1's `/query`.
    pub(super) fn influxdb(database: &str, q: &str) -> Self {
        let constant = |text: &str| Template { pieces: vec![Piece::Literal(text.to_owned())] };
        let query = [("db", constant(database)), ("epoch", constant("ms")), ("q", constant(q))];
        Self {
            path: vec![constant("query")],
            query: query.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            headers: Vec::new(),
        }
    }

    pub(super) fn parameters(&self) -> BTreeSet<&str> {
        self.holes()
            .filter_map(|of| match of {
                Of::Parameter(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }

    fn holes(&self) -> impl Iterator<Item = &Of> {
        self.path.iter().chain(self.query.iter().map(|(_, t)| t)).flat_map(Template::holes)
    }
}

/// A database is asked with a statement, every other source with a request.
pub(super) fn upstream(route: &Table<'_>, scope: &Scope<'_>) -> Option<Upstream> {
    let has = |key| route.get(key).is_some();
    match scope.is_database {
        Some(true) if has("upstream") => {
            let what = format!("{} asks a database and has `upstream`", route.what);
            route.wrong("upstream", what, "write the query as `sql = \"SELECT …\"`");
            None
        }
        Some(false) if has("sql") => {
            let what = format!("{} has `sql`, and its source is no database", route.what);
            route.wrong("sql", what, "use a source whose `url` begins with `postgresql://`");
            None
        }
        Some(true) => statement::statement(route, scope).map(Upstream::Sql),
        Some(false) => http(route, scope).map(Upstream::Http),
        // What is wrong with the source has been said.
        None if has("sql") => statement::statement(route, scope).map(Upstream::Sql),
        None => http(route, scope).map(Upstream::Http),
    }
}

pub(super) fn http(route: &Table<'_>, scope: &Scope<'_>) -> Option<HttpTemplate> {
    if route.get("upstream").is_none() {
        route.missing("upstream", "{ path = \"/…\" }");
    }
    let table = route.table("upstream")?;
    let path = path(&table, scope);
    let query = table.table("query").map_or_else(
        || Some(Vec::new()),
        |query| query.entries().iter().map(|entry| query_value(&query, entry, scope)).collect(),
    );
    let headers = table.table("headers").map_or_else(Vec::new, |h| headers(&h));
    table.finish();
    Some(HttpTemplate { path: path?, query: query?, headers })
}

fn path(table: &Table<'_>, scope: &Scope<'_>) -> Option<Vec<Template>> {
    let text = table.required_text("path")?;
    let spot = table.spot_of("path");
    let Some(rest) = text.strip_prefix('/') else {
        table.wrong("path", format!("{} has the path `{text}`", table.what), "it begins with `/`");
        return None;
    };
    rest.split('/').map(|segment| path_segment(table, segment, spot, scope)).collect()
}

fn path_segment(table: &Table<'_>, segment: &str, spot: Spot, scope: &Scope<'_>) -> Option<Template> {
    if matches!(segment, "" | "." | "..") {
        table.problem(spot, format!("the path of {} has the segment `{segment}`", table.what), None);
        return None;
    }
    let template = compile(table, segment, spot, scope)?;
    for of in template.holes() {
        let Of::Parameter(name) = of else { continue };
        let separator = match scope.parameters.get(name).map(|p| &p.kind) {
            Some(Kind::Text { characters, .. }) => characters.first_allowed(SEPARATORS),
            Some(Kind::Choice(values)) => values.iter().find_map(|v| v.chars().find(|c| SEPARATORS.contains(*c))),
            _ => None,
        };
        if let Some(c) = separator {
            let what = format!("`{name}` may hold `{c}` and stands in the path of {}", table.what);
            table.problem(spot, what, Some("narrow its `characters`".into()));
        }
    }
    Some(template)
}

fn query_value(table: &Table<'_>, entry: &Entry, scope: &Scope<'_>) -> Option<(String, Template)> {
    let text = match &entry.node.value {
        Val::Text(text) if !text.chars().any(char::is_control) => text.clone(),
        Val::Integer(n) => n.to_string(),
        Val::Boolean(b) => b.to_string(),
        other => {
            let what = format!("`{}` of {} is {}", entry.key, table.what, other.kind());
            table.problem(entry.node.spot, what, Some("write one line of text".into()));
            return None;
        }
    };
    let template = compile(table, &text, entry.node.spot, scope)?;
    if LANGUAGES.contains(&entry.key.to_ascii_lowercase().as_str()) {
        no_free_query(table, entry, &template, scope);
    }
    Some((entry.key.clone(), template))
}

/// A caller's own query is never passed on.
fn no_free_query(table: &Table<'_>, entry: &Entry, template: &Template, scope: &Scope<'_>) {
    let [Piece::Value { of: Of::Parameter(name), .. }] = template.pieces.as_slice() else { return };
    let Some(Kind::Text { characters, .. }) = scope.parameters.get(name).map(|p| &p.kind) else { return };
    if let Some(c) = characters.first_allowed(GRAMMAR) {
        let what =
            format!("`{}` of {} would pass a caller's own query on: `{name}` may hold `{c}`", entry.key, table.what);
        let help = "write the query here, with placeholders for its values";
        table.problem(entry.node.spot, what, Some(help.into()));
    }
}

fn headers(table: &Table<'_>) -> Vec<(String, String)> {
    let mut list = Vec::new();
    for entry in table.entries() {
        let name = entry.key.to_ascii_lowercase();
        match &entry.node.value {
            _ if !HEADERS.contains(&name.as_str()) => {
                let what = format!("{} sets the header `{}`", table.what, entry.key);
                table.problem(entry.spot, what, near::help(&name, HEADERS));
            }
            Val::Text(text) if text.bytes().all(|b| matches!(b, b' '..=b'~')) => list.push((name, text.clone())),
            _ => table.problem(entry.node.spot, format!("header `{name}` of {} is not plain text", table.what), None),
        }
    }
    list
}

/// Compiles one template and checks that what a caller chooses stays a value in it.
pub(super) fn compile(table: &Table<'_>, text: &str, spot: Spot, scope: &Scope<'_>) -> Option<Template> {
    let written =
        split(text).map_err(|e| table.problem(spot, format!("`{text}` in {} has {e}", table.what), None)).ok()?;
    let whole = written.len() == 1;
    let mut pieces = Vec::new();
    for piece in written {
        pieces.push(match piece {
            Written::Literal(text) => Piece::Literal(text),
            Written::Hole(hole) => hole_value(table, hole, whole, spot, scope)?,
        });
    }
    if let Err(why) = influxql::check(&pieces) {
        table.problem(spot, format!("in a template of {} {why}", table.what), None);
    }
    no_double_minus(table, &pieces, spot, scope);
    Some(Template { pieces })
}

/// `-{n}` with a negative number is `--5`, a comment in most query languages.
fn no_double_minus(table: &Table<'_>, pieces: &[Piece], spot: Spot, scope: &Scope<'_>) {
    for pair in pieces.windows(2) {
        let [Piece::Literal(before), Piece::Value { of: Of::Parameter(name), .. }] = pair else { continue };
        let negative = |k: &Kind| matches!(k, Kind::Integer { min, .. } if *min < 0);
        if before.ends_with('-') && scope.parameters.get(name).is_some_and(|p| negative(&p.kind)) {
            let what = format!("`{name}` may be negative and stands after a `-` in {}", table.what);
            table.problem(spot, what, Some("write ` - ` with spaces, or set `min = 0`".into()));
        }
    }
}

fn hole_value(table: &Table<'_>, hole: &str, whole: bool, spot: Spot, scope: &Scope<'_>) -> Option<Piece> {
    let (name, format) = match hole.split_once('|') {
        Some((name, format)) => (name.trim(), Some(format.trim())),
        None => (hole, None),
    };
    let Some((of, kind, closed)) = filling(name, scope) else {
        let excused = scope.declared.contains(&name) || (scope.resource.is_none() && name.contains('.'));
        if !excused {
            let what = format!("{} uses the unknown `{{{name}}}`", table.what);
            table.problem(spot, what, near::help(name, known(scope).iter().map(String::as_str)));
        }
        return None;
    };
    let Some(spelling) = format.map_or_else(|| Format::default_of(kind), |f| Format::named(f, kind)) else {
        let what = match format {
            Some(format) => format!("`{name}` in {} cannot be spelled as `{format}`", table.what),
            None => format!("`{{{name}}}` in {} does not say how it is spelled", table.what),
        };
        let formats = Format::names(kind);
        let help = formats.first().map(|f| format!("write `{{{name}|{f}}}`; formats: {}", near::list(&formats)));
        table.problem(spot, what, help);
        return None;
    };
    if kind == Type::Text && spelling == Format::Text && !whole && !closed {
        let what = format!("`{{{name}}}` stands inside a longer text in {} without quotes of its own", table.what);
        let help = format!(
            "write `{{{name}|influxql_string}}` or `{{{name}|influxql_identifier}}`, make it the whole value, or give it \
             `values` or `characters = \"A-Za-z0-9_\"`"
        );
        table.problem(spot, what, Some(help));
    }
    Some(Piece::Value { of, format: spelling })
}

/// What a placeholder is filled with, its type, and whether its text is one word or of a closed list.
pub(super) fn filling(name: &str, scope: &Scope<'_>) -> Option<(Of, Type, bool)> {
    if let Some(parameter) = scope.parameters.get(name) {
        let (kind, closed) = match &parameter.kind {
            Kind::Text { characters, .. } => (Type::Text, characters.is_word()),
            Kind::Choice(_) => (Type::Text, true),
            Kind::Signal { .. } | Kind::Dataset { .. } => (Type::Text, false),
            Kind::Integer { .. } => (Type::Integer, true),
            Kind::Boolean => (Type::Boolean, true),
            Kind::Timestamp => (Type::Timestamp, true),
            Kind::Duration { .. } | Kind::Steps(_) | Kind::Ladder(_) => (Type::Duration, true),
        };
        return Some((Of::Parameter(name.to_owned()), kind, closed));
    }
    let attribute = attributes(scope).iter().find(|(n, _)| *n == name)?;
    Some((attribute.1.clone(), Type::Text, false))
}

/// What the route's resource has to say.
fn attributes(scope: &Scope<'_>) -> &'static [(&'static str, Of)] {
    match scope.resource {
        Some(Resource::Signal(_) | Resource::SignalParameter(_)) => {
            &[("signal.id", Of::SignalId), ("signal.address", Of::SignalAddress), ("signal.unit", Of::SignalUnit)]
        }
        Some(Resource::Dataset(_) | Resource::DatasetParameter(_)) => &[("dataset.id", Of::DatasetId)],
        None => &[],
    }
}

fn known(scope: &Scope<'_>) -> Vec<String> {
    let attributes = attributes(scope).iter().map(|(n, _)| (*n).to_owned());
    scope.parameters.keys().cloned().chain(attributes).collect()
}
