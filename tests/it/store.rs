//! PostgreSQL as the store of the log: everything that holds for SQLite, and what only a server has.

mod conforming;
mod failing;
mod guarding;
mod preparing;
mod pruning;
mod serving;

use acceptance::postgres::{Postgres, SUPERUSER, SUPERUSER_PASSWORD};
use acceptance::{Plant, process, wait};
use audit::StoreAt;
use audit::postgres::{Access, init};
use audit::tests::harness::ORIGIN;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use std::path::PathBuf;

const PASSWORD: &str = "of a role";

/// A server with a database `plant` that is ready for the logs of `broker_1` and `broker_2`.
async fn server(more: &[&str]) -> Postgres {
    let server = Postgres::start_durable(more).await.unwrap();
    let writers = ["broker_1", "broker_2"].map(String::from).to_vec();
    let roles = init::Roles {
        owner: "keeper".into(),
        writers,
        readers: vec!["auditor".into()],
        keep_days: Some(60),
        standby: true,
    };
    init::init(&server.store("plant", SUPERUSER, SUPERUSER_PASSWORD), &roles).await.unwrap();
    for role in ["broker_1", "broker_2", "auditor"] {
        server.run(&format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'")).await.unwrap();
    }
    server
}

fn broker(server: &Postgres) -> StoreAt {
    at(server.store("plant", "broker_1", PASSWORD), ORIGIN)
}

fn at(access: Access, origin: &str) -> StoreAt {
    StoreAt::Postgres { access: Box::new(access), origin: Some(origin.to_owned()) }
}

async fn connect(access: &Access) -> PgConnection {
    let options = PgConnectOptions::new_without_pgpass().host(&access.url.host).port(access.url.port);
    let options = options.database(&access.url.name).username(&access.username).ssl_mode(PgSslMode::Disable);
    options.password(access.password.as_deref().unwrap()).connect().await.unwrap()
}

async fn refused(connection: &mut PgConnection, sql: &str) -> String {
    let done = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await;
    assert!(done.is_err(), "`{sql}` was done");
    done.unwrap_err().to_string()
}

/// `millgate` with these arguments: exit status, standard output, standard error.
fn millgate(arguments: &[&str]) -> (i32, String, String) {
    let output = process::run("millgate", arguments).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The configuration of a broker with its log in `plant`.
fn configured(plant: &Plant, server: &Postgres) -> PathBuf {
    configured_with(plant, server, "")
}

fn configured_with(plant: &Plant, server: &Postgres, more: &str) -> PathBuf {
    std::fs::write(plant.directory.path().join("db.password"), PASSWORD).unwrap();
    let store = format!(
        "[audit.store]\nurl = \"postgresql://127.0.0.1:{}/plant\"\nusername = \"broker_1\"\ntls = false\n\
         password = {{ file = \"db.password\" }}\n{more}",
        server.port
    );
    let file = plant.configuration("beside", "").unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let audit = "audit = { directory = \"beside\", origin = \"munich.example/beside\" }";
    assert!(text.contains(audit), "{text}");
    let section = format!("[audit]\ndirectory = \"beside\"\norigin = \"munich.example/beside\"\n{store}");
    std::fs::write(&file, format!("{}\n{section}", text.replace(audit, ""))).unwrap();
    file
}

async fn ended(mut process: process::Guard) {
    process.signal("TERM").unwrap();
    wait::until("the end of a process", async || process.0.try_wait().ok().flatten()).await.unwrap();
}
