//! Proofs that have been used, each until it can no longer be accepted (RFC 9449 section 11.1).
//!
//! Nothing is ever forgotten early: whoever could push a proof out could use it again. So an organisation has a share,
//! and one that has used it up waits; the others do not notice.

use model::{Digest, OrganisationId, Timestamp};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Names a proof by its key and `jti`. Half a SHA-256: to take another's place one would have to find a second preimage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProofId([u8; 16]);

/// Why a proof does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotNew {
    Used,
    /// It may have been used and forgotten.
    Ended,
    /// The organisation's share is used up.
    Full,
}

#[derive(Debug)]
pub(crate) struct UsedProofs {
    share_max: usize,
    shares: RwLock<HashMap<OrganisationId, Arc<Mutex<Share>>>>,
}

/// The proofs of one organisation.
#[derive(Debug, Default)]
struct Share {
    used: HashSet<ProofId>,
    /// By the time from which on they cannot be accepted.
    ends: BTreeMap<Timestamp, Vec<ProofId>>,
    /// What ended up to here is forgotten. The clock may be set back; this is not.
    forgotten: Option<Timestamp>,
}

impl ProofId {
    /// `key` is the thumbprint of the proof's key.
    pub(crate) fn of(key: &Digest, jti: &str) -> Self {
        let mut text = Vec::with_capacity(key.0.len() + jti.len());
        text.extend_from_slice(&key.0);
        text.extend_from_slice(jti.as_bytes());
        let mut id = [0; 16];
        id.iter_mut().zip(Digest::of(&text).0).for_each(|(to, from)| *to = from);
        Self(id)
    }
}

impl UsedProofs {
    /// `share_max`: proofs of one organisation that are remembered at a time, of some 60 bytes each.
    pub(crate) fn new(share_max: usize) -> Self {
        Self { share_max, shares: RwLock::default() }
    }

    /// Uses a proof that is accepted before `end`. Call it when everything else about the request has been accepted.
    pub(crate) fn take(
        &self,
        organisation: &OrganisationId,
        proof: ProofId,
        end: Timestamp,
        now: Timestamp,
    ) -> Result<(), NotNew> {
        let share = self.share_of(organisation);
        let mut share = share.lock().unwrap_or_else(PoisonError::into_inner);
        share.forget(now);
        share.take(proof, end, self.share_max)
    }

    fn share_of(&self, organisation: &OrganisationId) -> Arc<Mutex<Share>> {
        let known = self.shares.read().unwrap_or_else(PoisonError::into_inner).get(organisation).cloned();
        known.unwrap_or_else(|| {
            let mut shares = self.shares.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(shares.entry(organisation.clone()).or_default())
        })
    }
}

impl Share {
    fn take(&mut self, proof: ProofId, end: Timestamp, share_max: usize) -> Result<(), NotNew> {
        if self.forgotten.is_some_and(|forgotten| end <= forgotten) {
            return Err(NotNew::Ended);
        }
        if self.used.contains(&proof) {
            return Err(NotNew::Used);
        }
        if self.used.len() >= share_max {
            return Err(NotNew::Full);
        }
        self.used.insert(proof);
        self.ends.entry(end).or_default().push(proof);
        Ok(())
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(first) = self.ends.first_entry().filter(|first| *first.key() <= now) {
            for proof in first.remove() {
                self.used.remove(&proof);
            }
        }
        self.forgotten = self.forgotten.max(Some(now));
        // What a flood has left behind.
        if self.used.capacity() > 1024 && self.used.len() < self.used.capacity() / 8 {
            self.used.shrink_to(self.used.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_375_200_000);

    fn organisation(name: &str) -> OrganisationId {
        OrganisationId::new(name).unwrap()
    }

    fn id(key: &str, jti: &str) -> ProofId {
        ProofId::of(&Digest::of(key.as_bytes()), jti)
    }

    #[test]
    fn a_proof_is_used_once_until_it_can_no_longer_be_accepted() {
        let used = UsedProofs::new(10);
        let acme = organisation("acme");
        let end = NOW.plus_millis(90_000);
        let take = |at: i64| used.take(&acme, id("key", "1"), end, NOW.plus_millis(at));
        assert_eq!(take(0), Ok(()));
        assert_eq!(take(0), Err(NotNew::Used));
        assert_eq!(take(89_999), Err(NotNew::Used));
        assert_eq!(take(90_000), Err(NotNew::Ended));
        // Set back, the clock does not make it new.
        assert_eq!(take(10), Err(NotNew::Ended));
    }

    #[test]
    fn the_same_jti_of_another_key_is_another_proof() {
        let used = UsedProofs::new(10);
        let acme = organisation("acme");
        for key in ["one", "two"] {
            assert_eq!(used.take(&acme, id(key, "1"), NOW.plus_millis(1), NOW), Ok(()));
        }
        // With another time in it, too: one jti of one key counts once.
        assert_eq!(used.take(&acme, id("one", "1"), NOW.plus_millis(2), NOW), Err(NotNew::Used));
    }

    #[test]
    fn a_flood_of_one_organisations_proofs_locks_out_nobody_else_and_forgets_nothing() {
        let used = UsedProofs::new(1000);
        let (acme, bolt) = (organisation("acme"), organisation("bolt"));
        let end = NOW.plus_millis(90_000);
        assert_eq!(used.take(&bolt, id("bolt", "first"), end, NOW), Ok(()));
        let flood: Vec<_> = (0..5000).map(|n| used.take(&acme, id("acme", &n.to_string()), end, NOW)).collect();
        assert_eq!(flood.iter().filter(|taken| taken.is_ok()).count(), 1000);
        assert!(flood[1000..].iter().all(|taken| *taken == Err(NotNew::Full)));
        assert_eq!(used.take(&acme, id("acme", "0"), end, NOW), Err(NotNew::Used));
        assert_eq!(used.take(&bolt, id("bolt", "first"), end, NOW), Err(NotNew::Used));
        assert_eq!(used.take(&bolt, id("bolt", "second"), end, NOW), Ok(()));
        // When they have ended there is room again, and the memory is given back.
        let later = end;
        assert_eq!(used.take(&acme, id("acme", "new"), later.plus_millis(90_000), later), Ok(()));
        let share = used.share_of(&acme);
        let share = share.lock().unwrap();
        assert!(share.used.len() == 1 && share.ends.len() == 1 && share.used.capacity() < 64);
    }
}
