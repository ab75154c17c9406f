//! The store fails at every step, in every way: what was acknowledged is there, what was refused is not half there.

use super::harness::*;
use super::pruning::asks;
use crate::erase::{EraseError, Holds, Wanted};
use crate::faults::{Fault, Step};
use crate::fsck;
use crate::{AppendError, Appended, Log, LogOptions};
use model::entry::Kind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(test)]
use {
    crate::faults::FailingStore,
    crate::sqlite::{DATABASE_FILE, SqliteStore},
    model::Clock as _,
    sqlx::{ConnectOptions as _, Connection as _},
    std::sync::atomic::AtomicU32,
};

/// What a caller was told.
#[derive(Debug)]
struct Told {
    request: String,
    decision: Result<Appended, AppendError>,
    outcome: Option<Result<Appended, AppendError>>,
}

/// Three rounds of callers at once: two allowed exchanges and a denial each.
async fn work(log: &Log) -> Vec<Told> {
    let mut told = Vec::new();
    for round in 0..3 {
        let callers: Vec<_> = (0..3).map(|i| tokio::spawn(call(log.clone(), i, format!("r{round}-{i}")))).collect();
        for caller in callers {
            told.push(caller.await.unwrap());
        }
    }
    told
}

async fn call(log: Log, i: usize, request: String) -> Told {
    let name = ["acme", "borealis", "acme"][i];
    let draft = if i == 2 { deny(&log, name, &request) } else { allow(&log, name, &request) };
    let decision = log.append(draft).await;
    let outcome_entry = match decision {
        Ok(decision) if i != 2 => Some(log.append_outcome(outcome(&log, name, &request, decision.index)).await),
        _ => None,
    };
    Told { request, decision, outcome: outcome_entry }
}

/// Fails the `nth` time that `step` comes up once `armed`.
fn fail_at(
    step: Step,
    nth: u32,
    fault: Fault,
    armed: &Arc<AtomicBool>,
) -> impl FnMut(Step) -> Option<Fault> + Send + use<> {
    let (mut left, armed) = (nth, Arc::clone(armed));
    move |at| {
        if at != step || !armed.load(Ordering::Relaxed) {
            return None;
        }
        let now = left == 0;
        left = left.wrapping_sub(1);
        now.then_some(fault)
    }
}

/// Everything that must hold after the storm, whatever it was.
async fn assert_truth(dir: impl Into<StoreAt>, told: &[Told], poisoned: bool) {
    let dir = dir.into();
    let stored = read_all(&dir).await;
    assert!(stored.open.is_empty(), "every allowed decision has its outcome");
    for Told { request, decision, outcome } in told {
        match decision {
            Ok(decision) => {
                assert!(stored.holds(decision), "{request} was acknowledged and is not there");
                assert_eq!(stored.decisions_about(request), 1);
            }
            // A rollback that was proven leaves nothing; after a poisoning the entry may be there, once and whole.
            Err(_) => assert!(stored.decisions_about(request) <= usize::from(poisoned), "{request} is half there"),
        }
        match outcome {
            Some(Ok(outcome)) => assert!(stored.holds(outcome)),
            Some(Err(error)) => assert!(poisoned, "an outcome was refused: {error}"),
            None => {}
        }
        if let (Ok(decision), Some(_)) = (decision, outcome) {
            let ended = stored.outcomes_of(decision.index);
            assert!(ended == ["complete"] || (poisoned && ended == ["unknown_after_crash"]), "{request}: {ended:?}");
        }
    }
    let report = fsck::check(&dir, None, |_, _| {}).await.unwrap();
    assert_eq!(report.findings, []);
}

/// Runs the work with a failing store; what refused callers were told.
async fn storm(stand: &Stand, step: Step, nth: u32, fault: Fault) -> Vec<AppendError> {
    let dir = stand.home().await;
    let armed = Arc::new(AtomicBool::new(false));
    let log = open_failing(&options(dir.path()), fail_at(step, nth, fault, &armed)).await.unwrap();
    armed.store(true, Ordering::Relaxed);
    let told = work(&log).await;
    let poisoned = !log.is_healthy();
    if poisoned {
        log.poisoned().await;
        assert_eq!(log.append(deny(&log, "acme", "after")).await, Err(AppendError::Poisoned));
        assert_eq!(log.append_outcome(outcome(&log, "acme", "after", 0)).await, Err(AppendError::Poisoned));
        assert!(log.poison_reason().is_some());
        drop(log);
        open(dir.path()).await.close().await;
    } else {
        assert!(told.iter().filter(|t| t.decision.is_err()).count() <= 3, "one batch was rolled back, no more");
        assert!(told.iter().any(|t| t.decision.is_ok()));
        log.close().await;
    }
    assert_truth(dir.path(), &told, poisoned).await;
    let errors = told.into_iter().flat_map(|told| [told.decision.err(), told.outcome.and_then(Result::err)]);
    errors.flatten().collect()
}

