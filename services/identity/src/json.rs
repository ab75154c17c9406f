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
        serde_json::from_slice(json)
    }

    /// [`Member::Absent`] if there is none of this name.
    pub(crate) fn get(&self, name: &str) -> &Member<'a> {
        self.0.iter().find(|(known, _)| known == name).map_or(&Member::Absent, |(_, member)| member)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    pub(crate) fn into_owned(self) -> Object<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        Object(self.0.into_iter().map(|(name, member)| (owned(name), member.into_owned())).collect())
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                members(map)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn members<'de, A: MapAccess<'de>>(mut map: A) -> Result<Object<'de>, A::Error> {
    let mut members: Vec<(Cow<'de, str>, Member<'de>)> = Vec::new();
    while let Some(Name(name)) = map.next_key()? {
        if members.len() == MEMBERS_MAX || members.iter().any(|(known, _)| *known == name) {
            return Err(de::Error::custom("duplicate or too many members"));
        }
        members.push((name, map.next_value()?));
    }
    Ok(Object(members))
}

/// Borrowed from the text unless it has escapes: `"\u0065xp"` is `exp`.
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

impl<'a> Member<'a> {
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
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
        while let Some(item) = items.next_element::<Member<'de>>()? {
            match item {
                Member::Text(text) => texts.push(text),
                _ => only_texts = false,
            }
        }
        Ok(if only_texts { Member::Texts(texts) } else { Member::Other })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        members(map).map(Member::Object)
    }
}
