//! What an answer waits for in the log beyond its own entry: a signed checkpoint before the source is asked, and its outcome
//! before the last of it leaves.

use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, wait};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use std::time::Duration;

const PLAIN: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const MAINTENANCE: [(&str, &str); 1] = [("millgate-purpose", "predictive-maintenance")];
const PARTS: &str = "/parts/acme?limit=1000";
const QUALITY: (&str, &str) = ("millgate-purpose", "quality-analysis");

/// Nothing comes for so long: what can come has come.
const QUIET: Duration = Duration::from_millis(500);

/// Adds a line to every product of the plant, while the broker serves.
pub async fn demand(plant: &Plant, line: &str) {
    let products = plant.directory.path().join("policies/plants/munich/catalog/products.toml");
    let text = std::fs::read_to_string(&products).unwrap();
    let amended =
        |each: &str| if each.starts_with("[product.") { format!("{each}\n{line}\n") } else { format!("{each}\n") };
    let before = plant.demo.running.broker.generation();
    std::fs::write(&products, text.lines().map(amended).collect::<String>()).unwrap();
    plant.shutdown.reload();
    let newer = async || (plant.demo.running.broker.generation() > before).then_some(());
    wait::until("the products as they are now", newer).await.unwrap();
}

/// An answer whose outcome could not be written for a while.
#[derive(Debug)]
pub struct HeldBack {
    pub head: ::http::HeaderMap,
    /// Came while the log took nothing.
    pub before: Vec<u8>,
    /// Came afterwards.
    pub rest: Vec<u8>,
}

impl HeldBack {
    pub fn whole(&self) -> Vec<u8> {
        [&*self.before, &self.rest].concat()
    }
}

/// Asks as acme. From when the source has been asked (`asked`) the log takes nothing, then the source may answer (`go`), and
/// once everything has come that comes, the log takes entries again.
pub async fn held_back(
    plant: &Plant,
    target: &str,
    headers: &[(&str, &str)],
    asked: impl AsyncFnMut() -> Option<()>,
    go: impl AsyncFnOnce(),
) -> HeldBack {
    let url = format!("{}{target}", plant.data());
    let mut owned = vec![(String::from("authorization"), format!("Bearer {}", plant.token("acme")))];
    owned.extend(headers.iter().map(|(name, value)| (String::from(*name), String::from(*value))));
    let answer = tokio::spawn(async move {
        let headers: Vec<_> = owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        http::open(&url, &headers).await.unwrap()
    });
    wait::until("the question at the source", asked).await.unwrap();
    let file = SqliteConnectOptions::new().filename(plant.directory.path().join("audit/log.db"));
    let mut store = file.connect().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut store).await.unwrap();
    go().await;
    let (parts, mut body) = answer.await.unwrap().into_parts();
    assert_eq!(parts.status, 200);
    let mut before = Vec::new();
    while let Ok(frame) = tokio::time::timeout(QUIET, body.frame()).await {
        let frame = frame.expect("the answer was whole before its outcome was in the log").unwrap();
        before.extend_from_slice(&frame.into_data().unwrap());
    }
    let waits = async || (plant.demo.running.broker.log.status().outcomes_waiting == 1).then_some(());
    wait::until("an outcome that waits", waits).await.unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut store).await.unwrap();
    let rest = body.collect().await.unwrap().to_bytes().to_vec();
    assert!(!rest.is_empty(), "nothing was held back");
    HeldBack { head: parts.headers, before, rest }
}

/// The outcome of the answer, of which it must be the truth.
pub async fn told(plant: &Plant, answer: &HeldBack) -> Value {
    let request = answer.head["millgate-request-id"].to_str().unwrap();
    let outcomes = plant.audit(&format!("kind=outcome&request={request}")).await.unwrap();
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    let outcome = &outcomes[0];
    assert_eq!((&outcome["ended"], &outcome["bytes"]), (&json!("complete"), &json!(answer.whole().len())));
    outcome.clone()
}

