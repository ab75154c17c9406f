//! Receipts whose key is in a token: signed by one task, for as many batches at once as have become durable meanwhile.
//!
//! Batches follow one another, so one signature can stand for several, and a token that signs ten times a second keeps up
//! with any log. What is signed too late for those who waited is not signed at all; they are answered without.

use crate::options::ReceiptOptions;
use crate::pledge::{Pledged, Promise};
use crate::shared::Shared;
use crate::signer::Key;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tlog::receipt::{Promised, Signed};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Batches that may wait, which is many more than become durable while somebody waits.
pub(crate) const BATCHES_MAX: usize = 1_024;
/// Entries under one signature: a receipt has a hash for each doubling.
const ENTRIES_MAX: usize = 8_192;
/// A token that did not sign is left alone for so long. Each attempt looks for it anew, and the publisher does so too.
const PAUSE: Duration = Duration::from_secs(1);

/// Signs until the log's writer has gone.
pub(crate) async fn run(mut batches: mpsc::Receiver<Arc<Pledged>>, options: Arc<ReceiptOptions>, shared: Arc<Shared>) {
    let mut waiting = VecDeque::new();
    let mut left_alone = None::<Instant>;
    while let Some(batch) = batches.recv().await {
        waiting.push_back(batch);
        while !waiting.is_empty() {
            while let Ok(batch) = batches.try_recv() {
                waiting.push_back(batch);
            }
            let now = Instant::now();
            let together = take_together(&mut waiting, now);
            if together.is_empty() {
                continue;
            }
            let signed = match left_alone.filter(|until| now < *until) {
                Some(_) => None,
                None => {
                    let signed = promise(&together, &options, &shared).await;
                    left_alone = signed.is_none().then(|| Instant::now() + PAUSE);
                    signed
                }
            };
            answer(&together, signed.as_ref());
        }
    }
}

/// The first batches that can have one signature. Those for which nobody waits are passed over, at the beginning and at the
/// end.
fn take_together(waiting: &mut VecDeque<Arc<Pledged>>, now: Instant) -> Vec<Arc<Pledged>> {
    let (mut together, mut count, mut wanted) = (Vec::<Arc<Pledged>>::new(), 0, 0);
    while let Some(batch) = waiting.pop_front() {
        let follows = together.last().is_none_or(|last| last.first + last.entries.len() as u64 == batch.first);
        if !follows || (!together.is_empty() && count + batch.entries.len() > ENTRIES_MAX) {
            waiting.push_front(batch);
            break;
        }
        let Promise::Elsewhere(promise) = &batch.promise else { continue };
        if together.is_empty() && (promise.until <= now || !promise.is_wanted) {
            let _ = promise.signed.set(None);
            continue;
        }
        count += batch.entries.len();
        let is_wanted = promise.is_wanted;
        together.push(batch);
        if is_wanted {
            wanted = together.len();
        }
    }
    together.truncate(wanted);
    together
}

fn answer(together: &[Arc<Pledged>], signed: Option<&Arc<Signed>>) {
    for batch in together {
        if let Promise::Elsewhere(promise) = &batch.promise {
            let _ = promise.signed.set(signed.cloned());
        }
    }
}

/// One signature for these.
async fn promise(together: &[Arc<Pledged>], options: &Arc<ReceiptOptions>, shared: &Shared) -> Option<Arc<Signed>> {
    let (first, last) = (together.first()?, together.last()?);
    let entries: Vec<Promised> = together.iter().flat_map(|batch| batch.entries.iter().cloned()).collect();
    let (index, time, by) = (first.first, last.time.millis(), last.by(options));
    let key = options.key.clone();
    let mut signing = tokio::task::spawn_blocking(move || match &key {
        Key::Held(key) => Signed::new(key, index, entries, time, by),
        Key::Token(key) => Signed::by(key, index, entries, time, by),
    });
    let late = &shared.counters.promises_late;
    let signed = match tokio::time::timeout(options.wait, &mut signing).await {
        Ok(signed) => signed,
        Err(_) => {
            if !late.swap(true, Ordering::Relaxed) {
                tracing::warn!("the token takes its time to sign receipts; until it has, answers go without");
            }
            signing.await
        }
    };
    let signed = match signed {
        Ok(Ok(signed)) => Some(Arc::new(signed)),
        Ok(Err(error)) => {
            if !late.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "receipts cannot be signed; until they can, answers go without");
            }
            None
        }
        Err(_) => None,
    };
    if signed.is_some() && late.swap(false, Ordering::Relaxed) {
        tracing::info!("receipts are signed again");
    }
    signed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pledge::Elsewhere;
    use model::Timestamp;
    use tokio::sync::SetOnce;

    fn batch(first: u64, count: usize, until: Instant, is_wanted: bool) -> Arc<Pledged> {
        let entries = vec![Promised { leaf: tlog::leaf_hash(b"entry"), request: None }; count];
        let promise = Promise::Elsewhere(Elsewhere { signed: SetOnce::new(), until, is_wanted });
        Arc::new(Pledged { first, entries, time: Timestamp(0), promise })
    }

    fn is_given_up(batch: &Pledged) -> bool {
        matches!(&batch.promise, Promise::Elsewhere(promise) if matches!(promise.signed.get(), Some(None)))
    }

    #[test]
    fn what_became_durable_meanwhile_is_signed_together() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let wanted = |first, count| batch(first, count, later, true);
        let unwanted = |first, count| batch(first, count, later, false);
        let taken = |waiting: &mut VecDeque<Arc<Pledged>>| {
            let together = take_together(waiting, now);
            together.iter().map(|batch| batch.first).collect::<Vec<_>>()
        };
        // An outcome in the middle goes along, at the ends it does not.
        let mut waiting = VecDeque::from([unwanted(0, 1), wanted(1, 2), unwanted(3, 1), wanted(4, 3), unwanted(7, 1)]);
        assert_eq!(taken(&mut waiting), [1, 3, 4]);
        assert!(waiting.is_empty());
        // One that was let go leaves a gap.
        let mut waiting = VecDeque::from([wanted(0, 1), wanted(2, 1)]);
        assert_eq!((taken(&mut waiting), taken(&mut waiting)), (vec![0], vec![2]));
        // A receipt stays short.
        let mut waiting = VecDeque::from([wanted(0, 5_000), wanted(5_000, 5_000), wanted(10_000, 9_000)]);
        assert_eq!(
            (taken(&mut waiting), taken(&mut waiting), taken(&mut waiting)),
            (vec![0], vec![5_000], vec![10_000])
        );
        // What nobody waits for any longer is not signed.
        let old = batch(0, 1, now, true);
        let mut waiting = VecDeque::from([old.clone(), wanted(1, 1)]);
        assert_eq!(taken(&mut waiting), [1]);
        assert!(is_given_up(&old));
        assert_eq!(taken(&mut VecDeque::from([unwanted(0, 1)])), [0; 0]);
    }
}
