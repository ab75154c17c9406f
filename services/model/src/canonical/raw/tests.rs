//! What is looked at where it lies is what a full parse sees, and nothing else is accepted.

use super::*;
use crate::canonical::{self, Value};
use proptest::prelude::*;

proptest! {
    #[test]
    fn strings_end_where_they_end_however_long_they_are(before in "[ -!#-Z]{0,70}", text in "[ -!#-Z]{0,200}") {
        let bytes = Value::Array(vec![Value::text(before.clone()), Value::text(text.clone())]).encode();
        let items = Raw::read(&bytes).unwrap().items().unwrap();
        let read: Vec<_> = items.iter().map(|item| item.as_text().unwrap()).collect();
        prop_assert_eq!(read, [before, text]);
    }
}

/// Canonical is what is written as it was read: said without the reader that is tried here.
fn is_canonical(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut reader = canonical::Reader { text, at: 0 };
    reader.value(0).is_ok_and(|value| reader.at == bytes.len() && value.encode() == bytes)
}

/// Of what JSON is made of, so that much of it nearly is JSON.
fn texts() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just(":"),
        Just("\"a\""),
        Just("\"b\""),
        Just("\"\\n\""),
        Just("\"\\u000b\""),
        Just("\"\\u000A\""),
        Just("\"\\u0041\""),
        Just("\"\\/\""),
        Just("\"\u{e9}\""),
        Just("\"\u{1}\""),
        Just("0"),
        Just("-"),
        Just("17"),
        Just("9007199254740992"),
        Just("true"),
        Just("false"),
        Just("null"),
        Just(" "),
        Just("{\"a\":1,\"b\":[2]}"),
    ];
    prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn it_accepts_what_is_written_as_it_was_read(text in texts()) {
        prop_assert_eq!(Raw::read(text.as_bytes()).is_ok(), is_canonical(text.as_bytes()));
        prop_assert_eq!(RawObject::read(text.as_bytes()).is_ok(), is_canonical(text.as_bytes()));
    }

    #[test]
    fn it_sees_what_the_parser_sees(
        members in prop::collection::btree_map("[ -~\u{1}\n]{0,4}", any::<String>(), 0..5),
        flip in any::<(usize, u8)>(),
    ) {
        let object = Value::object(members.iter().map(|(name, text)| (name.clone(), Value::text(text.clone()))));
        let bytes = object.encode();
        let raw = RawObject::read(&bytes).unwrap();
        for (name, text) in members.iter().filter(|(name, _)| !name.contains(['"', '\\', '\n', '\u{1}'])) {
            let read = raw.text(name);
            prop_assert_eq!(read.as_deref(), Some(text.as_str()));
            prop_assert_eq!(raw.whole().get(name), raw.get(name));
        }
        let names = ["A", "Z", "a", "b"];
        let wanted = names.map(|name| raw.get(name));
        const ONE: Keys<4> = Keys::new(["A", "Z", "a", "b"]);
        const OTHER: Keys<2> = Keys::new(["Z", "b"]);
        let others = [wanted[1], wanted[3]];
        prop_assert_eq!(Raw::pick(&bytes, (&ONE, &OTHER)), Ok((raw.whole(), wanted, others)));
        prop_assert_eq!(RawObject::read_with(&bytes, &ONE), Ok((raw.clone(), wanted)));
        prop_assert_eq!(raw.whole().several(&OTHER), others);
        let at = flip.0 % bytes.len();
        let mut bytes = bytes.clone();
        bytes[at] = flip.1;
        prop_assert_eq!(RawObject::read(&bytes).is_ok(), is_canonical(&bytes));
    }
}

#[test]
fn keys_that_begin_alike_are_told_apart_and_sorted() {
    let keys = ["", "a", "aaaaaaa", "aaaaaaaa", "aaaaaaaaa", "aaaaaaaab", "aaaaaaab", "b"];
    let members = keys.iter().zip(0..).map(|(key, n)| (*key, Value::int(n)));
    let bytes = Value::object(members).encode();
    let raw = RawObject::read(&bytes).unwrap();
    assert_eq!(keys.map(|key| raw.get(key).and_then(Raw::as_int)), std::array::from_fn(|n| Some(n as i64)));
    assert_eq!(["aaaaaa", "aaaaaaaaaa", "aaaaaaac"].map(|key| raw.get(key)), [None; 3]);
    let some = Keys::new(["a", "aaaaaa", "aaaaaaa", "aaaaaaaa", "aaaaaaab", "aaaaaaac", "b"]);
    let found = [Some(1), None, Some(2), Some(3), Some(6), None, Some(7)];
    assert_eq!(raw.whole().several(&some).map(|value| value.and_then(Raw::as_int)), found);
    for (name, found) in [("aaaaaaaaa", Some(4)), ("aaaaaaaab", Some(5)), ("aaaaaaaac", None), ("aaaaaaaaaa", None)] {
        assert_eq!(raw.whole().several(&Keys::new([name])).map(|value| value.and_then(Raw::as_int)), [found], "{name}");
    }
    for (one, other) in keys.iter().flat_map(|one| keys.iter().map(move |other| (one, other))) {
        let text = format!("{{\"{one}\":1,\"{other}\":2}}");
        assert_eq!(RawObject::read(text.as_bytes()).is_ok(), one < other, "{text}");
        assert_eq!(is_canonical(text.as_bytes()), one < other, "{text}");
    }
}

#[test]
fn keys_are_compared_as_they_read_and_not_as_they_are_spelt() {
    let object = Value::object([("a\n", Value::int(1)), ("a!", Value::int(2)), ("a\\", Value::int(3))]);
    let bytes = object.encode();
    assert!(RawObject::read(&bytes).is_ok(), "{}", String::from_utf8_lossy(&bytes));
}

#[test]
fn a_key_that_is_spelt_otherwise_hides_none_behind_it() {
    let object = Value::object([("\n", Value::int(1)), ("Z", Value::int(2)), ("a", Value::int(3))]);
    let bytes = object.encode();
    let found = Raw::read(&bytes).unwrap().several(&Keys::new(["Z", "a"]));
    assert_eq!(found.map(|value| value.and_then(Raw::as_int)), [Some(2), Some(3)]);
}

#[test]
fn depth_is_bounded_alike() {
    for depth in [DEPTH_MAX, DEPTH_MAX + 1, DEPTH_MAX + 2, 100_000] {
        let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(Raw::read(text.as_bytes()).is_ok(), is_canonical(text.as_bytes()), "{depth}");
    }
}
