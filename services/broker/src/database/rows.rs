//! Rows of a cursor as the bytes of an answer: a JSON list, lines of JSON, or CSV.

use super::statement::{Check, Sieve};
use super::{DatabaseError, Given, Session};
use crate::shape::rows::{RowFilter, Told};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body::{Body, Frame};
use model::plant::{Format, Separator};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// Rows of the first `FETCH`, which are held together.
const FIRST: u64 = 32;
/// Rows of each further one. They come one by one, so this bounds round trips, not memory.
const NEXT: u64 = 512;
/// A piece of the answer.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces that wait for the caller, beside the one in work.
const PIECES: usize = 2;

/// The body of an answer. Whoever drops it ends the statement.
#[derive(Debug)]
pub struct Rows {
    first: Option<Bytes>,
    rest: Option<mpsc::Receiver<Result<Bytes, RowsError>>>,
}

/// Why rows ended before their end.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error("the database broke off: {0}")]
    Database(#[from] DatabaseError),
    #[error("a row is larger than {} bytes", super::statement::ROW_BYTES_MAX)]
    TooLarge,
}

impl Body for Rows {
    type Data = Bytes;
    type Error = RowsError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RowsError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        rest.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_none()
    }
}

/// A cursor that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    session: Session,
    sieve: Option<Sieve>,
    /// At the end, for whoever comes next.
    check: Option<(Check, Given)>,
    form: Format,
    names: Vec<String>,
    /// That are handed on.
    rows: u64,
    piece: Vec<u8>,
}

impl Reading {
    pub(super) fn new(
        session: Session,
        sieve: Option<Sieve>,
        check: Option<(Check, Given)>,
        form: Format,
        names: Vec<String>,
    ) -> Self {
        Self { session, sieve, check, form, names, rows: 0, piece: Vec::new() }
    }

    /// Reads the first rows here, so that a statement that fails at once is an error, and the others behind the answer.
    /// What comes after the answer takes `timeout` at the most.
    pub(super) async fn begin(mut self, timeout: Duration) -> Result<Rows, DatabaseError> {
        self.open();
        let first = match self.fetch(None).await {
            Ok(more) => more,
            Err(RowsError::Database(error)) => return Err(error),
            Err(RowsError::TooLarge) => return Err(DatabaseError::Failed(String::from("a row is too large"))),
        };
        if !first {
            self.close();
            let piece = std::mem::take(&mut self.piece);
            tokio::spawn(self.end(timeout));
            return Ok(Rows { first: Some(piece.into()), rest: None });
        }
        let first = Bytes::from(std::mem::take(&mut self.piece));
        let (pieces, rest) = mpsc::channel(PIECES);
        tokio::spawn(self.run(pieces, timeout));
        Ok(Rows { first: Some(first), rest: Some(rest) })
    }

    async fn run(mut self, pieces: mpsc::Sender<Result<Bytes, RowsError>>, timeout: Duration) {
        let ended = tokio::select! {
            ended = self.fetch_all(&pieces) => ended,
            // Nobody listens any longer: the connection is closed, whatever the database is doing.
            () = pieces.closed() => return,
        };
        match ended {
            Ok(()) => {
                // The caller need not wait for the transaction's end.
                if !self.piece.is_empty() {
                    let _ = pieces.send(Ok(std::mem::take(&mut self.piece).into())).await;
                }
                drop(pieces);
                self.end(timeout).await;
            }
            Err(error) => drop(pieces.send(Err(error)).await),
        }
    }

    /// Nobody waits for this any longer. A connection that does not come to rest is closed.
    async fn end(mut self, timeout: Duration) {
        let _ = tokio::time::timeout(timeout, async {
            if let Some((check, with)) = self.check.take()
                && let Err(error) = check.run(&mut self.session, with).await
            {
                tracing::warn!(%error, "what a database leaves out could not be compared with the record filter");
                return;
            }
            self.session.rest().await;
        })
        .await;
    }

    async fn fetch_all(&mut self, pieces: &mpsc::Sender<Result<Bytes, RowsError>>) -> Result<(), RowsError> {
        while self.fetch(Some(pieces)).await? {}
        self.close();
        Ok(())
    }

