use super::published::{
    self, Published, Told, activated, allow, checkpoint, kept_path, key, outcome, policies, seal, story, told,
};
use super::*;
use crate::report::Finding;
use model::Value;
use model::entry::Kind as EntryKind;
use std::fs;
use tlog::note;

const SIZE: u64 = 600;
const KEPT: [u64; 4] = [0, 100, 256, 400];

fn entries() -> Vec<Vec<u8>> {
    seal(&story(SIZE))
}

fn publish() -> Published {
    Published::of(&entries(), &KEPT, &key(1))
}

fn verify(log: &Published) -> Report {
    check(log.dir.path(), key(1).verifier(), None).unwrap()
}

fn told_of(report: &Report) -> Vec<String> {
    report.findings.iter().map(Finding::to_string).collect()
}

/// Codes of the checks that failed.
pub(super) fn failed(report: &Report) -> Vec<&'static str> {
    report.verdict.failed(&Point::OF_LOG, &report.findings)
}

#[track_caller]
fn assert_findings<const N: usize>(log: &Published, expected: [&str; N]) {
    assert_eq!(told_of(&verify(log)), expected);
}

/// An entry of the story, found in its bundle by its index.
fn flip_in_entry(log: &Published, bundle: &str, position: usize) {
    log.change_bundle(bundle, |entries| entries[position][20] ^= 1);
}

#[test]
fn a_good_log_passes_with_its_counts() {
    let report = verify(&publish());
    assert_eq!((told_of(&report), report.warnings.len()), (vec![], 0));
    assert!(report.is_ok());
    assert_eq!((report.size, report.entries, report.checkpoints), (SIZE, SIZE, KEPT.len() as u64 + 1));
    assert_eq!((report.bundles, report.tiles, report.organisations, report.open), (3, 4, 2, 0));
    assert_eq!(report.root, published::root(&entries()).to_base64());
}

#[test]
fn logs_of_every_shape_pass() {
    for size in [0, 1, 2, 255, 256, 257, 512, 513] {
        let entries = seal(&story(size));
        let log = Published::of(&entries, &[], &key(1));
        let report = verify(&log);
        assert_eq!((told_of(&report), report.entries), (vec![], size), "size {size}");
    }
}

#[test]
fn the_full_file_serves_where_the_partial_one_is_gone() {
    let log = publish();
    log.write_files(&seal(&story(800)));
    for partial in ["tile/entries/002.p", "tile/0/002.p"] {
        fs::remove_dir_all(log.path(partial)).unwrap();
    }
    assert_findings(&log, []);
}

#[test]
fn a_flipped_byte_in_a_bundle_names_the_entry() {
    for (bundle, position, index) in [("tile/entries/000", 17, 17), ("tile/entries/002.p/88", 87, 599)] {
        let log = publish();
        flip_in_entry(&log, bundle, position);
        let tile = bundle.replace("entries", "0");
        let expected = format!("entry {index}: not what was logged: its hash is another one than in `{tile}`");
        assert_findings(&log, [&expected]);
        assert_eq!(verify(&log).entries, SIZE - 1);
    }
}

#[test]
fn several_changed_entries_are_named_as_runs() {
    let log = publish();
    [3, 4, 5, 200].into_iter().for_each(|at| flip_in_entry(&log, "tile/entries/001", at));
    let what = "not what was logged: its hash is another one than in `tile/0/001`";
    assert_findings(&log, [&format!("entries 259 to 261: {what}"), &format!("entry 456: {what}")]);
}

#[test]
fn a_flipped_length_is_found_where_it_is() {
    let log = publish();
    log.change("tile/entries/001", |bytes| {
        let at: usize = bundle_starts(bytes)[10];
        bytes[at] ^= 1;
    });
    let report = verify(&log);
    assert_eq!(report.findings.len(), 1, "{:?}", told_of(&report));
    assert_eq!(report.findings[0].entries.unwrap().0, 266);
    assert!(report.findings[0].what.starts_with("entry bundle `tile/entries/001`: "), "{}", report.findings[0]);
}

