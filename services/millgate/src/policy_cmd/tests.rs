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
    assert_eq!(sum, "1 passed, 1 failed; 6 of 34 policies determine a case, 46 of 126 conditions decide one");
    assert_eq!(
        before,
        "/cases/some.json: nobody reads the recipes\n  \
         decision: expected deny; got permit\n  \
         reasons: expected not_permitted; got none\n  \
         policies: expected none; got owner-sees-records, steward-reads, steward-sees-fields\n\
         no case is determined by agreement-expired, agreement-inactive, agreement-not-yet-valid, agreement-required, \
         analytics-reads, analytics-sees-fields, auditor-reads-audit, auditor-reads-own-audit, clearance-too-low, \
         data-protection-erases, data-too-old, discover-listed, discover-own-plant, discover-under-agreement, export-control, export-control-of-records, \
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

/// The demo's folders with a folder of policies beside them.
fn plant(policy: &str) -> (tempfile::TempDir, Chosen) {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::open(Some(directory.path().to_owned())).unwrap();
    home.write("127.0.0.1:9".parse().unwrap(), "127.0.0.1:9".parse().unwrap()).unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("own")).unwrap();
    std::fs::write(at("own/own.cedar"), policy).unwrap();
    let chosen = Chosen { config: home.config(), policies: vec![at("policies/base"), at("own")] };
    (directory, chosen)
}

#[test]
fn everything_that_keeps_a_set_from_being_used_is_said_at_once() {
    let examined = |policy: &str, cases: Option<&str>| {
        let (directory, chosen) = plant(policy);
        let folder = directory.path().join("cases");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("some.json"), cases.unwrap_or_default()).unwrap();
        let cases = cases.iter().map(|_| folder.clone()).collect();
        let problems = check::examine(&check::CheckArgs { chosen, cases, json: false }).err().unwrap_or_default();
        problems.join("\n").replace(&format!("{}/", directory.path().display()), "")
    };
    let forbid = "@id(\"closed\") @reason(\"closed\") forbid (principal, action == Plant::Action::\"read\", resource)";
    assert_eq!(examined(&format!("{forbid};"), None), "");
    assert_eq!(
        examined(
            &format!(
                "{forbid} when {{ context.shape.rows * 2 > 10 }};\n@id(\"b\") permit (principal, action, resource)\nwhen {{ principal.colour == 1 }};"
            ),
            None
        ),
        "own/own.cedar:1: policy `closed`: arithmetic (`*`) can fail, and a failing `forbid` denies everything it is asked for; \
         help: compare attributes with each other or with literals; what has to be reckoned belongs in the catalog or the \
         agreement\n\
         own/own.cedar:3: policy `b`: attribute `colour` on entity type `Plant::Service` not found; help: did you mean `country`?\n\
         own/own.cedar:3: policy `b`: attribute `colour` on entity type `Plant::User` not found; help: did you mean `country`?"
    );
    let timed = CASES.replace("\"subject\"", "\"at\": \"2026-11-22T08:00:00Z\", \"subject\"");
    let failing = examined(&format!("{forbid};"), Some(&timed));
    assert!(failing.starts_with("cases/some.json:3: case `ACME sees its own"), "{failing}");
    assert_eq!(failing.lines().count(), 2, "{failing}");
}

#[tokio::test]
async fn a_made_up_request_is_explained_and_half_of_one_is_not() {
    let (directory, chosen) = plant(
        "@id(\"half\") permit (principal, action == Plant::Action::\"readAudit\", resource)\nwhen {\n  principal.registered &&\n  principal.clearance > 2\n};",
    );
    let explained = async |words: &[&str]| {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: explain::ExplainArgs,
        }
        let all = ["explain"].into_iter().chain(words.iter().copied());
        let mut args = <Line as clap::Parser>::try_parse_from(all).map_err(|e| e.to_string())?.args;
        args.chosen = chosen.clone();
        explain::explain(&args).await.map(|report| report.text()).map_err(|e| format!("{e:#}"))
    };
    let asked = ["--organisation", "acme", "--subject", "engineer-1", "--resource", "AuditScope/acme"];
    let text = explained(&[&asked[..], &["--at", "2026-11-22T08:00:00Z"]].concat()).await.unwrap();
    insta::assert_snapshot!(text.replace(&format!("{}/", directory.path().display()), ""), @r#"
    acme/engineer-1 readAudit AuditScope/acme
    at 2026-11-22T08:00:00.000Z: deny, because not_permitted

    acme/engineer-1: readAudit AuditScope/acme without an agreement: not allowed
      not by auditor-reads-audit, auditors of the owner and of an auditing company read every entry (policies/base/audit.cedar:3)
        is not so: principal in Plant::Role::"auditor"
        nor is: ["owner", "auditor"].contains(principal.organisationKind)
      not by auditor-reads-own-audit, an organisation's own auditor reads the entries about it (policies/base/audit.cedar:8)
        is not so: principal in Plant::Role::"auditor"
      not by half (own/own.cedar:4)
        is not so: principal.clearance > 2
    "#);
    let nothing = explained(&asked[..4]).await.unwrap_err();
    assert!(nothing.starts_with("nothing to explain: name a recorded request, or `--organisation`"), "{nothing}");
    let resource = explained(&["--organisation", "acme", "--subject", "a", "--resource", "press-3"]).await.unwrap_err();
    assert!(resource.contains("`press-3` is not a resource"), "{resource}");
    let both = explained(&["01a2", "--resource", "Signal/press-3.force"]).await.unwrap_err();
    assert!(both.contains("cannot be used with"), "{both}");
    let server = explained(&["01a2"]).await.unwrap_err();
    assert!(server.starts_with("no server: name the api listener with `--url`"), "{server}");
}

#[test]
fn two_folders_that_permit_nothing_do_not_pass_as_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::open(Some(directory.path().to_owned())).unwrap();
    home.write("127.0.0.1:9".parse().unwrap(), "127.0.0.1:9".parse().unwrap()).unwrap();
    let folder = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("own.cedar"), text).unwrap();
        path
    };
    let before = folder(
        "before",
        "@id(\"a\") forbid (principal, action, resource) when { context.now < datetime(\"2020-01-01\") };",
    );
    let after = folder("after", "@id(\"b\") forbid (principal, action, resource);");
    let at = time("2026-11-22T08:00:00Z").ok();
    let mut args = matrix::DiffArgs { config: home.config(), before, after, with: Vec::new(), at, json: false };
    let (changes, notes) = matrix::diff(&args).unwrap();
    assert!(changes.is_empty());
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("--with policies/base"), "{notes:?}");
    args.with.push(directory.path().join("policies/base"));
    std::fs::write(args.before.join("own.cedar"), "// nothing of its own\n").unwrap();
    let (changes, notes) = matrix::diff(&args).unwrap();
    assert!(!changes.is_empty());
    assert_eq!(notes.len(), 1, "{notes:?}");
}
