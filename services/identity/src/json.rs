//! JSON objects that have one reading.
//!
//! RFC 8259 leaves it open which of two members of one name counts, and libraries differ. A token that one component
//! reads as expiring today and another as expiring never is refused, at every depth.

use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

/// Most members of one document, at all depths together. The largest claim sets in the wild have some dozens; comparing 256
/// names with each other costs about what one signature check does, so that nobody buys more of our time with an unsigned
/// token, nor more of our memory: a member of a dozen bytes takes hundreds once it is read.
const MEMBERS_MAX: usize = 256;

/// What one allocation costs beside its bytes.
const ALLOCATION_BYTES: usize = 16;

/// What a claim or header member may be, judged later by who knows what it must be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Member<'a> {
    #[default]
    Absent,
    /// A JSON number written as an integer, zero or above. Fractions, exponents and signs are `Other`.
    Integer(u64),
    Bool(bool),
    Text(Cow<'a, str>),
    /// An array of strings and nothing else.
    Texts(Vec<Cow<'a, str>>),
    Object(Object<'a>),
    /// Well-formed, but none of the above.
    Other,
}

/// An object without duplicate members, in the order in which it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, Member<'a>)>);

// === impl Object ===

impl<'a> Object<'a> {
    /// # Errors
    /// Anything but one JSON object without duplicate members at any depth.
    pub(crate) fn parse(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let left = Cell::new(MEMBERS_MAX);
        let Member::Object(object) = Budget(&left).deserialize(&mut deserializer)? else {
            return Err(serde_json::Error::custom("not an object"));
        };
        deserializer.end()?;
        Ok(object)
    }

    /// [`Member::Absent`] if there is none of this name.
    pub(crate) fn get(&self, name: &str) -> &Member<'a> {
        self.0.iter().find(|(known, _)| known == name).map_or(&Member::Absent, |(_, member)| member)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    /// About what it takes on the heap once it is owned: the allocator's share included, and no less than it is.
    pub(crate) fn heap_bytes(&self) -> usize {
        let members = self.0.iter().map(|(name, member)| text_bytes(name) + member.heap_bytes()).sum::<usize>();
        self.0.capacity() * size_of::<(Cow<'_, str>, Member<'_>)>() + ALLOCATION_BYTES + members
    }

    pub(crate) fn into_owned(self) -> Object<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        Object(self.0.into_iter().map(|(name, member)| (owned(name), member.into_owned())).collect())
    }
}

/// How many more members the document may have. Reads one member's value.
#[derive(Clone, Copy)]
struct Budget<'b>(&'b Cell<usize>);

// === impl Budget ===

impl Budget<'_> {
    fn take(self) -> bool {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }

    fn members<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut members: Vec<(Cow<'de, str>, Member<'de>)> = Vec::new();
        // A name is borrowed from the text unless it has escapes: `"\u0065xp"` is `exp`.
        while let Some(name) = map.next_key_seed(self)? {
            let Member::Text(name) = name else { return Err(de::Error::custom("a member's name is a string")) };
            if !self.take() || members.iter().any(|(known, _)| *known == name) {
                return Err(de::Error::custom("duplicate or too many members"));
            }
            members.push((name, map.next_value_seed(self)?));
        }
        Ok(Object(members))
    }
}

impl<'de> DeserializeSeed<'de> for Budget<'_> {
    type Value = Member<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn text_bytes(text: &str) -> usize {
    text.len() + ALLOCATION_BYTES
}

// === impl Member ===

impl<'a> Member<'a> {
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text_bytes(text),
            Self::Texts(texts) => {
                let all = texts.iter().map(|text| text_bytes(text)).sum::<usize>();
                texts.capacity() * size_of::<Cow<'_, str>>() + ALLOCATION_BYTES + all
            }
            Self::Object(object) => object.heap_bytes(),
            Self::Absent | Self::Integer(_) | Self::Bool(_) | Self::Other => 0,
        }
    }

    fn into_owned(self) -> Member<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Absent => Member::Absent,
            Self::Integer(number) => Member::Integer(number),
            Self::Bool(value) => Member::Bool(value),
            Self::Text(text) => Member::Text(owned(text)),
            Self::Texts(texts) => Member::Texts(texts.into_iter().map(owned).collect()),
            Self::Object(object) => Member::Object(object.into_owned()),
            Self::Other => Member::Other,
        }
    }
}

impl<'de> Visitor<'de> for Budget<'_> {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Member::Integer(number))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Member::Bool(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        let mut only_texts = true;
        // To the end even when it is no list of strings: what follows must be well-formed and without duplicates too.
        while let Some(item) = items.next_element_seed(self)? {
            match item {
                Member::Text(text) => texts.push(text),
                _ => only_texts = false,
            }
        }
        Ok(if only_texts { Member::Texts(texts) } else { Member::Other })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        self.members(map).map(Member::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_members_at_any_depth_cannot_buy_memory() {
        let document = |inner: &str, times: usize| {
            let members: Vec<String> = (0..times).map(|n| format!("\"{n}\":{inner}")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Object::parse(document("0", 256).as_bytes()).is_ok());
        assert!(Object::parse(document("0", 257).as_bytes()).is_err());
        for (inner, each) in [(r#"{"b":0}"#, 2), (r#"[{"b":0,"c":{}}]"#, 3), (r#"{"b":{"c":{"d":0}}}"#, 4)] {
            assert!(Object::parse(document(inner, 256 / each).as_bytes()).is_ok(), "{inner}");
            assert!(Object::parse(document(inner, 256 / each + 1).as_bytes()).is_err(), "{inner}");
        }
    }

    #[test]
    fn the_weight_of_a_document_is_what_it_holds() {
        let weight = |json: &str| Object::parse(json.as_bytes()).unwrap().into_owned().heap_bytes();
        assert!(weight(r#"{"a":"b"}"#) > weight("{}"));
        let lists = format!(r#"{{"a":[{}""]}}"#, r#""","#.repeat(1_000));
        assert!(weight(&lists) > 1_001 * (size_of::<String>() + ALLOCATION_BYTES));
    }
}
