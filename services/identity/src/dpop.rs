//! Demonstrating proof of possession (RFC 9449), as a resource server.

mod htu;
mod nonce;
mod proof;
mod replay;

#[cfg(test)]
mod vectors;

pub use htu::Origins;
pub use proof::ALGORITHMS;

use crate::refusal::Refusal;
use model::{OrganisationId, Reason, Timestamp};
use nonce::{Age, Nonces};
use proof::Proof;
pub(crate) use proof::Wanted;
#[cfg(any(test, fuzzing))]
pub(crate) use proof::fuzzed_proof;
use replay::{NotNew, UsedProofs};

/// What this process knows of proofs: its nonces, and what has been used.
#[derive(Debug)]
pub(crate) struct Dpop {
    nonces: Nonces,
    used: UsedProofs,
}

/// A good proof that has not been used yet.
#[derive(Debug)]
pub(crate) struct Unused(Proof);

impl Dpop {
    pub(crate) fn new(used_per_organisation_max: usize) -> Self {
        Self { nonces: Nonces::new(), used: UsedProofs::new(used_per_organisation_max) }
    }

    /// Judges a proof, and its nonce if one is demanded.
    pub(crate) fn check(&self, text: &str, wanted: &Wanted<'_>, nonce_demanded: bool) -> Result<Unused, Refusal> {
        let proof = Proof::check(text, wanted)?;
        if nonce_demanded {
            self.check_nonce(proof.nonce.as_deref(), wanted.now)?;
        }
        Ok(Unused(proof))
    }

    fn check_nonce(&self, nonce: Option<&str>, now: Timestamp) -> Result<(), Refusal> {
        let detail = match nonce.map(|nonce| self.nonces.age(nonce, now)) {
            Some(Some(Age::Fresh | Age::Ageing)) => return Ok(()),
            Some(None) => "the proof's `nonce` is not one of ours or has ended; use the one in the header `dpop-nonce`",
            None => "the proof must hold a `nonce`: the one in the header `dpop-nonce`",
        };
        Err(Refusal::new(Reason::NONCE_REQUIRED, detail))
    }

    /// What a proof must hold where nonces are demanded (RFC 9449 section 8).
    pub(crate) fn nonce(&self, now: Timestamp) -> String {
        self.nonces.current(now)
    }

    /// Uses the proof. The last thing of all, so that no request that is refused uses one up.
    pub(crate) fn take(&self, proof: &Unused, organisation: &OrganisationId, now: Timestamp) -> Result<(), Refusal> {
        let Unused(proof) = proof;
        self.used.take(organisation, proof.id, proof.end, now).map_err(|not_new| match not_new {
            NotNew::Used => {
                Refusal::new(Reason::PROOF_REPLAYED, "a proof with this `jti` has been used; make one for each request")
            }
            NotNew::Ended => {
                Refusal::new(Reason::PROOF_REPLAYED, "the proof has ended; make a new one for each request")
            }
            NotNew::Full => Refusal::new(
                Reason::OVERLOADED,
                "your organisation has used as many proofs as are remembered at a time; wait a little",
            ),
        })
    }
}
