//! From entries to tiles and entry bundles (C2SP tlog-tiles). Pure.

use crate::frames;
use tlog::tile::{HEIGHT, Kind, TilePath, WIDTH};
use tlog::{CompactRange, Hash, hashes_from_bytes, hashes_to_bytes};

/// Levels of tiles that a tree of 64-bit size can have.
const LEVELS: u8 = 8;

/// A tile or an entry bundle with its content.
pub(crate) type Tile = (TilePath, Vec<u8>);

/// Builds the tiles of a growing tree; remembers the unfinished one of every level.
#[derive(Clone, Debug, Default)]
pub(crate) struct TileBuilder {
    range: CompactRange,
    /// The entries of the unfinished bundle, framed.
    entries: Vec<u8>,
    /// The hashes of the unfinished tile, by level.
    hashes: [Vec<Hash>; LEVELS as usize],
    /// Finished since they were last taken.
    full: Vec<Tile>,
}

impl TileBuilder {
    pub(crate) fn range(&self) -> &CompactRange {
        &self.range
    }

    pub(crate) fn size(&self) -> u64 {
        self.range.size()
    }

    /// Appends an entry; `false` when it is too long to be one.
    pub(crate) fn push(&mut self, entry: &[u8]) -> bool {
        frames::push(&mut self.entries, entry) && {
            self.push_leaf(tlog::leaf_hash(entry));
            true
        }
    }

    /// Appends the hashes of a bundle whose entries are gone: there are tiles of them, and no bundle. `false` when it is another
    /// one, or not whole.
    pub(crate) fn push_pruned(&mut self, number: u64, leaves: &[Hash]) -> bool {
        let fits = leaves.len() == usize::from(WIDTH) && self.size() == number.saturating_mul(u64::from(WIDTH));
        if fits {
            leaves.iter().for_each(|leaf| self.push_leaf(*leaf));
            self.full.retain(|(path, _)| *path != TilePath { kind: Kind::Entries, index: number, width: WIDTH });
        }
        fits
    }

    fn push_leaf(&mut self, leaf: Hash) {
        let Self { range, entries, hashes, full } = self;
        let index = range.size();
        range.push_visiting(leaf, |level, hash| {
            if level % HEIGHT != 0 {
                return;
            }
            let level = level / HEIGHT;
            let Some(tile) = hashes.get_mut(usize::from(level)) else { return };
            tile.push(hash);
            if tile.len() < usize::from(WIDTH) {
                return;
            }
            let index = index >> (u32::from(HEIGHT) * (u32::from(level) + 1));
            if level == 0 {
                let path = TilePath { kind: Kind::Entries, index, width: WIDTH };
                full.push((path, std::mem::take(entries)));
            }
            let path = TilePath { kind: Kind::Tile(level), index, width: WIDTH };
            full.push((path, hashes_to_bytes(tile)));
            tile.clear();
        });
    }

    /// Tiles finished since the last call.
    pub(crate) fn take_full(&mut self) -> Vec<Tile> {
        std::mem::take(&mut self.full)
    }

    /// The unfinished tiles that a tree of `old` entries does not have in the same width.
    pub(crate) fn partial(&self, old: u64) -> Vec<Tile> {
        partial_paths(self.size())
            .filter(|path| {
                let shift = shift(path.kind);
                old >> shift != self.size() >> shift
            })
            .map(|path| match path.kind {
                Kind::Entries => (path, self.entries.clone()),
                Kind::Tile(level) => {
                    (path, hashes_to_bytes(self.hashes.get(usize::from(level)).map_or(&[][..], Vec::as_slice)))
                }
            })
            .collect()
    }

    /// Takes up the work on a published tree. `None` when a tile that is needed is missing or is not of this tree.
    pub(crate) fn resume(range: &CompactRange, mut read: impl FnMut(&TilePath) -> Option<Vec<u8>>) -> Option<Self> {
        let mut builder = Self { range: range.clone(), ..Self::default() };
        for path in partial_paths(range.size()) {
            let bytes = read(&path)?;
            match path.kind {
                Kind::Entries => builder.entries = bytes,
                Kind::Tile(level) => {
                    let hashes = hashes_from_bytes(&bytes)?;
                    if hashes.len() != usize::from(path.width) {
                        return None;
                    }
                    *builder.hashes.get_mut(usize::from(level))? = hashes;
                }
            }
        }
        builder.fits_range().then_some(builder)
    }

