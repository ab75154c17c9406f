//! Recorded decisions, decided again; other policies, tried on them and beside those in use.

use acceptance::{Plant, http, process, wait};
use millgate::serve;
use runtime::clock::SystemClock;
use runtime::config::Config;
use runtime::shutdown::Shutdown;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SERIES: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const FORTNIGHT: &str = "/series/press-3.vibration?from=2026-11-08T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1h";
const NOTIFICATIONS: &str = "/quality-notifications?from=2026-11-10T00:00:00Z&to=2026-11-16T00:00:00Z&limit=50";
const STOP: &str = "@id(\"stop-the-line\")\n@reason(\"line_stopped\")\n@ask(\"wait until the line runs again\")\n\
                    forbid (principal, action == Plant::Action::\"readSeries\", resource);\n";

/// What everybody asks for in an ordinary hour: allowed, masked, filtered, refused for every kind of reason, hidden.
async fn an_hour(plant: &Plant) {
    let purpose = |name| [("millgate-purpose", name)];
    let agreement = |name| [("millgate-purpose", "predictive-maintenance"), ("millgate-agreement", name)];
    for (caller, target, headers) in [
        ("acme", SERIES, &purpose("predictive-maintenance")[..]),
        ("acme", SERIES, &[]),
        ("acme", SERIES, &purpose("curiosity")),
        ("acme", SERIES, &agreement("acme-maintenance-2026")),
        ("acme", SERIES, &agreement("bolt-quality-2026")),
        ("acme", FORTNIGHT, &purpose("predictive-maintenance")),
        ("acme", NOTIFICATIONS, &purpose("quality-analysis")),
        ("bolt", NOTIFICATIONS, &purpose("quality-analysis")),
        ("bolt", SERIES, &purpose("quality-analysis")),
        ("analytics", SERIES, &[]),
        ("analytics", NOTIFICATIONS, &[]),
        ("steward", NOTIFICATIONS, &[]),
        ("acme", "/no/such/path", &[]),
    ] {
        plant.get(caller, target, headers).await.unwrap();
    }
}

async fn write_policy(plant: &Plant, text: &str) {
    let before = plant.demo.running.broker.generation();
    std::fs::write(plant.directory.path().join("policies/base/own.cedar"), text).unwrap();
    let newer = async || (plant.demo.running.broker.generation() > before).then_some(());
    wait::until("the new policies", newer).await.unwrap();
}

/// Exit status, standard output as JSON, standard error.
fn policy(arguments: &[&str]) -> (i32, Value, String) {
    let output = process::run("millgate", &[&["policy"], arguments, &["--json"]].concat()).unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), json, String::from_utf8(output.stderr).unwrap())
}

fn online(plant: &Plant, more: &[&str]) -> (i32, Value, String) {
    let token = plant.directory.path().join("tokens/auditor.jwt");
    let config = plant.directory.path().join("millgate.toml");
    let api = plant.api();
    let server = ["replay", "--url", &api, "--token-file", token.to_str().unwrap(), "--since", "1h"];
    policy(&[&server[..], &["--config", config.to_str().unwrap()], more].concat())
}