fn says(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_asked_under_a_signed_checkpoint_where_the_product_demands_one_and_not_without_it() {
    let source = Source::start(None, Behaviour::SayWhenLet(says("{}"))).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    demand(&plant, "acknowledgement = \"checkpointed\"").await;
    let at_source = async {
        wait::until("the question at the source", async || (source.asked() == 1).then_some(())).await.unwrap();
        let signed = plant.demo.running.broker.log.status().checkpoint_size;
        source.let_answer();
        signed
    };
    let (answer, signed) = tokio::join!(plant.get("acme", PLAIN, &MAINTENANCE), at_source);
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    let bearer = format!("Bearer {}", plant.token("auditor"));
    let url = format!("{}/v1/audit/entries?kind=decision&request={}", plant.api(), answer.request_id());
    let page = http::get(&url, &[("authorization", &bearer)]).await.unwrap().json().unwrap();
    let decision = &page["entries"][0];
    let index = decision["index"].as_u64().unwrap();
    assert_eq!(decision["entry"]["acknowledgement"], "checkpointed");
    assert!(
        signed > index,
        "{signed} entries were signed when the source was asked, and the decision is entry {index}"
    );

    // Nothing can be published, so nothing is signed.
    let published = plant.directory.path().join("audit/published");
    let aside = plant.directory.path().join("audit/aside");
    std::fs::rename(&published, &aside).unwrap();
    std::fs::write(&published, "in the way").unwrap();
    let refused = plant.get("acme", PLAIN, &MAINTENANCE).await.unwrap();
    assert_eq!((refused.status, refused.reason().as_str()), (503, "not_published"), "{}", refused.text());
    assert_eq!(source.asked(), 1, "the source hears nothing of it");
    let entries = plant.closed(refused.request_id()).await.unwrap();
    assert_eq!((&entries[0]["decision"], &entries[0]["acknowledgement"]), (&json!("allow"), &json!("checkpointed")));
    assert_eq!(entries[1]["ended"], "not_forwarded");
    std::fs::remove_file(&published).unwrap();
    std::fs::rename(&aside, &published).unwrap();
    source.let_answer();
    assert_eq!(plant.get("acme", PLAIN, &MAINTENANCE).await.unwrap().status, 200);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_a_shaped_answer_is_kept_back_until_its_outcome_is_written_packed_or_not() {
    let id = |n: u32| model::canonical::hex(&model::Digest::of(&n.to_be_bytes()).0);
    let parts: Vec<Value> =
        (0..1000).map(|n| json!({ "globalAssetId": id(n), "quality": { "result": "passed" } })).collect();
    let source = Source::start(None, Behaviour::SayWhenLet(says(&json!(parts).to_string()))).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    demand(&plant, "outcome_before_complete = true").await;
    let ask = async |headers: &[(&str, &str)], number: usize| {
        let asked = async || (source.asked() == number).then_some(());
        held_back(&plant, PARTS, headers, asked, async || source.let_answer()).await
    };
    let plain = ask(&[QUALITY], 1).await;
    assert!(!plain.before.is_empty(), "all but the end is passed on at once");
    assert!(serde_json::from_slice::<Value>(&plain.before).is_err(), "what came before is not the answer");
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&plain.whole()).unwrap(), parts);
    assert_eq!(told(&plant, &plain).await["rows"], 1000);

    let packed = ask(&[QUALITY, ("accept-encoding", "gzip")], 2).await;
    assert_eq!(packed.head["content-encoding"], "gzip");
    let whole = packed.whole();
    // RFC 1952: it ends with the length of what was packed, and without its end it is not a whole one.
    let length = u32::try_from(plain.whole().len()).unwrap().to_le_bytes();
    assert!(whole.starts_with(&[0x1f, 0x8b]) && whole.ends_with(&length), "{} bytes", whole.len());
    assert_eq!(told(&plant, &packed).await["rows"], 1000);
    plant.stop().await;
}
