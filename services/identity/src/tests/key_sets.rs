//! Which of an issuer's keys verifies what.

use super::idp::{Answer, Key, b64, key_set};
use super::stand::Stand;
use crate::jwk::KeySet;
use crate::key_file_problem;
use jsonwebtoken::Algorithm;
use model::Reason;
use model::party::SignatureAlgorithm::{self, ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
use serde_json::{Value, json};
use std::sync::Arc;

const ALL: [SignatureAlgorithm; 9] = [ES256, ES384, RS256, RS384, RS512, PS256, PS384, PS512, EdDSA];

async fn stand_with(keys: Value) -> Stand {
    let mut stand = Stand::new().await;
    stand.change_acme(|issuer| issuer.algorithms = ALL.to_vec());
    stand.acme.now_answers(Answer::Keys(keys));
    stand
}

fn signed(key: &Key, stand: &Stand) -> String {
    key.sign(&key.header().to_string(), &stand.claims().to_string())
}

#[tokio::test]
async fn every_algorithm_with_a_key_of_its_own() {
    let mut keys = vec![Key::p256("es256"), Key::p384("es384"), Key::ed25519("eddsa")];
    let rsa = Key::rsa("rsa", Algorithm::RS256);
    let stand = stand_with(key_set(&keys.iter().chain([&rsa]).collect::<Vec<_>>())).await;
    use Algorithm as A;
    for algorithm in [A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512] {
        keys.push(Key {
            algorithm,
            jwk: rsa.jwk.clone(),
            public: Vec::new(),
            private: rsa.private.clone(),
            kid: "rsa",
        });
    }
    for key in &keys {
        assert!(stand.login(&signed(key, &stand)).await.is_ok(), "{:?}", key.algorithm);
    }
    assert_eq!(stand.acme.key_sets(), 1);
}

#[tokio::test]
async fn a_key_bound_to_one_algorithm_serves_no_other() {
    let rsa = Key::rsa("rsa", Algorithm::RS256);
    let pss = Key {
        algorithm: Algorithm::PS256,
        jwk: Value::Null,
        public: Vec::new(),
        private: rsa.private.clone(),
        kid: "rsa",
    };
    let stand = stand_with(json!({"keys": [rsa.jwk_with(&[("alg", json!("RS256"))])]})).await;
    assert!(stand.login(&signed(&rsa, &stand)).await.is_ok());
    assert_eq!(stand.refusal(&signed(&pss, &stand)).await, Reason::UNKNOWN_KEY);
}

#[tokio::test]
async fn keys_that_are_not_for_signatures_or_not_well_made() {
    let (key, long) = (Key::p256("key-1"), b64(&[1; 33]));
    let not_for_us: [&[(&str, Value)]; 14] = [
        &[("use", json!("enc"))],
        &[("use", json!("SIG"))],
        &[("key_ops", json!(["sign"]))],
        &[("key_ops", json!([]))],
        &[("alg", json!("ES384"))],
        &[("alg", json!("ECDH-ES"))],
        &[("alg", json!("HS256"))],
        &[("crv", json!("P-384"))],
        &[("crv", json!("secp256k1"))],
        &[("kty", json!("OKP"))],
        &[("x", json!(long))],
        &[("y", Value::Null)],
        &[("kid", json!(1))],
        &[("d", json!(b64(&[1; 32])))],
    ];
    for changes in not_for_us {
        let stand = stand_with(json!({"keys": [key.jwk_with(changes)]})).await;
        assert_eq!(stand.refusal(&signed(&key, &stand)).await, Reason::UNKNOWN_KEY, "{changes:?}");
    }
    let stand =
        stand_with(json!({"keys": [key.jwk_with(&[("use", json!("sig")), ("key_ops", json!(["verify"]))])]})).await;
    assert!(stand.login(&signed(&key, &stand)).await.is_ok());
}

#[tokio::test]
async fn a_point_that_is_not_on_the_curve() {
    let key = Key::p256("key-1");
    let stand = stand_with(json!({"keys": [key.jwk_with(&[("x", json!(b64(&[7; 32])))])]})).await;
    assert_eq!(stand.refusal(&signed(&key, &stand)).await, Reason::BAD_SIGNATURE);
}

#[tokio::test]
async fn an_rsa_key_that_is_too_short_or_too_long() {
    let rsa = Key::rsa("rsa", Algorithm::RS256);
    for bytes in [128, 255, 513, 2048] {
        let stand = stand_with(json!({"keys": [rsa.jwk_with(&[("n", json!(b64(&vec![0xc5; bytes])))])]})).await;
        assert_eq!(stand.refusal(&signed(&rsa, &stand)).await, Reason::UNKNOWN_KEY, "{bytes}");
    }
}

#[tokio::test]
async fn a_shared_secret_in_the_set_is_no_key() {
    let key = Key::p256("key-1");
    let stand = stand_with(json!({"keys": [{"kty": "oct", "kid": "key-1", "k": b64(&[1; 32])}]})).await;
    assert_eq!(stand.refusal(&signed(&key, &stand)).await, Reason::UNKNOWN_KEY);
}

#[tokio::test]
async fn a_broken_key_does_not_take_the_others_with_it() {
    let key = Key::p256("key-1");
    let broken = [json!(null), json!(1), json!({}), json!({"kty": "AKP"}), json!({"kty": "EC", "crv": 7})];
    let keys: Vec<Value> = broken.into_iter().chain([key.jwk.clone()]).collect();
    let stand = stand_with(json!({ "keys": keys })).await;
    assert!(stand.login(&signed(&key, &stand)).await.is_ok());
}

#[tokio::test]
async fn two_keys_of_one_name() {
    let (one, other) = (Key::p256("key-1"), Key::p256("key-1"));
    let stand = stand_with(key_set(&[&one, &other])).await;
    assert_eq!(stand.refusal(&signed(&one, &stand)).await, Reason::UNKNOWN_KEY);
    // Of different types they are told apart by the token's algorithm.
    let edwards = Key::ed25519("key-1");
    let stand = stand_with(key_set(&[&one, &edwards])).await;
    assert!(stand.login(&signed(&one, &stand)).await.is_ok());
    assert!(stand.login(&signed(&edwards, &stand)).await.is_ok());
}

#[tokio::test]
async fn more_keys_than_any_issuer_has() {
    let key = Key::p256("key-1");
    let stand = stand_with(json!({"keys": vec![&key.jwk; 65]})).await;
    assert_eq!(stand.refusal(&signed(&key, &stand)).await, Reason::ISSUER_UNAVAILABLE);
}

#[test]
fn a_file_without_a_key_for_its_issuer_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acme.jwks.json");
    let problem = |content: String, algorithms: &[SignatureAlgorithm]| {
        std::fs::write(&file, content).unwrap();
        key_file_problem(&file, algorithms)
    };
    let (key, edwards) = (Key::p256("key-1"), Key::ed25519("key-2"));
    let encryption = key.jwk_with(&[("use", json!("enc"))]);
    let good = json!({"keys": [&encryption, &key.jwk]}).to_string();
    assert_eq!(problem(good.clone(), &[ES256]), None, "one is enough");
    assert_eq!(problem(good, &[]), None, "an issuer of opaque tokens has no algorithms");
    let others = json!({"keys": [&encryption, &edwards.jwk]}).to_string();
    let too_large = " ".repeat(256 * 1024 + 1);
    for (content, said) in [
        ("-----BEGIN PUBLIC KEY-----", "not a JSON object with a list `keys`"),
        (&key.jwk.to_string(), "not a JSON object with a list `keys`"),
        (r#"{"keys":[]}"#, "`keys` is empty"),
        (&others, "none of its keys can be used: it is for none of the issuer's `algorithms`; its `use` is not `sig`"),
        (&too_large, "cannot be read: it has more than 262144 bytes"),
    ] {
        assert_eq!(problem(content.to_owned(), &[ES256]).as_deref(), Some(said));
    }
}

#[test]
fn an_unchanged_key_stays_the_same_value() {
    let parse = |keys: &Value| KeySet::parse(keys.to_string().as_bytes()).unwrap();
    let (one, other) = (Key::p256("key-1"), Key::p256("key-2"));
    let old = parse(&key_set(&[&one, &other]));
    let again =
        parse(&json!({"keys": [one.jwk_with(&[("use", json!("sig"))]), other.jwk_with(&[("alg", json!("ES256"))])]}));
    assert!(again.keeping(&old).is_same(&old));

    let key_of = |set: &KeySet| set.find(Some("key-1"), ES256).unwrap();
    let rotated = parse(&key_set(&[&other, &one])).keeping(&old);
    assert!(Arc::ptr_eq(&key_of(&rotated), &key_of(&old)), "the order does not matter");
    let replaced = parse(&key_set(&[&Key::p256("key-1")])).keeping(&old);
    assert!(!Arc::ptr_eq(&key_of(&replaced), &key_of(&old)), "another key under the same name");
}
