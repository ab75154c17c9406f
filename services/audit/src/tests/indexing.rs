//! An index makes a search quicker and nothing else: with a whole one, half of one and none the answers are the same, and
//! they are what somebody finds who reads every entry. What is wrong with an index is found.
//!
//! Blocks are larger outside of the unit tests, where these run on PostgreSQL.

use super::harness::*;
use crate::fsck;
use crate::index::{BLOCK, Building, By, Dimension, Index, Measures, Summary};
use crate::query::SummaryError;
use crate::{Log, Query, ReadError};
use model::entry::{Common, DirectoryRow, Draft, Effect, Entry, Kind};
use model::{Timestamp, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const DAY_MS: i64 = 86_400_000;

/// One step of a plant's life.
#[derive(Clone, Debug)]
enum Step {
    /// Who, of which organisation, wants what; for which reasons it is refused, or under which policies allowed.
    Decision {
        who: u8,
        organisation: u8,
        what: u8,
        reasons: Vec<u8>,
        policies: Vec<u8>,
        actor: Option<u8>,
        country: u8,
    },
    /// The exchange that has been open for so many steps ends.
    Outcome {
        back: u8,
        complete: bool,
        bytes: i64,
    },
    Refused(u8, u8),
    RefusedMany(Vec<(u8, i64)>),
    Policy,
    /// The clock is put forward, or back.
    Wait(i64),
}

const ORGANISATIONS: [&str; 3] = ["acme", "borealis", "cresta"];
const REASONS: [&str; 3] = ["not_permitted", "purpose_unknown", "agreement_unknown"];
const COUNTRIES: [&str; 3] = ["DE", "FR", "SE"];
const POLICIES: [&str; 4] = ["read", "reveal", "forbid-night", "see"];

/// Of every fourth nobody knows where it came from.
fn member_of(country: u8) -> Option<(&'static str, Value)> {
    COUNTRIES.get(usize::from(country)).map(|country| ("country", Value::text(*country)))
}

fn pick<'a>(list: &[&'a str], chosen: &[u8]) -> Vec<&'a str> {
    let set: BTreeSet<&str> = chosen.iter().map(|n| list[usize::from(*n) % list.len()]).collect();
    set.into_iter().collect()
}

/// Whom a reference stands for.
fn row(who: u8) -> DirectoryRow {
    DirectoryRow { principal: format!("acme/person-{who}"), reference: format!("{who:032x}") }
}

/// Writes the life into a log.
async fn live(log: &Log, steps: &[Step]) {
    let mut now = START;
    let mut open: Vec<(u64, String, &str)> = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        now = now.plus_millis(1);
        let common = Common { time: now, ..log.common() };
        let draft = |kind: Kind, of: Option<&str>, members: Vec<(&'static str, Value)>| {
            Draft::new(kind, &common, of.map(organisation).as_ref(), members, vec![]).unwrap()
        };
        match step {
            Step::Wait(millis) => now = now.plus_millis(*millis),
            Step::Policy => {
                log.append(draft(Kind::Policy, None, vec![("event", Value::text("activated"))])).await.unwrap();
            }
            Step::Refused(reason, country) => {
                let mut members = vec![("reasons", Value::texts(pick(&REASONS, &[*reason])))];
                members.extend(member_of(*country));
                log.append(draft(Kind::RefusedLogin, None, members)).await.unwrap();
            }
            Step::RefusedMany(counts) => {
                let counts = Value::object(counts.iter().map(|(r, n)| (REASONS[usize::from(*r)], Value::int(*n))));
                log.append(draft(Kind::RefusedLogins, None, vec![("counts", counts)])).await.unwrap();
            }
            Step::Decision { who, organisation, what, reasons, policies, actor, country } => {
                let allowed = reasons.is_empty();
                let request = format!("r{n}");
                let mut members = vec![
                    ("action", Value::text(["read", "readSeries"][usize::from(*what % 2)])),
                    ("decision", Value::text(if allowed { "allow" } else { "deny" })),
                    ("policies", Value::texts(pick(&POLICIES, policies))),
                    ("principal", Value::text(format!("{who:032x}"))),
                    ("request", Value::text(request.as_str())),
                    ("resource", Value::text(format!("Dataset/d{what}"))),
                ];
                if !allowed {
                    members.push(("reasons", Value::texts(pick(&REASONS, reasons))));
                }
                if what % 3 > 0 {
                    members.push(("product", Value::text(format!("p{what}"))));
                    members.push(("agreement", Value::text(["a1", "a2"][usize::from(*who % 2)])));
                    members.push(("purpose", Value::text("maintenance")));
                }
                members.extend(member_of(*country));
                let acts = *actor;
                let actor = actor.map(|actor| {
                    Value::object([
                        ("principal", Value::text(format!("{actor:032x}"))),
                        ("agreement", Value::text("a3")),
                    ])
                });
                members.extend(actor.map(|actor| ("actors", Value::Array(vec![actor]))));
                let name = ORGANISATIONS[usize::from(*organisation)];
                let mut draft = draft(Kind::Decision, Some(name), members);
                draft.directory = [Some(*who), acts].into_iter().flatten().map(row).collect();
                if allowed {
                    draft.effect = Effect::Opens;
                }
                let appended = log.append(draft).await.unwrap();
                if allowed {
                    open.push((appended.index, request, name));
                }
            }
            Step::Outcome { back, complete, bytes } => {
                let Some(at) = open.len().checked_sub(1 + usize::from(*back)) else { continue };
                let (of, request, name) = open.remove(at);
                let members = vec![
                    ("bytes", Value::int(*bytes)),
                    ("ended", Value::text(if *complete { "complete" } else { "caller_aborted" })),
                    ("of", Value::int(of.try_into().unwrap())),
                    ("request", Value::text(request)),
                    ("rows", Value::int(bytes / 10)),
                ];
                let mut draft = draft(Kind::Outcome, Some(name), members);
                draft.effect = Effect::Closes(of);
                log.append_outcome(draft).await.unwrap();
            }
        }
    }
}

