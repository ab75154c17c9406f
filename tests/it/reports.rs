//! Every question that comes with the executable, asked of a log that has an answer to each.

use acceptance::process::{Guard, run, serve};
use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http, wait};
use audit::{Log, LogOptions};
use model::entry::{Common, DirectoryRow, Draft, Effect, Kind};
use model::{OrganisationId, Timestamp};
use runtime::SystemClock;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const SERIES: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=10m";
const PLAIN: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";
const MAINTENANCE: Option<&str> = Some("predictive-maintenance");
const QUALITY: Option<&str> = Some("quality-analysis");
const INCIDENT: Option<&str> = Some("incident-investigation");
const AGREEMENT: &str = "acme-maintenance-2026";

/// A policy that comes while the broker serves.
const STOP: &str = r#"
@id("no-tracing")
@reason("tracing_stopped")
forbid (principal, action in Plant::Action::"dataplane", resource)
when { context has purpose && context.purpose == Plant::Purpose::"traceability" };
"#;

/// The policies that the cookbook has under a title.
fn recipe(title: &str) -> String {
    let cookbook = std::fs::read_to_string(format!("{}/../docs/policy-cookbook.md", env!("CARGO_MANIFEST_DIR")));
    let cookbook = cookbook.unwrap();
    let recipe = cookbook.split(&format!("\n## {title}\n")).nth(1).unwrap();
    recipe.split("```cedar\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

/// A broker with a log of its own over the demo's plant, which knows where networks are and what to do in an emergency.
struct Asked {
    plant: Plant,
    process: Guard,
    facts: Value,
    /// Names of reports.
    seen: Mutex<BTreeSet<String>>,
}

impl Asked {
    async fn start() -> Self {
        let plant = Plant::start().await.unwrap();
        let at = |name: &str| plant.directory.path().join(name);
        let change = |name: &str, from: &str, to: &str| {
            let text = std::fs::read_to_string(at(name)).unwrap();
            assert!(text.contains(from), "{name}: {text}");
            std::fs::write(at(name), text.replace(from, to)).unwrap();
        };
        let registry = "policies/plants/munich/registry";
        let privacy = "title = \"Data protection officer\"\nroles = [\"data-protection\"]";
        let leads = "title = \"Data protection officer\"\nroles = [\"data-protection\", \"incident-lead\"]\n\
                     clearance = \"secret\"\nexport_authorisations = [\"dual-use\"]";
        change(&format!("{registry}/principals.toml"), privacy, leads);
        // The demo's issuers say nothing of factors, but who it is.
        let two_factors = "assurance = { claim = \"client_id\", levels = { \"privacy-1\" = 2 } }";
        let login = "[issuer.norden-login]\n";
        change(&format!("{registry}/organisations.toml"), login, &format!("{login}{two_factors}\n"));
        std::fs::write(at("networks.csv"), "network,country\n127.0.0.1,DE\n127.0.2.0/24,AT\n").unwrap();
        std::fs::create_dir(at("own")).unwrap();
        std::fs::write(at("own/own.cedar"), recipe("Break-glass")).unwrap();
        let config = plant.configuration("asked", "countries = { networks_file = \"networks.csv\" }").unwrap();
        change("asked.toml", "policies = \"policies/base\"", "policies = [\"policies/base\", \"own\"]");
        let random: audit::Random = Arc::new(runtime::random::fill);
        let options = LogOptions::new(at("asked"), "munich.example/asked", Arc::new(SystemClock), random);
        let (log, _) = Log::open(options).await.unwrap();
        three_weeks_ago(&log).await;
        log.close().await;
        let (process, facts) = serve(&config, "").unwrap();
        Self { plant, process, facts, seen: Mutex::default() }
    }

    async fn get(&self, caller: &str, from: &str, target: &str, purpose: Option<&str>) -> http::Answer {
        let bearer = format!("Bearer {}", self.plant.token(caller));
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(purpose.map(|purpose| ("millgate-purpose", purpose)));
        let url = format!("{}{target}", self.facts["data"].as_str().unwrap());
        http::get_from(from.parse().unwrap(), &url, &headers).await.unwrap()
    }

    async fn read(&self, caller: &str, path: &str) -> http::Answer {
        let bearer = format!("Bearer {}", self.plant.token(caller));
        let url = format!("{}{path}", self.facts["api"].as_str().unwrap());
        http::get(&url, &[("authorization", &bearer)]).await.unwrap()
    }

    /// What a report says, asked for as the auditor.
    fn report(&self, name: &str, more: &[&str]) -> Value {
        let (code, out, err) = self.command(name, more);
        assert_eq!(code, Some(0), "{name}: {err}");
        self.seen.lock().unwrap().insert(name.to_owned());
        serde_json::from_str(&out).unwrap()
    }

    fn command(&self, name: &str, more: &[&str]) -> (Option<i32>, String, String) {
        let token = self.plant.demo.home.token("auditor");
        let server = ["--url", self.facts["api"].as_str().unwrap(), "--token-file", token.to_str().unwrap(), "--json"];
        let output = run("millgate", &[&["audit", "report", name], &server[..], more].concat()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

/// Somebody reads a signal, as somebody has done before.
async fn three_weeks_ago(log: &Log) {
    let text = model::Value::text;
    let acme = OrganisationId::new("acme").unwrap();
    let common = || Common { time: Timestamp(log.common().time.millis() - 21 * 86_400_000), ..log.common() };
    let members = [
        ("action", text("readSeries")),
        ("agreement", text(AGREEMENT)),
        ("country", text("DE")),
        ("decision", text("allow")),
        ("policies", model::Value::texts(["read-series-under-agreement"])),
        ("principal", text("00000000000000000000000000000001")),
        ("request", text("of before")),
        ("resource", text("Signal/press-3.vibration")),
    ];
    let mut decision = Draft::new(Kind::Decision, &common(), Some(&acme), members, Vec::new()).unwrap();
    decision.effect = Effect::Opens;
    let reference = String::from("00000000000000000000000000000001");
    decision.directory = vec![DirectoryRow { principal: String::from("acme/engineer-1"), reference }];
    let of = log.append(decision).await.unwrap().index;
    let members = [
        ("bytes", model::Value::int(1000)),
        ("ended", text("complete")),
        ("of", model::Value::int(of.try_into().unwrap())),
        ("request", text("of before")),
        ("rows", model::Value::int(10)),
    ];
    let mut outcome = Draft::new(Kind::Outcome, &common(), Some(&acme), members, Vec::new()).unwrap();
    outcome.effect = Effect::Closes(of);
    log.append_outcome(outcome).await.unwrap();
}

/// The groups of a summary, and how many decisions each has.
fn groups(table: &Value) -> BTreeMap<Vec<&str>, i64> {
    assert!(table.get("left_out").is_none_or(|left_out| left_out == 0), "{table}");
    let rows = table["rows"].as_array().unwrap().iter().map(|row| {
        let group: Vec<&str> = row["group"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        assert_eq!(group.len(), table["by"].as_array().unwrap().len());
        (group, row["decisions"].as_i64().unwrap())
    });
    rows.collect()
}

fn expected<const N: usize, const M: usize>(groups: [([&'static str; N], i64); M]) -> BTreeMap<Vec<&'static str>, i64> {
    groups.into_iter().map(|(group, decisions)| (group.to_vec(), decisions)).collect()
}

fn entries(page: &Value) -> &Vec<Value> {
    page["entries"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_report_answers_its_question() {
    let asked = Asked::start().await;
    let vibration = asked.get("acme", "127.0.0.1", SERIES, MAINTENANCE).await;
    let parts = asked.get("acme", "127.0.2.2", "/parts/acme?limit=10", QUALITY).await;
    let incident = asked.get("privacy", "127.0.0.1", "/parts/bolt?limit=10", INCIDENT).await;
    for allowed in [&vibration, &parts, &incident] {
        assert_eq!(allowed.status, 200, "{}", allowed.text());
    }
    assert_eq!(asked.get("acme", "127.0.0.1", SERIES, None).await.reason(), "purpose_required");
    assert_eq!(asked.get("bolt", "127.0.0.1", SERIES, QUALITY).await.status, 404);
    let url = format!("{}{SERIES}", asked.facts["data"].as_str().unwrap());
    assert_eq!(http::get(&url, &[("authorization", "Bearer nonsense")]).await.unwrap().status, 401);
    assert_eq!(asked.read("acme", "/v1/audit/entries").await.status, 403);
    wait::until("the outcomes", async || {
        let page = asked.read("auditor", "/v1/audit/entries?kind=outcome&ended=complete").await.json().ok()?;
        (entries(&page).iter().filter(|found| found["entry"]["org"] != "audax").count() == 4).then_some(())
    })
    .await
    .unwrap();

    // Who read what, and what was used of what is permitted.
    let who = asked.report("who-read", &[]);
    let of_anna = ["acme", "acme/engineer-1"];
    let of_incident = ["norden", "norden/privacy-1", "Dataset/bolt-parts"];
    let read = expected([
        ([of_anna[0], of_anna[1], "Dataset/acme-parts"], 1),
        ([of_anna[0], of_anna[1], "Signal/press-3.vibration"], 2),
        (of_incident, 1),
    ]);
    assert_eq!(groups(&who), read);
    let of_bolt = asked.report("who-read", &["--resource", "Dataset/bolt-parts"]);
    assert_eq!(groups(&of_bolt), expected([(of_incident, 1)]), "who read what of mine");
    let of_acme = asked.report("who-read", &["--organisation", "acme"]);
    assert_eq!(groups(&of_acme).len(), 2);
    let review = asked.report("access-review", &[]);
    let used = expected([
        ([of_anna[0], of_anna[1], "Dataset/acme-parts", AGREEMENT], 1),
        ([of_anna[0], of_anna[1], "Signal/press-3.vibration", AGREEMENT], 2),
        ([of_incident[0], of_incident[1], of_incident[2], ""], 1),
    ]);
    assert_eq!(groups(&review), used);

    // What is new: the signal was read before, and from DE.
    let new = asked.report("new-access", &[]);
    assert_eq!(groups(&new), expected([([of_anna[0], of_anna[1], "Dataset/acme-parts"], 1), (of_incident, 1)]));
    let new = asked.report("new-country", &[]);
    assert_eq!(
        groups(&new),
        expected([
            ([of_anna[0], of_anna[1], "AT"], 1),
            (["bolt", "bolt/quality-1", "DE"], 1),
            (["norden", "norden/privacy-1", "DE"], 1)
        ])
    );

    // What was refused: requests, a login, and a reading of the log.
    let refused = asked.report("refusals", &[]);
    assert_eq!(
        groups(&refused),
        expected([
            (["malformed_token", ""], 1),
            (["not_found", "bolt"], 1),
            (["not_permitted", "acme"], 1),
            (["purpose_required", "acme"], 1)
        ])
    );
    let logins = asked.report("failed-logins", &[]);
    let by_day = groups(&logins);
    let by_reason: Vec<_> = by_day.iter().map(|(group, count)| (group[1], *count)).collect();
    assert_eq!(by_reason, [("malformed_token", 1)]);

    // How much left, by agreement and day.
    let volume = asked.report("volume", &[]);
    let mut sums: BTreeMap<(bool, &str), [i64; 4]> = BTreeMap::new();
    let days: BTreeSet<&str> = groups(&volume).keys().map(|group| group[0]).collect();
    let first = days.first().unwrap();
    assert!(days.len() > 1, "{volume}");
    for row in volume["rows"].as_array().unwrap() {
        let key = (row["group"][0] == *first, row["group"][1].as_str().unwrap());
        let sum = sums.entry(key).or_default();
        for (sum, name) in sum.iter_mut().zip(["decisions", "complete", "bytes", "rows"]) {
            *sum += row[name].as_i64().unwrap();
        }
    }
    assert_eq!(sums[&(true, AGREEMENT)], [1, 1, 1000, 10]);
    let bytes = |answers: &[&http::Answer]| -> i64 {
        answers.iter().map(|answer| i64::try_from(answer.body.len()).unwrap()).sum()
    };
    let [decisions, complete, of_agreement, rows] = sums[&(false, AGREEMENT)];
    assert_eq!((decisions, complete, of_agreement), (2, 2, bytes(&[&vibration, &parts])));
    assert!(rows > 6, "six of the series, and parts: {volume}");
    assert_eq!(sums[&(false, "")][..3], [1, 1, bytes(&[&incident])], "under no agreement");
    assert_eq!(sums.len(), 3);

    // Everything of one principal.
    let of_one = asked.report("principal", &["--principal", "acme/engineer-1"]);
    let mut did: Vec<_> = entries(&of_one)
        .iter()
        .map(|found| {
            assert_eq!(found["principal"], "acme/engineer-1");
            let member = |name: &str| found["entry"][name].as_str().unwrap_or_default();
            (member("kind"), member("decision"), member("resource"))
        })
        .collect();
    did.sort_unstable();
    assert_eq!(
        did,
        [
            ("audit_read", "deny", "AuditScope/*"),
            ("decision", "allow", "Dataset/acme-parts"),
            ("decision", "allow", "Signal/press-3.vibration"),
            ("decision", "allow", "Signal/press-3.vibration"),
            ("decision", "deny", "Signal/press-3.vibration"),
        ]
    );
    let (code, _, err) = asked.command("principal", &[]);
    assert!(code == Some(2) && err.contains("needs `--principal`"), "{code:?} {err}");

    // The emergency, by the cookbook's policy; decisions by another one.
    let emergencies = asked.report("break-glass", &[]);
    let [one] = &entries(&emergencies)[..] else { panic!("{emergencies}") };
    assert_eq!(
        (&one["principal"], &one["entry"]["resource"]),
        (&json!("norden/privacy-1"), &json!("Dataset/bolt-parts"))
    );
    assert_eq!(one["entry"]["purpose"], "incident-investigation");
    let of_purpose = asked.report("break-glass", &["--policy", "purpose-required"]);
    let [one] = &entries(&of_purpose)[..] else { panic!("{of_purpose}") };
    assert_eq!((&one["principal"], &one["entry"]["decision"]), (&json!("acme/engineer-1"), &json!("deny")));
    let used = asked.report("policies-used", &[]);
    let used = groups(&used);
    for (policy, decision, count) in [
        ("break-glass-reads", "allow", 1),
        ("purpose-required", "deny", 1),
        ("read-series-under-agreement", "allow", 2),
        ("read-under-agreement", "allow", 1),
    ] {
        assert_eq!(used.get(&vec![policy, decision]), Some(&count), "{policy}: {used:?}");
    }

    // What changed in the policies.
    let before = asked.report("policy-changes", &[]);
    let [start] = &entries(&before)[..] else { panic!("{before}") };
    assert_eq!(start["entry"]["event"], "activated");
    std::fs::write(asked.plant.directory.path().join("own/later.cedar"), STOP).unwrap();
    wait::until("the new policies in the log", async || {
        let changes = asked.report("policy-changes", &[]);
        entries(&changes).iter().any(|found| found["entry"]["added"] == json!(["no-tracing"])).then_some(())
    })
    .await
    .unwrap();

    // Who read the log; whoever asks is one of them.
    let readers = || {
        let readers = asked.report("audit-readers", &[]);
        let counted = groups(&readers);
        assert_eq!(counted.get(&vec!["acme", "acme/engineer-1", "deny"]), Some(&1), "{readers}");
        assert_eq!(counted.len(), 2);
        counted[&vec!["audax", "audax/auditor-1", "allow"]]
    };
    let before = readers();
    assert!(before > 15, "{before}");
    assert_eq!(readers(), before + 1);

    // What is open at a moment, with a source that does not go on.
    assert_eq!(entries(&asked.report("open", &[])).len(), 0);
    let stall = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{".to_vec();
    let source = Source::start(None, Behaviour::SayAndHang(stall)).await.unwrap();
    let sources = asked.plant.directory.path().join("policies/plants/munich/catalog/sources.toml");
    let text = std::fs::read_to_string(&sources).unwrap();
    let elsewhere = text.replace(&asked.plant.demo.plant.to_string(), &source.address.to_string());
    assert_ne!(text, elsewhere);
    std::fs::write(&sources, elsewhere).unwrap();
    let url = format!("{}{PLAIN}", asked.facts["data"].as_str().unwrap());
    let bearer = format!("Bearer {}", asked.plant.token("acme"));
    let caller = tokio::spawn(async move {
        // Until the broker has taken the new source over, the old one answers.
        loop {
            let headers = [("authorization", bearer.as_str()), ("millgate-purpose", "predictive-maintenance")];
            let _ = http::get(&url, &headers).await;
        }
    });
    wait::until("the question at the source", async || (source.asked() == 1).then_some(())).await.unwrap();
    let open = asked.report("open", &[]);
    let [one] = &entries(&open)[..] else { panic!("{open}") };
    assert_eq!((&one["principal"], &one["entry"]["decision"]), (&json!("acme/engineer-1"), &json!("allow")));
    assert_eq!((&one["entry"]["route"], &one["entry"]["country"]), (&json!("plain"), &json!("DE")));
    let at = one["entry"]["time"].as_str().unwrap();
    let earlier = Timestamp::parse_rfc3339(at).unwrap().plus_millis(-60_000).to_rfc3339();
    assert_eq!(entries(&asked.report("open", &["--at", &earlier])).len(), 0, "nothing was a minute before");
    caller.abort();

    // None is left out.
    let output = run("millgate", &["audit", "report", "--json"]).unwrap();
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let all: BTreeSet<String> = all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(*asked.seen.lock().unwrap(), all);
    let Asked { plant, mut process, .. } = asked;
    process.kill();
    plant.stop().await;
}
