//! Entries that are not kept any longer: what goes, what stays, what holds it back, what a crash leaves, and what is found where
//! somebody goes further.

use super::harness::{options as plain_options, *};
use super::stand::a_file_holds;
use crate::erase::{Holds, Kept, Retention, Wanted};
use crate::evidence::{EvidenceError, Which};
use crate::fsck::{Beside, check};
use crate::index::BLOCK;
use crate::keys::{KeyPlace, KeyPlaces};
use crate::postgres::PostgresStore;
use crate::prune::{Bounds, PruneError, preview};
use crate::sqlite::SqliteStore;
use crate::store::{Batch, CheckpointRow, Head, OrganisationState, Scrubbed, Store, StoreError};
use crate::{
    AppendError, Appended, ClockDoubt, Cosigned, EraseError, Keys, Log, LogOptions, OpenError, Prove, PublishError,
    PublishOptions, Publisher, Query, Stored, Witnesses,
};
use model::canonical::Members;
use model::entry::{CommitmentClass, Disclosure, Draft, Entry, Kind};
use model::pruning::Prune;
use model::{Clock, OrganisationId, Principal, PrincipalKind, Subject, Timestamp, Value};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const DAY_MS: i64 = 86_400_000;
/// 2020-11-22T19:20:00Z: PostgreSQL has a clock of its own, and prunes nothing that is in the future there.
const START: Timestamp = Timestamp(1_606_072_800_000);
const SLIP_MS: i64 = 120_000;

/// A clock that stands where it is put.
#[derive(Debug, Default)]
struct Put {
    gone: AtomicI64,
    /// How far it was set from there.
    set: AtomicI64,
    /// Looks at it until it is set back a little; 0: it is not.
    slips_in: AtomicU64,
}

impl Clock for Put {
    fn now(&self) -> Timestamp {
        let set_back = |left: u64| left.checked_sub(1);
        if self.slips_in.fetch_update(Ordering::Relaxed, Ordering::Relaxed, set_back) == Ok(1) {
            self.set.fetch_sub(SLIP_MS, Ordering::Relaxed);
        }
        Timestamp(self.gone.load(Ordering::Relaxed) + self.set.load(Ordering::Relaxed))
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.gone.load(Ordering::Relaxed).try_into().unwrap())
    }
}

/// A log that is published, and its time.
struct Plant {
    home: Home,
    out: TempDir,
    clock: Arc<Put>,
    next: Arc<AtomicU64>,
}

impl Plant {
    async fn new(stand: &Stand) -> Self {
        let clock = Arc::new(Put { gone: AtomicI64::new(START.millis()), ..Put::default() });
        Self { home: stand.home().await, out: tempfile::tempdir().unwrap(), clock, next: Arc::new(AtomicU64::new(1)) }
    }

    /// Random bytes do not come twice.
    fn options(&self) -> LogOptions {
        let next = self.next.clone();
        let fill = move |bytes: &mut [u8]| {
            let digest = model::Digest::of(&next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            bytes.iter_mut().zip(digest.0).for_each(|(byte, random)| *byte = random);
        };
        LogOptions { random: Arc::new(fill), clock: self.clock.clone(), ..plain_options(self.home.path()) }
    }

    async fn open(&self) -> Log {
        Log::open(self.options()).await.unwrap().0
    }

    async fn publisher(&self, log: &Log) -> Publisher {
        self.try_publisher(log, self.publishing(kept(60))).await.unwrap()
    }

    /// It acts only when told.
    fn publishing(&self, retention: Retention) -> PublishOptions {
        PublishOptions { interval_ms: 3_600_000, retention, linger_ms: 0, ..PublishOptions::new(self.out.path()) }
    }

    async fn try_publisher(&self, log: &Log, options: PublishOptions) -> Result<Publisher, PublishError> {
        Publisher::start(log, key(), options).await
    }

    /// All of it is signed and published.
    async fn close(&self, log: &Log, publisher: &Publisher) {
        log.seal().await;
        publisher.stop().await.unwrap();
        log.close().await;
    }

    /// Publishing begins with the prunings of the store, or it does not begin, and nothing is changed then.
    async fn refused(&self, retention: Retention) -> PublishError {
        let files = |dir: &std::path::Path| {
            let mut all = Vec::new();
            every_file(dir, &mut all);
            all
        };
        let before = files(self.out.path());
        let log = self.open().await;
        let error = self.try_publisher(&log, self.publishing(retention)).await.unwrap_err();
        log.close().await;
        assert!(files(self.out.path()) == before, "published files were changed");
        error
    }

    /// So many days after the start.
    fn day(&self, days: i64) {
        self.clock.gone.store(START.millis() + days * DAY_MS, Ordering::Relaxed);
    }

    /// Somebody sets it so many days ahead.
    fn set_ahead(&self, days: i64) {
        self.clock.set.store(days * DAY_MS, Ordering::Relaxed);
    }

    fn bounds(&self) -> Bounds {
        Bounds { published: self.out.path().to_owned(), is_witnessed: false }
    }

    async fn prune(&self, log: &Log) -> Result<u64, PruneError> {
        log.prune(&kept(60), &self.bounds()).await
    }

    async fn findings(&self) -> Vec<String> {
        let beside = Some(self.out.path());
        let report = check(self.home.path(), beside, |_, _| {}).await.unwrap();
        report.findings.iter().map(ToString::to_string).collect()
    }

    fn published(&self, below: &str) -> bool {
        self.out.path().join(below).exists()
    }

    /// 600 refusals of `who` on the first day, published; what is left of the prefix is pruned on day 100, and that is not
    /// published yet.
    async fn pruned(&self, who: &str) -> (Log, Publisher) {
        let log = self.open().await;
        let publisher = self.publisher(&log).await;
        asks_often(&log, who, 600).await;
        self.day(100);
        asks_often(&log, "bolt/otto", 10).await;
        publisher.publish_now().await.unwrap();
        assert_eq!(self.prune(&log).await.unwrap(), 512);
        (log, publisher)
    }
}

fn kept(days: u32) -> Retention {
    Retention {
        entries: Some(Kept { days, statement: Some(String::from("as the works council agreed")) }),
        ..Retention::default()
    }
}

fn holding(days: u32, holds: &[&str]) -> Retention {
    let holds = Holds::new(holds.iter().map(|hold| String::from(*hold))).unwrap();
    Retention { holds, ..kept(days) }
}

pub(super) fn principal(name: &str) -> Principal {
    let (of, subject) = name.split_once('/').unwrap();
    Principal { organisation: organisation(of), kind: PrincipalKind::User, subject: Subject::new(subject).unwrap() }
}

/// A refused request of somebody, with what it commits to.
pub(super) fn asks(log: &Log, name: &str) -> Draft {
    let who = principal(name);
    let (reference, row) = log.principal_reference(&who);
    let mut members = Members::default();
    members.text("decision", "deny");
    members.text("principal", reference);
    members.text("resource", format!("Signal/of-{}", who.organisation));
    let values = Value::object([("principal", Value::text(name))]).into();
    let disclosure = Disclosure { class: CommitmentClass::Subject, salt: log.common().nonce, values };
    let mut draft =
        Draft::new(Kind::Decision, &log.common(), Some(&who.organisation), members, vec![disclosure]).unwrap();
    draft.directory = row.into_iter().collect();
    draft
}

/// In rows of the store that end nowhere in particular.
async fn asks_often(log: &Log, name: &str, count: usize) -> Vec<Appended> {
    let mut appended = Vec::new();
    for some in (0..count).collect::<Vec<_>>().chunks(99) {
        let appends = some.iter().map(|_| log.append(asks(log, name)));
        for one in futures_util::future::join_all(appends).await {
            appended.push(one.unwrap());
        }
    }
    appended
}

fn every_file(dir: &std::path::Path, all: &mut Vec<(std::path::PathBuf, Vec<u8>)>) {
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            every_file(&path, all);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
}

/// What is stored of the log from an entry on.
async fn entries_from(log: &Log, first: u64) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    for index in first..log.size() {
        entries.push(log.entry(index).await.unwrap().unwrap());
    }
    entries
}

