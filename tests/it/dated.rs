//! An honest log is not made to look dated back, whatever its disk does: what witnesses have cosigned is held against the times of
//! its entries by the verifier that auditors use.

use audit::faults::{Fault, Step};
use audit::tests::harness::{self, PutClock, START, allow, deny, key, open_failing, outcome};
use audit::{Cosigned, Log, LogOptions, Prove, PublishError, PublishOptions, Publisher, Witnesses};
use model::Clock as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tlog::{CosigningKey, TrustPolicy};

const MINUTE_MS: i64 = 60_000;

#[derive(Debug)]
struct Witness {
    key: CosigningKey,
    clock: Arc<PutClock>,
    asked: AtomicU64,
}

impl Witnesses for Witness {
    fn cosign<'a>(
        &'a self,
        note: &'a str,
        _: u64,
        _: &'a Prove<'a>,
    ) -> Pin<Box<dyn Future<Output = Cosigned> + Send + 'a>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let seconds = u64::try_from(self.clock.now().millis() / 1_000).unwrap();
            let text = tlog::note::Note::parse(note).unwrap().text;
            let lines = self.key.cosign(text, seconds);
            Cosigned { lines: vec![(seconds, lines)], contradiction: None }
        })
    }

    fn is_quorum(&self, _: &str) -> bool {
        true
    }
}

struct Plant {
    directory: tempfile::TempDir,
    clock: Arc<PutClock>,
    witness: Arc<Witness>,
    /// What does not work now.
    faults: Arc<Mutex<Vec<(Step, Fault)>>>,
}

impl Plant {
    fn new() -> Self {
        let clock = PutClock::at(START);
        let key = CosigningKey::generate("witness.example/w1", [7; 32]).unwrap();
        let policy = format!(
            "log {}\nwitness w1 {}\nquorum w1\n",
            harness::key().verifier().to_text(),
            key.verifier().to_text()
        );
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("trust.policy"), policy).unwrap();
        let witness = Arc::new(Witness { key, clock: clock.clone(), asked: AtomicU64::new(0) });
        Self { directory, clock, witness, faults: Arc::default() }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn open(&self) -> (Log, Publisher) {
        std::fs::create_dir_all(self.at("log")).unwrap();
        let options = LogOptions { clock: self.clock.clone(), ..harness::options(self.at("log").as_path()) };
        let faults = Arc::clone(&self.faults);
        let plan = move |step| faults.lock().unwrap().iter().find(|(at, _)| *at == step).map(|(_, fault)| *fault);
        let log = open_failing(&options, plan).await.unwrap();
        let witnesses: Arc<dyn Witnesses> = self.witness.clone();
        let of_all = PublishOptions::new(self.at("published"));
        let options = PublishOptions { interval_ms: 3_600_000, witnesses: Some(witnesses), ..of_all };
        let publisher = Publisher::start(&log, key(), options).await.unwrap();
        (log, publisher)
    }

    fn set(&self, faults: &[(Step, Fault)]) {
        *self.faults.lock().unwrap() = faults.to_vec();
    }

    fn asked(&self) -> u64 {
        self.witness.asked.load(Ordering::Relaxed)
    }

    /// By the program that auditors use.
    fn assert_honest(&self) {
        let policy = std::fs::read_to_string(self.at("trust.policy")).unwrap();
        let policy = TrustPolicy::parse(&policy).unwrap();
        let report = verify::log::check_trusting(&self.at("published"), &policy, None, &mut |_, _| {}).unwrap();
        let said = report.to_json();
        let clocks = said["checks"].as_array().unwrap().iter().find(|check| check["check"] == "clocks").unwrap();
        assert_eq!(clocks["result"], "passed", "{said}");
    }
}

