//! What a source sees: declared headers, who is behind a request, a client certificate; and what nobody else ever sees.

use acceptance::process::Guard;
use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, process, wait};
use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: (&str, &str) = ("millgate-purpose", "predictive-maintenance");
const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

/// Points the demo's historian to `url`, with `keys` beside it.
async fn historian(plant: &Plant, url: &str, keys: &str) {
    let path = plant.directory.path().join("policies/plants/munich/catalog/sources.toml");
    let original = path.with_extension("original");
    if !original.exists() {
        std::fs::copy(&path, &original).unwrap();
    }
    let text = std::fs::read_to_string(&original).unwrap();
    let (before, rest) = text.split_once("url = ").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    let changed = format!("{before}url = \"{url}\"\n{keys}\n{after}");
    let generation = plant.demo.running.broker.generation();
    std::fs::write(&path, changed).unwrap();
    wait::until("the changed source", async || (plant.demo.running.broker.generation() > generation).then_some(()))
        .await
        .unwrap();
}

/// Header names and values as they came, names in lower case.
fn headers(head: &str) -> Vec<(String, String)> {
    let lines = head.lines().skip(1).take_while(|line| !line.is_empty());
    lines.map(|l| l.split_once(": ").unwrap()).map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).collect()
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> &'h str {
    let mut found = headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value);
    let value = found.next().expect(name);
    assert_eq!(found.next(), None, "`{name}` stands twice");
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_caller_sends_beside_the_question_reaches_a_source() {
    let source = Source::start(None, Behaviour::Say(OK.to_vec())).await.unwrap();
    let plant = Plant::start().await.unwrap();
    historian(&plant, &format!("http://{}", source.address), "assertion = { audience = \"historian\" }").await;
    let sent = [
        ("dpop", "caller.s.proof"),
        ("millgate-actor-token", "caller.s.actor"),
        ("millgate-assertion", "caller.s.forgery"),
        ("x-api-key", "caller-s-key"),
        ("proxy-authorization", "Basic caller"),
        ("cookie", "session=caller"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-user", "admin"),
        ("forwarded", "for=203.0.113.7"),
        ("x-client-certificate", "caller-s-certificate"),
        ("x-http-method-override", "DELETE"),
        ("baggage", "caller=1"),
        ("tracestate", "caller=1"),
        ("referer", "http://caller.example"),
        ("accept", "text/caller"),
        ("accept-encoding", "br"),
        ("user-agent", "caller/1"),
        ("range", "bytes=0-1"),
        ("if-none-match", "\"caller\""),
        ("expect", "caller"),
        ("te", "trailers"),
    ];
    let mut served = 0;
    for one in sent {
        // What would be a second credential is refused; then the source hears nothing at all.
        let before = source.asked();
        let answer = plant.get("acme", TARGET, &[PURPOSE, one]).await.unwrap();
        assert_eq!(source.asked() - before, usize::from(answer.status == 200), "{one:?}: {}", answer.text());
        served += usize::from(answer.status == 200);
    }
    assert!(served > 10, "{served} of {} served", sent.len());
    let token = plant.token("acme").to_owned();
    for head in source.heads() {
        let mut names: Vec<_> = headers(&head).into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let expected = ["accept-encoding", "host", "millgate-assertion", "millgate-request-id", "user-agent"];
        assert_eq!(names, expected, "{head}");
        assert!(!head.contains("caller") && !head.contains("203.0.113.7") && !head.contains(&token), "{head}");
    }
    plant.stop().await;
}

/// The Python source, started, and its port.
fn verifying_source(keys: &str) -> (Guard, u16) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join(".tools/venv/bin/python");
    let mut command = Command::new(python);
    command.arg(here.join("providers/verifying-source.py")).arg(keys).arg(here.join("../docs/sources.md"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run `bash tests/tools/install`");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let facts: Value = serde_json::from_str(&line).expect("run `bash tests/tools/install`");
    (Guard(child), u16::try_from(facts["port"].as_u64().unwrap()).unwrap())
}

/// `millgate serve` on the plant's folders with the documentation's names, keys for a rotation, and its addresses.
fn told(plant: &Plant) -> (Guard, Value, PathBuf) {
    let keys = "assertion = { issuer = \"plant.example/broker-1\", next_key_file = \"told/assertion-next.key\", \
                previous_key_files = [\"told/assertion-previous.key\"] }";
    let (broker, facts) = process::serve(&plant.configuration("told", keys).unwrap(), "").unwrap();
    (broker, facts, plant.directory.path().join("told"))
}

async fn keys_published(facts: &Value) -> usize {
    let url = format!("{}/.well-known/jwks.json", facts["operator"].as_str().unwrap());
    let set = http::get(&url, &[]).await.unwrap().json().unwrap();
    set["keys"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_source_verifies_who_is_behind_each_request_through_a_rotation() {
    let plant = Plant::start().await.unwrap();
    let (broker, facts, audit) = told(&plant);
    let (_python, port) = verifying_source(&format!("{}/.well-known/jwks.json", facts["operator"].as_str().unwrap()));
    let to = "assertion = { audience = \"https://mes.plant.example\", lifetime = \"30s\" }";
    historian(&plant, &format!("http://127.0.0.1:{port}"), to).await;
    let bearer = format!("Bearer {}", plant.token("acme"));
    let ask = async || {
        let url = format!("{}{TARGET}", facts["data"].as_str().unwrap());
        http::get(&url, &[("authorization", bearer.as_str()), PURPOSE]).await.unwrap()
    };
    // The other broker takes the catalog over by itself.
    let answer = wait::until("an answer of the Python source", async || {
        let answer = ask().await;
        answer.json().ok().filter(|a| a.get("claims").is_some()).map(|_| answer)
    })
    .await
    .unwrap();
    let told = answer.json().unwrap();
    let claims = &told["claims"];
    assert_eq!(claims["jti"], answer.request_id());
    assert_eq!((&claims["organisation"], &claims["purpose"]), (&"acme".into(), &"predictive-maintenance".into()));
    assert_eq!((&claims["action"], &claims["resource"]), (&"readSeries".into(), &"Signal/press-3.vibration".into()));
    assert_eq!(claims["agreement"], answer.header("millgate-agreement"));
    assert!(claims["sub"].as_str().unwrap().starts_with("acme/"), "{claims}");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 30);

    // The steps of docs/sources.md, with requests all the while; the source fetches the keys when they are published.
    let next = audit.join("assertion-next.key");
    let made = Command::new("sh").current_dir(&audit).arg("-c").arg(step("openssl genpkey")).output().unwrap();
    assert!(made.status.success() && next.exists(), "{}", String::from_utf8_lossy(&made.stderr));
    wait::until("the next key", async || (keys_published(&facts).await == 2).then_some(())).await.unwrap();
    assert_eq!(ask().await.json().unwrap()["kid"], told["kid"], "published, and it does not sign yet");
    http::get(&format!("http://127.0.0.1:{port}/refetch"), &[]).await.unwrap();
    let moved = Command::new("sh").current_dir(&audit).arg("-c").arg(step("cp assertion.key")).status().unwrap();
    assert!(moved.success());
    wait::until("the next key's turn", async || {
        let answer = ask().await;
        assert_eq!(answer.status, 200, "a rotation must not cost one request: {}", answer.text());
        (answer.json().unwrap()["kid"] != told["kid"]).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(keys_published(&facts).await, 2);
    assert!(Command::new("sh").current_dir(&audit).arg("-c").arg(step("rm assertion")).status().unwrap().success());
    wait::until("the end of the previous key", async || (keys_published(&facts).await == 1).then_some(()))
        .await
        .unwrap();
    assert_eq!(ask().await.status, 200);
    drop(broker);
    plant.stop().await;
}

/// A command of the documentation, word for word.
fn step(begins: &str) -> String {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sources.md")).unwrap();
    page.lines().find(|line| line.starts_with(begins)).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_refuses_what_was_said_to_another_or_changed_on_the_way() {
    let plant = Plant::start().await.unwrap();
    let (_broker, facts, _) = told(&plant);
    let (_python, port) = verifying_source(&format!("{}/.well-known/jwks.json", facts["operator"].as_str().unwrap()));
    let another = Source::start(None, Behaviour::Say(OK.to_vec())).await.unwrap();
    // The same audience in another letter case is another audience.
    let to = "assertion = { audience = \"https://MES.plant.example\" }";
    historian(&plant, &format!("http://{}", another.address), to).await;
    let bearer = format!("Bearer {}", plant.token("acme"));
    let url = format!("{}{TARGET}", facts["data"].as_str().unwrap());
    wait::until("a request at the other source", async || {
        http::get(&url, &[("authorization", bearer.as_str()), PURPOSE]).await.unwrap();
        (another.asked() > 0).then_some(())
    })
    .await
    .unwrap();
    let said = headers(&another.heads()[0]);
    let (assertion, request) = (header(&said, "millgate-assertion"), header(&said, "millgate-request-id"));
    let (head, rest) = assertion.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = String::from_utf8(engine.decode(claims).unwrap()).unwrap();
    let other_name = engine.encode(claims.replace("acme", "bolt"));
    let right_audience = engine.encode(claims.replace("MES", "mes"));
    let header_of = |text: &str| engine.encode(text);
    let mine = header_of("{\"alg\":\"none\",\"typ\":\"millgate-assertion+jwt\"}");
    for (what, attempt) in [
        ("another audience", assertion.to_owned()),
        ("another name", format!("{head}.{other_name}.{signature}")),
        ("another audience written in", format!("{head}.{right_audience}.{signature}")),
        ("alg none", format!("{mine}.{right_audience}.")),
        ("no signature", format!("{head}.{right_audience}.")),
        // The caller's own token, in the hope that any signature will do.
        ("a caller's token", plant.token("acme").to_owned()),
    ] {
        let sent = [("millgate-assertion", attempt.as_str()), ("millgate-request-id", request)];
        let answer = http::get(&format!("http://127.0.0.1:{port}/query"), &sent).await.unwrap();
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_a_credential_gets_the_statement_as_a_bearer_token() {
    let source = Source::start(None, Behaviour::Say(OK.to_vec())).await.unwrap();
    let plant = Plant::start().await.unwrap();
    let to = "assertion = { audience = \"historian\", header = \"authorization\" }";
    historian(&plant, &format!("http://{}", source.address), to).await;
    assert_eq!(plant.get("acme", TARGET, &[PURPOSE]).await.unwrap().status, 200);
    let said = headers(&source.heads()[0]);
    let token = header(&said, "authorization").strip_prefix("Bearer ").unwrap();
    assert_eq!(token.split('.').count(), 3);
    assert_ne!(token, plant.token("acme"));
    plant.stop().await;
}

/// `ca.pem`, and by its authority: `server.pem` and `server.key` for 127.0.0.1, `NAME.pem` and `NAME.key` for each client.
fn certify(directory: &Path, clients: &[&str]) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name.push(DnType::CommonName, "an authority of the test");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(directory.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = Issuer::from_params(&ca, &ca_key);
    for name in clients.iter().chain(&["server"]) {
        let key = KeyPair::generate().unwrap();
        let names = if *name == "server" { vec![String::from("127.0.0.1")] } else { Vec::new() };
        let mut leaf = CertificateParams::new(names).unwrap();
        leaf.distinguished_name.push(DnType::CommonName, *name);
        std::fs::write(directory.join(format!("{name}.pem")), leaf.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// OpenSSL's own server, which serves nobody without a certificate of `ca.pem`, and says whose it was.
fn openssl_server(directory: &Path) -> (Guard, u16) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{free}")]);
    command.args(["-cert", "server.pem", "-key", "server.key", "-CAfile", "ca.pem"]);
    command.args(["-Verify", "1", "-verify_return_error"]).stdout(Stdio::null()).stderr(Stdio::null());
    (Guard::spawn(&mut command).unwrap(), free)
}

fn copy(directory: &Path, from: &str, to: &str) {
    for end in ["pem", "key"] {
        std::fs::copy(directory.join(format!("{from}.{end}")), directory.join(format!("{to}.{end}"))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_asks_for_a_client_certificate_gets_it_and_the_next_one_too() {
    let plant = Plant::start().await.unwrap();
    let directory = plant.directory.path().to_owned();
    certify(&directory, &["millgate-first", "millgate-second"]);
    let (_server, port) = openssl_server(&directory);
    wait::until("openssl", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await.unwrap();
    let url = format!("https://127.0.0.1:{port}");
    let ca = format!("ca_file = \"{}\"\n", directory.join("ca.pem").display());
    historian(&plant, &url, &ca).await;
    let answer = plant.get("acme", TARGET, &[PURPOSE]).await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (502, "source_unreachable"), "{}", answer.text());

    copy(&directory, "millgate-first", "own");
    let own = format!(
        "{ca}certificate_file = \"{}\"\nkey_file = \"{}\"\n",
        directory.join("own.pem").display(),
        directory.join("own.key").display()
    );
    historian(&plant, &url, &own).await;
    let answer = plant.get("acme", TARGET, &[PURPOSE]).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("millgate-first"), "{}", answer.text());

    // Half of a change: what does not belong together is not used.
    std::fs::copy(directory.join("millgate-second.pem"), directory.join("own.pem")).unwrap();
    wait::until("the refusal", async || {
        let counted = plant.demo.running.broker.metrics.registry().render();
        counted.contains("folder=\"sources\",result=\"refused\"").then_some(())
    })
    .await
    .unwrap();
    let problem = plant.audit("kind=admin").await.unwrap();
    let problem = problem.iter().find(|e| e["event"] == "refused").unwrap()["problems"].to_string();
    assert!(problem.contains("own.pem") && problem.contains("cannot be used together"), "{problem}");
    assert!(plant.get("acme", TARGET, &[PURPOSE]).await.unwrap().text().contains("millgate-first"));
    // And it holds nothing else back.
    let generation = plant.demo.running.broker.generation();
    let purpose = directory.join("policies/plants/munich/catalog/more.toml");
    std::fs::write(purpose, "[purpose.made-meanwhile]\ntitle = \"Made meanwhile\"\n").unwrap();
    wait::until("the new purpose", async || (plant.demo.running.broker.generation() > generation).then_some(()))
        .await
        .unwrap();
    std::fs::copy(directory.join("millgate-second.key"), directory.join("own.key")).unwrap();
    wait::until("the second certificate", async || {
        let text = plant.get("acme", TARGET, &[PURPOSE]).await.unwrap().text();
        text.contains("millgate-second").then_some(())
    })
    .await
    .unwrap();
    plant.stop().await;
}

/// A source that repeats in the headers that are passed on, and in the body of an error, whatever it was sent.
async fn echo(tls: Option<ServerConfig>) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heads) = tokio::sync::mpsc::unbounded_channel();
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, tell) = (acceptor.clone(), tell.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => repeat(stream, tell).await,
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        repeat(stream, tell).await;
                    }
                }
            });
        }
    });
    (port, heads)
}

async fn repeat(mut stream: impl AsyncRead + AsyncWrite + Unpin, tell: tokio::sync::mpsc::UnboundedSender<String>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let sent = headers(&head);
    let find = |name: &str| sent.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v);
    let (authorization, assertion) = (find("authorization"), find("millgate-assertion"));
    let all = head.replace("\r\n", " ");
    let answer = if head.contains("PL1.PR03.VIB") {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json; was=\"{authorization}\"\r\n\
             content-language: {assertion}\r\ncontent-disposition: attachment; filename=\"{all}\"\r\n\
             content-length: 2\r\nconnection: close\r\n\r\n{{}}"
        )
    } else {
        format!("HTTP/1.1 500 Oops\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{all}", all.len())
    };
    let _ = tell.send(head);
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_repeats_what_it_was_sent_tells_the_caller_nothing() {
    let plant = Plant::start().await.unwrap();
    let (port, mut heads) = echo(None).await;
    let directory = plant.directory.path().to_owned();
    for (credential, shown) in [
        ("token = { file = \"SECRET\" }", "Bearer historian-s-own-secret"),
        (
            "username = \"millgate\"\npassword = { file = \"SECRET\" }",
            "Basic bWlsbGdhdGU6aGlzdG9yaWFuLXMtb3duLXNlY3JldA==",
        ),
    ] {
        std::fs::write(directory.join("secret"), "historian-s-own-secret\n").unwrap();
        let credential = credential.replace("SECRET", &directory.join("secret").display().to_string());
        let keys = format!("{credential}\nassertion = {{ audience = \"historian\" }}");
        historian(&plant, &format!("http://127.0.0.1:{port}"), &keys).await;
        let answer = plant.get("acme", TARGET, &[PURPOSE]).await.unwrap();
        let said = headers(&heads.recv().await.unwrap());
        assert_eq!(header(&said, "authorization"), shown);
        let assertion = header(&said, "millgate-assertion");
        let signature = assertion.rsplit('.').next().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = format!("{:?}", answer.headers);
        for secret in [shown.split(' ').nth(1).unwrap(), "historian-s-own-secret", signature] {
            assert!(!told.contains(secret), "{told}");
        }
        for name in ["content-type", "content-language", "content-disposition"] {
            assert!(answer.header(name).is_empty(), "{name}: {}", answer.header(name));
        }
    }
    plant.stop().await;
}

/// Every file below, by name and content.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

fn tls_with_client_authority(directory: &Path) -> ServerConfig {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let certificate = CertificateDer::from_pem_file(directory.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
    builder.with_client_cert_verifier(verifier).with_single_cert(vec![certificate], key).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_towards_a_source_stands_in_the_log_its_files_a_trace_or_what_the_process_prints() {
    let plant = Plant::start().await.unwrap();
    let directory = plant.directory.path().to_owned();
    certify(&directory, &["own"]);
    let (port, mut heads) = echo(Some(tls_with_client_authority(&directory))).await;
    std::fs::write(directory.join("secret"), "historian-s-own-secret\n").unwrap();
    let at = |name: &str| directory.join(name).display().to_string();
    let keys = format!(
        "ca_file = \"{}\"\ncertificate_file = \"{}\"\nkey_file = \"{}\"\nusername = \"millgate\"\n\
         password = {{ file = \"{}\" }}\nassertion = {{ audience = \"historian\" }}",
        at("ca.pem"),
        at("own.pem"),
        at("own.key"),
        at("secret")
    );
    historian(&plant, &format!("https://127.0.0.1:{port}"), &keys).await;
    // Everything that there is to be printed, and every trace.
    let (_collector, otlp) = crate::telemetry::collector(&directory.join("collector.log")).await;
    let more =
        format!("telemetry = {{ level = \"trace\", sample_ratio = 1.0, otlp_endpoint = \"http://127.0.0.1:{otlp}\" }}");
    let config = plant.configuration("quiet", &more).unwrap();
    let (mut broker, facts) = process::serve(&config, &format!("exec 2>\"{}\";", at("quiet.log"))).unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    let mut secrets = vec![
        plant.token("acme").to_owned(),
        String::from("historian-s-own-secret"),
        base64::engine::general_purpose::STANDARD.encode("millgate:historian-s-own-secret"),
    ];
    for (target, status) in [(TARGET, 200), (&*TARGET.replace("vibration", "force"), 502)] {
        let url = format!("{}{target}", facts["data"].as_str().unwrap());
        let answer = http::get(&url, &[("authorization", bearer.as_str()), PURPOSE]).await.unwrap();
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        assert!(!answer.text().contains("millgate-assertion"), "{}", answer.text());
        let said = headers(&heads.recv().await.unwrap());
        secrets.extend(header(&said, "millgate-assertion").split('.').skip(1).map(str::to_owned));
    }
    // A broken secret is refused and not repeated.
    std::fs::write(directory.join("secret"), "historian-s-next\u{1}secret\n").unwrap();
    std::fs::write(directory.join("own.key"), "-----BEGIN PRIVATE KEY-----\nb3duLWtleS1icm9rZW4=\n").unwrap();
    secrets.extend(["historian-s-next", "b3duLWtleS1icm9rZW4"].map(str::to_owned));
    wait::until("the refusal", async || {
        std::fs::read_to_string(directory.join("quiet.log")).ok()?.contains("the change was refused").then_some(())
    })
    .await
    .unwrap();
    for name in ["own.key", "quiet/assertion.key", "quiet/checkpoint.key"] {
        let text = std::fs::read_to_string(directory.join(name)).unwrap();
        secrets.extend(text.lines().filter(|l| l.len() > 30 && !l.starts_with('-')).map(str::to_owned));
    }
    broker.signal("TERM").unwrap();
    tokio::task::spawn_blocking(move || broker.0.wait()).await.unwrap().unwrap();

    let mut searched = files(&directory.join("quiet"));
    searched.retain(|(path, _)| path.extension().is_none_or(|e| e != "key"));
    wait::until("the traces", async || {
        std::fs::read_to_string(directory.join("collector.log")).ok()?.contains("forward").then_some(())
    })
    .await
    .unwrap();
    for name in ["quiet.log", "collector.log"] {
        searched.push((PathBuf::from(name), std::fs::read(directory.join(name)).unwrap()));
    }
    assert!(
        searched.iter().any(|(_, bytes)| contains(bytes, "munich.example/quiet")),
        "the search finds what is there"
    );
    assert!(secrets.len() > 8, "{}", secrets.len());
    for (path, bytes) in &searched {
        for secret in &secrets {
            assert!(!contains(bytes, secret), "`{secret}` stands in {}", path.display());
        }
    }
    plant.stop().await;
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_wrong_with_keys_and_certificates() {
    let plant = Plant::start().await.unwrap();
    let directory = plant.directory.path().to_owned();
    certify(&directory, &["one", "two"]);
    let at = |name: &str| directory.join(name).display().to_string();
    let check = |config: &Path| {
        let output = process::run("millgate", &["check", "--config", &config.display().to_string()]).unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let config = plant.configuration("checked", "assertion = { key_file = \"bad.key\" }").unwrap();
    std::fs::write(directory.join("bad.key"), "nonsense").unwrap();
    let (status, text) = check(&config);
    assert_eq!(status, Some(1));
    assert!(text.contains("bad.key` holds no private P-256 key"), "{text}");

    let config = plant.configuration("checked", "").unwrap();
    let path = directory.join("policies/plants/munich/catalog/sources.toml");
    let original = std::fs::read_to_string(&path).unwrap();
    for (certificate, key, expected) in [
        ("one.pem", "two.key", "cannot be used together"),
        ("one.pem", "none.key", "cannot be read"),
        ("one.key", "one.key", "holds no certificate"),
        ("one.pem", "one.pem", "cannot read"),
    ] {
        let keys = format!(
            "url = \"https://127.0.0.1:1\"\ncertificate_file = \"{}\"\nkey_file = \"{}\"\n#",
            at(certificate),
            at(key)
        );
        std::fs::write(&path, original.replacen("url = ", &keys, 1)).unwrap();
        let (status, text) = check(&config);
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains("source `historian`") && text.contains(expected), "{certificate} {key}: {text}");
        assert!(text.contains(key), "{text}");
    }
    std::fs::write(&path, &original).unwrap();
    let (status, text) = check(&config);
    assert_eq!(status, Some(0), "{text}");
    assert!(!directory.join("checked/assertion.key").exists(), "a check makes nothing");
    plant.stop().await;
}

/// The outcome of a request, once it is over.
async fn outcome(plant: &Plant, request: &str) -> Value {
    let entries = plant.closed(request).await.unwrap();
    entries.into_iter().find(|e| e["kind"] == "outcome").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_never_comes_to_an_end_is_left() {
    let plant = Plant::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = "answer_timeout = \"600ms\"\nidle_timeout = \"20s\"";
    historian(&plant, &format!("http://{}", listener.local_addr().unwrap()), keys).await;
    let source = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 64];
        stream.read_exact(&mut head).await.unwrap();
        let begin = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
        stream.write_all(begin).await.unwrap();
        // Never idle for long, until the broker goes.
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while stream.write_all(b" ").await.is_ok() {
            pace.tick().await;
        }
    });
    let broken = plant.get("acme", TARGET, &[PURPOSE]).await.unwrap_err();
    assert!(broken.to_string().contains("broke off"), "a cut answer must not look complete: {broken:#}");
    source.await.unwrap();
    let last = plant.audit("kind=decision&organisation=acme").await.unwrap();
    let outcome = outcome(&plant, last[0]["request"].as_str().unwrap()).await;
    assert_eq!((&outcome["ended"], &outcome["status"]), (&"source_timeout".into(), &200.into()));
    assert!(outcome["duration_ms"].as_i64().unwrap() >= 600, "{outcome}");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_takes_a_few_bytes_now_and_then_does_not_keep_the_source() {
    let plant = Plant::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = "answer_timeout = \"1s\"\nidle_timeout = \"20s\"";
    historian(&plant, &format!("http://{}", listener.local_addr().unwrap()), keys).await;
    let source = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 64];
        stream.read_exact(&mut head).await.unwrap();
        let begin = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000000\r\n\r\n";
        stream.write_all(begin).await.unwrap();
        let much = vec![b' '; 1 << 20];
        while stream.write_all(&much).await.is_ok() {}
    });
    let mut caller = tokio::net::TcpStream::connect(plant.demo.running.data).await.unwrap();
    let request = format!(
        "GET {TARGET} HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {}\r\n{}: {}\r\n\r\n",
        plant.token("acme"),
        PURPOSE.0,
        PURPOSE.1
    );
    caller.write_all(request.as_bytes()).await.unwrap();
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut some = [0; 4096];
    while !source.is_finished() && caller.read(&mut some).await.is_ok_and(|n| n > 0) {
        pace.tick().await;
    }
    source.await.unwrap();
    drop(caller);
    let last = plant.audit("kind=decision&organisation=acme").await.unwrap();
    let outcome = outcome(&plant, last[0]["request"].as_str().unwrap()).await;
    assert_eq!(outcome["ended"], "caller_aborted", "{outcome}");
    assert!(outcome["duration_ms"].as_i64().unwrap() >= 1_000, "{outcome}");
    plant.stop().await;
}
