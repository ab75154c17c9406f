//! A log that takes the place of another one cites it first, and the other one is set aside whole.

use super::harness::*;
use crate::incarnation::{Incarnation, Previous, Seen, free_name, plain_name, set_aside};
use crate::{Log, LogOptions, OpenError};
use model::Value;
use model::entry::Kind;
use std::path::Path;

fn incarnation(reason: &str) -> Incarnation {
    let checkpoint = Some(String::from("old.example/log\n7\nroot\n"));
    Incarnation {
        previous: Previous { origin: String::from("old.example/log"), key: None, size: Some(7), checkpoint },
        seen: vec![Seen { by: String::from("the witness `w`"), size: 9, checkpoint: None }],
        reason: reason.to_owned(),
        forced: false,
    }
}

#[tokio::test]
async fn the_first_entry_cites_the_old_log_and_no_later_one_does() {
    let dir = tempfile::tempdir().unwrap();
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
    assert_eq!(
        first.get("seen"),
        Some(&Value::Array(vec![Value::object([("by", Value::text("the witness `w`")), ("size", Value::int(9))])]))
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_no_log_begins_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let incarnation = Some(incarnation(&"x".repeat(70_000)));
    let error = Log::open(LogOptions { incarnation, ..options(dir.path()) }).await.unwrap_err();
    assert!(matches!(error, OpenError::TooMuchToCite), "{error}");
    assert_eq!(crate::Stored::find(dir.path()).await.unwrap().unwrap().size, 0);
}

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
