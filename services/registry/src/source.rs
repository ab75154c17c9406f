//! A plant system that is asked for data: where it is, how to log in there, and how gently to treat it.

mod assertion;
#[cfg(test)]
mod tests;

pub use assertion::AssertionTo;

use crate::problem::Problem;
use crate::secret;
use crate::table::Table;
use model::SourceId;
use model::party::SecretRef;
use model::url::{BaseUrl, DatabaseUrl};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub id: SourceId,
    pub title: String,
    pub address: Address,
    /// PEM file with the only authorities this source may be vouched for by over TLS; otherwise the machine's own.
    pub ca_file: Option<PathBuf>,
    pub credentials: Credentials,
    /// What the broker shows in the TLS handshake, if the source asks for it.
    pub client_certificate: Option<ClientCertificate>,
    /// For whom it asks, if the source is to know.
    pub assertion: Option<AssertionTo>,
    pub connect_timeout_ms: u64,
    /// From the request to the last byte of the answer's head.
    pub response_timeout_ms: u64,
    /// Between two pieces of the answer's body.
    pub idle_timeout_ms: u64,
    /// From the head of the answer to its last byte.
    pub answer_timeout_ms: u64,
    /// Requests in flight at once; an answer's body counts until its end.
    pub concurrency_max: u32,
    /// How long a request waits for its turn.
    pub queue_timeout_ms: u64,
}

/// Where a source is and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Http(BaseUrl),
    /// PostgreSQL's own protocol.
    Database {
        url: DatabaseUrl,
        /// Without it whoever sits in between reads along, and the password may go to anybody.
        tls: bool,
    },
}

impl Address {
    fn is_tls(&self) -> bool {
        match self {
            Self::Http(url) => url.https,
            Self::Database { tls, .. } => *tls,
        }
    }

    pub fn is_database(&self) -> bool {
        matches!(self, Self::Database { .. })
    }

    /// What to write for TLS.
    fn way_to_tls(&self) -> &'static str {
        match self {
            Self::Http(_) => "use `https://`",
            Self::Database { .. } => "remove `tls = false`",
        }
    }
}

/// How the broker logs in. The caller's own credential never goes to a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    None,
    /// To a database that knows the broker by its certificate or its place.
    Name {
        username: String,
    },
    /// RFC 7617, or the roles of a database.
    Basic {
        username: String,
        password: SecretRef,
    },
    /// RFC 6750.
    Bearer {
        token: SecretRef,
    },
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, leaf first.
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

/// A number that fits a historian on a single old server; raise it where the source is known to bear more.
const CONCURRENCY_DEFAULT: i64 = 8;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600_000;
/// Somebody who takes a few bytes now and then would keep a place at the source for ever.
const ANSWER_DEFAULT: i64 = 10 * 60 * SECOND;
const ANSWER_MAX: i64 = 24 * HOUR;

impl Source {
    pub(crate) fn from_table(id: SourceId, table: &Table<'_>, folder: &Path) -> Option<Self> {
        let title = table.text("title").unwrap_or(id.as_str()).to_owned();
        let address = address(table);
        let ca_file = table.text("ca_file").map(|file| folder.join(file));
        let client_certificate = client_certificate(table, folder);
        let files = [("ca_file", ca_file.is_some()), ("certificate_file", client_certificate.is_some())];
        if let Some(address) = address.as_ref().filter(|address| !address.is_tls()) {
            for (key, _) in files.iter().filter(|(_, there)| *there) {
                table.wrong(key, format!("{} has a `{key}` but no TLS", table.what), address.way_to_tls());
            }
        }
        let timeout = |key, default, max| {
            table.duration(key, 1..=max).unwrap_or(default).unsigned_abs() // 1 or more
        };
        if let Some(Address::Database { tls: true, .. }) = &address
            && table.get("ca_file").is_none()
        {
            let what = format!("{} has no `ca_file`, and nobody else vouches for a database", table.what);
            table.problem(
                table.spot,
                what,
                Some("add `ca_file = \"…\"`, or `tls = false` where nobody sits in between".into()),
            );
        }
        let connect_timeout_ms = timeout("connect_timeout", 2 * SECOND, HOUR);
        let response_timeout_ms = timeout("response_timeout", 30 * SECOND, HOUR);
        let idle_timeout_ms = timeout("idle_timeout", 30 * SECOND, HOUR);
        let answer_timeout_ms = timeout("answer_timeout", ANSWER_DEFAULT, ANSWER_MAX);
        let queue_timeout_ms = timeout("queue_timeout", 2 * SECOND, HOUR);
        let concurrency = table.integer("concurrency", 1..=10_000).unwrap_or(CONCURRENCY_DEFAULT);
        let is_database = address.as_ref().is_some_and(Address::is_database);
        let credentials = credentials(table, folder, is_database);
        let has_credentials = credentials.as_ref().is_none_or(|c| *c != Credentials::None);
        let assertion = assertion::from_table(table, has_credentials);
        if assertion.is_some() && is_database {
            let what = format!("{} is a database, which takes no assertion", table.what);
            table.wrong("assertion", what, "remove it");
        }
        Some(Self {
            id,
            title,
            address: address?,
            ca_file,
            credentials: credentials?,
            client_certificate,
            assertion,
            connect_timeout_ms,
            response_timeout_ms,
            idle_timeout_ms,
            answer_timeout_ms,
            concurrency_max: u32::try_from(concurrency).ok()?,
            queue_timeout_ms,
        })
    }

