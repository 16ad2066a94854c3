//! From a request to its answer: check, route, handle, count.

use std::sync::Arc;

use eventrelay_delivery::pull::Consumers;
use eventrelay_ingest::Publisher;
use eventrelay_log::Log;
use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::authentication::{authorize, scope_of};
use super::body::Body;
use super::gate::REFUSED_METHOD;
use super::guard::HostGuard;
use super::metrics::HttpMetrics;
use super::options::ServerOptions;
use super::problem::Problem;
use super::request_id::{RequestIds, X_REQUEST_ID};
use super::route::{Route, Target};
use super::routes::{events, filters, health, keys, metrics, pull, stream};
use super::state::{ConnectionState, InFlight};
use super::upload::{Upload, UploadLimits};
use crate::auth::{Access, ApiKeys};
use crate::connection_tasks::ConnectionTasks;
use crate::health::SubscriptionsHealth;
use crate::shutdown::Stage;

/// What the front door leads to.
pub struct Services {
    /// Takes events.
    pub publisher: Arc<Publisher>,
    /// Where events are read from.
    pub log: Log,
    /// Tells who may do what.
    pub api_keys: Arc<ApiKeys>,
    /// Tells how the subscriptions are.
    pub subscriptions: Arc<dyn SubscriptionsHealth>,
    /// Where consumers pull events.
    pub consumers: Consumers,
    /// What `GET /metrics` shows, complete before the server is bound.
    pub registry: Arc<Registry>,
    /// The front door's own metrics, registered by the caller in `registry`.
    pub metrics: HttpMetrics,
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) log: Log,
    pub(crate) subscriptions: Arc<dyn SubscriptionsHealth>,
    pub(crate) consumers: Consumers,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: HttpMetrics,
    pub(crate) api_keys: Arc<ApiKeys>,
    pub(crate) stage: watch::Receiver<Stage>,
    /// Places for event streams.
    pub(crate) event_streams: Arc<Semaphore>,
    /// Places for publish streams.
    pub(crate) publish_streams: Arc<Semaphore>,
    pub(crate) options: ServerOptions,
    guard: HostGuard,
    uploads: UploadLimits,
    request_ids: RequestIds,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(options: &ServerOptions, services: Services, stage: watch::Receiver<Stage>) -> Self {
        Self {
            publisher: services.publisher,
            log: services.log,
            subscriptions: services.subscriptions,
            consumers: services.consumers,
            registry: services.registry,
            metrics: services.metrics,
            api_keys: services.api_keys,
            stage,
            event_streams: Arc::new(Semaphore::new(options.max_event_streams)),
            publish_streams: Arc::new(Semaphore::new(options.max_publish_streams)),
            guard: HostGuard::new(&options.allowed_hosts),
            uploads: UploadLimits::new(options),
            request_ids: RequestIds::new(),
            options: options.clone(),
        }
    }

    /// How bodies are bounded.
    pub(crate) fn upload_limits(&self) -> &UploadLimits {
        &self.uploads
    }
}

