use super::*;
use crate::{known, leaf_hash};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

const ALL: usize = 40;

#[test]
fn inclusion_proofs_are_those_of_the_definition() {
    let leaves = known::leaves(ALL as u64);
    for size in 1..=ALL {
        let tree = &leaves[..size];
        for (index, leaf) in tree.iter().enumerate() {
            let proof = inclusion(index as u64, size as u64, |l, i| known::subtree(tree, l, i)).unwrap();
            assert_eq!(proof, known::path(index, tree), "{index} of {size}");
            verify_inclusion(*leaf, index as u64, size as u64, &proof, known::root(tree)).unwrap();
        }
    }
}

#[test]
fn consistency_proofs_are_those_of_the_definition() {
    let leaves = known::leaves(ALL as u64);
    for new in 1..=ALL {
        let tree = &leaves[..new];
        for old in 1..=new {
            let proof = consistency(old as u64, new as u64, |l, i| known::subtree(tree, l, i)).unwrap();
            assert_eq!(proof, known::subproof(old, tree, true), "{old} to {new}");
            let (old_root, new_root) = (known::root(&leaves[..old]), known::root(tree));
            verify_consistency(old as u64, old_root, new as u64, new_root, &proof).unwrap();
        }
    }
}

/// Paths of the reference tree as published with the Certificate Transparency test data.
#[test]
fn the_reference_tree_has_its_published_paths() {
    let leaves = known::reference_leaves();
    let hex = |proof: Vec<Hash>| proof.iter().map(Hash::to_string).collect::<Vec<_>>();
    let fetch = |l, i| known::subtree(&leaves, l, i);
    assert_eq!(
        hex(inclusion(0, 8, fetch).unwrap()),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
    );
    assert_eq!(
        hex(consistency(6, 8, fetch).unwrap()),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
}

#[test]
fn the_empty_tree_begins_every_tree() {
    let root = leaf_hash(b"x");
    verify_consistency(0, empty_root(), 1, root, &[]).unwrap();
    verify_consistency(0, empty_root(), 0, empty_root(), &[]).unwrap();
    assert_eq!(verify_consistency(0, root, 1, root, &[]), Err(ProofError::OldRoot));
    assert_eq!(verify_consistency(1, root, 1, empty_root(), &[]), Err(ProofError::OldRoot));
    assert_eq!(verify_consistency(0, empty_root(), 1, root, &[root]).unwrap_err().to_string(), {
        "the proof has 1 hashes; it must have 0"
    });
    assert_eq!(verify_consistency(2, root, 1, root, &[]), Err(ProofError::Shrunk { old: 2, new: 1 }));
    assert_eq!(verify_consistency(3, root, 4, root, &[]), Err(ProofError::Length { expected: 3, found: 0 }));
}

#[test]
fn missing_subtrees_are_named() {
    assert_eq!(inclusion(0, 4, |_, _| None), Err(ProofError::MissingNode { level: 0, index: 1 }));
    assert_eq!(inclusion(4, 4, |_, _| None), Err(ProofError::Index { index: 4, size: 4 }));
    assert_eq!(consistency(3, 4, |l, _| (l > 0).then(empty_root)), {
        Err(ProofError::MissingNode { level: 0, index: 3 })
    });
}

/// One change of a proof and of what it is said to prove.
fn mutations(index: u64, size: u64, proof: &[Hash]) -> Vec<(u64, u64, Vec<Hash>)> {
    let mut cases = vec![
        (index + 1, size, proof.to_vec()),
        (index ^ 1, size, proof.to_vec()),
        (index, size, [proof, &[empty_root()]].concat()),
        (index, size, [&[empty_root()], proof].concat()),
    ];
    for at in 0..proof.len() {
        let mut flipped = proof.to_vec();
        flipped[at].0[at % 32] ^= 0x10;
        cases.push((index, size, flipped));
        let mut shortened = proof.to_vec();
        shortened.remove(at);
        cases.push((index, size, shortened));
        let mut turned = proof.to_vec();
        turned.rotate_left(1);
        if turned != proof {
            cases.push((index, size, turned));
        }
    }
    cases
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_independent_implementation_makes_the_same_proofs(size in 1_u64..600, pick: u64) {
        let leaves = known::leaves(size);
        let mut oracle = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        (0..size).for_each(|i| oracle.push(i.to_be_bytes().to_vec()));
        let root = known::root(&leaves);
        let theirs = oracle.root();
        prop_assert_eq!(theirs.as_bytes().as_slice(), root.0.as_slice());

        let index = pick % size;
        let proof = inclusion(index, size, |l, i| known::subtree(&leaves, l, i)).unwrap();
        let theirs = oracle.prove_inclusion(usize::try_from(index).unwrap());
        prop_assert_eq!(crate::hashes_to_bytes(&proof), theirs.as_bytes());

        let old = 1 + pick % size;
        if old < size {
            let proof = consistency(old, size, |l, i| known::subtree(&leaves, l, i)).unwrap();
            let theirs = oracle.prove_consistency(usize::try_from(size - old).unwrap());
            prop_assert_eq!(crate::hashes_to_bytes(&proof), theirs.as_bytes());
        }
    }

    #[test]
    fn changed_proofs_are_refused(size in 2_u64..300, pick: u64) {
        let leaves = known::leaves(size);
        let (root, index) = (known::root(&leaves), pick % size);
        let leaf = leaves[usize::try_from(index).unwrap()];
        let proof = inclusion(index, size, |l, i| known::subtree(&leaves, l, i)).unwrap();
        for (i, s, changed) in mutations(index, size, &proof) {
            prop_assert!(verify_inclusion(leaf, i, s, &changed, root).is_err(), "{i} of {s}");
        }
        prop_assert_eq!(verify_inclusion(empty_root(), index, size, &proof, root), Err(ProofError::Root));
        prop_assert_eq!(verify_inclusion(leaf, index, size, &proof, leaf), Err(ProofError::Root));

        let old = 1 + pick % (size - 1);
        let old_root = known::root(&leaves[..usize::try_from(old).unwrap()]);
        let proof = consistency(old, size, |l, i| known::subtree(&leaves, l, i)).unwrap();
        for (_, _, changed) in mutations(old, size, &proof).into_iter().skip(2) {
            prop_assert!(verify_consistency(old, old_root, size, root, &changed).is_err());
        }
        prop_assert!(verify_consistency(old, leaf_hash(b"other"), size, root, &proof).is_err());
        prop_assert_eq!(verify_consistency(old, old_root, size, leaf_hash(b"other"), &proof), Err(ProofError::Root));
    }

    #[test]
    fn no_input_breaks_the_verifiers(index: u64, size: u64, count in 0_usize..130, byte: u8) {
        let proof = vec![Hash([byte; 32]); count];
        let hash = leaf_hash(&[byte]);
        prop_assert!(verify_inclusion(hash, index, size, &proof, hash).is_err() || size == 1);
        prop_assert!(verify_consistency(index, hash, size, hash, &proof).is_err() || index == size);
        let _ = inclusion(index, size, |_, _| Some(hash));
        let _ = consistency(index, size, |_, _| Some(hash));
    }
}

#[test]
fn the_largest_sizes_are_handled() {
    let hash = leaf_hash(b"x");
    for (old, new) in [(1, u64::MAX), (1 << 63, u64::MAX), (u64::MAX - 1, u64::MAX), ((1 << 63) + 1, u64::MAX)] {
        let proof = consistency(old, new, |_, _| Some(hash)).unwrap();
        assert!(verify_consistency(old, hash, new, hash, &proof).is_err());
        let proof = inclusion(old, new, |_, _| Some(hash)).unwrap();
        assert_eq!(verify_inclusion(hash, old, new, &proof, hash), Err(ProofError::Root));
    }
}
