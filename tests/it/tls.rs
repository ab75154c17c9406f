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

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";

/// Writes `ca.pem`, `server.pem` and `server.key` of a fresh authority.
fn certify(directory: &Path) {
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
