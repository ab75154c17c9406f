//! Client certificates: what a connection has shown, and whose certificates speak for whom.
//!
//! What passes, in the order of the checks. Everything else is refused.
//!
//! 1. A path leads to a trust anchor of **one** organisation: signatures, times, basic constraints, name constraints and
//!    depth by RFC 5280 section 6, each certificate covered by a revocation list in force where there are lists (`chain`).
//! 2. The peer's own certificate is an end entity's, within its time, made for client authentication (`leaf`).
//! 3. The certificate has exactly one name of the kind that its authority goes by, and the name is the authority's to give
//!    (`names`, `dn`).
//! 4. Neither a certificate of the path nor the principal is revoked in the registry.
//!
//! A failure before an anchor's signature was found is always [`Reason::UNKNOWN_AUTHORITY`]: which companies are registered
//! here is nobody's business.

mod authorities;
mod chain;
mod dn;
mod files;
mod leaf;
mod names;

use crate::refusal::{LoginError, Refusal};
use arc_swap::ArcSwapOption;
use authorities::{Index, Trust};
use leaf::Leaf;
use model::party::Parties;
use model::{CertificateRef, Digest, IssuerId, Principal, PrincipalKind, Reason, SerialNumber, Subject, Timestamp};
use rustls::pki_types::CertificateDer;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

/// The certificates that a peer has shown in its TLS handshake, its own first. The handshake has proven that it holds the
/// key.
#[derive(Debug)]
pub struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    thumbprint: Digest,
    /// Over all that was shown.
    shown: Digest,
    /// The last verification: requests of one connection need not repeat it.
    memo: ArcSwapOption<Memo>,
}

/// What came of a certificate under one set of authorities.
#[derive(Debug)]
struct Memo {
    by: Weak<Index>,
    verified: Arc<Verified>,
}

/// The trust anchors and revocation lists of all organisations, each for its own organisation alone. Clones are cheap.
#[derive(Clone, Debug, Default)]
pub struct ClientAuthorities {
    index: Arc<Index>,
}

/// Something wrong with the files of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityProblem {
    pub authority: IssuerId,
    pub file: PathBuf,
    pub what: String,
}

/// Whom a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certified {
    pub(crate) principal: Principal,
    pub(crate) reference: CertificateRef,
    /// Of the first to expire: a certificate of the path, or a revocation list that covers one.
    pub(crate) expires: Timestamp,
}

/// What follows from the certificates and the authorities' files alone, for a while.
#[derive(Debug)]
pub(crate) struct Verified {
    trust: Arc<Trust>,
    subject: Subject,
    serial: SerialNumber,
    /// Of the certificates between the peer's own and the anchor.
    intermediates: Vec<SerialNumber>,
    /// Seconds; from `begins` until before `ends`.
    begins: i64,
    ends: i64,
}

// === impl PeerCertificate ===

impl PeerCertificate {
    /// `None` without a certificate.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        let thumbprint = Digest::of(chain.first()?);
        let all: Vec<u8> = chain.iter().flat_map(|certificate| Digest::of(certificate).0).collect();
        Some(Self { chain, thumbprint, shown: Digest::of(&all), memo: ArcSwapOption::empty() })
    }

    /// SHA-256 over the DER of the peer's own certificate (RFC 8705 section 3.1).
    pub fn thumbprint(&self) -> Digest {
        self.thumbprint
    }

    /// The peer's own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

// === impl ClientAuthorities ===

impl ClientAuthorities {
    /// Reads the files of all authorities of the registry. A file that cannot be read or used keeps its content of
    /// `previous`; an authority that lacks a file altogether vouches for nobody.
    pub fn load(parties: &Parties, previous: &Self) -> (Self, Vec<AuthorityProblem>) {
        let (index, problems) = Index::load(&parties.authorities, &previous.index);
        let same = index.is_same(&previous.index);
        (if same { previous.clone() } else { Self { index: Arc::new(index) } }, problems)
    }

    /// Revocation lists that are past their next update: whoever has a certificate of their issuer is refused.
    pub fn overdue(&self, now: Timestamp) -> Vec<AuthorityProblem> {
        self.index.overdue(now)
    }

    /// Names the content of all files in use.
    pub fn digest(&self) -> Digest {
        self.index.digest()
    }

