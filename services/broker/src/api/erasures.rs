//! Erasing a person's values from the audit log, under four eyes.
//!
//! `POST /v1/audit/erasures` asks for it, `POST /v1/audit/erasures/ID/approval` by somebody else carries it out. Both are
//! decided by Cedar (`eraseAudit`) and recorded like any decision; what came of it is an entry of kind `erasure`. The name
//! of the person stands in the body alone, which no entry and no disclosure of the one who asks holds.

use super::{answer, json, unknown};
use crate::Broker;
use crate::acknowledge;
use crate::authenticate::{Door, authenticate};
use crate::authorize::authorize;
use crate::canonical::Canonical;
use crate::listener::Peer;
use crate::record::{self, Circumstances, Exchange, Target};
use crate::resolve::Asked;
use crate::respond::{self, Body, Refusal};
use crate::{World, stack};
use audit::erase::{EraseError, Pending, Wanted};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use model::entry::{Ended, Kind};
use model::{
    AccessRequest, Action, Authenticated, OrganisationId, Reason, RequestId, ResourceRef, Shape, Subject, Timestamp,
};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

const ROUTE: &str = "audit-erasures";
/// A name and a sentence.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// Whoever has logged in and sends nothing holds a place among the requests of its organisation.
const BODY_WAIT: Duration = Duration::from_secs(10);
const BASIS_CHARS_MAX: usize = 200;
/// Whoever approves must know what was asked for. After so long nobody does.
const OPEN_DAYS: i64 = 30;
const DAY_MS: i64 = 86_400_000;

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// `organisation/subject`.
    subject: String,
    basis: String,
}

pub(super) async fn ask(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> impl IntoResponse {
    handle(broker, peer, request, None).await
}

pub(super) async fn approve(
    State(broker): State<Arc<Broker>>,
    axum::extract::Path(id): axum::extract::Path<String>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> impl IntoResponse {
    handle(broker, peer, request, Some(id)).await
}

/// What becomes of one request; with an id it is an approval.
async fn handle(
    broker: Arc<Broker>,
    peer: Peer,
    request: Request,
    approves: Option<String>,
) -> Response<axum::body::Body> {
    let (parts, body) = request.into_parts();
    let (id, started) = (broker.request_id(), broker.metrics.begin());
    let mut door = Door::new(&broker.api_origins);
    let result = if parts.method == http::Method::POST {
        serve(&broker, id, peer, &parts, body, approves.as_deref(), &mut door).await
    } else {
        unknown(&broker, id, peer, &parts, &mut door).await
    };
    answer(&broker, id, started, door, result).await.map(axum::body::Body::new)
}

async fn serve(
    broker: &Arc<Broker>,
    id: RequestId,
    peer: Peer,
    parts: &Parts,
    body: axum::body::Body,
    approves: Option<&str>,
    door: &mut Door<'_>,
) -> Result<Response<Body>, Refusal> {
    let canonical = Canonical::parse(parts)?;
    let asked = Asked::parse(&parts.headers)?;
    let world = broker.world();
    let caller = authenticate(broker, &world, id, &peer, parts, &canonical, door).await?;
    let _share = stack::share(broker, &caller)?;
    let about = Circumstances {
        request: id,
        kind: Kind::Decision,
        method: parts.method.as_str(),
        peer: peer.address.ip(),
        country: world.country_of(peer.address.ip()),
        user_agent: stack::single(parts, "user-agent"),
        route: Some(ROUTE),
        product: None,
        source: None,
        payload: Circumstances::payload_of(&canonical, &asked),
        receipt: &door.receipt,
    };
    let matter = match matter(body, approves).await {
        Ok(matter) => matter,
        Err(refusal) => {
            record::refuse(&broker.log, &caller, &refusal.reason, Target::default(), &about).await?;
            return Err(refusal);
        }
    };
    let at_work = AtWork { broker, world: &world, id, asked: &asked, about: &about };
    match matter {
        Matter::Ask(subject) => at_work.ask(caller, &subject).await,
        Matter::Approval(id) => at_work.approve(caller, id).await,
    }
}

/// What a request is about.
enum Matter<'a> {
    Ask(Whom),
    /// Of the request of this id, if there is one.
    Approval(&'a str),
}

struct Whom {
    organisation: OrganisationId,
    principal: String,
    basis: String,
}

async fn matter(body: axum::body::Body, approves: Option<&str>) -> Result<Matter<'_>, Refusal> {
    let late = |_| Refusal::new(Reason::BAD_PARAMETER, "the body did not come in time");
    let read = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = tokio::time::timeout(BODY_WAIT, read).await.map_err(late)?.map_err(|_| {
        Refusal::new(Reason::BODY_TOO_LARGE, format!("a request for an erasure has at most {BODY_BYTES_MAX} bytes"))
    })?;
    let body = body.to_bytes();
    let Some(id) = approves else { return Whom::parse(&body).map(Matter::Ask) };
    if !body.is_empty() {
        return Err(Refusal::new(Reason::UNDECLARED_BODY, "an approval has no body"));
    }
    Ok(Matter::Approval(id))
}

impl Whom {
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let bad = |detail: String| Refusal::new(Reason::BAD_PARAMETER, detail);
        let Ask { subject: principal, basis } = serde_json::from_slice(body).map_err(|_| {
            bad(String::from("write a JSON object with `subject`, as `organisation/subject`, and `basis`"))
        })?;
        let parts = principal.split_once('/').map(|(of, who)| (OrganisationId::new(of), Subject::new(who)));
        let Some((Ok(organisation), Ok(subject))) = parts else {
            return Err(bad(String::from("`subject` is no principal; write `organisation/subject`")));
        };
        let length = basis.chars().count();
        if !(1..=BASIS_CHARS_MAX).contains(&length) || basis.chars().any(char::is_control) {
            return Err(bad(format!("`basis` has 1 to {BASIS_CHARS_MAX} characters, and no line ends")));
        }
        if basis.to_lowercase().contains(&subject.as_str().to_lowercase()) {
            let detail =
                "`basis` names the person, and stands in the log for ever; write on which grounds, and of whom not";
            return Err(bad(String::from(detail)));
        }
        Ok(Self { organisation, principal, basis })
    }
}

