//! A bound on what a server may answer.
//!
//! The client library keeps an answer in memory until it is whole, however long it says that it is. So every request grants
//! the server as many bytes as its answer can have, and a server that sends more loses the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is granted and not used up does not add up beyond it.
const MAX_UNUSED_BYTES: u64 = 16 * 1024 * 1024;
/// For the answers to a login.
const LOGIN_BYTES: u64 = 64 * 1024;

/// How many bytes a server may still send.
#[derive(Debug, Clone)]
pub(super) struct ReplyAllowance(Arc<AtomicU64>);

impl ReplyAllowance {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(LOGIN_BYTES)))
    }

    /// Lets the server send so many bytes more.
    pub(super) fn grant(&self, bytes: u64) {
        let add = |left: u64| Some(left.min(MAX_UNUSED_BYTES).saturating_add(bytes));
        // It always has a new value.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    fn use_up(&self, bytes: u64) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// A stream whose reads are counted.
#[derive(Debug)]
pub(super) struct LimitedStream<S> {
    stream: S,
    allowance: ReplyAllowance,
}

impl<S> LimitedStream<S> {
    pub(super) fn new(stream: S, allowance: ReplyAllowance) -> Self {
        Self { stream, allowance }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len().saturating_sub(before) as u64;
        if read > 0 && !self.allowance.use_up(read) {
            return Poll::Ready(Err(io::Error::other("the server sent more than was asked for")));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LimitedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_was_granted_can_be_read_and_no_more() {
        let allowance = ReplyAllowance::new();
        let sent = vec![b'x'; usize::try_from(LOGIN_BYTES).unwrap() + 10];
        let mut stream = LimitedStream::new(&sent[..], allowance.clone());
        let mut login = vec![0; usize::try_from(LOGIN_BYTES).unwrap()];
        stream.read_exact(&mut login).await.unwrap();
        allowance.grant(5);
        stream.read_exact(&mut [0; 5]).await.unwrap();
        assert!(stream.read_exact(&mut [0; 1]).await.is_err());
    }

    #[test]
    fn grants_that_are_not_used_do_not_add_up() {
        let allowance = ReplyAllowance::new();
        for _ in 0..100 {
            allowance.grant(MAX_UNUSED_BYTES);
        }
        assert!(allowance.use_up(2 * MAX_UNUSED_BYTES));
        assert!(!allowance.use_up(1));
    }
}
