//! Series on a ladder: the finest step that is permitted, whatever the source, and no way from coarse to fine.

use acceptance::postgres::{Postgres, READER, READER_PASSWORD};
use acceptance::providers::Server;
use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http};
use serde_json::Value;
use std::collections::BTreeMap;

const FROM_MS: i64 = 1_795_334_400_000;

/// The raw values of the day: one a second, for an hour from 2026-11-22T08:00Z.
fn raw(second: i64) -> f64 {
    let mixed = (second.wrapping_mul(2_654_435_761) % 1_000) as f64;
    (mixed / 10.0 + 20.0).floor()
}

const ROUTES: &str = r#"
[source.store]
URL

[signal.stored]
product = "press-3-telemetry"
equipment = "press-3"
source = "store"
address = "PL1.PR03.VIB_RMS"
unit = "mm/s"
class = "process.condition"
sensitivity = "confidential"

[route.ladder]
method = "GET"
path = "/ladder/{signal}"
source = "store"
signal = "{signal}"
parameters.signal = { type = "signal" }
UPSTREAM
[route.ladder.series]
steps = [STEPS]
aggregates = ["mean", "min", "max", "count"]
HOW
"#;

struct Site {
    plant: Plant,
    _source: Held,
}

#[expect(dead_code, reason = "held until the end")]
enum Held {
    Influx(Server),
    Postgres(Postgres),
    Values(Source),
}

impl Site {
    /// Without the first value, and with steps of sixty at least.
    async fn with_few() -> Self {
        Self::influxdb_from(1, "values_min = 60", "\"1m\"").await
    }

    async fn influxdb() -> Self {
        Self::influxdb_from(0, "", "\"raw\", \"1s\", \"10s\", \"1m\", \"10m\", \"1h\"").await
    }

    async fn influxdb_from(first: i64, how: &str, steps: &str) -> Self {
        let influx = Server::start("influxdb.mjs", &["--database", "plant"]).unwrap();
        let lines: String = (first..3_600)
            .map(|n| format!("PL1.PR03.VIB_RMS value={} {}\n", raw(n), (FROM_MS + n * 1_000) * 1_000_000))
            .collect();
        let url = format!("{}/write?db=plant", influx.text("/url"));
        let answer =
            http::send("POST", &url, &[("authorization", &influx.basic("admin"))], lines.into()).await.unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
        let source = format!(
            "url = \"{}\"\nusername = \"{}\"\npassword = {{ file = \"SECRET\" }}",
            influx.text("/url"),
            influx.text("/reader/username")
        );
        let secret = influx.text("/reader/password").to_owned();
        let plant = plant_with(&source, &secret, "", &format!("database = \"plant\"\n{how}"), steps).await;
        Self { plant, _source: Held::Influx(influx) }
    }

    async fn postgres() -> Self {
        let rows: Vec<String> = (0..3_600)
            .map(|n| format!("('PL1.PR03.VIB_RMS', to_timestamp({}), {})", FROM_MS / 1_000 + n, raw(n)))
            .collect();
        let schema = format!(
            "CREATE TABLE history (tag text, ts timestamptz, v float8); INSERT INTO history VALUES {};
             INSERT INTO history VALUES ('PL1.PR03.VIB_RMS', to_timestamp({}), 'NaN'), ('OTHER', to_timestamp({}), 9e9);
             GRANT SELECT ON history TO {READER}",
            rows.join(","),
            FROM_MS / 1_000 + 5,
            FROM_MS / 1_000 + 5,
        );
        let postgres = Postgres::start(&schema).await.unwrap();
        let source = format!(
            "url = \"postgresql://127.0.0.1:{}/plant\"\nusername = \"{READER}\"\npassword = {{ file = \"SECRET\" }}\ntls = false",
            postgres.port
        );
        let how = "sql = \"SELECT ts AS time, v AS value FROM history WHERE tag = {signal.address} AND ts >= {from} AND ts < {to}\"";
        let plant = plant(&source, READER_PASSWORD, "", how).await;
        Self { plant, _source: Held::Postgres(postgres) }
    }

