//! A cluster that answers with errors, is down, is slow, or forgets.

use std::time::{Duration, Instant};

use eventrelay_sinks::{CheckError, Outcome};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::json;

use crate::cluster::{Cluster, numbers};
use crate::sinks::{batch, deliver, deliver_all, delivered, delivery, event, keyed, reject, retry, sink};

const PRODUCE: RDKafkaApiKey = RDKafkaApiKey::Produce;

#[tokio::test]
async fn events_arrive_as_cloudevents_once_each_through_a_change_of_leaders() {
    let cluster = Cluster::start(3);
    let not_leader = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    cluster.mock.request_errors(PRODUCE, &[not_leader, not_leader, not_leader]);
    let sink = sink(&cluster.brokers(), &json!({"compression": "zstd"}));
    let events = batch(0..1000);
    assert_eq!(delivered(&deliver(&sink, &events).await), 1000);
    let consumed = cluster.consume("orders");
    assert_eq!(numbers(&consumed), (0..1000).collect::<Vec<_>>());
    for message in &consumed {
        let event = &events[usize::try_from(message.number()).unwrap()].event;
        assert_eq!(message.key.as_deref(), event.key());
        assert_eq!(message.header("eventrelay_id"), Some(&*event.id().to_string()));
        assert_eq!(message.header("ce_id"), Some(&*event.id().to_string()));
        assert_eq!(message.header("ce_type"), Some("order.created"));
        assert_eq!(message.header("content-type"), Some("application/json"));
    }
    sink.close().await;
}

