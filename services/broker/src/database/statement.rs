//! The statement that is sent: the declared query, of it the columns of which something is shown, and the rows that may
//! be seen.

use super::DatabaseError;
use crate::shape::rows::{Condition, RowFilter};
use model::plant::Format;
use registry::{Aggregate, SeriesQuestion, SqlQuestion};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a statement gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// It is compared letter by letter, and its text is what JSON and CSV have.
    pub is_text: bool,
}

/// What is wanted of an answer.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub form: Format,
    /// `None`: all. Of others nothing is shown.
    pub columns: Option<&'a BTreeSet<String>>,
    /// The rows to leave out.
    pub records: Option<Records<'a>>,
    /// The rows are values of a series.
    pub series: Option<&'a SeriesQuestion>,
    /// As many as the source gives at once, where rows are left out on the way.
    pub rows_widened: i64,
    /// As many as the caller wants.
    pub rows: i64,
}

/// Which rows may be seen.
#[derive(Debug)]
pub struct Records<'a> {
    pub filter: &'a Arc<RowFilter>,
    /// The same for the database. `None` where a row does not tell it in columns of its own.
    pub condition: Option<&'a Condition>,
    /// Set once the database and the filter have been found to differ: it is not given the condition any more.
    pub is_distrusted: &'a Arc<AtomicBool>,
}

/// A statement with its values.
#[derive(Debug)]
pub(super) struct Composed {
    pub text: String,
    /// After the question's own values, before the number of rows.
    pub texts: Vec<Vec<String>>,
    pub rows_max: i64,
    /// Of CSV.
    pub names: Vec<String>,
    /// Rows come with what they tell, and are left out here.
    pub sieve: Option<Sieve>,
    /// The database leaves them out, and can be asked what it thinks of some.
    pub check: Option<Check>,
}

/// What leaves rows out one by one.
#[derive(Debug)]
pub(super) struct Sieve {
    pub filter: Arc<RowFilter>,
    pub null_is_text: bool,
    /// So many are enough.
    pub rows: u64,
}

/// What the filter thinks of rows, beside what the database does.
#[derive(Debug)]
pub(super) struct Check {
    /// What each of some rows tells, and whether the database would give it. Has the values of the statement.
    pub text: String,
    pub filter: Arc<RowFilter>,
    pub null_is_text: bool,
    pub is_distrusted: Arc<AtomicBool>,
}

/// Rows that are read one by one for the sake of those among them that may be seen.
const SIEVED_MAX: i64 = 10_000_000;

/// A row is not larger: the next would have to wait for it, and so would everybody's memory.
pub(super) const ROW_BYTES_MAX: usize = 1024 * 1024;

pub(super) fn compose(
    question: &SqlQuestion,
    wanted: &Wanted<'_>,
    columns: &[Column],
) -> Result<Composed, DatabaseError> {
    let is_csv = matches!(wanted.form, Format::Csv(_));
    let names = columns.iter().map(|column| column.name.as_str());
    let names: Vec<&str> = names.filter(|name| wanted.columns.is_none_or(|wanted| wanted.contains(*name))).collect();
    let mut texts = Vec::new();
    let (mut restricted, mut sieve, mut check) = (String::new(), None, None);
    let mut told = String::new();
    if let Some(records) = &wanted.records {
        let pushed = condition(records, columns, is_csv, question.binds.len() + 1, &mut texts)?;
        match pushed {
            Some(condition) => {
                let text = format!(
                    "SELECT {}, ({condition}) IS TRUE FROM (\n{}\n) q LIMIT ${}",
                    told_by(records.filter, "q"),
                    question.text,
                    question.binds.len() + texts.len() + 1
                );
                let (filter, is_distrusted) = (records.filter.clone(), records.is_distrusted.clone());
                check = Some(Check { text, filter, null_is_text: is_csv, is_distrusted });
                restricted = format!(" WHERE {condition}");
            }
            // What is told inside of a column is for whoever reads it.
            None if records.condition.is_none() => {}
            None => {
                told = format!(", {}", told_by(records.filter, "r"));
                let rows = wanted.rows.unsigned_abs();
                sieve = Some(Sieve { filter: records.filter.clone(), null_is_text: is_csv, rows });
            }
        }
    }
    let mut fetched = names.clone();
    if let Some(sieve) = &sieve {
        fetched.extend(sieve.filter.fields().filter(|field| !names.contains(field)));
    }
    let fetched: Vec<String> = fetched.iter().map(|name| format!("q.{}", quoted(name))).collect();
    // The query stands on lines of its own: its last one may end in a comment.
    let text = format!(
        "SELECT {}{} FROM (SELECT {} AS \
         row_text{told} FROM (SELECT {} FROM (\n{}\n) q{restricted} LIMIT ${}) r) s",
        not_too_long("row_text"),
        told_again(sieve.as_ref()),
        row_text(&names, is_csv),
        fetched.join(", "),
        question.text,
        question.binds.len() + texts.len() + 1,
    );
    let rows_max = match (&check, &sieve) {
        (Some(_), _) => wanted.rows,
        // It is read until there are enough. Any lower number would tell how many others there are up to it.
        (None, Some(_)) => SIEVED_MAX.max(wanted.rows_widened),
        (None, None) => wanted.rows_widened,
    };
    let names = names.into_iter().map(str::to_owned).collect();
    Ok(Composed { text, texts, rows_max, names, sieve, check })
}

