//! What happens to a running log from outside: its files go, its disk hangs, its callers go, its clock jumps, its WAL is torn.
//! On SQLite alone; what PostgreSQL does when its server goes is in the acceptance tests.

use super::harness::*;
use super::stand::copy_dir;
use crate::faults::Step;
use crate::{AppendError, LogOptions, PublishError, PublishOptions, Publisher, ReceiptOptions, fsck};
use futures_util::future::join_all;
use futures_util::poll;
use model::entry::{BYTES_MAX, Common, Draft, DraftError, Kind};
use model::{Clock, Value};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::Notify;

const HOUR_MS: i64 = 3_600_000;

// === its files

/// Takes a file from under a running log.
type Blow = fn(&Path);

const DELETED: Blow = |path| fs::remove_file(path).unwrap();
const REPLACED: Blow = |path| {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(copy, path).unwrap();
};

#[tokio::test]
async fn a_log_whose_files_are_deleted_or_replaced_under_it_poisons() {
    for file in ["log.db", "log.db-wal", "log.db-shm"] {
        for (what, blow) in [("deleted", DELETED), ("replaced", REPLACED)] {
            let dir = tempfile::tempdir().unwrap();
            let log = open(dir.path()).await;
            log.append(deny(&log, "acme", "r1")).await.unwrap();
            blow(&dir.path().join(file));
            let refused = log.append(allow(&log, "acme", "r2")).await;
            assert_eq!(refused, Err(AppendError::Poisoned), "{file} {what}: nobody may be told that this is kept");
            let reason = log.poison_reason().unwrap();
            assert!(reason.contains(&format!("{file}` was deleted, moved or replaced")), "{file} {what}: {reason}");
        }
    }
}

#[tokio::test]
async fn a_log_whose_directory_is_moved_away_poisons_and_goes_on_where_it_is_brought_back() {
    let (place, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [dir, aside] = ["log", "aside"].map(|name| place.path().join(name));
    let log = open(dir.as_path()).await;
    let publisher = publisher(&log, out.path()).await;
    let kept = log.append(deny(&log, "acme", "r1")).await.unwrap();
    fs::rename(&dir, &aside).unwrap();
    // Neither is a checkpoint signed over a log that the next start would not find.
    publisher.publish_now().await.unwrap_err();
    assert!(!out.path().join("checkpoint").exists());
    log.poisoned().await;
    assert_eq!(log.append(deny(&log, "acme", "r2")).await, Err(AppendError::Poisoned));
    drop((publisher, log));
    fs::rename(&aside, &dir).unwrap();
    open(dir.as_path()).await.close().await;
    assert!(read_all(dir.as_path()).await.holds(&kept));
}

#[tokio::test]
async fn a_second_broker_that_took_the_lock_away_stops_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let kept = first.append(deny(&first, "acme", "r1")).await.unwrap();
    fs::remove_file(dir.path().join("log.lock")).unwrap();
    let second = open(dir.path()).await;
    assert_eq!(first.append(allow(&first, "acme", "r2")).await, Err(AppendError::Poisoned));
    let also = second.append(deny(&second, "acme", "r3")).await.unwrap();
    drop(first);
    second.close().await;
    let stored = read_all(dir.path()).await;
    assert!(stored.holds(&kept) && stored.holds(&also) && stored.decisions_about("r2") == 0);
}

/// SQLite ends a WAL where its checksums end, without a word. What was published says that there was more.
#[tokio::test]
async fn a_torn_tail_of_the_wal_is_a_log_that_was_set_back() {
    const FRAME: usize = 4096 + 24;
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open(dir.path()).await;
    for i in 1..=5 {
        log.append(deny(&log, "acme", &format!("r{i}"))).await.unwrap();
    }
    publisher(&log, out.path()).await.publish_now().await.unwrap();
    let (database, wal) =
        (fs::read(dir.path().join("log.db")).unwrap(), fs::read(dir.path().join("log.db-wal")).unwrap());
    log.close().await;
    let mut sizes = std::collections::BTreeSet::new();
    for back in (FRAME / 2..wal.len()).step_by(FRAME / 2) {
        let (torn, mut tail) = (tempfile::tempdir().unwrap(), wal.clone());
        // Cut, and overwritten, by turns.
        if back % FRAME == 0 {
            tail.truncate(wal.len() - back);
        } else {
            tail[wal.len() - back] ^= 1;
        }
        fs::write(torn.path().join("log.db"), &database).unwrap();
        fs::write(torn.path().join("log.db-wal"), tail).unwrap();
        let (log, recovered) = crate::Log::open(options(torn.path())).await.unwrap();
        sizes.insert(recovered.size);
        let told = Publisher::start(&log, key(), PublishOptions::new(out.path())).await.map(drop);
        if recovered.size < 6 {
            assert!(matches!(told, Err(PublishError::Ahead { published: 6, .. })), "{back}: {told:?}");
        }
        log.close().await;
        // What is left is the beginning of the log in whole batches, and nothing of the others.
        let stored = read_all(torn.path()).await;
        assert_eq!(stored.of_kind(Kind::Decision).len() as u64, recovered.size.saturating_sub(1), "{back}");
        let report = fsck::check(torn.path(), Some(out.path()), |_, _| {}).await.unwrap();
        assert!(recovered.size == 6 || !report.findings.is_empty(), "{back}: {report:?}");
    }
    assert!(sizes.len() > 3 && sizes.iter().all(|size| *size <= 6), "{sizes:?}");
}

