//! CSV (RFC 4180), safe to open in a spreadsheet.
//!
//! A spreadsheet takes a cell that begins with one of `= + - @`, a tab or a carriage return for a formula, which can send the
//! other cells to a stranger. Such a text gets an apostrophe in front, as does one that begins with an apostrophe: whoever
//! reads the file with a program takes one apostrophe off a cell that has one.

use super::columns::{Cell, Columns};
use std::borrow::Cow;
use std::io::{self, Write};

#[derive(Debug)]
pub(crate) struct Csv<W: Write>(csv::Writer<W>);

impl<W: Write> Csv<W> {
    pub(crate) fn begin(out: W, columns: &Columns) -> io::Result<Self> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
        writer.write_record(columns.iter().map(|(name, _)| name)).map_err(cause)?;
        Ok(Self(writer))
    }

    pub(crate) fn row(&mut self, cells: &[Cell]) -> io::Result<()> {
        self.0.write_record(cells.iter().map(|cell| written(cell).into_owned())).map_err(cause)
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What happened below; the crate's own conversion hides of which kind it is, and a pipe that was closed is no fault.
fn cause(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Lists are separated by spaces: what stands in them are ids, which have none.
fn written(cell: &Cell) -> Cow<'_, str> {
    match cell {
        Cell::None => Cow::Borrowed(""),
        Cell::Text(text) => harmless(text),
        Cell::Int(number) => Cow::Owned(number.to_string()),
        Cell::Time(time) => Cow::Owned(time.to_rfc3339()),
        Cell::Texts(texts) => Cow::Owned(harmless(&texts.join(" ")).into_owned()),
    }
}

fn harmless(text: &str) -> Cow<'_, str> {
    // OWASP "CSV Injection"; a line feed too, because some programs skip it before they look for a formula. Full-width forms
    // are formulas to some Japanese and Chinese spreadsheets.
    let begins_badly = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\'', '＝', '＋', '－', '＠']);
    if begins_badly { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Type;

    fn csv(cells: &[Cell]) -> String {
        let columns = (0..cells.len()).map(|n| (n.to_string(), Type::Text)).collect();
        let mut out = Vec::new();
        let mut writer = Csv::begin(&mut out, &columns).unwrap();
        writer.row(cells).unwrap();
        writer.finish().unwrap();
        String::from_utf8(out).unwrap().split_once("\r\n").unwrap().1.to_owned()
    }

    #[test]
    fn a_name_is_no_formula_in_a_spreadsheet() {
        for bad in ["=1+1", "+1", "-1", "@sum", "\tx", "\rx", "\nx", "'x", "＝1"] {
            let line = csv(&[Cell::Text(bad.into()), Cell::Texts(vec![bad.into()])]);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
            for cell in reader.records().next().unwrap().unwrap().iter() {
                assert_eq!(cell.strip_prefix('\''), Some(bad), "{line}");
            }
        }
        // A negative number is one.
        assert_eq!(csv(&[Cell::Int(-5), Cell::Text("a-b".into())]), "-5,a-b\r\n");
    }

    #[test]
    fn cells_cannot_break_out_of_their_row() {
        assert_eq!(csv(&[Cell::Text("a\"b,c\r\nd".into()), Cell::None]), "\"a\"\"b,c\r\nd\",\r\n");
    }
}
