//! Connections are used again, and those that cannot be are replaced.

use std::time::Duration;

use eventrelay_sinks::Outcome;
use serde_json::json;
use tokio::task::JoinSet;

use crate::receiver::{OK, Receiver, Reply};
use crate::sinks::{deliver, delivery_of, event, retried, webhook};

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let sink = webhook(&receiver.url(), &json!({}));
    for _ in 0..100 {
        assert_eq!(deliver(&sink).await.outcome, Outcome::Delivered);
    }
    let (connections, requests) = receiver.so_far();
    assert_eq!((connections, requests.len()), (1, 100));
}

#[tokio::test]
async fn concurrent_requests_take_no_more_connections_than_there_are_of_them() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let sink = webhook(&receiver.url(), &json!({}));
    for _ in 0..10 {
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let sink = sink.clone();
            tasks.spawn(async move { deliver(&sink).await });
        }
        while let Some(attempt) = tasks.join_next().await {
            assert_eq!(attempt.unwrap().outcome, Outcome::Delivered);
        }
    }
    let (connections, requests) = receiver.so_far();
    assert_eq!(requests.len(), 80);
    assert!(connections <= 8, "{connections} connections");
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_asked() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let sink = webhook(&receiver.url(), &json!({"max_idle_connections": 0}));
    deliver(&sink).await;
    deliver(&sink).await;
    assert_eq!(receiver.so_far().0, 2);
}

#[tokio::test]
async fn a_connection_that_the_receiver_wants_closed_is_not_used_again() {
    let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec();
    let mut receiver = Receiver::always(Reply::Bytes(answer)).await;
    let sink = webhook(&receiver.url(), &json!({}));
    for _ in 0..3 {
        assert_eq!(deliver(&sink).await.outcome, Outcome::Delivered);
    }
    assert_eq!(receiver.so_far().0, 3);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_no_attempt() {
    let mut receiver = Receiver::always(Reply::BytesThenClose(OK.to_vec())).await;
    let sink = webhook(&receiver.url(), &json!({}));
    for _ in 0..3 {
        assert_eq!(deliver(&sink).await.outcome, Outcome::Delivered);
        receiver.closed().await;
    }
}

#[tokio::test]
async fn a_close_that_crosses_the_request_costs_no_attempt() {
    for crossing in [Reply::BytesThenClose(Vec::new()), Reply::Reset] {
        // The second request finds the kept connection closed under its hands, the third is its second try.
        let mut receiver =
            Receiver::start(move |request| if request == 2 { crossing.clone() } else { Reply::ok() }).await;
        let sink = webhook(&receiver.url(), &json!({}));
        assert_eq!(deliver(&sink).await.outcome, Outcome::Delivered);
        assert_eq!(deliver(&sink).await.outcome, Outcome::Delivered);
        let (connections, requests) = receiver.so_far();
        assert_eq!((connections, requests.len()), (2, 3));
        assert_eq!(requests[1].headers["webhook-signature"], requests[2].headers["webhook-signature"]);
    }
}

#[tokio::test]
async fn a_receiver_that_always_closes_is_not_tried_without_end() {
    let mut receiver =
        Receiver::start(|request| if request == 1 { Reply::ok() } else { Reply::BytesThenClose(Vec::new()) })
            .await;
    let sink = webhook(&receiver.url(), &json!({}));
    deliver(&sink).await;
    retried(&deliver(&sink).await);
    assert_eq!(receiver.so_far().1.len(), 3);
}

#[tokio::test]
async fn an_abandoned_request_closes_its_connection() {
    let mut receiver = Receiver::always(Reply::Silence).await;
    let sink = webhook(&receiver.url(), &json!({}));
    let batch = [delivery_of(&event())];
    tokio::select! {
        _ = sink.deliver(&batch) => panic!("nobody answered"),
        _ = receiver.request() => {}
    }
    receiver.closed().await;
}

#[tokio::test]
async fn idle_connections_are_closed_after_a_while() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let sink = webhook(&receiver.url(), &json!({}));
    deliver(&sink).await;
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    receiver.closed().await;
    assert!(before.elapsed() < Duration::from_secs(10));
    tokio::time::resume();
    assert_eq!(deliver(&sink).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn close_and_drop_close_the_connections() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let sink = webhook(&receiver.url(), &json!({}));
    deliver(&sink).await;
    sink.close().await;
    receiver.closed().await;

    let sink = webhook(&receiver.url(), &json!({}));
    deliver(&sink).await;
    drop(sink);
    receiver.closed().await;
}
