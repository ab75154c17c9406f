//! The schema's names, parsed once, and the check that schema and code speak of the same things.

use crate::Finding;
use cedar_policy::{EntityId, EntityTypeName, EntityUid, ParseErrors, Schema};
use model::plant::Level;
use model::{Action, PrincipalKind};
use std::collections::{BTreeMap, BTreeSet};

macro_rules! types {
    ($($field:ident = $name:literal;)*) => {
        /// Every entity type of the schema but `Action`.
        #[derive(Clone, Debug)]
        pub(crate) struct Types {
            $(pub $field: EntityTypeName,)*
        }

        impl Types {
            const ALL: &[&str] = &[$(concat!("Plant::", $name)),*];

            fn parse() -> Result<Self, Box<ParseErrors>> {
                Ok(Self { $($field: concat!("Plant::", $name).parse().map_err(Box::new)?,)* })
            }
        }
    };
}

types! {
    organisation = "Organisation";
    role = "Role";
    user = "User";
    service = "Service";
    purpose = "Purpose";
    export_class = "ExportClass";
    field_class = "FieldClass";
    enterprise = "Enterprise";
    site = "Site";
    area = "Area";
    work_center = "WorkCenter";
    work_unit = "WorkUnit";
    equipment = "Equipment";
    source = "Source";
    data_product = "DataProduct";
    dataset = "Dataset";
    signal = "Signal";
    record = "Record";
    agreement = "Agreement";
    audit_scope = "AuditScope";
}

impl Types {
    pub(crate) fn principal(&self, kind: PrincipalKind) -> &EntityTypeName {
        match kind {
            PrincipalKind::User => &self.user,
            PrincipalKind::Service => &self.service,
        }
    }

    pub(crate) fn level(&self, level: Level) -> &EntityTypeName {
        match level {
            Level::Enterprise => &self.enterprise,
            Level::Site => &self.site,
            Level::Area => &self.area,
            Level::WorkCenter => &self.work_center,
            Level::WorkUnit => &self.work_unit,
            Level::Equipment => &self.equipment,
        }
    }
}

/// The entity `name` of type `ty`.
pub(crate) fn uid(ty: &EntityTypeName, name: impl AsRef<str>) -> EntityUid {
    EntityUid::from_type_name_and_id(ty.clone(), EntityId::new(name))
}

#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub types: Types,
    pub actions: BTreeMap<Action, EntityUid>,
    /// `context.country` is declared; schemas of before 1.5 of the log's format do not have it.
    pub tells_country: bool,
}

impl Names {
    pub(crate) fn parse() -> Result<Self, Box<ParseErrors>> {
        let action: EntityTypeName = "Plant::Action".parse().map_err(Box::new)?;
        let actions = Action::ALL.into_iter().map(|a| (a, uid(&action, a.as_str()))).collect();
        Ok(Self { types: Types::parse()?, actions, tells_country: false })
    }

    /// Schemas of before 1.4 of the log's format do not know `eraseAudit`, and decisions that were made under them are made again.
    /// Under such a schema nobody may erase.
    pub(crate) fn known_to(mut self, schema: &Schema) -> Self {
        let declared: BTreeSet<&EntityUid> = schema.actions().collect();
        self.actions.retain(|action, uid| *action != Action::EraseAudit || declared.contains(uid));
        self
    }

    /// A schema that knows other actions or entity types than the code would be obeyed in part, unnoticed.
    pub(crate) fn compare(&self, schema: &Schema) -> Vec<Finding> {
        let groups: BTreeSet<&EntityUid> = schema.action_groups().collect();
        let declared = schema.actions().filter(|a| !groups.contains(a)).map(|a| a.id().unescaped().to_owned());
        let ours = self.actions.keys().map(|a| a.as_str().to_owned());
        let mut findings = differences("action", &declared.collect(), &ours.collect());
        let declared = schema.entity_types().map(ToString::to_string);
        let ours = Types::ALL.iter().map(|&t| t.to_owned());
        findings.extend(differences("entity type", &declared.collect(), &ours.collect()));
        findings
    }
}

fn differences(what: &str, declared: &BTreeSet<String>, ours: &BTreeSet<String>) -> Vec<Finding> {
    let missing = ours.difference(declared).map(|n| Finding::new(format!("the schema lacks {what} `{n}`")));
    let unknown = declared
        .difference(ours)
        .map(|n| Finding::new(format!("the schema declares {what} `{n}`, which the broker does not know")));
    missing.chain(unknown).collect()
}
