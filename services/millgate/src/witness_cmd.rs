//! `millgate witness`: cosigns the checkpoints of other people's logs.

use crate::out::say;
use anyhow::Context as _;
use broker::listener::{Bounds, Listener, Tls};
use clap::Args;
use runtime::clock::SystemClock;
use runtime::shutdown::Shutdown;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tlog::TrustPolicy;
use tokio_util::task::TaskTracker;
use witness::{Store, Witness, key, router};

/// Logs ask once an interval, each over one connection.
const BOUNDS: Bounds = Bounds {
    connections_max: 256,
    header_bytes_max: 16 * 1024,
    headers_max: 64,
    header_timeout: Duration::from_secs(10),
};
const DRAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  millgate witness --name witness.acme.example/plant-logs --directory /var/lib/millgate-witness \\\n    \
    --logs logs.policy --listen 0.0.0.0:8600 --certificate tls.crt --key tls.key\n\n\
    logs.policy holds `log VKEY` for each log, and `quorum none`."
)]
pub struct WitnessArgs {
    /// The witness's name, for ever; it stands in every cosignature
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Where it keeps what it has seen, and its key. Losing it means to retire the witness: back it up, and never restore an old copy
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
    /// The logs that it watches: the `log` lines of a trust policy (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    logs: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8600")]
    listen: SocketAddr,
    /// Its certificate for TLS, with those between it and the authority, PEM; read at the start. Cosignatures are signed, but
    /// what it refuses is not: over a network without TLS whoever stands between can say in its name that a log was rewritten
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The key of that certificate, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// One JSON object on standard output when it is ready
    #[arg(long)]
    json: bool,
}

pub async fn run(args: WitnessArgs) -> anyhow::Result<ExitCode> {
    let name = args.logs.display();
    let text = std::fs::read_to_string(&args.logs).with_context(|| format!("`{name}` cannot be read"))?;
    let policy = TrustPolicy::parse(&text).with_context(|| format!("`{name}` is no trust policy"))?;
    anyhow::ensure!(!policy.logs.is_empty(), "`{name}` names no log: `log VKEY`");
    let store = Store::open(&args.directory)?;
    let key = key::load_or_create(&args.directory.join("witness.key"), &args.name)?;
    let vkey = key.verifier().to_text();
    let tls = args.certificate.as_ref().zip(args.key.as_ref());
    let tls = tls.map(|(certificate, key)| broker::tls::server_config(certificate, key)).transpose()?;
    let socket = tokio::net::TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let url = format!("{}://{}", if tls.is_some() { "https" } else { "http" }, socket.local_addr()?);
    let logs: Vec<_> = policy.logs.into_iter().map(|log| log.key).collect();
    let count = logs.len();
    let witness = Arc::new(Witness { key, logs, store, clock: Arc::new(SystemClock) });
    if args.json {
        say(serde_json::json!({ "url": url, "vkey": vkey, "logs": count }));
    } else {
        say(format_args!("witness {} of {count} logs at {url}\nits key, for trust policies: {vkey}", args.name));
    }
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals().context("signals cannot be listened to")?;
    let (router, connections) = (router(witness), TaskTracker::new());
    let serve = move |peer, request| broker::serve_router(router.clone(), peer, request);
    let listener = Listener { name: "witness", socket, tls: tls.map(Tls::Anybody), bounds: BOUNDS };
    listener.run(serve, shutdown.draining().clone(), shutdown.immediate().clone(), connections.clone()).await;
    connections.close();
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
    shutdown.immediate().cancel();
    Ok(ExitCode::SUCCESS)
}
