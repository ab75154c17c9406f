//! Mounts become read-only under a running broker, in a mount namespace of its own: published files, and the file system of the store, as the
//! kernel makes it when it has met an error. Requests go on, or nobody is answered without a record.
//!
//! For the store it takes root and a loop device: nothing else makes a file system read-only while a file of it is open for writing. Where that
//! is not allowed the tests say so, and `file_faults` has the error alone.

use acceptance::process::{self, Guard};
use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, wait};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

/// Mounts that only those see who are let in. They end with this value.
struct Apart {
    keeper: Guard,
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|file| file.uid() == 0)
}

impl Apart {
    /// With the mounts that `script` makes; its arguments are `$1` and so on. `None`, and why, where that is not allowed.
    fn with(script: &str, arguments: &[&Path]) -> Option<Self> {
        let mut command = Command::new("unshare");
        command.arg(if is_root() { "-m" } else { "-rm" });
        command.args(["sh", "-c", &format!("set -e; {script}\necho made; exec cat"), "sh"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut keeper = Guard(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(keeper.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line == "made\n" {
            return Some(Self { keeper });
        }
        let why = std::io::read_to_string(keeper.0.stderr.take().unwrap()).unwrap();
        println!("skipped: mounts cannot be made here: {}", why.trim_end());
        None
    }

    /// Of those who are let in.
    fn enter(&self) -> Vec<String> {
        let (target, user) = (self.keeper.0.id().to_string(), ["-U", "--preserve-credentials"].map(String::from));
        let mut words = vec![String::from("nsenter"), String::from("-t"), target, String::from("-m")];
        words.extend(user.into_iter().filter(|_| !is_root()));
        words
    }

    /// Runs a script there: whether it succeeded, and what it said.
    fn run(&self, script: &str, arguments: &[&Path]) -> (Option<i32>, String) {
        let enter = self.enter();
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).args(["sh", "-c", script, "sh"]).args(arguments);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code(), said.concat())
    }

    /// Tries until it succeeds: a file may be open for writing at the moment.
    async fn until(&self, script: &str, arguments: &[&Path]) {
        wait::until(script, async || (self.run(script, arguments).0 == Some(0)).then_some(())).await.unwrap();
    }

    fn serve(&self, config: &Path) -> (Guard, Value) {
        let inside = "sh -c 'exec \"$0\" serve --json --config \"$1\"' \"$0\" \"$1\"";
        process::serve(config, &format!("exec {} {inside};", self.enter().join(" "))).unwrap()
    }

    /// A start that comes to nothing.
    fn does_not_serve(&self, config: &Path) -> String {
        let executable = process::executable("millgate").unwrap();
        let (code, said) = self.run("exec \"$1\" serve --json --config \"$2\"", &[&executable, config]);
        assert!(matches!(code, Some(1 | 2)) && !said.contains("\"data\""), "{code:?} {said}");
        said
    }

    /// The same file, as whoever is not let in reaches it.
    fn seen(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.keeper.0.id(), path.display()))
    }
}

async fn ended(mut broker: Guard) -> Option<i32> {
    wait::until("the end of the broker", async || broker.0.try_wait().ok().flatten()).await.unwrap().code()
}

async fn stop(broker: Guard) {
    broker.signal("TERM").unwrap();
    assert_eq!(ended(broker).await, Some(0));
}

async fn ask(facts: &Value, bearer: &str) -> anyhow::Result<http::Answer> {
    let headers = [("authorization", bearer), ("millgate-purpose", "predictive-maintenance")];
    http::get(&format!("{}{TARGET}", facts["data"].as_str().unwrap()), &headers).await
}

