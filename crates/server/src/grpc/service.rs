//! From a call to its answer: check, route, count.
//!
//! The services that tonic generates are asked by hand: which of them a path belongs to is known beforehand, so there is
//! no router to build and no body to box.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use eventrelay_delivery::pull::Consumers;
use eventrelay_event::{Event, Tenant};
use eventrelay_ingest::{Publisher, Receipts, Submitted};
use eventrelay_log::Log;
use eventrelay_telemetry::Door;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Status};

use super::health::LogHealth;
use super::method::Method;
use super::metrics::{GrpcMetrics, OpenCall};
use super::options::GrpcOptions;
use super::pipeline::named;
use super::reflection::Reflection;
use super::refusals::Refused;
use super::upload::{Upload, UploadLimits};
use super::{deadline, messages};
use crate::auth::{Access, ApiKeys, AuthError};
use crate::connection_tasks::ConnectionTasks;
use crate::health::SubscriptionsHealth;
use crate::http::authentication::presented;
use crate::http::guard::HostGuard;
use crate::http::state::{ConnectionState, InFlight};
use crate::proto::event::event_service_server::EventServiceServer;
use crate::proto::ingestpb::ingestor_server::IngestorServer;
use crate::proto::v1;
use crate::proto::v1::event_relay_server::EventRelayServer;
use crate::quota;
use crate::request_trace::RequestTrace;
use crate::shutdown::Stage;

/// What the front door leads to.
pub struct Services {
    /// Takes events.
    pub publisher: Arc<Publisher>,
    /// Where events are read from.
    pub log: Log,
    /// Tells who may do what.
    pub api_keys: Arc<ApiKeys>,
    /// Tells what became of events.
    pub subscriptions: Arc<dyn SubscriptionsHealth>,
    /// Where consumers pull events.
    pub consumers: Consumers,
    /// The front door's own metrics, registered by the caller.
    pub metrics: GrpcMetrics,
}

/// What all calls share.
pub(crate) struct Shared {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) log: Log,
    pub(crate) subscriptions: Arc<dyn SubscriptionsHealth>,
    pub(crate) consumers: Consumers,
    pub(crate) metrics: GrpcMetrics,
    api_keys: Arc<ApiKeys>,
    pub(crate) stage: watch::Receiver<Stage>,
    pub(crate) options: GrpcOptions,
    /// Places for calls of `Subscribe`.
    pub(crate) subscribe_streams: Arc<Semaphore>,
    /// Bytes of messages that are being stored.
    publish_memory: Arc<Semaphore>,
    uploads: UploadLimits,
    guard: HostGuard,
    reflection: Reflection,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        options: &GrpcOptions,
        services: Services,
        reflection: Reflection,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        let uploads = UploadLimits {
            message_bytes: options.max_message_bytes,
            message_timeout: Duration::from_millis(options.message_timeout_ms),
            memory: Arc::new(Semaphore::new(options.memory_bytes)),
            retry_after: services.publisher.limits().queue_wait,
        };
        Self {
            publisher: services.publisher,
            log: services.log,
            subscriptions: services.subscriptions,
            consumers: services.consumers,
            metrics: services.metrics,
            api_keys: services.api_keys,
            stage,
            options: options.clone(),
            subscribe_streams: Arc::new(Semaphore::new(options.max_subscribe_streams)),
            publish_memory: Arc::new(Semaphore::new(options.memory_bytes)),
            uploads,
            guard: HostGuard::new(&options.allowed_hosts),
            reflection,
        }
    }

    /// The events of a message; what is wrong with them counts as a publish refused.
    pub(crate) fn events(&self, events: Vec<v1::Event>, tenant: &Tenant) -> Result<Vec<Event>, Refused> {
        let read = messages::events(events, tenant, &self.publisher.limits().events);
        read.inspect_err(|refused| self.publisher.metrics().refused(refused.code()))
    }

    /// Stores the events of a message that has so many bytes.
    pub(crate) async fn publish(
        &self,
        access: &Access,
        events: Vec<Event>,
        bytes: usize,
    ) -> Result<Receipts, Refused> {
        let mut spans = self.publisher.spans().publish(Door::Grpc, access.tenant());
        spans.events(&events);
        let published = async {
            let in_flight = access.quota().admit_events(events.len(), bytes)?;
            let queued = self.queue(events, bytes, in_flight).await?;
            self.settle(queued).await
        };
        let published = published.await;
        match &published {
            Ok(_) => spans.accepted(),
            Err(refused) => spans.refused(refused.code(), refused.message()),
        }
        published
    }

    /// Gives the events of a message that has so many bytes, and is within its tenant's quota, their place in the log.
    pub(crate) async fn queue(
        &self,
        events: Vec<Event>,
        bytes: usize,
        in_flight: quota::InFlight,
    ) -> Result<QueuedMessage, Refused> {
        let wait = self.publisher.limits().queue_wait;
        let share = u32::try_from(bytes.min(self.options.memory_bytes)).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.publish_memory).acquire_many_owned(share);
        let Ok(Ok(memory)) = tokio::time::timeout(wait, memory).await else {
            return Err(Refused::overloaded(wait));
        };
        Ok(QueuedMessage { queued: self.publisher.submit(events).await?, memory, in_flight })
    }

    /// Waits until they are on the disk.
    pub(crate) async fn settle(&self, message: QueuedMessage) -> Result<Receipts, Refused> {
        let QueuedMessage { queued, memory, in_flight } = message;
        let settled = self.publisher.outcome(queued).await.map_err(|refused| refused.error);
        drop((memory, in_flight));
        Ok(settled?)
    }
}

