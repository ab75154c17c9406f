//! Parts of a log that prove themselves: some of its entries, and subtrees in the place of all others.
//!
//! A walk goes over a whole tree from left to right. Each step is an entry, or the root of a complete subtree that stands
//! for the entries below it. Together they have one root, so whoever compares it with a checkpoint knows that every entry
//! shown stands at its index, and that between two that follow each other none was left out.

use crate::{CompactRange, HASH_BYTES, Hash, leaf_hash};

const ENTRY: u8 = 0;
const SUBTREE: u8 = 1;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    Entry(&'a [u8]),
    /// `2^level` entries that are not shown.
    Subtree {
        level: u8,
        root: Hash,
    },
}

/// Why bytes are no walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    #[error("the entry has {0} bytes; at most 65535 fit")]
    TooLarge(usize),
    #[error("a step begins with the byte {0}, which stands for nothing")]
    Unknown(u8),
    #[error("it breaks off within a step")]
    Truncated,
    #[error("a subtree of height {level} does not begin at entry {index}")]
    Misplaced { level: u8, index: u64 },
}

impl<'a> Step<'a> {
    /// An entry: the byte 0, its length in two bytes, big-endian, itself. A subtree: the byte 1, its height in one byte, its
    /// root.
    ///
    /// # Errors
    /// When the entry is too large.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), WalkError> {
        match self {
            Self::Entry(entry) => {
                let length = u16::try_from(entry.len()).map_err(|_| WalkError::TooLarge(entry.len()))?;
                out.push(ENTRY);
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(entry);
            }
            Self::Subtree { level, root } => {
                out.extend_from_slice(&[SUBTREE, *level]);
                out.extend_from_slice(&root.0);
            }
        }
        Ok(())
    }

    /// The first step, and what comes behind it; `None` at the end.
    ///
    /// # Errors
    /// When there is no step.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, WalkError> {
        let Some((kind, rest)) = bytes.split_first() else { return Ok(None) };
        match *kind {
            ENTRY => {
                let (length, rest) = rest.split_first_chunk::<2>().ok_or(WalkError::Truncated)?;
                let split = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)));
                let (entry, rest) = split.ok_or(WalkError::Truncated)?;
                Ok(Some((Self::Entry(entry), rest)))
            }
            SUBTREE => {
                let (level, rest) = rest.split_first().ok_or(WalkError::Truncated)?;
                let (root, rest) = rest.split_first_chunk::<HASH_BYTES>().ok_or(WalkError::Truncated)?;
                Ok(Some((Self::Subtree { level: *level, root: Hash(*root) }, rest)))
            }
            unknown => Err(WalkError::Unknown(unknown)),
        }
    }
}

/// Whoever goes over a tree step by step.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    range: CompactRange,
}

impl Walk {
    /// Takes the step, and gives the index at which it begins.
    ///
    /// # Errors
    /// When a subtree does not fit there.
    pub fn step(&mut self, step: Step<'_>) -> Result<u64, WalkError> {
        let index = self.range.size();
        match step {
            Step::Entry(entry) => self.range.push(leaf_hash(entry)),
            Step::Subtree { level, root } => {
                if !self.range.push_subtree(level, root, |_, _| {}) {
                    return Err(WalkError::Misplaced { level, index });
                }
            }
        }
        Ok(index)
    }

    /// Entries so far, shown or not.
    pub fn size(&self) -> u64 {
        self.range.size()
    }

    /// The root over them.
    pub fn root(&self) -> Hash {
        self.range.root()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{known, range};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn entries(count: u64) -> Vec<Vec<u8>> {
        (0..count).map(|n| format!("entry {n}").into_bytes()).collect()
    }

    /// The walk that shows these entries.
    fn walk(entries: &[Vec<u8>], shown: &BTreeSet<u64>) -> Vec<u8> {
        let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let (mut out, mut at) = (Vec::new(), 0);
        for next in shown.iter().copied().chain([entries.len() as u64]) {
            for (level, index) in range::cover(at, next) {
                let root = known::subtree(&leaves, level, index).unwrap();
                Step::Subtree { level, root }.encode_into(&mut out).unwrap();
            }
            if let Some(entry) = entries.get(next as usize) {
                Step::Entry(entry).encode_into(&mut out).unwrap();
            }
            at = next + 1;
        }
        out
    }

    type Gone = (Walk, Vec<(u64, Vec<u8>)>);

    fn gone(mut bytes: &[u8]) -> Result<Gone, WalkError> {
        let (mut walk, mut shown) = (Walk::default(), Vec::new());
        while let Some((step, rest)) = Step::decode(bytes)? {
            let index = walk.step(step)?;
            if let Step::Entry(entry) = step {
                shown.push((index, entry.to_vec()));
            }
            bytes = rest;
        }
        Ok((walk, shown))
    }

    proptest! {
        #[test]
        fn a_walk_has_the_root_of_the_tree_whatever_it_shows(count in 1_u64..200, shown: BTreeSet<u8>) {
            let entries = entries(count);
            let shown: BTreeSet<u64> = shown.into_iter().map(u64::from).filter(|n| *n < count).collect();
            let (walk, seen) = gone(&walk(&entries, &shown)).unwrap();
            let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
            prop_assert_eq!((walk.size(), walk.root()), (count, known::root(&leaves)));
            prop_assert_eq!(seen.iter().map(|(index, _)| *index).collect::<BTreeSet<_>>(), shown);
            prop_assert!(seen.iter().all(|(index, entry)| *entry == entries[*index as usize]));
        }

        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>) {
            let _ = gone(&bytes);
        }

        /// Nothing can be left out, put in, or moved.
        #[test]
        fn a_walk_without_one_of_its_steps_has_another_root(count in 2_u64..60, shown: BTreeSet<u8>, which: prop::sample::Index) {
            let entries = entries(count);
            let shown: BTreeSet<u64> = shown.into_iter().map(|n| u64::from(n) % count).collect();
            let whole = walk(&entries, &shown);
            let (mut steps, mut rest) = (Vec::new(), whole.as_slice());
            while let Some((_, behind)) = Step::decode(rest).unwrap() {
                steps.push(&rest[..rest.len() - behind.len()]);
                rest = behind;
            }
            let root = gone(&whole).unwrap().0.root();
            steps.remove(which.index(steps.len()));
            if let Ok((walk, _)) = gone(&steps.concat()) {
                prop_assert!((walk.size(), walk.root()) != (count, root));
            }
        }
    }

    #[test]
    fn steps_that_are_none_are_refused() {
        let good = walk(&entries(7), &BTreeSet::from([3]));
        assert!(gone(&good).is_ok());
        assert_eq!(gone(&good[..good.len() - 1]).unwrap_err(), WalkError::Truncated);
        assert_eq!(gone(&[2]).unwrap_err(), WalkError::Unknown(2));
        let mut misplaced = walk(&entries(7), &BTreeSet::new());
        misplaced[35] = 3;
        assert_eq!(gone(&misplaced).unwrap_err(), WalkError::Misplaced { level: 3, index: 4 });
        let large = vec![0; 65_536];
        assert_eq!(Step::Entry(&large).encode_into(&mut Vec::new()), Err(WalkError::TooLarge(65_536)));
    }
}
