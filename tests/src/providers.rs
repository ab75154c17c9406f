//! Third-party servers of `tests/providers`, started as processes.

use crate::http;
use anyhow::{Context as _, ensure};
use base64::Engine as _;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// They take two seconds; one that takes this long hangs, and the test is to say which it was.
const START_MAX: Duration = Duration::from_secs(90);

/// A server of `tests/providers`. It ends when its standard input does, also when this process is killed, and ends what
/// it started itself.
#[derive(Debug)]
pub struct Server {
    facts: Value,
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

impl Server {
    /// Runs `script` with Node and waits until it is ready.
    ///
    /// # Errors
    /// It did not start.
    pub fn start(script: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("providers");
        let mut command = Command::new("node");
        command.current_dir(&directory).arg(script).arg("--with-parent").args(arguments);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("node")?;
        let mut answers = BufReader::new(process.stdout.take().context("stdout")?);
        let (ready, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = answers.read_line(&mut line);
            let _ = ready.send((answers, line, read));
        });
        let Ok((answers, line, read)) = told.recv_timeout(START_MAX) else {
            process.kill()?;
            anyhow::bail!("`{script}` was not ready within {START_MAX:?}, and has been ended");
        };
        read?;
        let facts = serde_json::from_str(&line)
            .with_context(|| format!("`{script}` did not start; `bash tests/run` installs what it needs"))?;
        Ok(Self { facts, process, answers })
    }

    /// A text of what the server said when it was ready, by JSON pointer; empty if there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.facts.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Gives one command and returns the answer.
    ///
    /// # Errors
    /// The server is gone, or has no commands.
    pub fn tell(&mut self, command: &str) -> anyhow::Result<Value> {
        writeln!(self.process.stdin.as_mut().context("stdin")?, "{command}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("`{command}` was answered with `{line}`"))
    }

    /// `Basic …` of the user `/{user}/username` and `/{user}/password`.
    pub fn basic(&self, user: &str) -> String {
        basic(self.text(&format!("/{user}/username")), self.text(&format!("/{user}/password")))
    }

    /// A token by client credentials, as a supplier's script gets one.
    ///
    /// # Errors
    /// The provider gives none.
    pub async fn token(&self) -> anyhow::Result<String> {
        let basic = basic(self.text("/clients/0/client_id"), self.text("/clients/0/client_secret"));
        let headers = [("authorization", basic.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        let body = format!("grant_type=client_credentials&scope=data&resource={}", self.text("/audience"));
        let answer = http::send("POST", self.text("/token_endpoint"), &headers, body.into()).await?;
        let facts = answer.json()?;
        let token = facts.get("access_token").and_then(Value::as_str).unwrap_or_default().to_owned();
        ensure!(!token.is_empty(), "no token: {}", answer.text());
        Ok(token)
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}
