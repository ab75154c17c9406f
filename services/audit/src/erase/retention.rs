//! Erasing by age, as a written policy says. Never silent: the entry names the policy, and the policy's text is kept.

use super::{EraseError, Holds, ROWS_AT_ONCE, class_names, held, without};
use crate::append::Log;
use crate::batch::sha256;
use crate::belief::ClockDoubt;
use crate::frames;
use crate::store::{Bundle, DisclosureRow};
use model::canonical::{Members, Value};
use model::entry::{CommitmentClass, Content, Draft, Entry, Erase, Kind};
use model::erasure::{Held, People};
use model::{Digest, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How long values are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Days, by class; a class that is not there is kept as long as its entry.
    pub days: BTreeMap<CommitmentClass, u32>,
    pub holds: Holds,
    /// How long entries themselves are kept; `None` is for ever.
    pub entries: Option<Kept>,
}

/// How long entries are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub days: u32,
    /// The policy in words, or where it stands.
    pub statement: Option<String>,
}

const DAY_MS: i64 = 86_400_000;
/// Entries can wait for their turn behind later ones; more than this is a clock that was wrong.
const LATE_MS_MAX: i64 = 60_000;
/// The broker's clock may be ahead of the store's by less than this; `pruning.sql` has it too.
const AHEAD_MS_MAX: i64 = 3_600_000;

impl Retention {
    /// The policy as it is written down, in canonical JSON. It names nobody: who is on hold, entries say by reference.
    pub fn text(&self) -> Vec<u8> {
        let days = self.days.iter().map(|(class, days)| (class.as_str(), Value::int(i64::from(*days))));
        let entries = self.entries.as_ref().map(|kept| {
            let days = ("days", Value::int(i64::from(kept.days)));
            let statement = kept.statement.as_deref().map(|text| ("statement", Value::text(text)));
            ("entries", Value::object([days].into_iter().chain(statement)))
        });
        let members = [("disclosures_days", Value::object(days)), ("v", Value::text("millgate-retention/1"))];
        Value::object(members.into_iter().chain(entries)).encode()
    }
}

/// A stretch of rows, and what becomes of them.
#[derive(Debug, Default)]
struct Part {
    range: Option<(u64, u64)>,
    erase: Erase,
}

/// Which entries are from before a time.
#[derive(Debug)]
struct Old {
    before: Timestamp,
    /// All before this index.
    surely: u64,
    /// Some of those between the two, and none from here on.
    end: u64,
}

/// Entries of the bundle that are old enough and of nobody on hold. What cannot be understood stays.
fn going_of<'b>(bundle: &'b Bundle, held: &'b Held, before: Timestamp) -> impl Iterator<Item = u64> + 'b {
    let goes = move |entry: &[u8]| {
        Entry::parse(entry).is_ok_and(|entry| entry.time < before && !held.keeps(&People::of(&entry)))
    };
    let entries = (bundle.first_index..).zip(frames::iter(&bundle.bytes));
    let entries = entries.filter(move |_| bundle.time_first < before);
    entries.filter(move |(_, entry)| entry.as_ref().is_ok_and(|entry| goes(entry))).map(|(index, _)| index)
}

impl Log {
    /// Erases what is older than the policy allows, in whole days, `now` being by the log's clock. The answer is how many entries
    /// lost values.
    ///
    /// # Errors
    /// When the store cannot be read, or an entry cannot be written: what has no entry has not been erased. When the clock may be
    /// wrong.
    pub async fn retain(&self, retention: &Retention, now: Timestamp) -> Result<u64, EraseError> {
        if retention.days.is_empty() {
            return Ok(0);
        }
        let alone = self.alone().await;
        let mut come_to = self.inner.shared.retained.lock().await;
        let now = self.time_to_delete_by(now).await?;
        let held = self.held(&retention.holds).await?;
        let today = now.millis().div_euclid(DAY_MS);
        let mut count = 0;
        for (class, days) in &retention.days {
            let before = Timestamp((today - i64::from(*days)).saturating_mul(DAY_MS));
            let old = self.old(before).await?;
            let mut at = come_to.get(class).copied().unwrap_or(0);
            while at < old.end {
                let rows = u32::try_from(ROWS_AT_ONCE).unwrap_or(u32::MAX);
                let rows = self.inner.reader.disclosures((at, old.end - 1), rows).await?;
                let Some(last) = rows.last().map(|row| row.entry_index) else { break };
                let part = self.part(&rows, *class, &held, &old).await?;
                let erased = (part.erase.deleted.len() + part.erase.rewritten.len()) as u64;
                if erased > 0 {
                    let draft = self.retention_draft(retention, *class, before, &held, part)?;
                    self.append_alone(draft, &alone, Vec::new()).await?;
                }
                count += erased;
                at = last + 1;
            }
            come_to.insert(*class, old.surely);
        }
        drop((come_to, alone));
        if count > 0 {
            self.scrub().await;
        }
        Ok(count)
    }

