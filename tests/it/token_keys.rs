//! The key of a log is in a PKCS #11 token: it signs there, moves there and between tokens, and what goes wrong with a token
//! is told and puts out nothing false.

use crate::keys::{ORIGIN, Second, TARGET, id, note, redeem, signers, size, text, verify};
use acceptance::process::{self, Guard};
use acceptance::softhsm::{MODULE, SoftHsm};
use acceptance::{Plant, http, wait};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PIN: &str = "4711-0815";

/// A plant, tokens, and a log `second` beside the plant's own.
struct Stand<'p> {
    second: Second<'p>,
    hsm: SoftHsm,
}

impl<'p> Stand<'p> {
    fn new(plant: &'p Plant) -> Self {
        let hsm = SoftHsm::new(&plant.directory.path().join("hsm")).unwrap();
        let config = plant.directory.path().join("token.toml");
        let second = Second { plant, config, shell: hsm.shell() };
        let stand = Self { second, hsm };
        stand.write_pin(PIN);
        stand
    }

    fn write_pin(&self, pin: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(self.at("pin"), format!("{pin}\n")).unwrap();
        std::fs::set_permissions(self.at("pin"), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.second.at(name)
    }

    fn path(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    fn published(&self) -> PathBuf {
        self.second.published()
    }

    /// `millgate audit keys new` in a token.
    fn new_key(&self, token: &str, object: &str) -> String {
        let pin = self.path("pin");
        let arguments = ["audit", "keys", "new", "--origin", ORIGIN, "--pkcs11", MODULE, "--token", token];
        let made = self.hsm.millgate(&[&arguments[..], &["--object", object, "--pin-file", &pin, "--json"]].concat());
        let made = made.unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!((&made["token"], &made["object"]), (&json!(token), &json!(object)));
        made["vkey"].as_str().unwrap().to_owned()
    }

    /// What `millgate audit keys` says of each key: its state, by its id.
    fn listed(&self) -> Vec<(String, String)> {
        let said = self.hsm.millgate(&["audit", "keys", "--json", "--config", &self.path("token.toml")]).unwrap();
        assert!(said.status.success(), "{}", text(&said.stderr));
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        let of = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        said["keys"].as_array().unwrap().iter().map(|row| (of(row, "id"), of(row, "state"))).collect()
    }

    fn check(&self) -> (Option<i32>, Vec<String>) {
        let said = self.hsm.millgate(&["check", "--json", "--config", &self.path("token.toml")]).unwrap();
        let report: Value = serde_json::from_slice(&said.stdout).unwrap();
        let problems = report["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned());
        (said.status.code(), problems.collect())
    }

    /// A broker that goes on, with its log in a file.
    fn serve(&self) -> Serving<'_> {
        self.serve_with(&self.hsm.shell())
    }

    fn serve_with(&self, shell: &str) -> Serving<'_> {
        let log = self.path("second.log");
        let (broker, facts) = process::serve(&self.second.config, &format!("{shell} exec 2>>{log};")).unwrap();
        Serving { stand: self, broker, facts }
    }
}

struct Serving<'s> {
    stand: &'s Stand<'s>,
    broker: Guard,
    facts: Value,
}

impl Serving<'_> {
    /// One request, which is answered in full: its receipt, if there is one.
    async fn ask(&self) -> Option<String> {
        let bearer = format!("Bearer {}", self.stand.second.plant.token("acme"));
        let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
        let url = format!("{}{TARGET}", self.facts["data"].as_str().unwrap());
        let answer = http::get(&url, &headers).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        Some(answer.header("audit-receipt").to_owned()).filter(|receipt| !receipt.is_empty())
    }

    async fn metric(&self, name: &str) -> u64 {
        let url = format!("{}/metrics", self.facts["operator"].as_str().unwrap());
        let all = http::get(&url, &[]).await.unwrap().text();
        let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        assert!(line.is_some(), "{name}");
        line.unwrap().parse().unwrap()
    }

    /// Until the published log covers everything that is in the log now.
    async fn covered(&self) {
        let entries = self.metric("millgate_audit_entries").await;
        let published = self.stand.published();
        wait::until("a checkpoint", async || (size(&published) >= entries).then_some(())).await.unwrap();
    }

    /// Until publishing has failed once more.
    async fn failed(&self) {
        const FAILURES: &str = "millgate_audit_publish_failures_total";
        let before = self.metric(FAILURES).await;
        let more = async || (self.metric(FAILURES).await > before).then_some(());
        wait::until("publishing to fail", more).await.unwrap();
    }

    async fn end(mut self) {
        self.broker.signal("TERM").unwrap();
        wait::until("the end of the broker", async || self.broker.0.try_wait().ok().flatten()).await.unwrap();
    }
}

