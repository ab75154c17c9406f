//! Which policies a question has to look at: those whose scope can match it.
//!
//! A policy stands under the pair of its constraints on principal and resource. Constraints that hold for an entity are
//! found by its name, its type and its ancestors, so the policies of all pairs of them are exactly those whose scope
//! matches. All others are false before anything in them can fail: they neither decide nor err.
//! This is sound for the store that the question is asked over, because ancestors are taken from it and nowhere else; a
//! store whose actions are not the schema's own is not asked about here.

use super::condition::{Collector, Conditions};
use super::ready::{ByMark, Mark, is_same, mark, mark_of_type};
use super::{Facts, Found, Store};
use cedar_policy::{Entities, EntityUid, Policy};
use cedar_policy_core::ast::{
    self, Effect, EntityReference, EntityType, EntityUID, EntityUIDEntry, Expr, Literal, PrincipalOrResourceConstraint,
    Request, SlotEnv, Value, ValueKind,
};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use foldhash::fast::RandomState;
use model::Action;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Policies by scope, conditions by number. Immutable.
#[derive(Debug)]
pub(crate) struct Index {
    rules: Vec<Rule>,
    conditions: Conditions,
    actions: BTreeMap<Action, Scopes>,
}

#[derive(Debug)]
struct Rule {
    id: Box<str>,
    effect: Effect,
    conditions: Box<[usize]>,
}

/// The policies of one action.
#[derive(Debug)]
struct Scopes {
    action: Arc<EntityUID>,
    principals: Keys,
    resources: Keys,
    rules: HashMap<(Key, Key), Vec<usize>, RandomState>,
    /// By the key of the principal: which keys of resources it has rules with, as far as 64 bits tell. Most pairs of keys that
    /// hold for a question have none.
    with: Vec<u64>,
}

fn bit(key: Key) -> u64 {
    1 << (key % u64::BITS)
}

/// A constraint on principal or resource.
type Key = u32;

#[derive(Debug, Default)]
struct Keys {
    all: HashMap<PrincipalOrResourceConstraint, Key, RandomState>,
    any: Option<Key>,
    /// `== uid`.
    equal: ByMark<Vec<(EntityUID, Key)>>,
    /// `in uid`, and `is T in uid` with its `T`.
    within: ByMark<Vec<(EntityUID, Option<EntityType>, Key)>>,
    /// `is T`.
    is: ByMark<Vec<(EntityType, Key)>>,
}

/// Cedar's answer, by the policies that determined it and those that failed.
pub(crate) struct Outcome<'i> {
    pub allow: bool,
    pub policies: Vec<&'i str>,
    pub errors: Vec<&'i str>,
}

// === building

impl Index {
    /// `admits` says which policies an action concerns. `None` when a scope has a form that is not foreseen here: then
    /// there is no index.
    pub(crate) fn build<'p>(
        policies: impl IntoIterator<Item = &'p Policy>,
        actions: &BTreeMap<Action, EntityUid>,
        admits: impl Fn(&Policy, &EntityUid) -> bool,
    ) -> Option<Self> {
        let mut collector = Collector::default();
        let mut rules = Vec::new();
        let mut scopes: BTreeMap<Action, Scopes> = actions.iter().map(|(a, uid)| (*a, Scopes::of(uid))).collect();
        for policy in policies {
            let core: &ast::Policy = policy.as_ref();
            for (action, _) in actions.iter().filter(|(_, uid)| admits(policy, uid)) {
                scopes.get_mut(action)?.add(core, rules.len())?;
            }
            let conditions = collector.add(core.non_scope_constraints());
            rules.push(Rule { id: core.id().as_ref().into(), effect: core.effect(), conditions });
        }
        Some(Self { rules, conditions: collector.finish(), actions: scopes })
    }

    /// Leaves a policy out, so that a test can see who notices.
    #[cfg(test)]
    pub(crate) fn forget(&mut self, id: &str) {
        let number = self.rules.iter().position(|rule| &*rule.id == id).unwrap();
        for scopes in self.actions.values_mut() {
            scopes.rules.values_mut().for_each(|rules| rules.retain(|rule| *rule != number));
        }
    }
}

impl Scopes {
    fn of(action: &EntityUid) -> Self {
        let action = Arc::new(EntityUID::from(action.clone()));
        let (principals, resources) = (Keys::default(), Keys::default());
        Self { action, principals, resources, rules: HashMap::default(), with: Vec::new() }
    }

