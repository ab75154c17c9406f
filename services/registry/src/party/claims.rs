//! What an issuer's claims stand for: groups for roles, a context class for assurance.

use crate::document::Val;
use crate::near;
use crate::table::Table;
use model::RoleId;
use model::party::{Assurance, Groups, Organisation};
use std::collections::BTreeMap;

const CLAIM_BYTES_MAX: usize = 128;
const GROUPS_MAX: usize = 1_000;
/// 3: several factors that cannot be phished. 0 is what nobody said anything of.
const LEVELS: std::ops::RangeInclusive<i64> = 1..=3;

/// The name of a claim.
pub(super) fn name(table: &Table<'_>, key: &'static str) -> Option<String> {
    let text = table.text(key)?;
    if text.len() > CLAIM_BYTES_MAX {
        let what = format!("`{key}` of {} is {} bytes long", table.what, text.len());
        table.wrong(key, what, format!("names of claims have up to {CLAIM_BYTES_MAX}"));
    }
    Some(text.to_owned())
}

/// `groups = { claim = "groups", roles = { "Their Group" = "our-role" } }`
pub(super) fn groups(table: &Table<'_>, organisation: Option<&Organisation>) -> Option<Groups> {
    let inner = table.table("groups")?;
    let claim = name(&inner, "claim").unwrap_or_else(|| String::from("groups"));
    let mut roles = BTreeMap::new();
    for (group, role) in map(&inner, "roles", GROUPS_MAX) {
        let Val::Text(text) = &role.node.value else {
            let what = format!("group `{group}` of {} stands for {}", inner.what, role.node.value.kind());
            inner.problem(role.node.spot, what, Some(format!("write `\"{group}\" = \"ROLE\"`")));
            continue;
        };
        match text.parse::<RoleId>() {
            Ok(role_id) => {
                if let Some(of) = organisation.filter(|o| !o.roles.contains(&role_id)) {
                    let what =
                        format!("group `{group}` of {} stands for `{role_id}`, no role of `{}`", inner.what, of.id);
                    inner.problem(role.node.spot, what, Some(no_role(of, text)));
                }
                roles.insert(group.to_owned(), role_id);
            }
            Err(e) => inner.problem(role.node.spot, e.to_string(), None),
        }
    }
    inner.finish();
    Some(Groups { claim, roles })
}

fn no_role(organisation: &Organisation, role: &str) -> String {
    let known: Vec<&str> = organisation.roles.iter().map(RoleId::as_str).collect();
    match near::nearest(role, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add it to `roles` of organisation `{}`, if its own people may hold it", organisation.id),
    }
}

/// `assurance = { claim = "acr", levels = { "urn:acme:mfa" = 2 } }`
pub(super) fn assurance(table: &Table<'_>) -> Option<Assurance> {
    let inner = table.table("assurance")?;
    let claim = name(&inner, "claim").unwrap_or_else(|| String::from("acr"));
    let mut levels = BTreeMap::new();
    for (value, level) in map(&inner, "levels", GROUPS_MAX) {
        match level.node.value {
            Val::Integer(n) if LEVELS.contains(&n) => {
                levels.extend(u8::try_from(n).map(|n| (value.to_owned(), n)));
            }
            _ => {
                let what = format!("level of `{value}` in {} is not 1, 2 or 3", inner.what);
                let help = "1: one factor, 2: several factors, 3: several factors that cannot be phished";
                inner.problem(level.node.spot, what, Some(help.into()));
            }
        }
    }
    inner.finish();
    Some(Assurance { claim, levels })
}

/// The entries of a table whose keys are names of others, so any text without control characters.
pub(super) fn map<'a>(
    table: &Table<'a>,
    key: &'static str,
    max: usize,
) -> impl Iterator<Item = (&'a str, &'a crate::document::Entry)> + use<'a> {
    let inner = table.table(key);
    let entries = inner.as_ref().map(Table::entries).unwrap_or_default();
    if table.get(key).is_none() || (inner.is_some() && entries.is_empty()) {
        table.missing(key, "{ … }");
    }
    if entries.len() > max {
        table.wrong(
            key,
            format!("`{key}` of {} has {} entries", table.what, entries.len()),
            format!("use up to {max}"),
        );
    }
    for entry in entries.iter().filter(|e| e.key.is_empty() || e.key.chars().any(char::is_control)) {
        let what = format!("`{key}` of {} has a name that is empty or has control characters", table.what);
        table.problem(entry.spot, what, None);
    }
    entries.iter().map(|e| (e.key.as_str(), e))
}
