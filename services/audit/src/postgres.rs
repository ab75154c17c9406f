//! The store in PostgreSQL: several logs in one database, each written by one session.
//!
//! A batch is one call of one function, which compares the head and writes everything in one transaction of its own, so it
//! costs one round trip and is durable, or not there, when the server answers. The session holds an advisory lock as long as
//! it lives, and the function refuses whoever writes beside it.
//!
//! A session that is lost takes the lock with it. Whether a batch that was under way is there is unknown then, and between two
//! batches somebody else may have gone on with the log: both end the writer, as a failed flush does, and the next start
//! reads what is there. So there is no reconnecting here.
//!
//! What this does **not** do: it makes no schema and no role (`init` does, for an administrator), and it goes to one
//! server, not to the first of several that answers.

mod access;
pub mod init;
mod reader;
mod rows;

pub use access::{Access, PostgresError};
pub(crate) use reader::Reader;

use crate::error::OpenError;
use crate::store::{Batch, CheckpointRow, Head, OrganisationState, Scrubbed, Store, StoreError};
use model::OrganisationId;
use sqlx::postgres::{PgConnection, PgDatabaseError};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use std::time::Duration;

/// `millgate_audit.format` of the schema beside this.
const FORMAT: i32 = 1;
/// First half of the advisory lock; the second is the log's number. `schema.sql` has it too.
const LOCK: i32 = 1_297_107_532;
/// A process that was killed a moment ago is let go of by the server in milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// A server that says nothing for so long will not say anything. Callers have got their 503 long before.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What the writer's session must be like. A lock held elsewhere is answered and not waited out; a commit that waits for a
/// standby is not cut short, because PostgreSQL would then call it done; and of a host that lost power the server
/// lets go in half a minute.
const SETTINGS: &str = "
SET client_min_messages = error;
SET lock_timeout = '500ms';
SET statement_timeout = 0;
SET default_transaction_isolation = 'read committed';
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') <> 'remote_apply';
";

const APPEND: &str = "SELECT millgate_audit.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)";

const APPEND_PRUNING: &str = "SELECT millgate_audit.append_pruning($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37)";

/// The writer's session, and the lock that makes it the only one.
#[derive(Debug)]
pub struct PostgresStore {
    /// `None` once it is lost.
    connection: Option<PgConnection>,
    log: i32,
    staged: Option<Batch>,
}

impl PostgresStore {
    /// Opens or creates the log `origin` for writing.
    ///
    /// # Errors
    /// When another session has it, when the schema is not there or of a later format, when the role may do more than a
    /// writer or less, or when commits would not be durable.
    pub async fn open(access: &Access, origin: &str) -> Result<Self, OpenError> {
        let mut connection = access.connect().await?;
        connection.execute(sqlx::raw_sql(SETTINGS)).await.map_err(StoreError::from)?;
        assert_durable(&mut connection).await?;
        access.assert_schema(&mut connection).await?;
        assert_unprivileged(&mut connection, access).await?;
        let open = sqlx::query_scalar("SELECT millgate_audit.open($1, $2)").bind(origin);
        let open = open.bind(Head::default().root().0.to_vec());
        let log: i32 = open.fetch_one(&mut connection).await.map_err(|e| access.refused(e))?;
        lock(&mut connection, log, access, origin).await?;
        Ok(Self { connection: Some(connection), log, staged: None })
    }

    fn connection(&mut self) -> Result<&mut PgConnection, StoreError> {
        self.connection.as_mut().ok_or_else(|| StoreError::Failed(Lost.into()))
    }

    /// What came within the time. After it the session is given up: nobody reads the rest of what comes on it, and what it was
    /// doing is unknown.
    fn answered<T>(
        &mut self,
        answer: Result<Result<T, StoreError>, tokio::time::error::Elapsed>,
    ) -> Result<T, StoreError> {
        answer.unwrap_or_else(|_| {
            self.connection = None;
            Err(StoreError::Failed(Silent.into()))
        })
    }

