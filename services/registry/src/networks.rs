//! Where networks are: the country of a caller's address, from a list that the plant writes and a database of a vendor.
//!
//! The list comes first, by its longest prefix; what it does not have is looked up in the database. What neither knows is
//! in no country. Nothing is asked of anybody: both are files, read whole, so that a file that is replaced changes no answer.

mod database;
mod list;

use crate::problem::Problem;
use database::Database;
use list::List;
use model::{Country, Digest};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A database of cities is 120 MB; a file beyond this is none of countries.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The files, as far as the plant has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkFiles {
    /// CSV: a network and its country in each row.
    pub list: Option<PathBuf>,
    /// A MaxMind DB file (`.mmdb`).
    pub database: Option<PathBuf>,
}

impl NetworkFiles {
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        self.list.iter().chain(&self.database).map(PathBuf::as_path)
    }
}

/// What the files said when they were read. Without files every address is in no country.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    list: Option<(Digest, Arc<List>)>,
    database: Option<(Digest, Arc<Database>)>,
}

impl Networks {
    /// Reads both files. What is as it is in `before` is not checked again.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(files: &NetworkFiles, before: &Self) -> Result<Self, Vec<Problem>> {
        let list = read(files.list.as_deref(), before.list.as_ref(), List::read);
        let database = read(files.database.as_deref(), before.database.as_ref(), Database::read);
        match (list, database) {
            (Ok(list), Ok(database)) => Ok(Self { list, database }),
            (list, database) => Err(list.err().into_iter().chain(database.err()).flatten().collect()),
        }
    }

    /// The country of the network that `address` is in. IPv4 in IPv6 (`::ffff:192.0.2.1`) is IPv4.
    pub fn country_of(&self, address: IpAddr) -> Option<Country> {
        let address = address.to_canonical();
        let listed = self.list.as_ref().and_then(|(_, list)| list.country_of(address));
        let found = listed.or_else(|| self.database.as_ref()?.1.country_of(address));
        found.filter(|country| *country != Country::UNKNOWN)
    }

    /// Of the contents of both files; `None` where there are none.
    pub fn digest(&self) -> Option<Digest> {
        let digests = [self.list.as_ref().map(|(digest, _)| digest), self.database.as_ref().map(|(digest, _)| digest)];
        let is_any = digests.iter().any(Option::is_some);
        // A file that is not there counts as one without a digest, so that the two are told apart.
        let bytes: Vec<u8> = digests.into_iter().flat_map(|digest| digest.map_or([0; 32], |digest| digest.0)).collect();
        is_any.then(|| Digest::of(&bytes))
    }
}

type Kept<T> = Option<(Digest, Arc<T>)>;

fn read<T>(
    path: Option<&Path>,
    before: Option<&(Digest, Arc<T>)>,
    make: impl FnOnce(&Path, Vec<u8>) -> Result<T, Vec<Problem>>,
) -> Result<Kept<T>, Vec<Problem>> {
    let Some(path) = path else { return Ok(None) };
    let bytes = bytes_of(path).map_err(|what| vec![problem(path, None, what, None)])?;
    let digest = Digest::of(&bytes);
    if let Some(same) = before.filter(|(earlier, _)| *earlier == digest) {
        return Ok(Some(same.clone()));
    }
    Ok(Some((digest, Arc::new(make(path, bytes)?))))
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("is {size} bytes long, more than the {FILE_BYTES_MAX} that are read"));
    }
    fs::read(path).map_err(|e| format!("cannot be read: {e}"))
}

fn problem(file: &Path, line: Option<usize>, what: impl Into<String>, help: Option<&str>) -> Problem {
    Problem { file: file.to_owned(), line, column: None, what: what.into(), help: help.map(str::to_owned) }
}

#[cfg(test)]
mod tests;
