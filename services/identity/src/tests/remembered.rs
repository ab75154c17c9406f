//! Verified tokens are remembered, and everything that can change is judged again all the same.

use super::idp::{Answer, Key, b64, key_set, with};
use super::stand::{NOW, Stand, id};
use crate::IdentityOptions;
use model::{OrganisationId, Reason, Subject};
use serde_json::json;
use std::sync::Arc;

/// With one remembered token, acme's usual one.
async fn remembered() -> (Stand, String) {
    let stand = Stand::new().await;
    let token = stand.token();
    assert!(stand.login(&token).await.is_ok());
    assert_eq!(stand.identity.verified_tokens(), 1);
    (stand, token)
}

#[tokio::test]
async fn a_remembered_token_says_what_it_said_the_first_time() {
    let (stand, token) = remembered().await;
    let other = Stand::new().await;
    let first = other.login(&other.token()).await.unwrap();
    let again = stand.login(&token).await.unwrap();
    assert_eq!(again.principal(), first.principal());
    assert_eq!((again.token_id(), again.expires()), (first.token_id(), first.expires()));
    assert_eq!(stand.identity.verified_tokens(), 1);
}

#[tokio::test]
async fn invalid_tokens_in_bulk_leave_nothing_behind() {
    let stand = Stand::new().await;
    let good = stand.token();
    assert!(stand.login(&good).await.is_ok());
    let (message, _) = good.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let now = NOW.seconds();
    for i in 0..2_000_u64 {
        let claims = |changes: &[_]| b64(with(&stand.claims(), changes).to_string().as_bytes());
        let mut signature = [0; 64];
        signature[..8].copy_from_slice(&i.to_le_bytes());
        let forged = format!("{header}.{}.{}", claims(&[("jti", json!(i.to_string()))]), b64(&signature));
        let foreign =
            format!("{header}.{}.{}", claims(&[("iss", json!(format!("https://{i}.example")))]), b64(&signature));
        for bad in [forged, foreign, format!("{header}.{i}.{i}"), format!("{good}{i}")] {
            assert!(stand.login(&bad).await.is_err());
        }
    }
    // Signed by the issuer's own key, and still of no use now.
    for i in 0..300_i64 {
        let changes = [("exp", json!(now - 100 - i)), ("aud", json!("https://other.example")), ("sub", json!(i))];
        let jti = ("jti", json!(i.to_string()));
        for change in changes {
            assert!(stand.login(&stand.token_with(&[], &[jti.clone(), change])).await.is_err());
        }
    }
    assert_eq!(stand.identity.verified_tokens(), 1, "the good one alone");
}

#[tokio::test]
async fn a_remembered_token_expires() {
    let (stand, token) = remembered().await;
    assert!(stand.login_at(&token, NOW.plus_millis(329_999)).await.is_ok());
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(330_000)).await, Reason::TOKEN_EXPIRED);
    assert_eq!(stand.identity.verified_tokens(), 0, "it gives its place away");
}

#[tokio::test]
async fn a_remembered_token_is_not_valid_before_its_time() {
    let (stand, token) = remembered().await;
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(-60_000)).await, Reason::TOKEN_NOT_YET_VALID);
}

#[tokio::test]
async fn a_remembered_token_can_grow_too_old() {
    let (mut stand, token) = remembered().await;
    stand.change_acme(|issuer| issuer.token_age_max_seconds = Some(60));
    let caller = stand.login(&token).await.unwrap();
    assert_eq!(caller.expires(), NOW.plus_millis(80_000), "issued ten seconds ago, and half a minute of leeway");
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(80_000)).await, Reason::TOKEN_TOO_OLD);
}

#[tokio::test]
async fn revocation_reaches_a_remembered_token_its_principal_and_nobody_else() {
    let (mut stand, token) = remembered().await;
    let good = stand.parties.clone();
    stand.parties.revocations.tokens.insert((id("acme"), "token-1".to_owned()));
    assert_eq!(stand.refusal(&token).await, Reason::REVOKED);
    stand.parties = good;
    assert!(stand.login(&token).await.is_ok());
    let anna = (OrganisationId::new("acme").unwrap(), Subject::new("anna@acme.example").unwrap());
    stand.parties.revocations.principals.insert(anna);
    assert_eq!(stand.refusal(&token).await, Reason::REVOKED);
}

#[tokio::test]
async fn a_remembered_token_for_an_audience_that_is_not_ours_any_more() {
    let (mut stand, token) = remembered().await;
    stand.change_acme(|issuer| issuer.audiences = vec!["https://new.example".to_owned()]);
    assert_eq!(stand.refusal(&token).await, Reason::WRONG_AUDIENCE);
}

#[tokio::test]
async fn a_remembered_token_of_an_algorithm_or_type_that_the_issuer_may_not_use_any_more() {
    let (mut stand, token) = remembered().await;
    let good = stand.parties.clone();
    stand.change_acme(|issuer| issuer.algorithms.clear());
    assert_eq!(stand.refusal(&token).await, Reason::BAD_ALGORITHM);
    stand.parties = good;
    assert!(stand.login(&token).await.is_ok());
    stand.change_acme(|issuer| issuer.token_types = vec!["jwt".to_owned()]);
    assert_eq!(stand.refusal(&token).await, Reason::BAD_TOKEN_TYPE);
}

#[tokio::test]
async fn a_remembered_token_of_an_issuer_that_speaks_for_another_organisation_now() {
    let (mut stand, token) = remembered().await;
    stand.change_acme(|issuer| issuer.organisation = OrganisationId::new("bolt").unwrap());
    assert_eq!(stand.login(&token).await.unwrap().principal().to_text(), "bolt/anna@acme.example");
}

