//! `millgate serve` where the log may not go on: everything is refused, and the operator told, until it is settled.

use crate::quarantine::Contradiction;
use crate::serve::Sockets;
use audit::incarnation::Standstill;
use broker::listener::{Bounds, Listener, Tls};
use broker::quarantine::Quarantine;
use model::Clock;
use runtime::config::Config;
use runtime::shutdown::Shutdown;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// A broker that refuses everything.
#[derive(Debug)]
pub struct Quarantined {
    data: SocketAddr,
    api: SocketAddr,
    operator: SocketAddr,
    tls: bool,
    log_directory: PathBuf,
    quarantine: Arc<Quarantine>,
    shutdown: Shutdown,
    connections: TaskTracker,
    drain: Duration,
    /// So that nobody begins another log while this one runs.
    _standstill: Standstill,
}

impl Quarantined {
    /// # Errors
    /// When the certificate of the listeners cannot be used, or another process has the log.
    pub(crate) async fn start(
        config: &Config,
        shutdown: Shutdown,
        clock: Arc<dyn Clock>,
        sockets: Sockets,
        why: &[Contradiction],
    ) -> anyhow::Result<Self> {
        let files = config.tls.as_ref();
        let tls = files.map(|tls| broker::tls::server_config(&tls.certificate, &tls.key)).transpose()?;
        let this = Self {
            data: sockets.data.local_addr()?,
            api: sockets.api.local_addr()?,
            operator: sockets.operator.local_addr()?,
            tls: tls.is_some(),
            log_directory: config.audit.publish_directory.clone(),
            quarantine: Quarantine::new(why.iter().map(ToString::to_string).collect(), clock),
            shutdown,
            connections: TaskTracker::new(),
            drain: config.limits.drain_timeout,
            _standstill: match &config.audit.store {
                None => Standstill::of(&config.audit.directory)?,
                Some(store) => Standstill::of_database(&crate::store::access(store)?, &config.audit.origin).await?,
            },
        };
        this.listen(&Bounds::of(&config.limits), sockets, tls.map(Tls::Anybody).as_ref());
        for contradiction in why {
            tracing::error!(
                log = config.audit.origin,
                "quarantined: {contradiction}; nothing is recorded, signed or given out"
            );
        }
        tracing::error!(
            data = %this.data, api = %this.api, operator = %this.operator,
            "bring the newer copy of the log back and start again; if it is lost, stop this broker and begin a new incarnation: \
             `millgate audit incarnate`. What it rests on, and whether an operator may end it: `millgate audit quarantine`"
        );
        Ok(this)
    }

    fn listen(&self, bounds: &Bounds, sockets: Sockets, tls: Option<&Tls>) {
        let (stop, cut_off) = (self.shutdown.draining(), self.shutdown.immediate());
        let listener = |name, socket, tls| Listener { name, socket, tls, bounds: bounds.clone() };
        for (name, socket) in [("data", sockets.data), ("api", sockets.api)] {
            let quarantine = self.quarantine.clone();
            let refuse = move |_, _| {
                let answer = quarantine.refuse(name);
                async move { answer }
            };
            let listener = listener(name, socket, tls.cloned());
            self.connections.spawn(listener.run(refuse, stop.clone(), cut_off.clone(), self.connections.clone()));
        }
        let router = self.quarantine.operator(self.shutdown.draining().clone());
        let serve = move |peer, request| broker::serve_router(router.clone(), peer, request);
        let listener = listener("operator", sockets.operator, None);
        self.connections.spawn(listener.run(serve, stop.clone(), cut_off.clone(), self.connections.clone()));
    }

    /// `{"data","api","operator","log_dir","quarantined"}`.
    pub fn addresses(&self) -> serde_json::Value {
        let url = |address: SocketAddr| format!("{}://{address}", if self.tls { "https" } else { "http" });
        serde_json::json!({
            "data": url(self.data), "api": url(self.api), "operator": format!("http://{}", self.operator),
            "log_dir": self.log_directory, "quarantined": self.quarantine.why(),
        })
    }

    /// Refuses until a signal.
    pub async fn wait(self) -> ExitCode {
        self.shutdown.draining().cancelled().await;
        self.connections.close();
        let _ = tokio::time::timeout(self.drain, self.connections.wait()).await;
        self.shutdown.immediate().cancel();
        ExitCode::SUCCESS
    }
}
