//! Which records of an answer somebody sees.
//!
//! A database can be given the same as a [`Condition`].
//!
//! The decision says which kinds of records must not leave; a record says of itself what kind it is of. One that does not
//! say enough could be of several kinds, and is shown only if all of them are.

use model::plant::{Alike, Dataset, RecordAttribute, RecordAttributes, RecordKind, ToldBy};
use std::collections::BTreeMap;
use std::sync::Arc;

/// More kinds than a decision ever names.
const KINDS_MAX: usize = 256;

#[derive(Debug)]
pub struct RowFilter {
    /// Each kind that there can be, and whether it may be seen.
    kinds: Vec<(RecordKind, bool)>,
    /// Some of them stand for others, too.
    alike: Option<Arc<Alike>>,
    records: RecordAttributes,
}

/// What an attribute can be as far as kinds tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class<'a> {
    Nothing,
    Id(&'a str),
    /// Any of those that no kind stands for alone.
    Other,
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
    pub fn new(dataset: &Dataset, hidden: &[RecordKind], alike: Option<&Arc<Alike>>) -> Option<Self> {
        if hidden.is_empty() {
            return None;
        }
        let records = &dataset.records;
        let kinds = alike.map_or_else(|| records.kinds(KINDS_MAX), |alike| records.fewer(alike).kinds(KINDS_MAX));
        let kinds = kinds.unwrap_or_default().into_iter();
        let kinds = kinds.map(|kind| (!hidden.contains(&kind), kind)).map(|(seen, kind)| (kind, seen));
        Some(Self { kinds: kinds.collect(), alike: alike.cloned(), records: records.clone() })
    }

    /// The attributes that records tell, in the order of [`Self::fields`].
    pub fn attributes(&self) -> impl Iterator<Item = RecordAttribute> {
        self.records.told_by.keys().copied()
    }

    /// Where they tell them.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.records.told_by.values().map(|by| by.field.as_str())
    }

    /// The same for a database. `None` where an attribute is not told by a column of its own, and where it matters whether
    /// two columns tell the same.
    pub fn condition(&self) -> Option<Condition> {
        use RecordAttribute::{Customer, Supplier};
        let told_by = &self.records.told_by;
        if told_by.is_empty() || self.fields().any(|field| field.contains('.')) {
            return None;
        }
        let tells_both = told_by.contains_key(&Supplier) && told_by.contains_key(&Customer);
        if tells_both && self.alike.as_ref().is_some_and(|alike| alike.tells_one_from_two()) {
            return None;
        }
        // What can be told, and whether all that it can be are shown.
        let mut told: BTreeMap<Vec<Class<'_>>, bool> = BTreeMap::new();
        for (kind, seen) in &self.kinds {
            let classes = told_by.keys().map(|attribute| self.class(kind, *attribute)).collect();
            *told.entry(classes).or_insert(true) &= seen;
        }
        let shown = told.into_iter().filter(|(_, seen)| *seen).map(|(classes, _)| classes);
        let tests = |classes: Vec<Class<'_>>| {
            told_by.iter().zip(classes).map(|((attribute, by), class)| self.test(*attribute, by, class)).collect()
        };
        let mut alternatives: Vec<Vec<Test>> = shown.map(tests).collect();
        if told_by.len() == 1 {
            let one = alternatives.into_iter().flatten().reduce(Test::or);
            alternatives = one.into_iter().map(|test| vec![test]).collect();
        }
        Some(Condition(alternatives))
    }

    fn class<'k>(&self, kind: &'k RecordKind, attribute: RecordAttribute) -> Class<'k> {
        match kind.get(attribute) {
            None => Class::Nothing,
            Some(id) if self.is_for_others(attribute, id) => Class::Other,
            Some(id) => Class::Id(id),
        }
    }

    fn is_for_others(&self, attribute: RecordAttribute, id: &str) -> bool {
        self.alike.as_ref().is_some_and(|alike| alike.is_for_others(attribute, id))
    }

    /// That a column tells one of the class.
    fn test(&self, attribute: RecordAttribute, by: &ToldBy, class: Class<'_>) -> Test {
        match class {
            Class::Nothing => Test::of(by, None),
            Class::Id(id) => Test::of(by, Some(id)),
            Class::Other => {
                let is_other = |id: &&str| self.alike.as_ref().is_some_and(|alike| !alike.is_named(attribute, id));
                let ids = self.records.values(attribute).into_iter().filter(is_other);
                let none = Test { field: by.field.clone(), ..Test::default() };
                ids.map(|id| Test::of(by, Some(id))).fold(none, Test::or)
            }
        }
    }

    /// Whether a record that says so can be of the kind.
    fn can_be(&self, kind: &RecordKind, stated: &[(RecordAttribute, Option<&str>)]) -> bool {
        use RecordAttribute::{Customer, Supplier};
        let fits = |(attribute, id): &(RecordAttribute, Option<&str>)| match (self.class(kind, *attribute), id) {
            (Class::Nothing, None) => true,
            (Class::Id(one), Some(id)) => one == *id,
            (Class::Other, Some(id)) => {
                let is_named = self.alike.as_ref().is_some_and(|alike| alike.is_named(*attribute, id));
                !is_named && self.records.has(*attribute, id)
            }
            _ => false,
        };
        let said = |of| stated.iter().find(|(attribute, _)| *attribute == of).and_then(|(_, id)| *id);
        let is_as_one = match (said(Supplier), said(Customer)) {
            (Some(supplier), Some(customer)) if self.alike.is_some() => {
                (kind.get(Supplier) == kind.get(Customer)) == (supplier == customer)
            }
            _ => true,
        };
        is_as_one && stated.iter().all(fits)
    }

    pub(crate) fn shows(&self, told: &Told) -> bool {
        if told.is_unclear {
            return false;
        }
        let told_by = &self.records.told_by;
        let mut stated = Vec::with_capacity(told_by.len());
        for (attribute, by) in told_by {
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
        let mut possible = self.kinds.iter().filter(|(kind, _)| self.can_be(kind, &stated)).peekable();
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
        let filter = RowFilter::new(&dataset, &of_others(&dataset), None).unwrap();
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
        assert!(RowFilter::new(&dataset, &[], None).is_none());
    }

    #[test]
    fn what_a_record_does_not_say_may_be_anything() {
        use RecordAttribute::{Customer, Supplier};
        let dataset = dataset(&[(Customer, "c", &[])]);
        let filter = RowFilter::new(&dataset, &of_others(&dataset), None).unwrap();
        assert!(!filter.shows(&told(&[(Customer, Some("car"))])), "it may be bolt's");
        let kinds = dataset.records.kinds(64).unwrap();
        let trucks: Vec<_> = kinds.into_iter().filter(|kind| kind.get(Customer) == Some("truck")).collect();
        let filter = RowFilter::new(&dataset, &trucks, None).unwrap();
        assert!(filter.shows(&told(&[(Customer, Some("car"))])), "whoever's it is");
        assert!(!filter.shows(&told(&[(Customer, Some("truck")), (Supplier, Some("acme"))])));
    }

    #[test]
    fn only_a_record_that_says_it_is_nobodys_is() {
        use RecordAttribute::Supplier;
        let dataset = dataset(&[(Supplier, "s", &[])]);
        let kinds = dataset.records.kinds(64).unwrap();
        let bolts: Vec<_> = kinds.into_iter().filter(|kind| kind.get(Supplier) == Some("bolt")).collect();
        let filter = RowFilter::new(&dataset, &bolts, None).unwrap();
        assert!(filter.shows(&told(&[(Supplier, None)])));
        assert!(!filter.shows(&told(&[])), "it may be bolt's");
    }

    #[test]
    fn texts_stand_for_what_the_plant_says() {
        use RecordAttribute::Supplier;
        let dataset = dataset(&[(Supplier, "s", &[("BPNL1", "acme"), ("own", "")])]);
        let acme: Vec<_> = dataset.records.kinds(64).unwrap();
        let hidden: Vec<_> = acme.into_iter().filter(|kind| kind.get(Supplier) == Some("bolt")).collect();
        let filter = RowFilter::new(&dataset, &hidden, None).unwrap();
        for (text, shown) in [("BPNL1", true), ("own", true), ("acme", false), ("BPNL2", false), ("", false)] {
            assert_eq!(filter.shows(&told(&[(Supplier, Some(text))])), shown, "{text}");
        }
    }

    /// Of the kinds of many organisations, `hidden` says which must not be seen.
    fn many(told_by: &[Telling<'_>], named: &[&str], hidden: impl Fn(&RecordKind) -> bool) -> (Dataset, RowFilter) {
        let mut dataset = dataset(told_by);
        let firms = |from: std::ops::Range<usize>| from.map(|n| format!("firm-{n}").parse().unwrap());
        dataset.records.suppliers.extend(firms(0..40));
        dataset.records.customers.extend(firms(30..70));
        let named = named.iter().map(|id| id.parse().unwrap()).collect();
        let (fewer, alike) = dataset.records.alike(&named, &Default::default());
        let hidden: Vec<_> = fewer.kinds(64).unwrap().into_iter().filter(hidden).collect();
        let filter = RowFilter::new(&dataset, &hidden, Some(&Arc::new(alike))).unwrap();
        (dataset, filter)
    }

    #[test]
    fn where_some_stand_for_others_each_record_is_shown_as_its_kind_is() {
        use RecordAttribute::{Customer, Supplier};
        let telling: [Telling<'_>; 2] = [(Supplier, "s", &[]), (Customer, "c", &[])];
        let is_seen = |kind: &RecordKind| kind.get(Supplier) == Some("acme") || kind.supplier == kind.customer;
        let (dataset, filter) = many(&telling, &["acme"], |kind| !is_seen(kind));
        for kind in dataset.records.kinds(10_000).unwrap() {
            let says = told(&[(Supplier, kind.get(Supplier)), (Customer, kind.get(Customer))]);
            assert_eq!(filter.shows(&says), is_seen(&kind), "{kind:?}");
        }
        assert!(filter.shows(&told(&[(Supplier, Some("acme"))])));
        assert!(!filter.shows(&told(&[(Supplier, Some("firm-35"))])), "for whom?");
        for unknown in ["firm-99", "ACME", ""] {
            assert!(!filter.shows(&told(&[(Supplier, Some(unknown)), (Customer, Some(unknown))])), "{unknown}");
        }
        assert_eq!(filter.condition(), None, "a condition cannot compare two columns");
    }

    #[test]
    fn a_condition_names_all_for_whom_one_stands() {
        use RecordAttribute::{Customer, Supplier};
        let telling: [Telling<'_>; 1] = [(Supplier, "s", &[])];
        let (dataset, filter) = many(&telling, &["acme"], |kind| kind.get(Supplier) == Some("acme"));
        let condition = filter.condition().unwrap();
        let [tests] = condition.alternatives().collect::<Vec<_>>()[..] else { panic!("{condition:?}") };
        let [Test { field, texts, or_nothing }] = tests else { panic!("{tests:?}") };
        let mut texts = texts.clone();
        texts.sort();
        let others: Vec<_> = dataset.records.values(Supplier).into_iter().filter(|id| *id != "acme").collect();
        assert_eq!(
            (field.as_str(), texts, *or_nothing),
            ("s", others.iter().map(|id| (*id).to_owned()).collect(), true)
        );
        // A supplier that no record can have is not among them.
        assert!(!filter.shows(&told(&[(Supplier, Some("firm-50"))])));
        assert!(filter.shows(&told(&[(Supplier, Some("firm-5"))])) && !filter.shows(&told(&[(Customer, None)])));
    }
}
