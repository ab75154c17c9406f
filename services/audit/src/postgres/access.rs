//! How to reach a database with logs, and as whom.

use super::FORMAT;
use crate::error::OpenError;
use crate::store::StoreError;
use model::url::DatabaseUrl;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use std::path::PathBuf;
use std::time::Duration;

/// How to reach a database, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    pub url: DatabaseUrl,
    /// Without it whoever sits in between reads along, and the password may go to anybody.
    pub tls: bool,
    /// PEM file with the authorities that vouch for the server.
    pub ca_file: Option<PathBuf>,
    /// PEM files: certificate and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub username: String,
    pub password: Option<String>,
    pub connect_timeout: Duration,
    /// Nothing is signed before a synchronous standby has flushed it.
    pub standby: bool,
}

impl std::fmt::Debug for Access {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("url", &self.url).field("username", &self.username).finish_non_exhaustive()
    }
}

/// Why a database cannot be the store of a log. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("the environment sets `{0}`, which would change how the database is logged in to; unset it")]
    Environment(&'static str),
    #[error("`{store}` cannot be reached as `{role}`")]
    Unreachable {
        store: String,
        role: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("`{store}` did not answer within {} ms", within.as_millis())]
    Silent { store: String, within: Duration },
    #[error(
        "`{store}` has no tables for audit logs; make them with `millgate audit store init --store {store}`, as somebody \
         who may create roles and schemas"
    )]
    NoSchema { store: String },
    #[error(
        "the role `{role}` may not use the audit logs in `{store}`; give it leave with `millgate audit store init --store {store}` \
         and `--writer {role}` (a broker) or `--reader {role}` (somebody who reads)"
    )]
    NoLeave { store: String, role: String },
    #[error("the schema of the audit logs has format {found}; this program knows format {known}: use a newer one")]
    Format { found: i32, known: i32 },
    #[error(
        "the log `{origin}` in `{store}` is in use by another broker ({holder}); stop that one first, or give this one an origin of its own. \
         If that is none of your brokers, somebody else holds its lock"
    )]
    Taken { origin: String, store: String, holder: String },
    #[error(
        "the role `{role}` may change what is written{}; log in as one that was made with `millgate audit store init --writer`, and \
         is a member of no other",
        if role == through { String::new() } else { format!(": it can become `{through}`") }
    )]
    Privileged { role: String, through: String },
    #[error("the server has `{setting} = {value}`, so a commit would not be flushed; set it to `on`")]
    NotDurable { setting: &'static str, value: String },
    #[error("the server is a standby; name the primary")]
    Standby,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(StoreError),
    #[error("`{store}` has no log `{origin}`; it has {}", if known.is_empty() { String::from("none") } else { known.join(", ") })]
    NoLog { store: String, origin: String, known: Vec<String> },
    #[error("`{store}` has no log yet")]
    Empty { store: String },
    #[error("`{store}` has several logs; name one with `--origin`: {}", known.join(", "))]
    WhichLog { store: String, known: Vec<String> },
}

impl PostgresError {
    /// Everything is there but the log.
    pub(crate) fn is_no_log(&self) -> bool {
        matches!(self, Self::NoLog { .. } | Self::Empty { .. })
    }
}

impl From<PostgresError> for StoreError {
    fn from(error: PostgresError) -> Self {
        match error {
            PostgresError::Store(error) => error,
            error => Self::Failed(error.into()),
        }
    }
}

/// What the database's client takes from the environment where nothing is said: somebody else's trust and options.
const ENVIRONMENT: [&str; 4] = ["PGOPTIONS", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"];

impl Access {
    pub(super) fn options(&self) -> Result<PgConnectOptions, PostgresError> {
        if let Some(name) = ENVIRONMENT.into_iter().find(|name| std::env::var_os(name).is_some()) {
            return Err(PostgresError::Environment(name));
        }
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&self.url.host)
            .port(self.url.port)
            .database(&self.url.name)
            .username(&self.username)
            .application_name("millgate-audit")
            .ssl_mode(if self.tls { PgSslMode::VerifyFull } else { PgSslMode::Disable })
            // Also where there is none: not that of somebody else from the environment.
            .password(self.password.as_deref().unwrap_or_default())
            .disable_statement_logging();
        if let Some(file) = &self.ca_file {
            options = options.ssl_root_cert(file);
        }
        if let Some((certificate, key)) = &self.certificate {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        Ok(options)
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, PostgresError> {
        let options = self.options()?;
        match tokio::time::timeout(self.connect_timeout, options.connect()).await {
            Ok(connected) => connected.map_err(|source| self.unreachable(source)),
            Err(_) => Err(PostgresError::Silent { store: self.url.to_string(), within: self.connect_timeout }),
        }
    }

    pub(super) fn unreachable(&self, source: sqlx::Error) -> PostgresError {
        PostgresError::Unreachable { store: self.url.to_string(), role: self.username.clone(), source }
    }

    /// The schema is there, and of a format that is known.
    pub(super) async fn assert_schema(&self, connection: &mut PgConnection) -> Result<(), PostgresError> {
        let found = sqlx::query_scalar("SELECT version FROM millgate_audit.format").fetch_optional(connection).await;
        match found.map_err(|e| self.without_schema(e))? {
            Some(FORMAT) => Ok(()),
            Some(found) => Err(PostgresError::Format { found, known: FORMAT }),
            None => Err(PostgresError::NoSchema { store: self.url.to_string() }),
        }
    }

    fn without_schema(&self, error: sqlx::Error) -> PostgresError {
        let (store, role) = (self.url.to_string(), self.username.clone());
        match error.as_database_error().and_then(|e| e.code()).as_deref() {
            // undefined_table, invalid_schema_name
            Some("42P01" | "3F000") => PostgresError::NoSchema { store },
            // insufficient_privilege
            Some("42501") => PostgresError::NoLeave { store, role },
            _ => PostgresError::Store(error.into()),
        }
    }

    /// The answer of `millgate_audit.open`, which has words of its own for a log of another role.
    pub(super) fn refused(&self, error: sqlx::Error) -> OpenError {
        let Some(said) = error.as_database_error() else { return StoreError::from(error).into() };
        match said.code().as_deref() {
            Some("42501") if said.message().starts_with("permission denied") => {
                PostgresError::NoLeave { store: self.url.to_string(), role: self.username.clone() }.into()
            }
            Some("42501") => PostgresError::Refused(said.message().to_owned()).into(),
            _ => StoreError::from(error).into(),
        }
    }
}
