//! Who and what cannot be told apart by any policy, so that one of them is asked for all.
//!
//! A policy sees attributes, groups, and the entities that it names. Two principals with the same record, two signals with
//! the same place and governance, two purposes that no agreement of the organisation has: unless a policy names one of
//! them, they are decided alike.

use super::{Key, Who};
use crate::Snapshot;
use crate::entities::principal_uid;
use crate::names::uid;
use cedar_policy::EntityUid;
use model::{Action, Principal, PrincipalKind};
use std::collections::BTreeSet;

/// What stands for all keys that are decided alike.
pub(super) type Class = (Action, [String; 3]);

/// What the policies of a snapshot name.
pub(super) struct Alike<'s> {
    snapshot: &'s Snapshot,
    named: BTreeSet<EntityUid>,
}

impl<'s> Alike<'s> {
    pub(super) fn new(snapshot: &'s Snapshot) -> Self {
        let named = snapshot.policies.all.policies().flat_map(|policy| policy.entity_literals()).collect();
        Self { snapshot, named }
    }

    pub(super) fn class(&self, key: &Key) -> Class {
        let of = [self.who(&key.who), self.resource(&key.resource), self.purpose(&key.who, key.purpose.as_deref())];
        (key.action, of)
    }

    fn who(&self, who: &Who) -> String {
        let kind = if who.service { PrincipalKind::Service } else { PrincipalKind::User };
        let alone = format!("{}/{}", who.organisation, who.subject);
        let (Ok(organisation), Ok(subject)) = (who.organisation.parse(), who.subject.parse()) else {
            return format!("{} {kind:?}", who.organisation);
        };
        let parties = &self.snapshot.parties;
        let principal = Principal { organisation, kind, subject };
        let key = (principal.organisation.clone(), principal.subject.clone());
        let is_named = self.named.contains(&principal_uid(&self.snapshot.policies.names.types, &principal));
        match parties.principals.get(&key) {
            Some(record) if !is_named && !parties.revocations.principals.contains(&key) => {
                let held = (&record.roles, record.clearance, &record.export_authorisations);
                format!("{} {kind:?} {held:?}", who.organisation)
            }
            _ => alone,
        }
    }

    fn resource(&self, resource: &str) -> String {
        let signal = resource.strip_prefix("Signal/").and_then(|id| self.snapshot.plant.signals.get(id));
        match signal {
            Some(s) if !self.named.contains(&uid(&self.snapshot.policies.names.types.signal, &s.id)) => {
                format!("{:?}", (&s.product, &s.source, &s.equipment, &s.governance, &s.field_class))
            }
            _ => resource.to_owned(),
        }
    }

    fn purpose(&self, who: &Who, purpose: Option<&str>) -> String {
        let Some(purpose) = purpose else { return String::from("none") };
        let own = self.snapshot.parties.agreements.values().filter(|a| a.consumer.as_str() == who.organisation);
        let agreed = own.flat_map(|a| &a.purposes).any(|p| p.as_str() == purpose);
        let is_named = self.named.contains(&uid(&self.snapshot.policies.names.types.purpose, purpose));
        if agreed || is_named { format!("for {purpose}") } else { String::from("for another") }
    }
}
