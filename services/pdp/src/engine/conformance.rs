//! Entities against the schema, one by one: type, attributes, types of ancestors.
//!
//! Cedar makes its description of a type anew for every name that it meets, to see whether the type lists its names. Ours
//! lists none; where a schema does, Cedar's way is taken. Otherwise each type is described once.

use super::Shared;
use cedar_policy::Schema;
use cedar_policy_core::ast::{Entity, EntityType};
use cedar_policy_core::entities::conformance::EntitySchemaConformanceChecker;
use cedar_policy_core::entities::{EntityTypeDescription as _, NoEntitiesSchema, Schema as _};
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::{CoreSchema, EntityTypeDescription};
use std::collections::HashMap;

pub(crate) struct Conformance<'s> {
    schema: CoreSchema<'s>,
    types: HashMap<EntityType, EntityTypeDescription>,
    lists_names: bool,
}

impl<'s> Conformance<'s> {
    pub(crate) fn new(schema: &'s Schema) -> Self {
        let core = CoreSchema::new(schema.as_ref());
        let names = schema.entity_types().map(|ty| AsRef::<EntityType>::as_ref(ty).clone());
        let types: HashMap<_, _> = names.filter_map(|ty| Some((ty.clone(), core.entity_type(&ty)?))).collect();
        let lists_names = types.values().any(|ty| ty.enum_entity_eids().is_some());
        Self { schema: core, types, lists_names }
    }

    /// # Errors
    /// In words, Cedar's own.
    pub(crate) fn check(&self, entity: &Shared) -> Result<(), String> {
        let entity = &**entity.entity();
        let described = self.types.get(entity.uid().entity_type()).filter(|ty| !self.lists_names && !ty.is_external());
        match described {
            Some(ty) => check_as(entity, ty),
            None => {
                let checker = EntitySchemaConformanceChecker::new(&self.schema, Extensions::all_available());
                checker.validate_entity(entity).map_err(|e| e.to_string())
            }
        }
    }
}

fn check_as(entity: &Entity, ty: &EntityTypeDescription) -> Result<(), String> {
    let checker = EntitySchemaConformanceChecker::new(&NoEntitiesSchema, Extensions::all_available());
    let uid = entity.uid();
    checker.validate_entity_attributes(uid, entity.attrs(), ty).map_err(|e| e.to_string())?;
    checker.validate_entity_ancestors(uid, entity.ancestors(), ty).map_err(|e| e.to_string())?;
    checker.validate_tags(uid, entity.tags(), ty).map_err(|e| e.to_string())
}
