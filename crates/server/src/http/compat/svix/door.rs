//! The way of an SDK's request to its handler.
//!
//! ```text
//!  service ── SvixApi::find ──▶ guard, token or key, scope, quota ──▶ body ──▶ a handler
//!                                     │                                        │
//!                                     └─── refused in the form of Svix ◀───────┘
//! ```

use axum::extract::Request;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, Uri};

use super::super::options::CompatOptions;
use super::routes::Routes;
use super::{Svix, client};
use crate::auth::Scope;
use crate::http::body::Body;
use crate::http::control::idempotency::Idempotency;
use crate::http::metrics::{HttpMetrics, RouteHandles};
use crate::http::problem::Problem;
use crate::http::public_url::PublicUrl;
use crate::http::request_source::RequestSource;
use crate::http::routed;
use crate::http::service::{Services, Shared};
use crate::http::upload::Upload;

/// All that SDKs can ask for; nothing where they are not spoken to.
#[derive(Debug, Default)]
pub(crate) struct SvixApi {
    client: Option<(Svix, axum::Router)>,
    operations: matchit::Router<Vec<Operation>>,
}

/// Something that an SDK can ask for.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    method: Method,
    scope: Option<Scope>,
    handles: RouteHandles,
}

impl Operation {
    pub(crate) fn handles(&self) -> &RouteHandles {
        &self.handles
    }
}

impl SvixApi {
    pub(crate) fn new(
        options: &CompatOptions,
        services: &Services,
        public_url: Option<PublicUrl>,
        idempotency: Idempotency,
    ) -> Self {
        let mut api = Self::default();
        if options.svix {
            let (client, routes) = client(options, services, public_url, idempotency);
            api.open(client, routes, &services.metrics);
        }
        api
    }

    fn open(&mut self, client: Svix, routes: Routes, metrics: &HttpMetrics) {
        let (router, described) = routes.into_parts();
        for (path, methods) in described {
            let operations = methods.into_iter().map(|(method, label, scope)| Operation {
                method,
                scope,
                handles: metrics.handles(path.into(), label),
            });
            if let Err(error) = self.operations.insert(path, operations.collect()) {
                // axum's router has the same rules, and has taken it.
                tracing::error!(path, %error, "an operation cannot be reached");
            }
        }
        self.client = Some((client, router));
    }

    /// Finds what is meant; none where nothing has the path and method. Older SDKs end paths with a slash.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<&Operation> {
        // Who asks for the head of an answer is answered as who asks for all of it.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let matched = self.operations.at(without_slash(path)).ok()?;
        matched.value.iter().find(|operation| operation.method == method)
    }

    /// What a path can be asked for.
    pub(crate) fn methods(&self, path: &str) -> impl Iterator<Item = &str> {
        let matched = self.operations.at(without_slash(path)).ok();
        let methods = matched.into_iter().flat_map(|matched| matched.value).map(|it| it.method.as_str());
        methods.flat_map(|method| [Some(method), (method == "GET").then_some("HEAD")]).flatten()
    }
}

fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// Answers a request for an operation.
pub(crate) async fn answer(
    shared: &Shared,
    parts: &Parts,
    upload: &mut Upload<'_>,
    operation: &Operation,
    source: RequestSource,
) -> Result<Response<Body>, Problem> {
    let Some((client, router)) = &shared.svix.client else {
        return Err(Problem::internal("an operation of an API that is off"));
    };
    let answered = call(shared, parts, upload, operation, source, client, router).await;
    Ok(answered.unwrap_or_else(Svix::refuse))
}

async fn call(
    shared: &Shared,
    parts: &Parts,
    upload: &mut Upload<'_>,
    operation: &Operation,
    source: RequestSource,
    client: &Svix,
    router: &axum::Router,
) -> Result<Response<Body>, Problem> {
    let mut parts = parts.clone();
    parts.uri = trimmed(&parts.uri)?;
    if let Some(scope) = operation.scope {
        let access = client.admit(shared, &mut parts, scope).await?;
        access.quota().admit_requests(1).map_err(|exceeded| Problem::quota(&exceeded))?;
        parts.extensions.insert(access);
    }
    parts.extensions.insert(source);
    let takes_body = matches!(operation.method, Method::POST | Method::PUT | Method::PATCH);
    let received = if takes_body { Some(upload.read().await?) } else { None };
    let body = received.as_ref().map_or_else(Bytes::new, |received| received.bytes.clone());
    let request = Request::from_parts(parts, axum::body::Body::from(body));
    routed::answer(router, request).await
}

/// The same without a slash at its path's end.
fn trimmed(uri: &Uri) -> Result<Uri, Problem> {
    let path = without_slash(uri.path());
    if path.len() == uri.path().len() {
        return Ok(uri.clone());
    }
    let text = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    text.parse().map_err(|_| Problem::not_found())
}
