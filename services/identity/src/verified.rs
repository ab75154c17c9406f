//! What follows from a token's bytes and the key that verified it, and from nothing else.
//!
//! That is what may be remembered ([`crate::cache`]). Whatever depends on the clock, the registry, the connection or the
//! request is judged again each time.

use crate::confirmation::Confirmation;
use crate::jwk::Key;
use crate::refusal::Refusal;
use crate::signature;
use crate::token::{Parts, Token};
use model::Digest;
use model::party::SignatureAlgorithm;
use std::sync::Arc;

/// A token whose signature is good.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) token: Token<'static>,
    pub(crate) confirmation: Confirmation,
    /// SHA-256 of the token's text.
    pub(crate) fingerprint: Digest,
    /// What remembering it takes, about.
    pub(crate) bytes: usize,
    key: Arc<Key>,
}

// === impl Verified ===

impl Verified {
    pub(crate) fn new(
        token: Token<'_>,
        parts: &Parts<'_>,
        key: Arc<Key>,
        algorithm: SignatureAlgorithm,
        fingerprint: Digest,
    ) -> Result<Self, Refusal> {
        signature::verify(parts, &key, algorithm)?;
        let confirmation = Confirmation::read(token.claims.get("cnf"))?;
        let token = token.into_owned();
        let bytes = size_of::<Self>() + token.heap_bytes();
        Ok(Self { token, confirmation, fingerprint, bytes, key })
    }

    /// Whether `key` is the very key that verified it: not one that is equal, but one that has been the issuer's without
    /// a break.
    pub(crate) fn is_by(&self, key: &Arc<Key>) -> bool {
        Arc::ptr_eq(&self.key, key)
    }
}
