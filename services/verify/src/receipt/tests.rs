use super::*;
use crate::log::published::{checkpoint, key, seal, story};
use crate::proof::tests::{proof_of, public, signed_by};
use std::sync::Arc;
use tlog::CosigningKey;
use tlog::receipt::{Promised, Signed};

const REQUEST: &str = "01a20522-59ec-7312-8079-6642e2582ffb";
const DURABLE_MS: i64 = 1_795_375_200_123;
const BY_MS: i64 = DURABLE_MS + 60_000;
/// The first second behind the time for a checkpoint.
const LATE: u64 = 1_795_375_261;

/// Entry 7 is of a request.
fn entries() -> Vec<Vec<u8>> {
    let mut story = story(300);
    story[7].members.push(("request", model::Value::text(REQUEST)));
    seal(&story)
}

fn receipt_for(entries: &[Vec<u8>], request: Option<&str>) -> String {
    let promised = |entry: &Vec<u8>| Promised { leaf: leaf_hash(entry), request: request.map(Arc::from) };
    let signed = Signed::new(&key(1), 5, entries[5..9].iter().map(promised).collect(), DURABLE_MS, BY_MS);
    signed.unwrap().receipt(7).unwrap().to_text()
}

fn receipt(entries: &[Vec<u8>]) -> String {
    receipt_for(entries, Some(REQUEST))
}

/// In time.
fn shown(proof: Option<&str>) -> Shown<'_> {
    Shown { proof, checkpoint: None, at: Timestamp(BY_MS) }
}

fn by(text: &str, proof: Option<&str>, keys: &[u8]) -> ReceiptReport {
    check(text, shown(proof), &TrustPolicy::of_keys(public(keys))).unwrap()
}

fn checked(text: &str, proof: Option<&str>) -> ReceiptReport {
    by(text, proof, &[1])
}

fn proof(entries: &[Vec<u8>], index: u64, extra: Option<Vec<u8>>) -> String {
    Evidence { extra, ..proof_of(entries, index) }.to_text()
}

#[test]
fn a_promise_is_kept_open_or_broken() {
    let entries = entries();
    let text = receipt(&entries);
    let open = checked(&text, None);
    assert!(open.is_ok() && open.to_string().contains("binds the log"), "{open}");
    for (extra, shows) in [(None, None), (Some(entries[7].clone()), Some(true))] {
        let kept = checked(&text, Some(&proof(&entries, 7, extra)));
        assert_eq!((kept.is_ok(), kept.redeemed, kept.is_of_request), (true, Some(300), shows));
        assert!(kept.to_string().contains("for entry 7: kept\n"), "{kept}");
    }
    // The operator has put another entry in its place, and signed that.
    let mut forged = entries.clone();
    forged[7] = entries[8].clone();
    let broken = checked(&text, Some(&proof(&forged, 7, Some(forged[7].clone()))));
    assert!(!broken.is_ok() && broken.is_contradicted);
    assert_eq!((&broken.to_json()["contradicted"], &broken.to_json()["broken"]), (&true.into(), &true.into()));
    // Without the other entry nobody can tell who forged what.
    let unclear = checked(&text, Some(&proof(&forged, 7, None)));
    assert!(!unclear.is_ok() && !unclear.is_contradicted);
    let other = checked(&text, Some(&proof(&entries, 8, None)));
    assert_eq!(other.findings[0].what, "the proof is of entry 8, not of 7");
    // What stands beside the hashes of a proof is under no signature.
    let beside = checked(&text, Some(&proof(&entries, 7, Some(entries[8].clone()))));
    assert!(!beside.is_ok() && !beside.is_broken() && beside.is_of_request.is_none(), "{beside}");
}

