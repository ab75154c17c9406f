//! A log that is watched from outside, from a folder and over HTTP, by one that keeps what it has seen.

use crate::questions::fill;
use acceptance::process::{Guard, run, serve};
use acceptance::{Plant, http, wait};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=10m";

/// Exit status, and what the look came to.
fn look(log: &str, state: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let arguments = ["audit", "monitor", log, "--state", state.to_str().unwrap(), "--once", "--json"];
    let output = run("millgate", &[&arguments[..], more].concat()).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or(Value::String(error)))
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Serves a folder as any web server does.
fn web_server(folder: &Path) -> (Guard, String) {
    let mut command = Command::new("python3");
    command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]).arg(folder);
    let mut process = Guard::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null())).unwrap();
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.split_whitespace().skip_while(|word| *word != "port").nth(1).unwrap();
    (process, format!("http://127.0.0.1:{port}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_watched_from_outside_and_an_older_copy_in_its_place_is_found() {
    let plant = Plant::start().await.unwrap();
    let config = plant.configuration("watched", "").unwrap();
    let (mut broker, facts) = serve(&config, "").unwrap();
    let (published, key) = (facts["log_dir"].as_str().unwrap(), facts["log_key"].as_str().unwrap());
    let state = plant.directory.path().join("auditor.seen");
    let bearer = format!("Bearer {}", plant.token("acme"));
    let ask = async || {
        let url = format!("{}{TARGET}", facts["data"].as_str().unwrap());
        http::get(&url, &[("authorization", &bearer), ("millgate-purpose", "predictive-maintenance")]).await.unwrap()
    };
    let checkpoint = || std::fs::read_to_string(Path::new(published).join("checkpoint")).unwrap_or_default();
    // Until a checkpoint is there that was not, and counts what was done.
    let grown = async |before: &str| {
        wait::until("a checkpoint", async || Some(checkpoint()).filter(|now| !now.is_empty() && now != before))
            .await
            .unwrap()
    };
    let first = grown("").await;
    let (code, seen) = look(published, &state, &["--key", key]);
    assert_eq!((code, &seen["ok"]), (Some(0), &true.into()), "{seen}");
    let older = plant.directory.path().join("older");
    copy(Path::new(published), &older);

    assert_eq!(ask().await.status, 200);
    grown(&first).await;
    // Over HTTP, and its new entries asked for as well.
    let (_web, url) = web_server(Path::new(published));
    let token = plant.demo.home.token("auditor");
    let api = ["--ask", "--url", facts["api"].as_str().unwrap(), "--token-file", token.to_str().unwrap()];
    let mut new = 0;
    while new == 0 {
        let (code, seen) = look(&url, &state, &[&["--key", key][..], &api].concat());
        assert_eq!((code, &seen["ok"], &seen["warnings"]), (Some(0), &true.into(), &serde_json::json!([])), "{seen}");
        new = seen["new"].as_u64().unwrap();
    }
    broker.kill();

    // The older copy is served in the place of the log.
    let (code, told) = look(older.to_str().unwrap(), &state, &["--key", key]);
    assert_eq!((code, &told["ok"]), (Some(1), &false.into()));
    assert!(told["findings"][0]["what"].as_str().unwrap().starts_with("the log was cut or put back"), "{told}");
    let kept: Vec<String> =
        told["kept"].as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned()).collect();
    let [seen, published_note] = kept.as_slice() else { panic!("{told}") };
    assert_eq!(std::fs::read_to_string(published_note).unwrap(), first);
    assert_ne!(std::fs::read_to_string(seen).unwrap(), first);
    // Nobody answers: that is not held against the log.
    let (code, told) = look("http://127.0.0.1:9", &state, &["--key", key]);
    assert_eq!(code, Some(2));
    assert!(told["unreachable"].as_str().unwrap().contains("cannot be reached"), "{told}");
    // And what was seen of it is not taken for another log's.
    let other = tlog::SigningKey::generate("plant.example/other", [1; 32]).unwrap().verifier().to_text();
    let (code, told) = look(published, &state, &["--key", &other]);
    assert!(
        code == Some(2) && told.as_str().unwrap().contains("is not what was seen of the log `plant.example/other`"),
        "{told}"
    );
    plant.stop().await;
}

