//! `[route.….series]`: a signal's values on a ladder of steps, from raw to coarse.
//!
//! The ladder, the aggregates and the question to the source are the catalog's. A caller chooses the signal, the window and
//! at most the step. What comes back has one form whatever the source is, and its steps are complete: they begin at
//! multiples of their length since 1970-01-01T00:00:00Z and have ended.

use super::parameter::{Kind, Parameter, Place, Value};
use super::read::Scope;
use super::read_upstream::{compile, http};
use super::statement::{Statement, statement};
use super::template::{Of, Template, Values};
use super::{HttpRequest, HttpTemplate, Resource, Rows, ShapeRule, UpstreamRequest, influxql};
use crate::near;
use crate::table::Table;
use model::SignalId;
use model::time::parse_duration_ms;
use std::collections::{BTreeMap, BTreeSet};

/// What a series route offers, and how its source is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesRule {
    /// Milliseconds, from fine to coarse, each a multiple of the one before; 0 is raw.
    pub steps: Vec<i64>,
    /// What a step shows of its values, in this order.
    pub aggregates: Vec<Aggregate>,
    /// Steps made of fewer values are not shown. Then there is one step only: with two of them, what is left out of one could
    /// be taken from the other.
    pub values_min: u64,
    /// Of one answer.
    pub rows_max: i64,
    /// A step is shown so long after its end: values may come late.
    pub settle_ms: i64,
    pub source: SeriesSource,
}

/// How a source is asked for steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeriesSource {
    /// InfluxDB 1, in InfluxQL: `GROUP BY time()`.
    InfluxDb { database: String, measurement: Template, tags: Vec<(String, Template)>, field: String },
    /// A query that gives `time` and `value`; the broker's around it makes the steps with `date_bin`.
    Sql(Statement),
    /// It knows only values as they were measured, and the broker makes the steps.
    Values { upstream: HttpTemplate, answer: ValuesAt },
}

/// Where the values stand in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuesAt {
    /// The path of the list, names and positions joined by dots; empty where the answer is the list.
    pub rows: String,
    /// The member of a row, or its position.
    pub time: String,
    pub value: String,
    pub unit: TimeUnit,
    /// More would not be all of a window: none of it is shown.
    pub values_max: usize,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    Seconds,
    Milliseconds,
    Nanoseconds,
    Rfc3339,
}

/// What a step shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aggregate {
    Mean,
    Min,
    Max,
    Sum,
    Count,
    First,
    Last,
}

impl Aggregate {
    const WORDS: [(&'static str, Self); 7] = [
        ("mean", Self::Mean),
        ("min", Self::Min),
        ("max", Self::Max),
        ("sum", Self::Sum),
        ("count", Self::Count),
        ("first", Self::First),
        ("last", Self::Last),
    ];

    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, a)| *a == self).map_or("", |(word, _)| *word)
    }
}

/// One question for a series, and what its answer has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesQuestion {
    pub signal: SignalId,
    pub unit: String,
    /// Milliseconds; 0 is raw.
    pub step_ms: i64,
    /// Milliseconds since 1970, `from` in the window and `to` not.
    pub from_ms: i64,
    pub to_ms: i64,
    pub aggregates: Vec<Aggregate>,
    pub values_min: u64,
    pub rows_max: i64,
    pub answer: SeriesAnswer,
}

/// How the source's answer is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeriesAnswer {
    /// As InfluxDB 1 gives it: a row has the time, the aggregates and the count of its values; of raw values time and value.
    InfluxDb,
    /// A list of the same rows.
    Rows,
    Values(ValuesAt),
}

/// Names of the parameters that a series route has beside its signal.
pub(super) const FROM: &str = "from";
pub(super) const TO: &str = "to";
pub(super) const RESOLUTION: &str = "resolution";
pub(super) const LIMIT: &str = "limit";
/// The first permitted step, from fine to coarse.
pub const FINEST: &str = "finest";
pub const RAW: &str = "raw";

