//! Canonical text looked at where it lies: checked as [`parse`](super::parse) checks it, without a tree of its values.

use super::{DEPTH_MAX, INTEGER_MAX, NotCanonical};
use std::borrow::Cow;

/// The text of one value, which is canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

impl Default for Raw<'_> {
    fn default() -> Self {
        Self("{}")
    }
}

/// The members of an object, sorted, each key once; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawObject<'a> {
    whole: Raw<'a>,
    members: Vec<(&'a str, Raw<'a>)>,
    /// No key is spelt otherwise than it reads.
    is_plain: bool,
}

/// Members that most objects of an entry have room for.
const MEMBERS: usize = 32;

impl<'a> Raw<'a> {
    /// # Errors
    /// Exactly where [`parse`](super::parse) has one. The offset can be another.
    pub fn read(bytes: &'a [u8]) -> Result<Self, NotCanonical> {
        let mut reader = Reader::new(bytes)?;
        let read = reader.value(0);
        reader.end(read)?;
        Ok(Self(reader.text))
    }

    /// As it lies there.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    pub fn as_text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if !inner.bytes().fold(false, |found, byte| found | (byte == b'\\')) {
            return Some(Cow::Borrowed(inner));
        }
        match super::tree(self) {
            Ok(super::Value::Text(text)) => Some(Cow::Owned(text)),
            _ => None,
        }
    }

    pub fn as_int(self) -> Option<i64> {
        self.0.parse().ok()
    }

    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// `None` for what is no object.
    pub fn object(self) -> Option<RawObject<'a>> {
        if !self.0.starts_with('{') {
            return None;
        }
        let mut members = Vec::with_capacity(MEMBERS / 2);
        let is_plain = Reader::again(self).object(0, |key, value| members.push((key, value))).ok()?;
        Some(RawObject { whole: self, members, is_plain })
    }

    /// `None` for what is no array.
    pub fn items(self) -> Option<Vec<Raw<'a>>> {
        if !self.0.starts_with('[') {
            return None;
        }
        let mut items = Vec::new();
        Reader::again(self).array(0, |item| items.push(item)).ok()?;
        Some(items)
    }
}

impl<'a> RawObject<'a> {
    /// An object and nothing else.
    ///
    /// # Errors
    /// As [`Raw::read`]; a value that is no object has no members.
    pub fn read(bytes: &'a [u8]) -> Result<Self, NotCanonical> {
        let mut reader = Reader::new(bytes)?;
        let mut members = Vec::with_capacity(MEMBERS);
        let read = match reader.peek() {
            Some(b'{') => reader.object(0, |key, value| members.push((key, value))),
            _ => reader.value(0).map(|()| true),
        };
        let is_plain = reader.end(read)?;
        Ok(Self { whole: Raw(reader.text), members, is_plain })
    }

    pub fn get(&self, key: &str) -> Option<Raw<'a>> {
        // They are sorted by what they read, which is not always how they are spelt.
        let first = key.as_bytes().first();
        let is_it = |name: &str| name.as_bytes().first() == first && name == key;
        self.members.iter().find(|(name, _)| is_it(name)).map(|(_, value)| *value)
    }

    /// Several at once, each where its key is, in one pass over both. `keys` ascend.
    pub fn several<const N: usize>(&self, keys: [&str; N]) -> [Option<Raw<'a>>; N] {
        debug_assert!(keys.is_sorted(), "{keys:?}");
        if !self.is_plain {
            return keys.map(|key| self.get(key));
        }
        let mut found = [None; N];
        let mut members = self.members.iter().peekable();
        for (key, place) in keys.iter().zip(&mut found) {
            while members.next_if(|(name, _)| is_before(name, key)).is_some() {}
            *place = members.next_if(|(name, _)| name == key).map(|(_, value)| *value);
        }
        found
    }

    /// All of it.
    pub fn whole(&self) -> Raw<'a> {
        self.whole
    }

    pub fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        self.get(key)?.as_text()
    }
}

/// In words. It is where the reader stands, and small, because every string may have one.
type Problem = &'static str;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Keys need not be looked at for what is not ASCII.
    is_ascii: bool,
}

impl<'a> Reader<'a> {
    /// What holds of the whole text is looked for many bytes at a time.
    fn new(bytes: &'a [u8]) -> Result<Self, NotCanonical> {
        let text =
            std::str::from_utf8(bytes).map_err(|e| NotCanonical { problem: "not UTF-8", offset: e.valid_up_to() })?;
        // In strings they are escaped, and between values there is nothing.
        if bytes.iter().fold(false, |found, b| found | (*b < 0x20)) {
            let offset = bytes.iter().position(|b| *b < 0x20).unwrap_or(0);
            return Err(NotCanonical { problem: "not in canonical spelling", offset });
        }
        Ok(Self { is_ascii: text.is_ascii(), ..Self::again(Raw(text)) })
    }

    /// Of a part of what was read.
    fn again(raw: Raw<'a>) -> Self {
        Self { text: raw.0, at: 0, is_ascii: true }
    }

    /// What was read, if that was all.
    fn end<T>(&self, read: Result<T, Problem>) -> Result<T, NotCanonical> {
        let read =
            read.and_then(|read| if self.at == self.text.len() { Ok(read) } else { Err("text after the value") });
        read.map_err(|problem| NotCanonical { problem, offset: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Where the next byte is that does not stand for itself in a string.
    fn special(&self) -> Option<usize> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        memchr::memchr2(b'"', b'\\', rest).map(|found| self.at + found)
    }

    fn word(&mut self, word: &str) -> Result<(), Problem> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err("unknown word");
        }
        self.at += word.len();
        Ok(())
    }

