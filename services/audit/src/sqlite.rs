//! The store on SQLite: one file, one process, durable at every commit.
//!
//! WAL with `synchronous=FULL` flushes the log of the database once per transaction; both are read back, because SQLite
//! answers a pragma that it cannot follow with silence. A file lock beside the database keeps a second process out.

mod place;
mod reader;
mod rows;

pub(crate) use place::Place;
pub(crate) use reader::Reader;

use crate::error::OpenError;
use crate::store::{Batch, CheckpointRow, Erasing, Head, OrganisationState, Scrubbed, Store, StoreError};
use model::OrganisationId;
use model::pruning::Prune;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database in the directory of a log.
pub const DATABASE_FILE: &str = "log.db";
/// As it is called until there is a log in it.
const NEW_FILE: &str = "log.db.new";
pub(crate) const LOCK_FILE: &str = "log.lock";
/// `PRAGMA user_version` of the schema below.
const FORMAT: i64 = 1;
/// The same once entries were pruned: a program that knows nothing of that would take them for lost.
const PRUNED_FORMAT: i64 = 2;
const SCHEMA: &str = include_str!("sqlite/schema.sql");
/// What is put into every store, also into those that a program made which knew nothing of it.
const PRUNING_SCHEMA: &str = include_str!("sqlite/pruning.sql");

/// Shorter than the deadline of an append, so that a lock held elsewhere is answered and not waited out.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// Bytes between two checkpoints of the WAL: larger writes less, smaller reads less after a crash.
const WAL_BYTES_BETWEEN_CHECKPOINTS: u64 = 16 * 1024 * 1024;
/// What a commit writes beside the bundle: a few pages of 4 KiB with their frame headers.
const WAL_BYTES_PER_COMMIT: u64 = 24 * 1024;

/// One call to the database for a whole batch: each costs two thread switches, more than all the statements in it.
///
/// Rows come as JSON objects so that the text is the same, and prepared once, whatever their number.
const STAGE: &str = "
BEGIN IMMEDIATE;
INSERT INTO bundle (first_index, count, time_first, time_last, sha256, bytes) VALUES (?, ?, ?, ?, ?, ?);
INSERT INTO organisation (id, sequence, last_index)
    SELECT key, value ->> 0, value ->> 1 FROM json_each(CAST(? AS TEXT)) WHERE true
    ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence, last_index = excluded.last_index;
INSERT INTO disclosure (entry_index, body)
    SELECT CAST(key AS INTEGER), value FROM json_each(CAST(? AS TEXT));
INSERT INTO directory (principal, reference)
    SELECT key, value FROM json_each(CAST(? AS TEXT)) WHERE true ON CONFLICT (principal) DO NOTHING;
INSERT INTO content (digest, bytes)
    SELECT unhex(key), unhex(value) FROM json_each(CAST(? AS TEXT)) WHERE true ON CONFLICT (digest) DO NOTHING;
UPDATE head SET size = ?, root = ?, range = ?, open = ? WHERE id = 1 AND size = ? RETURNING size;
";

/// As [`ERASURE_TABLE`], empty. What it says of keys is relied on at each start, so it is as safe from accidents as the log.
const KEY_SCHEMA: &str = include_str!("sqlite/keys.sql");

/// In stores of this format from the beginning, and put into older ones as they are opened.
const ERASURE_TABLE: &str = "CREATE TABLE IF NOT EXISTS erasure (entry_index INTEGER PRIMARY KEY) STRICT";

/// Bundles from one on that may hold entries of kind `key`: those with `kind":"key"` in their bytes.
macro_rules! with_keys {
    ($bundles:literal, $first:literal) => {
        concat!(
            "SELECT first_index, bytes FROM ",
            $bundles,
            " WHERE instr(bytes, x'6b696e64223a226b657922') > 0 AND first_index >= ",
            $first
        )
    };
}

/// Contents up to this size are written together.
const SMALL_BYTES: usize = 64 * 1024;

/// The writer's connection, and the lock that makes it the only one.
#[derive(Debug)]
pub struct SqliteStore {
    connection: SqliteConnection,
    /// Bytes written to the WAL since it was last copied into the database.
    unchecked_bytes: u64,
    place: Place,
    /// Held as long as the store lives; the system lets go of it however the process ends.
    _lock: File,
}

