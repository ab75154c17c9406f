//! CSV (RFC 4180, with commas or what else separates cells) rewritten as it comes: a column is shown, masked, or not there,
//! and so is a row.
//!
//! What passes has a first row of column names, each once where it is shown or tells something, and as many cells in each
//! row. Cells are held as a whole, up to 64 KiB; what is written is quoted where it must be, whatever came in.

use super::json::Malformed;
use super::mask::{Masked, PseudonymKey, Scalar, Treatment, masked};
use super::rows::{RowFilter, Told};
use super::view::View;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use model::plant::{RecordAttribute, Separator};
use std::sync::Arc;

const CELL_BYTES_MAX: usize = 64 * 1024;
const ROW_BYTES_MAX: usize = 1024 * 1024;
const COLUMNS_MAX: usize = 4_096;

pub struct CsvRewriter {
    view: Arc<View>,
    key: PseudonymKey,
    filter: Option<Arc<RowFilter>>,
    separator: Separator,
    reader: Reader,
    /// The row under way: its cells one after the other, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
    used: (usize, usize),
    /// `None` before the first row.
    columns: Option<Vec<Column>>,
    offset: u64,
    rows: u64,
    rows_max: u64,
}

/// What happens to the cells of one column.
#[derive(Debug)]
struct Column {
    treatment: Option<Treatment>,
    tells: Option<RecordAttribute>,
}

impl std::fmt::Debug for CsvRewriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvRewriter").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl CsvRewriter {
    pub fn new(view: Arc<View>, key: PseudonymKey, filter: Option<Arc<RowFilter>>) -> Self {
        Self {
            view,
            key,
            filter,
            separator: Separator::default(),
            reader: Reader::new(),
            cells: vec![0; 4_096],
            ends: vec![0; 64],
            used: (0, 0),
            columns: None,
            offset: 0,
            rows: 0,
            rows_max: u64::MAX,
        }
    }

    /// Reads and writes with this between cells.
    pub fn separated_by(self, separator: Separator) -> Self {
        Self { separator, reader: ReaderBuilder::new().delimiter(separator.byte()).build(), ..self }
    }

    /// No more rows than so many.
    pub fn at_most(self, rows_max: u64) -> Self {
        Self { rows_max, ..self }
    }

    /// Rows that were written, without the one of names.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// # Errors
    /// Where it is not what this module takes.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (result, used) = self.read(rest);
            self.offset += used as u64;
            rest = rest.get(used..).unwrap_or_default();
            self.take(&result, out).map_err(|what| self.malformed(what))?;
        }
        Ok(())
    }

    /// # Errors
    /// When the last row is not whole, or there was none.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        // A line end ends the last row, unless it stands within quotes: then all that came since they began, rows of others
        // among it, is one cell.
        self.push(b"\n", out)?;
        if self.used != (0, 0) {
            return Err(self.malformed("a quote is not closed"));
        }
        loop {
            let (result, _) = self.read(&[]);
            let is_end = matches!(result, ReadRecordResult::End);
            self.take(&result, out).map_err(|what| self.malformed(what))?;
            if is_end {
                let named = self.columns.is_some();
                return if named { Ok(()) } else { Err(self.malformed("it has no row of column names")) };
            }
        }
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, offset: self.offset }
    }

    fn read(&mut self, bytes: &[u8]) -> (ReadRecordResult, usize) {
        let (cells, ends) = self.used;
        let cells = self.cells.get_mut(cells..).unwrap_or_default();
        let ends = self.ends.get_mut(ends..).unwrap_or_default();
        let (result, used, written, ended) = self.reader.read_record(bytes, cells, ends);
        self.used.0 += written;
        self.used.1 += ended;
        (result, used)
    }

    fn take(&mut self, result: &ReadRecordResult, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match result {
            ReadRecordResult::InputEmpty | ReadRecordResult::End => Ok(()),
            ReadRecordResult::OutputFull if self.cells.len() >= ROW_BYTES_MAX => Err("a row is longer than 1 MiB"),
            ReadRecordResult::OutputFull => {
                self.cells.resize(self.cells.len() * 2, 0);
                Ok(())
            }
            ReadRecordResult::OutputEndsFull if self.ends.len() >= COLUMNS_MAX => Err("a row has too many cells"),
            ReadRecordResult::OutputEndsFull => {
                self.ends.resize(self.ends.len() * 2, 0);
                Ok(())
            }
            ReadRecordResult::Record => {
                let row = self.row(out);
                self.used = (0, 0);
                row
            }
        }
    }

    fn row(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let text =
            std::str::from_utf8(self.cells.get(..self.used.0).unwrap_or_default()).map_err(|_| "it is not UTF-8")?;
        let mut cells = Vec::with_capacity(self.used.1);
        let mut from = 0;
        for end in self.ends.iter().take(self.used.1) {
            let cell = text.get(from..*end).ok_or("it is not UTF-8")?;
            if cell.len() > CELL_BYTES_MAX {
                return Err("a cell is longer than 64 KiB");
            }
            cells.push(cell);
            from = *end;
        }
        match &self.columns {
            None => {
                let columns = columns(&self.view, &cells)?;
                let shown = cells.iter().zip(&columns).filter(|(_, column)| column.treatment.is_some());
                write_row(shown.map(|(name, _)| *name), self.separator, out);
                self.columns = Some(columns);
            }
            Some(columns) if columns.len() != cells.len() => {
                return Err("a row has not as many cells as there are columns");
            }
            Some(_) if self.rows >= self.rows_max => {}
            Some(columns) => {
                if let Some(filter) = &self.filter
                    && !filter.shows(&told(columns, &cells))
                {
                    return Ok(());
                }
                let shown = cells.iter().zip(columns).filter_map(|(cell, column)| match column.treatment.as_ref()? {
                    Treatment::Drop => None,
                    Treatment::Show => Some(std::borrow::Cow::Borrowed(*cell)),
                    Treatment::Mask(mask) => Some(match masked(mask, scalar(cell), &self.key) {
                        Masked::Null => "".into(),
                        Masked::Text(text) | Masked::Number(text) => text.into(),
                    }),
                });
                write_row(shown, self.separator, out);
                self.rows += 1;
            }
        }
        Ok(())
    }
}