/// A request whose caller is known.
struct AtWork<'a> {
    broker: &'a Arc<Broker>,
    world: &'a World,
    id: RequestId,
    asked: &'a Asked,
    about: &'a Circumstances<'a>,
}

impl AtWork<'_> {
    /// With no organisation it is all of them that are asked about.
    async fn admit(&self, caller: Authenticated, organisation: Option<&OrganisationId>) -> Result<Exchange, Refusal> {
        let broker = self.broker;
        let question = AccessRequest {
            caller,
            action: Action::EraseAudit,
            resource: ResourceRef::AuditScope(organisation.cloned()),
            purpose: self.asked.purpose.clone(),
            agreement: self.asked.agreement.clone(),
            shape: Shape::default(),
            country: self.about.country,
            now: broker.clock.now(),
        };
        let permit = authorize(broker, self.world, question, self.about).await?;
        broker.metrics.decision(true);
        let admitted = record::admit(&broker.log, permit, self.about, broker.clock.now(), &broker.cut_off).await?;
        let (_, mut exchange) = acknowledge::wait(broker, admitted).await?.into_exchange();
        exchange.forwarded();
        Ok(exchange)
    }

    async fn ask(&self, caller: Authenticated, whom: &Whom) -> Result<Response<Body>, Refusal> {
        let log = &self.broker.log;
        let (requested_by, _) = log.principal_reference(caller.principal());
        let in_person = caller.actors().is_empty();
        let exchange = self.admit(caller, Some(&whom.organisation)).await?;
        let Whom { organisation, principal, basis } = whom;
        let wanted = Wanted { id: self.id.to_string(), organisation, principal, basis, requested_by: &requested_by };
        let made = async {
            if !in_person {
                return Err(four_eyes("an erasure is asked for in person, with nobody acting"));
            }
            self.not_held(&wanted).await?;
            let asked = log.request_erasure(&wanted).await.map_err(|error| unreadable(&error))?;
            let open_until = asked.time.plus_millis(OPEN_DAYS * DAY_MS).to_rfc3339();
            let said = serde_json::json!({
                "id": self.id.to_string(), "index": asked.index, "open_until": open_until,
            });
            Ok((StatusCode::ACCEPTED, said))
        };
        self.close(exchange, made.await.map_err(|refusal| (Ended::NotForwarded, refusal)))
    }

    /// The request of this id. Its place among the readers is given up as soon as it is found.
    async fn pending(&self, of: &OrganisationId, id: &str) -> Result<Option<Pending>, Refusal> {
        let _place = self.broker.readers.place_of(false, of).await?;
        self.broker.log.erasure_request(id).await.map_err(|error| unreadable(&error.into()))
    }

    async fn approve(&self, caller: Authenticated, id: &str) -> Result<Response<Body>, Refusal> {
        let broker = self.broker;
        let pending = match self.pending(caller.organisation(), id).await {
            Ok(pending) => pending,
            Err(refusal) => {
                record::refuse(&broker.log, &caller, &refusal.reason, Target::default(), self.about).await?;
                return Err(refusal);
            }
        };
        // Policies are asked in any case: whoever may not erase does not learn which ids there are.
        let Some(pending) = pending else {
            let exchange = self.admit(caller, None).await?;
            return self.close(exchange, Err((Ended::NotForwarded, Refusal::not_found())));
        };
        let (approved_by, _) = broker.log.principal_reference(caller.principal());
        let (approver, in_person) = (caller.principal().to_text(), caller.actors().is_empty());
        let exchange = self.admit(caller, Some(&pending.organisation)).await?;
        let may = async {
            if !in_person {
                return Err(four_eyes("an erasure is approved in person, with nobody acting"));
            }
            self.may_approve(&pending, &approved_by, &approver).await?;
            if let Some(principal) = &pending.principal {
                let wanted = Wanted {
                    id: pending.id.clone(),
                    organisation: &pending.organisation,
                    principal,
                    basis: &pending.basis,
                    requested_by: &pending.requested_by,
                };
                self.not_held(&wanted).await?;
            }
            Ok(())
        };
        if let Err(refusal) = may.await {
            return self.close(exchange, Err((Ended::NotForwarded, refusal)));
        }
        // Goes on to its end, even if the caller goes away.
        let (log, holds) = (broker.log.clone(), broker.holds.clone());
        let erasing = tokio::spawn(async move { log.erase(&pending, &approved_by, &holds).await });
        let made = match erasing.await {
            Ok(Ok(erased)) => Ok((StatusCode::OK, serde_json::to_value(erased).unwrap_or_default())),
            Ok(Err(error)) => Err(not_erased(&error)),
            // Some of it may have been erased.
            Err(_) => Err((
                Ended::SourceFailed,
                Refusal::new(Reason::NOT_RECORDED, "the erasure broke off; approve it again"),
            )),
        };
        self.close(exchange, made)
    }

    async fn may_approve(&self, pending: &Pending, approved_by: &str, approver: &str) -> Result<(), Refusal> {
        if approved_by == pending.requested_by {
            return Err(four_eyes("you have asked for this erasure yourself; somebody else has to approve it"));
        }
        if pending.principal.as_deref() == Some(approver) || pending.reference.as_deref() == Some(approved_by) {
            return Err(four_eyes("this erasure is about yourself; somebody else has to approve it"));
        }
        // Whoever was erased since and has come back is not known by the reference any longer, and could be the approver.
        let asker = self.broker.log.principal_of(&pending.requested_by).await;
        match asker.map_err(|error| unreadable(&error.into()))?.as_deref() {
            Some(asker) if asker != approver => {}
            _ => return Err(four_eyes("who has asked for this erasure is not known any longer; ask for it anew")),
        }
        if let Some(done) = pending.done {
            return Err(not_erased(&EraseError::Done(done)).1);
        }
        if pending.principal.is_none() {
            return Err(closed(String::from("whom it was about is not known any longer; ask for it anew")));
        }
        let until = pending.time.plus_millis(OPEN_DAYS * DAY_MS);
        if self.broker.clock.now() > until {
            let until = Timestamp::to_rfc3339(until);
            return Err(closed(format!("it could be approved until {until}; ask for it anew")));
        }
        Ok(())
    }

    /// Whoever is on hold is not erased, and that it was tried stands in the log.
    async fn not_held(&self, wanted: &Wanted<'_>) -> Result<(), Refusal> {
        if !self.broker.holds.hold(wanted.principal) {
            return Ok(());
        }
        let reason = Reason::LEGAL_HOLD;
        let recorded = self.broker.log.refuse_erasure(wanted, reason.as_str()).await;
        let index = recorded.map_err(|error| unreadable(&error))?.index;
        let detail = format!(
            "a legal hold keeps these values (`audit.legal_holds` of the broker's configuration); entry {index} says that \
             this was asked for"
        );
        Err(Refusal::new(reason, detail))
    }

    fn close(
        &self,
        mut exchange: Exchange,
        made: Result<(StatusCode, serde_json::Value), (Ended, Refusal)>,
    ) -> Result<Response<Body>, Refusal> {
        match made {
            Ok((status, said)) => {
                let body = said.to_string();
                exchange.answering(status.as_u16());
                exchange.sent(body.len() as u64);
                exchange.end(Ended::Complete);
                let mut response = json(self.id, respond::full(body), "application/json");
                *response.status_mut() = status;
                Ok(response)
            }
            Err((ended, refusal)) => {
                exchange.fail(ended, &refusal);
                Err(refusal)
            }
        }
    }
}

