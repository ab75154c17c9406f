//! Contexts: what Cedar is told beside principal, action and resource. Typed values, never JSON.

use crate::Finding;
use crate::names::{Names, uid};
use cedar_policy::{Context, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema};
use model::{Action, Shape, Timestamp};

/// The asked-for context of one question.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    /// Made once per request by [`datetime`]: Cedar parses the name of an extension each time.
    pub now: &'a RestrictedExpression,
    /// How the principal comes to ask; see [`crate::credential`].
    pub caller: &'a RestrictedExpression,
    pub purpose: Option<&'a EntityUid>,
    pub agreement: Option<&'a EntityUid>,
    pub about: About<'a>,
}

/// What only some actions are told.
#[derive(Clone, Copy)]
pub(crate) enum About<'a> {
    Nothing,
    Shape(Shape),
    Governance(&'a RestrictedExpression),
}

impl Question<'_> {
    /// # Errors
    /// In words; a context that cannot be built counts as a policy that failed.
    pub(crate) fn context(&self) -> Result<Context, String> {
        let entity = |name: &str, uid: &EntityUid| (name.to_owned(), RestrictedExpression::new_entity_uid(uid.clone()));
        let mut pairs = Vec::with_capacity(5);
        pairs.push((String::from("now"), self.now.clone()));
        pairs.push((String::from("caller"), self.caller.clone()));
        pairs.extend(self.purpose.map(|p| entity("purpose", p)));
        pairs.extend(self.agreement.map(|a| entity("agreement", a)));
        match self.about {
            About::Nothing => {}
            About::Shape(shape) => pairs.push((String::from("shape"), record(shape_fields(shape))?)),
            About::Governance(governance) => pairs.push((String::from("governance"), governance.clone())),
        }
        Context::from_pairs(pairs).map_err(|e| e.to_string())
    }
}

fn shape_fields(shape: Shape) -> [(&'static str, RestrictedExpression); 3] {
    [
        ("resolutionMs", RestrictedExpression::new_long(shape.resolution_ms)),
        ("windowMs", RestrictedExpression::new_long(shape.window_ms)),
        ("rows", RestrictedExpression::new_long(shape.rows)),
    ]
}

pub(crate) fn datetime(time: Timestamp) -> RestrictedExpression {
    RestrictedExpression::new_datetime(time.to_rfc3339())
}

/// # Errors
/// When a field is named twice.
pub(crate) fn record<'a>(
    fields: impl IntoIterator<Item = (&'a str, RestrictedExpression)>,
) -> Result<RestrictedExpression, String> {
    RestrictedExpression::new_record(fields.into_iter().map(|(k, v)| (k.to_owned(), v))).map_err(|e| e.to_string())
}

/// Asks `schema` whether the contexts that are built here are those that policies are checked against, with and without
/// their optional parts. Requests are not checked one by one later.
pub(crate) fn check(names: &Names, schema: &Schema) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (action, action_uid) in &names.actions {
        let resources: Vec<EntityTypeName> =
            schema.resources_for_action(action_uid).map(|all| all.cloned().collect()).unwrap_or_default();
        if resources.is_empty() {
            findings.push(Finding::new(format!("action `{}` applies to no resource", action.as_str())));
        }
        let misfit = resources.iter().find_map(|resource| {
            let ways = [(&names.types.user, false), (&names.types.service, true)];
            ways.into_iter()
                .find_map(|(who, full)| try_out(names, schema, *action, action_uid, who, resource, full).err())
        });
        findings.extend(misfit.map(|message| {
            Finding::new(format!("the broker asks `{}` in another way than declared: {message}", action.as_str()))
        }));
    }
    findings
}

fn try_out(
    names: &Names,
    schema: &Schema,
    action: Action,
    action_uid: &EntityUid,
    principal: &EntityTypeName,
    resource: &EntityTypeName,
    full: bool,
) -> Result<(), String> {
    let purpose = uid(&names.types.purpose, "p");
    let agreement = uid(&names.types.agreement, "a");
    let governance = crate::entities::sample_governance(names, full)?;
    let about = match action {
        Action::Read | Action::ReadSeries => About::Shape(Shape::default()),
        Action::Reveal => About::Governance(&governance),
        Action::Discover | Action::SeeRecord | Action::ReadAudit => About::Nothing,
    };
    let optional = |uid| full.then_some(uid);
    let now = datetime(Timestamp::EPOCH);
    let caller = crate::credential::sample(names, full)?;
    let question =
        Question { now: &now, caller: &caller, purpose: optional(&purpose), agreement: optional(&agreement), about };
    let (principal, resource) = (uid(principal, "p"), uid(resource, "r"));
    Request::new(principal, action_uid.clone(), resource, question.context()?, Some(schema))
        .map(drop)
        .map_err(|e| e.to_string())
}
