//! Rows to values and back.

use crate::batch::sha256;
use crate::reader::{RawHead, damaged};
use crate::store::{Batch, Erasing, Head, OrganisationState, StoreError};
use model::OrganisationId;
use model::pruning::{Prune, Rest};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};
use tlog::CompactRange;

/// PostgreSQL counts in signed 64 bits; no log gets there.
pub(super) fn integer(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|e| StoreError::Failed(e.into()))
}

pub(super) fn unsigned(row: &PgRow, column: &'static str) -> Result<u64, StoreError> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| damaged(column))
}

pub(super) async fn raw_head(connection: &mut PgConnection, log: i32) -> Result<RawHead, StoreError> {
    let select = sqlx::query("SELECT size, root, range, open FROM millgate_audit.head WHERE log = $1").bind(log);
    let row = select.fetch_one(connection).await?;
    Ok(RawHead {
        size: unsigned(&row, "size")?,
        root: row.try_get("root")?,
        range: row.try_get("range")?,
        open: row.try_get("open")?,
    })
}

pub(super) async fn head(connection: &mut PgConnection, log: i32) -> Result<Head, StoreError> {
    raw_head(connection, log).await?.checked()
}

/// From the columns `size` and `range`.
pub(super) fn range(row: &PgRow) -> Result<CompactRange, StoreError> {
    let bytes: Vec<u8> = row.try_get("range")?;
    CompactRange::from_bytes(unsigned(row, "size")?, &bytes).ok_or(damaged("a stored compact range"))
}

pub(super) async fn organisations(
    connection: &mut PgConnection,
    log: i32,
) -> Result<Vec<(OrganisationId, OrganisationState)>, StoreError> {
    let select =
        sqlx::query("SELECT id, sequence, last_index FROM millgate_audit.organisation WHERE log = $1").bind(log);
    let rows = select.fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let id = OrganisationId::new(row.try_get("id")?).map_err(|_| damaged("an organisation's name"))?;
            let (sequence, last_index) = (unsigned(row, "sequence")?, unsigned(row, "last_index")?);
            Ok((id, OrganisationState { sequence, last_index }))
        })
        .collect()
}

/// What comes with the bundle of a batch, column by column: the text of the call is the same whatever their number.
#[derive(Debug, Default)]
pub(super) struct Columns {
    organisations: Vec<String>,
    sequences: Vec<i64>,
    last_indices: Vec<i64>,
    disclosed: Vec<i64>,
    bodies: Vec<String>,
    principals: Vec<String>,
    references: Vec<String>,
    digests: Vec<Vec<u8>>,
    contents: Vec<Vec<u8>>,
    erasures: Vec<i64>,
    erased: Vec<i64>,
    lessened: Vec<i64>,
    lesser: Vec<String>,
    forgotten: Vec<String>,
}

impl Columns {
    pub(super) fn of(batch: &Batch) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        for (id, state) in &batch.organisations {
            columns.organisations.push(id.to_string());
            columns.sequences.push(integer(state.sequence)?);
            columns.last_indices.push(integer(state.last_index)?);
        }
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).map_err(|e| StoreError::Failed(e.into()));
        for row in &batch.disclosures {
            columns.disclosed.push(integer(row.entry_index)?);
            columns.bodies.push(text(&row.body)?);
        }
        let Erasing { entries, deleted, rewritten, references } = &batch.erasing;
        let integers = |indices: &[u64]| indices.iter().map(|index| integer(*index)).collect::<Result<Vec<_>, _>>();
        (columns.erasures, columns.erased) = (integers(entries)?, integers(deleted)?);
        for row in rewritten {
            columns.lessened.push(integer(row.entry_index)?);
            columns.lesser.push(text(&row.body)?);
        }
        columns.forgotten.clone_from(references);
        for row in &batch.directory {
            columns.principals.push(row.principal.clone());
            columns.references.push(row.reference.clone());
        }
        for content in &batch.content {
            columns.digests.push(content.digest.0.to_vec());
            columns.contents.push(content.bytes.to_vec());
        }
        Ok(columns)
    }

    pub(super) fn bind_to(self, call: Query<'static, Postgres, PgArguments>) -> Query<'static, Postgres, PgArguments> {
        call.bind(self.organisations)
            .bind(self.sequences)
            .bind(self.last_indices)
            .bind(self.disclosed)
            .bind(self.bodies)
            .bind(self.principals)
            .bind(self.references)
            .bind(self.digests)
            .bind(self.contents)
            .bind(self.erasures)
            .bind(self.erased)
            .bind(self.lessened)
            .bind(self.lesser)
            .bind(self.forgotten)
    }
}

/// What goes with an entry of kind `pruning`, behind the columns of the batch.
pub(super) fn bind_pruning(
    call: Query<'static, Postgres, PgArguments>,
    entry: u64,
    prune: &Prune,
) -> Result<Query<'static, Postgres, PgArguments>, StoreError> {
    let columns = |rows: &[(u64, Vec<u8>)]| {
        let numbers = rows.iter().map(|(number, _)| integer(*number)).collect::<Result<Vec<_>, _>>()?;
        Ok::<_, StoreError>((numbers, rows.iter().map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>()))
    };
    let (numbers, hashes) = columns(&prune.leaves)?;
    let (kept, kept_entries) = columns(&prune.carried)?;
    let rest = prune.rest.as_ref();
    let of_rest = |number: fn(&Rest) -> u64| rest.map(|rest| integer(number(rest))).transpose();
    Ok(call
        .bind(integer(entry)?)
        .bind(integer(prune.minimum)?)
        .bind(numbers)
        .bind(hashes)
        .bind(kept)
        .bind(kept_entries)
        .bind(of_rest(|rest| rest.of)?)
        .bind(of_rest(|rest| rest.count)?)
        .bind(rest.map(|rest| rest.time_first.millis()))
        .bind(rest.map(|rest| rest.time_last.millis()))
        .bind(rest.map(|rest| sha256(&rest.bytes).to_vec()))
        .bind(rest.map(|rest| rest.bytes.clone()))
        .bind(prune.references.clone()))
}
