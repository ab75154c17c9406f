//! Prunings: what an entry of kind `pruning` says of entries that are not kept any longer (C2SP tlog-tiles, Pruning).
//!
//! Entries before a *minimum index* are gone; their hashes stay, so that the tree, the log's identity and every proof stay what
//! they are. Writer, checker of the store and verifier share this, so that all three mean the same by it. What it does
//! **not** do: it believes nothing that the tree can tell. What an entry of this kind says of entries that are gone is the
//! operator's word, except where those are carried forward: their hashes are still there.

use crate::canonical::Value;
use crate::entry::{CommitmentClass, Entry, Kind, Place};
use crate::{Digest, OrganisationId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Entries in a bundle: a minimum index is a multiple of it, because a bundle is there or it is not.
pub const WIDTH: u64 = 256;
/// No policy keeps entries for less. Whoever asked for an erasure is waited for for 30 days, and who watches a log from outside
/// must have ample time to see its entries.
pub const DAYS_MIN: u32 = 60;
const DAY_MS: i64 = 86_400_000;

/// Whether a policy that is as long as this, in days, and keeps values for so long may be.
pub fn days_fault(days: u32, values: &BTreeMap<CommitmentClass, u32>) -> Option<String> {
    if days < DAYS_MIN {
        return Some(format!("entries are kept for at least {DAYS_MIN} days"));
    }
    let longer = values.iter().find(|(_, of_values)| **of_values > days)?;
    Some(format!("values of `{}` are kept for {} days, and go with their entries", longer.0.as_str(), longer.1))
}

/// Entries that are gone, as an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruning {
    /// Where the entry stands.
    pub index: u64,
    /// Its own time.
    pub time: Timestamp,
    /// The minimum index before: those from here on went with this entry.
    pub first: u64,
    /// The first entry that is still there.
    pub minimum: u64,
    /// All that are gone are of before this time, a midnight in UTC.
    pub before: Timestamp,
    /// How long the policy keeps entries, in days.
    pub days: u32,
    /// SHA-256 of the policy's text.
    pub policy: Digest,
    /// Where each organisation's sequence stands before `minimum`.
    pub organisations: BTreeMap<OrganisationId, Place>,
    /// Organisations of which that is not said, because it does not fit.
    pub organisations_left_out: u64,
    /// Allowed exchanges before `minimum` whose outcomes are not.
    pub open: BTreeSet<u64>,
    /// Entries before `minimum` that are kept all the same, because later ones depend on them.
    pub carried: BTreeSet<u64>,
    /// Persons of whom no entry is left, and who are in the directory no longer.
    pub directory: u64,
}

impl Pruning {
    /// `None` when the entry is of another kind.
    ///
    /// # Errors
    /// The member that is missing or ill-typed.
    pub fn read(index: u64, entry: &Entry) -> Option<Result<Self, &'static str>> {
        (entry.kind == Kind::Pruning).then(|| Self::of(index, entry))
    }

    fn of(index: u64, entry: &Entry) -> Result<Self, &'static str> {
        if entry.text("event") != Some("pruned") {
            return Err("event");
        }
        let number = |name: &'static str| entry.get(name).and_then(unsigned).ok_or(name);
        let numbers = |name: &'static str| entry.get(name).and_then(ascending).ok_or(name);
        let Some(Value::Object(all)) = entry.get("organisations") else { return Err("organisations") };
        let mut organisations = BTreeMap::new();
        for (id, place) in all.iter() {
            let id = OrganisationId::new(id).map_err(|_| "organisations")?;
            organisations.insert(id, place_of(place).ok_or("organisations")?);
        }
        let (first, minimum) = (number("first")?, number("minimum")?);
        // It says nothing that the two do not, and whoever reads it alone must not be told otherwise.
        if number("count")? != minimum.saturating_sub(first) {
            return Err("count");
        }
        let policy = entry.text("policy").and_then(crate::canonical::unhex).and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            index,
            time: entry.time,
            first,
            minimum,
            before: entry.text("before").and_then(Timestamp::parse_canonical).ok_or("before")?,
            days: u32::try_from(number("days")?).map_err(|_| "days")?,
            policy: policy.map(Digest).ok_or("policy")?,
            organisations,
            organisations_left_out: entry
                .get("organisations_left_out")
                .map_or(Some(0), unsigned)
                .ok_or("organisations_left_out")?,
            open: numbers("open")?,
            carried: numbers("carried")?,
            directory: entry.get("directory").map_or(Some(0), unsigned).ok_or("directory")?,
        })
    }

    /// Entries that went with it.
    pub fn count(&self) -> u64 {
        self.minimum.saturating_sub(self.first)
    }

    /// What is wrong with what it claims by itself, in words.
    pub fn fault(&self) -> Option<String> {
        let whole = |index: u64| index.is_multiple_of(WIDTH);
        if self.first >= self.minimum || !whole(self.first) || !whole(self.minimum) {
            return Some(String::from("a pruning of no whole bundles"));
        }
        if self.minimum > self.index {
            return Some(String::from("a pruning that claims entries which were not written yet"));
        }
        if self.before.millis().rem_euclid(DAY_MS) != 0 {
            return Some(String::from("a pruning whose cut-off is no midnight"));
        }
        if self.days < DAYS_MIN {
            return Some(format!(
                "a pruning by a policy of {} days; entries are kept for at least {DAYS_MIN}",
                self.days
            ));
        }
        let today = self.time.millis().div_euclid(DAY_MS);
        if self.before.millis().div_euclid(DAY_MS) > today - i64::from(self.days) {
            return Some(format!("a pruning that went further than its own policy of {} days", self.days));
        }
        let places = self.organisations.values();
        let mut last =
            places.map(|place| place.previous).chain(self.open.iter().chain(&self.carried).copied().map(Some));
        if last.any(|index| index.is_none_or(|index| index >= self.minimum)) {
            return Some(String::from("a pruning that speaks of entries behind those that it is about"));
        }
        None
    }

    /// What is wrong with it behind `before`, the one before it: each begins where the last one ended.
    pub fn fault_behind(&self, before: Option<&Self>) -> Option<String> {
        let before = before?;
        if self.first != before.minimum {
            return Some(format!(
                "a pruning from entry {} on; entry {} had gone to {}",
                self.first, before.index, before.minimum
            ));
        }
        (self.before < before.before)
            .then(|| format!("a pruning whose cut-off is earlier than that of entry {}", before.index))
    }

    /// Entries that are gone and are not carried forward.
    pub fn is_gone(&self, index: u64) -> bool {
        index < self.minimum && !self.carried.contains(&index)
    }
}

