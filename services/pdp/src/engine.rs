//! Cedar's engine below its public interface: values, single conditions, and stores whose hierarchy is settled.
//!
//! Nothing but this module and those below it uses `cedar-policy-core`, which promises no stability and is pinned. The
//! public interface decides beside it: in tests, in `cargo bench --bench equality`, and for a sample of the questions of
//! every running snapshot ([`crate::watch`]).

mod condition;
mod conformance;
mod facts;
mod fallible;
mod index;
mod instant;
mod ready;
mod shortcut;
mod time;

pub(crate) use conformance::Conformance;
pub(crate) use facts::Facts;
pub(crate) use fallible::fallible_operations;
pub(crate) use index::{Index, Outcome};
pub(crate) use instant::datetime;
pub(crate) use time::{asks_for_country, times_compared};

/// A value in a context or of an attribute, already evaluated.
pub(crate) use cedar_policy_core::ast::Value;

use cedar_policy::{Entities, EntityUid, RestrictedExpression};
use cedar_policy_core::ast::{self, EntityUID, PartialValue};
use cedar_policy_core::entities::{Dereference, Entities as CoreEntities, TCComputation};
use cedar_policy_core::evaluator::RestrictedEvaluator;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::CoreSchema;
use ready::{Ready, is_same};
use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::Arc;

/// An entity that names all of its ancestors, shared by stores.
pub(crate) type Shared = Arc<Ready>;

/// # Errors
/// In words: an extension value that Cedar cannot read.
pub(crate) fn value(expression: &RestrictedExpression) -> Result<Value, String> {
    let core: &ast::RestrictedExpr = expression.as_ref();
    RestrictedEvaluator::new(Extensions::all_available()).interpret(core.as_borrowed()).map_err(|e| e.to_string())
}

/// The entity as a value.
pub(crate) fn name(uid: &EntityUid) -> Value {
    Value::from(AsRef::<EntityUID>::as_ref(uid).clone())
}

/// A record; a field that is named twice has the last value.
pub(crate) fn record<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::record(fields, None)
}

/// `entity` with `ancestors` in place of its parents: the same to every policy, without the entities between.
pub(crate) fn flat(entity: &cedar_policy::Entity, ancestors: impl IntoIterator<Item = EntityUid>) -> Shared {
    let core: &ast::Entity = entity.as_ref();
    let ancestors = core.ancestors().cloned().chain(ancestors.into_iter().map(EntityUID::from)).collect();
    let attributes = core.attrs().map(|(name, value)| (name.clone(), value.clone()));
    let flat = ast::Entity::new_with_attr_partial_value(core.uid().clone(), attributes, HashSet::new(), ancestors, []);
    Arc::new(Ready::new(flat))
}

pub(crate) fn public(entity: &Shared) -> cedar_policy::Entity {
    cedar_policy::Entity::from((**entity.entity()).clone())
}

pub(crate) fn ancestors(entity: &Shared) -> Vec<EntityUid> {
    entity.ancestors().cloned().map(EntityUid::from).collect()
}

/// A copy of `entity` as `uid`, in `more` beside its own ancestors.
pub(crate) fn renamed(entity: &Shared, uid: &EntityUid, more: impl IntoIterator<Item = EntityUid>) -> Shared {
    let uid = AsRef::<EntityUID>::as_ref(uid).clone();
    Arc::new(entity.renamed(uid, more.into_iter().map(EntityUID::from)))
}

/// The entities of one question: the actions, and who and what it is about. They are few, so they are looked for one by one;
/// Cedar's own store of them is made when it is needed.
#[derive(Debug)]
pub(crate) struct Store<'s> {
    base: &'s Entities,
    added: Vec<Shared>,
    whole: OnceCell<Option<Entities>>,
}

impl<'s> Store<'s> {
    /// `base` and `added`, each of which names all of its ancestors.
    ///
    /// # Errors
    /// In words, when two that differ have one name.
    pub(crate) fn new(base: &'s Entities, added: Vec<Shared>) -> Result<Self, String> {
        let differ = |a: &Shared, b: &Shared| {
            let is_one = a.marks.own == b.marks.own && !Arc::ptr_eq(a, b) && a.uid == b.uid;
            is_one && !a.entity().deep_eq(b.entity())
        };
        let twice = added.iter().enumerate().find(|(n, a)| added.iter().take(*n).any(|b| differ(a, b)));
        match twice {
            Some((_, entity)) => Err(format!("`{}` is there twice, and is not the same", entity.uid)),
            None => Ok(Self { base, added, whole: OnceCell::new() }),
        }
    }

    /// All of `whole`, as a snapshot has its entities: ready, and some of them copies under another name. `actions` are
    /// those of `whole` that are left in Cedar's own store. For [`crate::generated`], which compares the two.
    pub(crate) fn ready(actions: &'s Entities, whole: &Entities) -> Result<Self, String> {
        let others = whole.iter().filter(|entity| actions.get(&entity.uid()).is_none());
        let added = others.enumerate().map(|(n, entity)| {
            let flat = flat(entity, []);
            if n % 3 == 0 { renamed(&flat, &entity.uid(), []) } else { flat }
        });
        Self::new(actions, added.collect())
    }

    /// As Cedar's interface takes it; `None` when it cannot be made.
    pub(crate) fn whole(&self) -> Option<&Entities> {
        if self.added.is_empty() {
            return Some(self.base);
        }
        let make = || {
            let base: &CoreEntities = self.base.as_ref();
            let added = base.clone().add_entities(
                self.added.iter().map(|added| Arc::clone(added.entity())),
                None::<&CoreSchema<'_>>,
                TCComputation::AssumeAlreadyComputed,
                Extensions::all_available(),
            );
            added.ok().map(Entities::from)
        };
        self.whole.get_or_init(make).as_ref()
    }

    fn find(&self, uid: &EntityUID) -> Option<Found<'_>> {
        let added = self.added.iter().find(|added| is_same(&added.uid, uid));
        added.map(|ready| Found::Ready(ready)).or_else(|| found(self.base, uid).map(Found::Other))
    }

    /// Whether its actions are these.
    fn has_actions(&self, actions: &Entities, asked: &EntityUID) -> bool {
        std::ptr::eq(self.base, actions)
            || found(self.base, asked).zip(found(actions, asked)).is_some_and(|(theirs, ours)| theirs.deep_eq(ours))
    }
}

impl<'s> From<&'s Entities> for Store<'s> {
    fn from(base: &'s Entities) -> Self {
        Self { base, added: Vec::new(), whole: OnceCell::new() }
    }
}

/// An entity of a store.
#[derive(Clone, Copy)]
enum Found<'e> {
    Ready(&'e Ready),
    Other(&'e ast::Entity),
}

impl<'e> Found<'e> {
    fn attribute(self, name: &str) -> Option<&'e PartialValue> {
        match self {
            Self::Ready(ready) => ready.attribute(name),
            Self::Other(entity) => entity.get(name),
        }
    }

    fn is_below(self, other: &EntityUID) -> bool {
        match self {
            Self::Ready(ready) => ready.ancestors().any(|uid| is_same(uid, other)),
            Self::Other(entity) => entity.is_descendant_of(other),
        }
    }
}

fn found<'e>(store: &'e Entities, uid: &EntityUID) -> Option<&'e ast::Entity> {
    match AsRef::<CoreEntities>::as_ref(store).entity(uid) {
        Dereference::Data(entity) => Some(entity),
        Dereference::NoSuchEntity | Dereference::Residual(_) => None,
    }
}
