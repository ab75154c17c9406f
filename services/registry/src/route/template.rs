//! Text with typed holes: how the request to the source is built.
//!
//! `{from|epoch_ms}`, `{signal.address|influxql_identifier}`; `{{` and `}}` are braces. A hole is filled in the spelling
//! of its format, then the whole value is percent-encoded. Text that a caller chose freely goes nowhere unquoted: it is
//! the whole value, or one word, or it brings its quotes.

use super::influxql;
use super::parameter::Value;
use std::borrow::Cow;

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(crate) pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(String),
    Value { of: Of, format: Format },
}

/// What fills a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Parameter(String),
    SignalId,
    SignalAddress,
    SignalUnit,
    DatasetId,
}

/// How a value is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Integer,
    Boolean,
    Rfc3339,
    EpochMs,
    Milliseconds,
    InfluxqlString,
    InfluxqlIdentifier,
}

/// The kind of value a format can spell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Integer,
    Boolean,
    Timestamp,
    Duration,
}

impl Format {
    const ALL: [(&'static str, Self, Type); 9] = [
        ("text", Self::Text, Type::Text),
        ("influxql_string", Self::InfluxqlString, Type::Text),
        ("influxql_identifier", Self::InfluxqlIdentifier, Type::Text),
        ("integer", Self::Integer, Type::Integer),
        ("boolean", Self::Boolean, Type::Boolean),
        ("rfc3339", Self::Rfc3339, Type::Timestamp),
        ("epoch_ms", Self::EpochMs, Type::Timestamp),
        ("ms", Self::Milliseconds, Type::Duration),
        ("text", Self::Text, Type::Duration),
    ];

    /// The format called `name` for values of `wanted`.
    pub(crate) fn named(name: &str, wanted: Type) -> Option<Self> {
        Self::ALL.iter().find(|(n, _, t)| *n == name && *t == wanted).map(|(_, format, _)| *format)
    }

    pub(crate) fn names(wanted: Type) -> Vec<&'static str> {
        Self::ALL.iter().filter(|(_, _, t)| *t == wanted).map(|(n, _, _)| *n).collect()
    }

    /// What a hole without a format means; times and durations have no such thing.
    pub(crate) fn default_of(wanted: Type) -> Option<Self> {
        match wanted {
            Type::Text => Some(Self::Text),
            Type::Integer => Some(Self::Integer),
            Type::Boolean => Some(Self::Boolean),
            Type::Timestamp | Type::Duration => None,
        }
    }

    pub(crate) fn brings_quotes(self) -> bool {
        matches!(self, Self::InfluxqlString | Self::InfluxqlIdentifier)
    }
}

/// What the holes of one request are filled with.
pub(crate) trait Values {
    fn value(&self, of: &Of) -> Option<Cow<'_, Value>>;
}

impl Template {
    /// The text with all holes filled. `None` if a value is missing or of another type than its format, which loading
    /// has ruled out.
    pub(crate) fn fill(&self, values: &impl Values) -> Option<String> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Value { of, format } => {
                    let value = values.value(of)?;
                    out.push_str(&spell(value.as_ref(), *format)?);
                }
            }
        }
        Some(out)
    }

    pub(crate) fn holes(&self) -> impl Iterator<Item = &Of> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value { of, .. } => Some(of),
            Piece::Literal(_) => None,
        })
    }
}

fn spell(value: &Value, format: Format) -> Option<String> {
    Some(match (format, value) {
        (Format::Text | Format::Integer | Format::Boolean | Format::Rfc3339, value) => value.to_text(),
        (Format::EpochMs, Value::Timestamp(t)) => t.millis().to_string(),
        (Format::Milliseconds, Value::Duration(ms)) => ms.to_string(),
        (Format::InfluxqlString, value) => influxql::string(&value.to_text()),
        (Format::InfluxqlIdentifier, value) => influxql::identifier(&value.to_text()),
        _ => return None,
    })
}

/// RFC 3986: everything but unreserved characters as UTF-8 in percent-encoding.
pub(crate) fn percent_encode(text: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |n: u8| DIGITS.get(usize::from(n & 15)).map_or('0', |d| char::from(*d));
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(b));
        } else {
            out.extend(['%', digit(b >> 4), digit(b)]);
        }
    }
}

/// A piece as it is written: literal text, or the inside of braces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written<'a> {
    Literal(String),
    Hole(&'a str),
}

/// Splits a template at its braces.
pub(crate) fn split(text: &str) -> Result<Vec<Written<'_>>, &'static str> {
    let (mut pieces, mut literal) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some((before, brace, after)) = next_brace(rest) {
        literal.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix(brace) {
            literal.push(brace);
            rest = after;
        } else if brace == '}' {
            return Err("a `}` without its `{`; a brace itself is written `}}`");
        } else {
            let (hole, after) = rest.split_once('}').ok_or("a `{` without its `}`; a brace itself is written `{{`")?;
            if !literal.is_empty() {
                pieces.push(Written::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Written::Hole(hole.trim()));
            rest = after;
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Written::Literal(literal));
    }
    Ok(pieces)
}

fn next_brace(text: &str) -> Option<(&str, char, &str)> {
    let at = text.find(['{', '}'])?;
    let (before, rest) = text.split_at_checked(at)?;
    let mut chars = rest.chars();
    let brace = chars.next()?;
    Some((before, brace, chars.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_holes_unless_doubled() {
        let split_ok = |t| split(t).unwrap();
        assert_eq!(split_ok("a{b}c"), [Written::Literal("a".into()), Written::Hole("b"), Written::Literal("c".into())]);
        assert_eq!(
            split_ok("{{{a|ms}}}"),
            [Written::Literal("{".into()), Written::Hole("a|ms"), Written::Literal("}".into())]
        );
        assert!(split("{a").is_err() && split("a}").is_err());
        assert_eq!(split_ok(""), []);
    }

    #[test]
    fn only_unreserved_characters_stay() {
        let mut out = String::new();
        percent_encode("aZ0-._~ +&=/%'\"ä", &mut out);
        assert_eq!(out, "aZ0-._~%20%2B%26%3D%2F%25%27%22%C3%A4");
    }
}
