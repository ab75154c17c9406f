//! `AccessRequest` → `Permit`, or a refusal that is recorded before the caller hears of it.

use crate::Broker;
use crate::listener::Peer;
use crate::record::{self, Circumstances};
use crate::respond::Refusal;
use crate::world::World;
use identity::PeerCertificate;
use model::party::Parties;
use model::plant::{Alike, Plant, RecordKind};
use model::{AccessRequest, Action, Authenticated, AuthenticationMethod, Clock, FieldClassId, Reason, ResourceRef};
use pdp::{Decision, Denial, Permit};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// # Errors
/// 403, or 404 when the caller may not discover the resource; 503 when the denial cannot be recorded.
pub async fn authorize(
    broker: &Broker,
    world: &World,
    request: AccessRequest,
    about: &Circumstances<'_>,
) -> Result<Permit, Refusal> {
    let references: Vec<String> =
        request.caller.principals().map(|principal| broker.log.principal_reference(principal).0).collect();
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    let decision = world.snapshot.decide(request, &references);
    if let Some(difference) = world.snapshot.take_alarm() {
        broker.metrics.difference();
        tracing::error!(request = %about.request, difference,
            "the policy index is wrong; this generation looks at all policies from now on");
    }
    if let Some(shadow) = &broker.shadow {
        shadow.offer(&broker.metrics, about.request, &decision, &references);
    }
    match decision {
        // Counted by whoever has nothing against it either.
        Decision::Permit(permit) => Ok(permit),
        Decision::Denied(denial) => {
            broker.metrics.decision(false);
            if !denial.errors.is_empty() {
                tracing::error!(request = %about.request, policies = ?denial.errors,
                    "a policy could not be evaluated, so the request was denied");
            }
            record::deny(&broker.log, &denial, &world.catalog.plant.purposes, about).await?;
            Err(refusal(&denial))
        }
    }
}

fn refusal(denial: &Denial) -> Refusal {
    if denial.hidden {
        return Refusal::not_found();
    }
    let reason = denial.reasons.first().cloned().unwrap_or(Reason::NOT_PERMITTED);
    let detail = denial.ask.clone().unwrap_or_else(|| String::from(advice(&reason, denial.request.action)));
    let reasons = if denial.reasons.len() > 1 { denial.reasons.clone() } else { Vec::new() };
    Refusal { reasons, agreements: denial.agreements.clone().into(), ..Refusal::denied(reason, detail) }
}

/// What to do about a denial that no policy explains.
fn advice(reason: &Reason, action: Action) -> &'static str {
    match reason {
        r if *r == Reason::AGREEMENT_UNKNOWN => {
            "your organisation has no agreement of this name for this data; name another, or none"
        }
        r if *r == Reason::REVOKED => "you, or what you have shown, is revoked; ask the data office of the plant",
        r if *r == Reason::POLICY_ERROR => "a policy failed, so this was denied; tell the product's steward",
        r if *r == Reason::ORGANISATION_SUSPENDED => "your organisation is suspended; ask the data office of the plant",
        _ if action == Action::EraseAudit => {
            "you may not erase values in the audit log; that is for the owner's data protection officers, in person"
        }
        _ if action == Action::ReadAudit => {
            "you may not read these entries; auditors need their role in the plant's registry"
        }
        _ => "no policy permits this; ask the product's steward",
    }
}

/// How often is looked whether a certificate has expired.
const LOOK: Duration = Duration::from_millis(500);

/// A permission after its decision: whoever is cut off is cut off from open answers too.
#[derive(Debug)]
pub struct Standing {
    request: AccessRequest,
    /// Of the caller's connection.
    certificate: Option<Arc<PeerCertificate>>,
    /// Of the same connection. Where its network is may turn out to be another country.
    address: IpAddr,
    /// The generation that permitted it last.
    generation: u64,
    hidden: Hidden,
    clock: Arc<dyn Clock>,
}

