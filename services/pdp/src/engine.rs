//! Cedar's engine below its public interface: values, single conditions, and stores whose hierarchy is settled.
//!
//! Nothing but this module and those below it uses `cedar-policy-core`, which promises no stability and is pinned. The
//! public interface decides beside it: in tests, in `cargo bench --bench equality`, and for a sample of the questions of
//! every running snapshot ([`crate::watch`]).

mod condition;
mod index;
mod shortcut;

pub(crate) use index::{Index, Outcome};

/// A value in a context or of an attribute, already evaluated.
pub(crate) use cedar_policy_core::ast::Value;

use cedar_policy::{Context, Entities, EntityUid, RestrictedExpression, Schema};
use cedar_policy_core::ast::{self, EntityUID};
use cedar_policy_core::entities::conformance::EntitySchemaConformanceChecker;
use cedar_policy_core::entities::{Dereference, TCComputation};
use cedar_policy_core::evaluator::RestrictedEvaluator;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::CoreSchema;
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

/// `base` and `more`, each of which names all of its ancestors. `base` stays shared.
///
/// # Errors
/// In words, when two that differ have one name.
pub(crate) fn store(base: &Entities, more: impl IntoIterator<Item = Shared>) -> Result<Entities, String> {
    let core: &cedar_policy_core::entities::Entities = base.as_ref();
    let added = core.clone().add_entities(
        more,
        None::<&CoreSchema<'_>>,
        TCComputation::AssumeAlreadyComputed,
        Extensions::all_available(),
    );
    added.map(Entities::from).map_err(|e| e.to_string())
}

/// Checks entities one by one against a schema: type, attributes, types of ancestors.
pub(crate) struct Conformance<'s>(CoreSchema<'s>);

impl<'s> Conformance<'s> {
    pub(crate) fn new(schema: &'s Schema) -> Self {
        Self(CoreSchema::new(schema.as_ref()))
    }

    /// # Errors
    /// In words, Cedar's own.
    pub(crate) fn check(&self, entity: &ast::Entity) -> Result<(), String> {
        let checker = EntitySchemaConformanceChecker::new(&self.0, Extensions::all_available());
        checker.validate_entity(entity).map_err(|e| e.to_string())
    }
}

fn found<'e>(store: &'e cedar_policy_core::entities::Entities, uid: &EntityUID) -> Option<&'e ast::Entity> {
    match store.entity(uid) {
        Dereference::Data(entity) => Some(entity),
        Dereference::NoSuchEntity => None,
        Dereference::Residual(_) => None,
    }
}
