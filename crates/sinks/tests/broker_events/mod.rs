//! Events for brokers, and what came of their delivery.

#![allow(dead_code, reason = "each sink's tests use a part")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event, StoredEvent, Tenant};
use eventrelay_sinks::egress::AddressPolicy;
use eventrelay_sinks::{Delivery, Environment, Outcome, Owner, Purpose, Sink};

/// 2026-01-31T12:00:00.000123Z
pub(crate) const APPENDED_MICROS: u64 = 1_769_860_800_000_123;
/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What an operator sets who tests on loopback.
pub(crate) fn loopback() -> Environment {
    Environment {
        addresses: AddressPolicy::private_allowed(),
        trusted_settings: true,
        ..Environment::default()
    }
}

pub(crate) fn owner() -> Owner {
    Owner { tenant: "default".to_owned(), subscription: "s".to_owned(), log_id: [0; 16] }
}

/// An event of a type, with a number in its data.
pub(crate) fn event(event_type: &str, number: u64) -> Event {
    Event {
        data: Some(
            Data::json(Bytes::from(format!(r#"{{"number": {number}}}"#)), &Limits::default()).unwrap(),
        ),
        ..Event::new(Tenant::default(), event_type.to_owned(), "/shop".to_owned())
    }
}

/// The first try of an event at `offset`.
pub(crate) fn delivery(offset: u64, event: &Event) -> Delivery {
    let mut record = Vec::new();
    StoredEvent::encode(event, &mut record);
    Delivery {
        event: StoredEvent::decode(offset, APPENDED_MICROS, Bytes::from(record)).unwrap(),
        attempt: 1,
        purpose: Purpose::Live,
        span: None,
        keep_exchange: false,
    }
}

/// Events of one type, at the offsets that are their numbers.
pub(crate) fn batch(event_type: &str, offsets: std::ops::Range<u64>) -> Vec<Delivery> {
    offsets.map(|offset| delivery(offset, &event(event_type, offset))).collect()
}

/// The ids of events, in their order.
pub(crate) fn ids(batch: &[Delivery]) -> Vec<String> {
    batch.iter().map(|delivery| delivery.event.id().to_string()).collect()
}

pub(crate) async fn deliver(sink: &Arc<dyn Sink>, batch: &[Delivery]) -> Vec<Outcome> {
    let attempts = tokio::time::timeout(PATIENCE, sink.deliver(batch)).await.expect("an attempt has an end");
    assert_eq!(attempts.len(), batch.len());
    attempts.into_iter().map(|attempt| attempt.outcome).collect()
}

pub(crate) async fn deliver_all(sink: &Arc<dyn Sink>, batch: &[Delivery]) {
    for outcome in deliver(sink, batch).await {
        assert_eq!(outcome, Outcome::Delivered);
    }
}

/// Tries until all is delivered, as a dispatcher would.
pub(crate) async fn deliver_in_the_end(sink: &Arc<dyn Sink>, batch: &[Delivery]) {
    until(async || deliver(sink, batch).await.iter().all(|outcome| *outcome == Outcome::Delivered)).await;
}

/// Asks again and again until it is so.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    within_patience(asked).await;
}

pub(crate) async fn within_patience<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// The reason of a retry.
pub(crate) fn retried(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Retry { why, .. } => why,
        other => panic!("not a retry: {other:?}"),
    }
}

/// The reason of a rejection.
pub(crate) fn rejected(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Reject { why } => why,
        other => panic!("not a rejection: {other:?}"),
    }
}

/// Lets a future run until it has waited this often; none when it was dropped then.
pub(crate) async fn dropped_after<T>(waits: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = waits;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
