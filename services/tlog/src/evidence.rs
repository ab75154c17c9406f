//! Proofs in files (C2SP tlog-proof): that one entry is in the tree of a checkpoint, for whoever has nothing but the file
//! and the log's key.

use crate::note::VerifierKey;
use crate::proof::{ProofError, verify_inclusion};
use crate::{Checkpoint, CheckpointError, Hash};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^64 entries has no longer proof.
const HASHES_MAX: usize = 64;

/// A proof that an entry is in a tree. Nothing of it can be relied on before [`Evidence::verify`], and `extra` not even then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// For the application. It is under no signature.
    pub extra: Option<Vec<u8>>,
    pub index: u64,
    /// From the sibling of the leaf to the child of the root.
    pub proof: Vec<Hash>,
    /// The signed note of the checkpoint.
    pub note: String,
}

/// Why a text is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    #[error("it does not begin with the line `{FIRST_LINE}`")]
    NoProof,
    #[error("line {0} is malformed")]
    Line(usize),
    #[error("it has no empty line and no checkpoint behind it")]
    NoCheckpoint,
}

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotHold {
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("{0}")]
    Proof(#[from] ProofError),
}

impl Evidence {
    pub fn to_text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        if let Some(extra) = &self.extra {
            text.extend(["extra ", &STANDARD.encode(extra), "\n"]);
        }
        text.push_str(&format!("index {}\n", self.index));
        self.proof.iter().for_each(|hash| text.extend([hash.to_base64().as_str(), "\n"]));
        text.extend(["\n", &self.note]);
        text
    }

    /// # Errors
    /// The first line (from 1) that is not as specified. The checkpoint is not looked at.
    pub fn parse(text: &str) -> Result<Self, EvidenceError> {
        let mut lines = (1..).zip(text.split('\n'));
        if lines.next().map(|(_, line)| line) != Some(FIRST_LINE) {
            return Err(EvidenceError::NoProof);
        }
        let (mut number, mut line) = lines.next().ok_or(EvidenceError::Line(2))?;
        let mut extra = None;
        if let Some(coded) = line.strip_prefix("extra ") {
            extra = Some(STANDARD.decode(coded).map_err(|_| EvidenceError::Line(number))?);
            (number, line) = lines.next().ok_or(EvidenceError::Line(3))?;
        }
        let index = line.strip_prefix("index ").and_then(decimal).ok_or(EvidenceError::Line(number))?;
        let mut proof = Vec::new();
        for (number, line) in lines {
            if line.is_empty() {
                let before: usize = text.split_inclusive('\n').take(number).map(str::len).sum();
                let note = text.get(before..).filter(|note| !note.is_empty()).ok_or(EvidenceError::NoCheckpoint)?;
                return Ok(Self { extra, index, proof, note: note.to_owned() });
            }
            let hash = Hash::from_base64(line).filter(|_| proof.len() < HASHES_MAX);
            proof.push(hash.ok_or(EvidenceError::Line(number))?);
        }
        Err(EvidenceError::NoCheckpoint)
    }

    /// Checks that `leaf` is the entry in question of the log with this key, and gives the checkpoint that says so.
    ///
    /// # Errors
    /// Whatever of it does not hold.
    pub fn verify(&self, leaf: Hash, key: &VerifierKey) -> Result<Checkpoint, DoesNotHold> {
        Ok(self.verify_any(leaf, std::slice::from_ref(key))?.0)
    }

    /// The same of a log that has had several keys, with those that have signed. A line in the name of any of them that is not its
    /// signature refuses the note.
    ///
    /// # Errors
    /// As [`Evidence::verify`].
    pub fn verify_any<'k>(
        &self,
        leaf: Hash,
        keys: &'k [VerifierKey],
    ) -> Result<(Checkpoint, Vec<&'k VerifierKey>), DoesNotHold> {
        let (checkpoint, signers) = Checkpoint::open_any(&self.note, keys)?;
        verify_inclusion(leaf, self.index, checkpoint.size, &self.proof, checkpoint.root)?;
        Ok((checkpoint, signers))
    }
}

