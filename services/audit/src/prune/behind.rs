//! What entries behind a minimum index need of those before it, wherever that index comes to be.

use super::marks::Marks;
use crate::erase::event;
use crate::error::ReadError;
use crate::frames;
use crate::reader::Reader;
use model::entry::{Entry, Kind};
use model::erasure::{Event, Scope};
use std::collections::{BTreeSet, HashMap};

/// What both kinds of entries have in their bytes; most have neither, and a log is long. Canonical entries have no white space.
const EVENTS: [&str; 2] = ["\"event\":\"activated\"", "\"event\":\"opened\""];
const ASKED: &str = "\"policies\":\"";
/// Digits of a digest.
const DIGITS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Behind {
    pub marks: Marks,
    pub in_use: InUse,
    /// Erasures that carry out a request: where, and which.
    carried_out: Vec<(u64, u64)>,
    end: u64,
}

impl Behind {
    /// Goes through the entries from `first` on. Nobody erases anything meanwhile.
    pub(super) async fn of(reader: &Reader, first: u64, size: u64) -> Result<Self, ReadError> {
        let mut behind = Self { end: first, ..Self::default() };
        for index in reader.erasure_entries_after(first.checked_sub(1)).await? {
            if let Some(Event::Erased(erasure)) = event(reader, index).await?
                && let Scope::Principal { requested: Some(requested), .. } = erasure.scope
            {
                behind.carried_out.push((index, requested));
            }
        }
        behind.go_on(reader, size).await?;
        Ok(behind)
    }

    /// Goes through those that came since.
    pub(super) async fn go_on(&mut self, reader: &Reader, size: u64) -> Result<(), ReadError> {
        let first = self.end;
        while self.end < size {
            // The first may begin before it.
            let mut bundles =
                if self.end == first { reader.bundle_of(first).await?.into_iter().collect() } else { Vec::new() };
            if bundles.is_empty() {
                bundles = reader.bundles(self.end).await?;
            }
            let Some(next) = bundles.last().map(|bundle| bundle.first_index + bundle.count.max(1)) else { break };
            let mut behind = std::mem::take(self);
            let look = move || {
                for bundle in &bundles {
                    for (index, entry) in (bundle.first_index..).zip(frames::iter(&bundle.bytes)) {
                        let last_index = bundle.first_index + bundle.count.max(1) - 1;
                        let damaged = |_| ReadError::Damaged { first_index: bundle.first_index, last_index };
                        behind.see(index, entry.map_err(damaged)?);
                    }
                }
                Ok::<_, ReadError>(behind)
            };
            *self = tokio::task::spawn_blocking(look).await.map_err(|_| ReadError::Closed)??;
            self.end = next;
        }
        Ok(())
    }

    fn see(&mut self, index: u64, entry: &[u8]) {
        self.marks.see(index, entry);
        self.in_use.see(index, entry);
    }

    /// Requests before `minimum` that entries behind it carry out.
    pub(super) fn requests(&self, minimum: u64) -> BTreeSet<u64> {
        let reaches_over = |(at, requested): &&(u64, u64)| *requested < minimum && minimum <= *at;
        self.carried_out.iter().filter(reaches_over).map(|(_, requested)| *requested).collect()
    }
}

/// By which sets of policies entries were decided, and what says that these were in use then.
#[derive(Debug, Default)]
pub(super) struct InUse {
    opened: Option<u64>,
    sets: HashMap<[u8; DIGITS / 2], Set>,
}

#[derive(Debug, Default)]
struct Set {
    activated: Option<u64>,
    /// The entry since which they may be asked, where it is one of those that were seen, and the last one that was decided by them on
    /// its word.
    asked: Vec<(Option<u64>, u64)>,
}

impl InUse {
    pub(super) fn see(&mut self, index: u64, entry: &[u8]) {
        let Ok(text) = std::str::from_utf8(entry) else { return };
        if let Some(digest) = text.split_once(ASKED).and_then(|(_, rest)| parse(rest.get(..DIGITS)?)) {
            let set = self.sets.entry(digest).or_default();
            let since = set.activated.max(self.opened);
            match set.asked.last_mut() {
                Some((of, last)) if *of == since => *last = index.max(*last),
                _ => set.asked.push((since, index)),
            }
        }
        if !EVENTS.iter().any(|event| text.contains(event)) {
            return;
        }
        let Ok(entry) = Entry::parse(entry) else { return };
        match (entry.kind, entry.text("event")) {
            (Kind::System, Some("opened")) => self.opened = Some(index),
            (Kind::Policy, Some("activated")) => {
                if let Some(digest) = entry.text("digest").and_then(parse) {
                    self.sets.entry(digest).or_default().activated = Some(index);
                }
            }
            _ => {}
        }
    }

    /// Whether an entry at `minimum` or behind was decided by them on the word of one before. What is no digest is never taken for
    /// unneeded.
    pub(super) fn needs(&self, minimum: u64, digest: &str) -> bool {
        let Some(digest) = parse(digest) else { return true };
        let reaches_over = |(since, last): &(Option<u64>, u64)| since.is_none_or(|at| at < minimum) && minimum <= *last;
        self.sets.get(&digest).is_some_and(|set| set.asked.iter().any(reaches_over))
    }
}

fn parse(digest: &str) -> Option<[u8; DIGITS / 2]> {
    model::canonical::unhex(digest)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::entry::{Common, Draft};
    use model::{Timestamp, Value};

    fn entry(kind: Kind, members: Vec<(&'static str, Value)>) -> Vec<u8> {
        let common = Common { nonce: [7; 16], time: Timestamp(5), boot: "b".into() };
        Draft::new(kind, &common, None, members, Vec::new()).unwrap().seal(None)
    }

    #[test]
    fn a_set_of_policies_is_needed_where_its_activation_stands_before_and_a_decision_behind() {
        let hex = |n: u8| format!("{n:02x}").repeat(32);
        let opened = || entry(Kind::System, vec![("event", Value::text("opened"))]);
        let activated =
            |n| entry(Kind::Policy, vec![("event", Value::text("activated")), ("digest", Value::text(hex(n)))]);
        let asked = |n| {
            let digests = Value::object([("catalog", Value::text(hex(9))), ("policies", Value::text(hex(n)))]);
            let ids = Value::texts(["policies", &hex(8)]);
            entry(Kind::Decision, vec![("digests", digests), ("policies", ids)])
        };
        let story =
            [opened(), activated(1), asked(1), activated(2), asked(1), activated(1), asked(1), asked(2), opened()];
        let mut in_use = InUse::default();
        (0..).zip(story).for_each(|(index, entry)| in_use.see(index, &entry));
        in_use.see(9, &activated(2));
        in_use.see(10, &asked(2));
        let needed = |n: u8| (0..12).filter(|minimum| in_use.needs(*minimum, &hex(n))).collect::<Vec<u64>>();
        assert_eq!(needed(1), [2, 3, 4, 6], "at 5 its second activation stands behind, with all that was asked then");
        assert_eq!(needed(2), [4, 5, 6, 7, 10]);
        assert_eq!((needed(8), needed(9)), (vec![], vec![]), "of no other member");
        // Those that came into use before anything that was seen.
        let mut before = InUse::default();
        before.see(20, &asked(3));
        assert_eq!([0, 20, 21].map(|minimum| before.needs(minimum, &hex(3))), [true, true, false]);
        assert!(before.needs(21, "no digest"));
    }
}