/// A year of seconds would be 31 million rows: this is what one answer may hold, whatever an agreement says.
const ROWS_MAX: i64 = 1_000_000;
const ROWS_DEFAULT: i64 = 100_000;
/// A hundred years.
const STEP_MAX_MS: i64 = 100 * 366 * 86_400_000;
const SETTLE_MAX_MS: i64 = 86_400_000;

impl SeriesRule {
    /// The parameters of every series route.
    pub(super) fn parameters(&self, parameters: &mut BTreeMap<String, Parameter>) {
        let mut add = |name: &str, title: &str, kind, default| {
            let parameter = Parameter {
                name: name.to_owned(),
                title: title.to_owned(),
                place: Place::Query,
                kind,
                default,
                filters: None,
            };
            parameters.insert(name.to_owned(), parameter);
        };
        add(FROM, "begin of the window", Kind::Timestamp, None);
        add(TO, "end of the window, not in it", Kind::Timestamp, None);
        let finest = Some(Value::Finest);
        add(RESOLUTION, "the step", Kind::Ladder(self.steps.clone()), finest);
        let limit = Kind::Integer { min: 1, max: self.rows_max };
        add(LIMIT, "most raw values", limit, Some(Value::Integer(self.rows_max)));
    }

    /// Names of the parameters that matter to the source, as all that a series route has do.
    pub(super) fn told(&self) -> BTreeSet<&str> {
        let own = [FROM, TO, RESOLUTION, LIMIT].into_iter();
        let mut told: BTreeSet<&str> = match &self.source {
            SeriesSource::Sql(statement) => statement.parameters(),
            SeriesSource::Values { upstream, .. } => upstream.parameters(),
            SeriesSource::InfluxDb { measurement, tags, .. } => {
                let holes =
                    std::iter::once(measurement).chain(tags.iter().map(|(_, tag)| tag)).flat_map(Template::holes);
                let parameters =
                    holes.filter_map(|of| if let Of::Parameter(name) = of { Some(name.as_str()) } else { None });
                parameters.collect()
            }
        };
        told.extend(own);
        told
    }

    pub(super) fn shape() -> ShapeRule {
        ShapeRule {
            window: Some((FROM.to_owned(), TO.to_owned())),
            resolution: Some(RESOLUTION.to_owned()),
            rows: Rows::Steps { limit: LIMIT.to_owned() },
        }
    }

    /// The question to the source, for a window that has been cut, and what its answer is read with. `path` fills a
    /// template.
    ///
    /// # Errors
    /// Those of `path`; `None` if a value is missing, which loading has ruled out.
    pub(super) fn ask<E>(
        &self,
        asking: &Asking<'_>,
        values: &impl Values,
        path: impl Fn(&HttpTemplate) -> Result<String, E>,
    ) -> Result<Option<(UpstreamRequest, SeriesQuestion)>, E> {
        let Some((request, answer)) = self.request(asking, values, path).transpose()? else { return Ok(None) };
        let question = SeriesQuestion {
            signal: asking.signal.clone(),
            unit: asking.unit.to_owned(),
            step_ms: asking.step_ms,
            from_ms: asking.from_ms,
            to_ms: asking.to_ms,
            aggregates: self.aggregates.clone(),
            values_min: self.values_min,
            rows_max: asking.rows_max,
            answer,
        };
        Ok(Some((request, question)))
    }

