//! A published directory at its latest checkpoint: entries, subtrees and proofs from its files.
//!
//! Nothing is verified here. Who is shown a proof verifies it, and a proof out of damaged files does not hold.

use crate::error::ReadError;
use crate::prune::Pruned;
use crate::publish::files::read_optional;
use crate::publish::prune::{CARRIED_DIR, PRUNED_FILE, carried_path, names};
use crate::publish::{CHECKPOINT_FILE, parse_note};
use model::canonical;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tlog::tile::{Kind, TilePath, WIDTH, subtree_in, tile_of};
use tlog::{Checkpoint, CompactRange, Evidence, Hash};

/// Tiles that are kept while proofs are made one after the other.
const TILES_KEPT_MAX: usize = 64;

/// Blocking.
#[derive(Debug)]
pub struct Publication {
    dir: PathBuf,
    checkpoint: Checkpoint,
    note: String,
    tiles: HashMap<TilePath, Rc<[u8]>>,
    /// The bundle that was read last.
    bundle: Option<(u64, Vec<u8>)>,
    /// What the directory says is gone.
    pruned: Option<Pruned>,
}

impl Publication {
    /// # Errors
    /// When there is no checkpoint to read.
    pub fn open(dir: &Path) -> Result<Self, ReadError> {
        let path = dir.join(CHECKPOINT_FILE);
        let note = std::fs::read_to_string(&path).map_err(|source| ReadError::File { path: path.clone(), source })?;
        let checkpoint = parse_note(&note)
            .map_err(|what| ReadError::Published { path, what: format!("is not a checkpoint: {what}") })?;
        // A hint, which explains what is not there and nothing else.
        let said = read_optional(&dir.join(PRUNED_FILE)).ok().flatten();
        let pruned = said.and_then(|said| Pruned::of_value(&canonical::parse(&said).ok()?));
        Ok(Self { dir: dir.to_owned(), checkpoint, note, tiles: HashMap::new(), bundle: None, pruned })
    }

    /// The checkpoint in a signed note. Who signed it is not looked at.
    ///
    /// # Errors
    /// When there is none, in words.
    pub fn parse(note: &str) -> Result<Checkpoint, String> {
        parse_note(note)
    }

    /// The tree of a checkpoint that is about to be published; its files are there. `None` if the note holds none.
    pub(crate) fn of(dir: &Path, note: &str) -> Option<Self> {
        let checkpoint = parse_note(note).ok()?;
        let (dir, note) = (dir.to_owned(), note.to_owned());
        Some(Self { dir, checkpoint, note, tiles: HashMap::new(), bundle: None, pruned: None })
    }

    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The signed note of the checkpoint.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// What the directory says is gone. Nothing of that is verified here.
    pub fn pruned(&self) -> Option<Pruned> {
        self.pruned
    }

