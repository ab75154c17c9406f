//! The policy enforcement point: a reverse proxy that serves nothing it has not decided and recorded.
//!
//! `stack.rs` is the table of contents of a request. The types carry it: `Authenticated` → `AccessRequest` → `Permit` →
//! `Admitted`, each consumed to make the next; forwarding takes an `Admitted`, and only `record.rs` can make one.
//!
//! What this crate does not do: it decides nothing (`pdp`), knows no key (`identity`), writes no SQL (`audit`) and reads
//! no file format (`registry`).

mod acknowledge;
mod api;
mod ask;
pub mod assertion;
mod authenticate;
mod authorize;
pub mod canonical;
pub mod cases;
pub mod database;
mod forward;
pub mod handshake;
mod ladder;
pub mod listener;
mod metrics;
mod operator;
mod patience;
pub mod quarantine;
pub mod record;
mod reload;
mod resolve;
pub mod respond;
pub mod shadow;
pub mod shape;
mod share;
mod stack;
pub mod tls;
pub mod upstream;
mod vigil;
pub mod world;

pub use metrics::BrokerMetrics;
pub use reload::{Certificate, Reloader};
pub use world::{Folders, Parts, World};

use arc_swap::ArcSwap;
use assertion::Assertions;
use audit::Log;
use identity::{Identity, Origins};
use listener::Peer;
use model::{Clock, RequestId};
use record::RefusedLogins;
use runtime::trace::Tracer;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// One running broker.
#[derive(Debug)]
pub struct Broker {
    pub log: Log,
    /// Where the log is published.
    published: PathBuf,
    /// Its checkpoints are cosigned.
    is_witnessed: bool,
    acknowledgement_patience: std::time::Duration,
    pub metrics: BrokerMetrics,
    identity: Arc<Identity>,
    /// How callers reach the data and the api listener.
    data_origins: Origins,
    api_origins: Origins,
    world: ArcSwap<World>,
    /// The same, for those who wait for a change.
    worlds: watch::Sender<Arc<World>>,
    vigil: Arc<vigil::Vigil>,
    clock: Arc<dyn Clock>,
    assertions: Assertions,
    pseudonyms: shape::Pseudonyms,
    refused_logins: Arc<RefusedLogins>,
    shares: Arc<share::Shares>,
    shadow: Option<shadow::Tap>,
    /// Whose values must stay in the log's store.
    holds: audit::Holds,
    readers: api::Readers,
    /// Held by whoever finds out what new policies change.
    effects: tokio::sync::Mutex<()>,
    tracer: Tracer,
    readiness: runtime::health::Readiness,
    draining: CancellationToken,
    cut_off: CancellationToken,
}

/// What a broker is made from.
#[derive(Debug)]
pub struct Makings {
    pub log: Log,
    /// The directory that the log is published to.
    pub published: PathBuf,
    /// Whether witnesses cosign its checkpoints.
    pub is_witnessed: bool,
    /// How long a decision may wait for a checkpoint over it, and for witnesses: longer than one takes to come.
    pub acknowledgement_patience: std::time::Duration,
    pub identity: Identity,
    pub data_origins: Origins,
    pub api_origins: Origins,
    pub world: World,
    /// What sources are told of callers.
    pub assertions: Assertions,
    /// What masks are made with that stand for values.
    pub pseudonyms: shape::Pseudonyms,
    pub clock: Arc<dyn Clock>,
    pub tracer: Tracer,
    pub readiness: runtime::health::Readiness,
    /// Cancelled when no new requests are taken: answers without an end of their own end then.
    pub draining: CancellationToken,
    /// Cancelled when nobody is waited for any longer.
    pub cut_off: CancellationToken,
    pub metrics: runtime::metrics::Registry,
    pub refused_logins_per_minute: u32,
    /// Requests of one organisation that may be open at a time.
    pub requests_per_organisation: usize,
    /// Where decisions are offered to policies that are only tried.
    pub shadow: Option<shadow::Tap>,
    /// Whose values must stay, whoever asks for their erasure.
    pub holds: audit::Holds,
}

/// What the first decisions would be made from cannot be recorded, so none is made.
#[derive(Debug, thiserror::Error)]
#[error("the opening of the log could not be recorded; nothing is served")]
pub struct NotRecorded;

