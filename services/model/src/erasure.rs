//! Erasures: what an entry of kind `erasure` says was taken from behind commitments, and which missing values that excuses.
//!
//! Writer, checker of the store and verifier share this, so that all three mean the same by it. What it does **not** do: it
//! excuses nothing that was written after the erasure, whatever range the entry claims, and it judges no signature.

mod requests;

pub use requests::{Asked, Request, Requests};

use crate::Timestamp;
use crate::canonical::Value;
use crate::entry::{CommitmentClass, Entry, Kind};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Values that were erased, as an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Where the entry stands.
    pub index: u64,
    pub scope: Scope,
    pub classes: Vec<CommitmentClass>,
    /// First and last of the entries whose values are gone, both inclusive; `None` where there are none.
    pub range: Option<(u64, u64)>,
    /// Entries of others that named the person, by the class that did.
    pub named: BTreeMap<CommitmentClass, BTreeSet<u64>>,
    /// Whose entries a legal hold kept out of it.
    pub held: Arc<Held>,
    /// How many entries lost values.
    pub count: u64,
}

/// References and organisations on hold: values of entries in which one of them takes part stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub references: BTreeSet<String>,
    pub organisations: BTreeSet<String>,
}

impl Held {
    pub fn is_empty(&self) -> bool {
        self.references.is_empty() && self.organisations.is_empty()
    }

    /// Whether one of them takes part.
    pub fn keeps(&self, people: &People) -> bool {
        !people.references.is_disjoint(&self.references) || !people.organisations.is_disjoint(&self.organisations)
    }
}

/// Whose values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of the entries in which the reference takes part that was asked about.
    Principal {
        /// What the reference stands for was erased too.
        directory: bool,
        /// Where it was asked for.
        requested: Option<u64>,
        /// As it was asked for.
        request: Request,
        approved_by: String,
    },
    /// Of all entries of the range from before this time, because a written policy says how long values are kept.
    Retention { before: Timestamp },
}

/// What an entry of kind `erasure` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody asks for it; nothing is erased.
    Requested(Request),
    /// It was refused; nothing is erased.
    Refused,
    Erased(Erasure),
}

impl Event {
    /// `None` when the entry is of another kind.
    ///
    /// # Errors
    /// When a member is missing or ill-typed.
    pub fn read(index: u64, entry: &Entry) -> Option<Result<Self, &'static str>> {
        (entry.kind == Kind::Erasure).then(|| Self::of(index, entry))
    }

    fn of(index: u64, entry: &Entry) -> Result<Self, &'static str> {
        match entry.text("event") {
            Some("requested") => Request::read(entry).map(Self::Requested),
            Some("refused") => Ok(Self::Refused),
            Some("erased") => {
                let scope = Scope::Principal {
                    directory: entry.get("directory") == Some(&Value::Bool(true)),
                    requested: number(entry, "requested"),
                    request: Request::read(entry)?,
                    approved_by: entry.text("approved_by").ok_or("approved_by")?.to_owned(),
                };
                erasure(index, entry, scope).map(Self::Erased)
            }
            Some("retention") => {
                let before = entry.text("before").and_then(Timestamp::parse_rfc3339).ok_or("before")?;
                erasure(index, entry, Scope::Retention { before }).map(Self::Erased)
            }
            _ => Err("event"),
        }
    }
}

fn erasure(index: u64, entry: &Entry, scope: Scope) -> Result<Erasure, &'static str> {
    let classes = texts(entry.get("classes"), "classes")?;
    let classes = classes.iter().map(|class| CommitmentClass::parse(class)).collect::<Option<Vec<_>>>();
    let range = match (number(entry, "first"), number(entry, "last")) {
        (Some(first), Some(last)) => Some((first, last)),
        (None, None) => None,
        _ => return Err("last"),
    };
    let mut named = BTreeMap::new();
    if let Some(Value::Object(by_class)) = entry.get("named") {
        for (class, indices) in by_class.iter() {
            let class = CommitmentClass::parse(class).ok_or("named")?;
            let Value::Array(indices) = indices else { return Err("named") };
            let indices = indices.iter().map(|index| u64::try_from(index.as_int()?).ok());
            named.insert(class, indices.collect::<Option<BTreeSet<u64>>>().ok_or("named")?);
        }
    }
    let held = Held {
        references: texts(entry.get("held"), "held")?,
        organisations: texts(entry.get("held_organisations"), "held_organisations")?,
    };
    let count = number(entry, "count").ok_or("count")?;
    Ok(Erasure { index, scope, classes: classes.ok_or("classes")?, range, named, held: Arc::new(held), count })
}

fn number(entry: &Entry, name: &str) -> Option<u64> {
    entry.get(name).and_then(Value::as_int).and_then(|n| u64::try_from(n).ok())
}

