//! Nothing of ours in the chain but Millgate: a certified OpenID provider for each supplier, InfluxDB as the historian.

use acceptance::process;
use acceptance::providers::Server;
use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, wait};
use base64::Engine as _;
use millgate::demo::files::Home;
use millgate::serve::{self, Running};
use model::Clock as _;
use runtime::clock::SystemClock;
use runtime::config::Config;
use runtime::shutdown::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the provider's first client posts as a form, with its secret.
async fn post(provider: &Server, endpoint: &str, form: String) -> http::Answer {
    let pair = format!("{}:{}", provider.text("/clients/0/client_id"), provider.text("/clients/0/client_secret"));
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let headers = [("authorization", basic.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    http::send("POST", provider.text(endpoint), &headers, form.into()).await.unwrap()
}

/// A token by client credentials, as a supplier's script gets one.
async fn token(provider: &Server) -> String {
    token_for(provider, "").await
}

async fn token_for(provider: &Server, more: &str) -> String {
    let answer = post(provider, "/token_endpoint", format!("grant_type=client_credentials&scope=data{more}")).await;
    let token = answer.json().unwrap()["access_token"].as_str().unwrap_or_default().to_owned();
    assert!(!token.is_empty(), "{}", answer.text());
    token
}

/// One value a minute of two machines of two suppliers, from 08:00 on.
async fn load(influx: &Server) {
    let mut lines = String::new();
    for (tag, base) in [("PL1.PR03.VIB_RMS", 2.0), ("PL1.FD02.TORQUE", 80.0)] {
        for minute in 0..120_i64 {
            let ns = (1_795_334_400 + minute * 60) * 1_000_000_000_i64;
            lines.push_str(&format!("{tag} value={} {ns}\n", base + minute as f64 / 100.0));
        }
    }
    let url = format!("{}/write?db={}", influx.text("/url"), influx.text("/database"));
    let answer = http::send("POST", &url, &[("authorization", &influx.basic("admin"))], lines.into()).await.unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
}

struct Site {
    running: Running,
    shutdown: Shutdown,
    directory: tempfile::TempDir,
    acme: Server,
    bolt: Server,
    influx: Server,
}

impl Site {
    async fn start() -> Self {
        let provider = |client: &str| {
            Server::start("oidc-provider.mjs", &["--audience", millgate::demo::AUDIENCE, "--client", client]).unwrap()
        };
        let (acme, bolt) = (provider("condition-monitor"), provider("parts-planner"));
        let influx = Server::start("influxdb.mjs", &["--database", "press_shop"]).unwrap();
        load(&influx).await;
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(Some(directory.path().to_owned())).unwrap();
        home.write("127.0.0.1:9".parse().unwrap(), "127.0.0.1:9".parse().unwrap()).unwrap();
        let plant = directory.path().join("policies/plants/munich");
        edit(&plant.join("registry"), "http://127.0.0.1:9/acme", acme.text("/issuer"));
        edit(&plant.join("registry"), "http://127.0.0.1:9/bolt", bolt.text("/issuer"));
        let secret = directory.path().join("historian.secret");
        std::fs::write(&secret, influx.text("/reader/password")).unwrap();
        let source = format!(
            "[source.historian]\nusername = \"{}\"\npassword = {{ file = \"{}\" }}",
            influx.text("/reader/username"),
            secret.display()
        );
        // The first of the two sources that the file names is the historian.
        edit_first(&plant.join("catalog/sources.toml"), "http://127.0.0.1:9", influx.text("/url"));
        edit(&plant.join("catalog"), "[source.historian]", &source);
        let config = Config::load(&home.config()).unwrap();
        let shutdown = Shutdown::new();
        let running = serve::start(&config, shutdown.clone(), Arc::new(SystemClock)).await.unwrap();
        Self { running, shutdown, directory, acme, bolt, influx }
    }

    async fn get(&self, token: &str, target: &str) -> http::Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "quality-analysis")];
        http::get(&format!("{}{target}", self.running.data_url()), &headers).await.unwrap()
    }

    async fn stop(self) -> (tempfile::TempDir, PathBuf, String) {
        let (published, key) = (self.running.log_directory.clone(), self.running.log_key.clone());
        self.shutdown.begin("the test is over");
        self.running.drain().await;
        (self.directory, published, key)
    }
}

