//! The few entities that one request needs, and the record of them.

use crate::encode::SliceWriter;
use crate::engine::{self, Shared, Store};
use crate::names::uid;
use crate::snapshot::{Known, Member, Snapshot};
use cedar_policy::EntityUid;
use model::entry::Content;
use model::{Principal, RoleId};
use std::collections::BTreeSet;

/// Somebody who takes part in the request, as an entity.
#[derive(Clone)]
pub(crate) struct Caller<'s> {
    pub uid: EntityUid,
    entity: Shared,
    member: &'s Member,
    /// Held by the word of the issuer alone.
    roles: Vec<EntityUid>,
}

impl<'s> Caller<'s> {
    /// `None` when the organisation is not in the registry. What the registry says of a principal's kind wins over what
    /// its credential says. Of `roles`, those that the organisation's issuers may give come on top of the registry's.
    pub(crate) fn find(snapshot: &'s Snapshot, principal: &Principal, roles: &BTreeSet<RoleId>) -> Option<Self> {
        let roles = given(snapshot, principal, roles);
        let key = (principal.organisation.clone(), principal.subject.clone());
        let (member, known) = match snapshot.roster.registered.get(&key) {
            Some(member) => (member, true),
            None => (snapshot.roster.strangers.get(&(principal.organisation.clone(), principal.kind))?, false),
        };
        let uid = if known { member.uid.clone() } else { snapshot.principal_uid(principal) };
        let entity = if known && roles.is_empty() {
            Shared::clone(&member.entity)
        } else {
            engine::renamed(&member.entity, &uid, roles.iter().cloned())
        };
        Some(Self { uid, entity, member, roles })
    }
}

/// The registry may have taken a role away since the credential was verified.
fn given(snapshot: &Snapshot, principal: &Principal, roles: &BTreeSet<RoleId>) -> Vec<EntityUid> {
    if roles.is_empty() {
        return Vec::new();
    }
    let organisation = snapshot.parties.organisations.get(&principal.organisation);
    let may = |role: &&RoleId| organisation.is_some_and(|o| o.roles.contains(*role));
    roles.iter().filter(may).map(|role| uid(&snapshot.policies.names.types.role, role)).collect()
}

/// What was looked at, in the order of looking.
pub(crate) struct Record<'s> {
    writer: SliceWriter,
    /// What has been written. The same entity is the same place in the snapshot.
    seen: Vec<&'s [u8]>,
}

impl<'s> Record<'s> {
    pub(crate) fn new() -> Self {
        Self { writer: SliceWriter::new(), seen: Vec::new() }
    }

    pub(crate) fn caller(&mut self, caller: &Caller<'_>, reference: &str) {
        self.writer.push_anonymous(&caller.member.json, &caller.roles, reference);
    }

    /// Each entity is written once, whoever it is looked at for.
    pub(crate) fn encoded(&mut self, json: &'s [u8]) {
        if !self.seen.iter().any(|seen| std::ptr::eq(*seen, json)) {
            self.seen.push(json);
            self.writer.push(json);
        }
    }

    /// What is written once by whoever writes it.
    pub(crate) fn once(&mut self, json: &[u8]) {
        self.writer.push(json);
    }

    pub(crate) fn finish(self) -> Content {
        self.writer.finish()
    }
}

/// Actions, `base`, the caller and agreements. All of them are shared with the snapshot.
///
/// # Errors
/// In words. Entities were checked when the snapshot was built, so this is a fault of ours, and a denial.
pub(crate) fn store<'s, 'a>(
    snapshot: &'s Snapshot,
    base: &[Shared],
    caller: &Caller<'_>,
    agreements: impl IntoIterator<Item = &'a Known>,
) -> Result<Store<'s>, String> {
    let agreements = agreements.into_iter().map(|a| Shared::clone(&a.entity));
    let added = base.iter().cloned().chain(agreements).chain([Shared::clone(&caller.entity)]);
    Store::new(&snapshot.policies.actions, added.collect())
}
