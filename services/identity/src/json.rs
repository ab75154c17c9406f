//! JSON objects that have one reading.
//!
//! RFC 8259 leaves it open which of two members of one name counts, and libraries differ. A token that one component
//! reads as expiring today and another as expiring never is refused, at every depth.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Most members of one object. The largest claim sets in the wild have some dozens; comparing 256 names with each other
/// costs about what one signature check does, so that nobody buys more of our time with an unsigned token.
const MEMBERS_MAX: usize = 256;

/// What a claim or header member may be, judged later by who knows what it must be.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Member<'a> {
    #[default]
    Absent,
    /// A JSON number written as an integer, zero or above. Fractions, exponents and signs are `Other`.
    Integer(u64),
    Text(Cow<'a, str>),
    /// An array of strings and nothing else.
    Texts(Vec<Cow<'a, str>>),
    /// Well-formed, but none of the above.
    Other,
}

/// Calls `each` with every member's name and the map, from which it must take the value. An object with duplicate names
/// or too many members is an error.
pub(crate) fn members<'de, A, F>(map: &mut A, mut each: F) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
    F: FnMut(&str, &mut A) -> Result<(), A::Error>,
{
    let mut seen: Vec<Name<'de>> = Vec::new();
    while let Some(name) = map.next_key::<Name<'de>>()? {
        if seen.len() == MEMBERS_MAX || seen.contains(&name) {
            return Err(de::Error::custom("duplicate or too many members"));
        }
        each(&name.0, map)?;
        seen.push(name);
    }
    Ok(())
}

/// Borrowed from the text unless it has escapes: `"\u0065xp"` is `exp`.
#[derive(PartialEq)]
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Member::deserialize(deserializer)? {
            Member::Text(name) => Ok(Self(name)),
            _ => Err(de::Error::custom("a member's name is a string")),
        }
    }
}

// === impl Member ===

impl Member<'_> {
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

impl<'de> Deserialize<'de> for Member<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor)
    }
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
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

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Member::Other)
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
        while let Some(item) = items.next_element::<Member<'de>>()? {
            match item {
                Member::Text(text) => texts.push(text),
                _ => only_texts = false,
            }
        }
        Ok(if only_texts { Member::Texts(texts) } else { Member::Other })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        members(&mut map, |_, map| map.next_value::<Member<'de>>().map(drop))?;
        Ok(Member::Other)
    }
}
