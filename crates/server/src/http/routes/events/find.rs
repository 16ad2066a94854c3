//! `GET /v1/events/{id}`: one event, in our form or, when asked for, as a CloudEvent.
//!
//! Ids can be guessed, so what is no id, what is nobody's and what is another tenant's answer alike.

use eventrelay_event::{EventId, StoredEvent, cloudevents, native};
use eventrelay_ingest::Publisher;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, VARY};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::refusals;
use crate::auth::Access;
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::http::service::Shared;

const CLOUD_EVENT: &str = "application/cloudevents+json";

/// Finds an event by its id.
///
/// # Errors
/// 404 when there is none, 503 when it cannot be read.
pub(crate) async fn find(
    shared: &Shared,
    access: &Access,
    parts: &Parts,
    id: &str,
) -> Result<Response<Body>, Problem> {
    let event = stored(shared, access, id).await?;
    Ok(show(&event, accepts_cloud_events(&parts.headers)))
}

/// The stored event of an id.
///
/// # Errors
/// 404 when there is none, 503 when it cannot be read.
pub(in crate::http::routes) async fn stored(
    shared: &Shared,
    access: &Access,
    id: &str,
) -> Result<StoredEvent, Problem> {
    of_id(&shared.publisher, access, id).await
}

/// The caller's event of an id.
///
/// # Errors
/// 404 when there is none, 503 when it cannot be read.
pub(crate) async fn of_id(publisher: &Publisher, access: &Access, id: &str) -> Result<StoredEvent, Problem> {
    let absent = || Problem::new(StatusCode::NOT_FOUND, "event_not_found", "There is no such event");
    let id: EventId = id.parse().map_err(|_| absent())?;
    let found = publisher.find(id, access.tenant()).await;
    found.map_err(|error| refusals::of_finding(&error))?.ok_or_else(absent)
}

fn show(event: &StoredEvent, as_cloud_event: bool) -> Response<Body> {
    let mut out = Vec::with_capacity(event.encoded().len() + 256);
    if as_cloud_event {
        cloudevents::write_cloudevent_json(event, &mut out);
    } else {
        native::write_json(event, &mut out);
    }
    let content_type = if as_cloud_event { CLOUD_EVENT } else { "application/json" };
    let mut response = Response::new(Body::full(out));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

fn accepts_cloud_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .flat_map(|accept| accept.split(','))
        .any(|range| {
            range.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(CLOUD_EVENT))
        })
}
