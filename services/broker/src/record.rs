//! No record, no data: the only maker of [`Admitted`].
//!
//! A decision is durable before anything else happens. An allow opens an [`Exchange`]; dropping it, wherever that
//! happens, writes the one outcome that belongs to it.

use crate::canonical::Canonical;
use crate::resolve::Asked;
use crate::respond::Refusal;
use audit::{AppendError, Appended, Appending, Log, Pledge};
use http::HeaderValue;
use model::canonical::{Encoded, Members, Value};
use model::entry::{CommitmentClass, DirectoryRow, Disclosure, Draft, Effect, Ended, Kind};
use model::plant::RecordKind;
use model::{
    AgreementId, Authenticated, CertificateRef, Country, OrganisationId, PurposeId, Reason, RequestId, ResourceRef,
    RouteId, Shape, Timestamp,
};
use pdp::{Denial, Digests, Permit};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// A permit whose decision is durable. Forwarding takes one; nothing but [`admit`] makes one.
#[derive(Debug)]
pub struct Admitted {
    permit: Permit,
    exchange: Exchange,
}

impl Admitted {
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Where the decision stands in the log.
    pub fn index(&self) -> u64 {
        self.exchange.of
    }

    pub fn into_exchange(self) -> (Permit, Exchange) {
        (self.permit, self.exchange)
    }
}

/// What an entry says of the request beside the decision.
#[derive(Debug)]
pub struct Circumstances<'a> {
    pub request: RequestId,
    pub kind: Kind,
    pub method: &'a str,
    pub peer: IpAddr,
    /// Where the peer's network is, if that is known.
    pub country: Option<Country>,
    pub user_agent: Option<&'a str>,
    pub route: Option<&'a str>,
    pub product: Option<&'a str>,
    pub source: Option<&'a str>,
    /// Path, query and typed parameters: committed to, disclosed separately, erasable.
    pub payload: Encoded,
    /// Where the receipt of the entry goes.
    pub receipt: &'a Slip,
}

/// The receipt of the entry that a request made, on its way to the answer.
#[derive(Debug, Default)]
pub struct Slip(OnceLock<Pledge>);

impl Slip {
    /// `None` while no entry has been written, and from a log that gives no receipts. Ready at once where the log's key is in
    /// memory; one in a token is waited for, and not for long.
    pub async fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.0.get()?.receipt().await?.to_text()).ok()
    }
}

/// Writes the entry of a request.
async fn append(log: &Log, draft: Draft, about: &Circumstances<'_>) -> Result<Appended, Refusal> {
    let (appended, pledge) = log.append_pledged(draft).await.map_err(|e| not_recorded(&e))?;
    if let Some(pledge) = pledge {
        // One request makes one entry before its answer.
        let _ = about.receipt.0.set(pledge);
    }
    Ok(appended)
}

impl Circumstances<'_> {
    /// What the caller wrote: path, query, and what was asked for in headers. Only what a policy knows stands in the entry.
    pub fn payload_of(canonical: &Canonical, asked: &Asked) -> Encoded {
        let mut members = Members::with_capacity(256);
        members.text("method", canonical.method.as_str());
        members.text("path", canonical.path_text());
        members.pairs("query", canonical.query.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        text_if(&mut members, "purpose", asked.purpose.as_ref());
        text_if(&mut members, "agreement", asked.agreement.as_ref());
        members.into()
    }
}

fn text_if<T: AsRef<str>>(members: &mut Members, name: &'static str, value: Option<T>) {
    if let Some(value) = value {
        members.text(name, value);
    }
}

