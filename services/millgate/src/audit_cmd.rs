//! `millgate audit`: questions to the log, and checks of its store.
//!
//! `query` and `tail` ask the running broker, which decides and records the reading. `--offline` reads published files
//! and says that nobody records that.

mod erase;
mod export;
mod incarnate;
mod index;
mod keys;
mod monitor;
mod output;
mod print;
mod prove;
mod prune;
mod quarantine;
mod replay;
mod report;
mod ship;
mod store;
mod summary;

use crate::client::Server;
use crate::out::say;
use crate::store::{Located, StoreArgs};
use anyhow::Context as _;
use audit::query::Query;
use clap::{Args, Subcommand};
use http_body_util::BodyExt as _;
use model::entry::Kind;
use model::{OrganisationId, Timestamp};
use output::{Answer, Forms, Output};
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Who got what, when, why or why not
    #[command(after_help = "Examples:\n  \
        millgate audit query --url https://broker:8444 --token-file me.jwt --organisation acme --decision deny\n  \
        millgate audit query --url https://broker:8444 --token-file me.jwt --from 2026-11-22T00:00:00Z --json\n  \
        millgate audit query --url https://broker:8444 --token-file me.jwt --all --format parquet --out log.parquet\n  \
        millgate audit query --offline /mnt/copy/of/published --resource Signal/press-3.force")]
    Query(QueryArgs),
    /// Entries as they are written, until interrupted
    #[command(
        after_help = "Example:\n  millgate audit tail --url https://broker:8444 --token-file me.jwt --decision deny"
    )]
    Tail(TailArgs),
    /// Entries as they are written, handed over to a SIEM: nothing is left out, and it goes on where it stopped
    #[command(after_help = "Examples:\n  \
        millgate audit ship --url https://broker:8444 --token-file me.jwt --to syslog+tls://siem.example:6514 --state siem.state\n  \
        millgate audit ship --url https://broker:8444 --token-file me.jwt --to syslog+tcp://127.0.0.1:601 --format cef --state cef.state\n  \
        millgate audit ship --url https://broker:8444 --token-file me.jwt --to file:/var/spool/audit.ocsf --format ocsf --state spool.state --once")]
    Ship(ship::ShipArgs),
    /// How many decisions, and what came of them: by day, organisation, agreement, reason …
    #[command(after_help = "Examples:\n  \
        millgate audit summary --url https://broker:8444 --token-file me.jwt --by agreement,day --from 2026-11-01\n  \
        millgate audit summary --url https://broker:8444 --token-file me.jwt --by reason --decision deny --json\n  \
        millgate audit summary --url https://broker:8444 --token-file me.jwt --by day,organisation --format svg --out days.svg\n  \
        millgate audit summary --offline /mnt/copy/of/published --by organisation")]
    Summary(summary::SummaryArgs),
    /// A saved question: who read what, what was refused, what is new …; without a name, which there are
    #[command(after_help = "Examples:\n  \
        millgate audit report\n  \
        millgate audit report volume --url https://broker:8444 --token-file me.jwt --from 2026-10-01\n  \
        millgate audit report who-read --url https://broker:8444 --token-file me.jwt --resource Signal/press-3.force\n  \
        millgate audit report night-shift --reports /etc/millgate/reports --url https://broker:8444 --token-file me.jwt")]
    Report(report::ReportArgs),
    /// The keys of a log: which signs, since and until which entry; `new` makes one
    #[command(after_help = "Examples:\n  \
        millgate audit keys --config /etc/millgate/millgate.toml\n  \
        millgate audit keys --published /mnt/copy/of/published --json\n  \
        millgate audit keys new --origin plant.example/broker-1 --out /var/lib/millgate/audit/checkpoint-2.key\n  \
        millgate audit keys new --origin plant.example/broker-1 --pkcs11 /usr/lib/softhsm/libsofthsm2.so \\\n      \
        --token millgate --object log-2 --pin-file /etc/millgate/pin\n\n\
        To change the key of a log, name the new one as `next_key_file` or `next_key` of [audit] and start the broker again; when \
        auditors have it, make it `key_file` or `key`, and the old one, or a file with its public key, one of \
        `previous_key_files`.")]
    Keys(keys::KeysArgs),
    /// The proof of one entry, as a file that `millgate-verify` and others check without network
    #[command(after_help = "Examples:\n  \
        millgate audit prove --url https://broker:8444 --token-file me.jwt --request 01a20522-59ec-7312-8079-6642e2582ffb --out access.tlog-proof\n  \
        millgate audit prove --offline /mnt/copy/of/published --index 9610 --out access.tlog-proof")]
    Prove(prove::ProveArgs),
    /// A part of a log as one file, complete in a way that can be proven
    #[command(after_help = "Examples:\n  \
        millgate audit export --directory /var/lib/millgate/audit --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --out november.tar\n  \
        millgate audit export --directory /var/lib/millgate/audit --from 2026-11-01T00:00:00Z --organisation acme --out acme.tar\n  \
        millgate audit export --config /etc/millgate/millgate.toml --from 2026-11-01T00:00:00Z --out since-november.tar")]
    Export(export::ExportArgs),
    /// Verify an archive and decide everything in it again, by the policies of its time
    #[command(after_help = "Example:\n  millgate audit replay november.tar --key \"$(cat press-line.vkey)\"")]
    Replay(replay::ReplayArgs),
    /// Watch a log from outside: that it only grows, without gaps, with honest clocks, and does not fall silent
    #[command(after_help = "Examples:\n  \
        millgate audit monitor /mnt/published --key \"$(cat press-line.vkey)\" --state press-line.seen\n  \
        millgate audit monitor https://log.plant.example/press-line --policy trust.policy --state press-line.seen --json\n  \
        millgate audit monitor /mnt/published --policy trust.policy --state press-line.seen --once")]
    Monitor(monitor::MonitorArgs),
    /// Build the index of a log, which makes its questions quick, with the broker stopped
    #[command(after_help = "Example:\n  millgate audit index --directory /var/lib/millgate/audit --anew")]
    Index(index::IndexArgs),
    /// Take a person's values out of the log's store: asked for by one, approved by another
    #[command(after_help = "Examples:\n  \
        millgate audit erase --url https://broker:8444 --token-file me.jwt --subject acme/engineer-1 --basis 'Art. 17(1)(b), ticket 4711'\n  \
        millgate audit erase --url https://broker:8444 --token-file other.jwt --approve 01a20522-59ec-7312-8079-6642e2582ffb")]
    Erase(erase::EraseArgs),
    /// Which entries the retention policy keeps no longer, and what keeps the next one; the broker prunes them by itself
    #[command(after_help = "Examples:\n  \
        millgate audit prune --config /etc/millgate/millgate.toml\n  \
        millgate audit prune --config /etc/millgate/millgate.toml --json\n\n\
        Nothing is changed. `millgate serve` prunes once a month, as `entries` in `[audit.retention]` says, and writes an entry.\n\
        Exit status: 0 nothing would go now; 1 entries would; 2 usage, configuration, files.")]
    Prune(prune::PruneArgs),
    /// Check the store of a log, entry by entry, against its heads and checkpoints
    #[command(after_help = "Examples:\n  \
        millgate audit fsck --directory /var/lib/millgate/audit --published /var/lib/millgate/audit/published\n  \
        millgate audit fsck --store postgresql://db:5432/audit --username auditor --password-file auditor.pw --store-ca ca.pem --origin plant.example/broker-1")]
    Fsck(FsckArgs),
    /// Make a database in PostgreSQL ready for logs
    #[command(subcommand)]
    Store(store::Command),
    /// Begin a log with another origin in the place of one that others have seen more of than is left here
    #[command(after_help = "Example:\n  \
        millgate audit incarnate --config millgate.toml --origin plant.example/broker-1.2 \\\n      \
          --reason 'restored from the copy of Friday after the disk failed; the rest is lost'\n\n\
        The broker must be stopped. The old log is set aside, never deleted; the command prints what is to be changed in the \
        configuration.\n\
        Exit status: 0 done; 1 nobody has seen anything else, so nothing was done; 2 usage, configuration, files.")]
    Incarnate(incarnate::IncarnateArgs),
    /// What a log's quarantine rests on; and its end, where nobody signed anything
    #[command(after_help = "Examples:\n  \
        millgate audit quarantine --config millgate.toml\n  \
        millgate audit quarantine --config millgate.toml --lift --reason 'the witness answered for another log; it is set right'\n\n\
        Nothing but the log's own key signs for the log. What a witness merely said, by mistake or because somebody stands \
        between, an operator may take back; an entry of the log says so for ever.\n\
        Exit status: 0 not in quarantine, or it ends with the next start; 1 in quarantine; 2 usage, configuration, files.")]
    Quarantine(quarantine::QuarantineArgs),
    /// A checkpoint as a page to be printed, with a QR code, for plants that no network leaves
    #[command(after_help = "Example:\n  \
        millgate audit print-checkpoint --published /var/lib/millgate/audit/published --key \"$(cat press-line.vkey)\" \\\n      \
          --out checkpoint.html\n\n\
        Open it in a browser and print it. The code, scanned into a file, is for `millgate-verify log … --checkpoint FILE`.")]
    PrintCheckpoint(print::PrintArgs),
}

