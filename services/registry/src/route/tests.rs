use super::*;
use crate::testing::{folder, messages, munich};
use crate::{Catalog, Problem, load_catalog};
use model::Timestamp;
use model::{Reason, ResourceRef};
use proptest::prelude::*;
use std::sync::LazyLock;

mod escape;
mod refusals;
mod series;

/// Long after the windows that are asked for.
const NOW: Timestamp = Timestamp(4_000_000_000_000);

static MUNICH: LazyLock<Catalog> = LazyLock::new(|| load_catalog(&munich("catalog")).unwrap());

const PLANT: &str = r#"
[equipment.plant]
level = "enterprise"
[product.telemetry]
owner = "norden"
steward = "shift-lead"
[product.other]
owner = "norden"
steward = "shift-lead"
[source.historian]
url = "http://127.0.0.1:8086/base/v1"
[source.mes]
url = "http://127.0.0.1:8087"
[field_class.process]
[signal.force]
product = "telemetry"
source = "historian"
equipment = "plant"
address = 'PR"03'
class = "process"
sensitivity = "internal"
[signal.elsewhere]
product = "telemetry"
source = "mes"
equipment = "plant"
address = "X"
class = "process"
sensitivity = "internal"
[signal.others]
product = "other"
source = "historian"
equipment = "plant"
address = "X"
class = "process"
sensitivity = "internal"
[dataset.parts]
product = "telemetry"
source = "mes"
equipment = "plant"
sensitivity = "internal"
"#;

fn load(routes: &str) -> Result<Catalog, Vec<Problem>> {
    let dir = folder(&[("plant.toml", PLANT), ("routes.toml", routes)]);
    load_catalog(dir.path())
}

fn segments(path: &str) -> Vec<String> {
    path.trim_start_matches('/').split('/').map(str::to_owned).collect()
}

fn get(catalog: &Catalog, path: &str, query: &[(&str, &str)]) -> Result<Resolved, ResolveError> {
    let query: Vec<_> = query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    catalog.resolve("GET", &segments(path), &query, NOW)
}

const HOUR: [(&str, &str); 2] = [("from", "2026-11-22T08:00:00Z"), ("to", "2026-11-22T10:00:00+01:00")];

#[test]
fn a_series_is_one_question_and_one_query() {
    let [from, to] = HOUR;
    let resolved = get(&MUNICH, "/series/press-3.force", &[from, to, ("resolution", "1m")]).unwrap();
    assert_eq!(resolved.resource.to_text(), "Signal/press-3.force");
    assert_eq!(resolved.product.as_str(), "press-3-telemetry");
    assert_eq!(
        resolved.shape,
        model::Shape { resolution_ms: 60_000, window_ms: 3_600_000, rows: 60, age_days: 25_517 }
    );
    let parameters: Vec<String> = resolved.parameters.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(
        parameters,
        [
            "from=2026-11-22T08:00:00.000Z",
            "limit=100000",
            "resolution=1m",
            "signal=press-3.force",
            "to=2026-11-22T09:00:00.000Z"
        ]
    );
    assert_eq!(resolved.upstream.as_http().unwrap().method, "GET");
    let query = decoded(&resolved.upstream.as_http().unwrap().path_and_query);
    insta::assert_snapshot!(query, @r#"/query?db=press_shop&epoch=ms&q=SELECT mean("value"), min("value"), max("value"), count("value") FROM "PL1.PR03.FORCE" WHERE time >= 1795334400000ms AND time < 1795338000000ms GROUP BY time(60000ms) fill(none) LIMIT 60"#);
    let raw = get(&MUNICH, "/series/press-3.force", &[from, to, ("resolution", "raw"), ("limit", "500")]).unwrap();
    assert_eq!(raw.shape, model::Shape { resolution_ms: 0, window_ms: 3_600_000, rows: 500, age_days: 25_517 });
    let query = decoded(&raw.upstream.as_http().unwrap().path_and_query);
    insta::assert_snapshot!(query, @r#"/query?db=press_shop&epoch=ms&q=SELECT "value" FROM "PL1.PR03.FORCE" WHERE time >= 1795334400000ms AND time < 1795338000000ms LIMIT 500"#);
}

/// Of `%` and two digits what they stand for.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        out.push(char::from(u8::from_str_radix(digits, 16).unwrap()));
        out.push_str(rest);
    }
    out
}

