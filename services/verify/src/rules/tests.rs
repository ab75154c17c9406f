//! Each rule, and what a log that breaks it is told.

use super::*;
use model::erasure::{Request, Scope};
use std::sync::Arc;

struct Story {
    rules: Rules,
    findings: Findings,
    warnings: Findings,
    told: Vec<Facts>,
}

fn facts(kind: Kind) -> Facts {
    Facts {
        kind,
        time: Timestamp(1_000_000),
        organisation: None,
        opens: false,
        of: None,
        erasure: None,
        pruning: None,
        summary: None,
        incarnation: None,
        ruled: None,
        key: None,
        from_nowhere: false,
        boot: 1,
    }
}

fn allow() -> Facts {
    Facts { opens: true, ..facts(Kind::Decision) }
}

fn outcome(of: u64) -> Facts {
    Facts { of: Some(of), ..facts(Kind::Outcome) }
}

fn of_acme(sequence: u64, previous: impl Into<Option<u64>>) -> Facts {
    let place = Place { sequence, previous: previous.into() };
    Facts { organisation: Some((OrganisationId::new("acme").unwrap(), place)), ..facts(Kind::Admin) }
}

fn tell(entries: impl IntoIterator<Item = Option<Facts>>) -> (Vec<String>, Vec<String>, u64) {
    let (rules, findings, warnings) = (Rules::default(), Findings::default(), Findings::default());
    let mut story = Story { rules, findings, warnings, told: Vec::new() };
    for (index, entry) in (0..).zip(entries) {
        let Some(entry) = entry else {
            story.rules.hole(index..index + 1);
            story.told.push(facts(Kind::Gap));
            continue;
        };
        let Story { rules, findings, warnings, told } = &mut story;
        rules.entry(index, &entry, findings, warnings, |i| told.get(usize::try_from(i).unwrap()).cloned());
        story.told.push(entry);
    }
    let open = story.rules.finish(&mut story.warnings);
    let texts = |f: Findings| f.finish().0.iter().map(ToString::to_string).collect();
    (texts(story.findings), texts(story.warnings), open)
}

fn findings(entries: impl IntoIterator<Item = Facts>) -> Vec<String> {
    tell(entries.into_iter().map(Some)).0
}

#[test]
fn a_sequence_without_gap_is_fine() {
    assert!(findings([of_acme(1, None), facts(Kind::Heartbeat), of_acme(2, 0), of_acme(3, 2)]).is_empty());
}

#[test]
fn a_log_takes_the_place_of_another_only_at_its_beginning() {
    let first = || Facts { incarnation: Some(Box::new(model::Value::Bool(true))), ..facts(Kind::System) };
    assert!(findings([first(), facts(Kind::Heartbeat)]).is_empty());
    let late = findings([facts(Kind::Heartbeat), first()]);
    assert_eq!(late, ["entry 1: begins another log in the middle of this one"]);
}

#[test]
fn a_country_is_two_letters_in_every_entry_about_a_request() {
    let common = model::entry::Common { nonce: [7; 16], time: Timestamp(1_000_000), boot: "b".into() };
    let facts = |kind, country: model::Value| {
        let draft = model::entry::Draft::new(kind, &common, None, [("country", country)], vec![]).unwrap();
        Facts::of_entry(&draft.seal(None)).unwrap()
    };
    let text = |text: &str| model::Value::text(text);
    for kind in [Kind::Decision, Kind::AuditRead, Kind::RefusedLogin] {
        assert!(findings([facts(kind, text("DE"))]).is_empty());
        for bad in [text("de"), text("DEU"), text(""), text("192.0.2.1"), model::Value::int(49)] {
            assert_eq!(findings([facts(kind, bad)]), ["entry 0: a `country` that is not two upper-case letters"]);
        }
    }
    // What other kinds may come to say by this name is theirs.
    assert!(findings([facts(Kind::Admin, text("Germany"))]).is_empty());
}

#[test]
fn gaps_and_forks_of_a_sequence_are_found() {
    assert_eq!(
        findings([of_acme(1, None), facts(Kind::Heartbeat), of_acme(3, 0)]),
        ["entries 1 to 2: entry 2 of organisation `acme` missing before its 3."]
    );
    assert_eq!(findings([of_acme(5, 3)]), ["entry 0: entries 1 to 4 of organisation `acme` missing before its 5."]);
    assert_eq!(
        findings([of_acme(1, None), of_acme(2, 0), of_acme(2, 0)]),
        ["entries 1 to 2: organisation `acme` has a second entry 2"]
    );
    assert_eq!(
        findings([of_acme(1, None), of_acme(2, 0), of_acme(3, 0)]),
        ["entry 2: names another previous entry of organisation `acme`"]
    );
}

