use super::manifest::FORMATS;
use super::*;
use crate::log::published::{
    POLICIES, Told, activated, allow, asked, checkpoint, key, outcome, policies, prunes, ruled_story, seal, story, told,
};
use model::canonical::Value;
use model::entry::Kind;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use tlog::range::cover;
use tlog::{CompactRange, Hash, SigningKey, leaf_hash};
use values::{disclosing, with_anna};

mod keys;
mod policies;
mod pruning;
pub(crate) mod values;

/// The times of entries are 200 milliseconds apart.
pub(super) const START_MS: i64 = 1_795_375_200_000;

/// An archive in the making, as whoever makes one could have it.
pub(super) struct Made {
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) shown: BTreeSet<u64>,
    pub(super) manifest: Vec<(&'static str, Value)>,
    pub(super) checkpoint: String,
    more: Vec<(String, Vec<u8>)>,
    /// Steps that are left out of the walk.
    without: BTreeSet<u64>,
}

pub(super) fn at(ms: i64) -> Value {
    Value::text(Timestamp(START_MS + ms).to_rfc3339())
}

impl Made {
    /// Of entries 100 to 199, with ten seconds and one entry on either side.
    fn of(entries: Vec<Vec<u8>>) -> Self {
        let manifest = vec![
            ("format", Value::text(FORMATS[1])),
            ("from", at(20_000)),
            ("origin", Value::text("plant.example/log")),
            ("to", at(40_000)),
        ];
        let checkpoint = checkpoint(&entries, &key(1));
        Self { entries, shown: (49..251).collect(), manifest, checkpoint, more: Vec::new(), without: BTreeSet::new() }
    }

    /// Of these, what is of `organisation`.
    pub(super) fn of_organisation(entries: Vec<Vec<u8>>, organisation: &str) -> Self {
        let is_own = |index: &u64| {
            let entry = Entry::parse(&entries[usize::try_from(*index).unwrap()]).unwrap();
            entry.organisation.is_some_and(|o| o.as_str() == organisation)
        };
        let before = (0..50).rev().find(is_own);
        let behind = (250..entries.len() as u64).find(is_own);
        let shown = before.into_iter().chain((50..250).filter(is_own)).chain(behind).collect();
        let mut made = Self { shown, ..Self::of(entries) };
        made.manifest.push(("organisation", Value::text(organisation)));
        made
    }

    fn walk(&self) -> Vec<u8> {
        let (mut range, mut nodes) = (CompactRange::new(), HashMap::<(u8, u64), Hash>::new());
        for (at, entry) in (0_u64..).zip(&self.entries) {
            range.push_visiting(leaf_hash(entry), |level, hash| {
                nodes.insert((level, at >> level), hash);
            });
        }
        let (mut out, mut at) = (Vec::new(), 0);
        for next in self.shown.iter().copied().chain([range.size()]) {
            for (level, index) in cover(at, next) {
                Step::Subtree { level, root: nodes[&(level, index)] }.encode_into(&mut out).unwrap();
            }
            if next < range.size() && !self.without.contains(&next) {
                Step::Entry(&self.entries[usize::try_from(next).unwrap()]).encode_into(&mut out).unwrap();
            }
            at = next + 1;
        }
        out
    }

    fn tar(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        add("README.txt", b"read me");
        add("manifest.json", &Value::object(self.manifest.clone()).encode());
        add("checkpoint", self.checkpoint.as_bytes());
        add("tree/000000", &self.walk());
        self.more.iter().for_each(|(name, bytes)| add(name, bytes));
        if self.manifest.iter().all(|(name, _)| *name != "organisation") {
            add(&format!("content/{}", Digest::of(POLICIES).to_hex()), POLICIES);
        }
        tar.into_inner().unwrap()
    }

    pub(super) fn check(&self) -> ArchiveReport {
        check(self.tar().as_slice(), key(1).verifier(), |_| {}).unwrap()
    }

    fn findings(&self) -> Vec<String> {
        self.check().findings.iter().map(ToString::to_string).collect()
    }
}

/// Codes of the checks that failed.
pub(super) fn failed(report: &ArchiveReport) -> Vec<&'static str> {
    report.verdict.failed(&Point::OF_ARCHIVE, &report.findings)
}

fn entries() -> Vec<Vec<u8>> {
    seal(&story(300))
}

fn changed(mut made: Made, change: impl FnOnce(&mut Made)) -> Vec<String> {
    change(&mut made);
    made.findings()
}

const CLOCK: &str = "whether entries of this time stand elsewhere in the log, if the broker's clock was put back";
const RULED: &str = "whether the policies that 25 decisions name were in use: the entries that say which were when it begins are not in \
                     the archive";
