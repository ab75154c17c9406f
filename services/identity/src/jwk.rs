//! An issuer's key set (RFC 7517, 7518, 8037): which key may verify what, settled once when the set is read.

use jsonwebtoken::{Algorithm, DecodingKey};
use model::party::SignatureAlgorithm;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Issuers publish two or three keys, the largest clouds about thirty.
const KEYS_MAX: usize = 64;

#[derive(Clone, Debug, Default)]
pub(crate) struct KeySet(Vec<Arc<Key>>);

/// A public key and the algorithms it verifies.
#[derive(Debug)]
pub(crate) struct Key {
    /// As it was published, the public part.
    jwk: Jwk,
    decoding: DecodingKey,
    uses: Vec<SignatureAlgorithm>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The issuer may have it by now.
    Unknown,
    /// Several keys answer; guessing among them is not for us.
    Ambiguous,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeySetError {
    #[error("not a JSON object with a list `keys`")]
    NotAKeySet,
    #[error("`keys` has {0} entries; at most {KEYS_MAX} are read")]
    TooMany(usize),
}

// === impl KeySet ===

impl KeySet {
    /// Keys that are not for us (encryption, unknown types, weak, broken) are left out, so that one of them does not
    /// take the others with it.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        let keys = entries(json)?.into_iter().filter_map(|value| match Key::read(value) {
            Ok(key) => Some(Arc::new(key)),
            Err(reason) => {
                tracing::debug!(reason, "a key of the issuer's set is left out");
                None
            }
        });
        Ok(Self(keys.collect()))
    }

    /// What is wrong with a set in which no key verifies any of these algorithms; for whoever wrote it. Without
    /// algorithms each key will do that is for us at all.
    pub(crate) fn problem(json: &[u8], algorithms: &[SignatureAlgorithm]) -> Option<String> {
        let entries = match entries(json) {
            Ok(entries) => entries,
            Err(error) => return Some(error.to_string()),
        };
        let wanted = |key: &Key| algorithms.is_empty() || algorithms.iter().any(|algorithm| key.is_for(*algorithm));
        let mut reasons = BTreeSet::new();
        for entry in entries {
            match Key::read(entry) {
                Ok(key) if wanted(&key) => return None,
                Ok(_) => reasons.insert("it is for none of the issuer's `algorithms`"),
                Err(reason) => reasons.insert(reason),
            };
        }
        if reasons.is_empty() {
            return Some(String::from("`keys` is empty"));
        }
        Some(format!("none of its keys can be used: {}", Vec::from_iter(reasons).join("; ")))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// These keys, with `old`'s own value for each that has not changed: what a key has verified is known by that value.
    pub(crate) fn keeping(self, old: &Self) -> Self {
        let kept = |key: Arc<Key>| old.0.iter().find(|known| known.is_same(&key)).map_or(key, Arc::clone);
        Self(self.0.into_iter().map(kept).collect())
    }

    /// Whether both are the very same keys.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// A key set that [`Self::parse`] reads as this one.
    pub(crate) fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        let keys = self.0.iter().map(|key| {
            let mut jwk = serde_json::to_value(&key.jwk)?;
            jwk.as_object_mut().into_iter().for_each(|members| members.retain(|_, value| !value.is_null()));
            Ok(jwk)
        });
        Ok(serde_json::json!({ "keys": keys.collect::<serde_json::Result<Vec<_>>>()? }))
    }

    /// The one key for a token with this `kid` and `alg`. Without `kid` there must be only one key fit for `alg`.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: SignatureAlgorithm) -> Result<Arc<Key>, NoKey> {
        let mut fit =
            self.0.iter().filter(|key| id.is_none_or(|id| key.jwk.kid.as_deref() == Some(id)) && key.is_for(algorithm));
        match (fit.next(), fit.next()) {
            (Some(key), None) => Ok(Arc::clone(key)),
            (None, _) => Err(NoKey::Unknown),
            (Some(_), Some(_)) => Err(NoKey::Ambiguous),
        }
    }
}

fn entries(json: &[u8]) -> Result<Vec<serde_json::Value>, KeySetError> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<serde_json::Value>,
    }
    let Document { keys } = serde_json::from_slice(json).map_err(|_| KeySetError::NotAKeySet)?;
    if keys.len() > KEYS_MAX { Err(KeySetError::TooMany(keys.len())) } else { Ok(keys) }
}

// === impl Key ===

impl Key {
    pub(crate) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    pub(crate) fn is_for(&self, algorithm: SignatureAlgorithm) -> bool {
        self.uses.contains(&algorithm)
    }

