//! Both folders together: names that one uses and the other defines, and files that they name.

#[cfg(test)]
mod tests;

use crate::catalog::{Catalog, read_catalog};
use crate::foreign::{Foreign, Kind};
use crate::party::read_registry;
use crate::problem::{Problem, sort};
use crate::secret;
use crate::source::unreadable_file;
use model::OrganisationId;
use model::party::{Authority, Issuer, KeyLocation, Parties};
use model::plant::Plant;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Names that the other folder may use.
pub(crate) type Names = BTreeMap<Kind, BTreeSet<String>>;

/// A folder as far as it could be read, which is enough to compare it with the other.
#[derive(Debug)]
pub(crate) struct Reading<T> {
    pub result: Result<T, Vec<Problem>>,
    /// What it uses of the other folder.
    pub uses: Foreign,
    pub names: Names,
    /// Every file could be read to its end. Otherwise what seems to be missing may stand in the part that could not.
    pub complete: bool,
}

/// Reads both folders and compares them.
///
/// # Errors
/// Everything that is wrong in either folder, or between them.
pub fn load_folders(catalog: &Path, registry: &Path) -> Result<(Catalog, Parties), Vec<Problem>> {
    let (catalog_read, registry_read) = (read_catalog(catalog), read_registry(registry));
    let mut between = Vec::new();
    if catalog_read.complete && registry_read.complete {
        between.extend(unknown(&catalog_read.uses, &registry_read.names, catalog));
        between.extend(unknown(&registry_read.uses, &catalog_read.names, registry));
        sort(&mut between);
    }
    match (catalog_read.result, registry_read.result) {
        (Ok(catalog), Ok(parties)) if between.is_empty() => Ok((catalog, parties)),
        (a, b) => Err(a.err().into_iter().chain(b.err()).flatten().chain(between).collect()),
    }
}

/// Names that one folder uses and the other does not define. [`load_folders`] also knows the lines in the registry.
pub fn cross_check(catalog: &Catalog, parties: &Parties) -> Vec<Problem> {
    let mut problems = unknown(&catalog.foreign, &names_of_parties(parties), &catalog.folder);
    problems.extend(unknown(&uses_of_parties(parties), &names_of_plant(&catalog.plant), Path::new("registry")));
    sort(&mut problems);
    problems
}

fn unknown(uses: &Foreign, names: &Names, folder: &Path) -> Vec<Problem> {
    names.iter().flat_map(|(kind, known)| uses.unknown(*kind, known, folder)).collect()
}

fn names_of_plant(plant: &Plant) -> Names {
    Names::from([
        (Kind::Purpose, texts(plant.purposes.keys())),
        (Kind::Product, texts(plant.products.keys())),
        (Kind::FieldClass, texts(plant.field_classes.keys())),
        (Kind::ExportClass, texts(plant.export_classes.keys())),
    ])
}

fn names_of_parties(parties: &Parties) -> Names {
    let registered = parties.principals.values().flat_map(|p| &p.roles);
    let told = parties.organisations.values().flat_map(|o| &o.roles);
    Names::from([
        (Kind::Organisation, texts(parties.organisations.keys().map(OrganisationId::as_str))),
        (Kind::Role, texts(registered.chain(told))),
    ])
}

fn texts<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    names.into_iter().map(|name| name.as_ref().to_owned()).collect()
}

/// What `parties` names of the catalog, without places.
fn uses_of_parties(parties: &Parties) -> Foreign {
    let mut uses = Foreign::default();
    for agreement in parties.agreements.values() {
        let by = format!("agreement `{}`", agreement.id);
        agreement.purposes.iter().for_each(|id| uses.note(Kind::Purpose, id, &by, None));
        agreement.products.iter().for_each(|id| uses.note(Kind::Product, id, &by, None));
        agreement.reveals.iter().for_each(|id| uses.note(Kind::FieldClass, id, &by, None));
    }
    for principal in parties.principals.values() {
        let by = format!("principal `{}/{}`", principal.organisation, principal.subject);
        principal.export_authorisations.iter().for_each(|id| uses.note(Kind::ExportClass, id, &by, None));
    }
    uses
}

/// Files and variables that the folders name and that cannot be read now. Not part of loading: a folder is checked, under
/// version control, where its secrets are not.
pub fn unreadable(catalog: &Catalog, parties: &Parties) -> Vec<Problem> {
    let sources = catalog.sources.values().flat_map(|source| source.unreadable(&catalog.folder));
    let issuers = parties.issuers.values().flat_map(of_issuer);
    let authorities = parties.authorities.values().flat_map(of_authority);
    sources.chain(issuers).chain(authorities).collect()
}

fn of_issuer(issuer: &Issuer) -> impl Iterator<Item = Problem> {
    let of = format!("issuer `{}`", issuer.id);
    let key_file = match &issuer.keys {
        KeyLocation::File(file) => Some(file),
        KeyLocation::Discovery { .. } | KeyLocation::Url(_) => None,
    };
    let files = [
        ("ca_file", issuer.ca_file.as_ref()),
        ("keys_file", key_file),
        ("fetch_token", issuer.fetch_token_file.as_ref()),
    ];
    let problems = files.into_iter().filter_map(|(key, file)| unreadable_file(file?, &format!("`{key}` of {of}")));
    let introspection = issuer.introspection.as_ref();
    let secret = introspection
        .and_then(|i| secret::problem(&i.client_secret, Path::new("registry"), &format!("`client_secret` of {of}")));
    problems.chain(secret).collect::<Vec<_>>().into_iter()
}

fn of_authority(authority: &Authority) -> impl Iterator<Item = Problem> {
    let of = format!("authority `{}`", authority.id);
    let ca = unreadable_file(&authority.ca_file, &format!("`ca_file` of {of}"));
    let lists = authority.crl_files.iter().filter_map(|file| unreadable_file(file, &format!("`crl_files` of {of}")));
    ca.into_iter().chain(lists).collect::<Vec<_>>().into_iter()
}
