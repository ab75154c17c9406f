//! What every reading of the log begins with, whichever protocol it comes by: who asks, whether it may, and the record of
//! it. Nobody gets an [`Exchange`] to answer in any other way.

use super::Place;
use crate::authenticate::{Door, authenticate};
use crate::authorize::{Standing, authorize};
use crate::canonical::Canonical;
use crate::listener::Peer;
use crate::record::{self, Circumstances, Exchange, Slip, Target};
use crate::resolve::Asked;
use crate::respond::Refusal;
use crate::share::Share;
use crate::{Broker, World, acknowledge, stack};
use http::request::Parts;
use model::entry::{Ended, Kind};
use model::{AccessRequest, Action, Authenticated, Country, OrganisationId, Reason, RequestId, ResourceRef, Shape};
use pdp::Permit;
use std::sync::Arc;

/// Somebody who is known and asks something of the log.
#[derive(Debug)]
pub struct Reader {
    pub id: RequestId,
    route: &'static str,
    peer: Peer,
    user_agent: Option<String>,
    canonical: Canonical,
    asked: Asked,
    world: Arc<World>,
    country: Option<Country>,
    caller: Authenticated,
    share: Share,
}

impl Reader {
    /// # Errors
    /// 400 for a request with two readings, 401, and 503 when the organisation has all of its places taken.
    pub async fn enter(
        broker: &Broker,
        (id, route): (RequestId, &'static str),
        peer: Peer,
        parts: &Parts,
        door: &mut Door<'_>,
    ) -> Result<Self, Refusal> {
        let canonical = Canonical::parse(parts)?;
        let asked = Asked::parse(&parts.headers)?;
        let world = broker.world();
        let caller = authenticate(broker, &world, id, &peer, parts, &canonical, door).await?;
        let share = stack::share(broker, &caller)?;
        let user_agent = stack::single(parts, "user-agent").map(str::to_owned);
        let country = world.country_of(peer.address.ip());
        Ok(Self { id, route, peer, user_agent, canonical, asked, world, country, caller, share })
    }

    /// In whose places the log is read.
    pub fn organisation(&self) -> &OrganisationId {
        self.caller.organisation()
    }

    /// The question, as names and values.
    pub fn query(&self) -> &[(String, String)] {
        &self.canonical.query
    }

    /// Takes a question from elsewhere than the query string.
    pub fn asks(&mut self, query: Vec<(String, String)>) {
        self.canonical.query = query;
    }

    fn about<'a>(&'a self, receipt: &'a Slip) -> Circumstances<'a> {
        Circumstances {
            request: self.id,
            kind: Kind::AuditRead,
            method: self.canonical.method.as_str(),
            peer: self.peer.address.ip(),
            country: self.country,
            user_agent: self.user_agent.as_deref(),
            route: Some(self.route),
            product: None,
            source: None,
            payload: Circumstances::payload_of(&self.canonical, &self.asked),
            receipt,
        }
    }

    /// What was read of the question. If it could not be, that is recorded before the caller hears of it.
    ///
    /// # Errors
    /// The refusal that was given, or 503.
    pub async fn understood<T>(&self, broker: &Broker, receipt: &Slip, read: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(refusal) = &read {
            let about = self.about(receipt);
            record::refuse(&broker.log, &self.caller, &refusal.reason, Target::default(), &about).await?;
        }
        read
    }

    /// For what is told to everybody who is known, and not decided.
    ///
    /// # Errors
    /// 403 for those who are revoked.
    pub fn unrevoked(&self) -> Result<(), Refusal> {
        if self.caller.is_revoked(&self.world.parties.revocations) {
            return Err(Refusal::denied(Reason::REVOKED, "you, or what you have shown, is revoked"));
        }
        Ok(())
    }

    /// Asks the policies whether the caller may read the entries of this organisation, or all of them, and records what
    /// they say.
    ///
    /// # Errors
    /// 403, and 503 when it could not be recorded.
    pub async fn admitted(
        self,
        broker: &Broker,
        receipt: &Slip,
        organisation: Option<OrganisationId>,
        rows: Option<usize>,
    ) -> Result<Granted, Refusal> {
        let about = self.about(receipt);
        let rows = rows.map_or(0, |rows| i64::try_from(rows).unwrap_or(i64::MAX));
        let question = AccessRequest {
            caller: self.caller.clone(),
            action: Action::ReadAudit,
            resource: ResourceRef::AuditScope(organisation),
            purpose: self.asked.purpose.clone(),
            agreement: self.asked.agreement.clone(),
            shape: Shape { rows, ..Shape::default() },
            country: self.country,
            now: broker.clock.now(),
        };
        let permit = authorize(broker, &self.world, question, &about).await?;
        broker.metrics.decision(true);
        let standing = broker.standing(&permit, &self.world, &self.peer);
        let admitted = record::admit(&broker.log, permit, &about, broker.clock.now(), &broker.cut_off).await?;
        let (permit, exchange) = acknowledge::wait(broker, admitted).await?.into_exchange();
        Ok(Granted { id: self.id, permit, standing, exchange, share: self.share })
    }
}

/// A reading that is permitted and recorded, and has no outcome yet.
#[derive(Debug)]
pub struct Granted {
    pub id: RequestId,
    pub permit: Permit,
    pub standing: Standing,
    pub exchange: Exchange,
    /// A tail is an open request for as long as it goes on.
    pub share: Share,
}

impl Granted {
    /// With a place among the readers.
    ///
    /// # Errors
    /// 503 when all of them are taken.
    pub async fn placed(self, broker: &Broker, follow: bool) -> Result<(Self, Place), Refusal> {
        let organisation = self.permit.request().caller.organisation();
        match broker.readers.place_of(follow, organisation).await {
            Ok(place) => Ok((self, place)),
            Err(refusal) => {
                self.exchange.fail(Ended::NotForwarded, &refusal);
                Err(refusal)
            }
        }
    }
}
