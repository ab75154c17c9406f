//! Which entries a search is for.

use super::{Found, LIMIT_MAX, Page, Query, SCAN_BYTES_MAX};
use crate::index::facts::Facet;
use model::Value;
use model::canonical::encode_text;
use model::entry::Entry;

/// Tells entries apart, the cheap way first.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    query: Query,
    /// The principal's reference, as entries have it.
    reference: Option<String>,
    /// What the bytes of every match contain: entries have one spelling.
    needles: Vec<String>,
}

impl Filter {
    pub(super) fn new(query: &Query, reference: Option<String>) -> Self {
        let needle = |(facet, value): (Facet, &str)| match facet {
            // Members of a list, or of one.
            Facet::Reason | Facet::Policy => json(value),
            Facet::Organisation => format!("\"org\":{}", json(value)),
            _ => format!("{}:{}", json(facet.as_str()), json(value)),
        };
        let mut needles: Vec<String> = query.terms(reference.as_deref()).into_iter().map(needle).collect();
        needles.extend(query.request.as_deref().map(|id| format!("\"request\":{}", json(id))));
        Self { query: query.clone(), reference, needles }
    }

    /// The entry's text and its principal's reference, when the search is for it.
    pub(super) fn matching<'e>(&self, bytes: &'e [u8]) -> Option<(&'e str, Option<String>)> {
        let text = std::str::from_utf8(bytes).ok()?;
        if !self.needles.iter().all(|needle| text.contains(needle.as_str())) {
            return None;
        }
        let entry = Entry::parse(bytes).ok()?;
        self.accepts(&entry).then(|| (text, entry.text("principal").map(str::to_owned)))
    }

    fn accepts(&self, entry: &Entry) -> bool {
        let query = &self.query;
        let (from, to) = query.times();
        let is = |name: &str, wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| entry.text(name) == Some(wanted))
        };
        (from..=to).contains(&entry.time)
            && query.organisation.as_ref().is_none_or(|wanted| entry.organisation.as_ref() == Some(wanted))
            && query.kind.is_none_or(|wanted| entry.kind == wanted)
            && self.reference.as_deref().is_none_or(|wanted| takes_part(entry, "principal", wanted))
            && query.agreement.as_deref().is_none_or(|wanted| takes_part(entry, "agreement", wanted))
            && is("resource", &query.resource)
            && is("decision", &query.decision)
            && is("request", &query.request)
            && is("product", &query.product)
            && is("action", &query.action)
            && is("purpose", &query.purpose)
            && is("ended", &query.ended)
            && is("country", &query.country)
            && query.policy.as_deref().is_none_or(|wanted| lists(entry, "policies", wanted))
            && query
                .reason
                .as_deref()
                .is_none_or(|wanted| lists(entry, "reasons", wanted) || entry.text("reason") == Some(wanted))
    }
}

/// Of the subject, or of one who acts for it; the bytes of both contain the same needle.
fn takes_part(entry: &Entry, member: &str, wanted: &str) -> bool {
    let acts = match entry.get("actors") {
        Some(Value::Array(actors)) => {
            actors.iter().any(|actor| actor.get(member).and_then(Value::as_text) == Some(wanted))
        }
        _ => false,
    };
    acts || entry.text(member) == Some(wanted)
}

fn lists(entry: &Entry, member: &str, wanted: &str) -> bool {
    match entry.get(member) {
        Some(Value::Array(items)) => items.iter().any(|item| item.as_text() == Some(wanted)),
        _ => false,
    }
}

fn json(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    encode_text(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A page in the making.
#[derive(Debug)]
pub(super) struct Collector {
    filter: Filter,
    limit: usize,
    found: Vec<Found>,
    scanned_bytes: usize,
    /// The entry that was looked at last.
    last: Option<u64>,
}

impl Collector {
    pub(super) fn new(query: &Query, reference: Option<String>) -> Self {
        let filter = Filter::new(query, reference);
        Self { filter, limit: query.limit.clamp(1, LIMIT_MAX), found: Vec::new(), scanned_bytes: 0, last: None }
    }

    /// Looks at the next entry. Until the directory is asked, `principal` holds the reference.
    pub(super) fn offer(&mut self, index: u64, bytes: &[u8]) {
        self.last = Some(index);
        self.scanned_bytes += bytes.len();
        if let Some((entry, principal)) = self.filter.matching(bytes) {
            self.found.push(Found { index, entry: entry.to_owned(), principal });
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= self.limit || self.scanned_bytes >= SCAN_BYTES_MAX
    }

    /// `end`: the index of the last entry of interest in the direction of the search.
    pub(super) fn finish(self, end: u64, size: u64) -> Page {
        let next = self.last.filter(|last| self.is_full() && *last != end);
        Page { entries: self.found, next, size, pruned: None }
    }
}
