//! Sinks and events for the tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event, StoredEvent, Tenant};
use eventrelay_sinks::egress::AddressPolicy;
use eventrelay_sinks::{Attempt, Delivery, Environment, Outcome, Owner, Purpose, Sink, build};
use serde_json::{Value, json};

use crate::receiver::Receiver;

/// 2026-01-31T12:00:00.000123Z
const APPENDED_MICROS: u64 = 1_769_860_800_000_123;

/// What an operator sets who tests on loopback.
pub(crate) fn loopback() -> Environment {
    Environment {
        addresses: AddressPolicy::private_allowed(),
        trusted_settings: true,
        ..Environment::default()
    }
}

/// A sink that sends to `path` at a receiver, with more settings.
pub(crate) fn sink(receiver: &Receiver, path: &str, extra: &Value) -> Arc<dyn Sink> {
    let mut settings = json!({"url": format!("http://{}{path}", receiver.address)});
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    built(&settings).unwrap()
}

pub(crate) fn built(settings: &Value) -> Result<Arc<dyn Sink>, String> {
    let owner = Owner { tenant: "default".to_owned(), subscription: "s".to_owned(), log_id: [0; 16] };
    build("http", settings, &owner, &loopback()).map_err(|error| error.to_string())
}

/// An event with JSON data.
pub(crate) fn event(json: &str) -> Event {
    let data = Data::json(Bytes::from(json.to_owned()), &Limits::default()).unwrap();
    Event {
        data: Some(data),
        ..Event::new(Tenant::default(), "order.created".to_owned(), "/shop".to_owned())
    }
}

/// The same with a key.
pub(crate) fn keyed(key: &str) -> Event {
    Event { key: Some(key.to_owned()), ..event("1") }
}

pub(crate) fn delivery(offset: u64, event: &Event) -> Delivery {
    let mut record = Vec::new();
    StoredEvent::encode(event, &mut record);
    let event = StoredEvent::decode(offset, APPENDED_MICROS, Bytes::from(record)).unwrap();
    Delivery { event, attempt: 1, purpose: Purpose::Live, span: None, keep_exchange: false }
}

/// The events at offsets from 0, each with its offset for its data.
pub(crate) fn deliveries(count: u64) -> Vec<Delivery> {
    (0..count).map(|offset| delivery(offset, &event(&offset.to_string()))).collect()
}

/// Delivers a batch, which must not take longer than any timeout of these tests.
pub(crate) async fn deliver(sink: &Arc<dyn Sink>, batch: &[Delivery]) -> Vec<Attempt> {
    let attempts = tokio::time::timeout(Duration::from_secs(20), sink.deliver(batch)).await;
    let attempts = attempts.expect("a call has an end");
    assert_eq!(attempts.len(), batch.len());
    attempts
}

pub(crate) async fn deliver_event(sink: &Arc<dyn Sink>, event: &Event) -> Attempt {
    deliver(sink, &[delivery(7, event)]).await.remove(0)
}

pub(crate) fn outcomes(attempts: &[Attempt]) -> String {
    let letter = |attempt: &Attempt| match attempt.outcome {
        Outcome::Delivered => 'D',
        Outcome::Retry { .. } => 'T',
        Outcome::Reject { .. } => 'X',
        Outcome::Gone { .. } => 'G',
    };
    attempts.iter().map(letter).collect()
}

/// The reason of a retry.
pub(crate) fn retried(attempt: &Attempt) -> &str {
    match &attempt.outcome {
        Outcome::Retry { why, .. } => why,
        other => panic!("not a retry: {other:?}"),
    }
}

/// The reason of a rejection.
pub(crate) fn rejected(attempt: &Attempt) -> &str {
    match &attempt.outcome {
        Outcome::Reject { why } => why,
        other => panic!("not a rejection: {other:?}"),
    }
}