    fn request<E>(
        &self,
        question: &Asking<'_>,
        values: &impl Values,
        path: impl Fn(&HttpTemplate) -> Result<String, E>,
    ) -> Option<Result<(UpstreamRequest, SeriesAnswer), E>> {
        let http = |template: &HttpTemplate, answer| {
            let headers = template.headers.clone();
            let path_and_query = path(template)?;
            Ok((UpstreamRequest::Http(HttpRequest { method: "GET", path_and_query, headers }), answer))
        };
        match &self.source {
            SeriesSource::InfluxDb { database, measurement, tags, field } => {
                let (measurement, tags) = (measurement.fill(values)?, filled(tags, values)?);
                let q = self.influxql(question, &measurement, &tags, field);
                Some(http(&HttpTemplate::influxdb(database, &q), SeriesAnswer::InfluxDb))
            }
            SeriesSource::Sql(statement) => {
                let sql = statement.fill(values, question.rows_max)?;
                Some(Ok((UpstreamRequest::Sql(sql), SeriesAnswer::Rows)))
            }
            SeriesSource::Values { upstream, answer } => Some(http(upstream, SeriesAnswer::Values(answer.clone()))),
        }
    }

    fn influxql(&self, asking: &Asking<'_>, measurement: &str, tags: &[(String, String)], field: &str) -> String {
        let field = influxql::identifier(field);
        let select = if asking.step_ms == 0 {
            field
        } else {
            let shown = self.aggregates.iter().map(|aggregate| aggregate.as_str());
            shown.chain(["count"]).map(|function| format!("{function}({field})")).collect::<Vec<_>>().join(", ")
        };
        let tags = tags
            .iter()
            .map(|(name, value)| format!(" AND {} = {}", influxql::identifier(name), influxql::string(value)));
        let group = match asking.step_ms {
            0 => String::new(),
            step => format!(" GROUP BY time({step}ms) fill(none)"),
        };
        format!(
            "SELECT {select} FROM {} WHERE time >= {}ms AND time < {}ms{}{group} LIMIT {}",
            influxql::identifier(measurement),
            asking.from_ms,
            asking.to_ms,
            tags.collect::<String>(),
            asking.rows_max,
        )
    }
}

/// The part of a question that a source is told.
pub(super) struct Asking<'a> {
    pub step_ms: i64,
    pub from_ms: i64,
    pub to_ms: i64,
    pub rows_max: i64,
    pub signal: &'a SignalId,
    pub unit: &'a str,
}

fn filled(templates: &[(String, Template)], values: &impl Values) -> Option<Vec<(String, String)>> {
    templates.iter().map(|(name, template)| Some((name.clone(), template.fill(values)?))).collect()
}

// === reading

/// The ends of the window, for placeholders; all of the parameters come with the rule.
pub(super) fn window_of_series(parameters: &mut BTreeMap<String, Parameter>) {
    for name in [FROM, TO] {
        let (kind, title) = (Kind::Timestamp, name.to_owned());
        let parameter =
            Parameter { name: name.to_owned(), title, place: Place::Query, kind, default: None, filters: None };
        parameters.entry(name.to_owned()).or_insert(parameter);
    }
}

/// Reads `series` of a route; `None` also where there is none.
pub(super) fn series(route: &Table<'_>, scope: &Scope<'_>) -> Option<SeriesRule> {
    let table = route.table("series")?;
    for name in [FROM, TO, RESOLUTION, LIMIT] {
        if scope.declared.contains(&name) {
            let what = format!("{} declares `{name}`, which every series route has", route.what);
            route.wrong("parameters", what, format!("remove `{name}` there"));
        }
    }
    if route.get("shape").is_some() {
        route.wrong("shape", format!("{} has a `series` and a `shape`", route.what), "remove `shape`");
    }
    if route.text("method").is_some_and(|method| method != "GET") {
        route.wrong("method", format!("{} reads a series", route.what), "write `method = \"GET\"`");
    }
    if !matches!(scope.resource, Some(Resource::Signal(_) | Resource::SignalParameter(_)) | None) {
        route.wrong("series", format!("{} has a `series` and reads a dataset", route.what), "write `signal = …`");
    }
    let steps = steps(&table);
    let aggregates = aggregates(&table);
    let values_min = table.integer("values_min", 1..=1_000_000).unwrap_or(1).unsigned_abs();
    let rows_max = table.integer("rows_max", 1..=ROWS_MAX).unwrap_or(ROWS_DEFAULT);
    let settle_ms = table.duration("settle", 0..=SETTLE_MAX_MS).unwrap_or(0);
    if values_min > 1 && steps.as_ref().is_some_and(|steps| !matches!(steps.as_slice(), [step] if *step > 0)) {
        let what = format!("{} has `values_min` and more than one step, or `raw`", table.what);
        table.wrong("steps", what, "keep one: what is left out of one step could be calculated from another");
    }
    for name in scope.parameters.keys().filter(|name| ![FROM, TO].contains(&name.as_str())) {
        if !matches!(scope.resource, Some(Resource::SignalParameter(signal)) if signal == name) {
            let what = format!("{} has the parameter `{name}` beside its signal", route.what);
            route.wrong("parameters", what, "remove it: whoever chooses among values finds out what they are");
        }
    }
    let source = source(route, &table, scope, rows_max);
    table.finish();
    Some(SeriesRule { steps: steps?, aggregates: aggregates?, values_min, rows_max, settle_ms, source: source? })
}

