mod keys;
mod pruning;

use super::*;
use crate::log::published::{Published, checkpoint, checkpoint_by, key, key_change, opened_story, prunes, seal, story};
use std::path::PathBuf;

/// 200 ms after each other from here on.
const START_MS: i64 = 1_795_375_200_000;
const SIZE: u64 = 600;

#[derive(Debug)]
struct At(i64);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp(self.0)
    }
}

/// When entry `size - 1` was written.
fn at(size: u64) -> At {
    At(START_MS + 200 * i64::try_from(size).unwrap())
}

struct Folder(PathBuf);

impl Files for Folder {
    fn read(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
        match std::fs::read(self.0.join(path)) {
            Ok(bytes) if bytes.len() > bytes_max => Err(String::from("too long")),
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn watch() -> Watch {
    let key = key(1).verifier().clone();
    Watch { policy: TrustPolicy::of_log(key.clone()), key, silence_ms: 300_000, kept_days: None }
}

fn watch_by(keys: &[u8]) -> Watch {
    let keys: Vec<VerifierKey> = keys.iter().map(|seed| key(*seed).verifier().clone()).collect();
    Watch { key: keys[0].clone(), policy: TrustPolicy::of_keys(keys), silence_ms: 300_000, kept_days: None }
}

fn texts(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

fn entries(size: u64) -> Vec<Vec<u8>> {
    seal(&story(size))
}

fn publish(entries: &[Vec<u8>]) -> Published {
    Published::of(entries, &[], &key(1))
}

fn look(seen: &mut Seen, log: &Published, size: u64) -> Look {
    seen.look(&watch(), &mut Folder(log.dir.path().to_owned()), &at(size)).unwrap()
}

/// As it is kept between two processes.
fn kept(seen: &Seen) -> Seen {
    let text = seen.to_json(&watch()).to_string();
    Seen::from_json(&watch(), &serde_json::from_str(&text).unwrap()).unwrap()
}

/// Somebody who has seen the first 300 entries.
fn seen() -> Seen {
    let mut seen = Seen::nothing();
    let first = look(&mut seen, &publish(&entries(300)), 300);
    assert_eq!((texts(&first.findings), first.new, first.size), (vec![], 300, 300));
    kept(&seen)
}

#[test]
fn a_log_that_grows_passes_in_steps_of_any_size() {
    let mut seen = Seen::nothing();
    let mut before = 0;
    for size in [0, 1, 1, 255, 256, 257, 300, 512, 600] {
        let look = look(&mut seen, &publish(&entries(size)), size);
        assert_eq!((texts(&look.findings), texts(&look.warnings)), (vec![], vec![]), "{size}");
        assert_eq!((look.size, look.new, seen.size()), (size, size - before, size));
        assert_eq!(look.kinds.values().sum::<u64>(), size - before);
        let sealed = entries(size);
        assert!(look.samples.iter().all(|(index, entry)| sealed[usize::try_from(*index).unwrap()] == *entry));
        seen = kept(&seen);
        before = size;
    }
    assert_eq!(look(&mut seen, &publish(&entries(597)), 600).findings.len(), 1);
}

#[test]
fn a_log_that_was_cut_or_put_back_is_told_with_both_notes() {
    let mut seen = seen();
    let cut = publish(&entries(299));
    let look = look(&mut seen, &cut, 300);
    assert_eq!(
        texts(&look.findings),
        ["entry 299: the log was cut or put back: 300 entries were seen, and 299 are published"]
    );
    let told = look.contradiction.unwrap();
    assert_eq!((told.seen, told.published), (checkpoint(&entries(300), &key(1)), checkpoint(&entries(299), &key(1))));
    assert!(!told.is_proof, "an older copy is no second history");
    assert_eq!(seen.size(), 300, "what was seen stays seen");
}

#[test]
fn another_history_is_told_of_the_same_size_and_of_a_larger_one() {
    let mut rewritten = entries(SIZE);
    rewritten[7] = entries(SIZE)[7].iter().map(|b| if *b == b'7' { b'8' } else { *b }).collect();
    for size in [300, 400] {
        let mut seen = seen();
        let other = publish(&rewritten[..size]);
        let told = look(&mut seen, &other, 300);
        assert_eq!(told.findings.len(), 1, "{:?}", told.findings);
        assert!(told.findings[0].what.starts_with("the log was rewritten"), "{:?}", told.findings);
        assert_eq!(told.contradiction.unwrap().is_proof, size == 300);
        // Whoever goes on with the true one is believed as before.
        assert_eq!(texts(&look(&mut seen, &publish(&entries(SIZE)), SIZE).findings), Vec::<String>::new());
    }
}

#[test]
fn what_is_not_there_or_is_no_bundle_is_told_and_looked_for_again() {
    let mut seen = seen();
    let log = publish(&entries(SIZE));
    log.remove("tile/entries/002.p/88");
    assert_eq!(
        texts(&look(&mut seen, &log, SIZE).findings),
        ["entries 512 to 599: entry bundle `tile/entries/002.p/88` is missing"]
    );
    let log = publish(&entries(SIZE));
    log.change("tile/entries/001", |bytes| bytes.truncate(bytes.len() - 1));
    let told = texts(&look(&mut seen, &log, SIZE).findings);
    assert!(told.len() == 1 && told[0].starts_with("entries 256 to 511: entry bundle `tile/entries/001`"), "{told:?}");
    let log = publish(&entries(SIZE));
    log.change_bundle("tile/entries/001", |entries| entries[100][20] ^= 1);
    assert!(texts(&look(&mut seen, &log, SIZE).findings).iter().any(|f| f.contains("the log was rewritten")));
    assert_eq!(seen.size(), 300);
    assert_eq!(look(&mut seen, &publish(&entries(SIZE)), SIZE).new, 300);
}

#[test]
fn a_checkpoint_of_another_key_is_told() {
    let mut seen = seen();
    let log = Published::of(&entries(SIZE), &[], &key(2));
    let told = texts(&look(&mut seen, &log, SIZE).findings);
    assert!(told.len() == 1 && told[0].starts_with("`checkpoint`: "), "{told:?}");
    assert_eq!(seen.size(), 300);
}

#[test]
fn a_gap_in_an_organisations_sequence_between_two_looks_is_told() {
    let mut seen = seen();
    // Its entry 310 never was: those behind it are numbered as if it had been.
    let whole = entries(SIZE);
    let hidden = [&whole[..305], &whole[306..]].concat();
    let told = texts(&look(&mut seen, &publish(&hidden), SIZE).findings);
    assert!(told.iter().any(|f| f.contains("missing before its")), "{told:?}");
}

#[test]
fn a_decision_by_policies_that_were_never_in_use_is_told_over_several_looks() {
    let sealed = seal(&crate::log::published::ruled_story(300));
    let never = |policies: &str| format!("decided by policies `{}`, and no entry says", policies.repeat(64));
    // Whoever begins in the middle knows of no policies until the broker starts again.
    let from_now = || {
        let first = publish(&sealed[..60]);
        Seen::from_now(&watch(), &mut Folder(first.dir.path().to_owned()), &at(60)).unwrap()
    };
    for (mut seen, all) in [(Seen::nothing(), true), (from_now(), false)] {
        let mut told = Vec::new();
        for size in [90, 112, 125, 300] {
            let look = look(&mut seen, &publish(&sealed[..size]), size as u64);
            told.extend(texts(&look.findings));
            seen = kept(&seen);
        }
        assert_eq!(told.len(), if all { 2 } else { 1 }, "{told:?}");
        assert!(told.last().unwrap().contains(&never("b")) && (!all || told[0].contains(&never("f"))), "{told:?}");
    }
}

#[test]
fn an_outcome_is_held_against_a_decision_of_an_earlier_look() {
    let mut seen = Seen::nothing();
    let log = publish(&entries(297));
    assert_eq!(look(&mut seen, &log, 297).open, 1);
    let mut seen = kept(&seen);
    let after = look(&mut seen, &publish(&entries(300)), 300);
    assert_eq!((texts(&after.findings), after.open), (vec![], 0));
}

#[test]
fn silence_and_clocks_that_are_ahead_are_told() {
    let mut seen = seen();
    let log = publish(&entries(300));
    let later = At(at(300).0 + 301_000);
    let told = seen.look(&watch(), &mut Folder(log.dir.path().to_owned()), &later).unwrap();
    assert_eq!(
        texts(&told.findings),
        ["nothing new was seen for 301 s: the log does not run, or what it writes is kept back"]
    );
    // One entry of the future among right ones.
    let mut entries = entries(SIZE);
    let text = String::from_utf8(entries[400].clone()).unwrap();
    let (before, behind) = text.split_once("\"time\":\"2026").unwrap();
    entries[400] = format!("{before}\"time\":\"2036{behind}").into_bytes();
    let told = texts(&look(&mut seen, &publish(&entries), SIZE).findings);
    assert!(told.iter().any(|f| f.starts_with("entry 400: ") && f.contains("later than the clock here")), "{told:?}");
}

/// A log that dates an entry ahead must not be believed to be busy until then.
#[test]
fn an_entry_dated_ahead_hides_no_silence_and_stays_told() {
    let mut ahead = entries(SIZE);
    let last = ahead.last_mut().unwrap();
    *last = String::from_utf8(last.clone()).unwrap().replace("\"time\":\"2026", "\"time\":\"2036").into_bytes();
    let log = publish(&ahead);
    let mut seen = seen();
    let told = look(&mut seen, &log, SIZE);
    assert!(texts(&told.findings)[0].starts_with("entry 599: ") && told.new == 300, "{told:?}");
    let mut seen = kept(&seen);
    let later = At(at(SIZE).0 + 301_000);
    let told = seen.look(&watch(), &mut Folder(log.dir.path().to_owned()), &later).unwrap();
    assert!(texts(&told.findings)[0].starts_with("nothing new was seen for 301 s"), "{told:?}");
    assert!(told.unresolved.len() == 1 && told.unresolved[0].contains("later than the clock here"), "{told:?}");
}

/// A log, and its one witness.
fn witnessed() -> (Watch, tlog::CosigningKey) {
    let witness = tlog::CosigningKey::generate("witness.example/w", [3; 32]).unwrap();
    let names = (key(1).verifier().to_text(), witness.verifier().to_text());
    let policy = TrustPolicy::parse(&format!("log {}\nwitness w {}\nquorum w\n", names.0, names.1)).unwrap();
    (Watch { policy, ..watch() }, witness)
}

#[test]
fn a_watch_does_not_begin_with_what_no_quorum_has_cosigned() {
    let (watch, witness) = witnessed();
    let (entries, log) = (entries(300), publish(&entries(300)));
    let begin = || Seen::from_now(&watch, &mut Folder(log.dir.path().to_owned()), &at(300));
    let refused = begin().unwrap_err().0;
    assert!(refused.contains("does not have the quorum of witnesses"), "{refused}");
    let note = checkpoint(&entries, &key(1));
    let text = format!("{}\n", note.split("\n\n").next().unwrap());
    log.write("checkpoint", format!("{note}{}", witness.cosign(&text, 1_795_375_260)));
    assert_eq!(begin().unwrap().size(), 300);
}

/// What is not under a cosigned checkpoint was written after that.
#[test]
fn an_entry_that_was_dated_back_behind_a_cosigned_checkpoint_is_told() {
    let (watch, witness) = witnessed();
    let look = |seen: &mut Seen, entries: &[Vec<u8>]| {
        let (log, size) = (publish(entries), entries.len() as u64);
        let note = checkpoint(entries, &key(1));
        let text = format!("{}\n", note.split("\n\n").next().unwrap());
        let seconds = u64::try_from(at(size).0 / 1_000).unwrap();
        log.write("checkpoint", format!("{note}{}", witness.cosign(&text, seconds)));
        seen.look(&watch, &mut Folder(log.dir.path().to_owned()), &at(size)).unwrap()
    };
    let mut seen = Seen::nothing();
    assert_eq!(texts(&look(&mut seen, &entries(300)).findings), Vec::<String>::new());
    let mut later = entries(SIZE);
    later[400] = String::from_utf8(later[400].clone()).unwrap().replace("T19:21:20", "T18:21:20").into_bytes();
    let told = look(&mut seen, &later);
    let what = "entry 400: 3580 s earlier than a checkpoint of 300 entries was cosigned, which does not have it yet: it was dated back, \
                or one of the clocks is wrong";
    assert_eq!(texts(&told.findings), [what]);
    assert_eq!(told.to_json()["findings"][0]["check"], "clocks");
    assert_eq!(look(&mut seen, &later).unresolved, [what], "until somebody acknowledges it");
}

#[test]
fn a_watch_can_begin_in_the_middle_and_misses_nothing_behind_it() {
    let log = publish(&entries(300));
    let mut seen = Seen::from_now(&watch(), &mut Folder(log.dir.path().to_owned()), &at(300)).unwrap();
    seen = kept(&seen);
    let after = look(&mut seen, &publish(&entries(SIZE)), SIZE);
    assert_eq!((texts(&after.findings), after.new), (vec![], 300));
    let mut seen = kept(&seen);
    assert_eq!(look(&mut seen, &publish(&entries(299)), SIZE).findings.len(), 1);
    log.change("tile/0/001.p/44", |bytes| bytes[5] ^= 1);
    let refused = Seen::from_now(&watch(), &mut Folder(log.dir.path().to_owned()), &at(300)).unwrap_err();
    assert_eq!(refused.0, "the hash tiles do not have the root of `checkpoint`");
}

#[test]
fn what_was_seen_of_another_log_is_not_taken_for_this_ones() {
    let value = seen().to_json(&watch());
    let other = tlog::SigningKey::generate("plant.example/other", [1; 32]).unwrap().verifier().clone();
    let other = Watch { policy: TrustPolicy::of_log(other.clone()), key: other, silence_ms: 1, kept_days: None };
    assert!(Seen::from_json(&other, &value).is_none());
    for missing in ["format", "origin", "note", "size", "range", "rules"] {
        let mut value = value.clone();
        value.as_object_mut().unwrap().remove(missing);
        assert!(Seen::from_json(&watch(), &value).is_none(), "{missing}");
    }
}

#[test]
fn a_log_that_cannot_be_reached_is_not_held_against_it() {
    let empty = tempfile::tempdir().unwrap();
    let unreachable = seen().look(&watch(), &mut Folder(empty.path().to_owned()), &at(1)).unwrap_err();
    assert_eq!(unreachable.0, "`checkpoint` is not there: is this where a log is published?");
}

#[test]
fn a_log_that_is_kept_back_as_a_whole_falls_silent() {
    let empty = tempfile::tempdir().unwrap();
    let look = |seen: &mut Seen, ms: i64| seen.look(&watch(), &mut Folder(empty.path().to_owned()), &At(ms));
    let (mut seen, last) = (seen(), START_MS + 200 * 299);
    assert!(look(&mut seen, last + 300_000).is_err());
    let told = look(&mut seen, last + 301_000).unwrap();
    assert!(!told.is_ok() && told.unreachable.is_some_and(|why| why.contains("is not there")));
    assert_eq!((told.size, texts(&told.findings).len()), (300, 1));
    assert!(told.findings[0].what.starts_with("nothing new was seen for 301 s"), "{:?}", told.findings);
    // Also where it was never there since somebody began to look.
    let mut nothing = Seen::nothing();
    assert!(look(&mut nothing, START_MS).is_err() && look(&mut nothing, START_MS + 300_001).is_ok());
}

#[test]
fn what_a_server_answers_reaches_no_terminal_as_it_is() {
    struct Rude;
    impl Files for Rude {
        fn read(&mut self, _: &str, _: usize) -> Result<Option<Vec<u8>>, String> {
            Err(format!("\u{1b}[2Jfine\n{}", "x".repeat(100_000)))
        }
    }
    let said = Seen::nothing().look(&watch(), &mut Rude, &at(1)).unwrap_err().to_string();
    assert!(said.len() < 1_000 && !said.contains('\u{1b}') && !said.contains('\n'), "{said}");
}

#[test]
fn nothing_is_handed_on_of_entries_that_were_not_taken_over() {
    let mut rewritten = entries(SIZE);
    rewritten[7] = entries(SIZE)[7].iter().map(|b| if *b == b'7' { b'8' } else { *b }).collect();
    let told = look(&mut seen(), &publish(&rewritten), SIZE);
    assert!(!told.is_ok() && told.new == 0 && told.kinds.is_empty() && told.samples.is_empty(), "{told:?}");
}

#[test]
fn what_is_kept_of_findings_is_bounded_and_says_so() {
    let mut seen = seen();
    seen.keep_unresolved((0..60).map(|n| n.to_string()).collect());
    assert_eq!(seen.unresolved.len(), 60);
    seen.keep_unresolved((60..200).map(|n| n.to_string()).collect());
    assert_eq!((seen.unresolved.len(), seen.unresolved[98].as_str()), (100, "98"));
    assert!(seen.unresolved[99].contains("more was found than is kept"), "{:?}", seen.unresolved[99]);
    seen.keep_unresolved(vec![String::from("another")]);
    assert!(seen.unresolved.len() == 100 && seen.unresolved[99].contains("more was found"));
}

#[test]
fn what_was_found_in_entries_stays_told_until_somebody_acknowledges_it() {
    let whole = entries(SIZE);
    let hidden = [&whole[..305], &whole[306..]].concat();
    let mut seen = seen();
    let first = look(&mut seen, &publish(&hidden), SIZE);
    assert!(!first.is_ok() && first.unresolved.is_empty() && first.new == SIZE - 301);
    let mut seen = kept(&seen);
    let again = look(&mut seen, &publish(&hidden), SIZE);
    assert_eq!((again.findings.len(), again.unresolved.is_empty(), again.is_ok()), (0, false, false));
    seen.acknowledge();
    assert!(look(&mut seen, &publish(&hidden), SIZE).is_ok());
}

#[test]
fn a_part_that_is_kept_back_hides_neither_what_was_found_nor_the_silence() {
    struct Withheld(Folder);
    impl Files for Withheld {
        fn read(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
            if path.contains("entries/002") { Err(String::from("500")) } else { self.0.read(path, bytes_max) }
        }
    }
    let whole = entries(SIZE);
    let hidden = [&whole[..305], &whole[306..]].concat();
    let log = publish(&hidden);
    let mut files = Withheld(Folder(log.dir.path().to_owned()));
    let mut seen = seen();
    let told = seen.look(&watch(), &mut files, &At(at(300).0 + 301_000)).unwrap();
    assert!(told.unreachable.is_some_and(|why| why.contains("500")));
    let told = texts(&told.findings);
    assert!(told.iter().any(|f| f.contains("missing before its")), "{told:?}");
    assert!(told.iter().any(|f| f.contains("nothing new was seen for")), "{told:?}");
    assert_eq!(seen.size(), 300);
}

#[test]
fn a_state_that_somebody_has_changed_is_not_taken_up() {
    let value = seen().to_json(&watch());
    for (name, other) in [("size", json!(299)), ("range", json!("00".repeat(32))), ("note", json!(""))] {
        let mut value = value.clone();
        value[name] = other;
        assert!(Seen::from_json(&watch(), &value).is_none(), "{name}");
    }
}

#[test]
fn a_checkpoint_that_claims_more_than_can_be_read_ends_the_look() {
    let log = publish(&entries(300));
    let root = tlog::Hash([7; 32]);
    let note = Checkpoint::new("plant.example/log", 1 << 50, root).sign(&key(1)).unwrap();
    log.write("checkpoint", note);
    let told = texts(&look(&mut seen(), &log, 300).findings);
    assert!(told.len() == 1 && told[0].contains("more than a look goes through"), "{told:?}");
}
