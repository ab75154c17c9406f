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
struct Case<'a> {
    name: &'a str,
    calls: &'a str,
    /// Of the log's files; of any file, if empty.
    files: &'a [&'a str],
    fault: &'a str,
    /// Which calls of each thread, as `strace` writes it. The first are those of the start.
    when: &'a str,
    ends: Option<bool>,
}

const WAL: &[&str] = &["log.db-wal"];
const DATABASE: &[&str] = &["log.db"];
/// As the latest checkpoint is called until it is whole.
const CHECKPOINT: &[&str] = &["published/.checkpoint.tmp"];
const WRITE: &str = "pwrite64";
const FLUSH: &str = "fsync,fdatasync";
/// How a file that is published gets its name.
const NAME: &str = "rename,renameat,renameat2";

#[rustfmt::skip]
const CASES: [Case<'_>; 13] = [
    Case { name: "write", calls: WRITE, files: WAL, fault: "error=EIO", when: "200+", ends: Some(true) },
    Case { name: "room", calls: WRITE, files: WAL, fault: "error=ENOSPC", when: "200..215", ends: Some(false) },
    // As of a file system that the kernel has made read-only.
    Case { name: "readonly", calls: "pwrite64,ftruncate,unlink", files: &["log.db", "log.db-wal"], fault: "error=EROFS", when: "200+", ends: Some(true) },
    // What the WAL holds does not get into the database, and the WAL goes on.
    Case { name: "copy", calls: WRITE, files: DATABASE, fault: "error=ENOSPC", when: "1+", ends: Some(false) },
    Case { name: "flushroom", calls: FLUSH, files: WAL, fault: "error=ENOSPC", when: "25+", ends: Some(true) },
    Case { name: "make", calls: "openat", files: CHECKPOINT, fault: "error=EIO", when: "1+", ends: Some(false) },
    Case { name: "fill", calls: "write,fsync", files: CHECKPOINT, fault: "error=ENOSPC", when: "1+", ends: Some(false) },
    Case { name: "flush", calls: FLUSH, files: WAL, fault: "error=EIO", when: "25+", ends: Some(true) },
    Case { name: "slow", calls: FLUSH, files: WAL, fault: "delay_enter=500000", when: "25..35+2", ends: Some(false) },
    Case { name: "hang", calls: FLUSH, files: WAL, fault: "delay_enter=3000000", when: "25", ends: Some(false) },
    Case { name: "read", calls: "pread64", files: &["log.db", "log.db-wal"], fault: "error=EIO", when: "100+", ends: None },
    Case { name: "publish", calls: NAME, files: &[], fault: "error=EIO", when: "1+", ends: Some(false) },
    Case { name: "full", calls: NAME, files: &[], fault: "error=ENOSPC", when: "1+", ends: Some(false) },
];

/// `millgate serve` with its file calls failing. It is the child itself: `strace` watches from aside.
fn failing(config: &Path, log: &Path, trace: &Path, case: &Case<'_>) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "--seccomp-bpf", "-o"]).arg(trace);
    for file in case.files {
        // The folder itself, too.
        command.arg("-P").arg(if file.is_empty() { log.to_owned() } else { log.join(file) });
    }
    command.arg(format!("--trace={}", case.calls));
    command.arg(format!("--inject={}:{}:when={}", case.calls, case.fault, case.when));
    command.arg(process::executable("millgate").unwrap()).args(["serve", "--json", "--config"]).arg(config);
    command
}

fn has_failed(trace: &Path) -> bool {
    let trace = std::fs::read_to_string(trace).unwrap();
    trace.contains("(INJECTED)") || trace.contains("(DELAYED)")
}

