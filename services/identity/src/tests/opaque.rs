//! Opaque tokens (RFC 7662): who sees them, what an answer is worth, and what strangers and outages do.

use super::introspector::{Introspector, Manner};
use super::stand::{AUDIENCE, NOW, Stand, bearer, id, presented, until};
use crate::{ClientAuthorities, Failure, IdentityOptions, LoginError, PeerCertificate, Presented};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use model::party::Issuer;
use model::{Authenticated, AuthenticationMethod, Binding, Digest, Reason, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

const ACME_HOST: &str = "acme.data.example";
const BOLT_HOST: &str = "bolt.data.example";

/// Acme's opaque tokens have a prefix; bolt's are known by the host alone.
struct Desks {
    stand: Stand,
    acme: Introspector,
    bolt: Introspector,
}

impl Desks {
    async fn new() -> Self {
        Self::with_options(IdentityOptions::default()).await
    }

    async fn with_options(options: IdentityOptions) -> Self {
        let (acme, bolt) = (Introspector::start().await, Introspector::start().await);
        let mut stand = Stand::with_options(options).await;
        let of_bolt = bolt.entry(None, Some(BOLT_HOST));
        stand.parties.issuers.get_mut(&id("bolt")).unwrap().introspection = Some(of_bolt);
        let of_acme = acme.entry(Some("acme_"), Some(ACME_HOST));
        stand.change_acme(|issuer| issuer.introspection = Some(of_acme));
        Self { stand, acme, bolt }
    }

    /// What acme says of a good token, with changes; `null` takes a member away.
    fn good(&self, changes: &[(&str, Value)]) -> Value {
        let now = NOW.seconds();
        let good = json!({"active": true, "aud": AUDIENCE, "sub": "anna@acme.example", "exp": now + 300,
            "jti": "opaque-1", "client_id": "line-monitor", "token_type": "Bearer"});
        super::idp::with(&good, changes)
    }

    fn issue(&self, token: &str) {
        self.acme.says(token, self.good(&[]));
    }

    async fn login(&self, token: &str) -> Result<Authenticated, LoginError> {
        self.login_at(token, NOW).await
    }

    async fn login_at(&self, token: &str, now: Timestamp) -> Result<Authenticated, LoginError> {
        self.stand.login_at(token, now).await
    }

    async fn refusal_at(&self, token: &str, now: Timestamp) -> Reason {
        let error = self.login_at(token, now).await.expect_err("must be refused");
        assert!(!error.to_string().contains(token) && !error.to_string().contains("127.0.0.1"), "{error}");
        error.reason
    }

    /// The reason for refusing a token of which acme says this.
    async fn refusal_of(&self, changes: &[(&str, Value)]) -> Reason {
        let token = format!("acme_{}", Digest::of(format!("{changes:?}").as_bytes()));
        self.acme.says(&token, self.good(changes));
        self.refusal_at(&token, NOW).await
    }

    async fn at_host(&self, token: &str, host: &str) -> Result<Authenticated, LoginError> {
        let headers = bearer(token);
        self.stand.present(&Presented { host: Some(host), ..presented(&headers, false) }, NOW).await
    }

    /// Why acme could not be asked about this token, as an explanation has it.
    async fn failure(&self, token: &str) -> Option<Failure> {
        let (headers, nobody) = (bearer(token), ClientAuthorities::default());
        self.stand.identity.explain(&presented(&headers, false), &self.stand.parties, &nobody, NOW).await.failure
    }

    fn asked(&self) -> (usize, usize) {
        (self.acme.count(), self.bolt.count())
    }
}

// === what passes ===

#[tokio::test]
async fn an_opaque_token_that_its_issuer_vouches_for() {
    let desks = Desks::new().await;
    desks.issue("acme_7Hx-._");
    let caller = desks.login("acme_7Hx-._").await.unwrap();
    assert_eq!(caller.principal().to_text(), "acme/anna@acme.example");
    assert_eq!((caller.method(), caller.binding()), (AuthenticationMethod::Opaque, Binding::None));
    assert_eq!(caller.token_id(), Some("opaque-1"));
    assert_eq!(caller.fingerprint(), Digest::of(b"acme_7Hx-._"));
    let asked = desks.acme.questions();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body, "token=acme_7Hx-._&token_type_hint=access_token");
    assert_eq!(asked[0].authorization, format!("Basic {}", STANDARD.encode("mill+gate:s3%3Acret")));
}

