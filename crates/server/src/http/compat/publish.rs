//! Publishes single events, and shows them, in the words of other systems: their payload is our data.

use bytes::Bytes;
use eventrelay_event::{Data, DataKind, Event, StoredEvent};
use eventrelay_ingest::Receipt;
use eventrelay_telemetry::Door;
use http::{HeaderMap, StatusCode};
use serde_json::value::{RawValue, to_raw_value};

use super::request_body::invalid;
use crate::auth::Access;
use crate::http::control::resources::Resources;
use crate::http::problem::Problem;
use crate::http::routes::events::of_publishing;
use crate::request_trace::RequestTrace;

/// A payload as the data of an event, checked as all data is.
///
/// # Errors
/// 400 with the code of what is wrong.
pub(super) fn payload_data(resources: &Resources, payload: &RawValue) -> Result<Data, Problem> {
    let limits = &resources.publisher.limits().events.json;
    Data::json(Bytes::copy_from_slice(payload.get().as_bytes()), limits).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, error.kind.code(), "The payload cannot be taken")
            .detail(format!("payload: {error}"))
            .field(Some("payload".to_owned()))
    })
}

/// Publishes an event, durably once this returns Ok.
///
/// # Errors
/// As [`crate::http::routes::events`] has them.
pub(super) async fn publish(
    resources: &Resources,
    access: &Access,
    headers: &HeaderMap,
    event: Event,
) -> Result<Receipt, Problem> {
    let mut spans = resources.publisher.spans().publish(Door::Http, access.tenant());
    let trace = RequestTrace::of(headers);
    spans.caller(trace.as_ref().map(RequestTrace::context));
    let mut events = vec![event];
    if let Some(trace) = &trace {
        trace.apply(&mut events);
    }
    spans.events(&events);
    let published = store(resources, access, events).await;
    match &published {
        Ok(_) => spans.accepted(),
        Err(problem) => spans.refused(problem.code(), problem.words()),
    }
    published
}

async fn store(resources: &Resources, access: &Access, events: Vec<Event>) -> Result<Receipt, Problem> {
    let bytes = events.iter().map(StoredEvent::encoded_bytes).sum();
    let admitted = access.quota().admit_events(events.len(), bytes);
    let _in_flight = admitted.map_err(|exceeded| Problem::quota(&exceeded))?;
    let receipts = resources.publisher.publish(events).await.map_err(|error| of_publishing(&error))?;
    receipts.into_iter().next().ok_or_else(|| Problem::internal("a publish without a receipt"))
}

/// The data of an event as a payload: JSON as it came, text as a string, all else in base64, and none as null.
pub(super) fn data_payload(event: &StoredEvent) -> Result<Box<RawValue>, Problem> {
    use base64::Engine as _;
    let payload = match event.data() {
        Some((DataKind::Json, json)) => RawValue::from_string(String::from_utf8_lossy(json).into_owned()),
        Some((DataKind::Text, text)) => to_raw_value(&String::from_utf8_lossy(text)),
        Some((DataKind::Binary, bytes)) => {
            to_raw_value(&base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        None => Ok(RawValue::NULL.to_owned()),
    };
    payload.map_err(|error| Problem::internal(error.to_string()))
}

/// A name that is refused where it is empty, as a field that is missing.
///
/// # Errors
/// 400 `invalid_field`.
pub(super) fn not_empty(text: String, field: &'static str) -> Result<String, Problem> {
    if text.is_empty() { Err(invalid(field, "must not be empty")) } else { Ok(text) }
}
