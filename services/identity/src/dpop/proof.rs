//! One proof (RFC 9449 section 4.2): a JWS with its own public key in its header, made for one request with one token.
//!
//! What passes, in the order of the checks of section 4.3. Everything else is refused.
//!
//! 1. Three base64url parts without padding, at most 4 KiB; header and claims are JSON objects without duplicate members.
//! 2. `typ` is `dpop+jwt`, `alg` one of [`ALGORITHMS`], and no header member brings or demands anything else.
//! 3. `jwk` is a public key fit for `alg`, and its thumbprint (RFC 7638) is the one that the token is bound to.
//! 4. The signature verifies with that key.
//! 5. `jti htm htu iat ath` are present and typed: this method, this address, now, this token.
//!
//! Whether the nonce is ours and the proof new is judged by [`super::Dpop`].

use super::htu::Origins;
use super::replay::ProofId;
use crate::json::{Member, Object};
use crate::refusal::Refusal;
use crate::{jwk, token};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use model::{Digest, Reason, Timestamp};

/// A proof with an RSA key of 4096 bits and a long address stays well below.
const PROOF_BYTES_MAX: usize = 4 * 1024;

/// How far a proof's `iat` may be from the broker's clock, beside the issuer's leeway. Long enough for a slow network and
/// a caller that is a few seconds off; each second more is one that a used proof must be remembered.
const WINDOW_MS: i64 = 60_000;

/// A UUID has 36 bytes; some libraries write 64 random ones in hexadecimal.
const JTI_BYTES_MAX: usize = 255;

/// What proofs may be signed with, as the challenge lists it (RFC 9449 section 7.1).
pub const ALGORITHMS: &str = "ES256 ES384 EdDSA PS256 PS384 PS512 RS256 RS384 RS512";

/// As in tokens, but for `jwk`, which is what a proof is about. `kid` names a key and is not looked at.
const FORBIDDEN_MEMBERS: [&str; 4] = ["crit", "jku", "x5u", "x5c"];

/// Members of a private or secret key (RFC 7518 sections 6.2.2, 6.3.2, 6.4.1, RFC 8037 section 2).
const SECRET_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What a proof must be made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Thumbprint of the key that the token is bound to.
    pub(crate) key: &'a Digest,
    /// SHA-256 of the token's text.
    pub(crate) token: &'a Digest,
    pub(crate) method: &'a str,
    /// Of the listener that was asked.
    pub(crate) origins: &'a Origins,
    /// The request's, canonical.
    pub(crate) path: &'a str,
    /// What the issuer allows clocks to differ by.
    pub(crate) leeway_ms: i64,
    pub(crate) now: Timestamp,
}

/// A proof that is good but for its nonce and its being new.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) id: ProofId,
    /// It cannot be accepted from here on.
    pub(crate) end: Timestamp,
    pub(crate) nonce: Option<String>,
}

impl Proof {
    pub(crate) fn check(text: &str, wanted: &Wanted<'_>) -> Result<Self, Refusal> {
        if text.len() > PROOF_BYTES_MAX {
            return Err(bad("it is longer than 4 KiB"));
        }
        let (message, signature) = text.rsplit_once('.').ok_or_else(not_three_parts)?;
        let (header, claims) = message.split_once('.').filter(|(_, c)| !c.contains('.')).ok_or_else(not_three_parts)?;
        let (header, claims) = (decode(header)?, decode(claims)?);
        let (key, algorithm) = key_of(&object(&header)?, wanted.key)?;
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, algorithm) {
            Ok(true) => check_claims(&object(&claims)?, wanted),
            Ok(false) | Err(_) => Err(bad("its signature does not match its `jwk`")),
        }
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| bad("a part of it is not base64url without padding"))
}

fn object(json: &[u8]) -> Result<Object<'_>, Refusal> {
    Object::parse(json).map_err(|_| bad("its header or claims are not a JSON object without duplicate members"))
}

/// The key in the header, if it is the wanted one, and how to verify with it.
fn key_of(header: &Object<'_>, wanted: &Digest) -> Result<(DecodingKey, Algorithm), Refusal> {
    if !header.get("typ").text().is_some_and(is_proof_type) {
        return Err(bad("its `typ` is not `dpop+jwt`"));
    }
    if header.names().any(|name| FORBIDDEN_MEMBERS.contains(&name)) {
        return Err(bad("its header has one of `crit`, `jku`, `x5u`, `x5c`"));
    }
    let algorithm = header.get("alg").text().and_then(token::algorithm_of);
    let algorithm = algorithm.ok_or_else(|| bad(format!("its `alg` is not one of {ALGORITHMS}")))?;
    let Member::Object(members) = header.get("jwk") else { return Err(bad("its header has no `jwk`")) };
    let key = jwk_of(members)?;
    let (decoding, fit) = key.public_key().map_err(|why| bad(format!("its `jwk` cannot be used: {why}")))?;
    if !fit.contains(&algorithm) {
        return Err(bad("its `alg` does not fit its `jwk`"));
    }
    if aws_lc_rs::constant_time::verify_slices_are_equal(&thumbprint(&key).0, &wanted.0).is_err() {
        return Err(Refusal::new(Reason::BAD_BINDING, "the token is bound to another key than the proof's"));
    }
    Ok((decoding, jwk::library_name_of(algorithm)))
}

