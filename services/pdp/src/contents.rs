//! What the answer may hold: field classes and kinds of records.

use crate::agreement::Candidate;
use crate::decide::{Inquiry, Matter, Refused};
use crate::question::About;
use crate::refusal::Refusal;
use crate::slice;
use crate::snapshot::{Fields, Kinds};
use cedar_policy::EntityUid;
use model::{Action, FieldClassId};
use std::collections::BTreeSet;

/// Under what somebody asks, once that is settled.
#[derive(Clone, Copy)]
pub(crate) struct Basis<'a> {
    pub purpose: Option<&'a EntityUid>,
    pub agreement: Option<Candidate<'a>>,
}

impl<'a> Inquiry<'a> {
    /// The field classes to show. Records cannot be left out yet, and where fields cannot be either, an answer that would
    /// have to be shaped is refused; so is one of which nothing would be left.
    pub(crate) fn shown(&mut self, matter: &Matter<'a>, basis: Basis<'_>) -> Result<Vec<FieldClassId>, Refused> {
        let mut forbids = BTreeSet::new();
        let (revealed, classes_hidden) = self.reveal(matter, basis, &mut forbids)?;
        let records_hidden = !self.see_records(matter, basis, &mut forbids)?;
        if !records_hidden && (classes_hidden.is_empty() || leaves_something(matter.data.fields, &revealed)) {
            return Ok(revealed);
        }
        Err(Refusal::shaping(classes_hidden, records_hidden, forbids).under(basis.agreement.map(|(a, _)| &a.id)))
    }

    /// Field classes that may be shown, and those that may not.
    fn reveal(
        &mut self,
        matter: &Matter<'a>,
        basis: Basis<'_>,
        forbids: &mut BTreeSet<String>,
    ) -> Result<(Vec<FieldClassId>, Vec<FieldClassId>), Refused> {
        let (mut shown, mut hidden) = (Vec::new(), Vec::new());
        let about = About::Governance(&matter.data.governance);
        let context = self.context(&matter.party, basis.purpose, basis.agreement, about)?;
        for class in &matter.data.classes {
            let Some(known) = self.snapshot.classes.get(class) else {
                hidden.push(class.clone());
                continue;
            };
            self.record.encoded(&known.json);
            let answer = self.ask(matter, Action::Reveal, &known.uid, &context, &matter.store).sound()?;
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

    /// Whether every kind of record may be shown. Stops at the first that may not.
    fn see_records(
        &mut self,
        matter: &Matter<'a>,
        basis: Basis<'_>,
        forbids: &mut BTreeSet<String>,
    ) -> Result<bool, Refused> {
        let (uids, jsons, base) = match &matter.data.kinds {
            Kinds::None => return Ok(true),
            Kinds::TooMany => return Ok(false),
            Kinds::Some { uids, jsons, store } => (uids, jsons, store),
        };
        let store = slice::store(base, &matter.party.caller, basis.agreement.map(|(_, known)| known));
        let store = store.map_err(|e| Refusal::errors(vec![e]))?;
        let context = self.context(&matter.party, basis.purpose, basis.agreement, About::Nothing)?;
        for (uid, json) in uids.iter().zip(jsons) {
            self.record.encoded(json);
            let answer = self.ask(matter, Action::SeeRecord, uid, &context, &store).sound()?;
            if !answer.allow {
                forbids.extend(answer.policies);
                return Ok(false);
            }
            self.policies.extend(answer.policies);
        }
        Ok(true)
    }
}

/// Whether an answer without its hidden fields is one.
pub(crate) fn leaves_something(fields: Fields, revealed: &[FieldClassId]) -> bool {
    matches!(fields, Fields::Apart { some_public } if some_public || !revealed.is_empty())
}
