//! Issuers that rotate, fail, lie, flood or fall silent.

use super::idp::{Answer, Idp, Key, key_set};
use super::stand::{NOW, Stand, claims_of, issuer, parties, until};
use crate::IdentityOptions;
use axum::http::StatusCode;
use futures_util::future::join_all;
use model::Reason;
use serde_json::json;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// One fetch by the first login, whose result then counts.
async fn logged_in() -> Stand {
    let stand = Stand::new().await;
    assert!(stand.login(&stand.token()).await.is_ok());
    stand
}

fn signed_by(key: &Key, stand: &Stand) -> String {
    let mut claims = stand.claims();
    claims["exp"] = json!(NOW.seconds() + 10 * 24 * 3600);
    key.sign(&key.header().to_string(), &claims.to_string())
}

// === when keys are fetched ===

#[tokio::test]
async fn a_crowd_at_the_start_causes_one_fetch() {
    let stand = Stand::new().await;
    let token = stand.token();
    let logins = join_all((0..100).map(|_| stand.login(&token))).await;
    assert!(logins.iter().all(Result::is_ok));
    assert_eq!((stand.acme.discoveries(), stand.acme.key_sets()), (1, 1));
    assert_eq!(stand.bolt.discoveries(), 0, "nobody asked for bolt");
}

#[tokio::test]
async fn a_flood_of_unknown_kids_causes_one_fetch_per_interval() {
    let stand = logged_in().await;
    let flood = |from: usize| {
        let header = move |i: usize| [("kid", json!(format!("made-up-{}", from + i)))];
        (0..200).map(|i| stand.token_with(&header(i), &[])).collect::<Vec<_>>()
    };
    for (from, now, fetches) in
        [(0, NOW, 2), (1000, NOW.plus_millis(9 * SECOND), 2), (2000, NOW.plus_millis(10 * SECOND), 3)]
    {
        let tokens = flood(from);
        let refusals = join_all(tokens.iter().map(|token| stand.refusal_at(token, now))).await;
        // Of all but one nobody knows whether the issuer has such a key.
        assert!(refusals.iter().all(|reason| [Reason::UNKNOWN_KEY, Reason::ISSUER_UNAVAILABLE].contains(reason)));
        assert_eq!(stand.acme.key_sets(), fetches);
    }
    assert!(stand.login(&stand.token()).await.is_ok());
}

#[tokio::test]
async fn the_same_unknown_kid_is_asked_for_once_a_minute() {
    let stand = logged_in().await;
    let token = stand.token_with(&[("kid", json!("retired"))], &[]);
    for (seconds, fetches) in [(0, 2), (10, 2), (30, 2), (59, 2), (60, 3), (119, 3), (120, 4)] {
        assert_eq!(stand.refusal_at(&token, NOW.plus_millis(seconds * SECOND)).await, Reason::UNKNOWN_KEY);
        assert_eq!(stand.acme.key_sets(), fetches, "after {seconds} s");
    }
}

#[tokio::test]
async fn a_kid_that_was_unknown_is_found_once_any_fetch_has_brought_it() {
    let stand = logged_in().await;
    let next = Key::p256("key-2");
    let early = signed_by(&next, &stand);
    assert_eq!(stand.refusal(&early).await, Reason::UNKNOWN_KEY, "signed before the key was published");
    stand.acme.now_answers(Answer::Keys(key_set(&[&stand.acme_key, &next])));
    // Somebody else's unknown key causes the fetch; the name that is remembered as unknown does not hide the key.
    let other = stand.token_with(&[("kid", json!("made-up"))], &[]);
    assert_eq!(stand.refusal_at(&other, NOW.plus_millis(10 * SECOND)).await, Reason::UNKNOWN_KEY);
    assert!(stand.login_at(&early, NOW.plus_millis(10 * SECOND)).await.is_ok());
    assert_eq!(stand.acme.key_sets(), 3);
}

#[tokio::test]
async fn a_flood_of_unknown_kids_does_not_hide_a_new_key_for_longer_than_the_interval() {
    let stand = logged_in().await;
    let next = Key::p256("key-2");
    let made_up = |i: usize| stand.token_with(&[("kid", json!(format!("made-up-{i}")))], &[]);
    for i in 0..30 {
        drop(stand.refusal_at(&made_up(i), NOW.plus_millis(SECOND)).await);
    }
    stand.acme.now_answers(Answer::Keys(key_set(&[&stand.acme_key, &next])));
    let new = signed_by(&next, &stand);
    assert_eq!(stand.refusal_at(&new, NOW.plus_millis(2 * SECOND)).await, Reason::ISSUER_UNAVAILABLE);
    assert!(stand.login_at(&new, NOW.plus_millis(11 * SECOND)).await.is_ok());
    assert_eq!(stand.acme.key_sets(), 3);
}

