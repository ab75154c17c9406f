//! Durable entries per second of the audit writer, with entries of about 700 bytes: see README.md.
//!
//! `cargo bench --workspace --bench append -- [SECONDS] [CALLERS] [DIRECTORY] [sqlite | postgresql] [LOGS]`. PostgreSQL is
//! started here, with its data in the same directory and its settings as they come; several logs are several origins there.
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

use acceptance::postgres::{Postgres, SUPERUSER, SUPERUSER_PASSWORD};
use anyhow::Context as _;
use audit::postgres::Access;
use audit::postgres::init::{Roles, init};
use audit::{AppendError, Log, LogOptions, LogStatus};
use model::entry::{Draft, Kind};
use model::{OrganisationId, Value};
use runtime::SystemClock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds an option of its own.
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let seconds: u64 = arguments.next().map_or(Ok(5), |a| a.parse()).context("SECONDS is a whole number")?;
    let callers: usize = arguments.next().map_or(Ok(1024), |a| a.parse()).context("CALLERS is a whole number")?;
    let parent = arguments.next().unwrap_or_else(|| String::from(env!("CARGO_TARGET_TMPDIR")));
    let folder = tempfile::tempdir_in(parent)?;
    let path = folder.path().to_owned();
    let store = arguments.next().unwrap_or_else(|| String::from("sqlite"));
    let logs: usize = arguments.next().map_or(Ok(1), |a| a.parse()).context("LOGS is a whole number")?;
    // The logs run on a thread of their own, so that their CPU is told apart from that of who appends.
    let mut writers = tokio::runtime::Builder::new_multi_thread();
    let writers = writers.worker_threads(1).thread_name(WRITERS).enable_all().build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = |n: usize, store: Option<Access>| {
            let random: audit::Random = Arc::new(runtime::random::fill);
            let (directory, origin) = (path.join(format!("log-{n}")), format!("bench.example/append-{n}"));
            let options = LogOptions::new(directory, &origin, Arc::new(SystemClock), random);
            LogOptions { queue_max: callers, store, ..options }
        };
        let length = Duration::from_secs(seconds);
        match store.as_str() {
            "sqlite" => measure(&writers, (0..logs).map(|n| options(n, None)).collect(), length, callers).await,
            "postgresql" => {
                let server = Postgres::start_durable_in(folder, &[]).await?;
                let access = ready(&server).await?;
                let options = (0..logs).map(|n| options(n, Some(access.clone()))).collect();
                measure(&writers, options, length, callers).await
            }
            other => anyhow::bail!("`{other}` is neither `sqlite` nor `postgresql`"),
        }
    })
}

/// The server with a database for logs, as a broker logs in there.
async fn ready(server: &Postgres) -> anyhow::Result<Access> {
    let (owner, writers) = (String::from("keeper"), vec![String::from("broker")]);
    let roles = Roles { owner, writers, readers: Vec::new(), keep_days: None, standby: false };
    init(&server.store("plant", SUPERUSER, SUPERUSER_PASSWORD), &roles).await?;
    server.run("ALTER ROLE broker PASSWORD 'of the bench'").await?;
    Ok(server.store("plant", "broker", "of the bench"))
}

/// As many callers for each log.
async fn measure(writers: &Runtime, options: Vec<LogOptions>, length: Duration, callers: usize) -> anyhow::Result<()> {
    let mut logs = Vec::new();
    for options in options {
        logs.push(writers.spawn(Log::open(options)).await??.0);
    }
    let sum = |of: fn(&LogStatus) -> u64| logs.iter().map(|log| of(&log.status())).sum::<u64>();
    let counts = || (sum(|status| status.entries), sum(|status| status.batches), sum(|status| status.bytes));
    let (before, cpu, own, begun) = (counts(), cpu_seconds()?, writer_seconds()?, Instant::now());
    let of_log = |log: &Log| {
        (0..callers).map(|n| tokio::spawn(append_until(log.clone(), n, begun + length))).collect::<Vec<_>>()
    };
    let tasks: Vec<_> = logs.iter().flat_map(of_log).collect();
    for task in tasks {
        task.await??;
    }
    let (after, cpu, elapsed) = (counts(), cpu_seconds()? - cpu, begun.elapsed().as_secs_f64());
    let own = writer_seconds()? - own;
    let entries = (after.0 - before.0) as f64;
    let batches = (after.1 - before.1) as f64;
    let (logs_count, all) = (logs.len(), callers * logs.len());
    println!("{:.0} durable entries/s in {logs_count} logs with {all} callers over {elapsed:.1} s", entries / elapsed);
    println!("{:.1} us CPU per entry, whole process: encoding, hashing, writing, waking", cpu * 1e6 / entries);
    println!("{:.1} us CPU per entry of the writer: placing, hashing, storing, answering", own * 1e6 / entries);
    println!("{:.0} entries per batch, {:.2} ms per batch", entries / batches, elapsed * 1e3 / batches);
    println!("{:.0} bytes per entry", (after.2 - before.2) as f64 / entries);
    for log in logs {
        log.close().await;
    }
    Ok(())
}

async fn append_until(log: Log, caller: usize, end: Instant) -> anyhow::Result<()> {
    let organisation = OrganisationId::new(&format!("supplier-{}", caller % 20))?;
    while Instant::now() < end {
        match log.append(draft(&log, &organisation, caller)?).await {
            // The queue was full for a moment.
            Ok(_) | Err(AppendError::Overloaded) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A decision as the broker writes it, without what is erasable.
fn draft(log: &Log, organisation: &OrganisationId, caller: usize) -> anyhow::Result<Draft> {
    let digest = || Value::text("6b1f0c0de5a4c2b39d8e7f60718293a4b5c6d7e8f90a1b2c3d4e5f6071829300");
    let members = [
        ("action", Value::text("readSeries")),
        ("catalog", digest()),
        ("decision", Value::text("deny")),
        ("policies", Value::texts(["agreement-read"])),
        ("policy_set", digest()),
        ("principal", Value::text(format!("p-{caller:032x}"))),
        ("reasons", Value::texts(["outside_agreement"])),
        ("registry", digest()),
        ("request", Value::text("019aacd8-7f3e-7c44-9f0e-2b1f7f0a9c31")),
        ("resource", Value::text("Signal/press-3.vibration")),
        ("route", Value::text("series")),
        ("slice", digest()),
    ];
    Ok(Draft::new(Kind::Decision, &log.common(), Some(organisation), members, Vec::new())?)
}

/// Name of the threads of the logs.
const WRITERS: &str = "log";
/// How those begin that hold a connection to SQLite; proc(5) cuts names off.
const CONNECTIONS: &str = "sqlx-sqlite";

/// Time on a processor of the logs and their connections to SQLite, from proc(5).
fn writer_seconds() -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let of = |name: &str| std::fs::read_to_string(thread.as_ref().map(|t| t.path().join(name)).unwrap_or_default());
        let name = of("comm")?;
        if name.trim_end() == WRITERS || name.starts_with(CONNECTIONS) {
            let nanoseconds = of("schedstat")?;
            let nanoseconds = nanoseconds.split_ascii_whitespace().next().context("an empty schedstat")?;
            sum += nanoseconds.parse::<f64>()? / 1e9;
        }
    }
    Ok(sum)
}

/// User and system time of this process, from proc(5).
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no command in /proc/self/stat")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|f| f.parse::<f64>().ok()).context("too few fields in /proc/self/stat");
    Ok((ticks()? + ticks()?) / 100.0)
}
