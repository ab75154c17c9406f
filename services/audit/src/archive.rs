//! Archives: a stretch of the log for somebody who has nothing else, complete in a way that can be proven.
//!
//! An archive is a tar file. Its entries stand in a [`tlog::walk`], which puts hashes in the place of all others, so that
//! nothing between the first and the last can have been left out. One for a single organisation shows its entries alone.
//! Beside them stand entries that say what else must be known of them: which policies were in use, what was erased, what is gone.

mod in_use;
mod keys;

use crate::batch::ENTRIES_MAX;
use crate::erase::event;
use crate::error::ReadError;
use crate::prune::Pruned;
use crate::published::Publication;
use crate::reader::{Reader, StoreAt};
use model::canonical::{self, Value};
use model::entry::{CommitmentClass, Outline};
use model::erasure::{Event, Scope};
use model::{Digest, OrganisationId, Timestamp};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use tlog::range::cover;
use tlog::tile::WIDTH;
use tlog::walk::Step;
use tlog::{TrustPolicy, VerifierKey};

/// The format, as the manifest names it.
pub const FORMAT: &str = "millgate-archive/4";
const GUIDE: &str = include_str!("archive/guide.txt");
/// Steps of a walk in one file of the archive.
const PART_BYTES: usize = 1024 * 1024;
/// Entries in one file, which bounds what is disclosed of them.
const PART_ENTRIES: usize = 1024;
/// Contents that are read at a time.
const CONTENTS_AT_ONCE: usize = 200;

/// What an archive is to hold.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Entries of this time and later.
    pub from: Timestamp,
    /// Entries before this time.
    pub to: Timestamp,
    /// Entries of this organisation alone, without policies and slices, which name others.
    pub organisation: Option<OrganisationId>,
    /// The values behind these commitments too.
    pub disclose: Vec<CommitmentClass>,
    /// The log's keys, as far as they are known; those that its entries name come to them.
    pub keys: Vec<VerifierKey>,
    /// Its witnesses, if it has some.
    pub witnesses: Option<TrustPolicy>,
    /// When the archive is made.
    pub now: Timestamp,
}

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    pub origin: String,
    /// Entries under the checkpoint.
    pub size: u64,
    /// Entries in the archive, with one before and one behind the time that was asked for, where there are such.
    pub entries: u64,
    /// Indexes of the first and the last.
    pub first: Option<u64>,
    pub last: Option<u64>,
    /// Policy sets, schemas and slices.
    pub contents: u64,
    /// Those that entries name and the store does not have.
    pub contents_missing: u64,
    /// Entries whose values were erased, or that have none of these classes.
    pub not_disclosed: u64,
    /// Entries behind those of the time, that say what was erased of them.
    pub erasures: u64,
    /// Entries before those of the time, that say which policies were in use. None where that cannot be shown.
    pub in_use: u64,
    /// Keys of the log that it names.
    pub keys: u64,
    /// What is gone of the log, if the time that was asked for begins there.
    pub pruned: Option<u64>,
}

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the archive cannot be written")]
    Write(#[from] std::io::Error),
    #[error("entry {index}: {what}")]
    Entry { index: u64, what: String },
    #[error("the log has no entries of {0}")]
    Nothing(String),
}

