//! Counting: how many decisions, and what came of them, by day and by whatever they have in common.

use super::block::CellKey;
use super::error::{IndexError, damaged};
use super::facts::{Alike, COLUMNS, Counted, DAY_MS, Facet, Facts, Measures, SEPARATOR};
use super::{Index, database};
use crate::prune::Pruned;
use model::{OrganisationId, Timestamp};
use sqlx::{AssertSqlSafe, Row as _};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What decisions are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    Kind,
    Organisation,
    /// The subject, not who acts for it.
    Principal,
    Resource,
    Product,
    Agreement,
    Action,
    Purpose,
    Decision,
    /// One of the reasons: a decision with two is counted under both.
    Reason,
    /// One of the policies that determined it.
    Policy,
    /// Where the request came from.
    Country,
}

impl Dimension {
    pub const ALL: [Self; 12] = [
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
        Self::Country,
    ];

    pub fn as_str(self) -> &'static str {
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
            Self::Country => "country",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.as_str() == text)
    }

    /// Its place in [`COLUMNS`].
    fn column(self) -> usize {
        self as usize
    }

    fn is_list(self) -> bool {
        matches!(self, Self::Reason | Self::Policy)
    }
}

/// What a summary has a row for each of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// `2026-11-22`, in UTC.
    Day,
    /// The Monday that the week begins with.
    Week,
    /// `2026-11`.
    Month,
    Of(Dimension),
}

impl By {
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Day, Self::Week, Self::Month].into_iter().chain(Dimension::ALL.into_iter().map(Self::Of))
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Of(dimension) => dimension.as_str(),
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::all().find(|by| by.as_str() == text)
    }
}

/// Groups that one summary may have; beyond it the largest are listed.
pub const ROWS_MAX: usize = 1000;
pub const BY_MAX: usize = 4;
/// Groups that are held in memory: some hundred megabytes.
const GROUPS_MAX: usize = if cfg!(test) { 500 } else { 200_000 };

/// Days that are looked at one by one: beyond that the clock was wrong in some entry.
const DAYS_MAX: i64 = 36_525;

/// What to count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows are told apart by these, at most [`BY_MAX`]; none: one row.
    pub by: Vec<By>,
    /// First day, inclusive.
    pub from: Option<Timestamp>,
    /// Days before the one that begins here.
    pub to: Option<Timestamp>,
    pub organisation: Option<OrganisationId>,
    /// What must be the case, with a principal by reference.
    pub only: Vec<(Dimension, String)>,
    /// Only groups whose first decision ever lies within the time.
    pub new: bool,
    /// Rows at most, 1 to [`ROWS_MAX`].
    pub limit: usize,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRow {
    /// In the order of [`Summary::by`]; an empty text where decisions have no such member.
    pub group: Vec<String>,
    pub measures: Measures,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub by: Vec<By>,
    /// In time if the first of `by` is one, otherwise the most decisions first.
    pub rows: Vec<TableRow>,
    /// Groups that are not listed.
    pub left_out: u64,
    /// Entries in the log that was summed up.
    pub size: u64,
    /// What is gone of the log, if some of that was asked for.
    pub pruned: Option<Pruned>,
}

impl Table {
    /// In time if that is what the rows are told apart by first, otherwise the most decisions first.
    pub(crate) fn sort(&mut self) {
        self.rows.sort_by(|a, b| a.group.cmp(&b.group));
        if !matches!(self.by.first(), Some(By::Day | By::Week | By::Month)) {
            self.rows.sort_by_key(|row| std::cmp::Reverse(row.measures.decisions));
        }
    }

