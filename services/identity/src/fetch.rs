//! From an issuer's entry in the registry to its key set: by OpenID Connect Discovery 1.0 section 4, by RFC 8414 section 3,
//! from a URL, or from a file.
//!
//! The other end belongs to another company. What passes:
//!
//! 1. https, verified against the issuer's own CA file or the machine's roots; plain http and loopback names only for an
//!    issuer that is itself on loopback, so that no issuer can point us at ourselves (`location`).
//! 2. Status 200. Redirects are not followed: they would lead to where no rule above was applied (`client`).
//! 3. At most 256 KiB, and all of it within the time cap.
//! 4. A metadata document whose `issuer` is, byte for byte, the configured URL.
//!
//! A token to fetch with goes to the origin that the registry names, and nowhere else: `jwks_uri` is the issuer's text.

mod client;
mod location;

use crate::jwk::{KeySet, KeySetError};
use bytes::Bytes;
pub(crate) use client::Client;
use http::header::{ACCEPT, AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
pub(crate) use location::Location;
pub(crate) use location::shown;
use model::party::{Issuer, KeyLocation, SecretRef, SignatureAlgorithm};
use runtime::secret::{Secret, SecretError};
use serde::Deserialize;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Semaphore;

/// The largest key sets of the big clouds are about 30 KiB.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;

/// Fetches at a time, of all issuers. Each has a client of its own with the machine's roots.
static FETCHES: Semaphore = Semaphore::const_new(16);

/// Where an issuer's documents are, and what it takes to get them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) issuer: String,
    pub(crate) keys: KeyLocation,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
}

