//! The harness of the acceptance tests: whole plants, started as users start them.
//!
//! Nothing here fakes a part of Millgate. Sources and identity providers are small real servers where the test is about
//! their misbehaviour, and third-party programs where the test is about working together.

pub mod command;
pub mod http;
pub mod postgres;
pub mod process;
pub mod providers;
pub mod softhsm;
pub mod source;
pub mod wait;

use anyhow::Context as _;
use millgate::demo::{self, Demo};
use runtime::shutdown::Shutdown;
use std::path::{Path, PathBuf};

/// A route whose answers are passed on as the source gives them.
const PLAIN: &str = r#"
[route.plain]
method = "GET"
path = "/plain/{signal}"
source = "historian"
signal = "{signal}"
parameters.signal = { type = "signal" }
parameters.from = { type = "timestamp" }
parameters.to = { type = "timestamp" }
parameters.resolution = { type = "duration", values = ["1s", "10s", "1m", "10m", "1h", "1d"], default = "1m" }
shape = { from = "from", to = "to", resolution = "resolution" }
upstream.path = "/query"
[route.plain.upstream.query]
db = "press_shop"
epoch = "ms"
q = 'SELECT mean("value") FROM {signal.address|influxql_identifier} WHERE time >= {from|epoch_ms}ms AND time < {to|epoch_ms}ms GROUP BY time({resolution|ms}ms) fill(none)'
"#;

/// The demo's plant in this process, with its directory for the test to change.
#[derive(Debug)]
pub struct Plant {
    pub demo: Demo,
    pub shutdown: Shutdown,
    pub directory: tempfile::TempDir,
}

impl Plant {
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(|_| Ok(())).await
    }

    /// `prepare` may write files of the plant before the broker reads them; what it writes stays.
    pub async fn start_with(prepare: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("temporary directory")?;
        let catalog = directory.path().join("policies/plants/munich/catalog");
        std::fs::create_dir_all(&catalog)?;
        std::fs::write(catalog.join("plain.toml"), PLAIN)?;
        prepare(directory.path())?;
        let shutdown = Shutdown::new();
        let demo = demo::start(Some(directory.path().to_owned()), shutdown.clone()).await?;
        Ok(Self { demo, shutdown, directory })
    }

    /// Adds a line to the product of the presses' series, for brokers that are started or told afterwards.
    pub fn amend_product(&self, line: &str) -> anyhow::Result<()> {
        let products = self.directory.path().join("policies/plants/munich/catalog/products.toml");
        let (text, product) = (std::fs::read_to_string(&products)?, "[product.press-3-telemetry]\n");
        anyhow::ensure!(text.contains(product), "{text}");
        Ok(std::fs::write(&products, text.replace(product, &format!("{product}{line}\n")))?)
    }

    /// A plant whose systems are the test's own server on `port`, with little patience.
    pub async fn start_with_source(port: u16) -> anyhow::Result<Self> {
        let plant = Self::start().await?;
        let catalog = plant.directory.path().join("policies/plants/munich/catalog");
        let own = plant.demo.plant.to_string();
        for file in std::fs::read_dir(&catalog)? {
            let path = file?.path();
            let text = std::fs::read_to_string(&path)?;
            if text.contains(&own) {
                let text = text.replace(&own, &format!("127.0.0.1:{port}")).replace("\"20s\"", "\"2s\"");
                let patience = "idle_timeout = \"2s\"\nresponse_timeout";
                std::fs::write(&path, text.replace("response_timeout", patience))?;
            }
        }
        let before = plant.demo.running.broker.generation();
        plant.shutdown.reload();
        wait::until("the new source", async || (plant.demo.running.broker.generation() > before).then_some(())).await?;
        Ok(plant)
    }

    /// Writes a configuration with the demo's folders, a log of its own and free ports; `more` is appended.
    pub fn configuration(&self, name: &str, more: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.path().join(format!("{name}.toml"));
        let text = format!(
            r#"listen = {{ data = "127.0.0.1:0", api = "127.0.0.1:0", operator = "127.0.0.1:0" }}
folders = {{ catalog = "policies/plants/munich/catalog", registry = "policies/plants/munich/registry", policies = "policies/base", schema = "policies/schema/plant.cedarschema" }}
audit = {{ directory = "{name}", origin = "munich.example/{name}" }}
{more}
"#
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }

    pub fn token(&self, name: &str) -> &str {
        self.demo.tokens.get(name).map_or("", String::as_str)
    }

    pub fn data(&self) -> String {
        self.demo.running.data_url()
    }

    pub fn api(&self) -> String {
        self.demo.running.api_url()
    }

    /// A GET on the data listener as one of the demo's callers.
    pub async fn get(&self, caller: &str, target: &str, headers: &[(&str, &str)]) -> anyhow::Result<http::Answer> {
        let bearer = format!("Bearer {}", self.token(caller));
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        http::get(&format!("{}{target}", self.data()), &all).await
    }

    /// What the auditor sees of one request.
    pub async fn entries_of(&self, request: &str) -> anyhow::Result<Vec<serde_json::Value>> {
        self.audit(&format!("request={request}&order=oldest")).await
    }

    pub async fn audit(&self, query: &str) -> anyhow::Result<Vec<serde_json::Value>> {
        let bearer = format!("Bearer {}", self.token("auditor"));
        let url = format!("{}/v1/audit/entries?{query}", self.api());
        let answer = http::get(&url, &[("authorization", &bearer)]).await?;
        anyhow::ensure!(answer.status == 200, "audit query: {} {}", answer.status, answer.text());
        let page = answer.json()?;
        let entries = page.pointer("/entries").and_then(|e| e.as_array()).context("entries")?;
        Ok(entries.iter().filter_map(|found| found.get("entry").cloned()).collect())
    }

    /// The entries of a request once its outcome is there.
    pub async fn closed(&self, request: &str) -> anyhow::Result<Vec<serde_json::Value>> {
        wait::until("the outcome of a request", async || {
            let entries = self.entries_of(request).await.ok()?;
            entries.iter().any(|e| e.pointer("/kind").is_some_and(|k| k == "outcome")).then_some(entries)
        })
        .await
    }

    /// Drains and leaves the directory behind for inspection.
    pub async fn stop(self) -> tempfile::TempDir {
        self.shutdown.begin("the test is over");
        self.demo.running.drain().await;
        self.directory
    }
}

/// Entries of the published log of a plant's directory, oldest first, read from the files alone.
///
/// # Errors
/// When it is not a published log.
pub fn published(directory: &Path) -> anyhow::Result<Vec<serde_json::Value>> {
    entries(&directory.join("audit/published"))
}

/// Entries of a published directory, oldest first.
///
/// # Errors
/// When it is not a published log.
pub fn entries(published: &Path) -> anyhow::Result<Vec<serde_json::Value>> {
    let mut entries = Vec::new();
    let mut query = audit::query::Query { limit: 1000, newest_first: false, ..Default::default() };
    loop {
        let page = audit::query::offline(published, &query)?;
        for found in &page.entries {
            entries.push(serde_json::from_str(&found.entry)?);
        }
        query.after = page.next;
        if page.next.is_none() {
            return Ok(entries);
        }
    }
}
