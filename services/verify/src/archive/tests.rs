use super::*;
use crate::log::published::{
    POLICIES, Told, activated, allow, asked, checkpoint, key, outcome, policies, prunes, ruled_story, seal, story, told,
};
use model::entry::Kind;
use std::collections::{BTreeSet, HashMap};
use tlog::range::cover;
use tlog::{CompactRange, Hash, SigningKey, leaf_hash};

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

/// Entries with what they name and commit to.
fn decided() -> (Vec<Vec<u8>>, Vec<u8>, Vec<u8>) {
    let content = b"a policy set".to_vec();
    let values = Value::object([("principal", Value::text("acme/anna"))]);
    let shown = Value::object([("salt", Value::text("01".repeat(16))), ("values", values.clone())]);
    let tuple = Value::object([
        ("class", Value::text("subject")),
        ("salt", Value::text("01".repeat(16))),
        ("v", Value::text("millgate-commitment/1")),
        ("values", values),
    ]);
    let mut entries = story(300);
    let digests = Value::object([("policies", Value::text(Digest::of(&content).to_hex()))]);
    let commit = Value::text(Digest::of(&tuple.encode()).to_hex());
    entries[152] = Told { members: vec![("decision", Value::text("allow")), ("digests", digests)], ..allow("acme") };
    let sealed = seal(&entries);
    // `commit` is a member that the log's own drafts alone have; the tests write it as it would stand.
    let mut sealed_with: Vec<Vec<u8>> = sealed;
    let text = String::from_utf8(sealed_with[152].clone()).unwrap();
    let commit = String::from_utf8(commit.encode()).unwrap();
    sealed_with[152] =
        text.replacen("\"decision\"", &format!("\"commit\":{{\"subject\":{commit}}},\"decision\""), 1).into_bytes();
    Entry::parse(&sealed_with[152]).unwrap();
    let line = Value::object([("index", Value::int(152)), ("values", Value::object([("subject", shown)]))]).encode();
    (sealed_with, content, line)
}

#[test]
fn contents_and_disclosures_are_what_entries_name() {
    let (entries, content, line) = decided();
    let name = format!("content/{}", Digest::of(&content).to_hex());
    let with = |more: Vec<(String, Vec<u8>)>| Made { more, ..Made::of(entries.clone()) };
    let disclosed = (String::from("disclosed/000000"), line.clone());
    let report = with(vec![disclosed.clone(), (name.clone(), content.clone())]).check();
    assert!(report.is_ok(), "{report}");
    assert_eq!((report.contents, report.disclosed), (2, 1));

    let missing = with(vec![disclosed]).findings();
    assert_eq!(missing.len(), 1);
    assert!(
        missing[0].starts_with("entry 152: names ") && missing[0].ends_with("which is not in the archive"),
        "{missing:?}"
    );
    let other = with(vec![(name.clone(), b"another policy set".to_vec())]).findings();
    assert!(other[0].ends_with("is not what its name says"), "{other:?}");
    let extra = b"extra".to_vec();
    let extra =
        with(vec![(name.clone(), content.clone()), (format!("content/{}", Digest::of(&extra).to_hex()), extra)]);
    assert!(extra.findings()[0].ends_with("is named by no entry here"));
    let forged = String::from_utf8(line.clone()).unwrap().replace("anna", "berta").into_bytes();
    let forged = with(vec![(String::from("disclosed/000000"), forged), (name.clone(), content.clone())]).findings();
    assert_eq!(forged, ["entry 152: what is shown as `subject` is not what was recorded"]);
    let moved = String::from_utf8(line).unwrap().replace("152", "153").into_bytes();
    let moved = with(vec![(String::from("disclosed/000000"), moved), (name, content)]).findings();
    assert_eq!(moved, ["entry 153: what is shown as `subject` is not what was recorded"]);
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
    assert!(said(b"nonsense").contains("cannot be read as an archive") || said(b"nonsense").contains("no archive"));
    assert!(said(b"").contains("no `manifest.json`"));
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
    assert!(!report.is_ok());
    // A tar that is cut.
    let whole = Made::of(entries()).tar();
    for length in [600, 2_000, whole.len() / 2] {
        let cut = check(&whole[..length], key(1).verifier(), |_| {});
        assert!(cut.map_or(true, |report| !report.is_ok()), "{length}");
    }
}

