//! A restart while an issuer cannot be reached, and what somebody may have done to the keys on disk meanwhile.

use super::idp::{Answer, Idp, Key, key_set};
use super::stand::{NOW, Stand, issuer, parties};
use crate::{Identity, IdentityOptions};
use axum::http::StatusCode;
use model::{Reason, Timestamp};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const HOUR: i64 = 60 * 60_000;

fn options(folder: &Path) -> IdentityOptions {
    IdentityOptions { key_cache: Some(folder.to_owned()), fetch_timeout_ms: 500, ..IdentityOptions::default() }
}

/// A process that has fetched acme's keys, and a token that holds for two days.
async fn first_run(folder: &Path) -> (Stand, String) {
    let stand = Stand::with_options(options(folder)).await;
    let mut claims = stand.claims();
    claims["exp"] = json!(NOW.seconds() + 48 * 3600);
    let token = stand.acme_key.sign(&stand.acme_key.header().to_string(), &claims.to_string());
    assert!(stand.login(&token).await.is_ok());
    (stand, token)
}

/// The same configuration in a new process.
fn restart(stand: &mut Stand, folder: &Path) {
    stand.identity = Identity::new(options(folder));
    stand.identity.update(&stand.parties);
}

fn down(stand: &Stand) {
    stand.acme.now_answers(Answer::Status(StatusCode::BAD_GATEWAY));
}

fn the_file(folder: &Path) -> PathBuf {
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

fn change(folder: &Path, change: impl FnOnce(&mut Value)) {
    let mut content = serde_json::from_slice(&std::fs::read(the_file(folder)).unwrap()).unwrap();
    change(&mut content);
    std::fs::write(the_file(folder), content.to_string()).unwrap();
}

#[tokio::test]
async fn a_restart_during_an_outage_serves_with_the_keys_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stand, token) = first_run(folder.path()).await;
    for answer in [Answer::Status(StatusCode::BAD_GATEWAY), Answer::Silent, Answer::Html] {
        stand.acme.now_answers(answer);
        restart(&mut stand, folder.path());
        assert!(stand.login_at(&token, NOW.plus_millis(24 * HOUR - 60_000)).await.is_ok());
        // They grow old as if there had been no restart.
        assert_eq!(stand.refusal_at(&token, NOW.plus_millis(24 * HOUR)).await, Reason::ISSUER_UNAVAILABLE);
    }
    restart(&mut stand, folder.path());
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(24 * HOUR)).await, Reason::ISSUER_UNAVAILABLE);
}

#[tokio::test]
async fn after_a_restart_during_an_outage_only_the_first_requests_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stand, token) = first_run(folder.path()).await;
    stand.acme.now_answers(Answer::Silent);
    restart(&mut stand, folder.path());
    let later = NOW.plus_millis(HOUR);
    assert!(stand.login_at(&token, later).await.is_ok());
    // The next attempt hangs; who comes now is served in one poll.
    let mut login = Box::pin(stand.login_at(&token, later.plus_millis(HOUR)));
    assert!(futures_util::poll!(&mut login).is_ready());
}

#[tokio::test]
async fn keys_on_disk_do_not_count_while_the_issuer_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stand, token) = first_run(folder.path()).await;
    let intruder = Key::p256("key-1");
    change(folder.path(), |content| content["keys"] = key_set(&[&intruder]));
    restart(&mut stand, folder.path());
    let forged = intruder.sign(&intruder.header().to_string(), &stand.claims().to_string());
    assert_eq!(stand.refusal(&forged).await, Reason::BAD_SIGNATURE);
    assert!(stand.login(&token).await.is_ok());
    let text = std::fs::read_to_string(the_file(folder.path())).unwrap();
    let (mine, theirs) = (stand.acme_key.jwk["x"].as_str().unwrap(), intruder.jwk["x"].as_str().unwrap());
    assert!(text.contains(mine) && !text.contains(theirs), "{text}");
}

