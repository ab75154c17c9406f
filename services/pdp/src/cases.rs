//! Cases: questions with the answers that a policy set must give, in files.
//!
//! A file is a JSON list of cases. What an expectation does not say is expected to be empty, so a case says all that is
//! decided, and a policy that begins to take part in it is noticed.

use crate::{Decision, PolicySet, Snapshot};
use model::party::Parties;
use model::plant::{Acknowledgement, Plant};
use model::{
    AccessRequest, Action, Actor, Assertion, Authenticated, AuthenticationMethod, Binding, Country, Digest, InvalidId,
    IssuerId, OrganisationId, Principal, PrincipalKind, ResourceRef, Shape, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub title: String,
    pub request: Asked,
    pub expect: Expected,
}

/// Who asks what, and how it has proven itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub organisation: String,
    pub subject: String,
    #[serde(default)]
    pub service: bool,
    pub action: Action,
    /// `Dataset/ID`, `Signal/ID`, `AuditScope/ORGANISATION`, `AuditScope/*`.
    pub resource: String,
    pub purpose: Option<String>,
    pub agreement: Option<String>,
    #[serde(default)]
    pub resolution_ms: i64,
    #[serde(default)]
    pub window_ms: i64,
    #[serde(default)]
    pub age_days: i64,
    #[serde(default)]
    pub rows: i64,
    /// RFC 3339; a moment of the reader's choice if left out.
    pub at: Option<String>,
    /// Who acts for it, the one who sends first.
    #[serde(default)]
    pub actors: Vec<Who>,
    /// `none`, `certificate`, `dpop`.
    #[serde(default)]
    pub binding: Option<String>,
    /// 0 to 3.
    #[serde(default)]
    pub assurance: u8,
    /// Where it comes from, two letters; not known if left out.
    #[serde(default)]
    pub country: Option<String>,
    /// Those that the token's groups stand for.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Names in this request that are meant to be nobody's and nothing's.
    #[serde(default)]
    pub unknown: Vec<String>,
}

/// Somebody who acts for the caller.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    pub organisation: String,
    pub subject: String,
    #[serde(default)]
    pub service: bool,
}

/// What a decision comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// `permit`, `deny`, or `hidden` for a denial that looks like nothing.
    pub decision: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes_hidden: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub records_hidden: bool,
    /// `checkpointed`, `witnessed`: what the policies demand, whatever the product does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledgement: Option<String>,
    /// As the policies demand it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outcome_before_complete: bool,
}

/// A case that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCase {
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("`{0}` is not a resource: write `Dataset/ID`, `Signal/ID`, `AuditScope/ORGANISATION` or `AuditScope/*`")]
    Resource(String),
    #[error("`{0}` is not a time: write it as in 2026-11-22T08:00:00Z")]
    Time(String),
    #[error("`{0}` is not a binding: write `none`, `certificate` or `dpop`")]
    Binding(String),
    #[error("`{0}` is not a country: write two upper-case letters of ISO 3166-1, as in `DE`")]
    Country(String),
    #[error(
        "{0} does not exist here, so the answer says nothing of your policies; \
         if that is what you try, name it in the request's `unknown`"
    )]
    Unknown(String),
}

impl Case {
    /// The cases of a file.
    ///
    /// # Errors
    /// Where the text is no list of cases.
    pub fn read(text: &str) -> Result<Vec<Self>, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Whether it says when it is asked, so that its answer does not depend on the day.
    pub fn says_when(&self) -> bool {
        self.request.at.is_some()
    }

    /// What the snapshot decides, at `now` unless the case says when.
    ///
    /// # Errors
    /// When the case asks what nobody could.
    pub fn decide(&self, snapshot: &Snapshot, now: Timestamp) -> Result<Expected, BadCase> {
        let request = self.request.request(&snapshot.parties, now)?;
        let unknown = self.request.unknown_names(&snapshot.plant, &snapshot.parties);
        if !unknown.is_empty() {
            return Err(BadCase::Unknown(unknown.join(", ")));
        }
        Ok(Expected::of(&snapshot.decide(request, &["p-0001"])))
    }
}

