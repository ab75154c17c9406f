//! Opening a log: what the last run left behind is read, checked and closed before the first new entry.

use crate::append::{Inner, Log};
use crate::batch::State;
use crate::directory::Directory;
use crate::error::{OpenError, ReadError};
use crate::frames;
use crate::incarnation::Lifted;
use crate::options::LogOptions;
use crate::outcome;
use crate::postgres::PostgresStore;
use crate::prune::Pruned;
use crate::reader::Reader;
use crate::shared::Shared;
use crate::sqlite::SqliteStore;
use crate::store::{CheckpointRow, Head, Store};
use crate::writer::{Lanes, Writer};
use model::entry::{Draft, Ended, Entry, Kind, Outline};
use model::{Timestamp, Value};
use std::sync::{Arc, RwLock};
use tlog::{Checkpoint, CompactRange};
use tokio::sync::mpsc;

/// So many rows of the store are looked through for what a broker at work wrote last; a start that fails writes one.
const ROWS_OF_STARTS_MAX: u32 = 64;

/// What was found when the log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Entries that the log had.
    pub size: u64,
    /// Entries from this one on were hashed again; those before stand under a signed checkpoint.
    /// Those may be what the last run wrote and did not come to sign, or what somebody has put into the store since: nobody
    /// can tell the two apart.
    pub verified_from: u64,
    /// Allowed exchanges of the last run that were open: each got the outcome `unknown_after_crash`.
    pub unknown_outcomes: u64,
}

impl Log {
    /// Opens or creates the log in `options.dir`, or in `options.store`.
    ///
    /// # Errors
    /// When another process has it, or what is stored is not what was written.
    pub async fn open(options: LogOptions) -> Result<(Self, Recovered), OpenError> {
        options.check()?;
        match &options.store {
            None => Self::open_with(SqliteStore::open(&options.dir, &options.origin).await?, &options).await,
            Some(access) => {
                Self::open_with(Box::pin(PostgresStore::open(access, &options.origin)).await?, &options).await
            }
        }
    }

    /// Opens the log on a store that is open for writing. Reading goes to the store that `options` name.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub async fn open_with<S: Store>(mut store: S, options: &LogOptions) -> Result<(Self, Recovered), OpenError> {
        let head = store.head().await?;
        let organisations = store.organisations().await?;
        let reader = Reader::open(options.store_at()).await?;
        let (verified_from, checkpoint) = verify_tail(&reader, &head).await?;
        let pruned = pruned(&reader, head.size()).await?;
        let directory = Directory::load(reader.directory().await?);
        let newest = match head.size().checked_sub(1) {
            Some(last) => reader.bundle_of(last).await?.map(|bundle| bundle.time_last),
            None => None,
        };
        let shared = Arc::new(Shared::new(options, head.range.clone(), directory, newest));
        shared.pruned.send_replace(pruned);
        shared.counters.checkpoint_size.store(checkpoint, std::sync::atomic::Ordering::Relaxed);

        let (drafts, drafts_lane) = mpsc::channel(options.queue_max.max(1));
        let (urgent, urgent_lane) = mpsc::unbounded_channel();
        let lanes = Lanes { drafts: drafts_lane, urgent: urgent_lane, back: urgent.downgrade() };
        let debts = debts(&reader, &head, head.size() - verified_from, &shared, options).await?;
        let unknown_outcomes = head.open.len() as u64;
        let recovered = Recovered { size: head.size(), verified_from, unknown_outcomes };
        let mut writer = Writer::new(store, State::new(head, organisations), Arc::clone(&shared), lanes);
        debts.into_iter().for_each(|draft| writer.owe(draft));
        if newest.is_some() && options.summary_ms.is_some() {
            let worked = Box::pin(last_at_work(&reader, recovered.size)).await?.unwrap_or(Timestamp(0));
            writer.owe_summaries_after_stop(Some(worked));
        }
        writer.settle_debts().await.map_err(OpenError::NotWritten)?;
        tokio::spawn(writer.run());
        if verified_from < recovered.size {
            tracing::warn!(
                log = options.origin,
                from = verified_from,
                size = recovered.size,
                "the last run did not come to sign its last entries; they are taken over as the store has them"
            );
        }
        tracing::info!(
            log = options.origin,
            size = recovered.size,
            verified_from,
            unknown_outcomes,
            "the audit log is open"
        );
        Ok((Self { inner: Arc::new(Inner { shared, drafts, urgent, reader, index: RwLock::default() }) }, recovered))
    }
}

