//! A refusal in the making: what is said to the caller, and what only to the steward.

use crate::answer::Answer;
use crate::decision::{Denial, Digests};
use crate::policies::PolicySet;
use crate::replay::Inputs;
use model::entry::Content;
use model::{AccessRequest, AgreementId, FieldClassId, OrganisationId, Reason};
use std::collections::BTreeSet;

/// Boxed wherever it travels: an allow should not pay for it.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    hidden: bool,
    reasons: BTreeSet<Reason>,
    policies: BTreeSet<String>,
    errors: BTreeSet<String>,
    asks: Vec<String>,
    agreement: Option<AgreementId>,
    agreements: Vec<AgreementId>,
    classes_hidden: Vec<FieldClassId>,
    records_hidden: bool,
}

impl Refusal {
    pub(crate) fn because(reason: Reason) -> Box<Self> {
        Box::new(Self { reasons: BTreeSet::from([reason]), ..Self::default() })
    }

    /// The caller may not know of the resource.
    pub(crate) fn unknown() -> Box<Self> {
        Self::because(Reason::NOT_FOUND).hiding()
    }

    pub(crate) fn errors(errors: Vec<String>) -> Box<Self> {
        let mut refusal = Self::because(Reason::POLICY_ERROR);
        refusal.errors.extend(errors);
        refusal
    }

    /// What the determining policies say of it; without any, that nothing permits it.
    pub(crate) fn explained(policies: &PolicySet, answers: &[Answer]) -> Box<Self> {
        let mut refusal = Box::<Self>::default();
        refusal.policies.extend(answers.iter().filter(|a| !a.allow).flat_map(|a| a.policies.iter().cloned()));
        for note in refusal.policies.iter().filter_map(|id| policies.notes.get(id)) {
            refusal.reasons.extend(note.reason.clone());
            refusal.asks.extend(note.ask.clone().filter(|ask| !refusal.asks.contains(ask)));
        }
        if refusal.reasons.is_empty() {
            refusal.reasons.insert(Reason::NOT_PERMITTED);
        }
        refusal
    }

    /// The answer may hold what the caller may not see, because of `policies`.
    pub(crate) fn shaping(classes: Vec<FieldClassId>, records: bool, policies: BTreeSet<String>) -> Box<Self> {
        let mut refusal = Self::because(Reason::SHAPING_REQUIRED);
        if !classes.is_empty() {
            let names = quoted(&classes);
            refusal.asks.push(format!("the answer may hold fields that you may not see, of class {names}"));
        }
        if records {
            refusal.asks.push(String::from("the answer may hold records that you may not see"));
        }
        refusal.classes_hidden = classes;
        refusal.records_hidden = records;
        refusal.policies = policies;
        refusal
    }

    /// Each of `agreements` permits it, and none was named.
    pub(crate) fn ambiguous(agreements: Vec<AgreementId>) -> Box<Self> {
        let ask = format!("name one of {} in the header Millgate-Agreement", quoted(&agreements));
        let mut refusal = Self::because(Reason::AGREEMENT_AMBIGUOUS).asking(ask);
        refusal.agreements = agreements;
        refusal
    }

    pub(crate) fn asking(mut self: Box<Self>, ask: impl Into<String>) -> Box<Self> {
        self.asks.push(ask.into());
        self
    }

    pub(crate) fn hiding(mut self: Box<Self>) -> Box<Self> {
        self.hidden = true;
        self
    }

    /// Hidden like anything else, but the steward can see which policies did it.
    pub(crate) fn blaming(mut self: Box<Self>, explained: &Self) -> Box<Self> {
        self.policies.clone_from(&explained.policies);
        self
    }

    pub(crate) fn under(mut self: Box<Self>, agreement: Option<&AgreementId>) -> Box<Self> {
        self.agreement = agreement.cloned();
        self
    }

    /// Nobody can name an agreement of an actor's organisation, so the choice is not offered.
    pub(crate) fn without_choice(mut self: Box<Self>) -> Box<Self> {
        if !std::mem::take(&mut self.agreements).is_empty() {
            self.asks = vec![String::from(
                "several agreements of its organisation permit it, and only the subject's can be named; ask the \
                 product's steward to tell them apart",
            )];
        }
        self
    }

    /// It is somebody of `organisation`, who acts for the caller, to whom this applies.
    pub(crate) fn of_actor(mut self: Box<Self>, organisation: &OrganisationId) -> Box<Self> {
        self.reasons.insert(Reason::ACTOR_NOT_PERMITTED);
        let own = std::mem::take(&mut self.asks).join("; ");
        let own = if own.is_empty() { "whoever acts for somebody needs the same permission" } else { &own };
        self.asks.push(format!("the actor of `{organisation}` in this request may not do this: {own}"));
        self
    }

    pub(crate) fn into_denial(
        self,
        request: AccessRequest,
        digests: Digests,
        slice: Content,
        inputs: Inputs,
        generation: u64,
    ) -> Denial {
        Denial {
            request,
            hidden: self.hidden,
            reasons: self.reasons.into_iter().collect(),
            policies: self.policies.into_iter().collect(),
            errors: self.errors.into_iter().collect(),
            ask: (!self.hidden && !self.asks.is_empty()).then(|| self.asks.join("; ")),
            agreement: self.agreement,
            agreements: self.agreements,
            classes_hidden: self.classes_hidden,
            records_hidden: self.records_hidden,
            digests,
            slice,
            inputs,
            generation,
        }
    }
}

fn quoted<T: std::fmt::Display>(names: &[T]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}
