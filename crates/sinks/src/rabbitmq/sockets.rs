//! lapin on our sockets.
//!
//! lapin runs each connection in a thread of its own, over any stream that a "runtime" gives it. Ours gives it one that
//! was vetted and has shaken hands already (`egress`), and can itself connect to nothing.
//!
//! - A stream can be aborted from outside. A broker that says nothing would otherwise keep the thread, its buffers and the
//!   socket of every attempt to connect, for lapin starts its heartbeats only after the handshake.
//! - The thread logs nothing. lapin logs what a broker returns as unroutable, data and all, and event data is never
//!   logged. What went wrong is told by the errors of our calls.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::Stream as FutureStream;
use futures_util::io::{AsyncRead as FuturesRead, AsyncWrite as FuturesWrite};
use lapin::AsyncTcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::Dispatch;
use tracing::dispatcher::DefaultGuard;

use crate::egress::Stream;

/// What lapin runs on.
pub(super) type LapinRuntime = Runtime<RuntimeParts<Tokio, Sockets>>;

type LapinStream = Compat<AbortableStream>;

thread_local! {
    static SILENCE: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// The runtime that the caller runs on.
pub(super) fn lapin_runtime() -> LapinRuntime {
    Runtime::new(RuntimeParts::new(Tokio::current(), Sockets(Tokio::current())))
}

/// Hands a stream over, once, to the thread that lapin runs a connection in.
pub(super) struct Handover(Mutex<Option<AbortableStream>>);

impl Handover {
    pub(super) fn new(stream: AbortableStream) -> Self {
        Self(Mutex::new(Some(stream)))
    }

    /// To be called in lapin's thread, which is silent from then on.
    pub(super) fn take(&self) -> lapin::Result<AsyncTcpStream<LapinStream>> {
        SILENCE.with(|silence| {
            *silence.borrow_mut() = Some(tracing::dispatcher::set_default(&Dispatch::none()));
        });
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It would be asked again only to reconnect, which is for us to do.
        let stream = stream.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
        Ok(AsyncTcpStream::Plain(stream.compat()))
    }
}

/// A vetted stream that fails once it is aborted, even while nothing comes over it.
pub(super) struct AbortableStream {
    stream: Stream,
    token: CancellationToken,
    /// Wakes the reader.
    aborted: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AbortableStream {
    pub(super) fn new(stream: Stream, token: CancellationToken) -> Self {
        let aborted = Box::pin(token.clone().cancelled_owned());
        Self { stream, token, aborted }
    }

    /// A connection's end, unless it is aborted.
    fn unless_aborted(&mut self) -> io::Result<Pin<&mut Stream>> {
        if self.token.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was given up"));
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl AsyncRead for AbortableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Both wake the reader, which then finds out by what.
        let _woken = self.aborted.as_mut().poll(cx);
        self.unless_aborted()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for AbortableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.unless_aborted()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unless_aborted()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_aborted()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_aborted()?.poll_shutdown(cx)
    }
}

/// Tokio's clock, and no way out.
#[derive(Debug, Clone)]
pub(super) struct Sockets(Tokio);

impl Reactor for Sockets {
    type TcpStream = LapinStream;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl FuturesRead + FuturesWrite + Send + Unpin + 'static> {
        Err::<LapinStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl FutureStream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        _address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_an_abort() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let token = CancellationToken::new();
        let mut stream = AbortableStream::new(Stream::Plain(stream.unwrap()), token.clone());
        let reader = tokio::spawn(async move { stream.read_u8().await.unwrap_err().kind() });
        tokio::task::yield_now().await;
        token.cancel();
        assert_eq!(reader.await.unwrap(), io::ErrorKind::ConnectionAborted);
        drop(accepted);
    }
}
