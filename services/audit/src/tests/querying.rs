//! A search finds what a reader of the whole log would find, in pages of any size, in both directions, online and offline.

use super::harness::*;
use crate::query::offline;
use crate::{Log, Page, Query, ReadError};
use model::entry::{Draft, Entry, Kind};
use model::{OrganisationId, Principal, PrincipalKind, Subject, Timestamp, Value};
use std::path::Path;

fn principal(name: &str) -> Principal {
    let (organisation, subject) = name.split_once('/').unwrap();
    Principal {
        organisation: OrganisationId::new(organisation).unwrap(),
        kind: PrincipalKind::User,
        subject: Subject::new(subject).unwrap(),
    }
}

async fn record(log: &Log, i: usize) {
    let name = ["acme/anna", "acme/ben", "borealis/anna"][i % 3];
    let (reference, row) = log.principal_reference(&principal(name));
    let members = [
        ("decision", Value::text("deny")),
        ("principal", Value::text(reference)),
        ("reasons", Value::texts([["not_permitted", "purpose_unknown"][i % 2], "agreement_unknown"])),
        ("request", Value::text(format!("r{i}"))),
        ("resource", Value::text(format!("Dataset/d{}", i % 5))),
        // Looks like another member, and is not.
        ("note", Value::object([("resource", Value::text("Dataset/d0")), ("org", Value::text("acme"))])),
    ];
    let organisation = principal(name).organisation;
    let mut draft = Draft::new(Kind::Decision, &log.common(), Some(&organisation), members, vec![]).unwrap();
    draft.directory = row.into_iter().collect();
    log.append(draft).await.unwrap();
}

/// A log of 700 entries in batches of many sizes, published.
async fn searchable(dir: &StoreAt, out: &Path) -> Log {
    let log = open(dir).await;
    let publisher = publisher(&log, out).await;
    for i in 0..40 {
        record(&log, i).await;
    }
    for round in [1_usize, 7, 60, 300, 200, 51] {
        let together = (0..round).map(|i| {
            let log = log.clone();
            tokio::spawn(async move { record(&log, i).await })
        });
        for one in together.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        record(&log, round).await;
    }
    publisher.publish_now().await.unwrap();
    log
}

fn queries() -> Vec<Query> {
    let base = Query { newest_first: false, ..Query::default() };
    let text = |t: &str| Some(t.to_owned());
    let at = |ms: i64| Some(Timestamp(START.millis() + ms));
    vec![
        base.clone(),
        Query { organisation: Some(organisation("borealis")), ..base.clone() },
        Query { organisation: Some(organisation("nobody")), ..base.clone() },
        Query { resource: text("Dataset/d3"), ..base.clone() },
        Query { resource: text("Dataset/d0"), organisation: Some(organisation("acme")), ..base.clone() },
        Query { reason: text("purpose_unknown"), ..base.clone() },
        Query { reason: text("purpose"), ..base.clone() },
        Query { request: text("r17"), ..base.clone() },
        Query { decision: text("deny"), kind: Some(Kind::Decision), ..base.clone() },
        Query { decision: text("allow"), ..base.clone() },
        Query { kind: Some(Kind::System), ..base.clone() },
        Query { from: at(100), to: at(160), ..base.clone() },
        Query { from: at(1_000_000), ..base.clone() },
        Query { to: at(3), ..base.clone() },
        Query { after: Some(100), before: Some(130), ..base.clone() },
        Query { after: Some(699), ..base.clone() },
        Query { before: Some(0), ..base.clone() },
        Query { before: Some(u64::MAX), after: Some(650), ..base },
    ]
}

