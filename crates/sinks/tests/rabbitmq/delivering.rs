//! What arrives.

use eventrelay_event::{Data, Event};
use eventrelay_sinks::Outcome;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::broker;
use crate::broker_events::{
    batch, deliver, deliver_all, delivery, dropped_after, event, ids, until, within_patience,
};
use crate::components::Component;
use crate::log_lines::LogLines;
use crate::management::Management;

pub(crate) async fn a_batch_arrives_in_its_order_with_all_that_the_events_have(
    broker: &Component,
    management: Management,
) {
    management.exchange_and_queue("attributes", "attributes", "#");
    let sink = broker::sink(broker, &json!({"exchange": "attributes"}));
    let batch = batch("order.created", 0..300);
    deliver_all(&sink, &batch).await;
    let event = Event {
        id: Some("number ü".to_owned()),
        content_type: Some("application/octet-stream".to_owned()),
        data: Some(Data::binary(vec![0, 255, b'\r', b'\n'].into())),
        ..event("order.paid", 1)
    };
    let last = delivery(300, &event);
    deliver_all(&sink, std::slice::from_ref(&last)).await;
    let messages = management.messages("attributes");
    let stored: Vec<_> =
        messages.iter().map(|message| message.property("message_id").as_str().unwrap()).collect();
    assert_eq!(stored[..300], ids(&batch));
    let message = &messages[300];
    assert_eq!((message.routing_key(), message.body()), ("order.paid", vec![0, 255, b'\r', b'\n']));
    for (name, value) in [
        ("message_id", json!(last.event.id().to_string())),
        ("content_type", json!("application/octet-stream")),
        ("delivery_mode", json!(2)),
        ("type", json!("order.paid")),
        ("timestamp", json!(1_769_860_800)),
    ] {
        assert_eq!(*message.property(name), value, "{name}");
    }
    for (name, value) in [
        ("cloudEvents_id", "number ü"),
        ("cloudEvents_type", "order.paid"),
        ("cloudEvents_specversion", "1.0"),
    ] {
        assert_eq!(*message.header(name), json!(value), "{name}");
    }
    sink.close().await;
}

pub(crate) async fn a_structured_message_is_the_event(broker: &Component, management: Management) {
    management.queue("structured", &json!({"x-queue-type": "quorum"}));
    // By the default exchange, straight into a queue.
    let settings = json!({"exchange": "", "routing_key": "structured", "content_mode": "structured"});
    deliver_all(&broker::sink(broker, &settings), &batch("order.created", 7..8)).await;
    let message = management.messages("structured").pop().unwrap();
    assert_eq!(*message.property("content_type"), json!("application/cloudevents+json"));
    let event: Value = serde_json::from_slice(&message.body()).unwrap();
    assert_eq!((&event["type"], &event["data"]["number"]), (&json!("order.created"), &json!(7)));
}

pub(crate) async fn many_batches_at_once_share_one_connection(broker: &Component, management: Management) {
    management.exchange_and_queue("many", "many", "#");
    let sink = broker::sink(broker, &json!({"exchange": "many", "max_channels": 4}));
    let batches: Vec<_> =
        (0..20).map(|number| batch("order.created", number * 60..(number + 1) * 60)).collect();
    within_patience(join_all(batches.iter().map(|batch| deliver_all(&sink, batch)))).await;
    let mut stored = management.ids("many");
    stored.sort_unstable();
    assert_eq!(stored, batches.iter().flat_map(|batch| ids(batch)).collect::<Vec<_>>());
    assert_eq!(threads_of_lapin(), 1, "one connection, one thread");
    sink.close().await;
    drop(sink);
    until(async || threads_of_lapin() == 0).await;
}

/// lapin has a thread for each connection.
pub(crate) fn threads_of_lapin() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("lapin")).count()
}

pub(crate) async fn a_delivery_that_is_dropped_halfway_can_be_repeated(
    broker: &Component,
    management: Management,
) {
    management.exchange_and_queue("dropped", "dropped", "#");
    let sink = broker::sink(broker, &json!({"exchange": "dropped"}));
    let batch = batch("order.created", 0..500);
    deliver_all(&sink, &batch[..1]).await;
    // Further and further, until it comes to its end.
    let mut waits = 1;
    while dropped_after(waits, sink.deliver(&batch)).await.is_none() {
        waits += 1 + waits / 4;
    }
    deliver_all(&sink, &batch).await;
    let mut stored = management.ids("dropped");
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored, ids(&batch));
    drop(sink);
    until(async || threads_of_lapin() == 0).await;
}

/// lapin logs what comes back, with all of its data; it must not get to.
pub(crate) async fn neither_secrets_nor_events_are_logged(broker: &Component, management: Management) {
    let log = LogLines::capture();
    management.exchange_and_queue("logged", "logged", "routed");
    management.user("canary", "canary-password", ".*");
    let login = json!({"exchange": "logged", "user": "canary", "password": "canary-password"});
    let sink = broker::sink(broker, &login);
    let secret = |event_type: &str| Event {
        data: Some(Data::binary(b"canary-data"[..].into())),
        headers: vec![("secret".to_owned(), "canary-header".to_owned())],
        ..event(event_type, 0)
    };
    let outcomes = deliver(&sink, &[delivery(0, &secret("routed")), delivery(1, &secret("lost"))]).await;
    assert!(matches!(outcomes[..], [Outcome::Delivered, Outcome::Reject { .. }]), "{outcomes:?}");
    sink.close().await;
    let logged = log.text();
    assert!(logged.contains("lapin"), "the log is looked at: {logged}");
    // Bytes are shown as numbers.
    let as_numbers = format!("{:?}", b"canary-data");
    for secret in ["canary-password", "canary-data", "canary-header", as_numbers.trim_matches(['[', ']'])] {
        assert!(!logged.contains(secret), "{secret} is in the log");
    }
}
