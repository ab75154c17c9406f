//! The kinds of records a dataset can hold: every combination of the values its attributes can have.

use model::plant::RecordAttributes;
use model::{ExportClassId, OrganisationId};

/// Beyond this, asking about each kind costs more than a request may: the answer is taken to need shaping.
pub(crate) const COMBINATIONS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Combination {
    pub supplier: Option<OrganisationId>,
    pub customer: Option<OrganisationId>,
    pub export_class: Option<ExportClassId>,
}

/// Every combination; `None` when there are more than [`COMBINATIONS_MAX`].
///
/// A record need not carry every attribute, so absence is a value like any other. A record that carries none at all is
/// left out only where the dataset says that there is none.
pub(crate) fn combinations(attributes: &RecordAttributes) -> Option<Vec<Combination>> {
    let RecordAttributes { suppliers, customers, export_classes, unassigned } = attributes;
    let count = (suppliers.len() + 1).checked_mul(customers.len() + 1)?.checked_mul(export_classes.len() + 1)?;
    if count > COMBINATIONS_MAX {
        return None;
    }
    let bare = *unassigned || count == 1;
    let mut all = Vec::with_capacity(count);
    for supplier in optional(suppliers) {
        for customer in optional(customers) {
            for export_class in optional(export_classes) {
                let one = Combination {
                    supplier: supplier.cloned(),
                    customer: customer.cloned(),
                    export_class: export_class.cloned(),
                };
                all.push(one);
            }
        }
    }
    all.retain(|c| bare || c.supplier.is_some() || c.customer.is_some() || c.export_class.is_some());
    Some(all)
}

/// Records are told apart by whom they belong to.
pub(crate) fn divided(attributes: &RecordAttributes) -> bool {
    !attributes.suppliers.is_empty() || !attributes.customers.is_empty() || attributes.unassigned
}

fn optional<T>(values: &std::collections::BTreeSet<T>) -> impl Iterator<Item = Option<&T>> {
    std::iter::once(None).chain(values.iter().map(Some))
}
