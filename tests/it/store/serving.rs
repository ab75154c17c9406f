//! Brokers that have their log in PostgreSQL, and what others make of that log.

use super::{PASSWORD, at, configured, connect, ended, millgate, server};
use acceptance::postgres::{SUPERUSER, SUPERUSER_PASSWORD};
use acceptance::{Plant, http, process, wait};
use audit::Stored;
use audit::tests::stand::rewrite;
use runtime::config::Config;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _};

async fn ask(facts: &Value, plant: &Plant) -> http::Answer {
    let series = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T08:05:00Z&resolution=1m";
    let bearer = format!("Bearer {}", plant.token("acme"));
    let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
    http::get(&format!("{}{series}", facts["data"].as_str().unwrap()), &headers).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_put_back_quarantines_the_broker_and_an_incarnation_goes_on_beside_the_old_log() {
    let server = server(&[]).await;
    let plant = Plant::start().await.unwrap();
    let at = |name: &str| plant.directory.path().join(name);
    let file = configured(&plant, &server);
    let config = file.to_str().unwrap();
    let mut administrator = connect(&server.store("postgres", SUPERUSER, SUPERUSER_PASSWORD)).await;
    // Sessions of a broker that has just ended are let go of in a moment.
    let mut alter = async |sql: &str| {
        wait::until(sql, async || administrator.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.ok()).await
    };
    let (broker, facts) = process::serve(&file, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    // While a broker has the log, none takes its place.
    let incarnate = |more: &[&str]| {
        let given = ["audit", "incarnate", "--config", config, "--reason", "the database was put back", "--json"];
        millgate(&[&given[..], more].concat())
    };
    let new = ["--origin", "munich.example/beside.2"];
    let (status, said, errors) = incarnate(&new);
    assert!(status == 2 && errors.contains("stop the broker first"), "{said} {errors}");
    ended(broker).await;
    alter("CREATE DATABASE kept TEMPLATE plant").await.unwrap();
    // Here is nothing that anybody contradicts.
    let (status, said, errors) = incarnate(&new);
    assert!(status == 1 && said.contains("start the broker"), "{said} {errors}");
    let (broker, facts) = process::serve(&file, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    let old_key = facts["log_key"].as_str().unwrap().to_owned();
    ended(broker).await;
    let lost = std::fs::read_to_string(at("beside/published/checkpoint")).unwrap();
    alter("ALTER DATABASE plant RENAME TO newer").await.unwrap();
    alter("ALTER DATABASE kept RENAME TO plant").await.unwrap();

    let (broker, facts) = process::serve(&file, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.reason(), "quarantined");
    let (status, _, errors) = incarnate(&new);
    assert!(status == 2 && errors.contains("stop the broker first"), "{errors}");
    ended(broker).await;
    // The database refuses in the middle; nobody goes on with the old log meanwhile.
    let append = "FUNCTION millgate_audit.append";
    server.run(&format!("REVOKE EXECUTE ON {append} FROM broker_1")).await.unwrap();
    let (status, _, errors) = incarnate(&new);
    assert!(status == 2 && errors.contains("the new log cannot be begun"), "{errors}");
    let (status, _, errors) = millgate(&["serve", "--config", config]);
    assert!(status == 2 && errors.contains("`millgate audit incarnate` was interrupted"), "{errors}");
    server.run(&format!("GRANT EXECUTE ON {append} TO broker_1")).await.unwrap();
    // The new log is begun, and what is to be set aside cannot be.
    std::fs::write(at("beside/aside"), "in the way").unwrap();
    let (status, _, errors) = incarnate(&new);
    assert!(status == 2 && errors.contains("cannot be set aside"), "{errors}");
    let begun = "SELECT count(*) FROM millgate_audit.bundle b JOIN millgate_audit.log l ON l.id = b.log
                 WHERE l.origin = 'munich.example/beside.2'";
    let written = server.count(begun).await.unwrap();
    assert!(written > 0);
    let (status, _, errors) = incarnate(&["--origin", "munich.example/beside.3"]);
    assert!(status == 2 && errors.contains("go on with `--origin munich.example/beside.2`"), "{errors}");
    std::fs::remove_file(at("beside/aside")).unwrap();
    let (status, said, errors) = incarnate(&new);
    assert_eq!(status, 0, "{said} {errors}");
    assert_eq!(server.count(begun).await.unwrap(), written, "it was begun twice");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(said["old_log_in"].as_str().unwrap().contains("/plant"), "{said}");
    let aside = at("beside/published/aside/munich.example_beside");
    assert_eq!(said["published_aside"].as_str(), aside.to_str());
    assert!(aside.join("checkpoint").exists() && !at("beside/published/checkpoint").exists());

    // The old configuration would go on with the old log, under a key that it never had.
    let (status, _, errors) = millgate(&["serve", "--config", config]);
    assert!(status == 2 && errors.contains("belongs to the log `munich.example/beside.2`"), "{errors}");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("munich.example/beside\"", "munich.example/beside.2\"")).unwrap();
    let (broker, facts) = process::serve(&file, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    let entries = || acceptance::entries(&at("beside/published")).ok()?.into_iter().next();
    let first = wait::until("the first entry", async || entries()).await.unwrap();
    assert_eq!((&first["event"], &first["previous"]["key"]), (&"incarnation".into(), &old_key.into()));
    assert_eq!(first["seen"][0]["checkpoint"].as_str(), Some(&*lost));
    ended(broker).await;
    // Its name is taken now, and the old log is still there to be read.
    let (status, _, errors) = incarnate(&["--origin", "munich.example/beside", "--force"]);
    assert!(status == 2 && errors.contains("was set aside"), "{errors}");
    let access = server.store("plant", "auditor", PASSWORD);
    assert!(Stored::find(super::at(access, "munich.example/beside")).await.unwrap().is_some());
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_serves_from_postgresql_and_its_log_is_checked_exported_and_decided_again() {
    let server = server(&[]).await;
    let plant = Plant::start().await.unwrap();
    let folder = plant.directory.path();
    let file = configured(&plant, &server);
    let config = file.to_str().unwrap();
    let (status, said, _) = millgate(&["check", "--config", config]);
    assert_eq!(status, 0, "{said}");

    let (mut process, facts) = process::serve(&file, "").unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&facts, &plant).await.status, 200);
    }
    let auditor = format!("Bearer {}", plant.token("auditor"));
    let url = format!("{}/v1/audit/entries?kind=outcome&organisation=acme", facts["api"].as_str().unwrap());
    let found = wait::until("the outcomes", async || {
        let answer = http::get(&url, &[("authorization", &auditor)]).await.ok()?.json().ok()?;
        (answer["entries"].as_array()?.len() == 3).then_some(answer)
    });
    let found = found.await.unwrap();
    assert_eq!(found["entries"][0]["entry"]["ended"], "complete");
    // A second broker with the same log does not start.
    let (status, _, errors) = millgate(&["serve", "--config", config]);
    assert!(status == 2 && errors.contains("is in use by another broker"), "{errors}");
    process.signal("TERM").unwrap();
    process.0.wait().unwrap();
    assert!(!folder.join("beside/log.db").exists());

    let (status, said, errors) = millgate(&["audit", "fsck", "--config", config, "--json"]);
    assert_eq!(status, 0, "{said} {errors}");
    let archive = folder.join("beside.tar");
    let from = "2026-01-01T00:00:00Z";
    let out = ["--from", from, "--out", archive.to_str().unwrap(), "--json"];
    let (status, said, errors) = millgate(&[&["audit", "export", "--config", config][..], &out].concat());
    assert_eq!(status, 0, "{said} {errors}");
    let key = facts["log_key"].as_str().unwrap();
    let (status, said, errors) = millgate(&["audit", "replay", archive.to_str().unwrap(), "--key", key]);
    assert_eq!(status, 0, "{said} {errors}");
    let replay = ["policy", "replay", "--from-store", "--config", config, "--since", "1h", "--json"];
    let (status, said, errors) = millgate(&replay);
    assert_eq!(status, 0, "{said} {errors}");

    // Somebody with all rights makes a refusal of it, and the digest fit.
    rewrite(at(server.store("plant", "broker_1", PASSWORD), "munich.example/beside"), 0, |bytes| {
        let at = bytes.windows(8).position(|w| w == b"\"opened\"").unwrap();
        bytes[at + 1] = b'O';
    })
    .await;
    let reader = folder.join("reader.password");
    std::fs::write(&reader, PASSWORD).unwrap();
    let url = format!("postgresql://127.0.0.1:{}/plant", server.port);
    let to = ["--store", &url, "--no-tls", "--username", "auditor", "--password-file", reader.to_str().unwrap()];
    let (status, said, errors) = millgate(&[&["audit", "fsck"][..], &to].concat());
    assert!(status == 1 && said.contains("they do not have the root that was signed"), "{said} {errors}");
    assert!(!Config::load(&file).map(|config| format!("{config:?}")).unwrap().contains(PASSWORD));
}
