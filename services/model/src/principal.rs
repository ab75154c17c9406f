//! Who is asking.

use crate::{Digest, IssuerId, OrganisationId, Subject, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    User,
    Service,
}

impl PrincipalKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
        }
    }
}

/// A person or machine of exactly one organisation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    pub organisation: OrganisationId,
    pub kind: PrincipalKind,
    pub subject: Subject,
}

impl Principal {
    /// `organisation/subject`: neither part can hold a `/` on its left, so two principals never share this text.
    pub fn to_text(&self) -> String {
        format!("{}/{}", self.organisation, self.subject)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationMethod {
    /// RFC 6750 bearer token.
    Bearer,
}

impl AuthenticationMethod {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
        }
    }
}

/// A caller whose credential has been verified. Held by value; there is no way to make one but [`Self::assertion`].
#[derive(Clone, Debug)]
pub struct Authenticated {
    principal: Principal,
    issuer: IssuerId,
    method: AuthenticationMethod,
    /// The credential is not valid from here on.
    expires: Timestamp,
    /// SHA-256 of the credential: names it in the audit log without holding it.
    fingerprint: Digest,
    token_id: Option<String>,
}

impl Authenticated {
    /// Vouches for a caller. Only `identity` may do that; `clippy.toml` says so.
    pub fn assertion(
        principal: Principal,
        issuer: IssuerId,
        method: AuthenticationMethod,
        expires: Timestamp,
        fingerprint: Digest,
        token_id: Option<String>,
    ) -> Self {
        Self { principal, issuer, method, expires, fingerprint, token_id }
    }

    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    pub fn organisation(&self) -> &OrganisationId {
        &self.principal.organisation
    }

    pub fn issuer(&self) -> &IssuerId {
        &self.issuer
    }

    pub fn method(&self) -> AuthenticationMethod {
        self.method
    }

    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// The token's `jti`, if it has one.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }
}
