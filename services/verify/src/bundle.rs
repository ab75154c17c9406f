//! One entry bundle, read, hashed and parsed. Bundles do not depend on each other, so this is what runs in parallel.

use crate::facts::{Facts, LastRun};
use crate::store::{Store, Stored};
use std::ops::Range;
use tlog::bundle::{self, ENTRY_BYTES_MAX};
use tlog::tile::{Kind, TilePath, WIDTH};
use tlog::{Hash, leaf_hash};

/// A full bundle of the largest entries.
const BUNDLE_BYTES_MAX: usize = WIDTH as usize * (2 + ENTRY_BYTES_MAX);

#[derive(Debug)]
pub struct Bundle {
    pub path: TilePath,
    /// Leaf hashes of the entries that could be read: without a problem as many as there must be.
    pub leaves: Vec<Hash>,
    /// What each of them says, or why it is no entry.
    pub facts: Vec<Result<Facts, String>>,
    pub problem: Option<Problem>,
}

/// Why a bundle does not hold what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    Missing,
    /// In words.
    Damaged(String),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Damaged(why) => f.write_str(why),
        }
    }
}

impl Bundle {
    /// The bundle with the entries from `index * 256` on of a log of `size` entries; `None` beyond the log.
    pub fn path(index: u64, size: u64) -> Option<TilePath> {
        let left = size.checked_sub(index.checked_mul(u64::from(WIDTH))?).filter(|left| *left > 0)?;
        let width = u16::try_from(left).unwrap_or(WIDTH).min(WIDTH);
        Some(TilePath { kind: Kind::Entries, index, width })
    }

    pub fn read(store: &Store, path: TilePath) -> Self {
        match store.read_tile(path, BUNDLE_BYTES_MAX) {
            Stored::Bytes { bytes, of_full } => Self::of_bytes(path, &bytes, of_full),
            Stored::Missing => Self::without(path, Problem::Missing),
            Stored::Unreadable(why) => Self::without(path, Problem::Damaged(format!("cannot be read: {why}"))),
        }
    }

    fn without(path: TilePath, problem: Problem) -> Self {
        Self { path, leaves: Vec::new(), facts: Vec::new(), problem: Some(problem) }
    }

    pub fn of_bytes(path: TilePath, bytes: &[u8], of_full: bool) -> Self {
        let width = usize::from(path.width);
        let (mut entries, fault) = bundle::decode_lossy(bytes);
        let found = entries.len();
        let problem = match fault {
            _ if of_full && found >= width => None,
            Some(fault) => Some(fault.to_string()),
            None if found != width => Some(format!("{found} entries; must have {width}")),
            None => None,
        };
        if problem.is_none() {
            entries.truncate(width);
        }
        let mut run = LastRun::default();
        let mut facts = |entry: &&[u8]| Facts::read(entry, &mut run).map_err(|error| error.to_string());
        Self {
            path,
            leaves: entries.iter().map(|entry| leaf_hash(entry)).collect(),
            facts: entries.iter().map(&mut facts).collect(),
            problem: problem.map(Problem::Damaged),
        }
    }

    /// Indexes of the entries it must have.
    pub fn entries(&self) -> Range<u64> {
        self.path.entries()
    }
}

/// Positions at which two lists of hashes differ, as runs. When an entry is missing or too many, everything behind it has
/// moved: then the run reaches from the first difference from the front to the first from the back.
#[expect(clippy::single_range_in_vec_init, reason = "one run is what is meant")]
pub fn differences(found: &[Hash], expected: &[Hash]) -> Vec<Range<usize>> {
    if found.len() == expected.len() {
        return runs(found.iter().zip(expected).map(|(a, b)| a != b));
    }
    let same = |pair: &(&Hash, &Hash)| pair.0 == pair.1;
    let front = found.iter().zip(expected).take_while(same).count();
    let shorter = found.len().min(expected.len());
    let back = found.iter().rev().zip(expected.iter().rev()).take(shorter - front).take_while(same).count();
    let end = (expected.len() - back).max(front + 1).min(expected.len());
    vec![front.min(end.saturating_sub(1))..end]
}

fn runs(differs: impl Iterator<Item = bool>) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in differs.enumerate().filter(|(_, differs)| *differs) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(text: &str) -> Vec<Hash> {
        text.bytes().map(|b| leaf_hash(&[b])).collect()
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one run is the result")]
    fn differences_are_as_narrow_as_they_can_be() {
        for (found, expected, runs) in [
            ("abcd", "abcd", vec![]),
            ("aXcY", "abcd", vec![1..2, 3..4]),
            ("aXYd", "abcd", vec![1..3]),
            ("acd", "abcd", vec![1..2]),
            ("abc", "abcd", vec![3..4]),
            ("", "abcd", vec![0..4]),
            ("a", "abcd", vec![1..4]),
            ("abXcd", "abcd", vec![2..3]),
            ("abcdX", "abcd", vec![3..4]),
            ("Xacd", "abcde", vec![0..5]),
            ("aaa", "aaaa", vec![3..4]),
        ] {
            assert_eq!(differences(&hashes(found), &hashes(expected)), runs, "{found} {expected}");
        }
    }

    #[test]
    fn bundles_end_where_the_log_ends() {
        let width = |index, size| Bundle::path(index, size).map(|path| path.width);
        assert_eq!((width(0, 600), width(2, 600), width(3, 600)), (Some(256), Some(88), None));
        assert_eq!((width(0, 256), width(1, 256), width(0, 0)), (Some(256), None, None));
        assert_eq!((width(u64::MAX, u64::MAX), width(1 << 55, u64::MAX)), (None, Some(256)));
    }
}
