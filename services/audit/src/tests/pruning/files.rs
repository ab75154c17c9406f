//! Files of a pruned log: what is published goes after its entry and not before, and what a crash left undone is done.

use super::*;

/// Published files as a crash leaves them between two of them.
pub async fn files_that_a_crash_left_go_with_the_next_start(stand: &Stand) {
    let (plant, log, publisher) = Plant::that_pruned(stand).await;
    let first = std::fs::read(plant.out.path().join("tile/entries/000")).unwrap();
    publisher.publish_now().await.unwrap();
    publisher.stop().await.unwrap();
    for left in ["tile/entries/000", "carried/00000000000000/00000000000000000007"] {
        std::fs::write(plant.out.path().join(left), &first).unwrap();
    }
    std::fs::remove_file(plant.out.path().join("pruned")).unwrap();
    let publisher = plant.publisher(&log).await;
    publisher.publish_now().await.unwrap();
    assert!(!plant.published("tile/entries/000") && plant.published("pruned"));
    assert!(!plant.published("carried/00000000000000/00000000000000000007"));
    assert!(plant.published("carried/00000000000000/00000000000000000000"));
    log.close().await;
}

pub async fn published_files_of_a_pruned_log_are_built_again_from_its_store(stand: &Stand) {
    let (plant, log, publisher) = Plant::that_pruned(stand).await;
    let last = publisher.publish_now().await.unwrap();
    publisher.stop().await.unwrap();
    let tile = std::fs::read(plant.out.path().join("tile/0/001")).unwrap();
    std::fs::remove_dir_all(plant.out.path().join("tile")).unwrap();
    let publisher = plant.publisher(&log).await;
    assert_eq!(publisher.publish_now().await.unwrap(), last);
    assert_eq!(std::fs::read(plant.out.path().join("tile/0/001")).unwrap(), tile);
    assert!(!plant.published("tile/entries/000") && plant.published("tile/entries/002.p/100"));
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
}

pub async fn hashes_that_are_not_those_that_were_published_take_no_entrys_place(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    asks_often(&log, "acme/anna", 600).await;
    plant.day(100);
    publisher.publish_now().await.unwrap();
    let tile = plant.out.path().join("tile/0/001");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    let refused = plant.prune(&log).await;
    assert!(matches!(refused, Err(PruneError::Differs { first: 256, last: 511 })), "{refused:?}");
    assert!(log.entry(300).await.unwrap().is_some() && log.pruned().is_none());
    log.close().await;
}

pub async fn files_that_a_published_pruning_promises_stay_while_the_next_one_is_written(stand: &Stand) {
    let (plant, log, publisher) = Plant::that_pruned(stand).await;
    plant.close(&log, &publisher).await;
    let (log, publisher) = plant.serve().await;
    asks_often(&log, "bolt/otto", 300).await;
    plant.day(200);
    publisher.publish_now().await.unwrap();
    drop(publisher);
    let publisher = plant.publisher(&log).await;
    let (first, of_first) = (log.pruned(), "carried/00000000000000/00000000000000000000");
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    let second = log.pruned();
    // Its first round, between the commit and the moment in which that is known.
    log.inner.shared.pruned.send_replace(first);
    publisher.publish_now().await.unwrap();
    assert!(plant.published(of_first), "it is promised by the pruning that is known");
    log.inner.shared.pruned.send_replace(second);
    publisher.publish_now().await.unwrap();
    assert!(!plant.published(of_first), "and goes with the one behind it");
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
}
