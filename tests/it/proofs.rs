//! Tokens that are bound to a key (RFC 9449), on the wire: challenge, nonce, one use, and what the log says of it.

use crate::grpc;
use acceptance::{Plant, http, wait};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use model::{Clock as _, Digest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const SERIES: &str = "/plain/press-3.vibration";
const WINDOW: &str = "?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";

pub struct Key {
    private: EncodingKey,
    pub jwk: Value,
}

impl Key {
    pub fn generate() -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
        Self { private: EncodingKey::from_ec_der(document.as_ref()), jwk }
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }

    /// RFC 7638.
    fn thumbprint(&self) -> String {
        let members: BTreeMap<_, _> = self.jwk.as_object().unwrap().iter().collect();
        URL_SAFE_NO_PAD.encode(Digest::of(serde_json::to_string(&members).unwrap().as_bytes()).0)
    }
}

/// A provider of acme's that binds its tokens, and somebody who has one.
struct Holder {
    plant: Plant,
    key: Key,
    token: String,
}

impl Holder {
    async fn start() -> Self {
        let plant = Plant::start().await.unwrap();
        let (issuer, key) = (Key::generate(), Key::generate());
        let url = serve(json!({"keys": [issuer.jwk]})).await;
        let registry = plant.directory.path().join("policies/plants/munich/registry");
        let text = format!(
            "[issuer.acme-bound]\norganisation = \"acme\"\nurl = \"{url}\"\naudiences = [\"{}\"]\n\
             algorithms = [\"ES256\"]\nkind = \"service\"\nbinding = [\"dpop\"]\ndpop_nonce = true\n",
            millgate::demo::AUDIENCE
        );
        let before = plant.demo.running.broker.generation();
        std::fs::write(registry.join("bound.toml"), text).unwrap();
        let changed = async || (plant.demo.running.broker.generation() > before).then_some(());
        wait::until("the new issuer", changed).await.unwrap();
        let now = runtime::SystemClock.now().seconds();
        let claims = json!({"iss": url, "aud": millgate::demo::AUDIENCE, "sub": "press-monitor", "iat": now,
            "exp": now + 600, "cnf": {"jkt": key.thumbprint()}});
        let token = issuer.sign(&json!({"alg": "ES256", "typ": "at+jwt"}), &claims);
        Self { plant, key, token }
    }

    fn proof(&self, address: &str, nonce: Option<&str>) -> String {
        self.proof_of("GET", address, nonce)
    }

    fn proof_of(&self, method: &str, address: &str, nonce: Option<&str>) -> String {
        static SEQUENCE: AtomicUsize = AtomicUsize::new(0);
        let mut claims = json!({"jti": format!("proof-{}", SEQUENCE.fetch_add(1, Ordering::Relaxed)), "htm": method,
            "htu": address, "iat": runtime::SystemClock.now().seconds(),
            "ath": URL_SAFE_NO_PAD.encode(Digest::of(self.token.as_bytes()).0)});
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        self.key.sign(&json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.key.jwk}), &claims)
    }

    fn address(&self) -> String {
        format!("{}{SERIES}", self.plant.data())
    }

    async fn ask(&self, authorization: &str, more: &[(&str, &str)]) -> http::Answer {
        let mut headers = vec![("authorization", authorization), ("millgate-purpose", "predictive-maintenance")];
        headers.extend_from_slice(more);
        http::get(&format!("{}{WINDOW}", self.address()), &headers).await.unwrap()
    }

    async fn prove(&self, proof: &str, more: &[(&str, &str)]) -> http::Answer {
        let more = [&[("dpop", proof)], more].concat();
        self.ask(&format!("DPoP {}", self.token), &more).await
    }

    async fn nonce(&self) -> String {
        let answer = self.prove(&self.proof(&self.address(), None), &[]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "nonce_required"), "{}", answer.text());
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("DPoP ") && challenge.contains("error=\"use_dpop_nonce\""), "{challenge}");
        answer.header("dpop-nonce").to_owned()
    }
}

