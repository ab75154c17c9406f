//! Witnesses of a log, as processes of their own: they cosign it, they cannot be lied to, and the log learns from them that it
//! was put back.

use acceptance::process::{Guard, executable};
use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, process, wait};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tlog::witness::AddCheckpoint;

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: (&str, &str) = ("millgate-purpose", "predictive-maintenance");

/// A witness of the logs in `logs`, at `listen`; its URL and key. The first one of the tests is asked over TLS.
fn witness(directory: &Path, n: usize, logs: &Path, listen: &str) -> (Guard, String, String) {
    let mut command = Command::new(executable("millgate").unwrap());
    command.args(["witness", "--json", "--listen", listen, "--name", &format!("witness.example/w{n}")]);
    command
        .arg("--directory")
        .arg(directory.join(format!("witness-{n}")))
        .arg("--logs")
        .arg(logs)
        .stdout(Stdio::piped());
    if n == 1 {
        if !directory.join("server.pem").exists() {
            crate::tls::certify(directory);
        }
        command.arg("--certificate").arg(directory.join("server.pem")).arg("--key").arg(directory.join("server.key"));
    }
    let mut process = Guard::spawn(&mut command).unwrap();
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let facts: Value = serde_json::from_str(&line).unwrap();
    let text = |name: &str| facts[name].as_str().unwrap().to_owned();
    (process, text("url"), text("vkey"))
}

/// Where the witness of this URL listens.
fn address(url: &str) -> String {
    url.split_once("://").unwrap().1.to_owned()
}

/// The key of a log, made beforehand, so that its witnesses can be told.
fn log_key(directory: &Path, origin: &str) -> String {
    let key = tlog::SigningKey::generate(origin, [42; 32]).unwrap();
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join("checkpoint.key"), format!("{}\n", key.to_text())).unwrap();
    key.verifier().to_text()
}

async fn ask(facts: &Value, plant: &Plant) -> http::Answer {
    let bearer = format!("Bearer {}", plant.token("acme"));
    let url = format!("{}{TARGET}", facts["data"].as_str().unwrap());
    http::get(&url, &[("authorization", &bearer), PURPOSE]).await.unwrap()
}

