//! Where an answer becomes a file: entries as they come, page by page, and summaries at once.

use super::columns::{self, Columns};
use super::delimited::Csv;
use super::stored::Parquet;
use super::syslog::Syslog;
use super::{Measure, Ocsf, Record, cef, chart};
use serde_json::Value;
use std::io::{self, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Table,
    Json,
    Csv,
    Parquet,
    Ocsf,
    Cef,
    Syslog,
    Svg,
}

impl Format {
    pub const ALL: [Self; 8] =
        [Self::Table, Self::Json, Self::Csv, Self::Parquet, Self::Ocsf, Self::Cef, Self::Syslog, Self::Svg];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Ocsf => "ocsf",
            Self::Cef => "cef",
            Self::Syslog => "syslog",
            Self::Svg => "svg",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }
}

pub fn is_for_entries(format: Format) -> bool {
    format != Format::Svg
}

pub fn is_for_summaries(format: Format) -> bool {
    matches!(format, Format::Table | Format::Json | Format::Csv | Format::Parquet | Format::Svg)
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("it cannot be written")]
    Io(#[from] io::Error),
    #[error("it cannot be written as Parquet")]
    Parquet(#[from] parquet::errors::ParquetError),
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub entries: u64,
}

/// Entries in one of the formats that are not for a screen.
#[derive(Debug)]
pub struct Entries<W: Write + Send> {
    form: Form<W>,
    counts: Counts,
}

#[derive(Debug)]
enum Form<W: Write + Send> {
    Csv(Box<Csv<W>>),
    Parquet(Box<Parquet<W>>),
    Lines(W, Box<Line>),
}

#[derive(Debug)]
enum Line {
    Ocsf(Ocsf),
    Cef,
    Syslog(Syslog),
}

impl<W: Write + Send> Entries<W> {
    /// `None` for the formats that are for a screen, a chart, or JSON, of which the broker's answer is one.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn begin(format: Format, out: W, ocsf: Ocsf, syslog: Syslog) -> Result<Option<Self>, WriteError> {
        let form = match format {
            Format::Csv => Form::Csv(Box::new(Csv::begin(out, &columns::of_entries(false))?)),
            Format::Parquet => Form::Parquet(Box::new(Parquet::begin(out, columns::of_entries(true))?)),
            Format::Ocsf => Form::Lines(out, Box::new(Line::Ocsf(ocsf))),
            Format::Cef => Form::Lines(out, Box::new(Line::Cef)),
            Format::Syslog => Form::Lines(out, Box::new(Line::Syslog(syslog))),
            Format::Table | Format::Json | Format::Svg => return Ok(None),
        };
        Ok(Some(Self { form, counts: Counts::default() }))
    }

    /// The next page of them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn page(&mut self, records: &[Record]) -> Result<(), WriteError> {
        if let Form::Lines(_, line) = &mut self.form
            && let Line::Ocsf(ocsf) = line.as_mut()
        {
            // The newest may come first: an outcome before its decision.
            records.iter().for_each(|record| ocsf.look(record));
        }
        for record in records {
            match &mut self.form {
                Form::Csv(csv) => csv.row(&columns::of_record(record, false))?,
                Form::Parquet(parquet) => parquet.row(columns::of_record(record, true))?,
                Form::Lines(out, line) => writeln!(out, "{}", line.of(record))?,
            }
            self.counts.entries += 1;
        }
        Ok(())
    }

    /// # Errors
    /// When the end cannot be written.
    pub fn finish(self) -> Result<Counts, WriteError> {
        match self.form {
            Form::Csv(csv) => csv.finish()?,
            Form::Parquet(parquet) => parquet.finish()?,
            Form::Lines(mut out, _) => out.flush()?,
        }
        Ok(self.counts)
    }
}

impl Line {
    fn of(&mut self, record: &Record) -> String {
        match self {
            Self::Ocsf(ocsf) => ocsf.line(record),
            Self::Cef => cef(record),
            Self::Syslog(syslog) => syslog.message(record),
        }
    }
}

