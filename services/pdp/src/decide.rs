//! One request, from `discover` to the last kind of record, for everybody who takes part in it.

use crate::agreement::Candidate;
use crate::alike;
use crate::answer::Answer;
use crate::contents::{Basis, Shown};
use crate::credential::Told;
use crate::decision::{Decision, Digests, Permit};
use crate::engine::{Facts, Store, Value, datetime};
use crate::names::uid;
use crate::question::{About, Question};
use crate::refusal::Refusal;
use crate::replay::Inputs;
use crate::slice::{self, Caller, Record};
use crate::snapshot::{Base, Data, Listed, Snapshot};
use cedar_policy::EntityUid;
use model::plant::{Demands, Product};
use model::{
    AccessRequest, Action, AgreementId, Authenticated, Country, OrganisationId, Principal, Reason, ResourceRef, RoleId,
    Shape, Timestamp,
};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) type Refused = Box<Refusal>;

impl Snapshot {
    /// Answers `request`. `references` stand in the recorded slice for the principals of the caller
    /// ([`Authenticated::principals`], in that order), so that no personal data enters the log; a missing one is
    /// recorded as empty.
    ///
    /// The answer depends on this snapshot, `request` and `references` alone, and of the caller not on its token's id,
    /// fingerprint and end, but for their revocation.
    pub fn decide(&self, request: AccessRequest, references: &[&str]) -> Decision {
        match &self.memo {
            Some(memo) => memo.recall(self, request, references, |request| self.decide_anew(request, references)),
            None => self.decide_anew(request, references),
        }
    }

    /// [`Self::decide`] without a look at what was decided before.
    pub fn decide_anew(&self, request: AccessRequest, references: &[&str]) -> Decision {
        self.inquire(request, references, Engine::Index)
    }

    /// [`Self::decide_anew`] with every question asked of Cedar's public interface over all policies: the same decision,
    /// for whoever doubts the index or wants to know what it saves.
    pub fn decide_by_scan(&self, request: AccessRequest, references: &[&str]) -> Decision {
        self.inquire(request, references, Engine::Scan)
    }

    fn inquire(&self, request: AccessRequest, references: &[&str], engine: Engine) -> Decision {
        let mut inquiry = Inquiry::new(self, &request, references, engine);
        let outcome = inquiry.run();
        let Inquiry { record, policies, listed, .. } = inquiry;
        let (slice, inputs) = (record.finish(), Inputs::of(self, &request, listed.is_some()));
        let digests = Digests {
            policies: self.policies.policies().digest,
            schema: self.policies.schema().digest,
            catalog: self.plant.digest,
            registry: self.parties.digest,
            slice: slice.digest,
        };
        let raised = self.policies.raised_by(&policies, request.action);
        match outcome {
            Ok(Granted { agreement, actor_agreements, shown }) => Decision::Permit(Permit {
                raised,
                demands: raised.and(self.product_demands(&request.resource)),
                request,
                agreement,
                actor_agreements,
                policies: policies.into_iter().collect(),
                digests,
                slice,
                inputs,
                classes_revealed: shown.classes_revealed.into(),
                classes_hidden: shown.classes_hidden.into(),
                kinds_shown: shown.kinds_shown.into(),
                kinds_hidden: shown.kinds_hidden.into(),
                kinds_alike: listed.and_then(|listed| listed.alike.clone()),
                generation: self.generation,
            }),
            Err(refusal) => Decision::Denied(refusal.into_denial(request, digests, slice, inputs, self.generation)),
        }
    }

    /// What the product of the data demands; the log is of none.
    pub(crate) fn product_demands(&self, resource: &ResourceRef) -> Demands {
        let product = self.offer.data.get(resource).and_then(|data| self.plant.products.get(&data.product));
        product.map(Product::demands).unwrap_or_default()
    }

    /// Whether the caller, and everybody who acts for it, may know of the resource: what a refusal before the decision
    /// may tell.
    pub fn may_discover(
        &self,
        caller: &Authenticated,
        resource: &ResourceRef,
        country: Option<Country>,
        now: Timestamp,
    ) -> bool {
        let request = AccessRequest {
            caller: caller.clone(),
            action: Action::Discover,
            resource: resource.clone(),
            purpose: None,
            agreement: None,
            shape: Shape::default(),
            country,
            now,
        };
        Inquiry::new(self, &request, &[], Engine::Index).known().is_ok()
    }

    /// Where the request came from, if policies can be asked about it.
    pub(crate) fn country_told(&self, request: &AccessRequest) -> Option<Country> {
        request.country.filter(|_| self.policies.names.tells_country)
    }
}

