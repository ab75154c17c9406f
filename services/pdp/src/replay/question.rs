//! What an entry says was asked.

use super::inputs::Inputs;
use super::{Known, Trouble, finding, not_replayable, rebuild};
use model::canonical::{Raw, RawObject, Value, unhex};
use model::entry::{Entry, Outline};
use model::party::Parties;
use model::{
    AccessRequest, Action, Actor, AgreementId, Assertion, Authenticated, AuthenticationMethod, Binding, Country,
    Digest, OrganisationId, Principal, PrincipalKind, PurposeId, ResourceRef, RoleId, Shape, Timestamp,
};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::str::FromStr;

/// A question as far as it is needed to find it again among those that were decided already.
pub(super) struct Question<'e> {
    pub policies: Digest,
    pub schema: Digest,
    pub slice: Digest,
    pub at: Timestamp,
    pub inputs: Inputs,
    /// References of the subject and of whoever acts for it, in their order.
    references: Vec<Cow<'e, str>>,
    /// The member `inputs`.
    said: RawObject<'e>,
    actors: Vec<RawObject<'e>>,
}

/// Who takes part, each with the text that stands for it in the slice.
pub(super) type Cast = Vec<(String, Principal)>;

const DAMAGED: &str = "the entry lacks a member that decisions have";

impl<'e> Question<'e> {
    /// `None` when no policy was asked.
    pub(super) fn read(entry: &Outline<'e>) -> Result<Option<Self>, Trouble> {
        let Some(digests) = entry.members.get("digests") else { return Ok(None) };
        let digests = digests.object().ok_or_else(|| finding(DAMAGED))?;
        let digest = |name: &str| {
            let bytes = unhex(&digests.text(name)?)?;
            Some(Digest(bytes.try_into().ok()?))
        };
        let said = entry.members.get("inputs").map(|said| said.object().unwrap_or_default());
        let said = said.ok_or_else(|| not_replayable("recorded in a format before 1.3, which says less"))?;
        let (at, inputs) = Inputs::read(&said).ok_or_else(|| finding("the member `inputs` is not as it is written"))?;
        let actors = actors(entry);
        let acting = actors.iter().map(|actor| actor.text("principal"));
        let references = std::iter::once(entry.text("principal")).chain(acting).collect::<Option<_>>();
        let all = (|| Some((digest("policies")?, digest("schema")?, digest("slice")?, references?)))();
        let (policies, schema, slice, references) = all.ok_or_else(|| finding(DAMAGED))?;
        Ok(Some(Self { policies, schema, slice, at, inputs, references, said, actors }))
    }

    /// `named`: policies name persons, so it must be known who they were.
    pub(super) fn cast(&self, named: bool, entry: &Outline<'_>, known: &Known) -> Result<Cast, Trouble> {
        let subject = (entry.organisation.clone(), entry.text("principal_kind"));
        let actors = self
            .actors
            .iter()
            .map(|actor| (actor.text("organisation").and_then(|id| id.parse().ok()), actor.text("principal_kind")));
        let all = std::iter::once(subject).chain(actors).enumerate();
        all.map(|(n, (organisation, kind))| {
            let reference = self.references.get(n).map(Cow::as_ref).unwrap_or_default();
            let kind = kind.and_then(|kind| kind_of(&kind));
            let (organisation, kind) = organisation.zip(kind).ok_or_else(|| finding(DAMAGED))?;
            let (stands, subject) = if named {
                (reference.to_owned(), name_of(reference, &organisation, known)?)
            } else {
                (self.stand_in(n), self.stand_in(n))
            };
            let subject = subject.parse().map_err(|_| finding(DAMAGED))?;
            Ok((stands, Principal { organisation, kind, subject }))
        })
        .collect()
    }

    /// Each reference with what stands in its place where persons do not matter.
    pub(super) fn stand_ins(&self) -> impl Iterator<Item = (&str, String)> {
        self.references.iter().enumerate().map(|(n, reference)| (reference.as_ref(), self.stand_in(n)))
    }

    /// `p0`, `p1`, … in the order in which they come; who takes part twice is the same one both times.
    fn stand_in(&self, n: usize) -> String {
        let reference = self.references.get(n);
        let first = self.references.iter().position(|other| Some(other) == reference).unwrap_or(n);
        let before: BTreeSet<_> = self.references.iter().take(first).collect();
        format!("p{}", before.len())
    }

    /// What a rebuilt world depends on.
    pub(super) fn scene_key(&self, entry: &Outline<'_>, cast: &Cast, slice: &Digest) -> Box<[u8]> {
        let mut key = Vec::with_capacity(256);
        [self.policies, self.schema, *slice].iter().for_each(|digest| key.extend_from_slice(&digest.0));
        for (stands, who) in cast {
            [stands.as_str(), who.organisation.as_str(), who.subject.as_str()]
                .iter()
                .for_each(|text| part(text.as_bytes(), &mut key));
        }
        members(&entry.members, &["roles", "purpose"], &mut key);
        members(&self.said, &["fields", "records", "acknowledgement", "outcome_before_complete"], &mut key);
        key.into()
    }

    /// What a verdict in one world depends on beside the time: the rest of the question, and the recorded answer.
    pub(super) fn verdict_key(&self, entry: &Outline<'_>, cast: &Cast) -> Vec<u8> {
        const ASKED: [&str; 8] =
            ["action", "assurance", "authentication", "binding", "country", "issuer", "principal_kind", "resource"];
        const ANSWERED: [&str; 11] = [
            "acknowledgement",
            "agreement",
            "decision",
            "errors",
            "hidden",
            "hides",
            "outcome_before_complete",
            "policies",
            "reasons",
            "records",
            "reveals",
        ];
        let mut key = Vec::with_capacity(512);
        members(&entry.members, &ASKED, &mut key);
        members(&entry.members, &["shape"], &mut key);
        members(&self.said, &["agreement", "revoked", "unknown"], &mut key);
        members(&entry.members, &ANSWERED, &mut key);
        for (actor, (stands, _)) in self.actors.iter().zip(cast.iter().skip(1)) {
            part(stands.as_bytes(), &mut key);
            members(actor, &["principal_kind", "organisation", "issuer", "agreement"], &mut key);
        }
        key
    }

