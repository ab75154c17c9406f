//! A summary as a chart: bars over time, or a bar for each group, one series or stacked.
//!
//! One SVG without script and without anything fetched. It has no fixed width: positions are shares of it and letters have one
//! size, so it can be read on a telephone. Colours follow the reader's preference for light or dark. Every bar says its number
//! when pointed at, and `<desc>` says what the whole is.

mod layout;
mod series;

use layout::Canvas;
use serde_json::Value;
use series::{Series, Slot};

/// What the length of a bar stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measure {
    #[default]
    Decisions,
    Ended,
    Complete,
    Rows,
    Bytes,
}

impl Measure {
    pub const ALL: [Self; 5] = [Self::Decisions, Self::Ended, Self::Complete, Self::Rows, Self::Bytes];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::Ended => "ended",
            Self::Complete => "complete",
            Self::Rows => "rows",
            Self::Bytes => "bytes",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.as_str() == text)
    }
}

/// The chart of `{"by":[…],"rows":[{"group":[…],"decisions",…}],"left_out"?}`.
pub fn chart(summary: &Value, measure: Measure, title: Option<&str>) -> String {
    let series = Series::of(summary, measure);
    let title = title.map_or_else(|| series.title(), str::to_owned);
    let mut canvas = Canvas::new(&title, &series.description());
    legend(&mut canvas, &series);
    if series.slots.is_empty() {
        canvas.text("0", 40, "start", "note", "nothing was found");
        canvas.advance(60);
    } else if series.is_over_time {
        columns(&mut canvas, &series);
    } else {
        bars(&mut canvas, &series);
    }
    if let Some(left_out) = summary.get("left_out").and_then(Value::as_u64) {
        canvas.text("0", 16, "start", "note", &format!("{left_out} more groups are not shown"));
        canvas.advance(24);
    }
    canvas.finish()
}

/// Two to a line if they are short, so that they fit a narrow screen.
fn legend(canvas: &mut Canvas, series: &Series) {
    if series.names.len() < 2 {
        return;
    }
    let are_short = series.names.iter().all(|name| name.chars().count() <= 18);
    let numbered: Vec<(usize, &String)> = series.names.iter().enumerate().collect();
    for line in numbered.chunks(if are_short { 2 } else { 1 }) {
        for ((number, name), x) in line.iter().zip([0, 50]) {
            canvas.key(x, *number, name);
        }
        canvas.advance(20);
    }
    canvas.advance(8);
}

const PLOT_HEIGHT: f64 = 220.0;
/// Share of the width that numbers of the scale have for themselves.
const SCALE: f64 = 13.0;
/// More labels touch each other on a narrow screen; every other of them goes there.
const LABELS: usize = 6;

/// Time goes to the right.
fn columns(canvas: &mut Canvas, series: &Series) {
    let unit = series.unit();
    let top = layout::scale(series.largest() / unit) * unit;
    let lines = [0.0, 0.25, 0.5, 0.75, 1.0];
    canvas.advance(16);
    for share in lines {
        canvas.line(PLOT_HEIGHT * (1.0 - share));
    }
    let width = (100.0 - SCALE) / layout::count(series.slots.len());
    let gap = (width * 0.15).min(0.6);
    let every = series.slots.len().div_ceil(LABELS);
    for (at, slot) in series.slots.iter().enumerate() {
        let x = SCALE + width * layout::count(at);
        let mut floor = PLOT_HEIGHT;
        for (number, value) in slot.values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            let height = value / top * PLOT_HEIGHT;
            floor -= height;
            canvas.bar([x + gap / 2.0, floor, width - gap, height], number, &series.said(slot, number));
        }
        if at % every == 0 {
            let class = if (at / every).is_multiple_of(2) { "label" } else { "label minor" };
            // The first begins at its bar, so that it is not cut off; the others stand under theirs.
            canvas.text(&percent(x + width / 2.0), whole(PLOT_HEIGHT) + 18, "middle", class, series.short_name(slot));
        }
    }
    // On a narrow screen they stand before the first bars.
    for share in lines.into_iter().skip(1) {
        canvas.text("0", whole(PLOT_HEIGHT * (1.0 - share)) - 4, "start", "scale", &series.short(top * share));
    }
    canvas.advance(whole(PLOT_HEIGHT) + 32);
}

