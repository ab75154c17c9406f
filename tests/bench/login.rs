//! What a login costs: an ES256 token at first and when it is remembered, alone and with a proof of possession (RFC
//! 9449), beside the bare verification of a signature by jsonwebtoken; and what forged tokens leave behind: see README.md.
//!
//! `cargo bench --workspace --bench login -- [LOGINS] [FORGED]`
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Method, header};
use identity::{ClientAuthorities, Identity, IdentityOptions, Origins, Presented};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use model::party::{Issuer, Parties, Revocations, SignatureAlgorithm};
use model::{Digest, IssuerId, OrganisationId, Origin, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hint::black_box;

const NOW: Timestamp = Timestamp(1_795_375_200_000);
const AUDIENCE: &str = "https://data.plant.example";
const PATH: &str = "/series/press-3.vibration";

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds an option of its own.
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let logins: usize = arguments.next().map_or(Ok(50_000), |a| a.parse()).context("LOGINS is a whole number")?;
    let forged: usize = arguments.next().map_or(Ok(0), |a| a.parse()).context("FORGED is a whole number")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(logins, forged))
}

async fn measure(logins: usize, forged: usize) -> anyhow::Result<()> {
    let (issuers, holders) = (Key::generate()?, Key::generate()?);
    let url = serve(json!({"keys": [issuers.jwk]})).await?;
    let identity = Identity::new(IdentityOptions { used_proofs_max: logins + 1, ..IdentityOptions::default() });
    let parties = parties(&url)?;
    identity.update(&parties);
    let bearer = issuers.sign(&json!({"alg": "ES256", "typ": "at+jwt"}), &claims(&url, None))?;
    let bound = claims(&url, Some(&holders.thumbprint()?));
    let bound = issuers.sign(&json!({"alg": "ES256", "typ": "at+jwt"}), &bound)?;
    let bare = headers(&format!("Bearer {bearer}"), None)?;
    let proven: Vec<HeaderMap> = (0..logins)
        .map(|n| headers(&format!("DPoP {bound}"), Some(&holders.proof(&bound, n)?)))
        .collect::<anyhow::Result<_>>()?;
    let firsts: Vec<HeaderMap> = (0..logins)
        .map(|n| {
            let mut claims = claims(&url, None);
            claims.as_object_mut().context("an object")?.insert(String::from("jti"), json!(format!("token-{n}")));
            let token = issuers.sign(&json!({"alg": "ES256", "typ": "at+jwt"}), &claims)?;
            headers(&format!("Bearer {token}"), None)
        })
        .collect::<anyhow::Result<_>>()?;
    let origins = Origins::new(Origin::parse(AUDIENCE));
    let login = async |headers: &HeaderMap| {
        let presented = Presented {
            headers,
            query_has_access_token: false,
            method: &Method::GET,
            origins: &origins,
            host: None,
            path: PATH,
            certificate: None,
        };
        identity.authenticate(&presented, &parties, &ClientAuthorities::default(), NOW).await
    };
    login(&bare).await?;
    let begun = cpu_seconds()?;
    for _ in 0..logins {
        black_box(login(&bare).await?);
    }
    let remembered = cpu_seconds()?;
    for headers in &proven {
        black_box(login(headers).await?);
    }
    let with_proof = cpu_seconds()?;
    let (message, signature) = bearer.rsplit_once('.').context("a token has dots")?;
    for _ in 0..logins {
        black_box(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &issuers.public, Algorithm::ES256)?);
    }
    let verified = cpu_seconds()?;
    for headers in &firsts {
        black_box(login(headers).await?);
    }
    let first = cpu_seconds()?;
    let each = |seconds: f64| seconds * 1e6 / logins as f64;
    println!("{:.2} us CPU per login with a remembered token", each(remembered - begun));
    println!("{:.2} us CPU per login with a remembered token and a proof", each(with_proof - remembered));
    println!("{:.2} us CPU per ES256 signature that jsonwebtoken verifies", each(verified - with_proof));
    println!("{:.2} us CPU per login with a token that was not seen before", each(first - verified));
    drop((firsts, proven));
    let (held, memory) = (identity.verified_tokens(), resident_kib()?);
    for n in 0..forged {
        anyhow::ensure!(login(&headers(&forge(&bearer, n)?, None)?).await.is_err(), "a forged token was let in");
    }
    if forged > 0 {
        let (held_now, memory_now) = (identity.verified_tokens(), resident_kib()?);
        println!(
            "{forged} forged tokens: {held} remembered before, {held_now} after; {memory} KiB before, {memory_now} after"
        );
        anyhow::ensure!(held == held_now, "a forged token is remembered");
    }
    Ok(())
}

