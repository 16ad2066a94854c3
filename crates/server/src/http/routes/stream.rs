//! `GET /v1/events/stream`: the log as it grows, for `eventrelay tail`, dashboards and the curious.
//!
//! `?from=` is an offset, `earliest` or `latest` (the default); `Last-Event-ID`, which browsers send when they
//! connect again, is the offset of the last event seen and goes before it. With `Accept: text/event-stream` each
//! event is a server-sent event whose `id` is its offset; otherwise it is a line of NDJSON. Only durable events are
//! shown. When there is nothing new, a comment or an empty line says every `event_stream_heartbeat_ms` that the
//! server is still there.
//!
//! This is for looking, and keeps no cursor: who must not miss an event subscribes. A reader that takes nothing for
//! `write_timeout_ms` is cut off. A stream shows the events of its key's tenant, and ends with its key. When retention overtakes the stream, or the log is damaged there, it ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use eventrelay_event::{StoredEvent, native};
use eventrelay_log::{Frame, Log};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use crate::auth::{Access, now_micros};
use crate::http::body::{Body, ByteStream, CutOff};
use crate::http::metrics::HttpMetrics;
use crate::http::problem::Problem;
use crate::http::service::Shared;
use crate::quota;
use crate::shutdown::Stage;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Says in the answer's head where the stream begins, for those who asked for `latest`.
const NEXT_OFFSET: HeaderName = HeaderName::from_static("x-next-offset");

/// What is written is handed on when it reaches this size.
const CHUNK_BYTES: usize = 32 * 1024;
/// How often a stream asks whether its key is still good.
const RECHECK: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Lines,
    ServerSentEvents,
}

impl Format {
    fn of(parts: &Parts) -> Self {
        let accepts_events = parts.headers.get_all(ACCEPT).iter().any(|accept| {
            accept.as_bytes().windows(17).any(|w| w.eq_ignore_ascii_case(b"text/event-stream"))
        });
        if accepts_events { Self::ServerSentEvents } else { Self::Lines }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::ServerSentEvents => "text/event-stream",
        }
    }

    fn heartbeat(self) -> Bytes {
        match self {
            Self::Lines => Bytes::from_static(b"\n"),
            Self::ServerSentEvents => Bytes::from_static(b": still here\n\n"),
        }
    }

    fn write(self, event: &StoredEvent, out: &mut Vec<u8>) {
        // The JSON is on one line whatever the producer's looked like.
        match self {
            Self::Lines => {
                native::write_json(event, out);
                out.push(b'\n');
            }
            Self::ServerSentEvents => {
                out.extend_from_slice(b"id: ");
                out.extend_from_slice(itoa::Buffer::new().format(event.offset()).as_bytes());
                out.extend_from_slice(b"\ndata: ");
                native::write_json(event, out);
                out.extend_from_slice(b"\n\n");
            }
        }
    }
}

/// Opens a stream.
///
/// # Errors
/// 400 for a start that is none, 410 for one that retention has let go, 503 when too many streams are open.
pub(crate) fn open(shared: &Arc<Shared>, access: &Access, parts: &Parts) -> Result<Response<Body>, Problem> {
    let next = start(shared, parts)?;
    let Ok(place) = Arc::clone(&shared.event_streams).try_acquire_owned() else {
        let title = "Too many event streams are open";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", title)
            .retry_after(Duration::from_secs(5)));
    };
    let tenant_place = access.quota().open_stream().map_err(|exceeded| Problem::quota(&exceeded))?;
    let format = Format::of(parts);
    let tail = Tail {
        log: shared.log.clone(),
        access: access.clone(),
        next,
        format,
        durable: shared.log.watch_durable_offset(),
        stage: shared.stage.clone(),
        heartbeat: Duration::from_millis(shared.options.event_stream_heartbeat_ms),
        said_something: Instant::now(),
        _open: OpenStream::new(&shared.metrics, place, tenant_place),
    };
    let mut response = Response::new(Body::stream(TailStream { step: Some(Box::pin(tail.step())) }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(NEXT_OFFSET, HeaderValue::from(next));
    Ok(response)
}

fn start(shared: &Shared, parts: &Parts) -> Result<u64, Problem> {
    let (oldest, durable) = (shared.log.oldest_offset(), shared.log.durable_offset());
    let invalid = |detail: &'static str| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_start", "The stream cannot start there").detail(detail)
    };
    let next = if let Some(last) = parts.headers.get(LAST_EVENT_ID) {
        let last = last.to_str().ok().and_then(|last| last.parse::<u64>().ok());
        last.and_then(|last| last.checked_add(1)).ok_or_else(|| invalid("Last-Event-ID must be an offset"))?
    } else {
        match parts.uri.query().unwrap_or("from=latest").strip_prefix("from=") {
            Some("latest") => durable,
            Some("earliest") => oldest,
            Some(offset) => {
                offset.parse().map_err(|_| invalid("from must be an offset, 'earliest' or 'latest'"))?
            }
            None => return Err(invalid("The only parameter is from")),
        }
    };
    if next > durable {
        return Err(invalid("The log has not come so far"));
    }
    if next < oldest {
        return Err(Problem::new(StatusCode::GONE, "offset_trimmed", "Retention has let the offset go")
            .oldest_offset(oldest));
    }
    Ok(next)
}

