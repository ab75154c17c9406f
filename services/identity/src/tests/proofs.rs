//! Proofs of possession (RFC 9449) that must not pass, and those that must.

use super::idp::{Key, b64, sign_with, with};
use super::stand::{NOW, ORIGINS, Stand, presented};
use crate::{IdentityOptions, LoginError, Origins, Presented};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use jsonwebtoken::{Algorithm, EncodingKey};
use model::{Authenticated, Binding, Digest, Origin, Reason, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const DPOP: HeaderName = HeaderName::from_static("dpop");
const ADDRESS: &str = "https://data.plant.example/data";

/// Somebody of acme with a key of their own.
struct Holder {
    stand: Stand,
    key: Key,
    token: String,
}

impl Holder {
    async fn new() -> Self {
        Self::with_key(Key::p256("own")).await
    }

    async fn with_key(key: Key) -> Self {
        Self::at(Stand::new().await, key)
    }

    fn at(stand: Stand, key: Key) -> Self {
        let token = stand.token_with(&[], &[("cnf", json!({"jkt": thumbprint(&key.jwk)}))]);
        Self { stand, key, token }
    }

    fn header(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": format!("{:?}", self.key.algorithm), "jwk": public(&self.key.jwk)})
    }

    fn claims(&self) -> Value {
        static SEQUENCE: AtomicUsize = AtomicUsize::new(0);
        let jti = format!("proof-{}", SEQUENCE.fetch_add(1, Ordering::Relaxed));
        let ath = b64(&Digest::of(self.token.as_bytes()).0);
        json!({"jti": jti, "htm": "GET", "htu": ADDRESS, "iat": NOW.seconds(), "ath": ath})
    }

    fn proof(&self) -> String {
        self.proof_with(&[], &[])
    }

    /// With changes to header and claims; `null` takes a member away.
    fn proof_with(&self, header: &[(&str, Value)], claims: &[(&str, Value)]) -> String {
        self.key.sign(&with(&self.header(), header).to_string(), &with(&self.claims(), claims).to_string())
    }

    async fn send(&self, proof: &str) -> Result<Authenticated, LoginError> {
        self.send_at(proof, NOW).await
    }

    async fn send_at(&self, proof: &str, now: Timestamp) -> Result<Authenticated, LoginError> {
        self.stand.present(&presented(&shown(&self.token, proof), false), now).await
    }

    async fn refusal(&self, proof: &str) -> Reason {
        let error = self.send(proof).await.expect_err("must be refused");
        for secret in proof.split('.').chain(self.token.split('.')).filter(|part| part.len() > 8) {
            assert!(!error.to_string().contains(secret), "{error}");
        }
        error.reason
    }

    async fn refusal_of_header(&self, header: &[(&str, Value)]) -> Reason {
        self.refusal(&self.proof_with(header, &[])).await
    }

    async fn refusal_of_claims(&self, claims: &[(&str, Value)]) -> Reason {
        self.refusal(&self.proof_with(&[], claims)).await
    }
}

fn shown(token: &str, proof: &str) -> HeaderMap {
    let token = HeaderValue::from_str(&format!("DPoP {token}")).unwrap();
    HeaderMap::from_iter([(AUTHORIZATION, token), (DPOP, HeaderValue::from_str(proof).unwrap())])
}

fn public(jwk: &Value) -> Value {
    with(jwk, &[("kid", Value::Null)])
}

/// RFC 7638, by way of a sorted map.
fn thumbprint(jwk: &Value) -> String {
    let members = jwk.as_object().unwrap().iter();
    let required: BTreeMap<_, _> =
        members.filter(|(name, _)| ["crv", "e", "kty", "n", "x", "y"].contains(&name.as_str())).collect();
    b64(&Digest::of(serde_json::to_string(&required).unwrap().as_bytes()).0)
}

// === what passes ===

#[tokio::test]
async fn a_proof_for_this_request_binds_the_caller() {
    for key in [
        Key::p256("k"),
        Key::p384("k"),
        Key::ed25519("k"),
        Key::rsa("k", Algorithm::PS256),
        Key::rsa("k", Algorithm::RS256),
    ] {
        let holder = Holder::with_key(key).await;
        let caller = holder.send(&holder.proof()).await.unwrap();
        assert_eq!(caller.binding(), Binding::Dpop);
        assert_eq!(caller.principal().to_text(), "acme/anna@acme.example");
        assert_eq!(caller.fingerprint(), Digest::of(holder.token.as_bytes()));
    }
}

#[tokio::test]
async fn the_scheme_and_the_type_have_no_case() {
    let holder = Holder::new().await;
    for scheme in ["DPoP", "dpop", "DPOP"] {
        let mut headers = shown(&holder.token, &holder.proof_with(&[("typ", json!("application/DPoP+JWT"))], &[]));
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("{scheme} {}", holder.token)).unwrap());
        assert!(holder.stand.present(&presented(&headers, false), NOW).await.is_ok(), "{scheme}");
    }
}