/// The base policies beside those in use, with a file more.
fn candidate(plant: &Plant, name: &str, more: &str) -> PathBuf {
    let folder = plant.directory.path().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    for file in std::fs::read_dir(plant.directory.path().join("policies/base")).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap() != "own.cedar" {
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    std::fs::write(folder.join("more.cedar"), more).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_across_two_activations_is_decided_again_exactly_and_a_candidate_is_compared() {
    let plant = Plant::start().await.unwrap();
    an_hour(&plant).await;
    write_policy(&plant, STOP).await;
    an_hour(&plant).await;
    let recorded = plant.audit("kind=decision&limit=1000").await.unwrap();
    let decided = recorded.iter().filter(|e| !e["digests"].is_null()).count();
    assert_eq!((recorded.len(), decided), (26, 24));

    let (status, report, _) = online(&plant, &[]);
    assert_eq!((status, &report["findings_total"], &report["not_replayable"]), (0, &json!(0), &json!([])), "{report}");
    // A question to the log is a decision too: that of the test.
    assert_eq!((&report["replayed"], &report["not_asked"]), (&json!(25), &json!(2)), "{report}");
    let readings = plant.audit("kind=audit_read&order=oldest").await.unwrap();
    assert!(readings.iter().any(|e| e["route"] == "audit-decisions" && e["resource"] == "AuditScope/*"));

    let lenient = candidate(
        &plant,
        "lenient",
        "@id(\"open-notifications\") permit (principal, action == Plant::Action::\"reveal\", resource);",
    );
    let (status, report, _) = online(&plant, &["--candidate", lenient.to_str().unwrap()]);
    assert_eq!((status, &report["findings_total"]), (1, &json!(0)), "{report}");
    let changes = report["changes"].as_array().unwrap();
    let find = |organisation: &str, what: &str| {
        let of = changes.iter().filter(|c| c["organisation"] == organisation);
        of.flat_map(|c| c["gains"].as_array().unwrap().iter().map(move |g| (c, g)))
            .find(|(_, g)| *g == what)
            .map(|(c, _)| c)
    };
    let regained = find("acme", "access").unwrap();
    assert_eq!((&regained["count"], &regained["resource"]), (&json!(2), &json!("Signal/press-3.vibration")));
    assert_eq!(regained["policies"].as_array().unwrap().last().unwrap(), "-stop-the-line");
    let example = plant.entries_of(regained["request"].as_str().unwrap()).await.unwrap();
    assert_eq!(example[0]["reasons"], json!(["line_stopped"]));
    let more = find("bolt", "fields of class personal").unwrap();
    assert!(more["policies"].as_array().unwrap().contains(&json!("+open-notifications")), "{more}");
    assert!(changes.iter().all(|c| c["loses"] == json!([])), "{changes:?}");

    let stopped = candidate(&plant, "stopped", STOP);
    let (status, report, _) = online(&plant, &["--candidate", stopped.to_str().unwrap()]);
    let loses = report["changes"].as_array().unwrap().iter().filter(|c| c["direction"] == "would_lose");
    let loses: u64 = loses.map(|c| c["count"].as_u64().unwrap()).sum();
    assert_eq!((status, loses), (1, 3), "{report}");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_changes_nothing_passes_and_one_that_cannot_be_read_says_why() {
    let plant = Plant::start().await.unwrap();
    an_hour(&plant).await;
    let same = candidate(
        &plant,
        "same",
        "@id(\"never\") forbid (principal, action == Plant::Action::\"read\", resource) when { principal.clearance > 9 };",
    );
    let (status, report, _) = online(&plant, &["--candidate", same.to_str().unwrap()]);
    assert_eq!((status, &report["changed"], &report["replayed"]), (0, &json!(0), &json!(12)), "{report}");
    let broken = candidate(&plant, "broken", "permit (principal, action == Plant::Action::\"raed\", resource);");
    let (status, report, said) = online(&plant, &["--candidate", broken.to_str().unwrap()]);
    assert_eq!((status, report), (2, Value::Null));
    assert!(said.contains("more.cedar") && said.contains("@id"), "{said}");
    let unknown =
        candidate(&plant, "unknown", "@id(\"x\") permit (principal in Plant::Role::\"presshop\", action, resource);");
    let (status, _, said) = online(&plant, &["--candidate", unknown.to_str().unwrap()]);
    assert!(status == 2 && said.contains("`Plant::Role::\"presshop\"` does not exist"), "{said}");
    plant.stop().await;
}

/// Runs statements on the store of a log that nobody has open any longer.
async fn tamper(directory: &Path, statement: &str) {
    let url = format!("sqlite:{}", directory.join("audit/log.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let done = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&pool).await.unwrap();
    assert!(done.rows_affected() > 0, "{statement}");
    pool.close().await;
}

fn offline(directory: &Path) -> (i32, Value, String) {
    policy(&["replay", "--since", "1h", "--offline", directory.join("audit").to_str().unwrap()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_that_was_changed_in_the_store_is_a_finding() {
    let plant = Plant::start().await.unwrap();
    an_hour(&plant).await;
    let directory = plant.stop().await;
    let (status, report, said) = offline(directory.path());
    assert_eq!((status, &report["replayed"]), (0, &json!(12)), "{report}");
    assert!(said.contains("nobody records this reading"), "{said}");
    let statement =
        "UPDATE content SET bytes = CAST(replace(CAST(bytes AS TEXT), '\"clearance\":2', '\"clearance\":3') AS BLOB)
                     WHERE CAST(bytes AS TEXT) LIKE '[%\"clearance\":2%'";
    tamper(directory.path(), statement).await;
    let (status, report, _) = offline(directory.path());
    assert_eq!(status, 1, "{report}");
    assert!(report["findings"][0]["what"][0].as_str().unwrap().contains("are not of this digest"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_erased_cannot_be_decided_for_again_where_policies_name_persons() {
    let plant = Plant::start().await.unwrap();
    let named = "@id(\"one-person\") forbid (principal == Plant::User::\"acme/engineer-2\", action, resource);";
    write_policy(&plant, named).await;
    an_hour(&plant).await;
    let directory = plant.stop().await;
    let (status, report, _) = offline(directory.path());
    assert_eq!((status, &report["replayed"], &report["not_replayable"]), (0, &json!(12), &json!([])), "{report}");
    tamper(directory.path(), "DELETE FROM directory WHERE principal = 'acme/engineer-1'").await;
    let (status, report, _) = offline(directory.path());
    let not = &report["not_replayable"][0];
    assert_eq!((status, &not["count"], &report["replayed"]), (0, &json!(7), &json!(5)), "{report}");
    assert!(not["reason"].as_str().unwrap().contains("does not have the principal's name"), "{report}");
}

// === beside those in use

async fn entries(running: &serve::Running, token: &str, query: &str) -> Vec<Value> {
    let bearer = format!("Bearer {token}");
    let url = format!("{}/v1/audit/entries?{query}", running.api_url());
    let page = http::get(&url, &[("authorization", &bearer)]).await.unwrap().json().unwrap();
    page["entries"].as_array().unwrap().iter().map(|found| found["entry"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_policies_are_tried_on_requests_recorded_and_never_decide() {
    let plant = Plant::start().await.unwrap();
    let next = candidate(&plant, "next", STOP);
    let config = plant.configuration("tried", "shadow = { policies = \"next\", share = 1.0 }").unwrap();
    let shutdown = Shutdown::new();
    let config = Config::load(&config).unwrap();
    let running = serve::start(&config, shutdown.clone(), Arc::new(SystemClock)).await.unwrap();
    let auditor = plant.token("auditor").to_owned();
    let event = async |name: &'static str, n: usize| {
        wait::until(name, async || {
            let found = entries(&running, &auditor, "kind=policy&order=oldest&limit=1000").await;
            let found: Vec<Value> = found.into_iter().filter(|e| e["event"] == name).collect();
            (found.len() >= n).then_some(found)
        })
        .await
        .unwrap()
    };
    let ask = async || {
        let bearer = format!("Bearer {}", plant.token("acme"));
        let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
        http::get(&format!("{}{SERIES}", running.data_url()), &headers).await.unwrap()
    };
    let activated = event("shadow_activated", 1).await;
    assert_eq!(activated[0]["share_per_million"], 1_000_000);
    let answer = ask().await;
    assert_eq!(answer.status, 200, "what is tried does not decide");
    let found = event("shadow_difference", 1).await;
    let decision = entries(&running, &auditor, &format!("request={}&kind=decision", answer.request_id())).await;
    assert_eq!(found[0]["request"], answer.request_id());
    assert_eq!((&found[0]["principal"], &found[0]["digest"]), (&decision[0]["principal"], &activated[0]["digest"]));
    assert_eq!((&found[0]["direction"], &found[0]["loses"]), (&json!("would_lose"), &json!(["access"])));
    assert!(found[0]["org"].is_null(), "the organisation would read it: {}", found[0]);

    // A typo is loud, and leaves the last good ones being tried and those in use alone.
    let before = running.broker.generation();
    std::fs::write(next.join("more.cedar"), "permit (nonsense").unwrap();
    let refused = event("refused", 1).await;
    assert_eq!(refused[0]["folder"], "shadow");
    assert_eq!(ask().await.status, 200);
    event("shadow_difference", 2).await;
    assert_eq!(running.broker.generation(), before);

    let token = plant.directory.path().join("tokens/auditor.jwt");
    let server = ["shadow", "--url", &running.api_url(), "--token-file", token.to_str().unwrap()];
    let (status, report, _) = policy(&server);
    let group = &report["differences"][0];
    assert_eq!((status, &group["count"], &report["refused"]), (1, &json!(2), &json!(1)), "{report}");
    assert_eq!((&group["resource"], &group["what"]), (&json!("Signal/press-3.vibration"), &json!("- access")));
    let metrics = http::get(&format!("http://{}/metrics", running.operator), &[]).await.unwrap().text();
    let line = "millgate_shadow_differences_total{direction=\"would_lose\"} 2";
    assert!(metrics.contains(line), "{metrics}");

    // What is tried becomes what those in use are, and differs no longer.
    std::fs::remove_file(next.join("more.cedar")).unwrap();
    event("shadow_activated", 2).await;
    let after = ask().await;
    wait::until("the comparison", async || {
        let text = http::get(&format!("http://{}/metrics", running.operator), &[]).await.ok()?.text();
        let compared: u64 = text
            .lines()
            .find_map(|l| l.strip_prefix("millgate_shadow_decisions_total{result=\"compared\"} "))?
            .parse()
            .ok()?;
        let decisions = entries(&running, &auditor, &format!("request={}&kind=decision", after.request_id())).await;
        (compared >= 3 && decisions.len() == 1).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(event("shadow_difference", 2).await.len(), 2);
    shutdown.begin("the test is over");
    running.drain().await;
    plant.stop().await;
}
