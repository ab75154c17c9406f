//! The matrix: what a snapshot decides for everybody who is known and for somebody of each organisation who is not, about
//! everything that there is, for every purpose.
//!
//! Each cell is asked as the least that can be asked: a plain login, nobody acting, no extent. Where that is allowed, the
//! cell also says how far it goes: the finest resolution, the longest window and the most rows.

mod alike;
mod changes;
mod text;

pub use changes::{Change, Turn, lines};

use crate::cases::{Asked, BadCase, Expected};
use crate::{Decision, Snapshot};
use alike::{Alike, Class};
use model::{Action, PrincipalKind, ResourceRef, Timestamp};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is decided at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    at: Timestamp,
    cells: BTreeMap<Key, Cell>,
}

/// Who asks what for what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Key {
    #[serde(flatten)]
    pub who: Who,
    #[serde(serialize_with = "name")]
    pub action: Action,
    /// As in cases: `Dataset/ID`, `Signal/ID`, `AuditScope/ORGANISATION`, `AuditScope/*`.
    pub resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Named by the caller; asked only where several permit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<String>,
}

/// Somebody of an organisation: one whom the registry lists, or one whom it does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Who {
    pub organisation: String,
    /// Listed before unlisted.
    unlisted: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    pub service: bool,
}

/// What is decided, and how far it goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cell {
    /// `permit`, `deny`, `hidden`.
    pub decision: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes_hidden: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub records_hidden: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extent: Option<Extent>,
}

/// How far a permission goes. A part that is absent has no end that was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Extent {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution_min_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_max_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_max: Option<i64>,
}

fn name<S: Serializer>(action: &Action, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(action.as_str())
}

/// What somebody asks whose name no registry has.
const STRANGER: &str = "somebody";

const DAY_MS: i64 = 86_400_000;
/// Steps beside those of the agreements. The last is "without an end".
const WINDOWS_MS: [i64; 4] = [3_600_000, DAY_MS, 31 * DAY_MS, 3_660 * DAY_MS];
const ROWS: [i64; 4] = [1, 1_000, 100_000, 1_000_000_000];
/// From raw values on.
const RESOLUTIONS_MS: [i64; 7] = [0, 1_000, 10_000, 60_000, 600_000, 3_600_000, DAY_MS];

impl Matrix {
    /// Every cell at `at`.
    pub fn of(snapshot: &Snapshot, at: Timestamp) -> Self {
        let alike = Alike::new(snapshot);
        let mut decided: HashMap<Class, Vec<Found>> = HashMap::new();
        let mut cells = BTreeMap::new();
        for key in keys(snapshot) {
            let ask = || Asker { snapshot, at, key: &key }.found();
            for found in decided.entry(alike.class(&key)).or_insert_with(ask) {
                cells.insert(Key { names: found.names.clone(), ..key.clone() }, found.cell.clone());
            }
        }
        Self { at, cells }
    }

    /// How many cells it has at the least, so that whoever has little time can leave it.
    pub fn size(snapshot: &Snapshot) -> usize {
        let questions = resources(snapshot).map(|(action, _)| purposes(snapshot, action).count());
        everybody(snapshot).len().saturating_mul(questions.sum())
    }

    pub fn cells(&self) -> impl Iterator<Item = (&Key, &Cell)> {
        self.cells.iter()
    }
}

impl Serialize for Matrix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(flatten)]
            key: &'a Key,
            #[serde(flatten)]
            cell: &'a Cell,
        }
        #[derive(Serialize)]
        struct Whole<'a> {
            at: String,
            cells: Vec<Line<'a>>,
        }
        let cells = self.cells.iter().map(|(key, cell)| Line { key, cell }).collect();
        Whole { at: self.at.to_rfc3339(), cells }.serialize(serializer)
    }
}

impl Who {
    fn unlisted(organisation: &str, kind: PrincipalKind) -> Self {
        let service = kind == PrincipalKind::Service;
        Self { organisation: organisation.to_owned(), unlisted: true, subject: String::new(), service }
    }
}

// === what is asked

fn keys(snapshot: &Snapshot) -> impl Iterator<Item = Key> {
    everybody(snapshot).into_iter().flat_map(move |who| {
        resources(snapshot).flat_map(move |(action, resource)| {
            let who = who.clone();
            let key = move |purpose| Key { who: who.clone(), action, resource: resource.clone(), purpose, names: None };
            purposes(snapshot, action).map(key)
        })
    })
}

fn everybody(snapshot: &Snapshot) -> Vec<Who> {
    let parties = snapshot.parties();
    let listed = parties.principals.iter().map(|((organisation, subject), record)| Who {
        organisation: organisation.to_string(),
        unlisted: false,
        subject: subject.to_string(),
        service: record.kind == PrincipalKind::Service,
    });
    let kinds = [PrincipalKind::User, PrincipalKind::Service];
    let others = parties.organisations.keys().flat_map(|o| kinds.map(|kind| Who::unlisted(o.as_str(), kind)));
    listed.chain(others).collect()
}

