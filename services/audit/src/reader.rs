//! The readers' side of a store: connections of their own, so that nobody who reads keeps the writer waiting.
//!
//! Every call is short: in SQLite a long one would keep the WAL from being reused, in PostgreSQL old rows from being
//! cleaned up.

use crate::error::ReadError;
use crate::open_set::OpenSet;
use crate::postgres::{self, Access, PostgresError};
use crate::sqlite;
use crate::store::{Bundle, CheckpointRow, DisclosureRow, Head, OrganisationState, StoreError};
use model::entry::{Content, DirectoryRow};
use model::{Digest, OrganisationId, Timestamp};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tlog::CompactRange;

/// Queries of auditors, the publisher, a tail or two.
pub(crate) const CONNECTIONS_MAX: u32 = 6;
/// One call returns bundles of about this many bytes at most: enough to be quick, little enough to hold.
pub(crate) const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where the store of a log is.
#[derive(Clone, Debug)]
pub enum StoreAt {
    /// An SQLite database in this directory.
    Directory(PathBuf),
    /// In PostgreSQL, beside others. Without an origin: the only one that is there.
    Postgres { access: Box<Access>, origin: Option<String> },
}

impl From<&Path> for StoreAt {
    fn from(directory: &Path) -> Self {
        Self::Directory(directory.to_owned())
    }
}

impl From<&PathBuf> for StoreAt {
    fn from(directory: &PathBuf) -> Self {
        Self::Directory(directory.clone())
    }
}

impl From<&Self> for StoreAt {
    fn from(at: &Self) -> Self {
        at.clone()
    }
}

impl std::fmt::Display for StoreAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "{}", directory.display()),
            Self::Postgres { access, .. } => access.url.fmt(f),
        }
    }
}

/// A stretch of time and of the log, and the direction to go through it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// First and last `time` of interest, both inclusive.
    pub time: (Timestamp, Timestamp),
    /// First and last index of interest, both inclusive.
    pub indices: (u64, u64),
    pub newest_first: bool,
}

/// The row of the head, unchecked.
#[derive(Clone, Debug)]
pub(crate) struct RawHead {
    pub size: u64,
    pub root: Vec<u8>,
    pub range: Vec<u8>,
    pub open: Vec<u8>,
}

impl RawHead {
    /// The head, if these are the bytes of one.
    pub(crate) fn checked(&self) -> Result<Head, StoreError> {
        let range = CompactRange::from_bytes(self.size, &self.range).ok_or(damaged("a stored compact range"))?;
        if self.root != range.root().0 {
            return Err(damaged("the root in the head"));
        }
        let open = OpenSet::from_bytes(&self.open).ok_or(damaged("the open list in the head"))?;
        Ok(Head { range, open })
    }
}

/// A row of a checkpoint, unchecked.
#[derive(Clone, Debug)]
pub(crate) struct RawCheckpoint {
    pub size: u64,
    pub note: String,
    /// `None` when the bytes are not a range of that size.
    pub range: Option<CompactRange>,
}

impl RawCheckpoint {
    pub(crate) fn checked(self) -> Result<CheckpointRow, StoreError> {
        let range = self.range.ok_or_else(|| damaged("a stored compact range"))?;
        Ok(CheckpointRow { note: self.note, range })
    }
}

/// The last entry of kind `pruning`, and entries that are carried forward.
pub(crate) type CarriedUnder = (Option<u64>, Vec<(u64, Vec<u8>)>);

/// Where a log stands, read in one transaction.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub head: RawHead,
    pub organisations: Vec<(OrganisationId, OrganisationState)>,
}

/// A row that no writer of ours has written.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0} is not what the log's writer stores there; run `millgate audit fsck`")]
pub(crate) struct Damaged(pub &'static str);

pub(crate) fn damaged(what: &'static str) -> StoreError {
    StoreError::Failed(Damaged(what).into())
}

/// Reads a log's store; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Reader {
    Sqlite(sqlite::Reader),
    Postgres(postgres::Reader),
}

/// The same call, whichever store it is.
macro_rules! either {
    ($reader:ident.$call:ident($($argument:expr),*)) => {
        match $reader {
            Self::Sqlite(reader) => reader.$call($($argument),*).await,
            Self::Postgres(reader) => reader.$call($($argument),*).await,
        }
    };
}

