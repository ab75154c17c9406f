//! Exactly one credential, in exactly one place.
//!
//! Two places are two readings: one component would check the first token and another act on the second.

use crate::refusal::Refusal;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use model::Reason;

/// The own token of who acts for the principal of the other one (RFC 8693 section 1.1).
const ACTOR_TOKEN: HeaderName = HeaderName::from_static("millgate-actor-token");

/// What a request shows of its sender beside the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) actor: Option<&'a str>,
}

pub(crate) fn read(headers: &HeaderMap, query_has_access_token: bool) -> Result<Shown<'_>, Refusal> {
    let token = match bearer(headers, query_has_access_token) {
        Ok(token) => Some(token),
        // Nothing was shown, in no place.
        Err(_)
            if !query_has_access_token
                && [AUTHORIZATION, PROXY_AUTHORIZATION].iter().all(|h| !headers.contains_key(h)) =>
        {
            None
        }
        Err(refusal) => return Err(refusal),
    };
    Ok(Shown { token, actor: actor_token(headers)? })
}

fn actor_token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(ACTOR_TOKEN).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| Refusal::malformed("the actor's token is not ASCII"))?;
            Ok(Some(text))
        }
        (Some(_), Some(_)) => Err(several("several `millgate-actor-token` headers")),
    }
}

/// The token of the request's only credential, `Authorization: Bearer TOKEN` (RFC 6750 section 2.1).
pub(crate) fn bearer(headers: &HeaderMap, query_has_access_token: bool) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let elsewhere = query_has_access_token || headers.contains_key(PROXY_AUTHORIZATION);
    match (values.next(), values.next()) {
        (None, _) if elsewhere => Err(none("send the token in the header `authorization`, not elsewhere")),
        (None, _) => Err(none("send a token in the header `authorization: Bearer TOKEN`")),
        (Some(_), Some(_)) => Err(several("several `authorization` headers")),
        (Some(_), None) if query_has_access_token => Err(several("a token in the query beside the header")),
        (Some(_), None) if elsewhere => Err(several("`proxy-authorization` beside `authorization`")),
        (Some(value), None) => token_of(value),
    }
}

fn token_of(value: &HeaderValue) -> Result<&str, Refusal> {
    let text = value.to_str().map_err(|_| Refusal::malformed("the credential has bytes that are not ASCII"))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    // What joins several headers of one name into one (RFC 9110 section 5.3) is neither in a scheme nor in a token.
    if text.contains(',') {
        return Err(several("several credentials in one `authorization` header"));
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(none("the scheme of `authorization` is not `Bearer`"));
    }
    Ok(token.trim_matches(' '))
}

pub(crate) fn none(detail: &'static str) -> Refusal {
    Refusal::new(Reason::NO_CREDENTIAL, detail)
}

fn several(detail: &'static str) -> Refusal {
    Refusal::new(Reason::SEVERAL_CREDENTIALS, detail)
}