fn steps(table: &Table<'_>) -> Option<Vec<i64>> {
    table.required_list("steps");
    let mut steps: Vec<i64> = Vec::new();
    for (text, spot) in table.texts("steps") {
        let step =
            if text == RAW { Some(0) } else { parse_duration_ms(text).filter(|ms| (1..=STEP_MAX_MS).contains(ms)) };
        let Some(step) = step else {
            let what = format!("`steps` of {} holds `{text}`", table.what);
            table.problem(spot, what, Some("write `raw`, or one number and one unit: `10s`, `5m`, `12h`".into()));
            continue;
        };
        let fits = match steps.last() {
            None => true,
            Some(0) => step > 0,
            Some(last) => step > *last && step % last == 0,
        };
        if !fits {
            let what = format!("in `steps` of {}, `{text}` is no multiple of the step before it", table.what);
            table.problem(spot, what, Some("from fine to coarse; `raw` comes first".into()));
        }
        steps.push(step);
    }
    (!steps.is_empty()).then_some(steps)
}

fn aggregates(table: &Table<'_>) -> Option<Vec<Aggregate>> {
    if table.get("aggregates").is_none() {
        return Some(vec![Aggregate::Mean]);
    }
    table.required_list("aggregates");
    let mut aggregates = Vec::new();
    for (text, spot) in table.texts("aggregates") {
        match Aggregate::WORDS.iter().find(|(word, _)| *word == text) {
            Some((_, aggregate)) if !aggregates.contains(aggregate) => aggregates.push(*aggregate),
            Some(_) => table.problem(spot, format!("`aggregates` of {} has `{text}` twice", table.what), None),
            None => {
                let what = format!("`aggregates` of {} holds `{text}`", table.what);
                table.problem(spot, what, near::help(text, Aggregate::WORDS.iter().map(|(word, _)| *word)));
            }
        }
    }
    (!aggregates.is_empty()).then_some(aggregates)
}

fn source(route: &Table<'_>, table: &Table<'_>, scope: &Scope<'_>, rows_max: i64) -> Option<SeriesSource> {
    let has = |key| table.get(key).is_some();
    match (scope.is_database, has("database"), has("sql"), has("answer")) {
        (Some(true) | None, false, true, false) => sql(table, scope).map(SeriesSource::Sql),
        (Some(false) | None, true, false, false) => influxdb(table, scope),
        (Some(false) | None, false, false, true) => values(route, table, scope, rows_max),
        (Some(true), ..) => {
            let what = format!("{} asks a database, and does not say how", table.what);
            table.problem(
                table.spot,
                what,
                Some("write `sql = \"SELECT … AS time, … AS value …\"`, and nothing else".into()),
            );
            None
        }
        _ => {
            let what = format!("{} does not say how its source is asked", table.what);
            let help = "write `database = \"…\"` for InfluxDB 1, or `answer = { … }` beside the route's `upstream` for \
                        a source of measured values";
            table.problem(table.spot, what, Some(help.into()));
            None
        }
    }
}

