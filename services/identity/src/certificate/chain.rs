//! A path from a certificate to a trust anchor of one authority.

use super::authorities::Trust;
use super::leaf;
use crate::refusal::Refusal;
use model::{Reason, SerialNumber, Timestamp};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use std::time::Duration;
use webpki::{
    EndEntityCert, Error, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage,
    RevocationOptionsBuilder, VerifiedPath,
};

/// More than any registered authority allows for, and few enough that trying their orders is cheap.
const SHOWN_MAX: usize = 8;

/// What a peer has shown, parsed and not yet believed.
pub(super) struct Shown<'a> {
    der: &'a CertificateDer<'static>,
    own: EndEntityCert<'a>,
    intermediates: &'a [CertificateDer<'static>],
    /// Names of issuers (DER, without the outer header), of all that was shown.
    issuers: Vec<Vec<u8>>,
}

/// A path that leads to an anchor.
#[derive(Debug)]
pub(super) struct Path {
    /// Of the certificates between the peer's own and the anchor.
    pub(super) serials: Vec<SerialNumber>,
    /// Seconds; from `begins` until before `ends` the same path verifies, as far as it is not the peer's own
    /// certificate that ends it.
    pub(super) begins: i64,
    pub(super) ends: i64,
}

fn bad(what: &'static str) -> Refusal {
    Refusal::new(Reason::BAD_CERTIFICATE, what)
}

/// The one answer to certificates that nobody here has signed.
pub(super) fn unknown() -> Refusal {
    Refusal::new(Reason::UNKNOWN_AUTHORITY, "no authority registered here vouches for the certificate")
}

// === impl Shown ===

impl<'a> Shown<'a> {
    pub(super) fn parse(
        der: &'a CertificateDer<'static>,
        intermediates: &'a [CertificateDer<'static>],
    ) -> Result<Self, Refusal> {
        if intermediates.len() >= SHOWN_MAX {
            return Err(bad("too many certificates are shown"));
        }
        let parse = |der| EndEntityCert::try_from(der).map_err(|_| bad("a certificate is not well formed"));
        let own = parse(der)?;
        let mut issuers = vec![own.issuer().to_vec()];
        for certificate in intermediates {
            let name = parse(certificate)?.issuer().to_vec();
            if !issuers.contains(&name) {
                issuers.push(name);
            }
        }
        Ok(Self { der, own, intermediates, issuers })
    }

    pub(super) fn own(&self) -> &'a CertificateDer<'static> {
        self.der
    }

    pub(super) fn issuers(&self) -> &[Vec<u8>] {
        &self.issuers
    }
}

/// Verifies what was shown against the anchors and revocation lists of one authority.
pub(super) fn verify(trust: &Trust, shown: &Shown<'_>, now: Timestamp) -> Result<Path, Refusal> {
    // A root may be shown too, though it need not be.
    if shown.intermediates.len() > usize::from(trust.authority.intermediates_max) + 1 {
        // Whether it has signed any of them is not worth the search.
        return Err(unknown());
    }
    let mut refused = Error::UnknownIssuer;
    for lists in trust.lists() {
        match attempt(trust, shown, &lists, now) {
            Ok(path) => return path,
            Err(Error::CertRevoked) => {
                refused = Error::CertRevoked;
                break;
            }
            // Another key of the same name may have signed the list that counts. Of two keys
            // webpki reports the error of either; a list counts only under the key that signed the certificate.
            Err(error) if matches!(refused, Error::UnknownIssuer | Error::InvalidCrlSignatureForPublicKey) => {
                refused = error;
            }
            Err(_) => {}
        }
    }
    // Who has no signature of the authority learns nothing about it.
    if refused == Error::NameConstraintViolation || is_signed(trust, shown) {
        Err(refusal(&refused))
    } else {
        Err(unknown())
    }
}

fn attempt(
    trust: &Trust,
    shown: &Shown<'_>,
    lists: &[&super::files::List],
    now: Timestamp,
) -> Result<Result<Path, Refusal>, Error> {
    let parsed: Vec<_> = lists.iter().map(|list| &list.parsed).collect();
    let revocation = RevocationOptionsBuilder::new(&parsed).ok();
    let revocation = revocation.map(|builder| builder.with_expiration_policy(ExpirationPolicy::Enforce).build());
    let fits = |path: &VerifiedPath<'_>| fits(trust, path, now);
    let path = shown.own.verify_for_usage(
        algorithms(),
        trust.anchors(),
        shown.intermediates,
        unix(now),
        KeyUsage::client_auth(),
        revocation,
        Some(&fits),
    )?;
    Ok(describe(trust, &path, lists, now))
}

