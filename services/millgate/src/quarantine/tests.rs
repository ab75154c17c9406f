//! A quarantine ends with the copy that was seen, and with nothing less.

use super::*;
use audit::keys::KeyPlace;
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
    grow_with(audit, key(audit).into()).await
}

async fn grow_with(audit: &Audit, keys: Keys) -> Checkpoint {
    std::fs::create_dir_all(&audit.directory).unwrap();
    let random: Random = Arc::new(runtime::random::fill);
    let options = LogOptions::new(&audit.directory, &audit.origin, Arc::new(SystemClock), random);
    let (log, _) = Log::open(options).await.unwrap();
    let publisher = Publisher::start(&log, keys, PublishOptions::new(&audit.publish_directory)).await.unwrap();
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
    let guarded = async || guard(&audit, &key(&audit).into(), None, &SystemClock).await.unwrap().why;
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
    for file in ["log.db", "log.db-wal", "log.db-shm"] {
        let _ = std::fs::remove_file(audit.directory.join(file));
    }
    assert!(!store.exists());
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
    let keys = Keys::from(key(&audit));
    let is_taken_back = async |views: &Views| mark.is_taken_back(&audit, &keys, views).await.unwrap();
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

#[test]
fn a_mark_that_cannot_be_read_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let audit = audit(dir.path());
    std::fs::create_dir_all(&audit.directory).unwrap();
    for (n, text) in [(1, "{\"origin\":"), (2, "")] {
        std::fs::write(mark_path(&audit), text).unwrap();
        Mark::add(&audit, &[witness("w1", 9)], Timestamp(0));
        let aside = audit.directory.join(format!("quarantine.damaged-{n}.json"));
        assert_eq!(std::fs::read_to_string(aside).unwrap(), text);
        assert_eq!(Mark::read(&audit).unwrap().unwrap().contradictions, [witness("w1", 9)]);
    }
}

/// What is kept in a sink, as of one day.
fn keep(audit: &Audit, notes: &[String]) {
    let dir = &audit.sinks.directories[0];
    std::fs::create_dir_all(dir).unwrap();
    let records = notes.iter().map(|note| format!("\n=== 2026-11-22T00:00:00.000Z {}\n{note}", note.len()));
    std::fs::write(dir.join("plant.example%2Flog.2026-11-22.checkpoints"), records.collect::<String>()).unwrap();
}

#[tokio::test]
async fn a_stolen_key_that_was_retired_stops_nobody_through_a_sink() {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = audit(dir.path());
    audit.sinks.directories = vec![dir.path().join("mount")];
    let signing = |n: u8| tlog::SigningKey::generate(&audit.origin, [n; 32]).unwrap();
    let file = |n: u8| {
        let path = dir.path().join(format!("{n}.key"));
        std::fs::write(&path, signing(n).to_text()).unwrap();
        path
    };
    let keys = |current: u8, next: Option<u8>, previous: &[u8]| {
        let (next, previous) = (next.map(file), previous.iter().map(|n| file(*n)).collect());
        let current = KeyPlace::File(file(current));
        let places = audit::keys::KeyPlaces { current, next: next.map(KeyPlace::File), previous };
        Keys::load(&places, &audit.origin, &(Arc::new(runtime::random::fill) as Random)).unwrap()
    };
    grow_with(&audit, keys(1, None, &[])).await;
    let both = grow_with(&audit, keys(1, Some(2), &[])).await;
    copy(&audit.directory.join("log.db"), &dir.path().join("before"));
    copy(&audit.publish_directory, &dir.path().join("published-before"));
    let alone = grow_with(&audit, keys(2, None, &[1])).await;
    let guarded = async || guard(&audit, &keys(2, None, &[1]), None, &SystemClock).await.unwrap().why;
    let genuine = std::fs::read_to_string(audit.publish_directory.join("checkpoint")).unwrap();
    let note = |size: u64, by: u8| Checkpoint::new(&audit.origin, size, Hash([7; 32])).sign(&signing(by)).unwrap();

    keep(&audit, &[note(1_000_000_000, 1), genuine.clone(), note(alone.size + 5, 1)]);
    assert_eq!(guarded().await, [], "the log's own note is compared, and holds");
    // Also where a mark was made of it before.
    let stopped = Contradiction {
        by: String::from("the sink `mount`"),
        checkpoint: Some(note(1_000_000_000, 1)),
        key: None,
        ..witness("", 1_000_000_000)
    };
    Mark::add(&audit, std::slice::from_ref(&stopped), Timestamp(0));
    assert_eq!(guarded().await, []);
    assert_eq!(Mark::read(&audit).unwrap(), None);
    // What the key signs that is not retired, and what the retired one signed before, says what it always said.
    for (counts, seen) in [(note(alone.size + 9, 2), alone.size + 9), (note(both.size - 1, 1), both.size - 1)] {
        keep(&audit, &[note(1_000_000_000, 1), counts]);
        let why: Vec<u64> = guarded().await.iter().map(|why| why.seen).collect();
        assert_eq!(why, [seen]);
        std::fs::remove_file(mark_path(&audit)).unwrap();
    }
    // A store that does not know yet that the key is retired cannot tell.
    put(&dir.path().join("before"), &audit.directory.join("log.db"));
    put(&dir.path().join("published-before"), &audit.publish_directory);
    keep(&audit, &[note(1_000_000_000, 1)]);
    assert_eq!(guarded().await.len(), 1);
}

