//! Comparing an index with the log: it is built a second time, and must have the same rows.

use super::build::build_into;
use super::database::{DATABASE_FILE, FORMAT, format, minimum, standing};
use super::error::IndexError;
use super::positions::BLOCK;
use crate::error::ReadError;
use crate::reader::Reader;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use std::path::Path;

/// Each table, with the column by which a difference is placed and whether that is a block.
const TABLES: [(&str, &str, Place); 8] = [
    ("standing", "size", Place::Size),
    ("term", "id", Place::Nowhere),
    ("posting", "block", Place::Block),
    ("request", "block", Place::Block),
    ("hour", "hour", Place::Nowhere),
    ("cell", "day", Place::Day),
    ("open", "decision", Place::Entry),
    ("span", "decision", Place::Entry),
];
/// Differences of one table that are placed one by one.
const PLACED_MAX: i64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Block,
    Entry,
    Day,
    Size,
    Nowhere,
}

/// What is wrong with the index in `dir`, each with the entries it is about; nothing where there is no index, or one of
/// another format.
///
/// # Errors
/// When the log or the index cannot be read, or there is no room to build it a second time.
pub(crate) async fn check(
    dir: &Path,
    reader: &Reader,
    progress: impl FnMut(u64, u64),
) -> Result<Vec<((u64, u64), String)>, ReadError> {
    let path = dir.join(DATABASE_FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let log = reader.standing().await?.head.size;
    // A copy, because a broker may go on with the index meanwhile.
    let scratch = Scratch::new(dir)?;
    let kept = scratch.0.join("kept.db");
    let mut connection = open(&path).await?;
    sqlx::query("VACUUM INTO ?").bind(text(&kept)).execute(&mut connection).await.map_err(IndexError::from)?;
    connection.close().await.map_err(IndexError::from)?;
    let mut connection = open(&kept).await?;
    if format(&mut connection).await? != FORMAT {
        tracing::warn!("the index has another format than this program's; the broker builds it anew");
        return Ok(Vec::new());
    }
    let size = standing(&mut connection).await?.size;
    if size > log || !size.is_multiple_of(BLOCK) {
        return Ok(vec![(
            (0, log.saturating_sub(1)),
            format!("the index speaks of {size} entries, and the log has {log}"),
        )]);
    }
    // Entries were pruned since it was begun: the broker builds it anew, and uses it for nothing until then.
    if minimum(&mut connection).await? != reader.minimum().await? {
        return Ok(Vec::new());
    }
    let rebuilt = scratch.0.join("rebuilt.db");
    build_into(&rebuilt, reader, size, progress).await?;
    sqlx::query("ATTACH ? AS rebuilt").bind(text(&rebuilt)).execute(&mut connection).await.map_err(IndexError::from)?;
    let mut found = Vec::new();
    for (table, column, place) in TABLES {
        for (this, other, what) in [("main", "rebuilt", "wrong or too much"), ("rebuilt", "main", "missing or other")] {
            for at in differences(&mut connection, (this, other), table, column).await? {
                found.push((
                    entries(place, at, size),
                    format!("the index has {what} in `{table}`{}", of_day(place, at)),
                ));
            }
        }
    }
    connection.close().await.map_err(IndexError::from)?;
    Ok(found)
}

async fn differences(
    connection: &mut SqliteConnection,
    (this, other): (&str, &str),
    table: &str,
    column: &str,
) -> Result<Vec<i64>, IndexError> {
    let sql = format!(
        "SELECT DISTINCT {column} FROM (SELECT * FROM {this}.{table} EXCEPT SELECT * FROM {other}.{table}) ORDER BY 1 LIMIT {PLACED_MAX}"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

fn entries(place: Place, at: i64, size: u64) -> (u64, u64) {
    let at = u64::try_from(at).unwrap_or_default();
    match place {
        Place::Block => (at.saturating_mul(BLOCK), at.saturating_mul(BLOCK).saturating_add(BLOCK - 1)),
        Place::Entry => (at, at),
        Place::Day | Place::Size | Place::Nowhere => (0, size.saturating_sub(1)),
    }
}

fn of_day(place: Place, at: i64) -> String {
    if place != Place::Day {
        return String::new();
    }
    let text = model::Timestamp(at.saturating_mul(super::facts::DAY_MS)).to_rfc3339();
    format!(" on {}", text.get(..10).unwrap_or_default())
}

async fn open(path: &Path) -> Result<SqliteConnection, IndexError> {
    let options = SqliteConnectOptions::new().filename(path).disable_statement_logging();
    Ok(options.connect().await?)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A folder beside the log that goes when this does.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(dir: &Path) -> Result<Self, ReadError> {
        let path = dir.join(format!("index-check-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|source| ReadError::File { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
