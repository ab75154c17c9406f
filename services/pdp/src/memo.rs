//! Decisions that this snapshot has made already.
//!
//! A decision is a function of the snapshot, of who asks what, and of the time; of the time only from one of the
//! snapshot's [`Moments`] to the next. So it is made once for everybody who is the same to policies, whatever token they
//! hold. What is remembered is the decision as it was made, record included; it is dropped with its snapshot.
//!
//! Not remembered, and so always made anew: decisions for anybody who is revoked, decisions in which a policy failed, and
//! questions whose words a caller made up, which would only push out what others need.

use crate::decision::{Decision, Denial, Permit};
use crate::moments::Moments;
use crate::snapshot::Snapshot;
use model::principal::Facts;
use model::{AccessRequest, Action, AgreementId, Country, PurposeId, ResourceRef, Shape};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of remembered decisions in one snapshot.
pub(crate) const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Places with a lock of their own.
const SHARDS: usize = 16;
/// A shard has two halves; see [`Shard`].
const HALF_BYTES_MAX: usize = BYTES_MAX / SHARDS / 2;
/// A remembered decision beside its slice: identifiers, policy ids, what it says to the caller.
const BYTES_BESIDE: usize = 2 * 1024;

#[derive(Debug)]
pub(crate) struct Memo {
    moments: Moments,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// Decisions by the hash of their question. When the young half is full it becomes the old one, and the old one goes: what
/// is asked again and again stays.
#[derive(Debug, Default)]
struct Shard {
    young: HashMap<u64, Arc<Remembered>>,
    old: HashMap<u64, Arc<Remembered>>,
    bytes: usize,
}

#[derive(Debug)]
struct Remembered {
    interval: usize,
    references: Box<[Box<str>]>,
    /// Holds the request as it was asked first.
    decision: Decision,
}

/// Everything that a decision depends on beside the snapshot.
#[derive(PartialEq, Eq, Hash)]
struct Question<'a> {
    caller: Facts<'a>,
    action: Action,
    resource: &'a ResourceRef,
    purpose: Option<&'a PurposeId>,
    agreement: Option<&'a AgreementId>,
    shape: Shape,
    country: Option<Country>,
    interval: usize,
}

impl<'a> Question<'a> {
    /// Names every member, so that a new one is not forgotten here.
    fn new(request: &'a AccessRequest, interval: usize) -> Self {
        let AccessRequest { caller, action, resource, purpose, agreement, shape, country, now: _ } = request;
        Self {
            caller: caller.facts(),
            action: *action,
            resource,
            purpose: purpose.as_ref(),
            agreement: agreement.as_ref(),
            shape: *shape,
            country: *country,
            interval,
        }
    }
}

impl Memo {
    pub(crate) fn new(moments: Moments) -> Self {
        Self { moments, hasher: RandomState::new(), shards: Default::default() }
    }

    /// The decision as it was made before, or as `decide` makes it now.
    pub(crate) fn recall(
        &self,
        snapshot: &Snapshot,
        request: AccessRequest,
        references: &[&str],
        decide: impl FnOnce(AccessRequest) -> Decision,
    ) -> Decision {
        if request.caller.is_revoked(&snapshot.parties.revocations) {
            return decide(request);
        }
        let interval = self.moments.interval(request.now);
        let question = Question::new(&request, interval);
        let hash = self.hasher.hash_one((&question, references));
        if let Some(found) = self.find(hash).filter(|found| found.answers(&question, references)) {
            return found.decision.again(request);
        }
        let own_words = is_made_up(snapshot, &request);
        let decision = decide(request);
        if !own_words && decision.is_sound() {
            let references = references.iter().map(|r| Box::from(*r)).collect();
            self.keep(hash, Remembered { interval, references, decision: decision.copy() });
        }
        decision
    }

