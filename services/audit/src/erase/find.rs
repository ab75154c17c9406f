//! Where a person's values are: entries in which the reference takes part, and values of others that name the person.

use super::{EraseError, ROWS_AT_ONCE, held};
use crate::error::ReadError;
use crate::frames;
use crate::reader::Reader;
use model::canonical::{self, Value};
use model::entry::CommitmentClass;
use model::erasure::Held;
use std::sync::Arc;

/// Entries in which somebody takes part, ascending.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub all: Vec<u64>,
    /// Those in which nobody takes part who is on hold.
    pub free: Vec<u64>,
}

/// Entries below `end` in which `reference` takes part.
pub(super) async fn entries_of(
    reader: &Reader,
    reference: &str,
    end: u64,
    held: &Arc<Held>,
) -> Result<Own, EraseError> {
    let needle = format!("\"principal\":\"{reference}\"");
    let (mut found, mut at) = (Vec::new(), 0);
    while at < end {
        let bundles = reader.bundles(at).await?;
        let Some(next) = bundles.last().map(|bundle| bundle.first_index + bundle.count.max(1)) else { break };
        let (needle, held) = (needle.clone(), held.clone());
        let look = move || {
            let mut found = Vec::new();
            for bundle in &bundles {
                for (index, entry) in (bundle.first_index..).zip(frames::iter(&bundle.bytes)) {
                    let damaged = |_| ReadError::Damaged {
                        first_index: bundle.first_index,
                        last_index: bundle.first_index + bundle.count.max(1) - 1,
                    };
                    // Entries have one spelling: what looks like a member is one.
                    let entry = entry.map_err(damaged)?;
                    if std::str::from_utf8(entry).is_ok_and(|entry| entry.contains(&needle)) {
                        found.push((index, held::keeps(&held, entry)));
                    }
                }
            }
            Ok::<_, ReadError>(found)
        };
        found.extend(tokio::task::spawn_blocking(look).await.map_err(|_| ReadError::Closed)??);
        at = next;
    }
    found.retain(|(index, _)| *index < end);
    let free = found.iter().filter(|(_, is_kept)| !is_kept).map(|(index, _)| *index).collect();
    Ok(Own { all: found.into_iter().map(|(index, _)| index).collect(), free })
}

/// Values of others that name the person: which class of which entry below `end`, and of how many entries they stay because
/// somebody takes part who is on hold.
pub(super) async fn named(
    reader: &Reader,
    name: &str,
    own: &[u64],
    end: u64,
    held: &Held,
) -> Result<(Vec<(u64, Vec<CommitmentClass>)>, u64), EraseError> {
    let (mut found, mut kept, mut at) = (Vec::new(), 0, 0);
    while at < end {
        let rows = reader.disclosures((at, end - 1), u32::try_from(ROWS_AT_ONCE).unwrap_or(u32::MAX)).await?;
        let Some(last) = rows.last().map(|row| row.entry_index) else { break };
        for row in rows {
            if own.binary_search(&row.entry_index).is_err() && says(&row.body, name) {
                let classes = naming(&row.body, name);
                if classes.is_empty() {
                    continue;
                }
                if held::keeps_at(reader, held, row.entry_index).await? {
                    kept += 1;
                } else {
                    found.push((row.entry_index, classes));
                }
            }
        }
        at = last + 1;
    }
    Ok((found, kept))
}

fn naming(values: &[u8], name: &str) -> Vec<CommitmentClass> {
    let Ok(Value::Object(values)) = canonical::parse(values) else { return Vec::new() };
    let names = |class: &CommitmentClass| {
        let Some(of) = values.get(class.as_str()).map(Value::encode) else { return false };
        match class {
            // Whom else a longer name belongs to, is none of this person's business.
            CommitmentClass::Subject => of.windows(name.len() + 2).any(|part| part == format!("\"{name}\"").as_bytes()),
            CommitmentClass::Network | CommitmentClass::Payload => says(&of, name),
        }
    };
    CommitmentClass::ALL.into_iter().filter(names).collect()
}

/// Whether the name stands in it, spelled as the directory has it, and not merely the beginning or the end of a longer one. No
/// name has characters that JSON escapes. A full stop or a colon goes on a name only if more of the name follows, and none
/// comes before an organisation's id.
fn says(text: &[u8], name: &str) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '@' | '+' | '|');
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let behind = text.get(at + name.len()..).unwrap_or_default();
        let behind = behind.trim_start_matches(['.', ':']).chars().next();
        !before.is_some_and(goes_on) && !behind.is_some_and(goes_on)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_not_the_beginning_or_the_end_of_another() {
        let name = "acme/engineer-1";
        for text in ["\"acme/engineer-1\"", "[\"principal\",\"acme/engineer-1\"]", "/who/acme/engineer-1/x", name] {
            assert!(says(text.as_bytes(), name), "{text}");
        }
        for text in
            ["\"acme/engineer-10\"", "\"sub-acme/engineer-1\"", "\"acme/engineer-1@acme\"", "\"acme/engineer-1.b\"", ""]
        {
            assert!(!says(text.as_bytes(), name), "{text}");
        }
        for text in
            ["\"who is acme/engineer-1.\"", "acme/engineer-1: a report", "/of:acme/engineer-1?", "acme/engineer-1..."]
        {
            assert!(says(text.as_bytes(), name), "a sentence that names the person is not kept: {text}");
        }
        let values = br#"{"network":{"salt":"00","values":{"address":"a"}},"payload":{"salt":"00","values":{"query":[["principal","acme/engineer-1"]]}}}"#;
        assert_eq!(naming(values, name), [CommitmentClass::Payload]);
        let other = br#"{"subject":{"salt":"00","values":{"principal":"acme/engineer-1/second"}}}"#;
        assert_eq!(naming(other, name), []);
    }
}