#[tokio::test]
async fn the_configured_claim_names_the_principal() {
    let mut desks = Desks::new().await;
    desks.stand.change_acme(|issuer| issuer.subject_claim = "client_id".into());
    desks.acme.says("acme_1", desks.good(&[("sub", Value::Null)]));
    assert_eq!(desks.login("acme_1").await.unwrap().principal().to_text(), "acme/line-monitor");
}

#[tokio::test]
async fn a_changed_secret_counts_from_the_next_question_on() {
    let desks = Desks::new().await;
    desks.issue("acme_1");
    desks.login("acme_1").await.unwrap();
    let model::party::SecretRef::File(file) = desks.acme.entry(None, None).client_secret else { panic!("a file") };
    std::fs::write(file, "rotated").unwrap();
    desks.login_at("acme_1", NOW.plus_millis(1_000)).await.unwrap();
    let asked = desks.acme.questions();
    assert_eq!(asked[1].authorization, format!("Basic {}", STANDARD.encode("mill+gate:rotated")));
}

#[tokio::test]
async fn a_token_bound_to_a_certificate_or_a_key() {
    let mut desks = Desks::new().await;
    desks.stand.change_acme(|issuer| issuer.unregistered_certificates = true);
    let certificate = rcgen::generate_simple_self_signed(["press-3.acme.example".to_owned()]).unwrap().cert;
    let own = PeerCertificate::new(vec![certificate.der().clone()]).unwrap();
    let thumbprint = URL_SAFE_NO_PAD.encode(own.thumbprint().0);
    desks.acme.says("acme_cert", desks.good(&[("cnf", json!({"x5t#S256": thumbprint}))]));
    desks.acme.says("acme_key", desks.good(&[("cnf", json!({"jkt": thumbprint})), ("token_type", json!("DPoP"))]));
    let headers = bearer("acme_cert");
    let shown = Presented { certificate: Some(&own), ..presented(&headers, false) };
    assert_eq!(desks.stand.present(&shown, NOW).await.unwrap().binding(), Binding::Certificate);
    assert_eq!(desks.refusal_at("acme_cert", NOW).await, Reason::BAD_BINDING);
    // As Bearer it could be stolen; the proofs themselves are judged as with any other token.
    assert_eq!(desks.refusal_at("acme_key", NOW).await, Reason::BAD_BINDING);
}

// === whose token it is ===

#[tokio::test]
async fn a_token_of_one_company_is_never_shown_to_another() {
    let desks = Desks::new().await;
    // By its prefix acme's, wherever it comes to, and even though acme knows nothing of it.
    assert_eq!(desks.at_host("acme_1", BOLT_HOST).await.unwrap_err().reason, Reason::TOKEN_INACTIVE);
    assert_eq!(desks.asked(), (1, 0));
    // By the host bolt's.
    assert_eq!(desks.at_host("opaque-1", BOLT_HOST).await.unwrap_err().reason, Reason::TOKEN_INACTIVE);
    assert_eq!(desks.asked(), (1, 1));
    // Nobody's.
    for host in ["data.plant.example", "bolt.data.example.", "xbolt.data.example", "data.example", ""] {
        assert_eq!(desks.at_host("opaque-2", host).await.unwrap_err().reason, Reason::MALFORMED_TOKEN);
    }
    assert_eq!(desks.refusal_at("opaque-3", NOW).await, Reason::MALFORMED_TOKEN);
    assert_eq!(desks.refusal_at("acme", NOW).await, Reason::MALFORMED_TOKEN);
    assert_eq!(desks.refusal_at("ACME_1", NOW).await, Reason::MALFORMED_TOKEN);
    assert_eq!(desks.asked(), (1, 1));
}

