//! How soon an entry is under a checkpoint and found by a question, while others come; and what evidence of one entry in a
//! large tree costs: see README.md.
//!
//! `cargo bench --workspace --bench fresh -- [SECONDS] [ENTRIES_PER_SECOND] [TREE_SIZE] [DIRECTORY]`
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

use anyhow::{Context as _, bail};
use audit::evidence::{Which, of_published};
use audit::{Log, LogOptions, PublishOptions, Publisher, Query};
use model::entry::{Draft, Kind};
use model::{OrganisationId, Value};
use runtime::SystemClock;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tlog::tile::{HEIGHT, TilePath, WIDTH};
use tlog::{Checkpoint, CompactRange, Hash, SigningKey, leaf_hash};

const ORIGIN: &str = "bench.example/fresh";
/// Entries come this often, some at once.
const TICK: Duration = Duration::from_millis(5);
const SAMPLES: u64 = 1000;

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds an option of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |n: usize, otherwise: u64| arguments.get(n).map_or(Ok(otherwise), |a| a.parse());
    let seconds = number(0, 30).context("SECONDS is a whole number")?;
    let rate = number(1, 5000).context("ENTRIES_PER_SECOND is a whole number")?;
    let size = number(2, 100_000_000).context("TREE_SIZE is a whole number")?;
    let parent = arguments.get(3).cloned().unwrap_or_else(|| String::from(env!("CARGO_TARGET_TMPDIR")));
    let folder = tempfile::tempdir_in(parent)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(freshness(folder.path(), Duration::from_secs(seconds), rate))?;
    large_tree(&folder.path().join("large"), size)
}

async fn freshness(folder: &Path, length: Duration, rate: u64) -> anyhow::Result<()> {
    let random: audit::Random = Arc::new(runtime::random::fill);
    let clock = Arc::new(SystemClock);
    let (log, _) = Log::open(LogOptions::new(folder.join("log"), ORIGIN, clock, random)).await?;
    let key = SigningKey::generate(ORIGIN, [7; 32])?;
    let _publisher = Publisher::start(&log, key, PublishOptions::new(folder.join("published"))).await?;
    let indexer = tokio::spawn(log.indexer(&folder.join("log")).run());
    let looked = tokio::spawn(look(log.clone(), length));
    let end = Instant::now() + length;
    let mut ticks = tokio::time::interval(TICK);
    let (mut covered, mut count, begun) = (Vec::new(), 0, Instant::now());
    while Instant::now() < end {
        ticks.tick().await;
        // What a late tick left undone is made up for.
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        for n in count..due {
            covered.push(tokio::spawn(until_covered(log.clone(), n)));
        }
        count = due;
    }
    let mut times = Vec::with_capacity(covered.len());
    for one in covered {
        times.push(one.await??);
    }
    println!("{:.0} entries/s over {} s", count as f64 / length.as_secs_f64(), length.as_secs());
    report("entry durable to signed checkpoint", times, 1e3);
    report("entry durable to found by a question", looked.await??, 1e3);
    log.close().await;
    indexer.await?;
    Ok(())
}

