//! Cosignatures (C2SP tlog-cosignature, Ed25519): a witness's word that a checkpoint is the largest consistent one it has
//! seen of a log, and when.

use crate::note::{self, KeyError, Note, NoteError};
use ed25519_dalek::Signer as _;

/// The signature type of keys that cosign.
const COSIGNATURE: u8 = 4;
const TIME_BYTES: usize = 8;
const SIGNATURE_BYTES: usize = 64;

/// A witness's name and public key: whose cosignature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignerKey {
    name: String,
    id: u32,
    key: ed25519_dalek::VerifyingKey,
}

impl CosignerKey {
    fn new(name: &str, key: ed25519_dalek::VerifyingKey) -> Self {
        Self { name: name.to_owned(), id: note::key_id(COSIGNATURE, name, key.as_bytes()), key }
    }

    /// Reads `name+hash+base64(0x04 || public key)`.
    ///
    /// # Errors
    /// What is wrong with the text. A log's own key (type 0x01) is none, and the other way round.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, bytes) = note::parse_key(text, COSIGNATURE, KeyError::VerifierForm)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak());
        let key = Self::new(name, key.ok_or(KeyError::Point)?);
        if key.id == id { Ok(key) } else { Err(KeyError::Hash) }
    }

    /// The inverse of [`CosignerKey::parse`].
    pub fn to_text(&self) -> String {
        note::key_text(COSIGNATURE, &self.name, self.id, self.key.as_bytes())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes of the key. Two witnesses with one are one.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// When this witness cosigned the checkpoint in the note, in seconds since 1970: the latest time, if it did so several
    /// times. `None` when there is no signature of this key, or one does not verify.
    ///
    /// # Errors
    /// When it is no note.
    pub fn cosigned(&self, note: &str) -> Result<Option<u64>, NoteError> {
        let note = Note::parse(note)?;
        let ours = note.signatures.iter().filter(|s| s.key_id == self.id && s.name == self.name);
        let mut latest = None;
        for signature in ours {
            let Some(time) = self.verifies(note.text, &signature.bytes) else { return Ok(None) };
            latest = latest.max(Some(time));
        }
        Ok(latest)
    }

    /// The one line of what a witness says to the checkpoint in `note` that is this key's signature and verifies. Nothing else that it
    /// says may get under a checkpoint: a bad line in somebody else's name, the log's above all, and everybody refuses the whole note.
    pub fn own_line<'s>(&self, note: &str, said: &'s str) -> Option<&'s str> {
        let joined = format!("{note}{said}");
        let (before, all) = (Note::parse(note).ok()?, Note::parse(&joined).ok()?);
        if before.text != all.text {
            return None;
        }
        let added = all.signatures.iter().skip(before.signatures.len()).zip(said.split_inclusive('\n'));
        let is_own = |signature: &note::Signature<'_>| signature.key_id == self.id && signature.name == self.name;
        let (_, line) = added.into_iter().find(|(signature, _)| is_own(signature))?;
        matches!(self.cosigned(&format!("{note}{line}")), Ok(Some(_))).then_some(line)
    }

    fn verifies(&self, text: &str, bytes: &[u8]) -> Option<u64> {
        let (time, signature) = bytes.split_first_chunk::<TIME_BYTES>()?;
        let time = u64::from_be_bytes(*time);
        let signature = ed25519_dalek::Signature::from_slice(signature).ok().filter(|_| i64::try_from(time).is_ok())?;
        self.key.verify_strict(message(time, text).as_bytes(), &signature).ok().map(|()| time)
    }
}

fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// A witness's private key.
#[derive(Clone)]
pub struct CosigningKey {
    verifier: CosignerKey,
    key: ed25519_dalek::SigningKey,
}