/// Who answers the questions.
#[derive(Clone, Copy)]
enum Engine {
    Index,
    Scan,
}

struct Granted {
    agreement: Option<AgreementId>,
    actor_agreements: Vec<Option<AgreementId>>,
    shown: Shown,
}

// === the inquiry

pub(crate) struct Inquiry<'a> {
    pub snapshot: &'a Snapshot,
    pub request: &'a AccessRequest,
    engine: Engine,
    /// `request.now` for Cedar, or why there is none.
    now: Result<Value, String>,
    references: &'a [&'a str],
    pub record: Record<'a>,
    /// Permits that determined an allow.
    pub policies: BTreeSet<String>,
    /// Kinds of records that this inquiry asks about; `None` where there are none or too many.
    pub listed: Option<Arc<Listed>>,
}

/// Somebody who takes part in the request: the subject, or who acts for it.
pub(crate) struct Party<'a> {
    pub principal: &'a Principal,
    pub caller: Caller<'a>,
    /// `context.caller`.
    told: Value,
}

/// What somebody asks of which data, with the entities to decide it.
pub(crate) struct Matter<'a> {
    pub party: Party<'a>,
    pub data: &'a Data,
    pub store: Store<'a>,
    /// Agreements of the party's organisation that can matter.
    pub candidates: Vec<Candidate<'a>>,
}

