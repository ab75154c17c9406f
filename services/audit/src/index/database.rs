//! The index's own database: `index.db` beside the log, or wherever it is built.
//!
//! Its rows are not waited for until they are on the disk, only kept in order: what a crash takes is built again from the log.

use super::block::{CellKey, Memory, Open, Rows};
use super::error::{IndexError, damaged};
use super::facts::{COLUMNS, Facet, Measures};
use model::Timestamp;
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use std::path::Path;
use std::sync::Arc;
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

/// Of as many rows there is a statement, so that few are prepared: a call costs as much as some rows.
const AT_ONCE: [usize; 8] = [128, 64, 32, 16, 8, 4, 2, 1];

/// An insertion of many rows.
#[derive(Debug)]
struct Insert {
    /// For each number of [`AT_ONCE`].
    statements: [Arc<str>; AT_ONCE.len()],
}

type Binding<'q> = Query<'q, Sqlite, SqliteArguments>;

impl Insert {
    fn new(into: &str, behind: &str) -> Self {
        let columns = into.split(',').count();
        let row = format!("({})", vec!["?"; columns].join(","));
        let statements =
            AT_ONCE.map(|n| Arc::from(format!("INSERT INTO {into} VALUES {} {behind}", vec![&*row; n].join(","))));
        Self { statements }
    }

    /// `bind` gives a statement the values of one row.
    async fn run<T>(
        &self,
        connection: &mut SqliteConnection,
        mut rows: impl ExactSizeIterator<Item = T> + Send,
        bind: impl for<'q> Fn(Binding<'q>, T) -> Binding<'q> + Send,
    ) -> Result<(), sqlx::Error> {
        for (n, statement) in AT_ONCE.into_iter().zip(&self.statements) {
            while rows.len() >= n {
                let mut query = sqlx::query(AssertSqlSafe(statement.clone()));
                for row in rows.by_ref().take(n) {
                    query = bind(query, row);
                }
                query.execute(&mut *connection).await?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Inserts {
    term: Insert,
    posting: Insert,
    hour: Insert,
    cell: Insert,
    open: Insert,
    span: Insert,
}

impl Inserts {
    fn new() -> Self {
        const { assert!(COLUMNS.len() + 1 == 13, "the statement below names every column of a cell") };
        Self {
            term: Insert::new("term (id, facet, value)", ""),
            posting: Insert::new("posting (term, block, positions)", ""),
            hour: Insert::new(
                "hour (hour, low, high)",
                "ON CONFLICT DO UPDATE SET low = min(low, excluded.low), high = max(high, excluded.high)",
            ),
            cell: Insert::new(
                "cell (day, kind, organisation, principal, resource, product, agreement, action, purpose, decision, reasons, policies,
                 country, decisions, ended, complete, bytes, rows, first_index, first_time)",
                "ON CONFLICT DO UPDATE SET decisions = decisions + excluded.decisions, ended = ended + excluded.ended,
                 complete = complete + excluded.complete, bytes = bytes + excluded.bytes, rows = rows + excluded.rows",
            ),
            open: Insert::new("open (decision, time, cell)", ""),
            span: Insert::new("span (scale, ended, decision, started)", ""),
        }
    }
}

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Database {
    connection: SqliteConnection,
    inserts: Inserts,
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
            Ok(true) => Ok(Some(Self { connection, inserts: Inserts::new() })),
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
            memory.terms.insert(facet, value, id);
        }
        memory.open = open_rows(&mut self.connection).await?.into_iter().collect();
        Ok(memory)
    }

    /// Adds a block; `leaf` is the hash of its last entry.
    pub(super) async fn write(&mut self, rows: &Rows, memory: &Memory, leaf: Hash) -> Result<(), IndexError> {
        let number = super::integer;
        let block = number(rows.block)?;
        let marks: Vec<u8> = rows.marks.iter().flat_map(|mark| mark.to_be_bytes()).collect();
        let opened: Vec<_> = rows
            .opened
            .iter()
            .filter_map(|index| Some((i64::try_from(*index).ok()?, memory.open.get(index)?)))
            .collect();
        let size = rows.block * super::positions::BLOCK + rows.marks.len() as u64;
        let closed: Vec<String> = rows.closed.iter().map(ToString::to_string).collect();
        // Without the end that follows, nothing of it counts.
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let (into, on) = (&self.inserts, &mut *transaction);
        let terms = rows.terms.iter().map(|(id, facet, value)| (*id, facet.number(), value.clone()));
        into.term.run(on, terms, |query, (id, facet, value)| query.bind(id).bind(facet).bind(value)).await?;
        let postings = rows.postings.iter().map(|(term, positions)| (*term, positions.to_bytes()));
        into.posting.run(on, postings, |query, (term, bytes)| query.bind(term).bind(block).bind(bytes)).await?;
        let request = sqlx::query("INSERT INTO request (block, marks) VALUES (?, ?)");
        request.bind(block).bind(marks).execute(&mut *on).await?;
        let hours = rows.hours.iter().map(|(hour, (low, high))| Ok((*hour, number(*low)?, number(*high)?)));
        let hours = hours.collect::<Result<Vec<_>, IndexError>>()?;
        into.hour.run(on, hours.into_iter(), |query, (hour, low, high)| query.bind(hour).bind(low).bind(high)).await?;
        let cells = rows.cells.iter().map(|(key, measures)| (*key, *measures));
        let cells = into.cell.run(on, cells, |query, (key, m)| {
            let Measures { decisions, ended, complete, bytes, rows, first_index, first_time } = m;
            let measures = [decisions, ended, complete, bytes, rows, first_index, first_time];
            key.into_iter().chain(measures).fold(query, |query, number| query.bind(number))
        });
        cells.await?;
        let close = sqlx::query("DELETE FROM open WHERE decision IN (SELECT value FROM json_each(CAST(? AS TEXT)))");
        close.bind(format!("[{}]", closed.join(","))).execute(&mut *on).await?;
        let opened = opened.iter().map(|(index, open)| (*index, open.time.millis(), numbers(&open.cell)));
        into.open.run(on, opened, |query, (index, time, cell)| query.bind(index).bind(time).bind(cell)).await?;
        let spans =
            rows.spans.iter().map(|span| Ok((i64::from(span.scale), span.ended, number(span.decision)?, span.started)));
        let spans = spans.collect::<Result<Vec<_>, IndexError>>()?;
        let spans = into.span.run(on, spans.into_iter(), |query, (scale, ended, decision, started)| {
            query.bind(scale).bind(ended).bind(decision).bind(started)
        });
        spans.await?;
        let stand = sqlx::query("UPDATE standing SET size = ?, leaf = ? WHERE id = 1");
        stand.bind(number(size)?).bind(leaf.0.to_vec()).execute(&mut *on).await?;
        Ok(transaction.commit().await?)
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

fn numbers(key: &CellKey) -> String {
    let texts: Vec<String> = key.iter().map(ToString::to_string).collect();
    texts.join(",")
}
