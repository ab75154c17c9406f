//! Building an index, and keeping it: one block after the other.

use super::block::{Memory, Rows};
use super::database::{DATABASE_FILE, Database, LOCK_FILE, Standing};
use super::error::{IndexError, damaged};
use super::positions::BLOCK;
use super::{Index, place};
use crate::append::Log;
use crate::error::ReadError;
use crate::frames;
use crate::reader::{Reader, StoreAt};
use crate::recover::entry_bytes;
use crate::sqlite::{Place, create_private_dir, create_private_file};
use std::convert::Infallible;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tlog::{Hash, leaf_hash};

/// After a failure the index is tried again, and until then questions look through the log.
const AGAIN: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(30) };

/// An index that is being built.
#[derive(Debug)]
pub struct Building {
    reader: Reader,
    database: Database,
    memory: Memory,
    size: u64,
    /// The first entry that the log has; the block that it is in has no others before it.
    minimum: u64,
    /// Entries behind the last whole block, in order.
    pending: Vec<Vec<u8>>,
    _lock: File,
}

impl Building {
    /// Goes on with the index in `dir`, or begins one where there is none, a damaged one, or one of another log.
    ///
    /// # Errors
    /// When somebody else writes it, or the log or the index cannot be read for now: then the index stays as it is.
    pub(crate) async fn open(dir: &Path, reader: Reader, origin: &str) -> Result<Self, ReadError> {
        let lock = lock(dir)?;
        let path = dir.join(DATABASE_FILE);
        create_private_file(dir, &path).map_err(|source| ReadError::File { path: path.clone(), source })?;
        let minimum = reader.minimum().await?;
        let kept = match kept(&path, &reader, origin, minimum).await {
            Ok(kept) => kept,
            Err(ReadError::Index(error @ IndexError::Damaged(_))) => {
                tracing::warn!(error = error.chain(), "the index is damaged; it is built anew");
                None
            }
            Err(error) => return Err(error),
        };
        if kept.is_none() {
            remove(&path)?;
        }
        let (database, size, memory) = match kept {
            Some(kept) => kept,
            None => {
                create_private_file(dir, &path).map_err(|source| ReadError::File { path: path.clone(), source })?;
                let fresh = Database::open(&path, origin).await?;
                let mut fresh = fresh.ok_or_else(|| damaged("meta"))?;
                fresh.begin_at(minimum).await?;
                (fresh, 0, Memory::default())
            }
        };
        let size = size.max(minimum / BLOCK * BLOCK);
        Ok(Self { reader, database, memory, size, minimum, pending: Vec::new(), _lock: lock })
    }

    /// Entries that are indexed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Indexes the next whole block, if the log has one. `false`: it has none.
    ///
    /// # Errors
    /// When the log cannot be read, after which it can be tried again, or the index not written, after which it cannot.
    pub async fn advance(&mut self) -> Result<bool, ReadError> {
        let gone = self.minimum.saturating_sub(self.size);
        let block = usize::try_from(BLOCK - gone).unwrap_or(usize::MAX);
        while self.pending.len() < block {
            let next = self.size + gone + self.pending.len() as u64;
            let Some(bundle) = self.reader.bundle_from(next).await? else { return Ok(false) };
            let last_index = bundle.first_index + bundle.count.max(1) - 1;
            let damaged = |_| ReadError::Damaged { first_index: next, last_index };
            if bundle.first_index != next {
                return self.first_within(next).await;
            }
            let entries = frames::iter(&bundle.bytes).map(|entry| entry.map(<[u8]>::to_vec));
            self.pending.extend(entries.collect::<Result<Vec<_>, _>>().map_err(damaged)?);
        }
        let behind = self.pending.split_off(block);
        let entries = std::mem::replace(&mut self.pending, behind);
        self.write(entries).await?;
        Ok(true)
    }

    /// The bundle that holds `next` began before it: an index that is gone on with begins in the middle of one.
    async fn first_within(&mut self, next: u64) -> Result<bool, ReadError> {
        let damaged = ReadError::Damaged { first_index: next, last_index: next };
        if !self.pending.is_empty() {
            return Err(damaged);
        }
        let Some(bundle) = self.reader.bundle_of(next).await? else { return Err(damaged) };
        let skip = usize::try_from(next - bundle.first_index).unwrap_or(usize::MAX);
        let entries = frames::iter(&bundle.bytes).skip(skip).map(|entry| entry.map(<[u8]>::to_vec));
        self.pending = entries.collect::<Result<Vec<_>, _>>().map_err(|_| damaged)?;
        Box::pin(self.advance()).await
    }

