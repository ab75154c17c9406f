//! The key of a log changes while it is written to, and whoever has the old one, the new one or both goes on verifying.

use acceptance::process::{Guard, executable};
use acceptance::{Plant, http, process, wait};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
pub const ORIGIN: &str = "munich.example/second";

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `millgate audit keys new`.
fn new_key(path: &Path) -> String {
    let made = process::run(
        "millgate",
        &["audit", "keys", "new", "--origin", ORIGIN, "--out", path.to_str().unwrap(), "--json"],
    )
    .unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    made["vkey"].as_str().unwrap().to_owned()
}

pub fn verify(published: &Path, keys: &[&str], more: &[&str]) -> (Option<i32>, Value) {
    let mut arguments = vec!["log", published.to_str().unwrap(), "--json"];
    keys.iter().for_each(|key| arguments.extend(["--key", key]));
    arguments.extend_from_slice(more);
    let output = process::run("millgate-verify", &arguments).unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// What `millgate audit keys` says of each: its state, by the key's id.
fn listed(arguments: &[&str]) -> Vec<(String, String)> {
    let said = process::run("millgate", &[&["audit", "keys", "--json"], arguments].concat()).unwrap();
    assert!(said.status.success(), "{}", text(&said.stderr));
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["origin"], ORIGIN);
    let of = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    said["keys"].as_array().unwrap().iter().map(|row| (of(row, "id"), of(row, "state"))).collect()
}

pub fn id(vkey: &str) -> String {
    vkey.split('+').nth(1).unwrap().to_owned()
}

/// A log `second` with further lines in its `[audit]`, and the file that they go to.
pub struct Second<'p> {
    pub plant: &'p Plant,
    pub config: PathBuf,
    /// What is said to the shell before the broker starts.
    pub shell: String,
}

impl Second<'_> {
    pub fn at(&self, name: &str) -> PathBuf {
        self.plant.directory.path().join(name)
    }

    pub fn published(&self) -> PathBuf {
        self.at("second/published")
    }

    pub fn with(&self, more: &str) {
        let plain = self.plant.configuration("second", "").unwrap();
        let text = std::fs::read_to_string(&plain).unwrap();
        let origin = format!("origin = \"{ORIGIN}\"");
        assert!(text.contains(&origin));
        std::fs::write(&self.config, text.replace(&origin, &format!("{origin}, {more}"))).unwrap();
    }

    /// Requests all the time from here on, until the load ends.
    fn load(&self, data: &str) -> Load {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let bearer = format!("Bearer {}", self.plant.token("acme"));
        let url = format!("{data}{TARGET}");
        let asking = (0..3).map(|_| {
            let (stop, answered, bearer, url) = (stop.clone(), answered.clone(), bearer.clone(), url.clone());
            tokio::spawn(async move {
                let mut receipts = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
                    // The broker goes down in the middle of it.
                    let Ok(answer) = http::get(&url, &headers).await else { return receipts };
                    if answer.status == 200 {
                        answered.fetch_add(1, Ordering::Relaxed);
                        receipts.push(answer.header("audit-receipt").to_owned());
                    }
                }
                receipts
            })
        });
        Load { asking: asking.collect(), stop, answered }
    }

    /// Serves under load until a checkpoint covers some of it, and is then ended; what receipts it gave.
    pub async fn run(&self, signal: &str) -> Vec<String> {
        let (broker, facts) = process::serve(&self.config, &self.shell).unwrap();
        let load = self.load(facts["data"].as_str().unwrap());
        let before = size(&self.published());
        wait::until("a checkpoint over some answers", async || {
            (load.answered.load(Ordering::Relaxed) > 10 && size(&self.published()) > before + 20).then_some(())
        })
        .await
        .unwrap();
        broker.signal(signal).unwrap();
        let mut broker = broker;
        wait::until("the end of the broker", async || broker.0.try_wait().ok().flatten()).await.unwrap();
        load.end().await
    }
}

struct Load {
    asking: Vec<tokio::task::JoinHandle<Vec<String>>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Load {
    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut receipts = Vec::new();
        for asking in self.asking {
            receipts.extend(asking.await.unwrap());
        }
        receipts
    }
}

pub fn size(published: &Path) -> u64 {
    audit::Publication::open(published).map_or(0, |published| published.size())
}

pub fn note(published: &Path) -> String {
    std::fs::read_to_string(published.join("checkpoint")).unwrap()
}

pub fn signers(note: &str) -> Vec<String> {
    let note = tlog::note::Note::parse(note).unwrap();
    note.signatures.iter().map(|signature| format!("{:08x}", signature.key_id)).collect()
}

