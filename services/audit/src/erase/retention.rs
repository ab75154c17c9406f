//! Erasing by age, as a written policy says. Never silent: the entry names the policy, and the policy's text is kept.

use super::{EraseError, Holds, ROWS_AT_ONCE, class_names, without};
use crate::append::Log;
use crate::batch::sha256;
use crate::frames;
use crate::store::DisclosureRow;
use model::canonical::{Members, Value};
use model::entry::{CommitmentClass, Content, Draft, Entry, Erase, Kind};
use model::erasure::People;
use model::{Digest, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How long values are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Days, by class; a class that is not there is kept.
    pub days: BTreeMap<CommitmentClass, u32>,
    pub holds: Holds,
}

const DAY_MS: i64 = 86_400_000;

impl Retention {
    /// The policy as it is written down, in canonical JSON. It names nobody: who is on hold, entries say by reference.
    pub fn text(&self) -> Vec<u8> {
        let days = self.days.iter().map(|(class, days)| (class.as_str(), Value::int(i64::from(*days))));
        Value::object([("disclosures_days", Value::object(days)), ("v", Value::text("millgate-retention/1"))]).encode()
    }
}

/// Who is on hold, as entries know them.
#[derive(Debug, Default)]
struct Held {
    references: BTreeSet<String>,
    organisations: BTreeSet<String>,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.references.is_empty() && self.organisations.is_empty()
    }

    fn holds(&self, entry: &[u8]) -> bool {
        Entry::parse(entry).is_ok_and(|entry| {
            let people = People::of(&entry);
            !people.references.is_disjoint(&self.references) || !people.organisations.is_disjoint(&self.organisations)
        })
    }
}

/// A stretch of rows, and what becomes of them.
#[derive(Debug, Default)]
struct Part {
    range: Option<(u64, u64)>,
    erase: Erase,
}

impl Log {
    /// Erases what is older than the policy allows, in whole days. The answer is how many entries lost values.
    ///
    /// # Errors
    /// When the store cannot be read, or an entry cannot be written: what has no entry has not been erased.
    pub async fn retain(&self, retention: &Retention, now: Timestamp) -> Result<u64, EraseError> {
        let mut come_to = self.inner.shared.erasing.lock().await;
        let held = self.held(&retention.holds).await?;
        let today = now.millis().div_euclid(DAY_MS);
        let mut count = 0;
        for (class, days) in &retention.days {
            let before = Timestamp((today - i64::from(*days)).saturating_mul(DAY_MS));
            let end = self.inner.reader.first_index_of_time(before).await?.unwrap_or(self.size());
            let mut at = come_to.get(class).copied().unwrap_or(0);
            while at < end {
                let rows = u32::try_from(ROWS_AT_ONCE).unwrap_or(u32::MAX);
                let rows = self.inner.reader.disclosures((at, end - 1), rows).await?;
                let Some(last) = rows.last().map(|row| row.entry_index) else { break };
                let part = self.part(&rows, *class, &held).await?;
                let erased = (part.erase.deleted.len() + part.erase.rewritten.len()) as u64;
                if erased > 0 {
                    self.append(self.retention_draft(retention, *class, before, &held, part)?).await?;
                }
                count += erased;
                at = last + 1;
            }
            come_to.insert(*class, end);
        }
        drop(come_to);
        if count > 0 {
            self.scrub().await;
        }
        Ok(count)
    }

    async fn held(&self, holds: &Holds) -> Result<Held, EraseError> {
        let mut held = Held { organisations: holds.organisations().map(str::to_owned).collect(), ..Held::default() };
        for principal in holds.principals() {
            held.references.extend(self.inner.reader.reference_of(principal).await?);
        }
        Ok(held)
    }

    async fn part(&self, rows: &[DisclosureRow], class: CommitmentClass, held: &Held) -> Result<Part, EraseError> {
        let span = rows.first().zip(rows.last()).map(|(first, last)| (first.entry_index, last.entry_index));
        let on_hold = match span {
            Some(span) if !held.is_empty() => self.on_hold(span, held).await?,
            _ => BTreeSet::new(),
        };
        let mut part = Part::default();
        for DisclosureRow { entry_index: index, body } in rows {
            if on_hold.contains(index) {
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

    /// Entries of those on hold, between these.
    async fn on_hold(&self, (first, last): (u64, u64), held: &Held) -> Result<BTreeSet<u64>, EraseError> {
        let reader = &self.inner.reader;
        let mut found = BTreeSet::new();
        let mut at = reader.bundle_of(first).await?.map_or(first, |bundle| bundle.first_index);
        while at <= last {
            let bundles = reader.bundles(at).await?;
            let Some(next) = bundles.last().map(|bundle| bundle.first_index + bundle.count.max(1)) else { break };
            for bundle in &bundles {
                let entries = (bundle.first_index..).zip(frames::iter(&bundle.bytes));
                let of_held = entries.filter(|(_, entry)| entry.as_ref().is_ok_and(|entry| held.holds(entry)));
                found.extend(of_held.map(|(index, _)| index));
            }
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
        if !held.references.is_empty() {
            members.texts("held", &held.references);
        }
        if !held.organisations.is_empty() {
            members.texts("held_organisations", &held.organisations);
        }
        let mut draft = Draft::new(Kind::Erasure, &self.common(), None, members, Vec::new())?;
        draft.content.push(Content { digest: policy, bytes: text.into() });
        draft.erase = Some(part.erase);
        Ok(draft)
    }
}
