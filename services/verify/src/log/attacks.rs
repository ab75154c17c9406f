//! What a dishonest writer signs with the genuine key, and what the published files alone still tell of it.

use super::published::{Published, checkpoint, kept_path, key, ruled_story, seal, story};
use super::*;
use crate::report::Finding;
use model::Value;

const SIZE: u64 = 300;

fn told(entries: &[Vec<u8>]) -> (Vec<String>, Vec<String>) {
    let log = Published::of(entries, &[], &key(1));
    let report = check(log.dir.path(), key(1).verifier(), None).unwrap();
    let texts = |found: &[Finding]| found.iter().map(ToString::to_string).collect();
    (texts(&report.findings), texts(&report.warnings))
}

/// Replaces a part of entry `index` of the story.
fn respelt(index: usize, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
    let mut entries = seal(&story(SIZE));
    let entry = &entries[index];
    let at = entry.windows(from.len()).position(|part| part == from).unwrap();
    entries[index] = [&entry[..at], to, &entry[at + from.len()..]].concat();
    entries
}

/// Two readers that take another one of two members, or read bytes that are no text in another way, would see two entries.
#[test]
fn an_entry_that_two_readers_could_read_in_two_ways_is_none() {
    for (what, from, to) in [
        ("a key twice, alike", &b"\"kind\":\"heartbeat\""[..], &b"\"kind\":\"heartbeat\",\"kind\":\"heartbeat\""[..]),
        ("a key twice, unlike", b"\"kind\":\"heartbeat\"", b"\"kind\":\"gap\",\"kind\":\"heartbeat\""),
        ("a key twice, once escaped", b"\"kind\":\"heartbeat\"", b"\"kind\":\"gap\",\"k\\u0069nd\":\"heartbeat\""),
        ("keys out of order", b"{", b"{\"z\":1,"),
        ("a number with a fraction", b"{", b"{\"a\":1.0,"),
        ("a number with an exponent", b"{", b"{\"a\":1e3,"),
        ("a number with a leading zero", b"{", b"{\"a\":01,"),
        ("minus zero", b"{", b"{\"a\":-0,"),
        ("a number beyond 64 bits", b"{", b"{\"a\":9223372036854775808,"),
        ("bytes that are no UTF-8", b"boot-1", b"boot\xff1"),
        ("half of a surrogate pair", b"boot-1", b"boot\xed\xa0\x80"),
        ("an overlong slash", b"boot-1", b"boot\xc0\xaf"),
        ("a byte order mark", b"{", b"\xef\xbb\xbf{"),
        ("a space", b"{", b"{ "),
        ("an escape that is not needed", b"boot-1", b"boo\\u0074-1"),
        ("something behind it", b"\"v\":\"1.6\"}", b"\"v\":\"1.6\"}{}"),
    ] {
        let (findings, _) = told(&respelt(7, from, to));
        assert!(findings.len() == 1 && findings[0].starts_with("entry 7: not an entry: "), "{what}: {findings:?}");
    }
}

#[test]
fn a_fork_of_an_organisations_sequence_is_found_in_a_signed_log() {
    // Entry 10 has number 2 of `bolt`, and names 8 as the one before it. Now 11 says the same.
    let mut entries = seal(&story(SIZE));
    assert!(String::from_utf8_lossy(&entries[10]).contains("\"org_prev\":9,\"org_seq\":3"), "the story was changed");
    entries[12] = entries[10].clone();
    let (findings, _) = told(&entries);
    assert_eq!(findings[0], "entries 11 to 12: organisation `bolt` has a second entry 3");
}

#[test]
fn a_decision_by_policies_that_were_never_in_use_is_found() {
    let (findings, _) = told(&seal(&ruled_story(SIZE)));
    let never = |policies: &str| {
        format!("decided by policies `{}`, and no entry says that these were in use", policies.repeat(64))
    };
    assert_eq!(findings, [format!("entry 80: {}", never("f")), format!("entry 128: {}", never("b"))]);
}

