//! Client certificates on the wire, shown by clients that are not ours.

use acceptance::{Plant, wait};
use millgate::serve::{self, Running};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use runtime::clock::SystemClock;
use runtime::config::Config;
use runtime::shutdown::Shutdown;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const SERIAL: &[u8] = &[0x0a, 0x1b, 0x2c];
const NAME: &str = "press-3.machines.acme.example";

/// An authority, with everything that it has signed in a folder.
struct Authority {
    ca: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { ca, folder: folder.to_owned() }
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn sign(&self, file: &str, name: &str, purpose: ExtendedKeyUsagePurpose, serial: &[u8]) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        params.serial_number = Some(SerialNumber::from(serial.to_vec()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        std::fs::write(self.folder.join(format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    /// The list of a day of 2026.
    fn list(&self, day: u8, revoked: &[&[u8]]) -> String {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(serial.to_vec()),
            revocation_time: date_time_ymd(2026, 1, day),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, day),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(u64::from(day)),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.ca).unwrap().pem().unwrap()
    }
}

/// A plant behind TLS whose supplier ACME has an authority of its own.
struct Secured {
    plant: Plant,
    running: Running,
    authority: Authority,
    _shutdown: Shutdown,
}

impl Secured {
    async fn start(source: Option<SocketAddr>) -> Self {
        let plant = match source {
            Some(source) => Plant::start_with_source(source.port()).await.unwrap(),
            None => Plant::start().await.unwrap(),
        };
        let folder = plant.directory.path().join("pki");
        std::fs::create_dir(&folder).unwrap();
        let authority = Authority::new(&folder, "ACME Machines");
        authority.sign("server", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth, &[1]);
        authority.sign("press", NAME, ExtendedKeyUsagePurpose::ClientAuth, SERIAL);
        std::fs::write(folder.join("ca.pem"), authority.ca.pem()).unwrap();
        std::fs::write(folder.join("acme.crl"), authority.list(1, &[])).unwrap();
        let registered = format!(
            "[authority.acme-machines]\norganisation = \"acme\"\nca_file = \"{ca}\"\ncrl_files = [\"{crl}\"]\n\
             dns = [\"machines.acme.example\"]\n",
            ca = folder.join("ca.pem").display(),
            crl = folder.join("acme.crl").display(),
        );
        let this = plant.directory.path().join("policies/plants/munich/registry/machines.toml");
        std::fs::write(this, registered).unwrap();
        let tls = "tls = { certificate = \"pki/server.pem\", key = \"pki/server.key\" }";
        let config = plant.configuration("secured", tls).unwrap();
        let shutdown = Shutdown::new();
        let running =
            serve::start(&Config::load(&config).unwrap(), shutdown.clone(), Arc::new(SystemClock)).await.unwrap();
        Self { plant, running, authority, _shutdown: shutdown }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.authority.folder.join(name)
    }

    fn revoke(&self, text: &str) {
        let path = self.plant.directory.path().join("policies/plants/munich/registry/out.toml");
        std::fs::write(path, format!("[revoked]\n{text}\n")).unwrap();
    }

    /// Status and reason as curl sees them; `000` when there was no answer.
    fn curl(&self, more: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["-s", "-w", "\n%{http_code}", "--max-time", "20", "--cacert"]).arg(self.file("ca.pem"));
        command.args(more).args(["-H", "Millgate-Purpose: predictive-maintenance"]);
        command.arg(format!("{}{TARGET}", self.running.data_url()));
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let reason = problem.pointer("/reason").and_then(|r| r.as_str()).unwrap_or_default();
        format!("{status} {reason}").trim_end().to_owned()
    }

    fn with(&self, name: &str) -> [String; 4] {
        let at = |end: &str| self.file(&format!("{name}.{end}")).display().to_string();
        [String::from("--cert"), at("pem"), String::from("--key"), at("key")]
    }

    fn curl_with(&self, name: &str, more: &[&str]) -> String {
        let with = self.with(name);
        let all: Vec<&str> = with.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.curl(&all)
    }

    /// What OpenSSL says of a connection over which one request is made.
    fn s_client(&self, more: &[&str]) -> String {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.running.data.to_string(), "-ign_eof", "-CAfile"]);
        command.arg(self.file("ca.pem")).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        tokio::task::block_in_place(|| {
            let mut child = command.spawn().unwrap();
            // A refused client may be gone before it has read this.
            let _ = child.stdin.take().unwrap().write_all(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n");
            let output = child.wait_with_output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
        })
    }

