//! Each file call fails once, and a process is killed at each: it does with a log what a broker does, from the opening to the end, or keeps what a
//! witness has seen. `strace` lists the calls of a run in which nothing fails, and then meets one of them in each run. Nothing that the process
//! was told to be durable is missing afterwards, and the next start, on a disk that works, goes on.
//!
//! Some calls of each kind on each kind of file are tried here. All of them, with each fault, take half an hour (CONTRIBUTING.md).

use acceptance::process::{self, Guard};
use acceptance::wait;
use audit::erase::Wanted;
use audit::prune::Bounds;
use audit::tests::harness::{self, START, key, organisation, outcome};
use audit::tests::stand::copy_dir;
use audit::{Appended, EraseError, Holds, Kept, Log, LogOptions, PublishOptions, Publisher, Retention, fsck};
use model::entry::{CommitmentClass, Disclosure, Draft, Effect, Kind};
use model::{Digest, Principal, PrincipalKind, Subject, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tlog::tile::tiles_for_size;
use tlog::{Checkpoint, leaf_hash};

const PROCESS: &str = "file_calls::the_process_whose_calls_fail";
const SCENE: &str = "MILLGATE_FILE_CALLS_SCENE";
const DIRECTORY: &str = "MILLGATE_FILE_CALLS_IN";
/// `all`, in place of some of each kind.
const WHICH: &str = "MILLGATE_FILE_CALLS";
/// What the process says stands behind this; the rest is the test runner's.
const SAYS: &str = "@ ";

const SIGKILL: i32 = 9;

const DAY_MS: i64 = 86_400_000;
const POLICIES: &[u8] = b"permit (principal, action, resource);";
/// Behind a commitment, until it is erased.
const SECRET: &str = "what only anna knows";
const WITNESSED: &str = "plant.example/log";

/// Calls that write, make or take away something, and what becomes of them. SIGKILL comes before the call is made.
const WRITING: &str = "openat,mkdir,write,pwrite64,ftruncate,fsync,fdatasync,rename,unlink,unlinkat";
/// These, and files that are only opened to be read, with EIO alone.
const READING: &str = "read,pread64";

// === the process

/// So many days after the first one. What is random comes on one day only.
fn options(at: &Path, day: i64) -> LogOptions {
    let next = AtomicU64::new(u64::try_from(day).unwrap() * 1_000_000);
    let random = move |bytes: &mut [u8]| {
        let digest = Digest::of(&next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        bytes.iter_mut().zip(digest.0).for_each(|(byte, random)| *byte = random);
    };
    let clock = harness::ticking(START.plus_millis(day * DAY_MS));
    LogOptions { random: Arc::new(random), clock, ..harness::options(at.join("log").as_path()) }
}

fn retention() -> Retention {
    Retention { entries: Some(Kept { days: 60, statement: None }), ..Retention::default() }
}

async fn publisher(log: &Log, at: &Path) -> Result<Publisher, audit::PublishError> {
    let of_all = PublishOptions::new(at.join("published"));
    let options = PublishOptions { interval_ms: 3_600_000, retention: retention(), linger_ms: 0, ..of_all };
    Publisher::start(log, key(), options).await
}

fn principal(name: &str) -> Principal {
    let (of, subject) = name.split_once('/').unwrap();
    Principal { organisation: organisation(of), kind: PrincipalKind::User, subject: Subject::new(subject).unwrap() }
}

fn policies() -> Value {
    Value::text(Digest::of(POLICIES).to_hex())
}

/// What a start says before anything is decided.
async fn put_in_use(log: &Log) -> Result<(), audit::AppendError> {
    let members = [("event", Value::text("activated")), ("digest", policies())];
    let mut draft = Draft::new(Kind::Policy, &log.common(), None, members, vec![]).unwrap();
    draft.content = vec![model::entry::Content { digest: Digest::of(POLICIES), bytes: POLICIES.into() }];
    log.append(draft).await.map(drop)
}

/// A request of somebody, with a value that is committed to.
fn asks(log: &Log, name: &str, decision: &'static str, request: &str, value: &str) -> Draft {
    let who = principal(name);
    let (reference, row) = log.principal_reference(&who);
    let members = [
        ("decision", Value::text(decision)),
        ("digests", Value::object([("policies", policies())])),
        ("principal", Value::text(reference)),
        ("request", Value::text(request)),
    ];
    let values = Value::object([("principal", Value::text(name)), ("said", Value::text(value))]).into();
    let disclosure = Disclosure { class: CommitmentClass::Subject, salt: log.common().nonce, values };
    let mut draft =
        Draft::new(Kind::Decision, &log.common(), Some(&who.organisation), members, vec![disclosure]).unwrap();
    draft.directory = row.into_iter().collect();
    if decision == "allow" {
        draft.effect = Effect::Opens;
    }
    draft
}

fn say(what: &str) {
    println!("\n{SAYS}{what}");
}

fn said(error: impl std::error::Error) -> String {
    format!("{error}: {:?}", error.source().map(ToString::to_string))
}

/// Tells what is durable, as a broker does when it forwards a request.
fn acknowledge(appended: &Appended) {
    say(&format!("acknowledged {} {}", appended.index, appended.leaf));
}

/// An exchange, which is forwarded on the strength of its decision alone.
async fn exchange(log: &Log, request: &str) {
    let Ok(decision) = log.append(asks(log, "acme/otto", "allow", request, "nothing much")).await else { return };
    acknowledge(&decision);
    if let Ok(outcome) = log.append_outcome(outcome(log, "acme", request, decision.index)).await {
        acknowledge(&outcome);
    }
}

async fn publish(publisher: &Publisher) {
    // What fails is made up for by the next round.
    if let Ok(published) = publisher.publish_now().await {
        say(&format!("published {}", serde_json::to_string(&published.note).unwrap()));
    }
}

async fn erase(log: &Log) -> Result<(), EraseError> {
    let [first, second] = ["norden/first", "norden/second"].map(|name| log.principal_reference(&principal(name)).0);
    let wanted = Wanted {
        id: String::from("of anna"),
        organisation: &organisation("acme"),
        principal: "acme/anna",
        basis: "Art. 17",
        requested_by: &first,
    };
    log.request_erasure(&wanted).await?;
    if let Some(pending) = log.erasure_request("of anna").await? {
        log.erase(&pending, &second, &Holds::default()).await?;
        say("erased");
    }
    Ok(())
}

/// Everything that is done with a log, once. An error is what ends a broker.
async fn lives(at: &Path) -> Result<(), String> {
    let (log, _) = Log::open(options(at, 100)).await.map_err(said)?;
    let publisher = publisher(&log, at).await.map_err(said)?;
    put_in_use(&log).await.map_err(said)?;
    if let Ok(decision) = log.append(asks(&log, "acme/anna", "deny", "r0", SECRET)).await {
        acknowledge(&decision);
    }
    for request in ["r1", "r2"] {
        exchange(&log, request).await;
        publish(&publisher).await;
    }
    if let Err(error) = erase(&log).await {
        say(&format!("not erased: {}", said(error)));
    }
    let bounds = Bounds { published: at.join("published"), is_witnessed: false };
    let pruned = log.prune(&retention(), &bounds).await;
    say(&format!("pruned {}", pruned.map_or_else(said, |minimum| minimum.to_string())));
    publish(&publisher).await;
    exchange(&log, "r3").await;
    log.seal().await;
    // The end of it; whoever stops it is not told what was signed.
    let _ = publisher.stop().await;
    log.close().await;
    if let Some(reason) = log.poison_reason() {
        return Err(reason);
    }
    let dir = at.join("log");
    audit::index::build(dir.as_path(), &dir, true, |_, _| {}).await.map(drop).map_err(said)
}

/// What a witness does before it signs.
fn sees(at: &Path) -> Result<(), String> {
    let store = witness::Store::open(&at.join("seen")).map_err(said)?;
    for size in [3_u64, 7, 12] {
        let checkpoint = Checkpoint::new(WITNESSED, size, leaf_hash(&size.to_be_bytes()));
        match store.advance(WITNESSED, |_| Ok(checkpoint)) {
            Ok(_) => say(&format!("seen {size}")),
            Err(error) => say(&format!("not seen: {}", said(error))),
        }
    }
    Ok(())
}

#[test]
#[ignore = "the tests of this file start it"]
fn the_process_whose_calls_fail() {
    let variable = |name| std::env::var(name).expect("the tests of this file start it");
    let at = PathBuf::from(variable(DIRECTORY));
    let ended = match variable(SCENE).as_str() {
        "witness" => sees(&at),
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(lives(&at)),
    };
    say(&format!("ended {}", ended.err().unwrap_or_default()));
}

// === its calls

/// The `nth` call of this name on this path in one thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    name: String,
    path: String,
    nth: usize,
    is_reading: bool,
}

/// The path that a call is about, as `strace -y` shows it, and as its `-P` knows it: of names in an open directory, that one.
fn path_of(arguments: &str) -> Option<&str> {
    let quoted = || arguments.split('"').nth(1);
    let described = || arguments.split_once('<')?.1.split_once('>').map(|(path, _)| path);
    if arguments.starts_with("AT_FDCWD") || arguments.starts_with('"') { quoted() } else { described() }
}

/// Those of a trace that are about files below `at`, each once, however many threads make it.
fn calls(trace: &str, at: &str) -> BTreeSet<Call> {
    let mut counts: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    let mut calls = BTreeSet::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
        let Some(path) = path_of(arguments).filter(|path| path.starts_with(at)) else { continue };
        let nth = counts.entry((thread, name, path)).or_default();
        *nth += 1;
        let is_reading =
            READING.split(',').any(|reading| reading == name) || (name == "openat" && !arguments.contains("O_CREAT"));
        calls.insert(Call { name: name.to_owned(), path: path.to_owned(), nth: *nth, is_reading });
    }
    calls
}

