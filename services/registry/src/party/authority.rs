//! Reading `[authority.…]`: whose client certificates speak for an organisation.

use super::claims::map;
use super::{KINDS, distinguished};
use crate::document::Val;
use crate::merge::Merged;
use crate::table::Table;
use model::party::{Authority, CertificateNames};
use model::{IssuerId, OrganisationId, PrincipalKind, Subject};
use std::collections::BTreeMap;
use std::path::Path;

/// A root that signs one that issues.
const INTERMEDIATES_DEFAULT: i64 = 1;
const INTERMEDIATES_MAX: i64 = 5;
const SUBJECTS_MAX: usize = 100_000;

pub(super) fn read(id: IssuerId, table: &Table<'_>, merged: &Merged<'_>, folder: &Path) -> Option<Authority> {
    let organisation: Option<OrganisationId> = table.required_reference("organisation", "organisation", merged);
    let ca_file = table.required_text("ca_file").map(|file| folder.join(file));
    let crl_files = table.texts("crl_files").into_iter().map(|(file, _)| folder.join(file)).collect();
    let intermediates = table.integer("intermediates_max", 0..=INTERMEDIATES_MAX).unwrap_or(INTERMEDIATES_DEFAULT);
    let principal_kind = table.word("kind", &KINDS).unwrap_or(PrincipalKind::Service);
    let names = names(table);
    Some(Authority {
        organisation: organisation?,
        ca_file: ca_file?,
        crl_files,
        intermediates_max: u8::try_from(intermediates).ok()?,
        names: names?,
        principal_kind,
        id,
    })
}

fn names(table: &Table<'_>) -> Option<CertificateNames> {
    let (spiffe, dns, subjects) = (spiffe(table), dns(table), subjects(table));
    let stated = ["spiffe", "dns", "subjects"].into_iter().filter(|key| table.get(key).is_some());
    let stated: Vec<_> = stated.collect();
    if stated.len() != 1 {
        let what = match stated[..] {
            [] => format!("{} does not say where a certificate holds the principal's name", table.what),
            _ => format!("{} has more than one rule for the principal's name", table.what),
        };
        let spot = stated.get(1).map_or(table.spot, |key| table.spot_of(key));
        table.problem(spot, what, Some(String::from("use exactly one of `spiffe`, `dns`, `subjects`")));
    }
    spiffe.or(dns).or(subjects)
}

/// SPIFFE ID, sections 2.1 and 2.2.
fn spiffe(table: &Table<'_>) -> Option<CertificateNames> {
    let inner = table.table("spiffe")?;
    let trust_domain = inner.required_text("trust_domain");
    let valid = |d: &str| {
        d.len() <= 255
            && d.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'))
    };
    if let Some(domain) = trust_domain.filter(|d| !valid(d)) {
        let what = format!("`trust_domain` of {} is `{domain}`", inner.what);
        let help = "use lower-case letters, digits, `.`, `-`, `_`, without `spiffe://` and path: `acme.example`";
        inner.wrong("trust_domain", what, help);
    }
    let path_prefix = inner.text("path_prefix").unwrap_or_default();
    if !is_path_prefix(path_prefix) {
        let what = format!("`path_prefix` of {} is `{path_prefix}`", inner.what);
        inner.wrong("path_prefix", what, "use whole segments without a slash before them and with one after: `plant/`");
    }
    inner.finish();
    Some(CertificateNames::Spiffe { trust_domain: trust_domain?.to_owned(), path_prefix: path_prefix.to_owned() })
}

/// Whole segments, so that `press/` is not the beginning of `press-of-somebody-else`.
fn is_path_prefix(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let segment = |s: &str| !matches!(s, "" | "." | "..") && s.bytes().all(plain);
    text.is_empty() || text.strip_suffix('/').is_some_and(|path| path.split('/').all(segment))
}

fn dns(table: &Table<'_>) -> Option<CertificateNames> {
    table.get("dns")?;
    table.required_list("dns");
    let mut domains = Vec::new();
    for (text, spot) in table.texts("dns") {
        if !is_dns_name(text) {
            let what = format!("`dns` of {} names `{text}`", table.what);
            let help = "use a domain in lower case, without wildcard and leading dot: `machines.acme.example`";
            table.problem(spot, what, Some(help.into()));
        }
        domains.push(text.to_owned());
    }
    Some(CertificateNames::Dns { domains })
}

/// RFC 1123 section 2.1, in lower case; no address.
pub(super) fn is_dns_name(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    text.len() <= 253 && !numeric && text.split('.').all(label)
}

fn subjects(table: &Table<'_>) -> Option<CertificateNames> {
    table.get("subjects")?;
    let mut all = BTreeMap::new();
    for (name, subject) in map(table, "subjects", SUBJECTS_MAX) {
        if !distinguished::is_name(name) {
            let what = format!("`subjects` of {} holds `{name}`, which is no distinguished name", table.what);
            let help = "write it as `openssl x509 -noout -subject -nameopt RFC2253` does: `CN=press-3,O=ACME`";
            table.problem(subject.spot, what, Some(help.into()));
        }
        let Val::Text(text) = &subject.node.value else {
            let what = format!("`{name}` in `subjects` of {} is {}", table.what, subject.node.value.kind());
            table.problem(subject.node.spot, what, Some(String::from("name the principal's subject")));
            continue;
        };
        match text.parse::<Subject>() {
            Ok(subject) => drop(all.insert(name.to_owned(), subject)),
            Err(e) => table.problem(subject.node.spot, e.to_string(), None),
        }
    }
    Some(CertificateNames::Subjects(all))
}

/// What a name stands for must not depend on who is asked first: issuers and authorities share their names, and what one
/// authority signs speaks for one organisation.
pub(super) fn distinct(authorities: &BTreeMap<IssuerId, Authority>, merged: &Merged<'_>) {
    for table in merged.tables("authority").filter_map(|(id, table)| merged.knows("issuer", id).then_some(table)) {
        let what = format!("{} has the name of an issuer", table.what);
        table.problem(table.spot, what, Some(String::from("the log tells them apart by name: give it another")));
    }
    let mut files: BTreeMap<&Path, &Authority> = BTreeMap::new();
    for authority in authorities.values() {
        let Some(table) = merged.table("authority", authority.id.as_str()) else { continue };
        let first = *files.entry(authority.ca_file.as_path()).or_insert(authority);
        if first.organisation != authority.organisation {
            let what =
                format!("{} has the `ca_file` of authority `{}`, of `{}`", table.what, first.id, first.organisation);
            table.wrong("ca_file", what, "an authority speaks for one organisation");
        }
    }
}
