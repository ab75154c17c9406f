//! What the store lets go and what not, whoever asks for it, and what is found of rows that are not what was said.

use super::*;
use crate::faults::FailingStore;
use crate::postgres::PostgresStore;
use crate::publish::prune::carried_path;
use crate::sqlite::SqliteStore;
use crate::store::Store;
use crate::{AppendError, OpenError, ReadError};
use model::pruning::Prune;

pub async fn the_database_lets_nothing_go_that_no_entry_speaks_of(stand: &Stand) {
    let (plant, log, _) = Plant::that_pruned(stand).await;
    log.close().await;
    for (sql, refused) in [
        ("DELETE FROM bundle WHERE first_index = 512", "append-only"),
        ("UPDATE bundle SET count = 1 WHERE first_index = 512", "append-only"),
        ("UPDATE bundle SET first_index = 513, count = count - 1 WHERE first_index = 512", "append-only"),
        ("DELETE FROM leaf", "append-only"),
        ("UPDATE pruning SET minimum = 256", "append-only"),
        ("DELETE FROM pruning", "append-only"),
        ("INSERT INTO pruning VALUES (LOG612, 256, 0)", "by an entry behind a checkpoint"),
        ("INSERT INTO pruning VALUES (LOG700, 768, 0)", "by an entry behind a checkpoint"),
    ] {
        let sql = sql.replace("LOG", if plant.home.is_in_postgres() { "1, " } else { "" });
        let error = refusal(plant.home.path(), &sql).await;
        assert!(error.contains(refused), "{sql}: {error}");
    }
}

pub async fn entries_that_nobody_said_are_gone_are_missed(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    asks_often(&log, "acme/anna", 600).await;
    publisher.publish_now().await.unwrap();
    log.close().await;
    vandalise(plant.home.path(), "DELETE FROM bundle WHERE first_index < 199").await;
    let found = plant.findings().await;
    assert_eq!(found.first().map(String::as_str), Some("entries 0 to 198: they are missing"), "{found:?}");
    let opened = Log::open(plant.options()).await;
    assert!(matches!(opened, Err(OpenError::Damaged { first_index: 0, last_index: 198, .. })), "{opened:?}");
}

pub async fn what_is_said_of_a_pruning_and_is_not_so_is_found(stand: &Stand) {
    for (sql, expected) in [
        // A row of another entry in the place of the pruning's.
        (
            "UPDATE pruning SET entry_index = 600",
            "entry 600: the store says that entries before 512 were pruned under it, and it says nothing of the kind",
        ),
        (
            "UPDATE pruning SET minimum = 256",
            "entry 611: the store says that entries before 256 were pruned under it, and it says nothing of the kind",
        ),
        ("DELETE FROM leaf WHERE number = 1", "entries 256 to 511: they were pruned, and their hashes are missing"),
        (
            "UPDATE leaf SET hashes = CAST(zeroblob(8192) AS BLOB) WHERE number = 1",
            "entries 0 to 610: they do not have the root that was signed at size 611",
        ),
        ("DELETE FROM carried", "entry 0: entry 611 says that it is carried forward, and it is not there"),
        ("INSERT INTO disclosure SELECT DISCLOSURE", "entry 5: it was pruned, and its values are still there"),
        ("DELETE FROM bundle WHERE first_index = 512", "entries 512 to 594: they are missing"),
    ] {
        let (plant, log, publisher) = Plant::that_pruned(stand).await;
        publisher.publish_now().await.unwrap();
        log.close().await;
        let sql = match (sql.contains("DISCLOSURE"), plant.home.path()) {
            (true, StoreAt::Directory(_)) => {
                String::from("INSERT INTO disclosure (entry_index, body) VALUES (5, '{}')")
            }
            (true, _) => String::from("INSERT INTO disclosure (log, entry_index, body) VALUES (1, 5, '{}')"),
            (false, _) => sql.to_owned(),
        };
        vandalise(plant.home.path(), &sql).await;
        let found = check(plant.home.path(), None, |_, _| {}).await.unwrap().findings;
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|found| found == expected), "{sql}: {found:?}");
    }
}