const OTHER_ROOT: &str = "entries and hashes do not have the root of the checkpoint: something was changed";

#[test]
fn a_stretch_of_a_log_is_proven_to_be_all_of_it() {
    let report = Made::of(entries()).check();
    assert!(report.is_ok() && report.warnings.is_empty(), "{report}");
    assert_eq!(report.limits, [CLOCK, RULED]);
    assert_eq!((report.entries, report.indexes, report.organisations), (202, Some((49, 250)), 2));
    assert!(report.to_string().starts_with("archive of log plant.example/log: fine\n"), "{report}");
    assert_eq!(report.to_json()["size"], 300);
    let whole = Made { shown: (0..300).collect(), ..Made::of(entries()) };
    assert!(whole.check().is_ok());
}

#[test]
fn the_entries_of_one_organisation_are_proven_to_be_all_of_them() {
    let report = Made::of_organisation(entries(), "acme").check();
    assert!(report.is_ok(), "{report}");
    assert_eq!((report.organisation.as_deref(), report.organisations), (Some("acme"), 1));
    assert_eq!(report.limits.len(), 3, "what needs policies is not here: {report}");
    let json = report.to_json();
    let (first, last) =
        (json["first_of_organisation"].as_u64().unwrap(), json["last_of_organisation"].as_u64().unwrap());
    assert_eq!(last - first + 1, report.entries);
}

#[test]
fn an_export_with_one_entry_dropped_in_the_middle_or_at_an_edge_is_found() {
    // Left out and nothing in its place: another tree. Left out with a hash in its place: a gap.
    for index in [49, 100, 150, 199, 250] {
        let findings = changed(Made::of(entries()), |made| {
            made.without.insert(index);
        });
        assert!(
            findings[0].contains("does not begin at entry") || findings[0].contains("stands for 299"),
            "{findings:?}"
        );
    }
    for index in [100, 150, 199] {
        let findings = changed(Made::of(entries()), |made| {
            made.shown.remove(&index);
        });
        assert!(findings[0].starts_with(&format!("entry {index}: left out, although")), "{findings:?}");
    }
    // At an edge it is said what is not proven any longer.
    let mut made = Made::of(entries());
    made.shown.remove(&49);
    assert_eq!(
        made.check().limits,
        ["whether there are entries between 2026-11-22T19:20:20.000Z and the first of the archive", CLOCK, RULED]
    );
    let mut made = Made::of(entries());
    made.shown.remove(&250);
    assert_eq!(
        made.check().limits,
        ["whether there are entries between the last of the archive and 2026-11-22T19:20:40.000Z", CLOCK, RULED]
    );

    let own = Made::of_organisation(entries(), "acme").shown;
    for index in own.iter().copied().skip(1).take(own.len() - 2) {
        let findings = changed(Made::of_organisation(entries(), "acme"), |made| {
            made.shown.remove(&index);
        });
        assert!(
            findings.iter().any(|finding| finding.contains("organisation `acme` missing before")),
            "{index}: {findings:?}"
        );
    }
    let mut made = Made::of_organisation(entries(), "acme");
    made.shown.pop_last();
    assert!(made.check().limits.iter().any(|limit| limit.starts_with("whether acme has entries behind its")));
}

#[test]
fn what_was_changed_has_another_root() {
    let forged = |made: &mut Made| {
        let text = String::from_utf8(made.entries[150].clone()).unwrap();
        made.entries[150] = text.replacen("\"time\":\"2026", "\"time\":\"2025", 1).into_bytes();
    };
    assert!(changed(Made::of(entries()), forged).contains(&OTHER_ROOT.to_owned()));
    assert!(changed(Made::of(entries()), |made| made.entries.swap(120, 121)).contains(&OTHER_ROOT.to_owned()));
    // Also where it is not shown.
    assert_eq!(changed(Made::of(entries()), |made| made.entries.swap(3, 4)), [OTHER_ROOT]);
    let other = changed(Made::of(entries()), |made| made.checkpoint = checkpoint(&made.entries, &key(2)));
    assert!(other.iter().any(|finding| finding.contains("no checkpoint verifies")), "{other:?}");
    let older = changed(Made::of(entries()), |made| made.checkpoint = checkpoint(&made.entries[..250], &key(1)));
    assert_eq!(older, ["stands for 300 entries; the checkpoint is of 250"]);
}

#[test]
fn an_archive_of_one_organisation_holds_nothing_of_another() {
    let of_bolt = |made: &mut Made| {
        made.shown.insert(108);
    };
    let findings = changed(Made::of_organisation(entries(), "acme"), of_bolt);
    assert!(
        findings.contains(&String::from("entry 108: is no entry of `acme`, whose archive this is")),
        "{findings:?}"
    );
}

