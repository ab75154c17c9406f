//! Who is on hold, as entries know them. An entry in which one of them takes part keeps all its values, whoever else it is of:
//! a commitment of several persons cannot be erased for one of them alone.

use super::{EraseError, Holds};
use crate::append::Log;
use crate::error::ReadError;
use crate::reader::Reader;
use crate::recover::entry_bytes;
use crate::store::StoreError;
use model::canonical::Members;
use model::entry::Entry;
use model::erasure::{Held, People};

impl Log {
    pub(crate) async fn held(&self, holds: &Holds) -> Result<Held, EraseError> {
        Ok(held_of(&self.inner.reader, holds).await?)
    }
}

/// Whoever has no reference takes part in no entry.
pub(crate) async fn held_of(reader: &Reader, holds: &Holds) -> Result<Held, StoreError> {
    let organisations = holds.organisations().map(str::to_owned).collect();
    let mut held = Held { organisations, ..Held::default() };
    for principal in holds.principals() {
        held.references.extend(reader.reference_of(principal).await?);
    }
    Ok(held)
}

/// Whether values behind this entry must stay. What cannot be understood could be of anybody.
pub(super) fn keeps(held: &Held, entry: &[u8]) -> bool {
    !held.is_empty() && Entry::parse(entry).map_or(true, |entry| held.keeps(&People::of(&entry)))
}

pub(super) async fn keeps_at(reader: &Reader, held: &Held, index: u64) -> Result<bool, ReadError> {
    if held.is_empty() {
        return Ok(false);
    }
    let entry = entry_bytes(reader, index).await?;
    Ok(entry.is_none_or(|entry| keeps(held, &entry)))
}

pub(super) fn say(held: &Held, members: &mut Members) {
    if !held.references.is_empty() {
        members.texts("held", &held.references);
    }
    if !held.organisations.is_empty() {
        members.texts("held_organisations", &held.organisations);
    }
}