impl SqliteStore {
    /// Opens or creates the log in `dir` for writing.
    ///
    /// # Errors
    /// When another process has it, when it belongs to another origin or a later format, or when it would not be durable.
    pub async fn open(dir: &Path, origin: &str) -> Result<Self, OpenError> {
        create_private_dir(dir).map_err(|source| OpenError::File { path: dir.into(), source })?;
        let lock = lock(dir)?;
        if let Some(ready) = crate::incarnation::unfinished(dir) {
            return Err(OpenError::Unfinished(ready));
        }
        let path = dir.join(DATABASE_FILE);
        let fault = |source| OpenError::File { path: path.clone(), source };
        if !path.try_exists().map_err(fault)? {
            make(dir, &path, origin).await?;
        }
        create_private_file(dir, &path).map_err(fault)?;
        let mut connection = options(&path).connect().await.map_err(StoreError::from)?;
        assert_durable(&mut connection).await?;
        migrate(&mut connection).await?;
        sqlx::raw_sql(ERASURE_TABLE).execute(&mut connection).await.map_err(StoreError::from)?;
        allow_pruning(&mut connection).await?;
        list_keys(&mut connection).await?;
        bind_origin(&mut connection, origin).await?;
        wipe_leftovers(&mut connection).await?;
        let place = Place::of(&path).map_err(|source| OpenError::File { path, source })?;
        Ok(Self { connection, unchecked_bytes: WAL_BYTES_BETWEEN_CHECKPOINTS, place, _lock: lock })
    }

