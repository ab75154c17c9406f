//! Trust anchors and revocation lists, read from files.

use super::leaf;
use model::Digest;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor};
use std::io::Read as _;
use std::path::Path;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

/// A bundle of anchors is some kilobytes.
const ANCHORS_BYTES_MAX: u64 = 1 << 20;
/// A million revoked certificates are some 40 MB.
const LISTS_BYTES_MAX: u64 = 64 << 20;

/// The content of a `ca_file`.
#[derive(Debug)]
pub(super) struct Anchors {
    pub(super) digest: Digest,
    pub(super) all: Vec<Anchor>,
}

#[derive(Clone, Debug)]
pub(super) struct Anchor {
    pub(super) trusted: TrustAnchor<'static>,
    /// Seconds; from `begins` until before `ends`.
    pub(super) begins: i64,
    pub(super) ends: i64,
}

/// The content of a file of `crl_files`.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) digest: Digest,
    pub(super) all: Vec<List>,
}

/// A revocation list (RFC 5280 section 5).
#[derive(Debug)]
pub(super) struct List {
    pub(super) parsed: CertRevocationList<'static>,
    /// Identifies the issuer's key, where the list says so.
    pub(super) key: Option<Vec<u8>>,
    /// Seconds.
    pub(super) this_update: i64,
    pub(super) next_update: i64,
}

impl Anchors {
    /// # Errors
    /// What is wrong, for the operator's eyes.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let bytes = bytes(path, ANCHORS_BYTES_MAX)?;
        let mut all = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            all.push(Anchor::parse(&certificate.map_err(|e| format!("it is not well-formed PEM: {e}"))?)?);
        }
        if all.is_empty() {
            return Err(String::from("it holds no certificate in PEM form"));
        }
        Ok(Self { digest: Digest::of(&bytes), all })
    }
}

impl Anchor {
    fn parse(der: &CertificateDer<'_>) -> Result<Self, String> {
        let malformed = |_| String::from("a certificate in it is not well formed");
        let certificate = leaf::parse(der).map_err(|_| malformed(()))?;
        let name = certificate.subject().to_string();
        let constraints = certificate.basic_constraints().map_err(|_| malformed(()))?;
        if !constraints.is_some_and(|c| c.value.ca) {
            return Err(format!("`{name}` is not an authority's certificate (basicConstraints)"));
        }
        let usage = certificate.key_usage().map_err(|_| malformed(()))?;
        if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(format!("`{name}` may not sign certificates (keyUsage)"));
        }
        let trusted = webpki::anchor_from_trusted_cert(der).map_err(|_| malformed(()))?;
        let (begins, ends) = leaf::validity(&certificate);
        Ok(Self { trusted: trusted.to_owned(), begins, ends })
    }
}

impl Lists {
    /// # Errors
    /// What is wrong, for the operator's eyes.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let bytes = bytes(path, LISTS_BYTES_MAX)?;
        let mut all = Vec::new();
        // The first octet of DER: a sequence. PEM begins with a dash or with words.
        if bytes.first() == Some(&0x30) {
            all.push(List::parse(&bytes)?);
        } else {
            for list in CertificateRevocationListDer::pem_slice_iter(&bytes) {
                all.push(List::parse(&list.map_err(|e| format!("it is not well-formed PEM: {e}"))?)?);
            }
        }
        if all.is_empty() {
            return Err(String::from("it holds no revocation list, in PEM or DER form"));
        }
        Ok(Self { digest: Digest::of(&bytes), all })
    }

    /// Whether a list in here is older than the same list was: somebody may be putting back what was revoked.
    pub(super) fn is_older_than(&self, previous: &Self) -> bool {
        self.all.iter().any(|new| previous.all.iter().any(|old| new.replaces(old) && new.this_update < old.this_update))
    }
}

impl List {
    fn parse(der: &[u8]) -> Result<Self, String> {
        let owned = OwnedCertRevocationList::from_der(der).map_err(|e| unusable(&e))?;
        let (_, list) = CertificateRevocationList::from_der(der)
            .map_err(|_| String::from("a revocation list in it is not well formed"))?;
        let next_update = list.next_update().ok_or("a revocation list in it has no next update")?;
        let key = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|key| key.0.to_vec()),
            _ => None,
        });
        let (this_update, next_update) = (list.last_update().timestamp(), next_update.timestamp());
        Ok(Self { parsed: owned.into(), key, this_update, next_update })
    }

    /// Whether it is another issue of the same list.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        self.parsed.issuer() == other.parsed.issuer()
            && self.parsed.issuing_distribution_point() == other.parsed.issuing_distribution_point()
            && self.key == other.key
    }
}

fn unusable(error: &webpki::Error) -> String {
    use webpki::Error as E;
    let why = match error {
        E::UnsupportedDeltaCrl => "is a delta list; a complete one is needed",
        E::UnsupportedIndirectCrl => "is indirect; one that its issuer has signed is needed",
        E::UnsupportedCrlVersion => "is not of version 2",
        E::UnsupportedRevocationReasonsPartitioning => "holds some reasons only; a complete one is needed",
        E::UnsupportedCriticalExtension => "has a critical extension that is not known here",
        _ => "is not well formed by RFC 5280, which wants a next update, too",
    };
    format!("a revocation list in it {why}")
}

fn bytes(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    file.take(max + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
    if u64::try_from(bytes.len()).is_ok_and(|n| n <= max) {
        Ok(bytes)
    } else {
        Err(format!("is larger than {} MB", max >> 20))
    }
}
