//! Connections: how many there may be, and how they end.

use eventrelay_server::Listen;

use crate::support::{TestServer, frame, line};

#[tokio::test]
async fn connections_over_the_limit_are_told_so_and_make_room() {
    for change in [
        |options: &mut eventrelay_server::tcp::TcpOptions| options.max_connections = 2,
        |options: &mut eventrelay_server::tcp::TcpOptions| options.max_connections_per_address = 2,
    ] {
        let server = TestServer::start_with(change).await;
        // Both listeners count together.
        let (mut first, mut second) = (server.connect().await, server.connect_lines().await);
        first.send(frame("a")).await;
        second.send(line("")).await;
        assert_eq!(first.receive(1).await, [0]);
        second.receive_line().await;
        assert_eq!(server.connect().await.until_closed().await, [0x04]);
        let mut refused = server.connect_lines().await;
        assert_eq!(refused.receive_line().await["code"], "too_many_connections");

        first.finish_sending().await;
        first.until_closed().await;
        // The place is given back just after the connection is closed.
        loop {
            let mut third = server.connect().await;
            if third.try_send(frame("b")).await && third.until_closed_after_finish().await == [0] {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_drain_answers_what_was_received_and_closes() {
    let mut server = TestServer::start_with(|options| options.linger_timeout_ms = 200).await;
    let mut idle = server.connect().await;
    idle.send(frame("idle")).await;
    assert_eq!(idle.receive(1).await, [0]);
    let mut busy = server.connect().await;
    let frames = frame("busy").repeat(500);
    busy.send([&frames, &frame("never whole")[..7]].concat()).await;
    // The first answer says that what was sent with its frame has been received.
    assert_eq!(busy.receive(1).await, [0]);
    server.begin_shutdown();
    assert_eq!(idle.until_closed().await, b"");
    let answers = busy.until_closed().await;
    assert_eq!(answers, vec![0; 499]);
    assert_eq!(server.log.durable_offset(), 501, "no more and no less than was acknowledged");
    let address = server.frames_address();
    assert_eq!(server.stopped().await.cut_off, 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "still listening");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_sender_without_end() {
    let mut server = TestServer::start_with(|options| {
        (options.linger_timeout_ms, options.drain_timeout_ms) = (100, 15_000);
    })
    .await;
    let mut client = server.connect().await;
    client.send(frame("first")).await;
    assert_eq!(client.receive(1).await, [0]);
    server.begin_shutdown();
    let frames = frame("more").repeat(100);
    while client.try_send(&frames).await {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.stopped().await.cut_off, 0);
}

#[tokio::test]
async fn a_listener_that_is_off_is_not_there() {
    let mut server = TestServer::start_with(|options| options.lines_listen = Listen::Off).await;
    server.assert_unharmed(0).await;
    server.begin_shutdown();
    assert_eq!(server.stopped().await.cut_off, 0);
}
