//! A witness's key, in a file of its own.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use tlog::CosigningKey;

/// Why there is no key to cosign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot use the key file `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` does not hold a witness's key", path.display())]
    Form {
        path: PathBuf,
        #[source]
        source: tlog::note::KeyError,
    },
    #[error("the key in `{}` belongs to `{found}`, not to `{expected}`", path.display())]
    Name { path: PathBuf, found: String, expected: String },
}

/// The key of the witness `name` in the file at `path`; a new one, readable by the owner alone, when there is no such file.
///
/// # Errors
/// When the file cannot be used, or holds something else or another witness's key.
pub fn load_or_create(path: &Path, name: &str) -> Result<CosigningKey, KeyFileError> {
    let fault = |source| KeyFileError::File { path: path.into(), source };
    let form = |source| KeyFileError::Form { path: path.into(), source };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let key = CosigningKey::parse(text.trim_end()).map_err(form)?;
            let found = key.verifier().name();
            if found == name {
                return Ok(key);
            }
            Err(KeyFileError::Name { path: path.into(), found: found.to_owned(), expected: name.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = [0; 32];
            aws_lc_rs::rand::fill(&mut seed).map_err(|_| fault(io::Error::other("no randomness")))?;
            let key = CosigningKey::generate(name, seed).map_err(form)?;
            create(path, &format!("{}\n", key.to_text())).map_err(fault)?;
            Ok(key)
        }
        Err(error) => Err(fault(error)),
    }
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness.key");
        let key = load_or_create(&path, "witness.example/w1").unwrap();
        assert_eq!(load_or_create(&path, "witness.example/w1").unwrap().verifier(), key.verifier());
        assert!(matches!(load_or_create(&path, "another"), Err(KeyFileError::Name { .. })));
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&path, "nonsense").unwrap();
        assert!(matches!(load_or_create(&path, "witness.example/w1"), Err(KeyFileError::Form { .. })));
    }
}
