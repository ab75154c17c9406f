//! Where tlog-tiles keeps what: paths of tiles and entry bundles, and which of them a tree of a given size has.

use crate::{HASH_BYTES, Hash, hashes_from_bytes, node_hash};
use std::ops::Range;

/// Tree levels per tile.
pub const HEIGHT: u8 = 8;
/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u16 = 256;
/// The specification counts tile levels to 63; a tree of 2^64 entries reaches 7.
const LEVEL_MAX: u8 = 63;
/// Levels that a tree of 64-bit size can have.
const LEVELS: u8 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Hashes of complete subtrees of height `8 * level`.
    Tile(u8),
    /// The entries behind a tile of level 0.
    Entries,
}

impl Kind {
    fn level(self) -> u8 {
        match self {
            Self::Tile(level) => level,
            Self::Entries => 0,
        }
    }
}

/// One tile or bundle: the `index`-th of its kind, with `width` hashes or entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    pub kind: Kind,
    pub index: u64,
    /// 1 to 256; below 256 the tile is partial.
    pub width: u16,
}

impl TilePath {
    pub fn is_full(&self) -> bool {
        self.width >= WIDTH
    }

    /// Indexes of the entries that it stands for. Beyond what 64 bits can count, the range is cut.
    pub fn entries(&self) -> Range<u64> {
        let level = u32::from(self.kind.level());
        let each = 256_u64.saturating_pow(level);
        let start = self.index.saturating_mul(256).saturating_mul(each);
        start..start.saturating_add(each.saturating_mul(u64::from(self.width)))
    }

    /// The path below the log's prefix: `tile/0/x001/067`, partial `tile/entries/x001/067.p/17`.
    pub fn to_path(&self) -> String {
        let kind = match self.kind {
            Kind::Tile(level) => level.to_string(),
            Kind::Entries => "entries".to_owned(),
        };
        let partial = if self.is_full() { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{kind}/{}{partial}", index_path(self.index))
    }

    /// The inverse of [`TilePath::to_path`]; nothing else is accepted.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => Kind::Tile(level.parse().ok().filter(|level| *level <= LEVEL_MAX)?),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().ok().filter(|width| (1..WIDTH).contains(width))?),
            None => (rest, WIDTH),
        };
        let tile = Self { kind, index: parse_index(index)?, width };
        // One spelling only: leading zeros, signs and needless groups end here.
        (tile.to_path() == path).then_some(tile)
    }
}

/// Groups of three digits, all but the last marked by `x`, so that a file never stands where a directory must.
fn index_path(index: u64) -> String {
    let last = format!("{:03}", index % 1000);
    match index / 1000 {
        0 => last,
        rest => index_groups(rest) + &last,
    }
}

fn index_groups(index: u64) -> String {
    let group = format!("x{:03}/", index % 1000);
    match index / 1000 {
        0 => group,
        rest => index_groups(rest) + &group,
    }
}

fn parse_index(text: &str) -> Option<u64> {
    text.split('/').try_fold(0_u64, |index, group| {
        let group: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok().filter(|group| *group < 1000)?;
        index.checked_mul(1000)?.checked_add(group)
    })
}

/// Every bundle and tile that a tree of `size` entries has: first the bundles, then level by level, left to right.
pub fn tiles_for_size(size: u64) -> impl Iterator<Item = TilePath> {
    tiles_between(0, size)
}

/// The bundles and tiles of the tree of `new` entries that the tree of `old` entries does not have already.
pub fn tiles_between(old: u64, new: u64) -> impl Iterator<Item = TilePath> {
    let kinds = std::iter::once(Kind::Entries).chain((0..LEVELS).map(Kind::Tile));
    kinds.flat_map(move |kind| tiles_of_kind(kind, old, new))
}

fn tiles_of_kind(kind: Kind, old: u64, new: u64) -> impl Iterator<Item = TilePath> {
    let shift = u32::from(HEIGHT) * u32::from(kind.level());
    let (old, new) = (old >> shift, new >> shift);
    let width = u64::from(WIDTH);
    let first = if new > old { old / width } else { new.div_ceil(width) };
    let full = (first..new / width).map(move |index| TilePath { kind, index, width: WIDTH });
    let partial = u16::try_from(new % width).ok().filter(|width| *width > 0 && new > old);
    full.chain(partial.map(|partial| TilePath { kind, index: new / width, width: partial }))
}

/// The tile of the tree of `size` entries that holds what the subtree `index` of height `level` follows from; `None` when
/// the tree does not have that subtree whole.
pub fn tile_of(level: u8, index: u64, size: u64) -> Option<TilePath> {
    let end = index.checked_add(1)?.checked_mul(1_u64.checked_shl(u32::from(level))?)?;
    if end > size {
        return None;
    }
    let (tile_level, within) = (level / HEIGHT, level % HEIGHT);
    let tile = (index << within) / u64::from(WIDTH);
    let held = (size >> (u32::from(HEIGHT) * u32::from(tile_level))) - tile * u64::from(WIDTH);
    let width = u16::try_from(held).unwrap_or(WIDTH).min(WIDTH);
    Some(TilePath { kind: Kind::Tile(tile_level), index: tile, width })
}

