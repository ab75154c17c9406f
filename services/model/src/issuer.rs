//! Whose tokens and certificates speak for an organisation, as the registry says it. Plain data.

use crate::{Binding, IssuerId, OrganisationId, PrincipalKind, RoleId, Subject};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// Signature algorithms an issuer may be pinned to: asymmetric only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SignatureAlgorithm {
    ES256,
    ES384,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    EdDSA,
}

/// Whose tokens speak for `organisation`, and for no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub id: IssuerId,
    pub organisation: OrganisationId,
    /// Compared with `iss`, byte for byte.
    pub url: String,
    /// At least one of them must be in `aud`.
    pub audiences: Vec<String>,
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Accepted `typ` header values, lower case, without the `application/` prefix; empty accepts any.
    pub token_types: Vec<String>,
    /// What the issuer's subjects are unless the registry lists them otherwise.
    pub principal_kind: PrincipalKind,
    /// Allowed clock difference for `exp`, `nbf` and `iat`.
    pub leeway_seconds: u64,
    /// By `iat`: an older token is refused, whatever its `exp` says.
    pub token_age_max_seconds: Option<u64>,
    /// The claim that names the principal, `sub` if the registry says nothing.
    pub subject_claim: String,
    pub groups: Option<Groups>,
    pub assurance: Option<Assurance>,
    /// When not empty, callers must be bound in one of these ways.
    pub bindings: BTreeSet<Binding>,
    /// Whether a DPoP proof must hold a nonce of ours (RFC 9449 section 8).
    pub dpop_nonce: bool,
    /// Whether its tokens may be bound to certificates that no authority of the registry has signed (RFC 8705).
    pub unregistered_certificates: bool,
    pub keys: KeyLocation,
    /// PEM file with the CA of the issuer's https endpoints, if it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// File with a bearer token to fetch the keys with, as the API server of Kubernetes wants it.
    pub fetch_token_file: Option<PathBuf>,
    /// During an outage the last good keys count up to this age.
    pub outage_max_seconds: u64,
    /// How to ask about tokens without readable content; without it the issuer has none.
    pub introspection: Option<Introspection>,
}

impl Issuer {
    /// What counts when the registry says nothing else: RFC 9068 access tokens, keys by discovery, half a minute of clock
    /// difference (clocks of companies differ by seconds; minutes would lengthen the life of every token).
    pub fn new(id: IssuerId, organisation: OrganisationId, url: impl Into<String>) -> Self {
        Self {
            id,
            organisation,
            url: url.into(),
            audiences: Vec::new(),
            algorithms: Vec::new(),
            token_types: vec![String::from("at+jwt")],
            principal_kind: PrincipalKind::User,
            leeway_seconds: 30,
            token_age_max_seconds: None,
            subject_claim: String::from("sub"),
            groups: None,
            assurance: None,
            bindings: BTreeSet::new(),
            dpop_nonce: false,
            unregistered_certificates: false,
            keys: KeyLocation::Discovery { at: None },
            ca_file: None,
            fetch_token_file: None,
            outage_max_seconds: 24 * 60 * 60,
            introspection: None,
        }
    }
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// Where its metadata says, at `URL/.well-known/openid-configuration` (OpenID Connect Discovery 1.0) or else at RFC
    /// 8414's place; `at` is the metadata's URL where it is somewhere else.
    Discovery { at: Option<String> },
    /// A key set (RFC 7517) at this URL.
    Url(String),
    /// A key set in a file, read again when it changes: for an issuer that cannot be reached from here.
    File(PathBuf),
}

/// Groups of an issuer and the roles they stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// The claim with the list of groups.
    pub claim: String,
    /// All roles are among the organisation's own.
    pub roles: BTreeMap<String, RoleId>,
}

/// How an issuer says how sure it is of somebody (`acr`, usually) and what that counts here, 1 to 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assurance {
    pub claim: String,
    pub levels: BTreeMap<String, u8>,
}

/// RFC 7662. An opaque token belongs to the one issuer whose prefix it has or whose host was asked; no issuer ever sees
/// another's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspection {
    /// The endpoint, unless the issuer's metadata names it.
    pub url: Option<String>,
    pub client_id: String,
    pub client_secret: SecretRef,
    /// What its opaque tokens begin with. No issuer's prefix begins with another's.
    pub prefix: Option<String>,
    /// The host name under which callers with its opaque tokens reach us, lower case, without port.
    pub host: Option<String>,
    /// How long an answer counts: so long a revoked token may live on.
    pub cache_ms: u64,
}

/// Where a secret is, never what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    File(PathBuf),
    Environment(String),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file `{}`", path.display()),
            Self::Environment(name) => write!(f, "environment variable `{name}`"),
        }
    }
}

/// Whose certificates speak for `organisation`, and for no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub id: IssuerId,
    pub organisation: OrganisationId,
    /// PEM file with the trust anchors, one or more.
    pub ca_file: PathBuf,
    /// PEM or DER files with revocation lists (RFC 5280 section 5). If there are any, each certificate of a chain must be
    /// covered by a list that is in force.
    pub crl_files: Vec<PathBuf>,
    /// Certificates between a trust anchor and the caller's own.
    pub intermediates_max: u8,
    pub names: CertificateNames,
    pub principal_kind: PrincipalKind,
}

/// Which name of a certificate is the principal's. One place, so that a certificate has one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateNames {
    /// The one URI name, a SPIFFE ID `spiffe://TRUST_DOMAIN/PATH`; the subject is `PATH`, which begins with `path_prefix`.
    Spiffe { trust_domain: String, path_prefix: String },
    /// The one DNS name, which ends in one of these domains; the subject is that name.
    Dns { domains: Vec<String> },
    /// Distinguished names (RFC 4514) and the subjects they stand for.
    Subjects(BTreeMap<String, Subject>),
}
