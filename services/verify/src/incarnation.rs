//! What a log says of the one whose place it takes. Its operator says it; what is cited there was signed by the old log, and
//! is for whoever trusts that one to check.

use crate::findings::printable;
use model::Value;
use serde_json::json;
use std::fmt;

/// As the first entry of a log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incarnation {
    pub origin: String,
    /// Entries that were left of it.
    pub size: Option<u64>,
    /// Its last signed note.
    pub checkpoint: Option<String>,
    pub key: Option<String>,
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

    pub(crate) fn to_json(&self) -> serde_json::Value {
        let Self { origin, size, checkpoint, key, reason, forced, seen } = self;
        let seen = seen.iter().map(|one| json!({ "by": one.by, "size": one.size, "checkpoint": one.checkpoint }));
        json!({
            "origin": origin, "size": size, "checkpoint": checkpoint, "key": key, "reason": reason, "forced": forced,
            "seen": seen.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.size.map_or_else(String::new, |size| format!(", of which {size} entries were left"));
        writeln!(f, "  begins in place of {}{left}: {}", printable(&self.origin), printable(&self.reason))?;
        for Seen { by, size, .. } in &self.seen {
            writeln!(f, "                 {} had seen {size}", printable(by))?;
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
        assert!(said.contains("the witness `w` had seen 9\n") && !said.contains('\u{1b}'), "{said}");
        assert_eq!(read.to_json()["seen"][0]["size"], 9);
        assert_eq!(Incarnation::read(&Value::object::<&str>([])), None);
    }
}
