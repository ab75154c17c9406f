//! Real processes: the built executables and third-party servers. Each is ended by its own pid.

use anyhow::{Context as _, ensure};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// An executable of this workspace, built by `cargo build --workspace`.
///
/// # Errors
/// When it has not been built.
pub fn executable(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let directory = test.parent().and_then(Path::parent).context("tests do not run in a target directory")?;
    let path = directory.join(name);
    ensure!(path.exists(), "`{}` is not there; run `cargo build --workspace` first", path.display());
    Ok(path)
}

/// Runs an executable of this workspace to its end.
///
/// # Errors
/// When it cannot be started.
pub fn run(name: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    Command::new(executable(name)?).args(arguments).output().with_context(|| format!("`{name}` cannot be started"))
}

/// A script of `tests/clients`, run by the Python that the tests' tools came with.
pub fn client(script: &str) -> Command {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(tests.join(".tools/venv/bin/python"));
    command.arg(tests.join("clients").join(script));
    command
}

/// `millgate serve` as a process of its own; `shell` may set limits before it, as in `ulimit -f 100;`.
///
/// # Errors
/// When it does not say that it serves.
pub fn serve(config: &Path, shell: &str) -> anyhow::Result<(Guard, serde_json::Value)> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{shell} exec \"$0\" serve --json --config \"$1\""));
    command.arg(executable("millgate")?).arg(config).stdout(Stdio::piped());
    let mut process = Guard::spawn(&mut command)?;
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().context("stdout")?).read_line(&mut line)?;
    let facts = serde_json::from_str(&line).with_context(|| format!("`{}` did not start", config.display()))?;
    Ok((process, facts))
}

/// A child process that ends with its guard.
#[derive(Debug)]
pub struct Guard(pub Child);

impl Guard {
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("{command:?}"))?;
        Ok(Self(child))
    }

    /// SIGKILL, now.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// # Errors
    /// When there is no `kill` program.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status()?;
        ensure!(status.success(), "kill -s {name}: {status}");
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.kill();
    }
}
