//! How far it got: a small file, replaced as a whole, for one shipper at a time.

use super::{bail, ensure};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The entry that was handed over last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    pub(super) index: u64,
    pub(super) leaf: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// The filters, as they are put to the broker.
    question: String,
    last: Position,
}

const VERSION: u32 = 1;

#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    question: String,
    /// Held for as long as we run; the operating system lets go of it however we end.
    _lock: File,
}

impl StateFile {
    pub(super) fn open(path: &Path, question: &str) -> anyhow::Result<(Self, Option<Position>)> {
        let name = path.display();
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .with_context(|| format!("`{name}.lock` cannot be made"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another `millgate audit ship` uses `{name}`"),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("`{name}.lock` cannot be locked"));
            }
        }
        let file = Self { path: path.to_owned(), question: question.to_owned(), _lock: lock };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((file, None)),
            Err(error) => return Err(error).with_context(|| format!("`{name}` cannot be read")),
        };
        let content: Content = serde_json::from_str(&text).with_context(|| {
            format!("`{name}` is not a state file of this program; if it is damaged, take it away and say with `--after` where to begin")
        })?;
        ensure!(content.version == VERSION, "`{name}` has version {}; this program writes {VERSION}", content.version);
        ensure!(
            content.question == question,
            "`{name}` is of the filters `{}`, not of `{question}`: use another state file, or entries would be left out",
            content.question
        );
        Ok((file, Some(content.last)))
    }

    pub(super) fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// Durable when it returns.
    pub(super) fn save(&self, position: &Position) -> anyhow::Result<()> {
        self.replace(position).with_context(|| format!("`{}` cannot be written", self.name()))
    }

    fn replace(&self, position: &Position) -> anyhow::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let content = Content { version: VERSION, question: self.question.clone(), last: position.clone() };
        let mut file = NamedTempFile::new_in(folder)?;
        writeln!(file, "{}", serde_json::to_string(&content)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(File::open(folder)?.sync_all()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_there_again_and_of_the_same_question_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("siem.state");
        let (file, none) = StateFile::open(&path, "organisation=acme").unwrap();
        assert_eq!(none, None);
        let position = Position { index: 7, leaf: "aa".into(), origin: Some("o".into()) };
        file.save(&position).unwrap();
        let second = StateFile::open(&path, "organisation=acme").unwrap_err();
        assert!(second.to_string().contains("another `millgate audit ship`"), "{second}");
        drop(file);
        let (file, again) = StateFile::open(&path, "organisation=acme").unwrap();
        assert_eq!(again, Some(position));
        drop(file);
        let other = StateFile::open(&path, "").unwrap_err();
        assert!(other.to_string().contains("entries would be left out"), "{other}");
        std::fs::write(&path, "{\"version\":1").unwrap();
        assert!(StateFile::open(&path, "").unwrap_err().to_string().contains("not a state file"));
    }
}
