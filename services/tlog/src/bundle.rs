//! Entry bundles of C2SP tlog-tiles: up to 256 entries, each behind its length in two bytes, big-endian.

use crate::tile::WIDTH;

/// What two bytes of length can say.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// Why bytes are not an entry bundle, or entries do not fit in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("entry {position} of the bundle has {bytes} bytes; at most {ENTRY_BYTES_MAX} fit")]
    TooLarge { position: usize, bytes: usize },
    #[error("the bundle breaks off within entry {position}")]
    Truncated { position: usize },
    #[error("the bundle has more than {WIDTH} entries")]
    TooMany,
}

/// The bundle of these entries.
///
/// # Errors
/// When an entry is too large, or there are more than 256.
pub fn encode<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::new();
    for (position, entry) in entries.into_iter().enumerate() {
        if position >= usize::from(WIDTH) {
            return Err(BundleError::TooMany);
        }
        let length = u16::try_from(entry.len()).map_err(|_| BundleError::TooLarge { position, bytes: entry.len() })?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// The entries of a bundle, in order. How many there must be is for the caller to check.
///
/// # Errors
/// When the bytes break off, or there are more than 256 entries.
pub fn decode(bytes: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    match decode_lossy(bytes) {
        (entries, None) => Ok(entries),
        (_, Some(fault)) => Err(fault),
    }
}

/// The entries before the first fault, and that fault: what can still be read of a damaged bundle.
pub fn decode_lossy(bytes: &[u8]) -> (Vec<&[u8]>, Option<BundleError>) {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while entries.len() < usize::from(WIDTH)
        && let Some((entry, behind)) = split_entry(rest)
    {
        entries.push(entry);
        rest = behind;
    }
    let fault = match rest {
        [] => None,
        _ if entries.len() == usize::from(WIDTH) => Some(BundleError::TooMany),
        _ => Some(BundleError::Truncated { position: entries.len() }),
    };
    (entries, fault)
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_stand_behind_their_length() {
        assert_eq!(encode([&b"ab"[..], b"", b"c"]).unwrap(), b"\x00\x02ab\x00\x00\x00\x01c");
        assert_eq!(encode([]).unwrap(), b"");
        assert_eq!(decode(b"").unwrap(), Vec::<&[u8]>::new());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let large = vec![0; ENTRY_BYTES_MAX + 1];
        assert_eq!(encode([&large[..]]), Err(BundleError::TooLarge { position: 0, bytes: 65_536 }));
        assert_eq!(encode([&b""[..]; 257]), Err(BundleError::TooMany));
        assert_eq!(encode([&b""[..]; 256]).unwrap().len(), 512);
        assert_eq!(decode(&[0; 514]), Err(BundleError::TooMany));
        assert_eq!(decode(b"\x00\x01a\x00"), Err(BundleError::Truncated { position: 1 }));
        assert_eq!(decode(b"\x00\x02a"), Err(BundleError::Truncated { position: 0 }));
        assert_eq!(decode_lossy(b"\x00\x01a\x00").0, [b"a"]);
    }

    proptest! {
        #[test]
        fn bundles_round_trip(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..=256)) {
            let bytes = encode(entries.iter().map(Vec::as_slice)).unwrap();
            prop_assert_eq!(decode(&bytes).unwrap(), entries);
        }

        #[test]
        fn any_bytes_are_read_up_to_the_first_fault(bytes in prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..600)) {
            let (entries, fault) = decode_lossy(&bytes);
            let read = encode(entries).unwrap();
            prop_assert!(bytes.starts_with(&read));
            prop_assert_eq!(read.len() == bytes.len(), fault.is_none());
        }
    }
}
