//! `Admitted` → the source's answer. Every header towards the source is made here; none is passed through.

use crate::Broker;
use crate::ask::{Prepared, SourceBody, describe, no_such_item};
use crate::listener::Peer;
use crate::record::{Admitted, Exchange};
use crate::respond::{AGREEMENT, Body, Refusal};
use crate::shape::{self, NotBegun, Plan, Recorded, Shaped, Times, Watched};
use crate::upstream::{Upstream, contains};
use crate::world::World;
use http::{HeaderValue, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use model::entry::Ended;
use model::{AgreementId, Reason, RequestId};
use registry::UpstreamRequest;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What goes to the source beside the permit.
#[derive(Debug)]
pub struct Question<'a> {
    pub request: RequestId,
    /// That it was decided in.
    pub world: &'a World,
    pub upstream: &'a Upstream,
    /// The caller's connection.
    pub peer: &'a Peer,
    pub target: &'a UpstreamRequest,
    /// What is done to the answer.
    pub plan: &'a Plan,
    /// The caller takes it compressed.
    pub gzip: bool,
    /// The end of the answer leaves only when the outcome is durable.
    pub withholds: bool,
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
    let mut standing = broker.standing(&permit, question.world, question.peer);
    let slot = match tokio::time::timeout(upstream.queue_timeout, upstream.slots.clone().acquire_owned()).await {
        Ok(Ok(slot)) => Arc::new(slot),
        _ => {
            let refusal = Refusal::new(Reason::SOURCE_BUSY, "the source has all the requests it can bear; try again");
            return Err(failed(exchange, Ended::NotForwarded, refusal.retry_after(2)));
        }
    };
    // The world may have changed while the request waited for keys or for its turn.
    if let Some(refusal) = standing.ended(&broker.world()) {
        return Err(failed(exchange, Ended::NotForwarded, refusal));
    }
    // Now, not before: what it is asked with lives from here, and a request may have waited for its turn.
    let (plan, gzip, id, withholds) = (question.plan, question.gzip, question.request, question.withholds);
    let asked = match Prepared::new(broker, &permit, question) {
        Ok(asked) => asked,
        Err(error) => {
            tracing::error!(%error, request = %id, "a question to a source could not be built");
            let refusal = Refusal::new(Reason::SOURCE_FAILED, "the question to the source could not be built");
            return Err(failed(exchange, Ended::NotForwarded, refusal));
        }
    };
    let assertion = asked.assertion().cloned();
    let mut exchange = exchange;
    exchange.forwarded();
    let answer = match asked.send(upstream, id, &slot).await {
        Ok(answer) => answer,
        Err((ended, refusal)) => return Err(failed(exchange, ended, refusal)),
    };
    let times = Times { idle: upstream.idle_timeout, end: Instant::now() + upstream.answer_timeout };
    let answer = match plan {
        Plan::Whole => Ok(answer.map(Answer::Whole)),
        plan => {
            let mut worlds = broker.worlds.subscribe();
            tokio::select! {
                answer = shaped(answer, plan, gzip, times) => answer,
                // Said below, with its reason.
                _ = standing.withdrawn(&mut worlds) => Err((Ended::Withdrawn, withdrawn())),
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
    if withholds && answer.body().is_over() {
        exchange = concluded(exchange, &answer, plan, upstream.idle_timeout).await?;
    }
    let watched =
        Watched { exchange, standing, idle: upstream.idle_timeout, end: times.end, heard: None, slot, withholds };
    Ok(serve(broker, answer, watched, plan, agreement.as_ref(), id))
}

/// What becomes of an answer's body.
enum Answer {
    Whole(SourceBody),
    Shaped(Box<Shaped<SourceBody>>),
}

impl Answer {
    /// Before anything of it was read.
    fn is_over(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Shaped(body) => body.is_end_stream(),
        }
    }
}

/// An answer without a body is whole with its head: nobody polls what follows, so the outcome is durable before there is one.
async fn concluded(
    mut exchange: Exchange,
    answer: &Response<Answer>,
    plan: &Plan,
    patience: Duration,
) -> Result<Exchange, Refusal> {
    exchange.answering(answer.status().as_u16());
    let rows = match answer.body() {
        Answer::Whole(_) => None,
        Answer::Shaped(body) => Some(body.rows()),
    };
    exchange.showing(plan.word(), rows);
    let recorded = match exchange.conclude() {
        Some(recorded) => matches!(tokio::time::timeout(patience, recorded).await, Ok(Ok(_))),
        None => false,
    };
    if recorded {
        return Ok(exchange);
    }
    // What is recorded stays: all of it stood ready.
    let detail = "the answer is given out only when the log has how it ended, and it does not have it yet; try again";
    Err(Refusal::new(Reason::NOT_RECORDED, detail).retry_after(1))
}

/// The beginning of the answer as it may be seen, or why there is none.
async fn shaped(
    answer: Response<SourceBody>,
    plan: &Plan,
    gzip: bool,
    times: Times,
) -> Result<Response<Answer>, (Ended, Refusal)> {
    let Some(shaper) = plan.shaper().filter(|_| !answer.body().is_end_stream()) else {
        return Ok(answer.map(Answer::Whole));
    };
    let (parts, body) = answer.into_parts();
    let malformed = || {
        let what = "the source's answer is not what the plant declares, so nothing of it can be shown";
        (Ended::SourceFailed, Refusal::new(Reason::SOURCE_MALFORMED, what))
    };
    let mut types = parts.headers.get_all(header::CONTENT_TYPE).iter().map(HeaderValue::to_str);
    let declared = matches!((types.next(), types.next()), (Some(Ok(one)), None) if plan.is_declared(one));
    if !declared || parts.headers.contains_key(header::CONTENT_ENCODING) {
        tracing::warn!("a source's answer is not of the type that the catalog declares, or is encoded");
        return Err(malformed());
    }
    match Shaped::begin(body, shaper, times, gzip).await {
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

fn withdrawn() -> Refusal {
    Refusal::denied(Reason::NOT_PERMITTED, "the permission ended while the source was answering")
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