    /// Whether the two are one and the same.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.index, &other.index)
    }

    /// Whether there is nobody whose certificates would count.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// What a TLS handshake is accepted by, before the peer has proven that it holds the key.
    ///
    /// # Errors
    /// Why not. Names an authority only if that has signed the certificate.
    pub fn admit(&self, peer: &PeerCertificate, parties: &Parties, now: Timestamp) -> Result<(), LoginError> {
        let verified = self.verified(peer, now)?;
        match verified.certify(parties) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal.by(&verified.trust.authority.id)),
        }
    }

    /// Until when the certificate counts as it does now; `None` if it does not count.
    pub fn stands_until(&self, peer: &PeerCertificate, parties: &Parties, now: Timestamp) -> Option<Timestamp> {
        self.judge(peer, parties, now).ok().map(|certified| certified.expires)
    }

    /// Whose certificate it is, by the authorities of this generation.
    pub(crate) fn judge(
        &self,
        peer: &PeerCertificate,
        parties: &Parties,
        now: Timestamp,
    ) -> Result<Certified, Refusal> {
        self.verified(peer, now)?.certify(parties)
    }

    fn verified(&self, peer: &PeerCertificate, now: Timestamp) -> Result<Arc<Verified>, Refusal> {
        if let Some(memo) = &*peer.memo.load()
            && std::ptr::eq(memo.by.as_ptr(), Arc::as_ptr(&self.index))
            && memo.verified.holds(now)
        {
            return Ok(memo.verified.clone());
        }
        let verified = match self.index.remembered(&peer.shown).filter(|v| v.holds(now)) {
            Some(verified) => verified,
            None => self.verify_new(peer, now)?,
        };
        let memo = Memo { by: Arc::downgrade(&self.index), verified: verified.clone() };
        peer.memo.store(Some(Arc::new(memo)));
        Ok(verified)
    }

    fn verify_new(&self, peer: &PeerCertificate, now: Timestamp) -> Result<Arc<Verified>, Refusal> {
        let verified = Arc::new(self.verify(peer, now)?);
        // Only what is made of nothing but its path: who pads it with other certificates must not fill the memory.
        if verified.intermediates.len() + 1 == peer.chain.len() {
            self.index.remember(peer.shown, &verified);
        }
        Ok(verified)
    }

    fn verify(&self, peer: &PeerCertificate, now: Timestamp) -> Result<Verified, Refusal> {
        let Some((own, intermediates)) = peer.chain.split_first() else {
            return Err(Refusal::new(Reason::BAD_CERTIFICATE, "there is no certificate"));
        };
        // A root may be shown too. Before any work: how many orders there are to try is the peer's choice.
        if self.index.intermediates_max().is_some_and(|max| intermediates.len() > usize::from(max) + 1) {
            return Err(Refusal::new(
                Reason::BAD_CERTIFICATE,
                "more certificates are shown than any authority here allows",
            ));
        }
        let shown = chain::Shown::parse(own, intermediates)?;
        let (trust, path) = self.path(&shown, now)?;
        let leaf = Leaf::read(own, now)?;
        let subject = names::subject(&leaf, &trust.authority.names)?;
        Ok(Verified {
            subject,
            serial: leaf.serial.clone(),
            begins: path.begins.max(leaf.begins),
            ends: path.ends.min(leaf.ends),
            intermediates: path.serials,
            trust,
        })
    }

    /// The one authority that a path leads to. Several of one organisation are told apart by the names they may give;
    /// several organisations are not told apart at all.
    fn path(&self, shown: &chain::Shown<'_>, now: Timestamp) -> Result<(Arc<Trust>, chain::Path), Refusal> {
        let candidates = self.index.candidates(shown);
        let mut accepted = Vec::new();
        let mut refused = None;
        for trust in candidates {
            match chain::verify(trust, shown, now) {
                Ok(path) => accepted.push((trust, path)),
                Err(refusal) if refusal.reason == Reason::UNKNOWN_AUTHORITY => {}
                // What is wrong with the certificate itself says more.
                Err(refusal) => refused = Some(Leaf::read(shown.own(), now).err().unwrap_or(refusal)),
            }
        }
        let organisations: BTreeSet<_> = accepted.iter().map(|(trust, _)| &trust.authority.organisation).collect();
        if organisations.len() > 1 {
            let what = "authorities of several organisations vouch for the certificate; it speaks for none of them";
            return Err(Refusal::new(Reason::BAD_CERTIFICATE, what));
        }
        if accepted.len() > 1 {
            let leaf = Leaf::read(shown.own(), now)?;
            accepted.retain(|(trust, _)| names::subject(&leaf, &trust.authority.names).is_ok());
            if accepted.len() != 1 {
                let what = "the certificate has not one name by the rules of exactly one of its authorities";
                return Err(Refusal::new(Reason::BAD_CERTIFICATE, what));
            }
        }
        match accepted.pop() {
            Some((trust, path)) => Ok((trust.clone(), path)),
            None => Err(refused.unwrap_or_else(chain::unknown)),
        }
    }
}

// === impl Verified ===

impl Verified {
    fn holds(&self, now: Timestamp) -> bool {
        (self.begins..self.ends).contains(&now.seconds())
    }

    fn certify(&self, parties: &Parties) -> Result<Certified, Refusal> {
        let authority = &self.trust.authority;
        let revoked = &parties.revocations;
        let is_revoked = |serial: &SerialNumber| {
            let reference = CertificateRef { authority: authority.id.clone(), serial: serial.clone() };
            revoked.certificates.contains(&reference)
        };
        if !revoked.certificates.is_empty() && (is_revoked(&self.serial) || self.intermediates.iter().any(is_revoked)) {
            return Err(Refusal::new(Reason::REVOKED, "this certificate, or one that vouches for it, is revoked"));
        }
        let member = (authority.organisation.clone(), self.subject.clone());
        if revoked.principals.contains(&member) {
            return Err(Refusal::new(Reason::REVOKED, "the principal of this certificate is revoked"));
        }
        let kind: PrincipalKind = parties.principals.get(&member).map_or(authority.principal_kind, |r| r.kind);
        let (organisation, subject) = member;
        Ok(Certified {
            principal: Principal { organisation, kind, subject },
            reference: CertificateRef { authority: authority.id.clone(), serial: self.serial.clone() },
            expires: Timestamp(self.ends.saturating_mul(1_000)),
        })
    }
}

/// The subject that a certificate would stand for by this rule if somebody had signed it.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzed_name(
    der: &CertificateDer<'_>,
    rule: &model::party::CertificateNames,
    now: Timestamp,
) -> Option<String> {
    let leaf = Leaf::read(der, now).ok()?;
    names::subject(&leaf, rule).ok().map(|subject| subject.as_str().to_owned())
}

#[cfg(test)]
mod tests;
