//! Policies, plant and registry joined under one generation: everything a decision reads, prebuilt.
//!
//! Entities are flat copies, checked against the schema one by one: a copy names all of its ancestors as parents, so it
//! means the same without them.

use crate::credential::Alone;
use crate::entities;
use crate::existing::unknown_names;
use crate::memo::Memo;
use crate::moments::Moments;
use crate::offer::Offer;
use crate::roster::{Before, Roster};
use crate::watch::Watch;
use crate::{Finding, PolicySet};
use cedar_policy::EntityUid;
use model::Principal;
use model::party::Parties;
use model::plant::Plant;
use std::sync::Arc;

pub(crate) use crate::offer::{Base, Data, Fields, Kinds, Known, Listed};
pub(crate) use crate::roster::Member;

/// What decisions are made from. Immutable; a request uses one from start to record.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) policies: Arc<PolicySet>,
    pub(crate) plant: Arc<Plant>,
    pub(crate) parties: Arc<Parties>,
    pub(crate) generation: u64,
    pub(crate) offer: Arc<Offer>,
    pub(crate) roster: Roster,
    pub(crate) alone: Alone,
    pub(crate) watch: Watch,
    /// `None` where a policy uses the time in a way that decisions cannot be remembered with.
    pub(crate) memo: Option<Memo>,
}

/// Whether policies may name what is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Known,
    Any,
}

impl Snapshot {
    /// Joins checked policies with a plant and a registry.
    ///
    /// Revocations alone never make this fail where it did not before: they change the status of organisations and
    /// agreements and nothing else. So revocations applied to the last good registry always take effect.
    ///
    /// # Errors
    /// Entities that do not fit the schema, references to nothing, hierarchies that lead back to themselves, and names in
    /// policies that neither the plant nor the registry has: such a policy would silently never apply.
    pub fn new(
        policies: Arc<PolicySet>,
        plant: Arc<Plant>,
        parties: Arc<Parties>,
        generation: u64,
    ) -> Result<Self, Vec<Finding>> {
        Self::join(None, policies, plant, parties, generation, Names::Known)
    }

    /// The same for a plant of which only some is known: policies may name the rest.
    pub(crate) fn partial(
        policies: Arc<PolicySet>,
        plant: Arc<Plant>,
        parties: Arc<Parties>,
    ) -> Result<Self, Vec<Finding>> {
        Self::join(None, policies, plant, parties, 0, Names::Any)
    }

    /// The same, taking over from `self` what has not changed: everything of the plant where it is the same plant, and
    /// whatever in the registry says the same as before. Decides as [`Self::new`] does in every case.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn after(
        &self,
        policies: Arc<PolicySet>,
        plant: Arc<Plant>,
        parties: Arc<Parties>,
        generation: u64,
    ) -> Result<Self, Vec<Finding>> {
        // Entities depend on the schema, by whose text it is known, and on no policy.
        let is_same_schema = self.policies.schema().digest == policies.schema().digest;
        Self::join(is_same_schema.then_some(self), policies, plant, parties, generation, Names::Known)
    }

    fn join(
        before: Option<&Self>,
        policies: Arc<PolicySet>,
        plant: Arc<Plant>,
        parties: Arc<Parties>,
        generation: u64,
        names: Names,
    ) -> Result<Self, Vec<Finding>> {
        let offer = match before.filter(|before| Arc::ptr_eq(&before.plant, &plant)) {
            Some(before) => Ok(Arc::clone(&before.offer)),
            None => Offer::new(&policies, &plant).map(Arc::new),
        };
        let plant_is_known =
            before.is_some_and(|b| Arc::ptr_eq(&b.plant, &plant) && Arc::ptr_eq(&b.policies, &policies));
        let before = before.map(|before| Before { roster: &before.roster, parties: &before.parties });
        let roster = Roster::new(&policies, &parties, before);
        let (offer, roster) = match (offer, roster) {
            (Ok(offer), Ok(roster)) => (offer, roster),
            (offer, roster) => return Err([offer.err(), roster.err()].into_iter().flatten().flatten().collect()),
        };
        if names == Names::Known {
            Finding::check(unknown_names(&policies, &plant, &parties, plant_is_known))?;
        }
        let alone = Alone::new(&parties);
        let memo = Moments::of(&policies.uses_of_time, parties.agreements.values()).map(Memo::new);
        Ok(Self { policies, plant, parties, generation, offer, roster, alone, watch: Watch::default(), memo })
    }

    pub fn policies(&self) -> &Arc<PolicySet> {
        &self.policies
    }

    pub fn plant(&self) -> &Arc<Plant> {
        &self.plant
    }

    pub fn parties(&self) -> &Arc<Parties> {
        &self.parties
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The name of somebody whom the registry does not list.
    pub(crate) fn principal_uid(&self, principal: &Principal) -> EntityUid {
        entities::principal_uid(&self.policies.names.types, principal)
    }
}