#[tokio::test]
async fn an_operator_ends_a_quarantine_that_nobody_signed_and_the_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let audit = audit(dir.path());
    let last = grow(&audit).await;
    let guarded = async || guard(&audit, &key(&audit).into(), None, &SystemClock).await.unwrap();
    let said = |seen| witness("w1", seen);
    Mark::add(&audit, &[said(99_999_999)], Timestamp(0));
    assert_eq!(guarded().await.why, [said(99_999_999)]);
    let mark = || Mark::read(&audit).unwrap().unwrap();
    Lift::put(&audit, mark(), "the witness was set up wrongly", Timestamp(60_000)).unwrap();
    // It is good for what it was given for.
    Mark::add(&audit, &[witness("w2", last.size + 1)], Timestamp(120_000));
    assert_eq!(guarded().await.why.len(), 2);
    let lift = Lift::put(&audit, mark(), "both were set up wrongly", Timestamp(180_000)).unwrap();
    let again = guarded().await;
    assert_eq!((again.why, again.lift), (vec![], Some(lift.clone())));
    assert!(Mark::read(&audit).unwrap().is_some(), "the entry comes first");
    let random: Random = Arc::new(runtime::random::fill);
    let options = LogOptions::new(&audit.directory, &audit.origin, Arc::new(SystemClock), random);
    let (log, _) = Log::open(LogOptions { lifted: Some(lift.entry()), ..options }).await.unwrap();
    lift.carry_out(&audit).unwrap();
    let entry = String::from_utf8(log.entry(last.size).await.unwrap().unwrap()).unwrap();
    for part in [
        r#""event":"quarantine_lifted""#,
        r#""lifted":"1970-01-01T00:03:00.000Z""#,
        r#""reason":"both were set up wrongly""#,
        r#""seen":[{"by":"the witness `w1`","size":99999999},{"by":"the witness `w2`""#,
    ] {
        assert!(entry.contains(part), "{part}: {entry}");
    }
    log.close().await;
    assert_eq!(guarded().await.why, []);
    assert!(audit.directory.join(LIFTED_FILE).exists());
    // Nor is it good for the next one, were it left behind.
    std::fs::write(audit.directory.join("quarantine.lift.json"), serde_json::to_vec(&lift).unwrap()).unwrap();
    Mark::add(&audit, &[said(99_999_999), witness("w2", last.size + 1)], Timestamp(240_000));
    assert_eq!(guarded().await.why.len(), 2);
}

