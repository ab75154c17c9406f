//! What the index keeps of an entry. Pure; nothing personal is looked at.

use model::Timestamp;
use model::canonical::{Keys, Picked, Raw};
use model::entry::{Kind, Outline};
use std::borrow::Cow;

/// What entries can be searched for by. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Facet {
    Kind = 1,
    Organisation = 2,
    Principal = 3,
    Resource = 4,
    Product = 5,
    Agreement = 6,
    Action = 7,
    Purpose = 8,
    Decision = 9,
    Reason = 10,
    Policy = 11,
    Ended = 12,
    /// All reasons, or policies, of one decision together: members of cells.
    Reasons = 13,
    Policies = 14,
    Country = 15,
}

impl Facet {
    const ALL: [Self; 15] = [
        Self::Kind,
        Self::Organisation,
        Self::Principal,
        Self::Resource,
        Self::Product,
        Self::Agreement,
        Self::Action,
        Self::Purpose,
        Self::Decision,
        Self::Reason,
        Self::Policy,
        Self::Ended,
        Self::Reasons,
        Self::Policies,
        Self::Country,
    ];

    /// Behind the last number.
    pub(crate) const END: usize = Self::Country as usize + 1;

    /// As entries call it, but for the organisation.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Organisation => "organisation",
            Self::Principal => "principal",
            Self::Resource => "resource",
            Self::Product => "product",
            Self::Agreement => "agreement",
            Self::Action => "action",
            Self::Purpose => "purpose",
            Self::Decision => "decision",
            Self::Reason => "reason",
            Self::Policy => "policy",
            Self::Ended => "ended",
            Self::Reasons => "reasons",
            Self::Policies => "policies",
            Self::Country => "country",
        }
    }

    pub(crate) fn number(self) -> i64 {
        i64::from(self as u8)
    }

    pub(crate) fn numbered(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|facet| facet.number() == number)
    }

    /// Nearly every entry has it, so that looking through the log is no slower than any list of them.
    pub(crate) fn is_common(self, value: &str) -> bool {
        match self {
            Self::Kind => matches!(value, "decision" | "outcome"),
            Self::Decision => value == "allow",
            Self::Ended => value == "complete",
            // Anybody can ask for the entries of organisations that they make up.
            Self::Resource => value.starts_with(SCOPE),
            _ => false,
        }
    }
}

/// How the resource of a reading of the log begins.
const SCOPE: &str = "AuditScope/";

/// Between the parts of [`Facet::Reasons`] and [`Facet::Policies`]; no id has one.
pub(crate) const SEPARATOR: char = '\n';

/// The members of a cell, in the order of its columns behind `day`.
pub(crate) const COLUMNS: [Facet; 12] = [
    Facet::Kind,
    Facet::Organisation,
    Facet::Principal,
    Facet::Resource,
    Facet::Product,
    Facet::Agreement,
    Facet::Action,
    Facet::Purpose,
    Facet::Decision,
    Facet::Reasons,
    Facet::Policies,
    Facet::Country,
];

/// What decisions that are counted together have in common; an empty text for what a decision does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Alike<'e> {
    /// Days since 1970-01-01, in UTC.
    pub day: i64,
    /// In the order of [`COLUMNS`].
    pub members: [Cow<'e, str>; COLUMNS.len()],
}

impl<'e> Alike<'e> {
    /// Without what it was read from.
    pub(crate) fn into_owned(self) -> Alike<'static> {
        Alike { day: self.day, members: self.members.map(|member| Cow::Owned(member.into_owned())) }
    }

    fn member(&mut self, facet: Facet) -> Option<&mut Cow<'e, str>> {
        COLUMNS.into_iter().zip(&mut self.members).find(|(column, _)| *column == facet).map(|(_, member)| member)
    }

    /// Leaves out what a refused reading was to read, unless that is the whole log or an organisation that has entries in
    /// it by then: names that somebody makes up would fill the index.
    pub(crate) fn settle(&mut self, has_entries: impl Fn(&str) -> bool) {
        let is_refused = self.member(Facet::Decision).is_some_and(|decision| decision == "deny");
        let Some(resource) = self.member(Facet::Resource).filter(|_| is_refused) else { return };
        if resource.strip_prefix(SCOPE).is_some_and(|of| of != "*" && !has_entries(of)) {
            *resource = Cow::default();
        }
    }
}

pub(crate) const DAY_MS: i64 = 86_400_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;

