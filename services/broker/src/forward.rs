//! `Admitted` → the source's answer. Every header towards the source is made here; none is passed through.

use crate::Broker;
use crate::assertion::AssertionError;
use crate::record::{Admitted, Exchange};
use crate::respond::{AGREEMENT, Body, BodyError, REQUEST_ID, Refusal};
use crate::shape::{self, NotBegun, Plan, Recorded, Shaped, Shaping, Times, Watched};
use crate::upstream::{Upstream, contains};
use crate::world::World;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use identity::PeerCertificate;
use model::entry::Ended;
use model::{AgreementId, Reason, RequestId};
use pdp::Permit;
use registry::UpstreamRequest;
use std::sync::Arc;
use tokio::time::Instant;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What goes to the source beside the permit.
#[derive(Debug)]
pub struct Question<'a> {
    pub request: RequestId,
    /// That it was decided in.
    pub world: &'a World,
    pub upstream: &'a Upstream,
    /// Of the caller's connection.
    pub certificate: Option<Arc<PeerCertificate>>,
    pub target: &'a UpstreamRequest,
    /// What is done to the answer.
    pub plan: &'a Plan,
    /// The caller takes it compressed.
    pub gzip: bool,
    pub body: Body,
    pub content_type: Option<HeaderValue>,
    /// W3C trace context, if there is any.
    pub traceparent: Option<String>,
}

/// Asks the source and hands its answer on, streaming.
///
/// # Errors
/// The refusal that the caller gets; the exchange's outcome says the same.
pub async fn forward(broker: &Broker, admitted: Admitted, question: Question<'_>) -> Result<Response<Body>, Refusal> {
    let (permit, exchange) = admitted.into_exchange();
    let upstream = question.upstream;
    let mut standing = broker.standing(&permit, question.world, question.certificate.clone());
    let slot = match tokio::time::timeout(upstream.queue_timeout, upstream.slots.clone().acquire_owned()).await {
        Ok(Ok(slot)) => slot,
        _ => {
            let refusal = Refusal::new(Reason::SOURCE_BUSY, "the source has all the requests it can bear; try again");
            return Err(failed(exchange, Ended::NotForwarded, refusal.retry_after(2)));
        }
    };
    // The world may have changed while the request waited for keys or for its turn.
    if let Some(refusal) = standing.ended(&broker.world()) {
        return Err(failed(exchange, Ended::NotForwarded, refusal));
    }
    // Now, not before: it lives from here, and a request may have waited for its turn.
    let assertion = match assertion(broker, upstream, &permit, question.request) {
        Ok(assertion) => assertion,
        Err(error) => {
            tracing::error!(%error, request = %question.request, "an assertion for a source could not be made");
            let refusal = Refusal::new(Reason::SOURCE_FAILED, "the question to the source could not be built");
            return Err(failed(exchange, Ended::NotForwarded, refusal));
        }
    };
    let request = match build(&question, assertion.as_ref()) {
        Ok(request) => request.map(|()| question.body),
        Err(error) => {
            tracing::error!(%error, request = %question.request, "a request to a source could not be built");
            let refusal = Refusal::new(Reason::SOURCE_FAILED, "the question to the source could not be built");
            return Err(failed(exchange, Ended::NotForwarded, refusal));
        }
    };
    let mut exchange = exchange;
    exchange.forwarded();
    let answer = match tokio::time::timeout(upstream.response_timeout, upstream.client.request(request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            if let Some(refusal) = callers_fault(&error) {
                return Err(failed(exchange, Ended::CallerAborted, refusal));
            }
            tracing::warn!(error = %describe(&error), request = %question.request, "a source could not be asked");
            let refusal = Refusal::new(Reason::SOURCE_UNREACHABLE, "the source cannot be reached or broke off");
            return Err(failed(exchange, Ended::SourceFailed, refusal));
        }
        Err(_) => {
            let refusal = Refusal::new(Reason::SOURCE_TIMEOUT, "the source did not answer in time");
            return Err(failed(exchange, Ended::SourceTimeout, refusal));
        }
    };
    if let Some(refusal) = refused_answer(answer.status()) {
        return Err(failed(exchange, Ended::SourceFailed, refusal));
    }
    let times = Times { idle: upstream.idle_timeout, end: Instant::now() + upstream.answer_timeout };
    let answer = match question.plan {
        Plan::Whole => Ok(answer.map(Answer::Whole)),
        Plan::Shaped(shaping) => {
            let mut worlds = broker.worlds.subscribe();
            tokio::select! {
                answer = shaped(answer, shaping, question.gzip, times) => answer,
                // Said below, with its reason.
                () = standing.withdrawn(&mut worlds) => Err((Ended::Withdrawn, withdrawn())),
            }
        }
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err((ended, refusal)) => {
            let refusal = standing.ended(&broker.world()).filter(|_| ended == Ended::Withdrawn).unwrap_or(refusal);
            return Err(failed(exchange, ended, refusal));
        }
    };
    if let Some(refusal) = standing.ended(&broker.world()) {
        return Err(failed(exchange, Ended::Withdrawn, refusal));
    }
    let agreement = permit.agreement().cloned();
    let answer = without_secrets(answer, upstream, assertion.as_ref());
    let watched = Watched { exchange, standing, idle: upstream.idle_timeout, end: times.end, heard: None, slot };
    Ok(serve(broker, answer, watched, question.plan, agreement.as_ref(), question.request))
}

