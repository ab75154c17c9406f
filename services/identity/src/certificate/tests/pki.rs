//! Authorities and certificates of the tests, in a folder of their own.

use crate::certificate::{AuthorityProblem, Certified, ClientAuthorities, PeerCertificate};
use model::party::{Authority, CertificateNames, Parties, Revocations};
use model::{Digest, IssuerId, PrincipalKind, Reason, Timestamp};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// 2026-11-22T12:00:00Z.
pub const NOW: Timestamp = Timestamp(1_795_348_800_000);

/// An authority, or an intermediate of one.
pub struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pub certificate: Certificate,
}

pub fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2030, 1, 1));
    params
}

pub fn leaf_params(names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from(vec![0x0a, 0x1b, 0x2c]));
    (params.not_before, params.not_after) = (date_time_ymd(2026, 11, 1), date_time_ymd(2026, 12, 1));
    params
}

pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

impl Ca {
    pub fn root(name: &str) -> Self {
        Self::root_of(ca_params(name))
    }

    pub fn root_of(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { params, key, certificate }
    }

    pub fn intermediate(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        Self { params, key, certificate }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub fn sign(&self, params: &CertificateParams) -> CertificateDer<'static> {
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer()).unwrap().der().clone()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// In PEM; valid for the days of November from `this` until before `next`.
    pub fn list(&self, this: u8, next: u8, revoked: &[&[u8]]) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 11, this),
            next_update: date_time_ymd(2026, 11, next),
            crl_number: SerialNumber::from(u64::from(this)),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(serial.to_vec()),
                    revocation_time: date_time_ymd(2026, 11, this),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer()).unwrap().pem().unwrap()
    }
}

/// A registry whose authorities have their files in one folder.
pub struct Stand {
    pub folder: tempfile::TempDir,
    pub parties: Parties,
    pub authorities: ClientAuthorities,
}

impl Stand {
    pub fn new() -> Self {
        let parties = Parties {
            digest: Digest::of(b""),
            organisations: BTreeMap::new(),
            issuers: BTreeMap::new(),
            authorities: BTreeMap::new(),
            principals: BTreeMap::new(),
            agreements: BTreeMap::new(),
            revocations: Revocations::default(),
        };
        Self { folder: tempfile::tempdir().unwrap(), parties, authorities: ClientAuthorities::default() }
    }

    /// One organisation, one authority, one domain.
    pub fn of(organisation: &str, ca: &Ca) -> Self {
        let mut stand = Self::new();
        stand.add(organisation, organisation, &[ca], below(&format!("{organisation}.example")));
        stand.loaded()
    }

    pub fn add(&mut self, id: &str, organisation: &str, anchors: &[&Ca], names: CertificateNames) {
        let pem: String = anchors.iter().map(|ca| ca.certificate.pem()).collect();
        let ca_file = self.write(&format!("{id}.pem"), pem);
        let id = IssuerId::new(id).unwrap();
        let authority = Authority {
            id: id.clone(),
            organisation: organisation.parse().unwrap(),
            ca_file,
            crl_files: Vec::new(),
            intermediates_max: 1,
            names,
            principal_kind: PrincipalKind::Service,
        };
        self.parties.authorities.insert(id, authority);
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn authority(&mut self, id: &str) -> &mut Authority {
        self.parties.authorities.get_mut(id).unwrap()
    }

    /// With these revocation lists for one authority.
    pub fn with_lists(mut self, id: &str, lists: &[String]) -> Self {
        for (n, list) in lists.iter().enumerate() {
            let path = self.write(&format!("{id}-{n}.crl"), list);
            self.authority(id).crl_files.push(path);
        }
        self.loaded()
    }

    pub fn loaded(mut self) -> Self {
        assert_eq!(self.load(), []);
        self
    }

    pub fn load(&mut self) -> Vec<AuthorityProblem> {
        let (authorities, problems) = ClientAuthorities::load(&self.parties, &self.authorities);
        self.authorities = authorities;
        problems
    }

    pub fn judge(&self, chain: &[CertificateDer<'static>]) -> Result<Certified, Reason> {
        self.judge_at(chain, NOW)
    }

    pub fn judge_at(&self, chain: &[CertificateDer<'static>], now: Timestamp) -> Result<Certified, Reason> {
        let peer = PeerCertificate::new(chain.to_vec()).unwrap();
        self.authorities.judge(&peer, &self.parties, now).map_err(|refusal| refusal.reason)
    }

    /// The text of the principal, or the reason.
    pub fn who(&self, chain: &[CertificateDer<'static>]) -> Result<String, Reason> {
        self.judge(chain).map(|certified| certified.principal.to_text())
    }
}

pub fn below(domain: &str) -> CertificateNames {
    CertificateNames::Dns { domains: vec![domain.to_owned()] }
}

pub fn spiffe(trust_domain: &str, path_prefix: &str) -> CertificateNames {
    CertificateNames::Spiffe { trust_domain: trust_domain.to_owned(), path_prefix: path_prefix.to_owned() }
}
