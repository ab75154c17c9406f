//! Who is asking: a bearer token (RFC 6750, RFC 7519) becomes [`model::Authenticated`], or the reason why not.
//!
//! What passes, in the order of the checks (`login`). Everything else is refused.
//!
//! 1. One credential in one place: a token, or else the certificate of the connection (`credential`).
//! 2. A certificate speaks for a principal of its authority's organisation (`certificate`).
//! 3. A token has at most 8 KiB. One without three parts is opaque: the one issuer that its prefix or the host stands for
//!    is asked, and the answer takes the place of 4 to 7 (`introspection`). Any other has three base64url parts without
//!    padding; header and claims are JSON objects without duplicate members; no header member that brings, names or hides
//!    a key or an extension (`token`, `json`).
//! 4. `iss` is, byte for byte, the URL of a configured issuer. No key is looked at before.
//! 5. `alg` is on that issuer's list, and `typ` too if the issuer has one.
//! 6. The key is that issuer's own, fetched from where the issuer says, fit for `alg`, and the only one that answers to
//!    `kid` (`keys`, `jwk`, `fetch`).
//! 7. The signature verifies (`signature`, `verified`). What follows from the bytes and the key is remembered (`cache`);
//!    every other check is made for every request.
//! 8. `iss aud exp iat` and the claim that names the principal are present and typed, `nbf` and `jti` are typed if
//!    present; the audience is ours, the broker's clock lies within the token's time, give or take the issuer's leeway,
//!    and the token is not older than its issuer's may be (`claims`).
//! 9. The sender is the one that the token was given to, as far as the token, its issuer and the organisation ask for it
//!    (`confirmation`, `binding`). Certificate and token are of one organisation.
//! 10. Who acts for whom is said by somebody who can know it (`delegation`).
//! 11. Neither the principal, nor an actor, nor what they were shown with is revoked.
//! 12. A proof of possession has not been used before (`dpop`).
//!
//! The principal belongs to the issuer's organisation, whatever the token says, and so do its roles and actors: an issuer
//! cannot assert another's members.
//!
//! What this crate does **not** do: it does not judge the organisation's status (policies do, so that the refusal is a
//! recorded decision), takes neither clearance nor rights from a token, and takes the time as a parameter.

mod binding;
mod cache;
mod certificate;
mod claims;
mod confirmation;
mod credential;
mod delegation;
mod dpop;
mod explain;
mod fetch;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod introspection;
mod json;
mod jwk;
mod keys;
mod login;
mod refusal;
mod signature;
mod stored;
mod token;
mod verified;
mod waiting;

use arc_swap::ArcSwap;
use cache::VerifiedTokens;
pub use certificate::{AuthorityProblem, ClientAuthorities, PeerCertificate};
use dpop::Dpop;
pub use dpop::{ALGORITHMS as DPOP_ALGORITHMS, Origins};
use explain::Notes;
pub use explain::{Explanation, Failure, Step, StepOutcome};
pub use fetch::key_file_problem;
use http::{HeaderMap, Method};
use introspection::Introspection;
use keys::KeyCache;
use login::World;
use model::party::Parties;
use model::{Authenticated, Binding, IssuerId, Reason, Timestamp};
pub use refusal::LoginError;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
pub use stored::{KeyCacheError, prepare_key_cache};

/// What a request shows of its sender.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    pub headers: &'a HeaderMap,
    /// The query has a parameter `access_token` (RFC 6750 section 2.3).
    pub query_has_access_token: bool,
    pub method: &'a Method,
    /// How the listener that it came to is reached.
    pub origins: &'a Origins,
    /// The host name that was asked, lower case, without the port.
    pub host: Option<&'a str>,
    /// In canonical form, without the query.
    pub path: &'a str,
    /// Of the connection.
    pub certificate: Option<&'a PeerCertificate>,
}