fn verify(published: &Path, policy: &Path) -> (Option<i32>, Value) {
    let output = process::run(
        "millgate-verify",
        &["log", published.to_str().unwrap(), "--policy", policy.to_str().unwrap(), "--json"],
    )
    .unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// In its own time.
async fn ended(mut process: Guard) {
    wait::until("the end of a process", async || process.0.try_wait().ok().flatten()).await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", from.to_str().unwrap(), to.to_str().unwrap()]).status().unwrap();
    assert!(copied.success());
}

/// A log `second` that three witnesses see, the first of whom are named in `quorum`: its configuration, and the witnesses.
fn watched(plant: &Plant, quorum: &str) -> (PathBuf, Vec<(Guard, String, String)>) {
    let directory = plant.directory.path();
    let at = |name: &str| directory.join(name);
    let vkey = log_key(&at("second"), "munich.example/second");
    std::fs::write(at("logs.policy"), format!("log {vkey}\nquorum none\n")).unwrap();
    let witnesses: Vec<_> = (1..=3).map(|n| witness(directory, n, &at("logs.policy"), "127.0.0.1:0")).collect();
    let mut policy = format!("log {vkey}\n");
    assert!(witnesses[0].1.starts_with("https://") && witnesses[1].1.starts_with("http://"));
    for (n, (_, url, key)) in (1..).zip(&witnesses) {
        policy.push_str(&format!("witness w{n} {key} {url}\n"));
    }
    policy.push_str(quorum);
    std::fs::write(at("trust.policy"), &policy).unwrap();
    let config = plant.configuration("second", "").unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(
        "origin = \"munich.example/second\"",
        "origin = \"munich.example/second\", witnesses = \"trust.policy\", witnesses_ca_file = \"ca.pem\"",
    );
    std::fs::write(&config, text).unwrap();
    (config, witnesses)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_demands_witnesses_gets_them_or_nothing_leaves() {
    let plant = Plant::start().await.unwrap();
    let (config, witnesses) = watched(&plant, "quorum w1\n");
    // Only what is longer than an hour, and that by a policy beside those that permit it anyway.
    let permit = "@id(\"long-windows-are-seen\") @acknowledgement(\"witnessed\")\n\
        permit (principal, action == Plant::Action::\"readSeries\", resource) when { context.shape.windowMs > 3600000 };\n";
    std::fs::write(plant.directory.path().join("policies/base/seen.cedar"), permit).unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    let ask = async |hours: u32| {
        let to = 8 + hours;
        let target =
            format!("/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T{to:02}:00:00Z&resolution=1m");
        let url = format!("{}{target}", facts["data"].as_str().unwrap());
        http::get(&url, &[("authorization", &bearer), PURPOSE]).await.unwrap()
    };
    let seen = ask(2).await;
    assert_eq!(seen.status, 200, "{}", seen.text());
    drop(witnesses);
    let refused = wait::until("a refusal", async || {
        let answer = ask(2).await;
        (answer.status == 503).then_some(answer)
    })
    .await
    .unwrap();
    assert_eq!(refused.reason(), "not_published", "{}", refused.text());
    let short = ask(1).await;
    assert_eq!(short.status, 200, "the product itself demands nothing: {}", short.text());
    let published = plant.directory.path().join("second/published");
    let (id, last) = (refused.request_id().to_owned(), short.request_id().to_owned());
    let entries = wait::until("what was recorded", async || {
        let entries = acceptance::entries(&published).ok()?;
        let has = |request: &str| entries.iter().any(|e| e["request"] == request && e["kind"] == "outcome");
        (has(&id) && has(&last)).then_some(entries)
    })
    .await
    .unwrap();
    let of = |answer: &http::Answer, kind: &str| {
        let wanted = |e: &&Value| e["request"] == answer.request_id() && e["kind"] == kind;
        entries.iter().find(wanted).unwrap().clone()
    };
    let decision = of(&refused, "decision");
    assert_eq!((&decision["acknowledgement"], &decision["decision"]), (&"witnessed".into(), &"allow".into()));
    assert!(decision["policies"].as_array().unwrap().contains(&"long-windows-are-seen".into()), "{decision}");
    assert_eq!(of(&refused, "outcome")["ended"], "not_forwarded");
    assert!(of(&short, "decision").get("acknowledgement").is_none());
    drop(broker);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_put_back_learns_it_from_a_witness_and_serves_nobody() {
    let plant = Plant::start().await.unwrap();
    let directory = plant.directory.path();
    let at = |name: &str| directory.join(name);
    let (config, witnesses) = watched(&plant, "group two 2 w1 w2 w3\nquorum two\n");

    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    let (published, trust) = (at("second/published"), at("trust.policy"));
    let cosigned = |least: usize| {
        let (published, trust) = (published.clone(), trust.clone());
        async move {
            wait::until("cosigned checkpoints", async || {
                let (code, said) = verify(&published, &trust);
                (code == Some(0) && said["cosigned"].as_array()?.len() >= least).then_some(said)
            })
            .await
            .unwrap()
        }
    };
    let said = cosigned(3).await;
    assert!(said["size"].as_u64() > Some(3), "{said}");

    // One of them goes: two are a quorum. Two go: the checkpoint is published, and does not count for whoever asks for two.
    let mut witnesses = witnesses.into_iter();
    let (first, second, third) = (witnesses.next().unwrap(), witnesses.next().unwrap(), witnesses.next().unwrap());
    drop(first);
    ask(&facts, &plant).await;
    cosigned(2).await;
    let second_at = address(&second.1);
    let third_at = address(&third.1);
    drop(second);
    ask(&facts, &plant).await;
    let said = wait::until("a checkpoint of one witness", async || {
        let (code, said) = verify(&published, &trust);
        (code == Some(1)).then_some(said)
    })
    .await
    .unwrap();
    assert!(said["findings"][0]["what"].as_str().unwrap().contains("is no quorum of the policy"), "{said}");

    // The broker stops, and somebody keeps a copy of everything that is there.
    broker.signal("TERM").unwrap();
    ended(broker).await;
    copy(&at("second"), &at("kept"));
    let (broker, facts) = process::serve(&config, "").unwrap();
    let size = verify(&published, &trust).1["size"].as_u64().unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&facts, &plant).await.status, 200);
    }
    wait::until("the third witness has seen more", async || {
        let grown = verify(&published, &trust).1;
        (grown["size"].as_u64()? > size + 3 && !grown["cosigned"].as_array()?.is_empty()).then_some(())
    })
    .await
    .unwrap();
    broker.signal("TERM").unwrap();
    ended(broker).await;

    // Put back, the log is whole and genuine for whoever has nothing else. The witness knows better.
    std::fs::rename(at("second"), at("newer")).unwrap();
    copy(&at("kept"), &at("second"));
    let (refusing, said) = process::serve(&config, "").unwrap();
    let why = said["quarantined"][0].as_str().unwrap().to_owned();
    assert!(why.starts_with("the witness `w3` has seen") && why.contains("the copy here has"), "{why}");
    assert_eq!(ask(&said, &plant).await.reason(), "quarantined");
    drop(refusing);
    // A log that begins anew under the same name.
    std::fs::remove_dir_all(at("second")).unwrap();
    log_key(&at("second"), "munich.example/second");
    let (refusing, said) = process::serve(&config, "").unwrap();
    assert!(said["quarantined"][0].as_str().unwrap().ends_with("the copy here has 0"), "{said}");
    drop(refusing);

    // Files that come back into the same place take the mark with them only if the witness agrees.
    copy(&at("newer/log.db"), &at("second/log.db"));
    copy(&at("newer/published"), &at("second/published"));
    assert!(at("second/quarantine.json").exists());
    let (serving, said) = process::serve(&config, "").unwrap();
    assert!(said.get("quarantined").is_none(), "{said}");
    assert_eq!(ask(&said, &plant).await.status, 200);
    assert!(!at("second/quarantine.json").exists() && at("second/quarantine.lifted.json").exists());
    serving.signal("TERM").unwrap();
    ended(serving).await;
    std::fs::remove_dir_all(at("newer")).unwrap();
    std::fs::rename(at("second"), at("newer")).unwrap();

    // With the newer copy it goes on, and a witness that comes back catches up.
    std::fs::rename(at("newer"), at("second")).unwrap();
    let again = witness(directory, 2, &at("logs.policy"), &second_at);
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    cosigned(2).await;

    // Data that is given out only under the eyes of witnesses: with two of them, and not with one.
    plant.amend_product("acknowledgement = \"witnessed\"").unwrap();
    drop(third);
    let answer = wait::until("a refusal", async || {
        let answer = ask(&facts, &plant).await;
        (answer.status == 503).then_some(answer)
    })
    .await
    .unwrap();
    assert_eq!(answer.reason(), "not_published", "{}", answer.text());
    let third = witness(directory, 3, &at("logs.policy"), &third_at);
    wait::until("an answer under the eyes of two", async || (ask(&facts, &plant).await.status == 200).then_some(()))
        .await
        .unwrap();
    broker.signal("TERM").unwrap();
    drop((broker, again, third));
    plant.stop().await;
}

