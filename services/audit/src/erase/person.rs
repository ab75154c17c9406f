//! Erasing one person: asked for by one, approved by another, carried out by the log.
//!
//! A person takes part in an entry as its principal or as one who acts for it. All classes of such an entry go, whichever
//! part it was: an address or a path belongs to both of them, and the class `subject` of an entry is one commitment that
//! names all of them. For the same reason nothing of it goes while one of them is on hold. What stands for the others, their references and the directory, stays. Values that others wrote and
//! that name the person (a search of the log for it) go by class.

use super::{EraseError, Holds, Pending, ROWS_AT_ONCE, class_names, erasures, find, held, number, without};
use crate::append::Log;
use crate::error::ReadError;
use crate::recover::entry_bytes;
use crate::writer::Urgent;
use model::canonical::{Members, Value};
use model::entry::{CommitmentClass, Draft, Entry, Erase, Kind};
use model::erasure::Held;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Entries of others in one erasure entry: their indices must fit into it.
const NAMED_AT_ONCE: usize = 2_000;

/// What an erasure came to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Erased {
    /// The entries that say so.
    pub entries: Vec<u64>,
    /// Entries whose values were erased.
    pub count: u64,
    /// Entries of others that named the person.
    pub named: u64,
    /// Entries whose values stay, because somebody takes part in them who is on hold.
    pub held: u64,
    /// Whether older copies of the values in the database are wiped too.
    pub wiped: bool,
}

impl Log {
    /// Carries a request out. Who approves must be another than who asked for it; the caller has made sure of that.
    ///
    /// From here to the end nothing is written that holds values of the person; whoever comes in that name is told to come
    /// back, and is then somebody new. What an interruption leaves undone, a second call does.
    ///
    /// Entries in which somebody takes part who is on hold keep all their values, those of whoever is erased among them.
    ///
    /// # Errors
    /// When the store cannot be read, or an entry cannot be written: what has no entry has not been erased. When the request
    /// has been carried out, or its name stands for somebody else now, or on hold.
    pub async fn erase(&self, pending: &Pending, approved_by: &str, holds: &Holds) -> Result<Erased, EraseError> {
        let alone = self.alone().await;
        let reader = &self.inner.reader;
        // Whoever is looked up and not found has no entry before this one.
        let size = self.size();
        let reference = self.still(pending, holds).await?;
        let mut retired = match &reference {
            Some(reference) => Some(Retired::new(self, reference.clone()).await?),
            None => None,
        };
        let end = retired.as_ref().map_or(size, Retired::size);
        // Not before `end` is known: whoever takes part in an entry before it has a reference by then.
        let held = Arc::new(self.held(holds).await?);
        let own = match &reference {
            Some(reference) => find::entries_of(reader, reference, end, &held).await?,
            None => find::Own::default(),
        };
        let (named, named_and_held) = match &pending.principal {
            Some(principal) => find::named(reader, principal, &own.all, end, &held).await?,
            None => (Vec::new(), 0),
        };
        let left = (own.all.len() - own.free.len()) as u64 + named_and_held;
        let mut parts = self.parts(&own.free, &named).await?;
        if parts.is_empty() {
            parts.push(Part::default());
        }
        if let Some(part) = parts.last_mut() {
            part.is_last = true;
            part.erase.references = reference.iter().cloned().collect();
        }
        let mut erased = Erased { entries: Vec::new(), count: 0, named: 0, held: left, wiped: false };
        for part in parts {
            erased.count += part.count();
            erased.named += part.named.values().map(|indices| indices.len() as u64).sum::<u64>();
            // With the last one the person is nobody any longer.
            let gone = if part.is_last { retired.take() } else { None };
            let draft = self.part_draft(pending, approved_by, &held, part)?;
            erased.entries.push(self.append_alone(draft, &alone, gone.into_iter().collect()).await?.index);
        }
        drop(alone);
        erased.wiped = self.scrub().await;
        Ok(erased)
    }

    /// The person's reference, if the request still is what it was: two can approve it at the same time, and another request
    /// may have been carried out meanwhile and the person have come back.
    async fn still(&self, pending: &Pending, holds: &Holds) -> Result<Option<String>, EraseError> {
        if let Some(done) = self.erasure_request(&pending.id).await?.and_then(|now| now.done) {
            return Err(EraseError::Done(done));
        }
        if pending.principal.as_ref().is_some_and(|principal| holds.hold(principal)) {
            return Err(EraseError::OnHold);
        }
        let reference = match &pending.principal {
            Some(principal) => self.inner.reader.reference_of(principal).await?,
            None => pending.reference.clone(),
        };
        if reference == pending.reference { Ok(reference) } else { Err(EraseError::Another) }
    }

