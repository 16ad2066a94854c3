//! What events and receipts look like, for the API's document.
//!
//! They are read and written by hand-written code ([`eventrelay_event::native`], [`crate::receipt`]), so nothing can be derived
//! from it. The tests hold each description against that code: what is described is taken, and what is written is described.

#![allow(dead_code, reason = "types that are only described")]

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::routes::pull::Head;

/// An event as it is published, in our own form.
#[derive(ToSchema)]
#[schema(no_recursion)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewEvent {
    /// What happened.
    #[schema(min_length = 1, max_length = 256, examples("order.created"))]
    r#type: String,
    /// Where: a URI reference.
    #[schema(min_length = 1, max_length = 2048, examples("/shop"))]
    source: String,
    /// What it is about within the source.
    subject: Option<String>,
    /// The producer's own id, unique per source.
    id: Option<String>,
    /// When it happened.
    #[schema(format = DateTime)]
    time: Option<String>,
    /// What `by_key` order goes by.
    key: Option<String>,
    /// Any JSON; or `data_base64`.
    data: Option<Value>,
    /// What is not JSON, in base64.
    data_base64: Option<String>,
    /// The data's media type.
    content_type: Option<String>,
    /// Where the data's schema is: a URI.
    dataschema: Option<String>,
    /// Extension attributes and trace context.
    headers: Option<HashMap<String, String>>,
    /// The producer's name for this publish, unique per source.
    #[schema(min_length = 1)]
    idempotency_key: Option<String>,
}

/// One event, or a batch that is taken whole or not at all.
#[derive(ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum NewEvents {
    /// One.
    One(Box<NewEvent>),
    /// Several.
    Batch(Vec<NewEvent>),
}

/// An event as the log has it; what is absent is left out.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ShownEvent {
    /// Names the event everywhere.
    #[schema(min_length = 36, max_length = 36)]
    id: String,
    /// Its position in the log.
    offset: u64,
    /// Whose it is.
    tenant: String,
    /// What happened.
    #[schema(min_length = 1)]
    r#type: String,
    /// Where: a URI reference.
    #[schema(min_length = 1)]
    source: String,
    /// What it is about within the source.
    #[schema(nullable = false)]
    subject: Option<String>,
    /// When it happened, as the producer says; else when it was accepted.
    time: String,
    /// When it was accepted.
    #[schema(format = DateTime)]
    received_at: String,
    /// What `by_key` order goes by.
    #[schema(nullable = false)]
    key: Option<String>,
    /// The data's media type.
    #[schema(nullable = false)]
    content_type: Option<String>,
    /// Where the data's schema is: a URI.
    #[schema(nullable = false)]
    dataschema: Option<String>,
    /// The producer's own id.
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// The producer's name for the publish.
    #[schema(nullable = false)]
    idempotency_key: Option<String>,
    /// Extension attributes and trace context.
    #[schema(nullable = false)]
    headers: Option<HashMap<String, String>>,
    /// Any JSON, or a text where `content_type` is not JSON.
    data: Option<Value>,
    /// What is neither JSON nor text, in base64.
    #[schema(nullable = false)]
    data_base64: Option<String>,
}

/// What a publisher gets for an event that is safe.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Receipt {
    /// The event's id.
    #[schema(min_length = 36, max_length = 36)]
    id: String,
    /// Its position in the log.
    offset: u64,
    /// Whether it was there already.
    duplicate: bool,
}

/// A receipt, or one for each event of a batch.
#[derive(ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum Receipts {
    /// For one.
    One(Receipt),
    /// For a batch.
    Batch(Vec<Receipt>),
}

/// The events that a consumer has.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Pulled<'a> {
    /// Each with its lease.
    events: Vec<PulledEvent<'a>>,
}

/// An event that a consumer has for as long as its lease lasts.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PulledEvent<'a> {
    /// The lease.
    #[serde(flatten)]
    #[schema(inline)]
    head: Head<'a>,
    /// The event.
    event: ShownEvent,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use eventrelay_event::{Event, EventId, EventLimits, StoredEvent, Tenant, native};
    use serde_json::{Map, json};
    use utoipa::PartialSchema;

    use super::*;

    /// The names of a schema's properties, and which of them are required.
    fn properties(
        schema: &utoipa::openapi::RefOr<utoipa::openapi::Schema>,
    ) -> (BTreeSet<String>, BTreeSet<String>) {
        let schema = serde_json::to_value(schema).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{schema}");
        let required: BTreeSet<String> = serde_json::from_value(schema["required"].clone()).unwrap();
        (schema["properties"].as_object().unwrap().keys().cloned().collect(), required)
    }

    fn names(object: &Map<String, Value>) -> BTreeSet<String> {
        object.keys().cloned().collect()
    }

    fn decoded(value: &Value) -> Result<Event, String> {
        let body = Bytes::from(value.to_string());
        let decoded = native::decode(&body, &Tenant::default(), &EventLimits::default());
        decoded.map(|mut decoded| decoded.events.pop().unwrap()).map_err(|error| error.to_string())
    }

    fn written(event: &Event) -> Map<String, Value> {
        let mut record = Vec::new();
        StoredEvent::encode(event, &mut record);
        let mut text = Vec::new();
        native::write_json(&StoredEvent::decode(0, 0, record.into()).unwrap(), &mut text);
        serde_json::from_slice(&text).unwrap()
    }

    /// With all that an event can have, but for the form of its data.
    fn full() -> Map<String, Value> {
        let full = json!({
            "type": "order.created", "source": "/shop", "subject": "7", "id": "A-1", "time": "2026-01-31T12:00:00Z",
            "key": "c1", "content_type": "application/json", "dataschema": "https://example.com/s",
            "headers": {"tier": "gold"}, "idempotency_key": "once"});
        full.as_object().unwrap().clone()
    }

    #[test]
    fn a_new_event_has_the_fields_that_are_read() {
        let (described, required) = properties(&NewEvent::schema());
        let mut sent = BTreeSet::new();
        for (field, value) in [("data", json!({"total": 1})), ("data_base64", json!("AAE="))] {
            let mut event = full();
            event.insert(field.to_owned(), value);
            sent.extend(names(&event));
            decoded(&event.into()).unwrap();
        }
        assert_eq!(sent, described);
        for field in &described {
            let mut event = full();
            event.remove(field);
            assert_eq!(decoded(&event.into()).is_err(), required.contains(field), "{field}");
        }
    }

    #[test]
    fn a_shown_event_has_the_fields_that_are_written() {
        let (described, required) = properties(&ShownEvent::schema());
        let mut seen = BTreeSet::new();
        for (field, value) in [("data", json!({"total": 1})), ("data_base64", json!("AAE="))] {
            let mut event = full();
            event.insert(field.to_owned(), value);
            seen.extend(names(&written(&decoded(&event.into()).unwrap())));
        }
        assert_eq!(seen, described);
        let least = written(&decoded(&json!({"type": "order.created", "source": "/shop"})).unwrap());
        assert_eq!(names(&least), required);
    }

    #[test]
    fn a_receipt_has_the_fields_that_are_written() {
        let (described, required) = properties(&Receipt::schema());
        let mut text = Vec::new();
        let receipt = eventrelay_ingest::Receipt { id: EventId::new(1, 2), offset: 2, duplicate: true };
        crate::receipt::write(&receipt, &mut text);
        let written: Map<String, Value> = serde_json::from_slice(&text).unwrap();
        assert_eq!(names(&written), described);
        assert_eq!(described, required);
    }
}
