//! Series routes that would show more than they say, or ask for what nobody can answer, are not loaded.

use super::*;

const GOOD: &str = r#"
[route.series]
method = "GET"
path = "/series/{signal}"
source = "historian"
signal = "{signal}"
parameters.signal = { type = "signal" }
[route.series.series]
steps = ["1m", "1h"]
database = "plant"
"#;

const VALUES: &str = r#"
[route.values]
method = "GET"
path = "/values/{signal}"
source = "historian"
signal = "{signal}"
parameters.signal = { type = "signal" }
upstream = { path = "/v", query = { tag = "{signal.address}", from = "{from|rfc3339}", to = "{to|rfc3339}" } }
[route.values.series]
steps = ["raw", "1m"]
answer = { rows = "data", time = "t", value = "v", time_unit = "s" }
"#;

const SQL: &str = r#"
[source.db]
url = "postgresql://db/plant"
username = "u"
tls = false
[signal.stored]
product = "telemetry"
source = "db"
equipment = "plant"
address = "PR.03"
class = "process"
sensitivity = "internal"
[route.stored]
method = "GET"
path = "/stored/{signal}"
source = "db"
signal = "{signal}"
parameters.signal = { type = "signal" }
[route.stored.series]
steps = ["1m"]
sql = "SELECT ts AS time, v AS value FROM h WHERE tag = {signal.address} AND ts >= {from} AND ts < {to}"
"#;

fn spoilt(good: &str, from: &str, to: &str) -> String {
    assert!(good.contains(from), "{from}");
    let dir = folder(&[("plant.toml", PLANT), ("routes.toml", &good.replace(from, to))]);
    let problems = load_catalog(dir.path()).expect_err(to);
    messages(&problems, dir.path())
}

#[test]
fn each_source_is_asked_in_its_own_way() {
    let window = [HOUR[0], HOUR[1]];
    let http = |routes: &str, path: &str| {
        let resolved = get(&load(routes).unwrap(), path, &window).unwrap();
        decoded(&resolved.upstream.as_http().unwrap().path_and_query)
    };
    let tagged = GOOD.replace("[\"1m\", \"1h\"]", "[\"1m\"]").replace(
        "database = ",
        "measurement = \"m\"\ntags = { machine = \"{signal.address}\" }\nvalues_min = 5\ndatabase = ",
    );
    insta::assert_snapshot!(http(&tagged, "/series/force"), @r#"/base/v1/query?db=plant&epoch=ms&q=SELECT mean("value"), count("value") FROM "m" WHERE time >= 1795334400000ms AND time < 1795338000000ms AND "machine" = 'PR"03' GROUP BY time(60000ms) fill(none) LIMIT 60"#);
    insta::assert_snapshot!(http(VALUES, "/values/force"), @r#"/base/v1/v?tag=PR"03&from=2026-11-22T08:00:00.000Z&to=2026-11-22T09:00:00.000Z"#);
    let resolved = get(&load(SQL).unwrap(), "/stored/stored", &window).unwrap();
    let sql = resolved.upstream.as_sql().unwrap();
    insta::assert_snapshot!(format!("{} {:?}", sql.text, sql.binds), @r#"SELECT ts AS time, v AS value FROM h WHERE tag = $1::text AND ts >= $2::text::timestamptz AND ts < $3::text::timestamptz [Text("PR.03"), Text("2026-11-22T08:00:00.000Z"), Text("2026-11-22T09:00:00.000Z")]"#);
}

#[test]
fn each_fault_of_a_series_is_said_with_what_to_write() {
    let database = "database = \"plant\"";
    let steps = "steps = [\"1m\", \"1h\"]";
    let sql = "AND ts >= {from} AND ts < {to}";
    let cases = [
        (GOOD, steps, ""),
        (GOOD, steps, "steps = []"),
        (GOOD, steps, "steps = [\"1m\", \"90s\", \"raw\", \"x\"]"),
        (GOOD, steps, "steps = [\"raw\"]\nvalues_min = 5"),
        (GOOD, steps, "steps = [\"1m\", \"1h\"]\nvalues_min = 5"),
        (
            GOOD,
            "signal = { type = \"signal\" }",
            "signal = { type = \"signal\" }\nparameters.above = { type = \"integer\", min = 0, max = 9 }",
        ),
        (GOOD, database, "database = \"plant\"\naggregates = [\"mean\", \"mean\", \"median\"]"),
        (GOOD, database, ""),
        (GOOD, database, "sql = \"SELECT 1\""),
        (GOOD, database, "database = \"plant\"\nmeasurement = \"m\""),
        (GOOD, database, "database = \"plant\"\nrows_max = 0\nsettle = \"2d\"\nfild = \"v\""),
        (
            GOOD,
            "signal = { type = \"signal\" }",
            "signal = { type = \"signal\" }\nparameters.from = { type = \"timestamp\" }",
        ),
        (GOOD, "method = \"GET\"", "method = \"GET\"\nshape.rows = 5"),
        (GOOD, "method = \"GET\"", "method = \"POST\"\nbody = { max_bytes = 5, content_types = [\"text/plain\"] }"),
        (VALUES, "to = \"{to|rfc3339}\"", "step = \"{resolution|ms}\""),
        (VALUES, "time_unit = \"s\"", "time_unit = \"h\", values_max = 0"),
        (SQL, sql, ""),
        (SQL, "tag = {signal.address}", "tag = 'x'"),
        (SQL, "tag = {signal.address}", "tag = '{signal.address}'"),
        (SQL, "{from}", "{from|rfc3339}"),
        (SQL, "sql = ", "database = \"x\"\nsql = "),
    ];
    let said: Vec<String> = cases.iter().map(|(good, from, to)| spoilt(good, from, to)).collect();
    insta::assert_snapshot!("series_faults", said.join("\n"));
}