    fn read(value: serde_json::Value) -> Result<Self, &'static str> {
        let jwk: Jwk = serde_json::from_value(value).map_err(|_| "a member has the wrong type")?;
        if jwk.d.is_some() || jwk.k.is_some() {
            return Err("it is a secret; who publishes it cannot be trusted to have kept it");
        }
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("its `use` is not `sig`");
        }
        if jwk.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|o| o == "verify")) {
            return Err("its `key_ops` are without `verify`");
        }
        let (decoding, fit) = jwk.public_key()?;
        let wanted = |algorithm: &SignatureAlgorithm| jwk.alg.as_deref().is_none_or(|alg| alg == name_of(*algorithm));
        let uses: Vec<_> = fit.iter().copied().filter(wanted).collect();
        if uses.is_empty() {
            return Err("its `alg` does not fit its type");
        }
        Ok(Self { jwk, decoding, uses })
    }

    /// Same name, same public material, same uses.
    fn is_same(&self, other: &Self) -> bool {
        self.jwk.kid == other.jwk.kid && self.jwk.material() == other.jwk.material() && self.uses == other.uses
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Jwk {
    pub(crate) kty: String,
    pub(crate) kid: Option<String>,
    #[serde(rename = "use")]
    pub(crate) usage: Option<String>,
    pub(crate) key_ops: Option<Vec<String>>,
    pub(crate) alg: Option<String>,
    pub(crate) crv: Option<String>,
    pub(crate) x: Option<String>,
    pub(crate) y: Option<String>,
    pub(crate) n: Option<String>,
    pub(crate) e: Option<String>,
    // The secret parts, looked for so that they can be refused.
    #[serde(skip_serializing)]
    pub(crate) d: Option<serde::de::IgnoredAny>,
    #[serde(skip_serializing)]
    pub(crate) k: Option<serde::de::IgnoredAny>,
}

impl Jwk {
    fn material(&self) -> [Option<&str>; 6] {
        let [crv, x, y, n, e] = [&self.crv, &self.x, &self.y, &self.n, &self.e].map(Option::as_deref);
        [Some(&self.kty), crv, x, y, n, e]
    }

    /// The key, and the algorithms its type and curve are fit for (RFC 7518 section 3.1, RFC 8037 section 3.1).
    pub(crate) fn public_key(&self) -> Result<(DecodingKey, &'static [SignatureAlgorithm]), &'static str> {
        use SignatureAlgorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("EC", Some("P-256")) => Ok((self.elliptic(32)?, &[ES256])),
            ("EC", Some("P-384")) => Ok((self.elliptic(48)?, &[ES384])),
            ("OKP", Some("Ed25519")) => Ok((self.edwards()?, &[EdDSA])),
            ("RSA", None) => Ok((self.rsa()?, &[RS256, RS384, RS512, PS256, PS384, PS512])),
            _ => Err("its type or curve is not used here"),
        }
    }

    fn elliptic(&self, coordinate_bytes: usize) -> Result<DecodingKey, &'static str> {
        let x = part(self.x.as_deref(), coordinate_bytes..=coordinate_bytes)?;
        let y = part(self.y.as_deref(), coordinate_bytes..=coordinate_bytes)?;
        DecodingKey::from_ec_components(x, y).map_err(|_| "its point cannot be read")
    }

    fn edwards(&self) -> Result<DecodingKey, &'static str> {
        let x = part(self.x.as_deref(), 32..=32)?;
        DecodingKey::from_ed_components(x).map_err(|_| "its point cannot be read")
    }

    /// 2048 bits at least (RFC 7518 section 3.3); 4096 at most, because the time of a check grows with the square and a
    /// key is chosen by the other company.
    fn rsa(&self) -> Result<DecodingKey, &'static str> {
        let n = part(self.n.as_deref(), 256..=512)?;
        let e = part(self.e.as_deref(), 1..=4)?;
        DecodingKey::from_rsa_components(n, e).map_err(|_| "its modulus cannot be read")
    }
}

/// The text of a base64url part that decodes to a number of bytes in `lengths`.
fn part(text: Option<&str>, lengths: std::ops::RangeInclusive<usize>) -> Result<&str, &'static str> {
    let text = text.ok_or("a part of it is missing")?;
    // Three bytes in four characters, without padding.
    if lengths.contains(&(text.len() * 3 / 4)) { Ok(text) } else { Err("a part of it has the wrong length") }
}

fn name_of(algorithm: SignatureAlgorithm) -> &'static str {
    match algorithm {
        SignatureAlgorithm::ES256 => "ES256",
        SignatureAlgorithm::ES384 => "ES384",
        SignatureAlgorithm::RS256 => "RS256",
        SignatureAlgorithm::RS384 => "RS384",
        SignatureAlgorithm::RS512 => "RS512",
        SignatureAlgorithm::PS256 => "PS256",
        SignatureAlgorithm::PS384 => "PS384",
        SignatureAlgorithm::PS512 => "PS512",
        SignatureAlgorithm::EdDSA => "EdDSA",
    }
}

pub(crate) fn library_name_of(algorithm: SignatureAlgorithm) -> Algorithm {
    match algorithm {
        SignatureAlgorithm::ES256 => Algorithm::ES256,
        SignatureAlgorithm::ES384 => Algorithm::ES384,
        SignatureAlgorithm::RS256 => Algorithm::RS256,
        SignatureAlgorithm::RS384 => Algorithm::RS384,
        SignatureAlgorithm::RS512 => Algorithm::RS512,
        SignatureAlgorithm::PS256 => Algorithm::PS256,
        SignatureAlgorithm::PS384 => Algorithm::PS384,
        SignatureAlgorithm::PS512 => Algorithm::PS512,
        SignatureAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}