    fn since(&self, from: usize) -> Raw<'a> {
        Raw(self.text.get(from..self.at).unwrap_or_default())
    }

    fn value(&mut self, depth: usize) -> Result<(), Problem> {
        if depth > DEPTH_MAX {
            return Err("nested too deeply");
        }
        match self.peek() {
            Some(b'{') => self.object(depth, |_, _| ()).map(drop),
            Some(b'[') => self.array(depth, |_| ()),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => Err("null is not used"),
            _ => Err("expected a value"),
        }
    }

    /// Whether every key is spelt as it reads.
    fn object(&mut self, depth: usize, mut member: impl FnMut(&'a str, Raw<'a>)) -> Result<bool, Problem> {
        self.at += 1;
        if self.take(b'}') {
            return Ok(true);
        }
        let (mut last, mut is_plain): (Option<&str>, _) = (None, true);
        loop {
            let from = self.at + 1;
            is_plain &= self.string()?;
            let key = self.text.get(from..self.at - 1).unwrap_or_default();
            if !self.is_ascii && !key.is_ascii() {
                return Err("key is not ASCII");
            }
            let follows = |last| if is_plain { is_before(last, key) } else { unescaped(last) < unescaped(key) };
            if !last.is_none_or(follows) {
                return Err("keys not sorted or not unique");
            }
            last = Some(key);
            if !self.take(b':') {
                return Err("expected `:`");
            }
            let from = self.at;
            self.value(depth + 1)?;
            member(key, self.since(from));
            if self.take(b'}') {
                return Ok(is_plain);
            }
            if !self.take(b',') {
                return Err("expected `,` or `}`");
            }
        }
    }

    fn array(&mut self, depth: usize, mut item: impl FnMut(Raw<'a>)) -> Result<(), Problem> {
        self.at += 1;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            let from = self.at;
            self.value(depth + 1)?;
            item(self.since(from));
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err("expected `,` or `]`");
            }
        }
    }

    fn integer(&mut self) -> Result<(), Problem> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.bytes().take_while(|b| matches!(b, b'-' | b'0'..=b'9')).count();
        let text = rest.get(..length).unwrap_or_default();
        let digits = text.strip_prefix('-').unwrap_or(text);
        let n: i64 = text.parse().map_err(|_| "not an integer")?;
        if !(-INTEGER_MAX..=INTEGER_MAX).contains(&n) {
            return Err("integer beyond 2^53");
        }
        // One spelling only: neither `-0` nor `01`.
        if digits.starts_with('0') && text != "0" {
            return Err("not in canonical spelling");
        }
        self.at += length;
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return Err("floats are not used");
        }
        Ok(())
    }

    /// Only the escapes that are written. Whether there are none.
    fn string(&mut self) -> Result<bool, Problem> {
        if !self.take(b'"') {
            return Err("expected a string");
        }
        let mut is_plain = true;
        loop {
            self.at = self.special().ok_or("string without end")?;
            if self.take(b'"') {
                return Ok(is_plain);
            }
            // A backslash.
            self.at += 1;
            is_plain = false;
            match self.peek() {
                Some(b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r') => self.at += 1,
                Some(b'u') => {
                    let digits = self.text.get(self.at + 1..self.at + 5).ok_or("bad escape")?;
                    let code = digits.strip_prefix("00").and_then(|hex| super::unhex(hex)?.first().copied());
                    let has_its_own = |b: u8| matches!(b, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d);
                    if !code.is_some_and(|b| b < 0x20 && !has_its_own(b)) {
                        return Err("not in canonical spelling");
                    }
                    self.at += 5;
                }
                _ => return Err("bad escape"),
            }
        }
    }
}

/// Whether one key sorts before another; both are spelt as they read.
fn is_before(one: &str, other: &str) -> bool {
    // Most differ in one of the first bytes, sooner than a call would be made.
    let mut pairs = one.bytes().zip(other.bytes());
    pairs.find(|(a, b)| a != b).map_or(one.len() < other.len(), |(a, b)| a < b)
}

/// What stands between the quotes of a canonical string.
fn unescaped(inner: &str) -> String {
    match super::tree(Raw(&format!("\"{inner}\""))) {
        Ok(super::Value::Text(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{self as canonical, Value};
    use super::*;
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
            }
            for wanted in [["", "a", "b"], [" ", "Z", "\\"], ["!", "^", "~"]] {
                let [first, second, third] = wanted.map(|name| raw.get(name));
                prop_assert_eq!(raw.several(wanted), [first, second, third], "{:?}", wanted);
            }
            let at = flip.0 % bytes.len();
            let mut bytes = bytes.clone();
            bytes[at] = flip.1;
            prop_assert_eq!(RawObject::read(&bytes).is_ok(), is_canonical(&bytes));
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
        let raw = RawObject::read(&bytes).unwrap();
        assert_eq!(raw.several(["Z", "a"]).map(|value| value.and_then(Raw::as_int)), [Some(2), Some(3)]);
    }

    #[test]
    fn depth_is_bounded_alike() {
        for depth in [DEPTH_MAX, DEPTH_MAX + 1, DEPTH_MAX + 2, 100_000] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(Raw::read(text.as_bytes()).is_ok(), is_canonical(text.as_bytes()), "{depth}");
        }
    }
}