#[tokio::test]
async fn a_remembered_token_of_an_issuer_that_is_gone() {
    let (mut stand, token) = remembered().await;
    stand.parties.issuers.remove("acme");
    assert_eq!(stand.refusal(&token).await, Reason::UNKNOWN_ISSUER);
    assert_eq!(stand.identity.verified_tokens(), 0);
}

#[tokio::test]
async fn a_routine_refresh_evicts_nothing_and_a_withdrawn_key_takes_its_tokens_with_it() {
    let (stand, _) = remembered().await;
    let next = Key::p256("key-2");
    let long = [("exp", json!(NOW.seconds() + 7200))];
    let old = stand.token_with(&[], &long);
    assert!(stand.login(&old).await.is_ok());
    let held = || stand.identity.verified_tokens.get(&model::Digest::of(old.as_bytes()));
    let before = held().unwrap();
    // The same key once more, beside a new one.
    stand.acme.now_answers(Answer::Keys(key_set(&[&stand.acme_key, &next])));
    let (first, second) = (NOW.plus_millis(600_000), NOW.plus_millis(1_200_000));
    // Nobody came for so long that the issuer is asked before its keys are used again.
    assert!(stand.login_at(&old, first).await.is_ok());
    assert_eq!(stand.acme.key_sets(), 2);
    assert!(stand.login_at(&old, first).await.is_ok());
    assert!(held().is_some_and(|after| Arc::ptr_eq(&before, &after)), "it was verified once");

    stand.acme.now_answers(Answer::Keys(key_set(&[&next])));
    assert_eq!(stand.refusal_at(&old, second).await, Reason::UNKNOWN_KEY);
    assert!(held().is_none());
}

#[tokio::test]
async fn another_key_under_the_same_name_does_not_inherit_what_was_remembered() {
    let (stand, _) = remembered().await;
    let token = stand.token_with(&[], &[("exp", json!(NOW.seconds() + 7200))]);
    assert!(stand.login(&token).await.is_ok());
    stand.acme.now_answers(Answer::Keys(key_set(&[&Key::p256("key-1")])));
    let later = NOW.plus_millis(3_600_000);
    assert_eq!(stand.refusal_at(&token, later).await, Reason::BAD_SIGNATURE);
}

#[tokio::test]
async fn tokens_with_the_same_parts_are_not_the_same_token() {
    let (stand, token) = remembered().await;
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let flipped: String = signature.chars().rev().collect();
    assert!(stand.login(&format!("{message}.{flipped}")).await.is_err());
    let root = b64(with(&stand.claims(), &[("sub", json!("root@acme.example"))]).to_string().as_bytes());
    assert_eq!(stand.refusal(&format!("{header}.{root}.{signature}")).await, Reason::BAD_SIGNATURE);
    let other = b64(with(&stand.acme_key.header(), &[("kid", json!("key-2"))]).to_string().as_bytes());
    assert_eq!(stand.refusal(&format!("{other}.{claims}.{signature}")).await, Reason::UNKNOWN_KEY);
    assert!(stand.login(&token).await.is_ok());
}

#[tokio::test]
async fn their_number_is_bounded_and_those_in_use_stay() {
    let options = IdentityOptions { verified_tokens_max: 64, ..IdentityOptions::default() };
    let stand = Stand::with_options(options).await;
    let used = stand.token();
    let first = Arc::clone(&{
        assert!(stand.login(&used).await.is_ok());
        stand.identity.verified_tokens.get(&model::Digest::of(used.as_bytes())).unwrap()
    });
    for i in 0..1_000 {
        let once = stand.token_with(&[], &[("jti", json!(format!("once-{i}")))]);
        assert!(stand.login(&once).await.is_ok());
        assert!(stand.login(&used).await.is_ok());
        assert!(stand.identity.verified_tokens() <= 64);
    }
    let still = stand.identity.verified_tokens.get(&model::Digest::of(used.as_bytes())).unwrap();
    assert!(Arc::ptr_eq(&first, &still), "it was verified once");
}

#[tokio::test]
async fn tokens_that_nobody_shows_any_more_do_not_keep_the_others_out() {
    let options = IdentityOptions { verified_tokens_max: 64, ..IdentityOptions::default() };
    let stand = Stand::with_options(options).await;
    // Yesterday's crowd, each shown often.
    for i in 0..64 {
        let token = stand.token_with(&[], &[("jti", json!(format!("old-{i}")))]);
        for _ in 0..5 {
            assert!(stand.login(&token).await.is_ok());
        }
    }
    let live: Vec<String> = (0..32)
        .map(|i| {
            let times = [("exp", json!(NOW.seconds() + 7200)), ("jti", json!(format!("live-{i}")))];
            stand.token_with(&[], &times)
        })
        .collect();
    let later = NOW.plus_millis(3_600_000);
    for _ in 0..10 {
        for token in &live {
            assert!(stand.login_at(token, later).await.is_ok());
        }
    }
    let held = |token: &String| stand.identity.verified_tokens.get(&model::Digest::of(token.as_bytes())).is_some();
    assert!(live.iter().all(held), "all that are in use");
}

#[tokio::test]
async fn none_are_remembered_where_none_may_be() {
    let stand = Stand::with_options(IdentityOptions { verified_tokens_max: 0, ..IdentityOptions::default() }).await;
    for _ in 0..2 {
        assert!(stand.login(&stand.token()).await.is_ok());
        assert_eq!(stand.identity.verified_tokens(), 0);
    }
}
