use super::*;
use crate::shape::stand;
use model::plant::RecordAttributes;
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A dataset of which `shown` may be seen, and the rest is masked by `masks` or left out.
fn view(shown: &[&str], masks: &[(&str, Mask)]) -> Arc<View> {
    let mut dataset = stand::dataset(shown, RecordAttributes::default());
    for (field, mask) in masks {
        dataset.fields.insert((*field).to_owned(), "closed".parse().unwrap());
        dataset.masks.insert((*field).to_owned(), mask.clone());
    }
    Arc::new(View::new(&dataset, &stand::open(), false))
}

fn key() -> PseudonymKey {
    PseudonymKey::new(&[7; 32], "agreement acme-2026")
}

/// In pieces of `size` bytes.
fn rewrite_in(view: &Arc<View>, many: Many, input: &[u8], size: usize) -> Result<(String, u64), &'static str> {
    let mut rewriter = Rewriter::new(view.clone(), key(), many);
    let mut out = Vec::new();
    for piece in input.chunks(size.max(1)) {
        rewriter.push(piece, &mut out).map_err(|malformed| malformed.what)?;
    }
    rewriter.finish(&mut out).map_err(|malformed| malformed.what)?;
    Ok((String::from_utf8(out).unwrap(), rewriter.rows()))
}

fn rewrite(view: &Arc<View>, input: &str) -> Result<String, &'static str> {
    let (whole, rows) = rewrite_in(view, Many::One, input.as_bytes(), usize::MAX)?;
    assert_eq!(rewrite_in(view, Many::One, input.as_bytes(), 1), Ok((whole.clone(), rows)), "in pieces: {input}");
    Ok(whole)
}

#[test]
fn what_is_shown_is_copied_and_everything_else_is_left_out() {
    let view = view(&["serial", "plant.country", "tests.result"], &[("cost", Mask::Drop)]);
    let input = r#" [ {"serial" : "A-1\u00e9\n\"", "cost":12, "secret":{"a":[1,{"b":2}]}, "plant":{"country":"DEU","id":7},
        "tests":[{"result":true,"by":"x"},{"by":"y"},{"result":1.50e+3}], "new":null}, {"serial":null}, {} ] "#;
    let expected = concat!(
        r#"[{"serial":"A-1\u00e9\n\"","plant":{"country":"DEU"},"#,
        r#""tests":[{"result":true},{},{"result":1.50e+3}]},{"serial":null},{}]"#
    );
    assert_eq!(rewrite(&view, input).as_deref(), Ok(expected));
}

#[test]
fn masks_stand_where_values_stood() {
    let step = |text| model::plant::Step::parse(text).unwrap();
    let masks = [
        ("order", Mask::Redact),
        ("cause", Mask::Null),
        ("serial", Mask::Partial { last: 4 }),
        ("cost", Mask::Bucket { width: step("100") }),
        ("force", Mask::Round { to: step("10") }),
        ("gone", Mask::Drop),
    ];
    let view = view(&["id"], &masks);
    let input = r#"[{"id":1,"order":"PO-7","cause":"wear","serial":"BOLT-20614","cost":173,"force":[11,26.5],"gone":1},
        {"order":[1,2,3],"cause":{"a":1},"serial":{"deep":"x"},"cost":"173","force":null}]"#;
    let expected = concat!(
        r#"[{"id":1,"order":"[redacted]","cause":null,"serial":"***0614","cost":"100..200","force":[10,30]},"#,
        r#"{"order":"[redacted]","cause":null,"serial":null,"cost":null,"force":null}]"#
    );
    assert_eq!(rewrite(&view, input).as_deref(), Ok(expected));
}