// === its disk

/// A log whose commits after that of the opening wait, each for a word; and who tells that one waits.
async fn hanging(
    dir: &Path,
    more: impl FnOnce(LogOptions) -> LogOptions,
) -> (crate::Log, mpsc::Sender<()>, Arc<Notify>) {
    let (go_on, word) = mpsc::channel::<()>();
    let (waits, armed) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let plan = {
        let (waits, armed) = (Arc::clone(&waits), Arc::clone(&armed));
        move |step| {
            if step == Step::BeforeCommit && armed.load(Ordering::Relaxed) {
                waits.notify_one();
                // When nobody is left to say it, it goes on by itself.
                let _ = word.recv();
            }
            None
        }
    };
    let log = open_failing(&more(options(dir)), plan).await.unwrap();
    armed.store(true, Ordering::Relaxed);
    (log, go_on, waits)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_is_answered_within_the_deadline_and_nothing_is_forwarded() {
    let dir = tempfile::tempdir().unwrap();
    let (log, go_on, waits) = hanging(dir.path(), |options| LogOptions { deadline_ms: 30, ..options }).await;
    // The flush of the first never comes back; the others wait behind it.
    let callers = join_all((0..50).map(|i| log.append(allow(&log, "acme", &format!("r{i}"))))).await;
    assert!(callers.iter().all(|told| *told == Err(AppendError::Overloaded)), "{callers:?}");
    waits.notified().await;
    assert!(log.is_healthy(), "it may come back");
    drop(go_on);
    log.grown_beyond(1).await;
    assert!(log.is_healthy(), "and does");
    log.close().await;
    let stored = read_all(dir.path()).await;
    assert!(stored.open.is_empty());
    assert!(stored.of_kind(Kind::Outcome).iter().all(|outcome| outcome.text("ended") == Some("not_forwarded")));
}

/// However long a flush takes, all who come meanwhile share the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_makes_batches_larger_and_loses_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (log, go_on, waits) = hanging(dir.path(), |options| LogOptions { deadline_ms: 60_000, ..options }).await;
    let batches = log.status().batches;
    let mut first = Box::pin(log.append(deny(&log, "acme", "first")));
    assert!(poll!(first.as_mut()).is_pending());
    waits.notified().await;
    let mut others: Vec<_> = (0..500).map(|i| Box::pin(log.append(deny(&log, "acme", &format!("r{i}"))))).collect();
    for other in &mut others {
        assert!(poll!(other.as_mut()).is_pending());
    }
    drop(go_on);
    first.await.unwrap();
    assert!(join_all(others).await.iter().all(Result::is_ok));
    assert_eq!(log.status().batches - batches, 2);
    log.close().await;
    assert_eq!(read_all(dir.path()).await.entries.len(), 503);
}

