//! The registry's half of a snapshot: organisations, issuers, principals, agreements, revocations, as plain data.

pub use crate::issuer::{
    Assurance, Authority, CertificateNames, Groups, Introspection, Issuer, KeyLocation, SecretRef, SignatureAlgorithm,
};
use crate::{
    AgreementId, Binding, CertificateRef, Digest, ExportClassId, FieldClassId, IssuerId, OrganisationId, Principal,
    PrincipalKind, ProductId, PurposeId, RoleId, Subject, Timestamp,
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
    /// Roles that groups of the organisation's own issuers may stand for. Nobody else's.
    pub roles: BTreeSet<RoleId>,
    /// When not empty, its callers must be bound in one of these ways, whatever their issuer asks for.
    pub bindings: BTreeSet<Binding>,
}

/// What the registry knows of a principal beyond its token. Clearance and export authorisations come from here only.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Data from longer ago is refused.
    pub age_max_days: i64,
}

/// What is out at once, whatever else is broken in the folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    pub organisations: BTreeSet<OrganisationId>,
    pub agreements: BTreeSet<AgreementId>,
    pub principals: BTreeSet<(OrganisationId, Subject)>,
    /// `jti` of single tokens, with their issuer.
    pub tokens: BTreeSet<(IssuerId, String)>,
    pub certificates: BTreeSet<CertificateRef>,
}

impl Revocations {
    pub(crate) fn has_any_principal<'a>(&self, mut principals: impl Iterator<Item = &'a Principal>) -> bool {
        // Almost always empty: spare the request the copies of a lookup.
        !self.principals.is_empty()
            && principals.any(|p| self.principals.contains(&(p.organisation.clone(), p.subject.clone())))
    }

    pub(crate) fn has_any_token<'a>(&self, mut tokens: impl Iterator<Item = (&'a IssuerId, &'a str)>) -> bool {
        !self.tokens.is_empty() && tokens.any(|(issuer, id)| self.tokens.contains(&(issuer.clone(), id.to_owned())))
    }
}

#[derive(Clone, Debug)]
pub struct Parties {
    /// Over the canonical content of all files of the folder.
    pub digest: Digest,
    pub organisations: BTreeMap<OrganisationId, Organisation>,
    pub issuers: BTreeMap<IssuerId, Issuer>,
    /// Whose certificates speak for an organisation. No name is also one of an issuer.
    pub authorities: BTreeMap<IssuerId, Authority>,
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
