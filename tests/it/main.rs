//! Stories: each starts a plant, does something, and looks at the answer *and* at the audit log.

mod crash;
mod faults;
mod operations;
mod providers;
mod reload;
mod requests;
mod story;
mod tokens;
