//! Every refusal → status and problem document (RFC 9457). Status codes are chosen here and nowhere else.

use crate::ask::SourceError;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use model::{AgreementId, Reason, RequestId};
use serde::Serialize;

/// Headers of ours in answers, the first also towards sources.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("millgate-request-id");
pub const AGREEMENT: HeaderName = HeaderName::from_static("millgate-agreement");
pub const RECEIPT: HeaderName = HeaderName::from_static("audit-receipt");
pub const VIEW: HeaderName = HeaderName::from_static("millgate-view");

/// Bodies of answers: streamed from a source, or a problem document.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why an answer broke off; hyper aborts the connection or stream, so the caller sees that it is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the source broke off")]
    Source(#[source] SourceError),
    #[error("the source's answer is not what was declared")]
    Malformed,
    #[error("the source sent nothing for too long")]
    SourceIdle,
    #[error("the caller took nothing for too long")]
    CallerIdle,
    #[error("the answer took too long")]
    TooSlow,
    #[error("the permission was withdrawn")]
    Withdrawn,
    #[error("the outcome could not be recorded")]
    NotRecorded,
    #[error("the caller's body broke off")]
    Caller(#[source] hyper::Error),
    #[error("the caller's body is larger than its route allows")]
    TooLarge,
    #[error("an answer of our own broke off")]
    Own(#[source] axum::Error),
}

impl From<SourceError> for BodyError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

/// A request that is not served, with what its caller may know of it.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub reason: Reason,
    /// All of them, when several policies refuse.
    pub reasons: Vec<Reason>,
    /// What is wrong and what to do; for the caller's eyes.
    pub detail: String,
    /// Agreements to choose from, when several permit.
    pub agreements: Box<[AgreementId]>,
    /// Whether a policy denied it: the code may be a policy's own.
    pub denied_by_policy: bool,
    pub retry_after_seconds: Option<u32>,
    /// The login had a proof (RFC 9449): what is wrong with it is said in that scheme's challenge.
    pub with_proof: bool,
    /// RFC 9110 section 15.5.6: what a 405 must name.
    pub allow: Box<[&'static str]>,
}

impl Refusal {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            reasons: Vec::new(),
            detail: detail.into(),
            agreements: Box::default(),
            denied_by_policy: false,
            retry_after_seconds: None,
            with_proof: false,
            allow: Box::default(),
        }
    }

    /// The one answer for "no such thing" and for "nothing that you may know of".
    pub fn not_found() -> Self {
        Self::new(Reason::NOT_FOUND, "there is nothing here for this caller")
    }

    pub fn denied(reason: Reason, detail: impl Into<String>) -> Self {
        Self { denied_by_policy: true, ..Self::new(reason, detail) }
    }

    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    pub fn status(&self) -> StatusCode {
        if self.denied_by_policy { StatusCode::FORBIDDEN } else { status_of(&self.reason) }
    }
}

fn status_of(reason: &Reason) -> StatusCode {
    match reason {
        r if [
            Reason::AMBIGUOUS_PATH,
            Reason::AMBIGUOUS_QUERY,
            Reason::AMBIGUOUS_REQUEST,
            Reason::BAD_HEADER,
            Reason::BAD_PARAMETER,
            Reason::UNDECLARED_PARAMETER,
            Reason::DUPLICATE_PARAMETER,
            Reason::MISSING_PARAMETER,
            Reason::UNDECLARED_BODY,
            Reason::SEVERAL_CREDENTIALS,
            Reason::MISPLACED_CREDENTIAL,
        ]
        .contains(r) =>
        {
            StatusCode::BAD_REQUEST
        }
        r if [
            Reason::NO_CREDENTIAL,
            Reason::MALFORMED_TOKEN,
            Reason::UNKNOWN_ISSUER,
            Reason::UNKNOWN_KEY,
            Reason::BAD_ALGORITHM,
            Reason::BAD_SIGNATURE,
            Reason::BAD_TOKEN_TYPE,
            Reason::BAD_CLAIM,
            Reason::WRONG_AUDIENCE,
            Reason::TOKEN_EXPIRED,
            Reason::TOKEN_NOT_YET_VALID,
            Reason::TOKEN_TOO_OLD,
            Reason::TOKEN_INACTIVE,
            Reason::BAD_CERTIFICATE,
            Reason::CERTIFICATE_EXPIRED,
            Reason::UNKNOWN_AUTHORITY,
            Reason::BINDING_REQUIRED,
            Reason::BAD_BINDING,
            Reason::BAD_PROOF,
            Reason::PROOF_REPLAYED,
            Reason::NONCE_REQUIRED,
            Reason::BAD_DELEGATION,
            Reason::REVOKED,
        ]
        .contains(r) =>
        {
            StatusCode::UNAUTHORIZED
        }
        r if *r == Reason::NOT_FOUND || *r == Reason::SOURCE_NOT_FOUND => StatusCode::NOT_FOUND,
        r if *r == Reason::PRUNED => StatusCode::GONE,
        r if *r == Reason::LEGAL_HOLD || *r == Reason::ERASURE_CLOSED => StatusCode::CONFLICT,
        r if *r == Reason::METHOD_NOT_ALLOWED => StatusCode::METHOD_NOT_ALLOWED,
        r if *r == Reason::BODY_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
        r if [
            Reason::ISSUER_UNAVAILABLE,
            Reason::NOT_RECORDED,
            Reason::NOT_PUBLISHED,
            Reason::NOT_INDEXED,
            Reason::QUARANTINED,
            Reason::OVERLOADED,
            Reason::SOURCE_BUSY,
            Reason::SHUTTING_DOWN,
        ]
        .contains(r) =>
        {
            StatusCode::SERVICE_UNAVAILABLE
        }
        r if *r == Reason::SOURCE_TIMEOUT => StatusCode::GATEWAY_TIMEOUT,
        r if [
            Reason::SOURCE_UNREACHABLE,
            Reason::SOURCE_REDIRECTED,
            Reason::SOURCE_FAILED,
            Reason::SOURCE_MALFORMED,
        ]
        .contains(r) =>
        {
            StatusCode::BAD_GATEWAY
        }
        _ => StatusCode::FORBIDDEN,
    }
}