/// Writes an archive of the log whose store is at `store` and which is published to `published`. `progress` hears how many
/// entries of how many have been gone through.
///
/// # Errors
/// When files are missing or damaged, or the archive cannot be written.
pub async fn export(
    store: impl Into<StoreAt>,
    published: &Path,
    wanted: &Wanted,
    out: impl Write,
    mut progress: impl FnMut(u64, u64),
) -> Result<Summary, ArchiveError> {
    let reader = Reader::open_existing(store).await?;
    let mut publication = Publication::open(published)?;
    let mut shown = shown(&reader, &mut publication, wanted).await?;
    let erasures = match wanted.organisation {
        None => erasures(&reader, &shown, publication.size()).await?,
        // Its values are not disclosed, so none can be missing.
        Some(_) => Vec::new(),
    };
    let pruned = pruned(&reader, wanted, publication.size()).await?;
    let in_use = in_use::find(&mut publication, &shown, wanted.organisation.is_some())?;
    let keys = keys::known(&reader, &publication, &wanted.keys).await?;
    let mut writer = Writer::new(out, wanted.now);
    writer.file("README.txt", GUIDE.as_bytes())?;
    writer.file("manifest.json", &manifest(&publication, wanted, (&erasures, &in_use), pruned))?;
    writer.file("checkpoint", publication.note().as_bytes())?;
    if !keys.is_empty() {
        writer.file("keys", keys::lines(&keys).as_bytes())?;
    }
    if let Some(policy) = &wanted.witnesses {
        writer.file("policy", keys::policy(policy, &keys).to_text().as_bytes())?;
    }
    let summary = Summary {
        origin: publication.checkpoint().origin.clone(),
        size: publication.size(),
        entries: shown.len() as u64,
        first: shown.first().copied(),
        last: shown.last().copied(),
        erasures: erasures.len() as u64,
        in_use: in_use.len() as u64,
        keys: keys.len() as u64,
        pruned: pruned.map(|pruned| pruned.below),
        ..Summary::default()
    };
    // All of them stand behind the others, or among them.
    let beside: BTreeSet<u64> = erasures.into_iter().chain(pruned.map(|pruned| pruned.under)).collect();
    let last = shown.last().copied();
    let mut beside: BTreeSet<u64> = beside.into_iter().filter(|index| last.is_none_or(|last| *index > last)).collect();
    beside.extend(in_use);
    shown.extend(&beside);
    shown.sort_unstable();
    let mut making = Making { wanted, beside, part: Part::default(), at: 0, contents: BTreeSet::new(), summary };
    let width = u64::from(WIDTH);
    for of_bundle in shown.chunk_by(|a, b| a / width == b / width) {
        let number = of_bundle.first().map_or(0, |index| index / width);
        let entries = publication.bundle(number).map(|bundle| {
            let entry = |index: &u64| Some((*index, bundle.get(usize::try_from(index % width).ok()?)?.to_vec()));
            of_bundle.iter().filter_map(entry).collect::<Vec<_>>()
        });
        let entries = match entries {
            // Of what is gone those are shown that are carried forward.
            Err(ReadError::Pruned { .. }) => {
                let entry = |index: &u64| Ok((*index, publication.entry(*index)?));
                of_bundle.iter().map(entry).collect::<Result<Vec<_>, ReadError>>()
            }
            entries => entries,
        }?;
        for (index, entry) in &entries {
            making.skip_to(&mut publication, *index)?;
            making.show(*index, entry)?;
            if making.part.steps.len() >= PART_BYTES || making.part.shown.len() >= PART_ENTRIES {
                making.flush(&reader, &mut writer).await?;
            }
        }
        progress(making.shown(), making.summary.entries);
    }
    let size = publication.size();
    making.skip_to(&mut publication, size)?;
    making.flush(&reader, &mut writer).await?;
    making.write_contents(&reader, &mut writer).await?;
    reader.close().await;
    writer.finish()?;
    Ok(making.summary)
}

