//! Which records of an answer somebody sees.
//!
//! A database can be given the same as a [`Condition`].
//!
//! The decision says which kinds of records must not leave; a record says of itself what kind it is of. One that does not
//! say enough could be of several kinds, and is shown only if all of them are.

use model::plant::{Dataset, RecordAttribute, RecordKind, ToldBy};
use std::collections::BTreeMap;

/// More kinds than a decision ever names.
const KINDS_MAX: usize = 64;

#[derive(Debug)]
pub struct RowFilter {
    /// Each kind that there can be, and whether it may be seen.
    kinds: Vec<(RecordKind, bool)>,
    told_by: BTreeMap<RecordAttribute, ToldBy>,
}

/// What a [`RowFilter`] lets through of records that are rows with a column for each attribute they tell: those to which
/// one of the alternatives applies in full.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Condition(Vec<Vec<Test>>);

/// What a column holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Test {
    pub field: String,
    /// One of these.
    pub texts: Vec<String>,
    /// Or nothing.
    pub or_nothing: bool,
}

impl Condition {
    pub fn alternatives(&self) -> impl Iterator<Item = &[Test]> {
        self.0.iter().map(Vec::as_slice)
    }
}

/// What one record has said of itself so far.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Only of what has come. `None`: it says that it carries no such attribute.
    values: BTreeMap<RecordAttribute, Option<String>>,
    /// It says two things at once, or what cannot be read.
    is_unclear: bool,
}

impl Told {
    pub(crate) fn says(&mut self, attribute: RecordAttribute, value: Option<&str>) {
        // Also of the same value: a record of two parties is nobody's alone.
        if self.values.insert(attribute, value.map(str::to_owned)).is_some() {
            self.is_unclear = true;
        }
    }

    pub(super) fn is_unclear(&mut self) {
        self.is_unclear = true;
    }
}

impl RowFilter {
    /// `None` where all records may be seen.
    pub fn new(dataset: &Dataset, hidden: &[RecordKind]) -> Option<Self> {
        if hidden.is_empty() {
            return None;
        }
        let kinds = dataset.records.kinds(KINDS_MAX).unwrap_or_default();
        let kinds = kinds.into_iter().map(|kind| (!hidden.contains(&kind), kind)).map(|(seen, kind)| (kind, seen));
        Some(Self { kinds: kinds.collect(), told_by: dataset.records.told_by.clone() })
    }

    /// The attributes that records tell, in the order of [`Self::fields`].
    pub fn attributes(&self) -> impl Iterator<Item = RecordAttribute> {
        self.told_by.keys().copied()
    }

    /// Where they tell them.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.told_by.values().map(|by| by.field.as_str())
    }

    /// The same for a database. `None` where an attribute is not told by a column of its own.
    pub fn condition(&self) -> Option<Condition> {
        if self.told_by.is_empty() || self.fields().any(|field| field.contains('.')) {
            return None;
        }
        // What can be told, and whether all that it can be are shown.
        let mut told: BTreeMap<Vec<Option<&str>>, bool> = BTreeMap::new();
        for (kind, seen) in &self.kinds {
            let ids = self.told_by.keys().map(|attribute| kind.get(*attribute)).collect();
            *told.entry(ids).or_insert(true) &= seen;
        }
        let shown = told.into_iter().filter(|(_, seen)| *seen).map(|(ids, _)| ids);
        let tests = |ids: Vec<Option<&str>>| self.told_by.values().zip(ids).map(|(by, id)| Test::of(by, id)).collect();
        let mut alternatives: Vec<Vec<Test>> = shown.map(tests).collect();
        if self.told_by.len() == 1 {
            let one = alternatives.into_iter().flatten().reduce(Test::or);
            alternatives = one.into_iter().map(|test| vec![test]).collect();
        }
        Some(Condition(alternatives))
    }

    pub(crate) fn shows(&self, told: &Told) -> bool {
        if told.is_unclear {
            return false;
        }
        let mut stated = Vec::with_capacity(self.told_by.len());
        for (attribute, by) in &self.told_by {
            match told.values.get(attribute).map(Option::as_deref) {
                // It may have any.
                None => {}
                Some(None) => stated.push((*attribute, None)),
                Some(Some(text)) => match meaning(by, text) {
                    Some(id) => stated.push((*attribute, id)),
                    // Nobody has said what this stands for.
                    None => return false,
                },
            }
        }
        let mut possible =
            self.kinds.iter().filter(|(kind, _)| stated.iter().all(|(a, id)| kind.get(*a) == *id)).peekable();
        possible.peek().is_some() && possible.all(|(_, seen)| *seen)
    }
}

impl Test {
    /// That it stands for `id`, or for nobody.
    fn of(by: &ToldBy, id: Option<&str>) -> Self {
        let mut texts: Vec<String> =
            by.values.iter().filter(|(_, of)| of.as_deref() == id).map(|(text, _)| text.clone()).collect();
        if by.values.is_empty() {
            texts.extend(id.map(str::to_owned));
        }
        Self { field: by.field.clone(), texts, or_nothing: id.is_none() }
    }

    fn or(mut self, other: Self) -> Self {
        self.texts.extend(other.texts);
        self.or_nothing |= other.or_nothing;
        self
    }
}

