//! Reading a log in PostgreSQL.
//!
//! The server is asked for as much as is wanted and no more: unlike SQLite it sends everything it was asked for, read or not.

use super::rows::{self, unsigned};
use super::{Access, PostgresError};
use crate::reader::{CHUNK_BYTES_MAX, CONNECTIONS_MAX, CarriedUnder, RawCheckpoint, Span, Standing, damaged};
use crate::store::{Bundle, CheckpointRow, DisclosureRow, Head, StoreError};
use futures_util::FutureExt as _;
use model::entry::{Content, DirectoryRow};
use model::{Digest, Timestamp};
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::{Executor as _, Row as _};
use std::collections::HashMap;
use std::time::Duration;

/// A standby that takes longer is behind, and the next checkpoint will cover what this one would have.
const STANDBY_WAIT: Duration = Duration::from_secs(2);
const STANDBY_LOOK: Duration = Duration::from_millis(10);

/// Those of at most 4,096 bundles that come first and have about `$limit` bytes. Lengths are known without reading bytes.
macro_rules! some_bundles {
    ($where:literal, $order:literal, $limit:literal) => {
        concat!(
            "SELECT first_index, count, time_first, time_last, sha256, bytes FROM (
                SELECT *, sum(octet_length(bytes)) OVER (ORDER BY first_index ",
            $order,
            ") - octet_length(bytes) AS before FROM (
                    SELECT * FROM millgate_audit.bundle WHERE log = $1 AND ",
            $where,
            " ORDER BY first_index ",
            $order,
            " LIMIT 4096) AS next
            ) AS measured WHERE before < ",
            $limit,
            " ORDER BY first_index ",
            $order
        )
    };
}

/// A selection of bundles.
macro_rules! bundles {
    ($rest:literal) => {
        concat!(
            "SELECT first_index, count, time_first, time_last, sha256, bytes FROM millgate_audit.bundle WHERE log = $1 AND ",
            $rest
        )
    };
}

/// Reads a log; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pool: PgPool,
    log: i32,
    /// Everything must be on a standby too.
    standby: bool,
}

impl Reader {
    /// The log `origin`, or the only one that is there.
    pub(crate) async fn open(access: &Access, origin: Option<&str>) -> Result<Self, StoreError> {
        // Once by itself, for a message at once that says what is wrong; a pool tries until its time is over.
        let mut connection = access.connect().await?;
        access.assert_schema(&mut connection).await?;
        let log = find(&mut connection, access, origin).await?;
        drop(connection);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(access.connect_timeout)
            .after_connect(|connection, _| {
                let settings = "SET client_min_messages = error; SET default_transaction_read_only = on";
                async move { connection.execute(sqlx::raw_sql(settings)).await.map(drop) }.boxed()
            })
            .connect_with(access.options()?)
            .await?;
        Ok(Self { pool, log, standby: access.standby })
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) async fn origin(&self) -> Result<String, StoreError> {
        let query = sqlx::query_scalar("SELECT origin FROM millgate_audit.log WHERE id = $1").bind(self.log);
        Ok(query.fetch_one(&self.pool).await?)
    }

    pub(crate) async fn head(&self) -> Result<Head, StoreError> {
        rows::head(&mut *self.pool.acquire().await?, self.log).await
    }