async fn last_pruning(log: &Log) -> model::pruning::Pruning {
    crate::prune::latest(&log.inner.reader).await.unwrap().unwrap()
}

pub async fn what_is_old_enough_goes_and_everything_else_stays_what_it_was(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    let old = asks_often(&log, "acme/anna", 600).await;
    plant.day(100);
    let young = asks_often(&log, "bolt/otto", 10).await;
    let published = publisher.publish_now().await.unwrap();
    let before = entries_from(&log, 512).await;
    let (held, later) = (old[99], young[3]);
    let evidence = log.evidence(plant.out.path(), later.index, &[]).await.unwrap();
    let root = log.inner.reader.head().await.unwrap().root();

    assert_eq!(plant.prune(&log).await.unwrap(), 512);
    assert_eq!(plant.prune(&log).await.unwrap(), 0, "and nothing is left to do");
    // The entry says what went, and is the only new one.
    let said = last_pruning(&log).await;
    assert_eq!((said.index, log.size()), (published.size, published.size + 1));
    assert_eq!((said.first, said.minimum, said.count(), said.days), (0, 512, 512, 60));
    assert_eq!(said.before.to_rfc3339(), "2020-11-23T00:00:00.000Z", "the midnight behind the last that went");
    let places: Vec<_> = said.organisations.iter().map(|(id, at)| (id.to_string(), at.sequence, at.previous)).collect();
    assert_eq!(places, [(String::from("acme"), 511, Some(511))]);
    let policy = String::from_utf8(log.content(&said.policy).await.unwrap().unwrap()).unwrap();
    assert_eq!(
        policy,
        "{\"disclosures_days\":{},\"entries\":{\"days\":60,\"statement\":\"as the works council agreed\"},\"v\":\"millgate-retention/1\"}"
    );
    // What stays is what it was.
    let after = entries_from(&log, 512).await;
    assert_eq!(after[..before.len()], before);
    assert_eq!(log.entry(held.index).await.unwrap(), None);
    assert_eq!(log.disclosure(held.index).await.unwrap(), None);
    assert!(log.disclosure(later.index).await.unwrap().is_some());
    assert_eq!(log.evidence(plant.out.path(), later.index, &[]).await.unwrap(), evidence);
    // Nobody is told of what is gone as if it had never been.
    let gone = log.evidence(plant.out.path(), held.index, &[]).await;
    assert!(
        matches!(gone, Err(EvidenceError::Pruned { index, pruned }) if index == held.index && pruned.below == 512),
        "{gone:?}"
    );
    let page = log.query(&Query::default()).await.unwrap();
    assert_eq!(page.pruned.map(|pruned| (pruned.below, pruned.under)), Some((512, said.index)));
    let of_today = Query { from: Some(Timestamp(START.millis() + 50 * DAY_MS)), ..Query::default() };
    assert_eq!(log.query(&of_today).await.unwrap().pruned, None, "of that time nothing is gone");
    assert_eq!(plant.findings().await, Vec::<String>::new());

    // Published files go when the entry is published, and not before.
    assert!(plant.published("tile/entries/000") && plant.published("tile/entries/001"));
    publisher.publish_now().await.unwrap();
    assert!(!plant.published("tile/entries/000") && !plant.published("tile/entries/001"));
    assert!(plant.published("tile/entries/002.p/100") && plant.published("tile/0/000") && plant.published("pruned"));
    assert_eq!(plant.findings().await, Vec::<String>::new());
    // Whoever holds a promise of an entry that is gone still gets its proof, without the entry.
    let redeemed = log.redeem(plant.out.path(), held.index, held.leaf).await.unwrap();
    assert_eq!((redeemed.index, &redeemed.extra), (held.index, &None));
    let checkpoint = crate::Publication::open(plant.out.path()).unwrap();
    let at = (checkpoint.size(), checkpoint.checkpoint().root);
    tlog::proof::verify_inclusion(held.leaf, held.index, at.0, &redeemed.proof, at.1).unwrap();
    let other = log.redeem(plant.out.path(), held.index, later.leaf).await;
    assert!(matches!(other, Err(EvidenceError::Unknown)), "{other:?}");
    log.close().await;

    // The next start goes on with it, and so does the next month.
    let log = plant.open().await;
    assert_eq!(log.pruned().map(|pruned| pruned.below), Some(512));
    assert_eq!(log.inner.reader.leaves(0, 9).await.unwrap().len(), 2);
    let range = log.inner.reader.checkpoint(published.size).await.unwrap().unwrap().range;
    assert_eq!(range.root(), root, "the tree is what it was");
    for size in [100, 512, published.size] {
        let hashed = Stored::root(plant.home.path(), size).await.unwrap();
        let stored = crate::Publication::open(plant.out.path()).unwrap().root(size).unwrap();
        assert_eq!(hashed, Some(stored), "the first {size}, as they are stored");
    }
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "bolt/otto", 300).await;
    plant.day(200);
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    let second = last_pruning(&log).await;
    assert_eq!((second.first, second.minimum, second.fault_behind(Some(&said))), (512, 768, None));
    assert_eq!(second.directory, 1, "of Anna no entry is left");
    assert_eq!(log.principal_of(&log.principal_reference(&principal("acme/anna")).0).await.unwrap(), None);
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
}

pub async fn what_must_be_kept_holds_back_what_is_behind_it(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 299).await;
    let open = log.append(allow(&log, "acme", "open")).await.unwrap().index;
    asks_often(&log, "acme/anna", 299).await;
    asks_often(&log, "bolt/otto", 300).await;
    plant.day(100);
    assert_eq!(plant.prune(&log).await.unwrap(), 0, "no checkpoint is signed yet");
    publisher.publish_now().await.unwrap();
    let why = async |retention: &Retention| {
        let now = plant.clock.now();
        let preview = preview(plant.home.path(), retention, now, None, plant.out.path()).await.unwrap();
        (preview.would_be, preview.held_back.index, preview.held_back.why)
    };
    let of_hold = String::from("somebody on hold takes part in it (`audit.legal_holds`)");
    assert_eq!(why(&kept(60)).await, (256, open, String::from("its exchange has no outcome yet")));
    assert_eq!(why(&holding(60, &["acme/anna"])).await, (0, 1, of_hold.clone()));
    assert_eq!(why(&holding(60, &["acme"])).await, (0, 1, of_hold.clone()));
    let witnessed = Bounds { is_witnessed: true, ..plant.bounds() };
    assert_eq!(log.prune(&kept(60), &witnessed).await.unwrap(), 0, "no witness has cosigned it");
    let too_short = log.prune(&kept(59), &plant.bounds()).await;
    assert!(matches!(too_short, Err(PruneError::Policy(_))), "{too_short:?}");
    assert_eq!(log.prune(&Retention::default(), &plant.bounds()).await.unwrap(), 0, "without a policy nothing goes");
    assert_eq!(log.size(), 900, "and nothing was said");

    log.append_outcome(outcome(&log, "acme", "open", open)).await.unwrap();
    publisher.publish_now().await.unwrap();
    assert_eq!(why(&holding(60, &["bolt/otto"])).await, (512, 600, of_hold));
    assert_eq!(log.prune(&holding(60, &["bolt/otto"]), &plant.bounds()).await.unwrap(), 512);
    let said = last_pruning(&log).await;
    assert_eq!(said.open, BTreeSet::from([open]), "its outcome stands behind");
    assert_eq!(why(&kept(60)).await.0, 768);
    assert_eq!(plant.findings().await, Vec::<String>::new());
    // An outcome of what is gone counts once.
    let again = log.append_outcome(outcome(&log, "acme", "open", open)).await;
    assert!(again.is_err(), "{again:?}");
    log.close().await;
    // It is not signed yet, and the next start finds the outcome where it is published.
    let log = plant.open().await;
    plant.publisher(&log).await.publish_now().await.unwrap();
    assert!(!plant.published("tile/entries/001"));
    log.close().await;
}

