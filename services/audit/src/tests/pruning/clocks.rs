//! Clocks that are wrong while something is to be pruned.

use super::*;
use crate::{ClockDoubt, Cosigned, EraseError, Prove, Witnesses};
use std::pin::Pin;

pub async fn a_clock_that_was_set_ahead_prunes_nothing(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    asks_often(&log, "acme/anna", 300).await;
    publisher.publish_now().await.unwrap();
    plant.set_ahead(100);
    asks_often(&log, "acme/anna", 1).await;
    let doubted =
        |error: &EraseError| matches!(error, EraseError::Clock(ClockDoubt::Set { went_h: 2_400, passed_h: 0 }));
    let pruned = plant.prune(&log).await;
    assert!(matches!(&pruned, Err(PruneError::Erase(error)) if doubted(error)), "{pruned:?}");
    let values = Retention { days: [(CommitmentClass::Subject, 1)].into(), ..Retention::default() };
    let erased = log.retain(&values, plant.clock.now()).await;
    assert!(matches!(&erased, Err(error) if doubted(error)), "{erased:?}");
    assert!(log.status().clock_doubted && log.disclosure(1).await.unwrap().is_some());
    // It is set right, and time goes by.
    plant.set_ahead(0);
    assert_eq!(plant.prune(&log).await.unwrap(), 0);
    plant.day(100);
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    assert!(!log.status().clock_doubted);
    log.close().await;
}

/// A witness with a clock of its own.
#[derive(Debug)]
struct Says(u64);

impl Witnesses for Says {
    fn cosign<'a>(
        &'a self,
        _: &'a str,
        _: u64,
        _: &'a Prove<'a>,
    ) -> Pin<Box<dyn Future<Output = Cosigned> + Send + 'a>> {
        Box::pin(async { Cosigned { lines: vec![(self.0, String::new())], ..Cosigned::default() } })
    }

    fn is_quorum(&self, _: &str) -> bool {
        false
    }
}

pub async fn a_start_long_after_the_last_entry_prunes_nothing_until_it_is_confirmed(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    asks_often(&log, "acme/anna", 300).await;
    plant.close(&log, &publisher).await;
    plant.day(100);
    let now = u64::try_from(plant.clock.now().seconds()).unwrap();
    let is_doubted = |pruned: &Result<u64, PruneError>| matches!(pruned, Err(PruneError::Erase(EraseError::Clock(ClockDoubt::Ahead { newest, .. }))) if *newest == START);
    // A witness that has another time confirms nothing.
    for (says, is_confirmed) in [(now - 90_000, false), (now - 80_000, true)] {
        let copy = Plant {
            home: stand.copy(&plant.home).await,
            out: tempfile::tempdir().unwrap(),
            clock: plant.clock.clone(),
            next: plant.next.clone(),
        };
        crate::tests::stand::copy_dir(plant.out.path(), copy.out.path());
        let log = copy.open().await;
        assert!(is_doubted(&copy.prune(&log).await));
        let witnesses: Arc<dyn Witnesses> = Arc::new(Says(says));
        let options = PublishOptions { witnesses: Some(witnesses), ..copy.publishing(kept(60)) };
        let publisher = copy.try_publisher(&log, options).await.unwrap();
        publisher.publish_now().await.unwrap();
        let pruned = copy.prune(&log).await;
        assert_eq!((pruned.as_ref().ok(), is_doubted(&pruned)), (is_confirmed.then_some(&256), !is_confirmed));
        log.close().await;
    }
    // Or the operator, who starts it once more.
    let log = plant.open().await;
    assert!(is_doubted(&plant.prune(&log).await));
    log.close().await;
    let log = plant.open().await;
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    log.close().await;
}

pub async fn a_pruning_that_would_be_faulty_is_not_written(stand: &Stand) {
    let plant = Plant::new(stand).await;
    // 2020-11-30T12:00:00Z, the last day of a month, and 60 days and a minute after its end.
    let (old, late) = (1_606_737_600_000, 1_606_780_800_000 + 60 * DAY_MS + SLIP_MS / 2);
    plant.clock.put(Timestamp(old));
    let (log, publisher) = plant.serve().await;
    asks_often(&log, "acme/anna", 300).await;
    plant.clock.put(Timestamp(late));
    asks_often(&log, "bolt/otto", 10).await;
    publisher.publish_now().await.unwrap();
    // It is set back to the day before in the middle of it.
    let mut faulty = 0;
    for looks in 1..12 {
        plant.clock.set_ahead(0);
        plant.clock.slip_at(looks);
        let pruned = plant.prune(&log).await;
        plant.clock.slip_at(0);
        match pruned {
            Ok(0) => {}
            Err(PruneError::Faulty(fault)) => {
                assert_eq!(fault, "a pruning that went further than its own policy of 60 days");
                faulty += 1;
            }
            pruned => {
                assert_eq!(pruned.unwrap(), 256);
                break;
            }
        }
    }
    assert!(faulty > 0, "the clock is looked at while it is made");
    assert!(log.is_healthy() && log.pruned().is_some());
    log.close().await;
    plant.open().await.close().await;
}

