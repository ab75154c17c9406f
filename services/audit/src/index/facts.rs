//! What the index keeps of an entry. Pure; nothing personal is looked at.

use model::Timestamp;
use model::canonical::Raw;
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
pub(crate) struct Alike {
    /// Days since 1970-01-01, in UTC.
    pub day: i64,
    /// In the order of [`COLUMNS`].
    pub members: [String; COLUMNS.len()],
}

impl Alike {
    fn member(&mut self, facet: Facet) -> Option<&mut String> {
        COLUMNS.into_iter().zip(&mut self.members).find(|(column, _)| *column == facet).map(|(_, member)| member)
    }

    /// Leaves out what a refused reading was to read, unless that is the whole log or an organisation that has entries in
    /// it by then: names that somebody makes up would fill the index.
    pub(crate) fn settle(&mut self, has_entries: impl Fn(&str) -> bool) {
        let is_refused = self.member(Facet::Decision).is_some_and(|decision| decision == "deny");
        let Some(resource) = self.member(Facet::Resource).filter(|_| is_refused) else { return };
        if resource.strip_prefix(SCOPE).is_some_and(|of| of != "*" && !has_entries(of)) {
            resource.clear();
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
pub(crate) enum Counted {
    No,
    /// So many decisions that are alike; `opens`: an outcome follows.
    Decided {
        alike: Box<Alike>,
        times: i64,
        opens: bool,
    },
    /// Several at once.
    Many(Vec<(Alike, i64)>),
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
    pub counted: Counted,
}

impl<'e> Facts<'e> {
    /// `None` for bytes that are no entry: a damaged one is found by `fsck`, and never by a search.
    pub(crate) fn of(bytes: &'e [u8]) -> Option<Self> {
        let entry = Outline::read(bytes).ok()?;
        Some(Self {
            time: entry.time,
            terms: terms(&entry),
            request: entry.text("request").map_or(0, |id| request_mark(&id)),
            counted: counted(&entry),
        })
    }
}

/// Never 0. FNV-1a: an index that anybody may guess gains nothing from a keyed hash, since each find is compared.
pub(crate) fn request_mark(id: &str) -> u32 {
    let hash = id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

fn terms<'e>(entry: &Outline<'e>) -> Vec<(Facet, Cow<'e, str>)> {
    let mut terms: Vec<(Facet, Cow<'e, str>)> = Vec::with_capacity(16);
    terms.push((Facet::Kind, Cow::Borrowed(entry.kind.as_str())));
    let single = [
        (Facet::Organisation, "org"),
        (Facet::Principal, "principal"),
        (Facet::Resource, "resource"),
        (Facet::Product, "product"),
        (Facet::Agreement, "agreement"),
        (Facet::Action, "action"),
        (Facet::Purpose, "purpose"),
        (Facet::Decision, "decision"),
        (Facet::Reason, "reason"),
        (Facet::Ended, "ended"),
        (Facet::Country, "country"),
    ];
    terms.extend(single.into_iter().filter_map(|(facet, name)| Some((facet, entry.text(name)?))));
    for (facet, name) in [(Facet::Reason, "reasons"), (Facet::Policy, "policies")] {
        terms.extend(texts(entry, name).into_iter().map(|text| (facet, text)));
    }
    for actor in entry.members.get("actors").and_then(Raw::items).into_iter().flatten().filter_map(Raw::object) {
        for (facet, name) in [(Facet::Principal, "principal"), (Facet::Agreement, "agreement")] {
            terms.extend(actor.text(name).map(|text| (facet, text)));
        }
    }
    terms.retain(|(facet, value)| !facet.is_common(value));
    terms
}

fn texts<'e>(entry: &Outline<'e>, name: &str) -> Vec<Cow<'e, str>> {
    let items = entry.members.get(name).and_then(Raw::items).unwrap_or_default();
    items.into_iter().filter_map(Raw::as_text).collect()
}

fn counted(entry: &Outline<'_>) -> Counted {
    match entry.kind {
        Kind::Decision | Kind::AuditRead => {
            let opens = entry.text("decision").is_some_and(|decision| decision == "allow");
            Counted::Decided { alike: Box::new(alike(entry)), times: 1, opens }
        }
        Kind::RefusedLogin => Counted::Decided { alike: Box::new(alike(entry)), times: 1, opens: false },
        Kind::RefusedLogins => Counted::Many(refused(entry)),
        Kind::Outcome => {
            let int = |name: &str| entry.members.get(name).and_then(Raw::as_int);
            let Some(of) = int("of").and_then(|of| u64::try_from(of).ok()) else { return Counted::No };
            let complete = entry.text("ended").is_some_and(|ended| ended == "complete");
            Counted::Ended { of, complete, bytes: int("bytes").unwrap_or(0), rows: int("rows").unwrap_or(0) }
        }
        _ => Counted::No,
    }
}

fn alike(entry: &Outline<'_>) -> Alike {
    let text = |name: &str| entry.text(name).unwrap_or_default().into_owned();
    let list = |name: &str| texts(entry, name).join(&*SEPARATOR.to_string());
    let member = |facet: Facet| match facet {
        Facet::Kind => entry.kind.as_str().to_owned(),
        Facet::Organisation => text("org"),
        Facet::Reasons | Facet::Policies => list(facet.as_str()),
        Facet::Decision if entry.kind == Kind::RefusedLogin => String::from("deny"),
        _ => text(facet.as_str()),
    };
    Alike { day: day(entry.time), members: COLUMNS.map(member) }
}

/// Logins that were counted instead of written one by one, under the kind of those that were.
fn refused(entry: &Outline<'_>) -> Vec<(Alike, i64)> {
    let counts = entry.members.get("counts").and_then(Raw::object);
    let value = counts.and_then(|counts| model::canonical::parse(counts.whole().as_str().as_bytes()).ok());
    let Some(model::Value::Object(counts)) = value else { return Vec::new() };
    let of = |(reason, count): (&str, &model::Value)| {
        let member = |facet: Facet| match facet {
            Facet::Kind => Kind::RefusedLogin.as_str().to_owned(),
            Facet::Decision => String::from("deny"),
            Facet::Reasons => reason.to_owned(),
            _ => String::new(),
        };
        Some((Alike { day: day(entry.time), members: COLUMNS.map(member) }, count.as_int()?))
    };
    counts.iter().filter_map(of).collect()
}

pub(crate) fn day(time: Timestamp) -> i64 {
    time.millis().div_euclid(DAY_MS)
}
