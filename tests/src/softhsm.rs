//! Real PKCS #11 tokens: SoftHSM's, in a folder of their own.

use crate::process::{self, Guard};
use anyhow::{Context as _, ensure};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// SoftHSM's module.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// OpenSC's module that writes down every call and passes it on to another one.
const SPY: &str = "pkcs11-spy.so";

#[derive(Debug)]
pub struct SoftHsm {
    folder: PathBuf,
}

impl SoftHsm {
    /// Keeps its tokens below `folder`.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        ensure!(Path::new(MODULE).exists(), "`{MODULE}` is not there; `bash tests/run` installs it");
        let hsm = Self { folder: folder.to_owned() };
        std::fs::create_dir_all(hsm.tokens())?;
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            hsm.tokens().display()
        );
        std::fs::write(hsm.configuration(), text)?;
        Ok(hsm)
    }

    /// Where the tokens are.
    pub fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// What a shell has to say before it starts a program that uses the tokens.
    pub fn shell(&self) -> String {
        format!("export SOFTHSM2_CONF={};", self.configuration().display())
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SOFTHSM2_CONF", self.configuration());
        command
    }

    /// Makes a token.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn token(&self, label: &str, pin: &str) -> anyhow::Result<()> {
        let arguments = ["--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", pin];
        let made = self.command("softhsm2-util").args(arguments).output()?;
        ensure!(made.status.success(), "softhsm2-util: {}", String::from_utf8_lossy(&made.stderr));
        Ok(())
    }

    /// OpenSC's tool, logged in to a token.
    ///
    /// # Errors
    /// When it fails.
    pub fn tool(&self, token: &str, pin: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command("pkcs11-tool");
        command.args(["--module", MODULE, "--token-label", token, "--login", "--pin", pin]).args(arguments);
        let output = command.output().context("pkcs11-tool")?;
        ensure!(output.status.success(), "pkcs11-tool {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `millgate` to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn millgate(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        Ok(self.command(process::executable("millgate")?).args(arguments).output()?)
    }

    /// [`SoftHsm::millgate`] with each call to [`SoftHsm::spy`] written to `calls`.
    ///
    /// # Errors
    /// As [`SoftHsm::millgate`].
    pub fn millgate_watched(&self, arguments: &[&str], calls: &Path) -> anyhow::Result<Output> {
        let mut command = self.command(process::executable("millgate")?);
        Ok(command.env("PKCS11SPY", MODULE).env("PKCS11SPY_OUTPUT", calls).args(arguments).output()?)
    }

    /// [`SoftHsm::shell`] for the same.
    pub fn shell_watched(&self, calls: &Path) -> String {
        format!("{} export PKCS11SPY={MODULE}; export PKCS11SPY_OUTPUT={};", self.shell(), calls.display())
    }

    /// The module that writes down every call.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn spy() -> anyhow::Result<PathBuf> {
        let libraries = std::fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path().join(SPY)));
        libraries.into_iter().find(|path| path.exists()).context("OpenSC's pkcs11-spy.so is not there")
    }

    /// Holds every file of the tokens as somebody does who is about to write them: whoever uses a token waits, until the guard
    /// is gone.
    ///
    /// # Errors
    /// When Python is not there.
    pub fn hold(&self) -> anyhow::Result<Guard> {
        let script = "import fcntl, os, signal, sys\n\
             held = [open(os.path.join(d, f), 'r+b') for d, _, fs in os.walk(sys.argv[1]) for f in fs]\n\
             [fcntl.lockf(f, fcntl.LOCK_EX) for f in held]\n\
             print('held', flush=True)\n\
             signal.pause()";
        let mut command = Command::new("python3");
        command.arg("-c").arg(script).arg(self.tokens()).stdout(Stdio::piped());
        let mut holder = Guard::spawn(&mut command)?;
        let mut line = String::new();
        BufReader::new(holder.0.stdout.take().context("stdout")?).read_line(&mut line)?;
        ensure!(line == "held\n", "the files of the tokens cannot be held");
        Ok(holder)
    }
}
