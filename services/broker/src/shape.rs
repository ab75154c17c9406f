//! What leaves of a source's answer: declared headers, and a body that is shaped, counted, timed and recorded to its end.
//!
//! Fields and rows are hidden as the decision says (`plan`, `view`, `mask`, `rows`, `json`, `body`), a series leaves as the
//! one that was asked for (`series`). An answer that cannot be shaped is refused before the source is asked
//! (`shaping_required`).

mod body;
pub mod csv;
pub mod json;
pub mod mask;
pub mod plan;
pub mod rows;
pub mod series;
#[cfg(test)]
mod stand;
pub mod view;

pub use body::{NotBegun, Shaped, Times, takes_gzip};
pub use plan::{Plan, Pseudonyms, Shaping, Views};

use crate::authorize::Standing;
use crate::record::Exchange;
use crate::respond::{BodyError, VIEW};
use crate::vigil::{self, Answer, Vigil};
use crate::world::World;
use audit::Appending;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};
use model::Reason;
use model::entry::Ended;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// What a caller learns of a source's headers. Everything else stays inside, cookies and server names included.
pub const PASSED: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CONTENT_LANGUAGE,
    header::CONTENT_ENCODING,
    header::CONTENT_DISPOSITION,
    header::LAST_MODIFIED,
];