/// What becomes of an answer's body.
enum Answer {
    Whole(Incoming),
    Shaped(Box<Shaped<Incoming>>),
}

/// The beginning of the answer as it may be seen, or why there is none.
async fn shaped(
    answer: Response<Incoming>,
    shaping: &Shaping,
    gzip: bool,
    times: Times,
) -> Result<Response<Answer>, (Ended, Refusal)> {
    if answer.body().is_end_stream() {
        return Ok(answer.map(Answer::Whole));
    }
    let (parts, body) = answer.into_parts();
    let malformed = || {
        let what = "the source's answer is not what the plant declares, so nothing of it can be shown";
        (Ended::SourceFailed, Refusal::new(Reason::SOURCE_MALFORMED, what))
    };
    let mut types = parts.headers.get_all(header::CONTENT_TYPE).iter().map(HeaderValue::to_str);
    let declared = matches!((types.next(), types.next()), (Some(Ok(one)), None) if shaping.is_declared(one));
    if !declared || parts.headers.contains_key(header::CONTENT_ENCODING) {
        tracing::warn!("a source's answer is not of the type that the catalog declares, or is encoded");
        return Err(malformed());
    }
    match Shaped::begin(body, shaping, times, gzip).await {
        Ok(body) => Ok(Response::from_parts(parts, Answer::Shaped(Box::new(body)))),
        Err(NotBegun::Malformed(what)) => {
            tracing::warn!(%what, "a source's answer is not what the catalog declares");
            Err(malformed())
        }
        Err(NotBegun::Source(error)) => {
            tracing::warn!(error = %describe(&error), "a source broke off");
            let refusal = Refusal::new(Reason::SOURCE_UNREACHABLE, "the source cannot be reached or broke off");
            Err((Ended::SourceFailed, refusal))
        }
        // As the source says it of what there is not.
        Err(NotBegun::Nothing) => Err((Ended::SourceFailed, no_such_item())),
        Err(NotBegun::Idle) => {
            let refusal = Refusal::new(Reason::SOURCE_TIMEOUT, "the source did not answer in time");
            Err((Ended::SourceTimeout, refusal))
        }
    }
}

fn assertion(
    broker: &Broker,
    upstream: &Upstream,
    permit: &Permit,
    request: RequestId,
) -> Result<Option<HeaderValue>, AssertionError> {
    let Some(to) = &upstream.assertion else { return Ok(None) };
    broker.assertions.sign(to, permit, request, broker.clock.now()).map(Some)
}

/// A source that repeats what it was sent must not tell the caller what only the broker may know.
fn without_secrets<B>(mut answer: Response<B>, upstream: &Upstream, assertion: Option<&HeaderValue>) -> Response<B> {
    // The signature is what makes it one; what is before it, the caller knows.
    let signature = assertion.and_then(|a| a.as_bytes().rsplit(|b| *b == b'.').next());
    let repeats = |value: &HeaderValue| {
        upstream.repeats_a_secret(value.as_bytes()) || signature.is_some_and(|s| contains(value.as_bytes(), s))
    };
    for name in &shape::PASSED {
        if answer.headers().get_all(name).iter().any(repeats) {
            tracing::warn!(header = %name, "a source repeated a credential of ours in a header, which was left out");
            answer.headers_mut().remove(name);
        }
    }
    answer
}

