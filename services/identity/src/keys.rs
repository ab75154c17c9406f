//! One issuer's keys: fetched on first use, refreshed beside the requests, kept through an outage.
//!
//! A request waits for a fetch only when no keys are known, or when its `kid` is not among them. All requests that wait
//! share one fetch, and strangers cannot cause more than one per interval. The fetch is a task of its own: a caller that
//! hangs up does not end it for the others.

use crate::fetch::{self, Endpoint, FetchError};
use crate::jwk::{Key, KeySet, NoKey};
use crate::refusal::Refusal;
use crate::{IdentityOptions, IssuerStatus};
use arc_swap::ArcSwapOption;
use model::party::{Issuer, SignatureAlgorithm};
use model::{IssuerId, Reason, Timestamp};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct KeyCache {
    endpoint: Endpoint,
    options: Arc<IdentityOptions>,
    keys: ArcSwapOption<Fetched>,
    /// Held for a few instructions, never over an await.
    gate: Mutex<Gate>,
}

#[derive(Debug)]
struct Fetched {
    set: KeySet,
    at: Timestamp,
    refresh_after_ms: i64,
}

/// Who may start a fetch now.
#[derive(Debug, Default)]
struct Gate {
    /// Closed when the running fetch ends, however it ends.
    running: Option<watch::Receiver<()>>,
    started_at: Option<Timestamp>,
    started_for_unknown_at: Option<Timestamp>,
    failure: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// There are no keys, or it is time.
    Due,
    /// A caller names a key that is not known.
    UnknownKey,
}

// === impl KeyCache ===

impl KeyCache {
    pub(crate) fn new(issuer: &Issuer, options: &Arc<IdentityOptions>) -> Self {
        Self {
            endpoint: Endpoint { issuer: issuer.url.clone(), ca_file: issuer.ca_file.clone() },
            options: Arc::clone(options),
            keys: ArcSwapOption::empty(),
            gate: Mutex::default(),
        }
    }

    /// Whether these are the keys of `issuer` as it is configured now.
    pub(crate) fn serves(&self, issuer: &Issuer) -> bool {
        self.endpoint.issuer == issuer.url && self.endpoint.ca_file == issuer.ca_file
    }

    /// The key for a token with this `kid` and `alg`.
    pub(crate) async fn find(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: SignatureAlgorithm,
        now: Timestamp,
    ) -> Result<Arc<Key>, Refusal> {
        let cause = match self.fresh_enough(now) {
            Some(fetched) => {
                if fetched.is_due(now) {
                    self.start(Cause::Due, now);
                }
                match fetched.set.find(id, algorithm) {
                    Err(NoKey::Unknown) => Cause::UnknownKey,
                    found => return found.map_err(|none| self.refusal(none)),
                }
            }
            None => Cause::Due,
        };
        self.fetched(cause, now).await;
        let fetched = self.fresh_enough(now).ok_or_else(unavailable)?;
        fetched.set.find(id, algorithm).map_err(|none| self.refusal(none))
    }

    pub(crate) fn status(&self, issuer: &IssuerId) -> IssuerStatus {
        let fetched = self.keys.load();
        IssuerStatus {
            issuer: issuer.clone(),
            keys: fetched.as_ref().map_or(0, |fetched| fetched.set.len()),
            fetched_at: fetched.as_ref().map(|fetched| fetched.at),
            failure: self.gate().failure.clone(),
        }
    }

    /// The last good keys, unless they are too old to count.
    fn fresh_enough(&self, now: Timestamp) -> Option<Arc<Fetched>> {
        self.keys.load_full().filter(|fetched| !are_apart(fetched.at, now, self.options.stale_max_ms))
    }

