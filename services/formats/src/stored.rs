//! Parquet: typed columns, zstd, one row group for each [`ROWS`] rows, so that memory does not depend on the log.

use super::columns::{Cell, Columns, Type};
use arrow_array::builder::{Int64Builder, ListBuilder, StringBuilder, TimestampMillisecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::io::Write;
use std::sync::Arc;

/// About 20 MB of entries with their text.
const ROWS: usize = 16_384;

pub(crate) struct Parquet<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: SchemaRef,
    columns: Columns,
    waiting: Vec<Vec<Cell>>,
}

impl<W: Write + Send> std::fmt::Debug for Parquet<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parquet").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl<W: Write + Send> Parquet<W> {
    pub(crate) fn begin(out: W, columns: Columns) -> Result<Self, ParquetError> {
        let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(name, data_type(*kind), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("millgate ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties))?;
        Ok(Self { writer, schema, columns, waiting: Vec::new() })
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) -> Result<(), ParquetError> {
        self.waiting.push(cells);
        if self.waiting.len() < ROWS { Ok(()) } else { self.group() }
    }

    fn group(&mut self) -> Result<(), ParquetError> {
        let rows = std::mem::take(&mut self.waiting);
        let arrays = self.columns.iter().enumerate().map(|(at, (_, kind))| {
            let cells = rows.iter().map(|row| row.get(at).unwrap_or(&Cell::None));
            array(*kind, cells)
        });
        let batch = RecordBatch::try_new(self.schema.clone(), arrays.collect())?;
        self.writer.write(&batch)?;
        self.writer.flush()
    }

    pub(crate) fn finish(mut self) -> Result<(), ParquetError> {
        if !self.waiting.is_empty() {
            self.group()?;
        }
        self.writer.close().map(|_| ())
    }
}

fn data_type(kind: Type) -> DataType {
    match kind {
        Type::Text => DataType::Utf8,
        Type::Int => DataType::Int64,
        Type::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        Type::Texts => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
    }
}

fn array<'a>(kind: Type, cells: impl Iterator<Item = &'a Cell>) -> ArrayRef {
    match kind {
        Type::Text => {
            let mut texts = StringBuilder::new();
            cells.for_each(|cell| texts.append_option(if let Cell::Text(text) = cell { Some(text) } else { None }));
            Arc::new(texts.finish())
        }
        Type::Int => {
            let mut numbers = Int64Builder::new();
            cells.for_each(|cell| numbers.append_option(if let Cell::Int(n) = cell { Some(*n) } else { None }));
            Arc::new(numbers.finish())
        }
        Type::Time => {
            let mut times = TimestampMillisecondBuilder::new();
            cells.for_each(|cell| times.append_option(if let Cell::Time(t) = cell { Some(t.millis()) } else { None }));
            Arc::new(times.finish().with_timezone("UTC"))
        }
        Type::Texts => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            cells.for_each(|cell| match cell {
                Cell::Texts(texts) => lists.append_value(texts.iter().map(Some)),
                _ => lists.append_null(),
            });
            Arc::new(lists.finish())
        }
    }
}
