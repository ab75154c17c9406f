//! A source that misbehaves: the caller sees a clear refusal or a visible abort, and the outcome entry tells the truth.

use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http};

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: [(&str, &str); 1] = [("millgate-purpose", "predictive-maintenance")];

async fn ask(behaviour: Behaviour) -> (Plant, Source, anyhow::Result<http::Answer>) {
    let source = Source::start(None, behaviour).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let answer = plant.get("acme", TARGET, &PURPOSE).await;
    (plant, source, answer)
}

/// The outcome of the only exchange.
async fn outcome(plant: &Plant) -> serde_json::Value {
    acceptance::wait::until("an outcome", async || {
        let found = plant.audit("kind=outcome&organisation=acme").await.ok()?;
        found.into_iter().next()
    })
    .await
    .unwrap()
}

fn say(text: &str) -> Behaviour {
    Behaviour::Say(text.as_bytes().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_down_is_a_502_with_its_outcome() {
    let source = Source::start(None, say("")).await.unwrap();
    let port = source.address.port();
    let plant = Plant::start_with_source(port).await.unwrap();
    drop(source);
    let answer = plant.get("acme", TARGET, &PURPOSE).await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (502, "source_unreachable"), "{}", answer.text());
    let entries = plant.closed(answer.request_id()).await.unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["ended"], "source_failed");
    assert_eq!(entries[1]["status"], 502);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_never_followed() {
    let bait = Source::start(None, say("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret")).await.unwrap();
    let moved = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{}/secret\r\ncontent-length: 4\r\nconnection: close\r\n\r\nover",
        bait.address
    );
    let (plant, source, answer) = ask(say(&moved)).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (502, "source_redirected"));
    assert!(!answer.text().contains("over"));
    assert!(answer.header("location").is_empty());
    assert_eq!((source.asked(), bait.asked()), (1, 0));
    assert_eq!(outcome(&plant).await["reason"], "source_redirected");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_page_of_the_source_stays_inside() {
    for (status, expected) in [("500 Oops", 502), ("401 No", 502), ("404 Nothing", 404), ("503 Later", 503)] {
        let page = format!(
            "HTTP/1.1 {status}\r\nset-cookie: a=b\r\ncontent-length: 14\r\nconnection: close\r\n\r\nstack-trace-xy"
        );
        let (plant, _source, answer) = ask(say(&page)).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, expected, "{status}: {}", answer.text());
        assert!(!answer.text().contains("stack-trace"), "{}", answer.text());
        assert!(answer.header("set-cookie").is_empty());
        assert_eq!(outcome(&plant).await["status"], expected);
        plant.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_breaks_off_is_a_visible_abort() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"part\":";
    let (plant, _source, answer) = ask(say(cut)).await;
    assert!(answer.is_err(), "a cut answer must not look complete");
    let outcome = outcome(&plant).await;
    assert_eq!(outcome["ended"], "source_aborted");
    assert_eq!(outcome["bytes"], 8);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_answer_that_breaks_off_is_a_visible_abort() {
    let cut =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"part\":\r\n";
    let (plant, _source, answer) = ask(say(cut)).await;
    assert!(answer.is_err(), "a cut answer must not look complete");
    assert_eq!(outcome(&plant).await["ended"], "source_aborted");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_says_nothing_is_a_504() {
    let (plant, _source, answer) = ask(Behaviour::SayAndHang(Vec::new())).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (504, "source_timeout"));
    assert_eq!(outcome(&plant).await["ended"], "source_timeout");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_stalls_in_the_middle_is_cut_off() {
    let stall = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{".to_vec();
    let (plant, _source, answer) = ask(Behaviour::SayAndHang(stall)).await;
    assert!(answer.is_err(), "a stalled answer must not look complete");
    assert_eq!(outcome(&plant).await["ended"], "source_timeout");
    plant.stop().await;
}

async fn withholding(behaviour: Behaviour) -> (Plant, Source) {
    let source = Source::start(None, behaviour).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    plant.amend_product("outcome_before_complete = true").unwrap();
    let before = plant.demo.running.broker.generation();
    plant.shutdown.reload();
    let is_new = async || (plant.demo.running.broker.generation() > before).then_some(());
    acceptance::wait::until("the new product", is_new).await.unwrap();
    (plant, source)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_answer_waits_for_its_outcome_where_the_product_asks_for_that() {
    let body: String = (0..200_000).map(|n| format!("{n},")).collect();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let whole = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let pieces: Vec<_> = body.as_bytes().chunks(50_000).map(|b| String::from_utf8_lossy(b)).collect();
    let pieces: String = pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{pieces}0\r\n\r\n");
    let empty = format!("{head}content-length: 0\r\n\r\n");
    for (said, expected) in [(&whole, body.as_str()), (&chunked, body.as_str()), (&empty, "")] {
        let (plant, _source) = withholding(say(said)).await;
        let answer = plant.get("acme", TARGET, &PURPOSE).await.unwrap();
        assert!(answer.status == 200 && answer.text() == expected, "{} {} bytes", answer.status, answer.body.len());
        let outcomes = plant.audit(&format!("kind=outcome&request={}", answer.request_id())).await.unwrap();
        assert_eq!((outcomes.len(), &outcomes[0]["ended"]), (1, &serde_json::Value::from("complete")));
        assert_eq!((&outcomes[0]["bytes"], &outcomes[0]["status"]), (&expected.len().into(), &200.into()));
        plant.stop().await;
    }
    // What breaks off has its own end, and what was held back counts for nothing.
    let short = format!("{head}content-length: {}\r\n\r\nabc", body.len());
    let (plant, _source) = withholding(say(&short)).await;
    assert!(plant.get("acme", TARGET, &PURPOSE).await.is_err());
    let outcome = outcome(&plant).await;
    assert_eq!((&outcome["ended"], &outcome["bytes"]), (&"source_aborted".into(), &0.into()), "{outcome}");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_declared_headers_of_the_source_reach_the_caller() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: historian/1.6\r\nset-cookie: a=b\r\n\
                  x-internal: 10.0.0.5\r\netag: \"1\"\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let (plant, _source, answer) = ask(say(answer)).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200);
    for hidden in ["server", "set-cookie", "x-internal", "etag"] {
        assert!(answer.header(hidden).is_empty(), "{hidden}: {}", answer.header(hidden));
    }
    assert_eq!(answer.header("millgate-view"), "whole");
    assert_eq!(answer.header("cache-control"), "private, no-store");
    assert_eq!(outcome(&plant).await["ended"], "complete");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_away_has_one_truthful_outcome() {
    let stall = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{".to_vec();
    let source = Source::start(None, Behaviour::SayAndHang(stall)).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut socket = tokio::net::TcpStream::connect(plant.demo.running.data).await.unwrap();
        let request = format!(
            "GET {TARGET} HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {}\r\nmillgate-purpose: predictive-maintenance\r\n\r\n",
            plant.token("acme")
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut some = [0; 16];
        socket.read_exact(&mut some).await.unwrap();
    }
    assert_eq!(outcome(&plant).await["ended"], "caller_aborted");
    let directory = plant.stop().await;
    let outcomes = acceptance::published(directory.path()).unwrap();
    assert_eq!(outcomes.iter().filter(|e| e["kind"] == "outcome" && e["org"] == "acme").count(), 1);
}
