//! Checking a store from end to end: a copy, a stopped log, or one that is running.
//!
//! What is checked, in this order along the log: bundles follow one another; each has the digest that was stored with it,
//! so a changed byte is found where it is; every entry has the form of an entry; every organisation's sequence is without
//! gap; every outcome has its decision; the values behind commitments are those that were recorded, or an entry says that
//! they were erased; every checkpoint has the root that the entries have at its size; and at the end
//! the head, the open list and the organisations' states. With the published directory beside it: that tiles, bundles and
//! kept checkpoints are those of the store, and that nothing was published that the store does not have. Beside a log in
//! which nothing is wrong its index is built a second time, and must have the same rows. Of entries that were pruned: that an
//! entry says so, with which nothing is wrong, and that their hashes are there and have the roots that were signed.
//!
//! What is damaged is passed over: the tiles, or the range stored with the next checkpoint, let the check go on behind it.
//!
//! What this does **not** do: it verifies no signature and repairs nothing. Signatures are `millgate-verify`'s business.
//! It reads files and hashes on the thread it is called on, so it is for a command and not for a server.

mod facts;
mod findings;
mod pruned;
mod published;
mod scan;
mod values;

pub use findings::Finding;

use crate::error::ReadError;
use crate::reader::{Reader, StoreAt};
use findings::Findings;
use published::Published;
use scan::Scan;
use std::path::{Path, PathBuf};

/// What a check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// More findings than are listed.
    pub findings_left_out: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Entries that are gone, as an entry says, and of which only the hashes were checked.
    pub pruned: u64,
    /// Checkpoints in the store whose root was compared.
    pub checkpoints: u64,
}

/// What is checked together with a store.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// The published directory.
    pub published: Option<PathBuf>,
    /// The directory with the index; of a store in a directory it is that one.
    pub index: Option<PathBuf>,
}

impl From<Option<&Path>> for Beside {
    fn from(published: Option<&Path>) -> Self {
        Self { published: published.map(Path::to_owned), index: None }
    }
}

/// Checks the log at `store`, and what is beside it.
///
/// `progress` hears how many entries of how many are done.
///
/// # Errors
/// When there is no log to be checked. Whatever is wrong with a log is in the report.
pub async fn check(
    store: impl Into<StoreAt>,
    beside: impl Into<Beside>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, ReadError> {
    let (store, Beside { published, index }) = (store.into(), beside.into());
    let index = index.or_else(|| match &store {
        StoreAt::Directory(dir) => Some(dir.clone()),
        StoreAt::Postgres { .. } => None,
    });
    let reader = Reader::open_existing(store).await?;
    let mut findings = Findings::default();
    let standing = reader.standing().await?;
    let size = standing.head.size;
    let published = published.map(|dir| Published::open(&dir, size, &mut findings));
    let mut scan = Scan::new(&reader, published, size, &mut findings).await?;
    scan.pass_pruned().await?;
    while scan.index() < size {
        scan.next_bundles().await?;
        progress(scan.index(), size);
    }
    scan.compare_standing(&standing).await?;
    let pruned = scan.pruned;
    let (entries, checkpoints) = scan.finish().await?;
    // What the log itself is accused of comes first; an index of a damaged log is nothing to look at.
    if let Some(dir) = index.filter(|_| findings.is_empty()) {
        for (entries, what) in crate::index::check(&dir, &reader, progress).await? {
            findings.add(entries, what);
        }
    }
    reader.close().await;
    let (findings, findings_left_out) = findings.into_parts();
    Ok(Report { findings, findings_left_out, entries, pruned, checkpoints })
}