/// Offsets of the length prefixes.
fn bundle_starts(bytes: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let starts = tlog::bundle::decode(bytes).unwrap().into_iter().map(|entry| {
        at += 2 + entry.len();
        at - 2 - entry.len()
    });
    starts.collect()
}

#[test]
fn a_flipped_byte_in_a_tile_names_the_tile() {
    for (tile, position, entries) in [
        ("tile/0/001", 44, "entry 300"),
        ("tile/0/002.p/88", 0, "entry 512"),
        ("tile/1/000.p/2", 1, "entries 256 to 511"),
    ] {
        let log = publish();
        log.change(tile, |bytes| bytes[position * 32 + 31] ^= 0x80);
        assert_findings(&log, [&format!("{entries}: hash tile `{tile}` does not follow from the entries")]);
    }
}

#[test]
fn tiles_of_the_wrong_length_are_found() {
    let log = publish();
    log.change("tile/0/000", |bytes| bytes.truncate(8191));
    log.change("tile/0/001", |bytes| bytes.push(0));
    log.change("tile/1/000.p/2", |bytes| bytes.extend([0; 32]));
    assert_findings(
        &log,
        [
            "entries 0 to 255: hash tile `tile/0/000`: 8191 bytes; must have 8192",
            "entries 0 to 511: hash tile `tile/1/000.p/2`: 96 bytes; must have 64",
            "entries 256 to 511: hash tile `tile/0/001`: cannot be read: 8193 bytes; at most 8192 can be right",
        ],
    );
}

#[test]
fn a_removed_entry_is_named() {
    for (bundle, position, index, count) in [
        ("tile/entries/001", 40, 296, 255),
        ("tile/entries/002.p/88", 0, 512, 87),
        ("tile/entries/002.p/88", 87, 599, 87),
    ] {
        let log = publish();
        log.change_bundle(bundle, |entries| drop(entries.remove(position)));
        let expected = format!("entry {index}: entry bundle `{bundle}`: {count} entries; must have {}", count + 1);
        assert_findings(&log, [&expected]);
    }
}

#[test]
fn an_added_entry_is_found() {
    let log = publish();
    log.change_bundle("tile/entries/002.p/88", |entries| entries.insert(5, entries[4].clone()));
    assert_findings(&log, ["entry 517: entry bundle `tile/entries/002.p/88`: 89 entries; must have 88"]);
}

#[test]
fn swapped_entries_are_named() {
    let log = publish();
    log.change_bundle("tile/entries/000", |entries| entries.swap(9, 12));
    let what = "not what was logged: its hash is another one than in `tile/0/000`";
    assert_findings(&log, [&format!("entry 9: {what}"), &format!("entry 12: {what}")]);
}

#[test]
fn missing_files_name_the_range_they_cover() {
    let log = publish();
    log.remove("tile/entries/000");
    log.remove("tile/entries/001");
    log.remove("tile/0/002.p/88");
    log.remove("tile/1/000.p/2");
    assert_findings(
        &log,
        [
            "entries 0 to 511: entry bundles `tile/entries/000` to `tile/entries/001` are missing",
            "entries 0 to 511: hash tile `tile/1/000.p/2` is missing",
            "entries 512 to 599: hash tile `tile/0/002.p/88` is missing",
        ],
    );
}

/// The root of the lost tile still stands in the tile above, so everything behind it can be checked.
#[test]
fn the_check_goes_on_behind_a_lost_bundle_and_tile() {
    let log = publish();
    log.remove("tile/entries/000");
    log.remove("tile/0/000");
    flip_in_entry(&log, "tile/entries/001", 4);
    assert_findings(
        &log,
        [
            "entries 0 to 255: entry bundle `tile/entries/000` is missing",
            "entries 0 to 255: hash tile `tile/0/000` is missing",
            "entries 0 to 599: 1 kept checkpoint could not be compared, because the tree there is not known",
            "entry 260: not what was logged: its hash is another one than in `tile/0/001`",
        ],
    );
}

