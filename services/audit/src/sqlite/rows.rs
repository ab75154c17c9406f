//! Rows to values and back.

use crate::reader::{RawHead, damaged};
use crate::store::{DisclosureRow, Head, OrganisationState, StoreError};
use model::canonical::{encode_text, hex};
use model::entry::{Content, DirectoryRow};
use model::{OrganisationId, Value};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use tlog::CompactRange;

pub(crate) fn unsigned(row: &SqliteRow, column: &'static str) -> Result<u64, StoreError> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| damaged(column))
}

pub(crate) async fn raw_head(connection: &mut SqliteConnection) -> Result<RawHead, StoreError> {
    let row = sqlx::query("SELECT size, root, range, open FROM head WHERE id = 1").fetch_one(connection).await?;
    Ok(RawHead {
        size: unsigned(&row, "size")?,
        root: row.try_get("root")?,
        range: row.try_get("range")?,
        open: row.try_get("open")?,
    })
}

pub(crate) async fn head(connection: &mut SqliteConnection) -> Result<Head, StoreError> {
    raw_head(connection).await?.checked()
}

/// From the columns `size` and `range`.
pub(crate) fn range(row: &SqliteRow) -> Result<CompactRange, StoreError> {
    let bytes: Vec<u8> = row.try_get("range")?;
    CompactRange::from_bytes(unsigned(row, "size")?, &bytes).ok_or(damaged("a stored compact range"))
}

pub(crate) async fn organisations(
    connection: &mut SqliteConnection,
) -> Result<Vec<(OrganisationId, OrganisationState)>, StoreError> {
    let rows = sqlx::query("SELECT id, sequence, last_index FROM organisation").fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let id = OrganisationId::new(row.try_get("id")?).map_err(|_| damaged("an organisation's name"))?;
            let (sequence, last_index) = (unsigned(row, "sequence")?, unsigned(row, "last_index")?);
            Ok((id, OrganisationState { sequence, last_index }))
        })
        .collect()
}

/// `{"acme":[5,100]}`
pub(super) fn organisations_json(rows: &[(OrganisationId, OrganisationState)]) -> Vec<u8> {
    object(rows, |(id, state), out| {
        encode_text(id.as_str(), out);
        out.extend_from_slice(format!(":[{},{}]", state.sequence, state.last_index).as_bytes());
    })
}

/// `[7,100]`
pub(super) fn indices_json(indices: &[u64]) -> Result<Vec<u8>, StoreError> {
    let values = indices.iter().map(|index| i64::try_from(*index).map(Value::int));
    let values = values.collect::<Result<Vec<_>, _>>().map_err(|e| StoreError::Failed(e.into()))?;
    Ok(Value::Array(values).encode())
}

/// `{"100":{"subject":…}}`
pub(super) fn disclosures_json(rows: &[DisclosureRow]) -> Vec<u8> {
    object(rows, |row, out| {
        out.extend_from_slice(format!("\"{}\":", row.entry_index).as_bytes());
        out.extend_from_slice(&row.body);
    })
}

/// `{"acme/anna":"0123…"}`
pub(super) fn directory_json(rows: &[DirectoryRow]) -> Vec<u8> {
    object(rows, |row, out| {
        encode_text(&row.principal, out);
        out.push(b':');
        encode_text(&row.reference, out);
    })
}

/// `{"DIGEST":"BYTES"}` in hexadecimal digits.
pub(super) fn content_json(rows: &[Content]) -> Vec<u8> {
    object(rows, |row, out| {
        encode_text(&row.digest.to_hex(), out);
        out.push(b':');
        encode_text(&hex(&row.bytes), out);
    })
}

fn object<T>(rows: &[T], member: impl Fn(&T, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        member(row, &mut out);
    }
    out.push(b'}');
    out
}