    async fn append(&mut self, batch: Batch) -> Result<(), StoreError> {
        let log = self.log;
        let columns = rows::Columns::of(&batch)?;
        let call = sqlx::query(if batch.pruning.is_some() { APPEND_PRUNING } else { APPEND })
            .bind(log)
            .bind(rows::integer(batch.bundle.first_index)?)
            .bind(rows::integer(batch.bundle.count)?)
            .bind(batch.bundle.time_first.millis())
            .bind(batch.bundle.time_last.millis())
            .bind(batch.bundle.sha256.to_vec())
            .bind(batch.bundle.bytes)
            .bind(batch.head.root().0.to_vec())
            .bind(batch.head.range.to_bytes())
            .bind(batch.head.open.to_bytes());
        let mut call = columns.bind_to(call);
        if let Some((entry, prune)) = &batch.pruning {
            call = rows::bind_pruning(call, *entry, prune)?;
        }
        call.execute(self.connection()?).await?;
        Ok(())
    }
}

/// The session is gone, and what it was doing last is unknown.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection to the store was lost")]
struct Lost;

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the store did not answer within {} seconds", ANSWER_MAX.as_secs())]
struct Silent;

impl Store for PostgresStore {
    async fn head(&mut self) -> Result<Head, StoreError> {
        let log = self.log;
        let head = tokio::time::timeout(ANSWER_MAX, rows::head(self.connection()?, log)).await;
        self.answered(head)
    }

    async fn organisations(&mut self) -> Result<Vec<(OrganisationId, OrganisationState)>, StoreError> {
        let log = self.log;
        rows::organisations(self.connection()?, log).await
    }

    /// Nothing goes to the server yet: [`Store::commit`] does it all in one call, and says there if the head has moved.
    async fn stage(&mut self, batch: Batch) -> Result<bool, StoreError> {
        self.staged = Some(batch);
        Ok(true)
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let Some(batch) = self.staged.take() else { return Ok(()) };
        let done = tokio::time::timeout(ANSWER_MAX, self.append(batch)).await;
        self.answered(done)
    }

    async fn roll_back(&mut self) -> Result<(), StoreError> {
        // Each statement is a transaction of its own: once the server has answered, none is open.
        self.staged = None;
        self.connection().map(drop)
    }

    async fn put_checkpoint(&mut self, row: CheckpointRow) -> Result<(), StoreError> {
        let put = sqlx::query("SELECT millgate_audit.put_checkpoint($1, $2, $3, $4)")
            .bind(self.log)
            .bind(rows::integer(row.range.size())?)
            .bind(row.note)
            .bind(row.range.to_bytes());
        let done = tokio::time::timeout(ANSWER_MAX, put.execute(self.connection()?)).await;
        let done = done.map(|done| done.map(drop).map_err(StoreError::from));
        self.answered(done)
    }

    async fn maintain(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What is erased is gone from the tables, and older copies of it go when the server vacuums them; those in its WAL and in
    /// backups are its administrator's.
    async fn scrub(&mut self) -> Result<Scrubbed, StoreError> {
        Ok(Scrubbed::Elsewhere)
    }

    async fn close(mut self) -> Result<(), StoreError> {
        if let Some(connection) = self.connection.take() {
            connection.close().await?;
        }
        Ok(())
    }

    fn abandon(self) {}
}

/// A session that does nothing but keep everybody from writing to a log while it lives.
#[derive(Debug)]
pub(crate) struct Held {
    _connection: PgConnection,
}

impl Held {
    /// `None` if there is no such log. None is made.
    ///
    /// # Errors
    /// When another session has it, or the database cannot be used.
    pub(crate) async fn log(access: &Access, origin: &str) -> Result<Option<Self>, OpenError> {
        let mut connection = access.connect().await?;
        connection.execute(sqlx::raw_sql(SETTINGS)).await.map_err(StoreError::from)?;
        access.assert_schema(&mut connection).await?;
        let find = sqlx::query_scalar("SELECT id FROM millgate_audit.log WHERE origin = $1").bind(origin);
        let log: Option<i32> = find.fetch_optional(&mut connection).await.map_err(|e| access.refused(e))?;
        let Some(log) = log else { return Ok(None) };
        lock(&mut connection, log, access, origin).await?;
        Ok(Some(Self { _connection: connection }))
    }
}

/// What the server said.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
struct Said {
    message: String,
    code: String,
}

/// What an error of PostgreSQL's says about the data.
pub(crate) fn kind_of(error: &PgDatabaseError) -> StoreError {
    let said = Said { message: error.message().to_owned(), code: error.code().to_owned() };
    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    match error.code() {
        "53100" => StoreError::Full(said.into()),
        // out_of_memory, lock_not_available, query_canceled, serialization_failure, deadlock_detected
        "53200" | "55P03" | "57014" | "40001" | "40P01" => StoreError::Busy(said.into()),
        _ => StoreError::Failed(said.into()),
    }
}

async fn assert_durable(connection: &mut PgConnection) -> Result<(), OpenError> {
    let standby: bool =
        sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut *connection).await.map_err(StoreError::from)?;
    if standby {
        return Err(PostgresError::Standby.into());
    }
    for (setting, good) in
        [("synchronous_commit", &["on", "remote_apply"][..]), ("fsync", &["on"]), ("full_page_writes", &["on"])]
    {
        let show = AssertSqlSafe(format!("SHOW {setting}"));
        let value: String = sqlx::query_scalar(show).fetch_one(&mut *connection).await.map_err(StoreError::from)?;
        if !good.contains(&value.as_str()) {
            return Err(PostgresError::NotDurable { setting, value }.into());
        }
    }
    Ok(())
}

