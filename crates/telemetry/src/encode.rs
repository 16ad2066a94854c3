//! Spans as OTLP has them, with the attribute names of OpenTelemetry's semantic conventions where there are any.
//!
//! | | `publish` | `deliver` |
//! |---|---|---|
//! | kind | `SERVER` | `CLIENT` for a webhook, whose receiver answers; else `PRODUCER` |
//! | `messaging.system`, `messaging.operation.name` | `eventrelay`, `publish` | `eventrelay`, `deliver` |
//! | `messaging.operation.type` | | `send` |
//! | `messaging.batch.message_count` | of two or more | |
//! | `messaging.message.id` | | the event's id |
//! | `messaging.destination.subscription.name` | | the subscription |
//! | `cloudevents.event_type` | of one event | of the event |
//! | `http.response.status_code` | | of a webhook |
//! | `error.type` | the outcome, where it is an error | the same |
//! | ours: `eventrelay.tenant`, `eventrelay.outcome` | | |
//! | ours: `eventrelay.door`, `eventrelay.event.count` | | |
//! | ours: `eventrelay.sink.kind`, `eventrelay.delivery.attempt`, `eventrelay.response.status` | | the last: of what is no webhook |
//!
//! The status stays unset, as the conventions ask, but where something went wrong.

use prost::Message;

use crate::proto::collector::ExportTraceServiceRequest;
use crate::proto::common::{AnyValue, InstrumentationScope, KeyValue, any_value};
use crate::proto::resource::Resource;
use crate::proto::trace::span::SpanKind;
use crate::proto::trace::status::StatusCode;
use crate::proto::trace::{self, ResourceSpans, ScopeSpans, Status};
use crate::span::{About, Span};

/// The caller's flags (`sampled`), and that the parent is known to be another process's: `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE`
/// and `SPAN_FLAGS_CONTEXT_IS_REMOTE`.
const FLAGS: u32 = 0x01 | 0x100 | 0x200;
/// What instruments and what is instrumented are the same.
const NAME: &str = "eventrelay";
/// The sink whose targets speak HTTP.
const WEBHOOK: &str = "webhook";

