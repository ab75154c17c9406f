//! Further places for checkpoints, so that whoever cuts or replaces the log would have to reach them too.
//!
//! Each sink is a task that takes published checkpoints from a ring. The publisher never waits for one: a sink that is slow
//! loses the oldest, which the next one it gets stands for, because every checkpoint covers all before it. What a sink is doing is
//! a metric; that it begins or ceases to fail is one line in the log.
//!
//! What this does **not** do: it keeps no entries, and no sink can stop a request. At the next start directories and buckets
//! are read again (`quarantine`); what went to syslog is for others to compare.

pub(crate) mod directory;
pub(crate) mod s3;
mod syslog;

use anyhow::Context as _;
use audit::Published;
use broker::tls::Roots;
use directory::Directory;
use runtime::config::Audit;
use runtime::metrics::Registry;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use s3::S3;
use std::path::Path;
use std::time::Duration;
use syslog::Syslog;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::TaskTracker;

/// At one a second, a minute that a sink may be behind.
const RING: usize = 64;
/// For one checkpoint, a connection included.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sinks of a configuration, before anything is published.
pub(crate) struct Sinks {
    all: Vec<(Sink, broadcast::Receiver<Published>)>,
    ring: broadcast::Sender<Published>,
}

enum Sink {
    Directory(Directory),
    Syslog(Box<Syslog>),
    S3(Box<S3>),
}

impl Sink {
    fn name(&self) -> String {
        match self {
            Self::Directory(directory) => directory.name(),
            Self::Syslog(syslog) => syslog.name(),
            Self::S3(s3) => s3.name(),
        }
    }

    /// `false`: it will be later, or another one that stands for it. Why it was not kept, in words.
    async fn keep(&mut self, published: &Published) -> Result<bool, String> {
        let kept = async {
            match self {
                Self::Directory(directory) => directory.keep(published).await.map(|()| true),
                Self::Syslog(syslog) => syslog.send(published).await.map(|()| true),
                Self::S3(s3) => s3.keep(published).await,
            }
        };
        tokio::time::timeout(PATIENCE, kept).await.unwrap_or_else(|_| Err(late()))
    }

    /// What was to be kept later is kept now; `None` if there is nothing.
    async fn keep_waiting(&mut self) -> Option<(u64, Result<(), String>)> {
        let Self::S3(s3) = self else { return None };
        match tokio::time::timeout(PATIENCE, s3.keep_waiting()).await {
            Ok(kept) => kept,
            Err(_) => Some((0, Err(late()))),
        }
    }

    /// Waits until something is to be kept that was to be kept later.
    async fn due(&self) {
        match self {
            Self::S3(s3) if let Some(due) = s3.due() => tokio::time::sleep_until(due.into()).await,
            _ => std::future::pending().await,
        }
    }
}

fn late() -> String {
    format!("not within {} s", PATIENCE.as_secs())
}

/// Whom a receiver over TLS is trusted by.
pub(crate) fn roots(ca_file: Option<&Path>) -> anyhow::Result<Roots> {
    let Some(file) = ca_file else { return Ok(Roots::Machine) };
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.with_context(|| format!("`{}`", file.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "`{}` holds no certificate", file.display());
    Ok(Roots::Own(certificates))
}

impl Sinks {
    /// # Errors
    /// When the certificate of a receiver cannot be read.
    pub(crate) fn new(audit: &Audit) -> anyhow::Result<Self> {
        let ring = broadcast::Sender::new(RING);
        let directories = audit.sinks.directories.iter();
        let mut all: Vec<Sink> =
            directories.map(|path| Sink::Directory(Directory::new(path.clone(), &audit.origin))).collect();
        if let Some(settings) = &audit.sinks.syslog {
            all.push(Sink::Syslog(Box::new(Syslog::new(settings, &audit.origin)?)));
        }
        if let Some(settings) = &audit.sinks.s3 {
            all.push(Sink::S3(Box::new(S3::new(settings, &audit.origin).context("[audit.sinks.s3]")?)));
        }
        Ok(Self { all: all.into_iter().map(|sink| (sink, ring.subscribe())).collect(), ring })
    }

    /// Where the publisher tells what it has published; `None` when nobody listens.
    pub(crate) fn ring(&self) -> Option<broadcast::Sender<Published>> {
        (!self.all.is_empty()).then(|| self.ring.clone())
    }

    /// Begins to keep what is published; the tasks end behind the publisher.
    pub(crate) fn start(self, registry: &Registry) -> TaskTracker {
        let tracker = TaskTracker::new();
        let kept = registry.gauges(
            "millgate_audit_sink_entries",
            "Entries under the last checkpoint that a sink kept.",
            ["sink"],
        );
        let counts = registry.counters(
            "millgate_audit_sink_checkpoints_total",
            "Checkpoints for sinks: kept, failed, or skipped because the sink was behind.",
            ["sink", "result"],
        );
        for (mut sink, mut ring) in self.all {
            let name = sink.name();
            let last = kept.with([name.as_str()]);
            let [kept, failed, skipped] =
                ["kept", "failed", "skipped"].map(|result| counts.with([name.as_str(), result]));
            tracker.spawn(async move {
                // Unknown at first, so that the first line says what it is.
                let mut fails = None;
                let mut is_open = true;
                while is_open {
                    let received = tokio::select! {
                        received = ring.recv() => Some(received),
                        () = sink.due() => None,
                    };
                    let kept_now = match received {
                        Some(Ok(published)) => Some((published.size, sink.keep(&published).await)),
                        Some(Err(RecvError::Lagged(n))) => {
                            skipped.add(n);
                            continue;
                        }
                        closed_or_due => {
                            is_open = closed_or_due.is_none();
                            sink.keep_waiting().await.map(|(size, kept)| (size, kept.map(|()| true)))
                        }
                    };
                    let (size, outcome) = match kept_now {
                        None | Some((_, Ok(false))) => continue,
                        Some((size, outcome)) => (size, outcome),
                    };
                    let before = fails.replace(outcome.is_err());
                    match outcome {
                        Ok(_) => {
                            kept.increment();
                            last.set(i64::try_from(size).unwrap_or(i64::MAX));
                            if before != Some(false) {
                                tracing::info!(sink = name, "a sink keeps the checkpoints of the log");
                            }
                        }
                        Err(why) => {
                            failed.increment();
                            if before != Some(true) {
                                tracing::error!(sink = name, why, "a sink does not keep the checkpoints of the log");
                            }
                        }
                    }
                }
            });
        }
        tracker.close();
        tracker
    }
}