/// Which role lets the session change what is written, if there is one: its own, or one that it could become by `SET ROLE`,
/// directly or through others, whether or not it inherits their privileges. Superusers count, whoever owns the schema and what
/// is in it, whoever has any privilege on a table beside reading, and the roles that lead out of the database to its files.
const REACHABLE: &str = "
SELECT r.rolname::text FROM pg_roles r
WHERE pg_has_role(session_user, r.oid, 'MEMBER') AND (
    r.rolsuper
    OR r.rolname IN ('pg_write_server_files', 'pg_execute_server_program')
    -- Before version 16 such a role gives itself any role that is no superuser.
    OR (r.rolcreaterole AND current_setting('server_version_num')::integer < 160000)
    OR EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'millgate_audit' AND n.nspowner = r.oid)
    OR EXISTS (
        SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'millgate_audit' AND p.proowner = r.oid)
    OR EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'millgate_audit' AND c.relkind IN ('r', 'p') AND (
            c.relowner = r.oid
            OR has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
            OR has_any_column_privilege(r.oid, c.oid, 'INSERT, UPDATE'))))
ORDER BY r.rolname <> session_user, 1 LIMIT 1";

/// A role that could change the log would take the point from everything that stops it.
async fn assert_unprivileged(connection: &mut PgConnection, access: &Access) -> Result<(), OpenError> {
    let through: Option<String> =
        sqlx::query_scalar(REACHABLE).fetch_optional(connection).await.map_err(StoreError::from)?;
    match through {
        Some(through) => Err(PostgresError::Privileged { role: access.username.clone(), through }.into()),
        None => Ok(()),
    }
}

async fn lock(connection: &mut PgConnection, log: i32, access: &Access, origin: &str) -> Result<(), OpenError> {
    let wait = format!("SET lock_timeout = {}", LOCK_WAIT.as_millis());
    connection.execute(sqlx::raw_sql(AssertSqlSafe(wait))).await.map_err(StoreError::from)?;
    let lock = sqlx::query("SELECT pg_advisory_lock($1, $2)").bind(LOCK).bind(log);
    match lock.execute(&mut *connection).await.map_err(StoreError::from) {
        Ok(_) => {}
        Err(StoreError::Busy(_)) => {
            let holder = holder(connection, log).await;
            return Err(
                PostgresError::Taken { origin: origin.to_owned(), store: access.url.to_string(), holder }.into()
            );
        }
        Err(error) => return Err(error.into()),
    }
    connection.execute(sqlx::raw_sql("SET lock_timeout = '500ms'")).await.map_err(StoreError::from)?;
    Ok(())
}

/// Who has the lock, as far as the server tells this role. Any role that may connect could take it.
async fn holder(connection: &mut PgConnection, log: i32) -> String {
    let ask = "SELECT format('server process %s of the role `%s`', l.pid, coalesce(a.usename, '?'))
               FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
               WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $1::oid AND l.objid = $2::oid
                   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let asked = sqlx::query_scalar(ask).bind(i64::from(LOCK)).bind(i64::from(log)).fetch_optional(connection).await;
    asked.ok().flatten().unwrap_or_else(|| String::from("somebody who has just gone"))
}
