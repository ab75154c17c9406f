//! A server that is killed, does not answer, loses a session or its standby, or goes away.

use super::{PASSWORD, at, broker, configured, configured_with, connect, ended, millgate, server};
use acceptance::postgres::{Postgres, SUPERUSER, SUPERUSER_PASSWORD};
use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, process, wait};
use audit::postgres::{Access, PostgresError, PostgresStore};
use audit::tests::harness::{ORIGIN, allow, deny, fill, options, publisher, read_all};
use audit::{AppendError, Log, OpenError, fsck};
use serde_json::Value;
use sqlx::Executor as _;
use std::collections::BTreeSet;
use tokio::task::JoinHandle;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_during_appends_loses_nothing_that_was_acknowledged() {
    let mut server = server(&[]).await;
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let (log, _) = Log::open(options(broker(&server))).await.unwrap();
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let log = log.clone();
                tokio::spawn(async move {
                    let mut told = Vec::new();
                    for i in 0.. {
                        let request = format!("r{round}-{caller}-{i}");
                        match log.append(deny(&log, "acme", &request)).await {
                            Ok(appended) => told.push(appended),
                            Err(error) => return (told, error),
                        }
                    }
                    unreachable!("it appends until it cannot");
                })
            })
            .collect();
        log.grown_beyond(log.size() + 200 * (round + 1)).await;
        server.kill();
        for caller in callers {
            let (told, error) = caller.await.unwrap();
            assert_eq!(error, AppendError::Poisoned);
            acknowledged.extend(told);
        }
        log.poisoned().await;
        drop(log);
        server.start_again().await.unwrap();
    }
    let (log, _) = Log::open(options(broker(&server))).await.unwrap();
    log.close().await;
    let stored = read_all(broker(&server)).await;
    assert!(acknowledged.len() > 2000, "{}", acknowledged.len());
    assert!(acknowledged.iter().all(|appended| stored.holds(appended)));
    assert_eq!(fsck::check(broker(&server), None, |_, _| {}).await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_lost_between_two_batches_ends_the_writer() {
    let server = server(&[]).await;
    let (log, _) = Log::open(options(broker(&server))).await.unwrap();
    let decision = log.append(allow(&log, "acme", "r1")).await.unwrap();
    let sessions = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(server.count(sessions).await.unwrap(), 1);
    // Somebody else goes on with the log before the first one notices: nothing of the first comes behind that.
    let (second, recovered) = Log::open(options(broker(&server))).await.unwrap();
    assert_eq!((recovered.size, recovered.unknown_outcomes), (2, 1));
    assert_eq!(log.append(deny(&log, "acme", "r2")).await, Err(AppendError::Poisoned));
    log.poisoned().await;
    second.append(deny(&second, "acme", "r3")).await.unwrap();
    second.close().await;
    let stored = read_all(broker(&server)).await;
    assert_eq!((stored.decisions_about("r2"), stored.decisions_about("r3")), (0, 1));
    assert_eq!(stored.outcomes_of(decision.index), ["unknown_after_crash"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_locked_is_answered_and_waited_out() {
    let server = server(&[]).await;
    let (log, _) = Log::open(options(broker(&server))).await.unwrap();
    let mut superuser = connect(&server.store("plant", SUPERUSER, SUPERUSER_PASSWORD)).await;
    superuser.execute("BEGIN").await.unwrap();
    superuser.execute("SELECT FROM millgate_audit.head FOR UPDATE").await.unwrap();
    assert_eq!(log.append(deny(&log, "acme", "r1")).await, Err(AppendError::Overloaded));
    superuser.execute("ROLLBACK").await.unwrap();
    log.append(deny(&log, "acme", "r2")).await.unwrap();
    assert_eq!(log.status().rollbacks, 1);
    log.close().await;
    let stored = read_all(broker(&server)).await;
    assert_eq!((stored.decisions_about("r1"), stored.decisions_about("r2")), (0, 1));
}

/// From now on each commit waits for this standby.
async fn waits_for(server: &Postgres, standby: &str) {
    server.run(&format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'")).await.unwrap();
    server.run("SELECT pg_reload_conf()").await.unwrap();
    let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    wait::until("replication", async || (server.count(synchronous).await.ok()? == 1).then_some(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_signed_that_the_standby_does_not_have() {
    let server = server(&[]).await;
    let mut standby = server.standby("second").await.unwrap();
    waits_for(&server, "second").await;
    let access = Access { standby: true, ..server.store("plant", "broker_1", PASSWORD) };
    let out = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(at(access, ORIGIN))).await.unwrap();
    let publisher = publisher(&log, out.path()).await;
    fill(&log, 5).await;
    assert_eq!(publisher.publish_now().await.unwrap().size, 6);
    // A standby is no place to write.
    let error = PostgresStore::open(&standby.store("plant", "broker_1", PASSWORD), ORIGIN).await.unwrap_err();
    assert!(matches!(error, OpenError::Postgres(PostgresError::Standby)), "{error}");
    // Without it nothing becomes durable; and whoever makes the server go on without it does not get a signature.
    standby.kill();
    assert_eq!(log.append(deny(&log, "acme", "waits")).await, Err(AppendError::Overloaded));
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    assert_eq!(server.count(cancel).await.unwrap(), 1);
    log.grown_beyond(6).await;
    let error = publisher.publish_now().await.unwrap_err();
    assert!(error.to_string().starts_with("no synchronous standby of the store has all 7 entries yet"), "{error}");
    standby.start_again().await.unwrap();
    wait::until("the checkpoint", async || publisher.publish_now().await.ok().filter(|p| p.size == 7)).await.unwrap();
    log.close().await;
    assert_eq!(read_all(broker(&server)).await.decisions_about("waits"), 1);
}

// === brokers that serve meanwhile

/// A source that can be asked what it was asked for, and a plant whose system it is.
async fn watched() -> (Source, Plant) {
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let source = Source::start(None, Behaviour::Say(ok.into())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    (source, plant)
}

async fn ask_plain(url: &str, bearer: &str) -> anyhow::Result<http::Answer> {
    let plain = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
    let headers = [("authorization", bearer), ("millgate-purpose", "predictive-maintenance")];
    http::get(&format!("{url}{plain}"), &headers).await
}

/// Asks until the broker is gone; requests that were answered in full.
fn load(facts: &Value, plant: &Plant) -> Vec<JoinHandle<BTreeSet<String>>> {
    let (url, bearer) = (facts["data"].as_str().unwrap().to_owned(), format!("Bearer {}", plant.token("acme")));
    let caller = |(url, bearer): (String, String)| async move {
        let mut whole = BTreeSet::new();
        while let Ok(answer) = ask_plain(&url, &bearer).await {
            assert!(matches!(answer.status, 200 | 503), "{}: {}", answer.status, answer.text());
            if answer.status == 200 {
                whole.insert(answer.request_id().to_owned());
            }
        }
        whole
    };
    (0..4).map(|_| tokio::spawn(caller((url.clone(), bearer.clone())))).collect()
}

/// The broker ends as it does when its log has failed.
async fn fails(mut process: process::Guard, callers: Vec<JoinHandle<BTreeSet<String>>>) -> BTreeSet<String> {
    let mut whole = BTreeSet::new();
    for caller in callers {
        whole.extend(caller.await.unwrap());
    }
    let ended = wait::until("the end of the broker", async || process.0.try_wait().ok().flatten()).await.unwrap();
    assert_eq!(ended.code(), Some(1), "{ended}");
    whole
}

/// There is a record of all that was answered and of all that the source was asked for, and nothing is wrong with it.
fn is_recorded(facts: &Value, config: &str, whole: &BTreeSet<String>, source: &Source) {
    let published = facts["log_dir"].as_str().unwrap();
    let entries = acceptance::entries(published.as_ref()).unwrap();
    let allowed = entries.iter().filter(|e| e["kind"] == "decision" && e["decision"] == "allow");
    let allowed: BTreeSet<String> = allowed.map(|e| e["request"].as_str().unwrap().to_owned()).collect();
    let unrecorded: Vec<_> = whole.difference(&allowed).collect();
    assert!(unrecorded.is_empty(), "answered without a record: {unrecorded:?}");
    assert_eq!(entries.iter().filter(|e| e["kind"] == "outcome").count(), allowed.len(), "one outcome each");
    let heads = source.heads();
    let asked = heads.iter().filter_map(|head| head.lines().find_map(|l| l.strip_prefix("millgate-request-id: ")));
    let unrecorded: Vec<_> = asked.filter(|request| !allowed.contains(*request)).collect();
    assert!(unrecorded.is_empty(), "the source was asked without a record: {unrecorded:?}");
    let key = facts["log_key"].as_str().unwrap();
    let verified = process::run("millgate-verify", &["log", published, "--key", key]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let (status, said, errors) = millgate(&["audit", "fsck", "--config", config, "--json"]);
    assert_eq!(status, 0, "{said} {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_ends_the_broker_and_the_next_start_goes_on_once_it_is_back() {
    let mut server = server(&[]).await;
    let (source, plant) = watched().await;
    let file = configured(&plant, &server);
    let config = file.to_str().unwrap();
    let mut whole = BTreeSet::new();
    for go in [Postgres::kill as fn(&mut Postgres), Postgres::stop] {
        let (broker, facts) = process::serve(&file, "").unwrap();
        let enough = source.asked() + 40;
        let callers = load(&facts, &plant);
        wait::until("requests", async || (source.asked() >= enough).then_some(())).await.unwrap();
        go(&mut server);
        let answered = fails(broker, callers).await;
        assert!(answered.len() > 20, "{}", answered.len());
        whole.extend(answered);
        // Whoever looks after the broker starts it again and again; until the server is back it says why, and nobody is served.
        for _ in 0..2 {
            let (status, out, errors) = millgate(&["serve", "--json", "--config", config]);
            assert!(status == 2 && out.is_empty() && errors.contains("127.0.0.1"), "{out} {errors}");
        }
        server.start_again().await.unwrap();
    }
    let (broker, facts) = process::serve(&file, "").unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    let answer = ask_plain(facts["data"].as_str().unwrap(), &bearer).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    whole.insert(answer.request_id().to_owned());
    ended(broker).await;
    is_recorded(&facts, config, &whole, &source);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_for_a_while_is_a_503_and_the_same_broker_goes_on_when_it_does() {
    let server = server(&[]).await;
    let (source, plant) = watched().await;
    let file = configured(&plant, &server);
    let (mut broker, facts) = process::serve(&file, "").unwrap();
    let (url, bearer) = (facts["data"].as_str().unwrap(), format!("Bearer {}", plant.token("acme")));
    let ask = async || ask_plain(url, &bearer).await.unwrap();
    let mut whole = BTreeSet::from([ask().await.request_id().to_owned()]);
    let session = "SELECT pid::bigint FROM pg_locks WHERE locktype = 'advisory'";
    let session = server.count(session).await.unwrap().to_string();
    let signal =
        |name: &str| std::process::Command::new("kill").args(["-s", name, &session]).status().unwrap().success();
    let asked = source.asked();
    assert!(signal("STOP"));
    // Each waits for as long as anybody waits for the log, one after the other.
    for _ in 0..5 {
        let answer = ask().await;
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    assert_eq!(source.asked(), asked, "the source was not asked");
    assert!(signal("CONT"));
    let answer = wait::until("an answer", async || Some(ask().await).filter(|answer| answer.status == 200));
    whole.insert(answer.await.unwrap().request_id().to_owned());
    assert!(broker.0.try_wait().unwrap().is_none(), "it is the same broker");
    ended(broker).await;
    is_recorded(&facts, file.to_str().unwrap(), &whole, &source);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_nothing_that_was_acknowledged_is_missing_and_the_log_goes_on() {
    let mut primary = server(&[]).await;
    let standby = primary.standby("second").await.unwrap();
    waits_for(&primary, "second").await;
    let (source, plant) = watched().await;
    let file = configured_with(&plant, &primary, "standby = true\n");
    let (broker, facts) = process::serve(&file, "").unwrap();
    let callers = load(&facts, &plant);
    let checkpoint = plant.directory.path().join("beside/published/checkpoint");
    let enough = async || (source.asked() >= 100 && checkpoint.exists()).then_some(());
    wait::until("requests and a checkpoint", enough).await.unwrap();
    primary.kill();
    let mut whole = fails(broker, callers).await;
    assert!(whole.len() > 50, "{}", whole.len());
    let signed = std::fs::read_to_string(&checkpoint).unwrap();

    // A standby is no place to write before it is promoted.
    let file = configured_with(&plant, &standby, "standby = true\n");
    let config = file.to_str().unwrap();
    let (status, _, errors) = millgate(&["serve", "--config", config]);
    assert!(status == 2 && errors.contains("is a standby"), "{errors}");
    standby.run("SELECT pg_promote()").await.unwrap();
    let third = standby.standby("third").await.unwrap();
    waits_for(&standby, "third").await;
    let (broker, facts) = process::serve(&file, "").unwrap();
    assert!(facts.get("quarantined").is_none(), "{facts}");
    let bearer = format!("Bearer {}", plant.token("acme"));
    let answer = ask_plain(facts["data"].as_str().unwrap(), &bearer).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    whole.insert(answer.request_id().to_owned());
    ended(broker).await;
    is_recorded(&facts, config, &whole, &source);
    // What was signed before is continued.
    let kept = plant.directory.path().join("before.checkpoint");
    std::fs::write(&kept, signed).unwrap();
    let (published, key) = (facts["log_dir"].as_str().unwrap(), facts["log_key"].as_str().unwrap());
    let arguments = ["log", published, "--key", key, "--checkpoint", kept.to_str().unwrap()];
    let verified = process::run("millgate-verify", &arguments).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    drop(third);
    plant.stop().await;
}