#[test]
fn an_allowed_decision_that_names_no_policies_is_found() {
    let unnamed = |digests: Option<Value>| {
        let mut story = story(SIZE);
        story[80].members.retain(|(name, _)| *name != "digests");
        story[80].members.extend(digests.map(|digests| ("digests", digests)));
        told(&seal(&story)).0
    };
    let schema = Value::object([("schema", Value::text("a".repeat(64)))]);
    let unreadable = Value::object([("policies", Value::text("a"))]);
    for digests in [None, Some(schema), Some(unreadable), Some(Value::text("a"))] {
        assert_eq!(unnamed(digests), ["entry 80: allowed, and does not say by which policies"]);
    }
}

/// An hour forward cannot be told from an hour of silence, and the way back can: order is proven, time is not.
#[test]
fn a_clock_that_is_put_back_an_hour_is_pointed_out() {
    let hours = |index: usize, hour: &str| respelt(index, b"T19:", format!("T{hour}:").as_bytes());
    let standing = {
        let (mut entries, time) = (seal(&story(SIZE)), &b"\"time\":\""[..]);
        for entry in &mut entries {
            let at = entry.windows(time.len()).position(|part| part == time).unwrap() + time.len();
            entry[at..at + 24].copy_from_slice(b"2026-11-22T19:20:00.000Z");
        }
        entries
    };
    for (what, entries, warnings) in [
        ("one entry is an hour early", hours(100, "18"), &["entry 100: 3599 s earlier than the entry before it"][..]),
        ("one entry is an hour late", hours(100, "20"), &["entry 101: 3599 s earlier than the entry before it"]),
        ("the clock stands still", standing, &[]),
    ] {
        let (findings, told) = told(&entries);
        assert!(findings.is_empty(), "{what}: {findings:?}");
        assert_eq!(told, warnings, "{what}");
    }
}

/// What is under a cosigned checkpoint was there by then, and what is not under it was not.
#[test]
fn an_entry_that_was_dated_back_or_ahead_is_found_by_the_clocks_of_witnesses() {
    let witness = tlog::CosigningKey::generate("witness.example/w", [3; 32]).unwrap();
    let text = format!("log {}\nwitness w {}\nquorum w\n", key(1).verifier().to_text(), witness.verifier().to_text());
    let policy = TrustPolicy::parse(&text).unwrap();
    let check = |entries: &[Vec<u8>]| {
        let log = Published::of(entries, &[], &key(1));
        // Entries are a fifth of a second apart.
        for (size, seconds) in [(100_usize, 21), (200, 41), (300, 61)] {
            let note = checkpoint(&entries[..size], &key(1));
            let text = format!("{}\n", note.split("\n\n").next().unwrap());
            let cosigned = format!("{note}{}", witness.cosign(&text, 1_795_375_200 + seconds));
            log.write(&kept_path(size as u64), &cosigned);
            log.write("checkpoint", &cosigned);
        }
        let report = check_trusting(log.dir.path(), &policy, None, &mut |_, _| {}).unwrap();
        let told: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        (told, tests::failed(&report))
    };
    assert_eq!(check(&seal(&story(SIZE))), (vec![], vec![]));
    let hours = |index: usize, hour: &str| respelt(index, b"T19:", format!("T{hour}:").as_bytes());
    let (told, failed) = check(&hours(150, "18"));
    let back = "entry 150: 3591 s earlier than a checkpoint of 100 entries was cosigned, which does not have it yet: it was dated \
                back, or one of the clocks is wrong";
    assert_eq!((told, failed), (vec![String::from(back)], vec!["clocks"]));
    let (told, failed) = check(&hours(50, "20"));
    let ahead =
        "entry 50: 3589 s later than its cosignature, under a checkpoint of 100 entries: one of the clocks is wrong";
    assert_eq!((told, failed), (vec![String::from(ahead)], vec!["clocks"]));
    // Before the first cosigned checkpoint nothing tells, and without witnesses nothing at all.
    assert_eq!(check(&hours(50, "18")).0, Vec::<String>::new());
    assert_eq!(self::told(&hours(150, "18")).0, Vec::<String>::new());
}
