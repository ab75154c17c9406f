//! What a log says to a witness, and how a witness judges it (C2SP tlog-witness, `add-checkpoint`).

use crate::note::{NoteError, VerifierKey};
use crate::proof::verify_consistency;
use crate::{Checkpoint, CheckpointError, Hash, empty_root};

/// The specification allows no more.
const PROOF_MAX: usize = 63;

/// A checkpoint, and the proof that it continues the one that the witness saw last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the checkpoint that the witness saw last.
    pub old: u64,
    pub proof: Vec<Hash>,
    /// The signed note.
    pub note: String,
}

/// What a witness has seen of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub size: u64,
    pub root: Hash,
}

impl Seen {
    /// Nothing yet.
    pub fn nothing() -> Self {
        Self { size: 0, root: empty_root() }
    }
}

/// Why a witness does not cosign, with the HTTP status that says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCosigned {
    #[error("malformed: {0}")]
    Malformed(&'static str),
    #[error("this witness does not know the log `{0}`")]
    UnknownLog(String),
    #[error("the checkpoint is not signed by the log's key: {0}")]
    NotSigned(CheckpointError),
    /// The latest that was cosigned is of this size, or of the same size and another root.
    #[error("the latest checkpoint that was cosigned has {0} entries")]
    Conflict(u64),
    #[error("the proof does not show that the tree continues the one that was cosigned")]
    Inconsistent,
}

impl NotCosigned {
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::UnknownLog(_) => 404,
            Self::NotSigned(_) => 403,
            Self::Conflict(_) => 409,
            Self::Inconsistent => 422,
        }
    }
}

