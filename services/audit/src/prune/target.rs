//! How far a log can be pruned, and what keeps the rest.

use super::latest;
use crate::batch::sha256;
use crate::erase::{EraseError, Retention, held_of};
use crate::error::ReadError;
use crate::frames;
use crate::publish::parse_note;
use crate::reader::{Reader, StoreAt};
use model::Timestamp;
use model::entry::Entry;
use model::erasure::{Held, People};
use model::pruning::{Pruning, WIDTH, days_fault};
use serde::Serialize;
use std::path::Path;

const DAY_MS: i64 = 86_400_000;

/// Why an entry is kept, and all behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    Young(Timestamp),
    Open,
    Hold,
    Unreadable,
    Checkpoint,
    Witnesses,
}

/// The first entry that must be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldBack {
    pub index: u64,
    /// In words.
    pub why: String,
}

impl Why {
    fn at(&self, index: u64, cut_off: Timestamp) -> HeldBack {
        let why = match self {
            Self::Young(time) => format!("it is of {time}, and entries of before {cut_off} go"),
            Self::Open => String::from("its exchange has no outcome yet"),
            Self::Hold => String::from("somebody on hold takes part in it (`audit.legal_holds`)"),
            Self::Unreadable => String::from("it cannot be read; run `millgate audit fsck`"),
            Self::Checkpoint => String::from("no checkpoint is signed over it yet"),
            Self::Witnesses => {
                String::from("no quorum of witnesses has cosigned a checkpoint over it since the log was opened")
            }
        };
        HeldBack { index, why }
    }
}

/// How far a run goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The minimum index now, and after the run.
    pub minimum: u64,
    pub reach: u64,
    /// Entries of before this time are not kept: the beginning of a month.
    pub cut_off: Timestamp,
    pub held_back: HeldBack,
}

impl Target {
    /// `cosigned`: entries that a quorum of witnesses has cosigned, where that is asked for.
    pub(super) async fn find(
        reader: &Reader,
        said: Option<&Pruning>,
        days: u32,
        held: &Held,
        now: Timestamp,
        cosigned: Option<u64>,
    ) -> Result<Self, ReadError> {
        let minimum = said.map_or(0, |said| said.minimum);
        let today = now.millis().div_euclid(DAY_MS);
        let cut_off = Timestamp((today - i64::from(days)).max(0) * DAY_MS).start_of_month();
        let signed = reader.last_checkpoint().await?.map_or(0, |last| last.range.size());
        let head = reader.head().await?;
        let mut bounds = vec![(signed, Why::Checkpoint)];
        bounds.extend(cosigned.map(|cosigned| (cosigned, Why::Witnesses)));
        bounds.extend(head.open.iter().next().map(|open| (open, Why::Open)));
        let Some((bound, why)) = bounds.into_iter().min_by_key(|(index, _)| *index) else {
            return Err(ReadError::Closed);
        };
        let stop = first_kept(reader, (minimum, bound), cut_off, held).await?;
        let (at, why) = stop.unwrap_or((bound, why));
        let reach = (at / WIDTH * WIDTH).max(minimum);
        Ok(Self { minimum, reach, cut_off, held_back: why.at(at, cut_off) })
    }
}

/// The first entry between these that must be kept for itself.
async fn first_kept(
    reader: &Reader,
    (first, end): (u64, u64),
    cut_off: Timestamp,
    held: &Held,
) -> Result<Option<(u64, Why)>, ReadError> {
    let mut at = first;
    while at < end {
        let bundles = reader.bundles(at).await?;
        let Some(next) = bundles.last().map(|bundle| bundle.first_index + bundle.count.max(1)) else {
            return Ok(Some((at, Why::Unreadable)));
        };
        let held = held.clone();
        let look = move || {
            for bundle in &bundles {
                if bundle.first_index != at || sha256(&bundle.bytes) != bundle.sha256 {
                    return Some((at, Why::Unreadable));
                }
                for (index, entry) in (at..).zip(frames::iter(&bundle.bytes)) {
                    let Some(entry) = entry.ok().and_then(|entry| Entry::parse(entry).ok()) else {
                        return Some((index, Why::Unreadable));
                    };
                    if entry.time >= cut_off {
                        return Some((index, Why::Young(entry.time)));
                    }
                    if !held.is_empty() && held.keeps(&People::of(&entry)) {
                        return Some((index, Why::Hold));
                    }
                }
                at += bundle.count;
            }
            None
        };
        let stop = tokio::task::spawn_blocking(look).await.map_err(|_| ReadError::Closed)?;
        if let Some((index, why)) = stop {
            return Ok((index < end).then_some((index, why)));
        }
        at = next;
    }
    Ok(None)
}

/// What a pruning would do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The first entry that is kept now.
    pub minimum: u64,
    /// The first entry that would be kept.
    pub would_be: u64,
    /// Entries that would go.
    pub count: u64,
    /// Entries of before this time are not kept any longer.
    pub cut_off: String,
    pub days: u32,
    /// What keeps the next one.
    pub held_back: HeldBack,
    /// The policy's text, as an entry would name it by digest.
    pub policy: String,
    pub policy_digest: String,
}

/// Looks at the log in this store, whoever has it open, and changes nothing. `published`: the directory whose checkpoint
/// witnesses must have cosigned, where that is asked for, as `cosigned` tells of its note.
///
/// # Errors
/// When there is no log, or it cannot be read; when the policy keeps entries for ever or for too short a time.
pub async fn preview(
    store: impl Into<StoreAt>,
    retention: &Retention,
    now: Timestamp,
    cosigned: Option<&(dyn Fn(&str) -> bool + Send + Sync)>,
    published: &Path,
) -> Result<Preview, super::PruneError> {
    let policy = |what: String| super::PruneError::Policy(what);
    let kept = retention
        .entries
        .as_ref()
        .ok_or_else(|| policy(String::from("entries are kept for ever: `[audit.retention]` has no `entries`")))?;
    if let Some(fault) = days_fault(kept.days, &retention.days) {
        return Err(policy(fault));
    }
    let reader = Reader::open_existing(store).await?;
    let held = held_of(&reader, &retention.holds).await.map_err(EraseError::from)?;
    let cosigned = cosigned.map(|is_quorum| {
        let note = std::fs::read_to_string(published.join(crate::publish::CHECKPOINT_FILE)).unwrap_or_default();
        let size = parse_note(&note).map_or(0, |named| named.size);
        if is_quorum(&note) { size } else { 0 }
    });
    let said = latest(&reader).await?;
    let target = Target::find(&reader, said.as_ref(), kept.days, &held, now, cosigned).await?;
    reader.close().await;
    let text = retention.text();
    Ok(Preview {
        minimum: target.minimum,
        would_be: target.reach,
        count: target.reach - target.minimum,
        cut_off: target.cut_off.to_rfc3339(),
        days: kept.days,
        held_back: target.held_back,
        policy_digest: model::Digest(sha256(&text)).to_hex(),
        policy: String::from_utf8_lossy(&text).into_owned(),
    })
}