#[tokio::test]
async fn a_key_id_in_the_proof_is_not_looked_at() {
    let holder = Holder::new().await;
    for kid in ["../../etc/passwd", "' or 1=1 --", "key-1"] {
        assert!(holder.send(&holder.proof_with(&[("kid", json!(kid))], &[])).await.is_ok(), "{kid}");
    }
    let named = with(&holder.key.jwk, &[("kid", json!("x")), ("use", json!("sig")), ("alg", json!("ES256"))]);
    assert!(holder.send(&holder.proof_with(&[("jwk", named)], &[])).await.is_ok());
}

// === the proof is for another request ===

#[tokio::test]
async fn a_replayed_proof() {
    let holder = Holder::new().await;
    let proof = holder.proof();
    assert!(holder.send(&proof).await.is_ok());
    assert_eq!(holder.refusal(&proof).await, Reason::PROOF_REPLAYED);
    // To the last moment at which it could be accepted, leeway included; then it has ended.
    let at = async |millis| holder.send_at(&proof, NOW.plus_millis(millis)).await.expect_err("must be refused").reason;
    assert_eq!(at(89_999).await, Reason::PROOF_REPLAYED);
    assert_eq!(at(90_000).await, Reason::BAD_PROOF);
    assert_eq!(at(0).await, Reason::PROOF_REPLAYED, "a clock that is set back");
}

#[tokio::test]
async fn the_same_jti_in_another_proof_of_the_same_key() {
    let holder = Holder::new().await;
    let jti = ("jti", json!("once"));
    assert!(holder.send(&holder.proof_with(&[], std::slice::from_ref(&jti))).await.is_ok());
    let other = holder.proof_with(&[], &[jti, ("iat", json!(NOW.seconds() + 1))]);
    assert_eq!(holder.refusal(&other).await, Reason::PROOF_REPLAYED);
}

#[tokio::test]
async fn a_refused_request_does_not_use_up_its_proof() {
    let mut holder = Holder::new().await;
    let proof = holder.proof();
    let revoked = (model::OrganisationId::new("acme").unwrap(), model::Subject::new("anna@acme.example").unwrap());
    holder.stand.parties.revocations.principals.insert(revoked);
    assert_eq!(holder.refusal(&proof).await, Reason::REVOKED);
    holder.stand.parties.revocations.principals.clear();
    assert!(holder.send(&proof).await.is_ok());
}

#[tokio::test]
async fn a_proof_for_another_method() {
    let holder = Holder::new().await;
    for method in ["POST", "HEAD", "get", "GET ", ""] {
        assert_eq!(holder.refusal_of_claims(&[("htm", json!(method))]).await, Reason::BAD_PROOF, "{method}");
    }
    let (headers, method) = (shown(&holder.token, &holder.proof()), Method::DELETE);
    let other = Presented { method: &method, ..presented(&headers, false) };
    assert_eq!(holder.stand.present(&other, NOW).await.unwrap_err().reason, Reason::BAD_PROOF);
}

#[tokio::test]
async fn a_proof_for_another_address() {
    let holder = Holder::new().await;
    for address in [
        "https://data.plant.example/data2",
        "https://data.plant.example/",
        "https://data.plant.example/data/",
        "https://data.plant.example/x/../data",
        "https://data.plant.example/Data",
        "http://data.plant.example/data",
        "https://data.plant.example:8443/data",
        "https://api.plant.example/data",
        "https://data.plant.example./data",
        "https://data.plant.example.evil.example/data",
        "https://data.plant.example@evil.example/data",
        "https://evil@data.plant.example/data",
        "https://d\u{430}ta.plant.example/data",
        "https://xn--dta-6cd.plant.example/data",
        "//data.plant.example/data",
        "/data",
        "",
    ] {
        assert_eq!(holder.refusal_of_claims(&[("htu", json!(address))]).await, Reason::BAD_PROOF, "{address}");
    }
}

