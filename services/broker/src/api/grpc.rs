//! The audit log over gRPC: `millgate.audit.v1.AuditLog`, on the same listener, for the same callers, by the same rules.
//!
//! A call is a request like those beside it: [`Reader`] lets it in, has it decided and records it, and the same functions
//! find the answer. What is of gRPC's own stands here: what a message asks, in the words of the query string (`asked`), and
//! what a refusal is as a status (`status`). TLS, HTTP/2 and their limits are the listener's.
//!
//! Who asks is settled before a byte of the message is read, so a stranger learns nothing from messages of any kind.

mod asked;
mod service;
mod status;

use self::service::Answers;
use super::reader::Reader;
use super::{nothing_here, unknown};
use crate::authenticate::Door;
use crate::listener::Peer;
use crate::record::Slip;
use crate::respond::{self, Refusal};
use crate::{Broker, stack};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, Version};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use model::{Reason, RequestId};
use prost::Message;
use proto::audit::v1::audit_log_server::AuditLogServer;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tonic::Code;
use tower::Service as _;

pub(super) const PATH: &str = "/millgate.audit.v1.AuditLog/{method}";
const SERVICE: &str = "/millgate.audit.v1.AuditLog/";

/// Questions are short. A longer one costs nothing but this.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// From the headers to the end of the message.
const MESSAGE_WAIT: Duration = Duration::from_secs(10);
/// A flag and a length.
const PREFIX_BYTES: usize = 5;

/// Whether a request is a call over gRPC. Whatever else comes to a method's path (gRPC-Web, JSON, a form) finds nothing.
pub(super) fn is_spoken(parts: &Parts) -> bool {
    let media_type = stack::single(parts, "content-type").unwrap_or_default();
    parts.version == Version::HTTP_2
        && parts.method == Method::POST
        && ["application/grpc", "application/grpc+proto"].contains(&media_type)
}

pub(super) async fn handle(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if is_spoken(&parts) { answer(&broker, peer, parts, body).await } else { nothing_here(&broker, peer, parts).await }
}

/// A call to any service and method, those included that are not there.
pub(super) async fn answer(broker: &Arc<Broker>, peer: Peer, parts: Parts, body: Body) -> Response<Body> {
    let (id, started) = (broker.request_id(), broker.metrics.begin());
    let mut door = Door::new(&broker.api_origins);
    let mut headers = HeaderMap::new();
    let answered = serve(broker, id, peer, (parts, body), &mut door, &mut headers).await;
    let (mut response, refusal) = match answered {
        Ok((response, refusal)) => (response, refusal),
        Err((code, refusal)) => {
            let status = status::of(code, &refusal, id);
            (status.into_http::<()>().map(|()| Body::empty()), Some(refusal))
        }
    };
    respond::ours(&mut headers, id);
    door.close(&mut headers).await;
    response.headers_mut().extend(headers);
    let as_http = refusal.as_ref().map_or(http::StatusCode::OK, Refusal::status);
    broker.metrics.end(started, "api", as_http, refusal.as_ref().map(|refusal| &refusal.reason));
    response
}

/// The name that a method's readings have in the log.
fn route(path: &str) -> Option<&'static str> {
    match path.strip_prefix(SERVICE)? {
        "Query" => Some("grpc-audit-query"),
        "Tail" => Some("grpc-audit-tail"),
        "Summary" => Some("grpc-audit-summary"),
        "Prove" => Some("grpc-audit-proof"),
        "Checkpoint" => Some("grpc-audit-checkpoint"),
        _ => None,
    }
}