pub async fn what_later_entries_depend_on_is_carried_forward(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    let policies = |event: &'static str| {
        let digest = Value::text("ab".repeat(32));
        let members = [("event", Value::text(event)), ("digest", digest)];
        Draft::new(Kind::Policy, &log.common(), None, members, vec![]).unwrap()
    };
    let activated = log.append(policies("activated")).await.unwrap().index;
    log.append(policies("refused")).await.unwrap();
    let key = tlog::SigningKey::generate(ORIGIN, [9; 32]).unwrap().verifier().to_text();
    let members = [("event", Value::text("announced")), ("key", Value::text(&key)), ("signer", Value::text(&key))];
    let announced =
        log.append(Draft::new(Kind::Key, &log.common(), None, members, vec![]).unwrap()).await.unwrap().index;
    asks_often(&log, "acme/anna", 100).await;
    // Asked for, and carried out behind the minimum index.
    let acme = organisation("acme");
    let wanted =
        Wanted { id: "id".into(), organisation: &acme, principal: "acme/anna", basis: "Art. 17", requested_by: "a" };
    let requested = log.request_erasure(&wanted).await.unwrap().index;
    asks_often(&log, "bolt/otto", 200).await;
    let pending = log.erasure_request("id").await.unwrap().unwrap();
    log.erase(&pending, "b", &Holds::default()).await.unwrap();
    plant.day(100);
    asks_often(&log, "bolt/otto", 10).await;
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    publisher.publish_now().await.unwrap();
    let said = last_pruning(&log).await;
    assert_eq!(said.carried, BTreeSet::from([0, activated, announced, requested]));
    assert!(log.entry(requested).await.unwrap().is_some());
    assert_eq!(log.disclosure(requested).await.unwrap(), None, "without the name");
    assert_eq!(log.evidence(plant.out.path(), announced, &[]).await.unwrap().index, announced);
    assert_eq!(plant.findings().await, Vec::<String>::new());
    let done = log.erasure_request("id").await.unwrap().unwrap().done.unwrap();
    log.close().await;
    // An erasure that names another entry that is gone as its request is excused by nothing.
    let doctored = stand.copy(&plant.home).await;
    let (from, to) = (format!("\"requested\":{requested}"), format!("\"requested\":{}", requested + 1));
    rewrite(doctored.path(), done, |bytes| {
        let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    })
    .await;
    let found = check(doctored.path(), None, |_, _| {}).await.unwrap().findings;
    let expected = format!("entry {done}: an erasure that nobody has asked for");
    assert!(found.iter().any(|found| found.to_string() == expected), "{found:?}");
    // What nothing depends on any longer goes with the next one.
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "bolt/otto", 300).await;
    plant.day(200);
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    publisher.publish_now().await.unwrap();
    let mut events = Vec::new();
    for index in last_pruning(&log).await.carried {
        let entry = log.entry(index).await.unwrap().unwrap();
        events.push(Entry::parse(&entry).unwrap().text("event").unwrap().to_owned());
    }
    events.sort();
    // The key that nobody had was retired when the log was opened again.
    assert_eq!(events, ["announced", "opened", "retired"]);
    assert_eq!(log.entry(requested).await.unwrap(), None);
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
    // Whoever looks into the store for what a key signed after that still learns where it was retired.
    let files = tempfile::tempdir().unwrap();
    let [current, previous] = [5, 9].map(|seed: u8| {
        let path = files.path().join(seed.to_string());
        let random: crate::Random = Arc::new(move |bytes| bytes.fill(seed));
        crate::signer::create(&path, ORIGIN, &random).unwrap();
        path
    });
    let places = KeyPlaces { current: KeyPlace::File(current), next: None, previous: vec![previous] };
    let keys = Keys::load(&places, ORIGIN, &plant.options().random).unwrap();
    let retired = Stored::retired(plant.home.path(), &keys).await.unwrap();
    assert_eq!(retired.iter().map(|(key, _)| key.to_text()).collect::<Vec<_>>(), [key]);
    assert!(retired[0].1 < 512, "the entry itself was pruned");
}

pub async fn what_is_gone_leaves_no_residue_in_any_file_or_row(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 500).await;
    asks_often(&log, "cresta/carla", 100).await;
    plant.day(100);
    asks_often(&log, "bolt/otto", 10).await;
    publisher.publish_now().await.unwrap();
    let indexer = tokio::spawn(log.indexer(plant.home.directory()).run());
    let (reference, _) = log.principal_reference(&principal("acme/anna"));
    let texts = ["Signal/of-acme", reference.as_str(), "acme/anna"];
    let rests = async || {
        for text in texts {
            if plant.home.holds(text).await || a_file_holds(plant.out.path(), text) {
                return Some(text);
            }
        }
        None
    };
    for text in texts {
        assert!(plant.home.holds(text).await, "{text} is there before");
    }
    plant.prune(&log).await.unwrap();
    publisher.publish_now().await.unwrap();
    // An index that was being built goes at its builder's next look.
    let gone = async {
        while rests().await.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(20), gone).await;
    log.close().await;
    indexer.await.unwrap();
    assert_eq!(rests().await, None, "it is still there");
    assert!(plant.home.holds("Signal/of-cresta").await, "what is kept is there");
}

pub async fn the_database_lets_nothing_go_that_no_entry_speaks_of(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let (log, _) = plant.pruned("acme/anna").await;
    log.close().await;
    for (sql, refused) in [
        ("DELETE FROM bundle WHERE first_index = 512", "append-only"),
        ("UPDATE bundle SET count = 1 WHERE first_index = 512", "append-only"),
        ("UPDATE bundle SET first_index = 513, count = count - 1 WHERE first_index = 512", "append-only"),
        ("DELETE FROM leaf", "append-only"),
        ("UPDATE pruning SET minimum = 256", "append-only"),
        ("DELETE FROM pruning", "append-only"),
        ("INSERT INTO pruning VALUES (LOG612, 256, 0)", "by an entry behind a checkpoint"),
        ("INSERT INTO pruning VALUES (LOG700, 768, 0)", "by an entry behind a checkpoint"),
    ] {
        let sql = sql.replace("LOG", if plant.home.is_in_postgres() { "1, " } else { "" });
        let error = refusal(plant.home.path(), &sql).await;
        assert!(error.contains(refused), "{sql}: {error}");
    }
}

/// Published files as a crash leaves them between two of them.
pub async fn files_that_a_crash_left_go_with_the_next_start(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let (log, publisher) = plant.pruned("acme/anna").await;
    let first = std::fs::read(plant.out.path().join("tile/entries/000")).unwrap();
    publisher.publish_now().await.unwrap();
    publisher.stop().await.unwrap();
    for left in ["tile/entries/000", "carried/00000000000000/00000000000000000007"] {
        std::fs::write(plant.out.path().join(left), &first).unwrap();
    }
    std::fs::remove_file(plant.out.path().join("pruned")).unwrap();
    let publisher = plant.publisher(&log).await;
    publisher.publish_now().await.unwrap();
    assert!(!plant.published("tile/entries/000") && plant.published("pruned"));
    assert!(!plant.published("carried/00000000000000/00000000000000000007"));
    assert!(plant.published("carried/00000000000000/00000000000000000000"));
    log.close().await;
}

