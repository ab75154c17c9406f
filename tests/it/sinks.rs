//! Checkpoints on another mount and at a syslog receiver: what arrives verifies, nobody waits for a sink, and the log learns
//! from what was kept that it was put back.

use acceptance::process::Guard;
use acceptance::{Plant, http, process, wait};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tlog::{Checkpoint, VerifierKey};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: (&str, &str) = ("millgate-purpose", "predictive-maintenance");

fn configured(plant: &Plant, sinks: &str) -> PathBuf {
    let config = plant.configuration("second", "").unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let origin = "origin = \"munich.example/second\"";
    std::fs::write(&config, text.replace(origin, &format!("{origin}, sinks = {{ {sinks} }}"))).unwrap();
    config
}

async fn ask(facts: &Value, plant: &Plant) -> http::Answer {
    let bearer = format!("Bearer {}", plant.token("acme"));
    let url = format!("{}{TARGET}", facts["data"].as_str().unwrap());
    http::get(&url, &[("authorization", &bearer), PURPOSE]).await.unwrap()
}

async fn ended(mut process: Guard) {
    process.signal("TERM").unwrap();
    wait::until("the end of a process", async || process.0.try_wait().ok().flatten()).await.unwrap();
}

async fn metrics(facts: &Value) -> String {
    http::get(&format!("{}/metrics", facts["operator"].as_str().unwrap()), &[]).await.unwrap().text()
}

fn published(plant: &Plant) -> Checkpoint {
    let note = std::fs::read_to_string(plant.directory.path().join("second/published/checkpoint")).unwrap();
    Checkpoint::parse(note.split_once("\n\n").map(|(text, _)| format!("{text}\n")).as_deref().unwrap()).unwrap()
}

/// Messages with their octets counted.
async fn frames<S: AsyncRead + Unpin>(stream: S, to: mpsc::UnboundedSender<String>) {
    let mut stream = BufReader::new(stream);
    let mut length = Vec::new();
    while stream.read_until(b' ', &mut length).await.is_ok_and(|n| n > 0) {
        let count: usize = std::str::from_utf8(&length).unwrap().trim_end().parse().unwrap();
        let mut message = vec![0; count];
        stream.read_exact(&mut message).await.unwrap();
        to.send(String::from_utf8(message).unwrap()).unwrap();
        length.clear();
    }
}

