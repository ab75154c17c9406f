//! The audit log of one broker: append, publish, query, check.
//!
//! One writer per log, in one task, in one process. Entries become durable in batches that form by themselves; a batch
//! is one row, and one transaction with the head of the tree ([`tlog`]'s compact range). What is stored is what was
//! hashed, byte for byte; everything else can be built again from it.
//!
//! What this crate does **not** do: it decides nothing, it knows no request and no policy, and of what stands in an entry
//! it reads only what a search asks for. It does not verify signatures of others: `millgate-verify` does, from the
//! published files alone. What is behind an entry's commitments [`erase`] takes away, and entries that a policy keeps no longer
//! [`prune`] does, from the beginning of the log on; each with an entry that says so, and nothing else deletes anything.

mod append;
pub mod archive;
mod batch;
mod belief;
mod commit;
mod directory;
pub mod erase;
pub mod error;
pub mod evidence;
pub mod faults;
mod frames;
pub mod fsck;
pub mod incarnation;
pub mod index;
pub mod keys;
mod open_set;
mod options;
mod outcome;
pub mod pkcs11;
mod pledge;
pub mod postgres;
mod promising;
pub mod prune;
pub mod publish;
mod published;
pub mod query;
mod reader;
mod recover;
mod shared;
pub mod signer;
pub mod sqlite;
pub mod store;
mod summaries;
mod writer;

#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod tests;

pub use append::{Appended, Appending, CONTENT_BYTES_MAX, Log, LogStatus};
pub use belief::ClockDoubt;
pub use erase::{EraseError, Holds, Kept, Retention};
pub use error::{AppendError, OpenError, ReadError};
pub use incarnation::{Incarnation, Lifted, Stored};
pub use keys::{Keys, KnownKeys};
pub use open_set::OpenSet;
pub use options::{DEADLINE_MS, HEARTBEAT_MS, LogOptions, QUEUE_MAX, RECEIPT_WAIT_MS, Random, ReceiptOptions};
pub use pledge::Pledge;
pub use prune::{PruneError, Pruned};
pub use publish::{Cosigned, Prove, PublishError, PublishOptions, Published, Publisher, Witnesses};
pub use published::Publication;
pub use query::{Found, Page, Query};
pub use reader::StoreAt;
pub use recover::Recovered;