    /// Within the transaction of the batch.
    async fn list(&mut self, keys: &[u64]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        sqlx::query(LIST_KEYS).bind(rows::indices_json(keys)?).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Within the transaction of the batch, after everything else in it.
    async fn erase(&mut self, erasing: &Erasing) -> Result<(), StoreError> {
        let Erasing { entries, deleted, rewritten, references } = erasing;
        if !entries.is_empty() {
            sqlx::query("INSERT INTO erasure (entry_index) SELECT value FROM json_each(CAST(? AS TEXT))")
                .bind(rows::indices_json(entries)?)
                .execute(&mut self.connection)
                .await?;
        }
        if !erasing.erases() {
            return Ok(());
        }
        let delete = "DELETE FROM disclosure WHERE entry_index IN (SELECT value FROM json_each(CAST(? AS TEXT)))";
        let gone = sqlx::query(delete).bind(rows::indices_json(deleted)?).execute(&mut self.connection).await?;
        let rewrite = "UPDATE disclosure SET body = of.value FROM json_each(CAST(? AS TEXT)) AS of
                       WHERE entry_index = CAST(of.key AS INTEGER)";
        let less = sqlx::query(rewrite).bind(rows::disclosures_json(rewritten)).execute(&mut self.connection).await?;
        // The entry says how many there were.
        if (gone.rows_affected(), less.rows_affected()) != (deleted.len() as u64, rewritten.len() as u64) {
            return Err(crate::reader::damaged("the number of disclosures to be erased"));
        }
        sqlx::query("DELETE FROM directory WHERE reference IN (SELECT value FROM json_each(CAST(? AS TEXT)))")
            .bind(model::Value::texts(references.iter().cloned()).encode())
            .execute(&mut self.connection)
            .await?;
        let written: usize = rewritten.iter().map(|row| row.body.len()).sum();
        let touched = WAL_BYTES_PER_COMMIT * (1 + deleted.len() as u64 / 16);
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(touched + written as u64);
        Ok(())
    }

    /// Within the transaction of the batch, at its end.
    async fn prune(&mut self, entry: u64, prune: &Prune) -> Result<(), StoreError> {
        let minimum = integer(prune.minimum)?;
        let connection = &mut self.connection;
        sqlx::query("INSERT INTO pruning (entry_index, minimum, before) VALUES (?, ?, ?)")
            .bind(integer(entry)?)
            .bind(minimum)
            .bind(prune.before.millis())
            .execute(&mut *connection)
            .await?;
        for (number, hashes) in &prune.leaves {
            let insert = sqlx::query("INSERT INTO leaf (number, hashes) VALUES (?, ?)").bind(integer(*number)?);
            insert.bind(hashes.clone()).execute(&mut *connection).await?;
        }
        // All anew: what somebody else has put there must not stand in the place of what was logged.
        sqlx::query("DELETE FROM carried").execute(&mut *connection).await?;
        for (index, bytes) in &prune.carried {
            let insert = "INSERT INTO carried (entry_index, bytes) VALUES (?, ?)";
            sqlx::query(insert).bind(integer(*index)?).bind(bytes.clone()).execute(&mut *connection).await?;
        }
        if let Some(rest) = &prune.rest {
            let cut =
                "UPDATE bundle SET first_index = ?, count = ?, time_first = ?, time_last = ?, sha256 = ?, bytes = ?
                       WHERE first_index = ?";
            let done = sqlx::query(cut)
                .bind(minimum)
                .bind(integer(rest.count)?)
                .bind(rest.time_first.millis())
                .bind(rest.time_last.millis())
                .bind(crate::batch::sha256(&rest.bytes).to_vec())
                .bind(rest.bytes.clone())
                .bind(integer(rest.of)?)
                .execute(&mut *connection)
                .await?;
            if done.rows_affected() != 1 {
                return Err(crate::reader::damaged("the row that reaches beyond what is pruned"));
            }
        }
        for delete in [
            "DELETE FROM bundle WHERE first_index < ?",
            "DELETE FROM disclosure WHERE entry_index < ?",
            "DELETE FROM erasure WHERE entry_index < ? AND entry_index NOT IN (SELECT entry_index FROM carried)",
            // Whoever asks for them looks through what is carried, too.
            "DELETE FROM key_entry WHERE entry_index < ?",
        ] {
            sqlx::query(delete).bind(minimum).execute(&mut *connection).await?;
        }
        let nobody =
            sqlx::query("DELETE FROM directory WHERE reference IN (SELECT value FROM json_each(CAST(? AS TEXT)))")
                .bind(model::Value::texts(prune.references.iter().cloned()).encode())
                .execute(&mut *connection)
                .await?;
        // The entry says how many there were.
        if nobody.rows_affected() != prune.references.len() as u64 {
            return Err(crate::reader::damaged("the number of persons of whom no entry is left"));
        }
        let format = format!("PRAGMA user_version = {PRUNED_FORMAT}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(format)).execute(&mut *connection).await?;
        // Every page that went was overwritten.
        self.unchecked_bytes = WAL_BYTES_BETWEEN_CHECKPOINTS;
        Ok(())
    }

    /// For tests that bring the database itself into trouble.
    #[cfg(test)]
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl Store for SqliteStore {
    async fn head(&mut self) -> Result<Head, StoreError> {
        rows::head(&mut self.connection).await
    }

    async fn organisations(&mut self) -> Result<Vec<(OrganisationId, OrganisationState)>, StoreError> {
        rows::organisations(&mut self.connection).await
    }

    async fn stage(&mut self, batch: Batch) -> Result<bool, StoreError> {
        // Slices are many and small, and one statement writes them all. A large policy set written in that way would hold up
        // everybody who waits for the log.
        let (large, small): (Vec<_>, Vec<_>) = batch.content.into_iter().partition(|one| one.bytes.len() > SMALL_BYTES);
        let beside: usize = large.iter().map(|one| one.bytes.len()).sum();
        let written = u64::try_from(batch.bundle.bytes.len() + beside).unwrap_or(u64::MAX);
        let written = written.saturating_add(WAL_BYTES_PER_COMMIT);
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(written);
        let head = sqlx::query(STAGE)
            .bind(integer(batch.bundle.first_index)?)
            .bind(integer(batch.bundle.count)?)
            .bind(batch.bundle.time_first.millis())
            .bind(batch.bundle.time_last.millis())
            .bind(batch.bundle.sha256.to_vec())
            .bind(batch.bundle.bytes)
            .bind(rows::organisations_json(&batch.organisations))
            .bind(rows::disclosures_json(&batch.disclosures))
            .bind(rows::directory_json(&batch.directory))
            .bind(rows::content_json(&small))
            .bind(integer(batch.head.size())?)
            .bind(batch.head.root().0.to_vec())
            .bind(batch.head.range.to_bytes())
            .bind(batch.head.open.to_bytes())
            .bind(integer(batch.bundle.first_index)?)
            .fetch_all(&mut self.connection)
            .await?;
        for content in large {
            sqlx::query("INSERT INTO content (digest, bytes) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING")
                .bind(content.digest.0.to_vec())
                .bind(content.bytes.to_vec())
                .execute(&mut self.connection)
                .await?;
        }
        if head.len() != 1 {
            return Ok(false);
        }
        self.list(&batch.keys).await?;
        self.erase(&batch.erasing).await?;
        if let Some((entry, prune)) = &batch.pruning {
            self.prune(*entry, prune).await?;
        }
        Ok(true)
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        // Only now, so that nobody is told of an entry that was written to a file which has gone meanwhile.
        self.place.check()
    }

    async fn roll_back(&mut self) -> Result<(), StoreError> {
        // SQLite may have rolled back by itself, and then says that there is nothing to roll back.
        let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
        // Transactions do not nest: that one can begin proves that none was open.
        sqlx::query("BEGIN").execute(&mut self.connection).await?;
        sqlx::query("ROLLBACK").execute(&mut self.connection).await?;
        Ok(())
    }

    async fn put_checkpoint(&mut self, row: CheckpointRow) -> Result<(), StoreError> {
        // Signing the same tree twice keeps the first note.
        sqlx::query("INSERT INTO checkpoint (size, note, range) VALUES (?, ?, ?) ON CONFLICT (size) DO NOTHING")
            .bind(integer(row.range.size())?)
            .bind(row.note)
            .bind(row.range.to_bytes())
            .execute(&mut self.connection)
            .await?;
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(WAL_BYTES_PER_COMMIT);
        self.place.check()
    }

    async fn maintain(&mut self) -> Result<(), StoreError> {
        if self.unchecked_bytes < WAL_BYTES_BETWEEN_CHECKPOINTS {
            return Ok(());
        }
        self.unchecked_bytes = 0;
        match sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_all(&mut self.connection).await.map_err(Into::into) {
            Ok(_) => Ok(()),
            // The WAL holds everything and goes on growing where it can.
            Err(error @ (StoreError::Full(_) | StoreError::Busy(_))) => {
                tracing::warn!(error = error.chain(), "the log's WAL could not be copied into its database");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn scrub(&mut self) -> Result<Scrubbed, StoreError> {
        // `secure_delete` has wiped the pages; their older versions are in the WAL, for as long as somebody reads them. Nobody
        // else may be kept waiting for that.
        sqlx::raw_sql("PRAGMA busy_timeout = 0").execute(&mut self.connection).await?;
        let wiped = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut self.connection).await;
        let timeout = format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis());
        sqlx::raw_sql(sqlx::AssertSqlSafe(timeout)).execute(&mut self.connection).await?;
        let is_busy: i64 = wiped?.try_get(0)?;
        if is_busy != 0 {
            return Ok(Scrubbed::Busy);
        }
        self.unchecked_bytes = 0;
        Ok(Scrubbed::Wiped)
    }

    async fn close(mut self) -> Result<(), StoreError> {
        // Readers may still be connected, so SQLite would leave the WAL; a closed log is one file.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_all(&mut self.connection).await?;
        self.connection.close().await?;
        Ok(())
    }

    fn abandon(self) {
        // Closing would copy the WAL into the database and delete it, on a disk that has just failed to write. The
        // process is about to end, and the next one finds the WAL.
        std::mem::forget(self.connection);
    }
}

/// What an error of SQLite's says about the data.
pub(crate) fn kind_of(error: sqlx::Error) -> StoreError {
    // https://www.sqlite.org/rescode.html: the primary code is the low byte.
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const NO_MEMORY: i32 = 7;
    const FULL: i32 = 13;
    let code = match &error {
        sqlx::Error::Database(e) => e.code().and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff),
        _ => None,
    };
    match code {
        Some(FULL) => StoreError::Full(error.into()),
        Some(BUSY | LOCKED | NO_MEMORY) => StoreError::Busy(error.into()),
        _ => StoreError::Failed(error.into()),
    }
}

/// SQLite counts in signed 64 bits; no log gets there.
fn integer(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|e| StoreError::Failed(e.into()))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // Done in `maintain`: SQLite ignores the errors of its own checkpoints, and a flush that failed once may
        // be reported as done the next time.
        .pragma("wal_autocheckpoint", "0")
        // What is erased is overwritten.
        .pragma("secure_delete", "ON")
        .pragma("cell_size_check", "ON")
        .disable_statement_logging()
}

/// Makes the database of a log without entries. It is whole before it has its name: whoever looks finds a log or none, also
/// where a start broke off.
async fn make(dir: &Path, path: &Path, origin: &str) -> Result<(), OpenError> {
    let new = dir.join(NEW_FILE);
    let fault = |source| OpenError::File { path: new.clone(), source };
    // It would be read into the new database, and may hold the last entries of the old one.
    for end in ["-wal", "-journal"] {
        let left = dir.join(format!("{DATABASE_FILE}{end}"));
        if left.symlink_metadata().is_ok() {
            let what = format!(
                "it may hold the last entries of a log, whose `{DATABASE_FILE}` is not there; bring that back, or move both away"
            );
            return Err(OpenError::File { path: left, source: io::Error::other(what) });
        }
    }
    // What a start left that broke off.
    for end in ["", "-journal", "-wal", "-shm"] {
        match std::fs::remove_file(dir.join(format!("{NEW_FILE}{end}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
            _ => {}
        }
    }
    create_private_file(dir, &new).map_err(fault)?;
    let mut connection = options(&new).connect().await.map_err(StoreError::from)?;
    assert_durable(&mut connection).await?;
    migrate(&mut connection).await?;
    bind_origin(&mut connection, origin).await?;
    // Closing would do this too, and say nothing where it fails; a WAL does not go with the file.
    let copied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await;
    let is_busy: i64 = copied.and_then(|row| row.try_get(0)).map_err(StoreError::from)?;
    connection.close().await.map_err(StoreError::from)?;
    if is_busy != 0 {
        return Err(fault(io::ErrorKind::ResourceBusy.into()));
    }
    std::fs::rename(&new, path).map_err(fault)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(fault)
}

pub(crate) fn create_private_dir(dir: &Path) -> Result<(), io::Error> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// SQLite gives its WAL and its index the permissions of the database.
pub(crate) fn create_private_file(dir: &Path, path: &Path) -> Result<(), io::Error> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.sync_all()?;
    // The name must survive a loss of power as well as the content.
    File::open(dir)?.sync_all()
}

/// Keeps every other process from the log in `dir`, which is created if need be.
pub(crate) fn hold(dir: &Path) -> Result<File, OpenError> {
    create_private_dir(dir).map_err(|source| OpenError::File { path: dir.into(), source })?;
    lock(dir)
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path: PathBuf = dir.join(LOCK_FILE);
    let fault = |source| OpenError::File { path: path.clone(), source };
    create_private_file(dir, &path).map_err(fault)?;
    let file = File::options().write(true).open(&path).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.into() }),
        Err(TryLockError::Error(source)) => Err(fault(source)),
    }
}

