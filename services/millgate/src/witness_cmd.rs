//! `millgate witness`: cosigns the checkpoints of other people's logs.

use crate::out::say;
use anyhow::Context as _;
use clap::Args;
use runtime::clock::SystemClock;
use runtime::shutdown::Shutdown;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tlog::TrustPolicy;
use witness::{Store, Witness, key, router};

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  millgate witness --name witness.acme.example/plant-logs --directory /var/lib/millgate-witness \\\n    \
    --logs logs.policy --listen 127.0.0.1:8600\n\n\
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
    /// Where to listen. Cosignatures are signed and requests judged by the log's signature; put a proxy with TLS in front if the
    /// network must not see which logs grow how fast
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8600")]
    listen: SocketAddr,
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
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    let logs: Vec<_> = policy.logs.into_iter().map(|log| log.key).collect();
    let count = logs.len();
    let witness = Arc::new(Witness { key, logs, store, clock: Arc::new(SystemClock) });
    if args.json {
        say(serde_json::json!({ "url": format!("http://{address}"), "vkey": vkey, "logs": count }));
    } else {
        say(format_args!(
            "witness {} of {count} logs at http://{address}\nits key, for trust policies: {vkey}",
            args.name
        ));
    }
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals().context("signals cannot be listened to")?;
    let stop = shutdown.draining().clone();
    axum::serve(listener, router(witness)).with_graceful_shutdown(async move { stop.cancelled().await }).await?;
    Ok(ExitCode::SUCCESS)
}
