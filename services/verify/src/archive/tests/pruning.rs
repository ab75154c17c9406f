//! Archives of a log that does not have its oldest entries any longer.

use super::*;

/// Entries 512 to 600 of a log of which those before are gone.
fn pruned() -> Made {
    let mut told = story(600);
    told.push(prunes(&told, 512, &[], &[]));
    let mut made = Made::of(seal(&told));
    made.shown = (512..590).chain([600]).collect();
    made.manifest[0].1 = Value::text(FORMATS[2]);
    made.manifest.push(("pruning", Value::int(600)));
    let policy = b"a policy".to_vec();
    made.more.push((format!("content/{}", Digest::of(&policy).to_hex()), policy));
    made
}

#[test]
fn an_archive_of_a_pruned_log_says_what_it_cannot_hold() {
    let report = pruned().check();
    let names = format!("entry 600: names {} by digest, which is not in the archive", "ab".repeat(32));
    let found: Vec<String> = report.findings.iter().map(ToString::to_string).filter(|found| *found != names).collect();
    // The story's policy is none, so its content is none of the archive's.
    assert!(found.iter().all(|found| found.contains("is named by no entry here")), "{found:?}");
    assert_eq!((report.entries, report.indexes), (78, Some((512, 589))));
    let said = report.pruned.as_ref().unwrap();
    assert_eq!((said.below, said.under), (512, 600));
    let limit = "what entries before 512 said: they were pruned under entry 600, which says that all are of before \
                 2026-11-23T00:00:00.000Z and were kept for 60 days";
    assert!(report.limits.iter().any(|found| found == limit), "{:?}", report.limits);
    assert_eq!(report.to_json()["pruned"]["below"], 512);
}

#[test]
fn an_archive_cannot_call_pruned_what_it_merely_leaves_out() {
    let without = changed(pruned(), |made| made.shown.retain(|index| *index != 600));
    assert!(
        without.iter().any(|found| found == "says that entry 600 prunes, and does not show that it does"),
        "{without:?}"
    );
    let other = changed(pruned(), |made| made.manifest.last_mut().unwrap().1 = Value::int(599));
    assert!(!other.is_empty());
    let shown = changed(pruned(), |made| made.shown = (500..590).chain([600]).collect());
    assert!(shown.iter().any(|found| found.contains("shown, although entry 600 says that they are gone")), "{shown:?}");
}
