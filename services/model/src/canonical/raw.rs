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
}

impl<'a> Raw<'a> {
    /// # Errors
    /// Exactly where [`parse`](super::parse) has one. The offset can be another.
    pub fn read(bytes: &'a [u8]) -> Result<Self, NotCanonical> {
        let text =
            std::str::from_utf8(bytes).map_err(|e| NotCanonical { problem: "not UTF-8", offset: e.valid_up_to() })?;
        let mut reader = Reader { text, at: 0 };
        reader.value(0)?;
        if reader.at != bytes.len() {
            return Err(reader.error("text after the value"));
        }
        Ok(Self(text))
    }

    /// As it lies there.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    pub fn as_text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if !inner.contains('\\') {
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
        let mut members = Vec::with_capacity(16);
        let mut reader = Reader { text: self.0, at: 0 };
        reader.object(0, |key, value| members.push((key, value))).ok()?;
        Some(RawObject { whole: self, members })
    }

    /// `None` for what is no array.
    pub fn items(self) -> Option<Vec<Raw<'a>>> {
        if !self.0.starts_with('[') {
            return None;
        }
        let mut items = Vec::new();
        let mut reader = Reader { text: self.0, at: 0 };
        reader.array(0, |item| items.push(item)).ok()?;
        Some(items)
    }
}

impl<'a> RawObject<'a> {
    /// An object and nothing else.
    ///
    /// # Errors
    /// As [`Raw::read`]; a value that is no object has no members.
    pub fn read(bytes: &'a [u8]) -> Result<Self, NotCanonical> {
        let text =
            std::str::from_utf8(bytes).map_err(|e| NotCanonical { problem: "not UTF-8", offset: e.valid_up_to() })?;
        let mut reader = Reader { text, at: 0 };
        let mut members = Vec::with_capacity(48);
        match reader.peek() {
            Some(b'{') => reader.object(0, |key, value| members.push((key, value)))?,
            _ => reader.value(0)?,
        }
        if reader.at != bytes.len() {
            return Err(reader.error("text after the value"));
        }
        Ok(Self { whole: Raw(text), members })
    }

