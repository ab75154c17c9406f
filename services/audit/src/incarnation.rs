//! A log that takes the place of another one, because others have seen what that one no longer has.
//!
//! Nothing is repaired and nothing deleted: what is left of the old log is set aside, and a log with another origin begins,
//! whose first entry cites the old checkpoints and the operator's reason. Whoever trusts the old log's checkpoints can tell
//! from it where one history ends and the other begins, and who said so.
//!
//! What this does **not** do: it judges no contradiction and asks nobody. Who calls it has an operator behind it.

use crate::append::Log;
use crate::error::{OpenError, ReadError};
use crate::frames;
use crate::keys::{Event, Keys};
use crate::options::LogOptions;
use crate::postgres::{Access, Held};
use crate::publish::prune::{CARRIED_DIR, PRUNED_FILE};
use crate::publish::{CHECKPOINT_FILE, CHECKPOINTS_DIR};
use crate::reader::{Reader, StoreAt};
use crate::recover::entry_bytes;
use crate::sqlite::{DATABASE_FILE, LOCK_FILE};
use crate::store::StoreError;
use model::Value;
use model::entry::{Entry, Kind};
use model::pruning::WIDTH;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use tlog::{Checkpoint, CompactRange, Hash, VerifierKey, hashes_from_bytes};

/// What the first entry of such a log cites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    pub previous: Previous,
    pub seen: Vec<Seen>,
    /// The operator's, and in the log for ever.
    pub reason: String,
    /// Nobody was known to have seen anything else.
    pub forced: bool,
}

/// The old log as it was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    pub origin: String,
    /// That it signed with, as verifiers name it.
    pub key: Option<String>,
    /// Others of its keys: an earlier one may have signed what is cited, and so may the next one.
    pub other_keys: Vec<String>,
    /// Entries in its store; `None` if there was none, or it could not be read.
    pub size: Option<u64>,
    /// Its last signed note.
    pub checkpoint: Option<String>,
}

/// What somebody else has seen of the old log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        let Previous { origin: old, key, other_keys, size, checkpoint } = previous;
        let mut of = vec![("origin", Value::text(old))];
        of.extend(key.iter().map(|key| ("key", Value::text(key))));
        if !other_keys.is_empty() {
            of.push(("other_keys", Value::texts(other_keys)));
        }
        of.extend(size.map(|size| ("size", count(size))));
        of.extend(checkpoint.iter().map(|note| ("checkpoint", Value::text(note))));
        let mut members = vec![
            ("event", Value::text("incarnation")),
            ("origin", Value::text(origin)),
            ("previous", Value::object(of)),
            ("seen", seen_value(seen)),
            ("reason", Value::text(reason)),
            ("version", Value::text(env!("CARGO_PKG_VERSION"))),
        ];
        members.extend(forced.then_some(("forced", Value::Bool(true))));
        members
    }
}

/// A quarantine that an operator has ended, because it rested on words that nobody signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifted {
    /// When it began, RFC 3339.
    pub since: String,
    /// When the operator ended it.
    pub at: String,
    /// The operator's, and in the log for ever.
    pub reason: String,
    /// What was said.
    pub seen: Vec<Seen>,
}

impl Lifted {
    /// The members of the entry.
    pub(crate) fn members(&self) -> Vec<(&'static str, Value)> {
        let Self { since, at, reason, seen } = self;
        vec![
            ("event", Value::text("quarantine_lifted")),
            ("since", Value::text(since)),
            ("lifted", Value::text(at)),
            ("reason", Value::text(reason)),
            ("seen", seen_value(seen)),
            ("version", Value::text(env!("CARGO_PKG_VERSION"))),
        ]
    }
}

