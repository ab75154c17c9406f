//! From an issuer's URL to its key set: OpenID Connect Discovery 1.0 section 4, then `jwks_uri`.
//!
//! The other end belongs to another company. What passes:
//!
//! 1. https, verified against the issuer's own CA file or the machine's roots; plain http and loopback names only for an
//!    issuer that is itself on loopback, so that no issuer can point us at ourselves.
//! 2. Status 200. Redirects are not followed: they would lead to where no rule above was applied.
//! 3. At most 256 KiB, and all of it within the time cap.
//! 4. A discovery document whose `issuer` is, byte for byte, the configured URL.

use crate::jwk::KeySetError;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The largest key sets of the big clouds are about 30 KiB.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;

/// Where an issuer's documents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) issuer: String,
    pub(crate) ca_file: Option<PathBuf>,
}

pub(crate) struct Document {
    pub(crate) body: Bytes,
    /// `Cache-Control: max-age`; 0 for `no-cache` and `no-store`.
    pub(crate) max_age_seconds: Option<u32>,
}

/// For the operator; grouped by who must act.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    // the registry
    #[error("`{url}` is not an https URL (plain http is for loopback hosts only)")]
    Url { url: String },
    #[error("the CA file `{}` cannot be used: {why}", .path.display())]
    CaFile { path: PathBuf, why: String },
    // the issuer
    #[error("`{url}` has `issuer` `{issuer}`, not the configured URL")]
    OtherIssuer { url: Uri, issuer: String },
    #[error("`{url}` answered {status}")]
    Status { url: Uri, status: StatusCode },
    #[error("`{url}` answered {status}; redirects are not followed, configure the URL they lead to")]
    Redirect { url: Uri, status: StatusCode },
    #[error("`{url}` answered with more than {RESPONSE_BYTES_MAX} bytes")]
    TooLarge { url: Uri },
    #[error("`{url}` answered with `{content_type}` that is no discovery document")]
    NotDiscovery { url: Uri, content_type: String },
    #[error("the key set cannot be read: {0}")]
    KeySet(#[from] KeySetError),
    #[error("no complete answer within {0:?}")]
    Slow(Duration),
    #[error("`jwks_uri` `{url}` points at this machine")]
    OwnHost { url: String },
    // the network, or us
    #[error("`{url}` cannot be reached: {why}")]
    Unreachable { url: Uri, why: String },
    #[error("TLS cannot be set up: {why}")]
    Tls { why: String },
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// Fetches the key set. `within` bounds everything: reading the CA, names, connections, both documents.
pub(crate) async fn key_set(endpoint: &Endpoint, within: Duration) -> Result<Document, FetchError> {
    // Boxed: the state of two exchanges and a handshake is large, and fetches are rare.
    tokio::time::timeout(within, Box::pin(fetch(endpoint))).await.unwrap_or(Err(FetchError::Slow(within)))
}

async fn fetch(endpoint: &Endpoint) -> Result<Document, FetchError> {
    // OpenID Connect Discovery 1.0 section 4.1: a slash at the end is taken off first.
    let base = endpoint.issuer.strip_suffix('/').unwrap_or(&endpoint.issuer);
    let home = Location::parse(&format!("{base}/.well-known/openid-configuration"))?;
    // A client per fetch: no connection idles at another company, and a renewed CA file counts from the next fetch on.
    let client = client(&home, endpoint.ca_file.as_deref()).await?;
    let discovery = get(&client, &home.url).await?;
    let jwks_uri = jwks_uri(&discovery, &home, &endpoint.issuer)?;
    let (body, headers) = get(&client, &home.allows(&jwks_uri)?).await?;
    Ok(Document { body, max_age_seconds: max_age_seconds(&headers) })
}

fn jwks_uri((body, headers): &(Bytes, HeaderMap), home: &Location, issuer: &str) -> Result<String, FetchError> {
    #[derive(Deserialize)]
    struct Discovery {
        issuer: String,
        jwks_uri: String,
    }
    let Ok(discovery) = serde_json::from_slice::<Discovery>(body) else {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("no content type");
        return Err(FetchError::NotDiscovery { url: home.url.clone(), content_type: content_type.to_owned() });
    };
    if discovery.issuer != issuer {
        return Err(FetchError::OtherIssuer { url: home.url.clone(), issuer: shown(&discovery.issuer) });
    }
    Ok(discovery.jwks_uri)
}

// === where we go ===

#[derive(Debug)]
struct Location {
    url: Uri,
    is_loopback: bool,
}

impl Location {
    fn parse(text: &str) -> Result<Self, FetchError> {
        let not_usable = || FetchError::Url { url: shown(text) };
        let url: Uri = text.parse().map_err(|_| not_usable())?;
        let authority = url.authority().ok_or_else(not_usable)?;
        let is_loopback = is_loopback(authority.host());
        let has_scheme = match url.scheme_str() {
            Some("https") => true,
            Some("http") => is_loopback,
            _ => false,
        };
        if has_scheme && !authority.as_str().contains('@') { Ok(Self { url, is_loopback }) } else { Err(not_usable()) }
    }

    /// `jwks_uri` is the other company's text. It may name another host, but not one of our own.
    fn allows(&self, jwks_uri: &str) -> Result<Uri, FetchError> {
        let there = Self::parse(jwks_uri)?;
        if !self.is_loopback && there.url.host().is_none_or(may_be_this_machine) {
            return Err(FetchError::OwnHost { url: shown(jwks_uri) });
        }
        Ok(there.url)
    }
}

/// Certainly this machine: plain http is safe.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || address(host).is_some_and(|ip| ip.is_loopback())
}