fn four_eyes(detail: &str) -> Refusal {
    Refusal::new(Reason::FOUR_EYES, detail)
}

fn closed(detail: String) -> Refusal {
    Refusal::new(Reason::ERASURE_CLOSED, detail)
}

/// Why a request was not carried out, or not to its end.
fn not_erased(error: &EraseError) -> (Ended, Refusal) {
    let refusal = match error {
        EraseError::Done(under) => closed(format!("it was carried out under entry {under}")),
        EraseError::Another => closed(String::from(
            "the name does not stand for the same person in the log as when this was asked for; ask for it anew",
        )),
        EraseError::OnHold => Refusal::new(Reason::LEGAL_HOLD, "a legal hold keeps these values"),
        // Some of it may have been erased.
        EraseError::Read(_) | EraseError::Append(_) | EraseError::Draft(_) | EraseError::Clock(_) => {
            return (Ended::SourceFailed, unreadable(error));
        }
    };
    (Ended::NotForwarded, refusal)
}

fn unreadable(error: &EraseError) -> Refusal {
    tracing::error!(%error, "an erasure could not be carried out");
    let detail = "the audit log could not be read or written; what has no entry was not erased. Try again";
    Refusal::new(Reason::NOT_RECORDED, detail).retry_after(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &str) -> Result<String, String> {
        Whom::parse(body.as_bytes()).map(|whom| whom.principal).map_err(|refusal| refusal.detail)
    }

    #[test]
    fn a_request_names_a_person_and_grounds_that_do_not() {
        assert_eq!(parsed(r#"{"subject":"acme/engineer-1","basis":"Art. 17(1)(b)"}"#).unwrap(), "acme/engineer-1");
        for (body, detail) in [
            ("", "write a JSON object"),
            (r#"{"subject":"acme/engineer-1"}"#, "write a JSON object"),
            (r#"{"subject":"acme","basis":"x"}"#, "is no principal"),
            (r#"{"subject":"Acme Inc/x","basis":"x"}"#, "is no principal"),
            (r#"{"subject":"acme/engineer-1","basis":""}"#, "1 to 200 characters"),
            (r#"{"subject":"acme/engineer-1","basis":"a\nb"}"#, "1 to 200 characters"),
            (r#"{"subject":"acme/engineer-1","basis":"letter of Engineer-1"}"#, "names the person"),
        ] {
            let said = parsed(body).unwrap_err();
            assert!(said.contains(detail), "{body}: {said}");
        }
    }
}
