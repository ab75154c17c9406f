//! A source's answer as the series that was asked for: complete steps inside the window, in one form.
//!
//! Nothing of it leaves as it came. Times lie in the window and go up, steps begin where steps begin, and rows are no more
//! than were asked for: a source that answers something else is refused, so that a coarse answer is never finer than it
//! says. Steps made of too few values are left out.

use super::json::Malformed;
use model::Timestamp;
use registry::{Aggregate, SeriesAnswer, SeriesQuestion, TimeUnit, ValuesAt};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

/// The answer is held until its end, because a step is complete only then; so it is no longer than its rows can be. A number
/// has at most 25 characters, a row's punctuation a few.
const CELL_BYTES: usize = 32;
/// Of a source's row that holds more than a time and a value.
const FOREIGN_ROW_BYTES: usize = 256;
/// What stands around the rows, or a few long texts among them.
const AROUND_BYTES: usize = 64 * 1024;
/// Whatever the rows.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// A raw value that is a text: a state, a batch number.
const TEXT_BYTES_MAX: usize = 1_024;

/// Reads one answer.
#[derive(Debug)]
pub struct SeriesReader {
    question: Arc<SeriesQuestion>,
    read: Vec<u8>,
    bytes_max: usize,
    rows: u64,
}

fn malformed(what: &'static str) -> Malformed {
    Malformed { what, offset: 0 }
}

/// One row: the time, and what stands behind it.
#[derive(Debug, PartialEq)]
struct Row {
    ms: i64,
    cells: Vec<Value>,
}

impl SeriesReader {
    pub fn new(question: Arc<SeriesQuestion>) -> Self {
        let rows_max = usize::try_from(question.rows_max).unwrap_or(usize::MAX);
        let (rows, row) = match &question.answer {
            SeriesAnswer::Values(at) => (at.values_max, FOREIGN_ROW_BYTES),
            // A raw value can be a text.
            _ if question.step_ms == 0 => (rows_max, 2 * CELL_BYTES + TEXT_BYTES_MAX),
            _ => (rows_max, CELL_BYTES * (question.aggregates.len() + 2)),
        };
        let bytes_max = rows.saturating_mul(row).saturating_add(AROUND_BYTES).min(BYTES_MAX);
        Self { question, read: Vec::new(), bytes_max, rows: 0 }
    }

    /// # Errors
    /// When the answer is longer than any that was asked for.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.read.len() + bytes.len() > self.bytes_max {
            return Err(malformed("a series is too long"));
        }
        self.read.extend_from_slice(bytes);
        Ok(())
    }

    /// # Errors
    /// When it is not an answer to the question.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let question = &self.question;
        let read = std::mem::take(&mut self.read);
        let rows = match &question.answer {
            SeriesAnswer::InfluxDb => influxdb(&read)?,
            SeriesAnswer::Rows => plain(serde_json::from_slice(&read).map_err(|_| malformed("no list of rows"))?)?,
            SeriesAnswer::Values(at) => values(&read, at, question)?,
        };
        let rows = match (&question.answer, question.step_ms) {
            (SeriesAnswer::Values(_), step) if step > 0 => steps(&rows, question)?,
            _ => rows,
        };
        check(&rows, question)?;
        let rows = shown(rows, question)?;
        self.rows = rows.len() as u64;
        write(&rows, question, out);
        Ok(())
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }
}

// === reading

#[derive(Deserialize)]
struct Answer {
    results: Vec<AnswerResult>,
}

#[derive(Deserialize)]
struct AnswerResult {
    error: Option<IgnoredAny>,
    #[serde(default)]
    series: Vec<AnswerSeries>,
    #[serde(default)]
    partial: bool,
}

#[derive(Deserialize)]
struct AnswerSeries {
    values: Vec<Vec<Value>>,
    #[serde(default)]
    partial: bool,
}