fn failed(exchange: Exchange, ended: Ended, refusal: Refusal) -> Refusal {
    exchange.fail(ended, &refusal);
    refusal
}

fn build(question: &Question<'_>, assertion: Option<&HeaderValue>) -> Result<Request<()>, http::Error> {
    let upstream = question.upstream;
    let uri = Uri::builder()
        .scheme(upstream.scheme.clone())
        .authority(upstream.authority.clone())
        .path_and_query(question.target.path_and_query.as_str())
        .build()?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(question.target.method.as_bytes())?;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("millgate/", env!("CARGO_PKG_VERSION"))));
    headers.insert(REQUEST_ID, HeaderValue::try_from(question.request.to_string())?);
    for (name, value) in &question.target.headers {
        headers.append(HeaderName::try_from(name)?, HeaderValue::from_str(value)?);
    }
    if let Some(authorization) = &upstream.authorization {
        headers.append(header::AUTHORIZATION, authorization.clone());
    }
    if let (Some(to), Some(assertion)) = (&upstream.assertion, assertion) {
        headers.append(to.header.clone(), assertion.clone());
    }
    if let Some(content_type) = &question.content_type {
        headers.append(header::CONTENT_TYPE, content_type.clone());
    }
    if let Some(traceparent) = &question.traceparent {
        headers.append(TRACEPARENT, HeaderValue::from_str(traceparent)?);
    }
    Ok(request)
}

/// Only a plain success is passed on. An error page can hold anything, so its body never leaves.
fn refused_answer(status: StatusCode) -> Option<Refusal> {
    let refusal = match status {
        s if s == StatusCode::PARTIAL_CONTENT => {
            Refusal::new(Reason::SOURCE_FAILED, "the source sent a part of an answer that was not asked for")
        }
        s if s.is_success() => return None,
        s if s.is_redirection() => {
            Refusal::new(Reason::SOURCE_REDIRECTED, "the source pointed elsewhere; redirects are not followed")
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => no_such_item(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Refusal::new(Reason::SOURCE_BUSY, "the source says that it is busy").retry_after(5)
        }
        s => Refusal::new(Reason::SOURCE_FAILED, format!("the source answered with status {}", s.as_u16())),
    };
    Some(refusal)
}

fn withdrawn() -> Refusal {
    Refusal::denied(Reason::NOT_PERMITTED, "the permission ended while the source was answering")
}

fn no_such_item() -> Refusal {
    Refusal::new(Reason::SOURCE_NOT_FOUND, "the source has no such item")
}

fn serve(
    broker: &Broker,
    answer: Response<Answer>,
    mut watched: Watched,
    plan: &Plan,
    agreement: Option<&AgreementId>,
    request: RequestId,
) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    watched.exchange.answering(parts.status.as_u16());
    let mut is_compressed = false;
    let body = match body {
        Answer::Whole(body) => {
            watched.exchange.showing(plan.word(), None);
            Recorded::new(body, watched, &broker.vigil).boxed_unsync()
        }
        Answer::Shaped(body) => {
            is_compressed = body.is_compressed();
            watched.heard = Some(body.heard());
            watched.exchange.showing(plan.word(), Some(body.rows()));
            Recorded::new(body, watched, &broker.vigil).boxed_unsync()
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    shape::headers(plan, is_compressed, &parts.headers, response.headers_mut());
    crate::respond::ours(response.headers_mut(), request);
    if let Some(agreement) = agreement
        && let Ok(value) = HeaderValue::from_str(agreement.as_str())
    {
        response.headers_mut().insert(AGREEMENT, value);
    }
    response
}

/// The refusal when it was the caller's body that ended the question, and not the source.
fn callers_fault(error: &(dyn std::error::Error + 'static)) -> Option<Refusal> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<BodyError>() {
            Some(BodyError::TooLarge) => {
                return Some(Refusal::new(Reason::BODY_TOO_LARGE, "the body is larger than this route takes"));
            }
            Some(BodyError::Caller(_)) => {
                return Some(Refusal::new(Reason::AMBIGUOUS_REQUEST, "the body is not as long as was said"));
            }
            _ => cause = error.source(),
        }
    }
    None
}

/// The chain of causes in one line; hyper's own text says only "client error (Connect)".
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
