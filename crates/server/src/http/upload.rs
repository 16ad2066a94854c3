//! Reading a request's body: bounded in size, in time, and in the memory that all bodies take together.
//!
//! Memory is reserved as bytes arrive and not by what a head announces, so that clients which announce much and
//! send nothing reserve nothing. The reservation lives as long as the [`Received`] body, that is until its events
//! are in the log.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use super::options::ServerOptions;
use super::problem::Problem;
use super::state::ConnectionState;

/// How bodies are bounded.
#[derive(Debug)]
pub(crate) struct UploadLimits {
    pub(crate) max_bytes: usize,
    total: Duration,
    grace: Duration,
    bytes_per_second: u64,
    memory_wait: Duration,
    discard_bytes: usize,
    discard: Duration,
    memory_bytes: usize,
    /// One permit is one byte.
    memory: Semaphore,
    /// What of it the windows of streams' decompressors may have together: they keep them for long.
    stream_windows: Semaphore,
}

impl UploadLimits {
    pub(crate) fn new(options: &ServerOptions) -> Self {
        Self {
            max_bytes: options.max_body_bytes,
            total: Duration::from_millis(options.body_timeout_ms),
            grace: Duration::from_millis(options.body_grace_ms),
            bytes_per_second: options.body_bytes_per_second,
            memory_wait: Duration::from_millis(options.body_memory_wait_ms),
            discard_bytes: options.discard_bytes,
            discard: Duration::from_millis(options.discard_timeout_ms),
            memory_bytes: options.body_memory_bytes,
            memory: Semaphore::new(options.body_memory_bytes),
            stream_windows: Semaphore::new(options.body_memory_bytes / 2),
        }
    }

    /// Takes its share of the memory of all bodies, and waits a while for it.
    ///
    /// # Errors
    /// 503 when there is none.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Problem> {
        self.acquire(bytes).await.ok_or_else(|| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "The server has too many bodies in memory",
            )
            .retry_after(self.memory_wait)
        })
    }

    /// Takes its share of the memory of all bodies, and waits a while for it; `None` when there is none.
    pub(crate) async fn acquire(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        self.acquire_from(&self.memory, bytes).await
    }

    /// Takes memory for the window of a stream's decompressor, likewise: its share of all such windows, and the memory.
    pub(crate) async fn acquire_window(
        &self,
        bytes: usize,
    ) -> Option<(SemaphorePermit<'_>, SemaphorePermit<'_>)> {
        // As with the window of a whole body: where there is no room for it there may be one at a time.
        let bytes = bytes.min(self.memory_bytes / 2);
        let share = self.acquire_from(&self.stream_windows, bytes).await?;
        Some((share, self.acquire(bytes).await?))
    }

    async fn acquire_from<'a>(&self, memory: &'a Semaphore, bytes: usize) -> Option<SemaphorePermit<'a>> {
        // A frame is no larger than a body may be, and that fits (checked with the options).
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(permit) = memory.try_acquire_many(permits) {
            return Some(permit);
        }
        timeout(self.memory_wait, memory.acquire_many(permits)).await.ok()?.ok()
    }

    /// The memory of all bodies.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Takes memory for a decompressor's window, which a small configuration has no room for beside the bodies: then the
    /// better part of it, so that there is one such window at a time.
    pub(crate) async fn reserve_window(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Problem> {
        self.reserve(bytes.min(self.memory_bytes / 2)).await
    }

    /// A body of more than `max_bytes`.
    pub(crate) fn too_large(&self, when: &str) -> Problem {
        let detail = format!("At most {} bytes are taken {when}", self.max_bytes);
        body_too_large(detail.trim_end().to_owned())
    }

    /// When a body of which `received` bytes have come has had its time.
    fn deadline(&self, started: Instant, received: usize) -> Instant {
        let earned = Duration::from_secs_f64(received as f64 / self.bytes_per_second as f64);
        started + self.total.min(self.grace + earned)
    }
}

fn body_too_large(detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large").detail(detail)
}

/// A body that is not read yet.
pub(crate) struct Upload<'a> {
    /// None once somebody else reads it.
    incoming: Option<Incoming>,
    limits: &'a UploadLimits,
    connection: &'a ConnectionState,
    /// The client waits for our leave (`100 Continue`) before it sends.
    expects_continue: bool,
    started: Option<Instant>,
    received: usize,
    /// The end has been read. (A chunked body of hyper's does not know of its own end.)
    ended: bool,
}

/// A body in memory, with its share of the memory of all bodies.
pub(crate) struct Received<'a> {
    pub(crate) bytes: Bytes,
    _memory: Option<SemaphorePermit<'a>>,
}