/// `{"results":[{"series":[{"columns":[…],"values":[[ms, …], …]}]}]}`; without `series` there is nothing in the window.
fn influxdb(bytes: &[u8]) -> Result<Vec<Row>, Malformed> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|_| malformed("no answer of InfluxDB"))?;
    let [result] = <[AnswerResult; 1]>::try_from(answer.results).map_err(|_| malformed("not one result"))?;
    if result.error.is_some() || result.partial || result.series.iter().any(|series| series.partial) {
        return Err(malformed("InfluxDB gave an error, or a part of an answer"));
    }
    let mut series = result.series.into_iter();
    match (series.next(), series.next()) {
        (None, _) => Ok(Vec::new()),
        (Some(one), None) => plain(one.values),
        _ => Err(malformed("more than one series")),
    }
}

/// Rows that begin with milliseconds.
fn plain(rows: Vec<Vec<Value>>) -> Result<Vec<Row>, Malformed> {
    let row = |cells: Vec<Value>| {
        let mut cells = cells.into_iter();
        let ms = cells.next().and_then(|ms| ms.as_i64())?;
        Some(Row { ms, cells: cells.collect() })
    };
    rows.into_iter().map(row).collect::<Option<_>>().ok_or_else(|| malformed("a row without a time"))
}

/// Measured values of the window, in the order of their times.
fn values(bytes: &[u8], at: &ValuesAt, question: &SeriesQuestion) -> Result<Vec<Row>, Malformed> {
    let path: Vec<&str> = at.rows.split('.').filter(|name| !name.is_empty()).collect();
    let mut found = Found { at, question, rows: Vec::new(), seen: 0, is_there: false, is_bad: false };
    let mut answer = serde_json::Deserializer::from_slice(bytes);
    let read = Place { path: &path, found: &mut found }.deserialize(&mut answer).and_then(|()| answer.end());
    if read.is_err() || !found.is_there || found.is_bad {
        return Err(malformed("no list of times and values where the catalog says"));
    }
    // A source that stops counting gives a part, and a step made of a part is none.
    if found.seen >= at.values_max && question.step_ms > 0 {
        return Err(malformed("more values than one answer of the source holds; ask for a shorter window"));
    }
    let mut rows = found.rows;
    rows.sort_by_key(|row| row.ms);
    if question.step_ms == 0 {
        let wanted = usize::try_from(question.rows_max).unwrap_or(usize::MAX);
        // With fewer than are wanted the answer says that there are no more, and nobody knows that.
        if found.seen >= at.values_max && rows.len() < wanted {
            return Err(malformed("more values than one answer of the source holds; ask for a shorter window"));
        }
        rows.truncate(wanted);
    }
    Ok(rows)
}

/// What has been read of an answer. Of all that it holds only times and values are kept.
struct Found<'a> {
    at: &'a ValuesAt,
    question: &'a SeriesQuestion,
    rows: Vec<Row>,
    seen: usize,
    is_there: bool,
    is_bad: bool,
}

impl Found<'_> {
    fn add(&mut self, time: Option<Value>, value: Option<Value>) {
        self.seen += 1;
        let ms = time.and_then(|time| ms(&time, self.at.unit));
        match (ms, value) {
            // Sources differ in whether the ends of a window belong to it.
            (Some(ms), Some(value)) if (self.question.from_ms..self.question.to_ms).contains(&ms) => {
                self.rows.push(Row { ms, cells: vec![value] });
            }
            (Some(_), Some(_)) => {}
            _ => self.is_bad = true,
        }
    }
}

