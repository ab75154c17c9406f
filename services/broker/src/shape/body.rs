//! A source's body, rewritten on its way.

use super::json::Malformed;
use super::plan::{Shaper, Shaping};
use crate::respond::BodyError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// So much of an answer is looked at before its head leaves: most are shorter, and a fault in one of them can still be told
/// as what it is.
const HELD_BYTES: usize = 32 * 1024;

/// Why an answer did not begin.
#[derive(Debug)]
pub enum NotBegun {
    Malformed(Malformed),
    Source(hyper::Error),
    Idle,
    /// It is one record, and not one that the caller may see.
    Nothing,
}

/// What a view leaves of a body.
#[derive(Debug)]
pub struct Shaped<B> {
    inner: B,
    shaper: Shaper,
    rows: Arc<AtomicU64>,
    /// Rewritten and not handed out.
    held: Vec<u8>,
    ended: bool,
}

impl<B> Shaped<B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    /// Reads the beginning, or all of a short body. `idle` is the longest time without a byte.
    ///
    /// # Errors
    /// When the beginning is not what was declared, or does not come.
    pub async fn begin(inner: B, shaping: &Shaping, idle: Duration) -> Result<Self, NotBegun> {
        let mut this = Self { inner, shaper: shaping.shaper(), rows: Arc::default(), held: Vec::new(), ended: false };
        while !this.ended && this.held.len() < HELD_BYTES {
            match tokio::time::timeout(idle, this.inner.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    this.shaper.push(&data, &mut this.held).map_err(NotBegun::Malformed)?;
                }
                Ok(Some(Err(error))) => return Err(NotBegun::Source(error)),
                Ok(None) => {
                    this.shaper.finish(&mut this.held).map_err(NotBegun::Malformed)?;
                    this.ended = true;
                }
                Err(_) => return Err(NotBegun::Idle),
            }
        }
        if this.shaper.is_nothing() {
            return Err(NotBegun::Nothing);
        }
        this.count();
        Ok(this)
    }

    /// Rows that have left, or are about to.
    pub fn rows(&self) -> Arc<AtomicU64> {
        self.rows.clone()
    }

    fn count(&self) {
        self.rows.store(self.shaper.rows(), Ordering::Relaxed);
    }

    fn take(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.count();
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.held).into()))))
    }
}

impl<B> Body for Shaped<B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            if !this.held.is_empty() {
                return this.take();
            }
            if this.ended {
                return Poll::Ready(None);
            }
            let malformed = match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    this.shaper.push(&data, &mut this.held).err()
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Source(error)))),
                None => {
                    this.ended = true;
                    this.shaper.finish(&mut this.held).err()
                }
            };
            if let Some(malformed) = malformed {
                this.ended = true;
                this.held.clear();
                tracing::warn!(%malformed, "a source's answer is not what the catalog declares, and was broken off");
                return Poll::Ready(Some(Err(BodyError::Malformed)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.held.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.ended { SizeHint::with_exact(self.held.len() as u64) } else { SizeHint::default() }
    }
}