pub async fn whoever_comes_back_during_a_pruning_is_not_forgotten(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 600).await;
    plant.day(100);
    // Anna has an entry that is kept, and Berta none.
    asks_often(&log, "acme/anna", 1).await;
    publisher.publish_now().await.unwrap();
    plant.prune(&log).await.unwrap();
    let (reference, row) = log.principal_reference(&principal("acme/anna"));
    assert!(row.is_none());
    assert_eq!(log.principal_of(&reference).await.unwrap().as_deref(), Some("acme/anna"));
    assert_eq!(last_pruning(&log).await.directory, 0);
    log.close().await;
}

pub async fn an_index_of_a_log_that_was_pruned_is_built_anew_and_gives_the_same_answers(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 5_000).await;
    plant.day(100);
    asks_often(&log, "bolt/otto", 4_000).await;
    publisher.publish_now().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let fsck = async || {
        let beside = Beside { published: None, index: Some(dir.path().to_owned()) };
        check(plant.home.path(), beside, |_, _| {}).await.unwrap().findings
    };
    crate::index::build(plant.home.path(), dir.path(), true, |_, _| {}).await.unwrap();
    while plant.prune(&log).await.unwrap() > 0 {}
    assert_eq!(log.pruned().map(|pruned| pruned.below), Some(4_864));
    publisher.publish_now().await.unwrap();
    log.close().await;
    // What knows of more is not compared, and is built anew.
    assert_eq!(fsck().await, []);
    let built = crate::index::build(plant.home.path(), dir.path(), false, |_, _| {}).await.unwrap();
    assert_eq!(built, 9_001 / BLOCK * BLOCK);
    assert_eq!(fsck().await, []);
    let file = SqliteConnectOptions::new().filename(dir.path().join("index.db"));
    let damage = format!("UPDATE posting SET positions = x'0001' WHERE block = {}", 5_120 / BLOCK);
    let mut connection = file.connect().await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(damage)).execute(&mut connection).await.unwrap();
    assert!(done.rows_affected() > 0);
    drop(connection);
    let found = fsck().await;
    assert!(!found.is_empty(), "and it is compared again");
}

pub async fn a_hold_and_a_damaged_entry_stop_a_pruning_before_them(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 600).await;
    plant.day(100);
    publisher.publish_now().await.unwrap();
    vandalise(plant.home.path(), "UPDATE bundle SET sha256 = zeroblob(32) WHERE first_index = 298").await;
    let now = plant.clock.now();
    let preview = preview(plant.home.path(), &kept(60), now, None, plant.out.path()).await.unwrap();
    assert_eq!((preview.would_be, preview.held_back.index), (256, 298), "{preview:?}");
    log.close().await;
}

/// One step of a plant's life, in rows of the store of any size.
#[derive(Clone, Debug)]
enum Life {
    Refusals(usize, usize),
    /// An exchange that ends after so many further steps.
    Exchange(usize, usize),
}

async fn live(log: &Log, life: &[Life]) {
    const WHO: [&str; 3] = ["acme/anna", "bolt/otto", "cresta/carla"];
    let mut open: Vec<(usize, u64, &str, String)> = Vec::new();
    for (n, step) in life.iter().enumerate() {
        match step {
            Life::Refusals(who, count) => drop(asks_often(log, WHO[*who], *count).await),
            Life::Exchange(who, steps) => {
                let (of, request) = (WHO[*who].split('/').next().unwrap(), format!("request {n}"));
                let index = log.append(allow(log, of, &request)).await.unwrap().index;
                open.push((n + steps, index, of, request));
            }
        }
        for (_, index, of, request) in open.extract_if(.., |(until, ..)| *until <= n) {
            log.append_outcome(outcome(log, of, &request, index)).await.unwrap();
        }
    }
    for (_, index, of, request) in open {
        log.append_outcome(outcome(log, of, &request, index)).await.unwrap();
    }
}

/// Both lives go by, the first is pruned, and everything about the rest is what it was; `at` says which entry is looked at.
async fn pruned_and_compared(stand: &Stand, old: &[Life], young: &[Life], at: f64) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    live(&log, old).await;
    let first_young = log.size();
    plant.day(100);
    live(&log, young).await;
    publisher.publish_now().await.unwrap();
    let before = crate::Publication::open(plant.out.path()).unwrap();
    let all = entries_from(&log, 0).await;
    let went = plant.prune(&log).await.unwrap();
    // Whole bundles of what is old, and all of them.
    assert_eq!(went, first_young / 256 * 256);
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.findings().await, Vec::<String>::new());
    let mut after = crate::Publication::open(plant.out.path()).unwrap();
    assert_eq!(after.root(before.size()).unwrap(), before.checkpoint().root);
    let proof = after.consistency(before.size()).unwrap();
    let (size, root) = (after.size(), after.checkpoint().root);
    tlog::proof::verify_consistency(before.size(), before.checkpoint().root, size, root, &proof).unwrap();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "some entry"
    )]
    let index = (at * before.size() as f64) as u64;
    let entry = &all[usize::try_from(index).unwrap()];
    let redeemed = log.redeem(plant.out.path(), index, tlog::leaf_hash(entry)).await.unwrap();
    tlog::proof::verify_inclusion(tlog::leaf_hash(entry), index, size, &redeemed.proof, root).unwrap();
    assert_eq!(log.evidence(plant.out.path(), index, &[]).await.is_ok(), index >= went || index == 0);
    assert_eq!(
        entries_from(&log, went).await[..all.len() - usize::try_from(went).unwrap()],
        all[usize::try_from(went).unwrap()..]
    );
    log.close().await;
    // And the next start finds nothing wrong.
    let log = plant.open().await;
    assert_eq!(log.pruned().map_or(0, |pruned| pruned.below), went);
    log.close().await;
}

/// As the property beside this draws them, the same every time: where a PostgreSQL is started there is no proptest.
pub async fn whatever_is_pruned_of_some_lives_the_rest_stays(stand: &Stand) {
    for seed in 0..3 {
        let mut drawn = Drawn::new(seed);
        let mut life = || -> Vec<Life> {
            let steps = 8 + drawn.below(14);
            let step = |drawn: &mut Drawn| match (drawn.below(8), drawn.below(3)) {
                (0..5, who) => Life::Refusals(who, 1 + drawn.below(119)),
                (_, who) => Life::Exchange(who, drawn.below(4)),
            };
            (0..steps).map(|_| step(&mut drawn)).collect()
        };
        let (old, young) = (life(), life());
        #[expect(clippy::cast_precision_loss, reason = "some entry")]
        let at = seed as f64 / 3.0;
        pruned_and_compared(stand, &old, &young, at).await;
    }
}

pub async fn entries_that_nobody_said_are_gone_are_missed(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 600).await;
    publisher.publish_now().await.unwrap();
    log.close().await;
    vandalise(plant.home.path(), "DELETE FROM bundle WHERE first_index < 199").await;
    let found = plant.findings().await;
    assert_eq!(found.first().map(String::as_str), Some("entries 0 to 198: they are missing"), "{found:?}");
    let opened = Log::open(plant.options()).await;
    assert!(matches!(opened, Err(OpenError::Damaged { first_index: 0, last_index: 198, .. })), "{opened:?}");
}

