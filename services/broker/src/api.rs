//! Millgate's own endpoints for callers, under the same identity, policy and audit log as the proxy.
//!
//! `GET /v1/audit/entries` answers questions to the audit log: decided by Cedar (`readAudit`), and itself recorded before
//! the first entry leaves. `GET /v1/audit/decisions` gives those who may read all of it what a replay needs. `GET
//! /v1/audit/proof` proves a single entry. `GET /v1/catalogue` is what the caller may know of (`catalogue`); it holds none of the plant's data and is counted, not
//! recorded.

mod catalogue;
mod decisions;
mod proof;

use crate::authenticate::{Door, authenticate};
use crate::authorize::{Standing, authorize};
use crate::canonical::Canonical;
use crate::listener::Peer;
use crate::metrics::Started;
use crate::record::{self, Circumstances, Exchange, Target};
use crate::resolve::Asked;
use crate::respond::{self, Body, BodyError, Refusal};
use crate::share::Share;
use crate::{Broker, World, acknowledge, stack};
use audit::query::{Follow, Found, Page, Query};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use identity::PeerCertificate;
use model::entry::{Ended, Kind};
use model::{AccessRequest, Action, OrganisationId, Reason, RequestId, ResourceRef, Shape, Timestamp};
use pdp::Permit;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub fn router(broker: Arc<Broker>) -> axum::Router {
    axum::Router::new()
        .route("/v1/audit/entries", get(entries))
        .route("/v1/catalogue", get(catalogue))
        .route("/v1/audit/decisions", get(decisions::handle))
        .route("/v1/audit/proof", get(proof::handle))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .with_state(broker)
}