    /// Whether there may be more.
    async fn fetch(&mut self, pieces: Option<&mpsc::Sender<Result<Bytes, RowsError>>>) -> Result<bool, RowsError> {
        let Self { session, sieve, form, names, rows, piece, .. } = self;
        let wanted = if pieces.is_none() { FIRST } else { NEXT };
        let mut fetched = session.connection()?.fetch(AssertSqlSafe(format!("FETCH FORWARD {wanted} FROM answer")));
        let mut came = 0;
        while let Some(row) = fetched.try_next().await.map_err(DatabaseError::from)? {
            came += 1;
            if let Some(sieve) = sieve
                && (*rows >= sieve.rows || !sieve.filter.shows(&told(&row, 1, &sieve.filter, sieve.null_is_text)?))
            {
                continue;
            }
            let text: Option<&str> = row.try_get(0).map_err(DatabaseError::from)?;
            append(text.ok_or(RowsError::TooLarge)?, *form, names, *rows, piece)?;
            *rows += 1;
            if let Some(pieces) = pieces.filter(|_| piece.len() >= PIECE_BYTES) {
                // It has gone away if this fails, and `run` sees that.
                let _ = pieces.send(Ok(std::mem::take(piece).into())).await;
            }
        }
        let is_enough = sieve.as_ref().is_some_and(|sieve| *rows >= sieve.rows);
        Ok(came == wanted && !is_enough)
    }

    fn open(&mut self) {
        match self.form {
            Format::Csv(separator) => {
                let names = self.names.clone();
                write_record(names.iter().map(String::as_str), separator, &mut self.piece);
            }
            Format::Json | Format::Opaque => self.piece.push(b'['),
            Format::NdJson => {}
        }
    }

    fn close(&mut self) {
        if matches!(self.form, Format::Json | Format::Opaque) {
            self.piece.push(b']');
        }
    }
}

fn append(text: &str, form: Format, names: &[String], before: u64, piece: &mut Vec<u8>) -> Result<(), RowsError> {
    match form {
        Format::Csv(separator) => {
            let cells: Vec<Option<String>> = serde_json::from_str(text)
                .ok()
                .filter(|cells: &Vec<_>| cells.len() == names.len())
                .ok_or_else(|| DatabaseError::Failed(String::from("unreadable value")))?;
            write_record(cells.iter().map(|cell| cell.as_deref().unwrap_or_default()), separator, piece);
        }
        Format::NdJson => {
            // Between JSON's words alone: a value of type `json` is kept as it was written.
            piece.extend(text.bytes().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }));
            piece.push(b'\n');
        }
        Format::Json | Format::Opaque => {
            if before > 0 {
                piece.push(b',');
            }
            piece.extend_from_slice(text.as_bytes());
        }
    }
    Ok(())
}

/// RFC 4180, but for the separator.
fn write_record<'a>(cells: impl Iterator<Item = &'a str>, separator: Separator, out: &mut Vec<u8>) {
    let mut writer = csv::WriterBuilder::new();
    let mut writer = writer.terminator(csv::Terminator::CRLF).delimiter(separator.byte()).from_writer(&mut *out);
    // Writing to a vector does not fail.
    let _ = writer.write_record(cells);
}

/// What a row tells of itself in the columns from `first` on.
fn told(row: &PgRow, first: usize, filter: &RowFilter, null_is_text: bool) -> Result<Told, DatabaseError> {
    let mut told = Told::default();
    for (n, attribute) in filter.attributes().enumerate() {
        let value: Option<&str> = row.try_get(first + n)?;
        told.says(attribute, value.or_else(|| null_is_text.then_some("")));
    }
    Ok(told)
}

/// So many rows are compared.
const COMPARED: i64 = 1_000;

impl Check {
    /// Compares what the database and the filter think of some rows. Where they differ, it is not given the condition any
    /// more.
    async fn run(&self, session: &mut Session, with: Given) -> Result<(), DatabaseError> {
        let mut rows = with.query(&self.text, COMPARED).fetch(session.connection()?);
        while let Some(row) = rows.try_next().await? {
            let told = told(&row, 0, &self.filter, self.null_is_text)?;
            let given: bool = row.try_get(self.filter.fields().count())?;
            if given != self.filter.shows(&told) && !self.is_distrusted.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    alarm = "pushdown",
                    "a database and the record filter differ about a record; from now on records are left out here alone"
                );
            }
        }
        Ok(())
    }
}