/// Answers one request.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    connection: &Arc<ConnectionState>,
    tasks: &ConnectionTasks,
    request: Request<Incoming>,
) -> Response<Body> {
    let started = Instant::now();
    let in_flight = InFlight::begin(connection);
    let (parts, incoming) = request.into_parts();
    let mut upload = Upload::new(incoming, &shared.uploads, connection, parts.headers.contains_key(EXPECT));
    let (route, handled) = handle(shared, connection, tasks, &parts, &mut upload).await;
    let mut response = handled.unwrap_or_else(|problem| {
        shared.metrics.count_problem(problem.code());
        tracing::debug!(peer = %connection.peer(), code = problem.code(), "refused a request");
        problem.into_response()
    });
    if !upload.discard().await {
        connection.close_after_answer();
        // HTTP/2 ends the stream instead, and has no such header.
        if parts.version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response.headers_mut().insert(X_REQUEST_ID, shared.request_ids.name(&parts.headers));
    shared.metrics.count_request(route, response.status(), started.elapsed(), upload.received());
    response.body_mut().set_in_flight(in_flight);
    response
}

async fn handle(
    shared: &Arc<Shared>,
    connection: &Arc<ConnectionState>,
    tasks: &ConnectionTasks,
    parts: &Parts,
    upload: &mut Upload<'_>,
) -> (Route, Result<Response<Body>, Problem>) {
    if parts.method.as_str() == REFUSED_METHOD
        && let Some(violation) = connection.violation()
    {
        return (Route::Refused, Err(violation.into()));
    }
    let (route, id) = match Target::find(&parts.method, parts.uri.path(), shared.options.enable_noop_route) {
        Target::Route(route, id) => (route, id),
        Target::WrongMethod(allow) => return (Route::WrongMethod, Err(Problem::method_not_allowed(allow))),
        Target::Unknown => {
            let problem = Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no such resource");
            return (Route::Unknown, Err(problem));
        }
    };
    let handled = match admit(shared, connection, parts, route) {
        Err(problem) => Err(problem),
        Ok(None) => open(shared, route),
        Ok(Some(access)) => match within_quota(route, &access) {
            Err(problem) => Err(problem),
            Ok(()) if route == Route::PublishStream => {
                events::publish_stream(shared, &access, parts, upload, connection, tasks).await
            }
            Ok(()) => serve(shared, parts, upload, route, id, &access).await,
        },
    };
    (route, handled)
}

/// What the request may do; none where that is all the same.
fn admit(
    shared: &Shared,
    connection: &ConnectionState,
    parts: &Parts,
    route: Route,
) -> Result<Option<Access>, Problem> {
    // Who has to show a key cannot be a web page that came by: it knows none.
    if !shared.api_keys.required() {
        shared.guard.check(parts, connection.is_tls())?;
    }
    scope_of(route).map(|scope| authorize(shared, parts, scope)).transpose()
}

/// Lets the request through, if its tenant may send it now. Who watches the server is not counted: that is needed most
/// when others send too much.
fn within_quota(route: Route, access: &Access) -> Result<(), Problem> {
    if matches!(route, Route::Health | Route::Metrics) {
        return Ok(());
    }
    access.quota().admit_requests(1).map_err(|exceeded| Problem::quota(&exceeded))
}

/// Answers what is for everybody.
fn open(shared: &Shared, route: Route) -> Result<Response<Body>, Problem> {
    match route {
        Route::Live => Ok(health::live()),
        Route::Ready => health::ready(shared),
        _ => Err(Problem::internal("not a route for everybody")),
    }
}

/// Answers who may do what the route does.
async fn serve(
    shared: &Arc<Shared>,
    parts: &Parts,
    upload: &mut Upload<'_>,
    route: Route,
    id: &str,
    access: &Access,
) -> Result<Response<Body>, Problem> {
    match route {
        Route::Publish => events::publish(shared, access, parts, upload).await,
        Route::Find => events::find(shared, access, parts, id).await,
        Route::Status => events::status(shared, access, id).await,
        Route::TestFilter => filters::test(shared, access, upload).await,
        Route::Stream => stream::open(shared, access, parts),
        Route::Health => Ok(health::health(shared)),
        Route::Metrics => metrics::show(shared),
        Route::CreateKey => keys::create(shared, upload).await,
        Route::ListKeys => keys::list(shared).await,
        Route::RevokeKey => keys::revoke(shared, id).await,
        Route::Pull => pull::pull(shared, access, upload, id).await,
        Route::AckLeases => pull::ack(shared, access, upload, id).await,
        Route::NackLeases => pull::nack(shared, access, upload, id).await,
        Route::ExtendLeases => pull::extend(shared, access, upload, id).await,
        Route::Noop => upload.read().await.map(|_| no_content()),
        Route::PublishStream
        | Route::Live
        | Route::Ready
        | Route::WrongMethod
        | Route::Unknown
        | Route::Refused => Err(Problem::internal("not a route for a key")),
    }
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