async fn nothing(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> impl IntoResponse {
    let (parts, _) = request.into_parts();
    let (id, started) = (broker.request_id(), broker.metrics.begin());
    let mut door = Door::new(&broker.api_origins);
    let result = unknown(&broker, id, peer, &parts, &mut door).await;
    answer(&broker, id, started, door, result).map(axum::body::Body::new)
}

/// 401 for strangers on every path, then 404, recorded.
async fn unknown(
    broker: &Broker,
    id: RequestId,
    peer: Peer,
    parts: &Parts,
    door: &mut Door<'_>,
) -> Result<Response<Body>, Refusal> {
    let canonical = Canonical::parse(parts)?;
    let world = broker.world();
    let caller = authenticate(broker, &world, id, &peer, parts, &canonical, door).await?;
    let _share = stack::share(broker, &caller)?;
    let about = Circumstances { route: None, ..about(id, &peer, parts, (&canonical, &Asked::default()), door) };
    record::refuse(&broker.log, &caller, &Reason::NOT_FOUND, Target::default(), &about).await?;
    Err(Refusal::not_found())
}

async fn entries(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> impl IntoResponse {
    let (parts, _) = request.into_parts();
    let (id, started) = (broker.request_id(), broker.metrics.begin());
    // axum hands HEAD to whoever takes GET. A search whose answer nobody sees would be recorded as one that was read.
    let mut door = Door::new(&broker.api_origins);
    let result = if parts.method == http::Method::GET {
        read(&broker, id, peer, &parts, &mut door).await
    } else {
        unknown(&broker, id, peer, &parts, &mut door).await
    };
    answer(&broker, id, started, door, result).map(axum::body::Body::new)
}

async fn catalogue(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> impl IntoResponse {
    let (parts, _) = request.into_parts();
    let (id, started) = (broker.request_id(), broker.metrics.begin());
    let mut door = Door::new(&broker.api_origins);
    let result = offered(&broker, id, peer, &parts, &mut door).await;
    answer(&broker, id, started, door, result).map(axum::body::Body::new)
}

/// Pages are made on a thread of their own: a large plant takes a decision for each of its signals.
async fn offered(
    broker: &Arc<Broker>,
    id: RequestId,
    peer: Peer,
    parts: &Parts,
    door: &mut Door<'_>,
) -> Result<Response<Body>, Refusal> {
    let canonical = Canonical::parse(parts)?;
    let world = broker.world();
    let caller = authenticate(broker, &world, id, &peer, parts, &canonical, door).await?;
    let share = stack::share(broker, &caller)?;
    if caller.is_revoked(&world.parties.revocations) {
        return Err(Refusal::denied(Reason::REVOKED, "you, or what you have shown, is revoked"));
    }
    let wanted = catalogue::Wanted::parse(&canonical.query)?;
    let now = broker.clock.now();
    let place = broker.readers.catalogue().await?;
    // Goes when the caller does.
    let waiting = Arc::new(());
    let waits = Arc::downgrade(&waiting);
    let made = tokio::task::spawn_blocking(move || {
        let _held = (share, place);
        let given_up = || waits.strong_count() == 0;
        serde_json::to_string(&catalogue::page(&world, &caller, &wanted, now, given_up)).unwrap_or_default()
    });
    let body = made.await.map_err(|_| Refusal::new(Reason::OVERLOADED, "the catalogue could not be made"))?;
    drop(waiting);
    Ok(json(id, respond::full(body), "application/json"))
}

fn answer(
    broker: &Broker,
    id: RequestId,
    started: Started,
    door: Door<'_>,
    result: Result<Response<Body>, Refusal>,
) -> Response<Body> {
    let (mut response, reason) = match result {
        Ok(response) => (response, None),
        Err(refusal) => (respond::refuse(&refusal, id), Some(refusal.reason)),
    };
    door.close(response.headers_mut());
    broker.metrics.end(started, "api", response.status(), reason.as_ref());
    response
}

fn about<'a>(
    id: RequestId,
    peer: &Peer,
    parts: &'a Parts,
    (canonical, asked): (&Canonical, &Asked),
    door: &'a Door<'_>,
) -> Circumstances<'a> {
    Circumstances {
        request: id,
        kind: Kind::AuditRead,
        method: parts.method.as_str(),
        peer: peer.address.ip(),
        user_agent: stack::single(parts, "user-agent"),
        route: Some("audit-entries"),
        product: None,
        source: None,
        payload: Circumstances::payload_of(canonical, asked),
        receipt: &door.receipt,
    }
}

async fn read(
    broker: &Broker,
    id: RequestId,
    peer: Peer,
    parts: &Parts,
    door: &mut Door<'_>,
) -> Result<Response<Body>, Refusal> {
    let canonical = Canonical::parse(parts)?;
    let asked = Asked::parse(&parts.headers)?;
    let world = broker.world();
    let caller = authenticate(broker, &world, id, &peer, parts, &canonical, door).await?;
    let share = stack::share(broker, &caller)?;
    let about = about(id, &peer, parts, (&canonical, &asked), door);
    let wanted = match Wanted::parse(&canonical.query) {
        Ok(wanted) => wanted,
        Err(refusal) => {
            record::refuse(&broker.log, &caller, &refusal.reason, Target::default(), &about).await?;
            return Err(refusal);
        }
    };
    let question = AccessRequest {
        caller,
        action: Action::ReadAudit,
        resource: ResourceRef::AuditScope(wanted.query.organisation.clone()),
        purpose: asked.purpose,
        agreement: asked.agreement,
        shape: Shape { rows: i64::try_from(wanted.query.limit).unwrap_or(i64::MAX), ..Shape::default() },
        now: broker.clock.now(),
    };
    let permit = authorize(broker, &world, question, &about).await?;
    broker.metrics.decision(true);
    let admitted = record::admit(&broker.log, permit, &about, broker.clock.now(), &broker.cut_off).await?;
    let (permit, exchange) = acknowledge::wait(broker, admitted).await?.into_exchange();
    let place = match broker.readers.place(wanted.follow).await {
        Ok(place) => place,
        Err(refusal) => {
            exchange.fail(Ended::NotForwarded, &refusal);
            return Err(refusal);
        }
    };
    if wanted.follow {
        let stay = Stay { permit, certificate: peer.certificate, place, share };
        return Ok(follow(broker, id, wanted.query, exchange, stay));
    }
    page(broker, id, &wanted.query, exchange).await
}

async fn page(
    broker: &Broker,
    id: RequestId,
    query: &Query,
    mut exchange: Exchange,
) -> Result<Response<Body>, Refusal> {
    exchange.forwarded();
    let page = match broker.log.query(query).await {
        Ok(page) => page,
        Err(error) => {
            tracing::error!(%error, request = %id, "the audit log could not be read");
            let refusal = Refusal::new(Reason::NOT_RECORDED, "the audit log could not be read; see the broker's log");
            exchange.fail(Ended::SourceFailed, &refusal);
            return Err(refusal);
        }
    };
    let body = page_text(&page);
    exchange.answering(200);
    exchange.sent(body.len() as u64);
    exchange.end(Ended::Complete);
    Ok(json(id, respond::full(body), "application/json"))
}

fn json(id: RequestId, body: Body, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    respond::ours(response.headers_mut(), id);
    response
}

/// `{"entries":[{"index","principal"?,"entry"}],"next"?,"size"}`. Entries stand in it byte for byte as they are stored:
/// they are JSON already, and re-encoding would make a second version of the record.
fn page_text(page: &Page) -> String {
    let rows: Vec<String> = page.entries.iter().map(row).collect();
    let next = page.next.map(|n| format!(",\"next\":{n}")).unwrap_or_default();
    format!("{{\"entries\":[{}]{next},\"size\":{}}}", rows.join(","), page.size)
}

fn row(found: &Found) -> String {
    let principal = found.principal.as_ref().and_then(|p| serde_json::to_string(p).ok());
    let principal = principal.map(|p| format!("\"principal\":{p},")).unwrap_or_default();
    format!("{{\"index\":{},{principal}\"entry\":{}}}", found.index, found.entry)
}

/// Places for readers of the log. A search goes through up to 256 MiB, a tail reads every batch again, and the publisher
/// needs the same connections to the store.
#[derive(Debug)]
pub struct Readers {
    searches: Arc<Semaphore>,
    tails: Arc<Semaphore>,
    catalogues: Arc<Semaphore>,
}

/// Below the six connections that the store has for reading.
const SEARCHES_MAX: usize = 4;
const TAILS_MAX: usize = 16;
/// A page of a large plant is a second of work, which nobody else shall wait for.
const CATALOGUES_MAX: usize = 2;
const PLACE_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

impl Default for Readers {
    fn default() -> Self {
        let places = |n| Arc::new(Semaphore::new(n));
        Self { searches: places(SEARCHES_MAX), tails: places(TAILS_MAX), catalogues: places(CATALOGUES_MAX) }
    }
}

impl Readers {
    /// A search waits its turn; a tail, which may never end, does not.
    async fn place(&self, follow: bool) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = if follow { self.tails.clone().try_acquire_owned().ok() } else { turn(&self.searches).await };
        let busy = || Refusal::new(Reason::OVERLOADED, "others are reading the audit log; try again").retry_after(5);
        place.ok_or_else(busy)
    }

    async fn catalogue(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let busy = || Refusal::new(Reason::OVERLOADED, "others are reading the catalogue; try again").retry_after(5);
        turn(&self.catalogues).await.ok_or_else(busy)
    }
}