/// Absent is none.
fn texts(value: Option<&Value>, name: &'static str) -> Result<BTreeSet<String>, &'static str> {
    match value {
        None => Ok(BTreeSet::new()),
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_text().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or(name)
        }
        Some(_) => Err(name),
    }
}

impl Erasure {
    /// What is wrong with what it claims, in words.
    pub fn fault(&self) -> Option<&'static str> {
        let named = self.named.values().flatten().next_back();
        let last = self.range.map(|(_, last)| last).into_iter().chain(named.copied()).max();
        match (&self.scope, self.range) {
            (_, Some((first, last))) if first > last => Some("an erasure whose range ends before it begins"),
            _ if last.is_some_and(|last| last >= self.index) => {
                Some("an erasure that claims entries that were not written yet")
            }
            (Scope::Principal { request, approved_by, .. }, _) if request.requested_by == *approved_by => {
                Some("an erasure that was approved by the one who asked for it")
            }
            // What is named is taken whatever its age, and of a person alone.
            (Scope::Retention { .. }, _) if !self.named.is_empty() => {
                Some("an erasure by age that lists entries which name a person")
            }
            _ => None,
        }
    }

    /// Whether it may have taken values of an entry between these, both inclusive.
    pub fn touches(&self, (first, last): (u64, u64)) -> bool {
        let in_range = self.range.is_some_and(|(from, to)| from <= last && first <= to);
        in_range || self.named.values().any(|indices| indices.range(first..=last).next().is_some())
    }

    fn covers(&self, index: u64, people: &People, class: CommitmentClass) -> bool {
        let in_range = self.range.is_some_and(|(first, last)| (first..=last).contains(&index));
        if !in_range || index >= self.index || !self.classes.contains(&class) || self.held.keeps(people) {
            return false;
        }
        match &self.scope {
            Scope::Principal { request, .. } => {
                request.reference.as_ref().is_some_and(|reference| people.references.contains(reference))
            }
            Scope::Retention { before } => people.time < *before,
        }
    }
}

/// Who takes part in an entry, and when that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct People {
    pub time: Timestamp,
    /// Of the principal and of whoever acts for it.
    pub references: BTreeSet<String>,
    pub organisations: BTreeSet<String>,
}

impl People {
    pub fn of(entry: &Entry) -> Self {
        let actors = match entry.get("actors") {
            Some(Value::Array(actors)) => actors.as_slice(),
            _ => &[],
        };
        let of_actors =
            |name: &'static str| actors.iter().filter_map(move |actor| actor.get(name)?.as_text()).map(str::to_owned);
        Self {
            time: entry.time,
            references: entry.text("principal").map(str::to_owned).into_iter().chain(of_actors("principal")).collect(),
            organisations: entry
                .organisation
                .iter()
                .map(ToString::to_string)
                .chain(of_actors("organisation"))
                .collect(),
        }
    }
}

/// The erasure that lists an entry of others, and whom it kept.
type Naming = (u64, Arc<Held>);

/// All erasures of a log that somebody has seen.
#[derive(Clone, Debug, Default)]
pub struct Erasures {
    principals: HashMap<String, Vec<Erasure>>,
    named: HashMap<(u64, CommitmentClass), Vec<Naming>>,
    /// By class, in the order of their first entries, each with the largest last entry up to there.
    retained: BTreeMap<CommitmentClass, Vec<(Erasure, u64)>>,
}

impl Erasures {
    /// One with a [fault](Erasure::fault) excuses nothing. Whether somebody has asked for it is for [`Requests`] to say, first.
    pub fn add(&mut self, erasure: Erasure) {
        if erasure.fault().is_some() {
            return;
        }
        for (class, indices) in &erasure.named {
            for index in indices {
                self.named.entry((*index, *class)).or_default().push((erasure.index, erasure.held.clone()));
            }
        }
        match &erasure.scope {
            Scope::Principal { request: Request { reference: Some(reference), .. }, .. } => {
                self.principals.entry(reference.clone()).or_default().push(erasure);
            }
            Scope::Principal { .. } => {}
            Scope::Retention { .. } => self.add_retention(&erasure),
        }
    }

    fn add_retention(&mut self, erasure: &Erasure) {
        let Some((first, last)) = erasure.range else { return };
        for class in &erasure.classes {
            let all = self.retained.entry(*class).or_default();
            let at = all.partition_point(|(other, _)| other.range.is_some_and(|(other, _)| other <= first));
            all.insert(at, (erasure.clone(), last));
            let mut reach = at.checked_sub(1).and_then(|at| all.get(at)).map_or(0, |(_, reach)| *reach);
            for (other, to) in all.iter_mut().skip(at) {
                reach = reach.max(other.range.map_or(0, |(_, last)| last));
                *to = reach;
            }
        }
    }

