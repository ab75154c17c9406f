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

/// Entry after entry speaks of a key, ever others.
#[test]
fn what_is_kept_of_keys_is_bounded_over_all_looks_and_the_bound_is_told() {
    let mut told = story(2_400);
    for index in (16..2_400).filter(|index| index % 8 != 0 && index % 8 != 3) {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&u64::to_be_bytes(index as u64));
        let other = tlog::SigningKey::generate(crate::log::published::ORIGIN, seed).unwrap();
        let text = |key: &tlog::SigningKey| model::Value::text(key.verifier().to_text());
        let members = vec![("event", model::Value::text("retired")), ("key", text(&key(9))), ("signer", text(&other))];
        told[index] = crate::log::published::Told { members, ..key_change("retired", 9, 1) };
    }
    let sealed = seal(&told);
    let mut seen = Seen::nothing();
    let named = |seen: &Seen| seen.to_json(&watch())["keys"]["named"].as_array().unwrap().len();
    let bound = "more than 1000 changes of keys";
    for (size, is_met) in [(600, false), (1_200, false), (1_800, true), (2_400, true)] {
        let look = look(&mut seen, &publish(&sealed[..size]), size as u64);
        assert!(look.new == 600 && named(&seen) <= 2_000, "{size}: {}", named(&seen));
        assert_eq!(look.findings.iter().any(|found| found.what.starts_with(bound)), is_met, "{size}");
        seen = kept(&seen);
    }
    assert_eq!(named(&seen), 1_001, "a thousand signers, and the one key that they retire");
    // As it was kept before changes were counted.
    let mut value = seen.to_json(&watch());
    value["keys"].as_object_mut().unwrap().remove("changes");
    let again = Seen::from_json(&watch(), &value).unwrap().to_json(&watch());
    assert_eq!(again["keys"]["changes"], 501);
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

fn watch_by(keys: &[u8]) -> Watch {
    let keys: Vec<VerifierKey> = keys.iter().map(|seed| key(*seed).verifier().clone()).collect();
    Watch { key: keys[0].clone(), policy: TrustPolicy::of_keys(keys), silence_ms: 300_000, kept_days: None }
}

/// A log of so many entries in which key 2 took the place of key 1, signed by these in the end.
fn rotated(size: usize, signed: &[u8]) -> Published {
    let mut story = story(SIZE);
    story[151] = key_change("announced", 2, 1);
    story[351] = key_change("retired", 1, 2);
    let entries = &seal(&story)[..size];
    let log = Published::of(entries, &[], &key(1));
    log.write("checkpoint", checkpoint_by(entries, signed));
    log
}

fn look_by(seen: &mut Seen, keys: &[u8], log: &Published) -> Look {
    seen.look(&watch_by(keys), &mut Folder(log.dir.path().to_owned()), &at(SIZE)).unwrap()
}

fn kept_by(seen: &Seen, before: &[u8], now: &[u8]) -> Option<Seen> {
    let text = seen.to_json(&watch_by(before)).to_string();
    Seen::from_json(&watch_by(now), &serde_json::from_str(&text).unwrap())
}

#[test]
fn a_watch_that_begins_behind_a_retirement_takes_nothing_of_the_retired_key() {
    let files = |log: &Published| Folder(log.dir.path().to_owned());
    let log = rotated(400, &[2]);
    let begin = |keys: &[u8], log: &Published| Seen::from_now(&watch_by(keys), &mut files(log), &at(400));
    let mut seen = kept_by(&begin(&[1, 2], &log).unwrap(), &[1, 2], &[1, 2]).unwrap();
    // A thief of the old key goes on with the genuine log.
    let forged = texts(&look_by(&mut seen, &[1, 2], &rotated(450, &[1])).findings);
    assert!(forged.len() == 1 && forged[0].contains("signed by a key that entry 399 retired"), "{forged:?}");
    assert_eq!(seen.size(), 400);
    let genuine = look_by(&mut seen, &[1, 2], &rotated(450, &[2]));
    assert_eq!((texts(&genuine.findings), genuine.new), (vec![], 50));
    // Nor does a watch begin with what the older key alone has signed.
    for keys in [&[1, 2][..], &[2, 1]] {
        let refused = begin(keys, &rotated(400, &keys[..1])).unwrap_err();
        assert!(refused.0.contains("the last of the keys that were given"), "{refused}");
    }
    // While both sign, both count.
    let mut seen = begin(&[1, 2], &rotated(300, &[1, 2])).unwrap();
    let after = look_by(&mut seen, &[1, 2], &rotated(340, &[1, 2]));
    assert_eq!((texts(&after.findings), after.new), (vec![], 40));
    let after = look_by(&mut seen, &[1, 2], &rotated(400, &[2]));
    assert_eq!((texts(&after.findings), after.new), (vec![], 60));
}

