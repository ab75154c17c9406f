//! Where an issuer's keys may be: discovery in its two places and elsewhere, a URL, a file; and who gets to see the token
//! that they are fetched with.

use super::idp::{Answer, Idp, Key, key_set};
use super::stand::{NOW, Stand, claims_of, until};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use model::Reason;
use model::party::KeyLocation;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

/// A path that was asked for, and with which credential.
type Asked = (String, Option<String>);

/// A server of documents that remembers who asked for what, with which credential.
#[derive(Clone, Default)]
struct Site {
    url: String,
    documents: Arc<Mutex<BTreeMap<&'static str, Value>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Site {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let site = Self { url: format!("http://{}", listener.local_addr().unwrap()), ..Self::default() };
        let router = Router::new().fallback(answer).with_state(site.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        site
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn has(&self, path: &'static str, document: Value) {
        self.documents.lock().unwrap().insert(path, document);
    }

    /// Paths that were asked for, in order, each with the credential.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|(path, _)| path).collect()
    }
}

async fn answer(State(site): State<Site>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let credential = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    site.asked.lock().unwrap().push((path.clone(), credential));
    match site.documents.lock().unwrap().get(path.as_str()) {
        Some(document) => Response::new(Body::from(document.to_string())),
        None => Response::builder().status(StatusCode::NOT_FOUND).body(Body::empty()).unwrap(),
    }
}

/// Acme's issuer under another URL, with its keys at `keys`; and a token of it.
async fn stand_with(url: &str, keys: KeyLocation) -> (Stand, String) {
    let mut stand = Stand::new().await;
    stand.change_acme(|issuer| {
        url.clone_into(&mut issuer.url);
        issuer.keys = keys;
    });
    let token = stand.acme_key.sign(&stand.acme_key.header().to_string(), &claims_of(url).to_string());
    (stand, token)
}

fn keys_of(stand: &Stand) -> Value {
    key_set(&[&stand.acme_key])
}

fn failure(stand: &Stand) -> String {
    stand.identity.status().into_iter().find_map(|status| status.failure).unwrap()
}

// === discovery ===

#[tokio::test]
async fn metadata_is_found_at_the_place_of_rfc_8414() {
    let site = Site::start().await;
    let issuer = site.at("/realms/a");
    let (stand, token) = stand_with(&issuer, KeyLocation::Discovery { at: None }).await;
    site.has(
        "/.well-known/oauth-authorization-server/realms/a",
        json!({"issuer": issuer, "jwks_uri": site.at("/jwks")}),
    );
    site.has("/jwks", keys_of(&stand));
    assert!(stand.login(&token).await.is_ok());
    let tried = "/realms/a/.well-known/openid-configuration";
    assert_eq!(site.paths(), [tried, "/.well-known/oauth-authorization-server/realms/a", "/jwks"]);
}

#[tokio::test]
async fn metadata_that_is_nowhere() {
    let site = Site::start().await;
    let (stand, token) = stand_with(&site.url, KeyLocation::Discovery { at: None }).await;
    assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    let failure = failure(&stand);
    assert!(failure.contains("openid-configuration` nor `") && failure.contains("set the issuer's"), "{failure}");
}

#[tokio::test]
async fn metadata_of_the_second_place_in_another_name() {
    let site = Site::start().await;
    let (stand, token) = stand_with(&site.url, KeyLocation::Discovery { at: None }).await;
    let impostor = json!({"issuer": "https://idp.other.example", "jwks_uri": site.at("/jwks")});
    site.has("/.well-known/oauth-authorization-server", impostor);
    site.has("/jwks", keys_of(&stand));
    assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    assert!(failure(&stand).contains("not the configured URL"));
}

/// As in a cluster: `iss` is a name that nothing answers to, the API server has the documents and wants a credential.
#[tokio::test]
async fn tokens_of_kubernetes_service_accounts() {
    let site = Site::start().await;
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let at = site.at("/.well-known/openid-configuration");
    let (mut stand, token) = stand_with(issuer, KeyLocation::Discovery { at: Some(at) }).await;
    site.has("/.well-known/openid-configuration", json!({"issuer": issuer, "jwks_uri": site.at("/openid/v1/jwks")}));
    site.has("/openid/v1/jwks", keys_of(&stand));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "service-account-token").unwrap();
    stand.change_acme(|issuer| issuer.fetch_token_file = Some(file.path().to_owned()));
    assert!(stand.login(&token).await.is_ok());
    let credential = Some(String::from("Bearer service-account-token"));
    assert!(site.asked().iter().all(|(_, shown)| *shown == credential));

    // Kubernetes renews the file every hour; the next fetch brings the new one.
    std::fs::write(file.path(), "renewed\n").unwrap();
    assert!(stand.login_at(&token, NOW.plus_millis(5 * 60_000)).await.is_ok());
    let renewed = Some(String::from("Bearer renewed"));
    until(|| site.asked.lock().unwrap().len() == 2).await;
    assert!(site.asked().iter().all(|(_, shown)| *shown == renewed));
}

