//! A route: everything that may be asked of one upstream request, declared.
//!
//! What this is not: a query language. A caller chooses among declared, typed parameters; path, query and headers of the
//! request to the source are built from them.

pub mod characters;
pub(crate) mod influxql;
pub mod parameter;
pub mod path;
pub(crate) mod read;
mod read_parameter;
mod read_upstream;
mod resolve;
pub mod series;
pub mod statement;
pub(crate) mod template;
#[cfg(test)]
mod tests;

pub use parameter::{Kind, Parameter, Place, Value};
pub use path::{PathTemplate, Segment};
pub use resolve::{HttpRequest, ResolveError, Resolved, UpstreamRequest};
pub use series::{Aggregate, SeriesAnswer, SeriesQuestion, SeriesRule, TimeUnit, ValuesAt};
pub use statement::{Bind, SqlQuestion, Statement};
pub use template::Template;

use model::{Action, DatasetId, RouteId, SignalId, SourceId};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub id: RouteId,
    pub title: String,
    /// One of [`METHODS`].
    pub method: &'static str,
    pub path: PathTemplate,
    pub action: Action,
    pub resource: Resource,
    pub source: SourceId,
    pub parameters: BTreeMap<String, Parameter>,
    pub shape: ShapeRule,
    pub upstream: Upstream,
    pub body: Option<BodyRule>,
}

impl ShapeRule {
    /// The parameter that says how many rows are wanted.
    pub fn rows_parameter(&self) -> Option<&str> {
        if let Rows::Parameter(name) = &self.rows { Some(name) } else { None }
    }
}

impl Route {
    /// Whether a parameter says no more than which resource is read, or how much of it.
    pub fn is_of_frame(&self, name: &str) -> bool {
        let resource = match &self.resource {
            Resource::SignalParameter(of) | Resource::DatasetParameter(of) => Some(of),
            Resource::Signal(_) | Resource::Dataset(_) => None,
        };
        let window = self.shape.window.iter().flat_map(|(from, to)| [from, to]);
        let named = resource.into_iter().chain(window).chain(&self.shape.resolution).map(String::as_str);
        named.chain(self.shape.rows_parameter()).any(|of| of == name)
    }
}

/// Methods a route can declare. `OPTIONS`, `TRACE` and `CONNECT` ask for nothing a plant has.
pub const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// RFC 9110, 9.2.1: asking changes nothing.
pub(crate) fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

/// What is decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    Signal(SignalId),
    Dataset(DatasetId),
    /// The value of the parameter with this name, of type `signal`.
    SignalParameter(String),
    /// The same for type `dataset`.
    DatasetParameter(String),
}

/// How a request's [`model::Shape`] follows from its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeRule {
    /// Names of two parameters of type `timestamp`: from (inclusive) and to (exclusive).
    pub window: Option<(String, String)>,
    /// Name of a parameter of type `duration` with steps. Windows are cut to whole steps, counted from 1970-01-01T00:00Z.
    pub resolution: Option<String>,
    pub rows: Rows,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The source never answers more.
    Constant(i64),
    /// Name of a parameter of type `integer` that the source is told.
    Parameter(String),
    /// One row per step of the window.
    WindowByResolution,
    /// The same; of raw values the parameter with this name says how many.
    Steps { limit: String },
}

/// How the source is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    Http(HttpTemplate),
    Sql(Statement),
    /// For a series, in whatever way its source has.
    Series(Box<SeriesRule>),
}

/// The request to the source, as templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTemplate {
    pub path: Vec<Template>,
    /// In the order they are written.
    pub query: Vec<(String, Template)>,
    /// Names in lower case, constant values.
    pub headers: Vec<(String, String)>,
}

/// What a caller may send as a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyRule {
    pub max_bytes: u64,
    /// Essences such as `application/json`, in lower case.
    pub content_types: Vec<String>,
}