/// A place in an answer on the way to the list.
struct Place<'p, 'f, 'a> {
    path: &'p [&'p str],
    found: &'f mut Found<'a>,
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, or what leads to it")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let (name, rest) = self.path.split_first().ok_or_else(|| serde::de::Error::custom("an object"))?;
        let mut taken = false;
        while let Some(member) = members.next_key::<String>()? {
            // One that stands twice has two readings.
            if member == *name && std::mem::replace(&mut taken, true) {
                return Err(serde::de::Error::custom("a member twice"));
            }
            match member == *name {
                true => members.next_value_seed(Place { path: rest, found: &mut *self.found })?,
                false => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((name, rest)) = self.path.split_first() else {
            self.found.is_there = true;
            while items.next_element_seed(RowOf(&mut *self.found))?.is_some() {
                if self.found.seen > self.found.at.values_max {
                    return Err(serde::de::Error::custom("too many rows"));
                }
            }
            return Ok(());
        };
        let position: usize = name.parse().map_err(|_| serde::de::Error::custom("a list"))?;
        for _ in 0..position {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        items.next_element_seed(Place { path: rest, found: &mut *self.found })?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// One row: an object, or a list.
struct RowOf<'f, 'a>(&'f mut Found<'a>);

impl<'de> DeserializeSeed<'de> for RowOf<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RowOf<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let (mut time, mut value) = (None, None);
        while let Some(member) = members.next_key::<String>()? {
            let place = match member.as_str() {
                m if m == self.0.at.time => &mut time,
                m if m == self.0.at.value => &mut value,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if place.replace(members.next_value::<Scalar>()?.0).is_some() {
                return Err(serde::de::Error::custom("a member twice"));
            }
        }
        self.0.add(time, value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let position = |name: &str| name.parse::<usize>().ok();
        let (of_time, of_value) = (position(&self.0.at.time), position(&self.0.at.value));
        let (mut time, mut value) = (None, None);
        let mut n = 0;
        while let Some(cell) = items.next_element::<Scalar>()? {
            match Some(n) {
                at if at == of_time => time = Some(cell.0),
                at if at == of_value => value = Some(cell.0),
                _ => {}
            }
            n += 1;
        }
        self.0.add(time, value);
        Ok(())
    }
}

/// A value without others in it; of any other, that it is one.
struct Scalar(Value);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar(Value::Null))
            }
            fn visit_bool<E>(self, is: bool) -> Result<Scalar, E> {
                Ok(Scalar(is.into()))
            }
            fn visit_i64<E>(self, n: i64) -> Result<Scalar, E> {
                Ok(Scalar(n.into()))
            }
            fn visit_u64<E>(self, n: u64) -> Result<Scalar, E> {
                Ok(Scalar(n.into()))
            }
            fn visit_f64<E>(self, n: f64) -> Result<Scalar, E> {
                Ok(Scalar(n.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar(Value::Array(Vec::new())))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Scalar, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar(Value::Array(Vec::new())))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

fn ms(time: &Value, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Rfc3339 => Timestamp::parse_rfc3339(time.as_str()?).map(|t| t.millis()),
        TimeUnit::Milliseconds => time.as_i64(),
        TimeUnit::Nanoseconds => time.as_i64().map(|ns| ns.div_euclid(1_000_000)),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a time beyond the window is left out, whatever becomes of it"
        )]
        TimeUnit::Seconds => match time.as_i64() {
            Some(s) => s.checked_mul(1_000),
            None => time.as_f64().map(|s| (s * 1_000.0).floor() as i64),
        },
    }
}

// === steps

/// Steps of the values of a window, with the count of each behind its aggregates.
fn steps(values: &[Row], question: &SeriesQuestion) -> Result<Vec<Row>, Malformed> {
    let mut rows = Vec::new();
    for group in values.chunk_by(|a, b| a.ms.div_euclid(question.step_ms) == b.ms.div_euclid(question.step_ms)) {
        let numbers = group.iter().filter_map(|row| row.cells.first()).filter(|value| !value.is_null());
        let numbers = numbers.map(Value::as_f64).collect::<Option<Vec<f64>>>();
        let numbers = numbers.ok_or_else(|| malformed("a value that is no number, where steps are asked for"))?;
        let Some(first) = group.first().filter(|_| !numbers.is_empty()) else { continue };
        let mut cells: Vec<Value> = question.aggregates.iter().map(|of| aggregate(*of, &numbers)).collect();
        cells.push(numbers.len().into());
        rows.push(Row { ms: first.ms.div_euclid(question.step_ms) * question.step_ms, cells });
    }
    Ok(rows)
}

