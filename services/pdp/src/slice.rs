//! The few entities that one request needs, and the record of them.

use crate::encode::SliceWriter;
use crate::entities;
use crate::names::Types;
use crate::snapshot::{Known, Member, Snapshot};
use cedar_policy::{Entities, Entity, EntityUid};
use model::Principal;
use model::entry::Content;
use std::borrow::Cow;

/// The caller as an entity.
pub(crate) struct Caller<'s> {
    pub uid: EntityUid,
    entity: Cow<'s, Entity>,
    member: &'s Member,
}

impl<'s> Caller<'s> {
    /// `None` when the organisation is not in the registry. What the registry says of a principal's kind wins over what
    /// its credential says.
    pub(crate) fn find(snapshot: &'s Snapshot, principal: &Principal) -> Option<Self> {
        let key = (principal.organisation.clone(), principal.subject.clone());
        if let Some(member) = snapshot.registered.get(&key) {
            return Some(Self { uid: member.entity.uid(), entity: Cow::Borrowed(&member.entity), member });
        }
        let member = snapshot.strangers.get(&(principal.organisation.clone(), principal.kind))?;
        let entity = renamed(&snapshot.policies.names.types, &member.entity, principal)?;
        Some(Self { uid: entity.uid(), entity: Cow::Owned(entity), member })
    }
}

/// A copy of `entity` that is `principal`.
fn renamed(types: &Types, entity: &Entity, principal: &Principal) -> Option<Entity> {
    let (_, attributes, parents) = entity.clone().into_inner();
    Entity::new(entities::principal_uid(types, principal), attributes, parents).ok()
}

/// What was looked at, in the order of looking.
pub(crate) struct Record<'r> {
    writer: SliceWriter,
    reference: &'r str,
}

impl<'r> Record<'r> {
    pub(crate) fn new(reference: &'r str) -> Self {
        Self { writer: SliceWriter::new(), reference }
    }

    pub(crate) fn caller(&mut self, caller: &Caller<'_>) {
        self.writer.push_anonymous(&caller.member.json, self.reference);
    }

    pub(crate) fn encoded(&mut self, json: &[u8]) {
        self.writer.push(json);
    }

    pub(crate) fn finish(self) -> Content {
        self.writer.finish()
    }
}

/// `base` with the caller and agreements added. `base` is shared, the rest copied: a few small entities.
///
/// # Errors
/// In words. Entities were checked when the snapshot was built, so this is a fault of ours, and a denial.
pub(crate) fn store<'a>(
    base: &Entities,
    caller: &Caller<'_>,
    agreements: impl IntoIterator<Item = &'a Known>,
) -> Result<Entities, String> {
    let added = agreements.into_iter().map(|a| a.entity.clone()).chain([caller.entity.as_ref().clone()]);
    base.clone().add_entities(added, None).map_err(|e| e.to_string())
}
