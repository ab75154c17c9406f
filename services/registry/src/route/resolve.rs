//! From method, path and query to one declared question and the one upstream request that asks it.
//!
//! In this order, and nothing passes that is not named here:
//! 1. a route has the path; one of them has the method
//! 2. the resource exists, on the route's source and within its product
//! 3. each parameter is declared, given at most once, and there or defaulted
//! 4. each value is what its type takes
//! 5. the window has an end after its beginning and, cut to whole steps, something left
//!
//! The resource comes before the parameters, so that the broker can hide a fault in the request behind "not found" from a
//! caller who may not know the resource.

use super::parameter::{Kind, Place, Value};
use super::series::{Asking, FROM, RESOLUTION, TO};
use super::template::{Of, Values, percent_encode};
use super::{
    BodyRule, HttpTemplate, Resource, Route, Rows, SeriesQuestion, SeriesRule, ShapeRule, SqlQuestion, Upstream,
};
use crate::catalog::Catalog;
use crate::near;
use crate::source::Address;
use model::{Action, DatasetId, ProductId, Reason, ResourceRef, RouteId, Shape, SignalId, SourceId, Timestamp};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One declared question, and what to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub route: RouteId,
    pub action: Action,
    pub resource: ResourceRef,
    pub product: ProductId,
    pub source: SourceId,
    pub shape: Shape,
    /// Every parameter in its one spelling, defaults included, windows as they were cut: for the audit log.
    pub parameters: BTreeMap<String, String>,
    pub upstream: UpstreamRequest,
    /// What the answer is, where it is a series.
    pub series: Option<SeriesQuestion>,
    /// Where the caller wants the finest step that is permitted: those after the one that this asks for.
    pub coarser: Vec<i64>,
    /// Why this step is not served where it is the finest that is permitted: the window has too many of them.
    pub too_long: Option<String>,
    /// `None`: a body is refused.
    pub body: Option<BodyRule>,
}

/// What a source is asked. All of it comes from the catalog and from typed values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamRequest {
    Http(HttpRequest),
    Sql(SqlQuestion),
}

impl UpstreamRequest {
    pub fn as_http(&self) -> Option<&HttpRequest> {
        if let Self::Http(request) = self { Some(request) } else { None }
    }

    pub fn as_sql(&self) -> Option<&SqlQuestion> {
        if let Self::Sql(question) = self { Some(question) } else { None }
    }
}

/// A request over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    pub method: &'static str,
    /// With the base path of the source's address; percent-encoded.
    pub path_and_query: String,
    pub headers: Vec<(String, String)>,
}

/// Why a request is no declared question. What of it the caller may know is the broker's decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ResolveError {
    /// `NOT_FOUND`, `METHOD_NOT_ALLOWED`, or one of the four of parameters.
    pub reason: Reason,
    /// For the caller: names the parameter and what it takes.
    pub detail: String,
    pub parameter: Option<Box<str>>,
    /// A route that has the path.
    pub route: Option<RouteId>,
    /// What was asked for, if that much was clear. Who may not discover it must see what everybody sees where nothing is.
    pub resource: Option<ResourceRef>,
    /// With `METHOD_NOT_ALLOWED`: those that the path takes, sorted.
    pub methods: Box<[&'static str]>,
}

/// What is read of a request before its parameters are judged.
struct Target {
    resource: ResourceRef,
    product: ProductId,
    signal: Option<SignalId>,
    dataset: Option<DatasetId>,
}

impl Catalog {
    /// Finds the route for `method`, the percent-decoded `segments` of the path and the percent-decoded `query`, and
    /// builds the request to its source. Pure, and total: it answers for any input. Steps of a series that have not ended
    /// at `now` are not part of its window.
    ///
    /// # Errors
    /// The reason code, and a text that names the parameter and what it takes.
    pub fn resolve(
        &self,
        method: &str,
        segments: &[String],
        query: &[(String, String)],
        now: Timestamp,
    ) -> Result<Resolved, ResolveError> {
        self.resolve_at(method, segments, query, now, None)
    }