impl Standing {
    pub fn new(permit: &Permit, world: &World, peer: &Peer, clock: Arc<dyn Clock>) -> Self {
        let (request, generation) = (permit.request().clone(), permit.generation());
        let hidden = Hidden {
            classes: permit.classes_hidden().into(),
            kinds: permit.kinds_hidden().into(),
            alike: permit.kinds_alike().cloned(),
            plant: world.catalog.plant.clone(),
        };
        let (certificate, address) = (peer.certificate.clone(), peer.address.ip());
        Self { request, certificate, address, generation, hidden, clock }
    }

    /// Returns when a new generation no longer permits it, or the caller's certificate no longer counts, and says why.
    /// May be dropped and called again.
    pub async fn withdrawn(&mut self, worlds: &mut watch::Receiver<Arc<World>>) -> Refusal {
        loop {
            // Also what changed between the decision and the first look.
            let world = worlds.borrow_and_update().clone();
            if let Some(refusal) = self.withdrawal(&world) {
                return refusal;
            }
            let look = async {
                match self.certificate {
                    Some(_) => tokio::time::sleep(LOOK).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = worlds.changed() => if changed.is_err() {
                    // Without a broker nothing changes any longer.
                    return std::future::pending().await;
                },
                () = look => {}
            }
        }
    }

    /// Why it no longer stands: the credential has expired, the caller's certificate no longer counts, or this generation
    /// does not permit it. The last is asked once for each generation.
    pub fn ended(&mut self, world: &World) -> Option<Refusal> {
        self.expired().or_else(|| self.withdrawal(world))
    }

    /// Until when a certificate counts alone is for its authority's files to say, and these may have been renewed.
    fn expired(&self) -> Option<Refusal> {
        let caller = &self.request.caller;
        let is_over = caller.method() != AuthenticationMethod::Certificate && self.clock.now() >= caller.expires();
        is_over.then(|| Refusal::new(Reason::TOKEN_EXPIRED, "the token expired while the request was under way"))
    }

    fn withdrawal(&mut self, world: &World) -> Option<Refusal> {
        if let Some(refusal) = self.certificate_refused(world) {
            return Some(refusal);
        }
        let generation = world.snapshot.generation();
        if generation != self.generation {
            if let Some(refusal) = self.denied(world) {
                return Some(refusal);
            }
            self.generation = generation;
        }
        None
    }

    /// A certificate, or a list that covers it, also expires without a new generation.
    fn certificate_refused(&self, world: &World) -> Option<Refusal> {
        let certificate = self.certificate.as_ref()?;
        let error = world.authorities.admit(certificate, &world.parties, self.clock.now()).err()?;
        // It was nobody's from the beginning, and still only binds the token.
        if error.reason == Reason::UNKNOWN_AUTHORITY && self.request.caller.certificate().is_none() {
            return None;
        }
        Some(Refusal::new(error.reason, error.detail))
    }

    /// Decided anew for everybody who takes part, by issuers that still speak for them.
    fn denied(&self, world: &World) -> Option<Refusal> {
        if !vouched_for(&self.request.caller, &world.parties) {
            return Some(Refusal::new(Reason::UNKNOWN_ISSUER, "the issuer no longer speaks for your organisation"));
        }
        let country = world.country_of(self.address);
        let request = AccessRequest { country, now: self.clock.now(), ..self.request.clone() };
        match world.snapshot.decide(request, &[]) {
            Decision::Permit(permit) if self.hidden.covers(&permit, &world.catalog.plant) => None,
            Decision::Permit(_) => {
                let what = "what you may see of this data has changed; ask again";
                Some(Refusal::denied(Reason::NOT_PERMITTED, what))
            }
            Decision::Denied(denial) => Some(refusal(&denial)),
        }
    }
}

/// What is kept from an answer under way, which goes on as it began.
#[derive(Debug)]
struct Hidden {
    classes: Box<[FieldClassId]>,
    kinds: Box<[RecordKind]>,
    /// What these kinds stand for.
    alike: Option<Arc<Alike>>,
    /// What it was planned by.
    plant: Arc<Plant>,
}

impl Hidden {
    /// Whether nothing is hidden now that was not hidden then, and the data is described as it was.
    fn covers(&self, permit: &Permit, plant: &Arc<Plant>) -> bool {
        let classes = permit.classes_hidden().iter().all(|class| self.classes.contains(class));
        // Where the same kinds stand for others, they are others.
        let kinds = permit.kinds_hidden().is_empty()
            || (permit.kinds_alike() == self.alike.as_ref()
                && permit.kinds_hidden().iter().all(|kind| self.kinds.contains(kind)));
        let described = match &permit.request().resource {
            _ if Arc::ptr_eq(plant, &self.plant) => true,
            ResourceRef::Dataset(id) => {
                let of = |plant: &Plant| {
                    plant.datasets.get(id).map(|d| (d.format, d.fields.clone(), d.masks.clone(), d.records.clone()))
                };
                of(plant) == of(&self.plant)
            }
            ResourceRef::Signal(_) | ResourceRef::AuditScope(_) => true,
        };
        classes && kinds && described
    }
}

/// Whether each issuer is still one of the registry, and of the same organisation.
fn vouched_for(caller: &Authenticated, parties: &Parties) -> bool {
    let issuers = std::iter::once(caller.issuer()).chain(caller.actors().iter().map(|actor| &actor.issuer));
    caller.principals().zip(issuers).all(|(principal, issuer)| {
        let speaks_for = parties.issuers.get(issuer).map(|i| &i.organisation);
        let speaks_for = speaks_for.or_else(|| parties.authorities.get(issuer).map(|a| &a.organisation));
        speaks_for == Some(&principal.organisation)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Assertion, Binding, Principal, PrincipalKind, ResourceRef, Shape, Timestamp};
    use std::sync::atomic::{AtomicI64, Ordering};

    const NOW: Timestamp = Timestamp(1_795_375_200_000);

    #[derive(Debug)]
    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }
    }