#[tokio::test]
async fn a_kid_with_a_path_or_sql_is_only_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let options = IdentityOptions { key_cache: Some(folder.path().to_owned()), ..IdentityOptions::default() };
    let stand = Stand::with_options(options).await;
    assert!(stand.login(&stand.token()).await.is_ok());
    let files =
        || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let before = files();
    for kid in
        ["../../../../etc/passwd", "/dev/zero", "key-1'; DROP TABLE keys; --", "' OR ''='", "key-1\0", "%2e%2e/", ""]
    {
        let token = stand.token_with(&[("kid", json!(kid))], &[]);
        let reason = stand.refusal(&token).await;
        // The issuer is asked for the first of them only.
        assert!([Reason::UNKNOWN_KEY, Reason::ISSUER_UNAVAILABLE].contains(&reason), "{kid}");
    }
    assert_eq!((stand.acme.key_sets(), stand.acme.elsewhere(), files()), (2, 0, before));
}

#[tokio::test]
async fn a_withdrawn_key_is_not_good_for_one_more_request_after_a_pause() {
    let stand = logged_in().await;
    let token = signed_by(&stand.acme_key, &stand);
    stand.acme.now_answers(Answer::Keys(key_set(&[&Key::p256("key-2")])));
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(10 * MINUTE)).await, Reason::UNKNOWN_KEY);
}

#[tokio::test]
async fn keys_are_refreshed_beside_the_requests() {
    let stand = logged_in().await;
    let token = signed_by(&stand.acme_key, &stand);
    assert!(stand.login_at(&token, NOW.plus_millis(5 * MINUTE - 1)).await.is_ok());
    assert_eq!(stand.acme.key_sets(), 1);
    // The issuer hangs, and nobody notices.
    stand.acme.now_answers(Answer::Silent);
    assert!(stand.login_at(&token, NOW.plus_millis(5 * MINUTE)).await.is_ok());
    until(|| stand.acme.key_sets() == 2).await;
    assert!(stand.login_at(&token, NOW.plus_millis(5 * MINUTE + 1)).await.is_ok());
}

#[tokio::test]
async fn cache_control_is_followed_within_bounds() {
    let cases = [
        ("max-age=600", 10 * MINUTE),
        ("public, Max-Age=\"600\", must-revalidate", 10 * MINUTE),
        ("max-age=1", MINUTE),
        ("no-store", MINUTE),
        ("max-age=600, no-cache", MINUTE),
        ("max-age=31536000", HOUR),
        ("max-age=99999999999999999999", 5 * MINUTE),
        ("max-age=-1", 5 * MINUTE),
        ("private", 5 * MINUTE),
    ];
    for (cache_control, refresh_ms) in cases {
        let stand = Stand::new().await;
        stand.acme.now_answers(Answer::KeysFor { keys: key_set(&[&stand.acme_key]), cache_control });
        let token = signed_by(&stand.acme_key, &stand);
        assert!(stand.login(&token).await.is_ok());
        assert!(stand.login_at(&token, NOW.plus_millis(refresh_ms - 1)).await.is_ok());
        assert_eq!(fetched_at(&stand), Some(NOW), "{cache_control}");
        let due = NOW.plus_millis(refresh_ms);
        assert!(stand.login_at(&token, due).await.is_ok());
        until(|| fetched_at(&stand) == Some(due)).await;
    }
}

fn fetched_at(stand: &Stand) -> Option<model::Timestamp> {
    stand.identity.status().into_iter().find(|status| status.issuer.as_str() == "acme").unwrap().fetched_at
}

#[tokio::test]
async fn a_clock_set_back_does_not_freeze_the_keys() {
    let stand = logged_in().await;
    let earlier = NOW.plus_millis(-2 * HOUR);
    let mut claims = stand.claims();
    claims["iat"] = json!(0);
    let token = stand.acme_key.sign(&stand.acme_key.header().to_string(), &claims.to_string());
    assert!(stand.login_at(&token, earlier).await.is_ok());
    until(|| fetched_at(&stand) == Some(earlier)).await;
}