#[test]
fn what_cannot_be_compared_any_more_is_said() {
    let log = publish();
    ["tile/entries/000", "tile/0/000", "tile/1/000.p/2"].into_iter().for_each(|file| log.remove(file));
    let report = verify(&log);
    let last = report.findings.iter().map(|finding| finding.what.as_str()).collect::<Vec<_>>();
    assert!(last.contains(&"the published checkpoint could not be compared with the entries"), "{last:?}");
    assert!(
        last.contains(&"4 kept checkpoints could not be compared, because the tree there is not known"),
        "{last:?}"
    );
}

#[test]
fn a_consistent_rewrite_is_found_between_two_kept_checkpoints() {
    let log = publish();
    let mut changed = entries();
    changed[300][14] ^= 1;
    log.write_files(&changed);
    let others = "and 2 checkpoints after it have other roots than the published entries";
    assert_findings(&log, [&format!("entries 256 to 399: checkpoint `{}` {others}", kept_path(400))]);
}

/// An inner node hashes like a leaf to nobody: the prefixes differ.
#[test]
fn a_node_does_not_pass_as_an_entry() {
    let entries = entries();
    let node = [tlog::leaf_hash(&entries[0]).0, tlog::leaf_hash(&entries[1]).0].concat();
    let mut forged = entries.clone();
    forged.splice(0..2, [node]);
    assert_ne!(published::root(&forged), published::root(&entries));
    let log = Published::of(&forged, &[], &key(1));
    let honest = checkpoint(&entries[..forged.len()], &key(1));
    log.write("checkpoint", &honest);
    log.write(&kept_path(forged.len() as u64), &honest);
    let report = verify(&log);
    let named: Vec<_> = report.findings.iter().map(|finding| (finding.entries, finding.what.as_str())).collect();
    assert!(named.iter().any(|(entries, what)| *entries == Some((0, 0)) && what.starts_with("not an entry")));
    assert!(named.iter().any(|(entries, what)| *entries == Some((0, 598)) && what.contains("root")), "{named:?}");
}

// === checkpoints ===

#[test]
fn a_changed_checkpoint_does_not_verify() {
    let log = publish();
    log.change("checkpoint", |bytes| {
        let at = bytes.windows(3).position(|w| w == b"600").unwrap();
        bytes[at] = b'5';
    });
    assert_findings(&log, [&format!("`checkpoint`: the signature of key `{}` does not verify", published::ORIGIN)]);
    assert_eq!(verify(&log).entries, SIZE, "the newest kept checkpoint takes its place");
}

#[test]
fn a_folder_of_kept_checkpoints_that_cannot_be_listed_has_not_passed() {
    let log = publish();
    let folder = format!("checkpoints/{:014}", 1_000_000 / 1_000_000);
    log.write(&folder, "no folder");
    let report = verify(&log);
    assert!(report.is_ok() && report.warnings[0].what.contains("cannot be listed"), "{report}");
    let not_done = "  kept-checkpoints        not done: a folder of them could not be listed\n";
    assert!(report.to_string().contains(not_done), "{report}");
}

#[test]
fn a_key_of_another_log_is_told_from_a_wrong_one() {
    let other = tlog::SigningKey::generate("other.example/log", [1; 32]).unwrap();
    let report = check(publish().dir.path(), other.verifier(), None).unwrap();
    let told = "`checkpoint`: no signature is by a known key; it is of log `plant.example/log`, and the key that you gave is of \
                `other.example/log`: give the key of that log, or a file of yours";
    assert_eq!(report.findings[0].what, told);
}

#[test]
fn a_changed_kept_checkpoint_is_named() {
    let log = publish();
    log.change(&kept_path(256), |bytes| bytes[0] ^= 1);
    log.write(&kept_path(400), log.read(&kept_path(100)));
    let signature = format!("the signature of key `{}` does not verify", published::ORIGIN);
    assert_findings(
        &log,
        [
            &format!("entries 100 to 255: kept checkpoint `{}`: {signature}", kept_path(256)),
            &format!("entries 100 to 399: kept checkpoint `{}`: it is the checkpoint of 100 entries", kept_path(400)),
        ],
    );
}

