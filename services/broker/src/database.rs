//! A PostgreSQL database as a source: declared queries, read in a transaction that cannot write, row by row.
//!
//! What a caller chose goes to the database as typed values. Columns that the caller gets nothing of are not fetched, and
//! the rows that it may not see are left out there (`statement`); what arrives is shaped like any other answer all the
//! same. No text of the database's leaves: a message of it can quote what it was about.

mod rows;
mod statement;

pub use rows::{Rows, RowsError};
pub use statement::{Records, Wanted};

use crate::database::rows::Reading;
use crate::database::statement::{Column, Composed, compose, series};
use futures_util::FutureExt as _;
use registry::{Bind, DatabaseUrl, SqlQuestion};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Executor as _, Postgres, SqlSafeStr as _, TypeInfo as _};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// How to reach a database, and as whom.
pub struct Access<'a> {
    pub url: &'a DatabaseUrl,
    pub tls: bool,
    pub ca_file: Option<&'a Path>,
    /// Certificate and key.
    pub certificate: Option<(&'a Path, &'a Path)>,
    pub username: &'a str,
    pub password: Option<&'a str>,
    pub connections_max: u32,
    pub connect_timeout: Duration,
    /// Of one statement, and for locks.
    pub statement_timeout: Duration,
}

impl std::fmt::Debug for Access<'_> {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("url", &self.url).field("username", &self.username).finish_non_exhaustive()
    }
}

/// A source that is asked in SQL. Connects when it is asked for the first time.
pub struct Database {
    options: PgConnectOptions,
    pool_options: PgPoolOptions,
    pool: OnceLock<PgPool>,
    statement_timeout: Duration,
    known: Mutex<HashMap<Arc<str>, Arc<[Column]>>>,
    asked: AtomicU64,
}

impl std::fmt::Debug for Database {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("host", &self.options.get_host()).finish_non_exhaustive()
    }
}

/// Why a database gave no answer. What the database said of it is in the log by its code alone.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it refused the login (SQLSTATE {0})")]
    Login(String),
    #[error("the statement took longer than the source's response timeout")]
    Timeout,
    /// A SQLSTATE, or what else is known.
    #[error("it failed ({0})")]
    Failed(String),
    #[error("the statement gives the column `{0}` twice")]
    TwoColumns(String),
    #[error("the statement does not give the column `{0}`, by which its records are told apart")]
    NoColumn(String),
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            // The pool tries again until then, whatever the reason; a place in it there is for everybody who asks.
            sqlx::Error::PoolTimedOut => Self::Unreachable(String::from("no connection in time")),
            sqlx::Error::Database(e) => {
                let code = e.code().unwrap_or_default().into_owned();
                match code.as_str() {
                    // query_canceled, lock_not_available
                    "57014" | "55P03" => Self::Timeout,
                    // Class 28: invalid authorization; 3D000: no such database.
                    c if c.starts_with("28") || c == "3D000" => Self::Login(code),
                    // Class 53: insufficient resources; 57P0x: shutting down, starting.
                    c if c.starts_with("53") || c.starts_with("57P") => Self::Unreachable(format!("SQLSTATE {code}")),
                    _ => Self::Failed(format!("SQLSTATE {code}")),
                }
            }
            sqlx::Error::Io(e) => Self::Unreachable(e.to_string()),
            sqlx::Error::Tls(e) => Self::Unreachable(e.to_string()),
            sqlx::Error::Configuration(e) => Self::Unreachable(e.to_string()),
            // Their texts may quote values.
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Failed(String::from("unreadable value")),
            _ => Self::Failed(String::from("protocol")),
        }
    }
}

/// After one in so many answers of which the database left rows out, some are compared; after the first among them.
const CHECKED_EVERY: u64 = 64;