/// The id that a text stands for, or nobody's. `None` for a text without a meaning.
fn meaning<'a>(by: &'a ToldBy, text: &'a str) -> Option<Option<&'a str>> {
    if by.values.is_empty() {
        return Some(Some(text));
    }
    by.values.get(text).map(Option::as_deref)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::stand;
    use model::plant::RecordAttributes;

    /// An attribute, the field that tells it, and what the texts in that stand for.
    type Telling<'a> = (RecordAttribute, &'a str, &'a [(&'a str, &'a str)]);

    /// Parts of two suppliers for two customers, and some of nobody.
    fn dataset(told_by: &[Telling<'_>]) -> Dataset {
        let told_by = told_by.iter().map(|(attribute, field, values)| {
            let id = |id: &str| (!id.is_empty()).then(|| id.to_owned());
            let values = values.iter().map(|(text, of)| ((*text).to_owned(), id(of))).collect();
            (*attribute, ToldBy { field: (*field).to_owned(), values })
        });
        let ids = |ids: [&str; 2]| ids.map(|id| id.parse().unwrap()).into();
        let records = RecordAttributes {
            suppliers: ids(["acme", "bolt"]),
            customers: ids(["car", "truck"]),
            unassigned: true,
            told_by: told_by.collect(),
            ..RecordAttributes::default()
        };
        stand::dataset(&[], records)
    }

    /// All kinds but those of acme's parts.
    fn of_others(dataset: &Dataset) -> Vec<RecordKind> {
        let kinds = dataset.records.kinds(64).unwrap();
        kinds.into_iter().filter(|kind| kind.get(RecordAttribute::Supplier) != Some("acme")).collect()
    }

    fn told(values: &[(RecordAttribute, Option<&str>)]) -> Told {
        let mut told = Told::default();
        values.iter().for_each(|(attribute, value)| told.says(*attribute, *value));
        told
    }

    #[test]
    fn a_record_is_shown_where_its_kind_is() {
        use RecordAttribute::{Customer, Supplier};
        let dataset = dataset(&[(Supplier, "s", &[]), (Customer, "c", &[])]);
        let filter = RowFilter::new(&dataset, &of_others(&dataset)).unwrap();
        for (values, shown) in [
            (vec![(Supplier, Some("acme")), (Customer, Some("car"))], true),
            (vec![(Supplier, Some("acme"))], true),
            (vec![(Supplier, Some("acme")), (Customer, None)], true),
            (vec![(Supplier, None)], false),
            (vec![(Supplier, Some("bolt")), (Customer, Some("car"))], false),
            (vec![(Customer, Some("car"))], false),
            (vec![], false),
            (vec![(Supplier, Some("ACME"))], false),
            (vec![(Supplier, Some("acme")), (Customer, Some("ship"))], false),
            (vec![(Supplier, Some("acme")), (Supplier, Some("bolt"))], false),
            (vec![(Supplier, Some("acme")), (Supplier, Some("acme"))], false),
        ] {
            assert_eq!(filter.shows(&told(&values)), shown, "{values:?}");
        }
        assert!(RowFilter::new(&dataset, &[]).is_none());
    }

    #[test]
    fn what_a_record_does_not_say_may_be_anything() {
        use RecordAttribute::{Customer, Supplier};
        let dataset = dataset(&[(Customer, "c", &[])]);
        let filter = RowFilter::new(&dataset, &of_others(&dataset)).unwrap();
        assert!(!filter.shows(&told(&[(Customer, Some("car"))])), "it may be bolt's");
        let kinds = dataset.records.kinds(64).unwrap();
        let trucks: Vec<_> = kinds.into_iter().filter(|kind| kind.get(Customer) == Some("truck")).collect();
        let filter = RowFilter::new(&dataset, &trucks).unwrap();
        assert!(filter.shows(&told(&[(Customer, Some("car"))])), "whoever's it is");
        assert!(!filter.shows(&told(&[(Customer, Some("truck")), (Supplier, Some("acme"))])));
    }

    #[test]
    fn only_a_record_that_says_it_is_nobodys_is() {
        use RecordAttribute::Supplier;
        let dataset = dataset(&[(Supplier, "s", &[])]);
        let kinds = dataset.records.kinds(64).unwrap();
        let bolts: Vec<_> = kinds.into_iter().filter(|kind| kind.get(Supplier) == Some("bolt")).collect();
        let filter = RowFilter::new(&dataset, &bolts).unwrap();
        assert!(filter.shows(&told(&[(Supplier, None)])));
        assert!(!filter.shows(&told(&[])), "it may be bolt's");
    }

    #[test]
    fn texts_stand_for_what_the_plant_says() {
        use RecordAttribute::Supplier;
        let dataset = dataset(&[(Supplier, "s", &[("BPNL1", "acme"), ("own", "")])]);
        let acme: Vec<_> = dataset.records.kinds(64).unwrap();
        let hidden: Vec<_> = acme.into_iter().filter(|kind| kind.get(Supplier) == Some("bolt")).collect();
        let filter = RowFilter::new(&dataset, &hidden).unwrap();
        for (text, shown) in [("BPNL1", true), ("own", true), ("acme", false), ("BPNL2", false), ("", false)] {
            assert_eq!(filter.shows(&told(&[(Supplier, Some(text))])), shown, "{text}");
        }
    }
}
