//! What the handle, the writer and the publisher of one log have in common.

use crate::belief::{Belief, ClockDoubt};
use crate::directory::Directory;
use crate::options::{LogOptions, ReceiptOptions};
use model::canonical::hex;
use model::entry::{CommitmentClass, Common};
use model::{Clock, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tlog::CompactRange;
use tokio::sync::watch;

/// Whether the log takes entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Serving,
    /// No more entries; it can still be read and published.
    Sealed,
    Closed,
    /// For good, with the reason.
    Poisoned(Arc<str>),
}

pub(crate) struct Shared {
    pub origin: String,
    pub deadline: Duration,
    pub heartbeat: Option<Duration>,
    /// As in the options.
    pub summary_ms: Option<u64>,
    pub directory: Directory,
    /// Entries that are durable.
    pub size: watch::Sender<u64>,
    /// The tree over them as the writer has made it, whatever the store says by now: nothing else may be signed.
    pub committed: watch::Sender<CompactRange>,
    /// What is gone of them.
    pub pruned: watch::Sender<Option<crate::prune::Pruned>>,
    pub health: watch::Sender<Health>,
    pub counters: Counters,
    /// Held by whoever takes something away: one at a time.
    pub erasing: Arc<tokio::sync::Mutex<()>>,
    /// How far values have gone by age, by class.
    pub retained: tokio::sync::Mutex<BTreeMap<CommitmentClass, u64>>,
    /// Requests for erasures, as far as somebody has looked for one.
    pub requests: tokio::sync::Mutex<crate::erase::Known>,
    /// `None`: no receipts are given.
    pub receipts: Option<Arc<ReceiptOptions>>,
    clock: Arc<dyn Clock>,
    belief: Belief,
    random: crate::options::Random,
    boot: Arc<str>,
}

/// Counted since the log was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub batches: AtomicU64,
    pub entries: AtomicU64,
    pub bytes: AtomicU64,
    pub rollbacks: AtomicU64,
    pub overloaded: AtomicU64,
    pub not_open: AtomicU64,
    pub not_forwarded: AtomicU64,
    pub open: AtomicU64,
    pub outcomes_waiting: AtomicU64,
    pub checkpoint_size: AtomicU64,
    pub witnessed_size: AtomicU64,
    /// Rounds of the publisher that failed.
    pub publish_failures: AtomicU64,
    /// Of witnesses, left out because they came too late.
    pub cosigned_late: AtomicU64,
    /// Answers that went without a receipt.
    pub receipts_missed: AtomicU64,
    /// The token that signs receipts has not answered in time, and not since.
    pub promises_late: AtomicBool,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

impl Shared {
    /// `newest`: the time of the last entries that are there.
    pub(crate) fn new(
        options: &LogOptions,
        range: CompactRange,
        directory: Directory,
        newest: Option<Timestamp>,
    ) -> Self {
        let mut boot = [0; 8];
        (options.random)(&mut boot);
        Self {
            origin: options.origin.clone(),
            deadline: Duration::from_millis(options.deadline_ms),
            heartbeat: (options.heartbeat_ms > 0).then(|| Duration::from_millis(options.heartbeat_ms)),
            summary_ms: options.summary_ms,
            directory,
            size: watch::Sender::new(range.size()),
            committed: watch::Sender::new(range),
            pruned: watch::Sender::new(None),
            health: watch::Sender::new(Health::Serving),
            counters: Counters::default(),
            erasing: Arc::default(),
            retained: tokio::sync::Mutex::default(),
            requests: tokio::sync::Mutex::default(),
            receipts: options.receipts.clone().map(Arc::new),
            belief: Belief::new(&*options.clock, newest),
            clock: Arc::clone(&options.clock),
            random: Arc::clone(&options.random),
            boot: hex(&boot).into(),
        }
    }

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Why nothing may be deleted by the time of day, if there is a reason.
    pub(crate) fn clock_doubt(&self) -> Option<ClockDoubt> {
        self.belief.doubt(&*self.clock)
    }

    /// Others have signed at these times, in seconds, a moment ago.
    pub(crate) fn compare_clock(&self, times: &[u64]) {
        self.belief.compare(&*self.clock, times);
    }

    /// The members of every entry, for one entry.
    pub(crate) fn common(&self) -> Common {
        Common { nonce: self.random(), time: self.clock.now(), boot: Arc::clone(&self.boot) }
    }

    /// Stops the log for good. The first reason stays.
    pub(crate) fn poison(&self, reason: &str) {
        let news = self.health.send_if_modified(|health| {
            let first = !matches!(health, Health::Poisoned(_));
            if first {
                *health = Health::Poisoned(reason.into());
            }
            first
        });
        if news {
            tracing::error!(log = self.origin, reason, "the audit log failed and has stopped; this process must end");
        }
    }

    /// Moves on to `next`; a poisoned log stays poisoned.
    pub(crate) fn end(&self, next: Health) {
        self.health.send_if_modified(|health| {
            let alive = !matches!(health, Health::Poisoned(_));
            if alive {
                *health = next;
            }
            alive
        });
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        matches!(*self.health.borrow(), Health::Poisoned(_))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("origin", &self.origin).field("health", &*self.health.borrow()).finish()
    }
}