/// Files of one kind: numbers in their names do not matter.
fn kind(path: &str) -> String {
    let mut kind: Vec<char> = path.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    kind.dedup_by(|one, other| *one == '0' && *other == '0');
    kind.into_iter().collect()
}

fn faults(call: &Call) -> &'static [&'static str] {
    if call.is_reading { &["error=EIO"] } else { &["error=EIO", "signal=KILL", "error=ENOSPC"] }
}

/// Of fewer calls of a kind one is enough.
const MANY: usize = 8;

/// What is tried: all, or of each kind of call on each kind of file the first, one in the middle and the last, with the faults by turns.
fn cases(calls: BTreeSet<Call>) -> Vec<(Call, &'static str)> {
    if std::env::var(WHICH).is_ok_and(|which| which == "all") {
        let all = calls.into_iter().flat_map(|call| faults(&call).iter().map(move |fault| (call.clone(), *fault)));
        return all.collect();
    }
    let mut kinds: BTreeMap<(String, String, bool), Vec<Call>> = BTreeMap::new();
    for call in calls {
        kinds.entry((call.name.clone(), kind(&call.path), call.is_reading)).or_default().push(call);
    }
    let mut cases = Vec::new();
    for ((.., is_reading), calls) in kinds {
        let last = calls.len() - 1;
        let is_one_enough = is_reading || last < MANY;
        let places =
            if is_one_enough { [cases.len() % calls.len()].into() } else { BTreeSet::from([0, last / 2, last]) };
        for place in places {
            let faults = faults(&calls[place]);
            cases.push((calls[place].clone(), faults[cases.len() % faults.len()]));
        }
    }
    cases
}