fn edit_first(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn edit(directory: &Path, from: &str, to: &str) {
    let mut found = false;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains(from) {
            std::fs::write(&path, text.replace(from, to)).unwrap();
            found = true;
        }
    }
    assert!(found, "`{from}` is not in {}", directory.display());
}

/// The demo's plant, where acme's issuer is `provider` and the entries of acme and bolt have more lines.
async fn plant_of(provider: &Server, acme: &str, bolt: &str) -> Plant {
    let entry = |url: &str, more: &str| format!("url = \"{url}\"\n{more}");
    let (acme, bolt) = (entry(provider.text("/issuer"), acme), entry("http://127.0.0.1:9/bolt", bolt));
    let prepare = |directory: &Path| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/plants/munich/registry/organisations.toml");
        let text = std::fs::read_to_string(file)?;
        let text = text.replace("url = \"http://127.0.0.1:9320/acme\"", &acme);
        let text = text.replace("url = \"http://127.0.0.1:9320/bolt\"", &bolt);
        let registry = directory.join("policies/plants/munich/registry");
        std::fs::create_dir_all(&registry)?;
        Ok(std::fs::write(registry.join("organisations.toml"), text)?)
    };
    Plant::start_with(prepare).await.unwrap()
}

async fn read(plant: &Plant, token: &str, host: &str) -> http::Answer {
    let now = SystemClock.now();
    let hour = window(&now.plus_millis(-3_600_000).to_string(), &now.to_string());
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "quality-analysis"), ("host", host)];
    http::get(&format!("{}/series/press-3.vibration?{hour}", plant.data()), &headers).await.unwrap()
}