/// Holds a stream's place and counts it, for as long as it is open.
struct OpenStream {
    metrics: HttpMetrics,
    _places: (OwnedSemaphorePermit, quota::OpenStream),
}

impl OpenStream {
    fn new(metrics: &HttpMetrics, place: OwnedSemaphorePermit, tenant_place: quota::OpenStream) -> Self {
        metrics.event_streams.inc();
        Self { metrics: metrics.clone(), _places: (place, tenant_place) }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.metrics.event_streams.dec();
    }
}

/// Why a stream that had nothing to say goes on.
enum Wake {
    Events,
    Heartbeat,
    /// Time to ask whether the key is still good.
    Recheck,
    End,
}

/// A reader of the log that is on its way.
struct Tail {
    log: Log,
    access: Access,
    /// The next offset to show.
    next: u64,
    format: Format,
    durable: watch::Receiver<u64>,
    stage: watch::Receiver<Stage>,
    heartbeat: Duration,
    said_something: Instant,
    _open: OpenStream,
}

impl Tail {
    /// Waits for something to say; nothing when the stream ends.
    async fn step(mut self) -> Option<(Bytes, Self)> {
        while self.access.is_valid(now_micros()) {
            let mut out = Vec::new();
            while out.len() < CHUNK_BYTES && self.next < self.log.durable_offset() {
                let frame = self.read().await?;
                self.write(&frame, &mut out)?;
            }
            if !out.is_empty() {
                return Some(self.say(Bytes::from(out)));
            }
            match self.wait().await {
                Wake::Events | Wake::Recheck => {}
                Wake::Heartbeat => {
                    let heartbeat = self.format.heartbeat();
                    return Some(self.say(heartbeat));
                }
                Wake::End => return None,
            }
        }
        None
    }

    fn say(mut self, bytes: Bytes) -> (Bytes, Self) {
        self.said_something = Instant::now();
        (bytes, self)
    }

    /// Waits until there is more, or it is time for a sign of life.
    async fn wait(&mut self) -> Wake {
        let next = self.next;
        tokio::select! {
            moved = self.durable.wait_for(|durable| *durable > next) => {
                if moved.is_ok() { Wake::Events } else { Wake::End }
            }
            _ = self.stage.wait_for(|stage| *stage != Stage::Running) => Wake::End,
            () = tokio::time::sleep_until(self.said_something + self.heartbeat) => Wake::Heartbeat,
            () = tokio::time::sleep(RECHECK), if self.access.can_end() => Wake::Recheck,
        }
    }

    /// The frame that holds `next`, which is below the durable offset.
    async fn read(&self) -> Option<Frame> {
        if let Some(frame) = self.log.read_cached(self.next) {
            return Some(frame);
        }
        let (log, next) = (self.log.clone(), self.next);
        match tokio::task::spawn_blocking(move || log.read(next)).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(error)) => {
                tracing::warn!(%error, "an event stream ends");
                None
            }
            Err(error) => {
                tracing::error!(%error, "an event stream's read failed");
                None
            }
        }
    }

    fn write(&mut self, frame: &Frame, out: &mut Vec<u8>) -> Option<()> {
        for record in frame.records_from(self.next) {
            match StoredEvent::decode(record.offset, record.append_time_micros, record.payload) {
                Ok(event) if event.tenant() == self.access.tenant().as_str() => {
                    self.format.write(&event, out);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "an event stream ends");
                    return None;
                }
            }
            self.next = record.offset + 1;
            if out.len() >= CHUNK_BYTES {
                return Some(());
            }
        }
        self.next = self.next.max(frame.end_offset());
        Some(())
    }
}

/// A future of [`Tail::step`], boxed since each one makes the next.
type Step = Pin<Box<dyn Future<Output = Option<(Bytes, Tail)>> + Send>>;

/// Steps a [`Tail`] as often as hyper asks, and no oftener: what a slow client does not take is not read.
struct TailStream {
    step: Option<Step>,
}

impl ByteStream for TailStream {
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        let Some(step) = &mut self.step else {
            return Poll::Ready(None);
        };
        let said = ready!(step.as_mut().poll(cx));
        self.step = None;
        Poll::Ready(said.map(|(bytes, tail)| {
            self.step = Some(Box::pin(tail.step()));
            Ok(bytes)
        }))
    }
}
