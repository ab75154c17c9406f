//! The disk takes nothing more in the middle of everything: the broker ends, and nothing was asked without a record.

use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, process};
use std::collections::BTreeSet;

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";

#[tokio::test(flavor = "multi_thread")]
async fn a_write_error_of_the_log_ends_the_broker_and_the_source_was_never_asked_without_a_record() {
    full(false, "{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_a_whole_answer_without_its_outcome_where_the_product_asks_for_that() {
    full(true, "{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_an_answer_without_a_body_and_without_its_outcome_where_the_product_asks_for_that() {
    full(true, "").await;
}

async fn full(outcome_before_complete: bool, body: &'static str) {
    let ok = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let source = Source::start(None, Behaviour::Say(ok.into_bytes())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    plant.amend_product(&format!("outcome_before_complete = {outcome_before_complete}")).unwrap();
    let config = plant.configuration("small", "").unwrap();
    // No file may grow beyond two megabytes (blocks of 512 bytes); without the signal a write beyond that is an error like a dying disk's.
    let (mut broker, facts) = process::serve(&config, "trap '' XFSZ; ulimit -f 4096;").unwrap();
    let url = format!("{}{TARGET}", facts["data"].as_str().unwrap());
    let bearer = format!("Bearer {}", plant.token("acme"));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (url, bearer) = (url.clone(), bearer.clone());
            tokio::spawn(async move {
                let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
                let (mut statuses, mut whole) = (BTreeSet::new(), BTreeSet::new());
                while let Ok(answer) = http::get(&url, &headers).await {
                    statuses.insert(answer.status);
                    if answer.status == 200 {
                        assert_eq!(answer.text(), body);
                        whole.insert(answer.request_id().to_owned());
                    }
                }
                (statuses, whole)
            })
        })
        .collect();
    let ended = tokio::task::spawn_blocking(move || broker.0.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(1), "it ends by itself: {ended}");
    let mut whole = BTreeSet::new();
    for caller in callers {
        let (statuses, answers) = caller.await.unwrap();
        whole.extend(answers);
        // A broker that ends lets go of what it is just asking a source.
        assert!(statuses.iter().all(|s| matches!(s, 200 | 502 | 503)), "{statuses:?}");
    }
    let asked: BTreeSet<String> = source
        .heads()
        .iter()
        .flat_map(|head| {
            head.lines().filter_map(|l| l.strip_prefix("millgate-request-id: ").map(str::to_owned)).collect::<Vec<_>>()
        })
        .collect();
    assert!(asked.len() > 20, "{}", asked.len());

    // The next start, with room again, reads storage and says what became of what was open.
    let (broker, facts) = process::serve(&config, "").unwrap();
    broker.signal("TERM").unwrap();
    let mut broker = broker;
    assert!(tokio::task::spawn_blocking(move || broker.0.wait()).await.unwrap().unwrap().success());
    let published = facts["log_dir"].as_str().unwrap();
    let entries = acceptance::entries(published.as_ref()).unwrap();
    let recorded: BTreeSet<String> = entries
        .iter()
        .filter(|e| e["kind"] == "decision" && e["decision"] == "allow")
        .map(|e| e["request"].as_str().unwrap().to_owned())
        .collect();
    let unrecorded: Vec<_> = asked.difference(&recorded).collect();
    assert!(unrecorded.is_empty(), "the source was asked without a record: {unrecorded:?}");
    let outcomes = entries.iter().filter(|e| e["kind"] == "outcome").count();
    assert_eq!(outcomes, recorded.len(), "exactly one outcome each");
    if outcome_before_complete {
        let complete = entries.iter().filter(|e| e["kind"] == "outcome" && e["ended"] == "complete");
        let complete: BTreeSet<_> = complete.map(|e| e["request"].as_str().unwrap().to_owned()).collect();
        let untold: Vec<_> = whole.difference(&complete).collect();
        assert!(whole.len() > 20 && untold.is_empty(), "answered in full without an outcome: {untold:?}");
    }
    let key = facts["log_key"].as_str().unwrap();
    let verified = process::run("millgate-verify", &["log", published, "--key", key]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    plant.stop().await;
}
