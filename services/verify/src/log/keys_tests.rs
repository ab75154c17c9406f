//! Logs whose key has changed, for whoever has the old key, the new one, or both.

use super::published::{self, Published, Told, checkpoint_by, kept_path, key, key_change as change, seal, story};
use super::*;
use crate::report::Finding;
use model::Value;
use tlog::SigningKey;

const SIZE: usize = 600;
const ANNOUNCED: usize = 150;
const RETIRED: usize = 350;

/// Key 1 signs alone, then with 2, then 2 alone.
fn entries() -> Vec<Vec<u8>> {
    let mut story = story(SIZE as u64);
    // In the place of entries without consequence.
    story[ANNOUNCED + 1] = change("announced", 2, 1);
    story[RETIRED + 1] = change("retired", 1, 2);
    seal(&story)
}

fn publish(entries: &[Vec<u8>], kept: &[(usize, &[u8])]) -> Published {
    let log = Published::of(entries, &[], &key(9));
    for (size, keys) in kept {
        let note = checkpoint_by(&entries[..*size], keys);
        log.write(&kept_path(*size as u64), &note);
        log.write("checkpoint", &note);
    }
    log
}

fn rotated() -> Published {
    publish(&entries(), &[(100, &[1]), (256, &[1, 2]), (300, &[1, 2]), (400, &[2]), (SIZE, &[2])])
}

fn check_by(log: &Published, keys: &[u8]) -> Report {
    let keys: Vec<VerifierKey> = keys.iter().map(|seed| key(*seed).verifier().clone()).collect();
    check_with_progress(log.dir.path(), &keys, None, &mut |_, _| {}).unwrap()
}

fn told_of(report: &Report) -> Vec<String> {
    report.findings.iter().map(Finding::to_string).collect()
}

fn vkey(seed: u8) -> String {
    key(seed).verifier().to_text()
}

#[test]
fn whoever_has_the_old_key_learns_the_new_one_from_the_log() {
    let report = check_by(&rotated(), &[1]);
    assert_eq!((told_of(&report), report.warnings.len()), (vec![], 0), "{report}");
    assert_eq!((report.size, report.entries, report.checkpoints), (600, 600, 5));
    assert_eq!(report.keys.learned, [(vkey(2), ANNOUNCED as u64 + 1)]);
    assert_eq!(report.keys.retired, [(vkey(1), RETIRED as u64 + 1)]);
    assert!(report.to_string().contains(&format!("new key        {}, by entry 151\n", vkey(2))), "{report}");
    assert_eq!(report.to_json()["keys"]["learned"][0]["entry"], 151);
}

#[test]
fn whoever_has_both_keys_needs_to_learn_none() {
    let report = check_by(&rotated(), &[1, 2]);
    assert_eq!((told_of(&report), report.warnings.len(), report.checkpoints), (vec![], 0, 5));
    assert!(report.keys.learned.is_empty() && report.keys.retired.len() == 1);
}

#[test]
fn whoever_has_the_new_key_alone_is_told_of_the_old_one() {
    let report = check_by(&rotated(), &[2]);
    assert_eq!((told_of(&report), report.checkpoints), (vec![], 4), "{report}");
    let [warning] = report.warnings.as_slice() else { panic!("{report}") };
    assert!(warning.what.starts_with("1 kept checkpoint is signed by an earlier key of this log"), "{warning}");
    assert!(report.to_string().contains(&format!("earlier key    {}", vkey(1))), "{report}");
    assert_eq!(report.to_json()["keys"]["unverified_checkpoints"], 1);
    // By somebody else, it is not called one of before.
    let log = rotated();
    log.write(&kept_path(50), checkpoint_by(&entries()[..50], &[7]));
    log.write(&kept_path(60), checkpoint_by(&entries()[..60], &[1]));
    let report = check_by(&log, &[2]);
    assert_eq!(
        told_of(&report),
        [format!("entries 0 to 99: kept checkpoint `{}`: no signature is by a known key", kept_path(50))]
    );
    assert_eq!(report.keys.unverified, 2);
}

#[test]
fn an_announcement_counts_under_a_signature_that_counts_only() {
    // The thief of nothing: key 2 announces itself.
    let log = publish(&entries(), &[(100, &[1]), (256, &[2]), (SIZE, &[2])]);
    let found = told_of(&check_by(&log, &[1]));
    assert!(found[0].starts_with("`checkpoint`: no signature is by a known key"), "{found:?}");
    // The announcement stands behind all that the old key signed.
    let log = publish(&entries(), &[(100, &[1]), (151, &[1]), (SIZE, &[2])]);
    assert!(!check_by(&log, &[1]).is_ok());
    let log = publish(&entries(), &[(100, &[1]), (152, &[1, 2]), (SIZE, &[2])]);
    assert!(check_by(&log, &[1]).is_ok(), "one entry on, it is under its signature");
    // The old key signed, but another tree.
    let log = publish(&entries(), &[(100, &[1]), (SIZE, &[2])]);
    let mut others = entries();
    others.swap(3, 4);
    log.write(&kept_path(256), checkpoint_by(&others[..256], &[1]));
    let report = check_by(&log, &[1]);
    assert!(!report.is_ok() && report.keys.learned.is_empty(), "{report}");
}