impl Asked {
    /// The least that can be asked of a resource: no purpose, no agreement, no extent, nobody acting.
    pub fn new(organisation: &str, subject: &str, service: bool, action: Action, resource: &str) -> Self {
        Self {
            organisation: organisation.to_owned(),
            subject: subject.to_owned(),
            service,
            action,
            resource: resource.to_owned(),
            purpose: None,
            agreement: None,
            resolution_ms: 0,
            window_ms: 0,
            age_days: 0,
            rows: 0,
            at: None,
            actors: Vec::new(),
            binding: None,
            assurance: 0,
            country: None,
            roles: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Names that neither plant nor registry has, in words, but for those that are meant to be unknown. What is asked in a
    /// name with a typing error is denied, and that may be just what is expected.
    pub fn unknown_names(&self, plant: &Plant, parties: &Parties) -> Vec<String> {
        let organisations = std::iter::once(&self.organisation).chain(self.actors.iter().map(|who| &who.organisation));
        let lacks = |id: &str| !parties.organisations.contains_key(id);
        let mut all: Vec<(&str, &str)> =
            organisations.filter(|id| lacks(id)).map(|id| ("organisation", id.as_str())).collect();
        let is_there = match self.resource.split_once('/') {
            Some(("Dataset", id)) => plant.datasets.contains_key(id),
            Some(("Signal", id)) => plant.signals.contains_key(id),
            Some(("AuditScope", id)) => id == "*" || !lacks(id),
            _ => true,
        };
        all.extend((!is_there).then_some(("resource", self.resource.as_str())));
        let purpose = self.purpose.as_deref().filter(|id| !plant.purposes.contains_key(*id));
        all.extend(purpose.map(|id| ("purpose", id)));
        let agreement = self.agreement.as_deref().filter(|id| !parties.agreements.contains_key(*id));
        all.extend(agreement.map(|id| ("agreement", id)));
        let meant = |name: &str| self.unknown.iter().any(|meant| meant == name);
        let unmeant = all.into_iter().filter(|(_, name)| !meant(name));
        unmeant.map(|(what, name)| format!("{what} `{name}`")).collect()
    }

    /// # Errors
    /// When it asks what nobody could.
    pub fn request(&self, parties: &Parties, now: Timestamp) -> Result<AccessRequest, BadCase> {
        let now = match &self.at {
            None => now,
            Some(text) => Timestamp::parse_rfc3339(text).ok_or_else(|| BadCase::Time(text.clone()))?,
        };
        let binding = match self.binding.as_deref() {
            None | Some("none") => Binding::None,
            Some("certificate") => Binding::Certificate,
            Some("dpop") => Binding::Dpop,
            Some(other) => return Err(BadCase::Binding(other.to_owned())),
        };
        let country = self.country.as_deref().map(country).transpose()?;
        let principal = somebody(&self.organisation, &self.subject, self.service)?;
        let actors = self.actors.iter().map(|who| {
            let principal = somebody(&who.organisation, &who.subject, who.service)?;
            Ok(Actor { issuer: issuer_of(parties, &principal.organisation)?, principal, token_id: None })
        });
        let caller = Assertion {
            issuer: issuer_of(parties, &principal.organisation)?,
            principal,
            method: AuthenticationMethod::Jwt,
            binding,
            expires: now.plus_millis(60_000),
            fingerprint: Digest::of(b""),
            token_id: None,
            certificate: None,
            assurance: self.assurance.min(3),
            roles: self.roles.iter().map(|role| role.parse()).collect::<Result<BTreeSet<_>, _>>()?,
            actors: actors.collect::<Result<_, BadCase>>()?,
        };
        #[expect(clippy::disallowed_methods, reason = "nobody is let in: it is asked what would be decided")]
        let caller = Authenticated::assertion(caller);
        Ok(AccessRequest {
            caller,
            action: self.action,
            resource: resource(&self.resource)?,
            purpose: optional(self.purpose.as_deref())?,
            agreement: optional(self.agreement.as_deref())?,
            shape: Shape {
                resolution_ms: self.resolution_ms,
                window_ms: self.window_ms,
                rows: self.rows,
                age_days: self.age_days,
            },
            country,
            now,
        })
    }
}

fn somebody(organisation: &str, subject: &str, is_service: bool) -> Result<Principal, InvalidId> {
    let kind = if is_service { PrincipalKind::Service } else { PrincipalKind::User };
    Ok(Principal { organisation: organisation.parse()?, kind, subject: subject.parse()? })
}

/// Policies that ask for `UK` would wait for it for ever, and so would a case.
fn country(text: &str) -> Result<Country, BadCase> {
    let known = Country::parse(text).filter(|country| country.is_known() && *country != Country::UNKNOWN);
    known.ok_or_else(|| BadCase::Country(text.to_owned()))
}

/// One that the registry has for the organisation: policies may ask for it.
fn issuer_of(parties: &Parties, organisation: &OrganisationId) -> Result<IssuerId, InvalidId> {
    let found = parties.issuers.values().find(|issuer| issuer.organisation == *organisation);
    found.map_or_else(|| IssuerId::new(&format!("{organisation}-login")), |issuer| Ok(issuer.id.clone()))
}

fn optional<T: FromStr<Err = InvalidId>>(text: Option<&str>) -> Result<Option<T>, InvalidId> {
    text.map(str::parse).transpose()
}

fn resource(text: &str) -> Result<ResourceRef, BadCase> {
    match text.split_once('/') {
        Some(("Dataset", id)) => Ok(ResourceRef::Dataset(id.parse()?)),
        Some(("Signal", id)) => Ok(ResourceRef::Signal(id.parse()?)),
        Some(("AuditScope", "*")) => Ok(ResourceRef::AuditScope(None)),
        Some(("AuditScope", id)) => Ok(ResourceRef::AuditScope(Some(id.parse()?))),
        _ => Err(BadCase::Resource(text.to_owned())),
    }
}

impl Expected {
    /// Each member that is other in `got`, as in `decision: expected permit; got deny`.
    pub fn differences(&self, got: &Self) -> impl Iterator<Item = String> {
        let pairs = self.members().into_iter().zip(got.members());
        pairs.filter(|((_, a), (_, b))| a != b).map(|((name, a), (_, b))| format!("{name}: expected {a}; got {b}"))
    }

    fn members(&self) -> [(&'static str, String); 8] {
        let list = |items: &[String]| if items.is_empty() { String::from("none") } else { items.join(", ") };
        [
            ("decision", self.decision.clone()),
            ("reasons", list(&self.reasons)),
            ("policies", list(&self.policies)),
            ("agreement", self.agreement.clone().unwrap_or_else(|| String::from("none"))),
            ("classes_hidden", list(&self.classes_hidden)),
            ("records_hidden", self.records_hidden.to_string()),
            ("acknowledgement", self.acknowledgement.clone().unwrap_or_else(|| String::from("none"))),
            ("outcome_before_complete", self.outcome_before_complete.to_string()),
        ]
    }

    /// What this decision comes to.
    pub fn of(decision: &Decision) -> Self {
        fn texts<T: ToString>(items: &[T]) -> Vec<String> {
            items.iter().map(T::to_string).collect()
        }
        match decision {
            Decision::Permit(permit) => Self {
                decision: String::from("permit"),
                reasons: Vec::new(),
                policies: permit.policies().to_vec(),
                agreement: permit.agreement().map(ToString::to_string),
                classes_hidden: texts(permit.classes_hidden()),
                records_hidden: !permit.kinds_hidden().is_empty(),
                acknowledgement: raised(permit.raised().acknowledgement),
                outcome_before_complete: permit.raised().outcome_before_complete,
            },
            Decision::Denied(denial) => Self {
                decision: String::from(if denial.hidden { "hidden" } else { "deny" }),
                reasons: texts(&denial.reasons),
                policies: denial.policies.clone(),
                agreement: denial.agreement.as_ref().map(ToString::to_string),
                classes_hidden: texts(&denial.classes_hidden),
                records_hidden: denial.records_hidden,
                acknowledgement: None,
                outcome_before_complete: false,
            },
        }
    }
}

fn raised(level: Acknowledgement) -> Option<String> {
    (level > Acknowledgement::Durable).then(|| level.as_str().to_owned())
}

/// How many cases each policy of a set determines.
pub fn coverage<'c>(policies: &PolicySet, cases: impl IntoIterator<Item = &'c Expected>) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = policies.notes.keys().map(|id| (id.clone(), 0)).collect();
    for id in cases.into_iter().flat_map(|case| &case.policies) {
        if let Some(count) = counts.get_mut(id) {
            *count += 1;
        }
    }
    counts
}
