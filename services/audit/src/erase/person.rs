//! Erasing one person: asked for by one, approved by another, carried out by the log.
//!
//! A person takes part in an entry as its principal or as one who acts for it. All classes of such an entry go, whichever
//! part it was: an address or a path belongs to both of them, and the class `subject` of an entry is one commitment that
//! names all of them. What stands for the others, their references and the directory, stays. Values that others wrote and
//! that name the person (a search of the log for it) go by class.

use super::{EraseError, ROWS_AT_ONCE, class_names, erasures, find, number, without};
use crate::append::{Appended, Log};
use crate::error::ReadError;
use crate::recover::entry_bytes;
use crate::writer::Urgent;
use model::canonical::{self, Members, Value};
use model::entry::{CommitmentClass, Disclosure, Draft, Entry, Erase, Kind};
use model::erasure::{Event, Scope};
use model::{OrganisationId, Timestamp};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Entries of others in one erasure entry: their indices must fit into it.
const NAMED_AT_ONCE: usize = 2_000;

/// What somebody asks for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// By which the request is known: the id of the request that brought it.
    pub id: String,
    pub organisation: &'a OrganisationId,
    /// `organisation/subject`.
    pub principal: &'a str,
    /// On which grounds; stands in the log for ever, and so must name nobody.
    pub basis: &'a str,
    /// The reference of whoever asks.
    pub requested_by: &'a str,
}

/// A request that is in the log.
#[derive(Clone, Debug)]
pub struct Pending {
    pub index: u64,
    pub id: String,
    pub organisation: OrganisationId,
    /// Whom it is about; `None` where that is not known any longer, as once it has been carried out.
    pub principal: Option<String>,
    pub reference: Option<String>,
    pub basis: String,
    pub requested_by: String,
    pub time: Timestamp,
    /// The entry under which it was carried out to the end.
    pub done: Option<u64>,
}

/// What an erasure came to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Erased {
    /// The entries that say so.
    pub entries: Vec<u64>,
    /// Entries whose values were erased.
    pub count: u64,
    /// Entries of others that named the person.
    pub named: u64,
    /// Whether older copies of the values in the database are wiped too.
    pub wiped: bool,
}

