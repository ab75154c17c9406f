//! Answers about the log that go on: tails, and what a replay reads.
//!
//! A connection asks for the next piece only when the caller took the last one, so whoever takes nothing is never asked
//! whether it still may. The vigil asks instead, and lets go of everything that such an answer holds: its place among the
//! readers, its organisation's share, what was read and not sent, and its exchange, which has its outcome then.

use super::reader::Granted;
use super::{Over, Place};
use crate::authorize::Standing;
use crate::record::Exchange;
use crate::respond::Refusal;
use crate::share::Share;
use crate::vigil::{self, Answer};
use crate::{Broker, World};
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use model::entry::Ended;
use model::{Clock, Reason, Timestamp};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What an answer ends by, beside the caller's permission.
pub struct Terms {
    /// When what the caller has shown ends, and what that is called: as it was to be, and no withdrawal.
    pub expires: Option<(Timestamp, Reason)>,
    /// How it ended when the broker stops.
    pub stopped: Ended,
}

/// An answer that ends with its permission, asked for more or not. After an [`Over`] there is nothing more.
pub struct Attended<T> {
    flow: Arc<Watching<T>>,
    worlds: watch::Receiver<Arc<World>>,
    _watched: vigil::Watched,
}

struct Watching<T>(Mutex<Flow<T>>);

enum Flow<T> {
    Open(Box<Open<T>>),
    Over(Over),
    Told,
}

struct Open<T> {
    pieces: BoxStream<'static, Result<T, Over>>,
    /// Bytes of a piece.
    size: fn(&T) -> u64,
    exchange: Exchange,
    standing: Standing,
    terms: Terms,
    clock: Arc<dyn Clock>,
    draining: CancellationToken,
    waker: Option<Waker>,
    _held: (Place, Share),
}

impl<T: 'static> Attended<T> {
    pub fn new(
        broker: &Broker,
        (reading, place): (Granted, Place),
        terms: Terms,
        size: fn(&T) -> u64,
        pieces: impl Stream<Item = Result<T, Over>> + Send + 'static,
    ) -> Self {
        let Granted { standing, exchange, share, .. } = reading;
        let flow = Arc::new(Watching(Mutex::new(Flow::Open(Box::new(Open {
            pieces: pieces.boxed(),
            size,
            exchange,
            standing,
            terms,
            clock: broker.clock.clone(),
            draining: broker.draining.clone(),
            waker: None,
            _held: (place, share),
        })))));
        let answer: Weak<Watching<T>> = Arc::downgrade(&flow);
        Self { flow, worlds: broker.worlds.subscribe(), _watched: broker.vigil.watch(answer) }
    }
}

impl<T> Watching<T> {
    /// A thread that panicked left an answer that was not ended; it still can be.
    fn lock(&self) -> MutexGuard<'_, Flow<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Answer for Watching<T> {
    fn look(&self, world: &World) {
        self.lock().look(world);
    }
}

impl<T> Flow<T> {
    /// Ends the answer where that is due, and lets go of what it holds.
    fn look(&mut self, world: &World) {
        let Self::Open(open) = self else { return };
        if let Some(over) = open.due(world) {
            let waker = open.waker.take();
            self.end(over);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn end(&mut self, over: Over) {
        if let Self::Open(open) = self {
            open.exchange.end(over.ended);
        }
        *self = Self::Over(over);
    }
}

impl<T> Open<T> {
    fn due(&mut self, world: &World) -> Option<Over> {
        if let Some((_, expired)) = self.terms.expires.as_ref().filter(|(expires, _)| self.clock.now() >= *expires) {
            let refusal = Refusal::new(expired.clone(), "what you have shown has expired; show a new one");
            return Some(Over { ended: Ended::Complete, refusal });
        }
        if let Some(refusal) = self.standing.ended(world) {
            return Some(Over { ended: Ended::Withdrawn, refusal });
        }
        self.draining.is_cancelled().then(|| {
            let refusal = Refusal::new(Reason::SHUTTING_DOWN, "the broker stops; go on at the next one");
            Over { ended: self.terms.stopped, refusal }
        })
    }
}

impl<T> Stream for Attended<T> {
    type Item = Result<T, Over>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let world = self.worlds.borrow().clone();
        let mut flow = self.flow.lock();
        // First, so that a log that grows without end cannot outrun it.
        flow.look(&world);
        if let Flow::Open(open) = &mut *flow {
            match open.pieces.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(piece))) => {
                    open.exchange.sent((open.size)(&piece));
                    return Poll::Ready(Some(Ok(piece)));
                }
                Poll::Ready(Some(Err(over))) => flow.end(over),
                Poll::Ready(None) => {
                    open.exchange.end(Ended::Complete);
                    *flow = Flow::Told;
                }
                Poll::Pending => {
                    open.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
        match std::mem::replace(&mut *flow, Flow::Told) {
            Flow::Over(over) => Poll::Ready(Some(Err(over))),
            Flow::Open(_) | Flow::Told => Poll::Ready(None),
        }
    }
}

impl<T> fmt::Debug for Attended<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attended").finish_non_exhaustive()
    }
}