// === the runs

struct Scene {
    name: &'static str,
    /// What is there before.
    before: tempfile::TempDir,
    /// Where the process works, each time anew: paths are the same in all runs.
    place: tempfile::TempDir,
}

impl Scene {
    fn new(name: &'static str) -> Self {
        let [before, place] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        Self { name, before, place }
    }

    fn at(&self) -> PathBuf {
        self.place.path().join("plant")
    }

    fn trace(&self) -> PathBuf {
        self.place.path().join("trace")
    }

    /// Runs the process under `strace`: what it says, and whether it was killed.
    async fn run(&self, strace: &[&str]) -> (Vec<String>, bool) {
        if self.at().exists() {
            fs::remove_dir_all(self.at()).unwrap();
        }
        copy_dir(self.before.path(), &self.at());
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-s", "8", "-o"]).arg(self.trace()).args(strace);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", PROCESS, "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(SCENE, self.name).env(DIRECTORY, self.at()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Guard::spawn(&mut command).unwrap();
        let ended = wait::until("the end of the process", async || process.0.try_wait().ok().flatten()).await.unwrap();
        let mut text = String::new();
        process.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let told: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(SAYS).map(str::to_owned)).collect();
        let is_killed = ended.signal() == Some(SIGKILL);
        let has_ended = told.last().is_some_and(|last| last.starts_with("ended "));
        assert!(if is_killed { !has_ended } else { ended.success() && has_ended }, "{strace:?}: {ended}\n{text}");
        (told, is_killed)
    }

    /// Lets each of the cases fail. `check` looks at what is there afterwards.
    async fn play(&self, check: impl AsyncFn(&Path, &[String], &str)) {
        let traced = format!("--trace={WRITING},{READING}");
        let (told, _) = self.run(&["--seccomp-bpf", "-y", &traced]).await;
        assert_eq!(told.last().map(String::as_str), Some("ended "), "{told:?}");
        check(&self.at(), &told, "nothing failed").await;
        let at = self.at();
        let calls = calls(&fs::read_to_string(self.trace()).unwrap(), at.to_str().unwrap());
        let (all, cases) = (calls.len(), cases(calls));
        println!("{}: {} cases of {all} calls", self.name, cases.len());
        let (mut met, mut ended, mut killed) = (0, 0, 0);
        for (Call { name, path, nth, .. }, fault) in &cases {
            let what = format!("{fault} at {name} {nth} of `{path}`");
            let inject = format!("--inject={name}:{fault}:when={nth}");
            let mut strace = vec!["-D", "-P", path, "--trace", name, &inject];
            // With it `strace` stops a call at its end alone, which is too late for a signal.
            strace.extend(fault.starts_with("error").then_some("--seccomp-bpf"));
            let (told, is_killed) = self.run(&strace).await;
            let has_failed = fs::read_to_string(self.trace()).unwrap().contains("(INJECTED)");
            met += usize::from(is_killed || has_failed);
            killed += usize::from(is_killed);
            ended += usize::from(!is_killed && told.last().is_some_and(|last| last != "ended "));
            check(&self.at(), &told, &what).await;
        }
        println!("{}: {met} met, {killed} killed the process, {ended} ended it", self.name);
        // Which thread does what is not the same in all runs.
        assert!(met * 10 >= cases.len() * 8, "{met} of {} calls were met", cases.len());
        assert!(killed > 0 && ended > 0 && killed + ended < cases.len(), "{killed}, {ended} of {}", cases.len());
    }
}