#[tokio::test]
async fn the_issuer_counts_again_as_soon_as_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stand, token) = first_run(folder.path()).await;
    down(&stand);
    restart(&mut stand, folder.path());
    assert!(stand.login(&token).await.is_ok());
    // During the outage it has withdrawn the key.
    stand.acme.now_answers(Answer::Keys(key_set(&[&Key::p256("key-2")])));
    let later = NOW.plus_millis(3_000);
    until_refused(&stand, &token, later).await;
    assert_eq!(stand.refusal_at(&token, later).await, Reason::UNKNOWN_KEY);
}

async fn until_refused(stand: &Stand, token: &str, now: Timestamp) {
    let wait = async {
        while stand.login_at(token, now).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect("the key was never withdrawn");
}

#[tokio::test]
async fn a_clock_set_back_does_not_make_keys_on_disk_immortal() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stand, token) = first_run(folder.path()).await;
    down(&stand);
    restart(&mut stand, folder.path());
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(-2 * 60_000)).await, Reason::ISSUER_UNAVAILABLE);
}

#[tokio::test]
async fn a_file_of_another_place_or_a_damaged_one_does_not_count() {
    let damages: [fn(&mut Value); 4] = [
        |content| content["issuer"] = json!("https://idp.other.example"),
        |content| content["place"] = json!("discovery at https://idp.other.example"),
        |content| content["keys"] = json!("none"),
        |content| *content = json!([]),
    ];
    for damage in damages {
        let folder = tempfile::tempdir().unwrap();
        let (mut stand, token) = first_run(folder.path()).await;
        down(&stand);
        change(folder.path(), damage);
        restart(&mut stand, folder.path());
        assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    }
}

#[tokio::test]
async fn an_issuers_own_limit_on_outages_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stand, token) = first_run(folder.path()).await;
    down(&stand);
    let later = NOW.plus_millis(2 * HOUR);
    assert!(stand.login_at(&token, later).await.is_ok());
    stand.change_acme(|issuer| issuer.outage_max_seconds = 3600);
    assert_eq!(stand.refusal_at(&token, later).await, Reason::ISSUER_UNAVAILABLE, "the keys that are held");
    restart(&mut stand, folder.path());
    assert_eq!(stand.refusal_at(&token, later).await, Reason::ISSUER_UNAVAILABLE, "those on disk");
}

#[tokio::test]
async fn without_outages_keys_count_while_they_are_fresh() {
    let mut stand = Stand::new().await;
    stand.change_acme(|issuer| issuer.outage_max_seconds = 0);
    let mut claims = stand.claims();
    claims["exp"] = json!(NOW.seconds() + 3600);
    let token = stand.acme_key.sign(&stand.acme_key.header().to_string(), &claims.to_string());
    assert!(stand.login(&token).await.is_ok());
    down(&stand);
    assert!(stand.login_at(&token, NOW.plus_millis(10 * 60_000 - 1)).await.is_ok());
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(10 * 60_000)).await, Reason::ISSUER_UNAVAILABLE);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_refuses_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let stand = Stand::with_options(options(&folder.path().join("is-not-there"))).await;
    assert!(stand.login(&stand.token()).await.is_ok());
}

// === ten thousand issuers ===

#[tokio::test]
async fn ten_thousand_issuers_cost_nothing_until_they_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let idp = Idp::start(Answer::Keys(key_set(&[&Key::p256("key-1")]))).await;
    let many = (0..10_000).map(|i| issuer(&format!("acme-{i}"), &format!("{}/{i}", idp.url())));
    let identity = Identity::new(options(folder.path()));
    identity.update(&parties(many));
    assert_eq!(identity.status().len(), 10_000);
    assert!(identity.status().iter().all(|status| status.fetched_at.is_none() && status.failure.is_none()));
    assert_eq!(idp.discoveries() + idp.key_sets(), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