pub async fn what_is_said_of_a_pruning_and_is_not_so_is_found(stand: &Stand) {
    for (sql, expected) in [
        // A row of another entry in the place of the pruning's.
        (
            "UPDATE pruning SET entry_index = 600",
            "entry 600: the store says that entries before 512 were pruned under it, and it says nothing of the kind",
        ),
        (
            "UPDATE pruning SET minimum = 256",
            "entry 611: the store says that entries before 256 were pruned under it, and it says nothing of the kind",
        ),
        ("DELETE FROM leaf WHERE number = 1", "entries 256 to 511: they were pruned, and their hashes are missing"),
        (
            "UPDATE leaf SET hashes = CAST(zeroblob(8192) AS BLOB) WHERE number = 1",
            "entries 0 to 610: they do not have the root that was signed at size 611",
        ),
        ("DELETE FROM carried", "entry 0: entry 611 says that it is carried forward, and it is not there"),
        ("INSERT INTO disclosure SELECT DISCLOSURE", "entry 5: it was pruned, and its values are still there"),
        ("DELETE FROM bundle WHERE first_index = 512", "entries 512 to 594: they are missing"),
    ] {
        let plant = Plant::new(stand).await;
        let (log, publisher) = plant.pruned("acme/anna").await;
        publisher.publish_now().await.unwrap();
        log.close().await;
        let sql = match (sql.contains("DISCLOSURE"), plant.home.path()) {
            (true, StoreAt::Directory(_)) => {
                String::from("INSERT INTO disclosure (entry_index, body) VALUES (5, '{}')")
            }
            (true, _) => String::from("INSERT INTO disclosure (log, entry_index, body) VALUES (1, 5, '{}')"),
            (false, _) => sql.to_owned(),
        };
        vandalise(plant.home.path(), &sql).await;
        let found = check(plant.home.path(), None, |_, _| {}).await.unwrap().findings;
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|found| found == expected), "{sql}: {found:?}");
    }
}

pub async fn published_files_of_a_pruned_log_are_built_again_from_its_store(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let (log, publisher) = plant.pruned("acme/anna").await;
    let last = publisher.publish_now().await.unwrap();
    publisher.stop().await.unwrap();
    let tile = std::fs::read(plant.out.path().join("tile/0/001")).unwrap();
    std::fs::remove_dir_all(plant.out.path().join("tile")).unwrap();
    let publisher = plant.publisher(&log).await;
    assert_eq!(publisher.publish_now().await.unwrap(), last);
    assert_eq!(std::fs::read(plant.out.path().join("tile/0/001")).unwrap(), tile);
    assert!(!plant.published("tile/entries/000") && plant.published("tile/entries/002.p/100"));
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
}

pub async fn hashes_that_are_not_those_that_were_published_take_no_entrys_place(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 600).await;
    plant.day(100);
    publisher.publish_now().await.unwrap();
    let tile = plant.out.path().join("tile/0/001");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    let refused = plant.prune(&log).await;
    assert!(matches!(refused, Err(PruneError::Differs { first: 256, last: 511 })), "{refused:?}");
    assert!(log.entry(300).await.unwrap().is_some() && log.pruned().is_none());
    log.close().await;
}

pub async fn a_request_of_which_nothing_is_kept_is_not_called_unknown(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    let id = |at: Timestamp| model::RequestId::new(at, [7; 10]);
    let (old, young) = (id(START), id(Timestamp(START.millis() + 99 * DAY_MS)));
    log.append(deny(&log, "acme", &old.to_string())).await.unwrap();
    asks_often(&log, "acme/anna", 300).await;
    plant.day(100);
    publisher.publish_now().await.unwrap();
    plant.prune(&log).await.unwrap();
    publisher.publish_now().await.unwrap();
    let of = |id: &model::RequestId| Which::Request { id: *id, kind: None };
    let gone = log.which(&of(&old), None).await;
    assert!(matches!(gone, Err(EvidenceError::PerhapsPruned(pruned)) if pruned.below == 256), "{gone:?}");
    let unknown = log.which(&of(&young), None).await;
    assert!(matches!(unknown, Err(EvidenceError::Unknown)), "{unknown:?}");
    let offline = crate::evidence::of_published(plant.out.path(), &of(&old));
    assert!(matches!(offline, Err(EvidenceError::PerhapsPruned(_))), "{offline:?}");
    let offline = crate::evidence::of_published(plant.out.path(), &Which::Index(7));
    assert!(matches!(offline, Err(EvidenceError::Pruned { index: 7, .. })), "{offline:?}");
    let page = crate::query::offline(plant.out.path(), &Query { newest_first: false, ..Query::default() }).unwrap();
    assert_eq!((page.entries[0].index, page.pruned.map(|pruned| pruned.below)), (256, Some(256)));
    let behind = Query { after: Some(255), ..Query::default() };
    assert_eq!(crate::query::offline(plant.out.path(), &behind).unwrap().pruned, None);
    log.close().await;
}

/// A store in whose prunings somebody meddles before they are written.
struct Meddling<S> {
    inner: S,
    change: fn(&mut Prune),
}

impl<S: Store> Store for Meddling<S> {
    async fn head(&mut self) -> Result<Head, StoreError> {
        self.inner.head().await
    }

    async fn organisations(&mut self) -> Result<Vec<(OrganisationId, OrganisationState)>, StoreError> {
        self.inner.organisations().await
    }

    async fn stage(&mut self, mut batch: Batch) -> Result<bool, StoreError> {
        if let Some((_, prune)) = &mut batch.pruning {
            (self.change)(Arc::make_mut(prune));
        }
        self.inner.stage(batch).await
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        self.inner.commit().await
    }

    async fn roll_back(&mut self) -> Result<(), StoreError> {
        self.inner.roll_back().await
    }

    async fn put_checkpoint(&mut self, row: CheckpointRow) -> Result<(), StoreError> {
        self.inner.put_checkpoint(row).await
    }

    async fn maintain(&mut self) -> Result<(), StoreError> {
        self.inner.maintain().await
    }

    async fn scrub(&mut self) -> Result<Scrubbed, StoreError> {
        self.inner.scrub().await
    }

    async fn close(self) -> Result<(), StoreError> {
        self.inner.close().await
    }

    fn abandon(self) {
        self.inner.abandon();
    }
}

impl Plant {
    /// A log that is closed, of whose store a pruning was to be changed in this way: why that was not done.
    async fn meddled(&self, change: fn(&mut Prune)) -> String {
        let options = self.options();
        let log = match &options.store {
            None => {
                let inner = SqliteStore::open(&options.dir, ORIGIN).await.unwrap();
                Log::open_with(Meddling { inner, change }, &options).await.unwrap().0
            }
            Some(access) => {
                let inner = PostgresStore::open(access, ORIGIN).await.unwrap();
                Log::open_with(Meddling { inner, change }, &options).await.unwrap().0
            }
        };
        let done = self.prune(&log).await;
        assert!(matches!(done, Err(PruneError::Append(AppendError::Poisoned))), "{done:?}");
        let reason = log.poison_reason().unwrap();
        log.close().await;
        reason
    }
}

pub async fn what_is_left_of_a_row_is_its_end_and_nothing_else(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 300).await;
    plant.day(100);
    asks_often(&log, "bolt/otto", 10).await;
    plant.close(&log, &publisher).await;
    let changes: [fn(&mut Prune); 4] = [
        |prune| *prune.rest.as_mut().unwrap().bytes.last_mut().unwrap() ^= 1,
        |prune| prune.rest.as_mut().unwrap().bytes.extend(*b"\0\x02{}"),
        |prune| prune.rest.as_mut().unwrap().time_first = Timestamp(START.millis() - DAY_MS),
        |prune| prune.rest.as_mut().unwrap().time_last = Timestamp(START.millis() + 50 * DAY_MS),
    ];
    for change in changes {
        let reason = plant.meddled(change).await;
        assert!(reason.contains("the log is append-only"), "{reason}");
    }
    if matches!(stand, Stand::Postgres(_)) {
        // Its end, and less of it than is counted.
        let shorter = |prune: &mut Prune| {
            let bytes = &mut prune.rest.as_mut().unwrap().bytes;
            let first = 2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
            bytes.drain(..first);
        };
        let reason = plant.meddled(shorter).await;
        assert!(reason.contains("the log is append-only"), "{reason}");
    }
    let log = Log::open(plant.options()).await.unwrap().0;
    let publisher = plant.publisher(&log).await;
    publisher.publish_now().await.unwrap();
    assert_eq!(log.pruned(), None, "and nothing went");
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
}