#[tokio::test]
async fn a_signed_token_is_never_shown_to_anybody() {
    let desks = Desks::new().await;
    let forged =
        desks.stand.bolt_key.sign(&desks.stand.acme_key.header().to_string(), &desks.stand.claims().to_string());
    for token in [forged.as_str(), "a.b.c", "acme_.b.c"] {
        assert!(desks.at_host(token, BOLT_HOST).await.is_err());
    }
    assert_eq!(desks.asked(), (0, 0));
}

#[tokio::test]
async fn an_actors_token_is_not_known_by_the_host() {
    let desks = Desks::new().await;
    desks.bolt.says("subject", json!({"active": true, "aud": AUDIENCE, "sub": "bea", "exp": NOW.seconds() + 300}));
    let mut headers = bearer("subject");
    headers.insert("millgate-actor-token", HeaderValue::from_static("actor-of-somebody-else"));
    let shown = Presented { host: Some(BOLT_HOST), ..presented(&headers, false) };
    assert_eq!(desks.stand.present(&shown, NOW).await.unwrap_err().reason, Reason::MALFORMED_TOKEN);
    assert!(desks.bolt.questions().iter().all(|asked| !asked.body.contains("somebody")));
}

#[tokio::test]
async fn a_prefix_or_host_that_two_issuers_claim_is_nobodys() {
    let mut desks = Desks::new().await;
    let claims = desks.bolt.entry(Some("acme_x"), Some(ACME_HOST));
    desks.stand.parties.issuers.get_mut(&id("bolt")).unwrap().introspection = Some(claims);
    desks.stand.identity.update(&desks.stand.parties);
    for token in ["acme_1", "acme_x1", "opaque-1"] {
        assert_eq!(desks.at_host(token, ACME_HOST).await.unwrap_err().reason, Reason::MALFORMED_TOKEN, "{token}");
    }
    assert_eq!(desks.asked(), (0, 0));
}

#[tokio::test]
async fn characters_that_no_token_has_are_not_handed_on() {
    let desks = Desks::new().await;
    for token in ["acme_ 1", "acme_&a=b", "acme_%00", "acme_\"", "acme_=1", "==="] {
        assert_eq!(desks.at_host(token, BOLT_HOST).await.unwrap_err().reason, Reason::MALFORMED_TOKEN, "{token}");
    }
    assert_eq!(desks.asked(), (0, 0));
}

// === what an answer must say ===

#[tokio::test]
async fn what_the_issuer_says_is_judged_like_a_signed_tokens_claims() {
    let desks = Desks::new().await;
    let now = NOW.seconds();
    let cases = [
        ("aud", Value::Null, Reason::BAD_CLAIM),
        ("aud", json!("https://other.example"), Reason::WRONG_AUDIENCE),
        ("exp", Value::Null, Reason::BAD_CLAIM),
        ("exp", json!("soon"), Reason::BAD_CLAIM),
        ("exp", json!(now - 30), Reason::TOKEN_EXPIRED),
        ("nbf", json!(now + 31), Reason::TOKEN_NOT_YET_VALID),
        ("iat", json!(now + 31), Reason::TOKEN_NOT_YET_VALID),
        ("iat", json!("now"), Reason::BAD_CLAIM),
        ("sub", Value::Null, Reason::BAD_CLAIM),
        ("iss", json!("https://idp.bolt.example"), Reason::BAD_CLAIM),
        ("iss", json!(["x"]), Reason::BAD_CLAIM),
        ("token_type", json!("refresh_token"), Reason::BAD_TOKEN_TYPE),
        ("token_use", json!("refresh_token"), Reason::BAD_TOKEN_TYPE),
        ("token_type", json!("DPoP"), Reason::BAD_BINDING),
        ("cnf", json!({"kid": "1"}), Reason::BAD_BINDING),
        ("act", json!("bob"), Reason::BAD_DELEGATION),
        ("act", json!({"sub": "bob", "iss": "https://idp.bolt.example"}), Reason::BAD_DELEGATION),
    ];
    for (name, value, reason) in cases {
        assert_eq!(desks.refusal_of(&[(name, value.clone())]).await, reason, "{name}: {value}");
    }
}

