//! SIGKILL under load, again and again: no acknowledged entry is lost, no allow is without an entry, exactly one outcome.

use acceptance::process::{self, Guard};
use acceptance::{http, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T08:05:00Z&resolution=1m";
/// Kill points, unless the environment asks for another number.
const ROUNDS: usize = 100;
const ROUNDS_VARIABLE: &str = "MILLGATE_KILL_ROUNDS";
const SEED_VARIABLE: &str = "MILLGATE_KILL_SEED";
/// Answers that are waited for before the kill, at most.
const ANSWERS_MAX: u64 = 40;
/// Then it comes within so many microseconds: a few commits.
const DELAY_US_MAX: u64 = 4_000;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// Xorshift: the same seed kills at the same points, as far as the machine allows.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

struct Broker {
    process: Guard,
    facts: Value,
}

fn start(directory: &Path) -> anyhow::Result<Broker> {
    let mut command = Command::new(process::executable("millgate")?);
    command.args(["demo", "--json", "--data"]).arg(directory).stdout(Stdio::piped());
    let mut process = Guard::spawn(&mut command)?;
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().expect("piped")).read_line(&mut line)?;
    Ok(Broker { facts: serde_json::from_str(&line)?, process })
}

impl Broker {
    fn text(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_default()
    }

    fn bearer(&self, name: &str) -> String {
        format!("Bearer {}", self.facts["tokens"][name].as_str().unwrap_or_default())
    }
}

/// Asks without end until the broker is gone; keeps the ids of complete answers.
async fn load(url: String, bearer: String, answered: Arc<Mutex<Vec<String>>>) {
    let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
    while let Ok(answer) = http::get(&url, &headers).await {
        if answer.status == 200
            && let Ok(mut answered) = answered.lock()
        {
            answered.push(answer.request_id().to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let answered = Arc::new(Mutex::new(Vec::new()));
    let mut key = String::new();
    let rounds = usize::try_from(variable(ROUNDS_VARIABLE, ROUNDS as u64)).unwrap();
    let mut chance = Chance(variable(SEED_VARIABLE, 2026).max(1));
    for round in 0..rounds {
        let mut broker = start(directory.path()).unwrap();
        key = broker.text("log_key").to_owned();
        let url = format!("{}{TARGET}", broker.text("data"));
        let callers: Vec<_> =
            (0..8).map(|_| tokio::spawn(load(url.clone(), broker.bearer("acme"), answered.clone()))).collect();
        // Another number of answers in each round and a moment after it, so that the kill meets another step of the commit.
        let enough = answered.lock().unwrap().len() + usize::try_from(1 + chance.below(ANSWERS_MAX)).unwrap();
        let what = format!("answers in round {round}");
        wait::until(&what, async || (answered.lock().ok()?.len() >= enough).then_some(())).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_micros(chance.below(DELAY_US_MAX))).await;
        broker.process.kill();
        for caller in callers {
            caller.await.unwrap();
        }
    }
    // The last start recovers; then everything is looked at.
    let broker = start(directory.path()).unwrap();
    broker.process.signal("TERM").unwrap();
    let mut process = broker.process;
    let ended = tokio::task::spawn_blocking(move || process.0.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");

    let audit = directory.path().join("audit");
    let entries = acceptance::published(directory.path()).unwrap();
    let mut decisions = BTreeMap::new();
    let mut outcomes: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if entry["kind"] == "decision" && entry["decision"] == "allow" {
            decisions.insert(entry["request"].as_str().unwrap().to_owned(), index as u64);
        }
        if entry["kind"] == "outcome" {
            outcomes.entry(entry["of"].as_u64().unwrap()).or_default().push(entry["ended"].as_str().unwrap());
        }
    }
    for request in answered.lock().unwrap().iter() {
        assert!(decisions.contains_key(request), "the answer {request} has no decision");
    }
    for (request, index) in &decisions {
        assert_eq!(outcomes.get(index).map(Vec::len), Some(1), "{request} at {index}: {:?}", outcomes.get(index));
    }
    let boots: std::collections::BTreeSet<_> = entries.iter().filter_map(|e| e["boot"].as_str()).collect();
    assert_eq!(boots.len(), rounds + 1);

    let published = audit.join("published");
    let verified = process::run("millgate-verify", &["log", published.to_str().unwrap(), "--key", &key]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let arguments =
        ["audit", "fsck", "--directory", audit.to_str().unwrap(), "--published", published.to_str().unwrap()];
    let checked = process::run("millgate", &arguments).unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_broker_on_the_same_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = start(directory.path()).unwrap();
    // Its own ports for issuers and plant are taken too; `serve` with the same folders meets the log alone.
    let config = directory.path().join("millgate.toml");
    let second = process::run("millgate", &["serve", "--config", config.to_str().unwrap()]).unwrap();
    assert_eq!(second.status.code(), Some(2));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains("audit log") && text.contains("another"), "{text}");
}
