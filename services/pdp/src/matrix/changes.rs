//! What is other in a second matrix, and for whom it is more or less.

use super::{Cell, Extent, Key, Matrix};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// One cell that is other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub turn: Turn,
    #[serde(flatten)]
    pub key: Key,
    /// Absent where the cell was not asked before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Cell>,
    /// Absent where the cell is no longer asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cell>,
}

/// What a change means for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// Sees more, or hears of more.
    Gains,
    Loses,
    /// Neither, or some of both.
    Differs,
}

impl Turn {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gains => "gains",
            Self::Loses => "loses",
            Self::Differs => "differs",
        }
    }
}

impl Change {
    /// The same without the caller's name, for texts that nobody can erase.
    pub fn unnamed(mut self) -> Self {
        self.key.who.subject.clear();
        self
    }
}

impl Matrix {
    /// Whether anybody is permitted anything.
    pub fn permits_something(&self) -> bool {
        self.cells.values().any(|cell| rank(cell) == 2)
    }

    /// What is other in `after`.
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let keys: BTreeSet<&Key> = self.cells.keys().chain(after.cells.keys()).collect();
        let both = keys.into_iter().map(|key| (key, self.cells.get(key), after.cells.get(key)));
        let others = both.filter(|(_, before, after)| before != after);
        let change = |(key, before, after): (&Key, Option<&Cell>, Option<&Cell>)| Change {
            turn: before.zip(after).map_or(Turn::Differs, |(before, after)| turn(before, after)),
            key: key.clone(),
            before: before.cloned(),
            after: after.cloned(),
        };
        others.map(change).collect()
    }
}

/// The changes in words, those that are alike in one line: who, what, for what, before and now.
pub fn lines(changes: &[Change]) -> Vec<String> {
    type Alike<'c> = (Turn, String, Option<&'c Cell>, Option<&'c Cell>);
    let mut groups: BTreeMap<(Alike<'_>, BTreeSet<String>), BTreeSet<String>> = BTreeMap::new();
    let mut by_purpose: BTreeMap<(Alike<'_>, String), BTreeSet<String>> = BTreeMap::new();
    for change in changes {
        let alike = (change.turn, change.key.who.to_string(), change.before.as_ref(), change.after.as_ref());
        let resources = by_purpose.entry((alike, change.key.reason())).or_default();
        resources.insert(change.key.what());
    }
    for ((alike, purpose), resources) in by_purpose {
        groups.entry((alike, resources)).or_default().insert(purpose);
    }
    let line =
        |(((turn, who, before, after), resources), purposes): ((Alike<'_>, BTreeSet<String>), BTreeSet<String>)| {
            let words = |cell: Option<&Cell>| cell.map_or_else(|| String::from("not asked"), Cell::words);
            format!(
                "{who} {}: {} ({}): {}; before: {}",
                turn.as_str(),
                join(resources),
                join(purposes),
                words(after),
                words(before)
            )
        };
    groups.into_iter().map(line).collect()
}

pub(super) fn join(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().collect::<Vec<_>>().join(", ")
}

fn turn(before: &Cell, after: &Cell) -> Turn {
    let parts = [
        rank(before).cmp(&rank(after)),
        subset(&after.classes_hidden, &before.classes_hidden),
        before.records_hidden.cmp(&after.records_hidden).reverse(),
        extents(before.extent, after.extent),
    ];
    // What is refused anew hides nothing any more, and goes nowhere.
    let parts = if rank(before) == rank(after) { &parts[..] } else { &parts[..1] };
    match (parts.contains(&Ordering::Less), parts.contains(&Ordering::Greater)) {
        (true, false) => Turn::Gains,
        (false, true) => Turn::Loses,
        _ => Turn::Differs,
    }
}

fn rank(cell: &Cell) -> u8 {
    match cell.decision.as_str() {
        "permit" => 2,
        "deny" => 1,
        _ => 0,
    }
}

/// `Less` when the second lacks some of the first. Both for sets that have something of their own each.
fn subset(fewer: &[String], more: &[String]) -> Ordering {
    let lacks = |a: &[String], b: &[String]| b.iter().any(|item| !a.contains(item));
    match (lacks(fewer, more), lacks(more, fewer)) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => Ordering::Equal,
    }
}

/// `Less` when the second goes further.
fn extents(before: Option<Extent>, after: Option<Extent>) -> Ordering {
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let far = |end: Option<i64>| end.unwrap_or(i64::MAX);
    let parts = [
        before.resolution_min_ms.unwrap_or(0).cmp(&after.resolution_min_ms.unwrap_or(0)).reverse(),
        far(before.window_max_ms).cmp(&far(after.window_max_ms)),
        far(before.rows_max).cmp(&far(after.rows_max)),
    ];
    match (parts.contains(&Ordering::Less), parts.contains(&Ordering::Greater)) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => Ordering::Equal,
    }
}