async fn turn(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    tokio::time::timeout(PLACE_WAIT, places.clone().acquire_owned()).await.ok().and_then(Result::ok)
}

/// What lets a reader stay.
struct Stay {
    permit: Permit,
    certificate: Option<Arc<PeerCertificate>>,
    place: OwnedSemaphorePermit,
    /// A tail is an open request for as long as it goes on.
    share: Share,
}

struct Tail {
    entries: Follow,
    exchange: Exchange,
    expires: Timestamp,
    standing: Standing,
    worlds: watch::Receiver<Arc<World>>,
    _place: OwnedSemaphorePermit,
    _share: Share,
    clock: Arc<dyn model::Clock>,
    draining: CancellationToken,
}

/// How often a silent tail looks whether its caller's credential still holds.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// One entry a line (NDJSON), oldest first, as the log grows; ends with the caller's credential or permission.
fn follow(broker: &Broker, id: RequestId, mut query: Query, mut exchange: Exchange, stay: Stay) -> Response<Body> {
    exchange.forwarded();
    exchange.answering(200);
    // Without a place to start from, what is new from here on; the reading itself is the first thing seen.
    query.after = query.after.or_else(|| exchange.index().checked_sub(1));
    let tail = Tail {
        entries: broker.log.follow(query),
        exchange,
        expires: stay.permit.request().caller.expires(),
        standing: broker.standing(&stay.permit, &broker.world(), stay.certificate),
        worlds: broker.worlds.subscribe(),
        _place: stay.place,
        _share: stay.share,
        clock: broker.clock.clone(),
        draining: broker.draining.clone(),
    };
    let frames = stream::unfold(tail, |mut tail| async move {
        let lines = tail.next_lines().await?;
        tail.exchange.sent(lines.len() as u64);
        Some((Ok::<_, BodyError>(Frame::data(Bytes::from(lines))), tail))
    });
    json(id, StreamBody::new(frames).boxed_unsync(), "application/x-ndjson")
}