impl<'a> Inquiry<'a> {
    fn new(snapshot: &'a Snapshot, request: &'a AccessRequest, references: &'a [&'a str], engine: Engine) -> Self {
        let now = datetime(request.now);
        Self {
            snapshot,
            request,
            engine,
            now,
            references,
            record: Record::new(),
            policies: BTreeSet::new(),
            listed: None,
        }
    }

    fn run(&mut self) -> Result<Granted, Refused> {
        match (self.request.action, &self.request.resource) {
            (Action::Read, ResourceRef::Dataset(_)) | (Action::ReadSeries, ResourceRef::Signal(_)) => self.data(),
            (action, ResourceRef::AuditScope(scope)) if action.is_of_audit() => self.audit(action, scope.as_ref()),
            _ => Err(Refusal::unknown()),
        }
    }

    fn data(&mut self) -> Result<Granted, Refused> {
        let (subject, actors) = self.known()?;
        self.not_revoked()?;
        let purpose = self.purpose()?;
        let purpose = purpose.as_ref();
        let chosen = self.choose(&subject, purpose, self.request.agreement.as_ref())?;
        let mut shown = self.grant(&subject, purpose, chosen)?;
        let agreement = chosen.map(|(agreement, _)| agreement.id.clone());
        // What an organisation acts under, once for all of its members.
        let mut under = vec![(&subject.party.principal.organisation, chosen)];
        let mut actor_agreements = Vec::with_capacity(actors.len());
        for actor in &actors {
            let (chosen, of_actor) = self
                .actor(actor, purpose, &mut under)
                .map_err(|refusal| refusal.of_actor(&actor.party.principal.organisation).under(agreement.as_ref()))?;
            shown = shown.both(&of_actor);
            actor_agreements.push(chosen.map(|(agreement, _)| agreement.id.clone()));
        }
        // Each of them sees something, and perhaps none of it is the same.
        if !shown.leaves_something(subject.data, self.listed.as_deref()) {
            let records_hidden = !shown.kinds_hidden.is_empty();
            let refusal = Refusal::shaping(shown.classes_hidden, records_hidden, BTreeSet::new());
            return Err(refusal.under(agreement.as_ref()));
        }
        Ok(Granted { agreement, actor_agreements, shown: shown.with_kinds_shown(self.listed.as_deref()) })
    }

    /// An actor's own permission: under the agreement that its organisation acts under already, or one of its own.
    fn actor(
        &mut self,
        actor: &Matter<'a>,
        purpose: Option<&EntityUid>,
        under: &mut Vec<(&'a OrganisationId, Option<Candidate<'a>>)>,
    ) -> Result<(Option<Candidate<'a>>, Shown), Refused> {
        let organisation = &actor.party.principal.organisation;
        let chosen = match under.iter().find(|(of, _)| *of == organisation) {
            Some((_, chosen)) => {
                self.fits(actor, purpose, *chosen)?;
                *chosen
            }
            None => {
                let chosen = self.choose(actor, purpose, None).map_err(|refusal| refusal.without_choice())?;
                under.push((organisation, chosen));
                chosen
            }
        };
        Ok((chosen, self.grant(actor, purpose, chosen)?))
    }

    /// What Cedar has allowed under `chosen` is allowed, and all of the answer may be seen.
    fn grant(
        &mut self,
        matter: &Matter<'a>,
        purpose: Option<&EntityUid>,
        agreement: Option<Candidate<'_>>,
    ) -> Result<Shown, Refused> {
        self.in_force(&matter.party.principal.organisation, agreement.map(|(agreement, _)| agreement))?;
        self.shown(matter, Basis { purpose, agreement })
    }

    // --- who takes part

    /// The subject, then who acts for it.
    fn parties(&mut self) -> Result<(Party<'a>, Vec<Party<'a>>), Refused> {
        let caller = &self.request.caller;
        let subject = self.party(caller.principal(), caller.roles(), &[])?;
        let mut callers = vec![subject];
        // Only the subject's token says something of roles.
        let none = BTreeSet::new();
        for actor in caller.actors() {
            let next = self
                .party(&actor.principal, &none, &callers)
                .map_err(|refusal| refusal.of_actor(&actor.principal.organisation))?;
            callers.push(next);
        }
        let uids: Vec<EntityUid> = callers.iter().map(|(_, caller)| caller.uid.clone()).collect();
        let issuers = caller.actors().iter().map(|actor| Told::actor(caller, &actor.issuer));
        let told = std::iter::once(Told::subject(caller)).chain(issuers);
        let parties = callers.into_iter().zip(told).enumerate();
        let mut parties = parties.map(|(n, ((principal, caller), told))| {
            let told = self.told(&told, n, &uids);
            Ok(Party { principal, caller, told })
        });
        let subject = parties.next().unwrap_or_else(|| Err(Refusal::unknown()))?;
        Ok((subject, parties.collect::<Result<_, Refused>>()?))
    }

    fn party(
        &mut self,
        principal: &'a Principal,
        roles: &BTreeSet<RoleId>,
        before: &[(&'a Principal, Caller<'a>)],
    ) -> Result<(&'a Principal, Caller<'a>), Refused> {
        // Who takes part twice is the same entity both times.
        if let Some((_, caller)) = before.iter().find(|(earlier, _)| *earlier == principal) {
            return Ok((principal, caller.clone()));
        }
        let caller = Caller::find(self.snapshot, principal, roles).ok_or_else(Refusal::unknown)?;
        self.record.caller(&caller, self.references.get(before.len()).copied().unwrap_or_default());
        Ok((principal, caller))
    }

    /// `context.caller` of the party with number `n` of `uids`.
    fn told(&self, told: &Told<'_>, n: usize, uids: &[EntityUid]) -> Value {
        let types = &self.snapshot.policies.names.types;
        if uids.len() == 1 {
            return self.snapshot.alone.record(types, told);
        }
        let others = uids.iter().enumerate().filter(|(other, _)| *other != n).map(|(_, uid)| uid.clone());
        told.record(types, &others.collect::<Vec<_>>())
    }

    /// Who asks of what; refused when one of them may not know of it.
    fn known(&mut self) -> Result<(Matter<'a>, Vec<Matter<'a>>), Refused> {
        let (subject, actors) = self.parties()?;
        let data = self.snapshot.offer.data.get(&self.request.resource).ok_or_else(Refusal::unknown)?;
        let candidates: Vec<_> = std::iter::once(&subject)
            .chain(&actors)
            .map(|party| self.candidates(&party.principal.organisation, data))
            .collect();
        let parties = std::iter::once(&subject).chain(&actors);
        self.listed = alike::listed(self.snapshot, &self.request.resource, data, parties, &candidates)
            .map_err(|e| Refusal::errors(vec![e]).hiding())?;
        self.record_all(data, &candidates);
        let mut candidates = candidates.into_iter();
        let mut next = |inquiry: &mut Self, party| inquiry.matter(party, data, candidates.next().unwrap_or_default());
        let subject = next(self, subject)?;
        let actors = actors.into_iter().map(|actor| {
            let organisation = &actor.principal.organisation;
            next(self, actor).map_err(|refusal| refusal.of_actor(organisation))
        });
        Ok((subject, actors.collect::<Result<_, Refused>>()?))
    }

    /// Everything that any policies could be asked about here, however this decision ends: other policies may ask further.
    fn record_all(&mut self, data: &'a Data, candidates: &[Vec<Candidate<'a>>]) {
        self.record.encoded(&data.base.json);
        candidates.iter().flatten().for_each(|(_, known)| self.record.encoded(&known.json));
        let classes = data.classes.iter().filter_map(|class| self.snapshot.offer.classes.get(class));
        classes.for_each(|known| self.record.encoded(&known.json));
        self.listed.iter().flat_map(|listed| &listed.jsons).for_each(|json| self.record.once(json));
    }

    fn matter(
        &mut self,
        party: Party<'a>,
        data: &'a Data,
        candidates: Vec<Candidate<'a>>,
    ) -> Result<Matter<'a>, Refused> {
        let store =
            slice::store(self.snapshot, &data.base.entities, &party.caller, candidates.iter().map(|(_, known)| *known))
                .map_err(|e| Refusal::errors(vec![e]).hiding())?;
        let matter = Matter { party, data, store, candidates };
        self.discover(&matter)?;
        Ok(matter)
    }

    fn discover(&self, matter: &Matter<'_>) -> Result<(), Refused> {
        let mut answers = Vec::new();
        // Most who ask under an agreement may know of what it covers: that question first.
        for agreement in matter.candidates.iter().copied().map(Some).chain([None]) {
            let facts = self.facts(&matter.party, None, agreement, About::Nothing).map_err(Refusal::hiding)?;
            let answer = self.ask(matter, Action::Discover, &matter.data.base.uid, &facts, &matter.store);
            let answer = answer.sound().map_err(Refusal::hiding)?;
            if answer.allow {
                return Ok(());
            }
            answers.push(answer);
        }
        Err(Refusal::unknown().blaming(&Refusal::explained(&self.snapshot.policies, &answers)))
    }

    // --- questions

    /// A context that cannot be built counts as a policy that failed.
    pub(crate) fn facts<'f>(
        &self,
        party: &'f Party<'_>,
        purpose: Option<&'f EntityUid>,
        agreement: Option<Candidate<'f>>,
        about: About<'f>,
    ) -> Result<Facts<'f>, Refused> {
        let agreement = agreement.map(|(_, known)| &known.name);
        let now = self.now.clone().map_err(|e| Refusal::errors(vec![e]))?;
        let country = self.snapshot.country_told(self.request);
        Ok(Question { now, caller: &party.told, purpose, agreement, country, about }.facts())
    }

    pub(crate) fn ask(
        &self,
        matter: &Matter<'_>,
        action: Action,
        resource: &EntityUid,
        facts: &Facts<'_>,
        store: &Store<'_>,
    ) -> Answer {
        self.question(&matter.party.caller.uid, action, resource, facts, store)
    }

    fn question(
        &self,
        principal: &EntityUid,
        action: Action,
        resource: &EntityUid,
        facts: &Facts<'_>,
        store: &Store<'_>,
    ) -> Answer {
        match self.engine {
            Engine::Index => self.snapshot.ask(principal, action, resource, facts, store),
            Engine::Scan => self.snapshot.policies.scan(principal, action, resource, facts, store),
        }
    }

    // --- may anybody ask at all

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

    // --- the audit log

    fn audit(&mut self, action: Action, scope: Option<&OrganisationId>) -> Result<Granted, Refused> {
        // Its schema may be older than the action.
        if !self.snapshot.policies.names.actions.contains_key(&action) {
            return Err(Refusal::because(Reason::NOT_PERMITTED));
        }
        let (subject, actors) = self.parties()?;
        let base =
            self.snapshot.roster.scopes.get(&scope.cloned()).ok_or_else(|| Refusal::because(Reason::NOT_PERMITTED))?;
        self.record.encoded(&base.json);
        self.not_revoked()?;
        let purpose = self.purpose()?;
        if self.request.agreement.is_some() {
            return Err(Refusal::because(Reason::AGREEMENT_UNKNOWN)
                .asking("the audit log is not read or erased under agreements"));
        }
        self.of_audit(action, &subject, base, purpose.as_ref())?;
        for actor in &actors {
            self.of_audit(action, actor, base, purpose.as_ref())
                .map_err(|refusal| refusal.of_actor(&actor.principal.organisation))?;
        }
        Ok(Granted { agreement: None, actor_agreements: vec![None; actors.len()], shown: Shown::default() })
    }

    fn of_audit(
        &mut self,
        action: Action,
        party: &Party<'_>,
        base: &Base,
        purpose: Option<&EntityUid>,
    ) -> Result<(), Refused> {
        let policies = &self.snapshot.policies;
        let facts = self.facts(party, purpose, None, About::Nothing)?;
        let store =
            slice::store(self.snapshot, &base.entities, &party.caller, []).map_err(|e| Refusal::errors(vec![e]))?;
        let answer = self.question(&party.caller.uid, action, &base.uid, &facts, &store).sound()?;
        if !answer.allow {
            return Err(Refusal::explained(policies, &[answer]));
        }
        self.policies.extend(answer.policies);
        self.in_force(&party.principal.organisation, None)
    }
}
