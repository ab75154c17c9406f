//! The log as other programs read it: files for their tables, and a stream for a SIEM, each read by a program not ours.

use acceptance::command::text;
use acceptance::process::{self, Guard};
use acceptance::{Plant, http, wait};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: [(&str, &str); 1] = [("millgate-purpose", "predictive-maintenance")];
const SD_ID: &str = "millgate@32473";

fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/venv/bin/python")
}

fn receiver(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("receivers").join(name)
}

fn millgate(plant: &Plant, arguments: &[&str]) -> Command {
    let mut command = Command::new(process::executable("millgate").unwrap());
    command.arg("audit").args(arguments).args(["--url", &plant.api(), "--token-file"]);
    command.arg(plant.demo.home.token("auditor"));
    command
}

fn output(command: &mut Command) -> Output {
    tokio::task::block_in_place(|| command.output().unwrap())
}

fn asked(plant: &Plant, arguments: &[&str]) -> String {
    let output = output(&mut millgate(plant, arguments));
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What a program that is not ours makes of it, as JSON.
fn read_by(script: &str, arguments: &[&str], input: &str) -> Value {
    let mut command = Command::new(python());
    command.arg(receiver(script)).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = tokio::task::block_in_place(|| process.wait_with_output().unwrap());
    assert!(output.status.success(), "`{script}` failed; `bash tests/tools/install` installs what it needs");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Entries of every sort that a plant writes by itself.
async fn busy(plant: &Plant, times: usize) {
    for _ in 0..times {
        plant.get("acme", TARGET, &PURPOSE).await.unwrap();
        plant.get("acme", &TARGET.replace("1m", "1s"), &PURPOSE).await.unwrap();
        plant.get("bolt", TARGET, &PURPOSE).await.unwrap();
    }
    plant.get("acme", "/parts/acme?limit=2", &[("millgate-purpose", "quality-analysis")]).await.unwrap();
    let stranger = format!("{}{TARGET}", plant.data());
    let mut token = plant.token("acme").to_owned();
    token.replace_range(token.len() - 8.., "AAAAAAAA");
    let answer = http::get(&stranger, &[("authorization", &format!("Bearer {token}"))]).await.unwrap();
    assert_eq!(answer.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_read_by_programs_that_are_not_ours() {
    let plant = Plant::start().await.unwrap();
    busy(&plant, 5).await;
    let at = |name: &str| plant.directory.path().join(name).to_str().unwrap().to_owned();

    // OCSF, judged by its own schema, over several pages.
    let events = asked(&plant, &["query", "--all", "--limit", "7", "--format", "ocsf"]);
    let verdict = read_by("ocsf.py", &[], &events);
    assert_eq!(verdict["problems"], serde_json::json!([]), "{verdict:#}");
    for class in ["6005", "6003", "3002", "3004", "6002"] {
        assert!(verdict["classes"][class].as_u64() > Some(0), "no event of class {class}: {verdict}");
    }
    let outcomes: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &Value| event["metadata"]["event_code"] == "outcome" && event["class_uid"] == 6005)
        .collect();
    assert!(!outcomes.is_empty() && outcomes.iter().all(|o| o["actor"]["user"]["name"] == "acme/engineer-1"));
    let wrong = events.replacen("\"activity_id\":", "\"activity_id\":7000,\"colour\":", 1);
    assert_ne!(read_by("ocsf.py", &[], &wrong)["problems"], serde_json::json!([]), "the schema finds faults");

    // Parquet, read by DuckDB.
    let file = at("log.parquet");
    let to_file = ["query", "--all", "--limit", "2", "--oldest-first", "--format", "parquet", "--out", &file];
    asked(&plant, &to_file);
    let table = read_by("parquet.py", &[&file], "");
    assert_eq!(table["columns"]["time"], "TIMESTAMP WITH TIME ZONE");
    assert_eq!((&table["columns"]["index"], &table["columns"]["policies"]), (&"BIGINT".into(), &"VARCHAR[]".into()));
    assert_eq!(table["compression"], serde_json::json!(["ZSTD"]));
    let rows = table["rows"].as_array().unwrap();
    assert!(rows.len() > 20, "{}", rows.len());
    for (row, index) in rows.iter().zip(0..) {
        assert_eq!(row["index"], index, "each entry once, in order, over all pages");
        let entry = row["entry"].as_str().unwrap();
        let leaf = model::canonical::hex(&tlog::leaf_hash(entry.as_bytes()).0);
        assert_eq!((&row["leaf_hash"], &row["origin"]), (&leaf.into(), &"munich.example/millgate-demo".into()));
        let entry: Value = serde_json::from_str(entry).unwrap();
        let time = model::Timestamp::parse_rfc3339(entry["time"].as_str().unwrap()).unwrap();
        assert_eq!((&row["time"], &row["kind"]), (&time.millis().into(), &entry["kind"]));
    }
    assert!(rows.iter().any(|row| row["principal"] == "acme/engineer-1"));

    // CSV, read by Python; nothing is written over.
    let file = at("log.csv");
    let to_file = ["query", "--all", "--kind", "decision", "--format", "csv", "--out", &file];
    asked(&plant, &to_file);
    let again = output(&mut millgate(&plant, &to_file));
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
    assert!(text(&again.stderr).contains("`--force`"), "{}", text(&again.stderr));
    asked(&plant, &[&to_file[..], &["--force"]].concat());
    let mut command = Command::new(python());
    let script = "import csv, json, sys; print(json.dumps(list(csv.DictReader(open(sys.argv[1], newline='')))))";
    command.args(["-c", script, &file]);
    let rows: Vec<BTreeMap<String, String>> = serde_json::from_slice(&output(&mut command).stdout).unwrap();
    assert!(rows.len() > 10 && rows.iter().all(|row| row["kind"] == "decision" && row.len() == 36), "{rows:?}");

    // Whoever has had enough has had enough: no failure, and no further reading.
    for format in ["csv", "ocsf", "table"] {
        let readings = plant.audit("kind=audit_read&limit=1000").await.unwrap().len();
        let mut command = millgate(&plant, &["query", "--all", "--limit", "2", "--format", format]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(process.stdout.take());
        let output = tokio::task::block_in_place(|| process.wait_with_output().unwrap());
        assert!(output.status.success(), "{format}: {}", text(&output.stderr));
        let later = plant.audit("kind=audit_read&limit=1000").await.unwrap().len();
        assert!(format != "ocsf" || later - readings <= 3, "{readings} {later}");
    }

    // What makes no sense says so.
    for (arguments, why) in [
        (&["query", "--format", "parquet"][..], "name one with `--out`"),
        (&["query", "--format", "svg"], "is for summaries"),
        (&["summary", "--format", "cef"], "is for entries"),
        (&["query", "--format", "xml"], "there are table, json"),
        (&["query", "--format", "csv", "--json"], "cannot be used with"),
    ] {
        let refused = output(&mut millgate(&plant, arguments));
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(text(&refused.stderr).contains(why), "{arguments:?}: {}", text(&refused.stderr));
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_is_a_chart_and_a_table_of_other_programs() {
    let plant = Plant::start().await.unwrap();
    busy(&plant, 3).await;
    let at = |name: &str| plant.directory.path().join(name).to_str().unwrap().to_owned();
    let svg = asked(&plant, &["summary", "--by", "day,organisation", "--format", "svg"]);
    let mut command = Command::new(python());
    let script = "import sys, xml.etree.ElementTree as t; r = t.fromstring(sys.argv[1]); n = '{http://www.w3.org/2000/svg}'; \
                  print(r.tag == n + 'svg', len(r.findall(n + 'title')), len(r.findall(n + 'desc')), \
                  sum('acme' in (e.text or '') for e in r.iter(n + 'title')) > 0)";
    command.args(["-c", script, &svg]);
    assert_eq!(text(&output(&mut command).stdout).trim(), "True 1 1 True", "{svg}");
    let report = asked(&plant, &["report", "volume", "--format", "svg", "--measure", "bytes"]);
    assert!(report.contains("<title id=\"chart-title\">How much left the plant</title>"), "{report}");

    let file = at("summary.parquet");
    asked(&plant, &["summary", "--by", "organisation,decision", "--format", "parquet", "--out", &file]);
    let table = read_by("parquet.py", &[&file], "");
    let json: Value =
        serde_json::from_str(&asked(&plant, &["summary", "--by", "organisation,decision", "--json"])).unwrap();
    let of_acme = |row: &&Value| row["organisation"] == "acme" && row["decision"] == "allow";
    let in_parquet = table["rows"].as_array().unwrap().iter().find(of_acme).unwrap();
    let in_json =
        json["rows"].as_array().unwrap().iter().find(|row| row["group"] == serde_json::json!(["acme", "allow"]));
    assert_eq!(in_parquet["decisions"], in_json.unwrap()["decisions"]);
    plant.stop().await;
}

/// A receiver in another language, on a port of the system's choice or the same as before.
fn listen(port: u16, file: &Path, tls: &[&Path]) -> (Guard, u16) {
    let mut command = Command::new(python());
    command.arg(receiver("syslog.py")).arg(port.to_string()).arg(file).args(tls).stdout(Stdio::piped());
    let mut process = Guard::spawn(&mut command).unwrap();
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (process, line.trim().parse().expect("the receiver did not start"))
}

/// Messages that were received, each of which the receiver could parse, by index.
fn received(file: &Path) -> BTreeMap<u64, Value> {
    let all = std::fs::read_to_string(file).unwrap_or_default();
    // The last line may be under way.
    let whole = all.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let messages = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    messages.map(|message| (message["data"][SD_ID]["index"].as_str().unwrap().parse().unwrap(), message)).collect()
}

fn ship(plant: &Plant, to: &str, state: &Path, more: &[&str]) -> Guard {
    let mut arguments = vec!["ship", "--to", to, "--state", state.to_str().unwrap()];
    arguments.extend(more);
    Guard::spawn(&mut millgate(plant, &arguments)).unwrap()
}

/// Waits until everything that the log has now was received.
async fn caught_up(plant: &Plant, file: &Path) -> BTreeMap<u64, Value> {
    let size = plant.demo.running.broker.log.size();
    let all = async || Some(received(file)).filter(|all| (0..size).all(|index| all.contains_key(&index)));
    wait::until("everything to be received", all).await.unwrap()
}

/// Whether a connection to `port` holds bytes that its receiver has not read (proc(5), /proc/net/tcp).
fn is_unread(port: u16) -> bool {
    const LISTENING: &str = "0A";
    let local = format!(":{port:04X}");
    std::fs::read_to_string("/proc/net/tcp").unwrap().lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let waiting = columns[4].split(':').nth(1).and_then(|bytes| u64::from_str_radix(bytes, 16).ok());
        columns[1].ends_with(&local) && columns[3] != LISTENING && waiting > Some(0)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_receiver_or_the_shipper_is_killed() {
    let plant = Plant::start().await.unwrap();
    let (file, state) = (plant.directory.path().join("received"), plant.directory.path().join("siem.state"));
    busy(&plant, 20).await;
    let (mut receiver, port) = listen(0, &file, &[]);
    let to = format!("syslog+tcp://127.0.0.1:{port}");
    let mut shipper = ship(&plant, &to, &state, &[]);
    for round in 0..3 {
        let before = received(&file).len();
        let busily = busy(&plant, 5);
        let some = wait::until("some messages", async || (received(&file).len() > before).then_some(()));
        let (_, some) = tokio::join!(busily, some);
        some.unwrap();
        // One of the two, or both. The receiver dies with something in its socket that it has not read, and that was
        // sent as far as the sender can see.
        if round != 1 {
            receiver.signal("STOP").unwrap();
            busy(&plant, 2).await;
            wait::until("something unread", async || is_unread(port).then_some(())).await.unwrap();
            receiver.kill();
        }
        if round != 0 {
            shipper.kill();
        }
        busy(&plant, 5).await;
        if round != 1 {
            receiver = listen(port, &file, &[]).0;
        }
        if round != 0 {
            shipper = ship(&plant, &to, &state, &[]);
        }
    }
    let all = caught_up(&plant, &file).await;
    shipper.signal("TERM").unwrap();
    assert!(tokio::task::block_in_place(|| shipper.0.wait()).unwrap().success());
    drop(receiver);
    let directory = plant.stop().await;
    // What was received is what stands in the log.
    let query = audit::query::Query { limit: 1000, newest_first: false, ..Default::default() };
    let page = audit::query::offline(&directory.path().join("audit/published"), &query).unwrap();
    assert!(page.entries.len() > 100);
    for found in page.entries.iter().filter(|found| all.contains_key(&found.index)) {
        let message = &all[&found.index];
        let leaf = model::canonical::hex(&tlog::leaf_hash(found.entry.as_bytes()).0);
        assert_eq!(message["data"][SD_ID]["leaf"], Value::from(leaf));
        assert_eq!((&message["facility"], &message["app"]), (&13.into(), &"millgate".into()));
    }
    let denied = all.values().find(|message| message["data"][SD_ID]["decision"] == "deny").unwrap();
    assert_eq!(denied["severity"], 4, "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_tls_goes_to_the_receiver_with_the_right_certificate_alone() {
    let plant = Plant::start().await.unwrap();
    let at = |name: &str| plant.directory.path().join(name);
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(at(name), parameters.self_signed(&key).unwrap().pem()).unwrap();
        (parameters, key)
    };
    let (parameters, ca_key) = authority("ca.pem");
    authority("stranger.pem");
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([String::from("127.0.0.1")]).unwrap();
    let certificate = leaf.signed_by(&key, &Issuer::from_params(&parameters, &ca_key)).unwrap();
    std::fs::write(at("siem.pem"), certificate.pem()).unwrap();
    std::fs::write(at("siem.key"), key.serialize_pem()).unwrap();

    let (_receiver, port) = listen(0, &at("received"), &[&at("siem.pem"), &at("siem.key")]);
    let to = format!("syslog+tls://127.0.0.1:{port}");
    let once = |ca: &str, state: &str| {
        let (ca, state) = (at(ca), at(state));
        let arguments =
            ["ship", "--once", "--json", "--to", &to, "--format", "ocsf", "--state", state.to_str().unwrap()];
        output(millgate(&plant, &arguments).arg("--to-ca").arg(ca))
    };
    busy(&plant, 2).await;
    let refused = once("stranger.pem", "a.state");
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("UnknownIssuer"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read_to_string(at("received")).unwrap(), "", "nothing for a stranger");

    let shipped = once("ca.pem", "b.state");
    assert!(shipped.status.success(), "{}", text(&shipped.stderr));
    let said: Value = serde_json::from_slice(&shipped.stdout).unwrap();
    let lines: Vec<Value> = std::fs::read_to_string(at("received"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .collect();
    assert_eq!(said["entries"], lines.len());
    let events: String = lines.iter().map(|line| line["text"].as_str().unwrap().to_owned() + "\n").collect();
    assert_eq!(read_by("ocsf.py", &[], &events)["problems"], serde_json::json!([]));
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shipping_goes_on_behind_the_last_entry_and_stops_where_the_log_is_another() {
    let plant = Plant::start().await.unwrap();
    let at = |name: &str| plant.directory.path().join(name).to_str().unwrap().to_owned();
    let (to, state) = (format!("file:{}", at("spool")), at("spool.state"));
    let arguments = ["ship", "--once", "--format", "json", "--to", &to, "--state", &state];
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(at("spool")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for times in 1..=3 {
        busy(&plant, times).await;
        asked(&plant, &arguments);
        let indexes: Vec<u64> = lines().iter().map(|line| line["index"].as_u64().unwrap()).collect();
        let expected: Vec<u64> = (0..indexes.len() as u64).collect();
        assert_eq!(indexes, expected, "each once: nothing broke");
    }
    // Other filters leave out what this state says was handed over.
    let other = output(&mut millgate(&plant, &[&arguments[..], &["--kind", "decision"]].concat()));
    assert!(text(&other.stderr).contains("is of the filters"), "{}", text(&other.stderr));
    // A log whose past is another than what was handed over.
    let before = lines().len();
    let text_of_state = std::fs::read_to_string(&state).unwrap();
    let mut noted: Value = serde_json::from_str(&text_of_state).unwrap();
    noted["last"]["leaf"] = "0".repeat(64).into();
    std::fs::write(&state, noted.to_string()).unwrap();
    let refused = output(&mut millgate(&plant, &arguments));
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("is not the one that was handed over before"), "{}", text(&refused.stderr));
    noted = serde_json::from_str(&text_of_state).unwrap();
    noted["last"]["index"] = 1_000_000.into();
    std::fs::write(&state, noted.to_string()).unwrap();
    let refused = output(&mut millgate(&plant, &arguments));
    assert!(text(&refused.stderr).contains("it was cut, put back"), "{}", text(&refused.stderr));
    assert_eq!(lines().len(), before);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_renewed_in_its_file_is_understood() {
    let plant = Plant::start().await.unwrap();
    let at = |name: &str| plant.directory.path().join(name).to_str().unwrap().to_owned();
    let (token, to, state) = (at("renewed.jwt"), format!("file:{}", at("spool")), at("spool.state"));
    std::fs::write(&token, "not.a.token").unwrap();
    let mut command = Command::new(process::executable("millgate").unwrap());
    command.args(["audit", "ship", "--to", &to, "--format", "cef", "--state", &state, "--url", &plant.api()]);
    let mut shipper = Guard::spawn(command.args(["--token-file", &token])).unwrap();
    let refused = async || plant.audit("kind=refused_login").await.ok().filter(|all| all.len() > 1).map(|_| ());
    wait::until("it to try again", refused).await.unwrap();
    assert!(!Path::new(&at("spool")).exists() && shipper.0.try_wait().unwrap().is_none());
    std::fs::copy(plant.demo.home.token("auditor"), &token).unwrap();
    let answer = plant.get("acme", TARGET, &PURPOSE).await.unwrap();
    let there = async || std::fs::read_to_string(at("spool")).ok()?.contains(answer.request_id()).then_some(());
    wait::until("the entry of a request", there).await.unwrap();
    let spool = std::fs::read_to_string(at("spool")).unwrap();
    assert!(spool.lines().all(|line| line.starts_with("CEF:0|Millgate|Millgate|")), "{spool}");
    plant.stop().await;
}

/// Debian's rsyslog, as a SIEM's collector, on a port that it keeps.
struct Rsyslog {
    directory: PathBuf,
}

impl Rsyslog {
    fn start(&self, port: u16) -> Guard {
        let directory = self.directory.display();
        let text = format!(
            r#"global(workDirectory="{directory}" maxMessageSize="256k")
module(load="imtcp")
template(name="seen" type="list") {{
  property(name="msgid") constant(value="|") property(name="app-name") constant(value="|")
  property(name="syslogfacility") constant(value="|") property(name="structured-data") constant(value="\n")
}}
input(type="imtcp" address="127.0.0.1" port="{port}" listenPortFileName="{directory}/port")
action(type="omfile" file="{directory}/seen" template="seen")
"#
        );
        std::fs::write(self.directory.join("rsyslog.conf"), text).unwrap();
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.arg("-n").arg("-f").arg(self.directory.join("rsyslog.conf"));
        command.arg("-i").arg(self.directory.join("pid"));
        Guard::spawn(&mut command).expect("rsyslog; `bash tests/tools/install` installs it")
    }

    /// Lines as rsyslog understood them, by index.
    fn seen(&self) -> BTreeMap<u64, String> {
        let text = std::fs::read_to_string(self.directory.join("seen")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines).to_owned();
        let index = |line: &str| line.split("index=\"").nth(1)?.split('"').next()?.parse().ok();
        whole.lines().filter_map(|line| Some((index(line)?, line.to_owned()))).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_understands_every_message_and_misses_none_over_a_restart() {
    let plant = Plant::start().await.unwrap();
    let rsyslog = Rsyslog { directory: plant.directory.path().join("rsyslog") };
    std::fs::create_dir(&rsyslog.directory).unwrap();
    let mut running = rsyslog.start(0);
    let port = async || std::fs::read_to_string(rsyslog.directory.join("port")).ok()?.trim().parse::<u16>().ok();
    let port = wait::until("rsyslog's port", port).await.unwrap();
    let shipper =
        ship(&plant, &format!("syslog+tcp://127.0.0.1:{port}"), &plant.directory.path().join("siem.state"), &[]);
    busy(&plant, 5).await;
    wait::until("rsyslog to see something", async || (!rsyslog.seen().is_empty()).then_some(())).await.unwrap();
    running.signal("TERM").unwrap();
    tokio::task::block_in_place(|| running.0.wait()).unwrap();
    busy(&plant, 5).await;
    running = rsyslog.start(port);
    busy(&plant, 5).await;
    let size = plant.demo.running.broker.log.size();
    let all = async || Some(rsyslog.seen()).filter(|seen| (0..size).all(|index| seen.contains_key(&index)));
    let seen = wait::until("rsyslog to see everything", all).await.unwrap();
    for line in seen.values() {
        assert!(line.contains("|millgate|13|[millgate@32473 index=\"") && line.ends_with(']'), "{line}");
    }
    let decisions = seen.values().filter(|line| line.starts_with("decision|") && line.contains("decision=\"allow\""));
    assert!(decisions.count() >= 15);
    drop((shipper, running));
    plant.stop().await;
}
