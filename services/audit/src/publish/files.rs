//! Files that are whole or not there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A directory of published files.
///
/// A file is written under a temporary name, flushed and renamed; [`Tree::sync`] then flushes the directories. Only after
/// that may anything refer to the file.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    dirty: BTreeSet<PathBuf>,
}

impl Tree {
    /// Creates the directory for the owner alone, unless it is there: entries are nobody else's business by default.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(root)?;
        Ok(Self { root: root.to_owned(), dirty: BTreeSet::new() })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// `None` when there is no such file.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        read_optional(&self.path(name))
    }

    pub(crate) fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        let parent = path.parent().unwrap_or(&self.root).to_owned();
        if read_optional(&path)?.is_some_and(|found| found == bytes) {
            // Written by a round that failed later on, perhaps before it was flushed.
            File::open(&path)?.sync_all()?;
        } else {
            self.create_dirs(&parent)?;
            replace(&path, bytes, None)?;
        }
        self.dirty.insert(parent);
        Ok(())
    }

    /// Length of the file; `None` when there is no such file.
    pub(crate) fn length(&self, name: &str) -> Option<u64> {
        fs::metadata(self.path(name)).ok().filter(fs::Metadata::is_file).map(|file| file.len())
    }

    /// Removes a directory of files that nothing needs any longer. Failing to is no fault.
    pub(crate) fn discard(&self, name: &str) {
        let _ = fs::remove_dir_all(self.path(name));
    }

    /// Flushes every directory that got a new name.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        while let Some(dir) = self.dirty.first().cloned() {
            File::open(&dir)?.sync_all()?;
            self.dirty.remove(&dir);
        }
        Ok(())
    }

    fn create_dirs(&mut self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        if let Some(parent) = dir.parent().filter(|_| dir != self.root) {
            self.create_dirs(parent)?;
            self.dirty.insert(parent.to_owned());
        }
        fs::create_dir(dir)
    }
}

/// `None` when there is no such file.
pub(crate) fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts `bytes` in the place of the file, at once. `mode` is that of a new file, otherwise what the process gives.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_file_name(format!(".{}.tmp", name.display()));
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    if let Some(mode) = mode {
        // A file left over from before may have another mode.
        let _ = fs::remove_file(&temporary);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    }
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::open(&dir.path().join("published")).unwrap();
        tree.put("tile/0/x001/067", b"first").unwrap();
        tree.put("tile/0/x001/067", b"second").unwrap();
        tree.sync().unwrap();
        assert_eq!(tree.read("tile/0/x001/067").unwrap().as_deref(), Some(&b"second"[..]));
        assert_eq!(tree.read("tile/0/x001/068").unwrap(), None);
        assert_eq!(tree.read("tile/0/x001/067/9").unwrap(), None);
        assert_eq!(fs::read_dir(tree.path("tile/0/x001")).unwrap().count(), 1);
        assert!(tree.dirty.is_empty());
    }
}