/// What webpki does not ask: the depth that this authority may have, and the anchor's own time.
fn fits(trust: &Trust, path: &VerifiedPath<'_>, now: Timestamp) -> Result<(), Error> {
    if path.intermediate_certificates().count() > usize::from(trust.authority.intermediates_max) {
        return Err(Error::MaximumPathDepthExceeded);
    }
    let (begins, ends) = trust.validity_of(path.anchor());
    if (begins..ends).contains(&now.seconds()) {
        return Ok(());
    }
    let (time, not_after) = (unix(now), unix(Timestamp(ends.saturating_mul(1_000))));
    Err(Error::CertExpired { time, not_after })
}

fn describe(
    trust: &Trust,
    path: &VerifiedPath<'_>,
    lists: &[&super::files::List],
    now: Timestamp,
) -> Result<Path, Refusal> {
    let (mut begins, mut ends) = trust.validity_of(path.anchor());
    let mut serials = Vec::new();
    let mut issuers = vec![path.end_entity().issuer()];
    for intermediate in path.intermediate_certificates() {
        let der = intermediate.der();
        let certificate = leaf::parse(&der)?;
        let (from, until) = leaf::validity(&certificate);
        (begins, ends) = (begins.max(from), ends.min(until));
        serials.push(leaf::serial(&certificate)?);
        // RFC 5280 section 6.1.4 (n), which webpki leaves out.
        let usage = certificate.key_usage().map_err(|_| bad("an extension of a certificate is not well formed"))?;
        if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(bad("a certificate that vouches for another may not sign certificates (keyUsage)"));
        }
        issuers.push(intermediate.issuer());
    }
    // A list that is out of date and was not needed does not end anything.
    let counting = lists.iter().filter(|list| issuers.contains(&list.parsed.issuer()));
    let updates = counting.map(|list| list.next_update).filter(|next| *next > now.seconds());
    Ok(Path { serials, begins, ends: updates.fold(ends, i64::min) })
}

/// Whether a signature of the authority is on it at all, whatever else is wrong: at the time it was made, for any use,
/// revoked or not.
fn is_signed(trust: &Trust, shown: &Shown<'_>) -> bool {
    let Ok(certificate) = leaf::parse(shown.der) else { return false };
    let (begins, _) = leaf::validity(&certificate);
    let made = unix(Timestamp(begins.saturating_mul(1_000)));
    shown.own.verify_for_usage(algorithms(), trust.anchors(), shown.intermediates, made, AnyUse, None, None).is_ok()
}

struct AnyUse;

impl ExtendedKeyUsageValidator for AnyUse {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

fn too_deep() -> Refusal {
    bad("more certificates lie between this one and its authority than are allowed")
}

fn refusal(error: &Error) -> Refusal {
    let expired = |what| Refusal::new(Reason::CERTIFICATE_EXPIRED, what);
    match error {
        Error::CertRevoked => {
            Refusal::new(Reason::REVOKED, "the authority has revoked this certificate, or one that vouches for it")
        }
        Error::CertExpired { .. } => expired("a certificate that vouches for this one has expired"),
        Error::CertNotValidYet { .. } => expired("a certificate that vouches for this one is not valid yet"),
        Error::CrlExpired { .. } => bad("the authority's revocation list is out of date"),
        Error::UnknownRevocationStatus => bad("no revocation list of the authority covers the certificate"),
        Error::InvalidCrlSignatureForPublicKey | Error::IssuerNotCrlSigner => {
            bad("the authority's revocation list is not signed by who issued the certificate")
        }
        Error::NameConstraintViolation => bad("the certificate's issuer may not give it this name"),
        Error::MaximumPathDepthExceeded => too_deep(),
        Error::RequiredEkuNotFoundContext(_) => {
            bad("a certificate that vouches for this one is not for client authentication")
        }
        _ => bad("the certificate does not verify"),
    }
}

/// What rustls allows with aws-lc: RSA from 2,048 bits, NIST curves, Ed25519, with SHA-256 or better.
fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    static ALGORITHMS: std::sync::LazyLock<&[&dyn SignatureVerificationAlgorithm]> = std::sync::LazyLock::new(|| {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all
    });
    &ALGORITHMS
}

fn unix(time: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.seconds()).unwrap_or(0)))
}
