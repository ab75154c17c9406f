//! What is served where the log may not go on: nothing.
//!
//! Somebody who kept a checkpoint has seen a longer or another history of this log than the copy here. Whatever this broker
//! recorded now would make a second one, so nothing is recorded, and without a record there is no data. What passes:
//!
//! 1. The operator is told: `/healthz`, `/readyz` with the reason, `/metrics`, and over gRPC that nothing is served.
//! 2. Everybody else gets 503 `quarantined`, before anybody is asked who it is: a login would be an entry, and so would be a
//!    reading of the log. Published files can be read as files.
//!
//! There is no log, no catalog and no source behind these types, so there is nothing that could be given out by mistake.

use crate::operator::health::{self, Health};
use crate::respond::{self, Body, Refusal};
use axum::extract::State;
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::{get, post_service};
use http::{Response, StatusCode, header};
use model::{Clock, Reason, RequestId};
use runtime::metrics::{Counter, Family, Registry};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// See the module.
#[derive(Debug)]
pub struct Quarantine {
    /// For the operator: who has seen what.
    why: Vec<String>,
    clock: Arc<dyn Clock>,
    registry: Registry,
    requests: Family<Counter, 2>,
    refusals: Family<Counter, 2>,
}

/// The gauge that a broker in quarantine and one that serves both have.
pub(crate) fn gauge(registry: &Registry, is_quarantined: bool) {
    let help = "1 while others have seen more of the audit log than this broker has, and nothing is given out.";
    registry.gauge_from("millgate_audit_quarantined", help, move || i64::from(is_quarantined));
}

impl Quarantine {
    pub fn new(why: Vec<String>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let registry = Registry::new();
        gauge(&registry, true);
        let requests = registry.counters(
            "millgate_requests_total",
            "Requests by listener and status of the answer.",
            ["listener", "status"],
        );
        let refusals = registry.counters(
            "millgate_refusals_total",
            "Refused requests by listener and reason.",
            ["listener", "reason"],
        );
        Arc::new(Self { why, clock, registry, requests, refusals })
    }

    pub fn why(&self) -> &[String] {
        &self.why
    }

    /// The answer to every request of a caller.
    pub fn refuse(&self, listener: &'static str) -> Response<Body> {
        let detail = "the audit log of this broker is not what others have seen of it, so nothing is recorded and nothing is \
                      given out until the plant has settled it; the plant has been told";
        let refusal = Refusal::new(Reason::QUARANTINED, detail);
        self.requests.with([listener, refusal.status().as_str()]).increment();
        self.refusals.with([listener, refusal.reason.as_str()]).increment();
        respond::refuse(&refusal, RequestId::new(self.clock.now(), runtime::random::bytes()))
    }

    /// Health, readiness and metrics for the operator. Watches of its health end when `draining` is cancelled.
    pub fn operator(self: &Arc<Self>, draining: CancellationToken) -> axum::Router {
        axum::Router::new()
            .route(health::PATH, post_service(Health::service(|| false, draining)))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self.clone())
    }
}

async fn ready(State(quarantine): State<Arc<Quarantine>>) -> Answer {
    let mut text = String::from("not ready\n");
    for why in &quarantine.why {
        text.push_str(&format!("- audit log: quarantined: {why}\n"));
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(quarantine): State<Arc<Quarantine>>) -> Answer {
    ([(header::CONTENT_TYPE, runtime::metrics::CONTENT_TYPE)], quarantine.registry.render()).into_response()
}
