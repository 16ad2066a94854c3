//! The routes of an API: what axum leads to handlers, and what is known of each before.

use std::collections::BTreeMap;

use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use http::Method;

use crate::auth::Scope;
use crate::http::control::idempotency::Idempotency;

/// What can be done at a path: the method, its name in metrics, and what a caller must be good for; none: it is for everybody.
type Methods = Vec<(Method, &'static str, Option<Scope>)>;

/// Routes whose handlers work on `S`.
#[derive(Debug)]
pub(super) struct Routes<S = ()> {
    router: axum::Router<S>,
    described: BTreeMap<&'static str, Methods>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    pub(super) fn new() -> Self {
        Self { router: axum::Router::new(), described: BTreeMap::new() }
    }

    pub(super) fn get<H: Handler<T, S>, T: 'static>(
        self,
        path: &'static str,
        scope: impl Into<Option<Scope>>,
        handler: H,
    ) -> Self {
        self.on(MethodFilter::GET, (Method::GET, "GET", scope.into()), path, handler)
    }

    pub(super) fn post<H: Handler<T, S>, T: 'static>(
        self,
        path: &'static str,
        scope: Scope,
        handler: H,
    ) -> Self {
        self.on(MethodFilter::POST, (Method::POST, "POST", Some(scope)), path, handler)
    }

    pub(super) fn put<H: Handler<T, S>, T: 'static>(
        self,
        path: &'static str,
        scope: Scope,
        handler: H,
    ) -> Self {
        self.on(MethodFilter::PUT, (Method::PUT, "PUT", Some(scope)), path, handler)
    }

    pub(super) fn patch<H: Handler<T, S>, T: 'static>(
        self,
        path: &'static str,
        scope: Scope,
        handler: H,
    ) -> Self {
        self.on(MethodFilter::PATCH, (Method::PATCH, "PATCH", Some(scope)), path, handler)
    }

    pub(super) fn delete<H: Handler<T, S>, T: 'static>(
        self,
        path: &'static str,
        scope: Scope,
        handler: H,
    ) -> Self {
        self.on(MethodFilter::DELETE, (Method::DELETE, "DELETE", Some(scope)), path, handler)
    }

    fn on<H: Handler<T, S>, T: 'static>(
        mut self,
        filter: MethodFilter,
        described: (Method, &'static str, Option<Scope>),
        path: &'static str,
        handler: H,
    ) -> Self {
        self.described.entry(path).or_default().push(described);
        Self { router: self.router.route(path, on(filter, handler)), ..self }
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        for (path, methods) in other.described {
            self.described.entry(path).or_default().extend(methods);
        }
        Self { router: self.router.merge(other.router), ..self }
    }

    /// The same, each of whose `POST`s is done once for an `idempotency-key`.
    pub(super) fn once(self, idempotency: Idempotency) -> Self {
        let once = axum::middleware::from_fn_with_state(idempotency, super::idempotency::once);
        Self { router: self.router.layer(once), ..self }
    }

    /// The same, with what the handlers work on.
    pub(super) fn with_state(self, state: S) -> Routes {
        Routes { router: self.router.with_state(state), described: self.described }
    }
}

impl Routes {
    pub(super) fn into_parts(self) -> (axum::Router, BTreeMap<&'static str, Methods>) {
        (self.router, self.described)
    }
}
