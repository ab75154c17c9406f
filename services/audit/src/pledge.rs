//! What a durable entry is acknowledged with: the means to get its receipt, if anybody wants one.
//!
//! With a key in memory, signing costs some twenty microseconds, once for all entries of a batch, on the thread of whoever
//! asks first. A key in a token signs elsewhere ([`crate::promising`]) and is waited for, but not for long.

use crate::options::ReceiptOptions;
use crate::shared::{Counters, Shared};
use crate::signer::Key;
use model::Timestamp;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use tlog::Receipt;
use tlog::receipt::{Promised, Signed};
use tokio::sync::SetOnce;
use tokio::time::Instant;

/// The entries of one batch.
#[derive(Debug)]
pub(crate) struct Pledged {
    pub first: u64,
    pub entries: Vec<Promised>,
    /// When they were durable.
    pub time: Timestamp,
    pub promise: Promise,
}

/// The signature over entries, when there is one.
#[derive(Debug)]
pub(crate) enum Promise {
    /// Made by whoever asks first.
    Here(OnceLock<Option<Signed>>),
    Elsewhere(Elsewhere),
}

/// Made without being asked for, and `None` where it was not made in time.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub signed: SetOnce<Option<Arc<Signed>>>,
    /// Nobody waits for it any longer.
    pub until: Instant,
    /// The batch has entries that somebody may want a receipt for.
    pub is_wanted: bool,
}

/// The log holds itself to a durable entry. Cheap to keep.
#[derive(Clone, Debug)]
pub struct Pledge {
    index: u64,
    batch: Arc<Pledged>,
    shared: Arc<Shared>,
}

impl Promise {
    pub(crate) fn new(options: &ReceiptOptions, is_wanted: bool) -> Self {
        match options.key {
            Key::Held(_) => Self::Here(OnceLock::new()),
            Key::Token(_) => {
                Self::Elsewhere(Elsewhere { signed: SetOnce::new(), until: Instant::now() + options.wait, is_wanted })
            }
        }
    }
}

impl Pledged {
    /// By when a checkpoint covers them.
    pub(crate) fn by(&self, options: &ReceiptOptions) -> i64 {
        let deadline = i64::try_from(options.deadline_ms).unwrap_or(i64::MAX);
        self.time.millis().saturating_add(deadline)
    }
}

impl Pledge {
    pub(crate) fn new(index: u64, batch: &Arc<Pledged>, shared: &Arc<Shared>) -> Self {
        Self { index, batch: Arc::clone(batch), shared: Arc::clone(shared) }
    }

    /// Ready at once with a key in memory. `None` where it could not be signed, or not in time; then that is counted.
    pub async fn receipt(&self) -> Option<Receipt> {
        let receipt = match &self.batch.promise {
            Promise::Here(signed) => self.here(signed),
            Promise::Elsewhere(promise) => self.elsewhere(promise).await,
        };
        if receipt.is_none() {
            Counters::add(&self.shared.counters.receipts_missed, 1);
        }
        receipt
    }

    fn here(&self, signed: &OnceLock<Option<Signed>>) -> Option<Receipt> {
        let Self { index, batch, shared } = self;
        let options = shared.receipts.as_ref()?;
        let Key::Held(key) = &options.key else { return None };
        let sign = || {
            Signed::new(key, batch.first, batch.entries.clone(), batch.time.millis(), batch.by(options))
                .inspect_err(|error| tracing::error!(%error, "a receipt could not be signed"))
                .ok()
        };
        signed.get_or_init(sign).as_ref()?.receipt(*index)
    }

    async fn elsewhere(&self, promise: &Elsewhere) -> Option<Receipt> {
        // Whoever is late already lets down the next one too; nobody else shall wait to find out.
        let is_late = self.shared.counters.promises_late.load(Ordering::Relaxed);
        let signed = match promise.signed.get() {
            Some(signed) => signed,
            None if is_late => return None,
            None => tokio::time::timeout_at(promise.until, promise.signed.wait()).await.ok()?,
        };
        signed.as_ref()?.receipt(self.index)
    }
}
