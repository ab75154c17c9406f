//! How far an organisation's entries go is said at intervals, so that a supplier who is shown its own entries alone finds out when
//! the newest are kept back; and a broker that was merely stopped is accused of nothing.

use acceptance::command::{json, run};
use acceptance::{Plant, http, process};
use audit::tests::clock::PutClock;
use audit::{Log, LogOptions, PublishOptions, Publisher};
use model::entry::{Draft, Entry, Kind};
use model::{Clock, OrganisationId, Timestamp};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tlog::walk::Step;
use verify::monitor::{Files, Look, Seen, Watch};

const ORIGIN: &str = "munich.example/summed-up";
/// 2020-03-09T12:00:00Z
const START_MS: i64 = 1_583_755_200_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn time(ms: i64) -> String {
    Timestamp(START_MS + ms).to_rfc3339()
}

/// A log whose clock is put where the story wants it, and a witness that cosigns what it publishes.
struct Stand {
    directory: tempfile::TempDir,
    clock: Arc<PutClock>,
    key: tlog::SigningKey,
    witness: tlog::CosigningKey,
}

/// One run of its broker.
struct Run<'s> {
    stand: &'s Stand,
    log: Log,
    publisher: Publisher,
}

impl Stand {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: PutClock::at(Timestamp(START_MS)),
            key: tlog::SigningKey::generate(ORIGIN, [7; 32]).unwrap(),
            witness: tlog::CosigningKey::generate("witness.example/w", [3; 32]).unwrap(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, ms: i64) {
        self.clock.put(Timestamp(START_MS + ms));
    }

    /// `summary_ms`: as in the options.
    async fn run(&self, summary_ms: Option<i64>) -> Run<'_> {
        let random: audit::Random = Arc::new(runtime::random::fill);
        let options = LogOptions {
            heartbeat_ms: 0,
            summary_ms: summary_ms.map(i64::unsigned_abs),
            ..LogOptions::new(self.at("log"), ORIGIN, self.clock.clone(), random)
        };
        let (log, _) = Log::open(options).await.unwrap();
        let publishing = PublishOptions { interval_ms: 3_600_000, ..PublishOptions::new(self.at("published")) };
        let publisher = Publisher::start(&log, self.key.clone(), publishing).await.unwrap();
        Run { stand: self, log, publisher }
    }

    /// What `millgate-verify` says by a policy with the witness.
    fn verify(&self, command: &str, what: &Path) -> (Option<i32>, Value) {
        let policy = self.at("trust.policy");
        let (log, witness) = (self.key.verifier().to_text(), self.witness.verifier().to_text());
        std::fs::write(&policy, format!("log {log}\nwitness w {witness}\nquorum w\n")).unwrap();
        let arguments = [command, what.to_str().unwrap(), "--policy", policy.to_str().unwrap(), "--json"];
        let output = run("millgate-verify", &arguments);
        (output.status.code(), json(&output))
    }

    /// Somebody looks from outside, at the time of the story.
    fn look(&self, seen: &mut Seen) -> Look {
        let key = self.key.verifier().clone();
        let policy = tlog::TrustPolicy::of_keys(vec![key.clone()]);
        let watch = Watch { key, policy, silence_ms: 60 * MINUTE, kept_days: None };
        seen.look(&watch, &mut Folder(self.at("published")), &*self.clock).unwrap()
    }

    /// The archive of everything of `acme` so far.
    async fn archive(&self, name: &str) -> PathBuf {
        let wanted = audit::archive::Wanted {
            from: Timestamp(START_MS - DAY),
            to: self.clock.now(),
            organisation: Some("acme".parse().unwrap()),
            disclose: Vec::new(),
            keys: vec![self.key.verifier().clone()],
            witnesses: None,
            now: self.clock.now(),
        };
        let mut file = Vec::new();
        audit::archive::export(&self.at("log"), &self.at("published"), &wanted, &mut file, |_, _| {}).await.unwrap();
        std::fs::write(self.at(name), file).unwrap();
        self.at(name)
    }
}

impl Run<'_> {
    async fn append(&self, kind: Kind, of: Option<&str>) {
        let of: Option<OrganisationId> = of.map(|of| of.parse().unwrap());
        let members = match kind {
            Kind::Heartbeat => ("open", model::Value::int(0)),
            _ => ("decision", model::Value::text("deny")),
        };
        self.log
            .append(Draft::new(kind, &self.log.common(), of.as_ref(), [members], Vec::new()).unwrap())
            .await
            .unwrap();
    }

    async fn asked_by(&self, of: &str) {
        self.append(Kind::Decision, Some(of)).await;
    }

    /// Ends it. What it has published the witness cosigns, by a clock that is right.
    async fn stop(self) {
        self.log.seal().await;
        self.publisher.stop().await.unwrap();
        self.log.close().await;
        let at = self.stand.at("published").join("checkpoint");
        let note = std::fs::read_to_string(&at).unwrap();
        let signed = format!("{}\n", note.split("\n\n").next().unwrap());
        let seconds = u64::try_from(self.stand.clock.now().seconds()).unwrap();
        std::fs::write(&at, note + &self.stand.witness.cosign(&signed, seconds)).unwrap();
    }
}