    fn metrics(&self) -> String {
        self.running.broker.metrics.registry().render()
    }

    async fn until_curl(&self, expected: &str) {
        wait::until(expected, async || (self.curl_with("press", &[]) == expected).then_some(())).await.unwrap();
    }

    async fn stop(self) {
        self.running.drain().await;
        self.plant.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_listener_serves_callers_with_a_certificate_with_a_token_and_with_both() {
    let secured = Secured::start(None).await;
    let bearer = |who: &str| format!("Authorization: Bearer {}", secured.plant.token(who));
    for version in ["1.2", "1.3"] {
        assert_eq!(secured.curl_with("press", &["--tls-max", version]), "200", "TLS {version}");
        assert_eq!(secured.curl_with("press", &["--tls-max", version, "--http1.1"]), "200", "TLS {version}");
    }
    assert_eq!(secured.curl(&["-H", &bearer("acme")]), "200");
    assert_eq!(secured.curl_with("press", &["-H", &bearer("acme")]), "200");
    assert_eq!(secured.curl_with("press", &["-H", &bearer("bolt")]), "400 several_credentials");
    assert_eq!(secured.curl(&[]), "401 no_credential");
    secured.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_asked_for_a_certificate_and_told_of_no_authority() {
    let secured = Secured::start(None).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let said = secured.s_client(&[version]);
        assert!(said.contains("No client certificate CA names sent"), "{said}");
        assert!(said.contains("Requested Signature Algorithms"), "a certificate is asked for: {said}");
        assert!(said.contains("401 Unauthorized"), "{said}");
    }
    secured.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_certificate_ends_in_an_alert_is_counted_and_recorded() {
    let secured = Secured::start(None).await;
    let stranger = Authority::new(&secured.authority.folder, "ACME Machines");
    stranger.sign("forged", NAME, ExtendedKeyUsagePurpose::ClientAuth, SERIAL);
    secured.authority.sign("servers", NAME, ExtendedKeyUsagePurpose::ServerAuth, &[7]);
    for version in ["-tls1_2", "-tls1_3"] {
        for (name, alert) in [("forged", "alert unknown ca"), ("servers", "alert bad certificate")] {
            let [_, certificate, _, key] = secured.with(name);
            let said = secured.s_client(&[version, "-cert", &certificate, "-key", &key]);
            assert!(said.contains(alert) && !said.contains("HTTP/1.1"), "{name} {version}: {said}");
        }
    }
    assert!(secured.curl_with("forged", &[]).starts_with("000"));
    // Counted when the alert is out, which the caller may see first.
    for (reason, count) in [("unknown_authority", 3), ("bad_certificate", 2)] {
        let counted = format!("millgate_refused_logins_total{{reason=\"{reason}\"}} {count}");
        wait::until(&counted, async || secured.metrics().contains(&counted).then_some(())).await.unwrap();
    }
    let log = secured.plant.directory.path().join("secured");
    let directory = log.join("published");
    secured.running.drain().await;
    let entries = acceptance::entries(&directory).unwrap();
    let refused: Vec<_> = entries.iter().filter(|e| e["kind"] == "refused_login").collect();
    assert_eq!(refused.len(), 5, "{entries:?}");
    assert_eq!(refused[0]["reasons"], serde_json::json!(["unknown_authority"]));
    assert!(refused[0].get("issuer").is_none() && refused[0].get("method").is_none(), "{}", refused[0]);
    secured.plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_cannot_resume_a_session_and_others_can_before() {
    let secured = Secured::start(None).await;
    let [_, certificate, _, key] = secured.with("press");
    let sessions: Vec<_> = ["-tls1_2", "-tls1_3"].map(|v| (v, secured.file(v).display().to_string())).into();
    for (version, session) in &sessions {
        let first = secured.s_client(&[version, "-cert", &certificate, "-key", &key, "-sess_out", session]);
        assert!(first.contains("New, TLSv1") && first.contains("404 Not Found"), "{first}");
        let again = secured.s_client(&[version, "-sess_in", session, "-sess_out", session]);
        // The certificate is the session's: nothing else was shown.
        assert!(again.contains("Reused, TLSv1") && again.contains("404 Not Found"), "{again}");
    }
    secured.revoke("certificates = [\"acme-machines/0A:1B:2C\"]");
    wait::until("the handshake to refuse it", async || {
        secured.curl_with("press", &[]).starts_with("000").then_some(())
    })
    .await
    .unwrap();
    for (version, session) in &sessions {
        let said = secured.s_client(&[version, "-cert", &certificate, "-key", &key, "-sess_in", session]);
        assert!(!said.contains("Reused, TLSv1") && said.contains("alert certificate revoked"), "{said}");
        let said = secured.s_client(&[version, "-sess_in", session]);
        assert!(!said.contains("Reused, TLSv1") && said.contains("401 Unauthorized"), "{said}");
    }
    secured.stop().await;
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

/// A connection with the press's certificate.
async fn connected(secured: &Secured) -> Tls {
    use rustls::pki_types::pem::PemObject as _;
    let read = |name: &str| rustls::pki_types::CertificateDer::from_pem_file(secured.file(name)).unwrap();
    let roots = broker::tls::Roots::Own(vec![read("ca.pem")]);
    let config =
        broker::tls::client_config_with(&roots, &secured.file("press.pem"), &secured.file("press.key")).unwrap();
    let socket = TcpStream::connect(secured.running.data).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
}

async fn ask(tls: &mut Tls) -> String {
    let request = format!("GET {TARGET} HTTP/1.1\r\nhost: b\r\nmillgate-purpose: predictive-maintenance\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1 << 20];
    let n = tls.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

/// A source that answers without end.
async fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(b"1\r\n \r\n").await.is_ok() {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_revocation_list_refuses_on_open_connections_and_a_broken_one_changes_nothing() {
    let secured = Secured::start(None).await;
    let mut tls = connected(&secured).await;
    assert!(ask(&mut tls).await.starts_with("HTTP/1.1 200"));
    std::fs::write(secured.file("acme.crl"), "not a list").unwrap();
    wait::until("the refusal of the list", async || {
        let refused = "millgate_reloads_total{folder=\"authorities\",result=\"refused\"}";
        secured.metrics().contains(refused).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(secured.curl_with("press", &[]), "200", "the last good list counts");
    let config = secured.plant.directory.path().join("secured.toml").display().to_string();
    let check = acceptance::process::run("millgate", &["check", "--config", &config]).unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!check.status.success() && said.contains("acme.crl") && said.contains("acme-machines"), "{said}");

    std::fs::write(secured.file("acme.crl"), secured.authority.list(2, &[SERIAL])).unwrap();
    let answer = wait::until("the refusal of the open connection", async || {
        let answer = ask(rest_of(&mut tls).await).await;
        (!answer.contains("200 OK")).then_some(answer)
    })
    .await
    .unwrap();
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("\"revoked\""), "{answer}");
    assert!(secured.curl_with("press", &[]).starts_with("000"), "no new handshake either");
    secured.stop().await;
}

/// The connection, with nothing left to read on it.
async fn rest_of(tls: &mut Tls) -> &mut Tls {
    let mut rest = vec![0; 1 << 20];
    while tokio::time::timeout(std::time::Duration::from_millis(50), tls.read(&mut rest))
        .await
        .is_ok_and(|n| n.is_ok_and(|n| n > 0))
    {}
    tls
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_ends_with_its_certificate() {
    let secured = Secured::start(Some(endless().await)).await;
    let mut tls = connected(&secured).await;
    let begin = ask(&mut tls).await;
    assert!(begin.starts_with("HTTP/1.1 200"), "{begin}");
    std::fs::write(secured.file("acme.crl"), secured.authority.list(2, &[SERIAL])).unwrap();
    let ended = async {
        let mut rest = vec![0; 1 << 16];
        while tls.read(&mut rest).await.is_ok_and(|n| n > 0) {}
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), ended).await.expect("the stream goes on");
    secured.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_certificate_and_the_authority_change_under_open_connections() {
    let secured = Secured::start(None).await;
    let mut tls = connected(&secured).await;
    assert!(ask(&mut tls).await.starts_with("HTTP/1.1 200"));
    // Another key of the authority beside the old one, and a certificate by it.
    let next = Authority::new(&secured.authority.folder, "ACME Machines 2027");
    next.sign("next", NAME, ExtendedKeyUsagePurpose::ClientAuth, &[9]);
    std::fs::write(secured.file("ca.pem"), secured.authority.ca.pem() + &next.ca.pem()).unwrap();
    std::fs::write(secured.file("acme.crl"), secured.authority.list(1, &[]) + &next.list(1, &[])).unwrap();
    wait::until("the new authority", async || (secured.curl_with("next", &[]) == "200").then_some(())).await.unwrap();
    secured.until_curl("200").await;
    assert!(ask(rest_of(&mut tls).await).await.starts_with("HTTP/1.1 200"));
    secured.stop().await;
}