    /// The same at one step of a ladder, in milliseconds, where the caller wants the finest that is permitted.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn resolve_at(
        &self,
        method: &str,
        segments: &[String],
        query: &[(String, String)],
        now: Timestamp,
        step: Option<i64>,
    ) -> Result<Resolved, ResolveError> {
        let (route, captures) = self.route(method, segments)?;
        let raw = Raw { captures, query };
        let target = self.target(route, &raw)?;
        let known = |e: Fault| e.at(route, Some(&target));
        let mut values = read_values(route, &raw, &target).map_err(known)?;
        let rule = route.upstream.as_series();
        let is_finest = values.get(RESOLUTION) == Some(&Value::Finest);
        let coarser = rule.map_or_else(Vec::new, |rule| choose_step(rule, step, &mut values));
        // A caller that asks for a step before it has ended would see values of a part of it.
        let ended = Timestamp(now.millis().saturating_sub(rule.map_or(0, |rule| rule.settle_ms)));
        let shape = shape(&route.shape, &mut values, ended, now).map_err(known)?;
        let too_long = rule.filter(|rule| shape.rows > rule.rows_max).map(|rule| {
            let detail = format!("the window has {} steps; one answer has at most {}", shape.rows, rule.rows_max);
            Fault::of(Reason::BAD_PARAMETER, TO, detail)
        });
        let too_long = match too_long {
            Some(fault) if !is_finest => return Err(known(fault)),
            fault => fault.map(|fault| fault.detail),
        };
        let (upstream, series) = self.question(route, &target, &values, &shape).map_err(known)?;
        Ok(Resolved {
            route: route.id.clone(),
            action: route.action,
            source: route.source.clone(),
            shape,
            parameters: values.iter().map(|(name, value)| ((*name).to_owned(), value.to_text())).collect(),
            upstream,
            series,
            coarser,
            too_long,
            body: route.body.clone(),
            resource: target.resource,
            product: target.product,
        })
    }

    fn route<'a>(&'a self, method: &str, segments: &'a [String]) -> Result<(&'a Route, Captures<'a>), ResolveError> {
        let mut others = Vec::new();
        for route in self.routes.values() {
            match route.path.captures(segments) {
                Some(captures) if route.method == method => return Ok((route, captures)),
                Some(captures) => others.push((route, captures)),
                None => {}
            }
        }
        let mut methods: Vec<&'static str> = others.iter().map(|(r, _)| r.method).collect();
        let Some((first, captures)) = others.into_iter().next() else {
            return Err(Fault::new(Reason::NOT_FOUND, "there is no such route".into()).nowhere());
        };
        methods.sort_unstable();
        methods.dedup();
        let detail = format!("this path takes {}", near::list(&methods));
        // Whether the caller may hear that depends on what the path is about.
        let target = self.target(first, &Raw { captures, query: &[] }).ok();
        let error = Fault::new(Reason::METHOD_NOT_ALLOWED, detail).at(first, target.as_ref());
        Err(ResolveError { methods: methods.into(), ..error })
    }

    fn target(&self, route: &Route, raw: &Raw<'_>) -> Result<Target, ResolveError> {
        let found = match &route.resource {
            Resource::Signal(id) => self.signal_target(id, None, route),
            Resource::Dataset(id) => self.dataset_target(id, None, route),
            Resource::SignalParameter(name) | Resource::DatasetParameter(name) => {
                let text = raw.one(route, name).map_err(|e| e.at(route, None))?;
                self.named_target(route, name, &text)
            }
        };
        // No word about why: a signal that does not exist, one of another source and one that is none of the caller's
        // business are the same.
        found.ok_or_else(|| Fault::new(Reason::NOT_FOUND, "there is no such route".into()).at(route, None))
    }

    fn named_target(&self, route: &Route, name: &str, text: &str) -> Option<Target> {
        let kind = &route.parameters.get(name)?.kind;
        match (kind, kind.read(text)?) {
            (Kind::Signal { product }, Value::Signal(id)) => self.signal_target(&id, product.as_ref(), route),
            (Kind::Dataset { product }, Value::Dataset(id)) => self.dataset_target(&id, product.as_ref(), route),
            _ => None,
        }
    }

    fn signal_target(&self, id: &SignalId, product: Option<&ProductId>, route: &Route) -> Option<Target> {
        let signal = self.plant.signals.get(id)?;
        let here = signal.source == route.source && product.is_none_or(|p| *p == signal.product);
        here.then(|| Target {
            resource: ResourceRef::Signal(id.clone()),
            product: signal.product.clone(),
            signal: Some(id.clone()),
            dataset: None,
        })
    }

    fn dataset_target(&self, id: &DatasetId, product: Option<&ProductId>, route: &Route) -> Option<Target> {
        let dataset = self.plant.datasets.get(id)?;
        let here = dataset.source == route.source && product.is_none_or(|p| *p == dataset.product);
        here.then(|| Target {
            resource: ResourceRef::Dataset(id.clone()),
            product: dataset.product.clone(),
            signal: None,
            dataset: Some(id.clone()),
        })
    }

    fn question(
        &self,
        route: &Route,
        target: &Target,
        values: &Read<'_>,
        shape: &Shape,
    ) -> Result<(UpstreamRequest, Option<SeriesQuestion>), Fault> {
        let filling = Filling { catalog: self, target, values };
        match &route.upstream {
            Upstream::Http(template) => {
                let path_and_query = self.path_and_query(route, template, &filling)?;
                let headers = template.headers.clone();
                Ok((UpstreamRequest::Http(HttpRequest { method: route.method, path_and_query, headers }), None))
            }
            Upstream::Sql(statement) => {
                let question = statement.fill(&filling, shape.rows).ok_or_else(broken)?;
                Ok((UpstreamRequest::Sql(question), None))
            }
            Upstream::Series(rule) => {
                let signal = target.signal.as_ref().and_then(|id| self.plant.signals.get(id)).ok_or_else(broken)?;
                let ms = |name: &str| match values.get(name) {
                    Some(Value::Timestamp(t)) => Ok(t.millis()),
                    _ => Err(broken()),
                };
                let asking = Asking {
                    step_ms: shape.resolution_ms,
                    from_ms: ms(FROM)?,
                    to_ms: ms(TO)?,
                    rows_max: shape.rows,
                    signal: &signal.id,
                    unit: &signal.unit,
                };
                let asked = rule.ask(&asking, &filling, |template| self.path_and_query(route, template, &filling))?;
                let (request, question) = asked.ok_or_else(broken)?;
                Ok((request, Some(question)))
            }
        }
    }

    fn path_and_query(&self, route: &Route, request: &HttpTemplate, filling: &Filling<'_>) -> Result<String, Fault> {
        let Some(Address::Http(url)) = self.sources.get(&route.source).map(|source| &source.address) else {
            return Err(broken());
        };
        let mut out = url.base_path.clone();
        for template in &request.path {
            let segment = template.fill(filling).ok_or_else(broken)?;
            if matches!(segment.as_str(), "" | "." | "..") {
                return Err(dot_segment(template.holes()));
            }
            out.push('/');
            percent_encode(&segment, &mut out);
        }
        for (i, (name, template)) in request.query.iter().enumerate() {
            out.push(if i == 0 { '?' } else { '&' });
            percent_encode(name, &mut out);
            out.push('=');
            percent_encode(&template.fill(filling).ok_or_else(broken)?, &mut out);
        }
        Ok(out)
    }
}

