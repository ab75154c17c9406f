//! A log in a temporary directory, entries to put into it, and an independent reading of what is stored.

use crate::faults::{FailingStore, Fault, Step};
use crate::postgres::PostgresStore;
use crate::reader::Reader;
use crate::sqlite::SqliteStore;
use crate::{Appended, Log, LogOptions, OpenError, Random, frames};

pub use super::clock::{PutClock, SLIP_MS, ticking};
pub use super::stand::{Home, Stand, forget_keys, intrude, refusal, rename_bundles, rewrite, vandalise};
pub use crate::StoreAt;
use model::entry::{Draft, Effect, Entry, Kind, Place};
use model::{OrganisationId, Timestamp, Value};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tlog::CompactRange;

pub const ORIGIN: &str = "millgate.example/test";
/// 2026-11-22T19:20:00Z
pub const START: Timestamp = Timestamp(1_795_375_200_000);

fn counting_bytes() -> Random {
    let next = AtomicU8::new(1);
    Arc::new(move |bytes: &mut [u8]| bytes.iter_mut().for_each(|b| *b = next.fetch_add(1, Ordering::Relaxed)))
}

pub fn options(at: impl Into<StoreAt>) -> LogOptions {
    let clock = ticking(START);
    let (dir, store) = match at.into() {
        StoreAt::Directory(dir) => (dir, None),
        StoreAt::Postgres { access, .. } => (PathBuf::new(), Some(*access)),
    };
    LogOptions { heartbeat_ms: 0, store, ..LogOptions::new(dir, ORIGIN, clock, counting_bytes()) }
}

/// A log on a store that asks `plan` before and after every operation, from the opening on.
pub async fn open_failing(
    options: &LogOptions,
    plan: impl FnMut(Step) -> Option<Fault> + Send + 'static,
) -> Result<Log, OpenError> {
    match &options.store {
        None => {
            let store = SqliteStore::open(&options.dir, ORIGIN).await?;
            Ok(Log::open_with(FailingStore::new(store, plan), options).await?.0)
        }
        Some(access) => {
            let store = PostgresStore::open(access, ORIGIN).await?;
            Ok(Log::open_with(FailingStore::new(store, plan), options).await?.0)
        }
    }
}

pub async fn open(at: impl Into<StoreAt>) -> Log {
    Log::open(options(at)).await.unwrap().0
}

pub fn organisation(name: &str) -> OrganisationId {
    OrganisationId::new(name).unwrap()
}

pub fn allow(log: &Log, name: &str, request: &str) -> Draft {
    let mut draft = decision(log, name, request, "allow");
    draft.effect = Effect::Opens;
    draft
}

pub fn deny(log: &Log, name: &str, request: &str) -> Draft {
    decision(log, name, request, "deny")
}

fn decision(log: &Log, name: &str, request: &str, decision: &'static str) -> Draft {
    let members = [("decision", Value::text(decision)), ("request", Value::text(request))];
    Draft::new(Kind::Decision, &log.common(), Some(&organisation(name)), members, vec![]).unwrap()
}

pub fn outcome(log: &Log, name: &str, request: &str, of: u64) -> Draft {
    let members = [
        ("ended", Value::text("complete")),
        ("of", Value::int(of.try_into().unwrap())),
        ("request", Value::text(request)),
    ];
    let mut draft = Draft::new(Kind::Outcome, &log.common(), Some(&organisation(name)), members, vec![]).unwrap();
    draft.effect = Effect::Closes(of);
    draft
}

/// What is stored, after every invariant of a log was checked on it.
#[derive(Debug)]
pub struct Stored {
    pub entries: Vec<Entry>,
    pub bytes: Vec<Vec<u8>>,
    pub open: BTreeSet<u64>,
}

impl Stored {
    pub fn holds(&self, appended: &Appended) -> bool {
        let index = usize::try_from(appended.index).unwrap();
        self.bytes.get(index).is_some_and(|bytes| tlog::leaf_hash(bytes) == appended.leaf)
    }

    pub fn outcomes_of(&self, decision: u64) -> Vec<&str> {
        let of = |e: &&Entry| e.get("of").and_then(Value::as_int) == Some(decision.try_into().unwrap());
        self.entries.iter().filter(of).map(|e| e.text("ended").unwrap()).collect()
    }

    /// Decisions about this request.
    pub fn decisions_about(&self, request: &str) -> usize {
        let about = |e: &&Entry| e.kind == Kind::Decision && e.text("request") == Some(request);
        self.entries.iter().filter(about).count()
    }

    pub fn of_kind(&self, kind: Kind) -> Vec<&Entry> {
        self.entries.iter().filter(|e| e.kind == kind).collect()
    }
}