#[test]
fn what_was_seen_stays_seen_when_its_key_is_taken_off_the_list() {
    let mut seen = Seen::nothing();
    let first = look_by(&mut seen, &[1], &rotated(100, &[1]));
    assert_eq!((texts(&first.findings), first.new), (vec![], 100));
    let mut after = kept_by(&seen, &[1], &[2]).unwrap();
    let next = look_by(&mut after, &[2], &rotated(400, &[2]));
    assert_eq!((texts(&next.findings), next.new), (vec![], 300));
    // What is published now must be signed by a key that is trusted now.
    let mut after = kept_by(&seen, &[1], &[2]).unwrap();
    let next = texts(&look_by(&mut after, &[2], &rotated(140, &[1])).findings);
    assert!(next.len() == 1 && next[0].starts_with("`checkpoint`: "), "{next:?}");
    // A note of another key than the state says to be the log's is none that was seen.
    let mut value = seen.to_json(&watch_by(&[1]));
    value["signers"] = json!([key(3).verifier().to_text()]);
    assert!(Seen::from_json(&watch_by(&[2]), &value).is_none());
    // As it was kept before signers were.
    value.as_object_mut().unwrap().remove("signers");
    assert!(Seen::from_json(&watch_by(&[2]), &value).is_none() && Seen::from_json(&watch_by(&[1]), &value).is_some());
}

#[test]
fn another_history_by_an_older_key_is_told_to_whoever_watches_with_both() {
    let mut seen = Seen::nothing();
    let first = look_by(&mut seen, &[1], &rotated(100, &[1]));
    assert!(first.is_ok());
    let mut seen = kept_by(&seen, &[1], &[1, 2]).unwrap();
    // It goes on from before the announcement, and makes none; or makes it and cannot sign with the new key.
    for (fork, said) in
        [(publish(&entries(SIZE)), "neither is signed by"), (rotated(300, &[1]), "which has not signed")]
    {
        let told = texts(&look_by(&mut seen, &[1, 2], &fork).findings);
        assert!(told.len() == 1 && told[0].contains(said), "{told:?}");
        assert_eq!(seen.size(), 100);
        seen = kept_by(&seen, &[1, 2], &[1, 2]).unwrap();
    }
    let genuine = look_by(&mut seen, &[1, 2], &rotated(300, &[1, 2]));
    assert_eq!((texts(&genuine.findings), genuine.new), (vec![], 200));
}

/// The start of the broker, and policies that came into use then.
const CARRIED: [u64; 2] = [103, 111];

