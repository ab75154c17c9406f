//! What can go wrong, by who must act.

use crate::index::IndexError;
use crate::postgres::PostgresError;
use crate::prune::Pruned;
use crate::store::StoreError;
use std::path::PathBuf;

/// Why a log could not be opened. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the log in `{}` is in use by another process; stop that one first, or give this one a log of its own", dir.display())]
    Locked { dir: PathBuf },
    #[error("cannot use `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "`{}` says that `millgate audit incarnate` was interrupted: the old log may not go on and the new one is not in its place; \
         give the command again, with the same `--origin`", .0.display()
    )]
    Unfinished(PathBuf),
    #[error("there is a log `{0}` already, and it does not begin with what it is to cite now; choose another origin")]
    Another(String),
    #[error("this directory holds the log `{found}`, not `{expected}`; a log keeps its origin for life")]
    Origin { found: String, expected: String },
    #[error("`{0}` cannot be the origin of a log: use 1 to 128 printable characters without spaces and `+`")]
    BadOrigin(String),
    #[error("the log has format {found}; this program knows format {known}: use a newer one")]
    Format { found: i64, known: i64 },
    #[error(
        "the database would not flush every commit (journal_mode `{journal}`, synchronous {synchronous}); \
         put it on a local file system"
    )]
    NotDurable { journal: String, synchronous: i64 },
    #[error("entries {first_index} to {last_index} of the log are damaged: {what}; run `millgate audit fsck`")]
    Damaged { what: &'static str, first_index: u64, last_index: u64 },
    #[error("what the first entry is to cite does not fit into one; shorten the reason, or name fewer checkpoints")]
    TooMuchToCite,
    #[error("the log could not write its opening entries")]
    NotWritten(#[source] AppendError),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an entry is not durable. The caller of the broker gets 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue was full, the entry was not durable in time, or somebody else held the database.
    #[error("the audit log is overloaded")]
    Overloaded,
    #[error("the volume of the audit log is full")]
    Full,
    /// The writer has stopped for good; the process must end and read storage anew.
    #[error("the audit log failed and has stopped")]
    Poisoned,
    #[error("the audit log is closed")]
    Closed,
    /// What goes with the entry is larger than [`crate::CONTENT_BYTES_MAX`].
    #[error("the parts of an entry are too large for the audit log")]
    TooLarge,
    /// An outcome for a decision that has one, or never was: a fault of ours.
    #[error("decision {0} of the audit log is not open")]
    NotOpen(u64),
}

/// Why something could not be read from the log.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Of whoever builds or checks an index. Questions are answered without it.
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("entries {first_index} to {last_index} are damaged; run `millgate audit fsck`")]
    Damaged { first_index: u64, last_index: u64 },
    #[error("cannot read `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` {what}", path.display())]
    Published { path: PathBuf, what: String },
    /// What is asked for is not kept any longer, as an entry says.
    #[error("entry {index} is not kept any longer: {pruned}")]
    Pruned { index: u64, pruned: Pruned },
    /// Without the index it would take a walk through the whole log.
    #[error("the index of the log is not there yet: {indexed} of {size} entries are indexed; try again later")]
    NotIndexed { indexed: u64, size: u64 },
    #[error("the index was lost: `{}` was deleted, moved or replaced", path.display())]
    IndexLost { path: PathBuf },
    #[error("the index in `{}` is being written by another process, most likely the broker that keeps it", dir.display())]
    IndexInUse { dir: PathBuf },
    #[error("the log is closed")]
    Closed,
}
