//! Witnesses (C2SP tlog-witness): whoever sees a log grow, and signs that it only ever grew.
//!
//! A witness knows of each log its origin, its key, and the size and root that it cosigned last; never an entry. It is run by
//! somebody other than the log: a supplier, an auditor, another company of the group.
//!
//! What this crate does **not** do: it decides nothing about trust (that is [`tlog::TrustPolicy`]), and it speaks no TLS of its own
//! as a server: cosignatures are signed, and requests are judged by the log's signature.

pub mod ask;
pub mod key;
pub mod serve;
pub mod store;

pub use ask::{Answer, Asked, Asker};
pub use serve::{Witness, router};
pub use store::Store;