impl From<&Issuer> for Endpoint {
    fn from(issuer: &Issuer) -> Self {
        Self {
            issuer: issuer.url.clone(),
            keys: issuer.keys.clone(),
            ca_file: issuer.ca_file.clone(),
            token_file: issuer.fetch_token_file.clone(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) body: Bytes,
    /// `Cache-Control: max-age` less `Age`; 0 for `no-cache` and `no-store`.
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
    #[error("the key set `{}` cannot be read: {why}", .path.display())]
    KeyFile { path: PathBuf, why: String },
    #[error("the key set `{}` is not there: the issuer has no keys", .path.display())]
    NoKeyFile { path: PathBuf },
    #[error("the token to fetch with cannot be had: {0}")]
    Token(#[from] SecretError),
    // the issuer
    #[error("`{url}` has `issuer` `{issuer}`, not the configured URL")]
    OtherIssuer { url: Uri, issuer: String },
    #[error("neither `{first}` nor `{second}` is there; set the issuer's `discovery_url` or `keys_url`")]
    NoMetadata { first: String, second: String },
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
    #[error("`{url}` has no `{what}`")]
    NotThere { url: Uri, what: &'static str },
    #[error(
        "`introspection_endpoint` `{url}` has another origin than the issuer; set `introspection.url` if it is right"
    )]
    OtherOrigin { url: Uri },
    #[error("`{url}`, which the issuer names, points at this machine")]
    OwnHost { url: String },
    // the network, or us
    #[error("`{url}` cannot be reached: {why}")]
    Unreachable { url: Uri, why: String },
    #[error("TLS cannot be set up: {why}")]
    Tls { why: String },
}

/// Fetches the key set. `within` bounds everything: reading files, names, connections, both documents.
pub(crate) async fn key_set(endpoint: &Endpoint, within: Duration) -> Result<Document, FetchError> {
    // Boxed: the state of two exchanges and a handshake is large, and fetches are rare.
    tokio::time::timeout(within, Box::pin(fetch(endpoint))).await.unwrap_or(Err(FetchError::Slow(within)))
}

async fn fetch(endpoint: &Endpoint) -> Result<Document, FetchError> {
    match &endpoint.keys {
        KeyLocation::File(path) => read_file(path).await,
        KeyLocation::Url(url) => {
            let _turn = FETCHES.acquire().await;
            let visit = Visit::begin(endpoint, Location::parse(url)?).await?;
            visit.keys(&visit.home.url).await
        }
        KeyLocation::Discovery { at } => {
            let _turn = FETCHES.acquire().await;
            let (visit, metadata) = metadata(endpoint, at.as_deref()).await?;
            visit.keys(&visit.home.allows(&metadata.jwks_uri()?)?).await
        }
    }
}

/// Where the issuer's metadata says that it answers about its tokens (RFC 8414 section 2): at an origin that the registry
/// names, because a secret of ours goes there.
pub(crate) async fn introspection_endpoint(endpoint: &Endpoint) -> Result<Uri, FetchError> {
    let at = match &endpoint.keys {
        KeyLocation::Discovery { at } => at.as_deref(),
        KeyLocation::Url(_) | KeyLocation::File(_) => None,
    };
    let _turn = FETCHES.acquire().await;
    let (visit, metadata) = Box::pin(metadata(endpoint, at)).await?;
    let url = visit.home.allows(&metadata.introspection_endpoint()?)?;
    if visit.home.has_origin_of(&url) || Location::parse(&endpoint.issuer)?.has_origin_of(&url) {
        return Ok(url);
    }
    Err(FetchError::OtherOrigin { url })
}

async fn metadata(endpoint: &Endpoint, at: Option<&str>) -> Result<(Visit, Metadata), FetchError> {
    if let Some(url) = at {
        let visit = Visit::begin(endpoint, Location::parse(url)?).await?;
        let answer = visit.get(&visit.home.url).await?;
        let metadata = Metadata::read(visit.home.url.clone(), &answer, &endpoint.issuer)?;
        return Ok((visit, metadata));
    }
    let [first, second] = well_known(&endpoint.issuer)?;
    let visit = Visit::begin(endpoint, first).await?;
    let first = &visit.home.url;
    let (url, answer) = match visit.get(first).await {
        Err(error) if error.is_not_found() => match visit.get(&second.url).await {
            Err(error) if error.is_not_found() => {
                return Err(FetchError::NoMetadata { first: first.to_string(), second: second.url.to_string() });
            }
            answer => (second.url, answer?),
        },
        answer => (first.clone(), answer?),
    };
    let metadata = Metadata::read(url, &answer, &endpoint.issuer)?;
    Ok((visit, metadata))
}

/// Where an issuer's metadata may be: OpenID Connect Discovery 1.0 section 4.1 appends to the issuer's path, RFC 8414
/// section 3.1 puts the name before it. Both take a slash at the end off first.
fn well_known(issuer: &str) -> Result<[Location; 2], FetchError> {
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    let home = Location::parse(&format!("{base}/.well-known/openid-configuration"))?;
    let origin_bytes = base.find("://").and_then(|at| base.get(at + 3..)?.find('/').map(|slash| at + 3 + slash));
    let (origin, path) = origin_bytes.and_then(|at| base.split_at_checked(at)).unwrap_or((base, ""));
    let other = Location::parse(&format!("{origin}/.well-known/oauth-authorization-server{path}"))?;
    Ok([home, other])
}

async fn read_file(path: &Path) -> Result<Document, FetchError> {
    let owned = path.to_owned();
    let unreadable = |why: String| FetchError::KeyFile { path: path.to_owned(), why };
    let body = tokio::task::spawn_blocking(move || content(&owned)).await;
    let body = body.map_err(|error| unreadable(error.to_string()))?.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FetchError::NoKeyFile { path: path.to_owned() },
        _ => unreadable(error.to_string()),
    })?;
    Ok(Document { body: body.into(), max_age_seconds: None })
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let limit = RESPONSE_BYTES_MAX as u64 + 1;
    std::fs::File::open(path)?.take(limit).read_to_end(&mut body)?;
    if body.len() > RESPONSE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {RESPONSE_BYTES_MAX} bytes")));
    }
    Ok(body)
}

/// Why no token signed with one of these algorithms could be verified by the key set in this file, if so. Blocks.
pub fn key_file_problem(file: &Path, algorithms: &[SignatureAlgorithm]) -> Option<String> {
    match content(file) {
        Ok(json) => KeySet::problem(&json, algorithms),
        Err(error) => Some(format!("cannot be read: {error}")),
    }
}

/// The exchanges of one fetch. A client of its own: no connection idles at another company, and a renewed CA file or token
/// counts from the next fetch on.
struct Visit {
    client: Client,
    /// Where the registry sends us.
    home: Location,
    token: Option<Secret>,
}

impl Visit {
    async fn begin(endpoint: &Endpoint, home: Location) -> Result<Self, FetchError> {
        let (ca_file, token_file) = (endpoint.ca_file.clone(), endpoint.token_file.clone());
        let is_plain = home.url.scheme_str() == Some("http");
        let prepare = move || {
            let token = token_file.map(|file| runtime::secret::read(&SecretRef::File(file))).transpose()?;
            Ok::<_, FetchError>((Client::open(is_plain, ca_file)?, token))
        };
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let (client, token) = prepared.map_err(|error| FetchError::Tls { why: error.to_string() })??;
        Ok(Self { client, home, token })
    }

    async fn keys(&self, url: &Uri) -> Result<Document, FetchError> {
        let (body, headers) = self.get(url).await?;
        Ok(Document { body, max_age_seconds: max_age_seconds(&headers) })
    }