pub async fn a_pruning_is_not_judged_by_a_clock_that_is_doubted(stand: &Stand) {
    let (plant, log, publisher) = Plant::that_pruned(stand).await;
    let under = log.pruned().unwrap().under;
    // Killed before the next checkpoint, and started long after.
    drop(publisher);
    log.close().await;
    plant.day(250);
    let clock = |error: &PublishError| match error {
        PublishError::DoubtedPruning { at, source } if *at == under => match **source {
            EraseError::Clock(doubt) => Some(doubt),
            _ => None,
        },
        _ => None,
    };
    let error = plant.refused(kept(60)).await;
    assert!(matches!(clock(&error), Some(ClockDoubt::Ahead { .. })), "{error}");
    // Confirmed by the next start; and set while that one begins.
    let log = plant.open().await;
    plant.set_ahead(3_650);
    let error = plant.try_publisher(&log, plant.publishing(kept(60))).await.unwrap_err();
    assert!(matches!(clock(&error), Some(ClockDoubt::Set { .. })), "{error}");
    assert!(plant.published("tile/entries/001"));
    plant.set_ahead(0);
    plant.publisher(&log).await.publish_now().await.unwrap();
    assert!(!plant.published("tile/entries/001"));
    log.close().await;
}

pub async fn a_pruning_by_a_clock_that_was_a_little_ahead_is_waited_for(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    asks_often(&log, "acme/anna", 300).await;
    // 2021-01-30, from which on all of November goes, and half an hour later.
    let midnight = Timestamp(1_611_964_800_000);
    plant.clock.put(midnight.plus_millis(1_800_000));
    asks_often(&log, "bolt/otto", 10).await;
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    let under = log.pruned().unwrap().under;
    drop(publisher);
    log.close().await;
    plant.clock.set_ahead(-4 * 3_600_000);
    let error = plant.refused(kept(60)).await;
    let is_early = |error: &PublishError| matches!(error, PublishError::EarlyPruning { at, reached, .. } if (*at, *reached) == (under, midnight));
    assert!(is_early(&error), "{error}");
    // A millisecond before, and then.
    plant.clock.set_ahead(-1_800_001);
    let error = plant.refused(kept(60)).await;
    assert!(is_early(&error), "{error}");
    plant.clock.set_ahead(-1_800_000);
    let log = plant.open().await;
    plant.publisher(&log).await.publish_now().await.unwrap();
    assert!(!plant.published("tile/entries/000"));
    log.close().await;
}

pub async fn entries_of_a_month_go_from_a_midnight_on_and_not_a_millisecond_before(stand: &Stand) {
    // 2020-11-30T23:59:59.999Z, and the end of that day 60 days later.
    let (last, reached) = (1_606_780_799_999, 1_611_964_800_000);
    for (of, going) in [(last, 256), (last + 1, 0)] {
        let plant = Plant::new(stand).await;
        plant.clock.put(Timestamp(of));
        let (log, publisher) = plant.serve().await;
        asks_often(&log, "acme/anna", 300).await;
        plant.clock.put(Timestamp(reached - 1));
        asks_often(&log, "bolt/otto", 10).await;
        publisher.publish_now().await.unwrap();
        assert_eq!(plant.prune(&log).await.unwrap(), 0);
        plant.clock.put(Timestamp(reached));
        assert_eq!(plant.prune(&log).await.unwrap(), going);
        // And whoever takes it over in the same moment finds it to be in time.
        drop(publisher);
        log.close().await;
        let log = plant.open().await;
        plant.publisher(&log).await.publish_now().await.unwrap();
        assert_eq!(plant.published("tile/entries/000"), going == 0);
        log.close().await;
        assert_eq!(plant.findings().await, Vec::<String>::new());
    }
}