#[derive(Clone, Debug, Default, Args)]
pub struct Filter {
    /// From this time on, as in 2026-11-22T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// Entries of one organisation
    #[arg(long, value_name = "ID")]
    organisation: Option<OrganisationId>,
    /// `organisation/subject`, or the reference that stands in entries
    #[arg(long, value_name = "WHO")]
    principal: Option<String>,
    /// As it stands in entries, e.g. Signal/press-3.force
    #[arg(long, value_name = "WHAT")]
    resource: Option<String>,
    #[arg(long, value_parser = ["allow", "deny"])]
    decision: Option<String>,
    /// A reason code, e.g. window_too_wide
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// The request id of an answer: its decision and its outcome
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// decision, outcome, refused_login, policy, admin, audit_read, …
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<Kind>,
    #[arg(long, value_name = "ID")]
    product: Option<String>,
    /// Of the subject, or of one who acts for it
    #[arg(long, value_name = "ID")]
    agreement: Option<String>,
    /// read, readSeries, readAudit, …
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    #[arg(long, value_name = "ID")]
    purpose: Option<String>,
    /// A policy that determined the decision
    #[arg(long, value_name = "ID")]
    policy: Option<String>,
    /// How an exchange ended: complete, caller_aborted, withdrawn, …
    #[arg(long, value_name = "HOW")]
    ended: Option<String>,
    /// Where a request came from, as in DE
    #[arg(long, value_name = "CC")]
    country: Option<String>,
}

