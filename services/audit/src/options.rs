//! How a log is to be run.

use crate::error::OpenError;
use crate::incarnation::{Incarnation, Lifted};
use crate::postgres::Access;
use crate::reader::StoreAt;
use crate::signer::Key;
use model::Clock;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Fills a buffer with random bytes fit for keys.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Entries that may wait for the writer. At 50,000 entries/s this is a sixth of a second.
pub const QUEUE_MAX: usize = 8192;
/// A flush takes milliseconds; who has waited this long is told so and may come back.
pub const DEADLINE_MS: u64 = 2_000;
/// So that silence is evidence: a log without entries for longer than this was not running.
pub const HEARTBEAT_MS: u64 = 60_000;
/// Twice what a slow token takes for a signature: one may be under way when an entry becomes durable.
pub const RECEIPT_WAIT_MS: u64 = 250;

#[derive(Clone)]
pub struct LogOptions {
    /// Holds the database; created with mode 0700. What is published may lie below it.
    pub dir: PathBuf,
    /// The database in PostgreSQL that takes the place of the one in `dir`.
    pub store: Option<Access>,
    /// The log's name for life, and the name of its key: `millgate.example/plant-1`.
    pub origin: String,
    pub clock: Arc<dyn Clock>,
    pub random: Random,
    pub queue_max: usize,
    pub deadline_ms: u64,
    /// 0: no heartbeats.
    pub heartbeat_ms: u64,
    /// Time from one summary of an organisation's entries to the next, at the most. 0: none are written, and those that promise
    /// another one are ended. `None`: neither, as of a tool that opens a log and closes it again. Who serves calls
    /// [`Log::recall_summaries`](crate::Log::recall_summaries), too.
    pub summary_ms: Option<u64>,
    pub receipts: Option<ReceiptOptions>,
    /// What a new log begins with when it takes the place of another one.
    pub incarnation: Option<Incarnation>,
    /// A quarantine of this log that has been ended since the last start.
    pub lifted: Option<Lifted>,
}

/// How the log promises that a checkpoint will cover an entry.
#[derive(Clone, Debug)]
pub struct ReceiptOptions {
    /// The key that signs checkpoints.
    pub key: Key,
    /// Time for the checkpoint to come, from when the entry is durable.
    pub deadline_ms: u64,
    /// An answer waits for so long, from when its entry is durable, where the key is in a token.
    pub wait: Duration,
}

impl LogOptions {
    pub fn new(dir: impl Into<PathBuf>, origin: impl Into<String>, clock: Arc<dyn Clock>, random: Random) -> Self {
        Self {
            dir: dir.into(),
            store: None,
            origin: origin.into(),
            clock,
            random,
            queue_max: QUEUE_MAX,
            deadline_ms: DEADLINE_MS,
            heartbeat_ms: HEARTBEAT_MS,
            summary_ms: None,
            receipts: None,
            incarnation: None,
            lifted: None,
        }
    }

    /// Where the store of this log is.
    pub fn store_at(&self) -> StoreAt {
        match &self.store {
            None => StoreAt::Directory(self.dir.clone()),
            Some(access) => StoreAt::Postgres { access: Box::new(access.clone()), origin: Some(self.origin.clone()) },
        }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        // A name that signed notes can carry (C2SP signed-note).
        let good =
            (1..=128).contains(&self.origin.len()) && self.origin.chars().all(|c| c.is_ascii_graphic() && c != '+');
        if good { Ok(()) } else { Err(OpenError::BadOrigin(self.origin.clone())) }
    }
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            dir,
            store,
            origin,
            clock,
            random: _,
            queue_max,
            deadline_ms,
            heartbeat_ms,
            summary_ms,
            receipts,
            incarnation,
            lifted,
        } = self;
        f.debug_struct("LogOptions")
            .field("dir", dir)
            .field("store", store)
            .field("origin", origin)
            .field("clock", clock)
            .field("queue_max", queue_max)
            .field("deadline_ms", deadline_ms)
            .field("heartbeat_ms", heartbeat_ms)
            .field("summary_ms", summary_ms)
            .field("receipts", receipts)
            .field("incarnation", incarnation)
            .field("lifted", lifted)
            .finish_non_exhaustive()
    }
}
