//! Clients that are slow, in every phase. All are cut off, and none needs more than its deadline.

use std::time::Duration;

use tokio::time::interval;

use crate::support::{Client, TestServer};

const HEAD: &str = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

#[tokio::test]
async fn a_client_that_says_nothing_is_cut_off() {
    let server = TestServer::start_with(|options| options.first_byte_timeout_ms = 50).await;
    assert_eq!(server.connect().await.until_closed().await, b"");
    server.assert_unharmed().await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let server = TestServer::start_with(|options| options.head_timeout_ms = 200).await;
    let mut client = server.connect().await;
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    server.assert_unharmed().await;
}

#[tokio::test]
async fn a_trickled_head_does_not_earn_more_time() {
    let server = TestServer::start_with(|options| {
        (options.head_timeout_ms, options.linger_timeout_ms) = (200, 100);
    })
    .await;
    let mut client = server.connect().await;
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n").await;
    // Each byte comes well within the deadline of a byte, and the head never ends.
    let mut pace = interval(Duration::from_millis(20));
    while client.try_send("X").await {
        pace.tick().await;
    }
    server.assert_unharmed().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = TestServer::start_with(|options| options.idle_timeout_ms = 50).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/healthz").await.status, 200);
    assert_eq!(client.until_closed().await, b"");
}

#[tokio::test]
async fn a_body_that_stops_is_cut_off() {
    let server = TestServer::start_with(|options| options.body_grace_ms = 100).await;
    for length in ["Content-Length: 26\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = server.connect().await;
        client.send(format!("{HEAD}{length}\r\n1")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
        assert_eq!(answer.header("connection"), Some("close"));
    }
    server.assert_unharmed().await;
}

#[tokio::test]
async fn a_trickled_body_is_cut_off() {
    let server = TestServer::start_with(|options| {
        (options.body_grace_ms, options.body_bytes_per_second) = (100, 1_000_000);
        options.linger_timeout_ms = 100;
    })
    .await;
    let mut client = server.connect().await;
    client.send(format!("{HEAD}Content-Length: 1000000\r\n\r\n")).await;
    let mut pace = interval(Duration::from_millis(10));
    while client.try_send("x").await {
        pace.tick().await;
    }
    server.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_that_comes_steadily_may_take_longer_than_the_grace_time() {
    let server = TestServer::start_with(|options| {
        (options.body_grace_ms, options.body_bytes_per_second) = (100, 10);
    })
    .await;
    let mut client = server.connect().await;
    let body = r#"{"type":"t","source":"/s","data":"0123456789"}"#;
    client.send(format!("{HEAD}Content-Length: {}\r\n\r\n", body.len())).await;
    let began = std::time::Instant::now();
    let mut pace = interval(Duration::from_millis(60));
    for piece in body.as_bytes().chunks(10) {
        pace.tick().await;
        client.send(piece).await;
    }
    assert!(began.elapsed().as_millis() > 200);
    assert_eq!(client.answer().await.status, 201);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = TestServer::start_with(|options| options.write_timeout_ms = 100).await;
    let mut client = server.connect().await;
    // Asks for more than all buffers hold, and takes none of it.
    let requests = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    while client.try_send(&requests).await {}
    assert_open_connections(&server, 1).await;
}

/// Waits until as many connections are open as there should be, this one included.
async fn assert_open_connections(server: &TestServer, count: usize) {
    let wanted = format!("eventrelay_http_connections {count}\n");
    let mut client = Client::connect(server.address).await;
    loop {
        let metrics = client.get("/metrics").await;
        if String::from_utf8(metrics.body).unwrap().contains(&wanted) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_that_is_answered_late_is_not_idle() {
    let server = TestServer::start_with(|options| {
        (options.idle_timeout_ms, options.event_stream_heartbeat_ms) = (50, 200);
    })
    .await;
    let mut client = server.connect().await;
    client.send("GET /v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.read_head().await;
    for _ in 0..3 {
        client.read_past(b"\n\r\n").await;
    }
}
