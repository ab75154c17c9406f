//! Issuers' keys on disk, for a restart while an issuer cannot be reached.
//!
//! One file per issuer, named after the digest of its URL. It counts only when the issuer has been asked in vain, is not
//! older than the issuer's `outage_max`, and says the same URL, place of the keys and CA file as the registry does. It holds
//! public keys and no secret, but whoever can write it and keep the issuer away from us decides who its members are.

use crate::fetch::Endpoint;
use crate::jwk::{KeySet, KeySetError};
use model::party::KeyLocation;
use model::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

/// As for a key set on its way.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// A file from the future was written before the clock was set back, and nobody knows how old it is. So much may clocks
/// differ that are kept by NTP.
const CLOCK_ERROR_MAX_MS: i64 = 60_000;

/// An unchanged set is written again after this part of the time for which it may count.
const REWRITE_PART: i64 = 24;

/// Makes the folder, for its owner alone, and tries whether it can be written.
///
/// # Errors
/// It cannot, or others may write to it.
pub fn prepare_key_cache(folder: &Path) -> Result<(), KeyCacheError> {
    let unusable = |error: io::Error| KeyCacheError::Folder { folder: folder.to_owned(), error };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
    if fs::metadata(folder).map_err(unusable)?.mode() & 0o002 != 0 {
        return Err(KeyCacheError::Exposed { folder: folder.to_owned() });
    }
    let trial = folder.join(".trial");
    write_new(&trial, b"").and_then(|()| fs::remove_file(&trial)).map_err(unusable)
}

/// Why keys cannot be kept in a folder.
#[derive(Debug, thiserror::Error)]
pub enum KeyCacheError {
    #[error("the folder `{}` for issuers' keys cannot be used: {error}", .folder.display())]
    Folder { folder: PathBuf, error: io::Error },
    #[error("anybody may write to `{}`, and so decide who an issuer's members are; take that right away", .folder.display())]
    Exposed { folder: PathBuf },
}

#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    issuer: String,
    place: String,
    /// What the file holds, once this process has written it.
    written: Mutex<Option<(KeySet, Timestamp)>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    issuer: String,
    /// Where the keys came from, and which CA vouched for the way.
    place: String,
    fetched_at: String,
    keys: serde_json::Value,
}

/// Why a file does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoredError {
    #[error("`{}` cannot be read or written: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("`{}` is no plain file that only its owner and group may write", .path.display())]
    Exposed { path: PathBuf },
    #[error("`{}` is damaged: {why}", .path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("`{}` holds keys of `{issuer}` from {place}, not what the registry names now", .path.display())]
    Other { path: PathBuf, issuer: String, place: String },
    #[error("`{}` is of {at}, too long ago", .path.display())]
    TooOld { path: PathBuf, at: Timestamp },
    #[error("`{}` is of {at}, which is yet to come: the clock was set back", .path.display())]
    Future { path: PathBuf, at: Timestamp },
}

// === impl KeyFile ===

impl KeyFile {
    pub(crate) fn new(folder: &Path, endpoint: &Endpoint) -> Self {
        let path = folder.join(format!("{}.json", Digest::of(endpoint.issuer.as_bytes()).to_hex()));
        Self { path, issuer: endpoint.issuer.clone(), place: place(endpoint), written: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is worth writing: a flush for each refresh of each issuer would be felt by the audit log beside it.
    pub(crate) fn is_outdated_by(&self, set: &KeySet, at: Timestamp, outage_max_ms: i64) -> bool {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.as_ref().is_none_or(|(old, since)| {
            !old.is_same(set)
                || at.millis().saturating_sub(since.millis()).saturating_abs() >= outage_max_ms / REWRITE_PART
        })
    }

    /// Replaces the file in one step, flushed. Blocks.
    pub(crate) fn save(&self, set: &KeySet, at: Timestamp) -> Result<(), StoredError> {
        let content = set.to_json().and_then(|keys| {
            let (issuer, place) = (self.issuer.clone(), self.place.clone());
            serde_json::to_vec_pretty(&Content { version: 1, issuer, place, fetched_at: at.to_rfc3339(), keys })
        });
        let content = content.map_err(|error| self.damaged(error.to_string()))?;
        let draft = self.path.with_extension(format!("{}.draft", std::process::id()));
        let written = write_new(&draft, &content).and_then(|()| fs::rename(&draft, &self.path));
        written.map_err(|error| self.io(error))?;
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some((set.clone(), at));
        Ok(())
    }

    /// The keys and when the issuer gave them out; nothing if there is no file. Blocks.
    pub(crate) fn load(&self, now: Timestamp, outage_max_ms: i64) -> Result<Option<(KeySet, Timestamp)>, StoredError> {
        let Some(bytes) = self.read()? else { return Ok(None) };
        let content: Content = serde_json::from_slice(&bytes).map_err(|error| self.damaged(error.to_string()))?;
        let path = || self.path.clone();
        if content.version != 1 {
            return Err(self.damaged(format!("its version is {}, not 1", content.version)));
        }
        if content.issuer != self.issuer || content.place != self.place {
            return Err(StoredError::Other { path: path(), issuer: content.issuer, place: content.place });
        }
        let at = Timestamp::parse_rfc3339(&content.fetched_at);
        let at = at.ok_or_else(|| self.damaged("`fetched_at` is no time".to_owned()))?;
        let age_ms = now.millis().saturating_sub(at.millis());
        if age_ms < -CLOCK_ERROR_MAX_MS {
            return Err(StoredError::Future { path: path(), at });
        }
        if age_ms >= outage_max_ms {
            return Err(StoredError::TooOld { path: path(), at });
        }
        let set = KeySet::parse(content.keys.to_string().as_bytes());
        let set = set.map_err(|error: KeySetError| self.damaged(error.to_string()))?;
        Ok(Some((set, at)))
    }

    fn read(&self) -> Result<Option<Vec<u8>>, StoredError> {
        let metadata = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(|error| self.io(error))?,
        };
        if !metadata.is_file() || metadata.mode() & 0o002 != 0 {
            return Err(StoredError::Exposed { path: self.path.clone() });
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(&self.path).map_err(|error| self.io(error))?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| self.io(error))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(self.damaged(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        Ok(Some(bytes))
    }

    fn io(&self, error: io::Error) -> StoredError {
        StoredError::Io { path: self.path.clone(), error }
    }

    fn damaged(&self, why: String) -> StoredError {
        StoredError::Damaged { path: self.path.clone(), why }
    }
}

/// Through no link that somebody laid there.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_data()
}

fn place(endpoint: &Endpoint) -> String {
    let keys = match &endpoint.keys {
        KeyLocation::Discovery { at: None } => String::from("discovery"),
        KeyLocation::Discovery { at: Some(url) } => format!("discovery at {url}"),
        KeyLocation::Url(url) => format!("url {url}"),
        KeyLocation::File(path) => format!("file {}", path.display()),
    };
    match &endpoint.ca_file {
        Some(path) => format!("{keys}, CA file {}", path.display()),
        None => keys,
    }
}