impl<'a> Received<'a> {
    /// A body that came otherwise than it is, with the memory that was reserved for it.
    pub(crate) fn new(bytes: Bytes, memory: SemaphorePermit<'a>) -> Self {
        Self { bytes, _memory: Some(memory) }
    }
}

impl<'a> Upload<'a> {
    pub(crate) fn new(
        incoming: Incoming,
        limits: &'a UploadLimits,
        connection: &'a ConnectionState,
        expects_continue: bool,
    ) -> Self {
        Self {
            incoming: Some(incoming),
            limits,
            connection,
            expects_continue,
            started: None,
            received: 0,
            ended: false,
        }
    }

    /// Bytes of the body that have come.
    pub(crate) fn received(&self) -> usize {
        self.received
    }

    /// Whether the client waits for our leave before it sends: it has it once the body is read from.
    pub(crate) fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Gives the rest of the body to a reader with limits of its own.
    pub(crate) fn take(&mut self) -> Option<Incoming> {
        self.incoming.take()
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// 413 when it is too large (before it is read, where the head tells), 408 when it is too slow, 503 when there
    /// is no memory for it, 400 when it is malformed or ends early.
    pub(crate) async fn read(&mut self) -> Result<Received<'a>, Problem> {
        self.read_at_most(self.limits.max_bytes).await
    }

    /// Reads all of it, where less may be sent than elsewhere.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) async fn read_at_most(&mut self, max_bytes: usize) -> Result<Received<'a>, Problem> {
        let max_bytes = max_bytes.min(self.limits.max_bytes);
        let too_large = || body_too_large(format!("At most {max_bytes} bytes are taken"));
        let declared = self.incoming.as_ref().and_then(|incoming| incoming.size_hint().exact());
        if declared.is_some_and(|declared| declared > max_bytes as u64) {
            return Err(too_large());
        }
        let Some(first) = self.next().await? else {
            return Ok(Received { bytes: Bytes::new(), _memory: None });
        };
        let limits: &'a UploadLimits = self.limits;
        let mut memory = limits.reserve(first.len()).await?;
        if declared == Some(first.len() as u64) {
            // The usual case: it came with the head, and is used where it lies.
            return Ok(Received { bytes: first, _memory: Some(memory) });
        }
        let capacity =
            declared.and_then(|declared| usize::try_from(declared).ok()).unwrap_or(2 * first.len());
        let mut bytes = BytesMut::with_capacity(capacity);
        bytes.extend_from_slice(&first);
        drop(first);
        while let Some(more) = self.next().await? {
            if self.received > max_bytes {
                return Err(too_large());
            }
            memory.merge(limits.reserve(more.len()).await?);
            bytes.extend_from_slice(&more);
        }
        Ok(Received { bytes: bytes.freeze(), _memory: Some(memory) })
    }

    /// Reads the rest and throws it away, so that the connection can go on. False when that would take too much.
    pub(crate) async fn discard(&mut self) -> bool {
        let Some(incoming) = self.incoming.as_ref().filter(|_| !self.has_ended()) else {
            return true;
        };
        let unasked = self.expects_continue && self.started.is_none();
        let rest = incoming.size_hint();
        if unasked || self.connection.violation().is_some() || rest.lower() > self.limits.discard_bytes as u64
        {
            return false;
        }
        let most = self.received + self.limits.discard_bytes;
        let time = self.limits.discard;
        let rest = async {
            while let Ok(Some(_)) = self.next().await {
                if self.received > most {
                    return false;
                }
            }
            self.has_ended()
        };
        timeout(time, rest).await.unwrap_or(false)
    }

    fn has_ended(&self) -> bool {
        self.ended || self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    /// The next piece of it; none at its end.
    ///
    /// # Errors
    /// 408 when it is too slow, 400 when it is malformed or ends early.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let started = *self.started.get_or_insert_with(Instant::now);
        loop {
            if self.has_ended() {
                return Ok(None);
            }
            let Some(incoming) = &mut self.incoming else { return Ok(None) };
            let deadline = self.limits.deadline(started, self.received);
            match timeout_at(deadline, incoming.frame()).await {
                Ok(None) => self.ended = true,
                Ok(Some(Ok(frame))) => {
                    // Trailers say nothing to us.
                    if let Ok(bytes) = frame.into_data() {
                        self.received += bytes.len();
                        return Ok(Some(bytes));
                    }
                }
                Ok(Some(Err(error))) => return Err(self.broken(&error)),
                Err(_) => {
                    let title = "The body took too long";
                    return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", title).detail(
                        format!("{} bytes came in {} ms", self.received, started.elapsed().as_millis()),
                    ));
                }
            }
        }
    }

    fn broken(&self, error: &hyper::Error) -> Problem {
        match self.connection.violation() {
            Some(violation) => violation.into(),
            None => {
                Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", "The body did not come to its end")
                    .detail(error.to_string())
            }
        }
    }
}
