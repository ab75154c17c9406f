//! A database that holds the log, as the configuration names it.

use super::Tls;
use super::section::Section;
use model::party::SecretRef;
use model::url::DatabaseUrl;
use std::path::PathBuf;
use std::time::Duration;

/// A database in PostgreSQL, and how the broker logs in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub url: DatabaseUrl,
    /// Without it whoever sits in between reads along, and the password may go to anybody.
    pub tls: bool,
    /// PEM file with the authorities that vouch for it.
    pub ca_file: Option<PathBuf>,
    /// PEM files.
    pub client_certificate: Option<Tls>,
    pub username: String,
    pub password: Option<SecretRef>,
    pub connect_timeout: Duration,
    /// Nothing is signed before a synchronous standby has flushed it.
    pub standby: bool,
}

impl Store {
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
}

/// The same words as for a database that is a source.
pub(super) fn read(section: Option<Section<'_, '_, '_>>) -> Option<Store> {
    let mut section = section?;
    for (key, help) in [
        ("url", "the database: `url = \"postgresql://HOST:PORT/DATABASE\"`"),
        ("username", "a role: `username = \"…\"`"),
    ] {
        if !section.has(key) {
            section.missing(key, help);
        }
    }
    let url = section.address("url");
    let username = section.text("username", "the role to log in as").map(str::to_owned);
    let (tls, ca_file) = (section.flag("tls", true), section.path("ca_file"));
    if tls && !section.has("ca_file") {
        let help = "add `ca_file = \"…\"`, or `tls = false` where nobody sits in between";
        section.problem("tls", "`[audit.store]` has no `ca_file`, and nobody else vouches for a database", help);
    }
    let client_certificate = match (section.path("certificate_file"), section.path("key_file")) {
        (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
        (None, None) => None,
        _ => {
            section.problem("certificate_file", "`certificate_file` and `key_file` belong together", "name both");
            None
        }
    };
    for (key, there) in [("ca_file", ca_file.is_some()), ("certificate_file", client_certificate.is_some())] {
        if there && !tls {
            section.problem(key, format!("`[audit.store]` has a `{key}` but no TLS"), "remove `tls = false`");
        }
    }
    let default = Store::CONNECT_TIMEOUT;
    let longest = Duration::from_secs(60);
    let connect_timeout = section.duration("connect_timeout", Duration::from_millis(10)..=longest, default);
    let (password, standby) = (section.secret("password"), section.flag("standby", false));
    section.close();
    Some(Store { url: url?, tls, ca_file, client_certificate, username: username?, password, connect_timeout, standby })
}
