//! A long log: how fast it grows, is published, opened after a crash, indexed, asked and verified: see README.md.
//!
//! `cargo bench --workspace --bench questions -- [ENTRIES] [DIRECTORY]`; or one part alone, on the folder that the first has
//! filled: `-- fill ENTRIES FOLDER`, `-- ask FOLDER`, `-- verify FOLDER`.
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

use anyhow::{Context as _, bail};
use audit::index::{By, Dimension, Summary};
use audit::{Log, LogOptions, PublishOptions, Publisher, Query};
use model::entry::{Draft, Effect, Kind};
use model::{Clock, OrganisationId, Timestamp, Value};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tlog::SigningKey;

const ORIGIN: &str = "bench.example/questions";
const DAY_MS: i64 = 86_400_000;
const DAYS: i64 = 90;
/// 2026-09-01T00:00:00Z
const START: i64 = 1_788_220_800_000;
const CALLERS: usize = 1024;
const TURNS: usize = 200;

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds an option of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let text = |n: usize| arguments.get(n).map(String::as_str);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let (Some("fill"), Some(entries), Some(folder)) = (text(0), text(1), text(2)) {
        return runtime.block_on(fill(Path::new(folder), entries.parse()?));
    }
    match (text(0), text(1)) {
        (Some("ask"), Some(folder)) => return runtime.block_on(ask(Path::new(folder))),
        (Some("verify"), Some(folder)) => return verify(Path::new(folder)),
        _ => {}
    }
    let entries: u64 = text(0).map_or(Ok(1_000_000), str::parse).context("ENTRIES is a whole number")?;
    let folder = match text(1) {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")),
    }?;
    // Ends without closing anything, as a process does that is killed.
    child(&["fill", &entries.to_string(), &folder.path().to_string_lossy()], true)?;
    runtime.block_on(ask(folder.path()))?;
    child(&["verify", &folder.path().to_string_lossy()], false)
}

fn child(arguments: &[&str], aborts: bool) -> anyhow::Result<()> {
    let status = Command::new(std::env::current_exe()?).args(arguments).status()?;
    if status.success() == aborts { bail!("the part `{arguments:?}` failed: {status}") } else { Ok(()) }
}

/// Ninety days pass while the log fills.
#[derive(Debug)]
struct Passing {
    done: AtomicU64,
    total: u64,
}

impl Clock for Passing {
    fn now(&self) -> Timestamp {
        let done = self.done.load(Ordering::Relaxed).min(self.total);
        let passed = u128::from(done) * u128::from((DAYS * DAY_MS).unsigned_abs()) / u128::from(self.total.max(1));
        Timestamp(START + i64::try_from(passed).unwrap_or(i64::MAX))
    }
}

fn key() -> anyhow::Result<SigningKey> {
    Ok(SigningKey::generate(ORIGIN, [7; 32])?)
}

fn options(folder: &Path, clock: Arc<dyn Clock>) -> LogOptions {
    let random: audit::Random = Arc::new(runtime::random::fill);
    LogOptions { queue_max: 2 * CALLERS, ..LogOptions::new(folder.join("log"), ORIGIN, clock, random) }
}

async fn fill(folder: &Path, entries: u64) -> anyhow::Result<()> {
    let clock = Arc::new(Passing { done: AtomicU64::new(0), total: entries });
    let (log, _) = Log::open(options(folder, clock.clone())).await?;
    let publisher = Publisher::start(&log, key()?, PublishOptions::new(folder.join("published"))).await?;
    activate(&log).await?;
    let (cpu, begun) = (cpu_seconds()?, Instant::now());
    let tasks: Vec<_> = (0..CALLERS).map(|n| tokio::spawn(exchanges(log.clone(), clock.clone(), n as u64))).collect();
    for task in tasks {
        task.await??;
    }
    let (elapsed, cpu, status) = (begun.elapsed().as_secs_f64(), cpu_seconds()? - cpu, log.status());
    println!("{} entries of {} bytes", status.entries, status.bytes / status.entries.max(1));
    println!(
        "{:.0} durable entries/s, publishing beside it; {:.1} us CPU per entry, whole process",
        status.entries as f64 / elapsed,
        cpu * 1e6 / status.entries as f64
    );
    let waited = Instant::now();
    publisher.publish_now().await?;
    println!("{:.1} s until everything was under a checkpoint", waited.elapsed().as_secs_f64());
    std::process::abort()
}

const DIGEST: &str = "6b1f0c0de5a4c2b39d8e7f60718293a4b5c6d7e8f90a1b2c3d4e5f6071829300";

