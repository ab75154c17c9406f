//! A quarantine ends with the copy that was seen, and with nothing less.

use super::*;
use audit::{Log, LogOptions, PublishOptions, Publisher, Random};
use runtime::clock::SystemClock;
use std::sync::Arc;

const KEY: &str = "w1+00000000+key";

fn audit(dir: &Path) -> Audit {
    Audit::new(dir.join("audit"), String::from("plant.example/log"))
}

fn key(audit: &Audit) -> tlog::SigningKey {
    let random: Random = Arc::new(runtime::random::fill);
    audit::signer::load_or_create(audit.key.file().unwrap(), &audit.origin, &random).unwrap()
}

/// The log is opened, grows, is published and closed. Its last checkpoint.
async fn grow(audit: &Audit) -> Checkpoint {
    std::fs::create_dir_all(&audit.directory).unwrap();
    let random: Random = Arc::new(runtime::random::fill);
    let options = LogOptions::new(&audit.directory, &audit.origin, Arc::new(SystemClock), random);
    let (log, _) = Log::open(options).await.unwrap();
    let publisher = Publisher::start(&log, key(audit), PublishOptions::new(&audit.publish_directory)).await.unwrap();
    log.seal().await;
    publisher.stop().await.unwrap();
    log.close().await;
    Publication::open(&audit.publish_directory).unwrap().checkpoint().clone()
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            copy(&file.path(), &to.join(file.file_name()));
        }
    } else {
        std::fs::copy(from, to).unwrap();
    }
}

/// In place of what is there.
fn put(from: &Path, to: &Path) {
    if to.is_dir() {
        std::fs::remove_dir_all(to).unwrap()
    } else if to.exists() {
        std::fs::remove_file(to).unwrap()
    }
    copy(from, to);
}

fn witness(name: &str, seen: u64) -> Contradiction {
    Contradiction {
        by: format!("the witness `{name}`"),
        seen,
        checkpoint: None,
        key: Some(String::from(KEY)),
        stored: 1,
    }
}

fn views(confirmed: Vec<Confirmed>) -> Views {
    Views { confirmed, ..Views::default() }
}

#[tokio::test]
async fn a_quarantine_does_not_end_because_an_older_copy_was_published_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let audit = audit(dir.path());
    let guarded = async || guard(&audit, &key(&audit).into(), None, &SystemClock).await.unwrap();
    let (store, published) = (audit.directory.join("log.db"), audit.publish_directory.clone());
    grow(&audit).await;
    copy(&published, &at("published-1"));
    grow(&audit).await;
    copy(&store, &at("store-2"));
    let newest = grow(&audit).await;
    copy(&store, &at("store-3"));
    copy(&published, &at("published-3"));
    assert!(guarded().await.is_empty());
    put(&at("store-2"), &store);
    assert_eq!(guarded().await.first().map(|why| why.seen), Some(newest.size));
    // What is published is in the store now, but what was seen is not.
    put(&at("published-1"), &published);
    assert_eq!(guarded().await.first().map(|why| why.seen), Some(newest.size));
    assert!(Mark::read(&audit).unwrap().is_some());
    // Nor does it end with a store of that many entries that are others.
    std::fs::remove_file(&store).unwrap();
    std::fs::remove_dir_all(&published).unwrap();
    let mark = std::fs::read(mark_path(&audit)).unwrap();
    while grow(&audit).await.size <= newest.size {}
    assert_eq!(guarded().await.len(), 1);
    assert_eq!(std::fs::read(mark_path(&audit)).unwrap(), mark);
    put(&at("store-3"), &store);
    put(&at("published-3"), &published);
    assert!(guarded().await.is_empty());
    assert_eq!(Mark::read(&audit).unwrap(), None);
    assert!(audit.directory.join(LIFTED_FILE).exists());
}

