//! The registry folder: organisations, their issuers and people, agreements, revocations.

mod agreement;
mod authority;
mod claims;
mod introspection;
mod issuer;
mod organisation;
mod principal;
#[cfg(test)]
mod tests;

pub(crate) use principal::parse as parse_principal;

use crate::catalog::{Catalog, load_catalog, read_all};
use crate::folder::Folder;
use crate::foreign::{Foreign, Kind};
use crate::merge::{Documents, Layout, Merged};
use crate::problem::{Problem, Problems, sort};
use crate::revocation;
use crate::source::unreadable_file;
use model::party::{Parties, Status};
use model::{OrganisationId, PrincipalKind, RoleId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub(crate) const LAYOUT: Layout = Layout {
    kinds: &["agreement", "authority", "issuer", "organisation", "principal"],
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
    let organisations = read_all(&merged, "organisation", organisation::read);
    let issuers = read_all(&merged, "issuer", |id, table| issuer::read(id, table, &merged, dir, &organisations));
    issuer::one_per_url(&issuers, &merged);
    introspection::distinct(&issuers, &merged);
    let authorities = read_all(&merged, "authority", |id, table| authority::read(id, table, &merged, dir));
    authority::distinct(&authorities, &merged);
    let principals = principal::read_all(&merged, &mut foreign);
    let agreements = read_all(&merged, "agreement", |id, table| agreement::read(id, table, &merged, &mut foreign));
    let revocations = revocation::read(&merged);
    if !problems.is_empty() {
        return Err(problems.into_sorted());
    }
    let digest = folder.digest;
    Ok((Parties { digest, organisations, issuers, authorities, principals, agreements, revocations }, foreign))
}

pub(crate) const STATUSES: [(&str, Status); 3] =
    [("active", Status::Active), ("suspended", Status::Suspended), ("retired", Status::Retired)];

const KINDS: [(&str, PrincipalKind); 2] = [("user", PrincipalKind::User), ("service", PrincipalKind::Service)];