/// Writes a request to the collector.
pub(crate) fn request(service_name: &str, spans: Vec<Span>) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let scope = InstrumentationScope {
        name: NAME.to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    let resource = Resource {
        attributes: vec![text("service.name", service_name), text("service.version", version)],
        ..Resource::default()
    };
    let spans = ScopeSpans {
        scope: Some(scope),
        spans: spans.into_iter().map(span).collect(),
        ..ScopeSpans::default()
    };
    let spans =
        ResourceSpans { resource: Some(resource), scope_spans: vec![spans], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec()
}

fn span(span: Span) -> trace::Span {
    let Span { parent, id, times, outcome, error, about } = span;
    let (name, kind, mut attributes) = match about {
        About::Publish { door, tenant, events, event_type } => {
            let mut attributes = messaging("publish", tenant.as_str());
            attributes.push(text("eventrelay.door", door.name()));
            attributes.push(number("eventrelay.event.count", events));
            if events > 1 {
                attributes.push(number("messaging.batch.message_count", events));
            }
            attributes.extend(event_type.map(|event_type| text("cloudevents.event_type", &event_type)));
            ("publish", SpanKind::Server, attributes)
        }
        About::Delivery { target, event_id, event_type, attempt, response_status } => {
            let is_webhook = target.sink == WEBHOOK;
            let mut attributes = messaging("deliver", target.tenant.as_str());
            attributes.push(text("messaging.operation.type", "send"));
            attributes.push(text("messaging.destination.subscription.name", &target.subscription));
            attributes.push(text("messaging.message.id", &event_id.to_string()));
            attributes.push(text("cloudevents.event_type", &event_type));
            attributes.push(text("eventrelay.sink.kind", target.sink));
            attributes.push(number("eventrelay.delivery.attempt", attempt));
            let status = if is_webhook { "http.response.status_code" } else { "eventrelay.response.status" };
            attributes.extend(response_status.map(|code| number(status, code)));
            ("deliver", if is_webhook { SpanKind::Client } else { SpanKind::Producer }, attributes)
        }
    };
    attributes.push(text("eventrelay.outcome", outcome));
    attributes.extend(error.is_some().then(|| text("error.type", outcome)));
    trace::Span {
        trace_id: parent.trace_id.bytes().to_vec(),
        span_id: id.bytes().to_vec(),
        trace_state: parent.tracestate.map(String::from).unwrap_or_default(),
        parent_span_id: parent.span_id.bytes().to_vec(),
        flags: FLAGS,
        name: name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: times.started_nanos,
        end_time_unix_nano: times.ended_nanos,
        attributes,
        status: error.map(|error| Status { message: error.into(), code: StatusCode::Error.into() }),
        ..trace::Span::default()
    }
}

fn messaging(operation: &str, tenant: &str) -> Vec<KeyValue> {
    vec![
        text("messaging.system", NAME),
        text("messaging.operation.name", operation),
        text("eventrelay.tenant", tenant),
    ]
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: impl TryInto<i64>) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value.try_into().unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use eventrelay_event::{EventId, SpanId, Tenant, TraceContext};

    use super::*;
    use crate::Door;
    use crate::span::{DeliveryTarget, Parent, Times};

    fn span_about(outcome: &'static str, error: Option<&str>, about: About) -> Span {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        Span {
            parent: Parent::of(TraceContext::parse(traceparent, Some("congo=t61")).unwrap()).unwrap(),
            id: SpanId::new([1, 2, 3, 4, 5, 6, 7, 8]).unwrap(),
            times: Times { started_nanos: 1_769_860_800_000_000_123, ended_nanos: 1_769_860_800_000_000_456 },
            outcome,
            error: error.map(Box::from),
            about,
        }
    }

    fn publish(events: usize, event_type: Option<&str>) -> About {
        About::Publish {
            door: Door::Tcp,
            tenant: Tenant::parse("acme").unwrap(),
            events,
            event_type: event_type.map(Box::from),
        }
    }

    fn delivery(sink: &'static str, response_status: Option<u16>) -> About {
        let target = DeliveryTarget { tenant: Tenant::default(), subscription: "hook".into(), sink };
        About::Delivery {
            target: Arc::new(target),
            event_id: EventId::new(1_500_000, 7),
            event_type: "order.created".into(),
            attempt: 3,
            response_status,
        }
    }

    fn decoded(spans: Vec<Span>) -> ResourceSpans {
        let mut request = ExportTraceServiceRequest::decode(&*request("shop-relay", spans)).unwrap();
        assert_eq!(request.resource_spans.len(), 1);
        request.resource_spans.remove(0)
    }

    fn one(span: Span) -> trace::Span {
        decoded(vec![span]).scope_spans.remove(0).spans.remove(0)
    }

    fn attributes(given: &[KeyValue]) -> BTreeMap<String, String> {
        let shown = |value: &AnyValue| match value.value.as_ref().unwrap() {
            any_value::Value::StringValue(text) => text.clone(),
            any_value::Value::IntValue(number) => format!("#{number}"),
            other => panic!("{other:?}"),
        };
        let attributes: BTreeMap<_, _> =
            given.iter().map(|given| (given.key.clone(), shown(given.value.as_ref().unwrap()))).collect();
        assert_eq!(attributes.len(), given.len(), "each name once");
        attributes
    }

    fn expected(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn ids_parent_and_times_are_as_they_were() {
        let span = one(span_about("accepted", None, publish(1, None)));
        assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
        assert_eq!(span.span_id, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert_eq!(span.trace_state, "congo=t61");
        assert_eq!(span.start_time_unix_nano, 1_769_860_800_000_000_123);
        assert_eq!(span.end_time_unix_nano, 1_769_860_800_000_000_456);
        assert_eq!(span.flags, 0x301);
    }

    #[test]
    fn the_resource_is_the_service_and_the_scope_is_us() {
        let spans = decoded(vec![
            span_about("accepted", None, publish(1, None)),
            span_about("delivered", None, delivery("file", None)),
        ]);
        let resource = attributes(&spans.resource.unwrap().attributes);
        assert_eq!(resource["service.name"], "shop-relay");
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        let scope = &spans.scope_spans[0];
        assert_eq!((spans.scope_spans.len(), scope.spans.len()), (1, 2));
        assert_eq!(scope.scope.as_ref().unwrap().name, "eventrelay");
    }

    #[test]
    fn a_publish_says_who_and_what() {
        let one_event = one(span_about("accepted", None, publish(1, Some("order.created"))));
        assert_eq!((one_event.name.as_str(), one_event.kind()), ("publish", SpanKind::Server));
        assert_eq!(one_event.status, None);
        assert_eq!(
            attributes(&one_event.attributes),
            expected(&[
                ("messaging.system", "eventrelay"),
                ("messaging.operation.name", "publish"),
                ("cloudevents.event_type", "order.created"),
                ("eventrelay.door", "tcp"),
                ("eventrelay.tenant", "acme"),
                ("eventrelay.event.count", "#1"),
                ("eventrelay.outcome", "accepted"),
            ])
        );
        let refused = one(span_about("overloaded", Some("too much"), publish(3, None)));
        let status = refused.status.clone().unwrap();
        assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "too much"));
        let attributes = attributes(&refused.attributes);
        assert_eq!(attributes["messaging.batch.message_count"], "#3");
        assert_eq!(
            (&*attributes["eventrelay.outcome"], &*attributes["error.type"]),
            ("overloaded", "overloaded")
        );
    }

    #[test]
    fn a_delivery_says_where_to_and_what_came_of_it() {
        let failed = one(span_about("retry", Some("503"), delivery("webhook", Some(503))));
        assert_eq!((failed.name.as_str(), failed.kind()), ("deliver", SpanKind::Client));
        assert_eq!(failed.status.as_ref().unwrap().code(), StatusCode::Error);
        assert_eq!(
            attributes(&failed.attributes),
            expected(&[
                ("messaging.system", "eventrelay"),
                ("messaging.operation.name", "deliver"),
                ("messaging.operation.type", "send"),
                ("messaging.destination.subscription.name", "hook"),
                ("messaging.message.id", &EventId::new(1_500_000, 7).to_string()),
                ("cloudevents.event_type", "order.created"),
                ("http.response.status_code", "#503"),
                ("error.type", "retry"),
                ("eventrelay.tenant", "default"),
                ("eventrelay.sink.kind", "webhook"),
                ("eventrelay.delivery.attempt", "#3"),
                ("eventrelay.outcome", "retry"),
            ])
        );
        let delivered = one(span_about("delivered", None, delivery("kafka", Some(2))));
        assert_eq!((delivered.kind(), delivered.status), (SpanKind::Producer, None));
        assert_eq!(attributes(&delivered.attributes)["eventrelay.response.status"], "#2");
    }
}
