//! Values that are taken away: what goes, what stays, what a crash leaves, and what a check of the store finds.

use super::harness::{self, Home, PutClock, Stand, StoreAt, read_all, vandalise};
use crate::erase::{Erased, Holds, Retention, Wanted};
use crate::faults::{Fault, Step};
use crate::fsck::check;
use crate::reader::Reader;
use crate::{AppendError, Appended, EraseError, Log, LogOptions};
use model::canonical::Members;
use model::entry::{CommitmentClass, Disclosure, Draft, Entry, Erase, Kind};
use model::{Principal, PrincipalKind, Subject, Timestamp, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// 2020-11-22T19:20:00Z: PostgreSQL has a clock of its own, and nothing goes by age that is in the future there.
const START: Timestamp = Timestamp(1_606_072_800_000);

/// As [`harness::options`], with random bytes that do not come twice.
fn options(at: &StoreAt) -> LogOptions {
    let next = AtomicU64::new(1);
    let fill = move |bytes: &mut [u8]| {
        let digest = model::Digest::of(&next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        bytes.iter_mut().zip(digest.0).for_each(|(byte, random)| *byte = random);
    };
    LogOptions { random: Arc::new(fill), clock: harness::ticking(START), ..harness::options(at) }
}

async fn open(at: &StoreAt) -> Log {
    Log::open(options(at)).await.unwrap().0
}

fn principal(name: &str) -> Principal {
    let (of, subject) = name.split_once('/').unwrap();
    Principal {
        organisation: harness::organisation(of),
        kind: PrincipalKind::User,
        subject: Subject::new(subject).unwrap(),
    }
}

fn salt(log: &Log) -> [u8; 16] {
    log.common().nonce
}

/// A refused request of somebody, for whom others may act, with all that it commits to.
fn asks(log: &Log, name: &str, actors: &[&str], path: &str) -> Draft {
    let who = principal(name);
    let (reference, row) = log.principal_reference(&who);
    let mut directory: Vec<_> = row.into_iter().collect();
    let mut members = Members::default();
    members.text("decision", "deny");
    members.text("principal", reference);
    let actors: Vec<Principal> = actors.iter().map(|name| principal(name)).collect();
    let of_actors = actors.iter().map(|actor| {
        let (reference, row) = log.principal_reference(actor);
        directory.extend(row);
        let mut members = Members::default();
        members.text("principal", reference);
        members.text("organisation", &actor.organisation);
        members
    });
    let of_actors: Vec<Members> = of_actors.collect();
    if !of_actors.is_empty() {
        members.objects("actors", of_actors);
    }
    let others = actors.iter().map(|actor| Value::object([("principal", Value::text(actor.to_text()))])).collect();
    let subject = [("actors", Value::Array(others)), ("principal", Value::text(name))];
    let disclosures = [
        (CommitmentClass::Subject, Value::object(subject)),
        (CommitmentClass::Network, Value::object([("user_agent", Value::text(format!("agent of {name}")))])),
        (CommitmentClass::Payload, Value::object([("path", Value::text(path))])),
    ];
    let disclosures = disclosures.map(|(class, values)| Disclosure { class, salt: salt(log), values: values.into() });
    let mut draft =
        Draft::new(Kind::Decision, &log.common(), Some(&who.organisation), members, disclosures.to_vec()).unwrap();
    draft.directory = directory;
    draft
}

async fn ask_and_approve(log: &Log, name: &str) -> Result<Erased, EraseError> {
    ask_and_approve_with(log, name, &[]).await
}

fn on_hold(holds: &[&str]) -> Holds {
    Holds::new(holds.iter().map(|hold| String::from(*hold))).unwrap()
}

async fn ask_and_approve_with(log: &Log, name: &str, holds: &[&str]) -> Result<Erased, EraseError> {
    let organisation = principal(name).organisation;
    let (requested_by, _) = log.principal_reference(&principal("norden/first"));
    let (approved_by, _) = log.principal_reference(&principal("norden/second"));
    let id = format!("request for {}", log.size());
    let wanted = Wanted {
        id: id.clone(),
        organisation: &organisation,
        principal: name,
        basis: "Art. 17",
        requested_by: &requested_by,
    };
    log.request_erasure(&wanted).await?;
    let pending = log.erasure_request(&id).await?.unwrap();
    assert_eq!((pending.principal.as_deref(), pending.done), (Some(name), None));
    let erased = log.erase(&pending, &approved_by, &on_hold(holds)).await?;
    assert_eq!(log.erasure_request(&id).await?.unwrap().done, erased.entries.last().copied());
    Ok(erased)
}

async fn findings(at: &StoreAt) -> Vec<String> {
    check(at, None, |_, _| {}).await.unwrap().findings.iter().map(ToString::to_string).collect()
}

async fn append(log: &Log, draft: Draft) -> Appended {
    log.append(draft).await.unwrap()
}

pub async fn whoever_is_erased_leaves_nothing_behind_and_nobody_else_loses_anything(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let own = append(&log, asks(&log, "acme/anna", &[], "/private/anna")).await.index;
    let other = append(&log, asks(&log, "acme/anna-2", &[], "/other")).await.index;
    let acted = append(&log, asks(&log, "bolt/otto", &["acme/anna"], "/for-otto")).await.index;
    let searched = append(&log, asks(&log, "audax/vera", &[], "/entries?principal=acme/anna")).await.index;
    // Enough that pages of the database split.
    for n in 0..300 {
        append(&log, asks(&log, &format!("acme/somebody-{}", (n * 7919) % 1_000), &[], "/x")).await;
    }
    for text in ["\"acme/anna\"", "/private/anna", "agent of acme/anna\"", "/for-otto"] {
        assert!(dir.holds(text).await, "{text} is there before");
    }
    let before = read_all(dir.path()).await;
    let (reference, _) = log.principal_reference(&principal("acme/anna"));

    // In PostgreSQL older copies of a row are the server's, and nobody is kept waiting for what does not come.
    let erasing = tokio::time::timeout(Duration::from_secs(8), ask_and_approve(&log, "acme/anna"));
    let erased = erasing.await.unwrap().unwrap();
    // Two of her own, what she asked for by way of the others is one of them, and the search.
    assert_eq!((erased.count, erased.named, erased.wiped), (4, 1, !dir.is_in_postgres()));
    for text in ["\"acme/anna\"", "=acme/anna\"", "/private/anna", "agent of acme/anna\"", "/for-otto"] {
        assert!(!dir.holds(text).await, "{text} is still there");
    }
    for gone in [own, acted] {
        assert_eq!(log.disclosure(gone).await.unwrap(), None);
    }
    assert!(log.disclosure(other).await.unwrap().unwrap().contains("acme/anna-2"));
    let left = log.disclosure(searched).await.unwrap().unwrap();
    assert!(left.contains("audax/vera") && left.contains("network") && !left.contains("payload"), "{left}");
    assert_eq!(log.erased_under(own, CommitmentClass::Network).await.unwrap(), erased.entries.first().copied());
    assert_eq!(log.erased_under(other, CommitmentClass::Network).await.unwrap(), None);
    // Who comes back is somebody new, and can be erased again.
    append(&log, asks(&log, "acme/anna", &[], "/back")).await;
    let (again, row) = log.principal_reference(&principal("acme/anna"));
    assert!(again != reference && row.is_none(), "known by another reference, which is stored");
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
    ask_and_approve(&log, "acme/anna").await.unwrap();
    assert!(!dir.holds("acme/anna\"").await);
    log.close().await;

    // What was written is what it was, so every proof is what it was.
    let after = read_all(dir.path()).await;
    assert_eq!(after.bytes[..before.bytes.len()], before.bytes);
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
    let log = open(dir.path()).await;
    assert_ne!(log.principal_reference(&principal("acme/anna")).0, again, "and stays so");
    log.close().await;
}

pub async fn what_was_under_way_when_somebody_was_erased_is_not_written(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    append(&log, asks(&log, "acme/anna", &[], "/before")).await;
    let late = [asks(&log, "acme/anna", &[], "/late"), asks(&log, "bolt/otto", &["acme/anna"], "/late-too")];
    ask_and_approve(&log, "acme/anna").await.unwrap();
    for draft in late {
        assert_eq!(log.append(draft).await.err(), Some(AppendError::Overloaded));
    }
    assert!(!dir.holds("/late").await);
    append(&log, asks(&log, "acme/anna", &[], "/again")).await;
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
    log.close().await;
}

pub async fn a_fault_at_any_step_leaves_no_value_gone_without_its_entry(stand: &Stand) {
    for step in [Step::BeforeStage, Step::AfterStage, Step::BeforeCommit, Step::AfterCommit] {
        for fault in [Fault::Failed, Fault::Full] {
            let dir = stand.home().await;
            let armed = Arc::new(AtomicBool::new(false));
            let plan = {
                let armed = armed.clone();
                move |at| (at == step && armed.swap(false, Ordering::Relaxed)).then_some(fault)
            };
            let log = harness::open_failing(&options(dir.path()), plan).await.unwrap();
            append(&log, asks(&log, "acme/anna", &[], "/private")).await;
            let organisation = principal("acme/anna").organisation;
            let wanted = Wanted {
                id: "id".into(),
                organisation: &organisation,
                principal: "acme/anna",
                basis: "Art. 17",
                requested_by: "a",
            };
            log.request_erasure(&wanted).await.unwrap();
            let pending = log.erasure_request("id").await.unwrap().unwrap();
            armed.store(true, Ordering::Relaxed);
            let first = log.erase(&pending, "b", &Holds::default()).await;
            assert!(first.is_err(), "{step:?} {fault:?}");
            if log.is_healthy() {
                // Whoever was to be erased is not locked out.
                append(&log, asks(&log, "acme/anna", &[], "/after")).await;
            }
            log.close().await;
            assert_eq!(findings(dir.path()).await, Vec::<String>::new(), "{step:?} {fault:?}");
            let log = open(dir.path()).await;
            let pending = log.erasure_request("id").await.unwrap().unwrap();
            if pending.done.is_none() {
                log.erase(&pending, "b", &Holds::default()).await.unwrap();
            }
            assert!(!dir.holds("/private").await, "{step:?} {fault:?}");
            log.close().await;
            assert_eq!(findings(dir.path()).await, Vec::<String>::new(), "{step:?} {fault:?}");
        }
    }
}

/// Entry 1 of Anna, entry 2 of Otto; Anna is erased, if `erase`.
async fn small(stand: &Stand, erase: bool) -> Home {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    append(&log, asks(&log, "acme/anna", &[], "/a")).await;
    append(&log, asks(&log, "bolt/otto", &[], "/o")).await;
    if erase {
        ask_and_approve(&log, "acme/anna").await.unwrap();
    }
    log.close().await;
    dir
}

/// What is stored behind an entry, without some classes.
async fn body_of(home: &Home, index: u64, without: &[&str]) -> String {
    let reader = Reader::open(home.path()).await.unwrap();
    let row = reader.disclosures((index, index), 1).await.unwrap().remove(0);
    reader.close().await;
    let Ok(Value::Object(mut values)) = model::canonical::parse(&row.body) else { panic!("entry {index}") };
    without.iter().for_each(|class| drop(values.remove(class)));
    String::from_utf8(Value::Object(values).encode()).unwrap()
}

/// Puts a row of the log's into one of its tables, behind its back.
async fn insert(home: &Home, table: &str, values: &str) {
    let log = if home.is_in_postgres() { "1, " } else { "" };
    vandalise(home.path(), &format!("INSERT INTO {table} VALUES ({log}{values})")).await;
}

pub async fn a_disclosure_that_was_altered_or_removed_without_an_erasure_is_found(stand: &Stand) {
    let gone = "are missing, and no entry says that they were erased";
    for (sql, expected) in [
        (
            "UPDATE disclosure SET body = replace(body, 'acme/anna', 'acme/berta') WHERE entry_index = 1",
            vec![
                String::from("entry 1: the values of `network` are not those that were recorded"),
                String::from("entry 1: the values of `subject` are not those that were recorded"),
            ],
        ),
        (
            "DELETE FROM disclosure WHERE entry_index = 2",
            ["network", "payload", "subject"].map(|class| format!("entry 2: the values of `{class}` {gone}")).to_vec(),
        ),
        (
            "DELETE FROM directory WHERE principal = 'bolt/otto'",
            vec![String::from("entry 2: the directory does not say who `…` is, and no entry says that it was erased")],
        ),
        (
            "UPDATE disclosure SET body = 'LESSENED' WHERE entry_index = 1",
            vec![format!("entry 1: the values of `payload` {gone}")],
        ),
        (
            "UPDATE disclosure SET entry_index = 0 WHERE entry_index = 1",
            ["network", "payload", "subject"]
                .map(|class| format!("entry 0: the values of `{class}` are not those that were recorded"))
                .into_iter()
                .chain(
                    ["network", "payload", "subject"].map(|class| format!("entry 1: the values of `{class}` {gone}")),
                )
                .collect(),
        ),
    ] {
        let dir = small(stand, false).await;
        let lessened = body_of(&dir, 1, &["payload"]).await;
        vandalise(dir.path(), &sql.replace("LESSENED", &lessened)).await;
        let found = findings(dir.path()).await.into_iter().map(|finding| match finding.split('`').nth(1) {
            Some(reference) if reference.len() == 32 => finding.replace(reference, "…"),
            _ => finding,
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{sql}");
    }
}

pub async fn an_erasure_that_did_not_erase_or_is_hidden_is_found(stand: &Stand) {
    let sound = small(stand, false).await;
    let body = body_of(&sound, 1, &[]).await;
    let dir = small(stand, true).await;
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
    insert(&dir, "disclosure", &format!("1, '{body}'")).await;
    let again = findings(dir.path()).await;
    assert!(again.iter().all(|finding| finding.starts_with("entry 1: ")) && again.len() >= 3, "{again:?}");

    let dir = small(stand, true).await;
    vandalise(dir.path(), "DELETE FROM erasure").await;
    let hidden = findings(dir.path()).await;
    assert!(
        hidden.contains(&String::from("entries 3 to 4: it is an erasure, and the store does not list it as one")),
        "{hidden:?}"
    );
    assert!(hidden.iter().any(|finding| finding.contains("no entry says that they were erased")), "{hidden:?}");

    let dir = small(stand, true).await;
    insert(&dir, "erasure", "2").await;
    assert_eq!(findings(dir.path()).await, ["entry 2: the store lists it as an erasure, and it is none"]);

    let dir = small(stand, true).await;
    let reader = Reader::open(dir.path()).await.unwrap();
    let entry = crate::recover::entry_bytes(&reader, 1).await.unwrap().unwrap();
    reader.close().await;
    let reference = Entry::parse(&entry).unwrap().text("principal").unwrap().to_owned();
    insert(&dir, "directory", &format!("'acme/anna', '{reference}'")).await;
    assert_eq!(
        findings(dir.path()).await,
        [format!("entry 4: `{reference}` was erased, and the directory still says who it is")]
    );
}

pub async fn a_salt_that_is_used_again_is_found(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    for (class, text) in [(CommitmentClass::Network, "a"), (CommitmentClass::Payload, "b")] {
        let disclosure = Disclosure { class, salt: [9; 16], values: Value::text(text).into() };
        let draft = Draft::new(Kind::RefusedLogin, &log.common(), None, [], vec![disclosure]).unwrap();
        append(&log, draft).await;
    }
    log.close().await;
    assert_eq!(findings(dir.path()).await, ["entry 2: the salt of `payload` is that of another value"]);
}

/// Whoever has the log's key can write such entries: one that asks, about `asked`, and one that erases the values behind
/// entry 1, all that is in `members` and Anna's reference.
async fn forge(log: &Log, asked: &str, (first, last): (u64, u64)) {
    let (reference, _) = log.principal_reference(&principal("acme/anna"));
    let acme = harness::organisation("acme");
    let common = [("scope", "principal"), ("request", "r"), ("requested_by", "a")];
    let (of_request, _) = log.principal_reference(&principal(asked));
    let mut members = Members::default();
    for (name, text) in common.into_iter().chain([("event", "requested"), ("principal", of_request.as_str())]) {
        members.text(name, text);
    }
    let draft = Draft::new(Kind::Erasure, &log.common(), Some(&acme), members, vec![]).unwrap();
    let requested = append(log, draft).await.index;
    let mut members = Members::default();
    for (name, text) in
        common.into_iter().chain([("event", "erased"), ("principal", reference.as_str()), ("approved_by", "b")])
    {
        members.text(name, text);
    }
    members.value("classes", &Value::texts(["network", "payload", "subject"]));
    members.count("requested", requested);
    members.count("first", first);
    members.count("last", last);
    members.count("count", 1);
    let mut draft = Draft::new(Kind::Erasure, &log.common(), Some(&acme), members, vec![]).unwrap();
    draft.erase = Some(Box::new(Erase { deleted: vec![1], ..Erase::default() }));
    append(log, draft).await;
}

fn missing(index: u64) -> [String; 3] {
    ["network", "payload", "subject"].map(|class| {
        format!("entry {index}: the values of `{class}` are missing, and no entry says that they were erased")
    })
}

pub async fn a_widened_erasure_excuses_nothing(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    append(&log, asks(&log, "acme/anna", &[], "/a")).await;
    forge(&log, "acme/anna", (0, 1_000)).await;
    append(&log, asks(&log, "acme/anna", &[], "/later")).await;
    log.close().await;
    let widened = String::from("entry 3: an erasure that claims entries that were not written yet");
    let found = findings(dir.path()).await;
    assert_eq!((&found[..1], &found[1..]), (std::slice::from_ref(&widened), &missing(1)[..]));
    vandalise(dir.path(), "DELETE FROM disclosure WHERE entry_index = 4").await;
    assert_eq!(findings(dir.path()).await, [&[widened], &missing(1)[..], &missing(4)[..]].concat());
}

pub async fn a_request_that_was_made_for_another_person_excuses_nothing_in_a_store(stand: &Stand) {
    for (asked, expected) in [("acme/anna", vec![]), ("acme/otto", missing(1).to_vec())] {
        let dir = stand.home().await;
        let log = open(dir.path()).await;
        append(&log, asks(&log, "acme/anna", &[], "/a")).await;
        append(&log, asks(&log, "acme/otto", &[], "/o")).await;
        forge(&log, asked, (1, 1)).await;
        log.close().await;
        let found = findings(dir.path()).await;
        let nobody = String::from("entry 4: an erasure that nobody has asked for");
        assert_eq!(found.contains(&nobody), !expected.is_empty(), "{asked}: {found:?}");
        assert!(expected.iter().all(|one| found.contains(one)), "{asked}: {found:?}");
        assert_eq!(found.len(), if expected.is_empty() { 0 } else { 4 }, "{asked}: {found:?}");
    }
}

pub async fn a_legal_hold_outlives_the_erasure_of_whoever_took_part_in_the_same_entries(stand: &Stand) {
    for hold in ["bolt/otto", "bolt"] {
        let dir = stand.home().await;
        let log = open(dir.path()).await;
        let own = append(&log, asks(&log, "acme/svc", &[], "/own")).await.index;
        let acted = append(&log, asks(&log, "bolt/otto", &["acme/svc"], "/for-otto")).await.index;
        let searched = append(&log, asks(&log, "bolt/otto", &[], "/entries?principal=acme/svc")).await.index;
        let other = append(&log, asks(&log, "audax/vera", &["acme/svc"], "/for-vera")).await.index;
        let before = [log.disclosure(acted).await.unwrap(), log.disclosure(searched).await.unwrap()];
        assert!(before.iter().all(Option::is_some));
        let erased = ask_and_approve_with(&log, "acme/svc", &[hold]).await.unwrap();
        assert_eq!((erased.count, erased.held), (3, 2), "two of its own and the request: {hold}");
        assert_eq!([log.disclosure(acted).await.unwrap(), log.disclosure(searched).await.unwrap()], before);
        for gone in [own, other] {
            assert_eq!(log.disclosure(gone).await.unwrap(), None);
            assert!(log.erased_under(gone, CommitmentClass::Subject).await.unwrap().is_some());
        }
        assert_eq!(log.erased_under(acted, CommitmentClass::Subject).await.unwrap(), None);
        let said = read_all(dir.path()).await.bytes.last().map(|entry| String::from_utf8(entry.clone()).unwrap());
        assert!(said.as_ref().is_some_and(|said| said.contains("\"held")), "{said:?}");
        log.close().await;
        assert_eq!(findings(dir.path()).await, Vec::<String>::new());
        // What a hold keeps nobody takes and calls it erased.
        let reader = Reader::open(dir.path()).await.unwrap();
        assert!(reader.disclosures((acted, acted), 1).await.unwrap().len() == 1);
        reader.close().await;
        vandalise(dir.path(), &format!("DELETE FROM disclosure WHERE entry_index = {acted}")).await;
        assert_eq!(findings(dir.path()).await, missing(acted), "{hold}");
    }
}

pub async fn whoever_is_on_hold_by_now_is_not_erased(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let own = append(&log, asks(&log, "acme/anna", &[], "/a")).await.index;
    let refused = ask_and_approve_with(&log, "acme/anna", &["acme/anna"]).await;
    assert!(matches!(refused, Err(EraseError::OnHold)), "{refused:?}");
    assert!(log.disclosure(own).await.unwrap().is_some());
    log.close().await;
}

pub async fn a_request_that_two_approve_at_once_is_carried_out_once_and_not_on_whoever_came_back(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    append(&log, asks(&log, "acme/anna", &[], "/a")).await;
    let acme = harness::organisation("acme");
    let mut requests = Vec::new();
    for id in ["one", "two"] {
        let wanted =
            Wanted { id: id.into(), organisation: &acme, principal: "acme/anna", basis: "Art. 17", requested_by: "a" };
        log.request_erasure(&wanted).await.unwrap();
        requests.push(log.erasure_request(id).await.unwrap().unwrap());
    }
    let holds = Holds::default();
    let done = log.erase(&requests[0], "b", &holds).await.unwrap();
    let back = append(&log, asks(&log, "acme/anna", &[], "/back")).await.index;
    // Both were looked up before.
    let again = log.erase(&requests[0], "c", &holds).await;
    assert!(matches!(again, Err(EraseError::Done(under)) if Some(&under) == done.entries.last()), "{again:?}");
    let other = log.erase(&requests[1], "b", &holds).await;
    assert!(matches!(other, Err(EraseError::Another)), "{other:?}");
    assert!(log.disclosure(back).await.unwrap().is_some());
    log.close().await;
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
}

pub async fn one_entry_of_a_clock_that_was_ahead_does_not_end_retention(stand: &Stand) {
    let dir = stand.home().await;
    let clock = PutClock::at(START);
    let (log, _) = Log::open(LogOptions { clock: clock.clone(), ..options(dir.path()) }).await.unwrap();
    let at = |days: i64| clock.put(START.plus_millis(days * DAY_MS));
    at(5_000);
    let ahead = append(&log, asks(&log, "acme/anna", &[], "/ahead")).await.index;
    at(1);
    let old = append(&log, asks(&log, "acme/anna", &[], "/old")).await.index;
    at(20);
    let young = append(&log, asks(&log, "acme/anna", &[], "/young")).await.index;
    let policy = Retention { days: [(CommitmentClass::Network, 10)].into(), holds: Holds::default(), entries: None };
    let now = Timestamp(START.millis() + 20 * DAY_MS);
    assert_eq!(log.retain(&policy, now).await.unwrap(), 1);
    assert_eq!(log.retain(&policy, now).await.unwrap(), 0);
    for (index, is_there) in [(ahead, true), (old, false), (young, true)] {
        let values = log.disclosure(index).await.unwrap().unwrap();
        assert_eq!(values.contains("network"), is_there, "entry {index}");
    }
    assert_eq!(log.retain(&policy, Timestamp(START.millis() + 40 * DAY_MS)).await.unwrap(), 1, "and goes on");
    log.close().await;
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
}

pub async fn an_erasure_of_what_is_not_there_poisons_the_log_rather_than_lie(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let mut draft = Draft::new(Kind::Erasure, &log.common(), None, [], vec![]).unwrap();
    draft.erase = Some(Box::new(Erase { deleted: vec![7], ..Erase::default() }));
    assert_eq!(log.append(draft).await.err(), Some(AppendError::Poisoned));
}

const DAY_MS: i64 = 86_400_000;

/// Or a legal hold on the person would not be seen.
pub async fn a_request_whose_name_has_gone_by_age_still_knows_whom_it_is_about(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    append(&log, asks(&log, "acme/anna", &[], "/a")).await;
    let organisation = principal("acme/anna").organisation;
    let wanted = Wanted {
        id: "id".into(),
        organisation: &organisation,
        principal: "acme/anna",
        basis: "Art. 17",
        requested_by: "a",
    };
    log.request_erasure(&wanted).await.unwrap();
    let retention = Retention { days: [(CommitmentClass::Subject, 1)].into(), holds: Holds::default(), entries: None };
    assert_eq!(log.retain(&retention, Timestamp(START.millis() + 9 * DAY_MS)).await.unwrap(), 2);
    let pending = log.erasure_request("id").await.unwrap().unwrap();
    assert_eq!(pending.principal.as_deref(), Some("acme/anna"));
    log.erase(&pending, "b", &Holds::default()).await.unwrap();
    assert_eq!(log.erasure_request("id").await.unwrap().unwrap().principal, None);
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
    log.close().await;
}

pub async fn values_go_by_age_as_the_policy_says_and_those_on_hold_stay(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let anna = append(&log, asks(&log, "acme/anna", &[], "/a")).await.index;
    let held = append(&log, asks(&log, "acme/berta", &[], "/b")).await.index;
    let company = append(&log, asks(&log, "bolt/otto", &[], "/o")).await.index;
    let policy = |holds: &[&str]| Retention {
        days: [(CommitmentClass::Network, 2), (CommitmentClass::Payload, 400)].into(),
        holds: Holds::new(holds.iter().map(|hold| String::from(*hold))).unwrap(),
        entries: None,
    };
    let held_back = policy(&["acme/berta", "bolt"]);
    let later = |days: i64| Timestamp(START.millis() + days * DAY_MS);
    assert_eq!(log.retain(&held_back, later(1)).await.unwrap(), 0, "nothing is old enough");
    assert_eq!(log.retain(&held_back, later(3)).await.unwrap(), 1);
    assert_eq!(log.retain(&held_back, later(3)).await.unwrap(), 0, "and nothing is left to do");
    let values = async |index| log.disclosure(index).await.unwrap().unwrap();
    assert!(!values(anna).await.contains("network") && values(anna).await.contains("payload"));
    for index in [held, company] {
        assert!(values(index).await.contains("network"), "entry {index} is on hold");
    }
    let size = log.size();
    let stored = read_all(dir.path()).await;
    let entry = &stored.entries[usize::try_from(size - 1).unwrap()];
    assert_eq!((entry.kind, entry.text("event")), (Kind::Erasure, Some("retention")));
    let digest = entry.contents().next().unwrap();
    let text = String::from_utf8(log.content(&digest).await.unwrap().unwrap()).unwrap();
    assert_eq!(text, "{\"disclosures_days\":{\"network\":2,\"payload\":400},\"v\":\"millgate-retention/1\"}");
    let bytes = String::from_utf8(stored.bytes.last().unwrap().clone()).unwrap();
    assert!(!bytes.contains("berta"), "whoever is on hold stands there by reference: {bytes}");
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
    log.close().await;

    // The hold is lifted, and then all of it is old.
    let log = open(dir.path()).await;
    assert_eq!(log.retain(&policy(&[]), later(3)).await.unwrap(), 2);
    assert_eq!(log.retain(&policy(&[]), later(500)).await.unwrap(), 3);
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
    log.close().await;
    vandalise(dir.path(), "DELETE FROM disclosure WHERE entry_index = 2").await;
    let found = findings(dir.path()).await;
    assert_eq!(found, ["entry 2: the values of `subject` are missing, and no entry says that they were erased"]);
}

/// In PostgreSQL no program ever made a schema without this table.
#[cfg(test)]
#[tokio::test]
async fn a_store_of_an_earlier_program_is_erased_from_like_any_other() {
    let dir = small(&Stand::Sqlite, false).await;
    vandalise(dir.path(), "INSERT INTO erasure VALUES (1); DROP TABLE erasure").await;
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
    let log = open(dir.path()).await;
    ask_and_approve(&log, "acme/anna").await.unwrap();
    log.close().await;
    assert_eq!(findings(dir.path()).await, Vec::<String>::new());
    assert!(!dir.holds("acme/anna").await);
}
