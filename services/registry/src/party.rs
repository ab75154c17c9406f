//! The registry folder: organisations, their issuers and people, agreements, revocations.

mod agreement;
mod authority;
mod claims;
mod distinguished;
mod introspection;
mod issuer;
mod organisation;
mod principal;
#[cfg(test)]
mod tests;

pub(crate) use principal::parse as parse_principal;

use crate::catalog::read_all;
use crate::folder::Folder;
use crate::folders::{Names, Reading};
use crate::foreign::{Foreign, Kind};
use crate::merge::{Documents, Layout, Merged};
use crate::problem::{Problem, Problems};
use crate::revocation;
use model::PrincipalKind;
use model::party::{Parties, Status};
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
    read_registry(dir).result
}

pub(crate) fn read_registry(dir: &Path) -> Reading<Parties> {
    let mut folder = Folder::read(dir, false);
    let problems = Problems::new(std::mem::take(&mut folder.files), std::mem::take(&mut folder.problems));
    let documents = Documents::read(&folder, &problems);
    let merged = Merged::new(&documents, &LAYOUT, &problems);
    let mut uses = Foreign::default();
    let organisations = read_all(&merged, "organisation", organisation::read);
    let issuers = read_all(&merged, "issuer", |id, table| issuer::read(id, table, &merged, dir, &organisations));
    issuer::distinct(&issuers, &merged);
    introspection::distinct(&issuers, &merged);
    let authorities = read_all(&merged, "authority", |id, table| authority::read(id, table, &merged, dir));
    authority::distinct(&authorities, &merged);
    let principals = principal::read_all(&merged, &mut uses);
    let agreements = read_all(&merged, "agreement", |id, table| agreement::read(id, table, &merged, &mut uses));
    let revocations = revocation::read(&merged, &documents);
    let digest = folder.digest;
    let (names, complete) = (names(&merged), merged.complete);
    let result = if problems.is_empty() {
        Ok(Parties { digest, organisations, issuers, authorities, principals, agreements, revocations })
    } else {
        Err(problems.into_sorted())
    };
    Reading { result, uses, names, complete }
}

/// What the catalog may name, whatever else is wrong with the tables.
fn names(merged: &Merged<'_>) -> Names {
    let roles = ["principal", "organisation"].into_iter().flat_map(|kind| merged.texts(kind, "roles"));
    Names::from([
        (Kind::Organisation, merged.ids("organisation").map(str::to_owned).collect()),
        (Kind::Role, roles.map(str::to_owned).collect()),
    ])
}

pub(crate) const STATUSES: [(&str, Status); 3] =
    [("active", Status::Active), ("suspended", Status::Suspended), ("retired", Status::Retired)];

const KINDS: [(&str, PrincipalKind); 2] = [("user", PrincipalKind::User), ("service", PrincipalKind::Service)];