/// How issuers' keys are fetched and kept. How long the last good ones count during an outage says each [`model::party::Issuer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityOptions {
    /// For one fetch in all: connect, TLS, discovery document, key set.
    pub fetch_timeout_ms: u64,
    /// Keys are fetched again after this time when the issuer does not say how long they may be kept.
    pub refresh_default_ms: i64,
    /// What an issuer says about it is clamped to these two: below the first it would make us hammer it, above the second
    /// a withdrawn key would live on for too long.
    pub refresh_min_ms: i64,
    pub refresh_max_ms: i64,
    /// A failed fetch over the network is not tried again before this time has passed, and one that took too long not
    /// before the time that it may take has passed once more.
    pub retry_interval_ms: i64,
    /// Fetches caused by a `kid` that is not known are this far apart at least, per issuer. Anybody can invent a `kid`,
    /// so without it a stranger decides how often we call the issuer.
    pub unknown_key_interval_ms: i64,
    /// A `kid` that the issuer was asked for and does not have is not asked for again before this time has passed.
    pub unknown_key_memory_ms: i64,
    /// Folder where the keys are kept for a restart during an outage; see [`prepare_key_cache`].
    pub key_cache: Option<PathBuf>,
    /// So many verified tokens are remembered, so that each is verified once and not for each request; 0 for none. They
    /// hold their claims, about twice the bytes of a token, and 64 MiB together at most.
    pub verified_tokens_max: usize,
    /// So many proofs (RFC 9449) of one organisation are remembered until they end, one to two minutes, at some 60 bytes
    /// each. Its further requests with proofs are refused until then.
    pub used_proofs_max: usize,
}

impl Default for IdentityOptions {
    fn default() -> Self {
        Self {
            fetch_timeout_ms: 5_000,
            refresh_default_ms: 5 * 60_000,
            refresh_min_ms: 60_000,
            refresh_max_ms: 60 * 60_000,
            retry_interval_ms: 3_000,
            unknown_key_interval_ms: 10_000,
            unknown_key_memory_ms: 60_000,
            key_cache: None,
            verified_tokens_max: 100_000,
            used_proofs_max: 100_000,
        }
    }
}

/// The state of one issuer's keys, for metrics and the operator's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerStatus {
    pub issuer: IssuerId,
    /// Usable keys; 0 before the first successful fetch.
    pub keys: usize,
    pub fetched_at: Option<Timestamp>,
    /// Why the latest fetch failed, if it did. May name internal hosts: not for callers.
    pub failure: Option<String>,
}

/// Fetches of all issuers' keys since the start.
#[derive(Debug, Default)]
pub struct FetchCounts {
    pub good: AtomicU64,
    pub failed: AtomicU64,
}

/// Verifies callers. Holds issuers' keys and what they have verified; who the issuers are and what they may do stands in
/// the [`Parties`] of the generation that a request uses.
#[derive(Debug)]
pub struct Identity {
    options: Arc<IdentityOptions>,
    counts: Arc<FetchCounts>,
    issuers: ArcSwap<Issuers>,
    verified_tokens: VerifiedTokens,
    introspection: Introspection,
    dpop: Dpop,
}

/// By `iss`.
type Issuers = BTreeMap<String, Known>;

#[derive(Clone, Debug)]
struct Known {
    id: IssuerId,
    keys: Arc<KeyCache>,
}

// === impl Identity ===

impl Identity {
    /// Knows no issuer until [`Self::update`].
    pub fn new(options: IdentityOptions) -> Self {
        let verified_tokens = VerifiedTokens::new(options.verified_tokens_max);
        let dpop = Dpop::new(options.used_proofs_max);
        let (options, counts) = (Arc::new(options), Arc::default());
        let introspection = Introspection::default();
        Self { options, counts, issuers: ArcSwap::default(), verified_tokens, introspection, dpop }
    }

    /// Takes over the issuers. Keys of those that are still fetched from the same place in the same way are kept; nothing
    /// is fetched or read before it is needed.
    pub fn update(&self, parties: &Parties) {
        self.issuers.rcu(|old| self.issuers_of(parties, old));
        self.introspection.update(parties, &self.options);
    }