fn sql(table: &Table<'_>, scope: &Scope<'_>) -> Option<Statement> {
    let statement = statement(table, scope)?;
    let told = statement.parameters();
    for name in [FROM, TO] {
        if !told.contains(name) {
            let what = format!("`sql` of {} does not use `{{{name}}}`", table.what);
            table.wrong("sql", what, "write `WHERE TIME >= {from} AND TIME < {to}`: all else is read for nothing");
        }
    }
    if !statement.tells_signal() && matches!(scope.resource, Some(Resource::SignalParameter(_))) {
        let what = format!("`sql` of {} does not say which signal", table.what);
        table.wrong("sql", what, "use `{signal.address}`");
    }
    Some(statement)
}

fn influxdb(table: &Table<'_>, scope: &Scope<'_>) -> Option<SeriesSource> {
    let database = table.required_text("database")?.to_owned();
    let field = table.text("field").unwrap_or("value").to_owned();
    let measurement = table.text("measurement").unwrap_or("{signal.address}");
    let measurement = compile(table, measurement, table.spot_of("measurement"), scope);
    let mut tags = Vec::new();
    if let Some(inner) = table.table("tags") {
        for entry in inner.entries() {
            let crate::document::Val::Text(text) = &entry.node.value else {
                inner.problem(entry.node.spot, format!("`{}` of {} is no text", entry.key, inner.what), None);
                continue;
            };
            tags.extend(compile(&inner, text, entry.node.spot, scope).map(|t| (entry.key.clone(), t)));
        }
    }
    let measurement = measurement?;
    let tells = |template: &Template| template.holes().any(|of| matches!(of, Of::SignalId | Of::SignalAddress));
    if !tells(&measurement)
        && !tags.iter().any(|(_, tag)| tells(tag))
        && matches!(scope.resource, Some(Resource::SignalParameter(_)))
    {
        let what = format!("neither `measurement` nor `tags` of {} say which signal", table.what);
        table.wrong("database", what, "use `{signal.address}` in one of them");
    }
    Some(SeriesSource::InfluxDb { database, measurement, tags, field })
}

fn values(route: &Table<'_>, table: &Table<'_>, scope: &Scope<'_>, rows_max: i64) -> Option<SeriesSource> {
    let upstream = http(route, scope);
    if let Some(upstream) = &upstream {
        let told = upstream.parameters();
        for name in [FROM, TO] {
            if !told.contains(name) {
                let what = format!("{} never tells its source `{name}`", route.what);
                route.wrong("upstream", what, format!("use `{{{name}|rfc3339}}` or `{{{name}|epoch_ms}}`"));
            }
        }
        if told.contains(RESOLUTION) || told.contains(LIMIT) {
            let what = format!("{} tells its source a step or a limit", route.what);
            route.wrong("upstream", what, "remove it: the steps are made of all values of the window");
        }
    }
    let inner = table.table("answer")?;
    let units = [
        ("s", TimeUnit::Seconds),
        ("ms", TimeUnit::Milliseconds),
        ("ns", TimeUnit::Nanoseconds),
        ("rfc3339", TimeUnit::Rfc3339),
    ];
    let answer = ValuesAt {
        rows: inner.text("rows").unwrap_or_default().to_owned(),
        time: inner.text("time").unwrap_or("0").to_owned(),
        value: inner.text("value").unwrap_or("1").to_owned(),
        unit: inner.word("time_unit", &units).unwrap_or(TimeUnit::Milliseconds),
        values_max: usize::try_from(inner.integer("values_max", 1..=ROWS_MAX).unwrap_or(rows_max)).ok()?,
    };
    inner.finish();
    Some(SeriesSource::Values { upstream: upstream?, answer })
}

impl SeriesQuestion {
    /// `raw`, or the step as a duration.
    pub fn resolution(&self) -> String {
        Value::Step(self.step_ms).to_text()
    }
}
