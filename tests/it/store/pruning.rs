//! Entries go by one function of the database, which has a clock and a calendar of its own.

use super::{PASSWORD, at, broker, connect, refused, server};
use acceptance::postgres::{SUPERUSER, SUPERUSER_PASSWORD};
use audit::postgres::init;
use audit::tests::harness::{ORIGIN, PutClock, fill, fill_one_bundle, options, publisher, read_all};
use audit::{Log, LogOptions, fsck};
use model::{Clock as _, Timestamp};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_of_the_databases_deletes_nothing() {
    let server = server(&[]).await;
    // 2100-01-01T00:00:00Z
    let clock = PutClock::at(Timestamp(4_102_444_800_000));
    let log = Log::open(LogOptions { clock: clock.clone(), ..options(broker(&server)) }).await.unwrap().0;
    fill(&log, 5).await;
    let out = tempfile::tempdir().unwrap();
    let entries = Some(audit::Kept { days: 60, statement: None });
    let days = [(model::entry::CommitmentClass::Network, 1)].into();
    let retention = audit::Retention { entries, days, ..audit::Retention::default() };
    let bounds = audit::prune::Bounds { published: out.path().to_owned(), is_witnessed: false };
    let erased = log.retain(&retention, clock.now()).await;
    let is_ahead = |error: &audit::EraseError| matches!(error, audit::EraseError::Clock(audit::ClockDoubt::Database { now, .. }) if *now == clock.now());
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
