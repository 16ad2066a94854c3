//! One HTTP connection to a server.
//!
//! An HTTP/1.1 connection belongs to one request at a time, so the task that makes the request drives the
//! connection too: there is no second task to own, and giving up a request closes its connection at once.
//! (Speed is the same either way: measured.) An HTTP/2 connection is shared, so it has tasks of its own.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{self, Answer};
use super::request::Body;
use crate::egress::Stream;

type Request = http::Request<Body>;

/// The most bytes of a response that are buffered before someone reads them, headers included.
const BUFFER_BYTES: usize = 64 * 1024;
/// An HTTP/2 connection with requests under way is pinged this often, and given up when no answer comes in
/// time.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Limits of one exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExchangeLimits {
    /// When it must be over.
    pub(crate) deadline: Instant,
    /// How much of the response's body is kept.
    pub(crate) keep_bytes: usize,
    /// How long the body may take once the head has come.
    pub(crate) body_timeout: Duration,
}

impl ExchangeLimits {
    /// How long a body may take that is only kept for people to read: a server that trickles must not hold its slot for
    /// long.
    pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(5);
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ExchangeError {
    /// The deadline passed.
    TimedOut,
    /// The connection or the protocol failed.
    Failed(hyper::Error),
}

impl ExchangeError {
    /// Whether this is how it looks when the server had already closed an idle connection: no byte of an
    /// answer came.
    pub(super) fn may_be_stale_connection(&self) -> bool {
        match self {
            Self::TimedOut => false,
            Self::Failed(error) => {
                error.is_canceled()
                    || error.is_closed()
                    || error.is_incomplete_message()
                    || !error.is_parse() && is_reset(error)
            }
        }
    }
}

/// Whether the operating system reports that the other side has let go of the connection.
fn is_reset(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|source| matches!(source.kind(), BrokenPipe | ConnectionAborted | ConnectionReset))
}

/// An HTTP/1.1 connection. Dropping it closes it.
pub(super) struct Http1 {
    sender: http1::SendRequest<Body>,
    driver: http1::Connection<TokioIo<Stream>, Body>,
    finished: bool,
    made: Instant,
}

impl Http1 {
    pub(super) async fn handshake(stream: Stream) -> hyper::Result<Self> {
        let (sender, driver) =
            http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver, finished: false, made: Instant::now() })
    }

    /// Sends a request and reads the answer. When dropped on the way the connection must be dropped as well.
    pub(super) async fn exchange(
        &mut self,
        request: Request,
        limits: ExchangeLimits,
    ) -> Result<Answer, ExchangeError> {
        let sent = self.sender.send_request(request);
        self.drive(answer(sent, limits)).await
    }

    /// Polls the connection beside `work`, which waits for it.
    async fn drive<W: Future>(&mut self, work: W) -> W::Output {
        let mut work = pin!(work);
        poll_fn(|cx| {
            self.poll_driver(cx);
            work.as_mut().poll(cx)
        })
        .await
    }

    fn poll_driver(&mut self, cx: &mut Context<'_>) {
        // What goes wrong with the connection reaches the request through its own future.
        if !self.finished && Pin::new(&mut self.driver).poll(cx).is_ready() {
            self.finished = true;
        }
    }

    /// Whether it can take another request. Sees a close by the other side that has already arrived.
    pub(super) fn is_ready(&mut self) -> bool {
        self.poll_driver(&mut Context::from_waker(Waker::noop()));
        !self.finished && self.sender.is_ready()
    }

    pub(super) fn made(&self) -> Instant {
        self.made
    }
}

/// An HTTP/2 connection, shared by concurrent requests.
pub(super) struct Http2 {
    sender: http2::SendRequest<Body>,
    made: Instant,
}

impl Http2 {
    /// Shakes hands; the connection's tasks run in `tasks` until the last sender has gone.
    pub(super) async fn handshake(stream: Stream, tasks: &Tasks) -> hyper::Result<Self> {
        let window = u32::try_from(BUFFER_BYTES).unwrap_or(u32::MAX);
        let (sender, driver) = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .initial_connection_window_size(window * 16)
            .max_header_list_size(window)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await?;
        tasks.execute(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "an HTTP/2 connection ended");
            }
        });
        Ok(Self { sender, made: Instant::now() })
    }

    /// Sends a request and reads the answer. When dropped on the way its stream is reset.
    pub(super) async fn exchange(
        &self,
        request: Request,
        limits: ExchangeLimits,
    ) -> Result<Answer, ExchangeError> {
        let sent = self.sender.clone().send_request(request);
        answer(sent, limits).await
    }

    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready() && !self.sender.is_closed()
    }

    pub(super) fn made(&self) -> Instant {
        self.made
    }
}

async fn answer(
    sent: impl Future<Output = hyper::Result<http::Response<hyper::body::Incoming>>>,
    limits: ExchangeLimits,
) -> Result<Answer, ExchangeError> {
    let response = timeout_at(limits.deadline, sent)
        .await
        .map_err(|_| ExchangeError::TimedOut)?
        .map_err(ExchangeError::Failed)?;
    Ok(answer::read(response, limits).await)
}

/// The tasks of one pool: all end when it is stopped.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Stops all tasks and waits until they have ended.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Stops all tasks.
    pub(super) fn cancel(&self) {
        self.stop.cancel();
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move { stop.run_until_cancelled(task).await });
    }
}