/// Lets the log's questions use an index over so many blocks; all if there are fewer.
async fn index(log: &Log, dir: &Path, blocks: usize) -> u64 {
    let mut building = Building::open(dir, log.inner.reader.clone(), log.origin()).await.unwrap();
    for _ in 0..blocks {
        if !building.advance().await.unwrap() {
            break;
        }
    }
    let size = building.size();
    let index = Index::open(dir, Arc::new(AtomicU64::new(size)), 0).await.unwrap();
    let before = log.inner.index.write().unwrap().replace(index);
    if let Some(before) = before {
        before.close().await;
    }
    size
}

fn queries(end: Timestamp) -> Vec<Query> {
    let text = |text: &str| Some(text.to_owned());
    let base = Query { limit: 1000, ..Query::default() };
    let middle = Timestamp(START.millis().midpoint(end.millis()));
    vec![
        base.clone(),
        Query { organisation: Some(organisation("acme")), ..base.clone() },
        Query { organisation: Some(organisation("nobody")), ..base.clone() },
        Query { principal: Some(format!("{:032x}", 2)), ..base.clone() },
        Query { principal: Some(format!("{:032x}", 2)), resource: text("Dataset/d1"), ..base.clone() },
        Query { resource: text("Dataset/d4"), decision: text("deny"), ..base.clone() },
        Query { decision: text("allow"), ..base.clone() },
        Query { decision: text("allow"), organisation: Some(organisation("borealis")), ..base.clone() },
        Query { reason: text("purpose_unknown"), ..base.clone() },
        Query { policy: text("forbid-night"), decision: text("allow"), ..base.clone() },
        Query { product: text("p4"), ..base.clone() },
        Query { agreement: text("a2"), ..base.clone() },
        Query { agreement: text("a3"), action: text("readSeries"), ..base.clone() },
        Query { purpose: text("maintenance"), from: Some(middle), ..base.clone() },
        Query { ended: text("caller_aborted"), ..base.clone() },
        Query { ended: text("complete"), ..base.clone() },
        Query { country: text("SE"), ..base.clone() },
        Query { country: text("FR"), organisation: Some(organisation("acme")), decision: text("deny"), ..base.clone() },
        Query { country: text("XX"), ..base.clone() },
        Query { kind: Some(Kind::Policy), ..base.clone() },
        Query { kind: Some(Kind::Outcome), to: Some(middle), ..base.clone() },
        Query { request: text("r17"), ..base.clone() },
        Query { request: text("r17"), organisation: Some(organisation("acme")), ..base.clone() },
        Query { request: text("nonsense"), ..base.clone() },
        Query { organisation: Some(organisation("acme")), from: Some(middle), to: Some(end), ..base.clone() },
        Query { organisation: Some(organisation("acme")), after: Some(70), before: Some(150), ..base.clone() },
        Query { from: Some(end.plus_millis(DAY_MS)), ..base.clone() },
        Query { open_at: Some(middle), ..base.clone() },
        Query { open_at: Some(end.plus_millis(10 * DAY_MS)), organisation: Some(organisation("acme")), ..base },
    ]
}

/// Said anew: an exchange of a second or more that had begun and not ended.
fn was_open(index: u64, entries: &[Entry], at: Timestamp) -> bool {
    let entry = &entries[usize::try_from(index).unwrap()];
    if entry.kind != Kind::Decision || entry.text("decision") != Some("allow") {
        return false;
    }
    let outcome = entries.iter().find(|e| e.get("of").and_then(Value::as_int) == Some(index.try_into().unwrap()));
    let until = outcome.map(|outcome| outcome.time);
    let is_long = until.is_none_or(|until| until.millis() - entry.time.millis() >= 1000);
    is_long && entry.time <= at && until.is_none_or(|until| until > at)
}

/// Said anew: every entry, one after the other.
fn matches(query: &Query, entry: &Entry) -> bool {
    let texts = |name: &str| match entry.get(name) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_text).collect::<Vec<_>>(),
        _ => vec![],
    };
    let of_actors = |name: &str, wanted: &str| match entry.get("actors") {
        Some(Value::Array(actors)) => actors.iter().any(|a| a.get(name).and_then(Value::as_text) == Some(wanted)),
        _ => false,
    };
    let is = |name: &str, wanted: &Option<String>| wanted.is_none() || entry.text(name) == wanted.as_deref();
    let one_of = |name: &str, wanted: &Option<String>| {
        wanted.as_deref().is_none_or(|wanted| entry.text(name) == Some(wanted) || of_actors(name, wanted))
    };
    query.from.is_none_or(|from| entry.time >= from)
        && query.to.is_none_or(|to| entry.time < to)
        && (query.organisation.is_none() || query.organisation == entry.organisation)
        && query.kind.is_none_or(|kind| kind == entry.kind)
        && one_of("principal", &query.principal)
        && one_of("agreement", &query.agreement)
        && ["resource", "decision", "request", "product", "action", "purpose", "ended", "country"]
            .into_iter()
            .zip([
                &query.resource,
                &query.decision,
                &query.request,
                &query.product,
                &query.action,
                &query.purpose,
                &query.ended,
                &query.country,
            ])
            .all(|(name, wanted)| is(name, wanted))
        && query.policy.as_deref().is_none_or(|policy| texts("policies").contains(&policy))
        && query.reason.as_deref().is_none_or(|reason| texts("reasons").contains(&reason))
}

