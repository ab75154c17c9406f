//! The checks of `millgate-verify`: is a published log whole, in order, and the one that was signed?
//!
//! What this crate does **not** do: no network, no trust in anything but the key it is given, no repair, and nothing of the
//! broker's own storage (that is `millgate audit fsck`). Everything it reads may be hostile.
//!
//! [`log::check`] checks a whole published log, [`archive::check`] an archive of
//! a part of one, [`proof::check`] a proof of one entry, [`receipt::check`]
//! a receipt. [`monitor::Seen::look`] watches a log that grows.

pub mod archive;
mod bundle;
mod checkpoints;
mod clocks;
pub mod disclosed;
mod facts;
mod findings;
pub mod incarnation;
pub mod keys;
pub mod log;
pub mod monitor;
#[cfg(test)]
mod mutations;
pub mod proof;
pub mod pruned;
pub mod receipt;
pub mod report;
mod rules;
mod store;
mod summaries;
mod tree;
pub mod verdict;
