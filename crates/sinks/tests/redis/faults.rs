//! A server that is not there, goes away, hangs or comes back empty.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::broker_events::{batch, deliver, deliver_all, deliver_in_the_end, ids, retried, until};
use crate::raw_client::Reply;
use crate::server;

#[tokio::test]
async fn a_server_that_is_down_at_first_gets_all_once_it_is_up() {
    let Some((mut server, _raw)) = server::start() else { return };
    server.kill();
    let sink = server::sink(&server, &json!({}));
    let batch = batch("a", 0..50);
    let outcomes = deliver(&sink, &batch).await;
    assert!(outcomes.iter().all(|it| retried(it).contains("cannot be connected to")), "{outcomes:?}");
    server.resume();
    deliver_in_the_end(&sink, &batch).await;
    let mut raw = server::connect_again(&server).await;
    assert_eq!(raw.field("events", "eventrelay_id"), ids(&batch));
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_batch_is_noticed_and_gets_each_event() {
    let Some((mut server, _raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({}));
    let batch = Arc::new(batch("a", 0..500));
    deliver_all(&sink, &batch[..1]).await;
    // It stands still, so that the batch is on its way when it dies.
    server.freeze();
    let began = Instant::now();
    let delivery = tokio::spawn({
        let (sink, batch) = (Arc::clone(&sink), Arc::clone(&batch));
        async move { deliver(&sink, &batch).await }
    });
    until(async || bytes_to(server.port()) > 0).await;
    server.kill();
    let outcomes = delivery.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "the death was not noticed");
    assert!(outcomes.iter().all(|outcome| !retried(outcome).is_empty()));
    server.resume();
    deliver_in_the_end(&sink, &batch).await;
    let mut raw = server::connect_again(&server).await;
    let found: BTreeSet<_> = raw.field("events", "eventrelay_id").into_iter().collect();
    assert_eq!(found, ids(&batch).into_iter().collect());
}

/// Bytes that have been sent to a port of this machine and that nobody has read.
fn bytes_to(port: u16) -> u64 {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    let queues = sockets.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (_, unread) = words.get(4)?.split_once(':')?;
        let is_its = words[3] == "01" && words[1].ends_with(&port);
        is_its.then(|| u64::from_str_radix(unread, 16).unwrap())
    });
    queues.sum()
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time_and_used_again_when_it_goes_on() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({"timeout_ms": 700, "connect_timeout_ms": 300}));
    let batch = batch("a", 0..200);
    deliver_all(&sink, &batch[..1]).await;
    server.freeze();
    let outcomes = deliver(&sink, &batch).await;
    assert!(outcomes.iter().all(|outcome| retried(outcome).contains("in time")), "{outcomes:?}");
    // The connection is given up too, and a new one comes to nothing.
    let outcomes = deliver(&sink, &batch).await;
    assert!(outcomes.iter().all(|it| retried(it).contains("longer than 300 ms")), "{outcomes:?}");
    server.thaw();
    deliver_in_the_end(&sink, &batch).await;
    let found: BTreeSet<_> = raw.field("events", "eventrelay_id").into_iter().collect();
    assert_eq!(found, ids(&batch).into_iter().collect());
}

#[tokio::test]
async fn a_slow_server_is_waited_for() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({"timeout_ms": 20_000}));
    let batch = Arc::new(batch("a", 0..100));
    deliver_all(&sink, &batch[..1]).await;
    server.freeze();
    let delivery = tokio::spawn({
        let (sink, batch) = (Arc::clone(&sink), Arc::clone(&batch));
        async move { deliver_all(&sink, &batch).await }
    });
    until(async || bytes_to(server.port()) > 0).await;
    server.thaw();
    delivery.await.unwrap();
    assert_eq!(raw.run(&["XLEN", "events"]), Reply::Number(101));
}

#[tokio::test]
async fn a_server_that_comes_back_empty_gets_stream_and_group_anew() {
    let Some((mut server, _raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({"create_group": "workers"}));
    deliver_all(&sink, &batch("a", 0..20)).await;
    server.kill();
    server.lose_everything();
    server.resume();
    let later = batch("a", 20..30);
    deliver_in_the_end(&sink, &later).await;
    let mut raw = server::connect_again(&server).await;
    assert_eq!(raw.field("events", "eventrelay_id"), ids(&later));
    let read = raw.run(&["XREADGROUP", "GROUP", "workers", "w", "STREAMS", "events", ">"]);
    assert_eq!(read.list()[0].list()[1].list().len(), 10);
    // A group that goes while the connection stays is made anew too.
    raw.run(&["FLUSHALL"]);
    deliver_all(&sink, &later).await;
    let read = raw.run(&["XREADGROUP", "GROUP", "workers", "w", "STREAMS", "events", ">"]);
    assert_eq!(read.list()[0].list()[1].list().len(), 10);
}

#[tokio::test]
async fn a_call_that_is_dropped_costs_its_connection_and_no_later_event() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({}));
    let batch = batch("a", 0..100);
    deliver_all(&sink, &batch[..1]).await;
    server.freeze();
    let dropped = tokio::time::timeout(Duration::from_millis(50), sink.deliver(&batch)).await;
    assert!(dropped.is_err());
    server.thaw();
    deliver_all(&sink, &batch).await;
    let found: BTreeSet<_> = raw.field("events", "eventrelay_id").into_iter().collect();
    assert_eq!(found, ids(&batch).into_iter().collect());
}
