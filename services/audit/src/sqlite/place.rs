//! Whether the files that are written to still are those that the next start will find.
//!
//! An open file can be deleted, moved or replaced, and whoever has it open writes on without an error, to where nobody reads.
//! So each file is compared with what its name stands for now. This finds somebody who removes or replaces a file, not one
//! who changes what is in it: `fsck` and the signed checkpoints do that.

use crate::store::StoreError;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

/// The files of an open database.
#[derive(Debug)]
pub(crate) struct Place(Vec<(PathBuf, Option<Identity>)>);

/// Tells one file from another, whatever they are called.
type Identity = (u64, u64);

#[derive(Debug, thiserror::Error)]
#[error(
    "`{}` was deleted, moved or replaced while the log is open; what was written since cannot be relied on. \
     Bring back the file, or a copy of it, before the next start",
    .0.display()
)]
struct Elsewhere(PathBuf);

impl Place {
    /// Of the database in this file, with its WAL and the index of that: one whose WAL is gone loses what is only there.
    pub(crate) fn of(database: &Path) -> io::Result<Self> {
        let files = ["", "-wal", "-shm"].map(|end| {
            let mut path = database.as_os_str().to_owned();
            path.push(end);
            PathBuf::from(path)
        });
        let seen = files.into_iter().map(|path| std::fs::metadata(&path).map(|metadata| (path, identity(&metadata))));
        seen.collect::<io::Result<_>>().map(Self)
    }

    /// A few microseconds, beside a flush that takes milliseconds.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.elsewhere() {
            Some(path) => Err(StoreError::Failed(Elsewhere(path.to_owned()).into())),
            None => Ok(()),
        }
    }

    /// A file that is not the one that was opened.
    pub(crate) fn elsewhere(&self) -> Option<&Path> {
        let is_there = |path: &Path, then: &Option<Identity>| {
            std::fs::metadata(path).is_ok_and(|metadata| identity(&metadata) == *then)
        };
        self.0.iter().find(|(path, then)| !is_there(path, then)).map(|(path, _)| path.as_path())
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino()))
}

/// Elsewhere an open file cannot be deleted, and it is enough that there is one of its name.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<Identity> {
    None
}
