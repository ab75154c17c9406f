//! Searching a published directory, with nothing else at hand.

use super::filter::Collector;
use super::{Page, Query};
use crate::error::ReadError;
use crate::publish::{CHECKPOINT_FILE, parse_note};
use std::path::Path;
use tlog::tile::{Kind, TilePath, WIDTH};

/// Searches the entry bundles of a published directory, up to its latest checkpoint. Blocking.
///
/// Nothing is verified, and nothing is recorded. Principals are references: the directory of names is not published.
///
/// # Errors
/// When a file is missing or is not what its name says.
pub fn offline(dir: &Path, query: &Query) -> Result<Page, ReadError> {
    let size = published_size(dir)?;
    let Some((first, last)) = query.indices(size) else { return Ok(Page { size, ..Page::default() }) };
    let width = u64::from(WIDTH);
    let mut collector = Collector::new(query, query.principal.clone());
    let (low, high) = (first / width, last / width);
    let count = high - low + 1;
    for step in 0..count {
        let bundle = if query.newest_first { high - step } else { low + step };
        let bytes = read_bundle(dir, bundle, size)?;
        let mut entries: Vec<(u64, &[u8])> = (bundle * width..).zip(decode(dir, bundle, size, &bytes)?).collect();
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
    Ok(collector.finish(if query.newest_first { first } else { last }, size))
}

fn published_size(dir: &Path) -> Result<u64, ReadError> {
    let path = dir.join(CHECKPOINT_FILE);
    let note = std::fs::read_to_string(&path).map_err(|source| ReadError::File { path: path.clone(), source })?;
    let checkpoint = parse_note(&note)
        .map_err(|what| ReadError::Published { path, what: format!("is not a checkpoint: {what}") })?;
    Ok(checkpoint.size)
}

fn bundle_path(index: u64, size: u64) -> TilePath {
    let entries = size.saturating_sub(index * u64::from(WIDTH)).min(u64::from(WIDTH));
    TilePath { kind: Kind::Entries, index, width: u16::try_from(entries).unwrap_or(WIDTH) }
}

fn read_bundle(dir: &Path, index: u64, size: u64) -> Result<Vec<u8>, ReadError> {
    let tile = bundle_path(index, size);
    let path = dir.join(tile.to_path());
    match std::fs::read(&path) {
        Ok(bytes) => Ok(bytes),
        // A partial bundle may have been replaced by the full one meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !tile.is_full() => {
            let full = dir.join(TilePath { width: WIDTH, ..tile }.to_path());
            std::fs::read(full).map_err(|source| ReadError::File { path, source })
        }
        Err(source) => Err(ReadError::File { path, source }),
    }
}

fn decode<'b>(dir: &Path, index: u64, size: u64, bytes: &'b [u8]) -> Result<Vec<&'b [u8]>, ReadError> {
    let tile = bundle_path(index, size);
    let fault = |what: String| ReadError::Published { path: dir.join(tile.to_path()), what };
    let mut entries = tlog::bundle::decode(bytes).map_err(|e| fault(format!("is not an entry bundle: {e}")))?;
    if entries.len() < usize::from(tile.width) {
        return Err(fault(format!("has {} entries in place of {}", entries.len(), tile.width)));
    }
    entries.truncate(usize::from(tile.width));
    Ok(entries)
}
