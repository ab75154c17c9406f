//! P-256 keys in files: one signs, the others are published beside it while a rotation lasts.
//!
//! ES256 and not Ed25519: it signs in less time, and every JOSE library has verified it for ten years, while names and
//! support of the other differ (`EdDSA` of RFC 8037, `Ed25519` of RFC 9864).

use super::TYPE;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where keys lie: PEM files with a private P-256 key each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// Signs. Made when it is not there.
    pub signing: PathBuf,
    /// Published and not signed with: the key after the signing one, and those before it. They need not be there.
    pub others: Vec<PathBuf>,
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot use the key file `{}`: {source}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` holds no private P-256 key in PEM; make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`", path.display())]
    Form { path: PathBuf },
    #[error("no key could be made for `{}`", path.display())]
    Generate { path: PathBuf },
}

impl KeyFiles {
    pub(super) fn all(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.signing).chain(&self.others).map(PathBuf::as_path)
    }

    /// Whether the files that are there can be used; makes none.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), KeyError> {
        self.all().try_for_each(|path| read(path).map(drop))
    }

    /// Makes the signing key, readable by the owner alone, when there is no such file.
    pub(super) fn create(&self) -> Result<(), KeyError> {
        let path = &self.signing;
        if path.exists() {
            return Ok(());
        }
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Generate { path: path.clone() })?;
        runtime::secret::store(path, pem(document.as_ref()).as_bytes())
            .map_err(|source| KeyError::File { path: path.clone(), source })?;
        tracing::info!(path = %path.display(), "made a key that signs assertions for sources");
        Ok(())
    }
}

/// The keys of one moment.
#[derive(Debug)]
pub(super) struct Keys {
    signing: EcdsaKeyPair,
    /// `kid` of the signing key.
    pub id: String,
    /// The JOSE header of every assertion, in base64url.
    pub header: String,
    /// The public halves of all keys as a JWK set.
    pub published: String,
}

impl Keys {
    pub(super) fn load(files: &KeyFiles) -> Result<Self, KeyError> {
        let missing = || KeyError::File { path: files.signing.clone(), source: ErrorKind::NotFound.into() };
        let signing = read(&files.signing)?.ok_or_else(missing)?;
        let mut set = vec![jwk(&signing)];
        for path in &files.others {
            set.extend(read(path)?.map(|key| jwk(&key)).filter(|key| !set.contains(key)));
        }
        let id = thumbprint(&signing);
        let header = json!({ "alg": "ES256", "kid": id, "typ": TYPE }).to_string();
        let published = json!({ "keys": set }).to_string();
        Ok(Self { signing, id, header: URL_SAFE_NO_PAD.encode(header), published })
    }

    /// RFC 7518 section 3.4: R and S, 32 bytes each.
    pub(super) fn sign(&self, message: &[u8]) -> Option<impl AsRef<[u8]> + use<>> {
        self.signing.sign(&SystemRandom::new(), message).ok()
    }
}

/// `None` when there is no such file.
fn read(path: &Path) -> Result<Option<EcdsaKeyPair>, KeyError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeyError::File { path: path.to_owned(), source }),
    };
    if fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "others than the owner may read a key that signs assertions for sources");
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes).ok();
    let key =
        key.and_then(|k| EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, k.secret_der()).ok());
    key.map(Some).ok_or_else(|| KeyError::Form { path: path.to_owned() })
}

/// RFC 7468 section 2: lines of 64 characters.
fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    for (i, c) in STANDARD.encode(der).chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END PRIVATE KEY-----\n");
    text
}

/// `x` and `y` of RFC 7518 section 6.2.1.
fn coordinates(key: &EcdsaKeyPair) -> [String; 2] {
    // SEC 1 uncompressed point: 0x04, then 32 bytes each of x and y.
    let point = key.public_key().as_ref();
    [1..33, 33..65].map(|range| point.get(range).map(|b| URL_SAFE_NO_PAD.encode(b)).unwrap_or_default())
}

fn jwk(key: &EcdsaKeyPair) -> Value {
    let [x, y] = coordinates(key);
    json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": "ES256", "kid": thumbprint(key) })
}

/// RFC 7638: one key has one id, whoever computes it.
fn thumbprint(key: &EcdsaKeyPair) -> String {
    let [x, y] = coordinates(key);
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(model::Digest::of(members.as_bytes()).0)
}