impl Log {
    /// Records that somebody asks for an erasure. The name stands behind a commitment, like any other.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub async fn request_erasure(&self, wanted: &Wanted<'_>) -> Result<Appended, EraseError> {
        let reference = self.inner.reader.reference_of(wanted.principal).await?;
        let mut members = Members::default();
        members.text("event", "requested");
        members.text("scope", "principal");
        members.text("request", &wanted.id);
        members.text("basis", wanted.basis);
        members.text("requested_by", wanted.requested_by);
        if let Some(reference) = reference {
            members.text("principal", reference);
        }
        let values = Value::object([("principal", Value::text(wanted.principal))]);
        let salt = self.inner.shared.random();
        let disclosure = Disclosure { class: CommitmentClass::Subject, salt, values: values.into() };
        let draft = Draft::new(Kind::Erasure, &self.common(), Some(wanted.organisation), members, vec![disclosure])?;
        Ok(self.append(draft).await?)
    }

    /// Records that an erasure was refused, and why.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub async fn refuse_erasure(&self, wanted: &Wanted<'_>, reason: &str) -> Result<Appended, EraseError> {
        let reference = self.inner.reader.reference_of(wanted.principal).await?;
        let mut members = Members::default();
        members.text("event", "refused");
        members.text("scope", "principal");
        members.text("request", &wanted.id);
        members.text("basis", wanted.basis);
        members.text("requested_by", wanted.requested_by);
        members.text("reason", reason);
        if let Some(reference) = reference {
            members.text("principal", reference);
        }
        let draft = Draft::new(Kind::Erasure, &self.common(), Some(wanted.organisation), members, Vec::new())?;
        Ok(self.append(draft).await?)
    }

    /// The request of this id, if the log has one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn erasure_request(&self, id: &str) -> Result<Option<Pending>, ReadError> {
        let reader = &self.inner.reader;
        let mut found: Option<Pending> = None;
        for index in reader.erasure_entries().await? {
            let Some(bytes) = entry_bytes(reader, index).await? else { continue };
            let Ok(entry) = Entry::parse(&bytes) else { continue };
            if entry.text("request") != Some(id) {
                continue;
            }
            match (Event::read(index, &entry), &mut found) {
                (Some(Ok(Event::Requested { reference, requested_by })), None) => {
                    found = self.pending(index, &entry, reference, requested_by).await?;
                }
                (Some(Ok(Event::Erased(erasure))), Some(pending)) => {
                    if matches!(erasure.scope, Scope::Principal { directory: true, .. }) {
                        pending.done = Some(index);
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    async fn pending(
        &self,
        index: u64,
        entry: &Entry,
        reference: Option<String>,
        requested_by: String,
    ) -> Result<Option<Pending>, ReadError> {
        let Some(organisation) = entry.organisation.clone() else { return Ok(None) };
        let values = self.disclosure(index).await?;
        let values = values.and_then(|values| canonical::parse(values.as_bytes()).ok());
        let principal = values.as_ref().and_then(|v| v.get("subject")?.get("values")?.get("principal")?.as_text());
        // The value may have gone by age.
        let principal = match (principal, &reference) {
            (Some(principal), _) => Some(principal.to_owned()),
            (None, Some(reference)) => self.principal_of(reference).await?,
            (None, None) => None,
        };
        Ok(Some(Pending {
            index,
            id: entry.text("request").unwrap_or_default().to_owned(),
            organisation,
            principal,
            reference,
            basis: entry.text("basis").unwrap_or_default().to_owned(),
            requested_by,
            time: entry.time,
            done: None,
        }))
    }

    /// Carries a request out. Who approves must be another than who asked for it; the caller has made sure of that.
    ///
    /// From here to the end nothing is written that holds values of the person; whoever comes in that name is told to come
    /// back, and is then somebody new. What an interruption leaves undone, a second call does.
    ///
    /// # Errors
    /// When the store cannot be read, or an entry cannot be written: what has no entry has not been erased.
    pub async fn erase(&self, pending: &Pending, approved_by: &str) -> Result<Erased, EraseError> {
        let _alone = self.inner.shared.erasing.lock().await;
        let reader = &self.inner.reader;
        // The directory as it is now: another request may have been carried out meanwhile, and the person come back.
        let reference = match &pending.principal {
            Some(principal) => reader.reference_of(principal).await?,
            None => pending.reference.clone(),
        };
        let retired = match &reference {
            Some(reference) => Some(Retired::new(self, reference.clone()).await?),
            None => None,
        };
        let end = retired.as_ref().map_or(self.size(), |retired| retired.size);
        let own = match &reference {
            Some(reference) => find::entries_of(reader, reference, end).await?,
            None => Vec::new(),
        };
        let named = match &pending.principal {
            Some(principal) => find::named(reader, principal, &own, end).await?,
            None => Vec::new(),
        };
        let mut parts = self.parts(&own, &named).await?;
        if parts.is_empty() {
            parts.push(Part::default());
        }
        if let Some(part) = parts.last_mut() {
            part.is_last = true;
            part.erase.references = reference.iter().cloned().collect();
        }
        let mut erased = Erased { entries: Vec::new(), count: 0, named: 0, wiped: false };
        for part in parts {
            erased.count += part.count();
            erased.named += part.named.values().map(|indices| indices.len() as u64).sum::<u64>();
            let draft = self.part_draft(pending, reference.as_deref(), approved_by, part)?;
            erased.entries.push(self.append(draft).await?.index);
        }
        if let Some(retired) = retired {
            retired.keep();
        }
        erased.wiped = self.scrub().await;
        Ok(erased)
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

    fn part_draft(
        &self,
        pending: &Pending,
        reference: Option<&str>,
        approved_by: &str,
        part: Part,
    ) -> Result<Draft, EraseError> {
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
        if let Some(reference) = reference {
            members.text("principal", reference);
        }
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
        draft.erase = Some(part.erase);
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
struct Retired<'l> {
    log: &'l Log,
    reference: Option<String>,
    /// Of the log when it began.
    size: u64,
}

impl<'l> Retired<'l> {
    async fn new(log: &'l Log, reference: String) -> Result<Self, EraseError> {
        let (done, answer) = oneshot::channel();
        let mut retired = Self { log, reference: Some(reference.clone()), size: 0 };
        let _ = log.inner.urgent.send(Urgent::Retire { reference, done });
        retired.size = answer.await.map_err(|_| ReadError::Closed)?;
        Ok(retired)
    }

    fn keep(mut self) {
        self.reference = None;
    }
}

impl Drop for Retired<'_> {
    fn drop(&mut self) {
        if let Some(reference) = self.reference.take() {
            let _ = self.log.inner.urgent.send(Urgent::Restore(reference));
        }
    }
}