    fn add(&mut self, policy: &ast::Policy, rule: usize) -> Option<()> {
        let principal = self.principals.key(policy.principal_constraint().as_inner())?;
        let resource = self.resources.key(policy.resource_constraint().as_inner())?;
        self.rules.entry((principal, resource)).or_default().push(rule);
        let place = usize::try_from(principal).ok()?;
        self.with.resize(self.with.len().max(place + 1), 0);
        *self.with.get_mut(place)? |= bit(resource);
        Some(())
    }

    /// The rules whose scope holds for one of these and one of those.
    fn candidates<'s>(&'s self, principals: &'s [Key], resources: &'s [Key]) -> impl Iterator<Item = &'s usize> {
        let with = |principal: Key| usize::try_from(principal).ok().and_then(|place| self.with.get(place));
        let pairs = principals.iter().flat_map(move |principal| {
            let with = with(*principal).copied().unwrap_or(0);
            resources.iter().filter(move |resource| with & bit(**resource) != 0).map(|resource| (*principal, *resource))
        });
        pairs.filter_map(|pair| self.rules.get(&pair)).flatten()
    }
}

impl Keys {
    fn key(&mut self, constraint: &PrincipalOrResourceConstraint) -> Option<Key> {
        if let Some(key) = self.all.get(constraint) {
            return Some(*key);
        }
        let key = Key::try_from(self.all.len()).ok()?;
        match constraint {
            PrincipalOrResourceConstraint::Any => self.any = Some(key),
            PrincipalOrResourceConstraint::Eq(reference) => {
                let uid = named(reference)?;
                self.equal.entry(mark(&uid)).or_default().push((uid, key));
            }
            PrincipalOrResourceConstraint::In(reference) => {
                let uid = named(reference)?;
                self.within.entry(mark(&uid)).or_default().push((uid, None, key));
            }
            PrincipalOrResourceConstraint::Is(ty) => {
                self.is.entry(mark_of_type(ty)).or_default().push(((**ty).clone(), key));
            }
            PrincipalOrResourceConstraint::IsIn(ty, reference) => {
                let uid = named(reference)?;
                self.within.entry(mark(&uid)).or_default().push((uid, Some((**ty).clone()), key));
            }
        }
        self.all.insert(constraint.clone(), key);
        Some(key)
    }

    /// The constraints that hold for `uid`. `in` is reflexive, for entities that are not in the store too.
    fn holding(&self, of: &Side<'_>) -> Vec<Key> {
        let ty = of.uid.entity_type();
        let (own, of_type) = match of.found {
            Some(Found::Ready(ready)) => (ready.marks.own, ready.marks.ty),
            _ => (mark(of.uid), mark_of_type(ty)),
        };
        let mut keys = Vec::with_capacity(16);
        keys.extend(self.any);
        let equal = self.equal.get(&own).into_iter().flatten();
        keys.extend(equal.filter(|(uid, _)| uid == of.uid).map(|(_, key)| key));
        let is = self.is.get(&of_type).into_iter().flatten();
        keys.extend(is.filter(|(of, _)| of == ty).map(|(_, key)| key));
        if !self.within.is_empty() {
            self.add_within(own, of.uid, ty, &mut keys);
            match of.found {
                Some(Found::Ready(ready)) => {
                    ready.marks.ancestors.iter().for_each(|(mark, uid)| self.add_within(*mark, uid, ty, &mut keys));
                }
                Some(Found::Other(entity)) => {
                    entity.ancestors().for_each(|uid| self.add_within(mark(uid), uid, ty, &mut keys));
                }
                None => {}
            }
        }
        keys
    }

    /// What is found by a mark can be for another name: each is looked at.
    fn add_within(&self, mark: Mark, uid: &EntityUID, ty: &EntityType, keys: &mut Vec<Key>) {
        let found = self.within.get(&mark).into_iter().flatten();
        let fitting = found.filter(|(of, only, _)| is_same(of, uid) && only.as_ref().is_none_or(|only| only == ty));
        keys.extend(fitting.map(|(_, _, key)| key));
    }
}

/// `None` for the slot of a template.
fn named(reference: &EntityReference) -> Option<EntityUID> {
    match reference {
        EntityReference::EUID(uid) => Some((**uid).clone()),
        EntityReference::Slot(_) => None,
    }
}

// === asking

/// Somebody or something that a question is about, found once.
pub(super) struct Side<'q> {
    pub(super) uid: &'q EntityUID,
    found: Option<Found<'q>>,
}