async fn assert_durable(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    const FULL: i64 = 2;
    let journal: String = pragma(connection, "PRAGMA journal_mode").await?;
    let synchronous: i64 = pragma(connection, "PRAGMA synchronous").await?;
    if journal == "wal" && synchronous == FULL { Ok(()) } else { Err(OpenError::NotDurable { journal, synchronous }) }
}

/// A run that broke off can leave older copies of what it has erased in the WAL.
async fn wipe_leftovers(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let erased = "SELECT entry_index FROM erasure UNION ALL SELECT entry_index FROM pruning LIMIT 1";
    let erased = sqlx::query(erased).fetch_optional(&mut *connection).await;
    if erased.map_err(StoreError::from)?.is_none() {
        return Ok(());
    }
    match sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_all(connection).await.map_err(Into::into) {
        Ok(_) => Ok(()),
        Err(error @ (StoreError::Full(_) | StoreError::Busy(_))) => {
            tracing::warn!(
                error = error.chain(),
                "older copies of what was erased from the log could not be wiped yet"
            );
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn pragma<T>(connection: &mut SqliteConnection, sql: &'static str) -> Result<T, StoreError>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    let row = sqlx::query(sql).fetch_one(connection).await?;
    Ok(row.try_get(0)?)
}

const LIST_KEYS: &str = "INSERT INTO key_entry (entry_index) SELECT value FROM json_each(CAST(? AS TEXT)) WHERE true
    ON CONFLICT (entry_index) DO NOTHING";

/// Brings the list of entries of kind `key` up to date: made from all that is there in a store that does not have it, or was
/// written to since by a program which does not know it; from what no checkpoint covers in every other, whoever has put that
/// there. Programs of before make an index over the bytes of bundles, which costs a search through each that is written.
async fn list_keys(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let is_listed =
        pragma(connection, "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'key_entry_stays')").await?;
    let is_indexed = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'bundle_of_keys')";
    let is_indexed = pragma(connection, is_indexed).await?;
    let sql = match (is_listed, is_indexed) {
        (_, true) => with_keys!("bundle INDEXED BY bundle_of_keys", "0"),
        (false, false) => with_keys!("bundle", "0"),
        (true, false) => with_keys!(
            "bundle",
            "coalesce((SELECT max(first_index) FROM bundle
                       WHERE first_index <= (SELECT max(size) FROM checkpoint)), 0)"
        ),
    };
    let is_empty = !pragma::<bool>(connection, "SELECT EXISTS (SELECT 1 FROM bundle)").await?;
    if !(is_listed || is_indexed || is_empty) {
        tracing::info!("the log's store gets a list of changes of keys; all of it is read for that, once");
    }
    let mut transaction = connection.begin().await.map_err(StoreError::from)?;
    if !is_listed || is_indexed {
        // A program that does not know it leaves in it what it prunes.
        sqlx::raw_sql(KEY_SCHEMA).execute(&mut *transaction).await.map_err(StoreError::from)?;
    }
    let mut keys = Vec::new();
    for bundle in sqlx::query(sql).fetch_all(&mut *transaction).await.map_err(StoreError::from)? {
        let first = rows::unsigned(&bundle, "first_index")?;
        let bytes: Vec<u8> = bundle.try_get("bytes").map_err(StoreError::from)?;
        keys.extend(crate::keys::entries_in(first, &bytes));
    }
    if !keys.is_empty() {
        let insert = sqlx::query(LIST_KEYS).bind(rows::indices_json(&keys)?);
        insert.execute(&mut *transaction).await.map_err(StoreError::from)?;
    }
    if is_indexed {
        sqlx::raw_sql("DROP INDEX bundle_of_keys").execute(&mut *transaction).await.map_err(StoreError::from)?;
    }
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(())
}

