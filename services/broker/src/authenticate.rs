//! Credential → `Authenticated`. A failed login is recorded within a budget before the caller hears of it.

use crate::canonical::Canonical;
use crate::listener::Peer;
use crate::record::{RefusedLogin, Slip};
use crate::respond::{self, Refusal};
use crate::world::World;
use crate::{Broker, stack};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use identity::{Origins, Presented};
use model::{Authenticated, Reason, RequestId};

/// The listener that a request came to.
#[derive(Debug)]
pub struct Door<'b> {
    origins: &'b Origins,
    /// What the caller's next proof must hold: a header of the answer, whatever the answer is.
    nonce: Option<String>,
    /// Of the entry of this request.
    pub receipt: Slip,
}

impl<'b> Door<'b> {
    pub fn new(origins: &'b Origins) -> Self {
        Self { origins, nonce: None, receipt: Slip::default() }
    }

    /// The nonce (RFC 9449 section 8.1) and the receipt.
    pub async fn close(self, headers: &mut HeaderMap) {
        if let Some(receipt) = self.receipt.header().await {
            headers.insert(respond::RECEIPT, receipt);
        }
        if let Some(nonce) = self.nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok()) {
            headers.insert("dpop-nonce", nonce);
        }
    }
}

/// # Errors
/// 401, 400 for several credentials, 503 when the issuer's keys or the log cannot be had.
pub async fn authenticate(
    broker: &Broker,
    world: &World,
    id: RequestId,
    peer: &Peer,
    parts: &Parts,
    canonical: &Canonical,
    door: &mut Door<'_>,
) -> Result<Authenticated, Refusal> {
    let in_query = canonical.has_query("access_token");
    let path = canonical.path_text();
    let presented = Presented {
        headers: &parts.headers,
        query_has_access_token: in_query,
        method: &parts.method,
        origins: door.origins,
        host: canonical.host.as_deref(),
        path: &path,
        certificate: peer.certificate.as_deref(),
    };
    let now = broker.clock.now();
    let error = match broker.identity.authenticate(&presented, &world.parties, &world.authorities, now).await {
        Ok(caller) => {
            door.nonce = broker.identity.next_nonce(&caller, &world.parties, now);
            return Ok(caller);
        }
        Err(error) => error,
    };
    door.nonce = error.dpop_nonce;
    broker.metrics.refused_login(&error.reason);
    // Nothing was shown, so there is nobody to name: counted above, not recorded.
    if error.reason != Reason::NO_CREDENTIAL {
        let login = RefusedLogin {
            request: id,
            reason: &error.reason,
            issuer: error.issuer.as_ref().map(AsRef::as_ref),
            peer: peer.address.ip(),
            country: world.country_of(peer.address.ip()),
            user_agent: stack::single(parts, "user-agent"),
            method: Some(parts.method.as_str()),
            path: Some(path),
        };
        broker.refused_logins.record(&broker.log, &login).await?;
    }
    let refusal =
        Refusal { with_proof: parts.headers.contains_key("dpop"), ..Refusal::new(error.reason, error.detail) };
    Err(if refusal.status() == StatusCode::SERVICE_UNAVAILABLE { refusal.retry_after(5) } else { refusal })
}
