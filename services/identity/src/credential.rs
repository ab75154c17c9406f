//! Exactly one credential, in exactly one place.
//!
//! Two places are two readings: one component would check the first token and another act on the second.

use crate::refusal::Refusal;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, PROXY_AUTHORIZATION};
use model::Reason;

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

fn none(detail: &'static str) -> Refusal {
    Refusal::new(Reason::NO_CREDENTIAL, detail)
}

fn several(detail: &'static str) -> Refusal {
    Refusal::new(Reason::SEVERAL_CREDENTIALS, detail)
}