/// A receiver: its URL, and what it gets.
async fn receiver(scheme: &str, directory: &Path) -> (String, mpsc::UnboundedReceiver<String>) {
    let (to, messages) = mpsc::unbounded_channel();
    if scheme == "udp" {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut bytes = vec![0; 65_536];
            while let Ok(n) = socket.recv(&mut bytes).await {
                to.send(String::from_utf8(bytes[..n].to_vec()).unwrap()).unwrap();
            }
        });
        return (format!("udp://{address}"), messages);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![String::from("localhost")]).unwrap().self_signed(&key).unwrap();
    std::fs::write(directory.join("siem.pem"), certificate.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let is_tls = scheme == "tls";
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (to, acceptor) = (to.clone(), acceptor.clone());
            tokio::spawn(async move {
                if is_tls {
                    frames(acceptor.accept(stream).await.unwrap(), to).await;
                } else {
                    frames(stream, to).await;
                }
            });
        }
    });
    (format!("{scheme}://localhost:{port}"), messages)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_checkpoint_gets_to_the_mount_and_to_syslog_as_it_was_signed() {
    let plant = Plant::start().await.unwrap();
    for scheme in ["udp", "tcp", "tls"] {
        let directory = plant.directory.path();
        let _ = std::fs::remove_dir_all(directory.join("second"));
        let kept = directory.join(format!("mount-{scheme}"));
        std::fs::create_dir(&kept).unwrap();
        let (url, mut messages) = receiver(scheme, directory).await;
        let ca = if scheme == "tls" { ", syslog_ca_file = \"siem.pem\"" } else { "" };
        let sinks = format!("directories = [\"mount-{scheme}\"], syslog = \"{url}\"{ca}");
        let config = configured(&plant, &sinks);
        let (broker, facts) = process::serve(&config, "").unwrap();
        assert_eq!(ask(&facts, &plant).await.status, 200);
        let key = VerifierKey::parse(facts["log_key"].as_str().unwrap()).unwrap();
        let first = tokio::time::timeout(std::time::Duration::from_secs(20), messages.recv()).await.unwrap().unwrap();
        let text = wait::until("a metric", async || {
            let text = metrics(&facts).await;
            let kept = format!("millgate_audit_sink_checkpoints_total{{sink=\"{url}\",result=\"kept\"}} ");
            (text.contains(&kept) && !text.contains(&format!("{kept}0"))).then_some(text)
        })
        .await
        .unwrap();
        assert!(text.contains("millgate_audit_sink_entries{sink="), "{text}");
        // The last one, over the end of the log, gets there too before the process is gone.
        ended(broker).await;
        let last = published(&plant);
        let mut all = vec![first];
        let seen = wait::until("the last checkpoint", async || {
            while let Ok(message) = messages.try_recv() {
                all.push(message);
            }
            let mut notes = all.iter().map(|message| {
                assert!(message.starts_with("<109>1 20") && message.is_ascii(), "{message}");
                let json: Value = serde_json::from_str(message.split_once(" checkpoint - ").unwrap().1).unwrap();
                Checkpoint::open(json["note"].as_str().unwrap(), &key).unwrap()
            });
            notes.next_back().filter(|checkpoint| checkpoint.size == last.size)
        })
        .await
        .unwrap();
        assert_eq!(seen.root, last.root);
        let files: Vec<_> = std::fs::read_dir(&kept).unwrap().map(|file| file.unwrap().path()).collect();
        let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let note = std::fs::read_to_string(directory.join("second/published/checkpoint")).unwrap();
        assert!(text.ends_with(&note), "{text}");
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_and_one_that_is_missing_hold_nobody_up() {
    let plant = Plant::start().await.unwrap();
    // Takes connections and never says a word of TLS.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tls://localhost:{}", silent.local_addr().unwrap().port());
    let config = configured(&plant, &format!("directories = [\"mount/not-there\"], syslog = \"{url}\""));
    let check = process::run("millgate", &["check", "--config", config.to_str().unwrap()]).unwrap();
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.code() == Some(1) && text.contains("not-there` is not there; help: mount it"), "{text}");
    let (broker, facts) = process::serve(&config, "").unwrap();
    let mut sizes = std::collections::BTreeSet::new();
    let text = wait::until("a failure of both while checkpoints go on", async || {
        assert_eq!(ask(&facts, &plant).await.status, 200);
        let _ = std::fs::read_to_string(plant.directory.path().join("second/published/checkpoint"))
            .is_ok_and(|_| sizes.insert(published(&plant).size));
        let text = metrics(&facts).await;
        let failed = |sink: &str| {
            let line = text.lines().find(|line| line.contains("result=\"failed\"") && line.contains(sink));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        (failed("not-there") > 0 && failed("tls://") > 0 && sizes.len() > 4).then_some(text)
    })
    .await
    .unwrap();
    assert!(text.contains("result=\"kept\"} 0"), "{text}");
    // Nor does one hold up the end.
    ended(broker).await;
    drop(silent);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_put_back_learns_it_from_what_was_kept_on_another_mount() {
    let plant = Plant::start().await.unwrap();
    let at = |name: &str| plant.directory.path().join(name);
    std::fs::create_dir(at("mount")).unwrap();
    let config = configured(&plant, "directories = [\"mount\"]");
    let (broker, facts) = process::serve(&config, "").unwrap();
    ask(&facts, &plant).await;
    ended(broker).await;
    let copy = |from: &str, to: &str| {
        let copied = Command::new("cp").args(["-a", at(from).to_str().unwrap(), at(to).to_str().unwrap()]).status();
        assert!(copied.unwrap().success());
    };
    copy("second", "kept");
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200, "what was kept is what is there");
    ended(broker).await;
    let lost = published(&plant).size;
    let note = std::fs::read_to_string(at("second/published/checkpoint")).unwrap();
    std::fs::rename(at("second"), at("newer")).unwrap();
    copy("kept", "second");
    let (broker, facts) = process::serve(&config, "").unwrap();
    let why = facts["quarantined"][0].as_str().unwrap();
    assert!(why.starts_with("the sink `") && why.contains(&format!("mount` has seen {lost} entries")), "{why}");
    assert_eq!(ask(&facts, &plant).await.reason(), "quarantined");
    ended(broker).await;
    // A mount that is gone takes nothing back.
    std::fs::rename(at("mount"), at("unmounted")).unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.reason(), "quarantined");
    ended(broker).await;
    std::fs::rename(at("unmounted"), at("mount")).unwrap();
    let (name, config) = ("munich.example/second.2", config.to_str().unwrap());
    let arguments = ["audit", "incarnate", "--config", config, "--origin", name, "--reason", "the disk failed"];
    let done = process::run("millgate", &arguments).unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = std::fs::read_to_string(config).unwrap();
    std::fs::write(config, text.replace("munich.example/second\"", "munich.example/second.2\"")).unwrap();
    let (broker, facts) = process::serve(Path::new(config), "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    let first =
        wait::until("the first entry", async || acceptance::entries(&at("second/published")).ok()?.into_iter().next());
    let first = first.await.unwrap();
    assert_eq!((&first["seen"][0]["size"], &first["seen"][0]["checkpoint"]), (&lost.into(), &note.into()));
    drop(broker);
    plant.stop().await;
}

/// The code of a page, drawn with four pixels a module as its SVG says, and read by a program that is not ours.
fn scanned(page: &str) -> Vec<u8> {
    let path = page.split("fill=\"#000\" d=\"").nth(1).unwrap().split('"').next().unwrap();
    let modules: usize = page.split("viewBox=\"0 0 ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let (scale, side) = (4, modules * 4);
    let mut pixels = vec![255_u8; side * side];
    for run in path.split('M').skip(1) {
        let (at, run) = run.split_once('h').unwrap();
        let (x, y) = at.split_once(' ').unwrap();
        let run: usize = run.split('v').next().unwrap().parse().unwrap();
        let (x, y): (usize, usize) = (x.parse().unwrap(), y.parse().unwrap());
        for line in y * scale..(y + 1) * scale {
            pixels[line * side + x * scale..][..run * scale].fill(0);
        }
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(tests.join(".tools/venv/bin/python"));
    command.arg(tests.join("verifiers/qr.py")).args([side.to_string(), side.to_string()]);
    let mut reader = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    reader.stdin.take().unwrap().write_all(&pixels).unwrap();
    let read = reader.wait_with_output().unwrap();
    assert!(read.status.success());
    read.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printed_checkpoint_is_read_from_its_code_and_finds_a_log_that_was_cut() {
    let plant = Plant::start().await.unwrap();
    let at = |name: &str| plant.directory.path().join(name);
    let config = plant.configuration("second", "").unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    let key = facts["log_key"].as_str().unwrap();
    ended(broker).await;
    let copied =
        Command::new("cp").args(["-a", at("second").to_str().unwrap(), at("older").to_str().unwrap()]).status();
    assert!(copied.unwrap().success());
    let (broker, facts) = process::serve(&config, "").unwrap();
    ask(&facts, &plant).await;
    ended(broker).await;
    let (published, page) = (at("second/published"), at("page.html"));
    let print = |key: &str| {
        let (from, to) = (published.to_str().unwrap(), page.to_str().unwrap());
        process::run("millgate", &["audit", "print-checkpoint", "--published", from, "--key", key, "--out", to])
            .unwrap()
    };
    let printed = print(key);
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let note = scanned(&std::fs::read_to_string(&page).unwrap());
    assert_eq!(note, std::fs::read(published.join("checkpoint")).unwrap(), "byte for byte");
    let scan = at("scanned.checkpoint");
    std::fs::write(&scan, &note).unwrap();
    let verify = |dir: &Path| {
        let arguments = ["log", dir.to_str().unwrap(), "--key", key, "--checkpoint", scan.to_str().unwrap()];
        process::run("millgate-verify", &arguments).unwrap().status.code()
    };
    assert_eq!(verify(&published), Some(0));
    assert_eq!(verify(&at("older/published")), Some(1), "paper remembers");
    // What another key signed is not printed.
    let other = tlog::SigningKey::generate("munich.example/second", [3; 32]).unwrap().verifier().to_text();
    assert_eq!(print(&other).status.code(), Some(2));
    plant.stop().await;
}

/// An S3 store of another make, that checks signatures by a third one.
struct Bucket {
    folder: tempfile::TempDir,
    address: String,
    _process: Guard,
}

impl Bucket {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "only for tests\n").unwrap();
        std::fs::write(folder.path().join("requests"), "").unwrap();
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(tests.join(".tools/venv/bin/python"));
        command.arg(tests.join("receivers/s3.py")).arg(folder.path());
        let mut process = Guard(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(process.0.stdout.take().unwrap()), &mut line).unwrap();
        Self { folder, address: format!("http://127.0.0.1:{}", line.trim()), _process: process }
    }

    fn section(&self, bucket: &str) -> String {
        let secret = self.folder.path().join("secret");
        format!(
            "s3 = {{ endpoint = \"{}\", bucket = \"{bucket}\", region = \"eu-central-1\", prefix = \"plant/munich/\", retain = \"30d\", \
             access_key_id = \"broker\", secret_access_key = {{ file = \"{}\" }}, interval = \"1s\" }}",
            self.address,
            secret.display()
        )
    }

    /// As the owner of the account, who may do everything that a bucket allows.
    async fn owner(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> http::Answer {
        let url = format!("{}/locked{path}", self.address);
        let headers = [&[("x-test-owner", "1")], headers].concat();
        http::send(method, &url, &headers, body.to_vec().into()).await.unwrap()
    }

    /// Names and versions of what is there, the largest first.
    async fn versions(&self) -> Vec<(String, String)> {
        let text = self.owner("GET", "?versions", &[], b"").await.text();
        let of = |part: &str, name: &str| part.split(&format!("<{name}>")).nth(1)?.split('<').next().map(str::to_owned);
        text.split("<Version>").skip(1).filter_map(|part| Some((of(part, "Key")?, of(part, "VersionId")?))).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_in_a_locked_bucket_cannot_be_taken_away_and_find_a_log_that_was_put_back() {
    let plant = Plant::start().await.unwrap();
    let bucket = Bucket::start();
    let at = |name: &str| plant.directory.path().join(name);
    let config = configured(&plant, &bucket.section("locked"));
    let check = process::run("millgate", &["check", "--config", config.to_str().unwrap()]).unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    wait::until("a checkpoint that is kept", async || (!bucket.versions().await.is_empty()).then_some(()))
        .await
        .unwrap();
    let text = wait::until("the metric", async || {
        let text = metrics(&facts).await;
        text.contains("sink=\"s3://locked/plant/munich/\",result=\"kept\"} 1").then_some(text)
    });
    text.await.unwrap();
    ended(broker).await;
    // The last one is kept on the way out, whatever the interval says.
    let (name, version) = bucket.versions().await.remove(0);
    assert_eq!(
        name,
        format!(
            "plant/munich/munich.example%2Fsecond/{:020}.{:020}",
            u64::MAX - published(&plant).size,
            published(&plant).size
        )
    );
    // Not even the owner takes it away, and what sorts before it hides nothing.
    let path = format!("/{}", name.replace('%', "%25"));
    let taken = bucket
        .owner("DELETE", &format!("{path}?versionId={version}"), &[("x-amz-bypass-governance-retention", "true")], b"")
        .await;
    assert_eq!(taken.status, 403, "{}", taken.text());
    // That goes for what cannot be read, too: too large for a note, or refused.
    let first = |n: u64| format!("/plant/munich/munich.example%252Fsecond/{n:020}.{:020}", u64::MAX - n);
    let large = vec![b'a'; 65 * 1024];
    for (n, body) in [(5, &b"refused"[..]), (6, &large), (7, b"nothing")] {
        assert_eq!(bucket.owner("PUT", &first(n), &[], body).await.status, 200);
    }
    std::fs::write(bucket.folder.path().join("refused"), format!("{:020}.", 5)).unwrap();

    let copy = |from: &str, to: &str| {
        let copied = Command::new("cp").args(["-a", at(from).to_str().unwrap(), at(to).to_str().unwrap()]).status();
        assert!(copied.unwrap().success());
    };
    copy("second", "kept");
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200, "what was kept is what is there");
    ended(broker).await;
    let lost = published(&plant).size;
    std::fs::rename(at("second"), at("newer")).unwrap();
    copy("kept", "second");
    let (broker, facts) = process::serve(&config, "").unwrap();
    let why = facts["quarantined"][0].as_str().unwrap();
    assert!(
        why.contains("the sink `s3://locked/plant/munich/`") && why.contains(&format!("has seen {lost} entries")),
        "{why}"
    );
    ended(broker).await;
    // The newer copy ends it.
    std::fs::rename(at("second"), at("older")).unwrap();
    std::fs::rename(at("newer"), at("second")).unwrap();
    std::fs::copy(at("older/quarantine.json"), at("second/quarantine.json")).unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    ended(broker).await;
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_locks_nothing_refuses_or_is_down_is_a_sink_that_fails_and_holds_nobody_up() {
    let plant = Plant::start().await.unwrap();
    let bucket = Bucket::start();
    let failed = async |facts: &Value, sink: &str| {
        let text = metrics(facts).await;
        let line = text.lines().find(|line| line.contains("result=\"failed\"") && line.contains(sink));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).filter(|n| *n > 0)
    };
    let config = configured(&plant, &bucket.section("plain"));
    let (broker, facts) = process::serve(&config, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    wait::until("a bucket without locks", async || failed(&facts, "s3://plain").await).await.unwrap();
    ended(broker).await;
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("bucket = \"plain\"", "bucket = \"locked\"")).unwrap();
    // A secret that is another one, then the right one, which is read without a start; then a store that is down.
    std::fs::write(bucket.folder.path().join("secret"), "only for tests").unwrap();
    let secret = plant.directory.path().join("other.secret");
    std::fs::write(&secret, "another").unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let of_bucket = bucket.folder.path().join("secret").display().to_string();
    std::fs::write(&config, text.replace(&of_bucket, secret.to_str().unwrap())).unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    wait::until("a refusal", async || {
        assert_eq!(ask(&facts, &plant).await.status, 200);
        failed(&facts, "s3://locked").await
    })
    .await
    .unwrap();
    std::fs::write(&secret, "only for tests").unwrap();
    wait::until("a checkpoint that is kept", async || {
        assert_eq!(ask(&facts, &plant).await.status, 200);
        (!bucket.versions().await.is_empty()).then_some(())
    })
    .await
    .unwrap();
    std::fs::write(bucket.folder.path().join("down"), "").unwrap();
    let before = failed(&facts, "s3://locked").await.unwrap();
    wait::until("a failure more", async || {
        assert_eq!(ask(&facts, &plant).await.status, 200);
        failed(&facts, "s3://locked").await.filter(|now| *now > before)
    })
    .await
    .unwrap();
    ended(broker).await;
    plant.stop().await;
}