impl Reader {
    /// Opens the store for reading, whoever else has it open.
    pub(crate) async fn open(at: impl Into<StoreAt>) -> Result<Self, StoreError> {
        match at.into() {
            StoreAt::Directory(dir) => Ok(Self::Sqlite(sqlite::Reader::open(&dir).await?)),
            StoreAt::Postgres { access, origin } => {
                Ok(Self::Postgres(Box::pin(postgres::Reader::open(&access, origin.as_deref())).await?))
            }
        }
    }

    /// As [`Reader::open`], for commands: what is not there is said so, and not made by looking.
    pub(crate) async fn open_existing(at: impl Into<StoreAt>) -> Result<Self, ReadError> {
        let at = at.into();
        if let StoreAt::Directory(dir) = &at {
            let path = dir.join(sqlite::DATABASE_FILE);
            std::fs::metadata(&path).map_err(|source| ReadError::File { path, source })?;
        }
        Ok(Self::open(at).await?)
    }

    /// `None` where there is no log.
    pub(crate) async fn open_if_there(at: impl Into<StoreAt>) -> Result<Option<Self>, StoreError> {
        let at = at.into();
        if matches!(&at, StoreAt::Directory(dir) if !dir.join(sqlite::DATABASE_FILE).exists()) {
            return Ok(None);
        }
        match Self::open(at).await {
            Err(StoreError::Failed(cause)) if cause.downcast_ref().is_some_and(PostgresError::is_no_log) => Ok(None),
            reader => Ok(Some(reader?)),
        }
    }

    pub(crate) async fn close(&self) {
        either!(self.close());
    }

    /// The name of the log.
    pub(crate) async fn origin(&self) -> Result<String, StoreError> {
        either!(self.origin())
    }

    pub(crate) async fn head(&self) -> Result<Head, StoreError> {
        either!(self.head())
    }

    /// The head as it is stored, good or not, and the organisations at the same moment.
    pub(crate) async fn standing(&self) -> Result<Standing, StoreError> {
        either!(self.standing())
    }

    /// Bundles from the one that begins at or after `first_index`, ascending, about [`CHUNK_BYTES_MAX`]. Empty at
    /// the end.
    pub(crate) async fn bundles(&self, first_index: u64) -> Result<Vec<Bundle>, StoreError> {
        either!(self.bundles(first_index))
    }

    /// The first bundle that begins at or after `first_index`, alone.
    pub(crate) async fn bundle_from(&self, first_index: u64) -> Result<Option<Bundle>, StoreError> {
        either!(self.bundle_from(first_index))
    }

    /// Where the first bundle at or after `index` begins, from an index alone: it may be readable where the bundles are not.
    pub(crate) async fn first_index_from(&self, index: u64) -> Result<Option<u64>, StoreError> {
        either!(self.first_index_from(index))
    }

    /// Where bundles begin that may hold changes of keys, ascending.
    pub(crate) async fn bundles_of_keys(&self) -> Result<Vec<u64>, StoreError> {
        either!(self.bundles_of_keys())
    }

    /// The store's list of entries of kind `key`, ascending, where it has one.
    pub(crate) async fn key_entries(&self) -> Result<Option<Vec<u64>>, StoreError> {
        either!(self.key_entries())
    }

    /// The bundle that holds this entry.
    pub(crate) async fn bundle_of(&self, index: u64) -> Result<Option<Bundle>, StoreError> {
        either!(self.bundle_of(index))
    }

    /// First indices of the first and the last bundle with entries of that time; `None` when there is none.
    ///
    /// Reads one small index, so that a search over a day does not walk through a year.
    pub(crate) async fn bundles_of_time(&self, time: (Timestamp, Timestamp)) -> Result<Option<(u64, u64)>, StoreError> {
        either!(self.bundles_of_time(time))
    }

    /// Bundles that may hold entries of the span, in its direction, about `bytes`. Empty at the end.
    pub(crate) async fn bundles_in(&self, span: &Span, bytes: usize) -> Result<Vec<Bundle>, StoreError> {
        either!(self.bundles_in(span, bytes))
    }