/// Two copies of one log, the older of which takes the place of the newer one. `kept` is the older one.
async fn put_back(plant: &Plant, config: &Path) {
    let at = |name: &str| plant.directory.path().join(name);
    let (broker, facts) = process::serve(config, "").unwrap();
    ask(&facts, plant).await;
    broker.signal("TERM").unwrap();
    ended(broker).await;
    copy(&at("second"), &at("kept"));
    let (broker, facts) = process::serve(config, "").unwrap();
    let before = verify(&at("second/published"), &at("trust.policy")).1["size"].as_u64().unwrap();
    for _ in 0..3 {
        ask(&facts, plant).await;
    }
    wait::until("witnesses that have seen more", async || {
        let grown = verify(&at("second/published"), &at("trust.policy")).1;
        (grown["size"].as_u64()? > before + 3 && grown["cosigned"].as_array()?.len() == 3).then_some(())
    })
    .await
    .unwrap();
    broker.signal("TERM").unwrap();
    ended(broker).await;
    std::fs::rename(at("second"), at("lost")).unwrap();
    copy(&at("kept"), &at("second"));
}

/// Stands between a broker and its witness, and hands on what either says; the broker that it is given dies before it hears that the next
/// checkpoint was cosigned.
#[derive(Clone, Default)]
struct Between {
    victim: Arc<Mutex<Option<Guard>>>,
    /// Sizes that were cosigned and never heard of.
    unheard: Arc<Mutex<Vec<u64>>>,
    /// What else the witness said.
    refused: Arc<Mutex<Vec<u16>>>,
}

