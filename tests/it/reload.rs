//! Changes of the folders while the broker serves.

use acceptance::{Plant, process, wait};
use serde_json::json;
use std::path::PathBuf;
use tokio::io::AsyncWriteExt as _;

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: [(&str, &str); 1] = [("millgate-purpose", "predictive-maintenance")];

fn file(plant: &Plant, name: &str) -> PathBuf {
    plant.directory.path().join("policies").join(name)
}

async fn status(plant: &Plant) -> (u16, String) {
    let answer = plant.get("acme", TARGET, &PURPOSE).await.unwrap();
    (answer.status, answer.reason())
}

/// As [`status`]; an answer whose permission ends on its way is cut off, and says nothing.
async fn status_if_whole(plant: &Plant) -> Option<(u16, String)> {
    let answer = plant.get("acme", TARGET, &PURPOSE).await.ok()?;
    Some((answer.status, answer.reason()))
}

async fn until_status(plant: &Plant, expected: u16) -> String {
    wait::until("the new decision", async || {
        let (code, reason) = status_if_whole(plant).await?;
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

/// The policies are being read for as long as nobody writes the schema into the pipe.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_does_not_wait_for_policies_that_are_being_read() {
    let plant = Plant::start().await.unwrap();
    assert_eq!(status(&plant).await.0, 200);
    let path = file(&plant, "schema/plant.cedarschema");
    let schema = std::fs::read(&path).unwrap();
    std::fs::write(
        file(&plant, "base/stop.cedar"),
        "@id(\"stop\") @reason(\"line_stopped\") forbid (principal, action in Plant::Action::\"dataplane\", resource);",
    )
    .unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut pipe = wait::until("somebody who reads the schema", async || {
        tokio::net::unix::pipe::OpenOptions::new().open_sender(&path).ok()
    })
    .await
    .unwrap();

    let suspension = file(&plant, "plants/munich/registry/out.toml");
    std::fs::write(&suspension, "[revoked]\norganisations = [\"acme\"]\n").unwrap();
    assert_eq!(until_status(&plant, 403).await, "organisation_suspended");
    // Whom the policies that come may be meant for waits for them.
    std::fs::remove_file(&suspension).unwrap();
    let agreement = file(&plant, "plants/munich/registry/more.toml");
    std::fs::write(&agreement, "[organisation.new]\ntitle = \"New\"\nkind = \"supplier\"\ncountry = \"DE\"\n").unwrap();
    let before = plant.demo.running.broker.world();
    for _ in 0..3 {
        assert_eq!(status(&plant).await.1, "organisation_suspended");
    }
    assert!(before.parties.organisations.keys().all(|id| id.as_str() != "new"));

    // What is read now is not what lies there any longer: it is read again.
    let whole = file(&plant, "schema/whole");
    std::fs::write(&whole, &schema).unwrap();
    std::fs::rename(&whole, &path).unwrap();
    pipe.write_all(&schema).await.unwrap();
    drop(pipe);
    wait::until("the new policies", async || (status(&plant).await.1 == "line_stopped").then_some(())).await.unwrap();
    let world = plant.demo.running.broker.world();
    assert!(world.parties.organisations.keys().any(|id| id.as_str() == "new"), "what waited came with them");
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
    // The first to be refused may have been allowed, and its answer withdrawn; the next one is refused at once.
    assert_eq!(until_status(&plant, 403).await, "line_stopped");
    assert_eq!(status(&plant).await.1, "line_stopped");
    let denied = plant.audit("decision=deny&reason=line_stopped&limit=1").await.unwrap();
    assert_eq!(denied[0]["policies"], json!(["stop-the-line"]));
    let mut activations = plant.audit("kind=policy&order=oldest").await.unwrap();
    activations.retain(|entry| entry["event"] == "activated");
    assert_eq!(activations.len(), 2, "{activations:?}");
    assert_eq!((&activations[1]["added"], &activations[1]["added_total"]), (&json!(["stop-the-line"]), &json!(1)));
    assert_eq!(denied[0]["digests"]["policies"], activations[1]["digest"]);
    assert_eq!(activations[1]["previous"], activations[0]["digest"]);
    let effects = wait::until("what the new policy changes", async || {
        let entries = plant.audit("kind=policy").await.ok()?;
        entries.into_iter().find(|entry| entry["event"] == "effects")
    })
    .await
    .unwrap();
    assert_eq!((&effects["digest"], &effects["previous"]), (&activations[1]["digest"], &activations[0]["digest"]));
    let lines = effects["lines"].as_array().unwrap();
    assert!(
        lines.iter().any(|line| line.as_str().unwrap().starts_with("a listed person of acme loses: acme-parts")),
        "{lines:?}"
    );
    let key = plant.demo.running.log_key.clone();
    assert!(!effects.to_string().contains("engineer-1"), "an entry names no person: {effects}");
    let directory = plant.stop().await;
    let published = directory.path().join("audit/published");
    let verified = process::run("millgate-verify", &["log", published.to_str().unwrap(), "--key", &key]).unwrap();
    assert!(verified.status.success(), "{verified:?}");
    let entries = acceptance::published(directory.path()).unwrap();
    assert!(entries.iter().any(|entry| entry["event"] == "effects"));
    assert!(entries.iter().all(|entry| entry["v"] == "1.6"));
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
