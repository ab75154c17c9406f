//! HTTPS by rustls, met by a client that is not ours.

use acceptance::{Plant, wait};
use millgate::serve::{self, Running};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use runtime::clock::SystemClock;
use runtime::config::Config;
use runtime::shutdown::Shutdown;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";

/// Writes `ca.pem`, `server.pem` and `server.key` of a fresh authority.
pub(crate) fn certify(directory: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name.push(rcgen::DnType::CommonName, "an authority of the test");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([String::from("127.0.0.1"), String::from("localhost")]).unwrap();
    let certificate = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    std::fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
    std::fs::write(directory.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(directory.join("ca.pem"), ca_certificate.pem()).unwrap();
}

async fn secured(plant: &Plant) -> (Running, Shutdown) {
    certify(plant.directory.path());
    let config =
        plant.configuration("secured", "tls = { certificate = \"server.pem\", key = \"server.key\" }").unwrap();
    let shutdown = Shutdown::new();
    let running = serve::start(&Config::load(&config).unwrap(), shutdown.clone(), Arc::new(SystemClock)).await.unwrap();
    (running, shutdown)
}

/// `version status` as curl reports them, or its error.
fn curl(plant: &Plant, running: &Running, more: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-s", "-S", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--cacert"]);
    command.arg(plant.directory.path().join("ca.pem")).args(more);
    command.args(["-H", &format!("Authorization: Bearer {}", plant.token("acme"))]);
    command.args(["-H", "Millgate-Purpose: predictive-maintenance", &format!("{}{TARGET}", running.data_url())]);
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn https_speaks_http1_and_http2() {
    let plant = Plant::start().await.unwrap();
    let (running, _shutdown) = secured(&plant).await;
    assert!(running.data_url().starts_with("https://"));
    assert_eq!(curl(&plant, &running, &["--http2"]), "2 200");
    assert_eq!(curl(&plant, &running, &["--http1.1"]), "1.1 200");
    assert_eq!(curl(&plant, &running, &["--http2", "--tls-max", "1.2"]), "2 200");
    let old = curl(&plant, &running, &["--tls-max", "1.1"]);
    assert!(old.contains("000"), "TLS 1.1 must not be spoken: {old}");
    running.drain().await;
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_over_without_a_restart_and_a_broken_one_is_not() {
    let plant = Plant::start().await.unwrap();
    let (running, _shutdown) = secured(&plant).await;
    assert_eq!(curl(&plant, &running, &[]), "2 200");
    std::fs::write(plant.directory.path().join("server.pem"), "not a certificate").unwrap();
    wait::until("the refusal in the log", async || {
        let refused = running.broker.metrics.registry().render();
        refused.contains("millgate_reloads_total{folder=\"certificate\",result=\"refused\"}").then_some(())
    })
    .await
    .unwrap();
    assert_eq!(curl(&plant, &running, &[]), "2 200", "the previous one stays in use");
    certify(plant.directory.path());
    // Another authority altogether: only the new certificate satisfies the new `ca.pem`.
    wait::until("the new certificate", async || (curl(&plant, &running, &[]) == "2 200").then_some(())).await.unwrap();
    running.drain().await;
    plant.stop().await;
}

/// A source behind TLS: answers `{}` and tells the heads that it read.
async fn secure_source(directory: &Path) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let config = broker::tls::server_config(&directory.join("server.pem"), &directory.join("server.key")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heads) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, tell) = (TlsAcceptor::from(config.clone()), tell.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let _ = tell.send(String::from_utf8_lossy(&head).to_ascii_lowercase());
                let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (port, heads)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_behind_tls_is_asked_only_under_its_own_authority_and_with_its_own_credential() {
    let plant = Plant::start().await.unwrap();
    let directory = plant.directory.path();
    certify(directory);
    let (port, mut heads) = secure_source(directory).await;
    std::fs::copy(directory.join("ca.pem"), directory.join("right.pem")).unwrap();
    // Another authority, which did not sign the source's certificate.
    certify(directory);
    std::fs::copy(directory.join("ca.pem"), directory.join("plant-ca.pem")).unwrap();
    std::fs::write(directory.join("historian.token"), "the-sources-own-token\n").unwrap();
    let sources = directory.join("policies/plants/munich/catalog/sources.toml");
    let text = std::fs::read_to_string(&sources).unwrap();
    let url = format!(
        "url = \"https://127.0.0.1:{port}\"\nca_file = \"{ca}\"\ntoken = {{ file = \"{token}\" }}",
        ca = directory.join("plant-ca.pem").display(),
        token = directory.join("historian.token").display()
    );
    let changed = text.replacen(&format!("url = \"http://{}\"", plant.demo.plant), &url, 1);
    assert_ne!(changed, text);
    let before = plant.demo.running.broker.generation();
    std::fs::write(&sources, changed).unwrap();
    wait::until("the new source", async || (plant.demo.running.broker.generation() > before).then_some(()))
        .await
        .unwrap();

    let purpose = [("millgate-purpose", "predictive-maintenance")];
    let answer = plant.get("acme", TARGET, &purpose).await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (502, "source_unreachable"), "{}", answer.text());
    assert!(heads.try_recv().is_err(), "nothing is said to a source that cannot prove who it is");

    std::fs::copy(directory.join("right.pem"), directory.join("plant-ca.pem")).unwrap();
    wait::until("the new authority", async || {
        let answer = plant.get("acme", TARGET, &purpose).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await
    .unwrap();
    let head = heads.recv().await.unwrap();
    assert!(head.contains("authorization: bearer the-sources-own-token\r\n"), "{head}");
    assert!(!head.contains(&plant.token("acme").to_ascii_lowercase()), "{head}");
    plant.stop().await;
}
