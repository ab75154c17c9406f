//! Searching the database of an open log.

use super::filter::Collector;
use super::summary::UNINDEXED_MAX;
use super::{Found, Page, Query};
use crate::append::Log;
use crate::batch::ENTRIES_MAX;
use crate::error::ReadError;
use crate::frames;
use crate::index::{Index, OpenAt, Search};
use crate::reader::{CHUNK_BYTES_MAX, Reader, Span};
use crate::recover::entry_bytes;
use crate::store::Bundle;
use model::{Digest, Timestamp};
use std::ops::ControlFlow;
use std::sync::PoisonError;

/// Enough for a page of a hundred entries.
const FIRST_CHUNK_BYTES: usize = 128 * 1024;

impl Log {
    /// Searches the log.
    ///
    /// # Errors
    /// When the store cannot be read, or a bundle is damaged.
    pub async fn query(&self, query: &Query) -> Result<Page, ReadError> {
        self.query_with(query, self.index()).await
    }

    /// Searches with this index, and without any where that one fails: the answer is the same.
    pub(crate) async fn query_with(&self, query: &Query, index: Option<Index>) -> Result<Page, ReadError> {
        match self.search(query, index.as_ref()).await {
            Err(ReadError::Index(error)) => {
                if let Some(index) = &index {
                    index.failed(&error);
                }
                self.search(query, None).await
            }
            answer => answer,
        }
    }

    async fn search(&self, query: &Query, index: Option<&Index>) -> Result<Page, ReadError> {
        let reader = &self.inner.reader;
        let size = self.size();
        let gone = self.pruned();
        let pruned = query.pruned(gone);
        let empty = Page { size, pruned, ..Page::default() };
        let reference = match &query.principal {
            // Every name of a principal has a slash, no reference does.
            Some(principal) if principal.contains('/') => match reader.reference_of(principal).await? {
                Some(reference) => Some(reference),
                None => return Ok(empty),
            },
            reference => reference.clone(),
        };
        let Some(indices) = query.indices(size) else { return Ok(empty) };
        let indices = (indices.0.max(gone.map_or(0, |gone| gone.below)), indices.1);
        if indices.0 > indices.1 {
            return Ok(empty);
        }
        let collector = Collector::new(query, reference.clone());
        let collector = match query.open_at {
            Some(at) => {
                let decisions = self.open_at(at, size, index).await?;
                let mut wanted: Vec<u64> =
                    decisions.into_iter().filter(|index| (indices.0..=indices.1).contains(index)).collect();
                if query.newest_first {
                    wanted.reverse();
                }
                look_at(reader, collector, &wanted).await?
            }
            None => self.look((query, reference.as_deref()), index, collector, indices).await?,
        };
        let mut page = collector.finish(if query.newest_first { indices.0 } else { indices.1 }, size);
        page.pruned = pruned;
        name_principals(reader, &mut page.entries).await?;
        Ok(page)
    }

    /// Goes through what is of interest, in the direction of the search: by the index as far as it goes, and through the log.
    async fn look(
        &self,
        (query, reference): (&Query, Option<&str>),
        index: Option<&Index>,
        collector: Collector,
        (first, last): (u64, u64),
    ) -> Result<Collector, ReadError> {
        let reader = &self.inner.reader;
        let indexed = index.map_or(0, Index::size);
        let behind = (first.max(indexed), last);
        let Some(index) = index.filter(|_| first < indexed) else {
            return scan(reader, collector, query, behind).await;
        };
        let mut within = Some((first, last.min(indexed - 1)));
        if query.from.is_some() || query.to.is_some() {
            let bounds = index.of_time(query.times()).await?;
            let narrowed = within.zip(bounds).map(|(within, bounds)| (within.0.max(bounds.0), within.1.min(bounds.1)));
            within = narrowed.filter(|(first, last)| first <= last);
        }
        let terms = query.terms(reference);
        let search = match within {
            Some(within) => index.search(&terms, query.request.as_deref(), within, query.newest_first).await?,
            None => None,
        };
        // Oldest first, what is indexed comes first.
        let mut collector = if query.newest_first { scan(reader, collector, query, behind).await? } else { collector };
        collector = match (search, within) {
            (Some(search), _) => follow(reader, collector, search).await?,
            (None, Some(within)) => scan(reader, collector, query, within).await?,
            (None, None) => collector,
        };
        if query.newest_first { Ok(collector) } else { scan(reader, collector, query, behind).await }
    }

    /// The index as far as it is kept.
    pub(crate) fn index(&self) -> Option<Index> {
        let minimum = self.pruned().map_or(0, |pruned| pruned.below);
        let index = self.inner.index.read().unwrap_or_else(PoisonError::into_inner).clone();
        index.filter(|index| index.is_sound() && index.is_from(minimum))
    }

