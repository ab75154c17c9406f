//! Records of organisations that nobody names.
//!
//! To policies an organisation or an export class of a record is a name and nothing more: it has neither attributes nor
//! parents. One that neither the policies nor anything else in a question names is to them as good as any other; all they
//! can see is whether a record's supplier is its customer, too. So a few of them stand for all, and a plant of a thousand
//! suppliers asks no more than one of ten.

use super::{RecordAttribute, RecordAttributes, RecordKind};
use crate::{ExportClassId, OrganisationId};
use std::collections::BTreeSet;

/// Which values of a dataset's records stand for all those that are not named.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alike {
    pub suppliers: Standing<OrganisationId>,
    pub customers: Standing<OrganisationId>,
    pub export_classes: Standing<ExportClassId>,
}

/// Values of one attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standing<T> {
    /// Those that stand for themselves alone.
    pub named: BTreeSet<T>,
    /// At most two, each of which stands for all others.
    pub for_others: BTreeSet<T>,
}

impl<T> Default for Standing<T> {
    fn default() -> Self {
        Self { named: BTreeSet::new(), for_others: BTreeSet::new() }
    }
}

impl<T: Clone + Ord> Standing<T> {
    fn new(values: &BTreeSet<T>, named: &BTreeSet<T>, first: Option<&T>) -> Self {
        let others = values.difference(named).filter(|other| Some(*other) != first);
        // With one that both attributes can have, another one, which is not it.
        let for_others = first.into_iter().chain(others.take(1)).cloned().collect();
        Self { named: values & named, for_others }
    }

    fn all(&self) -> BTreeSet<T> {
        &self.named | &self.for_others
    }
}

impl RecordAttributes {
    /// Attributes of fewer values that are the same to policies which, with all that they are told, name no others than
    /// these; and what stands for what.
    pub fn alike(
        &self,
        organisations: &BTreeSet<OrganisationId>,
        export_classes: &BTreeSet<ExportClassId>,
    ) -> (Self, Alike) {
        let both = self.suppliers.intersection(&self.customers).find(|id| !organisations.contains(*id));
        let alike = Alike {
            suppliers: Standing::new(&self.suppliers, organisations, both),
            customers: Standing::new(&self.customers, organisations, both),
            export_classes: Standing::new(&self.export_classes, export_classes, None),
        };
        (self.fewer(&alike), alike)
    }

    /// With those values that stand for all.
    pub fn fewer(&self, alike: &Alike) -> Self {
        Self {
            suppliers: alike.suppliers.all(),
            customers: alike.customers.all(),
            export_classes: alike.export_classes.all(),
            ..self.clone()
        }
    }
}

impl Alike {
    /// Whether this value of a kind stands for others, too.
    pub fn is_for_others(&self, attribute: RecordAttribute, id: &str) -> bool {
        match attribute {
            RecordAttribute::Supplier => self.suppliers.for_others.contains(id),
            RecordAttribute::Customer => self.customers.for_others.contains(id),
            RecordAttribute::ExportClass => self.export_classes.for_others.contains(id),
        }
    }

    /// Whether `kind` stands for `other`, a kind of the dataset.
    pub fn stands_for(&self, kind: &RecordKind, other: &RecordKind) -> bool {
        let all = [RecordAttribute::Supplier, RecordAttribute::Customer, RecordAttribute::ExportClass];
        let fits = |attribute| match (kind.get(attribute), other.get(attribute)) {
            (Some(id), Some(of)) if self.is_for_others(attribute, id) => !self.is_named(attribute, of),
            (id, of) => id == of,
        };
        let is_one = |kind: &RecordKind| kind.supplier.is_some() && kind.supplier == kind.customer;
        all.into_iter().all(fits) && is_one(kind) == is_one(other)
    }

    /// Whether the value stands for itself alone.
    pub fn is_named(&self, attribute: RecordAttribute, id: &str) -> bool {
        match attribute {
            RecordAttribute::Supplier => self.suppliers.named.contains(id),
            RecordAttribute::Customer => self.customers.named.contains(id),
            RecordAttribute::ExportClass => self.export_classes.named.contains(id),
        }
    }

    /// Whether it matters if a record's supplier is its customer.
    pub fn tells_one_from_two(&self) -> bool {
        !self.suppliers.for_others.is_disjoint(&self.customers.for_others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(from: std::ops::Range<usize>) -> impl Strategy<Value = BTreeSet<OrganisationId>> {
        prop::collection::btree_set(from.prop_map(|n| format!("o{n}").parse().unwrap()), 0..6)
    }

    proptest! {
        /// Each kind has one that stands for it, or two that are the same to policies, and none is made up.
        #[test]
        fn every_kind_is_stood_for(suppliers in ids(0..8), customers in ids(3..11), named in ids(0..11)) {
            let all = RecordAttributes { suppliers, customers, unassigned: true, ..RecordAttributes::default() };
            let (fewer, alike) = all.alike(&named, &BTreeSet::new());
            let (all, fewer) = (all.kinds(1_000).unwrap(), fewer.kinds(1_000).unwrap());
            prop_assert!(fewer.iter().all(|kind| all.contains(kind) && alike.stands_for(kind, kind)));
            // As policies see a kind: names that are named, and whether the others are one.
            let seen = |kind: &RecordKind| {
                let name = |id: &Option<OrganisationId>| id.as_ref().map(|id| named.get(id).cloned());
                (name(&kind.supplier), name(&kind.customer), kind.supplier == kind.customer)
            };
            for kind in &all {
                let standing: Vec<_> = fewer.iter().filter(|other| alike.stands_for(other, kind)).collect();
                prop_assert!(!standing.is_empty(), "{:?}", kind);
                prop_assert!(standing.iter().all(|other| seen(other) == seen(kind)), "{:?} {:?}", kind, standing);
            }
        }
    }

    #[test]
    fn a_thousand_suppliers_are_few() {
        let ids = |n: usize| (0..n).map(|n| format!("o{n}").parse().unwrap()).collect::<BTreeSet<OrganisationId>>();
        let all = RecordAttributes { suppliers: ids(1_000), customers: ids(500), ..RecordAttributes::default() };
        let (fewer, alike) = all.alike(&ids(2), &BTreeSet::new());
        assert_eq!(fewer.kinds(64).unwrap().len(), 24);
        assert!(alike.tells_one_from_two());
    }
}