#[tokio::test]
async fn an_update_keeps_the_keys_of_issuers_that_stay() {
    let mut stand = logged_in().await;
    stand.change_acme(|issuer| issuer.audiences = vec!["https://new.example".to_owned()]);
    assert_eq!(stand.refusal(&stand.token()).await, Reason::WRONG_AUDIENCE);
    let new = stand.token_with(&[], &[("aud", json!("https://new.example"))]);
    assert!(stand.login(&new).await.is_ok());
    assert_eq!(stand.acme.key_sets(), 1);
    // A new CA file: what was fetched under the old one does not count.
    stand.change_acme(|issuer| issuer.ca_file = Some("does-not-exist.pem".into()));
    assert_eq!(stand.refusal(&new).await, Reason::ISSUER_UNAVAILABLE);
}

#[tokio::test]
async fn an_issuer_counts_while_both_sides_know_it() {
    let mut stand = logged_in().await;
    let (token, all) = (stand.token(), stand.parties.clone());
    stand.parties.issuers.remove("acme");
    assert_eq!(stand.refusal(&token).await, Reason::UNKNOWN_ISSUER, "the generation does not have it");
    stand.identity.update(&stand.parties);
    stand.parties = all;
    assert_eq!(stand.refusal(&token).await, Reason::UNKNOWN_ISSUER, "no keys are held for it");
}

#[tokio::test]
async fn an_issuer_that_moves_is_known_by_its_new_url_only() {
    let mut stand = logged_in().await;
    let moved = Idp::start(Answer::Keys(key_set(&[&stand.acme_key]))).await;
    moved.url().clone_into(&mut stand.parties.issuers.get_mut("acme").unwrap().url);
    assert_eq!(stand.refusal(&stand.token()).await, Reason::UNKNOWN_ISSUER, "the generation has the new URL");
    stand.identity.update(&stand.parties);
    assert_eq!(stand.refusal(&stand.token()).await, Reason::UNKNOWN_ISSUER);
    let header = stand.acme_key.header().to_string();
    let token = stand.acme_key.sign(&header, &claims_of(moved.url()).to_string());
    assert!(stand.login(&token).await.is_ok());
}

#[tokio::test]
async fn a_url_that_two_organisations_claim_speaks_for_neither() {
    let mut stand = logged_in().await;
    stand.parties = parties([issuer("acme", stand.acme.url()), issuer("impostor", stand.acme.url())]);
    stand.identity.update(&stand.parties);
    assert_eq!(stand.refusal(&stand.token()).await, Reason::UNKNOWN_ISSUER);
}

// === rotation ===

#[tokio::test]
async fn an_overlapping_rotation_refuses_not_one_request() {
    let stand = logged_in().await;
    let next = Key::p256("key-2");
    let (old_token, new_token) = (signed_by(&stand.acme_key, &stand), signed_by(&next, &stand));
    stand.acme.now_answers(Answer::Keys(key_set(&[&stand.acme_key, &next])));
    let both = (0..100).map(|i| stand.login(if i % 2 == 0 { &old_token } else { &new_token }));
    assert!(join_all(both).await.iter().all(Result::is_ok));
    assert_eq!(stand.acme.key_sets(), 2);

    // The old key is withdrawn. It counts until the next refresh, and then no longer.
    stand.acme.now_answers(Answer::Keys(key_set(&[&next])));
    let later = NOW.plus_millis(5 * MINUTE);
    assert!(stand.login_at(&new_token, later).await.is_ok());
    until(|| fetched_at(&stand) == Some(later)).await;
    assert!(stand.login_at(&new_token, later).await.is_ok());
    assert_eq!(stand.refusal_at(&old_token, later).await, Reason::UNKNOWN_KEY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_overlapping_rotations_under_concurrent_requests_refuse_not_one() {
    let stand = logged_in().await;
    let keys = ["a", "b", "c", "d"].map(Key::p256);
    let tokens = keys.each_ref().map(|key| signed_by(key, &stand));
    for (step, pair) in keys.windows(2).enumerate() {
        // Both are published; the old one signs on until everybody knows the new one.
        stand.acme.now_answers(Answer::Keys(key_set(&[&pair[0], &pair[1]])));
        let now = NOW.plus_millis(5 * MINUTE * (i64::try_from(step).unwrap() + 1));
        let old = join_all((0..50).map(|i| stand.login_at(&tokens[step], now.plus_millis(i)))).await;
        assert!(old.iter().all(Result::is_ok), "step {step}");
        until(|| fetched_at(&stand).is_some_and(|at| at >= now)).await;
        let both = join_all((0..50).map(|i| stand.login_at(&tokens[step + i % 2], now))).await;
        assert!(both.iter().all(Result::is_ok), "step {step}");
    }
    assert_eq!(stand.acme.key_sets(), 4, "one for each rotation");
}

// === outage ===

#[tokio::test]
async fn last_good_keys_carry_through_an_outage_up_to_their_age() {
    let stand = logged_in().await;
    stand.acme.now_answers(Answer::Status(StatusCode::SERVICE_UNAVAILABLE));
    let token = signed_by(&stand.acme_key, &stand);
    for hour in 1..24 {
        // Each hour it is asked once more, in vain.
        while stand.acme.discoveries() != 1 + usize::try_from(hour).unwrap() {
            assert!(stand.login_at(&token, NOW.plus_millis(hour * HOUR)).await.is_ok(), "{hour}");
            tokio::task::yield_now().await;
        }
    }
    assert!(stand.login_at(&token, NOW.plus_millis(24 * HOUR - 1)).await.is_ok());
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(24 * HOUR)).await, Reason::ISSUER_UNAVAILABLE);
    // It comes back.
    stand.acme.now_answers(Answer::Keys(key_set(&[&stand.acme_key])));
    assert!(stand.login_at(&token, NOW.plus_millis(25 * HOUR)).await.is_ok());
}