    fn world(generation: u64, revoked: Option<&str>) -> World {
        world_with(generation, revoked, |_, _| {})
    }

    fn world_with(generation: u64, revoked: Option<&str>, change: impl FnOnce(&mut Plant, &mut Parties)) -> World {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
        let folders = crate::Folders {
            catalog: root.join("plants/munich/catalog"),
            registry: root.join("plants/munich/registry"),
            policies: vec![root.join("base")],
            schema: root.join("schema/plant.cedarschema"),
        };
        let mut parts = folders.load().unwrap();
        let organisations = revoked.iter().map(|o| o.parse().unwrap()).collect();
        let now = model::party::Revocations { organisations, ..Default::default() };
        parts.parties = crate::world::revoke(&parts.parties, now);
        let (mut plant, mut parties) = ((*parts.catalog.plant).clone(), (*parts.parties).clone());
        change(&mut plant, &mut parties);
        let mut catalog = (*parts.catalog).clone();
        catalog.plant = Arc::new(plant);
        parts.catalog = Arc::new(catalog);
        parts.parties = Arc::new(parties);
        World::join(&parts, generation, crate::upstream::Upstreams::new()).unwrap()
    }

    fn peer() -> Peer {
        Peer { address: "192.0.2.1:1024".parse().unwrap(), certificate: None }
    }

    #[expect(clippy::disallowed_methods, reason = "a caller of the test")]
    fn standing(world: &World, method: AuthenticationMethod) -> (Standing, Arc<Hand>) {
        let caller = Authenticated::assertion(Assertion {
            principal: Principal {
                organisation: "acme".parse().unwrap(),
                kind: PrincipalKind::User,
                subject: "engineer-1".parse().unwrap(),
            },
            issuer: "acme-login".parse().unwrap(),
            method,
            binding: Binding::None,
            expires: NOW.plus_millis(60_000),
            fingerprint: model::Digest::of(b"a token"),
            token_id: None,
            certificate: None,
            assurance: 3,
            roles: std::collections::BTreeSet::new(),
            actors: Vec::new(),
        });
        let hour = 3_600_000;
        let request = AccessRequest {
            caller,
            action: Action::ReadSeries,
            resource: ResourceRef::Signal("press-3.vibration".parse().unwrap()),
            purpose: Some("predictive-maintenance".parse().unwrap()),
            agreement: None,
            shape: Shape { resolution_ms: 60_000, window_ms: hour, rows: 60, age_days: 0 },
            country: None,
            now: NOW,
        };
        let permit = match world.snapshot.decide(request, &["p"]) {
            Decision::Permit(permit) => permit,
            Decision::Denied(denial) => panic!("{:?}", denial.reasons),
        };
        let clock = Arc::new(Hand(AtomicI64::new(NOW.millis())));
        (Standing::new(&permit, world, &peer(), clock.clone()), clock)
    }

