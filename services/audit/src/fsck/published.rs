//! The published directory beside the store.

use super::findings::Findings;
use crate::publish::{CHECKPOINT_FILE, CHECKPOINTS_DIR, checkpoint_path, files, parse_note};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tlog::tile::{HEIGHT, Kind, TilePath, WIDTH};
use tlog::{Hash, bundle, hashes_from_bytes};

/// Compares published files with what the store says, entry by entry.
#[derive(Debug)]
pub(super) struct Published {
    dir: PathBuf,
    /// Of the tree that `checkpoint` names.
    size: u64,
    /// Sizes of kept checkpoints that the store has not spoken of yet.
    kept: BTreeSet<u64>,
    bundle: Option<(u64, Vec<Vec<u8>>)>,
    /// The tile last read, by level.
    tiles: [Option<(u64, Vec<Hash>)>; 8],
}

impl Published {
    /// `store_size`: entries in the store.
    pub(super) fn open(dir: &Path, store_size: u64, findings: &mut Findings) -> Self {
        let everything = (0, store_size.saturating_sub(1));
        let size = match named_size(dir) {
            Ok(size) => size,
            Err(what) => {
                findings.add(everything, what);
                0
            }
        };
        if size > store_size {
            let what =
                "they are published, and the store does not have them: it was cut or restored from an older copy";
            findings.add((store_size, size - 1), what);
        }
        let kept = kept_sizes(dir);
        Self { dir: dir.to_owned(), size: size.min(store_size), kept, bundle: None, tiles: Default::default() }
    }

    /// The hash of an entry as the tile of level 0 has it.
    pub(super) fn leaf(&mut self, index: u64, findings: &mut Findings) -> Option<Hash> {
        (index < self.size).then(|| self.hash(0, index, findings)).flatten()
    }

    /// The entry as its bundle has it must be the stored one.
    pub(super) fn compare_entry(&mut self, index: u64, entry: &[u8], findings: &mut Findings) {
        if index >= self.size {
            return;
        }
        let (number, position) = split(index);
        if self.bundle.as_ref().is_none_or(|(held, _)| *held != number) {
            self.bundle = Some((number, self.read_bundle(number, findings)));
        }
        let found = self.bundle.as_ref().and_then(|(_, entries)| entries.get(position));
        if found.is_some_and(|found| found != entry) {
            findings.add((index, index), "the published entry is not the stored one");
        }
    }

    /// The root of a complete subtree must be where its tile has it. `level`: of RFC 6962, a multiple of 8.
    pub(super) fn compare_node(&mut self, level: u8, index: u64, hash: Hash, findings: &mut Findings) {
        let height = u32::from(level);
        if index >= self.size >> height {
            return;
        }
        let below = (index << height, ((index + 1) << height) - 1);
        if self.hash(level / HEIGHT, index, findings).is_some_and(|found| found != hash) {
            let what = format!("the published tile of level {} does not have their hash", level / HEIGHT);
            findings.add(below, what);
        }
    }

    /// The kept note must be the stored one.
    pub(super) fn compare_checkpoint(&mut self, size: u64, note: &str, findings: &mut Findings) {
        let below = (0, size.saturating_sub(1));
        // The one that is being published may not be there yet.
        if !self.kept.remove(&size) && size > self.size {
            return;
        }
        match files::read_optional(&self.dir.join(checkpoint_path(size))) {
            Ok(Some(found)) if found == note.as_bytes() => {}
            Ok(Some(_)) => {
                findings.add(below, format!("the published checkpoint of size {size} is not the stored one"))
            }
            Ok(None) => findings.add(below, format!("the checkpoint of size {size} is not published")),
            Err(error) => {
                findings.add(below, format!("the published checkpoint of size {size} cannot be read: {error}"))
            }
        }
    }

    /// After the last checkpoint of the store.
    pub(super) fn finish(&mut self, findings: &mut Findings) {
        for size in std::mem::take(&mut self.kept) {
            let what = format!("a checkpoint of size {size} is published, and the store has none");
            findings.add((0, size.saturating_sub(1)), what);
        }
    }