#[test]
fn a_value_where_none_was_declared_shows_nothing() {
    let view = view(&["a.b", "c"], &[]);
    for (input, expected) in [
        (r#"{"a":"secret","c":1}"#, r#"{"c":1}"#),
        (r#"{"a":["secret",{"b":1}],"c":1}"#, r#"{"a":[{"b":1}],"c":1}"#),
        (r#"{"c":{"secret":1,"c":2}}"#, r#"{"c":{}}"#),
        (r#"{"c":[[1],{"c":2}]}"#, r#"{"c":[[1],{}]}"#),
        (r#"{"a.b":"secret","a":{"b.c":1}}"#, r#"{"a":{}}"#),
    ] {
        assert_eq!(rewrite(&view, input).as_deref(), Ok(expected), "{input}");
    }
}

#[test]
fn a_name_in_another_spelling_is_the_same_name() {
    let view = view(&["open"], &[("cost", Mask::Null)]);
    assert_eq!(
        rewrite(&view, r#"{"c\u006fst":1,"\u006fpen":2}"#).as_deref(),
        Ok(r#"{"c\u006fst":null,"\u006fpen":2}"#)
    );
    assert_eq!(rewrite(&view, r#"{"cost":1,"c\u006fst":2}"#), Err("a member stands twice"));
    // What case it is written in makes another name, and nobody declared that one.
    assert_eq!(rewrite(&view, r#"{"OPEN":1}"#).as_deref(), Ok("{}"));
}

#[test]
fn maps_with_names_of_their_own() {
    let view = view(&["sensors.*.value", "sensors.*.unit"], &[]);
    let input = r#"{"sensors":{"t1":{"value":1,"unit":"C","by":"x"},"t2":{"value":2}}}"#;
    let expected = r#"{"sensors":{"t1":{"value":1,"unit":"C"},"t2":{"value":2}}}"#;
    assert_eq!(rewrite(&view, input).as_deref(), Ok(expected));
    assert_eq!(rewrite(&view, r#"{"sensors":{"a":{},"\u0061":{}}}"#), Err("a member stands twice"));
}

#[test]
fn one_item_a_line() {
    let view = view(&["a"], &[]);
    let lines = |input: &str, size| rewrite_in(&view, Many::Lines, input.as_bytes(), size);
    let input = "{\"a\":1,\"b\":2}\n\n{\"b\":2}\r\n{\"a\":3}";
    for size in [1, 7, 1_000] {
        assert_eq!(lines(input, size), Ok((String::from("{\"a\":1}\n{}\n{\"a\":3}\n"), 3)));
    }
    assert_eq!(lines("", 1), Ok((String::new(), 0)));
    for (bad, why) in [
        ("{\"a\":1} {\"a\":2}\n", "it is not JSON"),
        ("{\"a\":\n1}\n", "a line ends within an item"),
        ("7\n", "it is neither an object nor an array"),
        ("{\"a\":1}\n{\"a\"", "it ends too early"),
    ] {
        assert_eq!(lines(bad, 3), Err(why), "{bad}");
    }
}

#[test]
fn what_readers_could_read_in_two_ways_is_refused() {
    let view = view(&["a"], &[("m", Mask::Redact)]);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let long = format!(r#"{{"m":"{}"}}"#, "x".repeat(70_000));
    let cases = [
        "",
        " ",
        "{",
        "[1",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{,}",
        "[1,]",
        "[,1]",
        "{\"a\" 1}",
        "{a:1}",
        "[1 2]",
        "[1]x",
        "[1][2]",
        "]",
        "}",
        "[}",
        "{]",
        "1",
        "\"text\"",
        "null",
        "{'a':1}",
        "[01]",
        "[1.]",
        "[.5]",
        "[1e]",
        "[+1]",
        "[--1]",
        "[0x1]",
        "[NaN]",
        "[Infinity]",
        "[nul]",
        "[TRUE]",
        "[truefalse]",
        "{\"a\":1,\"a\":2}",
        "[\"\\x\"]",
        "[\"\\u12g4\"]",
        "[\"\\ud800\"]",
        "[\"\\ud800x\"]",
        "[\"\\udc00\"]",
        "[\"\\ud800\\n\"]",
        "[\"\\ud800\\ud800\"]",
        "[\"\n\"]",
        "[\"\u{1}\"]",
        "\u{feff}[]",
        "[1]\u{0}",
        "// no\n[]",
        &deep,
        &long,
    ];
    for case in cases {
        assert!(rewrite(&view, case).is_err(), "{}", case.get(..40).unwrap_or(case));
    }
    for broken in
        [b"[\"\xff\"]".as_slice(), b"[\"\xc3\"]", b"[\"\xed\xa0\x80\"]", b"[\"\xc0\xaf\"]", b"{\"a\":\"\xe2\x82"]
    {
        for size in [1, 2, 100] {
            assert!(rewrite_in(&view, Many::One, broken, size).is_err(), "{broken:?}");
        }
    }
}

#[test]
fn numbers_and_long_texts_are_shown_as_they_were_written() {
    let view = view(&["a"], &[]);
    for number in ["-0", "1e400", "9007199254740993", "0.1000", "123456789012345678901234567890"] {
        let input = format!(r#"{{"a":{number}}}"#);
        assert_eq!(rewrite(&view, &input), Ok(input));
    }
    let large = format!(r#"[{{"a":"{}","b":"{}"}}]"#, "é".repeat(300_000), "y".repeat(3_000_000));
    let (out, rows) = rewrite_in(&view, Many::One, large.as_bytes(), 8_191).unwrap();
    assert_eq!((out.len(), rows), (600_010, 1));
}

#[test]
fn rows_are_the_items_of_the_outermost_list() {
    let view = view(&["a", "rows.a"], &[]);
    let rows = |input: &str| rewrite_in(&view, Many::One, input.as_bytes(), 5).unwrap().1;
    assert_eq!(rows(r#"[{"a":[{"x":1},{"x":2}]},{},[{"a":1}]]"#), 3);
    assert_eq!(rows(r#"{"rows":[{"a":1},{"a":2}]}"#), 1);
    assert_eq!(rows("[]"), 0);
}

// === rows

/// A filter of parts of acme, bolt and nobody, of which the caller sees acme's.
fn of_acme(at: &str, field: &str, fields: &[&str]) -> (Arc<View>, Arc<RowFilter>) {
    use model::plant::{RecordAttribute, ToldBy};
    let told = ToldBy { field: field.to_owned(), values: BTreeMap::new() };
    let records = RecordAttributes {
        suppliers: ["acme", "bolt"].map(|id| id.parse().unwrap()).into(),
        unassigned: true,
        at: at.to_owned(),
        told_by: BTreeMap::from([(RecordAttribute::Supplier, told)]),
        ..RecordAttributes::default()
    };
    let dataset = stand::dataset(fields, records);
    let kinds = dataset.records.kinds(64).unwrap();
    let hidden: Vec<_> =
        kinds.into_iter().filter(|kind| kind.supplier.as_ref().is_none_or(|s| s.as_str() != "acme")).collect();
    let view = View::new(&dataset, &stand::open(), true);
    (Arc::new(view), Arc::new(RowFilter::new(&dataset, &hidden, None).unwrap()))
}

fn filter_in(
    of: &(Arc<View>, Arc<RowFilter>),
    many: Many,
    input: &str,
    size: usize,
) -> Result<(String, u64), &'static str> {
    let mut rewriter = Rewriter::new(of.0.clone(), key(), many).filtered(of.1.clone(), u64::MAX);
    let mut out = Vec::new();
    for piece in input.as_bytes().chunks(size) {
        rewriter.push(piece, &mut out).map_err(|malformed| malformed.what)?;
    }
    rewriter.finish(&mut out).map_err(|malformed| malformed.what)?;
    Ok((String::from_utf8(out).unwrap(), rewriter.rows()))
}

#[test]
fn rows_of_others_are_not_there_wherever_they_say_whose_they_are() {
    // The field that tells is not seen itself.
    let of = of_acme("", "owner.name", &["a"]);
    let input = r#"[{"a":1,"owner":{"name":"bolt"}},{"owner":{"name":"acme"},"a":2},{"a":3},{"a":4,"owner":null},
        {"a":5,"owner":{"name":["acme","bolt"]}},{"a":6,"owner":{"name":{"x":"acme"}}},{"a":7,"owner":{"name":"\u0061cme"}},
        {"a":8,"owner":[{"name":"acme"}]},{"a":9,"owner":{"name":"acme"},"b":{"owner":{"name":"bolt"}}},11,
        {"a":12,"owner":[{"name":"acme"},{"x":1}]}]"#;
    let expected = r#"[{"owner":{},"a":2},{"a":7,"owner":{}},{"a":8,"owner":[{}]},{"a":9,"owner":{}}]"#;
    for size in [1, 5, 10_000] {
        assert_eq!(filter_in(&of, Many::One, input, size), Ok((expected.to_owned(), 4)), "{size}");
    }
}

#[test]
fn one_record_of_somebody_else_is_as_none() {
    let of = of_acme("", "owner", &["a"]);
    for (input, is_nothing) in
        [(r#"{"a":1,"owner":"bolt"}"#, true), (r#"{"a":1,"owner":"acme"}"#, false), ("[]", false)]
    {
        let mut rewriter = Rewriter::new(of.0.clone(), key(), Many::One).filtered(of.1.clone(), u64::MAX);
        let mut out = Vec::new();
        rewriter.push(input.as_bytes(), &mut out).unwrap();
        rewriter.finish(&mut out).unwrap();
        assert_eq!((rewriter.is_nothing(), out.is_empty()), (is_nothing, is_nothing), "{input}");
    }
}

#[test]
fn a_page_has_as_many_rows_as_were_asked_for_of_those_that_may_be_seen() {
    let (view, filter) = of_acme("", "owner", &["a"]);
    let row = |n: u8, owner: &str| format!(r#"{{"a":{n},"owner":"{owner}"}}"#);
    let rows = [row(1, "bolt"), row(2, "acme"), row(3, "bolt"), row(4, "acme"), row(5, "acme")].join(",");
    let mut rewriter = Rewriter::new(view, key(), Many::One).filtered(filter, 2);
    let mut out = Vec::new();
    rewriter.push(format!("[{rows}]").as_bytes(), &mut out).unwrap();
    rewriter.finish(&mut out).unwrap();
    assert_eq!((String::from_utf8(out).unwrap().as_str(), rewriter.rows()), (r#"[{"a":2},{"a":4}]"#, 2));
}

#[test]
fn lines_of_others_leave_no_trace() {
    let of = of_acme("", "owner", &["a"]);
    let input = "{\"a\":1,\"owner\":\"bolt\"}\n{\"a\":2,\"owner\":\"acme\"}\n{\"a\":3,\"owner\":\"bolt\"}\n";
    assert_eq!(filter_in(&of, Many::Lines, input, 4), Ok((String::from("{\"a\":2}\n"), 1)));
}

#[test]
fn rows_may_lie_in_an_envelope() {
    let of = of_acme("data.rows", "data.rows.owner", &["page", "data.rows.a"]);
    let row = |n: u8, owner: &str| format!(r#"{{"a":{n},"owner":"{owner}"}}"#);
    let input = format!(r#"{{"page":1,"data":{{"rows":[{},{},{}]}}}}"#, row(1, "bolt"), row(2, "acme"), row(3, "bolt"));
    assert_eq!(
        filter_in(&of, Many::One, &input, 3),
        Ok((String::from(r#"{"data":{"rows":[{"a":2}]}}"#), 1)),
        "and no count of all"
    );
    // One record in place of the list is a record too.
    let input = format!(r#"{{"data":{{"rows":{}}},"page":1}}"#, row(1, "bolt"));
    assert_eq!(filter_in(&of, Many::One, &input, 3), Ok((String::from(r#"{"data":{}}"#), 0)));
}

#[test]
fn nothing_around_rows_tells_how_many_are_left_out() {
    let of = of_acme("", "owner", &["a"]);
    let lists = r#"[[{"a":1,"owner":"bolt"}],[{"a":2,"owner":"acme"}]]"#;
    assert_eq!(filter_in(&of, Many::One, lists, 9), Err("records lie in a list of lists"));
    assert_eq!(filter_in(&of, Many::Lines, "[{\"a\":1}]\n", 9), Err("a line is a list and no record"));
    for last in ["{\"a\":1,\"owner\":\"bolt\"}", "{\"a\":1,\"owner\":\"bolt\"}\n", ""] {
        let input = format!("{{\"a\":2,\"owner\":\"acme\"}}\n{last}");
        assert_eq!(filter_in(&of, Many::Lines, &input, 9), Ok((String::from("{\"a\":2}\n"), 1)), "{last}");
    }
    // What only tells leaves no trace of itself either.
    let input = r#"[{"a":1,"owner":["acme"]},{"a":2,"owner":"acme"}]"#;
    assert_eq!(filter_in(&of, Many::One, input, 9), Ok((String::from(r#"[{"a":2}]"#), 1)));
}

#[test]
fn a_field_that_is_left_out_is_none_of_the_others() {
    let map = view(&["*", "m.*.value"], &[("person", Mask::Drop), ("m.salary.value", Mask::Drop)]);
    let input = r#"{"a":1,"person":"anna","m":{"force":{"value":2},"salary":{"value":3}},"b":{"c":4}}"#;
    assert_eq!(rewrite(&map, input).as_deref(), Ok(r#"{"a":1,"m":{"force":{"value":2}},"b":{}}"#));
    let flat = view(&["*"], &[("person", Mask::Drop)]);
    assert_eq!(rewrite(&flat, r#"{"person":{"name":"anna"},"x":[1]}"#).as_deref(), Ok(r#"{"x":[1]}"#));
}

#[test]
fn names_that_nobody_knows_do_not_fill_the_memory() {
    let view = view(&["m.*"], &[]);
    let members: Vec<String> = (0..30_000).map(|n| format!("\"n{n}\":1")).collect();
    assert_eq!(rewrite(&view, &format!("{{\"m\":{{{}}}}}", members.join(","))), Err("an object has too many members"));
    let few: Vec<String> = members.into_iter().take(10_000).collect();
    let once = format!("{{\"m\":{{{}}}}}", few.join(","));
    assert_eq!(rewrite(&view, &format!("[{once},{once},{once}]")).map(|out| out.len()), Ok(once.len() * 3 + 4));
}

#[test]
fn a_row_that_cannot_be_held_is_not_shown() {
    let of = of_acme("", "owner", &["a"]);
    let input = format!(r#"[{{"a":"{}","owner":"acme"}}]"#, "x".repeat(2 * 1024 * 1024));
    assert_eq!(filter_in(&of, Many::One, &input, 8_192), Err("a row is longer than 1 MiB"));
}

// === the same by a tree

/// What is left of a value, by the plainest reading of the rules. `None`: nothing. Each name in a path has a zero byte before
/// it, which no name here has in it.
fn by_tree(value: &Value, fields: &BTreeMap<String, Option<Mask>>, path: &str) -> Option<Value> {
    let holds_fields = path.is_empty() || fields.keys().any(|field| field.starts_with(&format!("{path}\0")));
    let each = |items: &[Value]| Value::Array(items.iter().filter_map(|item| by_tree(item, fields, path)).collect());
    match (value, fields.get(path)) {
        (Value::Object(members), None) if holds_fields => {
            let kept = members
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), by_tree(value, fields, &format!("{path}\0{name}"))?)));
            Some(Value::Object(kept.collect::<Map<_, _>>()))
        }
        (Value::Array(items), None) if holds_fields => Some(each(items)),
        (_, None) => None,
        (Value::Object(_), Some(None)) => Some(Value::Object(Map::new())),
        (Value::Array(items), Some(None)) => Some(each(items)),
        (value, Some(None)) => Some(value.clone()),
        (_, Some(Some(Mask::Redact))) => Some(Value::from(crate::shape::mask::REDACTED)),
        (_, Some(Some(_))) => Some(Value::Null),
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[abcmn]|\\PC{0,3}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_pieces_and_by_a_tree_the_same_is_left(items in prop::collection::vec(values(), 0..4), size in 1..40_usize, pretty: bool) {
        let masks = [("m", Mask::Redact), ("a.n", Mask::Null)];
        let view = view(&["b", "a.a", "c.b.a"], &masks);
        let shown = ["b", "a.a", "c.b.a"].map(|field| (field, None));
        let fields = shown.into_iter().chain(masks.map(|(field, mask)| (field, Some(mask))));
        let fields = fields.map(|(field, mask)| (format!("\0{}", field.replace('.', "\0")), mask)).collect();
        let input = Value::from(items);
        let text = if pretty { serde_json::to_string_pretty(&input) } else { serde_json::to_string(&input) }.unwrap();
        let (out, _) = rewrite_in(&view, Many::One, text.as_bytes(), size).unwrap();
        let left: Value = serde_json::from_str(&out).unwrap();
        prop_assert_eq!(Some(left), by_tree(&input, &fields, ""));
    }

    #[test]
    fn what_is_left_of_rows_is_what_the_filter_shows(
        owners in prop::collection::vec(prop::option::of("acme|bolt|norden"), 0..12), size in 1..60_usize, before: bool,
    ) {
        let of = of_acme("", "owner", &["n", "owner"]);
        let rows = owners.iter().enumerate().map(|(n, owner)| {
            let owner = owner.as_ref().map_or(String::from("null"), |owner| format!("\"{owner}\""));
            if before { format!(r#"{{"owner":{owner},"n":{n}}}"#) } else { format!(r#"{{"n":{n},"owner":{owner}}}"#) }
        });
        let input = format!("[{}]", rows.collect::<Vec<_>>().join(" , "));
        let (out, count) = filter_in(&of, Many::One, &input, size).unwrap();
        let left: Vec<Value> = serde_json::from_str(&out).unwrap();
        let all: Vec<Value> = serde_json::from_str(&input).unwrap();
        let expected: Vec<Value> = all.into_iter().filter(|row| row["owner"] == "acme").collect();
        prop_assert_eq!(count, expected.len() as u64);
        prop_assert_eq!(left, expected);
    }

    #[test]
    fn whatever_comes_is_json_to_others_too_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let view = view(&["a"], &[]);
        let whole = rewrite_in(&view, Many::One, &bytes, usize::MAX).ok();
        prop_assert_eq!(&whole, &rewrite_in(&view, Many::One, &bytes, 3).ok());
        if whole.is_some() {
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
    }

    #[test]
    fn a_changed_text_is_read_as_others_read_it_or_not_at_all(at in any::<prop::sample::Index>(), byte: u8) {
        let view = view(&["a", "b.c"], &[("m", Mask::Redact)]);
        let mut text = br#"[{"a":"x\u00e9\\","b":[{"c":-1.5e3},{"c":[true,null]}],"m":"\ud83d\ude00","z":{"z":[0]}}]"#.to_vec();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok((out, _)) = rewrite_in(&view, Many::One, &text, 9) {
            prop_assert!(serde_json::from_slice::<Value>(&text).is_ok(), "{}", String::from_utf8_lossy(&text));
            prop_assert!(serde_json::from_str::<Value>(&out).is_ok(), "{out}");
        }
    }
}
