//! Where the logs of tests live, and how somebody with all rights changes them.

use crate::postgres::Access;
use crate::reader::Reader;
use crate::sqlite::DATABASE_FILE;
use crate::{StoreAt, frames, tests::harness::ORIGIN};
use model::entry::Entry;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Who may do everything in the PostgreSQL of a test.
pub const SUPERUSER: &str = "postgres";
pub const SUPERUSER_PASSWORD: &str = "of the superuser";

/// Makes stores.
#[derive(Debug)]
pub enum Stand {
    Sqlite,
    Postgres(Box<Template>),
}

/// A database of a server without TLS that is ready for logs and has none, seen by a writer.
#[derive(Debug)]
pub struct Template {
    access: Access,
    made: AtomicU32,
}

/// A place for one log.
#[derive(Debug)]
pub struct Home {
    at: StoreAt,
    /// Where the log is in SQLite, and what stands beside it otherwise: its index.
    directory: TempDir,
}

impl Home {
    /// As a test would call the path of a directory, which it is in SQLite.
    pub fn path(&self) -> &StoreAt {
        &self.at
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn is_in_postgres(&self) -> bool {
        matches!(self.at, StoreAt::Postgres { .. })
    }

    /// Whether the text stands in any file of the log, or in any row.
    pub async fn holds(&self, text: &str) -> bool {
        let in_rows = match &self.at {
            StoreAt::Directory(_) => false,
            StoreAt::Postgres { access, .. } => a_row_holds(access, text).await,
        };
        in_rows || a_file_holds(self.directory(), text)
    }

    fn in_directory(directory: TempDir) -> Self {
        Self { at: directory.path().into(), directory }
    }
}

impl Stand {
    pub fn postgres(template: Access) -> Self {
        Self::Postgres(Box::new(Template { access: template, made: AtomicU32::new(0) }))
    }

    /// A place without a log.
    pub async fn home(&self) -> Home {
        match self {
            Self::Sqlite => Home::in_directory(tempfile::tempdir().unwrap()),
            Self::Postgres(template) => template.copy_of(&template.access).await,
        }
    }

    /// A place with the same log. Nobody may have that one open.
    pub async fn copy(&self, home: &Home) -> Home {
        match (self, &home.at) {
            (Self::Sqlite, StoreAt::Directory(from)) => {
                let copy = tempfile::tempdir().unwrap();
                copy_dir(from, copy.path());
                Home::in_directory(copy)
            }
            (Self::Postgres(template), StoreAt::Postgres { access, .. }) => template.copy_of(access).await,
            _ => unreachable!("a home of another stand"),
        }
    }
}

impl Template {
    async fn copy_of(&self, of: &Access) -> Home {
        let name = format!("log_{}", self.made.fetch_add(1, Ordering::Relaxed));
        let mut admin = superuser(of, "postgres").await;
        // Sessions that have just ended are still on their way out; the server waits for them.
        let create = format!("CREATE DATABASE {name} TEMPLATE {}", of.url.name);
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
        let mut access = of.clone();
        access.url.name = name;
        let at = StoreAt::Postgres { access: Box::new(access), origin: Some(ORIGIN.to_owned()) };
        Home { at, directory: tempfile::tempdir().unwrap() }
    }
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Whether any file below holds the text.
pub fn a_file_holds(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|file| {
        let path = file.unwrap().path();
        if path.is_dir() {
            return a_file_holds(&path, text);
        }
        // What goes in between holds nothing.
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
    })
}

/// What a row shows to whoever reads it, whichever column it is; what the server's files keep of rows of before is not the log's.
async fn a_row_holds(access: &Access, text: &str) -> bool {
    let columns =
        "SELECT string_agg(format('EXISTS (SELECT FROM millgate_audit.%I WHERE position($1 IN %s) > 0)', table_name,
            CASE data_type WHEN 'bytea' THEN quote_ident(column_name)
                ELSE format('convert_to(%I::text, ''UTF8'')', column_name) END), ' OR ')
        FROM information_schema.columns WHERE table_schema = 'millgate_audit'";
    let mut connection = superuser(access, &access.url.name).await;
    let somewhere: String = sqlx::query_scalar(columns).fetch_one(&mut connection).await.unwrap();
    let look = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {somewhere}"))).bind(text.as_bytes().to_vec());
    let found: bool = look.fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    found
}

