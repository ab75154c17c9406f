//! Credential → `Authenticated`. A failed login is recorded within a budget before the caller hears of it.

use crate::canonical::Canonical;
use crate::listener::Peer;
use crate::record::RefusedLogin;
use crate::respond::Refusal;
use crate::world::World;
use crate::{Broker, stack};
use http::request::Parts;
use identity::Presented;
use model::{Authenticated, Reason, RequestId};

/// # Errors
/// 401, 400 for several credentials, 503 when the issuer's keys or the log cannot be had.
pub async fn authenticate(
    broker: &Broker,
    world: &World,
    id: RequestId,
    peer: &Peer,
    parts: &Parts,
    canonical: &Canonical,
) -> Result<Authenticated, Refusal> {
    let in_query = canonical.has_query("access_token");
    let path = canonical.path_text();
    let presented = Presented {
        headers: &parts.headers,
        query_has_access_token: in_query,
        method: &parts.method,
        path: &path,
        certificate: peer.certificate.as_deref(),
    };
    let found = broker.identity.authenticate(&presented, &world.parties, &world.authorities, broker.clock.now()).await;
    let error = match found {
        Ok(caller) => return Ok(caller),
        Err(error) => error,
    };
    broker.metrics.refused_login(&error.reason);
    // Nothing was shown, so there is nobody to name: counted above, not recorded.
    if error.reason != Reason::NO_CREDENTIAL {
        let login = RefusedLogin {
            request: id,
            reason: &error.reason,
            issuer: error.issuer.as_ref().map(AsRef::as_ref),
            peer: peer.address.ip(),
            user_agent: stack::single(parts, "user-agent"),
            method: parts.method.as_str(),
            path,
        };
        broker.refused_logins.record(&broker.log, &login).await?;
    }
    let refusal = Refusal::new(error.reason.clone(), error.detail);
    Err(if error.reason == Reason::ISSUER_UNAVAILABLE { refusal.retry_after(5) } else { refusal })
}
