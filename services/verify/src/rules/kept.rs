//! What a check that goes on later needs to know, as JSON.

use super::{Days, Holes, Latest, Rules};
use crate::summaries::Summaries;
use model::erasure::Request;
use model::pruning::Pruning;
use model::{Digest, OrganisationId, Timestamp, canonical};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

impl Rules {
    /// What is known after the entries so far, for a check that goes on later.
    pub fn to_json(&self) -> Value {
        let organisations =
            self.organisations.iter().map(|(id, latest)| (id.to_string(), json!([latest.sequence, latest.index])));
        json!({
            "organisations": organisations.collect::<serde_json::Map<_, _>>(),
            "open": self.open.iter().map(|(index, run)| json!([index, run])).collect::<Vec<_>>(),
            "holes": self.holes.0.iter().map(|hole| json!([hole.start, hole.end])).collect::<Vec<_>>(),
            "in_use": self.in_use.as_ref().map(|in_use| in_use.iter().map(|digest| digest.to_hex()).collect::<Vec<_>>()),
            "opened": self.opened,
            "asked": self.asked.iter().map(asked_to_json).collect::<Vec<_>>(),
            "time": self.previous_time.map(Timestamp::millis),
            "boot": self.boot,
            "run": self.run,
            "pruned": self.pruned,
            "left_out": self.left_out,
            "pruning": self.pruning.as_ref().map(|said| json!([said.index, said.first, said.minimum, said.before.millis()])),
            "shortest": self.shortest.map(|(days, index)| json!([days, index])),
            "days": self.days.0.iter().map(|(day, index)| json!([day, index])).collect::<Vec<_>>(),
            "seen_to": self.seen_to,
            "summaries": self.summaries.to_json(),
        })
    }

    /// The inverse of [`Rules::to_json`]; `None` for anything else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let pair = |value: &Value| Some((value.get(0)?.as_u64()?, value.get(1)?.as_u64()?));
        let pairs = |name: &str| value.get(name)?.as_array()?.iter().map(pair).collect::<Option<Vec<_>>>();
        let organisation = |(id, latest): (&String, &Value)| {
            let (sequence, index) = pair(latest)?;
            Some((OrganisationId::new(id).ok()?, Latest { sequence, index }))
        };
        let digest = |value: &Value| canonical::unhex(value.as_str()?)?.try_into().ok().map(Digest);
        let day = |value: &Value| Some((value.get(0)?.as_i64()?, value.get(1)?.as_u64()?));
        // What was kept by an earlier version says nothing of policies.
        let in_use = value.get("in_use").and_then(Value::as_array);
        Some(Self {
            organisations: value.get("organisations")?.as_object()?.iter().map(organisation).collect::<Option<_>>()?,
            open: pairs("open")?.into_iter().collect(),
            holes: Holes(pairs("holes")?.into_iter().map(|(start, end)| start..end).collect()),
            opened: value.get("opened").and_then(Value::as_u64),
            asked: value.get("asked")?.as_array()?.iter().map(asked_from_json).collect::<Option<_>>()?,
            in_use: in_use.and_then(|in_use| in_use.iter().map(digest).collect()),
            opened_in: None,
            unruled: 0,
            previous_time: value.get("time").and_then(Value::as_i64).map(Timestamp),
            boot: value.get("boot").and_then(Value::as_u64),
            run: value.get("run")?.as_u64()?,
            // What was kept by an earlier version says nothing of prunings.
            pruned: value.get("pruned").and_then(Value::as_u64).unwrap_or(0),
            left_out: value.get("left_out").and_then(Value::as_bool).unwrap_or(false),
            pruning: value.get("pruning").and_then(pruning_from_json).map(Box::new),
            shortest: value.get("shortest").and_then(pair).and_then(|(days, at)| Some((u32::try_from(days).ok()?, at))),
            days: Days(value.get("days").and_then(Value::as_array).into_iter().flatten().filter_map(day).collect()),
            summaries: Summaries::from_json(value.get("summaries"))?,
            seen_to: value.get("seen_to").and_then(Value::as_u64).unwrap_or(0),
        })
    }
}

/// As far as the next one is held against it.
fn pruning_from_json(value: &Value) -> Option<Pruning> {
    let number = |at: usize| value.get(at)?.as_u64();
    Some(Pruning {
        index: number(0)?,
        time: Timestamp(0),
        first: number(1)?,
        minimum: number(2)?,
        before: Timestamp(value.get(3)?.as_i64()?),
        days: 0,
        policy: Digest([0; 32]),
        organisations: BTreeMap::new(),
        organisations_left_out: 0,
        open: BTreeSet::new(),
        carried: BTreeSet::new(),
        directory: 0,
    })
}

fn asked_to_json((index, request, done): (u64, &Request, bool)) -> Value {
    let Request { id, reference, organisation, requested_by } = request;
    json!([index, id, reference, organisation, requested_by, done])
}

fn asked_from_json(value: &Value) -> Option<(u64, Request, bool)> {
    let text = |at: usize| value.get(at)?.as_str().map(str::to_owned);
    let or_null = |at: usize| value.get(at).filter(|value| value.is_null() || value.is_string()).map(|_| text(at));
    let request = Request { id: text(1)?, reference: or_null(2)?, organisation: or_null(3)?, requested_by: text(4)? };
    Some((value.get(0)?.as_u64()?, request, value.get(5)?.as_bool()?))
}
