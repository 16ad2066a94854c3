//! A broker that was not written here, looked at with a client that was not either.

use std::sync::Arc;
use std::time::Duration;

use eventrelay_event::Event;
use eventrelay_sinks::{CheckError, Outcome};
use serde_json::json;

use crate::components::Component;
use crate::foreign::Client;
use crate::sinks::{batch, deliver, deliver_all, delivered, delivery, event, retry, sink};

fn client(component: &Component) -> Client {
    Client::to(&component.address().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_as_cloudevents_for_anyone() {
    let Some(kafka) = Component::start("kafka") else { return };
    client(&kafka).create_topic("orders", 3);
    let full = Event {
        id: Some("o-1".to_owned()),
        key: Some("customer 1 ü".to_owned()),
        subject: Some("order 1".to_owned()),
        time: Some("2026-01-31T12:00:00Z".to_owned()),
        headers: vec![("traceparent".to_owned(), "00-1-2-01".to_owned())],
        ..event("{\"total\":1.50}")
    };
    let events = [delivery(7, &full), delivery(8, &Event { data: None, ..event("1") })];
    let brokers = kafka.address().to_string();
    let binary = sink(&brokers, &json!({"headers": {"team": "{tenant}"}}));
    assert_eq!(binary.check().await, Ok(()));
    assert_eq!(deliver(&binary, &events).await, vec![Outcome::Delivered; 2]);
    let structured = sink(&brokers, &json!({"format": "structured"}));
    assert_eq!(deliver(&structured, &events[..1]).await, [Outcome::Delivered]);
    binary.close().await;
    structured.close().await;

    let found = client(&kafka).consume("orders", 3);
    let with_key: Vec<_> = found.iter().filter(|it| it.key.as_deref() == Some("customer 1 ü")).collect();
    let [first, second] = with_key[..] else { panic!("{found:?}") };
    assert_eq!(first.partition, second.partition, "a key has one partition");
    assert_eq!(first.value.as_deref(), Some("{\"total\":1.50}"));
    let id = events[0].event.id().to_string();
    for (name, value) in [
        ("eventrelay_id", &*id),
        ("ce_specversion", "1.0"),
        ("ce_id", "o-1"),
        ("ce_source", "/shop"),
        ("ce_type", "order.created"),
        ("ce_subject", "order 1"),
        ("ce_time", "2026-01-31T12:00:00Z"),
        ("ce_partitionkey", "customer 1 ü"),
        ("ce_traceparent", "00-1-2-01"),
        ("content-type", "application/json"),
        ("team", "default"),
    ] {
        assert_eq!(first.header(name), Some(value), "{name}");
    }
    let whole: serde_json::Value = serde_json::from_str(second.value.as_ref().unwrap()).unwrap();
    assert_eq!((&whole["id"], &whole["data"]["total"]), (&json!("o-1"), &json!(1.5)));
    assert_eq!(second.header("content-type"), Some("application/cloudevents+json; charset=UTF-8"));
    let without_key = found.iter().find(|message| message.key.is_none()).unwrap();
    assert_eq!(without_key.value, None, "no data is no value");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_is_understood_and_each_key_has_the_partition_that_java_gives_it() {
    let Some(kafka) = Component::start("kafka") else { return };
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        client(&kafka).create_topic(compression, 12);
        let sink =
            sink(&kafka.address().to_string(), &json!({"topic": compression, "compression": compression}));
        assert_eq!(delivered(&deliver(&sink, &batch(0..300)).await), 300);
        sink.close().await;
        let found = client(&kafka).consume(compression, 300);
        let mut numbers: Vec<_> = found.iter().map(crate::foreign::Found::number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..300).collect::<Vec<_>>(), "{compression}");
        // What Kafka's own producer computes: `Utils.toPositive(Utils.murmur2(key)) % 12`.
        for (key, partition) in [("k0", 5), ("k1", 5), ("k2", 9)] {
            let of_key = found.iter().find(|message| message.key.as_deref() == Some(key)).unwrap();
            assert_eq!(of_key.partition, partition, "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_late_dies_in_the_middle_and_restarts_empty_is_delivered_to_again() {
    let Some(mut kafka) = Component::start("kafka") else { return };
    kafka.kill();
    let sink = sink(&kafka.address().to_string(), &json!({"timeout_ms": 4000}));
    let outcomes = deliver(&sink, &batch(0..10)).await;
    assert!(retry(&outcomes[0]).contains("cannot be connected to"), "{outcomes:?}");
    assert!(matches!(sink.check().await, Err(CheckError::Unreachable(_))));

    kafka.resume();
    assert_eq!(sink.check().await, Err(CheckError::Missing("there is no topic `orders`".to_owned())));
    assert_eq!(retry(&deliver(&sink, &batch(0..10)).await[0]), "there is no topic `orders`");
    client(&kafka).create_topic("orders", 3);
    deliver_all(&sink, &batch(0..10)).await;
    assert_eq!(client(&kafka).consume("orders", 10).len(), 10);

    // It dies while one batch after the other is on its way: every event is confirmed, or to be tried again.
    let (first, first_is_there) = tokio::sync::oneshot::channel();
    let streaming = tokio::spawn({
        let sink = Arc::clone(&sink);
        async move {
            let mut first = Some(first);
            for start in (10..).step_by(1000) {
                let events = batch(start..start + 1000);
                let outcomes = deliver(&sink, &events).await;
                if let Some(first) = first.take() {
                    first.send(()).unwrap();
                }
                let with_outcome = events.into_iter().zip(outcomes);
                let left: Vec<_> =
                    with_outcome.filter(|(_, outcome)| *outcome != Outcome::Delivered).collect();
                if !left.is_empty() {
                    return left;
                }
            }
            unreachable!("the broker died")
        }
    });
    first_is_there.await.unwrap();
    kafka.kill();
    let mut left = Vec::new();
    for (event, outcome) in streaming.await.unwrap() {
        assert!(retry(&outcome).contains("no broker confirmed it"), "{outcome:?}");
        left.push(event);
    }
    // What it had confirmed it has lost, being a broker in memory. What it had not arrives.
    kafka.resume();
    client(&kafka).create_topic("orders", 3);
    deliver_all(&sink, &left).await;
    let found = client(&kafka).consume("orders", left.len());
    for event in &left {
        let id = event.event.id().to_string();
        assert!(found.iter().any(|message| message.header("eventrelay_id") == Some(&*id)), "{id} is missing");
    }
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_is_given_up_in_time_and_gets_its_events_in_order_when_it_goes_on() {
    let Some(kafka) = Component::start("kafka") else { return };
    client(&kafka).create_topic("orders", 1);
    let sink = sink(&kafka.address().to_string(), &json!({"timeout_ms": 4000}));
    deliver_all(&sink, &batch(0..10)).await;
    kafka.freeze();
    let began = std::time::Instant::now();
    let outcomes = deliver(&sink, &batch(10..20)).await;
    assert!(
        outcomes.iter().all(|it| retry(it).contains("no broker confirmed it within 1666 ms")),
        "{outcomes:?}"
    );
    assert!(began.elapsed() < Duration::from_millis(4500), "{:?}", began.elapsed());
    kafka.thaw();
    deliver_all(&sink, &batch(10..20)).await;
    deliver_all(&sink, &batch(20..30)).await;
    sink.close().await;
    let found = client(&kafka).consume("orders", 30);
    for key in 0..10 {
        let key = format!("k{key}");
        let numbers: Vec<_> = found
            .iter()
            .filter(|it| it.key.as_ref() == Some(&key))
            .map(crate::foreign::Found::number)
            .collect();
        assert!(numbers.is_sorted() && numbers.len() >= 3, "{key}: {numbers:?}");
    }
}
