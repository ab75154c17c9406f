//! Callers that are gone before they are told, and a log that has no time for them.

use super::harness::*;
use crate::faults::Step;
use crate::{AppendError, LogOptions};
use futures_util::poll;
use model::entry::Kind;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use tokio::task::AbortHandle;

pub async fn a_permission_nobody_waits_for_is_not_written(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    {
        // On this thread the writer has no turn before the future is dropped.
        let mut allowed = pin!(log.append(allow(&log, "acme", "r1")));
        let mut denied = pin!(log.append(deny(&log, "acme", "r2")));
        assert!(poll!(allowed.as_mut()).is_pending() && poll!(denied.as_mut()).is_pending());
    }
    log.append(deny(&log, "acme", "r3")).await.unwrap();
    log.close().await;
    let stored = read_all(dir.path()).await;
    assert_eq!(stored.decisions_about("r1"), 0);
    assert_eq!(stored.decisions_about("r2"), 1, "hanging up early does not hide a denial");
}

pub async fn a_caller_gone_during_the_commit_leaves_a_decision_not_forwarded(stand: &Stand) {
    let dir = stand.home().await;
    // Who goes with the next commit. However quick the store is, its answer comes too late.
    let going: Arc<Mutex<Option<AbortHandle>>> = Arc::default();
    let plan = {
        let going = Arc::clone(&going);
        move |step| {
            if step == Step::BeforeCommit
                && let Some(caller) = going.lock().unwrap().take()
            {
                caller.abort();
            }
            None
        }
    };
    let log = open_failing(&options(dir.path()), plan).await.unwrap();
    let caller = {
        // Held, so that the commit does not come first.
        let mut going = going.lock().unwrap();
        let log = log.clone();
        let caller = tokio::spawn(async move { log.append(allow(&log, "acme", "r1")).await });
        *going = Some(caller.abort_handle());
        caller
    };
    assert!(caller.await.unwrap_err().is_cancelled());
    log.grown_beyond(2).await;
    assert_eq!((log.status().not_forwarded, log.status().open), (1, 0));
    log.close().await;
    let stored = read_all(dir.path()).await;
    assert_eq!(stored.outcomes_of(1), ["not_forwarded"]);
    let outcomes = stored.of_kind(Kind::Outcome);
    assert_eq!(outcomes[0].text("request"), Some("r1"));
    assert_eq!(outcomes[0].organisation, Some(organisation("acme")));
}

pub async fn a_caller_gone_after_the_commit_leaves_a_decision_not_forwarded(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    {
        let mut append = pin!(log.append(allow(&log, "acme", "r1")));
        assert!(poll!(append.as_mut()).is_pending());
        // Durable, told, and never looked at.
        log.grown_beyond(1).await;
    }
    log.grown_beyond(2).await;
    log.close().await;
    assert_eq!(read_all(dir.path()).await.outcomes_of(1), ["not_forwarded"]);
}

pub async fn a_full_queue_is_told_at_once(stand: &Stand) {
    let dir = stand.home().await;
    let options = LogOptions { queue_max: 2, ..options(dir.path()) };
    let log = crate::Log::open(options).await.unwrap().0;
    let mut first = pin!(log.append(deny(&log, "acme", "r1")));
    let mut second = pin!(log.append(deny(&log, "acme", "r2")));
    let mut third = pin!(log.append(deny(&log, "acme", "r3")));
    assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
    assert_eq!(log.status().queue, 2);
    assert_eq!(poll!(third.as_mut()), Poll::Ready(Err(AppendError::Overloaded)));
    // Outcomes have a lane of their own.
    let outcome_of_nothing = log.append_outcome(outcome(&log, "acme", "r9", 77)).await;
    assert_eq!(outcome_of_nothing, Err(AppendError::NotOpen(77)));
    assert!(first.await.is_ok() && second.await.is_ok());
    assert_eq!(log.status().overloaded, 1);
    log.close().await;
}

/// In PostgreSQL the answer can be there with the deadline, and then it counts.
#[cfg(test)]
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_does_not_wait_beyond_the_deadline() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let dir = Stand::Sqlite.home().await;
    let options = LogOptions { deadline_ms: 300, ..options(dir.path()) };
    // A store that is at its entry until nobody waits for it any longer.
    let hangs = Arc::new(AtomicBool::new(false));
    let slow = {
        let hangs = hangs.clone();
        move |step| {
            while step == Step::BeforeCommit && hangs.load(Ordering::Acquire) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            None
        }
    };
    let log = open_failing(&options, slow).await.unwrap();
    hangs.store(true, Ordering::Release);
    assert_eq!(log.append(allow(&log, "acme", "r1")).await, Err(AppendError::Overloaded));
    hangs.store(false, Ordering::Release);
    // It was on its way already: durable, and not forwarded.
    log.grown_beyond(2).await;
    log.close().await;
    assert_eq!(read_all(dir.path()).await.outcomes_of(1), ["not_forwarded"]);
}

pub async fn a_log_that_is_idle_says_that_it_lives(stand: &Stand) {
    let dir = stand.home().await;
    let options = LogOptions { heartbeat_ms: 1, ..options(dir.path()) };
    let log = crate::Log::open(options).await.unwrap().0;
    log.grown_beyond(3).await;
    log.close().await;
    let stored = read_all(dir.path()).await;
    assert!(stored.of_kind(Kind::Heartbeat).len() >= 3);
    assert_eq!(stored.entries.last().unwrap().kind, Kind::System);
}

pub async fn large_entries_are_spread_over_batches(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let request = "x".repeat(60_000);
    let appends = (0..40).map(|_| log.append(deny(&log, "acme", &request)));
    for appended in futures_util::future::join_all(appends).await {
        appended.unwrap();
    }
    let bundles = log.inner.reader.bundles(1).await.unwrap();
    assert!(bundles.len() >= 2 && bundles.iter().all(|b| b.bytes.len() < 1024 * 1024 + 65_536));
    log.close().await;
    assert_eq!(read_all(dir.path()).await.entries.len(), 42);
}
