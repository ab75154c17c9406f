//! Reading `[issuer.…]`: whose tokens speak for an organisation, and what they may say.

use super::KINDS;
use super::organisation::bindings;
use super::{claims, introspection};
use crate::document::Val;
use crate::merge::Merged;
use crate::table::Table;
use model::party::{Issuer, KeyLocation, Organisation, SignatureAlgorithm};
use model::url::{BaseUrl, endpoint};
use model::{Binding, IssuerId, OrganisationId, PrincipalKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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
const LEEWAY_MAX_MS: i64 = 300_000;
const DAY_MS: i64 = 86_400_000;
/// Tokens of workloads live for up to a year; beyond that a limit limits nothing.
const TOKEN_AGE_MS: std::ops::RangeInclusive<i64> = 1_000..=366 * DAY_MS;
/// Whoever is cut off for longer trusts keys that its issuer may have withdrawn a month ago.
const OUTAGE_MAX_MS: i64 = 30 * DAY_MS;
/// Claims that change hands or that somebody chooses for himself (OpenID Connect Core 1.0 section 5.7).
const NOT_A_SUBJECT: [&str; 8] =
    ["email", "name", "given_name", "family_name", "nickname", "phone_number", "preferred_username", "upn"];

pub(super) fn read(
    id: IssuerId,
    table: &Table<'_>,
    merged: &Merged<'_>,
    folder: &Path,
    organisations: &BTreeMap<OrganisationId, Organisation>,
) -> Option<Issuer> {
    let organisation: Option<OrganisationId> = table.required_reference("organisation", "organisation", merged);
    let url = issuer_url(table);
    table.required_list("audiences");
    let audiences = table.texts("audiences").into_iter().map(|(text, _)| text.to_owned()).collect();
    let algorithms = algorithms(table);
    let token_types = token_types(table);
    let principal_kind = table.word("kind", &KINDS).unwrap_or(PrincipalKind::User);
    let leeway = seconds(table, "leeway", 0..=LEEWAY_MAX_MS);
    let token_age_max_seconds = seconds(table, "token_age_max", TOKEN_AGE_MS);
    let subject_claim = subject_claim(table);
    let groups = claims::groups(table, organisation.as_ref().and_then(|id| organisations.get(id)));
    let assurance = claims::assurance(table);
    let (bindings, dpop_nonce) = (bindings(table), table.boolean("dpop_nonce").unwrap_or(false));
    let unregistered_certificates = table.boolean("unregistered_certificates").unwrap_or(false);
    if let Some(of) = organisation.as_ref().and_then(|id| organisations.get(id)) {
        satisfiable(table, &bindings, of);
    }
    let keys = keys(table, folder);
    let introspection = introspection::read(table, folder, &keys);
    let ca_file = table.text("ca_file").map(|file| folder.join(file));
    let fetch_token_file = fetch_token(table, folder);
    let outage_max = seconds(table, "outage_max", 0..=OUTAGE_MAX_MS);
    let defaults = Issuer::new(id, organisation?, url?);
    Some(Issuer {
        audiences,
        algorithms,
        token_types: token_types.unwrap_or(defaults.token_types),
        principal_kind,
        leeway_seconds: leeway.unwrap_or(defaults.leeway_seconds),
        token_age_max_seconds,
        subject_claim: subject_claim.unwrap_or(defaults.subject_claim),
        groups,
        assurance,
        bindings,
        dpop_nonce,
        unregistered_certificates,
        introspection,
        keys,
        ca_file,
        fetch_token_file,
        outage_max_seconds: outage_max.unwrap_or(defaults.outage_max_seconds),
        id: defaults.id,
        organisation: defaults.organisation,
        url: defaults.url,
    })
}

/// Both demands hold, so there must be a way of binding that meets both.
fn satisfiable(table: &Table<'_>, bindings: &BTreeSet<Binding>, organisation: &Organisation) {
    let demanded = &organisation.bindings;
    if !bindings.is_empty() && !demanded.is_empty() && bindings.is_disjoint(demanded) {
        let what = format!("`binding` of {} has nothing in common with that of `{}`", table.what, organisation.id);
        table.wrong("binding", what, "nobody could log in: both lists are demanded");
    }
}

/// Whole seconds: what tokens count in.
fn seconds(table: &Table<'_>, key: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<u64> {
    let ms = table.duration(key, range)?;
    if ms % 1000 != 0 {
        table.wrong(key, format!("`{key}` of {} is not a whole number of seconds", table.what), "use `1s` or more");
    }
    u64::try_from(ms / 1000).ok()
}

fn subject_claim(table: &Table<'_>) -> Option<String> {
    let claim = claims::name(table, "subject_claim")?;
    if NOT_A_SUBJECT.contains(&claim.as_str()) {
        let what =
            format!("`subject_claim` of {} is `{claim}`, which may belong to somebody else tomorrow", table.what);
        table.wrong("subject_claim", what, "use `sub`, or a claim with an id that is never given twice");
    }
    Some(claim)
}

fn keys(table: &Table<'_>, folder: &Path) -> KeyLocation {
    let (discovery, url) = (https(table, "discovery_url"), https(table, "keys_url"));
    let file = table.text("keys_file").map(|file| folder.join(file));
    let stated = ["discovery_url", "keys_url", "keys_file"].into_iter().filter(|key| table.get(key).is_some());
    if let [_, second, ..] = stated.collect::<Vec<_>>()[..] {
        let what = format!("{} names more than one place of its keys", table.what);
        table.wrong(second, what, "keep one of `discovery_url`, `keys_url`, `keys_file`");
    }
    match (url, file) {
        (Some(url), _) => KeyLocation::Url(url),
        (None, Some(file)) => KeyLocation::File(file),
        (None, None) => KeyLocation::Discovery { at: discovery },
    }
}

/// The address of an endpoint whose answer is believed.
pub(super) fn https(table: &Table<'_>, key: &'static str) -> Option<String> {
    let text = table.text(key)?;
    match endpoint(text) {
        Ok(true) => return Some(text.to_owned()),
        Ok(false) => {
            let what = format!("`{key}` of {} is http, so anybody on the way could answer", table.what);
            table.wrong(key, what, "use `https://`; http is for 127.0.0.1");
        }
        Err(e) => table.wrong(key, format!("`{key}` of {} {e}", table.what), "write `https://HOST/PATH`"),
    }
    None
}

/// A file only: such tokens are renewed, and a variable is not.
fn fetch_token(table: &Table<'_>, folder: &Path) -> Option<PathBuf> {
    if !matches!(table.get("fetch_token")?.node.value, Val::Table(_)) {
        let what = format!("`fetch_token` of {} is written inline", table.what);
        table.wrong("fetch_token", what, "put it in a file and write `fetch_token = { file = \"…\" }`");
        return None;
    }
    let inner = table.table("fetch_token")?;
    let file = inner.required_text("file").map(|file| folder.join(file));
    inner.finish();
    file
}

fn token_types(table: &Table<'_>) -> Option<Vec<String>> {
    table.get("token_types")?;
    Some(table.texts("token_types").into_iter().map(|(text, _)| token_type(text)).collect())
}

fn token_type(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    lower.strip_prefix("application/").map(str::to_owned).unwrap_or(lower)
}

fn algorithms(table: &Table<'_>) -> Vec<SignatureAlgorithm> {
    // Whoever has opaque tokens only signs none.
    if table.get("algorithms").is_some() || table.get("introspection").is_none() {
        table.required_list("algorithms");
    }
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

/// An issuer speaks for one organisation only: its address stands here once, for another organisation not in another
/// spelling either, and no two organisations share a file of keys.
pub(super) fn distinct(issuers: &BTreeMap<IssuerId, Issuer>, merged: &Merged<'_>) {
    let mut urls: BTreeMap<String, &Issuer> = BTreeMap::new();
    let mut files: BTreeMap<&Path, &Issuer> = BTreeMap::new();
    let help = "an issuer speaks for one organisation";
    for issuer in issuers.values() {
        let Some(table) = merged.table("issuer", issuer.id.as_str()) else { continue };
        let place = issuer.url.parse::<BaseUrl>().map_or_else(|_| issuer.url.clone(), |url| url.to_string());
        let first = *urls.entry(place).or_insert(issuer);
        if first.id != issuer.id && (first.url == issuer.url || first.organisation != issuer.organisation) {
            table.wrong("url", format!("{} has the `url` of issuer `{}`", table.what, first.id), help);
        }
        let KeyLocation::File(file) = &issuer.keys else { continue };
        let first = *files.entry(file).or_insert(issuer);
        if first.organisation != issuer.organisation {
            let what =
                format!("{} has the `keys_file` of issuer `{}`, of `{}`", table.what, first.id, first.organisation);
            table.wrong("keys_file", what, help);
        }
    }
}
