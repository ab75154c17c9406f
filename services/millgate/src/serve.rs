//! `millgate serve`: configuration → log, identity, world, listeners → drain.

use crate::keys;
use crate::quarantine::{self, Guarded, Lift};
use crate::quarantined::Quarantined;
use crate::sinks::Sinks;
use crate::witnessing::Witnessing;
use anyhow::{Context as _, bail};
use audit::{Holds, Kept, Keys, Log, LogOptions, PublishOptions, Published, Publisher, ReceiptOptions, Retention};
use broker::assertion::{Assertions, KeyFiles};
use broker::handshake::Handshakes;
use broker::listener::{Bounds, Listener, Tls};
use broker::shadow::{Settings, Trial};
use broker::shape::Pseudonyms;
use broker::{Broker, Certificate, Folders, Makings, Parts, Reloader, World};
use identity::{Identity, IdentityOptions, Origins};
use model::entry::CommitmentClass;
use model::{Clock, Origin};
use registry::{NetworkFiles, Networks};
use runtime::clock::SystemClock;
use runtime::config::{Config, Shadow};
use runtime::health::Readiness;
use runtime::secret;
use runtime::shutdown::Shutdown;
use runtime::telemetry::{self, Telemetry};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  millgate serve --config /etc/millgate/millgate.toml\n\n\
    SIGHUP reads everything again; SIGTERM lets open requests finish; a second SIGTERM ends at once.")]
pub struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "millgate.toml")]
    config: PathBuf,
    /// One JSON object on standard output when ready: addresses, log directory and key
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(problems) => {
            problems.iter().for_each(|p| eprintln!("{p}"));
            bail!("`{}` cannot be used; nothing was started", args.config.display());
        }
    };
    telemetry::init_logs(&config.telemetry).context("logs cannot be set up")?;
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals().context("signals cannot be listened to")?;
    match Box::pin(begin(&config, shutdown, Arc::new(SystemClock))).await? {
        Started::Serving(running) => {
            if args.json {
                println!("{}", running.addresses());
            }
            Ok(running.wait().await)
        }
        Started::Quarantined(quarantined) => {
            if args.json {
                println!("{}", quarantined.addresses());
            }
            Ok(quarantined.wait().await)
        }
    }
}

/// The configuration's folders as the broker reads them.
pub fn folders(config: &Config) -> Folders {
    let f = &config.folders;
    Folders {
        catalog: f.catalog.clone(),
        registry: f.registry.clone(),
        policies: f.policies.clone(),
        schema: f.schema.clone(),
    }
}

/// The configuration's files about networks as the broker reads them.
pub fn networks(config: &Config) -> NetworkFiles {
    let c = &config.countries;
    NetworkFiles { list: c.networks_file.clone(), database: c.database_file.clone() }
}

/// The configuration's keys for assertions as the broker reads them.
pub fn assertion_keys(config: &Config) -> KeyFiles {
    let a = &config.assertion;
    let others = a.next_key_file.iter().chain(&a.previous_key_files).cloned().collect();
    KeyFiles { signing: a.key_file.clone(), others }
}

/// A broker that serves.
#[derive(Debug)]
pub struct Running {
    pub data: SocketAddr,
    pub api: SocketAddr,
    pub operator: SocketAddr,
    pub tls: bool,
    /// The published log, and the key that its checkpoints are verified with.
    pub log_directory: PathBuf,
    pub log_key: String,
    pub broker: Arc<Broker>,
    shutdown: Shutdown,
    connections: TaskTracker,
    background: TaskTracker,
    publisher: Publisher,
    indexer: Option<JoinHandle<()>>,
    sinks: TaskTracker,
    telemetry: Telemetry,
    drain: Duration,
}

/// What became of a start.
#[derive(Debug)]
pub enum Started {
    Serving(Box<Running>),
    /// Others have seen more of the log than is here.
    Quarantined(Quarantined),
}

/// Opens everything and begins to serve.
///
/// # Errors
/// What is wrong with configuration, folders, log or sockets, and a log that may not go on; nothing keeps running then.
pub async fn start(config: &Config, shutdown: Shutdown, clock: Arc<dyn Clock>) -> anyhow::Result<Running> {
    match Box::pin(begin(config, shutdown, clock)).await? {
        Started::Serving(running) => Ok(*running),
        Started::Quarantined(_) => bail!("the log is quarantined; nothing is served"),
    }
}