/// Reads the whole store and checks it against itself, with nothing of the writer's code.
pub async fn read_all(at: impl Into<StoreAt>) -> Stored {
    let reader = Reader::open(at).await.unwrap();
    let (mut range, mut bytes) = (CompactRange::new(), Vec::new());
    loop {
        let bundles = reader.bundles(range.size()).await.unwrap();
        if bundles.is_empty() {
            break;
        }
        for bundle in bundles {
            assert_eq!(bundle.first_index, range.size(), "bundles follow one another");
            assert_eq!(bundle.sha256, model::Digest::of(&bundle.bytes).0);
            for entry in frames::iter(&bundle.bytes) {
                range.push(tlog::leaf_hash(entry.unwrap()));
                bytes.push(entry.unwrap().to_vec());
                let time = Entry::parse(entry.unwrap()).unwrap().time;
                assert!((bundle.time_first..=bundle.time_last).contains(&time));
            }
            assert_eq!(bundle.first_index + bundle.count, range.size());
        }
    }
    let entries: Vec<Entry> = bytes.iter().map(|b| Entry::parse(b).unwrap()).collect();
    let head = reader.head().await.unwrap();
    assert_eq!(head.range, range, "the head is the tree over what is stored");
    let open = check_outcomes(&entries);
    assert_eq!(head.open.iter().collect::<BTreeSet<u64>>(), open);
    let mut stored: Vec<_> = reader.standing().await.unwrap().organisations;
    stored.sort_by(|a, b| a.0.cmp(&b.0));
    let stored: Vec<(String, u64, u64)> =
        stored.into_iter().map(|(id, s)| (id.to_string(), s.sequence, s.last_index)).collect();
    assert_eq!(stored, check_sequences(&entries));
    reader.close().await;
    Stored { entries, bytes, open }
}

/// No organisation has a gap; where each stands.
fn check_sequences(entries: &[Entry]) -> Vec<(String, u64, u64)> {
    let mut last: HashMap<OrganisationId, (u64, u64)> = HashMap::new();
    for (index, entry) in (0..).zip(entries) {
        if let Some(organisation) = &entry.organisation {
            let expected = match last.get(organisation) {
                Some((sequence, previous)) => Place { sequence: sequence + 1, previous: Some(*previous) },
                None => Place { sequence: 1, previous: None },
            };
            assert_eq!(entry.place, Some(expected), "entry {index}");
            last.insert(organisation.clone(), (expected.sequence, index));
        }
    }
    let mut last: Vec<_> = last.into_iter().map(|(id, (s, i))| (id.to_string(), s, i)).collect();
    last.sort();
    last
}

/// Every outcome has its decision, none has two; the decisions that still wait.
fn check_outcomes(entries: &[Entry]) -> BTreeSet<u64> {
    let mut open = BTreeSet::new();
    for (index, entry) in (0_u64..).zip(entries) {
        match entry.kind {
            Kind::Decision if entry.text("decision") == Some("allow") => drop(open.insert(index)),
            Kind::Outcome => {
                let of = entry.get("of").and_then(Value::as_int).unwrap().try_into().unwrap();
                assert!(open.remove(&of), "entry {index} is an outcome of {of}, which is not open");
                let decision = &entries[usize::try_from(of).unwrap()];
                assert_eq!(decision.text("request"), entry.text("request"));
                assert_eq!(decision.organisation, entry.organisation);
            }
            _ => {}
        }
    }
    open
}

pub fn key() -> tlog::SigningKey {
    tlog::SigningKey::generate(ORIGIN, [5; 32]).unwrap()
}

/// A publisher that acts only when told.
pub async fn publisher(log: &Log, dir: &Path) -> crate::Publisher {
    let options = crate::PublishOptions { interval_ms: 3_600_000, linger_ms: 0, ..crate::PublishOptions::new(dir) };
    crate::Publisher::start(log, key(), options).await.unwrap()
}

/// `count` denials, in a few batches.
pub async fn fill(log: &Log, count: usize) {
    let mut waiting = Vec::new();
    for i in 0..count {
        let (log, draft) = (log.clone(), deny(log, ["acme", "borealis"][i % 2], &format!("fill{i}")));
        waiting.push(tokio::spawn(async move { log.append(draft).await.unwrap() }));
    }
    for one in waiting {
        one.await.unwrap();
    }
}

/// `count` denials in one bundle.
pub async fn fill_one_bundle(log: &Log, count: usize) {
    let appends = (0..count).map(|i| log.append(deny(log, ["acme", "borealis"][i % 2], &format!("one{i}"))));
    for one in futures_util::future::join_all(appends).await {
        one.unwrap();
    }
}

/// Numbers of no pattern, the same for the same seed.
#[derive(Debug)]
pub struct Drawn {
    seed: u64,
    count: u64,
}

impl Drawn {
    pub fn new(seed: u64) -> Self {
        Self { seed, count: 0 }
    }

    /// One of `0..end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.count += 1;
        let digest = model::Digest::of(&[self.seed.to_be_bytes(), self.count.to_be_bytes()].concat());
        usize::from(u16::from_be_bytes([digest.0[0], digest.0[1]])) % end
    }
}