/// Entry 152 is of Anna and commits to who she is; what is told at other places.
fn with_anna(told: &[(usize, Told)]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (decided, _, line) = decided();
    let text = String::from_utf8(decided[152].clone()).unwrap();
    let commit = text.split("\"commit\":").nth(1).unwrap().split('}').next().unwrap().to_owned();
    let mut entries = story(300);
    let members = vec![("decision", Value::text("allow")), asked(policies()), ("principal", Value::text("anna"))];
    entries[152] = Told { members, ..allow("acme") };
    told.iter().for_each(|(at, told)| entries[*at] = told.clone());
    let mut sealed = seal(&entries);
    let text = String::from_utf8(sealed[152].clone()).unwrap();
    sealed[152] = text.replacen("\"decision\"", &format!("\"commit\":{commit}}},\"decision\""), 1).into_bytes();
    Entry::parse(&sealed[152]).unwrap();
    (sealed, line)
}

fn requested() -> Told {
    requested_for("anna")
}

fn requested_for(reference: &str) -> Told {
    let text = |name, value: &str| (name, Value::text(value));
    let members = vec![
        text("event", "requested"),
        text("principal", reference),
        text("request", "r"),
        text("requested_by", "first"),
    ];
    Told { members, ..told(Kind::Erasure, "acme") }
}

fn erased(requested: i64, (first, last): (i64, i64)) -> Told {
    let text = |name, value: &str| (name, Value::text(value));
    let members = vec![
        text("event", "erased"),
        text("principal", "anna"),
        text("request", "r"),
        text("requested_by", "first"),
        text("approved_by", "second"),
        ("requested", Value::int(requested)),
        ("first", Value::int(first)),
        ("last", Value::int(last)),
        ("count", Value::int(1)),
        ("classes", Value::texts(["network", "payload", "subject"])),
    ];
    Told { members, ..told(Kind::Erasure, "acme") }
}

/// The stretch from 49 to 250, with values of class `subject`, and these entries behind it.
fn disclosing(entries: Vec<Vec<u8>>, beside: &[u64]) -> Made {
    let mut made = Made::of(entries);
    made.shown.extend(beside);
    let indices = beside.iter().map(|index| Value::int(i64::try_from(*index).unwrap()));
    made.manifest.push(("disclose", Value::texts(["subject"])));
    made.manifest.push(("erasures", Value::Array(indices.collect())));
    made.manifest.sort_by_key(|(name, _)| *name);
    made
}

const MISSING: &str = "entry 152: the values of `subject` are missing, and no entry here says that they were erased";

#[test]
fn values_that_are_not_shown_were_erased_or_are_missing() {
    let story = [(260, requested()), (270, erased(260, (152, 152)))];
    let (entries, line) = with_anna(&story);
    let report = disclosing(entries.clone(), &[260, 270]).check();
    assert!(report.is_ok(), "{report}");
    assert_eq!((report.erased.get(&270), report.disclosed, report.indexes), (Some(&1), 0, Some((49, 250))));
    assert!(report.to_string().contains("erased         1 value under entry 270"), "{report}");
    assert_eq!(report.to_json()["erased"]["270"], 1);
    // Nobody says so: without the erasure, or with one of somebody else.
    assert_eq!(disclosing(entries.clone(), &[]).findings(), [MISSING]);
    let (others, _) = with_anna(&[(260, requested()), (270, erased(260, (153, 200)))]);
    assert_eq!(disclosing(others, &[260, 270]).findings(), [MISSING]);
    // What is shown is what was recorded, erased or not.
    let shown = Made { more: vec![(String::from("disclosed/000000"), line)], ..disclosing(entries.clone(), &[]) };
    assert_eq!((shown.findings(), shown.check().disclosed), (vec![], 1));
    // An archive that does not say what it shows proves nothing of what it does not.
    assert!(Made::of(entries).check().is_ok());
}

