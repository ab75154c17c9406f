//! Who is asking.

use crate::party::Revocations;
use crate::{Digest, IssuerId, OrganisationId, RoleId, SerialNumber, Subject, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

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

/// What was shown, and how it was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthenticationMethod {
    /// A signed token (RFC 7519), verified with its issuer's key.
    Jwt,
    /// A token without readable content, of which its issuer was asked (RFC 7662).
    Opaque,
    /// A client certificate (RFC 5280) in the TLS handshake.
    Certificate,
}

impl AuthenticationMethod {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Opaque => "opaque",
            Self::Certificate => "certificate",
        }
    }
}

/// What proves that the sender of a credential is the one it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Binding {
    /// Nothing: whoever has the token may use it.
    None,
    /// The key of a client certificate (RFC 8705), or the certificate is the credential.
    Certificate,
    /// A proof signed for this one request (RFC 9449).
    Dpop,
}

impl Binding {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Certificate => "certificate",
            Self::Dpop => "dpop",
        }
    }
}

/// One certificate, by who signed it and its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateRef {
    pub authority: IssuerId,
    pub serial: SerialNumber,
}

/// Somebody who acts for the principal of a credential (RFC 8693 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub principal: Principal,
    /// Who says so: the issuer of the principal's token, or of the actor's own where it belongs to another organisation.
    pub issuer: IssuerId,
    /// Of the actor's own token, if there is one.
    pub token_id: Option<String>,
}

/// What is known of a caller. Plain data; only [`Authenticated`] says that it is true.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// In whose name the request is made.
    pub principal: Principal,
    pub issuer: IssuerId,
    pub method: AuthenticationMethod,
    pub binding: Binding,
    /// The credential is not valid from here on.
    pub expires: Timestamp,
    /// SHA-256 of the credential: names it in the audit log without holding it.
    pub fingerprint: Digest,
    /// The token's `jti`.
    pub token_id: Option<String>,
    /// The certificate of the connection, whether it is the credential or only binds a token.
    pub certificate: Option<CertificateRef>,
    /// How sure the issuer is of the principal, by the registry's scale: 0 unknown, 1 one factor, 2 several factors,
    /// 3 several factors that cannot be phished.
    pub assurance: u8,
    /// Roles from the issuer's groups, of the organisation's own roles only; the registry's come on top.
    pub roles: BTreeSet<RoleId>,
    /// Who acts for the principal: who sends the request first, then who that one acts for, and so on.
    pub actors: Vec<Actor>,
}

/// What a decision can depend on of a caller: everything but which one of its credentials it was shown with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Facts<'a> {
    principal: &'a Principal,
    issuer: &'a IssuerId,
    method: AuthenticationMethod,
    binding: Binding,
    assurance: u8,
    roles: &'a BTreeSet<RoleId>,
    actors: Vec<(&'a Principal, &'a IssuerId)>,
}

/// A caller whose credential has been verified. Held by value; there is no way to make one but [`Self::assertion`].
#[derive(Clone, Debug)]
pub struct Authenticated(Arc<Assertion>);

impl Authenticated {
    /// Vouches for a caller. Only `identity` may do that; `clippy.toml` says so.
    pub fn assertion(assertion: Assertion) -> Self {
        Self(Arc::new(assertion))
    }

    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    pub fn organisation(&self) -> &OrganisationId {
        &self.0.principal.organisation
    }

    pub fn issuer(&self) -> &IssuerId {
        &self.0.issuer
    }

    pub fn method(&self) -> AuthenticationMethod {
        self.0.method
    }

    pub fn binding(&self) -> Binding {
        self.0.binding
    }

    pub fn expires(&self) -> Timestamp {
        self.0.expires
    }

    pub fn fingerprint(&self) -> Digest {
        self.0.fingerprint
    }

    /// The token's `jti`, if it has one.
    pub fn token_id(&self) -> Option<&str> {
        self.0.token_id.as_deref()
    }

    pub fn certificate(&self) -> Option<&CertificateRef> {
        self.0.certificate.as_ref()
    }

    pub fn assurance(&self) -> u8 {
        self.0.assurance
    }

    pub fn roles(&self) -> &BTreeSet<RoleId> {
        &self.0.roles
    }

    pub fn actors(&self) -> &[Actor] {
        &self.0.actors
    }

    /// Everybody whom the request needs the permission of: the principal, then its actors in their order.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        std::iter::once(&self.0.principal).chain(self.0.actors.iter().map(|actor| &actor.principal))
    }

    /// Equal for callers who are the same to every policy, as long as none of them is revoked.
    pub fn facts(&self) -> Facts<'_> {
        // Every member by name, so that a new one is not left out unnoticed.
        let Assertion {
            principal,
            issuer,
            method,
            binding,
            assurance,
            roles,
            actors,
            expires: _,
            fingerprint: _,
            token_id: _,
            certificate: _,
        } = &*self.0;
        let actors = actors.iter().map(|Actor { principal, issuer, token_id: _ }| (principal, issuer)).collect();
        Facts { principal, issuer, method: *method, binding: *binding, assurance: *assurance, roles, actors }
    }

    /// Whether the caller, somebody who acts for it, or anything it was shown with is revoked. Organisations are not
    /// looked at: their status is for policies, so that the refusal is a recorded decision.
    pub fn is_revoked(&self, revocations: &Revocations) -> bool {
        let told = self.0.token_id.as_deref().map(|id| (&self.0.issuer, id));
        let others = self.0.actors.iter();
        let tokens = others.filter_map(|actor| Some((&actor.issuer, actor.token_id.as_deref()?))).chain(told);
        revocations.has_any_principal(self.principals())
            || revocations.has_any_token(tokens)
            || self.0.certificate.as_ref().is_some_and(|c| revocations.certificates.contains(c))
    }
}
