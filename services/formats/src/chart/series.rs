//! What is drawn: slots along the axis, and in each a value for every series.

use super::Measure;
use crate::columns::list;
use model::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// Colours that can be told apart, the last of which is "all others".
pub(super) const SERIES_MAX: usize = 7;
/// A gap of years is not drawn day by day.
const SLOTS_MAX: usize = 1_000;
const DAY_MS: i64 = 86_400_000;
const NONE: &str = "none";

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    /// As many as there are series.
    pub(super) values: Vec<f64>,
}

#[derive(Debug)]
pub(super) struct Series {
    pub(super) names: Vec<String>,
    pub(super) slots: Vec<Slot>,
    pub(super) is_over_time: bool,
    measure: Measure,
    by: Vec<String>,
}

fn is_time(by: &str) -> bool {
    matches!(by, "day" | "week" | "month")
}

impl Series {
    pub(super) fn of(summary: &Value, measure: Measure) -> Self {
        let by = list(summary.get("by"));
        // Time is the axis wherever it stands; else the first.
        let axis = by.iter().position(|by| is_time(by)).unwrap_or(0);
        let is_over_time = by.get(axis).is_some_and(|by| is_time(by));
        let rows: Vec<(String, String, f64)> = summary
            .get("rows")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|row| {
                let named = |text: &String| if text.is_empty() { NONE.to_owned() } else { text.clone() };
                let group = list(row.get("group"));
                let slot = group.get(axis).map_or_else(|| String::from("all"), named);
                let rest: Vec<String> =
                    group.iter().enumerate().filter(|(at, _)| *at != axis).map(|(_, text)| named(text)).collect();
                (slot, rest.join(" · "), row.get(measure.as_str()).and_then(Value::as_f64).unwrap_or_default())
            })
            .collect();
        let names = names(&rows);
        let mut slots = slots(&rows, &names, by.get(axis).map(String::as_str).filter(|_| is_over_time));
        if !is_over_time {
            slots.sort_by(|a, b| b.total().total_cmp(&a.total()));
        }
        Self { names, slots, is_over_time, measure, by }
    }

    pub(super) fn largest(&self) -> f64 {
        self.slots.iter().map(Slot::total).fold(0.0, f64::max)
    }

    pub(super) fn title(&self) -> String {
        let by = if self.by.is_empty() { String::new() } else { format!(" by {}", self.by.join(", ")) };
        format!("{}{by}", capital(self.measure.as_str()))
    }

    pub(super) fn description(&self) -> String {
        let total: f64 = self.slots.iter().map(Slot::total).sum();
        let most = self.slots.iter().max_by(|a, b| a.total().total_cmp(&b.total()));
        let most = most.map(|slot| format!("; most in {}: {}", slot.name, self.long(slot.total()))).unwrap_or_default();
        let span = match (self.is_over_time, self.slots.first(), self.slots.last()) {
            (true, Some(first), Some(last)) => format!(" from {} to {}", first.name, last.name),
            _ => format!(" in {} groups", self.slots.len()),
        };
        format!("{} {}{span}{most}.", self.long(total), self.measure.as_str())
    }

    /// What a bar says when pointed at.
    pub(super) fn said(&self, slot: &Slot, number: usize) -> String {
        let value = self.long(slot.values.get(number).copied().unwrap_or_default());
        match self.names.get(number).filter(|name| !name.is_empty()) {
            Some(name) => format!("{}, {name}: {value}", slot.name),
            None => format!("{}: {value}", slot.name),
        }
    }

    /// A day without its year, which the description has.
    pub(super) fn short_name<'s>(&self, slot: &'s Slot) -> &'s str {
        let is_day = slot.name.len() == 10;
        if is_day { slot.name.get(5..).unwrap_or(&slot.name) } else { &slot.name }
    }

    fn long(&self, value: f64) -> String {
        format!("{value:.0}")
    }

    fn units(&self) -> (f64, &'static [&'static str]) {
        match self.measure {
            Measure::Bytes => (1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB"]),
            _ => (1000.0, &["", "k", "M", "G", "T"]),
        }
    }

    /// In which the largest is a number below a thousand, so that scales are round.
    pub(super) fn unit(&self) -> f64 {
        let (step, units) = self.units();
        let mut unit = 1.0;
        for _ in units.iter().skip(1).take_while(|_| self.measure == Measure::Bytes) {
            if self.largest() < unit * step {
                break;
            }
            unit *= step;
        }
        unit
    }

    pub(super) fn short(&self, value: f64) -> String {
        let (step, units) = self.units();
        let mut value = value;
        let mut unit = 0;
        while value >= step && unit + 1 < units.len() {
            value /= step;
            unit += 1;
        }
        let text = if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") };
        let text = text.strip_suffix(".0").unwrap_or(&text);
        format!("{text}{}", units.get(unit).unwrap_or(&""))
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// The largest first, the rest as one.
fn names(rows: &[(String, String, f64)]) -> Vec<String> {
    let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
    for (_, name, value) in rows {
        *totals.entry(name).or_default() += value;
    }
    let mut all: Vec<(&str, f64)> = totals.into_iter().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let has_rest = all.len() > SERIES_MAX;
    let shown = if has_rest { SERIES_MAX - 1 } else { all.len() };
    let mut names: Vec<String> = all.iter().take(shown).map(|(name, _)| (*name).to_owned()).collect();
    if has_rest {
        names.push(format!("{} others", all.len() - shown));
    }
    names
}

fn slots(rows: &[(String, String, f64)], names: &[String], time: Option<&str>) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut place = |slots: &mut Vec<Slot>, name: &str| {
        *places.entry(name.to_owned()).or_insert_with(|| {
            slots.push(Slot { name: name.to_owned(), values: vec![0.0; names.len()] });
            slots.len() - 1
        })
    };
    if let Some(unit) = time {
        for name in times(rows, unit) {
            place(&mut slots, &name);
        }
    }
    for (name, series, value) in rows {
        let at = place(&mut slots, name);
        let number = names.iter().position(|known| known == series).unwrap_or(names.len().saturating_sub(1));
        if let Some(sum) = slots.get_mut(at).and_then(|slot| slot.values.get_mut(number)) {
            *sum += value;
        }
    }
    slots
}

/// Every day, week or month from the first to the last.
fn times(rows: &[(String, String, f64)], unit: &str) -> Vec<String> {
    let (first, last) = (rows.iter().map(|row| &row.0).min(), rows.iter().map(|row| &row.0).max());
    let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
    let whole = if unit == "month" { "-01" } else { "" };
    let length = if unit == "month" { 7 } else { 10 };
    let step = if unit == "week" { 7 } else { 1 };
    let Some(start) = Timestamp::parse_rfc3339(&format!("{first}{whole}T00:00:00Z")) else { return Vec::new() };
    let mut names: Vec<String> = Vec::new();
    let mut time = start;
    while names.len() < SLOTS_MAX {
        let text = time.to_rfc3339();
        let name = text.get(..length).unwrap_or_default();
        if name > last.as_str() {
            break;
        }
        // Days of one month have one name.
        if names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
        time = time.plus_millis(step * DAY_MS);
    }
    names
}
