//! `AccessRequest` → `Permit`, or a refusal that is recorded before the caller hears of it.

use crate::Broker;
use crate::record::{self, Circumstances};
use crate::respond::Refusal;
use crate::world::World;
use model::{AccessRequest, Reason};
use pdp::{Decision, Denial, Permit};

/// # Errors
/// 403, or 404 when the caller may not discover the resource; 503 when the denial cannot be recorded.
pub async fn authorize(
    broker: &Broker,
    world: &World,
    request: AccessRequest,
    about: &Circumstances<'_>,
) -> Result<Permit, Refusal> {
    let (reference, _) = broker.log.principal_reference(request.caller.principal());
    match world.snapshot.decide(request, &reference) {
        Decision::Permit(permit) => {
            broker.metrics.decision(true);
            Ok(permit)
        }
        Decision::Denied(denial) => {
            broker.metrics.decision(false);
            if !denial.errors.is_empty() {
                tracing::error!(request = %about.request, policies = ?denial.errors,
                    "a policy could not be evaluated, so the request was denied");
            }
            record::deny(&broker.log, &denial, about).await?;
            Err(refusal(&denial))
        }
    }
}

fn refusal(denial: &Denial) -> Refusal {
    if denial.hidden {
        return Refusal::not_found();
    }
    let reason = denial.reasons.first().cloned().unwrap_or(Reason::NOT_PERMITTED);
    let detail =
        denial.ask.clone().unwrap_or_else(|| String::from("no policy permits this; ask the product's steward"));
    let reasons = if denial.reasons.len() > 1 { denial.reasons.clone() } else { Vec::new() };
    Refusal { reasons, agreements: denial.agreements.clone(), ..Refusal::denied(reason, detail) }
}
