//! `idempotency-key` on a `POST`, which SDKs send with each and keep when they repeat one: done once, as in the control plane
//! ([`crate::http::control::idempotency`]).
//!
//! ```text
//!  under way        ──▶ 503, which SDKs repeat
//!  answered         ──▶ the same answer
//!  another request  ──▶ 409
//! ```
//!
//! Messages have the idempotency of events instead, which lasts longer.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};

use super::caller::Caller;
use super::refusal::Refusal;
use crate::auth::Access;
use crate::http::control::idempotency::Idempotency;
use crate::http::problem::Problem;

/// Lets a request through once.
pub(super) async fn once(State(idempotency): State<Idempotency>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let (Some(access), Some(caller)) = (extensions.get::<Access>(), extensions.get::<Caller>()) else {
        return next.run(request).await;
    };
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    // A token that was made later gets no answer that was meant for an earlier one.
    let asker = format!("{} {}", access.actor().id, caller.issued_at_micros());
    let tenant = access.tenant().clone();
    match idempotency_key(request.headers()) {
        Ok(None) => next.run(request).await,
        Ok(Some(key)) => {
            let done = idempotency.once(tenant, key, asker, request, next).await;
            done.unwrap_or_else(|problem| refused(problem).into_response())
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn refused(problem: Problem) -> Refusal {
    match problem.code() {
        "idempotency_key_reused" => Refusal::conflict("Another request had this idempotency-key"),
        "idempotency_key_in_use" => Refusal::Problem(problem.with_status(StatusCode::SERVICE_UNAVAILABLE)),
        _ => Refusal::Problem(problem),
    }
}

/// What the client calls its request.
///
/// # Errors
/// 422 when it is too long, or not of visible ASCII characters.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let is_legal = (1..=255).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(key) if is_legal => Ok(Some(key.to_owned())),
        _ => Err(Refusal::invalid_at(
            vec!["header".to_owned(), "idempotency-key".to_owned()],
            "must be 1 to 255 visible ASCII characters",
        )),
    }
}
