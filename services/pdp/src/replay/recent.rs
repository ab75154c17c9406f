//! What was needed of late.

use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// Two halves: when the young one is full it becomes the old one, and the old one goes. What is needed again stays.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    half_max: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// At most about `max` at a time.
    pub(super) fn new(max: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), half_max: max / 2 }
    }

    /// # Errors
    /// Those of `make`; then nothing is kept.
    pub(super) fn get_or_make<E>(&mut self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<&mut V, E> {
        let kept = if self.young.contains_key(&key) { None } else { self.old.remove(&key) };
        if self.young.len() >= self.half_max && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        match self.young.entry(key) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(kept.map_or_else(make, Ok)?)),
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_again_stays_and_the_rest_goes() {
        let mut recent = Recent::new(10);
        let mut made = 0;
        for n in 0..1_000 {
            for key in [0, n] {
                recent
                    .get_or_make(key, || {
                        made += 1;
                        Ok::<_, ()>(key)
                    })
                    .unwrap();
            }
            assert!(recent.len() <= 10);
        }
        assert_eq!(made, 1_000);
        assert_eq!(recent.get_or_make(1, || Err("gone")), Err("gone"));
    }
}
