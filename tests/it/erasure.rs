//! A person's values, taken out of the log of a running broker: by whom, what is left, and what others can prove of it.

use acceptance::command::{run, text, verify};
use acceptance::{Plant, http};
use audit::erase::Wanted;
use audit::tests::clock::PutClock;
use audit::{LogOptions, PublishOptions, Publisher};
use model::entry::{CommitmentClass, Disclosure, Draft, Kind};
use model::{Principal, PrincipalKind, Timestamp};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: [(&str, &str); 1] = [("millgate-purpose", "predictive-maintenance")];
const AGENT: &str = "annas-very-own-agent/7";
const PERSON: &str = "acme/engineer-1";

/// The demo's configuration, and legal holds.
const WITH_HOLDS: &str = r#"
listen = { data = "127.0.0.1:0", api = "127.0.0.1:0", operator = "127.0.0.1:0" }
[folders]
catalog = "policies/plants/munich/catalog"
registry = "policies/plants/munich/registry"
policies = "policies/base"
schema = "policies/schema/plant.cedarschema"
[audit]
directory = "audit"
origin = "munich.example/millgate-demo"
legal_holds = ["acme/engineer-2", "bolt"]
"#;

/// Which of `needles` stand in some file below `directory`, whatever it is.
fn found(directory: &Path, needles: &[&str]) -> Vec<String> {
    let (mut folders, mut all) = (vec![directory.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let holds = |needle: &&&str| bytes.windows(needle.len()).any(|part| part == needle.as_bytes());
            all.extend(needles.iter().filter(holds).map(|needle| format!("{needle} in {}", path.display())));
        }
    }
    all
}

async fn post(plant: &Plant, caller: &str, path: &str, body: &str) -> http::Answer {
    let bearer = format!("Bearer {}", plant.token(caller));
    let url = format!("{}/v1/audit/erasures{path}", plant.api());
    http::send("POST", &url, &[("authorization", &bearer)], body.to_owned().into()).await.unwrap()
}

fn request(subject: &str) -> String {
    json!({ "subject": subject, "basis": "Art. 17(1)(b)" }).to_string()
}

/// `millgate audit erase` as one of the demo's callers.
fn erase(plant: &Plant, caller: &str, more: &[&str]) -> Output {
    let (api, token) = (plant.api(), plant.demo.home.token(caller));
    let fixed = ["audit", "erase", "--json", "--url", &api, "--token-file", token.to_str().unwrap()];
    run("millgate", &[&fixed[..], more].concat())
}

async fn used_by_both(plant: &Plant) {
    for _ in 0..3 {
        let headers = [PURPOSE[0], ("user-agent", AGENT)];
        assert_eq!(plant.get("acme", TARGET, &headers).await.unwrap().status, 200);
        assert_eq!(plant.get("bolt", TARGET, &PURPOSE).await.unwrap().status, 404);
    }
    // Her name in what somebody else asked.
    plant.audit("principal=acme%2Fengineer-1").await.unwrap();
}