impl Broker {
    /// Records the opening generation, so that the log names what its first decision was made from.
    ///
    /// # Errors
    /// When that cannot be written.
    pub async fn start(makings: Makings) -> Result<Arc<Self>, NotRecorded> {
        makings.identity.update(&makings.world.parties);
        let world = Arc::new(makings.world);
        let identity = Arc::new(makings.identity);
        let broker = Arc::new(Self {
            metrics: BrokerMetrics::new(makings.metrics, &makings.log, &identity, makings.clock.clone()),
            log: makings.log,
            published: makings.published,
            is_witnessed: makings.is_witnessed,
            acknowledgement_patience: makings.acknowledgement_patience,
            identity,
            data_origins: makings.data_origins,
            api_origins: makings.api_origins,
            world: ArcSwap::new(world.clone()),
            worlds: watch::Sender::new(world),
            vigil: Arc::default(),
            clock: makings.clock,
            assertions: makings.assertions,
            pseudonyms: makings.pseudonyms,
            readers: api::Readers::default(),
            effects: tokio::sync::Mutex::default(),
            refused_logins: RefusedLogins::new(makings.refused_logins_per_minute),
            shares: share::Shares::new(makings.requests_per_organisation),
            shadow: makings.shadow,
            holds: makings.holds,
            tracer: makings.tracer,
            readiness: makings.readiness,
            draining: makings.draining,
            cut_off: makings.cut_off,
        });
        let world = broker.world();
        for opening in [reload::policy_activation(&world, None), reload::opening(&world)] {
            if !reload::record(&broker, opening).await {
                return Err(NotRecorded);
            }
        }
        // Ends with the broker, whose worlds it waits for.
        tokio::spawn(broker.vigil.clone().keep(broker.worlds.subscribe()));
        Ok(broker)
    }

    pub fn world(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// Number of the generation that new requests use.
    pub fn generation(&self) -> u64 {
        self.world.load().snapshot.generation()
    }

    fn replace(&self, world: World) {
        self.identity.update(&world.parties);
        let world = Arc::new(world);
        self.world.store(world.clone());
        self.worlds.send_replace(world);
    }

    /// `world` is the one that the permit was given in.
    fn standing(&self, permit: &pdp::Permit, world: &World, peer: &Peer) -> authorize::Standing {
        authorize::Standing::new(permit, world, peer, self.clock.clone())
    }

    fn request_id(&self) -> RequestId {
        RequestId::new(self.clock.now(), runtime::random::bytes())
    }

    /// Answers one request of the data listener.
    pub async fn proxy(
        self: Arc<Self>,
        peer: Peer,
        request: http::Request<hyper::body::Incoming>,
    ) -> http::Response<respond::Body> {
        stack::handle(&self, peer, request).await
    }

    /// Millgate's own endpoints for callers.
    pub fn api(self: &Arc<Self>) -> axum::Router {
        api::router(self.clone())
    }

    /// Health, readiness and metrics for the operator.
    pub fn operator(self: &Arc<Self>) -> axum::Router {
        operator::router(self.clone())
    }

    /// Erases values in the log's store that have been kept long enough.
    pub async fn retain(&self, retention: &audit::Retention) {
        match self.log.retain(retention, self.clock.now()).await {
            Ok(0) => {}
            Ok(entries) => tracing::info!(entries, "values in the audit log were erased by age"),
            Err(error) => {
                tracing::error!(%error, "values in the audit log could not be erased by age; tried again later")
            }
        }
    }

    /// Prunes entries that have been kept as long as the policy says.
    pub async fn prune(&self, retention: &audit::Retention) {
        let bounds = audit::prune::Bounds { published: self.published.clone(), is_witnessed: self.is_witnessed };
        match self.log.prune(retention, &bounds).await {
            Ok(0) => {}
            Ok(entries) => tracing::info!(entries, "entries of the audit log were pruned"),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "entries of the audit log could not be pruned; tried again later");
            }
        }
    }

    /// Says what was counted and not yet written; called every minute and at the end.
    pub async fn flush(&self) {
        if let Err(refusal) = self.refused_logins.flush(&self.log).await {
            tracing::error!(detail = %refusal.detail, "counted logins could not be recorded");
        }
    }
}

/// Serves an axum router on a [`listener::Listener`].
pub async fn serve_router(
    router: axum::Router,
    peer: Peer,
    request: http::Request<hyper::body::Incoming>,
) -> http::Response<respond::Body> {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;
    let mut request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(peer);
    match router.oneshot(request).await {
        Ok(response) => response.map(|b| b.map_err(respond::BodyError::Own).boxed_unsync()),
        Err(never) => match never {},
    }
}