/// The secret stays out of messages.
impl std::fmt::Debug for CosigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CosigningKey").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl CosigningKey {
    /// The key made from 32 secret random bytes.
    ///
    /// # Errors
    /// When `name` is not a key name.
    pub fn generate(name: &str, seed: [u8; 32]) -> Result<Self, KeyError> {
        if !note::is_key_name(name) {
            return Err(KeyError::Name);
        }
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        Ok(Self { verifier: CosignerKey::new(name, key.verifying_key()), key })
    }

    /// Reads `PRIVATE+KEY+name+hash+base64(0x04 || seed)`.
    ///
    /// # Errors
    /// What is wrong with the text; the text itself is never repeated.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let rest = text.strip_prefix("PRIVATE+KEY+").ok_or(KeyError::SigningForm)?;
        let (name, id, seed) = note::parse_key(rest, COSIGNATURE, KeyError::SigningForm)?;
        let key = Self::generate(name, seed)?;
        if key.verifier.id == id { Ok(key) } else { Err(KeyError::Hash) }
    }

    /// The inverse of [`CosigningKey::parse`]: secret.
    pub fn to_text(&self) -> String {
        let Self { verifier, key } = self;
        format!("PRIVATE+KEY+{}", note::key_text(COSIGNATURE, &verifier.name, verifier.id, key.as_bytes()))
    }

    pub fn verifier(&self) -> &CosignerKey {
        &self.verifier
    }

    /// The signature line for the text of a checkpoint, at `time` in seconds since 1970.
    pub fn cosign(&self, text: &str, time: u64) -> String {
        let mut bytes = self.verifier.id.to_be_bytes().to_vec();
        bytes.extend_from_slice(&time.to_be_bytes());
        bytes.extend_from_slice(&self.key.sign(message(time, text).as_bytes()).to_bytes());
        debug_assert_eq!(bytes.len(), 4 + TIME_BYTES + SIGNATURE_BYTES);
        note::line(&self.verifier.name, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checkpoint, SigningKey, empty_root};

    fn witness(name: &str, seed: u8) -> CosigningKey {
        CosigningKey::generate(name, [seed; 32]).unwrap()
    }

    fn note(size: u64) -> String {
        let key = SigningKey::generate("plant.example/log", [9; 32]).unwrap();
        Checkpoint::new("plant.example/log", size, empty_root()).sign(&key).unwrap()
    }

    fn text(note: &str) -> &str {
        Note::parse(note).unwrap().text
    }

    /// The cosignature of the example in the specification.
    #[test]
    fn the_example_of_the_specification_is_laid_out_as_ours() {
        let line = "\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
        let note = format!("a\n1\nb\n\n{line}");
        let parsed = Note::parse(&note).unwrap();
        let bytes = &parsed.signatures[0].bytes;
        assert_eq!(bytes.len(), TIME_BYTES + SIGNATURE_BYTES);
        assert_eq!(u64::from_be_bytes(bytes[..8].try_into().unwrap()), 1_679_315_147);
        assert_eq!(message(1_679_315_147, "a\n"), "cosignature/v1\ntime 1679315147\na\n");
    }

    #[test]
    fn a_cosignature_says_when_and_of_what() {
        let (w, note) = (witness("witness.example/w1", 1), note(7));
        let cosigned = format!("{note}{}", w.cosign(text(&note), 1_795_375_200));
        assert_eq!(w.verifier().cosigned(&cosigned), Ok(Some(1_795_375_200)));
        assert_eq!(w.verifier().cosigned(&note), Ok(None));
        let again = format!("{cosigned}{}", w.cosign(text(&note), 1_795_375_300));
        assert_eq!(w.verifier().cosigned(&again), Ok(Some(1_795_375_300)));
        // The log's own signature stands beside it.
        let key = SigningKey::generate("plant.example/log", [9; 32]).unwrap();
        assert_eq!(Checkpoint::open(&cosigned, key.verifier()).unwrap().size, 7);
    }

    #[test]
    fn cosignatures_of_others_and_of_other_checkpoints_do_not_count() {
        let (w, good) = (witness("witness.example/w1", 1), note(7));
        let line = w.cosign(text(&good), 1_795_375_200);
        // Moved to another checkpoint.
        assert_eq!(w.verifier().cosigned(&format!("{}{line}", note(8))), Ok(None));
        // Under another name, or of another key under this name.
        assert_eq!(witness("witness.example/w2", 1).verifier().cosigned(&format!("{good}{line}")), Ok(None));
        let forged = witness("witness.example/w1", 2).cosign(text(&good), 1_795_375_200);
        assert_eq!(w.verifier().cosigned(&format!("{good}{forged}")), Ok(None));
        // One that does not verify spoils those that do.
        let mut bytes = w.verifier().id.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[7; 72]);
        assert_eq!(
            w.verifier().cosigned(&format!("{good}{line}{}", note::line("witness.example/w1", &bytes))),
            Ok(None)
        );
        // A time beyond what the specification allows.
        let beyond = w.cosign(text(&good), u64::MAX);
        assert_eq!(w.verifier().cosigned(&format!("{good}{beyond}")), Ok(None));
    }

    #[test]
    fn keys_have_one_spelling_and_one_use() {
        let w = witness("witness.example/w1", 1);
        assert_eq!(CosignerKey::parse(&w.verifier().to_text()).as_ref(), Ok(w.verifier()));
        assert_eq!(CosigningKey::parse(&w.to_text()).unwrap().verifier(), w.verifier());
        assert!(!format!("{w:?}").contains(&w.to_text()));
        let log = SigningKey::generate("witness.example/w1", [1; 32]).unwrap();
        assert_eq!(CosignerKey::parse(&log.verifier().to_text()), Err(KeyError::Type));
        assert_eq!(CosigningKey::parse(&log.to_text()).unwrap_err(), KeyError::Type);
        assert_eq!(crate::VerifierKey::parse(&w.verifier().to_text()), Err(KeyError::Type));
    }
}