#[test]
fn checkpoints_of_another_key_or_origin_do_not_count() {
    let log = Published::of(&entries(), &KEPT, &key(2));
    assert_findings(
        &log,
        [
            &format!(
                "`checkpoint`: no signature is by a known key; it says to be signed with the key {:08x}, and you gave {:08x}: is yours the \
                 right one, and is it all that the log has had since? Ask for its key where the file does not come from",
                key(2).verifier().key_id(),
                key(1).verifier().key_id()
            ),
            "no kept checkpoint verifies either, so nothing else was checked; is it the right key?",
        ],
    );
    let log = publish();
    let other = Checkpoint::new("plant.example/other", SIZE, published::root(&entries()));
    let note = note::sign(&other.to_text(), &[&key(1)]).unwrap();
    log.write("checkpoint", note);
    assert_findings(
        &log,
        ["`checkpoint`: the checkpoint is of log `plant.example/other`; the key is that of `plant.example/log`"],
    );
}

#[test]
fn a_second_signed_history_is_found() {
    let log = publish();
    let mut other = entries();
    other.swap(120, 121);
    log.write(&kept_path(256), checkpoint(&other[..256], &key(1)));
    let found =
        format!("entries 100 to 255: checkpoint `{}` has another root than the published entries; ", kept_path(256));
    assert_findings(&log, [&(found + "later ones fit again, so two histories were signed")]);
}

#[test]
fn a_tail_cut_before_a_kept_checkpoint_is_found() {
    let all = entries();
    let log = Published::of(&all[..450], &[100, 256, 400], &key(1));
    log.write(&kept_path(SIZE), checkpoint(&all, &key(1)));
    let path = kept_path(SIZE);
    assert_findings(
        &log,
        [&format!("entries 450 to 599: the log was cut: `{path}` remembers 600 entries, the published log has 450")],
    );
}

/// In the moment between the note that is kept and `checkpoint`, and for good in a copy that began with `checkpoint`.
#[test]
fn a_log_that_is_read_while_it_is_published_was_not_cut() {
    let log = publish();
    log.write("checkpoint", checkpoint(&entries()[..400], &key(1)));
    // Full ones stand in the place of unfinished ones, which may be gone.
    let report = verify(&log);
    assert_eq!((told_of(&report), report.size, report.entries), (vec![], SIZE, SIZE));
    assert_eq!(report.note.as_bytes(), log.read(&kept_path(SIZE)));
    let path = kept_path(SIZE);
    let warnings: Vec<String> = report.warnings.iter().map(Finding::to_string).collect();
    let expected = format!(
        "entries 400 to 599: `checkpoint` names 400 entries, and `{path}` is here whole and was checked: the log was being published, or \
         `checkpoint` was put back"
    );
    assert_eq!(warnings, [expected]);
    // Whoever puts `checkpoint` back hides nothing of what is behind it.
    flip_in_entry(&log, "tile/entries/002.p/88", 87);
    assert_findings(&log, ["entry 599: not what was logged: its hash is another one than in `tile/0/002.p/88`"]);
    // What nobody signed, or is not all there, is not gone by.
    let log = Published::of(&entries()[..450], &[100], &key(1));
    log.write_files(&entries());
    log.write(&kept_path(SIZE), checkpoint(&entries(), &key(2)));
    assert_eq!(verify(&log).size, 450);
    log.write(&kept_path(SIZE), checkpoint(&entries(), &key(1)));
    assert_eq!(verify(&log).size, SIZE);
    log.remove("tile/0/002.p/88");
    assert_findings(
        &log,
        [&format!("entries 450 to 599: the log was cut: `{path}` remembers 600 entries, the published log has 450")],
    );
}

