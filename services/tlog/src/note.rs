//! Signed notes (C2SP signed-note) with Ed25519 keys, signature type 0x01.
//!
//! A note is text, an empty line, and one line per signature. Signatures of unknown keys are ignored, so that keys can be
//! rotated and witnesses can cosign; a bad signature of a known key refuses the whole note.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use sha2::{Digest as _, Sha256};

const ED25519: u8 = 1;
/// Opens every signature line.
const MARK: &str = "\u{2014} ";
/// Verifiers must accept 16; more than this is an attempt to keep us busy.
const SIGNATURES_MAX: usize = 100;

/// Why text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a verifier key is written `name+hash+key`, with a hash of 8 hexadecimal digits and a key in base64")]
    VerifierForm,
    #[error(
        "a signing key is written `PRIVATE+KEY+name+hash+key`, with a hash of 8 hexadecimal digits and a key in base64"
    )]
    SigningForm,
    #[error("a key name is not empty and has no spaces, control characters or `+`")]
    Name,
    #[error("the key is not an Ed25519 key of the signature type that is needed here: 1 of a log, 4 of a witness")]
    Type,
    #[error("the key's hash does not belong to its name and key")]
    Hash,
    #[error("the key is not a usable Ed25519 public key")]
    Point,
}

/// Why a note cannot be signed, or must not be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("not a signed note, which is text with a final newline, an empty line, and at least one signature line")]
    Form,
    #[error("the note has control characters")]
    Control,
    #[error("signature line {0} is malformed")]
    SignatureForm(usize),
    #[error("the note has more than {SIGNATURES_MAX} signatures")]
    TooManySignatures,
    #[error("the signature of key `{0}` does not verify")]
    BadSignature(String),
    #[error("no signature is by a known key")]
    NoKnownSignature,
    #[error("the key `{key}` has not signed: {why}")]
    NotSigned { key: String, why: SigningError },
}

/// Why whoever holds a key did not sign with it, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SigningError(pub String);

/// Whoever holds a private key: a [`SigningKey`] in memory, or a device that signs and never gives the key away.
///
/// What such a device answers is verified before it is used (see [`signature`]).
pub trait Signer: std::fmt::Debug + Send + Sync {
    /// The public key, with the log's name.
    fn verifier(&self) -> &VerifierKey;

    /// The Ed25519 signature (RFC 8032 section 5.1.6, without prehash) over `text`. May take its time.
    ///
    /// # Errors
    /// Why there is none.
    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SigningError>;
}

/// A signature that verifies with the signer's public key: one that does not would be a promise that nobody can check, in
/// the name of whoever is held to it.
///
/// # Errors
/// When there is none, or it does not verify.
pub fn signature(signer: &(impl Signer + ?Sized), text: &str) -> Result<[u8; 64], NoteError> {
    let verifier = signer.verifier();
    let refused = |why| NoteError::NotSigned { key: verifier.to_text(), why };
    let signature = signer.sign(text.as_bytes()).map_err(refused)?;
    if !verifier.verifies(text, &signature) {
        return Err(refused(SigningError(String::from("what it answered does not verify with this public key"))));
    }
    Ok(signature)
}

pub(crate) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

pub(crate) fn key_id(kind: u8, name: &str, public: &[u8; 32]) -> u32 {
    let digest = Sha256::new().chain_update(name).chain_update([b'\n', kind]).chain_update(public).finalize();
    digest.first_chunk().map_or(0, |first| u32::from_be_bytes(*first))
}

pub(crate) fn key_text(kind: u8, name: &str, id: u32, key: &[u8; 32]) -> String {
    let mut typed = vec![kind];
    typed.extend_from_slice(key);
    format!("{name}+{id:08x}+{}", STANDARD.encode(typed))
}