#[test]
fn a_stolen_key_neither_signs_nor_announces_after_it_was_retired() {
    for keys in [&[1][..], &[1, 2], &[2, 1]] {
        // It goes on as if nothing had been said.
        let log = publish(&entries(), &[(256, &[1, 2]), (400, &[2]), (SIZE, &[1])]);
        let found = told_of(&check_by(&log, keys));
        assert!(
            found.iter().any(|what| what.contains("signed by a key that entry 351 retired")),
            "{keys:?}: {found:?}"
        );
        // It announces a key of the thief's.
        let mut story = story(SIZE as u64);
        story[ANNOUNCED + 1] = change("announced", 2, 1);
        story[RETIRED + 1] = change("retired", 1, 2);
        story[500 + 1] = change("announced", 3, 1);
        let log = publish(&seal(&story), &[(256, &[1, 2]), (400, &[2]), (520, &[1, 3]), (SIZE, &[3])]);
        let report = check_by(&log, keys);
        assert!(!report.is_ok() && report.keys.learned.iter().all(|(key, _)| *key != vkey(3)), "{keys:?}: {report}");
    }
    // What was retired does not come back.
    let mut story = story(SIZE as u64);
    story[ANNOUNCED + 1] = change("announced", 2, 1);
    story[RETIRED + 1] = change("retired", 1, 2);
    story[500 + 1] = change("announced", 1, 2);
    let log = publish(&seal(&story), &[(256, &[1, 2]), (400, &[2]), (SIZE, &[2, 1])]);
    assert_eq!(told_of(&check_by(&log, &[1])), ["entry 501: announces a key that was retired before"]);
}

/// A retired, stolen key makes another history from before it was retired, for whoever trusts its successor as well.
#[test]
fn another_history_by_an_older_key_is_told_to_whoever_has_both() {
    let with = |changes: &[(usize, Told)]| {
        let mut story = story(SIZE as u64);
        changes.iter().for_each(|(at, told)| story[*at] = told.clone());
        publish(&seal(&story), &[(256, &[1]), (SIZE, &[1])])
    };
    let announced = || (151, change("announced", 2, 1));
    // Its maker has the old key and no other; whatever it says, the new one has not signed.
    for (fork, said) in [
        (with(&[]), "neither is signed by the key"),
        (with(&[announced()]), "entry 151 announces the key"),
        (with(&[announced(), (159, change("retired", 2, 1))]), "takes the key"),
        // Who signs first when it is written is what it says, no more.
        (with(&[announced(), (159, change("retired", 2, 2))]), "takes the key"),
    ] {
        for keys in [&[1, 2][..], &[2, 1]] {
            let found = told_of(&check_by(&fork, keys));
            assert!(found.iter().any(|what| what.contains(said) && what.contains(&vkey(2))), "{said}: {found:?}");
        }
    }
    // Who has the old key alone cannot know.
    assert!(check_by(&with(&[]), &[1]).is_ok());
    // The log as it was before the new key was announced is no other history for whoever leaves that away.
    assert!(check_by(&rotated(), &[1, 2]).is_ok() && check_by(&rotated(), &[2, 1]).is_ok());
}

/// A log has one first key. Entries that make a second one of a key that is trusted are told, whole as the log is.
#[test]
fn a_key_that_is_named_and_never_announced_does_not_hide_that_it_was_left_out() {
    let with = |changes: &[(usize, Told)], signed: &[u8]| {
        let mut story = story(SIZE as u64);
        changes.iter().for_each(|(at, told)| story[*at] = told.clone());
        publish(&seal(&story), &[(SIZE, signed)])
    };
    let first = || [(151, change("announced", 2, 1)), (247, change("retired", 1, 2))];
    for (fork, keys) in [
        (with(&[(151, change("announced", 7, 2))], &[1, 7]), [1, 2]),
        (with(&[(151, change("retired", 2, 1))], &[1]), [1, 2]),
        (with(&[first().as_slice(), &[(351, change("retired", 3, 2))]].concat(), &[2]), [2, 3]),
    ] {
        for keys in [[keys[0], keys[1]], [keys[1], keys[0]]] {
            let found = told_of(&check_by(&fork, &keys));
            assert!(found.iter().any(|what| what.contains("only a log's first key")), "{keys:?}: {found:?}");
        }
    }
    // Whoever can write to a store can name a key, and nothing follows for those whose key has signed.
    let named = with(&[(151, change("announced", 7, 8)), (159, change("retired", 7, 1))], &[1]);
    assert_eq!(told_of(&check_by(&named, &[1])), Vec::<String>::new());
}