async fn ask(log: &Log, query: &Query) -> Vec<u64> {
    let (mut query, mut found) = (query.clone(), Vec::new());
    loop {
        let page = log.query(&query).await.unwrap();
        found.extend(page.entries.iter().map(|found| found.index));
        match page.next {
            None => return found,
            Some(next) if query.newest_first => query.before = Some(next),
            Some(next) => query.after = Some(next),
        }
    }
}

fn summaries(end: Timestamp) -> Vec<Summary> {
    let midnight = |time: Timestamp| Timestamp(time.millis() / DAY_MS * DAY_MS);
    let middle = midnight(Timestamp(START.millis().midpoint(end.millis())));
    let base = Summary { limit: 1000, ..Summary::default() };
    let of = |dimensions: &[Dimension]| dimensions.iter().map(|d| By::Of(*d)).collect::<Vec<_>>();
    vec![
        base.clone(),
        Summary { by: vec![By::Day], ..base.clone() },
        Summary { by: vec![By::Week, By::Of(Dimension::Organisation)], ..base.clone() },
        Summary { by: vec![By::Month], from: Some(middle), ..base.clone() },
        Summary { by: of(&[Dimension::Agreement]), organisation: Some(organisation("acme")), ..base.clone() },
        Summary { by: of(&[Dimension::Reason]), only: vec![(Dimension::Decision, "deny".into())], ..base.clone() },
        Summary { by: of(&[Dimension::Policy, Dimension::Organisation]), to: Some(middle), ..base.clone() },
        Summary {
            by: of(&[Dimension::Reason]),
            only: vec![(Dimension::Reason, "not_permitted".into())],
            ..base.clone()
        },
        Summary { by: of(&[Dimension::Principal, Dimension::Resource]), from: Some(middle), new: true, ..base.clone() },
        Summary { only: vec![(Dimension::Resource, "Dataset/none".into())], ..base.clone() },
        Summary { by: of(&[Dimension::Country, Dimension::Decision]), ..base.clone() },
        Summary { by: of(&[Dimension::Principal, Dimension::Country]), from: Some(middle), new: true, ..base.clone() },
        Summary { by: of(&[Dimension::Principal]), only: vec![(Dimension::Country, "FR".into())], ..base.clone() },
        Summary { only: vec![(Dimension::Country, String::new())], ..base.clone() },
        Summary { by: of(&[Dimension::Decision]), only: vec![(Dimension::Agreement, String::new())], ..base.clone() },
        Summary { only: vec![(Dimension::Reason, String::new())], ..base.clone() },
        Summary { by: of(&[Dimension::Kind, Dimension::Decision]), ..base },
    ]
}

/// Said anew.
fn counted(summary: &Summary, entries: &[Entry]) -> BTreeMap<Vec<String>, Measures> {
    let mut rows: BTreeMap<Vec<String>, Measures> = BTreeMap::new();
    let outcomes: BTreeMap<i64, &Entry> =
        entries.iter().filter_map(|e| Some((e.get("of").and_then(Value::as_int)?, e))).collect();
    for (index, entry) in (0_u64..).zip(entries) {
        let mut counts: Vec<(Option<String>, i64)> = vec![(None, 1)];
        match entry.kind {
            Kind::Decision | Kind::RefusedLogin => {}
            Kind::RefusedLogins => {
                let Some(Value::Object(of)) = entry.get("counts") else { panic!() };
                counts = of.iter().map(|(reason, n)| (Some(reason.to_owned()), n.as_int().unwrap())).collect();
            }
            _ => continue,
        }
        let outcome = outcomes.get(&i64::try_from(index).unwrap());
        for (refused, times) in counts {
            let list = |name: &str| match entry.get(name) {
                Some(Value::Array(items)) if !items.is_empty() => {
                    items.iter().map(|i| i.as_text().unwrap().to_owned()).collect()
                }
                _ => vec![String::new()],
            };
            let text = |name: &str| vec![entry.text(name).unwrap_or_default().to_owned()];
            let login = matches!(entry.kind, Kind::RefusedLogin | Kind::RefusedLogins);
            let values = |dimension: Dimension| match dimension {
                Dimension::Kind if login => vec![String::from("refused_login")],
                Dimension::Decision if login => vec![String::from("deny")],
                Dimension::Reason => refused.clone().map_or_else(|| list("reasons"), |reason| vec![reason]),
                Dimension::Policy => list("policies"),
                Dimension::Organisation => {
                    vec![entry.organisation.as_ref().map(ToString::to_string).unwrap_or_default()]
                }
                Dimension::Principal if !login => {
                    vec![row(u8::from_str_radix(entry.text("principal").unwrap(), 16).unwrap()).principal]
                }
                other => text(other.as_str()),
            };
            let day = Timestamp(entry.time.millis() / DAY_MS * DAY_MS);
            let wanted = summary
                .only
                .iter()
                .cloned()
                .chain(summary.organisation.iter().map(|id| (Dimension::Organisation, id.to_string())));
            let mut selected = wanted.clone().all(|(dimension, value)| values(dimension).contains(&value));
            selected &= summary.to.is_none_or(|to| day < to);
            selected &= summary.new || summary.from.is_none_or(|from| day >= from);
            if !selected {
                continue;
            }
            let mut groups = vec![vec![]];
            for by in &summary.by {
                let date = |time: Timestamp| time.to_rfc3339().split('T').next().unwrap().to_owned();
                let parts = match by {
                    By::Day => vec![date(day)],
                    By::Week => {
                        // 1970-01-05 was a Monday.
                        let since = (day.millis() / DAY_MS - 4) % 7;
                        vec![date(day.plus_millis(-since * DAY_MS))]
                    }
                    By::Month => vec![date(day).rsplit_once('-').unwrap().0.to_owned()],
                    By::Of(dimension) => {
                        let asked = wanted.clone().find(|(one, _)| one == dimension).map(|(_, value)| value);
                        values(*dimension)
                            .into_iter()
                            .filter(|v| asked.as_ref().is_none_or(|asked| asked == v))
                            .collect()
                    }
                };
                groups = groups
                    .into_iter()
                    .flat_map(|g: Vec<String>| parts.iter().map(move |p| [g.clone(), vec![p.clone()]].concat()))
                    .collect();
            }
            for group in groups {
                let row = rows.entry(group).or_default();
                if row.decisions == 0 {
                    (row.first_index, row.first_time) = (index.try_into().unwrap(), entry.time.millis());
                }
                row.decisions += times;
                if let Some(outcome) = outcome {
                    let int = |name: &str| outcome.get(name).and_then(Value::as_int).unwrap_or(0);
                    row.ended += 1;
                    row.complete += i64::from(outcome.text("ended") == Some("complete"));
                    row.bytes += int("bytes");
                    row.rows += int("rows");
                }
            }
        }
    }
    if summary.new {
        rows.retain(|_, row| Timestamp(row.first_time) >= summary.from.unwrap());
    }
    rows
}

