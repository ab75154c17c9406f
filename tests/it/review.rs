//! What an attacker would try next: strangers and callers who are slow, silent, cut off or not what they say.

use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, wait};
use broker::assertion::{Assertions, KeyFiles};
use broker::{Broker, Folders, Makings, Reloader, World};
use std::net::SocketAddr;
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const SERIES: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: (&str, &str) = ("millgate-purpose", "predictive-maintenance");

const CONFIG: &str = r#"
[listen]
data = "127.0.0.1:0"
api = "127.0.0.1:0"
operator = "127.0.0.1:0"
[folders]
catalog = "policies/plants/munich/catalog"
registry = "policies/plants/munich/registry"
policies = "policies/base"
schema = "policies/schema/plant.cedarschema"
[audit]
directory = "audit"
origin = "munich.example/millgate-demo"
[limits]
header_timeout = "1s"
[telemetry]
level = "warn"
"#;

/// The plant's sources at `address`, with little patience.
fn impatient(directory: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let catalog = directory.join("policies/plants/munich/catalog");
    std::fs::create_dir_all(&catalog)?;
    let source = |id: &str| {
        format!(
            "[source.{id}]\ntitle = \"{id}\"\nurl = \"http://{address}\"\nconcurrency = 2\nqueue_timeout = \"200ms\"\n\
             connect_timeout = \"1s\"\nresponse_timeout = \"3s\"\nidle_timeout = \"1s\"\n\n"
        )
    };
    std::fs::write(catalog.join("sources.toml"), format!("{}{}", source("historian"), source("mes")))?;
    Ok(())
}

fn request(plant: &Plant, target: &str) -> String {
    let bearer = plant.token("acme");
    format!(
        "GET {target} HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {bearer}\r\n{}: {}\r\n\r\n",
        PURPOSE.0, PURPOSE.1
    )
}

