//! Method and canonical path → route, resource and the question to the source. Total: no mapping is a denial.
//!
//! A caller who may not discover a resource learns nothing of the routes to it: wrong parameters, methods and bodies
//! answer as an unknown route does.

use crate::canonical::Canonical;
use crate::record::{self, Circumstances, Target};
use crate::respond::{AGREEMENT, Body, BodyError, Refusal};
use crate::upstream::Upstream;
use crate::world::World;
use crate::{Broker, stack};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use model::{AgreementId, Authenticated, PurposeId, Reason, ResourceRef};
use registry::Resolved;
use std::sync::Arc;

const PURPOSE: HeaderName = HeaderName::from_static("millgate-purpose");

/// What the caller states beside the target.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub purpose: Option<PurposeId>,
    pub agreement: Option<AgreementId>,
}

impl Asked {
    /// # Errors
    /// 400 for a header that stands twice or holds no identifier.
    pub fn parse(headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self { purpose: one(headers, &PURPOSE)?, agreement: one(headers, &AGREEMENT)? })
    }
}

fn one<T>(headers: &HeaderMap, name: &HeaderName) -> Result<Option<T>, Refusal>
where
    T: std::str::FromStr<Err = model::InvalidId>,
{
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::new(Reason::BAD_HEADER, format!("`{name}` stands more than once")));
    }
    let text = value.to_str().map_err(|_| Refusal::new(Reason::BAD_HEADER, format!("`{name}` is not plain text")))?;
    text.parse().map(Some).map_err(|e| Refusal::new(Reason::BAD_HEADER, format!("`{name}`: {e}")))
}

/// # Errors
/// 404, 405 or 400, recorded before the caller hears of it.
pub async fn resolve(
    broker: &Broker,
    world: &World,
    caller: &Authenticated,
    canonical: &Canonical,
    about: &mut Circumstances<'_>,
) -> Result<Resolved, Refusal> {
    let error = match world.catalog.resolve(
        canonical.method.as_str(),
        &canonical.segments,
        &canonical.query,
        broker.clock.now(),
    ) {
        Ok(resolved) => return Ok(resolved),
        Err(error) => error,
    };
    let refusal = Refusal { allow: error.methods, ..Refusal::new(error.reason.clone(), error.detail) };
    let target = Target { route: error.route.as_ref(), resource: error.resource.as_ref() };
    Err(hide(broker, world, caller, target, refusal, about).await?)
}

/// The refusal, or 404 in its place if the caller may not discover the resource. The true reason is recorded.
async fn hide(
    broker: &Broker,
    world: &World,
    caller: &Authenticated,
    target: Target<'_>,
    refusal: Refusal,
    about: &Circumstances<'_>,
) -> Result<Refusal, Refusal> {
    // Where there is nothing, something else is asked for, so that the two take the same steps and the same time.
    let plant = &world.catalog.plant;
    let decoy = || plant.signals.keys().next().map(|id| ResourceRef::Signal(id.clone()));
    let asked = target.resource.cloned().or_else(decoy);
    let discoverable =
        asked.is_some_and(|r| world.snapshot.may_discover(caller, &r, about.country, broker.clock.now()));
    let visible = discoverable && target.resource.is_some();
    record::refuse(&broker.log, caller, &refusal.reason, target, about).await?;
    Ok(if visible && refusal.reason != Reason::NOT_FOUND { refusal } else { Refusal::not_found() })
}

/// The body as the route declares it: none, or one within bounds and its type as the route spells it. What a caller
/// writes beside the type (`charset`, `boundary`) has readings that nobody declared and stays here.
///
/// # Errors
/// 400 for a body that is not declared or not of a declared type, 413 for one that says it is too large.
pub async fn body(
    broker: &Broker,
    world: &World,
    caller: &Authenticated,
    resolved: &Resolved,
    parts: &Parts,
    body: Incoming,
    about: &Circumstances<'_>,
) -> Result<(Body, Option<HeaderValue>), Refusal> {
    match declared(resolved, parts, body) {
        Ok(body) => Ok(body),
        Err(refusal) => {
            let target = Target { route: Some(&resolved.route), resource: Some(&resolved.resource) };
            Err(hide(broker, world, caller, target, refusal, about).await?)
        }
    }
}

fn declared(resolved: &Resolved, parts: &Parts, body: Incoming) -> Result<(Body, Option<HeaderValue>), Refusal> {
    let Some(rule) = &resolved.body else {
        let chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
        if body.is_end_stream() && !chunked {
            return Ok((crate::respond::full(bytes::Bytes::new()), None));
        }
        return Err(Refusal::new(Reason::UNDECLARED_BODY, "this route takes no body"));
    };
    let stated = stack::single(parts, "content-type").unwrap_or_default();
    let essence = stated.split(';').next().unwrap_or_default().trim();
    let Some(declared) = rule.content_types.iter().find(|t| t.eq_ignore_ascii_case(essence)) else {
        let types = rule.content_types.join(", ");
        return Err(Refusal::new(Reason::UNDECLARED_BODY, format!("this route takes a body of type {types}")));
    };
    let max = usize::try_from(rule.max_bytes).unwrap_or(usize::MAX);
    if body.size_hint().lower() > rule.max_bytes {
        return Err(Refusal::new(Reason::BODY_TOO_LARGE, format!("this route takes at most {max} bytes")));
    }
    let limited = Limited::new(body, max);
    let limited = limited.map_err(|e| match e.downcast::<hyper::Error>() {
        Ok(e) => BodyError::Caller(*e),
        Err(_) => BodyError::TooLarge,
    });
    Ok((limited.boxed_unsync(), HeaderValue::from_str(declared).ok()))
}

/// The connection to the route's source.
///
/// # Errors
/// 502 when the generation has none; `check` and the loader do not let that happen.
pub fn upstream(world: &World, resolved: &Resolved) -> Result<Arc<Upstream>, Refusal> {
    let upstream = world.upstreams.get(&resolved.source).cloned();
    upstream.ok_or_else(|| Refusal::new(Reason::SOURCE_UNREACHABLE, "the source is not configured"))
}
