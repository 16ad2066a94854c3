//! What stands between the socket and hyper: it hands hyper only bytes that have one reading, and cuts off who is
//! slow.
//!
//! **Framing.** Incoming bytes pass through [`framing`]. When a message is refused, hyper gets a request of our own
//! in its place, with the method [`REFUSED_METHOD`]; the service answers it with the problem. In this way the
//! answers to earlier, pipelined requests still come first, and every refusal is written by the same code.
//!
//! **Deadlines.** A new connection must speak, a head once begun must end, an idle connection must go on, and an
//! answer must be taken; each in its time. One timer serves the three that concern reading, and is touched only
//! when the socket has nothing for us. Bodies are timed where they are read, since that also holds for HTTP/2.
//!
//! **Closing.** A socket that is closed with unread bytes resets the connection, and a reset can overtake our last
//! answer. So when the client is in the middle of something, our half is closed first and the rest of the client's
//! is read and thrown away, for a bounded time.

mod framing;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use framing::Framing;
pub(crate) use framing::{FramingLimits, Violation};

use super::state::ConnectionState;

/// The method of the request that stands in for a refused one.
pub(crate) const REFUSED_METHOD: &str = "REFUSED";
const REFUSED_REQUEST: &[u8] = b"REFUSED / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection's read buffer starts with this and grows up to the head limit.
const INITIAL_BUFFER_BYTES: usize = 4096;
/// Larger reads than this go past the buffer where the framing allows it.
const DIRECT_READ_BYTES: u64 = 4096;

/// The limits of a gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GateLimits {
    pub(crate) framing: FramingLimits,
    pub(crate) first_byte: Duration,
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
    pub(crate) write: Duration,
    pub(crate) linger: Duration,
}

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// What a silent client is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    FirstByte,
    Head,
    Idle,
}

/// A socket behind the gate.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    socket: T,
    limits: GateLimits,
    state: Arc<ConnectionState>,
    framing: Framing,
    buffer: Buffer,
    refusal: Refusal,
    /// Whether any byte has come.
    spoken: bool,
    /// How many requests had begun when the wait for the next one did.
    requests_begun: u32,
    read_wait: Option<Wait>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    linger_timer: Option<Pin<Box<Sleep>>>,
}

/// How far the request that stands in for a refused one has been handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    None,
    /// In the place of a head.
    Standing {
        handed_on: usize,
    },
    /// In the middle of a body, which fails.
    Body,
}

/// Bytes from the socket: `start..approved` may be handed on, `approved..end` are not yet checked to the end.
#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    approved: usize,
    end: usize,
}

impl Buffer {
    fn has_unapproved(&self) -> bool {
        self.end > self.approved
    }

