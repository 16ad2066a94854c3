//! Clients that show our own API keys and take our own problems: their operations, each with its `#[utoipa::path]` as in
//! [`crate::http::control`], in one router.

use axum::extract::Request;
use http::Response;
use http::request::Parts;
use utoipa_axum::router::OpenApiRouter;

use super::request_body::RequestBody;
use super::{CompatOptions, ingester, webhooks};
use crate::http::authentication::authorize;
use crate::http::body::Body;
use crate::http::control::document::Document;
use crate::http::control::operations::{Operation, Operations};
use crate::http::control::resources::Resources;
use crate::http::decompress::Encoding;
use crate::http::metrics::HttpMetrics;
use crate::http::problem::Problem;
use crate::http::request_source::RequestSource;
use crate::http::routed;
use crate::http::service::Shared;
use crate::http::state::ConnectionState;
use crate::http::upload::Upload;

/// The operations of the clients that are switched on.
#[derive(Debug)]
pub(crate) struct RestClients {
    router: axum::Router,
    operations: Operations,
}

/// All clients that are switched on.
fn routes(options: &CompatOptions) -> OpenApiRouter<Resources> {
    let mut all = OpenApiRouter::new();
    if options.ingester {
        all = all.merge(ingester::routes());
    }
    if options.webhooks {
        all = all.merge(webhooks::routes());
    }
    all
}

impl RestClients {
    pub(crate) fn new(resources: Resources, options: &CompatOptions, metrics: &HttpMetrics) -> Self {
        let (router, described) = routes(options).split_for_parts();
        let operations = Operations::new(&Document::new(described), metrics);
        Self { router: router.with_state(resources), operations }
    }

    pub(crate) fn operations(&self) -> &Operations {
        &self.operations
    }
}

/// Answers a request of another system's client.
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
    // The reservation of memory lasts until the answer is there.
    let received = match operation.takes_body() {
        true => {
            let encoding = Encoding::of(&parts.headers)?;
            Some(encoding.decompress(upload.read().await?, shared.upload_limits()).await?)
        }
        false => None,
    };
    let mut request = Request::from_parts(parts.clone(), axum::body::Body::empty());
    if let Some(received) = &received {
        request.extensions_mut().insert(RequestBody(received.bytes.clone()));
    }
    if let Some(access) = access {
        request.extensions_mut().insert(access);
    }
    request.extensions_mut().insert(source);
    routed::answer(&shared.rest_clients.router, request).await
}