/// Loading has checked that every hole can be filled; if that is ever untrue, there is no such request.
fn broken() -> Fault {
    Fault::new(Reason::NOT_FOUND, "there is no such route".into())
}

/// Servers take `.` and `..` for steps in the tree, percent-encoded or not.
fn dot_segment<'a>(mut holes: impl Iterator<Item = &'a Of>) -> Fault {
    match holes.next() {
        Some(Of::Parameter(name)) => Fault::of(Reason::BAD_PARAMETER, name, format!("`{name}` cannot be `.` or `..`")),
        _ => Fault::new(Reason::NOT_FOUND, "there is no such route".into()),
    }
}

type Captures<'a> = Vec<(&'a str, &'a str)>;
type Read<'a> = BTreeMap<&'a str, Value>;

struct Filling<'a> {
    catalog: &'a Catalog,
    target: &'a Target,
    values: &'a Read<'a>,
}

impl Values for Filling<'_> {
    fn value(&self, of: &Of) -> Option<Cow<'_, Value>> {
        if let Of::Parameter(name) = of {
            return self.values.get(name.as_str()).map(Cow::Borrowed);
        }
        let signal = || self.target.signal.as_ref().and_then(|id| self.catalog.plant.signals.get(id));
        let text = match of {
            Of::Parameter(_) => None,
            Of::SignalId => signal().map(|s| s.id.to_string()),
            Of::SignalAddress => signal().map(|s| s.address.clone()),
            Of::SignalUnit => signal().map(|s| s.unit.clone()),
            Of::DatasetId => self.target.dataset.as_ref().map(ToString::to_string),
        };
        text.map(|t| Cow::Owned(Value::Text(t)))
    }
}

