//! Reading a published directory. Its files may be missing, cut, oversized or no files at all.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use tlog::tile::{TilePath, WIDTH};

/// What a read has given.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored {
    /// The bytes, and whether they are of the full file in place of a partial one: then only the beginning counts.
    Bytes {
        bytes: Vec<u8>,
        of_full: bool,
    },
    Missing,
    /// There, and not to be read; in words.
    Unreadable(String),
}

#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.join(below)
    }

    /// A whole file of at most `bytes_max` bytes.
    pub fn read(&self, below: &str, bytes_max: usize) -> Stored {
        match read_file(&self.path(below), bytes_max) {
            Ok(bytes) => Stored::Bytes { bytes, of_full: false },
            Err(error) if is_absent(&error) => Stored::Missing,
            Err(error) => Stored::Unreadable(error.to_string()),
        }
    }

    /// A tile or bundle. A log may drop a partial one as soon as the full one is there, which begins with the same bytes.
    pub fn read_tile(&self, tile: TilePath, bytes_max: usize) -> Stored {
        match self.read(&tile.to_path(), bytes_max) {
            Stored::Missing if !tile.is_full() => {
                match self.read(&TilePath { width: WIDTH, ..tile }.to_path(), bytes_max) {
                    Stored::Bytes { bytes, .. } => Stored::Bytes { bytes, of_full: true },
                    other => other,
                }
            }
            stored => stored,
        }
    }

    /// Whether there is something to read in its place.
    pub fn has_tile(&self, tile: TilePath) -> bool {
        let is_file = |tile: TilePath| self.path(&tile.to_path()).is_file();
        is_file(tile) || (!tile.is_full() && is_file(TilePath { width: WIDTH, ..tile }))
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read_file(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    // Before opening: a pipe in the place of a file would never answer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    if metadata.len() > limit {
        return Err(io::Error::other(format!("{} bytes; at most {bytes_max} can be right", metadata.len())));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The names in a directory, sorted; an absent one has none. More than `names_max` are an error.
pub fn names(dir: &Path, names_max: usize) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.take(names_max.saturating_add(1));
    let names = names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    if names.len() > names_max {
        return Err(io::Error::other(format!("it has more than {names_max} names")));
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tlog::tile::Kind;

    #[test]
    fn a_folder_of_more_names_than_can_be_right_is_not_read_into_memory() {
        let dir = tempfile::tempdir().unwrap();
        ["b", "a", "c"].iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
        assert_eq!(names(dir.path(), 3).unwrap(), ["a", "b", "c"]);
        assert!(names(dir.path(), 2).unwrap_err().to_string().contains("more than 2 names"));
        assert!(names(&dir.path().join("d"), 2).unwrap().is_empty());
        assert!(names(&dir.path().join("a"), 2).is_err(), "a file in the place of a folder keeps nothing, and is none");
    }

    #[test]
    fn the_full_file_stands_in_for_the_partial_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let partial = TilePath { kind: Kind::Tile(0), index: 0, width: 3 };
        assert_eq!(store.read_tile(partial, 99), Stored::Missing);
        fs::create_dir_all(dir.path().join("tile/0")).unwrap();
        fs::write(dir.path().join("tile/0/000"), "full").unwrap();
        assert_eq!(store.read_tile(partial, 99), Stored::Bytes { bytes: b"full".to_vec(), of_full: true });
        fs::create_dir_all(dir.path().join("tile/0/000.p")).unwrap();
        fs::write(dir.path().join("tile/0/000.p/3"), "part").unwrap();
        assert_eq!(store.read_tile(partial, 99), Stored::Bytes { bytes: b"part".to_vec(), of_full: false });
        assert!(matches!(store.read_tile(partial, 3), Stored::Unreadable(why) if why.contains("4 bytes")));
        assert!(matches!(store.read("tile", 3), Stored::Unreadable(_)));
    }
}
