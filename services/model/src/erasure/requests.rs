//! Which request an erasure of a person carries out. One that was approved for one person excuses nothing of another.

use super::{Erasure, Event, Scope};
use crate::entry::Entry;
use std::collections::BTreeMap;

/// What was asked for, as both the request and each erasure that carries it out say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: String,
    /// Of the person; `None` of somebody whom the log had no reference for.
    pub reference: Option<String>,
    /// Of the person.
    pub organisation: Option<String>,
    /// The reference of whoever asked.
    pub requested_by: String,
}

impl Request {
    pub(super) fn read(entry: &Entry) -> Result<Self, &'static str> {
        let text = |name: &'static str| entry.text(name).map(str::to_owned);
        Ok(Self {
            id: text("request").ok_or("request")?,
            reference: text("principal"),
            organisation: entry.organisation.as_ref().map(ToString::to_string),
            requested_by: text("requested_by").ok_or("requested_by")?,
        })
    }
}

/// The requests of a log, by where they stand, and whether each was carried out to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests(BTreeMap<u64, (Request, bool)>);

/// Whether somebody has asked for an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// So it is, or nobody need ask.
    Yes,
    /// The request is not among what was seen.
    Unknown,
}

const NOT_ASKED_FOR: &str = "an erasure that nobody has asked for";
const CARRIED_OUT: &str = "an erasure whose request was carried out before";

impl Requests {
    /// The next entry of kind `erasure`, in the order of the log. `is_hidden` says of an index whether nothing is known of
    /// the entry there.
    ///
    /// # Errors
    /// In words, if nobody has asked for it, or for another person, or if the request was carried out before.
    pub fn see(
        &mut self,
        index: u64,
        event: &Event,
        is_hidden: impl FnOnce(u64) -> bool,
    ) -> Result<Asked, &'static str> {
        match event {
            Event::Requested(request) => {
                self.0.insert(index, (request.clone(), false));
                Ok(Asked::Yes)
            }
            Event::Refused => Ok(Asked::Yes),
            Event::Erased(erasure) => self.carry_out(index, erasure, is_hidden),
        }
    }

    fn carry_out(
        &mut self,
        index: u64,
        erasure: &Erasure,
        is_hidden: impl FnOnce(u64) -> bool,
    ) -> Result<Asked, &'static str> {
        let Scope::Principal { requested, request, directory, .. } = &erasure.scope else { return Ok(Asked::Yes) };
        let requested = requested.filter(|requested| *requested < index).ok_or(NOT_ASKED_FOR)?;
        match self.0.get_mut(&requested) {
            None if is_hidden(requested) => Ok(Asked::Unknown),
            None => Err(NOT_ASKED_FOR),
            Some((asked, _)) if asked != request => Err(NOT_ASKED_FOR),
            Some((_, true)) => Err(CARRIED_OUT),
            Some((_, done)) => {
                // A large erasure is several entries, and this member stands in the last.
                *done = *directory;
                Ok(Asked::Yes)
            }
        }
    }

    /// Where each stands, and whether it was carried out to its end.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Request, bool)> {
        self.0.iter().map(|(index, (request, done))| (*index, request, *done))
    }
}

impl FromIterator<(u64, Request, bool)> for Requests {
    fn from_iter<I: IntoIterator<Item = (u64, Request, bool)>>(all: I) -> Self {
        Self(all.into_iter().map(|(index, request, done)| (index, (request, done))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn request(id: &str, reference: &str, organisation: &str, by: &str) -> Request {
        Request {
            id: id.into(),
            reference: Some(reference.into()),
            organisation: Some(organisation.into()),
            requested_by: by.into(),
        }
    }

    fn erased(request: Request, requested: Option<u64>, directory: bool) -> Event {
        let scope = Scope::Principal { directory, requested, request, approved_by: "b".into() };
        let (named, held) = (BTreeMap::new(), Arc::default());
        Event::Erased(Erasure { index: 0, scope, classes: vec![], range: None, named, held, count: 0 })
    }

    #[test]
    fn an_approved_request_erases_the_person_it_is_about_once_and_nobody_else() {
        let annas = || request("r", "anna", "acme", "a");
        let mut requests = Requests::default();
        let mut see = |index, event: Event| requests.see(index, &event, |_| false);
        assert_eq!(see(1, Event::Requested(annas())), Ok(Asked::Yes));
        for other in [
            request("r", "otto", "acme", "a"),
            request("s", "anna", "acme", "a"),
            request("r", "anna", "bolt", "a"),
            request("r", "anna", "acme", "c"),
            Request { reference: None, ..annas() },
        ] {
            assert_eq!(see(2, erased(other, Some(1), false)), Err(NOT_ASKED_FOR));
        }
        assert_eq!(see(2, erased(annas(), Some(1), false)), Ok(Asked::Yes), "the first of several");
        assert_eq!(see(3, erased(annas(), Some(1), true)), Ok(Asked::Yes));
        assert_eq!(see(4, erased(annas(), Some(1), false)), Err(CARRIED_OUT));
        for requested in [None, Some(3), Some(9)] {
            assert_eq!(see(5, erased(annas(), requested, true)), Err(NOT_ASKED_FOR), "{requested:?}");
        }
        let hidden = |event: &Event| Requests::default().see(5, event, |index| index == 1);
        assert_eq!(hidden(&erased(annas(), Some(1), true)), Ok(Asked::Unknown));
        assert_eq!(hidden(&erased(annas(), Some(2), true)), Err(NOT_ASKED_FOR));
    }
}