/// Makes the permit's decision durable.
///
/// # Errors
/// 503 when it cannot be written: then nothing has happened, and nothing will.
pub async fn admit(
    log: &Log,
    permit: Permit,
    about: &Circumstances<'_>,
    now: Timestamp,
    cut_off: &CancellationToken,
) -> Result<Admitted, Refusal> {
    let request = permit.request();
    let who = Who::of(log, &request.caller);
    let mut members = decision_members(&who, permit.actor_agreements(), about);
    members.text("action", request.action.as_str());
    members.text("resource", request.resource.to_text());
    members.text("decision", "allow");
    members.texts("policies", permit.policies());
    members.object("shape", &shape(request.shape));
    members.object("digests", &digests(permit.digests()));
    members.count("generation", permit.generation());
    text_if(&mut members, "purpose", request.purpose.as_ref());
    text_if(&mut members, "agreement", permit.agreement());
    members.texts("reveals", permit.classes_revealed());
    if !permit.classes_hidden().is_empty() {
        members.texts("hides", permit.classes_hidden());
    }
    if let Some(told) = permit.kinds_told() {
        members.objects("records", told.map(kind));
    }
    permit.demands().record(&mut members);
    members.object("inputs", &permit.inputs().members(request.now));
    let organisation = request.caller.organisation().clone();
    let mut draft = draft(log, about, who, members)?;
    draft.effect = Effect::Opens;
    draft.content.push(permit.slice().clone());
    let appended = append(log, draft, about).await?;
    let exchange = Exchange {
        log: log.clone(),
        request: about.request,
        organisation,
        of: appended.index,
        started: now,
        status: None,
        bytes: 0,
        view: None,
        rows: None,
        ended: None,
        reason: None,
        done: false,
        cut_off: cut_off.clone(),
    };
    Ok(Admitted { permit, exchange })
}

/// Makes a policy's denial durable; the caller learns of it only afterwards.
///
/// # Errors
/// 503 when it cannot be written.
pub async fn deny(
    log: &Log,
    denial: &Denial,
    purposes: &BTreeMap<PurposeId, String>,
    about: &Circumstances<'_>,
) -> Result<(), Refusal> {
    let request = &denial.request;
    let who = Who::of(log, &request.caller);
    let mut members = decision_members(&who, &[], about);
    members.text("action", request.action.as_str());
    members.text("resource", request.resource.to_text());
    members.text("decision", "deny");
    members.texts("reasons", denial.reasons.iter().map(Reason::as_str));
    members.texts("policies", &denial.policies);
    members.object("shape", &shape(request.shape));
    members.object("digests", &digests(&denial.digests));
    members.count("generation", denial.generation);
    if !denial.errors.is_empty() {
        members.texts("errors", &denial.errors);
    }
    if denial.hidden {
        members.bool("hidden", true);
    }
    if !denial.classes_hidden.is_empty() {
        members.texts("hides", &denial.classes_hidden);
    }
    members.object("inputs", &denial.inputs.members(request.now));
    // A purpose that the plant does not have is the caller's own text.
    let purpose = request.purpose.as_ref().filter(|p| purposes.contains_key(*p));
    text_if(&mut members, "purpose", purpose);
    text_if(&mut members, "agreement", denial.agreement.as_ref());
    let mut draft = draft(log, about, who, members)?;
    draft.content.push(denial.slice.clone());
    append(log, draft, about).await.map(drop)
}

/// What a request that was refused before its decision was about, as far as that was clear.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target<'a> {
    pub route: Option<&'a RouteId>,
    pub resource: Option<&'a ResourceRef>,
}

/// Makes a refusal durable that the broker itself decided for a caller it knows: no route, a bad parameter.
///
/// # Errors
/// 503 when it cannot be written.
pub async fn refuse(
    log: &Log,
    caller: &Authenticated,
    reason: &Reason,
    target: Target<'_>,
    about: &Circumstances<'_>,
) -> Result<(), Refusal> {
    let who = Who::of(log, caller);
    let mut members = decision_members(&who, &[], about);
    members.text("decision", "deny");
    members.texts("reasons", [reason.as_str()]);
    text_if(&mut members, "resource", target.resource.map(ResourceRef::to_text));
    if about.route.is_none() {
        text_if(&mut members, "route", target.route);
    }
    let draft = draft(log, about, who, members)?;
    append(log, draft, about).await.map(drop)
}

/// The caller with the references that stand for it and its actors in an entry.
struct Who<'a> {
    caller: &'a Authenticated,
    /// Of the subject.
    reference: String,
    /// Of the actors, in their order.
    actors: Vec<String>,
    /// Rows that are not stored yet.
    directory: Vec<DirectoryRow>,
}

