//! Inclusion and consistency proofs (RFC 6962 sections 2.1.1 and 2.1.2): made from stored subtrees, checked from nothing.
//!
//! The siblings of a node on its way to the root fall in two parts. Below the level where its path meets that of the last
//! leaf, every level has a sibling, left or right (*inner*). Above, the path runs along the right edge of the tree and
//! only left siblings exist (*border*). Their numbers follow from the index and the size, so a proof has one length.

use crate::{Hash, empty_root, node_hash};

/// Why a proof does not hold, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("entry {index} is not in a tree of {size} entries")]
    Index { index: u64, size: u64 },
    #[error("a tree of {new} entries cannot grow from one of {old}")]
    Shrunk { old: u64, new: u64 },
    #[error("the proof has {found} hashes; it must have {expected}")]
    Length { expected: usize, found: usize },
    #[error("the proof does not lead to the root")]
    Root,
    #[error("the proof does not lead to the root of the older tree")]
    OldRoot,
    #[error("the stored subtree {index} of level {level} is missing")]
    MissingNode { level: u8, index: u64 },
}

/// A node on its way to the root of a tree of `size` leaves.
#[derive(Clone, Copy)]
struct Path {
    level: u32,
    /// Position within the level.
    index: u64,
    /// Levels with a sibling on either side.
    inner: u32,
    size: u64,
}

impl Path {
    /// INVARIANT for callers: `(index << level) < size`.
    fn new(level: u32, index: u64, size: u64) -> Self {
        let last = size.saturating_sub(1).checked_shr(level).unwrap_or(0);
        Self { level, index, inner: u64::BITS - (index ^ last).leading_zeros(), size }
    }

    /// The index after climbing `levels`.
    fn above(self, levels: u32) -> u64 {
        self.index.checked_shr(levels).unwrap_or(0)
    }

    fn len(self) -> usize {
        usize::try_from(self.inner + self.above(self.inner).count_ones()).unwrap_or(usize::MAX)
    }

    fn root(self, node: Hash, siblings: &[Hash]) -> Hash {
        let inner = usize::try_from(self.inner).unwrap_or(usize::MAX);
        let (inner, border) = siblings.split_at_checked(inner).unwrap_or((siblings, &[]));
        let node = (0..).zip(inner).fold(node, |node, (level, sibling)| {
            if self.above(level) & 1 == 0 { node_hash(node, *sibling) } else { node_hash(*sibling, node) }
        });
        border.iter().fold(node, |node, left| node_hash(*left, node))
    }

    /// Only the siblings on the left: what was there before anything right of the node.
    fn root_without_right(self, node: Hash, siblings: &[Hash]) -> Hash {
        let inner = usize::try_from(self.inner).unwrap_or(usize::MAX);
        (0..).zip(siblings).fold(node, |node, (level, sibling)| {
            let left = usize::try_from(level).is_ok_and(|l| l >= inner) || self.above(level) & 1 == 1;
            if left { node_hash(*sibling, node) } else { node }
        })
    }

    fn siblings(self, fetch: &mut impl FnMut(u8, u64) -> Option<Hash>) -> Result<Vec<Hash>, ProofError> {
        let mut siblings = Vec::with_capacity(self.len());
        for step in 0..u64::BITS - self.level {
            let (level, index) = (self.level + step, self.above(step));
            if step < self.inner {
                siblings.push(subtree(level, index ^ 1, self.size, fetch)?);
            } else if index & 1 == 1 {
                siblings.push(stored(level, index - 1, fetch)?);
            }
        }
        Ok(siblings)
    }
}

fn stored(level: u32, index: u64, fetch: &mut impl FnMut(u8, u64) -> Option<Hash>) -> Result<Hash, ProofError> {
    let level = u8::try_from(level).unwrap_or(u8::MAX);
    fetch(level, index).ok_or(ProofError::MissingNode { level, index })
}

/// The hash over the leaves of a subtree that are within the tree. The rightmost may be incomplete: then it is made of
/// complete ones, one per bit of what it holds.
fn subtree(
    level: u32,
    index: u64,
    size: u64,
    fetch: &mut impl FnMut(u8, u64) -> Option<Hash>,
) -> Result<Hash, ProofError> {
    let start = index.checked_shl(level).unwrap_or(u64::MAX);
    let held = size.saturating_sub(start);
    if held >> level > 0 {
        return stored(level, index, fetch);
    }
    let mut root = None;
    for below in (0..level).filter(|below| held >> below & 1 == 1) {
        let node = stored(below, (size >> below) - 1, fetch)?;
        root = Some(root.map_or(node, |right| node_hash(node, right)));
    }
    root.ok_or(ProofError::Index { index: start, size })
}

