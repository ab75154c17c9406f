//! Decisions about data and what became of them.

use super::{APPLICATION, Event, HIGH, INFORMATIONAL, LOW, Record, endpoint, object, present};
use serde_json::{Map, Value, json};

/// API Activity, by what an HTTP method does.
pub(super) fn api(record: &Record) -> Event {
    let activity = match record.text("method") {
        Some("GET" | "HEAD") => (2, "Read"),
        Some("POST") => (1, "Create"),
        Some("PUT" | "PATCH") => (3, "Update"),
        Some("DELETE") => (4, "Delete"),
        _ => (0, "Unknown"),
    };
    let mut more = common(record);
    let service = record.text("product").or_else(|| record.text("source")).or_else(|| record.text("route"));
    let operation = record.text("action").or_else(|| record.text("route")).unwrap_or("unknown");
    let mut api = object(json!({ "operation": operation }));
    api.extend(service.map(|name| ("service".into(), json!({ "name": name }))));
    api.extend(record.text("request").map(|id| ("request".into(), json!({ "uid": id }))));
    more.insert("api".into(), Value::Object(api));
    if let Some(resource) = record.text("resource") {
        let kind = resource.split('/').next().unwrap_or_default();
        more.insert("resources".into(), json!([{ "uid": resource, "name": resource, "type": kind, "role_id": 1 }]));
    }
    event((6003, "API Activity"), activity, record, more)
}

/// Datastore Activity.
pub(super) fn datastore(record: &Record) -> Event {
    let activity = match record.text("method") {
        Some("GET" | "HEAD") => (4, "Query"),
        Some("POST") => (5, "Write"),
        Some("PUT" | "PATCH") => (2, "Update"),
        Some("DELETE") => (7, "Delete"),
        _ => (0, "Unknown"),
    };
    let mut more = common(record);
    let source = record.text("source").unwrap_or("unknown");
    more.insert("database".into(), json!({ "uid": source, "name": source, "type_id": 0 }));
    if let Some(resource) = record.text("resource") {
        more.insert("table".into(), json!({ "uid": resource, "name": resource }));
    }
    event((6005, "Datastore Activity"), activity, record, more)
}

fn event(class: (i64, &'static str), activity: (i64, &str), record: &Record, more: Map<String, Value>) -> Event {
    let severity = match record.text("decision") {
        _ if record.get("errors").is_some() => HIGH,
        Some("deny") => LOW,
        _ => INFORMATIONAL,
    };
    let status = if record.is_denied() { 2 } else { 1 };
    Event { class, category: APPLICATION, activity: (activity.0, activity.1.to_owned()), severity, status, more }
}

fn common(record: &Record) -> Map<String, Value> {
    let mut more = object(json!({
        "actor": { "user": user(record) },
        "src_endpoint": endpoint(record),
    }));
    if let (Some(issuer), Some(actor)) = (record.text("issuer"), more.get_mut("actor").and_then(Value::as_object_mut)) {
        actor.insert("idp".into(), json!({ "uid": issuer, "name": issuer }));
    }
    if let Some(source) = record.text("source") {
        more.insert("dst_endpoint".into(), json!({ "svc_name": source }));
    }
    if let Some(method) = record.text("method") {
        let mut request = object(json!({ "http_method": method }));
        request.extend(present([("uid", record.text("request"))]));
        more.insert("http_request".into(), Value::Object(request));
    }
    more.extend(security_control(record));
    more
}

fn user(record: &Record) -> Value {
    let type_id = match record.text("principal_kind") {
        Some("user") => 1,
        Some("service") => 4,
        _ => 0,
    };
    let mut user = object(json!({ "type_id": type_id }));
    user.extend(present([("uid", record.text("principal")), ("name", record.who())]));
    if !user.contains_key("name") {
        user.insert("name".into(), "unknown".into());
    }
    user.extend(record.text("org").map(|org| ("org".into(), json!({ "uid": org, "name": org }))));
    Value::Object(user)
}

/// The profile `security_control`: what was decided, by what.
fn security_control(record: &Record) -> Map<String, Value> {
    let Some(decision) = record.text("decision") else { return Map::new() };
    let is_less = record.get("hides").is_some() || record.get("records").is_some();
    // Policies were asked, or it was refused before that.
    let was_decided = record.text("action").is_some();
    let (action, disposition) = match (decision, was_decided) {
        ("allow", _) if is_less => ((4, "Modified"), (1, "Allowed")),
        ("allow", _) => ((1, "Allowed"), (1, "Allowed")),
        (_, true) => ((2, "Denied"), (26, "Unauthorized")),
        (_, false) => ((2, "Denied"), (2, "Blocked")),
    };
    let version = record.get("digests").and_then(|digests| digests.get("policies")).and_then(Value::as_str);
    let policy = |id: &str| {
        let mut policy = object(json!({ "uid": id, "name": id, "is_applied": true }));
        policy.extend(present([("version", version)]));
        policy
    };
    let policies = record.list("policies");
    let each = policies.iter().map(|id| json!({ "decision": decision, "policy": policy(id) }));
    let mut authorizations: Vec<Value> = each.collect();
    if authorizations.is_empty() {
        authorizations.push(json!({ "decision": decision }));
    }
    let mut control = object(json!({
        "action_id": action.0, "action": action.1,
        "disposition_id": disposition.0, "disposition": disposition.1,
        "authorizations": authorizations,
    }));
    control.extend(policies.first().map(|id| ("policy".into(), Value::Object(policy(id)))));
    control
}

/// The end of an exchange, as an event of its decision.
pub(super) fn ended(decision: Event, record: &Record) -> Event {
    let Event { class, category, activity, mut more, .. } = decision;
    let ended = record.text("ended").unwrap_or_default();
    let status = if ended == "complete" { 1 } else { 2 };
    let (disposition, severity) = match ended {
        "complete" => ((1, "Allowed"), INFORMATIONAL),
        "withdrawn" => ((24, "Access Revoked"), LOW),
        "unknown_after_crash" => ((0, "Unknown"), HIGH),
        _ => ((27, "Error"), INFORMATIONAL),
    };
    let mut response = Map::new();
    let numbers = [("code", "status"), ("body_length", "bytes"), ("latency", "duration_ms")];
    response
        .extend(numbers.into_iter().filter_map(|(name, member)| Some((name.to_owned(), record.int(member)?.into()))));
    if response.contains_key("code") {
        more.insert("http_response".into(), Value::Object(response));
    }
    more.insert("disposition_id".into(), disposition.0.into());
    more.insert("disposition".into(), disposition.1.into());
    more.entry("action_id").or_insert_with(|| 1.into());
    more.entry("action").or_insert_with(|| "Allowed".into());
    if let Some(duration) = record.int("duration_ms") {
        more.insert("duration".into(), duration.into());
    }
    Event { class, category, activity, severity, status, more }
}