/// The parts of `name+hash+base64(type || 32 bytes)`.
pub(crate) fn parse_key(text: &str, kind: u8, form: KeyError) -> Result<(&str, u32, [u8; 32]), KeyError> {
    // Base64 has `+` as a digit; names have not.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(form) };
    let is_hex = hash.len() == 8 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let id = u32::from_str_radix(hash, 16).ok().filter(|_| is_hex).ok_or(form)?;
    let typed = STANDARD.decode(key).map_err(|_| form)?;
    if !is_key_name(name) {
        return Err(KeyError::Name);
    }
    match typed.split_first() {
        Some((found, key)) if *found == kind => Ok((name, id, key.try_into().map_err(|_| KeyError::Type)?)),
        _ => Err(KeyError::Type),
    }
}

/// A name and an Ed25519 public key: whose signature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    key: ed25519_dalek::VerifyingKey,
}

impl VerifierKey {
    fn new(name: &str, key: ed25519_dalek::VerifyingKey) -> Self {
        Self { name: name.to_owned(), id: key_id(ED25519, name, key.as_bytes()), key }
    }

    /// Reads `name+hash+base64(0x01 || public key)`.
    ///
    /// # Errors
    /// What is wrong with the text. Keys of small order are refused: anybody can sign for them.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, bytes) = parse_key(text, ED25519, KeyError::VerifierForm)?;
        let key = Self::from_bytes(name, &bytes)?;
        if key.id == id { Ok(key) } else { Err(KeyError::Hash) }
    }

    /// The key with these 32 bytes (RFC 8032 section 5.1.5) and this name.
    ///
    /// # Errors
    /// As [`VerifierKey::parse`].
    pub fn from_bytes(name: &str, bytes: &[u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name);
        }
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak());
        Ok(Self::new(name, key.ok_or(KeyError::Point)?))
    }

    /// The inverse of [`VerifierKey::parse`].
    pub fn to_text(&self) -> String {
        key_text(ED25519, &self.name, self.id, self.key.as_bytes())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes of the key, whatever its name.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The first four bytes of SHA-256 over name, newline, type and key.
    pub fn key_id(&self) -> u32 {
        self.id
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok())
    }
}

/// A name and an Ed25519 private key.
#[derive(Clone)]
pub struct SigningKey {
    verifier: VerifierKey,
    key: ed25519_dalek::SigningKey,
}

/// The secret stays out of messages.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key made from 32 secret random bytes.
    ///
    /// # Errors
    /// When `name` is not a key name.
    pub fn generate(name: &str, seed: [u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name);
        }
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        Ok(Self { verifier: VerifierKey::new(name, key.verifying_key()), key })
    }

    /// Reads `PRIVATE+KEY+name+hash+base64(0x01 || seed)`.
    ///
    /// # Errors
    /// What is wrong with the text; the text itself is never repeated.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let rest = text.strip_prefix("PRIVATE+KEY+").ok_or(KeyError::SigningForm)?;
        let (name, id, seed) = parse_key(rest, ED25519, KeyError::SigningForm)?;
        let key = Self::generate(name, seed)?;
        if key.verifier.id == id { Ok(key) } else { Err(KeyError::Hash) }
    }

    /// The inverse of [`SigningKey::parse`]: secret.
    pub fn to_text(&self) -> String {
        format!("PRIVATE+KEY+{}", key_text(ED25519, &self.verifier.name, self.verifier.id, self.key.as_bytes()))
    }

    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    pub(crate) fn signature(&self, text: &str) -> [u8; 64] {
        self.key.sign(text.as_bytes()).to_bytes()
    }
}

impl Signer for SigningKey {
    fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SigningError> {
        Ok(self.key.sign(text).to_bytes())
    }
}

/// A note taken apart. Nothing in it has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// With its final newline.
    pub text: &'a str,
    pub signatures: Vec<Signature<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    pub name: &'a str,
    pub key_id: u32,
    pub bytes: Vec<u8>,
}