/// A source that answers every request with more bytes than any buffer holds, until `enough` of them.
async fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream
                    .write_all(
                        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
                    )
                    .await;
                let chunk = [b"10000\r\n".as_slice(), &[b' '; 65536], b"\r\n"].concat();
                while stream.write_all(&chunk).await.is_ok() {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_says_nothing_does_not_keep_a_connection() {
    let plant = Plant::start_with(|dir| Ok(std::fs::write(dir.join("millgate.toml"), CONFIG)?)).await.unwrap();
    // Nothing; a preface that could still become either version; and an HTTP/2 connection without a request.
    for words in [&b""[..], b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let mut socket = TcpStream::connect(plant.demo.running.data).await.unwrap();
        socket.write_all(words).await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(std::time::Duration::from_secs(6), socket.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "still open after {words:?}");
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_do_not_read_do_not_keep_a_fragile_source() {
    let source = endless().await;
    let plant = Plant::start_with(|dir| impatient(dir, source)).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(plant.demo.running.data).await.unwrap();
        socket.write_all(request(&plant, SERIES).as_bytes()).await.unwrap();
        idle.push(socket);
    }
    let outcomes = wait::until("both are cut off", async || {
        let found = plant.audit("kind=outcome&organisation=acme").await.ok()?;
        (found.len() == 2).then_some(found)
    })
    .await
    .unwrap();
    assert!(outcomes.iter().all(|o| o["ended"] == "caller_aborted"), "{outcomes:?}");
    // The source has room again while the two still hold their sockets.
    let mut socket = TcpStream::connect(plant.demo.running.data).await.unwrap();
    socket.write_all(request(&plant, SERIES).as_bytes()).await.unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    drop(idle);
    drop(socket);
    plant.stop().await;
}

fn suspend_acme(plant: &Plant) {
    let file = plant.directory.path().join("policies/plants/munich/registry/out.toml");
    std::fs::write(file, "[revoked]\norganisations = [\"acme\"]\n").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_ends_an_open_answer() {
    let source = endless().await;
    let plant = Plant::start_with(|dir| impatient(dir, source)).await.unwrap();
    let mut socket = TcpStream::connect(plant.demo.running.data).await.unwrap();
    socket.write_all(request(&plant, SERIES).as_bytes()).await.unwrap();
    let mut some = vec![0; 1 << 20];
    socket.read_exact(&mut some).await.unwrap();
    suspend_acme(&plant);
    let read = async { while socket.read(&mut some).await.is_ok_and(|n| n > 0) {} };
    tokio::time::timeout(std::time::Duration::from_secs(15), read)
        .await
        .expect("the answer goes on after the suspension");
    let outcomes = plant.audit("kind=outcome&organisation=acme").await.unwrap();
    assert_eq!(outcomes[0]["ended"], "withdrawn", "{outcomes:?}");
    plant.stop().await;
}

/// A source that takes requests and answers none of them before it may; how many came, and the permission.
async fn patient() -> (SocketAddr, tokio::sync::watch::Receiver<usize>, tokio::sync::watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, came) = tokio::sync::watch::channel(0);
    let (open, gate) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut gate = gate.clone();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            asked.send_modify(|n| *n += 1);
            tokio::spawn(async move {
                let _ = gate.wait_for(|open| *open).await;
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 6\r\n\r\nsecret";
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (address, came, open)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_counts_for_who_waits_for_a_turn_and_for_who_waits_for_the_answer() {
    let (address, mut came, open) = patient().await;
    let plant = Plant::start_with(|dir| {
        impatient(dir, address)?;
        let path = dir.join("policies/plants/munich/catalog/sources.toml");
        let text = std::fs::read_to_string(&path)?;
        let text = text.replace("concurrency = 2", "concurrency = 1").replace("200ms", "30s").replace("3s", "30s");
        Ok(std::fs::write(path, text)?)
    })
    .await
    .unwrap();
    let ask = || {
        let (address, text) = (plant.demo.running.data, request(&plant, SERIES));
        let text = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        tokio::spawn(async move { http::raw(address, text.as_bytes()).await.unwrap() })
    };
    let first = ask();
    came.wait_for(|n| *n == 1).await.unwrap();
    let second = ask();
    wait::until("both are decided", async || {
        let found = plant.audit("kind=decision&organisation=acme&decision=allow").await.ok()?;
        (found.len() == 2).then_some(())
    })
    .await
    .unwrap();
    suspend_acme(&plant);
    wait::until("the suspension", async || {
        let world = plant.demo.running.broker.world();
        world.parties.revocations.organisations.iter().any(|o| o.as_str() == "acme").then_some(())
    })
    .await
    .unwrap();
    open.send_replace(true);
    for answer in [first.await.unwrap(), second.await.unwrap()] {
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(answer.contains("organisation_suspended") && !answer.contains("secret"), "{answer}");
    }
    assert_eq!(*came.borrow(), 1, "the source is not asked for who waited");
    let outcomes = plant.audit("kind=outcome&organisation=acme&order=oldest").await.unwrap();
    let ended: Vec<_> = outcomes.iter().map(|o| o["ended"].as_str().unwrap()).collect();
    assert_eq!(ended, ["withdrawn", "not_forwarded"], "{outcomes:?}");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_auditor_is_cut_off_from_the_tail() {
    let plant = Plant::start().await.unwrap();
    let mut socket = TcpStream::connect(plant.demo.running.api).await.unwrap();
    let bearer = plant.token("auditor");
    let text = format!(
        "GET /v1/audit/entries?follow=true HTTP/1.1\r\nhost: b\r\nconnection: close\r\nauthorization: Bearer {bearer}\r\n\r\n"
    );
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut some = vec![0; 1 << 16];
    socket.read_exact(&mut some[..15]).await.unwrap();
    let file = plant.directory.path().join("policies/plants/munich/registry/out.toml");
    std::fs::write(file, "[revoked]\nprincipals = [\"audax/auditor-1\"]\n").unwrap();
    let read = async { while socket.read(&mut some).await.is_ok_and(|n| n > 0) {} };
    tokio::time::timeout(std::time::Duration::from_secs(15), read)
        .await
        .expect("the tail goes on after the revocation");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_for_entries_is_no_reading_of_them() {
    let plant = Plant::start().await.unwrap();
    let bearer = format!("Bearer {}", plant.token("auditor"));
    for query in ["", "?follow=true"] {
        let url = format!("{}/v1/audit/entries{query}", plant.api());
        let answer = http::send("HEAD", &url, &[("authorization", &bearer)], hyper::body::Bytes::new()).await.unwrap();
        assert_eq!(answer.status, 404, "{query}");
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_of_a_supplier_cannot_tell_which_organisations_exist() {
    let plant = Plant::start().await.unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    let mut answers = Vec::new();
    for organisation in ["bolt", "nobody"] {
        let url = format!("{}/v1/audit/entries?organisation={organisation}", plant.api());
        let answer = http::get(&url, &[("authorization", &bearer)]).await.unwrap();
        let mut problem = answer.json().unwrap();
        problem["request_id"] = "".into();
        answers.push((answer.status, problem));
    }
    assert_eq!(answers[0], answers[1]);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_own_words_are_no_part_of_what_cannot_be_erased() {
    let plant = Plant::start().await.unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    let headers = [
        ("authorization", bearer.as_str()),
        ("millgate-purpose", "erika.mustermann"),
        ("millgate-agreement", "max.mustermann"),
    ];
    for (method, target) in [("ERIKA-MUSTERMANN", SERIES), ("GET", SERIES), ("GET", "/erika.mustermann")] {
        let url = format!("{}{target}", plant.data());
        let answer = http::send(method, &url, &headers, hyper::body::Bytes::new()).await.unwrap();
        assert!(answer.status >= 400);
    }
    let text = serde_json::to_string(&plant.audit("organisation=acme").await.unwrap()).unwrap().to_lowercase();
    assert!(!text.contains("mustermann"), "{text}");
    plant.stop().await;
}

const COMMENTS: &str = r#"
[route.comments]
title = "Comments on parts"
method = "POST"
path = "/parts/acme/comments"
source = "mes"
dataset = "acme-parts"
shape.rows = 1
upstream.path = "/api/v1/comments"
body = { max_bytes = 1024, content_types = ["application/json"] }
"#;

/// A source that reads a request to its end and answers, and keeps what it was told.
async fn listener_of_everything() -> (SocketAddr, std::sync::Arc<std::sync::Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let ear = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let ear = ear.clone();
            tokio::spawn(async move {
                let mut some = [0; 4096];
                let mut all = String::new();
                while let Ok(n @ 1..) = stream.read(&mut some).await {
                    let text = String::from_utf8_lossy(&some[..n]).into_owned();
                    ear.lock().unwrap().push_str(&text);
                    all.push_str(&text);
                    if all.ends_with("0\r\n\r\n") || all.ends_with('}') {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                        let _ = stream.write_all(answer).await;
                        return;
                    }
                }
            });
        }
    });
    (address, heard)
}

async fn commented(body: &str) -> (Plant, String, String) {
    let (source, heard) = listener_of_everything().await;
    let plant = Plant::start_with(|dir| {
        impatient(dir, source)?;
        let catalog = dir.join("policies/plants/munich/catalog");
        Ok(std::fs::write(catalog.join("comments.toml"), COMMENTS)?)
    })
    .await
    .unwrap();
    let head = format!(
        "POST /parts/acme/comments HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {}\r\nmillgate-purpose: quality-analysis\r\nconnection: close\r\n",
        plant.token("acme")
    );
    let answer = http::raw(plant.demo.running.data, format!("{head}{body}").as_bytes()).await.unwrap();
    let heard = heard.lock().unwrap().clone();
    (plant, answer, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_body_reaches_the_source_under_the_declared_type_alone() {
    let (plant, answer, heard) =
        commented("content-type: Application/JSON; charset=utf-7; x=\"y\"\r\ncontent-length: 7\r\n\r\n{\"a\":1}").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(heard.contains("content-type: application/json\r\n"), "{heard}");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_or_breaks_off_is_not_the_sources_fault() {
    let large = format!(
        "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n800\r\n{}\r\n0\r\n\r\n",
        "x".repeat(2048)
    );
    let (plant, answer, _) = commented(&large).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let outcome = wait::until("an outcome", async || plant.audit("kind=outcome&organisation=acme").await.ok()?.pop())
        .await
        .unwrap();
    assert_eq!(
        (outcome["ended"].as_str(), outcome["status"].as_u64()),
        (Some("caller_aborted"), Some(413)),
        "{outcome}"
    );
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_catalog_goes_with_its_own_sources_although_the_registry_is_broken() {
    let ok = |text: &str| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", text.len());
        Behaviour::Say(format!("{head}connection: close\r\n\r\n{text}").into_bytes())
    };
    let (old, new) = (Source::start(None, ok("old")).await.unwrap(), Source::start(None, ok("new")).await.unwrap());
    let plant = Plant::start_with(|dir| impatient(dir, old.address)).await.unwrap();
    let before = plant.demo.running.broker.generation();
    let registry = plant.directory.path().join("policies/plants/munich/registry");
    std::fs::write(registry.join("broken.toml"), "this is not TOML").unwrap();
    impatient(plant.directory.path(), new.address).unwrap();
    wait::until("the new catalog", async || (plant.demo.running.broker.generation() > before).then_some(()))
        .await
        .unwrap();
    let answer = plant.get("acme", SERIES, &[PURPOSE]).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "new"));
    plant.stop().await;
}

/// Several requests in one go on one connection: each is one reading, and no body of one is the head of the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_takes_is_never_the_next_request() {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let source = Source::start(None, Behaviour::Say(page.as_bytes().to_vec())).await.unwrap();
    let plant = Plant::start_with(|dir| impatient(dir, source.address)).await.unwrap();
    let inner = request(&plant, SERIES);
    let bearer = plant.token("acme");
    let last =
        format!("GET /nothing HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {bearer}\r\nconnection: close\r\n\r\n");
    let head =
        format!("{SERIES} HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {bearer}\r\n{}: {}\r\n", PURPOSE.0, PURPOSE.1);
    let length = inner.len();
    for first in [
        format!("GET {head}content-length: {length}\r\n\r\n{inner}"),
        format!("GET {head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{inner}\r\n0\r\n\r\n"),
        format!("GET {head}expect: 100-continue\r\ncontent-length: {length}\r\n\r\n{inner}"),
        format!("OPTIONS {head}content-length: {length}\r\n\r\n{inner}"),
        format!("GET /nothing HTTP/1.1\r\nhost: b\r\ncontent-length: {length}\r\n\r\n{inner}"),
        "OPTIONS * HTTP/1.1\r\nhost: b\r\n\r\n".to_owned(),
        format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\nhost: b\r\n\r\n", source.address.port()),
        "GET /nothing HTTP/1.1\r\nhost: b\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n".to_owned(),
    ] {
        let answer = http::raw(plant.demo.running.data, format!("{first}{last}").as_bytes()).await.unwrap();
        let line = first.lines().next().unwrap_or_default().to_owned();
        assert!(!answer.contains("HTTP/1.1 200") && !answer.contains("HTTP/1.1 101"), "{line}: {answer}");
        // The interim 100 is no answer.
        assert!(answer.matches("HTTP/1.1 4").count() <= 2, "{line}: {answer}");
    }
    assert_eq!(source.asked(), 0);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_2_request_is_one_reading_too() {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let source = Source::start(None, Behaviour::Say(page.as_bytes().to_vec())).await.unwrap();
    let plant = Plant::start_with(|dir| impatient(dir, source.address)).await.unwrap();
    let stream = TcpStream::connect(plant.demo.running.data).await.unwrap();
    let (executor, io) = (hyper_util::rt::TokioExecutor::new(), hyper_util::rt::TokioIo::new(stream));
    let (mut send, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let bearer = format!("Bearer {}", plant.token("acme"));
    let build = |method: &str, uri: String| {
        ::http::Request::builder().method(method).uri(uri).header("authorization", &bearer).header(PURPOSE.0, PURPOSE.1)
    };
    let at = |target: &str| format!("http://b{target}");
    let none = http_body_util::Full::<hyper::body::Bytes>::default;
    for (request, expected) in [
        (build("GET", at(SERIES)).header("host", "elsewhere").body(none()).unwrap(), 400),
        (build("GET", at(SERIES)).header("authorization", "Bearer x.y.z").body(none()).unwrap(), 400),
        (build("GET", at(SERIES)).body(http_body_util::Full::from("body")).unwrap(), 400),
        (build("GET", at("/plain/%2e%2e/x")).body(none()).unwrap(), 400),
        (build("CONNECT", String::from("b:80")).body(none()).unwrap(), 404),
        (build("GET", at(SERIES)).body(none()).unwrap(), 200),
    ] {
        let what = format!("{request:?}");
        let answer = send.send_request(request).await;
        assert_eq!(answer.map(|a| a.status().as_u16()).unwrap_or(0), expected, "{what}");
    }
    assert_eq!(source.asked(), 1);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tails_are_limited_and_their_places_come_back() {
    let plant = Plant::start().await.unwrap();
    let bearer = plant.token("auditor");
    let text =
        format!("GET /v1/audit/entries?follow=true HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {bearer}\r\n\r\n");
    let ask = async || {
        let mut socket = TcpStream::connect(plant.demo.running.api).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        socket.read_exact(&mut status).await.unwrap();
        (socket, String::from_utf8_lossy(&status).into_owned())
    };
    let mut open = Vec::new();
    let refused = loop {
        let (socket, status) = ask().await;
        match status.as_str() {
            "HTTP/1.1 200" if open.len() < 100 => open.push(socket),
            _ => break status,
        }
    };
    // Of one organisation; others have places left.
    assert_eq!((refused.as_str(), open.len()), ("HTTP/1.1 503", 4));
    // A search still goes, and says that the last one was refused.
    let outcomes = plant.audit("kind=outcome&limit=1").await.unwrap();
    assert_eq!((&outcomes[0]["ended"], &outcomes[0]["reason"]), (&"not_forwarded".into(), &"overloaded".into()));
    drop(open);
    wait::until("a free place", async || (ask().await.1 == "HTTP/1.1 200").then_some(())).await.unwrap();
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_made_while_the_broker_starts_counts() {
    let directory = Plant::start().await.unwrap().stop().await;
    let at = |name: &str| directory.path().join("policies").join(name);
    let (catalog, registry) = (at("plants/munich/catalog"), at("plants/munich/registry"));
    let folders = Folders { catalog, registry, policies: vec![at("base")], schema: at("schema/plant.cedarschema") };
    let parts = folders.load().unwrap();
    let upstreams = World::connect(&parts.catalog).unwrap();
    let world = World::join(&parts, 1, upstreams).unwrap();
    // The log takes its time, and meanwhile somebody cuts a supplier off.
    std::fs::write(at("plants/munich/registry/out.toml"), "[revoked]\norganisations = [\"acme\"]\n").unwrap();
    let clock: std::sync::Arc<dyn model::Clock> = std::sync::Arc::new(runtime::clock::SystemClock);
    let random: audit::Random = std::sync::Arc::new(runtime::random::fill);
    let options = audit::LogOptions::new(directory.path().join("another"), "a.example/log", clock.clone(), random);
    let shutdown = runtime::shutdown::Shutdown::new();
    let (log, _) = audit::Log::open(options).await.unwrap();
    let keys = KeyFiles { signing: directory.path().join("another/assertion.key"), others: Vec::new() };
    let assertions = Assertions::open(String::from("a.example/log"), keys).unwrap();
    let broker = Broker::start(Makings {
        log: log.clone(),
        published: directory.path().join("another/published"),
        is_witnessed: false,
        acknowledgement_patience: std::time::Duration::from_secs(5),
        identity: identity::Identity::new(identity::IdentityOptions::default()),
        data_origins: identity::Origins::new([]),
        api_origins: identity::Origins::new([]),
        world,
        assertions,
        pseudonyms: broker::shape::Pseudonyms::new([7; 32]),
        clock,
        tracer: runtime::trace::Tracer::off(),
        readiness: runtime::health::Readiness::new(),
        draining: shutdown.draining().clone(),
        cut_off: shutdown.immediate().clone(),
        metrics: runtime::metrics::Registry::new(),
        refused_logins_per_minute: 1,
        requests_per_organisation: 16,
        shadow: None,
        holds: audit::Holds::default(),
    })
    .await
    .unwrap();
    let (_hangups, changes) = tokio::sync::watch::channel(0);
    let watch = tokio::spawn(Reloader::new(broker.clone(), folders, None).run(changes, shutdown.draining().clone()));
    wait::until("the suspension", async || {
        broker.world().parties.revocations.organisations.iter().any(|o| o.as_str() == "acme").then_some(())
    })
    .await
    .unwrap();
    shutdown.begin("the test is over");
    watch.await.unwrap();
    log.close().await;
}

/// Whoever may not know of something cannot tell it from nothing, however it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_answers_as_what_is_not_there() {
    let (source, _heard) = listener_of_everything().await;
    let plant = Plant::start_with(|dir| {
        impatient(dir, source)?;
        let hidden = COMMENTS.replace("/acme/", "/bolt/").replace("acme-parts", "bolt-parts");
        Ok(std::fs::write(dir.join("policies/plants/munich/catalog/comments.toml"), hidden)?)
    })
    .await
    .unwrap();
    let bearer = plant.token("acme");
    let mut answers = std::collections::BTreeSet::new();
    for asked in [
        "GET /nothing HTTP/1.1\r\n\r\n",
        "GET /nothing/here?a=b HTTP/1.1\r\n\r\n",
        "BREW /parts/bolt HTTP/1.1\r\n\r\n",
        "GET /parts/bolt HTTP/1.1\r\n\r\n",
        "GET /parts/bolt HTTP/1.1\r\nmillgate-agreement: acme-2026\r\n\r\n",
        "GET /parts/bolt?limit=0 HTTP/1.1\r\n\r\n",
        "GET /parts/bolt?limit=1&limit=1 HTTP/1.1\r\n\r\n",
        "GET /parts/bolt?nonsense=1 HTTP/1.1\r\n\r\n",
        "GET /parts/bolt HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
        "DELETE /parts/bolt HTTP/1.1\r\n\r\n",
        "POST /parts/bolt/comments HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        "POST /parts/bolt/comments HTTP/1.1\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n{}",
        "POST /parts/bolt/comments HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{}",
    ] {
        let ours = format!(
            "host: b\r\nauthorization: Bearer {bearer}\r\n{}: {}\r\nconnection: close\r\n",
            PURPOSE.0, PURPOSE.1
        );
        let text = asked.replacen("\r\n", &format!("\r\n{ours}"), 1);
        let answer = http::raw(plant.demo.running.data, text.as_bytes()).await.unwrap();
        let id = answer.split("millgate-request-id: ").nth(1).and_then(|r| r.get(..36)).unwrap_or_default().to_owned();
        assert_eq!(plant.entries_of(&id).await.unwrap().len(), 1, "{asked}");
        assert!(answer.contains("audit-receipt: "), "{answer}");
        let differs = |l: &&str| !l.starts_with("date:") && !l.starts_with("audit-receipt:");
        let plain: Vec<_> = answer.lines().filter(differs).map(|l| l.replace(&id, "")).collect();
        answers.insert(plain.join("\n"));
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    plant.stop().await;
}
