//! Pruning: entries that a written policy keeps no longer go, from the beginning of the log on (C2SP tlog-tiles, Pruning).
//!
//! What goes is a prefix of whole bundles: all entries before a new *minimum index*, with the values behind them. What stays is
//! their hashes, 32 bytes each, so that the tree and every proof of later entries, and of the hashes themselves, are what they
//! were; entries that later ones depend on, which are *carried forward*; and the entry of kind `pruning` that says all this,
//! which becomes durable in the same transaction or not at all.
//!
//! A prefix ends before the first entry that must still be kept: one that is not old enough, one in which somebody on hold takes
//! part, an exchange without outcome, one that no checkpoint (or no quorum of witnesses) is signed over. So nothing is kept in
//! the middle of what is gone.
//!
//! Nothing goes while the clock may be wrong (`belief.rs`), and a pruning that no signed checkpoint covers is held against
//! the policy and what is published before anything rests on it (`vouch.rs`).
//!
//! What this does **not** do: it takes nothing away that is published (the publisher does, later), and contents that
//! entries name by digest stay, because they are shared and name nobody.

mod behind;
mod carried;
mod marks;
mod stretch;
mod target;
mod vouch;

pub use target::{HeldBack, Preview, preview};

use crate::append::Log;
use crate::batch::sha256;
use crate::erase::{EraseError, Retention, Retired};
use crate::error::{AppendError, ReadError};
use crate::reader::Reader;
use crate::recover::stored_entry;
use behind::Behind;
pub(crate) use carried::{carried, carried_entry, carried_under};
use model::canonical::{Members, Value};
use model::entry::{Common, Content, Draft, DraftError, Entry, Kind, Place};
use model::pruning::{self, Prune, Pruning, WIDTH};
use model::{Digest, OrganisationId, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stretch::Stretch;
use target::Target;
use tlog::tile::{Kind as TileKind, TilePath};
pub(crate) use vouch::{check_carried, check_signed, check_unsigned};

/// What is gone of a log, for whoever asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Entries before this one are gone.
    pub below: u64,
    /// The entry that says so.
    pub under: u64,
    /// All of them are of before this time.
    pub before: Timestamp,
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { below, under, before } = self;
        write!(f, "entries before {below}, of before {before}, were pruned under entry {under}")
    }
}

impl Pruned {
    /// `{"before":…,"below":…,"under":…}`
    pub fn to_value(self) -> Value {
        let number = |n: u64| Value::int(i64::try_from(n).unwrap_or(i64::MAX));
        Value::object([
            ("before", Value::text(self.before.to_rfc3339())),
            ("below", number(self.below)),
            ("under", number(self.under)),
        ])
    }

    /// The same for scripts.
    pub fn to_json(self) -> serde_json::Value {
        let Self { below, under, before } = self;
        serde_json::json!({ "before": before.to_rfc3339(), "below": below, "under": under })
    }

    /// The inverse of [`Pruned::to_value`].
    pub fn of_value(value: &Value) -> Option<Self> {
        let number = |name: &str| u64::try_from(value.get(name)?.as_int()?).ok();
        let before = value.get("before")?.as_text().and_then(Timestamp::parse_rfc3339)?;
        Some(Self { below: number("below")?, under: number("under")?, before })
    }

    /// Whether a question about entries from `first` on, of `from` and later, is about some of what is gone.
    pub(crate) fn concerns(&self, first: u64, from: Option<Timestamp>) -> bool {
        first < self.below && from.is_none_or(|from| from < self.before)
    }
}

/// What bounds a pruning beside the policy.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The directory that the log is published to, whose tiles must have the hashes.
    pub published: PathBuf,
    /// Only what a quorum of witnesses has cosigned.
    pub is_witnessed: bool,
}

/// Why entries were not pruned, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    #[error(transparent)]
    Erase(#[from] EraseError),
    #[error("the audit log could not be read")]
    Read(#[from] ReadError),
    #[error("the pruning could not be recorded; what was not recorded is still there")]
    Append(#[from] AppendError),
    #[error("the pruning makes no entry")]
    Draft(#[from] DraftError),
    #[error(
        "the store cannot be pruned yet: give `millgate audit store init` once more, with the program of this version"
    )]
    OldSchema,
    #[error("{0}: nothing was pruned")]
    Policy(String),
    #[error(
        "entries from {first} on were not pruned: at each end of a bundle up to entry {reach} exchanges reach over it, at the fewest {open}, or so \
         much is carried forward, that one entry cannot say which. Start the broker once more: that ends all exchanges, and entries of before go \
         once they are old enough; if it was started since then, nothing is to be done but wait"
    )]
    NoCut { first: u64, reach: u64, open: usize },
    #[error(
        "nothing was pruned: who owns the store has {}, and `[audit.retention]` says {days}; give `millgate audit store init` with \
         `--writer ROLE --config FILE`",
        floor.map_or(String::from("not said for how long the broker's role keeps entries"), |floor| format!("said that the broker's role keeps entries for at least {floor} days"))
    )]
    Floor { floor: Option<u32>, days: u32 },
    /// A fault of ours, or a clock that was set back in the middle of it.
    #[error("the entry would have said something wrong, {0}: nothing was pruned by it")]
    Faulty(String),
    #[error(
        "the store says that entries before {stored} were pruned, and this run of the broker knows of those before {known}: somebody else \
         has written to the store; run `millgate audit fsck`"
    )]
    Foreign { stored: u64, known: u64 },
    #[error(
        "entries {first} to {last} are stored otherwise than published, so their hashes cannot take their place; run `millgate audit fsck`"
    )]
    Differs { first: u64, last: u64 },
}

