//! Witnesses of a log, as processes of their own: they cosign it, they cannot be lied to, and the log learns from them that it
//! was put back.

use acceptance::process::{Guard, executable};
use acceptance::{Plant, http, process, wait};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: (&str, &str) = ("millgate-purpose", "predictive-maintenance");

/// A witness of the logs in `logs`, at `listen`; its URL and key.
fn witness(directory: &Path, n: usize, logs: &Path, listen: &str) -> (Guard, String, String) {
    let mut command = Command::new(executable("millgate").unwrap());
    command.args(["witness", "--json", "--listen", listen, "--name", &format!("witness.example/w{n}")]);
    command
        .arg("--directory")
        .arg(directory.join(format!("witness-{n}")))
        .arg("--logs")
        .arg(logs)
        .stdout(Stdio::piped());
    let mut process = Guard::spawn(&mut command).unwrap();
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let facts: Value = serde_json::from_str(&line).unwrap();
    let text = |name: &str| facts[name].as_str().unwrap().to_owned();
    (process, text("url"), text("vkey"))
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
    for (n, (_, url, key)) in (1..).zip(&witnesses) {
        policy.push_str(&format!("witness w{n} {key} {url}\n"));
    }
    policy.push_str(quorum);
    std::fs::write(at("trust.policy"), &policy).unwrap();
    let config = plant.configuration("second", "").unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(
        "origin = \"munich.example/second\"",
        "origin = \"munich.example/second\", witnesses = \"trust.policy\"",
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
    let second_at = second.1.replace("http://", "");
    let third_at = third.1.replace("http://", "");
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
    drop(broker);
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
    drop(broker);

    // Put back, the log is whole and genuine for whoever has nothing else. The witness knows better.
    std::fs::rename(at("second"), at("newer")).unwrap();
    copy(&at("kept"), &at("second"));
    let refused = process::run("millgate", &["serve", "--config", config.to_str().unwrap()]).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        why.contains("the witness `w3` has cosigned a checkpoint of") && why.contains("nothing is served"),
        "{why}"
    );
    std::fs::remove_dir_all(at("second")).unwrap();
    // A log that begins anew under the same name.
    log_key(&at("second"), "munich.example/second");
    let refused = process::run("millgate", &["serve", "--config", config.to_str().unwrap()]).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));

    // With the newer copy it goes on, and a witness that comes back catches up.
    std::fs::remove_dir_all(at("second")).unwrap();
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