pub async fn nobody_goes_from_the_directory_uncounted(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 300).await;
    plant.day(100);
    asks_often(&log, "bolt/otto", 10).await;
    plant.close(&log, &publisher).await;
    let reason = plant.meddled(|prune| prune.references.push("ab".repeat(16))).await;
    let words = match stand {
        Stand::Sqlite => "the number of persons of whom no entry is left",
        Stand::Postgres(_) => "does not say that 1 persons go from the directory",
    };
    assert!(reason.contains(words), "{reason}");
}

/// An entry of kind `pruning` that is right in all, of the first 256 entries, unless it is changed; and the rows that go with it.
struct Forgery<'p> {
    plant: &'p Plant,
    before: Timestamp,
    days: u32,
    open: Vec<i64>,
    carried: Vec<i64>,
    last_of_acme: i64,
    /// Of its bundle as it is stored, in hexadecimal.
    hashes: String,
    /// Whether its row is put into the store.
    is_listed: bool,
}

impl<'p> Forgery<'p> {
    fn new(plant: &'p Plant) -> Self {
        let hashes = std::fs::read(plant.out.path().join("tile/0/000")).unwrap();
        Self {
            plant,
            before: Timestamp((START.millis() / DAY_MS + 1) * DAY_MS),
            days: 60,
            open: vec![],
            carried: vec![0],
            last_of_acme: 255,
            hashes: model::canonical::hex(&hashes),
            is_listed: true,
        }
    }

    /// Nobody has the log open.
    async fn put(self) {
        let numbers = |numbers: &[i64]| Value::Array(numbers.iter().copied().map(Value::int).collect());
        let place = numbers(&[self.last_of_acme, self.last_of_acme]);
        let (policy, now) = (model::Digest::of(&kept(60).text()), self.plant.clock.now());
        let mut members = Members::default();
        members.text("event", "pruned");
        members.count("first", 0);
        members.count("minimum", 256);
        members.count("count", 256);
        members.text("before", self.before.to_rfc3339());
        members.count("days", u64::from(self.days));
        members.hex("policy", &policy.0);
        members.value("organisations", &Value::object([("acme", place)]));
        members.value("open", &numbers(&self.open));
        members.value("carried", &numbers(&self.carried));
        let common = model::entry::Common { nonce: [7; 16], time: now, boot: "b".into() };
        let entry = Draft::new(Kind::Pruning, &common, None, members, vec![]).unwrap().seal(None);
        let at = self.plant.home.path();
        let reader = crate::reader::Reader::open(at).await.unwrap();
        let size = reader.head().await.unwrap().size();
        let opened = crate::recover::entry_bytes(&reader, 0).await.unwrap().unwrap();
        reader.close().await;
        intrude(at, &[entry]).await;
        let (column, log) = if matches!(at, StoreAt::Directory(_)) { ("", "") } else { ("log, ", "1, ") };
        let (hashes, opened, before) = (self.hashes, model::canonical::hex(&opened), self.before.millis());
        let mut rows = vec![
            format!("INSERT INTO leaf ({column}number, hashes) VALUES ({log}0, x'{hashes}')"),
            format!("INSERT INTO carried ({column}entry_index, bytes) VALUES ({log}0, x'{opened}')"),
            String::from("DELETE FROM bundle WHERE first_index < 256"),
        ];
        let pruning = "INSERT INTO pruning";
        rows.push(format!("{pruning} ({column}entry_index, minimum, before) VALUES ({log}{size}, 256, {before})"));
        let end = if self.is_listed { rows.len() } else { 0 };
        for sql in &rows[..end] {
            vandalise(at, sql).await;
        }
    }
}

pub async fn a_pruning_that_no_broker_would_have_written_is_not_signed_and_nothing_published_goes_by_it(stand: &Stand) {
    let young = Timestamp(START.millis() + 70 * DAY_MS);
    let midnight = |at: Timestamp| Timestamp(at.millis() / DAY_MS * DAY_MS);
    // What is changed of it, when the entries are of, in days, and why it is refused.
    type Change = fn(&mut Forgery<'_>);
    let cases: [(Change, i64, &str); 7] = [
        (|_| {}, 0, ""),
        (|_| {}, 40, "it says that all were of before 2020-11-23T00:00:00.000Z, and they were of before 2021-01-02"),
        (|of| of.hashes = "00".repeat(8192), 0, "the hashes in the place of entries 0 to 255 are not theirs"),
        (|of| of.open = vec![9], 0, "other exchanges reach over its end than it says"),
        (|of| of.carried = vec![], 0, "it does not carry entry 0 forward, on which others depend"),
        (|of| of.last_of_acme = 254, 0, "sequences of organisations stand elsewhere than it says"),
        (|of| of.is_listed = false, 0, "the entry and the store's list of such entries are not of one mind"),
    ];
    for (change, day, why) in cases {
        let plant = Plant::new(stand).await;
        let log = plant.open().await;
        let publisher = plant.publisher(&log).await;
        plant.day(day);
        asks_often(&log, "acme/anna", 255).await;
        plant.day(100);
        asks_often(&log, "bolt/otto", 10).await;
        plant.close(&log, &publisher).await;
        let mut forgery = Forgery::new(&plant);
        change(&mut forgery);
        forgery.put().await;
        if why.is_empty() {
            // What a broker would have written just so is taken over.
            let log = plant.open().await;
            plant.publisher(&log).await.publish_now().await.unwrap();
            assert!(!plant.published("tile/entries/000"));
            log.close().await;
            continue;
        }
        let error = plant.refused(kept(60)).await;
        assert!(matches!(error, PublishError::ForgedPruning { .. }), "{why}: {error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
        assert!(plant.published("tile/entries/000"));
    }
    // An exchange that never ended, and that the head knows of no longer.
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 99).await;
    let open = log.append(allow(&log, "acme", "open")).await.unwrap().index;
    asks_often(&log, "acme/anna", 155).await;
    plant.day(100);
    asks_often(&log, "bolt/otto", 10).await;
    plant.close(&log, &publisher).await;
    Forgery { open: vec![open.try_into().unwrap()], ..Forgery::new(&plant) }.put().await;
    vandalise(plant.home.path(), "UPDATE head SET open = x''").await;
    let error = plant.refused(kept(60)).await;
    assert!(error.to_string().contains(&format!("the exchange of entry {open} had no outcome")), "{error}");
    // By the policy, in its own time: the clock of whoever wrote it is ahead.
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    plant.day(70);
    asks_often(&log, "acme/anna", 255).await;
    plant.close(&log, &publisher).await;
    plant.set_ahead(3_650);
    let before = Timestamp(midnight(young).millis() + DAY_MS);
    Forgery { before, ..Forgery::new(&plant) }.put().await;
    plant.set_ahead(0);
    let error = plant.refused(kept(60)).await;
    assert!(error.to_string().contains("its policy does not reach to 2021-02-01T00:00:00.000Z yet"), "{error}");
}

pub async fn a_pruning_by_another_policy_than_is_configured_is_not_signed(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let (log, publisher) = plant.pruned("acme/anna").await;
    // Killed before the next checkpoint.
    drop(publisher);
    let under = log.pruned().unwrap().under;
    log.close().await;
    for other in [Retention::default(), kept(3_650)] {
        let error = plant.refused(other).await;
        assert!(matches!(error, PublishError::OtherRetention { at, .. } if at == under), "{error}");
        let said = error.to_string();
        assert!(said.contains("\"entries\":{\"days\":60") && said.contains("start it once with that policy"), "{said}");
    }
    // Nor by whoever does not keep to a hold, on a person or on a company.
    for hold in ["acme/anna", "acme"] {
        let error = plant.refused(holding(60, &[hold])).await;
        assert!(matches!(error, PublishError::HeldPruning { at, .. } if at == under), "{hold}: {error}");
    }
    // Without what was published there is nothing to hold it against.
    let (bundle, aside) = (plant.out.path().join("tile/entries/001"), plant.out.path().join("aside"));
    std::fs::rename(&bundle, &aside).unwrap();
    let error = plant.refused(kept(60)).await;
    assert!(matches!(error, PublishError::NotComparedPruning { at, .. } if at == under), "{error}");
    std::fs::rename(&aside, &bundle).unwrap();
    let log = plant.open().await;
    plant.publisher(&log).await.publish_now().await.unwrap();
    assert!(!plant.published("tile/entries/001"));
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
    // It is signed now, and the policy may change.
    let log = plant.open().await;
    plant.try_publisher(&log, plant.publishing(kept(3_650))).await.unwrap();
    log.close().await;
}

pub async fn a_pruning_that_is_not_what_was_signed_is_not_believed(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let (log, publisher) = plant.pruned("acme/anna").await;
    let under = log.pruned().unwrap().under;
    let row = log.inner.reader.bundle_of(under).await.unwrap().unwrap().first_index;
    plant.close(&log, &publisher).await;
    rewrite(plant.home.path(), row, |bytes| {
        let at = bytes.windows(9).position(|part| part == b"\"days\":60").unwrap();
        bytes[at + 8] = b'1';
    })
    .await;
    let error = plant.refused(kept(60)).await;
    assert!(matches!(error, PublishError::ForgedPruning { at, .. } if at == under), "{error}");
    assert!(error.to_string().contains("it is not what the signed checkpoint covers there"), "{error}");
}

pub async fn a_clock_that_was_set_ahead_prunes_nothing(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 300).await;
    publisher.publish_now().await.unwrap();
    plant.set_ahead(100);
    asks_often(&log, "acme/anna", 1).await;
    let doubted =
        |error: &EraseError| matches!(error, EraseError::Clock(ClockDoubt::Set { went_h: 2_400, passed_h: 0 }));
    let pruned = plant.prune(&log).await;
    assert!(matches!(&pruned, Err(PruneError::Erase(error)) if doubted(error)), "{pruned:?}");
    let values = Retention { days: [(CommitmentClass::Subject, 1)].into(), ..Retention::default() };
    let erased = log.retain(&values, plant.clock.now()).await;
    assert!(matches!(&erased, Err(error) if doubted(error)), "{erased:?}");
    assert!(log.status().clock_doubted && log.disclosure(1).await.unwrap().is_some());
    // It is set right, and time goes by.
    plant.set_ahead(0);
    assert_eq!(plant.prune(&log).await.unwrap(), 0);
    plant.day(100);
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    assert!(!log.status().clock_doubted);
    log.close().await;
}

