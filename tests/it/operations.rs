//! What a platform engineer meets: health, metrics, drain, `check`, and no way to start the demo's issuers.

use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, process, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_metrics_are_on_the_operators_listener() {
    let plant = Plant::start().await.unwrap();
    let at = |path: &str| format!("http://{}{path}", plant.demo.running.operator);
    assert_eq!(http::get(&at("/healthz"), &[]).await.unwrap().status, 200);
    assert_eq!(http::get(&at("/readyz"), &[]).await.unwrap().status, 200);
    plant.get("acme", TARGET, &[("millgate-purpose", "predictive-maintenance")]).await.unwrap();
    plant.get("acme", TARGET, &[]).await.unwrap();
    let text = http::get(&at("/metrics"), &[]).await.unwrap().text();
    for line in [
        "millgate_requests_total{listener=\"data\",status=\"200\"} 1",
        "millgate_refusals_total{listener=\"data\",reason=\"purpose_required\"} 1",
        "millgate_decisions_total{decision=\"allow\"} 1",
        "millgate_audit_healthy 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_over_grpc_says_what_readyz_says_and_a_watch_is_told_of_the_drain() {
    let plant = Plant::start().await.unwrap();
    let config = plant.configuration("probed", "").unwrap();
    let (mut broker, facts) = process::serve(&config, "").unwrap();
    let address = |name: &str| facts[name].as_str().unwrap().trim_start_matches("http://").to_owned();
    let asked = |listener: &str| {
        let output = process::client("health.py").arg(address(listener)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let of = |line: &str| {
            let said: serde_json::Value = serde_json::from_str(line).unwrap();
            said.get("status").or_else(|| said.get("code")).and_then(|said| said.as_str()).unwrap().to_owned()
        };
        lines.lines().map(of).collect::<Vec<_>>()
    };
    assert_eq!(asked("operator"), ["SERVING", "SERVING", "NOT_FOUND"]);
    // Where callers come, strangers learn nothing, not even that.
    assert_eq!(asked("api"), ["UNAUTHENTICATED"; 3]);
    let mut watch = process::client("health.py");
    watch.args([&address("operator"), "--watch"]).stdout(std::process::Stdio::piped());
    let mut watch = process::Guard::spawn(&mut watch).unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.0.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"status": "SERVING"}"#);
    broker.signal("TERM").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"status": "NOT_SERVING"}"#);
    assert!(lines.next().is_none(), "the call is over");
    assert!(watch.0.wait().unwrap().success());
    assert!(broker.0.wait().unwrap().success(), "and nobody is waited for");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_open_answers_finish() {
    // The source answers only when told to, so that the drain begins in the middle of an exchange.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let plant = Plant::start_with_source(port).await.unwrap();
    let url = format!("{}{TARGET}", plant.data());
    let bearer = format!("Bearer {}", plant.token("acme"));
    let caller = tokio::spawn(async move {
        let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
        http::get(&url, &headers).await
    });
    let (mut source, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        tokio::io::AsyncReadExt::read_buf(&mut source, &mut head).await.unwrap();
    }
    plant.shutdown.begin("the test says so");
    let running = plant.demo.running;
    let drained = tokio::spawn(running.drain());
    use tokio::io::AsyncWriteExt as _;
    source
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        .await
        .unwrap();
    let answer = caller.await.unwrap().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    drained.await.unwrap();
    let entries = acceptance::published(plant.directory.path()).unwrap();
    let ends: Vec<_> = entries.iter().filter(|e| e["kind"] == "outcome").map(|e| e["ended"].clone()).collect();
    assert_eq!(ends, ["complete"]);
    assert_eq!(entries.last().unwrap()["event"], "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_cut_short_says_so_in_the_outcome() {
    let stall = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{".to_vec();
    let source = Source::start(None, Behaviour::SayAndHang(stall)).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let config = plant.configuration("hasty", "limits = { drain_timeout = \"100ms\" }").unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    let (url, bearer) = (facts["data"].as_str().unwrap().to_owned(), format!("Bearer {}", plant.token("acme")));
    let caller = tokio::spawn(async move {
        let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
        http::get(&format!("{url}{TARGET}"), &headers).await
    });
    wait::until("the question at the source", async || (source.asked() == 1).then_some(())).await.unwrap();
    broker.signal("TERM").unwrap();
    let mut broker = broker;
    assert!(tokio::task::spawn_blocking(move || broker.0.wait()).await.unwrap().unwrap().success());
    assert!(caller.await.unwrap().is_err(), "a cut answer must not look complete");
    let entries = acceptance::entries(facts["log_dir"].as_str().unwrap().as_ref()).unwrap();
    let ends: Vec<_> = entries.iter().filter(|e| e["kind"] == "outcome").map(|e| e["ended"].clone()).collect();
    assert_eq!(ends, ["broker_stopped"]);
    assert_eq!(entries.last().unwrap()["event"], "closed");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_everything_again_and_serves_on() {
    let plant = Plant::start().await.unwrap();
    let config = plant.configuration("hung-up", "").unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    let taken = async || {
        let metrics = http::get(&format!("{}/metrics", facts["operator"].as_str()?), &[]).await.ok()?.text();
        let refused = "millgate_reloads_total{folder=\"policies\",result=\"refused\"} ";
        metrics.lines().find_map(|l| l.strip_prefix(refused)?.parse::<u64>().ok())
    };
    // A refused set is looked at again only when something changes, or when the signal asks for it.
    let broken = plant.directory.path().join("policies/base/broken.cedar");
    std::fs::write(broken, "permit (principal").unwrap();
    let first = wait::until("the refusal", taken).await.unwrap();
    broker.signal("HUP").unwrap();
    wait::until("another look", async || taken().await.filter(|n| *n > first)).await.unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
    let answer = http::get(&format!("{}{TARGET}", facts["data"].as_str().unwrap()), &headers).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_on_the_command_line_shows_what_is_written() {
    let plant = Plant::start().await.unwrap();
    let mut command = std::process::Command::new(process::executable("millgate").unwrap());
    command.args(["audit", "tail", "--json", "--organisation", "acme", "--after", "0", "--url", &plant.api()]);
    command.arg("--token-file").arg(plant.demo.home.token("auditor")).stdout(std::process::Stdio::piped());
    let mut tail = process::Guard::spawn(&mut command).unwrap();
    let answer = plant.get("acme", TARGET, &[]).await.unwrap();
    let mut line = String::new();
    let mut shown = std::io::BufReader::new(tail.0.stdout.take().unwrap());
    tokio::task::block_in_place(|| std::io::BufRead::read_line(&mut shown, &mut line)).unwrap();
    let found: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(found["entry"]["request"], answer.request_id());
    assert_eq!(found["principal"], "acme/engineer-1");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_never_signed_by_a_second_key() {
    let plant = Plant::start().await.unwrap();
    let directory = plant.stop().await;
    std::fs::remove_file(directory.path().join("audit/checkpoint.key")).unwrap();
    let again = millgate::demo::start(Some(directory.path().to_owned()), runtime::shutdown::Shutdown::new()).await;
    let error = format!("{:#}", again.expect_err("must not start"));
    assert!(error.contains("another key"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_organisation_cannot_take_the_places_of_the_others() {
    let source = Source::start(None, Behaviour::SayAndHang(Vec::new())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let config = plant.configuration("shared", "limits = { requests_per_organisation = 2 }").unwrap();
    let (_broker, facts) = process::serve(&config, "").unwrap();
    let data = facts["data"].as_str().unwrap().to_owned();
    let ask = |caller: &str, target: &str| {
        let (url, bearer) = (format!("{data}{target}"), format!("Bearer {}", plant.token(caller)));
        async move {
            let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "quality-analysis")];
            http::get(&url, &headers).await.unwrap()
        }
    };
    let held: Vec<_> = (0..2).map(|_| tokio::spawn(ask("acme", TARGET))).collect();
    wait::until("two questions at the source", async || (source.asked() == 2).then_some(())).await.unwrap();
    let third = ask("acme", TARGET).await;
    assert_eq!((third.status, third.reason().as_str()), (503, "overloaded"), "{}", third.text());
    assert_eq!(third.header("retry-after"), "1");
    let other = ask("bolt", &TARGET.replace("press-3.vibration", "feeder-2.torque")).await;
    assert_eq!(other.reason(), "source_timeout", "bolt's request went its way");
    for call in held {
        assert_eq!(call.await.unwrap().reason(), "source_timeout");
    }
    assert_eq!(ask("acme", TARGET).await.reason(), "source_timeout", "places come back");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_organisation_cannot_take_the_audit_log_from_the_others() {
    let plant = Plant::start().await.unwrap();
    let config = plant.configuration("read", "limits = { requests_per_organisation = 1 }").unwrap();
    let (_broker, facts) = process::serve(&config, "").unwrap();
    let api = facts["api"].as_str().unwrap();
    let ask = async |caller: &str, target: &str| {
        let bearer = format!("Bearer {}", plant.token(caller));
        http::get(&format!("{api}{target}"), &[("authorization", bearer.as_str())]).await.unwrap()
    };
    let mut tail = tokio::net::TcpStream::connect(api.trim_start_matches("http://")).await.unwrap();
    let text = format!(
        "GET /v1/audit/entries?follow=true HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {}\r\n\r\n",
        plant.token("auditor")
    );
    tail.write_all(text.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    tail.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    for target in ["/v1/audit/entries?limit=1", "/nothing"] {
        let refused = ask("auditor", target).await;
        assert_eq!((refused.status, refused.reason().as_str()), (503, "overloaded"), "{target}: {}", refused.text());
    }
    assert_eq!(ask("acme", "/nothing").await.status, 404, "another organisation has its own places");
    drop(tail);
    wait::until("a free place", async || {
        (ask("auditor", "/v1/audit/entries?limit=1").await.status == 200).then_some(())
    })
    .await
    .unwrap();
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragile_source_is_never_asked_more_than_its_cap() {
    let source = Source::start(None, Behaviour::SayAndHang(Vec::new())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let cap = {
        let world = plant.demo.running.broker.world();
        let historian = world.catalog.sources.values().find(|s| s.id.as_str() == "historian").unwrap();
        historian.concurrency_max as usize
    };
    let calls: Vec<_> = (0..cap + 6)
        .map(|_| {
            let (url, bearer) = (format!("{}{TARGET}", plant.data()), format!("Bearer {}", plant.token("acme")));
            tokio::spawn(async move {
                let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
                http::get(&url, &headers).await.map(|a| a.reason())
            })
        })
        .collect();
    wait::until("a full source", async || (source.asked() == cap).then_some(())).await.unwrap();
    let mut reasons = Vec::new();
    for call in calls {
        reasons.push(call.await.unwrap().unwrap());
    }
    let busy = reasons.iter().filter(|r| *r == "source_busy").count();
    let late = reasons.iter().filter(|r| *r == "source_timeout").count();
    assert!(busy >= 1, "{reasons:?}");
    assert_eq!(busy + late, cap + 6, "{reasons:?}");
    let outcomes = wait::until("all outcomes", async || {
        let found = plant.audit("kind=outcome&organisation=acme&limit=1000").await.ok()?;
        (found.len() == cap + 6).then_some(found)
    })
    .await
    .unwrap();
    assert_eq!(outcomes.iter().filter(|o| o["ended"] == "not_forwarded").count(), busy);
    plant.stop().await;
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure_of_a_command() {
    let directory = tempfile::tempdir().unwrap();
    let home = millgate::demo::files::Home::open(Some(directory.path().to_owned())).unwrap();
    home.write("127.0.0.1:9".parse().unwrap(), "127.0.0.1:9".parse().unwrap()).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(process::executable("millgate").unwrap());
    let config = home.config();
    let output = command.args(["check", "--config", config.to_str().unwrap()]).stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn check_says_everything_that_is_wrong_with_places() {
    let directory = tempfile::tempdir().unwrap();
    let home = millgate::demo::files::Home::open(Some(directory.path().to_owned())).unwrap();
    let loopback = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    home.write(loopback(9), loopback(9)).unwrap();
    let config = home.config();
    let check = || process::run("millgate", &["check", "--config", config.to_str().unwrap()]).unwrap();
    let fine = check();
    assert!(fine.status.success(), "{}", String::from_utf8_lossy(&fine.stdout));
    // What nobody could ever get.
    let catalog = directory.path().join("policies/plants/munich/catalog/wrong.toml");
    let product = "[product.x]\ntitle = \"X\"\nowner = \"norden\"\nsteward = \"press-shop-steward\"\n";
    std::fs::write(&catalog, format!("{product}acknowledgement = \"witnessed\"\n")).unwrap();
    let text = String::from_utf8_lossy(&check().stdout).into_owned();
    assert!(text.contains("product `x`") && text.contains("[audit] witnesses"), "{text}");
    let policies = directory.path().join("policies/base/wrong.cedar");
    let permit = "permit (principal, action == Plant::Action::\"read\", resource) when { principal.clearance > 9 };";
    std::fs::write(&policies, format!("\n@id(\"seen\") @acknowledgement(\"witnessed\")\n{permit}\n")).unwrap();
    let text = String::from_utf8_lossy(&check().stdout).into_owned();
    assert!(text.contains("wrong.cedar:2: policy `seen`") && text.contains("@acknowledgement"), "{text}");
    std::fs::remove_file(&policies).unwrap();
    std::fs::write(&catalog, "[product.x]\ntitel = \"X\"\nowner = \"nordn\"\nsteward = \"press-shop-steward\"\n")
        .unwrap();
    let wrong = check();
    let text = String::from_utf8_lossy(&wrong.stdout).into_owned();
    assert_eq!(wrong.status.code(), Some(1), "{text}");
    assert!(text.contains("wrong.toml:2:") && text.contains("titel") && text.contains("title"), "{text}");
    // A fault in one folder hides nothing of the other, nor between them.
    let registry = directory.path().join("policies/plants/munich/registry/wrong.toml");
    std::fs::write(&registry, "[principal.\"acme/x\"]\nclearence = \"x\"\nexport_authorisations = [\"dual-us\"]\n")
        .unwrap();
    let text = String::from_utf8_lossy(&check().stdout).into_owned();
    for expected in ["titel", "nordn", "clearence", "did you mean `dual-use`?"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    std::fs::remove_file(&catalog).unwrap();
    std::fs::write(
        &registry,
        "[authority.m]\norganisation = \"acme\"\nca_file = \"m.pem\"\ndns = [\"acme.example\"]\n",
    )
    .unwrap();
    let text = String::from_utf8_lossy(&check().stdout).into_owned();
    assert!(text.contains("m.pem: cannot be read") && text.contains("`authority.m`"), "{text}");
}

#[test]
fn serve_knows_nothing_of_the_demos_issuers() {
    let help = process::run("millgate", &["serve", "--help"]).unwrap();
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(!text.to_lowercase().contains("demo") && !text.contains("issuer"), "{text}");
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("millgate.toml");
    std::fs::write(&config, "[demo]\nissuers = true\n").unwrap();
    let refused = process::run("millgate", &["serve", "--config", config.to_str().unwrap()]).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unknown key `demo`"));
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in [
        &["demo"][..],
        &["serve"],
        &["check"],
        &["audit", "query"],
        &["audit", "tail"],
        &["audit", "fsck"],
        &["audit", "quarantine"],
    ] {
        let arguments: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let help = process::run("millgate", &arguments).unwrap();
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.status.success() && text.contains("Example"), "{command:?}: {text}");
    }
}