impl AddCheckpoint {
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        self.proof.iter().for_each(|hash| text.extend([hash.to_base64().as_str(), "\n"]));
        text.extend(["\n", &self.note]);
        text
    }

    /// # Errors
    /// [`NotCosigned::Malformed`].
    pub fn parse(text: &str) -> Result<Self, NotCosigned> {
        let malformed = NotCosigned::Malformed;
        let (head, note) = text.split_once("\n\n").ok_or(malformed("no empty line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(malformed("no `old` line"))?;
        let number = old.parse().ok().filter(|number: &u64| number.to_string() == old);
        let proof: Option<Vec<Hash>> = lines.map(Hash::from_base64).collect();
        let proof = proof.ok_or(malformed("a line of the proof is no hash"))?;
        if proof.len() > PROOF_MAX {
            return Err(malformed("the proof has more than 63 hashes"));
        }
        Ok(Self { old: number.ok_or(malformed("`old` is no number"))?, proof, note: note.to_owned() })
    }

    /// The first line of the checkpoint, which nobody has verified.
    pub fn origin(&self) -> &str {
        self.note.split('\n').next().unwrap_or_default()
    }

    /// The checkpoint, if the log with this key has signed it and it continues what was seen.
    ///
    /// # Errors
    /// Why a witness must not cosign it.
    pub fn judge(&self, key: &VerifierKey, seen: Seen) -> Result<Checkpoint, NotCosigned> {
        let checkpoint = Checkpoint::open(&self.note, key).map_err(|error| match error {
            CheckpointError::Note(NoteError::NoKnownSignature | NoteError::BadSignature(_)) => {
                NotCosigned::NotSigned(error)
            }
            _ => NotCosigned::Malformed("the checkpoint is none"),
        })?;
        if self.old > checkpoint.size {
            return Err(NotCosigned::Malformed("`old` is larger than the checkpoint"));
        }
        if self.old != seen.size || (self.old == checkpoint.size && checkpoint.root != seen.root) {
            return Err(NotCosigned::Conflict(seen.size));
        }
        verify_consistency(self.old, seen.root, checkpoint.size, checkpoint.root, &self.proof)
            .map_err(|_| NotCosigned::Inconsistent)?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SigningKey, known, proof};

    const ORIGIN: &str = "plant.example/log";

    fn key(seed: u8) -> SigningKey {
        SigningKey::generate(ORIGIN, [seed; 32]).unwrap()
    }

    fn leaves(size: u64, from: u64) -> Vec<Hash> {
        known::leaves(from + size).split_off(usize::try_from(from).unwrap())
    }

    fn add(old: u64, leaves: &[Hash]) -> AddCheckpoint {
        let size = leaves.len() as u64;
        let proof =
            proof::consistency(old, size, |level, index| known::subtree(leaves, level, index)).unwrap_or_default();
        let note = Checkpoint::new(ORIGIN, size, known::root(leaves)).sign(&key(9)).unwrap();
        AddCheckpoint { old, proof, note }
    }

    fn seen(leaves: &[Hash]) -> Seen {
        Seen { size: leaves.len() as u64, root: known::root(leaves) }
    }

    fn status(add: &AddCheckpoint, seen: Seen) -> u16 {
        add.judge(key(9).verifier(), seen).map_or_else(|why| why.status(), |_| 200)
    }

    #[test]
    fn a_tree_that_grows_is_cosigned_at_every_size() {
        let all = leaves(40, 0);
        for old in 0..=40 {
            for new in old..=40 {
                let add = add(old, &all[..new as usize]);
                assert_eq!(status(&add, seen(&all[..old as usize])), 200, "{old} to {new}");
                assert_eq!(AddCheckpoint::parse(&add.to_text()).as_ref(), Ok(&add));
                assert_eq!(add.origin(), ORIGIN);
            }
        }
        assert_eq!(status(&add(0, &all), Seen::nothing()), 200);
    }

    #[test]
    fn another_history_is_never_cosigned() {
        let (ours, other) = (leaves(20, 0), leaves(20, 7));
        // Of the same size, larger, and smaller than what was seen.
        assert_eq!(status(&add(20, &other), seen(&ours)), 409);
        let larger = leaves(30, 7);
        assert_eq!(status(&add(20, &larger), seen(&ours)), 422);
        assert_eq!(status(&add(10, &ours[..10]), seen(&ours)), 409);
        assert_eq!(status(&add(0, &ours), seen(&ours)), 409);
        let claimed = AddCheckpoint { old: 20, ..add(0, &ours[..10]) };
        assert_eq!(status(&claimed, seen(&ours)), 400);
        // A proof that is forged, empty, or too long.
        let all = leaves(33, 0);
        let good = add(20, &all);
        assert_eq!(status(&good, seen(&ours)), 200);
        for at in 0..good.proof.len() {
            let mut bad = good.clone();
            bad.proof[at] = other[0];
            assert_eq!(status(&bad, seen(&ours)), 422);
        }
        assert_eq!(status(&AddCheckpoint { proof: Vec::new(), ..good.clone() }, seen(&ours)), 422);
        let mut long = good.clone();
        long.proof.push(other[0]);
        assert_eq!(status(&long, seen(&ours)), 422);
        // Not by the log.
        let why = good.judge(key(8).verifier(), seen(&ours)).unwrap_err();
        assert_eq!(why.status(), 403);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let good = add(3, &leaves(7, 0)).to_text();
        assert!(AddCheckpoint::parse(&good).is_ok());
        for (from, to) in
            [("old 3", "old 03"), ("old 3", "old -3"), ("old 3", "new 3"), ("old 3\n", "old 3\nx\n"), ("\n\n", "\n")]
        {
            let bad = good.replacen(from, to, 1);
            assert_eq!(AddCheckpoint::parse(&bad).map_err(|e| e.status()).unwrap_err(), 400, "{bad}");
        }
        let hash = format!("{}\n", empty_root().to_base64());
        let long = good.replacen("old 3\n", &format!("old 3\n{}", hash.repeat(64)), 1);
        assert!(AddCheckpoint::parse(&long).is_err());
    }
}
