//! The policy decision point: Cedar behind one function.
//!
//! [`PolicySet::load`] checks a set of policies, [`Snapshot::new`] joins it with a plant and a registry,
//! [`Snapshot::decide`] answers. What passes, in this order; everything else is denied:
//!
//! 1. caller's organisation and the resource are known, and `discover` is allowed: otherwise the denial is `hidden`
//! 2. neither the caller nor its credential is revoked
//! 3. the purpose is in the vocabulary; an agreement named by the caller is its organisation's own
//! 4. Cedar allows the action, with one agreement or none at all
//! 5. Cedar allows every field class and every combination of record attributes that the answer may hold
//! 6. no policy failed in any question: Cedar skips a `forbid` that fails, here it denies
//!
//! What this crate does **not** do: no I/O, no clock, no async; it does not know routes, tokens or headers; it hides and
//! filters nothing, it only says what would have to be hidden.

mod answer;
mod decide;
mod decision;
mod encode;
mod entities;
mod finding;
mod names;
mod policies;
mod question;
mod records;
mod refusal;
mod slice;
mod snapshot;

pub use decision::{Decision, Denial, Digests, Permit};
pub use finding::Finding;
pub use policies::PolicySet;
pub use snapshot::Snapshot;

#[cfg(test)]
mod tests;