/// Opens everything and begins to serve, or to refuse.
///
/// # Errors
/// What is wrong with configuration, folders, log or sockets; nothing keeps running then.
pub async fn begin(config: &Config, shutdown: Shutdown, clock: Arc<dyn Clock>) -> anyhow::Result<Started> {
    let folders = folders(config);
    let readiness = Readiness::new();
    let serving = readiness.condition("serving");
    let world = load(&folders, &networks(config))?;
    let telemetry =
        Telemetry::start(&config.telemetry, &config.audit.origin).context("the trace exporter cannot be set up")?;
    // Sockets before the log: an address that is taken must not leave "opened" and "closed" entries behind.
    let sockets = Sockets::bind(config).await?;
    let identity = identity(config)?;
    let retention = retention(&config.audit)?;
    // Before anything is made that is missing in the middle of it: a key above all.
    if let Some(ready) = audit::incarnation::unfinished(&config.audit.directory) {
        return Err(audit::OpenError::Unfinished(ready).into());
    }
    // A token takes its time, and this thread has others to run.
    let audit = config.audit.clone();
    let keys = tokio::task::spawn_blocking(move || keys::load(&audit)).await.context("the keys of the log")??;
    let witnesses = Witnessing::new(&config.audit, clock.clone())?;
    if witnesses.as_ref().is_none_or(|witnesses| !witnesses.asks_for_witnesses()) {
        tracing::warn!(
            log = config.audit.origin,
            "no witness has to see this log: whoever holds its key could show one history to one auditor and another to the next"
        );
    }
    let Guarded { why, lift } =
        Box::pin(quarantine::guard(&config.audit, &keys, witnesses.as_deref(), &*clock)).await?;
    if !why.is_empty() {
        let quarantined = Box::pin(Quarantined::start(config, shutdown, clock, sockets, &why)).await?;
        return Ok(Started::Quarantined(quarantined));
    }
    let is_witnessed = witnesses.as_ref().is_some_and(|witnesses| witnesses.asks_for_witnesses());
    let sinks = Sinks::new(&config.audit)?;
    let metrics = runtime::metrics::Registry::new();
    let opening = Opening { keys, witnesses, told: sinks.ring(), lift };
    let (log, publisher) = Box::pin(open_log(config, clock.clone(), opening)).await?;
    let sinks = sinks.start(&metrics);
    Box::pin(gate(&world, &config.folders.cases, &log, &publisher)).await?;
    let indexer = config.audit.index.then(|| tokio::spawn(log.indexer(&config.audit.directory).run()));
    let recalling = log.clone();
    tokio::spawn(async move { recalling.recall_summaries(INDEX_OPENS).await });
    let log_key = publisher.key().to_text();
    let shown = match &config.tls {
        Some(tls) => Some(broker::tls::certified_key(&tls.certificate, &tls.key)?),
        None => None,
    };
    let assertions = Assertions::open(config.assertion.issuer.clone(), assertion_keys(config))?;
    let pseudonyms = secret::key(&config.masks.key_file).context("[masks] key_file cannot be used")?;
    let shadow = config.shadow.clone().map(|Shadow { policies, share }| Settings { policies, share });
    let (tap, trial) = shadow.map(|settings| broker::shadow::tap(settings, &folders)).unzip();
    let broker = Box::pin(Broker::start(Makings {
        log,
        published: config.audit.publish_directory.clone(),
        is_witnessed,
        acknowledgement_patience: acknowledgement_patience(&config.audit),
        identity,
        data_origins: origins(&config.listen.data_origins, sockets.data.local_addr()?, shown.is_some()),
        api_origins: origins(&config.listen.api_origins, sockets.api.local_addr()?, shown.is_some()),
        world,
        assertions,
        pseudonyms: Pseudonyms::new(pseudonyms),
        clock,
        tracer: telemetry.tracer(),
        readiness: readiness.clone(),
        draining: shutdown.draining().clone(),
        cut_off: shutdown.immediate().clone(),
        metrics,
        refused_logins_per_minute: config.audit.refused_logins_per_minute,
        requests_per_organisation: config.limits.requests_per_organisation,
        shadow: tap,
        holds: retention.holds.clone(),
    }))
    .await?;
    let mut running = Running {
        data: sockets.data.local_addr()?,
        api: sockets.api.local_addr()?,
        operator: sockets.operator.local_addr()?,
        tls: shown.is_some(),
        log_directory: config.audit.publish_directory.clone(),
        log_key,
        broker,
        shutdown,
        connections: TaskTracker::new(),
        background: TaskTracker::new(),
        publisher,
        indexer,
        sinks,
        telemetry,
        drain: config.limits.drain_timeout,
    };
    let tls = shown.map(|shown| Handshakes::new(running.broker.clone(), shown));
    running.watch(config, folders, tls.clone());
    running.attempt(trial);
    running.retain(retention);
    running.listen(config, sockets, tls);
    serving.met();
    tracing::info!(
        data = %running.data, api = %running.api, operator = %running.operator, log_key = running.log_key,
        "serving"
    );
    Ok(Started::Serving(Box::new(running)))
}

