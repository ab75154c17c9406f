//! Entries one after the other, each behind its length in two bytes, big-endian: an entry bundle of tlog-tiles, but with
//! as many entries as a batch had.

use model::entry::BYTES_MAX;

/// Appends one entry. `false`, and nothing appended, when it is longer than 65,535 bytes.
pub(crate) fn push(bytes: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else { return false };
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(entry);
    true
}

/// Bytes that break off within an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes break off within an entry")]
pub(crate) struct Truncated;

/// The entries in order.
pub(crate) fn iter(bytes: &[u8]) -> Frames<'_> {
    const { assert!(BYTES_MAX == 65_535, "the length of an entry must fit 16 bits") };
    Frames { rest: bytes }
}

#[derive(Clone, Debug)]
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<&'a [u8], Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((entry, behind)) = split(self.rest) else {
            self.rest = &[];
            return Some(Err(Truncated));
        };
        self.rest = behind;
        Some(Ok(entry))
    }
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order() {
        let mut bytes = Vec::new();
        let entries = [&b"one"[..], b"", &[7; BYTES_MAX]];
        assert!(entries.iter().all(|e| push(&mut bytes, e)));
        assert!(!push(&mut bytes, &[0; BYTES_MAX + 1]));
        assert_eq!(iter(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), entries);
        bytes.pop();
        assert_eq!(iter(&bytes).map(|e| e.map(<[u8]>::len)).collect::<Vec<_>>(), [Ok(3), Ok(0), Err(Truncated)]);
    }
}