struct Folder(PathBuf);

impl Files for Folder {
    fn read(&mut self, path: &str, _: usize) -> Result<Option<Vec<u8>>, String> {
        Ok(std::fs::read(self.0.join(path)).ok())
    }
}

/// The entries of this kind in what is published, each with its index.
fn of_kind(stand: &Stand, kind: Kind) -> Vec<(u64, Entry)> {
    let query = audit::Query { kind: Some(kind), newest_first: false, limit: 1_000, ..audit::Query::default() };
    let found = audit::query::offline(&stand.at("published"), &query).unwrap().entries;
    found.into_iter().map(|one| (one.index, Entry::parse(one.entry.as_bytes()).unwrap())).collect()
}

/// An operator shows no entry behind `last`, and its hash in its place.
fn kept_back(archive: &Path, last: u64, to: &Path) {
    let mut out = tar::Builder::new(std::fs::File::create(to).unwrap());
    let mut index = 0;
    for file in tar::Archive::new(std::fs::File::open(archive).unwrap()).entries().unwrap() {
        let mut file = file.unwrap();
        let name = file.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        if name.starts_with("tree/") {
            let (mut rest, mut steps) = (bytes.as_slice(), Vec::new());
            while let Some((step, behind)) = Step::decode(rest).unwrap() {
                let step = match step {
                    Step::Entry(entry) if index > last => Step::Subtree { level: 0, root: tlog::leaf_hash(entry) },
                    step => step,
                };
                step.encode_into(&mut steps).unwrap();
                index += match step {
                    Step::Entry(_) => 1,
                    Step::Subtree { level, .. } => 1 << level,
                };
                rest = behind;
            }
            bytes = steps;
        }
        if name == "manifest.json" {
            let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
            if let Some(in_use) = manifest.get_mut("in_use").and_then(Value::as_array_mut) {
                in_use.retain(|index| index.as_u64().unwrap() <= last);
            }
            bytes = serde_json::to_vec(&manifest).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        out.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    out.into_inner().unwrap();
}

fn result<'r>(report: &'r Value, check: &str) -> &'r Value {
    let checks = report["checks"].as_array().unwrap();
    &checks.iter().find(|one| one["check"] == check).unwrap()["result"]
}

