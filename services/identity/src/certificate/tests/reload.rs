//! Files that change, break and vanish.

use super::pki::{Ca, NOW, Stand, below, dns, leaf_params};
use crate::PeerCertificate;
use crate::certificate::ClientAuthorities;
use model::{Reason, Timestamp};
use std::time::Instant;

const SERIAL: &[u8] = &[0x0a, 0x1b, 0x2c];

#[test]
fn files_that_stay_are_the_same_authorities() {
    let ca = Ca::root("Acme Root");
    let mut stand = Stand::of("acme", &ca).with_lists("acme", &[ca.list(20, 24, &[])]);
    let before = stand.authorities.clone();
    assert_eq!(stand.load(), []);
    assert!(stand.authorities.is(&before));
    stand.write("acme-0.crl", ca.list(21, 25, &[]));
    assert_eq!(stand.load(), []);
    assert!(!stand.authorities.is(&before) && stand.authorities.digest() != before.digest());
    let before = stand.authorities.clone();
    stand.authority("acme").intermediates_max = 0;
    assert_eq!(stand.load(), []);
    assert!(!stand.authorities.is(&before));
}

#[test]
fn a_broken_file_keeps_its_last_good_content_and_another_one_beside_it_counts() {
    let ca = Ca::root("Acme Root");
    let chain = [ca.sign(&leaf_params(vec![dns("press-3.acme.example")]))];
    let mut stand = Stand::of("acme", &ca).with_lists("acme", &[ca.list(20, 24, &[])]);
    stand.write("acme.pem", "not a certificate");
    let problems = stand.load();
    assert!(problems.len() == 1 && problems[0].file.ends_with("acme.pem"), "{problems:?}");
    assert!(stand.judge(&chain).is_ok(), "the last good anchors count");
    // While the anchors are broken a new list must still count.
    stand.write("acme-0.crl", ca.list(21, 25, &[SERIAL]));
    assert_eq!(stand.load().len(), 1);
    assert_eq!(stand.judge(&chain).unwrap_err(), Reason::REVOKED);
    std::fs::remove_file(stand.folder.path().join("acme-0.crl")).unwrap();
    assert_eq!(stand.load().len(), 2);
    assert_eq!(stand.judge(&chain).unwrap_err(), Reason::REVOKED, "the last good list counts");
}

#[test]
fn an_older_list_is_not_taken_back() {
    let ca = Ca::root("Acme Root");
    let chain = [ca.sign(&leaf_params(vec![dns("press-3.acme.example")]))];
    let mut stand = Stand::of("acme", &ca).with_lists("acme", &[ca.list(21, 25, &[SERIAL])]);
    stand.write("acme-0.crl", ca.list(20, 24, &[]));
    let problems = stand.load();
    assert!(problems[0].what.contains("older than what is in use"), "{problems:?}");
    assert_eq!(stand.judge(&chain).unwrap_err(), Reason::REVOKED);
}

#[test]
fn a_list_that_was_never_read_lets_nobody_in() {
    let ca = Ca::root("Acme Root");
    let chain = [ca.sign(&leaf_params(vec![dns("press-3.acme.example")]))];
    let mut stand = Stand::of("acme", &ca);
    assert!(stand.judge(&chain).is_ok());
    let missing = stand.folder.path().join("missing.crl");
    stand.authority("acme").crl_files.push(missing);
    assert_eq!(stand.load().len(), 1);
    assert_eq!(stand.judge(&chain).unwrap_err(), Reason::UNKNOWN_AUTHORITY);
}

#[test]
fn a_list_past_its_next_update_is_named_unless_a_newer_one_counts() {
    let ca = Ca::root("Acme Root");
    let stand = Stand::of("acme", &ca).with_lists("acme", &[ca.list(10, 20, &[]), ca.list(20, 24, &[])]);
    assert_eq!(stand.authorities.overdue(NOW), [], "the first has been replaced by the second");
    // 2026-11-24T00:00:00Z.
    let next = Timestamp(1_795_478_400_000);
    assert_eq!(stand.authorities.overdue(next.plus_millis(-1)), []);
    let overdue = stand.authorities.overdue(next);
    assert!(overdue.len() == 1 && overdue[0].file.ends_with("acme-1.crl"), "{overdue:?}");
    assert!(overdue[0].what.contains("past its next update, 2026-11-24T00:00:00.000Z"), "{overdue:?}");
}

