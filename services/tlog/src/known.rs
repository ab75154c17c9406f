//! The reference tree of the Certificate Transparency implementations, and the definition of RFC 6962 as an oracle.

use crate::{Hash, empty_root, leaf_hash, node_hash};

/// The eight inputs of the reference tree, in hexadecimal.
pub const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

/// Its roots at sizes 1 to 8.
pub const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

pub fn unhex(text: &str) -> Vec<u8> {
    let digits = text.bytes().map(|b| char::from(b).to_digit(16).unwrap() as u8).collect::<Vec<_>>();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub fn reference_leaves() -> Vec<Hash> {
    LEAVES.iter().map(|leaf| leaf_hash(&unhex(leaf))).collect()
}

/// Distinct leaves for trees of any size.
pub fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

/// MTH of RFC 6962 section 2.1, word for word.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            node_hash(root(&leaves[..k]), root(&leaves[k..]))
        }
    }
}

/// PATH of RFC 6962 section 2.1.1.
pub fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) = if m < k { (path(m, left), root(right)) } else { (path(m - k, right), root(left)) };
    proof.push(sibling);
    proof
}

/// SUBPROOF of RFC 6962 section 2.1.2.
pub fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) =
        if m <= k { (subproof(m, left, whole), root(right)) } else { (subproof(m - k, right, false), root(left)) };
    proof.push(sibling);
    proof
}

/// The complete subtree `index` of height `level`, if the tree has it.
pub fn subtree(leaves: &[Hash], level: u8, index: u64) -> Option<Hash> {
    let start = usize::try_from(index << level).unwrap();
    leaves.get(start..start + (1 << level)).map(root)
}
