//! `context.caller`: how the caller proved itself, and in which part the principal of a question takes part in the
//! request.

use crate::engine::{self, Value};
use crate::names::{Names, Types, uid};
use cedar_policy::EntityUid;
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
    pub(crate) fn record(&self, types: &Types, others: &[EntityUid]) -> Value {
        let of_kind = |kind: PrincipalKind| {
            let these = others.iter().filter(|uid| uid.type_name() == types.principal(kind));
            Value::set(these.map(engine::name), None)
        };
        engine::record([
            ("method", self.method.as_str().into()),
            ("binding", self.binding.as_str().into()),
            ("assurance", i64::from(self.assurance).into()),
            ("issuer", self.issuer.as_str().into()),
            ("delegated", (!others.is_empty()).into()),
            ("role", self.part.as_str().into()),
            ("users", of_kind(PrincipalKind::User)),
            ("services", of_kind(PrincipalKind::Service)),
        ])
    }
}

/// The records of callers for whom nobody acts, made once in the life of a snapshot: they differ in few ways.
#[derive(Debug)]
pub(crate) struct Alone(HashMap<IssuerId, OnceLock<Box<[OnceLock<Value>; WAYS]>>>);

/// Methods, bindings and levels of assurance.
const WAYS: usize = 3 * 3 * 4;

impl Alone {
    pub(crate) fn new(parties: &Parties) -> Self {
        let names = parties.issuers.keys().chain(parties.authorities.keys());
        Self(names.map(|name| (name.clone(), OnceLock::new())).collect())
    }

    pub(crate) fn record(&self, types: &Types, told: &Told<'_>) -> Value {
        let ways = self.0.get(told.issuer).map(|ways| ways.get_or_init(|| Box::new([const { OnceLock::new() }; WAYS])));
        match ways.and_then(|ways| ways.get(way(told))) {
            Some(place) => place.get_or_init(|| told.record(types, &[])).clone(),
            None => told.record(types, &[]),
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
pub(crate) fn sample(names: &Names, full: bool) -> Result<Value, String> {
    let issuer = IssuerId::new("i").map_err(|e| e.to_string())?;
    let told = Told {
        method: AuthenticationMethod::Jwt,
        binding: Binding::None,
        assurance: 0,
        issuer: &issuer,
        part: Part::Subject,
    };
    let others = [uid(&names.types.user, "u"), uid(&names.types.service, "s")];
    Ok(told.record(&names.types, if full { &others } else { &[] }))
}
