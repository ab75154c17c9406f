//! Reading `[agreement.…]`: the legal basis. Nothing in it is implied; only the title and the status have a default.

use super::STATUSES;
use crate::foreign::{Foreign, Kind};
use crate::merge::Merged;
use crate::table::Table;
use model::party::{Agreement, Status};
use model::{AgreementId, FieldClassId, OrganisationId, ProductId, PurposeId, Timestamp};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

const YEARS_100_MS: i64 = 100 * 366 * 86_400_000;
const ROWS_MAX: i64 = 1_000_000_000;

pub(super) fn read(
    id: AgreementId,
    table: &Table<'_>,
    merged: &Merged<'_>,
    foreign: &mut Foreign,
) -> Option<Agreement> {
    let title = table.text("title").unwrap_or(id.as_str()).to_owned();
    let provider: Option<OrganisationId> = table.required_reference("provider", "organisation", merged);
    let consumer: Option<OrganisationId> = table.required_reference("consumer", "organisation", merged);
    if provider.is_some() && provider == consumer {
        table.wrong("consumer", format!("{} has one organisation on both sides", table.what), "name the other one");
    }
    let status = table.word("status", &STATUSES);
    let status = if table.get("status").is_none() { Some(Status::Active) } else { status };
    let purposes = list::<PurposeId>("purposes", Kind::Purpose, table, foreign);
    let products = list::<ProductId>("products", Kind::Product, table, foreign);
    for key in ["purposes", "products"] {
        table.required_list(key);
    }
    let reveals = list::<FieldClassId>("reveals", Kind::FieldClass, table, foreign);
    let validity = validity(table);
    for (key, example) in [("resolution_min", "\"1m\""), ("window_max", "\"7d\""), ("rows_max", "10000")] {
        if table.get(key).is_none() {
            table.missing(key, example);
        }
    }
    let resolution_min_ms = table.duration("resolution_min", 0..=YEARS_100_MS);
    let window_max_ms = table.duration("window_max", 0..=YEARS_100_MS);
    let rows_max = table.integer("rows_max", 0..=ROWS_MAX);
    let age_max_days = age_max(table);
    let (not_before, not_after) = validity?;
    Some(Agreement {
        title,
        provider: provider?,
        consumer: consumer?,
        status: status?,
        purposes,
        products,
        reveals,
        not_before,
        not_after,
        resolution_min_ms: resolution_min_ms?,
        window_max_ms: window_max_ms?,
        rows_max: rows_max?,
        age_max_days: age_max_days?,
        id,
    })
}

/// Without one, as long as a plant can have had data.
fn age_max(table: &Table<'_>) -> Option<i64> {
    const DAY_MS: i64 = 86_400_000;
    if table.get("age_max").is_none() {
        return Some(YEARS_100_MS / DAY_MS);
    }
    let ms = table.duration("age_max", DAY_MS..=YEARS_100_MS)?;
    if ms % DAY_MS != 0 {
        table.wrong("age_max", format!("`age_max` of {} is no number of whole days", table.what), "write `30d`");
    }
    Some(ms / DAY_MS)
}

fn validity(table: &Table<'_>) -> Option<(Timestamp, Timestamp)> {
    for (key, example) in [("not_before", "2026-01-01T00:00:00Z"), ("not_after", "2027-01-01T00:00:00Z")] {
        if table.get(key).is_none() {
            table.missing(key, example);
        }
    }
    let (not_before, not_after) = (table.timestamp("not_before"), table.timestamp("not_after"));
    let (not_before, not_after) = (not_before?, not_after?);
    if not_before >= not_after {
        let what = format!("{} ends before it begins", table.what);
        table.wrong("not_after", what, "`not_after` is the first moment without access");
    }
    Some((not_before, not_after))
}

/// Ids of the catalog folder.
fn list<T>(key: &'static str, kind: Kind, table: &Table<'_>, foreign: &mut Foreign) -> BTreeSet<T>
where
    T: FromStr<Err: Display> + AsRef<str> + Ord,
{
    let by = format!("`{key}` of {}", table.what);
    table
        .parsed_list::<T>(key)
        .into_iter()
        .map(|(id, spot)| {
            foreign.note(kind, &id, &by, Some((table.problems(), spot)));
            id
        })
        .collect()
}
