//! `GET /v1/audit/summary`: how many decisions, and what came of them, by day and by what they have in common.
//!
//! It is a reading of the log like any other: decided, recorded, and an organisation's own auditor counts what its own
//! organisation did.

use super::reader::{Granted, Reader};
use super::{json, unknown, unreadable};
use crate::Broker;
use crate::authenticate::Door;
use crate::listener::Peer;
use crate::record::{Exchange, Slip};
use crate::respond::{self, Body, Refusal};
use audit::index::{BY_MAX, By, Dimension, ROWS_MAX, Summary, Table};
use audit::query::SummaryError;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use http::Response;
use http::request::Parts;
use model::entry::Ended;
use model::{OrganisationId, Reason, RequestId, Timestamp};
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
    let reader = Reader::enter(broker, (id, "audit-summary"), peer, parts, door).await?;
    let (table, mut exchange) = counted(broker, reader, &door.receipt).await?;
    let body = table.to_json().to_string();
    exchange.answering(200);
    exchange.sent(body.len() as u64);
    exchange.end(Ended::Complete);
    Ok(json(id, respond::full(body), "application/json"))
}

/// What the reader asks for, and the exchange that its answer ends.
pub(super) async fn counted(broker: &Broker, reader: Reader, receipt: &Slip) -> Result<(Table, Exchange), Refusal> {
    let id = reader.id;
    let wanted = reader.understood(broker, receipt, parse(reader.query())).await?;
    let reading = reader.admitted(broker, receipt, wanted.organisation.clone(), Some(wanted.limit)).await?;
    let (Granted { mut exchange, .. }, _place) = reading.placed(broker, false).await?;
    exchange.forwarded();
    match broker.log.summary(&wanted).await {
        Ok(table) => Ok((table, exchange)),
        Err(error) => {
            let refusal = refusal(id, &error);
            exchange.fail(Ended::SourceFailed, &refusal);
            Err(refusal)
        }
    }
}

fn refusal(id: RequestId, error: &SummaryError) -> Refusal {
    match error {
        SummaryError::NotWholeDays | SummaryError::TooMany => Refusal::new(Reason::BAD_PARAMETER, error.to_string()),
        SummaryError::Read(cause) => unreadable(id, cause),
    }
}

const NAMES: [&str; 6] = ["by", "from", "to", "organisation", "new", "limit"];
const LIMIT: usize = 100;

pub(super) fn parse(pairs: &[(String, String)]) -> Result<Summary, Refusal> {
    let mut summary = Summary { limit: LIMIT, ..Summary::default() };
    for (n, (name, value)) in pairs.iter().enumerate() {
        if pairs.iter().take(n).any(|(earlier, _)| earlier == name) {
            return Err(Refusal::new(Reason::DUPLICATE_PARAMETER, format!("`{name}` stands more than once")));
        }
        set(&mut summary, name, value)?;
    }
    if summary.days().is_none() {
        return Err(Refusal::new(Reason::BAD_PARAMETER, SummaryError::NotWholeDays.to_string()));
    }
    if summary.new && summary.from.is_none() {
        let detail = "`new` lists what came for the first time since `from`; say since when";
        return Err(Refusal::new(Reason::MISSING_PARAMETER, detail));
    }
    Ok(summary)
}

fn set(summary: &mut Summary, name: &str, value: &str) -> Result<(), Refusal> {
    let bad =
        |expected: &str| Refusal::new(Reason::BAD_PARAMETER, format!("`{name}` is `{value}`; it takes {expected}"));
    let time =
        || Timestamp::parse_rfc3339(value).ok_or_else(|| bad("midnight UTC of a day, as in 2026-11-22T00:00:00Z"));
    match name {
        "by" => {
            let by = value.split(',').map(By::parse).collect::<Option<Vec<By>>>();
            let distinct =
                |by: &Vec<By>| by.iter().enumerate().all(|(n, one)| !by.iter().take(n).any(|other| other == one));
            let by = by.filter(|by| by.len() <= BY_MAX && distinct(by));
            let all: Vec<&str> = By::all().map(By::as_str).collect();
            summary.by =
                by.ok_or_else(|| bad(&format!("up to {BY_MAX} of {}, with commas between them", all.join(", "))))?;
        }
        "from" => summary.from = Some(time()?),
        "to" => summary.to = Some(time()?),
        "organisation" => {
            summary.organisation = Some(OrganisationId::new(value).map_err(|_| bad("an organisation's id"))?);
        }
        "new" if matches!(value, "true" | "false") => summary.new = value == "true",
        "new" => return Err(bad("`true` or `false`")),
        "limit" => {
            let limit = value.parse().ok().filter(|limit| (1..=ROWS_MAX).contains(limit));
            summary.limit = limit.ok_or_else(|| bad(&format!("a number from 1 to {ROWS_MAX}")))?;
        }
        _ => match Dimension::parse(name) {
            Some(dimension) => summary.only.push((dimension, value.to_owned())),
            None => {
                let only = Dimension::ALL.into_iter().map(Dimension::as_str).filter(|name| *name != "organisation");
                let known: Vec<&str> = NAMES.into_iter().chain(only).collect();
                let detail = format!("`{name}` is not known here; there are {}", known.join(", "));
                return Err(Refusal::new(Reason::UNDECLARED_PARAMETER, detail));
            }
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &[(&str, &str)]) -> Result<Summary, String> {
        let pairs: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        parse(&pairs).map_err(|refusal| refusal.reason.as_str().to_owned())
    }

    #[test]
    fn a_summary_counts_whole_days_of_what_is_known() {
        let summary = parsed(&[
            ("by", "agreement,day"),
            ("from", "2026-11-22T00:00:00Z"),
            ("organisation", "acme"),
            ("decision", "allow"),
            ("new", "true"),
        ])
        .unwrap();
        assert_eq!(summary.by, [By::Of(Dimension::Agreement), By::Day]);
        assert_eq!(summary.only, [(Dimension::Decision, String::from("allow"))]);
        assert_eq!((summary.new, summary.limit), (true, 100));
        for (query, reason) in [
            (&[("by", "colour")][..], "bad_parameter"),
            (&[("by", "day,day")], "bad_parameter"),
            (&[("by", "day,kind,action,purpose,product")], "bad_parameter"),
            (&[("from", "2026-11-22T00:00:01Z")], "bad_parameter"),
            (&[("from", "yesterday")], "bad_parameter"),
            (&[("new", "true")], "missing_parameter"),
            (&[("limit", "0")], "bad_parameter"),
            (&[("request", "x")], "undeclared_parameter"),
            (&[("product", "a"), ("product", "b")], "duplicate_parameter"),
        ] {
            assert_eq!(parsed(query).err().as_deref(), Some(reason), "{query:?}");
        }
    }
}
