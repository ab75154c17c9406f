//! `millgate audit ship`: entries into a SIEM, from where it stopped the last time.
//!
//! **At least once.** An entry's place is written to the state file when the receiver has taken it: a file when it is flushed,
//! a stream when the receiver has closed the connection after it read our end of it. A write to a socket proves nothing, so
//! each batch has a connection of its own, and what was under way when a connection broke is sent again. A receiver tells what
//! came twice by origin and index.
//!
//! **Nothing is skipped.** The state names the last entry and its leaf hash. If the log no longer has that very entry, it was
//! cut, put back or exchanged: nothing more is shipped, because somebody must look at that first.

mod destination;
mod feed;
mod state;

use super::Filter;
use super::output::Forms;
use crate::client::Server;
use crate::out::say;
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use destination::{Confirm, Destination};
use feed::Feed;
use formats::{Format, Ocsf, Record, Syslog};
use model::OrganisationId;
use model::entry::Kind;
use runtime::shutdown::Shutdown;
use state::{Position, StateFile};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Args)]
pub struct ShipArgs {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    only: Only,
    /// syslog+tcp://HOST:PORT, syslog+tls://HOST:PORT, syslog+udp://HOST:PORT (which loses what it likes), or file:PATH
    #[arg(long, value_name = "WHERE")]
    to: String,
    /// PEM file with the CA of the receiver's certificate; those that this machine trusts if left out
    #[arg(long, value_name = "FILE")]
    to_ca: Option<PathBuf>,
    /// syslog (RFC 5424 with structured data), cef, ocsf or json
    #[arg(long, value_name = "FORMAT", default_value = "syslog", value_parser = format)]
    format: Format,
    #[command(flatten)]
    forms: Forms,
    /// Where it is noted how far it got. One for each destination; without it there it begins with the first entry
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Without a state file yet: begin behind this index
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    /// When a receiver has taken something: `closed`, when it closes the connection after it read our end; `sent`, when it was
    /// sent, for receivers that never close
    #[arg(long, value_enum, default_value = "closed", value_name = "WHEN")]
    confirm: Confirm,
    /// End at the present end of the log
    #[arg(long)]
    once: bool,
    /// One JSON object on standard output at the end
    #[arg(long)]
    json: bool,
}

/// What is shipped, if not all of it. Whoever may read one organisation's entries alone must name it.
#[derive(Debug, Args)]
struct Only {
    /// Entries of one organisation
    #[arg(long, value_name = "ID")]
    organisation: Option<OrganisationId>,
    /// decision, outcome, refused_login, policy, …
    #[arg(long, value_name = "KIND", value_parser = super::kind)]
    kind: Option<Kind>,
    #[arg(long, value_parser = ["allow", "deny"])]
    decision: Option<String>,
    #[arg(long, value_name = "ID")]
    product: Option<String>,
    #[arg(long, value_name = "ID")]
    agreement: Option<String>,
    /// Of requests from one country, as in DE
    #[arg(long, value_name = "CC")]
    country: Option<String>,
}

impl Only {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let Self { organisation, kind, decision, product, agreement, country } = self;
        let filter = Filter {
            organisation: organisation.clone(),
            kind: *kind,
            decision: decision.clone(),
            product: product.clone(),
            agreement: agreement.clone(),
            country: country.clone(),
            ..Filter::default()
        };
        filter.pairs()
    }
}

fn format(text: &str) -> Result<Format, String> {
    let fits = |format: &Format| matches!(format, Format::Syslog | Format::Cef | Format::Ocsf | Format::Json);
    Format::parse(text).filter(fits).ok_or_else(|| String::from("there are syslog, cef, ocsf, json"))
}

/// In one batch, and thus in one connection.
const BATCH_ENTRIES: usize = 1_000;
/// An entry waits so long for others.
const BATCH_WAIT: Duration = Duration::from_millis(250);
/// Without a filter a log writes something every minute.
const QUIET_MAX: Duration = Duration::from_secs(600);
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// With `--once` somebody waits for the end.
const ONCE_ATTEMPTS: u32 = 6;
const PROGRESS: Duration = Duration::from_secs(60);

/// Why shipping does not go on just now.
#[derive(Debug)]
enum Trouble {
    /// It would be the same the next time; somebody must look at it.
    Stop(anyhow::Error),
    Again(anyhow::Error),
    /// We were told to end.
    Ended,
}