async fn compare(log: &Log, entries: &[Entry], limits: &[usize], said: &str) {
    let end = entries.iter().map(|entry| entry.time).max().unwrap();
    for query in queries(end) {
        for newest_first in [true, false] {
            for limit in limits {
                let query = Query { newest_first, limit: *limit, ..query.clone() };
                let within =
                    |index: &u64| query.after.is_none_or(|a| *index > a) && query.before.is_none_or(|b| *index < b);
                let numbered = (0_u64..).zip(entries).filter(|(index, entry)| within(index) && matches(&query, entry));
                let mut expected: Vec<u64> = numbered.map(|(index, _)| index).collect();
                if let Some(at) = query.open_at {
                    expected.retain(|index| was_open(*index, entries, at));
                }
                if newest_first {
                    expected.reverse();
                }
                assert_eq!(ask(log, &query).await, expected, "{said}: {query:?}");
            }
        }
    }
    for summary in summaries(end) {
        let table = log.summary(&summary).await.unwrap();
        let found: BTreeMap<Vec<String>, Measures> =
            table.rows.iter().map(|row| (row.group.clone(), row.measures)).collect();
        assert_eq!(found, counted(&summary, entries), "{said}: {summary:?}");
        assert_eq!(table.left_out, 0);
    }
}

/// Denials over so many blocks and a few more, of acme and borealis in turn; how many.
async fn fill_blocks(log: &Log, blocks: usize) -> usize {
    let count = blocks * usize::try_from(BLOCK).unwrap() + 8;
    for done in (0..count).step_by(512) {
        fill(log, (count - done).min(512)).await;
    }
    count
}

/// Entries about policies, as many.
async fn policies(log: &Log, count: usize) {
    for done in (0..count).step_by(512) {
        let drafts = (done..count.min(done + 512)).map(|_| {
            let members = [("event", Value::text("activated"))];
            log.append(Draft::new(Kind::Policy, &log.common(), None, members, vec![]).unwrap())
        });
        for appended in futures_util::future::join_all(drafts).await {
            appended.unwrap();
        }
    }
}

/// What is wrong with a log and the index beside it.
async fn findings(home: &Home) -> Vec<fsck::Finding> {
    let beside = fsck::Beside { published: None, index: Some(home.directory().to_owned()) };
    fsck::check(home.path(), beside, |_, _| {}).await.unwrap().findings
}

async fn vandalise_index(dir: &Path, sql: &'static str) {
    assert!(executed(&dir.join("index.db"), sql).await > 0, "{sql}");
}

/// Nothing that a question of acme's needs can be read any longer.
const DAMAGE: &str = "UPDATE posting SET positions = x'010203'";

async fn executed(database: &Path, sql: impl Into<String>) -> u64 {
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(database).connect().await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    done.rows_affected()
}

/// One of those that the strategy beside this draws, the same every time: where a PostgreSQL is started there is no proptest.
fn drawn_step(drawn: &mut Drawn) -> Step {
    let one = |drawn: &mut Drawn, end: usize| u8::try_from(drawn.below(end)).unwrap();
    let some = |drawn: &mut Drawn, end: usize| (0..drawn.below(3)).map(|_| one(drawn, end)).collect::<Vec<u8>>();
    match drawn.below(17) {
        0..6 => Step::Decision {
            who: one(drawn, 4),
            organisation: one(drawn, 3),
            what: one(drawn, 5),
            reasons: some(drawn, 3),
            policies: some(drawn, 4),
            actor: Some(one(drawn, 8)).filter(|who| *who < 4),
            country: one(drawn, 4),
        },
        6..11 => {
            Step::Outcome { back: one(drawn, 6), complete: drawn.below(2) == 0, bytes: i64::from(one(drawn, 250)) }
        }
        11 => Step::Refused(one(drawn, 3), one(drawn, 4)),
        12 => Step::RefusedMany(some(drawn, 3).into_iter().map(|reason| (reason, 1 + i64::from(reason))).collect()),
        13 => Step::Policy,
        14 => Step::Wait(DAY_MS / 3 * (1 + i64::from(one(drawn, 2)))),
        _ => Step::Wait(i64::from(one(drawn, 250)) * 20 - 2_000),
    }
}