#[test]
fn a_receipt_for_the_entry_of_another_request_is_evidence_by_itself() {
    let entries = entries();
    let other = "01a20522-59ec-7312-8079-000000000000";
    // Given out for an entry that there is, and that is somebody else's; or of no request at all.
    for (of, said) in [(Some(other), "of another request, `01a20522-59ec-7312"), (None, "of another request")] {
        let text = receipt_for(&entries, of);
        let hidden = checked(&text, Some(&proof(&entries, 7, None)));
        assert!(hidden.is_ok() && hidden.is_of_request.is_none(), "{hidden}");
        assert!(hidden.to_string().contains("(the entry was not shown)\n"), "{hidden}");
        let broken = checked(&text, Some(&proof(&entries, 7, Some(entries[7].clone()))));
        assert!(broken.is_contradicted && broken.is_of_request == Some(false), "{broken}");
        assert!(broken.findings[0].what.contains(said), "{broken}");
        assert!(broken.to_string().contains("for entry 7: broken\n"), "{broken}");
    }
    // The entry is of none, whatever the receipt says.
    let sealed = seal(&story(300));
    let broken = checked(&receipt(&sealed), Some(&proof(&sealed, 7, Some(sealed[7].clone()))));
    assert!(broken.is_contradicted && broken.findings[0].what.contains("is of no request:"), "{broken}");
    let kept = checked(&receipt_for(&sealed, None), Some(&proof(&sealed, 7, Some(sealed[7].clone()))));
    assert!(kept.is_ok() && kept.to_string().contains("  request        none\n"), "{kept}");
    // Under a checkpoint of somebody else the entry is the one that was promised all the same.
    let stranger = signed_by(proof_of(&entries, 7), &entries, &[3]);
    let stranger = Evidence { extra: Some(entries[7].clone()), ..stranger }.to_text();
    let broken = checked(&receipt_for(&entries, Some(other)), Some(&stranger));
    assert!(broken.is_contradicted && broken.redeemed.is_none(), "{broken}");
    // What cannot be read is of no request either, and no reason to call it kept.
    let mut odd = entries;
    odd[7] = b"{}".to_vec();
    let odd = checked(&receipt(&odd), Some(&proof(&odd, 7, Some(odd[7].clone()))));
    assert!(!odd.is_ok() && odd.findings[0].what.contains("no entry of this log format"), "{odd}");
}

#[test]
fn a_receipt_whose_request_was_altered_binds_nobody() {
    let text = receipt(&entries());
    for other in ["01a20522-59ec-7312-8079-6642e2582ffc", ""] {
        let altered = checked(&text.replace(REQUEST, other), None);
        assert!(altered.findings[0].what.starts_with("it binds nobody"), "{altered}");
    }
    let first = text.replace(&format!("request=\"{REQUEST}\", "), "");
    assert!(check(&first, shown(None), &TrustPolicy::of_keys(public(&[1]))).is_err());
}

#[test]
fn a_receipt_that_is_not_redeemed_in_time_is_overdue() {
    let entries = entries();
    let (text, policy) = (receipt(&entries), TrustPolicy::of_keys(public(&[1])));
    let at = |at: i64, proof: Option<&str>| check(&text, Shown { at: Timestamp(at), ..shown(proof) }, &policy).unwrap();
    for now in [DURABLE_MS, BY_MS] {
        let open = at(now, None);
        assert!(open.is_ok() && open.to_json()["overdue"] == false, "{open}");
    }
    let overdue = at(BY_MS + 90_500, None);
    assert!(!overdue.is_ok() && !overdue.is_broken(), "{overdue}");
    let said = overdue.to_string();
    assert!(
        said.contains("for entry 7: overdue\n") && said.contains("by 2026-11-22T19:21:00.123Z, 90 seconds ago"),
        "{said}"
    );
    assert!(said.contains(&format!("/v1/audit/proof?index=7&leaf={}\n", leaf_hash(&entries[7]))), "{said}");
    let json = overdue.to_json();
    assert_eq!((&json["overdue"], &json["overdue_seconds"]), (&true.into(), &90.into()));
    assert_eq!(at(BY_MS + 1, None).overdue_ms, Some(1), "the clock is believed to the millisecond");
    // A proof that does not hold is none, one that holds is in time whenever it is shown.
    let bad = at(BY_MS + 1, Some("nonsense"));
    assert!(bad.overdue_ms.is_some() && bad.findings[1].what.contains("no proof that holds"), "{bad}");
    let kept = at(i64::MAX, Some(&proof(&entries, 7, None)));
    assert!(kept.is_ok() && kept.overdue_ms.is_none(), "{kept}");
    // Nobody has to believe in a promise for the year after next.
    let far = at(BY_MS - 86_400_001, None);
    assert!(far.is_ok() && far.warnings[0].what.contains("more than a day"), "{far}");
    assert!(at(i64::MIN, None).is_ok());
}

/// Whatever else is asked for, two of three.
fn watched() -> (TrustPolicy, [CosigningKey; 3]) {
    let witnesses = [1, 2, 3].map(|n| CosigningKey::generate(&format!("witness.example/w{n}"), [n + 10; 32]).unwrap());
    let mut policy = format!("log {}\n", key(1).verifier().to_text());
    for (n, witness) in (1..).zip(&witnesses) {
        policy.push_str(&format!("witness w{n} {}\n", witness.verifier().to_text()));
    }
    (TrustPolicy::parse(&format!("{policy}group two 2 w1 w2 w3\nquorum two\n")).unwrap(), witnesses)
}