    /// The signed checkpoint of the largest tree.
    pub(crate) async fn last_checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        either!(self.last_checkpoint())
    }

    /// The signed checkpoint of the tree of that size.
    pub(crate) async fn checkpoint(&self, size: u64) -> Result<Option<CheckpointRow>, StoreError> {
        either!(self.checkpoint(size))
    }

    /// Checkpoints of trees larger than `size`, ascending, at most 1,000.
    pub(crate) async fn checkpoints_after(&self, size: Option<u64>) -> Result<Vec<CheckpointRow>, StoreError> {
        self.raw_checkpoints_after(size).await?.into_iter().map(RawCheckpoint::checked).collect()
    }

    /// As [`Reader::checkpoints_after`], good or not.
    pub(crate) async fn raw_checkpoints_after(&self, size: Option<u64>) -> Result<Vec<RawCheckpoint>, StoreError> {
        either!(self.raw_checkpoints_after(size))
    }

    pub(crate) async fn directory(&self) -> Result<Vec<DirectoryRow>, StoreError> {
        either!(self.directory())
    }

    /// What entries call a principal.
    pub(crate) async fn reference_of(&self, principal: &str) -> Result<Option<String>, StoreError> {
        either!(self.reference_of(principal))
    }

    /// Principals by reference, as far as the directory has them.
    pub(crate) async fn principals_of(&self, references: &[&str]) -> Result<HashMap<String, String>, StoreError> {
        either!(self.principals_of(references))
    }

    /// Bytes that an entry names by digest.
    pub(crate) async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        either!(self.content(digest))
    }

    /// Those of `digests` that are there.
    pub(crate) async fn contents(&self, digests: &[Digest]) -> Result<Vec<Content>, StoreError> {
        either!(self.contents(digests))
    }

    /// Where entries of kind `erasure` stand, ascending.
    pub(crate) async fn erasure_entries(&self) -> Result<Vec<u64>, StoreError> {
        self.erasure_entries_after(None).await
    }

    /// Those of them that stand behind `after`.
    pub(crate) async fn erasure_entries_after(&self, after: Option<u64>) -> Result<Vec<u64>, StoreError> {
        either!(self.erasure_entries_after(after))
    }

    /// Where entries of kind `pruning` stand, each with the minimum index that it says, ascending.
    pub(crate) async fn prunings(&self) -> Result<Vec<(u64, u64)>, StoreError> {
        either!(self.prunings())
    }

    /// Whether entries of this store can be pruned at all.
    pub(crate) async fn can_prune(&self) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(true),
            Self::Postgres(reader) => reader.can_prune().await,
        }
    }

    /// For how many days the store's owner has entries kept at least, where that is not the broker's business alone. `Some(None)`:
    /// that was not said.
    pub(crate) async fn keeps(&self) -> Result<Option<Option<u32>>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(reader) => reader.keeps().await.map(Some),
        }
    }

    /// The time of day where the store is, if that is elsewhere.
    pub(crate) async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(reader) => reader.clock().await.map(Some),
        }
    }

    /// The first entry that is kept.
    pub(crate) async fn minimum(&self) -> Result<u64, StoreError> {
        Ok(self.prunings().await?.last().map_or(0, |(_, minimum)| *minimum))
    }

    /// Hashes of entries that are gone, from bundle `number` on, ascending: numbers and hashes of at most `limit` bundles.
    pub(crate) async fn leaves(&self, number: u64, limit: u32) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        either!(self.leaves(number, limit))
    }

    /// The last entry of kind `pruning`, and rows of entries before the minimum index that are kept all the same, ascending, both at
    /// the same moment. Whoever can write to the store can put rows there: [`crate::prune::carried`] tells which of them count.
    pub(crate) async fn carried_rows(&self) -> Result<CarriedUnder, StoreError> {
        either!(self.carried())
    }

    /// Disclosures of the entries between these, both inclusive, ascending, at most `limit`.
    pub(crate) async fn disclosures(&self, indices: (u64, u64), limit: u32) -> Result<Vec<DisclosureRow>, StoreError> {
        either!(self.disclosures(indices, limit))
    }

    /// Where the first bundle begins that has an entry of `time` or later; `None` where all are earlier.
    pub(crate) async fn first_index_of_time(&self, time: Timestamp) -> Result<Option<u64>, StoreError> {
        either!(self.first_index_of_time(time))
    }

    /// The values behind the commitments of an entry, unless erased.
    pub(crate) async fn disclosure(&self, index: u64) -> Result<Option<String>, StoreError> {
        either!(self.disclosure(index))
    }

    /// Whether everything that can be read now would survive the loss of the server that it is read from, as far as the
    /// store is asked to see to that.
    pub(crate) async fn is_replicated(&self) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(true),
            Self::Postgres(reader) => reader.is_replicated().await,
        }
    }
}
