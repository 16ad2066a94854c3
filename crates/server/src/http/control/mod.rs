//! The control plane: all that an operator or a program does to the relay beside the hot path, as an axum router.
//!
//! ```text
//!  service ── Operations::find ──▶ guard, key, scope, quota ──▶ body (at most 1 MiB) ──▶ idempotency ──▶ a handler
//!                 │                        │
//!                 404, 405                 what the operation's own documentation says it needs
//! ```
//!
//! A resource is a file here: its handlers, each with its `#[utoipa::path]`, and `routes()`, which [`routes`] merges. What
//! stands in a handler's documentation is what holds: the path and the method lead to it, `security` says which scope a key
//! must have (without one it is `admin`; `security(())` is for everybody), and a body is read only where one is documented.
//! The rest every operation has without saying so: see [`document`].
//!
//! | | |
//! |---|---|
//! | [`operations`] | which operation a request is for, and what it needs |
//! | [`document`] | the OpenAPI document: what is derived, and what is added |
//! | [`idempotency`] | `Idempotency-Key`: a repeat gets the same answer |
//! | [`hot_path`] | what the document says of operations that are not served here |
//! | [`openapi`], [`reference`], [`curl`] | the document for programs, and for people |
//! | [`resources`] | what handlers work on |
//! | [`caller`], [`author`], [`json`], [`path`], [`query`], [`page`], [`revision`] | what handlers take and give |

pub(crate) mod attempts;
pub(crate) mod audit_log;
pub(crate) mod audited;
pub(crate) mod author;
pub(crate) mod caller;
pub(crate) mod config;
pub(crate) mod curl;
pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod document;
pub(crate) mod events;
pub(crate) mod exchange;
pub(crate) mod hot_path;
pub(crate) mod idempotency;
pub(crate) mod json;
pub(crate) mod keys;
pub(crate) mod login_methods;
pub(crate) mod login_page;
pub(crate) mod oidc;
pub(crate) mod openapi;
pub(crate) mod operations;
pub(crate) mod page;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod reading;
pub(crate) mod reference;
pub(crate) mod refusals;
pub(crate) mod replays;
pub(crate) mod resources;
pub(crate) mod revision;
pub(crate) mod session;
pub(crate) mod shown_event;
pub(crate) mod subscriptions;
pub(crate) mod tenant_contents;
pub(crate) mod tenants;
pub(crate) mod time;
pub(crate) mod users;

use std::sync::Arc;

use axum::extract::Request;
use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;

use self::document::Document;
use self::idempotency::Idempotency;
use self::operations::{Operation, Operations};
use self::resources::Resources;
use super::authentication::authorize;
use super::body::Body;
use super::metrics::HttpMetrics;
use super::problem::Problem;
use super::request_source::RequestSource;
use super::routed;
use super::service::Shared;
use super::state::ConnectionState;
use super::upload::Upload;

/// The largest body of an operation: declarations are small.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 20;

/// The operations of the control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    router: axum::Router,
    operations: Operations,
    tasks: TaskTracker,
}

/// All resources: a line for each file.
fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new()
        .merge(attempts::routes())
        .merge(audit_log::routes())
        .merge(config::routes())
        .merge(dead_letters::routes())
        .merge(deliveries::routes())
        .merge(events::routes())
        .merge(keys::routes())
        .merge(login_methods::routes())
        .merge(oidc::routes())
        .merge(openapi::routes())
        .merge(reference::routes())
        .merge(replays::routes())
        .merge(session::routes())
        .merge(subscriptions::routes())
        .merge(tenants::routes())
        .merge(users::routes())
}

impl ControlPlane {
    pub(crate) fn new(mut resources: Resources, idempotency: Idempotency, metrics: &HttpMetrics) -> Self {
        let (router, described) = routes().split_for_parts();
        let document = Document::new(described);
        let operations = Operations::new(&document, metrics);
        resources.document = Arc::new(document);
        let tasks = idempotency.tasks();
        let once = axum::middleware::from_fn_with_state(idempotency, idempotency::once);
        let router = router.layer(once).with_state(resources);
        Self { router, operations, tasks }
    }

    /// What goes on without its client, to be waited for when the server stops.
    pub(crate) fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    pub(crate) fn operations(&self) -> &Operations {
        &self.operations
    }
}

/// Answers a request for an operation.
pub(crate) async fn answer(
    shared: &Shared,
    connection: &ConnectionState,
    parts: &Parts,
    upload: &mut Upload<'_>,
    operation: &Operation,
    source: RequestSource,
) -> Result<Response<Body>, Problem> {
    let access = operation.scope().map(|scope| authorize(shared, connection, parts, scope)).transpose()?;
    if let Some(access) = &access {
        access.quota().admit_requests(1).map_err(|exceeded| Problem::quota(&exceeded))?;
    }
    if !operation.takes_query() && parts.uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(query::invalid("There are no parameters here".to_owned(), None));
    }
    let received = match operation.takes_body() {
        true => Some(upload.read_at_most(MAX_BODY_BYTES).await?),
        false => None,
    };
    let body = received.as_ref().map_or_else(Bytes::new, |received| received.bytes.clone());
    let mut request = Request::from_parts(parts.clone(), axum::body::Body::from(body));
    if let Some(access) = access {
        request.extensions_mut().insert(access);
    }
    request.extensions_mut().insert(source);
    routed::answer(&shared.control.router, request).await
}