impl<'a> Who<'a> {
    fn of(log: &Log, caller: &'a Authenticated) -> Self {
        let (reference, row) = log.principal_reference(caller.principal());
        let mut who = Self { caller, reference, actors: Vec::new(), directory: row.into_iter().collect() };
        for actor in caller.actors() {
            let (reference, row) = log.principal_reference(&actor.principal);
            who.actors.push(reference);
            who.directory.extend(row);
        }
        who
    }

    /// How the caller proved itself, as far as it names nobody.
    fn members(&self) -> Members {
        let caller = self.caller;
        // Most decisions are about this long.
        let mut members = Members::with_capacity(1_536);
        members.text("principal", &self.reference);
        members.text("principal_kind", caller.principal().kind.as_str());
        members.text("issuer", caller.issuer());
        members.text("authentication", caller.method().as_str());
        members.text("binding", caller.binding().as_str());
        if caller.assurance() > 0 {
            members.int("assurance", i64::from(caller.assurance()));
        }
        if !caller.roles().is_empty() {
            members.texts("roles", caller.roles());
        }
        text_if(&mut members, "authority", caller.certificate().map(|c| &c.authority));
        members
    }

    /// Who acts, as far as it names nobody. `agreements` are those that the actors act under, if that is settled.
    fn actors(&self, agreements: &[Option<AgreementId>]) -> impl Iterator<Item = Members> {
        let agreements = agreements.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        self.caller.actors().iter().zip(&self.actors).zip(agreements).map(|((actor, reference), agreement)| {
            let mut members = Members::default();
            members.text("principal", reference);
            members.text("principal_kind", actor.principal.kind.as_str());
            members.text("organisation", &actor.principal.organisation);
            members.text("issuer", &actor.issuer);
            text_if(&mut members, "agreement", agreement);
            members
        })
    }

    /// Who it is, and with which credential.
    fn disclosed(&self) -> Members {
        let caller = self.caller;
        let mut subject = Members::with_capacity(256);
        subject.hex("credential", &caller.fingerprint().0);
        subject.text("principal", caller.principal().to_text());
        text_if(&mut subject, "token_id", caller.token_id());
        let certificate = |c: &CertificateRef| format!("{}/{}", c.authority, c.serial);
        text_if(&mut subject, "certificate", caller.certificate().map(certificate));
        if !caller.actors().is_empty() {
            let actors = caller.actors().iter().map(|actor| {
                let mut members = Members::default();
                members.text("principal", actor.principal.to_text());
                text_if(&mut members, "token_id", actor.token_id.as_deref());
                members
            });
            subject.objects("actors", actors);
        }
        subject
    }
}

fn decision_members(who: &Who<'_>, actor_agreements: &[Option<AgreementId>], about: &Circumstances<'_>) -> Members {
    let mut members = who.members();
    members.text("request", about.request.to_string());
    members.text("method", method_name(about.method));
    if !who.actors.is_empty() {
        members.objects("actors", who.actors(actor_agreements));
    }
    text_if(&mut members, "route", about.route);
    text_if(&mut members, "product", about.product);
    text_if(&mut members, "source", about.source);
    text_if(&mut members, "country", about.country);
    members
}

/// Callers can invent methods. What they write stands in disclosures, which can be erased, and never in an entry.
fn method_name(method: &str) -> &str {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" | "TRACE" | "CONNECT" => method,
        _ => "other",
    }
}

/// Empty for records that belong to nobody.
fn kind(kind: &RecordKind) -> Members {
    let mut members = Members::default();
    text_if(&mut members, "supplier", kind.supplier.as_ref());
    text_if(&mut members, "customer", kind.customer.as_ref());
    text_if(&mut members, "export_class", kind.export_class.as_ref());
    members
}

fn shape(shape: Shape) -> Members {
    let mut members = Members::default();
    members.int("resolution_ms", shape.resolution_ms);
    members.int("rows", shape.rows);
    members.int("window_ms", shape.window_ms);
    if shape.age_days > 0 {
        members.int("age_days", shape.age_days);
    }
    members
}

