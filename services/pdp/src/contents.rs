//! What the answer may hold: field classes and kinds of records.

use crate::agreement::Candidate;
use crate::decide::{Inquiry, Matter, Refused};
use crate::question::About;
use crate::refusal::Refusal;
use crate::slice;
use crate::snapshot::{Data, Fields, Kinds, Listed};
use cedar_policy::EntityUid;
use model::plant::RecordKind;
use model::{Action, FieldClassId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Under what somebody asks, once that is settled.
#[derive(Clone, Copy)]
pub(crate) struct Basis<'a> {
    pub purpose: Option<&'a EntityUid>,
    pub agreement: Option<Candidate<'a>>,
}

impl<'a> Inquiry<'a> {
    /// What of the answer may be seen. One from which something would have to be taken that cannot be is refused, and so is
    /// one of which nothing would be left.
    pub(crate) fn shown(&mut self, matter: &Matter<'a>, basis: Basis<'_>) -> Result<Shown, Refused> {
        let mut forbids = BTreeSet::new();
        let (classes_revealed, classes_hidden) = self.reveal(matter, basis, &mut forbids)?;
        let kinds_hidden = self.see_records(matter, basis, &mut forbids)?;
        let kinds = kinds_hidden.clone().unwrap_or_default();
        let shown = Shown { classes_revealed, classes_hidden, kinds_hidden: kinds, kinds_shown: Vec::new() };
        if kinds_hidden.is_some() && shown.leaves_something(matter.data, self.listed.as_deref()) {
            return Ok(shown);
        }
        let records_hidden = kinds_hidden.is_none_or(|hidden| !hidden.is_empty());
        let refusal = Refusal::shaping(shown.classes_hidden, records_hidden, forbids);
        Err(refusal.under(basis.agreement.map(|(a, _)| &a.id)))
    }

    /// Field classes that may be shown, and those that may not.
    fn reveal(
        &mut self,
        matter: &Matter<'a>,
        basis: Basis<'_>,
        forbids: &mut BTreeSet<String>,
    ) -> Result<(Vec<FieldClassId>, Vec<FieldClassId>), Refused> {
        if matter.data.classes.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let (mut shown, mut hidden) = (Vec::new(), Vec::new());
        let about = About::Governance(&matter.data.governance);
        let facts = self.facts(&matter.party, basis.purpose, basis.agreement, about)?;
        for class in &matter.data.classes {
            let Some(known) = self.snapshot.offer.classes.get(class) else {
                hidden.push(class.clone());
                continue;
            };
            let answer = self.ask(matter, Action::Reveal, &known.uid, &facts, &matter.store).sound()?;
            if answer.allow {
                self.policies.extend(answer.policies);
                shown.push(class.clone());
            } else {
                forbids.extend(answer.policies);
                hidden.push(class.clone());
            }
        }
        Ok((shown, hidden))
    }

    /// The kinds of records that may not be shown; `None` where there are such, and they cannot be left out.
    fn see_records(
        &mut self,
        matter: &Matter<'a>,
        basis: Basis<'_>,
        forbids: &mut BTreeSet<String>,
    ) -> Result<Option<Vec<RecordKind>>, Refused> {
        let (can_be_filtered, listed) = match (&matter.data.kinds, &self.listed) {
            (Kinds::None, _) => return Ok(Some(Vec::new())),
            (_, None) => return Ok(None),
            (Kinds::Some { can_be_filtered, .. } | Kinds::Many { can_be_filtered, .. }, Some(listed)) => {
                (*can_be_filtered, Arc::clone(listed))
            }
        };
        let Listed { kinds, uids, entities, .. } = &*listed;
        let store =
            slice::store(self.snapshot, entities, &matter.party.caller, basis.agreement.map(|(_, known)| known));
        let store = store.map_err(|e| Refusal::errors(vec![e]))?;
        let facts = self.facts(&matter.party, basis.purpose, basis.agreement, About::Nothing)?;
        let mut hidden = Vec::new();
        for (kind, uid) in kinds.iter().zip(uids) {
            let answer = self.ask(matter, Action::SeeRecord, uid, &facts, &store).sound()?;
            if answer.allow {
                self.policies.extend(answer.policies);
                continue;
            }
            forbids.extend(answer.policies);
            if !can_be_filtered {
                return Ok(None);
            }
            hidden.push(kind.clone());
        }
        Ok(Some(hidden))
    }
}

/// What of an answer may be seen, and what must be taken from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub classes_revealed: Vec<FieldClassId>,
    pub classes_hidden: Vec<FieldClassId>,
    pub kinds_hidden: Vec<RecordKind>,
    /// The other kinds, where some are hidden; settled at the end.
    pub kinds_shown: Vec<RecordKind>,
}

impl Shown {
    /// What two who take part both see.
    pub(crate) fn both(mut self, other: &Self) -> Self {
        let (kept, lost) = self.classes_revealed.into_iter().partition(|class| other.classes_revealed.contains(class));
        self.classes_revealed = kept;
        let hidden: BTreeSet<FieldClassId> =
            self.classes_hidden.into_iter().chain::<Vec<_>>(lost).chain(other.classes_hidden.iter().cloned()).collect();
        self.classes_hidden = hidden.into_iter().collect();
        let kinds: BTreeSet<RecordKind> =
            self.kinds_hidden.into_iter().chain(other.kinds_hidden.iter().cloned()).collect();
        self.kinds_hidden = kinds.into_iter().collect();
        self
    }

    pub(crate) fn with_kinds_shown(mut self, listed: Option<&Listed>) -> Self {
        if let Some(Listed { kinds, .. }) = listed
            && !self.kinds_hidden.is_empty()
        {
            self.kinds_shown = kinds.iter().filter(|kind| !self.kinds_hidden.contains(kind)).cloned().collect();
        }
        self
    }

    /// Whether an answer without what is hidden is one, and can be made.
    pub(crate) fn leaves_something(&self, data: &Data, listed: Option<&Listed>) -> bool {
        let some_field = self.classes_hidden.is_empty()
            || matches!(data.fields, Fields::Apart { some_public } if some_public || !self.classes_revealed.is_empty());
        let some_record =
            listed.is_none_or(|listed| self.kinds_hidden.is_empty() || self.kinds_hidden.len() < listed.kinds.len());
        some_field && some_record
    }
}