/// Where the erasures stand behind `shown`, a stretch without gap, that may concern entries of it, and where those were asked
/// for.
async fn erasures(reader: &Reader, shown: &[u64], size: u64) -> Result<Vec<u64>, ArchiveError> {
    let Some((first, last)) = shown.first().copied().zip(shown.last().copied()) else { return Ok(Vec::new()) };
    let mut found = BTreeSet::new();
    for index in reader.erasure_entries().await.map_err(ReadError::from)? {
        if index <= last || index >= size {
            continue;
        }
        let Some(Event::Erased(erasure)) = event(reader, index).await? else { continue };
        // One that erased a person from the directory says why some decision cannot be made again.
        let forgets = matches!(erasure.scope, Scope::Principal { directory: true, .. });
        if forgets || erasure.touches((first, last)) {
            found.insert(index);
            if let Scope::Principal { requested: Some(requested), .. } = erasure.scope {
                found.extend((requested > last && requested < index).then_some(requested));
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// What is gone of the log and was asked for, if the entry that says so is under the checkpoint and may be shown.
async fn pruned(reader: &Reader, wanted: &Wanted, size: u64) -> Result<Option<Pruned>, ReadError> {
    let pruned = crate::prune::pruned(reader).await?;
    // It names every organisation.
    let pruned = pruned.filter(|_| wanted.organisation.is_none());
    Ok(pruned.filter(|pruned| pruned.under < size && pruned.concerns(0, Some(wanted.from))))
}

fn manifest(
    publication: &Publication,
    wanted: &Wanted,
    (erasures, in_use): (&[u64], &[u64]),
    pruned: Option<Pruned>,
) -> Vec<u8> {
    let mut members = vec![
        ("format", Value::text(FORMAT)),
        ("from", Value::text(wanted.from.to_rfc3339())),
        ("made", Value::text(wanted.now.to_rfc3339())),
        ("origin", Value::text(publication.checkpoint().origin.as_str())),
        ("to", Value::text(wanted.to.to_rfc3339())),
    ];
    if !wanted.disclose.is_empty() {
        let mut classes: Vec<&str> = wanted.disclose.iter().map(|class| class.as_str()).collect();
        classes.sort_unstable();
        members.push(("disclose", Value::texts(classes)));
    }
    for (name, indices) in [("erasures", erasures), ("in_use", in_use)] {
        if !indices.is_empty() {
            let indices = indices.iter().map(|index| Value::int(i64::try_from(*index).unwrap_or(i64::MAX)));
            members.push((name, Value::Array(indices.collect())));
        }
    }
    let under = pruned.map(|pruned| Value::int(i64::try_from(pruned.under).unwrap_or(i64::MAX)));
    members.extend(under.map(|under| ("pruning", under)));
    members.extend(wanted.organisation.as_ref().map(|o| ("organisation", Value::text(o.as_str()))));
    Value::object(members).encode()
}

// === what is shown

/// Around the time that was asked for: an entry can wait for its turn behind later ones.
const MARGIN_MS: i64 = 10_000;

/// The indexes of the entries to show: all that are stored together with one of the time that was asked for, with some time on
/// either side, and one more on either side. So whatever the clock did, all entries of that time are there.
async fn shown(reader: &Reader, publication: &mut Publication, wanted: &Wanted) -> Result<Vec<u64>, ArchiveError> {
    let (size, width) = (publication.size(), u64::from(WIDTH));
    let time = (wanted.from.plus_millis(-MARGIN_MS), wanted.to.plus_millis(MARGIN_MS));
    let nothing = || {
        let of = wanted.organisation.as_ref().map(|o| format!("organisation `{o}` ")).unwrap_or_default();
        let what = format!("{of}from {} to {}", wanted.from.to_rfc3339(), wanted.to.to_rfc3339());
        ArchiveError::Nothing(what)
    };
    let found = reader.bundles_of_time(time).await.map_err(ReadError::from)?;
    let (low, high) = found.filter(|(low, _)| *low < size).ok_or_else(nothing)?;
    let end = high.saturating_add(ENTRIES_MAX).min(size);
    let minimum = reader.minimum().await.map_err(ReadError::from)?;
    let Some(organisation) = &wanted.organisation else {
        return Ok((low.saturating_sub(1).max(minimum)..(end + 1).min(size)).collect());
    };
    let (mut before, mut shown) = (None, Vec::new());
    for number in low / width..size.div_ceil(width) {
        for (index, entry) in (number * width..).zip(publication.bundle(number)?).filter(|(index, _)| *index >= low) {
            let outline = Outline::read(entry).map_err(|e| ArchiveError::Entry { index, what: e.to_string() })?;
            if outline.organisation.as_ref() != Some(organisation) {
                continue;
            }
            if shown.is_empty() {
                if index >= end {
                    return Err(nothing());
                }
                before = outline.place.and_then(|place| place.previous).filter(|before| *before >= minimum);
            }
            shown.push(index);
            if index >= end {
                // The next one behind, which shows that none is missing before it.
                return Ok(before.into_iter().chain(shown).collect());
            }
        }
    }
    if shown.is_empty() { Err(nothing()) } else { Ok(before.into_iter().chain(shown).collect()) }
}

// === what is written

struct Making<'w> {
    wanted: &'w Wanted,
    /// Entries that are shown because of what they say of the others.
    beside: BTreeSet<u64>,
    part: Part,
    /// Entries that steps stand for already.
    at: u64,
    contents: BTreeSet<Digest>,
    summary: Summary,
}

/// What goes into one file of the walk.
#[derive(Default)]
struct Part {
    number: u64,
    steps: Vec<u8>,
    /// Entries in it, each with the reference that stands for its principal.
    shown: Vec<(u64, Option<String>)>,
    /// In those before it.
    before: u64,
}

impl Making<'_> {
    fn shown(&self) -> u64 {
        self.part.before + self.part.shown.len() as u64
    }

    /// Hashes for everything up to `index`.
    fn skip_to(&mut self, publication: &mut Publication, index: u64) -> Result<(), ArchiveError> {
        for (level, at) in cover(self.at, index) {
            let root = publication.subtree(level, at)?;
            self.step(Step::Subtree { level, root })?;
        }
        self.at = index;
        Ok(())
    }

    fn show(&mut self, index: u64, entry: &[u8]) -> Result<(), ArchiveError> {
        self.step(Step::Entry(entry))?;
        self.at = index + 1;
        let reference = Outline::read(entry).ok().and_then(|entry| entry.text("principal").map(Cow::into_owned));
        // What is behind those that are here for what they say is not asked for.
        if !self.beside.contains(&index) {
            self.part.shown.push((index, reference));
        }
        // Policies and slices name other organisations.
        if self.wanted.organisation.is_none() {
            self.contents.extend(named(entry));
        }
        Ok(())
    }

    fn step(&mut self, step: Step<'_>) -> Result<(), ArchiveError> {
        let fault = |e: tlog::walk::WalkError| ArchiveError::Entry { index: self.at, what: e.to_string() };
        step.encode_into(&mut self.part.steps).map_err(fault)
    }

    /// Writes the steps so far, and what is shown of the entries among them.
    async fn flush<W: Write>(&mut self, reader: &Reader, writer: &mut Writer<W>) -> Result<(), ArchiveError> {
        if self.part.steps.is_empty() {
            return Ok(());
        }
        let Part { number, steps, shown, before } = std::mem::take(&mut self.part);
        writer.file(&format!("tree/{number:06}"), &steps)?;
        self.part = Part { number: number + 1, before: before + shown.len() as u64, ..Part::default() };
        if self.wanted.disclose.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for (index, reference) in shown {
            let values = reader.disclosure(index).await.map_err(ReadError::from)?;
            match values.and_then(|values| chosen(&values, &self.wanted.disclose)) {
                Some(values) => {
                    lines.extend_from_slice(format!("{{\"index\":{index},").as_bytes());
                    if let Some(reference) = reference {
                        lines.extend_from_slice(b"\"reference\":");
                        canonical::encode_text(&reference, &mut lines);
                        lines.push(b',');
                    }
                    lines.extend_from_slice(b"\"values\":");
                    lines.extend_from_slice(&values);
                    lines.extend_from_slice(b"}\n");
                }
                None => self.summary.not_disclosed += 1,
            }
        }
        writer.file(&format!("disclosed/{number:06}"), &lines)?;
        Ok(())
    }

    async fn write_contents<W: Write>(&mut self, reader: &Reader, writer: &mut Writer<W>) -> Result<(), ArchiveError> {
        let digests: Vec<Digest> = std::mem::take(&mut self.contents).into_iter().collect();
        for some in digests.chunks(CONTENTS_AT_ONCE) {
            let contents = reader.contents(some).await.map_err(ReadError::from)?;
            self.summary.contents += contents.len() as u64;
            self.summary.contents_missing += (some.len() - contents.len()) as u64;
            for content in contents {
                writer.file(&format!("content/{}", content.digest.to_hex()), &content.bytes)?;
            }
        }
        Ok(())
    }
}

/// What an entry names by digest and the store holds: policies, schema and slice of a decision, and of an activation.
fn named(entry: &[u8]) -> Vec<Digest> {
    let Ok(entry) = model::entry::Entry::parse(entry) else { return Vec::new() };
    entry.contents().collect()
}

/// Of `{"network":{…},"subject":{…}}`, these classes; `None` where none is there.
fn chosen(values: &str, classes: &[CommitmentClass]) -> Option<Vec<u8>> {
    let Value::Object(values) = canonical::parse(values.as_bytes()).ok()? else { return None };
    let of = |class: &CommitmentClass| Some((class.as_str(), values.get(class.as_str())?.clone()));
    let chosen: Vec<_> = classes.iter().filter_map(of).collect();
    (!chosen.is_empty()).then(|| Value::object(chosen).encode())
}

/// A tar file in the making.
struct Writer<W: Write> {
    tar: tar::Builder<W>,
    seconds: u64,
}

impl<W: Write> Writer<W> {
    fn new(out: W, now: Timestamp) -> Self {
        Self { tar: tar::Builder::new(out), seconds: u64::try_from(now.seconds()).unwrap_or(0) }
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(self.seconds);
        self.tar.append_data(&mut header, name, bytes)
    }

    fn finish(self) -> std::io::Result<()> {
        self.tar.into_inner()?.flush()
    }
}
