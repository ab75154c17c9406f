//! Whether an organisation's newest entries are kept back. Behind the last that an archive shows there may be others, and no number
//! tells; but its last summary says by when there is another one, so whoever knows that the checkpoint is of later knows that something
//! is not shown.

use crate::report::Finding;
use crate::verdict::Point;
use model::Timestamp;
use model::summary::Summary;
use serde_json::{Value, json};

/// The last summary that an archive of one organisation shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where it stands.
    pub entry: u64,
    pub summary: Summary,
    /// The time that was asked for ends here. What came later need not be in the archive.
    pub(super) to: Timestamp,
    /// No entry of later than that shows that none is missing before it.
    pub(super) is_open: bool,
}

impl Tail {
    /// Whether somebody who knows when the checkpoint was there can tell anything by it.
    pub(super) fn tells(&self) -> bool {
        self.is_open && self.summary.next.is_some()
    }

    /// `seen`: a time at which the checkpoint was there, or that entries under it have.
    pub(super) fn withheld(&self, organisation: &str, seen: Timestamp) -> Option<Finding> {
        let (seen, next) = (seen.min(self.to), self.summary.next?);
        if !self.is_open || !self.summary.is_overdue(seen) {
            return None;
        }
        let what = format!(
            "promises another summary of `{organisation}` by {}, and there is none, although the archive is of entries up to {} at least: the \
             newest entries of `{organisation}` are kept back, or its summaries have stopped. A broker that had just come to again may not \
             have written it yet: then a new archive has it",
            next.to_rfc3339(),
            seen.to_rfc3339()
        );
        Some(Finding { check: Point::OrganisationSummaries, what, entries: Some((self.entry, self.entry)) })
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "entry": self.entry,
            "last": self.summary.last,
            "time": self.summary.time.to_rfc3339(),
            "next": self.summary.next.map(Timestamp::to_rfc3339),
        })
    }

    /// For people, behind the index of the entry.
    pub(super) fn to_text(self) -> String {
        let Self { entry, summary, .. } = self;
        let next = summary
            .next
            .map_or("none other is promised".to_owned(), |next| format!("another by {}", next.to_rfc3339()));
        format!("entry {entry} of {}, behind its {}.; {next}", summary.time.to_rfc3339(), summary.last)
    }
}
