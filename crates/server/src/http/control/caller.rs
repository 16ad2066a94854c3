//! Who asks: what the request's key may do, and for which tenant. The scope that the operation needs is checked already.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::auth::Access;
use crate::http::problem::Problem;

/// The access of a request for an operation that is not for everybody.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Access);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let access = parts.extensions.get::<Access>().cloned();
        access.map(Self).ok_or_else(|| Problem::internal("an operation for everybody asks who is there"))
    }
}