fn cosign(note: &str, by: &[(&CosigningKey, u64)]) -> String {
    let text = format!("{}\n", note.split("\n\n").next().unwrap());
    let lines: String = by.iter().map(|(witness, time)| witness.cosign(&text, *time)).collect();
    format!("{note}{lines}")
}

#[test]
fn a_cosigned_checkpoint_that_leaves_the_entry_out_after_its_time_breaks_the_promise() {
    let entries = entries();
    let text = receipt(&entries);
    let (policy, [a, b, c]) = watched();
    let held = |note: &str, proof: Option<&str>, policy: &TrustPolicy| {
        let at = Timestamp(BY_MS + 3_600_000);
        check(&text, Shown { proof, checkpoint: Some(note), at }, policy).unwrap()
    };
    let without = checkpoint(&entries[..7], &key(1));
    let late = cosign(&without, &[(&a, LATE), (&b, LATE + 9)]);
    let broken = held(&late, None, &policy);
    assert!(broken.is_left_out && broken.is_broken() && !broken.is_contradicted, "{broken}");
    assert!(broken.findings[0].what.contains("9 seconds after a checkpoint had to cover entry 7"), "{broken}");
    assert!(broken.to_string().contains("for entry 7: broken\n"), "{broken}");
    let json = broken.to_json();
    assert_eq!(
        (&json["broken"], &json["checkpoint"]["size"], &json["overdue"]),
        (&true.into(), &7.into(), &true.into())
    );
    assert_eq!(json["checkpoint"]["cosigned"].as_array().map(Vec::len), Some(2));
    // What stands there by now came late.
    let proven = proof(&entries, 7, Some(entries[7].clone()));
    let kept_late = held(&late, Some(&proven), &policy);
    assert!(kept_late.is_left_out && kept_late.redeemed == Some(300), "{kept_late}");
    assert!(kept_late.to_string().contains("for entry 7: kept late\n"), "{kept_late}");

    // One witness that was not asked for long cosigns the old one for anybody; nor does a time that is yet to come count,
    // nor a witness whom the policy does not know.
    let (second, future) = (LATE - 1, LATE + 86_400);
    let stranger = CosigningKey::generate("witness.example/w9", [99; 32]).unwrap();
    for cosigned in [
        vec![],
        vec![(&a, LATE)],
        vec![(&a, second), (&b, second), (&c, second)],
        vec![(&a, LATE), (&b, second)],
        vec![(&a, LATE), (&b, future)],
        vec![(&a, LATE), (&stranger, LATE)],
    ] {
        let told = held(&cosign(&without, &cosigned), None, &policy);
        assert!(!told.is_broken() && told.overdue_ms.is_some(), "{cosigned:?}: {told}");
        assert!(told.warnings[0].what.contains("no quorum of witnesses"), "{told}");
    }
    // Without witnesses nothing tells when a checkpoint was there.
    let told = held(&late, None, &TrustPolicy::of_keys(public(&[1])));
    assert!(!told.is_broken() && told.warnings[0].what.contains("no quorum of witnesses"), "{told}");

    // Whoever has a checkpoint over the entry from before the time has kept the promise, whatever was signed afterwards.
    let evidence = proof_of(&entries, 7);
    let early = Evidence { note: cosign(&evidence.note, &[(&a, second), (&b, second)]), ..evidence.clone() };
    let kept = held(&late, Some(&early.to_text()), &policy);
    assert!(kept.is_ok() && kept.warnings[0].what.contains("was cosigned in time"), "{kept}");
    let half = Evidence { note: cosign(&evidence.note, &[(&a, second), (&b, LATE)]), ..evidence };
    assert!(held(&late, Some(&half.to_text()), &policy).is_left_out);

    // One more entry, and it says nothing against the log, nor for it.
    let with = cosign(&checkpoint(&entries[..8], &key(1)), &[(&a, LATE), (&b, LATE)]);
    let told = held(&with, None, &policy);
    assert!(!told.is_broken() && told.overdue_ms.is_some(), "{told}");
    assert!(told.warnings[0].what.contains("a proof says"), "{told}");
    // Nor does somebody else's.
    let foreign = cosign(&checkpoint(&entries[..7], &key(2)), &[(&a, LATE), (&b, LATE)]);
    let told = held(&foreign, None, &policy);
    assert!(!told.is_broken() && told.findings[0].what.contains("none of this log"), "{told}");
}

