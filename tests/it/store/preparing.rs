//! A database that is made ready for logs, and databases that are not fit to hold one.

use super::{PASSWORD, broker, connect, millgate, refused, server};
use acceptance::postgres::{Postgres, SUPERUSER, SUPERUSER_PASSWORD};
use acceptance::wait;
use audit::postgres::{PostgresError, PostgresStore, init};
use audit::store::Store as _;
use audit::tests::harness::{ORIGIN, deny, fill, options};
use audit::{AppendError, Log, OpenError};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_made_ready_by_a_command_and_only_by_that() {
    let server = Postgres::start_durable(&[]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, SUPERUSER_PASSWORD).unwrap();
    let url = format!("postgresql://127.0.0.1:{}/plant", server.port);
    server.run(&format!("CREATE ROLE broker_1 LOGIN PASSWORD '{PASSWORD}'")).await.unwrap();
    let error = PostgresStore::open(&server.store("plant", "broker_1", PASSWORD), ORIGIN).await.unwrap_err();
    assert!(error.to_string().ends_with(&format!("has no tables for audit logs; make them with `millgate audit store init --store {url}`, as somebody who may create roles and schemas")), "{error}");
    let to = ["--store", &url, "--no-tls", "--username", SUPERUSER, "--password-file", password.to_str().unwrap()];
    let command = |more: &[&str]| millgate(&[&["audit", "store", "init", "--json"][..], &to, more].concat());
    let changed = |stdout: &str| -> Vec<bool> {
        let said: Value = serde_json::from_str(stdout).unwrap();
        said["steps"].as_array().unwrap().iter().map(|step| step["changed"].as_bool().unwrap()).collect()
    };
    let (status, first, errors) = command(&["--writer", "broker_1", "--reader", "auditor"]);
    assert_eq!((status, changed(&first)), (0, vec![true; 6]), "{first} {errors}");
    let (status, again, _) = command(&["--writer", "broker_1", "--reader", "auditor"]);
    assert_eq!((status, changed(&again)), (0, vec![false; 5]), "{again}");
    // For how long the role keeps entries is taken from its broker's configuration.
    for name in ["catalog", "registry", "base"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("plant.cedarschema"), "").unwrap();
    let config = folder.path().join("millgate.toml");
    let keeping = |retention: &str| {
        let folders =
            "catalog = \"catalog\"\nregistry = \"registry\"\npolicies = \"base\"\nschema = \"plant.cedarschema\"";
        let audit = "directory = \"audit\"\norigin = \"plant.example/broker-1\"";
        std::fs::write(&config, format!("[folders]\n{folders}\n[audit]\n{audit}\n{retention}")).unwrap();
        command(&["--writer", "broker_1", "--config", config.to_str().unwrap()])
    };
    let (status, kept, errors) = keeping("[audit.retention]\nentries = \"90d\"\n");
    assert_eq!((status, changed(&kept)), (0, vec![false, false, false, false, true]), "{kept} {errors}");
    assert!(kept.contains("the role `broker_1` prunes no entry that is not 90 days old"), "{kept}");
    let (status, _, errors) = keeping("");
    assert!(status == 2 && errors.contains("`[audit.retention]` has no `entries`"), "{errors}");
    PostgresStore::open(&server.store("plant", "broker_1", PASSWORD), ORIGIN).await.unwrap().close().await.unwrap();
    // Somebody who may create roles and is no superuser does it as well, and is no member of the owner afterwards.
    server.run("CREATE DATABASE other").await.unwrap();
    server.run(&format!("CREATE ROLE admin LOGIN CREATEROLE PASSWORD '{PASSWORD}'")).await.unwrap();
    server.run("GRANT CREATE ON DATABASE other TO admin").await.unwrap();
    let admin = server.store("other", "admin", PASSWORD);
    for writers in [&["broker_1"][..], &["broker_1", "broker_3"]] {
        let (owner, writers) =
            (String::from("millgate_audit_owner"), writers.iter().map(ToString::to_string).collect());
        let roles = init::Roles { owner, writers, readers: Vec::new(), keep_days: None, standby: false };
        init::init(&admin, &roles).await.unwrap();
        refused(&mut connect(&admin).await, "SELECT FROM millgate_audit.format").await;
    }
    PostgresStore::open(&server.store("other", "broker_1", PASSWORD), ORIGIN).await.unwrap().close().await.unwrap();
    // A role that nobody gave leave, and owners and writers that would undo it all.
    server.run(&format!("CREATE ROLE stranger LOGIN PASSWORD '{PASSWORD}'")).await.unwrap();
    let error = PostgresStore::open(&server.store("plant", "stranger", PASSWORD), ORIGIN).await.unwrap_err();
    assert!(error.to_string().starts_with("the role `stranger` may not use the audit logs in"), "{error}");
    for (arguments, said) in [
        (&["--owner", "broker_1"][..], "the role `broker_1` can log in"),
        (&["--writer", SUPERUSER], "is a superuser"),
        (&["--owner", "pg_monitor"], "cannot be the name of a role here"),
        (&["--writer", "a\"; DROP SCHEMA millgate_audit; --"], "cannot be the name of a role here"),
    ] {
        let (status, _, errors) = command(arguments);
        assert!(status == 2 && errors.contains(said), "{arguments:?}: {errors}");
    }
    let hidden = millgate(&["audit", "fsck", "--store", "postgresql://broker:hunter2@db/audit"]);
    assert!(
        hidden.0 == 2 && hidden.2.contains("is no address of a database") && !hidden.2.contains("hunter2"),
        "{hidden:?}"
    );
    server.run("UPDATE millgate_audit.format SET version = 2").await.unwrap();
    let error = PostgresStore::open(&server.store("plant", "broker_1", PASSWORD), ORIGIN).await.unwrap_err();
    assert!(error.to_string().contains("has format 2; this program knows format 1"), "{error}");
    let (status, _, errors) = command(&[]);
    assert!(status == 2 && errors.contains("has format 2"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_would_not_keep_its_word_is_not_opened() {
    let lax = server(&["fsync=off"]).await;
    let error = Log::open(options(broker(&lax))).await.unwrap_err();
    assert_eq!(error.to_string(), "the server has `fsync = off`, so a commit would not be flushed; set it to `on`");
    drop(lax);
    let server = server(&["synchronous_commit=off"]).await;
    // Who is the owner, may become it, or may take values away without an entry.
    for made in ["owns LOGIN IN ROLE keeper", "lurks LOGIN NOINHERIT IN ROLE keeper", "erases LOGIN"] {
        server.run(&format!("CREATE ROLE {made} PASSWORD '{PASSWORD}'")).await.unwrap();
    }
    let mut superuser = connect(&server.store("plant", SUPERUSER, SUPERUSER_PASSWORD)).await;
    let grant = "GRANT USAGE ON SCHEMA millgate_audit TO erases, lurks;
        GRANT SELECT ON ALL TABLES IN SCHEMA millgate_audit TO erases, lurks; GRANT DELETE ON millgate_audit.disclosure TO erases";
    superuser.execute(sqlx::raw_sql(grant)).await.unwrap();
    for (role, password) in
        [(SUPERUSER, SUPERUSER_PASSWORD), ("owns", PASSWORD), ("lurks", PASSWORD), ("erases", PASSWORD)]
    {
        let error = PostgresStore::open(&server.store("plant", role, password), ORIGIN).await.unwrap_err();
        assert!(matches!(error, OpenError::Postgres(PostgresError::Privileged { .. })), "{role}: {error}");
    }
    // What it does not inherit, and what it reaches by way of others only.
    let roles = "CREATE ROLE mighty SUPERUSER; CREATE ROLE fills; CREATE ROLE bends; CREATE ROLE between NOINHERIT IN ROLE fills;
        GRANT INSERT ON millgate_audit.bundle TO fills; GRANT UPDATE (size) ON millgate_audit.head TO bends";
    superuser.execute(sqlx::raw_sql(roles)).await.unwrap();
    for through in ["mighty", "fills", "between", "bends", "pg_write_all_data", "pg_write_server_files"] {
        let made = format!("CREATE ROLE lurks_{through} LOGIN NOINHERIT IN ROLE {through} PASSWORD '{PASSWORD}'");
        server.run(&made).await.unwrap();
        let role = format!("lurks_{through}");
        let grant = format!(
            "GRANT USAGE ON SCHEMA millgate_audit TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA millgate_audit TO {role}"
        );
        superuser.execute(sqlx::raw_sql(AssertSqlSafe(grant))).await.unwrap();
        let error = PostgresStore::open(&server.store("plant", &role, PASSWORD), ORIGIN).await.unwrap_err();
        let becomes = if through == "between" { "fills" } else { through };
        let said = format!("the role `{role}` may change what is written: it can become `{becomes}`;");
        assert!(error.to_string().starts_with(&said), "{through}: {error}");
    }
    // What the session can put right itself it does; and a server that is changed under it is found out with the next batch.
    let (log, _) = Log::open(options(broker(&server))).await.unwrap();
    fill(&log, 3).await;
    server.run("ALTER SYSTEM SET full_page_writes = off").await.unwrap();
    server.run("SELECT pg_reload_conf()").await.unwrap();
    wait::until("the end of the log", async || {
        let told = log.append(deny(&log, "acme", "late")).await;
        (told == Err(AppendError::Poisoned)).then_some(())
    })
    .await
    .unwrap();
    assert!(log.poison_reason().unwrap().contains("the server would not flush this commit"));
}
