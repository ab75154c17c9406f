//! Where requests come from: in entries, for policies, and in questions to the log.

use acceptance::process::{Guard, executable, run, serve};
use acceptance::{Plant, http, wait};
use audit::{Log, LogOptions};
use model::entry::{Common, DirectoryRow, Draft, Kind};
use model::{Clock as _, OrganisationId, Timestamp};
use runtime::SystemClock;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

const TARGET: &str = "/series/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=10m";

/// The plant's own list; the broker is reached from all of 127.0.0.0/8.
const LIST: &str = "network,country\n\
    127.0.0.1,DE      # where the plant is\n\
    127.0.2.0/24,AT   # bolt's VPN, which the vendor takes for somewhere else\n";
/// What a vendor says, in its own format.
const DATABASE: &str = "127.0.2.0/23,US\n127.0.4.0/24,SE\n2001:db8::/32,FI\n";

const AT_HOME: &str = r#"
@id("at-home")
@title("Series are read from where the contract says")
@reason("abroad")
@ask("come from Germany, or by the plant's VPN")
forbid (principal, action == Plant::Action::"readSeries", resource)
unless { context has country && ["DE", "AT"].contains(context.country) };
"#;

/// A database in the MaxMind DB format, by a writer that is not ours.
fn write_database(path: &Path, networks: &str) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(tests.join(".tools/venv/bin/python"));
    command.arg(tests.join("tools/countries.py")).arg(path).stdin(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(networks.as_bytes()).unwrap();
    let status = process.wait().unwrap();
    assert!(status.success(), "`countries.py` failed; `bash tests/tools/install` installs what it needs");
}

/// A broker that knows where networks are, over the demo's plant and under a policy more.
struct Abroad {
    plant: Plant,
    config: PathBuf,
    process: Guard,
    facts: Value,
}

impl Abroad {
    async fn start(policy: &str, prepare: impl AsyncFnOnce(&Plant)) -> Self {
        let plant = Plant::start().await.unwrap();
        let at = |name: &str| plant.directory.path().join(name);
        std::fs::write(at("networks.csv"), LIST).unwrap();
        write_database(&at("countries.mmdb"), DATABASE);
        std::fs::create_dir(at("own")).unwrap();
        std::fs::write(at("own/own.cedar"), policy).unwrap();
        let more = "countries = { networks_file = \"networks.csv\", database_file = \"countries.mmdb\" }";
        let config = plant.configuration("abroad", more).unwrap();
        let text = std::fs::read_to_string(&config).unwrap();
        let both = text.replace("policies = \"policies/base\"", "policies = [\"policies/base\", \"own\"]");
        assert_ne!(text, both);
        std::fs::write(&config, both).unwrap();
        prepare(&plant).await;
        let (process, facts) = serve(&config, "").unwrap();
        Self { plant, config, process, facts }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.plant.directory.path().join(name)
    }

    fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap()
    }

    /// A series, asked for by one of the demo's callers from this address.
    async fn get(&self, caller: &str, from: &str, headers: &[(&str, &str)]) -> http::Answer {
        let bearer = format!("Bearer {}", self.plant.token(caller));
        let purpose = if caller == "acme" { "predictive-maintenance" } else { "quality-analysis" };
        let mut all = vec![("authorization", bearer.as_str()), ("millgate-purpose", purpose)];
        all.extend_from_slice(headers);
        let url = format!("{}{TARGET}", self.fact("data"));
        http::get_from(from.parse().unwrap(), &url, &all).await.unwrap()
    }

    async fn ask(&self, caller: &str, from: &str, path: &str) -> http::Answer {
        let bearer = format!("Bearer {}", self.plant.token(caller));
        let url = format!("{}{path}", self.fact("api"));
        http::get_from(from.parse().unwrap(), &url, &[("authorization", &bearer)]).await.unwrap()
    }

    /// What the auditor sees.
    async fn entries(&self, query: &str) -> Vec<Value> {
        let answer = self.ask("auditor", "127.0.0.1", &format!("/v1/audit/entries?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.json().unwrap();
        page["entries"].as_array().unwrap().iter().map(|found| found["entry"].clone()).collect()
    }

    /// Where the entry about the request says that it came from.
    async fn country_of(&self, answer: &http::Answer) -> Value {
        let entries = self.entries(&format!("request={}&kind=decision", answer.request_id())).await;
        entries[0].get("country").cloned().unwrap_or_default()
    }

    /// Exit status and the JSON that a command prints, asking as the auditor.
    fn millgate(&self, arguments: &[&str], more: &[&str]) -> (Option<i32>, Value) {
        let token = self.plant.demo.home.token("auditor");
        let server = ["--url", self.fact("api"), "--token-file", token.to_str().unwrap(), "--json"];
        let output = run("millgate", &[arguments, &server, more].concat()).unwrap();
        let read = serde_json::from_slice(&output.stdout);
        assert!(read.is_ok(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        (output.status.code(), read.unwrap())
    }

    async fn stop(mut self) -> tempfile::TempDir {
        self.process.kill();
        self.plant.stop().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_the_country_of_its_connection_and_policies_decide_by_it() {
    let broker = Abroad::start(AT_HOME, async |_| {}).await;
    for (from, status, country) in [
        ("127.0.0.1", 200, json!("DE")),
        // The list counts before the database, and its longest network before the others.
        ("127.0.2.9", 200, json!("AT")),
        ("127.0.3.9", 403, json!("US")),
        ("127.0.4.4", 403, json!("SE")),
        // Nobody knows.
        ("127.9.9.9", 403, Value::Null),
    ] {
        let answer = broker.get("acme", from, &[]).await;
        assert_eq!(answer.status, status, "{from}: {}", answer.text());
        assert_eq!(broker.country_of(&answer).await, country, "{from}");
        if status == 403 {
            assert_eq!(answer.reason(), "abroad");
            assert!(answer.text().contains("come from Germany"), "{}", answer.text());
            assert!(!answer.text().contains("SE") && !answer.text().contains("127.0"), "{}", answer.text());
        }
    }
    // What a caller says of its way here is nothing.
    for name in ["x-forwarded-for", "forwarded", "x-real-ip", "cf-ipcountry", "true-client-ip"] {
        let value = if name == "forwarded" { "for=127.0.0.1" } else { "127.0.0.1" };
        let answer = broker.get("acme", "127.0.4.4", &[(name, value)]).await;
        assert_eq!((answer.status, broker.country_of(&answer).await), (403, json!("SE")), "{name}");
    }
    // Refused logins and readings have it too; outcomes are of their decision.
    let stranger = [("authorization", "Bearer nonsense")];
    let url = format!("{}{TARGET}", broker.fact("data"));
    let answer = http::get_from("127.0.4.7".parse().unwrap(), &url, &stranger).await.unwrap();
    assert_eq!(answer.status, 401);
    let refused = broker.entries("kind=refused_login").await;
    assert_eq!(refused[0]["country"], "SE", "{}", refused[0]);
    assert!(refused[0].get("org").is_none());
    broker.ask("auditor", "127.0.2.1", "/v1/audit/entries?limit=1").await;
    let readings = broker.entries("kind=audit_read&country=AT").await;
    assert_eq!((readings.len(), &readings[0]["decision"]), (1, &json!("allow")));
    let unknown = broker.ask("auditor", "127.0.2.1", "/v1/nothing").await;
    let unknown = broker.entries(&format!("request={}", unknown.request_id())).await;
    assert_eq!((&unknown[0]["reasons"], &unknown[0]["country"]), (&json!(["not_found"]), &json!("AT")));
    assert!(broker.entries("kind=outcome").await.iter().all(|outcome| outcome.get("country").is_none()));

    // The first entry says by what, and nothing in the log says from which address.
    let opening = broker.entries("kind=admin&order=oldest").await;
    assert_eq!(opening[0]["networks"].as_str().map(str::len), Some(64), "{}", opening[0]);
    let all = broker.entries("limit=1000").await;
    assert!(all.iter().all(|entry| !entry.to_string().contains("127.")), "addresses stand behind commitments");

    // Asked for, by either way; nothing else is a country.
    let swedish = broker.entries("country=SE&decision=deny").await;
    assert_eq!(swedish.len(), 6);
    let (code, found) = broker.millgate(&["audit", "query", "--country", "SE"], &["--kind", "decision"]);
    assert_eq!((code, found["entries"].as_array().unwrap().len()), (Some(0), 6));
    let (_, table) = broker.millgate(&["audit", "summary", "--by", "country,decision"], &["--kind", "decision"]);
    let cells: Vec<(String, i64)> = table["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["group"].as_array().unwrap().iter().map(|g| g.as_str().unwrap()).collect(),
                row["decisions"].as_i64().unwrap(),
            )
        })
        .collect();
    let expected = [("SEdeny", 6), ("ATallow", 1), ("DEallow", 1), ("USdeny", 1), ("deny", 1)];
    let mut expected: Vec<_> = expected.map(|(group, n)| (group.to_owned(), n)).into();
    let mut cells = cells;
    expected.sort();
    cells.sort();
    assert_eq!(cells, expected);
    for bad in ["se", "SWE", "127.0.0.1"] {
        let answer = broker.ask("auditor", "127.0.0.1", &format!("/v1/audit/entries?country={bad}")).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_parameter"), "{bad}");
    }

    // Every decision is made again from its entry, and policies without countries would have let eight more in.
    let config = broker.config.to_str().unwrap().to_owned();
    let (code, report) = broker.millgate(&["policy", "replay", "--since", "1h", "--config", &config], &[]);
    assert_eq!(
        (code, &report["findings_total"], &report["not_replayable"]),
        (Some(0), &json!(0), &json!([])),
        "{report}"
    );
    let base = broker.at("policies/base");
    let (code, report) = broker.millgate(
        &["policy", "replay", "--since", "1h", "--config", &config, "--candidate", base.to_str().unwrap()],
        &[],
    );
    let gained: u64 =
        report["changes"].as_array().unwrap().iter().map(|change| change["count"].as_u64().unwrap()).sum();
    assert_eq!((code, gained), (Some(1), 8), "{report}");

    // Why, of a recorded request.
    let denied = broker.get("acme", "127.0.4.4", &[]).await;
    let explain = ["policy", "explain", denied.request_id(), "--config", &config];
    let (code, said) = broker.millgate(&explain, &[]);
    assert_eq!((code, &said["decided"]["reasons"]), (Some(1), &json!(["abroad"])), "{said}");
    assert!(said["asked"].as_str().unwrap().ends_with("from SE"), "{said}");
    let (code, said) = broker.millgate(&explain, &["--country", "DE"]);
    assert_eq!((code, &said["decided"]["decision"]), (Some(0), &json!("permit")), "{said}");

    let key = broker.fact("log_key").to_owned();
    let directory = broker.stop().await;
    let published = directory.path().join("abroad/published");
    let verified = Command::new(executable("millgate-verify").unwrap())
        .args(["log", published.to_str().unwrap(), "--key", &key])
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// A decision of `who` some days ago.
fn earlier(log: &Log, days: i64, (organisation, who, reference): (&str, &str, &str), country: Option<&str>) -> Draft {
    let time = Timestamp(log.common().time.millis() - days * 86_400_000);
    let mut members = vec![
        ("action", model::Value::text("readSeries")),
        ("decision", model::Value::text("deny")),
        ("principal", model::Value::text(reference)),
        ("reasons", model::Value::texts(["not_permitted"])),
        ("request", model::Value::text("r")),
    ];
    members.extend(country.map(|country| ("country", model::Value::text(country))));
    let organisation = OrganisationId::new(organisation).unwrap();
    let common = Common { time, ..log.common() };
    let mut draft = Draft::new(Kind::Decision, &common, Some(&organisation), members, Vec::new()).unwrap();
    draft.directory = vec![DirectoryRow { principal: who.to_owned(), reference: reference.to_owned() }];
    draft
}

/// What the report has: who came from where.
fn pairs(table: &Value) -> Vec<(&str, &str)> {
    let rows = table["rows"].as_array().unwrap();
    let mut pairs: Vec<_> =
        rows.iter().map(|row| (row["group"][1].as_str().unwrap(), row["group"][2].as_str().unwrap())).collect();
    pairs.sort_unstable();
    pairs
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_access_from_a_new_country_is_a_saved_question() {
    let broker = Abroad::start("", async |plant| {
        // So that acme's engineer may read what is acme's.
        let principals = plant.directory.path().join("policies/plants/munich/registry/principals.toml");
        let text = std::fs::read_to_string(&principals).unwrap();
        let engineer = "[principal.\"acme/engineer-1\"]";
        std::fs::write(&principals, text.replace(engineer, &format!("{engineer}\nroles = [\"auditor\"]"))).unwrap();
        let random: audit::Random = Arc::new(runtime::random::fill);
        let directory = plant.directory.path().join("abroad");
        let options = LogOptions::new(&directory, "munich.example/abroad", Arc::new(SystemClock), random);
        let (log, _) = Log::open(options).await.unwrap();
        let anna = ("acme", "acme/engineer-1", "00000000000000000000000000000001");
        let otto = ("bolt", "bolt/quality-1", "00000000000000000000000000000002");
        for (days, who, country) in
            [(30, anna, Some("DE")), (29, otto, Some("AT")), (20, anna, None), (3, otto, Some("SE"))]
        {
            log.append(earlier(&log, days, who, country)).await.unwrap();
        }
        log.close().await;
    })
    .await;
    for (caller, from) in [
        ("acme", "127.0.0.1"),
        ("acme", "127.0.4.4"),
        ("acme", "127.0.3.3"),
        ("bolt", "127.0.2.2"),
        ("bolt", "127.0.0.1"),
    ] {
        broker.get(caller, from, &[]).await;
    }
    // Of the last seven days; DE, AT and an unknown network are old news for whom they were seen of before.
    let expected =
        [("acme/engineer-1", "SE"), ("acme/engineer-1", "US"), ("bolt/quality-1", "DE"), ("bolt/quality-1", "SE")];
    let (code, table) = broker.millgate(&["audit", "report", "new-country"], &[]);
    assert_eq!((code, pairs(&table)), (Some(0), expected.into()), "{table}");
    // Since another day, another question.
    let since = Timestamp(SystemClock.now().millis() - 86_400_000).to_rfc3339();
    let (_, table) = broker.millgate(&["audit", "report", "new-country", "--from", since.get(..10).unwrap()], &[]);
    assert_eq!(pairs(&table), expected[..3], "{table}");

    // Somebody who may read one organisation's sees that one alone.
    let token = broker.plant.demo.home.token("acme");
    let own = |organisation: &[&str]| {
        let server = ["audit", "report", "new-country", "--url", broker.fact("api"), "--json", "--token-file"];
        run("millgate", &[&server[..], &[token.to_str().unwrap()], organisation].concat()).unwrap()
    };
    let output = own(&["--organisation", "acme"]);
    let table: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(pairs(&table), expected[..2], "{table}");
    for organisation in [&[][..], &["--organisation", "bolt"]] {
        let output = own(organisation);
        assert!(!output.status.success() && output.stdout.is_empty(), "{organisation:?}");
    }
    let entries =
        broker.ask("acme", "127.0.0.1", "/v1/audit/entries?organisation=acme&country=SE").await.json().unwrap();
    assert_eq!(entries["entries"].as_array().unwrap().len(), 1);
    let entries =
        broker.ask("acme", "127.0.0.1", "/v1/audit/entries?organisation=acme&country=AT").await.json().unwrap();
    assert_eq!(entries["entries"], json!([]), "bolt's are bolt's");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_count_within_a_moment_and_bad_ones_keep_what_was() {
    let broker = Abroad::start(AT_HOME, async |_| {}).await;
    let status = async |from: &str| broker.get("acme", from, &[]).await.status;
    let until = async |from: &str, expected: u16| {
        wait::until("the new networks", async || (status(from).await == expected).then_some(())).await.unwrap();
    };
    let refused = async |n: usize| {
        wait::until("the refusal", async || {
            let entries = broker.entries("kind=admin&order=oldest").await;
            let of = |entry: &Value| entry["event"] == "refused" && entry["folder"] == "networks";
            let found: Vec<Value> = entries.into_iter().filter(of).collect();
            (found.len() >= n).then_some(found)
        })
        .await
        .unwrap()
    };
    assert_eq!((status("127.0.0.1").await, status("127.0.4.4").await), (200, 403));
    let list = broker.at("networks.csv");
    std::fs::write(&list, format!("{LIST}127.0.4.0/24,AT\n")).unwrap();
    until("127.0.4.4", 200).await;
    let activated = broker.entries("kind=admin&order=newest").await;
    assert_eq!((&activated[0]["event"], &activated[0]["folder"]), (&json!("activated"), &json!("networks")));
    assert_eq!(activated[0]["previous"], broker.entries("kind=admin&order=oldest").await[0]["networks"]);

    // A typo, with its line; then a database that is none.
    std::fs::write(&list, format!("{LIST}127.0.4.0/24,UK\n")).unwrap();
    let found = refused(1).await;
    let problem = found[0]["problems"][0].as_str().unwrap();
    assert!(problem.contains("networks.csv:4: `UK` is not a country"), "{problem}");
    assert_eq!((status("127.0.4.4").await, status("127.0.0.1").await), (200, 200), "what was goes on");
    let database = broker.at("countries.mmdb");
    let whole = std::fs::read(&database).unwrap();
    std::fs::write(&list, LIST).unwrap();
    until("127.0.4.4", 403).await;
    std::fs::write(&database, &whole[..whole.len() / 2]).unwrap();
    let found = refused(2).await;
    assert!(found[1]["problems"][0].as_str().unwrap().contains("countries.mmdb: cannot be used"), "{}", found[1]);
    assert_eq!(broker.country_of(&broker.get("acme", "127.0.4.4", &[]).await).await, "SE");
    std::fs::remove_file(&database).unwrap();
    refused(3).await;
    assert_eq!(broker.country_of(&broker.get("acme", "127.0.4.4", &[]).await).await, "SE");
    let metrics = http::get(&format!("{}/metrics", broker.fact("operator")), &[]).await.unwrap().text();
    let line = "millgate_reloads_total{folder=\"networks\",result=\"refused\"} 3";
    assert!(metrics.contains(line), "{metrics}");

    // Another one from the vendor.
    write_database(&broker.at("new.mmdb"), "127.0.4.0/24,DE\n");
    std::fs::rename(broker.at("new.mmdb"), &database).unwrap();
    until("127.0.4.4", 200).await;

    // At a start there is nothing that was: it says what is wrong and where.
    let (list_text, config) = ("127.0.0.1,Germany\n", broker.config.clone());
    std::fs::write(&list, list_text).unwrap();
    let checked = run("millgate", &["check", "--config", config.to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(said.contains("networks.csv:1: `Germany` is not a country"), "{said}");
    let directory = broker.stop().await;
    let started = run("millgate", &["serve", "--config", config.to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(!started.status.success() && said.contains("the files in `[countries]` cannot be used"), "{said}");
    assert!(said.contains("networks.csv:1: `Germany` is not a country"), "{said}");
    drop(directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_answer_ends_when_its_network_turns_out_to_be_elsewhere() {
    let policy = r#"
@id("auditors-at-home")
@reason("abroad")
forbid (principal, action == Plant::Action::"readAudit", resource)
unless { context has country && ["DE", "AT", "FR"].contains(context.country) };
"#;
    let list = format!("{LIST}127.0.5.0/24,FR\n");
    let broker = Abroad::start(policy, async |plant| {
        std::fs::write(plant.directory.path().join("networks.csv"), &list).unwrap();
    })
    .await;
    let path = "/v1/audit/entries?follow=true";
    let denied = broker.ask("auditor", "127.0.4.4", path).await;
    assert_eq!((denied.status, denied.reason().as_str()), (403, "abroad"));
    let bearer = format!("Bearer {}", broker.plant.token("auditor"));
    let url = format!("{}{path}", broker.fact("api"));
    let follow = |from: &'static str| {
        let (url, bearer) = (url.clone(), bearer.clone());
        tokio::spawn(
            async move { http::get_from(from.parse().unwrap(), &url, &[("authorization", &bearer)]).await.is_ok() },
        )
    };
    let (away, other) = (follow("127.0.2.9"), follow("127.0.5.5"));
    let tail = async |country: &str| {
        wait::until("a tail", async || {
            let entries = broker.entries(&format!("kind=audit_read&decision=allow&country={country}")).await;
            Some(entries.first()?["request"].as_str()?.to_owned())
        })
        .await
        .unwrap()
    };
    let request = tail("AT").await;
    tail("FR").await;
    std::fs::write(broker.at("networks.csv"), list.replace(",AT", ",CH")).unwrap();
    let outcome = wait::until("its end", async || {
        broker.entries(&format!("request={request}&kind=outcome")).await.into_iter().next()
    });
    assert_eq!(outcome.await.unwrap()["ended"], "withdrawn");
    assert!(away.await.is_ok(), "and the answer is over");
    assert!(!other.is_finished(), "the other one goes on");
    other.abort();
    broker.stop().await;
}

/// Nobody's country stands in a log whose plant did not ask for it, and policies that ask for one there are pointed out.
#[tokio::test(flavor = "multi_thread")]
async fn without_files_there_are_no_countries_and_policies_that_wait_for_one_are_pointed_out() {
    let plant = Plant::start().await.unwrap();
    let answer = plant.get("acme", TARGET, &[("millgate-purpose", "predictive-maintenance")]).await.unwrap();
    assert_eq!(answer.status, 200);
    plant.closed(answer.request_id()).await.unwrap();
    let entries = plant.audit("limit=1000").await.unwrap();
    assert!(entries.iter().all(|entry| entry.get("country").is_none() && entry.get("networks").is_none()));
    let config = plant.configuration("plain", "").unwrap();
    let check = || {
        let output = run("millgate", &["check", "--config", config.to_str().unwrap()]).unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(check().0, Some(0), "{}", check().1);
    std::fs::write(plant.directory.path().join("policies/base/home.cedar"), AT_HOME).unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(1));
    assert!(said.contains("home.cedar:2: policy `at-home` asks where a request comes from"), "{said}");
    plant.stop().await;
}
