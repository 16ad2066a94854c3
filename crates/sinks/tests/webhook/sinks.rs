//! Sinks and events for the tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event, StoredEvent, Tenant};
use eventrelay_sinks::egress::AddressPolicy;
use eventrelay_sinks::{Attempt, Delivery, Environment, Outcome, Owner, Purpose, Sink, build};
use serde_json::{Value, json};

/// The secret and its owner's examples in the specification's reference libraries.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

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

/// A webhook to `url`, signed with [`SECRET`], with more settings.
pub(crate) fn webhook_in(environment: &Environment, url: &str, extra: &Value) -> Arc<dyn Sink> {
    let mut settings = json!({"url": url, "secrets": [SECRET]});
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    build("webhook", &settings, &owner(), environment).unwrap()
}

/// Whose the sinks are.
pub(crate) fn owner() -> Owner {
    Owner { tenant: "default".to_owned(), subscription: "s".to_owned(), log_id: [0; 16] }
}

pub(crate) fn webhook(url: &str, extra: &Value) -> Arc<dyn Sink> {
    webhook_in(&loopback(), url, extra)
}

pub(crate) fn event() -> Event {
    Event {
        data: Some(Data::json(Bytes::from_static(br#"{"total": 1.50}"#), &Limits::default()).unwrap()),
        ..Event::new(Tenant::default(), "order.created".to_owned(), "/shop".to_owned())
    }
}

pub(crate) fn delivery_of(event: &Event) -> Delivery {
    let mut record = Vec::new();
    StoredEvent::encode(event, &mut record);
    let event = StoredEvent::decode(7, APPENDED_MICROS, Bytes::from(record)).unwrap();
    Delivery { event, attempt: 1, purpose: Purpose::Live, span: None, keep_exchange: false }
}

/// Delivers one event, which must not take longer than any timeout of these tests.
pub(crate) async fn deliver_event(sink: &Arc<dyn Sink>, event: &Event) -> Attempt {
    let batch = [delivery_of(event)];
    let attempts = tokio::time::timeout(Duration::from_secs(20), sink.deliver(&batch)).await;
    let mut attempts = attempts.expect("an attempt has an end");
    assert_eq!(attempts.len(), 1);
    attempts.remove(0)
}

pub(crate) async fn deliver(sink: &Arc<dyn Sink>) -> Attempt {
    deliver_event(sink, &event()).await
}

/// The reason of a retry.
pub(crate) fn retried(attempt: &Attempt) -> &str {
    match &attempt.outcome {
        Outcome::Retry { why, .. } => why,
        other => panic!("not a retry: {other:?}"),
    }
}
