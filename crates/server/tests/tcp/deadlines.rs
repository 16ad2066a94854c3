//! Clients that are slow. All are cut off, and none needs more than its deadline.

use std::time::Duration;

use crate::support::{PATIENCE, TestServer, frame};

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = TestServer::start_with(|options| options.idle_timeout_ms = 50).await;
    assert_eq!(server.connect().await.until_closed().await, b"", "one that never said anything");
    let mut client = server.connect().await;
    client.send(frame("good")).await;
    assert_eq!(client.receive(1).await, [0]);
    assert_eq!(client.until_closed().await, b"");
    server.until_metrics_say("eventrelay_tcp_ended_connections_total{reason=\"idle_timeout\"} 2").await;
}

#[tokio::test]
async fn a_trickled_frame_does_not_earn_more_time() {
    let server = TestServer::start_with(|options| {
        (options.frame_timeout_ms, options.linger_timeout_ms) = (200, 50);
    })
    .await;
    let mut client = server.connect().await;
    client.send(frame("good")).await;
    assert_eq!(client.receive(1).await, [0]);
    client.send(1_000_000u32.to_le_bytes()).await;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let trickle = async {
        // Each byte comes well within the deadline, and the frame never ends.
        while client.try_send("x").await {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, trickle).await.expect("it is cut off");
    server.until_metrics_say("eventrelay_tcp_ended_connections_total{reason=\"frame_timeout\"} 1").await;
    server.assert_unharmed(1).await;
}

#[tokio::test]
async fn a_sender_that_goes_on_is_not_slow() {
    let server = TestServer::start_with(|options| options.frame_timeout_ms = 300).await;
    let mut client = server.connect().await;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let began = std::time::Instant::now();
    let mut sent = 0;
    // There is always a part of a frame at hand, but never the same.
    client.send(&frame("good")[..6]).await;
    while began.elapsed() < Duration::from_millis(700) {
        client.send([&frame("good")[6..], &frame("good")[..6]].concat()).await;
        sent += 1;
        tick.tick().await;
    }
    assert_eq!(client.receive(sent).await, vec![0; sent]);
}