/// The policies that all decisions are made by.
async fn activate(log: &Log) -> anyhow::Result<()> {
    let members = [("digest", DIGEST), ("event", "activated"), ("schema", DIGEST)];
    let members = members.map(|(name, text)| (name, Value::text(text)));
    log.append(Draft::new(Kind::Policy, &log.common(), None, members, Vec::new())?).await?;
    Ok(())
}

async fn exchanges(log: Log, clock: Arc<Passing>, caller: u64) -> anyhow::Result<()> {
    let mut random = caller.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    while clock.done.fetch_add(2, Ordering::Relaxed) < clock.total {
        // Ten people and machines of each organisation, which has one agreement or two, of three products each, of ten resources.
        let of = next(40);
        let organisation = OrganisationId::new(&format!("supplier-{of}"))?;
        let principal = format!("{:032x}", of + 40 * next(10));
        let agreement = if of < 20 { of + 40 * next(2) } else { of };
        let product = (agreement * 7 + next(3)) % 30;
        let resource = product * 10 + next(10);
        let request = uuid(next(u64::MAX), clock.now());
        let refused = next(20) == 0;
        let digest = || Value::text(DIGEST);
        let digests =
            Value::object(["catalog", "policies", "registry", "schema", "slice"].map(|name| (name, digest())));
        let commit = Value::object(["network", "payload", "subject"].map(|name| (name, digest())));
        let mut members = vec![
            ("action", Value::text("readSeries")),
            ("agreement", Value::text(format!("agreement-{agreement}"))),
            ("committed", commit),
            ("decision", Value::text(if refused { "deny" } else { "allow" })),
            ("digests", digests),
            ("policies", Value::texts(["read-series-under-agreement", "reveal-under-agreement"])),
            ("principal", Value::text(principal)),
            ("product", Value::text(format!("product-{product}"))),
            ("request", Value::text(request.as_str())),
            ("resource", Value::text(format!("Signal/press-{resource}.vibration"))),
            ("route", Value::text("series")),
        ];
        if refused {
            members
                .push(("reasons", Value::texts([if next(2) == 0 { "window_too_wide" } else { "purpose_required" }])));
        }
        let mut draft = Draft::new(Kind::Decision, &log.common(), Some(&organisation), members, Vec::new())?;
        if refused {
            log.append(draft).await?;
            continue;
        }
        draft.effect = Effect::Opens;
        let decision = log.append(draft).await?;
        let members = [
            ("bytes", Value::int(i64::try_from(next(5000))?)),
            ("duration_ms", Value::int(12)),
            ("ended", Value::text("complete")),
            ("of", Value::int(i64::try_from(decision.index)?)),
            ("request", Value::text(request)),
            ("rows", Value::int(i64::try_from(next(60))?)),
            ("status", Value::int(200)),
            ("view", Value::text("masked")),
        ];
        let mut draft = Draft::new(Kind::Outcome, &log.common(), Some(&organisation), members, Vec::new())?;
        draft.effect = Effect::Closes(decision.index);
        log.append_outcome(draft).await?;
    }
    Ok(())
}

/// As a request id: the time, then chance.
fn uuid(random: u64, now: Timestamp) -> String {
    let ms = now.millis().unsigned_abs();
    format!(
        "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
        ms >> 16,
        ms & 0xffff,
        random & 0xfff,
        random >> 12 & 0xfff,
        random >> 16 & 0xffff_ffff_ffff
    )
}

