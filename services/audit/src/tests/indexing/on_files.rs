//! What is about the index's own files, its bounds and its times, which have other values outside of unit tests: the store has no
//! part in it.

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
    let query = Query { organisation: Some(organisation("acme")), before: Some(128), limit: 1000, ..Query::default() };
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