    /// Files and variables that this source needs and that cannot be read now.
    pub(crate) fn unreadable(&self, folder: &Path) -> Vec<Problem> {
        let what = format!("source `{}`", self.id);
        let secret = match &self.credentials {
            Credentials::None | Credentials::Name { .. } => None,
            Credentials::Basic { password, .. } => secret::problem(password, folder, &what),
            Credentials::Bearer { token } => secret::problem(token, folder, &what),
        };
        let unreadable = |(key, file): (&str, &Path)| unreadable_file(file, &format!("`{key}` of {what}"));
        secret.into_iter().chain(self.pem_files().filter_map(unreadable)).collect()
    }

    /// Keys and files of what TLS needs.
    fn pem_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let own = self.client_certificate.iter();
        let own = own.flat_map(|c| [("certificate_file", &*c.certificate_file), ("key_file", &*c.key_file)]);
        self.ca_file.iter().map(|file| ("ca_file", &**file)).chain(own)
    }

    /// Every file that is read when the source is asked: a change of one is taken over while requests flow.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let secret = match &self.credentials {
            Credentials::Basic { password: SecretRef::File(path), .. }
            | Credentials::Bearer { token: SecretRef::File(path) } => Some(&**path),
            _ => None,
        };
        self.pem_files().map(|(_, file)| file).chain(secret)
    }
}

/// A problem if `file` cannot be opened.
pub(crate) fn unreadable_file(file: &Path, what: &str) -> Option<Problem> {
    let error = std::fs::File::open(file).err()?;
    let what = format!("{what}: cannot be read: {error}");
    Some(Problem { file: file.to_owned(), line: None, column: None, what, help: None })
}

fn address(table: &Table<'_>) -> Option<Address> {
    let text = table.required_text("url")?;
    let tls = table.boolean("tls");
    let wrong = |e, help| table.wrong("url", format!("`url` of {} {e}", table.what), help);
    if DatabaseUrl::is_meant(text) {
        let url = text.parse().map_err(|e| wrong(e, "write `postgresql://HOST:PORT/DATABASE`")).ok()?;
        return Some(Address::Database { url, tls: tls.unwrap_or(true) });
    }
    if tls.is_some() {
        table.wrong("tls", format!("{} is no database", table.what), "remove it: `https://` or `http://` says it");
    }
    let help = "write `https://HOST:PORT/BASE`, or `postgresql://HOST:PORT/DATABASE`";
    text.parse().map(Address::Http).map_err(|e| wrong(e, help)).ok()
}

fn client_certificate(table: &Table<'_>, folder: &Path) -> Option<ClientCertificate> {
    let [certificate, key] = ["certificate_file", "key_file"].map(|k| table.text(k).map(|file| folder.join(file)));
    match (certificate, key) {
        (Some(certificate_file), Some(key_file)) => return Some(ClientCertificate { certificate_file, key_file }),
        (Some(_), None) if table.get("key_file").is_none() => table.missing("key_file", "\"…\""),
        (None, Some(_)) if table.get("certificate_file").is_none() => table.missing("certificate_file", "\"…\""),
        _ => {}
    }
    None
}

fn credentials(table: &Table<'_>, folder: &Path, is_database: bool) -> Option<Credentials> {
    // Asked for in any case, so that each is a known key.
    let username = table.text("username").map(str::to_owned);
    let has = |key| table.get(key).is_some();
    match (has("username"), has("password"), has("token")) {
        (_, _, true) if is_database => {
            table.wrong("token", format!("{} is a database, which takes no token", table.what), "remove it");
            None
        }
        (false, _, false) if is_database => {
            table.missing("username", "\"…\"");
            None
        }
        (true, false, false) if is_database => Some(Credentials::Name { username: username? }),
        (false, false, false) => Some(Credentials::None),
        (false, false, true) => Some(Credentials::Bearer { token: secret::from_table(table, "token", folder)? }),
        (true, true, false) => {
            let password = secret::from_table(table, "password", folder)?;
            if !is_database && username.as_ref().is_some_and(|u| u.contains(':')) {
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