pub(super) async fn run(args: ShipArgs) -> anyhow::Result<ExitCode> {
    ensure!(
        args.server.token_file.as_deref() != Some(Path::new("-")),
        "a token from standard input cannot be renewed: name a file with `--token-file`"
    );
    let destination = Destination::parse(&args.to, args.to_ca.as_deref(), args.confirm)?;
    let question = super::encode_query(&args.only.pairs());
    let (file, position) = StateFile::open(&args.state, &question)?;
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals().context("signals cannot be listened to")?;
    let mut shipper = Shipper {
        feed: Feed { server: &args.server, pairs: args.only.pairs() },
        writer: Writer::new(&args, &destination),
        destination,
        file,
        position,
        begin_after: args.after,
        once: args.once,
        stop: shutdown.draining().clone(),
        shipped: 0,
        said: None,
        failures: 0,
    };
    let ended = shipper.ship().await;
    if args.json {
        let index = shipper.position.as_ref().map(|position| position.index);
        say(serde_json::json!({ "entries": shipper.shipped, "index": index }));
    }
    match ended {
        Ok(()) | Err(Trouble::Ended) => {
            shipper.report("ended");
            Ok(ExitCode::SUCCESS)
        }
        Err(Trouble::Stop(error) | Trouble::Again(error)) => Err(error),
    }
}

struct Shipper<'a> {
    feed: Feed<'a>,
    writer: Writer,
    destination: Destination,
    file: StateFile,
    position: Option<Position>,
    begin_after: Option<u64>,
    once: bool,
    stop: CancellationToken,
    shipped: u64,
    said: Option<Instant>,
    /// In a row.
    failures: u32,
}