/// A summary as CSV, Parquet or a chart; `false` and nothing written for the other formats.
///
/// # Errors
/// When it cannot be written.
pub fn summary<W: Write + Send>(
    format: Format,
    mut out: W,
    table: &Value,
    (measure, title): (Measure, Option<&str>),
) -> Result<bool, WriteError> {
    let (columns, rows): (Columns, _) = columns::of_summary(table);
    match format {
        Format::Csv => {
            let mut csv = Csv::begin(out, &columns)?;
            rows.iter().try_for_each(|row| csv.row(row))?;
            csv.finish()?;
        }
        Format::Parquet => {
            let mut parquet = Parquet::begin(out, columns)?;
            rows.into_iter().try_for_each(|row| parquet.row(row))?;
            parquet.finish()?;
        }
        Format::Svg => {
            out.write_all(chart(table, measure, title).as_bytes())?;
            out.flush()?;
        }
        Format::Table | Format::Json | Format::Ocsf | Format::Cef | Format::Syslog => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples;
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::{Int64Type, TimestampMillisecondType};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    fn all() -> Vec<Record> {
        [vec![samples::allowed(), samples::outcome(), samples::denied()], samples::others()].concat()
    }

    fn written(format: Format, records: &[Record]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut entries = Entries::begin(format, &mut out, Ocsf::default(), Syslog::default()).unwrap().unwrap();
        // In pages.
        records.chunks(4).for_each(|page| entries.page(page).unwrap());
        assert_eq!(entries.finish().unwrap().entries, records.len() as u64);
        out
    }

    #[test]
    fn every_entry_is_a_line_or_a_row() {
        let records = all();
        for format in [Format::Csv, Format::Ocsf, Format::Cef, Format::Syslog] {
            let text = String::from_utf8(written(format, &records)).unwrap();
            let head = usize::from(format == Format::Csv);
            assert_eq!(text.lines().count(), records.len() + head, "{format:?}");
        }
    }

    #[test]
    fn parquet_keeps_types_and_the_stored_bytes() {
        let records = all();
        let bytes = written(Format::Parquet, &records);
        let mut batches = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
        let batch = batches.next().unwrap().unwrap();
        assert_eq!(batch.num_rows(), records.len());
        let column = |name: &str| batch.column_by_name(name).unwrap();
        assert_eq!(column("index").as_primitive::<Int64Type>().value(0), 9611);
        let times = column("time").as_primitive::<TimestampMillisecondType>();
        assert_eq!((times.value(0), times.timezone()), (1_795_382_467_064, Some("UTC")));
        assert_eq!(column("entry").as_string::<i32>().value(2), samples::denied().stored());
        let reasons = column("reasons").as_list::<i32>().value(2);
        assert_eq!(
            reasons.as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
            ["data_too_old", "window_too_wide"]
        );
    }

    #[test]
    fn the_columns_are_those_of_the_documentation() {
        let guide = include_str!("../../../docs/guides/siem.md");
        for (name, _) in columns::of_entries(true) {
            assert!(guide.contains(&format!("| `{name}` |")), "docs/guides/siem.md does not say what `{name}` is");
        }
    }

    #[test]
    fn a_summary_is_a_table_of_typed_columns() {
        let rows = serde_json::json!([{ "group": ["2026-11-22", ""], "decisions": 3, "ended": 2, "complete": 1, "rows": 7,
            "bytes": 70, "first_index": 4, "first_time": "2026-11-22T01:02:03.004Z" }]);
        let table = serde_json::json!({ "by": ["day", "reason"], "rows": rows, "size": 9 });
        let mut out = Vec::new();
        assert!(summary(Format::Csv, &mut out, &table, Default::default()).unwrap());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "day,reason,decisions,ended,complete,rows,bytes,first_index,first_time\r\n\
             2026-11-22,,3,2,1,7,70,4,2026-11-22T01:02:03.004Z\r\n"
        );
        let mut out = Vec::new();
        assert!(summary(Format::Parquet, &mut out, &table, Default::default()).unwrap());
        assert!(out.starts_with(b"PAR1") && out.ends_with(b"PAR1"));
        assert!(!summary(Format::Ocsf, Vec::new(), &table, Default::default()).unwrap());
    }
}
