//! A real PostgreSQL on 127.0.0.1, in a folder of its own.

use anyhow::{Context as _, ensure};
pub use audit::tests::stand::{SUPERUSER, SUPERUSER_PASSWORD};
use broker::database::{Access, Database};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// It ends with this value.
#[derive(Debug)]
pub struct Postgres {
    process: Child,
    pub port: u16,
    directory: TempDir,
    arguments: Vec<String>,
}

/// The role that the broker logs in as, which may read what it is given.
pub const READER: &str = "millgate";
pub const READER_PASSWORD: &str = "only for tests";

impl Postgres {
    /// Starts a server with a database `plant` and runs `schema` in it.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub async fn start(schema: &str) -> anyhow::Result<Self> {
        Self::start_with(schema, None).await
    }

    /// With TLS: the PEM of its certificate and of its key.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(schema: &str, tls: Option<(&str, &str)>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("millgate-pg-").tempdir()?;
        Self::launch(directory, schema, tls, "scram-sha-256", &["fsync=off", "log_statement=all"]).await
    }

    /// One that loses nothing when it is killed: for the store of a log. `more`: further settings.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_durable(more: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("millgate-pg-").tempdir_in(flushed_soon())?;
        Self::start_durable_in(directory, more).await
    }

    /// As [`Self::start_durable`], with its data in this directory.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_durable_in(directory: TempDir, more: &[&str]) -> anyhow::Result<Self> {
        // Each test logs in some hundred times, and the other way takes a debug build long.
        Self::launch(directory, "", None, "password", more).await
    }

    async fn launch(
        directory: TempDir,
        schema: &str,
        tls: Option<(&str, &str)>,
        login: &str,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let base = directory.path();
        std::fs::write(base.join("password"), SUPERUSER_PASSWORD)?;
        if let Some((certificate, key)) = tls {
            std::fs::write(base.join("server.crt"), certificate)?;
            std::fs::write(base.join("server.key"), key)?;
            ensure!(Command::new("chmod").arg("600").arg(base.join("server.key")).status()?.success(), "chmod");
        }
        own(base)?;
        let data = base.join("data");
        let initialised = program("initdb")?
            .args(["-U", SUPERUSER, "-A", login, "-E", "UTF8", "--locale=C", "--no-sync", "--pwfile"])
            .arg(base.join("password"))
            .arg("-D")
            .arg(&data)
            .output()?;
        ensure!(initialised.status.success(), "initdb: {}", String::from_utf8_lossy(&initialised.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        if tls.is_some() {
            let file = |name: &str| base.join(name).display().to_string();
            settings.push(String::from("ssl=on"));
            settings.push(format!("ssl_cert_file={}", file("server.crt")));
            settings.push(format!("ssl_key_file={}", file("server.key")));
        }
        let arguments: Vec<String> = settings.into_iter().flat_map(|setting| [String::from("-c"), setting]).collect();
        let process = spawn(base, port, &arguments)?;
        let server = Self { process, port, directory, arguments };
        server.fill(schema).await?;
        Ok(server)
    }

    /// Ends at once, in the middle of whatever it does, as a crash of it would.
    pub fn kill(&mut self) {
        let _ = Command::new("kill").args(["-s", "QUIT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }

    /// Ends in order, and breaks off what is under way, as its administrator stops it.
    pub fn stop(&mut self) {
        let _ = Command::new("kill").args(["-s", "INT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }

    /// After [`Self::kill`] or [`Self::stop`]: with the same data, at the same port.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = spawn(self.directory.path(), self.port, &self.arguments)?;
        crate::wait::until("PostgreSQL", async || self.connect("postgres").await.ok()).await.map(drop)
    }

    /// A standby that follows this one, with settings of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn standby(&self, name: &str) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("millgate-pg-").tempdir()?;
        own(directory.path())?;
        let from = format!("host=127.0.0.1 port={} user={SUPERUSER} password='{SUPERUSER_PASSWORD}'", self.port);
        let copied = program("pg_basebackup")?
            .args([
                "-d",
                &format!("{from} application_name={name}"),
                "-R",
                "-X",
                "stream",
                "--checkpoint=fast",
                "--no-sync",
            ])
            .arg("-D")
            .arg(directory.path().join("data"))
            .output()?;
        ensure!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = spawn(directory.path(), port, &[])?;
        let server = Self { process, port, directory, arguments: Vec::new() };
        crate::wait::until("the standby", async || server.connect("postgres").await.ok()).await?;
        Ok(server)
    }

    /// A database of it as the store of a log, as a role logs in there.
    ///
    /// # Panics
    /// Never: the address is one.
    #[expect(clippy::unwrap_used, reason = "the address is one")]
    pub fn store(&self, database: &str, username: &str, password: &str) -> audit::postgres::Access {
        audit::postgres::Access {
            url: format!("postgresql://127.0.0.1:{}/{database}", self.port).parse().unwrap(),
            tls: false,
            ca_file: None,
            certificate: None,
            username: username.to_owned(),
            password: Some(password.to_owned()),
            connect_timeout: Duration::from_secs(5),
            standby: false,
        }
    }

    async fn fill(&self, schema: &str) -> anyhow::Result<()> {
        let mut first = crate::wait::until("PostgreSQL", async || self.connect("postgres").await.ok()).await?;
        first.execute("CREATE DATABASE plant").await?;
        let role = format!("CREATE ROLE {READER} LOGIN PASSWORD '{READER_PASSWORD}'");
        first.execute(AssertSqlSafe(role)).await?;
        self.run(schema).await
    }

    async fn connect(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.port).database(database);
        let options = options.username(SUPERUSER).password(SUPERUSER_PASSWORD).ssl_mode(PgSslMode::Disable);
        options.connect().await
    }

    /// As the superuser, in the database `plant`.
    ///
    /// # Errors
    /// What the server says.
    pub async fn run(&self, sql: &str) -> anyhow::Result<()> {
        let mut connection = self.connect("plant").await?;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await?;
        Ok(())
    }

    /// The one number that a query of the superuser's gives.
    ///
    /// # Errors
    /// What the server says.
    pub async fn count(&self, sql: &str) -> anyhow::Result<i64> {
        let mut connection = self.connect("plant").await?;
        Ok(sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await?)
    }

    /// As the broker reaches it.
    ///
    /// # Panics
    /// Never: the address is one.
    #[expect(clippy::unwrap_used, reason = "the address is one")]
    pub fn database(&self) -> Database {
        let second = Duration::from_secs(10);
        Database::new(&Access {
            url: &format!("postgresql://127.0.0.1:{}/plant", self.port).parse().unwrap(),
            tls: false,
            ca_file: None,
            certificate: None,
            username: READER,
            password: Some(READER_PASSWORD),
            connections_max: 2,
            connect_timeout: second,
            statement_timeout: second,
        })
    }

    /// Everything that the server has logged: each statement with its values.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Immediate shutdown: its processes end with it, and so does its shared memory.
        self.kill();
    }
}

/// A test kills processes, not machines: where there is memory for it, flushes need not wait for a disk.
fn flushed_soon() -> PathBuf {
    const ENOUGH_KIB: u64 = 4 * 1024 * 1024;
    let memory = PathBuf::from("/dev/shm");
    let free = Command::new("df").args(["--output=avail", "/dev/shm"]).output();
    let free = free.ok().and_then(|out| String::from_utf8(out.stdout).ok()?.lines().nth(1)?.trim().parse::<u64>().ok());
    if free.is_some_and(|free| free > ENOUGH_KIB) { memory } else { std::env::temp_dir() }
}

fn spawn(base: &Path, port: u16, arguments: &[String]) -> anyhow::Result<Child> {
    let mut server = program("postgres")?;
    server.arg("-D").arg(base.join("data")).arg("-k").arg(base).args(["-p", &port.to_string()]);
    server.args(["-c", "listen_addresses=127.0.0.1"]).args(arguments);
    let log = std::fs::File::options().create(true).append(true).open(base.join("log"))?;
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().context("postgres")
}

/// PostgreSQL refuses to run as root; Debian's package brings a user for it.
fn program(name: &str) -> anyhow::Result<Command> {
    let path = installed(name).with_context(|| format!("`{name}` is not installed; `bash tests/run` installs it"))?;
    if !is_root() {
        return Ok(Command::new(path));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(path).current_dir("/");
    Ok(command)
}

fn installed(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.filter_map(|v| Some(v.ok()?.path().join("bin").join(name))).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn own(directory: &Path) -> anyhow::Result<()> {
    if is_root() {
        let status = Command::new("chown").args(["-R", "postgres:postgres"]).arg(directory).status()?;
        ensure!(status.success(), "chown: {status}");
    }
    Ok(())
}
