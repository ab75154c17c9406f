//! One key takes the place of another, and the log says so before anybody needs to know.

use super::harness::*;
use super::stand::Stand;
use crate::keys::{self, Event, KeyPlace, KeyPlaces, Keys};
use crate::{Log, PublishError, PublishOptions, Publisher, Random, StoreAt, signer};
use model::Value;
use model::entry::{Common, Draft, Entry, Kind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tlog::{Checkpoint, VerifierKey};

/// Key files of a log, by number.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for n in 1..=4_u8 {
            let random: Random = Arc::new(move |bytes| bytes.fill(n));
            signer::create(&dir.path().join(n.to_string()), ORIGIN, &random).unwrap();
        }
        Self { dir }
    }

    fn path(&self, n: u8) -> PathBuf {
        self.dir.path().join(n.to_string())
    }

    fn keys(&self, current: u8, next: Option<u8>, previous: &[u8]) -> Keys {
        let files = KeyPlaces {
            current: KeyPlace::File(self.path(current)),
            next: next.map(|n| KeyPlace::File(self.path(n))),
            previous: previous.iter().map(|n| self.path(*n)).collect(),
        };
        Keys::load(&files, ORIGIN, &(Arc::new(|_: &mut [u8]| {}) as Random)).unwrap()
    }

    fn public(&self, n: u8) -> VerifierKey {
        signer::load_public(&self.path(n), ORIGIN).unwrap()
    }
}

async fn start(log: &Log, out: &Path, keys: Keys) -> Result<Publisher, PublishError> {
    let options = PublishOptions { interval_ms: 3_600_000, ..PublishOptions::new(out) };
    Publisher::start(log, keys, options).await
}

/// One run of the log with these keys: the checkpoint that it ends with.
async fn run(dir: &StoreAt, out: &Path, keys: Keys) -> Result<String, PublishError> {
    let log = open(dir).await;
    let published = match start(&log, out, keys).await {
        Ok(publisher) => {
            fill(&log, 3).await;
            publisher.publish_now().await
        }
        Err(error) => Err(error),
    };
    log.close().await;
    published.map(|published| published.note)
}

/// What the log says of its keys: event, key, and whether it is under a checkpoint that `under` has signed.
async fn told(dir: &StoreAt) -> Vec<(u64, Event, VerifierKey)> {
    let entries: Vec<Entry> = read_all(dir).await.entries;
    let told =
        (0..).zip(&entries).filter_map(|(index, entry)| keys::read(entry).map(|(event, key)| (index, event, key)));
    told.collect()
}

fn signers(note: &str) -> Vec<u32> {
    tlog::note::Note::parse(note).unwrap().signatures.iter().map(|signature| signature.key_id).collect()
}

pub async fn a_new_key_is_announced_signs_beside_the_old_one_and_then_alone(stand: &Stand) {
    let (dir, out, files) = (stand.home().await, tempfile::tempdir().unwrap(), Files::new());
    let (dir, out) = (dir.path(), out.path());
    let [old, new] = [1, 2].map(|n| files.public(n));
    run(dir, out, files.keys(1, None, &[])).await.unwrap();
    // More than one run may pass meanwhile: it is said once.
    for _ in 0..2 {
        let both = run(dir, out, files.keys(1, Some(2), &[])).await.unwrap();
        assert_eq!(signers(&both), [old.key_id(), new.key_id()], "the old one first");
        let known = [old.clone()];
        let (checkpoint, _) = Checkpoint::open_any(&both, &known).unwrap();
        let told = told(dir).await;
        let [(at, Event::Announced, announced)] = told.as_slice() else { panic!("{told:?}") };
        assert!(*announced == new && *at < checkpoint.size, "the old key vouches for the new one: {at}");
    }
    for _ in 0..2 {
        let alone = run(dir, out, files.keys(2, None, &[1])).await.unwrap();
        assert_eq!(signers(&alone), [new.key_id()]);
        let told = told(dir).await;
        let [_, (at, Event::Retired, retired)] = told.as_slice() else { panic!("{told:?}") };
        assert!(*retired == old && *at < Checkpoint::open(&alone, &new).unwrap().size);
    }
}