/// The answer, with what it refuses if it does.
async fn serve(
    broker: &Arc<Broker>,
    id: RequestId,
    peer: Peer,
    (parts, body): (Parts, Body),
    door: &mut Door<'_>,
    headers: &mut HeaderMap,
) -> Result<(Response<Body>, Option<Refusal>), (Code, Refusal)> {
    let refused = |refusal: Refusal| (status::code(&refusal), refusal);
    let Some(route) = route(parts.uri.path()) else {
        let refusal = match unknown(broker, id, peer, &parts, door).await {
            Err(refusal) => refusal,
            Ok(_) => Refusal::not_found(),
        };
        let is_missing = refusal.reason == Reason::NOT_FOUND;
        return Err((if is_missing { Code::Unimplemented } else { status::code(&refusal) }, refusal));
    };
    let reader = Reader::enter(broker, (id, route), peer, &parts, door).await.map_err(refused)?;
    let message = if reader.query().is_empty() {
        message(body, MESSAGE_WAIT).await
    } else {
        let detail = "a call has no query string; the message says it all";
        Err(Refusal::new(Reason::UNDECLARED_PARAMETER, detail))
    };
    let message = reader.understood(broker, &door.receipt, message).await.map_err(refused)?;
    let call = Arc::new(Call {
        id,
        length: message.len() - PREFIX_BYTES,
        reader: Mutex::new(Some(reader)),
        receipt: Slip::default(),
        refusal: OnceLock::new(),
    });
    let mut request = http::Request::from_parts(parts, Full::new(message));
    request.extensions_mut().insert(call.clone());
    let mut service = AuditLogServer::new(Answers(broker.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let response = match service.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if let Some(reader) = call.take() {
        // It did not get to its method.
        let refusal = Refusal::new(Reason::BAD_PARAMETER, "the message is not one that this method takes");
        return Err(refused(
            reader.understood::<()>(broker, &door.receipt, Err(refusal.clone())).await.err().unwrap_or(refusal),
        ));
    }
    headers.extend(call.receipt.header().await.map(|receipt| (respond::RECEIPT, receipt)));
    Ok((response.map(Body::new), call.refusal.get().cloned()))
}

/// The one message of the request, with its prefix.
async fn message(body: Body, wait: Duration) -> Result<Bytes, Refusal> {
    let whole = tokio::time::timeout(wait, Limited::new(body, PREFIX_BYTES + MESSAGE_BYTES_MAX).collect());
    let bad = |detail: &str| Refusal::new(Reason::BAD_PARAMETER, detail);
    let bytes = match whole.await {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("a message has at most {MESSAGE_BYTES_MAX} bytes");
            return Err(Refusal::new(Reason::BODY_TOO_LARGE, detail));
        }
        Ok(Err(_)) | Err(_) => return Err(bad("the message did not come to its end")),
    };
    let Some((&[flag, a, b, c, d], rest)) = bytes.split_first_chunk() else {
        return Err(bad("there is no message"));
    };
    if flag != 0 {
        return Err(Refusal::new(Reason::UNDECLARED_BODY, "messages are taken as they are, not compressed"));
    }
    if usize::try_from(u32::from_be_bytes([a, b, c, d])).ok() != Some(rest.len()) {
        return Err(bad("a call takes one message, of the length that it states"));
    }
    Ok(bytes)
}

/// A call on its way to its method.
struct Call {
    id: RequestId,
    /// Until the method takes it.
    reader: Mutex<Option<Reader>>,
    /// Of the message.
    length: usize,
    receipt: Slip,
    refusal: OnceLock<Refusal>,
}

impl Call {
    fn take(&self) -> Option<Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The reader with its question, if the message says that and nothing else.
    async fn reader<M: Message>(
        &self,
        broker: &Broker,
        message: &M,
        question: Vec<(String, String)>,
    ) -> Result<Reader, Refusal> {
        // The service makes each call with a reader, and its method asks once.
        let mut reader = self.take().ok_or_else(Refusal::not_found)?;
        let read = one_reading(message, self.length, &question);
        reader.asks(question);
        reader.understood(broker, &self.receipt, read).await?;
        Ok(reader)
    }
}

/// What is left out in reading, because it is unknown or stands twice, is missing in what would be written.
fn one_reading<M: Message>(message: &M, length: usize, question: &[(String, String)]) -> Result<(), Refusal> {
    if message.encoded_len() != length {
        let detail = "the message has a field that is not known here, or one that stands more than once";
        return Err(Refusal::new(Reason::UNDECLARED_PARAMETER, detail));
    }
    match question.iter().find(|(name, value)| [name, value].into_iter().any(|text| text.chars().any(char::is_control)))
    {
        Some((name, _)) => {
            let detail = format!("`{}` holds a control character", name.escape_default());
            Err(Refusal::new(Reason::BAD_PARAMETER, detail))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