/// By Sigstore's verifier, which knows one key.
fn foreign(key: &str, cases: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("verifiers/sigstore.mjs");
    let mut command = Command::new("node");
    let mut process = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(json!({ "key": key, "cases": cases }).to_string().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "`bash tests/run` installs what it needs");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn without_line(note: &str, line: usize) -> String {
    let mut lines: Vec<&str> = note.split('\n').collect();
    lines.remove(line);
    lines.join("\n")
}

fn with_other_signature(note: &str, line: usize) -> String {
    let mut lines: Vec<String> = note.split('\n').map(str::to_owned).collect();
    let at = lines[line].len() - 12;
    let other = if lines[line].as_bytes()[at] == b'A' { "B" } else { "A" };
    lines[line].replace_range(at..=at, other);
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_changes_its_key_under_load_and_nobody_loses_it() {
    let plant = Plant::start().await.unwrap();
    let second = Second { plant: &plant, config: plant.directory.path().join("rotating.toml"), shell: String::new() };
    let path = |name: &str| second.at(name).to_str().unwrap().to_owned();
    let [old, new] = ["old.key", "new.key"].map(|name| new_key(&second.at(name)));
    let published = second.published();

    // === the old key alone
    second.with("key_file = \"old.key\"");
    let mut receipts = second.run("TERM").await;
    assert_eq!(signers(&note(&published)), [id(&old)]);
    assert_eq!(listed(&["--config", &path("rotating.toml")]), [(id(&old), "current".into())]);
    let remembered = path("remembered.checkpoint");
    std::fs::copy(published.join("checkpoint"), &remembered).unwrap();

    // Nobody who has the old key could come to trust the new one.
    second.with("key_file = \"new.key\", previous_key_files = [\"old.key\"]");
    let refused = process::run("millgate", &["serve", "--config", &path("rotating.toml")]).unwrap();
    let why = text(&refused.stderr);
    assert!(refused.status.code() == Some(2) && why.contains("has not signed beside it"), "{why}");

    // === both, over several runs, one of which ends in the middle of everything
    second.with("key_file = \"old.key\", next_key_file = \"new.key\"");
    for signal in ["KILL", "TERM"] {
        receipts.extend(second.run(signal).await);
    }
    let both = note(&published);
    assert_eq!(signers(&both), [id(&old), id(&new)], "the old one first");
    let states = [(id(&old), String::from("current")), (id(&new), String::from("next"))];
    assert_eq!(listed(&["--published", published.to_str().unwrap()]), states);
    for keys in [&[old.as_str()][..], &[new.as_str()], &[old.as_str(), new.as_str()]] {
        let (code, said) = verify(&published, keys, &[]);
        assert_eq!(code, Some(0), "{keys:?}: {said}");
    }
    // A verifier in another language, which knows one of them, takes the note and nothing that was changed in it.
    let mut publication = audit::Publication::open(&published).unwrap();
    let evidence = publication.prove(3).unwrap();
    let entry = publication.entry(3).unwrap();
    let case = |note: &str| {
        use base64::Engine as _;
        let proof = tlog::Evidence { note: note.to_owned(), ..evidence.clone() }.to_text();
        json!({ "proof": proof, "entry": base64::engine::general_purpose::STANDARD.encode(&entry) })
    };
    for (key, own) in [(&old, 4), (&new, 5)] {
        let cases = json!({
            "both": case(&both),
            "own alone": case(&without_line(&both, if own == 4 { 5 } else { 4 })),
            "other alone": case(&without_line(&both, own)),
            "own changed": case(&with_other_signature(&both, own)),
            "larger": case(&both.replacen(&format!("\n{}\n", publication.size()), "\n999999\n", 1)),
        });
        let verdicts = foreign(key, &cases);
        for (name, verdict) in verdicts.as_object().unwrap() {
            assert_eq!(
                *verdict == Value::Bool(true),
                ["both", "own alone"].contains(&name.as_str()),
                "{name}: {verdict}"
            );
        }
    }

    // === the new key alone
    second.with("key_file = \"new.key\", previous_key_files = [\"old.key\"]");
    for signal in ["KILL", "TERM"] {
        receipts.extend(second.run(signal).await);
    }
    assert_eq!(signers(&note(&published)), [id(&new)]);
    let states = [(id(&old), String::from("retired")), (id(&new), String::from("current"))];
    assert_eq!(listed(&["--config", &path("rotating.toml")]), states);
    assert_eq!(listed(&["--published", published.to_str().unwrap()]), states);
    // Whoever has the old key learns the new one, also with a checkpoint of before.
    let (code, said) = verify(&published, &[&old], &["--checkpoint", &remembered]);
    assert_eq!((code, said["keys"]["learned"][0]["key"].as_str()), (Some(0), Some(new.as_str())), "{said}");
    let (code, said) = verify(&published, &[&old, &new], &["--checkpoint", &remembered]);
    assert_eq!((code, said["warnings"].as_array().unwrap().len()), (Some(0), 0), "{said}");
    // Whoever has the new one alone is told which checkpoints it does not speak for.
    let (code, said) = verify(&published, &[&new], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said["keys"]["unverified_checkpoints"].as_u64() > Some(0), "{said}");
    assert_eq!(said["keys"]["earlier"], json!([old]));
    // What the old key has promised is kept under the new one.
    assert!(receipts.iter().any(|receipt| tlog::Receipt::parse(receipt).is_ok()), "{}", receipts.len());
    let by: HashSet<String> =
        receipts.iter().map(|receipt| redeem(&published, receipt, [&old, &new], &path("one"))).collect();
    assert_eq!(by, HashSet::from([id(&old), id(&new)]), "receipts name the key that they are signed with");

    // === the old key is stolen
    let size = size(&published);
    let thief = tlog::SigningKey::parse(std::fs::read_to_string(second.at("old.key")).unwrap().trim()).unwrap();
    let root = audit::Publication::open(&published).unwrap().checkpoint().root;
    let genuine = note(&published);
    let forged = tlog::Checkpoint::new(ORIGIN, size, root).sign(&thief).unwrap();
    std::fs::write(published.join("checkpoint"), forged).unwrap();
    for keys in [&[old.as_str()][..], &[old.as_str(), new.as_str()]] {
        let (code, said) = verify(&published, keys, &[]);
        assert!(code == Some(1) && said["findings"].to_string().contains("retired"), "{said}");
    }
    std::fs::write(published.join("checkpoint"), genuine).unwrap();
    second.with("key_file = \"old.key\", next_key_file = \"new.key\"");
    let refused = process::run("millgate", &["serve", "--config", &path("rotating.toml")]).unwrap();
    assert!(!refused.status.success(), "a retired key does not sign again");
    plant.stop().await;
}

/// Redeems a receipt, and says which key has signed it.
pub fn redeem(published: &Path, receipt: &str, keys: [&str; 2], file: &str) -> String {
    let read = tlog::Receipt::parse(receipt).unwrap();
    let proof = audit::Publication::open(published).unwrap().prove(read.index).unwrap();
    std::fs::write(format!("{file}.receipt"), receipt).unwrap();
    std::fs::write(format!("{file}.proof"), proof.to_text()).unwrap();
    let said = process::run(
        "millgate-verify",
        &[
            "receipt",
            &format!("{file}.receipt"),
            "--proof",
            &format!("{file}.proof"),
            "--key",
            keys[0],
            "--key",
            keys[1],
        ],
    )
    .unwrap();
    assert!(said.status.success() && text(&said.stdout).contains("kept"), "{}", text(&said.stdout));
    read.signature.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// What the witness and the monitor, which go on all the time, make of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_and_a_monitor_go_on_while_the_key_changes() {
    let plant = Plant::start().await.unwrap();
    let second = Second { plant: &plant, config: plant.directory.path().join("rotating.toml"), shell: String::new() };
    let path = |name: &str| second.at(name).to_str().unwrap().to_owned();
    let [old, new] = ["old.key", "new.key"].map(|name| new_key(&second.at(name)));
    std::fs::write(second.at("logs.policy"), format!("log {old}\nlog {new}\nquorum none\n")).unwrap();
    let mut command = Command::new(executable("millgate").unwrap());
    command.args(["witness", "--json", "--listen", "127.0.0.1:0", "--name", "witness.example/w1", "--directory"]);
    command.args([&path("witness"), "--logs", &path("logs.policy")]).stdout(Stdio::piped());
    let mut witness = Guard::spawn(&mut command).unwrap();
    let mut line = String::new();
    BufReader::new(witness.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let facts: Value = serde_json::from_str(&line).unwrap();
    let (url, vkey) = (facts["url"].as_str().unwrap(), facts["vkey"].as_str().unwrap());
    let policy = format!("log {old}\nlog {new}\nwitness w1 {vkey} {url}\nquorum w1\n");
    std::fs::write(second.at("trust.policy"), policy).unwrap();
    std::fs::create_dir(second.at("mount")).unwrap();
    let looked = || {
        let (log, state) = (path("second/published"), path("seen"));
        // It has the old key, and learns the new one by itself.
        let arguments = ["audit", "monitor", &log, "--key", &old, "--state", &state, "--once", "--json"];
        let said = process::run("millgate", &arguments).unwrap();
        let look: Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(said.status.code(), Some(0), "{look}");
        look
    };
    let fixed = "witnesses = \"trust.policy\", sinks = { directories = [\"mount\"] }";
    for step in [
        "key_file = \"old.key\"",
        "key_file = \"old.key\", next_key_file = \"new.key\"",
        "key_file = \"new.key\", previous_key_files = [\"old.key\"]",
    ] {
        second.with(&format!("{step}, {fixed}"));
        second.run("TERM").await;
        let published = second.published();
        // Whoever verifies is told of the new key when the log has announced it.
        let names_both = step.contains("new.key");
        let of_log = if names_both { format!("log {old}\nlog {new}\n") } else { format!("log {old}\n") };
        std::fs::write(second.at("auditor.policy"), format!("{of_log}witness w1 {vkey} {url}\nquorum w1\n")).unwrap();
        let arguments = ["log", published.to_str().unwrap(), "--policy", &path("auditor.policy"), "--json"];
        let said = process::run("millgate-verify", &arguments).unwrap();
        let report: Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(said.status.code(), Some(0), "{step}: {report}");
        assert_eq!(report["cosigned"][0]["witness"], "w1", "{step}: {report}");
        looked();
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(second.at("seen")).unwrap()).unwrap();
    assert_eq!((&kept["keys"]["learned"][0]["key"], &kept["keys"]["retired"][0]["key"]), (&json!(new), &json!(old)));
    drop(witness);
    plant.stop().await;
}
