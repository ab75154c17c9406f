//! The one name of a certificate that becomes the principal's subject.

use super::dn;
use super::leaf::Leaf;
use crate::refusal::Refusal;
use model::party::CertificateNames;
use model::{Reason, Subject};
use x509_parser::extensions::GeneralName;

fn bad(what: &'static str) -> Refusal {
    Refusal::new(Reason::BAD_CERTIFICATE, what)
}

/// The subject that `leaf` stands for by its authority's rule.
pub(super) fn subject(leaf: &Leaf<'_>, rule: &CertificateNames) -> Result<Subject, Refusal> {
    match rule {
        CertificateNames::Spiffe { trust_domain, path_prefix } => {
            let name = one(leaf, |name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })?;
            let path = spiffe_path(name, trust_domain)
                .ok_or_else(|| bad("the certificate's URI name is not a SPIFFE ID of the authority's trust domain"))?;
            within(path, path_prefix).then(|| Subject::new(path).ok()).flatten().ok_or_else(|| {
                bad("the path of the certificate's SPIFFE ID does not begin as it must for this authority")
            })
        }
        CertificateNames::Dns { domains } => {
            let name = one(leaf, |name| if let GeneralName::DNSName(dns) = name { Some(*dns) } else { None })?;
            if !is_host(name) {
                return Err(bad("the certificate's DNS name is not a plain host name in lower case"));
            }
            domains
                .iter()
                .any(|domain| below(name, domain))
                .then(|| Subject::new(name).ok())
                .flatten()
                .ok_or_else(|| bad("the certificate's DNS name lies in no domain of its authority"))
        }
        CertificateNames::Subjects(subjects) => {
            let name = dn::text(leaf.certificate.subject())
                .ok_or_else(|| bad("the certificate's subject is empty, too long or not well formed"))?;
            let known = subjects.get(&name).cloned();
            known.ok_or_else(|| bad("the certificate's subject is not registered for its authority"))
        }
    }
}

/// The only alternative name of its kind (RFC 5280 section 4.2.1.6).
fn one<'l>(leaf: &'l Leaf<'_>, pick: impl Fn(&'l GeneralName<'l>) -> Option<&'l str>) -> Result<&'l str, Refusal> {
    let names = leaf.certificate.subject_alternative_name();
    let names = names.map_err(|_| bad("the certificate's alternative names are not well formed"))?;
    let names = names.map(|extension| &extension.value.general_names[..]).unwrap_or_default();
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return Err(bad("the certificate's alternative names are not well formed"));
    }
    let mut found = names.iter().filter_map(pick);
    match (found.next(), found.next()) {
        (Some(name), None) => Ok(name),
        (None, _) => Err(bad("the certificate has no alternative name of the kind that its authority goes by")),
        _ => Err(bad("the certificate has several alternative names of the kind that its authority goes by")),
    }
}

/// The path of a SPIFFE ID of this trust domain, without its first slash (SPIFFE ID, section 2).
fn spiffe_path<'n>(name: &'n str, trust_domain: &str) -> Option<&'n str> {
    let path = name.strip_prefix("spiffe://")?.strip_prefix(trust_domain)?.strip_prefix('/')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let segment = |s: &str| !matches!(s, "" | "." | "..") && s.bytes().all(plain);
    path.split('/').all(segment).then_some(path)
}

/// Whole segments only.
fn within(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some("") => true,
        Some(rest) => prefix.is_empty() || prefix.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

/// The domain itself, or a name below it.
fn below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// RFC 1123 section 2.1, in lower case, so that one host has one spelling. No wildcard: a principal is one machine.
fn is_host(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_has_one_spelling() {
        let path = |name| spiffe_path(name, "acme.example");
        assert_eq!(path("spiffe://acme.example/plant/press-3"), Some("plant/press-3"));
        for bad in [
            "spiffe://acme.example",
            "spiffe://acme.example/",
            "spiffe://acme.example/plant/",
            "spiffe://acme.example//plant",
            "spiffe://acme.example/plant/../root",
            "spiffe://acme.example/plant/./press",
            "spiffe://acme.example/plant%2Fpress",
            "spiffe://acme.example/plant?x=1",
            "spiffe://acme.example/plant#x",
            "spiffe://acme.example:443/plant",
            "spiffe://user@acme.example/plant",
            "spiffe://acme.example.evil.example/plant",
            "spiffe://evil-acme.example/plant",
            "SPIFFE://acme.example/plant",
            "spiffe://ACME.example/plant",
            "https://acme.example/plant",
        ] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        assert!(within("plant/press", "plant/") && within("plant/press", "plant") && within("plant", "plant"));
        assert!(within("anything", ""));
        assert!(
            !within("plantation/press", "plant") && !within("plan", "plant/") && !within("x/plant/press", "plant/")
        );
    }

    #[test]
    fn a_host_lies_below_a_domain_at_a_dot() {
        assert!(below("press-3.machines.acme.example", "machines.acme.example"));
        assert!(below("machines.acme.example", "machines.acme.example"));
        assert!(!below("evilmachines.acme.example", "machines.acme.example"));
        assert!(!below("acme.example", "machines.acme.example"));
        assert!(is_host("press-3.acme.example") && is_host("xn--prss-0ra.acme.example"));
        for bad in
            ["*.acme.example", "Press.acme.example", "press..acme", ".acme.example", "acme.example.", "a_b.acme", ""]
        {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