#[test]
fn outcomes_are_counted_like_in_a_whole_log() {
    let mut told_twice = story(300);
    told_twice[150] = outcome("acme", 144);
    let findings = Made::of(seal(&told_twice)).findings();
    assert_eq!(findings, ["entry 150: second outcome of the decision in entry 144"]);
    let mut of_nothing = story(300);
    of_nothing[150] = Told {
        members: vec![("of", Value::int(149)), ("ended", Value::text("complete"))],
        ..told(Kind::Outcome, "acme")
    };
    assert_eq!(
        Made::of(seal(&of_nothing)).findings(),
        ["entry 150: outcome of entry 149, which is no allowed exchange"]
    );
    // One that was allowed before the archive begins is nobody's fault.
    let mut earlier = story(300);
    earlier[150] = outcome("acme", 0);
    assert!(Made::of(seal(&earlier)).findings().is_empty());
}

/// What the manifest asks for decides what must be there; behind the entries it would come too late to be held against them.
#[test]
fn a_manifest_behind_the_entries_is_refused() {
    let made = Made::of(entries());
    let mut tar = tar::Builder::new(Vec::new());
    let files = [
        ("checkpoint", made.checkpoint.clone().into_bytes()),
        ("tree/000000", made.walk()),
        ("manifest.json", Value::object(made.manifest.clone()).encode()),
    ];
    for order in [[0, 1, 2], [1, 0, 2], [1, 2, 0], [0, 2, 1], [2, 1, 0], [2, 0, 1]] {
        for (name, bytes) in order.map(|n| &files[n]) {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
        }
        let tar = std::mem::replace(&mut tar, tar::Builder::new(Vec::new())).into_inner().unwrap();
        let checked = check(tar.as_slice(), key(1).verifier(), |_| {});
        assert_eq!(checked.is_ok(), order[0] == 2, "{order:?}");
    }
}

/// A copy of the published files from the tenth says nothing of the twentieth.
#[test]
fn an_old_checkpoint_does_not_pass_for_the_whole_month() {
    let mut made = Made::of(entries());
    made.shown = (49..300).collect();
    made.manifest[3].1 = at(400_000);
    let limits = made.check().limits;
    assert!(
        limits[0].starts_with("whether there are entries up to 2026-11-22T19:26:40.000Z behind the checkpoint"),
        "{limits:?}"
    );
    made.manifest[3].1 = at(-400_000);
    assert_eq!(made.findings(), ["asks for a time that ends before it begins"]);
}

#[test]
fn what_is_no_archive_is_said_to_be_none() {
    let said = |bytes: &[u8]| check(bytes, key(1).verifier(), |_| {}).unwrap_err().to_string();
    for (bytes, why) in [
        (&b"nonsense"[..], "is no archive of a log: it is no tar file"),
        (&[b'x'; 2_000], "it is no tar file"),
        (b"", "it is empty"),
        (b"\x1f\x8b\x08nonsense", "it is compressed: unpack it"),
        (&[0; 1_024], "it is no tar file"),
    ] {
        assert!(said(bytes).contains(why), "{}", said(bytes));
    }
    let mut made = Made::of(entries());
    made.manifest[0].1 = Value::text("millgate-archive/5");
    let later = check(made.tar().as_slice(), key(1).verifier(), |_| {}).unwrap_err().to_string();
    assert!(later.contains("millgate-archive/5"), "{later}");
    let mut made = Made::of(entries());
    made.manifest[0].1 = Value::text("\u{1b}[2Jfine");
    let tamed = check(made.tar().as_slice(), key(1).verifier(), |_| {}).unwrap_err().to_string();
    assert!(!tamed.contains('\u{1b}'), "{tamed}");
    let mut made = Made::of(entries());
    made.more.push((String::from("tree/000001"), vec![9]));
    assert!(made.findings()[0].contains("stands for nothing"));
    let mut made = Made::of(entries());
    made.more.push((String::from("evil"), vec![9]));
    assert_eq!(made.check().warnings.len(), 1);
    let stranger = SigningKey::generate("other.example/log", [1; 32]).unwrap();
    let report = check(Made::of(entries()).tar().as_slice(), stranger.verifier(), |_| {}).unwrap();
    let told: Vec<&str> = report.findings.iter().map(|finding| finding.what.as_str()).collect();
    let origins = "of log `plant.example/log`, and the key that you gave is of `other.example/log`";
    assert_eq!(told.iter().filter(|what| what.contains(origins)).count(), 2, "{told:?}");
    // A tar that is cut.
    let whole = Made::of(entries()).tar();
    for length in [600, 2_000, whole.len() / 2] {
        let cut = check(&whole[..length], key(1).verifier(), |_| {}).unwrap_err().to_string();
        assert!(cut.contains(&format!("breaks off: it ends after {length} bytes")), "{cut}");
    }
}