pub async fn serve(keys: Value) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let document = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
    let router = axum::Router::new()
        .route("/.well-known/openid-configuration", axum::routing::get(async move || axum::Json(document)))
        .route("/keys", axum::routing::get(async move || axum::Json(keys)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_is_served_with_a_new_proof_each_time_and_the_log_says_so() {
    let holder = Holder::start().await;
    let nonce = holder.nonce().await;
    let proof = holder.proof(&holder.address(), Some(&nonce));
    let answer = holder.prove(&proof, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!answer.header("dpop-nonce").is_empty(), "the next nonce comes before the first one ends");
    let entries = holder.plant.entries_of(answer.request_id()).await.unwrap();
    assert_eq!(entries[0]["binding"], "dpop", "{}", entries[0]);
    // Whoever has seen the whole request cannot send it again, nor use the token in another way.
    let replayed = holder.prove(&proof, &[]).await;
    assert_eq!((replayed.status, replayed.reason().as_str()), (401, "proof_replayed"));
    assert!(replayed.header("www-authenticate").contains("error=\"invalid_dpop_proof\""));
    let stolen = holder.ask(&format!("Bearer {}", holder.token), &[]).await;
    assert_eq!((stolen.status, stolen.reason().as_str()), (401, "bad_binding"));
    // A refusal by policy hands out the nonce too.
    let elsewhere = format!("{}/plain/feeder-2.torque", holder.plant.data());
    let (token, proof) = (format!("DPoP {}", holder.token), holder.proof(&elsewhere, Some(&nonce)));
    let headers = [("authorization", token.as_str()), ("dpop", proof.as_str())];
    let nowhere = http::get(&format!("{elsewhere}{WINDOW}"), &headers).await.unwrap();
    assert_eq!((nowhere.status, nowhere.header("dpop-nonce").is_empty()), (404, false), "{}", nowhere.text());
    holder.plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_counts_at_the_listeners_own_address_whatever_the_host_header_says() {
    let holder = Holder::start().await;
    let nonce = holder.nonce().await;
    let port = holder.plant.data().rsplit(':').next().unwrap().to_owned();
    for (address, host, status) in [
        (holder.address(), "evil.example", 200),
        (holder.address().to_uppercase().replace(&SERIES.to_uppercase(), SERIES), "127.0.0.1", 200),
        (format!("http://localhost:{port}{SERIES}"), "127.0.0.1", 200),
        (format!("http://evil.example{SERIES}"), "evil.example", 401),
        (format!("{}{SERIES}", holder.plant.api()), "127.0.0.1", 401),
        (format!("https://127.0.0.1:{port}{SERIES}"), "127.0.0.1", 401),
        (format!("{}/", holder.address()), "127.0.0.1", 401),
    ] {
        let answer = holder.prove(&holder.proof(&address, Some(&nonce)), &[("host", host)]).await;
        assert_eq!(answer.status, status, "{address} with {host}: {}", answer.text());
    }
    holder.plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_grpc_takes_a_proof_for_its_method_and_address() {
    let holder = Holder::start().await;
    let path = "/millgate.audit.v1.AuditLog/Query";
    let address = format!("{}{path}", holder.plant.api());
    let call = async |proof: &str| {
        let authorization = format!("DPoP {}", holder.token);
        let headers = [("content-type", "application/grpc"), ("authorization", &authorization), ("dpop", proof)];
        let (_, headers, _) = grpc::post(&holder.plant, path, &headers, grpc::framed(0, 0, &[])).await;
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        (text("grpc-status"), text("millgate-reason"), text("dpop-nonce"))
    };
    let (status, reason, nonce) = call(&holder.proof_of("POST", &address, None)).await;
    assert_eq!((status.as_str(), reason.as_str()), ("16", "nonce_required"));
    assert!(!nonce.is_empty(), "without it the next proof could not be made");
    for (method, address) in [("GET", &address), ("POST", &address.replace("Query", "Tail"))] {
        let (status, reason, _) = call(&holder.proof_of(method, address, Some(&nonce))).await;
        assert_eq!((status.as_str(), reason.as_str()), ("16", "bad_proof"), "{method} {address}");
    }
    let proof = holder.proof_of("POST", &address, Some(&nonce));
    let (status, reason, _) = call(&proof).await;
    assert_eq!((status.as_str(), reason.as_str()), ("7", "not_permitted"), "known, and no auditor");
    let (status, reason, _) = call(&proof).await;
    assert_eq!((status.as_str(), reason.as_str()), ("16", "proof_replayed"));
    holder.plant.stop().await;
}