/// An outcome of a minute ago waits for room behind a tree that is published as soon as there is some.
#[tokio::test]
async fn what_waited_for_room_does_not_stand_behind_a_checkpoint_that_was_cosigned_meanwhile() {
    let plant = Plant::new();
    let (log, publisher) = plant.open().await;
    publisher.publish_now().await.unwrap();
    let decision = log.append(allow(&log, "acme", "r1")).await.unwrap();
    let full = [(Step::BeforeStage, Fault::Full), (Step::BeforeCheckpoint, Fault::Full)];
    plant.set(&full);
    let ended = log.append_outcome(outcome(&log, "acme", "r1", decision.index));
    // A refusal shows that the writer has tried what was there before it.
    log.append(deny(&log, "acme", "r2")).await.unwrap_err();
    let asked = plant.asked();
    for _ in 0..5 {
        plant.clock.advance(MINUTE_MS);
        let refused = publisher.publish_now().await;
        assert!(matches!(refused, Err(PublishError::Waiting(1))), "{refused:?}");
    }
    // There is room for a checkpoint, and not for an entry.
    plant.set(&full[..1]);
    publisher.publish_now().await.unwrap_err();
    assert_eq!(plant.asked(), asked, "a witness was asked that would have dated what waits");
    assert!(log.is_healthy());
    plant.set(&[]);
    let ended = ended.await.unwrap();
    assert_eq!(publisher.publish_now().await.unwrap().size, ended.index + 1);
    log.append(deny(&log, "acme", "r3")).await.unwrap();
    publisher.stop().await.unwrap();
    log.close().await;
    plant.assert_honest();
}

/// Cosigned again and again while it cannot be kept: each time of a tree that has all that was made before.
#[tokio::test]
async fn a_checkpoint_that_could_not_be_kept_for_minutes_dates_nothing_back() {
    let plant = Plant::new();
    let (log, publisher) = plant.open().await;
    publisher.publish_now().await.unwrap();
    log.append(deny(&log, "acme", "r0")).await.unwrap();
    plant.set(&[(Step::BeforeCheckpoint, Fault::Full)]);
    for n in 0..5 {
        let refused = publisher.publish_now().await;
        assert!(matches!(refused, Err(PublishError::NotKept(audit::AppendError::Full))), "{refused:?}");
        plant.clock.advance(MINUTE_MS);
        // Behind the one that was cosigned, and before the next.
        log.append(deny(&log, "acme", &format!("m{n}"))).await.unwrap();
        plant.clock.advance(MINUTE_MS);
    }
    plant.set(&[]);
    publisher.publish_now().await.unwrap();
    log.append(deny(&log, "acme", "late")).await.unwrap();
    publisher.stop().await.unwrap();
    log.close().await;
    plant.assert_honest();
}

/// The process ends before a cosigned note is kept, behind that, and before it is named; the next start comes minutes later.
#[tokio::test]
async fn at_whichever_step_of_a_publication_the_process_ends_nothing_looks_dated_back() {
    for step in [Some(Step::BeforeCheckpoint), Some(Step::AfterCheckpoint), None] {
        let plant = Plant::new();
        let (log, publisher) = plant.open().await;
        publisher.publish_now().await.unwrap();
        let decision = log.append(allow(&log, "acme", "r1")).await.unwrap();
        let in_the_way = plant.at("published/.checkpoint.tmp");
        match step {
            Some(step) => plant.set(&[(step, Fault::Failed)]),
            None => std::fs::create_dir(&in_the_way).unwrap(),
        }
        publisher.publish_now().await.unwrap_err();
        plant.clock.advance(3 * MINUTE_MS);
        // What is made in the meantime is behind a note that was cosigned before.
        let late = log.append(deny(&log, "acme", "r2")).await;
        assert_eq!(late.is_err(), step.is_some(), "{step:?}");
        drop(publisher);
        if step.is_none() {
            log.close().await;
            std::fs::remove_dir(&in_the_way).unwrap();
        }
        drop(log);
        plant.set(&[]);
        plant.clock.advance(5 * MINUTE_MS);
        let (log, publisher) = plant.open().await;
        assert!(log.size() > decision.index);
        publisher.publish_now().await.unwrap();
        plant.clock.advance(5 * MINUTE_MS);
        log.append(deny(&log, "acme", "r3")).await.unwrap();
        publisher.stop().await.unwrap();
        log.close().await;
        plant.assert_honest();
    }
}
