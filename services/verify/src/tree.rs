//! The tree that the entries make, and the stored hashes held against it.

use crate::bundle::Problem;
use crate::bundle::differences;
use crate::findings::Findings;
use crate::store::{Store, Stored};
use crate::verdict::Point;
use std::ops::Range;
use tlog::tile::{HEIGHT, Kind, TilePath, WIDTH};
use tlog::{CompactRange, HASH_BYTES, Hash, hashes_from_bytes};

const TILE_BYTES_MAX: usize = WIDTH as usize * HASH_BYTES;
/// Tile levels of a tree of 64-bit size.
const LEVELS: u8 = 8;

/// Grows leaf by leaf, and holds of every tile level above 0 the tile that is being filled.
#[derive(Debug)]
pub struct Tree {
    range: CompactRange,
    filling: Vec<Vec<Hash>>,
}

impl Tree {
    pub fn new() -> Self {
        Self { range: CompactRange::new(), filling: vec![Vec::new(); usize::from(LEVELS)] }
    }

    pub fn push(&mut self, leaf: Hash) {
        let filling = &mut self.filling;
        self.range.push_visiting(leaf, |level, hash| fill(filling, level, hash));
    }

    /// Goes on behind a full tile of which only the root is known.
    pub fn push_tile_root(&mut self, root: Hash) -> bool {
        let filling = &mut self.filling;
        self.range.push_subtree(HEIGHT, root, |level, hash| fill(filling, level, hash))
    }

    pub fn size(&self) -> u64 {
        self.range.size()
    }

    pub fn root(&self) -> Hash {
        self.range.root()
    }

    /// The root if these leaves came next.
    pub fn root_with(&self, leaves: &[Hash]) -> Hash {
        let mut range = self.range.clone();
        leaves.iter().for_each(|leaf| range.push(*leaf));
        range.root()
    }

    /// The tiles above level 0 that have become full, once each.
    pub fn take_full(&mut self) -> Vec<(TilePath, Vec<Hash>)> {
        self.take(|hashes| hashes.len() == usize::from(WIDTH))
    }

    /// The tiles above level 0 that are partial at the end of the log.
    pub fn take_partial(&mut self) -> Vec<(TilePath, Vec<Hash>)> {
        self.take(|hashes| !hashes.is_empty())
    }

    fn take(&mut self, ready: impl Fn(&[Hash]) -> bool) -> Vec<(TilePath, Vec<Hash>)> {
        let size = self.range.size();
        let tiles = (0..LEVELS).zip(&mut self.filling).filter(|(_, hashes)| ready(hashes)).map(|(level, hashes)| {
            let hashes = std::mem::take(hashes);
            let width = u16::try_from(hashes.len()).unwrap_or(WIDTH);
            let count = size >> (u32::from(HEIGHT) * u32::from(level));
            let index = (count - u64::from(width)) / u64::from(WIDTH);
            (TilePath { kind: Kind::Tile(level), index, width }, hashes)
        });
        tiles.collect()
    }
}

fn fill(filling: &mut [Vec<Hash>], level: u8, hash: Hash) {
    if level > 0
        && level.is_multiple_of(HEIGHT)
        && let Some(tile) = filling.get_mut(usize::from(level / HEIGHT))
    {
        tile.push(hash);
    }
}

/// The root over the hashes of a tile.
pub fn root_of(hashes: &[Hash]) -> Hash {
    let mut range = CompactRange::new();
    hashes.iter().for_each(|hash| range.push(*hash));
    range.root()
}

/// Reads a hash tile.
///
/// # Errors
/// When it is missing, or is not as long as it must be.
pub fn read_tile(store: &Store, path: TilePath) -> Result<Vec<Hash>, Problem> {
    let (mut bytes, of_full) = match store.read_tile(path, TILE_BYTES_MAX) {
        Stored::Bytes { bytes, of_full } => (bytes, of_full),
        Stored::Missing => return Err(Problem::Missing),
        Stored::Unreadable(why) => return Err(Problem::Damaged(format!("cannot be read: {why}"))),
    };
    let expected = usize::from(path.width) * HASH_BYTES;
    if of_full {
        bytes.truncate(expected);
    }
    let found = bytes.len();
    hashes_from_bytes(&bytes)
        .filter(|_| found == expected)
        .ok_or_else(|| Problem::Damaged(format!("{found} bytes; must have {expected}")))
}

/// The tile that holds the root of the full tile `index` of level 0, and that root, if it is stored.
pub fn stored_root(store: &Store, index: u64, log_size: u64) -> Option<Hash> {
    let (full, width) = (log_size >> HEIGHT, u64::from(WIDTH));
    let (above, at) = (index / width, index % width);
    let held = full.checked_sub(above * width)?.min(width);
    let path = TilePath { kind: Kind::Tile(1), index: above, width: u16::try_from(held).ok()? };
    if at >= held {
        return None;
    }
    read_tile(store, path).ok()?.get(usize::try_from(at).ok()?).copied()
}

/// Tells of a tile that cannot be used.
pub fn tell_problem(path: TilePath, problem: &Problem, findings: &mut Findings) {
    match problem {
        Problem::Missing => findings.missing(path, path.entries()),
        Problem::Damaged(why) => {
            findings.of(Point::Tree).add(path.entries(), format!("hash tile `{}`: {why}", path.to_path()));
        }
    }
}

/// Tells of the hashes of a tile that do not follow from what is below them.
pub fn tell_differences(path: TilePath, stored: &[Hash], expected: &[Hash], findings: &mut Findings) {
    for run in differences(stored, expected) {
        let what = format!("hash tile `{}` does not follow from the entries", path.to_path());
        findings.of(Point::Tree).add(below(path, &run), what);
    }
}

/// The entries below some hashes of a tile.
fn below(path: TilePath, hashes: &Range<usize>) -> Range<u64> {
    let all = path.entries();
    let each = (all.end - all.start) / u64::from(path.width.max(1));
    let at = |position: usize| all.start.saturating_add(each.saturating_mul(position as u64));
    at(hashes.start)..at(hashes.end)
}

/// Compares a tile above level 0 with the tree.
pub fn check_tile(store: &Store, path: TilePath, expected: &[Hash], findings: &mut Findings) {
    match read_tile(store, path) {
        Ok(stored) => tell_differences(path, &stored, expected, findings),
        Err(problem) => tell_problem(path, &problem, findings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tlog::leaf_hash;
    use tlog::tile::tiles_for_size;

    /// Enough entries for a partial tile on level 2.
    #[test]
    fn every_tile_above_the_leaves_comes_once() {
        let (size, leaf) = (65_800, leaf_hash(b"x"));
        let mut tree = Tree::new();
        let mut tiles = Vec::new();
        for at in 1..=size {
            tree.push(leaf);
            if at % 256 == 0 {
                tiles.extend(tree.take_full());
            }
        }
        tiles.extend(tree.take_partial());
        let mut paths: Vec<_> = tiles.iter().map(|(path, _)| *path).collect();
        paths.sort_unstable();
        let above = |path: &TilePath| !matches!(path.kind, Kind::Entries | Kind::Tile(0));
        assert_eq!(paths, tiles_for_size(size).filter(above).collect::<Vec<_>>());
        let (full, rest): (Vec<_>, Vec<_>) = tiles.into_iter().partition(|(path, _)| path.is_full());
        let top = rest.iter().find(|(path, _)| path.kind == Kind::Tile(2)).unwrap();
        assert_eq!(top.1, [root_of(&full[0].1)]);
        assert_eq!(full[0].1, [root_of(&[leaf; 256]); 256]);
    }
}