#[test]
fn the_finest_step_is_tried_first_and_the_next_where_it_is_asked_for() {
    let query: Vec<_> = HOUR.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let path = segments("/series/press-3.force");
    let at = |step| MUNICH.resolve_at("GET", &path, &query, NOW, step).unwrap();
    let first = at(None);
    assert_eq!(
        (first.shape.resolution_ms, first.coarser.as_slice()),
        (0, &[1_000, 10_000, 60_000, 600_000, 3_600_000, 86_400_000][..])
    );
    let next = at(Some(60_000));
    assert_eq!((next.shape.resolution_ms, next.coarser.as_slice()), (60_000, &[600_000, 3_600_000, 86_400_000][..]));
    assert_eq!(next.parameters.get("resolution").unwrap(), "1m");
    // An hour has no whole day.
    assert!(MUNICH.resolve_at("GET", &path, &query, NOW, Some(86_400_000)).is_err());
    // A caller who names a step gets that one or none.
    let [from, to] = HOUR;
    assert!(get(&MUNICH, "/series/press-3.force", &[from, to, ("resolution", "10s")]).unwrap().coarser.is_empty());
}

#[test]
fn a_step_that_has_not_ended_is_not_in_the_window() {
    let query: Vec<_> =
        [HOUR[0], HOUR[1], ("resolution", "10m")].iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let path = segments("/series/press-3.force");
    let until = |now: &str| {
        let resolved = MUNICH.resolve("GET", &path, &query, Timestamp::parse_rfc3339(now).unwrap());
        resolved.map(|r| r.parameters.get("to").unwrap().clone()).map_err(|e| e.to_string())
    };
    assert_eq!(until("2026-11-22T08:59:59.999Z").unwrap(), "2026-11-22T08:50:00.000Z");
    assert_eq!(until("2026-11-22T09:00:00Z").unwrap(), "2026-11-22T09:00:00.000Z");
    insta::assert_snapshot!(until("2026-11-22T08:09:59Z").unwrap_err(), @"between `from` and `to` no whole step of `10m` has ended (steps begin at multiples of it)");
}

#[test]
fn records_are_asked_for_with_constants_and_typed_values() {
    let part = get(&MUNICH, "/parts/acme/AC-00042", &[]).unwrap();
    assert_eq!(
        part.upstream.as_http().unwrap().path_and_query,
        "/api/v1/serial-parts?supplier=acme&serial=AC-00042&limit=1"
    );
    assert_eq!((part.shape.rows, part.shape.window_ms), (1, 0));
    let parts = get(&MUNICH, "/parts/acme", &[("limit", "7")]).unwrap();
    assert_eq!((parts.shape.rows, parts.resource), (7, ResourceRef::Dataset("acme-parts".parse().unwrap())));
}

#[test]
fn windows_are_cut_to_whole_steps_so_that_no_part_of_a_step_is_averaged() {
    let window = |from, to, resolution| {
        get(&MUNICH, "/series/press-3.force", &[("from", from), ("to", to), ("resolution", resolution)])
    };
    let cut = window("2026-11-22T08:00:00.001Z", "2026-11-22T08:03:59.999Z", "60s").unwrap();
    assert_eq!((cut.shape.window_ms, cut.shape.rows), (120_000, 2));
    assert_eq!(cut.parameters.get("from").unwrap(), "2026-11-22T08:01:00.000Z");
    assert_eq!(cut.parameters.get("to").unwrap(), "2026-11-22T08:03:00.000Z");
    // The mean of one millisecond is a raw value.
    let sliver = window("2026-11-22T08:00:00.000Z", "2026-11-22T08:00:00.001Z", "1m").unwrap_err();
    assert_eq!(sliver.reason, Reason::BAD_PARAMETER);
    insta::assert_snapshot!(sliver, @"between `from` and `to` no whole step of `1m` has ended (steps begin at multiples of it)");
    let backwards = window("2026-11-22T09:00:00Z", "2026-11-22T08:00:00Z", "1m").unwrap_err();
    insta::assert_snapshot!(backwards, @"`to` is not after `from`");
}