/// Two days of a broker that is started again and again, and was stopped for two days before the last run.
async fn days() -> Stand {
    let stand = Stand::new();
    let run = stand.run(Some(DAY)).await;
    run.asked_by("acme").await;
    run.asked_by("bolt").await;
    run.stop().await;
    for hours in [12, 24, 72] {
        stand.put(hours * HOUR);
        let run = stand.run(Some(DAY)).await;
        run.asked_by("bolt").await;
        run.asked_by("acme").await;
        run.stop().await;
    }
    stand
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_keeps_back_an_organisations_newest_entries_is_found_out() {
    let stand = days().await;
    let archive = stand.archive("all.tar").await;
    let (code, honest) = stand.verify("archive", &archive);
    assert_eq!((code, result(&honest, "organisation-summaries")), (Some(0), &"passed".into()), "{honest}");
    assert_eq!(honest["warnings"], Value::Array(vec![]), "{honest}");
    assert_eq!(honest["summary"]["next"], time(72 * HOUR + DAY));
    // Up to then nothing is missing, and that is said.
    assert_eq!(honest["complete"]["until"], time(72 * HOUR - 10_000), "{honest}");

    // Everything that was shown a summary ago: also this is signed, without a gap, and of one organisation.
    let summaries: Vec<u64> = of_kind(&stand, Kind::OrgSummary)
        .into_iter()
        .filter(|(_, entry)| entry.organisation.as_ref().is_some_and(|of| of.as_str() == "acme"))
        .map(|(index, _)| index)
        .collect();
    assert_eq!(summaries.len(), 3);
    let doctored = stand.at("doctored.tar");
    for last in [summaries[1], summaries[2] - 1] {
        kept_back(&archive, last, &doctored);
        let (code, report) = stand.verify("archive", &doctored);
        assert_eq!(code, Some(1), "{report}");
        let failed: Vec<&Value> =
            report["checks"].as_array().unwrap().iter().filter(|one| one["result"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{report}");
        assert_eq!(result(&report, "organisation-summaries"), "failed");
        let finding = &report["findings"][0];
        assert_eq!(finding["first"], summaries[1], "{report}");
        let what = format!("promises another summary of `acme` by {}, and there is none", time(24 * HOUR + DAY));
        assert!(finding["what"].as_str().unwrap().starts_with(&what), "{report}");
        // Nobody's clock but the plant's: then it does not pass, and completeness cannot be had either.
        let key = stand.key.verifier().to_text();
        let alone = ["archive", doctored.to_str().unwrap(), "--key", &key, "--json", "--complete"];
        let alone = run("millgate-verify", &alone);
        assert_eq!((alone.status.code(), result(&json(&alone), "complete")), (Some(1), &"failed".into()));
        // Unless the archive shows itself that the log went on: by the start of the broker behind that stop.
        let told = if last == summaries[1] { "not-done" } else { "failed" };
        assert_eq!(result(&json(&alone), "organisation-summaries"), told);
    }
    // Whoever keeps back what came since the last summary is found when the next is due, and not before.
    kept_back(&archive, summaries[2], &doctored);
    assert_eq!(stand.verify("archive", &doctored).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_stopped_for_two_days_is_accused_of_nothing() {
    let stand = days().await;
    let summaries = of_kind(&stand, Kind::OrgSummary);
    // The first run is over before anything was due; later ones begin with one of each organisation, right behind their start.
    let starts: Vec<u64> = of_kind(&stand, Kind::System)
        .into_iter()
        .filter(|(_, entry)| entry.text("event") == Some("opened"))
        .map(|(index, _)| index)
        .collect();
    let places: Vec<u64> = summaries.iter().map(|(index, _)| *index).collect();
    assert_eq!(places, starts[1..].iter().flat_map(|start| [start + 1, start + 2]).collect::<Vec<_>>());
    for (_, entry) in &summaries {
        let said = model::summary::Summary::read(entry).unwrap().unwrap();
        assert_eq!((said.fault(), said.next), (None, Some(entry.time.plus_millis(DAY))));
    }
    let (code, report) = stand.verify("log", &stand.at("published"));
    assert_eq!((code, result(&report, "organisation-summaries")), (Some(0), &"passed".into()), "{report}");
    assert_eq!(report["warnings"], Value::Array(vec![]), "{report}");
    let looked = stand.look(&mut Seen::nothing());
    assert_eq!((looked.is_ok(), looked.kinds.get("org_summary")), (true, Some(&6)), "{looked:?}");
    let found = audit::fsck::check(&stand.at("log"), Some(stand.at("published").as_path()), |_, _| {}).await.unwrap();
    assert_eq!(found.findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_writes_no_other_summary_while_the_last_one_is_good() {
    let stand = days().await;
    let before = of_kind(&stand, Kind::OrgSummary).len();
    // Three starts within the quarter of a day that a summary is good for at the least.
    for minutes in [10, 20, 30] {
        stand.put(72 * HOUR + minutes * MINUTE);
        let run = stand.run(Some(DAY)).await;
        run.log.recall_summaries(std::time::Duration::ZERO).await;
        run.asked_by("acme").await;
        run.stop().await;
    }
    assert_eq!(of_kind(&stand, Kind::OrgSummary).len(), before);
    assert_eq!(stand.verify("archive", &stand.archive("short.tar").await).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_runs_sums_up_whoever_comes_anew_and_again_when_it_is_due() {
    let stand = Stand::new();
    let run = stand.run(Some(1_000)).await;
    run.asked_by("acme").await;
    let before = run.log.size();
    let later = async || {
        stand.clock.advance(100);
        (run.log.size() >= before + 3).then_some(())
    };
    acceptance::wait::until("three summaries", later).await.unwrap();
    run.stop().await;
    let (code, report) = stand.verify("log", &stand.at("published"));
    assert_eq!((code, result(&report, "organisation-summaries")), (Some(0), &"passed".into()), "{report}");
    assert!(of_kind(&stand, Kind::OrgSummary).len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_organisation_is_summed_up_more_and_more_rarely_and_soon_when_it_comes_again() {
    let stand = Stand::new();
    let run = stand.run(Some(1_000)).await;
    run.asked_by("acme").await;
    let (before, log) = (run.log.size(), run.log.clone());
    let until = async |size: u64| {
        let later = async || {
            stand.clock.advance(100);
            (log.size() >= size).then_some(())
        };
        acceptance::wait::until("summaries", later).await.unwrap();
    };
    until(before + 10).await;
    let asked = run.log.size();
    run.asked_by("acme").await;
    until(asked + 3).await;
    run.stop().await;
    let again = |entry: &Entry| entry.get("again_ms").and_then(model::Value::as_int);
    let summaries = of_kind(&stand, Kind::OrgSummary);
    let (silent, since) = summaries.split_at(summaries.partition_point(|(index, _)| *index <= asked));
    let said: Vec<Option<i64>> = silent.iter().map(|(_, entry)| again(entry)).collect();
    assert_eq!(said[..10], [[None; 8].as_slice(), &[Some(1_000); 2]].concat(), "{silent:?}");
    let lengths = silent[7..10].iter().map(|(_, entry)| {
        let said = model::summary::Summary::read(entry).unwrap().unwrap();
        said.next.unwrap().millis() - said.time.millis()
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [1_000, 2_000, 4_000]);
    assert!(since.iter().all(|(_, entry)| again(entry).is_none()) && !since.is_empty(), "{since:?}");
    let (code, report) = stand.verify("log", &stand.at("published"));
    assert_eq!((code, result(&report, "organisation-summaries")), (Some(0), &"passed".into()), "{report}");
    assert_eq!(report["warnings"], Value::Array(vec![]), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_runs_on_and_sums_nothing_up_is_found_in_its_log() {
    let stand = days().await;
    let mut seen = Seen::nothing();
    assert!(stand.look(&mut seen).is_ok());
    // Somebody has changed the program: it runs for a day and a half, and a heartbeat every five minutes shows that.
    let run = stand.run(None).await;
    for minutes in (5..36 * 60).step_by(5) {
        stand.put(72 * HOUR + minutes * MINUTE);
        run.append(Kind::Heartbeat, None).await;
    }
    run.stop().await;
    let late = |of: &str| format!("no summary of `{of}` has come since entry");
    let (code, report) = stand.verify("log", &stand.at("published"));
    assert_eq!((code, result(&report, "organisation-summaries")), (Some(1), &"failed".into()), "{report}");
    let told = report["findings"].to_string();
    assert!(told.contains(&late("acme")) && told.contains(&late("bolt")), "{report}");
    assert_eq!(report["findings"].as_array().unwrap().len(), 2, "once each: {report}");
    let told = stand.look(&mut seen).to_json()["findings"].to_string();
    assert!(told.contains(&late("acme")) && told.contains(&late("bolt")), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn summaries_that_are_turned_off_end_and_nobody_is_accused() {
    let stand = days().await;
    stand.put(100 * HOUR);
    let run = stand.run(Some(0)).await;
    let before = run.log.size();
    run.log.recall_summaries(std::time::Duration::ZERO).await;
    acceptance::wait::until("the last summaries", async || (run.log.size() >= before + 2).then_some(())).await.unwrap();
    stand.put(200 * HOUR);
    run.asked_by("acme").await;
    run.stop().await;
    let last = of_kind(&stand, Kind::OrgSummary);
    assert!(last.iter().rev().take(2).all(|(_, entry)| entry.get("next").is_none()));
    let (code, report) = stand.verify("archive", &stand.archive("ended.tar").await);
    assert_eq!((code, result(&report, "organisation-summaries")), (Some(0), &"not-done".into()), "{report}");
    // Once is enough.
    let size = {
        let run = stand.run(Some(0)).await;
        run.log.recall_summaries(std::time::Duration::ZERO).await;
        run.stop().await;
        of_kind(&stand, Kind::OrgSummary).len()
    };
    assert_eq!(size, last.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_sums_up_what_it_finds_at_its_start_and_who_may_read_the_entries_reads_that() {
    let plant = Plant::start().await.unwrap();
    let config = plant.configuration("summed-up", "").unwrap();
    let directory = plant.directory.path().join("summed-up");
    std::fs::create_dir_all(&directory).unwrap();
    let random: audit::Random = Arc::new(runtime::random::fill);
    let origin = "munich.example/summed-up";
    audit::signer::create(&directory.join("checkpoint.key"), origin, &random).unwrap();
    let clock = PutClock::at(Timestamp(START_MS - 3_650 * DAY));
    let (log, _) = Log::open(LogOptions::new(&directory, origin, clock, random)).await.unwrap();
    let of: OrganisationId = "acme".parse().unwrap();
    let denied = [("decision", model::Value::text("deny"))];
    log.append(Draft::new(Kind::Decision, &log.common(), Some(&of), denied, Vec::new()).unwrap()).await.unwrap();
    log.close().await;
    let (_broker, addresses) = tokio::task::block_in_place(|| process::serve(&config, "").unwrap());
    let api = addresses["api"].as_str().unwrap();
    let bearer = format!("Bearer {}", plant.token("auditor"));
    let target = format!("{api}/v1/audit/entries?organisation=acme&kind=org_summary");
    let page = http::get(&target, &[("authorization", &bearer)]).await.unwrap().json().unwrap();
    let entries = page["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{page}");
    let entry = &entries[0]["entry"];
    assert_eq!((&entry["org"], &entry["org_last"], &entry["org_seq"]), (&"acme".into(), &1.into(), &2.into()));
    // It holds nothing of anybody.
    let members: Vec<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["boot", "kind", "next", "nonce", "org", "org_last", "org_prev", "org_seq", "time", "v"]);
}
