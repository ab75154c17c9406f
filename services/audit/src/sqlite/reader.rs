//! The readers' side: connections of their own, so that nobody who reads keeps the writer waiting.
//!
//! Every call is a short statement. A long one would hold a snapshot, and the WAL could not be reused meanwhile.

use super::rows::{self, unsigned};
use super::{BUSY_TIMEOUT, DATABASE_FILE};
use crate::reader::{CHUNK_BYTES_MAX, CONNECTIONS_MAX, CarriedUnder, RawCheckpoint, Span, Standing, damaged};
use crate::store::{Bundle, CheckpointRow, DisclosureRow, Head, StoreError};
use futures_util::TryStreamExt as _;
use model::entry::{Content, DirectoryRow};
use model::{Digest, Timestamp, Value};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Row as _};
use std::collections::HashMap;
use std::path::Path;

/// A selection of bundles.
macro_rules! bundles {
    ($rest:literal) => {
        concat!("SELECT first_index, count, time_first, time_last, sha256, bytes FROM bundle ", $rest)
    };
}

/// Reads a log's database; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pool: SqlitePool,
}

impl Reader {
    /// Opens the database in `dir` for reading, whoever else has it open.
    pub(crate) async fn open(dir: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(dir.join(DATABASE_FILE))
            .read_only(true)
            .busy_timeout(BUSY_TIMEOUT)
            // A row is up to a mebibyte.
            .row_buffer_size(2)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .test_before_acquire(false)
            .connect_with(options)
            .await?;
        Ok(Self { pool })
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) async fn head(&self) -> Result<Head, StoreError> {
        rows::head(&mut *self.pool.acquire().await?).await
    }

    pub(crate) async fn origin(&self) -> Result<String, StoreError> {
        let row = sqlx::query("SELECT value FROM meta WHERE key = 'origin'").fetch_one(&self.pool).await?;
        Ok(row.try_get("value")?)
    }