/// A message's events, queued, and the memory that they take.
#[derive(Debug)]
pub(crate) struct QueuedMessage {
    queued: Submitted,
    memory: OwnedSemaphorePermit,
    /// Their share of what their tenant may have in flight.
    in_flight: quota::InFlight,
}

/// Resolves when the server begins to shut down.
pub(crate) async fn draining(stage: &mut watch::Receiver<Stage>) {
    // An error means that the server is gone, which is as good a reason.
    let _ = stage.wait_for(|stage| *stage != Stage::Running).await;
}

/// What a call's handler has: everything shared, and where its connection's tasks go.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tasks: ConnectionTasks,
    /// None where the method is for everybody.
    access: Option<Access>,
    /// That of the events which it brings, or has in its stream.
    pub(crate) trace: Option<RequestTrace>,
}

impl Call {
    /// What the call may do, and for whom.
    pub(crate) fn access(&self) -> Result<&Access, Status> {
        self.access.as_ref().ok_or_else(|| Refused::unauthenticated().into_status())
    }

    /// Gives the call's trace to the events that have none of their own.
    pub(crate) fn apply_trace(&self, events: &mut [Event]) {
        if let Some(trace) = &self.trace {
            trace.apply(events);
        }
    }
}

/// Answers one call.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    tasks: ConnectionTasks,
    connection: Arc<ConnectionState>,
    request: Request<Incoming>,
) -> Response<Answer> {
    let in_flight = InFlight::begin(&connection);
    let method = Method::of(request.uri().path());
    let open = shared.metrics.begin_call(method);
    let response = match check(&shared, tasks, &connection, method, request) {
        Ok((call, request)) if method.is_unary() => {
            let limit = deadline::of(request.headers(), shared.options.call_timeout_ms);
            match tokio::time::timeout(limit, dispatch(method, call, request)).await {
                Ok(response) => response,
                Err(_) => {
                    let message = "the call took too long; it may have been carried out";
                    refusal(Refused::new(Code::DeadlineExceeded, "call_timeout", message))
                }
            }
        }
        Ok((call, request)) => dispatch(method, call, request).await,
        Err(response) => *response,
    };
    let response = with_stable_code(&shared, response);
    response.map(|body| Answer { body, _open: open, _in_flight: in_flight })
}

