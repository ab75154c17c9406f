//! Exactly one credential, in exactly one place.
//!
//! Two places are two readings: one component would check the first token and another act on the second. What passes:
//!
//! 1. one header `authorization: Bearer TOKEN` (RFC 6750 section 2.1), and no header `dpop`;
//! 2. one header `authorization: DPoP TOKEN` with one header `dpop: PROOF` (RFC 9449 section 7.1);
//! 3. neither of the two: then the connection's certificate is the credential, or there is none;
//! 4. beside 1 or 2, at most one header `millgate-actor-token: TOKEN` of who acts for the token's principal.
//!
//! A credential anywhere else is a 400, whatever stands in the right place.

use crate::refusal::Refusal;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use model::Reason;

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The own token of who acts for the principal of the other one (RFC 8693 section 1.1).
const ACTOR_TOKEN: HeaderName = HeaderName::from_static("millgate-actor-token");

/// What a request shows of its sender beside the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) token: Option<Token<'a>>,
    pub(crate) actor: Option<&'a str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) scheme: Scheme<'a>,
    pub(crate) text: &'a str,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Scheme<'a> {
    /// Whoever has the token may use it, but for what it says itself.
    Bearer,
    /// With a proof for this one request.
    Dpop { proof: &'a str },
}

pub(crate) fn read(headers: &HeaderMap, query_has_access_token: bool) -> Result<Shown<'_>, Refusal> {
    if headers.contains_key(PROXY_AUTHORIZATION) {
        return Err(misplaced("`proxy-authorization` is not read here; use `authorization`"));
    }
    if query_has_access_token {
        return Err(misplaced("a token in the query is not read here, and others can; use `authorization`"));
    }
    let proof = one(headers, &DPOP, "several proofs in the header `dpop`; send one")?;
    let actor = one(headers, &ACTOR_TOKEN, "several tokens in the header `millgate-actor-token`; send one")?;
    let authorization = one(headers, &AUTHORIZATION, "several credentials in the header `authorization`; send one")?;
    let token = authorization.map(|value| token_of(value, proof)).transpose()?;
    match token {
        None if proof.is_some() => Err(misplaced("a proof in the header `dpop` needs `authorization: DPoP TOKEN`")),
        None if actor.is_some() => Err(misplaced("an actor's token needs the token of who it acts for")),
        _ => Ok(Shown { token, actor }),
    }
}

/// The text of a header that stands at most once. What joins several of one name into one (RFC 9110 section 5.3) is
/// neither in a token nor in a proof.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName, several: &'static str) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.as_bytes().contains(&b',') {
        return Err(Refusal::new(Reason::SEVERAL_CREDENTIALS, several));
    }
    let text = HeaderValue::to_str(value);
    text.map(Some).map_err(|_| Refusal::malformed("the credential has bytes that are not ASCII"))
}

fn token_of<'h>(value: &'h str, proof: Option<&'h str>) -> Result<Token<'h>, Refusal> {
    let (scheme, text) = value.split_once(' ').unwrap_or((value, ""));
    let scheme = match proof {
        Some(proof) if scheme.eq_ignore_ascii_case("dpop") => Scheme::Dpop { proof },
        None if scheme.eq_ignore_ascii_case("dpop") => {
            return Err(Refusal::new(Reason::BAD_PROOF, "`authorization: DPoP` needs a proof in the header `dpop`"));
        }
        None if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        Some(_) => return Err(misplaced("a proof in the header `dpop` needs `authorization: DPoP TOKEN`")),
        None => return Err(none("the scheme of `authorization` is neither `Bearer` nor `DPoP`")),
    };
    Ok(Token { scheme, text: text.trim_matches(' ') })
}

pub(crate) fn none(detail: &'static str) -> Refusal {
    Refusal::new(Reason::NO_CREDENTIAL, detail)
}

fn misplaced(detail: &'static str) -> Refusal {
    Refusal::new(Reason::MISPLACED_CREDENTIAL, detail)
}