#[tokio::test]
async fn a_mark_stays_until_each_witness_itself_confirms_as_much_as_it_has_seen() {
    let dir = tempfile::tempdir().unwrap();
    let audit = audit(dir.path());
    let first = grow(&audit).await;
    let last = grow(&audit).await;
    Mark::add(&audit, &[witness("w1", last.size)], Timestamp(0));
    Mark::add(&audit, &[witness("w2", first.size)], Timestamp(60_000));
    let mark = Mark::read(&audit).unwrap().unwrap();
    assert_eq!((mark.since.as_str(), mark.contradictions.len()), ("1970-01-01T00:00:00.000Z", 2));
    let by = |name: &str, of: &Checkpoint| Confirmed {
        by: format!("the witness `{name}`"),
        size: of.size,
        root: of.root,
        key: Some(String::from(KEY)),
    };
    let is_taken_back = async |views: &Views| mark.is_taken_back(&audit, views).await.unwrap();
    assert!(!is_taken_back(&views(vec![])).await, "silence is no confirmation");
    assert!(!is_taken_back(&views(vec![by("w1", &last), by("w3", &last)])).await, "nor is another's");
    assert!(!is_taken_back(&views(vec![by("w1", &first), by("w2", &last)])).await, "less than it has seen");
    let other_key = Confirmed { key: Some(String::from("w1+11111111+key")), ..by("w1", &last) };
    assert!(!is_taken_back(&views(vec![other_key, by("w2", &last)])).await, "another under its name");
    let not_here = Confirmed { root: first.root, ..by("w1", &last) };
    assert!(!is_taken_back(&views(vec![not_here, by("w2", &last)])).await, "of what is not here");
    let all = vec![by("w1", &last), by("w2", &last)];
    let still = Views { contradictions: vec![witness("x", 1)], ..views(all.clone()) };
    assert!(!is_taken_back(&still).await);
    assert!(is_taken_back(&views(all)).await);
    mark.lift(&audit).unwrap();
    assert_eq!(Mark::read(&audit).unwrap(), None);
}

#[test]
fn what_was_seen_once_is_not_forgotten_because_less_is_seen_now() {
    let dir = tempfile::tempdir().unwrap();
    let audit = audit(dir.path());
    let seen = |mark: &Mark| mark.contradictions.iter().map(|one| one.seen).collect::<Vec<_>>();
    Mark::add(&audit, &[witness("w1", 9)], Timestamp(0));
    assert_eq!(seen(&Mark::add(&audit, &[witness("w1", 4)], Timestamp(0))), [9]);
    assert_eq!(seen(&Mark::add(&audit, &[witness("w1", 11)], Timestamp(0))), [11]);
    let noted = |seen| Contradiction {
        by: String::from(PUBLISHED),
        checkpoint: Some(format!("note of {seen}")),
        key: None,
        ..witness("", seen)
    };
    for (size, all) in [(8, &[11, 8][..]), (6, &[11, 8, 6]), (8, &[11, 6, 8])] {
        assert_eq!(seen(&Mark::add(&audit, &[noted(size)], Timestamp(0))), all);
    }
}

#[test]
fn a_mark_that_somebody_emptied_or_took_from_another_log_is_no_permission() {
    let dir = tempfile::tempdir().unwrap();
    let audit = audit(dir.path());
    std::fs::create_dir_all(&audit.directory).unwrap();
    let said = |text: &str| {
        std::fs::write(mark_path(&audit), text).unwrap();
        Mark::read(&audit).unwrap_err().to_string()
    };
    assert!(said("").contains("changed by another"));
    let empty = Mark { origin: audit.origin.clone(), since: String::new(), contradictions: Vec::new() };
    assert!(said(&serde_json::to_string(&empty).unwrap()).contains("says nothing of the log"));
    let others = Mark { origin: String::from("x"), contradictions: vec![witness("w1", 1)], ..empty };
    assert!(said(&serde_json::to_string(&others).unwrap()).contains("says nothing of the log"));
}