/// The request as it came, decoded.
struct Raw<'a> {
    captures: Captures<'a>,
    query: &'a [(String, String)],
}

impl Raw<'_> {
    /// The one text given for `name`, or its default.
    fn one<'s>(&'s self, route: &'s Route, name: &str) -> Result<Cow<'s, str>, Fault> {
        if let Some((_, text)) = self.captures.iter().find(|(n, _)| *n == name) {
            return Ok(Cow::Borrowed(text));
        }
        let mut given = self.query.iter().filter(|(n, _)| n == name);
        let parameter = route.parameters.get(name);
        match (given.next(), given.next()) {
            (Some((_, text)), None) => Ok(Cow::Borrowed(text.as_str())),
            (Some(_), Some(_)) => {
                let detail = format!("`{name}` is given more than once");
                Err(Fault::of(Reason::DUPLICATE_PARAMETER, name, detail))
            }
            (None, _) => match parameter.and_then(|p| p.default.as_ref()) {
                Some(value) => Ok(Cow::Owned(value.to_text())),
                None => {
                    let accepted = parameter.map(|p| p.kind.accepted()).unwrap_or_default();
                    Err(Fault::of(Reason::MISSING_PARAMETER, name, format!("`{name}` is missing; it takes {accepted}")))
                }
            },
        }
    }
}

fn read_values<'a>(route: &'a Route, raw: &Raw<'_>, target: &Target) -> Result<Read<'a>, Fault> {
    let declared = |name: &str| route.parameters.get(name).is_some_and(|p| p.place == Place::Query);
    if let Some((name, _)) = raw.query.iter().find(|(name, _)| !declared(name)) {
        return Err(undeclared(route, name));
    }
    let mut values = Read::new();
    for (name, parameter) in &route.parameters {
        let text = raw.one(route, name)?;
        let value = match (&parameter.kind, &target.signal, &target.dataset) {
            (Kind::Signal { .. }, Some(id), _) => Some(Value::Signal(id.clone())),
            (Kind::Dataset { .. }, _, Some(id)) => Some(Value::Dataset(id.clone())),
            (kind, _, _) => kind.read(&text),
        };
        let value = value.ok_or_else(|| {
            let detail = format!("`{name}` is `{}`; it takes {}", shown(&text), parameter.kind.accepted());
            Fault::of(Reason::BAD_PARAMETER, name, detail)
        })?;
        values.insert(name.as_str(), value);
    }
    Ok(values)
}

fn undeclared(route: &Route, name: &str) -> Fault {
    let known: Vec<&str> =
        route.parameters.values().filter(|p| p.place == Place::Query).map(|p| p.name.as_str()).collect();
    let takes = if known.is_empty() { String::from("none") } else { near::list(&known) };
    let detail = format!("`{}` is not a parameter of this route; it takes {takes}", shown(name));
    Fault::of(Reason::UNDECLARED_PARAMETER, &shown(name), detail)
}