/// 600 entries, one that prunes those before 512, and 99 more on that day.
fn pruned_entries(change: &[(&'static str, model::Value)]) -> Vec<Vec<u8>> {
    pruned_carrying(&CARRIED, change)
}

fn pruned_carrying(carried: &[u64], change: &[(&'static str, model::Value)]) -> Vec<Vec<u8>> {
    let mut told = opened_story(SIZE);
    told.push(prunes(&told, 512, carried, change));
    let later = opened_story(700).into_iter().skip(601).map(|one| crate::log::published::Told { days: 100, ..one });
    told.extend(later);
    // No outcome of the entry in whose place the other stands.
    told[603] = told[607].clone();
    seal(&told)
}

fn pruned(entries: &[Vec<u8>]) -> Published {
    let log = publish(entries);
    log.prune(entries, SIZE, 512, &CARRIED);
    log
}

/// A hundred days later.
fn look_later(seen: &mut Seen, log: &Published) -> Look {
    let now = At(at(701).0 + 100 * 86_400_000);
    let watch = Watch { silence_ms: i64::MAX, ..watch() };
    seen.look(&watch, &mut Folder(log.dir.path().to_owned()), &now).unwrap()
}

const SAYS: &str = "entry 600: prunes entries before 512: it says that all are of before 2026-11-23T00:00:00.000Z, and kept for 60 days";

#[test]
fn whoever_has_seen_everything_is_told_what_is_pruned_and_goes_on() {
    let entries = pruned_entries(&[]);
    let mut seen = Seen::nothing();
    assert!(look(&mut seen, &publish(&entries[..600]), 600).is_ok());
    let mut seen = kept(&seen);
    let told = look_later(&mut seen, &pruned(&entries));
    assert_eq!((texts(&told.findings), texts(&told.warnings), told.new), (vec![], vec![String::from(SAYS)], 100));
    assert!(look_later(&mut kept(&seen), &pruned(&entries)).is_ok());
}

#[test]
fn whoever_has_not_seen_what_is_pruned_is_told_and_goes_on_by_its_hashes() {
    let entries = pruned_entries(&[]);
    for before in [0, 300] {
        let mut seen = Seen::nothing();
        if before > 0 {
            look(&mut seen, &publish(&entries[..300]), before);
        }
        let mut seen = kept(&seen);
        let told = look_later(&mut seen, &pruned(&entries));
        assert_eq!((texts(&told.findings), told.new), (vec![], 700 - before), "{before}");
        let unseen = format!("entries {before} to 511: pruned under entry 600 before they were seen here");
        assert_eq!(texts(&told.warnings), [unseen, String::from(SAYS)]);
        assert!(look_later(&mut kept(&seen), &pruned(&entries)).is_ok());
    }
}

#[test]
fn whoever_watches_finds_a_pruning_that_drops_the_last_start_however_much_was_seen() {
    let dropped = "entry 600: prunes entries before 512, and does not carry forward that the log was opened";
    let left_out = "entry 600: does not carry entry 103 forward, by which the log was opened last";
    let entries = pruned_carrying(&CARRIED[1..], &[]);
    for (size, expected) in [(0, dropped), (300, dropped), (600, left_out)] {
        let mut seen = Seen::nothing();
        if size > 0 {
            look(&mut seen, &publish(&entries[..size]), size as u64);
        }
        assert_eq!(texts(&look_later(&mut kept(&seen), &pruned(&entries)).findings), [expected], "{size}");
    }
    // Whoever began in the middle does not know where the last start was.
    let entries = pruned_entries(&[]);
    let first = publish(&entries[..300]);
    let seen = Seen::from_now(&watch(), &mut Folder(first.dir.path().to_owned()), &at(300)).unwrap();
    let told = look_later(&mut kept(&seen), &pruned(&entries));
    assert_eq!((texts(&told.findings), told.new), (vec![], 400));
}

#[test]
fn a_pruning_that_is_served_otherwise_at_first_excuses_nothing() {
    struct Twice(Folder, Option<Vec<u8>>);
    impl Files for Twice {
        fn read(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
            let forged = if path == "tile/entries/002.p/188" { self.1.take() } else { None };
            forged.map_or_else(|| self.0.read(path, bytes_max), |forged| Ok(Some(forged)))
        }
    }
    let genuine = pruned_entries(&[]);
    let log = pruned(&genuine);
    let look = |forged: &[Vec<u8>]| {
        let bytes = tlog::bundle::encode(forged[512..].iter().map(Vec::as_slice)).unwrap();
        let mut files = Twice(Folder(log.dir.path().to_owned()), Some(bytes));
        let watch = Watch { silence_ms: i64::MAX, ..watch() };
        let mut seen = Seen::nothing();
        let told = seen.look(&watch, &mut files, &At(at(701).0 + 100 * 86_400_000)).unwrap();
        (texts(&told.findings), seen.size())
    };
    assert_eq!(look(&genuine), (vec![], 700));
    for change in [
        ("policy", model::Value::text("cd".repeat(32))),
        ("days", model::Value::int(61)),
        ("open", model::Value::Array(vec![model::Value::int(500)])),
        ("carried", model::Value::Array(vec![model::Value::int(103), model::Value::int(111), model::Value::int(300)])),
    ] {
        let (found, size) = look(&pruned_entries(std::slice::from_ref(&change)));
        let what = "entries 0 to 511: entries before 512 are gone, and entry 600 does not say so";
        assert!(found.iter().any(|found| found == what) && size == 0, "{change:?}: {found:?}");
    }
}

/// A thief of it goes on with the log, and prunes what retired it before somebody watches.
#[test]
fn a_watch_that_begins_behind_a_pruning_takes_nothing_of_a_retired_key() {
    let mut told = opened_story(SIZE);
    told[151] = key_change("announced", 2, 1);
    told[351] = key_change("retired", 1, 2);
    let look = |carried: &[u64], behind: Option<crate::log::published::Told>, signed: &[u8], keys: &[u8]| {
        let mut carried = [CARRIED.as_slice(), carried].concat();
        carried.sort_unstable();
        let mut told = told.clone();
        told.push(prunes(&told, 512, &carried, &[]));
        told.extend(behind);
        let entries = seal(&told);
        let log = publish(&entries);
        log.prune(&entries, SIZE, 512, &carried);
        log.write("checkpoint", checkpoint_by(&entries, signed));
        let watch = Watch { silence_ms: i64::MAX, ..watch_by(keys) };
        let mut seen = Seen::nothing();
        let now = At(at(701).0 + 100 * 86_400_000);
        let told = seen.look(&watch, &mut Folder(log.dir.path().to_owned()), &now).unwrap();
        (texts(&told.findings), seen.size())
    };
    for keys in [&[1, 2][..], &[2, 1]] {
        assert_eq!(look(&[151, 351], None, &[2], keys), (vec![], SIZE + 1));
        for behind in [key_change("retired", 2, 1), key_change("retired", 2, 2), key_change("announced", 7, 2)] {
            let (found, size) = look(&[], Some(behind), &[1], keys);
            let is_told = found.iter().any(|found| found.contains("only a log's first key"));
            assert!(is_told && size == 0, "{found:?}");
        }
    }
}

#[test]
fn entries_that_are_gone_without_an_entry_are_missing_to_a_monitor() {
    let entries = seal(&story(SIZE));
    let log = publish(&entries);
    (0..2).for_each(|number| log.remove(&format!("tile/entries/{number:03}")));
    let missing = "entries 0 to 255: entry bundle `tile/entries/000` is missing";
    assert_eq!(texts(&look_later(&mut Seen::nothing(), &log).findings), [missing]);
    log.write("pruned", "{\"below\":512,\"under\":599}");
    assert_eq!(texts(&look_later(&mut Seen::nothing(), &log).findings), [missing]);
    let log = pruned(&pruned_entries(&[]));
    log.change("tile/0/001", |bytes| bytes[3] ^= 1);
    let told = look_later(&mut Seen::nothing(), &log);
    assert!(texts(&told.findings)[0].contains("the log was rewritten"), "{told:?}");
}

#[test]
fn a_cut_off_that_contradicts_what_was_seen_is_told() {
    let entries = pruned_entries(&[("before", model::Value::text("2026-11-22T00:00:00.000Z"))]);
    for size in [600, 300] {
        let mut seen = Seen::nothing();
        look(&mut seen, &publish(&entries[..size]), size as u64);
        let told = look_later(&mut kept(&seen), &pruned(&entries));
        let says = "entry 600: says that all entries before 512 are of before 2026-11-22T00:00:00.000Z, and entry 0 is of 2026-11-22T00:00:00.000Z or later";
        assert_eq!(texts(&told.findings), [says], "{size}");
    }
}

#[test]
fn a_pruning_that_says_otherwise_than_was_seen_or_is_too_early_is_told() {
    let place =
        |sequence: i64, index: i64| model::Value::Array(vec![model::Value::int(sequence), model::Value::int(index)]);
    let organisations = model::Value::object([("acme", place(9, 502)), ("bolt", place(224, 510))]);
    let entries = pruned_entries(&[("organisations", organisations)]);
    let mut seen = Seen::nothing();
    look(&mut seen, &publish(&entries[..600]), 600);
    // Entries of both stand behind the minimum index, so what is known here is that they went on.
    let told = look_later(&mut seen, &pruned(&entries));
    assert_eq!(texts(&told.findings), Vec::<String>::new());
    let mut nothing = Seen::nothing();
    let told = look_later(&mut nothing, &pruned(&entries));
    assert!(texts(&told.findings).iter().any(|found| found.contains("organisation `acme` missing")), "{told:?}");
    let watch = Watch { kept_days: Some(3_650), silence_ms: i64::MAX, ..watch() };
    let (entries, mut seen) = (pruned_entries(&[]), Seen::nothing());
    let log = pruned(&entries);
    let now = At(at(701).0 + 100 * 86_400_000);
    let told = seen.look(&watch, &mut Folder(log.dir.path().to_owned()), &now).unwrap();
    assert_eq!(texts(&told.findings), ["entry 600: entries were pruned that are kept for 60 days, and not for 3650"]);
}
