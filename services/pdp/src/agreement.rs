//! Which agreement somebody acts under.

use crate::answer::Answer;
use crate::decide::{Inquiry, Matter, Refused};
use crate::question::About;
use crate::refusal::Refusal;
use crate::snapshot::{Data, Known};
use cedar_policy::EntityUid;
use model::party::{Agreement, Status};
use model::{AgreementId, OrganisationId, Reason};

pub(crate) type Candidate<'a> = (&'a Agreement, &'a Known);

impl<'a> Inquiry<'a> {
    /// Agreements of `organisation` that can matter: those that cover the product, all of them where it is listed, and
    /// the one that is named.
    pub(crate) fn candidates(&self, organisation: &OrganisationId, data: &Data) -> Vec<Candidate<'a>> {
        let own = self.snapshot.roster.agreements_of.get(organisation);
        let matters = |a: &&Agreement| {
            data.listed || a.products.contains(&data.product) || self.request.agreement.as_ref() == Some(&a.id)
        };
        let own = own.into_iter().flatten().filter_map(|id| {
            let agreement = self.snapshot.parties.agreements.get(id).filter(matters)?;
            Some((agreement, &**self.snapshot.roster.agreements.get(id)?))
        });
        own.collect()
    }

    /// The one agreement under which the action is allowed; `None` when none is needed.
    pub(crate) fn choose<'c>(
        &mut self,
        matter: &Matter<'c>,
        purpose: Option<&EntityUid>,
        named: Option<&AgreementId>,
    ) -> Result<Option<Candidate<'c>>, Refused> {
        if let Some(named) = named {
            // Another organisation's agreement and none at all look the same.
            let found = matter.candidates.iter().find(|(a, _)| a.id == *named);
            let found = *found.ok_or_else(|| Refusal::because(Reason::AGREEMENT_UNKNOWN))?;
            self.fits(matter, purpose, Some(found))?;
            return Ok(Some(found));
        }
        let covering = matter.candidates.iter().copied().filter(|(a, _)| a.products.contains(&matter.data.product));
        let (live, dead): (Vec<_>, Vec<_>) = covering.partition(|(a, _)| self.is_live(a));
        let answers = self.main_each(matter, purpose, &live)?;
        if answers.iter().filter(|a| a.allow).count() == 1 {
            return self.settle(&live, &answers);
        }
        // The owner's own people need none: for them several agreements are no question.
        let without = self.main(matter, purpose, None)?;
        if without.allow {
            self.policies.extend(without.policies);
            return Ok(None);
        }
        if !live.is_empty() {
            return self.settle(&live, &answers);
        }
        if !dead.is_empty() {
            let answers = self.main_each(matter, purpose, &dead)?;
            return Err(self.refused(&dead, &answers));
        }
        Err(self.refused(&[], &[without]))
    }

    /// The action is allowed under `agreement`, or without one.
    pub(crate) fn fits(
        &mut self,
        matter: &Matter<'_>,
        purpose: Option<&EntityUid>,
        agreement: Option<Candidate<'_>>,
    ) -> Result<(), Refused> {
        let answer = self.main(matter, purpose, agreement)?;
        if !answer.allow {
            return Err(self.refused(agreement.as_slice(), &[answer]));
        }
        self.policies.extend(answer.policies);
        Ok(())
    }

    fn main(
        &self,
        matter: &Matter<'_>,
        purpose: Option<&EntityUid>,
        agreement: Option<Candidate<'_>>,
    ) -> Result<Answer, Refused> {
        let facts = self.facts(&matter.party, purpose, agreement, About::Shape(self.request.shape))?;
        self.ask(matter, self.request.action, &matter.data.base.uid, &facts, &matter.store).sound()
    }

    fn main_each(
        &self,
        matter: &Matter<'_>,
        purpose: Option<&EntityUid>,
        agreements: &[Candidate<'_>],
    ) -> Result<Vec<Answer>, Refused> {
        agreements.iter().map(|a| self.main(matter, purpose, Some(*a))).collect()
    }

    /// Exactly one agreement permits, or it is refused.
    fn settle<'c>(
        &mut self,
        agreements: &[Candidate<'c>],
        answers: &[Answer],
    ) -> Result<Option<Candidate<'c>>, Refused> {
        let permitting: Vec<_> = agreements.iter().zip(answers).filter(|(_, a)| a.allow).collect();
        match permitting.as_slice() {
            [] => Err(self.refused(agreements, answers)),
            [(agreement, answer)] => {
                self.policies.extend(answer.policies.iter().cloned());
                Ok(Some(**agreement))
            }
            several => Err(Refusal::ambiguous(several.iter().map(|((a, _), _)| a.id.clone()).collect())),
        }
    }

    fn refused(&self, agreements: &[Candidate<'_>], answers: &[Answer]) -> Refused {
        let only = match agreements {
            [(one, _)] => Some(&one.id),
            _ => None,
        };
        Refusal::explained(&self.snapshot.policies, answers).under(only)
    }

    fn is_live(&self, a: &Agreement) -> bool {
        a.status == Status::Active && a.not_before <= self.request.now && self.request.now < a.not_after
    }

    /// Only active organisations and agreements in force lead to an allow, whatever policies forgot to forbid.
    pub(crate) fn in_force(&self, organisation: &OrganisationId, agreement: Option<&Agreement>) -> Result<(), Refused> {
        if self.snapshot.parties.status_of(organisation) != Some(Status::Active) {
            return Err(Refusal::because(Reason::ORGANISATION_SUSPENDED));
        }
        match agreement {
            Some(a) if !self.is_live(a) => {
                let refusal = Refusal::because(Reason::NOT_PERMITTED);
                Err(refusal.asking(format!("agreement `{}` is not in force; leave it out or name another", a.id)))
            }
            _ => Ok(()),
        }
    }
}
