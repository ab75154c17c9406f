//! Traces over OTLP, received by somebody else's collector, with W3C context in and out.

use acceptance::process::Guard;
use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, process, wait};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A collector that prints to `log` what it is sent, and its gRPC port.
pub async fn collector(log: &Path) -> (Guard, u16) {
    let [grpc, web] = free_ports();
    let mut command = Command::new(agent());
    command.arg("start").args([
        "--exporter",
        "blackhole",
        "--debug-log",
        "traces",
        "--debug-log-verbosity",
        "detailed",
    ]);
    command.args([
        "--otlp-grpc-endpoint",
        &format!("127.0.0.1:{grpc}"),
        "--otlp-http-endpoint",
        &format!("127.0.0.1:{web}"),
    ]);
    let file = std::fs::File::create(log).unwrap();
    command.stdout(Stdio::from(file.try_clone().unwrap())).stderr(Stdio::from(file));
    let collector = Guard::spawn(&mut command).unwrap();
    wait::until("the collector", async || tokio::net::TcpStream::connect(("127.0.0.1", grpc)).await.ok())
        .await
        .unwrap();
    (collector, grpc)
}

fn agent() -> PathBuf {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/venv/lib");
    let found = std::fs::read_dir(&libraries).into_iter().flatten().flatten();
    let agent = found.map(|d| d.path().join("site-packages/rotel/rotel-agent")).find(|p| p.exists());
    agent.expect("no collector in tests/.tools; run `bash tests/tools/install`")
}

/// Ports that are free now; the collector cannot choose its own.
fn free_ports() -> [u16; 2] {
    let sockets = [0, 0].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    sockets.map(|s| s.local_addr().unwrap().port())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_request_is_one_trace_from_the_caller_to_the_source() {
    let source = Source::start(None, Behaviour::Say(OK.to_vec())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let log = plant.directory.path().join("collector.log");
    let (_collector, grpc) = collector(&log).await;
    let more = format!("telemetry = {{ otlp_endpoint = \"http://127.0.0.1:{grpc}\", sample_ratio = 0.0 }}");
    let config = plant.configuration("traced", &more).unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    let ask = async |trace: Option<&str>| {
        let mut headers = vec![("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
        headers.extend(trace.map(|t| ("traceparent", t)));
        http::get(&format!("{}{TARGET}", facts["data"].as_str().unwrap()), &headers).await.unwrap()
    };
    let sampled = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let request = ask(Some(&sampled)).await;
    assert_eq!(request.status, 200);
    assert_eq!(ask(None).await.status, 200);
    let towards: Vec<String> = source.heads().iter().map(|h| h.to_ascii_lowercase()).collect();
    assert!(towards[0].contains(&format!("traceparent: 00-{TRACE}-")), "{}", towards[0]);
    assert!(!towards[0].contains("00f067aa0ba902b7"), "the source's parent is our span, not the caller's");

    broker.signal("TERM").unwrap(); // a drain flushes
    let mut broker = broker;
    tokio::task::spawn_blocking(move || broker.0.wait()).await.unwrap().unwrap();
    let text = wait::until("the trace at the collector", async || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains(TRACE).then_some(text)
    })
    .await
    .unwrap();
    for step in ["GET plain", request.request_id(), "authenticate", "authorize", "record", "forward"] {
        assert!(text.contains(step), "no span `{step}` in\n{text}");
    }
    assert!(!text.contains(plant.token("acme")), "a token must not stand in a trace");
    plant.stop().await;
}
