//! `GET /v1/audit/decisions?from=…&to=…`: decisions with everything that is needed to decide them again, as a stream of
//! lines (NDJSON), under one decision and one record.
//!
//! Whoever reads learns policies and everybody's entities, so it takes the permission to read the whole log. A stream that
//! does not end with `{"end":true}` was cut off.

use super::attended::{Attended, Terms};
use super::reader::Reader;
use super::{Over, ndjson, unknown, unreadable};
use crate::Broker;
use crate::authenticate::Door;
use crate::listener::Peer;
use crate::respond::{Body, Refusal};
use audit::query::{Decisions, Part};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::Response;
use http::request::Parts;
use model::canonical::encode_text;
use model::entry::Ended;
use model::{Reason, RequestId, Timestamp};
use std::sync::Arc;

pub(super) async fn handle(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> impl IntoResponse {
    let (parts, _) = request.into_parts();
    let (id, started) = (broker.request_id(), broker.metrics.begin());
    let mut door = Door::new(&broker.api_origins);
    let result = if parts.method == http::Method::GET {
        read(&broker, id, peer, &parts, &mut door).await
    } else {
        unknown(&broker, id, peer, &parts, &mut door).await
    };
    super::answer(&broker, id, started, door, result).await.map(axum::body::Body::new)
}

async fn read(
    broker: &Broker,
    id: RequestId,
    peer: Peer,
    parts: &Parts,
    door: &mut Door<'_>,
) -> Result<Response<Body>, Refusal> {
    let reader = Reader::enter(broker, (id, "audit-decisions"), peer, parts, door).await?;
    let (from, to) = reader.understood(broker, &door.receipt, times(reader.query())).await?;
    let reading = reader.admitted(broker, &door.receipt, None, None).await?;
    let (mut reading, place) = reading.placed(broker, true).await?;
    reading.exchange.forwarded();
    match broker.log.decisions(from, to).await {
        Ok(decisions) => {
            reading.exchange.answering(200);
            let terms = Terms { expires: None, stopped: Ended::BrokerStopped };
            let size = |lines: &Bytes| lines.len() as u64;
            Ok(ndjson(id, Attended::new(broker, (reading, place), terms, size, part_by_part(decisions))))
        }
        Err(error) => {
            let refusal = unreadable(id, &error);
            reading.exchange.fail(Ended::SourceFailed, &refusal);
            Err(refusal)
        }
    }
}

/// `from`, inclusive, and `to`, exclusive; everything if left out.
fn times(pairs: &[(String, String)]) -> Result<(Timestamp, Timestamp), Refusal> {
    let (mut from, mut to) = (None, None);
    for (name, value) in pairs {
        let place = match name.as_str() {
            "from" => &mut from,
            "to" => &mut to,
            _ => {
                let detail = format!("`{name}` is not known here; there are from, to");
                return Err(Refusal::new(Reason::UNDECLARED_PARAMETER, detail));
            }
        };
        let time = Timestamp::parse_rfc3339(value).ok_or_else(|| {
            let detail = format!("`{name}` is `{value}`; it takes a time as in 2026-11-22T00:00:00Z");
            Refusal::new(Reason::BAD_PARAMETER, detail)
        })?;
        if place.replace(time).is_some() {
            return Err(Refusal::new(Reason::DUPLICATE_PARAMETER, format!("`{name}` stands more than once")));
        }
    }
    Ok((from.unwrap_or(Timestamp::EPOCH), to.unwrap_or(Timestamp(i64::MAX))))
}

/// Part by part, and a last line that says that it was the last.
fn part_by_part(decisions: Decisions) -> impl Stream<Item = Result<Bytes, Over>> + Send {
    stream::unfold(Some(decisions), |decisions| async {
        let mut decisions = decisions?;
        match decisions.next().await {
            Ok(Some(part)) => Some((Ok(Bytes::from(lines(&part))), Some(decisions))),
            Ok(None) => Some((Ok(Bytes::from_static(b"{\"end\":true}\n")), None)),
            Err(error) => {
                tracing::warn!(%error, "a reader of the audit log was cut off");
                let refusal = Refusal::new(Reason::NOT_RECORDED, "the audit log can be read no further");
                Some((Err(Over { ended: Ended::SourceFailed, refusal }), None))
            }
        }
    })
}

/// First what the decisions name, then the decisions, byte for byte as they are stored, then how far the reading has come.
fn lines(part: &Part) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * 1024 * 1024);
    if part.afresh {
        out.extend_from_slice(b"{\"afresh\":true}\n");
    }
    if let Some(pruned) = part.pruned {
        out.extend_from_slice(format!("{{\"pruned\":{}}}\n", pruned.to_json()).as_bytes());
    }
    for content in &part.contents {
        // Policies, schemas and slices are texts. What is not was damaged, and the reader will say that it is missing.
        let Ok(text) = std::str::from_utf8(&content.bytes) else { continue };
        out.extend_from_slice(format!("{{\"content\":\"{}\",\"text\":", content.digest.to_hex()).as_bytes());
        encode_text(text, &mut out);
        out.extend_from_slice(b"}\n");
    }
    for row in &part.principals {
        out.extend_from_slice(b"{\"reference\":");
        encode_text(&row.reference, &mut out);
        out.extend_from_slice(b",\"principal\":");
        encode_text(&row.principal, &mut out);
        out.extend_from_slice(b"}\n");
    }
    for (reference, under) in &part.erased {
        out.extend_from_slice(b"{\"reference\":");
        encode_text(reference, &mut out);
        out.extend_from_slice(format!(",\"erased\":{under}}}\n").as_bytes());
    }
    for (index, entry) in &part.decisions {
        out.extend_from_slice(format!("{{\"index\":{index},\"entry\":").as_bytes());
        out.extend_from_slice(entry);
        out.extend_from_slice(b"}\n");
    }
    out.extend_from_slice(format!("{{\"done\":{},\"total\":{}}}\n", part.done, part.total).as_bytes());
    out
}
