//! `GET /v1/events/{id}/status`: what became of an event.
//!
//! ```json
//! {"id": "…", "offset": 7, "status": "processing", "deliveries": [
//!   {"subscription": "billing", "state": "delivered"},
//!   {"subscription": "search", "state": "retrying", "attempts": 2, "next_attempt_at": "…", "error": "503"}]}
//! ```
//!
//! It answers from cursors and exceptions, for nothing is stored of a delivery that went well; so a delivery of this moment
//! is `pending` until its cursor is saved. Like the event itself, another tenant's is answered as one that is not there.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::find::stored;
use crate::auth::Access;
use crate::deliveries::{self, Delivery, EventStatus};
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::http::service::Shared;

/// What became of an event.
#[derive(Serialize, ToSchema)]
#[schema(as = EventStatus)]
pub(in crate::http) struct Status {
    /// The event's id.
    id: String,
    /// Its position in the log.
    offset: u64,
    /// For all subscriptions together.
    status: EventStatus,
    /// For each subscription that it is for.
    deliveries: Vec<Delivery>,
}

/// Tells what became of an event.
///
/// # Errors
/// 404 when there is none, 503 when it or what is saved of its deliveries cannot be read.
pub(crate) async fn status(shared: &Shared, access: &Access, id: &str) -> Result<Response<Body>, Problem> {
    let event = stored(shared, access, id).await?;
    let (id, offset) = (event.id().to_string(), event.offset());
    let deliveries = deliveries::of_event(&shared.subscriptions, event).await.map_err(|error| {
        let title = "What is saved of deliveries cannot be read";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "state_unreadable", title).detail(error.why)
    })?;
    let status = Status { id, offset, status: EventStatus::of(&deliveries), deliveries };
    let body = serde_json::to_vec(&status).map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = Response::new(Body::full(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
