//! The registry folder: organisations, their issuers and people, agreements, revocations.

mod agreement;
#[cfg(test)]
mod tests;

use crate::catalog::{Catalog, load_catalog, read_all};
use crate::document::Val;
use crate::folder::Folder;
use crate::foreign::{Foreign, Kind};
use crate::merge::{Documents, Layout, Merged};
use crate::problem::{Problem, Problems, sort};
use crate::revocation;
use crate::source::unreadable_file;
use crate::table::Table;
use crate::url::BaseUrl;
use model::party::{Issuer, Organisation, OrganisationKind, Parties, PrincipalRecord, SignatureAlgorithm, Status};
use model::{ExportClassId, IssuerId, OrganisationId, PrincipalKind, RoleId, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub(crate) const LAYOUT: Layout = Layout {
    kinds: &["agreement", "issuer", "organisation", "principal"],
    singles: &["revoked"],
    elsewhere: (
        &["dataset", "equipment", "export_class", "field_class", "product", "purpose", "route", "signal", "source"],
        "catalog",
    ),
};

/// Reads all `*.toml` of `dir`.
///
/// # Errors
/// Everything that is wrong, at once. What is revoked counts nevertheless: [`crate::load_revocations`].
pub fn load_registry(dir: &Path) -> Result<Parties, Vec<Problem>> {
    read_registry(dir).map(|(parties, _)| parties)
}

/// Reads both folders and compares them.
///
/// # Errors
/// Everything that is wrong in either folder, or between them.
pub fn load_folders(catalog: &Path, registry: &Path) -> Result<(Catalog, Parties), Vec<Problem>> {
    match (load_catalog(catalog), read_registry(registry)) {
        (Ok(catalog), Ok((parties, foreign))) => {
            let problems = compare(&catalog, &parties, &foreign, registry);
            if problems.is_empty() { Ok((catalog, parties)) } else { Err(problems) }
        }
        (a, b) => Err(a.err().into_iter().chain(b.err()).flatten().collect()),
    }
}

/// Names that one folder uses and the other does not define. [`load_folders`] also knows the lines in the registry.
pub fn cross_check(catalog: &Catalog, parties: &Parties) -> Vec<Problem> {
    compare(catalog, parties, &foreign(parties), Path::new("registry"))
}

/// Files and variables that the folders name and that cannot be read now. Not part of loading: a folder is checked, under
/// version control, where its secrets are not.
pub fn unreadable(catalog: &Catalog, parties: &Parties) -> Vec<Problem> {
    let sources = catalog.sources.values().flat_map(|source| source.unreadable(&catalog.folder));
    let issuers = parties.issuers.values().filter_map(|issuer| {
        unreadable_file(issuer.ca_file.as_ref()?, &format!("`ca_file` of issuer `{}`", issuer.id))
    });
    sources.chain(issuers).collect()
}

fn compare(catalog: &Catalog, parties: &Parties, foreign: &Foreign, registry: &Path) -> Vec<Problem> {
    let plant = &catalog.plant;
    let organisations: Vec<&str> = parties.organisations.keys().map(OrganisationId::as_str).collect();
    let roles: BTreeSet<&str> = parties.principals.values().flat_map(|p| p.roles.iter().map(RoleId::as_str)).collect();
    let roles: Vec<&str> = roles.into_iter().collect();
    let mut problems = catalog.foreign.unknown(Kind::Organisation, &organisations, &catalog.folder);
    problems.extend(catalog.foreign.unknown(Kind::Role, &roles, &catalog.folder));
    for (kind, known) in [
        (Kind::Purpose, names(&plant.purposes)),
        (Kind::Product, names(&plant.products)),
        (Kind::FieldClass, names(&plant.field_classes)),
        (Kind::ExportClass, names(&plant.export_classes)),
    ] {
        problems.extend(foreign.unknown(kind, &known, registry));
    }
    sort(&mut problems);
    problems
}

fn names<K: AsRef<str>, V>(map: &BTreeMap<K, V>) -> Vec<&str> {
    map.keys().map(AsRef::as_ref).collect()
}

/// What `parties` names of the catalog, without places.
fn foreign(parties: &Parties) -> Foreign {
    let mut foreign = Foreign::default();
    for agreement in parties.agreements.values() {
        let by = format!("agreement `{}`", agreement.id);
        agreement.purposes.iter().for_each(|id| foreign.note(Kind::Purpose, id, &by, None));
        agreement.products.iter().for_each(|id| foreign.note(Kind::Product, id, &by, None));
        agreement.reveals.iter().for_each(|id| foreign.note(Kind::FieldClass, id, &by, None));
    }
    for principal in parties.principals.values() {
        let by = format!("principal `{}/{}`", principal.organisation, principal.subject);
        principal.export_authorisations.iter().for_each(|id| foreign.note(Kind::ExportClass, id, &by, None));
    }
    foreign
}

fn read_registry(dir: &Path) -> Result<(Parties, Foreign), Vec<Problem>> {
    let mut folder = Folder::read(dir, false);
    let problems = Problems::new(std::mem::take(&mut folder.files), std::mem::take(&mut folder.problems));
    let documents = Documents::read(&folder, &problems);
    let merged = Merged::new(&documents, &LAYOUT, &problems);
    let mut foreign = Foreign::default();
    let organisations = read_all(&merged, "organisation", organisation);
    let issuers = read_all(&merged, "issuer", |id, table| issuer(id, table, &merged, dir));
    one_issuer_per_url(&issuers, &merged);
    let principals = principals(&merged, &mut foreign);
    let agreements = read_all(&merged, "agreement", |id, table| agreement::read(id, table, &merged, &mut foreign));
    let revocations = revocation::read(&merged);
    if !problems.is_empty() {
        return Err(problems.into_sorted());
    }
    let authorities = BTreeMap::new();
    let digest = folder.digest;
    Ok((Parties { digest, organisations, issuers, authorities, principals, agreements, revocations }, foreign))
}

pub(crate) const STATUSES: [(&str, Status); 3] =
    [("active", Status::Active), ("suspended", Status::Suspended), ("retired", Status::Retired)];

fn organisation(id: OrganisationId, table: &Table<'_>) -> Option<Organisation> {
    let title = table.text("title").unwrap_or(id.as_str()).to_owned();
    let kinds = [
        ("owner", OrganisationKind::Owner),
        ("supplier", OrganisationKind::Supplier),
        ("customer", OrganisationKind::Customer),
        ("service", OrganisationKind::Service),
        ("auditor", OrganisationKind::Auditor),
    ];
    let kind = table.required_word("kind", &kinds);
    let country = table.required_text("country");
    if let Some(country) = country.filter(|c| c.len() != 2 || !c.bytes().all(|b| b.is_ascii_uppercase())) {
        let what = format!("`country` of {} is `{country}`", table.what);
        table.wrong("country", what, "use the two capital letters of ISO 3166-1: `DE`");
    }
    let status = table.word("status", &STATUSES);
    // A status that cannot be read must not read as active.
    let status = if table.get("status").is_none() { Some(Status::Active) } else { status };
    let (roles, bindings) = (BTreeSet::new(), BTreeSet::new());
    Some(Organisation { title, kind: kind?, country: country?.to_owned(), status: status?, roles, bindings, id })
}

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
const KINDS: [(&str, PrincipalKind); 2] = [("user", PrincipalKind::User), ("service", PrincipalKind::Service)];
/// Clocks of companies differ by seconds; a leeway of minutes lengthens the life of every token.
const LEEWAY_DEFAULT_MS: i64 = 30_000;
const LEEWAY_MAX_MS: i64 = 300_000;

fn issuer(id: IssuerId, table: &Table<'_>, merged: &Merged<'_>, folder: &Path) -> Option<Issuer> {
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
fn one_issuer_per_url(issuers: &BTreeMap<IssuerId, Issuer>, merged: &Merged<'_>) {
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

fn principals(merged: &Merged<'_>, foreign: &mut Foreign) -> BTreeMap<(OrganisationId, Subject), PrincipalRecord> {
    let mut all = BTreeMap::new();
    for (key, table) in merged.tables("principal") {
        if let Some(record) = principal(key, &table, merged, foreign) {
            all.insert((record.organisation.clone(), record.subject.clone()), record);
        }
        table.finish();
    }
    all
}

fn principal(key: &str, table: &Table<'_>, merged: &Merged<'_>, foreign: &mut Foreign) -> Option<PrincipalRecord> {
    let parsed = parse_principal(key);
    let title = table.text("title").unwrap_or(key).to_owned();
    let kind = table.word("kind", &KINDS);
    let roles = table.parsed_list::<RoleId>("roles").into_iter().map(|(role, _)| role).collect();
    let clearance = table.word("clearance", &crate::catalog::SENSITIVITIES).unwrap_or(0);
    let export = table.parsed_list::<ExportClassId>("export_authorisations");
    for (class, spot) in &export {
        foreign.note(Kind::ExportClass, class, &table.what, Some((table.problems(), *spot)));
    }
    let (organisation, subject) = parsed.map_err(|e| table.problem(table.spot, e, None)).ok()?;
    table.known(organisation.as_str(), table.spot, "organisation", merged);
    Some(PrincipalRecord {
        organisation,
        subject,
        kind: kind.unwrap_or(PrincipalKind::User),
        title,
        roles,
        clearance,
        export_authorisations: export.into_iter().map(|(class, _)| class).collect(),
    })
}

/// `organisation/subject`; the subject may hold further slashes.
pub(crate) fn parse_principal(text: &str) -> Result<(OrganisationId, Subject), String> {
    let (organisation, subject) =
        text.split_once('/').ok_or_else(|| format!("`{text}` is not written `organisation/subject`"))?;
    Ok((
        organisation.parse().map_err(|e: model::InvalidId| e.to_string())?,
        subject.parse().map_err(|e: model::InvalidId| e.to_string())?,
    ))
}

/// The text under `key`, whatever else is wrong with the table.
pub(crate) fn peek<'a>(entries: &'a [crate::document::Entry], key: &str) -> Option<&'a str> {
    entries.iter().find(|e| e.key == key).and_then(|e| match &e.node.value {
        Val::Text(text) => Some(text.as_str()),
        _ => None,
    })
}
