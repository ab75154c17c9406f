//! What goes wrong with an index, apart from what goes wrong with its log: an index can be thrown away, a log cannot.

use crate::store::Cause;

/// Why an index did not answer, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It is locked, closed, out of room, or its file cannot be opened: nothing is known against what is in it.
    #[error("the index of the log cannot be used at the moment")]
    Unavailable(#[source] Cause),
    /// It is not what its writer wrote. It is thrown away, and built again from the log.
    #[error("the index of the log is damaged")]
    Damaged(#[source] Cause),
}

/// A row that the index's writer did not write.
#[derive(Debug, thiserror::Error)]
#[error("the table `{0}` of the index is not what is written there; build it anew: `millgate audit index --anew`")]
struct Row(&'static str);

pub(super) fn damaged(table: &'static str) -> IndexError {
    IndexError::Damaged(Row(table).into())
}

impl From<sqlx::Error> for IndexError {
    fn from(error: sqlx::Error) -> Self {
        // https://www.sqlite.org/rescode.html: the primary code is the low byte.
        const PERMISSION: i32 = 3;
        const BUSY: i32 = 5;
        const LOCKED: i32 = 6;
        const NO_MEMORY: i32 = 7;
        const READ_ONLY: i32 = 8;
        const INTERRUPTED: i32 = 9;
        const FULL: i32 = 13;
        const CANNOT_OPEN: i32 = 14;
        let is_passing = match &error {
            sqlx::Error::Database(said) => matches!(
                said.code().and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff),
                Some(PERMISSION | BUSY | LOCKED | NO_MEMORY | READ_ONLY | INTERRUPTED | FULL | CANNOT_OPEN)
            ),
            sqlx::Error::PoolClosed | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => {
                true
            }
            // A row that is missing, or has something else in a column.
            _ => false,
        };
        if is_passing { Self::Unavailable(error.into()) } else { Self::Damaged(error.into()) }
    }
}

impl IndexError {
    /// The message with all its causes, for a log line.
    pub(crate) fn chain(&self) -> String {
        crate::store::chain(self)
    }
}