fn serve_failing(config: &Path, log: &Path, trace: &Path, case: &Case<'_>) -> (Guard, Value) {
    let mut process = Guard::spawn(failing(config, log, trace, case).stdout(Stdio::piped())).unwrap();
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
        assert!(has_failed(&trace), "{name}: nothing has failed");
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

/// Calls of a first start, each of which keeps the broker from serving.
#[rustfmt::skip]
const STARTS: [Case<'_>; 7] = [
    Case { name: "folder", calls: "mkdir", files: &[""], fault: "error=ENOSPC", when: "1+", ends: Some(true) },
    Case { name: "lock", calls: "openat", files: &["log.lock"], fault: "error=EIO", when: "1+", ends: Some(true) },
    Case { name: "database", calls: "openat", files: &["log.db.new"], fault: "error=ENOSPC", when: "1+", ends: Some(true) },
    Case { name: "schema", calls: WRITE, files: &["log.db.new", "log.db.new-wal", "log.db.new-journal"], fault: "error=ENOSPC", when: "1+", ends: Some(true) },
    Case { name: "first", calls: FLUSH, files: WAL, fault: "error=EIO", when: "1+", ends: Some(true) },
    Case { name: "key", calls: "openat,write,fsync", files: &[".checkpoint.key.tmp"], fault: "error=ENOSPC", when: "1+", ends: Some(true) },
    Case { name: "published", calls: "mkdir", files: &["published"], fault: "error=EIO", when: "1+", ends: Some(true) },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_file_calls_fail_serves_nobody_says_what_failed_and_leaves_what_the_next_one_goes_on_with() {
    let source = Source::start(None, Behaviour::Say(OK.to_vec())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    for case in &STARTS {
        let name = case.name;
        let config = plant.configuration(name, "").unwrap();
        let (log, trace) = (plant.directory.path().join(name), plant.directory.path().join(format!("{name}.trace")));
        let mut command = failing(&config, &log, &trace, case);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{name}: {said}");
        assert!(output.stdout.is_empty(), "{name}: it says that it serves");
        let reasons = ["os error 5", "os error 28", "disk I/O error", "disk is full", "unable to open"];
        assert!(reasons.iter().any(|reason| said.contains(reason)), "{name}: {said}");
        assert!(has_failed(&trace), "{name}: nothing has failed");
        check(name, &config, &BTreeSet::new(), &source).await;
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_beside_the_log_may_fail_and_takes_nothing_from_it() {
    let source = Source::start(None, Behaviour::Say(OK.to_vec())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let at = |name: &str| plant.directory.path().join(name);
    let bearer = format!("Bearer {}", plant.token("acme"));
    let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
    let ask = async |facts: &Value| {
        http::get(&format!("{}{TARGET}", facts["data"].as_str().unwrap()), &headers).await.unwrap()
    };
    let stop = async |broker: Guard| {
        broker.signal("TERM").unwrap();
        assert_eq!(ended(broker).await, Some(0));
    };
    let config = plant.configuration("beside", "").unwrap();
    let (text, origin) = (std::fs::read_to_string(&config).unwrap(), "origin = \"munich.example/beside\"");
    std::fs::write(&config, text.replace(origin, &format!("{origin}, sinks = {{ directories = [\"mount\"] }}")))
        .unwrap();
    std::fs::create_dir(at("mount")).unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts).await.status, 200);
    stop(broker).await;

    // Sinks: nobody waits for them, and the next checkpoint stands for what they do not have.
    let of_today = std::fs::read_dir(at("mount")).unwrap().next().unwrap().unwrap().file_name();
    let file = at("mount").join(of_today);
    for (calls, fault) in [("openat", "error=EIO"), ("write", "error=ENOSPC"), (FLUSH, "error=EIO")] {
        let (name, trace) = ("sink", at("sink.trace"));
        let files = [file.to_str().unwrap()];
        let case = Case { name, calls, files: &files, fault, when: "1+", ends: Some(false) };
        let kept = std::fs::read(&file).unwrap();
        let (broker, facts) = serve_failing(&config, &at("beside"), &trace, &case);
        assert_eq!(ask(&facts).await.status, 200, "{calls}");
        let failed = wait::until("a sink that fails", async || {
            let url = format!("{}/metrics", facts["operator"].as_str().unwrap());
            let text = http::get(&url, &[]).await.ok()?.text();
            let line =
                text.lines().find(|line| line.contains("sink_checkpoints_total{") && line.contains("\"failed\""))?;
            line.rsplit(' ').next()?.parse::<u64>().ok().filter(|failed| *failed > 0)
        });
        assert!(failed.await.unwrap() > 0);
        assert_eq!(ask(&facts).await.status, 200, "{calls}");
        stop(broker).await;
        assert!(has_failed(&trace), "{calls}");
        assert!(std::fs::read(&file).unwrap().starts_with(&kept), "{calls}: what was kept stays");
        let (broker, facts) = process::serve(&config, "").unwrap();
        assert_eq!(ask(&facts).await.status, 200, "{calls}: {facts}");
        stop(broker).await;
    }

    // The mark of a quarantine that cannot be written: nobody is served all the same, and the next start marks it.
    std::fs::copy(at("beside/log.db"), at("older.db")).unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts).await.status, 200);
    stop(broker).await;
    std::fs::copy(at("older.db"), at("beside/log.db")).unwrap();
    let (trace, mark) = (at("mark.trace"), at("beside/quarantine.json"));
    let case = Case {
        name: "mark",
        calls: NAME,
        files: &["quarantine.json"],
        fault: "error=ENOSPC",
        when: "1+",
        ends: Some(false),
    };
    let asked = source.asked();
    let (broker, facts) = serve_failing(&config, &at("beside"), &trace, &case);
    assert_eq!(ask(&facts).await.reason(), "quarantined", "{facts}");
    drop(broker);
    assert!(has_failed(&trace) && !mark.exists());
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts).await.reason(), "quarantined", "{facts}");
    drop(broker);
    assert!(mark.exists());
    assert_eq!(source.asked(), asked, "the source was not asked");
    plant.stop().await;
}
