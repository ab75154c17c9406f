//! `millgate policy replay`: recorded decisions, decided again, by the policies of their time and by a candidate.

mod report;
mod source;

use crate::client::Server;
use crate::out::say;
use crate::serve::folders;
use anyhow::{Context as _, anyhow};
use audit::StoreAt;
use broker::World;
use broker::upstream::Upstreams;
use clap::Args;
use model::time::parse_duration_ms;
use model::{Clock as _, Timestamp};
use pdp::PolicySet;
use pdp::replay::{Known, Replay, Tally};
use runtime::clock::SystemClock;
use runtime::config::Config;
use source::{News, Source};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::mpsc;

#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    server: Server,
    /// The configuration file; a candidate is checked against its catalog, registry and schema
    #[arg(long, value_name = "FILE", default_value = "millgate.toml")]
    config: PathBuf,
    /// Decisions since then: how long ago, as in 7d, or a time as in 2026-11-22T08:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Since,
    /// Decisions before then; as `--since`
    #[arg(long, value_name = "WHEN", value_parser = since)]
    until: Option<Since>,
    /// Folder with other policies: say what would change under them. Several folders are one set
    #[arg(long, value_name = "DIR")]
    candidate: Vec<PathBuf>,
    /// Read the log in this directory (it holds `log.db`) instead; this reading is not recorded
    #[arg(long, value_name = "DIR", conflicts_with = "token_file")]
    offline: Option<PathBuf>,
    /// Read the log in the store that `--config` names instead, on the broker's host; this reading is not recorded
    #[arg(long, conflicts_with_all = ["offline", "token_file"])]
    from_store: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// A time, or how long ago.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    Time(Timestamp),
    Ago(i64),
}

pub(super) fn since(text: &str) -> Result<Since, String> {
    let time = Timestamp::parse_rfc3339(text).map(Since::Time);
    let ago = || parse_duration_ms(text).map(Since::Ago);
    time.or_else(ago)
        .ok_or_else(|| String::from("write how long ago, as in 7d or 12h, or a time as in 2026-11-22T08:00:00Z"))
}

impl Since {
    pub(super) fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Ago(ms) => now.plus_millis(-ms),
        }
    }
}

pub async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let now = SystemClock.now();
    let (from, to) = (args.since.time(now), args.until.map_or(now.plus_millis(1), |until| until.time(now)));
    let candidate = if args.candidate.is_empty() { None } else { Some(load(&args)?) };
    let tally = match &args.offline {
        Some(directory) => {
            eprintln!("reading the files of a log: nobody records this reading");
            offline(directory.as_path(), from, to, candidate.as_ref()).await?
        }
        None if args.from_store => {
            eprintln!("reading the store of a log: nobody records this reading");
            let store = crate::store::of(&read(&args.config)?.audit)?;
            offline(store, from, to, candidate.as_ref()).await?
        }
        None => {
            let source = Source::online(&server(&args.server, Some(&args.config))?, from, to).await?;
            replay(source, candidate.as_ref()).await?
        }
    };
    if tally.looked_at == 0 {
        anyhow::bail!(
            "no decision was recorded in that time, and a replay of nothing would pass whatever the policies say"
        );
    }
    let fine = tally.findings_total == 0 && tally.changed() == 0;
    if args.json {
        say(serde_json::to_string(&report::json(&tally, (from, to), candidate.as_deref()))?);
    } else {
        say(report::text(&tally, candidate.is_some()));
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Decides again what the log at `store` holds of that time, and compares it with what `candidate` decides. Nobody
/// records this reading.
///
/// # Errors
/// When there is no log, or it cannot be read.
pub async fn offline(
    store: impl Into<StoreAt>,
    from: Timestamp,
    to: Timestamp,
    candidate: Option<&Arc<PolicySet>>,
) -> anyhow::Result<Tally> {
    replay(Source::offline(&store.into(), from, to).await?, candidate).await
}

/// Decides again what an archive holds. It was verified: it has so many entries, and this size and root.
pub(crate) async fn archived(file: &Path, entries: u64, tree: (u64, String)) -> anyhow::Result<Tally> {
    replay(Source::archive(file.to_owned(), entries, tree), None).await
}

/// `tally` in words, and as an object.
pub(crate) fn described(tally: &Tally) -> (String, serde_json::Value) {
    (report::text(tally, false), report::counts(tally))
}

/// Where to ask: without a URL, at the api listener of the configuration.
pub(super) fn server(named: &Server, config: Option<&Path>) -> anyhow::Result<Server> {
    let Some(file) = config.filter(|_| named.url.is_none()) else { return Ok(named.clone()) };
    let config = read(file)?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let at = config.listen.api_origins.first().map(ToString::to_string);
    let url = at.unwrap_or_else(|| format!("{scheme}://{}", config.listen.api));
    Ok(Server { url: Some(url), ..named.clone() })
}

fn read(file: &Path) -> anyhow::Result<Config> {
    Config::load(file).map_err(|p| anyhow!("{}", p.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}

/// The candidate, checked like a set that is to become active.
fn load(args: &ReplayArgs) -> anyhow::Result<Arc<PolicySet>> {
    let lines = |problems: &[String]| anyhow!("the candidate cannot be used\n{}", problems.join("\n"));
    let mut folders = folders(&read(&args.config)?);
    folders.policies.clone_from(&args.candidate);
    let texts = |p: Vec<registry::Problem>| lines(&p.iter().map(ToString::to_string).collect::<Vec<_>>());
    let parts = folders.load().map_err(texts)?;
    World::join(&parts, 1, Upstreams::new()).map_err(texts)?;
    Ok(parts.policies)
}

/// What a worker is told: what entries name, to all of them; entries, to one.
enum Work {
    News(Arc<News>),
    Decisions(Vec<(u64, Vec<u8>)>),
}

/// Parts of the log that wait for a worker. A part is about a MiB.
const WAITING_MAX: usize = 4;

/// Decides everything again, on all processors.
async fn replay(mut source: Source, candidate: Option<&Arc<PolicySet>>) -> anyhow::Result<Tally> {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (senders, workers): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| {
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            let candidate = candidate.cloned();
            (sender, tokio::task::spawn_blocking(move || work(receiver, candidate)))
        })
        .unzip();
    let terminal = std::io::stderr().is_terminal();
    let mut turn = senders.iter().cycle();
    while let Some(part) = source.next().await? {
        if let Some(pruned) = part.pruned {
            eprintln!("{pruned}; decisions of that time are not decided again");
        }
        let news = Arc::new(part.news);
        for sender in &senders {
            sender.send(Work::News(news.clone())).await.context("a worker has stopped")?;
        }
        if let Some(sender) = turn.next() {
            sender.send(Work::Decisions(part.decisions)).await.context("a worker has stopped")?;
        }
        if terminal {
            eprint!("\r{} of {} entries", part.done, part.total);
        }
    }
    if terminal {
        eprintln!();
    }
    drop(senders);
    let mut all = Tally::default();
    for worker in workers {
        all.merge(worker.await.context("a worker has failed")?);
    }
    Ok(all)
}

fn work(mut receiver: mpsc::Receiver<Work>, candidate: Option<Arc<PolicySet>>) -> Tally {
    let (mut replay, mut known) = (Replay::new(candidate), Known::default());
    while let Some(work) = receiver.blocking_recv() {
        match work {
            Work::News(news) => news.tell(&mut known),
            Work::Decisions(decisions) => {
                decisions.iter().for_each(|(index, entry)| replay.look(*index, entry, &known))
            }
        }
    }
    replay.finish()
}
