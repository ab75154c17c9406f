//! What the operator reads in the log about an issuer's keys.

use super::idp::{Answer, key_set};
use super::stand::{NOW, Stand};
use axum::http::StatusCode;
use model::Timestamp;
use model::party::KeyLocation;
use std::fmt;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const LAST_ONES: &str = "the issuer's keys could not be fetched; the last ones count on";
const NONE: &str = "the issuer's keys could not be fetched, and none from before count; its tokens are refused";
const NO_FILE: &str = "the issuer's file of keys is not there; its tokens are refused";
const AGAIN: &str = "the issuer's keys can be fetched again";

/// Messages of this crate that every operator sees.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// What has been said since it was asked last.
    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("identity") && *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(&mut self.0.lock().unwrap()));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Message<'a>(&'a mut Vec<String>);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.push(format!("{value:?}"));
        }
    }
}

/// What is said when acme's token comes at each of these times.
async fn said_at(stand: &Stand, log: &Log, times: &[Timestamp]) -> Vec<String> {
    for now in times {
        let _ = stand.login_at(&stand.token(), *now).await;
    }
    log.said()
}

#[tokio::test]
async fn last_keys_are_spoken_of_only_while_they_count() {
    let log = Log::default();
    let _listening = tracing::subscriber::set_default(log.clone());
    let mut stand = Stand::new().await;
    stand.change_acme(|issuer| issuer.outage_max_seconds = 3600);
    let at = |minutes: i64| NOW.plus_millis(minutes * 60_000);
    let down = Answer::Status(StatusCode::BAD_GATEWAY);
    stand.acme.now_answers(down.clone());
    assert_eq!(said_at(&stand, &log, &[at(0), at(1)]).await, [NONE]);
    stand.acme.now_answers(Answer::Keys(key_set(&[&stand.acme_key])));
    assert_eq!(said_at(&stand, &log, &[at(2)]).await, [AGAIN]);
    stand.acme.now_answers(down);
    assert_eq!(said_at(&stand, &log, &[at(12), at(61)]).await, [LAST_ONES]);
    assert_eq!(said_at(&stand, &log, &[at(62), at(63)]).await, [NONE], "they have become too old");
}

#[tokio::test]
async fn a_key_file_that_is_gone_leaves_no_last_keys_to_speak_of() {
    let log = Log::default();
    let _listening = tracing::subscriber::set_default(log.clone());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acme.jwks.json");
    let mut stand = Stand::new().await;
    stand.change_acme(|issuer| issuer.keys = KeyLocation::File(path.clone()));
    let at = |seconds: i64| NOW.plus_millis(seconds * 1_000);
    assert_eq!(said_at(&stand, &log, &[at(0), at(1)]).await, [NO_FILE]);
    std::fs::write(&path, key_set(&[&stand.acme_key]).to_string()).unwrap();
    assert_eq!(said_at(&stand, &log, &[at(2)]).await, [AGAIN]);
    std::fs::write(&path, "half a fi").unwrap();
    assert_eq!(said_at(&stand, &log, &[at(3), at(4)]).await, [LAST_ONES]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(said_at(&stand, &log, &[at(5)]).await, [NO_FILE]);
}
