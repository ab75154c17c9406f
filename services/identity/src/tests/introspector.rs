//! An issuer's endpoint for questions about its tokens (RFC 7662) on 127.0.0.1.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::{get, post};
use futures_util::{StreamExt as _, stream};
use model::party::{Introspection, SecretRef};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// Who answers, and whom it has seen.
#[derive(Clone)]
pub(super) struct Introspector(Arc<Inner>);

struct Inner {
    url: String,
    folder: tempfile::TempDir,
    state: Mutex<Told>,
    /// Each answer about an invented token takes one.
    slots: Semaphore,
}

#[derive(Default)]
struct Told {
    /// What is said of a token; nothing else is active.
    tokens: BTreeMap<String, Value>,
    manner: Manner,
    metadata: Value,
    questions: Vec<Asked>,
    elsewhere: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) authorization: String,
    pub(super) body: String,
}

#[derive(Clone, Default)]
pub(super) enum Manner {
    #[default]
    Truthful,
    /// Says nothing of a token that is not active before `let_go`.
    HoldingStrangersUp,
    Text(&'static str, &'static str),
    Status(StatusCode),
    Redirect,
    Flood,
    Silent,
}

const SLOTS: usize = 1_000_000;

impl Introspector {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "s3:cret\n").unwrap();
        let this = Self(Arc::new(Inner { url, folder, state: Mutex::default(), slots: Semaphore::new(0) }));
        let router = Router::new()
            .route("/ask", post(ask))
            .route("/elsewhere", post(elsewhere).get(elsewhere))
            .route("/.well-known/openid-configuration", get(metadata))
            .with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    pub(super) fn url(&self) -> &str {
        &self.0.url
    }

    /// What the registry says of it.
    pub(super) fn entry(&self, prefix: Option<&str>, host: Option<&str>) -> Introspection {
        Introspection {
            url: Some(format!("{}/ask", self.0.url)),
            client_id: String::from("mill gate"),
            client_secret: SecretRef::File(self.0.folder.path().join("secret")),
            prefix: prefix.map(str::to_owned),
            host: host.map(str::to_owned),
            cache_ms: 1_000,
        }
    }

    /// `null` withdraws the token.
    pub(super) fn says(&self, token: &str, of_it: Value) {
        self.told(|told| match of_it {
            Value::Null => told.tokens.remove(token),
            value => told.tokens.insert(token.to_owned(), value),
        });
    }

    pub(super) fn is_now(&self, manner: Manner) {
        self.told(|told| told.manner = manner);
    }

    pub(super) fn has_metadata(&self, metadata: Value) {
        self.told(|told| told.metadata = metadata);
    }

    pub(super) fn let_go(&self) {
        self.0.slots.add_permits(SLOTS);
    }

    pub(super) fn questions(&self) -> Vec<Asked> {
        self.told(|told| told.questions.clone())
    }

    pub(super) fn count(&self) -> usize {
        self.told(|told| told.questions.len())
    }

    pub(super) fn elsewhere(&self) -> usize {
        self.told(|told| told.elsewhere)
    }

    fn told<T>(&self, look: impl FnOnce(&mut Told) -> T) -> T {
        look(&mut self.0.state.lock().unwrap())
    }
}

async fn ask(State(this): State<Introspector>, headers: HeaderMap, body: String) -> Response<Body> {
    let token = body.strip_prefix("token=").and_then(|rest| rest.split('&').next()).unwrap_or_default().to_owned();
    let authorization = headers[header::AUTHORIZATION].to_str().unwrap().to_owned();
    let (manner, answer) = this.told(|told| {
        told.questions.push(Asked { authorization, body });
        (told.manner.clone(), told.tokens.get(&token).cloned())
    });
    match manner {
        Manner::Truthful => json_answer(answer),
        Manner::HoldingStrangersUp => {
            if answer.is_none() {
                this.0.slots.acquire().await.unwrap().forget();
            }
            json_answer(answer)
        }
        Manner::Text(content_type, text) => with(StatusCode::OK, &[(header::CONTENT_TYPE, content_type)], text.into()),
        Manner::Status(status) => {
            with(status, &[(header::CONTENT_TYPE, "application/json")], r#"{"active":true}"#.into())
        }
        Manner::Redirect => {
            let to = format!("{}/elsewhere", this.url());
            with(StatusCode::TEMPORARY_REDIRECT, &[(header::LOCATION, &to)], Body::empty())
        }
        Manner::Flood => {
            let pieces = stream::iter(0..800).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[b' '; 64 * 1024])));
            with(StatusCode::OK, &[(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces))
        }
        Manner::Silent => std::future::pending().await,
    }
}

async fn elsewhere(State(this): State<Introspector>) -> &'static str {
    this.told(|told| told.elsewhere += 1);
    r#"{"active":true}"#
}

async fn metadata(State(this): State<Introspector>) -> Response<Body> {
    match this.told(|told| told.metadata.clone()) {
        Value::Null => std::future::pending().await,
        metadata => json_answer(Some(metadata)),
    }
}

fn json_answer(value: Option<Value>) -> Response<Body> {
    let body = value.unwrap_or_else(|| json!({"active": false})).to_string();
    with(StatusCode::OK, &[(header::CONTENT_TYPE, "application/json; charset=utf-8")], body.into())
}

fn with(status: StatusCode, headers: &[(header::HeaderName, &str)], body: Body) -> Response<Body> {
    let builder = Response::builder().status(status);
    headers.iter().fold(builder, |builder, (name, value)| builder.header(name, *value)).body(body).unwrap()
}
