//! Keys that take each other's place while somebody watches.

use super::*;

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
