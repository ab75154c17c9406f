//! Searching the log: newest or oldest first, page by page.
//!
//! A search asks the [index](crate::index) where to look, as far as there is one, and walks through the bundles behind it.
//! Those outside its time are skipped by the two times in their row; an entry whose bytes do not even contain what is asked
//! for is not parsed. Every entry that is found was read from the log and compared: the index only saves looking at others.
//!
//! What this does **not** do: it does not verify what it finds, and it records nothing. Who lets somebody read the log
//! appends an `audit_read` entry first.

mod decisions;
mod filter;
mod follow;
mod offline;
mod online;
mod summary;

pub use decisions::{Decisions, Part};
pub use follow::Follow;
pub use offline::offline;
pub use summary::{SummaryError, summary_offline};

use crate::index::facts::Facet;
use crate::prune::Pruned;
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
    pub product: Option<String>,
    /// Of the subject, or of one who acts for it.
    pub agreement: Option<String>,
    /// `readSeries`, …
    pub action: Option<String>,
    pub purpose: Option<String>,
    /// The id of a policy that determined the decision.
    pub policy: Option<String>,
    /// How an exchange ended: `complete`, …
    pub ended: Option<String>,
    /// Where a request came from: `DE`.
    pub country: Option<String>,
    /// Decisions whose exchange was open at that moment: allowed by then, and without an outcome until later. Exchanges of
    /// less than a second are left out.
    pub open_at: Option<Timestamp>,
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
            product: None,
            agreement: None,
            action: None,
            purpose: None,
            policy: None,
            ended: None,
            country: None,
            open_at: None,
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
    /// What is gone of the log, if the search was for some of that.
    pub pruned: Option<Pruned>,
}

impl Query {
    /// What an entry must have, where the index keeps it. `reference` stands for the principal.
    fn terms<'q>(&'q self, reference: Option<&'q str>) -> Vec<(Facet, &'q str)> {
        let terms = [
            (Facet::Organisation, self.organisation.as_ref().map(|id| id.as_str())),
            (Facet::Principal, reference),
            (Facet::Resource, self.resource.as_deref()),
            (Facet::Decision, self.decision.as_deref()),
            (Facet::Reason, self.reason.as_deref()),
            (Facet::Kind, self.kind.map(Kind::as_str)),
            (Facet::Product, self.product.as_deref()),
            (Facet::Agreement, self.agreement.as_deref()),
            (Facet::Action, self.action.as_deref()),
            (Facet::Purpose, self.purpose.as_deref()),
            (Facet::Policy, self.policy.as_deref()),
            (Facet::Ended, self.ended.as_deref()),
            (Facet::Country, self.country.as_deref()),
        ];
        terms.into_iter().filter_map(|(facet, value)| Some((facet, value?))).collect()
    }

    /// What of `pruned` the search is for.
    fn pruned(&self, pruned: Option<Pruned>) -> Option<Pruned> {
        let first = self.after.map_or(0, |after| after.saturating_add(1));
        pruned.filter(|pruned| pruned.concerns(first, self.from))
    }

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
