use super::test::{Report, TestArgs, test, text};
use super::*;
use crate::demo::files::Home;

const CASES: &str = r#"[
  {
    "title": "ACME sees its own notifications, without <prices>",
    "request": { "organisation": "acme", "subject": "engineer-1", "action": "read", "resource": "Dataset/quality-notifications",
                 "purpose": "quality-analysis", "rows": 10, "window_ms": 3600000 },
    "expect": { "decision": "permit", "agreement": "acme-maintenance-2026", "classes_hidden": ["commercial", "personal"],
                "records_hidden": true, "policies": ["read-under-agreement", "reveal-under-agreement", "see-own-records"] }
  },
  {
    "title": "nobody reads the recipes",
    "request": { "organisation": "norden", "subject": "steward-1", "action": "read", "resource": "Dataset/press-recipes" },
    "expect": { "decision": "deny", "reasons": ["not_permitted"] }
  }
]"#;

fn tried(cases: &str) -> (tempfile::TempDir, anyhow::Result<Report>) {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::open(Some(directory.path().to_owned())).unwrap();
    home.write("127.0.0.1:9".parse().unwrap(), "127.0.0.1:9".parse().unwrap()).unwrap();
    let folder = directory.path().join("cases");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("some.json"), cases).unwrap();
    let at = time("2026-11-22T08:00:00Z").ok();
    let chosen = Chosen { config: home.config(), policies: Vec::new() };
    let args = TestArgs { chosen, cases: vec![folder], at, junit: None, json: false };
    let report = test(&args);
    (directory, report)
}

#[test]
fn a_case_that_is_decided_otherwise_says_what_is_other() {
    let (directory, report) = tried(CASES);
    let report = report.unwrap();
    assert!(!report.ok);
    let text = text(&report).replace(&directory.path().display().to_string(), "");
    let (before, conditions) = text.split_once("no case is decided by one of these conditions:\n").unwrap();
    let (conditions, sum) = conditions.rsplit_once('\n').unwrap();
    assert!(conditions.contains("agreement.cedar:8: read-under-agreement: context has purpose\n"), "{conditions}");
    assert!(
        !conditions.contains("read-under-agreement: context has agreement\n"),
        "the steward has none: {conditions}"
    );
    assert_eq!(sum, "1 passed, 1 failed; 6 of 32 policies determine a case, 44 of 117 conditions decide one");
    assert_eq!(
        before,
        "/cases/some.json: nobody reads the recipes\n  \
         decision: expected deny; got permit\n  \
         reasons: expected not_permitted; got none\n  \
         policies: expected none; got owner-sees-records, steward-reads, steward-sees-fields\n\
         no case is determined by agreement-expired, agreement-inactive, agreement-not-yet-valid, agreement-required, \
         analytics-reads, analytics-sees-fields, auditor-reads-audit, auditor-reads-own-audit, clearance-too-low, \
         discover-listed, discover-own-plant, discover-under-agreement, export-control, export-control-of-records, \
         not-your-equipment, organisation-suspended, outside-agreement, product-retired, purpose-not-agreed, \
         purpose-required, read-series-under-agreement, resolution-too-fine, see-records-of-own-equipment, \
         see-undivided-records, too-many-rows, window-too-wide\n"
    );
    let xml = junit::report(&report);
    assert!(xml.contains("tests=\"2\" failures=\"1\"") && xml.contains("without &lt;prices&gt;"), "{xml}");
    assert!(xml.contains("<failure>decision: expected deny; got permit\nreasons:"), "{xml}");
}

#[test]
fn a_test_of_nothing_does_not_pass() {
    let wrong = |cases: &str| format!("{:#}", tried(cases).1.unwrap_err());
    assert!(wrong("[]").contains("a test of nothing would pass"), "{}", wrong("[]"));
    assert!(wrong("{}").contains("is no list of cases"));
    assert!(wrong(&CASES.replace("Dataset/press-recipes", "recipes")).contains("`recipes` is not a resource"));
    assert!(wrong(&CASES.replace("\"reasons\"", "\"reason\"")).contains("unknown field `reason`"));
}
