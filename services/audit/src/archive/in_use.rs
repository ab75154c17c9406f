//! Entries that say which policies were in use when an archive begins: that the log was opened last before it, and which came into
//! use since. They stand beside the stretch and prove themselves, as those about erasures do.

use crate::error::ReadError;
use crate::published::Publication;
use model::entry::{Entry, Kind};
use std::collections::{BTreeMap, BTreeSet};
use tlog::tile::WIDTH;

/// What both kinds of entries have in their bytes; most have neither, and a log is long. Canonical entries have no white space.
const EVENTS: [&str; 2] = ["\"event\":\"activated\"", "\"event\":\"opened\""];
/// Members of an entry with ids of policies, which may name organisations.
const NAMES: [&str; 3] = ["added", "changed", "removed"];

#[derive(Debug)]
enum Said {
    Opened,
    /// Which policies.
    Activated(String),
}

/// What was found, from the end of the log to its beginning.
#[derive(Default)]
struct Found {
    entries: BTreeMap<u64, Said>,
    /// An entry has ids of policies.
    has_names: bool,
}

impl Found {
    /// `true`: this is the start of the broker.
    fn see(&mut self, index: u64, bytes: &[u8]) -> bool {
        let may_say = |text: &str| EVENTS.iter().any(|event| text.contains(event));
        let bytes = Some(bytes).filter(|bytes| std::str::from_utf8(bytes).is_ok_and(may_say));
        let Some(entry) = bytes.and_then(|bytes| Entry::parse(bytes).ok()) else { return false };
        let said = match (entry.kind, entry.text("event"), entry.text("digest")) {
            (Kind::System, Some("opened"), _) => Said::Opened,
            (Kind::Policy, Some("activated"), Some(digest)) => Said::Activated(digest.to_owned()),
            _ => return false,
        };
        self.has_names |= NAMES.iter().any(|member| entry.get(member).is_some());
        let is_start = matches!(said, Said::Opened);
        self.entries.insert(index, said);
        is_start
    }

    /// Each set once since the start before it.
    fn finish(mut self) -> Vec<u64> {
        let mut digests = BTreeSet::new();
        self.entries.retain(|_, said| match said {
            Said::Opened => {
                digests.clear();
                true
            }
            Said::Activated(digest) => digests.insert(std::mem::take(digest)),
        });
        self.entries.into_keys().collect()
    }
}

/// Ascending; none where the first of `shown` is the log's first, and none where the start of the broker is not kept any longer.
///
/// Where entries of one organisation are shown, all of the kind up to the last of those are found, because none of them is among
/// those; and none at all if one of them has ids of policies.
pub(super) fn find(
    publication: &mut Publication,
    shown: &[u64],
    is_of_one_organisation: bool,
) -> Result<Vec<u64>, ReadError> {
    let Some((first, last)) = shown.first().copied().zip(shown.last().copied()) else { return Ok(Vec::new()) };
    let end = if is_of_one_organisation { last } else { first };
    let (width, mut found) = (u64::from(WIDTH), Found::default());
    let below = publication.pruned().map_or(0, |pruned| pruned.below);
    let (mut number, mut is_started) = (end.div_ceil(width), false);
    while !is_started && number > 0 && number * width > below {
        number -= 1;
        let entries: Vec<(u64, &[u8])> = (number * width..end).zip(publication.bundle(number)?).collect();
        // Starts behind the first belong to it as well; the search ends at one before.
        is_started = entries.into_iter().rev().any(|(index, entry)| found.see(index, entry) && index < first);
    }
    if !is_started && below > 0 {
        let carried = publication.carried()?;
        is_started = carried.iter().rev().any(|(index, entry)| *index < below && found.see(*index, entry));
    }
    if !is_started || (is_of_one_organisation && found.has_names) { Ok(Vec::new()) } else { Ok(found.finish()) }
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

    fn policies(event: &str, digest: &str) -> Vec<u8> {
        entry(Kind::Policy, vec![("event", Value::text(event)), ("digest", Value::text(digest))])
    }

    #[test]
    fn every_set_stands_once_behind_each_start() {
        let opened = || entry(Kind::System, vec![("event", Value::text("opened"))]);
        let story = [
            (1, opened()),
            (2, policies("activated", "a")),
            (3, policies("activated", "b")),
            (4, policies("activated", "a")),
            (5, policies("shadow_activated", "c")),
            (6, entry(Kind::Admin, vec![("event", Value::text("activated")), ("digest", Value::text("d"))])),
            (7, opened()),
            (8, policies("activated", "a")),
            (9, b"\"event\":\"opened\"".to_vec()),
        ];
        let mut found = Found::default();
        let starts: Vec<u64> =
            story.iter().rev().filter(|(index, entry)| found.see(*index, entry)).map(|(index, _)| *index).collect();
        assert_eq!((starts, found.has_names), (vec![7, 1], false));
        assert_eq!(found.finish(), [1, 2, 3, 7, 8]);
        // Ids of policies, which may name anybody.
        let names = vec![
            ("event", Value::text("activated")),
            ("digest", Value::text("a")),
            ("removed", Value::texts(["bolt-reads-presses"])),
        ];
        let mut found = Found::default();
        assert!(!found.see(2, &entry(Kind::Policy, names)) && found.has_names);
    }
}