    /// The entry under which the values of this class were erased from behind the entry `index`, in which these take part.
    pub fn of(&self, index: u64, people: &People, class: CommitmentClass) -> Option<u64> {
        let naming = self.named.get(&(index, class)).into_iter().flatten();
        if let Some((erased, _)) = naming.filter(|(_, held)| !held.keeps(people)).min_by_key(|(erased, _)| *erased) {
            return Some(*erased);
        }
        let of_person = people.references.iter().filter_map(|reference| self.principals.get(reference)).flatten();
        let found = of_person.filter(|erasure| erasure.covers(index, people, class)).map(|erasure| erasure.index).min();
        found.or_else(|| self.retained(index, people, class))
    }

    fn retained(&self, index: u64, people: &People, class: CommitmentClass) -> Option<u64> {
        let all = self.retained.get(&class)?;
        let end = all.partition_point(|(erasure, _)| erasure.range.is_some_and(|(first, _)| first <= index));
        let before = all.get(..end)?.iter().rev().take_while(|(_, reach)| *reach >= index);
        before.map(|(erasure, _)| erasure).find(|erasure| erasure.covers(index, people, class)).map(|e| e.index)
    }

    /// References whose principals were erased from the directory, with the entry that says so.
    pub fn forgotten(&self) -> impl Iterator<Item = (&str, u64)> {
        self.principals.iter().filter_map(|(reference, all)| {
            let gone = |erasure: &&Erasure| matches!(erasure.scope, Scope::Principal { directory: true, .. });
            Some((reference.as_str(), all.iter().find(gone)?.index))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Common, Draft};
    use CommitmentClass::{Network, Payload, Subject};

    fn entry(kind: Kind, members: Vec<(&'static str, Value)>) -> Entry {
        let common = Common { nonce: [7; 16], time: Timestamp(1_795_375_200_123), boot: "b1".into() };
        Entry::parse(&Draft::new(kind, &common, None, members, vec![]).unwrap().seal(None)).unwrap()
    }

    fn erased(index: u64, more: Vec<(&'static str, Value)>) -> Erasure {
        let members = vec![
            ("event", Value::text("erased")),
            ("principal", Value::text("anna")),
            ("request", Value::text("r")),
            ("requested_by", Value::text("a")),
            ("approved_by", Value::text("b")),
            ("classes", Value::texts(["network", "payload", "subject"])),
            ("count", Value::int(2)),
            ("directory", Value::Bool(true)),
        ];
        match Event::read(index, &entry(Kind::Erasure, [members, more].concat())) {
            Some(Ok(Event::Erased(erasure))) => erasure,
            other => panic!("{other:?}"),
        }
    }

    fn range(first: i64, last: i64) -> Vec<(&'static str, Value)> {
        vec![("first", Value::int(first)), ("last", Value::int(last))]
    }

    fn people(references: &[&str]) -> People {
        let references = references.iter().map(|reference| String::from(*reference)).collect();
        let organisations = BTreeSet::from([String::from("acme")]);
        People { time: Timestamp(1_795_375_200_123), references, organisations }
    }

    #[test]
    fn an_erasure_excuses_the_entries_of_its_person_in_its_range_and_no_others() {
        let mut erasures = Erasures::default();
        erasures.add(erased(20, range(5, 9)));
        let of = |index, references: &[&str]| erasures.of(index, &people(references), Subject);
        assert_eq!([of(5, &["anna"]), of(9, &["berta", "anna"])], [Some(20), Some(20)]);
        assert_eq!([of(4, &["anna"]), of(10, &["anna"]), of(7, &["berta"])], [None; 3]);
        assert_eq!(erasures.forgotten().collect::<Vec<_>>(), [("anna", 20)]);
    }

    #[test]
    fn an_erasure_that_was_widened_excuses_nothing_that_was_written_after_it() {
        let wide = erased(20, range(5, 900));
        assert_eq!(wide.fault(), Some("an erasure that claims entries that were not written yet"));
        let named = Value::object([("payload", Value::Array(vec![Value::int(21)]))]);
        let names = erased(20, vec![("named", named)]);
        assert!(names.fault().is_some());
        let mut erasures = Erasures::default();
        [wide, names].into_iter().for_each(|erasure| erasures.add(erasure));
        for index in [19, 20, 21, 900] {
            assert_eq!(erasures.of(index, &people(&["anna"]), Payload), None, "entry {index}");
        }
        assert!(erased(20, range(9, 5)).fault().is_some());
        let alone = erased(20, vec![("approved_by", Value::text("a"))]);
        assert_eq!(alone.fault(), Some("an erasure that was approved by the one who asked for it"));
    }

    #[test]
    fn what_others_wrote_of_a_person_is_excused_by_class() {
        let mut erasures = Erasures::default();
        let named = Value::object([("payload", Value::Array(vec![Value::int(3)]))]);
        erasures.add(erased(20, vec![("named", named)]));
        let of = |index, class| erasures.of(index, &people(&["berta"]), class);
        assert_eq!([of(3, Payload), of(3, Network), of(4, Payload)], [Some(20), None, None]);
    }

    #[test]
    fn an_erasure_of_a_person_excuses_nothing_of_whoever_is_on_hold() {
        let named = Value::object([("payload", Value::Array(vec![Value::int(3)]))]);
        let held = vec![("held", Value::texts(["otto"])), ("held_organisations", Value::texts(["bolt"]))];
        let mut erasures = Erasures::default();
        erasures.add(erased(20, [range(5, 9), vec![("named", named)], held].concat()));
        let bolt = People { organisations: BTreeSet::from([String::from("bolt")]), ..people(&["anna"]) };
        for (people, excused) in [(people(&["anna"]), true), (people(&["anna", "otto"]), false), (bolt, false)] {
            assert_eq!(erasures.of(5, &people, Subject).is_some(), excused, "{people:?}");
            assert_eq!(erasures.of(3, &people, Payload).is_some(), excused, "{people:?}");
        }
    }

    const BEFORE: &str = "2026-11-23T00:00:00.000Z";

    fn retained(index: u64, class: &str, first_and_last: (i64, i64), held: &[&str]) -> Erasure {
        retained_before(BEFORE, index, class, first_and_last, held)
    }

    #[test]
    fn retention_excuses_nothing_that_is_not_as_old_as_it_says_and_nothing_by_name() {
        let mut erasures = Erasures::default();
        erasures.add(retained_before("2020-01-01T00:00:00.000Z", 100, "network", (0, 50), &[]));
        let young = people(&["anna"]);
        assert_eq!(erasures.of(3, &young, Network), None);
        let old = People { time: Timestamp(1_500_000_000_000), ..young };
        assert_eq!(erasures.of(3, &old, Network), Some(100));
        let named = BTreeMap::from([(Payload, BTreeSet::from([3]))]);
        let naming = Erasure { named, ..retained(100, "network", (0, 50), &[]) };
        assert_eq!(naming.fault(), Some("an erasure by age that lists entries which name a person"));
        let members =
            vec![("event", Value::text("retention")), ("classes", Value::texts(["network"])), ("count", Value::int(1))];
        assert_eq!(Event::read(7, &entry(Kind::Erasure, members)), Some(Err("before")));
    }

    fn retained_before(before: &str, index: u64, class: &str, (first, last): (i64, i64), held: &[&str]) -> Erasure {
        let mut members = vec![
            ("event", Value::text("retention")),
            ("before", Value::text(before)),
            ("classes", Value::texts([class])),
            ("count", Value::int(1)),
        ];
        members.extend(range(first, last));
        members.push(("held", Value::texts(held.iter().copied())));
        match Event::read(index, &entry(Kind::Erasure, members)) {
            Some(Ok(Event::Erased(erasure))) => erasure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn retention_excuses_a_class_of_everybody_but_those_on_hold() {
        let mut erasures = Erasures::default();
        for erasure in [
            retained(100, "network", (0, 50), &["anna"]),
            retained(200, "network", (51, 90), &[]),
            retained(300, "network", (10, 12), &[]),
            retained(250, "payload", (0, 9), &[]),
        ] {
            erasures.add(erasure);
        }
        let of = |index, reference: &str, class| erasures.of(index, &people(&[reference]), class);
        assert_eq!([of(0, "berta", Network), of(50, "berta", Network)], [Some(100), Some(100)]);
        assert_eq!([of(51, "anna", Network), of(91, "anna", Network)], [Some(200), None]);
        assert_eq!([of(11, "anna", Network), of(13, "anna", Network)], [Some(300), None]);
        assert_eq!([of(9, "anna", Payload), of(10, "anna", Payload), of(9, "anna", Subject)], [Some(250), None, None]);
    }

    #[test]
    fn requests_and_refusals_erase_nothing() {
        let read = |event: &str, more: Vec<(&'static str, Value)>| {
            Event::read(7, &entry(Kind::Erasure, [vec![("event", Value::text(event))], more].concat())).unwrap()
        };
        let asked = vec![("requested_by", Value::text("a")), ("request", Value::text("r"))];
        assert!(matches!(read("requested", asked), Ok(Event::Requested(Request { reference: None, .. }))));
        assert_eq!(read("refused", vec![]), Ok(Event::Refused));
        assert_eq!(read("forgotten", vec![]), Err("event"));
        assert!(read("erased", vec![]).is_err());
        assert!(Event::read(7, &entry(Kind::Heartbeat, vec![])).is_none());
    }
}
