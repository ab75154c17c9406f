//! Canonical text that is written as its values come, without a tree in between: a decision has fifty members, and a tree
//! of them costs more than the decision.

use super::{Value, encode_text, hex_into};
use std::borrow::Cow;
use std::ops::Range;

/// The canonical text of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded(Vec<u8>);

/// Members of one object. They may come in any order; of two with one name the later counts.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// `"name":value` of each, one after the other.
    text: Vec<u8>,
    index: Vec<(&'static str, Range<usize>)>,
}

impl Encoded {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&Value> for Encoded {
    fn from(value: &Value) -> Self {
        Self(value.encode())
    }
}

impl From<Value> for Encoded {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl From<Members> for Encoded {
    fn from(members: Members) -> Self {
        let mut text = Vec::with_capacity(members.text.len() + members.index.len() + 2);
        members.encode_into(&mut text);
        Self(text)
    }
}

impl Members {
    /// With room for about so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), index: Vec::with_capacity(bytes / 32) }
    }

    pub fn text(&mut self, name: &'static str, value: impl AsRef<str>) {
        self.member(name, |out| encode_text(value.as_ref(), out));
    }

    /// Lower-case hexadecimal text.
    pub fn hex(&mut self, name: &'static str, value: &[u8]) {
        self.member(name, |out| encode_hex(value, out));
    }

    /// As [`Value::int`].
    pub fn int(&mut self, name: &'static str, value: i64) {
        self.value(name, &Value::int(value));
    }

    /// A count or an index, held within what every JSON reader can hold exactly.
    pub fn count(&mut self, name: &'static str, value: u64) {
        self.int(name, i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub fn bool(&mut self, name: &'static str, value: bool) {
        self.value(name, &Value::Bool(value));
    }

    pub fn texts<T: AsRef<str>>(&mut self, name: &'static str, items: impl IntoIterator<Item = T>) {
        self.member(name, |out| encode_texts(items, out));
    }

    /// An array of pairs of texts.
    pub fn pairs<'t>(&mut self, name: &'static str, pairs: impl IntoIterator<Item = (&'t str, &'t str)>) {
        self.member(name, |out| list(pairs, out, |(first, second), out| encode_texts([first, second], out)));
    }

    pub fn object(&mut self, name: &'static str, members: &Self) {
        self.member(name, |out| members.encode_into(out));
    }

    pub fn objects(&mut self, name: &'static str, items: impl IntoIterator<Item = Self>) {
        self.member(name, |out| list(items, out, |members, out| members.encode_into(out)));
    }

    pub fn value(&mut self, name: &'static str, value: &Value) {
        self.member(name, |out| value.encode_into(out));
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.index.iter().map(|(name, _)| *name)
    }

    /// The text under this name; `None` where there is none, or something else.
    pub fn text_of(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, range) = self.index.iter().rev().find(|(member, _)| *member == name)?;
        // Behind the name in its quotes, and the colon. Names have nothing that is escaped.
        let value = self.text.get(range.clone())?.get(name.len() + 3..)?;
        let inside = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if !inside.contains(&b'\\') {
            return std::str::from_utf8(inside).ok().map(Cow::Borrowed);
        }
        match super::parse(value).ok()? {
            Value::Text(text) => Some(Cow::Owned(text)),
            _ => None,
        }
    }

    /// `{"a":…,"b":…}`
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let index = self.in_order();
        self.write(&index, out);
        out.push(b'}');
    }

    /// The members whose names sort before `name`, and the others: `"a":…,"b":…` without braces.
    pub fn split_at(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        let index = self.in_order();
        let (before, after) = index.split_at(index.partition_point(|(member, _)| *member < name));
        [before, after]
            .map(|part| {
                let mut out = Vec::with_capacity(part.iter().map(|(_, range)| range.len() + 1).sum());
                self.write(part, &mut out);
                out
            })
            .into()
    }

    fn member(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.text.len();
        encode_text(name, &mut self.text);
        self.text.push(b':');
        write(&mut self.text);
        self.index.push((name, from..self.text.len()));
    }

    fn in_order(&self) -> Vec<(&'static str, Range<usize>)> {
        let mut index = self.index.clone();
        // Stable, and of equal names the last one counts.
        index.sort_by_key(|(name, _)| *name);
        index.dedup_by(|later, earlier| {
            let equal = later.0 == earlier.0;
            if equal {
                std::mem::swap(later, earlier);
            }
            equal
        });
        index
    }

