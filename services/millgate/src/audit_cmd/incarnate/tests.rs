//! An incarnation that was interrupted, given again: what each point of it leaves behind.

use super::*;
use audit::Log;

struct Stand {
    dir: tempfile::TempDir,
    audit: Audit,
    new: PathBuf,
}

fn ready(cited: Option<Cited>) -> Ready {
    Ready {
        origin: String::from("plant.example/log.2"),
        aside: String::from("plant.example_log"),
        key: None,
        key_object: None,
        vkey: String::new(),
        seen: Vec::new(),
        reason: String::from("the disk failed"),
        seen_files: Vec::new(),
        cited,
        in_database: None,
    }
}

/// An old log with a key and a published directory, and a new one that is whole.
fn stand() -> Stand {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::new(dir.path().join("audit"), String::from("plant.example/log"));
    let new = audit.directory.join(NEW_DIR);
    std::fs::create_dir_all(&new).unwrap();
    std::fs::create_dir_all(&audit.publish_directory).unwrap();
    let put = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
    put(&audit.directory.join("log.db"), "old log");
    put(&audit.publish_directory.join("checkpoint"), "old checkpoint");
    put(&audit.directory.join("quarantine.json"), "{}");
    put(audit.key.file().unwrap(), "old key");
    put(&new.join("log.db"), "new log");
    put(&new.join(KEY_FILE), "new key");
    ready(None).write(&new).unwrap();
    Stand { dir, audit, new }
}

/// Moves of a whole run, in its order.
fn moves(stand: &Stand) -> Vec<(PathBuf, PathBuf)> {
    let (directory, published) = (&stand.audit.directory, &stand.audit.publish_directory);
    let [own, open] = [directory, published].map(|dir| dir.join(ASIDE_DIR).join("plant.example_log"));
    let old_key = stand.audit.key.file().unwrap().to_owned();
    let key = old_key.file_name().unwrap();
    vec![
        (directory.join("log.db"), own.join("log.db")),
        (published.join("checkpoint"), open.join("checkpoint")),
        (directory.join("quarantine.json"), own.join("quarantine.json")),
        (old_key.clone(), own.join(key)),
        (stand.new.join(KEY_FILE), old_key.clone()),
        (stand.new.join("log.db"), directory.join("log.db")),
    ]
}

#[test]
fn an_incarnation_that_was_interrupted_anywhere_ends_with_both_logs_whole() {
    for done in 0..=6 {
        for is_copied in [false, true] {
            let stand = stand();
            for (n, (from, to)) in moves(&stand).iter().take(done).enumerate() {
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(from, to).unwrap();
                // A key may have been copied to another mount and not been removed yet.
                if !(is_copied && n + 1 == done && (n == 3 || n == 4)) {
                    std::fs::remove_file(from).unwrap();
                }
            }
            let read = |path: &Path| std::fs::read_to_string(path).unwrap();
            let [own, open] = settle(&ready(None), &stand.audit, &stand.new).unwrap();
            assert_eq!(read(&own.join("log.db")), "old log", "interrupted behind {done}");
            assert_eq!(read(&own.join(stand.audit.key.file().unwrap().file_name().unwrap())), "old key");
            assert_eq!(read(&open.join("checkpoint")), "old checkpoint");
            assert_eq!(read(&stand.audit.directory.join("log.db")), "new log", "interrupted behind {done}");
            assert_eq!(read(stand.audit.key.file().unwrap()), "new key");
            assert!(!stand.new.exists() && !stand.audit.directory.join("quarantine.json").exists());
            drop(stand.dir);
        }
    }
}

#[tokio::test]
async fn an_incarnation_that_was_interrupted_does_not_cite_what_is_no_longer_so() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::new(dir.path().join("audit"), String::from("plant.example/log"));
    let grow = async || {
        let random: Random = Arc::new(runtime::random::fill);
        let options = LogOptions::new(&audit.directory, &audit.origin, Arc::new(SystemClock), random);
        let (log, _) = Log::open(options).await.unwrap();
        log.seal().await;
        log.close().await;
    };
    grow().await;
    let begun = ready(Some(Cited::now(&audit, None).await.unwrap()));
    // As it is between the two attempts; what is begun is not marked yet, so that the log can be opened here.
    let new = audit.directory.join(NEW_DIR);
    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("log.db"), "new log").unwrap();
    assert!(!begun.is_stale(&audit, &new, false).await.unwrap());
    grow().await;
    assert!(begun.is_stale(&audit, &new, false).await.unwrap(), "the old log went on");
    // When it is away, nobody can go on with it, and nothing is begun anew.
    std::fs::remove_file(new.join("log.db")).unwrap();
    assert!(!begun.is_stale(&audit, &new, false).await.unwrap());
}

#[tokio::test]
async fn every_key_of_the_old_log_is_cited_and_those_that_must_go_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = Audit::new(dir.path().join("audit"), String::from("plant.example/log"));
    let random = |n: u8| Arc::new(move |bytes: &mut [u8]| bytes.fill(n)) as Random;
    let make = |path: &Path, n| signer::create(path, &audit.origin, &random(n)).unwrap().verifier().to_text();
    let [next, previous] = ["next.key", "previous.key"].map(|name| dir.path().join(name));
    let made = [make(audit.key.file().unwrap(), 1), make(&next, 2), make(&previous, 3)];
    assert_eq!(no_longer(&audit), Vec::<&str>::new());
    (audit.next_key, audit.previous_key_files) = (Some(LogKey::File(next)), vec![previous]);
    assert_eq!(no_longer(&audit), ["next_key_file", "previous_key_files"]);
    let keys = old_keys(&audit, false).unwrap();
    let cited = super::previous(&audit, keys.as_ref()).await;
    assert_eq!((cited.key.as_deref(), cited.other_keys.as_slice()), (Some(made[0].as_str()), &made[1..]));
}
