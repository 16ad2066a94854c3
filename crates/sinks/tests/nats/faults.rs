//! A server that is not there, goes away, hangs or comes back empty.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::broker_events::{batch, deliver, deliver_all, deliver_in_the_end, ids, retried, until};
use crate::raw_client::RawClient;
use crate::server;

fn sorted_ids(raw: &mut RawClient) -> Vec<String> {
    let mut ids: Vec<_> = raw
        .messages("EVENTS")
        .iter()
        .map(|message| message.header("Nats-Msg-Id").unwrap().to_owned())
        .collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_server_that_is_down_at_first_gets_all_once_it_is_up() {
    let Some((mut server, _raw)) = server::start_with_stream() else { return };
    server.kill();
    let sink = server::sink(&server, &json!({}));
    let batch = batch("order.created", 0..50);
    let outcomes = deliver(&sink, &batch).await;
    assert!(
        outcomes.iter().all(|outcome| retried(outcome).contains("cannot be connected to")),
        "{outcomes:?}"
    );
    server.resume();
    deliver_in_the_end(&sink, &batch).await;
    assert_eq!(sorted_ids(&mut RawClient::connect(server.address())), ids(&batch));
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_batch_is_noticed_and_gets_each_event_once() {
    let Some((mut server, _raw)) = server::start_with_stream() else { return };
    let sink = server::sink(&server, &json!({}));
    let batch = Arc::new(batch("order.created", 0..500));
    deliver_all(&sink, &batch[..1]).await;
    // It stands still, so that the batch is on its way when it dies.
    server.freeze();
    let began = Instant::now();
    let delivery = tokio::spawn({
        let (sink, batch) = (Arc::clone(&sink), Arc::clone(&batch));
        async move { deliver(&sink, &batch).await }
    });
    until(async || server.unread_bytes() > 0).await;
    server.kill();
    let outcomes = delivery.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "the death was not noticed");
    assert!(outcomes.iter().all(|outcome| !retried(outcome).is_empty()));
    server.resume();
    deliver_in_the_end(&sink, &batch).await;
    assert_eq!(sorted_ids(&mut RawClient::connect(server.address())), ids(&batch));
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time_and_gets_each_event_once() {
    let Some((server, mut raw)) = server::start_with_stream() else { return };
    let sink = server::sink(&server, &json!({"timeout_ms": 700, "connect_timeout_ms": 300}));
    let batch = batch("order.created", 0..200);
    deliver_all(&sink, &batch[..1]).await;
    server.freeze();
    let outcomes = deliver(&sink, &batch).await;
    assert!(outcomes.iter().all(|outcome| retried(outcome).contains("in time")), "{outcomes:?}");
    // The connection is given up too, and a new one comes to nothing.
    let outcomes = deliver(&sink, &batch).await;
    assert!(outcomes.iter().all(|outcome| retried(outcome).contains("connect")), "{outcomes:?}");
    server.thaw();
    deliver_in_the_end(&sink, &batch).await;
    assert_eq!(sorted_ids(&mut raw), ids(&batch));
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_waited_for_until_it_has_its_stream() {
    let Some((mut server, _raw)) = server::start_with_stream() else { return };
    let sink = server::sink(&server, &json!({}));
    let batch = batch("order.created", 0..20);
    deliver_all(&sink, &batch).await;
    server.kill();
    server.lose_everything();
    server.resume();
    until(async || retried(&deliver(&sink, &batch).await[0]).contains("no stream took")).await;
    let mut raw = RawClient::connect(server.address());
    raw.create_stream("EVENTS", &["events.>"], &json!({}));
    deliver_all(&sink, &batch).await;
    assert_eq!(sorted_ids(&mut raw), ids(&batch));
}