    /// The head as it is stored, good or not, and the organisations at the same moment.
    pub(crate) async fn standing(&self) -> Result<Standing, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let head = rows::raw_head(&mut transaction).await?;
        let organisations = rows::organisations(&mut transaction).await?;
        transaction.rollback().await?;
        Ok(Standing { head, organisations })
    }

    /// Bundles from the one that begins at or after `first_index`, ascending, about [`CHUNK_BYTES_MAX`]. Empty at
    /// the end.
    pub(crate) async fn bundles(&self, first_index: u64) -> Result<Vec<Bundle>, StoreError> {
        let sql = bundles!("WHERE first_index >= ? ORDER BY first_index");
        let Ok(first_index) = i64::try_from(first_index) else { return Ok(Vec::new()) };
        collect(sqlx::query(sql).bind(first_index).fetch(&self.pool), CHUNK_BYTES_MAX).await
    }

    /// The first bundle that begins at or after `first_index`, alone.
    pub(crate) async fn bundle_from(&self, first_index: u64) -> Result<Option<Bundle>, StoreError> {
        let sql = bundles!("WHERE first_index >= ? ORDER BY first_index LIMIT 1");
        let Ok(first_index) = i64::try_from(first_index) else { return Ok(None) };
        let row = sqlx::query(sql).bind(first_index).fetch_optional(&self.pool).await?;
        row.as_ref().map(bundle).transpose()
    }

    /// Where the first bundle at or after `index` begins, from the index by time alone: it may be readable where the
    /// bundles are not.
    pub(crate) async fn first_index_from(&self, index: u64) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT first_index FROM bundle INDEXED BY bundle_by_time WHERE first_index >= ?
                   ORDER BY first_index LIMIT 1";
        let Ok(index) = i64::try_from(index) else { return Ok(None) };
        let row = sqlx::query(sql).bind(index).fetch_optional(&self.pool).await?;
        row.map(|row| unsigned(&row, "first_index")).transpose()
    }

    /// Where bundles begin that may hold changes of keys.
    pub(crate) async fn bundles_of_keys(&self) -> Result<Vec<u64>, StoreError> {
        let sql = if self.key_entries().await?.is_some() {
            "SELECT DISTINCT (SELECT max(first_index) FROM bundle WHERE first_index <= entry_index) AS first_index
             FROM key_entry WHERE entry_index >= (SELECT min(first_index) FROM bundle) ORDER BY 1"
        } else {
            "SELECT first_index FROM bundle WHERE instr(bytes, x'6b696e64223a226b657922') > 0 ORDER BY first_index"
        };
        let rows = sqlx::query(sql).fetch_all(&self.pool).await?;
        rows.iter().map(|row| unsigned(row, "first_index")).collect()
    }

    /// Where entries of kind `key` stand, as the store lists them; `None` in one that was not opened for writing since there is a
    /// list, or was by a program that does not know it.
    pub(crate) async fn key_entries(&self) -> Result<Option<Vec<u64>>, StoreError> {
        let known = "SELECT name FROM sqlite_schema WHERE name IN ('key_entry', 'bundle_of_keys')";
        let known = sqlx::query(known).fetch_all(&self.pool).await?;
        let names = known.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        if names != ["key_entry"] {
            return Ok(None);
        }
        let rows = sqlx::query("SELECT entry_index FROM key_entry ORDER BY entry_index").fetch_all(&self.pool).await?;
        rows.iter().map(|row| unsigned(row, "entry_index")).collect::<Result<_, _>>().map(Some)
    }

    /// The bundle that holds this entry.
    pub(crate) async fn bundle_of(&self, index: u64) -> Result<Option<Bundle>, StoreError> {
        let sql = bundles!("WHERE first_index <= ? ORDER BY first_index DESC LIMIT 1");
        let Ok(bound) = i64::try_from(index) else { return Ok(None) };
        let row = sqlx::query(sql).bind(bound).fetch_optional(&self.pool).await?;
        let bundle = row.as_ref().map(bundle).transpose()?;
        Ok(bundle.filter(|b| index - b.first_index < b.count))
    }

    /// First indices of the first and the last bundle with entries of that time; `None` when there is none.
    ///
    /// Reads one small index, so that a search over a day does not walk through a year.
    pub(crate) async fn bundles_of_time(
        &self,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Option<(u64, u64)>, StoreError> {
        let sql = "SELECT min(first_index) AS low, max(first_index) AS high FROM bundle INDEXED BY bundle_by_time
                   WHERE time_first <= ? AND time_last >= ?";
        let row = sqlx::query(sql).bind(to.millis()).bind(from.millis()).fetch_one(&self.pool).await?;
        match row.try_get::<Option<i64>, _>("low")? {
            None => Ok(None),
            Some(_) => Ok(Some((unsigned(&row, "low")?, unsigned(&row, "high")?))),
        }
    }

    /// Bundles that may hold entries of the span, in its direction, about `bytes`. Empty at the end.
    pub(crate) async fn bundles_in(&self, span: &Span, bytes: usize) -> Result<Vec<Bundle>, StoreError> {
        const WHERE_ASCENDING: &str =
            bundles!("WHERE first_index BETWEEN ? AND ? AND time_first <= ? AND time_last >= ? ORDER BY first_index");
        const WHERE_DESCENDING: &str = bundles!(
            "WHERE first_index BETWEEN ? AND ? AND time_first <= ? AND time_last >= ? ORDER BY first_index DESC"
        );
        let sql = if span.newest_first { WHERE_DESCENDING } else { WHERE_ASCENDING };
        let query = sqlx::query(sql)
            .bind(i64::try_from(span.indices.0).unwrap_or(i64::MAX))
            .bind(i64::try_from(span.indices.1).unwrap_or(i64::MAX))
            .bind(span.time.1.millis())
            .bind(span.time.0.millis());
        collect(query.fetch(&self.pool), bytes).await
    }

    /// The signed checkpoint of the largest tree.
    pub(crate) async fn last_checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        let sql = "SELECT size, note, range FROM checkpoint ORDER BY size DESC LIMIT 1";
        sqlx::query(sql).fetch_optional(&self.pool).await?.as_ref().map(checkpoint).transpose()
    }

    /// The signed checkpoint of the tree of that size.
    pub(crate) async fn checkpoint(&self, size: u64) -> Result<Option<CheckpointRow>, StoreError> {
        let Ok(size) = i64::try_from(size) else { return Ok(None) };
        let query = sqlx::query("SELECT size, note, range FROM checkpoint WHERE size = ?").bind(size);
        query.fetch_optional(&self.pool).await?.as_ref().map(checkpoint).transpose()
    }

    /// Checkpoints of trees larger than `size`, good or not, ascending, at most 1,000.
    pub(crate) async fn raw_checkpoints_after(&self, size: Option<u64>) -> Result<Vec<RawCheckpoint>, StoreError> {
        let sql = "SELECT size, note, range FROM checkpoint WHERE size > ? ORDER BY size LIMIT 1000";
        let bound = size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX));
        let rows = sqlx::query(sql).bind(bound).fetch_all(&self.pool).await?;
        let raw = |row: &SqliteRow| {
            let (size, range) = (unsigned(row, "size")?, rows::range(row).ok());
            Ok(RawCheckpoint { size, note: row.try_get("note")?, range })
        };
        rows.iter().map(raw).collect()
    }

    pub(crate) async fn directory(&self) -> Result<Vec<DirectoryRow>, StoreError> {
        let rows = sqlx::query("SELECT principal, reference FROM directory").fetch_all(&self.pool).await?;
        rows.iter()
            .map(|r| Ok(DirectoryRow { principal: r.try_get("principal")?, reference: r.try_get("reference")? }))
            .collect()
    }

    /// What entries call a principal.
    pub(crate) async fn reference_of(&self, principal: &str) -> Result<Option<String>, StoreError> {
        let query = sqlx::query("SELECT reference FROM directory WHERE principal = ?").bind(principal.to_owned());
        let row = query.fetch_optional(&self.pool).await?;
        row.map(|row| Ok(row.try_get("reference")?)).transpose()
    }

    /// Principals by reference, as far as the directory has them.
    pub(crate) async fn principals_of(&self, references: &[&str]) -> Result<HashMap<String, String>, StoreError> {
        let sql = "SELECT reference, principal FROM directory
                   WHERE reference IN (SELECT value FROM json_each(CAST(? AS TEXT)))";
        let list = Value::texts(references.iter().copied()).encode();
        let rows = sqlx::query(sql).bind(list).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get("reference")?, row.try_get("principal")?))).collect()
    }

    /// Bytes that an entry names by digest.
    pub(crate) async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let query = sqlx::query("SELECT bytes FROM content WHERE digest = ?").bind(digest.0.to_vec());
        let row = query.fetch_optional(&self.pool).await?;
        row.map(|row| Ok(row.try_get("bytes")?)).transpose()
    }

    /// Those of `digests` that are there.
    pub(crate) async fn contents(&self, digests: &[Digest]) -> Result<Vec<Content>, StoreError> {
        let sql = "SELECT digest, bytes FROM content
                   WHERE digest IN (SELECT unhex(value) FROM json_each(CAST(? AS TEXT)))";
        let list = Value::texts(digests.iter().map(|digest| digest.to_hex())).encode();
        let rows = sqlx::query(sql).bind(list).fetch_all(&self.pool).await?;
        let content = |row: &SqliteRow| {
            let digest: Vec<u8> = row.try_get("digest")?;
            let digest = Digest(digest.try_into().map_err(|_| damaged("the digest of a content"))?);
            Ok(Content { digest, bytes: row.try_get::<Vec<u8>, _>("bytes")?.into() })
        };
        rows.iter().map(content).collect()
    }

    /// Where entries of kind `erasure` stand behind `after`, ascending. A store that no later program has opened has no such
    /// table.
    pub(crate) async fn erasure_entries_after(&self, after: Option<u64>) -> Result<Vec<u64>, StoreError> {
        let known = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'erasure'");
        if known.fetch_optional(&self.pool).await?.is_none() {
            return Ok(Vec::new());
        }
        let after = after.map_or(-1, |after| i64::try_from(after).unwrap_or(i64::MAX));
        let sql = "SELECT entry_index FROM erasure WHERE entry_index > ? ORDER BY entry_index";
        let rows = sqlx::query(sql).bind(after).fetch_all(&self.pool).await?;
        rows.iter().map(|row| unsigned(row, "entry_index")).collect()
    }

    /// A store that no later program has opened has no such table.
    async fn knows_pruning(&self) -> Result<bool, StoreError> {
        let known = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'carried'");
        Ok(known.fetch_optional(&self.pool).await?.is_some())
    }

    /// Where entries of kind `pruning` stand, each with the minimum index that it says, ascending.
    pub(crate) async fn prunings(&self) -> Result<Vec<(u64, u64)>, StoreError> {
        if !self.knows_pruning().await? {
            return Ok(Vec::new());
        }
        let sql = "SELECT entry_index, minimum FROM pruning ORDER BY entry_index";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((unsigned(row, "entry_index")?, unsigned(row, "minimum")?))).collect()
    }

    /// Hashes of entries that are gone, from bundle `number` on, ascending: numbers and hashes of at most `limit` bundles.
    pub(crate) async fn leaves(&self, number: u64, limit: u32) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        if !self.knows_pruning().await? {
            return Ok(Vec::new());
        }
        let sql = "SELECT number, hashes FROM leaf WHERE number >= ? ORDER BY number LIMIT ?";
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let rows = sqlx::query(sql).bind(number).bind(limit).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((unsigned(row, "number")?, row.try_get("hashes")?))).collect()
    }

    /// The last entry of kind `pruning`, and the entries before the minimum index that are kept all the same, ascending, both at
    /// the same moment.
    pub(crate) async fn carried(&self) -> Result<CarriedUnder, StoreError> {
        if !self.knows_pruning().await? {
            return Ok((None, Vec::new()));
        }
        let mut transaction = self.pool.begin().await?;
        let last = sqlx::query("SELECT entry_index FROM pruning ORDER BY entry_index DESC LIMIT 1");
        let under = last.fetch_optional(&mut *transaction).await?;
        let rows = sqlx::query("SELECT entry_index, bytes FROM carried ORDER BY entry_index");
        let rows = rows.fetch_all(&mut *transaction).await?;
        transaction.rollback().await?;
        let carried = rows.iter().map(|row| Ok((unsigned(row, "entry_index")?, row.try_get("bytes")?)));
        let under = under.map(|row| unsigned(&row, "entry_index")).transpose()?;
        Ok((under, carried.collect::<Result<_, StoreError>>()?))
    }

    /// Disclosures of the entries between these, both inclusive, ascending, at most `limit`.
    pub(crate) async fn disclosures(
        &self,
        (first, last): (u64, u64),
        limit: u32,
    ) -> Result<Vec<DisclosureRow>, StoreError> {
        let sql =
            "SELECT entry_index, body FROM disclosure WHERE entry_index BETWEEN ? AND ? ORDER BY entry_index LIMIT ?";
        let bound = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
        let query = sqlx::query(sql).bind(bound(first)).bind(bound(last)).bind(limit);
        let rows = query.fetch_all(&self.pool).await?;
        let row = |row: &SqliteRow| {
            let body = row.try_get::<String, _>("body")?.into_bytes();
            Ok(DisclosureRow { entry_index: unsigned(row, "entry_index")?, body })
        };
        rows.iter().map(row).collect()
    }

    /// Where the first bundle begins that has an entry of `time` or later; `None` where all are earlier.
    pub(crate) async fn first_index_of_time(&self, time: Timestamp) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT min(first_index) AS first FROM bundle INDEXED BY bundle_by_time WHERE time_last >= ?";
        let row = sqlx::query(sql).bind(time.millis()).fetch_one(&self.pool).await?;
        match row.try_get::<Option<i64>, _>("first")? {
            None => Ok(None),
            Some(_) => Ok(Some(unsigned(&row, "first")?)),
        }
    }

    /// The values behind the commitments of an entry, unless erased.
    pub(crate) async fn disclosure(&self, index: u64) -> Result<Option<String>, StoreError> {
        let Ok(index) = i64::try_from(index) else { return Ok(None) };
        let query = sqlx::query("SELECT body FROM disclosure WHERE entry_index = ?").bind(index);
        let row = query.fetch_optional(&self.pool).await?;
        row.map(|row| Ok(row.try_get("body")?)).transpose()
    }
}

async fn collect(
    mut rows: impl futures_util::Stream<Item = Result<SqliteRow, sqlx::Error>> + Unpin,
    bytes_max: usize,
) -> Result<Vec<Bundle>, StoreError> {
    let (mut bundles, mut bytes) = (Vec::new(), 0);
    while bytes < bytes_max
        && let Some(row) = rows.try_next().await?
    {
        let bundle = bundle(&row)?;
        bytes += bundle.bytes.len();
        bundles.push(bundle);
    }
    Ok(bundles)
}

fn bundle(row: &SqliteRow) -> Result<Bundle, StoreError> {
    let sha256: Vec<u8> = row.try_get("sha256")?;
    Ok(Bundle {
        first_index: unsigned(row, "first_index")?,
        count: unsigned(row, "count")?,
        time_first: Timestamp(row.try_get("time_first")?),
        time_last: Timestamp(row.try_get("time_last")?),
        sha256: sha256.try_into().map_err(|_| damaged("the digest of a bundle"))?,
        bytes: row.try_get("bytes")?,
    })
}

fn checkpoint(row: &SqliteRow) -> Result<CheckpointRow, StoreError> {
    Ok(CheckpointRow { note: row.try_get("note")?, range: rows::range(row)? })
}