impl<'a> Note<'a> {
    /// # Errors
    /// Where the text is not a note.
    pub fn parse(note: &'a str) -> Result<Self, NoteError> {
        check_characters(note)?;
        let (before, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
        let text = note.get(..before.len() + 1).ok_or(NoteError::Form)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form)?;
        let signatures = (1..)
            .zip(lines.split('\n').take(SIGNATURES_MAX + 1))
            .map(|(number, line)| Signature::parse(line).ok_or(NoteError::SignatureForm(number)))
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures);
        }
        Ok(Self { text, signatures })
    }
}

impl<'a> Signature<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(MARK)?.split_once(' ')?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let (id, bytes) = decoded.split_first_chunk::<4>()?;
        (is_key_name(name) && !bytes.is_empty()).then(|| Self {
            name,
            key_id: u32::from_be_bytes(*id),
            bytes: bytes.to_vec(),
        })
    }
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    let control = text.bytes().any(|b| b < 0x20 && b != b'\n');
    if control { Err(NoteError::Control) } else { Ok(()) }
}

/// Signs `text`, which ends in a newline, with every key. There is a note with all signatures, or none.
///
/// # Errors
/// When the text cannot be a note's, there is no key, or one of them does not sign.
pub fn sign<S: Signer + ?Sized>(text: &str, keys: &[&S]) -> Result<String, NoteError> {
    check_characters(text)?;
    if !text.ends_with('\n') || keys.is_empty() {
        return Err(NoteError::Form);
    }
    let sign = |key: &&S| Ok(line(key.verifier().name(), &identified(key.verifier(), &signature(*key, text)?)));
    let signatures = keys.iter().map(sign).collect::<Result<String, NoteError>>()?;
    Ok(format!("{text}\n{signatures}"))
}

/// The key's id and its signature, as they stand in a note in base64.
pub(crate) fn identified(key: &VerifierKey, signature: &[u8; 64]) -> Vec<u8> {
    [key.id.to_be_bytes().as_slice(), signature].concat()
}

/// Whose key to take a note by: the first of the known keys that a signature line names. Nothing is verified.
pub fn signer<'k>(note: &str, known: impl IntoIterator<Item = &'k VerifierKey>) -> Option<&'k VerifierKey> {
    let note = Note::parse(note).ok()?;
    let signed = |key: &&VerifierKey| note.signatures.iter().any(|s| s.key_id == key.id && s.name == key.name);
    known.into_iter().find(signed)
}

/// The note that `text` and one signature of key `name` make. Nothing of it is verified.
pub(crate) fn assemble(text: &str, name: &str, signature: &[u8]) -> String {
    format!("{text}\n{}", line(name, signature))
}

/// One signature line: the key's id and its signature.
pub(crate) fn line(name: &str, signature: &[u8]) -> String {
    format!("{MARK}{name} {}\n", STANDARD.encode(signature))
}

/// The text of a note that a known key has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<'n, 'k> {
    /// With its final newline.
    pub text: &'n str,
    /// The known keys that signed, in the order of their signatures.
    pub keys: Vec<&'k VerifierKey>,
}

/// Verifies a note. Signatures of other keys are ignored, also when only the name or only the id is that of a known one.
///
/// # Errors
/// When the note is malformed, a known key's signature does not verify, or no known key has signed.
pub fn verify<'n, 'k>(note: &'n str, known: &'k [VerifierKey]) -> Result<Verified<'n, 'k>, NoteError> {
    let note = Note::parse(note)?;
    let mut keys = Vec::new();
    for signature in &note.signatures {
        let key = known.iter().find(|key| key.id == signature.key_id && key.name == signature.name);
        match key {
            None => {}
            Some(key) if key.verifies(note.text, &signature.bytes) => keys.push(key),
            Some(key) => return Err(NoteError::BadSignature(key.name.clone())),
        }
    }
    if keys.is_empty() { Err(NoteError::NoKnownSignature) } else { Ok(Verified { text: note.text, keys }) }
}

#[cfg(test)]
mod tests;
