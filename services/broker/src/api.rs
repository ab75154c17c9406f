//! Millgate's own endpoints for callers, under the same identity, policy and audit log as the proxy.
//!
//! `GET /v1/audit/entries` answers questions to the audit log: decided by Cedar (`readAudit`), and itself recorded before
//! the first entry leaves. `GET /v1/audit/summary` counts. `GET /v1/audit/decisions` gives those who may read all of it what
//! a replay needs. `GET /v1/audit/proof` proves a single entry. `POST /v1/audit/erasures` takes a person's values out of it
//! (`erasures`). Readings over gRPC too (`grpc`). `GET /v1/catalogue` is what the caller may know of (`catalogue`); it holds none of the plant's data and is counted, not
//! recorded.

mod attended;
mod catalogue;
mod decisions;
mod erasures;
mod grpc;
mod proof;
mod reader;
mod summary;

use self::attended::{Attended, Terms};
use self::reader::{Granted, Reader};
use crate::authenticate::{Door, authenticate};
use crate::canonical::Canonical;
use crate::listener::Peer;
use crate::metrics::Started;
use crate::record::{self, Circumstances, Exchange, Target};
use crate::resolve::Asked;
use crate::respond::{self, Body, BodyError, Refusal};
use crate::{Broker, stack};
use audit::query::{Follow, Found, Page, Query};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::request::Parts;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use model::entry::{Ended, Kind};
use model::{AuthenticationMethod, Country, OrganisationId, Reason, RequestId, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub fn router(broker: Arc<Broker>) -> axum::Router {
    axum::Router::new()
        .route("/v1/audit/entries", get(entries))
        .route("/v1/catalogue", get(catalogue))
        .route("/v1/audit/decisions", get(decisions::handle))
        .route("/v1/audit/proof", get(proof::handle))
        .route("/v1/audit/summary", get(summary::handle))
        .route("/v1/audit/erasures", post(erasures::ask))
        .route("/v1/audit/erasures/{id}/approval", post(erasures::approve))
        .route(grpc::PATH, post(grpc::handle))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .with_state(broker)
}

async fn nothing(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    if grpc::is_spoken(&parts) {
        return grpc::answer(&broker, peer, parts, body).await;
    }
    nothing_here(&broker, peer, parts).await
}

async fn nothing_here(broker: &Broker, peer: Peer, parts: Parts) -> Response<axum::body::Body> {
    let (id, started) = (broker.request_id(), broker.metrics.begin());
    let mut door = Door::new(&broker.api_origins);
    let result = unknown(broker, id, peer, &parts, &mut door).await;
    answer(broker, id, started, door, result).await.map(axum::body::Body::new)
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
    let about = Circumstances {
        request: id,
        kind: Kind::AuditRead,
        method: parts.method.as_str(),
        peer: peer.address.ip(),
        country: world.country_of(peer.address.ip()),
        user_agent: stack::single(parts, "user-agent"),
        route: None,
        product: None,
        source: None,
        payload: Circumstances::payload_of(&canonical, &Asked::default()),
        receipt: &door.receipt,
    };
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
    answer(&broker, id, started, door, result).await.map(axum::body::Body::new)
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
    answer(&broker, id, started, door, result).await.map(axum::body::Body::new)
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
    let (country, now) = (world.country_of(peer.address.ip()), broker.clock.now());
    let place = broker.readers.catalogue().await?;
    // Goes when the caller does.
    let waiting = Arc::new(());
    let waits = Arc::downgrade(&waiting);
    let made = tokio::task::spawn_blocking(move || {
        let _held = (share, place);
        let given_up = || waits.strong_count() == 0;
        serde_json::to_string(&catalogue::page(&world, &caller, &wanted, (country, now), given_up)).unwrap_or_default()
    });
    let body = made.await.map_err(|_| Refusal::new(Reason::OVERLOADED, "the catalogue could not be made"))?;
    drop(waiting);
    Ok(json(id, respond::full(body), "application/json"))
}

async fn answer(
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
    door.close(response.headers_mut()).await;
    broker.metrics.end(started, "api", response.status(), reason.as_ref());
    response
}

async fn read(
    broker: &Broker,
    id: RequestId,
    peer: Peer,
    parts: &Parts,
    door: &mut Door<'_>,
) -> Result<Response<Body>, Refusal> {
    let reader = Reader::enter(broker, (id, "audit-entries"), peer, parts, door).await?;
    let wanted = reader.understood(broker, &door.receipt, Wanted::parse(reader.query())).await?;
    let organisation = wanted.query.organisation.clone();
    let reading = reader.admitted(broker, &door.receipt, organisation, Some(wanted.query.limit)).await?;
    let (reading, place) = reading.placed(broker, wanted.follow).await?;
    if wanted.follow {
        let reading = from_what_is_there(broker, &wanted.query, reading)?;
        return Ok(lines(id, broker, wanted.query, (reading, place)));
    }
    let (page, mut exchange) = search(broker, &wanted.query, reading).await?;
    let body = page_text(&page);
    exchange.answering(200);
    exchange.sent(body.len() as u64);
    exchange.end(Ended::Complete);
    Ok(json(id, respond::full(body), "application/json"))
}

/// One page, and the exchange that its answer ends.
async fn search(broker: &Broker, query: &Query, reading: Granted) -> Result<(Page, Exchange), Refusal> {
    let Granted { id, mut exchange, .. } = reading;
    exchange.forwarded();
    match broker.log.query(query).await {
        Ok(page) => Ok((page, exchange)),
        Err(error) => {
            let refusal = unreadable(id, &error);
            exchange.fail(Ended::SourceFailed, &refusal);
            Err(refusal)
        }
    }
}

/// Whoever goes on behind an entry wants all that follow. Some of them being gone is no answer that goes on without them.
fn from_what_is_there(broker: &Broker, query: &Query, reading: Granted) -> Result<Granted, Refusal> {
    let gone =
        broker.log.pruned().filter(|pruned| query.after.is_some_and(|after| after.saturating_add(1) < pruned.below));
    let Some(gone) = gone else { return Ok(reading) };
    let detail = format!("{gone}; to begin with what is there, say `after={}`", gone.below - 1);
    let refusal = Refusal::new(Reason::PRUNED, detail);
    let Granted { mut exchange, .. } = reading;
    exchange.forwarded();
    exchange.fail(Ended::SourceFailed, &refusal);
    Err(refusal)
}

fn unreadable(id: RequestId, error: &audit::ReadError) -> Refusal {
    if let audit::ReadError::NotIndexed { .. } = error {
        return Refusal::new(Reason::NOT_INDEXED, error.to_string()).retry_after(30);
    }
    tracing::error!(%error, request = %id, "the audit log could not be read");
    Refusal::new(Reason::NOT_RECORDED, "the audit log could not be read; see the broker's log")
}

fn json(id: RequestId, body: Body, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    respond::ours(response.headers_mut(), id);
    response
}

/// `{"entries":[{"index","principal"?,"entry"}],"next"?,"pruned"?,"size"}`. Entries stand in it byte for byte as they are stored:
/// they are JSON already, and re-encoding would make a second version of the record.
fn page_text(page: &Page) -> String {
    let rows: Vec<String> = page.entries.iter().map(row).collect();
    let next = page.next.map(|n| format!(",\"next\":{n}")).unwrap_or_default();
    let pruned = page.pruned.map(|pruned| format!(",\"pruned\":{}", pruned.to_json())).unwrap_or_default();
    format!("{{\"entries\":[{}]{next}{pruned},\"size\":{}}}", rows.join(","), page.size)
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
    /// Searches and tails of each organisation, so that none takes the places of all.
    of_each: Mutex<HashMap<OrganisationId, [Arc<Semaphore>; 2]>>,
}

/// A place for one reader, among all and among those of its organisation.
#[derive(Debug)]
pub struct Place {
    _among_all: OwnedSemaphorePermit,
    _among_own: OwnedSemaphorePermit,
}

/// Below the six connections that the store has for reading.
const SEARCHES_MAX: usize = 4;
const TAILS_MAX: usize = 16;
/// Of these, for one organisation.
const OWN_SEARCHES_MAX: usize = 2;
const OWN_TAILS_MAX: usize = 4;
/// A page of a large plant is a second of work, which nobody else shall wait for.
const CATALOGUES_MAX: usize = 2;
const PLACE_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

impl Default for Readers {
    fn default() -> Self {
        let places = |n| Arc::new(Semaphore::new(n));
        Self {
            searches: places(SEARCHES_MAX),
            tails: places(TAILS_MAX),
            catalogues: places(CATALOGUES_MAX),
            of_each: Mutex::default(),
        }
    }
}

impl Readers {
    /// A place for somebody of this organisation: there is no other way to one. A search waits its turn; a tail, which may
    /// never end, does not.
    async fn place_of(&self, follow: bool, organisation: &OrganisationId) -> Result<Place, Refusal> {
        let own = {
            let mut of_each = self.of_each.lock().unwrap_or_else(PoisonError::into_inner);
            let places = || [OWN_SEARCHES_MAX, OWN_TAILS_MAX].map(|n| Arc::new(Semaphore::new(n)));
            let [searches, tails] = of_each.entry(organisation.clone()).or_insert_with(places);
            Arc::clone(if follow { tails } else { searches })
        };
        let all = if follow { &self.tails } else { &self.searches };
        let own = if follow { own.try_acquire_owned().ok() } else { turn(&own).await };
        let own = own.ok_or_else(|| {
            let detail = "your organisation is reading the audit log in as many places as it has; try again";
            Refusal::new(Reason::OVERLOADED, detail).retry_after(5)
        })?;
        let all = if follow { all.clone().try_acquire_owned().ok() } else { turn(all).await };
        let busy = || Refusal::new(Reason::OVERLOADED, "others are reading the audit log; try again").retry_after(5);
        Ok(Place { _among_own: own, _among_all: all.ok_or_else(busy)? })
    }

    async fn catalogue(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let busy = || Refusal::new(Reason::OVERLOADED, "others are reading the catalogue; try again").retry_after(5);
        turn(&self.catalogues).await.ok_or_else(busy)
    }
}

async fn turn(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    tokio::time::timeout(PLACE_WAIT, places.clone().acquire_owned()).await.ok().and_then(Result::ok)
}

/// Why an answer that goes on is over: for the log, and for callers who can be told.
#[derive(Debug)]
pub struct Over {
    ended: Ended,
    refusal: Refusal,
}

/// Entries as the log grows, oldest first, until the caller's credential or permission ends. `pieces` makes of them what is
/// sent, of which each has `size` bytes.
fn tail<T, S>(
    broker: &Broker,
    (mut reading, place): (Granted, Place),
    mut query: Query,
    size: fn(&T) -> u64,
    pieces: impl FnOnce(Follow) -> S,
) -> Attended<T>
where
    T: 'static,
    S: Stream<Item = Result<T, Over>> + Send + 'static,
{
    reading.exchange.forwarded();
    reading.exchange.answering(200);
    // Without a place to start from, what is new from here on; the reading itself is the first thing seen.
    query.after = query.after.or_else(|| reading.exchange.index().checked_sub(1));
    let caller = &reading.permit.request().caller;
    let by_certificate = caller.method() == AuthenticationMethod::Certificate;
    let expired = if by_certificate { Reason::CERTIFICATE_EXPIRED } else { Reason::TOKEN_EXPIRED };
    let terms = Terms { expires: Some((caller.expires(), expired)), stopped: Ended::Complete };
    let pieces = pieces(broker.log.follow(query));
    Attended::new(broker, (reading, place), terms, size, pieces)
}

/// The next entries, as soon as there are some.
async fn next_page(entries: &mut Follow) -> Result<Page, Over> {
    entries.next().await.map_err(|error| {
        tracing::warn!(%error, "a reader of the audit log was cut off");
        let refusal = Refusal::new(Reason::NOT_RECORDED, "the audit log can be read no further");
        Over { ended: Ended::SourceFailed, refusal }
    })
}

/// One entry a line (NDJSON).
fn lines(id: RequestId, broker: &Broker, query: Query, reading: (Granted, Place)) -> Response<Body> {
    let pages = |entries: Follow| {
        stream::unfold(entries, |mut entries| async move {
            let page = next_page(&mut entries).await;
            let lines = |page: Page| Bytes::from(page.entries.iter().map(|f| row(f) + "\n").collect::<String>());
            Some((page.map(lines), entries))
        })
    };
    ndjson(id, tail(broker, reading, query, |lines: &Bytes| lines.len() as u64, pages))
}

/// An answer that goes on, which just ends where it is over: there is no other way to say so.
fn ndjson(id: RequestId, lines: Attended<Bytes>) -> Response<Body> {
    let frames = lines.scan((), |(), lines| {
        let told = |over: &Over| tracing::debug!(reason = %over.refusal.reason, "a reader's answer is over");
        let frame = lines.inspect_err(told).ok().map(|lines| Ok::<_, BodyError>(Frame::data(lines)));
        std::future::ready(frame)
    });
    json(id, StreamBody::new(frames).boxed_unsync(), "application/x-ndjson")
}

/// A question to the log as the query string puts it.
struct Wanted {
    query: Query,
    follow: bool,
}

const NAMES: [&str; 22] = [
    "from",
    "to",
    "organisation",
    "principal",
    "resource",
    "decision",
    "reason",
    "request",
    "kind",
    "product",
    "agreement",
    "action",
    "purpose",
    "policy",
    "ended",
    "country",
    "open_at",
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
        if wanted.follow && wanted.query.open_at.is_some() {
            let detail = "what was open at a moment does not become more; leave `follow` or `open_at` out";
            return Err(Refusal::new(Reason::BAD_PARAMETER, detail));
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
            "product" => q.product = Some(value.to_owned()),
            "agreement" => q.agreement = Some(value.to_owned()),
            "action" => q.action = Some(value.to_owned()),
            "purpose" => q.purpose = Some(value.to_owned()),
            "policy" => q.policy = Some(value.to_owned()),
            "ended" if Ended::parse(value).is_some() => q.ended = Some(value.to_owned()),
            "ended" => return Err(bad(&Ended::ALL.map(Ended::as_str).join(", "))),
            "country" if Country::parse(value).is_some() => q.country = Some(value.to_owned()),
            "country" => return Err(bad("two upper-case letters as in `DE`")),
            "open_at" => q.open_at = Some(time()?),
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
