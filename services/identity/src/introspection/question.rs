//! One question to one issuer: which token, where to, as whom, and what the answer is.
//!
//! The token and our own secret go to the endpoint that the registry names, or to one of the issuer's own origin that its
//! metadata names; never after a redirect.

use crate::explain::Failure;
use crate::fetch::{self, Client, Endpoint, FetchError, Location};
use crate::json::{Member, Object};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use model::party::{Introspection, Issuer};
use model::{IssuerId, Timestamp};
use runtime::secret::{Secret, SecretError};
use std::time::Duration;
use tokio::sync::Mutex;

/// An answer says no more than a token could, and pages of them are remembered.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A renewed CA file, or metadata that names another endpoint, counts after this time.
const PLACE_MS: i64 = 5 * 60_000;

/// When it cannot be found again, the next try is so far away. The earlier one serves meanwhile.
const SEARCH_AGAIN_MS: i64 = 60_000;

/// What is asked of one issuer, token by token.
#[derive(Debug)]
pub(super) struct Question {
    issuer: IssuerId,
    endpoint: Endpoint,
    introspection: Introspection,
    place: Mutex<Option<Place>>,
}

/// Where questions go, with the connections there.
#[derive(Clone, Debug)]
struct Place {
    url: Uri,
    client: Client,
    /// It is not looked for again before this time has passed since then.
    counts_ms: i64,
    counted_from: Timestamp,
}

#[derive(Debug)]
pub(super) enum Said {
    Active(Object<'static>),
    Inactive,
}

/// For the operator. Holds nothing of a token.
#[derive(Debug, thiserror::Error)]
pub(super) enum QuestionError {
    #[error("our secret there cannot be had: {0}")]
    Secret(#[from] SecretError),
    #[error("our client id or secret there has characters that no header can carry")]
    NoHeader,
    #[error("`{url}` answered {status}: it refuses our `client_id` and `client_secret`")]
    Refused { url: Uri, status: StatusCode },
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("`{url}` answered with `{content_type}`, not `application/json`")]
    NotJson { url: Uri, content_type: String },
    #[error("`{url}` answered with more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge { url: Uri },
    #[error("`{url}` answered with something else than a JSON object with `active`, each member once")]
    Unreadable { url: Uri },
    #[error("the task that reads files ended: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error("no request can be made: {0}")]
    Request(#[from] http::Error),
}

// === impl Question ===

impl Question {
    pub(super) fn new(issuer: &Issuer) -> Option<Self> {
        let introspection = issuer.introspection.clone()?;
        Some(Self { issuer: issuer.id.clone(), endpoint: issuer.into(), introspection, place: Mutex::default() })
    }

    pub(super) fn issuer(&self) -> &IssuerId {
        &self.issuer
    }

    pub(super) fn introspection(&self) -> &Introspection {
        &self.introspection
    }

    pub(super) fn is_to(&self, issuer: &Issuer) -> bool {
        self.issuer == issuer.id
            && issuer.introspection.as_ref() == Some(&self.introspection)
            && self.endpoint == Endpoint::from(issuer)
    }

    /// Asks now. How long it may take in all is the caller's matter; half of `within` is for finding out whom.
    pub(super) async fn put(&self, token: &str, now: Timestamp, within: Duration) -> Result<Said, QuestionError> {
        let Place { url, client, .. } = self.place(now, within / 2).await?;
        let of = self.introspection.client_secret.clone();
        // Read for each question: whoever rotates it changes the file.
        let secret = tokio::task::spawn_blocking(move || runtime::secret::read(&of)).await??;
        let request = Request::post(&url)
            .header(AUTHORIZATION, basic(&self.introspection.client_id, &secret)?)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "millgate")
            .body(Full::from(form(token)))?;
        let (body, headers) = client.send(request).await.map_err(refused)?;
        read(&body, &headers, url)
    }

    /// One at a time finds it. An earlier one serves all others meanwhile, and everybody while it cannot be found again.
    async fn place(&self, now: Timestamp, within: Duration) -> Result<Place, QuestionError> {
        let mut place = self.place.lock().await;
        let Some(known) = place.as_mut() else {
            return Ok(place.insert(self.search(now, within).await?).clone());
        };
        let earlier = known.clone();
        if earlier.counts(now) {
            return Ok(earlier);
        }
        (known.counted_from, known.counts_ms) = (now, SEARCH_AGAIN_MS);
        drop(place);
        let Ok(found) = self.search(now, within).await else { return Ok(earlier) };
        *self.place.lock().await = Some(found.clone());
        Ok(found)
    }

    async fn search(&self, now: Timestamp, within: Duration) -> Result<Place, QuestionError> {
        let found = tokio::time::timeout(within, self.find_place(now)).await;
        found.unwrap_or_else(|_| Err(FetchError::Slow(within).into()))
    }

