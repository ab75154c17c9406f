//! Entries that are not kept any longer: what goes, what stays, what holds it back, what a crash leaves, and what is found where
//! somebody goes further.

mod clocks;
mod files;
mod forging;
mod going;
mod lives;
#[cfg(test)]
mod on_files;
mod stores;

pub use clocks::*;
pub use files::*;
pub use forging::*;
pub use going::*;
pub use lives::*;
pub use stores::*;

use super::harness::{options as plain_options, *};
use crate::erase::{Holds, Kept, Retention};
use crate::fsck::check;
use crate::prune::{Bounds, PruneError};
use crate::{Appended, Log, LogOptions, PublishError, PublishOptions, Publisher};
use model::canonical::Members;
use model::entry::{CommitmentClass, Disclosure, Draft, Entry, Kind};
use model::{Clock, Principal, PrincipalKind, Subject, Timestamp, Value};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const DAY_MS: i64 = 86_400_000;
/// 2020-11-22T19:20:00Z: PostgreSQL has a clock of its own, and prunes nothing that is in the future there.
const START: Timestamp = Timestamp(1_606_072_800_000);

/// A log that is published, and its time.
struct Plant {
    home: Home,
    out: TempDir,
    clock: Arc<PutClock>,
    next: Arc<AtomicU64>,
}

impl Plant {
    async fn new(stand: &Stand) -> Self {
        let clock = PutClock::at(START);
        Self { home: stand.home().await, out: tempfile::tempdir().unwrap(), clock, next: Arc::new(AtomicU64::new(1)) }
    }

    /// With a log that is open and published, and nothing in it yet.
    async fn serving(stand: &Stand) -> (Self, Log, Publisher) {
        let plant = Self::new(stand).await;
        let (log, publisher) = plant.serve().await;
        (plant, log, publisher)
    }

    /// As [`Self::serving`], and in the state of [`Self::pruned`].
    async fn that_pruned(stand: &Stand) -> (Self, Log, Publisher) {
        let plant = Self::new(stand).await;
        let (log, publisher) = plant.pruned().await;
        (plant, log, publisher)
    }