    /// Entries that are gone and are carried forward all the same, ascending.
    ///
    /// # Errors
    /// When a file of theirs cannot be read.
    pub fn carried(&self) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
        let fault = |path: &Path| {
            let path = path.to_owned();
            move |source| ReadError::File { path, source }
        };
        let mut carried = Vec::new();
        for folder in names(&self.dir.join(CARRIED_DIR)).map_err(fault(&self.dir))? {
            for path in names(&folder).map_err(fault(&folder))? {
                let index = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
                if let Some(index) = index {
                    carried.push((index, std::fs::read(&path).map_err(fault(&path))?));
                }
            }
        }
        carried.sort_unstable();
        Ok(carried)
    }

    /// Entries under the checkpoint.
    pub fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// The entries of bundle `number`, which are those from 256 times that number on.
    ///
    /// # Errors
    /// When the file is missing or is not what its name says.
    pub(crate) fn bundle(&mut self, number: u64) -> Result<Vec<&[u8]>, ReadError> {
        let width = self.size().saturating_sub(number.saturating_mul(u64::from(WIDTH))).min(u64::from(WIDTH));
        let tile = TilePath { kind: Kind::Entries, index: number, width: u16::try_from(width).unwrap_or(WIDTH) };
        if self.bundle.as_ref().is_none_or(|(known, _)| *known != number) {
            let read = self.read(tile).map_err(|error| self.explained(error, number.saturating_mul(u64::from(WIDTH))));
            self.bundle = Some((number, read?));
        }
        let bytes = self.bundle.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        let fault = |what: String| ReadError::Published { path: self.dir.join(tile.to_path()), what };
        let mut entries = tlog::bundle::decode(bytes).map_err(|e| fault(format!("is not an entry bundle: {e}")))?;
        if entries.len() < usize::from(tile.width) {
            return Err(fault(format!("has {} entries in place of {}", entries.len(), tile.width)));
        }
        entries.truncate(usize::from(tile.width));
        Ok(entries)
    }

    /// The same; `None` where the directory says that it is gone, and it is. What is there is there, whatever that says.
    pub(crate) fn kept_bundle(&mut self, number: u64) -> Result<Option<Vec<&[u8]>>, ReadError> {
        match self.bundle(number) {
            Ok(entries) => Ok(Some(entries)),
            Err(ReadError::Pruned { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is missing may be gone by a pruning.
    fn explained(&self, error: ReadError, index: u64) -> ReadError {
        match (&error, self.pruned) {
            (ReadError::File { source, .. }, Some(pruned))
                if source.kind() == std::io::ErrorKind::NotFound && index < pruned.below =>
            {
                ReadError::Pruned { index, pruned }
            }
            _ => error,
        }
    }

    /// # Errors
    /// When it is not there, was pruned, or its file is not what its name says.
    pub fn entry(&mut self, index: u64) -> Result<Vec<u8>, ReadError> {
        let (size, path) = (self.size(), self.dir.clone());
        let beyond = move || ReadError::Published {
            path,
            what: format!("has {size} entries under its checkpoint, and so none with the index {index}"),
        };
        if index >= size {
            return Err(beyond());
        }
        let width = u64::from(WIDTH);
        let at = usize::try_from(index % width).unwrap_or(usize::MAX);
        let carried = self.dir.join(carried_path(index));
        let entry = match self.bundle(index / width) {
            Ok(entries) => entries.get(at).map(|entry| entry.to_vec()),
            Err(ReadError::Pruned { pruned, .. }) => {
                let carried = read_optional(&carried).ok().flatten();
                return carried.ok_or(ReadError::Pruned { index, pruned });
            }
            Err(error) => return Err(error),
        };
        entry.ok_or_else(beyond)
    }

    /// The subtree `index` of height `level`.
    ///
    /// # Errors
    /// When the tree does not have it whole, or its tile is missing or is not what its name says.
    pub fn subtree(&mut self, level: u8, index: u64) -> Result<Hash, ReadError> {
        let missing = |path: PathBuf| ReadError::Published {
            path,
            what: format!("does not have the subtree {index} of height {level}"),
        };
        let Some(tile) = tile_of(level, index, self.size()) else { return Err(missing(self.dir.clone())) };
        let bytes = match self.tiles.get(&tile) {
            Some(known) => Rc::clone(known),
            None => {
                if self.tiles.len() >= TILES_KEPT_MAX {
                    self.tiles.clear();
                }
                let read: Rc<[u8]> = self.read(tile)?.into();
                self.tiles.insert(tile, Rc::clone(&read));
                read
            }
        };
        subtree_in(&bytes, level, index).ok_or_else(|| missing(self.dir.join(tile.to_path())))
    }

    /// The root of the first `size` entries.
    ///
    /// # Errors
    /// When there are fewer, or a tile is missing.
    pub fn root(&mut self, size: u64) -> Result<Hash, ReadError> {
        let mut range = CompactRange::new();
        for (level, index) in tlog::range::cover(0, size) {
            let subtree = self.subtree(level, index)?;
            range.push_subtree(level, subtree, |_, _| {});
        }
        Ok(range.root())
    }

    /// The proof that the checkpoint continues the tree of the first `old` entries. It holds, so whoever does not take it has
    /// seen other entries; `None` where the files do not give one that does.
    pub fn consistency(&mut self, old: u64) -> Option<Vec<Hash>> {
        let (size, root) = (self.size(), self.checkpoint.root);
        let proof = tlog::proof::consistency(old, size, |level, index| self.subtree(level, index).ok()).ok()?;
        let old_root = if old == size { root } else { self.root(old).ok()? };
        tlog::proof::verify_consistency(old, old_root, size, root, &proof).ok().map(|()| proof)
    }

    /// The proof that entry `index` is under the checkpoint, without anything in `extra`.
    ///
    /// # Errors
    /// When it is not, or a tile is missing.
    pub fn prove(&mut self, index: u64) -> Result<Evidence, ReadError> {
        let (size, mut failed) = (self.size(), None);
        let proof = tlog::proof::inclusion(index, size, |level, at| match self.subtree(level, at) {
            Ok(hash) => Some(hash),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        match (proof, failed) {
            (_, Some(error)) => Err(error),
            (Err(error), None) => {
                Err(ReadError::Published { path: self.dir.clone(), what: format!("has no proof: {error}") })
            }
            (Ok(proof), None) => Ok(Evidence { extra: None, index, proof, note: self.note.clone() }),
        }
    }

    fn read(&self, tile: TilePath) -> Result<Vec<u8>, ReadError> {
        let path = self.dir.join(tile.to_path());
        match std::fs::read(&path) {
            Ok(bytes) => Ok(bytes),
            // The full one takes the place of a partial one, which it begins with.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !tile.is_full() => {
                let full = self.dir.join(TilePath { width: WIDTH, ..tile }.to_path());
                std::fs::read(full).map_err(|source| ReadError::File { path, source })
            }
            Err(source) => Err(ReadError::File { path, source }),
        }
    }
}