    async fn find_place(&self, now: Timestamp) -> Result<Place, QuestionError> {
        let url = match &self.introspection.url {
            Some(url) => Location::parse(url)?.url,
            None => fetch::introspection_endpoint(&self.endpoint).await?,
        };
        let (is_plain, ca_file) = (url.scheme_str() == Some("http"), self.endpoint.ca_file.clone());
        let client = tokio::task::spawn_blocking(move || Client::open(is_plain, ca_file)).await??;
        Ok(Place { url, client, counted_from: now, counts_ms: PLACE_MS })
    }
}

impl Place {
    fn counts(&self, now: Timestamp) -> bool {
        now.millis().saturating_sub(self.counted_from.millis()).saturating_abs() < self.counts_ms
    }
}

impl From<QuestionError> for Failure {
    fn from(error: QuestionError) -> Self {
        let why = error.to_string();
        if matches!(error, QuestionError::Refused { .. }) { Self::Credentials(why) } else { Self::Question(why) }
    }
}

/// RFC 7662 section 2.3 has 401 for wrong credentials; some say 403 to a client that may not ask.
fn refused(error: FetchError) -> QuestionError {
    match error {
        FetchError::Status { url, status: status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) } => {
            QuestionError::Refused { url, status }
        }
        other => other.into(),
    }
}

/// RFC 7662 section 2.1.
fn form(token: &str) -> Bytes {
    Bytes::from(format!("token={}&token_type_hint=access_token", encoded(token)))
}

/// RFC 6749 section 2.3.1: both parts are encoded before they are joined.
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, QuestionError> {
    let pair = STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret.expose())));
    let mut value = HeaderValue::from_str(&format!("Basic {pair}")).map_err(|_| QuestionError::NoHeader)?;
    value.set_sensitive(true);
    Ok(value)
}

/// `application/x-www-form-urlencoded` (RFC 6749 appendix B).
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => char::from(byte).to_string(),
        b' ' => String::from("+"),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn read(body: &Bytes, headers: &HeaderMap, url: Uri) -> Result<Said, QuestionError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("no content type");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    // A signed answer (RFC 9701) is for who does not trust the connection; we have asked the issuer itself.
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(QuestionError::NotJson { url, content_type: fetch::shown(content_type) });
    }
    if body.len() > ANSWER_BYTES_MAX {
        return Err(QuestionError::TooLarge { url });
    }
    let Ok(claims) = Object::parse(body) else { return Err(QuestionError::Unreadable { url }) };
    match claims.get("active") {
        Member::Bool(true) => Ok(Said::Active(claims.into_owned())),
        Member::Bool(false) => Ok(Said::Inactive),
        _ => Err(QuestionError::Unreadable { url }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(body: &str, content_type: &'static str) -> Result<Said, QuestionError> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        read(&Bytes::copy_from_slice(body.as_bytes()), &headers, Uri::from_static("https://idp.acme.example/ask"))
    }

    #[test]
    fn id_and_secret_are_encoded_before_they_are_joined() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "p%: +\u{e4}~*\n").unwrap();
        let secret = runtime::secret::read(&model::party::SecretRef::File(file)).unwrap();
        let value = basic("mill:gate", &secret).unwrap();
        assert!(value.is_sensitive());
        let sent = STANDARD.decode(value.to_str().unwrap().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(sent, b"mill%3Agate:p%25%3A+%2B%C3%A4%7E*");
    }

    #[test]
    fn no_token_adds_a_parameter_to_the_question() {
        assert_eq!(form("a+/~="), "token=a%2B%2F%7E%3D&token_type_hint=access_token");
        assert_eq!(form("a&b=c"), "token=a%26b%3Dc&token_type_hint=access_token");
    }

    #[test]
    fn an_answer_has_one_reading() {
        assert!(matches!(answered(r#"{"active":true}"#, "application/json; charset=utf-8"), Ok(Said::Active(_))));
        assert!(matches!(answered(r#"{"active":false,"sub":"a"}"#, "Application/JSON"), Ok(Said::Inactive)));
        for body in [
            "",
            "true",
            "[]",
            "{}",
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null}"#,
            r#"{"active":true,"active":false}"#,
            r#"{"active":false,"\u0061ctive":true}"#,
            r#"{"active":true,"cnf":{"jkt":"a","jkt":"b"}}"#,
            r#"{"active":true} {}"#,
        ] {
            assert!(matches!(answered(body, "application/json"), Err(QuestionError::Unreadable { .. })), "{body}");
        }
        let good = r#"{"active":true}"#;
        for content_type in ["text/html", "application/jwt", "application/token-introspection+jwt", "text/json", ""] {
            assert!(matches!(answered(good, content_type), Err(QuestionError::NotJson { .. })), "{content_type}");
        }
        let long = format!(r#"{{"active":true,"x":"{}"}}"#, "x".repeat(ANSWER_BYTES_MAX));
        assert!(matches!(answered(&long, "application/json"), Err(QuestionError::TooLarge { .. })));
    }
}