#[tokio::test]
async fn the_same_address_in_another_spelling() {
    let holder = Holder::new().await;
    for address in [
        "HTTPS://data.plant.example/data",
        "https://DATA.Plant.EXAMPLE/data",
        "https://data.plant.example:443/data",
        "https://data.plant.example/%64%61ta",
        "https://data.plant.example/data?from=2026-11-22",
        "https://data.plant.example/data#part",
    ] {
        assert!(holder.send(&holder.proof_with(&[], &[("htu", json!(address))])).await.is_ok(), "{address}");
    }
}

#[tokio::test]
async fn whoever_passes_a_request_on_does_not_choose_our_address() {
    let holder = Holder::new().await;
    let proof = holder.proof_with(&[], &[("htu", json!("https://evil.example/data"))]);
    let mut headers = shown(&holder.token, &proof);
    for name in ["host", "x-forwarded-host", "forwarded", "x-original-url"] {
        headers.insert(name, HeaderValue::from_static("evil.example"));
    }
    let error = holder.stand.present(&presented(&headers, false), NOW).await.unwrap_err();
    assert_eq!(error.reason, Reason::BAD_PROOF);
}

#[tokio::test]
async fn a_proof_for_the_other_listener() {
    let holder = Holder::new().await;
    let headers = shown(&holder.token, &holder.proof());
    let api = Origins::new(Origin::parse("https://api.plant.example"));
    let there = Presented { origins: &api, ..presented(&headers, false) };
    assert_eq!(holder.stand.present(&there, NOW).await.unwrap_err().reason, Reason::BAD_PROOF);
    let here = Presented { origins: &ORIGINS, ..there };
    assert!(holder.stand.present(&here, NOW).await.is_ok());
}

#[tokio::test]
async fn a_proof_for_another_token() {
    let holder = Holder::new().await;
    let other =
        holder.stand.token_with(&[], &[("cnf", json!({"jkt": thumbprint(&holder.key.jwk)})), ("jti", json!("2"))]);
    assert_ne!(other, holder.token);
    let mut wrong = vec![json!(b64(&Digest::of(other.as_bytes()).0)), json!(""), json!(null), json!(7)];
    wrong.push(json!(Digest::of(holder.token.as_bytes()).to_hex()));
    wrong.push(json!(format!("{}=", b64(&Digest::of(holder.token.as_bytes()).0))));
    for ath in wrong {
        assert_eq!(holder.refusal_of_claims(&[("ath", ath)]).await, Reason::BAD_PROOF);
    }
}

#[tokio::test]
async fn a_proof_too_old_or_from_the_future() {
    let holder = Holder::new().await;
    let leeway = 30;
    for (seconds, passes) in [(-89, true), (-90, false), (90, true), (91, false), (-86_400, false), (86_400, false)] {
        let proof = holder.proof_with(&[], &[("iat", json!(NOW.seconds() + seconds))]);
        assert_eq!(holder.send(&proof).await.is_ok(), passes, "{seconds} with {leeway} s leeway");
    }
    for iat in [json!("1795375200"), json!(1_795_375_200.5), json!(-1), json!(u64::MAX), json!(i64::MAX), json!(null)] {
        assert_eq!(holder.refusal_of_claims(&[("iat", iat)]).await, Reason::BAD_PROOF);
    }
}

#[tokio::test]
async fn a_proof_with_a_missing_empty_or_huge_jti() {
    let holder = Holder::new().await;
    for jti in [json!(null), json!(""), json!("x".repeat(256)), json!(1), json!(["a"])] {
        assert_eq!(holder.refusal_of_claims(&[("jti", jti)]).await, Reason::BAD_PROOF);
    }
    assert!(holder.send(&holder.proof_with(&[], &[("jti", json!("x".repeat(255)))])).await.is_ok());
}

// === the proof is of somebody else ===

#[tokio::test]
async fn a_token_of_one_key_with_a_proof_of_another() {
    let holder = Holder::new().await;
    let thief = Key::p256("own");
    let header = with(&holder.header(), &[("jwk", public(&thief.jwk))]).to_string();
    let proof = thief.sign(&header, &holder.claims().to_string());
    assert_eq!(holder.refusal(&proof).await, Reason::BAD_BINDING);
}