/// The entry at `index` of what is published; `None` if it was pruned.
fn published_entry(published: &Path, size: u64, index: u64) -> Option<Vec<u8>> {
    let bundle =
        |tile: &tlog::tile::TilePath| tile.kind == tlog::tile::Kind::Entries && tile.entries().contains(&index);
    let tile = tiles_for_size(size).find(bundle).unwrap();
    let bytes = fs::read(published.join(tile.to_path())).ok()?;
    let entries = tlog::bundle::decode(&bytes).unwrap();
    Some(entries[usize::try_from(index - tile.entries().start).unwrap()].to_vec())
}

/// The next start goes on with all that was told, and nothing is wrong with what is there then.
async fn goes_on(at: &Path, told: &[String], what: &str) {
    // As a broker does before it opens its log, to ask others what they have seen of it.
    let found = audit::Stored::find(at.join("log").as_path()).await;
    found.unwrap_or_else(|error| panic!("{what}: {}", said(error)));
    let (log, _) = Log::open(options(at, 101)).await.unwrap_or_else(|error| panic!("{what}: {}", said(error)));
    let publisher = publisher(&log, at).await.unwrap_or_else(|error| panic!("{what}: {}", said(error)));
    log.seal().await;
    let size = publisher.stop().await.unwrap_or_else(|error| panic!("{what}: {}", said(error))).size;
    log.close().await;
    let (dir, published) = (at.join("log"), at.join("published"));
    let report = fsck::check(dir.as_path(), Some(published.as_path()), |_, _| {}).await.unwrap();
    assert_eq!(report.findings, [], "{what}");
    let [published_arg, key] = [published.to_str().unwrap().to_owned(), key().verifier().to_text()];
    let mut arguments = vec!["log", &published_arg, "--key", &key];
    // Whoever has a checkpoint of before finds that the log continues it.
    let kept = at.join("kept.checkpoint");
    let kept_arg = kept.to_str().unwrap().to_owned();
    if let Some(note) = told.iter().rev().find_map(|line| line.strip_prefix("published ")) {
        fs::write(&kept, serde_json::from_str::<String>(note).unwrap()).unwrap();
        arguments.extend(["--checkpoint", &kept_arg]);
    }
    let verified = process::run("millgate-verify", &arguments).unwrap();
    assert!(verified.status.success(), "{what}: {}", String::from_utf8_lossy(&verified.stdout));
    for line in told.iter().filter_map(|line| line.strip_prefix("acknowledged ")) {
        let (index, leaf) = line.split_once(' ').unwrap();
        let entry = published_entry(&published, size, index.parse().unwrap()).expect("what is new is not pruned");
        assert_eq!(leaf_hash(&entry).to_string(), leaf, "{what}: entry {index}");
    }
    if told.iter().any(|line| line == "erased") {
        for file in fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()) {
            let bytes = fs::read(&file).unwrap();
            let holds = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
            assert!(!holds, "{what}: `{}` has what was erased", file.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_file_call_of_a_new_log_may_fail_and_the_next_start_has_all_that_was_acknowledged() {
    Scene::new("begun").play(goes_on).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_file_call_of_a_log_that_is_erased_from_and_pruned_may_fail_and_the_next_start_has_the_rest() {
    let scene = Scene::new("grown");
    let at = scene.before.path();
    let (log, _) = Log::open(options(at, 0)).await.unwrap();
    let publisher = publisher(&log, at).await.unwrap();
    put_in_use(&log).await.unwrap();
    let requests: Vec<String> = (0..600).map(|n| format!("old{n}")).collect();
    for some in requests.chunks(99) {
        let appends = some.iter().map(|request| log.append(asks(&log, "acme/anna", "deny", request, SECRET)));
        assert!(futures_util::future::join_all(appends).await.iter().all(Result::is_ok));
    }
    log.seal().await;
    publisher.stop().await.unwrap();
    log.close().await;
    // A clock that is a month ahead of the last entry would not be believed.
    Log::open(options(at, 95)).await.unwrap().0.close().await;
    let (told, _) = scene.run(&["-D", "--seccomp-bpf", "--trace=mkdir"]).await;
    assert!(told.iter().any(|line| line == "pruned 512") && told.iter().any(|line| line == "erased"), "{told:?}");
    scene.play(goes_on).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_file_call_of_a_witness_may_fail_and_it_has_seen_all_that_it_may_have_signed() {
    let has_seen = async |at: &Path, told: &[String], what: &str| {
        let store = witness::Store::open(&at.join("seen")).unwrap_or_else(|error| panic!("{what}: {}", said(error)));
        let last = told.iter().filter_map(|line| line.strip_prefix("seen ")?.parse::<u64>().ok()).max().unwrap_or(0);
        let seen = store.seen(WITNESSED);
        assert!(seen.size >= last, "{what}: it has signed {last}, and has seen {}", seen.size);
        assert!(seen.size == 0 || seen.root == leaf_hash(&seen.size.to_be_bytes()), "{what}");
    };
    Scene::new("witness").play(has_seen).await;
}

#[test]
fn calls_are_told_from_a_trace() {
    let trace = r#"7 openat(AT_FDCWD</work>, "/plant/log/log.db", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 3</plant/log/log.db>
7 pwrite64(3</plant/log/log.db>, "\0\0"..., 4096, 0) = 4096
8 pwrite64(3</plant/log/log.db>, "\0\0"..., 4096, 0 <unfinished ...>
7 pwrite64(3</plant/log/log.db>, "\0\0"..., 4096, 0) = 4096
8 <... pwrite64 resumed>) = 4096
7 rename("/plant/a", "/plant/b") = 0
7 unlinkat(9</plant/tile>, "17", 0) = 0
7 openat(AT_FDCWD</work>, "/etc/passwd", O_RDONLY) = 4</etc/passwd>
7 +++ exited with 0 +++"#;
    let found = calls(trace, "/plant");
    let short: Vec<_> = found.iter().map(|call| (call.name.as_str(), call.path.as_str(), call.nth)).collect();
    let expected = [
        ("openat", "/plant/log/log.db", 1),
        ("pwrite64", "/plant/log/log.db", 1),
        ("pwrite64", "/plant/log/log.db", 2),
        ("rename", "/plant/a", 1),
        ("unlinkat", "/plant/tile", 1),
    ];
    assert_eq!(short, expected);
    assert_eq!(kind("/plant/tile/0/012.p/.88.tmp"), kind("/plant/tile/1/000.p/.2.tmp"));
}
