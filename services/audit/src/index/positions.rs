//! Which entries of a block: one bit each.

/// Entries in a block, and the unit in which the index grows. Few in the tests of this crate, so that a short log has several.
pub(crate) const BLOCK: u64 = if cfg!(test) { 64 } else { 4096 };
const WORDS: usize = 64;
/// As many are written one by one in less room than all bits.
const LISTED_MAX: usize = 255;
const BITMAP_BYTES: usize = WORDS * 8;

/// Positions within a block, 0 to 4095.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Positions([u64; WORDS]);

impl Default for Positions {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl Positions {
    pub(crate) fn insert(&mut self, position: u16) {
        if let Some(word) = self.0.get_mut(usize::from(position / 64)) {
            *word |= 1 << (position % 64);
        }
    }

    pub(crate) fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        (0..64_u16).zip(self.0).flat_map(|(at, word)| Bits(word).map(move |bit| at * 64 + bit))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        if self.len() <= LISTED_MAX {
            self.iter().flat_map(u16::to_be_bytes).collect()
        } else {
            self.0.iter().flat_map(|word| word.to_be_bytes()).collect()
        }
    }

    /// `None` when the bytes are not what [`Positions::to_bytes`] writes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut all = Self::default();
        if bytes.len() == BITMAP_BYTES {
            for (word, bytes) in all.0.iter_mut().zip(bytes.chunks_exact(8)) {
                *word = u64::from_be_bytes(bytes.try_into().ok()?);
            }
        } else {
            for pair in bytes.chunks(2) {
                all.insert(u16::from_be_bytes(pair.try_into().ok()?));
            }
        }
        (all.to_bytes() == bytes).then_some(all)
    }
}

/// The places of the bits that are set, from both ends.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let bit = self.0.trailing_zeros();
        // The lowest goes; none of none.
        self.0 &= self.0.wrapping_sub(1);
        u16::try_from(bit).ok().filter(|bit| *bit < 64)
    }
}

impl DoubleEndedIterator for Bits {
    fn next_back(&mut self) -> Option<u16> {
        let bit = 63_u32.checked_sub(self.0.leading_zeros())?;
        self.0 &= !(1 << bit);
        u16::try_from(bit).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(positions in prop::collection::btree_set(0..4096_u16, 0..600)) {
            let mut all = Positions::default();
            positions.iter().for_each(|position| all.insert(*position));
            prop_assert_eq!(Positions::from_bytes(&all.to_bytes()), Some(all.clone()));
            prop_assert_eq!(all.iter().collect::<Vec<_>>(), positions.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(all.iter().rev().collect::<Vec<_>>(), positions.iter().rev().copied().collect::<Vec<_>>());
            prop_assert_eq!(all.len(), positions.len());
        }

        #[test]
        fn what_is_read_has_one_spelling(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(all) = Positions::from_bytes(&bytes) {
                prop_assert_eq!(all.to_bytes(), bytes);
            }
        }
    }
}
