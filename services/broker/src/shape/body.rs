//! A source's body, rewritten on its way.

use super::json::Malformed;
use super::plan::Shaper;
use crate::ask::SourceError;
use crate::respond::BodyError;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// So much of an answer is looked at before its head leaves: most are shorter, and a fault in one of them can still be told
/// as what it is.
const HELD_BYTES: usize = 32 * 1024;

/// Less is not worth compressing.
const COMPRESSED_FROM: usize = 1_024;
/// JSON shrinks to a sixth with it, and a higher one costs twice as much for a tenth less.
const LEVEL: Compression = Compression::new(4);

/// Whether a caller takes gzip (RFC 9110 section 12.5.3).
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|weight| {
            let q = weight.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
            q.is_some_and(|(_, q)| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0))
        });
        named && !refused
    })
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The longest time without a byte.
    pub idle: Duration,
    /// By then all of it has come.
    pub end: Instant,
}

/// An answer that comes slowly leaves as it comes, after so long.
const HELD_FOR: Duration = Duration::from_secs(1);
/// Pieces that are read without anything to hand out, before others have their turn.
const PIECES_AT_ONCE: usize = 32;

/// Why an answer did not begin.
#[derive(Debug)]
pub enum NotBegun {
    Malformed(Malformed),
    Source(SourceError),
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
    /// Pieces that have come.
    heard: Arc<AtomicU64>,
    /// Rewritten and not handed out.
    held: Vec<u8>,
    ended: bool,
    /// Of a compressed answer, until its end. What it makes of `held` takes its place.
    gzip: Option<GzEncoder<Vec<u8>>>,
    is_compressed: bool,
}

impl<B> Shaped<B>
where
    B: Body<Data = Bytes, Error: Into<SourceError>> + Unpin,
{
    /// Reads the beginning, or all of a short body.
    ///
    /// # Errors
    /// When the beginning is not what was declared, or does not come.
    pub async fn begin(inner: B, shaper: Shaper, times: Times, gzip: bool) -> Result<Self, NotBegun> {
        let mut this = Self {
            inner,
            shaper,
            rows: Arc::default(),
            heard: Arc::default(),
            held: Vec::new(),
            ended: false,
            gzip: None,
            is_compressed: false,
        };
        let begun = Instant::now();
        while !this.ended && this.held.len() < HELD_BYTES {
            let wait = if this.held.is_empty() { times.idle } else { times.idle.min(HELD_FOR) };
            let until = (Instant::now() + wait).min(times.end);
            match tokio::time::timeout_at(until, this.inner.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    this.shaper.push(&data, &mut this.held).map_err(NotBegun::Malformed)?;
                }
                Ok(Some(Err(error))) => return Err(NotBegun::Source(error.into())),
                Ok(None) => {
                    this.shaper.finish(&mut this.held).map_err(NotBegun::Malformed)?;
                    this.ended = true;
                }
                Err(_) if this.held.is_empty() || Instant::now() >= times.end => return Err(NotBegun::Idle),
                Err(_) => break,
            }
            if !this.held.is_empty() && begun.elapsed() >= HELD_FOR {
                break;
            }
        }
        if this.shaper.is_nothing() {
            return Err(NotBegun::Nothing);
        }
        this.count();
        if gzip && this.held.len() >= COMPRESSED_FROM {
            (this.gzip, this.is_compressed) = (Some(GzEncoder::new(Vec::new(), LEVEL)), true);
            this.pack();
        }
        Ok(this)
    }

    /// Compresses what is held, and ends with the answer.
    fn pack(&mut self) {
        use std::io::Write as _;
        let Some(gzip) = &mut self.gzip else { return };
        if !self.held.is_empty() {
            // Writing to a vector does not fail. What has come is to arrive, and not to wait for what comes next.
            let _ = gzip.write_all(&self.held).and_then(|()| gzip.flush());
        }
        self.held = std::mem::take(gzip.get_mut());
        if self.ended
            && let Some(gzip) = self.gzip.take()
        {
            self.held.extend_from_slice(&gzip.finish().unwrap_or_default());
        }
    }

    /// Whether it is encoded with gzip.
    pub fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    /// Rows that have left, or are about to.
    pub fn rows(&self) -> Arc<AtomicU64> {
        self.rows.clone()
    }

    /// Counts the pieces that have come.
    pub fn heard(&self) -> Arc<AtomicU64> {
        self.heard.clone()
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
    B: Body<Data = Bytes, Error: Into<SourceError>> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        for _ in 0..PIECES_AT_ONCE {
            if !this.held.is_empty() {
                return this.take();
            }
            if this.ended {
                return Poll::Ready(None);
            }
            let piece = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
            this.heard.fetch_add(1, Ordering::Relaxed);
            let malformed = match piece {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    this.shaper.push(&data, &mut this.held).err()
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Source(error.into())))),
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
            this.pack();
        }
        // Nothing of all that is shown, and more has come already.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.held.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.ended { SizeHint::with_exact(self.held.len() as u64) } else { SizeHint::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_takes_gzip_if_it_says_so() {
        let takes = |values: &[&'static str]| {
            let values = values.iter().map(|v| (header::ACCEPT_ENCODING, http::HeaderValue::from_static(v)));
            takes_gzip(&values.collect())
        };
        for yes in [&["gzip"][..], &["br, GZIP;q=0.5"], &["identity", "deflate , gzip"], &["gzip;q=1.000"]] {
            assert!(takes(yes), "{yes:?}");
        }
        for no in [&[][..], &["identity"], &["gzip;q=0"], &["gzip; q=0.000, br"], &["xgzip"], &["*"], &[""]] {
            assert!(!takes(no), "{no:?}");
        }
    }
}