#[tokio::test]
async fn a_proof_signed_by_another_key_than_its_own() {
    let holder = Holder::new().await;
    let proof = Key::p256("own").sign(&holder.header().to_string(), &holder.claims().to_string());
    assert_eq!(holder.refusal(&proof).await, Reason::BAD_PROOF);
    let proof = holder.proof();
    let (message, _) = proof.rsplit_once('.').unwrap();
    for signature in ["", "AA", &b64(&[0; 64]), "+"] {
        assert_eq!(holder.refusal(&format!("{message}.{signature}")).await, Reason::BAD_PROOF);
    }
}

#[tokio::test]
async fn the_issuers_own_signature_is_no_proof() {
    let holder = Holder::new().await;
    let header = with(&holder.header(), &[("jwk", public(&holder.stand.acme_key.jwk))]).to_string();
    let proof = holder.stand.acme_key.sign(&header, &holder.claims().to_string());
    assert_eq!(holder.refusal(&proof).await, Reason::BAD_BINDING);
    assert_eq!(holder.refusal(&holder.token).await, Reason::BAD_PROOF, "the token itself as the proof");
}

#[tokio::test]
async fn a_stolen_bound_token_as_bearer() {
    let holder = Holder::new().await;
    assert_eq!(holder.stand.refusal(&holder.token).await, Reason::BAD_BINDING);
    // Used rightfully before, it is no better.
    assert!(holder.send(&holder.proof()).await.is_ok());
    assert_eq!(holder.stand.refusal(&holder.token).await, Reason::BAD_BINDING);
}

#[tokio::test]
async fn a_token_that_is_not_bound_with_a_proof() {
    let mut holder = Holder::new().await;
    holder.token = holder.stand.token();
    assert_eq!(holder.refusal(&holder.proof()).await, Reason::BAD_BINDING);
}

#[tokio::test]
async fn the_dpop_scheme_without_a_proof() {
    let holder = Holder::new().await;
    let mut headers = shown(&holder.token, "x");
    headers.remove(DPOP);
    let error = holder.stand.present(&presented(&headers, false), NOW).await.unwrap_err();
    assert_eq!(error.reason, Reason::BAD_PROOF);
}

#[tokio::test]
async fn two_proofs() {
    let holder = Holder::new().await;
    let (one, two) = (holder.proof(), holder.proof());
    let mut twice = shown(&holder.token, &one);
    twice.append(DPOP, HeaderValue::from_str(&two).unwrap());
    for headers in [twice, shown(&holder.token, &format!("{one}, {two}"))] {
        let error = holder.stand.present(&presented(&headers, false), NOW).await.unwrap_err();
        assert_eq!(error.reason, Reason::SEVERAL_CREDENTIALS);
    }
    assert!(holder.send(&one).await.is_ok(), "neither was used");
}

#[tokio::test]
async fn a_proof_with_the_bearer_scheme() {
    let holder = Holder::new().await;
    for token in [&holder.token, &holder.stand.token()] {
        let mut headers = shown(token, &holder.proof());
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        let error = holder.stand.present(&presented(&headers, false), NOW).await.unwrap_err();
        assert_eq!(error.reason, Reason::MISPLACED_CREDENTIAL);
    }
}

// === shape and key ===

#[tokio::test]
async fn a_proof_with_algorithm_none_or_hmac() {
    let holder = Holder::new().await;
    let claims = holder.claims().to_string();
    let unsigned = with(&holder.header(), &[("alg", json!("none"))]).to_string();
    let unsigned = format!("{}.{}.", b64(unsigned.as_bytes()), b64(claims.as_bytes()));
    assert_eq!(holder.refusal(&unsigned).await, Reason::BAD_PROOF);
    let jwk = json!({"kty": "oct", "k": b64(b"secret")});
    for jwk in [jwk, public(&holder.key.jwk)] {
        let header = json!({"typ": "dpop+jwt", "alg": "HS256", "jwk": jwk}).to_string();
        let secret = EncodingKey::from_secret(&holder.key.public);
        assert_eq!(holder.refusal(&sign_with(&secret, Algorithm::HS256, &header, &claims)).await, Reason::BAD_PROOF);
    }
    for alg in [json!("ES384"), json!("RS256"), json!("es256"), json!(null), json!(["ES256"])] {
        assert_eq!(holder.refusal_of_header(&[("alg", alg)]).await, Reason::BAD_PROOF);
    }
}

#[tokio::test]
async fn a_proof_whose_key_has_a_private_part() {
    let holder = Holder::new().await;
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let jwk = with(&public(&holder.key.jwk), &[(name, json!("AAAA"))]);
        assert_eq!(holder.refusal_of_header(&[("jwk", jwk)]).await, Reason::BAD_PROOF, "{name}");
    }
}