/// The subtree `index` of height `level`, from the bytes of [`tile_of`] it, or of the full one in its place.
pub fn subtree_in(tile: &[u8], level: u8, index: u64) -> Option<Hash> {
    let within = level % HEIGHT;
    let first = usize::try_from((index << within) % u64::from(WIDTH)).ok()?;
    let bytes = tile.get(first * HASH_BYTES..(first + (1 << within)) * HASH_BYTES)?;
    let mut hashes = hashes_from_bytes(bytes)?;
    while let [_, _, ..] = hashes.as_slice() {
        hashes = hashes.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(*left, *right)).collect();
    }
    hashes.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn subtrees_follow_from_their_tiles() {
        let leaves = crate::known::leaves(700);
        let bytes = |tile: TilePath| {
            let Kind::Tile(level) = tile.kind else { unreachable!() };
            let first = tile.index * u64::from(WIDTH);
            let hashes = (first..first + u64::from(tile.width))
                .map(|i| crate::known::subtree(&leaves, level * HEIGHT, i).unwrap());
            crate::hashes_to_bytes(&hashes.collect::<Vec<_>>())
        };
        for level in 0..10 {
            for index in 0..700 >> level {
                let tile = tile_of(level, index, 700).unwrap();
                assert_eq!(
                    tile.width,
                    if tile.index < 700 / 256 && level < 8 { 256 } else { [188, 2][usize::from(level / 8)] }
                );
                let found = subtree_in(&bytes(tile), level, index);
                assert_eq!(found, crate::known::subtree(&leaves, level, index), "{level} {index}");
            }
            assert_eq!(tile_of(level, 700 >> level, 700), None);
        }
        assert_eq!(tile_of(63, 1, u64::MAX), None);
        assert_eq!(tile_of(64, 0, u64::MAX), None);
        assert_eq!(subtree_in(&[0; 64], 0, 2), None);
        assert_eq!(subtree_in(&[0; 64], 1, 0), Some(node_hash(Hash([0; 32]), Hash([0; 32]))));
    }
    use std::collections::BTreeSet;

    fn tile(kind: Kind, index: u64, width: u16) -> TilePath {
        TilePath { kind, index, width }
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        for (path, expected) in [
            ("tile/0/x001/x234/067", tile(Kind::Tile(0), 1_234_067, 256)),
            ("tile/0/x001/067.p/17", tile(Kind::Tile(0), 1067, 17)),
            ("tile/entries/000", tile(Kind::Entries, 0, 256)),
            ("tile/entries/x001/067.p/3", tile(Kind::Entries, 1067, 3)),
            ("tile/63/999.p/255", tile(Kind::Tile(63), 999, 255)),
            ("tile/1/x001/000", tile(Kind::Tile(1), 1000, 256)),
            ("tile/0/x018/x446/x744/x073/x709/x551/615", tile(Kind::Tile(0), u64::MAX, 256)),
        ] {
            assert_eq!(expected.to_path(), path);
            assert_eq!(TilePath::parse(path), Some(expected));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/00/000",
            "tile/64/000",
            "tile/256/000",
            "tile/-1/000",
            "tile/+1/000",
            "tile/0/1000",
            "tile/0/x000/001",
            "tile/0/x001/x067",
            "tile/0/001/067",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p/+1",
            "tile/0/000.p/1/",
            "/tile/0/000",
            "tile/0/../000",
            "tile/entries/x018/x446/x744/x073/x709/x551/616",
            "tile/Entries/000",
        ] {
            assert_eq!(TilePath::parse(bad), None, "{bad}");
        }
    }

    /// The two examples of the tlog-tiles specification.
    #[test]
    fn trees_have_the_tiles_of_the_specification() {
        let tiles: Vec<_> = tiles_for_size(70_000).filter(|t| t.kind != Kind::Entries).collect();
        assert_eq!(tiles.iter().filter(|t| t.kind == Kind::Tile(0) && t.is_full()).count(), 273);
        let rest: Vec<_> = tiles.into_iter().filter(|t| t.kind != Kind::Tile(0) || !t.is_full()).collect();
        assert_eq!(
            rest,
            [
                tile(Kind::Tile(0), 273, 112),
                tile(Kind::Tile(1), 0, 256),
                tile(Kind::Tile(1), 1, 17),
                tile(Kind::Tile(2), 0, 1)
            ]
        );
        let small: Vec<_> = tiles_for_size(256).map(|t| t.to_path()).collect();
        assert_eq!(small, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(tiles_for_size(0).count(), 0);
    }

    #[test]
    fn tiles_say_which_entries_they_stand_for() {
        assert_eq!(tile(Kind::Entries, 2, 10).entries(), 512..522);
        assert_eq!(tile(Kind::Tile(1), 1, 17).entries(), 65_536..69_888);
        assert_eq!(tile(Kind::Tile(63), u64::MAX, 256).entries(), u64::MAX..u64::MAX);
        assert!(tiles_for_size(u64::MAX).next().is_some());
    }

    proptest! {
        #[test]
        fn paths_round_trip(level in 0_u8..=64, index: u64, width in 1_u16..=256) {
            let kind = if level == 64 { Kind::Entries } else { Kind::Tile(level) };
            let tile = tile(kind, index, width);
            prop_assert_eq!(TilePath::parse(&tile.to_path()), Some(tile));
        }

        #[test]
        fn no_path_breaks_the_parser(path in "(tile/)?[0-9ex]{0,3}/[x0-9/]{0,30}(\\.p/)?[0-9]{0,4}") {
            if let Some(tile) = TilePath::parse(&path) {
                prop_assert_eq!(tile.to_path(), path);
            }
        }

        #[test]
        fn growing_adds_exactly_the_new_tiles(old in 0_u64..200_000, grown in 0_u64..2_000) {
            let before: BTreeSet<_> = tiles_for_size(old).collect();
            let after: BTreeSet<_> = tiles_for_size(old + grown).collect();
            let added: BTreeSet<_> = tiles_between(old, old + grown).collect();
            prop_assert_eq!(added, &after - &before);
            prop_assert_eq!(tiles_between(old + grown + 1, old).count(), 0);
        }
    }
}