    async fn write(&mut self, entries: Vec<Vec<u8>>) -> Result<(), ReadError> {
        let (block, _) = place(self.size);
        let gone = usize::try_from(self.minimum.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let mut memory = std::mem::take(&mut self.memory);
        let work = move || {
            let rows = Rows::of((block, gone), entries.iter().map(Vec::as_slice), &mut memory);
            let leaf = entries.last().map_or(Hash([0; 32]), |entry| leaf_hash(entry));
            (rows, memory, leaf)
        };
        let (rows, memory, leaf) = tokio::task::spawn_blocking(work).await.map_err(|_| ReadError::Closed)?;
        self.memory = memory;
        self.database.write(&rows, &self.memory, leaf).await?;
        self.size += BLOCK;
        Ok(())
    }

    /// Lets go of the index; a worthless one is removed before anybody else can have it.
    async fn end(self, dir: &Path, is_worthless: bool) -> Result<(), ReadError> {
        // Before its files are removed, or opened again: a connection that is closed later would take the new WAL along.
        let _ = self.database.close().await;
        if is_worthless { remove(&dir.join(DATABASE_FILE)) } else { Ok(()) }
    }
}

/// Builds the index of the log at `store` in `dir` anew, or goes on with it, and returns how many entries are indexed.
///
/// `progress` hears how many entries of how many are done.
///
/// # Errors
/// When somebody else writes it, the log cannot be read, or the index not written.
pub async fn build(
    store: impl Into<StoreAt>,
    dir: &Path,
    anew: bool,
    mut progress: impl FnMut(u64, u64),
) -> Result<u64, ReadError> {
    let reader = Reader::open_existing(store).await?;
    let origin = reader.origin().await?;
    if anew {
        let _lock = lock(dir)?;
        remove(&dir.join(DATABASE_FILE))?;
    }
    let mut building = Building::open(dir, reader.clone(), &origin).await?;
    let total = reader.standing().await?.head.size;
    while building.advance().await? {
        progress(building.size(), total);
    }
    let size = building.size();
    building.database.close().await?;
    reader.close().await;
    Ok(size)
}

/// Builds the index of a log into `file`, which must not be there.
pub(super) async fn build_into(
    file: &Path,
    reader: &Reader,
    size: u64,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), ReadError> {
    let origin = reader.origin().await?;
    let mut database = Database::open(file, &origin).await?.ok_or_else(|| damaged("meta"))?;
    let minimum = reader.minimum().await?;
    database.begin_at(minimum).await?;
    let dir = file.parent().unwrap_or(Path::new("."));
    let lock =
        File::create(dir.join("rebuilt.lock")).map_err(|source| ReadError::File { path: file.into(), source })?;
    let mut building = Building {
        reader: reader.clone(),
        database,
        memory: Memory::default(),
        size: minimum / BLOCK * BLOCK,
        minimum,
        pending: Vec::new(),
        _lock: lock,
    };
    while building.size < size && building.advance().await? {
        progress(building.size, size);
    }
    building.database.close().await?;
    Ok(())
}

/// Keeps the index of an open log.
#[derive(Debug)]
pub struct Indexer {
    log: Log,
    dir: PathBuf,
}

impl Log {
    /// Lets questions use an index in `dir`, and returns who keeps it.
    ///
    /// # Errors
    /// When there is a database that cannot be opened.
    pub fn indexer(&self, dir: &Path) -> Indexer {
        Indexer { log: self.clone(), dir: dir.into() }
    }
}

impl Indexer {
    /// Indexes until the log ends. Failures are logged; questions then look through the log.
    pub async fn run(self) {
        loop {
            tokio::select! {
                Err(error) = self.keep() => {
                    let error = crate::store::chain(&error);
                    tracing::error!(error, "the index of the audit log is not kept; questions take longer");
                }
                () = self.log.ended() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.log.ended() => break,
            }
        }
        self.lend(None).await;
    }

    /// What questions are to use from now on.
    async fn lend(&self, index: Option<Index>) {
        let before = {
            let mut lent = self.log.inner.index.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *lent, index)
        };
        if let Some(before) = before {
            before.close().await;
        }
    }

