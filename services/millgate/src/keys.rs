//! The keys of the log, where the configuration says that they are.

use anyhow::Context as _;
use audit::keys::{KeyPlace, KeyPlaces};
use audit::pkcs11::{Pin, PinSource, TokenObject};
use audit::{Keys, KnownKeys, signer};
use model::party::SecretRef;
use runtime::config::{Audit, LogKey};
use runtime::secret;
use std::sync::Arc;

/// What is wrong with the keys. None is made, and a token is logged in to at most once.
pub(crate) fn problem(audit: &Audit) -> Option<String> {
    let places = places(audit);
    if places.has_current() {
        return load(audit).err().map(|error| format!("{error:#}"));
    }
    let next = places.next.iter().map(|place| place.load(&audit.origin).map(drop));
    let previous = places.previous.iter().map(|path| signer::load_public(path, &audit.origin).map(drop));
    let error = next.chain(previous).find_map(Result::err)?;
    Some(format!("{:#}", anyhow::Error::from(error).context("the keys of the log cannot be used")))
}

/// Ready to sign. Blocks, where a token takes its time.
///
/// # Errors
/// When a key cannot be used, or one is in two places.
pub(crate) fn load(audit: &Audit) -> anyhow::Result<Keys> {
    let random: audit::Random = Arc::new(runtime::random::fill);
    Keys::load(&places(audit), &audit.origin, &random).with_context(|| unusable(audit))
}

/// The public keys, from a token without logging in where that can be; `None` where the current one is yet to be made.
///
/// # Errors
/// As [`load`].
pub(crate) fn known(audit: &Audit) -> anyhow::Result<Option<KnownKeys>> {
    let places = places(audit);
    if !places.has_current() {
        return Ok(None);
    }
    KnownKeys::load(&places, &audit.origin).map(Some).with_context(|| unusable(audit))
}

fn unusable(audit: &Audit) -> String {
    format!(
        "the keys of the log cannot be used ({}, and `next_key`, `next_key_file` and `previous_key_files` of [audit]); \
         `millgate audit keys new` makes one",
        place(&audit.key)
    )
}

fn places(audit: &Audit) -> KeyPlaces {
    KeyPlaces {
        current: place(&audit.key),
        next: audit.next_key.as_ref().map(place),
        previous: audit.previous_key_files.clone(),
    }
}

pub(crate) fn place(key: &LogKey) -> KeyPlace {
    match key {
        LogKey::File(path) => KeyPlace::File(path.clone()),
        LogKey::Token(key) => KeyPlace::Token {
            at: TokenObject { module: key.module.clone(), token: key.token.clone(), object: key.object.clone() },
            pin: pin(key.pin.clone()),
        },
    }
}

/// The PIN, whenever a token is logged in to.
pub(crate) fn pin(of: SecretRef) -> PinSource {
    Arc::new(move || {
        if let SecretRef::File(path) = &of {
            signer::warn_if_readable(path, "the PIN of the token with the key that signs checkpoints");
        }
        secret::read(&of).map(|secret| Pin::new(secret.expose())).map_err(|error| error.to_string())
    })
}