    /// While the issuer cannot be asked, nobody knows whether it has such a key: the caller may try again.
    fn refusal(&self, none: NoKey) -> Refusal {
        match none {
            NoKey::Unknown if self.gate().failure.is_some() => unavailable(),
            NoKey::Unknown => Refusal::new(Reason::UNKNOWN_KEY, "the issuer has no such key for this algorithm"),
            NoKey::Ambiguous => Refusal::new(Reason::UNKNOWN_KEY, "several keys of the issuer would fit"),
        }
    }

    /// Returns when a fetch that was running or could be started has ended; at once if none may be started.
    async fn fetched(self: &Arc<Self>, cause: Cause, now: Timestamp) {
        if let Some(mut running) = self.start(cause, now) {
            // Nothing is ever sent: the task drops its end.
            while running.changed().await.is_ok() {}
        }
    }

    /// Joins the running fetch, or starts one if that is allowed now.
    fn start(self: &Arc<Self>, cause: Cause, now: Timestamp) -> Option<watch::Receiver<()>> {
        let mut gate = self.gate();
        if let Some(running) = gate.running() {
            return Some(running);
        }
        if !gate.may_start(cause, now, &self.options) {
            return None;
        }
        let (done, running) = watch::channel(());
        gate.running = Some(running.clone());
        let cache = Arc::clone(self);
        tokio::spawn(async move {
            cache.fetch(now).await;
            drop(done);
        });
        Some(running)
    }

    async fn fetch(&self, now: Timestamp) {
        let fetched = self.fetch_set(now).await;
        if let Err(error) = &fetched {
            tracing::warn!(issuer = self.endpoint.issuer, %error, "the issuer's keys could not be fetched");
        }
        let failure = fetched.as_ref().err().map(ToString::to_string);
        if let Ok(fetched) = fetched {
            tracing::debug!(issuer = self.endpoint.issuer, keys = fetched.set.len(), "issuer's keys fetched");
            self.keys.store(Some(Arc::new(fetched)));
        }
        self.gate().failure = failure;
    }

    async fn fetch_set(&self, now: Timestamp) -> Result<Fetched, FetchError> {
        let document = fetch::key_set(&self.endpoint, Duration::from_millis(self.options.fetch_timeout_ms)).await?;
        let options = &self.options;
        let asked_ms = document.max_age_seconds.map(|seconds| i64::from(seconds) * 1000);
        let refresh_after_ms = asked_ms
            .map_or(options.refresh_default_ms, |ms| ms.min(options.refresh_max_ms).max(options.refresh_min_ms));
        Ok(Fetched { set: KeySet::parse(&document.body)?, at: now, refresh_after_ms })
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetched {
    fn is_due(&self, now: Timestamp) -> bool {
        are_apart(self.at, now, self.refresh_after_ms)
    }
}

// === impl Gate ===

impl Gate {
    fn running(&self) -> Option<watch::Receiver<()>> {
        // An error says that the sender is gone.
        self.running.clone().filter(|running| running.has_changed().is_ok())
    }

    /// Says yes at most once per interval, and notes it.
    fn may_start(&mut self, cause: Cause, now: Timestamp, options: &IdentityOptions) -> bool {
        let (last, interval_ms) = match cause {
            Cause::Due => (self.started_at, options.retry_interval_ms),
            // Apart from the others' time, so that a key which is new right after a regular refresh is found.
            Cause::UnknownKey => (self.started_for_unknown_at, options.unknown_key_interval_ms),
        };
        if last.is_some_and(|last| !are_apart(last, now, interval_ms)) {
            return false;
        }
        self.started_at = Some(now);
        if cause == Cause::UnknownKey {
            self.started_for_unknown_at = Some(now);
        }
        true
    }
}

/// In either direction: requests bring slightly different times, and a clock that was set back must not freeze the keys.
fn are_apart(a: Timestamp, b: Timestamp, ms: i64) -> bool {
    a.millis().saturating_sub(b.millis()).saturating_abs() >= ms
}

fn unavailable() -> Refusal {
    Refusal::new(Reason::ISSUER_UNAVAILABLE, "the issuer's keys cannot be fetched at the moment")
}
