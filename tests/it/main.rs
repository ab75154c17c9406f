//! Stories: each starts a plant, does something, and looks at the answer *and* at the audit log.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a story ends where something is not as told, and says what it left out"
)]

mod acknowledging;
mod attacks;
mod bodies;
mod bound;
mod catalogue;
mod countries;
mod crash;
mod databases;
mod dated;
mod disk;
mod erasure;
mod evidence;
mod faults;
mod file_calls;
mod file_faults;
mod foreign;
mod formats;
mod grpc;
mod keys;
mod lifecycle;
mod masks;
mod monitor;
mod mtls;
mod operations;
mod proofs;
mod providers;
mod pruning;
mod questions;
mod read_only;
mod reload;
mod replay;
mod reports;
mod requests;
mod review;
mod series;
mod sinks;
mod store;
mod story;
mod summaries;
mod tails;
mod telemetry;
mod tls;
mod token_keys;
mod tokens;
mod towards_source;
mod witnesses;