/// The definition: every entry, one after the other.
fn oracle(query: &Query, entries: &[Entry]) -> Vec<u64> {
    let is =
        |entry: &Entry, name: &str, wanted: &Option<String>| wanted.is_none() || entry.text(name) == wanted.as_deref();
    let numbered = (0_u64..).zip(entries);
    let matching = numbered.filter(|(index, entry)| {
        let reasons = match entry.get("reasons") {
            Some(Value::Array(reasons)) => reasons.iter().map(|r| r.as_text().unwrap()).collect(),
            _ => vec![],
        };
        query.after.is_none_or(|after| *index > after)
            && query.before.is_none_or(|before| *index < before)
            && query.from.is_none_or(|from| entry.time >= from)
            && query.to.is_none_or(|to| entry.time < to)
            && (query.organisation.is_none() || query.organisation == entry.organisation)
            && query.kind.is_none_or(|kind| kind == entry.kind)
            && is(entry, "resource", &query.resource)
            && is(entry, "decision", &query.decision)
            && is(entry, "request", &query.request)
            && query.reason.as_deref().is_none_or(|reason| reasons.contains(&reason))
    });
    matching.map(|(index, _)| index).collect()
}

/// All pages of a search, and how many there were.
async fn pages<F: Future<Output = Result<Page, ReadError>>>(mut query: Query, ask: impl Fn(Query) -> F) -> Vec<Page> {
    let mut pages = vec![];
    loop {
        let page = ask(query.clone()).await.unwrap();
        let next = page.next;
        pages.push(page);
        match next {
            None => return pages,
            Some(next) if query.newest_first => query.before = Some(next),
            Some(next) => query.after = Some(next),
        }
    }
}

fn indices(pages: &[Page]) -> Vec<u64> {
    pages.iter().flat_map(|page| page.entries.iter().map(|found| found.index)).collect()
}

pub async fn a_search_finds_what_a_reader_of_everything_finds(stand: &Stand) {
    let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
    let log = searchable(dir.path(), out.path()).await;
    let stored = read_all(dir.path()).await;
    for query in queries() {
        let mut expected = oracle(&query, &stored.entries);
        for newest_first in [false, true] {
            for limit in [1000, 40] {
                let query = Query { newest_first, limit, ..query.clone() };
                let online = pages(query.clone(), |q| {
                    let log = log.clone();
                    async move { log.query(&q).await }
                })
                .await;
                assert_eq!(indices(&online), expected, "{query:?}");
                assert!(online.iter().all(|page| page.entries.len() <= limit && page.size == 666));
                let files = pages(query.clone(), |q| {
                    let out = out.path().to_owned();
                    async move { offline(&out, &q) }
                })
                .await;
                assert_eq!(indices(&files), expected, "offline {query:?}");
                for found in online.iter().flat_map(|page| &page.entries) {
                    assert_eq!(found.entry.as_bytes(), stored.bytes[usize::try_from(found.index).unwrap()]);
                }
            }
            expected.reverse();
        }
    }
    log.close().await;
}

pub async fn who_acted_for_somebody_is_found_too(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let (subject, first) = log.principal_reference(&principal("acme/anna"));
    let (agent, second) = log.principal_reference(&principal("borealis/agent"));
    let actor = Value::object([("principal", Value::text(agent.as_str())), ("organisation", Value::text("borealis"))]);
    let told = [
        ("principal", Value::text(subject)),
        ("actors", Value::Array(vec![actor])),
        // Looks like one who acts, and is not.
        ("note", Value::object([("principal", Value::text("somebody"))])),
    ];
    let organisation = principal("acme/anna").organisation;
    let mut draft = Draft::new(Kind::Decision, &log.common(), Some(&organisation), told, vec![]).unwrap();
    draft.directory = first.into_iter().chain(second).collect();
    log.append(draft).await.unwrap();
    let found = async |who: &str| log.query(&Query { principal: Some(who.into()), ..Query::default() }).await.unwrap();
    for who in ["acme/anna", "borealis/agent", agent.as_str()] {
        let page = found(who).await;
        assert_eq!(page.entries.len(), 1, "{who}");
        assert_eq!(page.entries[0].principal.as_deref(), Some("acme/anna"));
    }
    assert_eq!(found("somebody").await.entries, []);
    log.close().await;
}