#[tokio::test]
async fn a_cluster_that_is_down_is_told_and_delivered_to_when_it_is_back() {
    let cluster = Cluster::start(1);
    cluster.mock.broker_down(-1).unwrap();
    let sink = sink(&cluster.brokers(), &json!({"timeout_ms": 4000}));
    let events = batch(0..10);
    let began = Instant::now();
    let outcomes = deliver(&sink, &events).await;
    assert!(began.elapsed() < Duration::from_millis(5000), "{:?}", began.elapsed());
    assert!(retry(&outcomes[0]).contains("no broker confirmed it within"), "{outcomes:?}");
    assert!(retry(&outcomes[0]).contains("127.0.0.1:"), "what is wrong is told: {outcomes:?}");
    assert!(matches!(sink.check().await, Err(CheckError::Unreachable(_))));
    cluster.mock.broker_up(-1).unwrap();
    deliver_all(&sink, &events).await;
    assert_eq!(sink.check().await, Ok(()));
    assert_eq!(numbers(&cluster.consume("orders")), (0..10).collect::<Vec<_>>());
    sink.close().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_alone() {
    let cluster = Cluster::start(1);
    let sink = sink(&cluster.brokers(), &json!({"max_message_bytes": 10_000}));
    let mut events = batch(0..20);
    events[7] = delivery(7, &event(&format!("\"{}\"", "x".repeat(10_000))));
    let outcomes = deliver(&sink, &events).await;
    assert!(reject(&outcomes[7]).contains("`max_message_bytes` is 10000"), "{outcomes:?}");
    assert_eq!(delivered(&outcomes), 19);
    sink.close().await;
}

#[tokio::test]
async fn a_request_that_is_refused_as_a_whole_fails_only_the_event_that_is_refused_alone() {
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
    ] {
        let cluster = Cluster::start(1);
        cluster.mock.create_topic("one", 1, 1).unwrap();
        // The request with all of them, and then the first that is sent alone.
        cluster.mock.request_errors(PRODUCE, &[error, error]);
        let sink = sink(&cluster.brokers(), &json!({"topic": "one", "linger_ms": 200}));
        let outcomes = deliver(&sink, &batch(0..20)).await;
        assert!(reject(&outcomes[0]).starts_with("the broker "), "{error:?}: {outcomes:?}");
        assert_eq!(delivered(&outcomes), 19, "{error:?}");
        assert_eq!(numbers(&cluster.consume("one")), (1..20).collect::<Vec<_>>());
        sink.close().await;
    }
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_waited_for_or_refused_as_asked() {
    let cluster = Cluster::start(1);
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.mock.topic_error("orders", unknown).unwrap();
    let patient = sink(&cluster.brokers(), &json!({}));
    let strict = sink(&cluster.brokers(), &json!({"unknown_topic": "reject", "topic": "{subject|orders}"}));
    let began = Instant::now();
    let outcomes = deliver(&patient, &batch(0..3)).await;
    assert_eq!(retry(&outcomes[0]), "there is no topic `orders`");
    assert!(began.elapsed() < Duration::from_secs(3), "found out before the time is up");
    assert_eq!(reject(&deliver(&strict, &batch(0..3)).await[2]), "there is no topic `orders`");
    assert_eq!(patient.check().await, Err(CheckError::Missing("there is no topic `orders`".to_owned())));
    assert_eq!(strict.check().await, Ok(()), "its topic depends on the event");

    cluster.mock.topic_error("orders", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    deliver_all(&patient, &batch(0..3)).await;
    assert_eq!(patient.check().await, Ok(()));
    assert_eq!(numbers(&cluster.consume("orders")), [0, 1, 2]);
    patient.close().await;
    strict.close().await;
}

#[tokio::test]
async fn rights_that_are_taken_and_given_back_are_waited_for() {
    let cluster = Cluster::start(1);
    let sink = sink(&cluster.brokers(), &json!({}));
    deliver_all(&sink, &batch(0..1)).await;
    let forbidden = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.mock.request_errors(PRODUCE, &[forbidden]);
    let outcomes = deliver(&sink, &[keyed(1, "k")]).await;
    assert_eq!(retry(&outcomes[0]), "no right to write to the topic `orders`");
    let began = Instant::now();
    deliver_all(&sink, &[keyed(1, "k")]).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(numbers(&cluster.consume("orders")), [0, 1]);
    sink.close().await;
}

#[tokio::test]
async fn a_producer_that_fails_for_good_is_replaced() {
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    ] {
        let cluster = Cluster::start(1);
        let sink = sink(&cluster.brokers(), &json!({}));
        deliver_all(&sink, &batch(0..10)).await;
        cluster.mock.request_errors(PRODUCE, &[error, error]);
        let began = Instant::now();
        deliver_all(&sink, &batch(10..20)).await;
        deliver_all(&sink, &batch(20..30)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{error:?}: {:?}", began.elapsed());
        assert_eq!(numbers(&cluster.consume("orders")), (0..30).collect::<Vec<_>>(), "{error:?}");
        sink.close().await;
    }
}

#[tokio::test]
async fn what_is_not_confirmed_bounds_what_is_taken() {
    let cluster = Cluster::start(1);
    let sink = sink(&cluster.brokers(), &json!({"queue_bytes": 1 << 20, "timeout_ms": 9000}));
    deliver_all(&sink, &batch(0..1)).await;
    cluster.mock.broker_round_trip_time(-1, Duration::from_secs(60)).unwrap();
    let large: Vec<_> =
        (0..10).map(|offset| delivery(offset, &event(&format!("\"{}\"", "x".repeat(100_000))))).collect();
    // They have all the room; what comes then waits for some, and says so.
    let mut first = Box::pin(deliver(&sink, &large));
    let late = batch(0..1);
    tokio::select! {
        biased;
        _ = &mut first => panic!("nothing is confirmed"),
        outcomes = deliver(&sink, &late) => {
            assert!(retry(&outcomes[0]).starts_with("no room: 1048576 bytes"), "{outcomes:?}");
        }
    }
    let outcomes = first.await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry { .. })), "{outcomes:?}");
    cluster.mock.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    deliver_all(&sink, &batch(1..10)).await;
    sink.close().await;
}

#[tokio::test]
async fn topics_come_and_go_with_their_events() {
    let cluster = Cluster::start(1);
    for topic in ["default.order.created", "default.order.paid"] {
        cluster.mock.create_topic(topic, 1, 1).unwrap();
    }
    let sink = sink(&cluster.brokers(), &json!({"topic": "{tenant}.{type}", "format": "structured"}));
    let typed = |offset, event_type: &str| {
        let event = eventrelay_event::Event { event_type: event_type.to_owned(), ..event("1") };
        delivery(offset, &event)
    };
    let events = [typed(1, "order.created"), typed(2, "order/paid"), typed(3, "order.paid")];
    let outcomes = deliver(&sink, &events).await;
    assert_eq!(delivered(&outcomes), 2);
    assert!(reject(&outcomes[1]).contains("`default.order/paid` is no topic's name"), "{outcomes:?}");
    let paid = cluster.consume("default.order.paid");
    assert_eq!(paid.len(), 1);
    let value: serde_json::Value = serde_json::from_str(paid[0].value.as_ref().unwrap()).unwrap();
    assert_eq!((&value["type"], &value["data"]), (&json!("order.paid"), &json!(1)));
    sink.close().await;
}