fn aggregate(of: Aggregate, numbers: &[f64]) -> Value {
    let sum = || numbers.iter().sum::<f64>();
    #[expect(clippy::cast_precision_loss, reason = "no answer holds 2^53 values")]
    let count = numbers.len() as f64;
    let value = match of {
        Aggregate::Count => return numbers.len().into(),
        Aggregate::Mean => Some(sum() / count),
        Aggregate::Sum => Some(sum()),
        Aggregate::Min => numbers.iter().copied().reduce(f64::min),
        Aggregate::Max => numbers.iter().copied().reduce(f64::max),
        Aggregate::First => numbers.first().copied(),
        Aggregate::Last => numbers.last().copied(),
    };
    value.into()
}

/// What comes is what was asked for, whoever made the steps.
fn check(rows: &[Row], question: &SeriesQuestion) -> Result<(), Malformed> {
    let step = question.step_ms;
    let cells = if step == 0 { 1 } else { question.aggregates.len() + 1 };
    if rows.len() as u64 > question.rows_max.unsigned_abs() {
        return Err(malformed("more rows than were asked for"));
    }
    let mut before = None;
    for row in rows {
        let is_in_window = (question.from_ms..question.to_ms).contains(&row.ms);
        let is_step = step == 0 || row.ms.rem_euclid(step) == 0;
        // Several raw values can have one time, steps cannot.
        let goes_up = before.is_none_or(|before| if step == 0 { before <= row.ms } else { before < row.ms });
        let is_plain = row.cells.iter().all(|cell| match cell {
            Value::Null | Value::Number(_) => true,
            Value::Bool(_) => step == 0,
            Value::String(text) => step == 0 && text.len() <= TEXT_BYTES_MAX,
            Value::Array(_) | Value::Object(_) => false,
        });
        if !is_in_window || !is_step || !goes_up || !is_plain || row.cells.len() != cells {
            return Err(malformed("a row that is not of the series that was asked for"));
        }
        before = Some(row.ms);
    }
    Ok(())
}

/// Without the steps made of too few values, and without their counts.
fn shown(rows: Vec<Row>, question: &SeriesQuestion) -> Result<Vec<Row>, Malformed> {
    if question.step_ms == 0 {
        return Ok(rows);
    }
    let mut shown = Vec::with_capacity(rows.len());
    for mut row in rows {
        let count = row.cells.pop().and_then(|count| count.as_u64());
        let count = count.ok_or_else(|| malformed("a step that does not say of how many values it is"))?;
        if count >= question.values_min {
            shown.push(row);
        }
    }
    Ok(shown)
}

/// What stands before the values, in this order.
#[derive(Serialize)]
struct Head<'a> {
    signal: &'a str,
    unit: &'a str,
    resolution: String,
    from: String,
    to: String,
    columns: Vec<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

