//! The token itself: JWS compact serialisation (RFC 7515 section 3.1) with a claim set (RFC 7519), read once.
//!
//! Before the signature is verified, only what is needed to choose the key is judged: the shape, `iss`, `alg`, `typ`,
//! `kid`. The claims are judged after it. They were read from the very bytes the signature covers, and wrong types were
//! kept as such: a claim of the wrong type is never taken for an absent one (the class of CVE-2026-25537).

use crate::json::{self, Member};
use crate::refusal::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::party::{Issuer, SignatureAlgorithm};
use model::{Reason, Subject, Timestamp};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::fmt;

/// Longest token. Common proxies in front of us refuse a header line beyond 8 KiB, so that a longer token would work in
/// one place and not in another; and it bounds the work on a token before its signature is known to be good.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const NUMERIC_DATE_MAX: u64 = 253_402_300_799;

/// A `jti` goes into the audit log. The longest in the wild are below 100 bytes.
const TOKEN_ID_BYTES_MAX: usize = 255;

/// Header members that make a verifier fetch or trust a key of the sender's choice, or demand an extension we do not have
/// (RFC 7515 sections 4.1.2 to 4.1.6 and 4.1.11). `x5t` and `x5t#S256` only name a key and are not used here.
const FORBIDDEN_MEMBERS: [&str; 5] = ["crit", "jku", "jwk", "x5u", "x5c"];

/// The decoded parts, which a [`Token`] borrows from.
pub(crate) struct Parts<'a> {
    text: &'a str,
    header: Vec<u8>,
    claims: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Token<'a> {
    text: &'a str,
    header: Header<'a>,
    claims: Claims<'a>,
}

/// What a verified token says, checked against the issuer's rules and the clock.
#[derive(Debug)]
pub(crate) struct Identified {
    pub(crate) subject: Subject,
    pub(crate) expires: Timestamp,
    pub(crate) token_id: Option<String>,
}

#[derive(Debug, Default)]
struct Header<'a> {
    alg: Member<'a>,
    typ: Member<'a>,
    kid: Member<'a>,
    forbidden: bool,
}

#[derive(Debug, Default)]
struct Claims<'a> {
    iss: Member<'a>,
    aud: Member<'a>,
    sub: Member<'a>,
    exp: Member<'a>,
    iat: Member<'a>,
    nbf: Member<'a>,
    jti: Member<'a>,
}

// === impl Parts ===

impl<'a> Parts<'a> {
    pub(crate) fn split(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::malformed("the token is longer than 8 KiB"));
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::malformed("the token has not exactly three parts"));
        };
        if !is_base64url(signature) {
            return Err(not_base64url());
        }
        Ok(Self { text, header: decode(header)?, claims: decode(claims)? })
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
        const RULE: &str = "is not a JSON object without duplicate members";
        let header: Header<'a> = serde_json::from_slice(&parts.header)
            .map_err(|_| Refusal::new(Reason::MALFORMED_TOKEN, format!("the token's header {RULE}")))?;
        if header.forbidden {
            return Err(Refusal::malformed("the token's header has one of `crit`, `jku`, `jwk`, `x5u`, `x5c`"));
        }
        if [&header.typ, &header.kid].iter().any(|m| !matches!(m, Member::Absent | Member::Text(_))) {
            return Err(Refusal::malformed("`typ` or `kid` in the token's header is not a string"));
        }
        let claims = serde_json::from_slice(&parts.claims)
            .map_err(|_| Refusal::new(Reason::MALFORMED_TOKEN, format!("the token's claim set {RULE}")))?;
        Ok(Self { text: parts.text, header, claims })
    }

    /// As it was sent.
    pub(crate) fn text(&self) -> &str {
        self.text
    }

    pub(crate) fn issuer(&self) -> Result<&str, Refusal> {
        self.claims.iss.text().ok_or_else(|| bad_claim("`iss` must be a string"))
    }

    pub(crate) fn key_id(&self) -> Option<&str> {
        self.header.kid.text()
    }

    /// The token's algorithm, if the issuer is pinned to it. `none` and the HMAC family have no value to be pinned to.
    pub(crate) fn algorithm(&self, issuer: &Issuer) -> Result<SignatureAlgorithm, Refusal> {
        let named = self.header.alg.text().and_then(algorithm_of);
        named.filter(|algorithm| issuer.algorithms.contains(algorithm)).ok_or_else(|| {
            Refusal::new(Reason::BAD_ALGORITHM, "the token's algorithm is not one that this issuer may use")
        })
    }

    /// RFC 8725 section 3.11: a token made for another use (an ID token, a logout token) is not an access token.
    pub(crate) fn check_type(&self, issuer: &Issuer) -> Result<(), Refusal> {
        if issuer.token_types.is_empty() {
            return Ok(());
        }
        let is_accepted = self.header.typ.text().is_some_and(|typ| {
            let typ = without_application(typ);
            issuer.token_types.iter().any(|accepted| accepted.eq_ignore_ascii_case(typ))
        });
        if is_accepted { Ok(()) } else { Err(Refusal::new(Reason::BAD_TOKEN_TYPE, "`typ` is not accepted here")) }
    }

    /// Judges the claims. Call it after the signature has been verified.
    pub(crate) fn identify(&self, issuer: &Issuer, now: Timestamp) -> Result<Identified, Refusal> {
        let claims = &self.claims;
        check_audience(&claims.aud, issuer)?;
        let subject = subject_of(&claims.sub)?;
        let token_id = token_id_of(&claims.jti)?;
        let expires = check_times(claims, issuer, now)?;
        Ok(Identified { subject, expires, token_id })
    }
}