#[test]
fn what_is_no_authority_and_no_list_is_named() {
    let ca = Ca::root("Acme Root");
    let mut stand = Stand::of("acme", &ca);
    let leaf = ca.intermediate(leaf_params(vec![dns("press-3.acme.example")]));
    for (content, what) in [
        (leaf.certificate.pem(), "is not an authority's certificate"),
        (String::new(), "holds no certificate"),
        (ca.list(20, 24, &[]), "holds no certificate"),
        (String::from("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "not well formed"),
    ] {
        stand.write("acme.pem", content);
        let problems = stand.load();
        assert!(problems[0].what.contains(what), "{problems:?}");
    }
    stand.write("acme.pem", ca.certificate.pem());
    let list = stand.write("acme.crl", ca.certificate.pem());
    stand.authority("acme").crl_files.push(list);
    assert!(stand.load()[0].what.contains("holds no revocation list"));
    stand.write("acme.crl", [0x30, 0x03, 0x02, 0x01, 0x01]);
    assert!(stand.load()[0].what.contains("is not well formed"));
}

#[test]
fn a_connection_is_judged_by_the_newest_authorities() {
    let ca = Ca::root("Acme Root");
    let mut stand = Stand::of("acme", &ca).with_lists("acme", &[ca.list(20, 24, &[])]);
    let peer = PeerCertificate::new(vec![ca.sign(&leaf_params(vec![dns("press-3.acme.example")]))]).unwrap();
    assert!(stand.authorities.judge(&peer, &stand.parties, NOW).is_ok());
    let old = stand.authorities.clone();
    stand.write("acme-0.crl", ca.list(21, 25, &[SERIAL]));
    assert_eq!(stand.load(), []);
    assert_eq!(stand.authorities.judge(&peer, &stand.parties, NOW).unwrap_err().reason, Reason::REVOKED);
    // A request of an earlier generation is still of that generation.
    assert!(old.judge(&peer, &stand.parties, NOW).is_ok());
    assert!(stand.authorities.judge(&peer, &stand.parties, NOW).is_err());
}

#[test]
fn ten_thousand_authorities_cost_a_handshake_nothing() {
    let mut stand = Stand::new();
    let ca = Ca::root("Acme Root");
    stand.add("acme", "acme", &[&ca], below("acme.example"));
    let few = stand.loaded();
    let mut stand = Stand::new();
    stand.add("acme", "acme", &[&ca], below("acme.example"));
    // One file for all of one company: what is counted is authorities, not reading.
    let other = Ca::root("Globex Root");
    stand.add("globex", "globex", &[&other], below("globex.example"));
    let globex = stand.authority("globex").clone();
    for n in 0..10_000 {
        let id = model::IssuerId::new(&format!("globex-{n}")).unwrap();
        stand.parties.authorities.insert(id.clone(), model::party::Authority { id, ..globex.clone() });
    }
    let (many, problems) = ClientAuthorities::load(&stand.parties, &ClientAuthorities::default());
    assert!(problems.iter().all(|p| p.what.contains("have an anchor of one name")), "{:?}", problems.first());
    let time = |authorities: &ClientAuthorities| {
        let mut best = u128::MAX;
        for _ in 0..20 {
            let chain = vec![ca.sign(&leaf_params(vec![dns("press-3.acme.example")]))];
            let peer = PeerCertificate::new(chain).unwrap();
            let begin = Instant::now();
            assert!(authorities.judge(&peer, &stand.parties, NOW).is_ok());
            best = best.min(begin.elapsed().as_micros());
        }
        best
    };
    let (alone, among) = (time(&few.authorities), time(&many));
    assert!(among < alone * 3 + 100, "{alone} µs alone, {among} µs among ten thousand");
}
