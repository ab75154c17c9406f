//! What leaves of a source's answer: declared headers, and a body that is counted, timed and recorded to its end.
//!
//! Rows, masks and coarser series are not shaped here yet; an answer that would need them is refused before the source
//! is asked (`shaping_required`).

use crate::record::Exchange;
use crate::respond::BodyError;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};
use model::entry::Ended;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

/// What a caller learns of a source's headers. Everything else stays inside, cookies and server names included.
const PASSED: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CONTENT_LANGUAGE,
    header::CONTENT_ENCODING,
    header::CONTENT_DISPOSITION,
    header::LAST_MODIFIED,
];

/// Copies the declared headers of an answer; a header that stands twice has two readings and is left out.
pub fn headers(from_source: &HeaderMap, to_caller: &mut HeaderMap) {
    for name in &PASSED {
        let mut values = from_source.get_all(name).iter();
        if let (Some(value), None) = (values.next(), values.next()) {
            to_caller.insert(name, value.clone());
        }
    }
    to_caller.insert("millgate-view", HeaderValue::from_static("whole"));
}

/// A source's body on its way to the caller. Writes the exchange's outcome, once, however it ends.
#[derive(Debug)]
pub struct Recorded<B> {
    inner: B,
    exchange: Exchange,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    /// Held until the answer is through: the source's cap counts answers, not only questions.
    _slot: OwnedSemaphorePermit,
}

impl<B> Recorded<B> {
    pub fn new(inner: B, mut exchange: Exchange, idle: Duration, slot: OwnedSemaphorePermit) -> Self
    where
        B: Body,
    {
        if inner.is_end_stream() {
            // Nobody polls a body that is over before it began.
            exchange.end(Ended::Complete);
        }
        Self { inner, exchange, idle, timer: Box::pin(tokio::time::sleep(idle)), _slot: slot }
    }
}

impl<B> Body for Recorded<B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue }; // trailers are not declared
                    this.exchange.sent(data.len() as u64);
                    let next = Instant::now() + this.idle;
                    this.timer.as_mut().reset(next);
                    if this.inner.is_end_stream() {
                        this.exchange.end(Ended::Complete);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => {
                    this.exchange.end(Ended::SourceAborted);
                    return Poll::Ready(Some(Err(BodyError::Source(error))));
                }
                Poll::Ready(None) => {
                    this.exchange.end(Ended::Complete);
                    return Poll::Ready(None);
                }
                Poll::Pending => break,
            }
        }
        if this.timer.as_mut().poll(cx).is_ready() {
            this.exchange.end(Ended::SourceTimeout);
            let ms = u64::try_from(this.idle.as_millis()).unwrap_or(u64::MAX);
            return Poll::Ready(Some(Err(BodyError::Idle(ms))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
