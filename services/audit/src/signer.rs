//! The key that signs checkpoints: in a file of its own, or in a token.

use crate::options::Random;
use crate::pkcs11::{TokenError, TokenKey};
use crate::publish::files;
use std::path::{Path, PathBuf};
use tlog::{Signer, SigningKey, VerifierKey};

/// Whoever signs for a log.
#[derive(Clone, Debug)]
pub enum Key {
    /// In memory: signs in microseconds, on any thread.
    Held(SigningKey),
    /// Signs when it gets to it, and may fail. Not to be waited for on a thread that serves.
    Token(TokenKey),
}

impl Key {
    pub fn signer(&self) -> &dyn Signer {
        match self {
            Self::Held(key) => key,
            Self::Token(key) => key,
        }
    }

    pub fn verifier(&self) -> &VerifierKey {
        self.signer().verifier()
    }
}

impl From<SigningKey> for Key {
    fn from(key: SigningKey) -> Self {
        Self::Held(key)
    }
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    #[error("cannot use the key file `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` does not hold a signing key", path.display())]
    Form {
        path: PathBuf,
        #[source]
        source: tlog::note::KeyError,
    },
    #[error("the key {place} is named twice; each key of a log has one place: current, next or previous")]
    Twice { place: String },
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the key in `{}` belongs to the log `{found}`, not to `{expected}`", path.display())]
    Origin { path: PathBuf, found: String, expected: String },
}

/// The key of the log `origin` in the file at `path`; a new one, readable by the owner alone, when there is no such file.
///
/// # Errors
/// When the file cannot be used, or holds something else or another log's key.
pub fn load_or_create(path: &Path, origin: &str, random: &Random) -> Result<SigningKey, SignerError> {
    let fault = |source| SignerError::File { path: path.into(), source };
    let form = |source| SignerError::Form { path: path.into(), source };
    let Some(bytes) = files::read_optional(path).map_err(fault)? else {
        let mut seed = [0; 32];
        random(&mut seed);
        let key = SigningKey::generate(origin, seed).map_err(form)?;
        store(path, &key).map_err(fault)?;
        return Ok(key);
    };
    warn_if_readable(path, PRIVATE_KEY);
    let key = SigningKey::parse(String::from_utf8_lossy(&bytes).trim_end()).map_err(form)?;
    check_origin(path, key.verifier(), origin)?;
    Ok(key)
}

/// A new key of the log `origin` in a file that is not there yet, readable by the owner alone.
///
/// # Errors
/// When there is such a file, it cannot be written, or `origin` cannot be a key's name.
pub fn create(path: &Path, origin: &str, random: &Random) -> Result<SigningKey, SignerError> {
    if path.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(SignerError::File { path: path.into(), source });
    }
    load_or_create(path, origin, random)
}

/// The key of the log `origin` in the file at `path`, which must be there.
///
/// # Errors
/// When the file cannot be used, or holds something else or another log's key.
pub fn load(path: &Path, origin: &str) -> Result<SigningKey, SignerError> {
    let key = SigningKey::parse(&text(path)?).map_err(|source| SignerError::Form { path: path.into(), source })?;
    warn_if_readable(path, PRIVATE_KEY);
    check_origin(path, key.verifier(), origin)?;
    Ok(key)
}

/// The public key in the file at `path`, which holds that alone or the private one.
///
/// # Errors
/// As [`load`].
pub fn load_public(path: &Path, origin: &str) -> Result<VerifierKey, SignerError> {
    let text = text(path)?;
    let key = match SigningKey::parse(&text) {
        Ok(key) => Ok(key.verifier().clone()),
        Err(_) => VerifierKey::parse(&text),
    };
    let key = key.map_err(|source| SignerError::Form { path: path.into(), source })?;
    check_origin(path, &key, origin)?;
    Ok(key)
}

fn text(path: &Path) -> Result<String, SignerError> {
    let bytes = std::fs::read(path).map_err(|source| SignerError::File { path: path.into(), source })?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn check_origin(path: &Path, key: &VerifierKey, origin: &str) -> Result<(), SignerError> {
    let found = key.name();
    if found == origin {
        return Ok(());
    }
    Err(SignerError::Origin { path: path.into(), found: found.to_owned(), expected: origin.to_owned() })
}

fn store(path: &Path, key: &SigningKey) -> std::io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    files::replace(path, format!("{}\n", key.to_text()).as_bytes(), Some(0o600))?;
    std::fs::File::open(dir)?.sync_all()
}

const PRIVATE_KEY: &str = "the key that signs checkpoints";

/// Says so if others than the owner may read `what` is in the file.
pub fn warn_if_readable(path: &Path, what: &str) {
    #[cfg(unix)]
    if std::fs::metadata(path).is_ok_and(|m| std::os::unix::fs::PermissionsExt::mode(&m.permissions()) & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "others than the owner may read {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_key_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/log.key");
        let random: Random = Arc::new(|bytes| bytes.fill(7));
        let key = load_or_create(&path, "millgate.example/log", &random).unwrap();
        let other: Random = Arc::new(|bytes| bytes.fill(8));
        let again = load_or_create(&path, "millgate.example/log", &other).unwrap();
        assert_eq!(again.verifier(), key.verifier());
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        let error = load_or_create(&path, "elsewhere.example/log", &random).unwrap_err();
        assert!(matches!(error, SignerError::Origin { .. }), "{error}");
        std::fs::write(&path, "nonsense").unwrap();
        let error = load_or_create(&path, "millgate.example/log", &random).unwrap_err();
        assert!(matches!(error, SignerError::Form { .. }), "{error}");
    }
}
