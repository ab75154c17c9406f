//! Reading secrets: where one is says the configuration, what it is stays here.

use model::party::SecretRef;
use std::fmt;
use std::path::PathBuf;

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
