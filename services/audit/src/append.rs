//! The handle of a log.

use crate::erase::Retired;
use crate::error::AppendError;
use crate::index::Index;
use crate::pledge::Pledge;
use crate::reader::Reader;
use crate::shared::{Counters, Health, Shared};
use crate::store::CheckpointRow;
use crate::writer::{Owed, Pending, Urgent};
use model::entry::{Common, DirectoryRow, Draft, Effect};
use model::{Principal, Timestamp};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};
use tlog::Hash;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};

/// Content and disclosures of one entry together. Policy sets are tens of kilobytes; what is larger is a mistake.
pub const CONTENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A durable entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub index: u64,
    pub leaf: Hash,
    /// The entry's `time`.
    pub time: Timestamp,
}

/// Whoever takes something away is alone in that.
pub(crate) type Alone = Arc<OwnedMutexGuard<()>>;

/// An open log. Cheap to clone; the log ends with its last handle, in good order only after [`Log::close`].
#[derive(Clone, Debug)]
pub struct Log {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub shared: Arc<Shared>,
    pub drafts: mpsc::Sender<Pending>,
    pub urgent: mpsc::UnboundedSender<Urgent>,
    pub reader: Reader,
    /// What questions use, while it is kept.
    pub index: RwLock<Option<Index>>,
}

/// What the log is doing, for metrics. Counts are since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LogStatus {
    /// Durable entries.
    pub size: u64,
    /// Of these, entries that are not kept any longer.
    pub pruned_size: u64,
    /// Entries under the latest signed checkpoint.
    pub checkpoint_size: u64,
    /// Entries under the latest checkpoint that a quorum of witnesses cosigned since the log was opened.
    pub witnessed_size: u64,
    /// Entries that questions find by the index; the others are looked through.
    pub indexed_size: u64,
    pub healthy: bool,
    /// Nothing is deleted by age, because the clock may be wrong.
    pub clock_doubted: bool,
    /// Drafts waiting for the writer.
    pub queue: u64,
    /// Outcomes that could not be written yet.
    pub outcomes_waiting: u64,
    /// Allowed exchanges without an outcome.
    pub open: u64,
    pub batches: u64,
    pub entries: u64,
    pub bytes: u64,
    /// Batches that were provably rolled back.
    pub rollbacks: u64,
    /// Appends refused for want of room or time.
    pub overloaded: u64,
    /// Outcomes for decisions that were not open: faults of ours.
    pub not_open: u64,
    /// Decisions whose caller was gone when they became durable.
    pub not_forwarded: u64,
    /// Rounds of the publisher that failed.
    pub publish_failures: u64,
    /// Cosignatures that came so late that the checkpoint was published without them.
    pub cosigned_late: u64,
    /// Answers that went without a receipt, because none was signed in time.
    pub receipts_missed: u64,
}

impl Log {
    /// Appends an entry. It is durable when this returns.
    ///
    /// A caller that drops this future may leave the entry written; for an allowed decision the log then writes the
    /// outcome `not_forwarded` itself.
    ///
    /// # Errors
    /// After any error the entry may yet be in the log, but nothing may be done on its strength.
    pub async fn append(&self, draft: Draft) -> Result<Appended, AppendError> {
        self.append_pledged(draft).await.map(|(appended, _)| appended)
    }

