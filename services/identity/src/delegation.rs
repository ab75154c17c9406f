//! Who acts for the principal of a token (RFC 8693 section 4.1).
//!
//! A token's `act` names members of its issuer's organisation and nobody else. Somebody of another organisation acts only
//! with a token of its own, verified by its own issuer, which the principal's token names in `may_act`.

use crate::claims;
use crate::confirmation::Confirmation;
use crate::json::{Member, Object};
use crate::login::Accepted;
use crate::refusal::Refusal;
use model::party::{Issuer, Parties};
use model::{Actor, Principal, Reason};

/// An agent for a person, behind a gateway or two. More is a loop, or nobody can tell who answers for it.
const ACTORS_MAX: usize = 4;

/// Everybody who acts for the principal of `subject`: who sends the request first, then who that one acts for, and so on.
/// `actor` is the sender's own token, whose `act` says who sends for it.
pub(crate) fn actors(
    subject: &Accepted<'_>,
    actor: Option<&Accepted<'_>>,
    parties: &Parties,
) -> Result<Vec<Actor>, Refusal> {
    let mut actors = Vec::new();
    if let Some(actor) = actor {
        check_may_act(subject, actor)?;
        actors = chain(actor.claims(), actor.issuer, parties)?;
        let token_id = actor.who.token_id.clone();
        actors.push(Actor { principal: actor.who.principal.clone(), issuer: actor.issuer.id.clone(), token_id });
    } else {
        check_nobody_hides(subject)?;
    }
    actors.extend(chain(subject.claims(), subject.issuer, parties)?);
    check_chain(&subject.who.principal, &actors)?;
    Ok(actors)
}

/// The nested `act` claims of one token, outermost first: all of the issuer's organisation, whatever they say.
fn chain(claims: &Object<'_>, issuer: &Issuer, parties: &Parties) -> Result<Vec<Actor>, Refusal> {
    let mut actors = Vec::new();
    let mut next = claims.get("act");
    while let Member::Object(act) = next {
        if actors.len() == ACTORS_MAX {
            return Err(too_long());
        }
        if !matches!(act.get("iss"), Member::Absent) && act.get("iss").text() != Some(&issuer.url) {
            return Err(bad("an actor of another issuer needs a token of its own in `millgate-actor-token`"));
        }
        let principal = claims::member_of(act, issuer, parties).ok_or_else(|| bad("an `act` claim names nobody"))?;
        actors.push(Actor { principal, issuer: issuer.id.clone(), token_id: None });
        next = act.get("act");
    }
    if *next == Member::Absent { Ok(actors) } else { Err(bad("an `act` claim is not an object")) }
}

/// RFC 8693 section 4.4: the principal's issuer names the one who may act. Without `iss` it is one of its own.
fn check_may_act(subject: &Accepted<'_>, actor: &Accepted<'_>) -> Result<(), Refusal> {
    let not_named = || bad("the token does not name the sender of `millgate-actor-token` in `may_act`");
    let Member::Object(may_act) = subject.claims().get("may_act") else { return Err(not_named()) };
    let issuer = match may_act.get("iss") {
        Member::Absent => Some(subject.issuer.url.as_str()),
        issuer => issuer.text(),
    };
    let named = may_act.get("sub").text();
    let is_named = named.is_some() && named == actor.claims().get("sub").text();
    if is_named && issuer == Some(actor.issuer.url.as_str()) { Ok(()) } else { Err(not_named()) }
}

/// A token that somebody else may use, and that proves nothing of who does: whoever acts would leave the own token out to
/// pass for the principal.
fn check_nobody_hides(subject: &Accepted<'_>) -> Result<(), Refusal> {
    let is_unbound = subject.content.confirmation() == Confirmation::default();
    if is_unbound && *subject.claims().get("may_act") != Member::Absent {
        return Err(bad("a token with `may_act` must come with the actor's own token, or be bound to a key"));
    }
    Ok(())
}

/// Nobody appears twice: a chain that comes back to somebody does not say who answers for what.
fn check_chain(principal: &Principal, actors: &[Actor]) -> Result<(), Refusal> {
    if actors.len() > ACTORS_MAX {
        return Err(too_long());
    }
    let all: Vec<&Principal> = [principal].into_iter().chain(actors.iter().map(|actor| &actor.principal)).collect();
    let is_known = |(at, one): (usize, &&Principal)| all.iter().take(at).any(|earlier| is_same(earlier, one));
    if all.iter().enumerate().any(is_known) { Err(bad("somebody acts for themselves")) } else { Ok(()) }
}

/// By the name; the kind follows from it.
fn is_same(a: &Principal, b: &Principal) -> bool {
    a.subject == b.subject && a.organisation == b.organisation
}

fn too_long() -> Refusal {
    bad("more than four actors")
}

fn bad(detail: &'static str) -> Refusal {
    Refusal::new(Reason::BAD_DELEGATION, detail)
}