    /// `{"by":[…],"rows":[{"group":[…],"decisions",…}],"left_out"?,"pruned"?,"size"}`
    pub fn to_json(&self) -> serde_json::Value {
        let by: Vec<&str> = self.by.iter().map(|by| by.as_str()).collect();
        let row = |row: &TableRow| {
            let Measures { decisions, ended, complete, bytes, rows, first_index, first_time } = row.measures;
            serde_json::json!({
                "group": row.group, "decisions": decisions, "ended": ended, "complete": complete, "bytes": bytes,
                "rows": rows, "first_index": first_index, "first_time": Timestamp(first_time).to_rfc3339(),
            })
        };
        let rows: Vec<serde_json::Value> = self.rows.iter().map(row).collect();
        let mut table = serde_json::json!({ "by": by, "rows": rows, "size": self.size });
        if let Some(table) = table.as_object_mut().filter(|_| self.left_out > 0) {
            table.insert(String::from("left_out"), self.left_out.into());
        }
        if let Some((table, pruned)) = table.as_object_mut().zip(self.pruned) {
            table.insert(String::from("pruned"), pruned.to_json());
        }
        table
    }
}

impl Summary {
    /// First day, and the first behind it; `None` for a time that is not a whole number of days.
    pub fn days(&self) -> Option<(i64, i64)> {
        let whole = |time: Timestamp| (time.millis() % DAY_MS == 0).then_some(time.millis() / DAY_MS);
        let first = self.from.map_or(Some(i64::MIN), whole)?;
        let end = self.to.map_or(Some(i64::MAX), whole)?;
        Some((first, end))
    }

    /// From when on entries matter. Whether something is new, all of before say.
    pub(crate) fn reaches_back_to(&self) -> Option<Timestamp> {
        self.from.filter(|_| !self.new)
    }

    fn only(&self) -> impl Iterator<Item = (Dimension, &str)> {
        let organisation = self.organisation.as_ref().map(|id| (Dimension::Organisation, id.as_str()));
        organisation.into_iter().chain(self.only.iter().map(|(dimension, value)| (*dimension, value.as_str())))
    }

    fn accepts(&self, alike: &Alike<'_>) -> bool {
        self.only().all(|(dimension, wanted)| {
            let member = alike.members.get(dimension.column()).map(|member| &**member).unwrap_or_default();
            if dimension.is_list() { member.split(SEPARATOR).any(|part| part == wanted) } else { member == wanted }
        })
    }

    /// The groups that a decision belongs to.
    fn groups(&self, day: i64, member: impl Fn(Dimension) -> String) -> Vec<Vec<String>> {
        let mut groups = vec![Vec::with_capacity(self.by.len())];
        for by in &self.by {
            let parts = match by {
                By::Of(dimension) if dimension.is_list() => {
                    // Whoever asks for one of them wants to see that one alone.
                    let wanted = self.only().find(|(one, _)| one == dimension).map(|(_, value)| value.to_owned());
                    let text = member(*dimension);
                    wanted.map_or_else(|| text.split(SEPARATOR).map(str::to_owned).collect(), |wanted| vec![wanted])
                }
                By::Of(dimension) => vec![member(*dimension)],
                time => vec![time.of_day(day)],
            };
            groups = groups
                .into_iter()
                .flat_map(|group| parts.iter().map(move |part| [group.clone(), vec![part.clone()]].concat()))
                .collect();
        }
        groups
    }
}

impl By {
    fn of_day(self, day: i64) -> String {
        let date = |day: i64| {
            let text = Timestamp(day.saturating_mul(DAY_MS)).to_rfc3339();
            text.get(..10).unwrap_or_default().to_owned()
        };
        match self {
            // 1970-01-01 was a Thursday.
            Self::Week => date(day - (day + 3).rem_euclid(7)),
            Self::Month => date(day).get(..7).unwrap_or_default().to_owned(),
            Self::Day | Self::Of(_) => date(day),
        }
    }
}

/// More groups than one question may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// Counts, from cells and from entries that are in none yet.
#[derive(Debug)]
pub(crate) struct Counting {
    summary: Summary,
    days: (i64, i64),
    rows: HashMap<Vec<String>, Measures>,
    /// Exchanges without an outcome so far.
    open: BTreeMap<u64, Alike<'static>>,
    /// Organisations that have entries so far.
    organisations: HashSet<String>,
    too_many: bool,
}

