//! Entries and stored hashes held against each other: where they disagree, the signed roots tell which of them was changed.

use super::{Check, entries_of};
use crate::bundle::{Bundle, Problem, differences};
use crate::tree;
use crate::verdict::Point;
use std::ops::Range;
use tlog::Hash;
use tlog::tile::TilePath;

/// What the leaves of a bundle are, after entries and stored hashes were held against each other.
pub(super) struct Settled {
    pub(super) leaves: Option<Vec<Hash>>,
    /// Entries that are not the ones that were logged.
    pub(super) damaged: Vec<Range<u64>>,
}

/// Which of two is right.
enum Verdict {
    Entries,
    Hashes,
    Unknown,
}

impl Check<'_> {
    /// Decides which leaves to go on with, and tells what is wrong with entries or hashes.
    pub(super) fn settle(&mut self, bundle: &Bundle, tile: TilePath, stored: Result<Vec<Hash>, Problem>) -> Settled {
        match (&bundle.problem, stored) {
            (None, Ok(stored)) if stored == bundle.leaves => Settled { leaves: Some(stored), damaged: Vec::new() },
            (None, Ok(stored)) => self.settle_dispute(bundle, tile, stored),
            (None, Err(problem)) => {
                tree::tell_problem(tile, &problem, &mut self.findings);
                Settled { leaves: Some(bundle.leaves.clone()), damaged: Vec::new() }
            }
            (Some(problem), Ok(stored)) => {
                let damaged = self.tell_bundle(bundle, problem, Some(&stored));
                Settled { leaves: Some(stored), damaged }
            }
            (Some(problem), Err(tile_problem)) => {
                let damaged = self.tell_bundle(bundle, problem, None);
                tree::tell_problem(tile, &tile_problem, &mut self.findings);
                Settled { leaves: None, damaged }
            }
        }
    }

    fn settle_dispute(&mut self, bundle: &Bundle, tile: TilePath, stored: Vec<Hash>) -> Settled {
        let verdict = self.judge(bundle, &stored);
        if let Verdict::Entries = verdict {
            tree::tell_differences(tile, &stored, &bundle.leaves, &mut self.findings);
            return Settled { leaves: Some(bundle.leaves.clone()), damaged: Vec::new() };
        }
        let damaged: Vec<_> = differences(&bundle.leaves, &stored).iter().map(|run| entries_of(bundle, run)).collect();
        let (what, leaves) = match verdict {
            Verdict::Hashes => ("not what was logged: its hash is another one than in", stored),
            _ => ("does not belong to its hash in", bundle.leaves.clone()),
        };
        for entries in &damaged {
            self.findings.of(Point::Tree).add(entries.clone(), format!("{what} `{}`", tile.to_path()));
        }
        Settled { leaves: Some(leaves), damaged }
    }

    /// The hash above a full tile knows; at the end of the log, the published checkpoint does.
    fn judge(&self, bundle: &Bundle, stored: &[Hash]) -> Verdict {
        let above = if bundle.path.is_full() {
            tree::stored_root(self.store, bundle.path.index, self.published.size)
        } else {
            None
        };
        if above == Some(tree::root_of(&bundle.leaves)) {
            return Verdict::Entries;
        }
        if above == Some(tree::root_of(stored)) {
            return Verdict::Hashes;
        }
        let is_last = self.lost.is_none() && bundle.entries().end == self.published.size;
        if is_last && self.tree.root_with(&bundle.leaves) == self.published.root {
            return Verdict::Entries;
        }
        if is_last && self.tree.root_with(stored) == self.published.root {
            return Verdict::Hashes;
        }
        Verdict::Unknown
    }

    /// Tells what is wrong with a bundle, as narrowly as the stored hashes allow.
    fn tell_bundle(&mut self, bundle: &Bundle, problem: &Problem, stored: Option<&[Hash]>) -> Vec<Range<u64>> {
        let why = match problem {
            Problem::Missing => {
                self.findings.missing(bundle.path, bundle.entries());
                return vec![bundle.entries()];
            }
            Problem::Damaged(why) => format!("entry bundle `{}`: {why}", bundle.path.to_path()),
        };
        let Some(stored) = stored else {
            self.findings.of(Point::EntriesPresent).add(bundle.entries(), why);
            return vec![bundle.entries()];
        };
        let damaged: Vec<_> = differences(&bundle.leaves, stored).iter().map(|run| entries_of(bundle, run)).collect();
        let all = [bundle.entries()];
        for entries in if damaged.is_empty() { &all[..] } else { &damaged } {
            self.findings.of(Point::EntriesPresent).add(entries.clone(), &why);
        }
        damaged
    }
}
