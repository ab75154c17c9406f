//! Whom entries name: all references in a part of the log, and where each stands last.

use std::collections::HashMap;

/// Digits of a reference.
const DIGITS: usize = 32;

/// Sixteen bytes for each reference, whatever member it stands in, and the last entry that has it.
#[derive(Debug, Default)]
pub(super) struct Marks {
    seen: HashMap<[u8; DIGITS / 2], u64>,
}

impl Marks {
    /// An entry has one spelling, and a reference no characters that are escaped: whatever stands between two quotes and has
    /// the form of a reference may be one. A nonce is none.
    pub(super) fn see(&mut self, index: u64, entry: &[u8]) {
        let mut before: [&[u8]; 2] = [&[], &[]];
        for part in entry.split(|byte| *byte == b'"') {
            if part.len() == DIGITS
                && before[0] != b"nonce"
                && let Some(reference) = parse(part)
            {
                let last = self.seen.entry(reference).or_insert(index);
                *last = index.max(*last);
            }
            before = [before[1], part];
        }
    }

    /// Whether an entry at `first` or behind has it. What has not the form of a reference is never taken for gone.
    pub(super) fn has_from(&self, first: u64, reference: &str) -> bool {
        let last = |reference| self.seen.get(&reference).copied();
        parse(reference.as_bytes()).is_none_or(|reference| last(reference).is_some_and(|last| last >= first))
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
        marks.see(7, entry.as_bytes());
        marks.see(5, entry.as_bytes());
        let has = |first| [1, 2, 3, 4, 5].map(|n| marks.has_from(first, &reference(n)));
        assert_eq!((has(0), has(7)), ([true, true, false, true, false], [true, true, false, true, false]));
        assert_eq!(has(8), [false; 5], "and nobody behind the last entry");
        assert!(marks.has_from(8, "not a reference"));
    }
}