pub async fn a_key_that_was_retired_does_not_come_back(stand: &Stand) {
    let (dir, out, files) = (stand.home().await, tempfile::tempdir().unwrap(), Files::new());
    let (dir, out) = (dir.path(), out.path());
    run(dir, out, files.keys(1, Some(2), &[])).await.unwrap();
    for _ in 0..2 {
        run(dir, out, files.keys(2, None, &[1])).await.unwrap();
    }
    let before = told(dir).await;
    let error = run(dir, out, files.keys(1, None, &[2])).await.unwrap_err();
    assert!(matches!(error, PublishError::NotAnnounced { .. }), "{error}");
    let error = run(dir, out, files.keys(2, Some(1), &[])).await.unwrap_err();
    assert!(matches!(error, PublishError::Retired { at, .. } if at == before[1].0), "{error}");
    assert_eq!(told(dir).await, before, "nothing was said that verifiers would have to refuse");
}

pub async fn a_key_that_was_not_announced_does_not_sign(stand: &Stand) {
    let (dir, out, files) = (stand.home().await, tempfile::tempdir().unwrap(), Files::new());
    let (dir, out) = (dir.path(), out.path());
    run(dir, out, files.keys(1, None, &[])).await.unwrap();
    let before = read_all(dir).await.entries.len();
    let error = run(dir, out, files.keys(2, None, &[1])).await.unwrap_err();
    assert!(matches!(error, PublishError::NotAnnounced { .. }), "{error}");
    let error = run(dir, out, files.keys(2, None, &[])).await.unwrap_err();
    assert!(matches!(error, PublishError::OtherKey(_)), "{error}");
    let told = told(dir).await;
    assert!(told.is_empty() && read_all(dir).await.entries.len() > before, "{told:?}");
}

pub async fn a_key_is_announced_before_it_signs_also_when_the_process_ends_in_between(stand: &Stand) {
    let (dir, out, files) = (stand.home().await, tempfile::tempdir().unwrap(), Files::new());
    let (dir, out) = (dir.path(), out.path());
    run(dir, out, files.keys(1, None, &[])).await.unwrap();
    // Announced, and ended before a checkpoint.
    let log = open(dir).await;
    start(&log, out, files.keys(1, Some(2), &[])).await.unwrap();
    log.close().await;
    let error = run(dir, out, files.keys(2, None, &[1])).await.unwrap_err();
    assert!(matches!(error, PublishError::NotAnnounced { .. }), "nothing that the old key signed says it: {error}");
    run(dir, out, files.keys(1, Some(2), &[])).await.unwrap();
    assert_eq!(told(dir).await.len(), 1, "it is not said twice");
    // Retired, and ended before a checkpoint: there is no way back.
    let log = open(dir).await;
    start(&log, out, files.keys(2, None, &[1])).await.unwrap();
    log.close().await;
    let error = run(dir, out, files.keys(1, Some(2), &[])).await.unwrap_err();
    assert!(matches!(error, PublishError::Retired { .. }), "{error}");
    run(dir, out, files.keys(2, None, &[1])).await.unwrap();
    assert_eq!(told(dir).await.len(), 2);
}

pub async fn a_key_that_was_announced_is_withdrawn_by_name(stand: &Stand) {
    let (dir, out, files) = (stand.home().await, tempfile::tempdir().unwrap(), Files::new());
    let (dir, out) = (dir.path(), out.path());
    run(dir, out, files.keys(1, Some(2), &[])).await.unwrap();
    let error = run(dir, out, files.keys(1, None, &[])).await.unwrap_err();
    assert!(matches!(error, PublishError::UnknownKey(id) if id == files.public(2).key_id()), "{error}");
    let note = run(dir, out, files.keys(1, Some(3), &[2])).await.unwrap();
    assert_eq!(signers(&note), [1, 3].map(|n| files.public(n).key_id()));
    let told: Vec<_> = told(dir).await.into_iter().map(|(_, event, key)| (event, key)).collect();
    let expected = [(Event::Announced, 2), (Event::Retired, 2), (Event::Announced, 3)];
    assert_eq!(told, expected.map(|(event, n)| (event, files.public(n))));
}

/// An entry as somebody makes it who can write to the store.
fn forged(event: &'static str, about: &VerifierKey, signer: &VerifierKey) -> Vec<u8> {
    let members = [
        ("event", Value::text(event)),
        ("key", Value::text(about.to_text())),
        ("signer", Value::text(signer.to_text())),
    ];
    let common = Common { nonce: [66; 16], time: START.plus_millis(3_600_000), boot: "b".into() };
    Draft::new(Kind::Key, &common, None, members, vec![]).unwrap().seal(None)
}

