//! Clients that mean no good. Each harms its own connection at most.

use crate::support::{TestServer, frame};

#[tokio::test]
async fn a_length_over_the_limit_ends_the_connection_after_the_answers_before_it() {
    let server = TestServer::start().await;
    for bomb in [u32::MAX, (1 << 20) + 1, 1 << 31] {
        let stored = server.log.durable_offset();
        let mut client = server.connect().await;
        client.send([frame("good"), bomb.to_le_bytes().to_vec(), vec![0; 10_000]].concat()).await;
        assert_eq!(client.receive(2).await, [0x00, 0x02]);
        client.finish_sending().await;
        assert_eq!(client.until_closed().await, b"");
        assert_eq!(server.log.durable_offset(), stored + 1);
    }
    server.until_metrics_say("eventrelay_tcp_ended_connections_total{reason=\"frame_too_large\"} 3").await;
    server.assert_unharmed(3).await;
}

#[tokio::test]
async fn half_a_frame_is_not_stored() {
    let server = TestServer::start().await;
    for half in [&frame("a whole one")[..9], &[5, 0][..]] {
        let mut client = server.connect().await;
        client.send(half).await;
        client.finish_sending().await;
        assert_eq!(client.until_closed().await, b"");
    }
    server.until_metrics_say("eventrelay_tcp_ended_connections_total{reason=\"half_payload\"} 2").await;
    server.assert_unharmed(0).await;
}

#[tokio::test]
async fn garbage_and_other_protocols_are_refused() {
    let server = TestServer::start().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0xff; 64],
        // A TLS client's first message.
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03],
    ] {
        let mut client = server.connect().await;
        client.send(bytes).await;
        client.finish_sending().await;
        let answer = client.until_closed().await;
        assert!(answer.is_empty() || answer == [0x02], "{answer:?} for {bytes:?}");
    }
    server.assert_unharmed(0).await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off_and_others_go_on() {
    let server = TestServer::start_with(|options| {
        (options.write_timeout_ms, options.max_in_flight_bytes) = (200, 1 << 20);
    })
    .await;
    let mut rude = server.connect_lines().await;
    // Each answer is larger than what asks for it, and none is taken.
    let lines = "{\"type\":1}\n".repeat(10_000);
    let flood = async { while rude.try_send(&lines).await {} };
    let good = async {
        let mut client = server.connect().await;
        for _ in 0..100 {
            client.send(frame("good")).await;
            assert_eq!(client.receive(1).await, [0]);
        }
    };
    tokio::join!(flood, good);
    server.until_metrics_say("eventrelay_tcp_ended_connections_total{reason=\"write_timeout\"} 1").await;
    server.assert_unharmed(100).await;
}

#[tokio::test]
async fn a_large_frame_that_is_only_announced_takes_no_memory_from_others() {
    let server = TestServer::start_with(|options| {
        options.buffer_memory_bytes = options.max_frame_bytes;
    })
    .await;
    let mut announcers = Vec::new();
    for _ in 0..50 {
        let mut client = server.connect().await;
        client.send((1u32 << 20).to_le_bytes()).await;
        client.send([7; 100]).await;
        announcers.push(client);
    }
    let mut client = server.connect().await;
    client.send(frame(vec![7; 1_000_000])).await;
    assert_eq!(client.receive(1).await, [0]);
}

#[tokio::test]
async fn five_hundred_idle_connections_do_not_hold_up_a_good_one() {
    let server = TestServer::start().await;
    let mut idle = Vec::new();
    for index in 0..500 {
        let mut client = server.connect().await;
        if index % 2 == 0 {
            client.send([1, 0]).await;
        }
        idle.push(client);
    }
    let mut client = server.connect().await;
    for _ in 0..200 {
        client.send(frame("good").repeat(10)).await;
        assert_eq!(client.receive(10).await, [0; 10]);
    }
    assert_eq!(server.log.durable_offset(), 2000);
}

#[tokio::test]
async fn a_connection_that_is_reset_is_forgotten() {
    let server = TestServer::start().await;
    // Closed with an answer unread, the system resets it.
    let mut client = server.connect().await;
    client.send(frame("good")).await;
    server.until_metrics_say("eventrelay_tcp_accepted_total{framing=\"frames\"} 1").await;
    drop(client);
    server.until_metrics_say("eventrelay_tcp_connections 0").await;
    server.assert_unharmed(1).await;
}
