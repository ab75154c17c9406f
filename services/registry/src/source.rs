//! A plant system that is asked for data: where it is, how to log in there, and how gently to treat it.

use crate::problem::Problem;
use crate::secret;
use crate::table::Table;
use crate::url::BaseUrl;
use model::SourceId;
use model::party::SecretRef;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub id: SourceId,
    pub title: String,
    pub url: BaseUrl,
    /// PEM file with the only authorities this https source may be vouched for by; otherwise the machine's own.
    pub ca_file: Option<PathBuf>,
    pub credentials: Credentials,
    pub connect_timeout_ms: u64,
    /// From the request to the last byte of the answer's head.
    pub response_timeout_ms: u64,
    /// Between two pieces of the answer's body.
    pub idle_timeout_ms: u64,
    /// Requests in flight at once; an answer's body counts until its end.
    pub concurrency_max: u32,
    /// How long a request waits for its turn.
    pub queue_timeout_ms: u64,
}

/// How the broker logs in. The caller's own credential never goes to a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    None,
    /// RFC 7617.
    Basic {
        username: String,
        password: SecretRef,
    },
    /// RFC 6750.
    Bearer {
        token: SecretRef,
    },
}

/// A number that fits a historian on a single old server; raise it where the source is known to bear more.
const CONCURRENCY_DEFAULT: i64 = 8;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600_000;

impl Source {
    pub(crate) fn from_table(id: SourceId, table: &Table<'_>, folder: &Path) -> Option<Self> {
        let title = table.text("title").unwrap_or(id.as_str()).to_owned();
        let url = url(table);
        let ca_file = table.text("ca_file").map(|file| folder.join(file));
        if ca_file.is_some() && url.as_ref().is_some_and(|u| !u.https) {
            table.wrong("ca_file", format!("{} has a `ca_file` but no https `url`", table.what), "use `https://`");
        }
        let timeout = |key, default| {
            table.duration(key, 1..=HOUR).unwrap_or(default).unsigned_abs() // 1 or more
        };
        let connect_timeout_ms = timeout("connect_timeout", 2 * SECOND);
        let response_timeout_ms = timeout("response_timeout", 30 * SECOND);
        let idle_timeout_ms = timeout("idle_timeout", 30 * SECOND);
        let queue_timeout_ms = timeout("queue_timeout", 2 * SECOND);
        let concurrency = table.integer("concurrency", 1..=10_000).unwrap_or(CONCURRENCY_DEFAULT);
        let credentials = credentials(table, folder);
        Some(Self {
            id,
            title,
            url: url?,
            ca_file,
            credentials: credentials?,
            connect_timeout_ms,
            response_timeout_ms,
            idle_timeout_ms,
            concurrency_max: u32::try_from(concurrency).ok()?,
            queue_timeout_ms,
        })
    }

    /// Files and variables that this source needs and that cannot be read now.
    pub(crate) fn unreadable(&self, folder: &Path) -> Vec<Problem> {
        let what = format!("source `{}`", self.id);
        let secret = match &self.credentials {
            Credentials::None => None,
            Credentials::Basic { password, .. } => secret::problem(password, folder, &what),
            Credentials::Bearer { token } => secret::problem(token, folder, &what),
        };
        let ca_file = self.ca_file.as_ref().and_then(|f| unreadable_file(f, &format!("`ca_file` of {what}")));
        secret.into_iter().chain(ca_file).collect()
    }
}

/// A problem if `file` cannot be opened.
pub(crate) fn unreadable_file(file: &Path, what: &str) -> Option<Problem> {
    let error = std::fs::File::open(file).err()?;
    let what = format!("{what}: cannot be read: {error}");
    Some(Problem { file: file.to_owned(), line: None, column: None, what, help: None })
}

fn url(table: &Table<'_>) -> Option<BaseUrl> {
    let text = table.required_text("url")?;
    text.parse()
        .map_err(|e| table.wrong("url", format!("`url` of {} {e}", table.what), "write `https://HOST:PORT/BASE`"))
        .ok()
}

fn credentials(table: &Table<'_>, folder: &Path) -> Option<Credentials> {
    // Asked for in any case, so that each is a known key.
    let username = table.text("username").map(str::to_owned);
    let has = |key| table.get(key).is_some();
    match (has("username"), has("password"), has("token")) {
        (false, false, false) => Some(Credentials::None),
        (false, false, true) => Some(Credentials::Bearer { token: secret::from_table(table, "token", folder)? }),
        (true, true, false) => {
            let password = secret::from_table(table, "password", folder)?;
            if username.as_ref().is_some_and(|u| u.contains(':')) {
                table.wrong("username", format!("`username` of {} holds a colon", table.what), "RFC 7617 forbids it");
            }
            Some(Credentials::Basic { username: username?, password })
        }
        (true, false, _) => {
            table.missing("password", "{ file = \"…\" }");
            None
        }
        (false, true, _) => {
            table.missing("username", "\"…\"");
            None
        }
        (_, true, true) => {
            let what = format!("{} has both a password and a token", table.what);
            table.wrong("token", what, "keep one");
            None
        }
    }
}