impl Database {
    pub fn new(access: &Access<'_>) -> Self {
        let Access { url, .. } = access;
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&url.host)
            .port(url.port)
            .database(&url.name)
            .username(access.username)
            .application_name("millgate")
            // Statements differ with the caller's view: remembering each would fill the server.
            .statement_cache_capacity(0)
            .ssl_mode(if access.tls { PgSslMode::VerifyFull } else { PgSslMode::Disable })
            // Also where there is none: not that of somebody else from the environment.
            .password(access.password.unwrap_or_default())
            // Statements and what the server says of them are the plant's.
            .disable_statement_logging();
        if let Some(file) = access.ca_file {
            options = options.ssl_root_cert(file);
        }
        if let Some((certificate, key)) = access.certificate {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        let pool_options = PgPoolOptions::new()
            .max_connections(access.connections_max)
            .acquire_timeout(access.connect_timeout)
            .idle_timeout(Duration::from_secs(60))
            .after_connect(|connection, _| async move { settle(connection).await }.boxed());
        Self {
            options,
            pool_options,
            pool: OnceLock::new(),
            statement_timeout: access.statement_timeout,
            known: Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// Asks, and reads the first rows.
    ///
    /// `slot` is kept for as long as the database may be at work on it.
    ///
    /// # Errors
    /// When it cannot be reached, refuses the statement, or does not answer in time.
    pub async fn ask(&self, question: &SqlQuestion, wanted: &Wanted<'_>, slot: Slot) -> Result<Rows, DatabaseError> {
        let answered = self.answer(question, wanted, slot).await;
        if let Err(DatabaseError::Failed(_)) = &answered {
            // Its columns may be others by now.
            self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&question.text);
        }
        answered
    }

    async fn answer(&self, question: &SqlQuestion, wanted: &Wanted<'_>, slot: Slot) -> Result<Rows, DatabaseError> {
        let pool = self.pool.get_or_init(|| self.pool_options.clone().connect_lazy_with(self.options.clone()));
        let connection = pool.acquire().await?;
        // Before it, a server notices that nobody listens when it next sends something.
        let notices = connection.server_version_num().is_some_and(|version| version >= 140_000);
        let works_on = if notices { NOTICED } else { self.statement_timeout };
        let mut session = Session { connection: Some(connection), slot: Some(slot), works_on };
        let connection = session.connection()?;
        let composed = match wanted.series {
            Some(of) => series(question, of),
            None => compose(question, wanted, &self.columns(connection, &question.text).await?)?,
        };
        let Composed { text, texts, rows_max, names, sieve, check } = composed;
        begin(connection, self.statement_timeout).await?;
        let with = Given { binds: question.binds.clone(), texts };
        let declare = format!("DECLARE answer NO SCROLL CURSOR FOR {text}");
        with.query(&declare, rows_max).execute(connection).await?;
        let check = check.filter(|_| self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(CHECKED_EVERY));
        Reading::new(session, sieve, check.map(|check| (check, with)), wanted.form, names)
            .begin(self.statement_timeout)
            .await
    }

    /// What a statement gives, asked once.
    async fn columns(&self, connection: &mut PgConnection, text: &Arc<str>) -> Result<Arc<[Column]>, DatabaseError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned();
        if let Some(columns) = known {
            return Ok(columns);
        }
        let statement =
            connection.prepare(AssertSqlSafe(format!("SELECT * FROM (\n{text}\n) q")).into_sql_str()).await?;
        let columns = sqlx::Statement::columns(&statement).iter();
        let columns: Arc<[Column]> = columns
            .map(|c| Column { name: c.name().to_owned(), is_text: matches!(c.type_info().name(), "TEXT" | "VARCHAR") })
            .collect();
        for (n, column) in columns.iter().enumerate() {
            if columns.iter().take(n).any(|before| before.name == column.name) {
                return Err(DatabaseError::TwoColumns(column.name.clone()));
            }
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone(), columns.clone());
        Ok(columns)
    }
}

/// Of a new connection. A caller who leaves takes the statement with it where the server can notice (PostgreSQL 14).
async fn settle(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection
        .execute(sqlx::raw_sql(
            "SET client_min_messages = error; SET TIME ZONE 'UTC'; SET default_transaction_read_only = on",
        ))
        .await?;
    if connection.server_version_num().is_some_and(|version| version >= 140_000) {
        connection.execute(sqlx::raw_sql("SET client_connection_check_interval = '1s'")).await?;
    }
    Ok(())
}

async fn begin(connection: &mut PgConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    let ms = timeout.as_millis();
    let text = format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = {ms}; \
         SET LOCAL cursor_tuple_fraction = 1.0"
    );
    connection.execute(sqlx::raw_sql(AssertSqlSafe(text))).await?;
    Ok(())
}

/// The values of a statement and of the one it is checked with.
#[derive(Debug)]
struct Given {
    binds: Vec<Bind>,
    texts: Vec<Vec<String>>,
}

impl Given {
    fn query(&self, text: &str, rows_max: i64) -> Query<'static, Postgres, PgArguments> {
        let query = sqlx::query(AssertSqlSafe(text.to_owned())).persistent(false);
        let query = self.binds.iter().fold(query, bound);
        let query = self.texts.iter().fold(query, |query, texts| query.bind(texts.clone()));
        query.bind(rows_max)
    }
}

fn bound(query: Query<'static, Postgres, PgArguments>, bind: &Bind) -> Query<'static, Postgres, PgArguments> {
    match bind {
        Bind::Text(text) => query.bind(text.clone()),
        Bind::Integer(n) => query.bind(*n),
        Bind::Boolean(is) => query.bind(*is),
    }
}

/// A place among the questions that a source bears at once.
pub type Slot = Arc<OwnedSemaphorePermit>;

/// A server that looks for its client every second has noticed by then that it has gone.
const NOTICED: Duration = Duration::from_secs(2);

/// A connection that is closed unless it is known to be at rest: a pool would wait for what it is still sending.
#[derive(Debug)]
struct Session {
    connection: Option<PoolConnection<Postgres>>,
    slot: Option<Slot>,
    /// The longest that the server goes on after a connection is closed.
    works_on: Duration,
}

impl Session {
    fn connection(&mut self) -> Result<&mut PgConnection, DatabaseError> {
        self.connection.as_deref_mut().ok_or_else(|| DatabaseError::Failed(String::from("closed")))
    }

    /// Ends the transaction and gives the connection back.
    async fn rest(&mut self) {
        let Some(connection) = self.connection.as_deref_mut() else { return };
        if connection.execute("ROLLBACK").await.is_ok() {
            drop(self.connection.take());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        drop(connection.detach());
        // Whoever leaves again and again would otherwise have more statements at work than the source bears.
        if let (Some(slot), Ok(runtime)) = (self.slot.take(), tokio::runtime::Handle::try_current()) {
            let works_on = self.works_on;
            runtime.spawn(async move {
                tokio::time::sleep(works_on).await;
                drop(slot);
            });
        }
    }
}
