//! Searching the log: newest or oldest first, page by page.
//!
//! A search walks through the bundles. Those outside its time are skipped by the two times in their row; an entry whose
//! bytes do not even contain what is asked for is not parsed. Every answer is the stored bytes.
//!
//! What this does **not** do: it does not verify what it finds, and it records nothing. Who lets somebody read the log
//! appends an `audit_read` entry first.

mod decisions;
mod filter;
mod follow;
mod offline;
mod online;

pub use decisions::{Decisions, Part};
pub use follow::Follow;
pub use offline::offline;

use model::entry::Kind;
use model::{OrganisationId, Timestamp};

/// Entries in one page at most.
pub const LIMIT_MAX: usize = 1000;
const LIMIT_DEFAULT: usize = 100;
/// Bytes that one page may cost; a search that finds little goes on in the next page.
const SCAN_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What to look for. Members that are `None` do not restrict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Earliest `time`, inclusive.
    pub from: Option<Timestamp>,
    /// Entries before this `time`.
    pub to: Option<Timestamp>,
    pub organisation: Option<OrganisationId>,
    /// `organisation/subject`, found through the directory, or a reference. A published directory knows references only.
    pub principal: Option<String>,
    /// As in the entry: `Dataset/acme-parts`.
    pub resource: Option<String>,
    /// `allow` or `deny`.
    pub decision: Option<String>,
    /// A reason code, alone or among others.
    pub reason: Option<String>,
    /// A request id.
    pub request: Option<String>,
    pub kind: Option<Kind>,
    /// Only entries behind this index.
    pub after: Option<u64>,
    /// Only entries before this index.
    pub before: Option<u64>,
    pub newest_first: bool,
    /// 1 to [`LIMIT_MAX`].
    pub limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            organisation: None,
            principal: None,
            resource: None,
            decision: None,
            reason: None,
            request: None,
            kind: None,
            after: None,
            before: None,
            newest_first: true,
            limit: LIMIT_DEFAULT,
        }
    }
}

/// One entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub index: u64,
    /// The stored bytes.
    pub entry: String,
    /// `organisation/subject` of the entry's `principal`, while the directory has it.
    pub principal: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Found>,
    /// Where the search goes on: the next page's `before` when the newest come first, its `after` otherwise.
    pub next: Option<u64>,
    /// Entries in the log that was searched.
    pub size: u64,
}

impl Query {
    /// First and last index of interest in a log of that size, both inclusive; `None` when there are none.
    fn indices(&self, size: u64) -> Option<(u64, u64)> {
        let first = self.after.map_or(0, |after| after.saturating_add(1));
        let last = self.before.map_or(size, |before| before.min(size)).checked_sub(1)?;
        (first <= last).then_some((first, last))
    }

    /// First and last time of interest, both inclusive.
    fn times(&self) -> (Timestamp, Timestamp) {
        let last = self.to.map_or(Timestamp(i64::MAX), |to| to.plus_millis(-1));
        (self.from.unwrap_or(Timestamp(i64::MIN)), last)
    }
}