    async fn parts(&self, own: &[u64], named: &[(u64, Vec<CommitmentClass>)]) -> Result<Vec<Part>, EraseError> {
        let reader = &self.inner.reader;
        let mut parts = Vec::new();
        for some in own.chunks(ROWS_AT_ONCE) {
            let range = some.first().copied().zip(some.last().copied());
            let mut part = Part { range, ..Part::default() };
            let mut at = range;
            while let Some((first, last)) = at {
                let rows = reader.disclosures((first, last), u32::try_from(ROWS_AT_ONCE).unwrap_or(u32::MAX)).await?;
                at = rows.last().map(|row| (row.entry_index + 1, last)).filter(|(first, last)| first <= last);
                let of_person = rows.iter().map(|row| row.entry_index).filter(|i| some.binary_search(i).is_ok());
                part.erase.deleted.extend(of_person);
            }
            parts.push(part);
        }
        for (n, some) in named.chunks(NAMED_AT_ONCE).enumerate() {
            // A small erasure is one entry.
            let mut part = if n == 0 { parts.pop().unwrap_or_default() } else { Part::default() };
            for (index, classes) in some {
                let Some(values) = reader.disclosure(*index).await? else { continue };
                match without(values.as_bytes(), classes) {
                    (false, _) => continue,
                    (true, None) => part.erase.deleted.push(*index),
                    (true, Some(left)) => part.erase.rewritten.push((*index, left)),
                }
                for class in classes {
                    part.named.entry(*class).or_default().push(*index);
                }
            }
            parts.push(part);
        }
        Ok(parts)
    }

    fn part_draft(&self, pending: &Pending, approved_by: &str, held: &Held, part: Part) -> Result<Draft, EraseError> {
        let mut members = Members::default();
        members.text("event", "erased");
        members.text("scope", "principal");
        members.text("request", &pending.id);
        members.count("requested", pending.index);
        members.text("basis", &pending.basis);
        members.text("requested_by", &pending.requested_by);
        members.text("approved_by", approved_by);
        members.value("classes", &class_names(&CommitmentClass::ALL));
        members.count("count", part.count());
        if let Some(reference) = &pending.reference {
            members.text("principal", reference);
        }
        held::say(held, &mut members);
        if let Some((first, last)) = part.range {
            members.count("first", first);
            members.count("last", last);
        }
        if part.is_last {
            members.bool("directory", true);
        }
        if !part.named.is_empty() {
            let named = part
                .named
                .iter()
                .map(|(class, indices)| (class.as_str(), Value::Array(indices.iter().copied().map(number).collect())));
            members.value("named", &Value::object(named));
        }
        let mut draft = Draft::new(Kind::Erasure, &self.common(), Some(&pending.organisation), members, Vec::new())?;
        draft.erase = Some(Box::new(part.erase));
        Ok(draft)
    }

    /// The entry under which values of this class behind the entry `index` were erased.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn erased_under(&self, index: u64, class: CommitmentClass) -> Result<Option<u64>, ReadError> {
        let reader = &self.inner.reader;
        let Some(bytes) = entry_bytes(reader, index).await? else { return Ok(None) };
        let Ok(entry) = Entry::parse(&bytes) else { return Ok(None) };
        Ok(erasures(reader).await?.of(index, &model::erasure::People::of(&entry), class))
    }

    /// Whom a reference stands for, unless erased.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn principal_of(&self, reference: &str) -> Result<Option<String>, ReadError> {
        Ok(self.inner.reader.principals_of(&[reference]).await?.remove(reference))
    }
}

/// What goes with one entry.
#[derive(Debug, Default)]
struct Part {
    range: Option<(u64, u64)>,
    named: BTreeMap<CommitmentClass, Vec<u64>>,
    erase: Erase,
    is_last: bool,
}

impl Part {
    fn count(&self) -> u64 {
        (self.erase.deleted.len() + self.erase.rewritten.len()) as u64
    }
}

/// Keeps values of a reference out of the log while it is being erased; for good with [`Retired::keep`].
#[derive(Debug)]
pub(crate) struct Retired {
    writer: mpsc::UnboundedSender<Urgent>,
    reference: Option<String>,
    /// Of the log when it began.
    size: u64,
}

impl Retired {
    pub(crate) async fn new(log: &Log, reference: String) -> Result<Self, EraseError> {
        let (done, answer) = oneshot::channel();
        let writer = log.inner.urgent.clone();
        let mut retired = Self { writer, reference: Some(reference.clone()), size: 0 };
        let _ = log.inner.urgent.send(Urgent::Retire { reference, done });
        retired.size = answer.await.map_err(|_| ReadError::Closed)?;
        Ok(retired)
    }

    pub(crate) fn keep(mut self) {
        self.reference = None;
    }

    /// Entries of the log when it began.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn reference(&self) -> &str {
        self.reference.as_deref().unwrap_or_default()
    }
}

impl Drop for Retired {
    fn drop(&mut self) {
        if let Some(reference) = self.reference.take() {
            let _ = self.writer.send(Urgent::Restore(reference));
        }
    }
}
