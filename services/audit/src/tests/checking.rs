//! Every kind of damage is found, and found where it is.

use super::harness::*;
use super::stand::copy_dir;
use crate::fsck::{Report, check};
use crate::publish::checkpoint_path;
#[cfg(test)]
use crate::sqlite::DATABASE_FILE;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Entries 1 to 10 one by one, 11 to 40 in one bundle, a checkpoint, 41 to 60 and 61 to 340 in two, a checkpoint, 341
/// to 344 one by one without one; 345 says that the log was closed. Decision 2 has the outcome 3, decision 4 has none.
struct Plant {
    dir: Home,
    out: TempDir,
}

impl Plant {
    async fn new(stand: &Stand) -> Self {
        let plant = Self { dir: stand.home().await, out: tempfile::tempdir().unwrap() };
        let log = open(plant.dir.path()).await;
        let publisher = publisher(&log, plant.out.path()).await;
        log.append(deny(&log, "acme", "r1")).await.unwrap();
        let decision = log.append(allow(&log, "acme", "r2")).await.unwrap();
        log.append_outcome(outcome(&log, "acme", "r2", decision.index)).await.unwrap();
        log.append(allow(&log, "cresta", "r4")).await.unwrap();
        for _ in 5..=10 {
            fill_one_bundle(&log, 1).await;
        }
        fill_one_bundle(&log, 30).await;
        assert_eq!(publisher.publish_now().await.unwrap().size, 41);
        fill_one_bundle(&log, 20).await;
        fill_one_bundle(&log, 280).await;
        assert_eq!(publisher.publish_now().await.unwrap().size, 341);
        for _ in 341..=344 {
            fill_one_bundle(&log, 1).await;
        }
        log.close().await;
        plant
    }

    /// The same plant in other directories.
    async fn copy(&self, stand: &Stand) -> Self {
        let copy = Self { dir: stand.copy(&self.dir).await, out: tempfile::tempdir().unwrap() };
        copy_dir(self.out.path(), copy.out.path());
        copy
    }

    async fn check(&self, published: bool) -> Report {
        check(self.dir.path(), published.then(|| self.out.path()), |_, _| {}).await.unwrap()
    }

    fn published(&self, path: &str) -> PathBuf {
        self.out.path().join(path)
    }
}

fn texts(report: &Report) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

pub async fn a_sound_log_has_no_findings(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let mut heard = Vec::new();
    let report = check(plant.dir.path(), Some(plant.out.path()), |done, of| heard.push((done, of))).await.unwrap();
    assert_eq!((texts(&report), report.entries, report.checkpoints), (vec![], 346, 2));
    assert_eq!(heard.last(), Some(&(346, 346)));
    assert_eq!(texts(&plant.check(false).await), Vec::<String>::new());
    // And while it is running.
    let log = open(plant.dir.path()).await;
    let publisher = publisher(&log, plant.out.path()).await;
    fill(&log, 30).await;
    assert_eq!(texts(&plant.check(true).await), Vec::<String>::new());
    publisher.publish_now().await.unwrap();
    assert_eq!(texts(&plant.check(true).await), Vec::<String>::new());
    log.close().await;
}

