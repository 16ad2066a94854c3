//! `eventrelay.v1.EventRelay/Subscribe`: the log from some place on, and then as it grows.
//!
//! Only durable events are shown. What a client does not take is not read: the log is asked for more when the connection
//! has room. When retention overtakes the stream, it ends with `offset_trimmed`; the server's end is `shutting_down`.

use std::sync::Arc;

use eventrelay_event::StoredEvent;
use eventrelay_log::{Frame, Log, ReadError};
use futures_util::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::{Code, Status};

use super::messages;
use super::refusals::Refused;
use super::service::{Shared, draining};
use crate::auth::{Access, now_micros};
use crate::proto::v1;
use crate::proto::v1::subscribe_request::Start;
use crate::quota::OpenStream;
use crate::shutdown::Stage;

/// An answer is handed on when its events reach this size.
const ANSWER_BYTES: usize = 64 * 1024;

/// Opens a stream.
///
/// # Errors
/// When it cannot start there, or too many are open.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    access: &Access,
    request: v1::SubscribeRequest,
) -> Result<impl Stream<Item = Result<v1::SubscribeResponse, Status>> + Send + use<>, Refused> {
    let Ok(place) = Arc::clone(&shared.subscribe_streams).try_acquire_owned() else {
        let message = "too many calls of Subscribe are open";
        return Err(Refused::new(Code::ResourceExhausted, "too_many_streams", message)
            .retry_after(shared.publisher.limits().queue_wait));
    };
    let tenant_place = access.quota().open_stream()?;
    let next = start(shared, request.start).await?;
    let tail = Tail {
        log: shared.log.clone(),
        access: access.clone(),
        next,
        durable: shared.log.watch_durable_offset(),
        stage: shared.stage.clone(),
        _places: (place, tenant_place),
    };
    // The error is the stream's last item.
    Ok(stream::unfold(Some(tail), |tail| async {
        let mut tail = tail?;
        match tail.step().await {
            Ok(answer) => Some((Ok(answer), Some(tail))),
            Err(refused) => Some((Err(refused.into_status()), None)),
        }
    }))
}

async fn start(shared: &Shared, start: Option<Start>) -> Result<u64, Refused> {
    let (oldest, durable) = (shared.log.oldest_offset(), shared.log.durable_offset());
    let invalid = |message: &str| Refused::new(Code::OutOfRange, "invalid_start", message);
    match start {
        None => Ok(durable),
        Some(Start::Earliest(())) => Ok(oldest),
        Some(Start::Offset(offset)) if offset > durable => Err(invalid("the log has not come so far")),
        Some(Start::Offset(offset)) if offset < oldest => Err(trimmed(oldest)),
        Some(Start::Offset(offset)) => Ok(offset),
        Some(Start::Time(time)) => {
            let micros =
                messages::micros(&time).ok_or_else(|| invalid("the nanoseconds are out of range"))?;
            let log = shared.log.clone();
            blocking(move || log.seek_time(micros)).await?.map_err(|error| unreadable(&error, &shared.log))
        }
    }
}

/// A reader of the log that is on its way.
struct Tail {
    log: Log,
    access: Access,
    /// The next offset to show.
    next: u64,
    durable: watch::Receiver<u64>,
    stage: watch::Receiver<Stage>,
    _places: (OwnedSemaphorePermit, OpenStream),
}

impl Tail {
    /// Waits for something to show.
    async fn step(&mut self) -> Result<v1::SubscribeResponse, Refused> {
        let mut events = Vec::new();
        let mut bytes = 0;
        loop {
            while bytes < ANSWER_BYTES && self.next < self.log.durable_offset() {
                let frame = self.read().await?;
                bytes += self.show(&frame, &mut events)?;
            }
            // A stream must not outlive its key.
            if self.access.can_end() && !self.access.is_valid(now_micros()) {
                return Err(Refused::unauthenticated());
            }
            if !events.is_empty() {
                return Ok(v1::SubscribeResponse { events });
            }
            let next = self.next;
            tokio::select! {
                moved = self.durable.wait_for(|durable| *durable > next) => {
                    moved.map_err(|_| Refused::shutting_down())?;
                }
                () = draining(&mut self.stage) => return Err(Refused::shutting_down()),
            }
        }
    }

    /// The frame that holds `next`, which is below the durable offset.
    async fn read(&self) -> Result<Frame, Refused> {
        if let Some(frame) = self.log.read_cached(self.next) {
            return Ok(frame);
        }
        let (log, next) = (self.log.clone(), self.next);
        match blocking(move || log.read(next)).await? {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(Refused::shutting_down()),
            Err(error) => Err(unreadable(&error, &self.log)),
        }
    }

    /// Adds the frame's events from `next` on; gives how many bytes they have.
    fn show(&mut self, frame: &Frame, events: &mut Vec<v1::StoredEvent>) -> Result<usize, Refused> {
        let mut bytes = 0;
        for record in frame.records_from(self.next) {
            let offset = record.offset;
            let event =
                StoredEvent::decode(offset, record.append_time_micros, record.payload).map_err(|error| {
                    tracing::error!(%error, "a call of Subscribe ends");
                    Refused::new(Code::Unavailable, "log_unreadable", "the log cannot be read there")
                })?;
            self.next = offset + 1;
            if event.tenant() == self.access.tenant().as_str() {
                bytes += event.encoded().len();
                events.push(messages::stored_event(&event));
            }
            if bytes >= ANSWER_BYTES {
                return Ok(bytes);
            }
        }
        self.next = self.next.max(frame.end_offset());
        Ok(bytes)
    }
}

/// Runs what reads files off the runtime.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    tokio::task::spawn_blocking(read).await.map_err(|_| Refused::shutting_down())
}

fn trimmed(oldest: u64) -> Refused {
    Refused::new(Code::OutOfRange, "offset_trimmed", "retention has let the offset go").oldest_offset(oldest)
}

fn unreadable(error: &ReadError, log: &Log) -> Refused {
    if let ReadError::Trimmed { .. } = error {
        return trimmed(log.oldest_offset());
    }
    // Paths and positions are for the operator's eyes.
    tracing::error!(%error, "a call of Subscribe ends");
    Refused::new(Code::Unavailable, "log_unreadable", "the log cannot be read there")
}
