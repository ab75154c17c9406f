//! Prunings that somebody puts into the store while the broker is stopped, and what the next start holds them against.

use super::*;

/// An entry of kind `pruning` that is right in all, of the first 256 entries, unless it is changed; and the rows that go with it.
struct Forgery<'p> {
    plant: &'p Plant,
    before: Timestamp,
    days: u32,
    open: Vec<i64>,
    carried: Vec<i64>,
    last_of_acme: i64,
    /// Of its bundle as it is stored, in hexadecimal.
    hashes: String,
    /// Whether its row is put into the store.
    is_listed: bool,
}

impl<'p> Forgery<'p> {
    fn new(plant: &'p Plant) -> Self {
        let hashes = std::fs::read(plant.out.path().join("tile/0/000")).unwrap();
        Self {
            plant,
            before: Timestamp((START.millis() / DAY_MS + 1) * DAY_MS),
            days: 60,
            open: vec![],
            carried: vec![0],
            last_of_acme: 255,
            hashes: model::canonical::hex(&hashes),
            is_listed: true,
        }
    }

    /// Nobody has the log open.
    async fn put(self) {
        let numbers = |numbers: &[i64]| Value::Array(numbers.iter().copied().map(Value::int).collect());
        let place = numbers(&[self.last_of_acme, self.last_of_acme]);
        let (policy, now) = (model::Digest::of(&kept(60).text()), self.plant.clock.now());
        let mut members = Members::default();
        members.text("event", "pruned");
        members.count("first", 0);
        members.count("minimum", 256);
        members.count("count", 256);
        members.text("before", self.before.to_rfc3339());
        members.count("days", u64::from(self.days));
        members.hex("policy", &policy.0);
        members.value("organisations", &Value::object([("acme", place)]));
        members.value("open", &numbers(&self.open));
        members.value("carried", &numbers(&self.carried));
        let common = model::entry::Common { nonce: [7; 16], time: now, boot: "b".into() };
        let entry = Draft::new(Kind::Pruning, &common, None, members, vec![]).unwrap().seal(None);
        let at = self.plant.home.path();
        let reader = crate::reader::Reader::open(at).await.unwrap();
        let size = reader.head().await.unwrap().size();
        let opened = crate::recover::entry_bytes(&reader, 0).await.unwrap().unwrap();
        reader.close().await;
        intrude(at, &[entry]).await;
        let (column, log) = if matches!(at, StoreAt::Directory(_)) { ("", "") } else { ("log, ", "1, ") };
        let (hashes, opened, before) = (self.hashes, model::canonical::hex(&opened), self.before.millis());
        let mut rows = vec![
            format!("INSERT INTO leaf ({column}number, hashes) VALUES ({log}0, x'{hashes}')"),
            format!("INSERT INTO carried ({column}entry_index, bytes) VALUES ({log}0, x'{opened}')"),
            String::from("DELETE FROM bundle WHERE first_index < 256"),
        ];
        let pruning = "INSERT INTO pruning";
        rows.push(format!("{pruning} ({column}entry_index, minimum, before) VALUES ({log}{size}, 256, {before})"));
        let end = if self.is_listed { rows.len() } else { 0 };
        for sql in &rows[..end] {
            vandalise(at, sql).await;
        }
    }
}

