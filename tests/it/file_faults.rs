//! File calls of the log fail or take their time, one kind after the other, under load, as `strace` makes them; and its files go from under a
//! running broker. Nobody is answered without a record, and the next start goes on where the record ends.

use acceptance::process::{self, Guard};
use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, wait};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
const CALLERS: usize = 8;
const ANSWERS: usize = 30;

/// What fails or takes its time, and whether the broker must end by it, must go on, or may do either.
struct Case {
    name: &'static str,
    calls: &'static str,
    /// Of the log's files; of any file, if empty.
    files: &'static [&'static str],
    fault: &'static str,
    /// Which calls of each thread, as `strace` writes it. The first are those of the start.
    when: &'static str,
    ends: Option<bool>,
}

const WAL: &[&str] = &["log.db-wal"];
const WRITE: &str = "pwrite64";
const FLUSH: &str = "fsync,fdatasync";
/// How a file that is published gets its name.
const NAME: &str = "rename,renameat,renameat2";

#[rustfmt::skip]
const CASES: [Case; 8] = [
    Case { name: "write", calls: WRITE, files: WAL, fault: "error=EIO", when: "200+", ends: Some(true) },
    Case { name: "room", calls: WRITE, files: WAL, fault: "error=ENOSPC", when: "200..215", ends: Some(false) },
    Case { name: "flush", calls: FLUSH, files: WAL, fault: "error=EIO", when: "25+", ends: Some(true) },
    Case { name: "slow", calls: FLUSH, files: WAL, fault: "delay_enter=500000", when: "25..35+2", ends: Some(false) },
    Case { name: "hang", calls: FLUSH, files: WAL, fault: "delay_enter=3000000", when: "25", ends: Some(false) },
    Case { name: "read", calls: "pread64", files: &["log.db", "log.db-wal"], fault: "error=EIO", when: "100+", ends: None },
    Case { name: "publish", calls: NAME, files: &[], fault: "error=EIO", when: "1+", ends: Some(false) },
    Case { name: "full", calls: NAME, files: &[], fault: "error=ENOSPC", when: "1+", ends: Some(false) },
];

/// The broker with its file calls failing. It is the child itself: `strace` watches from aside.
fn serve_failing(config: &Path, log: &Path, trace: &Path, case: &Case) -> (Guard, Value) {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "--seccomp-bpf", "-o"]).arg(trace);
    for file in case.files {
        command.arg("-P").arg(log.join(file));
    }
    command.arg(format!("--trace={}", case.calls));
    command.arg(format!("--inject={}:{}:when={}", case.calls, case.fault, case.when));
    command.arg(process::executable("millgate").unwrap()).args(["serve", "--json", "--config"]).arg(config);
    let mut process = Guard::spawn(command.stdout(Stdio::piped())).unwrap();
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (process, serde_json::from_str(&line).unwrap())
}

async fn ended(mut broker: Guard) -> Option<i32> {
    tokio::task::spawn_blocking(move || broker.0.wait()).await.unwrap().unwrap().code()
}

