//! Who may start a fetch now.

use super::are_apart;
use crate::IdentityOptions;
use model::{Digest, Timestamp};
use tokio::sync::watch;

#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Closed when the running fetch ends, however it ends.
    running: Option<watch::Receiver<()>>,
    started_at: Option<Timestamp>,
    started_for_unknown_at: Option<Timestamp>,
    /// Keys that the issuer was asked for lately. At most one for each interval between such fetches, so it stays short.
    asked: Vec<(Digest, Timestamp)>,
    /// Of the latest fetch, if it failed.
    pub(super) failure: Option<Failure>,
    /// It failed because it took all the time that a fetch may take.
    pub(super) was_slow: bool,
}

/// Why a fetch failed, and what that meant for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) why: String,
    pub(super) consequence: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// There are no keys, or it is time.
    Due,
    /// A caller names a key that is not known.
    UnknownKey(Digest),
}

/// Whether there is a fetch to wait for.
pub(super) enum Begun {
    /// The running one, or a new one with what ends it when dropped.
    Flight(Flight, Option<watch::Sender<()>>),
    /// It is too early for one.
    TooEarly,
    /// The issuer was asked for this key lately.
    Asked,
}

/// A fetch that is under way.
pub(super) struct Flight {
    running: watch::Receiver<()>,
    /// Begun for who holds this.
    pub(super) is_own: bool,
}

// === impl Flight ===

impl Flight {
    pub(super) async fn ended(mut self) {
        // Nothing is ever sent: the task drops its end.
        while self.running.changed().await.is_ok() {}
    }
}

// === impl Gate ===

impl Gate {
    pub(super) fn begin(&mut self, cause: Cause, now: Timestamp, options: &IdentityOptions) -> Begun {
        if let Some(running) = self.running() {
            return Begun::Flight(Flight { running, is_own: false }, None);
        }
        if self.was_asked(cause, now, options) {
            return Begun::Asked;
        }
        if !self.may_start(cause, now, options) {
            return Begun::TooEarly;
        }
        let (done, running) = watch::channel(());
        self.running = Some(running.clone());
        Begun::Flight(Flight { running, is_own: true }, Some(done))
    }

    /// Whether there ever was a fetch.
    pub(super) fn has_started(&self) -> bool {
        self.started_at.is_some()
    }

    fn running(&self) -> Option<watch::Receiver<()>> {
        // An error says that the sender is gone.
        self.running.clone().filter(|running| running.has_changed().is_ok())
    }

    /// Who asks again and again for the same key must not take the place of somebody with a new one.
    fn was_asked(&mut self, cause: Cause, now: Timestamp, options: &IdentityOptions) -> bool {
        let Cause::UnknownKey(name) = cause else { return false };
        self.asked.retain(|(_, at)| !are_apart(*at, now, options.unknown_key_memory_ms));
        self.asked.iter().any(|(asked, _)| *asked == name)
    }

    /// Says yes at most once per interval, and notes it.
    fn may_start(&mut self, cause: Cause, now: Timestamp, options: &IdentityOptions) -> bool {
        let (last, interval_ms) = match cause {
            // From the start of the last one: an issuer that takes all the time there is would be asked without a break.
            Cause::Due if self.was_slow => {
                let timeout_ms = i64::try_from(options.fetch_timeout_ms).unwrap_or(i64::MAX);
                (self.started_at, options.retry_interval_ms.saturating_add(timeout_ms))
            }
            Cause::Due => (self.started_at, options.retry_interval_ms),
            // Apart from the others' time, so that a key which is new right after a regular refresh is found.
            Cause::UnknownKey(_) => (self.started_for_unknown_at, options.unknown_key_interval_ms),
        };
        if last.is_some_and(|last| !are_apart(last, now, interval_ms)) {
            return false;
        }
        if let Cause::UnknownKey(name) = cause {
            self.asked.push((name, now));
            self.started_for_unknown_at = Some(now);
        }
        self.started_at = Some(now);
        true
    }
}
