//! Asks one issuer about its opaque tokens, once at a time for each, and remembers what it said.
//!
//! A remembered answer counts for `cache_ms` from the moment when the question was asked, whatever it was, and not one
//! moment longer: nothing that an issuer has withdrawn outlives that because the issuer cannot be reached.

use super::answer::Answer;
use super::question::{Question, Said};
use super::share::{Rate, Share, Shares};
use crate::IdentityOptions;
use crate::refusal::Refusal;
use model::party::Issuer;
use model::{Digest, IssuerId, Reason, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Of each kind. One answer has some 16 KiB at most, one hundredth of that usually.
const ANSWERS_MAX: usize = 10_000;

/// So long after its last good answer a token has its part in the share of known ones.
const KNOWN_MS: i64 = 10 * 60_000;

#[derive(Debug)]
pub(crate) struct Desk {
    question: Question,
    cache_ms: i64,
    timeout: Duration,
    shares: Shares,
    /// Held for a few instructions, never over an await.
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Kept beyond their time: whoever counted a moment ago is no stranger.
    active: HashMap<Digest, (Arc<Answer>, Timestamp)>,
    inactive: HashMap<Digest, Timestamp>,
    running: HashMap<Digest, Flight>,
    rate: Rate,
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
        Some(Self { question, cache_ms, timeout, shares: Shares::default(), memory: Mutex::default() })
    }

    pub(crate) fn issuer(&self) -> &IssuerId {
        self.question.issuer()
    }

    /// Whether these are the answers of `issuer` as it is configured now.
    pub(crate) fn serves(&self, issuer: &Issuer) -> bool {
        self.question.is_to(issuer)
    }

    /// What the issuer says of this token, now or a moment ago.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        token: &str,
        fingerprint: Digest,
        now: Timestamp,
    ) -> Result<Arc<Answer>, Refusal> {
        let mut outcome = match self.begin(token, fingerprint, now)? {
            Begun::Known(outcome) => return outcome.into_result(),
            Begun::Running(outcome) => outcome,
        };
        let ended = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        ended.unwrap_or(Outcome::Unavailable).into_result()
    }

    fn begin(self: &Arc<Self>, token: &str, fingerprint: Digest, now: Timestamp) -> Result<Begun, Refusal> {
        let mut memory = self.memory();
        if let Some(outcome) = memory.fresh(&fingerprint, now, self.cache_ms) {
            return Ok(Begun::Known(outcome));
        }
        if let Some(flight) = memory.running.get(&fingerprint)
            && flight.counts(now, self.cache_ms)
        {
            return Ok(Begun::Running(flight.outcome.clone()));
        }
        let is_known = memory.is_known(&fingerprint, now);
        let share = self.shares.take(is_known, &mut memory.rate, now).ok_or_else(busy)?;
        let (said, outcome) = watch::channel(None);
        memory.running.insert(fingerprint, Flight { asked_at: now, outcome: outcome.clone() });
        drop(memory);
        let (desk, token) = (Arc::clone(self), token.to_owned());
        // A task of its own: a caller that hangs up does not end it for the others.
        tokio::spawn(async move {
            let outcome = desk.outcome(share, &token, fingerprint, now).await;
            desk.memory().settle(fingerprint, now, &outcome, desk.cache_ms);
            said.send_replace(Some(outcome));
        });
        Ok(Begun::Running(outcome))
    }

    async fn outcome(&self, share: Share, token: &str, fingerprint: Digest, now: Timestamp) -> Outcome {
        let asked = async {
            let _turn = share.turn().await;
            self.question.put(token, now).await
        };
        let issuer = self.issuer();
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(Said::Active(claims))) => match Answer::new(claims, fingerprint) {
                Ok(answer) => Outcome::Active(Arc::new(answer)),
                Err(refusal) => Outcome::Unusable(refusal.reason),
            },
            Ok(Ok(Said::Inactive)) => Outcome::Inactive,
            Ok(Err(error)) => {
                tracing::warn!(%issuer, %error, "the issuer could not be asked about a token");
                Outcome::Unavailable
            }
            Err(_) => {
                tracing::warn!(%issuer, timeout = ?self.timeout, "the issuer did not say in time what a token is");
                Outcome::Unavailable
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Begun {
    Known(Outcome),
    Running(watch::Receiver<Option<Outcome>>),
}

// === impl Memory ===

impl Memory {
    fn fresh(&self, token: &Digest, now: Timestamp, cache_ms: i64) -> Option<Outcome> {
        let counts = |asked_at: &Timestamp| !are_apart(*asked_at, now, cache_ms);
        if self.inactive.get(token).is_some_and(counts) {
            return Some(Outcome::Inactive);
        }
        let (answer, _) = self.active.get(token).filter(|(_, asked_at)| counts(asked_at))?;
        Some(Outcome::Active(Arc::clone(answer)))
    }

    fn is_known(&self, token: &Digest, now: Timestamp) -> bool {
        self.active.get(token).is_some_and(|(_, asked_at)| !are_apart(*asked_at, now, KNOWN_MS))
    }

    /// Two questions about one token can overtake each other: the later one counts.
    fn settle(&mut self, token: Digest, asked_at: Timestamp, outcome: &Outcome, cache_ms: i64) {
        if self.running.get(&token).is_some_and(|flight| flight.asked_at == asked_at) {
            self.running.remove(&token);
        }
        let later = [self.active.get(&token).map(|(_, at)| *at), self.inactive.get(&token).copied()];
        if later.into_iter().flatten().any(|at| at > asked_at && !are_apart(at, asked_at, KNOWN_MS)) {
            return;
        }
        match outcome {
            Outcome::Active(answer) => {
                self.inactive.remove(&token);
                self.make_room_for_active(asked_at);
                self.active.insert(token, (Arc::clone(answer), asked_at));
            }
            Outcome::Inactive => {
                self.active.remove(&token);
                self.keep_inactive(token, asked_at, cache_ms);
            }
            Outcome::Unusable(_) => {
                self.active.remove(&token);
            }
            Outcome::Unavailable => {}
        }
    }

    fn make_room_for_active(&mut self, now: Timestamp) {
        if self.active.len() < ANSWERS_MAX {
            return;
        }
        self.active.retain(|_, (_, asked_at)| !are_apart(*asked_at, now, KNOWN_MS));
        if self.active.len() >= ANSWERS_MAX {
            let oldest = self.active.iter().min_by_key(|(_, (_, asked_at))| *asked_at).map(|(token, _)| *token);
            oldest.map(|token| self.active.remove(&token));
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

fn busy() -> Refusal {
    unavailable("too many unknown tokens at the moment, and each is a question to its issuer")
}

fn unavailable(detail: &'static str) -> Refusal {
    Refusal::new(Reason::ISSUER_UNAVAILABLE, detail)
}
