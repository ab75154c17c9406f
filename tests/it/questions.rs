//! Questions to the log: counted and saved ones, by the index and without, each a reading under policy and on record.

use acceptance::process::{run, serve};
use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, wait};
use audit::{Log, LogOptions};
use model::entry::{DirectoryRow, Draft, Kind};
use model::{OrganisationId, Value};
use runtime::SystemClock;
use std::path::Path;
use std::sync::Arc;

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=10m";
const PURPOSE: [(&str, &str); 1] = [("millgate-purpose", "predictive-maintenance")];

async fn ask(plant: &Plant, caller: &str, path: &str) -> http::Answer {
    let bearer = format!("Bearer {}", plant.token(caller));
    http::get(&format!("{}{path}", plant.api()), &[("authorization", &bearer)]).await.unwrap()
}

/// A plant in which acme's engineer is its auditor too.
async fn with_own_auditor() -> Plant {
    Plant::start_with(|directory| {
        let name = "policies/plants/munich/registry/principals.toml";
        let text = std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR")))?;
        let principals = directory.join(name);
        std::fs::create_dir_all(principals.parent().unwrap())?;
        let engineer = "[principal.\"acme/engineer-1\"]";
        Ok(std::fs::write(&principals, text.replace(engineer, &format!("{engineer}\nroles = [\"auditor\"]")))?)
    })
    .await
    .unwrap()
}

