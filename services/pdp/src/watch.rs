//! The index, watched while it decides.
//!
//! Of the questions of a snapshot, a small sample is also asked of Cedar's public interface over all policies. A
//! difference is an alarm: that answer counts, the snapshot looks at all policies from then on, and whoever holds the
//! snapshot is told once.

use crate::answer::Answer;
use crate::engine::{Facts, Store};
use crate::snapshot::Snapshot;
use cedar_policy::EntityUid;
use model::Action;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// One question of as many is asked twice.
const EVERY: u64 = 10_000;
/// Looking at all policies takes longer the more there are: of a large set, one of ten times as many questions as policies.
const EVERY_PER_POLICY: u64 = 10;

#[derive(Debug, Default)]
pub(crate) struct Watch {
    asked: AtomicU64,
    checked: AtomicU64,
    is_alarmed: AtomicBool,
    untold: Mutex<Option<String>>,
    has_untold: AtomicBool,
}

impl Watch {
    fn is_due(&self, policies: usize) -> bool {
        let every = u64::try_from(policies).unwrap_or(u64::MAX).saturating_mul(EVERY_PER_POLICY).max(EVERY);
        // Not the first: it comes while a change is being taken over.
        self.asked.fetch_add(1, Ordering::Relaxed) % every == every / 2
    }

    fn alarm(&self, what: String) {
        self.is_alarmed.store(true, Ordering::Relaxed);
        *self.untold.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
        self.has_untold.store(true, Ordering::Release);
    }

    #[cfg(test)]
    pub(crate) fn due_after(&self, questions: u64) {
        self.asked.store(EVERY / 2 - questions, Ordering::Relaxed);
    }
}

impl Snapshot {
    /// Cedar's answer, and now and then a look at whether it is.
    pub(crate) fn ask(
        &self,
        principal: &EntityUid,
        action: Action,
        resource: &EntityUid,
        facts: &Facts<'_>,
        store: &Store<'_>,
    ) -> Answer {
        let scan = || self.policies.scan(principal, action, resource, facts, store);
        if self.watch.is_alarmed.load(Ordering::Relaxed) {
            return scan();
        }
        let answer = self.policies.ask(principal, action, resource, facts, store);
        if !self.watch.is_due(self.policies.len()) {
            return answer;
        }
        self.watch.checked.fetch_add(1, Ordering::Relaxed);
        let full = scan();
        if !answer.is_same(&full) {
            // No principal: this is for a log.
            self.watch.alarm(format!("{action:?} of {resource}: the index says {answer:?}, all policies say {full:?}"));
        }
        full
    }

    /// How many questions were also asked of all policies.
    pub fn questions_checked(&self) -> u64 {
        self.watch.checked.load(Ordering::Relaxed)
    }

    /// What the index answered otherwise than all policies do, if it did and nobody has asked since. It names action,
    /// resource and policies. Decisions of this snapshot are right and slow from then on; whoever gets it sees to it that a
    /// person hears of it.
    pub fn take_alarm(&self) -> Option<String> {
        if !self.watch.has_untold.load(Ordering::Relaxed) || !self.watch.has_untold.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.watch.untold.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
