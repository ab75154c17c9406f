//! One request, from `discover` to the last kind of record.

use crate::answer::Answer;
use crate::decision::{Decision, Digests, Permit};
use crate::names::uid;
use crate::question::{About, Question, datetime};
use crate::refusal::Refusal;
use crate::slice::{self, Caller, Record};
use crate::snapshot::{Data, Kinds, Known, Snapshot};
use cedar_policy::{Context, Entities, EntityUid, RestrictedExpression};
use model::party::{Agreement, Status};
use model::{
    AccessRequest, Action, AgreementId, Authenticated, FieldClassId, OrganisationId, Reason, ResourceRef, Shape,
    Timestamp,
};
use std::collections::BTreeSet;

type Refused = Box<Refusal>;

impl Snapshot {
    /// Answers `request`. `principal_reference` stands for the caller in the recorded slice, so that no personal data
    /// enters the log.
    pub fn decide(&self, request: AccessRequest, principal_reference: &str) -> Decision {
        let mut inquiry = Inquiry {
            snapshot: self,
            request: &request,
            now: datetime(request.now),
            record: Record::new(principal_reference),
            policies: BTreeSet::new(),
        };
        let outcome = inquiry.run();
        let Inquiry { record, policies, .. } = inquiry;
        let slice = record.finish();
        let digests = Digests {
            policies: self.policies.policies().digest,
            schema: self.policies.schema().digest,
            catalog: self.plant.digest,
            registry: self.parties.digest,
            slice: slice.digest,
        };
        match outcome {
            Ok(Granted { agreement, classes_revealed }) => Decision::Permit(Permit {
                request,
                agreement,
                policies: policies.into_iter().collect(),
                digests,
                slice,
                classes_revealed,
                generation: self.generation,
            }),
            Err(refusal) => Decision::Denied(refusal.into_denial(request, digests, slice, self.generation)),
        }
    }

    /// Whether the caller may know of the resource: what a refusal before the decision may tell.
    pub fn may_discover(&self, caller: &Authenticated, resource: &ResourceRef, now: Timestamp) -> bool {
        let request = AccessRequest {
            caller: caller.clone(),
            action: Action::Discover,
            resource: resource.clone(),
            purpose: None,
            agreement: None,
            shape: Shape::default(),
            now,
        };
        let mut inquiry = Inquiry {
            snapshot: self,
            request: &request,
            now: datetime(now),
            record: Record::new(""),
            policies: BTreeSet::new(),
        };
        inquiry.known().is_ok()
    }
}

struct Granted {
    agreement: Option<AgreementId>,
    classes_revealed: Vec<FieldClassId>,
}

// === the inquiry

struct Inquiry<'a> {
    snapshot: &'a Snapshot,
    request: &'a AccessRequest,
    /// `request.now` for Cedar.
    now: RestrictedExpression,
    record: Record<'a>,
    /// Permits that determined an allow.
    policies: BTreeSet<String>,
}

/// Who asks what of which data, with the entities to decide it.
struct Matter<'a> {
    caller: Caller<'a>,
    data: &'a Data,
    store: Entities,
    purpose: Option<EntityUid>,
}

type Candidate<'a> = (&'a Agreement, &'a Known);

impl<'a> Inquiry<'a> {
    fn run(&mut self) -> Result<Granted, Refused> {
        match (self.request.action, &self.request.resource) {
            (Action::Read, ResourceRef::Dataset(_)) | (Action::ReadSeries, ResourceRef::Signal(_)) => self.data(),
            (Action::ReadAudit, ResourceRef::AuditScope(scope)) => self.audit(scope.as_ref()),
            _ => Err(Refusal::unknown()),
        }
    }

    fn data(&mut self) -> Result<Granted, Refused> {
        let (mut matter, candidates) = self.known()?;
        self.not_revoked()?;
        matter.purpose = self.purpose()?;
        let chosen = self.choose(&matter, &candidates)?;
        self.in_force(chosen.map(|(agreement, _)| agreement))?;
        let classes_revealed = self.shown_whole(&matter, chosen)?;
        Ok(Granted { agreement: chosen.map(|(agreement, _)| agreement.id.clone()), classes_revealed })
    }

