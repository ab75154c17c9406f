//! The one task that writes: natural batching.
//!
//! It takes what is queued, writes it in one transaction, wakes who waits, and looks again. While one batch is being
//! flushed the next one forms by itself, so there is no timer, and batches grow with the load.
//!
//! Two lanes: drafts, bounded, whose callers are told when there is no room; and what the log owes (outcomes and its own
//! entries), which is served first, tried again after a rollback, and never dropped while the process lives.

use crate::append::{Appended, Ticket};
use crate::batch::{Assembly, Change, ENTRIES_MAX, Placed, Refused, State};
use crate::commit::{Failure, commit};
use crate::error::AppendError;
use crate::options::ReceiptOptions;
use crate::outcome;
use crate::pledge::{Pledge, Pledged, Promise};
use crate::promising;
use crate::shared::{Counters, Health, Shared};
use crate::signer::Key;
use crate::store::{CheckpointRow, Scrubbed, Store, StoreError};
use crate::summaries::{self, Next, Recalled, Summaries};
use model::Value;
use model::canonical::Members;
use model::entry::{Draft, Effect, Ended, Kind};
use model::{OrganisationId, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tlog::receipt::Promised;
use tokio::sync::{mpsc, oneshot};

/// After a rollback what is owed waits 10 ms, then twice as long each time, up to this: short enough that a caller who
/// comes meanwhile is answered well within the deadline.
const BACKOFF_MAX: Duration = Duration::from_millis(250);
/// An outcome for which nobody waits goes along with the next decision, if there is one this soon. Until then a crash finds
/// the decision open, as it would a moment earlier.
const OUTCOMES_WAIT: Duration = Duration::from_millis(5);
/// A batch costs the same with one entry as with a hundred: whoever can run now may add one first, this many times over.
const YIELDS_MAX: usize = 4;
/// A log that cannot be written is closed without its last entries; the next start says what is missing.
const CLOSE_ATTEMPTS: u32 = 8;

/// A draft whose caller waits.
#[derive(Debug)]
pub(crate) struct Pending {
    pub draft: Draft,
    pub waiter: oneshot::Sender<Result<Ticket, AppendError>>,
}

/// An entry that must be written, however long it takes.
#[derive(Debug)]
pub(crate) struct Owed {
    pub draft: Draft,
    pub waiter: Option<oneshot::Sender<Result<Appended, AppendError>>>,
}

impl Owed {
    fn can_wait(&self) -> bool {
        matches!(self.draft.effect, Effect::Closes(_)) && self.waiter.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// What does not wait behind drafts.
#[derive(Debug)]
pub(crate) enum Urgent {
    Owed(Owed),
    /// The decision at `index` is durable, but whoever asked for it is gone.
    Abandoned {
        index: u64,
        draft: Box<Draft>,
    },
    Checkpoint {
        row: CheckpointRow,
        done: oneshot::Sender<Result<(), AppendError>>,
    },
    /// The log is to grow by a heartbeat.
    Beat,
    /// Is the store where this writer left it?
    Compare(oneshot::Sender<Result<(), AppendError>>),
    /// Is everything written that was in the queues when this was asked? `false`: some of it waits until the store takes it.
    Settle(oneshot::Sender<bool>),
    /// From now on nothing is written that holds values of this reference. The answer is the size of the log.
    Retire {
        reference: String,
        done: oneshot::Sender<u64>,
    },
    /// Its erasure came to nothing.
    Restore(String),
    /// Wipe older copies of what was erased.
    Scrub(oneshot::Sender<Scrubbed>),
    /// The last summaries of organisations that have entries of before this run.
    Recalled(HashMap<OrganisationId, Recalled>),
    /// Take no more entries, and say so in the log.
    Seal(oneshot::Sender<()>),
    /// Seal, and let go of the database.
    Close(oneshot::Sender<()>),
}

/// The queues between handles and writer.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub drafts: mpsc::Receiver<Pending>,
    pub urgent: mpsc::UnboundedReceiver<Urgent>,
    /// For tickets; weak, so that the writer ends when nobody holds the log any longer.
    pub back: mpsc::WeakUnboundedSender<Urgent>,
}

/// Why the writer stops for good.
#[derive(Debug)]
pub(crate) struct Poison(pub String);

#[derive(Debug)]
pub(crate) struct Writer<S> {
    store: S,
    state: State,
    shared: Arc<Shared>,
    lanes: Lanes,
    owed: VecDeque<Owed>,
    /// Received, but without a place yet.
    held: Option<Pending>,
    checkpoints: Vec<(CheckpointRow, oneshot::Sender<Result<(), AppendError>>)>,
    compares: Vec<oneshot::Sender<Result<(), AppendError>>>,
    settling: Vec<Settling>,
    scrubs: Vec<oneshot::Sender<Scrubbed>>,
    sealing: Option<oneshot::Sender<()>>,
    closing: Option<oneshot::Sender<()>>,
    /// Rollbacks since the last commit.
    rollbacks: u32,
    /// To whoever signs receipts with a token.
    promises: Option<mpsc::Sender<Arc<Pledged>>>,
    summaries: Summaries,
}

/// Who waits for what came before.
#[derive(Debug)]
struct Settling {
    /// Of what is owed, and of drafts: so many were there first and have no place yet.
    owed: usize,
    drafts: usize,
    done: oneshot::Sender<bool>,
}

enum Wake {
    Work,
    Idle,
    /// Nobody holds the log any longer.
    Gone,
}

/// What is in a batch, by lane.
#[derive(Debug, Default)]
struct Taken {
    owed: Vec<(Placed, Owed)>,
    drafts: Vec<(Placed, Pending)>,
}

impl<S: Store> Writer<S> {
    pub(crate) fn new(store: S, state: State, shared: Arc<Shared>, lanes: Lanes) -> Self {
        let promises = promises(&shared);
        let summaries = Summaries::new(shared.summary_ms, state.organisations.keys());
        Self {
            store,
            state,
            shared,
            lanes,
            owed: VecDeque::new(),
            held: None,
            checkpoints: Vec::new(),
            compares: Vec::new(),
            settling: Vec::new(),
            scrubs: Vec::new(),
            sealing: None,
            closing: None,
            rollbacks: 0,
            promises,
            summaries,
        }
    }

    /// Puts an entry into the lane of what must be written.
    pub(crate) fn owe(&mut self, draft: Draft) {
        self.owed.push_back(Owed { draft, waiter: None });
    }

    /// Writes what is owed now, or says why not. For the start, when nobody waits yet.
    pub(crate) async fn settle_debts(&mut self) -> Result<(), AppendError> {
        while !self.owed.is_empty() {
            self.write_batch().await.map_err(|Poison(reason)| {
                self.shared.poison(&reason);
                AppendError::Poisoned
            })?;
            if self.rollbacks > 0 {
                return Err(AppendError::Full);
            }
        }
        Ok(())
    }

    /// Serves until the log is closed, poisoned, or nobody holds it.
    pub(crate) async fn run(mut self) {
        // However this task ends, nobody may go on believing that the log takes entries.
        let _end = PoisonUnlessEnded(Arc::clone(&self.shared));
        let end = self.serve().await;
        match end {
            Ok(()) => {
                if let Err(error) = self.store.close().await {
                    tracing::warn!(error = error.chain(), "the log's database did not close in good order");
                }
                self.shared.end(Health::Closed);
            }
            Err(Poison(reason)) => {
                self.shared.poison(&reason);
                self.store.abandon();
            }
        }
        // Waiters left in the queues learn it when their senders drop.
        if let Some(done) = self.closing {
            let _ = done.send(());
        }
    }

    async fn serve(&mut self) -> Result<(), Poison> {
        loop {
            match self.wait().await {
                Wake::Work => self.gather_more().await,
                Wake::Idle => self.owe_own(Kind::Heartbeat, []),
                Wake::Gone => return Ok(()),
            }
            self.owe_summaries();
            self.turn().await?;
            if self.sealing.is_some() || self.closing.is_some() {
                self.seal().await?;
            }
            if self.closing.is_some() {
                return Ok(());
            }
        }
    }

    async fn turn(&mut self) -> Result<(), Poison> {
        self.write_batch().await?;
        self.tell_settled();
        self.compare().await?;
        self.write_checkpoints().await?;
        self.scrub().await?;
        self.store.maintain().await.map_err(|e| Poison(e.chain()))
    }

    /// Between two batches the store is where the last one left it, or somebody else writes there.
    async fn compare(&mut self) -> Result<(), Poison> {
        if self.compares.is_empty() {
            return Ok(());
        }
        let answer = match self.store.head().await {
            Ok(head) if head == self.state.head => Ok(()),
            Ok(head) => {
                let (stored, written) = (head.size(), self.state.head.size());
                return Err(Poison(format!(
                    "the head of the log in the store, at {stored} entries, is not the one that was written here, at {written}: \
                     somebody else writes there, and nothing is signed over that"
                )));
            }
            Err(error @ StoreError::Failed(_)) => return Err(Poison(error.chain())),
            Err(StoreError::Full(_)) => Err(AppendError::Full),
            Err(StoreError::Busy(_)) => Err(AppendError::Overloaded),
        };
        for done in std::mem::take(&mut self.compares) {
            let _ = done.send(answer);
        }
        Ok(())
    }

    /// What was rolled back is first in the queue again, and may stay there for as long as the disk is full.
    fn tell_settled(&mut self) {
        let is_held_up = self.rollbacks > 0 && !self.owed.is_empty();
        // What was promised for the time in which nothing could be written stands under the next checkpoint; unless the store is full
        // again, in which nobody can say when that is.
        if self.rollbacks == 0 && self.summaries.is_behind() && !self.is_sealed() {
            return;
        }
        for waiting in std::mem::take(&mut self.settling) {
            match (is_held_up, waiting.owed + waiting.drafts) {
                (true, _) => drop(waiting.done.send(false)),
                (false, 0) => drop(waiting.done.send(true)),
                _ => self.settling.push(waiting),
            }
        }
    }

    async fn scrub(&mut self) -> Result<(), Poison> {
        if self.scrubs.is_empty() {
            return Ok(());
        }
        let scrubbed = match self.store.scrub().await {
            Ok(scrubbed) => scrubbed,
            Err(StoreError::Failed(error)) => {
                return Err(Poison(format!("what was erased could not be wiped: {error}")));
            }
            Err(_) => Scrubbed::Busy,
        };
        for done in std::mem::take(&mut self.scrubs) {
            let _ = done.send(scrubbed);
        }
        Ok(())
    }

    async fn wait(&mut self) -> Wake {
        if self.rollbacks > 0 && !self.owed.is_empty() {
            tokio::time::sleep(backoff(self.rollbacks)).await;
            return Wake::Work;
        }
        if self.held.is_some() || !self.owed.is_empty() {
            return Wake::Work;
        }
        let heartbeat = self.shared.heartbeat.filter(|_| !self.is_sealed());
        let idle = async {
            match heartbeat {
                Some(interval) => tokio::time::sleep(interval).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(idle);
        loop {
            let look_at = self.summaries.look_at().filter(|_| !self.is_sealed());
            let look = async {
                match look_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                urgent = self.lanes.urgent.recv() => return match urgent {
                    Some(urgent) => { self.take(urgent); Wake::Work }
                    None => Wake::Gone,
                },
                Some(draft) = self.lanes.drafts.recv() => { self.held = Some(draft); return Wake::Work }
                () = look => {
                    self.owe_summaries();
                    // Looking is no sign of life: a heartbeat comes as if nobody had. Who waits for what became due is told now.
                    if !self.owed.is_empty() || !self.settling.is_empty() {
                        return Wake::Work;
                    }
                }
                () = &mut idle => return Wake::Idle,
            }
        }
    }

    /// Some of the summaries that are due, if it is time to look.
    fn owe_summaries(&mut self) {
        if self.summaries.look_at().is_none_or(|at| tokio::time::Instant::now() < at) {
            return;
        }
        // What cannot be written now would say a time that is over when it is.
        if self.rollbacks > 0 || self.is_sealed() {
            return self.summaries.put_off();
        }
        let now = self.shared.now();
        let due = self.summaries.due(self.state.organisations.keys(), now);
        due.into_iter().for_each(|(organisation, next)| self.owe_summary(&organisation, next));
    }

    /// After a longer stop, before anything else: since `newest` nobody was told how far any organisation's entries go.
    pub(crate) fn owe_summaries_after_stop(&mut self, newest: Option<Timestamp>) {
        if self.shared.summary_ms.is_some() {
            let all = self.summaries.after_stop(newest, self.shared.now());
            all.into_iter().for_each(|(organisation, next)| self.owe_summary(&organisation, Some(next)));
        }
    }

    fn owe_summary(&mut self, organisation: &OrganisationId, next: Option<Next>) {
        match summaries::draft(organisation, next, &self.shared.common()) {
            Ok(draft) => self.owe(draft),
            Err(error) => tracing::error!(%error, %organisation, "the log could not make an organisation's summary"),
        }
    }

    /// Lets a batch grow where that keeps nobody waiting: not at all when nothing else is going on.
    async fn gather_more(&mut self) {
        if self.owed.iter().all(Owed::can_wait) {
            let until = tokio::time::Instant::now() + OUTCOMES_WAIT;
            while self.only_outcomes() {
                tokio::select! {
                    biased;
                    Some(draft) = self.lanes.drafts.recv() => self.held = Some(draft),
                    Some(urgent) = self.lanes.urgent.recv() => self.take(urgent),
                    () = tokio::time::sleep_until(until) => return,
                }
            }
        }
        let mut queued = self.queued();
        for _ in 0..YIELDS_MAX {
            tokio::task::yield_now().await;
            let now = self.queued();
            if now == queued {
                return;
            }
            queued = now;
        }
    }

    /// There is something to write, and nobody waits for it. Of what is owed only the latest is new.
    fn only_outcomes(&self) -> bool {
        let nobody_waits = self.held.is_none() && self.checkpoints.is_empty() && self.compares.is_empty();
        let nobody_waits = nobody_waits && self.settling.is_empty() && self.scrubs.is_empty();
        let told = self.sealing.is_some() || self.closing.is_some() || self.rollbacks > 0;
        let room = (self.owed.len() as u64) < ENTRIES_MAX / 2;
        nobody_waits && !told && room && self.owed.back().is_some_and(Owed::can_wait)
    }

    fn queued(&self) -> usize {
        self.lanes.drafts.len() + self.lanes.urgent.len()
    }

    fn take(&mut self, urgent: Urgent) {
        match urgent {
            // Too late: whoever waits learns it as the sender drops.
            Urgent::Owed(_) if self.is_sealed() => {}
            Urgent::Owed(owed) => self.owed.push_back(owed),
            Urgent::Beat if self.is_sealed() => {}
            Urgent::Beat => self.owe_own(Kind::Heartbeat, []),
            Urgent::Abandoned { index, draft } => self.owe_not_forwarded(index, &draft),
            Urgent::Checkpoint { row, done } => self.checkpoints.push((row, done)),
            Urgent::Compare(done) => self.compares.push(done),
            Urgent::Settle(done) => {
                let drafts = self.lanes.drafts.len() + usize::from(self.held.is_some());
                self.settling.push(Settling { owed: self.owed.len(), drafts, done });
            }
            Urgent::Retire { reference, done } => {
                self.state.retired.insert(reference);
                let _ = done.send(self.state.head.size());
            }
            Urgent::Restore(reference) => drop(self.state.retired.remove(&reference)),
            Urgent::Scrub(done) => self.scrubs.push(done),
            Urgent::Recalled(found) => {
                let stands_at = |of: &_| self.state.organisations.get(of).map(|state| state.sequence);
                self.summaries.recalled(&found, self.shared.now(), stands_at);
            }
            Urgent::Seal(done) => {
                self.lanes.drafts.close();
                self.sealing = Some(done);
            }
            Urgent::Close(done) => {
                self.lanes.drafts.close();
                self.closing = Some(done);
            }
        }
    }

    fn owe_not_forwarded(&mut self, index: u64, decision: &Draft) {
        Counters::add(&self.shared.counters.not_forwarded, 1);
        let request = decision.request().map(AsRef::as_ref);
        let common = self.shared.common();
        let organisation = decision.organisation();
        match outcome::of_decision(index, organisation, request, Ended::NotForwarded, &common) {
            Ok(draft) => self.owe(draft),
            Err(error) => tracing::error!(%error, index, "no outcome could be made for an abandoned decision"),
        }
    }

    /// An entry of the log's own; it tells what is open.
    fn owe_own(&mut self, kind: Kind, members: impl IntoIterator<Item = (&'static str, Value)>) {
        let open = i64::try_from(self.state.head.open.len()).unwrap_or(i64::MAX);
        let members: Members = members.into_iter().chain([("open", Value::int(open))]).collect();
        match Draft::new(kind, &self.shared.common(), None, members, Vec::new()) {
            Ok(draft) => self.owe(draft),
            Err(error) => tracing::error!(%error, kind = kind.as_str(), "the log could not make an entry of its own"),
        }
    }

    async fn write_batch(&mut self) -> Result<(), Poison> {
        // The publisher found that storage does not give back what was written.
        if self.shared.is_poisoned() {
            return Err(Poison(String::from("the log was poisoned")));
        }
        while let Ok(urgent) = self.lanes.urgent.try_recv() {
            self.take(urgent);
        }
        let (assembled, taken) = self.gather();
        self.shared.counters.outcomes_waiting.store(self.owed.len() as u64, Ordering::Relaxed);
        let Some((batch, change)) = assembled else { return Ok(()) };
        let bytes = batch.bundle.bytes.len() as u64;
        match commit(&mut self.store, batch, &self.state.head).await {
            Ok(()) => {
                Counters::add(&self.shared.counters.bytes, bytes);
                self.settle(change, taken);
                Ok(())
            }
            Err(Failure::RolledBack(error)) => {
                self.give_back(&error, taken);
                Ok(())
            }
            Err(Failure::Unknown(reason)) => {
                // Before the waiters wake up as `taken` drops.
                self.shared.poison(&reason);
                Err(Poison(reason))
            }
        }
    }

    /// Fills a batch from both lanes.
    fn gather(&mut self) -> (Option<(crate::store::Batch, Change)>, Taken) {
        let Self { state, owed, held, lanes, shared, settling, .. } = self;
        let mut assembly = Assembly::new(state);
        let mut taken = Taken::default();
        let (owed_before, mut drafts) = (owed.len(), 0);
        while assembly.has_room()
            && let Some(next) = owed.pop_front()
        {
            match assembly.add(&next.draft) {
                Ok(placed) => taken.owed.push((placed, next)),
                Err(refused) => {
                    let error = refuse(shared, refused);
                    next.waiter.map(|waiter| waiter.send(Err(error)));
                }
            }
        }
        while assembly.has_room()
            && let Some(next) = held.take().or_else(|| lanes.drafts.try_recv().ok())
        {
            drafts += 1;
            // Nobody waits for this permission. A denial is written all the same: hanging up early must not hide it.
            if next.draft.effect == Effect::Opens && next.waiter.is_closed() {
                continue;
            }
            match assembly.add(&next.draft) {
                Ok(placed) => taken.drafts.push((placed, next)),
                Err(refused) => drop(next.waiter.send(Err(refuse(shared, refused)))),
            }
        }
        let owed = owed_before - owed.len();
        for waiting in settling {
            (waiting.owed, waiting.drafts) = (waiting.owed.saturating_sub(owed), waiting.drafts.saturating_sub(drafts));
        }
        (assembly.finish(), taken)
    }

    /// The batch is durable.
    fn settle(&mut self, change: Change, taken: Taken) {
        if std::mem::take(&mut self.rollbacks) > 0 {
            self.summaries.catch_up();
        }
        self.shared.directory.confirm(&change.directory);
        self.shared.directory.forget(&change.forgotten);
        if change.pruned.is_some() {
            self.shared.pruned.send_replace(change.pruned);
        }
        self.state.apply(change);
        let drafts = taken.drafts.iter().map(|(_, pending)| &pending.draft);
        self.summaries.wrote(taken.owed.iter().map(|(_, owed)| &owed.draft).chain(drafts), || self.shared.now());
        let counters = &self.shared.counters;
        Counters::add(&counters.batches, 1);
        Counters::add(&counters.entries, (taken.owed.len() + taken.drafts.len()) as u64);
        counters.open.store(self.state.head.open.len() as u64, Ordering::Relaxed);
        // Whoever sees the size may sign up to it.
        self.shared.committed.send_replace(self.state.head.range.clone());
        self.shared.size.send_replace(self.state.head.size());
        let pledged = self.shared.receipts.clone().map(|options| self.pledged(&taken, &options));
        for (placed, owed) in taken.owed {
            let appended = Appended { index: placed.index, leaf: placed.leaf, time: owed.draft.time() };
            owed.waiter.map(|waiter| waiter.send(Ok(appended)));
        }
        let back = self.lanes.back.upgrade();
        for (placed, pending) in taken.drafts {
            // Where nobody takes the ticket, it drops and says so.
            let pledge = pledged.as_ref().map(|batch| Pledge::new(placed.index, batch, &self.shared));
            let _ = pending.waiter.send(Ok(Ticket::new(placed, pending.draft, back.as_ref(), pledge)));
        }
    }

    /// The entries of a batch, in their order: what is owed comes before the drafts.
    fn pledged(&self, taken: &Taken, options: &ReceiptOptions) -> Arc<Pledged> {
        let owed = taken.owed.iter().map(|(placed, owed)| (placed, &owed.draft));
        let drafts = taken.drafts.iter().map(|(placed, pending)| (placed, &pending.draft));
        let entries: Vec<Promised> = owed
            .chain(drafts)
            .map(|(placed, draft)| Promised { leaf: placed.leaf, request: draft.request().cloned() })
            .collect();
        let first = self.state.head.size() - entries.len() as u64;
        let promise = Promise::new(options, !taken.drafts.is_empty());
        let batch = Arc::new(Pledged { first, entries, time: self.shared.now(), promise });
        if let Some(promises) = &self.promises
            && promises.try_send(Arc::clone(&batch)).is_err()
            && let Promise::Elsewhere(promise) = &batch.promise
        {
            let _ = promise.signed.set(None);
        }
        batch
    }

    /// The batch is provably not there.
    fn give_back(&mut self, error: &StoreError, taken: Taken) {
        self.rollbacks = self.rollbacks.saturating_add(1);
        Counters::add(&self.shared.counters.rollbacks, 1);
        tracing::warn!(
            log = self.shared.origin,
            error = error.chain(),
            drafts = taken.drafts.len(),
            outcomes = taken.owed.len(),
            "the audit log rolled a batch back"
        );
        let answer = if matches!(error, StoreError::Full(_)) { AppendError::Full } else { AppendError::Overloaded };
        for (_, pending) in taken.drafts {
            let _ = pending.waiter.send(Err(answer));
        }
        for (_, owed) in taken.owed.into_iter().rev() {
            self.owed.push_front(owed);
        }
        self.shared.counters.outcomes_waiting.store(self.owed.len() as u64, Ordering::Relaxed);
    }

    async fn write_checkpoints(&mut self) -> Result<(), Poison> {
        for (row, done) in std::mem::take(&mut self.checkpoints) {
            let size = row.range.size();
            let answer = match self.store.put_checkpoint(row).await {
                Ok(()) => {
                    self.shared.counters.checkpoint_size.fetch_max(size, Ordering::Relaxed);
                    Ok(())
                }
                Err(StoreError::Failed(error)) => {
                    return Err(Poison(format!("a checkpoint could not be kept: {error}")));
                }
                Err(error) => {
                    self.store.roll_back().await.map_err(|e| Poison(e.chain()))?;
                    Err(if matches!(error, StoreError::Full(_)) { AppendError::Full } else { AppendError::Overloaded })
                }
            };
            let _ = done.send(answer);
        }
        Ok(())
    }

    fn is_sealed(&self) -> bool {
        *self.shared.health.borrow() != Health::Serving
    }

    /// Writes all that came before, and that the log was closed. Once.
    async fn seal(&mut self) -> Result<(), Poison> {
        if !self.is_sealed() {
            self.drain().await?;
            // A checkpoint is signed over what could be written only now, and nobody writes the summaries behind it.
            if self.rollbacks == 0 && self.summaries.is_behind() {
                self.owe_summaries();
            }
            self.owe_own(Kind::System, [("event", Value::text("closed"))]);
            self.drain().await?;
            if !self.owed.is_empty() {
                tracing::error!(entries = self.owed.len(), "the audit log was closed without its last entries");
                self.owed.clear();
            }
            self.shared.end(Health::Sealed);
            // Nothing comes any longer that they could wait for.
            for waiting in std::mem::take(&mut self.settling) {
                let _ = waiting.done.send(waiting.owed + waiting.drafts == 0);
            }
        }
        if let Some(done) = self.sealing.take() {
            let _ = done.send(());
        }
        Ok(())
    }

    /// Writes until nothing waits; gives up after some rollbacks in a row.
    async fn drain(&mut self) -> Result<(), Poison> {
        while self.has_work() && self.rollbacks < CLOSE_ATTEMPTS {
            if self.rollbacks > 0 {
                tokio::time::sleep(backoff(self.rollbacks)).await;
            }
            self.turn().await?;
        }
        Ok(())
    }

    fn has_work(&self) -> bool {
        let queued = !self.lanes.urgent.is_empty() || !self.lanes.drafts.is_empty();
        self.held.is_some() || !self.owed.is_empty() || queued
    }
}

/// Begins to sign receipts where that is not done on the way.
fn promises(shared: &Arc<Shared>) -> Option<mpsc::Sender<Arc<Pledged>>> {
    let options = shared.receipts.clone().filter(|options| matches!(options.key, Key::Token(_)))?;
    let (promises, batches) = mpsc::channel(promising::BATCHES_MAX);
    tokio::spawn(promising::run(batches, options, Arc::clone(shared)));
    Some(promises)
}

fn refuse(shared: &Shared, refused: Refused) -> AppendError {
    match refused {
        Refused::TooLarge => AppendError::TooLarge,
        Refused::Retired => AppendError::Overloaded,
        Refused::NotOpen(decision) => {
            Counters::add(&shared.counters.not_open, 1);
            tracing::error!(decision, "an outcome came for a decision of the audit log that is not open");
            AppendError::NotOpen(decision)
        }
    }
}

fn backoff(rollbacks: u32) -> Duration {
    Duration::from_millis(10_u64 << rollbacks.saturating_sub(1).min(10)).min(BACKOFF_MAX)
}

/// Poisons the log when the writer ends in a way that it did not choose, a panic for instance.
struct PoisonUnlessEnded(Arc<Shared>);

impl Drop for PoisonUnlessEnded {
    fn drop(&mut self) {
        let ended = matches!(*self.0.health.borrow(), Health::Closed | Health::Poisoned(_));
        if !ended {
            self.0.poison("the writer ended");
        }
    }
}
