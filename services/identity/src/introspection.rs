//! Opaque tokens: whose they are, and what their issuer says of them (RFC 7662).
//!
//! What passes:
//!
//! 1. A token of the characters of RFC 6750 section 2.1 that begins with the prefix of one issuer, or else comes to the
//!    host name of one. That issuer is asked, and never another one: who sees a token can use it. An actor's token counts
//!    by its prefix alone, because the host says whose the other token is.
//! 2. An answer of the issuer's endpoint that is one JSON object with `active` (`question`, `answer`). `false` refuses.
//! 3. An answer of now: it is remembered for as long as the registry says, and judged by clock, registry, binding and
//!    revocation each time (`desk`).

mod answer;
mod desk;
mod question;
mod share;

use crate::IdentityOptions;
use crate::explain::Failure;
use crate::refusal::Refusal;
pub(crate) use answer::{Answer, check as check_answer};
use arc_swap::ArcSwap;
use desk::Desk;
use model::IssuerId;
use model::party::{Issuer, Parties};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// What remembered answers of all issuers may take. Each has the same share, so that none fills another's.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Whose opaque tokens are whose. Follows the registry; a request's own generation has the last word.
#[derive(Debug, Default)]
pub(crate) struct Introspection(ArcSwap<Desks>);

#[derive(Clone, Debug, Default)]
struct Desks {
    all: BTreeMap<IssuerId, Arc<Desk>>,
    /// None begins with another one.
    prefixes: BTreeMap<String, IssuerId>,
    hosts: BTreeMap<String, IssuerId>,
}

// === impl Introspection ===

impl Introspection {
    /// Takes over the issuers. What is remembered of those whose configuration stays is kept.
    pub(crate) fn update(&self, parties: &Parties, options: &IdentityOptions) {
        self.0.rcu(|old| Desks::new(parties, old, options));
    }

    /// The one issuer that may see this token, and who asks it.
    pub(crate) fn find<'w>(
        &self,
        token: &str,
        host: Option<&str>,
        parties: &'w Parties,
    ) -> Result<(&'w Issuer, Arc<Desk>), Refusal> {
        const NOBODYS: &str =
            "the token has not exactly three parts, and no issuer here has opaque ones that begin like it";
        if !is_token68(token) {
            return Err(Refusal::malformed("the token has characters that no token has (RFC 6750 section 2.1)"));
        }
        let desks = self.0.load();
        let desk = desks.of(token, host).ok_or_else(|| Refusal::malformed(NOBODYS))?;
        let issuer = parties.issuers.get(desk.issuer()).filter(|issuer| desk.serves(issuer));
        issuer.map(|issuer| (issuer, Arc::clone(desk))).ok_or_else(|| Refusal::malformed(NOBODYS))
    }

    /// Why this issuer could not be asked the last time, if it could not.
    pub(crate) fn failure(&self, issuer: &IssuerId) -> Option<Failure> {
        self.0.load().all.get(issuer)?.failure()
    }
}

/// `token68` of RFC 9110 section 11.2, which is the `b64token` of RFC 6750.
fn is_token68(token: &str) -> bool {
    let text = token.trim_end_matches('=');
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !text.is_empty() && text.bytes().all(is_allowed)
}

// === impl Desks ===

impl Desks {
    fn new(parties: &Parties, old: &Self, options: &IdentityOptions) -> Self {
        let of = |issuer: &Issuer| {
            let same = old.all.get(&issuer.id).filter(|desk| desk.serves(issuer));
            same.cloned().or_else(|| Desk::open(issuer, options).map(Arc::new))
        };
        let all = parties.issuers.values().filter_map(|issuer| Some((issuer.id.clone(), of(issuer)?))).collect();
        let all: BTreeMap<IssuerId, Arc<Desk>> = all;
        let share = BYTES_MAX / all.len().max(1);
        all.values().for_each(|desk| desk.allot(share));
        let asked = || parties.issuers.values().filter_map(|i| Some((&i.id, i.introspection.as_ref()?)));
        let prefixes = asked().filter_map(|(id, i)| Some((i.prefix.clone()?, id.clone())));
        let hosts = asked().filter_map(|(id, i)| Some((i.host.clone()?, id.clone())));
        Self { all, prefixes: without_ambiguous(prefixes, true), hosts: without_ambiguous(hosts, false) }
    }

    fn of(&self, token: &str, host: Option<&str>) -> Option<&Arc<Desk>> {
        // As none begins with another, the one that the token begins with is the last that is not after it.
        let last = self.prefixes.range::<str, _>((Bound::Unbounded, Bound::Included(token))).next_back();
        let by_prefix = last.filter(|(prefix, _)| token.starts_with(prefix.as_str())).map(|(_, id)| id);
        let id = by_prefix.or_else(|| self.hosts.get(host?))?;
        self.all.get(id)
    }
}

/// Without the names that two issuers claim. The registry refuses them; neither gets them here either, because the token
/// of one would be shown to the other.
fn without_ambiguous(
    names: impl Iterator<Item = (String, IssuerId)>,
    beginnings_clash: bool,
) -> BTreeMap<String, IssuerId> {
    let mut names: Vec<(String, IssuerId)> = names.collect();
    names.sort_unstable();
    let mut clashes = BTreeSet::new();
    let mut first: Option<&(String, IssuerId)> = None;
    for one in &names {
        // Sorted, all that begin with a name follow it.
        match first {
            Some(known) if known.0 == one.0 || (beginnings_clash && one.0.starts_with(&known.0)) => {
                tracing::error!(name = one.0, issuer = %one.1, other = %known.1, "two issuers' opaque tokens look alike");
                clashes.extend([known.0.clone(), one.0.clone()]);
            }
            _ => first = Some(one),
        }
    }
    names.into_iter().filter(|(name, _)| !clashes.contains(name)).collect()
}