fn columns(view: &View, names: &[&str]) -> Result<Vec<Column>, &'static str> {
    let columns: Vec<Column> = names
        .iter()
        .map(|name| {
            let node = view.find(name);
            let treatment = node.and_then(|node| node.treatment.clone()).filter(|what| *what != Treatment::Drop);
            Column { treatment, tells: node.and_then(|node| node.tells) }
        })
        .collect();
    let matters = |(_, column): &(&&str, &Column)| column.treatment.is_some() || column.tells.is_some();
    let mut seen = std::collections::BTreeSet::new();
    if names.iter().zip(&columns).filter(matters).all(|(name, _)| seen.insert(*name)) {
        Ok(columns)
    } else {
        Err("a column stands twice")
    }
}

/// An empty cell says nothing.
fn told(columns: &[Column], cells: &[&str]) -> Told {
    let mut told = Told::default();
    for (column, cell) in columns.iter().zip(cells) {
        if let Some(attribute) = column.tells.filter(|_| !cell.is_empty()) {
            told.says(attribute, Some(*cell));
        }
    }
    told
}

/// CSV does not tell a number from a text that looks like one.
fn scalar(cell: &str) -> Scalar<'_> {
    match cell.bytes().next() {
        None => Scalar::Null,
        Some(b'-' | b'0'..=b'9') if cell.parse::<f64>().is_ok() => Scalar::Number(cell),
        Some(_) => Scalar::Text(cell),
    }
}

