//! Who the registry knows, made ready for slices: principals, agreements, audit scopes.
//!
//! A snapshot takes over from the one before it whatever is the same, so that a change of one entry costs that entry and a
//! look at the others.

use crate::encode::Anonymous;
use crate::engine::{self, Conformance, Shared};
use crate::names::{Types, uid};
use crate::offer::{Base, Known, known};
use crate::{Finding, PolicySet, entities};
use cedar_policy::{Entity, EntityUid};
use model::party::{Agreement, Organisation, Parties, PrincipalRecord, Status};
use model::{AgreementId, OrganisationId, Principal, PrincipalKind, Subject};
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::sync::Arc;

/// A principal, recorded without its id.
#[derive(Debug)]
pub(crate) struct Member {
    pub uid: EntityUid,
    pub entity: Shared,
    pub json: Anonymous,
}

/// Immutable.
#[derive(Debug)]
pub(crate) struct Roster {
    pub scopes: BTreeMap<Option<OrganisationId>, Arc<Base>>,
    pub registered: BTreeMap<(OrganisationId, Subject), Arc<Member>>,
    pub strangers: BTreeMap<(OrganisationId, PrincipalKind), Arc<Member>>,
    pub agreements: BTreeMap<AgreementId, Arc<Known>>,
    pub agreements_of: BTreeMap<OrganisationId, Vec<AgreementId>>,
}

/// A roster under the same schema, and what it was made from.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    pub roster: &'a Roster,
    pub parties: &'a Parties,
}

impl Roster {
    /// # Errors
    /// Entities that do not fit the schema, and principals of organisations that do not exist.
    pub(crate) fn new(
        policies: &PolicySet,
        parties: &Parties,
        before: Option<Before<'_>>,
    ) -> Result<Self, Vec<Finding>> {
        let conformance = Conformance::new(&policies.schema);
        let mut builder = Builder { types: &policies.names.types, parties, before, conformance, findings: Vec::new() };
        builder.vocabularies();
        let roster = Self {
            scopes: builder.scopes(),
            registered: builder.registered(),
            strangers: builder.strangers(),
            agreements: builder.agreements(),
            agreements_of: agreements_of(parties),
        };
        Finding::check(builder.findings)?;
        Ok(roster)
    }
}

fn agreements_of(parties: &Parties) -> BTreeMap<OrganisationId, Vec<AgreementId>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for a in parties.agreements.values() {
        all.entry(a.consumer.clone()).or_default().push(a.id.clone());
    }
    all
}

type Walk<'a, K, V> = Peekable<btree_map::Iter<'a, K, V>>;

fn walk<K, V>(map: &BTreeMap<K, V>) -> Walk<'_, K, V> {
    map.iter().peekable()
}

/// The value at `key`; the walk goes on behind it. Keys are asked for in their order.
fn at<'a, K: Ord, V>(walk: &mut Walk<'a, K, V>, key: &K) -> Option<&'a V> {
    while walk.next_if(|(k, _)| *k < key).is_some() {}
    walk.next_if(|(k, _)| *k == key).map(|(_, value)| value)
}

// === building

struct Builder<'a> {
    types: &'a Types,
    parties: &'a Parties,
    before: Option<Before<'a>>,
    conformance: Conformance<'a>,
    findings: Vec<Finding>,
}

/// What the entities of an organisation's people say of it.
type Standing<'a> = (&'a Organisation, Status);

fn standing<'a>(parties: &'a Parties, id: &OrganisationId) -> Option<Standing<'a>> {
    Some((parties.organisations.get(id)?, parties.status_of(id)?))
}

fn alike((a, a_status): Standing<'_>, (b, b_status): Standing<'_>) -> bool {
    a_status == b_status && a.kind == b.kind && a.country == b.country
}

/// The standing of the organisation whose people are gone through, and whether it was the same before.
#[derive(Default)]
struct Standings<'a>(Option<(&'a OrganisationId, Option<Standing<'a>>, bool)>);

impl<'a> Standings<'a> {
    fn of(&mut self, builder: &Builder<'a>, id: &'a OrganisationId) -> (Option<Standing<'a>>, bool) {
        match self.0 {
            Some((of, now, is_alike)) if of == id => (now, is_alike),
            _ => {
                let now = standing(builder.parties, id);
                let then = builder.before.and_then(|before| standing(before.parties, id));
                let is_alike = now.zip(then).is_some_and(|(now, then)| alike(now, then));
                self.0 = Some((id, now, is_alike));
                (now, is_alike)
            }
        }
    }
}

impl<'a> Builder<'a> {
    fn problem(&mut self, message: String) {
        self.findings.push(Finding::new(message));
    }

    /// One organisation and one role stand for all: they have neither attributes nor parents.
    fn vocabularies(&mut self) {
        for ty in [&self.types.organisation, &self.types.role] {
            let sample = engine::flat(&Entity::with_uid(uid(ty, "a")), []);
            if let Err(message) = self.conformance.check(&sample) {
                self.problem(message);
            }
        }
    }

