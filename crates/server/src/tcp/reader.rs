//! The receiving half of a connection: reads, finds payloads, and submits those of one read together, without waiting for
//! those before to be durable.
//!
//! What is in flight is bounded by bytes: at the bound nothing is read, so that the client waits in its turn.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::end::End;
use super::options::Decode;
use super::receive_buffer::{NoMemory, ReceiveBuffer};
use super::service::Shared;
use super::session::{Session, login_cutter};
use super::writer::Held;
use crate::payloads::batch::Batch;
use crate::payloads::cut::{Cutter, Then};
use crate::payloads::framing::Framing;
use crate::payloads::refusal::Refusal;
use crate::shutdown::Stage;
use crate::tls::ReadHalf;

/// How many reads a drain takes to empty the system's buffer; a client that sends on and on is not waited for.
const READS_WHILE_DRAINING: usize = 64;

/// The receiving half.
pub(crate) struct Reader<'a> {
    shared: &'a Shared,
    /// None until the client has logged in.
    session: Option<Session>,
    framing: Framing,
    cutter: Cutter,
    socket: ReadHalf<'a>,
    buffer: ReceiveBuffer<'a>,
    /// One permit is one byte that may be in flight.
    in_flight: &'a Semaphore,
    batches: mpsc::Sender<Batch<Held<'a>>>,
    stage: watch::Receiver<Stage>,
    /// Where the payloads of the batch at hand are; kept for its memory.
    places: Vec<Range<usize>>,
    /// How much of the partial line at hand is known to hold no line feed.
    searched: usize,
    /// Until when the partial payload at hand must be whole.
    deadline: Option<Instant>,
    reads_while_draining: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        framing: Framing,
        socket: ReadHalf<'a>,
        in_flight: &'a Semaphore,
        batches: mpsc::Sender<Batch<Held<'a>>>,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        Self {
            shared,
            session: None,
            framing,
            cutter: login_cutter(framing),
            socket,
            buffer: ReceiveBuffer::new(&shared.buffer_memory),
            in_flight,
            batches,
            stage,
            places: Vec::new(),
            searched: 0,
            deadline: None,
            reads_while_draining: 0,
        }
    }

    /// Reads until there is a reason to stop.
    pub(crate) async fn run(mut self) -> End {
        match self.shared.open_session() {
            Ok(Some(session)) => self.begin(session),
            Ok(None) => self.deadline = Some(Instant::now() + self.login_timeout()),
            Err(refusal) => return self.refuse(refusal).await,
        }
        loop {
            let taken = async {
                let room_bytes = self.take_payloads().await?;
                self.receive(room_bytes).await
            };
            if let Err(end) = taken.await {
                return end;
            }
        }
    }

    /// Submits every payload that has come whole. Tells how much room the next one is worth.
    async fn take_payloads(&mut self) -> Result<usize, End> {
        let mut progress = false;
        loop {
            let received = self.buffer.received();
            let cut = self.cutter.cut(received, &mut self.searched, &mut self.places);
            progress |= cut.bytes > 0;
            if self.places.is_empty() {
                // Nothing, or not yet whole.
            } else if self.session.is_none() {
                self.log_in().await?;
            } else {
                self.submit(cut.cost).await?;
            }
            self.buffer.consume(cut.bytes);
            match cut.then {
                Then::More => {}
                Then::Partial(bytes) => {
                    self.set_deadline(progress);
                    return Ok(bytes);
                }
                Then::Refused(refusal) => return Err(self.refuse(refusal).await),
            }
        }
    }

    fn begin(&mut self, session: Session) {
        self.cutter = session.cutter(self.shared, self.framing);
        self.session = Some(session);
    }

    /// Takes the one payload for a login.
    async fn log_in(&mut self) -> Result<(), End> {
        let login = &self.buffer.received()[self.places[0].clone()];
        match Session::log_in(self.shared, self.framing, login) {
            Ok(session) => {
                let answer = Batch::nothing(Held::LoggedIn(session.tenant().clone()));
                self.begin(session);
                self.batches.send(answer).await.map_err(|_| End::NobodyReads)
            }
            Err(refusal) => Err(self.refuse(refusal).await),
        }
    }

    async fn submit(&mut self, cost: usize) -> Result<(), End> {
        let Some(session) = &self.session else { return Err(End::NobodyReads) };
        if let Err(refusal) = session.check() {
            return Err(self.refuse(refusal).await);
        }
        // One payload may cost more than may be in flight; then nothing else is.
        let cost = cost.min(self.shared.options.max_in_flight_bytes);
        let permits = u32::try_from(cost).unwrap_or(u32::MAX);
        let permit = self.in_flight.acquire_many(permits).await.map_err(|_| End::NobodyReads)?;
        let received = self.buffer.received();
        let (publisher, places) = (&self.shared.publisher, &self.places);
        let (quota, held) = (session.access.quota(), Held::InFlight(permit));
        let batch = match (self.framing, self.shared.options.decode) {
            (Framing::Frames, Decode::Opaque) => {
                Batch::submit_opaque(publisher, session.opaque_form(), quota, received, places, held).await
            }
            (Framing::Frames, Decode::Json) | (Framing::Lines, _) => {
                // The events' data shares this copy, so that the buffer is free for the next read.
                let first = places.first().map_or(0, |place| place.start);
                let end = places.last().map_or(first, |place| place.end);
                let copy = Bytes::copy_from_slice(&received[first..end]);
                Batch::submit_json(publisher, session.json_form(), quota, &copy, first, places, held).await
            }
        };
        self.batches.send(batch).await.map_err(|_| End::NobodyReads)
    }

    /// Refuses what stands there, after the answers to all that came before, and ends the connection.
    async fn refuse(&mut self, refusal: Refusal) -> End {
        let code = refusal.code;
        if self.batches.send(Batch::refused(1, refusal, Held::Nothing)).await.is_err() {
            return End::NobodyReads;
        }
        End::Refused(code)
    }

    /// A partial payload has its time from when it began, however its bytes trickle in.
    fn set_deadline(&mut self, progress: bool) {
        if self.session.is_none() {
            // A login has its time from when the connection began.
        } else if self.buffer.is_empty() {
            self.deadline = None;
        } else if progress || self.deadline.is_none() {
            self.deadline = Some(Instant::now() + self.frame_timeout());
        }
    }

    fn login_timeout(&self) -> Duration {
        Duration::from_millis(self.shared.options.login_timeout_ms)
    }

    fn frame_timeout(&self) -> Duration {
        Duration::from_millis(self.shared.options.frame_timeout_ms)
    }

    /// Receives at least one byte.
    async fn receive(&mut self, room_bytes: usize) -> Result<(), End> {
        loop {
            if self.buffer.is_empty() {
                self.buffer.release();
            }
            self.wait_until_readable().await?;
            let deadline = self.deadline.unwrap_or_else(|| Instant::now() + self.frame_timeout());
            if self.buffer.make_room(room_bytes, deadline).await == Err(NoMemory) {
                let refusal = Refusal::new("overloaded", "too many large payloads are being received");
                return Err(self.refuse(refusal).await);
            }
            // Polled once: with nothing to read after all, waiting goes on without a buffer.
            let read = {
                let mut reading = pin!(self.socket.read(self.buffer.room()));
                poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await
            };
            match read {
                Poll::Ready(Ok(0)) => return Err(self.ended().await),
                Poll::Ready(Ok(count)) => {
                    self.buffer.filled(count);
                    self.shared.metrics.count_received(count);
                    return Ok(());
                }
                Poll::Ready(Err(error)) => return Err(End::Broken(error.kind())),
                Poll::Pending => {}
            }
        }
    }

    async fn wait_until_readable(&mut self) -> Result<(), End> {
        let broken = |error: io::Error| End::Broken(error.kind());
        loop {
            if *self.stage.borrow() != Stage::Running {
                return self.take_what_is_there().await;
            }
            let idle = Duration::from_millis(self.shared.options.idle_timeout_ms);
            let deadline = self.deadline.unwrap_or_else(|| Instant::now() + idle);
            tokio::select! {
                biased;
                readable = self.socket.readable() => return readable.map_err(broken),
                // An error means that the server is gone, which is as good a reason.
                changed = self.stage.wait_for(|stage| *stage != Stage::Running) => match changed {
                    Ok(_) => continue,
                    Err(_) => return Err(End::Drained { was_idle: false }),
                },
                () = sleep_until(deadline) => {}
            }
            if self.session.is_none() {
                return Err(End::LoginTimeout);
            }
            if self.deadline.is_some() {
                return Err(End::FrameTimeout);
            }
            // Who waits for an acknowledgement is not idle.
            if !self.has_in_flight() {
                return Err(End::IdleTimeout);
            }
        }
    }

    /// While the server drains: what the system has received is taken, and nothing is waited for.
    async fn take_what_is_there(&mut self) -> Result<(), End> {
        let mut readable = pin!(self.socket.readable());
        let is_readable = poll_fn(|context| Poll::Ready(readable.as_mut().poll(context).is_ready())).await;
        if is_readable && self.reads_while_draining < READS_WHILE_DRAINING {
            self.reads_while_draining += 1;
            return Ok(());
        }
        let was_idle = self.reads_while_draining == 0 && self.buffer.is_empty() && !self.has_in_flight();
        Err(End::Drained { was_idle })
    }

    fn has_in_flight(&self) -> bool {
        self.in_flight.available_permits() < self.shared.options.max_in_flight_bytes
    }

    /// The client has sent its last byte.
    async fn ended(&mut self) -> End {
        if self.buffer.is_empty() {
            return End::ByClient;
        }
        if self.framing == Framing::Lines {
            let refusal = Refusal::new("incomplete_line", "the last line does not end with a line feed");
            // Whether it hears that or not, it is gone.
            let _ = self.refuse(refusal).await;
        }
        End::HalfPayload
    }
}