fn seen_value(seen: &[Seen]) -> Value {
    let one = |Seen { by, size, checkpoint }: &Seen| {
        let note = checkpoint.iter().map(|note| ("checkpoint", Value::text(note)));
        Value::object([("by", Value::text(by)), ("size", count(*size))].into_iter().chain(note))
    };
    Value::Array(seen.iter().map(one).collect())
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

    /// The keys that are no longer the log's, each with the index of the entry that retires it, as far as its last checkpoint
    /// covers that entry and is signed by one of the others. What was pruned is carried forward and counts.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn retired(store: impl Into<StoreAt>, keys: &Keys) -> Result<Vec<(VerifierKey, u64)>, ReadError> {
        if keys.known().previous().is_empty() {
            return Ok(Vec::new());
        }
        let Some(reader) = Reader::open_if_there(store).await? else { return Ok(Vec::new()) };
        let retired = retired(&reader, keys).await;
        reader.close().await;
        retired
    }

    /// The root over the first `size` entries as they are stored, read and hashed; `None` if there are not as many. For a
    /// long log this takes a while.
    ///
    /// # Errors
    /// When it cannot be read, or entries are damaged.
    pub async fn root(store: impl Into<StoreAt>, size: u64) -> Result<Option<Hash>, ReadError> {
        let Some(reader) = Reader::open_if_there(store).await? else { return Ok(None) };
        let root = hashed(&reader, size).await;
        reader.close().await;
        root
    }
}

async fn retired(reader: &Reader, keys: &Keys) -> Result<Vec<(VerifierKey, u64)>, ReadError> {
    let signing: Vec<VerifierKey> =
        keys.known().verifiers().into_iter().filter(|key| !keys.known().previous().contains(key)).collect();
    let last = reader.last_checkpoint().await?;
    // What nobody vouches for who is still a key of the log could have been put there.
    let Some(end) = last.and_then(|last| Checkpoint::open_any(&last.note, &signing).ok()).map(|(last, _)| last.size)
    else {
        return Ok(Vec::new());
    };
    let told = crate::keys::told(reader, end, end).await?;
    let is_retired = |event: Event, key: &VerifierKey| event == Event::Retired && keys.known().previous().contains(key);
    let covered = told.into_iter().take_while(|(index, _)| *index < end);
    Ok(covered
        .filter_map(|(index, said)| said.filter(|(e, key)| is_retired(*e, key)).map(|(_, key)| (key, index)))
        .collect())
}

/// Bundles of which the hashes are read at a time.
const TILES_AT_ONCE: u32 = 64;

async fn hashed(reader: &Reader, size: u64) -> Result<Option<Hash>, ReadError> {
    let mut range = CompactRange::new();
    // Of entries that were pruned the hashes are there.
    let minimum = reader.minimum().await?;
    while range.size() < minimum.min(size) {
        let number = range.size() / WIDTH;
        let rows = reader.leaves(number, TILES_AT_ONCE).await?;
        if rows.first().is_none_or(|(first, _)| *first != number) {
            return Ok(None);
        }
        for leaf in rows.iter().flat_map(|(_, hashes)| hashes_from_bytes(hashes).unwrap_or_default()) {
            range.push(leaf);
            if range.size() == size {
                return Ok(Some(range.root()));
            }
        }
    }
    while range.size() < size {
        let bundles = reader.bundles(range.size()).await?;
        let Some(first) = bundles.first() else { return Ok(None) };
        if first.first_index != range.size() {
            return Ok(None);
        }
        for bundle in bundles {
            let (first_index, last_index) = (bundle.first_index, bundle.first_index + bundle.count.max(1) - 1);
            for entry in frames::iter(&bundle.bytes) {
                let entry = entry.map_err(|_| ReadError::Damaged { first_index, last_index })?;
                range.push(tlog::leaf_hash(entry));
                if range.size() == size {
                    return Ok(Some(range.root()));
                }
            }
            if range.size() != last_index + 1 {
                return Err(ReadError::Damaged { first_index, last_index });
            }
        }
    }
    Ok(Some(range.root()))
}

// === setting aside

/// Where set-aside logs lie, below the directory that they were in.
pub const ASIDE_DIR: &str = "aside";

/// Holds the store of a log that nobody else may open meanwhile.
#[derive(Debug)]
pub struct Standstill {
    _lock: Lock,
}

#[derive(Debug)]
enum Lock {
    File {
        _lock: std::fs::File,
    },
    /// `None`: there is no such log.
    Session {
        _lock: Option<Held>,
    },
}

impl Standstill {
    /// # Errors
    /// When a process has the log.
    pub fn of(dir: &Path) -> Result<Self, OpenError> {
        crate::sqlite::hold(dir).map(|lock| Self { _lock: Lock::File { _lock: lock } })
    }