impl Counting {
    /// `None` for a time that is not a whole number of days.
    pub(crate) fn new(summary: Summary) -> Option<Self> {
        let days = summary.days()?;
        Some(Self {
            summary,
            days,
            rows: HashMap::new(),
            open: BTreeMap::new(),
            organisations: HashSet::new(),
            too_many: false,
        })
    }

    /// Takes over what the index has counted, and says of how many entries.
    pub(crate) async fn indexed(&mut self, index: &Index) -> Result<u64, IndexError> {
        let mut connection = index.readers.begin().await?;
        let size = database::standing(&mut connection).await?.size;
        let mut texts = Texts::default();
        for (decision, open) in database::open_rows(&mut connection).await? {
            let alike = texts.alike(&mut connection, &open.cell).await?;
            self.open.insert(decision, alike);
        }
        let known = sqlx::query("SELECT value FROM term WHERE facet = ?").bind(Facet::Organisation.number());
        for row in known.fetch_all(&mut *connection).await? {
            self.organisations.insert(row.try_get(0)?);
        }
        let Some(sql) = self.sql(&mut connection).await? else { return Ok(size) };
        for (first, end) in self.stretches(&mut connection).await? {
            let asked = sqlx::query(AssertSqlSafe(sql.clone())).bind(first).bind(end);
            let rows = asked.fetch_all(&mut *connection).await?;
            // What is cut off would be missing from the groups.
            self.too_many |= rows.len() > GROUPS_MAX;
            self.found(&rows, &mut texts, &mut connection).await?;
            if self.too_many || self.rows.len() > GROUPS_MAX {
                break;
            }
        }
        Ok(size)
    }

    /// Days, each stretch with the first behind it, that no group has more than one of: what is grouped a stretch at a time is
    /// sorted in a fraction of the time that all of it takes.
    async fn stretches(&self, connection: &mut sqlx::sqlite::SqliteConnection) -> Result<Vec<(i64, i64)>, IndexError> {
        let row = sqlx::query("SELECT min(day), max(day) FROM cell").fetch_one(connection).await?;
        let (Some(first), Some(last)) = (row.try_get::<Option<i64>, _>(0)?, row.try_get::<Option<i64>, _>(1)?) else {
            return Ok(Vec::new());
        };
        let first = if self.summary.new { first } else { first.max(self.days.0) };
        let end = self.days.1.min(last.saturating_add(1));
        let times: Vec<By> = self.summary.by.iter().copied().filter(|by| !matches!(by, By::Of(_))).collect();
        if times.is_empty() || end.saturating_sub(first) > DAYS_MAX {
            return Ok(vec![(first, end)]);
        }
        let name = |day: i64| times.iter().map(|time| time.of_day(day)).collect::<Vec<_>>();
        let mut stretches: Vec<(i64, i64)> = Vec::new();
        let mut last_name = None;
        for day in first..end {
            let name = name(day);
            match stretches.last_mut() {
                Some((_, end)) if last_name.as_ref() == Some(&name) => *end = day + 1,
                _ => stretches.push((day, day + 1)),
            }
            last_name = Some(name);
        }
        Ok(stretches)
    }

    async fn found(
        &mut self,
        rows: &[sqlx::sqlite::SqliteRow],
        texts: &mut Texts,
        connection: &mut sqlx::sqlite::SqliteConnection,
    ) -> Result<(), IndexError> {
        for row in rows {
            let measure = |at: usize| row.try_get::<i64, _>(at);
            let measures = Measures {
                decisions: measure(0)?,
                ended: measure(1)?,
                complete: measure(2)?,
                bytes: measure(3)?,
                rows: measure(4)?,
                first_index: measure(5)?,
                first_time: measure(6)?,
            };
            let day: i64 = measure(7)?;
            let mut members: HashMap<Dimension, String> = HashMap::new();
            for (at, dimension) in (8..).zip(self.dimensions()) {
                members.insert(dimension, texts.of(connection, measure(at)?).await?);
            }
            self.add(day, |dimension| members.get(&dimension).cloned().unwrap_or_default(), &measures);
        }
        Ok(())
    }