/// A witness with a clock of its own.
#[derive(Debug)]
struct Says(u64);

impl Witnesses for Says {
    fn cosign<'a>(
        &'a self,
        _: &'a str,
        _: u64,
        _: &'a Prove<'a>,
    ) -> Pin<Box<dyn Future<Output = Cosigned> + Send + 'a>> {
        Box::pin(async { Cosigned { times: vec![self.0], ..Cosigned::default() } })
    }
}

pub async fn a_start_long_after_the_last_entry_prunes_nothing_until_it_is_confirmed(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 300).await;
    plant.close(&log, &publisher).await;
    plant.day(100);
    let now = u64::try_from(plant.clock.now().seconds()).unwrap();
    let is_doubted = |pruned: &Result<u64, PruneError>| matches!(pruned, Err(PruneError::Erase(EraseError::Clock(ClockDoubt::Ahead { newest, .. }))) if *newest == START);
    // A witness that has another time confirms nothing.
    for (says, is_confirmed) in [(now - 90_000, false), (now - 80_000, true)] {
        let copy = Plant {
            home: stand.copy(&plant.home).await,
            out: tempfile::tempdir().unwrap(),
            clock: plant.clock.clone(),
            next: plant.next.clone(),
        };
        crate::tests::stand::copy_dir(plant.out.path(), copy.out.path());
        let log = copy.open().await;
        assert!(is_doubted(&copy.prune(&log).await));
        let witnesses: Arc<dyn Witnesses> = Arc::new(Says(says));
        let options = PublishOptions { witnesses: Some(witnesses), ..copy.publishing(kept(60)) };
        let publisher = copy.try_publisher(&log, options).await.unwrap();
        publisher.publish_now().await.unwrap();
        let pruned = copy.prune(&log).await;
        assert_eq!((pruned.as_ref().ok(), is_doubted(&pruned)), (is_confirmed.then_some(&256), !is_confirmed));
        log.close().await;
    }
    // Or the operator, who starts it once more.
    let log = plant.open().await;
    assert!(is_doubted(&plant.prune(&log).await));
    log.close().await;
    let log = plant.open().await;
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    log.close().await;
}

pub async fn a_pruning_that_would_be_faulty_is_not_written(stand: &Stand) {
    let plant = Plant::new(stand).await;
    // 2020-11-30T12:00:00Z, the last day of a month, and 60 days and a minute after its end.
    let (old, late) = (1_606_737_600_000, 1_606_780_800_000 + 60 * DAY_MS + SLIP_MS / 2);
    plant.clock.gone.store(old, Ordering::Relaxed);
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 300).await;
    plant.clock.gone.store(late, Ordering::Relaxed);
    asks_often(&log, "bolt/otto", 10).await;
    publisher.publish_now().await.unwrap();
    // It is set back to the day before in the middle of it.
    let mut faulty = 0;
    for looks in 1..12 {
        plant.clock.set.store(0, Ordering::Relaxed);
        plant.clock.slips_in.store(looks, Ordering::Relaxed);
        let pruned = plant.prune(&log).await;
        plant.clock.slips_in.store(0, Ordering::Relaxed);
        match pruned {
            Ok(0) => {}
            Err(PruneError::Faulty(fault)) => {
                assert_eq!(fault, "a pruning that went further than its own policy of 60 days");
                faulty += 1;
            }
            pruned => {
                assert_eq!(pruned.unwrap(), 256);
                break;
            }
        }
    }
    assert!(faulty > 0, "the clock is looked at while it is made");
    assert!(log.is_healthy() && log.pruned().is_some());
    log.close().await;
    plant.open().await.close().await;
}

pub async fn a_store_of_which_all_entries_are_missing_does_not_open(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 9).await;
    plant.close(&log, &publisher).await;
    vandalise(plant.home.path(), "DELETE FROM bundle").await;
    let opened = Log::open(plant.options()).await;
    assert!(matches!(opened, Err(OpenError::Damaged { first_index: 0, last_index: 10, .. })), "{opened:?}");
}

pub async fn files_that_a_published_pruning_promises_stay_while_the_next_one_is_written(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let (log, publisher) = plant.pruned("acme/anna").await;
    plant.close(&log, &publisher).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "bolt/otto", 300).await;
    plant.day(200);
    publisher.publish_now().await.unwrap();
    drop(publisher);
    let publisher = plant.publisher(&log).await;
    let (first, of_first) = (log.pruned(), "carried/00000000000000/00000000000000000000");
    assert_eq!(plant.prune(&log).await.unwrap(), 256);
    let second = log.pruned();
    // Its first round, between the commit and the moment in which that is known.
    log.inner.shared.pruned.send_replace(first);
    publisher.publish_now().await.unwrap();
    assert!(plant.published(of_first), "it is promised by the pruning that is known");
    log.inner.shared.pruned.send_replace(second);
    publisher.publish_now().await.unwrap();
    assert!(!plant.published(of_first), "and goes with the one behind it");
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
}

