//! The token itself: JWS compact serialisation (RFC 7515 section 3.1) with a claim set (RFC 7519), read once.
//!
//! Before the signature is verified, only what is needed to choose the key is judged: the shape, `iss`, `alg`, `typ`,
//! `kid`. The claims are judged after it ([`crate::claims`]). They were read from the very bytes the signature covers, and
//! wrong types were kept as such: a claim of the wrong type is never taken for an absent one (the class of CVE-2026-25537).

use crate::json::{Member, Object};
use crate::refusal::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::Reason;
use model::party::{Issuer, SignatureAlgorithm};

/// Longest token. Common proxies in front of us refuse a header line beyond 8 KiB, so that a longer token would work in
/// one place and not in another; and it bounds the work on a token before its signature is known to be good.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Header members that make a verifier fetch or trust a key of the sender's choice, or demand an extension we do not have
/// (RFC 7515 sections 4.1.2 to 4.1.6 and 4.1.11). `x5t` and `x5t#S256` only name a key and are not used here.
const FORBIDDEN_MEMBERS: [&str; 5] = ["crit", "jku", "jwk", "x5u", "x5c"];

/// The decoded parts, which a [`Token`] borrows from.
pub(crate) struct Parts<'a> {
    /// What the signature covers, as it was sent: the first two parts with the dot between them.
    pub(crate) message: &'a str,
    /// Base64url, not decoded yet.
    pub(crate) signature: &'a str,
    header: Vec<u8>,
    claims: Vec<u8>,
}

/// Header and claims of one token, neither believed nor judged.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    header: Object<'a>,
    pub(crate) claims: Object<'a>,
}

/// # Errors
/// Longer than any token here may be. The first check of all, so that nothing is done with what a stranger sends in bulk.
pub(crate) fn check_length(text: &str) -> Result<(), Refusal> {
    if text.len() > TOKEN_BYTES_MAX { Err(Refusal::malformed("the token is longer than 8 KiB")) } else { Ok(()) }
}

/// Whether it is read as a signed token: what has three parts is nothing else, whoever it is of.
pub(crate) fn has_three_parts(text: &str) -> bool {
    text.bytes().filter(|b| *b == b'.').count() == 2
}

// === impl Parts ===

impl<'a> Parts<'a> {
    pub(crate) fn split(text: &'a str) -> Result<Self, Refusal> {
        const THREE: &str = "the token has not exactly three parts";
        let three = || Refusal::malformed(THREE);
        let (message, signature) = text.rsplit_once('.').ok_or_else(three)?;
        let (header, claims) = message.split_once('.').filter(|(_, c)| !c.contains('.')).ok_or_else(three)?;
        if !is_base64url(signature) {
            return Err(not_base64url());
        }
        Ok(Self { message, signature, header: decode(header)?, claims: decode(claims)? })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| not_base64url())
}

/// Only the alphabet: the signature is decoded when it is needed, and a stray bit at its end is refused there.
fn is_base64url(part: &str) -> bool {
    part.len() % 4 != 1 && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn not_base64url() -> Refusal {
    Refusal::malformed("a part of the token is not base64url without padding")
}

// === impl Token ===

impl<'a> Token<'a> {
    pub(crate) fn parse(parts: &'a Parts<'a>) -> Result<Self, Refusal> {
        const HEADER: &str = "the token's header is not a JSON object without duplicate members";
        const CLAIMS: &str = "the token's claim set is not a JSON object without duplicate members";
        let header = Object::parse(&parts.header).map_err(|_| Refusal::malformed(HEADER))?;
        if header.names().any(|name| FORBIDDEN_MEMBERS.contains(&name)) {
            return Err(Refusal::malformed("the token's header has one of `crit`, `jku`, `jwk`, `x5u`, `x5c`"));
        }
        if ["typ", "kid"].iter().any(|name| !matches!(header.get(name), Member::Absent | Member::Text(_))) {
            return Err(Refusal::malformed("`typ` or `kid` in the token's header is not a string"));
        }
        let claims = Object::parse(&parts.claims).map_err(|_| Refusal::malformed(CLAIMS))?;
        Ok(Self { header, claims })
    }

    pub(crate) fn into_owned(self) -> Token<'static> {
        Token { header: self.header.into_owned(), claims: self.claims.into_owned() }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.header.heap_bytes() + self.claims.heap_bytes()
    }

    pub(crate) fn issuer(&self) -> Result<&str, Refusal> {
        self.claims.get("iss").text().ok_or_else(|| Refusal::new(Reason::BAD_CLAIM, "`iss` must be a string"))
    }

    pub(crate) fn key_id(&self) -> Option<&str> {
        self.header.get("kid").text()
    }

    /// The token's algorithm, if the issuer is pinned to it. `none` and the HMAC family have no value to be pinned to.
    pub(crate) fn algorithm(&self, issuer: &Issuer) -> Result<SignatureAlgorithm, Refusal> {
        let named = self.header.get("alg").text().and_then(algorithm_of);
        named.filter(|algorithm| issuer.algorithms.contains(algorithm)).ok_or_else(|| {
            Refusal::new(Reason::BAD_ALGORITHM, "the token's algorithm is not one that this issuer may use")
        })
    }

    /// RFC 8725 section 3.11: a token made for another use (an ID token, a logout token) is not an access token.
    pub(crate) fn check_type(&self, issuer: &Issuer) -> Result<(), Refusal> {
        if issuer.token_types.is_empty() {
            return Ok(());
        }
        let is_accepted = self.header.get("typ").text().is_some_and(|typ| {
            let typ = without_application(typ);
            issuer.token_types.iter().any(|accepted| accepted.eq_ignore_ascii_case(typ))
        });
        if is_accepted { Ok(()) } else { Err(Refusal::new(Reason::BAD_TOKEN_TYPE, "`typ` is not accepted here")) }
    }
}

pub(crate) fn algorithm_of(name: &str) -> Option<SignatureAlgorithm> {
    Some(match name {
        "ES256" => SignatureAlgorithm::ES256,
        "ES384" => SignatureAlgorithm::ES384,
        "RS256" => SignatureAlgorithm::RS256,
        "RS384" => SignatureAlgorithm::RS384,
        "RS512" => SignatureAlgorithm::RS512,
        "PS256" => SignatureAlgorithm::PS256,
        "PS384" => SignatureAlgorithm::PS384,
        "PS512" => SignatureAlgorithm::PS512,
        "EdDSA" => SignatureAlgorithm::EdDSA,
        _ => return None,
    })
}

/// RFC 7515 section 4.1.9: the prefix may be left out of a media type.
fn without_application(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    }
}