/// What is done to the store, what a check of the store alone says, and what it says with the published files.
const DAMAGES: &[(&str, &[&str], &[&str])] = &[
    // --- a byte flipped
    (
        "UPDATE bundle SET bytes = CAST(substr(bytes, 1, 99) || x'58' || substr(bytes, 101) AS BLOB) WHERE first_index = 7",
        &[
            "entry 7: the bundle does not have its digest: at least one entry was changed",
            "entry 7: this one does not have the form of an entry: member `nonce` is missing or ill-typed",
        ],
        &["entry 7: the entry was changed: neither digest nor tile has its hash"],
    ),
    (
        "UPDATE bundle SET bytes = CAST(substr(bytes, 1, 9999) || x'58' || substr(bytes, 10001) AS BLOB) WHERE first_index = 61",
        &["entries 61 to 340: the bundle does not have its digest: at least one entry was changed"],
        &["entry 108: the entry was changed: neither digest nor tile has its hash"],
    ),
    (
        "UPDATE bundle SET bytes = CAST(x'FFFF' || substr(bytes, 3) AS BLOB) WHERE first_index = 41",
        &["entries 41 to 60: the bundle's lengths do not fit: it was changed"],
        &["entries 41 to 60: the bundle's lengths do not fit: it was changed"],
    ),
    (
        "UPDATE bundle SET sha256 = zeroblob(32) WHERE first_index = 41",
        &["entries 41 to 60: the bundle does not have its digest: at least one entry was changed"],
        &["entries 41 to 60: the stored digest of the bundle was changed; its entries are as published"],
    ),
    // --- rows
    (
        "DELETE FROM bundle WHERE first_index = 11",
        &["entries 11 to 40: they are missing"],
        &["entries 11 to 40: they are missing"],
    ),
    (
        "DELETE FROM bundle WHERE first_index IN (0, 5, 6, 344)",
        &["entry 0: they are missing", "entries 5 to 6: they are missing", "entry 344: they are missing"],
        &["entry 0: they are missing", "entries 5 to 6: they are missing", "entry 344: they are missing"],
    ),
    (
        "DELETE FROM bundle WHERE first_index >= 342",
        &["entries 342 to 345: they are missing"],
        &["entries 342 to 345: they are missing"],
    ),
    ("DELETE FROM bundle", &["entries 0 to 345: they are missing"], &["entries 0 to 345: they are missing"]),
    // --- the head, and what goes with it
    (
        "UPDATE head SET root = zeroblob(32)",
        &[
            "entries 341 to 345: the head's range does not have the head's root",
            "entries 341 to 345: they do not have the head's root",
        ],
        &[
            "entries 341 to 345: the head's range does not have the head's root",
            "entries 341 to 345: they do not have the head's root",
        ],
    ),
    (
        "UPDATE head SET open = x''",
        &["entry 4: an allowed decision without an outcome, and the head does not call it open"],
        &["entry 4: an allowed decision without an outcome, and the head does not call it open"],
    ),
    (
        "UPDATE head SET open = x'0401'",
        &["entry 5: the head calls it open, and it is not an open decision"],
        &["entry 5: the head calls it open, and it is not an open decision"],
    ),
    (
        "UPDATE organisation SET sequence = sequence + 1 WHERE id = 'cresta'",
        &["entry 4: the stored state of `cresta` is not that of its last entry"],
        &["entry 4: the stored state of `cresta` is not that of its last entry"],
    ),
    // --- checkpoints
    (
        "UPDATE checkpoint SET range = (SELECT zeroblob(length(range))) WHERE size = 41",
        &["entries 0 to 40: the range stored with the checkpoint of size 41 does not have its root"],
        &["entries 0 to 40: the range stored with the checkpoint of size 41 does not have its root"],
    ),
    (
        "UPDATE checkpoint SET note = (SELECT note FROM checkpoint WHERE size = 341) WHERE size = 41",
        &["entries 0 to 40: the stored checkpoint of size 41 is not one of that size"],
        &[
            "entries 0 to 40: the published checkpoint of size 41 is not the stored one",
            "entries 0 to 40: the stored checkpoint of size 41 is not one of that size",
        ],
    ),
    (
        "DELETE FROM checkpoint WHERE size = 341",
        &[],
        &["entries 0 to 340: a checkpoint of size 341 is published, and the store has none"],
    ),
    (
        "UPDATE checkpoint SET size = 400 WHERE size = 341",
        &["entries 346 to 399: a checkpoint was signed at size 400, and they are gone"],
        &[
            "entries 346 to 399: a checkpoint was signed at size 400, and they are gone",
            "entries 0 to 340: a checkpoint of size 341 is published, and the store has none",
        ],
    ),
];

