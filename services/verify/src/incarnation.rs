//! What a log says of the one whose place it takes. Its operator says it; of what is cited there it is verified here whether it
//! was signed by a key that is cited with it. That this was the old log's key, whoever trusts that log knows.

use crate::findings::printable;
use model::Value;
use serde_json::json;
use std::fmt;
use tlog::{Checkpoint, VerifierKey};

/// More keys than any log has had.
const KEYS_MAX: usize = 100;

/// As the first entry of a log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incarnation {
    pub origin: String,
    /// Entries that were left of it.
    pub size: Option<u64>,
    /// Its last signed note.
    pub checkpoint: Option<String>,
    pub key: Option<String>,
    /// Earlier ones, and the next, as far as there were any.
    pub other_keys: Vec<String>,
    pub reason: String,
    pub forced: bool,
    pub seen: Vec<Seen>,
}

/// What somebody had seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub by: String,
    pub size: u64,
    pub checkpoint: Option<String>,
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_text().map(str::to_owned)
}

fn number(value: &Value, name: &str) -> Option<u64> {
    u64::try_from(value.get(name)?.as_int()?).ok()
}

impl Incarnation {
    pub(crate) fn read(entry: &Value) -> Option<Self> {
        let previous = entry.get("previous")?;
        let seen = match entry.get("seen") {
            Some(Value::Array(items)) => items.as_slice(),
            _ => &[],
        };
        Some(Self {
            origin: text(previous, "origin")?,
            size: number(previous, "size"),
            checkpoint: text(previous, "checkpoint"),
            key: text(previous, "key"),
            other_keys: match previous.get("other_keys") {
                Some(Value::Array(keys)) => keys.iter().filter_map(|key| Some(key.as_text()?.to_owned())).collect(),
                _ => Vec::new(),
            },
            reason: text(entry, "reason").unwrap_or_default(),
            forced: entry.get("forced") == Some(&Value::Bool(true)),
            seen: seen
                .iter()
                .filter_map(|one| {
                    Some(Seen { by: text(one, "by")?, size: number(one, "size")?, checkpoint: text(one, "checkpoint") })
                })
                .collect(),
        })
    }

    /// Whether a key that is cited has signed this as a checkpoint of the old log, of that size if one is named; `None` where
    /// no note is cited.
    fn is_signed(&self, note: Option<&str>, size: Option<u64>) -> Option<bool> {
        let note = note?;
        let signed = || {
            let keys = self.key.iter().chain(&self.other_keys).take(KEYS_MAX);
            let keys: Vec<_> = keys.filter_map(|key| VerifierKey::parse(key).ok()).collect();
            let (checkpoint, _) = Checkpoint::open_any(note, &keys).ok()?;
            Some(checkpoint.origin == self.origin && size.is_none_or(|size| size == checkpoint.size))
        };
        Some(signed().unwrap_or(false))
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        let Self { origin, size, checkpoint, key, other_keys, reason, forced, seen } = self;
        let seen = seen.iter().map(|one| {
            let signed = self.is_signed(one.checkpoint.as_deref(), Some(one.size));
            json!({ "by": one.by, "size": one.size, "checkpoint": one.checkpoint, "signed": signed })
        });
        json!({
            "origin": origin, "size": size, "checkpoint": checkpoint, "key": key, "other_keys": other_keys, "reason": reason,
            "forced": forced,
            "signed": self.is_signed(checkpoint.as_deref(), None), "seen": seen.collect::<Vec<_>>(),
        })
    }
}

fn in_words(is_signed: Option<bool>) -> &'static str {
    match is_signed {
        Some(true) => ": signed by a key that is cited",
        Some(false) => ": NOT signed by a key that is cited, so nothing but the operator's word",
        None => ": the operator's word, without a checkpoint",
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.size.map_or_else(String::new, |size| format!(", of which {size} entries were left"));
        writeln!(f, "  begins in place of {}{left}: {}", printable(&self.origin), printable(&self.reason))?;
        if let Some(is_signed) = self.is_signed(self.checkpoint.as_deref(), None) {
            writeln!(f, "                 its last checkpoint as cited{}", in_words(Some(is_signed)))?;
        }
        for Seen { by, size, checkpoint } in &self.seen {
            let signed = in_words(self.is_signed(checkpoint.as_deref(), Some(*size)));
            writeln!(f, "                 {} had seen {size}{signed}", printable(by))?;
        }
        if self.forced { writeln!(f, "                 nobody was known to have seen anything else") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_whose_place_a_log_takes_and_why() {
        let entry = Value::object([
            ("previous", Value::object([("origin", Value::text("p.example/1")), ("size", Value::int(7))])),
            ("reason", Value::text("the disk failed\u{1b}[2J")),
            (
                "seen",
                Value::Array(vec![Value::object([("by", Value::text("the witness `w`")), ("size", Value::int(9))])]),
            ),
        ]);
        let read = Incarnation::read(&entry).unwrap();
        let said = read.to_string();
        assert!(
            said.starts_with("  begins in place of p.example/1, of which 7 entries were left: the disk failed"),
            "{said}"
        );
        assert!(said.contains("the witness `w` had seen 9: the operator's word") && !said.contains('\u{1b}'), "{said}");
        assert_eq!(read.to_json()["seen"][0]["size"], 9);
        assert_eq!(Incarnation::read(&Value::object::<&str>([])), None);
    }

    #[test]
    fn what_is_cited_of_the_old_log_counts_only_if_its_key_signed_it() {
        let key = |name: &str, seed| tlog::SigningKey::generate(name, [seed; 32]).unwrap();
        let (old, other) = (key("p.example/1", 1), key("p.example/1", 2));
        let note = |size, key: &tlog::SigningKey| {
            Some(Checkpoint::new("p.example/1", size, tlog::Hash([7; 32])).sign(key).unwrap())
        };
        let seen = |size, checkpoint| Seen { by: String::from("w"), size, checkpoint };
        let cited = Incarnation {
            origin: String::from("p.example/1"),
            key: Some(old.verifier().to_text()),
            checkpoint: note(7, &old),
            seen: vec![seen(9, note(9, &old)), seen(9, note(9, &other)), seen(10, note(9, &old)), seen(9, None)],
            ..Incarnation::default()
        };
        let signed = |cited: &Incarnation| {
            let json = cited.to_json();
            let seen = json["seen"].as_array().unwrap().iter().map(|one| one["signed"].as_bool()).collect::<Vec<_>>();
            (json["signed"].as_bool(), seen)
        };
        assert_eq!(signed(&cited), (Some(true), vec![Some(true), Some(false), Some(false), None]));
        let said = cited.to_string();
        assert_eq!(said.matches("NOT signed").count(), 2, "{said}");
        // After a restore it is the key of before that has signed last.
        let rotated = Incarnation {
            key: Some(other.verifier().to_text()),
            other_keys: vec![String::from("nonsense"), old.verifier().to_text()],
            ..cited.clone()
        };
        assert_eq!(signed(&rotated), (Some(true), vec![Some(true), Some(true), Some(false), None]));
        let others = Incarnation { origin: String::from("p.example/2"), ..cited.clone() };
        let without = Incarnation { key: None, ..cited };
        for bad in [others, without] {
            assert_eq!(signed(&bad), (Some(false), vec![Some(false), Some(false), Some(false), None]));
        }
    }
}
