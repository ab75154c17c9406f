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

/// Ascending, all that the pruning that counts speaks of. Rows of which it does not are left out, and the broker's log says so.
///
/// # Errors
/// When the store cannot be read; the first that is missing or is another one.
pub(crate) async fn carried(reader: &Reader) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
    Ok(carried_under(reader).await?.map_or_else(Vec::new, |(_, carried)| carried))
}

/// The same, with the pruning that speaks of them, both at the same moment.
///
/// # Errors
/// As [`carried`].
pub(crate) async fn carried_under(reader: &Reader) -> Result<Option<(Pruning, Vec<(u64, Vec<u8>)>)>, ReadError> {
    let (under, rows) = reader.carried_rows().await?;
    let said = match under {
        Some(index) => read_at(reader, index).await?,
        None => None,
    };
    if under.is_some() && said.is_none() {
        return Err(ReadError::Damaged { first_index: 0, last_index: under.unwrap_or_default() });
    }
    let is_said = |index: u64| said.as_ref().is_some_and(|said| said.carried.contains(&index));
    let (mut rows, strange): (BTreeMap<u64, Vec<u8>>, BTreeMap<_, _>) =
        rows.into_iter().partition(|(index, _)| is_said(*index));
    if let Some(index) = strange.keys().next() {
        tracing::error!(
            index,
            rows = strange.len(),
            "the store's table `carried` has rows of which no pruning speaks: they count for nothing, and somebody else has written to \
             the store; run `millgate audit fsck`"
        );
    }
    let Some(said) = said else { return Ok(None) };
    let (mut carried, mut tile) = (Vec::new(), None);
    for index in &said.carried {
        let leaf = leaf(reader, *index, &mut tile).await?;
        match rows.remove(index).filter(|bytes| leaf == Some(leaf_hash(bytes))) {
            Some(bytes) => carried.push((*index, bytes)),
            None => return Err(ReadError::Damaged { first_index: *index, last_index: *index }),
        }
    }
    Ok(Some((said, carried)))
}

/// The hash that took the entry's place; `tile` is that of the bundle that was looked at last.
async fn leaf(reader: &Reader, index: u64, tile: &mut Option<(u64, Vec<u8>)>) -> Result<Option<Hash>, ReadError> {
    let number = index / WIDTH;
    if tile.as_ref().is_none_or(|(known, _)| *known != number) {
        *tile = reader.leaves(number, 1).await?.into_iter().find(|(found, _)| *found == number);
    }
    let at = usize::try_from(index % WIDTH).unwrap_or(usize::MAX).saturating_mul(HASH_BYTES);
    let hash = tile.as_ref().and_then(|(_, hashes)| hashes.get(at..at.saturating_add(HASH_BYTES)));
    Ok(hash.and_then(hashes_from_bytes).and_then(|hashes| hashes.first().copied()))
}