/// RFC 9457, media type `application/problem+json`.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    reason: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<&'a str>,
    detail: &'a str,
    request_id: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    agreements: &'a [AgreementId],
}

/// The answer to a refused request.
pub fn refuse(refusal: &Refusal, request: RequestId) -> Response<Body> {
    let status = refusal.status();
    let problem = Problem {
        r#type: format!("urn:millgate:reason:{}", refusal.reason),
        title: status.canonical_reason().unwrap_or("Refused"),
        status: status.as_u16(),
        reason: refusal.reason.as_str(),
        reasons: refusal.reasons.iter().map(Reason::as_str).collect(),
        detail: &refusal.detail,
        request_id: request.to_string(),
        agreements: &refusal.agreements,
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        for challenge in challenges(refusal) {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
    }
    if status == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(methods) = HeaderValue::from_str(&refusal.allow.join(", "))
    {
        headers.insert(header::ALLOW, methods);
    }
    if let Some(seconds) = refusal.retry_after_seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    ours(headers, request);
    response
}

/// Both schemes, the one that was tried first. What they say follows from the reason and from what the caller sent, so
/// that a stranger learns nothing from them.
fn challenges(refusal: &Refusal) -> [HeaderValue; 2] {
    let bearer = |error: &str| format!("Bearer realm=\"millgate\"{error}");
    let dpop = |error: &str| format!("DPoP realm=\"millgate\"{error}, algs=\"{}\"", identity::DPOP_ALGORITHMS);
    let error = error_of(&refusal.reason).map(|code| format!(", error=\"{code}\"")).unwrap_or_default();
    let of_proof = [Reason::BAD_PROOF, Reason::PROOF_REPLAYED, Reason::NONCE_REQUIRED].contains(&refusal.reason);
    let both = if refusal.with_proof || of_proof { [dpop(&error), bearer("")] } else { [bearer(&error), dpop("")] };
    both.map(|challenge| HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Bearer")))
}

/// RFC 6750 section 3.1 and RFC 9449 sections 7.1 and 9. None when no token was sent.
fn error_of(reason: &Reason) -> Option<&'static str> {
    match reason {
        r if *r == Reason::NONCE_REQUIRED => Some("use_dpop_nonce"),
        r if [Reason::BAD_PROOF, Reason::PROOF_REPLAYED].contains(r) => Some("invalid_dpop_proof"),
        r if [
            Reason::NO_CREDENTIAL,
            Reason::BAD_CERTIFICATE,
            Reason::CERTIFICATE_EXPIRED,
            Reason::UNKNOWN_AUTHORITY,
        ]
        .contains(r) =>
        {
            None
        }
        _ => Some("invalid_token"),
    }
}

/// Headers that every answer of ours carries.
pub fn ours(headers: &mut http::HeaderMap, request: RequestId) {
    if let Ok(id) = HeaderValue::try_from(request.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_ours_has_a_status() {
        let table: Vec<String> =
            Reason::OWN.iter().map(|r| format!("{} {r}", Refusal::new(r.clone(), "").status().as_u16())).collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn every_401_challenges_in_both_schemes_and_tells_a_stranger_nothing() {
        let lines = Reason::OWN.iter().flat_map(|reason| [false, true].map(|with_proof| (reason, with_proof)));
        let lines = lines.filter_map(|(reason, with_proof)| {
            let refusal = Refusal { with_proof, ..Refusal::new(reason.clone(), "") };
            let response = refuse(&refusal, RequestId::new(model::Timestamp(0), [0; 10]));
            let shown: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
            assert_eq!(shown.is_empty(), response.status() != 401, "{reason}");
            let shown: Vec<_> = shown.iter().map(|v| format!("\n  {}", v.to_str().unwrap())).collect();
            let asked = if with_proof { "with a proof" } else { "without" };
            (!shown.is_empty()).then(|| format!("{reason}, {asked}{}", shown.concat()))
        });
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn a_policys_own_code_is_a_403() {
        let refusal = Refusal::denied(Reason::parse("agreement_expired").unwrap(), "ask for a new one");
        let response = refuse(&refusal, RequestId::new(model::Timestamp(0), [0; 10]));
        assert_eq!(response.status(), 403);
        assert_eq!(response.headers()["cache-control"], "private, no-store");
    }
}
