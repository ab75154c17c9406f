//! What a request asks for.

use crate::{AgreementId, Authenticated, Country, DatasetId, OrganisationId, PurposeId, SignalId, Timestamp};
use serde::{Deserialize, Serialize};

/// Actions of the schema. `Discover`, `SeeRecord` and `Reveal` are asked by the PDP itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    #[serde(rename = "discover")]
    Discover,
    #[serde(rename = "read")]
    Read,
    #[serde(rename = "readSeries")]
    ReadSeries,
    #[serde(rename = "seeRecord")]
    SeeRecord,
    #[serde(rename = "reveal")]
    Reveal,
    #[serde(rename = "readAudit")]
    ReadAudit,
    #[serde(rename = "eraseAudit")]
    EraseAudit,
}

impl Action {
    pub const ALL: [Self; 7] = [
        Self::Discover,
        Self::Read,
        Self::ReadSeries,
        Self::SeeRecord,
        Self::Reveal,
        Self::ReadAudit,
        Self::EraseAudit,
    ];

    /// Whether it is about the audit log and not about data.
    pub fn is_of_audit(self) -> bool {
        matches!(self, Self::ReadAudit | Self::EraseAudit)
    }

    /// The name in the Cedar schema and in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Read => "read",
            Self::ReadSeries => "readSeries",
            Self::SeeRecord => "seeRecord",
            Self::Reveal => "reveal",
            Self::ReadAudit => "readAudit",
            Self::EraseAudit => "eraseAudit",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceRef {
    Dataset(DatasetId),
    Signal(SignalId),
    /// Entries of one organisation, or of all.
    AuditScope(Option<OrganisationId>),
}

impl ResourceRef {
    /// `Dataset/acme-parts`, `Signal/press-3.force`, `AuditScope/*`: the spelling in entries and queries.
    pub fn to_text(&self) -> String {
        match self {
            Self::Dataset(id) => format!("Dataset/{id}"),
            Self::Signal(id) => format!("Signal/{id}"),
            Self::AuditScope(Some(id)) => format!("AuditScope/{id}"),
            Self::AuditScope(None) => String::from("AuditScope/*"),
        }
    }

    /// What [`Self::to_text`] has written.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/')? {
            ("Dataset", id) => id.parse().ok().map(Self::Dataset),
            ("Signal", id) => id.parse().ok().map(Self::Signal),
            ("AuditScope", "*") => Some(Self::AuditScope(None)),
            ("AuditScope", id) => id.parse().ok().map(|id| Self::AuditScope(Some(id))),
            _ => None,
        }
    }
}

/// How much of a resource is asked for. Zero says that the route has no such notion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Distance of neighbouring values of a series; 0 is raw.
    pub resolution_ms: i64,
    /// Length of the time window.
    pub window_ms: i64,
    /// Upper bound of the rows in the answer.
    pub rows: i64,
    /// How long ago its window begins, in days of 24 hours, begun ones included.
    pub age_days: i64,
}

/// One question to the PDP.
#[derive(Clone, Debug)]
pub struct AccessRequest {
    pub caller: Authenticated,
    pub action: Action,
    pub resource: ResourceRef,
    pub purpose: Option<PurposeId>,
    /// Named by the caller; otherwise the PDP looks for the one that permits.
    pub agreement: Option<AgreementId>,
    pub shape: Shape,
    /// Where the network is that the request came from, if the plant's lists know it.
    pub country: Option<Country>,
    /// The broker's clock, never the caller's.
    pub now: Timestamp,
}
