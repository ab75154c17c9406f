//! Connections to plant sources: one client or pool, one cap and one credential per source.
//!
//! A redirect is never followed, a cookie never kept, nothing decompressed: what a source says is either passed on as it
//! is or refused.

use crate::assertion::Addressee;
use crate::database::{Access, Database};
use crate::respond::Body;
use crate::tls::{self, CertificateError, Roots};
use base64::Engine as _;
use http::HeaderValue;
use http::uri::{Authority, Scheme};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use model::{Digest, SourceId};
use registry::{Address, BaseUrl, Credentials, Source};
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
    pub to: To,
    /// Requests that may be with the source at one time; a fragile historian is not to be overrun.
    pub slots: Arc<Semaphore>,
    pub response_timeout: Duration,
    pub idle_timeout: Duration,
    pub answer_timeout: Duration,
    pub queue_timeout: Duration,
    source: Source,
    secret: Option<Secret>,
    /// Of the client certificate and its key.
    certificate: Option<Digest>,
    roots: Roots,
}

/// How a source is asked.
#[derive(Debug)]
pub enum To {
    Http(Http),
    Database(Database),
}

/// A source that is asked over HTTP.
#[derive(Debug)]
pub struct Http {
    pub client: HttpClient,
    /// Value of `authorization` towards the source.
    pub authorization: Option<HeaderValue>,
    /// Where the source is told for whom it is asked, if it is.
    pub assertion: Option<Addressee>,
    /// What is asked; paths come from the route, with the source's base path.
    pub scheme: Scheme,
    pub authority: Authority,
}

/// Why a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("source `{id}`: cannot read the CA file `{path}`: {error}")]
    ReadCa { id: SourceId, path: String, error: std::io::Error },
    #[error("source `{id}`: {error}")]
    Secret { id: SourceId, error: SecretError },
    #[error("source `{id}`: its address cannot be asked over HTTP")]
    BadAddress { id: SourceId },
    #[error("source `{id}`: the credential cannot be sent in a header; it holds a control character")]
    BadCredential { id: SourceId },
    #[error("source `{id}`: the CA file holds no usable certificate: {error}")]
    BadCa { id: SourceId, error: String },
    #[error("source `{id}`: the client certificate cannot be used: {error}")]
    Certificate { id: SourceId, error: Box<CertificateError> },
    #[error("source `{id}`: cannot read the client certificate's file `{path}`: {error}")]
    ReadCertificate { id: SourceId, path: String, error: std::io::Error },
    #[error("source `{id}`: the environment sets `{name}`, which would change how it is logged in to; unset it")]
    Environment { id: SourceId, name: &'static str },
    #[error("source `{id}`: `{header}` is no header name for an assertion")]
    BadHeader { id: SourceId, header: String },
}

pub type Upstreams = BTreeMap<SourceId, Arc<Upstream>>;

/// Clients for all sources, and what is wrong with the files of those that stay as they were.
pub type Connected = (Upstreams, Vec<UpstreamError>);

/// Builds clients for all sources; those that did not change keep their connections and their slots. One whose secret or
/// certificate cannot be used any longer keeps what it had: a file that somebody replaces must not hold back the folders.
///
/// # Errors
/// All sources that cannot be used.
pub fn connect(
    sources: &BTreeMap<SourceId, Source>,
    previous: Option<&Upstreams>,
) -> Result<Connected, Vec<UpstreamError>> {
    let mut upstreams = Upstreams::new();
    let (mut kept, mut errors) = (Vec::new(), Vec::new());
    for (id, source) in sources {
        let previous = previous.and_then(|p| p.get(id));
        let (upstream, error) = match Upstream::build(source, previous) {
            Ok(upstream) => (Some(upstream), None),
            Err(e) => (previous.filter(|p| p.source == *source).cloned(), Some(e)),
        };
        if upstream.is_some() { &mut kept } else { &mut errors }.extend(error);
        upstreams.extend(upstream.map(|u| (id.clone(), u)));
    }
    if errors.is_empty() { Ok((upstreams, kept)) } else { Err(errors) }
}