    pub(crate) async fn standing(&self) -> Result<Standing, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let head = rows::raw_head(&mut transaction, self.log).await?;
        let organisations = rows::organisations(&mut transaction, self.log).await?;
        transaction.rollback().await?;
        Ok(Standing { head, organisations })
    }

    pub(crate) async fn bundles(&self, first_index: u64) -> Result<Vec<Bundle>, StoreError> {
        const SOME: &str = some_bundles!("first_index >= $2", "", "$3");
        let Ok(first_index) = i64::try_from(first_index) else { return Ok(Vec::new()) };
        let query = sqlx::query(SOME).bind(self.log).bind(first_index).bind(bytes_of(CHUNK_BYTES_MAX));
        query.fetch_all(&self.pool).await?.iter().map(bundle).collect()
    }

    pub(crate) async fn bundle_from(&self, first_index: u64) -> Result<Option<Bundle>, StoreError> {
        const NEXT: &str = bundles!("first_index >= $2 ORDER BY first_index LIMIT 1");
        let Ok(first_index) = i64::try_from(first_index) else { return Ok(None) };
        let row = sqlx::query(NEXT).bind(self.log).bind(first_index).fetch_optional(&self.pool).await?;
        row.as_ref().map(bundle).transpose()
    }

    pub(crate) async fn bundles_of_keys(&self) -> Result<Vec<u64>, StoreError> {
        // In the words of the index (`init.rs`), or it is not used. Without it the answer is the same, and takes its time.
        let sql = "SELECT first_index FROM millgate_audit.bundle
                   WHERE log = $1 AND position('\\x6b696e64223a226b657922'::bytea IN bytes) > 0 ORDER BY first_index";
        let there = "SELECT EXISTS (SELECT FROM pg_indexes
                         WHERE schemaname = 'millgate_audit' AND indexname = 'bundle_of_keys')";
        let is_there: bool = sqlx::query_scalar(there).fetch_one(&self.pool).await?;
        if !is_there {
            tracing::warn!(
                "the store has no index over changes of keys, so all of the log is searched for them at each start; \
                 `millgate audit store init` makes it"
            );
        }
        let rows = sqlx::query(sql).bind(self.log).fetch_all(&self.pool).await?;
        rows.iter().map(|row| unsigned(row, "first_index")).collect()
    }

    /// The index over their bytes is never wrong about them.
    #[expect(clippy::unused_async, reason = "the other store asks its database")]
    pub(crate) async fn key_entries(&self) -> Result<Option<Vec<u64>>, StoreError> {
        Ok(None)
    }

    pub(crate) async fn first_index_from(&self, index: u64) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT first_index FROM millgate_audit.bundle WHERE log = $1 AND first_index >= $2
                   ORDER BY first_index LIMIT 1";
        let Ok(index) = i64::try_from(index) else { return Ok(None) };
        let row = sqlx::query(sql).bind(self.log).bind(index).fetch_optional(&self.pool).await?;
        row.map(|row| unsigned(&row, "first_index")).transpose()
    }

    pub(crate) async fn bundle_of(&self, index: u64) -> Result<Option<Bundle>, StoreError> {
        const LAST: &str = bundles!("first_index <= $2 ORDER BY first_index DESC LIMIT 1");
        let Ok(bound) = i64::try_from(index) else { return Ok(None) };
        let row = sqlx::query(LAST).bind(self.log).bind(bound).fetch_optional(&self.pool).await?;
        let bundle = row.as_ref().map(bundle).transpose()?;
        Ok(bundle.filter(|b| index - b.first_index < b.count))
    }

    pub(crate) async fn bundles_of_time(
        &self,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Option<(u64, u64)>, StoreError> {
        // Without `+ 0` the planner would rather walk through the bundles from one end, hoping to meet one soon.
        let sql = "SELECT min(first_index + 0) AS low, max(first_index + 0) AS high FROM millgate_audit.bundle
                   WHERE log = $1 AND time_first <= $2 AND time_last >= $3";
        let query = sqlx::query(sql).bind(self.log).bind(to.millis()).bind(from.millis());
        let row = query.fetch_one(&self.pool).await?;
        match row.try_get::<Option<i64>, _>("low")? {
            None => Ok(None),
            Some(_) => Ok(Some((unsigned(&row, "low")?, unsigned(&row, "high")?))),
        }
    }

    pub(crate) async fn bundles_in(&self, span: &Span, bytes: usize) -> Result<Vec<Bundle>, StoreError> {
        const ASCENDING: &str =
            some_bundles!("first_index BETWEEN $2 AND $3 AND time_first <= $4 AND time_last >= $5", "", "$6");
        const DESCENDING: &str =
            some_bundles!("first_index BETWEEN $2 AND $3 AND time_first <= $4 AND time_last >= $5", "DESC", "$6");
        let query = sqlx::query(if span.newest_first { DESCENDING } else { ASCENDING })
            .bind(self.log)
            .bind(i64::try_from(span.indices.0).unwrap_or(i64::MAX))
            .bind(i64::try_from(span.indices.1).unwrap_or(i64::MAX))
            .bind(span.time.1.millis())
            .bind(span.time.0.millis())
            .bind(bytes_of(bytes));
        query.fetch_all(&self.pool).await?.iter().map(bundle).collect()
    }

    pub(crate) async fn last_checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        let sql = "SELECT size, note, range FROM millgate_audit.checkpoint WHERE log = $1 ORDER BY size DESC LIMIT 1";
        let row = sqlx::query(sql).bind(self.log).fetch_optional(&self.pool).await?;
        row.as_ref().map(|row| raw_checkpoint(row)?.checked()).transpose()
    }

    pub(crate) async fn checkpoint(&self, size: u64) -> Result<Option<CheckpointRow>, StoreError> {
        let sql = "SELECT size, note, range FROM millgate_audit.checkpoint WHERE log = $1 AND size = $2";
        let Ok(size) = i64::try_from(size) else { return Ok(None) };
        let row = sqlx::query(sql).bind(self.log).bind(size).fetch_optional(&self.pool).await?;
        row.as_ref().map(|row| raw_checkpoint(row)?.checked()).transpose()
    }

    pub(crate) async fn raw_checkpoints_after(&self, size: Option<u64>) -> Result<Vec<RawCheckpoint>, StoreError> {
        let sql = "SELECT size, note, range FROM millgate_audit.checkpoint WHERE log = $1 AND size > $2
                   ORDER BY size LIMIT 1000";
        let bound = size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX));
        let rows = sqlx::query(sql).bind(self.log).bind(bound).fetch_all(&self.pool).await?;
        rows.iter().map(raw_checkpoint).collect()
    }

    pub(crate) async fn directory(&self) -> Result<Vec<DirectoryRow>, StoreError> {
        let sql = "SELECT principal, reference FROM millgate_audit.directory WHERE log = $1";
        let rows = sqlx::query(sql).bind(self.log).fetch_all(&self.pool).await?;
        rows.iter()
            .map(|r| Ok(DirectoryRow { principal: r.try_get("principal")?, reference: r.try_get("reference")? }))
            .collect()
    }

    pub(crate) async fn reference_of(&self, principal: &str) -> Result<Option<String>, StoreError> {
        // PostgreSQL's texts have no NUL, so no principal has one either, and it would be an error to ask.
        if principal.contains('\0') {
            return Ok(None);
        }
        let sql = "SELECT reference FROM millgate_audit.directory WHERE log = $1 AND principal = $2";
        let row = sqlx::query(sql).bind(self.log).bind(principal.to_owned()).fetch_optional(&self.pool).await?;
        row.map(|row| Ok(row.try_get("reference")?)).transpose()
    }

    pub(crate) async fn principals_of(&self, references: &[&str]) -> Result<HashMap<String, String>, StoreError> {
        let sql = "SELECT reference, principal FROM millgate_audit.directory WHERE log = $1 AND reference = ANY($2)";
        let list: Vec<String> = references.iter().filter(|r| !r.contains('\0')).map(|r| (*r).to_owned()).collect();
        let rows = sqlx::query(sql).bind(self.log).bind(list).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get("reference")?, row.try_get("principal")?))).collect()
    }

    pub(crate) async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM millgate_audit.content WHERE log = $1 AND digest = $2";
        let row = sqlx::query(sql).bind(self.log).bind(digest.0.to_vec()).fetch_optional(&self.pool).await?;
        row.map(|row| Ok(row.try_get("bytes")?)).transpose()
    }

    pub(crate) async fn contents(&self, digests: &[Digest]) -> Result<Vec<Content>, StoreError> {
        let sql = "SELECT digest, bytes FROM millgate_audit.content WHERE log = $1 AND digest = ANY($2)";
        let list: Vec<Vec<u8>> = digests.iter().map(|digest| digest.0.to_vec()).collect();
        let rows = sqlx::query(sql).bind(self.log).bind(list).fetch_all(&self.pool).await?;
        let content = |row: &PgRow| {
            let digest: Vec<u8> = row.try_get("digest")?;
            let digest = Digest(digest.try_into().map_err(|_| damaged("the digest of a content"))?);
            Ok(Content { digest, bytes: row.try_get::<Vec<u8>, _>("bytes")?.into() })
        };
        rows.iter().map(content).collect()
    }

    pub(crate) async fn erasure_entries_after(&self, after: Option<u64>) -> Result<Vec<u64>, StoreError> {
        let after = after.map_or(-1, |after| i64::try_from(after).unwrap_or(i64::MAX));
        let sql =
            "SELECT entry_index FROM millgate_audit.erasure WHERE log = $1 AND entry_index > $2 ORDER BY entry_index";
        let rows = sqlx::query(sql).bind(self.log).bind(after).fetch_all(&self.pool).await?;
        rows.iter().map(|row| unsigned(row, "entry_index")).collect()
    }

    /// A schema that was not made anew since has no such table.
    async fn knows_pruning(&self) -> Result<bool, StoreError> {
        let known = sqlx::query_scalar("SELECT to_regclass('millgate_audit.carried') IS NOT NULL");
        Ok(known.fetch_one(&self.pool).await?)
    }

    /// Whether entries can be pruned at all: one of before has not all that is asked of it now.
    pub(crate) async fn can_prune(&self) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(super::init::KNOWS_ALL_OF_PRUNING).fetch_one(&self.pool).await?)
    }

    /// For how many days this role keeps entries at least, as the owner says.
    pub(crate) async fn keeps(&self) -> Result<Option<u32>, StoreError> {
        let days = sqlx::query_scalar("SELECT days FROM millgate_audit.keeping WHERE writer = session_user");
        let days: Option<i32> = days.fetch_optional(&self.pool).await?;
        days.map(|days| u32::try_from(days).map_err(|_| damaged("for how long entries are kept"))).transpose()
    }

    pub(crate) async fn clock(&self) -> Result<Timestamp, StoreError> {
        // Rounded up it could be tomorrow already, and the database would not let go what goes tomorrow.
        let now = sqlx::query_scalar("SELECT floor(extract(epoch FROM now()) * 1000)::bigint");
        Ok(Timestamp(now.fetch_one(&self.pool).await?))
    }

    pub(crate) async fn prunings(&self) -> Result<Vec<(u64, u64)>, StoreError> {
        if !self.knows_pruning().await? {
            return Ok(Vec::new());
        }
        let sql = "SELECT entry_index, minimum FROM millgate_audit.pruning WHERE log = $1 ORDER BY entry_index";
        let rows = sqlx::query(sql).bind(self.log).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((unsigned(row, "entry_index")?, unsigned(row, "minimum")?))).collect()
    }

    pub(crate) async fn leaves(&self, number: u64, limit: u32) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        if !self.knows_pruning().await? {
            return Ok(Vec::new());
        }
        let sql =
            "SELECT number, hashes FROM millgate_audit.leaf WHERE log = $1 AND number >= $2 ORDER BY number LIMIT $3";
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let query = sqlx::query(sql).bind(self.log).bind(number).bind(i64::from(limit));
        let rows = query.fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((unsigned(row, "number")?, row.try_get("hashes")?))).collect()
    }

    pub(crate) async fn carried(&self) -> Result<CarriedUnder, StoreError> {
        if !self.knows_pruning().await? {
            return Ok((None, Vec::new()));
        }
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let last = "SELECT entry_index FROM millgate_audit.pruning WHERE log = $1 ORDER BY entry_index DESC LIMIT 1";
        let under = sqlx::query(last).bind(self.log).fetch_optional(&mut *transaction).await?;
        let sql = "SELECT entry_index, bytes FROM millgate_audit.carried WHERE log = $1 ORDER BY entry_index";
        let rows = sqlx::query(sql).bind(self.log).fetch_all(&mut *transaction).await?;
        transaction.rollback().await?;
        let carried = rows.iter().map(|row| Ok((unsigned(row, "entry_index")?, row.try_get("bytes")?)));
        let under = under.map(|row| unsigned(&row, "entry_index")).transpose()?;
        Ok((under, carried.collect::<Result<_, StoreError>>()?))
    }

    pub(crate) async fn disclosures(
        &self,
        (first, last): (u64, u64),
        limit: u32,
    ) -> Result<Vec<DisclosureRow>, StoreError> {
        let sql = "SELECT entry_index, body FROM millgate_audit.disclosure
                   WHERE log = $1 AND entry_index BETWEEN $2 AND $3 ORDER BY entry_index LIMIT $4";
        let bound = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
        let query = sqlx::query(sql).bind(self.log).bind(bound(first)).bind(bound(last)).bind(i64::from(limit));
        let row = |row: &PgRow| {
            let body = row.try_get::<String, _>("body")?.into_bytes();
            Ok(DisclosureRow { entry_index: unsigned(row, "entry_index")?, body })
        };
        query.fetch_all(&self.pool).await?.iter().map(row).collect()
    }

    pub(crate) async fn first_index_of_time(&self, time: Timestamp) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT min(first_index + 0) AS first FROM millgate_audit.bundle WHERE log = $1 AND time_last >= $2";
        let row = sqlx::query(sql).bind(self.log).bind(time.millis()).fetch_one(&self.pool).await?;
        match row.try_get::<Option<i64>, _>("first")? {
            None => Ok(None),
            Some(_) => Ok(Some(unsigned(&row, "first")?)),
        }
    }

    pub(crate) async fn disclosure(&self, index: u64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT body FROM millgate_audit.disclosure WHERE log = $1 AND entry_index = $2";
        let Ok(index) = i64::try_from(index) else { return Ok(None) };
        let row = sqlx::query(sql).bind(self.log).bind(index).fetch_optional(&self.pool).await?;
        row.map(|row| Ok(row.try_get("body")?)).transpose()
    }

    /// What can be read has been flushed here, so this place in the WAL lies behind it. The standby is given a moment: something
    /// else that the server writes is always on its way there.
    pub(crate) async fn is_replicated(&self) -> Result<bool, StoreError> {
        if !self.standby {
            return Ok(true);
        }
        let place = sqlx::query_scalar("SELECT pg_current_wal_flush_lsn()::text");
        let place: String = place.fetch_one(&self.pool).await?;
        let until = tokio::time::Instant::now() + STANDBY_WAIT;
        loop {
            let has = sqlx::query_scalar("SELECT millgate_audit.standby_has($1::text::pg_lsn)").bind(&place);
            let has: bool = has.fetch_one(&self.pool).await?;
            if has || tokio::time::Instant::now() >= until {
                return Ok(has);
            }
            tokio::time::sleep(STANDBY_LOOK).await;
        }
    }
}

