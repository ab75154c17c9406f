//! The vocabulary of Millgate and its one canonical encoding.
//!
//! What stands here: identifiers, the people and things of a plant as plain data, what a request asks for, reason codes,
//! and the audit entry. What this crate does **not** do: no I/O, no async, no clock, no randomness, and nothing of Cedar.

pub mod access;
pub mod canonical;
pub mod country;
pub mod disclosed;
pub mod entry;
pub mod erasure;
pub mod id;
pub mod issuer;
pub mod origin;
pub mod party;
pub mod plant;
pub mod principal;
pub mod pruning;
pub mod reason;
pub mod summary;
pub mod time;
pub mod url;

pub use access::{AccessRequest, Action, ResourceRef, Shape};
pub use canonical::Value;
pub use country::Country;
pub use id::{
    AgreementId, DatasetId, EquipmentId, ExportClassId, FieldClassId, InvalidId, IssuerId, OrganisationId, ProductId,
    PurposeId, RequestId, RoleId, RouteId, SerialNumber, SignalId, SourceId, Subject,
};
pub use origin::Origin;
pub use principal::{
    Actor, Assertion, Authenticated, AuthenticationMethod, Binding, CertificateRef, Principal, PrincipalKind,
};
pub use reason::Reason;
pub use time::{Clock, Timestamp};

/// SHA-256 of content that has an identity of its own: a policy set, a catalog, a registry revision, an entity slice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// SHA-256 over `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        canonical::hex(&self.0)
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_hex())
    }
}
