//! The hot path's operations, for the document: `routes/*` answers them, by hand-written code that axum never sees, so here they
//! are only described. Their bodies are the types that `routes/*` reads and writes, or those of [`schemas`], which tests hold
//! against the code; another holds path, method and scope of each against what the server does.

#![allow(dead_code, reason = "functions that are only described")]

use utoipa::OpenApi;

use crate::http::routes::events::Status as EventStatus;
use crate::http::routes::events::schemas::{NewEvents, Pulled, Receipts, ShownEvent};
use crate::http::routes::filters::{Answer as FilterTestResult, Asked as FilterTest};
use crate::http::routes::health::{Health, Liveness};
use crate::http::routes::pull::{Ack, Extend, Nack, Pull, Results as LeaseResults};

/// The document of the hot path.
#[derive(OpenApi)]
#[openapi(paths(
    publish_events,
    publish_stream,
    stream_events,
    get_event,
    get_event_status,
    test_filter,
    pull_events,
    ack_leases,
    nack_leases,
    extend_leases,
    get_health,
    get_liveness,
    get_readiness,
    get_metrics
))]
pub(super) struct HotPath;

/// Publish events
///
/// Answered once all of them are on the disk.
#[utoipa::path(
    post, path = "/v1/events", tag = "events", security(("bearer" = ["publish"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The key of an event that has none of its own; in a batch, event `i` gets `<key>/<i>`",
            min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    request_body(content(
        (NewEvents = "application/json", example = json!({"type": "order.created", "source": "/shop", "data": {"order": 1}})),
        (String = "application/x-ndjson", example = "{\"type\":\"order.created\",\"source\":\"/shop\"}\n"),
        (Object = "application/cloudevents+json", example = json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"})),
        (Vec<Object> = "application/cloudevents-batch+json", example = json!([{"specversion": "1.0", "id": "2", "source": "/shop", "type": "order.created"}])),
    )),
    responses((status = 201, description = "They are on the disk", body = Receipts),
              (status = 422, description = "Another event of the source has the key"),
              (status = 507, description = "The disk is full; nothing was stored"))
)]
fn publish_events() {}

/// Publish without end
///
/// A line for each event, answered line by line while the body goes on.
#[utoipa::path(
    post, path = "/v1/events/stream", tag = "events", security(("bearer" = ["publish"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The stream's name: its event `i` gets `<key>/<i>`",
            min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    request_body(content((String = "application/x-ndjson", example = "{\"type\":\"order.created\",\"source\":\"/shop\"}\n"))),
    responses((status = 200, description = "A line for each line", body = String, content_type = "application/x-ndjson"))
)]
fn publish_stream() {}

/// Follow the log
///
/// An event a line as it comes, or server-sent events for who accepts `text/event-stream`. It does not end.
#[utoipa::path(
    get, path = "/v1/events/stream", tag = "events", security(("bearer" = ["read"])),
    extensions(("x-endless" = json!(true))),
    params(("from" = Option<String>, Query, description = "`earliest`, `latest` or an offset", example = "latest"),
           ("Last-Event-ID" = Option<String>, Header, description = "Goes on after this offset")),
    responses((status = 200, description = "Events", content((String = "application/x-ndjson"), (String = "text/event-stream"))),
              (status = 410, description = "Retention has let the offset go"))
)]
fn stream_events() {}

/// Show an event
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "events", security(("bearer" = ["read"])),
    params(("id" = String, Path, description = "The event's id", example = "01992b3c-0000-7000-8000-000000000000",
            extensions(("x-example-from" = json!({"operation": "publish_events", "pattern": "[0-9a-f-]{36}"}))))),
    responses((status = 200, description = "The event, or a CloudEvent for who accepts that",
               content((ShownEvent = "application/json"), (Object = "application/cloudevents+json"))))
)]
fn get_event() {}

/// Show what became of an event
#[utoipa::path(
    get, path = "/v1/events/{id}/status", tag = "events", security(("bearer" = ["read"])),
    params(("id" = String, Path, description = "The event's id", example = "01992b3c-0000-7000-8000-000000000000",
            extensions(("x-example-from" = json!({"operation": "publish_events", "pattern": "[0-9a-f-]{36}"}))))),
    responses((status = 200, description = "Its deliveries", body = EventStatus))
)]
fn get_event_status() {}

