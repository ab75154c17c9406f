//! Identity providers of the demo's companies: OpenID Connect discovery, keys, and ES256 access tokens (RFC 9068).
//!
//! They exist only inside `millgate demo`: no configuration names them and `serve` cannot start them.

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use model::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// One company's identity provider.
pub struct Issuer {
    url: String,
    key: EncodingKey,
    key_id: String,
    jwk: Value,
}

impl Issuer {
    /// With a fresh key.
    pub fn generate(url: String) -> anyhow::Result<Self> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .context("a key for a demo issuer could not be made")?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())
            .context("a key for a demo issuer could not be read back")?;
        // SEC 1 uncompressed point: 0x04, then 32 bytes each of x and y.
        let point = pair.public_key().as_ref();
        let coordinate = |range| point.get(range).map(|b| URL_SAFE_NO_PAD.encode(b)).unwrap_or_default();
        let key_id = model::Digest::of(point).to_hex().chars().take(16).collect::<String>();
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": key_id,
            "x": coordinate(1..33), "y": coordinate(33..65),
        });
        Ok(Self { url, key: EncodingKey::from_ec_der(document.as_ref()), key_id, jwk })
    }

    /// An access token for `subject`, valid for `seconds` from now.
    pub fn token(&self, subject: &str, audience: &str, now: Timestamp, seconds: i64) -> anyhow::Result<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(String::from("at+jwt"));
        header.kid = Some(self.key_id.clone());
        let claims = json!({
            "iss": self.url, "sub": subject, "aud": audience, "client_id": subject,
            "iat": now.seconds(), "exp": now.seconds() + seconds,
            "jti": model::canonical::hex(&runtime::random::bytes::<16>()),
        });
        jsonwebtoken::encode(&header, &claims, &self.key).context("a demo token could not be signed")
    }
}

/// Serves `/NAME/.well-known/openid-configuration` and `/NAME/jwks` for each issuer.
pub fn router(issuers: Arc<BTreeMap<String, Issuer>>) -> Router {
    Router::new()
        .route("/{name}/.well-known/openid-configuration", get(discovery))
        .route("/{name}/jwks", get(keys))
        .with_state(issuers)
}

type Issuers = State<Arc<BTreeMap<String, Issuer>>>;

async fn discovery(State(issuers): Issuers, Path(name): Path<String>) -> Response {
    let Some(issuer) = issuers.get(&name) else { return StatusCode::NOT_FOUND.into_response() };
    axum::Json(json!({
        "issuer": issuer.url,
        "jwks_uri": format!("{}/jwks", issuer.url),
        "id_token_signing_alg_values_supported": ["ES256"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
    }))
    .into_response()
}

async fn keys(State(issuers): Issuers, Path(name): Path<String>) -> Response {
    let Some(issuer) = issuers.get(&name) else { return StatusCode::NOT_FOUND.into_response() };
    axum::Json(json!({ "keys": [issuer.jwk] })).into_response()
}

/// The URL of an issuer on the demo's issuer listener.
pub fn url(address: SocketAddr, name: &str) -> String {
    format!("http://{address}/{name}")
}