pub async fn a_proven_rollback_is_told_and_serving_goes_on(stand: &Stand) {
    for step in [Step::BeforeStage, Step::AfterStage, Step::BeforeCommit] {
        for (fault, told) in [(Fault::Full, AppendError::Full), (Fault::Busy, AppendError::Overloaded)] {
            for nth in 0..4 {
                let errors = storm(stand, step, nth, fault).await;
                assert!(errors.iter().all(|error| *error == told), "{step:?} {nth} {fault:?}: {errors:?}");
            }
        }
    }
}

pub async fn what_is_not_proven_poisons(stand: &Stand) {
    for step in [Step::BeforeStage, Step::AfterStage, Step::BeforeCommit, Step::AfterCommit, Step::Maintain] {
        for nth in 0..4 {
            assert_poisoned(&storm(stand, step, nth, Fault::Failed).await);
        }
    }
    // The store says that it was full, and yet the head moved: nobody may be told that nothing was written.
    for fault in [Fault::Full, Fault::Busy] {
        for nth in 0..4 {
            assert_poisoned(&storm(stand, Step::AfterCommit, nth, fault).await);
        }
    }
}

fn assert_poisoned(told: &[AppendError]) {
    assert!(!told.is_empty() && told.iter().all(|error| *error == AppendError::Poisoned), "{told:?}");
}

pub async fn a_rollback_that_cannot_be_proven_poisons(stand: &Stand) {
    for proof in [Step::RollBack, Step::Head] {
        for fault in [Fault::Full, Fault::Busy, Fault::Failed] {
            let dir = stand.home().await;
            let armed = Arc::new(AtomicBool::new(false));
            let mut first = fail_at(Step::BeforeCommit, 1, Fault::Full, &armed);
            let mut second = fail_at(proof, 0, fault, &armed);
            let log = open_failing(&options(dir.path()), move |at| first(at).or_else(|| second(at))).await.unwrap();
            armed.store(true, Ordering::Relaxed);
            let told = work(&log).await;
            assert!(!log.is_healthy(), "{proof:?} {fault:?}");
            drop(log);
            // Where the rollback itself failed, the transaction is open until the process ends.
            if proof == Step::Head {
                open(dir.path()).await.close().await;
                assert_truth(dir.path(), &told, true).await;
            }
        }
    }
}

pub async fn a_checkpoint_that_cannot_be_kept_is_not_published(stand: &Stand) {
    for (step, fault) in [
        (Step::BeforeCheckpoint, Fault::Full),
        (Step::AfterCheckpoint, Fault::Busy),
        (Step::BeforeCheckpoint, Fault::Failed),
        (Step::AfterCheckpoint, Fault::Failed),
    ] {
        let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
        let armed = Arc::new(AtomicBool::new(true));
        let log = open_failing(&options(dir.path()), fail_at(step, 0, fault, &armed)).await.unwrap();
        let first = publisher(&log, out.path()).await;
        first.publish_now().await.unwrap_err();
        assert!(!out.path().join("checkpoint").exists());
        assert_eq!(log.is_healthy(), fault != Fault::Failed);
        let log = if log.is_healthy() {
            assert_eq!(first.publish_now().await.unwrap().size, 1);
            log
        } else {
            drop((log, first));
            open(dir.path()).await
        };
        publisher(&log, out.path()).await.publish_now().await.unwrap();
        log.close().await;
        let report = fsck::check(dir.path(), Some(out.path()), |_, _| {}).await.unwrap();
        assert_eq!(report.findings, [], "{step:?} {fault:?}");
    }
}