impl Tail {
    async fn next_lines(&mut self) -> Option<String> {
        match self.next_page().await {
            Ok(page) => Some(page.entries.iter().map(|f| row(f) + "\n").collect()),
            Err(ended) => {
                self.exchange.end(ended);
                None
            }
        }
    }

    async fn next_page(&mut self) -> Result<Page, Ended> {
        let Self { entries, standing, worlds, clock, expires, draining, .. } = self;
        let next = entries.next();
        // One search to its end, however often is looked: one that begins anew each time never gets through a large log.
        tokio::pin!(next);
        while clock.now() < *expires {
            tokio::select! {
                // First, so that a log that grows without end cannot outrun it.
                biased;
                () = standing.withdrawn(worlds) => return Err(Ended::Withdrawn),
                page = &mut next => return page.map_err(|error| {
                    tracing::warn!(%error, "a reader of the audit log was cut off");
                    Ended::SourceFailed
                }),
                () = tokio::time::sleep(LOOK) => {}
                () = draining.cancelled() => break,
            }
        }
        Err(Ended::Complete)
    }
}

/// A question to the log as the query string puts it.
struct Wanted {
    query: Query,
    follow: bool,
}

const NAMES: [&str; 14] = [
    "from",
    "to",
    "organisation",
    "principal",
    "resource",
    "decision",
    "reason",
    "request",
    "kind",
    "after",
    "before",
    "limit",
    "order",
    "follow",
];

impl Wanted {
    fn parse(pairs: &[(String, String)]) -> Result<Self, Refusal> {
        let mut wanted = Self { query: Query::default(), follow: false };
        for (i, (name, value)) in pairs.iter().enumerate() {
            if pairs.iter().take(i).any(|(earlier, _)| earlier == name) {
                return Err(Refusal::new(Reason::DUPLICATE_PARAMETER, format!("`{name}` stands more than once")));
            }
            wanted.set(name, value)?;
        }
        Ok(wanted)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let bad =
            |expected: &str| Refusal::new(Reason::BAD_PARAMETER, format!("`{name}` is `{value}`; it takes {expected}"));
        let time = || Timestamp::parse_rfc3339(value).ok_or_else(|| bad("a time as in 2026-11-22T00:00:00Z"));
        let q = &mut self.query;
        match name {
            "from" => q.from = Some(time()?),
            "to" => q.to = Some(time()?),
            "organisation" => {
                q.organisation = Some(OrganisationId::new(value).map_err(|_| bad("an organisation's id"))?);
            }
            "principal" => q.principal = Some(value.to_owned()),
            "resource" => q.resource = Some(value.to_owned()),
            "decision" if matches!(value, "allow" | "deny") => q.decision = Some(value.to_owned()),
            "decision" => return Err(bad("`allow` or `deny`")),
            "reason" => q.reason = Some(value.to_owned()),
            "request" => q.request = Some(value.to_owned()),
            "kind" => q.kind = Some(Kind::parse(value).ok_or_else(|| bad(&kinds()))?),
            "after" => q.after = Some(value.parse().map_err(|_| bad("an index"))?),
            "before" => q.before = Some(value.parse().map_err(|_| bad("an index"))?),
            "limit" => {
                let limit = value.parse().ok().filter(|n| (1..=1000).contains(n));
                q.limit = limit.ok_or_else(|| bad("a number from 1 to 1000"))?;
            }
            "order" if value == "newest" => q.newest_first = true,
            "order" if value == "oldest" => q.newest_first = false,
            "order" => return Err(bad("`newest` or `oldest`")),
            "follow" if matches!(value, "true" | "false") => self.follow = value == "true",
            "follow" => return Err(bad("`true` or `false`")),
            _ => {
                let detail = format!("`{name}` is not known here; there are {}", NAMES.join(", "));
                return Err(Refusal::new(Reason::UNDECLARED_PARAMETER, detail));
            }
        }
        Ok(())
    }
}

fn kinds() -> String {
    Kind::ALL.map(Kind::as_str).join(", ")
}
