//! The table of contents of a request.

use crate::Broker;
use crate::acknowledge;
use crate::authenticate::{Door, authenticate};
use crate::authorize::authorize;
use crate::canonical::Canonical;
use crate::forward::{Question, forward};
use crate::ladder;
use crate::listener::Peer;
use crate::record::{self, Circumstances, Target};
use crate::resolve::{self, Asked, resolve};
use crate::respond::{self, Body, Refusal};
use crate::shape::{self, Plan};
use crate::share::Share;
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use model::entry::Kind;
use model::{AccessRequest, Authenticated, Reason, RequestId};
use registry::Resolved;
use runtime::trace::RequestTrace;

/// One request on the data listener, from its first byte to the head of its answer.
pub async fn handle(broker: &Broker, peer: Peer, request: Request<Incoming>) -> Response<Body> {
    let id = broker.request_id();
    let started = broker.metrics.begin();
    let (parts, body) = request.into_parts();
    let trace = broker.tracer.request(single(&parts, "traceparent"), "proxy");
    if trace.is_sampled() {
        trace.set("millgate.request", id.to_string());
    }
    let mut door = Door::new(&broker.data_origins);
    let answer = serve(broker, id, peer, &parts, body, &mut door, &trace).await;
    let (mut response, reason) = match answer {
        Ok(response) => (response, None),
        Err(refusal) => {
            tracing::debug!(request = %id, reason = %refusal.reason, detail = %refusal.detail, "refused");
            (respond::refuse(&refusal, id), Some(refusal.reason))
        }
    };
    door.close(response.headers_mut()).await;
    trace.end(response.status().as_u16());
    broker.metrics.end(started, "data", response.status(), reason.as_ref());
    response
}

/// Limits lie below (listener) and around (source slots); what is here is the order of the questions.
async fn serve(
    broker: &Broker,
    id: RequestId,
    peer: Peer,
    parts: &Parts,
    body: Incoming,
    door: &mut Door<'_>,
    trace: &RequestTrace,
) -> Result<Response<Body>, Refusal> {
    // One parse, one truth.
    let canonical = Canonical::parse(parts)?;
    let asked = Asked::parse(&parts.headers)?;
    // One generation from here to the record.
    let world = broker.world();

    let step = trace.child("authenticate");
    let caller = authenticate(broker, &world, id, &peer, parts, &canonical, door).await?;
    drop(step);
    let _share = share(broker, &caller)?;

    let mut about = Circumstances {
        request: id,
        kind: Kind::Decision,
        method: parts.method.as_str(),
        peer: peer.address.ip(),
        country: world.country_of(peer.address.ip()),
        user_agent: single(parts, "user-agent"),
        route: None,
        product: None,
        source: None,
        payload: Circumstances::payload_of(&canonical, &asked),
        receipt: &door.receipt,
    };
    let step = trace.child("resolve");
    let resolved = resolve(broker, &world, &caller, &canonical, &mut about).await?;
    trace.rename(|| format!("{} {}", parts.method, resolved.route));
    about.route = Some(resolved.route.as_str());
    about.product = Some(resolved.product.as_str());
    about.source = Some(resolved.source.as_str());
    let (body, content_type) = resolve::body(broker, &world, &caller, &resolved, parts, body, &about).await?;
    let upstream = resolve::upstream(&world, &resolved)?;
    drop(step);

    let step = trace.child("authorize");
    let now = broker.clock.now();
    let question = |resolved: &Resolved| AccessRequest {
        caller: caller.clone(),
        action: resolved.action,
        resource: resolved.resource.clone(),
        purpose: asked.purpose.clone(),
        agreement: asked.agreement.clone(),
        shape: resolved.shape,
        country: about.country,
        now,
    };
    let coarser = ladder::finest(&world, &canonical, &resolved, question);
    let resolved = coarser.as_ref().unwrap_or(&resolved);
    let permit = authorize(broker, &world, question(resolved), &about).await?;
    let plan = Plan::new(&world, &broker.pseudonyms, &canonical, resolved, &permit);
    broker.metrics.decision(plan.is_ok());
    let plan = match plan {
        Ok(plan) => plan,
        Err(refusal) => {
            // Who gets so far may know that it exists.
            let target = Target { route: Some(&resolved.route), resource: Some(&resolved.resource) };
            record::refuse(&broker.log, &permit.request().caller, &refusal.reason, target, &about).await?;
            return Err(refusal);
        }
    };
    drop(step);

    let step = trace.child("record");
    let admitted = record::admit(&broker.log, permit, &about, broker.clock.now(), &broker.cut_off).await?;
    let admitted = acknowledge::wait(broker, admitted).await?;
    let withholds = admitted.permit().demands().outcome_before_complete;
    drop(step);

    let step = trace.upstream("forward");
    let question = Question {
        request: id,
        world: &world,
        upstream: &upstream,
        peer: &peer,
        target: plan.question().unwrap_or(&resolved.upstream),
        plan: &plan,
        gzip: shape::takes_gzip(&parts.headers),
        withholds,
        body,
        content_type,
        traceparent: step.traceparent().map(|t| t.to_string()),
    };
    forward(broker, admitted, question).await
}

/// A place among the open requests of the caller's organisation. Its refusal is counted, not recorded: an entry each is
/// what the others are to be protected from.
pub fn share(broker: &Broker, caller: &Authenticated) -> Result<Share, Refusal> {
    broker.shares.take(caller.organisation()).ok_or_else(|| {
        let max = broker.shares.max();
        let detail = format!("{max} requests of your organisation are open already; wait for their answers");
        Refusal::new(Reason::OVERLOADED, detail).retry_after(1)
    })
}

/// The text of a header that stands once; a header that stands twice has no reading.
pub fn single<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    let mut values = parts.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