async fn ask(folder: &Path) -> anyhow::Result<()> {
    let clock = Arc::new(Passing { done: AtomicU64::new(1), total: 1 });
    let begun = Instant::now();
    let (log, recovered) = Log::open(options(folder, clock.clone())).await?;
    println!(
        "{:.2} s from the start to a log that takes entries, {} outcomes added",
        begun.elapsed().as_secs_f64(),
        recovered.unknown_outcomes
    );
    log.close().await;
    let (cpu, begun) = (cpu_seconds()?, Instant::now());
    let indexed = audit::index::build(folder.join("log").as_path(), &folder.join("log"), true, |_, _| {}).await?;
    let (cpu, elapsed) = (cpu_seconds()? - cpu, begun.elapsed().as_secs_f64());
    println!(
        "{elapsed:.1} s to index {indexed} entries anew: {:.0}/s, {:.1} us CPU per entry",
        indexed as f64 / elapsed,
        cpu * 1e6 / indexed.max(1) as f64
    );
    let size =
        |name: &str| std::fs::metadata(folder.join("log").join(name)).map_or(0.0, |meta| meta.len() as f64 / 1e6);
    println!("{:.0} MB of log, {:.0} MB of index", size("log.db"), size("index.db"));
    let (log, _) = Log::open(options(folder, clock)).await?;
    let indexer = tokio::spawn(log.indexer(&folder.join("log")).run());
    // Until it is there, questions look through the log.
    while log.summary(&Summary { limit: 1, ..Summary::default() }).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let day = |n: usize| Timestamp(START + n as i64 * 37 % DAYS * DAY_MS);
    let organisation = |n: usize| OrganisationId::new(&format!("supplier-{}", n * 7 % 40)).ok();
    let within = |n: usize| Query {
        from: Some(day(n)),
        to: Some(day(n).plus_millis(DAY_MS)),
        organisation: organisation(n),
        ..Query::default()
    };
    entries("one organisation, one day, 100 entries", &log, within).await?;
    entries("the same, 1,000 entries", &log, |n| Query { limit: 1000, ..within(n) }).await?;
    entries("its refusals for one reason, 90 days", &log, |n| Query {
        organisation: organisation(n),
        reason: Some("window_too_wide".into()),
        ..Query::default()
    })
    .await?;
    entries("one principal and one resource, 90 days", &log, |n| Query {
        principal: Some(format!("{:032x}", n * 11 % 400)),
        resource: Some(format!("Signal/press-{}.vibration", n * 13 % 300)),
        ..Query::default()
    })
    .await?;
    entries("a request that never was", &log, |n| Query {
        request: Some(uuid(n as u64, Timestamp(START))),
        ..Query::default()
    })
    .await?;
    let found = log
        .query(&Query {
            kind: Some(Kind::Decision),
            from: Some(day(3)),
            limit: 1,
            newest_first: false,
            ..Query::default()
        })
        .await?;
    let entry = model::entry::Entry::parse(found.entries.first().context("no entry")?.entry.as_bytes())?;
    let request = entry.text("request").context("no request")?.to_owned();
    entries("both entries of one request", &log, |_| Query { request: Some(request.clone()), ..Query::default() })
        .await?;
    entries("open at a moment", &log, |n| Query { open_at: Some(day(n)), ..Query::default() }).await?;
    let base = Summary { limit: 1000, from: Some(Timestamp(START)), ..Summary::default() };
    summaries(
        "90 days, by agreement and day",
        &log,
        Summary { by: vec![By::Day, By::Of(Dimension::Agreement)], ..base.clone() },
    )
    .await?;
    summaries(
        "90 days, refusals by reason",
        &log,
        Summary {
            by: vec![By::Of(Dimension::Reason)],
            only: vec![(Dimension::Decision, "deny".into())],
            ..base.clone()
        },
    )
    .await?;
    summaries(
        "what is new in the last week, by principal and resource",
        &log,
        Summary {
            by: vec![By::Of(Dimension::Principal), By::Of(Dimension::Resource)],
            new: true,
            from: Some(Timestamp(START + (DAYS - 7) * DAY_MS)),
            ..base
        },
    )
    .await?;
    log.close().await;
    indexer.await?;
    Ok(())
}

async fn entries(what: &str, log: &Log, query: impl Fn(usize) -> Query) -> anyhow::Result<()> {
    let (mut times, mut found) = (Vec::new(), 0);
    for n in 0..TURNS {
        let begun = Instant::now();
        found += log.query(&query(n)).await?.entries.len();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    report(what, times, found / TURNS);
    Ok(())
}

async fn summaries(what: &str, log: &Log, summary: Summary) -> anyhow::Result<()> {
    let (mut times, mut found) = (Vec::new(), 0);
    for _ in 0..10 {
        let begun = Instant::now();
        let table = log.summary(&summary).await?;
        found = table.rows.len() + usize::try_from(table.left_out)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    report(what, times, found);
    Ok(())
}

fn report(what: &str, mut times: Vec<f64>, found: usize) {
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    println!("p50 {:.1} ms, p95 {:.1} ms: {what} ({found} found)", at(50), at(95));
}

fn verify(folder: &Path) -> anyhow::Result<()> {
    let (cpu, begun) = (cpu_seconds()?, Instant::now());
    let report =
        verify::log::check(&folder.join("published"), key()?.verifier(), None).map_err(|e| anyhow::anyhow!("{e}"))?;
    let (cpu, elapsed) = (cpu_seconds()? - cpu, begun.elapsed().as_secs_f64());
    let entries = report.entries as f64;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!(
        "{elapsed:.1} s to verify {entries} entries: {:.0}/s, {:.0}/s per core; {peak}",
        entries / elapsed,
        entries / cpu
    );
    if report.findings.is_empty() { Ok(()) } else { bail!("the log has findings") }
}

/// User and system time of this process, from proc(5).
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no command in /proc/self/stat")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|f| f.parse::<f64>().ok()).context("too few fields in /proc/self/stat");
    Ok((ticks()? + ticks()?) / 100.0)
}
