//! Names in policies: each must be somebody's or something's.

use crate::entities::{self, Collected};
use crate::names::{Types, uid};
use crate::offer::KINDS_MAX;
use crate::{Finding, PolicySet};
use cedar_policy::{EntityTypeName, EntityUid};
use model::party::Parties;
use model::plant::{Level, Plant};
use model::{OrganisationId, PrincipalKind, RoleId, SourceId, Subject};
use std::collections::HashSet;

/// A policy for a name that does not exist would silently never apply. `plant_is_known`: all names of the plant have been
/// looked up before.
pub(crate) fn unknown_names(
    policies: &PolicySet,
    plant: &Plant,
    parties: &Parties,
    plant_is_known: bool,
) -> Vec<Finding> {
    let existing = Existing { policies, plant, parties };
    let mut unknown = Vec::new();
    for (ty, literals) in &policies.literals {
        if !(plant_is_known && existing.is_of_plant(ty)) {
            let has = existing.of_type(ty);
            unknown.extend(literals.iter().filter(|(uid, _)| !has(uid.id().unescaped())));
        }
    }
    if unknown.is_empty() {
        return Vec::new();
    }
    let everything = everything(&policies.names.types, plant, parties);
    let mut findings = Vec::new();
    for (uid, ids) in unknown.into_iter().take(Finding::MAX) {
        let mut finding = Finding::new(format!("`{uid}` does not exist, so this policy never applies to it"));
        finding.help = nearest(uid, &everything).map(|near| format!("did you mean `{near}`?"));
        findings.extend(ids.iter().map(|id| match policies.notes.get(id) {
            Some(note) => finding.clone().at(&note.file, note.line).of(id),
            None => finding.clone().of(id),
        }));
    }
    findings
}

/// Looks names up where they are kept: a snapshot after a small change must not list a large plant.
#[derive(Clone, Copy)]
struct Existing<'a> {
    policies: &'a PolicySet,
    plant: &'a Plant,
    parties: &'a Parties,
}

impl<'a> Existing<'a> {
    /// Stewards' roles are of the plant and people's of the registry.
    fn is_of_plant(self, ty: &EntityTypeName) -> bool {
        let types = &self.policies.names.types;
        let of_registry =
            [&types.organisation, &types.role, &types.user, &types.service, &types.agreement, &types.audit_scope];
        !of_registry.contains(&ty)
    }

    /// Whether there is one of type `ty` with an id.
    fn of_type(self, ty: &EntityTypeName) -> Box<dyn Fn(&str) -> bool + 'a> {
        let Self { policies, plant, parties } = self;
        let types = &policies.names.types;
        let equipment = |level| Box::new(move |id: &str| plant.equipment.get(id).is_some_and(|e| e.level == level));
        match ty {
            _ if *ty == types.organisation => Box::new(|id| parties.organisations.contains_key(id)),
            _ if *ty == types.role => {
                let roles: HashSet<&str> = entities::roles(plant, parties).into_iter().map(RoleId::as_str).collect();
                Box::new(move |id| roles.contains(id))
            }
            _ if *ty == types.user => Box::new(move |id| self.has_principal(id, PrincipalKind::User)),
            _ if *ty == types.service => Box::new(move |id| self.has_principal(id, PrincipalKind::Service)),
            _ if *ty == types.purpose => Box::new(|id| plant.purposes.contains_key(id)),
            _ if *ty == types.export_class => Box::new(|id| plant.export_classes.contains_key(id)),
            _ if *ty == types.field_class => Box::new(|id| plant.field_classes.contains_key(id)),
            _ if *ty == types.enterprise => equipment(Level::Enterprise),
            _ if *ty == types.site => equipment(Level::Site),
            _ if *ty == types.area => equipment(Level::Area),
            _ if *ty == types.work_center => equipment(Level::WorkCenter),
            _ if *ty == types.work_unit => equipment(Level::WorkUnit),
            _ if *ty == types.equipment => equipment(Level::Equipment),
            _ if *ty == types.source => {
                let sources: HashSet<&str> = entities::sources(plant).into_iter().map(SourceId::as_str).collect();
                Box::new(move |id| sources.contains(id))
            }
            _ if *ty == types.data_product => Box::new(|id| plant.products.contains_key(id)),
            _ if *ty == types.dataset => Box::new(|id| plant.datasets.contains_key(id)),
            _ if *ty == types.signal => Box::new(|id| plant.signals.contains_key(id)),
            _ if *ty == types.record => Box::new(move |id| self.has_record(id)),
            _ if *ty == types.agreement => Box::new(|id| parties.agreements.contains_key(id)),
            _ if *ty == types.audit_scope => Box::new(|id| id == "*" || parties.organisations.contains_key(id)),
            // Actions, and nothing that the schema does not declare.
            _ => {
                let ty = ty.clone();
                Box::new(move |id| policies.actions.get(&uid(&ty, id)).is_some())
            }
        }
    }

    fn has_principal(self, id: &str, kind: PrincipalKind) -> bool {
        let key = id.split_once('/').and_then(|(organisation, subject)| {
            Some((OrganisationId::new(organisation).ok()?, Subject::new(subject).ok()?))
        });
        key.and_then(|key| self.parties.principals.get(&key)).is_some_and(|record| record.kind == kind)
    }

    fn has_record(self, id: &str) -> bool {
        let Some((dataset, number)) = id.split_once('#') else { return false };
        let kinds = self.plant.datasets.get(dataset).and_then(|d| d.records.kinds(KINDS_MAX)).unwrap_or_default();
        (0..kinds.len()).any(|n| n.to_string() == number)
    }
}

fn everything(types: &Types, plant: &Plant, parties: &Parties) -> Vec<EntityUid> {
    let mut all = Collected::default();
    entities::plant(types, plant, &mut all);
    entities::parties(types, plant, parties, &mut all);
    all.entities.iter().map(cedar_policy::Entity::uid).collect()
}

/// The entity of the same type with the most similar id.
fn nearest(literal: &EntityUid, everything: &[EntityUid]) -> Option<String> {
    let wanted = literal.id().unescaped();
    let alike = everything.iter().filter(|uid| uid.type_name() == literal.type_name());
    let distances = alike.map(|uid| (strsim::osa_distance(uid.id().unescaped(), wanted), uid.to_string()));
    distances.min().map(|(_, name)| name)
}
