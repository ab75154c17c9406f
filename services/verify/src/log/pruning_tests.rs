//! Logs of which entries were pruned: by an entry that says so, without one, and further than it says.

use super::published::{
    self, Published, Told, allow, asked, checkpoint_by, kept_path, key, key_change, opened_story, outcome, prunes, seal,
};
use super::*;
use crate::report::Finding;
use model::Value;

const SIZE: u64 = 600;
const MINIMUM: u64 = 512;
/// The start of the broker, and policies that came into use then.
const CARRIED: [u64; 2] = [103, 111];

/// An exchange reaches over the minimum index, and decisions behind it name policies of before.
fn story() -> Vec<Told> {
    let allowed = |organisation| {
        let members = vec![("decision", Value::text("allow")), asked(Value::text("a".repeat(64)))];
        Told { members, ..allow(organisation) }
    };
    let mut story = opened_story(SIZE);
    story[508] = allowed("bolt");
    story[516] = outcome("bolt", 508);
    story
}

fn entries_with(carried: &[u64], change: &[(&'static str, Value)]) -> Vec<Vec<u8>> {
    let mut story = story();
    let prunes = prunes(&story, MINIMUM, carried, change);
    story.push(prunes);
    seal(&story)
}

fn pruned_with(change: &[(&'static str, Value)]) -> Published {
    let entries = entries_with(&CARRIED, change);
    let log = Published::of(&entries, &[100, 256, 400, SIZE], &key(1));
    log.prune(&entries, SIZE, MINIMUM, &CARRIED);
    log
}

fn pruned() -> Published {
    pruned_with(&[])
}

fn verify(log: &Published) -> Report {
    check(log.dir.path(), key(1).verifier(), None).unwrap()
}

fn told_of(report: &Report) -> Vec<String> {
    report.findings.iter().map(Finding::to_string).collect()
}

#[track_caller]
fn assert_findings<const N: usize>(log: &Published, expected: [&str; N]) {
    assert_eq!(told_of(&verify(log)), expected);
}

#[test]
fn a_pruned_log_passes_and_says_what_is_gone() {
    let report = verify(&pruned());
    assert_eq!((told_of(&report), report.warnings.len()), (vec![], 0), "{report}");
    // What is carried forward, and what is behind the minimum index.
    assert_eq!((report.size, report.entries, report.bundles), (SIZE + 1, SIZE + 1 - MINIMUM + 2, 1));
    assert_eq!((report.checkpoints, report.open, report.organisations), (5, 0, 2));
    let said = report.pruned.as_ref().unwrap();
    assert_eq!((said.below, said.under, said.days, said.carried), (MINIMUM, SIZE, 60, 2));
    let text = report.to_string();
    let line = "  pruned         entries before 512, by entry 600: it says that all are of before 2026-11-23T00:00:00.000Z, and kept for 60 days\n";
    assert!(text.contains(line), "{text}");
    let json = report.to_json();
    assert_eq!(
        (&json["pruned"]["below"], &json["pruned"]["under"], &json["ok"]),
        (&512.into(), &600.into(), &true.into())
    );
    assert_eq!(json["pruned"]["policy"], "ab".repeat(32));
}

#[test]
fn files_that_are_still_there_are_no_fault() {
    let entries = entries_with(&CARRIED, &[]);
    let log = Published::of(&entries, &[], &key(1));
    assert_findings(&log, []);
    assert_eq!(verify(&log).pruned, None, "nothing is gone");
    // A copy that has the new files beside the old ones.
    let whole = Published::of(&entries, &[], &key(1));
    whole.prune(&entries, SIZE, MINIMUM, &CARRIED);
    whole.write_files(&entries);
    assert_findings(&whole, []);
}

#[test]
fn entries_that_no_entry_says_are_gone_are_missing() {
    let entries = seal(&story());
    let log = Published::of(&entries, &[], &key(1));
    let missing = "entries 0 to 511: entry bundles `tile/entries/000` to `tile/entries/001` are missing";
    for number in 0..2 {
        log.remove(&format!("tile/entries/{number:03}"));
    }
    assert_findings(&log, [missing]);
    // A hint proves nothing, whatever it names.
    for under in [520, 599, 600, 70_000] {
        log.write("pruned", format!("{{\"below\":512,\"under\":{under}}}"));
        assert_findings(&log, [missing]);
    }
    // The entry is there, and nobody is told where.
    let log = pruned();
    log.remove("pruned");
    assert_findings(&log, [missing]);
    // More is gone than it says.
    let log = pruned();
    log.remove("tile/entries/002.p/89");
    assert_findings(
        &log,
        ["entries 0 to 600: entry bundles `tile/entries/000` to `tile/entries/002.p/89` are missing"],
    );
}

#[test]
fn hashes_of_what_is_gone_must_be_there_and_be_those_that_were_signed() {
    let log = pruned();
    log.change("tile/0/001", |bytes| bytes[40] ^= 1);
    let found = told_of(&verify(&log));
    assert!(
        found.iter().any(|found| found.contains("has another root") || found.contains("does not follow")),
        "{found:?}"
    );
    let log = pruned();
    log.remove("tile/0/001");
    let found = told_of(&verify(&log));
    assert!(found.iter().any(|found| found.contains("hash tile `tile/0/001` is missing")), "{found:?}");
}

#[test]
fn what_is_carried_forward_must_be_there_and_be_what_was_logged() {
    let log = pruned();
    log.remove("carried/00000000000000/00000000000000000111");
    let mut expected = vec![String::from("entry 111: entry 600 says that it is carried forward, and it is not there")];
    expected.extend((MINIMUM..SIZE).step_by(8).map(|at| {
        format!("entry {at}: decided by policies `{}`, and no entry says that these were in use", "a".repeat(64))
    }));
    assert_eq!(told_of(&verify(&log)), expected);
    let log = pruned();
    log.change("carried/00000000000000/00000000000000000103", |bytes| bytes[20] ^= 1);
    let found = told_of(&verify(&log));
    assert_eq!(found[0], "entry 103: carried forward, and not what was logged");
}

#[test]
fn a_pruning_that_goes_further_than_its_policy_or_the_tree_excuses_nothing() {
    let int = |n: i64| Value::int(n);
    for (name, value, fault) in [
        ("days", int(101), "a pruning that went further than its own policy of 101 days"),
        ("days", int(30), "a pruning by a policy of 30 days; entries are kept for at least 60"),
        ("before", Value::text("2026-11-22T21:00:00.000Z"), "a pruning whose cut-off is no midnight"),
        ("minimum", int(500), "a pruning of no whole bundles"),
        ("minimum", int(1024), "a pruning that claims entries which were not written yet"),
        ("carried", Value::Array(vec![int(512)]), "a pruning that speaks of entries behind those that it is about"),
        ("policy", Value::text("none"), "a pruning whose member `policy` cannot be understood"),
        ("count", int(256), "a pruning whose member `count` cannot be understood"),
        (
            "before",
            Value::text("2026-11-23T01:00:00.000+01:00"),
            "a pruning whose member `before` cannot be understood",
        ),
        ("carried", Value::Array(vec![int(111), int(103)]), "a pruning whose member `carried` cannot be understood"),
    ] {
        let mut change = vec![(name, value.clone())];
        change.extend((name == "minimum").then_some(("count", value)));
        let found = told_of(&verify(&pruned_with(&change)));
        assert!(found.contains(&format!("entry 600: {fault}")), "{name}: {found:?}");
        assert!(found.iter().any(|found| found.starts_with("entries 0 to 511: entry bundles")), "{name}: {found:?}");
    }
}

#[test]
fn what_it_says_of_what_is_gone_must_fit_what_is_there() {
    let place = |sequence: i64, index: i64| Value::Array(vec![Value::int(sequence), Value::int(index)]);
    // The last of `acme` before the minimum index is its 224th, and entry 502.
    let organisations = |acme: Value| Value::object([("acme", acme), ("bolt", place(224, 510))]);
    let found = told_of(&verify(&pruned_with(&[("organisations", organisations(place(200, 502)))])));
    assert!(found.iter().any(|found| found.contains("of organisation `acme` missing before")), "{found:?}");
    let found = told_of(&verify(&pruned_with(&[("organisations", Value::object([("bolt", place(224, 510))]))])));
    assert!(found.iter().any(|found| found.contains("of organisation `acme` missing before")), "{found:?}");
    let found = told_of(&verify(&pruned_with(&[("open", Value::Array(vec![]))])));
    assert_eq!(found, ["entry 516: outcome of entry 508, which is no allowed exchange"]);
    let never = Value::Array(vec![Value::int(500), Value::int(508)]);
    let found = told_of(&verify(&pruned_with(&[("open", never)])));
    assert_eq!(found, ["entry 600: prunes entry 500, whose exchange has no outcome"]);
}

#[test]
fn a_cut_off_that_the_entries_contradict_is_found_by_whoever_has_some_of_them() {
    let earlier = [("before", Value::text("2026-11-22T00:00:00.000Z"))];
    // What is carried forward tells.
    let found = told_of(&verify(&pruned_with(&earlier)));
    let what = "pruned under entry 600 as one of before 2026-11-22T00:00:00.000Z, and is later";
    assert_eq!(found, [format!("entry 103: {what}"), format!("entry 111: {what}")]);
    // And so does an old copy.
    let entries = entries_with(&CARRIED, &earlier);
    let log = Published::of(&entries, &[], &key(1));
    let says = "entry 600: says that all entries before 512 are of before 2026-11-22T00:00:00.000Z, and entry 0 is of 2026-11-22T00:00:00.000Z or later";
    assert_findings(&log, [says]);
    log.prune(&entries, SIZE, MINIMUM, &CARRIED);
    log.write_files(&entries);
    let found = told_of(&verify(&log));
    assert!(found[0].starts_with("entry 0: pruned under entry 600 as one of before 2026-11-22"), "{found:?}");
}

#[test]
fn whoever_was_told_that_entries_are_kept_longer_finds_that_they_were_not() {
    let said = verify(&pruned()).pruned.unwrap();
    assert_eq!(said.fault(60), None);
    assert_eq!(
        said.fault(61),
        Some((600, String::from("entries were pruned that are kept for 60 days, and not for 61")))
    );
    // 2026-11-24T00:00:00Z
    assert_eq!([1_795_478_399, 1_795_478_400].map(|seconds| said.is_later(seconds)), [false, true]);
    let kept: Vec<u64> = kept_below(pruned().dir.path(), published::ORIGIN, MINIMUM).map(|(size, _)| size).collect();
    assert_eq!(kept, [400, 256, 100]);
}

/// Whoever serves a copy can put another log's note in, that a witness has cosigned since.
#[test]
fn a_kept_note_of_another_log_or_size_dates_no_pruning() {
    let log = pruned();
    let entries = entries_with(&CARRIED, &[]);
    let other = tlog::SigningKey::generate("plant.example/other", [1; 32]).unwrap();
    let foreign = Checkpoint::new("plant.example/other", 500, Hash([7; 32])).sign(&other).unwrap();
    log.write(&kept_path(500), foreign);
    log.write(&kept_path(501), checkpoint_by(&entries[..500], &[1]));
    log.write(&kept_path(502), "no note");
    let kept: Vec<u64> = kept_below(log.dir.path(), published::ORIGIN, MINIMUM).map(|(size, _)| size).collect();
    assert_eq!(kept, [400, 256, 100]);
}

#[test]
fn prunings_go_on_from_one_another() {
    let mut story = story();
    let first = prunes(&story, 256, &[103, 111], &[]);
    story.push(first);
    let more = [("first", Value::int(256)), ("count", Value::int(256))];
    let second = prunes(&story, MINIMUM, &CARRIED, &more);
    story.push(second.clone());
    let entries = seal(&story);
    let log = Published::of(&entries, &[], &key(1));
    log.prune(&entries, SIZE + 1, MINIMUM, &CARRIED);
    assert_findings(&log, []);
    assert_eq!(verify(&log).pruned.unwrap().shortest, (60, SIZE));
    let from_the_beginning = |(name, value)| match name {
        "first" => (name, Value::int(0)),
        "count" => (name, Value::int(512)),
        _ => (name, value),
    };
    let members = second.members.into_iter().map(from_the_beginning).collect();
    story[601] = Told { members, ..story[601].clone() };
    let entries = seal(&story);
    let log = Published::of(&entries, &[], &key(1));
    log.prune(&entries, SIZE + 1, MINIMUM, &CARRIED);
    assert_findings(&log, ["entry 601: a pruning from entry 0 on; entry 600 had gone to 256"]);
}

/// The log of [`story`], of which these are carried forward, as far as they are there.
fn carrying(story: &[Told], carried: &[u64]) -> Published {
    let mut told = story.to_vec();
    told.push(prunes(story, MINIMUM, carried, &[]));
    let entries = seal(&told);
    let log = Published::of(&entries, &[], &key(1));
    log.prune(&entries, SIZE, MINIMUM, carried);
    log
}

#[test]
fn a_pruning_does_not_switch_off_that_decisions_name_policies_that_were_in_use() {
    let dropped = "entry 600: prunes entries before 512, and does not carry forward that the log was opened";
    assert_findings(&carrying(&story(), &CARRIED), []);
    assert_findings(&carrying(&story(), &CARRIED[1..]), [dropped]);
    assert_findings(&carrying(&story(), &[]), [dropped]);
    // What came into use is what is carried forward.
    let found = told_of(&verify(&carrying(&story(), &CARRIED[..1])));
    assert_eq!(found.len() as u64, (SIZE - MINIMUM) / 8, "{found:?}");
    assert!(found.iter().all(|found| found.contains("and no entry says that these were in use")), "{found:?}");
    // Whoever has the entries that went sees that it is not the last one, too.
    let log = Published::of(&entries_with(&CARRIED[1..], &[]), &[], &key(1));
    assert_findings(&log, ["entry 600: does not carry entry 103 forward, by which the log was opened last"]);
}

#[test]
fn an_erasure_whose_request_was_pruned_without_being_carried_forward_is_found() {
    let text = |name, value: &str| (name, Value::text(value));
    let of_anna = |members: Vec<(&'static str, Value)>| {
        let who = vec![text("principal", "anna"), text("request", "r"), text("requested_by", "a")];
        Told {
            members: [who, members].concat(),
            organisation: None,
            ..published::told(model::entry::Kind::Erasure, "")
        }
    };
    let erased = |requested: i64| {
        of_anna(vec![
            text("event", "erased"),
            text("approved_by", "b"),
            ("requested", Value::int(requested)),
            ("classes", Value::texts(["subject"])),
            ("count", Value::int(0)),
            ("directory", Value::Bool(true)),
        ])
    };
    let with = |requested| {
        let mut story = story();
        (story[151], story[551]) = (of_anna(vec![text("event", "requested")]), erased(requested));
        story
    };
    let found = "entry 551: an erasure whose request was pruned, and is not carried forward";
    assert_findings(&carrying(&with(151), &[103, 111, 151]), []);
    assert_findings(&carrying(&with(151), &CARRIED), [found]);
    assert_findings(&carrying(&with(200), &[103, 111, 151]), [found]);
    assert_findings(&carrying(&with(520), &[103, 111, 151]), ["entry 551: an erasure that nobody has asked for"]);
}

/// Who serves the files may serve them otherwise at the second time.
#[test]
fn what_was_passed_over_by_is_the_very_entry_that_is_in_the_tree() {
    let log = pruned();
    let (store, note) = (Store::new(log.dir.path()), String::from_utf8(log.read("checkpoint")).unwrap());
    let published = Checkpoint::open(&note, key(1).verifier()).unwrap();
    let genuine = pruned::load(SIZE + 1, &mut |path, bytes_max| read_file(&store, path, bytes_max)).unwrap();
    let policy = TrustPolicy::of_log(key(1).verifier().clone());
    let verify = |said: Pruning| {
        let ring = KeyRing::new(std::slice::from_ref(key(1).verifier()));
        let mut check =
            Check::new(&store, ring, &published, (&policy, None), (Findings::default(), Findings::default()), None);
        check.said = Some(said);
        check.walk(&mut |_, _| {});
        told_of(&check.finish(&note).0)
    };
    assert_eq!(verify(genuine.clone()), Vec::<String>::new());
    let (days, digest) = (genuine.days + 1, model::Digest([7; 32]));
    let (carried, open) = (genuine.carried.iter().copied().chain([300]).collect(), genuine.open.clone());
    for forged in [
        Pruning { index: SIZE - 1, ..genuine.clone() },
        Pruning { organisations_left_out: 1, ..genuine.clone() },
        Pruning { days, ..genuine.clone() },
        Pruning { policy: digest, ..genuine.clone() },
        Pruning { carried, ..genuine.clone() },
        Pruning { open: open.into_iter().chain([500]).collect(), ..genuine.clone() },
        Pruning { before: genuine.before.plus_millis(-86_400_000), ..genuine },
    ] {
        let what = format!(
            "entries 0 to 511: entries before 512 are gone, and entry {}, which should say so, is not in the tree",
            forged.index
        );
        let found = verify(forged.clone());
        assert!(found.contains(&what), "{forged:?}: {found:?}");
    }
}

/// Of three keys each took the place of the one before it, and entries before the minimum index say so.
const CHANGES: [u64; 4] = [151, 247, 351, 447];

fn rotated() -> Vec<Told> {
    let mut story = opened_story(SIZE);
    story[151] = key_change("announced", 2, 1);
    story[247] = key_change("retired", 1, 2);
    story[351] = key_change("announced", 3, 2);
    story[447] = key_change("retired", 2, 3);
    story
}

/// Entries of [`rotated`], with one that prunes and carries some of those about keys forward, and more behind it, signed by these.
fn pruned_by(story: &[Told], carried: &[u64], behind: &[Told], signed: &[u8]) -> (Vec<Vec<u8>>, Published) {
    let mut carried = [CARRIED.as_slice(), carried].concat();
    carried.sort_unstable();
    let mut told = story.to_vec();
    told.push(prunes(story, MINIMUM, &carried, &[]));
    told.extend_from_slice(behind);
    let entries = seal(&told);
    let log = Published::of(&entries, &[], &key(9));
    let note = checkpoint_by(&entries, signed);
    log.write(&kept_path(entries.len() as u64), &note);
    log.write("checkpoint", &note);
    log.prune(&entries, SIZE, MINIMUM, &carried);
    (entries, log)
}

fn check_by(log: &Published, keys: &[u8], remembered: Option<&str>) -> Vec<String> {
    let keys: Vec<VerifierKey> = keys.iter().map(|seed| key(*seed).verifier().clone()).collect();
    let remembered = remembered.map(|note| Remembered::open_any("mine", note, &keys).unwrap());
    told_of(&check_with_progress(log.dir.path(), &keys, remembered.as_ref(), &mut |_, _| {}).unwrap())
}

#[test]
fn whoever_has_any_keys_of_a_pruned_log_verifies_it_with_any_checkpoint_of_before() {
    let (entries, log) = pruned_by(&rotated(), &CHANGES, &[], &[3]);
    let kept = [(100, &[1][..]), (200, &[1, 2]), (300, &[2]), (400, &[2, 3]), (500, &[3]), (560, &[3])];
    let notes = kept.map(|(size, signed)| (checkpoint_by(&entries[..size], signed), size, signed));
    notes.iter().for_each(|(note, size, _)| log.write(&kept_path(*size as u64), note));
    for keys in [&[1][..], &[2], &[3], &[1, 2], &[2, 1], &[2, 3], &[3, 2], &[1, 3], &[1, 2, 3], &[3, 2, 1]] {
        assert_eq!(check_by(&log, keys, None), Vec::<String>::new(), "{keys:?}");
        for (note, size, _) in notes.iter().filter(|(_, _, signed)| signed.iter().any(|key| keys.contains(key))) {
            assert_eq!(check_by(&log, keys, Some(note)), Vec::<String>::new(), "{keys:?} and the checkpoint of {size}");
        }
    }
}

/// A thief of it goes on with the log, and prunes what retired it.
#[test]
fn a_retired_key_does_not_count_again_when_what_retired_it_is_pruned() {
    let mut of_two = rotated();
    (of_two[351], of_two[447]) = (of_two[359].clone(), of_two[359].clone());
    let of_three = rotated();
    let (retired, announced) = (|key, by| key_change("retired", key, by), |key, by| key_change("announced", key, by));
    let (two, three): ([&[u8]; 2], [&[u8]; 3]) = ([&[1, 2], &[2, 1]], [&[2, 3], &[3, 2], &[1, 2, 3]]);
    let (two, three) = (two.as_slice(), three.as_slice());
    for (story, carried, behind, signed, newest, keys, said) in [
        (&of_two, &[][..], vec![], &[1][..], 2, two, "nor does any entry name"),
        (&of_two, &[], vec![retired(2, 1)], &[1], 2, two, "only a log's first key"),
        (&of_two, &[], vec![retired(2, 2)], &[1], 2, two, "only a log's first key"),
        (&of_two, &[], vec![announced(7, 2)], &[1, 7], 2, two, "only a log's first key"),
        (&of_two, &[151], vec![], &[1], 2, two, "entry 151 announces the key"),
        (&of_two, &[151], vec![retired(2, 1)], &[1], 2, two, "takes the key"),
        (&of_three, &[], vec![retired(3, 2)], &[2], 3, three, "only a log's first key"),
        (&of_three, &[151], vec![retired(3, 2)], &[2], 3, three, "only a log's first key"),
        (&of_three, &[151, 247], vec![retired(3, 2)], &[2], 3, three, "only a log's first key"),
    ] {
        let (entries, log) = pruned_by(story, carried, &behind, signed);
        let seen = checkpoint_by(&entries[..560], &[newest]);
        for keys in keys {
            let found = check_by(&log, keys, None);
            assert!(found.iter().any(|what| what.contains(said)), "{carried:?} {behind:?} {keys:?}: {found:?}");
            let found = check_by(&log, keys, Some(&seen));
            let absent = "signed by a key that had not signed the checkpoint of 560 entries";
            assert!(found.iter().any(|what| what.contains(absent)), "{carried:?} {behind:?} {keys:?}: {found:?}");
        }
    }
    // By the entries alone nobody can tell which of the two is the older one; by what was signed behind the retirement anybody can.
    let (entries, log) = pruned_by(&of_two, &[], &[announced(1, 2), retired(2, 1)], &[1]);
    let seen = checkpoint_by(&entries[..560], &[2]);
    for keys in two {
        let found = check_by(&log, keys, Some(&seen));
        assert!(found.iter().any(|what| what.contains("had not signed the checkpoint of 560 entries")), "{found:?}");
    }
    log.write(&kept_path(560), &seen);
    for keys in two {
        let found = check_by(&log, keys, None);
        assert!(found.iter().any(|what| what.contains("had not signed the checkpoint of 560 entries")), "{found:?}");
    }
}

#[test]
fn whoever_has_an_old_key_still_comes_to_the_new_one() {
    let mut story = opened_story(SIZE);
    (story[151], story[351]) = (key_change("announced", 2, 1), key_change("retired", 1, 2));
    let (entries, log) = pruned_by(&story, &[151, 351], &[], &[2]);
    for (size, keys) in [(100, &[1][..]), (256, &[1, 2]), (400, &[2])] {
        log.write(&kept_path(size as u64), checkpoint_by(&entries[..size], keys));
    }
    let report = verify(&log);
    assert_eq!(told_of(&report), Vec::<String>::new(), "{report}");
    assert_eq!(report.keys.learned, [(key(2).verifier().to_text(), 151)]);
    assert_eq!(report.keys.retired, [(key(1).verifier().to_text(), 351)]);
    // Without what is carried forward there is no way from the one to the other.
    log.remove("carried/00000000000000/00000000000000000151");
    assert!(!verify(&log).is_ok());
}
