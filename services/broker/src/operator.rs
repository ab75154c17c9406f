//! Health, readiness and metrics: the operator's listener, loopback by default, nothing of a caller's on it.

use crate::Broker;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use std::sync::Arc;

pub fn router(broker: Arc<Broker>) -> axum::Router {
    axum::Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(broker)
}

async fn ready(State(broker): State<Arc<Broker>>) -> Response {
    let healthy = broker.log.is_healthy();
    if broker.readiness.is_ready() && healthy {
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
