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
pub(crate) use search::Search;
pub use summary::{BY_MAX, By, Dimension, ROWS_MAX, Summary, Table, TableRow};
pub(crate) use summary::{Counting, TooMany};

use positions::BLOCK;
use sqlx::sqlite::SqlitePool;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An index that can be asked; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    readers: SqlitePool,
    /// Entries that are indexed: whole blocks.
    size: Arc<AtomicU64>,
}

impl Index {
    /// What is in `dir`, of which `size` entries are indexed and more will be.
    pub(crate) async fn open(dir: &Path, size: Arc<AtomicU64>) -> Result<Self, IndexError> {
        Ok(Self { readers: database::readers(&dir.join(database::DATABASE_FILE)).await?, size })
    }

    /// Entries that are indexed.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
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
