//! Where a key of the log is: in a file, or in a token.

use super::section::Section;
use model::party::SecretRef;
use std::path::{Path, PathBuf};

/// Where a key of the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogKey {
    /// Created if absent and the current one.
    File(PathBuf),
    Token(TokenKey),
}

/// A key in a token that is reached by PKCS #11.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// The library that speaks with the token.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label.
    pub object: String,
    pub pin: SecretRef,
}

impl LogKey {
    /// The file, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Token(_) => None,
        }
    }

    /// One key, wherever its PIN is read.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(a), Self::File(b)) => a == b,
            (Self::Token(a), Self::Token(b)) => (&a.module, &a.token, &a.object) == (&b.module, &b.token, &b.object),
            _ => false,
        }
    }
}

/// `key` names a token, `file_key` a file.
pub(super) fn read(
    section: &mut Section<'_, '_, '_>,
    key: &'static str,
    file_key: &'static str,
    name: &'static str,
) -> Option<LogKey> {
    let file = section.path(file_key).map(LogKey::File);
    let Some(mut token) = section.optional_table(key, name) else { return file };
    for (key, help) in [
        ("pkcs11", "the token's module: `pkcs11 = \"/usr/lib/softhsm/libsofthsm2.so\"`"),
        ("token", "the token's label: `token = \"…\"`"),
        ("object", "the key's label: `object = \"…\"`"),
        ("pin", "where the PIN is: `pin = { file = \"…\" }`"),
    ] {
        if !token.has(key) {
            token.missing(key, help);
        }
    }
    let module = token.path("pkcs11");
    // CK_TOKEN_INFO has 32 bytes for it, padded with spaces.
    let is_label = |text: &str, max: usize| {
        (1..=max).contains(&text.len()) && !text.chars().any(char::is_control) && text.trim() == text
    };
    let label = token.parsed("token", "1 to 32 bytes of text", |text| is_label(text, 32).then(|| text.to_owned()));
    let object = token.parsed("object", "1 to 255 bytes of text", |text| is_label(text, 255).then(|| text.to_owned()));
    let pin = token.secret("pin");
    token.close();
    if section.has(file_key) {
        section.problem(key, format!("`{key}` and `{file_key}` name two places of one key"), "remove one");
    }
    Some(LogKey::Token(TokenKey { module: module?, token: label?, object: object?, pin: pin? }))
}