/// The steps of a series, or its raw values: lists of milliseconds, what is shown of each, and of how many it is.
pub(super) fn series(question: &SqlQuestion, series: &SeriesQuestion) -> Composed {
    let time = |ms: i64| format!("timestamptz 'epoch' + {ms} * interval '1 millisecond'");
    let rows = format!(
        "SELECT * FROM (SELECT q.time::timestamptz AS time, q.value AS value FROM (\n{}\n) q) q WHERE time >= {} AND time < {}",
        question.text,
        time(series.from_ms),
        time(series.to_ms),
    );
    let limit = question.binds.len() + 1;
    let text = if series.step_ms == 0 {
        format!(
            "SELECT {} FROM (SELECT json_build_array({}, value)::text AS row_text FROM ({rows}) q ORDER BY time LIMIT ${limit}) s",
            not_too_long("row_text"),
            ms("time")
        )
    } else {
        let shown = series.aggregates.iter().map(|of| aggregate(*of)).chain([String::from("count(v)")]);
        format!(
            "SELECT json_build_array({}, {})::text FROM (SELECT date_bin({} * interval '1 millisecond', time, timestamptz \
             'epoch') AS step, time, {NUMBER} AS v FROM ({rows}) q) q GROUP BY step ORDER BY step LIMIT ${limit}",
            ms("step"),
            shown.collect::<Vec<_>>().join(", "),
            series.step_ms,
        )
    };
    Composed { text, texts: Vec::new(), rows_max: question.rows_max, names: Vec::new(), sieve: None, check: None }
}

/// What JSON has no number for is no value.
const NUMBER: &str = "CASE WHEN value::float8 IN ('NaN', 'Infinity', '-Infinity') THEN NULL ELSE value::float8 END";

fn ms(time: &str) -> String {
    format!("floor(extract(epoch FROM {time}) * 1000)::bigint")
}

fn aggregate(of: Aggregate) -> String {
    String::from(match of {
        Aggregate::Mean => "avg(v)",
        Aggregate::Min => "min(v)",
        Aggregate::Max => "max(v)",
        Aggregate::Sum => "sum(v)",
        Aggregate::Count => "count(v)",
        Aggregate::First => "(array_agg(v ORDER BY time) FILTER (WHERE v IS NOT NULL))[1]",
        Aggregate::Last => "(array_agg(v ORDER BY time DESC) FILTER (WHERE v IS NOT NULL))[1]",
    })
}

/// Nothing in the place of what is longer than a row may be.
fn not_too_long(text: &str) -> String {
    format!("CASE WHEN octet_length({text}) <= {ROW_BYTES_MAX} THEN {text} END")
}

/// What is too long is no id, and no text that the plant knows.
fn told_again(sieve: Option<&Sieve>) -> String {
    let told = 0..sieve.map_or(0, |sieve| sieve.filter.fields().count());
    told.map(|n| {
        format!(", CASE WHEN octet_length(told{n}) <= 1024 THEN told{n} WHEN told{n} IS NOT NULL THEN '\u{fffd}' END")
    })
    .collect()
}

/// What a row tells of itself, for each attribute of the filter: the text that JSON has of it.
fn told_by(filter: &RowFilter, row: &str) -> String {
    let told = filter.fields().enumerate();
    let told = told.map(|(n, field)| format!("to_json({row}.{}) #>> '{{}}' AS told{n}", quoted(field)));
    told.collect::<Vec<_>>().join(", ")
}

/// A row of `r` as one text: a JSON object, or of CSV an array of the texts that JSON would have.
fn row_text(names: &[&str], is_csv: bool) -> String {
    let columns = names.iter().map(|name| format!("r.{}", quoted(name)));
    if is_csv {
        let cells: Vec<String> = columns.map(|column| format!("to_json({column}) #>> '{{}}'")).collect();
        return format!("to_json(ARRAY[{}]::text[])::text", cells.join(", "));
    }
    format!(
        "(SELECT row_to_json(of_millgate)::text FROM (SELECT {}) of_millgate)",
        columns.collect::<Vec<_>>().join(", ")
    )
}

/// `None` where the database would compare otherwise than the filter does, or has been found to.
fn condition(
    records: &Records<'_>,
    columns: &[Column],
    null_is_text: bool,
    first: usize,
    texts: &mut Vec<Vec<String>>,
) -> Result<Option<String>, DatabaseError> {
    let Some(condition) = records.condition else { return Ok(None) };
    let mut is_text = true;
    for field in records.filter.fields() {
        let column = columns.iter().find(|column| column.name == field);
        is_text &= column.ok_or_else(|| DatabaseError::NoColumn(field.to_owned()))?.is_text;
    }
    if !is_text || records.is_distrusted.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let mut alternatives = Vec::new();
    for alternative in condition.alternatives() {
        let mut tests = Vec::new();
        for test in alternative {
            let name = quoted(&test.field);
            let or_null = if null_is_text { test.texts.iter().any(String::is_empty) } else { test.or_nothing };
            let n = texts.iter().position(|known| *known == test.texts).unwrap_or_else(|| {
                texts.push(test.texts.clone());
                texts.len() - 1
            });
            let equal = format!("q.{name} = ANY(${}::text[])", first + n);
            tests.push(if or_null { format!("({equal} OR q.{name} IS NULL)") } else { equal });
        }
        alternatives.push(format!("({})", tests.join(" AND ")));
    }
    // Nothing at all may be seen.
    Ok(Some(if alternatives.is_empty() { String::from("false") } else { alternatives.join(" OR ") }))
}

/// An identifier (PostgreSQL manual, 4.1.1).
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
