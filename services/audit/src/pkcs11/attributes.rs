//! What tokens say of a public key, in each of the spellings that they use.

/// DER of the object identifier 1.3.101.112, id-Ed25519 (RFC 8410 section 3).
pub(super) const ED25519_OID: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];
/// DER of the PrintableString `edwards25519` (PKCS #11 v3.0 section 2.3.5).
pub(super) const ED25519_NAME: [u8; 14] = *b"\x13\x0cedwards25519";
/// SubjectPublicKeyInfo of an Ed25519 key, before the key (RFC 8410 section 4).
const KEY_INFO: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Whether CKA_EC_PARAMS names the curve of Ed25519.
pub(super) fn is_ed25519(params: &[u8]) -> bool {
    params == ED25519_OID || params == ED25519_NAME
}

/// The 32 bytes of the key in CKA_EC_POINT: as they are (v3.0), within an OCTET STRING (v2.40 and most tokens), or within a
/// BIT STRING (some).
pub(super) fn point(bytes: &[u8]) -> Option<[u8; 32]> {
    let raw = match bytes {
        [0x04, 0x20, raw @ ..] | [0x03, 0x21, 0x00, raw @ ..] if raw.len() == 32 => raw,
        raw => raw,
    };
    raw.try_into().ok()
}

/// The same in CKA_PUBLIC_KEY_INFO.
pub(super) fn key_info(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.strip_prefix(&KEY_INFO)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_of_a_point_is_read() {
        // The first bytes are those of an OCTET STRING, which a key may begin with too.
        let mut key = [7; 32];
        key[..2].copy_from_slice(&[0x04, 0x20]);
        let of = |prefix: &[u8]| [prefix, &key].concat();
        for good in [of(&[]), of(&[0x04, 0x20]), of(&[0x03, 0x21, 0x00])] {
            assert_eq!(point(&good), Some(key), "{good:?}");
        }
        for bad in [of(&[0x04, 0x21]), of(&[0x03, 0x21, 0x01]), of(&[0x30, 0x20]), key[1..].to_vec(), Vec::new()] {
            assert_eq!(point(&bad), None, "{bad:?}");
        }
        assert_eq!(key_info(&of(&KEY_INFO)), Some(key));
        assert_eq!(key_info(&of(&KEY_INFO)[..43]), None);
        // X25519 is 1.3.101.110.
        let mut other = KEY_INFO;
        other[8] = 0x6e;
        assert_eq!(key_info(&of(&other)), None);
    }

    #[test]
    fn curves_are_told_apart() {
        assert!(is_ed25519(&ED25519_OID) && is_ed25519(&ED25519_NAME));
        for other in [&b"\x13\x0aedwards448"[..], &[0x06, 0x03, 0x2b, 0x65, 0x71], &[0x06, 0x03, 0x2b, 0x65, 0x6e], b""]
        {
            assert!(!is_ed25519(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_token_says_is_a_key_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(point(&bytes).is_none() || (32..=35).contains(&bytes.len()));
            prop_assert!(key_info(&bytes).is_none() || bytes.len() == 44);
        }
    }
}