    fn caller(&mut self) -> Result<Caller<'a>, Refused> {
        let caller = Caller::find(self.snapshot, self.request.caller.principal()).ok_or_else(Refusal::unknown)?;
        self.record.caller(&caller);
        Ok(caller)
    }

    /// Who asks of what, with the agreements that can matter; refused when the caller may not know of it.
    fn known(&mut self) -> Result<(Matter<'a>, Vec<Candidate<'a>>), Refused> {
        let caller = self.caller()?;
        let data = self.snapshot.data.get(&self.request.resource).ok_or_else(Refusal::unknown)?;
        self.record.encoded(&data.base.json);
        let candidates = self.candidates(data);
        candidates.iter().for_each(|(_, known)| self.record.encoded(&known.json));
        let store = slice::store(&data.base.store, &caller, candidates.iter().map(|(_, known)| *known))
            .map_err(|e| Refusal::errors(vec![e]).hiding())?;
        let matter = Matter { caller, data, store, purpose: None };
        self.discover(&matter, &candidates)?;
        Ok((matter, candidates))
    }

    /// Agreements of the caller's organisation that can matter: those that cover the product, all of them where it is
    /// listed, and the one that is named.
    fn candidates(&self, data: &Data) -> Vec<Candidate<'a>> {
        let own = self.snapshot.agreements_of.get(self.request.caller.organisation());
        let own = own.into_iter().flatten().filter_map(|id| {
            let agreement = self.snapshot.parties.agreements.get(id)?;
            Some((agreement, self.snapshot.agreements.get(id)?))
        });
        let matters = |a: &Agreement| {
            data.listed || a.products.contains(&data.product) || self.request.agreement.as_ref() == Some(&a.id)
        };
        own.filter(|(a, _)| matters(a)).collect()
    }

    /// A context that cannot be built counts as a policy that failed.
    fn context(
        &self,
        matter: &Matter<'_>,
        agreement: Option<Candidate<'_>>,
        about: About<'_>,
    ) -> Result<Context, Refused> {
        let agreement = agreement.map(|(_, known)| &known.uid);
        let question = Question { now: &self.now, purpose: matter.purpose.as_ref(), agreement, about };
        question.context().map_err(|e| Refusal::errors(vec![e]))
    }

    // --- may the caller know of it

    fn discover(&mut self, matter: &Matter<'_>, candidates: &[Candidate<'_>]) -> Result<(), Refused> {
        let mut answers = Vec::new();
        // Most who ask under an agreement may know of what it covers: that question first.
        for agreement in candidates.iter().copied().map(Some).chain([None]) {
            let context = self.context(matter, agreement, About::Nothing).map_err(Refusal::hiding)?;
            let answer = self.ask(matter, Action::Discover, &matter.data.base.uid, &context, &matter.store);
            let answer = answer.sound().map_err(Refusal::hiding)?;
            if answer.allow {
                return Ok(());
            }
            answers.push(answer);
        }
        Err(Refusal::unknown().blaming(&Refusal::explained(&self.snapshot.policies, &answers)))
    }

    fn ask(
        &self,
        matter: &Matter<'_>,
        action: Action,
        resource: &EntityUid,
        context: &Context,
        store: &Entities,
    ) -> Answer {
        self.snapshot.policies.ask(&matter.caller.uid, action, resource, context, store)
    }

    // --- may the caller ask at all

    fn not_revoked(&self) -> Result<(), Refused> {
        let revoked = self.request.caller.is_revoked(&self.snapshot.parties.revocations);
        if revoked { Err(Refusal::because(Reason::REVOKED)) } else { Ok(()) }
    }

    fn purpose(&self) -> Result<Option<EntityUid>, Refused> {
        let Some(purpose) = &self.request.purpose else { return Ok(None) };
        if !self.snapshot.plant.purposes.contains_key(purpose) {
            return Err(Refusal::because(Reason::PURPOSE_UNKNOWN).asking(format!(
                "`{purpose}` is not a purpose of this plant; your agreement lists those you may use"
            )));
        }
        Ok(Some(uid(&self.snapshot.policies.names.types.purpose, purpose)))
    }

    // --- which agreement

    fn choose<'c>(
        &mut self,
        matter: &Matter<'_>,
        candidates: &[Candidate<'c>],
    ) -> Result<Option<Candidate<'c>>, Refused> {
        if let Some(named) = &self.request.agreement {
            // Another organisation's agreement and none at all look the same.
            let found = candidates.iter().find(|(a, _)| a.id == *named);
            let found = *found.ok_or_else(|| Refusal::because(Reason::AGREEMENT_UNKNOWN))?;
            let answer = self.main(matter, Some(found))?;
            return self.settle(&[found], &[answer]);
        }
        let covering = candidates.iter().copied().filter(|(a, _)| a.products.contains(&matter.data.product));
        let (live, dead): (Vec<_>, Vec<_>) = covering.partition(|(a, _)| self.is_live(a));
        let answers = self.main_each(matter, &live)?;
        if answers.iter().filter(|a| a.allow).count() == 1 {
            return self.settle(&live, &answers);
        }
        // The owner's own people need none: for them several agreements are no question.
        let without = self.main(matter, None)?;
        if without.allow {
            self.policies.extend(without.policies);
            return Ok(None);
        }
        if !live.is_empty() {
            return self.settle(&live, &answers);
        }
        if !dead.is_empty() {
            let answers = self.main_each(matter, &dead)?;
            return Err(self.refused(&dead, &answers));
        }
        Err(self.refused(&[], &[without]))
    }

    fn main(&self, matter: &Matter<'_>, agreement: Option<Candidate<'_>>) -> Result<Answer, Refused> {
        let context = self.context(matter, agreement, About::Shape(self.request.shape))?;
        self.ask(matter, self.request.action, &matter.data.base.uid, &context, &matter.store).sound()
    }

    fn main_each(&self, matter: &Matter<'_>, agreements: &[Candidate<'_>]) -> Result<Vec<Answer>, Refused> {
        agreements.iter().map(|a| self.main(matter, Some(*a))).collect()
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
    fn in_force(&self, agreement: Option<&Agreement>) -> Result<(), Refused> {
        if self.snapshot.parties.status_of(self.request.caller.organisation()) != Some(Status::Active) {
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

    // --- what the answer may hold

    /// The caller may see all of it. Nothing can be hidden yet, so an answer that would have to be shaped is refused.
    fn shown_whole(
        &mut self,
        matter: &Matter<'_>,
        agreement: Option<Candidate<'_>>,
    ) -> Result<Vec<FieldClassId>, Refused> {
        let mut forbids = BTreeSet::new();
        let (revealed, classes_hidden) = self.reveal(matter, agreement, &mut forbids)?;
        let records_hidden = !self.see_records(matter, agreement, &mut forbids)?;
        if classes_hidden.is_empty() && !records_hidden {
            return Ok(revealed);
        }
        Err(Refusal::shaping(classes_hidden, records_hidden, forbids).under(agreement.map(|(a, _)| &a.id)))
    }

    /// Field classes that may be shown, and those that may not.
    fn reveal(
        &mut self,
        matter: &Matter<'_>,
        agreement: Option<Candidate<'_>>,
        forbids: &mut BTreeSet<String>,
    ) -> Result<(Vec<FieldClassId>, Vec<FieldClassId>), Refused> {
        let (mut shown, mut hidden) = (Vec::new(), Vec::new());
        let context = self.context(matter, agreement, About::Governance(&matter.data.governance))?;
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
        matter: &Matter<'_>,
        agreement: Option<Candidate<'_>>,
        forbids: &mut BTreeSet<String>,
    ) -> Result<bool, Refused> {
        let (uids, jsons, base) = match &matter.data.kinds {
            Kinds::None => return Ok(true),
            Kinds::TooMany => return Ok(false),
            Kinds::Some { uids, jsons, store } => (uids, jsons, store),
        };
        let store = slice::store(base, &matter.caller, agreement.map(|(_, known)| known));
        let store = store.map_err(|e| Refusal::errors(vec![e]))?;
        let context = self.context(matter, agreement, About::Nothing)?;
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

    // --- the audit log

    fn audit(&mut self, scope: Option<&OrganisationId>) -> Result<Granted, Refused> {
        let caller = self.caller()?;
        let base = self.snapshot.scopes.get(&scope.cloned()).ok_or_else(|| Refusal::because(Reason::NOT_PERMITTED))?;
        self.record.encoded(&base.json);
        self.not_revoked()?;
        let purpose = self.purpose()?;
        if self.request.agreement.is_some() {
            return Err(
                Refusal::because(Reason::AGREEMENT_UNKNOWN).asking("the audit log is not read under agreements")
            );
        }
        let policies = &self.snapshot.policies;
        let question = Question { now: &self.now, purpose: purpose.as_ref(), agreement: None, about: About::Nothing };
        let context = question.context().map_err(|e| Refusal::errors(vec![e]))?;
        let store = slice::store(&base.store, &caller, []).map_err(|e| Refusal::errors(vec![e]))?;
        let answer = policies.ask(&caller.uid, Action::ReadAudit, &base.uid, &context, &store).sound()?;
        if !answer.allow {
            return Err(Refusal::explained(policies, &[answer]));
        }
        self.policies.extend(answer.policies);
        self.in_force(None)?;
        Ok(Granted { agreement: None, classes_revealed: Vec::new() })
    }
}