fn unsigned(value: &Value) -> Option<u64> {
    value.as_int().and_then(|n| u64::try_from(n).ok())
}

/// A list has one spelling.
fn ascending(value: &Value) -> Option<BTreeSet<u64>> {
    let Value::Array(items) = value else { return None };
    let numbers: Vec<u64> = items.iter().map(unsigned).collect::<Option<_>>()?;
    numbers.is_sorted_by(|one, next| one < next).then(|| numbers.into_iter().collect())
}

/// `[sequence, index]` of the last entry; kept as the place of the next one would name it.
fn place_of(value: &Value) -> Option<Place> {
    let Value::Array(items) = value else { return None };
    let [sequence, index] = items.as_slice() else { return None };
    Some(Place { sequence: unsigned(sequence).filter(|n| *n > 0)?, previous: Some(unsigned(index)?) })
}

/// What a writer has to take away together with an entry of kind `pruning`, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prune {
    pub minimum: u64,
    /// As the entry says.
    pub before: Timestamp,
    /// The hashes that stay: of each bundle that goes its number, and 256 hashes of 32 bytes.
    pub leaves: Vec<(u64, Vec<u8>)>,
    /// All entries that are carried forward, those of before included.
    pub carried: Vec<(u64, Vec<u8>)>,
    /// The row of the store that reaches beyond the minimum is cut: where it begins, and what is left of it.
    pub rest: Option<Rest>,
    /// References that stand for nobody any longer.
    pub references: Vec<String>,
}

