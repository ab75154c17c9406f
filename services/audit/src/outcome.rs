//! Outcomes that the log writes itself.

use model::entry::{Common, Draft, DraftError, Effect, Ended, Kind};
use model::{OrganisationId, Value};

/// The outcome of the allowed decision at `index`, when nobody else can write it.
///
/// Members: `of`, `ended` and, as the decision has it, `request`.
pub(crate) fn of_decision(
    index: u64,
    organisation: Option<&OrganisationId>,
    request: Option<&str>,
    ended: Ended,
    common: &Common,
) -> Result<Draft, DraftError> {
    let of = Value::int(i64::try_from(index).unwrap_or(i64::MAX));
    let mut members = vec![("of", of), ("ended", Value::text(ended.as_str()))];
    members.extend(request.map(|request| ("request", Value::text(request))));
    let mut draft = Draft::new(Kind::Outcome, common, organisation, members, Vec::new())?;
    draft.effect = Effect::Closes(index);
    Ok(draft)
}
