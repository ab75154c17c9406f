//! A socket whose peer has to take what it asked for, and gets the time to.
//!
//! Neither HTTP/1 nor HTTP/2 ends a connection whose peer stops reading while the kernel still says that it is there. Such
//! a connection would hold its place, its buffers and whatever its answer holds until somebody restarts the broker.
//!
//! A socket that is closed with unread data resets the connection, and the peer loses what it has not read yet: the refusal
//! of a body, or the alert for a certificate. So what the peer still sends is taken for a moment first (RFC 9112 section 9.6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a peer is listened to that has been told that this is the end.
const LINGER: Duration = Duration::from_secs(2);
/// Reads of what nobody wants, before others have their turn.
const READS_AT_ONCE: usize = 16;

/// Fails a write that makes no progress for `patience`. A peer that reads slowly is served slowly.
#[derive(Debug)]
pub struct Patient<S> {
    io: S,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    /// Our side has ended; until then the other is listened to.
    lingering: Option<Pin<Box<Sleep>>>,
    linger: Duration,
}

impl<S> Patient<S> {
    pub fn new(io: S, patience: Duration) -> Self {
        Self { io, patience, stalled: None, lingering: None, linger: LINGER }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let closed = Pin::new(&mut self.io).poll_shutdown(cx);
            let closed = self.judge(cx, closed);
            if !matches!(closed, Poll::Ready(Ok(()))) {
                return closed;
            }
        }
        let Self { io, lingering, linger, .. } = &mut *self;
        let until = lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(*linger)));
        if until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut unread = [0; 16_384];
        for _ in 0..READS_AT_ONCE {
            let mut unread = ReadBuf::new(&mut unread);
            match Pin::new(&mut *io).poll_read(cx, &mut unread) {
                Poll::Ready(Ok(())) if !unread.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_peer_that_reads_is_served_and_one_that_does_not_is_left() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut patient = Patient::new(ours, Duration::from_millis(50));
        let reader = tokio::spawn(async move {
            let mut some = [0; 64];
            theirs.read_exact(&mut some).await.unwrap();
            theirs
        });
        patient.write_all(&[1; 64]).await.unwrap();
        let _theirs = reader.await.unwrap();
        let error = patient.write_all(&[2; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_a_peer_still_sends_is_taken_before_the_end_and_not_for_ever() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut patient = Patient::new(ours, Duration::from_secs(30));
        let sender = tokio::spawn(async move {
            theirs.write_all(&[0; 4_096]).await.unwrap();
            drop(theirs);
        });
        patient.shutdown().await.unwrap();
        sender.await.unwrap();

        let (ours, _silent) = tokio::io::duplex(16);
        let mut patient = Patient::new(ours, Duration::from_secs(30));
        patient.linger = Duration::from_millis(20);
        patient.shutdown().await.unwrap();
    }
}
