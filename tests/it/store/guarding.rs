//! What the database itself keeps apart and refuses, whoever asks for it.

use super::{PASSWORD, at, broker, connect, refused, server};
use acceptance::postgres::{SUPERUSER, SUPERUSER_PASSWORD};
use audit::postgres::PostgresStore;
use audit::tests::harness::{ORIGIN, allow, fill, options, outcome, publisher, read_all};
use audit::{Log, LogOptions, StoreAt, Stored, fsck};
use sqlx::Executor as _;

/// What nobody may do to a log, whoever it is.
const CHANGES: [&str; 17] = [
    "UPDATE millgate_audit.bundle SET bytes = ''",
    "UPDATE millgate_audit.bundle SET first_index = 99 WHERE first_index = 0",
    "DELETE FROM millgate_audit.bundle",
    "TRUNCATE millgate_audit.bundle",
    "INSERT INTO millgate_audit.bundle VALUES (1, 99, 1, 0, 0, sha256(''), '')",
    "UPDATE millgate_audit.head SET size = 0",
    "UPDATE millgate_audit.head SET size = size + 1",
    "UPDATE millgate_audit.head SET root = sha256('')",
    "DELETE FROM millgate_audit.head",
    "TRUNCATE millgate_audit.head",
    "UPDATE millgate_audit.checkpoint SET note = 'other'",
    "DELETE FROM millgate_audit.checkpoint",
    "TRUNCATE millgate_audit.checkpoint",
    "UPDATE millgate_audit.log SET origin = 'other.example/log'",
    "TRUNCATE millgate_audit.pruning",
    "TRUNCATE millgate_audit.leaf",
    "INSERT INTO millgate_audit.pruning VALUES (1, 3, 256, 0)",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_cannot_be_changed_by_a_broker_nor_unawares_by_a_superuser() {
    let server = server(&[]).await;
    let out = tempfile::tempdir().unwrap();
    let log = Log::open(options(broker(&server))).await.unwrap().0;
    fill(&log, 5).await;
    publisher(&log, out.path()).await.publish_now().await.unwrap();
    let mut writer = connect(&server.store("plant", "broker_1", PASSWORD)).await;
    let mut reader = connect(&server.store("plant", "auditor", PASSWORD)).await;
    for sql in CHANGES {
        for who in [&mut writer, &mut reader] {
            let said = refused(who, sql).await;
            assert!(said.contains("permission denied"), "{sql}: {said}");
        }
    }
    for sql in [
        "ALTER TABLE millgate_audit.bundle DISABLE TRIGGER ALL",
        "DROP TRIGGER bundle_stays ON millgate_audit.bundle",
        "DROP SCHEMA millgate_audit CASCADE",
        "CREATE TABLE millgate_audit.mine ()",
        "CREATE OR REPLACE FUNCTION millgate_audit.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "SET session_replication_role = replica",
        "SET ROLE keeper",
        "DELETE FROM millgate_audit.disclosure",
        "DELETE FROM millgate_audit.carried",
        "SELECT millgate_audit.entry_of('', 0, 0)",
        "UPDATE millgate_audit.log SET writer = session_user",
        "SELECT millgate_audit.authorise(1)",
    ] {
        refused(&mut writer, sql).await;
    }
    let said = refused(&mut reader, "SELECT millgate_audit.open('another.example/log', sha256(''))").await;
    assert!(said.contains("permission denied"), "{said}");
    // Not even while triggers are turned off as replication does it.
    let mut superuser = connect(&server.store("plant", SUPERUSER, SUPERUSER_PASSWORD)).await;
    superuser.execute("SET session_replication_role = replica").await.unwrap();
    for sql in CHANGES {
        let said = refused(&mut superuser, sql).await;
        let words = [
            "append-only",
            "must follow the bundles",
            "must begin at the head",
            "keeps its origin",
            "by an entry behind a checkpoint",
        ];
        assert!(words.iter().any(|words| said.contains(words)), "{sql}: {said}");
    }
    fill(&log, 5).await;
    log.close().await;
    assert_eq!(fsck::check(broker(&server), Some(out.path()), |_, _| {}).await.unwrap().findings, []);
}

/// A call of the append function with a batch of one, at that size.
fn append_at(log: i32, size: i64) -> String {
    format!(
        "SELECT millgate_audit.append({log}, {size}, 1, 0, 0, sha256(''), '', sha256(''), '', '', '{{}}', '{{}}', '{{}}', \
         '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}')"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_comes_from_the_session_that_holds_the_log_and_at_its_head_alone() {
    let server = server(&[]).await;
    let log = Log::open(options(broker(&server))).await.unwrap().0;
    fill(&log, 5).await;
    let size = i64::try_from(log.size()).unwrap();
    let mut same_role = connect(&server.store("plant", "broker_1", PASSWORD)).await;
    let said = refused(&mut same_role, &append_at(1, size)).await;
    assert!(said.contains("another session writes this log"), "{said}");
    // Another broker's role cannot write there, whether the log is open or not.
    let mut other_role = connect(&server.store("plant", "broker_2", PASSWORD)).await;
    let said = refused(&mut other_role, &append_at(1, size)).await;
    assert!(said.contains("not written by the role `broker_2`"), "{said}");
    log.close().await;
    refused(&mut other_role, &append_at(1, size + 1)).await;
    let error = PostgresStore::open(&server.store("plant", "broker_2", PASSWORD), ORIGIN).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the log `millgate.example/test` is written by the role `broker_1`, not by `broker_2`"
    );
    for elsewhere in [0, size, size + 2] {
        let said = refused(&mut same_role, &append_at(1, elsewhere)).await;
        assert!(said.contains(&format!("the head of the log is not at size {elsewhere}")), "{said}");
    }
    read_all(broker(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_logs_in_one_database_know_nothing_of_each_other() {
    let server = server(&[]).await;
    let (one, two) = (server.store("plant", "broker_1", PASSWORD), server.store("plant", "broker_2", PASSWORD));
    let other = "millgate.example/other";
    let first = Log::open(options(broker(&server))).await.unwrap().0;
    let of_other = LogOptions { origin: other.into(), ..options(at(two.clone(), other)) };
    let second = Log::open(of_other.clone()).await.unwrap().0;
    tokio::join!(fill(&first, 30), fill(&second, 70));
    let open = first.append(allow(&first, "acme", "r1")).await.unwrap();
    assert_eq!((first.size(), second.size()), (32, 71));
    let stored = async |at: StoreAt| Stored::find(at).await.unwrap().map(|stored| stored.size);
    assert_eq!(stored(at(one.clone(), other)).await, Some(71));
    assert_eq!(stored(at(one.clone(), "nobody.example/log")).await, None);
    second.close().await;
    // What is open in one is not closed by the start of the other.
    let (second, recovered) = Log::open(of_other).await.unwrap();
    assert_eq!((recovered.size, recovered.unknown_outcomes), (72, 0));
    first.append_outcome(outcome(&first, "acme", "r1", open.index)).await.unwrap();
    first.close().await;
    second.close().await;
    assert_eq!(read_all(at(one.clone(), ORIGIN)).await.entries.len(), 34);
    assert_eq!(read_all(at(two, other)).await.entries.len(), 74);
    let unnamed = StoreAt::Postgres { access: Box::new(one), origin: None };
    let error = fsck::check(&unnamed, None, |_, _| {}).await.unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(cause.contains("`millgate.example/other`, `millgate.example/test`"), "{error}: {cause}");
}
