//! The derived index: what makes a question to a large log an answer in milliseconds.
//!
//! It grows in blocks of 4,096 entries, behind the log and beside it: lists of which entries of a block have a term (an
//! organisation, a resource, a reason …), and cells that count what is alike, day by day. What is not indexed yet is
//! looked through, so a question sees every durable entry, and sees the same with an index, with half of one, and without.
//!
//! Nothing here is believed. A list only says where to look; each entry that is found is read from the log and compared.
//! What a damaged index can do is to leave something out of a list or to count wrongly, and `millgate audit fsck` builds
//! it anew from the log to compare: the same log gives the same rows. It can be deleted at any time.
//!
//! It begins with the first entry that the log has. Where entries are pruned it is built anew.
//!
//! What this does **not** do: it holds nothing personal (principals are references), proves nothing, and is never waited
//! for by whoever writes the log.

mod block;
mod build;
mod check;
mod database;
mod error;
pub(crate) mod facts;
mod open_at;
pub(crate) mod positions;
mod search;
mod summary;

pub use build::{Building, Indexer, build};
pub(crate) use check::check;
pub use error::IndexError;
pub use facts::Measures;
pub(crate) use open_at::OpenAt;
pub(crate) use positions::BLOCK;
pub(crate) use search::Search;
pub use summary::{BY_MAX, By, Dimension, ROWS_MAX, Summary, Table, TableRow};
pub(crate) use summary::{Counting, TooMany};

use sqlx::sqlite::SqlitePool;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// An index that can be asked; cheap to clone. Whoever opens the files again has another one.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    readers: SqlitePool,
    /// Entries that are indexed: whole blocks.
    size: Arc<AtomicU64>,
    /// A question found something in it that its writer did not write.
    damaged: Arc<watch::Sender<bool>>,
    /// The first entry that the log had when it was begun.
    minimum: u64,
}

impl Index {
    /// What is in `dir`, of which `size` entries are indexed and more will be, from `minimum` on.
    pub(crate) async fn open(dir: &Path, size: Arc<AtomicU64>, minimum: u64) -> Result<Self, IndexError> {
        let readers = database::readers(&dir.join(database::DATABASE_FILE)).await?;
        Ok(Self { readers, size, damaged: Arc::default(), minimum })
    }

    /// Whether it is of the log as it is. One that knows of entries which were pruned since counts too much, and is built anew.
    pub(crate) fn is_from(&self, minimum: u64) -> bool {
        self.minimum == minimum
    }

    /// Entries that are indexed.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// After a question failed by it. One that is damaged is used by nobody from now on, and whoever keeps it builds
    /// another; one that was busy, or was closed because there is a newer one, may answer the next question.
    pub(crate) fn failed(&self, error: &IndexError) {
        tracing::warn!(error = error.chain(), "a question failed with the index of the log; it is asked without it");
        if matches!(error, IndexError::Damaged(_)) {
            self.damaged.send_replace(true);
        }
    }

    pub(crate) fn is_sound(&self) -> bool {
        !*self.damaged.borrow()
    }

    /// Returns when it is found to be damaged.
    async fn found_damaged(&self) {
        // The sender lives as long as this does.
        let _ = self.damaged.subscribe().wait_for(|damaged| *damaged).await;
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
    }

    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.readers.is_closed()
    }
}

/// Which block an entry belongs to, and its position there.
fn place(index: u64) -> (u64, u16) {
    (index / BLOCK, u16::try_from(index % BLOCK).unwrap_or(u16::MAX))
}

/// SQLite counts in signed 64 bits; only a damaged index gets there.
fn integer(value: u64) -> Result<i64, IndexError> {
    i64::try_from(value).map_err(|error| IndexError::Damaged(error.into()))
}
