//! The command line as a caller of a running broker: one request with a token, over http or https.

use anyhow::Context as _;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::path::Path;
use std::time::Duration;

const CONNECT_MAX: Duration = Duration::from_secs(30);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Until an answer begins. Erasing a person from a long log takes minutes.
const ANSWER_MAX: Duration = Duration::from_secs(900);

/// Where and as whom to ask.
#[derive(Clone, Debug, clap::Args)]
pub struct Server {
    /// The broker's api listener
    #[arg(long, env = "MILLGATE_API", value_name = "URL", help_heading = "Server")]
    pub url: Option<String>,
    /// File that holds the access token; `-` reads it from standard input
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub token_file: Option<std::path::PathBuf>,
    /// PEM file with the CA of the api listener's certificate
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub ca: Option<std::path::PathBuf>,
}

/// The broker's answer is no: a finding, not a fault of the call.
#[derive(Debug)]
pub struct Refused {
    status: http::StatusCode,
    detail: String,
    reason: String,
    request: String,
}

impl Refused {
    /// What was asked for will be there soon.
    pub fn is_too_early(&self) -> bool {
        self.reason == model::Reason::NOT_PUBLISHED.as_str()
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, detail, reason, request } = self;
        write!(f, "{status}: {detail} ({reason}, request {request})")
    }
}

impl std::error::Error for Refused {}

impl Server {
    /// From `--token-file`, or from the environment variable `MILLGATE_TOKEN`.
    fn token(&self) -> anyhow::Result<String> {
        let text = match &self.token_file {
            Some(path) if path == Path::new("-") => {
                std::io::read_to_string(std::io::stdin()).context("the token cannot be read from standard input")?
            }
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("the token file `{}` cannot be read", path.display()))?,
            None => std::env::var("MILLGATE_TOKEN")
                .context("no token: name a file with `--token-file`, or set MILLGATE_TOKEN")?,
        };
        Ok(text.trim().to_owned())
    }

    /// Asks for `path_and_query`; an answer that is not a success becomes an error that says what the broker said.
    pub async fn get(&self, path_and_query: &str) -> anyhow::Result<Response<Incoming>> {
        self.ask(Method::GET, path_and_query, Bytes::new()).await
    }

    /// As [`Self::get`], with a body.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Response<Incoming>> {
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask(&self, method: Method, path_and_query: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        let url = self.url.as_deref().context("no server: name the api listener with `--url`, or set MILLGATE_API")?;
        if url.trim_end_matches('/').ends_with(":0") {
            anyhow::bail!("`{url}` is a port of the system's choice: say with `--url` where the api listener is");
        }
        let uri = format!("{}{path_and_query}", url.trim_end_matches('/'));
        let mut authorization = header::HeaderValue::from_str(&format!("Bearer {}", self.token()?))
            .context("the token holds characters that no token has")?;
        authorization.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(&uri)
            .header(header::AUTHORIZATION, authorization)
            .body(Full::new(body))
            .with_context(|| format!("`{uri}` is not a URL"))?;
        let asked = tokio::time::timeout(ANSWER_MAX, self.client()?.request(request)).await;
        let answered = asked.with_context(|| format!("`{url}` did not answer within {} s", ANSWER_MAX.as_secs()))?;
        let response = answered.with_context(|| format!("`{url}` cannot be reached"))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |key: &str| verify::report::shown(problem.get(key).and_then(|v| v.as_str()).unwrap_or("?"));
        Err(Refused { status, detail: text("detail"), reason: text("reason"), request: text("request_id") }.into())
    }

    /// A file from a web server that serves a published log, without a token; `None` where it has none.
    ///
    /// # Errors
    /// When the server cannot be reached, says something else, or sends more than `bytes_max`.
    pub async fn fetch(&self, url: &str, bytes_max: usize) -> anyhow::Result<Option<Vec<u8>>> {
        let request = Request::get(url).body(Full::default()).with_context(|| format!("`{url}` is not a URL"))?;
        let fetched = async {
            let response = self.client()?.request(request).await.context("the server cannot be reached")?;
            match response.status() {
                http::StatusCode::OK => {}
                http::StatusCode::NOT_FOUND | http::StatusCode::GONE => return Ok(None),
                status => anyhow::bail!("the server says {status}"),
            }
            let body = http_body_util::Limited::new(response.into_body(), bytes_max).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("the answer broke off or is too long: {error}"))?;
            Ok(Some(body.to_bytes().to_vec()))
        };
        let patience = Duration::from_secs(60);
        tokio::time::timeout(patience, fetched).await.context("no answer within a minute")?
    }

    fn client(&self) -> anyhow::Result<Client<hyper_rustls::HttpsConnector<HttpConnector>, Full<Bytes>>> {
        let roots = match &self.ca {
            None => broker::tls::Roots::Machine,
            Some(path) => broker::tls::Roots::Own(
                CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect)
                    .with_context(|| format!("the CA file `{}` cannot be read", path.display()))?,
            ),
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        // A peer that is gone without a word is noticed, however long nothing is to be said.
        tcp.set_keepalive(Some(KEEPALIVE));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(broker::tls::client_config(&roots))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Client::builder(TokioExecutor::new()).build(connector))
    }
}