    /// [`Log::append`], with the means to make a receipt, unless the log gives none.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub async fn append_pledged(&self, draft: Draft) -> Result<(Appended, Option<Pledge>), AppendError> {
        let answer = self.enqueue(draft)?;
        let shared = &self.inner.shared;
        match tokio::time::timeout(shared.deadline, answer).await {
            Ok(Ok(ticket)) => ticket.map(Ticket::take),
            Ok(Err(_)) => Err(gone(shared)),
            Err(_) => Err(self.overloaded()),
        }
    }

    /// An error says that the draft is not in the queue.
    fn enqueue(&self, draft: Draft) -> Result<oneshot::Receiver<Result<Ticket, AppendError>>, AppendError> {
        check_parts(&draft)?;
        let shared = &self.inner.shared;
        if !self.is_healthy() {
            return Err(gone(shared));
        }
        let (waiter, answer) = oneshot::channel();
        self.inner.drafts.try_send(Pending { draft, waiter }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.overloaded(),
            mpsc::error::TrySendError::Closed(_) => gone(shared),
        })?;
        Ok(answer)
    }

    /// [`Log::append`] of an entry with which something goes. The caller waits no longer than any other, and may give up
    /// before: until it is known whether the entry is written, nobody else takes anything away, and those who are `retired` stay
    /// so. They come back only where it is provably not.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(crate) async fn append_alone(
        &self,
        draft: Draft,
        alone: &Alone,
        retired: Vec<Retired>,
    ) -> Result<Appended, AppendError> {
        let answer = self.enqueue(draft)?;
        let alone = Alone::clone(alone);
        let known = tokio::spawn(async move {
            let answer = answer.await;
            // The writer says no only of what it has not written.
            if !matches!(answer, Ok(Err(_))) {
                retired.into_iter().for_each(Retired::keep);
            }
            drop(alone);
            answer.map(|ticket| ticket.map(|ticket| ticket.take().0))
        });
        let shared = &self.inner.shared;
        match tokio::time::timeout(shared.deadline, known).await {
            Ok(Ok(Ok(appended))) => appended,
            Ok(_) => Err(gone(shared)),
            Err(_) => Err(self.overloaded()),
        }
    }

    /// From here on, as long as a copy of the answer lives, nobody else takes anything away.
    pub(crate) async fn alone(&self) -> Alone {
        Arc::new(Arc::clone(&self.inner.shared.erasing).lock_owned().await)
    }

    /// Appends the outcome of an exchange: never refused for want of room, tried again until it is durable.
    ///
    /// It is on its way when this returns; the answer may be dropped.
    pub fn append_outcome(&self, draft: Draft) -> Appending {
        let (waiter, answer) = oneshot::channel();
        // A closed lane drops the waiter, and the answer says so.
        let _ = self.inner.urgent.send(Urgent::Owed(Owed { draft, waiter: Some(waiter) }));
        Appending { answer, shared: Arc::clone(&self.inner.shared) }
    }

    /// Nonce, time and run for one entry.
    pub fn common(&self) -> Common {
        self.inner.shared.common()
    }

    /// The stable random reference of a principal, and the row to put into the draft's `directory`, if any.
    pub fn principal_reference(&self, principal: &Principal) -> (String, Option<DirectoryRow>) {
        let shared = &self.inner.shared;
        shared.directory.reference(principal, || shared.random())
    }

    pub fn origin(&self) -> &str {
        &self.inner.shared.origin
    }

    /// Durable entries.
    pub fn size(&self) -> u64 {
        *self.inner.shared.size.borrow()
    }

    /// Whether the log takes entries. Never `true` again after it was `false`.
    pub fn is_healthy(&self) -> bool {
        *self.inner.shared.health.borrow() == Health::Serving
    }

    /// Why the log has stopped for good, if it has.
    pub fn poison_reason(&self) -> Option<String> {
        match &*self.inner.shared.health.borrow() {
            Health::Poisoned(reason) => Some(reason.to_string()),
            _ => None,
        }
    }

    /// Returns when the log has stopped for good: the process must end and read storage anew. Pending otherwise.
    pub async fn poisoned(&self) {
        let mut health = self.inner.shared.health.subscribe();
        if health.wait_for(|health| matches!(health, Health::Poisoned(_))).await.is_err() {
            // The sender lives in `shared`, which this handle holds.
            std::future::pending::<()>().await;
        }
    }

    /// Returns when the log is closed or has stopped for good.
    pub(crate) async fn ended(&self) {
        let mut health = self.inner.shared.health.subscribe();
        let ended = |health: &Health| matches!(health, Health::Closed | Health::Poisoned(_));
        let _ = health.wait_for(ended).await;
    }

    pub fn status(&self) -> LogStatus {
        let counters = &self.inner.shared.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let drafts = &self.inner.drafts;
        LogStatus {
            size: self.size(),
            pruned_size: self.pruned().map_or(0, |pruned| pruned.below),
            checkpoint_size: get(&counters.checkpoint_size),
            witnessed_size: get(&counters.witnessed_size),
            indexed_size: self.index().map_or(0, |index| index.size()),
            healthy: self.is_healthy(),
            clock_doubted: self.inner.shared.clock_doubt().is_some(),
            queue: (drafts.max_capacity() - drafts.capacity()) as u64,
            outcomes_waiting: get(&counters.outcomes_waiting),
            open: get(&counters.open),
            batches: get(&counters.batches),
            entries: get(&counters.entries),
            bytes: get(&counters.bytes),
            rollbacks: get(&counters.rollbacks),
            overloaded: get(&counters.overloaded),
            not_open: get(&counters.not_open),
            not_forwarded: get(&counters.not_forwarded),
            publish_failures: get(&counters.publish_failures),
            cosigned_late: get(&counters.cosigned_late),
            receipts_missed: get(&counters.receipts_missed),
        }
    }

    /// Takes no more entries: writes what is queued and that the log was closed. It can still be read and published.
    pub async fn seal(&self) {
        self.tell(Urgent::Seal).await;
    }

    /// [`Log::seal`], and lets go of the database.
    pub async fn close(&self) {
        self.tell(Urgent::Close).await;
        self.inner.reader.close().await;
    }

    /// Returns when the writer has done it, or is no more.
    async fn tell(&self, message: impl FnOnce(oneshot::Sender<()>) -> Urgent) {
        let (done, answer) = oneshot::channel();
        if self.inner.urgent.send(message(done)).is_ok() {
            let _ = answer.await;
        }
    }

    /// Keeps a signed checkpoint, in order with the batches.
    pub(crate) async fn keep_checkpoint(&self, row: CheckpointRow) -> Result<(), AppendError> {
        let (done, answer) = oneshot::channel();
        let _ = self.inner.urgent.send(Urgent::Checkpoint { row, done });
        answer.await.unwrap_or_else(|_| Err(gone(&self.inner.shared)))
    }

    /// Whether the store has the head that was committed last. If not, the log stops for good.
    pub(crate) async fn compare_head(&self) -> Result<(), AppendError> {
        let (done, answer) = oneshot::channel();
        let _ = self.inner.urgent.send(Urgent::Compare(done));
        answer.await.unwrap_or_else(|_| Err(gone(&self.inner.shared)))
    }

    /// Lets it grow by a heartbeat, soon. A log that is being closed does not.
    pub(crate) fn beat(&self) {
        let _ = self.inner.urgent.send(Urgent::Beat);
    }

    /// Whether everything is written that was appended before this was asked. `false`: some of it waits until the store takes
    /// it, and will be written with the time that it was made at.
    pub(crate) async fn settle(&self) -> Result<bool, AppendError> {
        let (done, answer) = oneshot::channel();
        let _ = self.inner.urgent.send(Urgent::Settle(done));
        answer.await.map_err(|_| gone(&self.inner.shared))
    }

    fn overloaded(&self) -> AppendError {
        Counters::add(&self.inner.shared.counters.overloaded, 1);
        AppendError::Overloaded
    }
}

