//! What goes, what holds it back, what is carried forward, and what whoever asks for it is told.

use super::*;
use crate::erase::Wanted;
use crate::evidence::{EvidenceError, Which};
use crate::fsck::Beside;
use crate::index::BLOCK;
use crate::keys::{KeyPlace, KeyPlaces};
use crate::prune::preview;
use crate::tests::stand::a_file_holds;
use crate::{Keys, Query, Stored};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _};

pub async fn what_is_old_enough_goes_and_everything_else_stays_what_it_was(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
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
    let (plant, log, publisher) = Plant::serving(stand).await;
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
    let (plant, log, publisher) = Plant::serving(stand).await;
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
    let (log, publisher) = plant.serve().await;
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
    let (plant, log, publisher) = Plant::serving(stand).await;
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

pub async fn whoever_comes_back_during_a_pruning_is_not_forgotten(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
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
    let (plant, log, publisher) = Plant::serving(stand).await;
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
    let (plant, log, publisher) = Plant::serving(stand).await;
    asks_often(&log, "acme/anna", 600).await;
    plant.day(100);
    publisher.publish_now().await.unwrap();
    vandalise(plant.home.path(), "UPDATE bundle SET sha256 = zeroblob(32) WHERE first_index = 298").await;
    let now = plant.clock.now();
    let preview = preview(plant.home.path(), &kept(60), now, None, plant.out.path()).await.unwrap();
    assert_eq!((preview.would_be, preview.held_back.index), (256, 298), "{preview:?}");
    log.close().await;
}

pub async fn a_request_of_which_nothing_is_kept_is_not_called_unknown(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
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

pub async fn a_pruning_that_is_broken_off_keeps_what_entries_behind_it_need(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
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

pub async fn however_many_exchanges_reach_over_every_end_of_a_bundle_entries_go(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    let names: Vec<String> = (0..1_200).map(|n| format!("request {n}")).collect();
    let opening = names.iter().map(|name| log.append(allow(&log, "acme", name)));
    let open: Vec<u64> =
        futures_util::future::join_all(opening).await.into_iter().map(|one| one.unwrap().index).collect();
    asks_often(&log, "bolt/otto", 4_600).await;
    let ending = names.iter().zip(&open).map(|(name, of)| log.append_outcome(outcome(&log, "acme", name, *of)));
    assert!(futures_util::future::join_all(ending).await.iter().all(Result::is_ok));
    let size = log.size();
    plant.day(100);
    asks_often(&log, "bolt/otto", 10).await;
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.prune(&log).await.unwrap(), size / 256 * 256);
    let first = log.inner.reader.prunings().await.unwrap()[0];
    assert_eq!(first.1, 4_096, "all of them reach over the first end");
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
    plant.open().await.close().await;
}

/// A set of policies of this number comes into use.
pub(super) fn activates(log: &Log, number: u16) -> Draft {
    let digest = Value::text(model::Digest::of(&number.to_be_bytes()).to_hex());
    let members = [("event", Value::text("activated")), ("digest", digest)];
    Draft::new(Kind::Policy, &log.common(), Some(&organisation("acme")), members, vec![]).unwrap()
}

/// A request that was refused by that one.
pub(super) fn decides(log: &Log, number: u16) -> Draft {
    let digest = Value::text(model::Digest::of(&number.to_be_bytes()).to_hex());
    let members = [("decision", Value::text("deny")), ("digests", Value::object([("policies", digest)]))];
    Draft::new(Kind::Decision, &log.common(), Some(&organisation("acme")), members, vec![]).unwrap()
}

pub async fn however_often_policies_change_those_in_force_and_those_asked_behind_are_carried_forward(stand: &Stand) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    let mut activated = Vec::new();
    for number in (0..200).chain([7, 150, 199]) {
        activated.push(log.append(activates(&log, number)).await.unwrap().index);
        if number == 7 {
            log.append(decides(&log, number)).await.unwrap();
        }
    }
    asks_often(&log, "acme/anna", 400).await;
    plant.day(100);
    // Of one that had begun before the policies changed for the last time.
    for number in [199, 150] {
        log.append(decides(&log, number)).await.unwrap();
    }
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.prune(&log).await.unwrap(), 512);
    assert_eq!(last_pruning(&log).await.carried, BTreeSet::from([0, activated[201], activated[202]]));
    // Killed before the next checkpoint: whoever takes it over finds that nothing more had to be carried.
    drop(publisher);
    log.close().await;
    let (log, publisher) = plant.serve().await;
    publisher.publish_now().await.unwrap();
    assert!(!plant.published("tile/entries/001"));
    assert_eq!(plant.findings().await, Vec::<String>::new());
    log.close().await;
}
