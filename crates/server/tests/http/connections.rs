//! Connections: how many there may be, and how they end.

use crate::support::{TestServer, post};

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn connections_over_the_limit_are_told_so_and_make_room() {
    for change in [
        |options: &mut eventrelay_server::http::ServerOptions| options.max_connections = 2,
        |options: &mut eventrelay_server::http::ServerOptions| options.max_connections_per_address = 2,
    ] {
        let server = TestServer::start_with(change).await;
        let (mut first, mut second) = (server.connect().await, server.connect().await);
        assert_eq!((first.get("/healthz").await.status, second.get("/healthz").await.status), (200, 200));
        let mut third = server.connect().await;
        let answer = third.answer().await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "too_many_connections"));
        assert_eq!(third.until_closed().await, b"");

        second.finish_sending().await;
        second.until_closed().await;
        // The place is given back just after the connection is closed.
        loop {
            let mut fourth = server.connect().await;
            if fourth.try_send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await
                && fourth.answer().await.status == 200
            {
                break;
            }
        }
    }
}

#[tokio::test]
async fn http_1_0_and_connection_close_end_after_the_answer() {
    let server = TestServer::start().await;
    for request in [
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(request).await;
        assert_eq!(client.answer().await.status, 200);
        assert_eq!(client.until_closed().await, b"");
    }
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_finishes_what_was_begun() {
    let mut server = TestServer::start().await;
    let mut idle = server.connect().await;
    assert_eq!(idle.get("/healthz").await.status, 200);
    let mut silent = server.connect().await;
    let mut busy = server.connect().await;
    let request = post(JSON, r#"{"type":"t","source":"/s"}"#);
    let (first, rest) = request.split_at(request.len() - 5);
    busy.send(first).await;
    // The head of the busy one must have been seen: its connection is the third of three.
    busy_is_seen(&server).await;

    server.begin_shutdown();
    assert_eq!(idle.until_closed().await, b"");
    assert_eq!(silent.until_closed().await, b"");
    busy.send(rest).await;
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (201, Some("close")));
    busy.until_closed().await;
    assert_eq!(server.log.durable_offset(), 1);
    let address = server.address;
    assert_eq!(server.stopped().await.cut_off, 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "still listening");
}

/// A request of which the last bytes are to come is in flight once the server has asked for them, which a later answer on
/// another connection does not prove; so it waits until the socket has been read empty.
async fn busy_is_seen(server: &TestServer) {
    // A connection that is accepted and answered after it was: tasks are started in order, each reads before it waits.
    for _ in 0..3 {
        assert_eq!(server.connect().await.get("/healthz").await.status, 200);
    }
}

#[tokio::test]
async fn a_drain_cuts_off_who_does_not_finish() {
    let mut server = TestServer::start_with(|options| options.drain_timeout_ms = 100).await;
    let mut stuck = server.connect().await;
    stuck.send(format!("POST /v1/events HTTP/1.1\r\nHost: localhost\r\n{JSON}Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")).await;
    assert_eq!(stuck.read_head().await, "HTTP/1.1 100 Continue");
    server.begin_shutdown();
    assert_eq!(server.stopped().await.cut_off, 1);
    assert_eq!(stuck.until_closed().await, b"");
}

#[tokio::test]
async fn a_drain_ends_event_streams() {
    let mut server = TestServer::start().await;
    let mut client = server.connect().await;
    client.send("GET /v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.read_head().await;
    server.begin_shutdown();
    assert_eq!(client.until_closed().await, b"0\r\n\r\n");
    assert_eq!(server.stopped().await.cut_off, 0);
}
