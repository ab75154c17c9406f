//! The peer's own certificate, as far as it can be judged without its authority's rules.

use crate::refusal::Refusal;
use model::{Reason, SerialNumber, Timestamp};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// An end entity's certificate for client authentication, within its time.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    pub(super) certificate: X509Certificate<'a>,
    pub(super) serial: SerialNumber,
    /// Seconds; from `begins` until before `ends`.
    pub(super) begins: i64,
    pub(super) ends: i64,
}

fn bad(what: &'static str) -> Refusal {
    Refusal::new(Reason::BAD_CERTIFICATE, what)
}

impl<'a> Leaf<'a> {
    pub(super) fn read(der: &'a CertificateDer<'_>, now: Timestamp) -> Result<Self, Refusal> {
        let certificate = parse(der)?;
        let serial = serial(&certificate)?;
        let (begins, ends) = validity(&certificate);
        check_use(&certificate)?;
        if now.seconds() < begins {
            return Err(Refusal::new(Reason::CERTIFICATE_EXPIRED, "the certificate is not valid yet"));
        }
        if now.seconds() >= ends {
            return Err(Refusal::new(Reason::CERTIFICATE_EXPIRED, "the certificate has expired; show a new one"));
        }
        Ok(Self { certificate, serial, begins, ends })
    }
}

pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Refusal> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(bad("the certificate is not well formed")),
    }
}

/// Seconds; until before the second. `notAfter` itself is still in (RFC 5280 section 4.1.2.5).
pub(super) fn validity(certificate: &X509Certificate<'_>) -> (i64, i64) {
    let validity = certificate.validity();
    (validity.not_before.timestamp(), validity.not_after.timestamp().saturating_add(1))
}

/// RFC 5280 section 4.1.2.2. What is negative, zero or too long could not be revoked by its number.
pub(super) fn serial(certificate: &X509Certificate<'_>) -> Result<SerialNumber, Refusal> {
    let bytes = certificate.raw_serial();
    let is_positive = bytes.first().is_some_and(|first| first & 0x80 == 0);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = hex.trim_start_matches('0');
    let serial = SerialNumber::new(digits).ok().filter(|_| is_positive);
    serial.ok_or_else(|| bad("the certificate's serial number is not a positive number of at most 20 octets"))
}

/// RFC 5280 sections 4.2.1.3, 4.2.1.9 and 4.2.1.12. The purpose must be stated: a certificate that may be used for anything
/// was not given to its holder for this.
fn check_use(certificate: &X509Certificate<'_>) -> Result<(), Refusal> {
    let malformed = |_| bad("an extension of the certificate is not well formed, or stands twice");
    if certificate.basic_constraints().map_err(malformed)?.is_some_and(|c| c.value.ca) {
        return Err(bad("the certificate is an authority's own, not a client's"));
    }
    let purposes = certificate.extended_key_usage().map_err(malformed)?;
    if !purposes.is_some_and(|p| p.value.client_auth) {
        return Err(bad("the certificate does not say that it is for client authentication (extendedKeyUsage)"));
    }
    if certificate.key_usage().map_err(malformed)?.is_some_and(|u| !u.value.digital_signature()) {
        return Err(bad("the certificate's key may not sign (keyUsage)"));
    }
    Ok(())
}
