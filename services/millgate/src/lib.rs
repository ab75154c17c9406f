//! The one executable as a library: wiring, so that tests run exactly what users run.
//!
//! What this crate does not do: it has no rule of its own about requests. It reads configuration, joins the crates that
//! do the work, and speaks on the command line.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its user")]

pub mod audit_cmd;
pub mod check;
mod client;
pub mod demo;
pub mod identity_cmd;
mod keys;
mod out;
pub mod policy_cmd;
mod quarantine;
mod quarantined;
pub mod serve;
mod sinks;
mod store;
mod table;
pub mod witness_cmd;
mod witnessing;

pub use client::Refused;
