//! The whole idea: a supplier reads its own machine, its competitor is refused, the log proves both.

use acceptance::{Plant, http, process};
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_demo_does_what_it_says() {
    let plant = Plant::start().await.unwrap();
    let description = millgate::demo::describe(&plant.demo);
    let examples = description["examples"].as_array().unwrap();
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        let headers = example["headers"].as_object().unwrap();
        let headers: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
        let url = example["url"].as_str().unwrap();
        let answer = http::send(example["method"].as_str().unwrap(), url, &headers, Default::default()).await.unwrap();
        assert_eq!(answer.status, example["expect_status"], "{}: {}", example["title"], answer.text());
        if answer.status == 200 && url.starts_with(&plant.data()) {
            assert!(answer.body.len() > 100, "{}: {}", example["title"], answer.text());
        }
    }
    let statuses: Vec<_> = examples.iter().filter_map(|e| e["expect_status"].as_u64()).collect();
    for kind in [200, 403, 404] {
        assert!(statuses.contains(&kind), "{statuses:?}");
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_supplier_reads_its_machine_the_competitor_is_refused_and_the_log_proves_both() {
    let plant = Plant::start().await.unwrap();
    let target = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
    let purpose = [("millgate-purpose", "predictive-maintenance")];
    let allowed = plant.get("acme", target, &purpose).await.unwrap();
    assert_eq!(allowed.status, 200, "{}", allowed.text());
    let refused = plant.get("bolt", target, &purpose).await.unwrap();
    assert_eq!(refused.status, 404);

    let entries = plant.closed(allowed.request_id()).await.unwrap();
    let [decision, outcome] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((&decision["decision"], &decision["org"]), (&"allow".into(), &"acme".into()));
    assert_eq!(decision["resource"], "Signal/press-3.vibration");
    assert_eq!(decision["agreement"], allowed.header("millgate-agreement"));
    assert_eq!(outcome["ended"], "complete");
    assert_eq!(outcome["bytes"], allowed.body.len());
    let denial = plant.entries_of(refused.request_id()).await.unwrap();
    assert_eq!((&denial[0]["decision"], &denial[0]["org"]), (&"deny".into(), &"bolt".into()));
    assert!(!denial[0].to_string().contains("quality-1"), "persons stand in entries by reference only");

    let key = plant.demo.running.log_key.clone();
    let published = plant.demo.running.log_directory.clone();
    let directory = plant.stop().await;
    let verified = process::run("millgate-verify", &["log", published.to_str().unwrap(), "--key", &key]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let checked = process::run(
        "millgate",
        &[
            "audit",
            "fsck",
            "--directory",
            directory.path().join("audit").to_str().unwrap(),
            "--published",
            published.to_str().unwrap(),
        ],
    )
    .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_auditor_asks_through_the_command_line_and_is_recorded() {
    let plant = Plant::start().await.unwrap();
    let target = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
    plant.get("acme", target, &[]).await.unwrap();
    let token = plant.demo.home.token("auditor");
    let run = |token: &std::path::Path, more: &[&str]| {
        let mut command = Command::new(process::executable("millgate").unwrap());
        command.args(["audit", "query", "--url", &plant.api(), "--token-file"]).arg(token).args(more);
        tokio::task::block_in_place(|| command.output().unwrap())
    };
    let table = run(&token, &["--organisation", "acme", "--decision", "deny"]);
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.status.success(), "{}", String::from_utf8_lossy(&table.stderr));
    assert!(text.contains("purpose_required") && text.contains("acme/engineer-1"), "{text}");
    let json = run(&token, &["--json", "--kind", "audit_read"]);
    let page: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(page["entries"].as_array().unwrap().len(), 2, "both readings are entries: {page}");

    let refused = run(&plant.demo.home.token("acme"), &[]);
    assert_eq!(refused.status.code(), Some(1), "denied is a finding");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("403"), "{:?}", refused.stderr);
    let denied = plant.audit("kind=audit_read&decision=deny").await.unwrap();
    assert_eq!(denied.len(), 1, "{denied:?}");

    let published = plant.demo.running.log_directory.clone();
    let _directory = plant.stop().await;
    let offline = process::run(
        "millgate",
        &["audit", "query", "--offline", published.to_str().unwrap(), "--decision", "deny", "--json"],
    )
    .unwrap();
    let page: serde_json::Value = serde_json::from_slice(&offline.stdout).unwrap();
    assert_eq!(page["entries"].as_array().unwrap().len(), 2);
    assert!(String::from_utf8_lossy(&offline.stderr).contains("nobody records this reading"));
}