#[tokio::test]
async fn an_unknown_kid_during_an_outage_may_be_tried_again() {
    let stand = logged_in().await;
    stand.acme.now_answers(Answer::Status(StatusCode::BAD_GATEWAY));
    let token = signed_by(&Key::p256("key-2"), &stand);
    assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    assert!(stand.login(&stand.token()).await.is_ok(), "the known key still counts");
}

#[tokio::test]
async fn a_failed_first_fetch_is_not_repeated_at_once() {
    let stand = Stand::new().await;
    stand.acme.now_answers(Answer::Status(StatusCode::INTERNAL_SERVER_ERROR));
    let token = stand.token();
    for _ in 0..20 {
        assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    }
    assert_eq!(stand.acme.discoveries(), 1);
    stand.acme.now_answers(Answer::Keys(key_set(&[&stand.acme_key])));
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(2 * SECOND)).await, Reason::ISSUER_UNAVAILABLE);
    assert!(stand.login_at(&token, NOW.plus_millis(3 * SECOND)).await.is_ok());
}

#[tokio::test]
async fn an_issuer_that_is_not_there() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut stand = Stand::new().await;
    stand.change_acme(|issuer| issuer.url.clone_from(&url));
    let token = stand.acme_key.sign(&stand.acme_key.header().to_string(), &claims_of(&url).to_string());
    assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    let failure = stand.identity.status().into_iter().find_map(|status| status.failure).unwrap();
    assert!(failure.contains("cannot be reached") && failure.contains("refused"), "{failure}");
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_end_the_fetch_for_the_others() {
    let stand = Stand::new().await;
    let token = stand.token();
    {
        let mut impatient = Box::pin(stand.login(&token));
        // One poll starts the fetch; then the caller is gone.
        assert!(futures_util::poll!(&mut impatient).is_pending());
    }
    until(|| fetched_at(&stand) == Some(NOW)).await;
    assert!(stand.login(&token).await.is_ok());
    assert_eq!(stand.acme.key_sets(), 1);
}

// === issuers that misbehave ===

async fn failure_when(answer: Answer) -> (String, Idp) {
    let stand = Stand::with_options(IdentityOptions { fetch_timeout_ms: 500, ..IdentityOptions::default() }).await;
    stand.acme.now_answers(answer);
    assert_eq!(stand.refusal(&stand.token()).await, Reason::ISSUER_UNAVAILABLE);
    let failure = stand.identity.status().into_iter().find_map(|status| status.failure).unwrap();
    (failure, stand.acme)
}

#[tokio::test]
async fn fifty_megabytes_of_keys() {
    let (failure, idp) = failure_when(Answer::Flood).await;
    assert!(failure.contains("more than 262144 bytes"), "{failure}");
    assert!(idp.pieces() < 400, "{} pieces of 64 KiB were taken", idp.pieces());
}

#[tokio::test]
async fn an_issuer_that_never_answers() {
    let (failure, _) = failure_when(Answer::Silent).await;
    assert!(failure.contains("no complete answer within 500ms"), "{failure}");
}