/// Copies the declared headers of an answer; a header that stands twice has two readings and is left out. Of one that is
/// shaped nothing holds any longer, not its type either.
pub fn headers(plan: &Plan, is_compressed: bool, from_source: &HeaderMap, to_caller: &mut HeaderMap) {
    match plan {
        Plan::Shaped(_) | Plan::Series(_) => {
            let content_type = plan.content_type().unwrap_or("application/json");
            to_caller.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            to_caller.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
            if is_compressed {
                to_caller.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        Plan::Whole => {
            for name in &PASSED {
                let mut values = from_source.get_all(name).iter();
                if let (Some(value), None) = (values.next(), values.next()) {
                    to_caller.insert(name, value.clone());
                }
            }
        }
    }
    if let Ok(view) = HeaderValue::try_from(plan.header()) {
        to_caller.insert(VIEW, view);
    }
}

/// What an answer is recorded and judged by while it is on its way.
#[derive(Debug)]
pub struct Watched {
    pub exchange: Exchange,
    pub standing: Standing,
    /// Longest time without a byte, whoever keeps the other waiting.
    pub idle: Duration,
    /// By then the last byte has left, however steadily they come.
    pub end: Instant,
    /// Pieces that have come from the source, where they need not be pieces for the caller.
    pub heard: Option<Arc<AtomicU64>>,
    /// Held until the answer is through: the source's cap counts answers, not only questions.
    pub slot: Arc<OwnedSemaphorePermit>,
    /// The last piece leaves only when the outcome is durable.
    pub withholds: bool,
}

/// A source's body on its way to the caller. Writes the exchange's outcome, once, however it ends.
///
/// A connection asks for the next piece only when the caller took the last one, so what lies still is not polled. The
/// vigil lets go of the source then: a caller who does not read must not keep a place at a fragile source.
#[derive(Debug)]
pub struct Recorded<B> {
    flow: Arc<Watching<B>>,
    _watched: Option<vigil::Watched>,
}

#[derive(Debug)]
struct Watching<B>(Mutex<Flow<B>>);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is open for most of its life")]
enum Flow<B> {
    Open(Open<B>),
    Over,
    Cut(Cut),
}

#[derive(Debug)]
struct Open<B> {
    inner: B,
    exchange: Exchange,
    standing: Standing,
    patience: Patience,
    /// With what it was when it was looked at last.
    heard: Option<(Arc<AtomicU64>, u64)>,
    _slot: Arc<OwnedSemaphorePermit>,
    waits_for: Side,
    since: Instant,
    /// How long each side has been waited for before `since`.
    waited: Waited,
    waker: Option<Waker>,
    withholds: bool,
    /// What came last, while it may be the end.
    withheld: Option<Bytes>,
    /// The outcome on its way into the log, once all is there. Until the end has left, permission can still be withdrawn.
    recorded: Option<Appending>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Caller,
}

#[derive(Clone, Copy, Debug, Default)]
struct Waited {
    source: Duration,
    caller: Duration,
}

/// Why an answer was ended from here.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Idle(Side),
    /// It took too long as a whole.
    Slow,
    Withdrawn,
    NotRecorded,
}

impl<B> Recorded<B>
where
    B: Body<Data = Bytes, Error: Into<BodyError>> + Unpin + Send + 'static,
{
    pub fn new(inner: B, watched: Watched, vigil: &Arc<Vigil>) -> Self {
        let Watched { mut exchange, standing, idle, end, heard, slot, withholds } = watched;
        if inner.is_end_stream() {
            // Nobody polls a body that is over before it began. Where its outcome is waited for, it is written already.
            exchange.end(Ended::Complete);
            return Self { flow: Arc::new(Watching(Mutex::new(Flow::Over))), _watched: None };
        }
        let since = Instant::now();
        let flow: Arc<Watching<B>> = Arc::new(Watching(Mutex::new(Flow::Open(Open {
            inner,
            exchange,
            standing,
            patience: Patience { idle, end },
            heard: heard.map(|heard| (heard, 0)),
            _slot: slot,
            waits_for: Side::Caller,
            since,
            waited: Waited::default(),
            waker: None,
            withholds,
            withheld: None,
            recorded: None,
        }))));
        let answer: Weak<Watching<B>> = Arc::downgrade(&flow);
        let watched = vigil.watch(answer);
        Self { flow, _watched: Some(watched) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Patience {
    idle: Duration,
    /// By then the answer is through, or cut off.
    end: Instant,
}

impl<B> Watching<B> {
    /// A thread that panicked left an answer that was not ended; it still can be.
    fn lock(&self) -> MutexGuard<'_, Flow<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Send> Answer for Watching<B> {
    fn look(&self, world: &World) {
        self.lock().look(world);
    }
}

impl<B> Flow<B> {
    /// Ends the answer when it is no longer permitted or the credential has expired, when one side keeps the other waiting, or when it takes too long.
    fn look(&mut self, world: &World) {
        let Self::Open(open) = self else { return };
        let now = Instant::now();
        open.listen(now);
        let by = |side| if side == Side::Source { Ended::SourceTimeout } else { Ended::CallerAborted };
        let (cut, ended) = if open.standing.ended(world).is_some() {
            (Cut::Withdrawn, Ended::Withdrawn)
        } else if open.recorded.is_some() && now >= open.patience.end.min(open.since + open.patience.idle) {
            // What is recorded stays: all of it stood ready.
            (Cut::NotRecorded, Ended::Complete)
        } else if now >= open.since + open.patience.idle {
            (Cut::Idle(open.waits_for), by(open.waits_for))
        } else if now >= open.patience.end {
            (Cut::Slow, by(open.slower()))
        } else {
            return;
        };
        open.exchange.end(ended);
        let waker = open.waker.take();
        *self = Self::Cut(cut);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<B> Open<B> {
    fn waited_until(&self, now: Instant) -> Waited {
        let (mut waited, last) = (self.waited, now - self.since);
        match self.waits_for {
            Side::Source => waited.source += last,
            Side::Caller => waited.caller += last,
        }
        waited
    }

    /// A source that sends what is not shown is at work too.
    fn listen(&mut self, now: Instant) {
        let Some((heard, before)) = &mut self.heard else { return };
        let heard = heard.load(Ordering::Relaxed);
        if std::mem::replace(before, heard) != heard && self.waits_for == Side::Source {
            (self.waited, self.since) = (self.waited_until(now), now);
        }
    }

    fn slower(&self) -> Side {
        let waited = self.waited_until(Instant::now());
        if waited.source > waited.caller { Side::Source } else { Side::Caller }
    }
}

impl<B> Open<B>
where
    B: Body<Data = Bytes, Error: Into<BodyError>> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue }; // trailers are not declared
                    self.turn_to(Side::Caller);
                    return Poll::Ready(Some(Ok(data)));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    if self.waits_for == Side::Caller {
                        self.turn_to(Side::Source);
                    }
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }

    fn turn_to(&mut self, side: Side) {
        let now = Instant::now();
        self.waited = self.waited_until(now);
        (self.waits_for, self.since) = (side, now);
    }

    /// The source has sent everything; what follows at once, unless the outcome is waited for.
    fn over(&mut self) -> Option<Flow<B>> {
        if !self.withholds {
            self.exchange.end(Ended::Complete);
            return Some(Flow::Over);
        }
        self.exchange.sent(self.withheld.as_ref().map_or(0, |data| data.len() as u64));
        match self.exchange.conclude() {
            Some(recorded) => self.recorded = Some(recorded),
            None => return Some(Flow::Cut(Cut::NotRecorded)),
        }
        None
    }
}

impl<B> Body for Recorded<B>
where
    B: Body<Data = Bytes, Error: Into<BodyError>> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut flow = self.flow.lock();
        loop {
            match &mut *flow {
                Flow::Open(Open { recorded: Some(recorded), withheld, waker, .. }) => {
                    let Poll::Ready(recorded) = Pin::new(recorded).poll(cx) else {
                        *waker = Some(cx.waker().clone());
                        return Poll::Pending;
                    };
                    let withheld = withheld.take().filter(|_| recorded.is_ok());
                    *flow = if recorded.is_ok() { Flow::Over } else { Flow::Cut(Cut::NotRecorded) };
                    if let Some(data) = withheld {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Flow::Open(open) => match open.poll(cx) {
                    Poll::Ready(Some(Ok(data))) => {
                        let data = if open.withholds { open.withheld.replace(data) } else { Some(data) };
                        open.exchange.sent(data.as_ref().map_or(0, |data| data.len() as u64));
                        if open.inner.is_end_stream()
                            && let Some(next) = open.over()
                        {
                            *flow = next;
                        }
                        if let Some(data) = data {
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        if matches!(error, BodyError::Malformed) {
                            open.exchange.because(Reason::SOURCE_MALFORMED);
                        }
                        open.exchange.end(Ended::SourceAborted);
                        *flow = Flow::Over;
                        return Poll::Ready(Some(Err(error)));
                    }
                    Poll::Ready(None) => {
                        if let Some(next) = open.over() {
                            *flow = next;
                        }
                    }
                    Poll::Pending => return Poll::Pending,
                },
                Flow::Over => return Poll::Ready(None),
                Flow::Cut(cut) => return Poll::Ready(Some(Err((*cut).into()))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &*self.flow.lock() {
            Flow::Open(open) => !open.withholds && open.inner.is_end_stream(),
            Flow::Over => true,
            Flow::Cut(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.flow.lock() {
            Flow::Open(Open { inner, withheld: None, .. }) => inner.size_hint(),
            Flow::Over => SizeHint::with_exact(0),
            Flow::Open(_) | Flow::Cut(_) => SizeHint::default(),
        }
    }
}

impl From<Cut> for BodyError {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Idle(Side::Source) => Self::SourceIdle,
            Cut::Idle(Side::Caller) => Self::CallerIdle,
            Cut::Slow => Self::TooSlow,
            Cut::Withdrawn => Self::Withdrawn,
            Cut::NotRecorded => Self::NotRecorded,
        }
    }
}
