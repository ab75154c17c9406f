//! Stories: each starts a plant, does something, and looks at the answer *and* at the audit log.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a story ends where something is not as told"
)]

mod bodies;
mod bound;
mod catalogue;
mod crash;
mod databases;
mod disk;
mod evidence;
mod faults;
mod foreign;
mod lifecycle;
mod masks;
mod mtls;
mod operations;
mod proofs;
mod providers;
mod reload;
mod replay;
mod requests;
mod review;
mod series;
mod sinks;
mod story;
mod telemetry;
mod tls;
mod tokens;
mod towards_source;
mod witnesses;