fn digests(d: &Digests) -> Members {
    let mut members = Members::with_capacity(512);
    members.hex("catalog", &d.catalog.0);
    members.hex("policies", &d.policies.0);
    members.hex("registry", &d.registry.0);
    members.hex("schema", &d.schema.0);
    members.hex("slice", &d.slice.0);
    members
}

/// Where a caller is, and with what it asks.
fn network(peer: IpAddr, user_agent: Option<&str>) -> Members {
    let mut members = Members::default();
    members.text("address", peer.to_string());
    text_if(&mut members, "user_agent", user_agent);
    members
}

fn disclose(class: CommitmentClass, values: impl Into<Encoded>) -> Disclosure {
    Disclosure { class, salt: runtime::random::bytes(), values: values.into() }
}

fn draft(log: &Log, about: &Circumstances<'_>, who: Who<'_>, members: Members) -> Result<Draft, Refusal> {
    let disclosures = vec![
        disclose(CommitmentClass::Subject, who.disclosed()),
        disclose(CommitmentClass::Network, network(about.peer, about.user_agent)),
        disclose(CommitmentClass::Payload, about.payload.clone()),
    ];
    let mut draft = Draft::new(about.kind, &log.common(), Some(who.caller.organisation()), members, disclosures)
        .map_err(|e| Refusal::new(Reason::NOT_RECORDED, format!("the request cannot be recorded: {e}")))?;
    draft.directory = who.directory;
    Ok(draft)
}

fn not_recorded(error: &AppendError) -> Refusal {
    let reason = match error {
        AppendError::Overloaded => Reason::OVERLOADED,
        _ => Reason::NOT_RECORDED,
    };
    tracing::warn!(%error, "a decision could not be recorded; the request is refused");
    Refusal::new(reason, "the decision could not be recorded, so nothing was done; try again").retry_after(1)
}

/// An allowed exchange that has no outcome yet. Dropping it writes one.
#[derive(Debug)]
pub struct Exchange {
    log: Log,
    request: RequestId,
    organisation: OrganisationId,
    /// Index of the decision entry.
    of: u64,
    started: Timestamp,
    status: Option<u16>,
    bytes: u64,
    /// What is shown of the answer, in a word, once there is one.
    view: Option<&'static str>,
    /// Where it is counted.
    rows: Option<Arc<AtomicU64>>,
    ended: Option<Ended>,
    reason: Option<Reason>,
    done: bool,
    /// Cancelled when the broker waits for nobody any longer.
    cut_off: CancellationToken,
}

impl Exchange {
    pub fn index(&self) -> u64 {
        self.of
    }

    /// The source is being asked: from now on an abandoned exchange is the caller's doing.
    pub fn forwarded(&mut self) {
        self.ended = Some(Ended::CallerAborted);
    }

