//! What a durable entry is acknowledged with: the means to make its receipt, if anybody wants one.
//!
//! Signing costs some twenty microseconds, once for all entries of a batch, on the thread of whoever asks first.

use crate::options::ReceiptOptions;
use model::Timestamp;
use std::sync::{Arc, OnceLock};
use tlog::receipt::Signed;
use tlog::{Hash, Receipt};

/// The entries of one batch.
#[derive(Debug)]
pub(crate) struct Pledged {
    pub first: u64,
    pub leaves: Vec<Hash>,
    /// When they were durable.
    pub time: Timestamp,
    pub signed: OnceLock<Option<Signed>>,
}

/// The log holds itself to a durable entry. Cheap to keep.
#[derive(Clone, Debug)]
pub struct Pledge {
    index: u64,
    batch: Arc<Pledged>,
    options: Arc<ReceiptOptions>,
}

impl Pledge {
    pub(crate) fn new(index: u64, batch: &Arc<Pledged>, options: &Arc<ReceiptOptions>) -> Self {
        Self { index, batch: Arc::clone(batch), options: Arc::clone(options) }
    }

    /// Signed when the first of a batch is asked for; `None` only if it cannot be.
    pub fn receipt(&self) -> Option<Receipt> {
        let Self { index, batch, options } = self;
        let time = batch.time.millis();
        let by = time.saturating_add(i64::try_from(options.deadline_ms).unwrap_or(i64::MAX));
        let sign = || {
            Signed::new(&options.key, batch.first, batch.leaves.clone(), time, by)
                .inspect_err(|error| tracing::error!(%error, "a receipt could not be signed"))
                .ok()
        };
        batch.signed.get_or_init(sign).as_ref()?.receipt(*index)
    }
}
