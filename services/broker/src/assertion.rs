//! For whom a source is asked: a short signed statement that goes with one request to one source.
//!
//! A JWT (RFC 7519), made from the decision that was recorded and from nothing that the caller sent. It lives a minute,
//! names one audience, and its `jti` is the request id, under which the audit log has the same.

mod keys;
#[cfg(test)]
mod tests;

pub use keys::{KeyError, KeyFiles};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue, header};
use keys::Keys;
use model::{AccessRequest, Actor, AgreementId, Principal, PurposeId, RequestId, Timestamp};
use pdp::Permit;
use registry::AssertionTo;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// Explicit typing (RFC 8725 section 3.11): no other token of anybody's can be taken for this one.
const TYPE: &str = "millgate-assertion+jwt";

/// What one source is told, and where.
#[derive(Clone, Debug)]
pub struct Addressee {
    to: AssertionTo,
    pub header: HeaderName,
}

/// Makes assertions with the current key.
#[derive(Debug)]
pub struct Assertions {
    issuer: String,
    files: KeyFiles,
    keys: ArcSwap<Keys>,
}

/// Why an assertion was not made. The source is not asked then.
#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    #[error("the claims could not be written")]
    Claims(#[from] serde_json::Error),
    #[error("the key could not sign")]
    Sign,
    #[error("the assertion cannot stand in a header")]
    Header,
}

/// RFC 7519 section 4.1, RFC 8693 section 4.1, and what the decision says.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(flatten)]
    who: Party<'a>,
    action: &'a str,
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<&'a str>,
}

/// A principal, and who acts for it.
#[derive(Serialize)]
struct Party<'a> {
    /// `organisation/subject`: subjects of two organisations may have one name.
    sub: String,
    organisation: &'a str,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Box<Self>>,
}

impl<'a> Party<'a> {
    fn new(principal: &'a Principal, act: Option<Box<Self>>) -> Self {
        let (organisation, kind) = (principal.organisation.as_str(), principal.kind.as_str());
        Self { sub: principal.to_text(), organisation, kind, act }
    }

    /// Who sends the request is the outermost `act`.
    fn with_actors(principal: &'a Principal, actors: &'a [Actor]) -> Self {
        let act = actors.iter().rev().fold(None, |inner, a| Some(Box::new(Self::new(&a.principal, inner))));
        Self::new(principal, act)
    }
}

impl Addressee {
    /// # Errors
    /// When the header's name is none.
    pub fn new(to: &AssertionTo) -> Result<Self, AssertionError> {
        let header = HeaderName::from_bytes(to.header.as_bytes()).map_err(|_| AssertionError::Header)?;
        Ok(Self { to: to.clone(), header })
    }
}

impl Assertions {
    /// Reads the keys; makes the signing key when there is no such file.
    ///
    /// # Errors
    /// When a file cannot be used, or none be made.
    pub fn open(issuer: String, files: KeyFiles) -> Result<Self, KeyError> {
        files.create()?;
        let keys = ArcSwap::from_pointee(Keys::load(&files)?);
        Ok(Self { issuer, files, keys })
    }

    /// Reads the files again. The id of the signing key, if what is signed with or published changed.
    ///
    /// # Errors
    /// When a file cannot be used; the previous keys stay in use.
    pub fn reload(&self) -> Result<Option<String>, KeyError> {
        let keys = Keys::load(&self.files)?;
        if keys.published == self.keys.load().published && keys.id == self.keys.load().id {
            return Ok(None);
        }
        let id = keys.id.clone();
        self.keys.store(Arc::new(keys));
        Ok(Some(id))
    }

    /// The files that a change of keys is seen by.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.all()
    }

    /// A JWK set (RFC 7517 section 5) of public keys.
    pub fn published(&self) -> String {
        self.keys.load().published.clone()
    }

    /// The assertion for one request, as the header's value; not to be printed.
    ///
    /// # Errors
    /// When it could not be made.
    pub fn sign(
        &self,
        to: &Addressee,
        permit: &Permit,
        request: RequestId,
        now: Timestamp,
    ) -> Result<HeaderValue, AssertionError> {
        self.signed(to, &self.claims(&to.to, permit.request(), permit.agreement(), request, now))
    }

    fn signed(&self, to: &Addressee, claims: &Claims<'_>) -> Result<HeaderValue, AssertionError> {
        let keys = self.keys.load();
        let claims = serde_json::to_vec(claims)?;
        let scheme = if to.header == header::AUTHORIZATION { "Bearer " } else { "" };
        let mut text = String::with_capacity(scheme.len() + keys.header.len() + claims.len() * 4 / 3 + 100);
        text.push_str(scheme);
        text.push_str(&keys.header);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut text);
        let signed = text.get(scheme.len()..).unwrap_or_default();
        let signature = keys.sign(signed.as_bytes()).ok_or(AssertionError::Sign)?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        let mut value = HeaderValue::try_from(text).map_err(|_| AssertionError::Header)?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn claims<'a>(
        &'a self,
        to: &'a AssertionTo,
        asked: &'a AccessRequest,
        agreement: Option<&'a AgreementId>,
        request: RequestId,
        now: Timestamp,
    ) -> Claims<'a> {
        let iat = now.seconds();
        Claims {
            iss: &self.issuer,
            aud: &to.audience,
            jti: request.to_string(),
            iat,
            nbf: iat,
            exp: iat + to.lifetime_ms / 1_000,
            who: Party::with_actors(asked.caller.principal(), asked.caller.actors()),
            action: asked.action.as_str(),
            resource: asked.resource.to_text(),
            purpose: asked.purpose.as_ref().map(PurposeId::as_str),
            agreement: agreement.map(AgreementId::as_str),
        }
    }
}
