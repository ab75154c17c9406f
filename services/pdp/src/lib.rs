//! The policy decision point: Cedar behind one function.
//!
//! [`PolicySet::load`] checks a set of policies, [`Snapshot::new`] joins it with a plant and a registry,
//! [`Snapshot::decide`] answers. What passes, in this order; everything else is denied:
//!
//! 1. the organisations of the caller and of all who act for it are known, so is the resource, and each of them may
//!    `discover` it: otherwise the denial is `hidden`
//! 2. none of them is revoked, and no credential
//! 3. the purpose is in the vocabulary; an agreement named by the caller is its organisation's own
//! 4. Cedar allows each of them the action, with one agreement for each organisation or none at all
//! 5. Cedar allows each of them every field class and every combination of record attributes that the answer may hold
//! 6. no policy failed in any question: Cedar skips a `forbid` that fails, here it denies
//!
//! Whoever acts can take away and never add: a request with actors is allowed only where it is without them, and shows
//! no more.
//!
//! What this crate does **not** do: no I/O, no clock, no async; it does not know routes, tokens or headers; it hides and
//! filters nothing, it only says what would have to be hidden.

mod agreement;
mod alike;
mod answer;
pub mod cases;
mod clauses;
mod contents;
mod credential;
mod decide;
mod decision;
mod differences;
mod encode;
mod engine;
mod entities;
mod existing;
pub mod explain;
mod finding;
mod gates;
pub mod generated;
pub mod matrix;
mod memo;
mod moments;
mod names;
mod offer;
mod policies;
mod question;
mod questions;
mod refusal;
pub mod replay;
mod roster;
mod slice;
mod snapshot;
mod validation;
mod watch;

pub use decision::{Decision, Denial, Digests, Permit};
pub use differences::Differences;
pub use finding::Finding;
pub use policies::PolicySet;
pub use snapshot::Snapshot;

#[cfg(test)]
mod tests;
