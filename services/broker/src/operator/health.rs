//! `grpc.health.v1.Health`: readiness for those who speak gRPC, on the operator's listener like `/readyz` and with its answer.
//!
//! It knows two names, which have one status: the empty one, and that of the audit log's service. What it says is nothing but
//! ready or not; why not stands at `/readyz`.

use futures_util::stream::{self, BoxStream, StreamExt as _};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as Served, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Where it is served: the methods stand behind it.
pub const PATH: &str = "/grpc.health.v1.Health/{method}";

/// The services that have a status; the empty name stands for the whole broker.
const SERVICES: [&str; 2] = ["", "millgate.audit.v1.AuditLog"];

/// A watch looks again after this time, and is told what has changed.
const LOOK: Duration = Duration::from_millis(500);

/// What is asked whether this process serves.
#[derive(Clone)]
pub struct Health {
    is_ready: Arc<dyn Fn() -> bool + Send + Sync>,
    draining: CancellationToken,
}

impl Health {
    /// Once `draining` is cancelled nothing is ready, and watches end.
    pub fn service(
        is_ready: impl Fn() -> bool + Send + Sync + 'static,
        draining: CancellationToken,
    ) -> HealthServer<Self> {
        HealthServer::new(Self { is_ready: Arc::new(is_ready), draining })
    }

    fn status(&self) -> ServingStatus {
        if !self.draining.is_cancelled() && (self.is_ready)() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// A watch, and what it has said last.
struct Watched {
    health: Health,
    said: Option<ServingStatus>,
}

impl Watched {
    /// The next status that is another one; `None` once it has said that the process drains.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            let drained = self.health.draining.is_cancelled();
            let status = self.health.status();
            if self.said != Some(status) {
                self.said = Some(status);
                return Some((Ok(answer(status)), self));
            }
            if drained {
                return None;
            }
            tokio::select! {
                () = self.health.draining.cancelled() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

#[tonic::async_trait]
impl Served for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !SERVICES.contains(&service.as_str()) {
            return Err(Status::not_found("no service of this name has a status"));
        }
        Ok(Response::new(answer(self.status())))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    /// Of a service that is not known it says so, and goes on: it might come to be (grpc/doc/health-checking.md).
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let stream = if SERVICES.contains(&service.as_str()) {
            stream::unfold(Watched { health: self.clone(), said: None }, Watched::next).boxed()
        } else {
            let unknown = stream::once(async { Ok(answer(ServingStatus::ServiceUnknown)) });
            unknown.chain(stream::pending()).take_until(self.draining.clone().cancelled_owned()).boxed()
        };
        Ok(Response::new(stream))
    }
}