pub async fn a_pruning_that_no_broker_would_have_written_is_not_signed_and_nothing_published_goes_by_it(stand: &Stand) {
    let young = Timestamp(START.millis() + 70 * DAY_MS);
    let midnight = |at: Timestamp| Timestamp(at.millis() / DAY_MS * DAY_MS);
    // What is changed of it, when the entries are of, in days, and why it is refused.
    type Change = fn(&mut Forgery<'_>);
    let cases: [(Change, i64, &str); 7] = [
        (|_| {}, 0, ""),
        (|_| {}, 40, "it says that all were of before 2020-11-23T00:00:00.000Z, and they were of before 2021-01-02"),
        (|of| of.hashes = "00".repeat(8192), 0, "the hashes in the place of entries 0 to 255 are not theirs"),
        (|of| of.open = vec![9], 0, "other exchanges reach over its end than it says"),
        (|of| of.carried = vec![], 0, "it does not carry entry 0 forward, on which others depend"),
        (|of| of.last_of_acme = 254, 0, "sequences of organisations stand elsewhere than it says"),
        (|of| of.is_listed = false, 0, "the entry and the store's list of such entries are not of one mind"),
    ];
    for (change, day, why) in cases {
        let (plant, log, publisher) = Plant::serving(stand).await;
        plant.day(day);
        asks_often(&log, "acme/anna", 255).await;
        plant.day(100);
        asks_often(&log, "bolt/otto", 10).await;
        plant.close(&log, &publisher).await;
        let mut forgery = Forgery::new(&plant);
        change(&mut forgery);
        forgery.put().await;
        if why.is_empty() {
            // What a broker would have written just so is taken over.
            let log = plant.open().await;
            plant.publisher(&log).await.publish_now().await.unwrap();
            assert!(!plant.published("tile/entries/000"));
            log.close().await;
            continue;
        }
        let error = plant.refused(kept(60)).await;
        assert!(matches!(error, PublishError::ForgedPruning { .. }), "{why}: {error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
        assert!(plant.published("tile/entries/000"));
    }
    // An exchange that never ended, and that the head knows of no longer.
    let (plant, log, publisher) = Plant::serving(stand).await;
    asks_often(&log, "acme/anna", 99).await;
    let open = log.append(allow(&log, "acme", "open")).await.unwrap().index;
    asks_often(&log, "acme/anna", 155).await;
    plant.day(100);
    asks_often(&log, "bolt/otto", 10).await;
    plant.close(&log, &publisher).await;
    Forgery { open: vec![open.try_into().unwrap()], ..Forgery::new(&plant) }.put().await;
    vandalise(plant.home.path(), "UPDATE head SET open = x''").await;
    let error = plant.refused(kept(60)).await;
    assert!(error.to_string().contains(&format!("the exchange of entry {open} had no outcome")), "{error}");
    // By the policy, in its own time: the clock of whoever wrote it is ahead.
    let (plant, log, publisher) = Plant::serving(stand).await;
    plant.day(70);
    asks_often(&log, "acme/anna", 255).await;
    plant.close(&log, &publisher).await;
    plant.set_ahead(3_650);
    let before = Timestamp(midnight(young).millis() + DAY_MS);
    Forgery { before, ..Forgery::new(&plant) }.put().await;
    plant.set_ahead(0);
    let error = plant.refused(kept(60)).await;
    assert!(error.to_string().contains("its policy does not reach to 2021-02-01T00:00:00.000Z yet"), "{error}");
}

pub async fn a_pruning_by_another_policy_than_is_configured_is_not_signed(stand: &Stand) {
    let (plant, log, publisher) = Plant::that_pruned(stand).await;
    // Killed before the next checkpoint.
    drop(publisher);
    let under = log.pruned().unwrap().under;
    log.close().await;
    for other in [Retention::default(), kept(3_650)] {
        let error = plant.refused(other).await;
        assert!(matches!(error, PublishError::OtherRetention { at, .. } if at == under), "{error}");
        let said = error.to_string();
        assert!(said.contains("\"entries\":{\"days\":60") && said.contains("start it once with that policy"), "{said}");
    }
    // Nor by whoever does not keep to a hold, on a person or on a company.
    for hold in ["acme/anna", "acme"] {
        let error = plant.refused(holding(60, &[hold])).await;
        assert!(matches!(error, PublishError::HeldPruning { at, .. } if at == under), "{hold}: {error}");
    }
    // Without what was published there is nothing to hold it against.
    let (bundle, aside) = (plant.out.path().join("tile/entries/001"), plant.out.path().join("aside"));
    std::fs::rename(&bundle, &aside).unwrap();
    let error = plant.refused(kept(60)).await;
    assert!(matches!(error, PublishError::NotComparedPruning { at, .. } if at == under), "{error}");
    std::fs::rename(&aside, &bundle).unwrap();
    let log = plant.open().await;
    plant.publisher(&log).await.publish_now().await.unwrap();
    assert!(!plant.published("tile/entries/001"));
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
    // It is signed now, and the policy may change.
    let log = plant.open().await;
    plant.try_publisher(&log, plant.publishing(kept(3_650))).await.unwrap();
    log.close().await;
}

pub async fn a_pruning_that_is_not_what_was_signed_is_not_believed(stand: &Stand) {
    let (plant, log, publisher) = Plant::that_pruned(stand).await;
    let under = log.pruned().unwrap().under;
    let row = log.inner.reader.bundle_of(under).await.unwrap().unwrap().first_index;
    plant.close(&log, &publisher).await;
    rewrite(plant.home.path(), row, |bytes| {
        let at = bytes.windows(9).position(|part| part == b"\"days\":60").unwrap();
        bytes[at + 8] = b'1';
    })
    .await;
    let error = plant.refused(kept(60)).await;
    assert!(matches!(error, PublishError::ForgedPruning { at, .. } if at == under), "{error}");
    assert!(error.to_string().contains("it is not what the signed checkpoint covers there"), "{error}");
}

pub async fn a_pruning_that_leaves_policies_out_by_which_was_decided_behind_is_not_signed(stand: &Stand) {
    for (carried, left_out) in [(vec![0, 2], 1), (vec![0, 1], 2)] {
        let (plant, log, publisher) = Plant::serving(stand).await;
        for number in [1, 2] {
            log.append(activates(&log, number)).await.unwrap();
        }
        asks_often(&log, "acme/anna", 253).await;
        plant.day(100);
        log.append(decides(&log, 1)).await.unwrap();
        plant.close(&log, &publisher).await;
        Forgery { carried, ..Forgery::new(&plant) }.put().await;
        let error = plant.refused(kept(60)).await;
        let why = format!("it does not carry entry {left_out} forward, on which others depend");
        assert!(error.to_string().contains(&why), "{error}");
    }
}