pub async fn outcomes_wait_until_there_is_room(stand: &Stand) {
    let dir = stand.home().await;
    let full = Arc::new(AtomicBool::new(false));
    let plan = {
        let full = Arc::clone(&full);
        move |at| (at == Step::BeforeCommit && full.load(Ordering::Relaxed)).then_some(Fault::Full)
    };
    let log = open_failing(&options(dir.path()), plan).await.unwrap();
    let decision = log.append(allow(&log, "acme", "r1")).await.unwrap();
    full.store(true, Ordering::Relaxed);
    let waiting = tokio::spawn(log.append_outcome(outcome(&log, "acme", "r1", decision.index)));
    for i in 0..5 {
        assert_eq!(log.append(deny(&log, "acme", &format!("full{i}"))).await, Err(AppendError::Full));
        assert_eq!(log.status().outcomes_waiting, 1);
    }
    assert!(!waiting.is_finished() && log.is_healthy());
    full.store(false, Ordering::Relaxed);
    let ended = waiting.await.unwrap().unwrap();
    log.append(deny(&log, "acme", "r2")).await.unwrap();
    assert_eq!((log.status().outcomes_waiting, log.status().open), (0, 0));
    log.close().await;
    let stored = read_all(dir.path()).await;
    assert!(stored.holds(&ended) && stored.outcomes_of(decision.index) == ["complete"]);
    assert_eq!(stored.of_kind(Kind::Decision).len(), 2);
}

pub async fn closing_gives_up_on_a_log_that_cannot_be_written(stand: &Stand) {
    let dir = stand.home().await;
    let full = Arc::new(AtomicBool::new(false));
    let plan = {
        let full = Arc::clone(&full);
        move |at| (at == Step::BeforeStage && full.load(Ordering::Relaxed)).then_some(Fault::Full)
    };
    let log = open_failing(&options(dir.path()), plan).await.unwrap();
    let decision = log.append(allow(&log, "acme", "r1")).await.unwrap();
    full.store(true, Ordering::Relaxed);
    let waiting = log.append_outcome(outcome(&log, "acme", "r1", decision.index));
    log.close().await;
    assert_eq!(waiting.await, Err(AppendError::Closed));
    let (log, recovered) = Log::open(options(dir.path())).await.unwrap();
    assert_eq!(recovered.unknown_outcomes, 1);
    log.close().await;
    assert_eq!(read_all(dir.path()).await.outcomes_of(decision.index), ["unknown_after_crash"]);
}

pub async fn a_head_that_somebody_moved_poisons(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    log.append(deny(&log, "acme", "r1")).await.unwrap();
    vandalise(dir.path(), "UPDATE head SET size = size + 1").await;
    assert_eq!(log.append(deny(&log, "acme", "r2")).await, Err(AppendError::Poisoned));
    let reason = log.poison_reason().unwrap();
    assert!(reason.contains("the head of the log is not at size 2"), "{reason}");
    // The head is not what is stored, so the log does not open again.
    vandalise(dir.path(), "UPDATE head SET size = size - 1").await;
    drop(log);
    open(dir.path()).await.close().await;
    let stored = read_all(dir.path()).await;
    assert_eq!(stored.decisions_about("r2"), 0, "nothing of the transaction stayed");
}

pub async fn whoever_is_erased_is_not_written_again_while_the_erasure_may_yet_be_written(stand: &Stand) {
    let home = stand.home().await;
    let (slow, full) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let plan = {
        let (slow, full) = (slow.clone(), full.clone());
        move |at| {
            let is = |wanted, flag: &AtomicBool| at == wanted && flag.swap(false, Ordering::Relaxed);
            let slow = is(Step::BeforeCommit, &slow).then_some(Fault::Slow(1_500));
            slow.or_else(|| is(Step::BeforeStage, &full).then_some(Fault::Full))
        }
    };
    let options = LogOptions { deadline_ms: 1_000, ..options(home.path()) };
    let log = open_failing(&options, plan).await.unwrap();
    let (acme, nobody_held) = (organisation("acme"), Holds::default());
    let wanted = async |id: &str, principal: &str| {
        log.append(asks(&log, principal)).await.unwrap();
        let wanted = Wanted { id: id.into(), organisation: &acme, principal, basis: "Art. 17", requested_by: "a" };
        log.request_erasure(&wanted).await.unwrap();
        log.erasure_request(id).await.unwrap().unwrap()
    };
    let anna = wanted("anna", "acme/anna").await;
    let under_way = asks(&log, "acme/anna");
    slow.store(true, Ordering::Relaxed);
    let erased = log.erase(&anna, "b", &nobody_held).await;
    assert!(matches!(erased, Err(EraseError::Append(AppendError::Overloaded))), "{erased:?}");
    let told = log.append(under_way).await;
    assert!(told.is_err(), "values of somebody who is erased were written: {told:?}");
    let done = log.erasure_request("anna").await.unwrap().unwrap().done;
    assert!(done.is_some(), "the erasure was written, though later than its caller waited");
    log.append(asks(&log, "acme/anna")).await.unwrap();
    // Whose erasure is provably not written stays who they are.
    let berta = wanted("berta", "acme/berta").await;
    let under_way = asks(&log, "acme/berta");
    full.store(true, Ordering::Relaxed);
    let erased = log.erase(&berta, "b", &nobody_held).await;
    assert!(matches!(erased, Err(EraseError::Append(AppendError::Full))), "{erased:?}");
    log.append(under_way).await.unwrap();
    log.erase(&berta, "b", &nobody_held).await.unwrap();
    log.close().await;
    assert_eq!(fsck::check(home.path(), None, |_, _| {}).await.unwrap().findings, []);
}

