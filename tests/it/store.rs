//! PostgreSQL as the store of the log: everything that holds for SQLite, and what only a server has.

use acceptance::postgres::{Postgres, SUPERUSER, SUPERUSER_PASSWORD};
use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, process, wait};
use audit::postgres::{Access, PostgresError, PostgresStore, init};
use audit::store::Store as _;
use audit::tests::harness::{ORIGIN, allow, deny, fill, fill_one_bundle, options, outcome, publisher, read_all};
use audit::tests::stand::{Stand, rewrite};
use audit::{AppendError, Log, LogOptions, OpenError, StoreAt, Stored, fsck};
use runtime::config::Config;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _};
use std::collections::BTreeSet;
use std::path::PathBuf;
use tokio::task::JoinHandle;

const PASSWORD: &str = "of a role";

/// A server with a database `plant` that is ready for the logs of `broker_1` and `broker_2`.
async fn server(more: &[&str]) -> Postgres {
    let server = Postgres::start_durable(more).await.unwrap();
    let writers = ["broker_1", "broker_2"].map(String::from).to_vec();
    let roles = init::Roles {
        owner: "keeper".into(),
        writers,
        readers: vec!["auditor".into()],
        keep_days: Some(60),
        standby: true,
    };
    init::init(&server.store("plant", SUPERUSER, SUPERUSER_PASSWORD), &roles).await.unwrap();
    for role in ["broker_1", "broker_2", "auditor"] {
        server.run(&format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'")).await.unwrap();
    }
    server
}

fn broker(server: &Postgres) -> StoreAt {
    at(server.store("plant", "broker_1", PASSWORD), ORIGIN)
}

fn at(access: Access, origin: &str) -> StoreAt {
    StoreAt::Postgres { access: Box::new(access), origin: Some(origin.to_owned()) }
}

async fn connect(access: &Access) -> PgConnection {
    let options = PgConnectOptions::new_without_pgpass().host(&access.url.host).port(access.url.port);
    let options = options.database(&access.url.name).username(&access.username).ssl_mode(PgSslMode::Disable);
    options.password(access.password.as_deref().unwrap()).connect().await.unwrap()
}

async fn refused(connection: &mut PgConnection, sql: &str) -> String {
    let done = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await;
    assert!(done.is_err(), "`{sql}` was done");
    done.unwrap_err().to_string()
}

/// Runs a group of the tests that every store must pass, each in a database of its own.
fn conforms(group: &str) {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // What its connections need outlives the tests.
    let own = run();
    let server = own.block_on(server(&[]));
    let stand = Stand::postgres(server.store("plant", "broker_1", PASSWORD));
    let of_group = audit::tests::all().into_iter().filter(|(name, _)| name.starts_with(group));
    let mut passed = 0;
    for (name, test) in of_group {
        // The thread's name is what a failure shows.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn_scoped(scope, || run().block_on(test(&stand))).unwrap().join().unwrap();
        });
        passed += 1;
    }
    assert!(passed > 0, "there is no test in {group}");
}

#[test]
fn appending_holds_on_postgresql() {
    conforms("appending::");
}

#[test]
fn checking_holds_on_postgresql() {
    conforms("checking::");
}

#[test]
fn recovering_holds_on_postgresql() {
    conforms("crashing::");
}

#[test]
fn erasing_holds_on_postgresql() {
    conforms("erasing::");
}

#[test]
fn incarnating_holds_on_postgresql() {
    conforms("incarnating::");
}

#[test]
fn indexing_holds_on_postgresql() {
    conforms("indexing::");
}

#[test]
fn proving_holds_on_postgresql() {
    conforms("proving::");
}

#[test]
fn failing_holds_on_postgresql() {
    conforms("failing::");
}

#[test]
fn publishing_holds_on_postgresql() {
    conforms("publishing::");
}

#[test]
fn pruning_holds_on_postgresql() {
    conforms("pruning::");
}

#[test]
fn querying_holds_on_postgresql() {
    conforms("querying::");
}

#[test]
fn rotating_holds_on_postgresql() {
    conforms("rotating::");
}

#[test]
fn vanishing_holds_on_postgresql() {
    conforms("vanishing::");
}

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

/// A call of the function that prunes, with a batch of this one entry, and nothing that goes.
fn prune_by(size: i64, entry: &str) -> String {
    prune_with(size, entry, "'{}', '{}', '{}', '{}', NULL, NULL, NULL, NULL, NULL, NULL")
}

