//! A dataset for the tests of shaping.

use model::FieldClassId;
use model::plant::{Dataset, Format, Governance, RecordAttributes};
use std::collections::{BTreeMap, BTreeSet};

/// Its fields of class `open` are `shown`, and there are no others.
pub(super) fn dataset(shown: &[&str], records: RecordAttributes) -> Dataset {
    Dataset {
        id: "d".parse().unwrap(),
        title: String::new(),
        product: "p".parse().unwrap(),
        source: "s".parse().unwrap(),
        equipment: "e".parse().unwrap(),
        governance: Governance { sensitivity: 0, export_class: None, trade_secret: false, supplier: None },
        format: Format::Json,
        fields: shown.iter().map(|field| ((*field).to_owned(), "open".parse().unwrap())).collect(),
        masks: BTreeMap::new(),
        records,
    }
}

/// What somebody may see who sees what is open.
pub(super) fn open() -> BTreeSet<FieldClassId> {
    BTreeSet::from(["open".parse().unwrap()])
}