#[tokio::test]
async fn without_iat_the_age_of_a_token_cannot_be_judged() {
    let mut desks = Desks::new().await;
    desks.issue("acme_1");
    assert!(desks.login("acme_1").await.is_ok());
    desks.stand.change_acme(|issuer| issuer.token_age_max_seconds = Some(60));
    assert_eq!(desks.refusal_at("acme_1", NOW).await, Reason::BAD_CLAIM);
}

#[tokio::test]
async fn an_answer_that_is_none() {
    for manner in [
        Manner::Text("text/html", "<!doctype html><title>maintenance</title>"),
        Manner::Text("text/plain", r#"{"active":true}"#),
        Manner::Text("application/jwt", "eyJ.eyJ.x"),
        Manner::Text("application/json", r#"{"active":true,"active":true}"#),
        Manner::Text("application/json", r#"{"active":"true"}"#),
        Manner::Text("application/json", ""),
        Manner::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Manner::Status(StatusCode::UNAUTHORIZED),
        Manner::Status(StatusCode::CREATED),
        Manner::Redirect,
        Manner::Flood,
    ] {
        let desks = Desks::new().await;
        desks.issue("acme_1");
        desks.acme.is_now(manner);
        assert_eq!(desks.refusal_at("acme_1", NOW).await, Reason::ISSUER_UNAVAILABLE);
        assert_eq!(desks.acme.elsewhere(), 0);
        // Nothing of it is remembered.
        desks.acme.is_now(Manner::Truthful);
        assert!(desks.login("acme_1").await.is_ok());
    }
}

#[tokio::test]
async fn the_operator_is_told_whether_an_endpoint_refuses_our_secret() {
    let desks = Desks::new().await;
    desks.issue("acme_1");
    let refused = "answered 401 Unauthorized: it refuses our `client_id` and `client_secret`";
    let cases =
        [(StatusCode::UNAUTHORIZED, refused, true), (StatusCode::BAD_GATEWAY, "answered 502 Bad Gateway", false)];
    for (status, what, refuses) in cases {
        desks.acme.is_now(Manner::Status(status));
        let failure = desks.failure("acme_1").await.unwrap();
        assert!(failure.to_string().ends_with(what), "{failure}");
        assert_eq!(matches!(failure, Failure::Credentials(_)), refuses, "{failure:?}");
    }
    desks.acme.is_now(Manner::Truthful);
    assert_eq!(desks.failure("acme_1").await, None);
    assert_eq!(desks.failure("acme_2").await, None, "that it does not count is an answer");
}

/// The secret for questions is not what metadata is fetched with.
#[tokio::test]
async fn metadata_that_wants_a_credential_does_not_refuse_our_secret() {
    let mut desks = Desks::new().await;
    desks.stand.acme.now_answers(super::idp::Answer::Status(StatusCode::UNAUTHORIZED));
    let entry = model::party::Introspection { url: None, ..desks.acme.entry(Some("acme_"), None) };
    desks.stand.change_acme(|issuer| issuer.introspection = Some(entry));
    let failure = desks.failure("acme_1").await;
    assert!(matches!(&failure, Some(Failure::Question(why)) if why.contains("401")), "{failure:?}");
}

#[tokio::test]
async fn an_issuer_that_never_answers() {
    let desks = Desks::with_options(IdentityOptions { fetch_timeout_ms: 100, ..IdentityOptions::default() }).await;
    desks.acme.is_now(Manner::Silent);
    assert_eq!(desks.refusal_at("acme_1", NOW).await, Reason::ISSUER_UNAVAILABLE);
}

// === how long an answer counts ===

#[tokio::test]
async fn a_withdrawn_token_is_out_when_the_answer_ends() {
    let desks = Desks::new().await;
    desks.issue("acme_1");
    desks.login("acme_1").await.unwrap();
    desks.acme.says("acme_1", Value::Null);
    assert!(desks.login_at("acme_1", NOW.plus_millis(999)).await.is_ok());
    assert_eq!(desks.acme.count(), 1);
    assert_eq!(desks.refusal_at("acme_1", NOW.plus_millis(1_000)).await, Reason::TOKEN_INACTIVE);
    // So is one that was unknown, no longer and no shorter.
    desks.issue("acme_1");
    assert_eq!(desks.refusal_at("acme_1", NOW.plus_millis(1_999)).await, Reason::TOKEN_INACTIVE);
    assert_eq!(desks.acme.count(), 2);
    assert!(desks.login_at("acme_1", NOW.plus_millis(2_000)).await.is_ok());
}

#[tokio::test]
async fn without_a_cache_each_request_is_a_question() {
    let mut desks = Desks::new().await;
    let entry = model::party::Introspection { cache_ms: 0, ..desks.acme.entry(Some("acme_"), None) };
    desks.stand.change_acme(|issuer| issuer.introspection = Some(entry));
    desks.issue("acme_1");
    desks.login("acme_1").await.unwrap();
    desks.acme.says("acme_1", Value::Null);
    assert_eq!(desks.refusal_at("acme_1", NOW).await, Reason::TOKEN_INACTIVE);
}

#[tokio::test]
async fn clock_and_registry_are_judged_on_a_remembered_answer() {
    let mut desks = Desks::new().await;
    desks.stand.change_acme(|issuer| issuer.leeway_seconds = 0);
    desks.acme.says("acme_1", desks.good(&[("exp", json!(NOW.seconds() + 1))]));
    desks.issue("acme_2");
    desks.login_at("acme_1", NOW.plus_millis(500)).await.unwrap();
    assert_eq!(desks.refusal_at("acme_1", NOW.plus_millis(1_000)).await, Reason::TOKEN_EXPIRED);
    desks.login("acme_2").await.unwrap();
    desks.stand.parties.revocations.tokens.insert((id("acme"), "opaque-1".into()));
    assert_eq!(desks.refusal_at("acme_2", NOW).await, Reason::REVOKED);
    assert_eq!(desks.acme.count(), 2);
}

#[tokio::test]
async fn an_outage_makes_no_answer_live_longer() {
    let desks = Desks::new().await;
    desks.issue("acme_1");
    desks.login("acme_1").await.unwrap();
    desks.acme.is_now(Manner::Status(StatusCode::SERVICE_UNAVAILABLE));
    assert!(desks.login_at("acme_1", NOW.plus_millis(999)).await.is_ok());
    assert_eq!(desks.refusal_at("acme_1", NOW.plus_millis(1_000)).await, Reason::ISSUER_UNAVAILABLE);
    // Nor does a clock that is set back.
    assert_eq!(desks.refusal_at("acme_1", NOW.plus_millis(-1_000)).await, Reason::ISSUER_UNAVAILABLE);
}

#[tokio::test]
async fn another_configuration_begins_without_answers() {
    let mut desks = Desks::new().await;
    desks.issue("acme_1");
    desks.login("acme_1").await.unwrap();
    desks.stand.change_acme(|issuer| issuer.leeway_seconds = 5);
    desks.login("acme_1").await.unwrap();
    assert_eq!(desks.acme.count(), 1);
    desks.stand.change_acme(|issuer| issuer.introspection.as_mut().unwrap().client_id = "other".into());
    desks.login("acme_1").await.unwrap();
    assert_eq!(desks.acme.count(), 2);
    desks.stand.change_acme(|issuer| issuer.introspection = None);
    assert_eq!(desks.refusal_at("acme_1", NOW).await, Reason::MALFORMED_TOKEN);
}

// === strangers ===

#[tokio::test]
async fn one_question_for_all_who_ask_at_once() {
    let desks = Arc::new(Desks::new().await);
    desks.issue("acme_1");
    let logins: Vec<_> = (0..50)
        .map(|_| {
            let desks = Arc::clone(&desks);
            tokio::spawn(async move { desks.login("acme_1").await.is_ok() })
        })
        .collect();
    for login in logins {
        assert!(login.await.unwrap());
    }
    assert_eq!(desks.acme.count(), 1);
}

#[tokio::test]
async fn a_flood_of_invented_tokens_asks_at_a_bounded_rate() {
    let desks = Desks::new().await;
    desks.issue("acme_1");
    desks.login("acme_1").await.unwrap();
    let later = NOW.plus_millis(1_000);
    for n in 0..5_000 {
        let reason = desks.refusal_at(&format!("acme_invented{n}"), later).await;
        assert!([Reason::TOKEN_INACTIVE, Reason::ISSUER_UNAVAILABLE].contains(&reason));
    }
    assert_eq!(desks.acme.count(), 101);
    assert_eq!(desks.refusal_at("acme_invented", later).await, Reason::ISSUER_UNAVAILABLE);
    assert!(desks.login_at("acme_1", later).await.is_ok());
    // Another issuer's desk has its own rate.
    desks.bolt.says("b", json!({"active": true, "aud": AUDIENCE, "sub": "bea", "exp": NOW.seconds() + 300}));
    assert!(desks.at_host("b", BOLT_HOST).await.is_ok());
}

#[tokio::test]
async fn strangers_that_hold_up_every_question_lock_nobody_out() {
    let desks = Arc::new(Desks::new().await);
    desks.issue("acme_1");
    desks.login("acme_1").await.unwrap();
    desks.acme.is_now(Manner::HoldingStrangersUp);
    let later = NOW.plus_millis(1_000);
    let strangers: Vec<_> = (0..100)
        .map(|n| {
            let desks = Arc::clone(&desks);
            tokio::spawn(async move { desks.refusal_at(&format!("acme_invented{n}"), later).await })
        })
        .collect();
    until(|| desks.acme.count() == 17).await;
    until(|| strangers.iter().filter(|stranger| stranger.is_finished()).count() == 84).await;
    // Sixteen are with the issuer. Who was in stays in; nobody else gets in meanwhile.
    assert!(desks.login_at("acme_1", later).await.is_ok());
    desks.issue("acme_2");
    assert_eq!(desks.refusal_at("acme_2", later).await, Reason::ISSUER_UNAVAILABLE);
    desks.acme.let_go();
    for stranger in strangers {
        assert!([Reason::TOKEN_INACTIVE, Reason::ISSUER_UNAVAILABLE].contains(&stranger.await.unwrap()));
    }
    assert!(desks.login_at("acme_2", later).await.is_ok());
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_no_question_of_others() {
    let desks = Arc::new(Desks::new().await);
    desks.acme.is_now(Manner::HoldingStrangersUp);
    let login = |desks: Arc<Desks>| tokio::spawn(async move { desks.login("acme_1").await.is_err() });
    let first = login(Arc::clone(&desks));
    until(|| desks.acme.count() == 1).await;
    let second = login(Arc::clone(&desks));
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    desks.acme.let_go();
    assert!(second.await.unwrap());
    assert_eq!(desks.acme.count(), 1);
}

// === where questions go ===

/// Acme with the endpoint that its metadata names.
async fn found_by_metadata(names: impl FnOnce(&Introspector) -> String) -> (Desks, Introspector) {
    let (mut desks, other) = (Desks::new().await, Introspector::start().await);
    let url = desks.acme.url().to_owned();
    desks.acme.has_metadata(json!({"issuer": url, "introspection_endpoint": names(&other)}));
    let entry = model::party::Introspection { url: None, ..desks.acme.entry(Some("acme_"), None) };
    desks.stand.change_acme(|issuer| {
        *issuer = Issuer { url: url.clone(), introspection: Some(entry), ..issuer.clone() };
    });
    desks.issue("acme_1");
    (desks, other)
}

#[tokio::test]
async fn the_endpoint_of_the_issuers_metadata() {
    let (desks, _) = found_by_metadata(|_| String::new()).await;
    let url = desks.acme.url();
    desks.acme.has_metadata(json!({"issuer": url, "introspection_endpoint": format!("{url}/ask")}));
    assert!(desks.login("acme_1").await.is_ok());
}

#[tokio::test]
async fn metadata_cannot_send_tokens_and_our_secret_elsewhere() {
    let (desks, other) = found_by_metadata(|other| format!("{}/ask", other.url())).await;
    other.says("acme_1", desks.good(&[]));
    assert_eq!(desks.refusal_at("acme_1", NOW).await, Reason::ISSUER_UNAVAILABLE);
    assert_eq!((other.count(), desks.acme.count()), (0, 0));
    for endpoint in [json!(null), json!(7), json!("http://127.0.0.1.attacker.example/ask"), json!("/ask")] {
        let (desks, _) = found_by_metadata(|_| String::new()).await;
        desks.acme.has_metadata(json!({"issuer": desks.acme.url(), "introspection_endpoint": endpoint}));
        assert_eq!(desks.refusal_at("acme_1", NOW).await, Reason::ISSUER_UNAVAILABLE);
    }
}

#[tokio::test]
async fn metadata_in_somebody_elses_name_names_no_endpoint() {
    let (desks, _) = found_by_metadata(|_| String::new()).await;
    let endpoint = format!("{}/ask", desks.acme.url());
    desks.acme.has_metadata(json!({"issuer": "https://idp.other.example", "introspection_endpoint": endpoint}));
    assert_eq!(desks.refusal_at("acme_1", NOW).await, Reason::ISSUER_UNAVAILABLE);
    assert_eq!(desks.acme.count(), 0);
}

#[tokio::test]
async fn metadata_that_hangs_does_not_close_an_endpoint_that_answers() {
    let (mut desks, _) = found_by_metadata(|_| String::new()).await;
    desks.stand.identity =
        crate::Identity::new(IdentityOptions { fetch_timeout_ms: 2_000, ..IdentityOptions::default() });
    desks.stand.identity.update(&desks.stand.parties);
    let url = desks.acme.url();
    desks.acme.has_metadata(json!({"issuer": url, "introspection_endpoint": format!("{url}/ask")}));
    desks.acme.says("acme_1", desks.good(&[("exp", json!(NOW.seconds() + 3_600))]));
    assert!(desks.login("acme_1").await.is_ok());
    desks.acme.has_metadata(Value::Null);
    let later = |seconds: i64| NOW.plus_millis(1_000 * seconds);
    assert!(desks.login_at("acme_1", later(301)).await.is_ok());
    // It is not looked for again with the next question.
    let asked_at = std::time::Instant::now();
    assert!(desks.login_at("acme_1", later(303)).await.is_ok());
    assert!(asked_at.elapsed().as_millis() < 1_000);
}

// === what is remembered ===

#[tokio::test]
async fn an_answer_by_which_nobody_was_let_in_is_not_remembered() {
    let desks = Desks::new().await;
    desks.acme.says("acme_1", desks.good(&[("aud", json!("https://other.example"))]));
    for _ in 0..2 {
        assert_eq!(desks.refusal_at("acme_1", NOW).await, Reason::WRONG_AUDIENCE);
    }
    assert_eq!(desks.acme.count(), 2);
}

#[tokio::test]
async fn an_issuer_cannot_fill_the_memory_with_large_answers() {
    let desks = Desks::new().await;
    desks.acme.says("acme_1", desks.good(&[("groups", json!(vec![""; 1_500]))]));
    for _ in 0..2 {
        assert!(desks.login("acme_1").await.is_ok());
    }
    assert_eq!(desks.acme.count(), 2);
    let many: serde_json::Map<String, Value> = (0..300).map(|n| (format!("a{n}"), json!(0))).collect();
    desks.acme.says("acme_2", desks.good(&[("aa", json!(many))]));
    assert_eq!(desks.refusal_at("acme_2", NOW).await, Reason::ISSUER_UNAVAILABLE);
}