/// The time of the last entry of a broker at work. Starts that failed, and tools that opened the log for a moment, sum up nobody.
async fn last_at_work(reader: &Reader, size: u64) -> Result<Option<Timestamp>, OpenError> {
    let mut end = size;
    for _ in 0..ROWS_OF_STARTS_MAX {
        let Some(last) = end.checked_sub(1) else { break };
        let Some(row) = reader.bundle_of(last).await? else { break };
        let entries: Vec<_> = frames::iter(&row.bytes).filter_map(Result::ok).collect();
        let mut read = entries.iter().rev().filter_map(|entry| Outline::read(entry).ok());
        if let Some(entry) = read.find(|entry| !matches!(entry.kind, Kind::System | Kind::Key | Kind::Outcome)) {
            return Ok(Some(entry.time));
        }
        end = row.first_index;
    }
    Ok(None)
}

/// The entries that this start owes: what a log begins with that takes another's place, that a quarantine was ended, an outcome
/// for every exchange that was open, and that the log was opened.
async fn debts(
    reader: &Reader,
    head: &Head,
    unsigned: u64,
    shared: &Shared,
    options: &LogOptions,
) -> Result<Vec<Draft>, OpenError> {
    let mut drafts = Vec::new();
    let begins = options.incarnation.as_ref().filter(|_| head.size() == 0);
    let begins = begins.map(|incarnation| incarnation.members(&shared.origin));
    for members in begins.into_iter().chain(options.lifted.as_ref().map(Lifted::members)) {
        let draft = Draft::new(Kind::System, &shared.common(), None, members, Vec::new());
        drafts.push(draft.map_err(|_| OpenError::TooMuchToCite)?);
    }
    for index in head.open.iter() {
        let entry = decision(reader, index).await?;
        let (organisation, request) = (entry.organisation.as_ref(), entry.text("request"));
        let outcome = outcome::of_decision(index, organisation, request, Ended::UnknownAfterCrash, &shared.common());
        drafts.extend(outcome);
    }
    let number = |n: u64| Value::int(i64::try_from(n).unwrap_or(i64::MAX));
    let unsigned = (unsigned > 0).then(|| ("unsigned", number(unsigned)));
    let members = [
        ("event", Value::text("opened")),
        ("origin", Value::text(&*shared.origin)),
        ("size", number(head.size())),
        ("unknown_outcomes", number(head.open.len() as u64)),
        ("version", Value::text(env!("CARGO_PKG_VERSION"))),
    ];
    let members: Vec<_> = members.into_iter().chain(unsigned).collect();
    drafts.extend(Draft::new(Kind::System, &shared.common(), None, members, Vec::new()));
    Ok(drafts)
}

/// What is gone of the log. Nothing else may be: entries that nobody says are gone are missing.
async fn pruned(reader: &Reader, size: u64) -> Result<Option<Pruned>, OpenError> {
    let damaged = |what, (first_index, last_index)| OpenError::Damaged { what, first_index, last_index };
    let pruned = crate::prune::pruned(reader).await.map_err(|error| match error {
        ReadError::Damaged { first_index, last_index } => {
            damaged("the entry that says which of them were pruned does not say so", (first_index, last_index))
        }
        ReadError::Store(error) => OpenError::Store(error),
        _ => damaged("they cannot be read", (0, 0)),
    })?;
    let minimum = pruned.map_or(0, |pruned| pruned.below);
    let first = reader.first_index_from(0).await?.unwrap_or(size);
    if first > minimum {
        return Err(damaged("they are missing, and no entry says that they were pruned", (minimum, first - 1)));
    }
    Ok(pruned)
}

