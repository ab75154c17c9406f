//! Folders for tests: the example plant, and small ones written on the spot.

use crate::Problem;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A registry of two organisations.
pub(crate) const GOOD: &str = r#"
[organisation.norden]
kind = "owner"
country = "DE"
[organisation.acme]
kind = "supplier"
country = "AT"
[issuer.acme-login]
organisation = "acme"
url = "https://login.acme.example/realms/1"
audiences = ["millgate"]
algorithms = ["ES256"]
[agreement.maintenance]
provider = "norden"
consumer = "acme"
purposes = ["quality"]
products = ["telemetry"]
not_before = 2026-01-01T00:00:00+01:00
not_after = "2027-01-01T00:00:00Z"
resolution_min = "1m"
window_max = "7d"
rows_max = 1000
"#;

pub(crate) fn munich(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/plants/munich").join(folder)
}

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

/// The messages, one per line, with names relative to `dir`.
pub(crate) fn messages(problems: &[Problem], dir: &Path) -> String {
    let prefix = format!("{}/", dir.display());
    problems.iter().map(|p| format!("{p}\n").replace(&prefix, "")).collect()
}
