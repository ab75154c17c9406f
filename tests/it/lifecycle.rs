//! From a saved policy to one that decides: gates, the log, and what an operator asks on the command line.

use acceptance::{Plant, http, process, wait};
use serde_json::{Value, json};
use std::path::Path;

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: [(&str, &str); 1] = [("millgate-purpose", "predictive-maintenance")];
const STOP: &str = "@id(\"stop\")\n@reason(\"stopped\")\n@ask(\"wait\")\n\
                    forbid (principal, action in Plant::Action::\"dataplane\", resource);\n";

/// The demo's configuration with a folder of cases, which has one: ACME sees its press.
fn with_cases(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory.join("cases"))?;
    let case = json!([{
        "title": "ACME sees its press",
        "request": { "organisation": "acme", "subject": "engineer-1", "action": "readSeries", "resource": "Signal/press-3.vibration",
                     "purpose": "predictive-maintenance", "resolution_ms": 60000, "at": "2026-11-22T08:00:00Z" },
        "expect": { "decision": "permit", "agreement": "acme-maintenance-2026",
                    "policies": ["read-series-under-agreement", "reveal-under-agreement"] },
    }]);
    std::fs::write(directory.join("cases/acme.json"), serde_json::to_string_pretty(&case)?)?;
    let config = r#"listen = { data = "127.0.0.1:0", api = "127.0.0.1:0", operator = "127.0.0.1:0" }
telemetry = { log = "pretty", level = "off" }
audit = { directory = "audit", origin = "munich.example/millgate-demo" }
[folders]
catalog = "policies/plants/munich/catalog"
registry = "policies/plants/munich/registry"
policies = "policies/base"
schema = "policies/schema/plant.cedarschema"
cases = "cases"
"#;
    Ok(std::fs::write(directory.join("millgate.toml"), config)?)
}

async fn refused(plant: &Plant, folder: &str) -> Value {
    wait::until("the refused change in the log", async || {
        let entries = plant.audit("kind=policy").await.ok()?;
        entries.into_iter().find(|entry| entry["event"] == "refused" && entry["folder"] == folder)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_whose_case_fails_is_not_used_and_a_suspension_beside_it_counts() {
    let plant = Plant::start_with(with_cases).await.unwrap();
    let at = |name: &str| plant.directory.path().join(name);
    // An answer that has begun when the permission ends is broken off.
    let status = async || plant.get("acme", TARGET, &PURPOSE).await.ok();
    assert_eq!(status().await.unwrap().status, 200);
    std::fs::write(at("policies/base/stop.cedar"), STOP).unwrap();
    let entry = refused(&plant, "cases").await;
    let problem = entry["problems"][0].as_str().unwrap();
    assert!(problem.contains("cases/acme.json:") && problem.contains("expected permit; got deny"), "{problem}");
    assert_eq!(status().await.unwrap().status, 200, "the last good set goes on");
    let metrics = http::get(&format!("http://{}/metrics", plant.demo.running.operator), &[]).await.unwrap().text();
    assert!(metrics.contains("millgate_reloads_total{folder=\"cases\",result=\"refused\"}"), "{metrics}");
    // The registry is not held back by what policies do, nor by a case that it makes fail.
    std::fs::write(at("policies/plants/munich/registry/out.toml"), "[revoked]\norganisations = [\"acme\"]\n").unwrap();
    let reason = wait::until("the suspension", async || status().await.filter(|a| a.status == 403)).await.unwrap();
    assert_eq!(reason.reason(), "organisation_suspended");
    std::fs::remove_file(at("policies/plants/munich/registry/out.toml")).unwrap();
    wait::until("the supplier again", async || status().await.filter(|a| a.status == 200)).await.unwrap();
    // The case is changed to what is wanted now: the set is used, asked for by SIGHUP or not.
    let case = std::fs::read_to_string(at("cases/acme.json")).unwrap();
    let mut case: Value = serde_json::from_str(&case).unwrap();
    case[0]["expect"] = json!({ "decision": "deny", "reasons": ["stopped"], "agreement": "acme-maintenance-2026", "policies": ["stop"] });
    std::fs::write(at("cases/acme.json"), case.to_string()).unwrap();
    plant.shutdown.reload();
    let answer = wait::until("the new set", async || status().await.filter(|a| a.status == 403)).await.unwrap();
    assert_eq!(answer.reason(), "stopped");
    plant.stop().await;
}

/// Whoever suspends a supplier must not find out at the next restart that the plant stands still.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_starts_again_with_the_policies_that_it_had_and_with_no_others() {
    let directory = Plant::start_with(with_cases).await.unwrap().stop().await;
    let at = |name: &str| directory.path().join(name);
    let suspension = "[revoked]\norganisations = [\"acme\"]\n";
    std::fs::write(at("policies/plants/munich/registry/out.toml"), suspension).unwrap();
    let config = at("millgate.toml");
    let starts = || {
        let (mut broker, _) = process::serve(&config, "").unwrap();
        broker.signal("TERM").unwrap();
        assert!(broker.0.wait().unwrap().success());
    };
    // Its case fails, and what has changed is the registry.
    starts();
    std::fs::write(at("policies/base/stop.cedar"), STOP).unwrap();
    let (code, error) = millgate(&["serve", "--config", config.to_str().unwrap()]);
    assert!(error.contains("nothing was started") && error.contains("case `ACME sees its press`"), "{code}: {error}");
    std::fs::remove_file(at("policies/base/stop.cedar")).unwrap();
    starts();
}

fn millgate(arguments: &[&str]) -> (i32, String) {
    let output = process::run("millgate", arguments).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_decision_is_explained_beside_what_would_be_decided_now() {
    let plant = Plant::start().await.unwrap();
    let wide = TARGET.replace("2026-11-22T08", "2026-11-12T08");
    let answer = plant.get("acme", &wide, &PURPOSE).await.unwrap();
    assert_eq!(answer.reason(), "window_too_wide");
    let id = answer.header("millgate-request-id").to_owned();
    let path = |name: &str| plant.directory.path().join(name).display().to_string();
    let (config, token, published) = (path("millgate.toml"), path("tokens/auditor.jwt"), path("audit/published"));
    let api = plant.api();
    let online = [
        "policy",
        "explain",
        &id,
        "--config",
        &config,
        "--url",
        &api,
        "--token-file",
        &token,
        "--at",
        "2026-11-22T12:00:00Z",
    ];
    let (code, text) = tokio::task::block_in_place(|| millgate(&online));
    assert_eq!(code, 1, "{text}");
    for part in [
        "acme/engineer-1 readSeries Signal/press-3.vibration for predictive-maintenance every 1m of 241h",
        "deny, because window_too_wide, by window-too-wide, under acme-maintenance-2026",
        "at 2026-11-22T12:00:00.000Z: deny, because window_too_wide",
        "what to ask for: ask for a shorter time window",
        "  forbidden by window-too-wide",
        "    is not so: context.shape.windowMs <= context.agreement.windowMaxMs",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let read = plant.audit("kind=audit_read").await.unwrap();
    assert!(!read.is_empty(), "the reading is recorded");
    let _directory = plant.stop().await;
    let offline =
        ["policy", "explain", &id, "--config", &config, "--offline", &published, "--subject", "engineer-1", "--json"];
    let (code, text) = tokio::task::block_in_place(|| millgate(&offline));
    assert_eq!(code, 1, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert!(report["notes"][0].as_str().unwrap().contains("nobody records this reading"));
    assert_eq!(report["recorded"]["decided"]["reasons"], json!(["window_too_wide"]));
    assert_eq!(report["decided"]["reasons"], json!(["window_too_wide"]));
}
