//! Asks one issuer about its opaque tokens, once at a time for each, and remembers what it said.
//!
//! A remembered answer counts for `cache_ms` from the moment when the question was asked, whatever it was, and not one
//! moment longer: nothing that an issuer has withdrawn outlives that because the issuer cannot be reached.

use super::answer::Answer;
use super::question::{Question, Said};
use super::share::{Rate, Share, Shares};
use crate::IdentityOptions;
use crate::explain::Failure;
use crate::refusal::Refusal;
use crate::waiting::{OTHERS_MAX, Place, STRANGERS_MAX, WaitingRoom};
use model::party::Issuer;
use model::{Digest, IssuerId, Reason, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Of each kind.
const ANSWERS_MAX: usize = 10_000;

/// A larger answer is asked for again each time.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Failures are told this far apart at least, whatever the issuer answers and however often.
const TELL_AGAIN_MS: i64 = 60_000;

/// So long after its last good answer a token has its part in the share of known ones.
const KNOWN_MS: i64 = 10 * 60_000;

#[derive(Debug)]
pub(crate) struct Desk {
    question: Question,
    cache_ms: i64,
    timeout: Duration,
    shares: Shares,
    /// Requests that wait for an answer, by what is known of their token.
    known: WaitingRoom,
    strangers: WaitingRoom,
    /// What remembered answers may take.
    bytes_max: AtomicUsize,
    /// Held for a few instructions, never over an await.
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Kept beyond their time: whoever counted a moment ago is no stranger.
    active: HashMap<Digest, Arc<Answer>>,
    /// Of them all.
    bytes: usize,
    inactive: HashMap<Digest, Timestamp>,
    running: HashMap<Digest, Flight>,
    rate: Rate,
    outage: Outage,
    /// Of the latest question, if it had no answer.
    failure: Option<Failure>,
}

/// What the operator has been told.
#[derive(Debug, Default)]
struct Outage {
    told_at: Option<Timestamp>,
    lasts: bool,
}

/// A question on its way.
#[derive(Clone, Debug)]
struct Flight {
    asked_at: Timestamp,
    outcome: watch::Receiver<Option<Outcome>>,
}

#[derive(Clone, Debug)]
enum Outcome {
    Active(Arc<Answer>),
    Inactive,
    /// The answer cannot be used, for a reason that lies in it.
    Unusable(Reason),
    /// There is no answer.
    Unavailable,
}

// === impl Desk ===

impl Desk {
    /// `None` for an issuer without opaque tokens. Asks nobody.
    pub(crate) fn open(issuer: &Issuer, options: &IdentityOptions) -> Option<Self> {
        let question = Question::new(issuer)?;
        let cache_ms = i64::try_from(question.introspection().cache_ms).unwrap_or(0);
        let timeout = Duration::from_millis(options.fetch_timeout_ms);
        Some(Self {
            question,
            cache_ms,
            timeout,
            shares: Shares::default(),
            known: WaitingRoom::new(OTHERS_MAX),
            strangers: WaitingRoom::new(STRANGERS_MAX),
            bytes_max: AtomicUsize::default(),
            memory: Mutex::default(),
        })
    }

    /// From now on its answers take no more than this.
    pub(crate) fn allot(&self, bytes: usize) {
        self.bytes_max.store(bytes, Relaxed);
    }

    /// Remembers an answer by which a token was accepted. One that was refused is not worth the place: its issuer would
    /// choose what fills our memory.
    pub(crate) fn keep(&self, answer: &Arc<Answer>) {
        self.memory().keep(answer, self.bytes_max.load(Relaxed));
    }

    pub(crate) fn issuer(&self) -> &IssuerId {
        self.question.issuer()
    }

    /// Whether these are the answers of `issuer` as it is configured now.
    pub(crate) fn serves(&self, issuer: &Issuer) -> bool {
        self.question.is_to(issuer)
    }

    /// Why the latest question had no answer that can be used, if so.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.memory().failure.clone()
    }

    /// What the issuer says of this token, now or a moment ago.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        token: &str,
        fingerprint: Digest,
        now: Timestamp,
    ) -> Result<Arc<Answer>, Refusal> {
        let (mut outcome, _place) = match self.begin(token, fingerprint, now)? {
            Begun::Known(outcome) => return outcome.into_result(),
            Begun::Running(outcome, place) => (outcome, place),
        };
        let ended = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        ended.unwrap_or(Outcome::Unavailable).into_result()
    }

    fn begin(self: &Arc<Self>, token: &str, fingerprint: Digest, now: Timestamp) -> Result<Begun, Refusal> {
        let mut memory = self.memory();
        if let Some(outcome) = memory.fresh(&fingerprint, now, self.cache_ms) {
            return Ok(Begun::Known(outcome));
        }
        let is_known = memory.is_known(&fingerprint, now);
        let place = if is_known { &self.known } else { &self.strangers }.enter().ok_or_else(crowded)?;
        if let Some(flight) = memory.running.get(&fingerprint)
            && flight.counts(now, self.cache_ms)
        {
            return Ok(Begun::Running(flight.outcome.clone(), Some(place)));
        }
        let share = self.shares.take(is_known, &mut memory.rate, now).ok_or_else(busy)?;
        let (said, outcome) = watch::channel(None);
        memory.running.insert(fingerprint, Flight { asked_at: now, outcome: outcome.clone() });
        drop(memory);
        let (desk, token) = (Arc::clone(self), token.to_owned());
        // A task of its own: a caller that hangs up does not end it for the others.
        tokio::spawn(async move {
            // With the question, not with the caller: who hangs up and comes again has two under way.
            let _place = place;
            let outcome = desk.outcome(share, &token, fingerprint, now).await;
            desk.memory().settle(fingerprint, now, &outcome, &desk);
            said.send_replace(Some(outcome));
        });
        Ok(Begun::Running(outcome, None))
    }

    async fn outcome(&self, share: Share, token: &str, fingerprint: Digest, now: Timestamp) -> Outcome {
        let asked = async {
            let _turn = share.turn().await;
            self.question.put(token, now, self.timeout).await
        };
        let (outcome, failure) = match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(Said::Active(claims))) => match Answer::new(claims, fingerprint, now) {
                Ok(answer) => (Outcome::Active(Arc::new(answer)), None),
                Err(refusal) => (Outcome::Unusable(refusal.reason), None),
            },
            Ok(Ok(Said::Inactive)) => (Outcome::Inactive, None),
            Ok(Err(error)) => (Outcome::Unavailable, Some(error.into())),
            Err(_) => (Outcome::Unavailable, Some(Failure::Question(format!("no answer within {:?}", self.timeout)))),
        };
        self.note(failure, now);
        outcome
    }

    /// An outage is told once, and no oftener than now and then if it comes and goes.
    fn note(&self, failure: Option<Failure>, now: Timestamp) {
        let issuer = self.issuer();
        let mut memory = self.memory();
        let told = memory.outage.note(failure.is_some(), now);
        memory.failure.clone_from(&failure);
        drop(memory);
        match failure {
            Some(Failure::Question(error) | Failure::Credentials(error)) if told => {
                tracing::warn!(%issuer, error, "the issuer could not be asked about a token");
            }
            None if told => tracing::info!(%issuer, "the issuer can be asked about tokens again"),
            _ => {}
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Begun {
    Known(Outcome),
    /// With the place of who only joins.
    Running(watch::Receiver<Option<Outcome>>, Option<Place>),
}

// === impl Outage ===

impl Outage {
    /// Whether to tell that it has begun, or that it is over. The end of one that was not told is not told either.
    fn note(&mut self, fails: bool, now: Timestamp) -> bool {
        if fails == self.lasts {
            return false;
        }
        if fails && self.told_at.is_some_and(|told_at| !are_apart(told_at, now, TELL_AGAIN_MS)) {
            return false;
        }
        self.lasts = fails;
        if fails {
            self.told_at = Some(now);
        }
        true
    }
}

// === impl Memory ===

impl Memory {
    fn fresh(&self, token: &Digest, now: Timestamp, cache_ms: i64) -> Option<Outcome> {
        let counts = |asked_at: &Timestamp| !are_apart(*asked_at, now, cache_ms);
        if self.inactive.get(token).is_some_and(counts) {
            return Some(Outcome::Inactive);
        }
        let answer = self.active.get(token).filter(|answer| counts(&answer.asked_at))?;
        Some(Outcome::Active(Arc::clone(answer)))
    }

    fn is_known(&self, token: &Digest, now: Timestamp) -> bool {
        self.active.get(token).is_some_and(|answer| !are_apart(answer.asked_at, now, KNOWN_MS))
    }

    /// Two questions about one token can overtake each other: the later one counts.
    fn settle(&mut self, token: Digest, asked_at: Timestamp, outcome: &Outcome, desk: &Desk) {
        if self.running.get(&token).is_some_and(|flight| flight.asked_at == asked_at) {
            self.running.remove(&token);
        }
        let later = [self.active.get(&token).map(|answer| answer.asked_at), self.inactive.get(&token).copied()];
        if later.into_iter().flatten().any(|at| at > asked_at && !are_apart(at, asked_at, KNOWN_MS)) {
            return;
        }
        match outcome {
            Outcome::Active(answer) => {
                self.inactive.remove(&token);
                // A new one waits until its token is accepted.
                if self.active.contains_key(&token) {
                    self.insert(answer, desk.bytes_max.load(Relaxed));
                }
            }
            Outcome::Inactive => {
                self.remove(&token);
                self.keep_inactive(token, asked_at, desk.cache_ms);
            }
            Outcome::Unusable(_) => self.remove(&token),
            Outcome::Unavailable => {}
        }
    }

    /// Unless something is known that is as new.
    fn keep(&mut self, answer: &Arc<Answer>, bytes_max: usize) {
        let token = &answer.fingerprint;
        let known = [self.active.get(token).map(|answer| answer.asked_at), self.inactive.get(token).copied()];
        if !known.into_iter().flatten().any(|at| at >= answer.asked_at && !are_apart(at, answer.asked_at, KNOWN_MS)) {
            self.insert(answer, bytes_max);
        }
    }

    fn insert(&mut self, answer: &Arc<Answer>, bytes_max: usize) {
        self.remove(&answer.fingerprint);
        if answer.bytes > ANSWER_BYTES_MAX.min(bytes_max) {
            return;
        }
        self.make_room(answer, bytes_max);
        self.bytes += answer.bytes;
        self.active.insert(answer.fingerprint, Arc::clone(answer));
    }

    fn remove(&mut self, token: &Digest) {
        if let Some(answer) = self.active.remove(token) {
            self.bytes = self.bytes.saturating_sub(answer.bytes);
        }
    }

    /// For one more. A quarter more than it takes, so that this is not done for each.
    fn make_room(&mut self, answer: &Answer, bytes_max: usize) {
        let fits = |memory: &Self, parts: usize| {
            memory.active.len() < ANSWERS_MAX / 4 * parts && memory.bytes + answer.bytes <= bytes_max / 4 * parts
        };
        if fits(self, 4) {
            return;
        }
        let mut all: Vec<(Timestamp, Digest)> = self.active.iter().map(|(token, a)| (a.asked_at, *token)).collect();
        all.sort_unstable();
        for (_, token) in all {
            if fits(self, 3) {
                return;
            }
            self.remove(&token);
        }
    }

    fn keep_inactive(&mut self, token: Digest, asked_at: Timestamp, cache_ms: i64) {
        if self.inactive.len() >= ANSWERS_MAX {
            self.inactive.retain(|_, at| !are_apart(*at, asked_at, cache_ms));
        }
        // Else it is asked again, at the rate of strangers.
        if self.inactive.len() < ANSWERS_MAX {
            self.inactive.insert(token, asked_at);
        }
    }
}

impl Flight {
    /// Its answer will be as good as a remembered one. A task that ended without an answer has none.
    fn counts(&self, now: Timestamp, cache_ms: i64) -> bool {
        !are_apart(self.asked_at, now, cache_ms) && self.outcome.has_changed().is_ok()
    }
}

impl Outcome {
    fn into_result(self) -> Result<Arc<Answer>, Refusal> {
        match self {
            Self::Active(answer) => Ok(answer),
            Self::Inactive => {
                Err(Refusal::new(Reason::TOKEN_INACTIVE, "its issuer says that the token does not count"))
            }
            Self::Unusable(reason) => Err(Refusal::new(reason, "what the issuer says of the token cannot be checked")),
            Self::Unavailable => Err(unavailable("the token's issuer cannot be asked at the moment")),
        }
    }
}

/// In either direction: requests bring slightly different times, and a clock that was set back must not keep an answer
/// alive.
fn are_apart(a: Timestamp, b: Timestamp, ms: i64) -> bool {
    a.millis().saturating_sub(b.millis()).saturating_abs() >= ms
}

fn crowded() -> Refusal {
    unavailable("too many requests wait for the token's issuer at the moment")
}

fn busy() -> Refusal {
    unavailable("too many unknown tokens at the moment, and each is a question to its issuer")
}

fn unavailable(detail: &'static str) -> Refusal {
    Refusal::new(Reason::ISSUER_UNAVAILABLE, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Object;

    const NOW: Timestamp = Timestamp(1_795_375_200_000);

    #[test]
    fn remembered_answers_have_a_number_of_bytes() {
        let mut memory = Memory::default();
        let answer = |n: i64| {
            let claims = format!(r#"{{"sub":"{}"}}"#, "x".repeat(500));
            let claims = Object::parse(claims.as_bytes()).unwrap().into_owned();
            Arc::new(Answer::new(claims, Digest::of(&n.to_le_bytes()), NOW.plus_millis(n)).unwrap())
        };
        for n in 0..1_000 {
            memory.keep(&answer(n), 20_000);
            assert!(memory.bytes <= 20_000);
            assert!(memory.active.contains_key(&answer(n).fingerprint), "the newest stays");
        }
        assert!(memory.active.len() > 10);
        assert_eq!(memory.bytes, memory.active.values().map(|answer| answer.bytes).sum::<usize>());
        memory.keep(&answer(1_000), 100);
        assert!(!memory.active.contains_key(&answer(1_000).fingerprint));
    }

    #[test]
    fn an_endpoint_that_fails_on_and_off_does_not_fill_the_log() {
        let mut outage = Outage::default();
        let told = (0..10_000).filter(|n| outage.note(n % 2 == 0, NOW.plus_millis(*n))).count();
        assert_eq!(told, 2, "that it began and that it was over");
        assert!(outage.note(true, NOW.plus_millis(TELL_AGAIN_MS)));
        assert!(!outage.note(true, NOW.plus_millis(3 * TELL_AGAIN_MS)), "it is the same outage");
        assert!(outage.note(false, NOW.plus_millis(3 * TELL_AGAIN_MS)));
    }
}
