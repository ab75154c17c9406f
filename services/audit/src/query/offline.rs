//! Searching a published directory, with nothing else at hand.

use super::filter::Collector;
use super::{Page, Query};
use crate::error::ReadError;
use crate::published::Publication;
use std::path::Path;
use tlog::tile::WIDTH;

/// Searches the entry bundles of a published directory, up to its latest checkpoint. Blocking.
///
/// Nothing is verified, and nothing is recorded. Principals are references: the directory of names is not published.
///
/// # Errors
/// When a file is missing or is not what its name says.
pub fn offline(dir: &Path, query: &Query) -> Result<Page, ReadError> {
    if query.open_at.is_some() {
        let what =
            String::from("is searched entry by entry: what was open at a moment can be asked of the broker alone");
        return Err(ReadError::Published { path: dir.into(), what });
    }
    let mut published = Publication::open(dir)?;
    let size = published.size();
    let pruned = query.pruned(published.pruned());
    let empty = Page { size, pruned, ..Page::default() };
    let Some((first, last)) = query.indices(size) else { return Ok(empty) };
    let width = u64::from(WIDTH);
    let mut collector = Collector::new(query, query.principal.clone());
    let (low, high) = (first / width, last / width);
    let count = high - low + 1;
    for step in 0..count {
        let bundle = if query.newest_first { high - step } else { low + step };
        let Some(found) = published.kept_bundle(bundle)? else { continue };
        let mut entries: Vec<(u64, &[u8])> = (bundle * width..).zip(found).collect();
        if query.newest_first {
            entries.reverse();
        }
        for (index, entry) in entries {
            if (first..=last).contains(&index) && !collector.is_full() {
                collector.offer(index, entry);
            }
        }
        if collector.is_full() {
            break;
        }
    }
    Ok(Page { pruned, ..collector.finish(if query.newest_first { first } else { last }, size) })
}