    /// The same of a log in a database, for as long as the session lives.
    ///
    /// # Errors
    /// When a session has the log, or the database cannot be reached.
    pub async fn of_database(access: &Access, origin: &str) -> Result<Self, OpenError> {
        let held = Held::log(access, origin).await?;
        Ok(Self { _lock: Lock::Session { _lock: held } })
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

/// Below a log's directory: a log that was begun and is not in its place yet.
pub const NEW_DIR: &str = "incarnation.new";
/// In [`NEW_DIR`], from when the new log is whole until it is in its place.
pub const READY_FILE: &str = "ready.json";

/// The file that says of the log in `directory` that an incarnation was begun and is not over; nobody may go on with what is
/// there meanwhile.
pub fn unfinished(directory: &Path) -> Option<PathBuf> {
    let ready = directory.join(NEW_DIR).join(READY_FILE);
    // What cannot be looked at may be there.
    ready.try_exists().unwrap_or(true).then_some(ready)
}

/// Begins the log of `options` with an entry that says what they say of its incarnation, or finds that it was begun so.
///
/// # Errors
/// When there is a log of that name that begins otherwise, or it cannot be opened.
pub async fn begin(options: LogOptions) -> Result<(), OpenError> {
    // Opening writes, and another log is not written to.
    if let Some(first) = first_entry(options.store_at()).await? {
        let origin = options.origin;
        let is_it = options.incarnation.is_some_and(|incarnation| is_cited(&first, &origin, &incarnation));
        return if is_it { Ok(()) } else { Err(OpenError::Another(origin)) };
    }
    let (log, _) = Log::open(options).await?;
    log.seal().await;
    log.close().await;
    Ok(())
}

/// Of the log in a store, if there is one.
async fn first_entry(store: StoreAt) -> Result<Option<Vec<u8>>, OpenError> {
    let Some(reader) = Reader::open_if_there(store).await? else { return Ok(None) };
    let first = entry_bytes(&reader, 0).await.map_err(not_read);
    reader.close().await;
    first
}

fn not_read(error: ReadError) -> OpenError {
    match error {
        ReadError::Store(error) => error.into(),
        error => StoreError::Failed(error.into()).into(),
    }
}

/// Whether `entry`, the first of a log, says that it takes the place of another one in just this way.
fn is_cited(entry: &[u8], origin: &str, incarnation: &Incarnation) -> bool {
    let Ok(entry) = Entry::parse(entry) else { return false };
    let mut members = incarnation.members(origin).into_iter().filter(|(name, _)| *name != "version");
    entry.kind == Kind::System && members.all(|(name, value)| entry.get(name) == Some(&value))
}

/// Moves the old log's files into `aside/NAME` below `directory`, and what it published into `aside/NAME` below `published`,
/// where auditors go on reading it. What is not there (any longer) is passed over, so a second call goes on where a first
/// one ended; what is there already is never written over. To be called under a [`Standstill`], and no longer once
/// [`put_in_place`] has begun: what it would move then is the new log.
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
    // The store first, so that no broker of whatever version goes on with it once anything else is away. The marks of a
    // quarantine go with the copy that they are about, when it is away, and the key last: it may be on another mount.
    for end in ["", "-wal", "-shm"] {
        move_into(&directory.join(format!("{DATABASE_FILE}{end}")), &own)?;
    }
    flush(directory)?;
    for name in ["tile", CARRIED_DIR, PRUNED_FILE, CHECKPOINTS_DIR, CHECKPOINT_FILE] {
        move_into(&published.join(name), &open)?;
    }
    if open.exists() {
        flush(published)?;
    }
    for mark in marks(directory)? {
        move_into(&mark, &own)?;
    }
    if let Some(key) = key_file {
        move_into(key, &own)?;
    }
    flush(directory)?;
    Ok([own, open])
}

/// `quarantine.json` and what else there is of its kind: lifted, or not to be read.
fn marks(directory: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let fault = |source| OpenError::File { path: directory.into(), source };
    let mut marks = Vec::new();
    for file in std::fs::read_dir(directory).map_err(fault)? {
        let path = file.map_err(fault)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("quarantine.") && name.ends_with(".json") {
            marks.push(path.clone());
        }
    }
    Ok(marks)
}

/// Whether [`put_in_place`] has not begun: the database is the first that it moves.
pub fn is_to_be_put_in_place(from: &Path) -> bool {
    from.join(DATABASE_FILE).exists()
}

/// Moves the files of a log that was begun in `from` to their places, and then takes away, durably, that it is
/// [`unfinished`].
///
/// # Errors
/// When something cannot be moved, or something else is in its place.
pub fn put_in_place(from: &Path, directory: &Path) -> Result<(), OpenError> {
    let database = directory.join(DATABASE_FILE);
    if !is_to_be_put_in_place(from) && !database.exists() {
        let what = "the new log is neither there nor where it was begun; nothing is said to be over";
        return Err(OpenError::File { path: database, source: io::Error::new(io::ErrorKind::NotFound, what) });
    }
    // A log that was closed is one file. Whatever else is there follows it, so that what is to be done is told from the one.
    for end in ["", "-wal", "-shm"] {
        let name = format!("{DATABASE_FILE}{end}");
        relocate(&from.join(&name), &directory.join(&name))?;
    }
    flush(directory)?;
    over(from)
}

/// Takes away, durably, that the new log in `from` is [`unfinished`]: it is in its place.
///
/// # Errors
/// When that cannot be written.
pub fn over(from: &Path) -> Result<(), OpenError> {
    let ready = from.join(READY_FILE);
    match std::fs::remove_file(&ready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::File { path: ready, source: error });
        }
        _ => {}
    }
    flush(from)?;
    let _ = std::fs::remove_file(from.join(LOCK_FILE));
    Ok(())
}

