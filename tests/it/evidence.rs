//! Evidence in the hands of others: receipts, proofs of single entries, and who gets them.

use acceptance::command::{run, text, verify};
use acceptance::{Plant, http, wait};
use audit::tests::clock::PutClock;
use audit::{LogOptions, PublishOptions, Publisher};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use model::entry::{Content, Draft, Kind};
use model::{Digest, OrganisationId, Timestamp};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const PURPOSE: [(&str, &str); 1] = [("millgate-purpose", "predictive-maintenance")];

async fn proof(plant: &Plant, caller: &str, query: &str) -> http::Answer {
    let bearer = format!("Bearer {}", plant.token(caller));
    let url = format!("{}/v1/audit/proof?{query}", plant.api());
    http::get(&url, &[("authorization", &bearer)]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_redeemed_by_whoever_holds_it_and_binds_the_log() {
    let plant = Plant::start().await.unwrap();
    let key = plant.demo.running.log_key.clone();
    let at = |name: &str| plant.directory.path().join(name);
    let allowed = plant.get("acme", TARGET, &PURPOSE).await.unwrap();
    let refused = plant.get("acme", &TARGET.replace("1m", "1s"), &PURPOSE).await.unwrap();
    let hidden = plant.get("bolt", TARGET, &PURPOSE).await.unwrap();
    assert_eq!([allowed.status, refused.status, hidden.status], [200, 403, 404]);
    for (caller, answer) in [("acme", &allowed), ("acme", &refused), ("bolt", &hidden)] {
        let receipt = at("receipt.txt");
        std::fs::write(&receipt, answer.header("audit-receipt")).unwrap();
        let (code, said) = verify("receipt", &receipt, &key, &[]);
        assert_eq!((code, &said["ok"]), (Some(0), &Value::Bool(true)), "{said}");
        assert_eq!((&said["request"], &said["overdue"]), (&Value::from(answer.request_id()), &Value::Bool(false)));
        // Who has no proof when the time is over says so.
        let by = said["checkpoint_by"].as_str().unwrap();
        let (code, in_time) = verify("receipt", &receipt, &key, &["--at", by]);
        assert_eq!((code, &in_time["overdue"]), (Some(0), &Value::Bool(false)), "{in_time}");
        let later = by.replacen("20", "21", 1);
        let (code, overdue) = verify("receipt", &receipt, &key, &["--at", &later]);
        assert_eq!((code, &overdue["overdue"]), (Some(1), &Value::Bool(true)), "{overdue}");
        assert!(overdue["overdue_seconds"].as_u64() > Some(1_000_000_000), "{overdue}");

        let query = format!("index={}&leaf={}", said["index"], said["leaf"].as_str().unwrap());
        let redeemed = proof(&plant, caller, &query).await;
        assert_eq!(redeemed.status, 200, "{}", redeemed.text());
        assert!(!redeemed.text().contains("extra"), "a receipt gives hashes alone: {}", redeemed.text());
        std::fs::write(at("receipt.tlog-proof"), &redeemed.body).unwrap();
        let redeemed = at("receipt.tlog-proof").to_str().unwrap().to_owned();
        let (code, said) = verify("receipt", &receipt, &key, &["--proof", &redeemed, "--at", &later]);
        assert_eq!(
            (code, &said["overdue"], &said["of_request"]),
            (Some(0), &Value::Bool(false), &Value::Null),
            "{said}"
        );
        assert!(said["redeemed"].as_u64() > said["index"].as_u64(), "{said}");

        // It is the entry of this very request.
        let entries = plant.audit(&format!("request={}", answer.request_id())).await.unwrap();
        assert!(!entries.is_empty());
        let index = said["index"].to_string();
        let entry = plant.audit(&format!("request={}&order=oldest&limit=1", answer.request_id())).await.unwrap();
        let proven = proof(&plant, "auditor", &format!("index={index}")).await;
        std::fs::write(at("entry.tlog-proof"), &proven.body).unwrap();
        let (code, said) = verify("proof", &at("entry.tlog-proof"), &key, &[]);
        assert_eq!((code, &said["entry"]), (Some(0), &entry[0]), "{said}");
        let (code, said) = verify("receipt", &receipt, &key, &["--proof", at("entry.tlog-proof").to_str().unwrap()]);
        assert_eq!((code, &said["of_request"]), (Some(0), &Value::Bool(true)), "{said}");
        // Nobody turns it into one for another request.
        let altered =
            answer.header("audit-receipt").replace(answer.request_id(), "01a20522-59ec-7312-8079-6642e2582ffb");
        std::fs::write(&receipt, altered).unwrap();
        let (code, said) = verify("receipt", &receipt, &key, &["--proof", &redeemed]);
        assert!(code == Some(1) && said["findings"][0]["what"].as_str().unwrap().contains("binds nobody"), "{said}");
    }
    // Whoever guesses learns nothing, not even whether there is such an entry.
    for query in [format!("index=0&leaf={}", "0".repeat(64)), format!("index=999999&leaf={}", "0".repeat(64))] {
        let answer = proof(&plant, "acme", &query).await;
        assert_eq!((answer.status, answer.reason().as_str()), (404, "not_found"));
    }
    let stranger = http::get(&format!("{}/v1/audit/proof?index=0", plant.api()), &[]).await.unwrap();
    assert_eq!(stranger.status, 401);
    plant.stop().await;
}

async fn plant_with_an_auditor_of_acme() -> Plant {
    Plant::start_with(|directory| {
        let name = "policies/plants/munich/registry/principals.toml";
        let text = std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR")))?;
        let principals = directory.join(name);
        std::fs::create_dir_all(principals.parent().unwrap())?;
        let auditor =
            text.replace("[principal.\"acme/engineer-1\"]", "[principal.\"acme/engineer-1\"]\nroles = [\"auditor\"]");
        Ok(std::fs::write(&principals, auditor)?)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_take_the_places_of_the_callers_own_organisation() {
    let plant = plant_with_an_auditor_of_acme().await;
    let own = plant.get("acme", TARGET, &PURPOSE).await.unwrap();
    let query = format!("request={}&organisation=acme", own.request_id());
    // Whoever reads a certain file waits: one that is whole and not written again.
    let bundle = plant.directory.path().join("audit/published/tile/entries/000");
    for _ in 0..256 {
        assert_eq!(plant.get("acme", "/nothing", &[]).await.unwrap().status, 404);
    }
    wait::until("a whole bundle", async || bundle.exists().then_some(())).await.unwrap();
    std::fs::remove_file(&bundle).unwrap();
    assert!(Command::new("mkfifo").arg(&bundle).status().unwrap().success());
    let held = std::fs::File::options().read(true).write(true).open(&bundle).unwrap();
    let mut proofs: FuturesUnordered<_> = (0..4).map(|_| proof(&plant, "acme", &query)).collect();
    let others = async {
        let of_acme = "kind=audit_read&organisation=acme&decision=allow";
        wait::until("four proofs that are under way", async || {
            (plant.audit(of_acme).await.unwrap().len() == 4).then_some(())
        })
        .await
        .unwrap();
    };
    let refused = async {
        let two = [proofs.next().await.unwrap(), proofs.next().await.unwrap()];
        two.map(|answer| (answer.status, answer.reason()))
    };
    let (refused, ()) = tokio::join!(refused, others);
    assert_eq!(refused, [(503, String::from("overloaded")), (503, String::from("overloaded"))]);
    let entries = plant.audit("limit=1").await.unwrap();
    assert_eq!(entries.len(), 1, "others read on");
    drop(held);
    while proofs.next().await.is_some() {}
    drop(proofs);
    // An id that was made up is not looked for.
    for id in ["x", "936da01f-9abd-4d9d-80c7-02af85c822a8"] {
        let answer = proof(&plant, "acme", &format!("request={id}&organisation=acme")).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_parameter"));
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_with_the_entry_are_readings_like_any_other() {
    let plant = plant_with_an_auditor_of_acme().await;
    let key = plant.demo.running.log_key.clone();
    let answer = plant.get("acme", TARGET, &PURPOSE).await.unwrap();
    let of_request = format!("request={}", answer.request_id());
    // An organisation's own auditor gets its own, and learns of nothing else.
    let own = proof(&plant, "acme", &format!("{of_request}&organisation=acme")).await;
    assert_eq!(own.status, 200, "{}", own.text());
    assert!(own.text().starts_with("c2sp.org/tlog-proof@v1\nextra "), "{}", own.text());
    assert_eq!(proof(&plant, "acme", &of_request).await.status, 403);
    assert_eq!(proof(&plant, "analytics", &format!("{of_request}&organisation=acme")).await.status, 403);
    let hidden = plant.get("bolt", TARGET, &PURPOSE).await.unwrap();
    for id in [hidden.request_id(), "01a20522-59ec-7312-8079-6642e2582ffb"] {
        let answer = proof(&plant, "acme", &format!("request={id}&organisation=acme")).await;
        assert_eq!((answer.status, answer.reason().as_str()), (404, "not_found"));
    }
    let readings = plant.audit("kind=audit_read").await.unwrap();
    let of_proofs = readings.iter().filter(|e| e["route"] == "audit-proof");
    assert_eq!(of_proofs.filter(|e| e["decision"] == "allow" && e["org"] == "acme").count(), 3);

    // What is behind the commitments is shown to those who may read everything, and proven.
    let token = plant.demo.home.token("auditor");
    let file = plant.directory.path().join("outcome.tlog-proof");
    let prove = |more: &[&str]| {
        let mut arguments = vec!["audit", "prove", "--url"];
        let api = plant.api();
        arguments.extend([api.as_str(), "--token-file", token.to_str().unwrap()]);
        arguments.extend(["--request", answer.request_id(), "--out", file.to_str().unwrap()]);
        arguments.extend(more);
        run("millgate", &arguments)
    };
    let made = prove(&["--disclose", "subject,network"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let (code, said) = verify("proof", &file, &key, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said["disclosed"]["subject"]["verdict"], "matches");
    assert_eq!(said["disclosed"]["subject"]["values"]["principal"], "acme/engineer-1");
    assert_eq!(said["disclosed"]["payload"]["verdict"], "not_shown");
    let forged = std::fs::read_to_string(&file).unwrap();
    assert!(verify("proof", &file, &key.replace("demo", "dema"), &[]).0 != Some(0));
    std::fs::write(&file, forged.replacen("index ", "index 1", 1)).unwrap();
    assert_eq!(verify("proof", &file, &key, &[]).0, Some(1));

    plant.closed(answer.request_id()).await.unwrap();
    let made = prove(&["--kind", "outcome", "--json"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let outcome = verify("proof", &file, &key, &[]).1;
    assert_eq!((&outcome["entry"]["kind"], &outcome["entry"]["ended"]), (&"outcome".into(), &"complete".into()));
    let wrong = prove(&["--index", "3"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));

    let request = answer.request_id().to_owned();
    let directory = plant.stop().await;
    // The same from the published files alone, by a receipt too.
    let published = directory.path().join("audit/published");
    let receipt = directory.path().join("receipt.txt");
    std::fs::write(&receipt, format!("Audit-Receipt: {}\r\n", answer.header("audit-receipt"))).unwrap();
    for which in [["--request", &request], ["--receipt", receipt.to_str().unwrap()]] {
        let made =
            run("millgate", &[&["audit", "prove", "--offline", published.to_str().unwrap()][..], &which].concat());
        assert!(made.status.success(), "{}", text(&made.stderr));
        std::fs::write(&file, &made.stdout).unwrap();
        let (code, said) = verify("proof", &file, &key, &[]);
        assert_eq!((code, &said["entry"]["request"]), (Some(0), &Value::from(request.as_str())), "{said}");
    }
    let (code, said) = verify("receipt", &receipt, &key, &["--proof", file.to_str().unwrap()]);
    assert_eq!((code, said["redeemed"].is_u64()), (Some(0), true), "{said}");
}

/// Of a log of two suppliers, with a restart in the middle: what an auditor gets, and what a supplier gets.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_convinces_somebody_who_has_nothing_else() {
    let plant = Plant::start().await.unwrap();
    let key = plant.demo.running.log_key.clone();
    for _ in 0..3 {
        plant.get("acme", TARGET, &PURPOSE).await.unwrap();
        plant.get("bolt", TARGET, &PURPOSE).await.unwrap();
        plant.get("analytics", TARGET, &[]).await.unwrap();
    }
    let directory = plant.stop().await;
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let export = |out: &str, more: &[&str]| {
        let (log, out) = (at("audit"), at(out));
        let fixed = ["audit", "export", "--directory", &log, "--from", "2026-01-01T00:00:00Z", "--out", &out, "--json"];
        run("millgate", &[&fixed[..], more].concat())
    };
    let made = export("all.tar", &["--disclose", "subject,payload"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let summary: Value = serde_json::from_slice(&made.stdout).unwrap();
    let (code, said) = verify("archive", Path::new(&at("all.tar")), &key, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        (&said["entries"], &said["size"], &said["first"]),
        (&summary["entries"], &summary["size"], &Value::from(0))
    );
    assert_eq!(
        (said["not_proven"].as_array().map(Vec::len), &said["open"], &said["organisations"]),
        (Some(2), &0.into(), &3.into())
    );
    // The log ends before the time that was asked for does, and a clock is no proof.
    let edges = (&said["complete"]["inside"], &said["complete"]["beginning"], &said["complete"]["end"]);
    assert_eq!(edges, (&true.into(), &true.into(), &false.into()), "{said}");
    let (code, strict) = verify("archive", Path::new(&at("all.tar")), &key, &["--complete"]);
    assert_eq!((code, &strict["findings"][0]["check"]), (Some(1), &"complete".into()), "{strict}");
    assert_eq!(said["keys_inside"], serde_json::json!([{ "key": key, "given": true }]));
    assert!(said["not_proven"][0].as_str().unwrap().contains("behind the checkpoint"), "{said}");
    assert!(said["contents"].as_u64() > Some(2) && said["disclosed"].as_u64() > Some(9), "{said}");

    // For one organisation: nothing of any other, and no less of its own.
    let made = export("acme.tar", &["--organisation", "acme"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let (code, said) = verify("archive", Path::new(&at("acme.tar")), &key, &[]);
    assert_eq!(code, Some(0), "{said}");
    let entries = acceptance::published(directory.path()).unwrap();
    let own = entries.iter().filter(|entry| entry["org"] == "acme").count() as u64;
    assert_eq!(
        (&said["entries"], &said["first_of_organisation"], &said["last_of_organisation"]),
        (&own.into(), &1.into(), &own.into())
    );
    let bytes = std::fs::read(at("acme.tar")).unwrap();
    for foreign in ["bolt", "norden", "press-recipes", "permit"] {
        let found = bytes.windows(foreign.len()).any(|window| window == foreign.as_bytes());
        assert!(!found, "an archive for acme names {foreign}");
    }

    // Every decision is made again, by what the archive holds.
    let replay = |file: &str| run("millgate", &["audit", "replay", &at(file), "--key", &key, "--json"]);
    let replayed = replay("all.tar");
    let counted: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert!(replayed.status.success(), "{counted} {}", text(&replayed.stderr));
    assert_eq!((&counted["archive"]["ok"], &counted["replay"]["findings_total"]), (&true.into(), &0.into()));
    assert_eq!(counted["replay"]["replayed"], counted["replay"]["looked_at"]);
    assert!(counted["replay"]["replayed"].as_u64() >= Some(9), "{counted}");
    let own = replay("acme.tar");
    assert_eq!(own.status.code(), Some(2), "{}", text(&own.stderr));
    assert!(text(&own.stderr).contains("an archive of acme alone"), "{}", text(&own.stderr));

    // Every changed byte of what is proven is found.
    let good = std::fs::read(at("all.tar")).unwrap();
    let begin = good.windows(6).position(|window| window == b"tree/0").unwrap() + 512;
    let end = good.windows(11).position(|window| window == b"disclosed/0").unwrap();
    for place in (begin..begin + 20_000.min((end - begin) / 2)).step_by(997) {
        let mut forged = good.clone();
        forged[place] ^= 1;
        std::fs::write(at("forged.tar"), &forged).unwrap();
        assert_ne!(verify("archive", Path::new(&at("forged.tar")), &key, &[]).0, Some(0), "byte {place}");
    }
    let forged = replay("forged.tar");
    assert!(matches!(forged.status.code(), Some(1 | 2)), "{}", text(&forged.stdout));
    for wrong in [&["--to", "2025-01-01T00:00:00Z"][..], &[]] {
        let again = export("all.tar", wrong);
        assert_eq!(again.status.code(), Some(2));
        assert_eq!(std::fs::read(at("all.tar")).unwrap(), good, "what was there is still there");
    }
    let again = export("all.tar", &[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("it is there already"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read(at("all.tar")).unwrap(), good, "what was there is still there");
    let nothing = export("none.tar", &["--organisation", "nobody"]);
    assert!(text(&nothing.stderr).contains("no entries of organisation `nobody`"), "{}", text(&nothing.stderr));
    assert!(!Path::new(&at("none.tar")).exists());
}

/// 2026-11-22T19:20:00Z
const START_MS: i64 = 1_795_375_200_000;
const HOUR_MS: i64 = 3_600_000;

/// The second hour of three: policies came into use in the first, and their ids name another organisation if `names` says so. What
/// the archive is found to be, and its bytes.
async fn second_hour(
    organisation: Option<&str>,
    names: bool,
    decided_by: &[u8],
) -> (verify::archive::ArchiveReport, Vec<u8>) {
    let (dir, published) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = PutClock::at(Timestamp(START_MS));
    let options = LogOptions::new(dir.path(), "plant.example/log", clock.clone(), Arc::new(runtime::random::fill));
    let (log, _) = audit::Log::open(options).await.unwrap();
    let key = tlog::SigningKey::generate("plant.example/log", [7; 32]).unwrap();
    let publishing = PublishOptions { interval_ms: HOUR_MS.unsigned_abs(), ..PublishOptions::new(published.path()) };
    let publisher = Publisher::start(&log, key.clone(), publishing).await.unwrap();
    let text = |text: &str| model::Value::text(text);
    let own = b"the policies that came into use".to_vec();
    let mut members = vec![("event", text("activated")), ("digest", text(&Digest::of(&own).to_hex()))];
    members.extend(names.then(|| ("added", model::Value::texts(["bolt-reads-presses"]))));
    let mut draft = Draft::new(Kind::Policy, &log.common(), None, members, Vec::new()).unwrap();
    draft.content.push(Content { digest: Digest::of(&own), bytes: own.clone().into() });
    log.append(draft).await.unwrap();
    for hour in 0..3 {
        clock.put(Timestamp(START_MS + hour * HOUR_MS + 60_000));
        for of in ["acme", "bolt", "acme"] {
            let of: OrganisationId = of.parse().unwrap();
            let by = if hour == 1 { decided_by } else { own.as_slice() };
            let digests = model::Value::object([("policies", text(&Digest::of(by).to_hex()))]);
            let members = [("decision", text("deny")), ("digests", digests)];
            log.append(Draft::new(Kind::Decision, &log.common(), Some(&of), members, Vec::new()).unwrap())
                .await
                .unwrap();
        }
        clock.put(Timestamp(START_MS + hour * HOUR_MS + 30 * 60_000));
        log.append(
            Draft::new(Kind::Heartbeat, &log.common(), None, [("open", model::Value::int(0))], Vec::new()).unwrap(),
        )
        .await
        .unwrap();
    }
    publisher.publish_now().await.unwrap();
    publisher.stop().await.unwrap();
    log.close().await;
    let witness = tlog::CosigningKey::generate("witness.example/w", [3; 32]).unwrap().verifier().to_text();
    let policy = format!("# ours\nwitness w {witness} https://inside.example\nquorum w\n");
    let wanted = audit::archive::Wanted {
        from: Timestamp(START_MS + HOUR_MS),
        to: Timestamp(START_MS + HOUR_MS * 3 / 2),
        organisation: organisation.map(|id| id.parse().unwrap()),
        disclose: Vec::new(),
        keys: vec![key.verifier().clone()],
        witnesses: Some(tlog::TrustPolicy::parse(&policy).unwrap()),
        now: Timestamp(START_MS + 9 * HOUR_MS),
    };
    let mut file = Vec::new();
    let summary = audit::archive::export(dir.path(), published.path(), &wanted, &mut file, |_, _| {}).await.unwrap();
    let report = verify::archive::check(file.as_slice(), key.verifier(), |_| {}).unwrap();
    assert_eq!((summary.in_use, summary.keys), (report.in_use, 1), "{report}");
    assert_eq!(
        (summary.entries, report.keys_inside.as_slice()),
        (report.entries, &[(key.verifier().to_text(), true)][..])
    );
    (report, file)
}

fn holds(bytes: &[u8], what: &str) -> bool {
    bytes.windows(what.len()).any(|window| window == what.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_shows_which_policies_were_in_use_when_it_begins() {
    let own = b"the policies that came into use";
    let result = |report: &verify::archive::ArchiveReport| {
        let checks = report.to_json()["checks"].as_array().unwrap().clone();
        let result = checks.iter().find(|one| one["check"] == "policies-in-use").unwrap()["result"].clone();
        result.as_str().unwrap().to_owned()
    };
    for (organisation, names, in_use) in
        [(None, false, 2), (None, true, 2), (Some("acme"), false, 2), (Some("acme"), true, 0)]
    {
        let (report, bytes) = second_hour(organisation, names, own).await;
        assert!(report.is_ok() && report.warnings.is_empty() && report.complete.is_proven(), "{report}");
        assert_eq!(report.in_use, in_use, "{organisation:?} {names}: {report}");
        assert_eq!(result(&report), if in_use > 0 { "passed" } else { "not-done" });
        // Nothing of another organisation comes with it, and no address of a witness or what somebody noted beside.
        assert!(organisation.is_none() || !holds(&bytes, "bolt"), "{names}");
        assert!(holds(&bytes, "witness.example/w+") && !holds(&bytes, "inside.example") && !holds(&bytes, "# ours"));

        let (report, _) = second_hour(organisation, names, b"policies that nobody put in use").await;
        assert_eq!(result(&report), if in_use > 0 { "failed" } else { "not-done" }, "{report}");
    }
}