    fn dimensions(&self) -> impl Iterator<Item = Dimension> + use<> {
        let by: Vec<Dimension> =
            self.summary.by.iter().filter_map(|by| if let By::Of(d) = by { Some(*d) } else { None }).collect();
        by.into_iter()
    }

    /// The question to the cells of the days from one on and before another; `None` where no cell can be meant. What stands
    /// in it are names of ours and numbers.
    async fn sql(&self, connection: &mut sqlx::sqlite::SqliteConnection) -> Result<Option<String>, IndexError> {
        let by_time = self.summary.by.iter().any(|by| !matches!(by, By::Of(_)));
        let column = |dimension: Dimension| COLUMNS.get(dimension.column()).map_or("kind", |facet| facet.as_str());
        // `min` is the only one of its kind, so that the other columns are those of its row. As long as what a group is called by, so that there are no more rows than groups, but for lists.
        let group: Vec<&str> = self
            .summary
            .by
            .iter()
            .map(|by| match by {
                By::Day => "day",
                By::Week => "(day + 3) / 7",
                By::Month => "strftime('%Y-%m', day * 86400, 'unixepoch')",
                By::Of(dimension) => column(*dimension),
            })
            .collect();
        let columns: Vec<&str> = self.dimensions().map(column).collect();
        let mut sql = String::from(
            "SELECT sum(decisions), sum(ended), sum(complete), sum(bytes), sum(rows), min(first_index), first_time, ",
        );
        sql.push_str(&[vec![if by_time { "day" } else { "0" }], columns].concat().join(", "));
        sql.push_str(" FROM cell WHERE day >= ? AND day < ?");
        for (dimension, wanted) in self.summary.only() {
            let ids = ids(connection, dimension, wanted).await?;
            if ids.is_empty() {
                return Ok(None);
            }
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            sql.push_str(&format!(" AND {} IN ({})", column(dimension), ids.join(", ")));
        }
        if !group.is_empty() {
            sql.push_str(&format!(" GROUP BY {}", group.join(", ")));
        } else {
            sql.push_str(" HAVING count(*) > 0");
        }
        sql.push_str(&format!(" LIMIT {}", GROUPS_MAX + 1));
        Ok(Some(sql))
    }

    fn add(&mut self, day: i64, member: impl Fn(Dimension) -> String, measures: &Measures) {
        // Enough to know that it is too much.
        if self.rows.len() > GROUPS_MAX {
            return;
        }
        for group in self.summary.groups(day, member) {
            self.rows.entry(group).or_default().add(measures);
        }
    }

    /// The next entry of the log that is in no cell.
    pub(crate) fn see(&mut self, index: u64, bytes: &[u8]) {
        let Some(facts) = Facts::of(bytes) else { return };
        let organisation = facts.terms.iter().find(|(facet, _)| *facet == Facet::Organisation).map(|(_, value)| value);
        if let Some(organisation) = organisation.filter(|name| !self.organisations.contains(&***name)) {
            self.organisations.insert(organisation.to_string());
        }
        match facts.counted {
            Counted::No => {}
            Counted::Decided { mut alike, times, opens } => {
                alike.settle(|organisation| self.organisations.contains(organisation));
                self.decided(index, facts.time, &alike, times);
                if opens {
                    self.open.insert(index, alike.into_owned());
                }
            }
            Counted::Many(many) => {
                many.iter().for_each(|(alike, times)| self.decided(index, facts.time, alike, *times))
            }
            Counted::Ended { of, complete, bytes, rows } => {
                let Some(alike) = self.open.remove(&of) else { return };
                let measures = Measures { ended: 1, complete: i64::from(complete), bytes, rows, ..Measures::default() };
                self.take(&alike, &measures);
            }
        }
    }