/// An honest plant had its checkpoint cosigned by one of two witnesses, in time; somebody brings an old one to the other.
#[test]
fn a_quorum_that_need_not_share_a_witness_with_another_proves_nothing_against_a_plant() {
    let entries = entries();
    let text = receipt(&entries);
    let (three, [a, b, c]) = watched();
    let of = |quorum: &str| {
        let text = three.to_text();
        let lines = text.lines().filter(|line| line.starts_with("log ") || line.starts_with("witness "));
        TrustPolicy::parse(&format!("{}\n{quorum}\n", lines.collect::<Vec<_>>().join("\n"))).unwrap()
    };
    let without = checkpoint(&entries[..7], &key(1));
    let held = |cosigned: &[(&CosigningKey, u64)], quorum: &str| {
        let note = cosign(&without, cosigned);
        let shown = Shown { proof: None, checkpoint: Some(&note), at: Timestamp(BY_MS + 3_600_000) };
        check(&text, shown, &of(quorum)).unwrap()
    };
    for (quorum, cosigned, broken) in [
        ("group g any w1 w2\nquorum g", &[(&a, LATE)][..], false),
        // Nobody is left who can have cosigned another one in time.
        ("group g any w1 w2\nquorum g", &[(&a, LATE), (&b, LATE)], true),
        ("group g any w1 w2 w3\nquorum g", &[(&a, LATE), (&b, LATE)], false),
        ("group x any w1 w2\ngroup g all x w3\nquorum g", &[(&a, LATE), (&c, LATE)], true),
        ("quorum w1", &[(&a, LATE)], true),
    ] {
        let told = held(cosigned, quorum);
        assert_eq!((told.is_left_out, told.is_broken()), (broken, broken), "{quorum}: {told}");
        assert!(!told.is_ok() && told.overdue_ms.is_some(), "{quorum}: {told}");
        let asks = told.warnings.iter().any(|warning| warning.what.contains("quorums of this policy need not share"));
        assert_eq!(asks, !broken, "{quorum}: {told}");
    }
    let told = held(&[(&a, LATE)], "group g any w1 w2 w3\nquorum g");
    let said = &told.warnings[0].what;
    assert!(said.contains("without these `w2`, `w3` can have cosigned one in time"), "{said}");
    assert!(said.ends_with("by a policy whose quorums overlap"), "{said}");
}

#[test]
fn two_keys_that_contradict_each_other_are_both_named() {
    let entries = entries();
    // By key 1, which is the log's; and by key 2, which was retired and is somebody else's by now.
    let text = receipt(&entries);
    let mut forged = entries.clone();
    forged[7] = entries[8].clone();
    let proof = |keys: &[u8]| {
        let proof = signed_by(proof_of(&forged, 7), &forged, keys);
        Evidence { extra: Some(forged[7].clone()), ..proof }.to_text()
    };
    let [own, other] = [1, 2].map(|seed| key(seed).verifier().to_text());
    let broken = by(&text, Some(&proof(&[2])), &[2, 1]);
    assert!(broken.is_contradicted && broken.findings[0].what.contains("two have signed"), "{broken}");
    let said = broken.to_string();
    assert!(
        said.contains(&format!("  signed         by {own}\n"))
            && said.contains(&format!("  proof signed   by {other}\n")),
        "{said}"
    );
    let json = broken.to_json();
    assert_eq!((&json["signed_by"], &json["proof_signed_by"]), (&serde_json::json!(own), &serde_json::json!([other])));
    for keys in [&[1][..], &[2, 1]] {
        let broken = by(&text, Some(&proof(keys)), &[2, 1]);
        assert!(broken.is_contradicted && !broken.findings[0].what.contains("two have signed"), "{broken}");
    }
    // A line in a known key's name that is not its signature refuses the whole note.
    let good = signed_by(proof_of(&entries, 7), &entries, &[1]);
    let bad = signed_by(proof_of(&forged, 7), &forged, &[2]).note;
    let mixed = Evidence { note: format!("{}{}\n", good.note, bad.split('\n').nth(4).unwrap()), ..good };
    let mixed = by(&text, Some(&mixed.to_text()), &[2, 1]);
    assert!(!mixed.is_ok() && mixed.findings[0].what.contains("does not verify"), "{mixed}");
}

#[test]
fn what_the_log_did_not_sign_binds_nobody() {
    let entries = entries();
    let text = receipt(&entries);
    let forged = text.replace("index=7", "index=6");
    assert!(!checked(&forged, None).is_ok());
    assert!(!by(&text, None, &[2]).is_ok() && !by(&text, None, &[]).is_ok());
    assert!(check("nonsense", shown(None), &TrustPolicy::of_keys(public(&[1]))).is_err());
    let hostile = checked(&text.replace("plant.example/log", "\u{1b}[2J\nfine"), None).to_string();
    assert!(!hostile.contains('\u{1b}') && !hostile.contains("\nfine"), "{hostile}");
    assert!(!checked(&text, Some("nonsense")).is_ok());
}
