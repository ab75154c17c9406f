//! What a claim set says, by its issuer's rules, the registry and the clock. That they are the issuer's has been made
//! sure of before: by its signature, or because it was asked.
//!
//! Nothing here depends on how the claims came to us, and nothing here is remembered: configuration and time are judged
//! on every request.

use crate::json::{Member, Object};
use crate::refusal::Refusal;
use model::party::{Issuer, Parties};
use model::{AuthenticationMethod, Principal, Reason, RoleId, Subject, Timestamp};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const NUMERIC_DATE_MAX: u64 = 253_402_300_799;

/// A `jti` goes into the audit log. The longest in the wild are below 100 bytes.
const TOKEN_ID_BYTES_MAX: usize = 255;

/// Assurance levels end here; see [`model::Assertion::assurance`].
const ASSURANCE_MAX: u8 = 3;

/// What a token says of its principal.
#[derive(Debug)]
pub(crate) struct Identified {
    pub(crate) principal: Principal,
    pub(crate) expires: Timestamp,
    pub(crate) token_id: Option<String>,
    pub(crate) roles: BTreeSet<RoleId>,
    pub(crate) assurance: u8,
}

/// Judges the claims of `issuer`'s token. Whatever they say, the principal is one of the issuer's organisation, and so
/// are the roles.
pub(crate) fn identify(
    claims: &Object<'_>,
    method: AuthenticationMethod,
    issuer: &Issuer,
    parties: &Parties,
    now: Timestamp,
) -> Result<Identified, Refusal> {
    check_audience(claims.get("aud"), issuer)?;
    let principal = member_of(claims, issuer, parties).ok_or_else(|| no_member(claims, issuer))?;
    let token_id = token_id_of(claims.get("jti"))?;
    let expires = check_times(claims, method, issuer, now)?;
    let roles = roles_of(claims, issuer, parties)?;
    let assurance = assurance_of(claims, issuer)?;
    Ok(Identified { principal, expires, token_id, roles, assurance })
}

const SUBJECT_RULE: &str = "the claim that names the principal must be 1 to 255 printable ASCII characters without \
     spaces, quotes or backslashes";

/// Whom these members name: somebody of the issuer's organisation, whoever they mean. `None` if they name nobody.
pub(crate) fn member_of(members: &Object<'_>, issuer: &Issuer, parties: &Parties) -> Option<Principal> {
    let subject = Subject::new(members.get(&issuer.subject_claim).text()?).ok()?;
    let member = (issuer.organisation.clone(), subject);
    let kind = parties.principals.get(&member).map_or(issuer.principal_kind, |record| record.kind);
    let (organisation, subject) = member;
    Some(Principal { organisation, kind, subject })
}

/// Why the claims name nobody.
fn no_member(claims: &Object<'_>, issuer: &Issuer) -> Refusal {
    match claims.get(&issuer.subject_claim) {
        Member::Absent => {
            let claim = &issuer.subject_claim;
            bad_claim(format!("the claim that names the principal, `{claim}`, is missing"))
        }
        _ => bad_claim(SUBJECT_RULE),
    }
}

fn check_audience(aud: &Member<'_>, issuer: &Issuer) -> Result<(), Refusal> {
    let ours = |audience: &str| issuer.audiences.iter().any(|a| a == audience);
    let is_ours = match aud {
        Member::Text(one) => ours(one),
        Member::Texts(all) if !all.is_empty() => all.iter().any(|one| ours(one)),
        _ => return Err(bad_claim("`aud` must be a string or a list of strings")),
    };
    if is_ours { Ok(()) } else { Err(Refusal::new(Reason::WRONG_AUDIENCE, "the token is made for another service")) }
}

fn token_id_of(jti: &Member<'_>) -> Result<Option<String>, Refusal> {
    match jti {
        Member::Absent => Ok(None),
        Member::Text(id) if is_token_id(id) => Ok(Some(id.to_string())),
        _ => Err(bad_claim("`jti` must be a string of 1 to 255 bytes without control characters")),
    }
}