async fn find(
    connection: &mut sqlx::postgres::PgConnection,
    access: &Access,
    origin: Option<&str>,
) -> Result<i32, StoreError> {
    let rows = sqlx::query("SELECT id, origin FROM millgate_audit.log ORDER BY origin").fetch_all(connection).await?;
    let store = access.url.to_string();
    let known = rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("origin")?)));
    let known: Vec<(i32, String)> = known.collect::<Result<_, sqlx::Error>>()?;
    let names = || known.iter().map(|(_, origin)| format!("`{origin}`")).collect::<Vec<_>>();
    match (origin, known.as_slice()) {
        (None, [(id, _)]) => Ok(*id),
        (None, []) => Err(PostgresError::Empty { store }.into()),
        (None, _) => Err(PostgresError::WhichLog { store, known: names() }.into()),
        (Some(origin), _) => {
            let found = known.iter().find(|(_, known)| known == origin).map(|(id, _)| *id);
            found.ok_or_else(|| PostgresError::NoLog { store, origin: origin.to_owned(), known: names() }.into())
        }
    }
}

fn bytes_of(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn bundle(row: &PgRow) -> Result<Bundle, StoreError> {
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

fn raw_checkpoint(row: &PgRow) -> Result<RawCheckpoint, StoreError> {
    Ok(RawCheckpoint { size: unsigned(row, "size")?, note: row.try_get("note")?, range: rows::range(row).ok() })
}
