//! Tag lists: signals as CSV, one per row, because that is what historians export.
//!
//! The first row names the columns, which are the keys of `[signal.…]` and `id`. Comma or semicolon (what a German Excel
//! writes) is told from that row; an empty cell is a key left out; a row beginning with `#` is a comment.

use crate::document::{Entry, Node, Spot, Val};
use crate::near;
use crate::problem::Problems;

/// Keys of a signal that a row can give, and `id`.
pub(crate) const COLUMNS: [&str; 12] = [
    "id",
    "title",
    "product",
    "source",
    "equipment",
    "address",
    "unit",
    "class",
    "sensitivity",
    "trade_secret",
    "supplier",
    "export_class",
];

/// The rows as entries of the table `signal`. The flag says that all of them could be read.
pub(crate) fn read_signals(file: usize, text: &str, problems: &Problems) -> (Vec<Entry>, bool) {
    // Spreadsheets mark UTF-8 with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter(text))
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut columns: Option<Vec<Option<&'static str>>> = None;
    let (mut rows, mut whole) = (Vec::new(), true);
    for record in reader.records() {
        match record {
            Ok(record) => {
                let spot = Spot { file, offset: offset(text, record.position()) };
                match &columns {
                    None => columns = Some(header(&record, spot, problems)),
                    Some(columns) => rows.extend(row(&record, columns, spot, problems)),
                }
            }
            Err(e) => {
                whole = false;
                problems.add(Spot { file, offset: offset(text, e.position()) }, row_error(&e), None);
            }
        }
    }
    (rows, whole)
}

fn delimiter(text: &str) -> u8 {
    let header = text.lines().find(|l| !l.starts_with('#') && !l.trim().is_empty()).unwrap_or_default();
    if header.contains(';') && !header.contains(',') { b';' } else { b',' }
}

/// The reader reports where it stood before it skipped comments and empty lines; the row itself begins after them.
fn offset(text: &str, position: Option<&csv::Position>) -> usize {
    let mut at = position.and_then(|p| usize::try_from(p.byte()).ok()).unwrap_or(0);
    for line in text.get(at..).unwrap_or_default().split_inclusive('\n') {
        if !line.starts_with('#') && !line.trim().is_empty() {
            break;
        }
        at += line.len();
    }
    at
}

fn row_error(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("this row has {len} cells, the first row has {expected_len}")
        }
        _ => String::from("this row is not readable CSV"),
    }
}

fn header(record: &csv::StringRecord, spot: Spot, problems: &Problems) -> Vec<Option<&'static str>> {
    let mut seen = Vec::new();
    let columns = record.iter().map(|name| {
        let known = COLUMNS.into_iter().find(|c| *c == name);
        match known {
            None => problems.add(spot, format!("unknown column `{name}`"), near::help(name, COLUMNS)),
            Some(c) if seen.contains(&c) => problems.add(spot, format!("column `{c}` stands twice"), None),
            Some(c) => seen.push(c),
        }
        known
    });
    let columns = columns.collect();
    if !seen.contains(&"id") {
        problems.add(spot, "there is no column `id`", Some("the first row names the columns".into()));
    }
    columns
}

fn row(record: &csv::StringRecord, columns: &[Option<&'static str>], spot: Spot, problems: &Problems) -> Option<Entry> {
    let cells = columns.iter().zip(record.iter()).filter_map(|(column, cell)| Some((column.as_ref()?, cell)));
    let (mut id, mut entries) = (None, Vec::new());
    for (column, cell) in cells.filter(|(_, cell)| !cell.is_empty()) {
        if *column == "id" {
            id = Some(cell.to_owned());
            continue;
        }
        let value = match (*column, cell) {
            ("trade_secret", "true") => Val::Boolean(true),
            ("trade_secret", "false") => Val::Boolean(false),
            _ => Val::Text(cell.to_owned()),
        };
        entries.push(Entry { key: (*column).to_owned(), spot, node: Node { spot, value } });
    }
    if id.is_none() && columns.contains(&Some("id")) {
        problems.add(spot, "this row has no `id`", None);
    }
    Some(Entry { key: id?, spot, node: Node { spot, value: Val::Table(entries) } })
}