#[test]
fn a_tail_cut_behind_all_checkpoints_needs_a_remembered_one() {
    let all = entries();
    let log = Published::of(&all[..450], &[100, 256, 400], &key(1));
    assert_findings(&log, []);
    let remembered = Remembered::open("mine", &checkpoint(&all, &key(1)), key(1).verifier()).unwrap();
    let report = check(log.dir.path(), key(1).verifier(), Some(&remembered)).unwrap();
    assert_eq!(
        told_of(&report),
        ["entries 450 to 599: the log was cut: `mine` remembers 600 entries, the published log has 450"]
    );
}

#[test]
fn a_log_rewritten_by_the_owner_of_its_key_needs_a_remembered_checkpoint() {
    let remember = |note: &str| Remembered::open("mine", note, key(1).verifier()).unwrap();
    let old = remember(&checkpoint(&entries()[..300], &key(1)));
    let log = publish();
    assert!(check(log.dir.path(), key(1).verifier(), Some(&old)).unwrap().is_ok());

    let mut rewritten = story(SIZE);
    rewritten[200].members.push(("route", Value::text("harmless")));
    let log = Published::of(&seal(&rewritten), &KEPT, &key(1));
    assert_findings(&log, []);
    let report = check(log.dir.path(), key(1).verifier(), Some(&old)).unwrap();
    assert_eq!(
        told_of(&report),
        ["entries 0 to 299: the log was rewritten: `mine` remembers another root of 300 entries"]
    );
    assert!(Remembered::open("x", &checkpoint(&entries(), &key(2)), key(1).verifier()).is_err());
}

#[test]
fn strange_files_beside_the_checkpoints_are_pointed_out() {
    let log = publish();
    log.write("checkpoints/00000000000000/.tmp-1", "");
    log.write("checkpoints/00000000000000/00000000000000000400.bak", "");
    log.write("checkpoints/notes", "");
    fs::remove_file(log.path(&kept_path(SIZE))).unwrap();
    let report = verify(&log);
    assert!(report.is_ok());
    assert_eq!(
        report.warnings.iter().map(Finding::to_string).collect::<Vec<_>>(),
        [
            "`checkpoints/notes` is not a kept checkpoint",
            "`checkpoints/00000000000000/00000000000000000400.bak` is not a kept checkpoint",
            "`checkpoint` is not kept as `checkpoints/00000000000000/00000000000000000600`",
        ]
    );
}

// === signed, and still not right ===

/// Publishes what a dishonest or faulty writer has signed.
fn signed(entries: &[Vec<u8>]) -> Published {
    Published::of(entries, &[], &key(1))
}

#[test]
fn a_gap_in_an_organisations_sequence_is_found_in_a_signed_log() {
    let mut entries = entries();
    entries[17] = entries[7].clone();
    let gap = "entries 17 to 18: entry 9 of organisation `acme` missing before its 10.";
    assert_findings(&signed(&entries), [gap]);
}

#[test]
fn two_outcomes_and_outcomes_of_nothing_are_found_in_a_signed_log() {
    let in_use = Told { members: activated(policies()), ..told(EntryKind::Policy, "acme") };
    let rest = [allow("acme"), outcome("acme", 1), outcome("acme", 1), outcome("acme", 2), allow("acme")];
    let entries = seal(&[&[in_use][..], &rest].concat());
    let log = signed(&entries);
    assert_findings(
        &log,
        [
            "entry 3: second outcome of the decision in entry 1",
            "entry 4: outcome of entry 2, which is no allowed exchange",
        ],
    );
    assert_eq!(verify(&log).open, 1);
}

#[test]
fn an_entry_of_another_form_is_found_in_a_signed_log() {
    let mut entries = entries();
    entries[5] = b"{\"v\":\"1.0\"}".to_vec();
    let report = verify(&signed(&entries));
    assert_eq!(told_of(&report)[0], "entry 5: not an entry: member `kind` is missing or ill-typed");
}

// === which check fails ===