impl Between {
    /// Its URL.
    async fn start(&self, witness: String) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let between = self.clone();
        let hand_on = move |body: String| {
            let (between, witness) = (between.clone(), witness.clone());
            async move {
                let size = AddCheckpoint::parse(&body).ok().and_then(|asked| size_of(&asked.note)).unwrap();
                let answer = http::send("POST", &format!("{witness}/add-checkpoint"), &[], body.into()).await.unwrap();
                match answer.status {
                    200 => {
                        if let Some(mut victim) = between.victim.lock().unwrap().take() {
                            victim.kill();
                            between.unheard.lock().unwrap().push(size);
                        }
                    }
                    status => between.refused.lock().unwrap().push(status),
                }
                (axum::http::StatusCode::from_u16(answer.status).unwrap(), answer.headers, answer.body)
            }
        };
        let router = axum::Router::new().route("/add-checkpoint", axum::routing::post(hand_on));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

fn size_of(note: &str) -> Option<u64> {
    note.lines().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_between_a_cosignature_and_keeping_it_contradicts_nothing_that_was_cosigned() {
    let plant = Plant::start().await.unwrap();
    let at = |name: &str| plant.directory.path().join(name);
    let vkey = log_key(&at("second"), "munich.example/second");
    std::fs::write(at("logs.policy"), format!("log {vkey}\nquorum none\n")).unwrap();
    let (_witness, url, key) = witness(plant.directory.path(), 2, &at("logs.policy"), "127.0.0.1:0");
    let between = Between::default();
    let url = between.start(url).await;
    std::fs::write(at("trust.policy"), format!("log {vkey}\nwitness w2 {key} {url}\nquorum w2\n")).unwrap();
    let config = plant.configuration("second", "").unwrap();
    let (text, origin) = (std::fs::read_to_string(&config).unwrap(), "origin = \"munich.example/second\"");
    std::fs::write(&config, text.replace(origin, &format!("{origin}, witnesses = \"trust.policy\""))).unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    let mut answered = Vec::new();
    for round in 1..=4 {
        let (broker, facts) = process::serve(&config, "").unwrap();
        assert!(facts.get("quarantined").is_none(), "round {round}: {facts}");
        let answer = ask(&facts, &plant).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answered.push(answer.request_id().to_owned());
        *between.victim.lock().unwrap() = Some(broker);
        // Until it is gone: each answer is more to be cosigned.
        let url = format!("{}{TARGET}", facts["data"].as_str().unwrap());
        let gone = wait::until("a kill", async || {
            if let Ok(answer) = http::get(&url, &[("authorization", &bearer), PURPOSE]).await
                && answer.status == 200
            {
                answered.push(answer.request_id().to_owned());
            }
            (between.unheard.lock().unwrap().len() == round).then_some(())
        });
        gone.await.unwrap();
        let unheard = *between.unheard.lock().unwrap().last().unwrap();
        let kept = audit::Stored::signed_root(at("second").as_path(), unheard).await.unwrap();
        assert_eq!(kept, None, "round {round}: the note over {unheard} entries was kept before it was cosigned");
        let published = std::fs::read_to_string(at("second/published/checkpoint"));
        assert!(published.ok().and_then(|note| size_of(&note)).is_none_or(|size| size < unheard), "round {round}");
    }
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert!(facts.get("quarantined").is_none(), "{facts}");
    assert_eq!(ask(&facts, &plant).await.status, 200);
    broker.signal("TERM").unwrap();
    ended(broker).await;
    let (code, said) = verify(&at("second/published"), &at("trust.policy"));
    assert_eq!((code, said["cosigned"].as_array().map(Vec::len)), (Some(0), Some(1)), "{said}");
    let last = between.unheard.lock().unwrap().last().copied();
    assert!(said["size"].as_u64() > last, "{said}");
    // A size that it did not expect (409) is how a broker learns where its witness is. Another history would be 422.
    let refused = between.refused.lock().unwrap().clone();
    assert!(refused.iter().all(|status| *status == 409), "{refused:?}");
    let entries = acceptance::entries(&at("second/published")).unwrap();
    let recorded = |request: &String| entries.iter().any(|e| e["kind"] == "decision" && e["request"] == **request);
    assert!(answered.iter().all(recorded), "an answer without a record");
    plant.stop().await;
}

async fn operator(facts: &Value, path: &str) -> http::Answer {
    http::get(&format!("{}{path}", facts["operator"].as_str().unwrap()), &[]).await.unwrap()
}

fn incarnate(config: &Path, more: &[&str]) -> (Option<i32>, String) {
    let config = config.to_str().unwrap();
    let mut arguments = vec!["audit", "incarnate", "--config", config, "--reason", "restored after the disk failed"];
    arguments.extend_from_slice(more);
    let output = process::run("millgate", &arguments).unwrap();
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.code(), said.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_put_back_is_quarantined_and_gives_nothing_out() {
    let source = Source::start(None, Behaviour::Say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec())).await;
    let source = source.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let (config, witnesses) = watched(&plant, "group all all w1 w2 w3\nquorum all\n");
    put_back(&plant, &config).await;
    let at = |name: &str| plant.directory.path().join(name);
    let asked = source.asked();
    assert!(asked > 0, "the source would be asked");
    let read = |name: &str| std::fs::read(at(name)).unwrap();
    let files = ["second/log.db", "second/published/checkpoint"];
    let before = files.map(read);

    let (broker, facts) = process::serve(&config, "").unwrap();
    let answer = ask(&facts, &plant).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "quarantined"), "{}", answer.text());
    assert!(answer.text().contains("nothing is recorded") && !answer.text().contains("w1"), "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    // Strangers, and readers of the log: a reading would be an entry.
    let stranger = http::get(&format!("{}/anything", facts["data"].as_str().unwrap()), &[]).await.unwrap();
    assert_eq!(stranger.reason(), "quarantined");
    let bearer = format!("Bearer {}", plant.token("auditor"));
    for path in ["/v1/audit/entries", "/v1/audit/proof?index=0", "/v1/catalogue"] {
        let url = format!("{}{path}", facts["api"].as_str().unwrap());
        let answer = http::get(&url, &[("authorization", &bearer)]).await.unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (503, "quarantined"), "{path}");
    }
    let ready = operator(&facts, "/readyz").await;
    assert_eq!(ready.status, 503);
    let why = ready.text();
    assert!(why.contains("quarantined: the witness `w1` has seen") && why.contains("`w3`"), "{why}");
    assert_eq!(operator(&facts, "/healthz").await.status, 200);
    let address = facts["operator"].as_str().unwrap().trim_start_matches("http://");
    let health = process::client("health.py").arg(address).output().unwrap();
    let health = String::from_utf8_lossy(&health.stdout).into_owned();
    assert_eq!(health.matches("\"status\": \"NOT_SERVING\"").count(), 2, "{health}");
    let metrics = operator(&facts, "/metrics").await.text();
    assert!(metrics.contains("millgate_audit_quarantined 1"), "{metrics}");
    assert!(metrics.contains("millgate_refusals_total{listener=\"api\",reason=\"quarantined\"} 3"), "{metrics}");
    assert_eq!(source.asked(), asked, "the source is left alone");
    // While it runs, nobody begins another log.
    let (code, said) = incarnate(&config, &["--origin", "munich.example/second.2"]);
    assert!(code == Some(2) && said.contains("stop the broker"), "{code:?} {said}");
    broker.signal("TERM").unwrap();
    ended(broker).await;

