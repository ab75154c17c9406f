//! Requests for erasures: asked for, refused, and found again by their ids.

use super::{EraseError, event};
use crate::append::{Appended, Log};
use crate::error::ReadError;
use crate::reader::Reader;
use crate::recover::entry_bytes;
use model::canonical::{self, Members, Value};
use model::entry::{CommitmentClass, Disclosure, Draft, Entry, Kind};
use model::erasure::{Event, Scope};
use model::{OrganisationId, Timestamp};
use std::collections::HashMap;

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

/// Where requests stand and under which entry each was carried out to its end, by their ids. Each entry that speaks of
/// erasures is read once: anybody may ask for any id.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The last entry that was read.
    last: Option<u64>,
    requests: HashMap<String, (u64, Option<u64>)>,
}

impl Known {
    /// Reads what is new.
    async fn go_on(&mut self, reader: &Reader) -> Result<(), ReadError> {
        for index in reader.erasure_entries_after(self.last).await? {
            match event(reader, index).await? {
                Some(Event::Requested(request)) => {
                    self.requests.entry(request.id).or_insert((index, None));
                }
                Some(Event::Erased(erasure)) => {
                    if let Scope::Principal { directory: true, request, .. } = erasure.scope
                        && let Some((_, done)) = self.requests.get_mut(&request.id)
                    {
                        *done = Some(index);
                    }
                }
                Some(Event::Refused) | None => {}
            }
            self.last = Some(index);
        }
        Ok(())
    }
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
        let found = {
            let mut known = self.inner.shared.requests.lock().await;
            known.go_on(reader).await?;
            known.requests.get(id).copied()
        };
        let Some((index, done)) = found else { return Ok(None) };
        let Some(bytes) = entry_bytes(reader, index).await? else { return Ok(None) };
        let Ok(entry) = Entry::parse(&bytes) else { return Ok(None) };
        let Some(Ok(Event::Requested(request))) = Event::read(index, &entry) else { return Ok(None) };
        let pending = self.pending(index, &entry, request.reference, request.requested_by).await?;
        Ok(pending.map(|pending| Pending { done, ..pending }))
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
}
