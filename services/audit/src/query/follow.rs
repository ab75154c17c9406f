//! Waiting for new entries.

use super::{LIMIT_MAX, Page, Query};
use crate::append::Log;
use crate::error::ReadError;
use crate::shared::Health;

/// Entries as they become durable, in order.
#[derive(Debug)]
pub struct Follow {
    log: Log,
    query: Query,
    /// Entries that have been looked at.
    seen: u64,
}

impl Log {
    /// Goes through the entries that match from `query.after` on, those to come included.
    pub fn follow(&self, query: Query) -> Follow {
        let seen = query.after.map_or(0, |after| after.saturating_add(1));
        let query = Query { newest_first: false, before: None, limit: LIMIT_MAX, ..query };
        Follow { log: self.clone(), query, seen }
    }

    /// Returns when the log has more than `size` entries, or has ended.
    pub async fn grown_beyond(&self, size: u64) {
        let mut sizes = self.inner.shared.size.subscribe();
        tokio::select! {
            _ = sizes.wait_for(|now| *now > size) => {}
            () = self.ended() => {}
        }
    }
}

impl Follow {
    /// The next entries that match: waits until there are some.
    ///
    /// # Errors
    /// When the store cannot be read, and [`ReadError::Closed`] when the log has ended.
    pub async fn next(&mut self) -> Result<Page, ReadError> {
        loop {
            let size = self.log.size();
            if size > self.seen {
                self.query.after = self.seen.checked_sub(1);
                let page = self.log.query(&self.query).await.map_err(|error| self.unless_ended(error))?;
                self.seen = page.next.map_or(page.size, |last| last + 1);
                if !page.entries.is_empty() {
                    return Ok(page);
                }
                continue;
            }
            if self.has_ended() {
                return Err(ReadError::Closed);
            }
            self.log.grown_beyond(self.seen).await;
        }
    }

    fn has_ended(&self) -> bool {
        !matches!(*self.log.inner.shared.health.borrow(), Health::Serving | Health::Sealed)
    }

    /// A log that ends closes its connections under the reader's feet.
    fn unless_ended(&self, error: ReadError) -> ReadError {
        if self.has_ended() { ReadError::Closed } else { error }
    }
}