// === its callers

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_callers_gone_in_mid_flight_leave_nothing_open() {
    let dir = tempfile::tempdir().unwrap();
    let more = |options| LogOptions { queue_max: 10_000, deadline_ms: 60_000, ..options };
    let (log, go_on, waits) = hanging(dir.path(), more).await;
    let mut first = Box::pin(log.append(deny(&log, "acme", "first")));
    assert!(poll!(first.as_mut()).is_pending());
    waits.notified().await;
    let mut callers: Vec<_> =
        (0..10_000).map(|i| Box::pin(log.append(allow(&log, "acme", &format!("r{i}"))))).collect();
    for caller in &mut callers {
        assert!(poll!(caller.as_mut()).is_pending());
    }
    go_on.send(()).unwrap();
    first.await.unwrap();
    // Some of them are being written, the others wait for their turn.
    waits.notified().await;
    drop(callers);
    drop(go_on);
    log.append(deny(&log, "acme", "last")).await.unwrap();
    log.close().await;
    let stored = read_all(dir.path()).await;
    let (allowed, outcomes) = (stored.of_kind(Kind::Decision).len() - 2, stored.of_kind(Kind::Outcome));
    assert!(allowed > 0 && allowed < 10_000 && stored.open.is_empty(), "{allowed}");
    assert_eq!(outcomes.len(), allowed);
    assert!(outcomes.iter().all(|outcome| outcome.text("ended") == Some("not_forwarded")));
    assert_eq!(fsck::check(dir.path(), None, |_, _| {}).await.unwrap().findings, []);
}

#[tokio::test]
async fn an_entry_of_the_largest_size_is_kept_and_a_larger_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    let draft = |bytes: usize| {
        let members = [("decision", Value::text("deny")), ("request", Value::text("x".repeat(bytes)))];
        Draft::new(Kind::Decision, &log.common(), Some(&organisation("acme")), members, vec![])
    };
    let beside = match draft(BYTES_MAX) {
        Err(DraftError::TooLarge(size)) => size - BYTES_MAX,
        other => panic!("{other:?}"),
    };
    assert_eq!(draft(BYTES_MAX - beside + 1).unwrap_err(), DraftError::TooLarge(BYTES_MAX + 1));
    let kept = log.append(draft(BYTES_MAX - beside).unwrap()).await.unwrap();
    log.close().await;
    let stored = read_all(dir.path()).await;
    let size = stored.bytes[usize::try_from(kept.index).unwrap()].len();
    assert!(stored.holds(&kept) && size > BYTES_MAX - 64 && size <= BYTES_MAX, "{size}");
}

// === its clock

#[tokio::test]
async fn a_clock_that_jumps_or_stands_still_moves_times_and_nothing_else() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hands = PutClock::at(START);
    let receipts = Some(ReceiptOptions { key: key().into(), deadline_ms: 60_000, wait: Duration::ZERO });
    let options =
        LogOptions { clock: Arc::clone(&hands) as Arc<dyn Clock>, receipts, heartbeat_ms: 1, ..options(dir.path()) };
    let log = crate::Log::open(options).await.unwrap().0;
    let publisher = publisher(&log, out.path()).await;
    let mut last = 0;
    for (n, jump) in [0, HOUR_MS, 0, -HOUR_MS, -HOUR_MS, 0].into_iter().enumerate() {
        hands.jump(jump);
        let now = hands.now().millis();
        let decision = log.append_pledged(allow(&log, "acme", &format!("r{n}"))).await.unwrap();
        let (decision, receipt) = (decision.0, decision.1.unwrap().receipt().await.unwrap());
        // The promise runs from the time that it names; nobody can tell another one.
        assert_eq!((receipt.time_ms, receipt.by_ms), (now, now + 60_000), "jump {n}");
        assert_eq!((receipt.leaf, receipt.request), (decision.leaf, format!("r{n}")));
        assert!(decision.index > last, "the order is that of the log, whatever the clock says");
        last = log.append_outcome(outcome(&log, "acme", &format!("r{n}"), decision.index)).await.unwrap().index;
        // Neither heartbeats nor checkpoints wait for the clock of the entries.
        log.grown_beyond(last + 2).await;
        assert!(publisher.publish_now().await.unwrap().size > last);
    }
    log.close().await;
    let stored = read_all(dir.path()).await;
    assert!(stored.of_kind(Kind::Heartbeat).len() >= 6);
    assert_eq!(fsck::check(dir.path(), Some(out.path()), |_, _| {}).await.unwrap().findings, []);
}

// === what it promises