pub async fn a_key_that_nobody_here_has_is_retired_before_it_counts(stand: &Stand) {
    let (dir, out, files) = (stand.home().await, tempfile::tempdir().unwrap(), Files::new());
    let (dir, out) = (dir.path(), out.path());
    let [own, evil] = [1, 4].map(|n| files.public(n));
    run(dir, out, files.keys(1, None, &[])).await.unwrap();
    // While the broker is stopped, nobody can tell it from what it had not signed yet.
    intrude(dir, &[forged("announced", &evil, &own)]).await;
    let note = run(dir, out, files.keys(1, None, &[])).await.unwrap();
    let told = told(dir).await;
    let [(announced, Event::Announced, first), (retired, Event::Retired, second)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!((first, second, signers(&note)), (&evil, &evil, vec![own.key_id()]));
    // No checkpoint covers the one without the other.
    let log = open(dir).await;
    let rows = log.inner.reader.checkpoints_after(None).await.unwrap();
    let sizes: Vec<u64> = rows.iter().map(|row| row.range.size()).collect();
    assert!(sizes.iter().all(|size| size <= announced || size > retired), "{sizes:?} {announced} {retired}");
    assert!(sizes.iter().any(|size| size > retired), "{sizes:?}");
    log.close().await;
    // That entries were taken over without a signature stands in the log: the one that closed it, and the forged one.
    let opened = read_all(dir).await.entries;
    let opened: Vec<_> = opened.iter().filter(|entry| entry.text("event") == Some("opened")).collect();
    let unsigned: Vec<_> = opened.iter().map(|entry| entry.get("unsigned").and_then(Value::as_int)).collect();
    assert_eq!(unsigned, [None, Some(2), Some(1)]);
}

pub async fn an_announcement_that_was_signed_is_found_in_a_store_of_before_too(stand: &Stand) {
    for of_before in [None, Some(true), Some(false)] {
        let (dir, out, files) = (stand.home().await, tempfile::tempdir().unwrap(), Files::new());
        let (dir, out) = (dir.path(), out.path());
        let [own, evil] = [1, 4].map(|n| files.public(n));
        run(dir, out, files.keys(1, None, &[])).await.unwrap();
        let log = open(dir).await;
        let publisher = start(&log, out, files.keys(1, None, &[])).await.unwrap();
        let members = [
            ("event", Value::text("announced")),
            ("key", Value::text(evil.to_text())),
            ("signer", Value::text(own.to_text())),
        ];
        log.append(Draft::new(Kind::Key, &log.common(), None, members, vec![]).unwrap()).await.unwrap();
        fill(&log, 3).await;
        publisher.publish_now().await.unwrap();
        log.close().await;
        if let Some(is_indexed) = of_before {
            forget_keys(dir, is_indexed).await;
        }
        for _ in 0..2 {
            run(dir, out, files.keys(1, None, &[])).await.unwrap();
            let told: Vec<_> = told(dir).await.into_iter().map(|(_, event, key)| (event, key)).collect();
            assert_eq!(told, [(Event::Announced, evil.clone()), (Event::Retired, evil.clone())]);
        }
    }
}

/// In SQLite, where anybody who has the file can write to it.
#[cfg(test)]
#[tokio::test]
async fn the_list_of_changes_of_keys_says_what_the_log_says() {
    let (home, out, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Files::new());
    let dir = &StoreAt::from(home.path());
    let listed = async || {
        let findings = crate::fsck::check(dir, None, |_, _| {}).await.unwrap().findings;
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        (crate::reader::Reader::open(home.path()).await.unwrap().key_entries().await.unwrap(), findings)
    };
    run(dir, out.path(), files.keys(1, Some(2), &[])).await.unwrap();
    run(dir, out.path(), files.keys(2, None, &[1])).await.unwrap();
    let (keys, findings) = listed().await;
    let told = told(dir).await;
    assert_eq!(told.len(), 2, "announced and retired: {told:?}");
    assert_eq!((keys, findings), (Some(told.iter().map(|(index, ..)| *index).collect()), Vec::new()));
    let [first, second] = [told[0].0, told[1].0];
    vandalise(home.path(), &format!("UPDATE key_entry SET entry_index = 0 WHERE entry_index = {first}")).await;
    let (_, findings) = listed().await;
    let expected = [
        format!("entry {first}: it is a change of keys, and the store does not list it as one"),
        String::from("entry 0: the store lists it as a change of keys, and it is none"),
    ];
    assert_eq!(findings, expected);
    // A program that does not know the list writes an entry, and makes the index by which it finds such.
    // What it prunes it leaves in the list.
    let before =
        "DELETE FROM key_entry; INSERT INTO key_entry VALUES (0); CREATE INDEX bundle_of_keys ON bundle (first_index)
                  WHERE instr(bytes, x'6b696e64223a226b657922') > 0";
    vandalise(home.path(), before).await;
    assert_eq!(listed().await.0, None, "it is not relied on");
    open(dir).await.close().await;
    assert_eq!(listed().await, (Some(vec![first, second]), Vec::new()));
}

pub async fn an_announcement_before_the_first_checkpoint_is_not_forgotten(stand: &Stand) {
    let (dir, out, files) = (stand.home().await, tempfile::tempdir().unwrap(), Files::new());
    let (dir, out) = (dir.path(), out.path());
    let log = open(dir).await;
    start(&log, out, files.keys(1, Some(2), &[])).await.unwrap();
    log.close().await;
    let note = run(dir, out, files.keys(1, None, &[])).await.unwrap();
    assert_eq!(signers(&note), [files.public(1).key_id()]);
    let told: Vec<_> = told(dir).await.into_iter().map(|(_, event, key)| (event, key)).collect();
    assert_eq!(told, [Event::Announced, Event::Retired].map(|event| (event, files.public(2))));
}

pub async fn what_no_broker_says_of_keys_is_not_signed(stand: &Stand) {
    let foreign = tlog::SigningKey::generate("elsewhere.example/log", [4; 32]).unwrap();
    for case in 0..3 {
        let (dir, out, files) = (stand.home().await, tempfile::tempdir().unwrap(), Files::new());
        let (dir, out) = (dir.path(), out.path());
        let own = files.public(1);
        let before = run(dir, out, files.keys(1, None, &[])).await.unwrap();
        let entry = match case {
            0 => forged("blessed", &files.public(4), &own),
            1 => forged("announced", foreign.verifier(), &own),
            _ => forged("retired", &own, &files.public(4)),
        };
        intrude(dir, &[entry]).await;
        for _ in 0..2 {
            let error = run(dir, out, files.keys(1, None, &[])).await.unwrap_err();
            let expected = match case {
                2 => matches!(error, PublishError::Retired { .. }),
                _ => matches!(error, PublishError::Forged { .. }),
            };
            assert!(expected, "{case}: {error}");
            let published = std::fs::read_to_string(out.join(crate::publish::CHECKPOINT_FILE)).unwrap();
            assert_eq!(published, before, "nothing more was signed");
        }
    }
}

pub async fn one_key_has_one_place(_: &Stand) {
    let files = Files::new();
    let of = |next: Option<u8>, previous: &[u8]| KeyPlaces {
        current: KeyPlace::File(files.path(1)),
        next: next.map(|n| KeyPlace::File(files.path(n))),
        previous: previous.iter().map(|n| files.path(*n)).collect(),
    };
    let load = |of: &KeyPlaces| Keys::load(of, ORIGIN, &(Arc::new(|_: &mut [u8]| {}) as Random));
    std::fs::copy(files.path(1), files.path(9)).unwrap();
    std::fs::write(files.path(8), format!("{}\n", files.public(4).to_text())).unwrap();
    for bad in [of(Some(9), &[]), of(Some(2), &[2]), of(None, &[9]), of(None, &[4, 8])] {
        let error = load(&bad).unwrap_err();
        assert!(matches!(error, signer::SignerError::Twice { .. }), "{bad:?}: {error}");
    }
    assert_eq!(load(&of(None, &[8])).unwrap().known().previous(), [files.public(4)], "the public key is enough");
    let error = load(&of(Some(8), &[])).unwrap_err();
    assert!(matches!(error, signer::SignerError::Form { .. }), "a public key signs nothing: {error}");
    let error = load(&of(Some(7), &[])).unwrap_err();
    assert!(matches!(error, signer::SignerError::File { .. }), "the next one is never made: {error}");
    assert!(!files.path(7).exists());
    assert!(signer::create(&files.path(1), ORIGIN, &(Arc::new(|_: &mut [u8]| {}) as Random)).is_err());
}