fn resources(snapshot: &Snapshot) -> impl Iterator<Item = (Action, String)> {
    let (plant, parties) = (snapshot.plant(), snapshot.parties());
    let datasets = plant.datasets.keys().map(|id| (Action::Read, ResourceRef::Dataset(id.clone())));
    let signals = plant.signals.keys().map(|id| (Action::ReadSeries, ResourceRef::Signal(id.clone())));
    let scopes = parties.organisations.keys().map(|o| Some(o.clone())).chain([None]);
    let scopes = scopes.flat_map(|scope| {
        // Values are erased of somebody, who is of some organisation.
        let erasing = scope.is_some().then(|| (Action::EraseAudit, ResourceRef::AuditScope(scope.clone())));
        [(Action::ReadAudit, ResourceRef::AuditScope(scope))].into_iter().chain(erasing)
    });
    datasets.chain(signals).chain(scopes).map(|(action, resource)| (action, resource.to_text()))
}

/// None, and for data each of the plant's.
fn purposes(snapshot: &Snapshot, action: Action) -> impl Iterator<Item = Option<String>> {
    let all = snapshot.plant().purposes.keys().map(|purpose| Some(purpose.to_string()));
    std::iter::once(None).chain(all.filter(move |_| !action.is_of_audit()))
}

// === asking

struct Asker<'a> {
    snapshot: &'a Snapshot,
    at: Timestamp,
    key: &'a Key,
}

/// What was decided, and under which agreement's name.
struct Found {
    names: Option<String>,
    cell: Cell,
}

#[derive(Clone, Copy)]
struct Ask {
    resolution_ms: i64,
    window_ms: i64,
    rows: i64,
}

impl Asker<'_> {
    /// The cell, and where several agreements permit one more for each that can be named. None for what nobody can ask.
    fn found(&self) -> Vec<Found> {
        // The least of a series is its coarsest value.
        let least = Ask { resolution_ms: if self.is_series() { DAY_MS } else { 0 }, window_ms: 0, rows: 0 };
        let Ok(decision) = self.decide(least) else { return Vec::new() };
        let extent = decision.is_permit().then(|| self.extent(least));
        let agreements = match &decision {
            Decision::Denied(denial) if self.key.names.is_none() => denial.agreements.as_slice(),
            _ => &[],
        };
        let named = agreements.iter().flat_map(|agreement| {
            let key = Key { names: Some(agreement.to_string()), ..self.key.clone() };
            Asker { key: &key, ..*self }.found()
        });
        let named = named.collect::<Vec<_>>();
        let Expected { decision, reasons, agreement, classes_hidden, records_hidden, .. } = Expected::of(&decision);
        let cell = Cell { decision, reasons, agreement, classes_hidden, records_hidden, extent };
        [Found { names: self.key.names.clone(), cell }].into_iter().chain(named).collect()
    }

    fn decide(&self, ask: Ask) -> Result<Decision, BadCase> {
        let Key { who, action, resource, purpose, names } = self.key;
        let subject = if who.unlisted { STRANGER } else { &who.subject };
        let asked = Asked {
            purpose: purpose.clone(),
            agreement: names.clone(),
            resolution_ms: ask.resolution_ms,
            window_ms: ask.window_ms,
            rows: ask.rows,
            ..Asked::new(&who.organisation, subject, who.service, *action, resource)
        };
        Ok(self.snapshot.decide(asked.request(self.snapshot.parties(), self.at)?, &["-"]))
    }

    fn is_series(&self) -> bool {
        self.key.action == Action::ReadSeries
    }

    /// Each part by itself, with the least of the others.
    fn extent(&self, least: Ask) -> Extent {
        let permits = |ask: Ask| self.decide(ask).is_ok_and(|decision| decision.is_permit());
        let (all_time, all_rows) = (WINDOWS_MS[3], ROWS[3]);
        let finest = if self.is_series() { RESOLUTIONS_MS[0] } else { least.resolution_ms };
        if self.key.action.is_of_audit() || permits(Ask { resolution_ms: finest, window_ms: all_time, rows: all_rows })
        {
            return Extent::default();
        }
        let steps = self.steps();
        let finest =
            steps.resolutions_ms.iter().copied().find(|&resolution_ms| permits(Ask { resolution_ms, ..least }));
        let longest = steps.windows_ms.iter().rev().copied().find(|&window_ms| permits(Ask { window_ms, ..least }));
        let most = steps.rows.iter().rev().copied().find(|&rows| permits(Ask { rows, ..least }));
        Extent {
            resolution_min_ms: finest.filter(|ms| self.is_series() && *ms > 0),
            window_max_ms: longest.or(Some(0)).filter(|ms| *ms < all_time),
            rows_max: most.or(Some(0)).filter(|rows| *rows < all_rows),
        }
    }

    /// The usual steps, and those of the organisation's agreements.
    fn steps(&self) -> Steps {
        let all = self.snapshot.parties().agreements.values();
        let own: Vec<_> = all.filter(|a| a.consumer.as_str() == self.key.who.organisation).collect();
        let with = |usual: &[i64], own: Vec<i64>| usual.iter().copied().chain(own).collect::<BTreeSet<_>>();
        Steps {
            resolutions_ms: with(&RESOLUTIONS_MS, own.iter().map(|a| a.resolution_min_ms).collect()),
            windows_ms: with(&WINDOWS_MS, own.iter().map(|a| a.window_max_ms).collect()),
            rows: with(&ROWS, own.iter().map(|a| a.rows_max).collect()),
        }
    }
}

struct Steps {
    resolutions_ms: BTreeSet<i64>,
    windows_ms: BTreeSet<i64>,
    rows: BTreeSet<i64>,
}