/// What is left of a row of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Where the row begins.
    pub of: u64,
    pub count: u64,
    pub time_first: Timestamp,
    pub time_last: Timestamp,
    /// Length-prefixed entries from the minimum on.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Common, Draft};

    /// 2026-11-22T19:20:00.123Z
    const TIME: Timestamp = Timestamp(1_795_375_200_123);

    fn said(change: &[(&'static str, Value)]) -> Result<Pruning, &'static str> {
        said_without("", change)
    }

    fn said_without(left_out: &str, change: &[(&'static str, Value)]) -> Result<Pruning, &'static str> {
        let common = Common { nonce: [7; 16], time: TIME, boot: "b1".into() };
        let place = Value::Array(vec![Value::int(9), Value::int(510)]);
        let members = [
            ("event", Value::text("pruned")),
            ("first", Value::int(256)),
            ("minimum", Value::int(512)),
            ("count", Value::int(256)),
            ("before", Value::text("2026-09-01T00:00:00.000Z")),
            ("days", Value::int(80)),
            ("policy", Value::text("ab".repeat(32))),
            ("organisations", Value::object([("acme", place)])),
            ("open", Value::Array(vec![Value::int(508)])),
            ("carried", Value::Array(vec![Value::int(0)])),
        ];
        let members = members.into_iter().map(|(name, value)| {
            let other = change.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone());
            (name, other.unwrap_or(value))
        });
        let members: Vec<_> = members.filter(|(name, _)| *name != left_out).collect();
        let draft = Draft::new(Kind::Pruning, &common, None, members, vec![]).unwrap();
        Pruning::read(900, &Entry::parse(&draft.seal(None)).unwrap()).unwrap()
    }

    #[test]
    fn a_pruning_says_what_is_gone_and_what_stays_of_it() {
        let pruning = said(&[]).unwrap();
        assert_eq!((pruning.fault(), pruning.count()), (None, 256));
        let acme = OrganisationId::new("acme").unwrap();
        assert_eq!(pruning.organisations[&acme], Place { sequence: 9, previous: Some(510) });
        assert!(pruning.is_gone(511) && !pruning.is_gone(512) && !pruning.is_gone(0));
        for (name, value) in [
            ("event", Value::text("swept")),
            ("minimum", Value::int(-1)),
            ("before", Value::text("yesterday")),
            ("policy", Value::text("ab")),
            ("organisations", Value::object([("acme", Value::int(9))])),
            ("open", Value::text("none")),
        ] {
            assert_eq!(said(&[(name, value)]).err(), Some(name));
        }
    }

    #[test]
    fn a_pruning_has_every_member_that_is_always_there_and_one_spelling() {
        for name in
            ["event", "first", "minimum", "count", "before", "days", "policy", "organisations", "open", "carried"]
        {
            assert_eq!(said_without(name, &[]).err(), Some(name));
        }
        let numbers = |numbers: &[i64]| Value::Array(numbers.iter().map(|n| Value::int(*n)).collect());
        for (name, value) in [
            ("count", Value::int(255)),
            ("count", Value::int(512)),
            ("before", Value::text("2026-09-01T02:00:00.000+02:00")),
            ("before", Value::text("2026-09-01T00:00:00Z")),
            ("open", numbers(&[508, 300])),
            ("open", numbers(&[300, 300])),
            ("carried", numbers(&[103, 0])),
            ("carried", numbers(&[0, 0])),
        ] {
            assert_eq!(said(&[(name, value)]).err(), Some(name));
        }
        assert!(said(&[("open", numbers(&[])), ("carried", numbers(&[0, 103]))]).is_ok());
    }

    #[test]
    fn a_pruning_that_goes_too_far_excuses_nothing() {
        for (minimum, fault) in [
            (256, "a pruning of no whole bundles"),
            (600, "a pruning of no whole bundles"),
            (1024, "a pruning that claims entries which were not written yet"),
        ] {
            let change = [("minimum", Value::int(minimum)), ("count", Value::int(minimum - 256))];
            assert_eq!(said(&change).unwrap().fault().as_deref(), Some(fault));
        }
        for (name, value, fault) in [
            ("before", Value::text("2026-09-01T00:00:01.000Z"), "a pruning whose cut-off is no midnight"),
            ("days", Value::int(59), "a pruning by a policy of 59 days; entries are kept for at least 60"),
            ("days", Value::int(83), "a pruning that went further than its own policy of 83 days"),
            (
                "open",
                Value::Array(vec![Value::int(512)]),
                "a pruning that speaks of entries behind those that it is about",
            ),
        ] {
            assert_eq!(said(&[(name, value)]).unwrap().fault().as_deref(), Some(fault));
        }
        assert_eq!(said(&[("days", Value::int(82))]).unwrap().fault(), None, "82 days before it is midnight");
    }

    #[test]
    fn one_pruning_goes_on_where_the_last_one_ended() {
        let second = said(&[]).unwrap();
        let first = Pruning { index: 600, first: 0, minimum: 256, ..second.clone() };
        assert_eq!(second.fault_behind(Some(&first)), None);
        assert_eq!(second.fault_behind(None), None);
        let gap = second.fault_behind(Some(&Pruning { minimum: 0, ..first.clone() }));
        assert_eq!(gap.as_deref(), Some("a pruning from entry 256 on; entry 600 had gone to 0"));
        let later = Pruning { before: Timestamp(second.before.millis() + DAY_MS), ..first };
        assert!(second.fault_behind(Some(&later)).is_some());
    }

    #[test]
    fn values_do_not_outlive_their_entries() {
        let values = BTreeMap::from([(CommitmentClass::Network, 90)]);
        assert_eq!(days_fault(90, &values), None);
        assert_eq!(
            days_fault(89, &values).as_deref(),
            Some("values of `network` are kept for 90 days, and go with their entries")
        );
        assert_eq!(days_fault(59, &BTreeMap::new()).as_deref(), Some("entries are kept for at least 60 days"));
    }
}