pub async fn a_store_of_which_all_entries_are_missing_does_not_open(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    asks_often(&log, "acme/anna", 9).await;
    plant.close(&log, &publisher).await;
    vandalise(plant.home.path(), "DELETE FROM bundle").await;
    let opened = Log::open(plant.options()).await;
    assert!(matches!(opened, Err(OpenError::Damaged { first_index: 0, last_index: 10, .. })), "{opened:?}");
}

pub async fn prunings_that_somebody_changes_in_the_store_meanwhile_are_not_gone_by(stand: &Stand) {
    let (plant, log, publisher) = Plant::that_pruned(stand).await;
    publisher.publish_now().await.unwrap();
    vandalise(plant.home.path(), "DELETE FROM pruning").await;
    let pruned = plant.prune(&log).await;
    assert!(matches!(pruned, Err(PruneError::Foreign { stored: 0, known: 512 })), "{pruned:?}");
    log.close().await;
}

/// Changes prunings before they are written.
fn meddling<S: Store>(inner: S, change: fn(&mut Prune)) -> FailingStore<S> {
    FailingStore::meddling(inner, move |_, batch| {
        if let Some((_, prune)) = &mut batch.pruning {
            change(Arc::make_mut(prune));
        }
        Box::pin(async { Ok(()) })
    })
}

impl Plant {
    /// A log that is closed, of whose store a pruning was to be changed in this way: why that was not done.
    async fn meddled(&self, change: fn(&mut Prune)) -> String {
        let options = self.options();
        let log = match &options.store {
            None => {
                let inner = SqliteStore::open(&options.dir, ORIGIN).await.unwrap();
                Log::open_with(meddling(inner, change), &options).await.unwrap().0
            }
            Some(access) => {
                let inner = PostgresStore::open(access, ORIGIN).await.unwrap();
                Log::open_with(meddling(inner, change), &options).await.unwrap().0
            }
        };
        let done = self.prune(&log).await;
        assert!(matches!(done, Err(PruneError::Append(AppendError::Poisoned))), "{done:?}");
        let reason = log.poison_reason().unwrap();
        log.close().await;
        reason
    }
}

pub async fn what_is_left_of_a_row_is_its_end_and_nothing_else(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    asks_often(&log, "acme/anna", 300).await;
    plant.day(100);
    asks_often(&log, "bolt/otto", 10).await;
    plant.close(&log, &publisher).await;
    let changes: [fn(&mut Prune); 4] = [
        |prune| *prune.rest.as_mut().unwrap().bytes.last_mut().unwrap() ^= 1,
        |prune| prune.rest.as_mut().unwrap().bytes.extend(*b"\0\x02{}"),
        |prune| prune.rest.as_mut().unwrap().time_first = Timestamp(START.millis() - DAY_MS),
        |prune| prune.rest.as_mut().unwrap().time_last = Timestamp(START.millis() + 50 * DAY_MS),
    ];
    for change in changes {
        let reason = plant.meddled(change).await;
        assert!(reason.contains("the log is append-only"), "{reason}");
    }
    if matches!(stand, Stand::Postgres(_)) {
        // Its end, and less of it than is counted.
        let shorter = |prune: &mut Prune| {
            let bytes = &mut prune.rest.as_mut().unwrap().bytes;
            let first = 2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
            bytes.drain(..first);
        };
        let reason = plant.meddled(shorter).await;
        assert!(reason.contains("the log is append-only"), "{reason}");
    }
    let log = Log::open(plant.options()).await.unwrap().0;
    let publisher = plant.publisher(&log).await;
    publisher.publish_now().await.unwrap();
    assert_eq!(log.pruned(), None, "and nothing went");
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
}

pub async fn nobody_goes_from_the_directory_uncounted(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    asks_often(&log, "acme/anna", 300).await;
    plant.day(100);
    asks_often(&log, "bolt/otto", 10).await;
    plant.close(&log, &publisher).await;
    let reason = plant.meddled(|prune| prune.references.push("ab".repeat(16))).await;
    let words = match stand {
        Stand::Sqlite => "the number of persons of whom no entry is left",
        Stand::Postgres(_) => "does not say that 1 persons go from the directory",
    };
    assert!(reason.contains(words), "{reason}");
}

