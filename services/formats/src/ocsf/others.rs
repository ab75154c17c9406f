//! What is not about data.

use super::{APPLICATION, Event, HIGH, IDENTITY, INFORMATIONAL, LOW, MEDIUM, Record, endpoint, object, present};
use serde_json::{Map, Value, json};

/// Authentication: refused, one by one or counted.
pub(super) fn login(record: &Record) -> Event {
    let mut more = object(json!({
        // A credential that failed speaks for nobody.
        "user": { "name": "unknown", "type_id": 0 },
        "service": { "name": record.origin.as_deref().unwrap_or("millgate") },
        "src_endpoint": endpoint(record),
        "is_remote": true,
        "action_id": 2, "action": "Denied", "disposition_id": 2, "disposition": "Blocked",
    }));
    if let Some(method) = record.text("method") {
        more.insert("http_request".into(), json!({ "http_method": method }));
    }
    if let Some(issuer) = record.text("issuer") {
        more.insert("actor".into(), json!({ "app_name": issuer, "idp": { "uid": issuer, "name": issuer } }));
    }
    if let Some(counts) = record.get("counts").and_then(Value::as_object) {
        let total: i64 = counts.values().filter_map(Value::as_i64).sum();
        more.insert("count".into(), total.into());
        let each: Vec<String> = counts.iter().map(|(reason, times)| format!("{reason}: {times}")).collect();
        more.insert("status_detail".into(), each.join(", ").into());
    }
    let severity = if record.kind() == "refused_logins" { MEDIUM } else { LOW };
    of(IDENTITY, (3002, "Authentication"), (1, "Logon"), (severity, 2), more)
}

/// Entity Management: another policy set, catalog or registry is in use, or one was refused.
pub(super) fn change(record: &Record) -> Event {
    let event = record.text("event").unwrap_or_default();
    let is_refused = event == "refused";
    let activity = match event {
        "activated" | "opening_generation" => (10, "Activate"),
        "refused" => (3, "Update"),
        // What is only tried or computed changes nothing.
        _ if record.kind() == "policy" => return base(record),
        _ => (3, "Update"),
    };
    let folder = record.text("folder").unwrap_or(if record.kind() == "policy" { "policies" } else { record.kind() });
    let entity = |digest: Option<&str>| {
        let (type_id, kind) = if record.kind() == "policy" { (5, "Policy") } else { (99, record.kind()) };
        let mut entity = object(json!({ "name": folder, "type_id": type_id, "type": kind }));
        entity.extend(present([("uid", digest), ("version", digest)]));
        entity
    };
    let mut more = Map::new();
    more.insert("entity".into(), Value::Object(entity(record.text("previous"))));
    if let Some(digest) = record.text("digest") {
        more.insert("entity_result".into(), Value::Object(entity(Some(digest))));
    }
    let problems = record.list("problems");
    if !problems.is_empty() {
        more.insert("comment".into(), problems.join("; ").into());
    }
    let (severity, status) = if is_refused { (HIGH, 2) } else { (LOW, 1) };
    of(IDENTITY, (3004, "Entity Management"), activity, (severity, status), more)
}

/// Application Lifecycle: the log was opened or closed, and with it the broker.
pub(super) fn lifecycle(record: &Record) -> Event {
    let activity = match record.text("event") {
        Some("opened") => (3, "Start"),
        Some("closed") => (4, "Stop"),
        _ => (99, "Other"),
    };
    let mut app = object(json!({ "name": "Millgate", "vendor_name": "Millgate" }));
    app.extend(present([("version", record.text("version"))]));
    let mut more = Map::new();
    more.insert("app".into(), Value::Object(app));
    of(APPLICATION, (6002, "Application Lifecycle"), activity, (INFORMATIONAL, 1), more)
}

/// What the schema has no class for, and kinds that are newer than this program.
pub(super) fn base(record: &Record) -> Event {
    let name =
        record.text("event").map_or_else(|| record.kind().to_owned(), |event| format!("{} {event}", record.kind()));
    let severity = if record.kind() == "gap" { HIGH } else { INFORMATIONAL };
    Event { class: (0, "Base Event"), category: (0, ""), activity: (99, name), severity, status: 1, more: Map::new() }
}

fn of(
    category: (i64, &'static str),
    class: (i64, &'static str),
    activity: (i64, &str),
    (severity, status): (i64, i64),
    more: Map<String, Value>,
) -> Event {
    Event { class, category, activity: (activity.0, activity.1.to_owned()), severity, status, more }
}
