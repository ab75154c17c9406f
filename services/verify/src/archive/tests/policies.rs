//! Which policies were in use when an archive begins, and when its decisions were made.

use super::*;

/// Of policies that came into use before the archive begins nothing is known, and nothing is held against anybody.
#[test]
fn a_decision_by_policies_that_were_never_in_use_is_found_in_an_archive() {
    let never = |index: u64, policies: &str| {
        format!(
            "entry {index}: decided by policies `{}`, and no entry says that these were in use",
            policies.repeat(64)
        )
    };
    let entries = || seal(&ruled_story(300));
    assert_eq!(only_ruled(&Made::of(entries())), [never(128, "b")]);
    let whole = Made { shown: (0..300).collect(), ..Made::of(entries()) };
    assert_eq!(only_ruled(&whole), [never(80, "f"), never(128, "b")]);
    assert_eq!(only_ruled(&Made::of_organisation(entries(), "acme")), Vec::<String>::new());
}

/// What the story names by digest is not in the archive; that is told, too.
fn only_ruled(made: &Made) -> Vec<String> {
    made.findings().into_iter().filter(|finding| finding.contains("in use")).collect()
}

/// The broker starts at 15, and the story's policies come into use at 23, before the archive begins.
fn started(change: impl FnOnce(&mut Vec<Told>)) -> Vec<Vec<u8>> {
    let mut story = story(300);
    let own = |kind, members| Told { members, organisation: None, ..told(kind, "") };
    story[15] = own(Kind::System, vec![("event", Value::text("opened"))]);
    story[23] = own(Kind::Policy, activated(policies()));
    // Nothing is allowed between the two.
    story[16] = told(Kind::RefusedLogin, "acme");
    story[19] = told(Kind::RefusedLogin, "acme");
    change(&mut story);
    seal(&story)
}

fn carrying(mut made: Made, in_use: &[u64]) -> Made {
    made.shown.extend(in_use);
    made.manifest[0].1 = Value::text(FORMATS[3]);
    made.manifest
        .push(("in_use", Value::Array(in_use.iter().map(|i| Value::int(i64::try_from(*i).unwrap())).collect())));
    made.manifest.sort_by_key(|(name, _)| *name);
    made
}

fn by(story: &mut [Told], index: usize, policies: &str) {
    story[index].members.retain(|(name, _)| *name != "digests");
    story[index].members.push(asked(Value::text(policies.repeat(64))));
}

#[test]
fn the_first_decision_of_an_archive_names_policies_that_were_in_use_or_is_found() {
    let never = |index: u64| {
        format!("entry {index}: decided by policies `{}`, and no entry says that these were in use", "f".repeat(64))
    };
    // The first decision of all, and the first of `acme`.
    for (organisation, first) in [(None, 56), (Some("acme"), 64)] {
        let made = |entries: Vec<Vec<u8>>| match organisation {
            None => Made::of(entries),
            Some(organisation) => Made::of_organisation(entries, organisation),
        };
        let report = carrying(made(started(|_| {})), &[15, 23]).check();
        assert!(report.is_ok() && report.warnings.is_empty(), "{report}");
        assert_eq!(report.in_use, 2);
        assert!(report.complete.is_proven() && report.limits.iter().all(|limit| !limit.contains("in use")), "{report}");
        let shown = made(started(|_| {})).shown;
        assert_eq!(
            (report.entries, report.indexes),
            (shown.len() as u64, shown.first().copied().zip(shown.last().copied()))
        );
        let forged = started(|story| by(story, first, "f"));
        let report = carrying(made(forged.clone()), &[15, 23]).check();
        assert_eq!(only_ruled(&carrying(made(forged.clone()), &[15, 23])), [never(first as u64)]);
        assert!(failed(&report).contains(&"policies-in-use"), "{report}");
        // Where it carries nothing, nothing is known, which is said and is no pass.
        let report = made(forged).check();
        assert!(!failed(&report).contains(&"policies-in-use"), "{report}");
        assert!(report.limits.iter().any(|limit| limit.contains("the entries that say which were")), "{report}");
        let json = report.to_json();
        let result = json["checks"].as_array().unwrap().iter().find(|one| one["check"] == "policies-in-use").cloned();
        assert_eq!(result.unwrap()["result"], "not-done");
    }
}

#[test]
fn nothing_passes_for_policies_in_use_that_was_not() {
    let entries = || started(|_| {});
    // Without the activation there is nothing that decisions could name.
    assert_eq!(only_ruled(&carrying(Made::of(entries()), &[15])).len(), 25);
    // Before the start of that run, or something else.
    let none =
        "shown as one that says which policies were in use, and it is none, or stands before the start of the broker";
    for (in_use, bad) in [(&[1, 15, 23][..], 1), (&[15, 22, 23], 22), (&[15, 23, 47], 47)] {
        assert_eq!(only_ruled(&carrying(Made::of(entries()), in_use)), [format!("entry {bad}: {none}")]);
    }
    // In the place of an entry of the stretch it is missing there.
    let moved = started(|story| {
        let members = activated(policies());
        story[71] = Told { members, organisation: None, ..told(Kind::Policy, "") };
    });
    let found = carrying(Made::of(moved), &[15, 23, 71]).findings();
    assert!(found.iter().any(|found| found.starts_with("entry 71: left out, although")), "{found:?}");
    // The start of an earlier run, where a later one is kept back.
    let mut earlier = entries();
    for index in [15, 23] {
        earlier[index] = String::from_utf8(earlier[index].clone()).unwrap().replace("boot-1", "boot-0").into_bytes();
    }
    let found = carrying(Made::of(earlier), &[15, 23]).check();
    assert_eq!(failed(&found), ["policies-in-use"]);
    let another = "decided in another run of the broker than the one whose start is shown";
    assert!(found.findings.iter().all(|finding| finding.what == another), "{found}");
}

#[test]
fn an_archive_of_one_organisation_shows_every_change_of_policies_or_none() {
    let changed = || {
        started(|story| {
            let members = activated(Value::text("a".repeat(64)));
            story[111] = Told { members, organisation: None, ..told(Kind::Policy, "") };
            by(story, 112, "a");
        })
    };
    let of_acme = |in_use: &[u64]| carrying(Made::of_organisation(changed(), "acme"), in_use);
    assert!(of_acme(&[15, 23, 111]).check().is_ok());
    assert_eq!(only_ruled(&of_acme(&[15, 23])).len(), 1, "one that is kept back is missed");
    // Ids of policies may name others.
    let named = started(|story| story[23].members.push(("added", Value::texts(["bolt-reads-presses"]))));
    let report = carrying(Made::of_organisation(named, "acme"), &[15, 23]).check();
    let warnings: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["entry 23: names policies by their ids, which may name others"]);
}
