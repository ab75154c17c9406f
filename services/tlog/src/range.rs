//! The compact range: what has to be remembered of a tree to append to it and to know its root.

use crate::{HASH_BYTES, Hash, empty_root, hashes_from_bytes, hashes_to_bytes, node_hash};

/// Trees of 2^63 entries and more are refused: signed 64-bit databases could not count them, and `size + 1` may not wrap.
const SIZE_LIMIT: u64 = 1 << 63;

/// The roots of the largest complete subtrees that cover `0..size`, left to right: one per bit of the size.
///
/// Appending hashes one node per entry on average and allocates nothing after the first entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactRange {
    // INVARIANT: nodes.len() == size.count_ones(), size < SIZE_LIMIT
    size: u64,
    nodes: Vec<Hash>,
}

impl Default for CompactRange {
    fn default() -> Self {
        Self::new()
    }
}

impl CompactRange {
    pub fn new() -> Self {
        Self { size: 0, nodes: Vec::with_capacity(64) }
    }

    /// Appends one leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        self.push_visiting(leaf, |_, _| {});
    }

    /// Appends one leaf hash and names every complete subtree that this completes, the leaf itself (level 0) first.
    ///
    /// Level `8 * L` completes hash by hash what tlog-tiles stores at tile level `L`.
    pub fn push_visiting(&mut self, leaf: Hash, completed: impl FnMut(u8, Hash)) {
        self.merge(0, leaf, completed);
        self.size = self.size.saturating_add(1);
    }

    /// Appends `2^level` entries of which only the subtree's root is known, and names what this completes, the subtree
    /// itself first. Nothing happens, and the answer is `false`, when the range does not end where such a subtree begins.
    pub fn push_subtree(&mut self, level: u8, root: Hash, completed: impl FnMut(u8, Hash)) -> bool {
        let entries = 1_u64.checked_shl(u32::from(level)).unwrap_or(0);
        let aligned =
            entries > 0 && self.size.is_multiple_of(entries) && self.size < SIZE_LIMIT - entries.min(SIZE_LIMIT);
        if aligned {
            self.merge(level, root, completed);
            self.size += entries;
        }
        aligned
    }

    /// INVARIANT for callers: no node is smaller than the new one, and the size is counted afterwards.
    fn merge(&mut self, mut level: u8, mut node: Hash, mut completed: impl FnMut(u8, Hash)) {
        let mut rest = self.size >> level;
        completed(level, node);
        while rest & 1 == 1
            && let Some(left) = self.nodes.pop()
        {
            node = node_hash(left, node);
            level += 1;
            rest >>= 1;
            completed(level, node);
        }
        self.nodes.push(node);
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The Merkle tree hash over all leaves.
    pub fn root(&self) -> Hash {
        self.nodes.iter().rev().copied().reduce(|right, left| node_hash(left, right)).unwrap_or_else(empty_root)
    }

    /// Roots of the complete subtrees, the largest first.
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// 32 bytes per node, left to right. The size is not in them.
    pub fn to_bytes(&self) -> Vec<u8> {
        hashes_to_bytes(&self.nodes)
    }

    /// The inverse of [`CompactRange::to_bytes`]; `None` unless there are 32 bytes for every bit set in `size`.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let count = usize::try_from(size.count_ones()).ok()?;
        if size >= SIZE_LIMIT || bytes.len() != count * HASH_BYTES {
            return None;
        }
        let mut range = Self { size, ..Self::new() };
        range.nodes.extend(hashes_from_bytes(bytes)?);
        Some(range)
    }
}

