//! What is wrong, and where.

use std::fmt;

/// More are not listed: a log with a thousand faults has one.
const LISTED_MAX: usize = 1000;

/// One fault, with the entries it is about, both ends inclusive.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    pub what: String,
    pub first_index: u64,
    pub last_index: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first_index == self.last_index {
            write!(f, "entry {}: {}", self.first_index, self.what)
        } else {
            write!(f, "entries {} to {}: {}", self.first_index, self.last_index, self.what)
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    left_out: u64,
}

impl Findings {
    /// The same fault of the next entry makes the finding longer, not the list.
    pub(super) fn add(&mut self, (first_index, last_index): (u64, u64), what: impl Into<String>) {
        let what = what.into();
        let same = self
            .list
            .last_mut()
            .filter(|last| last.what == what && last.last_index.checked_add(1) == Some(first_index));
        if let Some(last) = same {
            last.last_index = last_index;
        } else if self.list.len() < LISTED_MAX {
            self.list.push(Finding { what, first_index, last_index });
        } else {
            self.left_out += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn into_parts(self) -> (Vec<Finding>, u64) {
        (self.list, self.left_out)
    }
}
