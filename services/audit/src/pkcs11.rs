//! Keys in a token that is reached by PKCS #11 (OASIS PKCS #11 v2.40, v3.0): found, made, and signed with. The private key
//! never leaves the token.
//!
//! One thread per module, for the life of the process, is the only one to speak with it (`thread`): modules need not be
//! safe for several threads, and one that hangs must hang nobody else. Whoever asks waits for a bounded time. A session
//! that is lost is opened again by the next who asks (`library`).
//!
//! What this does **not** do: it makes no token, changes no PIN, and never shows a PIN a second time that was refused.

mod attributes;
mod error;
mod library;
mod thread;

pub use error::TokenError;

use crate::options::Random;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thread::Module;
use tlog::{Signer, SigningError, VerifierKey, note};

/// A signature takes a smart card a third of a second. Who hangs for longer than this is not there.
pub const SIGNING_MAX: Duration = Duration::from_secs(5);
/// Loading a module, finding the token over a network and logging in.
pub const OPENING_MAX: Duration = Duration::from_secs(30);

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenObject {
    /// The library that speaks with the token.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The label of the private key, and of its public key.
    pub object: String,
}

impl fmt::Display for TokenObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in the token `{}`", self.object, self.token)
    }
}

/// What a token is opened with. It cannot be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(String);

impl Pin {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

/// Reads the PIN when it is needed, so that one that was corrected is taken up. What went wrong is said without the PIN.
pub type PinSource = Arc<dyn Fn() -> Result<Pin, String> + Send + Sync>;

/// A key of a log in a token. Cheap to clone.
#[derive(Clone)]
pub struct TokenKey {
    at: Arc<TokenObject>,
    pin: PinSource,
    module: Arc<Module>,
    verifier: VerifierKey,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("at", &self.at).field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl TokenKey {
    /// Logs in, finds the key of the log `origin`, and has it sign something once. Blocks for up to [`OPENING_MAX`].
    ///
    /// # Errors
    /// When there is no such key, or it does not sign what its public key verifies.
    pub fn open(at: &TokenObject, pin: &PinSource, origin: &str) -> Result<Self, TokenError> {
        let module = Module::of(&at.module)?;
        let (place, source) = (at.clone(), Arc::clone(pin));
        let public = module.ask(OPENING_MAX, move |library| library.key(&place, &source))?;
        let verifier = named(at, origin, &public)?;
        let key = Self { at: Arc::new(at.clone()), pin: Arc::clone(pin), module, verifier };
        key.try_out()?;
        Ok(key)
    }

    /// The public key of the log `origin`, without logging in where the token shows it to everybody. Blocks as
    /// [`TokenKey::open`].
    ///
    /// # Errors
    /// As [`TokenKey::open`].
    pub fn public(at: &TokenObject, pin: &PinSource, origin: &str) -> Result<VerifierKey, TokenError> {
        let module = Module::of(&at.module)?;
        let (place, source) = (at.clone(), Arc::clone(pin));
        let public = module.ask(OPENING_MAX, move |library| library.public_key(&place, &source))?;
        named(at, origin, &public)
    }

    /// Makes a key of the log `origin` that can sign and can neither be read nor be taken out of the token. Blocks as
    /// [`TokenKey::open`].
    ///
    /// # Errors
    /// When there is an object of that label already, or the token makes no such keys.
    pub fn create(at: &TokenObject, pin: &PinSource, origin: &str, random: &Random) -> Result<Self, TokenError> {
        // What cannot be a key's name is found before something is made.
        named(at, origin, &BASE_POINT)?;
        let module = Module::of(&at.module)?;
        let (place, source) = (at.clone(), Arc::clone(pin));
        let mut id = [0; 16];
        random(&mut id);
        module.ask(OPENING_MAX, move |library| library.create(&place, &source, &id))?;
        Self::open(at, pin, origin)
    }

    pub fn at(&self) -> &TokenObject {
        &self.at
    }

    /// That the key signs, and is the one that the public key belongs to, is known before anything depends on it.
    fn try_out(&self) -> Result<(), TokenError> {
        // Two lines, the second of which is no number: neither a checkpoint nor a promise.
        let text = format!("millgate-key-is-tried-out/1\n{}\n", self.verifier.name());
        note::signature(self, &text).map(drop).map_err(|error| match error {
            note::NoteError::NotSigned { why, .. } => TokenError::TriedOut { at: (*self.at).clone(), why: why.0 },
            error => TokenError::TriedOut { at: (*self.at).clone(), why: error.to_string() },
        })
    }
}

impl Signer for TokenKey {
    fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SigningError> {
        let (at, pin, text) = (Arc::clone(&self.at), Arc::clone(&self.pin), text.to_vec());
        let signed = self.module.ask(SIGNING_MAX, move |library| library.sign(&at, &pin, &text));
        signed.map_err(|error| SigningError(error.to_string()))
    }
}

/// Of Ed25519 (RFC 8032 section 5.1): some key that is one.
const BASE_POINT: [u8; 32] = {
    let mut bytes = [0x66; 32];
    bytes[0] = 0x58;
    bytes
};

fn named(at: &TokenObject, origin: &str, public: &[u8; 32]) -> Result<VerifierKey, TokenError> {
    VerifierKey::from_bytes(origin, public).map_err(|source| TokenError::Key { at: at.clone(), source })
}