#[tokio::test]
async fn an_issuer_that_never_ends() {
    let (failure, _) = failure_when(Answer::Dripping).await;
    assert!(failure.contains("no complete answer within 500ms"), "{failure}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (failure, idp) = failure_when(Answer::Redirect(json!({"keys": []}))).await;
    assert!(failure.contains("302 Found; redirects are not followed"), "{failure}");
    assert_eq!(idp.elsewhere(), 0);
}

#[tokio::test]
async fn a_page_of_html_with_200() {
    let (failure, _) = failure_when(Answer::Html).await;
    assert!(failure.contains("not a JSON object with a list `keys`"), "{failure}");
}

#[tokio::test]
async fn discovery_in_another_name() {
    let (failure, idp) = failure_when(Answer::Impostor).await;
    assert!(failure.contains("`https://idp.other.example`, not the configured URL"), "{failure}");
    assert_eq!(idp.key_sets(), 0);
}

#[tokio::test]
async fn discovery_that_points_where_it_may_not() {
    for url in
        ["http://idp.acme.example/keys", "file:///etc/passwd", "/keys", "ftp://127.0.0.1/keys", "http://a@127.0.0.1/"]
    {
        let (failure, _) = failure_when(Answer::KeysAt(url.to_owned())).await;
        assert!(failure.contains(&format!("`{url}` is not an https URL")), "{failure}");
    }
}

// === strangers and slow issuers ===

#[tokio::test]
async fn a_slow_issuer_lets_strangers_park_a_bounded_number_of_requests() {
    let stand = logged_in().await;
    stand.acme.now_answers(Answer::Silent);
    let kid = |n: usize| [("kid", json!(format!("made-up-{n}")))];
    let tokens: Vec<_> = (0..200).map(|n| stand.token_with(&kid(n), &[])).collect();
    let mut parked = Vec::new();
    for token in &tokens {
        let mut login = Box::pin(stand.login(token));
        match futures_util::poll!(&mut login) {
            std::task::Poll::Pending => parked.push(login),
            std::task::Poll::Ready(answer) => assert_eq!(answer.unwrap_err().reason, Reason::ISSUER_UNAVAILABLE),
        }
    }
    assert_eq!(parked.len(), 64);
    assert!(stand.login(&stand.token()).await.is_ok(), "the known key still counts");
}

#[tokio::test]
async fn an_issuer_that_takes_all_the_time_is_not_asked_without_a_break() {
    let options = IdentityOptions { fetch_timeout_ms: 500, ..IdentityOptions::default() };
    let stand = Stand::with_options(options).await;
    stand.acme.now_answers(Answer::Silent);
    for (after_ms, fetches) in [(0, 1), (3_000, 1), (3_499, 1), (3_500, 2)] {
        let now = NOW.plus_millis(after_ms);
        assert_eq!(stand.refusal_at(&stand.token(), now).await, Reason::ISSUER_UNAVAILABLE);
        assert_eq!(stand.acme.key_sets(), fetches, "{after_ms}");
    }
}

#[tokio::test]
async fn a_made_up_kid_does_not_make_a_new_key_count_as_unknown() {
    let stand = logged_in().await;
    let made_up = stand.token_with(&[("kid", json!("made-up"))], &[]);
    assert_eq!(stand.refusal(&made_up).await, Reason::UNKNOWN_KEY);
    let next = Key::p256("key-2");
    stand.acme.now_answers(Answer::Keys(key_set(&[&stand.acme_key, &next])));
    let token = signed_by(&next, &stand);
    let soon = NOW.plus_millis(SECOND);
    assert_eq!(stand.refusal_at(&token, soon).await, Reason::ISSUER_UNAVAILABLE, "it may be tried again");
    assert_eq!(stand.refusal_at(&made_up, soon).await, Reason::UNKNOWN_KEY, "the issuer was asked for this one");
    assert!(stand.login_at(&token, NOW.plus_millis(10 * SECOND)).await.is_ok());
}

#[tokio::test]
async fn a_key_file_that_is_taken_away_takes_its_keys_along() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acme.jwks.json");
    let mut stand = Stand::new().await;
    std::fs::write(&file, key_set(&[&stand.acme_key]).to_string()).unwrap();
    stand.change_acme(|issuer| issuer.keys = model::party::KeyLocation::File(file.clone()));
    let token = signed_by(&stand.acme_key, &stand);
    assert!(stand.login(&token).await.is_ok());
    std::fs::remove_file(&file).unwrap();
    // The first request after it is due waits for the file.
    for after_ms in [3_000, 3_001, 60_000] {
        assert_eq!(stand.refusal_at(&token, NOW.plus_millis(after_ms)).await, Reason::ISSUER_UNAVAILABLE, "{after_ms}");
    }
}
