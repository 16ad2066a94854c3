//! The body of a request of another system's client: JSON, whatever its `Content-Type` says.

use axum::extract::FromRequestParts;
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;

use crate::http::control::json;
use crate::http::problem::Problem;

/// All of it, decompressed; bounded when it was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestBody(pub(super) Bytes);

impl RequestBody {
    /// What it says.
    ///
    /// # Errors
    /// 400 where it is no JSON, or not what the operation takes.
    pub(super) fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        json::parse(&self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestBody {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// A field that must be there.
///
/// # Errors
/// 400 `missing_field` where it is not, or null.
pub(super) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, Problem> {
    value.ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "missing_field", "A field is missing")
            .detail(format!("`{field}` must be given"))
            .field(Some(field.to_owned()))
    })
}

/// A field that makes no sense.
pub(super) fn invalid(field: &'static str, why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_field", "A field is not valid")
        .detail(format!("`{field}` {}", why.into()))
        .field(Some(field.to_owned()))
}
