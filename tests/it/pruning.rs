//! Entries that the plant keeps no longer go while the broker serves; whoever asks for them is told, and whoever has a copy, a
//! receipt or nothing at all still finds the log to be what it was.

use acceptance::command::{json, run, text};
use acceptance::{Plant, http, process, wait};
use audit::tests::clock::PutClock;
use audit::{Log, LogOptions, PublishOptions, Publisher};
use model::entry::{CommitmentClass, Disclosure, Draft, Kind};
use model::{Principal, PrincipalKind, RequestId, Timestamp};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

const ORIGIN: &str = "munich.example/second";
/// 2020-03-09T12:00:00Z
const LONG_AGO: i64 = 1_583_755_200_000;

/// What a plant wrote years ago: 500 refusals of somebody who never came back, the first of this request, and 100 of somebody else.
async fn long_ago(directory: &Path, request: &str) -> (String, Vec<tlog::Hash>) {
    let random: audit::Random = Arc::new(runtime::random::fill);
    std::fs::create_dir_all(directory).unwrap();
    let key = audit::signer::create(&directory.join("checkpoint.key"), ORIGIN, &random).unwrap();
    let clock = PutClock::at(Timestamp(LONG_AGO));
    let options = LogOptions { heartbeat_ms: 0, ..LogOptions::new(directory, ORIGIN, clock.clone(), random) };
    let (log, _) = Log::open(options).await.unwrap();
    let publishing =
        PublishOptions { interval_ms: 3_600_000, linger_ms: 0, ..PublishOptions::new(directory.join("published")) };
    let publisher = Publisher::start(&log, key.clone(), publishing).await.unwrap();
    let mut leaves = Vec::new();
    for n in 0..600 {
        let name = if n < 500 { "long-gone" } else { "somebody-else" };
        let person = Principal {
            organisation: "acme".parse().unwrap(),
            kind: PrincipalKind::User,
            subject: name.parse().unwrap(),
        };
        let (reference, row) = log.principal_reference(&person);
        let of = if n == 0 { request.to_owned() } else { format!("request {n}") };
        let members = [
            ("decision", model::Value::text("deny")),
            ("principal", model::Value::text(reference)),
            ("request", model::Value::text(of)),
        ];
        let values = model::Value::object([("principal", model::Value::text(format!("acme/{name}")))]);
        let salt = runtime::random::bytes();
        let disclosure = Disclosure { class: CommitmentClass::Subject, salt, values: values.into() };
        let common = log.common();
        let mut draft =
            Draft::new(Kind::Decision, &common, Some(&person.organisation), members, vec![disclosure]).unwrap();
        draft.directory = row.into_iter().collect();
        leaves.push(log.append(draft).await.unwrap().leaf);
    }
    log.seal().await;
    publisher.stop().await.unwrap();
    log.close().await;
    (key.verifier().to_text(), leaves)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_prunes_what_its_policy_keeps_no_longer_and_everybody_is_told() {
    let plant = Plant::start().await.unwrap();
    let at = |name: &str| plant.directory.path().join(name);
    let request = RequestId::new(Timestamp(LONG_AGO), [9; 10]).to_string();
    let (key, leaves) = long_ago(&at("second"), &request).await;
    let published = at("second/published");
    let seen = at("seen.json");
    let monitor = |more: &[&str]| {
        let (published, seen) = (published.to_str().unwrap(), seen.to_str().unwrap());
        let fixed = [
            "audit",
            "monitor",
            published,
            "--key",
            &key,
            "--state",
            seen,
            "--once",
            "--json",
            "--silence",
            "31536000",
        ];
        let looked = run("millgate", &[&fixed[..], more].concat());
        (looked.status.code(), json(&looked))
    };
    // Silence of years is a finding of its own, which is not what this is about.
    monitor(&[]);
    let config = plant.configuration("second", "").unwrap();
    let lines = std::fs::read_to_string(&config).unwrap();
    let audit = format!("audit = {{ directory = \"second\", origin = \"{ORIGIN}\"");
    let (before, rest) = lines.split_once(&audit).unwrap();
    let rest = rest.split_once('}').unwrap().1;
    let keeps = |days: &str| {
        let retention = format!("retention = {{ entries = \"{days}\", policy = \"https://plant.example/retention\" }}");
        std::fs::write(&config, format!("{before}{audit}, publish_linger = \"0s\", {retention} }}{rest}")).unwrap();
    };
    let preview = |json_too: bool| {
        let fixed = ["audit", "prune", "--config", config.to_str().unwrap()];
        run("millgate", &[&fixed[..], if json_too { &["--json"] } else { &[] }].concat())
    };
    let without = preview(false);
    assert_eq!(without.status.code(), Some(2), "{}", text(&without.stdout));
    assert!(text(&without.stderr).contains("entries are kept for ever"), "{}", text(&without.stderr));
    keeps("36500d");
    let nothing = preview(true);
    assert_eq!((nothing.status.code(), json(&nothing)["count"].as_u64()), (Some(0), Some(0)));
    keeps("60d");
    let would = preview(true);
    assert_eq!(would.status.code(), Some(1), "{}", text(&would.stderr));
    assert_eq!((json(&would)["minimum"].as_u64(), json(&would)["would_be"].as_u64()), (Some(0), Some(512)));
    let words = text(&preview(false).stdout);
    assert!(words.contains("all entries are there; 512 more would go now, up to entry 511"), "{words}");

    // After so long a time the clock could be wrong, until somebody says that it is not: by starting the broker once more.
    let (broker, addresses) = tokio::task::block_in_place(|| process::serve(&config, "").unwrap());
    let metrics = format!("{}/metrics", addresses["operator"].as_str().unwrap());
    let metrics = http::get(&metrics, &[]).await.unwrap().text();
    assert!(metrics.contains("millgate_audit_clock_doubted 1"), "{metrics}");
    assert!(metrics.contains("millgate_audit_pruned_entries 0"), "{metrics}");
    drop(broker);
    let (broker, addresses) = tokio::task::block_in_place(|| process::serve(&config, "").unwrap());
    let api = addresses["api"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {}", plant.token("auditor"));
    let ask = async |target: &str| http::get(&format!("{api}{target}"), &[("authorization", &bearer)]).await.unwrap();
    let is_gone = async || (!published.join("tile/entries/001").exists()).then_some(());
    wait::until("the published bundles to go", is_gone).await.unwrap();
    let gone = ask("/v1/audit/proof?index=5").await;
    assert_eq!((gone.status, gone.reason().as_str()), (410, "pruned"), "{}", gone.text());
    let gone = ask(&format!("/v1/audit/proof?request={request}")).await;
    assert_eq!((gone.status, gone.reason().as_str()), (410, "pruned"), "{}", gone.text());
    let page = ask("/v1/audit/entries?order=oldest&limit=1").await.json().unwrap();
    assert_eq!((&page["pruned"]["below"], &page["entries"][0]["index"]), (&512.into(), &512.into()), "{page}");
    let page = ask("/v1/audit/entries?from=2026-01-01T00:00:00Z&limit=1").await.json().unwrap();
    assert_eq!(page.get("pruned"), None, "of that time nothing is gone");
    let table = ask("/v1/audit/summary?by=organisation").await.json().unwrap();
    assert_eq!(table["pruned"]["below"], 512, "{table}");
    // What is new is so since the beginning, whatever time is asked for.
    for (new, below) in [("true", serde_json::json!(512)), ("false", Value::Null)] {
        let target = format!("/v1/audit/summary?by=organisation&from=2026-01-01T00:00:00Z&new={new}");
        let table = ask(&target).await.json().unwrap();
        assert_eq!(table["pruned"]["below"], below, "{table}");
    }
    let token = plant.demo.home.token("auditor");
    for report in ["new-access", "new-country"] {
        let asked = ["audit", "report", report, "--url", &api, "--token-file", token.to_str().unwrap()];
        let said = run("millgate", &asked);
        assert!(text(&said.stderr).contains("were pruned under entry"), "{report}: {}", text(&said.stderr));
    }
    let tail = ask("/v1/audit/entries?follow=true&after=100").await;
    assert_eq!((tail.status, tail.reason().as_str()), (410, "pruned"), "{}", tail.text());
    // Whoever holds a receipt gets its proof; whoever holds another hash, nothing.
    let redeemed = ask(&format!("/v1/audit/proof?index=7&leaf={}", leaves[6])).await;
    assert_eq!(redeemed.status, 200, "{}", redeemed.text());
    assert_eq!(ask(&format!("/v1/audit/proof?index=7&leaf={}", leaves[5])).await.status, 404);
    let operator = addresses["operator"].as_str().unwrap();
    let metrics = http::get(&format!("{operator}/metrics"), &[]).await.unwrap().text();
    assert!(metrics.contains("millgate_audit_pruned_entries 512"), "{metrics}");
    assert!(metrics.contains("millgate_audit_clock_doubted 0"), "{metrics}");

    let verify = |more: &[&str]| {
        let fixed = ["log", published.to_str().unwrap(), "--key", &key, "--json"];
        let output = run("millgate-verify", &[&fixed[..], more].concat());
        (output.status.code(), json(&output))
    };
    let (code, said) = verify(&[]);
    assert_eq!((code, &said["pruned"]["below"], &said["pruned"]["days"]), (Some(0), &512.into(), &60.into()), "{said}");
    let (code, said) = verify(&["--kept", "3650d"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said["findings"][0]["what"].as_str().unwrap().contains("kept for 60 days, and not for 3650"), "{said}");
    let (_, looked) = monitor(&[]);
    let warnings = looked["warnings"].to_string();
    assert!(warnings.contains("prunes entries before 512"), "{looked}");
    drop(broker);

    // Everything else that reads a log, with the broker gone.
    let config = config.to_str().unwrap();
    let fsck = run("millgate", &["audit", "fsck", "--config", config, "--json"]);
    assert_eq!((fsck.status.code(), &json(&fsck)["pruned"]), (Some(0), &512.into()), "{}", text(&fsck.stdout));
    let offline =
        run("millgate", &["audit", "query", "--offline", published.to_str().unwrap(), "--json", "--limit", "1"]);
    assert_eq!(json(&offline)["pruned"]["below"], 512);
    assert!(text(&offline.stderr).contains("were pruned under entry"), "{}", text(&offline.stderr));
    let new = ["--by", "organisation", "--new", "--from", "2026-01-01", "--offline", published.to_str().unwrap()];
    let new = run("millgate", &[&["audit", "summary"][..], &new].concat());
    assert!(new.status.success() && text(&new.stderr).contains("were pruned under entry"), "{}", text(&new.stderr));
    let proof = run("millgate", &["audit", "prove", "--offline", published.to_str().unwrap(), "--index", "5"]);
    assert!(!proof.status.success() && text(&proof.stderr).contains("not kept any longer"), "{}", text(&proof.stderr));
    let archive = at("archive.tar");
    let exported = run(
        "millgate",
        &["audit", "export", "--config", config, "--from", "2020-01-01T00:00:00Z", "--out", archive.to_str().unwrap()],
    );
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    assert!(text(&exported.stderr).contains("entries before 512 were pruned"), "{}", text(&exported.stderr));
    let checked = run("millgate-verify", &["archive", archive.to_str().unwrap(), "--key", &key, "--json"]);
    let report = json(&checked);
    assert_eq!((checked.status.code(), &report["pruned"]["below"]), (Some(0), &512.into()), "{report}");
    assert!(report["not_proven"].to_string().contains("what entries before 512 said"), "{report}");
    // The start of the broker by then is gone with the others, and carried forward.
    assert_eq!((&report["in_use"], &report["first"]), (&1.into(), &512.into()), "{report}");
    // Of whoever has no entry left, no name is left either.
    let bytes = std::fs::read(at("second/log.db")).unwrap();
    let holds = |name: &[u8]| bytes.windows(name.len()).any(|part| part == name);
    assert!(!holds(b"long-gone") && holds(b"somebody-else"), "a name outlived its entries");
    // Half of what is gone cannot be hidden by saying that it is gone.
    std::fs::remove_file(published.join("pruned")).unwrap();
    assert_eq!(verify(&[]).0, Some(1));
}