fn algorithm_of(name: &str) -> Option<SignatureAlgorithm> {
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

fn check_audience(aud: &Member<'_>, issuer: &Issuer) -> Result<(), Refusal> {
    let ours = |audience: &str| issuer.audiences.iter().any(|a| a == audience);
    let is_ours = match aud {
        Member::Text(one) => ours(one),
        Member::Texts(all) if !all.is_empty() => all.iter().any(|one| ours(one)),
        _ => return Err(bad_claim("`aud` must be a string or a list of strings")),
    };
    if is_ours { Ok(()) } else { Err(Refusal::new(Reason::WRONG_AUDIENCE, "the token is made for another service")) }
}

fn subject_of(sub: &Member<'_>) -> Result<Subject, Refusal> {
    const RULE: &str = "`sub` must be 1 to 255 printable ASCII characters without spaces, quotes or backslashes";
    sub.text().and_then(|text| Subject::new(text).ok()).ok_or_else(|| bad_claim(RULE))
}

fn token_id_of(jti: &Member<'_>) -> Result<Option<String>, Refusal> {
    match jti {
        Member::Absent => Ok(None),
        Member::Text(id) if is_token_id(id) => Ok(Some(id.to_string())),
        _ => Err(bad_claim("`jti` must be a string of 1 to 255 bytes without control characters")),
    }
}

fn is_token_id(id: &str) -> bool {
    (1..=TOKEN_ID_BYTES_MAX).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// When the token ends, leeway included, so that what is accepted now has not expired yet.
fn check_times(claims: &Claims<'_>, issuer: &Issuer, now: Timestamp) -> Result<Timestamp, Refusal> {
    let exp = numeric_date(&claims.exp, "`exp` must be a whole number of seconds")?;
    let iat = numeric_date(&claims.iat, "`iat` must be a whole number of seconds")?;
    let nbf = match &claims.nbf {
        Member::Absent => iat,
        nbf => numeric_date(nbf, "`nbf` must be a whole number of seconds")?,
    };
    // A leeway beyond what fits is a mistake in the registry and counts as none.
    let leeway_ms = i64::try_from(issuer.leeway_seconds).ok().and_then(|s| s.checked_mul(1000)).unwrap_or(0);
    let expires = exp.plus_millis(leeway_ms);
    if now >= expires {
        return Err(Refusal::new(Reason::TOKEN_EXPIRED, "the token has expired"));
    }
    if now.plus_millis(leeway_ms) < iat.max(nbf) {
        return Err(Refusal::new(Reason::TOKEN_NOT_YET_VALID, "the token is not valid yet"));
    }
    Ok(expires)
}

/// RFC 7519 allows fractions in a NumericDate; no issuer we know of writes them, and what we do not accept cannot be read
/// in two ways.
fn numeric_date(claim: &Member<'_>, rule: &'static str) -> Result<Timestamp, Refusal> {
    match claim {
        Member::Integer(seconds) if *seconds <= NUMERIC_DATE_MAX => {
            let seconds = i64::try_from(*seconds).map_err(|_| bad_claim(rule))?;
            Ok(Timestamp(seconds * 1000))
        }
        _ => Err(bad_claim(rule)),
    }
}

fn bad_claim(rule: &'static str) -> Refusal {
    Refusal::new(Reason::BAD_CLAIM, rule)
}

// === reading ===

impl<'de> Deserialize<'de> for Header<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Header<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JOSE header")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut header = Header::default();
                json::members(&mut map, |name, map| {
                    let value = map.next_value()?;
                    match name {
                        "alg" => header.alg = value,
                        "typ" => header.typ = value,
                        "kid" => header.kid = value,
                        _ => header.forbidden |= FORBIDDEN_MEMBERS.contains(&name),
                    }
                    Ok(())
                })?;
                Ok(header)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for Claims<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Claims<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a claim set")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut claims = Claims::default();
                json::members(&mut map, |name, map| {
                    let value = map.next_value()?;
                    match name {
                        "iss" => claims.iss = value,
                        "aud" => claims.aud = value,
                        "sub" => claims.sub = value,
                        "exp" => claims.exp = value,
                        "iat" => claims.iat = value,
                        "nbf" => claims.nbf = value,
                        "jti" => claims.jti = value,
                        _ => {}
                    }
                    Ok(())
                })?;
                Ok(claims)
            }
        }
        deserializer.deserialize_map(Object)
    }
}
