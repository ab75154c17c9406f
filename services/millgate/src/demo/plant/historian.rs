//! `GET /query` of InfluxDB 1: the two statements that the example catalog declares, and nothing else.

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
        let values: Vec<Value> = times(&statement).map(|ms| json!([ms, tag.at(ms)])).collect();
        json!({ "name": tag.name, "columns": ["time", "value"], "values": values })
    });
    let result = match series {
        Some(series) => json!({ "statement_id": 0, "series": [series] }),
        None => json!({ "statement_id": 0 }),
    };
    Json(json!({ "results": [result] })).into_response()
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

/// `SELECT … FROM "TAG" WHERE time >= Nms AND time < Nms [GROUP BY time(Nms) fill(none)] [LIMIT N]`
fn parse(q: &str) -> Option<Statement<'_>> {
    let (_, rest) = q.split_once(" FROM \"")?;
    let (tag, rest) = rest.split_once("\" WHERE time >= ")?;
    let (from, rest) = rest.split_once("ms AND time < ")?;
    let (to, rest) = rest.split_once("ms")?;
    let interval = match rest.split_once(" GROUP BY time(") {
        Some((_, rest)) => Some(rest.split_once("ms)")?.0.parse().ok()?),
        None => None,
    };
    let limit = rest.split_once(" LIMIT ").map_or(Some(VALUES_MAX), |(_, n)| n.trim().parse().ok())?;
    Some(Statement { tag, from: from.parse().ok()?, to: to.parse().ok()?, interval, limit })
}