pub async fn a_pruning_that_is_broken_off_keeps_what_entries_behind_it_need(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let log = plant.open().await;
    let publisher = plant.publisher(&log).await;
    asks_often(&log, "acme/anna", 99).await;
    let (reference, _) = log.principal_reference(&principal("acme/anna"));
    let acme = organisation("acme");
    let wanted =
        Wanted { id: "id".into(), organisation: &acme, principal: "acme/anna", basis: "Art. 17", requested_by: "a" };
    let requested = log.request_erasure(&wanted).await.unwrap().index;
    let pending = log.erasure_request("id").await.unwrap().unwrap();
    let erased = log.erase(&pending, "b", &Holds::default()).await.unwrap().entries[0];
    asks_often(&log, "bolt/otto", 4_400).await;
    // An entry without values still has the reference; it goes with the second stretch.
    let members = [("principal", Value::text(&reference))];
    let late = Draft::new(Kind::Admin, &log.common(), Some(&acme), members, vec![]).unwrap();
    assert!(log.append(late).await.unwrap().index > 4_096);
    asks_often(&log, "bolt/otto", 300).await;
    plant.day(100);
    asks_often(&log, "bolt/otto", 10).await;
    publisher.publish_now().await.unwrap();
    // The second stretch cannot go.
    let tile = plant.out.path().join("tile/0/016");
    let bytes = std::fs::read(&tile).unwrap();
    std::fs::write(&tile, vec![0; bytes.len()]).unwrap();
    let broken_off = plant.prune(&log).await;
    assert!(matches!(broken_off, Err(PruneError::Differs { first: 4_096, .. })), "{broken_off:?}");
    std::fs::write(&tile, bytes).unwrap();
    assert_eq!(log.pruned().map(|pruned| pruned.below), Some(4_096));
    assert_eq!(last_pruning(&log).await.carried, BTreeSet::from([0, requested, erased]));
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.findings().await, Vec::<String>::new());
    // With the entry goes the need for it.
    assert!(plant.prune(&log).await.unwrap() > 0);
    assert_eq!(last_pruning(&log).await.carried, BTreeSet::from([0]));
    log.close().await;
}

pub async fn prunings_that_somebody_changes_in_the_store_meanwhile_are_not_gone_by(stand: &Stand) {
    let plant = Plant::new(stand).await;
    let (log, publisher) = plant.pruned("acme/anna").await;
    publisher.publish_now().await.unwrap();
    vandalise(plant.home.path(), "DELETE FROM pruning").await;
    let pruned = plant.prune(&log).await;
    assert!(matches!(pruned, Err(PruneError::Foreign { stored: 0, known: 512 })), "{pruned:?}");
    log.close().await;
}

/// What is about the files of SQLite, and what draws its cases. A schema of before in PostgreSQL, and a server that goes, are in
/// the acceptance tests.
#[cfg(test)]
mod on_files {
    use super::*;
    use crate::faults::{FailingStore, Step};
    use proptest::prelude::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn what_is_new_is_not_known_where_entries_were_pruned_and_a_summary_says_so() {
        let plant = Plant::new(&Stand::Sqlite).await;
        let (log, publisher) = plant.pruned("acme/anna").await;
        publisher.publish_now().await.unwrap();
        let from = log.pruned().map(|pruned| pruned.before);
        for new in [true, false] {
            let summary = crate::index::Summary { from, new, limit: 10, ..crate::index::Summary::default() };
            let below = |table: crate::index::Table| table.pruned.map(|pruned| pruned.below);
            let expected = new.then_some(512);
            assert_eq!(below(log.summary(&summary).await.unwrap()), expected, "new: {new}");
            assert_eq!(
                below(crate::query::summary_offline(plant.out.path(), &summary).unwrap()),
                expected,
                "new: {new}"
            );
        }
        log.close().await;
    }

    #[tokio::test]
    async fn a_store_of_an_earlier_program_is_pruned_like_any_other() {
        let plant = Plant::new(&Stand::Sqlite).await;
        let log = plant.open().await;
        log.close().await;
        let before = "DROP TABLE pruning; DROP TABLE leaf; DROP TABLE carried;
            CREATE TRIGGER bundle_no_update BEFORE UPDATE ON bundle BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
            CREATE TRIGGER bundle_no_delete BEFORE DELETE ON bundle BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
            DELETE FROM erasure WHERE false; INSERT INTO meta VALUES ('x', 'y')";
        vandalise(plant.home.path(), before).await;
        assert_eq!(check(plant.home.path(), None, |_, _| {}).await.unwrap().findings, []);
        let (log, publisher) = plant.pruned("acme/anna").await;
        publisher.publish_now().await.unwrap();
        assert_eq!(plant.findings().await, Vec::<String>::new());
        log.close().await;
    }

    /// A copy of the store's files, and of what was published, at every step.
    #[tokio::test]
    async fn a_kill_at_any_step_of_a_pruning_leaves_all_of_it_or_nothing_and_the_next_start_ends_it() {
        let plant = Plant::new(&Stand::Sqlite).await;
        let copies: Arc<Mutex<Vec<(Step, TempDir, TempDir)>>> = Arc::default();
        let plan = {
            let (dir, out, copies) = (plant.home.directory().to_owned(), plant.out.path().to_owned(), copies.clone());
            move |step| {
                let (store, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
                for name in ["log.db", "log.db-wal"] {
                    if dir.join(name).exists() {
                        std::fs::copy(dir.join(name), store.path().join(name)).unwrap();
                    }
                }
                crate::tests::stand::copy_dir(&out, files.path());
                copies.lock().unwrap().push((step, store, files));
                None
            }
        };
        let store = SqliteStore::open(plant.home.directory(), ORIGIN).await.unwrap();
        let (log, _) = Log::open_with(FailingStore::new(store, plan), &plant.options()).await.unwrap();
        let publisher = plant.publisher(&log).await;
        asks_often(&log, "acme/anna", 600).await;
        plant.day(100);
        asks_often(&log, "bolt/otto", 1).await;
        publisher.publish_now().await.unwrap();
        copies.lock().unwrap().clear();
        plant.prune(&log).await.unwrap();
        publisher.publish_now().await.unwrap();
        log.close().await;
        let copies = std::mem::take(&mut *copies.lock().unwrap());
        let mut seen = BTreeSet::new();
        for (step, store, files) in copies {
            let home = Plant {
                home: Stand::Sqlite.home().await,
                out: files,
                clock: plant.clock.clone(),
                next: plant.next.clone(),
            };
            crate::tests::stand::copy_dir(store.path(), home.home.directory());
            let log = home.open().await;
            let publisher = home.publisher(&log).await;
            publisher.publish_now().await.unwrap();
            let below = log.pruned().map_or(0, |pruned| pruned.below);
            assert!(matches!(below, 0 | 512), "{step:?}: {below}");
            seen.insert(below);
            assert_eq!(home.findings().await, Vec::<String>::new(), "{step:?}");
            assert_eq!(home.published("tile/entries/001"), below == 0, "{step:?}");
            assert_eq!(log.entry(300).await.unwrap().is_some(), below == 0, "{step:?}");
            if below == 0 {
                assert_eq!(home.prune(&log).await.unwrap(), 512, "{step:?}");
            }
            log.close().await;
        }
        assert_eq!(seen, BTreeSet::from([0, 512]));
    }

    fn life() -> impl Strategy<Value = Vec<Life>> {
        let step = prop_oneof![
            5 => (0..3_usize, 1..120_usize).prop_map(|(who, count)| Life::Refusals(who, count)),
            3 => (0..3_usize, 0..4_usize).prop_map(|(who, steps)| Life::Exchange(who, steps)),
        ];
        prop::collection::vec(step, 8..30)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
        #[test]
        fn whatever_is_pruned_roots_proofs_and_answers_about_the_rest_stay(old in life(), young in life(), at in 0.0..1.0_f64) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(pruned_and_compared(&Stand::Sqlite, &old, &young, at));
        }
    }
}