    fn hash(&mut self, level: u8, index: u64, findings: &mut Findings) -> Option<Hash> {
        let (number, position) = split(index);
        let held = self.tiles.get(usize::from(level))?.as_ref();
        if held.is_none_or(|(held, _)| *held != number) {
            let hashes = self.read_tile(level, number, findings);
            *self.tiles.get_mut(usize::from(level))? = Some((number, hashes));
        }
        self.tiles.get(usize::from(level))?.as_ref()?.1.get(position).copied()
    }

    fn tile(&self, kind: Kind, number: u64) -> TilePath {
        let level = match kind {
            Kind::Entries => 0,
            Kind::Tile(level) => level,
        };
        let hashes = self.size >> (u32::from(HEIGHT) * u32::from(level));
        let width = hashes.saturating_sub(number * u64::from(WIDTH)).min(u64::from(WIDTH));
        TilePath { kind, index: number, width: u16::try_from(width).unwrap_or(WIDTH) }
    }

    /// Empty, and a finding, when it cannot be used.
    fn read_tile(&self, level: u8, number: u64, findings: &mut Findings) -> Vec<Hash> {
        let tile = self.tile(Kind::Tile(level), number);
        let hashes = self.read(tile, findings).map(|bytes| hashes_from_bytes(&bytes));
        match hashes {
            Some(Some(hashes)) if hashes.len() >= usize::from(tile.width) => hashes,
            Some(_) => {
                findings.add(self.below(tile), format!("`{}` is not a tile of its size", tile.to_path()));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn read_bundle(&self, number: u64, findings: &mut Findings) -> Vec<Vec<u8>> {
        let tile = self.tile(Kind::Entries, number);
        let Some(bytes) = self.read(tile, findings) else { return Vec::new() };
        let (entries, _) = bundle::decode_lossy(&bytes);
        if entries.len() < usize::from(tile.width) {
            let from = tile.entries().start + entries.len() as u64;
            findings.add((from, self.below(tile).1), format!("`{}` breaks off", tile.to_path()));
        }
        entries.into_iter().map(<[u8]>::to_vec).collect()
    }

    /// The file, or the full one in its place.
    fn read(&self, tile: TilePath, findings: &mut Findings) -> Option<Vec<u8>> {
        let path = |tile: TilePath| self.dir.join(tile.to_path());
        let read = files::read_optional(&path(tile)).and_then(|found| match found {
            None if !tile.is_full() => files::read_optional(&path(TilePath { width: WIDTH, ..tile })),
            found => Ok(found),
        });
        let what = match read {
            Ok(Some(bytes)) => return Some(bytes),
            Ok(None) => format!("`{}` is missing", tile.to_path()),
            Err(error) => format!("`{}` cannot be read: {error}", tile.to_path()),
        };
        findings.add(self.below(tile), what);
        None
    }

    /// The entries that a tile stands for.
    fn below(&self, tile: TilePath) -> (u64, u64) {
        let entries = tile.entries();
        (entries.start, entries.end.saturating_sub(1).min(self.size.saturating_sub(1)))
    }
}

/// Tile and position in it.
fn split(index: u64) -> (u64, usize) {
    let width = u64::from(WIDTH);
    (index / width, usize::try_from(index % width).unwrap_or(usize::MAX))
}

fn named_size(dir: &Path) -> Result<u64, String> {
    let note = std::fs::read_to_string(dir.join(CHECKPOINT_FILE))
        .map_err(|error| format!("the published `{CHECKPOINT_FILE}` cannot be read: {error}"))?;
    let named = parse_note(&note).map_err(|error| format!("the published `{CHECKPOINT_FILE}` is none: {error}"))?;
    Ok(named.size)
}

fn kept_sizes(dir: &Path) -> BTreeSet<u64> {
    let names = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let groups = names(dir.join(CHECKPOINTS_DIR));
    let files = groups.flat_map(|group| names(group.path()));
    files.filter_map(|file| file.file_name().to_str()?.parse().ok()).collect()
}