#[tokio::test]
async fn a_proof_of_a_weak_or_unusable_key() {
    let holder = Holder::new().await;
    let weak = json!({"kty": "RSA", "n": b64(&[0xff; 128]), "e": "AQAB"});
    let huge = json!({"kty": "RSA", "n": b64(&[0xff; 1024]), "e": "AQAB"});
    let unknown = json!({"kty": "EC", "crv": "secp256k1", "x": b64(&[1; 32]), "y": b64(&[1; 32])});
    let short = with(&public(&holder.key.jwk), &[("x", json!("AQAB"))]);
    for (jwk, alg) in [(weak, "RS256"), (huge, "RS256"), (unknown, "ES256"), (short, "ES256"), (json!("jwk"), "ES256")]
    {
        let header = [("jwk", jwk), ("alg", json!(alg))];
        assert_eq!(holder.refusal_of_header(&header).await, Reason::BAD_PROOF, "{header:?}");
    }
    assert_eq!(holder.refusal_of_header(&[("jwk", json!(null))]).await, Reason::BAD_PROOF);
}

#[tokio::test]
async fn a_header_member_that_brings_a_key_or_demands_an_extension() {
    let holder = Holder::new().await;
    for name in ["x5u", "x5c", "jku", "crit"] {
        let header = [(name, json!(["https://evil.example"]))];
        assert_eq!(holder.refusal_of_header(&header).await, Reason::BAD_PROOF, "{name}");
    }
}

#[tokio::test]
async fn another_type_of_token_as_a_proof() {
    let holder = Holder::new().await;
    for typ in [json!("at+jwt"), json!("JWT"), json!("dpop"), json!(null), json!(1), json!("dpop+jwt ")] {
        assert_eq!(holder.refusal_of_header(&[("typ", typ)]).await, Reason::BAD_PROOF);
    }
}