/// Without sign or leading zeros.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SigningKey, known};
    use proptest::prelude::*;

    fn evidence(index: u64, size: u64) -> (Evidence, SigningKey, Hash) {
        let key = SigningKey::generate("plant.example/log", [9; 32]).unwrap();
        let leaves = known::leaves(size);
        let proof = crate::proof::inclusion(index, size, |level, at| known::subtree(&leaves, level, at)).unwrap();
        let note = Checkpoint::new("plant.example/log", size, known::root(&leaves)).sign(&key).unwrap();
        let leaf = leaves[usize::try_from(index).unwrap()];
        (Evidence { extra: Some(b"{}".to_vec()), index, proof, note }, key, leaf)
    }

    #[test]
    fn a_proof_is_written_as_specified_and_holds() {
        let (evidence, key, leaf) = evidence(2, 5);
        let text = evidence.to_text();
        let begin = "c2sp.org/tlog-proof@v1\nextra e30=\nindex 2\n";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains("=\n\nplant.example/log\n5\n"), "{text}");
        assert_eq!(Evidence::parse(&text).as_ref(), Ok(&evidence));
        assert_eq!(evidence.verify(leaf, key.verifier()).unwrap().size, 5);
        let bare = Evidence { extra: None, ..evidence };
        assert_eq!(Evidence::parse(&bare.to_text()).as_ref(), Ok(&bare));
    }

    #[test]
    fn what_was_changed_does_not_hold() {
        let (good, key, leaf) = evidence(5, 13);
        let key = key.verifier();
        let fails = |evidence: &Evidence, leaf| evidence.verify(leaf, key).is_err();
        assert!(!fails(&good, leaf));
        assert!(fails(&good, crate::leaf_hash(b"another")));
        for index in [0, 4, 6, 13, u64::MAX] {
            assert!(fails(&Evidence { index, ..good.clone() }, leaf), "{index}");
        }
        for at in 0..good.proof.len() {
            let mut short = good.clone();
            short.proof.remove(at);
            assert!(fails(&short, leaf), "without {at}");
            let mut other = good.clone();
            other.proof[at] = leaf;
            assert!(fails(&other, leaf), "another {at}");
            let mut long = good.clone();
            long.proof.insert(at, leaf);
            assert!(fails(&long, leaf), "one more at {at}");
        }
        let note = good.note.replace("\n13\n", "\n14\n");
        assert!(fails(&Evidence { note, ..good.clone() }, leaf));
        let stranger = SigningKey::generate("plant.example/log", [8; 32]).unwrap();
        assert!(good.verify(leaf, stranger.verifier()).is_err());
    }

    #[test]
    fn other_spellings_are_refused() {
        let (good, ..) = evidence(2, 5);
        let good = good.to_text();
        for (from, to, error) in [
            ("@v1", "@v2", EvidenceError::NoProof),
            ("extra e30=", "extra e30", EvidenceError::Line(2)),
            ("extra ", "extra  ", EvidenceError::Line(2)),
            ("index 2", "index 02", EvidenceError::Line(3)),
            ("index 2", "index +2", EvidenceError::Line(3)),
            ("index 2\n", "", EvidenceError::Line(3)),
            ("index 2\n", "index 2\nindex 2\n", EvidenceError::Line(4)),
            ("=\n\nplant", "=\nplant", EvidenceError::Line(7)),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert_eq!(Evidence::parse(&bad), Err(error), "{bad}");
        }
        let cut = good.split("\n\n").next().unwrap();
        assert_eq!(Evidence::parse(cut), Err(EvidenceError::NoCheckpoint));
        assert_eq!(Evidence::parse(&format!("{cut}\n\n")), Err(EvidenceError::NoCheckpoint));
        let line = format!("{}\n", crate::empty_root().to_base64());
        let long = good.replacen("index 2\n", &format!("index 2\n{}", line.repeat(65)), 1);
        assert_eq!(Evidence::parse(&long), Err(EvidenceError::Line(68)));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "(c2sp.org/tlog-proof@v1\n)?(extra [a-z=]{0,8}\n|index [0-9]{1,3}\n|[A-Za-z0-9/+]{43}=\n|\n|[a-z]{1,3}\n){0,8}") {
            if let Ok(evidence) = Evidence::parse(&text) {
                prop_assert_eq!(evidence.to_text(), text);
            }
        }
    }
}
