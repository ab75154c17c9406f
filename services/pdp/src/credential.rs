//! `context.caller`: how the caller proved itself, and in which part the principal of a question takes part in the
//! request.

use crate::names::{Names, Types, uid};
use crate::question::record;
use cedar_policy::{EntityUid, RestrictedExpression};
use model::party::Parties;
use model::{Authenticated, AuthenticationMethod, Binding, IssuerId, PrincipalKind};
use std::collections::HashMap;
use std::sync::OnceLock;

/// What a question says of the credential of its principal.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    pub method: AuthenticationMethod,
    pub binding: Binding,
    pub assurance: u8,
    pub issuer: &'a IssuerId,
    pub part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// In whose name the request is made.
    Subject,
    /// Who acts for the subject.
    Actor,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Actor => "actor",
        }
    }
}

impl<'a> Told<'a> {
    pub(crate) fn subject(caller: &'a Authenticated) -> Self {
        Self {
            method: caller.method(),
            binding: caller.binding(),
            assurance: caller.assurance(),
            issuer: caller.issuer(),
            part: Part::Subject,
        }
    }

    /// Of an actor nobody says how sure its issuer is.
    pub(crate) fn actor(caller: &'a Authenticated, issuer: &'a IssuerId) -> Self {
        Self { assurance: 0, issuer, part: Part::Actor, ..Self::subject(caller) }
    }

    /// The record. `others` take part beside the principal.
    ///
    /// # Errors
    /// Never in practice: the fields are named once.
    pub(crate) fn expression(&self, types: &Types, others: &[EntityUid]) -> Result<RestrictedExpression, String> {
        let text = |t: &str| RestrictedExpression::new_string(t.to_owned());
        let of_kind = |kind: PrincipalKind| {
            let these = others.iter().filter(|uid| uid.type_name() == types.principal(kind)).cloned();
            RestrictedExpression::new_set(these.map(RestrictedExpression::new_entity_uid))
        };
        record([
            ("method", text(self.method.as_str())),
            ("binding", text(self.binding.as_str())),
            ("assurance", RestrictedExpression::new_long(self.assurance.into())),
            ("issuer", text(self.issuer.as_str())),
            ("delegated", RestrictedExpression::new_bool(!others.is_empty())),
            ("role", text(self.part.as_str())),
            ("users", of_kind(PrincipalKind::User)),
            ("services", of_kind(PrincipalKind::Service)),
        ])
    }
}

/// The records of callers for whom nobody acts, made once in the life of a snapshot: they differ in few ways.
#[derive(Debug)]
pub(crate) struct Alone(HashMap<IssuerId, OnceLock<Box<[OnceLock<RestrictedExpression>; WAYS]>>>);

/// Methods, bindings and levels of assurance.
const WAYS: usize = 3 * 3 * 4;

impl Alone {
    pub(crate) fn new(parties: &Parties) -> Self {
        let names = parties.issuers.keys().chain(parties.authorities.keys());
        Self(names.map(|name| (name.clone(), OnceLock::new())).collect())
    }

    pub(crate) fn expression(&self, types: &Types, told: &Told<'_>) -> Result<RestrictedExpression, String> {
        let ways = self.0.get(told.issuer).map(|ways| ways.get_or_init(|| Box::new([const { OnceLock::new() }; WAYS])));
        let Some(place) = ways.and_then(|ways| ways.get(way(told))) else { return told.expression(types, &[]) };
        match place.get() {
            Some(made) => Ok(made.clone()),
            None => {
                let made = told.expression(types, &[])?;
                Ok(place.get_or_init(|| made).clone())
            }
        }
    }
}

/// The number of the way, [`WAYS`] or above when there is no such level of assurance.
fn way(told: &Told<'_>) -> usize {
    let method = match told.method {
        AuthenticationMethod::Jwt => 0,
        AuthenticationMethod::Opaque => 1,
        AuthenticationMethod::Certificate => 2,
    };
    let binding = match told.binding {
        Binding::None => 0,
        Binding::Certificate => 1,
        Binding::Dpop => 2,
    };
    usize::from(told.assurance) * 9 + method * 3 + binding
}

/// A record to try the schema with; `full` has others.
pub(crate) fn sample(names: &Names, full: bool) -> Result<RestrictedExpression, String> {
    let issuer = IssuerId::new("i").map_err(|e| e.to_string())?;
    let told = Told {
        method: AuthenticationMethod::Jwt,
        binding: Binding::None,
        assurance: 0,
        issuer: &issuer,
        part: Part::Subject,
    };
    let others = [uid(&names.types.user, "u"), uid(&names.types.service, "s")];
    told.expression(&names.types, if full { &others } else { &[] })
}
