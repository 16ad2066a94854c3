//! Kafka sinks and the events that they are given.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event, StoredEvent, Tenant};
use eventrelay_sinks::egress::AddressPolicy;
use eventrelay_sinks::{Delivery, Environment, Outcome, Owner, Purpose, Sink, build};
use serde_json::{Value, json};

/// Longer than anything takes that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Builds a sink to `brokers` with the topic `orders`, where `extra` says nothing else.
pub(crate) fn sink(brokers: &str, extra: &Value) -> Arc<dyn Sink> {
    try_sink(brokers, extra).unwrap()
}

pub(crate) fn try_sink(brokers: &str, extra: &Value) -> Result<Arc<dyn Sink>, String> {
    let brokers: Vec<&str> = brokers.split(',').collect();
    let mut settings = json!({"brokers": brokers, "topic": "orders", "timeout_ms": 6000});
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let environment = Environment {
        addresses: AddressPolicy::private_allowed(),
        trusted_settings: true,
        ..Environment::default()
    };
    let owner = Owner { tenant: "default".to_owned(), subscription: "s".to_owned(), log_id: [0; 16] };
    build("kafka", &settings, &owner, &environment).map_err(|error| error.to_string())
}

/// An event at `offset`, which is its data too, with that key.
pub(crate) fn keyed(offset: u64, key: &str) -> Delivery {
    delivery(offset, &Event { key: Some(key.to_owned()), ..event(&offset.to_string()) })
}

/// Events with the keys `k0` to `k9`.
pub(crate) fn batch(offsets: std::ops::Range<u64>) -> Vec<Delivery> {
    offsets.map(|offset| keyed(offset, &format!("k{}", offset % 10))).collect()
}

pub(crate) fn event(json: &str) -> Event {
    Event {
        data: Some(Data::json(Bytes::copy_from_slice(json.as_bytes()), &Limits::default()).unwrap()),
        ..Event::new(Tenant::default(), "order.created".to_owned(), "/shop".to_owned())
    }
}

pub(crate) fn delivery(offset: u64, event: &Event) -> Delivery {
    let mut record = Vec::new();
    StoredEvent::encode(event, &mut record);
    let event = StoredEvent::decode(offset, 1_769_860_800_000_123, Bytes::from(record)).unwrap();
    Delivery { event, attempt: 1, purpose: Purpose::Live, span: None, keep_exchange: false }
}

/// What came of one call.
pub(crate) async fn deliver(sink: &Arc<dyn Sink>, batch: &[Delivery]) -> Vec<Outcome> {
    let delivering = tokio::time::timeout(PATIENCE, sink.deliver(batch));
    let attempts = delivering.await.unwrap();
    assert_eq!(attempts.len(), batch.len());
    attempts.into_iter().map(|attempt| attempt.outcome).collect()
}

/// Calls again and again, with what has to be tried again, until all is delivered. Gives the number of calls.
pub(crate) async fn deliver_all(sink: &Arc<dyn Sink>, batch: &[Delivery]) -> usize {
    let began = std::time::Instant::now();
    let mut left = batch.to_vec();
    let (mut calls, mut why) = (0, None);
    while !left.is_empty() {
        assert!(began.elapsed() < PATIENCE, "not delivered: {} events: {why:?}", left.len());
        let outcomes = deliver(sink, &left).await;
        why = outcomes.iter().find(|outcome| **outcome != Outcome::Delivered).cloned();
        calls += 1;
        let mut outcomes = outcomes.into_iter();
        left.retain(|_| match outcomes.next().unwrap() {
            Outcome::Delivered => false,
            Outcome::Retry { .. } => true,
            other => panic!("{other:?}"),
        });
    }
    calls
}

pub(crate) fn delivered(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count()
}

/// Why an event is to be tried again.
pub(crate) fn retry(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Retry { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

/// Why an event was refused.
pub(crate) fn reject(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Reject { why } => why,
        other => panic!("{other:?}"),
    }
}