#[test]
fn what_is_done_to_a_log_fails_the_check_that_it_is_about_and_no_other() {
    let changed = |change: &dyn Fn(&Published)| {
        let log = publish();
        change(&log);
        verify(&log)
    };
    let with = |at: usize, told: Told| {
        let mut story = story(SIZE);
        story[at] = told;
        verify(&signed(&seal(&story)))
    };
    // The run of the broker that it names.
    let other = |entries: &mut [Vec<u8>]| entries[120][14] ^= 1;
    let text = |name, value: &str| (name, Value::text(value));
    let cut = || Published::of(&entries()[..450], &[100, 256, 400], &key(1));
    let remembered = Remembered::open("mine", &checkpoint(&entries(), &key(1)), key(1).verifier()).unwrap();
    for (what, report, failing) in [
        ("nothing", changed(&|_| {}), &[][..]),
        ("an entry", changed(&|log| flip_in_entry(log, "tile/entries/000", 17)), &["tree"]),
        ("a length", changed(&|log| log.change("tile/entries/001", |bytes| bytes[0] ^= 1)), &["entries-present"]),
        ("a hash", changed(&|log| log.change("tile/0/001", |bytes| bytes[7] ^= 1)), &["tree"]),
        ("a bundle is missing", changed(&|log| log.remove("tile/entries/000")), &["entries-present"]),
        ("a tile is missing", changed(&|log| log.remove("tile/0/000")), &["tree"]),
        (
            "an entry is removed",
            changed(&|log| log.change_bundle("tile/entries/001", |entries| drop(entries.remove(40)))),
            &["entries-present"],
        ),
        (
            "all of it is another log",
            changed(&|log| {
                let mut entries = entries();
                other(&mut entries);
                log.write_files(&entries);
            }),
            &["kept-checkpoints", "tree"],
        ),
        (
            "a second history",
            changed(&|log| {
                let mut entries = entries();
                other(&mut entries);
                log.write(&kept_path(256), checkpoint(&entries[..256], &key(1)));
            }),
            &["kept-checkpoints"],
        ),
        ("a kept note", changed(&|log| log.change(&kept_path(256), |bytes| bytes[0] ^= 1)), &["kept-checkpoints"]),
        ("the note", changed(&|log| log.change("checkpoint", |bytes| bytes[20] ^= 1)), &["checkpoint-signature"]),
        ("the key", verify(&Published::of(&entries(), &KEPT, &key(2))), &["checkpoint-signature"]),
        (
            "cut, and a kept note tells",
            {
                let log = cut();
                log.write(&kept_path(SIZE), checkpoint(&entries(), &key(1)));
                verify(&log)
            },
            &["kept-checkpoints"],
        ),
        (
            "cut, and a remembered one tells",
            check(cut().dir.path(), key(1).verifier(), Some(&remembered)).unwrap(),
            &["remembered-checkpoint"],
        ),
        (
            "a gap",
            {
                let mut entries = entries();
                entries[17] = entries[7].clone();
                verify(&signed(&entries))
            },
            &["organisation-sequences"],
        ),
        (
            "a summary of another number",
            {
                let mut entries = seal(&{
                    let mut story = story(SIZE);
                    story[22] = told(EntryKind::OrgSummary, "acme");
                    story
                });
                let said = String::from_utf8(entries[22].clone()).unwrap();
                entries[22] = said.replacen("\"org_last\":", "\"org_last\":1", 1).into_bytes();
                verify(&signed(&entries))
            },
            &["organisation-summaries"],
        ),
        ("a second outcome", with(14, outcome("bolt", 8)), &["outcomes"]),
        (
            "a country that is none",
            with(14, Told { members: vec![text("country", "192.0.2.7")], ..told(EntryKind::RefusedLogin, "bolt") }),
            &["entry-form"],
        ),
        (
            "what is no entry",
            {
                let mut entries = entries();
                entries[7] = b"{\"v\":\"1.0\"}".to_vec();
                verify(&signed(&entries))
            },
            &["entry-form"],
        ),
        ("policies", verify(&signed(&seal(&super::published::ruled_story(SIZE)))), &["policies-in-use"]),
        (
            "an erasure",
            with(
                15,
                Told { members: vec![text("event", "erased")], organisation: None, ..told(EntryKind::Erasure, "") },
            ),
            &["erasures"],
        ),
        (
            "a pruning",
            with(
                15,
                Told { members: vec![text("event", "pruned")], organisation: None, ..told(EntryKind::Pruning, "") },
            ),
            &["pruning"],
        ),
        (
            "a key",
            with(15, Told { members: vec![text("event", "retired")], organisation: None, ..told(EntryKind::Key, "") }),
            &["keys"],
        ),
    ] {
        assert_eq!(failed(&report), failing, "{what}: {report}");
        assert_eq!(report.is_ok(), failing.is_empty(), "{what}");
        assert!(report.findings.iter().all(|finding| failing.contains(&finding.check.code())), "{what}: {report}");
    }
}

