//! Reading `[organisation.…]`.

use super::STATUSES;
use crate::table::Table;
use model::OrganisationId;
use model::party::{Organisation, OrganisationKind, Status};
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
    let (roles, bindings) = (BTreeSet::new(), BTreeSet::new());
    Some(Organisation { title, kind: kind?, country: country?.to_owned(), status: status?, roles, bindings, id })
}