fn gone(shared: &Shared) -> AppendError {
    if shared.is_poisoned() { AppendError::Poisoned } else { AppendError::Closed }
}

fn check_parts(draft: &Draft) -> Result<(), AppendError> {
    let bytes: usize = draft.content.iter().map(|content| content.bytes.len()).sum();
    if bytes > CONTENT_BYTES_MAX { Err(AppendError::TooLarge) } else { Ok(()) }
}

/// The answer to [`Log::append_outcome`].
#[derive(Debug)]
pub struct Appending {
    answer: oneshot::Receiver<Result<Appended, AppendError>>,
    shared: Arc<Shared>,
}

impl Future for Appending {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| answer.unwrap_or_else(|_| Err(gone(&self.shared))))
    }
}

/// A durable entry on its way to the one who waits for it.
///
/// A waiter can vanish at any moment, also between the commit and the moment it would have looked. An allowed decision
/// that nobody takes out of its ticket was not forwarded, and the ticket tells the writer so.
#[derive(Debug)]
pub(crate) struct Ticket {
    appended: Appended,
    pledge: Option<Pledge>,
    decision: Option<(Box<Draft>, mpsc::UnboundedSender<Urgent>)>,
}

impl Ticket {
    pub(crate) fn new(
        placed: crate::batch::Placed,
        draft: Draft,
        back: Option<&mpsc::UnboundedSender<Urgent>>,
        pledge: Option<Pledge>,
    ) -> Self {
        let appended = Appended { index: placed.index, leaf: placed.leaf, time: draft.time() };
        let decision = match back {
            Some(back) if draft.effect == Effect::Opens => Some((Box::new(draft), back.clone())),
            _ => None,
        };
        Self { appended, pledge, decision }
    }

    pub(crate) fn take(mut self) -> (Appended, Option<Pledge>) {
        self.decision = None;
        (self.appended, self.pledge.take())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some((draft, back)) = self.decision.take() {
            // Without a writer the decision stays open, and the next start closes it.
            let _ = back.send(Urgent::Abandoned { index: self.appended.index, draft });
        }
    }
}
