//! Nonces of ours in proofs (RFC 9449 section 8): fresh ones, without a memory of them.
//!
//! A nonce is a code over the number of a span of time, made with a key of this process. All callers get the same one:
//! it is no secret, it shows that a proof was not made before it.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::Timestamp;

/// A nonce counts in the span it was made in and in the next one: two to four minutes, which is time for a caller to come
/// back with it, and little for somebody who has proofs made in advance.
const SPAN_MS: i64 = 120_000;

/// Of a code of 32: as much as an attacker would have to guess at within four minutes.
const CODE_BYTES: usize = 16;

#[derive(Debug)]
pub(crate) struct Nonces(hmac::Key);

/// How a nonce of ours stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    Fresh,
    /// It counts, but not for long.
    Ageing,
}

impl Nonces {
    /// With a key that nobody else has: a nonce of another process, or of an earlier start, is none of ours.
    pub(crate) fn new() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &runtime::random::secret::<32>()))
    }

    /// The nonce to hand out now.
    pub(crate) fn current(&self, now: Timestamp) -> String {
        self.of(span(now))
    }

    /// `None` if it is not one of ours or has ended.
    pub(crate) fn age(&self, nonce: &str, now: Timestamp) -> Option<Age> {
        let now = span(now);
        let is_of =
            |span| aws_lc_rs::constant_time::verify_slices_are_equal(nonce.as_bytes(), self.of(span).as_bytes());
        if is_of(now).is_ok() {
            return Some(Age::Fresh);
        }
        is_of(now.wrapping_sub(1)).is_ok().then_some(Age::Ageing)
    }

    fn of(&self, span: i64) -> String {
        let code = hmac::sign(&self.0, &span.to_be_bytes());
        URL_SAFE_NO_PAD.encode(code.as_ref().get(..CODE_BYTES).unwrap_or_default())
    }
}

fn span(now: Timestamp) -> i64 {
    now.0.div_euclid(SPAN_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_375_200_000);

    #[test]
    fn a_nonce_counts_for_its_span_and_the_next() {
        let nonces = Nonces::new();
        let nonce = nonces.current(NOW);
        let age = |later| nonces.age(&nonce, NOW.plus_millis(later));
        assert_eq!([age(0), age(119_999)], [Some(Age::Fresh); 2]);
        assert_eq!([age(120_000), age(239_999)], [Some(Age::Ageing); 2]);
        assert_eq!([age(240_000), age(-1), age(i64::from(i32::MAX))], [None; 3]);
    }

    #[test]
    fn a_nonce_of_another_process_is_none_of_ours() {
        let nonce = Nonces::new().current(NOW);
        assert_eq!(Nonces::new().age(&nonce, NOW), None);
        for junk in ["", "a", nonce.split_at(21).0, &format!("{nonce}A")] {
            assert_eq!(Nonces::new().age(junk, NOW), None);
        }
    }

    #[test]
    fn a_nonce_has_the_characters_of_its_header() {
        // RFC 9449 section 8.1: 1*NQCHAR.
        assert!(Nonces::new().current(NOW).bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    }
}
