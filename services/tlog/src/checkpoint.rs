//! Checkpoints (C2SP tlog-checkpoint): origin, size and root of a log, as the text of a signed note.

use crate::Hash;
use crate::note::{self, NoteError, Signer, VerifierKey};

/// What a log says of itself at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's identity. Ours is also the name of its key.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
    /// Further lines, kept and not understood. The specification advises against them, and we write none.
    pub extensions: Vec<String>,
}

/// Why text is not a checkpoint, or must not be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("{0}")]
    Note(#[from] NoteError),
    #[error("{0}")]
    NotSigned(NoteError),
    #[error("line {0} of the checkpoint is malformed")]
    Line(usize),
    #[error("the checkpoint is of log `{found}`; the key is that of `{expected}`")]
    Origin { expected: String, found: String },
}

impl Checkpoint {
    pub fn new(origin: impl Into<String>, size: u64, root: Hash) -> Self {
        Self { origin: origin.into(), size, root, extensions: Vec::new() }
    }

    /// The text to be signed, with its final newline.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64());
        self.extensions.iter().for_each(|line| text.extend([line, "\n"]));
        text
    }

    /// Reads the text of a checkpoint.
    ///
    /// # Errors
    /// The first line (from 1) that is not as specified: empty, a size with leading zeros or beyond 64 bits, a root that is
    /// not 32 bytes of base64.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or_default().split('\n').collect();
        if let Some(empty) = lines.iter().position(|line| line.is_empty()) {
            return Err(CheckpointError::Line(empty + 1));
        }
        let line = |number: usize| lines.get(number - 1).copied().ok_or(CheckpointError::Line(number));
        Ok(Self {
            origin: line(1)?.to_owned(),
            size: parse_size(line(2)?).ok_or(CheckpointError::Line(2))?,
            root: Hash::from_base64(line(3)?).ok_or(CheckpointError::Line(3))?,
            extensions: lines.iter().skip(3).map(|line| (*line).to_owned()).collect(),
        })
    }

    /// The signed note.
    ///
    /// # Errors
    /// When origin or extensions hold what a note cannot, the origin is not the key's name, or the key does not sign.
    pub fn sign(&self, key: &(impl Signer + ?Sized)) -> Result<String, CheckpointError> {
        self.sign_all(&[key])
    }

    /// The note signed by several keys of the log, in their order: while one takes the place of another, both sign.
    ///
    /// # Errors
    /// As [`Checkpoint::sign`], for any of the keys.
    pub fn sign_all<S: Signer + ?Sized>(&self, keys: &[&S]) -> Result<String, CheckpointError> {
        keys.iter().try_for_each(|key| self.check_origin(key.verifier()))?;
        let text = self.to_text();
        Self::parse(&text)?;
        note::sign(&text, keys).map_err(CheckpointError::NotSigned)
    }

    /// Verifies a signed note by the log's key and reads its checkpoint.
    ///
    /// # Errors
    /// When the note does not verify, is not a checkpoint, or is that of another origin.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        Ok(Self::open_any(note, std::slice::from_ref(key))?.0)
    }

    /// The same by any of the log's keys; those that signed come back. A line of one of them that is not its signature
    /// refuses the note, whatever the others say.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_any<'k>(note: &str, keys: &'k [VerifierKey]) -> Result<(Self, Vec<&'k VerifierKey>), CheckpointError> {
        let verified = note::verify(note, keys)?;
        let checkpoint = Self::parse(verified.text)?;
        verified.keys.iter().try_for_each(|key| checkpoint.check_origin(key))?;
        Ok((checkpoint, verified.keys))
    }

    fn check_origin(&self, key: &VerifierKey) -> Result<(), CheckpointError> {
        if self.origin == key.name() {
            return Ok(());
        }
        Err(CheckpointError::Origin { expected: key.name().to_owned(), found: self.origin.clone() })
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SigningKey, empty_root, leaf_hash};
    use proptest::prelude::*;

    fn key(name: &str) -> SigningKey {
        SigningKey::generate(name, [9; 32]).unwrap()
    }

    /// The text of the example in the tlog-checkpoint specification.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn two_keys_of_a_log_sign_one_note_and_each_is_enough() {
        let [old, new, stranger] = [1, 2, 3].map(|seed| SigningKey::generate("log.example", [seed; 32]).unwrap());
        let checkpoint = Checkpoint::new("log.example", 0, empty_root());
        let note = checkpoint.sign_all(&[&old, &new]).unwrap();
        let verifiers = |keys: &[&SigningKey]| keys.iter().map(|key| key.verifier().clone()).collect::<Vec<_>>();
        for (known, signed) in [(vec![&old], 1), (vec![&new], 1), (vec![&new, &stranger, &old], 2)] {
            let known = verifiers(&known);
            let (opened, keys) = Checkpoint::open_any(&note, &known).unwrap();
            assert_eq!((&opened, keys.len()), (&checkpoint, signed));
        }
        let both = verifiers(&[&old, &new]);
        let (_, keys) = Checkpoint::open_any(&note, &both).unwrap();
        assert_eq!(keys, [old.verifier(), new.verifier()], "in their order");
        assert!(Checkpoint::open_any(&note, &verifiers(&[&stranger])).is_err());
        assert_eq!(note::signer(&note, [new.verifier(), old.verifier()]), Some(new.verifier()));
        assert_eq!(note::signer(&note, [stranger.verifier()]), None);
        // The good signature of one does not stand for the bad one of the other.
        let forged = Checkpoint::new("log.example", 1, empty_root()).sign(&new).unwrap();
        let lines: Vec<&str> = note.split('\n').collect();
        let bad = forged.split('\n').nth(4).unwrap();
        let mixed = format!("{}\n{bad}\n", lines[..5].join("\n"));
        assert!(Checkpoint::open(&mixed, old.verifier()).is_ok());
        assert!(matches!(Checkpoint::open_any(&mixed, &both), Err(CheckpointError::Note(NoteError::BadSignature(_)))));
        let foreign = SigningKey::generate("other.example", [1; 32]).unwrap();
        assert!(checkpoint.sign_all(&[&old, &foreign]).is_err());
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let checkpoint = Checkpoint::parse(EXAMPLE).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(checkpoint.to_text(), EXAMPLE);
        let extended = format!("{EXAMPLE}one\ntwo\n");
        let checkpoint = Checkpoint::parse(&extended).unwrap();
        assert_eq!(checkpoint.extensions, ["one", "two"]);
        assert_eq!(checkpoint.to_text(), extended);
    }

    #[test]
    fn other_spellings_are_refused() {
        let size = |text: &str| EXAMPLE.replace("20852163", text);
        for (bad, line) in [
            (String::new(), 1),
            ("o\n".into(), 2),
            ("o\n1\n".into(), 3),
            (EXAMPLE.trim_end().into(), 1),
            (format!("\n{EXAMPLE}"), 1),
            (format!("{EXAMPLE}\n"), 4),
            (size("020852163"), 2),
            (size("00"), 2),
            (size("+1"), 2),
            (size("-1"), 2),
            (size(" 1"), 2),
            (size("1 "), 2),
            (size("18446744073709551616"), 2),
            (EXAMPLE.replace("I=", "I"), 3),
            (EXAMPLE.replace("I=", "J="), 3),
            (EXAMPLE.replace("CsUY", ""), 3),
        ] {
            assert_eq!(Checkpoint::parse(&bad), Err(CheckpointError::Line(line)), "{bad:?}");
        }
        assert_eq!(Checkpoint::parse(&size("18446744073709551615")).unwrap().size, u64::MAX);
        assert_eq!(Checkpoint::parse(&size("0")).unwrap().size, 0);
    }

    #[test]
    fn only_the_log_itself_signs_its_checkpoints() {
        let (ours, theirs) = (key("plant.example/log"), key("other.example/log"));
        let checkpoint = Checkpoint::new("plant.example/log", 3, leaf_hash(b"x"));
        let note = checkpoint.sign(&ours).unwrap();
        assert_eq!(Checkpoint::open(&note, ours.verifier()).unwrap(), checkpoint);
        assert_eq!(Checkpoint::open(&note, theirs.verifier()), Err(NoteError::NoKnownSignature.into()));
        assert!(matches!(checkpoint.sign(&theirs), Err(CheckpointError::Origin { .. })));
        let strange = note::sign(&checkpoint.to_text(), &[&theirs]).unwrap();
        let error = Checkpoint::open(&strange, theirs.verifier()).unwrap_err().to_string();
        assert_eq!(error, "the checkpoint is of log `plant.example/log`; the key is that of `other.example/log`");
    }

    #[test]
    fn what_could_not_be_read_again_is_not_signed() {
        let mut checkpoint = Checkpoint::new("log", 0, empty_root());
        checkpoint.extensions.push("a\n\nb".into());
        assert_eq!(checkpoint.sign(&key("log")), Err(CheckpointError::Line(5)));
    }

    proptest! {
        #[test]
        fn checkpoints_round_trip(size: u64, root: [u8; 32]) {
            let checkpoint = Checkpoint::new("log", size, Hash(root));
            prop_assert_eq!(Checkpoint::parse(&checkpoint.to_text()), Ok(checkpoint));
        }

        #[test]
        fn no_text_breaks_the_parser(text in "([a-z]{1,3}|[0-9+]{1,3}|[A-Za-z0-9/+]{43}=|\n){0,8}") {
            if let Ok(checkpoint) = Checkpoint::parse(&text) {
                prop_assert_eq!(checkpoint.to_text(), text);
            }
        }
    }
}