/// RFC 7515 section 4.1.9: media types have no case.
fn is_proof_type(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("dpop+jwt") || typ.eq_ignore_ascii_case("application/dpop+jwt")
}

fn jwk_of(members: &Object<'_>) -> Result<jwk::Jwk, Refusal> {
    if members.names().any(|name| SECRET_MEMBERS.contains(&name)) {
        return Err(bad("its `jwk` has a private part; keep that to yourself, and make a new key"));
    }
    let text = |name| match members.get(name) {
        Member::Absent => Ok(None),
        Member::Text(text) => Ok(Some(text.to_string())),
        _ => Err(bad("a member of its `jwk` has the wrong type")),
    };
    let kty = text("kty")?.ok_or_else(|| bad("its `jwk` has no `kty`"))?;
    let (crv, x, y) = (text("crv")?, text("x")?, text("y")?);
    Ok(jwk::Jwk { kty, crv, x, y, n: text("n")?, e: text("e")?, ..jwk::Jwk::default() })
}

/// RFC 7638 section 3: the members that its type requires, in the order of their names, without white space. A key that
/// could be read holds nothing in them that JSON would have to escape.
pub(super) fn thumbprint(key: &jwk::Jwk) -> Digest {
    let [crv, x, y, n, e] = [&key.crv, &key.x, &key.y, &key.n, &key.e].map(|part| part.as_deref().unwrap_or_default());
    Digest::of(
        match key.kty.as_str() {
            "EC" => format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#),
            "RSA" => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            kty => format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}"}}"#),
        }
        .as_bytes(),
    )
}

fn check_claims(claims: &Object<'_>, wanted: &Wanted<'_>) -> Result<Proof, Refusal> {
    let Some(method) = claims.get("htm").text() else { return Err(missing("htm")) };
    let Some(address) = claims.get("htu").text() else { return Err(missing("htu")) };
    let Some(token) = claims.get("ath").text() else { return Err(missing("ath")) };
    let Some(jti) = claims.get("jti").text() else { return Err(missing("jti")) };
    let Member::Integer(made) = claims.get("iat") else { return Err(missing("iat")) };
    let nonce = match claims.get("nonce") {
        Member::Absent => None,
        Member::Text(nonce) => Some(nonce.to_string()),
        _ => return Err(missing("nonce")),
    };
    if method != wanted.method {
        return Err(bad("its `htm` is another method than the request's"));
    }
    if !wanted.origins.lead_to(address, wanted.path) {
        return Err(bad("its `htu` is not the address of the request as the plant names it"));
    }
    if token != URL_SAFE_NO_PAD.encode(wanted.token.0) {
        return Err(bad("its `ath` is not the SHA-256 of the token"));
    }
    if !(1..=JTI_BYTES_MAX).contains(&jti.len()) {
        return Err(bad("its `jti` has not 1 to 255 bytes"));
    }
    Ok(Proof { id: ProofId::of(wanted.key, jti), end: end_of(*made, wanted)?, nonce })
}

/// Until when a proof made at `made` counts, if it counts now.
fn end_of(made: u64, wanted: &Wanted<'_>) -> Result<Timestamp, Refusal> {
    let made = i64::try_from(made).ok().and_then(|seconds| seconds.checked_mul(1000)).map(Timestamp);
    let made = made.ok_or_else(|| missing("iat"))?;
    let window_ms = WINDOW_MS.saturating_add(wanted.leeway_ms);
    let end = made.plus_millis(window_ms);
    if end <= wanted.now {
        return Err(bad("its `iat` is too long ago; make a new proof for each request, and compare clocks"));
    }
    if wanted.now.plus_millis(window_ms) < made {
        return Err(bad("its `iat` is in the future; compare clocks"));
    }
    Ok(end)
}

fn not_three_parts() -> Refusal {
    bad("it has not exactly three parts")
}

fn missing(claim: &'static str) -> Refusal {
    bad(match claim {
        "iat" => "its `iat` must be a whole number of seconds",
        "htm" => "its `htm` must be a string",
        "htu" => "its `htu` must be a string",
        "ath" => "its `ath` must be a string",
        "nonce" => "its `nonce` must be a string",
        _ => "its `jti` must be a string",
    })
}

fn bad(what: impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::BAD_PROOF, format!("the proof in the header `dpop` is not good: {what}"))
}

/// Header and claims with a zero byte between them, judged as if the signature were good for a GET of `path`. Until when it
/// counts, and the `ath` that it must have had.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzed_proof(data: &[u8], origins: &Origins, path: &str, now: Timestamp) -> Option<(Timestamp, String)> {
    let (key, token) = (Digest::of(b"key"), Digest::of(b"token"));
    let wanted = Wanted { key: &key, token: &token, method: "GET", origins, path, leeway_ms: 0, now };
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(Proof::check(text, &wanted).is_err(), "nobody holds a key with this thumbprint");
    }
    let (header, claims) = data.split_at(data.iter().position(|b| *b == 0)?);
    if let Ok(header) = object(header) {
        assert!(key_of(&header, &key).is_err(), "nobody holds a key with this thumbprint");
        if let Member::Object(members) = header.get("jwk") {
            let _ = jwk_of(members).map(|key| (key.public_key().is_ok(), thumbprint(&key)));
        }
    }
    let proof = check_claims(&object(claims.get(1..)?).ok()?, &wanted).ok()?;
    Some((proof.end, URL_SAFE_NO_PAD.encode(token.0)))
}