    fn find(&self, hash: u64) -> Option<Arc<Remembered>> {
        let mut shard = self.shard(hash)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = shard.young.get(&hash) {
            return Some(Arc::clone(found));
        }
        let found = shard.old.remove(&hash)?;
        shard.insert(hash, Arc::clone(&found));
        Some(found)
    }

    fn keep(&self, hash: u64, remembered: Remembered) {
        if let Some(shard) = self.shard(hash) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, Arc::new(remembered));
        }
    }

    fn shard(&self, hash: u64) -> Option<&Mutex<Shard>> {
        let [first, ..] = hash.to_be_bytes();
        self.shards.get(usize::from(first) % SHARDS)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().held()).sum()
    }
}

impl Shard {
    fn insert(&mut self, hash: u64, remembered: Arc<Remembered>) {
        let bytes = remembered.bytes();
        if self.bytes + bytes > HALF_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += bytes;
        if let Some(replaced) = self.young.insert(hash, remembered) {
            self.bytes -= replaced.bytes();
        }
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.young.values().chain(self.old.values()).map(|remembered| remembered.bytes()).sum()
    }
}

impl Remembered {
    /// Whether it is this very question; two may have one hash.
    fn answers(&self, question: &Question<'_>, references: &[&str]) -> bool {
        let same = references.len() == self.references.len()
            && self.references.iter().zip(references).all(|(ours, theirs)| **ours == **theirs);
        same && Question::new(self.decision.request(), self.interval) == *question
    }

    fn bytes(&self) -> usize {
        self.decision.slice().bytes.len() + BYTES_BESIDE
    }
}

/// Purposes and agreements are headers, and a caller can write anything there; audit scopes come from a query.
fn is_made_up(snapshot: &Snapshot, request: &AccessRequest) -> bool {
    let known_purpose = request.purpose.as_ref().is_none_or(|p| snapshot.plant.purposes.contains_key(p));
    let known_agreement = request.agreement.as_ref().is_none_or(|a| snapshot.parties.agreements.contains_key(a));
    !(known_purpose && known_agreement && snapshot.offer.data.contains_key(&request.resource))
}

impl Decision {
    fn request(&self) -> &AccessRequest {
        match self {
            Self::Permit(permit) => &permit.request,
            Self::Denied(denial) => &denial.request,
        }
    }

    fn slice(&self) -> &model::entry::Content {
        match self {
            Self::Permit(permit) => &permit.slice,
            Self::Denied(denial) => &denial.slice,
        }
    }

    /// No policy failed.
    fn is_sound(&self) -> bool {
        match self {
            Self::Permit(_) => true,
            Self::Denied(denial) => denial.errors.is_empty(),
        }
    }

    fn copy(&self) -> Self {
        self.again(self.request().clone())
    }

    /// The same decision for a request that is the same to policies.
    pub(crate) fn again(&self, request: AccessRequest) -> Self {
        match self {
            Self::Permit(permit) => Self::Permit(permit.again(request)),
            Self::Denied(denial) => Self::Denied(Denial { request, ..denial.clone() }),
        }
    }
}

impl Permit {
    fn again(&self, request: AccessRequest) -> Self {
        let Self {
            request: _,
            agreement,
            actor_agreements,
            policies,
            digests,
            slice,
            inputs,
            classes_revealed,
            classes_hidden,
            kinds_hidden,
            kinds_shown,
            kinds_alike,
            raised,
            demands,
            generation,
        } = self;
        Self {
            request,
            agreement: agreement.clone(),
            actor_agreements: actor_agreements.clone(),
            policies: Arc::clone(policies),
            digests: *digests,
            slice: slice.clone(),
            inputs: inputs.clone(),
            classes_revealed: Arc::clone(classes_revealed),
            classes_hidden: Arc::clone(classes_hidden),
            kinds_hidden: Arc::clone(kinds_hidden),
            kinds_shown: Arc::clone(kinds_shown),
            kinds_alike: kinds_alike.clone(),
            raised: *raised,
            demands: *demands,
            generation: *generation,
        }
    }
}
