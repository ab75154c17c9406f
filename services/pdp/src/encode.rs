//! Entities as canonical JSON in Cedar's JSON format for entities, so that a slice in the audit log can be read by
//! Cedar's own tools.

use cedar_policy::{Entity, EntityUid};
use model::canonical::{self, Value};
use model::entry::Content;
use model::{Digest, canonical::INTEGER_MAX};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// One entity: `{"attrs":{…},"parents":[…],"uid":{"id":…,"type":…}}`, sets sorted by their encoding.
///
/// # Errors
/// In words, for values that canonical JSON does not have: integers beyond 2^53.
pub(crate) fn entity(entity: &Entity) -> Result<Vec<u8>, String> {
    Ok(value(entity)?.encode())
}

/// An entity whose id is filled in later, and to which parents can be added.
#[derive(Clone, Debug)]
pub(crate) struct Anonymous {
    /// Up to the first parent.
    before: Vec<u8>,
    /// Each encoded; sorted.
    parents: Vec<Vec<u8>>,
    /// Behind the id.
    after: Vec<u8>,
}

impl Anonymous {
    /// # Errors
    /// As [`entity`].
    pub(crate) fn of(entity: &Entity) -> Result<Self, String> {
        let Value::Object(mut members) = value(entity)? else { return Err(String::from("not an object")) };
        members.remove("uid");
        let Some(Value::Array(parents)) = members.remove("parents") else { return Err(String::from("no parents")) };
        // `attrs` sorts before `parents`, that before `uid`, and `id` before `type`.
        let mut before = Value::Object(members).encode();
        before.pop();
        before.extend_from_slice(b",\"parents\":[");
        let mut after = b",\"type\":".to_vec();
        canonical::encode_text(&entity.uid().type_name().to_string(), &mut after);
        after.extend_from_slice(b"}}");
        Ok(Self { before, parents: parents.iter().map(Value::encode).collect(), after })
    }

    pub(crate) fn encode_into(&self, more_parents: &[EntityUid], id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.before);
        if more_parents.is_empty() {
            join(self.parents.iter().map(Vec::as_slice), out);
        } else {
            let more = more_parents.iter().map(encoded_uid).map(Cow::Owned);
            // A role that the registry gives too is one parent, not two.
            let parents: BTreeSet<Cow<'_, [u8]>> =
                self.parents.iter().map(|p| Cow::Borrowed(p.as_slice())).chain(more).collect();
            join(parents.iter().map(AsRef::as_ref), out);
        }
        out.extend_from_slice(b"],\"uid\":{\"id\":");
        canonical::encode_text(id, out);
        out.extend_from_slice(&self.after);
    }
}

fn join<'p>(parts: impl Iterator<Item = &'p [u8]>, out: &mut Vec<u8>) {
    for (n, part) in parts.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(part);
    }
}

fn encoded_uid(uid: &EntityUid) -> Vec<u8> {
    let ty = uid.type_name().to_string();
    Value::object([("id", Value::text(uid.id().unescaped())), ("type", Value::text(ty))]).encode()
}

/// A slice being written: a JSON array, its digest taken at the end.
#[derive(Debug)]
pub(crate) struct SliceWriter(Vec<u8>);

impl SliceWriter {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(2048))
    }

    pub(crate) fn push(&mut self, encoded: &[u8]) {
        self.separate();
        self.0.extend_from_slice(encoded);
    }

    pub(crate) fn push_anonymous(&mut self, entity: &Anonymous, more_parents: &[EntityUid], id: &str) {
        self.separate();
        entity.encode_into(more_parents, id, &mut self.0);
    }

    fn separate(&mut self) {
        self.0.push(if self.0.is_empty() { b'[' } else { b',' });
    }

    pub(crate) fn finish(mut self) -> Content {
        if self.0.is_empty() {
            self.0.push(b'[');
        }
        self.0.push(b']');
        Content { digest: Digest::of(&self.0), bytes: self.0.into() }
    }
}

fn value(entity: &Entity) -> Result<Value, String> {
    canonical_value(entity.to_json_value().map_err(|e| e.to_string())?)
}

/// Arrays in an entity are sets (attributes, parents), so their order is ours to choose.
fn canonical_value(json: serde_json::Value) -> Result<Value, String> {
    match json {
        serde_json::Value::Bool(b) => Ok(Value::Bool(b)),
        serde_json::Value::String(s) => Ok(Value::Text(s)),
        serde_json::Value::Number(n) => integer(&n),
        serde_json::Value::Array(items) => {
            let mut items = items.into_iter().map(canonical_value).collect::<Result<Vec<_>, _>>()?;
            items.sort_by_cached_key(Value::encode);
            Ok(Value::Array(items))
        }
        serde_json::Value::Object(members) => {
            let members = members.into_iter().map(|(k, v)| Ok((k, canonical_value(v)?)));
            Ok(Value::Object(members.collect::<Result<_, String>>()?))
        }
        serde_json::Value::Null => Err(String::from("null has no place in an entity")),
    }
}

fn integer(number: &serde_json::Number) -> Result<Value, String> {
    match number.as_i64() {
        Some(n) if (-INTEGER_MAX..=INTEGER_MAX).contains(&n) => Ok(Value::Int(n)),
        _ => Err(format!("`{number}` is beyond 2^53 - 1, the largest number that every reader of the log can hold")),
    }
}