/// The same; `rows` is what is put in the place of what goes: hashes, what is carried forward, and the rest of a row.
fn prune_with(size: i64, entry: &str, rows: &str) -> String {
    let bytes = [&u16::try_from(entry.len()).unwrap().to_be_bytes()[..], entry.as_bytes()].concat();
    let framed = model::canonical::hex(&bytes);
    format!(
        "SELECT millgate_audit.append_pruning(1, {size}, 1, 0, 0, sha256(''), '\\x{framed}', sha256(''), '', '', '{{}}', '{{}}', '{{}}', \
         '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', {size}, 256, {rows}, '{{}}')"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_go_by_one_function_alone_and_no_further_than_their_entry_says() {
    let server = server(&[]).await;
    let log = Log::open(options(broker(&server))).await.unwrap().0;
    fill(&log, 300).await;
    log.close().await;
    let size = i64::try_from(read_all(broker(&server)).await.entries.len()).unwrap();
    let mut writer = connect(&server.store("plant", "broker_1", PASSWORD)).await;
    let says_at = |time: &str, before: &str, days: u32, minimum: u32| {
        format!(
            "{{\"before\":\"{before}\",\"days\":{days},\"kind\":\"pruning\",\"minimum\":{minimum},\"time\":\"{time}\"}}"
        )
    };
    let says = |before: &str, days, minimum| says_at("2020-11-22T19:20:00.000Z", before, days, minimum);
    let early = "2020-09-01T00:00:00.000Z";
    let with_nobody = says(early, 60, 256).replace("\"kind\"", "\"directory\":1,\"kind\"");
    // Days ago by the server's clock, as midnights.
    let ago = async |days: u32| {
        let mut connection = connect(&server.store("plant", SUPERUSER, SUPERUSER_PASSWORD)).await;
        let ask = "SELECT to_char(date_trunc('day', now(), 'UTC') AT TIME ZONE 'UTC' - make_interval(days => $1), 'YYYY-MM-DD\"T00:00:00.000Z\"')";
        let row = sqlx::query(ask).bind(i32::try_from(days).unwrap()).fetch_one(&mut connection).await.unwrap();
        row.get::<String, _>(0)
    };
    let (of_60, of_59, later) = (ago(60).await, ago(59).await, "2999-01-01T00:00:00.000Z");
    for (entry, why) in [
        (String::from("{\"kind\":\"heartbeat\"}"), "does not say that entries before 256 are gone"),
        (says(early, 60, 512), "does not say that entries before 256 are gone"),
        (says(early, 59, 256), "does not say that entries before 256 are gone"),
        (says(early, 83, 256), "does not say that entries before 256 are gone"),
        // By the times that it says itself it could go, and not by the server's clock.
        (says_at(later, &of_60, 60, 256), "goes further than its policy does at"),
        (says_at(later, &of_59, 60, 256), "goes further than its policy does at"),
        (says("2020-09-01T00:00:00.000Z", 60, 256).replace("time", "tide"), "goes further than its policy does at"),
        (with_nobody, "does not say that 0 persons go from the directory"),
        // Nothing is signed over them.
        (says(early, 60, 256), "by an entry behind a checkpoint over them"),
    ] {
        let said = refused(&mut writer, &prune_by(size, &entry)).await;
        assert!(said.contains(why), "{entry}: {said}");
    }
    let mut reader = connect(&server.store("plant", "auditor", PASSWORD)).await;
    let said = refused(&mut reader, &prune_by(size, &says(early, 60, 256))).await;
    assert!(said.contains("permission denied"), "{said}");
    // How long entries are kept at least is the owner's to say, and the broker's role changes nothing of it.
    for sql in ["UPDATE millgate_audit.keeping SET days = 60", "DELETE FROM millgate_audit.keeping"] {
        let said = refused(&mut writer, sql).await;
        assert!(said.contains("permission denied"), "{sql}: {said}");
    }
    server.run("UPDATE millgate_audit.keeping SET days = 61").await.unwrap();
    let said = refused(&mut writer, &prune_by(size, &says(early, 60, 256))).await;
    assert!(said.contains("the role `broker_1` keeps entries longer than 60 days"), "{said}");
    server.run("DELETE FROM millgate_audit.keeping").await.unwrap();
    let said = refused(&mut writer, &prune_by(size, &says(early, 60, 256))).await;
    assert!(said.contains("the role `broker_1` keeps entries longer than 60 days"), "{said}");
    server.run("INSERT INTO millgate_audit.keeping VALUES ('broker_1', 60)").await.unwrap();
    // With a checkpoint there are still the hashes to be put in their place, and their times.
    let signed = "INSERT INTO millgate_audit.checkpoint VALUES (1, 300, 'a note', '')";
    server.run(signed).await.unwrap();
    let said = refused(&mut writer, &prune_by(size, &says(early, 60, 256))).await;
    assert!(said.contains("there are not the hashes of all entries before 256"), "{said}");
    assert_eq!(read_all(broker(&server)).await.entries.len(), usize::try_from(size).unwrap(), "and nothing went");
}

/// Whole days in UTC, whatever the session's time zone is and whether clocks are changed there.
#[tokio::test(flavor = "multi_thread")]
async fn entries_go_from_the_midnight_on_that_the_policy_reaches_and_not_a_microsecond_before() {
    let server = server(&[]).await;
    let mut owner = connect(&server.store("plant", SUPERUSER, SUPERUSER_PASSWORD)).await;
    let mut goes_too_far = async |zone: &str, said: (&str, &str, u32), now: &str| -> bool {
        let (before, time, days) = said;
        let said = format!("{{\"before\":\"{before}\",\"days\":{days},\"time\":\"{time}\"}}");
        owner.execute(sqlx::raw_sql(AssertSqlSafe(format!("SET TimeZone = '{zone}'")))).await.unwrap();
        let ask = sqlx::query_scalar("SELECT millgate_audit.goes_too_far($1::text::jsonb, $2::text::timestamptz)");
        ask.bind(said).bind(now).fetch_one(&mut owner).await.unwrap()
    };
    // The first of a month, its midnight, and the midnight that is so many days later: over a leap day, a change of clocks, a year.
    for (before, days, reached, eve) in [
        ("2020-03-01T00:00:00.000Z", 60, "2020-04-30 00:00:00+00", "2020-04-29 23:59:59.999999+00"),
        ("2020-01-01T00:00:00.000Z", 60, "2020-03-01 00:00:00+00", "2020-02-29 23:59:59.999999+00"),
        ("2020-10-01T00:00:00.000Z", 92, "2021-01-01 00:00:00+00", "2020-12-31 23:59:59.999999+00"),
        ("2019-03-01T00:00:00.000Z", 366, "2020-03-01 00:00:00+00", "2020-02-29 23:59:59.999999+00"),
    ] {
        let time = "2019-12-31T23:59:59.999Z";
        for zone in ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
            assert!(!goes_too_far(zone, (before, time, days), reached).await, "{before} {days} {zone}");
            assert!(goes_too_far(zone, (before, time, days), eve).await, "{before} {days} {zone}");
        }
    }
    let (reached, time) = ("2020-10-31 00:00:00+00", "2020-10-31T00:00:00.000Z");
    let midnight = "2020-09-01T00:00:00.000Z";
    assert!(!goes_too_far("UTC", (midnight, time, 60), reached).await);
    for before in [
        // What is rounded to a later second, or to another day where the session is.
        "2020-08-31T23:59:59.500Z",
        "2020-08-31T00:00:00.001Z",
        "2020-08-31",
        "2020-08-31T00:00:00.000",
        "2020-08-31T00:00:00.000+00",
        "-infinity",
        "infinity",
        "yesterday",
    ] {
        assert!(goes_too_far("Pacific/Kiritimati", (before, time, 60), reached).await, "{before}");
    }
    // A broker's clock is an hour ahead at most.
    assert!(!goes_too_far("UTC", (midnight, "2020-10-31T01:00:00.000Z", 60), reached).await);
    for time in ["2020-10-31T01:00:00.001Z", "infinity", "-infinity", "now"] {
        assert!(goes_too_far("UTC", (midnight, time, 60), reached).await, "{time}");
    }
}

/// Whatever text stands in them.
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_cut_from_a_row_are_of_before_a_midnight_by_what_they_say_themselves() {
    let server = server(&[]).await;
    let mut owner = connect(&server.store("plant", SUPERUSER, SUPERUSER_PASSWORD)).await;
    // 2020-09-01T00:00:00Z
    let mut all_before = async |others: i64, entries: &[&str]| -> bool {
        let mut bytes = Vec::new();
        for entry in entries {
            bytes.extend(u16::try_from(entry.len()).unwrap().to_be_bytes());
            bytes.extend(entry.as_bytes());
        }
        let ask = sqlx::query_scalar("SELECT millgate_audit.all_before($1, $2, 1598918400000)");
        ask.bind(bytes).bind(others).fetch_one(&mut owner).await.unwrap()
    };
    let (last, next) = ("{\"time\":\"2020-08-31T23:59:59.999Z\"}", "{\"time\":\"2020-09-01T00:00:00.000Z\"}");
    let strange =
        r#"{"a":"\u0000 \\u0000 \"time\":","b":{"time":"2999-01-01T00:00:00.000Z"},"time":"2020-08-31T23:59:59.999Z"}"#;
    assert!(all_before(2, &[last, strange]).await);
    assert!(all_before(1, &[last, next]).await, "the next one stays");
    assert!(!all_before(2, &[last, next]).await);
    assert!(!all_before(1, &["{\"tide\":\"2020-08-31T23:59:59.999Z\"}"]).await);
    assert!(!all_before(1, &["{\"time\":\"-infinity\"}"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_cuts_from_a_row_or_carries_forward_is_as_old_as_it_says_and_what_was_logged() {
    let server = server(&[]).await;
    let log = Log::open(options(broker(&server))).await.unwrap().0;
    fill_one_bundle(&log, 300).await;
    log.close().await;
    let stored = read_all(broker(&server)).await;
    let size = i64::try_from(stored.entries.len()).unwrap();
    server.run("INSERT INTO millgate_audit.checkpoint VALUES (1, 300, 'a note', '')").await.unwrap();
    let mut writer = connect(&server.store("plant", "broker_1", PASSWORD)).await;
    let row = "SELECT first_index, first_index + count - 256, time_first, time_last, bytes FROM millgate_audit.bundle
               WHERE first_index < 256 AND first_index + count > 256";
    let row: (i64, i64, i64, i64, Vec<u8>) = sqlx::query_as(row).fetch_one(&mut writer).await.unwrap();
    let (first, count, time_first, time_last, bytes) = row;
    let mut at = 0;
    for _ in first..256 {
        at += 2 + usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    }
    let rest = model::canonical::hex(&bytes[at..]);
    let rest = format!("{first}, {count}, {time_first}, {time_last}, sha256('\\x{rest}'), '\\x{rest}'");
    let leaves: Vec<u8> = stored.bytes[..256].iter().flat_map(|entry| tlog::leaf_hash(entry).0).collect();
    let leaves = format!("'{{0}}', ARRAY['\\x{}'::bytea]", model::canonical::hex(&leaves));
    let says = |carried: &str| {
        format!(
            "{{\"before\":\"2020-09-01T00:00:00.000Z\",\"carried\":{carried},\"days\":60,\"kind\":\"pruning\",\"minimum\":256,\
             \"time\":\"2020-11-22T19:20:00.000Z\"}}"
        )
    };
    // They were written long after that.
    let said = refused(&mut writer, &prune_with(size, &says("[]"), &format!("{leaves}, '{{}}', '{{}}', {rest}"))).await;
    assert!(said.contains("to 255 are of before the time that the pruning says"), "{said}");
    let of_three = model::canonical::hex(&stored.bytes[3]);
    let kept = |index: u8| format!("{leaves}, '{{{index}}}', ARRAY['\\x{of_three}'::bytea], {rest}");
    let unsaid = "does not say that these entries are carried forward";
    for (carried, index, why) in [
        ("[]", 3, unsaid),
        ("[3,4]", 3, unsaid),
        ("[4]", 4, "carries entries forward that are not what was logged"),
        ("[3]", 3, "to 255 are of before the time that the pruning says"),
    ] {
        let said = refused(&mut writer, &prune_with(size, &says(carried), &kept(index))).await;
        assert!(said.contains(why), "{carried} {index}: {said}");
    }
    assert_eq!(read_all(broker(&server)).await.bytes, stored.bytes, "and nothing went");
}

/// A clock that stands still.
#[derive(Debug)]
struct At(model::Timestamp);

impl model::Clock for At {
    fn now(&self) -> model::Timestamp {
        self.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_of_the_databases_deletes_nothing() {
    let server = server(&[]).await;
    // 2100-01-01T00:00:00Z
    let clock = std::sync::Arc::new(At(model::Timestamp(4_102_444_800_000)));
    let log = Log::open(LogOptions { clock: clock.clone(), ..options(broker(&server)) }).await.unwrap().0;
    fill(&log, 5).await;
    let out = tempfile::tempdir().unwrap();
    let entries = Some(audit::Kept { days: 60, statement: None });
    let days = [(model::entry::CommitmentClass::Network, 1)].into();
    let retention = audit::Retention { entries, days, ..audit::Retention::default() };
    let bounds = audit::prune::Bounds { published: out.path().to_owned(), is_witnessed: false };
    let erased = log.retain(&retention, clock.0).await;
    let is_ahead = |error: &audit::EraseError| matches!(error, audit::EraseError::Clock(audit::ClockDoubt::Database { now, .. }) if *now == clock.0);
    assert!(matches!(&erased, Err(error) if is_ahead(error)), "{erased:?}");
    let pruned = log.prune(&retention, &bounds).await;
    assert!(matches!(&pruned, Err(audit::PruneError::Erase(error)) if is_ahead(error)), "{pruned:?}");
    assert!(log.is_healthy());
    log.close().await;
}

/// As a version made it that knew of no pruning.
const EARLIER: &str = "
    DROP FUNCTION millgate_audit.append_pruning, millgate_audit.entry_of, millgate_audit.place_behind, millgate_audit.all_before,
        millgate_audit.goes_too_far;
    DROP TABLE millgate_audit.pruning, millgate_audit.leaf, millgate_audit.carried, millgate_audit.keeping;
    DROP TRIGGER bundle_stays ON millgate_audit.bundle;
    DROP FUNCTION millgate_audit.bundle_goes, millgate_audit.pruning_is_covered;
    CREATE TRIGGER bundle_stays BEFORE UPDATE OR DELETE ON millgate_audit.bundle
        FOR EACH ROW EXECUTE FUNCTION millgate_audit.refuse();
    ALTER TABLE millgate_audit.bundle ENABLE ALWAYS TRIGGER bundle_stays";

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_an_earlier_version_serves_and_is_pruned_once_it_is_brought_up_to_date() {
    let server = server(&[]).await;
    server.run(EARLIER).await.unwrap();
    let log = Log::open(options(broker(&server))).await.unwrap().0;
    fill(&log, 30).await;
    let out = tempfile::tempdir().unwrap();
    publisher(&log, out.path()).await.publish_now().await.unwrap();
    let entries = Some(audit::Kept { days: 60, statement: None });
    let retention = audit::Retention { entries, ..audit::Retention::default() };
    let bounds = audit::prune::Bounds { published: out.path().to_owned(), is_witnessed: false };
    let told = log.prune(&retention, &bounds).await;
    assert!(matches!(told, Err(audit::PruneError::OldSchema)), "{told:?}");
    assert!(log.is_healthy());
    log.close().await;
    assert_eq!(fsck::check(broker(&server), Some(out.path()), |_, _| {}).await.unwrap().findings, []);
    let writers = ["broker_1", "broker_2"].map(String::from).to_vec();
    let roles = |keep_days| {
        let (owner, writers) = ("keeper".into(), writers.clone());
        init::Roles { owner, writers, readers: Vec::new(), keep_days, standby: true }
    };
    let admin = server.store("plant", SUPERUSER, SUPERUSER_PASSWORD);
    let steps = init::init(&admin, &roles(None)).await.unwrap();
    assert!(steps.iter().any(|step| step.changed && step.what.contains("has format 1")), "{steps:?}");
    let log = Log::open(options(broker(&server))).await.unwrap().0;
    let unsaid = log.prune(&retention, &bounds).await;
    assert!(matches!(unsaid, Err(audit::PruneError::Floor { floor: None, days: 60 })), "{unsaid:?}");
    for (days, changed) in [(90, true), (90, false)] {
        let steps = init::init(&admin, &roles(Some(days))).await.unwrap();
        let said = steps.iter().filter(|step| step.what.ends_with("prunes no entry that is not 90 days old"));
        assert_eq!(said.map(|step| step.changed).collect::<Vec<_>>(), [changed; 2], "{steps:?}");
    }
    let shorter = log.prune(&retention, &bounds).await;
    assert!(matches!(shorter, Err(audit::PruneError::Floor { floor: Some(90), days: 60 })), "{shorter:?}");
    assert!(log.is_healthy(), "it is told before it is tried");
    init::init(&admin, &roles(Some(60))).await.unwrap();
    assert_eq!(log.prune(&retention, &bounds).await.unwrap(), 0, "nothing is old enough, and it can be asked");
    log.close().await;
    // Whoever could read before can read all of it.
    let auditor = at(server.store("plant", "auditor", PASSWORD), ORIGIN);
    assert_eq!(fsck::check(auditor, Some(out.path()), |_, _| {}).await.unwrap().findings, []);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_during_appends_loses_nothing_that_was_acknowledged() {
    let mut server = server(&[]).await;
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let (log, _) = Log::open(options(broker(&server))).await.unwrap();
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let log = log.clone();
                tokio::spawn(async move {
                    let mut told = Vec::new();
                    for i in 0.. {
                        let request = format!("r{round}-{caller}-{i}");
                        match log.append(deny(&log, "acme", &request)).await {
                            Ok(appended) => told.push(appended),
                            Err(error) => return (told, error),
                        }
                    }
                    unreachable!("it appends until it cannot");
                })
            })
            .collect();
        log.grown_beyond(log.size() + 200 * (round + 1)).await;
        server.kill();
        for caller in callers {
            let (told, error) = caller.await.unwrap();
            assert_eq!(error, AppendError::Poisoned);
            acknowledged.extend(told);
        }
        log.poisoned().await;
        drop(log);
        server.start_again().await.unwrap();
    }
    let (log, _) = Log::open(options(broker(&server))).await.unwrap();
    log.close().await;
    let stored = read_all(broker(&server)).await;
    assert!(acknowledged.len() > 2000, "{}", acknowledged.len());
    assert!(acknowledged.iter().all(|appended| stored.holds(appended)));
    assert_eq!(fsck::check(broker(&server), None, |_, _| {}).await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_lost_between_two_batches_ends_the_writer() {
    let server = server(&[]).await;
    let (log, _) = Log::open(options(broker(&server))).await.unwrap();
    let decision = log.append(allow(&log, "acme", "r1")).await.unwrap();
    let sessions = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(server.count(sessions).await.unwrap(), 1);
    // Somebody else goes on with the log before the first one notices: nothing of the first comes behind that.
    let (second, recovered) = Log::open(options(broker(&server))).await.unwrap();
    assert_eq!((recovered.size, recovered.unknown_outcomes), (2, 1));
    assert_eq!(log.append(deny(&log, "acme", "r2")).await, Err(AppendError::Poisoned));
    log.poisoned().await;
    second.append(deny(&second, "acme", "r3")).await.unwrap();
    second.close().await;
    let stored = read_all(broker(&server)).await;
    assert_eq!((stored.decisions_about("r2"), stored.decisions_about("r3")), (0, 1));
    assert_eq!(stored.outcomes_of(decision.index), ["unknown_after_crash"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_locked_is_answered_and_waited_out() {
    let server = server(&[]).await;
    let (log, _) = Log::open(options(broker(&server))).await.unwrap();
    let mut superuser = connect(&server.store("plant", SUPERUSER, SUPERUSER_PASSWORD)).await;
    superuser.execute("BEGIN").await.unwrap();
    superuser.execute("SELECT FROM millgate_audit.head FOR UPDATE").await.unwrap();
    assert_eq!(log.append(deny(&log, "acme", "r1")).await, Err(AppendError::Overloaded));
    superuser.execute("ROLLBACK").await.unwrap();
    log.append(deny(&log, "acme", "r2")).await.unwrap();
    assert_eq!(log.status().rollbacks, 1);
    log.close().await;
    let stored = read_all(broker(&server)).await;
    assert_eq!((stored.decisions_about("r1"), stored.decisions_about("r2")), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_would_not_keep_its_word_is_not_opened() {
    let lax = server(&["fsync=off"]).await;
    let error = Log::open(options(broker(&lax))).await.unwrap_err();
    assert_eq!(error.to_string(), "the server has `fsync = off`, so a commit would not be flushed; set it to `on`");
    drop(lax);
    let server = server(&["synchronous_commit=off"]).await;
    // Who is the owner, may become it, or may take values away without an entry.
    for made in ["owns LOGIN IN ROLE keeper", "lurks LOGIN NOINHERIT IN ROLE keeper", "erases LOGIN"] {
        server.run(&format!("CREATE ROLE {made} PASSWORD '{PASSWORD}'")).await.unwrap();
    }
    let mut superuser = connect(&server.store("plant", SUPERUSER, SUPERUSER_PASSWORD)).await;
    let grant = "GRANT USAGE ON SCHEMA millgate_audit TO erases, lurks;
        GRANT SELECT ON ALL TABLES IN SCHEMA millgate_audit TO erases, lurks; GRANT DELETE ON millgate_audit.disclosure TO erases";
    superuser.execute(sqlx::raw_sql(grant)).await.unwrap();
    for (role, password) in
        [(SUPERUSER, SUPERUSER_PASSWORD), ("owns", PASSWORD), ("lurks", PASSWORD), ("erases", PASSWORD)]
    {
        let error = PostgresStore::open(&server.store("plant", role, password), ORIGIN).await.unwrap_err();
        assert!(matches!(error, OpenError::Postgres(PostgresError::Privileged { .. })), "{role}: {error}");
    }
    // What it does not inherit, and what it reaches by way of others only.
    let roles = "CREATE ROLE mighty SUPERUSER; CREATE ROLE fills; CREATE ROLE bends; CREATE ROLE between NOINHERIT IN ROLE fills;
        GRANT INSERT ON millgate_audit.bundle TO fills; GRANT UPDATE (size) ON millgate_audit.head TO bends";
    superuser.execute(sqlx::raw_sql(roles)).await.unwrap();
    for through in ["mighty", "fills", "between", "bends", "pg_write_all_data", "pg_write_server_files"] {
        let made = format!("CREATE ROLE lurks_{through} LOGIN NOINHERIT IN ROLE {through} PASSWORD '{PASSWORD}'");
        server.run(&made).await.unwrap();
        let role = format!("lurks_{through}");
        let grant = format!(
            "GRANT USAGE ON SCHEMA millgate_audit TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA millgate_audit TO {role}"
        );
        superuser.execute(sqlx::raw_sql(AssertSqlSafe(grant))).await.unwrap();
        let error = PostgresStore::open(&server.store("plant", &role, PASSWORD), ORIGIN).await.unwrap_err();
        let becomes = if through == "between" { "fills" } else { through };
        let said = format!("the role `{role}` may change what is written: it can become `{becomes}`;");
        assert!(error.to_string().starts_with(&said), "{through}: {error}");
    }
    // What the session can put right itself it does; and a server that is changed under it is found out with the next batch.
    let (log, _) = Log::open(options(broker(&server))).await.unwrap();
    fill(&log, 3).await;
    server.run("ALTER SYSTEM SET full_page_writes = off").await.unwrap();
    server.run("SELECT pg_reload_conf()").await.unwrap();
    wait::until("the end of the log", async || {
        let told = log.append(deny(&log, "acme", "late")).await;
        (told == Err(AppendError::Poisoned)).then_some(())
    })
    .await
    .unwrap();
    assert!(log.poison_reason().unwrap().contains("the server would not flush this commit"));
}

/// From now on each commit waits for this standby.
async fn waits_for(server: &Postgres, standby: &str) {
    server.run(&format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'")).await.unwrap();
    server.run("SELECT pg_reload_conf()").await.unwrap();
    let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    wait::until("replication", async || (server.count(synchronous).await.ok()? == 1).then_some(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_signed_that_the_standby_does_not_have() {
    let server = server(&[]).await;
    let mut standby = server.standby("second").await.unwrap();
    waits_for(&server, "second").await;
    let access = Access { standby: true, ..server.store("plant", "broker_1", PASSWORD) };
    let out = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(at(access, ORIGIN))).await.unwrap();
    let publisher = publisher(&log, out.path()).await;
    fill(&log, 5).await;
    assert_eq!(publisher.publish_now().await.unwrap().size, 6);
    // A standby is no place to write.
    let error = PostgresStore::open(&standby.store("plant", "broker_1", PASSWORD), ORIGIN).await.unwrap_err();
    assert!(matches!(error, OpenError::Postgres(PostgresError::Standby)), "{error}");
    // Without it nothing becomes durable; and whoever makes the server go on without it does not get a signature.
    standby.kill();
    assert_eq!(log.append(deny(&log, "acme", "waits")).await, Err(AppendError::Overloaded));
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    assert_eq!(server.count(cancel).await.unwrap(), 1);
    log.grown_beyond(6).await;
    let error = publisher.publish_now().await.unwrap_err();
    assert!(error.to_string().starts_with("no synchronous standby of the store has all 7 entries yet"), "{error}");
    standby.start_again().await.unwrap();
    wait::until("the checkpoint", async || publisher.publish_now().await.ok().filter(|p| p.size == 7)).await.unwrap();
    log.close().await;
    assert_eq!(read_all(broker(&server)).await.decisions_about("waits"), 1);
}

/// `millgate` with these arguments: exit status, standard output, standard error.
fn millgate(arguments: &[&str]) -> (i32, String, String) {
    let output = process::run("millgate", arguments).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_made_ready_by_a_command_and_only_by_that() {
    let server = Postgres::start_durable(&[]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, SUPERUSER_PASSWORD).unwrap();
    let url = format!("postgresql://127.0.0.1:{}/plant", server.port);
    server.run(&format!("CREATE ROLE broker_1 LOGIN PASSWORD '{PASSWORD}'")).await.unwrap();
    let error = PostgresStore::open(&server.store("plant", "broker_1", PASSWORD), ORIGIN).await.unwrap_err();
    assert!(error.to_string().ends_with(&format!("has no tables for audit logs; make them with `millgate audit store init --store {url}`, as somebody who may create roles and schemas")), "{error}");
    let to = ["--store", &url, "--no-tls", "--username", SUPERUSER, "--password-file", password.to_str().unwrap()];
    let command = |more: &[&str]| millgate(&[&["audit", "store", "init", "--json"][..], &to, more].concat());
    let changed = |stdout: &str| -> Vec<bool> {
        let said: Value = serde_json::from_str(stdout).unwrap();
        said["steps"].as_array().unwrap().iter().map(|step| step["changed"].as_bool().unwrap()).collect()
    };
    let (status, first, errors) = command(&["--writer", "broker_1", "--reader", "auditor"]);
    assert_eq!((status, changed(&first)), (0, vec![true; 6]), "{first} {errors}");
    let (status, again, _) = command(&["--writer", "broker_1", "--reader", "auditor"]);
    assert_eq!((status, changed(&again)), (0, vec![false; 5]), "{again}");
    // For how long the role keeps entries is taken from its broker's configuration.
    for name in ["catalog", "registry", "base"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("plant.cedarschema"), "").unwrap();
    let config = folder.path().join("millgate.toml");
    let keeping = |retention: &str| {
        let folders =
            "catalog = \"catalog\"\nregistry = \"registry\"\npolicies = \"base\"\nschema = \"plant.cedarschema\"";
        let audit = "directory = \"audit\"\norigin = \"plant.example/broker-1\"";
        std::fs::write(&config, format!("[folders]\n{folders}\n[audit]\n{audit}\n{retention}")).unwrap();
        command(&["--writer", "broker_1", "--config", config.to_str().unwrap()])
    };
    let (status, kept, errors) = keeping("[audit.retention]\nentries = \"90d\"\n");
    assert_eq!((status, changed(&kept)), (0, vec![false, false, false, false, true]), "{kept} {errors}");
    assert!(kept.contains("the role `broker_1` prunes no entry that is not 90 days old"), "{kept}");
    let (status, _, errors) = keeping("");
    assert!(status == 2 && errors.contains("`[audit.retention]` has no `entries`"), "{errors}");
    PostgresStore::open(&server.store("plant", "broker_1", PASSWORD), ORIGIN).await.unwrap().close().await.unwrap();
    // Somebody who may create roles and is no superuser does it as well, and is no member of the owner afterwards.
    server.run("CREATE DATABASE other").await.unwrap();
    server.run(&format!("CREATE ROLE admin LOGIN CREATEROLE PASSWORD '{PASSWORD}'")).await.unwrap();
    server.run("GRANT CREATE ON DATABASE other TO admin").await.unwrap();
    let admin = server.store("other", "admin", PASSWORD);
    for writers in [&["broker_1"][..], &["broker_1", "broker_3"]] {
        let (owner, writers) =
            (String::from("millgate_audit_owner"), writers.iter().map(ToString::to_string).collect());
        let roles = init::Roles { owner, writers, readers: Vec::new(), keep_days: None, standby: false };
        init::init(&admin, &roles).await.unwrap();
        refused(&mut connect(&admin).await, "SELECT FROM millgate_audit.format").await;
    }
    PostgresStore::open(&server.store("other", "broker_1", PASSWORD), ORIGIN).await.unwrap().close().await.unwrap();
    // A role that nobody gave leave, and owners and writers that would undo it all.
    server.run(&format!("CREATE ROLE stranger LOGIN PASSWORD '{PASSWORD}'")).await.unwrap();
    let error = PostgresStore::open(&server.store("plant", "stranger", PASSWORD), ORIGIN).await.unwrap_err();
    assert!(error.to_string().starts_with("the role `stranger` may not use the audit logs in"), "{error}");
    for (arguments, said) in [
        (&["--owner", "broker_1"][..], "the role `broker_1` can log in"),
        (&["--writer", SUPERUSER], "is a superuser"),
        (&["--owner", "pg_monitor"], "cannot be the name of a role here"),
        (&["--writer", "a\"; DROP SCHEMA millgate_audit; --"], "cannot be the name of a role here"),
    ] {
        let (status, _, errors) = command(arguments);
        assert!(status == 2 && errors.contains(said), "{arguments:?}: {errors}");
    }
    let hidden = millgate(&["audit", "fsck", "--store", "postgresql://broker:hunter2@db/audit"]);
    assert!(
        hidden.0 == 2 && hidden.2.contains("is no address of a database") && !hidden.2.contains("hunter2"),
        "{hidden:?}"
    );
    server.run("UPDATE millgate_audit.format SET version = 2").await.unwrap();
    let error = PostgresStore::open(&server.store("plant", "broker_1", PASSWORD), ORIGIN).await.unwrap_err();
    assert!(error.to_string().contains("has format 2; this program knows format 1"), "{error}");
    let (status, _, errors) = command(&[]);
    assert!(status == 2 && errors.contains("has format 2"), "{errors}");
}

/// The configuration of a broker with its log in `plant`.
fn configured(plant: &Plant, server: &Postgres) -> PathBuf {
    configured_with(plant, server, "")
}

fn configured_with(plant: &Plant, server: &Postgres, more: &str) -> PathBuf {
    std::fs::write(plant.directory.path().join("db.password"), PASSWORD).unwrap();
    let store = format!(
        "[audit.store]\nurl = \"postgresql://127.0.0.1:{}/plant\"\nusername = \"broker_1\"\ntls = false\n\
         password = {{ file = \"db.password\" }}\n{more}",
        server.port
    );
    let file = plant.configuration("beside", "").unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let audit = "audit = { directory = \"beside\", origin = \"munich.example/beside\" }";
    assert!(text.contains(audit), "{text}");
    let section = format!("[audit]\ndirectory = \"beside\"\norigin = \"munich.example/beside\"\n{store}");
    std::fs::write(&file, format!("{}\n{section}", text.replace(audit, ""))).unwrap();
    file
}

async fn ask(facts: &Value, plant: &Plant) -> http::Answer {
    let series = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T08:05:00Z&resolution=1m";
    let bearer = format!("Bearer {}", plant.token("acme"));
    let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
    http::get(&format!("{}{series}", facts["data"].as_str().unwrap()), &headers).await.unwrap()
}

async fn ended(mut process: process::Guard) {
    process.signal("TERM").unwrap();
    wait::until("the end of a process", async || process.0.try_wait().ok().flatten()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_put_back_quarantines_the_broker_and_an_incarnation_goes_on_beside_the_old_log() {
    let server = server(&[]).await;
    let plant = Plant::start().await.unwrap();
    let at = |name: &str| plant.directory.path().join(name);
    let file = configured(&plant, &server);
    let config = file.to_str().unwrap();
    let mut administrator = connect(&server.store("postgres", SUPERUSER, SUPERUSER_PASSWORD)).await;
    // Sessions of a broker that has just ended are let go of in a moment.
    let mut alter = async |sql: &str| {
        wait::until(sql, async || administrator.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.ok()).await
    };
    let (broker, facts) = process::serve(&file, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    // While a broker has the log, none takes its place.
    let incarnate = |more: &[&str]| {
        let given = ["audit", "incarnate", "--config", config, "--reason", "the database was put back", "--json"];
        millgate(&[&given[..], more].concat())
    };
    let new = ["--origin", "munich.example/beside.2"];
    let (status, said, errors) = incarnate(&new);
    assert!(status == 2 && errors.contains("stop the broker first"), "{said} {errors}");
    ended(broker).await;
    alter("CREATE DATABASE kept TEMPLATE plant").await.unwrap();
    // Here is nothing that anybody contradicts.
    let (status, said, errors) = incarnate(&new);
    assert!(status == 1 && said.contains("start the broker"), "{said} {errors}");
    let (broker, facts) = process::serve(&file, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    let old_key = facts["log_key"].as_str().unwrap().to_owned();
    ended(broker).await;
    let lost = std::fs::read_to_string(at("beside/published/checkpoint")).unwrap();
    alter("ALTER DATABASE plant RENAME TO newer").await.unwrap();
    alter("ALTER DATABASE kept RENAME TO plant").await.unwrap();

    let (broker, facts) = process::serve(&file, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.reason(), "quarantined");
    let (status, _, errors) = incarnate(&new);
    assert!(status == 2 && errors.contains("stop the broker first"), "{errors}");
    ended(broker).await;
    // The database refuses in the middle; nobody goes on with the old log meanwhile.
    let append = "FUNCTION millgate_audit.append";
    server.run(&format!("REVOKE EXECUTE ON {append} FROM broker_1")).await.unwrap();
    let (status, _, errors) = incarnate(&new);
    assert!(status == 2 && errors.contains("the new log cannot be begun"), "{errors}");
    let (status, _, errors) = millgate(&["serve", "--config", config]);
    assert!(status == 2 && errors.contains("`millgate audit incarnate` was interrupted"), "{errors}");
    server.run(&format!("GRANT EXECUTE ON {append} TO broker_1")).await.unwrap();
    // The new log is begun, and what is to be set aside cannot be.
    std::fs::write(at("beside/aside"), "in the way").unwrap();
    let (status, _, errors) = incarnate(&new);
    assert!(status == 2 && errors.contains("cannot be set aside"), "{errors}");
    let begun = "SELECT count(*) FROM millgate_audit.bundle b JOIN millgate_audit.log l ON l.id = b.log
                 WHERE l.origin = 'munich.example/beside.2'";
    let written = server.count(begun).await.unwrap();
    assert!(written > 0);
    let (status, _, errors) = incarnate(&["--origin", "munich.example/beside.3"]);
    assert!(status == 2 && errors.contains("go on with `--origin munich.example/beside.2`"), "{errors}");
    std::fs::remove_file(at("beside/aside")).unwrap();
    let (status, said, errors) = incarnate(&new);
    assert_eq!(status, 0, "{said} {errors}");
    assert_eq!(server.count(begun).await.unwrap(), written, "it was begun twice");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(said["old_log_in"].as_str().unwrap().contains("/plant"), "{said}");
    let aside = at("beside/published/aside/munich.example_beside");
    assert_eq!(said["published_aside"].as_str(), aside.to_str());
    assert!(aside.join("checkpoint").exists() && !at("beside/published/checkpoint").exists());

    // The old configuration would go on with the old log, under a key that it never had.
    let (status, _, errors) = millgate(&["serve", "--config", config]);
    assert!(status == 2 && errors.contains("belongs to the log `munich.example/beside.2`"), "{errors}");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("munich.example/beside\"", "munich.example/beside.2\"")).unwrap();
    let (broker, facts) = process::serve(&file, "").unwrap();
    assert_eq!(ask(&facts, &plant).await.status, 200);
    let entries = || acceptance::entries(&at("beside/published")).ok()?.into_iter().next();
    let first = wait::until("the first entry", async || entries()).await.unwrap();
    assert_eq!((&first["event"], &first["previous"]["key"]), (&"incarnation".into(), &old_key.into()));
    assert_eq!(first["seen"][0]["checkpoint"].as_str(), Some(&*lost));
    ended(broker).await;
    // Its name is taken now, and the old log is still there to be read.
    let (status, _, errors) = incarnate(&["--origin", "munich.example/beside", "--force"]);
    assert!(status == 2 && errors.contains("was set aside"), "{errors}");
    let access = server.store("plant", "auditor", PASSWORD);
    assert!(Stored::find(crate::store::at(access, "munich.example/beside")).await.unwrap().is_some());
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_serves_from_postgresql_and_its_log_is_checked_exported_and_decided_again() {
    let server = server(&[]).await;
    let plant = Plant::start().await.unwrap();
    let folder = plant.directory.path();
    let file = configured(&plant, &server);
    let config = file.to_str().unwrap();
    let (status, said, _) = millgate(&["check", "--config", config]);
    assert_eq!(status, 0, "{said}");

    let (mut process, facts) = process::serve(&file, "").unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&facts, &plant).await.status, 200);
    }
    let auditor = format!("Bearer {}", plant.token("auditor"));
    let url = format!("{}/v1/audit/entries?kind=outcome&organisation=acme", facts["api"].as_str().unwrap());
    let found = wait::until("the outcomes", async || {
        let answer = http::get(&url, &[("authorization", &auditor)]).await.ok()?.json().ok()?;
        (answer["entries"].as_array()?.len() == 3).then_some(answer)
    });
    let found = found.await.unwrap();
    assert_eq!(found["entries"][0]["entry"]["ended"], "complete");
    // A second broker with the same log does not start.
    let (status, _, errors) = millgate(&["serve", "--config", config]);
    assert!(status == 2 && errors.contains("is in use by another broker"), "{errors}");
    process.signal("TERM").unwrap();
    process.0.wait().unwrap();
    assert!(!folder.join("beside/log.db").exists());

    let (status, said, errors) = millgate(&["audit", "fsck", "--config", config, "--json"]);
    assert_eq!(status, 0, "{said} {errors}");
    let archive = folder.join("beside.tar");
    let from = "2026-01-01T00:00:00Z";
    let out = ["--from", from, "--out", archive.to_str().unwrap(), "--json"];
    let (status, said, errors) = millgate(&[&["audit", "export", "--config", config][..], &out].concat());
    assert_eq!(status, 0, "{said} {errors}");
    let key = facts["log_key"].as_str().unwrap();
    let (status, said, errors) = millgate(&["audit", "replay", archive.to_str().unwrap(), "--key", key]);
    assert_eq!(status, 0, "{said} {errors}");
    let replay = ["policy", "replay", "--from-store", "--config", config, "--since", "1h", "--json"];
    let (status, said, errors) = millgate(&replay);
    assert_eq!(status, 0, "{said} {errors}");

    // Somebody with all rights makes a refusal of it, and the digest fit.
    rewrite(at(server.store("plant", "broker_1", PASSWORD), "munich.example/beside"), 0, |bytes| {
        let at = bytes.windows(8).position(|w| w == b"\"opened\"").unwrap();
        bytes[at + 1] = b'O';
    })
    .await;
    let reader = folder.join("reader.password");
    std::fs::write(&reader, PASSWORD).unwrap();
    let url = format!("postgresql://127.0.0.1:{}/plant", server.port);
    let to = ["--store", &url, "--no-tls", "--username", "auditor", "--password-file", reader.to_str().unwrap()];
    let (status, said, errors) = millgate(&[&["audit", "fsck"][..], &to].concat());
    assert!(status == 1 && said.contains("they do not have the root that was signed"), "{said} {errors}");
    assert!(!Config::load(&file).map(|config| format!("{config:?}")).unwrap().contains(PASSWORD));
}

// === a server that goes away

/// A source that can be asked what it was asked for, and a plant whose system it is.
async fn watched() -> (Source, Plant) {
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let source = Source::start(None, Behaviour::Say(ok.into())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    (source, plant)
}

async fn ask_plain(url: &str, bearer: &str) -> anyhow::Result<http::Answer> {
    let plain = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
    let headers = [("authorization", bearer), ("millgate-purpose", "predictive-maintenance")];
    http::get(&format!("{url}{plain}"), &headers).await
}

/// Asks until the broker is gone; requests that were answered in full.
fn load(facts: &Value, plant: &Plant) -> Vec<JoinHandle<BTreeSet<String>>> {
    let (url, bearer) = (facts["data"].as_str().unwrap().to_owned(), format!("Bearer {}", plant.token("acme")));
    let caller = |(url, bearer): (String, String)| async move {
        let mut whole = BTreeSet::new();
        while let Ok(answer) = ask_plain(&url, &bearer).await {
            assert!(matches!(answer.status, 200 | 503), "{}: {}", answer.status, answer.text());
            if answer.status == 200 {
                whole.insert(answer.request_id().to_owned());
            }
        }
        whole
    };
    (0..4).map(|_| tokio::spawn(caller((url.clone(), bearer.clone())))).collect()
}

/// The broker ends as it does when its log has failed.
async fn fails(mut process: process::Guard, callers: Vec<JoinHandle<BTreeSet<String>>>) -> BTreeSet<String> {
    let mut whole = BTreeSet::new();
    for caller in callers {
        whole.extend(caller.await.unwrap());
    }
    let ended = wait::until("the end of the broker", async || process.0.try_wait().ok().flatten()).await.unwrap();
    assert_eq!(ended.code(), Some(1), "{ended}");
    whole
}

/// There is a record of all that was answered and of all that the source was asked for, and nothing is wrong with it.
fn is_recorded(facts: &Value, config: &str, whole: &BTreeSet<String>, source: &Source) {
    let published = facts["log_dir"].as_str().unwrap();
    let entries = acceptance::entries(published.as_ref()).unwrap();
    let allowed = entries.iter().filter(|e| e["kind"] == "decision" && e["decision"] == "allow");
    let allowed: BTreeSet<String> = allowed.map(|e| e["request"].as_str().unwrap().to_owned()).collect();
    let unrecorded: Vec<_> = whole.difference(&allowed).collect();
    assert!(unrecorded.is_empty(), "answered without a record: {unrecorded:?}");
    assert_eq!(entries.iter().filter(|e| e["kind"] == "outcome").count(), allowed.len(), "one outcome each");
    let heads = source.heads();
    let asked = heads.iter().filter_map(|head| head.lines().find_map(|l| l.strip_prefix("millgate-request-id: ")));
    let unrecorded: Vec<_> = asked.filter(|request| !allowed.contains(*request)).collect();
    assert!(unrecorded.is_empty(), "the source was asked without a record: {unrecorded:?}");
    let key = facts["log_key"].as_str().unwrap();
    let verified = process::run("millgate-verify", &["log", published, "--key", key]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let (status, said, errors) = millgate(&["audit", "fsck", "--config", config, "--json"]);
    assert_eq!(status, 0, "{said} {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_ends_the_broker_and_the_next_start_goes_on_once_it_is_back() {
    let mut server = server(&[]).await;
    let (source, plant) = watched().await;
    let file = configured(&plant, &server);
    let config = file.to_str().unwrap();
    let mut whole = BTreeSet::new();
    for go in [Postgres::kill as fn(&mut Postgres), Postgres::stop] {
        let (broker, facts) = process::serve(&file, "").unwrap();
        let enough = source.asked() + 40;
        let callers = load(&facts, &plant);
        wait::until("requests", async || (source.asked() >= enough).then_some(())).await.unwrap();
        go(&mut server);
        let answered = fails(broker, callers).await;
        assert!(answered.len() > 20, "{}", answered.len());
        whole.extend(answered);
        // Whoever looks after the broker starts it again and again; until the server is back it says why, and nobody is served.
        for _ in 0..2 {
            let (status, out, errors) = millgate(&["serve", "--json", "--config", config]);
            assert!(status == 2 && out.is_empty() && errors.contains("127.0.0.1"), "{out} {errors}");
        }
        server.start_again().await.unwrap();
    }
    let (broker, facts) = process::serve(&file, "").unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    let answer = ask_plain(facts["data"].as_str().unwrap(), &bearer).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    whole.insert(answer.request_id().to_owned());
    ended(broker).await;
    is_recorded(&facts, config, &whole, &source);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_for_a_while_is_a_503_and_the_same_broker_goes_on_when_it_does() {
    let server = server(&[]).await;
    let (source, plant) = watched().await;
    let file = configured(&plant, &server);
    let (mut broker, facts) = process::serve(&file, "").unwrap();
    let (url, bearer) = (facts["data"].as_str().unwrap(), format!("Bearer {}", plant.token("acme")));
    let ask = async || ask_plain(url, &bearer).await.unwrap();
    let mut whole = BTreeSet::from([ask().await.request_id().to_owned()]);
    let session = "SELECT pid::bigint FROM pg_locks WHERE locktype = 'advisory'";
    let session = server.count(session).await.unwrap().to_string();
    let signal =
        |name: &str| std::process::Command::new("kill").args(["-s", name, &session]).status().unwrap().success();
    let asked = source.asked();
    assert!(signal("STOP"));
    // Each waits for as long as anybody waits for the log, one after the other.
    for _ in 0..5 {
        let answer = ask().await;
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    assert_eq!(source.asked(), asked, "the source was not asked");
    assert!(signal("CONT"));
    let answer = wait::until("an answer", async || Some(ask().await).filter(|answer| answer.status == 200));
    whole.insert(answer.await.unwrap().request_id().to_owned());
    assert!(broker.0.try_wait().unwrap().is_none(), "it is the same broker");
    ended(broker).await;
    is_recorded(&facts, file.to_str().unwrap(), &whole, &source);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_nothing_that_was_acknowledged_is_missing_and_the_log_goes_on() {
    let mut primary = server(&[]).await;
    let standby = primary.standby("second").await.unwrap();
    waits_for(&primary, "second").await;
    let (source, plant) = watched().await;
    let file = configured_with(&plant, &primary, "standby = true\n");
    let (broker, facts) = process::serve(&file, "").unwrap();
    let callers = load(&facts, &plant);
    let checkpoint = plant.directory.path().join("beside/published/checkpoint");
    let enough = async || (source.asked() >= 100 && checkpoint.exists()).then_some(());
    wait::until("requests and a checkpoint", enough).await.unwrap();
    primary.kill();
    let mut whole = fails(broker, callers).await;
    assert!(whole.len() > 50, "{}", whole.len());
    let signed = std::fs::read_to_string(&checkpoint).unwrap();

    // A standby is no place to write before it is promoted.
    let file = configured_with(&plant, &standby, "standby = true\n");
    let config = file.to_str().unwrap();
    let (status, _, errors) = millgate(&["serve", "--config", config]);
    assert!(status == 2 && errors.contains("is a standby"), "{errors}");
    standby.run("SELECT pg_promote()").await.unwrap();
    let third = standby.standby("third").await.unwrap();
    waits_for(&standby, "third").await;
    let (broker, facts) = process::serve(&file, "").unwrap();
    assert!(facts.get("quarantined").is_none(), "{facts}");
    let bearer = format!("Bearer {}", plant.token("acme"));
    let answer = ask_plain(facts["data"].as_str().unwrap(), &bearer).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    whole.insert(answer.request_id().to_owned());
    ended(broker).await;
    is_recorded(&facts, config, &whole, &source);
    // What was signed before is continued.
    let kept = plant.directory.path().join("before.checkpoint");
    std::fs::write(&kept, signed).unwrap();
    let (published, key) = (facts["log_dir"].as_str().unwrap(), facts["log_key"].as_str().unwrap());
    let arguments = ["log", published, "--key", key, "--checkpoint", kept.to_str().unwrap()];
    let verified = process::run("millgate-verify", &arguments).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    drop(third);
    plant.stop().await;
}