/// Everything that was answered, and that the source was asked for, has a record, and nothing is wrong with that.
fn is_recorded(published: &Path, key: &str, whole: &BTreeSet<String>, source: &Source) {
    let entries = acceptance::entries(published).unwrap();
    let allowed = entries.iter().filter(|e| e["kind"] == "decision" && e["decision"] == "allow");
    let allowed: BTreeSet<String> = allowed.map(|e| e["request"].as_str().unwrap().to_owned()).collect();
    let heads = source.heads();
    let asked = heads.iter().filter_map(|head| head.lines().find_map(|l| l.strip_prefix("millgate-request-id: ")));
    let unrecorded: Vec<_> =
        asked.chain(whole.iter().map(String::as_str)).filter(|id| !allowed.contains(*id)).collect();
    assert!(unrecorded.is_empty(), "without a record: {unrecorded:?}");
    assert_eq!(entries.iter().filter(|e| e["kind"] == "outcome").count(), allowed.len(), "one outcome each");
    let verified = process::run("millgate-verify", &["log", published.to_str().unwrap(), "--key", key]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn published_files_that_become_read_only_stop_nobody_and_are_made_up_for_and_such_a_store_is_not_opened() {
    let source = Source::start(None, Behaviour::Say(OK.to_vec())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let config = plant.configuration("mounted", "").unwrap();
    let (log, published) = (plant.directory.path().join("mounted"), plant.directory.path().join("mounted/published"));
    std::fs::create_dir(&log).unwrap();
    let mounts = "mount -t tmpfs none \"$1\"; mkdir \"$2\"; mount -t tmpfs none \"$2\"";
    let Some(apart) = Apart::with(mounts, &[&log, &published]) else { return plant.stop().await.close().unwrap() };
    let bearer = format!("Bearer {}", plant.token("acme"));
    let (broker, facts) = apart.serve(&config);
    let key = facts["log_key"].as_str().unwrap().to_owned();
    let mut whole = BTreeSet::new();
    let mut answered = async |facts: &Value| {
        let answer = ask(facts, &bearer).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        whole.insert(answer.request_id().to_owned());
    };
    let checkpoint = || {
        let note = std::fs::read_to_string(apart.seen(&published.join("checkpoint"))).ok()?;
        note.lines().nth(1)?.parse::<u64>().ok()
    };
    answered(&facts).await;
    wait::until("a checkpoint", async || checkpoint()).await.unwrap();

    apart.until("mount -o remount,bind,ro \"$1\"", &[&published]).await;
    let before = checkpoint();
    answered(&facts).await;
    let failures = wait::until("a round that fails", async || {
        answered(&facts).await;
        let text = http::get(&format!("{}/metrics", facts["operator"].as_str().unwrap()), &[]).await.ok()?.text();
        let line = text.lines().find(|line| line.starts_with("millgate_audit_publish_failures_total"))?.to_owned();
        line.rsplit(' ').next()?.parse::<u64>().ok().filter(|failures| *failures > 0)
    });
    failures.await.unwrap();
    assert_eq!(checkpoint(), before);
    apart.until("mount -o remount,bind,rw \"$1\"", &[&published]).await;
    wait::until("a later checkpoint", async || (checkpoint() > before).then_some(())).await.unwrap();
    stop(broker).await;

    // The store, while nobody has it: what cannot be written is not opened.
    apart.until("mount -o remount,bind,ro \"$1\"", &[&log]).await;
    let said = apart.does_not_serve(&config);
    assert!(said.contains("Read-only file system") || said.contains("readonly"), "{said}");
    apart.until("mount -o remount,bind,rw \"$1\"", &[&log]).await;
    let (broker, facts) = apart.serve(&config);
    answered(&facts).await;
    stop(broker).await;
    is_recorded(&apart.seen(&published), &key, &whole, &source);
    plant.stop().await;
}

/// As `ext4` itself does it. Only ever a loop device: the others are not this test's.
const FAIL: &str = "device=$(findmnt -n -o SOURCE \"$1\"); name=${device#/dev/}
    case $name in loop[0-9]*) echo test >\"/sys/fs/ext4/$name/trigger_fs_error\" || exit 2;; *) exit 9;; esac
    if touch \"$1/anything\" 2>/dev/null; then exit 8; fi";

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_file_system_becomes_read_only_ends_the_broker_and_the_next_start_has_all_that_was_acknowledged()
{
    let source = Source::start(None, Behaviour::Say(OK.to_vec())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let config = plant.configuration("failed", "").unwrap();
    let (log, image) = (plant.directory.path().join("failed"), plant.directory.path().join("failed.image"));
    std::fs::create_dir(&log).unwrap();
    let mount = "mount -o loop,errors=remount-ro \"$2\" \"$1\"";
    let mounts = format!("truncate -s 64M \"$2\"; mkfs.ext4 -q \"$2\"; {mount}");
    let Some(apart) = Apart::with(&mounts, &[&log, &image]) else { return plant.stop().await.close().unwrap() };
    let bearer = format!("Bearer {}", plant.token("acme"));
    let (broker, facts) = apart.serve(&config);
    let key = facts["log_key"].as_str().unwrap().to_owned();
    let mut whole = BTreeSet::new();
    for _ in 0..10 {
        let answer = ask(&facts, &bearer).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        whole.insert(answer.request_id().to_owned());
    }
    let (code, said) = apart.run(FAIL, &[&log]);
    assert!(matches!(code, Some(0 | 2)), "{code:?} {said}");
    if code == Some(2) {
        println!("skipped: no file system can be made to fail here: {said}");
        stop(broker).await;
        plant.stop().await;
        return;
    }
    while let Ok(answer) = ask(&facts, &bearer).await {
        assert!(matches!(answer.status, 200 | 503), "{}", answer.status);
        if answer.status == 200 {
            whole.insert(answer.request_id().to_owned());
        }
    }
    assert_eq!(ended(broker).await, Some(1), "it ends by itself");
    let said = apart.does_not_serve(&config);
    assert!(said.contains("Read-only file system") || said.contains("readonly"), "{said}");

    apart.until(&format!("umount \"$1\" && {mount}"), &[&log, &image]).await;
    let (broker, facts) = apart.serve(&config);
    let answer = ask(&facts, &bearer).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    whole.insert(answer.request_id().to_owned());
    stop(broker).await;
    is_recorded(&apart.seen(&log.join("published")), &key, &whole, &source);
    plant.stop().await;
}
