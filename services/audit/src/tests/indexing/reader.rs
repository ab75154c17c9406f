//! Questions, and their answers as somebody finds them who reads every entry: the rules of questions, said anew.

use super::DAY_MS;
use super::lives::row;
use crate::index::{By, Dimension, Measures, Summary};
use crate::tests::harness::*;
use crate::{Log, Query};
use model::entry::{Entry, Kind};
use model::{Timestamp, Value};
use std::collections::BTreeMap;

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

pub(super) async fn ask(log: &Log, query: &Query) -> Vec<u64> {
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

pub(super) async fn compare(log: &Log, entries: &[Entry], limits: &[usize], said: &str) {
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
