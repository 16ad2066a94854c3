//! Order per key, through everything that can go wrong on the way.

use std::time::Duration;

use eventrelay_sinks::Outcome;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::json;

use crate::cluster::{Cluster, numbers_of};
use crate::sinks::{batch, deliver, deliver_all, delivered, keyed, sink};

#[tokio::test]
async fn many_requests_in_flight_keep_the_order_when_some_of_them_fail() {
    let cluster = Cluster::start(2);
    // No linger, so that there are many requests; those behind a failed one are out of sequence then.
    let sink = sink(&cluster.brokers(), &json!({"linger_ms": 0}));
    let transport = RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT;
    let not_leader = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    let few_replicas = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    let none = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.mock.request_errors(
        RDKafkaApiKey::Produce,
        &[none, not_leader, few_replicas, none, few_replicas, transport, none, not_leader],
    );
    for start in (0..2000).step_by(500) {
        deliver_all(&sink, &batch(start..start + 500)).await;
    }
    let consumed = cluster.consume("orders");
    let mut numbers: Vec<u64> = (0..10).flat_map(|key| numbers_of(&consumed, &format!("k{key}"))).collect();
    numbers.sort_unstable();
    let missing: Vec<u64> = (0..2000).filter(|number| !numbers.contains(number)).collect();
    assert_eq!((consumed.len(), missing), (2000, Vec::new()), "all, and none twice");
    for key in 0..10 {
        let numbers = numbers_of(&consumed, &format!("k{key}"));
        assert!(numbers.len() == 200 && numbers.is_sorted(), "k{key}: {numbers:?}");
    }
    sink.close().await;
}

/// Of each key: repetitions are allowed, but never something old behind something newer.
fn assert_no_step_back(numbers: &[u64]) {
    assert!(numbers.is_sorted(), "something old came behind something newer: {numbers:?}");
}

#[tokio::test]
async fn an_attempt_that_was_given_up_never_arrives_behind_later_events() {
    let cluster = Cluster::start(1);
    let sink = sink(&cluster.brokers(), &json!({"timeout_ms": 3000}));
    deliver_all(&sink, &[keyed(0, "k")]).await;
    for number in 1..4 {
        // The broker takes its time, and the caller loses patience; what it sent may or may not be taken yet.
        cluster.mock.broker_round_trip_time(-1, Duration::from_millis(700)).unwrap();
        let event = [keyed(number, "k")];
        let given_up = tokio::time::timeout(Duration::from_millis(200), sink.deliver(&event)).await;
        assert!(given_up.is_err());
        cluster.mock.broker_round_trip_time(-1, Duration::ZERO).unwrap();
        deliver_all(&sink, &event).await;
    }
    deliver_all(&sink, &[keyed(4, "k")]).await;
    sink.close().await;
    let numbers = numbers_of(&cluster.consume("orders"), "k");
    assert_no_step_back(&numbers);
    assert!((0..=4).all(|number| numbers.contains(&number)), "{numbers:?}");
}

#[tokio::test]
async fn an_attempt_that_timed_out_never_arrives_behind_later_events() {
    let cluster = Cluster::start(1);
    let sink = sink(&cluster.brokers(), &json!({"timeout_ms": 3000}));
    deliver_all(&sink, &[keyed(0, "k")]).await;
    cluster.mock.broker_round_trip_time(-1, Duration::from_secs(4)).unwrap();
    let outcomes = deliver(&sink, &[keyed(1, "k")]).await;
    assert!(matches!(outcomes[..], [Outcome::Retry { .. }]), "{outcomes:?}");
    cluster.mock.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    for number in 1..5 {
        deliver_all(&sink, &[keyed(number, "k")]).await;
    }
    sink.close().await;
    let numbers = numbers_of(&cluster.consume("orders"), "k");
    assert_no_step_back(&numbers);
    assert!((0..5).all(|number| numbers.contains(&number)), "{numbers:?}");
}

#[tokio::test]
async fn where_order_is_strict_events_go_one_by_one() {
    let cluster = Cluster::start(1);
    let sink = sink(&cluster.brokers(), &json!({}));
    assert!(!sink.keeps_order_within_batch(), "for the rest of a batch cannot be held back");
    assert_eq!(sink.batch_limit().events, 1000);
    assert_eq!(delivered(&deliver(&sink, &[]).await), 0);
}