fn is_token_id(id: &str) -> bool {
    (1..=TOKEN_ID_BYTES_MAX).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// When the token ends, leeway included, so that what is accepted now has not expired yet.
fn check_times(
    claims: &Object<'_>,
    method: AuthenticationMethod,
    issuer: &Issuer,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    let exp = numeric_date(claims.get("exp"), "`exp` must be a whole number of seconds")?;
    let iat = match claims.get("iat") {
        // RFC 7662 section 2.2 leaves it to the issuer. Without it, only the age of a token cannot be judged.
        Member::Absent if method == AuthenticationMethod::Opaque && issuer.token_age_max_seconds.is_none() => {
            Timestamp(0)
        }
        iat => numeric_date(iat, "`iat` must be a whole number of seconds")?,
    };
    let nbf = match claims.get("nbf") {
        Member::Absent => iat,
        nbf => numeric_date(nbf, "`nbf` must be a whole number of seconds")?,
    };
    // A leeway beyond what fits is a mistake in the registry and counts as none.
    let leeway_ms = millis(issuer.leeway_seconds).unwrap_or(0);
    let expires = exp.plus_millis(leeway_ms);
    if now >= expires {
        return Err(Refusal::new(Reason::TOKEN_EXPIRED, "the token has expired"));
    }
    if now.plus_millis(leeway_ms) < iat.max(nbf) {
        return Err(Refusal::new(Reason::TOKEN_NOT_YET_VALID, "the token is not valid yet"));
    }
    // A longer age than what fits is no limit.
    let Some(age_max_ms) = issuer.token_age_max_seconds.and_then(millis) else { return Ok(expires) };
    let too_old = iat.plus_millis(age_max_ms).plus_millis(leeway_ms);
    if now >= too_old {
        return Err(Refusal::new(Reason::TOKEN_TOO_OLD, "the token was issued longer ago than its issuer's may be"));
    }
    Ok(expires.min(too_old))
}

fn millis(seconds: u64) -> Option<i64> {
    i64::try_from(seconds).ok()?.checked_mul(1000)
}

/// RFC 7519 allows fractions in a NumericDate; no issuer we know of writes them, and what we do not accept cannot be read
/// in two ways.
fn numeric_date(claim: &Member<'_>, rule: &'static str) -> Result<Timestamp, Refusal> {
    match claim {
        Member::Integer(seconds) if *seconds <= NUMERIC_DATE_MAX => {
            let seconds = i64::try_from(*seconds).map_err(|_| bad_claim(rule))?;
            Ok(Timestamp(seconds * 1000))
        }
        _ => Err(bad_claim(rule)),
    }
}

/// Roles that the issuer's groups stand for. The registry has refused others than the organisation's own; that they are
/// its own is judged here again, because a mistake there would let one company hand out the roles of another.
fn roles_of(claims: &Object<'_>, issuer: &Issuer, parties: &Parties) -> Result<BTreeSet<RoleId>, Refusal> {
    let Some(groups) = &issuer.groups else { return Ok(BTreeSet::new()) };
    let Some(organisation) = parties.organisations.get(&issuer.organisation) else { return Ok(BTreeSet::new()) };
    let named = match claims.get(&groups.claim) {
        Member::Absent => return Ok(BTreeSet::new()),
        Member::Text(group) => std::slice::from_ref(group),
        Member::Texts(groups) => groups,
        _ => return Err(bad_claim("the claim that lists groups must be a string or a list of strings")),
    };
    let roles = named.iter().filter_map(|group| groups.roles.get(group.as_ref()));
    Ok(roles.filter(|role| organisation.roles.contains(*role)).cloned().collect())
}

/// 0 for a value that the registry does not know.
fn assurance_of(claims: &Object<'_>, issuer: &Issuer) -> Result<u8, Refusal> {
    let Some(assurance) = &issuer.assurance else { return Ok(0) };
    match claims.get(&assurance.claim) {
        Member::Absent => Ok(0),
        Member::Text(value) => Ok(assurance.levels.get(value.as_ref()).map_or(0, |level| (*level).min(ASSURANCE_MAX))),
        _ => Err(bad_claim("the claim that says how sure the issuer is must be a string")),
    }
}

fn bad_claim(rule: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Reason::BAD_CLAIM, rule)
}
