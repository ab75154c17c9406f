//! Routes that would promise what nobody keeps are not loaded.

use super::*;

/// A good route; each case spoils one line of it.
const GOOD: &str = r#"
[route.series]
method = "GET"
path = "/series/{signal}"
source = "historian"
signal = "{signal}"
[route.series.parameters]
signal = { type = "signal" }
from = { type = "timestamp" }
to = { type = "timestamp" }
step = { type = "duration", values = ["1m", "1h"] }
name = { type = "string", default = "a" }
n = { type = "integer", min = -5, max = 5, default = 1 }
[route.series.shape]
from = "from"
to = "to"
resolution = "step"
[route.series.upstream]
path = "/query/{n}"
query.from = "{from|epoch_ms}"
query.to = "{to|rfc3339}"
query.step = "{step|ms}"
query.q = '''SELECT {signal.address|influxql_identifier} WHERE a = {name|influxql_string}'''
"#;

fn spoilt(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let dir = folder(&[("plant.toml", PLANT), ("routes.toml", &GOOD.replace(from, to))]);
    let problems = load_catalog(dir.path()).expect_err(to);
    messages(&problems, dir.path())
}

#[test]
fn the_good_route_is_good() {
    assert!(load(GOOD).is_ok(), "{:?}", load(GOOD));
}

#[test]
fn each_fault_is_said_with_what_to_write() {
    let cases = [
        ("method = \"GET\"", "method = \"Get\""),
        ("method = \"GET\"", "method = \"POST\""),
        ("path = \"/series/{signal}\"", "path = \"/series/{signal}/{signal}\""),
        ("path = \"/series/{signal}\"", "path = \"/se ries/{signal}/\""),
        ("path = \"/series/{signal}\"", "path = \"/series/{signals}\""),
        ("source = \"historian\"", "source = \"historain\""),
        ("signal = \"{signal}\"", "signal = \"elsewhere\""),
        ("signal = \"{signal}\"", "dataset = \"{signal}\""),
        ("signal = { type = \"signal\" }", "signal = { type = \"tag\" }"),
        ("signal = { type = \"signal\" }", "signal = { type = \"signal\" }\nother = { type = \"signal\" }"),
        ("from = { type = \"timestamp\" }", "from = { type = \"timestamp\", default = \"today\" }"),
        ("[\"1m\", \"1h\"]", "[\"1m\", \"90s\", \"1 h\"]"),
        ("values = [\"1m\", \"1h\"]", "min = \"1s\", max = \"1h\""),
        ("[\"1m\", \"1h\"]", "[\"40s\", \"1m\"]"),
        ("default = \"a\"", "default = \"a b\""),
        ("type = \"string\"", "type = \"string\", characters = \"z-a\""),
        ("min = -5, max = 5", "min = 5, max = 1"),
        ("min = -5, max = 5", "max = 5"),
        ("to = \"to\"", "to = \"ot\""),
        ("to = \"to\"\n", ""),
        ("resolution = \"step\"", "rows = \"name\""),
        ("resolution = \"step\"", "rows = \"n\""),
        ("resolution = \"step\"\n", ""),
        ("path = \"/query/{n}\"", "path = \"/query/../{n}\""),
        ("{from|epoch_ms}", "{from}"),
        ("{from|epoch_ms}", "{from|ms}"),
        ("{from|epoch_ms}", "{form|epoch_ms}"),
        ("{from|epoch_ms}", "{from|epoch_ms"),
        ("{from|epoch_ms}", "0"),
        ("{signal.address|influxql_identifier}", "x"),
        ("{name|influxql_string}", "{name}"),
        ("{name|influxql_string}", "'{name|influxql_string}'"),
        ("{name|influxql_string}", "{name|influxql_string}; DROP"),
        ("{name|influxql_string}", "{name|influxql_string} -- {n}"),
        ("{name|influxql_string}", "{name|influxql_string} + -{n}"),
        ("{name|influxql_string}", "{name|influxql_string} AND b = 'c "),
        ("{name|influxql_string}", "{name|influxql_string} AND b =~ /c/"),
        ("path = \"/query/{n}\"", "path = \"/query/{n}\"\nheaders.Authorization = \"Basic x\""),
        ("path = \"/query/{n}\"", "path = \"/query/{n}\"\nretries = 3"),
    ];
    let text: Vec<String> = cases.iter().map(|(from, to)| format!("# {to}\n{}", spoilt(from, to))).collect();
    insta::assert_snapshot!("refused_routes", text.join("\n"));
}

#[test]
fn text_that_could_leave_its_place_is_refused() {
    let slash = spoilt(
        "name = { type = \"string\", default = \"a\" }",
        "name = { type = \"string\", characters = \"a-z/\", default = \"a\" }\nid = { type = \"string\", characters = \"a-z/\" }",
    );
    assert!(slash.contains("never tells its source `id`"), "{slash}");
    let path = GOOD
        .replace("path = \"/query/{n}\"", "path = \"/query/{n}/{name}\"")
        .replace("type = \"string\"", "type = \"string\", characters = \"a-z/\"");
    let text = format!("{:?}", load(&path).expect_err("a slash"));
    assert!(text.contains("`name` may hold `/` and stands in the path"), "{text}");
    let own_query = GOOD
        .replace("'''SELECT {signal.address|influxql_identifier} WHERE a = {name|influxql_string}'''", "\"{name}\"")
        .replace("type = \"string\"", "type = \"string\", characters = \" -~\"");
    let text = format!("{:?}", load(&own_query).expect_err("a query"));
    assert!(text.contains("would pass a caller's own query on"), "{text}");
}

#[test]
fn two_routes_that_one_request_fits_are_refused() {
    let route = |id: &str, method: &str, path: &str| {
        let body = if method == "POST" { "body = { max_bytes = 1, content_types = [\"text/plain\"] }" } else { "" };
        format!(
            "[route.{id}]\nmethod = \"{method}\"\npath = \"{path}\"\nsource = \"mes\"\ndataset = \"parts\"\n\
             shape.rows = 1\nupstream.path = \"/x\"\n{body}\n"
        )
    };
    let with = |path: &str| {
        let parameter = "parameters.a = { type = \"string\" }\n";
        let first = route("one", "GET", "/parts/{a}").replace("upstream.path = \"/x\"\n", "");
        format!("{first}{parameter}upstream.path = \"/x/{{a}}\"\n{}", route("two", "GET", path))
    };
    let text = format!("{:?}", load(&with("/parts/new")).expect_err("overlap"));
    assert!(text.contains("can fit route `one` (`/parts/{a}`) and route `two` (`/parts/new`)"), "{text}");
    assert!(load(&with("/parts/new/ones")).is_ok());
    assert!(load(&with("/batches/new")).is_ok());
    assert!(load(&format!("{}{}", route("a", "GET", "/x"), route("b", "POST", "/x"))).is_ok());
    assert!(load(&format!("{}{}", route("a", "GET", "/x"), route("b", "GET", "/x"))).is_err());
}