/// The tables of what is not kept, and the triggers that let it go. Nothing is written where they are there.
async fn allow_pruning(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let known = "SELECT count(*) FROM sqlite_schema WHERE name IN ('bundle_stays', 'bundle_keeps_its_end', 'carried')";
    if pragma::<i64>(connection, known).await? == 3 {
        return Ok(());
    }
    let mut transaction = connection.begin().await.map_err(StoreError::from)?;
    sqlx::raw_sql(PRUNING_SCHEMA).execute(&mut *transaction).await.map_err(StoreError::from)?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(())
}

/// Brings the schema to [`FORMAT`], in one transaction.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    match pragma(connection, "PRAGMA user_version").await? {
        FORMAT | PRUNED_FORMAT => Ok(()),
        0 => {
            let mut transaction = connection.begin().await.map_err(StoreError::from)?;
            sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await.map_err(StoreError::from)?;
            let empty = Head::default();
            sqlx::query("INSERT INTO head (id, size, root, range, open) VALUES (1, 0, ?, ?, ?)")
                .bind(empty.root().0.to_vec())
                .bind(empty.range.to_bytes())
                .bind(empty.open.to_bytes())
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::from)?;
            sqlx::raw_sql("PRAGMA user_version = 1").execute(&mut *transaction).await.map_err(StoreError::from)?;
            transaction.commit().await.map_err(StoreError::from)?;
            Ok(())
        }
        found => Err(OpenError::Format { found, known: PRUNED_FORMAT }),
    }
}

/// A log has one name for life: two logs under one origin would be a fork.
async fn bind_origin(connection: &mut SqliteConnection, origin: &str) -> Result<(), OpenError> {
    sqlx::query("INSERT INTO meta (key, value) VALUES ('origin', ?) ON CONFLICT (key) DO NOTHING")
        .bind(origin)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::from)?;
    let found: String = pragma(connection, "SELECT value FROM meta WHERE key = 'origin'").await?;
    if found == origin { Ok(()) } else { Err(OpenError::Origin { found, expected: origin.to_owned() }) }
}

#[cfg(test)]
mod tests;