/// A row of the store's table `carried`, put there or in the place of another.
async fn carry(plant: &Plant, index: u64, bytes: &[u8]) {
    let (column, log) = if plant.home.is_in_postgres() { ("log, ", "1, ") } else { ("", "") };
    let values = format!("({log}{index}, x'{}')", model::canonical::hex(bytes));
    let replace = format!("ON CONFLICT ({column}entry_index) DO UPDATE SET bytes = excluded.bytes");
    let sql = format!("INSERT INTO carried ({column}entry_index, bytes) VALUES {values} {replace}");
    vandalise(plant.home.path(), &sql).await;
}

/// An entry by which the log's own key signs no more.
fn retires(plant: &Plant) -> Vec<u8> {
    let key = key().verifier().to_text();
    let members = [("event", Value::text("retired")), ("key", Value::text(&key)), ("signer", Value::text(&key))];
    let common = model::entry::Common { nonce: [7; 16], time: plant.clock.now(), boot: "b".into() };
    Draft::new(Kind::Key, &common, None, members, vec![]).unwrap().seal(None)
}

pub async fn rows_of_entries_that_no_pruning_carries_forward_count_for_nothing(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    // Before anything is pruned, in the place of what will be carried; and of what will not.
    let first = log.entry(0).await.unwrap();
    for index in [0, 5] {
        carry(&plant, index, &retires(&plant)).await;
    }
    asks_often(&log, "acme/anna", 600).await;
    plant.day(100);
    asks_often(&log, "bolt/otto", 10).await;
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.prune(&log).await.unwrap(), 512);
    assert_eq!(log.entry(0).await.unwrap(), first);
    // And behind it, while it is not signed yet.
    carry(&plant, 6, &retires(&plant)).await;
    drop(publisher);
    log.close().await;
    let (log, publisher) = plant.serve().await;
    publisher.publish_now().await.unwrap();
    assert!(plant.published(&carried_path(0)) && !plant.published(&carried_path(6)));
    assert_eq!(log.entry(6).await.unwrap(), None);
    plant.close(&log, &publisher).await;
    let log = plant.open().await;
    plant.publisher(&log).await.publish_now().await.unwrap();
    log.close().await;
    let found = plant.findings().await;
    assert!(
        found.contains(&String::from("entry 6: it is kept, and entry 611 does not say that it is carried forward"))
    );
    assert!(found.iter().all(|found| found.starts_with("entry 6:")), "{found:?}");
}

pub async fn what_stands_in_the_place_of_an_entry_that_is_carried_forward_is_not_published_or_believed(stand: &Stand) {
    let (plant, log, publisher) = Plant::that_pruned(stand).await;
    let first = log.entry(0).await.unwrap().unwrap();
    carry(&plant, 0, &retires(&plant)).await;
    let error = publisher.publish_now().await.unwrap_err();
    let damaged = |error: &PublishError| {
        matches!(error, PublishError::Read(ReadError::Damaged { first_index: 0, last_index: 0 }))
    };
    assert!(damaged(&error), "{error}");
    assert!(plant.published("tile/entries/000") && !plant.published(&carried_path(0)));
    // With the hash of it in the place of the other's.
    let mut leaves = std::fs::read(plant.out.path().join("tile/0/000")).unwrap();
    let put = async |leaves: &[u8]| {
        let hashes = model::canonical::hex(leaves);
        vandalise(plant.home.path(), &format!("UPDATE leaf SET hashes = x'{hashes}' WHERE number = 0")).await;
    };
    let logged = leaves.clone();
    leaves[..32].copy_from_slice(&tlog::leaf_hash(&retires(&plant)).0);
    put(&leaves).await;
    let error = publisher.publish_now().await.unwrap_err();
    let is_another = |error: &PublishError| matches!(error, PublishError::Carried { index: 0, .. });
    assert!(is_another(&error), "{error}");
    assert!(plant.published("tile/entries/000") && !plant.published(&carried_path(0)));
    // Nor does a start go by it, now that the pruning is signed.
    drop(publisher);
    log.close().await;
    let error = plant.refused(kept(60)).await;
    assert!(is_another(&error), "{error}");
    vandalise(plant.home.path(), "DELETE FROM carried").await;
    let error = plant.refused(kept(60)).await;
    assert!(is_another(&error), "{error}");
    put(&logged).await;
    carry(&plant, 0, &first).await;
    let log = plant.open().await;
    plant.publisher(&log).await.publish_now().await.unwrap();
    assert!(!plant.published("tile/entries/000"));
    log.close().await;
    assert_eq!(plant.findings().await, Vec::<String>::new());
}
