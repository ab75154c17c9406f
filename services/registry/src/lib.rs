//! The catalog and registry folders: read, validated, versioned by digest.
//!
//! [`load_catalog`] reads what the plant has and what may be asked of it, [`load_registry`] who may ask and on what legal
//! basis. Both say everything that is wrong at once, with file, line, column and the nearest known name.
//! [`Catalog::resolve`] turns a request into one declared question and the one upstream request that asks it. The formats
//! are described in `docs/catalog.md` and `docs/registry.md`.
//!
//! What this crate does **not** do: no network, no async, no clock, no Cedar. It decides nothing: it says what a request
//! asks for, not whether it may.
//! [`Networks`] says in which country an address is.

mod catalog;
mod document;
mod folder;
mod folders;
mod foreign;
mod merge;
mod near;
pub mod networks;
mod party;
mod problem;
mod revocation;
pub mod route;
pub mod secret;
mod sheet;
mod source;
mod table;
#[cfg(test)]
mod testing;

pub use catalog::{Catalog, load_catalog};
pub use folder::fingerprint;
pub use folders::{cross_check, load_folders, unreadable};
pub use model::url::{BaseUrl, DatabaseUrl, InvalidUrl};
pub use networks::{NetworkFiles, Networks};
pub use party::load_registry;
pub use problem::Problem;
pub use revocation::load_revocations;
pub use route::parameter::Parameter;
pub use route::{
    Aggregate, Bind, BodyRule, HttpRequest, ResolveError, Resolved, Route, SeriesAnswer, SeriesQuestion, SqlQuestion,
    TimeUnit, UpstreamRequest, ValuesAt,
};
pub use source::{Address, AssertionTo, ClientCertificate, Credentials, Source};
