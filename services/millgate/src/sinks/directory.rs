//! A directory on another mount, to which checkpoints are appended, a file a day:
//!
//! ```text
//! === 2026-11-29T15:00:00.123Z 412
//! plant.example/broker-1
//! …
//! ```
//!
//! A record is an empty line, this line with the time and the length of the note, and the note. Files are only appended to, so
//! that the mount, or an attribute of the files, may forbid anything else. The directory is never made: where the mount is
//! missing, so must it be.

use audit::Published;
use audit::incarnation::plain_name;
use model::{Clock as _, Timestamp};
use runtime::clock::SystemClock;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use tlog::{Checkpoint, VerifierKey};
use tokio::task::JoinHandle;

const BEGIN: &str = "\n=== ";
const ENDING: &str = ".checkpoints";
/// Files that are read for the largest checkpoint: the clock may have been put back for a day.
const FILES_READ: usize = 3;
/// A day of checkpoints every second with the cosignatures of ten witnesses is this large.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Notes whose signature is tried. Whoever writes here could put any number that nobody signed.
const TRIED_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    origin: String,
    /// A mount that hangs keeps its thread; there is never a second one.
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl Directory {
    pub(crate) fn new(path: PathBuf, origin: &str) -> Self {
        Self { path, origin: origin.to_owned(), writing: None }
    }

    /// As it stands in metrics and log lines.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(crate) async fn keep(&mut self, published: &Published) -> Result<(), String> {
        if let Some(before) = &mut self.writing {
            // What became of it does not matter: this one stands for it.
            let _ = before.await;
            self.writing = None;
        }
        let (dir, origin, note) = (self.path.clone(), self.origin.clone(), published.note.clone());
        let writing = tokio::task::spawn_blocking(move || append(&dir, &origin, &note, SystemClock.now()));
        let written = self.writing.insert(writing).await;
        self.writing = None;
        written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// The largest checkpoint that is kept here and signed by one of `keys`; `None` if there is none.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn largest(path: &Path, origin: &str, keys: &[VerifierKey]) -> io::Result<Option<(Checkpoint, String)>> {
        let prefix = format!("{}.", plain_name(origin));
        let mut files = Vec::new();
        for file in std::fs::read_dir(path)? {
            let name = file?.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) && name.ends_with(ENDING) {
                files.push(name);
            }
        }
        files.sort();
        let mut notes: Vec<(u64, String)> = Vec::new();
        for name in files.iter().rev().take(FILES_READ) {
            let mut bytes = Vec::new();
            File::open(path.join(name))?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
            notes.extend(records(&String::from_utf8_lossy(&bytes)));
        }
        notes.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        let signed = |(_, note): (u64, String)| Some((Checkpoint::open_any(&note, keys).ok()?.0, note));
        Ok(notes.into_iter().take(TRIED_MAX).find_map(signed))
    }
}

fn append(dir: &Path, origin: &str, note: &str, now: Timestamp) -> io::Result<()> {
    let time = now.to_rfc3339();
    let day = time.get(..10).unwrap_or_default();
    let path = dir.join(format!("{}.{day}{ENDING}", plain_name(origin)));
    let is_new = !path.exists();
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let mut file = options.open(&path)?;
    file.write_all(format!("{BEGIN}{time} {}\n{note}", note.len()).as_bytes())?;
    file.sync_all()?;
    if is_new {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// The notes of a file with the sizes that they claim. What is torn or damaged is passed over.
fn records(text: &str) -> impl Iterator<Item = (u64, String)> + '_ {
    text.split(BEGIN).skip(1).filter_map(|record| {
        let (head, rest) = record.split_once('\n')?;
        let length: usize = head.split(' ').nth(1)?.parse().ok()?;
        let note = rest.get(..length)?;
        let size = note.lines().nth(1)?.parse().ok()?;
        Some((size, note.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tlog::{Hash, SigningKey};

    const ORIGIN: &str = "plant.example/broker-1";

    fn key(seed: u8) -> SigningKey {
        SigningKey::generate(ORIGIN, [seed; 32]).unwrap()
    }

    fn note(size: u64, key: &SigningKey) -> String {
        Checkpoint::new(ORIGIN, size, Hash([7; 32])).sign(key).unwrap()
    }

    fn largest(dir: &Path) -> Option<u64> {
        let found = Directory::largest(dir, ORIGIN, &[key(1).verifier().clone()]).unwrap();
        found.map(|(checkpoint, note)| {
            assert_eq!(Checkpoint::open(&note, key(1).verifier()).unwrap(), checkpoint);
            checkpoint.size
        })
    }

    #[test]
    fn the_largest_that_the_log_signed_is_found_whatever_else_is_written_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(largest(dir.path()), None);
        let day = |n: i64| Timestamp(1_795_375_200_000 + n * 86_400_000);
        for (n, size) in [(0, 3), (0, 9), (1, 12), (1, 11)] {
            append(dir.path(), ORIGIN, &note(size, &key(1)), day(n)).unwrap();
        }
        assert_eq!(largest(dir.path()), Some(12), "an older one behind it hides nothing");
        // Another key's, another log's file, and one that was torn.
        append(dir.path(), ORIGIN, &note(99, &key(2)), day(1)).unwrap();
        append(dir.path(), "plant.example/broker-2", &note(98, &key(1)), day(1)).unwrap();
        let path = dir.path().join("plant.example_broker-1.2026-11-23.checkpoints");
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"\n=== 2026-11-23T00:00:00.000Z 400\nplant.example/broker-1\n97\n").unwrap();
        assert_eq!(largest(dir.path()), Some(12));
        // The next record is read all the same.
        append(dir.path(), ORIGIN, &note(13, &key(1)), day(1)).unwrap();
        assert_eq!(largest(dir.path()), Some(13));
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("mount/checkpoints");
        assert!(append(&missing, ORIGIN, "note", Timestamp(0)).is_err());
        assert!(!missing.exists());
    }
}