/// How a listener is reached: as the configuration says, or else at the address that it is bound to, which on loopback
/// has a name too.
pub(crate) fn origins(named: &[Origin], address: SocketAddr, https: bool) -> Origins {
    if !named.is_empty() {
        return Origins::new(named.iter().cloned());
    }
    let localhost = address.ip().is_loopback().then(|| Origin::localhost(https, address.port()));
    Origins::new([Origin::of_socket(https, address)].into_iter().chain(localhost))
}

fn load(folders: &Folders, networks: &NetworkFiles) -> anyhow::Result<World> {
    let networks = Networks::load(networks, &Networks::default())
        .map_err(|found| unusable("the files in `[countries]`", &found))?;
    let world = folders
        .load()
        .map(|parts| Parts { networks, ..parts })
        .and_then(|parts| World::connect(&parts.catalog).and_then(|upstreams| World::join(&parts, 1, upstreams)));
    world.map_err(|problems| unusable("the folders", &problems))
}

/// The cases pass, or the policies were in use before; otherwise the log is closed again.
async fn gate(world: &World, cases: &[PathBuf], log: &Log, publisher: &Publisher) -> anyhow::Result<()> {
    let Err(problems) = broker::cases::admit_at_start(world, cases, log).await else { return Ok(()) };
    log.seal().await;
    publisher.stop().await.context("the log cannot be published")?;
    log.close().await;
    Err(unusable("the folders", &problems))
}

fn unusable(what: &str, problems: &[registry::Problem]) -> anyhow::Error {
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{what} cannot be used; nothing was started\n{}", text.join("\n"))
}

/// What a log is opened with beside its configuration.
struct Opening {
    keys: Keys,
    witnesses: Option<Arc<Witnessing>>,
    /// Who hears of published checkpoints.
    told: Option<broadcast::Sender<Published>>,
    lift: Option<Lift>,
}

async fn open_log(config: &Config, clock: Arc<dyn Clock>, opening: Opening) -> anyhow::Result<(Log, Publisher)> {
    let Opening { keys, witnesses, told, lift } = opening;
    let a = &config.audit;
    let random: audit::Random = Arc::new(runtime::random::fill);
    let options = LogOptions {
        queue_max: a.queue_max,
        deadline_ms: millis(a.deadline),
        heartbeat_ms: millis(a.heartbeat),
        summary_ms: Some(a.organisation_summary.map_or(0, millis)),
        receipts: a.receipts.then(|| ReceiptOptions {
            key: keys.current().clone(),
            deadline_ms: millis(a.receipt_deadline),
            wait: a.receipt_wait,
        }),
        store: a.store.as_ref().map(crate::store::access).transpose()?,
        lifted: lift.as_ref().map(Lift::entry),
        ..LogOptions::new(&a.directory, &a.origin, clock, random)
    };
    let store = options.store_at();
    let (log, recovered) =
        Log::open(options).await.with_context(|| format!("the audit log in `{store}` cannot be opened"))?;
    if let Some(lift) = lift {
        lift.carry_out(a)?;
    }
    if recovered.unknown_outcomes > 0 {
        tracing::warn!(exchanges = recovered.unknown_outcomes, "the last run ended in the middle of exchanges");
    }
    let options = PublishOptions {
        interval_ms: millis(a.checkpoint_interval),
        witnesses: witnesses.map(|witnesses| -> Arc<dyn audit::Witnesses> { witnesses }),
        told,
        retention: retention(a)?,
        linger_ms: i64::try_from(a.publish_linger.as_millis()).unwrap_or(i64::MAX),
        ..PublishOptions::new(&a.publish_directory)
    };
    let publisher = Publisher::start(&log, keys, options)
        .await
        .with_context(|| format!("the published log in `{}` cannot be used", a.publish_directory.display()))?;
    Ok((log, publisher))
}