#[test]
fn what_is_known_of_keys_is_known_to_a_look_that_goes_on_later() {
    let keys = [1, 2].map(|seed| key(seed).verifier().clone());
    let mut ring = KeyRing::new(&keys);
    let change = crate::keys::Change {
        event: crate::keys::Event::Retired,
        key: key(3).verifier().clone(),
        signer: keys[0].clone(),
    };
    ring.said(5, &Ok(change), &mut Findings::default());
    ring.signed_by(9, &keys[..1]);
    ring.prune();
    let kept = ring.to_json();
    assert_eq!(KeyRing::from_json(&keys, &kept).unwrap().to_json(), kept);
    for name in ["first", "signed", "absent"] {
        assert_ne!(kept[name], serde_json::json!([]), "{name}");
        let mut earlier = kept.clone();
        earlier.as_object_mut().unwrap().remove(name);
        assert!(KeyRing::from_json(&keys, &earlier).is_some());
    }
}

/// What a broker makes of a key that somebody has put into its store: no checkpoint covers the announcement alone.
#[test]
fn a_key_that_is_announced_and_retired_under_one_checkpoint_signs_nothing() {
    let mut story = story(SIZE as u64);
    story[151] = change("announced", 3, 1);
    story[159] = change("retired", 3, 1);
    let genuine = seal(&story);
    let log = publish(&genuine, &[(100, &[1]), (256, &[1]), (SIZE, &[1])]);
    let report = check_by(&log, &[1]);
    assert_eq!((told_of(&report), report.keys.retired.len()), (vec![], 1), "{report}");
    // Another history, from behind the announcement on and up to any size.
    for size in [152, 156, SIZE] {
        let mut forged = genuine[..size].to_vec();
        forged[151 + 1..].reverse();
        let log = publish(&forged, &[(100, &[1]), (size, &[3])]);
        let report = check_by(&log, &[1]);
        assert!(!report.is_ok() && report.keys.learned.is_empty(), "{size}: {report}");
    }
}

#[test]
fn hostile_entries_about_keys_cost_no_more_than_their_number() {
    let mut ring = KeyRing::new(&[key(1).verifier().clone()]);
    let mut findings = Findings::default();
    let seed = |n: u64| {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        SigningKey::generate(published::ORIGIN, seed).unwrap().verifier().clone()
    };
    for n in 0..3_000_u64 {
        let event = crate::keys::Event::Retired;
        // The key is always the same; who says it is not.
        ring.said(
            n,
            &Ok(crate::keys::Change { event, key: key(2).verifier().clone(), signer: seed(n) }),
            &mut findings,
        );
    }
    let report = ring.report(1);
    assert_eq!(report.earlier.len(), 1_000);
    assert!(report.to_string().lines().count() < 50 && report.to_string().contains("and 980 more"), "{report}");
    let (told, _) = findings.finish();
    assert_eq!(
        told.iter().map(Finding::to_string).collect::<Vec<_>>(),
        [
            "entries 1000 to 2999: more than 1000 changes of keys, which no log has: what it says of keys from here on is not followed. Ask \
             its operator why, and begin anew with keys that you trust"
        ]
    );
}

#[test]
fn a_chain_of_keys_is_followed() {
    let mut story = story(SIZE as u64);
    story[ANNOUNCED + 1] = change("announced", 2, 1);
    story[RETIRED + 1] = change("retired", 1, 2);
    story[400 + 1] = change("announced", 3, 2);
    story[500 + 1] = change("retired", 2, 3);
    let entries = seal(&story);
    let log = publish(&entries, &[(100, &[1]), (256, &[1, 2]), (400, &[2]), (450, &[2, 3]), (SIZE, &[3])]);
    let report = check_by(&log, &[1]);
    assert_eq!((told_of(&report), report.keys.learned.len(), report.checkpoints), (vec![], 2, 5), "{report}");
}

#[test]
fn a_signature_that_was_changed_refuses_the_note_whatever_the_other_says() {
    for line in [4, 5] {
        let log = publish(&entries(), &[(100, &[1]), (256, &[1, 2]), (SIZE, &[1, 2])]);
        log.change(&kept_path(256), |bytes| {
            let text = String::from_utf8(std::mem::take(bytes)).unwrap();
            let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
            let at = lines[line].len() - 10;
            let other = if lines[line].as_bytes()[at] == b'A' { "B" } else { "A" };
            lines[line].replace_range(at..=at, other);
            *bytes = lines.join("\n").into_bytes();
        });
        let found = told_of(&check_by(&log, &[1, 2]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("the signature of key `plant.example/log` does not verify"), "{found:?}");
    }
}

#[test]
fn what_is_said_of_keys_is_understood_or_a_finding() {
    let mut story = story(SIZE as u64);
    story[151] = Told { members: vec![("event", Value::text("announced"))], ..change("announced", 2, 1) };
    let log = publish(&seal(&story), &[(SIZE, &[1])]);
    assert_eq!(told_of(&check_by(&log, &[1])), ["entry 151: a change of keys whose member `key` cannot be understood"]);
}