#[test]
fn what_is_not_declared_is_refused_with_the_reason_and_what_is_taken() {
    let [from, to] = HOUR;
    let series = |query: &[(&str, &str)]| get(&MUNICH, "/series/press-3.force", query).unwrap_err();
    let said = |e: &ResolveError| format!("{} {} {}", e.reason, e.parameter.as_deref().unwrap_or("-"), e.detail);
    let all = [
        series(&[from]),
        series(&[from, to, to]),
        series(&[from, to, ("q", "DROP DATABASE x")]),
        series(&[from, to, ("signal", "press-3.force")]),
        series(&[from, to, ("FROM", "x")]),
        series(&[from, ("to", "2026-11-22T10:00:00")]),
        series(&[from, to, ("resolution", "61s")]),
        series(&[from, to, ("re`so\nlution", &"x".repeat(100))]),
        get(&MUNICH, "/quality-notifications", &[from, to, ("status", "new")]).unwrap_err(),
        get(&MUNICH, "/parts/acme", &[("limit", "1001")]).unwrap_err(),
        get(&MUNICH, "/parts/acme/o'hara", &[]).unwrap_err(),
    ];
    insta::assert_snapshot!("refused_requests", all.iter().map(said).collect::<Vec<_>>().join("\n"));
    assert!(all.iter().all(|e| e.resource.is_some() && e.route.is_some()));
}

#[test]
fn the_resource_is_judged_before_the_parameters() {
    // Otherwise a fault in the query would tell a signal that exists from one that does not.
    let missing = get(&MUNICH, "/series/press-4.force", &[("bogus", "1")]).unwrap_err();
    let malformed = get(&MUNICH, "/series/Press 3", &HOUR).unwrap_err();
    let nowhere = get(&MUNICH, "/nothing/here", &HOUR).unwrap_err();
    for e in [&missing, &malformed, &nowhere] {
        assert_eq!((&e.reason, e.detail.as_str(), &e.resource), (&Reason::NOT_FOUND, nowhere.detail.as_str(), &None));
    }
}

#[test]
fn only_the_declared_method_and_only_the_declared_path() {
    let resolve = |method: &str, path: &str| MUNICH.resolve(method, &segments(path), &[], NOW).unwrap_err().reason;
    for method in ["HEAD", "POST", "get", "OPTIONS", ""] {
        assert_eq!(resolve(method, "/parts/acme"), Reason::METHOD_NOT_ALLOWED, "{method}");
    }
    for path in ["/", "/parts", "/parts/ACME", "/parts/acme/", "/parts//acme", "/series/a/b"] {
        assert_eq!(resolve("GET", path), Reason::NOT_FOUND, "{path}");
    }
    assert_eq!(MUNICH.resolve("GET", &[], &[], NOW).unwrap_err().reason, Reason::NOT_FOUND);
}

#[test]
fn a_signal_of_another_source_or_product_is_not_there() {
    let routes = r#"
[route.last]
method = "GET"
path = "/last/{tag}"
source = "historian"
signal = "{tag}"
parameters.tag = { type = "signal", product = "telemetry" }
shape.rows = 1
upstream.path = "/last/{signal.address}"
"#;
    let catalog = load(routes).unwrap();
    let found = get(&catalog, "/last/force", &[]).unwrap();
    assert_eq!(found.upstream.as_http().unwrap().path_and_query, "/base/v1/last/PR%2203");
    for id in ["elsewhere", "others", "unknown"] {
        assert_eq!(get(&catalog, &format!("/last/{id}"), &[]).unwrap_err().reason, Reason::NOT_FOUND, "{id}");
    }
}

