//! Reading `[organisation.…]`.

use super::STATUSES;
use crate::near;
use crate::table::Table;
use model::party::{Organisation, OrganisationKind, Status};
use model::{Binding, OrganisationId, RoleId};
use std::collections::BTreeSet;

pub(super) fn read(id: OrganisationId, table: &Table<'_>) -> Option<Organisation> {
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
    let roles = table.parsed_list::<RoleId>("roles").into_iter().map(|(role, _)| role).collect();
    let bindings = bindings(table);
    Some(Organisation { title, kind: kind?, country: country?.to_owned(), status: status?, roles, bindings, id })
}

const BINDINGS: [(&str, Binding); 2] = [("certificate", Binding::Certificate), ("dpop", Binding::Dpop)];

/// The ways of which a caller must be bound in one; none where the key is absent. A word that cannot be read, or a list
/// without one, is a problem: it must not read as "no demand".
pub(super) fn bindings(table: &Table<'_>) -> BTreeSet<Binding> {
    if table.get("binding").is_some() {
        table.required_list("binding");
    }
    let mut all = BTreeSet::new();
    for (text, spot) in table.texts("binding") {
        match BINDINGS.iter().find(|(word, _)| *word == text) {
            Some((_, binding)) if all.insert(*binding) => {}
            Some(_) => table.problem(spot, format!("`binding` of {} names `{text}` twice", table.what), None),
            None => {
                let what = format!("`binding` of {} names `{text}`", table.what);
                table.problem(spot, what, near::help(text, BINDINGS.iter().map(|(word, _)| *word)));
            }
        }
    }
    all
}