impl From<crate::store::StoreError> for PruneError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// What the pruning that counts says; `None` where nothing was pruned.
///
/// # Errors
/// When the store cannot be read. An entry that is none, or says nothing that can be understood, counts as damage.
pub(crate) async fn latest(reader: &Reader) -> Result<Option<Pruning>, ReadError> {
    let Some((index, minimum)) = reader.prunings().await?.last().copied() else { return Ok(None) };
    match read_at(reader, index).await?.filter(|said| said.minimum == minimum) {
        Some(pruning) => Ok(Some(pruning)),
        None => Err(ReadError::Damaged { first_index: 0, last_index: index }),
    }
}

/// The pruning that stands at this index, if one without fault does.
async fn read_at(reader: &Reader, index: u64) -> Result<Option<Pruning>, ReadError> {
    let entry = stored_entry(reader, index).await?.and_then(|bytes| Entry::parse(&bytes).ok());
    let said = entry.and_then(|entry| Pruning::read(index, &entry)?.ok());
    Ok(said.filter(|said| said.fault().is_none()))
}

/// What is gone of the log in this store.
pub(crate) async fn pruned(reader: &Reader) -> Result<Option<Pruned>, ReadError> {
    let said = latest(reader).await?;
    Ok(said.map(|said| Pruned { below: said.minimum, under: said.index, before: said.before }))
}

impl Log {
    /// What is gone of this log.
    pub fn pruned(&self) -> Option<Pruned> {
        *self.inner.shared.pruned.borrow()
    }

    /// Entries of what is gone that are carried forward, by index, ascending.
    ///
    /// # Errors
    /// When the store cannot be read, or one of which the pruning speaks is missing there or is another one.
    pub async fn carried(&self) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
        carried(&self.inner.reader).await
    }

    /// Prunes what is older than the policy keeps, by whole months. The answer is how many entries went.
    ///
    /// # Errors
    /// When the store cannot be read, or an entry cannot be written: what has no entry is still there.
    pub async fn prune(&self, retention: &Retention, bounds: &Bounds) -> Result<u64, PruneError> {
        let Some(kept) = &retention.entries else { return Ok(0) };
        if let Some(fault) = pruning::days_fault(kept.days, &retention.days) {
            return Err(PruneError::Policy(fault));
        }
        let alone = self.alone().await;
        let reader = &self.inner.reader;
        if !reader.can_prune().await? {
            return Err(PruneError::OldSchema);
        }
        let now = self.time_to_delete_by(self.inner.shared.now()).await?;
        let floor = reader.keeps().await?;
        if floor.is_some_and(|floor| floor.is_none_or(|floor| kept.days < floor)) {
            return Err(PruneError::Floor { floor: floor.flatten(), days: kept.days });
        }
        let held = self.held(&retention.holds).await?;
        let cosigned = bounds.is_witnessed.then(|| self.status().witnessed_size);
        let mut said = self.known(latest(reader).await?)?;
        let target = Target::find(reader, said.as_ref(), kept.days, &held, now, cosigned).await?;
        let Target { minimum: first, reach, .. } = target;
        if reach == first {
            return Ok(0);
        }
        // Everybody in it has an entry, which is gone then or is marked.
        let directory = reader.directory().await?;
        let mut behind = Behind::of(reader, first, self.size()).await?;
        let mut at = first;
        while at < reach {
            self.time_to_delete_by(now).await?;
            behind.go_on(reader, self.size()).await?;
            let carried = carried(reader).await?;
            let stretch = Stretch::read(reader, (at, reach), said.as_ref(), carried, &behind).await?;
            let mut stretch = stretch.compare(&bounds.published).await?;
            let mut nobody = Vec::new();
            if stretch.minimum == reach {
                stretch.carried().iter().for_each(|(_, bytes)| behind.marks.see(u64::MAX, bytes));
                nobody = self.nobody(&directory, reach, &mut behind).await?;
            }
            let references = nobody.iter().map(|one: &Retired| one.reference().to_owned()).collect();
            let prune = stretch.prune(references);
            let minimum = prune.minimum;
            let draft = self.pruning_draft(retention, &stretch, Arc::new(prune))?;
            if let Some(fault) = fault(&draft, self.size(), said.as_ref()) {
                return Err(PruneError::Faulty(fault));
            }
            let appended = self.append_alone(draft, &alone, nobody).await?;
            tracing::warn!(
                first = at,
                minimum,
                under = appended.index,
                before = stretch.before.to_rfc3339(),
                "entries of the audit log were pruned, as the policy says"
            );
            said = self.known(latest(reader).await?)?;
            at = minimum;
        }
        drop(alone);
        self.scrub().await;
        Ok(at - first)
    }

    /// What the store says was pruned must be what this run has found at its start and written since.
    fn known(&self, said: Option<Pruning>) -> Result<Option<Pruning>, PruneError> {
        let stored = said.as_ref().map(|said| (said.minimum, said.index));
        let known = self.pruned().map(|known| (known.below, known.under));
        if stored == known {
            return Ok(said);
        }
        let below = |of: Option<(u64, u64)>| of.map_or(0, |(below, _)| below);
        Err(PruneError::Foreign { stored: below(stored), known: below(known) })
    }

    /// Persons of whom no entry is left at `reach` and behind. From here on nothing of theirs is written under the reference that
    /// they had.
    async fn nobody(
        &self,
        directory: &[model::entry::DirectoryRow],
        reach: u64,
        behind: &mut Behind,
    ) -> Result<Vec<Retired>, PruneError> {
        let mut nobody = Vec::new();
        for row in directory.iter().filter(|row| !behind.marks.has_from(reach, &row.reference)) {
            nobody.push(Retired::new(self, row.reference.clone()).await?);
        }
        // Somebody may have come back meanwhile.
        let size = nobody.iter().map(Retired::size).max().unwrap_or(0);
        behind.go_on(&self.inner.reader, size).await?;
        nobody.retain(|one| !behind.marks.has_from(reach, one.reference()));
        Ok(nobody)
    }

    fn pruning_draft(&self, retention: &Retention, stretch: &Stretch, prune: Arc<Prune>) -> Result<Draft, PruneError> {
        let text = retention.text();
        let policy = Digest(sha256(&text));
        let days = retention.entries.as_ref().map_or(0, |kept| kept.days);
        let common = self.common();
        let mut room = stretch.organisations.len();
        loop {
            let draft = draft(&common, (policy, days), stretch, &prune, room);
            match draft {
                Err(DraftError::TooLarge(_)) if room > 0 => room /= 2,
                draft => {
                    let mut draft = draft?;
                    draft.content.push(Content { digest: policy, bytes: text.into() });
                    draft.prune = Some(prune);
                    return Ok(draft);
                }
            }
        }
    }
}