#[test]
fn a_widened_erasure_in_an_archive_excuses_nothing_that_was_written_after_it() {
    let (entries, _) = with_anna(&[(60, requested()), (100, erased(60, (50, 290)))]);
    assert_eq!(
        disclosing(entries, &[]).findings(),
        ["entry 100: an erasure that claims entries that were not written yet", MISSING]
    );
    let (entries, _) = with_anna(&[(260, requested()), (270, erased(260, (50, 290)))]);
    assert_eq!(
        disclosing(entries, &[260, 270]).findings(),
        [MISSING, "entry 270: an erasure that claims entries that were not written yet"]
    );
}

#[test]
fn an_erasure_beside_the_stretch_excuses_nothing_without_a_request_for_that_person() {
    let nobody = "entry 270: an erasure that nobody has asked for";
    let (others, _) = with_anna(&[(260, requested_for("otto")), (270, erased(260, (152, 152)))]);
    assert_eq!(disclosing(others, &[260, 270]).findings(), [MISSING, nobody]);
    let (shown, _) = with_anna(&[(270, erased(100, (152, 152)))]);
    assert_eq!(disclosing(shown, &[270]).findings(), [MISSING, nobody], "entry 100 is here, and asks for nothing");
    // Whether one asked that is not here, nobody can tell.
    for requested_at in [10, 260] {
        let at = usize::try_from(requested_at).unwrap();
        let (hidden, _) = with_anna(&[(at, requested()), (270, erased(requested_at, (152, 152)))]);
        let report = disclosing(hidden, &[270]).check();
        assert!(report.is_ok(), "{report}");
        let unproven = "whether somebody has asked for the erasure in entry 270: the request is not in the archive";
        assert!(report.limits.iter().any(|limit| limit == unproven), "{report}");
    }
}

#[test]
fn nothing_but_an_erasure_may_stand_beside_the_stretch() {
    let (entries, _) = with_anna(&[(260, requested()), (270, erased(260, (152, 152)))]);
    let findings = disclosing(entries.clone(), &[260, 264, 270]).findings();
    assert_eq!(findings, ["entry 264: shown as one that says what was erased, and it is none"]);
    let hidden = changed(disclosing(entries, &[260, 270]), |made| {
        made.manifest.retain(|(name, _)| *name != "erasures");
    });
    assert!(hidden.iter().any(|finding| finding.contains("left out, although")), "{hidden:?}");
    // Nor does it stand for an entry of the stretch that was left out.
    let (inside, _) = with_anna(&[(60, requested()), (155, erased(60, (152, 152)))]);
    let moved = disclosing(inside, &[155]).findings();
    assert!(moved.iter().any(|finding| finding.starts_with("entry 155: left out, although")), "{moved:?}");
}

#[test]
fn a_salt_that_is_used_again_in_an_archive_is_found() {
    let (entries, line) = with_anna(&[]);
    let twice =
        [line.as_slice(), b"\n", &String::from_utf8(line.clone()).unwrap().replace("152", "153").into_bytes()].concat();
    let made = Made { more: vec![(String::from("disclosed/000000"), twice)], ..disclosing(entries, &[]) };
    assert_eq!(
        made.findings(),
        [
            "entry 153: the salt of `subject` is that of another value",
            "entry 153: what is shown as `subject` is not what was recorded"
        ]
    );
}

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

// === whether anything may be missing ===

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

// === which policies were in use when it begins ===

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

// === keys and witnesses inside ===

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
