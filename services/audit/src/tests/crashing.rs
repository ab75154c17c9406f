//! The process ends without warning, at every step: its files are copied there and opened as the next start would.
//! PostgreSQL's are not ours to copy; it is killed in the acceptance tests.

use super::harness::*;
use crate::Log;
use model::entry::Kind;
#[cfg(test)]
use {
    crate::faults::Step,
    crate::{Appended, fsck},
    std::fs,
    std::path::Path,
    std::sync::{Arc, Mutex},
    tempfile::TempDir,
};

/// The files at one moment, and what had been acknowledged by then.
#[cfg(test)]
struct Moment {
    step: Step,
    files: TempDir,
    acknowledged: Vec<Appended>,
}

/// What a killed process leaves: the database and its WAL. The shared memory is gone.
#[cfg(test)]
fn copy_files(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["log.db", "log.db-wal"] {
        let from = dir.join(name);
        if from.exists() {
            fs::copy(from, copy.path().join(name)).unwrap();
        }
    }
    copy
}

/// Exchanges of two callers, a denial between them; one exchange stays open. A copy of the files at every step.
#[cfg(test)]
async fn moments() -> Vec<Moment> {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged: Arc<Mutex<Vec<Appended>>> = Arc::default();
    let moments: Arc<Mutex<Vec<Moment>>> = Arc::default();
    let plan = {
        let (dir, acknowledged, moments) = (dir.path().to_owned(), Arc::clone(&acknowledged), Arc::clone(&moments));
        move |step| {
            let acknowledged = acknowledged.lock().unwrap().clone();
            moments.lock().unwrap().push(Moment { step, files: copy_files(&dir), acknowledged });
            None
        }
    };
    let log = open_failing(&options(dir.path()), plan).await.unwrap();
    let told = |appended: Appended| acknowledged.lock().unwrap().push(appended);
    let first = log.append(allow(&log, "acme", "r1")).await.unwrap();
    told(first);
    let (second, denial) =
        tokio::join!(log.append(allow(&log, "borealis", "r2")), log.append(deny(&log, "acme", "r3")),);
    told(second.unwrap());
    told(denial.unwrap());
    told(log.append_outcome(outcome(&log, "acme", "r1", first.index)).await.unwrap());
    log.close().await;
    drop(log);
    let mut moments = moments.lock().unwrap();
    std::mem::take(&mut *moments)
}

#[cfg(test)]
#[tokio::test]
async fn a_kill_at_any_step_loses_nothing_that_was_acknowledged() {
    let moments = moments().await;
    let steps = [Step::BeforeStage, Step::AfterStage, Step::BeforeCommit, Step::AfterCommit, Step::Maintain];
    assert!(steps.iter().all(|step| moments.iter().any(|m| m.step == *step)));
    for (number, Moment { step, files, acknowledged }) in moments.iter().enumerate() {
        let dir = files.path();
        let (log, recovered) = Log::open(options(dir)).await.unwrap();
        // The start itself may be killed as well, and the next one does the same again.
        let again = copy_files(dir);
        log.close().await;
        for dir in [dir, again.path()] {
            if dir == again.path() {
                let (log, second) = Log::open(options(dir)).await.unwrap();
                assert_eq!(second.unknown_outcomes, 0, "the first start closed what was open");
                log.close().await;
            }
            let stored = read_all(dir).await;
            assert!(acknowledged.iter().all(|a| stored.holds(a)), "{number} {step:?}");
            assert!(stored.open.is_empty(), "{number} {step:?}");
            let unknown = stored.of_kind(Kind::Outcome);
            let unknown = unknown.iter().filter(|e| e.text("ended") == Some("unknown_after_crash")).count();
            assert_eq!(unknown as u64, recovered.unknown_outcomes, "{number} {step:?}");
            assert_eq!(fsck::check(dir, None, |_, _| {}).await.unwrap().findings, [], "{number} {step:?}");
        }
    }
}

#[cfg(test)]
#[tokio::test]
async fn a_batch_is_there_from_the_commit_on_and_not_before() {
    let moments = moments().await;
    let mut sizes = Vec::new();
    for Moment { step, files, .. } in
        moments.iter().filter(|m| matches!(m.step, Step::BeforeCommit | Step::AfterCommit))
    {
        let size = if files.path().join("log.db").exists() { read_all(files.path()).await.entries.len() } else { 0 };
        sizes.push((*step, size));
    }
    // Opened; r1; r2 and r3; the outcome; closed.
    let after: Vec<usize> =
        sizes.iter().filter(|(step, _)| *step == Step::AfterCommit).map(|(_, size)| *size).collect();
    assert_eq!(after, [1, 2, 4, 5, 6]);
    let before: Vec<usize> =
        sizes.iter().filter(|(step, _)| *step == Step::BeforeCommit).map(|(_, size)| *size).collect();
    assert_eq!(before, [0, 1, 2, 4, 5]);
}

pub async fn a_log_that_was_dropped_is_recovered(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let decision = log.append(allow(&log, "acme", "r1")).await.unwrap();
    drop(log);
    let (log, recovered) = loop {
        match Log::open(options(dir.path())).await {
            Ok(opened) => break opened,
            Err(crate::OpenError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!((recovered.size, recovered.unknown_outcomes), (2, 1));
    log.close().await;
    let stored = read_all(dir.path()).await;
    assert_eq!(stored.outcomes_of(decision.index), ["unknown_after_crash"]);
    let events: Vec<_> = stored.of_kind(Kind::System).iter().map(|e| e.text("event").unwrap()).collect();
    assert_eq!(events, ["opened", "opened", "closed"]);
}

pub async fn a_damaged_tail_is_not_continued(stand: &Stand) {
    for (sql, places) in [
        ("DELETE FROM bundle WHERE first_index = 2", (2, 2)),
        ("DELETE FROM bundle WHERE first_index = 5", (0, 5)),
        (
            "UPDATE bundle SET bytes = CAST(substr(bytes, 1, 99) || x'58' || substr(bytes, 101) AS BLOB) WHERE first_index = 3",
            (0, 5),
        ),
        ("UPDATE bundle SET bytes = CAST(bytes || x'00' AS BLOB) WHERE first_index = 3", (3, 3)),
        ("UPDATE bundle SET count = 2 WHERE first_index = 3", (3, 4)),
    ] {
        let dir = stand.home().await;
        let log = open(dir.path()).await;
        for i in 1..=4 {
            log.append(deny(&log, "acme", &format!("r{i}"))).await.unwrap();
        }
        log.close().await;
        vandalise(dir.path(), sql).await;
        match Log::open(options(dir.path())).await {
            Err(crate::OpenError::Damaged { first_index, last_index, .. }) => {
                assert_eq!((first_index, last_index), places, "{sql}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}
