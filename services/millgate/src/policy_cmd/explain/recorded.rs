//! A decision from the log, and the request that it was about, as far as the entry tells.

use super::outcome;
use crate::client::Server;
use anyhow::{Context as _, bail};
use audit::query::Query;
use http_body_util::BodyExt as _;
use model::Action;
use pdp::cases::{Asked, Expected, Who};
use serde_json::Value;
use std::path::Path;

/// What was recorded then.
#[derive(Debug, serde::Serialize)]
pub struct Recorded {
    index: u64,
    time: String,
    decided: Expected,
    /// `organisation/subject`, where the log still knows it and may tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
    #[serde(skip)]
    entry: Value,
}

/// Stands for somebody whose name the log does not tell: decided for like anybody whom the registry does not list.
const SOMEBODY: &str = "somebody";

/// The decision of a request: from the running broker, which decides and records the reading, or from published files.
pub(super) async fn find(id: &str, server: &Server, offline: Option<&Path>) -> anyhow::Result<(Recorded, Vec<String>)> {
    if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        bail!("`{id}` is not a request id; it stands in the answer's Millgate-Request-Id");
    }
    let (entries, notes) = match offline {
        Some(directory) => {
            let note =
                "read from published files: nobody records this reading, and persons stand in it by reference only";
            (published(id, directory)?, vec![note.to_owned()])
        }
        None => (ask(id, server).await?, Vec::new()),
    };
    let decision = entries.into_iter().find(|found| {
        let kind = found.pointer("/entry/kind").and_then(Value::as_str);
        matches!(kind, Some("decision" | "audit_read"))
    });
    let found =
        decision.with_context(|| format!("no decision of request `{id}` is in the log, or not for you to read"))?;
    Ok((Recorded::of(&found)?, notes))
}

async fn ask(id: &str, server: &Server) -> anyhow::Result<Vec<Value>> {
    let answer = server.get(&format!("/v1/audit/entries?request={id}&limit=10")).await?;
    let body = answer.into_body().collect().await.context("the answer broke off")?;
    let page: Value = serde_json::from_slice(&body.to_bytes()).context("the broker's answer is not JSON")?;
    Ok(page.get("entries").and_then(Value::as_array).cloned().unwrap_or_default())
}

fn published(id: &str, directory: &Path) -> anyhow::Result<Vec<Value>> {
    let mut query = Query { request: Some(id.to_owned()), ..Query::default() };
    loop {
        let page = audit::query::offline(directory, &query)
            .with_context(|| format!("`{}` cannot be read as a published log", directory.display()))?;
        let found = page.entries.iter().map(|found| {
            let entry: Value = serde_json::from_str(&found.entry).unwrap_or_default();
            serde_json::json!({ "index": found.index, "entry": entry })
        });
        let found: Vec<Value> = found.collect();
        match page.next {
            Some(next) if found.is_empty() => query.before = Some(next),
            _ => return Ok(found),
        }
    }
}

fn text<'v>(entry: &'v Value, key: &str) -> Option<&'v str> {
    entry.get(key).and_then(Value::as_str)
}

fn texts(entry: &Value, key: &str) -> Vec<String> {
    let items = entry.get(key).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Recorded {
    fn of(found: &Value) -> anyhow::Result<Self> {
        let entry = found.get("entry").cloned().unwrap_or_default();
        let decision = match (text(&entry, "decision"), entry.get("hidden").and_then(Value::as_bool)) {
            (Some("allow"), _) => "permit",
            (_, Some(true)) => "hidden",
            _ => "deny",
        };
        let decided = Expected {
            decision: decision.to_owned(),
            reasons: texts(&entry, "reasons"),
            policies: texts(&entry, "policies"),
            agreement: text(&entry, "agreement").map(str::to_owned),
            classes_hidden: texts(&entry, "hides"),
            records_hidden: entry.get("records").is_some(),
            // Entries have what product and policies demand together.
            acknowledgement: text(&entry, "acknowledgement").map(str::to_owned),
            outcome_before_complete: entry.get("outcome_before_complete").is_some(),
        };
        Ok(Self {
            index: found.get("index").and_then(Value::as_u64).context("the entry has no index")?,
            time: text(&entry, "time").unwrap_or_default().to_owned(),
            decided,
            principal: text(found, "principal").map(str::to_owned),
            entry,
        })
    }

    pub(super) fn line(&self) -> String {
        format!("recorded in entry {} at {}: {}", self.index, self.time, outcome(&self.decided))
    }

    /// The request, without what entries do not hold: the caller's name offline, the names of actors, and whether the
    /// caller named its agreement.
    pub(super) fn asked(&self, notes: &mut Vec<String>) -> anyhow::Result<Asked> {
        let entry = &self.entry;
        let refused = "it was refused before policies were asked, so there is nothing to explain";
        let action = text(entry, "action").context(refused)?;
        let action: Action = serde_json::from_value(action.into()).context("the entry has an unknown action")?;
        let resource = text(entry, "resource").context(refused)?;
        let organisation = text(entry, "org").unwrap_or_default();
        let subject = self.principal.as_deref().and_then(|name| name.split_once('/')).map(|(_, subject)| subject);
        if subject.is_none() {
            notes.push(format!(
                "the entry does not say who of {organisation} it was: asked for somebody whom the registry does not list; \
                 name the caller with `--subject`"
            ));
        }
        let service = text(entry, "principal_kind") == Some("service");
        let shape = |key: &str| entry.pointer(&format!("/shape/{key}")).and_then(Value::as_i64).unwrap_or_default();
        let assurance = entry.get("assurance").and_then(Value::as_u64).and_then(|level| u8::try_from(level).ok());
        let actors: Vec<Who> = entry.get("actors").and_then(Value::as_array).into_iter().flatten().map(actor).collect();
        if !actors.is_empty() {
            notes.push(String::from(
                "the entry names no actor: asked for somebody of their organisations; name them with `--actor`",
            ));
        }
        Ok(Asked {
            purpose: text(entry, "purpose").map(str::to_owned),
            resolution_ms: shape("resolution_ms"),
            window_ms: shape("window_ms"),
            age_days: shape("age_days"),
            rows: shape("rows"),
            binding: text(entry, "binding").map(str::to_owned),
            country: text(entry, "country").map(str::to_owned),
            assurance: assurance.unwrap_or_default(),
            roles: texts(entry, "roles"),
            actors,
            ..Asked::new(organisation, subject.unwrap_or(SOMEBODY), service, action, resource)
        })
    }
}

fn actor(actor: &Value) -> Who {
    Who {
        organisation: text(actor, "organisation").unwrap_or_default().to_owned(),
        subject: SOMEBODY.to_owned(),
        service: text(actor, "principal_kind") == Some("service"),
    }
}
