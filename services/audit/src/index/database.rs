//! The index's own database: `index.db` beside the log, or wherever it is built.
//!
//! Its rows are not waited for until they are on the disk, only kept in order: what a crash takes is built again from the log.

use super::block::{CellKey, Memory, Open, Rows};
use super::error::{IndexError, damaged};
use super::facts::{COLUMNS, Facet};
use model::Timestamp;
use model::canonical::{encode_text, hex};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use tlog::Hash;

pub(super) const DATABASE_FILE: &str = "index.db";
pub(super) const LOCK_FILE: &str = "index.lock";
/// `PRAGMA user_version`. 2: refused readings of the log have their resource in cells, which tell countries apart.
pub(super) const FORMAT: i64 = 2;
const SCHEMA: &str = include_str!("schema.sql");
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 3;
/// Summaries sort what does not fit an index; in memory that is quicker than on the disk.
const CACHE_KIB: &str = "-32768";

/// One call for a whole block, with rows as JSON: a call costs as much as a hundred rows.
const WRITE: &str = "
BEGIN IMMEDIATE;
INSERT INTO term (id, facet, value) SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(CAST(? AS TEXT));
INSERT INTO posting (term, block, positions)
    SELECT value ->> 0, value ->> 1, unhex(value ->> 2) FROM json_each(CAST(? AS TEXT));
INSERT INTO request (block, marks) VALUES (?, ?);
INSERT INTO hour (hour, low, high) SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(CAST(? AS TEXT)) WHERE true
    ON CONFLICT DO UPDATE SET low = min(low, excluded.low), high = max(high, excluded.high);
INSERT INTO cell
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8,
        value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15, value ->> 16,
        value ->> 17, value ->> 18, value ->> 19
    FROM json_each(CAST(? AS TEXT)) WHERE true
    ON CONFLICT DO UPDATE SET decisions = decisions + excluded.decisions, ended = ended + excluded.ended,
        complete = complete + excluded.complete, bytes = bytes + excluded.bytes, rows = rows + excluded.rows;
DELETE FROM open WHERE decision IN (SELECT value FROM json_each(CAST(? AS TEXT)));
INSERT INTO open (decision, time, cell)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(CAST(? AS TEXT));
INSERT INTO span (scale, ended, decision, started)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(CAST(? AS TEXT));
UPDATE standing SET size = ?, leaf = ? WHERE id = 1;
COMMIT;
";

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Database {
    connection: SqliteConnection,
}

/// How far an index has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub size: u64,
    /// Hash of the last entry that is indexed.
    pub leaf: Hash,
}

impl Database {
    /// Opens or creates the index of the log `origin` in this file. `None`: it is another log's, another format's, or no index.
    pub(super) async fn open(path: &Path, origin: &str) -> Result<Option<Self>, IndexError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("secure_delete", "OFF")
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        match is_of(&mut connection, origin).await {
            Ok(true) => Ok(Some(Self { connection })),
            other => {
                // Whoever opens it next may begin a file of this name, and a connection that is closed later would take
                // the WAL of that one along.
                let _ = connection.close().await;
                other.map(|_| None)
            }
        }
    }

    pub(super) async fn standing(&mut self) -> Result<Standing, IndexError> {
        standing(&mut self.connection).await
    }

    /// Says of an index that is empty with which entry it begins.
    pub(super) async fn begin_at(&mut self, minimum: u64) -> Result<(), IndexError> {
        let put = "INSERT INTO meta (key, value) VALUES ('minimum', ?) ON CONFLICT (key) DO NOTHING";
        sqlx::query(put).bind(minimum.to_string()).execute(&mut self.connection).await?;
        Ok(())
    }

    /// The first entry that the log had when the index was begun.
    pub(super) async fn minimum(&mut self) -> Result<u64, IndexError> {
        minimum(&mut self.connection).await
    }

    pub(super) async fn memory(&mut self) -> Result<Memory, IndexError> {
        let mut memory = Memory::default();
        for row in sqlx::query("SELECT id, facet, value FROM term").fetch_all(&mut self.connection).await? {
            let (id, number, value): (i64, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let Some(facet) = Facet::numbered(number) else { return Err(damaged("term")) };
            memory.last_term = memory.last_term.max(id);
            memory.terms.entry(facet).or_default().insert(value, id);
        }
        memory.open = open_rows(&mut self.connection).await?.into_iter().collect();
        Ok(memory)
    }

    /// Adds a block; `leaf` is the hash of its last entry.
    pub(super) async fn write(&mut self, rows: &Rows, memory: &Memory, leaf: Hash) -> Result<(), IndexError> {
        let block = super::integer(rows.block)?;
        let marks: Vec<u8> = rows.marks.iter().flat_map(|mark| mark.to_be_bytes()).collect();
        let opened = rows.opened.iter().filter_map(|index| Some((index, memory.open.get(index)?)));
        let size = rows.block * super::positions::BLOCK + rows.marks.len() as u64;
        let done = sqlx::query(WRITE)
            .bind(json(&rows.terms, |(id, facet, value), out| {
                let _ = write!(out, "[{id},{},{}]", facet.number(), quoted(value));
            }))
            .bind(json(&rows.postings, |(term, positions), out| {
                let _ = write!(out, "[{term},{block},\"{}\"]", hex(&positions.to_bytes()));
            }))
            .bind(block)
            .bind(marks)
            .bind(json(&rows.hours, |(hour, (low, high)), out| {
                let _ = write!(out, "[{hour},{low},{high}]");
            }))
            .bind(json(&rows.cells, |(key, m), out| {
                let _ = write!(
                    out,
                    "[{},{},{},{},{},{},{},{}]",
                    numbers(key),
                    m.decisions,
                    m.ended,
                    m.complete,
                    m.bytes,
                    m.rows,
                    m.first_index,
                    m.first_time
                );
            }))
            .bind(json(&rows.closed, |index, out| {
                let _ = write!(out, "{index}");
            }))
            .bind(json(opened, |(index, open), out| {
                let _ = write!(out, "[{index},{},\"{}\"]", open.time.millis(), numbers(&open.cell));
            }))
            .bind(json(&rows.spans, |span, out| {
                let _ = write!(out, "[{},{},{},{}]", span.scale, span.ended, span.decision, span.started);
            }))
            .bind(super::integer(size)?)
            .bind(leaf.0.to_vec())
            .execute(&mut self.connection)
            .await;
        if let Err(error) = done {
            let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
            return Err(error.into());
        }
        Ok(())
    }

    pub(super) async fn close(self) -> Result<(), IndexError> {
        Ok(self.connection.close().await?)
    }
}

