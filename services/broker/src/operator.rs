//! Health, readiness, metrics and public keys: the operator's listener, loopback by default, nothing of a caller's on it.

pub(crate) mod health;

use crate::Broker;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post_service};
use health::Health;
use http::{StatusCode, header};
use std::sync::Arc;

pub fn router(broker: Arc<Broker>) -> axum::Router {
    let asked = broker.clone();
    let health = Health::service(move || is_ready(&asked), broker.draining.clone());
    axum::Router::new()
        .route(health::PATH, post_service(health))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/.well-known/jwks.json", get(keys))
        .with_state(broker)
}

fn is_ready(broker: &Broker) -> bool {
    broker.readiness.is_ready() && broker.log.is_healthy()
}

async fn ready(State(broker): State<Arc<Broker>>) -> Response {
    let healthy = broker.log.is_healthy();
    if is_ready(&broker) {
        return "ready\n".into_response();
    }
    let mut text = String::from("not ready\n");
    for (condition, reason) in broker.readiness.report() {
        if let Some(reason) = reason {
            text.push_str(&format!("- {condition}: {reason}\n"));
        }
    }
    if !healthy {
        text.push_str("- audit log: cannot be written; the broker is about to end\n");
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(broker): State<Arc<Broker>>) -> Response {
    let text = broker.metrics.registry().render();
    ([(header::CONTENT_TYPE, runtime::metrics::CONTENT_TYPE)], text).into_response()
}

/// RFC 7517 section 8.5.1.
const JWK_SET: &str = "application/jwk-set+json";
/// How long a source may go on without a key that was added: so long the next key stands here before it signs.
const KEYS_KEPT: &str = "public, max-age=300";

async fn keys(State(broker): State<Arc<Broker>>) -> Response {
    let headers = [(header::CONTENT_TYPE, JWK_SET), (header::CACHE_CONTROL, KEYS_KEPT)];
    (headers, broker.assertions.published()).into_response()
}
