//! An identity provider on 127.0.0.1: discovery document, key set, and tokens of any shape.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _,
};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Response, StatusCode, header};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt as _, stream};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A private key, its public JWK and its raw public point.
pub(super) struct Key {
    pub(super) kid: &'static str,
    pub(super) algorithm: Algorithm,
    pub(super) private: EncodingKey,
    pub(super) jwk: Value,
    pub(super) public: Vec<u8>,
}

/// What the provider does when asked.
#[derive(Clone)]
pub(super) enum Answer {
    Keys(Value),
    KeysFor {
        keys: Value,
        cache_control: &'static str,
    },
    Status(StatusCode),
    Html,
    /// To `/elsewhere`, where the same keys wait for who follows.
    Redirect(Value),
    /// Fifty megabytes in pieces.
    Flood,
    /// Takes the request and never answers.
    Silent,
    /// Begins to answer and never ends.
    Dripping,
    /// A discovery document in somebody else's name.
    Impostor,
    /// A discovery document that points elsewhere.
    KeysAt(String),
}

#[derive(Clone)]
pub(super) struct Idp(Arc<Inner>);

struct Inner {
    url: String,
    answer: Mutex<Answer>,
    discoveries: AtomicUsize,
    key_sets: AtomicUsize,
    elsewhere: AtomicUsize,
    pieces: AtomicUsize,
}

// === impl Key ===

impl Key {
    pub(super) fn p256(kid: &'static str) -> Self {
        Self::elliptic(kid, &ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", Algorithm::ES256)
    }

    pub(super) fn p384(kid: &'static str) -> Self {
        Self::elliptic(kid, &ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", Algorithm::ES384)
    }

    fn elliptic(kid: &'static str, alg: &'static EcdsaSigningAlgorithm, curve: &str, algorithm: Algorithm) -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(alg, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(alg, pkcs8.as_ref()).unwrap();
        let public = pair.public_key().as_ref().to_vec();
        let (x, y) = public[1..].split_at((public.len() - 1) / 2);
        let jwk = json!({"kty": "EC", "crv": curve, "kid": kid, "x": b64(x), "y": b64(y)});
        Self { kid, algorithm, private: EncodingKey::from_ec_der(pkcs8.as_ref()), jwk, public }
    }

    pub(super) fn ed25519(kid: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public = pair.public_key().as_ref().to_vec();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(&public)});
        Self { kid, algorithm: Algorithm::EdDSA, private: EncodingKey::from_ed_der(pkcs8.as_ref()), jwk, public }
    }

    pub(super) fn rsa(kid: &'static str, algorithm: Algorithm) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = pair.public_key();
        let (n, e) = (public.modulus().big_endian_without_leading_zero(), public.exponent());
        let jwk = json!({"kty": "RSA", "kid": kid, "n": b64(n), "e": b64(e.big_endian_without_leading_zero())});
        let pkcs8 = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let pem = pem_of("PRIVATE KEY", pkcs8.as_ref());
        let private = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        Self { kid, algorithm, private, jwk, public: public.as_ref().to_vec() }
    }

    /// A copy that goes by another name.
    pub(super) fn jwk_with(&self, changes: &[(&str, Value)]) -> Value {
        with(&self.jwk, changes)
    }

    /// Signs whatever it is given, well-formed or not.
    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        sign_with(&self.private, self.algorithm, header, claims)
    }

    pub(super) fn header(&self) -> Value {
        json!({"alg": format!("{:?}", self.algorithm), "kid": self.kid, "typ": "at+jwt"})
    }
}