    /// What the caller is being sent.
    pub fn answering(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// What the caller is shown of it, and where its rows are counted.
    pub fn showing(&mut self, view: &'static str, rows: Option<Arc<AtomicU64>>) {
        (self.view, self.rows) = (Some(view), rows);
    }

    /// Why it will have ended as it does.
    pub fn because(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }

    pub fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Ends the exchange as a refusal after the fact: the source failed, or was busy.
    pub fn fail(mut self, ended: Ended, refusal: &Refusal) {
        self.ended = Some(ended);
        self.status = Some(refusal.status().as_u16());
        self.reason = Some(refusal.reason.clone());
    }

    pub fn end(&mut self, ended: Ended) {
        self.ended = Some(ended);
        let _ = self.write();
    }

    /// Ends the exchange as complete. The outcome is durable when what this returns is ready; `None`: there is none.
    pub fn conclude(&mut self) -> Option<Appending> {
        self.ended = Some(Ended::Complete);
        self.write()
    }

    fn write(&mut self) -> Option<Appending> {
        if std::mem::replace(&mut self.done, true) {
            return None;
        }
        // Whoever seems to go away then is sent away.
        if self.ended == Some(Ended::CallerAborted) && self.cut_off.is_cancelled() {
            self.ended = Some(Ended::BrokerStopped);
        }
        let common = self.log.common();
        let duration = common.time.millis() - self.started.millis();
        let mut members = Members::with_capacity(512);
        members.count("of", self.of);
        members.text("request", self.request.to_string());
        members.text("ended", self.ended.unwrap_or(Ended::NotForwarded).as_str());
        members.count("bytes", self.bytes);
        members.int("duration_ms", duration.max(0));
        text_if(&mut members, "view", self.view);
        if let Some(rows) = &self.rows {
            members.count("rows", rows.load(Ordering::Relaxed));
        }
        if let Some(status) = self.status {
            members.int("status", i64::from(status));
        }
        text_if(&mut members, "reason", self.reason.take().as_ref().map(Reason::as_str));
        match Draft::new(Kind::Outcome, &common, Some(&self.organisation), members, Vec::new()) {
            Ok(mut draft) => {
                draft.effect = Effect::Closes(self.of);
                Some(self.log.append_outcome(draft))
            }
            Err(error) => {
                tracing::error!(%error, request = %self.request, "an outcome could not be written");
                None
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let _ = self.write();
    }
}

/// Failed logins: one entry each within a budget per client prefix and issuer, counted beyond it.
#[derive(Debug)]
pub struct RefusedLogins {
    /// Entries per prefix, issuer and minute.
    per_minute: u32,
    state: std::sync::Mutex<LoginBudget>,
}

#[derive(Debug, Default)]
struct LoginBudget {
    minute: i64,
    /// Entries under all budgets.
    written: u32,
    used: std::collections::HashMap<(Prefix, Option<String>), u32>,
    /// Beyond the budget, by reason.
    counted: BTreeMap<Reason, u64>,
}

/// /24 of IPv4, /64 of IPv6: what one stranger usually controls.
type Prefix = [u8; 8];

/// One minute keeps at most this many budgets; logins beyond are only counted, so memory is bounded.
const BUDGETS_MAX: usize = 4_096;
/// Budgets that may be used up in one minute. Who has an IPv6 /48 has 65,536 prefixes; 20 times 60 entries a minute are a
/// gigabyte and a half in a day.
const BUDGETS_FULL_MAX: u32 = 20;

fn prefix(ip: IpAddr) -> Prefix {
    let mut prefix = [0; 8];
    match ip.to_canonical() {
        IpAddr::V4(v4) => prefix.iter_mut().zip(v4.octets().into_iter().take(3)).for_each(|(p, o)| *p = o),
        IpAddr::V6(v6) => prefix.iter_mut().zip(v6.octets()).for_each(|(p, o)| *p = o),
    }
    prefix
}

/// A failed login as it is recorded.
#[derive(Debug)]
pub struct RefusedLogin<'a> {
    pub request: RequestId,
    pub reason: &'a Reason,
    /// Whose token it claimed to be, if that issuer is known.
    pub issuer: Option<&'a str>,
    pub peer: IpAddr,
    pub country: Option<Country>,
    pub user_agent: Option<&'a str>,
    /// None of these two where a certificate was refused in the TLS handshake.
    pub method: Option<&'a str>,
    pub path: Option<String>,
}

impl RefusedLogins {
    pub fn new(per_minute: u32) -> Arc<Self> {
        Arc::new(Self { per_minute, state: std::sync::Mutex::default() })
    }

    /// Records or counts a failed login.
    ///
    /// # Errors
    /// 503 when an entry was due and could not be written.
    pub async fn record(&self, log: &Log, login: &RefusedLogin<'_>) -> Result<(), Refusal> {
        let common = log.common();
        let (write, counted) = self.charge(common.time, login);
        if let Some(counted) = counted {
            self.say(log, counted).await?;
        }
        if !write {
            return Ok(());
        }
        let mut disclosures = vec![disclose(CommitmentClass::Network, network(login.peer, login.user_agent))];
        if let Some(path) = &login.path {
            disclosures.push(disclose(CommitmentClass::Payload, Value::object([("path", Value::text(path.as_str()))])));
        }
        let mut members = Members::default();
        members.text("request", login.request.to_string());
        members.texts("reasons", [login.reason.as_str()]);
        text_if(&mut members, "method", login.method.map(method_name));
        text_if(&mut members, "issuer", login.issuer);
        text_if(&mut members, "country", login.country);
        // No organisation: a credential that failed speaks for nobody, and must not touch anybody's sequence.
        let draft = Draft::new(Kind::RefusedLogin, &common, None, members, disclosures)
            .map_err(|e| Refusal::new(Reason::NOT_RECORDED, e.to_string()))?;
        log.append(draft).await.map(drop).map_err(|e| not_recorded(&e))
    }

    /// Writes what was counted and not yet said; called at the end of a minute and on shutdown.
    ///
    /// # Errors
    /// 503 when it cannot be written.
    pub async fn flush(&self, log: &Log) -> Result<(), Refusal> {
        let counted = {
            let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::take(&mut state.counted)
        };
        if counted.is_empty() { Ok(()) } else { self.say(log, counted).await }
    }

    /// Writes the counts, or keeps them for the next time.
    async fn say(&self, log: &Log, counted: BTreeMap<Reason, u64>) -> Result<(), Refusal> {
        let written = append_counted(log, &counted).await;
        if written.is_err() {
            let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for (reason, n) in counted {
                *state.counted.entry(reason).or_default() += n;
            }
        }
        written
    }

    fn charge(&self, now: Timestamp, login: &RefusedLogin<'_>) -> (bool, Option<BTreeMap<Reason, u64>>) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let minute = now.seconds() / 60;
        let mut due = None;
        if state.minute != minute {
            state.minute = minute;
            state.used.clear();
            state.written = 0;
            let counted = std::mem::take(&mut state.counted);
            due = (!counted.is_empty()).then_some(counted);
        }
        let left = state.written < self.per_minute.saturating_mul(BUDGETS_FULL_MAX);
        let room = state.used.len() < BUDGETS_MAX;
        // Only issuers of the registry are named here, so a stranger cannot make up budgets.
        let key = (prefix(login.peer), login.issuer.map(str::to_owned));
        let write = match state.used.get_mut(&key) {
            Some(used) if left && *used < self.per_minute => {
                *used += 1;
                true
            }
            None if left && room && self.per_minute > 0 => {
                state.used.insert(key, 1);
                true
            }
            _ => false,
        };
        if write {
            state.written += 1;
        } else {
            *state.counted.entry(login.reason.clone()).or_default() += 1;
        }
        (write, due)
    }
}

async fn append_counted(log: &Log, counted: &BTreeMap<Reason, u64>) -> Result<(), Refusal> {
    let counts = Value::object(
        counted.iter().map(|(r, n)| (r.as_str().to_owned(), Value::int(i64::try_from(*n).unwrap_or(i64::MAX)))),
    );
    let draft = Draft::new(Kind::RefusedLogins, &log.common(), None, [("counts", counts)], Vec::new())
        .map_err(|e| Refusal::new(Reason::NOT_RECORDED, e.to_string()))?;
    log.append(draft).await.map(drop).map_err(|e| not_recorded(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charged(logins: &RefusedLogins, minute: i64, ip: [u16; 4]) -> bool {
        let [a, b, c, d] = ip;
        let login = RefusedLogin {
            request: RequestId::new(Timestamp(0), [0; 10]),
            reason: &Reason::MALFORMED_TOKEN,
            issuer: None,
            peer: IpAddr::from([a, b, c, d, 0, 0, 0, 1]),
            country: None,
            user_agent: None,
            method: None,
            path: None,
        };
        logins.charge(Timestamp(minute * 60_000), &login).0
    }

    #[test]
    fn a_stranger_with_a_whole_network_cannot_fill_the_log() {
        let logins = RefusedLogins::new(60);
        let written = (0..60_000_u16).filter(|n| charged(&logins, 0, [0x2001, 0xdb8, 1, *n])).count();
        assert_eq!(written, 1_200);
        // One prefix alone, and everybody again in the next minute.
        assert_eq!((0..100).filter(|_| charged(&logins, 1, [0x2001, 0xdb8, 1, 1])).count(), 60);
        assert!(charged(&logins, 1, [0x2001, 0xdb8, 1, 2]));
    }
}