/// What the database's client takes from the environment where a source says nothing: somebody else's trust and options.
const ENVIRONMENT: [&str; 4] = ["PGOPTIONS", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"];

impl Upstream {
    fn build(source: &Source, previous: Option<&Arc<Self>>) -> Result<Arc<Self>, UpstreamError> {
        let (secret, roots, certificate) = (secret(source)?, roots(source)?, certificate(source)?);
        if let Some(previous) = previous
            && previous.source == *source
            && previous.secret == secret
            && previous.roots == roots
            && previous.certificate == certificate
        {
            return Ok(previous.clone());
        }
        let to = match &source.address {
            Address::Http(url) => To::Http(Http::build(source, url, secret.as_ref(), &roots)?),
            Address::Database { url, tls } => {
                if let Some(name) = ENVIRONMENT.into_iter().find(|name| std::env::var_os(name).is_some()) {
                    return Err(UpstreamError::Environment { id: source.id.clone(), name });
                }
                let certificate = source.client_certificate.as_ref();
                To::Database(Database::new(&Access {
                    url,
                    tls: *tls,
                    ca_file: source.ca_file.as_deref(),
                    certificate: certificate.map(|c| (c.certificate_file.as_path(), c.key_file.as_path())),
                    username: match &source.credentials {
                        Credentials::Basic { username, .. } | Credentials::Name { username } => username,
                        Credentials::None | Credentials::Bearer { .. } => "",
                    },
                    password: secret.as_ref().map(Secret::expose),
                    connections_max: source.concurrency_max,
                    connect_timeout: Duration::from_millis(source.connect_timeout_ms),
                    statement_timeout: Duration::from_millis(source.response_timeout_ms),
                }))
            }
        };
        // Answers that are still running hold slots of before: the cap stays one cap.
        let slots = previous.filter(|p| p.source.concurrency_max == source.concurrency_max).map(|p| p.slots.clone());
        Ok(Arc::new(Self {
            to,
            slots: slots.unwrap_or_else(|| Arc::new(Semaphore::new(source.concurrency_max as usize))),
            response_timeout: Duration::from_millis(source.response_timeout_ms),
            idle_timeout: Duration::from_millis(source.idle_timeout_ms),
            answer_timeout: Duration::from_millis(source.answer_timeout_ms),
            queue_timeout: Duration::from_millis(source.queue_timeout_ms),
            source: source.clone(),
            secret,
            certificate,
            roots,
        }))
    }

    pub fn as_http(&self) -> Option<&Http> {
        if let To::Http(http) = &self.to { Some(http) } else { None }
    }

    /// Whether a text of the source's repeats what the broker logged in with.
    pub fn repeats_a_secret(&self, text: &[u8]) -> bool {
        let authorization = self.as_http().and_then(|http| http.authorization.as_ref());
        let credential = authorization.and_then(|v| v.as_bytes().split(|b| *b == b' ').nth(1));
        let secret = self.secret.as_ref().map(|s| s.expose().as_bytes());
        secret.into_iter().chain(credential).any(|secret| contains(text, secret))
    }
}

impl Http {
    fn build(source: &Source, url: &BaseUrl, secret: Option<&Secret>, roots: &Roots) -> Result<Self, UpstreamError> {
        let authorization = match (&source.credentials, secret) {
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
        let assertion = source.assertion.as_ref().map(|to| {
            let bad = |_| UpstreamError::BadHeader { id: source.id.clone(), header: to.header.clone() };
            Addressee::new(to).map_err(bad)
        });
        Ok(Self {
            client: client(source, roots)?,
            authorization,
            assertion: assertion.transpose()?,
            scheme: if url.https { Scheme::HTTPS } else { Scheme::HTTP },
            authority: url.authority().parse().map_err(|_| UpstreamError::BadAddress { id: source.id.clone() })?,
        })
    }
}

/// Whether `part` stands in `text`.
pub fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|w| w == part)
}

fn secret(source: &Source) -> Result<Option<Secret>, UpstreamError> {
    let reference = match &source.credentials {
        Credentials::None | Credentials::Name { .. } => return Ok(None),
        Credentials::Basic { password, .. } => password,
        Credentials::Bearer { token } => token,
    };
    secret::read(reference).map(Some).map_err(|error| UpstreamError::Secret { id: source.id.clone(), error })
}

fn client(source: &Source, roots: &Roots) -> Result<HttpClient, UpstreamError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(Duration::from_millis(source.connect_timeout_ms)));
    let tls = match &source.client_certificate {
        None => tls::client_config(roots),
        Some(c) => tls::client_config_with(roots, &c.certificate_file, &c.key_file)
            .map_err(|error| UpstreamError::Certificate { id: source.id.clone(), error: Box::new(error) })?,
    };
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(source.concurrency_max as usize)
        .pool_timer(TokioTimer::new())
        .build(connector);
    Ok(client)
}

/// Tells one client certificate and key from the next.
fn certificate(source: &Source) -> Result<Option<Digest>, UpstreamError> {
    let Some(files) = &source.client_certificate else { return Ok(None) };
    let mut digests = Vec::new();
    for path in [&files.certificate_file, &files.key_file] {
        let (id, name) = (source.id.clone(), path.display().to_string());
        let bytes = std::fs::read(path).map_err(|error| UpstreamError::ReadCertificate { id, path: name, error })?;
        digests.extend_from_slice(&Digest::of(&bytes).0);
    }
    Ok(Some(Digest::of(&digests)))
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
