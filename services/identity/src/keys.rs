//! One issuer's keys: fetched on first use, refreshed beside the requests, kept through an outage.
//!
//! A request waits for a fetch only when no keys are known, when nobody has used the issuer for so long that its keys may
//! have been withdrawn, or when its `kid` is not among them. All requests that wait share one fetch, and strangers cannot
//! cause more than one per interval. The fetch is a task of its own: a caller that hangs up does not end it for the others.

mod gate;

use crate::fetch::{self, Endpoint, FetchError};
use crate::jwk::{Key, KeySet, NoKey};
use crate::refusal::Refusal;
use crate::stored::KeyFile;
use crate::waiting::{OTHERS_MAX, STRANGERS_MAX, WaitingRoom};
use crate::{FetchCounts, IdentityOptions, IssuerStatus};
use arc_swap::ArcSwapOption;
use gate::{Begun, Cause, Failure, Gate};
use model::party::{Issuer, KeyLocation, SignatureAlgorithm};
use model::{Digest, IssuerId, Reason, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A key file is looked at this often while tokens of its issuer come in, whatever came of the last look: nobody at another
/// company is spared by waiting for longer.
const FILE_INTERVAL_MS: i64 = 1_000;

#[derive(Debug)]
pub(crate) struct KeyCache {
    endpoint: Endpoint,
    options: Arc<IdentityOptions>,
    counts: Arc<FetchCounts>,
    outage_max_ms: AtomicI64,
    file: Option<KeyFile>,
    keys: ArcSwapOption<Fetched>,
    /// Held for a few instructions, never over an await.
    gate: Mutex<Gate>,
    /// Requests that wait for a fetch because there are no keys, and those that name one which is not known.
    waiting: WaitingRoom,
    strangers: WaitingRoom,
}

#[derive(Debug)]
struct Fetched {
    set: KeySet,
    at: Timestamp,
    refresh_after_ms: i64,
    /// Since when this process has them, and how old they were then. A clock that is set back must not make them younger.
    held_since: Instant,
    age_then_ms: i64,
}

// === impl KeyCache ===

impl KeyCache {
    pub(crate) fn new(issuer: &Issuer, options: &Arc<IdentityOptions>, counts: &Arc<FetchCounts>) -> Self {
        let endpoint = Endpoint::from(issuer);
        let is_remote = !matches!(endpoint.keys, KeyLocation::File(_));
        let file = options.key_cache.as_deref().filter(|_| is_remote).map(|folder| KeyFile::new(folder, &endpoint));
        let cache = Self {
            endpoint,
            options: if is_remote { Arc::clone(options) } else { Arc::new(for_file(options)) },
            counts: Arc::clone(counts),
            outage_max_ms: AtomicI64::default(),
            file,
            keys: ArcSwapOption::empty(),
            gate: Mutex::default(),
            waiting: WaitingRoom::new(OTHERS_MAX),
            strangers: WaitingRoom::new(STRANGERS_MAX),
        };
        cache.follow(issuer);
        cache
    }

    /// Whether these are the keys of `issuer` as it is configured now.
    pub(crate) fn serves(&self, issuer: &Issuer) -> bool {
        self.endpoint.issuer == issuer.url
            && self.endpoint.keys == issuer.keys
            && self.endpoint.ca_file == issuer.ca_file
            && self.endpoint.token_file == issuer.fetch_token_file
    }

    /// Takes over what may change without a new fetch.
    pub(crate) fn follow(&self, issuer: &Issuer) {
        let ms = i64::try_from(issuer.outage_max_seconds).unwrap_or(i64::MAX).saturating_mul(1000);
        self.outage_max_ms.store(ms, Relaxed);
    }

    /// The key for a token with this `kid` and `alg`: the same value as long as the issuer has this key without a break, so
    /// that what it has verified may be remembered with it. Almost never waits.
    pub(crate) async fn find(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: SignatureAlgorithm,
        now: Timestamp,
    ) -> Result<Arc<Key>, Refusal> {
        let asked_just_now = self.usable(now).is_none() && self.wait(now).await?;
        let found = self.last_good(now).ok_or_else(unavailable)?.set.find(id, algorithm);
        match found {
            Err(NoKey::Unknown) if !asked_just_now => self.ask_for(id, algorithm, now).await,
            found => found.map_err(|none| self.refusal(none)),
        }
    }

    pub(crate) fn is_used(&self) -> bool {
        self.gate().has_started()
    }

    pub(crate) fn status(&self, issuer: &IssuerId) -> IssuerStatus {
        let fetched = self.keys.load();
        let gate = self.gate();
        IssuerStatus {
            issuer: issuer.clone(),
            keys: fetched.as_ref().map_or(0, |fetched| fetched.set.len()),
            fetched_at: fetched.as_ref().map(|fetched| fetched.at),
            failure: gate.failure.as_ref().map(|failure| failure.why.clone()),
        }
    }

    /// The last good keys, unless the issuer has to be asked before they may be used; a refresh is started when it is time.
    fn usable(self: &Arc<Self>, now: Timestamp) -> Option<Arc<Fetched>> {
        let fetched = self.last_good(now)?;
        if fetched.is_due(now) {
            self.start(Cause::Due, now);
            // A withdrawn key must not be good for one more request just because nobody came for hours. When the issuer
            // cannot be asked, waiting for it again would help nobody; a file is
            // there at once.
            if self.is_file() || fetched.is_overdue(now) && self.gate().failure.is_none() {
                return None;
            }
        }
        Some(fetched)
    }

    /// The last good keys, unless they are too old to count.
    fn last_good(&self, now: Timestamp) -> Option<Arc<Fetched>> {
        // However short an outage may be: until they are overdue, the issuer had no need to be asked.
        let age_max_ms = |fetched: &Fetched| self.outage_max_ms.load(Relaxed).max(fetched.overdue_after_ms());
        self.keys.load_full().filter(|fetched| fetched.age_ms(now) < age_max_ms(fetched))
    }

    fn is_file(&self) -> bool {
        matches!(self.endpoint.keys, KeyLocation::File(_))
    }

    /// Asks the issuer for a key that is not known, unless it was asked lately.
    async fn ask_for(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: SignatureAlgorithm,
        now: Timestamp,
    ) -> Result<Arc<Key>, Refusal> {
        let name = name_of(id, algorithm);
        let _place = self.strangers.enter().ok_or_else(crowded)?;
        // A fetch that is under way may have begun before the issuer had the key: then one more.
        for _ in 0..2 {
            let flight = match self.start(Cause::UnknownKey(name), now) {
                Begun::Flight(flight, _) => flight,
                Begun::Asked => return Err(self.refusal(NoKey::Unknown)),
                Begun::TooEarly => return Err(unasked()),
            };
            let is_own = flight.is_own;
            flight.ended().await;
            match self.last_good(now).ok_or_else(unavailable)?.set.find(id, algorithm) {
                Err(NoKey::Unknown) if !is_own => {}
                found => return found.map_err(|none| self.refusal(none)),
            }
        }
        Err(unasked())
    }

    /// While the issuer cannot be asked, nobody knows whether it has such a key: the caller may try again.
    fn refusal(&self, none: NoKey) -> Refusal {
        match none {
            NoKey::Unknown if self.gate().failure.is_some() => unavailable(),
            NoKey::Unknown => Refusal::new(Reason::UNKNOWN_KEY, "the issuer has no such key for this algorithm"),
            NoKey::Ambiguous => Refusal::new(Reason::UNKNOWN_KEY, "several keys of the issuer would fit"),
        }
    }

    /// Returns when a fetch that was running or could be started has ended; at once if none may be started. Says whether
    /// the fetch was begun for this request.
    async fn wait(self: &Arc<Self>, now: Timestamp) -> Result<bool, Refusal> {
        let Begun::Flight(flight, _) = self.start(Cause::Due, now) else { return Ok(false) };
        let _place = self.waiting.enter().ok_or_else(crowded)?;
        let is_own = flight.is_own;
        flight.ended().await;
        Ok(is_own)
    }

    /// Joins the running fetch, or starts one if that is allowed now.
    fn start(self: &Arc<Self>, cause: Cause, now: Timestamp) -> Begun {
        match self.gate().begin(cause, now, &self.options) {
            Begun::Flight(flight, Some(done)) => {
                let cache = Arc::clone(self);
                tokio::spawn(async move {
                    cache.fetch(now).await;
                    drop(done);
                });
                Begun::Flight(flight, None)
            }
            begun => begun,
        }
    }

    async fn fetch(self: &Arc<Self>, now: Timestamp) {
        let fetched = self.fetch_set(now).await;
        self.gate().was_slow = matches!(fetched, Err(FetchError::Slow(_)));
        let failure = match fetched {
            Ok(fetched) => {
                self.counts.good.fetch_add(1, Relaxed);
                let fetched = Arc::new(fetched);
                self.keys.store(Some(Arc::clone(&fetched)));
                self.save(fetched).await;
                None
            }
            Err(error) => {
                self.counts.failed.fetch_add(1, Relaxed);
                if matches!(error, FetchError::NoKeyFile { .. }) {
                    // Whoever takes the file away withdraws the keys. A file that cannot be read says nothing.
                    self.keys.store(None);
                } else if self.keys.load().is_none() {
                    self.restore(now).await;
                }
                Some(Failure { consequence: self.consequence(&error, now), why: error.to_string() })
            }
        };
        self.note(failure);
    }

    /// What a failed fetch means for those who come with the issuer's tokens.
    fn consequence(&self, error: &FetchError, now: Timestamp) -> &'static str {
        match error {
            FetchError::NoKeyFile { .. } => "the issuer's file of keys is not there; its tokens are refused",
            _ if self.last_good(now).is_some() => "the issuer's keys could not be fetched; the last ones count on",
            _ => "the issuer's keys could not be fetched, and none from before count; its tokens are refused",
        }
    }

    /// An outage is told once, not with every attempt; once more when the last keys have become too old.
    fn note(&self, failure: Option<Failure>) {
        let issuer = &self.endpoint.issuer;
        let before = std::mem::replace(&mut self.gate().failure, failure.clone());
        match (before, failure) {
            (before, Some(failure)) if before.as_ref() != Some(&failure) => {
                let Failure { why, consequence } = failure;
                tracing::warn!(issuer, error = why, "{consequence}");
            }
            (Some(_), None) => tracing::info!(issuer, "the issuer's keys can be fetched again"),
            _ => {}
        }
    }

    async fn fetch_set(&self, now: Timestamp) -> Result<Fetched, FetchError> {
        let document = fetch::key_set(&self.endpoint, Duration::from_millis(self.options.fetch_timeout_ms)).await?;
        let set = KeySet::parse(&document.body)?;
        let known = self.keys.load();
        let set = match known.as_ref() {
            Some(known) => set.keeping(&known.set),
            None => set,
        };
        let refresh_after_ms = self.refresh_after_ms(document.max_age_seconds);
        Ok(Fetched { set, at: now, refresh_after_ms, held_since: Instant::now(), age_then_ms: 0 })
    }

    fn refresh_after_ms(&self, asked_seconds: Option<u32>) -> i64 {
        let options = &self.options;
        let asked_ms = asked_seconds.map(|seconds| i64::from(seconds) * 1000);
        match self.endpoint.keys {
            KeyLocation::File(_) => FILE_INTERVAL_MS,
            _ => asked_ms
                .map_or(options.refresh_default_ms, |ms| ms.min(options.refresh_max_ms).max(options.refresh_min_ms)),
        }
    }

    async fn save(self: &Arc<Self>, fetched: Arc<Fetched>) {
        let Some(file) = &self.file else { return };
        if !file.is_outdated_by(&fetched.set, fetched.at, self.outage_max_ms.load(Relaxed)) {
            return;
        }
        let cache = Arc::clone(self);
        let saved = tokio::task::spawn_blocking(move || {
            cache.file.as_ref().map(|file| (file.save(&fetched.set, fetched.at), file.path().display().to_string()))
        });
        if let Ok(Some((Err(error), file))) = saved.await {
            tracing::error!(issuer = self.endpoint.issuer, file, %error, "the issuer's keys could not be kept on disk");
        }
    }

    /// The keys of an earlier run. They count only here, when the issuer itself has been asked in vain.
    async fn restore(self: &Arc<Self>, now: Timestamp) {
        if self.file.is_none() {
            return;
        }
        let cache = Arc::clone(self);
        let outage_max_ms = self.outage_max_ms.load(Relaxed);
        let read = move || cache.file.as_ref().map(|file| file.load(now, outage_max_ms));
        let issuer = &self.endpoint.issuer;
        match tokio::task::spawn_blocking(read).await {
            Ok(Some(Ok(Some((set, at))))) => {
                tracing::warn!(issuer, keys = set.len(), fetched_at = %at, "keys of an earlier run are in use");
                let age_then_ms = now.millis().saturating_sub(at.millis());
                let held_since = Instant::now();
                let restored = Fetched { set, at, refresh_after_ms: 0, held_since, age_then_ms };
                self.keys.store(Some(Arc::new(restored)));
            }
            Ok(Some(Err(error))) => tracing::error!(issuer, %error, "the issuer's keys on disk are ignored"),
            _ => {}
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Fetched ===

impl Fetched {
    fn is_due(&self, now: Timestamp) -> bool {
        are_apart(self.at, now, self.refresh_after_ms)
    }

    fn is_overdue(&self, now: Timestamp) -> bool {
        are_apart(self.at, now, self.overdue_after_ms())
    }

    fn overdue_after_ms(&self) -> i64 {
        self.refresh_after_ms.saturating_mul(2)
    }

    /// By the broker's clock, and by one that nobody can set.
    fn age_ms(&self, now: Timestamp) -> i64 {
        let held_ms = i64::try_from(self.held_since.elapsed().as_millis()).unwrap_or(i64::MAX);
        now.millis().saturating_sub(self.at.millis()).max(self.age_then_ms.saturating_add(held_ms))
    }
}

/// Files have a pace of their own: the interval between two attempts is for fetches over the network.
fn for_file(options: &IdentityOptions) -> IdentityOptions {
    IdentityOptions { retry_interval_ms: FILE_INTERVAL_MS, ..options.clone() }
}

/// In either direction: requests bring slightly different times, and a clock that was set back must not freeze the keys.
fn are_apart(a: Timestamp, b: Timestamp, ms: i64) -> bool {
    a.millis().saturating_sub(b.millis()).saturating_abs() >= ms
}

/// What a caller asked for, of fixed size.
fn name_of(id: Option<&str>, algorithm: SignatureAlgorithm) -> Digest {
    Digest::of(format!("{algorithm:?} {id:?}").as_bytes())
}

fn crowded() -> Refusal {
    Refusal::new(Reason::ISSUER_UNAVAILABLE, "too many requests wait for the issuer's keys at the moment")
}

/// It may have published the key since it was asked last: the caller may try again.
fn unasked() -> Refusal {
    Refusal::new(Reason::ISSUER_UNAVAILABLE, "the key is not known, and its issuer was asked for another one just now")
}

fn unavailable() -> Refusal {
    Refusal::new(Reason::ISSUER_UNAVAILABLE, "the issuer's keys cannot be fetched at the moment")
}
