//! Values that somebody shows of an entry, against what the entry committed to.

use crate::Digest;
use crate::canonical::{self, Value};
use crate::entry::Entry;
use std::collections::{BTreeSet, HashSet};

/// One class of values that an entry commits to, or that somebody says it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disclosed {
    pub class: String,
    pub verdict: Verdict,
    /// What was shown.
    pub values: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What is shown is what was recorded.
    Matches,
    /// Nothing is shown: only who holds the values could.
    NotShown,
    /// It was erased, and this entry says so.
    Erased(u64),
    /// It should be shown, and nothing in the log says that it was erased.
    Missing,
    /// What is shown is not what was recorded.
    Mismatch,
    /// The entry commits to nothing of the kind.
    NotCommitted,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Matches => "matches",
            Self::NotShown => "not_shown",
            Self::Erased(_) => "erased",
            Self::Missing => "missing",
            Self::Mismatch => "mismatch",
            Self::NotCommitted => "not_committed",
        }
    }

    pub fn is_fault(self) -> bool {
        matches!(self, Self::Missing | Self::Mismatch | Self::NotCommitted)
    }
}

/// Compares `shown`, `{"network":{"salt":…,"values":…},…}`, with the entry's commitments, class by class.
///
/// # Errors
/// When `shown` is not of that form, in words.
pub fn compare(entry: &Entry, shown: Option<&[u8]>) -> Result<Vec<Disclosed>, String> {
    let none = Value::object::<String>([]);
    let shown = match shown {
        Some(bytes) => canonical::parse(bytes).map_err(|e| format!("the values shown are not canonical JSON: {e}"))?,
        None => none.clone(),
    };
    let (Value::Object(shown), Value::Object(commitments)) = (&shown, entry.get("commit").unwrap_or(&none)) else {
        return Err(String::from("the values shown are not an object of classes"));
    };
    let classes: BTreeSet<&str> = commitments.iter().chain(shown.iter()).map(|(class, _)| class).collect();
    let of = |class: &str| {
        let values = shown.get(class).and_then(|shown| shown.get("values")).cloned();
        let verdict = match (commitments.get(class).and_then(Value::as_text), shown.get(class)) {
            (_, None) => Verdict::NotShown,
            (None, Some(_)) => Verdict::NotCommitted,
            (Some(commitment), Some(shown)) if commitment_of(class, shown).as_deref() == Some(commitment) => {
                Verdict::Matches
            }
            _ => Verdict::Mismatch,
        };
        Disclosed { class: class.to_owned(), verdict, values }
    };
    Ok(classes.into_iter().map(of).collect())
}

/// Salts that have been seen: one that stands twice lets whoever knows one value try out the other.
///
/// The last four million of them, by 64 bits each: enough to find a salt that is used again, in 64 MiB or so.
#[derive(Debug, Default)]
pub struct Salts(HashSet<u64>);

const SALTS_MAX: usize = 4_000_000;

impl Salts {
    /// The classes in `shown`, `{"network":{"salt":…,"values":…},…}`, whose salts have been seen before.
    pub fn reused(&mut self, shown: &Value) -> Vec<String> {
        let Value::Object(shown) = shown else { return Vec::new() };
        if self.0.len() > SALTS_MAX {
            self.0.clear();
        }
        let is_new = |values: &Value, seen: &mut HashSet<u64>| {
            let salt = values.get("salt").and_then(Value::as_text).and_then(canonical::unhex);
            let start = salt.and_then(|salt| salt.first_chunk::<8>().copied());
            start.is_none_or(|start| seen.insert(u64::from_le_bytes(start)))
        };
        let again = shown.iter().filter(|(_, values)| !is_new(values, &mut self.0));
        again.map(|(class, _)| class.to_owned()).collect()
    }
}

/// SHA-256 over the canonical object `{"class","salt","v","values"}`, in hexadecimal.
fn commitment_of(class: &str, shown: &Value) -> Option<String> {
    let tuple = Value::object([
        ("class", Value::text(class)),
        ("salt", shown.get("salt")?.clone()),
        ("v", Value::text("millgate-commitment/1")),
        ("values", shown.get("values")?.clone()),
    ]);
    Some(Digest::of(&tuple.encode()).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::entry::{CommitmentClass, Common, Disclosure, Draft, Kind};

    fn draft() -> Draft {
        let disclosure = |class, salt, values: Value| Disclosure { class, salt: [salt; 16], values: values.into() };
        let common = Common { nonce: [7; 16], time: Timestamp(1_795_375_200_123), boot: "b1".into() };
        let person = Value::object([("principal", Value::text("acme/anna"))]);
        let network = Value::object([("address", Value::text("192.0.2.7"))]);
        let disclosures =
            vec![disclosure(CommitmentClass::Subject, 1, person), disclosure(CommitmentClass::Network, 2, network)];
        Draft::new(Kind::Decision, &common, None, [], disclosures).unwrap()
    }

    fn verdicts(shown: Option<&str>) -> Vec<(String, &'static str)> {
        let entry = Entry::parse(&draft().seal(None)).unwrap();
        let compared = compare(&entry, shown.map(str::as_bytes)).unwrap();
        compared.into_iter().map(|d| (d.class, d.verdict.as_str())).collect()
    }

    #[test]
    fn what_is_shown_is_held_against_what_was_recorded() {
        let draft = draft();
        let stored = std::str::from_utf8(draft.disclosed().unwrap()).unwrap();
        let expected = |network, subject| vec![(String::from("network"), network), (String::from("subject"), subject)];
        assert_eq!(verdicts(Some(stored)), expected("matches", "matches"));
        assert_eq!(verdicts(None), expected("not_shown", "not_shown"));
        let part =
            format!("{{\"network\":{{\"salt\":\"{}\",\"values\":{{\"address\":\"192.0.2.7\"}}}}}}", "02".repeat(16));
        assert_eq!(verdicts(Some(&part)), expected("matches", "not_shown"));
        assert_eq!(verdicts(Some(&stored.replace("anna", "berta"))), expected("matches", "mismatch"));
        assert_eq!(verdicts(Some(&stored.replace("0202", "0203"))), expected("mismatch", "matches"));
        let moved = stored.replace("subject", "payload");
        let moved = verdicts(Some(&moved));
        assert!(moved.contains(&(String::from("payload"), "not_committed")), "{moved:?}");
        let entry = Entry::parse(&draft.seal(None)).unwrap();
        assert!(compare(&entry, Some(b"[]")).is_err() && compare(&entry, Some(b"{ }")).is_err());
    }
}
