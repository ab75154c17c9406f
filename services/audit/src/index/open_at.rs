//! Which exchanges were open at a moment.

use super::block::SPAN_MS;
use super::error::{IndexError, damaged};
use super::facts::{Counted, Facts};
use super::{Index, database};
use model::Timestamp;
use sqlx::Row as _;
use std::collections::BTreeMap;

/// Longest exchange that is looked for: a century.
const SCALE_MAX: u32 = 42;

/// Decisions that may have been open at `at`, of an index and of what is not indexed yet, one entry after the other.
#[derive(Debug)]
pub(crate) struct OpenAt {
    at: Timestamp,
    /// Decisions without an outcome so far, with their time.
    open: BTreeMap<u64, Timestamp>,
    /// Decisions that were open then.
    found: Vec<u64>,
}

impl OpenAt {
    /// With nothing indexed.
    pub(crate) fn new(at: Timestamp) -> Self {
        Self { at, open: BTreeMap::new(), found: Vec::new() }
    }

    /// What the index knows, and of how many entries.
    pub(crate) async fn indexed(index: &Index, at: Timestamp) -> Result<(Self, u64), IndexError> {
        let mut connection = index.readers.begin().await?;
        let size = database::standing(&mut connection).await?.size;
        let open = database::open_rows(&mut connection).await?;
        let mut this =
            Self { open: open.into_iter().map(|(index, open)| (index, open.time)).collect(), ..Self::new(at) };
        let sql = "SELECT decision FROM span WHERE scale = ? AND ended > ? AND ended <= ? AND started <= ?";
        for scale in SPAN_MS.ilog2() + 1..=SCALE_MAX {
            let latest = at.millis().saturating_add(1_i64 << scale);
            let query = sqlx::query(sql).bind(scale).bind(at.millis()).bind(latest).bind(at.millis());
            for row in query.fetch_all(&mut *connection).await? {
                let decision: i64 = row.try_get(0)?;
                this.found.push(u64::try_from(decision).map_err(|_| damaged("span"))?);
            }
        }
        Ok((this, size))
    }

    /// The next entry of the log.
    pub(crate) fn see(&mut self, index: u64, bytes: &[u8]) {
        let Some(facts) = Facts::of(bytes) else { return };
        match facts.counted {
            Counted::Decided { opens: true, .. } => {
                self.open.insert(index, facts.time);
            }
            Counted::Ended { of, .. } => {
                let Some(started) = self.open.remove(&of) else { return };
                let long = facts.time.millis().saturating_sub(started.millis()) >= SPAN_MS;
                if long && started <= self.at && facts.time > self.at {
                    self.found.push(of);
                }
            }
            _ => {}
        }
    }

    /// Ascending.
    pub(crate) fn finish(mut self) -> Vec<u64> {
        self.found.extend(self.open.iter().filter(|(_, started)| **started <= self.at).map(|(index, _)| *index));
        self.found.sort_unstable();
        self.found.dedup();
        self.found
    }
}