fn export(directory: &Path, out: &str) {
    let (log, out) = (directory.join("audit"), directory.join(out));
    let fixed = ["audit", "export", "--directory", log.to_str().unwrap(), "--from", "2026-01-01T00:00:00Z"];
    let made =
        run("millgate", &[&fixed[..], &["--out", out.to_str().unwrap(), "--disclose", "subject,network"]].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_under_four_eyes_and_nothing_is_left() {
    let plant = Plant::start().await.unwrap();
    let key = plant.demo.running.log_key.clone();
    let audit = plant.directory.path().join("audit");
    used_by_both(&plant).await;
    let needles = [PERSON, "engineer-1", AGENT];
    let before = found(&audit, &needles);
    assert!(needles.iter().all(|needle| before.iter().any(|found| found.starts_with(needle))), "{before:?}");
    plant.get("bolt", "/series/press-3.force", &PURPOSE).await.unwrap();
    let proof = plant.directory.path().join("before.tlog-proof");
    let token = plant.demo.home.token("auditor");
    let of_entry = |out: &Path| {
        let index = ["--index", "2", "--out", out.to_str().unwrap()];
        let fixed = ["audit", "prove", "--url", &plant.api(), "--token-file", token.to_str().unwrap()];
        let made = run("millgate", &[&fixed[..], &index].concat());
        assert!(made.status.success(), "{}", text(&made.stderr));
        let (code, said) = verify("proof", out, &key, &[]);
        assert_eq!(code, Some(0), "{said}");
        said["entry"].clone()
    };
    let entry_before = of_entry(&proof);
    let checkpoint = plant.directory.path().join("before.checkpoint");
    std::fs::copy(audit.join("published/checkpoint"), &checkpoint).unwrap();

    let asked = erase(&plant, "privacy", &["--subject", PERSON, "--basis", "Art. 17(1)(b)"]);
    assert!(asked.status.success(), "{}", text(&asked.stderr));
    let asked: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let id = asked["id"].as_str().unwrap();
    assert!(!found(&audit, &[PERSON]).is_empty(), "nothing is erased by being asked for");
    let alone = erase(&plant, "privacy", &["--approve", id]);
    assert!(!alone.status.success() && text(&alone.stderr).contains("somebody else has to approve it"));
    let done = erase(&plant, "privacy-deputy", &["--approve", id]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    // Three of her own, the request, and one that asked for her.
    assert_eq!((&done["count"], &done["named"], &done["wiped"]), (&5.into(), &1.into(), &true.into()), "{done}");
    assert_eq!(found(&audit, &needles), Vec::<String>::new());
    let again = erase(&plant, "privacy-deputy", &["--approve", id]);
    assert!(
        !again.status.success() && text(&again.stderr).contains("it was carried out under entry"),
        "{}",
        text(&again.stderr)
    );

    // The log says what was done, on whose account, and names nobody.
    let entries = plant.audit("kind=erasure&order=oldest").await.unwrap();
    assert_eq!(entries.iter().map(|e| e["event"].as_str().unwrap()).collect::<Vec<_>>(), ["requested", "erased"]);
    let erased = &entries[1];
    assert_eq!((&erased["org"], &erased["request"], &erased["directory"]), (&"acme".into(), &id.into(), &true.into()));
    assert_ne!(erased["requested_by"], erased["approved_by"]);
    assert_eq!(erased["v"], "1.6");
    let decided = plant.audit("resource=AuditScope%2Facme&kind=decision").await.unwrap();
    assert_eq!(decided.iter().filter(|e| e["action"] == "eraseAudit" && e["decision"] == "allow").count(), 4);

    // What was proven is proven, and a disclosure of what is gone says where it went.
    assert_eq!(of_entry(&plant.directory.path().join("after.tlog-proof")), entry_before);
    let (code, said) = verify("proof", &proof, &key, &[]);
    assert_eq!((code, &said["entry"]), (Some(0), &entry_before), "{said}");
    let own = plant
        .audit(&format!("principal={}&kind=decision&limit=1", erased["principal"].as_str().unwrap()))
        .await
        .unwrap();
    let url =
        format!("{}/v1/audit/proof?request={}&disclose=subject", plant.api(), own[0]["request"].as_str().unwrap());
    let bearer = format!("Bearer {}", plant.token("auditor"));
    let gone = http::get(&url, &[("authorization", &bearer)]).await.unwrap();
    let under = done["entries"][0].to_string();
    assert_eq!(gone.status, 404);
    assert!(gone.text().contains(&format!("`subject` was erased under entry {under}")), "{}", gone.text());

    // Who comes back is somebody new.
    assert_eq!(plant.get("acme", TARGET, &PURPOSE).await.unwrap().status, 200);
    let back = plant.audit("principal=acme%2Fengineer-1&kind=decision").await.unwrap();
    assert_eq!(back.len(), 1, "{back:?}");
    assert_ne!(back[0]["principal"], erased["principal"]);

    let directory = plant.stop().await;
    let log = directory.path().join("audit");
    let published = log.join("published");
    let (code, said) = verify("log", &published, &key, &["--checkpoint", checkpoint.to_str().unwrap()]);
    assert_eq!((code, &said["findings"]), (Some(0), &json!([])), "{said}");
    let checked = run(
        "millgate",
        &["audit", "fsck", "--directory", log.to_str().unwrap(), "--published", published.to_str().unwrap()],
    );
    assert!(checked.status.success(), "{}", text(&checked.stdout));

    export(directory.path(), "all.tar");
    let archive = directory.path().join("all.tar");
    let (code, said) = verify("archive", &archive, &key, &[]);
    assert_eq!(code, Some(0), "{said}");
    // Two classes of each of the three, and the name in the request.
    assert_eq!(said["erased"][&under], 7, "{said}");
    let replayed = run("millgate", &["audit", "replay", archive.to_str().unwrap(), "--key", &key, "--json"]);
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));

    // An erasure in an archive is signed like everything else.
    let good = std::fs::read(&archive).unwrap();
    let widened = good.windows(7).position(|part| part == b"\"last\":").unwrap() + 7;
    let mut forged = good;
    forged[widened] = if forged[widened] == b'9' { b'8' } else { b'9' };
    std::fs::write(&archive, forged).unwrap();
    assert_eq!(verify("archive", &archive, &key, &[]).0, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_not_decided_again_where_policies_name_persons() {
    let plant = Plant::start_with(policy_that_names_a_person).await.unwrap();
    let key = plant.demo.running.log_key.clone();
    used_by_both(&plant).await;
    let asked = post(&plant, "privacy", "", &request(PERSON)).await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let id = asked.json().unwrap()["id"].as_str().unwrap().to_owned();
    let done = post(&plant, "privacy-deputy", &format!("/{id}/approval"), "").await;
    assert_eq!(done.status, 200, "{}", done.text());
    let under = done.json().unwrap()["entries"][0].to_string();
    let directory = plant.stop().await;
    export(directory.path(), "all.tar");
    let archive = directory.path().join("all.tar");
    let (code, said) = verify("archive", &archive, &key, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said["erased"][&under].as_u64() >= Some(6), "{said}");
    // Of whoever was erased nothing can be decided again where a policy names persons.
    let replayed = run("millgate", &["audit", "replay", archive.to_str().unwrap(), "--key", &key, "--json"]);
    let counted: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert!(
        counted["replay"].to_string().contains(&format!("the principal was erased under entry {under}")),
        "{counted} {}",
        text(&replayed.stderr)
    );
    let log = directory.path().join("audit");
    let config = directory.path().join("millgate.toml");
    let offline = ["--since", "2026-01-01T00:00:00Z", "--offline", log.to_str().unwrap(), "--json"];
    let replayed =
        run("millgate", &[&["policy", "replay", "--config", config.to_str().unwrap()][..], &offline].concat());
    assert!(text(&replayed.stdout).contains(&format!("erased under entry {under}")), "{}", text(&replayed.stdout));
}

fn policy_that_names_a_person(directory: &Path) -> anyhow::Result<()> {
    let policies = directory.join("policies/base");
    std::fs::create_dir_all(&policies)?;
    let policy = "@id(\"one-person\") @reason(\"not_you\")\nforbid (principal == Plant::User::\"acme/engineer-2\", action == Plant::Action::\"readSeries\", resource);\n";
    Ok(std::fs::write(policies.join("person.cedar"), policy)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_erases_alone_by_a_machine_without_the_role_or_against_a_legal_hold() {
    let plant =
        Plant::start_with(|directory| Ok(std::fs::write(directory.join("millgate.toml"), WITH_HOLDS)?)).await.unwrap();
    used_by_both(&plant).await;
    for caller in ["acme", "analytics", "steward", "auditor"] {
        let refused = post(&plant, caller, "", &request(PERSON)).await;
        assert_eq!((refused.status, refused.reason().as_str()), (403, "not_permitted"), "{caller}");
    }
    let stranger =
        http::send("POST", &format!("{}/v1/audit/erasures", plant.api()), &[], request(PERSON).into()).await.unwrap();
    assert_eq!(stranger.status, 401);
    for held in ["acme/engineer-2", "bolt/quality-1"] {
        let refused = post(&plant, "privacy", "", &request(held)).await;
        assert_eq!((refused.status, refused.reason().as_str()), (409, "legal_hold"), "{held}: {}", refused.text());
    }
    let recorded = plant.audit("kind=erasure").await.unwrap();
    assert_eq!(recorded.iter().filter(|e| e["event"] == "refused" && e["reason"] == "legal_hold").count(), 2);
    assert!(!recorded.iter().any(|entry| entry.to_string().contains("engineer-2")), "{recorded:?}");

    let bad = post(&plant, "privacy", "", r#"{"subject":"acme/engineer-1","basis":"engineer-1 wrote to us"}"#).await;
    assert_eq!((bad.status, bad.reason().as_str()), (400, "bad_parameter"));
    let unknown_approval = "/01a20522-59ec-7312-8079-6642e2582ffb/approval";
    let unknown = post(&plant, "privacy", unknown_approval, "").await;
    assert_eq!(unknown.status, 404);
    let asked = post(&plant, "privacy", "", &request(PERSON)).await;
    let id = asked.json().unwrap()["id"].as_str().unwrap().to_owned();
    let approval = format!("/{id}/approval");
    let own = post(&plant, "privacy", &approval, "").await;
    assert_eq!((own.status, own.reason().as_str()), (403, "four_eyes"));
    // Whoever may not erase does not learn which requests there are.
    for caller in ["steward", "analytics", "auditor"] {
        let answer = async |path: &str| {
            let answer = post(&plant, caller, path, "").await;
            let mut body = answer.json().unwrap();
            body.as_object_mut()
                .unwrap()
                .retain(|name, _| ["detail", "reason", "reasons", "status"].contains(&&**name));
            (answer.status, body)
        };
        let known = answer(&approval).await;
        assert_eq!(known.0, 403, "{caller}");
        assert_eq!(known, answer(unknown_approval).await, "{caller}");
    }
    // Nobody approves what is about themselves.
    let about = post(&plant, "privacy", "", &request("norden/privacy-2")).await;
    let about = about.json().unwrap()["id"].as_str().unwrap().to_owned();
    let oneself = post(&plant, "privacy-deputy", &format!("/{about}/approval"), "").await;
    assert_eq!((oneself.status, oneself.reason().as_str()), (403, "four_eyes"));
    let read = plant.audit("principal=acme%2Fengineer-1&kind=decision").await.unwrap();
    assert_eq!(read.len(), 4, "three that read, one that asked to erase: nothing of it was erased");
    plant.stop().await;
}

fn watched_erasures(directory: &Path) -> anyhow::Result<()> {
    let policies = directory.join("policies/base");
    std::fs::create_dir_all(&policies)?;
    let policy = "@id(\"watched\") @acknowledgement(\"checkpointed\")\npermit (principal in Plant::Role::\"data-protection\", action == Plant::Action::\"eraseAudit\", resource);\n";
    Ok(std::fs::write(policies.join("watched.cedar"), policy)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_waits_for_what_a_policy_demands_of_its_record() {
    let plant = Plant::start_with(watched_erasures).await.unwrap();
    let asked = post(&plant, "privacy", "", &request(PERSON)).await;
    // Signed and kept; a moment later it is a file, too.
    let size = plant.demo.running.broker.log.status().checkpoint_size;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let index = asked.json().unwrap()["index"].as_u64().unwrap();
    // The decision stands before the request that came of it.
    assert!(size >= index, "{size} entries were under a signed checkpoint, and the request is entry {index}");
    let decided = plant.audit("resource=AuditScope%2Facme&kind=decision").await.unwrap();
    assert!(decided.iter().any(|entry| entry["acknowledgement"] == "checkpointed"), "{decided:?}");
    plant.stop().await;
}

/// 2026-11-22T19:20:00Z
const START_MS: i64 = 1_795_375_200_000;
const HOUR_MS: i64 = 3_600_000;

/// Of an hour; the erasure came an hour later, and what is behind it is not shown.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_an_earlier_time_holds_the_erasures_that_came_later() {
    let (dir, published) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = PutClock::at(Timestamp(START_MS));
    let options = LogOptions::new(dir.path(), "plant.example/log", clock.clone(), Arc::new(runtime::random::fill));
    let (log, _) = audit::Log::open(options).await.unwrap();
    let key = tlog::SigningKey::generate("plant.example/log", [7; 32]).unwrap();
    let publishing = PublishOptions { interval_ms: 3_600_000, ..PublishOptions::new(published.path()) };
    let publisher = Publisher::start(&log, key.clone(), publishing).await.unwrap();
    let person = |subject: &str| Principal {
        organisation: "acme".parse().unwrap(),
        kind: PrincipalKind::User,
        subject: subject.parse().unwrap(),
    };
    let ask = async |subject: &str| {
        let (reference, row) = log.principal_reference(&person(subject));
        let members = [("decision", model::Value::text("deny")), ("principal", model::Value::text(reference))];
        let values = model::Value::object([("principal", model::Value::text(format!("acme/{subject}")))]);
        let salt = runtime::random::bytes();
        let disclosure = Disclosure { class: CommitmentClass::Subject, salt, values: values.into() };
        let organisation = "acme".parse().unwrap();
        let mut draft =
            Draft::new(Kind::Decision, &log.common(), Some(&organisation), members, vec![disclosure]).unwrap();
        draft.directory = row.into_iter().collect();
        log.append(draft).await.unwrap()
    };
    for subject in ["anna", "otto", "anna"] {
        ask(subject).await;
    }
    clock.advance(HOUR_MS);
    for _ in 0..1_100 {
        ask("berta").await;
    }
    let organisation = "acme".parse().unwrap();
    for (id, principal) in [("one", "acme/anna"), ("two", "acme/berta")] {
        let id = String::from(id);
        let wanted =
            Wanted { id: id.clone(), organisation: &organisation, principal, basis: "Art. 17", requested_by: "first" };
        log.request_erasure(&wanted).await.unwrap();
        clock.advance(HOUR_MS);
        let pending = log.erasure_request(&id).await.unwrap().unwrap();
        log.erase(&pending, "second", &audit::Holds::default()).await.unwrap();
    }
    publisher.publish_now().await.unwrap();
    publisher.stop().await.unwrap();
    log.close().await;

    let wanted = audit::archive::Wanted {
        from: Timestamp(START_MS - HOUR_MS),
        to: Timestamp(START_MS + HOUR_MS / 2),
        organisation: None,
        disclose: vec![CommitmentClass::Subject],
        keys: Vec::new(),
        witnesses: None,
        now: Timestamp(START_MS + 9 * HOUR_MS),
    };
    let mut file = Vec::new();
    let summary = audit::archive::export(dir.path(), published.path(), &wanted, &mut file, |_, _| {}).await.unwrap();
    assert!(summary.last < Some(1_100) && summary.erasures >= 4, "both, and their requests, stand behind: {summary:?}");
    let report = verify::archive::check(file.as_slice(), key.verifier(), |_| {}).unwrap();
    assert!(report.is_ok(), "{report}");
    // Of Anna, and those of Berta that the archive holds because they were stored near them.
    assert_eq!(report.erased.values().sum::<u64>() + report.disclosed + 1, report.entries, "{report}");
    assert_eq!((report.erased.len(), report.disclosed), (3, 1), "a large erasure is several entries: {report}");
    let text = String::from_utf8_lossy(&file);
    assert!(text.contains("acme/otto") && !text.contains("acme/anna"), "nothing of her is in it");
}
