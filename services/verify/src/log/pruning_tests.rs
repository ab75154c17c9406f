//! Logs of which entries were pruned: by an entry that says so, without one, and further than it says.

use super::published::{self, Published, Told, allow, asked, kept_path, key, outcome, prunes, ruled_story, seal};
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
    let mut story = ruled_story(SIZE);
    story[80] = allow("acme");
    story[128] = allowed("acme");
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
    ] {
        let found = told_of(&verify(&pruned_with(&[(name, value)])));
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
    let entries = entries_with(&[], &earlier);
    let log = Published::of(&entries, &[], &key(1));
    let says = "entry 600: says that all entries before 512 are of before 2026-11-22T00:00:00.000Z, and entry 0 is of 2026-11-22T00:00:00.000Z or later";
    assert_findings(&log, [says]);
    log.prune(&entries, SIZE, MINIMUM, &[]);
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
    let kept: Vec<u64> = kept_below(pruned().dir.path(), MINIMUM).map(|(size, _)| size).collect();
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
    let gap = Told {
        members: second.members.into_iter().map(|(n, v)| (n, if n == "first" { Value::int(0) } else { v })).collect(),
        ..story[601].clone()
    };
    story[601] = gap;
    let entries = seal(&story);
    let log = Published::of(&entries, &[], &key(1));
    log.prune(&entries, SIZE + 1, MINIMUM, &CARRIED);
    assert_findings(&log, ["entry 601: a pruning from entry 0 on; entry 600 had gone to 256"]);
}

#[test]
fn whoever_has_an_old_key_still_comes_to_the_new_one() {
    let text = |seed: u8| Value::text(key(seed).verifier().to_text());
    let change = |event: &str, about: u8, signer: u8| Told {
        members: vec![("event", Value::text(event)), ("key", text(about)), ("signer", text(signer))],
        organisation: None,
        ..published::told(model::entry::Kind::Key, "")
    };
    let mut story = published::story(SIZE);
    (story[151], story[351]) = (change("announced", 2, 1), change("retired", 1, 2));
    let last = prunes(&story, MINIMUM, &[151, 351], &[]);
    story.push(last);
    let entries = seal(&story);
    let log = Published::of(&entries, &[], &key(9));
    for (size, keys) in [(100, &[1][..]), (256, &[1, 2]), (400, &[2]), (601, &[2])] {
        let keys: Vec<_> = keys.iter().map(|seed| key(*seed)).collect();
        let keys: Vec<_> = keys.iter().collect();
        let root = published::root(&entries[..size]);
        let note = Checkpoint::new(published::ORIGIN, size as u64, root).sign_all(&keys).unwrap();
        log.write(&kept_path(size as u64), &note);
        log.write("checkpoint", &note);
    }
    log.prune(&entries, SIZE, MINIMUM, &[151, 351]);
    let report = verify(&log);
    assert_eq!(told_of(&report), Vec::<String>::new(), "{report}");
    assert_eq!(report.keys.learned, [(key(2).verifier().to_text(), 151)]);
    assert_eq!(report.keys.retired, [(key(1).verifier().to_text(), 351)]);
    // Without what is carried forward there is no way from the one to the other.
    log.remove("carried/00000000000000/00000000000000000151");
    assert!(!verify(&log).is_ok());
}
