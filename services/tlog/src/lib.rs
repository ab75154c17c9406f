//! The arithmetic of a transparency log: pure functions on bytes.
//!
//! RFC 6962 hashing and proofs, the C2SP formats tlog-tiles, signed-note, tlog-checkpoint, tlog-proof,
//! tlog-cosignature, tlog-witness and tlog-policy. Whoever writes a log and
//! whoever verifies one use the same code, and neither has to trust the other's storage.
//!
//! What this crate does **not** do: no I/O, no async, no clock, no randomness, no knowledge of what an entry says. Every
//! function is total: hostile input is an error or `None`, never a panic and never an unbounded allocation.

pub mod bundle;
pub mod checkpoint;
pub mod cosignature;
pub mod evidence;
pub mod note;
pub mod policy;
pub mod proof;
pub mod range;
pub mod receipt;
pub mod tile;
pub mod walk;
pub mod witness;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use cosignature::{CosignerKey, CosigningKey};
pub use evidence::Evidence;
pub use note::{Signer, SigningError, SigningKey, VerifierKey};
pub use policy::TrustPolicy;
pub use range::CompactRange;
pub use receipt::Receipt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// Bytes of one hash, in tiles and in stored ranges.
pub const HASH_BYTES: usize = 32;

/// A SHA-256 Merkle tree hash: of a leaf, of an inner node or of a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl Hash {
    /// Standard base64 with padding, as checkpoints write it.
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    /// The inverse of [`Hash::to_base64`]; other spellings of the same bytes are not accepted.
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).map(Self)
    }

    /// One hash; `None` unless there are exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// 64 lower-case hexadecimal digits.
impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// SHA-256 of 0x00 and the entry (RFC 6962 section 2.1).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// SHA-256 of 0x01 and both children (RFC 6962 section 2.1). The prefixes keep an inner node from passing as an entry.
pub fn node_hash(left: Hash, right: Hash) -> Hash {
    // In one piece, which is hashed faster than three.
    let mut bytes = [1; 1 + 2 * HASH_BYTES];
    let halves = bytes.last_chunk_mut::<{ 2 * HASH_BYTES }>().map(|halves| halves.as_chunks_mut::<HASH_BYTES>().0);
    if let Some([first, second]) = halves {
        (*first, *second) = (left.0, right.0);
    }
    Hash(Sha256::digest(bytes).into())
}

/// The root of the tree without entries: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// Concatenated hashes, as tiles and stored ranges hold them; `None` unless the length divides.
pub fn hashes_from_bytes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (chunks, rest) = bytes.as_chunks::<HASH_BYTES>();
    rest.is_empty().then(|| chunks.iter().map(|chunk| Hash(*chunk)).collect())
}

/// The inverse of [`hashes_from_bytes`].
pub fn hashes_to_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

#[cfg(test)]
mod known;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_and_nodes_are_told_apart() {
        let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
        let forged = [a.0, b.0].concat();
        assert_ne!(leaf_hash(&forged), node_hash(a, b));
        assert_ne!(node_hash(a, b), node_hash(b, a));
    }

    #[test]
    fn hashes_have_one_spelling() {
        let hash = leaf_hash(b"x");
        assert_eq!(Hash::from_base64(&hash.to_base64()), Some(hash));
        let text = hash.to_base64();
        for bad in [text.trim_end_matches('=').to_owned(), format!("{text}\n"), format!(" {text}"), String::new()] {
            assert_eq!(Hash::from_base64(&bad), None, "{bad:?}");
        }
        // 32 bytes leave two unused bits in the last digit; only zeroes are canonical.
        let spelled = Hash([0; 32]).to_base64();
        assert_eq!(Hash::from_base64(&spelled.replace("A=", "B=")), None);
        assert_eq!(hashes_from_bytes(&hashes_to_bytes(&[hash, empty_root()])), Some(vec![hash, empty_root()]));
        assert_eq!(hashes_from_bytes(&[0; 33]), None);
    }
}
