//! Keys and witnesses: of the log, of whoever stole one, and those that an archive names.

use super::*;

/// Whoever has stolen the old key goes on in a log that has retired it, and hands out a part of what it made.
#[test]
fn a_retired_key_signs_no_archive_of_a_tree_that_retires_it() {
    let text = |seed: u8| Value::text(key(seed).verifier().to_text());
    let change = |event: &str, about: u8, signer: u8| {
        let members = vec![("event", Value::text(event)), ("key", text(about)), ("signer", text(signer))];
        Told { organisation: None, members, ..told(Kind::Key, "") }
    };
    let mut entries = story(300);
    entries[111] = change("announced", 2, 1);
    entries[159] = change("retired", 1, 2);
    let rotated = seal(&entries);
    let signed = |entries: &[Vec<u8>], seed| checkpoint(entries, &key(seed));
    let keys = [1, 2].map(|seed| key(seed).verifier().clone());
    let check = |made: &Made| check_by(made.tar().as_slice(), &keys, |_| {}).unwrap();
    let genuine = check(&Made { checkpoint: signed(&rotated, 2), ..Made::of(rotated.clone()) });
    assert!(genuine.is_ok() && genuine.warnings.is_empty(), "{genuine}");
    assert_eq!(genuine.signed_by, [key(2).verifier().to_text()]);
    let forged = check(&Made { checkpoint: signed(&rotated, 1), ..Made::of(rotated) });
    let told: Vec<_> = forged.findings.iter().map(|finding| finding.what.as_str()).collect();
    let expected = "`checkpoint`: signed by a key that entry 159 retired, and by none that took its place: whoever has the old key \
                    made it";
    assert_eq!(told, [expected], "{forged}");
    // One that shows neither announcement nor retirement does not tell, and says so.
    let silent = check(&Made::of(seal(&story(300))));
    assert!(silent.is_ok() && silent.warnings[0].what.contains("is not signed by the key"), "{silent}");
}

#[test]
fn keys_and_witnesses_that_an_archive_names_are_believed_in_nothing_and_held_against_those_given() {
    let vkey = |seed: u8| key(seed).verifier().to_text();
    let with = |name: &str, text: String| Made { more: vec![(name.into(), text.into_bytes())], ..Made::of(entries()) };
    let own = with("keys", vkey(1) + "\n").check();
    assert!(own.is_ok() && own.warnings.is_empty() && !own.to_string().contains("which you did not give"), "{own}");
    // Whoever forges an archive signs it and names the key.
    let mut forged = with("keys", vkey(2) + "\n");
    forged.checkpoint = checkpoint(&forged.entries, &key(2));
    let report = forged.check();
    assert_eq!(failed(&report), ["checkpoint-signature"]);
    assert_eq!(report.to_json()["keys_inside"], json!([{ "key": vkey(2), "given": false }]));
    let warnings: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, [format!("`keys` in it does not name the key {}, which you gave", vkey(1))]);
    assert!(
        report.to_string().contains(&format!("  names a key    {}, which you did not give\n", vkey(2))),
        "{report}"
    );
    assert_eq!(failed(&with("keys", "x\n".into()).check()), ["archive-form"]);

    let witness = |seed: u8| tlog::CosigningKey::generate(&format!("w.example/{seed}"), [seed; 32]).unwrap();
    let policy = |seed| format!("log {}\nwitness w {}\nquorum w\n", vkey(1), witness(seed).verifier().to_text());
    let mut made = with("policy", policy(7));
    let cosigned = |made: &Made| {
        let note = checkpoint(&made.entries, &key(1));
        let text = format!("{}\n", note.split("\n\n").next().unwrap());
        note + &witness(7).cosign(&text, u64::try_from(START_MS / 1_000).unwrap() + 61)
    };
    made.checkpoint = cosigned(&made);
    let witnessed = |made: &Made, seed| {
        let mut report = made.check();
        report.witnessed(&TrustPolicy::parse(&policy(seed)).unwrap());
        report
    };
    let same = witnessed(&made, 7);
    assert!(same.is_ok() && same.warnings.is_empty() && same.cosigned.len() == 1, "{same}");
    let other = witnessed(&made, 8);
    assert_eq!((other.warnings.len(), other.cosigned.len()), (2, 0), "{other}");
    assert!(other.warnings.iter().all(|warning| warning.check == Point::Cosignatures));
    // Whoever made it can name any number.
    let many: String =
        (10..40).map(|seed| format!("witness w{seed} {}\n", witness(seed).verifier().to_text())).collect();
    let crowd = witnessed(&with("policy", format!("log {}\n{many}quorum none\n", vkey(1))), 8);
    assert_eq!(crowd.warnings.len(), 22, "{crowd}");
    assert!(crowd.warnings[20].what.contains("names 10 more"), "{crowd}");
    let keys = with("keys", (10..40).map(|seed| vkey(seed) + "\n").collect()).check().to_string();
    assert!(keys.matches("  names a key ").count() == 21 && keys.contains("  names a key    and 10 more\n"), "{keys}");
    let keys = with("keys", (vkey(1) + "\n").repeat(1_001)).check();
    assert!(keys.findings[0].what.contains("more than 1000 lines"), "{keys}");
    // Entry 250 is of 50 seconds behind the start.
    assert_eq!(failed(&same), Vec::<&str>::new());
    let mut early = with("policy", policy(7));
    for entry in &mut early.entries {
        *entry = String::from_utf8(entry.clone()).unwrap().replace("T19:", "T20:").into_bytes();
    }
    early.checkpoint = cosigned(&early);
    let ahead = witnessed(&early, 7);
    assert_eq!(failed(&ahead), ["clocks"], "{ahead}");
    let what =
        "entry 250: 3589 s later than its cosignature, under a checkpoint of 300 entries: one of the clocks is wrong";
    assert_eq!(ahead.findings[0].to_string(), what);
}