/// A caller's text for a message: short, printable, without the quotes of messages.
fn shown(text: &str) -> String {
    let clean = |c: char| if c.is_control() || c == '`' { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(64).map(clean).collect();
    if text.chars().nth(64).is_some() {
        short.push('…');
    }
    short
}

/// The shape of the request. Windows are cut to whole steps here, so that shape, log and source see the same.
fn shape(rule: &ShapeRule, values: &mut Read<'_>, ended: Timestamp, now: Timestamp) -> Result<Shape, Fault> {
    let duration = |name: &String| match values.get(name.as_str()) {
        Some(Value::Duration(ms) | Value::Step(ms)) => *ms,
        _ => 0,
    };
    let resolution_ms = rule.resolution.as_ref().map_or(0, duration);
    let window_ms = match &rule.window {
        Some((from, to)) => cut_window(from, to, resolution_ms, values, ended)?,
        None => 0,
    };
    let rows = match &rule.rows {
        Rows::Constant(n) => *n,
        Rows::Parameter(name) => match values.get(name.as_str()) {
            Some(Value::Integer(n)) => *n,
            _ => i64::MAX,
        },
        Rows::Steps { limit } if resolution_ms == 0 => match values.get(limit.as_str()) {
            Some(Value::Integer(n)) => *n,
            _ => i64::MAX,
        },
        // Whole steps, so this is ceil as well as floor.
        Rows::WindowByResolution | Rows::Steps { .. } => window_ms.checked_div(resolution_ms).unwrap_or(i64::MAX),
    };
    Ok(Shape { resolution_ms, window_ms, rows, age_days: age(rule, values, now) })
}

/// How long before `now` the window begins, in begun days: by the millisecond no two requests would be alike.
fn age(rule: &ShapeRule, values: &Read<'_>, now: Timestamp) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    let from = rule.window.as_ref().and_then(|(from, _)| values.get(from.as_str()));
    let Some(Value::Timestamp(from)) = from else { return 0 };
    let age = now.millis().saturating_sub(from.millis()).max(0);
    age.saturating_add(DAY_MS - 1) / DAY_MS
}

/// Settles the step: the caller's, or where it wants the finest the one that is tried now. Those after it come next.
fn choose_step(rule: &SeriesRule, step: Option<i64>, values: &mut Read<'_>) -> Vec<i64> {
    if values.get(RESOLUTION) != Some(&Value::Finest) {
        return Vec::new();
    }
    let at = step.and_then(|step| rule.steps.iter().position(|s| *s == step)).unwrap_or(0);
    let mut steps = rule.steps.iter().skip(at).copied();
    if let (Some(step), Some(value)) = (steps.next(), values.get_mut(RESOLUTION)) {
        *value = Value::Step(step);
    }
    steps.collect()
}

/// Cuts the window to the whole steps inside it that have ended. A mean over a part of a step would be a value finer than
/// the step.
fn cut_window(from: &str, to: &str, step: i64, values: &mut Read<'_>, ended: Timestamp) -> Result<i64, Fault> {
    let time = |name: &str| match values.get(name) {
        Some(Value::Timestamp(t)) => t.millis(),
        _ => 0,
    };
    let (mut begin, mut end) = (time(from), time(to));
    if begin >= end {
        let detail = format!("`{to}` is not after `{from}`");
        return Err(Fault::of(Reason::BAD_PARAMETER, to, detail));
    }
    if step > 0 {
        begin = begin.saturating_add(step - 1).div_euclid(step).saturating_mul(step);
        end = end.min(ended.millis()).div_euclid(step).saturating_mul(step);
        if begin >= end {
            let step = model::time::format_duration_ms(step);
            let detail = format!(
                "between `{from}` and `{to}` no whole step of `{step}` has ended (steps begin at multiples of it)"
            );
            return Err(Fault::of(Reason::BAD_PARAMETER, to, detail));
        }
        for (name, ms) in [(from, begin), (to, end)] {
            if let Some(value) = values.get_mut(name) {
                *value = Value::Timestamp(Timestamp(ms));
            }
        }
    }
    Ok(end - begin)
}

/// A refusal before it is known where.
struct Fault {
    reason: Reason,
    detail: String,
    parameter: Option<String>,
}

impl Fault {
    fn new(reason: Reason, detail: String) -> Self {
        Self { reason, detail, parameter: None }
    }

    fn of(reason: Reason, parameter: &str, detail: String) -> Self {
        Self { reason, detail, parameter: Some(parameter.to_owned()) }
    }

    fn nowhere(self) -> ResolveError {
        let Self { reason, detail, parameter } = self;
        let parameter = parameter.map(String::into_boxed_str);
        ResolveError { reason, detail, parameter, route: None, resource: None, methods: Box::default() }
    }

    fn at(self, route: &Route, target: Option<&Target>) -> ResolveError {
        ResolveError { route: Some(route.id.clone()), resource: target.map(|t| t.resource.clone()), ..self.nowhere() }
    }
}