/// Exit status, and what asking came to, if anything.
fn ask(log: &str, state: &Path, more: &[&str]) -> (Option<i32>, Vec<String>) {
    let arguments = ["audit", "monitor", log, "--state", state.to_str().unwrap(), "--once", "--json", "--ask"];
    let output = run("millgate", &[&arguments[..], more].concat()).unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen = &lines[0];
    assert_eq!((&seen["ok"], &seen["warnings"]), (&json!(true), &json!([])), "the log itself is what it was");
    let asked = lines.get(1).map(|told| {
        assert_eq!(told["warning"], Value::Null, "{told}");
        told["asked"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    });
    (output.status.code(), asked.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_hides_what_the_log_has_is_found_by_whoever_asks_from_outside() {
    let plant = Plant::start().await.unwrap();
    let config = plant.configuration("hiding", "").unwrap();
    let directory = plant.directory.path().join("hiding");
    fill(&directory, "munich.example/hiding", 9000).await;
    let indexed = async |facts: &Value| {
        let metrics = format!("{}/metrics", facts["operator"].as_str().unwrap());
        let is_indexed = async || {
            let metrics = http::get(&metrics, &[]).await.ok()?.text();
            metrics.contains("\nmillgate_audit_indexed_entries 8192\n").then_some(())
        };
        wait::until("the index", is_indexed).await.unwrap();
    };
    let (mut broker, facts) = serve(&config, "").unwrap();
    indexed(&facts).await;
    let (published, key) =
        (facts["log_dir"].as_str().unwrap().to_owned(), facts["log_key"].as_str().unwrap().to_owned());
    let token = plant.demo.home.token("auditor");
    let state = |name: &str| plant.directory.path().join(name);
    let options = |facts: &Value| {
        let api = facts["api"].as_str().unwrap();
        ["--key", &key, "--url", api, "--token-file", token.to_str().unwrap()].map(str::to_owned)
    };
    let asked = |facts: &Value, name: &str| {
        let options = options(facts);
        ask(&published, &state(name), &options.each_ref().map(String::as_str))
    };
    let whole = async || {
        let checkpoint = std::fs::read_to_string(Path::new(&published).join("checkpoint")).ok()?;
        (checkpoint.lines().nth(1)?.parse::<u64>().ok()? > 9000).then_some(())
    };
    wait::until("a checkpoint over all", whole).await.unwrap();
    // All of it is new to whoever looks first, and by and by nothing is.
    for _ in 0..3 {
        assert_eq!(asked(&facts, "watching.seen"), (Some(0), vec![]));
    }
    broker.kill();

    // The log is what it was; of its refusals the index knows nothing any longer.
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.join("index.db"));
    let mut index = file.connect().await.unwrap();
    let hidden = sqlx::raw_sql("DELETE FROM posting WHERE block = 0").execute(&mut index).await.unwrap();
    assert!(hidden.rows_affected() > 0);
    index.close().await.unwrap();
    let (mut broker, facts) = serve(&config, "").unwrap();
    indexed(&facts).await;
    let (code, found) = asked(&facts, "later.seen");
    assert_eq!(code, Some(1), "{found:?}");
    assert!(found.contains(&String::from(
        "entry 4095: a question for what it says does not find it at the broker, or finds another one"
    )));
    // Whoever has seen those long ago finds out by what is drawn.
    let drawn = async || {
        let (code, found) = asked(&facts, "watching.seen");
        let of_block =
            |text: &String| text.split([' ', ':']).nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap() < 4096;
        assert!(found.iter().all(of_block), "{found:?}");
        (code == Some(1) && !found.is_empty()).then_some(())
    };
    wait::until("an entry of the hidden ones", drawn).await.unwrap();
    broker.kill();
    plant.stop().await;
}