#[derive(Debug, Args)]
pub struct QueryArgs {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    filter: Filter,
    /// At most this many entries, newest first
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// Oldest first
    #[arg(long)]
    oldest_first: bool,
    /// Decisions whose exchange was open at that moment, for a second or longer
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "offline")]
    open_at: Option<Timestamp>,
    /// Only entries behind this index
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    /// Only entries before this index
    #[arg(long, value_name = "INDEX")]
    before: Option<u64>,
    /// Not one page but all of them, each of at most `--limit` entries and each a reading of its own
    #[arg(long)]
    all: bool,
    /// Read a published directory instead; this reading is not recorded
    #[arg(long, value_name = "DIR", conflicts_with = "token_file")]
    offline: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    forms: Forms,
}

#[derive(Debug, Args)]
pub struct TailArgs {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    filter: Filter,
    /// Begin after this index instead of now
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct FsckArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The published directory, to be compared with the store; with `--config` the one that is named there
    #[arg(long, value_name = "DIR")]
    published: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let day = || Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z"));
    let parsed = Timestamp::parse_rfc3339(text).or_else(day);
    parsed.ok_or_else(|| String::from("write a time as in 2026-11-22T08:00:00Z, or a day as in 2026-11-22"))
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::parse(text).ok_or_else(|| format!("there are {}", Kind::ALL.map(Kind::as_str).join(", ")))
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Query(args) => output::enough(query(args).await),
        Command::Tail(args) => tail(args).await,
        Command::Ship(args) => ship::run(args).await,
        Command::Keys(args) => keys::run(&args),
        Command::Prune(args) => prune::run(&args).await,
        Command::Prove(args) => prove::run(&args).await,
        Command::Export(args) => export::run(&args).await,
        Command::Replay(args) => replay::run(&args).await,
        Command::Summary(args) => output::enough(summary::run(&args).await),
        Command::Report(args) => output::enough(report::run(args).await),
        Command::Monitor(args) => monitor::run(args).await,
        Command::Index(args) => index::run(&args).await,
        Command::Erase(args) => erase::run(&args).await,
        Command::Fsck(args) => fsck(&args).await,
        Command::Store(command) => store::run(command).await,
        Command::PrintCheckpoint(args) => print::run(&args),
        Command::Incarnate(args) => Box::pin(incarnate::run(&args)).await,
        Command::Quarantine(args) => quarantine::run(&args),
    }
}