fn write(rows: &[Row], question: &SeriesQuestion, out: &mut Vec<u8>) {
    let columns: Vec<&str> = match question.step_ms {
        0 => vec!["time", "value"],
        _ => std::iter::once("time").chain(question.aggregates.iter().map(|a| a.as_str())).collect(),
    };
    // There may be more raw values than the window's first ones; steps are all there.
    let more = question.step_ms == 0 && rows.len() as u64 == question.rows_max.unsigned_abs();
    let head = Head {
        signal: question.signal.as_str(),
        unit: &question.unit,
        resolution: question.resolution(),
        from: Timestamp(question.from_ms).to_rfc3339(),
        to: Timestamp(question.to_ms).to_rfc3339(),
        columns,
        more,
    };
    // Texts and numbers can be written, and to a vector always.
    let mut text = serde_json::to_string(&head).unwrap_or_default();
    text.pop();
    let _ = write!(out, "{text},\"values\":[");
    for (n, row) in rows.iter().enumerate() {
        let _ = write!(out, "{}[{}", if n == 0 { "" } else { "," }, row.ms);
        for cell in &row.cells {
            let _ = write!(out, ",{cell}");
        }
        out.push(b']');
    }
    out.extend_from_slice(b"]}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn question(step_ms: i64, answer: SeriesAnswer) -> SeriesQuestion {
        SeriesQuestion {
            signal: "press-3.force".parse().unwrap(),
            unit: "kN".into(),
            step_ms,
            from_ms: 10 * MINUTE,
            to_ms: 20 * MINUTE,
            aggregates: vec![Aggregate::Mean, Aggregate::Max],
            values_min: 1,
            rows_max: 100,
            answer,
        }
    }

    fn read(question: SeriesQuestion, answer: &str) -> Result<Value, Malformed> {
        let mut reader = SeriesReader::new(Arc::new(question));
        let mut out = Vec::new();
        answer.as_bytes().chunks(7).try_for_each(|piece| reader.push(piece))?;
        reader.finish(&mut out)?;
        let out: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(out["values"].as_array().unwrap().len() as u64, reader.rows());
        Ok(out)
    }

    fn influx(rows: &str) -> String {
        format!(
            r#"{{"results":[{{"statement_id":0,"series":[{{"name":"PL1.SECRET","columns":["time","mean"],"values":{rows}}}]}}]}}"#
        )
    }

    #[test]
    fn steps_of_a_historian_leave_in_our_form_and_without_its_names() {
        let out = read(
            question(MINUTE, SeriesAnswer::InfluxDb),
            &influx("[[600000,1.5,3,9],[720000,null,null,0],[780000,2,2,1]]"),
        )
        .unwrap();
        assert_eq!(out["values"].to_string(), "[[600000,1.5,3],[780000,2,2]]");
        assert_eq!(out["columns"], serde_json::json!(["time", "mean", "max"]));
        assert_eq!((&out["from"], &out["resolution"]), (&"1970-01-01T00:10:00.000Z".into(), &"1m".into()));
        let empty = read(question(MINUTE, SeriesAnswer::InfluxDb), r#"{"results":[{"statement_id":0}]}"#).unwrap();
        assert_eq!(empty["values"], Value::Array(vec![]));
    }

    #[test]
    fn what_is_not_the_series_that_was_asked_for_is_refused() {
        for (rows, why) in [
            ("[[600001,1,1,1]]", "begins where no step does"),
            ("[[540000,1,1,1]]", "before the window"),
            ("[[1200000,1,1,1]]", "the end is not in it"),
            ("[[660000,1,1,1],[600000,1,1,1]]", "goes back"),
            ("[[600000,1,1,1],[600000,1,1,1]]", "twice"),
            ("[[600000,1,1]]", "no count"),
            ("[[600000,1,1,1,1]]", "more than was asked for"),
            ("[[600000,\"x\",1,1]]", "a text"),
            ("[[600000,[1],1,1]]", "a list"),
            ("[[600000,1,1,-1]]", "a count below nothing"),
            ("[[\"600000\",1,1,1]]", "a time in a text"),
            ("[[1e400,1,1,1]]", "no number"),
            ("[7]", "no row"),
        ] {
            assert!(read(question(MINUTE, SeriesAnswer::InfluxDb), &influx(rows)).is_err(), "{why}");
        }
        for answer in [
            "",
            "[]",
            "{\"results\":[]}",
            r#"{"results":[{"error":"database not found: secret"}]}"#,
            r#"{"results":[{"series":[{"values":[],"partial":true}]}]}"#,
            r#"{"results":[{"series":[{"values":[]},{"values":[]}]}]}"#,
            r#"{"results":[{},{}]}"#,
        ] {
            let error = read(question(MINUTE, SeriesAnswer::InfluxDb), answer).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let many: Vec<String> = (0..101).map(|n| format!("[{},1]", 600_000 + n)).collect();
        assert!(read(question(0, SeriesAnswer::Rows), &format!("[{}]", many.join(","))).is_err());
    }

    #[test]
    fn raw_values_are_passed_and_say_whether_there_are_more() {
        let some = read(question(0, SeriesAnswer::Rows), r#"[[600000,1],[600000,"open"],[600001,true],[600002,null]]"#)
            .unwrap();
        assert_eq!((some["resolution"].as_str(), some.get("more")), (Some("raw"), None));
        assert_eq!(some["values"].to_string(), r#"[[600000,1],[600000,"open"],[600001,true],[600002,null]]"#);
        let mut full = question(0, SeriesAnswer::Rows);
        full.rows_max = 2;
        assert_eq!(read(full, "[[600000,1],[600001,1]]").unwrap()["more"], true);
    }

    #[test]
    fn the_broker_makes_steps_of_measured_values() {
        let at = |unit| ValuesAt { rows: "data.0".into(), time: "t".into(), value: "v".into(), unit, values_max: 7 };
        let answer = |times: [&str; 6]| {
            let rows: Vec<String> = times
                .iter()
                .zip(["1", "2", "9", "4", "null", "5"])
                .map(|(t, v)| format!(r#"{{"t":{t},"v":{v},"x":1}}"#))
                .collect();
            format!(r#"{{"data":[[{}]],"next":"secret"}}"#, rows.join(","))
        };
        let expected = r#"[[600000,1.5,2.0],[660000,6.5,9.0]]"#;
        for (unit, times) in [
            (TimeUnit::Milliseconds, ["600000", "659999", "660000", "719999", "720000", "1200000"]),
            (TimeUnit::Seconds, ["600", "659.999", "660", "719", "720", "1200"]),
            (
                TimeUnit::Nanoseconds,
                ["600000000000", "659999999999", "660000000000", "719000000000", "720000000000", "1200000000000"],
            ),
        ] {
            let out = read(question(MINUTE, SeriesAnswer::Values(at(unit))), &answer(times)).unwrap();
            assert_eq!(out["values"].to_string(), expected, "{unit:?}");
        }
        // Of raw values, as many as are wanted.
        let mut raw = question(0, SeriesAnswer::Values(at(TimeUnit::Milliseconds)));
        raw.rows_max = 2;
        let out = read(raw, &answer(["600000", "660000", "600001", "720000", "720001", "1200000"])).unwrap();
        assert_eq!((out["values"].to_string().as_str(), &out["more"]), ("[[600000,1],[600001,9]]", &true.into()));
        // A part that would say it is all of them.
        let mut cut = question(0, SeriesAnswer::Values(ValuesAt { values_max: 6, ..at(TimeUnit::Milliseconds) }));
        cut.rows_max = 10;
        let six = answer(["600000", "600001", "600002", "600003", "600004", "600005"]);
        assert!(read(cut, &six).is_err());
        // As many as the source ever gives: there may be more of the last step.
        let mut full = at(TimeUnit::Milliseconds);
        full.values_max = 6;
        let times = ["600000", "600001", "600002", "600003", "600004", "600005"];
        assert!(read(question(MINUTE, SeriesAnswer::Values(full)), &answer(times)).is_err());
        let text = r#"{"data":[[{"t":600000,"v":"x"}]]}"#;
        assert!(read(question(MINUTE, SeriesAnswer::Values(at(TimeUnit::Milliseconds))), text).is_err());
    }

    #[test]
    fn a_step_of_few_values_is_not_there() {
        let mut protected = question(MINUTE, SeriesAnswer::InfluxDb);
        protected.values_min = 5;
        let out = read(protected, &influx("[[600000,1.5,3,4],[660000,1.5,3,5]]")).unwrap();
        assert_eq!(out["values"].to_string(), "[[660000,1.5,3]]");
    }
}
