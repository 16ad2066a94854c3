//! Order per key, through everything that can go wrong on the way.

use std::collections::HashSet;
use std::time::Duration;

use eventrelay_sinks::Outcome;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::broker::{Broker, Fault};
use crate::cluster::{Cluster, numbers_of};
use crate::sinks::{batch, deliver, deliver_all, delivered, keyed, sink};

/// Each takes two seconds or so, for refused requests wait before they are repeated.
const ROUNDS: u64 = 8;

const NOT_LEADER: i16 = 6;
const NOT_ENOUGH_REPLICAS: i16 = 19;

/// Delivers 2,000 events through a broker with these faults: all arrive, each key's in their order, and none twice but for what was
/// written and not answered.
async fn all_arrive_in_order(faults: Vec<Option<Fault>>) {
    let broker = Broker::honest(4);
    // No linger, so that there are many requests; those behind a failed one are out of sequence then.
    // Nothing is given up and repeated by another call, which may double it.
    let settings = json!({"linger_ms": 0, "compression": "none", "timeout_ms": 60_000});
    let sink = sink(&broker.start().await.to_string(), &settings);
    broker.state.lock().unwrap().faults = faults.iter().rev().copied().collect();
    for start in (0..2000).step_by(500) {
        deliver_all(&sink, &batch(start..start + 500)).await;
    }
    sink.close().await;
    let state = broker.state.lock().unwrap();
    let messages: Vec<_> = state.partitions.iter().flat_map(|partition| &partition.messages).collect();
    let mut numbers: Vec<u64> = messages.iter().map(|(_, value)| value.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let missing: Vec<u64> = (0..2000).filter(|number| !numbers.contains(number)).collect();
    assert_eq!(missing, Vec::<u64>::new(), "{faults:?}");
    // Of what was written and not answered librdkafka may lose track, when other requests are refused meanwhile: it begins a
    // new sequence then, and sends that once more.
    if !faults.contains(&Some(Fault::ClosedAfter)) {
        assert_eq!(messages.len(), 2000, "none twice: {faults:?}");
    }
    for key in 0..10 {
        let of_key = messages.iter().filter(|(found, _)| *found == format!("k{key}"));
        let mut seen = HashSet::new();
        let numbers: Vec<u64> = of_key.map(|(_, value)| value.parse().unwrap()).collect();
        let firsts: Vec<u64> = numbers.iter().copied().filter(|number| seen.insert(*number)).collect();
        assert!(firsts.len() == 200 && firsts.is_sorted(), "k{key}: {numbers:?}, {faults:?}");
    }
    assert!(state.faults.is_empty(), "there were too few requests: {} are left", state.faults.len());
}

#[tokio::test]
async fn many_requests_in_flight_keep_the_order_when_some_of_them_fail() {
    all_arrive_in_order(vec![
        None,
        Some(Fault::Refused(NOT_LEADER)),
        Some(Fault::Refused(NOT_ENOUGH_REPLICAS)),
        None,
        Some(Fault::ClosedBefore),
        None,
        Some(Fault::ClosedAfter),
        Some(Fault::Refused(NOT_ENOUGH_REPLICAS)),
    ])
    .await;
}

#[tokio::test]
async fn whichever_requests_fail_all_arrive_in_order() {
    for seed in 0..ROUNDS {
        let mut random = StdRng::seed_from_u64(seed);
        let faults = (0..12).map(|_| match random.random_range(0..8) {
            0 => Some(Fault::Refused(NOT_LEADER)),
            1 => Some(Fault::Refused(NOT_ENOUGH_REPLICAS)),
            2 => Some(Fault::ClosedBefore),
            3 => Some(Fault::ClosedAfter),
            _ => None,
        });
        all_arrive_in_order(faults.collect()).await;
    }
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