impl Filter {
    fn query(&self) -> Query {
        Query {
            from: self.from,
            to: self.to,
            organisation: self.organisation.clone(),
            principal: self.principal.clone(),
            resource: self.resource.clone(),
            decision: self.decision.clone(),
            reason: self.reason.clone(),
            request: self.request.clone(),
            kind: self.kind,
            product: self.product.clone(),
            agreement: self.agreement.clone(),
            action: self.action.clone(),
            purpose: self.purpose.clone(),
            policy: self.policy.clone(),
            ended: self.ended.clone(),
            country: self.country.clone(),
            ..Query::default()
        }
    }

    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        let mut add = |name, value: Option<String>| pairs.extend(value.map(|v| (name, v)));
        add("from", self.from.map(Timestamp::to_rfc3339));
        add("to", self.to.map(Timestamp::to_rfc3339));
        add("organisation", self.organisation.as_ref().map(ToString::to_string));
        add("principal", self.principal.clone());
        add("resource", self.resource.clone());
        add("decision", self.decision.clone());
        add("reason", self.reason.clone());
        add("request", self.request.clone());
        add("kind", self.kind.map(|k| k.as_str().to_owned()));
        add("product", self.product.clone());
        add("agreement", self.agreement.clone());
        add("action", self.action.clone());
        add("purpose", self.purpose.clone());
        add("policy", self.policy.clone());
        add("ended", self.ended.clone());
        add("country", self.country.clone());
        pairs
    }
}

fn target(pairs: &[(&str, String)]) -> String {
    format!("/v1/audit/entries?{}", encode_query(pairs))
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode_query(pairs: &[(&str, String)]) -> String {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |mut out, b| {
            if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
                out.push(char::from(b));
            } else {
                out.push_str(&format!("%{b:02X}"));
            }
            out
        })
    };
    let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    query.join("&")
}

async fn query(mut args: QueryArgs) -> anyhow::Result<ExitCode> {
    let mut entries = args.output.entries(&args.forms)?;
    let option = if args.oldest_first { "after" } else { "before" };
    let mut pages = 0;
    if args.offline.is_some() {
        eprintln!("reading published files: nobody records this reading, and persons stand in it by reference only");
    }
    let next = loop {
        let answer = match &args.offline {
            Some(directory) => offline(&args, directory)?,
            None => online(&args).await?,
        };
        let (next, size) = entries.page(&answer)?;
        if args.oldest_first {
            // Each page is a reading, which the log grows by: without an end a small page never gets there.
            args.before = args.before.or(Some(size));
        }
        if !args.all || next.is_none() {
            break next;
        }
        *(if args.oldest_first { &mut args.after } else { &mut args.before }) = next;
        pages += 1;
        entries.progress(pages);
    };
    entries.finish(next, option)?;
    Ok(ExitCode::SUCCESS)
}

async fn online(args: &QueryArgs) -> anyhow::Result<Answer> {
    let mut pairs = args.filter.pairs();
    pairs.push(("limit", args.limit.to_string()));
    pairs.push(("order", if args.oldest_first { "oldest" } else { "newest" }.to_owned()));
    pairs.extend(args.open_at.map(|at| ("open_at", at.to_rfc3339())));
    pairs.extend(args.after.map(|a| ("after", a.to_string())));
    pairs.extend(args.before.map(|b| ("before", b.to_string())));
    asked(&args.server, &target(&pairs)).await
}

/// The broker's answer, which is JSON.
async fn ask(server: &Server, target: &str) -> anyhow::Result<Value> {
    asked(server, target).await?.json()
}

/// The same as it came, with the log that its receipt names.
async fn asked(server: &Server, target: &str) -> anyhow::Result<Answer> {
    let response = server.get(target).await?;
    let origin = origin(response.headers());
    let body = response.into_body().collect().await.context("the answer broke off")?;
    Ok(Answer { body: body.to_bytes().to_vec(), origin })
}

/// Of which log the answer is, unless the plant gives no receipts.
fn origin(headers: &http::HeaderMap) -> Option<String> {
    let receipt = headers.get(tlog::receipt::HEADER)?.to_str().ok()?;
    tlog::Receipt::parse(receipt).ok().map(|receipt| receipt.origin)
}