#[test]
fn a_hostile_log_of_organisations_without_end_is_not_kept_in_memory() {
    let (mut rules, mut findings) = (Rules::default(), Findings::default());
    let first = Place { sequence: 1, previous: None };
    for index in 0..ORGANISATIONS_MAX as u64 + 2 {
        let organisation = OrganisationId::new(&format!("o{index}")).unwrap();
        rules.place(index, &organisation, first, &mut findings.of(Point::OrganisationSequences));
    }
    assert_eq!(rules.organisations(), ORGANISATIONS_MAX as u64);
    let again = Place { sequence: 2, previous: Some(7) };
    rules.place(200_000, &OrganisationId::new("o7").unwrap(), again, &mut findings.of(Point::OrganisationSequences));
    let found: Vec<_> = findings.finish().0.iter().map(ToString::to_string).collect();
    let what = "of another organisation behind 100000: its sequence is not followed";
    assert_eq!(found, [format!("entries 100000 to 100001: {what}")]);
}

#[test]
fn outcomes_close_one_earlier_allowed_exchange_each() {
    assert!(findings([allow(), allow(), outcome(1), outcome(0)]).is_empty());
    assert_eq!(
        findings([allow(), outcome(0), outcome(0), outcome(1), outcome(9), facts(Kind::Outcome)]),
        [
            "entry 2: second outcome of the decision in entry 0",
            "entry 3: outcome of entry 1, which is no allowed exchange",
            "entry 4: outcome of entry 9, which is not before it",
            "entry 5: outcome that does not say of which decision",
        ]
    );
}