#[test]
fn a_check_that_could_not_be_made_does_not_pass() {
    let result = |report: &Report, code: &str| {
        let json = report.to_json();
        let found = json["checks"].as_array().unwrap().iter().find(|one| one["check"] == code).unwrap().clone();
        (found["result"].as_str().unwrap().to_owned(), found["why"].as_str().unwrap_or_default().to_owned())
    };
    let passed = || (String::from("passed"), String::new());
    let not_done = |why: &str| (String::from("not-done"), why.to_owned());
    let report = verify(&publish());
    for code in
        ["checkpoint-signature", "kept-checkpoints", "tree", "entry-form", "outcomes", "policies-in-use", "keys"]
    {
        assert_eq!(result(&report, code), passed(), "{code}");
    }
    assert_eq!(result(&report, "remembered-checkpoint"), not_done("none was given (`--checkpoint`)"));
    let nobody = not_done("no trust policy with witnesses was given (`--policy`)");
    assert_eq!((result(&report, "cosignatures"), result(&report, "clocks")), (nobody.clone(), nobody));
    assert_eq!(result(&report, "erasures"), not_done("nothing was erased"));
    assert_eq!(result(&report, "pruning"), not_done("nothing was pruned"));
    let empty = verify(&Published::of(&[], &[], &key(1)));
    assert_eq!(result(&empty, "outcomes"), not_done("no exchange was allowed"));

    // Of what is not there nobody knows whether it was in order.
    let log = publish();
    log.remove("tile/entries/000");
    let unknown = not_done("some entries are missing or damaged, and nothing is known of these");
    assert_eq!(result(&verify(&log), "outcomes"), unknown);
    assert_eq!(result(&verify(&log), "organisation-sequences"), unknown);
    let stranger = check(log.dir.path(), key(2).verifier(), None).unwrap();
    assert_eq!(result(&stranger, "tree"), not_done("no checkpoint verifies"));
    // The tree is lost in the middle of it, and what lies behind cannot be compared.
    ["tile/0/000", "tile/1/000.p/2"].into_iter().for_each(|file| log.remove(file));
    let mine = Remembered::open("mine", &checkpoint(&entries()[..300], &key(1)), key(1).verifier()).unwrap();
    let lost = check(log.dir.path(), key(1).verifier(), Some(&mine)).unwrap();
    assert_eq!(result(&lost, "remembered-checkpoint"), not_done("the tree was lost before it"));
}

// === no log, hostile sizes ===

#[test]
fn a_size_that_nothing_stands_behind_ends_soon() {
    let log = publish();
    let claim = Checkpoint::new(published::ORIGIN, u64::MAX, published::root(&entries())).sign(&key(1)).unwrap();
    log.write("checkpoint", claim);
    let report = verify(&log);
    assert!(!report.is_ok());
    let missing = report.findings.iter().find(|finding| finding.what.contains("not looked for")).unwrap();
    assert_eq!(missing.entries.unwrap().1, u64::MAX - 1);
}

#[test]
fn without_a_log_there_is_nothing_to_check() {
    let dir = tempfile::tempdir().unwrap();
    let error = check(dir.path(), key(1).verifier(), None).unwrap_err();
    assert!(error.to_string().contains("has no file `checkpoint`"), "{error}");
    let error = check(&dir.path().join("none"), key(1).verifier(), None).unwrap_err();
    assert!(matches!(error, Unusable::Directory { .. }), "{error}");
}