/// A dropped entry at an edge cannot be told from an archive that begins later: it is no fault, unless completeness is asked for.
#[test]
fn an_entry_that_is_dropped_at_an_edge_is_a_finding_where_completeness_is_demanded() {
    let strict = |made: &Made| {
        let mut report = made.check();
        assert!(report.is_ok(), "{report}");
        report.demand_complete();
        report
    };
    for made in [Made::of(entries()), Made::of_organisation(entries(), "acme")] {
        let report = strict(&made);
        assert!(report.is_ok() && report.complete.is_proven(), "{report}");
        let whole = json!({
            "inside": true, "beginning": true, "end": true,
            "since": "2026-11-22T19:20:20.000Z", "until": "2026-11-22T19:20:40.000Z",
        });
        assert_eq!(report.to_json()["complete"], whole);

        let mut without = Made { shown: made.shown.clone(), ..Made::of(entries()) };
        without.manifest.clone_from(&made.manifest);
        without.shown.pop_first();
        let report = strict(&without);
        assert_eq!((report.complete.beginning, report.complete.end), (false, true), "{report}");
        assert_eq!((failed(&report), report.findings.len()), (vec!["complete"], 1));
        let what = "not proven to be complete at its beginning: there may be entries of 2026-11-22T19:20:20.000Z and later before its \
                    first";
        assert_eq!(report.findings[0].to_string(), what);
        assert!(report.complete.since > Some(Timestamp(START_MS + 20_000)), "{report}");

        let mut without = Made { shown: made.shown.clone(), ..Made::of(entries()) };
        without.manifest.clone_from(&made.manifest);
        without.shown.pop_last();
        let report = strict(&without);
        assert_eq!((report.complete.beginning, report.complete.end), (true, false), "{report}");
        assert_eq!(failed(&report), ["complete"]);
        assert!(report.findings[0].what.contains("at its end: there may be entries of before"), "{report}");
        assert!(report.complete.until < Some(Timestamp(START_MS + 40_000)), "{report}");
        assert!(report.to_json()["ok"] == false && !report.is_ok());
    }
    // What is missing inside is a finding anyhow, and then nothing is proven of any time.
    let mut made = Made::of(entries());
    made.shown.remove(&151);
    let report = made.check();
    assert_eq!((failed(&report), report.complete.inside), (vec!["entries-present"], false));
    assert_eq!((report.complete.since, report.complete.until), (None, None));
    assert!(report.to_string().contains("  complete       not proven of any time\n"), "{report}");
    // Otherwise it is not said to have passed, either.
    let mut made = Made::of(entries());
    made.shown.pop_last();
    let json = made.check().to_json();
    let complete = json["checks"].as_array().unwrap().iter().find(|one| one["check"] == "complete").cloned().unwrap();
    assert_eq!(complete["result"], "not-done");
}

#[test]
fn what_is_done_to_an_archive_fails_the_check_that_it_is_about() {
    let with = |at: usize, told: Told| {
        let mut story = story(300);
        story[at] = told;
        Made::of(seal(&story)).check()
    };
    let changed = |change: &dyn Fn(&mut Made)| {
        let mut made = Made::of(entries());
        change(&mut made);
        made.check()
    };
    let erasure =
        Told { members: vec![("event", Value::text("erased"))], organisation: None, ..told(Kind::Erasure, "") };
    for (what, report, failing) in [
        ("nothing", changed(&|_| {}), &[][..]),
        ("an entry is left out", changed(&|made| made.shown.retain(|index| *index != 151)), &["entries-present"]),
        ("another order", changed(&|made| made.entries.swap(3, 4)), &["tree"]),
        (
            "another key",
            changed(&|made| made.checkpoint = checkpoint(&made.entries, &key(2))),
            &["checkpoint-signature"],
        ),
        ("another time", changed(&|made| made.manifest[3].1 = at(-400_000)), &["archive-form"]),
        ("another content", changed(&|made| made.more.push(("content/00".into(), vec![1]))), &["contents"]),
        ("a second outcome", with(150, outcome("acme", 144)), &["outcomes"]),
        ("an erasure", with(151, erasure), &["erasures"]),
    ] {
        assert_eq!(failed(&report), failing, "{what}: {report}");
    }
    assert_eq!(failed(&disclosing(with_anna(&[]).0, &[]).check()), ["disclosures"]);
}
