//! Tails whose callers take nothing: nobody asks such a stream whether it may still go on.

use crate::{grpc, proofs};
use acceptance::{Plant, wait};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::Clock as _;
use proto::audit::v1::TailRequest;
use proto::audit::v1::audit_log_client::AuditLogClient;
use serde_json::json;
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

/// A connection of a caller that answers pings and lets the broker send it headers, and not one byte of a body.
async fn takes_nothing(plant: &Plant) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(plant.demo.running.api).await.unwrap();
    let mut connecting = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (send, connection) = connecting.initial_stream_window_size(0).handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

async fn tail(send: &mut SendRequest<Empty<Bytes>>, token: &str) -> http::Response<hyper::body::Incoming> {
    let request = http::Request::builder()
        .uri("http://b/v1/audit/entries?follow=true&organisation=acme")
        .header("authorization", format!("Bearer {token}"));
    send.send_request(request.body(Empty::new()).unwrap()).await.unwrap()
}

async fn ended(plant: &Plant, how: &str, times: usize) {
    wait::until("the end of the tails", async || {
        let outcomes = plant.audit("kind=outcome&organisation=acme").await.unwrap();
        (outcomes.iter().filter(|outcome| outcome["ended"] == how).count() == times).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_whose_caller_takes_nothing_ends_with_its_permission_and_gives_its_place_back() {
    let plant = grpc::plant().await;
    let (token, mut send) = (plant.token("acme").to_owned(), takes_nothing(&plant).await);
    let endpoint = Endpoint::from_shared(plant.api()).unwrap().initial_stream_window_size(Some(0));
    let mut client = AuditLogClient::new(endpoint.connect().await.unwrap());
    let mut held = (Vec::new(), Vec::new());
    for _ in 0..2 {
        held.0.push(tail(&mut send, &token).await);
        let asked = TailRequest { filter: grpc::of_organisation("acme"), after: None };
        held.1.push(client.tail(grpc::with(&plant, "acme", asked)).await.unwrap());
    }
    assert!(held.0.iter().all(|answer| answer.status() == 200));
    assert_eq!(tail(&mut send, &token).await.status(), 503, "all places of the organisation are taken");
    let out = plant.directory.path().join("policies/plants/munich/registry/out.toml");
    std::fs::write(&out, "[revoked]\norganisations = [\"acme\"]\n").unwrap();
    ended(&plant, "withdrawn", 4).await;
    // The four answers stand there as before, and hold nothing any longer.
    std::fs::remove_file(&out).unwrap();
    wait::until("a permission", async || (tail(&mut send, &token).await.status() == 200).then_some(())).await.unwrap();
    drop(held);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_whose_caller_takes_nothing_ends_with_its_token() {
    let plant = grpc::plant().await;
    let issuer = proofs::Key::generate();
    let url = proofs::serve(json!({"keys": [issuer.jwk]})).await;
    let registered = format!(
        "[issuer.acme-short]\norganisation = \"acme\"\nurl = \"{url}\"\naudiences = [\"{}\"]\nalgorithms = [\"ES256\"]\n\
         leeway = \"0s\"\n",
        millgate::demo::AUDIENCE
    );
    let before = plant.demo.running.broker.generation();
    std::fs::write(plant.directory.path().join("policies/plants/munich/registry/short.toml"), registered).unwrap();
    wait::until("the new issuer", async || (plant.demo.running.broker.generation() > before).then_some(()))
        .await
        .unwrap();
    let now = runtime::SystemClock.now().seconds();
    let claims = json!({"iss": url, "aud": millgate::demo::AUDIENCE, "sub": "engineer-1", "iat": now, "exp": now + 3});
    let token = issuer.sign(&json!({"alg": "ES256", "typ": "at+jwt"}), &claims);
    let mut send = takes_nothing(&plant).await;
    let held = tail(&mut send, &token).await;
    assert_eq!(held.status(), 200);
    ended(&plant, "complete", 1).await;
    drop(held);
    plant.stop().await;
}
