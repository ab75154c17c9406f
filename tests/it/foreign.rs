//! Verifiers of others, in other languages, on what this log writes: they accept it, and nothing that was changed in it.

use acceptance::{Plant, wait};
use audit::Publication;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tlog::{Evidence, Hash, SigningKey};

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("verifiers")
}

fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/venv/bin/python")
}

fn verdicts(program: &Path, script: &str, asked: &Value) -> Map<String, Value> {
    let mut command = Command::new(program);
    command.arg(here().join(script)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "`{script}` failed; `bash tests/run` installs what it needs");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A log with a few requests in it, in a directory.
async fn log() -> (tempfile::TempDir, String) {
    let plant = Plant::start().await.unwrap();
    let published = plant.demo.running.log_directory.clone();
    // Several checkpoints.
    for _ in 0..3 {
        for _ in 0..3 {
            plant.get("acme", TARGET, &[("millgate-purpose", "predictive-maintenance")]).await.unwrap();
            plant.get("bolt", TARGET, &[]).await.unwrap();
        }
        let written = plant.demo.running.broker.log.size();
        let covers = |published: Publication| (published.size() >= written).then_some(());
        wait::until("a checkpoint", async || Publication::open(&published).ok().and_then(covers)).await.unwrap();
    }
    let key = plant.demo.running.log_key.clone();
    (plant.stop().await, key)
}

fn case(evidence: &Evidence, entry: &[u8]) -> Value {
    json!({ "proof": evidence.to_text(), "entry": STANDARD.encode(entry) })
}

/// Every way in which a proof can be changed.
fn mutations(good: &Evidence, entry: &[u8], origin: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut add = |name: String, evidence: &Evidence, entry: &[u8]| all.push((name, case(evidence, entry)));
    for place in [0, entry.len() / 2, entry.len() - 1] {
        let mut other = entry.to_vec();
        other[place] ^= 1;
        add(format!("byte {place} of the entry"), good, &other);
    }
    add("longer entry".into(), good, &[entry, b" "].concat());
    for index in [good.index + 1, good.index.wrapping_sub(1) % 1_000, 1_000_000] {
        add(format!("index {index}"), &Evidence { index, ..good.clone() }, entry);
    }
    for at in 0..good.proof.len() {
        let mut changed = good.clone();
        changed.proof[at] = Hash([7; 32]);
        add(format!("hash {at} changed"), &changed, entry);
        changed.proof.remove(at);
        add(format!("hash {at} dropped"), &changed, entry);
    }
    let mut longer = good.clone();
    longer.proof.push(Hash([7; 32]));
    add("hash added".into(), &longer, entry);
    let lines: Vec<&str> = good.note.split('\n').collect();
    let noted = |line: usize, text: &str| {
        let mut lines = lines.clone();
        lines[line] = text;
        Evidence { note: lines.join("\n"), ..good.clone() }
    };
    let size: u64 = lines[1].parse().unwrap();
    add("larger tree".into(), &noted(1, &(size + 1).to_string()), entry);
    add("another root".into(), &noted(2, &Hash([7; 32]).to_base64()), entry);
    add("another log".into(), &noted(0, "other.example/log"), entry);
    let signature = lines[4].rsplit(' ').next().unwrap();
    let mut bytes = STANDARD.decode(signature).unwrap();
    bytes[40] ^= 1;
    add("another signature".into(), &noted(4, &lines[4].replace(signature, &STANDARD.encode(&bytes))), entry);
    // Signed, by somebody else.
    let stranger = SigningKey::generate(origin, [7; 32]).unwrap();
    let note = tlog::note::sign(&format!("{}\n", lines[..3].join("\n")), &[&stranger]).unwrap();
    add("another key".into(), &Evidence { note, ..good.clone() }, entry);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiers_of_others_accept_what_is_written_and_nothing_else() {
    let (directory, key) = log().await;
    let published = directory.path().join("audit/published");
    let mut publication = Publication::open(&published).unwrap();
    let (size, origin) = (publication.size(), publication.checkpoint().origin.clone());
    assert!(size > 20, "{size}");
    let (mut cases, mut expected) = (Map::new(), Map::new());
    for index in [0, 1, size / 2, size - 2, size - 1] {
        let (evidence, entry) = (publication.prove(index).unwrap(), publication.entry(index).unwrap());
        cases.insert(format!("entry {index}"), case(&evidence, &entry));
        expected.insert(format!("entry {index}"), Value::Bool(true));
        for (name, case) in mutations(&evidence, &entry, &origin) {
            expected.insert(format!("{index}: {name}"), Value::Bool(false));
            cases.insert(format!("{index}: {name}"), case);
        }
    }
    assert!(cases.len() > 80, "{}", cases.len());
    let asked = json!({ "key": key, "cases": cases });
    for (program, script) in [(PathBuf::from("node"), "sigstore.mjs"), (python(), "rekor.py")] {
        let verdicts = verdicts(&program, script, &asked);
        for (name, is_good) in &expected {
            let accepted = verdicts.get(name) == Some(&Value::Bool(true));
            assert_eq!(Value::Bool(accepted), *is_good, "{script}, {name}: {:?}", verdicts.get(name));
        }
    }
    // Ours agrees.
    let key = tlog::VerifierKey::parse(&key).unwrap();
    for (name, is_good) in &expected {
        let case = &asked["cases"][name];
        let entry = STANDARD.decode(case["entry"].as_str().unwrap()).unwrap();
        let report = verify::proof::check(case["proof"].as_str().unwrap(), Some(&entry), &key).unwrap();
        assert_eq!(Value::Bool(report.is_ok()), *is_good, "{name}: {report}");
    }
}

/// Between all checkpoints that were ever signed.
#[tokio::test(flavor = "multi_thread")]
async fn every_kept_checkpoint_is_the_beginning_of_the_next_by_anothers_judgement() {
    let (directory, key) = log().await;
    let published = directory.path().join("audit/published");
    let mut notes = Vec::new();
    for folder in std::fs::read_dir(published.join("checkpoints")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            notes.push(std::fs::read_to_string(file.unwrap().path()).unwrap());
        }
    }
    let verifier = tlog::VerifierKey::parse(&key).unwrap();
    notes.sort_by_key(|note| tlog::Checkpoint::open(note, &verifier).unwrap().size);
    assert!(notes.len() > 1);
    let mut publication = Publication::open(&published).unwrap();
    let mut cases = Map::new();
    for pair in notes.windows(2) {
        let sizes = [&pair[0], &pair[1]].map(|note| tlog::Checkpoint::open(note, &verifier).unwrap().size);
        let fetch = |level, index| publication.subtree(level, index).ok();
        let proof = tlog::proof::consistency(sizes[0], sizes[1], fetch).unwrap();
        let hashes: Vec<String> = proof.iter().map(ToString::to_string).collect();
        let name = format!("{} to {}", sizes[0], sizes[1]);
        let good = json!({ "old": pair[0], "new": pair[1], "consistency": hashes });
        for at in 0..hashes.len() {
            let mut bad = good.clone();
            bad["consistency"][at] = "07".repeat(32).into();
            cases.insert(format!("{name} without {at}"), bad);
        }
        cases.insert(name, good);
    }
    let verdicts = verdicts(&python(), "rekor.py", &json!({ "key": key, "cases": cases }));
    for (name, verdict) in &verdicts {
        assert_eq!(*verdict == Value::Bool(true), !name.contains("without"), "{name}: {verdict}");
    }
}

/// The guide in an archive is enough to check it.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_checked_by_what_its_guide_says() {
    let (directory, key) = log().await;
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for more in [&[][..], &["--organisation", "acme"]] {
        let out = at(&format!("archive-{}.tar", more.len()));
        let (log, from) = (at("audit"), "2026-01-01T00:00:00Z");
        let fixed = ["audit", "export", "--directory", &log, "--from", from, "--out", &out];
        let made = acceptance::process::run("millgate", &[&fixed[..], more].concat()).unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let stranger = SigningKey::generate(key.split('+').next().unwrap(), [9; 32]).unwrap().verifier().to_text();
        let by_hand = |key: &str| {
            let output =
                Command::new(python()).arg(here().join("by_hand.py")).args([out.as_str(), key]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice::<Value>(&output.stdout).unwrap()
        };
        assert_eq!(by_hand(&stranger)["signature"], false);
        let by_hand = by_hand(&key);
        assert_eq!((&by_hand["signature"], &by_hand["gaps"]), (&json!(true), &json!([])));
        assert_eq!(json!([by_hand["size"], by_hand["root"]]), by_hand["signed"]);
        let ours = acceptance::process::run("millgate-verify", &["archive", &out, "--key", &key, "--json"]).unwrap();
        let ours: Value = serde_json::from_slice(&ours.stdout).unwrap();
        let entries = by_hand["entries"].as_array().unwrap();
        assert_eq!((&ours["size"], &ours["root"]), (&by_hand["size"], &by_hand["root"]));
        assert_eq!(ours["entries"].as_u64(), Some(entries.len() as u64));
        if !more.is_empty() {
            let numbers: Vec<_> = entries.iter().filter_map(|entry| entry[3].as_u64()).collect();
            assert_eq!(numbers, (1..=entries.len() as u64).collect::<Vec<_>>());
            assert!(entries.iter().all(|entry| entry[2] == "acme"));
        }
    }
}

/// A caller in another language that samples receipts, verifies them and has them redeemed.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_holds_the_log_to_its_receipts() {
    let plant = Plant::start().await.unwrap();
    let client = here().join("../clients/receipts.py");
    let run = |key: &str, target: &str, share: &str| {
        let mut command = Command::new(python());
        command.arg(&client).args(["--api", &plant.api(), "--target", &format!("{}{target}", plant.data())]);
        command.arg("--token").arg(plant.demo.home.token("acme")).args(["--key", key]);
        command.args(["--requests", "20", "--seed", "1", "--share", share]);
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.success(), said, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let key = &plant.demo.running.log_key;
    // Allowed, and refused.
    for target in [TARGET, "/series/press-3.recipe?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z", "/nothing"] {
        let (good, said, errors) = run(key, target, "0.5");
        assert!(good, "{said} {errors}");
        assert_eq!(said["receipts"], 20);
        assert!(said["sampled"].as_u64() > Some(3) && said["sampled"] == said["kept"], "{said}");
    }
    // It does not believe everybody.
    let origin = plant.demo.running.broker.log.origin();
    let stranger = SigningKey::generate(origin, [7; 32]).unwrap().verifier().to_text();
    let (good, said, errors) = run(&stranger, TARGET, "1");
    assert!(!good, "{said} {errors}");
    assert_eq!((said["kept"].as_u64(), said["broken"].as_array().map(Vec::len)), (Some(0), Some(20)));
    plant.stop().await;
}

/// What an operator can get wrong with receipts, and what such a caller makes of each.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_finds_receipts_that_are_overdue_or_for_another_request() {
    use tlog::receipt::{Promised, Signed};
    let key = SigningKey::generate("plant.example/log", [9; 32]).unwrap();
    let request = "01a20522-59ec-7312-8079-6642e2582ffb";
    let now = model::Clock::now(&runtime::clock::SystemClock).millis();
    let entry = json!({ "request": request }).to_string();
    let leaf = tlog::leaf_hash(entry.as_bytes());
    let receipt = |of: &str, by: i64| {
        let promised = vec![Promised { leaf, request: Some(of.into()) }];
        Signed::new(&key, 0, promised, by - 60_000, by).unwrap().receipt(0).unwrap().to_text()
    };
    let note = tlog::Checkpoint::new("plant.example/log", 1, leaf).sign(&key).unwrap();
    let proof = |entry: Option<&str>| {
        let extra = entry.map(|entry| entry.as_bytes().to_vec());
        ("200 OK", Evidence { extra, index: 0, proof: Vec::new(), note: note.clone() }.to_text())
    };
    let none = || ("503 Service Unavailable", String::from("not_published"));
    let other = "01a20522-59ec-7312-8079-000000000000";
    let mislabelled = json!({ "request": other }).to_string();
    let altered = receipt(request, now + 60_000).replace(request, other);
    for (case, answered, receipt, proof, why) in [
        ("kept", request, receipt(request, now + 60_000), proof(None), ""),
        ("kept, shown", request, receipt(request, now + 60_000), proof(Some(&entry)), ""),
        ("kept, asked for late", request, receipt(request, now - 60_000), proof(None), ""),
        ("overdue", request, receipt(request, now - 60_000), none(), "Overdue: the deadline"),
        ("far", request, receipt(request, now + 90_000_000), proof(None), "more than a day"),
        ("of another", request, receipt(other, now + 60_000), proof(None), "a receipt for another request"),
        ("altered", other, altered, proof(None), "InvalidSignature"),
        ("evidence", other, receipt(other, now + 60_000), proof(Some(&entry)), "is of another request"),
        ("another entry", request, receipt(request, now + 60_000), proof(Some(&mislabelled)), "another entry"),
    ] {
        let data = (format!("audit-receipt: {receipt}\r\nmillgate-request-id: {answered}\r\n"), proof);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // Two requests, each on a connection of its own.
        let serving = std::thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                answer_once(&mut stream.unwrap(), &data.0, &data.1);
            }
        });
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("token"), "t").unwrap();
        let mut command = Command::new(python());
        command.arg(here().join("../clients/receipts.py")).args(["--api", &url, "--target", &format!("{url}/data")]);
        command.arg("--token").arg(directory.path().join("token")).args(["--key", &key.verifier().to_text()]);
        command.args(["--requests", "1", "--share", "1"]);
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.success(), said["kept"] == 1),
            (why.is_empty(), why.is_empty()),
            "{case}: {said} {errors}"
        );
        assert_eq!(said["overdue"], u64::from(case == "overdue"), "{case}: {said}");
        assert!(
            said["broken"].as_array().unwrap().iter().all(|told| told.as_str().unwrap().contains(why)),
            "{case}: {said}"
        );
        // One that asks only once leaves the second connection to be made.
        let _ = std::net::TcpStream::connect(url.trim_start_matches("http://"));
        serving.join().unwrap();
    }
}

