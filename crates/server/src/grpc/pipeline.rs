//! Streams of messages into the publisher, many in flight, and their answers back in the order of the messages.
//!
//! ```text
//!  client ─▶ message ─▶ read ─▶ queue, one after the other ─▶ settle ┐
//!                                                             settle ├─ in flight, at most `stream_in_flight_bytes`
//!                                                             settle ┘
//!  client ◀─ answer ◀─────────────────────────────────────── in order   what is ready together is answered together
//! ```
//!
//! A message counts until its answer is handed to the connection, so a client that takes no answers is soon read no
//! further; HTTP/2's windows then hold up its sending, and nobody else's. What is in flight goes on all the same: it is
//! driven by a task of its own and not by the client's reading, for it may hold a place in the commit queue.
//!
//! The messages of a stream reach the log in their order. One that is refused does not hold back those behind it.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use eventrelay_event::{Event, Tenant};
use eventrelay_ingest::Receipts;
use eventrelay_telemetry::{Door, PublishSpans};
use futures_util::future::{Fuse, FusedFuture};
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, Stream, StreamExt};
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::refusals::Refused;
use super::service::{Call, QueuedMessage, Shared, draining};
use crate::auth::{Access, now_micros};
use crate::quota::{InFlight, OpenStream};
use crate::request_trace::RequestTrace;
use crate::shutdown::Stage;

/// Answers that are on their way from the pipeline to the connection.
const ANSWERS_AHEAD: usize = 4;
/// What an event's answer and place in the pipeline count for, beside the bytes of its message.
const EVENT_OVERHEAD_BYTES: usize = 128;

/// What a stream's messages look like.
pub(crate) trait Dialect: Send + 'static {
    /// A message of the client.
    type Request: Message + Default + 'static;
    /// An answer to it.
    type Response: Send + 'static;

    /// Reads a message: its number, and its events.
    ///
    /// # Errors
    /// When the stream cannot go on.
    fn read(&mut self, shared: &Shared, tenant: &Tenant, request: Self::Request) -> Result<Batch, Refused>;

    /// Writes what became of messages, in their order.
    fn write(&self, answered: impl Iterator<Item = Answered>) -> Vec<Self::Response>;
}

/// One message, read.
pub(crate) struct Batch {
    pub(crate) sequence: u64,
    /// Its events, or why they are none.
    pub(crate) events: Result<Vec<Event>, Refused>,
}

/// What became of one message.
pub(crate) struct Answered {
    pub(crate) sequence: u64,
    pub(crate) outcome: Result<Receipts, Refused>,
    /// What the message counted for.
    bytes: usize,
}

/// What a pipeline tells its connection.
enum Said<R> {
    Answers(Vec<R>),
    /// There is no more, for the reason that is given or by the client's wish.
    End(Option<Status>),
}

/// The answers, as the call's response.
pub(crate) struct Answers<R> {
    /// None once there is no more.
    receiver: Option<mpsc::Receiver<Said<R>>>,
    ready: VecDeque<R>,
}

impl<R: Unpin> Stream for Answers<R> {
    type Item = Result<R, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(answer) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(answer)));
            }
            let Some(receiver) = &mut self.receiver else {
                return Poll::Ready(None);
            };
            let end = match ready!(receiver.poll_recv(cx)) {
                Some(Said::Answers(answers)) => {
                    self.ready = answers.into();
                    continue;
                }
                Some(Said::End(status)) => status,
                // Without an end there may be messages without an answer, and that must not look well.
                None => Some(cut_off().into_status()),
            };
            self.receiver = None;
            return Poll::Ready(end.map(Err));
        }
    }
}

fn cut_off() -> Refused {
    Refused::new(
        Code::Unavailable,
        "stream_cut_off",
        "the stream was cut off; its answers were not taken in time",
    )
}

/// Starts a pipeline as one of the connection's tasks.
///
/// # Errors
/// When the call is nobody's, or the tenant has as many streams as it may have.
pub(crate) fn start<D: Dialect>(
    call: &Call,
    dialect: D,
    input: Streaming<D::Request>,
) -> Result<Answers<D::Response>, Status> {
    let access = call.access()?.clone();
    let place = access.quota().open_stream().map_err(|exceeded| Refused::from(exceeded).into_status())?;
    let (answers, receiver) = mpsc::channel(ANSWERS_AHEAD);
    let pipeline = Pipeline {
        stage: call.shared.stage.clone(),
        shared: Arc::clone(&call.shared),
        access,
        trace: call.trace.clone(),
        dialect,
        input,
        held_bytes: 0,
        reading: true,
        ending: None,
        _place: place,
    };
    call.tasks.spawn(pipeline.run(answers));
    Ok(Answers { receiver: Some(receiver), ready: VecDeque::new() })
}

struct Pipeline<D: Dialect> {
    shared: Arc<Shared>,
    access: Access,
    /// The stream's, which events have that bring none of their own.
    trace: Option<RequestTrace>,
    dialect: D,
    input: Streaming<D::Request>,
    stage: watch::Receiver<Stage>,
    /// What the messages count for that are not yet answered.
    held_bytes: usize,
    /// Whether more messages are taken.
    reading: bool,
    /// Why the stream ends, when it is not the client's wish; told after the last answer.
    ending: Option<Status>,
    /// Its place among its tenant's.
    _place: OpenStream,
}

