//! Verified tokens, so that the same token is not verified again for each request.
//!
//! Looked up by SHA-256 of the whole token: no two tokens share an entry, whatever parts they have in common. An entry
//! holds what follows from the bytes and the key ([`Verified`]) and says nothing about whether the token counts now.
//! Only a token that has let somebody in is kept, so strangers cannot fill it, and one that is refused later is dropped.
//! Entries that nobody asks for, expired ones before all, make room for those that are used.

use crate::verified::Verified;
use model::Digest;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};
use std::fmt;
use std::sync::Arc;

pub(crate) struct VerifiedTokens(Option<Cache<Digest, Arc<Verified>>>);

// === impl VerifiedTokens ===

impl VerifiedTokens {
    /// Holds `max` tokens, give or take the rounding of its parts; none if it is 0.
    pub(crate) fn new(max: usize) -> Self {
        // Half for those that are asked for again and again: what was popular yesterday has expired today, and must not
        // take long to leave. As many are known by their digest after they had to go, so that they come back for good.
        let weight = u64::try_from(max).unwrap_or(u64::MAX);
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(max).weight_capacity(weight).hot_allocation(0.5).ghost_allocation(1.0);
        let options = options.build().ok().filter(|_| max > 0);
        let cache = |options| {
            Cache::with_options(options, UnitWeighter, DefaultHashBuilder::default(), DefaultLifecycle::default())
        };
        Self(options.map(cache))
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
