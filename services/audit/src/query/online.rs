//! Searching the database of an open log.

use super::filter::Collector;
use super::{Found, Page, Query};
use crate::append::Log;
use crate::batch::ENTRIES_MAX;
use crate::error::ReadError;
use crate::frames;
use crate::reader::{CHUNK_BYTES_MAX, Reader, Span};
use crate::recover::entry_bytes;
use crate::store::Bundle;
use model::Digest;
use std::ops::ControlFlow;

/// Enough for a page of a hundred entries.
const FIRST_CHUNK_BYTES: usize = 128 * 1024;

impl Log {
    /// Searches the log.
    ///
    /// # Errors
    /// When the store cannot be read, or a bundle is damaged.
    pub async fn query(&self, query: &Query) -> Result<Page, ReadError> {
        let reader = &self.inner.reader;
        let size = self.size();
        let empty = Page { size, ..Page::default() };
        let reference = match &query.principal {
            // Every name of a principal has a slash, no reference does.
            Some(principal) if principal.contains('/') => match reader.reference_of(principal).await? {
                Some(reference) => Some(reference),
                None => return Ok(empty),
            },
            reference => reference.clone(),
        };
        let Some(indices) = query.indices(size) else { return Ok(empty) };
        let Some(span) = span(reader, query, indices).await? else { return Ok(empty) };
        let collector = scan(reader, Collector::new(query, reference), span, indices).await?;
        let mut page = collector.finish(if query.newest_first { indices.0 } else { indices.1 }, size);
        name_principals(reader, &mut page.entries).await?;
        Ok(page)
    }

    /// The stored bytes of one entry; `None` beyond the end.
    ///
    /// # Errors
    /// When the store cannot be read, or the bundle is damaged.
    pub async fn entry(&self, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        entry_bytes(&self.inner.reader, index).await
    }

    /// The values behind the commitments of an entry, `{"subject":{"salt":…,"values":…},…}`; `None` when it has none or
    /// they were erased.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn disclosure(&self, index: u64) -> Result<Option<String>, ReadError> {
        Ok(self.inner.reader.disclosure(index).await?)
    }

    /// Bytes that entries name by their digest.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.inner.reader.content(digest).await?)
    }
}

/// The bundles to look through; `None` when no bundle has entries of that time.
async fn span(reader: &Reader, query: &Query, (first, last): (u64, u64)) -> Result<Option<Span>, ReadError> {
    let time = query.times();
    // The bundle with the first entry may begin before it.
    let mut indices = (first.saturating_sub(ENTRIES_MAX - 1), last);
    if query.from.is_some() || query.to.is_some() {
        let Some((low, high)) = reader.bundles_of_time(time).await? else { return Ok(None) };
        indices = (indices.0.max(low), indices.1.min(high));
    }
    Ok(Some(Span { time, indices, newest_first: query.newest_first }))
}

async fn scan(
    reader: &Reader,
    mut collector: Collector,
    mut span: Span,
    indices: (u64, u64),
) -> Result<Collector, ReadError> {
    // What is asked for is often near the end where the search begins.
    let mut chunk_bytes = FIRST_CHUNK_BYTES;
    while span.indices.0 <= span.indices.1 {
        let bundles = reader.bundles_in(&span, chunk_bytes).await?;
        chunk_bytes = (2 * chunk_bytes).min(CHUNK_BYTES_MAX);
        let Some(last) = bundles.last() else { break };
        let past = last.first_index;
        let work = move || {
            for bundle in &bundles {
                if look_through(&mut collector, bundle, indices, span.newest_first)?.is_break() {
                    break;
                }
            }
            Ok::<_, ReadError>(collector)
        };
        collector = tokio::task::spawn_blocking(work).await.map_err(|_| ReadError::Closed)??;
        if collector.is_full() {
            break;
        }
        if span.newest_first {
            let Some(before) = past.checked_sub(1) else { break };
            span.indices.1 = before;
        } else {
            span.indices.0 = past + 1;
        }
    }
    Ok(collector)
}

fn look_through(
    collector: &mut Collector,
    bundle: &Bundle,
    (first, last): (u64, u64),
    newest_first: bool,
) -> Result<ControlFlow<()>, ReadError> {
    let end = bundle.first_index + bundle.count.max(1) - 1;
    let damaged = |_| ReadError::Damaged { first_index: bundle.first_index, last_index: end };
    let entries: Vec<&[u8]> = frames::iter(&bundle.bytes).collect::<Result<_, _>>().map_err(damaged)?;
    let mut numbered: Vec<(u64, &[u8])> = (bundle.first_index..).zip(entries).collect();
    if newest_first {
        numbered.reverse();
    }
    for (index, bytes) in numbered {
        if (first..=last).contains(&index) {
            collector.offer(index, bytes);
        }
        if collector.is_full() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Puts names in the place of references, where the directory still has them.
async fn name_principals(reader: &Reader, found: &mut [Found]) -> Result<(), ReadError> {
    let references: Vec<&str> = found.iter().filter_map(|found| found.principal.as_deref()).collect();
    let names = reader.principals_of(&references).await?;
    for one in found {
        one.principal = one.principal.take().and_then(|reference| names.get(&reference).cloned());
    }
    Ok(())
}