async fn decision(reader: &Reader, index: u64) -> Result<Entry, OpenError> {
    let damaged =
        || OpenError::Damaged { what: "an open decision cannot be read", first_index: index, last_index: index };
    let bytes = entry_bytes(reader, index).await.map_err(|error| match error {
        ReadError::Store(error) => OpenError::Store(error),
        _ => damaged(),
    })?;
    Entry::parse(&bytes.ok_or_else(damaged)?).map_err(|_| damaged())
}

/// The stored bytes of one entry; `None` beyond the end, and where it was pruned and is not carried forward.
pub(crate) async fn entry_bytes(reader: &Reader, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
    match stored_entry(reader, index).await? {
        Some(stored) => Ok(Some(stored)),
        None => crate::prune::carried_entry(reader, index).await,
    }
}

/// The same; `None` where it was pruned, carried forward or not.
pub(crate) async fn stored_entry(reader: &Reader, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(bundle) = reader.bundle_of(index).await? else { return Ok(None) };
    let position = usize::try_from(index - bundle.first_index).unwrap_or(usize::MAX);
    match frames::iter(&bundle.bytes).nth(position) {
        Some(Ok(entry)) => Ok(Some(entry.to_vec())),
        _ => {
            let (first_index, last_index) = (bundle.first_index, bundle.first_index + bundle.count - 1);
            Err(ReadError::Damaged { first_index, last_index })
        }
    }
}

/// Hashes the bundles behind the last checkpoint again and compares with the head.
///
/// Returns where it began, and the size of that checkpoint. A whole log is what `millgate audit fsck` checks; a start
/// must take seconds.
async fn verify_tail(reader: &Reader, head: &Head) -> Result<(u64, u64), OpenError> {
    let last = reader.last_checkpoint().await?;
    let mut range = match &last {
        Some(checkpoint) => checked_range(checkpoint, head.size())?,
        None => CompactRange::new(),
    };
    let (from, known) = (range.size(), last.map_or(0, |checkpoint| checkpoint.range.size()));
    loop {
        let bundles = reader.bundles(range.size()).await?;
        if bundles.is_empty() {
            break;
        }
        for bundle in bundles {
            let first_index = range.size();
            let damaged = |what, last_index| OpenError::Damaged { what, first_index, last_index };
            if bundle.first_index != first_index {
                return Err(damaged("they are missing", bundle.first_index - 1));
            }
            let last_index = first_index + bundle.count.max(1) - 1;
            for entry in frames::iter(&bundle.bytes) {
                range.push(tlog::leaf_hash(entry.map_err(|_| damaged("their lengths do not fit", last_index))?));
            }
            if range.size() - first_index != bundle.count {
                return Err(damaged("their number is not the stored one", last_index));
            }
        }
    }
    if range == head.range {
        return Ok((from, known));
    }
    let last_index = range.size().max(head.size()).saturating_sub(1);
    let what = if range.size() == head.size() { "they do not hash to the head" } else { "they are not the head's" };
    Err(OpenError::Damaged { what, first_index: from.min(last_index), last_index })
}

fn checked_range(row: &CheckpointRow, size: u64) -> Result<CompactRange, OpenError> {
    let signed = tlog::note::Note::parse(&row.note).ok().and_then(|note| Checkpoint::parse(note.text).ok());
    let fits = signed.is_some_and(|c| (c.size, c.root) == (row.range.size(), row.range.root()));
    let last_index = row.range.size().saturating_sub(1);
    if !fits {
        let what = "the last checkpoint contradicts the range beside it";
        return Err(OpenError::Damaged { what, first_index: 0, last_index });
    }
    if row.range.size() > size {
        let what = "a checkpoint was signed over them and they are gone";
        return Err(OpenError::Damaged { what, first_index: size, last_index });
    }
    Ok(row.range.clone())
}
