//! Clocks that tests have in their hands. None looks at the machine's.

use model::{Clock, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Each look at it is a millisecond later.
#[derive(Debug)]
pub struct TickingClock(AtomicI64);

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

pub fn ticking(from: Timestamp) -> Arc<TickingClock> {
    Arc::new(TickingClock(AtomicI64::new(from.millis())))
}

/// How far a clock slips.
pub const SLIP_MS: i64 = 120_000;

/// A clock that stands where it is put: all the time until there has passed. What it is set to beside that has not.
#[derive(Debug)]
pub struct PutClock {
    gone: AtomicI64,
    /// How far it was set from there.
    set: AtomicI64,
    /// Looks at it until it is set back a little; 0: it is not.
    slips_in: AtomicU64,
}

impl PutClock {
    pub fn at(time: Timestamp) -> Arc<Self> {
        Arc::new(Self { gone: AtomicI64::new(time.millis()), set: AtomicI64::new(0), slips_in: AtomicU64::new(0) })
    }

    /// It has gone on until there.
    pub fn put(&self, time: Timestamp) {
        self.gone.store(time.millis(), Ordering::Relaxed);
    }

    /// So much time passes.
    pub fn advance(&self, millis: i64) {
        self.gone.fetch_add(millis, Ordering::Relaxed);
    }

    /// Somebody sets it so far ahead of the time that has passed, or behind it.
    pub fn set_ahead(&self, millis: i64) {
        self.set.store(millis, Ordering::Relaxed);
    }

    /// Somebody sets it so much further, or back.
    pub fn jump(&self, millis: i64) {
        self.set.fetch_add(millis, Ordering::Relaxed);
    }

    /// It is set back by [`SLIP_MS`] at that look from now on; 0: at none.
    pub fn slip_at(&self, look: u64) {
        self.slips_in.store(look, Ordering::Relaxed);
    }
}

impl Clock for PutClock {
    fn now(&self) -> Timestamp {
        let set_back = |left: u64| left.checked_sub(1);
        if self.slips_in.fetch_update(Ordering::Relaxed, Ordering::Relaxed, set_back) == Ok(1) {
            self.jump(-SLIP_MS);
        }
        Timestamp(self.gone.load(Ordering::Relaxed) + self.set.load(Ordering::Relaxed))
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.gone.load(Ordering::Relaxed).try_into().unwrap())
    }
}
