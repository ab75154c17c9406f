//! The audit log over gRPC: by our client and by one that is not ours, for auditors, for suppliers, and against strangers.

use acceptance::process::{self, Guard};
use acceptance::{Plant, http, wait};
use audit::query::{Found, Query};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use proto::audit::v1::audit_log_client::AuditLogClient;
use proto::audit::v1::{
    CheckpointRequest, Filter, ProveRequest, QueryRequest, QueryResponse, SummaryRequest, TailRequest, TailResponse,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tokio::net::TcpStream;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: [(&str, &str); 1] = [("millgate-purpose", "predictive-maintenance")];
const SIEM: &str = "siem.audax.example";

/// A broker process of its own behind TLS, whose auditors have an authority.
struct Secured {
    plant: Plant,
    process: Guard,
    facts: Value,
    config: PathBuf,
}

fn sign(
    folder: &Path,
    ca: &CertifiedIssuer<'static, KeyPair>,
    file: &str,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join(format!("{file}.pem")), params.signed_by(&key, ca).unwrap().pem()).unwrap();
    std::fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
}

impl Secured {
    async fn start() -> Self {
        let plant = Plant::start().await.unwrap();
        let folder = plant.directory.path().join("pki");
        std::fs::create_dir(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // A name of its own, or OpenSSL takes what it signs for self-signed.
        params.distinguished_name.push(DnType::CommonName, "Audax Machines");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        sign(&folder, &ca, "server", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
        sign(&folder, &ca, "siem", SIEM, ExtendedKeyUsagePurpose::ClientAuth);
        sign(&folder, &ca, "other", "other.audax.example", ExtendedKeyUsagePurpose::ClientAuth);
        std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
        let registered = format!(
            "[authority.audax-machines]\norganisation = \"audax\"\nca_file = \"{}\"\ndns = [\"audax.example\"]\n\n\
             [principal.\"audax/{SIEM}\"]\nkind = \"service\"\nroles = [\"auditor\"]\n",
            folder.join("ca.pem").display(),
        );
        std::fs::write(plant.directory.path().join("policies/plants/munich/registry/siem.toml"), registered).unwrap();
        let tls = "tls = { certificate = \"pki/server.pem\", key = \"pki/server.key\" }";
        let config = plant.configuration("secured", tls).unwrap();
        let (process, facts) = process::serve(&config, "").unwrap();
        Self { plant, process, facts, config }
    }

    fn again(&mut self) {
        (self.process, self.facts) = process::serve(&self.config, "").unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.plant.directory.path().join("pki").join(name)
    }

    fn fact(&self, name: &str) -> String {
        self.facts[name].as_str().unwrap_or_default().to_owned()
    }

    fn api(&self) -> String {
        self.fact("api").rsplit('/').next().unwrap_or_default().to_owned()
    }

    async fn client(&self, name: &str) -> AuditLogClient<Channel> {
        let roots = broker::tls::Roots::Own(vec![CertificateDer::from_pem_file(self.file("ca.pem")).unwrap()]);
        let (certificate, key) = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        let mut config = broker::tls::client_config_with(&roots, &certificate, &key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
        let address = self.api();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let endpoint = endpoint.origin(format!("https://{address}").parse().unwrap());
        let connect = tower::service_fn(move |_: ::http::Uri| {
            let (tls, address) = (tls.clone(), address.clone());
            async move {
                let socket = TcpStream::connect(address).await?;
                let connected = tls.connect(ServerName::try_from("127.0.0.1").unwrap(), socket).await?;
                Ok::<_, std::io::Error>(TokioIo::new(connected))
            }
        });
        AuditLogClient::new(endpoint.connect_with_connector(connect).await.unwrap())
    }

    /// The entries as they lie in the published files.
    fn published(&self) -> Vec<Found> {
        let query = Query { limit: 1000, newest_first: false, ..Query::default() };
        let page = audit::query::offline(&self.plant.directory.path().join("secured/published"), &query).unwrap();
        assert_eq!(page.next, None, "more than a page");
        page.entries
    }
}

fn of(metadata: &MetadataMap, name: &str) -> String {
    metadata.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

fn said(status: &Status) -> (Code, String) {
    assert_eq!(of(status.metadata(), "millgate-request-id").len(), 36, "{status:?}");
    (status.code(), of(status.metadata(), "millgate-reason"))
}

async fn next(tail: &mut Streaming<TailResponse>) -> Result<(u64, Vec<u8>), Status> {
    let message =
        tokio::time::timeout(std::time::Duration::from_secs(30), tail.message()).await.expect("a silent tail");
    let entry = message?.expect("a tail has no end of its own").entry.unwrap();
    Ok((entry.index, entry.entry))
}

fn verify(proof: &Path, key: &str) -> (Option<i32>, Value) {
    let mut command = Command::new(process::executable("millgate-verify").unwrap());
    command.args(["proof", proof.to_str().unwrap(), "--key", key, "--json"]);
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_goes_on_after_a_restart_without_a_gap_or_a_double() {
    let mut secured = Secured::start().await;
    let mut seen = Vec::new();
    let mut client = secured.client("siem").await;
    for kill in [true, false] {
        let after = seen.last().map(|(index, _)| *index);
        let mut tail = client.tail(TailRequest { after, filter: None }).await.unwrap().into_inner();
        for _ in 0..4 {
            client.query(QueryRequest { limit: Some(1), ..QueryRequest::default() }).await.unwrap();
        }
        // The call itself, and each search with its outcome: what was seen is durable.
        for _ in 0..9 {
            seen.push(next(&mut tail).await.unwrap());
        }
        if kill {
            secured.process.kill();
        } else {
            secured.process.signal("TERM").unwrap();
        }
        // What was on its way may still come.
        let status = loop {
            match next(&mut tail).await {
                Ok(entry) => seen.push(entry),
                Err(status) => break status,
            }
        };
        if !kill {
            assert_eq!(said(&status), (Code::Unavailable, String::from("shutting_down")));
        }
        let _ = secured.process.0.wait();
        secured.again();
        client = secured.client("siem").await;
    }
    let after = seen.last().map(|(index, _)| *index);
    let mut tail = client.tail(TailRequest { after, filter: None }).await.unwrap().into_inner();
    let size = client.query(QueryRequest::default()).await.unwrap().into_inner().size;
    while seen.last().is_none_or(|(index, _)| *index + 1 < size) {
        seen.push(next(&mut tail).await.unwrap());
    }
    drop(tail);
    let (first, last) = (seen[0].0, seen[seen.len() - 1].0);
    assert!(first > 0 && seen.iter().map(|(index, _)| *index).eq(first..=last), "{:?}", seen.iter().map(|s| s.0));

    // Proven, with a receipt for the very reading.
    let answer = client.prove(ProveRequest { index: Some(last), ..ProveRequest::default() }).await.unwrap();
    let receipt = tlog::Receipt::parse(&of(answer.metadata(), "audit-receipt")).unwrap();
    assert_eq!(receipt.origin, "munich.example/secured");
    assert_eq!(receipt.request, of(answer.metadata(), "millgate-request-id"));
    let proof = secured.file("entry.tlog-proof");
    std::fs::write(&proof, answer.into_inner().proof).unwrap();
    let (code, verdict) = verify(&proof, &secured.fact("log_key"));
    assert_eq!(code, Some(0), "{verdict}");
    assert_eq!(verdict["entry"], serde_json::from_slice::<Value>(&seen[seen.len() - 1].1).unwrap());
    let note = client.checkpoint(CheckpointRequest {}).await.unwrap().into_inner().note;
    assert!(note.starts_with("munich.example/secured\n"), "{note}");

    let by = vec![String::from("organisation"), String::from("kind")];
    let table =
        client.summary(SummaryRequest { by: by.clone(), ..SummaryRequest::default() }).await.unwrap().into_inner();
    let row = table.rows.iter().find(|row| row.group == ["audax", "audit_read"]).expect("a row of ours");
    assert!(row.decisions >= 13 && table.by == by, "{table:?}");

    // Everything was the stored bytes, and stands there with its outcome.
    secured.process.signal("TERM").unwrap();
    let _ = secured.process.0.wait();
    let published = secured.published();
    for (index, entry) in &seen {
        assert_eq!(published[usize::try_from(*index).unwrap()].entry.as_bytes(), entry);
    }
    let entries: Vec<Value> = published.iter().map(|found| serde_json::from_str(&found.entry).unwrap()).collect();
    let ended = |route: &str| -> Vec<&str> {
        let readings = entries.iter().filter(|e| e["kind"] == "audit_read" && e["route"] == route);
        readings
            .map(|reading| {
                let outcomes = entries.iter().filter(|e| e["kind"] == "outcome" && e["request"] == reading["request"]);
                let outcomes: Vec<&str> = outcomes.map(|outcome| outcome["ended"].as_str().unwrap()).collect();
                assert_eq!(outcomes.len(), 1, "{reading}");
                outcomes[0]
            })
            .collect()
    };
    assert_eq!(ended("grpc-audit-query"), vec!["complete"; 9]);
    assert_eq!(ended("grpc-audit-tail"), ["unknown_after_crash", "complete", "caller_aborted"]);
    assert_eq!(ended("grpc-audit-proof"), ["complete"]);
    assert_eq!(ended("grpc-audit-summary"), ["complete"]);
    assert!(entries.iter().all(|e| e["route"] != "grpc-audit-checkpoint"), "it says nothing of anybody");
    secured.plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_ours_needs_nothing_but_the_contract() {
    let mut secured = Secured::start().await;
    let mut client = secured.client("siem").await;
    for _ in 0..4 {
        client.query(QueryRequest::default()).await.unwrap();
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(here.join(".tools/venv/bin/python"));
    command.arg(here.join("clients/siem.py")).arg("--proto").arg(here.join("../proto"));
    command.args(["--api", &secured.api(), "--entries", "8", "--ca"]).arg(secured.file("ca.pem"));
    command.arg("--cert").arg(secured.file("siem.pem")).arg("--key").arg(secured.file("siem.key"));
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    let failed = || format!("`bash tests/run` installs what it needs: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", failed());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    secured.process.signal("TERM").unwrap();
    let _ = secured.process.0.wait();

    let published = secured.published();
    let stored = |index: &String| Value::from(published[index.parse::<usize>().unwrap()].entry.as_str());
    for (what, least) in [("queried", 10), ("tailed", 8)] {
        let entries = told[what].as_object().unwrap();
        assert!(entries.len() >= least, "{told}");
        assert!(entries.iter().all(|(index, entry)| *entry == stored(index)), "{told}");
    }
    let mut tailed: Vec<u64> = told["tailed"].as_object().unwrap().keys().map(|key| key.parse().unwrap()).collect();
    tailed.sort_unstable();
    assert_eq!(tailed, (1..=8).collect::<Vec<u64>>());
    assert!(told["pages"].as_u64() > Some(3));
    assert!(told["note"].as_str().unwrap().starts_with("munich.example/secured\n"));
    assert_eq!((&told["refused"][0], &told["refused"][1]), (&json!("INVALID_ARGUMENT"), &json!("bad_parameter")));
    let proof = secured.file("python.tlog-proof");
    std::fs::write(&proof, told["proof"].as_str().unwrap()).unwrap();
    assert_eq!(verify(&proof, &secured.fact("log_key")).0, Some(0));
    secured.plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_the_role_reads_nothing() {
    let secured = Secured::start().await;
    let mut client = secured.client("other").await;
    let refused = client.query(QueryRequest::default()).await.unwrap_err();
    assert_eq!(said(&refused), (Code::PermissionDenied, String::from("not_permitted")));
    let refused = client.tail(TailRequest::default()).await.unwrap_err();
    assert_eq!(said(&refused), (Code::PermissionDenied, String::from("not_permitted")));
    // What says nothing of anybody is for whoever is known, once there is one.
    let checkpoint = async || client.checkpoint(CheckpointRequest {}).await.ok().map(drop);
    wait::until("a checkpoint", checkpoint).await.unwrap();
    secured.plant.stop().await;
}

/// A plant without TLS whose supplier ACME has an auditor.
pub async fn plant() -> Plant {
    Plant::start_with(|directory| {
        let name = "policies/plants/munich/registry/principals.toml";
        let text = std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR")))?;
        let principals = directory.join(name);
        std::fs::create_dir_all(principals.parent().unwrap())?;
        let line = "[principal.\"acme/engineer-1\"]";
        Ok(std::fs::write(&principals, text.replace(line, &format!("{line}\nroles = [\"auditor\"]")))?)
    })
    .await
    .unwrap()
}

async fn client(plant: &Plant) -> AuditLogClient<Channel> {
    AuditLogClient::new(Endpoint::from_shared(plant.api()).unwrap().connect().await.unwrap())
}

pub fn with<T>(plant: &Plant, caller: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {}", plant.token(caller));
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    request
}

pub fn of_organisation(name: &str) -> Option<Filter> {
    Some(Filter { organisation: Some(name.to_owned()), ..Filter::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_reads_its_own_entries_and_nobody_elses() {
    let plant = plant().await;
    let mut client = client(&plant).await;
    let own = plant.get("acme", TARGET, &PURPOSE).await.unwrap();
    let foreign = plant.get("bolt", TARGET, &PURPOSE).await.unwrap();
    let query = |organisation: Option<Filter>| QueryRequest { filter: organisation, ..QueryRequest::default() };
    let answer = client.query(with(&plant, "acme", query(of_organisation("acme")))).await.unwrap();
    let id = of(answer.metadata(), "millgate-request-id");
    let QueryResponse { entries, .. } = answer.into_inner();
    let parsed: Vec<Value> = entries.iter().map(|found| serde_json::from_slice(&found.entry).unwrap()).collect();
    assert!(parsed.iter().any(|entry| entry["request"] == own.request_id()), "{parsed:?}");
    assert!(parsed.iter().all(|entry| entry["org"] == "acme"), "{parsed:?}");
    let recorded = plant.closed(&id).await.unwrap();
    assert_eq!(
        (&recorded[0]["kind"], &recorded[0]["route"], &recorded[0]["decision"], &recorded[0]["method"]),
        (&json!("audit_read"), &json!("grpc-audit-query"), &json!("allow"), &json!("POST"))
    );
    assert_eq!((&recorded[1]["ended"], &recorded[1]["status"]), (&json!("complete"), &json!(200)));
    assert!(recorded[1]["bytes"].as_u64() > Some(1000), "{recorded:?}");

    for (caller, asked) in [("acme", None), ("acme", of_organisation("bolt")), ("bolt", of_organisation("bolt"))] {
        let refused = client.query(with(&plant, caller, query(asked.clone()))).await.unwrap_err();
        assert_eq!(said(&refused), (Code::PermissionDenied, String::from("not_permitted")), "{caller} {asked:?}");
        let recorded = plant.entries_of(&of(refused.metadata(), "millgate-request-id")).await.unwrap();
        assert_eq!(recorded.len(), 1, "{recorded:?}");
        assert_eq!((&recorded[0]["kind"], &recorded[0]["decision"]), (&json!("audit_read"), &json!("deny")));
        let refused =
            client.tail(with(&plant, caller, TailRequest { filter: asked, after: Some(0) })).await.unwrap_err();
        assert_eq!(said(&refused), (Code::PermissionDenied, String::from("not_permitted")));
    }
    // Somebody else's entry and none at all look the same.
    let prove = |request: &str| ProveRequest {
        request: Some(request.to_owned()),
        organisation: Some(String::from("acme")),
        ..ProveRequest::default()
    };
    client.prove(with(&plant, "acme", prove(own.request_id()))).await.unwrap();
    let mut details = Vec::new();
    for request in [foreign.request_id(), "01a20522-59ec-7312-8079-6642e2582ffb"] {
        let refused = client.prove(with(&plant, "acme", prove(request))).await.unwrap_err();
        assert_eq!(said(&refused), (Code::NotFound, String::from("not_found")));
        details.push(refused.message().to_owned());
    }
    assert_eq!(details[0], details[1]);
    let all = client.summary(with(&plant, "acme", SummaryRequest::default())).await.unwrap_err();
    assert_eq!(all.code(), Code::PermissionDenied);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_ends_with_its_permission_and_says_why() {
    let plant = plant().await;
    let mut client = client(&plant).await;
    let asked = TailRequest { filter: of_organisation("acme"), after: None };
    let answer = client.tail(with(&plant, "acme", asked)).await.unwrap();
    let id = of(answer.metadata(), "millgate-request-id");
    let mut tail = answer.into_inner();
    let (_, first) = next(&mut tail).await.unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&first).unwrap()["request"],
        *id,
        "its own reading is the first it sees"
    );
    let registry = plant.directory.path().join("policies/plants/munich/registry");
    std::fs::write(registry.join("out.toml"), "[revoked]\norganisations = [\"acme\"]\n").unwrap();
    let status = next(&mut tail).await.unwrap_err();
    assert_eq!(said(&status), (Code::PermissionDenied, String::from("organisation_suspended")));
    assert_eq!(of(status.metadata(), "millgate-request-id"), id);
    let recorded = plant.closed(&id).await.unwrap();
    assert_eq!((&recorded[0]["route"], &recorded[1]["ended"]), (&json!("grpc-audit-tail"), &json!("withdrawn")));
    plant.stop().await;
}

/// One POST over HTTP/2 as it is given: status, headers and trailers together, body.
pub async fn post(
    plant: &Plant,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, ::http::HeaderMap, String) {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let mut request = ::http::Request::builder().method("POST").uri(format!("{}{path}", plant.api()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = client.request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap();
    let mut headers = parts.headers;
    headers.extend(body.trailers().cloned().unwrap_or_default());
    (parts.status.as_u16(), headers, String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

pub fn framed(flag: u8, length: usize, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}

const QUERY: &str = "/millgate.audit.v1.AuditLog/Query";
const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// Path, body; code, reason, and the route in the record.
type BadCall = (&'static str, Vec<u8>, &'static str, &'static str, Option<&'static str>);

/// What can be sent, with what somebody gets for it who is known.
fn bad_calls() -> Vec<BadCall> {
    let good = QueryRequest { limit: Some(1), ..QueryRequest::default() }.encode_to_vec();
    let whole = framed(0, good.len(), &good);
    let route = Some("grpc-audit-query");
    vec![
        ("/millgate.audit.v1.AuditLog/Erase", whole.clone(), "12", "not_found", None),
        ("/millgate.audit.v2.AuditLog/Query", whole.clone(), "12", "not_found", None),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", whole.clone(), "12", "not_found", None),
        ("/grpc.health.v1.Health/Check", framed(0, 0, &[]), "12", "not_found", None),
        (QUERY, Vec::new(), "3", "bad_parameter", route),
        (QUERY, vec![0, 0], "3", "bad_parameter", route),
        (QUERY, framed(0, 4096, &good), "3", "bad_parameter", route),
        (QUERY, framed(0, usize::try_from(u32::MAX).unwrap(), &good), "3", "bad_parameter", route),
        (QUERY, framed(0, 3, &[0xff; 3]), "3", "bad_parameter", route),
        (QUERY, [whole.clone(), whole.clone()].concat(), "3", "bad_parameter", route),
        (QUERY, framed(0, good.len() + 2, &[&good[..], &[0x78, 1]].concat()), "3", "undeclared_parameter", route),
        (QUERY, framed(0, 4, &[0x18, 0x88, 0x27, 0x00][..3]), "3", "bad_parameter", route),
        (QUERY, framed(1, good.len(), &good), "12", "undeclared_body", route),
        (QUERY, framed(7, good.len(), &good), "12", "undeclared_body", route),
        (QUERY, framed(0, 17_000, &[0; 17_000]), "8", "body_too_large", route),
        (QUERY, framed(0, 3_000_000, &vec![0; 3_000_000]), "8", "body_too_large", route),
        ("/millgate.audit.v1.AuditLog/Query?organisation=acme", whole, "3", "undeclared_parameter", route),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_is_refused_and_recorded_and_strangers_learn_nothing() {
    let plant = plant().await;
    let bearer = format!("Bearer {}", plant.token("auditor"));
    let text = |headers: &::http::HeaderMap, name: &str| -> String {
        headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let mut strangers = std::collections::BTreeSet::new();
    for (path, body, code, reason, route) in bad_calls() {
        let what = format!("{path} {} bytes", body.len());
        let (status, headers, rest) = post(&plant, path, &[GRPC, ("authorization", &bearer)], body.clone()).await;
        assert_eq!((status, text(&headers, "grpc-status")), (200, code.to_owned()), "{what}: {headers:?}");
        assert_eq!((text(&headers, "millgate-reason"), rest), (reason.to_owned(), String::new()), "{what}");
        let recorded = plant.entries_of(&text(&headers, "millgate-request-id")).await.unwrap();
        assert_eq!(recorded.len(), 1, "{what}: {recorded:?}");
        assert_eq!((&recorded[0]["kind"], &recorded[0]["reasons"]), (&json!("audit_read"), &json!([reason])), "{what}");
        assert_eq!(recorded[0].get("route").and_then(Value::as_str), route, "{what}");

        let (status, mut headers, rest) = post(&plant, path, &[GRPC], body).await;
        assert_eq!((status, text(&headers, "grpc-status")), (200, String::from("16")), "{what}: {headers:?}");
        assert_eq!(rest, "", "{what}");
        headers.remove("millgate-request-id");
        headers.remove("date");
        strangers.insert(format!("{headers:?}"));
    }
    assert_eq!(strangers.len(), 1, "one answer for all that strangers send: {strangers:?}");

    // Other protocols find nothing there.
    let good = QueryRequest::default().encode_to_vec();
    for media_type in
        ["application/grpc-web", "application/grpc-web-text", "application/grpc+json", "application/json", ""]
    {
        let headers = [("content-type", media_type), ("authorization", &bearer)];
        let (status, headers, body) = post(&plant, QUERY, &headers, framed(0, good.len(), &good)).await;
        assert_eq!((status, text(&headers, "grpc-status")), (404, String::new()), "{media_type}: {body}");
        let (status, ..) = post(&plant, QUERY, &[("content-type", media_type)], framed(0, good.len(), &good)).await;
        assert_eq!(status, 401, "{media_type}");
    }
    let url = format!("{}{QUERY}", plant.api());
    let headers = [GRPC, ("authorization", bearer.as_str())];
    for method in ["GET", "PUT", "OPTIONS", "POST"] {
        // Over HTTP/1.1, where trailers are lost on the way.
        let answer = http::send(method, &url, &headers, Bytes::new()).await.unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (404, "not_found"), "{method}");
    }
    let data = http::send("POST", &format!("{}{QUERY}", plant.data()), &headers, Bytes::new()).await.unwrap();
    assert_eq!(data.status, 404, "the proxy has no paths of ours");
    let forged = [GRPC, ("authorization", "Bearer nobody")];
    let (_, headers, _) = post(&plant, QUERY, &forged, framed(0, 0, &[])).await;
    assert_eq!(
        (text(&headers, "grpc-status"), text(&headers, "millgate-reason")),
        ("16".into(), "malformed_token".into())
    );
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_count_among_the_open_requests_of_their_organisation() {
    let plant = plant().await;
    let config = plant.configuration("small", "limits = { requests_per_organisation = 2 }").unwrap();
    let (_process, facts) = process::serve(&config, "").unwrap();
    let api = facts["api"].as_str().unwrap().to_owned();
    let mut client = AuditLogClient::new(Endpoint::from_shared(api.clone()).unwrap().connect().await.unwrap());
    let mut tails = Vec::new();
    for _ in 0..2 {
        let mut tail = client.tail(with(&plant, "auditor", TailRequest::default())).await.unwrap().into_inner();
        next(&mut tail).await.unwrap();
        tails.push(tail);
    }
    let refused = client.query(with(&plant, "auditor", QueryRequest::default())).await.unwrap_err();
    assert_eq!(said(&refused), (Code::Unavailable, String::from("overloaded")));
    assert_eq!(of(refused.metadata(), "retry-after"), "1");
    let bearer = format!("Bearer {}", plant.token("auditor"));
    let entries = format!("{api}/v1/audit/entries");
    let answer = http::get(&entries, &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(answer.status, 503, "both protocols take from the same places");
    // Others have theirs, and who leaves makes room.
    client
        .query(with(&plant, "acme", QueryRequest { filter: of_organisation("acme"), ..Default::default() }))
        .await
        .unwrap();
    tails.pop();
    wait::until("a place", async || {
        client.query(with(&plant, "auditor", QueryRequest::default())).await.ok().map(drop)
    })
    .await
    .unwrap();
    plant.stop().await;
}