#[tokio::test]
async fn a_jwks_uri_elsewhere_does_not_get_the_token_for_the_fetch() {
    let (site, thief) = (Site::start().await, Site::start().await);
    let (mut stand, token) = stand_with(&site.url, KeyLocation::Discovery { at: None }).await;
    site.has("/.well-known/openid-configuration", json!({"issuer": site.url, "jwks_uri": thief.at("/jwks")}));
    thief.has("/jwks", keys_of(&stand));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"secret").unwrap();
    stand.change_acme(|issuer| issuer.fetch_token_file = Some(file.path().to_owned()));
    assert!(stand.login(&token).await.is_ok());
    let discovery = String::from("/.well-known/openid-configuration");
    assert_eq!(site.asked(), [(discovery, Some(String::from("Bearer secret")))]);
    assert_eq!(thief.asked(), [(String::from("/jwks"), None)]);
}

#[tokio::test]
async fn a_token_for_the_fetch_that_is_not_there_sends_nothing() {
    let site = Site::start().await;
    let (mut stand, token) = stand_with(&site.url, KeyLocation::Url(site.at("/jwks"))).await;
    site.has("/jwks", keys_of(&stand));
    stand.change_acme(|issuer| issuer.fetch_token_file = Some("does-not-exist".into()));
    assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    assert!(failure(&stand).contains("the token to fetch with cannot be had"));
    assert_eq!(site.asked(), []);
}

// === a URL ===

#[tokio::test]
async fn a_key_set_at_a_url_needs_no_discovery() {
    let site = Site::start().await;
    let (stand, token) = stand_with("https://idp.acme.example", KeyLocation::Url(site.at("/jwks"))).await;
    site.has("/jwks", keys_of(&stand));
    assert!(stand.login(&token).await.is_ok());
    assert_eq!(site.paths(), ["/jwks"]);
}

#[tokio::test]
async fn keys_of_another_place_do_not_count() {
    let mut stand = Stand::new().await;
    let token = stand.token();
    assert!(stand.login(&token).await.is_ok());
    let elsewhere = Idp::start(Answer::Keys(key_set(&[&Key::p256("key-1")]))).await;
    stand.change_acme(|issuer| issuer.keys = KeyLocation::Url(format!("{}/keys", elsewhere.url())));
    assert_eq!(stand.refusal(&token).await, Reason::BAD_SIGNATURE);
}

// === a file ===

#[tokio::test]
async fn a_key_file_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acme.jwks.json");
    let (stand, token) = stand_with("https://idp.acme.example", KeyLocation::File(path.clone())).await;
    std::fs::write(&path, keys_of(&stand).to_string()).unwrap();
    assert!(stand.login(&token).await.is_ok());

    let next = Key::p256("key-2");
    let new = next.sign(&next.header().to_string(), &claims_of("https://idp.acme.example").to_string());
    std::fs::write(&path, key_set(&[&next]).to_string()).unwrap();
    assert!(stand.login(&new).await.is_ok(), "a key that is not known is looked for at once");
    assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE, "it may be back already");

    // Two seconds without a request: the file is read before the old key may count again.
    std::fs::write(&path, keys_of(&stand).to_string()).unwrap();
    let later = NOW.plus_millis(10_000);
    assert_eq!(stand.refusal_at(&new, later).await, Reason::UNKNOWN_KEY);
    assert!(stand.login_at(&token, later).await.is_ok());
}

#[tokio::test]
async fn a_damaged_key_file_leaves_the_last_good_keys_and_one_that_is_gone_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acme.jwks.json");
    let (stand, token) = stand_with("https://idp.acme.example", KeyLocation::File(path.clone())).await;
    assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    std::fs::write(&path, keys_of(&stand).to_string()).unwrap();
    assert!(stand.login_at(&token, NOW.plus_millis(3_000)).await.is_ok());
    std::fs::write(&path, "{\"keys\":[").unwrap();
    assert!(stand.login_at(&token, NOW.plus_millis(10_000)).await.is_ok());
    assert!(failure(&stand).contains("not a JSON object"));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(20_000)).await, Reason::ISSUER_UNAVAILABLE);
    until(|| failure_of(&stand).is_some_and(|failure| failure.contains("is not there"))).await;
}

/// The interval between fetches over the network is longer.
#[tokio::test]
async fn a_key_file_is_looked_at_every_second() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acme.jwks.json");
    let (stand, token) = stand_with("https://idp.acme.example", KeyLocation::File(path.clone())).await;
    assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    std::fs::write(&path, keys_of(&stand).to_string()).unwrap();
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(999)).await, Reason::ISSUER_UNAVAILABLE);
    assert!(stand.login_at(&token, NOW.plus_millis(1_000)).await.is_ok());

    std::fs::write(&path, key_set(&[&Key::p256("key-2")]).to_string()).unwrap();
    assert!(stand.login_at(&token, NOW.plus_millis(1_999)).await.is_ok());
    assert_eq!(stand.refusal_at(&token, NOW.plus_millis(2_000)).await, Reason::UNKNOWN_KEY);

    std::fs::write(&path, keys_of(&stand).to_string()).unwrap();
    assert!(stand.login_at(&token, NOW.plus_millis(3_000)).await.is_ok());
}

fn failure_of(stand: &Stand) -> Option<String> {
    stand.identity.status().into_iter().find_map(|status| status.failure)
}

#[tokio::test]
async fn a_key_file_of_fifty_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acme.jwks.json");
    std::fs::File::create(&path).unwrap().set_len(50 * 1024 * 1024).unwrap();
    let (stand, token) = stand_with("https://idp.acme.example", KeyLocation::File(path)).await;
    assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    assert!(failure(&stand).contains("more than 262144 bytes"));
}
