//! Reading `[principal.…]`: what is known of somebody beyond the token.

use super::KINDS;
use crate::foreign::{Foreign, Kind};
use crate::merge::Merged;
use crate::table::Table;
use model::party::PrincipalRecord;
use model::{ExportClassId, OrganisationId, PrincipalKind, RoleId, Subject};
use std::collections::BTreeMap;

pub(super) fn read_all(
    merged: &Merged<'_>,
    foreign: &mut Foreign,
) -> BTreeMap<(OrganisationId, Subject), PrincipalRecord> {
    let mut all = BTreeMap::new();
    for (key, table) in merged.tables("principal") {
        if let Some(record) = read(key, &table, merged, foreign) {
            all.insert((record.organisation.clone(), record.subject.clone()), record);
        }
        table.finish();
    }
    all
}

fn read(key: &str, table: &Table<'_>, merged: &Merged<'_>, foreign: &mut Foreign) -> Option<PrincipalRecord> {
    let parsed = parse(key);
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
pub(crate) fn parse(text: &str) -> Result<(OrganisationId, Subject), String> {
    let (organisation, subject) =
        text.split_once('/').ok_or_else(|| format!("`{text}` is not written `organisation/subject`"))?;
    Ok((
        organisation.parse().map_err(|e: model::InvalidId| e.to_string())?,
        subject.parse().map_err(|e: model::InvalidId| e.to_string())?,
    ))
}
