//! Decisions in the order of the log, with what they name: policies, schemas, slices, and who their principals are.

use crate::append::Log;
use crate::batch::ENTRIES_MAX;
use crate::error::ReadError;
use crate::frames;
use crate::prune::Pruned;
use crate::reader::{Reader, Span, StoreAt};
use crate::store::Bundle;
use model::canonical::unhex;
use model::entry::{Content, DirectoryRow};
use model::{Digest, Timestamp};
use std::collections::HashSet;

/// Reads a stretch of the log part by part, in memory that does not depend on its length.
#[derive(Debug)]
pub struct Decisions {
    reader: Reader,
    /// What is still to be read; `None` when it is done.
    span: Option<Span>,
    first: u64,
    last: u64,
    /// What earlier parts have brought.
    told: Told,
    /// All that were erased, until they are told.
    erased: Vec<(String, u64)>,
    /// What is gone of the stretch, until it is told.
    pruned: Option<Pruned>,
}

/// Some decisions, and what of theirs no earlier part has brought.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// What earlier parts have brought is not needed any longer: what is, comes again.
    pub afresh: bool,
    pub contents: Vec<Content>,
    pub principals: Vec<DirectoryRow>,
    /// References that stand for nobody any longer, with the entry that says so. They come with the first part.
    pub erased: Vec<(String, u64)>,
    /// What is gone of the stretch. It comes with the first part.
    pub pruned: Option<Pruned>,
    /// Index and stored bytes of each.
    pub decisions: Vec<(u64, Vec<u8>)>,
    /// Entries that were looked at, of how many, from the beginning of the stretch.
    pub done: u64,
    pub total: u64,
}

#[derive(Debug, Default)]
struct Told {
    contents: HashSet<Digest>,
    principals: HashSet<String>,
}

/// Contents or principals that a reader is asked to hold. A slice has some 3 KiB.
const TOLD_MAX: usize = 16_384;
/// About so much of the log in one part.
const PART_BYTES: usize = 1024 * 1024;

impl Log {
    /// Decisions with a `time` from `from` on and before `to`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn decisions(&self, from: Timestamp, to: Timestamp) -> Result<Decisions, ReadError> {
        Decisions::of(self.inner.reader.clone(), self.size(), from, to).await
    }
}

impl Decisions {
    /// From the log at `store`, whoever else has it open. Nobody records this reading.
    ///
    /// # Errors
    /// When there is no log, or it cannot be read.
    pub async fn open(store: impl Into<StoreAt>, from: Timestamp, to: Timestamp) -> Result<Self, ReadError> {
        let reader = Reader::open_existing(store).await?;
        let size = reader.standing().await?.head.size;
        Self::of(reader, size, from, to).await
    }

    async fn of(reader: Reader, size: u64, from: Timestamp, to: Timestamp) -> Result<Self, ReadError> {
        let time = (from, to.plus_millis(-1));
        let found = reader.bundles_of_time(time).await?;
        let span = found.zip(size.checked_sub(1)).map(|((low, high), last)| {
            let indices = (low, last.min(high.saturating_add(ENTRIES_MAX)));
            Span { time, indices, newest_first: false }
        });
        let (first, last) = span.map_or((0, 0), |span| span.indices);
        let erasures = crate::erase::erasures(&reader).await?;
        let erased = erasures.forgotten().map(|(reference, under)| (reference.to_owned(), under)).collect();
        let pruned = crate::prune::pruned(&reader).await?.filter(|pruned| pruned.concerns(0, Some(from)));
        Ok(Self { reader, span, first, last, told: Told::default(), erased, pruned })
    }

    /// `None` at the end.
    ///
    /// # Errors
    /// When the store cannot be read, or a bundle is damaged.
    pub async fn next(&mut self) -> Result<Option<Part>, ReadError> {
        let Some(mut span) = self.span else {
            // Nothing is left of the stretch, and that is said.
            let pruned = self.pruned.take();
            return Ok(pruned.is_some().then(|| Part { pruned, ..Part::default() }));
        };
        let bundles = self.reader.bundles_in(&span, PART_BYTES).await?;
        let Some(end) = bundles.last().map(|bundle| bundle.first_index + bundle.count) else {
            self.span = None;
            return Ok(None);
        };
        span.indices.0 = end;
        self.span = (end <= span.indices.1).then_some(span);
        let total = self.last + 1 - self.first;
        let erased = std::mem::take(&mut self.erased);
        let pruned = self.pruned.take();
        let mut part = Part { done: (end - self.first).min(total), total, erased, pruned, ..Part::default() };
        for bundle in &bundles {
            part.decisions.extend(decisions(bundle, span.time)?);
        }
        self.complete(&mut part).await?;
        Ok(Some(part))
    }

    /// Adds what the decisions of the part name and no earlier part has brought.
    async fn complete(&mut self, part: &mut Part) -> Result<(), ReadError> {
        if self.told.contents.len().max(self.told.principals.len()) > TOLD_MAX {
            self.told = Told::default();
            part.afresh = true;
        }
        let (mut digests, mut references) = (Vec::new(), Vec::new());
        for text in part.decisions.iter().filter_map(|(_, entry)| std::str::from_utf8(entry).ok()) {
            digests.extend(digests_of(text).filter(|digest| self.told.contents.insert(*digest)));
            let new = references_of(text).filter(|reference| self.told.principals.insert((*reference).to_owned()));
            references.extend(new);
        }
        part.contents = self.reader.contents(&digests).await?;
        let names = self.reader.principals_of(&references).await?;
        part.principals =
            names.into_iter().map(|(reference, principal)| DirectoryRow { principal, reference }).collect();
        Ok(())
    }
}

/// Index and bytes of the decisions of a bundle that were made at that time.
fn decisions(bundle: &Bundle, (from, to): (Timestamp, Timestamp)) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
    let damaged = |_| ReadError::Damaged {
        first_index: bundle.first_index,
        last_index: bundle.first_index + bundle.count.max(1) - 1,
    };
    let mut found = Vec::new();
    for (index, entry) in (bundle.first_index..).zip(frames::iter(&bundle.bytes)) {
        let entry = entry.map_err(damaged)?;
        let Ok(text) = std::str::from_utf8(entry) else { continue };
        let is_decision = ["\"kind\":\"decision\"", "\"kind\":\"audit_read\""].iter().any(|kind| text.contains(kind));
        if is_decision && time_of(text).is_none_or(|time| (from..=to).contains(&time)) {
            found.push((index, entry.to_vec()));
        }
    }
    Ok(found)
}

// Entries have one spelling, and quotes within texts are escaped: what looks like a member is one.

fn time_of(entry: &str) -> Option<Timestamp> {
    let (_, behind) = entry.rsplit_once("\"time\":\"")?;
    Timestamp::parse_rfc3339(behind.split('"').next()?)
}

/// Of policies, schema and slice.
fn digests_of(entry: &str) -> impl Iterator<Item = Digest> {
    let of = entry.split_once("\"digests\":{").and_then(|(_, behind)| behind.split('}').next()).unwrap_or_default();
    ["\"policies\":\"", "\"schema\":\"", "\"slice\":\""].into_iter().filter_map(move |name| {
        let bytes = unhex(of.split_once(name)?.1.split('"').next()?)?;
        Some(Digest(bytes.try_into().ok()?))
    })
}

/// Of the principal and of whoever acts for it.
fn references_of(entry: &str) -> impl Iterator<Item = &str> {
    entry.split("\"principal\":\"").skip(1).filter_map(|behind| behind.split('"').next())
}
