//! Entries that are gone while somebody watches, or before.

use super::*;

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