impl<D: Dialect> Pipeline<D> {
    async fn run(mut self, answers: mpsc::Sender<Said<D::Response>>) {
        let patience = Duration::from_millis(self.shared.options.write_timeout_ms);
        let mut queueing = pin!(Fuse::terminated());
        let mut in_flight = FuturesOrdered::new();
        let mut answered: Vec<Answered> = Vec::new();
        while self.reading || !queueing.is_terminated() || !in_flight.is_empty() || !answered.is_empty() {
            let takes_more = self.reading && queueing.is_terminated();
            let has_room = self.held_bytes < self.shared.options.stream_in_flight_bytes;
            tokio::select! {
                biased;
                queued = &mut queueing, if !queueing.is_terminated() => {
                    in_flight.push_back(settle(Arc::clone(&self.shared), queued));
                }
                Some(first) = in_flight.next() => {
                    answered.push(first);
                    while let Some(Some(next)) = in_flight.next().now_or_never() {
                        answered.push(next);
                    }
                }
                place = timeout(patience, answers.reserve()), if !answered.is_empty() => {
                    // Nobody is there to hear of it any more, or nobody listens.
                    let Ok(Ok(place)) = place else { return };
                    self.held_bytes -= answered.iter().map(|answered| answered.bytes).sum::<usize>();
                    place.send(Said::Answers(self.dialect.write(answered.drain(..))));
                }
                message = self.input.message(), if takes_more && has_room => {
                    if let Some(admitted) = self.read(message) {
                        self.held_bytes += admitted.bytes;
                        queueing.set(queue(Arc::clone(&self.shared), admitted).fuse());
                    }
                }
                () = draining(&mut self.stage), if self.reading => {
                    self.end(Some(Refused::shutting_down().into_status()));
                }
                () = answers.closed() => return,
            }
        }
        // An error means that nobody is there to hear of it.
        let _ = timeout(patience, answers.send(Said::End(self.ending))).await;
    }

    /// Reads a message, or learns that there will be no more.
    fn read(&mut self, message: Result<Option<D::Request>, Status>) -> Option<Admitted> {
        let request = match message {
            Ok(Some(request)) => request,
            Ok(None) => {
                self.end(None);
                return None;
            }
            Err(status) => {
                self.end(Some(named(status)));
                return None;
            }
        };
        // A stream must not outlive its key.
        if self.access.can_end() && !self.access.is_valid(now_micros()) {
            self.end(Some(Refused::unauthenticated().into_status()));
            return None;
        }
        let message_bytes = request.encoded_len();
        match self.dialect.read(&self.shared, self.access.tenant(), request) {
            Ok(mut batch) => {
                if let (Some(trace), Ok(events)) = (&self.trace, &mut batch.events) {
                    trace.apply(events);
                }
                Some(self.admit(batch, message_bytes))
            }
            Err(refused) => {
                self.shared.metrics.count_refused(refused.code());
                self.end(Some(refused.into_status()));
                None
            }
        }
    }

    /// Counts a message, and refuses its events where they are over the tenant's quota.
    fn admit(&self, batch: Batch, message_bytes: usize) -> Admitted {
        let Batch { sequence, events } = batch;
        let bytes = message_bytes + events.as_ref().map_or(1, Vec::len) * EVENT_OVERHEAD_BYTES;
        let mut spans = self.shared.publisher.spans().publish(Door::Grpc, self.access.tenant());
        if let Ok(events) = &events {
            spans.events(events);
        }
        let quota = self.access.quota();
        let events = events.and_then(|events| {
            quota.admit_requests(1)?;
            let in_flight = quota.admit_events(events.len(), message_bytes)?;
            Ok((events, in_flight))
        });
        Admitted { sequence, events, bytes, spans }
    }

    fn end(&mut self, status: Option<Status>) {
        self.reading = false;
        self.ending = status;
    }
}

/// A message that may have its place in the log, or is refused.
struct Admitted {
    sequence: u64,
    events: Result<(Vec<Event>, InFlight), Refused>,
    /// What it counts for.
    bytes: usize,
    spans: PublishSpans,
}

/// A message that has its place in the log, or is refused.
struct Placed {
    sequence: u64,
    queued: Result<QueuedMessage, Refused>,
    bytes: usize,
    spans: PublishSpans,
}

async fn queue(shared: Arc<Shared>, admitted: Admitted) -> Placed {
    let Admitted { sequence, events, bytes, spans } = admitted;
    let queued = match events {
        Ok((events, in_flight)) => shared.queue(events, bytes, in_flight).await,
        Err(refused) => Err(refused),
    };
    Placed { sequence, queued, bytes, spans }
}

async fn settle(shared: Arc<Shared>, placed: Placed) -> Answered {
    let Placed { sequence, queued, bytes, spans } = placed;
    let outcome = match queued {
        Ok(message) => shared.settle(message).await,
        Err(refused) => Err(refused),
    };
    match &outcome {
        Ok(_) => spans.accepted(),
        Err(refused) => {
            shared.metrics.count_refused(refused.code());
            spans.refused(refused.code(), refused.message());
        }
    }
    Answered { sequence, outcome, bytes }
}

/// A status with a stable code: what cannot be decoded comes from tonic without one.
pub(crate) fn named(status: Status) -> Status {
    if status.code() != Code::Internal || !status.details().is_empty() {
        return status;
    }
    Refused::new(Code::InvalidArgument, "malformed_message", status.message()).into_status()
}
