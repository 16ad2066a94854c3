//! The receiving half of a stream: takes the body as it comes, decompresses it, finds lines, and submits those that came
//! together, without waiting for those before to be durable.

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use eventrelay_telemetry::Door;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Opened;
use super::answers::Lines;
use super::end::End;
use crate::auth::now_micros;
use crate::http::decompress_stream::{Step, StreamDecoder};
use crate::http::problem::Problem;
use crate::http::service::Shared;
use crate::http::state::ConnectionState;
use crate::payloads::batch::{Batch, JsonForm};
use crate::payloads::cut::{BATCH_COST_BYTES, Cut, Cutter, JSON_OVERHEAD_BYTES, RECORD_BYTES, Then};
use crate::payloads::framing::Framing;
use crate::payloads::refusal::Refusal;
use crate::shutdown::Stage;

/// What every stream may have of a line that is not yet whole; more is taken from the memory of all bodies.
const OWN_BYTES: usize = 16 << 10;
/// How often a silent stream asks whether its key is still good.
const RECHECK: Duration = Duration::from_millis(500);

/// Why nothing more is read.
enum Stop {
    /// For this reason, to be told in the last line.
    Refused(Refusal),
    /// The half that answers has ended, and says why.
    NobodyAnswers,
}

/// The receiving half.
pub(super) struct Reader<'a> {
    shared: &'a Shared,
    access: crate::auth::Access,
    trace: Option<crate::request_trace::RequestTrace>,
    idempotency_key: Option<String>,
    body: Incoming,
    /// What has come of it and is not yet fed to the decoder.
    first: Bytes,
    connection: std::sync::Arc<ConnectionState>,
    decoder: StreamDecoder,
    /// The decoder's window: its share of the windows of all streams, and of the memory of all bodies.
    window: Option<(SemaphorePermit<'a>, SemaphorePermit<'a>)>,
    cutter: Cutter,
    /// What has come and is in no batch: the beginning of a line, once all whole ones are taken.
    buffer: BytesMut,
    /// For the bytes of the buffer beyond its own.
    memory: Option<SemaphorePermit<'a>>,
    /// One permit is one byte that may be in flight.
    in_flight: &'a Semaphore,
    batches: mpsc::Sender<Batch<Lines<'a>>>,
    stage: watch::Receiver<Stage>,
    /// Where the lines of the batch at hand are; kept for its memory.
    places: Vec<Range<usize>>,
    /// How much of the partial line at hand is known to hold no line feed.
    searched: usize,
    /// Until when the partial line at hand must be whole.
    deadline: Option<Instant>,
    /// Lines that are taken, empty ones too.
    lines: u64,
    /// Lines that are taken, but for empty ones.
    events: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        opened: Opened,
        in_flight: &'a Semaphore,
        batches: mpsc::Sender<Batch<Lines<'a>>>,
    ) -> Self {
        let options = &shared.options;
        let cutter = Cutter {
            framing: Framing::Lines,
            // A line that finds no memory even alone is too large.
            max_payload_bytes: options.max_stream_line_bytes.min(options.body_memory_bytes),
            max_payloads: shared.publisher.limits().events.batch_events,
            max_cost: BATCH_COST_BYTES
                .min(options.stream_in_flight_bytes)
                .min(shared.publisher.max_batch_bytes()),
            payload_overhead_bytes: RECORD_BYTES + JSON_OVERHEAD_BYTES,
        };
        Self {
            shared,
            access: opened.access,
            trace: opened.trace,
            idempotency_key: opened.idempotency_key,
            body: opened.body,
            first: opened.first,
            connection: opened.connection,
            decoder: opened.decoder,
            window: None,
            cutter,
            buffer: BytesMut::new(),
            memory: None,
            in_flight,
            batches,
            stage: shared.stage.clone(),
            places: Vec::new(),
            searched: 0,
            deadline: None,
            lines: 0,
            events: 0,
        }
    }

    /// Reads until there is a reason to stop, which the last answer tells.
    pub(super) async fn run(mut self) -> End {
        let refusal = match self.take_all().await {
            Ok(()) => return End::ByClient,
            Err(Stop::NobodyAnswers) => return End::Abandoned,
            Err(Stop::Refused(refusal)) => refusal,
        };
        let code = refusal.code;
        let lines = Lines::not_taken(self.lines + 1);
        match self.batches.send(Batch::refused(1, refusal, lines)).await {
            Ok(()) => End::Refused(code),
            Err(_) => End::Abandoned,
        }
    }

    /// Takes the body to its end.
    async fn take_all(&mut self) -> Result<(), Stop> {
        let first = std::mem::take(&mut self.first);
        self.take_piece(first).await?;
        while let Some(bytes) = self.receive().await? {
            self.take_piece(bytes).await?;
        }
        self.decoder.finish().map_err(|error| malformed_compression(&error))?;
        // A body that has come whole has come with its last line, which needs no line feed.
        if !self.buffer.is_empty() {
            self.buffer.put_u8(b'\n');
            self.take_lines().await?;
        }
        Ok(())
    }

    /// Takes what has come, however much it becomes.
    async fn take_piece(&mut self, bytes: Bytes) -> Result<(), Stop> {
        self.decoder.feed(bytes);
        loop {
            let step = self.decoder.step(&mut self.buffer);
            self.take_lines().await?;
            match step.map_err(|error| malformed_compression(&error))? {
                Step::Hungry => return Ok(()),
                // Others get their turn.
                Step::More => tokio::task::yield_now().await,
                Step::Window(bytes) => self.take_window(bytes).await?,
            }
        }
    }

    async fn take_window(&mut self, bytes: usize) -> Result<(), Stop> {
        // The smaller one, if any, goes first.
        self.window = None;
        let window = self.shared.upload_limits().acquire_window(bytes).await;
        self.window = Some(window.ok_or_else(no_memory)?);
        self.decoder.grant_window(bytes);
        Ok(())
    }

    /// Submits every line that has come whole.
    async fn take_lines(&mut self) -> Result<(), Stop> {
        let mut progress = false;
        loop {
            let cut = self.cutter.cut(&self.buffer, &mut self.searched, &mut self.places);
            progress |= cut.bytes > 0;
            if self.places.is_empty() {
                self.buffer.advance(cut.bytes);
                self.lines += cut.blank_lines;
            } else {
                self.submit(&cut).await?;
            }
            match cut.then {
                Then::More => {}
                Then::Partial(_) => {
                    self.set_deadline(progress);
                    return self.take_memory().await;
                }
                Then::Refused(refusal) => return Err(Stop::Refused(refusal)),
            }
        }
    }

    async fn submit(&mut self, cut: &Cut) -> Result<(), Stop> {
        // One line may cost more than may be in flight; then nothing else is.
        let share = permits(cut.cost.min(self.shared.options.stream_in_flight_bytes));
        let in_flight = self.in_flight.acquire_many(share).await.map_err(|_| Stop::NobodyAnswers)?;
        let memory = self.memory_for_batch(cut.cost).await;
        let bytes = self.buffer.split_to(cut.bytes).freeze();
        let has_memory = memory.is_some();
        let first = self.lines + cut.blank_lines + 1;
        let lines = Lines::taken(first, in_flight, memory);
        let form = JsonForm {
            door: Door::Http,
            tenant: self.access.tenant(),
            trace: self.trace.as_ref(),
            idempotency_key: self.idempotency_key.as_deref(),
            first_place: self.events,
        };
        let count = self.places.len();
        let batch = if has_memory {
            Batch::submit_json(
                &self.shared.publisher,
                form,
                self.access.quota(),
                &bytes,
                0,
                &self.places,
                lines,
            )
            .await
        } else {
            Batch::refused(count, overloaded(), lines)
        };
        self.lines += cut.blank_lines + count as u64;
        self.events += count as u64;
        self.batches.send(batch).await.map_err(|_| Stop::NobodyAnswers)
    }

    /// Memory for lines that leave the buffer: what the buffer had for them, and what is missing.
    async fn memory_for_batch(&mut self, cost: usize) -> Option<SemaphorePermit<'a>> {
        let limits = self.shared.upload_limits();
        let wanted = cost.min(limits.memory_bytes());
        let Some(mut memory) = self.memory.take() else { return limits.acquire(wanted).await };
        let missing = wanted.saturating_sub(memory.num_permits());
        if missing > 0 {
            memory.merge(limits.acquire(missing).await?);
        }
        Some(memory)
    }

    /// Takes memory for the line that is coming, as far as it has come.
    async fn take_memory(&mut self) -> Result<(), Stop> {
        let wanted = self.buffer.len().saturating_sub(OWN_BYTES);
        let held = self.memory.as_ref().map_or(0, SemaphorePermit::num_permits);
        if wanted == 0 {
            self.memory = None;
        } else if wanted > held {
            let more = self.shared.upload_limits().acquire(wanted - held).await.ok_or_else(no_memory)?;
            match &mut self.memory {
                Some(memory) => memory.merge(more),
                None => self.memory = Some(more),
            }
        }
        Ok(())
    }

    /// A partial line has its time from when it began, however its bytes trickle in.
    fn set_deadline(&mut self, progress: bool) {
        if self.buffer.is_empty() {
            self.deadline = None;
        } else if progress || self.deadline.is_none() {
            let limit = Duration::from_millis(self.shared.options.stream_line_timeout_ms);
            self.deadline = Some(Instant::now() + limit);
        }
    }

    /// The next piece of the body; none at its end.
    async fn receive(&mut self) -> Result<Option<Bytes>, Stop> {
        let idle = Duration::from_millis(self.shared.options.stream_idle_timeout_ms);
        let mut idle_deadline = Instant::now() + idle;
        loop {
            self.check_key()?;
            let deadline = self.deadline.unwrap_or(idle_deadline);
            let wake = if self.access.can_end() { deadline.min(Instant::now() + RECHECK) } else { deadline };
            tokio::select! {
                biased;
                () = draining(&mut self.stage) => return Err(shutting_down()),
                frame = self.body.frame() => match frame {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(self.broken(&error)),
                    // Trailers say nothing to us.
                    Some(Ok(frame)) => if let Ok(bytes) = frame.into_data() {
                        // The key may have ended while nothing came.
                        self.check_key()?;
                        self.shared.metrics.count_body_bytes(bytes.len());
                        return Ok(Some(bytes));
                    },
                },
                () = sleep_until(wake) => {}
            }
            if Instant::now() < deadline {
                continue;
            }
            if self.deadline.is_some() {
                return Err(timed_out("the line took too long to come"));
            }
            // Who waits for an answer is not idle.
            if self.in_flight.available_permits() == self.shared.options.stream_in_flight_bytes {
                return Err(timed_out("nothing came for too long"));
            }
            idle_deadline = Instant::now() + idle;
        }
    }

    /// A stream must not outlive its key.
    fn check_key(&self) -> Result<(), Stop> {
        if self.access.can_end() && !self.access.is_valid(now_micros()) {
            return Err(Stop::Refused(Refusal::new("unauthenticated", "the API key is good no longer")));
        }
        Ok(())
    }

    fn broken(&self, error: &hyper::Error) -> Stop {
        let code = match self.connection.violation() {
            Some(violation) => Problem::from(violation).code(),
            None => "incomplete_body",
        };
        Stop::Refused(Refusal::new(code, format!("the body did not come to its end: {error}")))
    }
}

async fn draining(stage: &mut watch::Receiver<Stage>) {
    // An error means that the server is gone, which is as good a reason.
    let _ = stage.wait_for(|stage| *stage != Stage::Running).await;
}

/// Costs are bounded by limits that fit (checked with the options).
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn overloaded() -> Refusal {
    Refusal::new("overloaded", "the server has too many bodies in memory").retried_later()
}

fn no_memory() -> Stop {
    Stop::Refused(overloaded())
}

fn shutting_down() -> Stop {
    Stop::Refused(Refusal::new("shutting_down", "the server is shutting down").retried_later())
}

fn timed_out(detail: &'static str) -> Stop {
    Stop::Refused(Refusal::new("request_timeout", detail))
}

fn malformed_compression(error: &io::Error) -> Stop {
    Stop::Refused(Refusal::new("malformed_compression", error.to_string()))
}
