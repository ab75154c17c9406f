//! Whom entries name: all references in a part of the log.

use crate::error::ReadError;
use crate::frames;
use crate::reader::Reader;
use std::collections::HashSet;

/// Digits of a reference.
const DIGITS: usize = 32;

/// Sixteen bytes for each reference, whatever member it stands in.
#[derive(Debug, Default)]
pub(super) struct Marks {
    seen: HashSet<[u8; DIGITS / 2]>,
    end: u64,
}

impl Marks {
    /// Goes through the entries between these.
    pub(super) async fn go_on(&mut self, reader: &Reader, (first, end): (u64, u64)) -> Result<(), ReadError> {
        let mut at = first;
        while at < end {
            // The first may begin before it.
            let mut bundles = if at == first { reader.bundle_of(at).await?.into_iter().collect() } else { Vec::new() };
            if bundles.is_empty() {
                bundles = reader.bundles(at).await?;
            }
            let Some(next) = bundles.last().map(|bundle| bundle.first_index + bundle.count.max(1)) else { break };
            let mut marks = std::mem::take(self);
            let look = move || {
                for bundle in &bundles {
                    for entry in frames::iter(&bundle.bytes) {
                        let last_index = bundle.first_index + bundle.count.max(1) - 1;
                        let damaged = |_| ReadError::Damaged { first_index: bundle.first_index, last_index };
                        marks.see(entry.map_err(damaged)?);
                    }
                }
                Ok::<_, ReadError>(marks)
            };
            *self = tokio::task::spawn_blocking(look).await.map_err(|_| ReadError::Closed)??;
            at = next;
        }
        self.end = self.end.max(end);
        Ok(())
    }

    /// An entry has one spelling, and a reference no characters that are escaped: whatever stands between two quotes and has
    /// the form of a reference may be one. A nonce is none.
    pub(super) fn see(&mut self, entry: &[u8]) {
        let mut before: [&[u8]; 2] = [&[], &[]];
        for part in entry.split(|byte| *byte == b'"') {
            if part.len() == DIGITS
                && before[0] != b"nonce"
                && let Some(reference) = parse(part)
            {
                self.seen.insert(reference);
            }
            before = [before[1], part];
        }
    }

    /// What has not the form of a reference is never taken for gone.
    pub(super) fn has(&self, reference: &str) -> bool {
        parse(reference.as_bytes()).is_none_or(|reference| self.seen.contains(&reference))
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }
}

fn parse(text: &[u8]) -> Option<[u8; DIGITS / 2]> {
    let text = std::str::from_utf8(text).ok()?;
    model::canonical::unhex(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_named_in_any_member_is_marked() {
        let reference = |n: u8| format!("{n:02x}").repeat(16);
        let entry = format!(
            "{{\"actors\":[{{\"principal\":\"{}\"}}],\"basis\":\"a \\\"b\\\" c\",\"held\":[\"{}\"],\"nonce\":\"{}\",\"principal\":\"{}\"}}",
            reference(1),
            reference(2),
            reference(3),
            reference(4)
        );
        let mut marks = Marks::default();
        marks.see(entry.as_bytes());
        let has = [1, 2, 3, 4, 5].map(|n| marks.has(&reference(n)));
        assert_eq!(has, [true, true, false, true, false]);
        assert!(marks.has("not a reference"));
    }
}
