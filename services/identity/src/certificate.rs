//! Client certificates: what a connection has shown, and whose certificates speak for whom.

use crate::refusal::Refusal;
use model::party::Parties;
use model::{CertificateRef, Digest, Principal, Reason, Timestamp};
use rustls::pki_types::CertificateDer;

/// The certificates that a peer has shown in its TLS handshake, its own first. The handshake has proven that it holds the
/// key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    thumbprint: Digest,
}

/// The trust anchors and revocation lists of all organisations, each for its own organisation alone.
#[derive(Clone, Debug, Default)]
pub struct ClientAuthorities {}

impl PeerCertificate {
    /// `None` without a certificate.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        let thumbprint = Digest::of(chain.first()?);
        Some(Self { chain, thumbprint })
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

/// Whom a certificate speaks for.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    pub(crate) principal: Principal,
    pub(crate) reference: CertificateRef,
    pub(crate) expires: Timestamp,
}

impl ClientAuthorities {
    /// Whose certificate it is, by the authorities of this generation.
    pub(crate) fn judge(&self, _: &PeerCertificate, _: &Parties, _: Timestamp) -> Result<Certified, Refusal> {
        Err(Refusal::new(Reason::UNKNOWN_AUTHORITY, "no authority is registered for this certificate"))
    }
}