    async fn get(&self, url: &Uri) -> Result<(Bytes, HeaderMap), FetchError> {
        let unreachable = |error: http::Error| FetchError::Unreachable { url: url.clone(), why: error.to_string() };
        let mut request = Request::get(url)
            .header(ACCEPT, "application/json, application/jwk-set+json")
            .header(USER_AGENT, "millgate");
        if let Some(token) = self.token.as_ref().filter(|_| self.home.has_origin_of(url)) {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let mut value = value.map_err(|error| unreachable(error.into()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        self.client.send(request.body(Full::default()).map_err(unreachable)?).await
    }
}

/// An issuer's metadata document, as far as it is read.
struct Metadata {
    url: Uri,
    told: Told,
}

#[derive(Deserialize)]
struct Told {
    issuer: String,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
}

impl Metadata {
    fn read(url: Uri, (body, headers): &(Bytes, HeaderMap), issuer: &str) -> Result<Self, FetchError> {
        let Ok(told) = serde_json::from_slice::<Told>(body) else {
            let content_type =
                headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("no content type");
            return Err(FetchError::NotDiscovery { url, content_type: shown(content_type) });
        };
        if told.issuer != issuer {
            return Err(FetchError::OtherIssuer { url, issuer: shown(&told.issuer) });
        }
        Ok(Self { url, told })
    }

    fn jwks_uri(self) -> Result<String, FetchError> {
        self.told.jwks_uri.ok_or(FetchError::NotThere { url: self.url, what: "jwks_uri" })
    }

    fn introspection_endpoint(self) -> Result<String, FetchError> {
        const WHAT: &str = "introspection_endpoint";
        self.told.introspection_endpoint.ok_or(FetchError::NotThere { url: self.url, what: WHAT })
    }
}

impl FetchError {
    fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status: StatusCode::NOT_FOUND, .. })
    }
}

/// RFC 9111 section 5.2.2, the directives that say when to ask again, less the time that the answer lay in a cache.
fn max_age_seconds(headers: &HeaderMap) -> Option<u32> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let ages = values.flat_map(|value| value.split(',')).filter_map(|directive| {
        let (name, argument) = directive.trim().split_once('=').unwrap_or((directive.trim(), ""));
        match name.to_ascii_lowercase().as_str() {
            "max-age" => argument.trim_matches('"').parse::<u32>().ok(),
            "no-cache" | "no-store" => Some(0),
            _ => None,
        }
    });
    let spent = headers.get(AGE).and_then(|value| value.to_str().ok()?.parse::<u32>().ok()).unwrap_or(0);
    ages.min().map(|age| age.saturating_sub(spent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_has_two_places() {
        let cases = [
            ("https://a.example", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
            ("https://a.example/", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
            (
                "https://a.example:8443/realms/x/",
                "/realms/x/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server/realms/x",
            ),
        ];
        for (issuer, first, second) in cases {
            let places = well_known(issuer).unwrap();
            assert_eq!(places.each_ref().map(|place| place.url.path()), [first, second], "{issuer}");
            let origin = Location::parse(issuer).unwrap();
            assert!(places.iter().all(|place| origin.has_origin_of(&place.url)), "{issuer}");
        }
    }

    #[tokio::test]
    async fn fetches_of_all_issuers_have_their_turn_and_files_need_none() {
        let _all = FETCHES.acquire_many(16).await.unwrap();
        let issuer = String::from("http://127.0.0.1:9");
        let endpoint = |keys| Endpoint { issuer: issuer.clone(), keys, ca_file: None, token_file: None };
        let within = Duration::from_millis(50);
        for keys in [KeyLocation::Discovery { at: None }, KeyLocation::Url(format!("{issuer}/keys"))] {
            let refused = key_set(&endpoint(keys), within).await.unwrap_err();
            assert!(matches!(refused, FetchError::Slow(_)), "{refused}");
        }
        let missing = KeyLocation::File("does/not/exist".into());
        let refused = key_set(&endpoint(missing), Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(refused, FetchError::NoKeyFile { .. }), "{refused}");
    }

    #[test]
    fn time_in_a_cache_is_taken_off() {
        let headers = |pairs: &[(http::HeaderName, &'static str)]| {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect::<HeaderMap>()
        };
        assert_eq!(max_age_seconds(&headers(&[(CACHE_CONTROL, "max-age=600"), (AGE, "200")])), Some(400));
        assert_eq!(max_age_seconds(&headers(&[(CACHE_CONTROL, "max-age=600"), (AGE, "9000")])), Some(0));
        assert_eq!(max_age_seconds(&headers(&[(CACHE_CONTROL, "max-age=600"), (AGE, "-1")])), Some(600));
        assert_eq!(max_age_seconds(&headers(&[(AGE, "200")])), None);
    }
}