/// The complete subtrees, as large as they can be, that stand for the entries `begin..end`, left to right: each as its level
/// and its number in that level. Pushed one after the other they make a range of `begin` entries one of `end`.
pub fn cover(begin: u64, end: u64) -> impl Iterator<Item = (u8, u64)> {
    let mut at = begin;
    std::iter::from_fn(move || {
        let left = end.checked_sub(at).filter(|left| *left > 0)?;
        let level = at.trailing_zeros().min(left.ilog2());
        let subtree = (u8::try_from(level).ok()?, at >> level);
        at = at.checked_add(1_u64.checked_shl(level)?)?;
        Some(subtree)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known;

    #[test]
    fn every_stretch_is_covered_by_few_subtrees() {
        let leaves = known::leaves(70);
        for begin in 0..=70 {
            for end in begin..=70 {
                let mut range = CompactRange::new();
                leaves[..begin as usize].iter().for_each(|leaf| range.push(*leaf));
                let mut count = 0;
                for (level, index) in cover(begin, end) {
                    let root = known::subtree(&leaves, level, index).unwrap();
                    assert!(range.push_subtree(level, root, |_, _| {}), "{begin}..{end}");
                    count += 1;
                }
                assert_eq!((range.size(), range.root()), (end, known::root(&leaves[..end as usize])));
                assert!(count <= 12, "{begin}..{end} takes {count}");
            }
        }
        assert_eq!(cover(0, u64::MAX).count(), 64);
        assert_eq!(cover(5, 5).chain(cover(6, 5)).count(), 0);
    }

    #[test]
    fn roots_are_those_of_the_reference_tree() {
        let mut range = CompactRange::new();
        assert_eq!(range.root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (leaf, root) in known::reference_leaves().into_iter().zip(known::ROOTS) {
            range.push(leaf);
            assert_eq!(range.root().to_string(), root, "size {}", range.size());
        }
    }

    #[test]
    fn roots_are_those_of_the_definition_after_every_restart() {
        let leaves = known::leaves(300);
        let mut range = CompactRange::new();
        for (i, leaf) in leaves.iter().enumerate() {
            assert_eq!(range.root(), known::root(&leaves[..i]), "size {i}");
            range = CompactRange::from_bytes(range.size(), &range.to_bytes()).unwrap();
            range.push(*leaf);
        }
        assert_eq!(range.nodes().len(), 4);
    }

    #[test]
    fn every_complete_subtree_is_named_once() {
        let leaves = known::leaves(70);
        let mut range = CompactRange::new();
        let mut seen = vec![Vec::new(); 8];
        for leaf in &leaves {
            range.push_visiting(*leaf, |level, hash| seen[usize::from(level)].push(hash));
        }
        for (level, hashes) in seen.iter().enumerate() {
            assert_eq!(hashes.len(), 70 >> level);
            for (index, hash) in hashes.iter().enumerate() {
                let level = u8::try_from(level).unwrap();
                assert_eq!(known::subtree(&leaves, level, index as u64), Some(*hash));
            }
        }
    }

    #[test]
    fn subtrees_stand_for_their_leaves() {
        let leaves = known::leaves(40);
        let (mut whole, mut parts) = (CompactRange::new(), CompactRange::new());
        leaves.iter().for_each(|leaf| whole.push(*leaf));
        leaves[..8].iter().for_each(|leaf| parts.push(*leaf));
        assert!(!parts.push_subtree(4, leaves[0], |_, _| {}));
        let mut seen = Vec::new();
        assert!(parts.push_subtree(3, known::root(&leaves[8..16]), |level, _| seen.push(level)));
        assert_eq!(seen, [3, 4]);
        assert!(parts.push_subtree(4, known::root(&leaves[16..32]), |_, _| {}));
        leaves[32..].iter().for_each(|leaf| parts.push(*leaf));
        assert_eq!(parts, whole);
        assert!(!CompactRange::new().push_subtree(63, leaves[0], |_, _| {}));
        assert!(!CompactRange::new().push_subtree(64, leaves[0], |_, _| {}));
    }

    #[test]
    fn stored_ranges_of_the_wrong_length_are_refused() {
        assert_eq!(CompactRange::from_bytes(3, &[0; 32]), None);
        assert_eq!(CompactRange::from_bytes(3, &[0; 65]), None);
        assert_eq!(CompactRange::from_bytes(0, &[0; 32]), None);
        assert_eq!(CompactRange::from_bytes(u64::MAX, &[0; 64 * 32]), None);
        assert_eq!(CompactRange::from_bytes(0, &[]), Some(CompactRange::new()));
    }
}