/// How long a decision may wait for a checkpoint over it: one comes at each interval, has witnesses to wait for, and is written
/// to a disk that may be slow.
fn acknowledgement_patience(audit: &runtime::config::Audit) -> Duration {
    let witnesses = if audit.witnesses.is_some() { audit.witness_timeout } else { Duration::ZERO };
    audit.checkpoint_interval + witnesses + Duration::from_secs(4)
}

/// How long values are kept, and whose are kept in any case.
pub(crate) fn retention(audit: &runtime::config::Audit) -> anyhow::Result<Retention> {
    let of = &audit.retention;
    let days = [
        (CommitmentClass::Subject, of.subject),
        (CommitmentClass::Network, of.network),
        (CommitmentClass::Payload, of.payload),
    ];
    let days = days.into_iter().filter_map(|(class, days)| Some((class, days?))).collect();
    let holds = Holds::new(audit.legal_holds.clone())
        .map_err(|bad| anyhow::anyhow!("`{bad}` in `audit.legal_holds` is neither a principal nor an organisation"))?;
    let entries = of.entries.map(|days| Kept { days, statement: of.policy.clone() });
    Ok(Retention { days, holds, entries })
}

pub(crate) fn identity(config: &Config) -> anyhow::Result<Identity> {
    let key_cache = config.identity.key_cache.clone();
    if let Some(folder) = &key_cache {
        identity::prepare_key_cache(folder).context("`identity.key_cache` cannot be used")?;
    }
    Ok(Identity::new(IdentityOptions {
        key_cache,
        verified_tokens_max: config.identity.verified_tokens,
        used_proofs_max: config.limits.proofs_per_organisation,
        ..IdentityOptions::default()
    }))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A connection that was cut off needs no more than its turn to end.
const CUT_OFF_MAX: Duration = Duration::from_secs(2);

/// By then the index is open that tells which summaries of before this start are still good. All of them are for hours, or were
/// written anew when the log was opened.
const INDEX_OPENS: Duration = Duration::from_secs(20);

/// Time for the last checkpoint to get to its sinks.
const SINKS_MAX: Duration = Duration::from_secs(2);

/// Refused logins beyond their budget are counted; a count that is not written is lost with the process.
const FLUSH_INTERVAL: Duration = Duration::from_secs(60);

/// Values are kept by the day, so that whoever looks more often finds nothing.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3_600);

/// The listeners' sockets.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub data: TcpListener,
    pub api: TcpListener,
    pub operator: TcpListener,
}

impl Sockets {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |name: &str, address: SocketAddr| {
            TcpListener::bind(address)
                .await
                .with_context(|| format!("`listen.{name}`: {address} cannot be bound; is another broker running?"))
        };
        Ok(Self {
            data: bind("data", config.listen.data).await?,
            api: bind("api", config.listen.api).await?,
            operator: bind("operator", config.listen.operator).await?,
        })
    }
}

impl Running {
    /// `{"data","api","operator","log_dir","log_key"}`.
    pub fn addresses(&self) -> serde_json::Value {
        serde_json::json!({
            "data": self.data_url(), "api": self.api_url(), "operator": format!("http://{}", self.operator),
            "log_dir": self.log_directory, "log_key": self.log_key,
        })
    }

    pub fn data_url(&self) -> String {
        self.url(self.data)
    }

    pub fn api_url(&self) -> String {
        self.url(self.api)
    }

    fn url(&self, address: SocketAddr) -> String {
        format!("{}://{address}", if self.tls { "https" } else { "http" })
    }