/// What is wrong with what the entry would say at the end of a log of `size` entries, behind the pruning before. Once it is
/// written the log does not open with it.
fn fault(draft: &Draft, size: u64, before: Option<&Pruning>) -> Option<String> {
    let entry = Entry::parse(&draft.seal(None)).ok();
    let Some(Some(Ok(said))) = entry.map(|entry| Pruning::read(size, &entry)) else {
        return Some(String::from("what cannot be read"));
    };
    said.fault().or_else(|| said.fault_behind(before))
}

/// With as many organisations as there is room for.
fn draft(
    common: &Common,
    (policy, days): (Digest, u32),
    stretch: &Stretch,
    prune: &Prune,
    room: usize,
) -> Result<Draft, DraftError> {
    let number = |n: u64| Value::int(i64::try_from(n).unwrap_or(i64::MAX));
    let numbers = |numbers: &mut dyn Iterator<Item = u64>| Value::Array(numbers.map(number).collect());
    let mut members = Members::default();
    members.text("event", "pruned");
    members.count("first", stretch.first);
    members.count("minimum", stretch.minimum);
    members.count("count", stretch.minimum - stretch.first);
    members.text("before", stretch.before.to_rfc3339());
    members.count("days", u64::from(days));
    members.hex("policy", &policy.0);
    let organisations: &BTreeMap<OrganisationId, Place> = &stretch.organisations;
    let place = |place: &Place| Value::Array(vec![number(place.sequence), number(place.previous.unwrap_or(0))]);
    let some = organisations.iter().take(room).map(|(id, of)| (id.to_string(), place(of)));
    members.value("organisations", &Value::object(some));
    let left_out = (organisations.len() - room) as u64 + stretch.organisations_left_out;
    if left_out > 0 {
        members.count("organisations_left_out", left_out);
    }
    members.value("open", &numbers(&mut stretch.open.iter().copied()));
    members.value("carried", &numbers(&mut prune.carried.iter().map(|(index, _)| *index)));
    if !prune.references.is_empty() {
        members.count("directory", prune.references.len() as u64);
    }
    Draft::new(Kind::Pruning, common, None, members, Vec::new())
}

/// The tile of level 0 that a bundle's hashes are in, as it is published.
fn published_tile(dir: &Path, number: u64) -> PathBuf {
    let width = u16::try_from(WIDTH).unwrap_or(u16::MAX);
    dir.join(TilePath { kind: TileKind::Tile(0), index: number, width }.to_path())
}
