//! Which notes speak for the log: those that its keys signed, as long as they were its keys.
//!
//! A key that was retired signs for trees that end before the entry that says so. Of larger ones whoever has stolen it may
//! say what it likes, and nobody is stopped by that.

use crate::store;
use anyhow::Context as _;
use audit::{Keys, Stored};
use runtime::config::Audit;
use tlog::{Checkpoint, VerifierKey};

#[derive(Clone, Debug)]
pub(super) struct Voice {
    known: Vec<VerifierKey>,
    /// Those that sign now.
    signing: Vec<VerifierKey>,
    /// Each with the size of the largest tree that it signs for.
    retired: Vec<(VerifierKey, u64)>,
}

impl Voice {
    /// By the configuration alone: what earlier keys signed counts like the others'.
    pub(super) fn of(keys: &Keys) -> Self {
        let known = keys.known().verifiers();
        let signing = known.iter().filter(|key| !keys.known().previous().contains(key)).cloned().collect();
        Self { known, signing, retired: Vec::new() }
    }

    /// And by what the store says of keys, which is all read: a long log takes a while.
    pub(super) async fn bounded(keys: &Keys, audit: &Audit) -> anyhow::Result<Self> {
        let retired = Stored::retired(store::of(audit)?, keys).await.context("the store of the log cannot be read")?;
        Ok(Self { retired, ..Self::of(keys) })
    }

    /// The checkpoint, if it counts.
    pub(super) fn hear(&self, note: &str) -> Option<Checkpoint> {
        let (checkpoint, signed) = Checkpoint::open_any(note, &self.known).ok()?;
        let is_bound = |key: &VerifierKey| self.retired.iter().any(|(one, last)| one == key && checkpoint.size > *last);
        signed.into_iter().any(|key| !is_bound(key)).then_some(checkpoint)
    }

    /// No key that signs now has signed it, but an earlier one: what the store says decides.
    pub(super) fn is_of_earlier_keys(&self, note: &str) -> bool {
        let by = |keys: &[VerifierKey]| Checkpoint::open_any(note, keys).is_ok();
        !by(&self.signing) && by(&self.known)
    }

    /// A key of the log signed it that was none any longer.
    pub(super) fn is_void(&self, note: &str) -> bool {
        self.hear(note).is_none() && Checkpoint::open_any(note, &self.known).is_ok()
    }
}