/// Whether it is the index of this log, in this format. One that is empty becomes it.
async fn is_of(connection: &mut SqliteConnection, origin: &str) -> Result<bool, IndexError> {
    let format = format(&mut *connection).await?;
    if format == 0 {
        let mut transaction = connection.begin().await?;
        sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO meta (key, value) VALUES ('origin', ?)")
            .bind(origin)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO standing (id, size, leaf) VALUES (1, 0, ?)")
            .bind([0_u8; 32].to_vec())
            .execute(&mut *transaction)
            .await?;
        sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {FORMAT}"))).execute(&mut *transaction).await?;
        transaction.commit().await?;
    } else if format != FORMAT {
        return Ok(false);
    }
    let found = sqlx::query("SELECT value FROM meta WHERE key = 'origin'").fetch_one(connection).await?;
    Ok(found.try_get::<String, _>(0)? == origin)
}

pub(super) async fn format(connection: &mut SqliteConnection) -> Result<i64, IndexError> {
    Ok(sqlx::query("PRAGMA user_version").fetch_one(connection).await?.try_get(0)?)
}

/// For those who ask.
pub(super) async fn readers(path: &Path) -> Result<SqlitePool, IndexError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("cache_size", CACHE_KIB)
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new().max_connections(READERS).test_before_acquire(false).connect_with(options);
    Ok(pool.await?)
}

pub(super) async fn standing(connection: &mut SqliteConnection) -> Result<Standing, IndexError> {
    let row = sqlx::query("SELECT size, leaf FROM standing WHERE id = 1").fetch_one(connection).await?;
    let size = u64::try_from(row.try_get::<i64, _>(0)?).map_err(|_| damaged("standing"))?;
    let leaf = Hash::from_slice(&row.try_get::<Vec<u8>, _>(1)?).ok_or_else(|| damaged("standing"))?;
    Ok(Standing { size, leaf })
}

/// As [`Database::minimum`].
pub(super) async fn minimum(connection: &mut SqliteConnection) -> Result<u64, IndexError> {
    let row = sqlx::query("SELECT value FROM meta WHERE key = 'minimum'").fetch_optional(connection).await?;
    match row {
        None => Ok(0),
        Some(row) => row.try_get::<String, _>(0)?.parse().map_err(|_| damaged("meta")),
    }
}

/// Exchanges that are open, by the index of their decision.
pub(super) async fn open_rows(connection: &mut SqliteConnection) -> Result<Vec<(u64, Open)>, IndexError> {
    let rows = sqlx::query("SELECT decision, time, cell FROM open").fetch_all(connection).await?;
    let open = |row: &sqlx::sqlite::SqliteRow| {
        let index = u64::try_from(row.try_get::<i64, _>(0)?).map_err(|_| damaged("open"))?;
        let text: String = row.try_get(2)?;
        let numbers: Option<Vec<i64>> = text.split(',').map(|n| n.parse().ok()).collect();
        let cell = numbers.and_then(|numbers| CellKey::try_from(numbers).ok()).ok_or_else(|| damaged("open"))?;
        Ok((index, Open { time: Timestamp(row.try_get(1)?), cell }))
    };
    rows.iter().map(open).collect()
}

fn json<T>(rows: impl IntoIterator<Item = T>, one: impl Fn(T, &mut String)) -> String {
    let mut out = String::from("[");
    for (n, row) in rows.into_iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        one(row, &mut out);
    }
    out.push(']');
    out
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    encode_text(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn numbers(key: &CellKey) -> String {
    const { assert!(COLUMNS.len() + 1 == 13, "the statement above names every column of a cell") };
    let texts: Vec<String> = key.iter().map(ToString::to_string).collect();
    texts.join(",")
}