    /// Who sent this request, at the broker's time `now`.
    ///
    /// Must run inside a tokio runtime: keys may have to be fetched, which takes up to
    /// [`IdentityOptions::fetch_timeout_ms`] when none are known, and happens aside otherwise.
    ///
    /// # Errors
    ///
    /// One [`LoginError`] with the reason; its text never holds any part of a credential.
    pub async fn authenticate(
        &self,
        presented: &Presented<'_>,
        parties: &Parties,
        authorities: &ClientAuthorities,
        now: Timestamp,
    ) -> Result<Authenticated, LoginError> {
        let caller = self.login(presented, World { parties, authorities, now }, &mut Notes::none()).await;
        caller.map_err(|error| {
            let wanted = error.reason == Reason::NONCE_REQUIRED;
            LoginError { dpop_nonce: wanted.then(|| self.dpop.nonce(now)), ..error }
        })
    }

    /// The nonce for the caller's next proof (RFC 9449 section 8.2), so that it has a fresh one before its own ends. For
    /// every answer to a caller that needs one; they all get the same.
    pub fn next_nonce(&self, caller: &Authenticated, parties: &Parties, now: Timestamp) -> Option<String> {
        let demanded = || parties.issuers.get(caller.issuer()).is_some_and(|issuer| issuer.dpop_nonce);
        (caller.binding() == Binding::Dpop && demanded()).then(|| self.dpop.nonce(now))
    }

    /// The same login, told check by check.
    pub async fn explain(
        &self,
        presented: &Presented<'_>,
        parties: &Parties,
        authorities: &ClientAuthorities,
        now: Timestamp,
    ) -> Explanation {
        let mut steps = Vec::new();
        let outcome = self.login(presented, World { parties, authorities, now }, &mut Notes::to(&mut steps)).await;
        let failure = outcome.as_ref().err().and_then(|error| self.failure(error.issuer.as_ref()?));
        Explanation { steps, outcome, failure }
    }

    /// How many verified tokens are remembered.
    pub fn verified_tokens(&self) -> usize {
        self.verified_tokens.len()
    }

    pub fn fetches(&self) -> &FetchCounts {
        &self.counts
    }

    /// One entry per issuer, in the order of their URLs.
    pub fn status(&self) -> Vec<IssuerStatus> {
        self.issuers.load().values().map(|known| known.keys.status(&known.id)).collect()
    }

    /// As [`Self::status`], of those whose keys have been asked for.
    pub fn used(&self) -> Vec<IssuerStatus> {
        let issuers = self.issuers.load();
        issuers.values().filter(|known| known.keys.is_used()).map(|known| known.keys.status(&known.id)).collect()
    }

    /// Why this issuer could not be asked the last time, for its keys or about a token.
    fn failure(&self, issuer: &IssuerId) -> Option<Failure> {
        let issuers = self.issuers.load();
        let known = issuers.values().find(|known| known.id == *issuer);
        let keys = known.and_then(|known| known.keys.status(issuer).failure).map(Failure::Keys);
        keys.or_else(|| self.introspection.failure(issuer))
    }

    fn issuers_of(&self, parties: &Parties, old: &Issuers) -> Issuers {
        let shared = shared_urls(parties);
        let unambiguous = parties.issuers.values().filter(|issuer| !shared.contains(issuer.url.as_str()));
        unambiguous
            .map(|issuer| {
                let keys = old.get(&issuer.url).filter(|known| known.keys.serves(issuer));
                let keys = keys.map(|known| Arc::clone(&known.keys)).inspect(|keys| keys.follow(issuer));
                let keys = keys.unwrap_or_else(|| Arc::new(KeyCache::new(issuer, &self.options, &self.counts)));
                (issuer.url.clone(), Known { id: issuer.id.clone(), keys })
            })
            .collect()
    }
}

/// URLs that two issuers claim. Neither gets it: whose members they assert would depend on the order of files.
fn shared_urls(parties: &Parties) -> BTreeSet<&str> {
    let mut seen = BTreeSet::new();
    let shared: BTreeSet<&str> =
        parties.issuers.values().map(|issuer| issuer.url.as_str()).filter(|url| !seen.insert(*url)).collect();
    for url in &shared {
        tracing::error!(url, "two issuers have the same URL; tokens of neither are accepted");
    }
    shared
}

#[cfg(test)]
mod tests;
