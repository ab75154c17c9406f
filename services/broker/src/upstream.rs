//! Connections to plant sources: one client, one cap and one credential per source.
//!
//! A redirect is never followed, a cookie never kept, nothing decompressed: what a source says is either passed on as it
//! is or refused.

use crate::respond::Body;
use crate::tls::Roots;
use base64::Engine as _;
use http::HeaderValue;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use model::SourceId;
use registry::{Credentials, Source};
use runtime::secret::{self, Secret, SecretError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

pub type HttpClient = Client<HttpsConnector<HttpConnector>, Body>;

/// A source that can be asked.
#[derive(Debug)]
pub struct Upstream {
    pub client: HttpClient,
    /// Requests that may be with the source at one time; a fragile historian is not to be overrun.
    pub slots: Arc<Semaphore>,
    /// Value of `authorization` towards the source.
    pub authorization: Option<HeaderValue>,
    /// Scheme and authority; paths come from the route with the source's base path.
    pub base: String,
    pub response_timeout: Duration,
    pub idle_timeout: Duration,
    pub queue_timeout: Duration,
    source: Source,
    secret: Option<Secret>,
    roots: Roots,
}

/// Why a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("source `{id}`: cannot read the CA file `{path}`: {error}")]
    ReadCa { id: SourceId, path: String, error: std::io::Error },
    #[error("source `{id}`: {error}")]
    Secret { id: SourceId, error: SecretError },
    #[error("source `{id}`: the credential cannot be sent in a header; it holds a control character")]
    BadCredential { id: SourceId },
    #[error("source `{id}`: the CA file holds no usable certificate: {error}")]
    BadCa { id: SourceId, error: String },
}

pub type Upstreams = BTreeMap<SourceId, Arc<Upstream>>;

/// Builds clients for all sources; those that did not change keep their connections and their slots.
///
/// # Errors
/// All sources that cannot be used.
pub fn connect(
    sources: &BTreeMap<SourceId, Source>,
    previous: Option<&Upstreams>,
) -> Result<Upstreams, Vec<UpstreamError>> {
    let mut upstreams = Upstreams::new();
    let mut errors = Vec::new();
    for (id, source) in sources {
        match Upstream::build(source, previous.and_then(|p| p.get(id))) {
            Ok(upstream) => {
                upstreams.insert(id.clone(), upstream);
            }
            Err(e) => errors.push(e),
        }
    }
    if errors.is_empty() { Ok(upstreams) } else { Err(errors) }
}

impl Upstream {
    fn build(source: &Source, previous: Option<&Arc<Self>>) -> Result<Arc<Self>, UpstreamError> {
        let (secret, roots) = (secret(source)?, roots(source)?);
        if let Some(previous) = previous
            && previous.source == *source
            && previous.secret == secret
            && previous.roots == roots
        {
            return Ok(previous.clone());
        }
        let authorization = match (&source.credentials, &secret) {
            (Credentials::Basic { username, .. }, Some(password)) => {
                let pair =
                    base64::engine::general_purpose::STANDARD.encode(format!("{username}:{}", password.expose()));
                Some(format!("Basic {pair}"))
            }
            (Credentials::Bearer { .. }, Some(token)) => Some(format!("Bearer {}", token.expose())),
            _ => None,
        };
        let authorization = authorization
            .map(|text| {
                let mut value =
                    HeaderValue::from_str(&text).map_err(|_| UpstreamError::BadCredential { id: source.id.clone() })?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        // Answers that are still running hold slots of before: the cap stays one cap.
        let slots = previous.filter(|p| p.source.concurrency_max == source.concurrency_max).map(|p| p.slots.clone());
        Ok(Arc::new(Self {
            client: client(source, &roots),
            slots: slots.unwrap_or_else(|| Arc::new(Semaphore::new(source.concurrency_max as usize))),
            authorization,
            base: format!("{}://{}", source.url.scheme(), source.url.authority()),
            response_timeout: Duration::from_millis(source.response_timeout_ms),
            idle_timeout: Duration::from_millis(source.idle_timeout_ms),
            queue_timeout: Duration::from_millis(source.queue_timeout_ms),
            source: source.clone(),
            secret,
            roots,
        }))
    }
}

fn secret(source: &Source) -> Result<Option<Secret>, UpstreamError> {
    let reference = match &source.credentials {
        Credentials::None => return Ok(None),
        Credentials::Basic { password, .. } => password,
        Credentials::Bearer { token } => token,
    };
    secret::read(reference).map(Some).map_err(|error| UpstreamError::Secret { id: source.id.clone(), error })
}

fn client(source: &Source, roots: &Roots) -> HttpClient {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(Duration::from_millis(source.connect_timeout_ms)));
    let tls = crate::tls::client_config(roots);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(source.concurrency_max as usize)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

/// The source's own CA, and only that, when it has one; the machine's trust anchors otherwise.
fn roots(source: &Source) -> Result<Roots, UpstreamError> {
    let Some(path) = &source.ca_file else { return Ok(Roots::Machine) };
    let pem = std::fs::read(path).map_err(|error| UpstreamError::ReadCa {
        id: source.id.clone(),
        path: path.display().to_string(),
        error,
    })?;
    let bad = |error: String| UpstreamError::BadCa { id: source.id.clone(), error };
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| bad(e.to_string()))?;
    if certificates.is_empty() {
        return Err(bad(String::from("no certificate in it")));
    }
    Ok(Roots::Own(certificates))
}