fn cells(table: &serde_json::Value) -> Vec<(Vec<&str>, i64)> {
    let rows = table["rows"].as_array().unwrap();
    let group = |row: &serde_json::Value| row["group"].as_array().unwrap().len();
    assert!(rows.iter().all(|row| group(row) == table["by"].as_array().unwrap().len()));
    rows.iter()
        .map(|row| {
            let group = row["group"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
            (group, row["decisions"].as_i64().unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_is_a_reading_like_any_other_and_shows_an_organisation_its_own_alone() {
    let plant = with_own_auditor().await;
    let answer = plant.get("acme", TARGET, &PURPOSE).await.unwrap();
    assert_eq!(answer.status, 200);
    plant.closed(answer.request_id()).await.unwrap();
    assert_eq!(plant.get("acme", TARGET, &[]).await.unwrap().status, 403);
    assert_eq!(plant.get("bolt", TARGET, &PURPOSE).await.unwrap().status, 404);

    let all = ask(&plant, "auditor", "/v1/audit/summary?by=organisation,decision&kind=decision").await;
    let all = all.json().unwrap();
    let expected = [(vec!["acme", "allow"], 1), (vec!["acme", "deny"], 1), (vec!["bolt", "deny"], 1)];
    assert_eq!(cells(&all), expected);
    let volume = &all["rows"][0];
    assert_eq!((&volume["ended"], &volume["complete"], &volume["rows"]), (&1.into(), &1.into(), &6.into()));
    assert!(volume["bytes"].as_i64().unwrap() > 100);
    // Named, as in entries.
    let who = ask(&plant, "auditor", "/v1/audit/summary?by=principal,reason&decision=deny&kind=decision").await;
    let who = who.json().unwrap();
    assert_eq!(
        cells(&who),
        [(vec!["acme/engineer-1", "purpose_required"], 1), (vec!["bolt/quality-1", "not_found"], 1)]
    );

    // An organisation's own auditor counts its own.
    let own = ask(&plant, "acme", "/v1/audit/summary?by=organisation,decision&kind=decision&organisation=acme").await;
    assert_eq!(cells(&own.json().unwrap()), expected[..2]);
    for query in ["by=organisation", "organisation=bolt", "by=organisation&organisation=norden"] {
        let refused = ask(&plant, "acme", &format!("/v1/audit/summary?{query}")).await;
        assert_eq!(refused.status, 403, "{query}: {}", refused.text());
    }
    assert_eq!(ask(&plant, "bolt", "/v1/audit/summary?organisation=bolt").await.status, 403);
    let nonsense = ask(&plant, "auditor", "/v1/audit/summary?by=colour").await;
    assert_eq!((nonsense.status, nonsense.reason().as_str()), (400, "bad_parameter"));
    assert!(nonsense.text().contains("up to 4 of day, week, month, kind"), "{}", nonsense.text());

    // All of it is on record, the refused ones too.
    let readings = plant.audit("kind=audit_read&order=oldest").await.unwrap();
    let of_summaries: Vec<(&str, &str)> = readings
        .iter()
        .filter(|entry| entry["route"] == "audit-summary")
        .map(|entry| (entry["decision"].as_str().unwrap(), entry["resource"].as_str().unwrap_or("-")))
        .collect();
    let expected = [
        ("allow", "AuditScope/*"),
        ("allow", "AuditScope/*"),
        ("allow", "AuditScope/acme"),
        ("deny", "AuditScope/*"),
        ("deny", "AuditScope/bolt"),
        ("deny", "AuditScope/norden"),
        ("deny", "AuditScope/bolt"),
        ("deny", "-"),
    ];
    assert_eq!(of_summaries, expected);
    let outcomes = plant.audit("kind=outcome&ended=complete").await.unwrap();
    assert!(outcomes.len() >= 4);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_at_a_moment_is_found_while_it_is_and_afterwards() {
    let stall = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{".to_vec();
    let source = Source::start(None, Behaviour::SayAndHang(stall)).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let url = format!(
        "{}/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m",
        plant.data()
    );
    let bearer = format!("Bearer {}", plant.token("acme"));
    let caller = tokio::spawn(async move {
        http::get(&url, &[("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")]).await
    });
    wait::until("the question at the source", async || (source.asked() == 1).then_some(())).await.unwrap();
    let open = async |at: &str| plant.audit(&format!("open_at={at}&organisation=acme")).await.unwrap();
    let now = open("2100-01-01T00:00:00Z").await;
    assert_eq!((now.len(), &now[0]["resource"]), (1, &"Signal/press-3.vibration".into()));
    let request = now[0]["request"].as_str().unwrap().to_owned();
    // The source has two seconds to go on, so the exchange takes more than one.
    assert!(caller.await.unwrap().is_err());
    let entries = plant.closed(&request).await.unwrap();
    assert_eq!(entries[1]["ended"], "source_timeout");
    let (began, ended) = (entries[0]["time"].as_str().unwrap(), entries[1]["time"].as_str().unwrap());
    assert_eq!(open(began).await.len(), 1);
    assert_eq!(open(ended).await.len(), 0);
    assert_eq!(open("2100-01-01T00:00:00Z").await.len(), 0);
    let both = ask(&plant, "auditor", &format!("/v1/audit/entries?follow=true&open_at={began}")).await;
    assert_eq!(both.reason(), "bad_parameter");
    plant.stop().await;
}

/// A log of `count` refusals, written while no broker runs.
pub async fn fill(directory: &Path, origin: &str, count: usize) {
    let random: audit::Random = Arc::new(runtime::random::fill);
    let (log, _) = Log::open(LogOptions::new(directory, origin, Arc::new(SystemClock), random)).await.unwrap();
    let draft = |n: usize| {
        let organisation = OrganisationId::new(["acme", "bolt"][n % 2]).unwrap();
        let members = [
            ("action", Value::text("read")),
            ("decision", Value::text("deny")),
            ("principal", Value::text(format!("{:032x}", n % 7))),
            ("reasons", Value::texts([["not_permitted", "purpose_unknown"][usize::from(n.is_multiple_of(3))]])),
            ("request", Value::text(format!("r{n}"))),
            ("resource", Value::text(format!("Dataset/d{}", n % 50))),
        ];
        let mut draft = Draft::new(Kind::Decision, &log.common(), Some(&organisation), members, Vec::new()).unwrap();
        draft.directory =
            vec![DirectoryRow { principal: format!("acme/person-{}", n % 7), reference: format!("{:032x}", n % 7) }];
        draft
    };
    for chunk in (0..count).collect::<Vec<_>>().chunks(500) {
        let appends = chunk.iter().map(|n| log.append(draft(*n)));
        for appended in futures_util::future::join_all(appends).await {
            appended.unwrap();
        }
    }
    log.close().await;
}

fn millgate(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = run("millgate", arguments).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_indexed_asked_by_name_and_its_index_checked() {
    const COUNT: usize = 9000;
    let plant = Plant::start().await.unwrap();
    let config = plant.configuration("long", "").unwrap();
    let directory = plant.directory.path().join("long");
    fill(&directory, "munich.example/long", COUNT).await;
    let (mut broker, facts) = serve(&config, "").unwrap();
    let token = plant.demo.home.token("auditor");
    let api = facts["api"].as_str().unwrap();
    let asked = |arguments: &[&str]| {
        let server = ["--url", api, "--token-file", token.to_str().unwrap(), "--json"];
        let (code, out, err) = millgate(&[&["audit"], arguments, &server].concat());
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    // While it is being indexed, and afterwards.
    let refusals = || {
        let table = asked(&["report", "refusals"]);
        cells(&table).iter().map(|(group, n)| (group.join(" "), *n)).collect::<Vec<_>>()
    };
    let expected = [
        (String::from("not_permitted acme"), 3000),
        (String::from("not_permitted bolt"), 3000),
        (String::from("purpose_unknown acme"), 1500),
        (String::from("purpose_unknown bolt"), 1500),
    ];
    assert_eq!(refusals(), expected);
    let indexed = async || {
        let size = http::get(&format!("{}/metrics", facts["operator"].as_str()?), &[]).await.ok()?.text();
        size.contains("\nmillgate_audit_indexed_entries 8192\n").then_some(())
    };
    wait::until("the index", indexed).await.unwrap();
    assert_eq!(refusals(), expected);
    let found = asked(&[
        "query",
        "--organisation",
        "bolt",
        "--resource",
        "Dataset/d49",
        "--reason",
        "purpose_unknown",
        "--limit",
        "1000",
    ]);
    let expected = (0..COUNT).filter(|n| n % 2 == 1 && n % 50 == 49 && n % 3 == 0).count();
    assert_eq!(found["entries"].as_array().unwrap().len(), expected);
    // Two do not write one index.
    let index = directory.to_str().unwrap();
    let (code, _, err) = millgate(&["audit", "index", "--directory", index]);
    assert!(code == Some(2) && err.contains("is being written by another process"), "{code:?} {err}");
    broker.kill();

    let fsck = || {
        let (code, out, _) = millgate(&["audit", "fsck", "--directory", index, "--json"]);
        (code, serde_json::from_str::<serde_json::Value>(&out).unwrap())
    };
    let (code, report) = fsck();
    assert_eq!(code, Some(0), "{report}");
    // Somebody hides from the index what one principal was refused.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.join("index.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let hide = "DELETE FROM posting WHERE block = 1 AND term = (SELECT id FROM term WHERE facet = 3 AND value = '00000000000000000000000000000003')";
    let hidden = sqlx::raw_sql(hide).execute(&mut connection).await.unwrap();
    assert_eq!(hidden.rows_affected(), 1);
    sqlx::Connection::close(connection).await.unwrap();
    let (code, report) = fsck();
    assert_eq!(code, Some(1), "{report}");
    let finding = &report["findings"][0];
    assert!(finding["what"].as_str().unwrap().contains("the index has missing or other in `posting`"), "{finding}");
    assert_eq!((&finding["first_index"], &finding["last_index"]), (&4096.into(), &8191.into()));
    let (code, out, err) = millgate(&["audit", "index", "--directory", index, "--anew", "--json"]);
    assert_eq!((code, out.trim()), (Some(0), "{\"indexed\":8192}"), "{err}");
    assert_eq!(fsck().0, Some(0));
    plant.stop().await;
}

#[test]
fn saved_questions_of_ones_own_stand_beside_ours_and_say_what_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "night.toml",
        "title = \"What bolt reads\"\nquestion = \"summary\"\nby = [\"resource\"]\norganisation = \"bolt\"\n",
    );
    let reports = folder.path().to_str().unwrap();
    let (code, out, _) = millgate(&["audit", "report", "--reports", reports, "--json"]);
    let names: Vec<String> = serde_json::from_str::<Vec<serde_json::Value>>(&out)
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        code == Some(0) && ["night", "refusals", "open"].iter().all(|name| names.contains(&(*name).to_owned())),
        "{names:?}"
    );
    write("bad.toml", "title = \"?\"\nquestion = \"summary\"\nby = [\"colour\"]\n");
    let (code, _, err) = millgate(&["audit", "report", "--reports", reports]);
    assert!(code == Some(2) && err.contains("bad.toml") && err.contains("`by` has `colour`"), "{code:?} {err}");
}