pub(super) fn sign_with(key: &EncodingKey, algorithm: Algorithm, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

pub(super) fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn pem_of(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// `null` takes a member away.
pub(super) fn with(object: &Value, changes: &[(&str, Value)]) -> Value {
    let mut object = object.as_object().unwrap().clone();
    for (name, value) in changes {
        match value {
            Value::Null => object.remove(*name),
            value => object.insert((*name).to_owned(), value.clone()),
        };
    }
    Value::Object(object)
}

pub(super) fn key_set(keys: &[&Key]) -> Value {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
    json!({ "keys": keys })
}

// === impl Idp ===

impl Idp {
    /// Listens for as long as the test's runtime lives.
    pub(super) async fn start(answer: Answer) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let idp = Self::at(format!("http://{}", listener.local_addr().unwrap()), answer);
        let router = idp.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        idp
    }

    /// Not served yet.
    pub(super) fn at(url: String, answer: Answer) -> Self {
        let zero = AtomicUsize::default;
        let answer = Mutex::new(answer);
        Self(Arc::new(Inner { url, answer, discoveries: zero(), key_sets: zero(), elsewhere: zero(), pieces: zero() }))
    }

    pub(super) fn router(&self) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/elsewhere", get(elsewhere))
            .with_state(self.clone())
    }

    pub(super) fn url(&self) -> &str {
        &self.0.url
    }

    pub(super) fn now_answers(&self, answer: Answer) {
        *self.0.answer.lock().unwrap() = answer;
    }

    fn answer(&self) -> Answer {
        self.0.answer.lock().unwrap().clone()
    }

    pub(super) fn discoveries(&self) -> usize {
        self.0.discoveries.load(Ordering::SeqCst)
    }

    pub(super) fn key_sets(&self) -> usize {
        self.0.key_sets.load(Ordering::SeqCst)
    }

    pub(super) fn elsewhere(&self) -> usize {
        self.0.elsewhere.load(Ordering::SeqCst)
    }

    /// Pieces of 64 KiB that left in a flood.
    pub(super) fn pieces(&self) -> usize {
        self.0.pieces.load(Ordering::SeqCst)
    }
}

async fn discovery(State(idp): State<Idp>) -> Response<Body> {
    idp.0.discoveries.fetch_add(1, Ordering::SeqCst);
    let url = idp.url();
    let document = |issuer: &str, keys: &str| json_answer(&json!({"issuer": issuer, "jwks_uri": keys}), None);
    match idp.answer() {
        Answer::Impostor => document("https://idp.other.example", &format!("{url}/keys")),
        Answer::KeysAt(keys) => document(url, &keys),
        Answer::Status(status) => Response::builder().status(status).body(Body::empty()).unwrap(),
        _ => document(url, &format!("{url}/keys")),
    }
}

async fn keys(State(idp): State<Idp>) -> Response<Body> {
    idp.0.key_sets.fetch_add(1, Ordering::SeqCst);
    match idp.answer() {
        Answer::Keys(keys) => json_answer(&keys, None),
        Answer::KeysFor { keys, cache_control } => json_answer(&keys, Some(cache_control)),
        Answer::Html => Response::builder()
            .header(header::CONTENT_TYPE, "text/html")
            .body(Body::from("<!doctype html><title>maintenance</title>"))
            .unwrap(),
        Answer::Redirect(_) => {
            let to = format!("{}/elsewhere", idp.url());
            Response::builder().status(StatusCode::FOUND).header(header::LOCATION, to).body(Body::empty()).unwrap()
        }
        Answer::Flood => Response::new(Body::from_stream(stream::iter(0..800).map(move |_| {
            idp.0.pieces.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 64 * 1024]))
        }))),
        Answer::Silent => std::future::pending().await,
        Answer::Dripping => {
            let first = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from_static(b"{\"keys\":["))]);
            Response::new(Body::from_stream(first.chain(stream::pending())))
        }
        Answer::Impostor | Answer::KeysAt(_) => json_answer(&json!({"keys": []}), None),
        Answer::Status(status) => Response::builder().status(status).body(Body::empty()).unwrap(),
    }
}

async fn elsewhere(State(idp): State<Idp>) -> Response<Body> {
    idp.0.elsewhere.fetch_add(1, Ordering::SeqCst);
    let Answer::Redirect(keys) = idp.answer() else { panic!("nobody was sent here") };
    json_answer(&keys, None)
}

fn json_answer(document: &Value, cache_control: Option<&str>) -> Response<Body> {
    let answer = Response::builder().header(header::CONTENT_TYPE, "application/json");
    let answer = cache_control.into_iter().fold(answer, |answer, value| answer.header(header::CACHE_CONTROL, value));
    answer.body(Body::from(document.to_string())).unwrap()
}