    fn scopes(&mut self) -> BTreeMap<Option<OrganisationId>, Arc<Base>> {
        let mut all = BTreeMap::new();
        for organisation in self.parties.organisations.keys().map(|o| Some(o.clone())).chain([None]) {
            let same = self.before.and_then(|before| before.roster.scopes.get(&organisation)).cloned();
            let scope = same.map_or_else(|| self.scope(organisation.as_ref()).map(Arc::new), Ok);
            match scope {
                Ok(scope) => drop(all.insert(organisation, scope)),
                Err(message) => self.problem(message),
            }
        }
        all
    }

    fn scope(&self, organisation: Option<&OrganisationId>) -> Result<Base, String> {
        let entity = entities::scope(self.types, organisation)?;
        let Known { uid, entity, json, .. } = self.known(&entity)?;
        Ok(Base { uid, json, entities: vec![entity] })
    }

    /// The registry is gone through side by side with the one before, which has the same order: looking each entry up would
    /// be most of the work.
    fn registered(&mut self) -> BTreeMap<(OrganisationId, Subject), Arc<Member>> {
        let mut all = Vec::with_capacity(self.parties.principals.len());
        let mut then = self.before.map(|before| (walk(&before.parties.principals), walk(&before.roster.registered)));
        let mut standings = Standings::default();
        for (key, record) in &self.parties.principals {
            let (now, is_alike) = standings.of(self, &key.0);
            let same = then.as_mut().and_then(|(records, members)| at(records, key).zip(at(members, key)));
            let same = same.filter(|(before, _)| is_alike && *before == record);
            let member = match (same, now) {
                (Some((_, member)), _) => Ok(Arc::clone(member)),
                (None, Some(now)) => self.member(key, record, now),
                (None, None) => {
                    Err(format!("principal `{}/{}`: organisation `{}` does not exist", key.0, key.1, key.0))
                }
            };
            match member {
                Ok(member) => all.push((key.clone(), member)),
                Err(message) => self.problem(message),
            }
        }
        all.into_iter().collect()
    }

    fn member(
        &self,
        (organisation, subject): &(OrganisationId, Subject),
        record: &PrincipalRecord,
        (of, status): Standing<'_>,
    ) -> Result<Arc<Member>, String> {
        let (organisation, subject) = (organisation.clone(), subject.clone());
        let who = Principal { organisation, kind: record.kind, subject };
        self.anonymous(&entities::principal(self.types, &who, of, status, Some(record))?)
    }

    fn anonymous(&self, entity: &Entity) -> Result<Arc<Member>, String> {
        let flat = engine::flat(entity, []);
        self.conformance.check(&flat)?;
        Ok(Arc::new(Member { uid: entity.uid(), json: Anonymous::of(entity)?, entity: flat }))
    }

    fn strangers(&mut self) -> BTreeMap<(OrganisationId, PrincipalKind), Arc<Member>> {
        let mut all = BTreeMap::new();
        for (id, organisation) in &self.parties.organisations {
            let Some(now) = standing(self.parties, id) else { continue };
            let then = self.before.and_then(|before| standing(before.parties, id));
            let is_alike = then.is_some_and(|then| alike(now, then));
            for kind in [PrincipalKind::User, PrincipalKind::Service] {
                let key = (id.clone(), kind);
                let same = self.before.filter(|_| is_alike).and_then(|b| b.roster.strangers.get(&key)).cloned();
                let member = same.map_or_else(|| self.stranger(organisation, kind, now.1), Ok);
                match member {
                    Ok(member) => drop(all.insert(key, member)),
                    Err(message) => self.problem(message),
                }
            }
        }
        all
    }

    fn stranger(&self, of: &Organisation, kind: PrincipalKind, status: Status) -> Result<Arc<Member>, String> {
        let nobody = entities::stranger(of, kind)?;
        self.anonymous(&entities::principal(self.types, &nobody, of, status, None)?)
    }

    fn agreements(&mut self) -> BTreeMap<AgreementId, Arc<Known>> {
        let mut all = BTreeMap::new();
        for (id, agreement) in &self.parties.agreements {
            match self.same_agreement(id, agreement).map_or_else(|| self.agreement(agreement), Ok) {
                Ok(known) => drop(all.insert(id.clone(), known)),
                Err(message) => self.problem(message),
            }
        }
        all
    }

    fn same_agreement(&self, id: &AgreementId, agreement: &Agreement) -> Option<Arc<Known>> {
        let before = self.before?;
        (before.parties.agreements.get(id)? == agreement).then(|| before.roster.agreements.get(id).cloned())?
    }

    fn agreement(&self, agreement: &Agreement) -> Result<Arc<Known>, String> {
        self.known(&entities::agreement(self.types, agreement)?).map(Arc::new)
    }

    /// The registry's entities have no ancestors but their parents.
    fn known(&self, entity: &Entity) -> Result<Known, String> {
        known(&self.conformance, entity, &[]).map_err(|message| format!("{}: {message}", entity.uid()))
    }
}