fn move_into(path: &Path, folder: &Path) -> Result<(), OpenError> {
    let Some(name) = path.file_name() else { return Ok(()) };
    if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| OpenError::File { path: folder.into(), source })?;
    relocate(path, &folder.join(name))
}

/// Moves a file or folder to where nothing is yet, durably; a file also to another mount. Passed over if it is not there.
///
/// # Errors
/// When it cannot be moved, or something else is there already.
pub fn relocate(from: &Path, to: &Path) -> Result<(), OpenError> {
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { path, source }
    };
    match from.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => {
            found.map_err(fault(from))?;
        }
    }
    if to.symlink_metadata().is_ok() {
        // A first attempt was interrupted between copying and removing.
        if !is_same(from, to) {
            let what = "something else is there already, and nothing is written over; move it away and look at it";
            return Err(fault(to)(io::Error::new(io::ErrorKind::AlreadyExists, what)));
        }
        std::fs::remove_file(from).map_err(fault(from))?;
    } else {
        match std::fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices && from.is_file() => {
                copy(from, to).map_err(fault(to))?;
                std::fs::remove_file(from).map_err(fault(from))?;
            }
            moved => moved.map_err(fault(from))?,
        }
    }
    for dir in [to, from].into_iter().filter_map(Path::parent) {
        flush(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?;
    }
    Ok(())
}

/// Files that one would copy and not link: a key, not a database.
const SAME_BYTES_MAX: u64 = 64 * 1024;

/// Whether these are two copies of one small file.
pub fn is_same(one: &Path, other: &Path) -> bool {
    let read = |path: &Path| {
        let is_small = path.metadata().is_ok_and(|file| file.is_file() && file.len() <= SAME_BYTES_MAX);
        if is_small { std::fs::read(path).ok() } else { None }
    };
    read(one).is_some_and(|bytes| read(other).is_some_and(|others| others == bytes))
}

/// The copy is whole before it has its name. Nobody else may read it: it may be a key.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = to.with_file_name(name);
    // What an attempt left that was interrupted.
    let _ = std::fs::remove_file(&part);
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part)?;
    io::copy(&mut std::fs::File::open(from)?, &mut file)?;
    file.sync_all()?;
    std::fs::rename(&part, to)?;
    flush_dir(to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

fn flush_dir(dir: &Path) -> io::Result<()> {
    std::fs::File::open(dir).and_then(|dir| dir.sync_all())
}

fn flush(dir: &Path) -> Result<(), OpenError> {
    flush_dir(dir).map_err(|source| OpenError::File { path: dir.into(), source })
}
