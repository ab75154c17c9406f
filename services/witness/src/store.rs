//! What a witness has seen, one small file a log. A lost file would let a log go back, so each is written whole, flushed, and
//! put in its place before anything is signed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tlog::witness::{NotCosigned, Seen};
use tlog::{Checkpoint, Hash};

const LOCK: &str = "lock";
const SUFFIX: &str = "seen";

/// Why a witness cannot use its directory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is in use by another witness", dir.display())]
    InUse { dir: PathBuf },
    /// It must not be guessed: a log would be let back to where it was.
    #[error("`{}` does not say what was seen of a log; restore it, or retire this witness and its key", path.display())]
    Damaged { path: PathBuf },
}

/// Why a checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum NotAdvanced {
    #[error(transparent)]
    Judged(#[from] NotCosigned),
    #[error("what was seen cannot be kept")]
    NotKept(#[source] io::Error),
}

#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    seen: Mutex<HashMap<String, Seen>>,
    /// Held for life.
    _lock: File,
}

impl Store {
    /// Takes up the directory, which no other witness may use; made if it is not there. Blocking.
    ///
    /// # Errors
    /// When it cannot be used, or a file in it is not what this writes.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let fault = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        std::fs::create_dir_all(dir).map_err(fault(dir))?;
        let lock = dir.join(LOCK);
        let held = File::options().create(true).append(true).open(&lock).map_err(fault(&lock))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(StoreError::InUse { dir: dir.to_owned() }),
            Err(std::fs::TryLockError::Error(source)) => return Err(fault(&lock)(source)),
        }
        let mut seen = HashMap::new();
        for entry in std::fs::read_dir(dir).map_err(fault(dir))? {
            let path = entry.map_err(fault(dir))?.path();
            if path.extension().is_some_and(|extension| extension == SUFFIX) {
                let text = std::fs::read_to_string(&path).map_err(fault(&path))?;
                let (origin, known) = read(&text).ok_or(StoreError::Damaged { path })?;
                seen.insert(origin, known);
            }
        }
        Ok(Self { dir: dir.to_owned(), seen: Mutex::new(seen), _lock: held })
    }

    /// What was seen of a log.
    pub fn seen(&self, origin: &str) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(origin).copied().unwrap_or_else(Seen::nothing)
    }

    /// Lets `judge` look at what was seen of a log, and keeps what it lets pass before anybody else may look. Blocking.
    ///
    /// # Errors
    /// What `judge` says, or that it could not be kept: then it must not be signed.
    pub fn advance(
        &self,
        origin: &str,
        judge: impl FnOnce(Seen) -> Result<Checkpoint, NotCosigned>,
    ) -> Result<Checkpoint, NotAdvanced> {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(origin).copied().unwrap_or_else(Seen::nothing);
        let checkpoint = judge(before)?;
        let now = Seen { size: checkpoint.size, root: checkpoint.root };
        if now != before || !all.contains_key(origin) {
            self.keep(origin, now).map_err(NotAdvanced::NotKept)?;
            all.insert(origin.to_owned(), now);
        }
        Ok(checkpoint)
    }

    fn keep(&self, origin: &str, seen: Seen) -> io::Result<()> {
        let name = tlog::leaf_hash(origin.as_bytes()).to_string();
        let (new, path) = (self.dir.join(format!("{name}.new")), self.dir.join(format!("{name}.{SUFFIX}")));
        let mut file = File::create(&new)?;
        file.write_all(format!("{origin}\n{}\n{}\n", seen.size, seen.root.to_base64()).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}

fn read(text: &str) -> Option<(String, Seen)> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    let seen = Seen { size: size.parse().ok()?, root: Hash::from_base64(root)? };
    (lines.next().is_none() && !origin.is_empty()).then(|| (origin.to_owned(), seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tlog::{empty_root, leaf_hash};

    fn checkpoint(size: u64) -> Checkpoint {
        Checkpoint::new("plant.example/log", size, leaf_hash(&size.to_be_bytes()))
    }

    #[test]
    fn what_was_seen_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.seen("plant.example/log"), Seen { size: 0, root: empty_root() });
        for size in [3, 7] {
            store.advance("plant.example/log", |_| Ok(checkpoint(size))).unwrap();
        }
        store.advance("other.example/log", |_| Ok(checkpoint(9))).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse { .. })));
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        let expected = Seen { size: 7, root: checkpoint(7).root };
        assert_eq!(store.seen("plant.example/log"), expected);
        let refused = store.advance("plant.example/log", |seen| {
            assert_eq!(seen, expected);
            Err(NotCosigned::Conflict(seen.size))
        });
        assert!(matches!(refused, Err(NotAdvanced::Judged(NotCosigned::Conflict(7)))));
    }

    #[test]
    fn what_cannot_be_kept_is_not_signed_and_what_cannot_be_read_is_not_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.advance("plant.example/log", |_| Ok(checkpoint(3))).unwrap();
        let name = leaf_hash(b"plant.example/log").to_string();
        // A directory where the new file must go.
        std::fs::create_dir(dir.path().join(format!("{name}.new"))).unwrap();
        let failed = store.advance("plant.example/log", |_| Ok(checkpoint(7)));
        assert!(matches!(failed, Err(NotAdvanced::NotKept(_))));
        assert_eq!(store.seen("plant.example/log").size, 3);
        drop(store);
        for text in ["", "plant.example/log\n", "plant.example/log\nx\ny\n", "plant.example/log\n3\nAAAA\n"] {
            std::fs::write(dir.path().join(format!("{name}.seen")), text).unwrap();
            assert!(matches!(Store::open(dir.path()), Err(StoreError::Damaged { .. })), "{text:?}");
        }
    }
}
