//! Ordinary use, and callers that vanish.

use super::harness::*;
use crate::postgres::PostgresError;
use crate::{AppendError, Log, OpenError};
use model::entry::{CommitmentClass, Content, Disclosure, Draft, Kind};
use model::{Digest, Principal, PrincipalKind, Subject, Value};

pub async fn what_is_appended_is_there_after_reopening(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let decision = log.append(allow(&log, "acme", "r1")).await.unwrap();
    let outcome_entry = log.append_outcome(outcome(&log, "acme", "r1", decision.index)).await.unwrap();
    let denial = log.append(deny(&log, "borealis", "r2")).await.unwrap();
    log.close().await;
    assert_eq!(log.append(deny(&log, "acme", "r3")).await, Err(AppendError::Closed));
    assert_eq!(log.append_outcome(outcome(&log, "acme", "r1", 0)).await, Err(AppendError::Closed));

    let stored = read_all(dir.path()).await;
    assert!([decision, outcome_entry, denial].iter().all(|a| stored.holds(a)));
    let events: Vec<_> = stored.of_kind(Kind::System).iter().map(|e| e.text("event").unwrap()).collect();
    assert_eq!(events, ["opened", "closed"]);

    let (log, recovered) = Log::open(options(dir.path())).await.unwrap();
    assert_eq!((recovered.size, recovered.unknown_outcomes), (5, 0));
    assert_eq!(log.status().size, 6);
    log.close().await;
    read_all(dir.path()).await;
}

pub async fn many_callers_at_once_leave_no_gap(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let callers = (0..200).map(|i| {
        let log = log.clone();
        tokio::spawn(async move {
            let (name, request) = (["acme", "borealis", "cresta"][i % 3], format!("r{i}"));
            let decision = log.append(allow(&log, name, &request)).await.unwrap();
            let end = log.append_outcome(outcome(&log, name, &request, decision.index)).await.unwrap();
            [decision, end]
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut appended = Vec::new();
    for caller in callers {
        appended.extend(caller.await.unwrap());
    }
    let status = log.status();
    assert_eq!((status.entries, status.open, status.not_open), (401, 0, 0));
    assert!(status.batches < 401, "entries that come together are written together");
    log.close().await;
    let stored = read_all(dir.path()).await;
    assert!(appended.iter().all(|a| stored.holds(a)));
    assert_eq!(stored.entries.len(), 402);
}

pub async fn what_belongs_to_an_entry_becomes_durable_with_it(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let principal = Principal {
        organisation: organisation("acme"),
        kind: PrincipalKind::User,
        subject: Subject::new("anna@acme.example").unwrap(),
    };
    let (reference, row) = log.principal_reference(&principal);
    let disclosure = Disclosure {
        class: CommitmentClass::Subject,
        salt: [9; 16],
        values: Value::object([("sub", Value::text("anna\u{0}\"x"))]).into(),
    };
    let content = Content { digest: Digest::of(b"slice"), bytes: b"slice".as_slice().into() };
    let members = [("principal", Value::text(&*reference))];
    let mut draft =
        Draft::new(Kind::Decision, &log.common(), Some(&organisation("acme")), members, vec![disclosure.clone()])
            .unwrap();
    draft.directory = row.into_iter().collect();
    draft.content = vec![content.clone(), content.clone()];
    let appended = log.append(draft.clone()).await.unwrap();
    // The same content and the same row once more do no harm.
    log.append(draft).await.unwrap();

    let body = log.disclosure(appended.index).await.unwrap().unwrap();
    let values = model::canonical::parse(body.as_bytes()).unwrap();
    let shown = values.get("subject").unwrap().get("values").unwrap();
    assert_eq!(shown.encode(), disclosure.values.as_bytes());
    assert_eq!(log.content(&content.digest).await.unwrap(), Some(content.bytes.to_vec()));
    assert_eq!(log.principal_reference(&principal), (reference.clone(), None));
    log.close().await;

    let log = open(dir.path()).await;
    assert_eq!(log.principal_reference(&principal), (reference, None));
    log.close().await;
}

pub async fn an_outcome_for_a_decision_that_is_not_open_is_refused(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let denial = log.append(deny(&log, "acme", "r1")).await.unwrap();
    let of_denial = outcome(&log, "acme", "r1", denial.index);
    assert_eq!(log.append_outcome(of_denial).await, Err(AppendError::NotOpen(denial.index)));
    let decision = log.append(allow(&log, "acme", "r2")).await.unwrap();
    let [first, second] = [(); 2].map(|()| log.append_outcome(outcome(&log, "acme", "r2", decision.index)));
    assert!(first.await.is_ok());
    assert_eq!(second.await, Err(AppendError::NotOpen(decision.index)));
    assert_eq!(log.status().not_open, 2);
    log.close().await;
    assert_eq!(read_all(dir.path()).await.outcomes_of(decision.index), ["complete"]);
}

pub async fn a_second_opener_is_refused(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let error = Log::open(options(dir.path())).await.unwrap_err();
    let is_taken = matches!(error, OpenError::Locked { .. } | OpenError::Postgres(PostgresError::Taken { .. }));
    assert!(is_taken, "{error}");
    log.close().await;
    open(dir.path()).await.close().await;
}

#[cfg(test)]
#[tokio::test]
async fn the_wal_of_a_database_that_is_gone_is_not_read_into_a_new_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    fill(&log, 3).await;
    // As it is while the log is open, without the file that it belongs to.
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join("log.db-wal"), copy.path().join("log.db-wal")).unwrap();
    log.close().await;
    let error = Log::open(options(copy.path())).await.unwrap_err();
    assert!(matches!(&error, OpenError::File { path, .. } if path.ends_with("log.db-wal")), "{error}");
    assert!(!copy.path().join("log.db").exists() && copy.path().join("log.db-wal").exists());
    std::fs::remove_file(copy.path().join("log.db-wal")).unwrap();
    open(copy.path()).await.close().await;
}

#[cfg(test)]
#[tokio::test]
async fn a_log_keeps_its_origin() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.close().await;
    let other = crate::LogOptions { origin: "elsewhere.example/log".into(), ..options(dir.path()) };
    let error = Log::open(other).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "this directory holds the log `millgate.example/test`, not `elsewhere.example/log`; a log keeps its origin for life"
    );
    let bad = crate::LogOptions { origin: "with space".into(), ..options(dir.path()) };
    assert!(matches!(Log::open(bad).await, Err(OpenError::BadOrigin(_))));
}

#[cfg(unix)]
#[cfg(test)]
#[tokio::test]
async fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("log");
    let log = open(&dir).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in std::fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    log.close().await;
}

pub async fn an_outcome_goes_along_with_the_next_decision_and_is_written_without_one_too(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let first = log.append(allow(&log, "acme", "r1")).await.unwrap();
    let before = log.status().batches;
    drop(log.append_outcome(outcome(&log, "acme", "r1", first.index)));
    let second = log.append(allow(&log, "acme", "r2")).await.unwrap();
    assert_eq!((log.status().batches, log.status().open), (before + 1, 1), "the outcome and the decision in one batch");

    drop(log.append_outcome(outcome(&log, "acme", "r2", second.index)));
    let mut size = log.inner.shared.size.subscribe();
    size.wait_for(|size| *size > second.index + 1).await.unwrap();
    assert_eq!(log.status().open, 0);
    log.close().await;
    read_all(dir.path()).await;
}