#[cfg(test)]
#[tokio::test]
async fn summaries_that_became_due_while_the_disk_was_full_are_there_before_anything_is_signed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = PutClock::at(START);
    let full = Arc::new(AtomicBool::new(false));
    let plan = {
        let full = full.clone();
        move |at| (at == Step::BeforeStage && full.load(Ordering::Relaxed)).then_some(Fault::Full)
    };
    let options = LogOptions { clock: clock.clone(), summary_ms: Some(1_000), ..options(dir.path()) };
    let log = open_failing(&options, plan).await.unwrap();
    let decision = log.append(allow(&log, "acme", "r1")).await.unwrap();
    // Its first summary, which promises another one within a second.
    while log.size() == decision.index + 1 {
        clock.advance(50);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    full.store(true, Ordering::Relaxed);
    let ended = log.append_outcome(outcome(&log, "acme", "r1", decision.index));
    log.append(deny(&log, "acme", "r2")).await.unwrap_err();
    assert!(!log.settle().await.unwrap(), "it waits for room");
    clock.advance(3_600_000);
    full.store(false, Ordering::Relaxed);
    while !log.settle().await.unwrap() {}
    let (ended, size) = (ended.await.unwrap(), log.size());
    log.close().await;
    let stored = read_all(dir.path()).await;
    let behind = &stored.entries[usize::try_from(ended.index).unwrap()..usize::try_from(size).unwrap()];
    assert!(behind.iter().any(|entry| entry.kind == Kind::OrgSummary && entry.time == clock.now()), "{behind:?}");
}