/// What must hold before any service is asked.
fn check(
    shared: &Arc<Shared>,
    tasks: ConnectionTasks,
    connection: &ConnectionState,
    method: Method,
    request: Request<Incoming>,
) -> Result<(Call, Request<Upload>), Box<Response<Body>>> {
    let (parts, body) = request.into_parts();
    let is_grpc = parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc {
        // As the protocol has it, so that clients of something else see that something is wrong.
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        shared.metrics.count_refused("not_grpc");
        return Err(Box::new(response));
    }
    // Who has to show a key cannot be a web page that came by: it knows none.
    if !shared.api_keys.required()
        && let Err(problem) = shared.guard.check(&parts, connection.is_tls())
    {
        let message = "this server does not answer to that host or origin";
        return Err(Box::new(refusal(Refused::new(Code::PermissionDenied, problem.code(), message))));
    }
    let access = authorize(shared, &parts.headers, method).map_err(|refused| Box::new(refusal(refused)))?;
    let trace = RequestTrace::of(&parts.headers);
    let call = Call { shared: Arc::clone(shared), tasks, access, trace };
    Ok((call, Request::from_parts(parts, Upload::new(body, &shared.uploads))))
}

/// What a call may do, when it may do what it asks for, and now. Health, reflection and what there is not are for everybody.
fn authorize(shared: &Shared, headers: &HeaderMap, method: Method) -> Result<Option<Access>, Refused> {
    let Some(scope) = method.scope() else { return Ok(None) };
    let presented = presented(headers).map_err(|_| Refused::unauthenticated())?;
    let access = shared.api_keys.authorize(presented, scope).map_err(|error| match error {
        AuthError::Unauthenticated => Refused::unauthenticated(),
        AuthError::MissingScope(scope) => {
            let message = format!("the API key lacks the scope `{}`", scope.name());
            Refused::new(Code::PermissionDenied, "missing_scope", message)
        }
    })?;
    access.quota().admit_requests(1)?;
    Ok(Some(access))
}

async fn dispatch(method: Method, call: Call, request: Request<Upload>) -> Response<Body> {
    let limit = call.shared.options.max_message_bytes;
    let answered = match method {
        Method::Publish
        | Method::PublishStream
        | Method::GetEvent
        | Method::GetStatus
        | Method::Subscribe
        | Method::Consume => EventRelayServer::new(call).max_decoding_message_size(limit).call(request).await,
        Method::IngestEvent | Method::JobStatus => {
            EventServiceServer::new(call).max_decoding_message_size(limit).call(request).await
        }
        Method::StreamLogs => IngestorServer::new(call).max_decoding_message_size(limit).call(request).await,
        Method::Health => LogHealth::new(&call.shared).into_service().call(request).await,
        Method::Reflection | Method::ReflectionAlpha => {
            return call.shared.reflection.answer(method, request).await;
        }
        Method::Unknown => {
            let message = format!("there is no method {}", request.uri().path());
            return refusal(Refused::new(Code::Unimplemented, "not_found", message));
        }
    };
    match answered {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn refusal(refused: Refused) -> Response<Body> {
    refused.into_status().into_http()
}

/// Sees to it that a refusal has a stable code, and counts it.
fn with_stable_code(shared: &Shared, response: Response<Body>) -> Response<Body> {
    // A call that goes well tells its status in the trailers.
    let Some(status) = refusal_of(response.headers()) else {
        return response;
    };
    let status = named(status);
    let code = Refused::code_of(&status);
    shared.metrics.count_refused(code.map_or(Cow::Borrowed("unnamed"), Cow::Owned));
    status.into_http()
}

fn refusal_of(headers: &HeaderMap<HeaderValue>) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}

/// An answer's body. While there is any of it left, the call is open.
pub(crate) struct Answer {
    body: Body,
    _open: OpenCall,
    _in_flight: InFlight,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