    // It is not forgotten because nobody answers, and whatever happened, nothing was written.
    drop(witnesses);
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.reason(), "quarantined");
    drop(broker);
    assert_eq!(files.map(read), before, "nothing was appended or signed");
    assert_eq!(source.asked(), asked);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_incarnation_cites_the_old_log_and_serves() {
    let plant = Plant::start().await.unwrap();
    let (config, witnesses) = watched(&plant, "group all all w1 w2 w3\nquorum all\n");
    let at = |name: &str| plant.directory.path().join(name);
    let new = ["--origin", "munich.example/second.2", "--json"];

    // Nobody has seen anything else: there is nothing to settle.
    let (broker, facts) = process::serve(&config, "").unwrap();
    let metrics = operator(&facts, "/metrics").await.text();
    assert!(metrics.contains("millgate_audit_quarantined 0"), "{metrics}");
    let (code, said) = incarnate(&config, &new);
    assert!(code == Some(2) && said.contains("in use by another process"), "{code:?} {said}");
    broker.signal("TERM").unwrap();
    ended(broker).await;
    let (code, said) = incarnate(&config, &new);
    assert!(code == Some(1) && said.contains("nobody is known to have seen anything else"), "{code:?} {said}");
    let (code, said) = incarnate(&config, &["--origin", "munich.example/second", "--force"]);
    assert!(code == Some(2) && said.contains("give the new one another"), "{code:?} {said}");

    put_back(&plant, &config).await;
    let policy = std::fs::read_to_string(at("trust.policy")).unwrap();
    let old_key = policy.lines().next().unwrap().strip_prefix("log ").unwrap().to_owned();
    let last = std::fs::read_to_string(at("second/published/checkpoint")).unwrap();
    let lost: u64 =
        std::fs::read_to_string(at("lost/published/checkpoint")).unwrap().lines().nth(1).unwrap().parse().unwrap();
    let lost_note = at("lost/published/checkpoint");
    let (code, said) = incarnate(&config, &[&new[..], &["--seen", lost_note.to_str().unwrap()]].concat());
    assert_eq!(code, Some(0), "{said}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["change"]["audit"]["origin"], "munich.example/second.2");

    // The old store and what it published are where the command says, whole.
    let aside = Path::new(report["published_aside"].as_str().unwrap());
    let verified = process::run("millgate-verify", &["log", aside.to_str().unwrap(), "--key", &old_key]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let store = report["store_aside"].as_str().unwrap();
    let fsck = process::run("millgate", &["audit", "fsck", "--directory", store]).unwrap();
    assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stdout));

    // Without the change that was printed, the broker does not start under the old name.
    let refused = process::run("millgate", &["serve", "--config", config.to_str().unwrap()]).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("munich.example/second\"", "munich.example/second.2\"")).unwrap();
    let key = report["key"].as_str().unwrap();
    let policy = std::fs::read_to_string(at("trust.policy")).unwrap().replace(&old_key, key);
    std::fs::write(at("logs.policy"), format!("log {old_key}\nlog {key}\nquorum none\n")).unwrap();
    let places: Vec<String> = witnesses.iter().map(|(_, url, _)| address(url)).collect();
    drop(witnesses);
    std::fs::write(at("trust.policy"), policy).unwrap();
    let witnesses: Vec<_> =
        (1..).zip(&places).map(|(n, listen)| witness(plant.directory.path(), n, &at("logs.policy"), listen)).collect();
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert!(facts.get("quarantined").is_none(), "{facts}");
    assert_eq!(ask(&facts, &plant).await.status, 200);
    let said = wait::until("the new log, cosigned", async || {
        let (code, said) = verify(&at("second/published"), &at("trust.policy"));
        (code == Some(0)).then_some(said)
    })
    .await
    .unwrap();
    assert_eq!(said["incarnation"]["origin"], "munich.example/second", "{said}");
    let first = acceptance::entries(&at("second/published")).unwrap().remove(0);
    assert_eq!((&first["kind"], &first["event"]), (&"system".into(), &"incarnation".into()));
    assert_eq!(first["previous"]["checkpoint"], last.as_str());
    assert_eq!(
        (&first["previous"]["key"], &first["reason"]),
        (&old_key.as_str().into(), &"restored after the disk failed".into())
    );
    let seen = first["seen"].as_array().unwrap();
    let by = |name: &str| seen.iter().find(|one| one["by"] == name).unwrap_or_else(|| panic!("{first}"));
    assert_eq!(by("the witness `w2`")["size"], lost);
    let kept = by("who kept a checkpoint");
    assert_eq!(kept["checkpoint"], std::fs::read_to_string(lost_note).unwrap().as_str());
    assert!(first.get("forced").is_none());
    let people =
        process::run("millgate-verify", &["log", at("second/published").to_str().unwrap(), "--key", key]).unwrap();
    let people = String::from_utf8_lossy(&people.stdout).into_owned();
    assert!(
        people.contains("begins in place of munich.example/second") && people.contains("the disk failed"),
        "{people}"
    );
    drop((broker, witnesses));
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incarnation_without_a_contradiction_is_forced_and_says_so() {
    let plant = Plant::start().await.unwrap();
    let config = plant.configuration("second", "").unwrap();
    let (broker, _) = process::serve(&config, "").unwrap();
    broker.signal("TERM").unwrap();
    ended(broker).await;
    let (code, said) = incarnate(&config, &["--origin", "munich.example/second.2"]);
    assert_eq!(code, Some(1), "{said}");
    let key = plant.directory.path().join("given.key");
    let more = ["--origin", "munich.example/second.2", "--force", "--key", key.to_str().unwrap()];
    let (code, said) = incarnate(&config, &more);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("origin = \"munich.example/second.2\"") && said.contains("given.key"), "{said}");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("munich.example/second\"", "munich.example/second.2\", key_file = \"given.key\"");
    std::fs::write(&config, text).unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    let published = plant.directory.path().join("second/published");
    let first = wait::until("the first entry", async || acceptance::entries(&published).ok()?.into_iter().next()).await;
    let first = first.unwrap();
    assert_eq!((&first["forced"], &first["seen"]), (&true.into(), &Value::Array(Vec::new())));
    assert!(first["previous"]["size"].as_u64().unwrap() > 2, "{first}");
    drop(broker);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_that_has_outgrown_the_witness_ends_the_broker_and_is_not_forgotten() {
    let plant = Plant::start().await.unwrap();
    let (config, witnesses) = watched(&plant, "quorum w1\n");
    let at = |name: &str| plant.directory.path().join(name);
    let (broker, facts) = process::serve(&config, "").unwrap();
    ask(&facts, &plant).await;
    broker.signal("TERM").unwrap();
    ended(broker).await;
    let seen: u64 = verify(&at("second/published"), &at("trust.policy")).1["size"].as_u64().unwrap();
    // While no witness is there, somebody begins another history under the same name, and it grows beyond what was seen.
    let places: Vec<String> = witnesses.iter().map(|(_, url, _)| address(url)).collect();
    drop(witnesses);
    std::fs::remove_dir_all(at("second")).unwrap();
    log_key(&at("second"), "munich.example/second");
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert!(facts.get("quarantined").is_none());
    wait::until("a longer history", async || {
        ask(&facts, &plant).await;
        (verify(&at("second/published"), &at("trust.policy")).1["size"].as_u64()? > seen).then_some(())
    })
    .await
    .unwrap();
    let again = witness(plant.directory.path(), 1, &at("logs.policy"), &places[0]);
    let bearer = format!("Bearer {}", plant.token("acme"));
    wait::until("the end of the broker", async || {
        // What the witness is asked for is the next checkpoint.
        let url = format!("{}{TARGET}", facts["data"].as_str().unwrap());
        let _ = http::get(&url, &[("authorization", &bearer), PURPOSE]).await;
        at("second/quarantine.json").exists().then_some(())
    })
    .await
    .unwrap();
    ended(broker).await;
    drop(again);
    let (broker, facts) = process::serve(&config, "").unwrap();
    let why = facts["quarantined"][0].as_str().unwrap();
    assert!(why.starts_with("the witness `w1` has seen another history of this log"), "{why}");
    assert_eq!(ask(&facts, &plant).await.reason(), "quarantined");
    drop(broker);
    plant.stop().await;
}

