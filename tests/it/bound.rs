//! Tokens of a real provider: keys that change while requests flow, and tokens that are worthless without a key. The client
//! is a Python script, as a supplier would write it.

use acceptance::providers::Server;
use acceptance::{Plant, http, wait};
use millgate::serve::{self, Running};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use runtime::clock::SystemClock;
use runtime::config::Config;
use runtime::shutdown::Shutdown;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";

/// Writes a file of the registry and waits until it is in use.
async fn register(plant: &Plant, broker: &broker::Broker, text: &str) {
    let before = broker.generation();
    let registry = plant.directory.path().join("policies/plants/munich/registry");
    std::fs::write(registry.join("provider.toml"), text).unwrap();
    wait::until("the registry", async || (broker.generation() > before).then_some(())).await.unwrap();
}

fn issuer(provider: &Server, more: &str) -> String {
    format!(
        "[issuer.acme-provider]\norganisation = \"acme\"\nurl = \"{}\"\naudiences = [\"{}\"]\nalgorithms = [\"ES256\"]\n{more}",
        provider.text("/issuer"),
        provider.text("/audience"),
    )
}

/// Runs the supplier's script in one of its ways: way → `[status, reason]`.
fn script(way: &str, provider: &Server, running: &Running, more: &[&str]) -> Value {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let client = format!("{}:{}", provider.text("/clients/0/client_id"), provider.text("/clients/0/client_secret"));
    let target = format!("{}{TARGET}", running.data_url());
    let mut command = Command::new(tests.join(".tools/venv/bin/python"));
    command.arg(tests.join("clients/supplier.py")).args([way, "--client", &client, "--target", &target]);
    command.args(["--token-endpoint", provider.text("/token_endpoint"), "--audience", provider.text("/audience")]);
    let output = tokio::task::block_in_place(|| command.args(more).output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_changes_its_key_while_requests_flow_and_none_is_refused() {
    let plant = Plant::start().await.unwrap();
    let mut provider = Server::start("oidc-provider.mjs", &["--audience", millgate::demo::AUDIENCE]).unwrap();
    register(&plant, &plant.demo.running.broker, &issuer(&provider, "")).await;
    let url = format!("{}{TARGET}", plant.data());
    let ask = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
        http::get(&url, &headers).await.unwrap()
    };
    let old = provider.token().await.unwrap();
    assert_eq!(ask(&old).await.status, 200, "{}", ask(&old).await.text());
    provider.tell("rotate").unwrap();
    let new = provider.token().await.unwrap();
    let requests = (0..40).map(|n| ask(if n % 2 == 0 { &old } else { &new }));
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_bound_to_a_key_counts_with_a_new_proof_for_each_request_and_not_otherwise() {
    let plant = Plant::start().await.unwrap();
    let provider = Server::start("oidc-provider.mjs", &["--audience", millgate::demo::AUDIENCE]).unwrap();
    let running = &plant.demo.running;
    register(&plant, &running.broker, &issuer(&provider, "binding = [\"dpop\"]\n")).await;
    let expected = json!({
        "good": [200, ""], "a second proof": [200, ""],
        "replayed": [401, "proof_replayed"], "without a proof": [401, "bad_proof"], "as bearer": [401, "bad_binding"],
        "for another method": [401, "bad_proof"], "for another address": [401, "bad_proof"],
        "for another token": [401, "bad_proof"], "of another key": [401, "bad_binding"],
        "of an hour ago": [401, "bad_proof"],
    });
    assert_eq!(script("dpop", &provider, running, &[]), expected);

    // The same with a nonce of ours in each proof.
    register(&plant, &running.broker, &issuer(&provider, "binding = [\"dpop\"]\ndpop_nonce = true\n")).await;
    let said = script("dpop", &provider, running, &[]);
    assert_eq!(said["good"], json!([401, "nonce_required"]));
    assert_eq!(said["good with the nonce"], json!([200, ""]));
    for (way, answer) in expected.as_object().unwrap().iter().filter(|(way, _)| *way != "good") {
        assert_eq!(&said[way], answer, "{way}");
    }

    // A token that is not bound is not enough any longer, and the log says how those that were let in were bound.
    let plain = format!("Bearer {}", provider.token().await.unwrap());
    let refused = http::get(&format!("{}{TARGET}", running.data_url()), &[("authorization", &plain)]).await.unwrap();
    assert_eq!((refused.status, refused.reason().as_str()), (401, "binding_required"), "{}", refused.text());
    let entries = plant.audit("kind=decision").await.unwrap();
    assert!(entries.iter().any(|e| e["binding"] == "dpop" && e["decision"] == "allow"), "{entries:?}");
    plant.stop().await;
}

/// An authority's certificate and key, in memory and as a file.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new(file: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, file.file_stem().unwrap().to_str().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        std::fs::write(file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { params, key }
    }

    /// Certificate and key of `name`, in one file and apart.
    fn issue(&self, directory: &Path, file: &str, name: SanType, usage: ExtendedKeyUsagePurpose) {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(Vec::new()).unwrap();
        leaf.subject_alt_names = vec![name];
        leaf.extended_key_usages = vec![usage];
        leaf.use_authority_key_identifier_extension = true;
        let certificate = leaf.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        std::fs::write(directory.join(format!("{file}.pem")), &certificate).unwrap();
        std::fs::write(directory.join(format!("{file}.key")), &key).unwrap();
        std::fs::write(directory.join(format!("{file}.both.pem")), certificate + &key).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_bound_to_a_client_certificate_counts_on_its_connections_alone() {
    let said = mutual(|ca| {
        format!(
            "[authority.acme-machines]\norganisation = \"acme\"\nca_file = \"{ca}\"\n\
             spiffe = {{ trust_domain = \"acme.example\" }}\n"
        )
    });
    let expected = json!({
        "own certificate": [200, ""], "another certificate": [401, "bad_binding"], "no certificate": [401, "bad_binding"],
        "the certificate alone": [200, ""], "neither": [401, "no_credential"],
    });
    assert_eq!(said.await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_authority_that_is_not_registered_binds_a_token_and_is_nobodys() {
    let said = mutual(|_| String::from("unregistered_certificates = true\n"));
    let expected = json!({
        "own certificate": [200, ""], "another certificate": [401, "bad_binding"], "no certificate": [401, "bad_binding"],
        "the certificate alone": [401, "unknown_authority"], "neither": [401, "no_credential"],
    });
    assert_eq!(said.await, expected);
}

/// What a script with a certificate of ACME's own authority hears from a plant whose registry says `more` of ACME's issuer;
/// `more` is told the file of that authority.
async fn mutual(more: impl FnOnce(&str) -> String) -> Value {
    let plant = Plant::start().await.unwrap();
    let directory = plant.directory.path();
    let site = Authority::new(&directory.join("site.pem"));
    let acme = Authority::new(&directory.join("acme.pem"));
    let address = SanType::IpAddress("127.0.0.1".parse().unwrap());
    site.issue(directory, "server", address, ExtendedKeyUsagePurpose::ServerAuth);
    for machine in ["press-3", "press-4"] {
        let name = SanType::URI(format!("spiffe://acme.example/{machine}").try_into().unwrap());
        acme.issue(directory, machine, name, ExtendedKeyUsagePurpose::ClientAuth);
    }
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let [certificate, key, client_ca] = [file("server.pem"), file("server.key"), file("acme.pem")];
    let options = ["--certificate", &certificate, "--key", &key, "--client-ca", &client_ca];
    let provider =
        Server::start("oidc-provider.mjs", &[&["--audience", millgate::demo::AUDIENCE], &options[..]].concat())
            .unwrap();

    let config =
        plant.configuration("secured", "tls = { certificate = \"server.pem\", key = \"server.key\" }").unwrap();
    let shutdown = Shutdown::new();
    let running = serve::start(&Config::load(&config).unwrap(), shutdown.clone(), Arc::new(SystemClock)).await.unwrap();
    let more = format!("ca_file = \"{}\"\n{}", file("site.pem"), more(&client_ca));
    register(&plant, &running.broker, &issuer(&provider, &more)).await;

    let (ca, own, other) = (file("site.pem"), file("press-3.both.pem"), file("press-4.both.pem"));
    let said = script("mutual", &provider, &running, &["--ca", &ca, "--certificate", &own, "--other", &other]);
    shutdown.begin("the test is over");
    running.drain().await;
    plant.stop().await;
    said
}
