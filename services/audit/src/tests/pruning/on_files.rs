//! What is about the files of SQLite, and what draws its cases. A schema of before in PostgreSQL, and a server that goes, are in
//! the acceptance tests.

use super::*;
use crate::faults::{FailingStore, Step};
use crate::sqlite::SqliteStore;
use proptest::prelude::*;
use std::sync::Mutex;

#[tokio::test]
async fn what_is_new_is_not_known_where_entries_were_pruned_and_a_summary_says_so() {
    let (plant, log, publisher) = Plant::that_pruned(&Stand::Sqlite).await;
    publisher.publish_now().await.unwrap();
    let from = log.pruned().map(|pruned| pruned.before);
    for new in [true, false] {
        let summary = crate::index::Summary { from, new, limit: 10, ..crate::index::Summary::default() };
        let below = |table: crate::index::Table| table.pruned.map(|pruned| pruned.below);
        let expected = new.then_some(512);
        assert_eq!(below(log.summary(&summary).await.unwrap()), expected, "new: {new}");
        assert_eq!(below(crate::query::summary_offline(plant.out.path(), &summary).unwrap()), expected, "new: {new}");
    }
    log.close().await;
}

#[tokio::test]
async fn a_store_of_an_earlier_program_is_pruned_like_any_other() {
    let plant = Plant::new(&Stand::Sqlite).await;
    let log = plant.open().await;
    log.close().await;
    let before = "DROP TABLE pruning; DROP TABLE leaf; DROP TABLE carried;
        CREATE TRIGGER bundle_no_update BEFORE UPDATE ON bundle BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
        CREATE TRIGGER bundle_no_delete BEFORE DELETE ON bundle BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
        DELETE FROM erasure WHERE false; INSERT INTO meta VALUES ('x', 'y')";
    vandalise(plant.home.path(), before).await;
    assert_eq!(check(plant.home.path(), None, |_, _| {}).await.unwrap().findings, []);
    let (log, publisher) = plant.pruned().await;
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
}

/// A copy of the store's files, and of what was published, at every step.
#[tokio::test]
async fn a_kill_at_any_step_of_a_pruning_leaves_all_of_it_or_nothing_and_the_next_start_ends_it() {
    let plant = Plant::new(&Stand::Sqlite).await;
    let copies: Arc<Mutex<Vec<(Step, TempDir, TempDir)>>> = Arc::default();
    let plan = {
        let (dir, out, copies) = (plant.home.directory().to_owned(), plant.out.path().to_owned(), copies.clone());
        move |step| {
            let (store, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            for name in ["log.db", "log.db-wal"] {
                if dir.join(name).exists() {
                    std::fs::copy(dir.join(name), store.path().join(name)).unwrap();
                }
            }
            crate::tests::stand::copy_dir(&out, files.path());
            copies.lock().unwrap().push((step, store, files));
            None
        }
    };
    let store = SqliteStore::open(plant.home.directory(), ORIGIN).await.unwrap();
    let (log, _) = Log::open_with(FailingStore::new(store, plan), &plant.options()).await.unwrap();
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 600).await;
    plant.day(100);
    asks_often(&log, "bolt/otto", 1).await;
    publisher.publish_now().await.unwrap();
    copies.lock().unwrap().clear();
    plant.prune(&log).await.unwrap();
    publisher.publish_now().await.unwrap();
    log.close().await;
    let copies = std::mem::take(&mut *copies.lock().unwrap());
    let mut seen = BTreeSet::new();
    for (step, store, files) in copies {
        let home = Plant {
            home: Stand::Sqlite.home().await,
            out: files,
            clock: plant.clock.clone(),
            next: plant.next.clone(),
        };
        crate::tests::stand::copy_dir(store.path(), home.home.directory());
        let log = home.open().await;
        let publisher = home.publisher(&log).await;
        publisher.publish_now().await.unwrap();
        let below = log.pruned().map_or(0, |pruned| pruned.below);
        assert!(matches!(below, 0 | 512), "{step:?}: {below}");
        seen.insert(below);
        assert_eq!(home.findings().await, Vec::<String>::new(), "{step:?}");
        assert_eq!(home.published("tile/entries/001"), below == 0, "{step:?}");
        assert_eq!(log.entry(300).await.unwrap().is_some(), below == 0, "{step:?}");
        if below == 0 {
            assert_eq!(home.prune(&log).await.unwrap(), 512, "{step:?}");
        }
        log.close().await;
    }
    assert_eq!(seen, BTreeSet::from([0, 512]));
}

fn life() -> impl Strategy<Value = Vec<Life>> {
    let step = prop_oneof![
        5 => (0..3_usize, 1..120_usize).prop_map(|(who, count)| Life::Refusals(who, count)),
        3 => (0..3_usize, 0..4_usize).prop_map(|(who, steps)| Life::Exchange(who, steps)),
    ];
    prop::collection::vec(step, 8..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_pruned_roots_proofs_and_answers_about_the_rest_stay(old in life(), young in life(), at in 0.0..1.0_f64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(pruned_and_compared(&Stand::Sqlite, &old, &young, at));
    }
}