#[cfg(test)]
#[tokio::test]
async fn summaries_that_became_due_while_the_disk_was_full_are_there_before_the_log_is_closed() {
    use crate::writer::Urgent;
    use std::sync::{Mutex, OnceLock};

    let dir = tempfile::tempdir().unwrap();
    let clock = PutClock::at(START);
    type Sealed = Mutex<Option<tokio::sync::oneshot::Receiver<()>>>;
    let (log, sealed): (Arc<OnceLock<Log>>, Arc<Sealed>) = Default::default();
    // It is full for an hour, and closed before there is room again.
    let plan = {
        let (log, sealed, clock) = (log.clone(), sealed.clone(), clock.clone());
        move |at| {
            let log = log.get().filter(|_| at == Step::BeforeStage)?;
            let mut sealed = sealed.lock().unwrap();
            sealed.is_none().then(|| {
                let (done, receiver) = tokio::sync::oneshot::channel();
                log.inner.urgent.send(Urgent::Seal(done)).unwrap();
                *sealed = Some(receiver);
                clock.advance(3_600_000);
                Fault::Full
            })
        }
    };
    let options = LogOptions { clock: clock.clone(), summary_ms: Some(1_000), ..options(dir.path()) };
    let opened = open_failing(&options, plan).await.unwrap();
    let decision = opened.append(allow(&opened, "acme", "r1")).await.unwrap();
    while opened.size() == decision.index + 1 {
        clock.advance(50);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    log.set(opened.clone()).unwrap();
    opened.append_outcome(outcome(&opened, "acme", "r1", decision.index)).await.unwrap();
    let sealed = sealed.lock().unwrap().take().unwrap();
    sealed.await.unwrap();
    opened.close().await;
    let stored = read_all(dir.path()).await;
    let [.., ended, summed_up, closed] = stored.entries.as_slice() else { panic!("{stored:?}") };
    assert_eq!((ended.kind, summed_up.kind, closed.text("event")), (Kind::Outcome, Kind::OrgSummary, Some("closed")));
    assert_eq!(summed_up.time, clock.now());
}

/// Somebody asks whether everything is written while a log is closed that had been full: an outcome waits, then it is written with
/// the first lot of what was in the queue, and nothing of the rest is, if it `is_full_again`. The answers as they were when the log's
/// last entry was about to be written, and once it is sealed.
#[cfg(test)]
async fn asked_while_it_is_closed(is_full_again: bool) -> (Option<bool>, Option<bool>) {
    use crate::writer::{Pending, Urgent};
    use std::sync::{Mutex, OnceLock};
    use tokio::sync::oneshot;

    type Answer = Arc<Mutex<Option<bool>>>;
    let dir = tempfile::tempdir().unwrap();
    let log: Arc<OnceLock<Log>> = Arc::default();
    let asked: Arc<Mutex<Option<oneshot::Receiver<bool>>>> = Arc::default();
    let (answer, sealed): (Answer, Arc<Mutex<Option<oneshot::Receiver<()>>>>) = Default::default();
    // Batches from the one that the outcome is in.
    let mut batches = 0;
    let look = |asked: &Mutex<Option<oneshot::Receiver<bool>>>, answer: &Mutex<Option<bool>>| {
        if let Some(told) = asked.lock().unwrap().as_mut().and_then(|asked| asked.try_recv().ok()) {
            *answer.lock().unwrap() = Some(told);
        }
    };
    let plan = {
        let (log, asked, answer, sealed) = (log.clone(), asked.clone(), answer.clone(), sealed.clone());
        move |at| {
            let log = log.get()?;
            batches += u32::from(at == Step::BeforeStage);
            match (at, batches) {
                (Step::BeforeStage, 1) => {
                    for n in 0..crate::batch::ENTRIES_MAX {
                        let (waiter, _) = oneshot::channel();
                        let pending = Pending { draft: deny(log, "acme", &n.to_string()), waiter };
                        log.inner.drafts.try_send(pending).unwrap();
                    }
                    let (done, receiver) = oneshot::channel();
                    log.inner.urgent.send(Urgent::Seal(done)).unwrap();
                    *sealed.lock().unwrap() = Some(receiver);
                    Some(Fault::Full)
                }
                (Step::AfterCommit, 2) => {
                    let (done, receiver) = oneshot::channel();
                    log.inner.urgent.send(Urgent::Settle(done)).unwrap();
                    *asked.lock().unwrap() = Some(receiver);
                    None
                }
                (Step::BeforeStage, 3) => is_full_again.then_some(Fault::Full),
                (Step::BeforeStage, 4) => {
                    look(&asked, &answer);
                    None
                }
                _ => None,
            }
        }
    };
    let clock = PutClock::at(START);
    let options = LogOptions { clock, summary_ms: Some(86_400_000), ..options(dir.path()) };
    let opened = open_failing(&options, plan).await.unwrap();
    let decision = opened.append(allow(&opened, "acme", "r1")).await.unwrap();
    log.set(opened.clone()).unwrap();
    opened.append_outcome(outcome(&opened, "acme", "r1", decision.index)).await.unwrap();
    let sealed = sealed.lock().unwrap().take().unwrap();
    sealed.await.unwrap();
    let before = *answer.lock().unwrap();
    look(&asked, &answer);
    let told = *answer.lock().unwrap();
    opened.close().await;
    (before, told)
}

#[cfg(test)]
#[tokio::test]
async fn whoever_waits_for_summaries_of_a_store_that_is_full_again_is_told_at_once() {
    assert_eq!(asked_while_it_is_closed(true).await, (Some(true), Some(true)));
}

#[cfg(test)]
#[tokio::test]
async fn whoever_waits_for_summaries_of_a_log_that_is_sealed_is_told() {
    assert_eq!(asked_while_it_is_closed(false).await, (None, Some(true)));
}

#[cfg(test)]
#[tokio::test]
async fn starts_that_failed_and_tools_do_not_pass_for_a_broker_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let clock = PutClock::at(START);
    let day_ms = 86_400_000;
    let opening = |summary_ms| LogOptions { clock: clock.clone(), summary_ms, ..options(dir.path()) };
    let (log, _) = Log::open(opening(Some(day_ms))).await.unwrap();
    log.append(deny(&log, "acme", "r1")).await.unwrap();
    log.close().await;
    let summaries = async || {
        let stored = read_all(dir.path()).await;
        stored.entries.iter().filter(|entry| entry.kind == Kind::OrgSummary).count()
    };
    // Three days later somebody looks after the log by hand, and then the broker is started.
    clock.advance(3 * 86_400_000);
    for _ in 0..3 {
        Log::open(opening(None)).await.unwrap().0.close().await;
        clock.advance(1_000);
    }
    assert_eq!(summaries().await, 0);
    for _ in 0..3 {
        Log::open(opening(Some(day_ms))).await.unwrap().0.close().await;
        assert_eq!(summaries().await, 1, "at the first start, and not again at each");
    }
}

