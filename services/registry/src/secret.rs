//! Where a secret is, never what it is.

use crate::document::Val;
use crate::problem::Problem;
use crate::table::Table;
use std::fmt;
use std::path::{Path, PathBuf};

/// `{ file = "…" }` or `{ env = "NAME" }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    File(PathBuf),
    Environment(String),
}

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

impl SecretRef {
    /// Reads the secret now: files are changed by whoever rotates them. One line end at the end is not part of it.
    ///
    /// # Errors
    /// The file or variable is not there, or holds what no HTTP header can carry.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let text = match self {
            Self::File(path) => {
                std::fs::read_to_string(path).map_err(|error| SecretError::Unreadable { path: path.clone(), error })?
            }
            Self::Environment(name) => std::env::var(name).map_err(|_| SecretError::Unset(name.clone()))?,
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() || text.trim() != text || text.chars().any(char::is_control) {
            return Err(SecretError::Malformed(self.to_string()));
        }
        Ok(Secret(text.to_owned()))
    }

    /// What is wrong with it now, for `check`.
    pub(crate) fn problem(&self, folder: &Path, what: &str) -> Option<Problem> {
        let error = self.read().err()?;
        let file = match self {
            Self::File(path) => path.clone(),
            Self::Environment(_) => folder.to_owned(),
        };
        Some(Problem { file, line: None, column: None, what: format!("{what}: {error}"), help: None })
    }

    /// Reads the key of a table. An inline secret is refused without being repeated.
    pub(crate) fn from_table(table: &Table<'_>, key: &'static str, folder: &Path) -> Option<Self> {
        let entry = table.get(key)?;
        if !matches!(entry.node.value, Val::Table(_)) {
            let what = format!("`{key}` of {} is written inline", table.what);
            let help = format!("put it in a file and write `{key} = {{ file = \"…\" }}`, or `{{ env = \"NAME\" }}`");
            table.wrong(key, what, help);
            return None;
        }
        let inner = table.table(key)?;
        let (file, env) = (inner.text("file"), inner.text("env"));
        let found = match (file, env) {
            (Some(file), None) => Some(Self::File(folder.join(file))),
            (None, Some(name)) => Some(Self::Environment(name.to_owned())),
            _ => {
                let help = format!("write `{key} = {{ file = \"…\" }}` or `{{ env = \"NAME\" }}`");
                table.wrong(key, format!("`{key}` of {} names not one place", table.what), help);
                None
            }
        };
        inner.finish();
        found
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file `{}`", path.display()),
            Self::Environment(name) => write!(f, "environment variable `{name}`"),
        }
    }
}
