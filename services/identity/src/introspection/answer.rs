//! What an issuer says of one token.

use crate::confirmation::Confirmation;
use crate::json::{Member, Object};
use crate::refusal::Refusal;
use model::party::Issuer;
use model::{Digest, Reason, Timestamp};

/// An answer about a token that counts for its issuer. Whether it counts here is judged for each request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) claims: Object<'static>,
    pub(crate) confirmation: Confirmation,
    /// SHA-256 of the token's text.
    pub(crate) fingerprint: Digest,
    /// When the question was asked.
    pub(super) asked_at: Timestamp,
    /// What remembering it takes, about.
    pub(super) bytes: usize,
}

impl Answer {
    /// Of the members beside `active`. A confirmation that cannot be checked is kept as such and refused in `check`.
    pub(super) fn new(claims: Object<'static>, fingerprint: Digest, asked_at: Timestamp) -> Result<Self, Refusal> {
        let confirmation = Confirmation::read(claims.get("cnf"))?;
        let bytes = size_of::<Self>() + claims.heap_bytes();
        Ok(Self { claims, confirmation, fingerprint, asked_at, bytes })
    }
}

/// Whether the issuer speaks of an access token of its own.
pub(crate) fn check(answer: &Answer, issuer: &Issuer) -> Result<(), Refusal> {
    let claims = &answer.claims;
    if !matches!(claims.get("iss"), Member::Absent) && claims.get("iss").text() != Some(&issuer.url) {
        return Err(Refusal::new(Reason::BAD_CLAIM, "the issuer says that the token is another issuer's"));
    }
    // A refresh token is known to the endpoint too (RFC 7662 section 2.1) and must not open anything here.
    let is_access = one_of(claims.get("token_type"), &["bearer", "dpop", "access_token"])
        && one_of(claims.get("token_use"), &["access", "access_token"]);
    if !is_access {
        return Err(Refusal::new(Reason::BAD_TOKEN_TYPE, "the issuer does not call it an access token"));
    }
    // RFC 9449 section 6.2: an issuer that says so names the key too.
    if one_of(claims.get("token_type"), &["bearer", "access_token"]) || answer.confirmation.key.is_some() {
        return Ok(());
    }
    Err(Refusal::new(Reason::BAD_BINDING, "the issuer calls it a DPoP token and does not name its key in `cnf`"))
}

/// Names of token types have no case (RFC 6749 section 5.1). The issuer need not say.
fn one_of(member: &Member<'_>, known: &[&str]) -> bool {
    match member {
        Member::Absent => true,
        Member::Text(text) => known.iter().any(|name| name.eq_ignore_ascii_case(text)),
        _ => false,
    }
}