/// A server in a witness's place that answers what it is told to, from one question to the next.
async fn answering() -> (String, Arc<Mutex<(u16, String)>>) {
    let says = Arc::new(Mutex::new((409, String::from("99999999\n"))));
    let said = says.clone();
    let answer = move || {
        let (status, text) = said.lock().unwrap().clone();
        std::future::ready((axum::http::StatusCode::from_u16(status).unwrap(), text))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/add-checkpoint", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, says)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_nobody_signed_ends_no_log_for_good() {
    let plant = Plant::start().await.unwrap();
    let at = |name: &str| plant.directory.path().join(name);
    let (config, witnesses) = watched(&plant, "quorum none\n");
    drop(witnesses);
    let (url, says) = answering().await;
    let vkey = log_key(&at("second"), "munich.example/second");
    let key = tlog::CosigningKey::generate("w1.example", [7; 32]).unwrap().verifier().to_text();
    std::fs::write(at("trust.policy"), format!("log {vkey}\nwitness w1 {key} {url}\nquorum w1\n")).unwrap();
    let quarantine = |more: &[&str]| {
        let arguments = [&["audit", "quarantine", "--json", "--config", config.to_str().unwrap()], more].concat();
        let output = process::run("millgate", &arguments).unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), said, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let lift = ["--lift", "--reason", "the witness was set up wrongly"];
    assert_eq!(quarantine(&[]).0, Some(0));
    let (broker, facts) = process::serve(&config, "").unwrap();
    let why = facts["quarantined"][0].as_str().unwrap();
    assert!(why.starts_with("the witness `w1` has seen 99999999 entries"), "{why}");
    let (code, said, _) = quarantine(&[]);
    assert_eq!((code, &said["can_be_lifted"], &said["lifted_at_next_start"]), (Some(1), &true.into(), &false.into()));
    let (code, _, said) = quarantine(&lift);
    assert!(code == Some(2) && said.contains("stop the broker first"), "{said}");
    broker.signal("TERM").unwrap();
    ended(broker).await;
    let (code, said, _) = quarantine(&lift);
    assert_eq!((code, &said["lifted_at_next_start"]), (Some(0), &true.into()), "{said}");
    // What is said still is not lifted.
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert!(facts.get("quarantined").is_some(), "{facts}");
    broker.signal("TERM").unwrap();
    ended(broker).await;
    *says.lock().unwrap() = (500, String::from("out of order"));
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert!(facts.get("quarantined").is_none(), "{facts}");
    assert_eq!(ask(&facts, &plant).await.status, 200);
    broker.signal("TERM").unwrap();
    ended(broker).await;
    assert!(!at("second/quarantine.json").exists() && !at("second/quarantine.lift.json").exists());
    let entries = acceptance::entries(&at("second/published")).unwrap();
    let lifted: Vec<_> = entries.iter().filter(|entry| entry["event"] == "quarantine_lifted").collect();
    assert_eq!(lifted.len(), 1, "{entries:?}");
    assert_eq!(
        (&lifted[0]["kind"], &lifted[0]["reason"], &lifted[0]["seen"][0]["size"]),
        (&"system".into(), &"the witness was set up wrongly".into(), &99_999_999.into())
    );
    let verified =
        process::run("millgate-verify", &["log", at("second/published").to_str().unwrap(), "--key", &vkey]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    plant.stop().await;
}