    /// Keeps one index until there is something wrong with it.
    async fn keep(&self) -> Result<Infallible, ReadError> {
        let mut building = Building::open(&self.dir, self.log.inner.reader.clone(), self.log.origin()).await?;
        let failed = self.go_on(&mut building).await;
        // Whoever has a question at it now asks again without it.
        self.lend(None).await;
        // Beside a file that was replaced lies the WAL of the one before: what the two say together nobody knows.
        let is_worthless =
            matches!(failed, Err(ReadError::Index(IndexError::Damaged(_)) | ReadError::IndexLost { .. }));
        building.end(&self.dir, is_worthless).await?;
        failed
    }

    async fn go_on(&self, building: &mut Building) -> Result<Infallible, ReadError> {
        let size = Arc::new(AtomicU64::new(building.size()));
        let index = Index::open(&self.dir, Arc::clone(&size), building.minimum).await?;
        let path = self.dir.join(DATABASE_FILE);
        let place = Place::of(&path).map_err(|source| ReadError::File { path, source })?;
        self.lend(Some(index.clone())).await;
        let mut is_readable = true;
        loop {
            let began = Instant::now();
            if self.log.pruned().map_or(0, |pruned| pruned.below) != building.minimum {
                return Err(ReadError::IndexLost { path: self.dir.clone() });
            }
            if !index.is_sound() {
                return Err(IndexError::Damaged("a question came upon it".into()).into());
            }
            if let Some(path) = place.elsewhere() {
                return Err(ReadError::IndexLost { path: path.to_owned() });
            }
            match building.advance().await {
                Ok(true) => {
                    size.store(building.size(), Ordering::Release);
                    // Half of one core at most: those who are served come first.
                    tokio::time::sleep(began.elapsed()).await;
                }
                // A log that is idle looks as well whether its index is still there.
                Ok(false) => {
                    tokio::select! {
                        () = self.log.grown_beyond(building.size() + BLOCK - 1) => {}
                        () = index.found_damaged() => {}
                        () = tokio::time::sleep(AGAIN) => {}
                    }
                }
                // What the log's own store fails at says nothing against the index, which goes on answering.
                Err(error @ (ReadError::Store(_) | ReadError::Damaged { .. })) => {
                    if std::mem::take(&mut is_readable) {
                        let error = crate::store::chain(&error);
                        tracing::error!(error, "the audit log cannot be read for its index; it is tried again");
                    }
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            is_readable = true;
        }
    }
}

/// What is there, with its size and what is remembered of it; `None` where there is nothing, or another log's.
async fn kept(
    path: &Path,
    reader: &Reader,
    origin: &str,
    minimum: u64,
) -> Result<Option<(Database, u64, Memory)>, ReadError> {
    let Some(mut database) = Database::open(path, origin).await? else { return Ok(None) };
    match remembered(&mut database, reader, minimum).await {
        Ok(Some((size, memory))) => Ok(Some((database, size, memory))),
        other => {
            // Before its files are removed.
            let _ = database.close().await;
            other.map(|_| None)
        }
    }
}

async fn remembered(
    database: &mut Database,
    reader: &Reader,
    minimum: u64,
) -> Result<Option<(u64, Memory)>, ReadError> {
    let standing = database.standing().await?;
    if database.minimum().await? != minimum {
        tracing::info!(minimum, "entries of the log were pruned since it was indexed; the index is built anew");
        return Ok(None);
    }
    if !is_of(reader, standing).await? {
        tracing::warn!("the index is not one of this log as it is; it is built anew");
        return Ok(None);
    }
    Ok(Some((standing.size, database.memory().await?)))
}

/// Whether the log has the entry that was indexed last where the index says. A log that cannot be read says nothing about
/// its index, which took hours to build.
async fn is_of(reader: &Reader, standing: Standing) -> Result<bool, ReadError> {
    if !standing.size.is_multiple_of(BLOCK) {
        return Ok(false);
    }
    let Some(last) = standing.size.checked_sub(1) else { return Ok(true) };
    let entry = entry_bytes(reader, last).await?;
    Ok(entry.is_some_and(|entry| leaf_hash(&entry) == standing.leaf))
}

/// Beside the database, so that two who build do not meet.
fn lock(dir: &Path) -> Result<File, ReadError> {
    create_private_dir(dir).map_err(|source| ReadError::File { path: dir.into(), source })?;
    let path = dir.join(LOCK_FILE);
    let fault = |source| ReadError::File { path: path.clone(), source };
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ReadError::IndexInUse { dir: dir.into() }),
        Err(TryLockError::Error(source)) => Err(fault(source)),
    }
}

fn remove(path: &Path) -> Result<(), ReadError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let path = PathBuf::from(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(ReadError::File { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}