    #[test]
    fn a_permission_ends_with_the_token_that_it_was_given_for() {
        let world = world(1, None);
        let (mut standing, clock) = standing(&world, AuthenticationMethod::Jwt);
        clock.0.store(NOW.millis() + 59_999, Ordering::SeqCst);
        assert!(standing.ended(&world).is_none());
        clock.0.store(NOW.millis() + 60_000, Ordering::SeqCst);
        let refusal = standing.ended(&world).unwrap();
        assert_eq!((refusal.status().as_u16(), &refusal.reason), (401, &Reason::TOKEN_EXPIRED));
    }

    #[test]
    fn a_permission_that_a_new_generation_takes_back_says_why() {
        let before = world(1, None);
        let (mut standing, _) = standing(&before, AuthenticationMethod::Jwt);
        assert!(standing.ended(&world(2, None)).is_none());
        let refusal = standing.ended(&world(3, Some("acme"))).unwrap();
        assert_eq!((refusal.status().as_u16(), &refusal.reason), (403, &Reason::ORGANISATION_SUSPENDED));
        assert!(standing.ended(&world(4, None)).is_none(), "and the next one may give it again");
    }

    #[test]
    fn an_answer_under_way_ends_when_more_of_it_is_to_be_hidden() {
        let before = world(1, None);
        let notifications = ResourceRef::Dataset("quality-notifications".parse().unwrap());
        let (standing, _) = standing(&before, AuthenticationMethod::Jwt);
        let request = AccessRequest {
            action: Action::Read,
            resource: notifications,
            purpose: Some("quality-analysis".parse().unwrap()),
            shape: Shape { resolution_ms: 0, window_ms: 3_600_000, rows: 10, age_days: 0 },
            ..standing.request
        };
        let permit = |world: &World| match world.snapshot.decide(request.clone(), &["p"]) {
            Decision::Permit(permit) => permit,
            Decision::Denied(denial) => panic!("{:?}", denial.reasons),
        };
        let mut standing = Standing::new(&permit(&before), &before, &peer(), standing.clock.clone());
        let agreement: model::AgreementId = "acme-maintenance-2026".parse().unwrap();
        let reveals = |parties: &mut Parties, class: &str, yes: bool| {
            let of = parties.agreements.get_mut(&agreement).unwrap();
            let class = class.parse().unwrap();
            if yes {
                of.reveals.insert(class)
            } else {
                of.reveals.remove(&class)
            };
        };
        let more = world_with(2, None, |_, parties| reveals(parties, "commercial", true));
        assert!(standing.ended(&more).is_none(), "what may be seen beside is no reason");
        let less = world_with(3, None, |_, parties| reveals(parties, "quality", false));
        let refusal = standing.ended(&less).unwrap();
        assert_eq!((refusal.status().as_u16(), &refusal.reason), (403, &Reason::NOT_PERMITTED), "{}", refusal.detail);
        let other = world_with(4, None, |plant, _| {
            let dataset = plant.datasets.get_mut("quality-notifications").unwrap();
            dataset.fields.insert("defectCode".into(), "commercial".parse().unwrap());
        });
        assert!(standing.ended(&other).is_some(), "a field is of another class");
    }

    #[test]
    fn advice_fits_the_reason() {
        assert!(advice(&Reason::AGREEMENT_UNKNOWN, Action::Read).contains("name another"));
        assert!(advice(&Reason::POLICY_ERROR, Action::ReadAudit).contains("a policy failed"));
        // There is no product, hence no steward, behind the audit log.
        assert!(!advice(&Reason::NOT_PERMITTED, Action::ReadAudit).contains("steward"));
        assert!(advice(&Reason::NOT_PERMITTED, Action::Read).contains("steward"));
    }
}