    pub fn get(&self, key: &str) -> Option<Raw<'a>> {
        // They are sorted by what they read, which is not always how they are spelt.
        let first = key.as_bytes().first();
        let is_it = |name: &str| name.as_bytes().first() == first && name == key;
        self.members.iter().find(|(name, _)| is_it(name)).map(|(_, value)| *value)
    }

    /// Several at once, each where its key is, in one pass.
    pub fn several<const N: usize>(&self, keys: [&str; N]) -> [Option<Raw<'a>>; N] {
        let mut found = [None; N];
        for (name, value) in &self.members {
            let first = name.as_bytes().first();
            for (key, place) in keys.iter().zip(&mut found) {
                if first == key.as_bytes().first() && name == key {
                    *place = Some(*value);
                }
            }
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

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, problem: &'static str) -> NotCanonical {
        NotCanonical { problem, offset: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> Result<(), NotCanonical> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.error("unknown word"));
        }
        self.at += word.len();
        Ok(())
    }

    fn since(&self, from: usize) -> Raw<'a> {
        Raw(self.text.get(from..self.at).unwrap_or_default())
    }

    fn value(&mut self, depth: usize) -> Result<(), NotCanonical> {
        if depth > DEPTH_MAX {
            return Err(self.error("nested too deeply"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth, |_, _| ()),
            Some(b'[') => self.array(depth, |_| ()),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => Err(self.error("null is not used")),
            _ => Err(self.error("expected a value")),
        }
    }

    fn object(&mut self, depth: usize, mut member: impl FnMut(&'a str, Raw<'a>)) -> Result<(), NotCanonical> {
        self.at += 1;
        if self.take(b'}') {
            return Ok(());
        }
        let mut last: Option<&str> = None;
        loop {
            let from = self.at;
            self.string()?;
            let raw = self.since(from).as_str();
            let key = raw.get(1..raw.len() - 1).unwrap_or_default();
            if !key.is_ascii() {
                return Err(self.error("key is not ASCII"));
            }
            if !last.is_none_or(|last| is_before(last, key)) {
                return Err(self.error("keys not sorted or not unique"));
            }
            last = Some(key);
            if !self.take(b':') {
                return Err(self.error("expected `:`"));
            }
            let from = self.at;
            self.value(depth + 1)?;
            member(key, self.since(from));
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.error("expected `,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize, mut item: impl FnMut(Raw<'a>)) -> Result<(), NotCanonical> {
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
                return Err(self.error("expected `,` or `]`"));
            }
        }
    }

    fn integer(&mut self) -> Result<(), NotCanonical> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.bytes().take_while(|b| matches!(b, b'-' | b'0'..=b'9')).count();
        let text = rest.get(..length).unwrap_or_default();
        let digits = text.strip_prefix('-').unwrap_or(text);
        let n: i64 = text.parse().map_err(|_| self.error("not an integer"))?;
        if !(-INTEGER_MAX..=INTEGER_MAX).contains(&n) {
            return Err(self.error("integer beyond 2^53"));
        }
        // One spelling only: neither `-0` nor `01`.
        if digits.starts_with('0') && text != "0" {
            return Err(self.error("not in canonical spelling"));
        }
        self.at += length;
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return Err(self.error("floats are not used"));
        }
        Ok(())
    }

    /// Only the escapes that are written.
    fn string(&mut self) -> Result<(), NotCanonical> {
        if !self.take(b'"') {
            return Err(self.error("expected a string"));
        }
        let bytes = self.text.as_bytes();
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            self.at += special(rest).ok_or_else(|| self.error("string without end"))?;
            if self.take(b'"') {
                return Ok(());
            }
            if !self.take(b'\\') {
                return Err(self.error("not in canonical spelling"));
            }
            match self.peek() {
                Some(b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r') => self.at += 1,
                Some(b'u') => {
                    let digits = self.text.get(self.at + 1..self.at + 5).ok_or_else(|| self.error("bad escape"))?;
                    let code = digits.strip_prefix("00").and_then(|hex| super::unhex(hex)?.first().copied());
                    let has_its_own = |b: u8| matches!(b, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d);
                    if !code.is_some_and(|b| b < 0x20 && !has_its_own(b)) {
                        return Err(self.error("not in canonical spelling"));
                    }
                    self.at += 5;
                }
                _ => return Err(self.error("bad escape")),
            }
        }
    }
}

/// Whether one key sorts before another, by what they read.
fn is_before(one: &str, other: &str) -> bool {
    // Most pairs are decided here, without a call.
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(a), Some(b)) if a != b && *a != b'\\' && *b != b'\\' => a < b,
        _ if one.contains('\\') || other.contains('\\') => unescaped(one) < unescaped(other),
        _ => one < other,
    }
}

/// Where the first byte is that does not stand for itself in a string: `"`, `\`, or a control character.
fn special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The highest bit of a byte is set in the first that is below a bound, and beyond that one in some that are not.
        let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGH;
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let found = below(word, 0x20) | is(b'"') | is(b'\\');
        if found != 0 {
            return Some(n * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let in_rest = rest.iter().position(|b| *b < 0x20 || matches!(b, b'"' | b'\\'))?;
    Some(words.len() * 8 + in_rest)
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
        fn the_first_special_byte_is_found_wherever_it_is(bytes in proptest::collection::vec(0_u8..=255, 0..40), plain in 0_usize..40) {
            let bytes: Vec<u8> = bytes.iter().enumerate().map(|(n, b)| if n < plain { b | 0x80 } else { *b }).collect();
            let slowly = bytes.iter().position(|b| *b < 0x20 || matches!(b, b'"' | b'\\'));
            prop_assert_eq!(special(&bytes), slowly);
        }

        #[test]
        fn among_letters_too(text in "[ -~]{0,40}") {
            let slowly = text.bytes().position(|b| b < 0x20 || matches!(b, b'"' | b'\\'));
            prop_assert_eq!(special(text.as_bytes()), slowly);
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
    fn depth_is_bounded_alike() {
        for depth in [DEPTH_MAX, DEPTH_MAX + 1, DEPTH_MAX + 2, 100_000] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(Raw::read(text.as_bytes()).is_ok(), is_canonical(text.as_bytes()), "{depth}");
        }
    }
}
