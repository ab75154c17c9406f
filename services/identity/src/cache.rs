//! Verified tokens, so that the same token is not verified again for each request.
//!
//! Looked up by SHA-256 of the whole token: no two tokens share an entry, whatever parts they have in common. An entry
//! holds what follows from the bytes and the key ([`Verified`]) and says nothing about whether the token counts now.
//! Only a token that has let somebody in is kept, so strangers cannot fill it, and one that is refused later is dropped.
//! Entries that nobody asks for, expired ones before all, make room for those that are used. All together have a number of
//! bytes, so that an issuer whose tokens are large takes the place of other tokens and not of the broker.

use crate::verified::Verified;
use model::Digest;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::fmt;
use std::sync::Arc;

/// For all of them.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// A larger one is verified for each request. Twice the longest token's text; usual ones take about one.
const ONE_BYTES_MAX: usize = 16 * 1024;

pub(crate) struct VerifiedTokens(Option<Cache<Digest, Arc<Verified>, Weight>>);

/// In bytes; at least what makes the greatest number of them.
#[derive(Clone, Copy)]
struct Weight {
    least: usize,
}

impl Weighter<Digest, Arc<Verified>> for Weight {
    fn weight(&self, _: &Digest, verified: &Arc<Verified>) -> u64 {
        verified.bytes.max(self.least) as u64
    }
}

// === impl VerifiedTokens ===

impl VerifiedTokens {
    /// Holds at most `max` tokens, give or take the rounding of its parts, and 64 MiB; none if it is 0.
    pub(crate) fn new(max: usize) -> Self {
        // Half for those that are asked for again and again: what was popular yesterday has expired today, and must not
        // take long to leave. As many are known by their digest after they had to go, so that they come back for good.
        let bytes = max.saturating_mul(ONE_BYTES_MAX).min(BYTES_MAX);
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(max).weight_capacity(bytes as u64).hot_allocation(0.5).ghost_allocation(1.0);
        let weight = bytes.checked_div(max).map(|least| Weight { least });
        let cache = |(options, weight)| {
            Cache::with_options(options, weight, DefaultHashBuilder::default(), DefaultLifecycle::default())
        };
        Self(options.build().ok().zip(weight).map(cache))
    }

    pub(crate) fn get(&self, fingerprint: &Digest) -> Option<Arc<Verified>> {
        self.0.as_ref()?.get(fingerprint)
    }

    pub(crate) fn keep(&self, verified: Arc<Verified>) {
        if let Some(cache) = self.0.as_ref().filter(|_| verified.bytes <= ONE_BYTES_MAX) {
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