/// Try a filter and a transform
///
/// Nothing is stored.
#[utoipa::path(
    post, path = "/v1/filters/test", tag = "subscriptions", security(("bearer" = ["read"])),
    request_body(content = FilterTest<'static>, example = json!({
        "filter": {"types": ["order.*"], "cel": "data.amount > 100"}, "transform": "{'total': data.amount}",
        "event": {"type": "order.created", "source": "/shop", "data": {"amount": 120}}})),
    responses((status = 200, description = "What they make of the event", body = FilterTestResult),
              (status = 404, description = "There is no such event"))
)]
fn test_filter() {}

/// Pull events
///
/// Each is the consumer's for as long as its lease lasts.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/pull", tag = "pull", security(("bearer" = ["consume"])),
    params(("name" = String, Path, description = "The subscription's name", example = "jobs")),
    request_body(content = Pull, example = json!({"max": 10, "wait_ms": 0})),
    responses((status = 200, description = "Events, or none", body = Pulled<'static>), (status = 409, description = "The subscription has a sink"))
)]
fn pull_events() {}

/// Say that events are dealt with
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/ack", tag = "pull", security(("bearer" = ["consume"])),
    params(("name" = String, Path, description = "The subscription's name", example = "jobs")),
    request_body(content = Ack, example = json!({"leases": []})),
    responses((status = 200, description = "What became of each", body = LeaseResults<'static>), (status = 409, description = "The subscription has a sink"))
)]
fn ack_leases() {}

/// Say that events are to be delivered again
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/nack", tag = "pull", security(("bearer" = ["consume"])),
    params(("name" = String, Path, description = "The subscription's name", example = "jobs")),
    request_body(content = Nack, example = json!({"leases": [], "delay_ms": 1000})),
    responses((status = 200, description = "What became of each", body = LeaseResults<'static>), (status = 409, description = "The subscription has a sink"))
)]
fn nack_leases() {}

/// Ask for more time for events
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/extend", tag = "pull", security(("bearer" = ["consume"])),
    params(("name" = String, Path, description = "The subscription's name", example = "jobs")),
    request_body(content = Extend, example = json!({"leases": [], "lease_ms": 60000})),
    responses((status = 200, description = "What became of each", body = LeaseResults<'static>), (status = 409, description = "The subscription has a sink"))
)]
fn extend_leases() {}

/// Show how everything is
#[utoipa::path(
    get, path = "/health", tag = "health", security(("bearer" = ["admin"])),
    responses((status = 200, description = "The log, the disk and the subscriptions", body = Health))
)]
fn get_health() {}

/// Tell whether the process is alive
#[utoipa::path(
    get, path = "/healthz", tag = "health", security(()),
    responses((status = 200, description = "It is", body = Liveness))
)]
fn get_liveness() {}

/// Tell whether events are taken
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, description = "They are", body = Liveness))
)]
fn get_readiness() {}

/// Show the metrics
#[utoipa::path(
    get, path = "/metrics", tag = "health", security(("bearer" = ["admin"])),
    responses((status = 200, description = "OpenMetrics text", body = String,
               content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"))
)]
fn get_metrics() {}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::document::Document;
    use crate::http::authentication::scope_of;
    use crate::http::route::{Route, Target};

    #[test]
    fn what_is_described_is_what_is_served() {
        let document = Document::new(super::super::routes().split_for_parts().1);
        let mut described = Vec::new();
        for (path, method, operation) in document.operations() {
            if document.control_operation(path, method).is_some() {
                continue;
            }
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let one = path.replace("{id}", "x").replace("{name}", "x");
            let Target::Route(route, _) = Target::find(&method, &one, false) else {
                panic!("{method} {path} is not served")
            };
            assert_eq!((route.label(), route.method_label()), (path, method.as_str()));
            let scope = operation["security"][0]["bearer"][0].as_str();
            assert_eq!(scope, scope_of(route).map(crate::auth::Scope::name), "{method} {path}");
            described.push(route);
        }
        for route in Route::ALL {
            let is_no_resource =
                matches!(route, Route::Noop | Route::WrongMethod | Route::Unknown | Route::Refused);
            assert!(is_no_resource || described.contains(&route), "{route:?} is not described");
        }
    }
}
