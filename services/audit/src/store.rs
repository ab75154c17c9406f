//! What the writer needs of a database, and how its failures are told apart.
//!
//! Implementations of [`Store`]: [`crate::sqlite::SqliteStore`], [`crate::postgres::PostgresStore`], and
//! [`crate::faults::FailingStore`] around either.

use crate::open_set::OpenSet;
use model::entry::{Content, DirectoryRow};
use model::pruning::Prune;
use model::{OrganisationId, Timestamp};
use std::future::Future;
use std::sync::Arc;
use tlog::{CompactRange, Hash};

/// Where the log stands: one row, replaced by compare-and-swap together with every batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Knows size and root.
    pub range: CompactRange,
    /// Allowed decisions without an outcome.
    pub open: OpenSet,
}

impl Head {
    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.range.size()
    }

    pub fn root(&self) -> Hash {
        self.range.root()
    }
}

/// The entries of one batch, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    pub first_index: u64,
    pub count: u64,
    /// Earliest and latest `time` of the entries; within a batch they need not be in order.
    pub time_first: Timestamp,
    pub time_last: Timestamp,
    /// Over `bytes`.
    pub sha256: [u8; 32],
    /// Length-prefixed entries (C2SP tlog-tiles, entry bundles).
    pub bytes: Vec<u8>,
}

/// Where an organisation's own sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrganisationState {
    /// `org_seq` of its latest entry; 1 for the first.
    pub sequence: u64,
    /// Index in the log of its latest entry.
    pub last_index: u64,
}

/// The values behind the commitments of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisclosureRow {
    pub entry_index: u64,
    /// Canonical JSON, `{"subject":{"salt":…,"values":…},…}`.
    pub body: Vec<u8>,
}

/// Everything that becomes durable in one transaction.
#[derive(Clone, Debug)]
pub struct Batch {
    pub bundle: Bundle,
    /// The head after the batch; before it, its size is `bundle.first_index`.
    pub head: Head,
    pub organisations: Vec<(OrganisationId, OrganisationState)>,
    pub disclosures: Vec<DisclosureRow>,
    pub directory: Vec<DirectoryRow>,
    pub content: Vec<Content>,
    pub erasing: Erasing,
    /// Entries of kind `key` in the batch, for stores that keep a list of them.
    pub keys: Vec<u64>,
    /// The entry of kind `pruning` in the batch, and what goes with it: after everything else, in the same transaction.
    pub pruning: Option<(u64, Arc<Prune>)>,
}

/// What a batch has to do with erasures. A store does this after everything else of the batch and in the same transaction, so
/// that no value is ever gone without the entry that says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erasing {
    /// Entries of kind `erasure` in the batch: rows of a table of their own, so that they are found without reading the log.
    pub entries: Vec<u64>,
    /// Disclosures that go; each must be there, or the batch fails.
    pub deleted: Vec<u64>,
    /// Disclosures that lose some of their classes; each must be there, or the batch fails.
    pub rewritten: Vec<DisclosureRow>,
    /// Rows of the directory that go, by reference, if they are there.
    pub references: Vec<String>,
}

impl Erasing {
    /// Whether anything is taken away.
    pub fn erases(&self) -> bool {
        !(self.deleted.is_empty() && self.rewritten.is_empty() && self.references.is_empty())
    }
}

/// A signed checkpoint as kept beside the bundles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// The signed note.
    pub note: String,
    /// The tree it speaks of.
    pub range: CompactRange,
}

/// Why a database did not do it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Failures, by what they say about the data.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written for want of room.
    #[error("no room left for the log")]
    Full(#[source] Cause),
    /// Nothing was written because somebody else held a lock, or memory was short.
    #[error("the store of the log is busy")]
    Busy(#[source] Cause),
    /// Anything else. What is on the disk can only be known by reading it anew.
    #[error("the store of the log failed")]
    Failed(#[source] Cause),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|said| said.try_downcast_ref()) {
            Some(said) => crate::postgres::kind_of(said),
            None => crate::sqlite::kind_of(error),
        }
    }
}

impl StoreError {
    /// The message with all its causes, for a log line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

/// What became of older copies of what was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    Wiped,
    /// Somebody is reading them; ask again.
    Busy,
    /// They are not the log's to wipe; asking again is of no use.
    Elsewhere,
}

/// The writer's side of a database: exclusive, one operation at a time.
///
/// A batch is [`Store::stage`], then [`Store::commit`]. After any error the caller calls [`Store::roll_back`] and reads
/// [`Store::head`] before it trusts the store again. A store on another machine does everything in the second, so as to ask it
/// once, and finds out there what the first would have said.
pub trait Store: Send + 'static {
    /// The head as the database has it now.
    fn head(&mut self) -> impl Future<Output = Result<Head, StoreError>> + Send;

    fn organisations(
        &mut self,
    ) -> impl Future<Output = Result<Vec<(OrganisationId, OrganisationState)>, StoreError>> + Send;

    /// Begins a transaction and puts the batch into it. `false`: the head is known not to be at `bundle.first_index`.
    fn stage(&mut self, batch: Batch) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Makes the staged batch durable: it survives a loss of power once this returns. Fails when the head is elsewhere.
    fn commit(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends a transaction, if one is open. Returns `Ok` only when none is open any longer.
    fn roll_back(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps a signed checkpoint, durably.
    fn put_checkpoint(&mut self, row: CheckpointRow) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Housekeeping between two batches, when due. An error here is as serious as one of [`Store::commit`].
    fn maintain(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Wipes what was erased from wherever the database keeps older copies of it.
    fn scrub(&mut self) -> impl Future<Output = Result<Scrubbed, StoreError>> + Send;

    /// Ends the connection in good order.
    fn close(self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Lets go of the store after a failure, without one more write.
    fn abandon(self);
}