#[test]
fn no_word_takes_back_what_the_log_has_signed() {
    let dir = tempfile::tempdir().unwrap();
    let audit = audit(dir.path());
    let signed = Contradiction { checkpoint: Some(String::from("a note")), ..witness("w1", 9) };
    let mark = Mark::add(&audit, &[witness("w2", 4), signed], Timestamp(0));
    let refused = Lift::put(&audit, mark.clone(), "because", Timestamp(0)).unwrap_err().to_string();
    assert!(refused.contains("evidence"), "{refused}");
    // Not if somebody writes the file by hand either.
    let forged = serde_json::json!({ "at": "", "reason": "because", "mark": mark });
    std::fs::write(audit.directory.join("quarantine.lift.json"), forged.to_string()).unwrap();
    assert_eq!(Lift::of(&audit, &mark), None);
}

/// A bucket of which every page holds nothing but markers of deletion and names a next one. It stops answering after so many.
async fn bucket_of_markers(answers: usize) -> std::net::SocketAddr {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let page = move || {
        let asked = Arc::clone(&asked);
        async move {
            let n = asked.fetch_add(1, Ordering::Relaxed);
            if n >= answers {
                std::future::pending::<()>().await;
            }
            let marker = "<DeleteMarker><Key>k</Key><VersionId>m</VersionId></DeleteMarker>".repeat(500);
            format!(
                "<ListVersionsResult><IsTruncated>true</IsTruncated>{marker}<NextKeyMarker>k{n:05}</NextKeyMarker>\
                 <NextVersionIdMarker>m</NextVersionIdMarker></ListVersionsResult>"
            )
        }
    };
    let router = axum::Router::new().fallback(page);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test]
async fn a_bucket_that_markers_of_deletion_hide_was_not_asked_and_has_not_agreed() {
    let dir = tempfile::tempdir().unwrap();
    let plain = audit(dir.path());
    let newest = grow(&plain).await;
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s").unwrap();
    for (answers, expected) in [
        (usize::MAX, "in 100 pages: 100 pages with 0 versions and 50000 markers of deletion"),
        (3, "within 2 s: 3 pages with 0 versions and 1500 markers of deletion"),
    ] {
        let settings = runtime::config::S3 {
            endpoint: format!("http://{}", bucket_of_markers(answers).await).parse().unwrap(),
            bucket: String::from("locked"),
            region: String::from("eu-central-1"),
            prefix: String::from("plant/"),
            path_style: true,
            access_key_id: String::from("broker"),
            secret_access_key: model::party::SecretRef::File(secret.clone()),
            retain: 30,
            interval: Duration::from_secs(1),
            ca_file: None,
        };
        let s3 = S3::new(&settings, &plain.origin).unwrap();
        let why = s3.largest(&|_| None, SINK_PATIENCE).await.unwrap_err().to_string();
        assert!(why.starts_with("the list of its versions was not read to the end"), "{why}");
        assert!(why.contains(expected) && why.contains("may be checkpoints of this log"), "{why}");
        let mut audit = plain.clone();
        audit.sinks.s3 = Some(settings);
        let by = String::from("the sink `s3://locked/plant/`");
        let views = Views::ask(&audit, Some(&key(&audit).into()), None).await.unwrap();
        assert_eq!(views.silent, [by.as_str()]);
        assert!(views.confirmed.iter().all(|confirmed| confirmed.by != by) && views.contradictions.is_empty());
        // What it has contradicted before is not taken back by its silence.
        let against = Contradiction { by, seen: newest.size + 1, checkpoint: None, key: None, stored: newest.size };
        Mark::add(&audit, &[against], SystemClock.now());
        let still = guard(&audit, &key(&audit).into(), None, &SystemClock).await.unwrap().why;
        assert_eq!(still.len(), 1, "{still:?}");
        std::fs::remove_file(mark_path(&audit)).unwrap();
    }
}