#[test]
fn a_resource_can_be_named_in_the_query_and_a_body_declared() {
    let routes = r#"
[route.search]
method = "POST"
path = "/search"
source = "mes"
dataset = "{of}"
action = "read"
parameters.of = { type = "dataset" }
parameters.open = { type = "boolean", default = false }
parameters.age = { type = "duration", min = "1s", max = "1d", default = "1h" }
shape.rows = 10
upstream = { path = "/v2/{dataset.id}/search", query = { open = "{open}", age = "{age|text}" }, headers = { Accept = "application/json" } }
body = { max_bytes = 1024, content_types = ["application/json"] }
"#;
    let catalog = load(routes).unwrap();
    let search = |query: &[(&str, &str)]| {
        let query: Vec<_> = query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        catalog.resolve("POST", &segments("/search"), &query, NOW)
    };
    let resolved = search(&[("of", "parts")]).unwrap();
    assert_eq!(resolved.upstream.as_http().unwrap().path_and_query, "/v2/parts/search?open=false&age=1h");
    assert_eq!(resolved.upstream.as_http().unwrap().headers, [("accept".to_owned(), "application/json".to_owned())]);
    assert_eq!(resolved.body.map(|b| b.max_bytes), Some(1024));
    assert_eq!(search(&[]).unwrap_err().reason, Reason::MISSING_PARAMETER);
    assert_eq!(search(&[("of", "parts"), ("of", "parts")]).unwrap_err().reason, Reason::DUPLICATE_PARAMETER);
    assert_eq!(search(&[("of", "nothing")]).unwrap_err().reason, Reason::NOT_FOUND);
}

/// Words that mean something to the example's routes, and anything else.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "series",
            "press-3.force",
            "raw",
            "parts",
            "acme",
            "quality-notifications",
            "from",
            "to",
            "limit",
            "1",
            "resolution",
            "1m",
            "2026-11-22T08:00:00Z",
            "2026-11-23T08:00:00Z",
            "9999-12-31T23:59:59Z",
            "status",
            "open",
            "..",
            "",
            "1970-01-01T00:00:00Z",
            "1d",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn any_request_is_answered_and_what_is_sent_is_plain(
        method in prop_oneof![Just("GET".to_owned()), any::<String>()],
        segments in prop::collection::vec(words(), 0..5),
        query in prop::collection::vec((words(), words()), 0..5),
    ) {
        match MUNICH.resolve(&method, &segments, &query, NOW) {
            Ok(resolved) => {
                let route = MUNICH.routes.get(&resolved.route).unwrap();
                prop_assert!(query.iter().all(|(name, _)| route.parameters.contains_key(name)));
                prop_assert!(resolved.parameters.keys().eq(route.parameters.keys()));
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"/?&=%-._~".contains(&b);
                prop_assert!(resolved.upstream.as_http().unwrap().path_and_query.bytes().all(plain));
            }
            Err(e) => prop_assert!(!e.detail.chars().any(char::is_control)),
        }
    }

    #[test]
    fn a_series_request_with_any_times_has_a_shape_that_fits_its_window(
        from in 0_i64..4_000_000_000_000, length in 1_i64..1_000_000_000, step in prop::sample::select(vec!["1s", "1m", "1h"]),
    ) {
        let time = |ms| Timestamp(ms).to_rfc3339();
        let query = [("from", time(from)), ("to", time(from + length)), ("resolution", step.to_owned())];
        let query: Vec<(&str, &str)> = query.iter().map(|(n, v)| (*n, v.as_str())).collect();
        if let Ok(resolved) = get(&MUNICH, "/series/press-3.force", &query) {
            let shape = resolved.shape;
            prop_assert!(shape.window_ms <= length && shape.window_ms > 0);
            prop_assert_eq!(shape.rows * shape.resolution_ms, shape.window_ms);
        } else {
            let step = model::time::parse_duration_ms(step).unwrap();
            // No whole step of it, or more than one answer has.
            prop_assert!(length < 2 * step || length / step >= 100_000);
        }
    }
}
