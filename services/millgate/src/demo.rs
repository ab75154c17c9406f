//! `millgate demo`: a complete plant on 127.0.0.1, nothing to install.
//!
//! Broker, identity providers of two competing suppliers and the owner, and the plant's systems, each on a port of its
//! own. What runs is what `serve` runs; only issuers and sources are made up.

pub mod files;
mod issuer;
mod plant;
mod tour;

use crate::serve::{self, Running};
use anyhow::Context as _;
use files::Home;
use issuer::Issuer;
use model::Clock as _;
use runtime::clock::SystemClock;
use runtime::config::{Config, LogFormat};
use runtime::shutdown::Shutdown;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millgate demo\n  millgate demo --data ./demo      keep log, keys and the plant's files\n  \
    millgate demo --json | head -1   addresses and tokens for scripts"
)]
pub struct Args {
    /// Keep everything here; a second start goes on with what is there. Without it: a temporary directory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// One line of JSON with addresses, tokens and examples instead of the tour
    #[arg(long)]
    json: bool,
}

/// Who logs in where: name of the token, issuer, subject.
pub const CALLERS: [(&str, &str, &str); 7] = [
    ("acme", "acme", "engineer-1"),
    ("bolt", "bolt", "quality-1"),
    ("analytics", "norden", "mes-analytics"),
    ("steward", "norden", "steward-1"),
    ("auditor", "audax", "auditor-1"),
    ("privacy", "norden", "privacy-1"),
    ("privacy-deputy", "norden", "privacy-2"),
];

/// What the demo's brokers are for, as `aud` says it.
pub const AUDIENCE: &str = "https://millgate.norden.example";
/// Long enough for a day of looking around.
const TOKEN_SECONDS: i64 = 12 * 3600;

/// A running demo.
#[derive(Debug)]
pub struct Demo {
    pub running: Running,
    pub home: Home,
    /// Where the made-up plant's systems listen.
    pub plant: SocketAddr,
    /// Name → access token.
    pub tokens: BTreeMap<&'static str, String>,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals().context("signals cannot be listened to")?;
    let settings =
        runtime::config::Telemetry { log: LogFormat::Pretty, level: String::from("warn"), ..Default::default() };
    runtime::telemetry::init_logs(&settings).context("logs cannot be set up")?;
    let demo = start(args.data, shutdown).await?;
    if args.json {
        println!("{}", tour::json(&demo));
    } else {
        println!("{}", tour::text(&demo));
    }
    Ok(demo.running.wait().await)
}

/// Addresses, tokens and examples, as `--json` prints them.
pub fn describe(demo: &Demo) -> serde_json::Value {
    tour::json(demo)
}

/// Starts everything. Stops with `shutdown`.
///
/// # Errors
/// When a port or a file cannot be had.
pub async fn start(data: Option<PathBuf>, shutdown: Shutdown) -> anyhow::Result<Demo> {
    let home = Home::open(data)?;
    let (issuer_socket, plant_socket) = (home.bind("issuers").await?, home.bind("plant").await?);
    let (issuers_at, plant_at) = (issuer_socket.local_addr()?, plant_socket.local_addr()?);
    home.write(issuers_at, plant_at)?;
    let issuers = issuers(issuers_at)?;
    let tokens = tokens(&issuers, &home)?;
    serve_beside(&shutdown, issuer_socket, issuer::router(issuers));
    serve_beside(&shutdown, plant_socket, plant::router(Arc::new(SystemClock)));
    let config = Config::load(&home.config()).map_err(|problems| {
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the demo's configuration cannot be used\n{}", text.join("\n"))
    })?;
    let running = serve::start(&config, shutdown, Arc::new(SystemClock)).await?;
    Ok(Demo { running, home, plant: plant_at, tokens })
}

fn serve_beside(shutdown: &Shutdown, socket: TcpListener, router: axum::Router) {
    let stop = shutdown.draining().clone();
    tokio::spawn(async move {
        let served = axum::serve(socket, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "a part of the demo's plant ended");
        }
    });
}

fn issuers(at: SocketAddr) -> anyhow::Result<Arc<BTreeMap<String, Issuer>>> {
    let names = CALLERS.iter().map(|(_, issuer, _)| (*issuer).to_owned());
    let made = names.map(|name| Ok((name.clone(), Issuer::generate(issuer::url(at, &name))?)));
    Ok(Arc::new(made.collect::<anyhow::Result<_>>()?))
}

fn tokens(issuers: &BTreeMap<String, Issuer>, home: &Home) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let now = SystemClock.now();
    let mut tokens = BTreeMap::new();
    for (name, issuer, subject) in CALLERS {
        let issuer = issuers.get(issuer).with_context(|| format!("there is no issuer `{issuer}`"))?;
        let token = issuer.token(subject, AUDIENCE, now, TOKEN_SECONDS)?;
        home.write_secret(&format!("tokens/{name}.jwt"), &token)?;
        tokens.insert(name, token);
    }
    Ok(tokens)
}