    fn decided(&mut self, index: u64, time: Timestamp, alike: &Alike<'_>, times: i64) {
        let first_index = i64::try_from(index).unwrap_or(i64::MAX);
        let measures = Measures { decisions: times, first_index, first_time: time.millis(), ..Measures::default() };
        self.take(alike, &measures);
    }

    fn take(&mut self, alike: &Alike<'_>, measures: &Measures) {
        let is_early_enough = alike.day < self.days.1;
        let is_late_enough = alike.day >= self.days.0 || self.summary.new;
        if is_early_enough && is_late_enough && self.summary.accepts(alike) {
            let member = |dimension: Dimension| {
                alike.members.get(dimension.column()).map(|member| member.to_string()).unwrap_or_default()
            };
            self.add(alike.day, member, measures);
        }
    }

    pub(crate) fn finish(self, size: u64) -> Result<Table, TooMany> {
        if self.too_many || self.rows.len() > GROUPS_MAX {
            return Err(TooMany);
        }
        let Summary { by, new, limit, .. } = self.summary;
        let begin = self.days.0.saturating_mul(DAY_MS);
        let mut rows: Vec<TableRow> =
            self.rows.into_iter().map(|(group, measures)| TableRow { group, measures }).collect();
        rows.retain(|row| row.measures.decisions > 0 && (!new || row.measures.first_time >= begin));
        let left_out = rows.len().saturating_sub(limit) as u64;
        let mut table = Table { by, rows, left_out, size, pruned: None };
        table.sort();
        table.rows.truncate(limit);
        Ok(table)
    }
}

/// Terms that stand for `wanted` in the dimension's column: for a list, all lists that have it.
async fn ids(
    connection: &mut sqlx::sqlite::SqliteConnection,
    dimension: Dimension,
    wanted: &str,
) -> Result<Vec<i64>, IndexError> {
    if wanted.is_empty() {
        return Ok(vec![0]);
    }
    let facet = COLUMNS.get(dimension.column()).copied().unwrap_or(Facet::Kind);
    let rows = if dimension.is_list() {
        let sql = "SELECT id, value FROM term WHERE facet = ? AND instr(value, ?) > 0";
        sqlx::query(sql).bind(facet.number()).bind(wanted.to_owned()).fetch_all(connection).await?
    } else {
        let sql = "SELECT id, value FROM term WHERE facet = ? AND value = ?";
        sqlx::query(sql).bind(facet.number()).bind(wanted.to_owned()).fetch_all(connection).await?
    };
    let mut ids = Vec::new();
    for row in rows {
        let (id, value): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        if !dimension.is_list() || value.split(SEPARATOR).any(|part| part == wanted) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Terms by id, each fetched once.
#[derive(Debug, Default)]
struct Texts(HashMap<i64, String>);

impl Texts {
    async fn of(&mut self, connection: &mut sqlx::sqlite::SqliteConnection, id: i64) -> Result<String, IndexError> {
        if id == 0 {
            return Ok(String::new());
        }
        if let Some(text) = self.0.get(&id) {
            return Ok(text.clone());
        }
        let row = sqlx::query("SELECT value FROM term WHERE id = ?").bind(id).fetch_optional(connection).await?;
        let text: String = row.ok_or_else(|| damaged("cell"))?.try_get(0)?;
        self.0.insert(id, text.clone());
        Ok(text)
    }

    async fn alike(
        &mut self,
        connection: &mut sqlx::sqlite::SqliteConnection,
        cell: &CellKey,
    ) -> Result<Alike<'static>, IndexError> {
        let mut alike =
            Alike { day: cell.first().copied().unwrap_or_default(), members: COLUMNS.map(|_| Cow::default()) };
        for (member, id) in alike.members.iter_mut().zip(cell.iter().skip(1)) {
            *member = Cow::Owned(self.of(connection, *id).await?);
        }
        Ok(alike)
    }
}
