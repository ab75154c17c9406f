//! The program as it is started: exit codes, and what goes to which stream.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use published::{Published, Told, checkpoint, key, seal, story};
use std::process::{Command, Output};

#[expect(dead_code, reason = "shared with the tests of the checks, which use all of it")]
#[path = "../src/log/published.rs"]
mod published;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millgate-verify")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn exit_codes_tell_fine_from_findings_from_nothing_to_check() {
    let entries = seal(&story(300));
    let log = Published::of(&entries, &[200], &key(1));
    let (dir, vkey) = (log.dir.path().to_str().unwrap(), key(1).verifier().to_text());

    let fine = run(&["log", dir, "--key", &vkey]);
    assert_eq!((fine.status.code(), text(&fine.stderr)), (Some(0), String::new()));
    assert!(text(&fine.stdout).starts_with("log plant.example/log: fine\n"), "{}", text(&fine.stdout));

    log.write("mine", checkpoint(&seal(&story(301)), &key(1)));
    let mine = log.path("mine").to_str().unwrap().to_owned();
    let cut = run(&["log", dir, "--key", &vkey, "--checkpoint", &mine, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&cut.stdout).unwrap();
    assert_eq!(cut.status.code(), Some(1));
    assert_eq!((&json["ok"], &json["size"], &json["findings"][0]["first"]), (&false.into(), &300.into(), &300.into()));
    let what = format!("the log was cut: `{mine}` remembers 301 entries, the published log has 300");
    assert_eq!(json["findings"][0]["what"], what.as_str());

    log.write("vkey", &vkey);
    let file = log.path("vkey").to_str().unwrap().to_owned();
    for (arguments, message) in [
        (vec!["log", dir, "--key", &file], "that is a file: give what stands in it"),
        (vec!["log", dir, "--key", ""], "is the file empty that it was to come from?"),
        (vec!["log", dir, "--key", "a b"], "give each of several keys with a `--key` of its own"),
        // What has no end is not read to it.
        (vec!["log", dir, "--key", &vkey, "--checkpoint", "/dev/zero"], "`/dev/zero` has more than 1048576 bytes"),
        (vec!["log", dir, "--policy", "/dev/zero"], "`/dev/zero` has more than 1048576 bytes"),
        // Names of files can come from somebody else, too.
        (vec!["proof", "a\u{1b}[2Jb", "--key", &vkey], "`a\u{fffd}[2Jb` cannot be read"),
        (vec!["log", "/nonexistent", "--key", &vkey], "directory `/nonexistent` cannot be read"),
        (vec!["log", dir, "--key", "x"], "the key given with `--key` cannot be used"),
        (vec!["log", dir, "--key", &vkey, "--checkpoint", "/nonexistent"], "checkpoint `/nonexistent` cannot be read"),
        (vec!["log", dir], "`--key` or `--policy` is missing"),
    ] {
        let output = run(&arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{arguments:?}");
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    assert!(text(&run(&["--help"]).stdout).contains("usage:"));
    assert!(text(&run(&["log", "--help"]).stdout).contains("example:"));
    let version = run(&["--version"]);
    assert_eq!(text(&version.stdout), format!("millgate-verify {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(version.status.code(), Some(0));
}

/// A policy of the caller's own decides which witnesses count, and a time that is yet to come counts for nobody.
#[test]
fn cosignatures_count_by_the_callers_policy() {
    // Of the time of the cosignature, which is past wherever this runs.
    let entries = seal(&story(20).into_iter().map(|told| Told { days: -1_104, ..told }).collect::<Vec<_>>());
    let cosigned = 1_795_375_205 - 1_104 * 86_400;
    let log = Published::of(&entries, &[], &key(1));
    let dir = log.dir.path().to_str().unwrap();
    let witness = tlog::CosigningKey::generate("witness.example/w1", [3; 32]).unwrap();
    let vkeys = (key(1).verifier().to_text(), witness.verifier().to_text());
    log.write("policy", format!("log {}\nwitness w1 {}\nquorum w1\n", vkeys.0, vkeys.1));
    let policy = log.path("policy").to_str().unwrap().to_owned();
    let verify = || {
        let output = run(&["log", dir, "--policy", &policy, "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), json["findings"][0]["what"].as_str().unwrap_or_default().to_owned())
    };
    let none = verify();
    assert!(none.0 == Some(1) && none.1.contains("no quorum"), "{none:?}");
    let note = String::from_utf8(log.read("checkpoint")).unwrap();
    let text = format!("{}\n", note.split("\n\n").next().unwrap());
    for (time, code) in [(cosigned, Some(0)), (99_999_999_999, Some(1))] {
        log.write("checkpoint", format!("{note}{}", witness.cosign(&text, time)));
        let said = verify();
        assert_eq!((said.0, said.1.contains("in the future")), (code, code == Some(1)), "{said:?}");
    }
    // And it is said of the checks whether they were made.
    log.write("checkpoint", format!("{note}{}", witness.cosign(&text, cosigned)));
    let checks = |arguments: &[&str]| {
        let json: serde_json::Value = serde_json::from_slice(&run(arguments).stdout).unwrap();
        let of =
            |code: &str| json["checks"].as_array().unwrap().iter().find(|one| one["check"] == code).cloned().unwrap();
        [of("cosignatures"), of("clocks")].map(|one| one["result"].as_str().unwrap().to_owned())
    };
    assert_eq!(checks(&["log", dir, "--policy", &policy, "--json"]), ["passed", "passed"]);
    log.write("checkpoint", format!("{note}{}", witness.cosign(&text, cosigned + 600)));
    assert_eq!(checks(&["log", dir, "--policy", &policy, "--json"]), ["passed", "not-done"], "they may be dated back");
    assert_eq!(checks(&["log", dir, "--key", &vkeys.0, "--json"]), ["not-done", "not-done"]);
}

/// Two histories, each cosigned by a witness that has not seen the other, are no fault of these.
#[test]
fn a_policy_of_which_two_quorums_need_not_overlap_is_warned_of() {
    let entries = seal(&story(20));
    let log = Published::of(&entries, &[], &key(1));
    let witnesses =
        [3, 4].map(|seed| tlog::CosigningKey::generate(&format!("witness.example/w{seed}"), [seed; 32]).unwrap());
    let note = String::from_utf8(log.read("checkpoint")).unwrap();
    let text = format!("{}\n", note.split("\n\n").next().unwrap());
    let cosigned = |times: [u64; 2]| -> String {
        witnesses.iter().zip(times).map(|(witness, time)| witness.cosign(&text, time)).collect()
    };
    let verify = |quorum: &str| {
        let keys: Vec<String> = witnesses.iter().map(|witness| witness.verifier().to_text()).collect();
        let log_key = key(1).verifier().to_text();
        log.write("policy", format!("log {log_key}\nwitness a {}\nwitness b {}\n{quorum}\n", keys[0], keys[1]));
        let (dir, policy) = (log.dir.path().to_str().unwrap(), log.path("policy"));
        let output = run(&["log", dir, "--policy", policy.to_str().unwrap(), "--json"]);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    log.write("checkpoint", format!("{note}{}", cosigned([1_700_000_000; 2])));
    let warns = |json: &serde_json::Value| {
        let warnings = json["warnings"].as_array().unwrap();
        warnings.iter().any(|one| one["what"].as_str().unwrap().contains("need not share a witness"))
    };
    assert!(warns(&verify("group g any a b\nquorum g")));
    assert!(
        !warns(&verify("group g all a b\nquorum g")) && !warns(&verify("quorum a")) && !warns(&verify("quorum none"))
    );
    // Each that is ahead of time is told, beside that they are too few.
    log.write("checkpoint", format!("{note}{}", cosigned([99_999_999_999; 2])));
    let told = verify("group g all a b\nquorum g");
    let of_witnesses = told["findings"].as_array().unwrap().iter().filter(|one| one["check"] == "cosignatures");
    assert_eq!(of_witnesses.count(), 2, "{told}");
}

/// The quorum is that of the note that was verified, not of what is found under the name `checkpoint` another time.
#[test]
fn the_quorum_is_looked_for_on_the_note_that_was_verified() {
    let entries = seal(&story(20));
    let log = Published::of(&entries, &[10], &key(1));
    let witness = tlog::CosigningKey::generate("witness.example/w1", [3; 32]).unwrap();
    let vkeys = (key(1).verifier().to_text(), witness.verifier().to_text());
    log.write("policy", format!("log {}\nwitness w1 {}\nquorum w1\n", vkeys.0, vkeys.1));
    // By somebody else and cosigned; what verifies is the kept one, which is not.
    let note = checkpoint(&entries, &key(2));
    let text = format!("{}\n", note.split("\n\n").next().unwrap());
    log.write("checkpoint", format!("{note}{}", witness.cosign(&text, 1_700_000_000)));
    let (dir, policy) = (log.dir.path().to_str().unwrap(), log.path("policy"));
    let output = run(&["log", dir, "--policy", policy.to_str().unwrap(), "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let told: Vec<&str> = json["findings"].as_array().unwrap().iter().filter_map(|one| one["what"].as_str()).collect();
    assert_eq!((output.status.code(), &json["cosigned"]), (Some(1), &serde_json::json!([])), "{told:?}");
    assert!(told.iter().any(|what| what.contains("no quorum")), "{told:?}");
}

/// What is judged as of now, by the clock of whoever asks, and by the caller's own policy.
#[test]
fn a_receipt_is_judged_as_of_now_or_of_a_time_that_is_named() {
    let entries = seal(&story(20));
    let log = Published::of(&entries, &[], &key(1));
    let promised = tlog::receipt::Promised { leaf: tlog::leaf_hash(&entries[7]), request: Some("r".into()) };
    let durable = 1_700_000_000_000;
    let signed = tlog::receipt::Signed::new(&key(1), 7, vec![promised], durable, durable + 60_000).unwrap();
    log.write("receipt", format!("Audit-Receipt: {}\r\n", signed.receipt(7).unwrap().to_text()));
    let witness = tlog::CosigningKey::generate("witness.example/w1", [3; 32]).unwrap();
    let vkeys = (key(1).verifier().to_text(), witness.verifier().to_text());
    log.write("policy", format!("log {}\nwitness w1 {}\nquorum w1\n", vkeys.0, vkeys.1));
    let without = checkpoint(&entries[..7], &key(1));
    let signed = format!("{}\n", without.split("\n\n").next().unwrap());
    log.write("without", format!("{without}{}", witness.cosign(&signed, 1_700_000_061)));
    let at = |name: &str| log.path(name).to_str().unwrap().to_owned();
    let verify = |more: &[&str]| {
        let output = run(&[&["receipt", &at("receipt"), "--json"][..], more].concat());
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), json["overdue"] == true, json["broken"] == true)
    };
    let (policy, without) = (at("policy"), at("without"));
    let (by_key, by_policy) = (["--key", vkeys.0.as_str()], ["--policy", policy.as_str()]);
    assert_eq!(verify(&by_key), (Some(1), true, false));
    assert_eq!(verify(&[&by_key[..], &["--at", "2023-11-14T22:14:20Z"]].concat()), (Some(0), false, false));
    assert_eq!(verify(&[&by_key[..], &["--at", "2023-11-14T22:14:20.001Z"]].concat()), (Some(1), true, false));
    let beside = ["--checkpoint", without.as_str()];
    assert_eq!(verify(&[&by_key[..], &beside].concat()), (Some(1), true, false), "nothing tells when it was there");
    assert_eq!(verify(&[&by_policy[..], &beside].concat()), (Some(1), true, true));
}

/// A proof under a checkpoint that too few have cosigned is none to whoever asks for witnesses.
#[test]
fn a_proof_of_a_receipt_needs_the_witnesses_of_the_policy() {
    let entries = seal(&story(20));
    let log = Published::of(&entries, &[], &key(1));
    let promised = tlog::receipt::Promised { leaf: tlog::leaf_hash(&entries[0]), request: None };
    let signed = tlog::receipt::Signed::new(&key(1), 0, vec![promised], 0, 60_000).unwrap();
    log.write("receipt", signed.receipt(0).unwrap().to_text());
    let witness = tlog::CosigningKey::generate("witness.example/w1", [3; 32]).unwrap();
    let vkeys = (key(1).verifier().to_text(), witness.verifier().to_text());
    log.write("policy", format!("log {}\nwitness w1 {}\nquorum w1\n", vkeys.0, vkeys.1));
    let at = |name: &str| log.path(name).to_str().unwrap().to_owned();
    // The tree of one entry: its hash is the root.
    let note = checkpoint(&entries[..1], &key(1));
    let text = format!("{}\n", note.split("\n\n").next().unwrap());
    for (cosigned, code) in [(String::new(), 1), (witness.cosign(&text, 1_700_000_000), 0)] {
        let evidence = tlog::Evidence { extra: None, index: 0, proof: vec![], note: format!("{note}{cosigned}") };
        log.write("proof", evidence.to_text());
        let output = run(&["receipt", &at("receipt"), "--policy", &at("policy"), "--proof", &at("proof"), "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &json["redeemed"]), (Some(code), &1.into()), "{json}");
        assert_eq!(json["cosigned"].as_array().map(Vec::len), Some(usize::from(code == 0)), "{json}");
    }
}