    /// Random bytes do not come twice.
    fn options(&self) -> LogOptions {
        let next = self.next.clone();
        let fill = move |bytes: &mut [u8]| {
            let digest = model::Digest::of(&next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            bytes.iter_mut().zip(digest.0).for_each(|(byte, random)| *byte = random);
        };
        LogOptions { random: Arc::new(fill), clock: self.clock.clone(), ..plain_options(self.home.path()) }
    }

    async fn open(&self) -> Log {
        Log::open(self.options()).await.unwrap().0
    }

    async fn serve(&self) -> (Log, Publisher) {
        let log = self.open().await;
        let publisher = self.publisher(&log).await;
        (log, publisher)
    }

    async fn publisher(&self, log: &Log) -> Publisher {
        self.try_publisher(log, self.publishing(kept(60))).await.unwrap()
    }

    /// It acts only when told.
    fn publishing(&self, retention: Retention) -> PublishOptions {
        PublishOptions { interval_ms: 3_600_000, retention, linger_ms: 0, ..PublishOptions::new(self.out.path()) }
    }

    async fn try_publisher(&self, log: &Log, options: PublishOptions) -> Result<Publisher, PublishError> {
        Publisher::start(log, key(), options).await
    }

    /// All of it is signed and published.
    async fn close(&self, log: &Log, publisher: &Publisher) {
        log.seal().await;
        publisher.stop().await.unwrap();
        log.close().await;
    }

    /// Publishing begins with the prunings of the store, or it does not begin, and nothing is changed then.
    async fn refused(&self, retention: Retention) -> PublishError {
        let files = |dir: &std::path::Path| {
            let mut all = Vec::new();
            every_file(dir, &mut all);
            all
        };
        let before = files(self.out.path());
        let log = self.open().await;
        let error = self.try_publisher(&log, self.publishing(retention)).await.unwrap_err();
        log.close().await;
        assert!(files(self.out.path()) == before, "published files were changed");
        error
    }

    /// So many days after the start.
    fn day(&self, days: i64) {
        self.clock.put(START.plus_millis(days * DAY_MS));
    }

    /// Somebody sets it so many days ahead.
    fn set_ahead(&self, days: i64) {
        self.clock.set_ahead(days * DAY_MS);
    }

    fn bounds(&self) -> Bounds {
        Bounds { published: self.out.path().to_owned(), is_witnessed: false }
    }

    async fn prune(&self, log: &Log) -> Result<u64, PruneError> {
        log.prune(&kept(60), &self.bounds()).await
    }

    async fn findings(&self) -> Vec<String> {
        let beside = Some(self.out.path());
        let report = check(self.home.path(), beside, |_, _| {}).await.unwrap();
        report.findings.iter().map(ToString::to_string).collect()
    }

    fn published(&self, below: &str) -> bool {
        self.out.path().join(below).exists()
    }

    /// 600 refusals of one person on the first day, published; what is left of the prefix is pruned on day 100, and that is not
    /// published yet.
    async fn pruned(&self) -> (Log, Publisher) {
        let (log, publisher) = self.serve().await;
        asks_often(&log, "acme/anna", 600).await;
        self.day(100);
        asks_often(&log, "bolt/otto", 10).await;
        publisher.publish_now().await.unwrap();
        assert_eq!(self.prune(&log).await.unwrap(), 512);
        (log, publisher)
    }
}

fn kept(days: u32) -> Retention {
    Retention {
        entries: Some(Kept { days, statement: Some(String::from("as the works council agreed")) }),
        ..Retention::default()
    }
}

fn holding(days: u32, holds: &[&str]) -> Retention {
    let holds = Holds::new(holds.iter().map(|hold| String::from(*hold))).unwrap();
    Retention { holds, ..kept(days) }
}

pub(super) fn principal(name: &str) -> Principal {
    let (of, subject) = name.split_once('/').unwrap();
    Principal { organisation: organisation(of), kind: PrincipalKind::User, subject: Subject::new(subject).unwrap() }
}

/// A refused request of somebody, with what it commits to.
pub(super) fn asks(log: &Log, name: &str) -> Draft {
    let who = principal(name);
    let (reference, row) = log.principal_reference(&who);
    let mut members = Members::default();
    members.text("decision", "deny");
    members.text("principal", reference);
    members.text("resource", format!("Signal/of-{}", who.organisation));
    let values = Value::object([("principal", Value::text(name))]).into();
    let disclosure = Disclosure { class: CommitmentClass::Subject, salt: log.common().nonce, values };
    let mut draft =
        Draft::new(Kind::Decision, &log.common(), Some(&who.organisation), members, vec![disclosure]).unwrap();
    draft.directory = row.into_iter().collect();
    draft
}

/// In rows of the store that end nowhere in particular.
async fn asks_often(log: &Log, name: &str, count: usize) -> Vec<Appended> {
    let mut appended = Vec::new();
    for some in (0..count).collect::<Vec<_>>().chunks(99) {
        let appends = some.iter().map(|_| log.append(asks(log, name)));
        for one in futures_util::future::join_all(appends).await {
            appended.push(one.unwrap());
        }
    }
    appended
}

fn every_file(dir: &std::path::Path, all: &mut Vec<(std::path::PathBuf, Vec<u8>)>) {
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            every_file(&path, all);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
}

/// What is stored of the log from an entry on.
async fn entries_from(log: &Log, first: u64) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    for index in first..log.size() {
        entries.push(log.entry(index).await.unwrap().unwrap());
    }
    entries
}

async fn last_pruning(log: &Log) -> model::pruning::Pruning {
    crate::prune::latest(&log.inner.reader).await.unwrap().unwrap()
}