/// Seconds from the acknowledgement of one entry to a checkpoint over it.
async fn until_covered(log: Log, n: u64) -> anyhow::Result<f64> {
    let appended = log.append(draft(&log, &format!("{n:032x}"))?).await?;
    let begun = Instant::now();
    let mut looks = tokio::time::interval(TICK);
    while log.status().checkpoint_size <= appended.index {
        looks.tick().await;
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// Seconds from the acknowledgement of an entry, twenty a second, to its place in the answer to a question by principal.
async fn look(log: Log, length: Duration) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    for n in 0..length.as_millis() / 50 {
        ticks.tick().await;
        let principal = format!("sample-{n}");
        let appended = log.append(draft(&log, &principal)?).await?;
        let begun = Instant::now();
        let query = Query { principal: Some(principal), limit: 1, ..Query::default() };
        loop {
            let page = log.query(&query).await?;
            if page.entries.iter().any(|entry| entry.index == appended.index) {
                break;
            }
            if begun.elapsed() > Duration::from_secs(60) {
                bail!("entry {} is not found", appended.index);
            }
        }
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// A decision as the broker writes it, without what is erasable.
fn draft(log: &Log, principal: &str) -> anyhow::Result<Draft> {
    let digest = || Value::text("6b1f0c0de5a4c2b39d8e7f60718293a4b5c6d7e8f90a1b2c3d4e5f6071829300");
    let members = [
        ("action", Value::text("readSeries")),
        ("catalog", digest()),
        ("decision", Value::text("deny")),
        ("policies", Value::texts(["agreement-read"])),
        ("policy_set", digest()),
        ("principal", Value::text(principal)),
        ("reasons", Value::texts(["outside_agreement"])),
        ("registry", digest()),
        ("request", Value::text("019aacd8-7f3e-7c44-9f0e-2b1f7f0a9c31")),
        ("resource", Value::text("Signal/press-3.vibration")),
        ("route", Value::text("series")),
        ("slice", digest()),
    ];
    let organisation = OrganisationId::new("supplier-1")?;
    Ok(Draft::new(Kind::Decision, &log.common(), Some(&organisation), members, Vec::new())?)
}

/// Publishes a tree of made-up entries, of which only the samples' own bundles and lowest tiles are written, and proves those.
fn large_tree(dir: &Path, size: u64) -> anyhow::Result<()> {
    let width = u64::from(WIDTH);
    if size < width {
        bail!("TREE_SIZE is at least {width}");
    }
    // Spread over all complete bundles.
    let samples: Vec<u64> =
        (0..SAMPLES).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (size / width * width)).collect();
    let sampled: std::collections::HashSet<u64> = samples.iter().map(|index| index / width).collect();
    let begun = Instant::now();
    let mut range = CompactRange::new();
    let mut rows: HashMap<u8, Vec<Hash>> = HashMap::new();
    for index in 0..size {
        let leaf = leaf_hash(&entry(index));
        let mut full = Vec::new();
        range.push_visiting(leaf, |level, hash| {
            if level % HEIGHT == 0 {
                let level = level / HEIGHT;
                let row = rows.entry(level).or_default();
                row.push(hash);
                if row.len() == usize::from(WIDTH) {
                    full.push((level, std::mem::take(row)));
                }
            }
        });
        for (level, hashes) in full {
            let number = index >> (u32::from(HEIGHT) * (u32::from(level) + 1));
            if level > 0 || sampled.contains(&number) {
                write(dir, TilePath { kind: tlog::tile::Kind::Tile(level), index: number, width: WIDTH }, &hashes)?;
            }
            if level == 0 && sampled.contains(&number) {
                let entries = number * width..(number + 1) * width;
                let mut bytes = Vec::new();
                for entry in entries.map(entry) {
                    bytes.extend(u16::try_from(entry.len())?.to_be_bytes());
                    bytes.extend(entry);
                }
                let tile = TilePath { kind: tlog::tile::Kind::Entries, index: number, width: WIDTH };
                write_bytes(dir, tile, &bytes)?;
            }
        }
    }
    for (level, row) in rows {
        if !row.is_empty() {
            let index = (size >> (u32::from(HEIGHT) * u32::from(level))) / width;
            let tile = TilePath { kind: tlog::tile::Kind::Tile(level), index, width: u16::try_from(row.len())? };
            write(dir, tile, &row)?;
        }
    }
    let key = SigningKey::generate(ORIGIN, [7; 32])?;
    std::fs::write(dir.join("checkpoint"), Checkpoint::new(ORIGIN, size, range.root()).sign(&key)?)?;
    println!("a tree of {size} entries, made in {:.0} s", begun.elapsed().as_secs_f64());
    let (mut made, mut verified, mut longest) = (Vec::new(), Vec::new(), 0);
    for index in samples {
        let begun = Instant::now();
        let evidence = of_published(dir, &Which::Index(index))?;
        made.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        evidence.verify(leaf_hash(&entry(index)), key.verifier())?;
        verified.push(begun.elapsed().as_secs_f64());
        let bare = tlog::Evidence { extra: None, ..evidence };
        longest = longest.max(bare.to_text().len());
    }
    report("evidence of one entry made from files", made, 1e3);
    report("evidence verified", verified, 1e3);
    println!("{longest} bytes at most, beside the entry, with one signature");
    Ok(())
}

fn entry(index: u64) -> Vec<u8> {
    format!("made-up entry {index}").into_bytes()
}

fn write(dir: &Path, tile: TilePath, hashes: &[Hash]) -> anyhow::Result<()> {
    write_bytes(dir, tile, &hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>())
}

fn write_bytes(dir: &Path, tile: TilePath, bytes: &[u8]) -> anyhow::Result<()> {
    let path = dir.join(tile.to_path());
    std::fs::create_dir_all(path.parent().context("a tile has a folder")?)?;
    Ok(std::fs::write(path, bytes)?)
}

fn report(what: &str, mut times: Vec<f64>, scale: f64) {
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times.get(times.len() * part / 1000).copied().unwrap_or_default() * scale;
    let last = times.last().copied().unwrap_or_default() * scale;
    println!("p50 {:.2} ms, p99 {:.2} ms, at most {last:.2} ms: {what}", at(500), at(990));
}