/// What is counted of decisions that are alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// Decisions, or refused logins.
    pub decisions: i64,
    /// Allowed exchanges that have an outcome.
    pub ended: i64,
    /// Of these, those whose answer was handed over to its last byte.
    pub complete: i64,
    /// Bytes of bodies that were handed on.
    pub bytes: i64,
    /// Records that were handed on, where the broker counted them.
    pub rows: i64,
    /// The first of the decisions.
    pub first_index: i64,
    /// Its time.
    pub first_time: i64,
}

impl Measures {
    pub(crate) fn add(&mut self, other: &Self) {
        if self.decisions == 0 || (other.decisions > 0 && other.first_index < self.first_index) {
            (self.first_index, self.first_time) = (other.first_index, other.first_time);
        }
        self.decisions += other.decisions;
        self.ended += other.ended;
        self.complete += other.complete;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.rows = self.rows.saturating_add(other.rows);
    }
}

/// What an entry says to those who count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Counted<'e> {
    No,
    /// So many decisions that are alike; `opens`: an outcome follows.
    Decided {
        alike: Box<Alike<'e>>,
        times: i64,
        opens: bool,
    },
    /// Several at once.
    Many(Vec<(Alike<'e>, i64)>),
    Ended {
        of: u64,
        complete: bool,
        bytes: i64,
        rows: i64,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Facts<'e> {
    pub time: Timestamp,
    pub terms: Vec<(Facet, Cow<'e, str>)>,
    /// 0 for an entry without a request.
    pub request: u32,
    pub counted: Counted<'e>,
}

impl<'e> Facts<'e> {
    /// `None` for bytes that are no entry: a damaged one is found by `fsck`, and never by a search.
    pub(crate) fn of(bytes: &'e [u8]) -> Option<Self> {
        let entry = Outline::pick(bytes, &NAMES).ok()?;
        let members = Members::of(&entry);
        Some(Self {
            time: entry.time,
            terms: members.terms(),
            request: members.request.and_then(Raw::as_text).map_or(0, |id| request_mark(&id)),
            counted: members.counted(),
        })
    }
}

/// Never 0. FNV-1a: an index that anybody may guess gains nothing from a keyed hash, since each find is compared.
pub(crate) fn request_mark(id: &str) -> u32 {
    let hash = id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

/// Members that are indexed or counted.
const NAMES: Keys<19> = Keys::new([
    "action",
    "actors",
    "agreement",
    "bytes",
    "country",
    "counts",
    "decision",
    "ended",
    "of",
    "org",
    "policies",
    "principal",
    "product",
    "purpose",
    "reason",
    "reasons",
    "request",
    "resource",
    "rows",
]);

/// Those of one entry.
struct Members<'e> {
    kind: Kind,
    day: i64,
    action: Option<Raw<'e>>,
    actors: Option<Raw<'e>>,
    agreement: Option<Raw<'e>>,
    bytes: Option<Raw<'e>>,
    counts: Option<Raw<'e>>,
    country: Option<Raw<'e>>,
    decision: Option<Raw<'e>>,
    ended: Option<Raw<'e>>,
    of: Option<Raw<'e>>,
    org: Option<Raw<'e>>,
    policies: Option<Raw<'e>>,
    principal: Option<Raw<'e>>,
    product: Option<Raw<'e>>,
    purpose: Option<Raw<'e>>,
    reason: Option<Raw<'e>>,
    reasons: Option<Raw<'e>>,
    request: Option<Raw<'e>>,
    resource: Option<Raw<'e>>,
    rows: Option<Raw<'e>>,
}

impl<'e> Members<'e> {
    fn of(entry: &Outline<'e, Picked<'e, 19>>) -> Self {
        let [action, actors, agreement, bytes, country, counts, decision, ended, of, rest @ ..] = entry.members;
        let [org, policies, principal, product, purpose, reason, reasons, request, resource, rows] = rest;
        let (kind, day) = (entry.kind, day(entry.time));
        Self {
            kind,
            day,
            action,
            actors,
            agreement,
            bytes,
            counts,
            country,
            decision,
            ended,
            of,
            org,
            policies,
            principal,
            product,
            purpose,
            reason,
            reasons,
            request,
            resource,
            rows,
        }
    }

    /// A facet of which there is at most one.
    fn single(&self, facet: Facet) -> Option<Cow<'e, str>> {
        let member = match facet {
            Facet::Kind => return Some(Cow::Borrowed(self.kind.as_str())),
            Facet::Organisation => self.org,
            Facet::Principal => self.principal,
            Facet::Resource => self.resource,
            Facet::Product => self.product,
            Facet::Agreement => self.agreement,
            Facet::Action => self.action,
            Facet::Purpose => self.purpose,
            Facet::Decision => self.decision,
            Facet::Reason => self.reason,
            Facet::Ended => self.ended,
            Facet::Country => self.country,
            Facet::Policy | Facet::Reasons | Facet::Policies => None,
        };
        member.and_then(Raw::as_text)
    }

    fn terms(&self) -> Vec<(Facet, Cow<'e, str>)> {
        const SINGLE: [Facet; 12] = [
            Facet::Kind,
            Facet::Organisation,
            Facet::Principal,
            Facet::Resource,
            Facet::Product,
            Facet::Agreement,
            Facet::Action,
            Facet::Purpose,
            Facet::Decision,
            Facet::Reason,
            Facet::Ended,
            Facet::Country,
        ];
        let mut terms: Vec<(Facet, Cow<'e, str>)> = Vec::with_capacity(16);
        terms.extend(SINGLE.into_iter().filter_map(|facet| Some((facet, self.single(facet)?))));
        terms.extend(texts(self.reasons).into_iter().map(|text| (Facet::Reason, text)));
        terms.extend(texts(self.policies).into_iter().map(|text| (Facet::Policy, text)));
        for actor in self.actors.and_then(Raw::items).into_iter().flatten() {
            for (facet, name) in [(Facet::Principal, "principal"), (Facet::Agreement, "agreement")] {
                terms.extend(actor.get(name).and_then(Raw::as_text).map(|text| (facet, text)));
            }
        }
        terms.retain(|(facet, value)| !facet.is_common(value));
        terms
    }

    fn counted(&self) -> Counted<'e> {
        match self.kind {
            Kind::Decision | Kind::AuditRead => {
                let opens = self.single(Facet::Decision).is_some_and(|decision| decision == "allow");
                Counted::Decided { alike: Box::new(self.alike()), times: 1, opens }
            }
            Kind::RefusedLogin => Counted::Decided { alike: Box::new(self.alike()), times: 1, opens: false },
            Kind::RefusedLogins => Counted::Many(refused(self.counts, self.day)),
            Kind::Outcome => {
                let int = |member: Option<Raw<'_>>| member.and_then(Raw::as_int);
                let Some(of) = int(self.of).and_then(|of| u64::try_from(of).ok()) else { return Counted::No };
                let complete = self.single(Facet::Ended).is_some_and(|ended| ended == "complete");
                Counted::Ended { of, complete, bytes: int(self.bytes).unwrap_or(0), rows: int(self.rows).unwrap_or(0) }
            }
            _ => Counted::No,
        }
    }

    fn alike(&self) -> Alike<'e> {
        let member = |facet: Facet| match facet {
            Facet::Reasons => list(self.reasons),
            Facet::Policies => list(self.policies),
            Facet::Decision if self.kind == Kind::RefusedLogin => Cow::Borrowed("deny"),
            _ => self.single(facet).unwrap_or_default(),
        };
        Alike { day: self.day, members: COLUMNS.map(member) }
    }
}

fn texts(list: Option<Raw<'_>>) -> Vec<Cow<'_, str>> {
    let items = list.and_then(Raw::items).unwrap_or_default();
    items.into_iter().filter_map(Raw::as_text).collect()
}

fn list(list: Option<Raw<'_>>) -> Cow<'_, str> {
    let mut texts = texts(list);
    match texts.len() {
        0 | 1 => texts.pop().unwrap_or_default(),
        _ => Cow::Owned(texts.join(&*SEPARATOR.to_string())),
    }
}

/// Logins that were counted instead of written one by one, under the kind of those that were.
fn refused<'e>(counts: Option<Raw<'_>>, day: i64) -> Vec<(Alike<'e>, i64)> {
    let value = counts.and_then(|counts| model::canonical::parse(counts.as_str().as_bytes()).ok());
    let Some(model::Value::Object(counts)) = value else { return Vec::new() };
    let of = |(reason, count): (&str, &model::Value)| {
        let member = |facet: Facet| match facet {
            Facet::Kind => Cow::Borrowed(Kind::RefusedLogin.as_str()),
            Facet::Decision => Cow::Borrowed("deny"),
            Facet::Reasons => Cow::Owned(reason.to_owned()),
            _ => Cow::default(),
        };
        Some((Alike { day, members: COLUMNS.map(member) }, count.as_int()?))
    };
    counts.iter().filter_map(of).collect()
}

pub(crate) fn day(time: Timestamp) -> i64 {
    time.millis().div_euclid(DAY_MS)
}
