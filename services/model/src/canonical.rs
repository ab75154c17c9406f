//! Canonical JSON of audit entries: a restricted profile of RFC 8785.
//!
//! Keys are ASCII and sorted, integers lie within ±(2^53 - 1), there are no floats, no nulls, no duplicate keys and no
//! white space. [`parse`] accepts exactly the bytes that [`Value::encode`] writes, so an entry has one spelling.

mod members;
mod raw;

pub use members::{Encoded, Members};
pub use raw::{Keys, Picked, Raw, RawObject};

use std::collections::BTreeMap;

/// 2^53 - 1: what every JSON reader can hold exactly.
pub const INTEGER_MAX: i64 = 9_007_199_254_740_991;
/// Entries are flat; deeper nesting is an attack on a recursive reader.
const DEPTH_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    Array(Vec<Value>),
    Object(Object),
}

/// Why bytes are not canonical JSON, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}")]
pub struct NotCanonical {
    pub problem: &'static str,
    pub offset: usize,
}

/// The members of an object, sorted, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self.0.binary_search_by(|(name, _)| name.as_str().cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.0.binary_search_by(|(name, _)| name.as_str().cmp(key)).ok()?;
        Some(self.0.remove(at).1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// Of members with one key the last counts.
impl FromIterator<(String, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(members: I) -> Self {
        Self(BTreeMap::from_iter(members).into_iter().collect())
    }
}

impl IntoIterator for Object {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Places for members that objects with more than one get at once.
const MEMBERS: usize = 7;

impl Value {
    pub fn text(value: impl Into<String>) -> Self {
        Self::Text(value.into())
    }

    /// An integer, held within ±(2^53 - 1): a count beyond that is a fault elsewhere, and no reason to lose a record.
    pub fn int(value: i64) -> Self {
        Self::Int(value.clamp(-INTEGER_MAX, INTEGER_MAX))
    }

    pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    pub fn texts<T: Into<String>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::Array(items.into_iter().map(|t| Self::Text(t.into())).collect())
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Object(members) => members.get(key),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(t) => Some(t),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            _ => None,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.encode_into(&mut out);
        out
    }

    pub fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Int(n) => encode_int(*n, out),
            Self::Text(t) => encode_text(t, out),
            Self::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    item.encode_into(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    encode_text(key, out);
                    out.push(b':');
                    value.encode_into(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Decimal digits, with `-` before them where needed.
pub fn encode_int(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut rest = value.unsigned_abs();
    let mut from = digits.len();
    for digit in digits.iter_mut().rev() {
        // Below ten.
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        from -= 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(digits.get(from..).unwrap_or_default());
}

/// RFC 8785 section 3.2.2.2: two-character escapes where JSON has them, `\u00xx` for other controls, nothing else.
pub fn encode_text(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    // Without an early end, so that it is done many bytes at a time.
    if bytes.iter().fold(false, |found, b| found | is_escaped(*b)) {
        encode_escaped(bytes, out);
    } else {
        out.extend_from_slice(bytes);
    }
    out.push(b'"');
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn encode_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    for (i, &b) in bytes.iter().enumerate().filter(|(_, b)| is_escaped(**b)) {
        out.extend_from_slice(bytes.get(from..i).unwrap_or_default());
        match b {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            _ => {
                out.extend_from_slice(b"\\u00");
                hex_into(&[b], out);
            }
        }
        from = i + 1;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    hex_into(bytes, &mut out);
    // ASCII only, so nothing is lost.
    String::from_utf8(out).unwrap_or_default()
}

/// Appends what [`hex`] gives.
pub fn hex_into(bytes: &[u8], out: &mut Vec<u8>) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let from = out.len();
    out.resize(from + bytes.len() * 2, 0);
    let pairs = out.get_mut(from..).unwrap_or_default().as_chunks_mut::<2>().0;
    pairs.iter_mut().zip(bytes).for_each(|(pair, b)| *pair = [digit(b >> 4), digit(b & 0x0f)]);
}

/// The inverse of [`hex`]; upper case is not accepted.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len() / 2];
    unhex_to(text, &mut bytes).then_some(bytes)
}

/// The same of a known number of bytes.
pub fn unhex_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    unhex_to(text, &mut bytes).then_some(bytes)
}

/// Whether there were just as many bytes.
fn unhex_to(text: &str, bytes: &mut [u8]) -> bool {
    let nibble = |b: u8| match b {
        b'0'..=b'9' => b - b'0',
        b'a'..=b'f' => b - b'a' + 10,
        _ => NO_DIGIT,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut wrong = 0;
    for ([hi, lo], byte) in pairs.iter().zip(&mut *bytes) {
        let (hi, lo) = (nibble(*hi), nibble(*lo));
        wrong |= (hi | lo) & NO_DIGIT;
        *byte = hi << 4 | lo & 0x0f;
    }
    rest.is_empty() && pairs.len() == bytes.len() && wrong == 0
}

/// No nibble has this bit.
const NO_DIGIT: u8 = 0x80;

/// Reads canonical JSON, and nothing but canonical JSON.
///
/// # Errors
/// The first place where the bytes are not what [`Value::encode`] would have written.
pub fn parse(bytes: &[u8]) -> Result<Value, NotCanonical> {
    tree(Raw::read(bytes)?)
}

/// The tree of values.
///
/// # Errors
/// None: the text was checked.
pub(crate) fn tree(raw: Raw<'_>) -> Result<Value, NotCanonical> {
    Reader { text: raw.as_str(), at: 0 }.value(0)
}

/// Of canonical text.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn error(&self, problem: &'static str) -> NotCanonical {
        NotCanonical { problem, offset: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, literal: &str) -> bool {
        let found = self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(literal.as_bytes()));
        if found {
            self.at += literal.len();
        }
        found
    }

    fn expect(&mut self, literal: &str, problem: &'static str) -> Result<(), NotCanonical> {
        if self.take(literal) { Ok(()) } else { Err(self.error(problem)) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, NotCanonical> {
        if depth > DEPTH_MAX {
            return Err(self.error("nested too deeply"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(b't') => self.expect("true", "unknown word").map(|()| Value::Bool(true)),
            Some(b'f') => self.expect("false", "unknown word").map(|()| Value::Bool(false)),
            Some(b'n') => Err(self.error("null is not used")),
            _ => Err(self.error("expected a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, NotCanonical> {
        self.at += 1;
        let mut members = Object::default();
        if self.take("}") {
            return Ok(Value::Object(members));
        }
        loop {
            let key = self.string()?;
            if !key.is_ascii() {
                return Err(self.error("key is not ASCII"));
            }
            // Sorted and unique: each key must come after all before it.
            if members.0.last().is_some_and(|(last, _)| *last >= key) {
                return Err(self.error("keys not sorted or not unique"));
            }
            self.expect(":", "expected `:`")?;
            let value = self.value(depth + 1)?;
            members.0.push((key, value));
            if self.take("}") {
                return Ok(Value::Object(members));
            }
            if members.0.len() == 1 {
                members.0.reserve(MEMBERS);
            }
            self.expect(",", "expected `,` or `}`")?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, NotCanonical> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take("]") {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take("]") {
                return Ok(Value::Array(items));
            }
            self.expect(",", "expected `,` or `]`")?;
        }
    }

    fn integer(&mut self) -> Result<Value, NotCanonical> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.bytes().take_while(|b| matches!(b, b'-' | b'0'..=b'9')).count();
        let n: i64 = rest.get(..length).and_then(|t| t.parse().ok()).ok_or_else(|| self.error("not an integer"))?;
        if !(-INTEGER_MAX..=INTEGER_MAX).contains(&n) {
            return Err(self.error("integer beyond 2^53"));
        }
        self.at += length;
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return Err(self.error("floats are not used"));
        }
        Ok(Value::Int(n))
    }

    fn string(&mut self) -> Result<String, NotCanonical> {
        self.expect("\"", "expected a string")?;
        let mut out = String::new();
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\'));
            let end = self.at + plain.ok_or_else(|| self.error("string without end"))?;
            // Both are ASCII, so this is between characters.
            out.push_str(self.text.get(self.at..end).unwrap_or_default());
            self.at = end;
            if self.take("\"") {
                return Ok(out);
            }
            self.at += 1;
            out.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, NotCanonical> {
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'b') => '\u{8}',
            Some(b't') => '\t',
            Some(b'n') => '\n',
            Some(b'f') => '\u{c}',
            Some(b'r') => '\r',
            Some(b'u') => {
                let digits = self.text.get(self.at + 1..self.at + 5).ok_or_else(|| self.error("bad escape"))?;
                let code = u32::from_str_radix(digits, 16).map_err(|_| self.error("bad escape"))?;
                self.at += 4;
                char::from_u32(code).ok_or_else(|| self.error("bad escape"))?
            }
            _ => return Err(self.error("bad escape")),
        };
        self.at += 1;
        Ok(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            (-INTEGER_MAX..=INTEGER_MAX).prop_map(Value::Int),
            any::<String>().prop_map(Value::Text),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[ -~]{0,8}", inner, 0..4).prop_map(Value::object),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in values()) {
            prop_assert_eq!(parse(&value.encode()), Ok(value));
        }

        #[test]
        fn what_is_read_is_the_only_spelling(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = parse(&bytes) {
                prop_assert_eq!(value.encode(), bytes);
            }
        }

        #[test]
        fn integers_are_written_as_decimal_digits(value in any::<i64>()) {
            let mut out = Vec::new();
            encode_int(value, &mut out);
            prop_assert_eq!(out, value.to_string().into_bytes());
        }

        #[test]
        fn hex_round_trips(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(unhex_array::<4>(&hex(&bytes)), bytes.try_into().ok());
        }
    }

    #[test]
    fn every_character_has_the_spelling_of_rfc_8785() {
        let text: String = (0..=0x80_u8).map(char::from).collect();
        let expected = "\"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\
            \\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c\\u001d\\u001e\\u001f\
            \u{20}!\\\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\u{7f}\u{80}\"";
        assert_eq!(String::from_utf8(Value::text(text).encode()).unwrap(), expected);
        assert_eq!(hex(&(0..=255).collect::<Vec<u8>>()), (0..=255).map(|b| format!("{b:02x}")).collect::<String>());
    }

    #[test]
    fn second_spellings_are_refused() {
        for bad in [
            r#"{"b":1,"a":2}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a": 1}"#,
            "1.0",
            "1e2",
            "-0",
            "01",
            "null",
            "+1",
            "",
            r#"{"a":1,}"#,
            "[1,]",
            r#""\u0041""#,
            r#""\/""#,
            r#""\u001F""#,
            "\"\n\"",
            "true ",
            "9007199254740992",
            r#"{"ä":1}"#,
            "\"\\ud800\"",
            "{",
            "\"",
            "[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(b"\"\xff\"").is_err());
        assert!(parse(r#"{"a":"\u001f\n","b":[1,-2,true]}"#.as_bytes()).is_ok());
    }
}