    /// Makes room behind `end`, if need be by growing up to `limit`.
    fn make_room(&mut self, limit: usize) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.approved -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            let mut larger = vec![0; (self.bytes.len() * 2).min(limit.max(self.bytes.len() + 1))];
            larger[..self.end].copy_from_slice(&self.bytes[..self.end]);
            self.bytes = larger.into_boxed_slice();
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Gate<T> {
    pub(crate) fn new(socket: T, limits: GateLimits, state: Arc<ConnectionState>) -> Self {
        Self {
            socket,
            limits,
            state,
            framing: Framing::new(limits.framing),
            buffer: Buffer {
                bytes: vec![0; INITIAL_BUFFER_BYTES].into_boxed_slice(),
                start: 0,
                approved: 0,
                end: 0,
            },
            refusal: Refusal::None,
            spoken: false,
            requests_begun: 0,
            read_wait: None,
            read_timer: Box::pin(tokio::time::sleep(limits.first_byte)),
            write_timer: None,
            linger_timer: None,
        }
    }

    /// Waits until the first bytes tell the protocol; `None` when the client leaves or stays silent.
    pub(crate) async fn detect(&mut self) -> io::Result<Option<Protocol>> {
        std::future::poll_fn(|cx| self.poll_detect(cx)).await
    }

    fn poll_detect(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Protocol>>> {
        loop {
            let seen = &self.buffer.bytes[..self.buffer.end];
            if seen.len() >= HTTP2_PREFACE.len() && seen.starts_with(HTTP2_PREFACE) {
                self.framing.set_opaque();
                self.approve();
                return Poll::Ready(Ok(Some(Protocol::Http2)));
            }
            if !HTTP2_PREFACE.starts_with(seen) {
                self.approve();
                return Poll::Ready(Ok(Some(Protocol::Http1)));
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Ok(None)),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Reads from the socket into the buffer. 0 bytes: the client has left, or was silent for too long.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.make_room(self.limits.framing.head_bytes);
        let mut room = ReadBuf::new(&mut self.buffer.bytes[self.buffer.end..]);
        match Pin::new(&mut self.socket).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let count = room.filled().len();
                self.buffer.end += count;
                self.spoken |= count > 0;
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_silence(cx),
        }
    }

    /// The socket has nothing: is it time to give up?
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (wait, limit) = if !self.spoken {
            (Wait::FirstByte, self.limits.first_byte)
        } else if self.framing.is_at_head() && self.buffer.has_unapproved() {
            (Wait::Head, self.limits.head)
        } else if self.state.has_requests_in_flight()
            || !(self.framing.is_at_head() || self.framing.is_opaque())
        {
            // Our turn, or a body's, which is timed by its reader.
            self.read_wait = None;
            return Poll::Pending;
        } else {
            (Wait::Idle, self.limits.idle)
        };
        // Bytes alone do not prolong a wait: a trickle of them would hold the connection for ever.
        let begun = self.state.requests_begun();
        if self.read_wait != Some(wait) || self.requests_begun != begun {
            self.requests_begun = begun;
            self.read_wait = Some(wait);
            self.read_timer.as_mut().reset(Instant::now() + limit);
        }
        ready!(self.read_timer.as_mut().poll(cx));
        if wait == Wait::Head && !self.framing.is_opaque() {
            self.refuse(Violation::HeadTimeout);
        }
        Poll::Ready(Ok(0))
    }

    fn refuse(&mut self, violation: Violation) {
        self.state.refuse(violation);
        let standing = violation != Violation::MalformedChunk && self.framing.is_at_head();
        self.refusal = if standing { Refusal::Standing { handed_on: 0 } } else { Refusal::Body };
    }

    /// Checks what is new in the buffer.
    fn approve(&mut self) {
        let (count, violation) =
            self.framing.approve(&self.buffer.bytes[self.buffer.approved..self.buffer.end]);
        self.buffer.approved += count;
        if count > 0 {
            // Whatever head was awaited has come.
            self.read_wait = None;
        }
        if let Some(violation) = violation {
            self.refuse(violation);
        }
    }

    /// Hands approved bytes on; false when there are none.
    fn hand_on(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let approved = &self.buffer.bytes[self.buffer.start..self.buffer.approved];
        let count = approved.len().min(out.remaining());
        out.put_slice(&approved[..count]);
        self.buffer.start += count;
        if self.buffer.start == self.buffer.end {
            (self.buffer.start, self.buffer.approved, self.buffer.end) = (0, 0, 0);
        }
        count > 0
    }

    /// Whether the rest of `out` can be read straight from the socket, since it all belongs to one body.
    fn can_read_directly(&self, out: &ReadBuf<'_>) -> bool {
        let wanted = out.remaining() as u64;
        self.buffer.end == 0
            && (self.framing.is_opaque()
                || (wanted >= DIRECT_READ_BYTES && self.framing.sized_remaining() >= wanted))
    }

    fn poll_read_directly(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        match Pin::new(&mut self.socket).poll_read(cx, out) {
            Poll::Ready(Ok(())) => {
                let (count, violation) = self.framing.approve(&out.filled()[before..]);
                assert!(count == out.filled().len() - before && violation.is_none(), "a body needs no check");
                self.spoken |= count > 0;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_silence(cx).map_ok(|_| ()),
        }
    }

    fn poll_refusal(&mut self, handed_on: usize, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = &REFUSED_REQUEST[handed_on..];
        if rest.is_empty() {
            // The answer is on its way; hyper looks only whether the client is still there.
            return Poll::Pending;
        }
        let count = rest.len().min(out.remaining());
        out.put_slice(&rest[..count]);
        self.refusal = Refusal::Standing { handed_on: handed_on + count };
        Poll::Ready(Ok(()))
    }

    /// Whether the client may still be sending what nobody will read.
    fn is_mid_message(&self) -> bool {
        self.refusal != Refusal::None
            || !(self.framing.is_at_head() || self.framing.is_opaque())
            || self.state.is_closing()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        loop {
            if gate.hand_on(out) {
                return Poll::Ready(Ok(()));
            }
            match gate.refusal {
                Refusal::None => {}
                Refusal::Standing { handed_on } => return gate.poll_refusal(handed_on, out),
                Refusal::Body => return Poll::Ready(Err(io::Error::from(io::ErrorKind::InvalidData))),
            }
            if gate.can_read_directly(out) {
                return gate.poll_read_directly(cx, out);
            }
            let count = ready!(gate.poll_fill(cx))?;
            if count == 0 && gate.refusal == Refusal::None {
                return Poll::Ready(Ok(()));
            }
            gate.approve();
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let written = Pin::new(&mut gate.socket).poll_write(cx, bytes);
        gate.poll_written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let written = Pin::new(&mut gate.socket).poll_write_vectored(cx, slices);
        gate.poll_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        // With TLS, what was written may wait for the socket still.
        let flushed = Pin::new(&mut gate.socket).poll_flush(cx);
        gate.poll_written(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        if gate.linger_timer.is_none() {
            ready!(Pin::new(&mut gate.socket).poll_shutdown(cx))?;
            if !gate.is_mid_message() {
                return Poll::Ready(Ok(()));
            }
        }
        gate.poll_linger(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Gate<T> {
    /// Times an answer that the client does not take.
    fn poll_written<W>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<W>>) -> Poll<io::Result<W>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let limit = self.limits.write;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
    }

    /// Throws away what the client still sends, until it stops or its time is up.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limit = self.limits.linger;
        let timer = self.linger_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        loop {
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut scratch = ReadBuf::new(&mut self.buffer.bytes);
            match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut scratch)) {
                Ok(()) if !scratch.filled().is_empty() => {}
                // The client has heard us, or is gone: there is nobody left to tell.
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}