    /// The time by which it is told what is old enough to go: `now`, or that of the store's clock where that is a little behind.
    ///
    /// # Errors
    /// When one of the clocks may be wrong.
    pub(crate) async fn time_to_delete_by(&self, now: Timestamp) -> Result<Timestamp, EraseError> {
        if let Some(doubt) = self.inner.shared.clock_doubt() {
            return Err(doubt.into());
        }
        match self.inner.reader.clock().await? {
            Some(database) if now.millis().saturating_sub(database.millis()) >= AHEAD_MS_MAX => {
                Err(ClockDoubt::Database { now, database }.into())
            }
            Some(database) => Ok(now.min(database)),
            None => Ok(now),
        }
    }

    /// Entries of before that time. One whose clock was ahead does not keep those behind it from being found, or it would end
    /// retention for as long as it is ahead.
    async fn old(&self, before: Timestamp) -> Result<Old, EraseError> {
        let reader = &self.inner.reader;
        let size = self.size();
        let surely = reader.first_index_of_time(before).await?.unwrap_or(size);
        let end = match reader.bundles_of_time((Timestamp(i64::MIN), before.plus_millis(-1))).await? {
            Some((_, last)) => reader.bundle_of(last).await?.map_or(surely, |bundle| bundle.first_index + bundle.count),
            None => surely,
        };
        let end = end.max(surely);
        if surely < end
            && let Some(ahead) = reader.bundle_of(surely).await?
            && ahead.time_last >= before.plus_millis(LATE_MS_MAX)
        {
            let (index, time) = (ahead.first_index, ahead.time_last.to_rfc3339());
            tracing::warn!(
                index,
                time,
                "entries from here on have a later time than others behind them, so the clock was wrong; each is kept by its own time"
            );
        }
        Ok(Old { before, surely, end })
    }

    async fn part(
        &self,
        rows: &[DisclosureRow],
        class: CommitmentClass,
        held: &Held,
        old: &Old,
    ) -> Result<Part, EraseError> {
        let span = rows.first().zip(rows.last()).map(|(first, last)| (first.entry_index, last.entry_index));
        let going = match span {
            Some(span) if !held.is_empty() || span.1 >= old.surely => Some(self.going(span, held, old.before).await?),
            _ => None,
        };
        let mut part = Part::default();
        for DisclosureRow { entry_index: index, body } in rows {
            if going.as_ref().is_some_and(|going| !going.contains(index)) {
                continue;
            }
            match without(body, &[class]) {
                (false, _) => continue,
                (true, None) => part.erase.deleted.push(*index),
                (true, Some(left)) => part.erase.rewritten.push((*index, left)),
            }
            part.range = Some((part.range.map_or(*index, |(first, _)| first), *index));
        }
        Ok(part)
    }

    /// Entries between these that are old enough and of nobody on hold.
    async fn going(
        &self,
        (first, last): (u64, u64),
        held: &Held,
        before: Timestamp,
    ) -> Result<BTreeSet<u64>, EraseError> {
        let reader = &self.inner.reader;
        let mut found = BTreeSet::new();
        let mut at = reader.bundle_of(first).await?.map_or(first, |bundle| bundle.first_index);
        while at <= last {
            let bundles = reader.bundles(at).await?;
            let Some(next) = bundles.last().map(|bundle| bundle.first_index + bundle.count.max(1)) else { break };
            bundles.iter().for_each(|bundle| found.extend(going_of(bundle, held, before)));
            at = next;
        }
        Ok(found)
    }

    fn retention_draft(
        &self,
        retention: &Retention,
        class: CommitmentClass,
        before: Timestamp,
        held: &Held,
        part: Part,
    ) -> Result<Draft, EraseError> {
        let text = retention.text();
        let policy = Digest(sha256(&text));
        let mut members = Members::default();
        members.text("event", "retention");
        members.text("scope", "retention");
        members.value("classes", &class_names(&[class]));
        members.count("count", (part.erase.deleted.len() + part.erase.rewritten.len()) as u64);
        members.text("before", before.to_rfc3339());
        members.hex("policy", &policy.0);
        if let Some((first, last)) = part.range {
            members.count("first", first);
            members.count("last", last);
        }
        held::say(held, &mut members);
        let mut draft = Draft::new(Kind::Erasure, &self.common(), None, members, Vec::new())?;
        draft.content.push(Content { digest: policy, bytes: text.into() });
        draft.erase = Some(Box::new(part.erase));
        Ok(draft)
    }
}
