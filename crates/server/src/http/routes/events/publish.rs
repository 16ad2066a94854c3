//! `POST /v1/events`: takes events in every form that [`ContentKind`] knows, and answers once they are durable.
//!
//! | `Content-Type` | body | answer |
//! |---|---|---|
//! | `application/json` | one event in our form, or an array | 201 with a receipt, or a list of them |
//! | `application/x-ndjson` | one event in our form a line | 201 with a list |
//! | `application/cloudevents+json` | one CloudEvent | 201 with a receipt |
//! | `application/cloudevents-batch+json` | an array of CloudEvents | 201 with a list |
//! | any, with `ce-*` headers | a CloudEvent's data | 201 with a receipt |
//!
//! A receipt is `{"id": "…", "offset": 7, "duplicate": false}`. A repeated publish is answered 201 too, with the id
//! and offset of the first and `"duplicate": true`. All events of a request are taken, or none. A body may be compressed.

use bytes::Bytes;
use eventrelay_event::{ContentKind, DecodeEventsError, DecodedEvents, cloudevents, native};
use eventrelay_telemetry::{Door, PublishSpans};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::idempotency_key;
use super::receipts;
use super::refusals;
use crate::auth::Access;
use crate::http::body::Body;
use crate::http::decompress::Encoding;
use crate::http::problem::Problem;
use crate::http::service::Shared;
use crate::http::upload::Upload;
use crate::request_trace::RequestTrace;

/// Publishes what the request carries.
///
/// # Errors
/// Whatever is wrong with it; then nothing is stored, but for `outcome_unknown`.
pub(crate) async fn publish(
    shared: &Shared,
    access: &Access,
    parts: &Parts,
    upload: &mut Upload<'_>,
) -> Result<Response<Body>, Problem> {
    let mut spans = shared.publisher.spans().publish(Door::Http, access.tenant());
    let trace = RequestTrace::of(&parts.headers);
    spans.caller(trace.as_ref().map(RequestTrace::context));
    let published = decode_and_store(shared, access, parts, upload, trace.as_ref(), &mut spans).await;
    match &published {
        Ok(_) => spans.accepted(),
        Err(problem) => spans.refused(problem.code(), problem.words()),
    }
    published
}

async fn decode_and_store(
    shared: &Shared,
    access: &Access,
    parts: &Parts,
    upload: &mut Upload<'_>,
    trace: Option<&RequestTrace>,
    spans: &mut PublishSpans,
) -> Result<Response<Body>, Problem> {
    // What the head alone refuses is refused before the body is read.
    let key = idempotency_key::of(&parts.headers)?;
    let encoding = Encoding::of(&parts.headers)?;
    let content_type = content_type(&parts.headers)?;
    let kind = ContentKind::of(content_type, parts.headers.keys().map(http::HeaderName::as_str));
    if kind == ContentKind::Unsupported {
        return Err(unsupported("The body must be application/json, application/x-ndjson or a CloudEvent"));
    }
    // The reservation of memory must last until the log has copied the events.
    let received = encoding.decompress(upload.read().await?, shared.upload_limits()).await?;
    let decoded = decode(shared, access, kind, content_type, &parts.headers, &received.bytes);
    let DecodedEvents { mut events, is_batch } = decoded.map_err(|error| {
        shared.publisher.metrics().refused(error.code());
        refusals::of_decoding(&error)
    })?;
    if let Some(key) = key {
        idempotency_key::apply(key, &mut events, is_batch)?;
    }
    if let Some(trace) = trace {
        trace.apply(&mut events);
    }
    spans.events(&events);
    let admitted = access.quota().admit_events(events.len(), received.bytes.len());
    let _in_flight = admitted.map_err(|exceeded| Problem::quota(&exceeded))?;
    let receipts = shared.publisher.publish(events).await.map_err(|error| refusals::of_publishing(&error))?;
    let mut response = Response::new(Body::full(receipts::render(&receipts, is_batch)));
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn decode(
    shared: &Shared,
    access: &Access,
    kind: ContentKind,
    content_type: Option<&str>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<DecodedEvents, DecodeEventsError> {
    let (tenant, limits) = (access.tenant(), &shared.publisher.limits().events);
    match kind {
        ContentKind::Native | ContentKind::Unsupported => native::decode(body, tenant, limits),
        ContentKind::NativeLines => native::decode_lines(body, tenant, limits),
        ContentKind::CloudEventsStructured => cloudevents::decode_structured(body, tenant, limits),
        ContentKind::CloudEventsBatch => cloudevents::decode_batch(body, tenant, limits),
        ContentKind::CloudEventsBinary => {
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            cloudevents::decode_binary(headers, content_type, body.clone(), tenant, limits)
        }
    }
}

/// The request's one `Content-Type`.
///
/// # Errors
/// 415 when there are several, or it is no text.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(unsupported("There is more than one Content-Type"));
    }
    first.map(|value| value.to_str().map_err(|_| unsupported("Content-Type must be ASCII"))).transpose()
}

pub(super) fn unsupported(detail: &'static str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_content_type",
        "The content type is not supported",
    )
    .detail(detail)
}
