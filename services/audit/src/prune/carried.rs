//! Entries that are carried forward, as far as rows of the store are what was logged.
//!
//! Whoever can write to the store can put rows there. So only those count that the entry of the pruning speaks of, and with the
//! hash that took the entry's place. What this does **not** do: it does not ask whether that hash is under a signed checkpoint;
//! whoever signs or publishes does (`vouch.rs`).

use super::read_at;
use crate::error::ReadError;
use crate::reader::Reader;
use model::pruning::{Pruning, WIDTH};
use std::collections::BTreeMap;
use tlog::{HASH_BYTES, Hash, hashes_from_bytes, leaf_hash};

/// Entries by index, ascending.
pub(crate) type Carried = Vec<(u64, Vec<u8>)>;

/// All that the pruning that counts speaks of. Rows of which it does not are left out, and the broker's log says so.
///
/// # Errors
/// When the store cannot be read; the first that is missing or is another one.
pub(crate) async fn carried(reader: &Reader) -> Result<Carried, ReadError> {
    Ok(carried_under(reader).await?.map_or_else(Vec::new, |(_, carried)| carried))
}

/// The same, with the pruning that speaks of them, both at the same moment.
///
/// # Errors
/// As [`carried`].
pub(crate) async fn carried_under(reader: &Reader) -> Result<Option<(Pruning, Carried)>, ReadError> {
    let mut rows = Rows::read(reader).await?;
    let is_said = |index: &u64| rows.said.as_ref().is_some_and(|said| said.carried.contains(index));
    let strange: Vec<u64> = rows.stored.keys().copied().filter(|index| !is_said(index)).collect();
    if let Some(index) = strange.first() {
        tracing::error!(
            index,
            rows = strange.len(),
            "the store's table `carried` has rows of which no pruning speaks: they count for nothing, and somebody else has written to \
             the store; run `millgate audit fsck`"
        );
    }
    let Some(said) = rows.said.take() else { return Ok(None) };
    let mut carried = Vec::new();
    for index in &said.carried {
        carried.push((*index, rows.take(reader, *index).await?));
    }
    Ok(Some((said, carried)))
}

/// The entry of this index, if the pruning that counts carries it forward.
///
/// # Errors
/// As [`carried`], of this one.
pub(crate) async fn carried_entry(reader: &Reader, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let mut rows = Rows::read(reader).await?;
    match rows.said.as_ref().is_some_and(|said| said.carried.contains(&index)) {
        true => rows.take(reader, index).await.map(Some),
        false => Ok(None),
    }
}

/// What the store has, and the pruning that was written with it.
struct Rows {
    said: Option<Pruning>,
    stored: BTreeMap<u64, Vec<u8>>,
    /// Number and hashes of the bundle that was looked at last.
    tile: Option<(u64, Vec<u8>)>,
}

impl Rows {
    async fn read(reader: &Reader) -> Result<Self, ReadError> {
        let (under, rows) = reader.carried_rows().await?;
        let said = match under {
            None => None,
            Some(index) => {
                let said = read_at(reader, index).await?;
                Some(said.ok_or(ReadError::Damaged { first_index: 0, last_index: index })?)
            }
        };
        Ok(Self { said, stored: rows.into_iter().collect(), tile: None })
    }

    /// The entry, if its row has the hash that took its place.
    async fn take(&mut self, reader: &Reader, index: u64) -> Result<Vec<u8>, ReadError> {
        let leaf = self.leaf(reader, index).await?;
        let row = self.stored.remove(&index).filter(|bytes| leaf == Some(leaf_hash(bytes)));
        row.ok_or(ReadError::Damaged { first_index: index, last_index: index })
    }

    async fn leaf(&mut self, reader: &Reader, index: u64) -> Result<Option<Hash>, ReadError> {
        let number = index / WIDTH;
        if self.tile.as_ref().is_none_or(|(known, _)| *known != number) {
            self.tile = reader.leaves(number, 1).await?.into_iter().find(|(found, _)| *found == number);
        }
        let at = usize::try_from(index % WIDTH).unwrap_or(usize::MAX).saturating_mul(HASH_BYTES);
        let hash = self.tile.as_ref().and_then(|(_, hashes)| hashes.get(at..at.saturating_add(HASH_BYTES)));
        Ok(hash.and_then(hashes_from_bytes).and_then(|hashes| hashes.first().copied()))
    }
}
