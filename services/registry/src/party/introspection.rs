//! Reading `introspection` of an issuer: whose opaque tokens are whose, without asking anybody.

use super::issuer::https;
use crate::merge::Merged;
use crate::secret;
use crate::table::Table;
use model::IssuerId;
use model::party::{Introspection, Issuer, KeyLocation};
use std::collections::BTreeMap;
use std::path::Path;

/// So long a token that its issuer revoked may live on.
const CACHE_DEFAULT_MS: i64 = 1_000;
const CACHE_MAX_MS: i64 = 60_000;
const CLIENT_ID_BYTES_MAX: usize = 255;
/// Shorter ones are had by chance.
const PREFIX_BYTES: std::ops::RangeInclusive<usize> = 3..=64;

pub(super) fn read(issuer: &Table<'_>, folder: &Path, keys: &KeyLocation) -> Option<Introspection> {
    let table = issuer.table("introspection")?;
    let url = https(&table, "url");
    if table.get("url").is_none() && !matches!(keys, KeyLocation::Discovery { .. }) {
        let what = format!("{} has no `url`, and the issuer's metadata is not read", table.what);
        table.problem(table.spot, what, Some(String::from("add `url = \"https://…\"`")));
    }
    let client_id = table.required_text("client_id");
    if client_id.is_some_and(|id| id.len() > CLIENT_ID_BYTES_MAX) {
        let what = format!("`client_id` of {} is longer than {CLIENT_ID_BYTES_MAX} bytes", table.what);
        table.problem(table.spot_of("client_id"), what, None);
    }
    if table.get("client_secret").is_none() {
        table.missing("client_secret", "{ file = \"…\" }");
    }
    let client_secret = secret::from_table(&table, "client_secret", folder);
    let (prefix, host) = (prefix(&table), host(&table));
    if table.get("prefix").is_none() && table.get("host").is_none() {
        let what = format!("{} does not say which tokens are its own", table.what);
        let help = "add `prefix` (what they begin with) or `host` (where callers with them come to)";
        table.problem(table.spot, what, Some(help.into()));
    }
    let cache = table.duration("cache", 0..=CACHE_MAX_MS).unwrap_or(CACHE_DEFAULT_MS);
    table.finish();
    Some(Introspection {
        url,
        client_id: client_id?.to_owned(),
        client_secret: client_secret?,
        prefix,
        host,
        cache_ms: cache.unsigned_abs(), // 0 or more
    })
}

fn prefix(table: &Table<'_>) -> Option<String> {
    let text = table.text("prefix")?;
    // RFC 6750 section 2.1, less the dot that stands between the parts of a signed token.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~' | b'+' | b'/');
    let problem = if text.contains('.') || text.starts_with("eyJ") {
        Some(("could begin a signed token", "opaque tokens have a prefix without dots, and not `eyJ`"))
    } else if !PREFIX_BYTES.contains(&text.len()) || !text.bytes().all(plain) {
        Some(("is no prefix", "use 3 to 64 letters, digits, `-`, `_`, `~`, `+`, `/`"))
    } else {
        None
    };
    if let Some((what, help)) = problem {
        table.wrong("prefix", format!("`prefix` of {} {what}: `{text}`", table.what), help);
        return None;
    }
    Some(text.to_owned())
}

fn host(table: &Table<'_>) -> Option<String> {
    let text = table.text("host")?;
    if !super::authority::is_dns_name(text) {
        let what = format!("`host` of {} is `{text}`", table.what);
        table.wrong("host", what, "use a host name in lower case, without scheme and port: `acme.data.example`");
        return None;
    }
    Some(text.to_owned())
}

/// An opaque token is shown to the one issuer it belongs to: no prefix begins with another's, and a host stands once.
pub(super) fn distinct(issuers: &BTreeMap<IssuerId, Issuer>, merged: &Merged<'_>) {
    let all = || issuers.values().filter_map(|issuer| Some((issuer, issuer.introspection.as_ref()?)));
    let mut prefixes: Vec<(&str, &IssuerId)> =
        all().filter_map(|(issuer, i)| Some((i.prefix.as_deref()?, &issuer.id))).collect();
    // Sorted, all that begin with a prefix follow it.
    prefixes.sort_unstable();
    let mut first: Option<(&str, &IssuerId)> = None;
    for (prefix, id) in prefixes {
        match first {
            Some((short, other)) if prefix.starts_with(short) => {
                let what = format!("`prefix` of issuer `{id}` begins with `{short}`, the one of issuer `{other}`");
                wrong(merged, id, "prefix", what, "their tokens could not be told apart");
            }
            _ => first = Some((prefix, id)),
        }
    }
    let mut hosts: BTreeMap<&str, &IssuerId> = BTreeMap::new();
    for (issuer, host) in all().filter_map(|(issuer, i)| Some((issuer, i.host.as_deref()?))) {
        let other = *hosts.entry(host).or_insert(&issuer.id);
        if other != &issuer.id {
            let what = format!("`host` of issuer `{}` is the one of issuer `{other}`", issuer.id);
            wrong(merged, &issuer.id, "host", what, "their tokens could not be told apart");
        }
    }
}

fn wrong(merged: &Merged<'_>, id: &IssuerId, key: &'static str, what: String, help: &str) {
    let Some(table) = merged.table("issuer", id.as_str()).and_then(|t| t.table("introspection")) else { return };
    table.wrong(key, what, help);
}