/// Of the proof if that is asked for, of the data otherwise.
fn answer_once(stream: &mut std::net::TcpStream, headers: &str, proof: &(&str, String)) {
    use std::io::Read as _;
    let (mut asked, mut byte) = (Vec::new(), [0]);
    while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        asked.push(byte[0]);
    }
    let (status, headers, body) = if asked.starts_with(b"GET /v1/audit/proof?") {
        (proof.0, "", proof.1.as_str())
    } else {
        ("200 OK", headers, "[]")
    };
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
}

#[test]
fn a_witness_passes_the_conformance_suite_of_others() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let suite = folder.path().join("witness-conformance");
    // It writes beside itself.
    let copied = Command::new("cp").arg("-r").arg(tests.join(".tools/siglog/witness-conformance")).arg(&suite).status();
    assert!(copied.unwrap().success(), "`bash tests/run` installs what this needs");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(python());
        command
            .current_dir(&suite)
            .args(arguments)
            .env("MILLGATE", acceptance::process::executable("millgate").unwrap());
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    };
    let (made, said) = run(&["generate_cases.py"]);
    assert!(made, "{said}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let entrypoint = format!("--entrypoint={}", here().join("siglog_witness.py").display());
    // It wants 422 for another root of the same size, where C2SP tlog-witness wants 409, which is what our own tests ask for.
    let but = "--deselect=test/test_witness.py::test_witness_conformance[same_size_different_root_fail]";
    let (passed, said) = run(&["-m", "pytest", "-p", "no:cacheprovider", but, &entrypoint, &format!("--port={port}")]);
    assert!(passed, "{said}");
    // That nothing else was left out.
    let count = said.lines().rev().find(|line| line.contains(" passed")).unwrap_or_default();
    assert!(count.contains("27 passed, 1 deselected") && !count.contains("skipped"), "{said}");
}