pub async fn what_is_read_from_the_store_by_an_index_is_what_a_reader_of_everything_finds(stand: &Stand) {
    let home = stand.home().await;
    let log = open(home.path()).await;
    // A block ends in the middle of what happens, and exchanges of one end in the other.
    policies(&log, usize::try_from(BLOCK).unwrap().saturating_sub(100)).await;
    let mut drawn = Drawn::new(7);
    let steps: Vec<Step> = (0..250).map(|_| drawn_step(&mut drawn)).collect();
    live(&log, &steps).await;
    assert!(index(&log, home.directory(), usize::MAX).await >= BLOCK);
    let entries = read_all(home.path()).await.entries;
    compare(&log, &entries, &[1000], "indexed").await;
    log.close().await;
    assert_eq!(findings(&home).await, []);
}

pub async fn the_index_of_another_log_or_of_nothing_is_built_anew(stand: &Stand) {
    let (home, other) = (stand.home().await, stand.home().await);
    let log = open(home.path()).await;
    fill_blocks(&log, 1).await;
    assert_eq!(index(&log, home.directory(), usize::MAX).await, BLOCK);
    log.close().await;
    let log = open(other.path()).await;
    let count = usize::try_from(BLOCK).unwrap() + 8;
    policies(&log, count).await;
    std::fs::copy(home.directory().join("index.db"), other.directory().join("index.db")).unwrap();
    index(&log, other.directory(), usize::MAX).await;
    let query = Query { kind: Some(Kind::Policy), limit: 1000, ..Query::default() };
    assert_eq!(ask(&log, &query).await.len(), count);
    log.close().await;
    std::fs::write(home.directory().join("index.db"), "nonsense, long enough to be the header of something").unwrap();
    let log = open(home.path()).await;
    assert_eq!(index(&log, home.directory(), usize::MAX).await, BLOCK);
    log.close().await;
    assert_eq!(findings(&home).await, []);
}

pub async fn a_log_that_cannot_be_read_for_a_moment_does_not_cost_its_index(stand: &Stand) {
    let home = stand.home().await;
    let log = open(home.path()).await;
    fill_blocks(&log, 1).await;
    index(&log, home.directory(), usize::MAX).await;
    log.close().await;
    let log = open(home.path()).await;
    let opened = || Building::open(home.directory(), log.inner.reader.clone(), log.origin());
    rename_bundles(home.path(), "bundle", "away").await;
    let failed = opened().await;
    assert!(matches!(failed, Err(ReadError::Store(_))), "{failed:?}");
    rename_bundles(home.path(), "away", "bundle").await;
    assert_eq!(opened().await.unwrap().size(), BLOCK);
    log.close().await;
}

