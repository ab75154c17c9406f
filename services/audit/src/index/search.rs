//! Which entries may be what a question is for.

use super::error::{IndexError, damaged};
use super::facts::{Facet, request_mark};
use super::positions::{BLOCK, Positions};
use super::{Index, integer, place};
use model::Timestamp;
use sqlx::Row as _;
use std::collections::HashMap;

/// Blocks that are looked at in one step: some hundred kilobytes of lists.
const STEP: u64 = 512;

/// A stretch of indexed entries to be looked for in, step by step.
#[derive(Debug)]
pub(crate) struct Search {
    index: Index,
    /// Ids of terms that an entry must all have.
    terms: Vec<i64>,
    mark: Option<u32>,
    /// What is left: first and last, both inclusive. `None`: nothing.
    left: Option<(u64, u64)>,
    newest_first: bool,
}

impl Index {
    /// `None`: the terms say nothing, so that looking through the log is as good. `indices` are below [`Index::size`].
    pub(crate) async fn search(
        &self,
        terms: &[(Facet, &str)],
        request: Option<&str>,
        indices: (u64, u64),
        newest_first: bool,
    ) -> Result<Option<Search>, IndexError> {
        let telling: Vec<_> = terms.iter().filter(|(facet, value)| !facet.is_common(value)).collect();
        if telling.is_empty() && request.is_none() {
            return Ok(None);
        }
        let mut search = Search {
            index: self.clone(),
            terms: Vec::new(),
            mark: request.map(request_mark),
            left: Some(indices),
            newest_first,
        };
        for (facet, value) in telling {
            match self.term(*facet, value).await? {
                Some(id) => search.terms.push(id),
                // No entry has it.
                None => search.left = None,
            }
        }
        Ok(Some(search))
    }

    pub(super) async fn term(&self, facet: Facet, value: &str) -> Result<Option<i64>, IndexError> {
        let query = sqlx::query("SELECT id FROM term WHERE facet = ? AND value = ?")
            .bind(facet.number())
            .bind(value.to_owned());
        query.fetch_optional(&self.readers).await?.map(|row| Ok(row.try_get(0)?)).transpose()
    }

    /// First and last indexed entry that can have a time in there; `None` where none has.
    pub(crate) async fn of_time(&self, (from, to): (Timestamp, Timestamp)) -> Result<Option<(u64, u64)>, IndexError> {
        let hour = |time: Timestamp| time.millis().div_euclid(super::facts::HOUR_MS);
        let query = sqlx::query("SELECT min(low), max(high) FROM hour WHERE hour BETWEEN ? AND ?");
        let row = query.bind(hour(from)).bind(hour(to)).fetch_one(&self.readers).await?;
        let bounds: (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        let unsigned = |n: i64| u64::try_from(n).map_err(|_| damaged("hour"));
        bounds.0.zip(bounds.1).map(|(low, high)| Ok((unsigned(low)?, unsigned(high)?))).transpose()
    }
}

impl Search {
    /// More entries to look at, in the direction of the search; `None` at the end. Empty where a step had none.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u64>>, IndexError> {
        let Some((first, last)) = self.left else { return Ok(None) };
        let ((low, _), (high, _)) = (place(first), place(last));
        let blocks = if self.newest_first {
            (high.saturating_sub(STEP - 1).max(low), high)
        } else {
            (low, high.min(low + STEP - 1))
        };
        let part = (first.max(blocks.0 * BLOCK), last.min(blocks.1 * BLOCK + BLOCK - 1));
        self.left = if self.newest_first {
            part.0.checked_sub(1).filter(|end| *end >= first).map(|end| (first, end))
        } else {
            Some((part.1 + 1, last)).filter(|(begin, end)| begin <= end)
        };
        let mut found: Vec<u64> = Vec::new();
        for (block, positions) in self.matching(blocks).await? {
            found.extend(positions.iter().map(|position| block * BLOCK + u64::from(position)));
        }
        found.retain(|index| (part.0..=part.1).contains(index));
        found.sort_unstable();
        if self.newest_first {
            found.reverse();
        }
        Ok(Some(found))
    }

    async fn matching(&self, blocks: (u64, u64)) -> Result<HashMap<u64, Positions>, IndexError> {
        let mut matching: Option<HashMap<u64, Positions>> = None;
        for term in &self.terms {
            matching = Some(both(matching, self.postings(*term, blocks).await?));
        }
        if let Some(mark) = self.mark {
            matching = Some(both(matching, self.marked(mark, blocks).await?));
        }
        Ok(matching.unwrap_or_default())
    }

    async fn postings(&self, term: i64, (low, high): (u64, u64)) -> Result<HashMap<u64, Positions>, IndexError> {
        let query = sqlx::query("SELECT block, positions FROM posting WHERE term = ? AND block BETWEEN ? AND ?");
        let rows = query.bind(term).bind(integer(low)?).bind(integer(high)?).fetch_all(&self.index.readers).await?;
        let posting = |row: &sqlx::sqlite::SqliteRow| {
            let block = u64::try_from(row.try_get::<i64, _>(0)?).map_err(|_| damaged("posting"))?;
            let positions = Positions::from_bytes(row.try_get(1)?).ok_or_else(|| damaged("posting"))?;
            Ok((block, positions))
        };
        rows.iter().map(posting).collect()
    }

    async fn marked(&self, mark: u32, (low, high): (u64, u64)) -> Result<HashMap<u64, Positions>, IndexError> {
        let query = sqlx::query("SELECT block, marks FROM request WHERE block BETWEEN ? AND ?");
        let rows = query.bind(integer(low)?).bind(integer(high)?).fetch_all(&self.index.readers).await?;
        let mark = mark.to_be_bytes();
        let mut found = HashMap::new();
        for row in &rows {
            let block = u64::try_from(row.try_get::<i64, _>(0)?).map_err(|_| damaged("request"))?;
            let marks: &[u8] = row.try_get(1)?;
            let mut positions = Positions::default();
            for (position, _) in (0_u16..).zip(marks.chunks(4)).filter(|(_, bytes)| *bytes == mark) {
                positions.insert(position);
            }
            if !positions.is_empty() {
                found.insert(block, positions);
            }
        }
        Ok(found)
    }
}

/// What is in both; everything is in `None`.
fn both(a: Option<HashMap<u64, Positions>>, mut b: HashMap<u64, Positions>) -> HashMap<u64, Positions> {
    if let Some(a) = a {
        b.retain(|block, positions| {
            let Some(other) = a.get(block) else { return false };
            positions.keep(other);
            !positions.is_empty()
        });
    }
    b
}
