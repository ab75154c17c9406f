//! Reading secrets: where one is says the configuration, what it is stays here.

use model::canonical;
use model::party::SecretRef;
use std::fmt;
use std::path::{Path, PathBuf};

/// A secret in memory. It cannot be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("secret file `{}` cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("environment variable `{0}` is not set")]
    Unset(String),
    #[error("`{}` does not hold 64 hexadecimal digits", .0.display())]
    NotAKey(PathBuf),
    #[error("the secret in {0} is empty or has control characters or spaces around it")]
    Malformed(String),
}

/// Reads the secret now: files are changed by whoever rotates them. One line end at the end is not part of it.
///
/// # Errors
/// The file or variable is not there, or holds what no HTTP header can carry.
pub fn read(of: &SecretRef) -> Result<Secret, SecretError> {
    let text = match of {
        SecretRef::File(path) => {
            std::fs::read_to_string(path).map_err(|error| SecretError::Unreadable { path: path.clone(), error })?
        }
        SecretRef::Environment(name) => std::env::var(name).map_err(|_| SecretError::Unset(name.clone()))?,
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.trim() != text || text.chars().any(char::is_control) {
        return Err(SecretError::Malformed(of.to_string()));
    }
    Ok(Secret(text.to_owned()))
}
/// The key in a file of 64 hexadecimal digits. Where there is no such file, one is made for the owner alone.
///
/// # Errors
/// When the file cannot be read or made, or holds something else.
pub fn key(path: &Path) -> Result<[u8; 32], SecretError> {
    let unreadable = |error| SecretError::Unreadable { path: path.to_owned(), error };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key: [u8; 32] = crate::random::secret();
            store(path, (canonical::hex(&key) + "\n").as_bytes()).map_err(unreadable)?;
            tracing::info!(path = %path.display(), "made a key");
            return Ok(key);
        }
        Err(error) => return Err(unreadable(error)),
    };
    let key = canonical::unhex(text.trim_end()).and_then(|bytes| bytes.try_into().ok());
    key.ok_or_else(|| SecretError::NotAKey(path.to_owned()))
}

/// Writes a file that its owner alone may read: whole, or not there. What a crash cut off would keep the next start from
/// making one.
///
/// # Errors
/// Those of the file system.
pub fn store(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let draft = path.with_extension("tmp");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(dir)?.sync_all()
}
