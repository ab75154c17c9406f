//! The registry's half of a snapshot: organisations, issuers, principals, agreements, revocations, as plain data.

use crate::{
    AgreementId, Digest, ExportClassId, FieldClassId, IssuerId, OrganisationId, PrincipalKind, ProductId, PurposeId,
    RoleId, Subject, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrganisationKind {
    Owner,
    Supplier,
    Customer,
    Service,
    Auditor,
}

impl OrganisationKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Supplier => "supplier",
            Self::Customer => "customer",
            Self::Service => "service",
            Self::Auditor => "auditor",
        }
    }
}

/// Status of an organisation or an agreement. Only `active` ever leads to an allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Active,
    Suspended,
    Retired,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Retired => "retired",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Organisation {
    pub id: OrganisationId,
    pub title: String,
    pub kind: OrganisationKind,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    pub status: Status,
}

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
    /// PEM file with the CA of the issuer's https endpoints, if it is not a public one.
    pub ca_file: Option<std::path::PathBuf>,
}

/// What the registry knows of a principal beyond its token. Clearance and export authorisations come from here only.
#[derive(Clone, Debug)]
pub struct PrincipalRecord {
    pub organisation: OrganisationId,
    pub subject: Subject,
    pub kind: PrincipalKind,
    pub title: String,
    pub roles: BTreeSet<RoleId>,
    pub clearance: u8,
    pub export_authorisations: BTreeSet<ExportClassId>,
}

/// The legal basis of an access.
#[derive(Clone, Debug)]
pub struct Agreement {
    pub id: AgreementId,
    pub title: String,
    pub provider: OrganisationId,
    pub consumer: OrganisationId,
    pub status: Status,
    pub purposes: BTreeSet<PurposeId>,
    pub products: BTreeSet<ProductId>,
    pub reveals: BTreeSet<FieldClassId>,
    /// Inclusive.
    pub not_before: Timestamp,
    /// Exclusive.
    pub not_after: Timestamp,
    /// A finer resolution is refused.
    pub resolution_min_ms: i64,
    /// A wider window is refused.
    pub window_max_ms: i64,
    pub rows_max: i64,
}

/// What is out at once, whatever else is broken in the folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    pub organisations: BTreeSet<OrganisationId>,
    pub principals: BTreeSet<(OrganisationId, Subject)>,
    /// `jti` of single tokens, with their issuer.
    pub tokens: BTreeSet<(IssuerId, String)>,
}

#[derive(Clone, Debug)]
pub struct Parties {
    /// Over the canonical content of all files of the folder.
    pub digest: Digest,
    pub organisations: BTreeMap<OrganisationId, Organisation>,
    pub issuers: BTreeMap<IssuerId, Issuer>,
    pub principals: BTreeMap<(OrganisationId, Subject), PrincipalRecord>,
    pub agreements: BTreeMap<AgreementId, Agreement>,
    pub revocations: Revocations,
}

impl Parties {
    /// The organisation's status as it counts now: a revocation suspends, whatever the file says.
    pub fn status_of(&self, id: &OrganisationId) -> Option<Status> {
        let organisation = self.organisations.get(id)?;
        Some(if self.revocations.organisations.contains(id) { Status::Suspended } else { organisation.status })
    }
}
