//! Which policies a question has to look at: those whose scope can match it.
//!
//! A policy stands under the pair of its constraints on principal and resource. Constraints that hold for an entity are
//! found by its name, its type and its ancestors, so the policies of all pairs of them are exactly those whose scope
//! matches. All others are false before anything in them can fail: they neither decide nor err.
//! This is sound for the store that the question is asked over, because ancestors are taken from it and nowhere else; a
//! store whose actions are not the schema's own is not asked about here.

use super::Store;
use super::condition::{Collector, Conditions};
use cedar_policy::{Context, Entities, EntityUid, Policy};
use cedar_policy_core::ast::{
    self, Effect, Entity, EntityReference, EntityType, EntityUID, EntityUIDEntry, Expr, Literal,
    PrincipalOrResourceConstraint, Request, SlotEnv, Value, ValueKind,
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
}

/// A constraint on principal or resource.
type Key = u32;

#[derive(Debug, Default)]
struct Keys {
    all: HashMap<PrincipalOrResourceConstraint, Key, RandomState>,
    any: Option<Key>,
    /// `== uid`.
    equal: HashMap<EntityUID, Key, RandomState>,
    /// `in uid`, and `is T in uid` with its `T`.
    within: HashMap<EntityUID, Vec<(Option<EntityType>, Key)>, RandomState>,
    /// `is T`.
    is: HashMap<EntityType, Key, RandomState>,
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
        Self { action, principals: Keys::default(), resources: Keys::default(), rules: HashMap::default() }
    }

    fn add(&mut self, policy: &ast::Policy, rule: usize) -> Option<()> {
        let principal = self.principals.key(policy.principal_constraint().as_inner())?;
        let resource = self.resources.key(policy.resource_constraint().as_inner())?;
        self.rules.entry((principal, resource)).or_default().push(rule);
        Some(())
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
            PrincipalOrResourceConstraint::Eq(uid) => drop(self.equal.insert(named(uid)?, key)),
            PrincipalOrResourceConstraint::In(uid) => self.within.entry(named(uid)?).or_default().push((None, key)),
            PrincipalOrResourceConstraint::Is(ty) => drop(self.is.insert((**ty).clone(), key)),
            PrincipalOrResourceConstraint::IsIn(ty, uid) => {
                self.within.entry(named(uid)?).or_default().push((Some((**ty).clone()), key));
            }
        }
        self.all.insert(constraint.clone(), key);
        Some(key)
    }

    /// The constraints that hold for `uid`. `in` is reflexive, for entities that are not in the store too.
    fn holding(&self, uid: &EntityUID, entity: Option<&Entity>) -> Vec<Key> {
        let mut keys = Vec::with_capacity(8);
        keys.extend(self.any);
        keys.extend(self.equal.get(uid));
        keys.extend(self.is.get(uid.entity_type()));
        if !self.within.is_empty() {
            let ancestors = entity.into_iter().flat_map(Entity::ancestors);
            for constraints in std::iter::once(uid).chain(ancestors).filter_map(|of| self.within.get(of)) {
                let fitting = constraints.iter().filter(|(ty, _)| ty.as_ref().is_none_or(|ty| ty == uid.entity_type()));
                keys.extend(fitting.map(|(_, key)| key));
            }
        }
        keys
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

/// One question, as conditions see it.
pub(crate) struct Questioned<'q> {
    pub(super) principal: &'q EntityUID,
    pub(super) resource: &'q EntityUID,
    context: &'q ast::Context,
    action: &'q Arc<EntityUID>,
    store: &'q Store<'q>,
    /// Found once: most of what policies look at.
    principal_entity: Option<&'q Entity>,
    resource_entity: Option<&'q Entity>,
    agreement: Option<(&'q EntityUID, Option<&'q Entity>)>,
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
        context: &Context,
        store: &Store<'_>,
        actions: &Entities,
    ) -> Option<Outcome<'_>> {
        let scopes = self.actions.get(&action).filter(|scopes| store.has_actions(actions, &scopes.action))?;
        let question = Questioned::new(principal, &scopes.action, resource, context, store)?;
        let principals = scopes.principals.holding(question.principal, question.principal_entity);
        let resources = scopes.resources.holding(question.resource, question.resource_entity);
        let pairs = principals.iter().flat_map(|p| resources.iter().map(|r| (*p, *r)));
        let candidates = pairs.filter_map(|pair| scopes.rules.get(&pair)).flatten();
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
        context: &'q Context,
        store: &'q Store<'q>,
    ) -> Option<Self> {
        let context: &ast::Context = context.as_ref();
        let ast::Context::Value(fields) = context else { return None };
        let (principal, resource): (&EntityUID, &EntityUID) = (principal.as_ref(), resource.as_ref());
        let agreement = match fields.get("agreement") {
            Some(Value { value: ValueKind::Lit(Literal::EntityUID(uid)), .. }) => Some((&**uid, store.find(uid))),
            _ => None,
        };
        Some(Self {
            principal,
            action,
            resource,
            context,
            store,
            principal_entity: store.find(principal),
            resource_entity: store.find(resource),
            agreement,
            evaluator: OnceCell::new(),
        })
    }

    pub(super) fn context(&self, name: &str) -> Option<&'q Value> {
        match self.context {
            ast::Context::Value(fields) => fields.get(name),
            ast::Context::RestrictedResidual(_) => None,
        }
    }

    pub(super) fn entity(&self, uid: &EntityUID) -> Option<&'q Entity> {
        match self.agreement {
            Some((agreement, entity)) if std::ptr::eq(agreement, uid) => entity,
            _ if std::ptr::eq(self.principal, uid) => self.principal_entity,
            _ if std::ptr::eq(self.resource, uid) => self.resource_entity,
            _ => self.store.find(uid),
        }
    }

    /// Cedar's own word; `None` when it fails.
    pub(super) fn interpret(&self, expression: &Expr) -> Option<bool> {
        let store = self.store.whole()?;
        let evaluator = self.evaluator.get_or_init(|| {
            let known = |euid: Arc<EntityUID>| EntityUIDEntry::Known { euid, loc: None };
            let request = Request::new_unchecked(
                known(Arc::new(self.principal.clone())),
                known(Arc::clone(self.action)),
                known(Arc::new(self.resource.clone())),
                Some(self.context.clone()),
            );
            Evaluator::new(request, store.as_ref(), Extensions::all_available())
        });
        match evaluator.interpret(expression, &SlotEnv::new()).ok()?.value {
            ValueKind::Lit(Literal::Bool(held)) => Some(held),
            _ => None,
        }
    }
}
