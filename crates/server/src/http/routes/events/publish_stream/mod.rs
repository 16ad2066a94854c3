//! `POST /v1/events/stream`: events without end, one a line, and an answer to each as soon as it is durable.
//!
//! ```text
//! client ──▶ {"type":…,"source":…} LF …                           as long as it likes
//! client ◀── {"id":…,"offset":…,"duplicate":false} LF             one line for each, in their order
//!          │ {"code":…,"detail":…,"line":7} LF                    this one is refused, and no other
//!          │ {"code":…,"detail":…,"line":9,"ends_stream":true} LF nothing from this line on is taken
//! ```
//!
//! Both directions of what is one resource: `GET` shows the log as it grows, `POST` makes it grow. The answer begins before
//! the body has ended, which HTTP/1.1 allows as HTTP/2 does. `POST /v1/events` is the other way to publish lines: all or
//! none, and bounded.
//!
//! A stream is a task of its connection, with two halves as a TCP connection has: [`reader`] finds lines and submits them,
//! [`answers`] waits for their outcome. Its memory is bounded whatever its length: by `stream_in_flight_bytes` for the lines
//! that are not yet answered, which are counted against the memory of all bodies too, and by `max_stream_line_bytes` for the
//! line that is coming. At either bound nothing is read, so that the client waits in its turn; who takes no answers is cut
//! off after `write_timeout_ms`.

mod answers;
mod end;
mod reader;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventrelay_event::ContentKind;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::Id;

use self::answers::{AnswerStream, Answers, Said};
use self::end::End;
use self::reader::Reader;
use super::idempotency_key;
use super::publish::{content_type, unsupported};
use crate::auth::Access;
use crate::connection_tasks::ConnectionTasks;
use crate::http::body::Body;
use crate::http::decompress::Encoding;
use crate::http::decompress_stream::StreamDecoder;
use crate::http::metrics::HttpMetrics;
use crate::http::problem::Problem;
use crate::http::service::Shared;
use crate::http::state::ConnectionState;
use crate::http::upload::Upload;
use crate::payloads::answering;
use crate::quota;
use crate::request_trace::RequestTrace;

/// The most batches in flight on one stream; their bytes are bounded beside.
const BATCHES_IN_FLIGHT: usize = 64;
/// Pieces of the answer that are on their way from the stream to the connection.
const ANSWERS_AHEAD: usize = 2;

/// What came of a request's head.
struct Opened {
    access: Access,
    trace: Option<RequestTrace>,
    /// The client's name for all of the stream.
    idempotency_key: Option<String>,
    decoder: StreamDecoder,
    body: Incoming,
    /// What has come of the body already.
    first: Bytes,
    connection: Arc<ConnectionState>,
}

/// Begins a stream; it goes on as one of the connection's tasks.
///
/// # Errors
/// Whatever is wrong with the request's head, and 503 when too many streams are open. What is wrong later is told in a line.
pub(crate) async fn publish_stream(
    shared: &Arc<Shared>,
    access: &Access,
    parts: &Parts,
    upload: &mut Upload<'_>,
    connection: &Arc<ConnectionState>,
    tasks: &ConnectionTasks,
) -> Result<Response<Body>, Problem> {
    let idempotency_key = idempotency_key::of_stream(&parts.headers)?.map(str::to_owned);
    let encoding = Encoding::of(&parts.headers)?;
    let kind = ContentKind::of(content_type(&parts.headers)?, parts.headers.keys().map(HeaderName::as_str));
    if kind != ContentKind::NativeLines {
        return Err(unsupported("The body of a stream must be application/x-ndjson"));
    }
    let decoder = StreamDecoder::new(encoding).map_err(|error| Problem::internal(error.to_string()))?;
    let Ok(place) = Arc::clone(&shared.publish_streams).try_acquire_owned() else {
        let title = "Too many publish streams are open";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", title)
            .retry_after(Duration::from_secs(5)));
    };
    let tenant_place = access.quota().open_stream().map_err(|exceeded| Problem::quota(&exceeded))?;
    let open = OpenStream::new(&shared.metrics, place, tenant_place);
    // `100 Continue` is written when the body is asked for, and not once the answer has begun.
    let first = if upload.expects_continue() { upload.next().await? } else { None };
    let Some(body) = upload.take() else { return Err(Problem::internal("the body is gone")) };
    let opened = Opened {
        access: access.clone(),
        trace: RequestTrace::of(&parts.headers),
        idempotency_key,
        decoder,
        body,
        first: first.unwrap_or_default(),
        connection: Arc::clone(connection),
    };
    let (sender, receiver) = mpsc::channel(ANSWERS_AHEAD);
    let response = tokio::task::try_id().map(|id| (tasks.clone(), id));
    tasks.spawn(run(Arc::clone(shared), opened, sender, open, response));
    let mut response = Response::new(Body::stream(AnswerStream::new(receiver)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Takes a stream to its end. `response` is the task that answers; over HTTP/1.1 it is the connection's own, which has a
/// deadline for writing.
async fn run(
    shared: Arc<Shared>,
    opened: Opened,
    sender: mpsc::Sender<Said>,
    _open: OpenStream,
    response: Option<(ConnectionTasks, Id)>,
) {
    let end = exchange(&shared, opened, &sender).await;
    shared.metrics.count_ended_publish_stream(end.reason());
    tracing::debug!(?end, "a publish stream ended");
    let patience = Duration::from_millis(shared.options.write_timeout_ms);
    let taken = async {
        // Without this the answer ends as one that was cut off. An error means that nobody is there to hear of it.
        if end.is_told() && sender.send(Said::End).await.is_err() {
            return;
        }
        sender.closed().await;
    };
    let is_deaf = end == End::WriteTimeout || tokio::time::timeout(patience, taken).await.is_err();
    if let (true, Some((tasks, id))) = (is_deaf, response) {
        tasks.abort(id);
    }
}

async fn exchange(shared: &Shared, opened: Opened, sender: &mpsc::Sender<Said>) -> End {
    let in_flight = Semaphore::new(shared.options.stream_in_flight_bytes);
    let (batches_sender, batches) = mpsc::channel(BATCHES_IN_FLIGHT);
    let mut reading = pin!(Reader::new(shared, opened, &in_flight, batches_sender).run());
    let answers = Answers::new(&shared.metrics, sender, shared.options.write_timeout_ms);
    let mut answering = pin!(answering::answer(&shared.publisher, batches, answers));
    tokio::select! {
        biased;
        // It outlasts the other half, unless it fails.
        answered = &mut answering => answered.err().unwrap_or(End::Abandoned),
        end = &mut reading => match answering.await {
            Ok(()) => end,
            Err(failed) => failed,
        },
        () = sender.closed() => End::Abandoned,
    }
}

/// Holds a stream's place and counts it, for as long as it is open.
struct OpenStream {
    metrics: HttpMetrics,
    _places: (OwnedSemaphorePermit, quota::OpenStream),
}

impl OpenStream {
    fn new(metrics: &HttpMetrics, place: OwnedSemaphorePermit, tenant_place: quota::OpenStream) -> Self {
        metrics.publish_streams.inc();
        Self { metrics: metrics.clone(), _places: (place, tenant_place) }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.metrics.publish_streams.dec();
    }
}