    /// Decisions that were open at a moment, ascending.
    async fn open_at(&self, at: Timestamp, size: u64, index: Option<&Index>) -> Result<Vec<u64>, ReadError> {
        let minimum = self.pruned().map_or(0, |pruned| pruned.below);
        let (open, from) = match index {
            Some(index) => OpenAt::indexed(index, at).await?,
            None => (OpenAt::new(at), 0),
        };
        let from = from.max(minimum);
        if size.saturating_sub(from) > UNINDEXED_MAX {
            return Err(ReadError::NotIndexed { indexed: from, size });
        }
        let open = self.each(open, (from, size), |open, index, entry| open.see(index, entry)).await?;
        Ok(open.finish())
    }

    /// Shows every entry from the first index on and before the second to `see`.
    pub(super) async fn each<T: Send + 'static>(
        &self,
        mut state: T,
        (mut next, end): (u64, u64),
        see: impl Fn(&mut T, u64, &[u8]) + Copy + Send + 'static,
    ) -> Result<T, ReadError> {
        while next < end {
            let first = next.saturating_sub(ENTRIES_MAX - 1);
            let span = Span { time: ALWAYS, indices: (first, end - 1), newest_first: false };
            let mut bundles = self.inner.reader.bundles_in(&span, CHUNK_BYTES_MAX).await?;
            bundles.retain(|bundle| bundle.first_index + bundle.count > next);
            let Some(last) = bundles.last() else { break };
            let (from, behind) = (next, last.first_index + last.count.max(1));
            let work = move || {
                for bundle in &bundles {
                    for (index, entry) in numbered(bundle)? {
                        if (from..end).contains(&index) {
                            see(&mut state, index, entry);
                        }
                    }
                }
                Ok::<_, ReadError>(state)
            };
            state = tokio::task::spawn_blocking(work).await.map_err(|_| ReadError::Closed)??;
            next = behind;
        }
        Ok(state)
    }

    /// The stored bytes of one entry; `None` beyond the end, and where it was pruned.
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

/// Every time.
const ALWAYS: (Timestamp, Timestamp) = (Timestamp(i64::MIN), Timestamp(i64::MAX));

/// The bundles to look through; `None` when no bundle has entries of that time.
async fn span(reader: &Reader, query: &Query, (first, last): (u64, u64)) -> Result<Option<Span>, ReadError> {
    let time = query.times();
    // The bundle with the first entry may begin before it.
    let mut indices = (first.saturating_sub(ENTRIES_MAX - 1), last);
    // Finding out where a time begins costs more than looking at a few bundles.
    if (query.from.is_some() || query.to.is_some()) && last - first > SHORT {
        let Some((low, high)) = reader.bundles_of_time(time).await? else { return Ok(None) };
        indices = (indices.0.max(low), indices.1.min(high));
    }
    Ok(Some(Span { time, indices, newest_first: query.newest_first }))
}

/// Entries that are looked through anyhow.
const SHORT: u64 = 16_384;

async fn scan(
    reader: &Reader,
    mut collector: Collector,
    query: &Query,
    indices: (u64, u64),
) -> Result<Collector, ReadError> {
    if indices.0 > indices.1 || collector.is_full() {
        return Ok(collector);
    }
    let Some(mut span) = span(reader, query, indices).await? else { return Ok(collector) };
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
    let mut numbered = numbered(bundle)?;
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

/// The entries of a bundle with their indices.
fn numbered(bundle: &Bundle) -> Result<Vec<(u64, &[u8])>, ReadError> {
    let last_index = bundle.first_index + bundle.count.max(1) - 1;
    let damaged = |_| ReadError::Damaged { first_index: bundle.first_index, last_index };
    let entries: Vec<&[u8]> = frames::iter(&bundle.bytes).collect::<Result<_, _>>().map_err(damaged)?;
    Ok((bundle.first_index..).zip(entries).collect())
}

/// Looks where the index says.
async fn follow(reader: &Reader, mut collector: Collector, mut search: Search) -> Result<Collector, ReadError> {
    while !collector.is_full()
        && let Some(indices) = search.next().await?
    {
        collector = look_at(reader, collector, &indices).await?;
    }
    Ok(collector)
}

/// Looks at these entries, in this order.
async fn look_at(reader: &Reader, mut collector: Collector, indices: &[u64]) -> Result<Collector, ReadError> {
    let mut bundle: Option<Bundle> = None;
    for index in indices {
        if collector.is_full() {
            break;
        }
        let holds = |bundle: &Bundle| (bundle.first_index..bundle.first_index + bundle.count).contains(index);
        if !bundle.as_ref().is_some_and(holds) {
            bundle = reader.bundle_of(*index).await?;
        }
        let Some(bundle) = &bundle else { continue };
        let position = usize::try_from(index - bundle.first_index).unwrap_or(usize::MAX);
        if let Some((index, entry)) = numbered(bundle)?.get(position) {
            collector.offer(*index, entry);
        }
    }
    Ok(collector)
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