const ROW_HEIGHT: i32 = 38;

/// One below the other, with its name above and its number at the end of the line.
fn bars(canvas: &mut Canvas, series: &Series) {
    let top = series.largest().max(1.0);
    for slot in &series.slots {
        canvas.text("0", 14, "start", "label strong", &layout::shortened(&slot.name));
        canvas.text("100%", 14, "end", "label", &series.short(slot.total()));
        let mut x = 0.0;
        for (number, value) in slot.values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            let width = value / top * 100.0;
            canvas.bar([x, 20.0, width, 10.0], number, &series.said(slot, number));
            x += width;
        }
        canvas.advance(ROW_HEIGHT);
    }
}

fn percent(share: f64) -> String {
    format!("{share:.2}%")
}

#[expect(clippy::cast_possible_truncation, reason = "pixels of a plot, a few hundred")]
fn whole(pixels: f64) -> i32 {
    pixels.round() as i32
}

impl Slot {
    fn total(&self) -> f64 {
        self.values.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(group: &[&str], decisions: u64, bytes: u64) -> Value {
        json!({ "group": group, "decisions": decisions, "bytes": bytes })
    }

    #[test]
    fn days_without_decisions_have_their_place() {
        let rows = [
            row(&["2026-11-20", "acme"], 5, 0),
            row(&["2026-11-23", "acme"], 7, 0),
            row(&["2026-11-23", "bolt"], 1, 0),
        ];
        let summary = json!({ "by": ["day", "organisation"], "rows": rows });
        let series = Series::of(&summary, Measure::Decisions);
        let names: Vec<_> = series.slots.iter().map(|slot| slot.name.as_str()).collect();
        assert_eq!(names, ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"]);
        assert_eq!(series.names, ["acme", "bolt"]);
        assert_eq!(series.slots[3].values, [7.0, 1.0]);
        let svg = chart(&summary, Measure::Decisions, None);
        assert_eq!(svg.matches("<rect class=\"s").count(), 3 + 2, "three bars, two keys: {svg}");
        assert!(svg.contains("<title>2026-11-23, bolt: 1</title>"), "{svg}");
        assert!(svg.contains("prefers-color-scheme: dark") && svg.contains("<desc"), "{svg}");
    }

    #[test]
    fn many_series_become_a_few_and_the_rest() {
        let rows: Vec<Value> = (1..20).map(|n| row(&["acme", &format!("reason-{n}")], n, 0)).collect();
        let series = Series::of(&json!({ "by": ["organisation", "reason"], "rows": rows }), Measure::Decisions);
        assert_eq!(series.names.len(), 7);
        assert_eq!(series.names.first().map(String::as_str), Some("reason-19"));
        assert_eq!(series.slots[0].total(), 190.0);
    }

    #[test]
    fn a_name_is_text_and_no_markup() {
        let evil = "</title><script>alert(1)</script>\" onload=\"x&\u{0}\u{b}";
        let rows = [row(&[evil, evil], 5, 0)];
        let svg = chart(&json!({ "by": ["principal", "resource"], "rows": rows }), Measure::Decisions, Some(evil));
        assert!(!svg.contains("<script") && !svg.contains("\" onload") && !svg.contains(['\u{0}', '\u{b}']), "{svg}");
        assert!(svg.contains("&lt;/title&gt;&lt;script&gt;"), "{svg}");
    }

    #[test]
    fn numbers_are_short_and_scales_are_round() {
        let bytes = Series::of(&json!({ "by": [], "rows": [row(&[], 1, 5_368_709_120)] }), Measure::Bytes);
        assert_eq!(bytes.short(5_368_709_120.0), "5 GiB");
        let plain = Series::of(&json!({ "by": [], "rows": [] }), Measure::Decisions);
        assert_eq!(
            ["12", "1.2k", "3.5M"],
            [12.0, 1234.0, 3_500_000.0].map(|n| plain.short(n)).map(|t| t).each_ref().map(|t| t.as_str())
        );
        assert_eq!(
            [layout::scale(0.0), layout::scale(7.0), layout::scale(81.0), layout::scale(1200.0)],
            [4.0, 8.0, 100.0, 2000.0]
        );
    }
}