fn write_row<T: AsRef<str>>(cells: impl Iterator<Item = T>, separator: Separator, out: &mut Vec<u8>) {
    let from = out.len();
    for (n, cell) in cells.enumerate() {
        let cell = cell.as_ref();
        if n > 0 {
            out.push(separator.byte());
        }
        if cell.contains([char::from(separator.byte()), '"', '\r', '\n']) {
            out.push(b'"');
            out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(cell.as_bytes());
        }
    }
    if out.len() == from {
        // A single empty cell: an empty line would be no row.
        out.extend_from_slice(b"\"\"");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::stand;
    use model::plant::{Dataset, Mask, RecordAttributes, Step, ToldBy};
    use std::collections::BTreeMap;

    fn dataset() -> Dataset {
        let masks = [
            ("person", Mask::Redact),
            ("cost", Mask::Bucket { width: Step::parse("50").unwrap() }),
            ("order", Mask::Partial { last: 2 }),
            ("cause", Mask::Drop),
        ];
        let told = ToldBy { field: "owner".into(), values: BTreeMap::new() };
        let records = RecordAttributes {
            suppliers: ["acme", "bolt"].map(|id| id.parse().unwrap()).into(),
            told_by: BTreeMap::from([(RecordAttribute::Supplier, told)]),
            ..RecordAttributes::default()
        };
        let mut dataset = stand::dataset(&["serial", "plant.country", "owner"], records);
        for (field, mask) in masks {
            dataset.fields.insert(field.to_owned(), "closed".parse().unwrap());
            dataset.masks.insert(field.to_owned(), mask);
        }
        dataset
    }

    fn rewrite(filtered: bool, input: &[u8], size: usize) -> Result<(String, u64), &'static str> {
        let dataset = dataset();
        let view = View::new(&dataset, &stand::open(), filtered);
        let kinds = dataset.records.kinds(64).unwrap();
        let bolt: Vec<_> =
            kinds.into_iter().filter(|kind| kind.get(RecordAttribute::Supplier) == Some("bolt")).collect();
        let filter = RowFilter::new(&dataset, if filtered { &bolt } else { &[] }, None).map(Arc::new);
        let mut rewriter = CsvRewriter::new(Arc::new(view), PseudonymKey::new(&[7; 32], "a"), filter);
        let mut out = Vec::new();
        for piece in input.chunks(size) {
            rewriter.push(piece, &mut out).map_err(|malformed| malformed.what)?;
        }
        rewriter.finish(&mut out).map_err(|malformed| malformed.what)?;
        Ok((String::from_utf8(out).unwrap(), rewriter.rows()))
    }

    #[test]
    fn semicolons_and_tabs_separate_where_the_catalog_says_so() {
        let view = Arc::new(View::new(&dataset(), &stand::open(), false));
        for separator in [Separator::Semicolon, Separator::Tab] {
            let key = PseudonymKey::new(&[7; 32], "a");
            let mut rewriter = CsvRewriter::new(Arc::clone(&view), key, None).separated_by(separator);
            let with = |text: &str| text.replace('|', &char::from(separator.byte()).to_string());
            let mut out = Vec::new();
            let rows = "serial|secret|cost|order\nA,1|x|173|PO-4711\n\"B|2\"|\"y|z\"|7|12\n";
            rewriter.push(with(rows).as_bytes(), &mut out).unwrap();
            rewriter.finish(&mut out).unwrap();
            let expected = "serial|cost|order\r\nA,1|150..200|***11\r\n\"B|2\"|0..50|\r\n";
            assert_eq!(String::from_utf8(out).unwrap(), with(expected));
        }
    }

    const TABLE: &str = "serial,secret,person,cost,plant.country,order,cause,owner\n\
        A-1,x,anna,173,DEU,PO-4711,wear,acme\r\n\
        \"B,\"\"2\"\"\",\"y\nz\",berta,n/a,DEU,7,wear,bolt\n\
        C-3,,,,,,,";

    #[test]
    fn columns_are_shown_masked_or_not_there() {
        let expected = "serial,person,cost,plant.country,order,owner\r\n\
            A-1,[redacted],150..200,DEU,***11,acme\r\n\
            \"B,\"\"2\"\"\",[redacted],,DEU,,bolt\r\n\
            C-3,[redacted],,,,\r\n";
        for size in [1, 3, 1_000] {
            assert_eq!(rewrite(false, TABLE.as_bytes(), size), Ok((expected.to_owned(), 3)), "{size}");
        }
    }

    #[test]
    fn rows_of_others_are_not_there() {
        let (out, rows) = rewrite(true, TABLE.as_bytes(), 7).unwrap();
        // The last says nothing of whose it is, and may be bolt's.
        assert_eq!((out.lines().count(), rows), (2, 1), "{out}");
        assert!(!out.contains("bolt") && !out.contains("C-3"), "{out}");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let wide = format!("serial\n{}", "x,".repeat(5_000));
        let long = format!("serial\n{}", "x".repeat(70_000));
        for (input, why) in [
            (&b""[..], "it has no row of column names"),
            (b"serial,serial\n1,2\n", "a column stands twice"),
            (b"serial,owner,owner\n1,2,3\n", "a column stands twice"),
            (b"serial,cost\n1\n", "a row has not as many cells as there are columns"),
            (b"serial,owner\nA,\"acme\nB,bolt\n", "a quote is not closed"),
            (b"serial\n1,2\n", "a row has not as many cells as there are columns"),
            (b"serial\n\xff\n", "it is not UTF-8"),
            (wide.as_bytes(), "a row has too many cells"),
            (long.as_bytes(), "a cell is longer than 64 KiB"),
        ] {
            assert_eq!(
                rewrite(false, input, 11),
                Err(why),
                "{}",
                String::from_utf8_lossy(input.get(..40).unwrap_or(input))
            );
        }
        // Columns that nobody declared may stand as often as they like.
        assert_eq!(rewrite(false, b"x,serial,x\n1,2,3\n", 2), Ok((String::from("serial\r\n2\r\n"), 1)));
    }
}
