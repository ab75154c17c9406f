//! One question to a source, over HTTP or in SQL. Every header towards a source is made here; none is passed through.

use crate::Broker;
use crate::assertion::AssertionError;
use crate::database::{Database, DatabaseError, Rows, RowsError, Slot};
use crate::forward::Question;
use crate::respond::{Body, BodyError, REQUEST_ID, Refusal};
use crate::shape::Plan;
use crate::shape::plan::content_type;
use crate::upstream::{Http, To, Upstream};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use model::entry::Ended;
use model::{Reason, RequestId};
use pdp::Permit;
use registry::{HttpRequest, SqlQuestion, UpstreamRequest};
use std::pin::Pin;
use std::task::{Context, Poll};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A question that can be asked.
#[derive(Debug)]
pub enum Prepared<'a> {
    Http { request: Box<Request<Body>>, assertion: Option<HeaderValue> },
    Sql { question: &'a SqlQuestion, plan: &'a Plan },
}

/// Why a question cannot be asked: a fault of ours.
#[derive(Debug, thiserror::Error)]
pub enum NotBuilt {
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    #[error(transparent)]
    Http(#[from] http::Error),
    #[error("the route's question is not one for its source")]
    OtherKind,
}

impl<'a> Prepared<'a> {
    /// # Errors
    /// When the assertion cannot be made, or the request not built.
    pub fn new(broker: &Broker, permit: &Permit, question: Question<'a>) -> Result<Self, NotBuilt> {
        match (&question.upstream.to, question.target) {
            (To::Http(http), UpstreamRequest::Http(target)) => {
                let assertion = assertion(broker, http, permit, question.request)?;
                let request = build(&question, http, target, assertion.as_ref())?;
                Ok(Self::Http { request: Box::new(request.map(|()| question.body)), assertion })
            }
            (To::Database(_), UpstreamRequest::Sql(sql)) => Ok(Self::Sql { question: sql, plan: question.plan }),
            (To::Http(_), UpstreamRequest::Sql(_)) | (To::Database(_), UpstreamRequest::Http(_)) => {
                Err(NotBuilt::OtherKind)
            }
        }
    }

    pub fn assertion(&self) -> Option<&HeaderValue> {
        if let Self::Http { assertion, .. } = self { assertion.as_ref() } else { None }
    }

    /// # Errors
    /// The refusal, where there is no answer that may be looked at.
    pub async fn send(
        self,
        upstream: &Upstream,
        id: RequestId,
        slot: &Slot,
    ) -> Result<Response<SourceBody>, (Ended, Refusal)> {
        let answered = async {
            match (self, &upstream.to) {
                (Self::Http { request, .. }, To::Http(http)) => ask_http(http, *request, id).await,
                (Self::Sql { question, plan }, To::Database(database)) => {
                    ask_sql(database, question, plan, id, slot).await
                }
                _ => Err((Ended::SourceFailed, unreachable_source())),
            }
        };
        match tokio::time::timeout(upstream.response_timeout, answered).await {
            Ok(answered) => answered,
            Err(_) => Err(too_late()),
        }
    }
}

/// What a source sends.
#[derive(Debug)]
pub enum SourceBody {
    Http(Incoming),
    Rows(Rows),
}

/// Why it ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Http(hyper::Error),
    #[error(transparent)]
    Rows(RowsError),
}

impl http_body::Body for SourceBody {
    type Data = Bytes;
    type Error = SourceError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SourceError>>> {
        match self.get_mut() {
            Self::Http(body) => Pin::new(body).poll_frame(cx).map_err(SourceError::Http),
            Self::Rows(rows) => Pin::new(rows).poll_frame(cx).map_err(SourceError::Rows),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http(body) => body.is_end_stream(),
            Self::Rows(rows) => rows.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http(body) => body.size_hint(),
            Self::Rows(rows) => rows.size_hint(),
        }
    }
}

// === a database

async fn ask_sql(
    database: &Database,
    question: &SqlQuestion,
    plan: &Plan,
    id: RequestId,
    slot: &Slot,
) -> Result<Response<SourceBody>, (Ended, Refusal)> {
    let wanted = plan.wanted(question);
    let form = wanted.form;
    match database.ask(question, &wanted, slot.clone()).await {
        Ok(rows) => {
            let mut answer = Response::new(SourceBody::Rows(rows));
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(form)));
            Ok(answer)
        }
        Err(error) => {
            tracing::warn!(%error, request = %id, "a database gave no answer");
            Err(match error {
                DatabaseError::Timeout => too_late(),
                DatabaseError::Unreachable(_) | DatabaseError::Login(_) => (Ended::SourceFailed, unreachable_source()),
                DatabaseError::Failed(_) | DatabaseError::TwoColumns(_) | DatabaseError::NoColumn(_) => {
                    let refusal = Refusal::new(Reason::SOURCE_FAILED, "the source refused the question or failed");
                    (Ended::SourceFailed, refusal)
                }
            })
        }
    }
}

fn too_late() -> (Ended, Refusal) {
    (Ended::SourceTimeout, Refusal::new(Reason::SOURCE_TIMEOUT, "the source did not answer in time"))
}

fn unreachable_source() -> Refusal {
    Refusal::new(Reason::SOURCE_UNREACHABLE, "the source cannot be reached or broke off")
}

// === HTTP

async fn ask_http(
    http: &Http,
    request: Request<Body>,
    id: RequestId,
) -> Result<Response<SourceBody>, (Ended, Refusal)> {
    let answer = http.client.request(request).await.map_err(|error| {
        if let Some(refusal) = callers_fault(&error) {
            return (Ended::CallerAborted, refusal);
        }
        tracing::warn!(error = %describe(&error), request = %id, "a source could not be asked");
        (Ended::SourceFailed, unreachable_source())
    })?;
    match refused_answer(answer.status()) {
        Some(refusal) => Err((Ended::SourceFailed, refusal)),
        None => Ok(answer.map(SourceBody::Http)),
    }
}

fn assertion(
    broker: &Broker,
    http: &Http,
    permit: &Permit,
    request: RequestId,
) -> Result<Option<HeaderValue>, AssertionError> {
    let Some(to) = &http.assertion else { return Ok(None) };
    broker.assertions.sign(to, permit, request, broker.clock.now()).map(Some)
}

fn build(
    question: &Question<'_>,
    to: &Http,
    target: &HttpRequest,
    assertion: Option<&HeaderValue>,
) -> Result<Request<()>, http::Error> {
    let uri = Uri::builder()
        .scheme(to.scheme.clone())
        .authority(to.authority.clone())
        .path_and_query(target.path_and_query.as_str())
        .build()?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(target.method.as_bytes())?;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("millgate/", env!("CARGO_PKG_VERSION"))));
    headers.insert(REQUEST_ID, HeaderValue::try_from(question.request.to_string())?);
    for (name, value) in &target.headers {
        headers.append(HeaderName::try_from(name)?, HeaderValue::from_str(value)?);
    }
    if let Some(authorization) = &to.authorization {
        headers.append(header::AUTHORIZATION, authorization.clone());
    }
    if let (Some(addressee), Some(assertion)) = (&to.assertion, assertion) {
        headers.append(addressee.header.clone(), assertion.clone());
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

pub fn no_such_item() -> Refusal {
    Refusal::new(Reason::SOURCE_NOT_FOUND, "the source has no such item")
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
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