/// Drafts of many callers share a signature, and with them go outcomes that come before them in the batch.
#[tokio::test]
async fn every_receipt_of_a_batch_is_for_its_own_request() {
    let dir = tempfile::tempdir().unwrap();
    let receipts = Some(ReceiptOptions { key: key().into(), deadline_ms: 60_000, wait: Duration::ZERO });
    let log = crate::Log::open(LogOptions { receipts, ..options(dir.path()) }).await.unwrap().0;
    let first = log.append(allow(&log, "acme", "first")).await.unwrap();
    let closing = log.append_outcome(outcome(&log, "acme", "first", first.index));
    let asked = (0..40).map(|n| log.append_pledged(deny(&log, "acme", &format!("r{n}"))));
    let answers = join_all(asked).await;
    closing.await.unwrap();
    let mut counts = Vec::new();
    for (n, answer) in answers.into_iter().enumerate() {
        let (appended, pledge) = answer.unwrap();
        let receipt = pledge.unwrap().receipt().await.unwrap();
        assert_eq!((receipt.index, receipt.leaf), (appended.index, appended.leaf));
        assert_eq!((receipt.request.clone(), receipt.verify(key().verifier())), (format!("r{n}"), Ok(())));
        counts.push(receipt.count);
    }
    assert!(counts.iter().any(|count| *count > 1), "{counts:?}");
    log.close().await;
}

// === what a stranger can guess

/// A neighbour's proof shows the hash of the entry beside it. Whoever guesses all that this entry says does not know that the
/// guess was right.
#[tokio::test]
async fn a_guess_at_a_neighbouring_entry_is_not_confirmed_by_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    // A clock that stands still: the guess may know the time to the millisecond.
    let clock: Arc<dyn Clock> = PutClock::at(START);
    let log = crate::Log::open(LogOptions { clock, ..options(dir.path()) }).await.unwrap().0;
    for _ in 0..2 {
        log.append(deny(&log, "acme", "r1")).await.unwrap();
    }
    log.close().await;
    let stored = read_all(dir.path()).await;
    let [first, second] = [1, 2].map(|at: usize| (&stored.entries[at], &stored.bytes[at]));
    let nonces = [first, second].map(|(entry, _)| entry.text("nonce").unwrap().to_owned());
    assert!(nonces[0] != nonces[1] && nonces.iter().all(|nonce| nonce.len() == 32), "{nonces:?}");
    let common = Common { nonce: [0; 16], time: first.0.time, boot: first.0.text("boot").unwrap().into() };
    let members = [("decision", Value::text("deny")), ("request", Value::text("r1"))];
    let guess = Draft::new(Kind::Decision, &common, Some(&organisation("acme")), members, vec![]).unwrap();
    let guess = String::from_utf8(guess.seal(first.0.place)).unwrap();
    let with = |nonce: &str| tlog::leaf_hash(guess.replace(&"0".repeat(32), nonce).as_bytes());
    assert_eq!(with(&nonces[0]), tlog::leaf_hash(first.1), "everything but the nonce is guessed right");
    assert_ne!(with(&"0".repeat(32)), tlog::leaf_hash(first.1));
    assert_ne!(with(&nonces[1]), tlog::leaf_hash(first.1));
}

// === its index

#[tokio::test]
async fn an_index_that_is_wiped_under_a_running_log_costs_no_answer_and_is_built_anew() {
    use crate::Query;
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open(dir.path()).await;
    let indexer = tokio::spawn(log.indexer(dir.path()).run());
    let query = Query { organisation: Some(organisation("acme")), limit: 1000, ..Query::default() };
    fill(&log, 200).await;
    let until = async {
        while log.index().is_none_or(|index| index.size() < 128) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), until).await.unwrap();
    let mut wiped = 0;
    for file in fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path()) {
        if file.file_name().unwrap().to_str().unwrap().starts_with("index.db") {
            fs::remove_file(file).unwrap();
            wiped += 1;
        }
    }
    assert!(wiped > 0);
    fill(&log, 200).await;
    assert_eq!(log.query(&query).await.unwrap().entries.len(), 200);
    // Nothing more is written, and the index comes back all the same.
    let until = async {
        while !dir.path().join("index.db").exists() || log.index().is_none_or(|index| index.size() < 384) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), until).await.unwrap();
    assert_eq!(log.query(&query).await.unwrap().entries.len(), 200);
    log.close().await;
    indexer.await.unwrap();
    // What was left is a log like any other; its index is made from it.
    copy_dir(dir.path(), out.path());
    assert!(crate::index::build(out.path(), out.path(), true, |_, _| {}).await.unwrap() > 0);
    assert_eq!(fsck::check(out.path(), None, |_, _| {}).await.unwrap().findings, []);
    let log = open(out.path()).await;
    assert_eq!(log.query(&query).await.unwrap().entries.len(), 200);
    log.close().await;
}