    /// A system that knows only what it measured.
    async fn values() -> Self {
        let rows: Vec<String> = (0..3_600)
            .map(|n| format!(r#"{{"at":{},"v":{},"who":"inspector"}}"#, FROM_MS / 1_000 + n, raw(n)))
            .collect();
        let body = format!(r#"{{"tag":"PL1.PR03.VIB_RMS","data":{{"points":[{}]}}}}"#, rows.join(","));
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let source = Source::start(None, Behaviour::Say([head, body].concat().into_bytes())).await.unwrap();
        let upstream = r#"upstream = { path = "/v", query = { tag = "{signal.address}", from = "{from|rfc3339}", to = "{to|rfc3339}" } }"#;
        let how = r#"answer = { rows = "data.points", time = "at", value = "v", time_unit = "s" }"#;
        let plant = plant(&format!("url = \"http://{}\"", source.address), "x", upstream, how).await;
        Self { plant, _source: Held::Values(source) }
    }

    async fn get(&self, query: &str) -> http::Answer {
        self.plant
            .get("acme", &format!("/ladder/stored?{query}"), &[("millgate-purpose", "quality-analysis")])
            .await
            .unwrap()
    }

    /// Rows by their time, of an answer that is one.
    async fn rows(&self, from: &str, to: &str, resolution: &str) -> BTreeMap<i64, Vec<f64>> {
        let answer = self.get(&format!("from=2026-11-22T{from}Z&to=2026-11-22T{to}Z&resolution={resolution}")).await;
        assert_eq!(answer.status, 200, "{from} {to} {resolution}: {}", answer.text());
        let answer = answer.json().unwrap();
        let row = |row: &Value| {
            let row = row.as_array().unwrap();
            (row[0].as_i64().unwrap(), row[1..].iter().map(|cell| cell.as_f64().unwrap()).collect())
        };
        answer["values"].as_array().unwrap().iter().map(row).collect()
    }
}

/// The demo's plant, with `source` and a ladder of its signal `stored`.
async fn plant(source: &str, secret: &str, upstream: &str, how: &str) -> Plant {
    plant_with(source, secret, upstream, how, "\"raw\", \"1s\", \"10s\", \"1m\", \"10m\", \"1h\"").await
}

async fn plant_with(source: &str, secret: &str, upstream: &str, how: &str, steps: &str) -> Plant {
    Plant::start_with(|dir| {
        let file = dir.join("ladder.secret");
        std::fs::write(&file, secret)?;
        let routes = ROUTES
            .replace("URL", source)
            .replace("SECRET", &file.display().to_string())
            .replace("UPSTREAM", upstream)
            .replace("HOW", how)
            .replace("STEPS", steps);
        Ok(std::fs::write(dir.join("policies/plants/munich/catalog/ladder.toml"), routes)?)
    })
    .await
    .unwrap()
}

fn expected(step: i64) -> BTreeMap<i64, Vec<f64>> {
    let steps = (0..3_600 / step).map(|n| {
        let values: Vec<f64> = (n * step..(n + 1) * step).map(raw).collect();
        let count = values.len() as f64;
        let (min, max) =
            (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
        (FROM_MS + n * step * 1_000, vec![values.iter().sum::<f64>() / count, min, max, count])
    });
    steps.collect()
}

fn same(got: &BTreeMap<i64, Vec<f64>>, expected: &BTreeMap<i64, Vec<f64>>) {
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (ms, cells) in got {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
        assert!(cells.len() == 4 && cells.iter().zip(&expected[ms]).all(near), "{ms}: {cells:?} {:?}", expected[ms]);
    }
}

/// What holds whatever the source is.
async fn is_a_ladder(site: Site) {
    let answer = site.get("from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z").await;
    assert_eq!((answer.status, answer.header("millgate-view")), (200, "coarse;resolution=\"1m\""), "{}", answer.text());
    let finest = answer.json().unwrap();
    assert_eq!(finest["columns"], serde_json::json!(["time", "mean", "min", "max", "count"]));
    assert_eq!(
        (&finest["resolution"], &finest["signal"], &finest["unit"]),
        (&"1m".into(), &"stored".into(), &"mm/s".into())
    );
    assert!(!answer.text().contains("PL1") && !answer.text().contains("inspector"), "{}", answer.text());
    let entries = site.plant.closed(answer.request_id()).await.unwrap();
    assert_eq!((&entries[1]["view"], &entries[1]["rows"]), (&"coarse".into(), &60.into()));

    let window = ("08:00:00", "09:00:00");
    let minutes = site.rows(window.0, window.1, "1m").await;
    same(&minutes, &expected(60));
    same(&site.rows(window.0, window.1, "10m").await, &expected(600));
    same(&site.rows(window.0, window.1, "1h").await, &expected(3_600));
    for finer in ["raw", "1s", "10s"] {
        let refused = site.get(&format!("from=2026-11-22T08:00:00Z&to=2026-11-22T08:10:00Z&resolution={finer}")).await;
        assert_eq!((refused.status, refused.reason().as_str()), (403, "resolution_too_fine"), "{finer}");
    }
    to_the_raw_values_is_no_way(&site, &minutes).await;

    // The plant's own people see what was measured.
    let own =
        site.plant.get("analytics", "/ladder/stored?from=2026-11-22T08:00:00Z&to=2026-11-22T08:00:04Z", &[]).await;
    let own = own.unwrap();
    assert_eq!((own.status, own.header("millgate-view")), (200, "whole;resolution=\"raw\""), "{}", own.text());
    let values = own.json().unwrap()["values"].clone();
    let measured: Vec<(i64, f64)> = (0..4).map(|n| (FROM_MS + n * 1_000, raw(n))).collect();
    let got: Vec<(i64, f64)> =
        values.as_array().unwrap().iter().map(|v| (v[0].as_i64().unwrap(), v[1].as_f64().unwrap())).collect();
    assert_eq!(got, measured);
    site.plant.stop().await;
}

/// Somebody who moves the window, takes differences and combines aggregates learns no more than the minutes say.
async fn to_the_raw_values_is_no_way(site: &Site, minutes: &BTreeMap<i64, Vec<f64>>) {
    // Too much of a step is refused, and no way to a coarser one that was not offered.
    for window in
        ["from=2026-11-14T08:01:00Z&to=2026-11-22T09:59:00Z", "from=2026-11-01T00:00:00Z&to=2026-11-22T08:00:00Z"]
    {
        let answer = site.get(window).await;
        assert!(answer.status == 403 && answer.text().contains("window_too_wide"), "{window}: {}", answer.text());
    }
    // Windows that begin and end within a minute: each gives whole minutes, the same ones as before.
    for (from, to) in [
        ("08:00:00.001", "08:03:00"),
        ("08:00:01", "08:02:59.999"),
        ("08:00:59.999", "08:02:00.001"),
        ("08:01:00", "08:02:01"),
        ("08:00:30", "08:02:30"),
    ] {
        for (ms, cells) in site.rows(from, to, "1m").await {
            assert_eq!((ms % 60_000, &cells), (0, &minutes[&ms]), "{from} {to}");
        }
    }
    // A window within a minute has no row, whichever step it names.
    for query in [
        "from=2026-11-22T08:00:01Z&to=2026-11-22T08:00:59Z",
        "from=2026-11-22T08:00:00Z&to=2026-11-22T08:00:01Z&resolution=1m",
        "from=2026-11-22T08:00:30Z&to=2026-11-22T08:01:30Z&resolution=1m",
    ] {
        let answer = site.get(query).await;
        assert!(answer.status >= 400 && !answer.text().contains("values"), "{query}: {}", answer.text());
    }
    // Ten minutes less nine are the tenth, which was to be had anyway: steps are made of whole finer ones.
    let tens = site.rows("08:00:00", "09:00:00", "10m").await;
    let of_nine: f64 = (0..9).map(|n| minutes[&(FROM_MS + n * 60_000)][0] * 60.0).sum();
    let difference = tens[&FROM_MS][0] * 600.0 - of_nine;
    assert!((difference / 60.0 - minutes[&(FROM_MS + 9 * 60_000)][0]).abs() < 1e-6, "{difference}");
    // Nobody chooses by a value, names an aggregate or a step between two of the ladder.
    for query in [
        "resolution=90s",
        "resolution=59s",
        "resolution=0s",
        "value=5",
        "aggregate=first",
        "where=value%3E5",
        "fill=previous",
    ] {
        let answer = site.get(&format!("from=2026-11-22T08:00:00Z&to=2026-11-22T08:10:00Z&{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn influxdb_is_asked_for_steps_and_coarse_is_no_way_to_raw() {
    is_a_ladder(Site::influxdb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_makes_the_steps_and_coarse_is_no_way_to_raw() {
    is_a_ladder(Site::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_makes_the_steps_where_the_source_does_not() {
    is_a_ladder(Site::values().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_group_is_not_shown_and_there_is_no_second_step_to_take_it_from() {
    let site = Site::with_few().await;
    let answer = site.get("from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z").await;
    assert_eq!((answer.status, answer.header("millgate-view")), (200, "coarse;resolution=\"1m\""), "{}", answer.text());
    // The first second was taken out of the first minute: 59 are too few.
    assert_eq!(answer.json().unwrap()["values"].as_array().unwrap().len(), 59);
    for step in ["10m", "1h", "raw", "1s"] {
        let answer = site.get(&format!("from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution={step}")).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_parameter"), "{step}");
    }
    site.plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agreement_says_how_old_data_may_be() {
    let plant = Plant::start_with(|dir| {
        let folder = dir.join("policies/plants/munich/registry");
        std::fs::create_dir_all(&folder)?;
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/plants/munich/registry/agreements.toml");
        let text =
            std::fs::read_to_string(own)?.replace("window_max = \"7d\"", "window_max = \"7d\"\nage_max = \"30d\"");
        Ok(std::fs::write(folder.join("agreements.toml"), text)?)
    })
    .await
    .unwrap();
    let ago = |days: i64, length: i64| {
        let now = model::Clock::now(&runtime::clock::SystemClock).millis();
        let time = |ms: i64| model::Timestamp(ms).to_rfc3339();
        let from = now - days * 86_400_000;
        format!("/series/press-3.vibration?from={}&to={}&resolution=1m", time(from), time(from + length))
    };
    for (days, status, reason) in [(29, 200, ""), (31, 403, "data_too_old")] {
        let answer =
            plant.get("acme", &ago(days, 3_600_000), &[("millgate-purpose", "quality-analysis")]).await.unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{}", answer.text());
    }
    plant.stop().await;
}