/// Waits until questions use an index over so many entries.
async fn until_kept(log: &Log, size: u64) -> Index {
    let kept = async {
        loop {
            match log.index().filter(|index| index.size() >= size) {
                Some(index) => break index,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), kept).await.unwrap()
}

fn of_acme() -> Query {
    Query { organisation: Some(organisation("acme")), limit: 1000, ..Query::default() }
}

pub async fn a_log_that_cannot_be_read_takes_its_index_from_nobody(stand: &Stand) {
    let home = stand.home().await;
    let log = open(home.path()).await;
    let indexer = tokio::spawn(log.indexer(home.directory()).run());
    let count = fill_blocks(&log, 1).await;
    let index = until_kept(&log, BLOCK).await;
    rename_bundles(home.path(), "bundle", "away").await;
    assert!(matches!(log.query(&of_acme()).await, Err(ReadError::Store(_))));
    assert!(matches!(log.summary(&Summary::default()).await, Err(SummaryError::Read(ReadError::Store(_)))));
    assert!(log.index().is_some(), "it goes on being used");
    rename_bundles(home.path(), "away", "bundle").await;
    assert_eq!(ask(&log, &of_acme()).await.len(), count / 2);
    fill_blocks(&log, 1).await;
    until_kept(&log, 2 * BLOCK).await;
    assert_eq!(index.size(), 2 * BLOCK, "by the same one");
    log.close().await;
    indexer.await.unwrap();
}

pub async fn a_question_that_began_with_an_index_which_was_replaced_is_answered_and_harms_nothing(stand: &Stand) {
    let (home, other) = (stand.home().await, tempfile::tempdir().unwrap());
    let log = open(home.path()).await;
    let found = (fill_blocks(&log, 1).await / 2).min(1000);
    index(&log, other.path(), usize::MAX).await;
    let closed = log.index();
    index(&log, home.directory(), usize::MAX).await;
    assert_eq!(log.query_with(&of_acme(), closed).await.unwrap().entries.len(), found);
    assert!(log.index().is_some(), "the one that is in use was not what failed");
    vandalise_index(other.path(), DAMAGE).await;
    let damaged = Index::open(other.path(), Arc::new(AtomicU64::new(BLOCK)), 0).await.unwrap();
    assert_eq!(log.query_with(&of_acme(), Some(damaged.clone())).await.unwrap().entries.len(), found);
    assert!(!damaged.is_sound() && log.index().is_some());
    log.close().await;
}

pub async fn two_do_not_write_one_index(stand: &Stand) {
    let home = stand.home().await;
    let log = open(home.path()).await;
    let first = Building::open(home.directory(), log.inner.reader.clone(), log.origin()).await.unwrap();
    let second = Building::open(home.directory(), log.inner.reader.clone(), log.origin()).await;
    assert!(matches!(second, Err(ReadError::IndexInUse { .. })));
    drop(first);
    log.close().await;
}

pub async fn an_open_log_keeps_its_index_and_lets_go_of_it(stand: &Stand) {
    let home = stand.home().await;
    let log = open(home.path()).await;
    let indexer = tokio::spawn(log.indexer(home.directory()).run());
    let count = fill_blocks(&log, 1).await;
    // What is written goes on being indexed.
    until_kept(&log, BLOCK).await;
    assert_eq!(ask(&log, &of_acme()).await.len(), count / 2);
    log.close().await;
    indexer.await.unwrap();
    assert_eq!(crate::index::build(home.path(), home.directory(), true, |_, _| {}).await.unwrap(), BLOCK);
    assert_eq!(findings(&home).await, []);
}

/// Refusals of acme, one a step, about `resource`.
async fn refused(log: &Log, times: impl IntoIterator<Item = Timestamp>, resource: impl Fn(usize) -> String) {
    let drafts = times.into_iter().enumerate().map(|(n, time)| {
        let members = [("decision", Value::text("deny")), ("resource", Value::text(resource(n)))];
        let common = Common { time, ..log.common() };
        log.append(Draft::new(Kind::AuditRead, &common, Some(&organisation("acme")), members, vec![]).unwrap())
    });
    for appended in futures_util::future::join_all(drafts).await {
        appended.unwrap();
    }
}

pub async fn organisations_that_a_stranger_makes_up_do_not_fill_the_index(stand: &Stand) {
    let home = stand.home().await;
    let log = open(home.path()).await;
    refused(&log, std::iter::repeat_n(START, 600), |n| format!("AuditScope/made-up-{n}")).await;
    index(&log, home.directory(), usize::MAX).await;
    let by_resource = Summary { by: vec![By::Of(Dimension::Resource)], limit: 10, ..Summary::default() };
    let table = log.summary(&by_resource).await.unwrap();
    assert_eq!((table.rows.len(), table.rows[0].group[0].as_str(), table.rows[0].measures.decisions), (1, "", 600));
    // They are found all the same.
    let query = Query { resource: Some("AuditScope/made-up-7".into()), ..Query::default() };
    assert_eq!(log.query(&query).await.unwrap().entries.len(), 1);
    log.close().await;
}

pub async fn refused_readings_are_counted_by_what_they_were_to_read(stand: &Stand) {
    let home = stand.home().await;
    let log = open(home.path()).await;
    let scopes = ["AuditScope/*", "AuditScope/borealis", "AuditScope/acme", "AuditScope/made-up", "Dataset/d"];
    let many = || refused(&log, std::iter::repeat_n(START, 50), |n| scopes[n % 5].to_owned());
    // Borealis has no entries by then.
    many().await;
    log.append(deny(&log, "borealis", "r1")).await.unwrap();
    many().await;
    let counted = async |resource: &str| {
        let only = vec![(Dimension::Resource, resource.to_owned()), (Dimension::Decision, String::from("deny"))];
        let table = log.summary(&Summary { only, limit: 10, ..Summary::default() }).await.unwrap();
        table.rows.iter().map(|row| row.measures.decisions).sum::<i64>()
    };
    for blocks in [0, 1, usize::MAX] {
        index(&log, home.directory(), blocks).await;
        let mut found = Vec::new();
        for scope in scopes {
            found.push(counted(scope).await);
        }
        assert_eq!(found, [20, 10, 20, 0, 20], "{blocks} blocks");
        let by = vec![By::Of(Dimension::Resource)];
        let table = log.summary(&Summary { by, limit: 10, ..Summary::default() }).await.unwrap();
        let nothing = table.rows.iter().find(|row| row.group == [""]).unwrap();
        // The organisation that there is not, the one without entries, and the decision of its own.
        assert_eq!(nothing.measures.decisions, 20 + 10 + 1);
    }
    log.close().await;
}

/// What is about the index's own files, its bounds and its times, which have other values outside of unit tests: the store has no
/// part in it.
#[cfg(test)]
mod on_files {
    use super::*;
    use proptest::prelude::*;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..4_u8, 0..3_u8, 0..5_u8, prop::collection::vec(0..3_u8, 0..3), prop::collection::vec(0..4_u8, 0..3), prop::option::of(0..4_u8), 0..4_u8)
                .prop_map(|(who, organisation, what, reasons, policies, actor, country)| Step::Decision { who, organisation, what, reasons, policies, actor, country }),
            5 => (0..6_u8, any::<bool>(), 0..1000_i64).prop_map(|(back, complete, bytes)| Step::Outcome { back, complete, bytes }),
            1 => (0..3_u8, 0..4_u8).prop_map(|(reason, country)| Step::Refused(reason, country)),
            1 => prop::collection::vec((0..3_u8, 1..9_i64), 0..3).prop_map(Step::RefusedMany),
            1 => Just(Step::Policy),
            3 => prop_oneof![0..3_000_i64, -2_000..0_i64, DAY_MS / 3..DAY_MS].prop_map(Step::Wait),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3, ..ProptestConfig::default() })]

        #[test]
        fn with_an_index_half_of_one_or_none_the_answers_are_those_of_a_reader_of_everything(
            steps in prop::collection::vec(step(), 200..300),
        ) {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let dir = tempfile::tempdir().unwrap();
                let log = open(dir.path()).await;
                live(&log, &steps).await;
                let entries = read_all(dir.path()).await.entries;
                compare(&log, &entries, &[1000, 23], "no index").await;
                let half = index(&log, dir.path(), 2).await;
                compare(&log, &entries, &[1000, 23], &format!("{half} entries indexed")).await;
                // Goes on where it was, as after a restart.
                let all = index(&log, dir.path(), usize::MAX).await;
                assert_eq!(all, entries.len() as u64 / 64 * 64);
                compare(&log, &entries, &[1000, 23], "all indexed").await;
                log.close().await;
                let report = fsck::check(dir.path(), None, |_, _| {}).await.unwrap();
                assert_eq!(report.findings, []);
            });
        }
    }

    /// A log with an index over it, closed.
    async fn indexed(dir: &Path) {
        let log = open(dir).await;
        let decision = |n: u8| Step::Decision {
            who: n % 3,
            organisation: n % 2,
            what: n % 5,
            reasons: vec![],
            policies: vec![n % 4],
            actor: None,
            country: n % 4,
        };
        let end = Step::Outcome { back: 0, complete: true, bytes: 70 };
        let steps: Vec<Step> = (0..100).flat_map(|n| [decision(n), Step::Wait(1500), end.clone()]).collect();
        live(&log, &[steps, vec![decision(1)]].concat()).await;
        index(&log, dir, usize::MAX).await;
        log.close().await;
    }

    /// As it was before cells told countries apart.
    const FORMAT_1: &str = "
        CREATE TABLE older AS SELECT day, kind, organisation, principal, resource, product, agreement, action, purpose, decision,
            reasons, policies, decisions, ended, complete, bytes, rows, first_index, first_time FROM cell;
        DROP TABLE cell;
        ALTER TABLE older RENAME TO cell;
        DELETE FROM posting WHERE term IN (SELECT id FROM term WHERE facet = 15);
        DELETE FROM term WHERE facet = 15;
        PRAGMA user_version = 1;
    ";

    #[tokio::test]
    async fn an_altered_missing_or_extra_row_of_the_index_is_found() {
        for (sql, table, entries) in [
            (
                "UPDATE posting SET positions = x'0001' WHERE block = 1 AND term = (SELECT min(term) FROM posting WHERE block = 1)",
                "posting",
                (64, 127),
            ),
            (
                "DELETE FROM posting WHERE block = 2 AND term = (SELECT max(term) FROM posting WHERE block = 2)",
                "posting",
                (128, 191),
            ),
            ("INSERT INTO posting VALUES (9999, 0, x'0005')", "posting", (0, 63)),
            ("UPDATE request SET marks = zeroblob(256) WHERE block = 1", "request", (64, 127)),
            ("UPDATE cell SET bytes = bytes + 1 WHERE organisation > 0", "cell", (0, 191)),
            ("UPDATE term SET value = 'borealis2' WHERE value = 'borealis'", "term", (0, 191)),
            ("DELETE FROM hour", "hour", (0, 191)),
            ("DELETE FROM span WHERE decision = 1", "span", (1, 1)),
        ] {
            let dir = tempfile::tempdir().unwrap();
            indexed(dir.path()).await;
            vandalise_index(dir.path(), sql).await;
            let report = fsck::check(dir.path(), None, |_, _| {}).await.unwrap();
            let about = report.findings.iter().find(|finding| finding.what.contains(&format!("`{table}`")));
            let about = about.unwrap_or_else(|| panic!("{sql}: {:?}", report.findings));
            assert_eq!((about.first_index, about.last_index), entries, "{sql}: {about}");
            assert!(!dir.path().join(format!("index-check-{}", std::process::id())).exists());
        }
    }

    #[tokio::test]
    async fn an_index_that_lies_shows_nothing_that_the_log_does_not_have() {
        let dir = tempfile::tempdir().unwrap();
        indexed(dir.path()).await;
        // Everything of borealis is said to be of acme.
        vandalise_index(
            dir.path(),
            "UPDATE term SET value = 'x' WHERE value = 'acme'; UPDATE term SET value = 'acme' WHERE value = 'borealis'",
        )
        .await;
        let log = open(dir.path()).await;
        index(&log, dir.path(), usize::MAX).await;
        let query =
            Query { organisation: Some(organisation("acme")), before: Some(128), limit: 1000, ..Query::default() };
        assert_eq!(log.query(&query).await.unwrap().entries, []);
        log.close().await;
    }

    #[tokio::test]
    async fn an_index_of_an_older_format_is_nothing_wrong_and_is_built_anew() {
        let dir = tempfile::tempdir().unwrap();
        indexed(dir.path()).await;
        vandalise_index(dir.path(), FORMAT_1).await;
        assert_eq!(fsck::check(dir.path(), None, |_, _| {}).await.unwrap().findings, []);
        let log = open(dir.path()).await;
        assert_eq!(index(&log, dir.path(), usize::MAX).await, 192);
        let by = Summary { by: vec![By::Of(Dimension::Country)], limit: 10, ..Summary::default() };
        let mut rows = log.summary(&by).await.unwrap().rows;
        rows.sort_by(|a, b| a.group.cmp(&b.group));
        let counted: Vec<_> = rows.iter().map(|row| (row.group[0].as_str(), row.measures.decisions)).collect();
        assert_eq!(counted, [("", 25), ("DE", 25), ("FR", 26), ("SE", 25)]);
        log.close().await;
        assert_eq!(fsck::check(dir.path(), None, |_, _| {}).await.unwrap().findings, []);
    }

    #[tokio::test]
    async fn questions_that_fail_together_with_a_damaged_index_are_all_answered_and_it_is_built_anew() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).await;
        let indexer = tokio::spawn(log.indexer(dir.path()).run());
        fill(&log, 200).await;
        until_kept(&log, 128).await;
        vandalise_index(dir.path(), DAMAGE).await;
        let query = of_acme();
        let pages = tokio::join!(log.query(&query), log.query(&query), log.query(&query));
        for page in [pages.0, pages.1, pages.2] {
            assert_eq!(page.unwrap().entries.len(), 100);
        }
        // The one that comes in its place is another one, and not the same once more.
        let anew = until_kept(&log, 128).await;
        assert_eq!(log.query(&query).await.unwrap().entries.len(), 100);
        assert!(anew.is_sound());
        log.close().await;
        indexer.await.unwrap();
        assert_eq!(fsck::check(dir.path(), None, |_, _| {}).await.unwrap().findings, []);
    }

    #[tokio::test]
    async fn an_index_that_is_replaced_under_a_running_log_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).await;
        let indexer = tokio::spawn(log.indexer(dir.path()).run());
        fill(&log, 200).await;
        let before = until_kept(&log, 192).await;
        // An index of this log, which lies: whoever goes on with the old one writes to where nobody reads, and whoever goes on
        // with this one counts wrongly.
        let (path, copy) = (dir.path().join("index.db"), dir.path().join("copy"));
        executed(&path, format!("VACUUM INTO '{}'", copy.display())).await;
        executed(&copy, "UPDATE cell SET decisions = decisions + 1").await;
        std::fs::rename(&copy, &path).unwrap();
        let until = async {
            while !before.is_closed() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), until).await.unwrap();
        fill(&log, 200).await;
        until_kept(&log, 384).await;
        assert_eq!(log.query(&of_acme()).await.unwrap().entries.len(), 200);
        log.close().await;
        indexer.await.unwrap();
        assert_eq!(fsck::check(dir.path(), None, |_, _| {}).await.unwrap().findings, []);
    }

    #[tokio::test]
    async fn a_summary_of_more_groups_than_fit_is_refused_whatever_is_indexed() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).await;
        let draft = |n: usize| {
            let members = [("decision", Value::text("deny")), ("resource", Value::text(format!("Dataset/d{n}")))];
            Draft::new(Kind::Decision, &log.common(), Some(&organisation("acme")), members, vec![]).unwrap()
        };
        let by = |dimension| Summary { by: vec![By::Of(dimension)], limit: 10, ..Summary::default() };
        for n in 0..501 {
            log.append(draft(n)).await.unwrap();
        }
        for blocks in [0, 1, usize::MAX] {
            index(&log, dir.path(), blocks).await;
            let refused = log.summary(&by(Dimension::Resource)).await;
            assert!(matches!(refused, Err(SummaryError::TooMany)), "{refused:?}");
            let table = log.summary(&by(Dimension::Organisation)).await.unwrap();
            assert_eq!(table.rows[0].measures.decisions, 501);
        }
        log.close().await;
    }

    #[tokio::test]
    async fn a_summary_by_month_counts_every_day_however_many_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).await;
        // More pairs of day and resource than groups may be, in a few months.
        let times = (0..700).map(|n| Timestamp(START.millis() + n / 10 * DAY_MS));
        refused(&log, times, |n| format!("Dataset/d{}", n % 10)).await;
        index(&log, dir.path(), usize::MAX).await;
        for by in [By::Month, By::Week] {
            let summary = Summary { by: vec![by, By::Of(Dimension::Resource)], limit: 1000, ..Summary::default() };
            let table = log.summary(&summary).await.unwrap();
            assert_eq!(table.rows.iter().map(|row| row.measures.decisions).sum::<i64>(), 700, "{by:?}");
            assert!(table.rows.len() < 500 && table.left_out == 0);
        }
        let daily = Summary { by: vec![By::Day, By::Of(Dimension::Resource)], limit: 1000, ..Summary::default() };
        assert!(matches!(log.summary(&daily).await, Err(SummaryError::TooMany)));
        log.close().await;
    }

    #[tokio::test]
    async fn an_index_of_an_earlier_format_is_built_anew_and_is_no_finding() {
        let dir = tempfile::tempdir().unwrap();
        indexed(dir.path()).await;
        executed(&dir.path().join("index.db"), "UPDATE cell SET bytes = bytes + 1; PRAGMA user_version = 1").await;
        assert_eq!(fsck::check(dir.path(), None, |_, _| {}).await.unwrap().findings, []);
        let log = open(dir.path()).await;
        assert_eq!(Building::open(dir.path(), log.inner.reader.clone(), log.origin()).await.unwrap().size(), 0);
        assert_eq!(index(&log, dir.path(), usize::MAX).await, 192);
        log.close().await;
        assert_eq!(fsck::check(dir.path(), None, |_, _| {}).await.unwrap().findings, []);
    }

    #[tokio::test]
    async fn a_moment_is_not_looked_for_in_a_long_log_without_an_index() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).await;
        refused(&log, std::iter::repeat_n(START, 2_100), |_| String::from("Dataset/d")).await;
        let query = Query { open_at: Some(START), ..Query::default() };
        assert!(matches!(log.query(&query).await, Err(ReadError::NotIndexed { indexed: 0, .. })));
        index(&log, dir.path(), usize::MAX).await;
        assert_eq!(log.query(&query).await.unwrap().entries, []);
        log.close().await;
    }
}
