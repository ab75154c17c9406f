//! Which allowed decisions still wait for their outcome.

use std::collections::BTreeSet;

/// Indices of allowed decisions without an outcome.
///
/// Stored with every batch, so it is kept small: ascending differences as LEB128, one or two bytes per open exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenSet(BTreeSet<u64>);

impl OpenSet {
    pub fn contains(&self, index: u64) -> bool {
        self.0.contains(&index)
    }

    pub fn insert(&mut self, index: u64) {
        self.0.insert(index);
    }

    /// `false` when it was not open.
    pub fn remove(&mut self, index: u64) -> bool {
        self.0.remove(&index)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().copied()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() * 2);
        let mut last = 0;
        for index in self.iter() {
            push_varint(&mut out, index - last);
            last = index;
        }
        out
    }

    /// The inverse of [`OpenSet::to_bytes`]. `None` when the bytes are not what it writes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut set = Self::default();
        let (mut rest, mut last) = (bytes, 0_u64);
        while !rest.is_empty() {
            let difference = take_varint(&mut rest)?;
            if difference == 0 && !set.is_empty() {
                return None;
            }
            last = last.checked_add(difference)?;
            set.insert(last);
        }
        (set.to_bytes() == bytes).then_some(set)
    }
}

impl FromIterator<u64> for OpenSet {
    fn from_iter<I: IntoIterator<Item = u64>>(indices: I) -> Self {
        Self(indices.into_iter().collect())
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let part = u64::from(byte & 0x7f);
        if part.leading_zeros() < shift {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::OpenSet;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(indices in prop::collection::btree_set(any::<u64>(), 0..40)) {
            let set: OpenSet = indices.into_iter().collect();
            prop_assert_eq!(OpenSet::from_bytes(&set.to_bytes()), Some(set));
        }

        #[test]
        fn what_is_read_is_the_only_spelling(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(set) = OpenSet::from_bytes(&bytes) {
                prop_assert_eq!(set.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn neighbours_take_one_byte() {
        let set: OpenSet = (1_000_000..1_000_064).collect();
        assert_eq!(set.to_bytes().len(), 3 + 63);
        for bad in [&[0x80][..], &[1, 0], &[0x80, 0x00], &[0xff; 10]] {
            assert_eq!(OpenSet::from_bytes(bad), None, "{bad:?}");
        }
    }
}