#[test]
fn holes_are_not_told_twice() {
    let (findings, _, open) = tell([None, Some(of_acme(2, 0)), None, None, Some(of_acme(5, 3)), Some(outcome(2))]);
    assert_eq!((findings, open), (vec![], 0));
    let (findings, ..) = tell([Some(of_acme(1, None)), None, Some(of_acme(3, 0))]);
    assert_eq!(findings.len(), 1, "the previous entry it names is not in the hole");
    // In a hole, and before one that is known: what lies between was left out.
    let (findings, ..) = tell([None, None, Some(of_acme(5, 0)), Some(of_acme(6, 2)), Some(of_acme(9, 1))]);
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[test]
fn an_erasure_is_of_what_was_there_and_was_asked_for_by_somebody_else() {
    assert!(findings([allow(), requested("anna"), erased("anna", 1, Some(1), "b"), outcome(0)]).is_empty());
    assert_eq!(
        findings([
            requested("anna"),
            erased("anna", 0, Some(2), "b"),
            erased("anna", 0, None, "b"),
            erased("anna", 0, Some(0), "a"),
        ]),
        [
            "entries 1 to 2: an erasure that nobody has asked for",
            "entry 3: an erasure that was approved by the one who asked for it",
        ]
    );
    let wide = "entry 1: an erasure that claims entries that were not written yet";
    assert_eq!(findings([requested("anna"), erased("anna", 5, Some(0), "b")]), [wide]);
    let (findings, ..) = tell([None, Some(erased("anna", 0, Some(0), "b"))]);
    assert!(findings.is_empty(), "who asked is not here: {findings:?}");
}

#[test]
fn policies_that_were_never_in_use_are_found() {
    let digest = |n| Digest([n; 32]);
    let ruled = |ruled| Facts { ruled: Some(ruled), ..facts(Kind::Policy) };
    let opened = || ruled(Ruled::Nothing);
    let (activated, asked) = (|n| ruled(Ruled::Activated(digest(n))), |n| ruled(Ruled::Asked(digest(n))));
    // What was decided just before a change may be written just after it.
    assert!(findings([opened(), activated(1), asked(1), activated(2), asked(2), asked(1)]).is_empty());
    let never = |n| format!("decided by policies `{}`, and no entry says that these were in use", digest(n));
    assert_eq!(findings([activated(1), asked(2), activated(2)]), [format!("entry 1: {}", never(2))]);
    // A start says anew what is in use.
    assert_eq!(findings([opened(), activated(1), opened(), asked(1)]), [format!("entry 3: {}", never(1))]);
    // Also where nothing is known of what is in use.
    assert_eq!(tell([None, Some(ruled(Ruled::Unnamed))]).0, ["entry 1: allowed, and does not say by which policies"]);
    // Where entries are missing, one of them may have said it, until the next start.
    let (found, ..) = tell([None, Some(asked(7)), Some(opened()), Some(activated(1)), Some(asked(7))]);
    assert_eq!(found, [format!("entry 4: {}", never(7))]);
    let mut rules = Rules::default();
    rules.policies(0, Some(Ruled::Activated(digest(1))), &mut Findings::default());
    assert_eq!(Rules::from_json(&rules.to_json()).unwrap().in_use, rules.in_use);
    let mut earlier = rules.to_json();
    earlier.as_object_mut().unwrap().remove("in_use");
    assert_eq!(Rules::from_json(&earlier).unwrap().in_use, None);
}

#[test]
fn a_request_about_one_person_is_none_about_another_and_is_carried_out_once() {
    let nobody = "entry 1: an erasure that nobody has asked for";
    assert_eq!(findings([requested("anna"), erased("otto", 0, Some(0), "b")]), [nobody]);
    assert_eq!(
        findings([requested("anna"), erased("anna", 0, Some(0), "b"), erased("anna", 0, Some(0), "b")]),
        ["entry 2: an erasure whose request was carried out before"]
    );
}

#[test]
fn a_request_that_was_seen_before_it_was_pruned_is_known_and_another_is_not() {
    let told = |seen: bool| {
        let (mut rules, mut findings) = (Rules::default(), Findings::default());
        if seen {
            rules.entry(3, &requested("anna"), &mut findings, &mut Findings::default(), |_| None);
        }
        rules.prune(256);
        let erased = erased("anna", 0, Some(3), "b").erasure.unwrap();
        let worth = rules.erasure(300, &erased, |_| false, &mut findings);
        (worth, findings.finish().0.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(told(true), (Worth::Proven, vec![]));
    let dropped = "entry 300: an erasure whose request was pruned, and is not carried forward";
    assert_eq!(told(false), (Worth::Nothing, vec![String::from(dropped)]));
}

#[test]
fn what_was_asked_for_is_known_to_a_check_that_goes_on_later() {
    let mut rules = Rules::default();
    let (mut findings, mut warnings) = (Findings::default(), Findings::default());
    let mut unknown = request("nobody");
    unknown.reference = None;
    for event in [Event::Requested(request("anna")), Event::Requested(unknown)] {
        let facts = Facts { erasure: Some(Box::new(Ok(event))), ..facts(Kind::Erasure) };
        let index = rules.asked.iter().count() as u64;
        rules.entry(index, &facts, &mut findings, &mut warnings, |_| None);
    }
    rules.entry(2, &erased("anna", 0, Some(0), "b"), &mut findings, &mut warnings, |_| None);
    let again = Rules::from_json(&rules.to_json()).unwrap();
    assert_eq!(again.asked, rules.asked);
    assert!(findings.finish().0.is_empty());
}

fn request(reference: &str) -> Request {
    Request {
        id: "r".into(),
        reference: Some(reference.into()),
        organisation: Some("acme".into()),
        requested_by: "a".into(),
    }
}

fn requested(reference: &str) -> Facts {
    let event = Event::Requested(request(reference));
    Facts { erasure: Some(Box::new(Ok(event))), ..facts(Kind::Erasure) }
}

fn erased(reference: &str, last: u64, requested: Option<u64>, approved_by: &str) -> Facts {
    let request = request(reference);
    let scope = Scope::Principal { directory: true, requested, request, approved_by: approved_by.into() };
    let (named, held) = (BTreeMap::new(), Arc::default());
    let erasure = Erasure { index: 0, scope, classes: vec![], range: Some((0, last)), named, held, count: 1 };
    Facts { erasure: Some(Box::new(Ok(Event::Erased(erasure)))), ..facts(Kind::Erasure) }
}

#[test]
fn a_clock_that_went_back_is_a_warning() {
    let at = |ms| Facts { time: Timestamp(ms), ..facts(Kind::Heartbeat) };
    let (findings, warnings, _) = tell([at(100_000), at(40_000), at(90_000), at(29_999)].map(Some));
    assert!(findings.is_empty());
    assert_eq!(warnings, ["entry 3: 60 s earlier than the entry before it"]);
}

#[test]
fn open_exchanges_are_counted_and_stale_ones_pointed_out() {
    let later = |facts: Facts| Facts { boot: 2, ..facts };
    let (findings, warnings, open) = tell([allow(), allow(), outcome(0), later(allow())].map(Some));
    assert!(findings.is_empty());
    assert_eq!(open, 2);
    assert_eq!(warnings, ["entry 1: still without outcome although the broker has started again since"]);
}
