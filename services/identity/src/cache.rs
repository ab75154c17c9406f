//! Verified tokens, so that the same token is not verified again for each request.
//!
//! Looked up by SHA-256 of the whole token: no two tokens share an entry, whatever parts they have in common. An entry
//! holds what follows from the bytes and the key ([`Verified`]) and says nothing about whether the token counts now.
//! Only a token that has let somebody in is kept, so strangers cannot fill it, and one that is refused later is dropped.
//! Entries that nobody asks for, expired ones before all, make room for those that are used.

use crate::verified::Verified;
use model::Digest;
use quick_cache::sync::Cache;
use std::fmt;
use std::sync::Arc;

pub(crate) struct VerifiedTokens(Option<Cache<Digest, Arc<Verified>>>);

// === impl VerifiedTokens ===

impl VerifiedTokens {
    /// Holds `max` tokens, give or take the rounding of its parts; none if it is 0.
    pub(crate) fn new(max: usize) -> Self {
        Self((max > 0).then(|| Cache::new(max)))
    }

    pub(crate) fn get(&self, fingerprint: &Digest) -> Option<Arc<Verified>> {
        self.0.as_ref()?.get(fingerprint)
    }

    pub(crate) fn keep(&self, verified: Arc<Verified>) {
        if let Some(cache) = &self.0 {
            cache.insert(verified.fingerprint, verified);
        }
    }

    pub(crate) fn forget(&self, fingerprint: &Digest) {
        if let Some(cache) = &self.0 {
            cache.remove(fingerprint);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, Cache::len)
    }
}

impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedTokens").field("len", &self.len()).finish()
    }
}