fn expect_length(expected: usize, proof: &[Hash]) -> Result<(), ProofError> {
    let found = proof.len();
    if found == expected { Ok(()) } else { Err(ProofError::Length { expected, found }) }
}

/// Checks that `leaf` is entry `index` of the tree of `size` entries with root `root`.
///
/// # Errors
/// Whatever of it does not hold.
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: Hash) -> Result<(), ProofError> {
    if root_from_inclusion(leaf, index, size, proof)? == root { Ok(()) } else { Err(ProofError::Root) }
}

/// The root of the tree of `size` entries in which `leaf` is entry `index`, if the proof is one.
///
/// # Errors
/// When there is no such entry, or the proof has another length.
pub fn root_from_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash]) -> Result<Hash, ProofError> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    let path = Path::new(0, index, size);
    expect_length(path.len(), proof)?;
    Ok(path.root(leaf, proof))
}

/// Makes the proof that entry `index` is in the tree of `size` entries. `fetch(level, index)` gives the stored hash of a
/// complete subtree of height `level`; it is asked for nothing that the tree does not have.
///
/// # Errors
/// When the entry is not in the tree, or a subtree is missing.
pub fn inclusion(
    index: u64,
    size: u64,
    mut fetch: impl FnMut(u8, u64) -> Option<Hash>,
) -> Result<Vec<Hash>, ProofError> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    Path::new(0, index, size).siblings(&mut fetch)
}

/// The last complete subtree of the older tree: where its right edge begins to climb within the newer one.
/// INVARIANT for callers: `0 < old <= new`.
fn edge(old: u64, new: u64) -> Path {
    let level = old.trailing_zeros();
    Path::new(level, (old >> level).saturating_sub(1), new)
}

/// Checks that the tree of `new_size` begins with all entries of the tree of `old_size`. The empty tree is the beginning
/// of every tree; its proof is empty, like that between equal trees.
///
/// # Errors
/// Whatever of it does not hold.
pub fn verify_consistency(
    old_size: u64,
    old_root: Hash,
    new_size: u64,
    new_root: Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Shrunk { old: old_size, new: new_size });
    }
    if old_size == 0 || old_size == new_size {
        expect_length(0, proof)?;
        let expected = if old_size == 0 { empty_root() } else { new_root };
        return if old_root == expected { Ok(()) } else { Err(ProofError::OldRoot) };
    }
    let path = edge(old_size, new_size);
    // A complete older tree is its own last subtree, and its root is known.
    let (seed, siblings) = match proof.split_first() {
        _ if old_size.is_power_of_two() => (old_root, proof),
        Some((seed, siblings)) => (*seed, siblings),
        None => return Err(ProofError::Length { expected: path.len() + 1, found: 0 }),
    };
    expect_length(path.len() + usize::from(!old_size.is_power_of_two()), proof)?;
    if path.root_without_right(seed, siblings) != old_root {
        return Err(ProofError::OldRoot);
    }
    if path.root(seed, siblings) == new_root { Ok(()) } else { Err(ProofError::Root) }
}

/// Makes the proof that the tree of `old_size` is the beginning of that of `new_size`; `fetch` as for [`inclusion`].
///
/// # Errors
/// When the newer tree is the smaller one, or a subtree is missing.
pub fn consistency(
    old_size: u64,
    new_size: u64,
    mut fetch: impl FnMut(u8, u64) -> Option<Hash>,
) -> Result<Vec<Hash>, ProofError> {
    if old_size > new_size {
        return Err(ProofError::Shrunk { old: old_size, new: new_size });
    }
    if old_size == 0 || old_size == new_size {
        return Ok(Vec::new());
    }
    let path = edge(old_size, new_size);
    let mut proof = path.siblings(&mut fetch)?;
    if !old_size.is_power_of_two() {
        proof.insert(0, stored(path.level, path.index, &mut fetch)?);
    }
    Ok(proof)
}

#[cfg(test)]
mod tests;