/// What the store says to a change that somebody makes with all rights who does not take its triggers away.
pub async fn refusal(at: impl Into<StoreAt>, sql: &str) -> String {
    match at.into() {
        StoreAt::Directory(dir) => {
            let options = SqliteConnectOptions::new().filename(dir.join(DATABASE_FILE));
            let mut connection = options.connect().await.unwrap();
            let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
            done.map(drop).unwrap_err().to_string()
        }
        StoreAt::Postgres { access, .. } => {
            let mut connection = superuser(&access, &access.url.name).await;
            let sql = format!("SET search_path = millgate_audit, pg_catalog; {}", for_postgres(sql));
            let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
            done.map(drop).unwrap_err().to_string()
        }
    }
}

/// Takes the entries away, or brings them back: meanwhile they cannot be read.
pub async fn rename_bundles(at: impl Into<StoreAt>, from: &str, to: &str) {
    match at.into() {
        StoreAt::Directory(dir) => {
            let mut connection = SqliteConnectOptions::new().filename(dir.join(DATABASE_FILE)).connect().await.unwrap();
            let rename = AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"));
            sqlx::raw_sql(rename).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        StoreAt::Postgres { access, .. } => {
            let mut connection = superuser(&access, &access.url.name).await;
            let rename = AssertSqlSafe(format!("ALTER TABLE millgate_audit.{from} RENAME TO {to}"));
            sqlx::raw_sql(rename).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

async fn superuser(access: &Access, database: &str) -> PgConnection {
    let options = PgConnectOptions::new_without_pgpass().host(&access.url.host).port(access.url.port);
    let options = options.username(SUPERUSER).password(SUPERUSER_PASSWORD).ssl_mode(PgSslMode::Disable);
    options.database(database).connect().await.unwrap()
}

/// Changes the database behind the log's back, as its owner can: the triggers go first.
pub async fn vandalise(at: impl Into<StoreAt>, sql: &str) {
    let changed = match at.into() {
        StoreAt::Directory(dir) => {
            let mut connection = unprotected_file(&dir).await;
            let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            done.rows_affected()
        }
        StoreAt::Postgres { access, .. } => {
            let mut connection = unprotected_database(&access).await;
            let done = sqlx::raw_sql(AssertSqlSafe(for_postgres(sql))).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            done.rows_affected()
        }
    };
    assert!(changed > 0, "{sql}");
}

/// Changes the bytes of a bundle and makes its digest fit.
pub async fn rewrite(at: impl Into<StoreAt>, first_index: u64, change: impl Fn(&mut [u8])) {
    let first_index = i64::try_from(first_index).unwrap();
    let changed = |mut bytes: Vec<u8>| {
        change(&mut bytes);
        let digest = model::Digest::of(&bytes).0.to_vec();
        (bytes, digest)
    };
    match at.into() {
        StoreAt::Directory(dir) => {
            let mut connection = unprotected_file(&dir).await;
            let select = sqlx::query("SELECT bytes FROM bundle WHERE first_index = ?").bind(first_index);
            let (bytes, digest) = changed(select.fetch_one(&mut connection).await.unwrap().get(0));
            let update = sqlx::query("UPDATE bundle SET bytes = ?, sha256 = ? WHERE first_index = ?");
            update.bind(bytes).bind(digest).bind(first_index).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        StoreAt::Postgres { access, .. } => {
            let mut connection = unprotected_database(&access).await;
            let select = sqlx::query("SELECT bytes FROM bundle WHERE first_index = $1").bind(first_index);
            let (bytes, digest) = changed(select.fetch_one(&mut connection).await.unwrap().get(0));
            let update = sqlx::query("UPDATE bundle SET bytes = $1, sha256 = $2 WHERE first_index = $3");
            update.bind(bytes).bind(digest).bind(first_index).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

/// Puts a batch into the store beside the writer, consistent with all that is there: no trigger has anything against it.
pub async fn intrude(at: impl Into<StoreAt>, entries: &[Vec<u8>]) {
    let at = at.into();
    let reader = Reader::open(&at).await.unwrap();
    let head = reader.head().await.unwrap();
    reader.close().await;
    let (mut range, mut bytes) = (head.range.clone(), Vec::new());
    for entry in entries {
        assert!(frames::push(&mut bytes, entry));
        range.push(tlog::leaf_hash(entry));
    }
    let times: Vec<i64> = entries.iter().map(|entry| Entry::parse(entry).unwrap().time.millis()).collect();
    let (first, last) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
    let (from, to) = (i64::try_from(head.size()).unwrap(), i64::try_from(range.size()).unwrap());
    let (digest, root) = (model::Digest::of(&bytes).0.to_vec(), range.root().0.to_vec());
    match at {
        StoreAt::Directory(dir) => {
            let mut connection = SqliteConnectOptions::new().filename(dir.join(DATABASE_FILE)).connect().await.unwrap();
            let insert = "INSERT INTO bundle (first_index, count, time_first, time_last, sha256, bytes)
                          VALUES (?, ?, ?, ?, ?, ?)";
            let insert = sqlx::query(insert).bind(from).bind(to - from).bind(first).bind(last).bind(digest).bind(bytes);
            let head = sqlx::query("UPDATE head SET size = ?, root = ?, range = ?");
            let head = head.bind(to).bind(root).bind(range.to_bytes());
            let mut transaction = connection.begin().await.unwrap();
            insert.execute(&mut *transaction).await.unwrap();
            head.execute(&mut *transaction).await.unwrap();
            transaction.commit().await.unwrap();
            connection.close().await.unwrap();
        }
        StoreAt::Postgres { access, .. } => {
            let mut connection = superuser(&access, &access.url.name).await;
            let insert =
                "INSERT INTO millgate_audit.bundle (log, first_index, count, time_first, time_last, sha256, bytes)
                          SELECT id, $1, $2, $3, $4, $5, $6 FROM millgate_audit.log";
            let insert = sqlx::query(insert).bind(from).bind(to - from).bind(first).bind(last).bind(digest).bind(bytes);
            let head = sqlx::query("UPDATE millgate_audit.head SET size = $1, root = $2, range = $3");
            let head = head.bind(to).bind(root).bind(range.to_bytes());
            let mut transaction = connection.begin().await.unwrap();
            insert.execute(&mut *transaction).await.unwrap();
            head.execute(&mut *transaction).await.unwrap();
            transaction.commit().await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

/// Takes from the store what stores of before did not have; some had an index in its place. Nobody may have it open.
pub async fn forget_keys(at: impl Into<StoreAt>, is_indexed: bool) {
    match at.into() {
        StoreAt::Directory(dir) => {
            let mut connection = SqliteConnectOptions::new().filename(dir.join(DATABASE_FILE)).connect().await.unwrap();
            let before = "DROP TABLE key_entry; CREATE INDEX bundle_of_keys ON bundle (first_index)
                          WHERE instr(bytes, x'6b696e64223a226b657922') > 0";
            let before = if is_indexed { before } else { "DROP TABLE key_entry" };
            sqlx::raw_sql(before).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        StoreAt::Postgres { access, .. } => {
            let mut connection = superuser(&access, &access.url.name).await;
            if is_indexed {
                return;
            }
            let drop = sqlx::raw_sql("DROP INDEX millgate_audit.bundle_of_keys");
            drop.execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

async fn unprotected_file(dir: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(dir.join(DATABASE_FILE));
    let mut connection = options.connect().await.unwrap();
    let triggers = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'trigger'");
    for row in triggers.fetch_all(&mut connection).await.unwrap() {
        let drop = format!("DROP TRIGGER {}", row.get::<String, _>(0));
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await.unwrap();
    }
    connection
}

async fn unprotected_database(access: &Access) -> PgConnection {
    let mut connection = superuser(access, &access.url.name).await;
    let unprotect = "
        SET search_path = millgate_audit, pg_catalog;
        ALTER TABLE bundle DISABLE TRIGGER USER;
        ALTER TABLE head DISABLE TRIGGER USER;
        ALTER TABLE checkpoint DISABLE TRIGGER USER;
        ALTER TABLE pruning DISABLE TRIGGER USER;
        ALTER TABLE leaf DISABLE TRIGGER USER;
        CREATE FUNCTION pg_temp.zeroblob(n bigint) RETURNS bytea LANGUAGE sql
            AS $$ SELECT decode(repeat('00', n::integer), 'hex') $$";
    sqlx::raw_sql(unprotect).execute(&mut connection).await.unwrap();
    connection
}

/// The same statement in PostgreSQL's words.
fn for_postgres(sql: &str) -> String {
    let sql = sql.replace("AS BLOB", "AS bytea").replace("zeroblob(", "pg_temp.zeroblob(");
    // x'58' is a number there.
    let mut parts = sql.split("x'");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_once('\'').unwrap();
        out.push_str(&format!("'\\x{digits}'::bytea{rest}"));
    }
    out
}