fn window(from: &str, to: &str) -> String {
    format!("from={from}&to={to}&resolution=1m")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplier_with_its_own_provider_reads_its_machine_from_a_real_historian() {
    let site = Site::start().await;
    let (acme, bolt) = (token(&site.acme).await, token(&site.bolt).await);
    let hour = window("2026-11-22T08:00:00Z", "2026-11-22T09:00:00Z");

    let allowed = site.get(&acme, &format!("/series/press-3.vibration?{hour}")).await;
    assert_eq!(allowed.status, 200, "{}", allowed.text());
    let values = &allowed.json().unwrap()["values"];
    assert_eq!(values.as_array().map(Vec::len), Some(60), "{values}");
    assert_eq!(values[1][0], 1_795_334_460_000_i64);

    let competitor = site.get(&bolt, &format!("/series/press-3.vibration?{hour}")).await;
    assert_eq!((competitor.status, competitor.reason().as_str()), (404, "not_found"));
    let own = site.get(&bolt, &format!("/series/feeder-2.torque?{hour}")).await;
    assert_eq!(own.status, 200, "{}", own.text());
    assert!(!own.text().contains("PR03"));

    for (target, status, reason) in [
        (format!("/series/feeder-2.torque?{hour}"), 404, "not_found"),
        (
            format!("/series/press-3.vibration?{}", window("2026-11-14T08:00:00Z", "2026-11-22T09:00:00Z")),
            403,
            "window_too_wide",
        ),
        (format!("/series/press-3.vibration%27%20OR%20%271?{hour}"), 404, "not_found"),
        (
            format!("/series/press-3.vibration?{hour}&q=SELECT%20*%20FROM%20%22PL1.FD02.TORQUE%22"),
            400,
            "undeclared_parameter",
        ),
        (format!("/series/press-3.vibration?{hour}&resolution=1m"), 400, "duplicate_parameter"),
        (
            format!("/series/press-3.vibration?{}", hour.replace("09:00:00Z", "09:00:00Z%27%3B%20DROP%20DATABASE%20x")),
            400,
            "bad_parameter",
        ),
        (String::from("/query?db=press_shop&q=SHOW%20DATABASES"), 404, "not_found"),
    ] {
        let answer = site.get(&acme, &target).await;
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{target}: {}", answer.text());
    }

    let (_directory, published, key) = site.stop().await;
    let verified = process::run("millgate-verify", &["log", published.to_str().unwrap(), "--key", &key]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_historian_never_sees_a_callers_token_and_rejects_a_wrong_password_as_a_502() {
    let site = Site::start().await;
    let acme = token(&site.acme).await;
    let target = format!("/series/press-3.vibration?{}", window("2026-11-22T08:00:00Z", "2026-11-22T09:00:00Z"));
    assert_eq!(site.get(&acme, &target).await.status, 200);
    std::fs::write(site.directory.path().join("historian.secret"), "not the password").unwrap();
    let answer = wait::until("the new credential", async || {
        let answer = site.get(&acme, &target).await;
        (answer.status != 200).then_some(answer)
    })
    .await
    .unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (502, "source_failed"), "{}", answer.text());
    assert!(!answer.text().contains("authorization failed"), "the historian's words stay inside: {}", answer.text());
    assert!(!site.influx.text("/url").is_empty());
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_token_works_until_its_provider_withdraws_it_and_no_other_provider_sees_it() {
    let options = ["--audience", millgate::demo::AUDIENCE, "--client", "condition-monitor", "--opaque"];
    let provider = Server::start("oidc-provider.mjs", &options).unwrap();
    let bolts =
        Source::start(None, Behaviour::Say(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec())).await.unwrap();
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("inspector");
    std::fs::write(&secret, provider.text("/inspector/client_secret")).unwrap();
    let asked = |more: &str| {
        let (id, secret) = (provider.text("/inspector/client_id"), secret.display());
        format!("introspection = {{ client_id = \"{id}\", client_secret = {{ file = \"{secret}\" }}, {more} }}")
    };
    // The endpoint stands in the provider's metadata. Tokens of client credentials have no `sub`.
    let acme = format!("subject_claim = \"client_id\"\n{}", asked("host = \"acme.data.example\""));
    let bolt = asked(&format!("host = \"bolt.data.example\", url = \"http://{}/ask\"", bolts.address));
    let plant = plant_of(&provider, &acme, &bolt).await;

    let acme = token(&provider).await;
    assert!(!acme.contains('.'), "the provider's tokens are opaque");
    let answer = read(&plant, &acme, "acme.data.example").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // At a host that is nobody's, nobody is asked.
    assert_eq!(read(&plant, &acme, "data.example").await.reason(), "malformed_token");
    assert_eq!(post(&provider, "/revocation_endpoint", format!("token={acme}")).await.status, 200);
    let refused = wait::until("the end of the remembered answer", async || {
        let answer = read(&plant, &acme, "acme.data.example").await;
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.await.unwrap();
    assert_eq!((refused.status, refused.reason().as_str()), (401, "token_inactive"), "{}", refused.text());
    assert_eq!(bolts.asked(), 0);
    // The counter counts: this one is bolt's to judge.
    assert_eq!(read(&plant, "a-token-of-bolt", "bolt.data.example").await.reason(), "issuer_unavailable");
    assert!(bolts.asked() > 0);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_second_independent_provider_reads_data() {
    let options = ["--audience", millgate::demo::AUDIENCE, "--client", "condition-monitor"];
    let provider = Server::start("glewlwyd.mjs", &options).unwrap();
    let plant = plant_of(&provider, "", "").await;
    let token = token_for(&provider, &format!("&resource={}", millgate::demo::AUDIENCE)).await;
    let answer = read(&plant, &token, "data.plant.example").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let another = token_for(&provider, &format!("&resource={}", millgate::demo::AUDIENCE)).await;
    let (message, signature) = (token.rsplit_once('.').unwrap().0, another.rsplit_once('.').unwrap().1);
    let forged = format!("{message}.{signature}");
    assert_eq!(read(&plant, &forged, "data.plant.example").await.reason(), "bad_signature");
    plant.stop().await;
}
