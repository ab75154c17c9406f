//! Contexts: what Cedar is told beside principal, action and resource. Typed values, never JSON.

use crate::Finding;
use crate::engine::{self, Facts, Value};
use crate::names::{Names, uid};
use cedar_policy::{EntityTypeName, EntityUid, Request, RestrictedExpression, Schema};
use model::{Action, Country, Shape, Timestamp};
use std::borrow::Cow;

/// The asked-for context of one question.
#[derive(Clone)]
pub(crate) struct Question<'a> {
    /// Made once per request by [`engine::datetime`].
    pub now: Value,
    /// How the principal comes to ask; see [`crate::credential`].
    pub caller: &'a Value,
    pub purpose: Option<&'a EntityUid>,
    /// Its name.
    pub agreement: Option<&'a Value>,
    /// Where the request came from; never told under a schema that does not declare it.
    pub country: Option<Country>,
    pub about: About<'a>,
}

/// What only some actions are told.
#[derive(Clone, Copy)]
pub(crate) enum About<'a> {
    Nothing,
    Shape(Shape),
    Governance(&'a Value),
}

impl<'a> Question<'a> {
    pub(crate) fn facts(self) -> Facts<'a> {
        let about = match self.about {
            About::Nothing => None,
            About::Shape(shape) => Some(("shape", Cow::Owned(shape_of(shape)))),
            About::Governance(governance) => Some(("governance", Cow::Borrowed(governance))),
        };
        let purpose = self.purpose.map(|uid| ("purpose", Cow::Owned(engine::name(uid))));
        let agreement = self.agreement.map(|name| ("agreement", Cow::Borrowed(name)));
        let always = [("now", Cow::Owned(self.now)), ("caller", Cow::Borrowed(self.caller))];
        let country = self.country.map(|country| ("country", Cow::Owned(country.as_str().into())));
        let asked = always.into_iter().chain(purpose).chain(agreement).chain(country);
        Facts::new(asked.chain(about))
    }
}

fn shape_of(shape: Shape) -> Value {
    engine::record([
        ("resolutionMs", shape.resolution_ms.into()),
        ("windowMs", shape.window_ms.into()),
        ("ageDays", shape.age_days.into()),
        ("rows", shape.rows.into()),
    ])
}

/// Whether `schema` declares `context.country` for any action; [`check`] sees to it that it does so for all or none.
pub(crate) fn knows_countries(names: &Names, schema: &Schema) -> bool {
    let names = Names { tells_country: true, ..names.clone() };
    names.actions.iter().any(|(action, uid)| {
        let mut resources = schema.resources_for_action(uid).into_iter().flatten();
        resources.any(|resource| try_out(&names, schema, *action, uid, &names.types.service, resource, true).is_ok())
    })
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
    let governance = engine::value(&crate::entities::sample_governance(names, full)?)?;
    let about = match action {
        Action::Read | Action::ReadSeries => About::Shape(Shape::default()),
        Action::Reveal => About::Governance(&governance),
        Action::Discover | Action::SeeRecord | Action::ReadAudit | Action::EraseAudit => About::Nothing,
    };
    let agreement = engine::name(&agreement);
    let now = engine::value(&RestrictedExpression::new_datetime(Timestamp::EPOCH.to_rfc3339()))?;
    let caller = crate::credential::sample(names, full)?;
    let question = Question {
        now,
        caller: &caller,
        purpose: full.then_some(&purpose),
        agreement: full.then_some(&agreement),
        country: Country::parse("DE").filter(|_| full && names.tells_country),
        about,
    };
    let (principal, resource) = (uid(principal, "p"), uid(resource, "r"));
    Request::new(principal, action_uid.clone(), resource, question.facts().whole().clone(), Some(schema))
        .map(drop)
        .map_err(|e| e.to_string())
}