#[tokio::test]
async fn a_proof_with_duplicate_members_or_no_json() {
    let holder = Holder::new().await;
    let (header, claims) = (holder.header().to_string(), holder.claims().to_string());
    let more = |object: &str, member: &str| format!("{},{member}}}", object.strip_suffix('}').unwrap());
    let deep = header.replacen("\"kty\":\"EC\"", "\"kty\":\"EC\",\"kty\":\"EC\"", 1);
    assert_ne!(deep, header);
    for proof in [
        holder.key.sign(&more(&header, r#""alg":"ES256""#), &claims),
        holder.key.sign(&deep, &claims),
        holder.key.sign(&header, &more(&claims, r#""htm":"GET""#)),
        holder.key.sign(&header, &more(&claims, r#""h\u0074u":"https://evil.example""#)),
        holder.key.sign(&header, "[]"),
        holder.key.sign("null", &claims),
        String::from("a.b"),
        String::from(".."),
        String::new(),
        format!("{}.a", holder.proof()),
        format!("{}=", holder.proof()),
    ] {
        assert_eq!(holder.refusal(&proof).await, Reason::BAD_PROOF, "{proof}");
    }
}

#[tokio::test]
async fn a_huge_proof() {
    let holder = Holder::new().await;
    assert_eq!(holder.refusal_of_claims(&[("padding", json!("x".repeat(4096)))]).await, Reason::BAD_PROOF);
}

// === nonces ===

async fn nonce_holder() -> Holder {
    let mut stand = Stand::new().await;
    stand.change_acme(|issuer| issuer.dpop_nonce = true);
    Holder::at(stand, Key::p256("own"))
}

#[tokio::test]
async fn a_demanded_nonce_is_handed_out_and_then_counts() {
    let holder = nonce_holder().await;
    let error = holder.send(&holder.proof()).await.unwrap_err();
    assert_eq!(error.reason, Reason::NONCE_REQUIRED);
    let nonce = error.dpop_nonce.unwrap();
    // As often as it is wanted, as long as each proof is new.
    for _ in 0..3 {
        let proof = holder.proof_with(&[], &[("nonce", json!(nonce))]);
        let caller = holder.send(&proof).await.unwrap();
        assert_eq!(holder.refusal(&proof).await, Reason::PROOF_REPLAYED);
        let next = |now| holder.stand.identity.next_nonce(&caller, &holder.stand.parties, now);
        assert_eq!(next(NOW).as_ref(), Some(&nonce));
        assert_ne!(next(NOW.plus_millis(120_000)).unwrap(), nonce);
    }
}

#[tokio::test]
async fn a_nonce_that_is_none_of_ours_or_has_ended() {
    let holder = nonce_holder().await;
    let theirs = nonce_holder().await;
    let foreign = theirs.send(&theirs.proof()).await.unwrap_err().dpop_nonce.unwrap();
    for nonce in [foreign.as_str(), "", "x"] {
        let reason = holder.refusal_of_claims(&[("nonce", json!(nonce))]).await;
        assert_eq!(reason, Reason::NONCE_REQUIRED, "a nonce of another process");
    }
    let old = holder.send(&holder.proof()).await.unwrap_err().dpop_nonce.unwrap();
    let later = NOW.plus_millis(241_000);
    let claims = [("nonce", json!(old)), ("iat", json!(later.seconds()))];
    let error = holder.send_at(&holder.proof_with(&[], &claims), later).await.unwrap_err();
    assert_eq!(error.reason, Reason::NONCE_REQUIRED);
    assert_ne!(error.dpop_nonce.unwrap(), old);
    assert_eq!(holder.refusal_of_claims(&[("nonce", json!(7))]).await, Reason::BAD_PROOF);
}

#[tokio::test]
async fn who_demands_no_nonce_hands_out_none() {
    let holder = Holder::new().await;
    let caller = holder.send(&holder.proof_with(&[], &[("nonce", json!("of the provider"))])).await.unwrap();
    assert_eq!(holder.stand.identity.next_nonce(&caller, &holder.stand.parties, NOW), None);
    assert_eq!(holder.send("a.b.c").await.unwrap_err().dpop_nonce, None);
}

// === shares ===

#[tokio::test]
async fn a_flood_of_one_organisations_proofs_never_locks_out_another() {
    let options = IdentityOptions { used_proofs_max: 20, ..IdentityOptions::default() };
    let holder = Holder::at(Stand::with_options(options).await, Key::p256("own"));
    let first = holder.proof();
    assert!(holder.send(&first).await.is_ok());
    for _ in 1..20 {
        assert!(holder.send(&holder.proof()).await.is_ok());
    }
    assert_eq!(holder.refusal(&holder.proof()).await, Reason::OVERLOADED);
    assert_eq!(holder.refusal(&first).await, Reason::PROOF_REPLAYED, "nothing is forgotten to make room");
    // The other supplier does not notice.
    let key = &holder.key;
    let bolt =
        with(&super::stand::claims_of(holder.stand.bolt.url()), &[("cnf", json!({"jkt": thumbprint(&key.jwk)}))]);
    let token = holder.stand.bolt_key.sign(&holder.stand.bolt_key.header().to_string(), &bolt.to_string());
    let ath = b64(&Digest::of(token.as_bytes()).0);
    let proof = holder.proof_with(&[], &[("ath", json!(ath))]);
    let caller = holder.stand.present(&presented(&shown(&token, &proof), false), NOW).await.unwrap();
    assert_eq!(caller.organisation().as_str(), "bolt");
    // And when the first have ended, there is room again.
    let later = NOW.plus_millis(90_000);
    let proof = holder.proof_with(&[], &[("iat", json!(later.seconds()))]);
    assert!(holder.send_at(&proof, later).await.is_ok());
}

// === with the cache, and beside other rules ===

#[tokio::test]
async fn a_remembered_token_needs_a_proof_each_time() {
    let holder = Holder::new().await;
    for _ in 0..3 {
        assert!(holder.send(&holder.proof()).await.is_ok());
    }
    assert_eq!(holder.stand.identity.verified_tokens(), 1);
    assert_eq!(holder.refusal_of_claims(&[("htm", json!("POST"))]).await, Reason::BAD_PROOF);
    assert_eq!(holder.stand.acme.key_sets(), 1);
}

#[tokio::test]
async fn a_bad_token_with_a_good_proof() {
    let mut holder = Holder::new().await;
    let cnf = ("cnf", json!({"jkt": thumbprint(&holder.key.jwk)}));
    holder.token = holder.stand.token_with(&[], &[cnf.clone(), ("exp", json!(NOW.seconds() - 100))]);
    assert_eq!(holder.refusal(&holder.proof()).await, Reason::TOKEN_EXPIRED);
    let claims = with(&holder.stand.claims(), &[cnf]).to_string();
    holder.token = Key::p256("key-1").sign(&holder.stand.acme_key.header().to_string(), &claims);
    assert_eq!(holder.refusal(&holder.proof()).await, Reason::BAD_SIGNATURE);
}
