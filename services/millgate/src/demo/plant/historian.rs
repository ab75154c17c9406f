//! `GET /query` of InfluxDB 1: the statements that series routes are asked with, and nothing else.

use super::chance;
use axum::Json;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a tag looks like: mean, amplitude of its cycle, noise.
struct Tag {
    name: &'static str,
    mean: f64,
    cycle: f64,
    noise: f64,
}

const TAGS: [Tag; 11] = [
    Tag { name: "PL1.PR03.FORCE", mean: 11_800.0, cycle: 450.0, noise: 180.0 },
    Tag { name: "PL1.PR03.VIB_RMS", mean: 2.4, cycle: 0.3, noise: 0.25 },
    Tag { name: "PL1.PR03.OIL_TEMP", mean: 52.0, cycle: 6.0, noise: 0.6 },
    Tag { name: "PL1.PR03.STROKES", mean: 14.0, cycle: 1.5, noise: 0.4 },
    Tag { name: "PL1.PR03.MOTOR_I", mean: 412.0, cycle: 30.0, noise: 12.0 },
    Tag { name: "PL1.PR03.CUSHION_P", mean: 184.0, cycle: 9.0, noise: 3.0 },
    Tag { name: "PL1.PR03.FORCE_SP", mean: 12_000.0, cycle: 0.0, noise: 0.0 },
    Tag { name: "PL1.PR03.CUSHION_SP", mean: 185.0, cycle: 0.0, noise: 0.0 },
    Tag { name: "PL1.FD02.TORQUE", mean: 86.0, cycle: 7.0, noise: 4.0 },
    Tag { name: "PL1.FD02.TEMP", mean: 61.0, cycle: 5.0, noise: 0.8 },
    Tag { name: "PL1.FD02.VACUUM", mean: -640.0, cycle: 15.0, noise: 8.0 },
];

/// One raw value a second.
const RAW_MS: i64 = 1_000;
/// A shift: the slow cycle of every tag.
const SHIFT_MS: i64 = 8 * 3_600_000;
/// Values of an interval that are looked at.
const LOOKED_AT: i64 = 600;
/// What one answer holds at the most, as a historian would cap it.
const VALUES_MAX: i64 = 100_000;

impl Tag {
    fn at(&self, ms: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of one shift fit")]
        let phase = ms.rem_euclid(SHIFT_MS) as f64 / SHIFT_MS as f64 * std::f64::consts::TAU;
        let value = self.mean + self.cycle * phase.sin() + self.noise * (chance(self.name, ms / RAW_MS) - 0.5);
        (value * 1000.0).round() / 1000.0
    }
}

struct Statement<'a> {
    /// `mean`, `min`, `max`, `count`; none of raw values.
    functions: Vec<&'a str>,
    tag: &'a str,
    from: i64,
    to: i64,
    /// Interval of `GROUP BY time`, or raw values.
    interval: Option<i64>,
    limit: i64,
}

pub async fn query(Query(parameters): Query<BTreeMap<String, String>>) -> Response {
    let database = parameters.get("db").map(String::as_str);
    if database != Some("press_shop") || parameters.get("epoch").map(String::as_str) != Some("ms") {
        return error(StatusCode::NOT_FOUND, "database not found");
    }
    let Some(statement) = parameters.get("q").and_then(|q| parse(q)) else {
        return error(StatusCode::BAD_REQUEST, "error parsing query");
    };
    let series = TAGS.iter().find(|t| t.name == statement.tag).map(|tag| {
        let values: Vec<Value> = times(&statement).map(|ms| row(tag, &statement, ms)).collect();
        let columns = if statement.functions.is_empty() { vec!["value"] } else { statement.functions.clone() };
        let columns: Vec<&str> = std::iter::once("time").chain(columns).collect();
        json!({ "name": tag.name, "columns": columns, "values": values })
    });
    let result = match series {
        Some(series) => json!({ "statement_id": 0, "series": [series] }),
        None => json!({ "statement_id": 0 }),
    };
    Json(json!({ "results": [result] })).into_response()
}

/// A raw value, or what the functions make of those of an interval.
fn row(tag: &Tag, statement: &Statement<'_>, ms: i64) -> Value {
    let Some(interval) = statement.interval else { return json!([ms, tag.at(ms)]) };
    let values = (interval / RAW_MS).max(1);
    // Of a day's 86,400 values every hundredth is looked at.
    let step = (values / LOOKED_AT).max(1);
    let looked_at: Vec<f64> =
        (0..values).step_by(usize::try_from(step).unwrap_or(1)).map(|n| tag.at(ms + n * RAW_MS)).collect();
    #[expect(clippy::cast_precision_loss, reason = "a few hundred values")]
    let mean = looked_at.iter().sum::<f64>() / looked_at.len() as f64;
    let cells = statement.functions.iter().map(|function| match *function {
        "min" => json!(looked_at.iter().copied().fold(f64::INFINITY, f64::min)),
        "max" => json!(looked_at.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        "count" => json!(values),
        _ => json!((mean * 1000.0).round() / 1000.0),
    });
    Value::Array(std::iter::once(json!(ms)).chain(cells).collect())
}

fn error(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}

fn times(statement: &Statement<'_>) -> impl Iterator<Item = i64> {
    let step = statement.interval.unwrap_or(RAW_MS).max(RAW_MS);
    let first = match statement.interval {
        // Buckets begin at multiples of their length, also the one that the window cuts.
        Some(_) => statement.from.div_euclid(step) * step,
        None => statement.from.div_euclid(step) * step + if statement.from.rem_euclid(step) == 0 { 0 } else { step },
    };
    let (to, limit) = (statement.to, statement.limit.clamp(0, VALUES_MAX));
    (0..limit).map(move |i| first + i * step).take_while(move |ms| *ms < to)
}

/// `SELECT "value" | mean("value"), … FROM "TAG" WHERE time >= Nms AND time < Nms [GROUP BY time(Nms) fill(none)] [LIMIT N]`
fn parse(q: &str) -> Option<Statement<'_>> {
    let (select, rest) = q.strip_prefix("SELECT ")?.split_once(" FROM \"")?;
    let functions = select.split(", ").filter_map(|column| column.strip_suffix("(\"value\")")).collect();
    let (tag, rest) = rest.split_once("\" WHERE time >= ")?;
    let (from, rest) = rest.split_once("ms AND time < ")?;
    let (to, rest) = rest.split_once("ms")?;
    let interval = match rest.split_once(" GROUP BY time(") {
        Some((_, rest)) => Some(rest.split_once("ms)")?.0.parse().ok()?),
        None => None,
    };
    let limit = rest.split_once(" LIMIT ").map_or(Some(VALUES_MAX), |(_, n)| n.trim().parse().ok())?;
    Some(Statement { functions, tag, from: from.parse().ok()?, to: to.parse().ok()?, interval, limit })
}