#[cfg(test)]
#[tokio::test]
async fn a_lock_held_by_somebody_else_is_answered_and_waited_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    let other = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join(DATABASE_FILE));
    let mut other = other.connect().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    assert_eq!(log.append(deny(&log, "acme", "r1")).await, Err(AppendError::Overloaded));
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    log.append(deny(&log, "acme", "r2")).await.unwrap();
    assert_eq!(log.status().rollbacks, 1);
    log.close().await;
    let stored = read_all(dir.path()).await;
    assert_eq!((stored.decisions_about("r1"), stored.decisions_about("r2")), (0, 1));
}

/// SQLite with a limit on its pages that can be moved while the writer owns it: a disk that fills up and is emptied, or is
/// mounted anew for reading only.
#[cfg(test)]
async fn open_on_disk(dir: &std::path::Path, pages: &Arc<AtomicU32>, is_read_only: &Arc<AtomicBool>) -> Log {
    let inner = SqliteStore::open(dir, ORIGIN).await.unwrap();
    let (pages, is_read_only) = (Arc::clone(pages), Arc::clone(is_read_only));
    let disk = FailingStore::meddling(inner, move |store, _| {
        let (pages, is_read_only) = (pages.load(Ordering::Relaxed), is_read_only.load(Ordering::Relaxed));
        let limit = format!("PRAGMA max_page_count = {pages}; PRAGMA query_only = {is_read_only}");
        Box::pin(async move {
            sqlx::raw_sql(sqlx::AssertSqlSafe(limit)).execute(store.connection()).await?;
            Ok(())
        })
    });
    Log::open_with(disk, &options(dir)).await.unwrap().0
}

#[cfg(test)]
#[tokio::test]
async fn a_full_database_refuses_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let pages = Arc::new(AtomicU32::new(60));
    let log = open_on_disk(dir.path(), &pages, &Arc::default()).await;
    let mut told = Vec::new();
    while told.last().is_none_or(|t: &Told| t.decision.is_ok()) {
        told.push(call(log.clone(), 2, format!("r{}", told.len())).await);
        assert!(told.len() < 1000, "the disk never fills");
    }
    assert_eq!(told.last().unwrap().decision, Err(AppendError::Full));
    let open_before = log.status().open;
    pages.store(10_000, Ordering::Relaxed);
    let after = call(log.clone(), 0, "later".into()).await;
    assert!(after.decision.is_ok() && log.is_healthy() && log.status().open <= open_before);
    told.push(after);
    log.close().await;
    assert_truth(dir.path(), &told, false).await;
}

#[cfg(test)]
#[tokio::test]
async fn a_database_that_can_only_be_read_any_longer_poisons_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let is_read_only = Arc::new(AtomicBool::new(false));
    let log = open_on_disk(dir.path(), &Arc::new(AtomicU32::new(10_000)), &is_read_only).await;
    let mut told = vec![call(log.clone(), 0, "before".into()).await];
    is_read_only.store(true, Ordering::Relaxed);
    told.push(call(log.clone(), 0, "after".into()).await);
    assert_eq!(told[1].decision, Err(AppendError::Poisoned));
    assert!(log.poison_reason().unwrap().contains("readonly"), "{:?}", log.poison_reason());
    drop(log);
    open(dir.path()).await.close().await;
    assert_truth(dir.path(), &told, true).await;
    assert_eq!(read_all(dir.path()).await.decisions_about("after"), 0);
}
