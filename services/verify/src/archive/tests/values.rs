//! Values and contents of an archive: shown, erased, missing, made up.

use super::*;

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

/// An archive with contents and values that are shown, as bytes.
pub(crate) fn showing() -> Vec<u8> {
    let (entries, content, line) = decided();
    let name = format!("content/{}", Digest::of(&content).to_hex());
    let more = vec![(String::from("disclosed/000000"), line), (name, content)];
    Made { more, ..Made::of(entries) }.tar()
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

/// Entry 152 is of Anna and commits to who she is; what is told at other places.
pub(super) fn with_anna(told: &[(usize, Told)]) -> (Vec<Vec<u8>>, Vec<u8>) {
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
pub(super) fn disclosing(entries: Vec<Vec<u8>>, beside: &[u64]) -> Made {
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