    fn write(&self, index: &[(&'static str, Range<usize>)], out: &mut Vec<u8>) {
        for (i, (_, range)) in index.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(self.text.get(range.clone()).unwrap_or_default());
        }
    }
}

impl Extend<(&'static str, Value)> for Members {
    fn extend<I: IntoIterator<Item = (&'static str, Value)>>(&mut self, members: I) {
        members.into_iter().for_each(|(name, value)| self.value(name, &value));
    }
}

impl FromIterator<(&'static str, Value)> for Members {
    fn from_iter<I: IntoIterator<Item = (&'static str, Value)>>(members: I) -> Self {
        let mut collected = Self::default();
        collected.extend(members);
        collected
    }
}

impl<const N: usize> From<[(&'static str, Value); N]> for Members {
    fn from(members: [(&'static str, Value); N]) -> Self {
        members.into_iter().collect()
    }
}

impl From<Vec<(&'static str, Value)>> for Members {
    fn from(members: Vec<(&'static str, Value)>) -> Self {
        members.into_iter().collect()
    }
}

fn encode_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    hex_into(bytes, out);
    out.push(b'"');
}

fn encode_texts<T: AsRef<str>>(items: impl IntoIterator<Item = T>, out: &mut Vec<u8>) {
    list(items, out, |item, out| encode_text(item.as_ref(), out));
}

fn list<T>(items: impl IntoIterator<Item = T>, out: &mut Vec<u8>, mut write: impl FnMut(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::parse;
    use proptest::prelude::*;

    #[test]
    fn members_are_written_as_the_same_tree_would_be() {
        let mut inner = Members::default();
        inner.int("z", -5);
        inner.hex("a", &[0x0f, 0xa0]);
        let mut members = Members::default();
        members.text("text", "\u{1}\"ä");
        members.object("object", &inner);
        members.objects("objects", [inner.clone(), Members::default()]);
        members.texts("texts", ["b", "a"]);
        members.pairs("pairs", [("k", "v"), ("k", "")]);
        members.bool("yes", true);
        members.count("huge", u64::MAX);
        let inner = Value::object([("z", Value::int(-5)), ("a", Value::text("0fa0"))]);
        let tree = Value::object([
            ("text", Value::text("\u{1}\"ä")),
            ("object", inner.clone()),
            ("objects", Value::Array(vec![inner, Value::object::<String>([])])),
            ("texts", Value::texts(["b", "a"])),
            ("pairs", Value::Array(vec![Value::texts(["k", "v"]), Value::texts(["k", ""])])),
            ("yes", Value::Bool(true)),
            ("huge", Value::int(i64::MAX)),
        ]);
        assert_eq!(Encoded::from(members), Encoded::from(&tree));
    }

    proptest! {
        #[test]
        fn a_text_is_found_again_as_it_was_given(text in "\\PC{0,12}|[\"\\\\\u{1}a]{0,6}") {
            let mut members = Members::default();
            members.text("request", "an earlier one");
            members.text("request", &text);
            members.int("number", 7);
            prop_assert_eq!(members.text_of("request"), Some(Cow::Borrowed(text.as_str())));
            prop_assert_eq!(members.text_of("number"), None);
            prop_assert_eq!(members.text_of("reques"), None);
        }

        #[test]
        fn whatever_the_order_and_the_names_the_text_is_canonical(
            picked in prop::collection::vec((0..6_usize, any::<i32>()), 0..12),
            at in 0..6_usize,
        ) {
            const NAMES: [&str; 6] = ["a", "aa", "b", "org", "org_seq", "zone"];
            let named = |(name, value): &(usize, i32)| (NAMES[*name], Value::int(i64::from(*value)));
            let members: Members = picked.iter().map(named).collect();
            let tree = Value::object(picked.iter().map(named));
            let (before, after) = members.split_at(NAMES[at]);
            let text = Encoded::from(members);
            prop_assert_eq!(parse(text.as_bytes()), Ok(tree));
            let comma = if before.is_empty() || after.is_empty() { "" } else { "," };
            let joined = [b"{".as_slice(), &before, comma.as_bytes(), &after, b"}"].concat();
            prop_assert_eq!(joined, text.as_bytes());
        }
    }
}
