//! A log that takes the place of another one cites it first, and the other one is set aside whole.

use super::harness::*;
use crate::incarnation::{Incarnation, Previous, Seen};
use crate::{Log, LogOptions, OpenError};
use model::Value;
use model::entry::Kind;

fn incarnation(reason: &str) -> Incarnation {
    let checkpoint = Some(String::from("old.example/log\n7\nroot\n"));
    Incarnation {
        previous: Previous {
            origin: String::from("old.example/log"),
            key: None,
            other_keys: vec![String::from("an earlier one")],
            size: Some(7),
            checkpoint,
        },
        seen: vec![Seen { by: String::from("the witness `w`"), size: 9, checkpoint: None }],
        reason: reason.to_owned(),
        forced: false,
    }
}

pub async fn the_first_entry_cites_the_old_log_and_no_later_one_does(stand: &Stand) {
    let dir = stand.home().await;
    let options = || LogOptions { incarnation: Some(incarnation("the disk failed")), ..options(dir.path()) };
    for _ in 0..2 {
        let (log, _) = Log::open(options()).await.unwrap();
        log.close().await;
    }
    let stored = read_all(dir.path()).await;
    let events: Vec<_> =
        stored.of_kind(Kind::System).iter().map(|entry| entry.text("event").unwrap().to_owned()).collect();
    assert_eq!(events, ["incarnation", "opened", "closed", "opened", "closed"]);
    let first = &stored.of_kind(Kind::System)[0];
    assert_eq!(first.get("previous").unwrap().get("size"), Some(&Value::int(7)));
    assert_eq!(first.get("previous").unwrap().get("other_keys"), Some(&Value::texts(["an earlier one"])));
    assert_eq!(
        first.get("seen"),
        Some(&Value::Array(vec![Value::object([("by", Value::text("the witness `w`")), ("size", Value::int(9))])]))
    );
}

pub async fn what_does_not_fit_is_refused_and_no_log_begins_without_it(stand: &Stand) {
    let dir = stand.home().await;
    let incarnation = Some(incarnation(&"x".repeat(70_000)));
    let error = Log::open(LogOptions { incarnation, ..options(dir.path()) }).await.unwrap_err();
    assert!(matches!(error, OpenError::TooMuchToCite), "{error}");
    assert_eq!(crate::Stored::find(dir.path()).await.unwrap().unwrap().size, 0);
}

/// What is moved are files: of a log in PostgreSQL no store, and its new one begins beside the old one.
#[cfg(test)]
mod on_files {
    use super::*;
    use crate::incarnation::{free_name, plain_name, put_in_place, relocate, set_aside, unfinished};
    use std::path::Path;

    #[test]
    fn setting_aside_goes_on_where_it_was_interrupted_and_deletes_nothing() {
        let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let put = |path: &Path, name: &str| std::fs::write(path.join(name), name).unwrap();
        ["log.db", "log.db-wal", "key", "kept.txt"].iter().for_each(|name| put(dir.path(), name));
        std::fs::create_dir(out.path().join("tile")).unwrap();
        put(out.path(), "tile/0");
        let name = free_name("plant.example/log", [dir.path(), out.path()]);
        assert_eq!(name, "plant.example_log");
        // As if the first attempt had ended behind the published files.
        std::fs::create_dir_all(out.path().join("aside").join(&name)).unwrap();
        std::fs::rename(out.path().join("tile"), out.path().join("aside").join(&name).join("tile")).unwrap();
        put(out.path(), "checkpoint");
        let key = dir.path().join("key");
        let [own, open] = set_aside(dir.path(), out.path(), Some(&key), &name).unwrap();
        set_aside(dir.path(), out.path(), Some(&key), &name).unwrap();
        let names = |dir: &Path| {
            let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&own), ["key", "log.db", "log.db-wal"]);
        assert_eq!(names(&open), ["checkpoint", "tile"]);
        assert_eq!(names(dir.path()), ["aside", "kept.txt"]);
        assert_eq!(free_name("plant.example/log", [dir.path(), out.path()]), "plant.example_log-2");
        assert_eq!(plain_name("../up"), "_up");
    }

    #[test]
    fn an_incarnation_that_is_given_again_writes_nothing_over_the_old_store() {
        let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = dir.path().join("log.db");
        std::fs::write(&store, "old").unwrap();
        let [own, _] = set_aside(dir.path(), out.path(), None, "plant").unwrap();
        std::fs::write(&store, "new").unwrap();
        let error = set_aside(dir.path(), out.path(), None, "plant").unwrap_err();
        assert!(matches!(error, OpenError::File { .. }), "{error}");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&own.join("log.db")).as_str(), read(&store).as_str()), ("old", "new"));
        // Nor is the new one put over what is in its place.
        let begun = dir.path().join("incarnation.new");
        std::fs::create_dir(&begun).unwrap();
        std::fs::write(begun.join("log.db"), "newer").unwrap();
        std::fs::write(begun.join("ready.json"), "{}").unwrap();
        put_in_place(&begun, dir.path()).unwrap_err();
        assert_eq!(read(&store), "new");
        assert!(unfinished(dir.path()).is_some(), "it is not over");
        std::fs::remove_file(&store).unwrap();
        put_in_place(&begun, dir.path()).unwrap();
        assert_eq!((read(&store).as_str(), unfinished(dir.path())), ("newer", None));
        // With nothing to put anywhere it is not over either.
        std::fs::remove_file(&store).unwrap();
        put_in_place(&begun, dir.path()).unwrap_err();
    }

    #[tokio::test]
    async fn no_log_is_opened_in_the_middle_of_an_incarnation() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("incarnation.new")).unwrap();
        std::fs::write(dir.path().join("incarnation.new/ready.json"), "{}").unwrap();
        let error = Log::open(options(dir.path())).await.unwrap_err();
        assert!(matches!(error, OpenError::Unfinished(_)), "{error}");
        assert!(error.to_string().contains("give the command again"), "{error}");
        assert!(!dir.path().join("log.db").exists(), "a log that is made there would be in the new one's place");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_key_on_another_mount_is_moved_and_a_move_that_broke_off_is_finished() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let (dir, mount) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let device = |path: &Path| path.metadata().unwrap().dev();
        assert_ne!(device(dir.path()), device(mount.path()), "the test needs two mounts");
        let (key, out) = (mount.path().join("checkpoint.key"), tempfile::tempdir().unwrap());
        std::fs::write(&key, "old key").unwrap();
        let [own, _] = set_aside(dir.path(), out.path(), Some(&key), "plant").unwrap();
        let there = own.join("checkpoint.key");
        assert_eq!(std::fs::read_to_string(&there).unwrap(), "old key");
        assert_eq!(there.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!key.exists());
        // Copied and not removed.
        std::fs::write(&key, "old key").unwrap();
        set_aside(dir.path(), out.path(), Some(&key), "plant").unwrap();
        assert!(!key.exists());
        std::fs::write(&key, "another").unwrap();
        relocate(&key, &there).unwrap_err();
        assert_eq!(std::fs::read_to_string(&there).unwrap(), "old key");
    }
}
