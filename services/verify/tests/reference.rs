//! The worked example of `docs/audit-log.md`: whoever writes a verifier after it must come to the same bytes as this one.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use model::Digest;
use model::canonical::{self, Value};
use model::disclosed::{Verdict, compare};
use model::entry::Entry;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use tlog::note::Note;
use tlog::{Checkpoint, Evidence, SigningKey, bundle, hashes_to_bytes, leaf_hash, node_hash, walk};

const ORIGIN: &str = "plant.example/broker-1";

/// The section.
fn section() -> &'static str {
    let page = include_str!("../../../docs/audit-log.md");
    let behind = page.split_once("\n## Worked example\n").unwrap().1;
    behind.split_once("\n## ").map_or(behind, |(section, _)| section)
}

/// Whether it says so, however its lines are broken.
fn says(text: &str) -> bool {
    section().split_whitespace().collect::<Vec<_>>().join(" ").contains(text)
}

/// The text of a fenced block, by the last word of its first line; with its last line end.
fn block(name: &str) -> String {
    let fences: Vec<&str> = section().split("\n```").collect();
    let mut blocks = fences.iter().skip(1).step_by(2).filter_map(|fence| fence.split_once('\n'));
    let (_, text) = blocks.find(|(info, _)| info.split(' ').next_back() == Some(name)).unwrap();
    format!("{text}\n")
}

/// What stands behind a name in a block of names and values.
fn values(name: &str) -> BTreeMap<String, String> {
    let parts = |line: &str| line.rsplit_once(' ').map(|(name, value)| (name.trim().to_owned(), value.to_owned()));
    block(name).lines().map(|line| parts(line).unwrap()).collect()
}

fn entries() -> Vec<Vec<u8>> {
    block("entries").lines().map(|line| line.as_bytes().to_vec()).collect()
}

fn key() -> SigningKey {
    let seed = canonical::unhex(values("key").get("seed").unwrap()).unwrap();
    SigningKey::generate(ORIGIN, seed.try_into().unwrap()).unwrap()
}

fn write(dir: &Path, below: &str, bytes: &[u8]) {
    let path = dir.join(below);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_millgate-verify")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_key_of_the_example_is_computed_as_the_reference_says() {
    let (key, told) = (key(), values("key"));
    let public = key.verifier().as_bytes();
    let hashed = [ORIGIN.as_bytes(), b"\n\x01", public].concat();
    let digest = Digest::of(&hashed).to_hex();
    assert_eq!(told["public"], canonical::hex(public));
    assert_eq!(told["hashed"], canonical::hex(&hashed));
    assert_eq!(told["SHA-256"], digest);
    assert!(digest.starts_with(told["id"].as_str()));
    assert_eq!(told["id"], format!("{:08x}", key.verifier().key_id()));
    assert_eq!(told["written"], key.verifier().to_text());
}

#[test]
fn the_commitments_of_the_example_are_those_of_its_entry() {
    let entries = entries();
    let entry = Entry::parse(&entries[1]).unwrap();
    let shown = block("disclosed");
    let compared = compare(&entry, Some(shown.trim_end().as_bytes())).unwrap();
    let verdicts: Vec<_> = compared.iter().map(|one| (one.class.as_str(), one.verdict)).collect();
    assert_eq!(verdicts, [("network", Verdict::Matches), ("payload", Verdict::Matches)]);
    let tuple = Digest::of(block("tuple").trim_end().as_bytes()).to_hex();
    let commitment = |class: &str| entry.get("commit").and_then(|all| all.get(class)).and_then(Value::as_text).unwrap();
    assert_eq!(tuple, commitment("network"));
    for class in ["network", "payload"] {
        assert!(says(&format!("`{}`", commitment(class))), "{class}");
    }
}

#[test]
fn the_tree_and_the_proof_of_the_example_are_those_of_its_entries() {
    let (entries, told) = (entries(), values("tree"));
    let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let node = node_hash(leaves[0], leaves[1]);
    let root = node_hash(node, leaves[2]);
    let computed =
        [("leaf 0", leaves[0]), ("leaf 1", leaves[1]), ("leaf 2", leaves[2]), ("node", node), ("root", root)];
    assert_eq!(told, BTreeMap::from(computed.map(|(name, hash)| (name.to_owned(), hash.to_string()))));
    let checkpoint = Checkpoint::new(ORIGIN, 3, root);
    let note = checkpoint.sign(&key()).unwrap();
    assert_eq!(block("checkpoint"), note);
    let signature = Note::parse(&note).unwrap().signatures[0].bytes.clone();
    assert!(says(&format!("the signature, `{}`", canonical::hex(&signature))));
    assert!(says(&format!("the first three lines, {} bytes", checkpoint.to_text().len())));
    let proof = Evidence { extra: None, index: 1, proof: vec![leaves[0], leaves[2]], note };
    assert_eq!(block("proof"), proof.to_text());
    assert_eq!(proof.verify(leaves[1], key().verifier()).unwrap(), checkpoint);
}

#[test]
fn what_the_example_says_of_lengths_is_so() {
    let entries = entries();
    let lengths: Vec<String> = entries.iter().map(|entry| format!("`{:04x}`", entry.len())).collect();
    let bundle = bundle::encode(entries.iter().map(Vec::as_slice)).unwrap();
    assert!(says(&format!("{} bytes: each entry behind its length ({})", bundle.len(), lengths.join(", "))));
    let mut steps = Vec::new();
    let hidden = |index: usize| walk::Step::Subtree { level: 0, root: leaf_hash(&entries[index]) };
    for step in [hidden(0), walk::Step::Entry(&entries[1]), hidden(2)] {
        step.encode_into(&mut steps).unwrap();
    }
    assert!(says(&format!("are {} bytes: `0100` and leaf 0", steps.len())));
    assert!(says(&format!("`00{:04x}` and the entry", entries[1].len())));
}

#[test]
fn the_log_of_the_example_is_fine_and_its_proof_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (at, entries) = (dir.path().join("log"), entries());
    let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    write(&at, "tile/entries/000.p/3", &bundle::encode(entries.iter().map(Vec::as_slice)).unwrap());
    write(&at, "tile/0/000.p/3", &hashes_to_bytes(&leaves));
    write(&at, "checkpoint", block("checkpoint").as_bytes());
    write(&at, "checkpoints/00000000000000/00000000000000000003", block("checkpoint").as_bytes());
    write(dir.path(), "proof", block("proof").as_bytes());
    write(dir.path(), "entry", &entries[1]);
    write(dir.path(), "other", &entries[2]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let vkey = values("key")["written"].clone();
    let (code, said) = run(&["log", &path("log"), "--key", &vkey]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("log plant.example/broker-1: fine\n") && !said.contains("warning"), "{said}");
    let (code, said) = run(&["proof", &path("proof"), "--entry", &path("entry"), "--key", &vkey]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["proof", &path("proof"), "--entry", &path("other"), "--key", &vkey]);
    assert_eq!(code, Some(1), "{said}");
}
