//! Summing up: the index's cells, and whatever is in none of them yet.

use crate::append::Log;
use crate::error::ReadError;
use crate::index::{By, Counting, Dimension, Index, Summary, Table, TooMany};
use crate::published::Publication;
use std::path::Path;
use tlog::tile::WIDTH;

/// Entries that a summary looks through itself: about a second of work.
pub(super) const UNINDEXED_MAX: u64 = if cfg!(test) { 2_000 } else { 200_000 };

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    #[error("a summary counts whole days: begin and end it at midnight UTC, as in 2026-11-22T00:00:00Z")]
    NotWholeDays,
    #[error("too many groups for one summary: ask for a shorter time, for fewer members, or for one organisation")]
    TooMany,
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<TooMany> for SummaryError {
    fn from(TooMany: TooMany) -> Self {
        Self::TooMany
    }
}

impl Log {
    /// Counts decisions and what came of them. Principals come and go by reference or, where the directory has them, by name.
    ///
    /// # Errors
    /// When the time is not a number of whole days, most of the log is not indexed yet, or it cannot be read.
    pub async fn summary(&self, summary: &Summary) -> Result<Table, SummaryError> {
        let index = self.index();
        match self.count(summary, index.as_ref()).await {
            Err(SummaryError::Read(ReadError::Index(error))) => {
                if let Some(index) = &index {
                    index.failed(&error);
                }
                self.count(summary, None).await
            }
            answer => answer,
        }
    }

    async fn count(&self, summary: &Summary, index: Option<&Index>) -> Result<Table, SummaryError> {
        let (reader, size) = (&self.inner.reader, self.size());
        let gone = self.pruned();
        let pruned = gone.filter(|pruned| pruned.concerns(0, summary.reaches_back_to()));
        let mut summary = summary.clone();
        for (dimension, value) in &mut summary.only {
            if *dimension == Dimension::Principal && value.contains('/') {
                // Nobody has this reference.
                *value = reader.reference_of(value).await.map_err(ReadError::from)?.unwrap_or_default();
                if value.is_empty() {
                    return Ok(Table { by: summary.by, size, pruned, ..Table::default() });
                }
            }
        }
        let mut counting = Counting::new(summary).ok_or(SummaryError::NotWholeDays)?;
        let indexed = match index {
            Some(index) => counting.indexed(index).await.map_err(ReadError::from)?,
            None => 0,
        };
        // The index may have grown since.
        let size = size.max(indexed);
        let from = indexed.max(gone.map_or(0, |gone| gone.below));
        if size - from > UNINDEXED_MAX {
            return Err(ReadError::NotIndexed { indexed, size }.into());
        }
        let counting = self.each(counting, (from, size), |counting, index, entry| counting.see(index, entry)).await?;
        let mut table = counting.finish(size)?;
        table.pruned = pruned;
        self.name(&mut table).await?;
        Ok(table)
    }

    async fn name(&self, table: &mut Table) -> Result<(), ReadError> {
        let Some(at) = table.by.iter().position(|by| *by == By::Of(Dimension::Principal)) else { return Ok(()) };
        let references: Vec<&str> = table.rows.iter().filter_map(|row| row.group.get(at)).map(String::as_str).collect();
        let names = self.inner.reader.principals_of(&references).await?;
        for text in table.rows.iter_mut().filter_map(|row| row.group.get_mut(at)) {
            if let Some(name) = names.get(text) {
                text.clone_from(name);
            }
        }
        // Names sort otherwise than references.
        table.sort();
        Ok(())
    }
}

/// Counts in a published directory, up to its latest checkpoint. Blocking. Nothing is verified, and nothing is recorded.
///
/// # Errors
/// When the time is not a number of whole days, or a file is missing or is not what its name says.
pub fn summary_offline(dir: &Path, summary: &Summary) -> Result<Table, SummaryError> {
    let mut counting = Counting::new(summary.clone()).ok_or(SummaryError::NotWholeDays)?;
    let mut published = Publication::open(dir)?;
    let (size, width) = (published.size(), u64::from(WIDTH));
    for bundle in 0..size.div_ceil(width) {
        for (index, entry) in (bundle * width..size).zip(published.kept_bundle(bundle)?.into_iter().flatten()) {
            counting.see(index, entry);
        }
    }
    let pruned = published.pruned().filter(|pruned| pruned.concerns(0, summary.reaches_back_to()));
    Ok(Table { pruned, ..counting.finish(size)? })
}
