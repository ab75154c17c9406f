//! An index makes a search quicker and nothing else: with a whole one, half of one and none the answers are the same, and
//! they are what somebody finds who reads every entry. What is wrong with an index is found.
//!
//! Blocks are larger outside of the unit tests, where these run on PostgreSQL.

mod lives;
#[cfg(test)]
mod on_files;
mod reader;

use super::harness::*;
use crate::fsck;
use crate::index::{BLOCK, Building, By, Dimension, Index, Summary};
use crate::query::SummaryError;
use crate::{Log, Query, ReadError};
use lives::{Step, drawn_step, live};
use model::entry::{Common, Draft, Kind};
use model::{Timestamp, Value};
use reader::{ask, compare};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const DAY_MS: i64 = 86_400_000;

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