pub async fn damage_of_the_store_is_found_where_it_is(stand: &Stand) {
    let sound = Plant::new(stand).await;
    for (sql, alone, with_published) in DAMAGES {
        let plant = sound.copy(stand).await;
        vandalise(plant.dir.path(), sql).await;
        assert_eq!(texts(&plant.check(false).await), *alone, "{sql}");
        assert_eq!(texts(&plant.check(true).await), *with_published, "{sql}");
    }
}

pub async fn a_careful_forger_is_found_by_the_next_checkpoint(stand: &Stand) {
    let plant = Plant::new(stand).await;
    // The digest is made to fit.
    forge(plant.dir.path(), 41).await;
    let report = plant.check(false).await;
    assert_eq!(texts(&report), ["entries 41 to 340: they do not have the root that was signed at size 341"]);
    let report = plant.check(true).await;
    assert_eq!(
        texts(&report),
        [
            "entry 41: the published tile of level 0 does not have its hash",
            "entry 41: the published entry is not the stored one",
            "entries 0 to 255: the published tile of level 1 does not have their hash",
            "entries 41 to 340: they do not have the root that was signed at size 341",
        ]
    );
    // Behind the last checkpoint only the head is left to contradict.
    let plant = Plant::new(stand).await;
    forge(plant.dir.path(), 342).await;
    assert_eq!(texts(&plant.check(true).await), ["entries 341 to 345: they do not have the head's root"]);
}

/// Turns a `deny` of the first entry of a bundle into something else of the same length, and corrects the digest.
async fn forge(dir: &StoreAt, first_index: u64) {
    rewrite(dir, first_index, |bytes| {
        let at = bytes.windows(6).position(|w| w == b"\"deny\"").unwrap();
        bytes[at + 1..at + 5].copy_from_slice(b"Deny");
    })
    .await;
}

