//! A log that takes the place of another one, because others have seen what that one no longer has.
//!
//! Nothing is repaired and nothing deleted: what is left of the old log is set aside, and a log with another origin begins,
//! whose first entry cites the old checkpoints and the operator's reason. Whoever trusts the old log's checkpoints can tell
//! from it where one history ends and the other begins, and who said so.
//!
//! What this does **not** do: it judges no contradiction and asks nobody. Who calls it has an operator behind it.

use crate::error::{OpenError, ReadError};
use crate::publish::{CHECKPOINT_FILE, CHECKPOINTS_DIR};
use crate::reader::{Reader, StoreAt};
use crate::sqlite::{DATABASE_FILE, LOCK_FILE};
use model::Value;
use std::io;
use std::path::{Path, PathBuf};
use tlog::Hash;

/// What the first entry of such a log cites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incarnation {
    pub previous: Previous,
    pub seen: Vec<Seen>,
    /// The operator's, and in the log for ever.
    pub reason: String,
    /// Nobody was known to have seen anything else.
    pub forced: bool,
}

/// The old log as it was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    pub origin: String,
    /// That it signed with, as verifiers name it.
    pub key: Option<String>,
    /// Entries in its store; `None` if there was none, or it could not be read.
    pub size: Option<u64>,
    /// Its last signed note.
    pub checkpoint: Option<String>,
}

/// What somebody else has seen of the old log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub by: String,
    pub size: u64,
    /// The signed note, where it is known.
    pub checkpoint: Option<String>,
}

fn count(n: u64) -> Value {
    Value::int(i64::try_from(n).unwrap_or(i64::MAX))
}

impl Incarnation {
    /// The members of the entry.
    pub(crate) fn members(&self, origin: &str) -> Vec<(&'static str, Value)> {
        let Self { previous, seen, reason, forced } = self;
        let Previous { origin: old, key, size, checkpoint } = previous;
        let mut of = vec![("origin", Value::text(old))];
        of.extend(key.iter().map(|key| ("key", Value::text(key))));
        of.extend(size.map(|size| ("size", count(size))));
        of.extend(checkpoint.iter().map(|note| ("checkpoint", Value::text(note))));
        let seen = seen.iter().map(|Seen { by, size, checkpoint }| {
            let note = checkpoint.iter().map(|note| ("checkpoint", Value::text(note)));
            Value::object([("by", Value::text(by)), ("size", count(*size))].into_iter().chain(note))
        });
        let mut members = vec![
            ("event", Value::text("incarnation")),
            ("origin", Value::text(origin)),
            ("previous", Value::object(of)),
            ("seen", Value::Array(seen.collect())),
            ("reason", Value::text(reason)),
            ("version", Value::text(env!("CARGO_PKG_VERSION"))),
        ];
        members.extend(forced.then_some(("forced", Value::Bool(true))));
        members
    }
}

// === what is there

/// What a store holds, as it is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub size: u64,
    /// The last signed note.
    pub checkpoint: Option<String>,
}

impl Stored {
    /// Looks into a store without opening the log; `None` if there is no log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn find(store: impl Into<StoreAt>) -> Result<Option<Self>, ReadError> {
        let Some(reader) = Reader::open_if_there(store).await? else { return Ok(None) };
        let size = reader.standing().await?.head.size;
        let last = reader.last_checkpoint().await?;
        reader.close().await;
        Ok(Some(Self { size, checkpoint: last.map(|last| last.note) }))
    }

    /// The root that the store has signed for a tree of `size` entries, if it has.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn signed_root(store: impl Into<StoreAt>, size: u64) -> Result<Option<Hash>, ReadError> {
        let Some(reader) = Reader::open_if_there(store).await? else { return Ok(None) };
        let row = reader.checkpoint(size).await?;
        reader.close().await;
        Ok(row.map(|row| row.range.root()))
    }
}

// === setting aside

/// Where set-aside logs lie, below the directory that they were in.
pub const ASIDE_DIR: &str = "aside";

/// Holds the store of a log that nobody else may open meanwhile.
#[derive(Debug)]
pub struct Standstill {
    _lock: std::fs::File,
}

impl Standstill {
    /// # Errors
    /// When a process has the log.
    pub fn of(dir: &Path) -> Result<Self, OpenError> {
        crate::sqlite::hold(dir).map(|lock| Self { _lock: lock })
    }
}

/// The name of the folder for a log of this origin below [`ASIDE_DIR`] that neither directory has yet.
pub fn free_name(origin: &str, directories: [&Path; 2]) -> String {
    let plain = plain_name(origin);
    let is_free = |name: &String| directories.iter().all(|dir| !dir.join(ASIDE_DIR).join(name).exists());
    let numbered = (2_u32..).map(|n| format!("{plain}-{n}"));
    std::iter::once(plain.clone()).chain(numbered).find(is_free).unwrap_or_default()
}

/// An origin as the name of a folder.
pub fn plain_name(origin: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    // Hidden folders are passed over by those who copy.
    origin.chars().map(plain).collect::<String>().trim_start_matches('.').to_owned()
}

/// Moves the old log's files into `aside/NAME` below `directory`, and what it published into `aside/NAME` below `published`,
/// where auditors go on reading it. What is not there (any longer) is passed over, so a second call goes on where a first
/// one ended.
///
/// # Errors
/// When something cannot be moved; what was moved before stays so.
pub fn set_aside(
    directory: &Path,
    published: &Path,
    key_file: Option<&Path>,
    name: &str,
) -> Result<[PathBuf; 2], OpenError> {
    let own = directory.join(ASIDE_DIR).join(name);
    let open = published.join(ASIDE_DIR).join(name);
    let wal = ["-wal", "-shm"].map(|end| format!("{DATABASE_FILE}{end}"));
    // The marks of a quarantine go with the copy that they are about.
    let quarantine = ["quarantine.json", "quarantine.lifted.json"].map(String::from);
    // The database last: without it there would be nothing to tell from what was left.
    let files = quarantine.into_iter().chain(wal).chain([DATABASE_FILE.to_owned()]);
    for name in ["tile", CHECKPOINTS_DIR, CHECKPOINT_FILE] {
        move_into(&published.join(name), &open)?;
    }
    if let Some(key) = key_file {
        move_into(key, &own)?;
    }
    for name in files {
        move_into(&directory.join(name), &own)?;
    }
    flush(directory)?;
    Ok([own, open])
}

/// Moves the files of a log that was begun in `from` to their places.
///
/// # Errors
/// When something cannot be moved.
pub fn put_in_place(from: &Path, directory: &Path) -> Result<(), OpenError> {
    for end in ["-wal", "-shm", ""] {
        let name = format!("{DATABASE_FILE}{end}");
        rename(&from.join(&name), &directory.join(&name))?;
    }
    flush(directory)?;
    let _ = std::fs::remove_file(from.join(LOCK_FILE));
    Ok(())
}

fn move_into(path: &Path, folder: &Path) -> Result<(), OpenError> {
    let Some(name) = path.file_name() else { return Ok(()) };
    if !path.exists() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| OpenError::File { path: folder.into(), source })?;
    rename(path, &folder.join(name))?;
    flush(folder)
}

fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved.map_err(|source| OpenError::File { path: from.into(), source }),
    }
}

fn flush(dir: &Path) -> Result<(), OpenError> {
    let flushed = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
    flushed.map_err(|source| OpenError::File { path: dir.into(), source })
}