/// Spellings that may lead to this machine. A name of the other company that resolves to it is stopped by TLS.
fn may_be_this_machine(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || address(host).is_some_and(|ip| ip.to_canonical().is_loopback() || ip.is_unspecified())
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Text of the other company in our log: short, on one line.
fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

// === how we get it ===

async fn client(home: &Location, ca_file: Option<&Path>) -> Result<HttpClient, FetchError> {
    let ca_file = ca_file.map(Path::to_owned);
    let needs_roots = home.url.scheme_str() == Some("https");
    let roots = tokio::task::spawn_blocking(move || match ca_file {
        Some(path) => roots_of_file(path),
        None if needs_roots => roots_of_machine(),
        None => Ok(RootCertStore::empty()),
    });
    let roots = roots.await.map_err(|error| FetchError::Tls { why: error.to_string() })??;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Tls { why: error.to_string() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Which of the two it is was settled by `Location`.
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

fn roots_of_file(path: PathBuf) -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    let added = CertificateDer::pem_file_iter(&path).map_err(|error| error.to_string()).and_then(|certificates| {
        for certificate in certificates {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() { Err("it has no certificate".to_owned()) } else { Ok(()) }
    });
    added.map(|()| roots).map_err(|why| FetchError::CaFile { path, why })
}

fn roots_of_machine() -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Stores hold odd certificates; those that parse are enough.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(FetchError::Tls {
            why: "this machine has no root certificates; set the issuer's `ca_file`".into(),
        });
    }
    Ok(roots)
}

async fn get(client: &HttpClient, url: &Uri) -> Result<(Bytes, HeaderMap), FetchError> {
    let unreachable = |why: String| FetchError::Unreachable { url: url.clone(), why };
    let request = Request::get(url)
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .header(USER_AGENT, "millgate")
        .body(Empty::new())
        .map_err(|error| unreachable(error.to_string()))?;
    let response = client.request(request).await.map_err(|error| unreachable(chain(&error)))?;
    let status = response.status();
    match status {
        StatusCode::OK => read(response, url).await,
        _ if status.is_redirection() => Err(FetchError::Redirect { url: url.clone(), status }),
        _ => Err(FetchError::Status { url: url.clone(), status }),
    }
}

async fn read(response: Response<Incoming>, url: &Uri) -> Result<(Bytes, HeaderMap), FetchError> {
    let (head, body) = response.into_parts();
    match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
        Ok(body) => Ok((body.to_bytes(), head.headers)),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(FetchError::TooLarge { url: url.clone() }),
        Err(error) => Err(FetchError::Unreachable { url: url.clone(), why: chain(error.as_ref()) }),
    }
}

/// The error with its causes: the outermost alone says "client error (Connect)" and not which certificate was refused.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes: Vec<String> = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect();
    causes.join(": ")
}

/// RFC 9111 section 5.2.2, the directives that say when to ask again.
fn max_age_seconds(headers: &HeaderMap) -> Option<u32> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let ages = values.flat_map(|value| value.split(',')).filter_map(|directive| {
        let (name, argument) = directive.trim().split_once('=').unwrap_or((directive.trim(), ""));
        match name.to_ascii_lowercase().as_str() {
            "max-age" => argument.trim_matches('"').parse().ok(),
            "no-cache" | "no-store" => Some(0),
            _ => None,
        }
    });
    ages.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_https_or_loopback() {
        let good = [
            "https://idp.acme.example",
            "https://localhost:8443/realms/a",
            "http://127.0.0.1:1",
            "http://[::1]:1/a",
            "http://LOCALHOST",
        ];
        for url in good {
            assert!(Location::parse(url).is_ok(), "{url}");
        }
        let bad = [
            "http://idp.acme.example",
            "http://10.0.0.1",
            "http://127.0.0.1.attacker.example",
            "http://localhost.attacker.example",
            "https://user:secret@idp.acme.example",
            "https://",
            "/keys",
            "idp.acme.example",
            "ftp://127.0.0.1",
            "",
        ];
        for url in bad {
            assert!(Location::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_remote_issuer_cannot_point_us_at_ourselves() {
        let remote = Location::parse("https://idp.acme.example").unwrap();
        let own = [
            "http://127.0.0.1:9090/metrics",
            "https://127.0.0.1/",
            "https://127.8.8.8/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://0.0.0.0/",
            "https://[::]/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
        ];
        for url in own {
            assert!(remote.allows(url).is_err(), "{url}");
        }
        assert!(remote.allows("https://keys.cloud.example/acme?tenant=1").is_ok());
        let local = Location::parse("http://127.0.0.1:1").unwrap();
        assert!(local.allows("http://127.0.0.1:2/keys").is_ok());
    }

    #[test]
    fn foreign_text_stays_on_one_short_line() {
        assert_eq!(shown("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(shown(&"x".repeat(10_000)).len(), 200);
    }
}