pub async fn what_a_start_says_that_it_found_is_held_against_the_log(stand: &Stand) {
    let (home, out) = (stand.home().await, tempfile::tempdir().unwrap());
    let log = open(home.path()).await;
    let publisher = publisher(&log, out.path()).await;
    log.append(allow(&log, "acme", "r1")).await.unwrap();
    assert_eq!(publisher.stop().await.unwrap().size, 2);
    fill_one_bundle(&log, 2).await;
    // It ends without a word: one exchange is open, and two entries are under no checkpoint.
    drop((log, publisher));
    let log = loop {
        match crate::Log::open(options(home.path())).await {
            Ok((log, _)) => break log,
            Err(crate::OpenError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    log.close().await;
    let texts = async |home: &Home| texts(&check(home.path(), None::<&Path>, |_, _| {}).await.unwrap());
    assert_eq!(texts(&home).await, Vec::<String>::new());
    for (from, to, expected) in [
        (
            "\"unknown_outcomes\":1",
            "\"unknown_outcomes\":3",
            "its `unknown_outcomes` says 3, and 1 outcomes stand before it",
        ),
        (
            "\"unsigned\":2",
            "\"unsigned\":0",
            "its `unsigned` says 0, and the last checkpoint before it is of 2 entries",
        ),
        ("\"size\":4", "\"size\":5", "its `size` says 5, and the log had 4 entries when it was opened"),
        (
            "unknown_after_crash",
            "another_after_crash",
            "its `size` says 4, and the log had 5 entries when it was opened",
        ),
    ] {
        let doctored = stand.copy(&home).await;
        rewrite(doctored.path(), 4, |bytes| {
            let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        })
        .await;
        let found = texts(&doctored).await;
        assert!(found.contains(&format!("entry 5: {expected}")), "{from}: {found:?}");
    }
}

#[cfg(test)]
#[tokio::test]
async fn a_byte_flipped_in_the_file_is_found() {
    let plant = Plant::new(&Stand::Sqlite).await;
    let path = plant.dir.directory().join(DATABASE_FILE);
    let mut file = fs::read(&path).unwrap();
    let at = file.windows(12).position(|w| w == b"\"request\":\"r").unwrap();
    file[at] ^= 1;
    fs::write(&path, file).unwrap();
    let report = plant.check(true).await;
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert!(report.findings[0].what.starts_with("the entry was changed"), "{report:?}");
}

#[cfg(test)]
#[tokio::test]
async fn pages_that_the_database_cannot_read_are_passed_over() {
    let plant = Plant::new(&Stand::Sqlite).await;
    let path = plant.dir.directory().join(DATABASE_FILE);
    let mut file = fs::read(&path).unwrap();
    // Overwrites every page that holds part of the bundle with 280 entries.
    for page in file.chunks_mut(4096) {
        if page.windows(12).any(|w| w == b"\"request\":\"o") && page.windows(6).any(|w| w == b"one200") {
            page.fill(0xff);
        }
    }
    fs::write(&path, file).unwrap();
    let report = plant.check(true).await;
    assert!(!report.findings.is_empty());
    assert!(report.findings.iter().all(|f| f.first_index >= 61 && f.last_index <= 340), "{report:?}");
}

pub async fn damage_of_published_files_is_found_where_it_is(stand: &Stand) {
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let plant = Plant::new(stand).await;
    flip(&plant.published("tile/0/000"), 32 * 9);
    assert_eq!(texts(&plant.check(true).await), ["entry 9: the published tile of level 0 does not have its hash"]);
    flip(&plant.published("tile/0/000"), 32 * 9);
    flip(&plant.published("tile/1/000.p/1"), 3);
    let level_1 = "entries 0 to 255: the published tile of level 1 does not have their hash";
    assert_eq!(texts(&plant.check(true).await), [level_1]);
    flip(&plant.published("tile/1/000.p/1"), 3);
    flip(&plant.published("tile/entries/001.p/85"), 40);
    assert_eq!(texts(&plant.check(true).await), ["entry 256: the published entry is not the stored one"]);
    fs::remove_file(plant.published("tile/entries/001.p/85")).unwrap();
    assert_eq!(texts(&plant.check(true).await), ["entries 256 to 340: `tile/entries/001.p/85` is missing"]);
    fs::remove_file(plant.published("tile/0/001.p/85")).unwrap();
    fs::write(plant.published(&checkpoint_path(41)), "other").unwrap();
    fs::remove_file(plant.published(&checkpoint_path(341))).unwrap();
    assert_eq!(
        texts(&plant.check(true).await),
        [
            "entries 0 to 40: the published checkpoint of size 41 is not the stored one",
            "entries 256 to 340: `tile/0/001.p/85` is missing",
            "entries 256 to 340: `tile/entries/001.p/85` is missing",
            "entries 0 to 340: the checkpoint of size 341 is not published",
        ]
    );
    fs::remove_file(plant.published("checkpoint")).unwrap();
    let report = plant.check(true).await;
    assert!(report.findings[0].what.starts_with("the published `checkpoint` cannot be read"), "{report:?}");
}

pub async fn a_store_that_was_set_back_is_found_by_what_is_published(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let older = stand.home().await;
    let log = open(older.path()).await;
    fill_one_bundle(&log, 4).await;
    log.close().await;
    let report = check(older.path(), Some(plant.out.path()), |_, _| {}).await.unwrap();
    let cut = "they are published, and the store does not have them: it was cut or restored from an older copy";
    assert!(texts(&report).contains(&format!("entries 6 to 340: {cut}")), "{report:?}");
}

#[cfg(test)]
#[tokio::test]
async fn there_must_be_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let error = check(dir.path(), None, |_, _| {}).await.unwrap_err();
    assert!(error.to_string().contains("log.db"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "looking creates nothing");
}
