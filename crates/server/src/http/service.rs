//! From a request to its answer: check, route, handle, count.

use std::sync::Arc;

use eventrelay_delivery::Engine;
use eventrelay_delivery::pull::Consumers;
use eventrelay_ingest::Publisher;
use eventrelay_log::Log;
use eventrelay_state::State;
use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::authentication::{authorize, scope_of};
use super::body::Body;
use super::compat::svix::{self, SvixApi};
use super::compat::{self, CompatOptions, RestClients};
use super::control::idempotency::Idempotency;
use super::control::operations::{Found, Operation};
use super::control::resources::Resources;
use super::control::{self, ControlPlane};
use super::gate::REFUSED_METHOD;
use super::guard::HostGuard;
use super::metrics::{HttpMetrics, RouteHandles};
use super::options::ServerOptions;
use super::problem::{Problem, ProblemCode};
use super::request_id::{RequestIds, X_REQUEST_ID};
use super::request_source::RequestSource;
use super::route::{Route, Target};
use super::routes::{events, filters, health, metrics, pull, stream};
use super::state::{ConnectionState, InFlight};
use super::upload::{Upload, UploadLimits};
use crate::Configuration;
use crate::auth::{Access, Accounts, ApiKeys};
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
    /// Users, their logins and sessions.
    pub accounts: Arc<Accounts>,
    /// Where the answers of requests are kept that can be repeated.
    pub state: State,
    /// Shows the configuration, and checks others.
    pub configuration: Arc<dyn Configuration>,
    /// Tells how the subscriptions are.
    pub subscriptions: Arc<dyn SubscriptionsHealth>,
    /// Where consumers pull events.
    pub consumers: Consumers,
    /// What subscriptions are made, changed and asked through.
    pub engine: Arc<Engine>,
    /// Which clients of other systems are served.
    pub compat: CompatOptions,
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
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) stage: watch::Receiver<Stage>,
    /// Places for event streams.
    pub(crate) event_streams: Arc<Semaphore>,
    /// Places for publish streams.
    pub(crate) publish_streams: Arc<Semaphore>,
    pub(crate) options: ServerOptions,
    pub(crate) control: ControlPlane,
    pub(crate) rest_clients: RestClients,
    pub(crate) svix: SvixApi,
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
        let idempotency = Idempotency::new(services.state.clone());
        let svix = SvixApi::new(&services.compat, &services, options.public_url.clone(), idempotency.clone());
        let control = ControlPlane::new(Resources::of(&services), idempotency, &services.metrics);
        let rest_clients = RestClients::new(Resources::of(&services), &services.compat, &services.metrics);
        Self {
            control,
            rest_clients,
            svix,
            publisher: services.publisher,
            log: services.log,
            subscriptions: services.subscriptions,
            consumers: services.consumers,
            registry: services.registry,
            metrics: services.metrics,
            api_keys: services.api_keys,
            accounts: services.accounts,
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
    let request_id = shared.request_ids.name(&parts.headers);
    let destination = Destination::of(shared, connection, &parts);
    let handled = handle(shared, connection, tasks, &parts, &mut upload, &destination, &request_id).await;
    let mut response = handled.unwrap_or_else(Problem::into_response);
    if let Some(ProblemCode(code)) = response.extensions().get() {
        shared.metrics.count_problem(code);
        tracing::debug!(peer = %connection.peer(), code, "refused a request");
    }
    if !upload.discard().await {
        connection.close_after_answer();
        // HTTP/2 ends the stream instead, and has no such header.
        if parts.version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response.headers_mut().insert(X_REQUEST_ID, request_id);
    shared.metrics.count_request(
        destination.handles(shared),
        response.status(),
        started.elapsed(),
        upload.received(),
    );
    response.body_mut().set_in_flight(in_flight);
    response
}

/// Where a request goes.
enum Destination<'a> {
    /// The hot path, with the id of what it is about.
    Route(Route, &'a str),
    /// The control plane.
    Operation(&'a Operation),
    /// What a client of another system asks.
    RestClient(&'a Operation),
    /// What an SDK of Svix asks.
    Svix(&'a svix::Operation),
    /// Nowhere: why, and as what it is counted.
    Nowhere(Route, Problem),
}

impl<'a> Destination<'a> {
    fn of(shared: &'a Shared, connection: &ConnectionState, parts: &'a Parts) -> Self {
        if parts.method.as_str() == REFUSED_METHOD
            && let Some(violation) = connection.violation()
        {
            return Self::Nowhere(Route::Refused, violation.into());
        }
        let (method, path) = (&parts.method, parts.uri.path());
        let hot = Target::find(method, path, shared.options.enable_noop_route);
        let allow_hot = match hot {
            Target::Route(route, id) => return Self::Route(route, id),
            Target::WrongMethod(allow) => Some(allow),
            Target::Unknown => None,
        };
        if let Some(operation) = shared.svix.find(method, path) {
            return Self::Svix(operation);
        }
        let mut allow: Vec<&str> = allow_hot.into_iter().flat_map(|hot| hot.split(", ")).collect();
        match shared.control.operations().find(method, path) {
            Found::Operation(operation) => return Self::Operation(operation),
            Found::WrongMethod(others) => allow.extend(others),
            Found::Unknown => {}
        }
        match shared.rest_clients.operations().find(method, path) {
            Found::Operation(operation) => return Self::RestClient(operation),
            Found::WrongMethod(others) => allow.extend(others),
            Found::Unknown => {}
        }
        allow.extend(shared.svix.methods(path));
        if allow.is_empty() {
            return Self::Nowhere(Route::Unknown, Problem::not_found());
        }
        Self::Nowhere(Route::WrongMethod, Problem::method_not_allowed(listed(allow)))
    }

    fn handles(&self, shared: &'a Shared) -> &'a RouteHandles {
        match self {
            Self::Route(route, _) | Self::Nowhere(route, _) => shared.metrics.of_route(*route),
            Self::Operation(operation) | Self::RestClient(operation) => operation.handles(),
            Self::Svix(operation) => operation.handles(),
        }
    }
}

/// Methods as `Allow` lists them.
fn listed(mut methods: Vec<&str>) -> String {
    methods.sort_unstable();
    methods.dedup();
    methods.join(", ")
}

async fn handle(
    shared: &Arc<Shared>,
    connection: &Arc<ConnectionState>,
    tasks: &ConnectionTasks,
    parts: &Parts,
    upload: &mut Upload<'_>,
    destination: &Destination<'_>,
    request_id: &HeaderValue,
) -> Result<Response<Body>, Problem> {
    // Who has to show a key cannot be a web page that came by: it knows none, and a cookie alone changes nothing.
    let check_guard = || match shared.api_keys.required() {
        true => Ok(()),
        false => shared.guard.check(parts, connection.is_tls()),
    };
    let source = || RequestSource {
        address: connection.peer().ip(),
        is_tls: connection.is_tls(),
        request_id: request_id.clone(),
    };
    let (route, id) = match destination {
        Destination::Nowhere(_, problem) => return Err(problem.clone()),
        Destination::Operation(operation) => {
            check_guard()?;
            return control::answer(shared, connection, parts, upload, operation, source()).await;
        }
        Destination::RestClient(operation) => {
            check_guard()?;
            return compat::answer(shared, connection, parts, upload, operation, source()).await;
        }
        Destination::Svix(operation) => {
            check_guard()?;
            return svix::answer(shared, parts, upload, operation, source()).await;
        }
        Destination::Route(route, id) => (*route, *id),
    };
    check_guard()?;
    let Some(scope) = scope_of(route) else { return open(shared, route) };
    let access = authorize(shared, connection, parts, scope)?;
    within_quota(route, &access)?;
    if route == Route::PublishStream {
        return events::publish_stream(shared, &access, parts, upload, connection, tasks).await;
    }
    serve(shared, parts, upload, route, id, &access).await
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
