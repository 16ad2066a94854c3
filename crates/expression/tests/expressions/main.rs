//! The language as those who write filters and transforms see it, and what hostile ones can do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod documentation;
mod golden;
mod hostile;
mod oracle;
mod refusals;
mod sharing;
mod transforms;

use eventrelay_event::{Data, Event, StoredEvent, Tenant, json};
use eventrelay_expression::{EventFilter, Subject, Transform, TransformError, Verdict};

/// 2026-01-31T12:00:00Z, when all events here were received.
const RECEIVED_MICROS: u64 = 1_769_860_800_000_000;

/// An event as it is read from the log.
fn stored(event: &Event) -> StoredEvent {
    let mut record = Vec::new();
    StoredEvent::encode(event, &mut record);
    StoredEvent::decode(7, RECEIVED_MICROS, record.into()).unwrap()
}

fn event_with(data: Option<Data>) -> Event {
    Event { data, ..Event::new(Tenant::default(), "order.created".to_owned(), "/shop/1".to_owned()) }
}

fn json_data(json: &str) -> Data {
    Data::json(json.to_owned().into(), &json::Limits::default()).unwrap()
}

/// An event with this data, which is JSON.
fn event(json: &str) -> StoredEvent {
    stored(&event_with(Some(json_data(json))))
}

fn filter(cel: &str) -> EventFilter {
    EventFilter::new(eventrelay_event::filter::Filter::default(), Some(cel))
        .unwrap_or_else(|error| panic!("{cel}: {error}"))
}

fn verdict(cel: &str, event: &StoredEvent) -> Verdict {
    filter(cel).decide(&Subject::alone(event)).verdict
}

/// The value of an expression, by way of a transform.
fn value(cel: &str, event: &StoredEvent) -> Result<serde_json::Value, TransformError> {
    let transform = Transform::compile(cel).unwrap_or_else(|error| panic!("{cel}: {error}"));
    let outgoing = transform.apply(&Subject::alone(event), &Default::default()).event?;
    Ok(serde_json::from_slice(outgoing.data().unwrap().1).unwrap())
}