impl<'q> Side<'q> {
    fn find(uid: &'q EntityUID, store: &'q Store<'_>) -> Self {
        Self { uid, found: store.find(uid) }
    }
}

/// One question, as conditions see it.
pub(crate) struct Questioned<'q> {
    pub(super) principal: Side<'q>,
    pub(super) resource: Side<'q>,
    facts: &'q Facts<'q>,
    action: &'q Arc<EntityUID>,
    store: &'q Store<'q>,
    agreement: Option<(&'q EntityUID, Option<Found<'q>>)>,
    evaluator: OnceCell<Evaluator<'q>>,
}

impl Index {
    /// `None` when the question is not one for the index: an action that it does not know, a store with other actions
    /// than `actions`, a context with unknown parts.
    pub(crate) fn answer(
        &self,
        principal: &EntityUid,
        action: Action,
        resource: &EntityUid,
        facts: &Facts<'_>,
        store: &Store<'_>,
        actions: &Entities,
    ) -> Option<Outcome<'_>> {
        let scopes = self.actions.get(&action).filter(|scopes| store.has_actions(actions, &scopes.action))?;
        let question = Questioned::new(principal, &scopes.action, resource, facts, store)?;
        let principals = scopes.principals.holding(&question.principal);
        let resources = scopes.resources.holding(&question.resource);
        let candidates = scopes.candidates(&principals, &resources);
        Some(self.decide(candidates.filter_map(|rule| self.rules.get(*rule)), &question))
    }

    fn decide<'i>(&'i self, candidates: impl Iterator<Item = &'i Rule>, question: &Questioned<'_>) -> Outcome<'i> {
        let (sight, mut results) = (self.conditions.sight(question), self.conditions.results());
        let (mut permits, mut forbids, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for rule in candidates {
            match (self.conditions.hold(&rule.conditions, &sight, &mut results), rule.effect) {
                (Ok(true), Effect::Permit) => permits.push(&*rule.id),
                (Ok(true), Effect::Forbid) => forbids.push(&*rule.id),
                (Ok(false), _) => {}
                (Err(_), _) => errors.push(&*rule.id),
            }
        }
        let allow = forbids.is_empty() && !permits.is_empty();
        Outcome { allow, policies: if allow { permits } else { forbids }, errors }
    }
}

impl<'q> Questioned<'q> {
    fn new(
        principal: &'q EntityUid,
        action: &'q Arc<EntityUID>,
        resource: &'q EntityUid,
        facts: &'q Facts<'q>,
        store: &'q Store<'q>,
    ) -> Option<Self> {
        if !facts.are_known() {
            return None;
        }
        let agreement = match facts.get("agreement") {
            Some(Value { value: ValueKind::Lit(Literal::EntityUID(uid)), .. }) => Some((&**uid, store.find(uid))),
            _ => None,
        };
        Some(Self {
            principal: Side::find(principal.as_ref(), store),
            action,
            resource: Side::find(resource.as_ref(), store),
            facts,
            store,
            agreement,
            evaluator: OnceCell::new(),
        })
    }

    pub(super) fn context(&self, name: &str) -> Option<&'q Value> {
        self.facts.get(name)
    }

    pub(super) fn entity(&self, uid: &EntityUID) -> Option<Found<'q>> {
        match self.agreement {
            Some((agreement, entity)) if std::ptr::eq(agreement, uid) => entity,
            _ if std::ptr::eq(self.principal.uid, uid) => self.principal.found,
            _ if std::ptr::eq(self.resource.uid, uid) => self.resource.found,
            _ => self.store.find(uid),
        }
    }

    /// Cedar's own word; `None` when it fails.
    pub(super) fn interpret(&self, expression: &Expr) -> Option<bool> {
        let store = self.store.whole()?;
        let evaluator = self.evaluator.get_or_init(|| {
            let known = |euid: Arc<EntityUID>| EntityUIDEntry::Known { euid, loc: None };
            let request = Request::new_unchecked(
                known(Arc::new(self.principal.uid.clone())),
                known(Arc::clone(self.action)),
                known(Arc::new(self.resource.uid.clone())),
                Some(AsRef::<ast::Context>::as_ref(self.facts.whole()).clone()),
            );
            Evaluator::new(request, store.as_ref(), Extensions::all_available())
        });
        match evaluator.interpret(expression, &SlotEnv::new()).ok()?.value {
            ValueKind::Lit(Literal::Bool(held)) => Some(held),
            _ => None,
        }
    }
}