    /// Whether the unfinished tiles hash to the roots in the range, and the entries to the tile of level 0.
    fn fits_range(&self) -> bool {
        let nodes = self.hashes.iter().rev().flat_map(|hashes| {
            let mut range = CompactRange::new();
            hashes.iter().for_each(|hash| range.push(*hash));
            range.nodes().to_vec()
        });
        let leaves = frames::iter(&self.entries).map(|entry| entry.ok().map(tlog::leaf_hash));
        let of_level_0 = self.hashes.iter().take(1).flatten().map(|hash| Some(*hash));
        nodes.eq(self.range.nodes().iter().copied()) && leaves.eq(of_level_0)
    }
}

/// The unfinished bundle and tiles of a tree.
fn partial_paths(size: u64) -> impl Iterator<Item = TilePath> {
    let kinds = std::iter::once(Kind::Entries).chain((0..LEVELS).map(Kind::Tile));
    kinds.filter_map(move |kind| {
        let hashes = size >> shift(kind);
        let width = u16::try_from(hashes % u64::from(WIDTH)).ok().filter(|width| *width > 0)?;
        Some(TilePath { kind, index: hashes / u64::from(WIDTH), width })
    })
}

fn shift(kind: Kind) -> u32 {
    match kind {
        Kind::Entries => 0,
        Kind::Tile(level) => u32::from(HEIGHT) * u32::from(level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use tlog::tile::{tiles_between, tiles_for_size};

    fn entry(i: u64) -> Vec<u8> {
        format!("entry {i}").into_bytes()
    }

    /// Publishes in steps of `step`, as a directory would see it.
    fn published(size: u64, step: u64) -> (TileBuilder, BTreeMap<TilePath, Vec<u8>>) {
        let (mut builder, mut files) = (TileBuilder::default(), BTreeMap::new());
        let mut old = 0;
        for i in 0..size {
            assert!(builder.push(&entry(i)));
            if (i + 1) % step == 0 || i + 1 == size {
                let new: BTreeMap<_, _> = builder.take_full().into_iter().chain(builder.partial(old)).collect();
                let expected: BTreeSet<TilePath> = tiles_between(old, i + 1).collect();
                assert_eq!(new.keys().copied().collect::<BTreeSet<_>>(), expected, "from {old} to {}", i + 1);
                files.extend(new);
                old = i + 1;
            }
        }
        (builder, files)
    }

    #[test]
    fn a_tree_has_the_tiles_that_the_specification_names() {
        for (size, step) in [(1, 1), (255, 100), (256, 256), (257, 64), (70_000, 999)] {
            let (_, files) = published(size, step);
            for path in tiles_for_size(size) {
                let bytes = files.get(&path).unwrap_or_else(|| panic!("{} is missing", path.to_path()));
                if path.kind == Kind::Entries {
                    let expected: Vec<Vec<u8>> = path.entries().map(entry).collect();
                    assert_eq!(tlog::bundle::decode(bytes).unwrap(), expected);
                } else {
                    assert_eq!(bytes.len(), 32 * usize::from(path.width));
                }
            }
        }
    }

    #[test]
    fn work_goes_on_from_published_tiles_alone() {
        let (builder, files) = published(66_000, 1_000);
        let mut resumed = TileBuilder::resume(builder.range(), |path| files.get(path).cloned()).unwrap();
        let mut straight = builder;
        for i in 66_000..66_300 {
            assert!(resumed.push(&entry(i)) && straight.push(&entry(i)));
        }
        assert_eq!(resumed.take_full(), straight.take_full());
        assert_eq!(resumed.partial(66_000), straight.partial(66_000));
        assert_eq!(resumed.range(), straight.range());
    }

    #[test]
    fn tiles_of_another_tree_are_not_taken_up() {
        let (builder, files) = published(66_000, 1_000);
        for path in partial_paths(66_000) {
            for byte in [3, 31] {
                let read = |p: &TilePath| {
                    let mut bytes = files.get(p).cloned()?;
                    if *p == path {
                        bytes[byte] ^= 1;
                    }
                    Some(bytes)
                };
                assert!(TileBuilder::resume(builder.range(), read).is_none(), "{}", path.to_path());
            }
            let missing = |p: &TilePath| files.get(p).filter(|_| *p != path).cloned();
            assert!(TileBuilder::resume(builder.range(), missing).is_none(), "{}", path.to_path());
        }
    }
}
