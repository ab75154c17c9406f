//! Which kinds of records a question asks about, where a dataset has many: see [`model::plant::Alike`].

use crate::agreement::Candidate;
use crate::decide::Party;
use crate::engine::Conformance;
use crate::offer;
use crate::snapshot::{Data, Kinds, Listed, Snapshot};
use model::plant::Dataset;
use model::{ExportClassId, OrganisationId, ResourceRef};
use std::collections::BTreeSet;
use std::sync::Arc;

/// `None` where there are no records, or more kinds than can be asked about even of those that are not alike.
///
/// The names that tell kinds apart are those of all who take part, so that all of them are asked about the same kinds.
///
/// # Errors
/// In words; none for a plant that has been accepted.
pub(crate) fn listed<'p>(
    snapshot: &Snapshot,
    resource: &ResourceRef,
    data: &Data,
    parties: impl Iterator<Item = &'p Party<'p>>,
    candidates: &[Vec<Candidate<'_>>],
) -> Result<Option<Arc<Listed>>, String> {
    let few = match &data.kinds {
        Kinds::None => return Ok(None),
        Kinds::Some { listed, .. } => return Ok(Some(Arc::clone(listed))),
        Kinds::Many { few, .. } => few,
    };
    let ResourceRef::Dataset(id) = resource else { return Ok(None) };
    let Some(d) = snapshot.plant.datasets.get(id) else { return Ok(None) };
    let mut names = Names::of(snapshot, d);
    parties.for_each(|party| names.party(snapshot, party));
    for (agreement, _) in candidates.iter().flatten() {
        names.organisations.extend([agreement.provider.clone(), agreement.consumer.clone()]);
    }
    let (attributes, alike) = d.records.alike(&names.organisations, &names.export_classes);
    let Some(kinds) = attributes.kinds(offer::ALIKE_MAX) else { return Ok(None) };
    let listed = few.get_or_make(alike, |alike| {
        let policies = &snapshot.policies;
        let conformance = Conformance::new(&policies.schema);
        let types = &policies.names.types;
        offer::list((types, &conformance), &snapshot.plant, d, &data.base.above(), kinds, Some(alike))
    });
    listed.map(Some)
}

/// Everything in a question that is the name of an organisation or of an export class.
struct Names {
    organisations: BTreeSet<OrganisationId>,
    export_classes: BTreeSet<ExportClassId>,
}

impl Names {
    /// In policies, and of the dataset itself.
    fn of(snapshot: &Snapshot, d: &Dataset) -> Self {
        let types = &snapshot.policies.names.types;
        let mut organisations: BTreeSet<_> = snapshot.policies.named(&types.organisation);
        let owner = snapshot.plant.products.get(&d.product).map(|product| product.owner.clone());
        organisations.extend(owner.into_iter().chain(d.governance.supplier.clone()));
        let mut export_classes: BTreeSet<_> = snapshot.policies.named(&types.export_class);
        export_classes.extend(d.governance.export_class.clone());
        Self { organisations, export_classes }
    }

    fn party(&mut self, snapshot: &Snapshot, party: &Party<'_>) {
        let who = party.principal;
        self.organisations.insert(who.organisation.clone());
        let record = snapshot.parties.principals.get(&(who.organisation.clone(), who.subject.clone()));
        self.export_classes.extend(record.into_iter().flat_map(|record| record.export_authorisations.iter().cloned()));
    }
}