    /// The request as it was made, but for what no decision depends on.
    pub(super) fn request(&self, entry: &Entry, cast: &Cast, parties: &Parties) -> Result<AccessRequest, Trouble> {
        self.asked(entry, cast, parties).ok_or_else(|| finding(DAMAGED))
    }

    fn asked(&self, entry: &Entry, cast: &Cast, parties: &Parties) -> Option<AccessRequest> {
        let mut others = cast.iter().map(|(_, principal)| principal.clone());
        let principal = others.next()?;
        let actors = self.actors.iter().zip(others).map(|(actor, principal)| {
            let issuer = actor.text("issuer")?.parse().ok()?;
            Some(Actor { principal, issuer, token_id: None })
        });
        let caller = Assertion {
            principal,
            issuer: parsed(entry, "issuer")?,
            method: method(entry.text("authentication")?)?,
            binding: binding(entry.text("binding")?)?,
            expires: Timestamp(i64::MAX),
            fingerprint: Digest([0; 32]),
            token_id: None,
            certificate: if self.inputs.revoked { Some(rebuild::revoked()?) } else { None },
            assurance: u8::try_from(entry.get("assurance").map_or(Some(0), Value::as_int)?).ok()?,
            roles: roles(entry)?,
            actors: actors.collect::<Option<_>>()?,
        };
        #[expect(clippy::disallowed_methods, reason = "nobody is let in: it is asked what would be decided")]
        let caller = Authenticated::assertion(caller);
        let action = entry.text("action")?;
        Some(AccessRequest {
            caller,
            action: Action::ALL.into_iter().find(|known| known.as_str() == action)?,
            resource: ResourceRef::parse(entry.text("resource")?)?,
            // No rebuilt plant has one that was not recorded.
            purpose: if self.inputs.unknown_purpose { Some("unknown".parse().ok()?) } else { purpose(entry)? },
            agreement: match self.inputs.unknown_agreement {
                true => (0..).find_map(|n| {
                    format!("unknown-{n}").parse().ok().filter(|id: &AgreementId| !parties.agreements.contains_key(id))
                }),
                false => self.inputs.agreement.clone(),
            },
            shape: shape(entry.get("shape")?)?,
            country: country(entry)?,
            now: self.at,
        })
    }
}

pub(super) fn roles(entry: &Entry) -> Option<BTreeSet<RoleId>> {
    match entry.get("roles") {
        None => Some(BTreeSet::new()),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_text()?.parse().ok()).collect(),
        Some(_) => None,
    }
}

pub(super) fn purpose(entry: &Entry) -> Option<Option<PurposeId>> {
    match entry.text("purpose") {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}

fn country(entry: &Entry) -> Option<Option<Country>> {
    match entry.get("country") {
        None => Some(None),
        Some(value) => Country::parse(value.as_text()?).map(Some),
    }
}

fn shape(value: &Value) -> Option<Shape> {
    let int = |name| value.get(name)?.as_int();
    Some(Shape {
        resolution_ms: int("resolution_ms")?,
        window_ms: int("window_ms")?,
        rows: int("rows")?,
        age_days: int("age_days").unwrap_or_default(),
    })
}

fn parsed<T: FromStr>(entry: &Entry, name: &str) -> Option<T> {
    entry.text(name)?.parse().ok()
}

fn kind_of(text: &str) -> Option<PrincipalKind> {
    [PrincipalKind::User, PrincipalKind::Service].into_iter().find(|kind| kind.as_str() == text)
}

fn method(text: &str) -> Option<AuthenticationMethod> {
    use AuthenticationMethod::{Certificate, Jwt, Opaque};
    [Jwt, Opaque, Certificate].into_iter().find(|method| method.as_str() == text)
}

fn binding(text: &str) -> Option<Binding> {
    [Binding::None, Binding::Certificate, Binding::Dpop].into_iter().find(|binding| binding.as_str() == text)
}

fn actors<'e>(entry: &Outline<'e>) -> Vec<RawObject<'e>> {
    let actors = entry.members.get("actors").and_then(Raw::items).unwrap_or_default();
    actors.into_iter().map(|actor| actor.object().unwrap_or_default()).collect()
}

fn name_of(reference: &str, organisation: &OrganisationId, known: &Known) -> Result<String, Trouble> {
    let name = known.principals.get(reference).ok_or_else(|| match known.erased.get(reference) {
        Some(under) => {
            not_replayable(format!("the policies name persons, and the principal was erased under entry {under}"))
        }
        None => not_replayable("the policies name persons, and the directory does not have the principal's name"),
    })?;
    match name.split_once('/') {
        Some((of, subject)) if of == organisation.as_str() => Ok(subject.to_owned()),
        _ => Err(finding("the directory has the principal in another organisation")),
    }
}

/// Appends some members of an object, present or not, so that no two objects give the same text.
fn members(object: &RawObject<'_>, names: &[&str], out: &mut Vec<u8>) {
    for name in names {
        if let Some(value) = object.get(name) {
            out.extend_from_slice(value.as_str().as_bytes());
        }
        // No canonical JSON has this byte.
        out.push(0);
    }
}

fn part(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
    out.push(0);
}
