//! Names in policies: each must be somebody's or something's.

use crate::entities::{self, Collected};
use crate::names::Types;
use crate::offer::KINDS_MAX;
use crate::{Finding, PolicySet};
use cedar_policy::{EntityTypeName, EntityUid};
use model::party::Parties;
use model::plant::{Level, Plant};
use model::{OrganisationId, PrincipalKind, RoleId, SourceId, Subject};
use std::collections::BTreeSet;

/// A policy for a name that does not exist would silently never apply.
pub(crate) fn unknown_names(policies: &PolicySet, plant: &Plant, parties: &Parties) -> Vec<Finding> {
    let existing = Existing::new(policies, plant, parties);
    let unknown: Vec<_> = policies.literals.iter().filter(|(uid, _)| !existing.has(uid)).collect();
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
struct Existing<'a> {
    policies: &'a PolicySet,
    plant: &'a Plant,
    parties: &'a Parties,
    roles: BTreeSet<&'a str>,
    sources: BTreeSet<&'a str>,
}

impl<'a> Existing<'a> {
    fn new(policies: &'a PolicySet, plant: &'a Plant, parties: &'a Parties) -> Self {
        let is_named = |ty: &EntityTypeName| policies.literals.keys().any(|uid| uid.type_name() == ty);
        let types = &policies.names.types;
        let roles = if is_named(&types.role) { entities::roles(plant, parties) } else { BTreeSet::new() };
        let roles = roles.into_iter().map(RoleId::as_str).collect();
        let sources = if is_named(&types.source) { entities::sources(plant) } else { BTreeSet::new() };
        let sources = sources.into_iter().map(SourceId::as_str).collect();
        Self { policies, plant, parties, roles, sources }
    }

    fn has(&self, uid: &EntityUid) -> bool {
        let (types, plant, parties) = (&self.policies.names.types, self.plant, self.parties);
        let (ty, id) = (uid.type_name(), uid.id().unescaped());
        let principal = |kind| self.has_principal(id, kind);
        let equipment = |level| plant.equipment.get(id).is_some_and(|e| e.level == level);
        match ty {
            _ if *ty == types.organisation => parties.organisations.contains_key(id),
            _ if *ty == types.role => self.roles.contains(id),
            _ if *ty == types.user => principal(PrincipalKind::User),
            _ if *ty == types.service => principal(PrincipalKind::Service),
            _ if *ty == types.purpose => plant.purposes.contains_key(id),
            _ if *ty == types.export_class => plant.export_classes.contains_key(id),
            _ if *ty == types.field_class => plant.field_classes.contains_key(id),
            _ if *ty == types.enterprise => equipment(Level::Enterprise),
            _ if *ty == types.site => equipment(Level::Site),
            _ if *ty == types.area => equipment(Level::Area),
            _ if *ty == types.work_center => equipment(Level::WorkCenter),
            _ if *ty == types.work_unit => equipment(Level::WorkUnit),
            _ if *ty == types.equipment => equipment(Level::Equipment),
            _ if *ty == types.source => self.sources.contains(id),
            _ if *ty == types.data_product => plant.products.contains_key(id),
            _ if *ty == types.dataset => plant.datasets.contains_key(id),
            _ if *ty == types.signal => plant.signals.contains_key(id),
            _ if *ty == types.record => self.has_record(id),
            _ if *ty == types.agreement => parties.agreements.contains_key(id),
            _ if *ty == types.audit_scope => id == "*" || parties.organisations.contains_key(id),
            // Actions, and nothing that the schema does not declare.
            _ => self.policies.actions.get(uid).is_some(),
        }
    }

    fn has_principal(&self, id: &str, kind: PrincipalKind) -> bool {
        let key = id.split_once('/').and_then(|(organisation, subject)| {
            Some((OrganisationId::new(organisation).ok()?, Subject::new(subject).ok()?))
        });
        key.and_then(|key| self.parties.principals.get(&key)).is_some_and(|record| record.kind == kind)
    }

    fn has_record(&self, id: &str) -> bool {
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
