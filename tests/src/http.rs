//! A plain client, and a plainer one: bytes on a socket.

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| self.text())
    }

    /// The reason code of a problem document.
    pub fn reason(&self) -> String {
        let problem = self.json().unwrap_or_default();
        problem.pointer("/reason").and_then(|r| r.as_str()).unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    pub fn request_id(&self) -> &str {
        self.header("millgate-request-id")
    }
}

/// # Errors
/// When there is no answer, or it breaks off.
pub async fn get(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
    send("GET", url, headers, Bytes::new()).await
}

/// From one of this machine's addresses.
///
/// # Errors
/// When there is no answer, or it breaks off.
pub async fn get_from(address: IpAddr, url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
    let mut connector = HttpConnector::new();
    connector.set_local_address(Some(address));
    let client = Client::builder(TokioExecutor::new()).build(connector);
    answer(&client, "GET", url, headers, Bytes::new()).await
}

/// # Errors
/// When there is no answer, or it breaks off.
pub async fn send(method: &str, url: &str, headers: &[(&str, &str)], body: Bytes) -> anyhow::Result<Answer> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    answer(&client, method, url, headers, body).await
}

async fn answer(
    client: &Client<HttpConnector, Full<Bytes>>,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> anyhow::Result<Answer> {
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::new(body))?).await.with_context(|| format!("{method} {url}"))?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.context("the answer broke off")?.to_bytes();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// A GET whose answer is not read: whoever drops it leaves.
///
/// # Errors
/// When there is no answer.
pub async fn open(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<http::Response<Incoming>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = http::Request::builder().uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.request(request.body(Full::new(Bytes::new()))?).await.with_context(|| url.to_owned())
}

/// Sends bytes as they are and reads until the peer closes.
///
/// # Errors
/// When the peer cannot be reached.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<String> {
    let mut socket = tokio::net::TcpStream::connect(address).await?;
    socket.write_all(bytes).await?;
    let mut answer = Vec::new();
    // A peer that refuses may reset; what came before that counts.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(20), socket.read_to_end(&mut answer)).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