/// The same header, another `jti`, and a signature that was made by nobody.
fn forge(token: &str, number: usize) -> anyhow::Result<String> {
    let (header, rest) = token.split_once('.').context("a token has dots")?;
    let (claims, _) = rest.split_once('.').context("a token has dots")?;
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    claims.as_object_mut().context("an object")?.insert(String::from("jti"), json!(format!("forged-{number}")));
    // Numbers that could be a signature: neither is zero nor beyond the order of the curve.
    let signature = [Digest::of(&number.to_le_bytes()).0, Digest::of(&number.to_be_bytes()).0].concat();
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    Ok(format!("Bearer {header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn resident_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

struct Key {
    private: EncodingKey,
    public: DecodingKey,
    jwk: Value,
}

impl Key {
    fn generate() -> anyhow::Result<Self> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())?;
        let (x, y) = pair.public_key().as_ref().get(1..).context("a point")?.split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let public = DecodingKey::from_ec_components(&x, &y)?;
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
        Ok(Self { private: EncodingKey::from_ec_der(document.as_ref()), public, jwk })
    }

    fn sign(&self, header: &Value, claims: &Value) -> anyhow::Result<String> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, Algorithm::ES256)?;
        Ok(format!("{message}.{signature}"))
    }

    /// RFC 7638.
    fn thumbprint(&self) -> anyhow::Result<String> {
        let members: BTreeMap<_, _> = self.jwk.as_object().context("an object")?.iter().collect();
        Ok(URL_SAFE_NO_PAD.encode(Digest::of(serde_json::to_string(&members)?.as_bytes()).0))
    }

    fn proof(&self, token: &str, number: usize) -> anyhow::Result<String> {
        let ath = URL_SAFE_NO_PAD.encode(Digest::of(token.as_bytes()).0);
        let claims = json!({"jti": format!("proof-{number}"), "htm": "GET", "htu": format!("{AUDIENCE}{PATH}"),
            "iat": NOW.seconds(), "ath": ath});
        self.sign(&json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk}), &claims)
    }
}

fn claims(issuer: &str, key: Option<&str>) -> Value {
    let now = NOW.seconds();
    let mut claims = json!({"iss": issuer, "aud": AUDIENCE, "sub": "condition-monitor", "iat": now, "exp": now + 600,
        "jti": "5b4f5c8e-8a5d-4f2b-9d0f-6d0f6f3f2a11", "client_id": "condition-monitor", "scope": "data"});
    if let (Some(members), Some(key)) = (claims.as_object_mut(), key) {
        members.insert(String::from("cnf"), json!({"jkt": key}));
    }
    claims
}

fn headers(authorization: &str, proof: Option<&str>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(authorization)?);
    if let Some(proof) = proof {
        headers.insert("dpop", HeaderValue::from_str(proof)?);
    }
    Ok(headers)
}

/// An issuer with these keys; its address.
async fn serve(keys: Value) -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let document = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
    let router = axum::Router::new()
        .route("/.well-known/openid-configuration", axum::routing::get(async move || axum::Json(document)))
        .route("/keys", axum::routing::get(async move || axum::Json(keys)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

fn parties(url: &str) -> anyhow::Result<Parties> {
    let id = IssuerId::new("acme")?;
    let issuer = Issuer {
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: vec![SignatureAlgorithm::ES256],
        ..Issuer::new(id.clone(), OrganisationId::new("acme")?, url)
    };
    Ok(Parties {
        digest: Digest::of(b"parties"),
        organisations: BTreeMap::new(),
        issuers: BTreeMap::from([(id, issuer)]),
        authorities: BTreeMap::new(),
        principals: BTreeMap::new(),
        agreements: BTreeMap::new(),
        revocations: Revocations::default(),
    })
}

fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no command in /proc/self/stat")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|f| f.parse::<f64>().ok()).context("too few fields in /proc/self/stat");
    Ok((ticks()? + ticks()?) / 100.0)
}
