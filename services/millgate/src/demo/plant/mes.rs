//! The MES: parts, batches, quality notifications and process parameters, shaped like Catena-X aspects.

use super::chance;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use model::{Clock, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

type Parameters = Query<BTreeMap<String, String>>;
type Now = State<Arc<dyn Clock>>;

const DAY_MS: i64 = 86_400_000;
/// Parts of one supplier a day.
const PARTS_A_DAY: i64 = 40;

fn limit(parameters: &BTreeMap<String, String>) -> i64 {
    parameters.get("limit").and_then(|l| l.parse().ok()).unwrap_or(100).clamp(0, 1000)
}

fn pick<'a>(name: &str, place: i64, among: &[&'a str]) -> &'a str {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0..1 × len"
    )]
    let at = (chance(name, place) * among.len() as f64) as usize;
    among.get(at).copied().unwrap_or_default()
}

fn supplier(parameters: &BTreeMap<String, String>) -> Option<&'static str> {
    ["acme", "bolt"].into_iter().find(|s| parameters.get("supplier").map(String::as_str) == Some(s))
}

fn bad() -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": "unknown supplier" }))).into_response()
}

/// A name-based id in the spelling of `urn:uuid`.
fn asset(name: &str) -> String {
    let hex = model::Digest::of(name.as_bytes()).to_hex();
    let part = |range| hex.get(range).unwrap_or_default();
    format!("urn:uuid:{}-{}-5{}-a{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32))
}

pub async fn serial_parts(State(clock): Now, Query(parameters): Parameters) -> Response {
    let Some(supplier) = supplier(&parameters) else { return bad() };
    let today = clock.now().millis().div_euclid(DAY_MS);
    let serials = (0..limit(&parameters)).map(|i| part(supplier, today, i));
    let items: Vec<Value> = match parameters.get("serial") {
        None => serials.collect(),
        Some(serial) => (0..PARTS_A_DAY * 30).map(|i| part(supplier, today, i)).filter(|p| is(p, serial)).collect(),
    };
    Json(Value::Array(items)).into_response()
}

fn is(part: &Value, serial: &str) -> bool {
    part.pointer("/localIdentifiers/1/value").and_then(Value::as_str) == Some(serial)
}

fn part(supplier: &str, today: i64, i: i64) -> Value {
    let (day, n) = (today - 1 - i / PARTS_A_DAY, i % PARTS_A_DAY);
    let serial = format!("{}-{day}-{n:03}", supplier.to_uppercase());
    let place = day * PARTS_A_DAY + n;
    let (number, name) = if supplier == "acme" { ("AC-77120", "Die insert") } else { ("BO-3310", "Blank, 1.2 mm") };
    json!({
        "globalAssetId": asset(&serial),
        "localIdentifiers": [
            { "key": "manufacturerId", "value": supplier.to_uppercase() },
            { "key": "partInstanceId", "value": serial },
        ],
        "manufacturingInformation": {
            "country": if supplier == "acme" { "AUT" } else { "CZE" },
            "productionDate": Timestamp(day * DAY_MS + n * 1_800_000).to_rfc3339(),
            "sites": [{ "siteId": format!("{supplier}-1"), "function": "production" }],
        },
        "partTypeInformation": { "manufacturerPartId": number, "nameAtManufacturer": name },
        "quality": {
            "hasBeenReworked": chance(supplier, place) > 0.95,
            "numberOfConductedEndOfLineTests": 3,
            "result": if chance("result", place) > 0.03 { "ok" } else { "not ok" },
        },
    })
}

pub async fn batches(State(clock): Now, Query(parameters): Parameters) -> Response {
    let Some(supplier) = supplier(&parameters) else { return bad() };
    let today = clock.now().millis().div_euclid(DAY_MS);
    let items = (0..limit(&parameters)).map(|i| {
        let day = today - 1 - i;
        let id = format!("{}-B{day}", supplier.to_uppercase());
        json!({
            "globalAssetId": asset(&id),
            "localIdentifiers": [{ "key": "batchId", "value": id }],
            "manufacturingInformation": {
                "country": if supplier == "acme" { "AUT" } else { "CZE" },
                "productionDate": Timestamp(day * DAY_MS).to_rfc3339(),
            },
            "partTypeInformation": { "manufacturerPartId": "BO-3310", "nameAtManufacturer": "Blank, 1.2 mm" },
            "quality": { "rejectedParts": if chance("rejected", day) > 0.8 { 2 } else { 0 } },
        })
    });
    Json(Value::Array(items.collect())).into_response()
}

pub async fn quality_notifications(Query(parameters): Parameters) -> Response {
    let time = |name: &str| parameters.get(name).and_then(|t| Timestamp::parse_rfc3339(t));
    let (Some(from), Some(to)) = (time("from"), time("to")) else {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "from and to are needed" }))).into_response();
    };
    let wanted = parameters.get("status").map_or("any", String::as_str);
    let days = from.millis().div_euclid(DAY_MS)..=to.millis().div_euclid(DAY_MS);
    let items = days.flat_map(|day| (0..3).map(move |n| notification(day, n)));
    let items = items.filter(|item| wanted == "any" || item["status"] == wanted);
    Json(Value::Array(items.take(usize::try_from(limit(&parameters)).unwrap_or(0)).collect())).into_response()
}

fn notification(day: i64, n: i64) -> Value {
    let place = day * 3 + n;
    let supplier = pick("supplier", place, &["acme", "bolt", "norden"]);
    json!({
        "qualityTaskId": format!("QT-{day}-{n}"),
        "serialNumber": format!("{}-{}-{:03}", supplier.to_uppercase(), day - 2, n * 7),
        "batchNumber": format!("{}-B{}", supplier.to_uppercase(), day - 2),
        "supplier": supplier,
        "plant": { "plantIdentifier": "munich", "country": "DEU" },
        "status": pick("status", place, &["open", "closed"]),
        "defectCode": pick("defect", place, &["crack", "wrinkle", "thinning", "scratch"]),
        "rootCause": pick("cause", place, &["blank holder force", "lubrication", "material batch", "die wear"]),
        "hasBeenReworked": chance("rework", place) > 0.7,
        "responsiblePerson": format!("inspector-{}", place.rem_euclid(7)),
        "orderNumber": format!("PO-{}", 48_000 + place.rem_euclid(900)),
        "cost": 40 + place.rem_euclid(460),
    })
}

pub async fn process_parameters(Query(parameters): Parameters) -> Response {
    let steps = [
        ("draw-force", "12000 kN"),
        ("cushion-pressure", "185 bar"),
        ("slide-speed", "310 mm/s"),
        ("dwell-time", "0.45 s"),
        ("blank-holder-force", "1450 kN"),
    ];
    let items = steps.iter().take(usize::try_from(limit(&parameters)).unwrap_or(0)).enumerate().map(|(i, (name, value))| {
        json!({
            "header": { "messageId": asset(name), "senderBpn": "BPNL000000NORDEN", "receiverBpn": "BPNL000000NORDEN" },
            "processStep": {
                "processStepId": format!("OP{}", (i + 1) * 10),
                "processParameterName": name,
                "processParameterValue": value,
                "processParameterQuality": "good",
            },
        })
    });
    Json(Value::Array(items.collect())).into_response()
}
