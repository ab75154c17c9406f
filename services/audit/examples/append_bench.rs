//! Durable entries per second of the writer alone.
//!
//! `cargo run --release --example append_bench -- [--producers 256] [--seconds 10] [--bytes 700] [--pairs] [--dir DIR]`
//!
//! Every producer appends, waits until the entry is durable, and appends again. `--pairs` appends an allowed decision
//! with three disclosures and then its outcome, as a governed request does. Put `--dir` on the disk to be measured; the
//! default is the system's temporary directory, which may be memory.
#![expect(clippy::print_stdout, reason = "a command")]

use audit::{Log, LogOptions};
use model::entry::{CommitmentClass, Disclosure, Draft, Effect, Kind};
use model::{Clock, OrganisationId, Timestamp, Value};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

type Fault = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "a command is where the clock comes from")]
    fn now(&self) -> Timestamp {
        let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }
}

#[derive(Clone, Debug)]
struct Arguments {
    producers: usize,
    seconds: u64,
    bytes: usize,
    pairs: bool,
    dir: Option<PathBuf>,
}

fn arguments() -> Result<Arguments, Fault> {
    let mut arguments = Arguments { producers: 256, seconds: 10, bytes: 700, pairs: false, dir: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
        match word.as_str() {
            "--producers" => arguments.producers = value()?.parse()?,
            "--seconds" => arguments.seconds = value()?.parse()?,
            "--bytes" => arguments.bytes = value()?.parse()?,
            "--pairs" => arguments.pairs = true,
            "--dir" => arguments.dir = Some(value()?.into()),
            _ => return Err(format!("unknown argument `{word}`").into()),
        }
    }
    Ok(arguments)
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let arguments = arguments()?;
    let parent = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = parent.join(format!("append-bench-{}", std::process::id()));
    let random = Arc::new(|bytes: &mut [u8]| {
        // Without randomness the entries of a run are alike, which measures the same.
        let _ = aws_lc_rs::rand::fill(bytes);
    });
    let (log, _) = Log::open(LogOptions::new(&dir, "bench.example/log", Arc::new(SystemClock), random)).await?;
    let (cpu, start) = (cpu_seconds(), Instant::now());
    let latencies = run(&log, &arguments, start + Duration::from_secs(arguments.seconds)).await?;
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    report(&log, latencies, elapsed, cpu);
    log.close().await;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Time from each decision's append to its durability.
async fn run(log: &Log, arguments: &Arguments, end: Instant) -> Result<Vec<Duration>, Fault> {
    let producers: Vec<_> = (0..arguments.producers)
        .map(|i| tokio::spawn(produce(log.clone(), arguments.clone(), format!("org-{}", i % 20), end)))
        .collect();
    let mut latencies = Vec::new();
    for producer in producers {
        latencies.extend(producer.await??);
    }
    Ok(latencies)
}

async fn produce(log: Log, arguments: Arguments, name: String, end: Instant) -> Result<Vec<Duration>, Fault> {
    let organisation = OrganisationId::new(&name)?;
    let decision = draft(&log, &organisation, &arguments)?;
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        let appended = log.append(decision.clone()).await?;
        latencies.push(start.elapsed());
        if arguments.pairs {
            log.append_outcome(outcome(&log, &organisation, appended.index)?).await?;
        }
    }
    Ok(latencies)
}

fn draft(log: &Log, organisation: &OrganisationId, arguments: &Arguments) -> Result<Draft, Fault> {
    // What every entry has takes 260 bytes.
    let padding = "x".repeat(arguments.bytes.saturating_sub(260));
    let members = [("decision", Value::text("allow")), ("padding", Value::text(padding))];
    let disclosure = |class| Disclosure { class, salt: [7; 16], values: Value::object([("v", Value::text("anna"))]) };
    let classes = [CommitmentClass::Subject, CommitmentClass::Network, CommitmentClass::Payload];
    let disclosures = if arguments.pairs { classes.map(disclosure).to_vec() } else { Vec::new() };
    let mut draft = Draft::new(Kind::Decision, &log.common(), Some(organisation), members, disclosures)?;
    if arguments.pairs {
        draft.effect = Effect::Opens;
    }
    Ok(draft)
}

fn outcome(log: &Log, organisation: &OrganisationId, of: u64) -> Result<Draft, Fault> {
    let members = [("ended", Value::text("complete")), ("of", Value::int(i64::try_from(of)?))];
    let mut draft = Draft::new(Kind::Outcome, &log.common(), Some(organisation), members, Vec::new())?;
    draft.effect = Effect::Closes(of);
    Ok(draft)
}

fn report(log: &Log, mut latencies: Vec<Duration>, elapsed: f64, cpu: f64) {
    latencies.sort_unstable();
    let percentile = |p: usize| latencies.get(latencies.len() * p / 1000).map_or(0.0, |d| d.as_secs_f64() * 1e3);
    let status = log.status();
    let (entries, batches) = (status.entries as f64, status.batches as f64);
    println!("entries/s        {:.0}", entries / elapsed);
    println!("CPU us/entry     {:.2}", cpu * 1e6 / entries);
    println!("entries/batch    {:.1}", entries / batches);
    println!("bytes/entry      {:.0}", status.bytes as f64 / entries - 2.0);
    println!("CPU us/batch     {:.0}", cpu * 1e6 / batches);
    println!("latency ms       p50 {:.2}  p99 {:.2}  p99.9 {:.2}", percentile(500), percentile(990), percentile(999));
}

/// User and system time of this process, from `/proc/self/stat` (proc_pid_stat(5)), in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the name in parentheses; the 14th and 15th are the times.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