fn offline(args: &QueryArgs, directory: &std::path::Path) -> anyhow::Result<Answer> {
    let query = Query {
        after: args.after,
        before: args.before,
        newest_first: !args.oldest_first,
        limit: usize::try_from(args.limit).unwrap_or(usize::MAX),
        ..args.filter.query()
    };
    let page = audit::query::offline(directory, &query)
        .with_context(|| format!("`{}` cannot be read as a published log", directory.display()))?;
    let origin = audit::Publication::open(directory).ok().map(|published| published.checkpoint().origin.clone());
    // Byte for byte, as the broker answers.
    let entries: Vec<String> =
        page.entries.iter().map(|found| format!("{{\"index\":{},\"entry\":{}}}", found.index, found.entry)).collect();
    let next = page.next.map(|next| format!(",\"next\":{next}")).unwrap_or_default();
    let pruned = page.pruned.map(|pruned| format!(",\"pruned\":{}", pruned.to_json())).unwrap_or_default();
    let body = format!("{{\"entries\":[{}]{next}{pruned},\"size\":{}}}", entries.join(","), page.size);
    Ok(Answer { body: body.into_bytes(), origin })
}

const COLUMNS: [&str; 9] =
    ["index", "time", "kind", "organisation", "principal", "action", "resource", "result", "reasons / policies"];

fn row(found: &Value) -> Vec<String> {
    let entry = found.get("entry").cloned().unwrap_or_default();
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |key: &str| {
        let items = entry.get(key).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
    };
    let result = match text("kind").as_str() {
        "outcome" => match entry.get("status").and_then(Value::as_u64) {
            Some(status) => format!("{} {status}", text("ended")),
            None => text("ended"),
        },
        "decision" | "audit_read" => text("decision"),
        _ => text("event"),
    };
    let reference: String = text("principal").chars().take(12).collect();
    let principal = found.get("principal").and_then(Value::as_str).map_or(reference, str::to_owned);
    let why = if list("reasons").is_empty() { list("policies") } else { list("reasons") };
    let about = if text("resource").is_empty() { text("folder") } else { text("resource") };
    let index = found.get("index").and_then(Value::as_u64).unwrap_or_default();
    let time = text("time");
    vec![index.to_string(), time, text("kind"), text("org"), principal, text("action"), about, result, why]
}

async fn tail(args: TailArgs) -> anyhow::Result<ExitCode> {
    let mut pairs = args.filter.pairs();
    pairs.push(("follow", String::from("true")));
    pairs.extend(args.after.map(|a| ("after", a.to_string())));
    let mut body = args.server.get(&target(&pairs)).await?.into_body();
    let mut pending = Vec::new();
    let mut out = std::io::stdout();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("the broker broke off")?.into_data() else { continue };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            let shown = if args.json {
                text.trim_end().to_owned()
            } else {
                let found: Value = serde_json::from_str(&text).context("the broker sent a line that is not JSON")?;
                row(&found).into_iter().filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join("  ")
            };
            if writeln!(out, "{shown}").and_then(|()| out.flush()).is_err() {
                return Ok(ExitCode::SUCCESS); // the reader of the pipe is gone
            }
        }
    }
    eprintln!("the broker ended the stream: the token has expired, or the broker is going down");
    Ok(ExitCode::SUCCESS)
}

async fn fsck(args: &FsckArgs) -> anyhow::Result<ExitCode> {
    let Located { store, published, index, .. } = args.store.locate()?;
    let published = args.published.clone().or(published.filter(|_| args.store.config.is_some()));
    let terminal = std::io::stderr().is_terminal();
    let progress = move |done: u64, total: u64| {
        if terminal {
            eprint!("\r{done} of {total} entries");
        }
    };
    let report = audit::fsck::check(&store, audit::fsck::Beside { published, index }, progress)
        .await
        .with_context(|| format!("`{store}` cannot be checked"))?;
    if terminal {
        eprintln!();
    }
    if args.json {
        say(serde_json::to_string(&report).context("the report cannot be written")?);
    } else {
        for finding in &report.findings {
            say(finding);
        }
        let pruned = match report.pruned {
            0 => String::new(),
            pruned => format!(", of {pruned} that were pruned the hashes"),
        };
        say(format_args!(
            "{} entries{pruned}, {} checkpoints: {}",
            report.entries,
            report.checkpoints,
            match report.findings.len() {
                0 => String::from("fine"),
                1 => String::from("1 finding"),
                n => format!("{n} findings"),
            }
        ));
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