impl Shipper<'_> {
    async fn ship(&mut self) -> Result<(), Trouble> {
        loop {
            match self.session().await {
                // The token has expired or the broker goes down: the next session has another.
                Ok(()) if !self.once => self.wait().await?,
                Err(Trouble::Again(error)) => self.later(error).await?,
                ended => return ended,
            }
        }
    }

    /// From the position to the end of the log, or of the connection to the broker.
    async fn session(&mut self) -> Result<(), Trouble> {
        self.verify().await?;
        let mut after = self.after();
        loop {
            let page = self.feed.page(after, BATCH_ENTRIES).await?;
            match (&page.pruned, after) {
                (Some(pruned), Some(after)) if after.saturating_add(1) < pruned.below => {
                    let what = "entries that were to be shipped are not kept any longer";
                    return Err(Trouble::Stop(anyhow::anyhow!("{what}: {pruned}")));
                }
                (Some(pruned), None) => self.report(&format!("{pruned}; beginning behind them")),
                _ => {}
            }
            self.deliver(&page.records).await?;
            match page.next {
                // A search that finds little ends early; it goes on here all the same.
                Some(next) => after = Some(next),
                None if self.once => return Ok(()),
                // Entries that are not asked for may stand behind the last one; from here on all is seen as it is written.
                None => return self.tail(self.after().max(page.size.checked_sub(1))).await,
            }
        }
    }

    fn after(&self) -> Option<u64> {
        self.position.as_ref().map(|position| position.index).or(self.begin_after)
    }

    async fn tail(&mut self, after: Option<u64>) -> Result<(), Trouble> {
        let mut tail = self.feed.follow(after).await?;
        self.report("following");
        loop {
            let stop = self.stop.clone();
            let first = tokio::select! {
                () = stop.cancelled() => return Err(Trouble::Ended),
                first = tail.next() => first?,
                // A connection that says nothing for so long may be none any longer.
                () = tokio::time::sleep(QUIET_MAX) => return Ok(()),
            };
            let Some(first) = first else { return Ok(()) };
            let (mut batch, mut trouble) = (vec![first], None);
            let until = Instant::now() + BATCH_WAIT;
            while batch.len() < BATCH_ENTRIES {
                match tokio::time::timeout_at(until, tail.next()).await {
                    Ok(Ok(Some(record))) => batch.push(record),
                    // What has come is handed over first. The end is met again; what could not be read is not.
                    Ok(Err(error)) => {
                        trouble = Some(error);
                        break;
                    }
                    Ok(Ok(None)) | Err(_) => break,
                }
            }
            self.deliver(&batch).await?;
            if let Some(trouble) = trouble {
                return Err(trouble);
            }
        }
    }

    /// The log still has the entry that was handed over last.
    async fn verify(&self) -> Result<(), Trouble> {
        let Some(position) = &self.position else { return Ok(()) };
        let Position { index, leaf, origin } = position;
        let (found, pruned) = self.feed.one(*index).await?;
        let name = self.file.name();
        let told = "somebody must look at this before more is shipped; to begin again, use another state file";
        if let (None, Some(pruned)) = (&found, pruned) {
            return Err(Trouble::Stop(anyhow::anyhow!(
                "entry {index}, which was handed over last (`{name}`), is not kept any longer, and perhaps others behind it that were \
                 not: {pruned}. See what the receiver has; to begin with what is there, use another state file and `--after {}`",
                pruned.below.saturating_sub(1)
            )));
        }
        match found {
            None => Err(Trouble::Stop(anyhow::anyhow!(
                "the log does not have entry {index}, which was handed over before (`{name}`): it was cut, put back from an \
                 older copy, or is another one; {told}"
            ))),
            Some(record) if record.leaf_hash() != *leaf => Err(Trouble::Stop(anyhow::anyhow!(
                "entry {index} of the log is not the one that was handed over before (`{name}`): {} instead of {leaf}; {told}",
                record.leaf_hash()
            ))),
            Some(record) if record.origin.is_some() && origin.is_some() && record.origin != *origin => {
                Err(Trouble::Stop(anyhow::anyhow!(
                    "`{name}` is of the log `{}`; {told}",
                    origin.as_deref().unwrap_or_default()
                )))
            }
            Some(_) => Ok(()),
        }
    }

    /// Hands a batch over, however often it takes, and notes it.
    async fn deliver(&mut self, records: &[Record]) -> Result<(), Trouble> {
        let Some(last) = records.last() else { return Ok(()) };
        self.in_order(records)?;
        let messages: Vec<String> = records.iter().map(|record| self.writer.message(record)).collect();
        while let Err(error) = self.destination.deliver(&messages).await {
            self.later(error).await?;
        }
        self.failures = 0;
        let position = Position { index: last.index, leaf: last.leaf_hash(), origin: last.origin.clone() };
        self.file.save(&position).map_err(Trouble::Stop)?;
        self.position = Some(position);
        self.shipped += records.len() as u64;
        self.progress();
        if self.stop.is_cancelled() { Err(Trouble::Ended) } else { Ok(()) }
    }

    /// Entries come in the order of the log, and where all are asked for none is left out.
    fn in_order(&self, records: &[Record]) -> Result<(), Trouble> {
        let mut before = self.after();
        for record in records {
            let is_next = match before {
                Some(before) if self.feed.pairs.is_empty() => record.index == before + 1,
                Some(before) => record.index > before,
                None => true,
            };
            if !is_next {
                let before = before.map_or_else(|| String::from("nothing"), |before| format!("entry {before}"));
                return Err(Trouble::Again(anyhow::anyhow!(
                    "the broker sent entry {} behind {before}, which is not the next one",
                    record.index
                )));
            }
            before = Some(record.index);
        }
        Ok(())
    }

    /// Says what is wrong and waits, longer each time.
    async fn later(&mut self, error: anyhow::Error) -> Result<(), Trouble> {
        if self.once && self.failures + 1 >= ONCE_ATTEMPTS {
            return Err(Trouble::Stop(error));
        }
        eprintln!("millgate: {error:#}; trying again");
        self.wait().await
    }

    async fn wait(&mut self) -> Result<(), Trouble> {
        let pause = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures += 1;
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => Err(Trouble::Ended),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    fn progress(&mut self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r{} entries, index {}  ", self.shipped, self.after().unwrap_or_default());
        } else if self.said.is_none_or(|said| said.elapsed() > PROGRESS) {
            self.said = Some(Instant::now());
            self.report("shipping");
        }
    }

    fn report(&self, what: &str) {
        let to = match &self.position {
            Some(position) => format!("up to index {}", position.index),
            None => String::from("nothing yet"),
        };
        eprintln!("{what}: {} entries handed over, {to}", self.shipped);
    }
}

/// Makes what is sent of an entry.
struct Writer {
    format: Format,
    /// Other formats travel in a message of syslog, unless they go to a file.
    in_syslog: bool,
    datagram: bool,
    ocsf: Ocsf,
    syslog: Syslog,
}

/// What IPv4 takes, without its headers (RFC 5426 3.2).
const DATAGRAM_BYTES_MAX: usize = 65_507;

impl Writer {
    fn new(args: &ShipArgs, destination: &Destination) -> Self {
        Self {
            format: args.format,
            in_syslog: !destination.is_file(),
            datagram: destination.is_datagram(),
            ocsf: args.forms.ocsf(),
            syslog: args.forms.syslog(),
        }
    }

    fn message(&mut self, record: &Record) -> String {
        let text = match self.format {
            Format::Cef => formats::cef(record),
            Format::Ocsf => self.ocsf.line(record),
            Format::Json => record.json_line(),
            _ => self.syslog.message(record),
        };
        let is_message = self.format == Format::Syslog || !self.in_syslog;
        let message = if is_message { text } else { Syslog::carrying(record, &text) };
        if self.datagram && message.len() > DATAGRAM_BYTES_MAX { self.syslog.short(record) } else { message }
    }
}
