//! Cedar's engine below its public interface: values, single conditions, and stores whose hierarchy is settled.
//!
//! Nothing but this module and those below it uses `cedar-policy-core`, which promises no stability and is pinned. The
//! public interface decides beside it: in tests, in `cargo bench --bench equality`, and for a sample of the questions of
//! every running snapshot ([`crate::watch`]).

mod condition;
mod conformance;
mod index;
mod shortcut;

pub(crate) use conformance::Conformance;
pub(crate) use index::{Index, Outcome};

/// A value in a context or of an attribute, already evaluated.
pub(crate) use cedar_policy_core::ast::Value;

use cedar_policy::{Context, Entities, EntityUid, RestrictedExpression};
use cedar_policy_core::ast::{self, EntityUID};
use cedar_policy_core::entities::{Dereference, Entities as CoreEntities, TCComputation};
use cedar_policy_core::evaluator::RestrictedEvaluator;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::CoreSchema;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// An entity that names all of its ancestors, shared by stores.
pub(crate) type Shared = Arc<ast::Entity>;

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

pub(crate) fn context<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Context {
    let fields: BTreeMap<_, _> = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
    Context::from(ast::Context::Value(Arc::new(fields)))
}

/// `entity` with `ancestors` in place of its parents: the same to every policy, without the entities between.
pub(crate) fn flat(entity: &cedar_policy::Entity, ancestors: impl IntoIterator<Item = EntityUid>) -> Shared {
    renamed(entity.as_ref(), &entity.uid(), ancestors)
}

pub(crate) fn public(entity: &Shared) -> cedar_policy::Entity {
    cedar_policy::Entity::from((**entity).clone())
}

pub(crate) fn ancestors(entity: &Shared) -> Vec<EntityUid> {
    entity.ancestors().cloned().map(EntityUid::from).collect()
}

/// A copy of `entity` as `uid`, in `more` beside its own ancestors.
pub(crate) fn renamed(entity: &ast::Entity, uid: &EntityUid, more: impl IntoIterator<Item = EntityUid>) -> Shared {
    let own = entity.ancestors().cloned();
    let ancestors = own.chain(more.into_iter().map(EntityUID::from)).collect();
    let attributes = entity.attrs().map(|(name, value)| (name.clone(), value.clone()));
    let uid = AsRef::<EntityUID>::as_ref(uid).clone();
    Arc::new(ast::Entity::new_with_attr_partial_value(uid, attributes, HashSet::new(), ancestors, []))
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
        let differ = |a: &Shared, b: &Shared| !Arc::ptr_eq(a, b) && a.uid() == b.uid() && !a.deep_eq(b);
        let twice = added.iter().enumerate().find(|(n, a)| added.iter().take(*n).any(|b| differ(a, b)));
        match twice {
            Some((_, entity)) => Err(format!("`{}` is there twice, and is not the same", entity.uid())),
            None => Ok(Self { base, added, whole: OnceCell::new() }),
        }
    }

    /// As Cedar's interface takes it; `None` when it cannot be made.
    pub(crate) fn whole(&self) -> Option<&Entities> {
        if self.added.is_empty() {
            return Some(self.base);
        }
        let make = || {
            let base: &CoreEntities = self.base.as_ref();
            let added = base.clone().add_entities(
                self.added.iter().cloned(),
                None::<&CoreSchema<'_>>,
                TCComputation::AssumeAlreadyComputed,
                Extensions::all_available(),
            );
            added.ok().map(Entities::from)
        };
        self.whole.get_or_init(make).as_ref()
    }

    fn find(&self, uid: &EntityUID) -> Option<&ast::Entity> {
        let added = self.added.iter().map(|entity| &**entity).find(|entity| entity.uid() == uid);
        added.or_else(|| found(self.base, uid))
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

fn found<'e>(store: &'e Entities, uid: &EntityUID) -> Option<&'e ast::Entity> {
    match AsRef::<CoreEntities>::as_ref(store).entity(uid) {
        Dereference::Data(entity) => Some(entity),
        Dereference::NoSuchEntity | Dereference::Residual(_) => None,
    }
}
