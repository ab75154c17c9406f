//! The demo's directory: configuration, the example plant with this run's addresses in it, tokens, log.

use anyhow::Context as _;
use include_dir::{Dir, DirEntry, include_dir};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;

/// Schema, base policies and the example plants, as they stand in `policies/`.
static POLICIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../policies");

/// Addresses that stand in the example plant's files for "wherever the demo runs them".
const PLANT_PLACEHOLDERS: [&str; 2] = ["http://127.0.0.1:9310", "http://127.0.0.1:9311"];
const ISSUERS_PLACEHOLDER: &str = "http://127.0.0.1:9320";

#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    /// Removed with the demo, unless the user named a directory.
    _temporary: Option<tempfile::TempDir>,
}

impl Home {
    pub fn open(data: Option<PathBuf>) -> anyhow::Result<Self> {
        let (path, temporary) = match data {
            Some(path) => {
                make_directory(&path)?;
                // Absolute, so that printed commands work from anywhere.
                let path = std::path::absolute(&path).with_context(|| format!("`{}` is no path", path.display()))?;
                (path, None)
            }
            None => {
                let directory = tempfile::Builder::new().prefix("millgate-demo-").tempdir();
                let directory = directory.context("a temporary directory could not be made; name one with `--data`")?;
                (directory.path().to_owned(), Some(directory))
            }
        };
        Ok(Self { path, _temporary: temporary })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config(&self) -> PathBuf {
        self.path.join("millgate.toml")
    }

    pub fn token(&self, name: &str) -> PathBuf {
        self.path.join("tokens").join(format!("{name}.jwt"))
    }

    /// A socket for one of the made-up systems: where the last start with this directory had it, because the plant's
    /// files name it; any free port on the first.
    pub async fn bind(&self, name: &str) -> anyhow::Result<TcpListener> {
        let note = self.path.join(format!("{name}.port"));
        let port = match std::fs::read_to_string(&note) {
            Ok(text) => text.trim().parse().with_context(|| format!("`{}` does not hold a port", note.display()))?,
            Err(_) => 0,
        };
        let socket = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await.with_context(|| {
            format!("port {port} of an earlier start is taken; stop what uses it, or choose another `--data`")
        })?;
        let port = socket.local_addr()?.port();
        std::fs::write(&note, format!("{port}\n"))
            .with_context(|| format!("`{}` cannot be written", note.display()))?;
        Ok(socket)
    }

    /// Writes what is not there yet; what a person has changed stays.
    pub fn write(&self, issuers: SocketAddr, plant: SocketAddr) -> anyhow::Result<()> {
        let addresses = |text: &str| {
            let text = text.replace(ISSUERS_PLACEHOLDER, &format!("http://{issuers}"));
            PLANT_PLACEHOLDERS.iter().fold(text, |t, p| t.replace(p, &format!("http://{plant}")))
        };
        self.unpack(&POLICIES, &addresses)?;
        self.keep("millgate.toml", CONFIG.as_bytes())
    }

    fn unpack(&self, directory: &Dir<'_>, addresses: &dyn Fn(&str) -> String) -> anyhow::Result<()> {
        for entry in directory.entries() {
            match entry {
                DirEntry::Dir(inner) => self.unpack(inner, addresses)?,
                DirEntry::File(file) => {
                    let name = format!("policies/{}", file.path().display());
                    match file.contents_utf8() {
                        Some(text) => self.keep(&name, addresses(text).as_bytes())?,
                        None => self.keep(&name, file.contents())?,
                    }
                }
            }
        }
        Ok(())
    }

    fn keep(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let path = self.path.join(name);
        if path.exists() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            make_directory(parent)?;
        }
        std::fs::write(&path, content).with_context(|| format!("`{}` cannot be written", path.display()))
    }

    /// A file that only its owner can read.
    pub fn write_secret(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            make_directory(parent)?;
        }
        let cannot = || format!("`{}` cannot be written", path.display());
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).with_context(cannot)?;
        file.write_all(content.as_bytes()).with_context(cannot)
    }
}

fn make_directory(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("the directory `{}` cannot be made", path.display()))
}

const CONFIG: &str = r#"# The demo's broker. Port 0: whichever is free; the tour says which.
[listen]
data = "127.0.0.1:0"
api = "127.0.0.1:0"
operator = "127.0.0.1:0"

[folders]
catalog = "policies/plants/munich/catalog"
registry = "policies/plants/munich/registry"
policies = "policies/base"
schema = "policies/schema/plant.cedarschema"

[audit]
directory = "audit"
origin = "munich.example/millgate-demo"

[telemetry]
log = "pretty"
level = "warn"
"#;