/// Requests that were answered in full, of so many from each caller or until the broker is gone; and whether it is.
async fn load(url: &str, bearer: &str) -> (BTreeSet<String>, bool) {
    let callers = (0..CALLERS).map(|_| {
        let (url, bearer) = (url.to_owned(), bearer.to_owned());
        tokio::spawn(async move {
            let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
            let mut whole = BTreeSet::new();
            for _ in 0..ANSWERS {
                let Ok(answer) = http::get(&url, &headers).await else { return (whole, true) };
                assert!(matches!(answer.status, 200 | 503), "{}", answer.status);
                if answer.status == 200 {
                    whole.insert(answer.request_id().to_owned());
                }
            }
            (whole, false)
        })
    });
    let (mut all, mut is_gone) = (BTreeSet::new(), false);
    for caller in callers.collect::<Vec<_>>() {
        let (whole, gone) = caller.await.unwrap();
        all.extend(whole);
        is_gone |= gone;
    }
    (all, is_gone)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_call_that_fails_or_hangs_leaves_nobody_answered_without_a_record() {
    let source = Source::start(None, Behaviour::Say(OK.to_vec())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    for case in &CASES {
        let name = case.name;
        let config = plant.configuration(name, "").unwrap();
        let (log, trace) = (plant.directory.path().join(name), plant.directory.path().join(format!("{name}.trace")));
        // What a log begins with is large: policies, schema. The start after that writes little.
        check(name, &config, &BTreeSet::new(), &source).await;
        let (broker, facts) = serve_failing(&config, &log, &trace, case);
        let url = format!("{}{TARGET}", facts["data"].as_str().unwrap());
        let (whole, is_gone) = load(&url, &bearer).await;
        if let Some(ends) = case.ends {
            assert_eq!(is_gone, ends, "{name}");
        }
        if is_gone {
            assert_eq!(ended(broker).await, Some(1), "{name}: it ends by itself");
        } else {
            // When the fault is over, or although it is not, requests are served.
            let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
            let served =
                wait::until(name, async || (http::get(&url, &headers).await.ok()?.status == 200).then_some(()));
            served.await.unwrap();
            broker.signal("TERM").unwrap();
            ended(broker).await;
        }
        let trace = std::fs::read_to_string(&trace).unwrap();
        assert!(trace.contains("(INJECTED)") || trace.contains("(DELAYED)"), "{name}: nothing has failed");
        // Half a second is slow, and no reason to refuse anybody; three are longer than anybody waits.
        match name {
            "slow" => assert_eq!(whole.len(), CALLERS * ANSWERS, "{name}"),
            "hang" => assert!(whole.len() < CALLERS * ANSWERS, "{name}"),
            _ => {}
        }
        assert!(whole.len() > 5, "{name}: {} answers", whole.len());
        check(name, &config, &whole, &source).await;
    }
    plant.stop().await;
}

/// The next start, on a disk that works, has a record of all that was answered or asked for.
async fn check(name: &str, config: &Path, whole: &BTreeSet<String>, source: &Source) {
    let (broker, facts) = process::serve(config, "").unwrap();
    broker.signal("TERM").unwrap();
    assert_eq!(ended(broker).await, Some(0), "{name}");
    let published = facts["log_dir"].as_str().unwrap();
    let entries = acceptance::entries(published.as_ref()).unwrap();
    let allowed = entries.iter().filter(|e| e["kind"] == "decision" && e["decision"] == "allow");
    let allowed: BTreeSet<String> = allowed.map(|e| e["request"].as_str().unwrap().to_owned()).collect();
    let unrecorded: Vec<_> = whole.difference(&allowed).collect();
    assert!(unrecorded.is_empty(), "{name}: answered without a record: {unrecorded:?}");
    assert_eq!(entries.iter().filter(|e| e["kind"] == "outcome").count(), allowed.len(), "{name}: one outcome each");
    let heads = source.take_heads();
    let asked = heads.iter().filter_map(|head| head.lines().find_map(|l| l.strip_prefix("millgate-request-id: ")));
    let unrecorded: Vec<_> = asked.filter(|request| !allowed.contains(*request)).collect();
    assert!(unrecorded.is_empty(), "{name}: the source was asked without a record: {unrecorded:?}");
    let key = facts["log_key"].as_str().unwrap();
    let verified = process::run("millgate-verify", &["log", published, "--key", key]).unwrap();
    assert!(verified.status.success(), "{name}: {}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_deleted_under_a_running_broker_ends_it_and_no_second_history_is_begun() {
    let source = Source::start(None, Behaviour::Say(OK.to_vec())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let config = plant.configuration("gone", "").unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
    let url = |facts: &Value| format!("{}{TARGET}", facts["data"].as_str().unwrap());
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(http::get(&url(&facts), &headers).await.unwrap().status, 200);
    // Its end is published.
    broker.signal("TERM").unwrap();
    assert_eq!(ended(broker).await, Some(0));
    let (broker, facts) = process::serve(&config, "").unwrap();
    let asked = source.asked();
    for file in ["log.db", "log.db-wal", "log.db-shm"] {
        std::fs::remove_file(plant.directory.path().join("gone").join(file)).unwrap();
    }
    let refused = http::get(&url(&facts), &headers).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status == 503), "nobody is served without a record");
    assert_eq!((ended(broker).await, source.asked()), (Some(1), asked), "the source was not asked");
    let (broker, facts) = process::serve(&config, "").unwrap();
    let why = facts["quarantined"][0].as_str().unwrap_or_default();
    assert!(why.contains("published"), "{facts}");
    assert_eq!(http::get(&url(&facts), &headers).await.unwrap().reason(), "quarantined");
    drop(broker);
    plant.stop().await;
}
