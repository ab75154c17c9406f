//! Changes of the folders while the broker serves.

use acceptance::{Plant, wait};
use std::path::PathBuf;

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: [(&str, &str); 1] = [("millgate-purpose", "predictive-maintenance")];

fn file(plant: &Plant, name: &str) -> PathBuf {
    plant.directory.path().join("policies").join(name)
}

async fn status(plant: &Plant) -> (u16, String) {
    let answer = plant.get("acme", TARGET, &PURPOSE).await.unwrap();
    (answer.status, answer.reason())
}

async fn until_status(plant: &Plant, expected: u16) -> String {
    wait::until("the new decision", async || {
        let (code, reason) = status(plant).await;
        (code == expected).then_some(reason)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_policy_set_is_refused_at_reload_and_a_suspension_beside_it_counts() {
    let plant = Plant::start().await.unwrap();
    assert_eq!(status(&plant).await.0, 200);
    std::fs::write(file(&plant, "base/broken.cedar"), "permit (principal, action, resource) when { nonsense };")
        .unwrap();
    std::fs::write(file(&plant, "plants/munich/registry/out.toml"), "[revoked]\norganisations = [\"acme\"]\n").unwrap();
    let reason = until_status(&plant, 403).await;
    assert_eq!(reason, "organisation_suspended");
    assert_eq!(plant.get("analytics", TARGET, &[]).await.unwrap().status, 200, "the last good policies go on");
    wait::until("the refused policies in the log", async || {
        let entries = plant.audit("kind=policy").await.ok()?;
        entries.iter().any(|e| e["event"] == "refused").then_some(())
    })
    .await
    .unwrap();
    assert_eq!(plant.get("analytics", TARGET, &[]).await.unwrap().status, 200, "the last good policies go on");
    std::fs::remove_file(file(&plant, "plants/munich/registry/out.toml")).unwrap();
    until_status(&plant, 200).await;
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_counts_although_its_own_folder_is_broken() {
    let plant = Plant::start().await.unwrap();
    std::fs::write(file(&plant, "plants/munich/registry/broken.toml"), "this is not TOML").unwrap();
    std::fs::write(file(&plant, "plants/munich/registry/out.toml"), "[revoked]\norganisations = [\"acme\"]\n").unwrap();
    assert_eq!(until_status(&plant, 403).await, "organisation_suspended");
    plant.stop().await;
}

/// The last good registry serves on, less the agreement.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_agreement_counts_although_another_file_of_its_folder_is_broken() {
    let plant = Plant::start().await.unwrap();
    assert_eq!(status(&plant).await.0, 200);
    std::fs::write(file(&plant, "plants/munich/registry/broken.toml"), "this is not TOML").unwrap();
    let path = file(&plant, "plants/munich/registry/agreements.toml");
    let agreements = std::fs::read_to_string(&path).unwrap();
    let suspended = "[agreement.acme-maintenance-2026]\nstatus = \"suspended\"";
    std::fs::write(&path, agreements.replace("[agreement.acme-maintenance-2026]", suspended)).unwrap();
    assert_eq!(until_status(&plant, 403).await, "agreement_inactive");
    std::fs::write(&path, agreements).unwrap();
    std::fs::remove_file(file(&plant, "plants/munich/registry/broken.toml")).unwrap();
    until_status(&plant, 200).await;
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_policy_decides_new_requests_and_its_activation_is_in_the_log() {
    let plant = Plant::start().await.unwrap();
    assert_eq!(status(&plant).await.0, 200);
    let policy = "@id(\"stop-the-line\")\n@reason(\"line_stopped\")\n@ask(\"wait until the line runs again\")\n\
                  forbid (principal, action in Plant::Action::\"dataplane\", resource);\n";
    std::fs::write(file(&plant, "base/stop.cedar"), policy).unwrap();
    assert_eq!(until_status(&plant, 403).await, "line_stopped");
    // The first may have been under way when the policy came, and was taken back; this one is refused.
    assert_eq!(status(&plant).await.0, 403);
    let denied = plant.audit("decision=deny&reason=line_stopped&limit=1").await.unwrap();
    assert_eq!(denied[0]["policies"], serde_json::json!(["stop-the-line"]));
    let activations = plant.audit("kind=policy&order=oldest").await.unwrap();
    assert_eq!(activations.len(), 2, "{activations:?}");
    assert_eq!(denied[0]["digests"]["policies"], activations[1]["digest"]);
    assert_eq!(activations[1]["previous"], activations[0]["digest"]);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_policies_are_replaced() {
    let plant = Plant::start().await.unwrap();
    for round in 0..5 {
        let comment = format!("// round {round}\n");
        std::fs::write(file(&plant, "base/round.cedar"), format!("{comment}@id(\"round\")\nforbid (principal, action == Plant::Action::\"readAudit\", resource) when {{ principal.clearance > {} }};\n", 100 + round)).unwrap();
        let before = plant.demo.running.broker.generation();
        wait::until("the next generation", async || {
            assert_eq!(status(&plant).await.0, 200);
            (plant.demo.running.broker.generation() > before).then_some(())
        })
        .await
        .unwrap();
    }
    plant.stop().await;
}

#[test]
fn a_policy_set_that_does_not_validate_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let result = runtime.block_on(Plant::start_with(|path| {
        std::fs::create_dir_all(path.join("policies/base"))?;
        let text = "@id(\"typo\")\npermit (principal, action == Plant::Action::\"raed\", resource);";
        Ok(std::fs::write(path.join("policies/base/typo.cedar"), text)?)
    }));
    let error = format!("{:#}", result.expect_err("must not start"));
    assert!(error.contains("typo.cedar") && error.contains("nothing was started"), "{error}");
    drop(directory);
}
