//! Whether anything of what an archive was to hold may be missing, for scripts; in words that is under what is not proven.

use crate::verdict::{Point, Points};
use model::Timestamp;
use serde_json::{Value, json};
use std::fmt;

/// By the times that entries have, and as far as the broker's clock was not put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Complete {
    /// Nothing is missing between the first entry and the last.
    pub inside: bool,
    /// Nothing before the first, since the time that was asked for.
    pub beginning: bool,
    /// Nothing behind the last, until the time that was asked for.
    pub end: bool,
    /// The part of that time of which everything is proven to be there.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Whether what is between the first entry and the last is proven, by what was found.
pub(super) fn is_whole(failed: Points, of_one_organisation: bool) -> bool {
    let needed = [Point::ArchiveForm, Point::CheckpointSignature, Point::EntriesPresent, Point::EntryForm, Point::Tree];
    let sequences = of_one_organisation.then_some(Point::OrganisationSequences);
    needed.into_iter().chain(sequences).all(|point| !failed.has(point))
}

impl Complete {
    /// `asked`: the time that was asked for. `shown`: the time of which the entries here tell, where an edge is open.
    pub(super) fn bound(&mut self, asked: (Timestamp, Timestamp), shown: (Timestamp, Timestamp)) {
        let since = if self.beginning { asked.0 } else { asked.0.max(shown.0) };
        let until = if self.end { asked.1 } else { asked.1.min(shown.1) };
        (self.since, self.until) = if since < until { (Some(since), Some(until)) } else { (None, None) };
    }

    pub fn is_proven(self) -> bool {
        self.inside && self.beginning && self.end
    }

    /// What is not proven of the time from `from` to `to`, in words.
    pub(super) fn faults(self, from: &str, to: &str) -> impl Iterator<Item = String> {
        let inside =
            (!self.inside).then(|| String::from("not proven to be complete between its first and its last entry"));
        let beginning = (!self.beginning).then(|| {
            format!(
                "not proven to be complete at its beginning: there may be entries of {from} and later before its first"
            )
        });
        let end = (!self.end).then(|| {
            format!("not proven to be complete at its end: there may be entries of before {to} behind its last")
        });
        [inside, beginning, end].into_iter().flatten()
    }

    pub(super) fn to_json(self) -> Value {
        let Self { inside, beginning, end, since, until } = self;
        json!({
            "inside": inside, "beginning": beginning, "end": end,
            "since": since.map(Timestamp::to_rfc3339), "until": until.map(Timestamp::to_rfc3339),
        })
    }
}

impl fmt::Display for Complete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.since.zip(self.until).filter(|_| self.inside) {
            Some((since, until)) => writeln!(f, "  complete       {} to {}", since.to_rfc3339(), until.to_rfc3339()),
            None => writeln!(f, "  complete       not proven of any time"),
        }
    }
}