fn token(name: &str, token: &str, object: &str) -> String {
    format!(
        "{name} = {{ pkcs11 = \"{MODULE}\", token = \"{token}\", object = \"{object}\", pin = {{ file = \"pin\" }} }}"
    )
}

/// Calls that a spy has written down.
fn calls(file: &Path, name: &str) -> usize {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter(|line| line.ends_with(&format!(": {name}"))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_token_signs_checkpoints_and_receipts_and_stays_there() {
    let plant = Plant::start().await.unwrap();
    let stand = Stand::new(&plant);
    stand.hsm.token("millgate", PIN).unwrap();
    stand.hsm.token("another", PIN).unwrap();
    let key = stand.new_key("millgate", "log 1");
    stand.second.with(&token("key", "millgate", "log 1"));
    assert_eq!(stand.check(), (Some(0), vec![]));

    let receipts: Vec<String> = stand.second.run("TERM").await.into_iter().filter(|r| !r.is_empty()).collect();
    let published = stand.published();
    assert_eq!(signers(&note(&published)), [id(&key)]);
    let (code, said) = verify(&published, &[&key], &[]);
    assert_eq!(code, Some(0), "{said}");
    // Receipts are the key's own, as they are with a key in a file.
    assert!(receipts.len() > 10, "{}", receipts.len());
    for receipt in receipts.iter().take(5) {
        assert_eq!(redeem(&published, receipt, [&key, &key], &stand.path("one")), id(&key));
    }
    assert!(!stand.at("second/checkpoint.key").exists(), "no key in a file is made beside it");
    let objects = stand.hsm.tool("millgate", PIN, &["--list-objects", "--type", "privkey"]).unwrap();
    assert!(objects.contains("sensitive, always sensitive, never extractable"), "{objects}");

    // What needs the public key alone needs no PIN.
    std::fs::remove_file(stand.at("pin")).unwrap();
    assert_eq!(stand.listed(), [(id(&key), "current".into())]);
    let (code, problems) = stand.check();
    assert!(
        code == Some(1)
            && problems.len() == 1
            && problems[0].contains("the PIN of the token `millgate` cannot be read"),
        "{problems:?}"
    );
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_moves_its_key_into_a_token_and_on_to_another_and_nobody_loses_it() {
    let plant = Plant::start().await.unwrap();
    let stand = Stand::new(&plant);
    stand.hsm.token("first", PIN).unwrap();
    stand.hsm.token("second", PIN).unwrap();
    let of_token = [stand.new_key("first", "log"), stand.new_key("second", "log")];
    let [first, second] = of_token.each_ref().map(String::as_str);
    let published = stand.published();
    let out = stand.path("file.key");
    let made = process::run("millgate", &["audit", "keys", "new", "--origin", ORIGIN, "--out", &out]).unwrap();
    let file = text(&made.stdout).trim().to_owned();
    let mut receipts = Vec::new();
    for (step, signing) in [
        (String::from("key_file = \"file.key\""), vec![file.as_str()]),
        (format!("key_file = \"file.key\", {}", token("next_key", "first", "log")), vec![&file, first]),
        (format!("{}, previous_key_files = [\"file.key\"]", token("key", "first", "log")), vec![first]),
        (
            format!(
                "{}, {}, previous_key_files = [\"file.key\"]",
                token("key", "first", "log"),
                token("next_key", "second", "log")
            ),
            vec![first, second],
        ),
        // Of the token that is replaced nothing is needed but its public key.
        (
            format!("{}, previous_key_files = [\"file.key\", \"first.pub\"]", token("key", "second", "log")),
            vec![second],
        ),
    ] {
        std::fs::write(stand.at("first.pub"), format!("{first}\n")).unwrap();
        stand.second.with(&step);
        assert_eq!(stand.check(), (Some(0), vec![]), "{step}");
        receipts.extend(stand.second.run("TERM").await);
        assert_eq!(signers(&note(&published)), signing.iter().map(|key| id(key)).collect::<Vec<_>>(), "{step}");
        // Whoever has the first key alone follows.
        let (code, said) = verify(&published, &[&file], &[]);
        assert_eq!(code, Some(0), "{step}: {said}");
    }
    let (_, said) = verify(&published, &[&file], &[]);
    let learned: Vec<&str> =
        said["keys"]["learned"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect();
    assert_eq!(learned, [first, second], "{said}");
    let states = [(id(&file), "retired".into()), (id(first), "retired".into()), (id(second), "current".into())];
    assert_eq!(stand.listed(), states);
    let receipts = receipts.iter().filter(|receipt| !receipt.is_empty());
    let by: HashSet<String> = receipts
        .map(|receipt| {
            let signed = &tlog::Receipt::parse(receipt).unwrap().signature[..4];
            let signed: String = signed.iter().map(|byte| format!("{byte:02x}")).collect();
            let key = [&file, first, second].into_iter().find(|key| id(key) == signed).unwrap();
            // The checkpoint that keeps the promise is the last key's.
            redeem(&published, receipt, [key, second], &stand.path("one"))
        })
        .collect();
    assert_eq!(by, HashSet::from([id(&file), id(first), id(second)]));

    // A key that nobody announced does not sign, wherever it is.
    stand.second.with(&format!(
        "key_file = \"file.key\", previous_key_files = [\"first.pub\"], {}",
        token("next_key", "second", "log")
    ));
    let refused = stand.hsm.millgate(&["serve", "--config", &stand.path("token.toml")]).unwrap();
    assert!(refused.status.code() == Some(2), "a retired key does not sign again: {}", text(&refused.stderr));
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_token_is_said() {
    let plant = Plant::start().await.unwrap();
    let stand = Stand::new(&plant);
    stand.hsm.token("millgate", PIN).unwrap();
    stand.hsm.token("another", PIN).unwrap();
    let make = |label: &str, kind: &str, number: &str| {
        let arguments = ["--keypairgen", "--key-type", kind, "--label", label, "--id", number];
        stand.hsm.tool("millgate", PIN, &arguments).unwrap();
    };
    make("rsa", "rsa:2048", "01");
    make("p256", "EC:prime256v1", "02");
    make("twice", "EC:edwards25519", "03");
    make("twice", "EC:edwards25519", "04");
    make("half", "EC:edwards25519", "05");
    stand.hsm.tool("millgate", PIN, &["--delete-object", "--type", "pubkey", "--label", "half"]).unwrap();
    // By its CKA_ID another key is the public one.
    make("strange", "EC:edwards25519", "06");
    stand.hsm.tool("millgate", PIN, &["--delete-object", "--type", "pubkey", "--label", "strange"]).unwrap();
    make("stray", "EC:edwards25519", "07");
    stand.hsm.tool("millgate", PIN, &["--set-id", "06", "--id", "07", "--type", "pubkey"]).unwrap();

    let said = |module: &str, of: &str, object: &str| {
        let key = token("key", of, object).replace(MODULE, module);
        stand.second.with(&key);
        let (code, problems) = stand.check();
        assert_eq!((code, problems.len()), (Some(1), 1), "{problems:?}");
        assert!(!problems[0].contains(PIN), "{problems:?}");
        problems[0].clone()
    };
    let missing = stand.path("no.so");
    for (module, of, object, why) in [
        (missing.as_str(), "millgate", "log", "cannot be used: "),
        (
            "/usr/lib/x86_64-linux-gnu/libm.so.6",
            "millgate",
            "log",
            "it has no `C_GetFunctionList`, so it is no PKCS #11 module",
        ),
        (MODULE, "milgate", "log", "the module shows no token `milgate`; its tokens are `"),
        (MODULE, "millgate", "log", "there is no private key `log` in the token `millgate`; its private keys are `"),
        (MODULE, "another", "log", "it has no private keys at all that can be seen"),
        (MODULE, "millgate", "rsa", "is a key of the type CKK_RSA; the key of a log is an Ed25519 key"),
        (MODULE, "millgate", "p256", "is a key of the type CKK_EC; the key of a log is an Ed25519 key"),
        (MODULE, "millgate", "twice", "2 private keys have the label `twice`"),
        (MODULE, "millgate", "half", "there is no public key of `half`"),
        (MODULE, "millgate", "strange", "was tried out and did not sign: what it answered does not verify"),
    ] {
        let problem = said(module, of, object);
        assert!(problem.contains(why), "{object}: {problem}");
    }
    for name in ["`rsa`", "`p256`", "`twice`"] {
        assert!(said(MODULE, "millgate", "log").contains(name));
    }
    // A broker does not start with them either.
    let refused = stand.hsm.millgate(&["serve", "--config", &stand.path("token.toml")]).unwrap();
    assert!(refused.status.code() == Some(2) && text(&refused.stderr).contains("there is no private key `log`"));
    // Nothing takes the place of what is there.
    let pin = stand.path("pin");
    let new = |object: &str| {
        let arguments = ["audit", "keys", "new", "--origin", ORIGIN, "--pkcs11", MODULE, "--token", "millgate"];
        stand.hsm.millgate(&[&arguments[..], &["--object", object, "--pin-file", &pin]].concat()).unwrap()
    };
    let refused = new("rsa");
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("nothing was made"),
        "{}",
        text(&refused.stderr)
    );

    // A wrong PIN is shown once.
    assert!(new("log").status.success());
    stand.second.with(&token("key", "millgate", "log"));
    assert_eq!(stand.check().0, Some(0));
    stand.second.with(&token("key", "millgate", "log").replace(MODULE, SoftHsm::spy().unwrap().to_str().unwrap()));
    let watched = |name: &str| {
        let file = stand.at(name);
        let said = stand.hsm.millgate_watched(&["check", "--config", &stand.path("token.toml")], &file).unwrap();
        (said, calls(&file, "C_Login"), calls(&file, "C_Initialize"))
    };
    let (fine, logins, initialised) = watched("right.calls");
    assert_eq!((fine.status.code(), logins, initialised), (Some(0), 1, 1), "{}", text(&fine.stdout));
    stand.write_pin("0000-wrong");
    let (refused, logins, _) = watched("wrong.calls");
    let why = text(&refused.stdout);
    assert_eq!((refused.status.code(), logins), (Some(1), 1), "{why}");
    assert!(why.contains("refused the PIN (it is not the right one)") && !why.contains("0000-wrong"), "{why}");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_goes_away_stops_publishing_and_nothing_else() {
    let plant = Plant::start().await.unwrap();
    let stand = Stand::new(&plant);
    stand.hsm.token("millgate", PIN).unwrap();
    let key = stand.new_key("millgate", "log");
    let spy = SoftHsm::spy().unwrap();
    stand.second.with(&token("key", "millgate", "log").replace(MODULE, spy.to_str().unwrap()));
    let file = stand.at("serve.calls");
    let serving = stand.serve_with(&stand.hsm.shell_watched(&file));
    let published = stand.published();
    assert!(serving.ask().await.is_some());
    serving.covered().await;

    // === away
    let (tokens, away) = (stand.hsm.tokens(), stand.at("away"));
    std::fs::rename(&tokens, &away).unwrap();
    std::fs::create_dir(&tokens).unwrap();
    serving.ask().await;
    serving.failed().await;
    let before = (size(&published), note(&published));
    // The record goes on, and with it the answers; a receipt needs the key.
    for _ in 0..3 {
        assert_eq!(serving.ask().await, None, "nothing can have signed it");
    }
    assert!(serving.metric("millgate_audit_receipts_missed_total").await >= 3);
    serving.failed().await;
    assert_eq!((size(&published), note(&published)), before, "nothing is put out");
    let (code, said) = verify(&published, &[&key], &[]);
    assert_eq!(code, Some(0), "what was put out stands: {said}");
    let told = std::fs::read_to_string(stand.at("second.log")).unwrap();
    assert!(told.contains("the checkpoint could not be signed") && !told.contains(PIN), "{told}");

    // === it comes back, and so do checkpoints and receipts
    std::fs::remove_dir_all(&tokens).unwrap();
    std::fs::rename(&away, &tokens).unwrap();
    serving.covered().await;
    wait::until("a receipt", async || serving.ask().await).await.unwrap();

    // === it is away once more, and the PIN is another one when it comes back: a wrong one is shown once
    std::fs::rename(&tokens, &away).unwrap();
    std::fs::create_dir(&tokens).unwrap();
    serving.ask().await;
    serving.failed().await;
    stand.write_pin("0000-wrong");
    let logins = calls(&file, "C_Login");
    std::fs::remove_dir_all(&tokens).unwrap();
    std::fs::rename(&away, &tokens).unwrap();
    let refused = async || (calls(&file, "C_Login") > logins).then_some(());
    wait::until("the token to refuse", refused).await.unwrap();
    for _ in 0..3 {
        serving.failed().await;
    }
    assert_eq!(calls(&file, "C_Login"), logins + 1, "a token locks after some wrong ones");
    stand.write_pin(PIN);
    serving.covered().await;
    assert_eq!(calls(&file, "C_Login"), logins + 2);
    serving.end().await;
    let told = std::fs::read_to_string(stand.at("second.log")).unwrap();
    assert!(told.contains("has refused this PIN before") && !told.contains("0000-wrong"), "{told}");
    let (code, said) = verify(&published, &[&key], &[]);
    assert_eq!((code, said["findings"].as_array().map(Vec::len)), (Some(0), Some(0)), "{said}");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_hangs_holds_up_no_answer() {
    let plant = Plant::start().await.unwrap();
    let stand = Stand::new(&plant);
    stand.hsm.token("millgate", PIN).unwrap();
    let key = stand.new_key("millgate", "log");
    stand.second.with(&format!("{}, receipt_wait = \"100ms\"", token("key", "millgate", "log")));
    let serving = stand.serve();
    let published = stand.published();
    assert!(serving.ask().await.is_some());
    serving.covered().await;
    let holder = stand.hsm.hold().unwrap();
    assert_eq!(serving.ask().await, None, "the first one waits, and goes without");
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(serving.ask().await, None);
    }
    // Each of them would have waited for 100 ms.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    serving.failed().await;
    let told = std::fs::read_to_string(stand.at("second.log")).unwrap();
    assert!(told.contains("has not answered within 5 s"), "{told}");
    drop(holder);
    serving.covered().await;
    wait::until("a receipt", async || serving.ask().await).await.unwrap();
    serving.end().await;
    let (code, said) = verify(&published, &[&key], &[]);
    assert_eq!(code, Some(0), "{said}");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_with_a_key_in_a_token_takes_the_place_of_one_whose_token_is_lost() {
    let plant = Plant::start().await.unwrap();
    let stand = Stand::new(&plant);
    stand.hsm.token("millgate", PIN).unwrap();
    let key = stand.new_key("millgate", "log");
    stand.second.with(&token("key", "millgate", "log"));
    stand.second.run("TERM").await;
    let origin = format!("{ORIGIN}.2");
    let arguments = ["audit", "keys", "new", "--origin", &origin, "--pkcs11", MODULE, "--token", "millgate"];
    let pin = stand.path("pin");
    let made = stand.hsm.millgate(&[&arguments[..], &["--object", "log-2", "--pin-file", &pin]].concat()).unwrap();
    let new = text(&made.stdout).trim().to_owned();
    stand.hsm.tool("millgate", PIN, &["--delete-object", "--type", "privkey", "--label", "log"]).unwrap();

    let config = stand.path("token.toml");
    let incarnate = |more: &[&str]| {
        let arguments = ["audit", "incarnate", "--config", &config, "--origin", &origin, "--reason", "the key is lost"];
        stand.hsm.millgate(&[&arguments[..], more].concat()).unwrap()
    };
    for (more, why) in [
        (&["--force"][..], "none is made for the new one by itself"),
        (&["--key-object", "log", "--force"], "is the old log's key"),
        (&["--key-object", "log-2"], "there is no private key `log`"),
    ] {
        let refused = incarnate(more);
        assert!(!refused.status.success() && text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    }
    let begun = incarnate(&["--key-object", "log-2", "--force", "--json"]);
    assert!(begun.status.success(), "{}", text(&begun.stderr));
    let said: Value = serde_json::from_slice(&begun.stdout).unwrap();
    assert_eq!(
        (said["key"].as_str(), &said["change"]["audit"]["key"]["object"]),
        (Some(new.as_str()), &json!("log-2"))
    );

    let changed = std::fs::read_to_string(&config).unwrap();
    let changed = changed.replace(&format!("origin = \"{ORIGIN}\""), &format!("origin = \"{origin}\""));
    std::fs::write(&config, changed.replace("object = \"log\"", "object = \"log-2\"")).unwrap();
    let serving = stand.serve();
    assert!(serving.ask().await.is_some());
    serving.covered().await;
    serving.end().await;
    let (code, said) = verify(&stand.published(), &[&new], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(note(&stand.published()).starts_with(&format!("{origin}\n")));
    assert_ne!(id(&key), id(&new));
    plant.stop().await;
}