pub async fn principals_are_found_and_named_through_the_directory(stand: &Stand) {
    let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
    let log = searchable(dir.path(), out.path()).await;
    let query = Query { principal: Some("acme/ben".into()), limit: 1000, ..Query::default() };
    let page = log.query(&query).await.unwrap();
    assert!(page.entries.len() > 200 && page.entries.iter().all(|f| f.principal.as_deref() == Some("acme/ben")));
    let nobody = Query { principal: Some("acme/nobody".into()), ..Query::default() };
    assert_eq!(log.query(&nobody).await.unwrap().entries, []);
    // Offline a principal is a reference.
    let (reference, _) = log.principal_reference(&principal("acme/ben"));
    let by_reference = Query { principal: Some(reference), ..query.clone() };
    let files = offline(out.path(), &by_reference).unwrap();
    assert_eq!(indices(&[files]), indices(std::slice::from_ref(&page)));
    assert_eq!(log.query(&by_reference).await.unwrap(), page);
    // Without the row the entries are anonymous, and still there.
    let ben = page.entries.len();
    vandalise(dir.path(), "DELETE FROM directory WHERE principal = 'acme/ben'").await;
    assert_eq!(log.query(&query).await.unwrap().entries, []);
    let everything = Query { limit: 1000, kind: Some(Kind::Decision), ..Query::default() };
    let all = log.query(&everything).await.unwrap();
    assert_eq!(all.entries.iter().filter(|found| found.principal.is_none()).count(), ben);
    log.close().await;
}

pub async fn a_tail_sees_what_comes_and_ends_with_the_log(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    record(&log, 0).await;
    let query = Query { kind: Some(Kind::Decision), resource: Some("Dataset/d1".into()), ..Query::default() };
    let mut tail = log.follow(query);
    let writer = tokio::spawn({
        let log = log.clone();
        async move {
            for i in 0..12 {
                record(&log, i).await;
                tokio::task::yield_now().await;
            }
        }
    });
    let mut seen = vec![];
    while seen.len() < 3 {
        seen.extend(tail.next().await.unwrap().entries.into_iter().map(|found| found.index));
    }
    assert_eq!(seen, [3, 8, 13]);
    writer.await.unwrap();
    let waiting = tokio::spawn(async move { tail.next().await });
    log.close().await;
    assert!(matches!(waiting.await.unwrap(), Err(ReadError::Closed)));
}

#[tokio::test]
async fn what_a_file_says_is_gone_hides_nothing_that_is_there() {
    use crate::index::Summary;
    use crate::query::summary_offline;
    let (dir, out) = (Stand::Sqlite.home().await, tempfile::tempdir().unwrap());
    let log = searchable(dir.path(), out.path()).await;
    log.close().await;
    let query = Query { limit: 1_000, newest_first: false, ..Query::default() };
    let all = indices(&[offline(out.path(), &query).unwrap()]);
    let summary = Summary { limit: 10, ..Summary::default() };
    let decisions = || summary_offline(out.path(), &summary).unwrap().rows[0].measures.decisions;
    let counted = decisions();
    let hint = "{\"before\":\"2026-11-23T00:00:00.000Z\",\"below\":512,\"under\":600}";
    std::fs::write(out.path().join("pruned"), hint).unwrap();
    for newest_first in [false, true] {
        let mut found = indices(&[offline(out.path(), &Query { newest_first, ..query.clone() }).unwrap()]);
        found.sort_unstable();
        assert_eq!(found, all);
    }
    assert_eq!(decisions(), counted);
    // What is missing is explained, and what is there beside it is not left out.
    std::fs::remove_file(out.path().join("tile/entries/000")).unwrap();
    let page = offline(out.path(), &query).unwrap();
    assert_eq!(page.pruned.map(|pruned| pruned.below), Some(512));
    assert_eq!(indices(&[page]), all[256..]);
    assert!(decisions() < counted && decisions() >= 256);
    std::fs::remove_file(out.path().join("pruned")).unwrap();
    assert!(matches!(offline(out.path(), &query), Err(ReadError::File { .. })));
}

#[test]
fn a_directory_without_checkpoint_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = offline(dir.path(), &Query::default()).unwrap_err();
    assert!(matches!(error, ReadError::File { .. }), "{error}");
    std::fs::write(dir.path().join("checkpoint"), "nonsense").unwrap();
    let error = offline(dir.path(), &Query::default()).unwrap_err();
    assert!(error.to_string().contains("is not a checkpoint"), "{error}");
}