    fn watch(&mut self, config: &Config, folders: Folders, tls: Option<Arc<Handshakes>>) {
        let certificate = config.tls.as_ref().zip(tls).map(|(files, shown_by)| Certificate {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            shown_by,
        });
        let cases = config.folders.cases.clone();
        let reloader =
            Reloader::new(self.broker.clone(), folders, certificate).with_cases(cases).with_networks(networks(config));
        self.background.spawn(reloader.run(self.shutdown.reloads(), self.shutdown.draining().clone()));
        let (broker, stop) = (self.broker.clone(), self.shutdown.draining().clone());
        self.background.spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(FLUSH_INTERVAL)).await.is_some() {
                broker.flush().await;
            }
        });
    }

    /// Tries the shadow policies, if there are any.
    fn attempt(&self, trial: Option<Trial>) {
        if let Some(trial) = trial {
            self.background.spawn(trial.run(self.broker.clone(), self.shutdown.draining().clone()));
        }
    }

    /// Erases values, and prunes entries, when they have been kept for as long as the policy says; looks again every hour.
    fn retain(&self, retention: Retention) {
        if retention.days.is_empty() && retention.entries.is_none() {
            return;
        }
        let (broker, stop) = (self.broker.clone(), self.shutdown.draining().clone());
        self.background.spawn(async move {
            loop {
                // An erasure or a pruning under way is several entries, each complete in itself: it may be broken off between two.
                let work = async {
                    broker.retain(&retention).await;
                    broker.prune(&retention).await;
                };
                let done = stop.run_until_cancelled(work).await;
                let pause = stop.run_until_cancelled(tokio::time::sleep(RETENTION_INTERVAL)).await;
                if done.is_none() || pause.is_none() {
                    return;
                }
            }
        });
    }

    fn listen(&self, config: &Config, sockets: Sockets, tls: Option<Arc<Handshakes>>) {
        let bounds = Bounds::of(&config.limits);
        let tls = tls.map(Tls::Callers);
        let listener = |name, socket, tls| Listener { name, socket, tls, bounds: bounds.clone() };
        let (stop, cut_off) = (self.shutdown.draining(), self.shutdown.immediate());
        let data = listener("data", sockets.data, tls.clone());
        let broker = self.broker.clone();
        let proxy = move |peer, request| broker.clone().proxy(peer, request);
        self.connections.spawn(data.run(proxy, stop.clone(), cut_off.clone(), self.connections.clone()));
        for (name, socket, tls, router) in
            [("api", sockets.api, tls, self.broker.api()), ("operator", sockets.operator, None, self.broker.operator())]
        {
            let serve = move |peer, request| broker::serve_router(router.clone(), peer, request);
            let listener = listener(name, socket, tls);
            self.connections.spawn(listener.run(serve, stop.clone(), cut_off.clone(), self.connections.clone()));
        }
    }

    /// Serves until a signal or until the log is poisoned, then ends in order.
    pub async fn wait(self) -> ExitCode {
        let log = self.broker.log.clone();
        tokio::select! {
            () = self.shutdown.draining().cancelled() => self.drain().await,
            () = log.poisoned() => {
                // Nothing in memory is to be trusted now; the next start reads storage.
                tracing::error!("the audit log failed; the broker ends, nothing more is served");
                ExitCode::from(1)
            }
        }
    }

    /// Ends in order: connections, then what they left to write, then the last checkpoint.
    pub async fn drain(self) -> ExitCode {
        if !self.shutdown.is_draining() {
            self.shutdown.begin("asked to end");
        }
        tracing::info!("draining");
        self.connections.close();
        let finished = tokio::select! {
            () = self.connections.wait() => true,
            () = tokio::time::sleep(self.drain) => false,
            () = self.shutdown.immediate().cancelled() => false,
        };
        if !finished {
            tracing::warn!(open = self.connections.len(), "open requests are cut off");
            self.shutdown.immediate().cancel();
            // Cut connections end at once; what they leave is an outcome each, to be written before the log is sealed.
            let _ = tokio::time::timeout(CUT_OFF_MAX, self.connections.wait()).await;
        }
        self.background.close();
        self.background.wait().await;
        self.broker.flush().await;
        self.broker.log.seal().await;
        if let Err(error) = self.publisher.stop().await {
            tracing::error!(%error, "the last checkpoint could not be published; the next start does it");
        }
        self.broker.log.close().await;
        if let Some(indexer) = self.indexer {
            let _ = indexer.await;
        }
        // With the publisher ends what they listen to. One that hangs is not waited for.
        let _ = tokio::time::timeout(SINKS_MAX, self.sinks.wait()).await;
        self.telemetry.shutdown().await;
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_that_waits_for_a_checkpoint_waits_until_one_can_have_come() {
        let mut audit = runtime::config::Audit::new(PathBuf::from("audit"), String::from("plant.example/log"));
        assert_eq!(acknowledgement_patience(&audit), Duration::from_secs(5));
        for seconds in [6, 60, 3_600] {
            audit.checkpoint_interval = Duration::from_secs(seconds);
            assert!(acknowledgement_patience(&audit) > audit.checkpoint_interval);
        }
        audit.witnesses = Some(PathBuf::from("trust.policy"));
        audit.witness_timeout = Duration::from_secs(60);
        assert!(acknowledgement_patience(&audit) > audit.checkpoint_interval + audit.witness_timeout);
    }
}
