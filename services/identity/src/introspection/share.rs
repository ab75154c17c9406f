//! How often strangers may make us ask an issuer.
//!
//! Anybody can invent tokens, and each is a question to somebody else's server. So those of which nothing is known share
//! a few questions at a time and a rate. A token that counted a moment ago asks in a share of its own that strangers
//! cannot use up: their flood keeps nobody out who was in.

use model::Timestamp;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Questions at a time, in each of the two shares.
pub(super) const AT_A_TIME: usize = 16;

/// Questions about unknown tokens: so many at once, and then one per interval.
pub(super) const BURST: i64 = 100;
pub(super) const INTERVAL_MS: i64 = 20;

/// One issuer's.
#[derive(Debug)]
pub(super) struct Shares {
    known: Arc<Semaphore>,
    unknown: Arc<Semaphore>,
}

/// The permission to ask once.
#[derive(Debug)]
pub(super) enum Share {
    /// In its turn: there are only so many tokens that counted a moment ago, and each asks once at a time.
    Known(Arc<Semaphore>),
    Unknown(OwnedSemaphorePermit),
}

/// Counts questions about unknown tokens (the generic cell rate algorithm of ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// When all that was spent will have been earned back, in milliseconds since 1970.
    settled_ms: i64,
}

impl Default for Shares {
    fn default() -> Self {
        let share = || Arc::new(Semaphore::new(AT_A_TIME));
        Self { known: share(), unknown: share() }
    }
}

impl Shares {
    /// `None` for an unknown token whose share is used up. Nobody waits there: the queue would be the flood's.
    pub(super) fn take(&self, is_known: bool, rate: &mut Rate, now: Timestamp) -> Option<Share> {
        if is_known {
            return Some(Share::Known(Arc::clone(&self.known)));
        }
        let permit = Arc::clone(&self.unknown).try_acquire_owned().ok()?;
        rate.spend(now).then_some(Share::Unknown(permit))
    }
}

impl Share {
    /// Waits for the turn. Asking may go on for as long as the permit lives.
    pub(super) async fn turn(self) -> Option<OwnedSemaphorePermit> {
        match self {
            Self::Known(share) => share.acquire_owned().await.ok(),
            Self::Unknown(permit) => Some(permit),
        }
    }
}

impl Rate {
    fn spend(&mut self, now: Timestamp) -> bool {
        let owed_ms = self.settled_ms.saturating_sub(now.millis());
        // More than can be owed: the clock was set back.
        let owed_ms = if (0..=BURST * INTERVAL_MS).contains(&owed_ms) { owed_ms } else { 0 };
        let is_free = owed_ms <= (BURST - 1) * INTERVAL_MS;
        if is_free {
            self.settled_ms = now.millis().saturating_add(owed_ms + INTERVAL_MS);
        }
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_a_burst_and_a_rate() {
        let mut rate = Rate::default();
        let start = Timestamp(1_795_375_200_000);
        let mut spent = |at_ms: i64| rate.spend(start.plus_millis(at_ms));
        assert_eq!((0..1_000).filter(|_| spent(0)).count(), 100);
        assert!(!spent(19) && spent(20) && !spent(20));
        assert_eq!((0..1_000).filter(|_| spent(1_020)).count(), 50);
        // A clock that is set back by a day does not close the desk for a day.
        assert!(spent(-86_400_000));
    }

    #[test]
    fn an_unknown_token_never_takes_the_share_of_a_known_one() {
        let (shares, mut rate) = (Shares::default(), Rate::default());
        let now = Timestamp(1_795_375_200_000);
        let strangers: Vec<_> = std::iter::from_fn(|| shares.take(false, &mut rate, now)).collect();
        assert_eq!(strangers.len(), AT_A_TIME);
        assert!(shares.take(true, &mut rate, now).is_some());
        drop(strangers);
        assert!(shares.take(false, &mut rate, now).is_some());
    }
}
