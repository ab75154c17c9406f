//! Reading `[issuer.…]`: whose tokens speak for an organisation.

use super::KINDS;
use crate::merge::Merged;
use crate::table::Table;
use crate::url::BaseUrl;
use model::party::{Issuer, SignatureAlgorithm};
use model::{IssuerId, PrincipalKind};
use std::collections::BTreeMap;
use std::path::Path;

const ALGORITHMS: [(&str, SignatureAlgorithm); 9] = [
    ("ES256", SignatureAlgorithm::ES256),
    ("ES384", SignatureAlgorithm::ES384),
    ("RS256", SignatureAlgorithm::RS256),
    ("RS384", SignatureAlgorithm::RS384),
    ("RS512", SignatureAlgorithm::RS512),
    ("PS256", SignatureAlgorithm::PS256),
    ("PS384", SignatureAlgorithm::PS384),
    ("PS512", SignatureAlgorithm::PS512),
    ("EdDSA", SignatureAlgorithm::EdDSA),
];
/// Clocks of companies differ by seconds; a leeway of minutes lengthens the life of every token.
const LEEWAY_DEFAULT_MS: i64 = 30_000;
const LEEWAY_MAX_MS: i64 = 300_000;

pub(super) fn read(id: IssuerId, table: &Table<'_>, merged: &Merged<'_>, folder: &Path) -> Option<Issuer> {
    let organisation = table.required_reference("organisation", "organisation", merged);
    let url = issuer_url(table);
    table.required_list("audiences");
    let audiences = table.texts("audiences").into_iter().map(|(text, _)| text.to_owned()).collect();
    let algorithms = algorithms(table);
    let token_types = match table.get("token_types") {
        // RFC 9068: what says of itself that it is an access token, and no ID token.
        None => vec![String::from("at+jwt")],
        Some(_) => table.texts("token_types").into_iter().map(|(text, _)| token_type(text)).collect(),
    };
    let principal_kind = table.word("kind", &KINDS);
    let leeway = table.duration("leeway", 0..=LEEWAY_MAX_MS).unwrap_or(LEEWAY_DEFAULT_MS);
    let ca_file = table.text("ca_file").map(|file| folder.join(file));
    Some(Issuer {
        audiences,
        algorithms,
        token_types,
        principal_kind: principal_kind.unwrap_or(PrincipalKind::User),
        leeway_seconds: u64::try_from(leeway / 1000).ok()?,
        ca_file,
        ..Issuer::new(id, organisation?, url?)
    })
}

fn token_type(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    lower.strip_prefix("application/").map(str::to_owned).unwrap_or(lower)
}

fn algorithms(table: &Table<'_>) -> Vec<SignatureAlgorithm> {
    table.required_list("algorithms");
    let mut list = Vec::new();
    for (text, spot) in table.texts("algorithms") {
        match ALGORITHMS.iter().find(|(name, _)| *name == text) {
            Some((_, algorithm)) => list.push(*algorithm),
            None => {
                let what = format!("`algorithms` of {} names `{text}`", table.what);
                let known: Vec<&str> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
                table.problem(spot, what, Some(format!("use {}", crate::near::list(&known))));
            }
        }
    }
    list
}

/// The text as it stands in `iss`, checked and otherwise untouched.
fn issuer_url(table: &Table<'_>) -> Option<String> {
    let text = table.required_text("url")?;
    match text.parse::<BaseUrl>() {
        Ok(url) if url.https || url.is_loopback() => Some(text.to_owned()),
        Ok(_) => {
            let what = format!("`url` of {} is http, so anybody on the way could be the issuer", table.what);
            table.wrong("url", what, "use `https://`; http is for 127.0.0.1");
            None
        }
        Err(e) => {
            table.wrong("url", format!("`url` of {} {e}", table.what), "write it exactly as in `iss`");
            None
        }
    }
}

/// An issuer speaks for one organisation only, so its address can stand here once.
pub(super) fn one_per_url(issuers: &BTreeMap<IssuerId, Issuer>, merged: &Merged<'_>) {
    let mut seen: BTreeMap<&str, &IssuerId> = BTreeMap::new();
    for (id, table) in merged.tables("issuer") {
        let Some(issuer) = issuers.get(id) else { continue };
        let first = *seen.entry(issuer.url.as_str()).or_insert(&issuer.id);
        if first != &issuer.id {
            let what = format!("{} has the `url` of issuer `{first}`", table.what);
            table.wrong("url", what, "an issuer speaks for one organisation");
        }
    }
}
