//! What the database itself refuses.

use super::*;
use crate::batch::{Assembly, State};
use model::entry::{Common, Draft, Kind};
use model::{Timestamp, Value};

async fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, "millgate.example/log").await.unwrap()
}

async fn run(store: &mut SqliteStore, sql: &'static str) -> Result<(), String> {
    let done = sqlx::raw_sql(sql).execute(&mut store.connection).await;
    done.map(drop).map_err(|error| error.to_string())
}

fn batch(state: &State, count: usize) -> Batch {
    let common = Common { nonce: [7; 16], time: Timestamp(1_795_375_200_000), boot: "b".into() };
    let mut assembly = Assembly::new(state);
    for i in 0..count {
        let members = [("i", Value::int(i.try_into().unwrap()))];
        assembly.add(&Draft::new(Kind::Admin, &common, None, members, vec![]).unwrap()).unwrap();
    }
    assembly.finish().unwrap().0
}

#[tokio::test]
async fn what_is_written_cannot_be_changed_by_accident() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).await;
    let batch = batch(&State::default(), 3);
    let range = batch.head.range.clone();
    assert!(store.stage(batch).await.unwrap());
    store.commit().await.unwrap();
    store.put_checkpoint(CheckpointRow { note: "note".into(), range }).await.unwrap();
    run(&mut store, "INSERT INTO key_entry VALUES (1)").await.unwrap();
    for sql in [
        "DELETE FROM key_entry",
        "UPDATE key_entry SET entry_index = 2",
        "UPDATE bundle SET bytes = x''",
        "UPDATE bundle SET first_index = 9",
        "DELETE FROM bundle",
        "UPDATE checkpoint SET note = 'other'",
        "DELETE FROM checkpoint",
        "DELETE FROM head",
        "UPDATE head SET size = 0",
        "UPDATE head SET root = zeroblob(32)",
        "UPDATE head SET size = 99",
        "INSERT INTO head (id, size, root, range, open) VALUES (2, 0, zeroblob(32), x'', x'')",
        "INSERT INTO bundle VALUES (9, 1, 0, 0, zeroblob(32), x'')",
        "INSERT OR REPLACE INTO bundle VALUES (0, 1, 0, 0, zeroblob(32), x'')",
    ] {
        let error = run(&mut store, sql).await.unwrap_err();
        let expected = ["append-only", "must follow the bundles", "must begin at the head", "CHECK constraint"];
        assert!(expected.iter().any(|words| error.contains(words)), "{sql}: {error}");
    }
    // The first note of a size stays.
    let range = store.head().await.unwrap().range;
    store.put_checkpoint(CheckpointRow { note: "other".into(), range }).await.unwrap();
    let reader = Reader::open(dir.path()).await.unwrap();
    assert_eq!(reader.last_checkpoint().await.unwrap().unwrap().note, "note");
}

#[tokio::test]
async fn a_batch_on_another_head_does_not_move_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).await;
    assert!(store.stage(batch(&State::default(), 3)).await.unwrap());
    store.commit().await.unwrap();
    let before = store.head().await.unwrap();
    assert_eq!(before.size(), 3);
    // A second batch on the empty log is stopped by the bundle's own place already.
    let error = store.stage(batch(&State::default(), 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)), "{error}");
    store.roll_back().await.unwrap();
    assert_eq!(store.head().await.unwrap(), before);
    // Without that trigger the compare-and-swap stops it.
    run(&mut store, "DROP TRIGGER bundle_at_head").await.unwrap();
    let mut elsewhere = batch(&State::default(), 1);
    elsewhere.bundle.first_index = 7;
    assert!(!store.stage(elsewhere).await.unwrap());
    store.roll_back().await.unwrap();
    assert_eq!(store.head().await.unwrap(), before);
}

#[tokio::test]
async fn a_rollback_leaves_no_transaction_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).await;
    store.roll_back().await.unwrap();
    assert!(store.stage(batch(&State::default(), 3)).await.unwrap());
    store.roll_back().await.unwrap();
    assert_eq!(store.head().await.unwrap(), Head::default());
    assert!(store.stage(batch(&State::default(), 2)).await.unwrap());
    store.commit().await.unwrap();
    assert_eq!(store.head().await.unwrap().size(), 2);
}

#[tokio::test]
async fn a_database_that_does_not_flush_every_commit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).await;
    run(&mut store, "PRAGMA synchronous = NORMAL").await.unwrap();
    let error = assert_durable(&mut store.connection).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the database would not flush every commit (journal_mode `wal`, synchronous 1); put it on a local file system"
    );
    run(&mut store, "PRAGMA synchronous = FULL; PRAGMA journal_mode = DELETE").await.unwrap();
    let error = assert_durable(&mut store.connection).await.unwrap_err();
    assert!(error.to_string().contains("journal_mode `delete`"), "{error}");
}

#[tokio::test]
async fn a_later_format_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).await;
    run(&mut store, "PRAGMA user_version = 3").await.unwrap();
    store.close().await.unwrap();
    let error = SqliteStore::open(dir.path(), "millgate.example/log").await.unwrap_err();
    assert!(matches!(error, OpenError::Format { found: 3, known: 2 }), "{error}");
}

#[tokio::test]
async fn a_closed_log_is_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).await;
    let reader = Reader::open(dir.path()).await.unwrap();
    assert!(store.stage(batch(&State::default(), 3)).await.unwrap());
    store.commit().await.unwrap();
    assert_eq!(reader.head().await.unwrap().size(), 3);
    store.close().await.unwrap();
    reader.close().await;
    let wal = std::fs::metadata(dir.path().join("log.db-wal")).map_or(0, |file| file.len());
    assert_eq!(wal, 0);
}
